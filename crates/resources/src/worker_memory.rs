//! The kernel's figures of a process (`/proc/PID/smaps_rollup`). Reading them takes about a millisecond per gigabyte.

use std::{fs, io};

/// Bytes of memory that a process really has: its proportional set, in which pages that it shares with others count by
/// its share.
pub(crate) fn resident(pid: u32) -> io::Result<u64> {
    figure(pid, "Pss")
}

/// Bytes of private memory: no file, and nobody else's.
pub(crate) fn anonymous(pid: u32) -> io::Result<u64> {
    figure(pid, "Anonymous")
}

fn figure(pid: u32, name: &str) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let none =
        || io::Error::new(io::ErrorKind::InvalidData, format!("the kernel's figures have no `{name}`"));
    bytes_of(&text, name).ok_or_else(none)
}

fn bytes_of(smaps_rollup: &str, name: &str) -> Option<u64> {
    let kib = smaps_rollup.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    kib.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_figures_are_read() {
        let text =
            "55d0-7ffd ---p 00000000 00:00 0  [rollup]\nRss:  900 kB\nPss:    512 kB\nPss_Dirty: 3 kB\n";
        assert_eq!((bytes_of(text, "Pss"), bytes_of(text, "Pss_Dirty")), (Some(512 * 1024), Some(3 * 1024)));
        for broken in
            ["", "Pss: many kB", "Pss: 5", "Pss: 99999999999999999999 kB", "Pss: 18446744073709551615 kB"]
        {
            assert_eq!(bytes_of(broken, "Pss"), None, "{broken}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_has_memory() {
        let own = std::process::id();
        assert!(resident(own).unwrap() > 1 << 20 && anonymous(own).unwrap() > 1 << 16);
        assert!(resident(u32::MAX).is_err());
    }
}
