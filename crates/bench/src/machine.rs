//! Where and on what the bench runs.

use std::{collections::BTreeSet, fs, process::Command};

/// Instruction sets that decide how fast a model runs.
const TELLING_FLAGS: [&str; 8] =
    ["avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimddp"];

/// Commit, machine and day: what a figure means nothing without.
#[derive(Debug)]
pub(crate) struct Surroundings {
    /// Of the checkout that we run in, if we do.
    pub(crate) commit: Option<String>,
    /// Processor, cores, instruction sets, memory, system.
    pub(crate) machine: String,
    /// In UTC, as `2026-11-23`.
    pub(crate) date: String,
}

impl Surroundings {
    /// Asks the system.
    pub(crate) fn find() -> Self {
        Self {
            commit: output_of("git", &["rev-parse", "HEAD"]),
            machine: machine(),
            date: output_of("date", &["-u", "+%F"]).unwrap_or_else(|| "unknown".to_owned()),
        }
    }
}

/// The first line that a program prints, if it ends well.
fn output_of(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?;
    text.lines().next().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty())
}

fn machine() -> String {
    let cores =
        std::thread::available_parallelism().map_or_else(|_| "?".to_owned(), |cores| cores.to_string());
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let mut parts = vec![format!("{cores} x {}", processor(&cpuinfo))];
    let flags = flags(&cpuinfo);
    if !flags.is_empty() {
        parts.push(flags.join(" "));
    }
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    parts.extend(memory_gib(&meminfo).map(|gib| format!("{gib:.1} GiB")));
    parts.extend(output_of("uname", &["-srm"]));
    parts.join(", ")
}

/// The value of the first line `key : value`.
fn field<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let values = text.lines().filter_map(|line| line.split_once(':'));
    values.into_iter().find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim())
}

fn processor(cpuinfo: &str) -> &str {
    field(cpuinfo, "model name").unwrap_or(std::env::consts::ARCH)
}

fn flags(cpuinfo: &str) -> Vec<&'static str> {
    let flags = field(cpuinfo, "flags").or_else(|| field(cpuinfo, "Features")).unwrap_or_default();
    let flags: BTreeSet<&str> = flags.split_whitespace().collect();
    TELLING_FLAGS.into_iter().filter(|flag| flags.contains(flag)).collect()
}

fn memory_gib(meminfo: &str) -> Option<f64> {
    let kib: f64 = field(meminfo, "MemTotal")?.split_whitespace().next()?.parse().ok()?;
    Some(kib / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_tells_is_read() {
        let cpuinfo = "processor\t: 0\nmodel name\t: Fast CPU @ 3 GHz\nflags\t\t: fpu avx avx2 avx512f\n\n\
                       processor\t: 1\nmodel name\t: Other\n";
        assert_eq!(processor(cpuinfo), "Fast CPU @ 3 GHz");
        assert_eq!(flags(cpuinfo), ["avx", "avx2", "avx512f"]);
        assert_eq!(flags("Features : fp asimd asimddp\n"), ["asimddp"]);
        assert_eq!(memory_gib("MemTotal:       16777216 kB\nMemFree: 1 kB\n"), Some(16.0));
        assert_eq!((processor(""), memory_gib("")), (std::env::consts::ARCH, None));
    }

    #[test]
    fn a_program_that_fails_says_nothing() {
        assert_eq!(output_of("false", &[]), None);
        assert_eq!(output_of("there-is-no-such-program", &[]), None);
        assert_eq!(output_of("echo", &["one"]).as_deref(), Some("one"));
    }
}
