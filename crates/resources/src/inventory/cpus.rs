use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::{
    CpuSet,
    control_group::ControlGroups,
    root::{Root, numbered},
};

/// Kinds of caches of one CPU.
const CACHES_MAX: u32 = 16;
/// Thousandths of a CPU.
const MILLICPUS: u64 = 1_000;

/// The processors, and how much of them is ours.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cpus {
    /// As `AMD EPYC 9654 96-Core Processor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// As `AuthenticAMD`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vendor: Option<String>,
    /// Logical CPUs that the kernel runs.
    pub online: CpuSet,
    /// Processor packages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sockets: Option<u32>,
    /// Physical cores; each has one or more of the logical CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cores: Option<u32>,
    /// Instruction sets that matter to inference, in the field's names: `avx2`, `avx512_vnni`, `sve`.
    #[serde(default)]
    pub instruction_sets: Vec<String>,
    /// Smallest level first.
    #[serde(default)]
    pub caches: Vec<Cache>,
    /// What this process may use of them.
    pub granted: GrantedCpus,
}

/// Caches of one level, kind and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// 1 is next to the core.
    pub level: u32,
    /// What it holds.
    pub kind: CacheKind,
    /// Size of each of them, in bytes.
    pub bytes: u64,
    /// For each of them the CPUs that share it.
    pub shared_by: Vec<CpuSet>,
}

/// What a cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheKind {
    /// Data only.
    Data,
    /// Instructions only.
    Instruction,
    /// Both.
    Unified,
}

/// The part of the CPUs that this process may use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GrantedCpus {
    /// The CPUs that it may run on.
    pub cpus: CpuSet,
    /// How many compute threads they bear: as many as there are CPUs, and no more than whole CPUs in the
    /// quota; at least 1.
    pub threads: u32,
    /// What limits it.
    #[serde(default)]
    pub limits: Vec<CpuLimit>,
}

/// Something that limits the use of CPUs: a set of them, or time on them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuLimit {
    /// Who says so: a file of the control group, or `affinity mask`.
    pub source: String,
    /// The CPUs that may be used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpus: Option<CpuSet>,
    /// Thousandths of a CPU's time: 1500 is one CPU and a half.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quota_millicpus: Option<u64>,
}

impl Cpus {
    /// Size of the largest last-level cache, in bytes; 0 if none is known.
    pub fn last_level_cache(&self) -> u64 {
        self.caches.iter().map(|cache| cache.bytes).max().unwrap_or(0)
    }

    /// The set of compute threads' cores: as many of the granted CPUs as the quota bears, lowest first.
    pub fn compute_cores(&self) -> Vec<usize> {
        self.granted.compute_cores()
    }

    pub(super) fn read(root: &Root, affinity: Option<&CpuSet>, notes: &mut Vec<String>) -> Self {
        let cpuinfo = root.text("/proc/cpuinfo").unwrap_or_default();
        let online = online(root, &cpuinfo, affinity);
        let (sockets, cores) = topology(root, &online).unzip();
        if cores.is_none() {
            notes.push("cpus: sockets and cores are not known, because the kernel shows no topology".into());
        }
        Self {
            model: model(&cpuinfo),
            vendor: field(&cpuinfo, "vendor_id"),
            sockets,
            cores,
            instruction_sets: instruction_sets(&cpuinfo),
            caches: caches(root, &online),
            granted: granted(root, &online, affinity),
            online,
        }
    }
}

impl GrantedCpus {
    pub(crate) fn compute_cores(&self) -> Vec<usize> {
        self.cpus.iter().take(self.threads as usize).map(|cpu| cpu as usize).collect()
    }

    /// What is left of the CPUs under all limits. A limit that leaves nothing is not believed: the process runs.
    fn under(online: &CpuSet, limits: Vec<CpuLimit>) -> Self {
        let mut cpus = online.clone();
        for allowed in limits.iter().filter_map(|limit| limit.cpus.as_ref()) {
            let left = cpus.and(allowed);
            if !left.is_empty() {
                cpus = left;
            }
        }
        let quota = limits.iter().filter_map(|limit| limit.quota_millicpus).min();
        // Whole CPUs: a thread more than the quota bears is stopped in the middle of each step, and all others
        // wait for it.
        let bears = quota.map_or(u64::MAX, |millicpus| (millicpus / MILLICPUS).max(1));
        let threads = (cpus.len() as u64).min(bears).max(1) as u32;
        Self { cpus, threads, limits }
    }
}

/// What this process may use; reads only what is needed for that.
pub(crate) fn granted_here(affinity: &CpuSet) -> GrantedCpus {
    let root = Root::new("/".into());
    granted(&root, affinity, Some(affinity))
}

fn granted(root: &Root, online: &CpuSet, affinity: Option<&CpuSet>) -> GrantedCpus {
    let mask = affinity.filter(|mask| !online.without(mask).is_empty()).map(|mask| CpuLimit {
        source: "affinity mask".to_owned(),
        cpus: Some(mask.clone()),
        quota_millicpus: None,
    });
    let groups = ControlGroups::of_this_process(root).cpu_limits(root);
    // A control group that allows everything limits nothing.
    let limiting = groups
        .into_iter()
        .filter(|limit| limit.cpus.as_ref().is_none_or(|cpus| !online.without(cpus).is_empty()));
    GrantedCpus::under(online, mask.into_iter().chain(limiting).collect())
}

fn online(root: &Root, cpuinfo: &str, affinity: Option<&CpuSet>) -> CpuSet {
    let listed: Option<CpuSet> = root.value("/sys/devices/system/cpu/online");
    let listed = listed.filter(|cpus| !cpus.is_empty());
    let counted = || {
        let numbers = cpuinfo.lines().filter_map(|line| value(line, "processor")?.parse().ok());
        Some(numbers.collect::<CpuSet>()).filter(|cpus| !cpus.is_empty())
    };
    listed.or_else(counted).or_else(|| affinity.cloned()).unwrap_or_else(|| CpuSet::from_iter([0]))
}

/// Packages and physical cores.
fn topology(root: &Root, online: &CpuSet) -> Option<(u32, u32)> {
    let mut cores = BTreeSet::new();
    for cpu in online.iter() {
        let part =
            |name: &str| root.value::<i64>(format!("/sys/devices/system/cpu/cpu{cpu}/topology/{name}"));
        cores.insert((part("physical_package_id")?, part("die_id").unwrap_or(0), part("core_id")?));
    }
    let sockets: BTreeSet<_> = cores.iter().map(|&(socket, ..)| socket).collect();
    Some((sockets.len() as u32, cores.len() as u32))
}

fn caches(root: &Root, online: &CpuSet) -> Vec<Cache> {
    let mut found: BTreeMap<(u32, CacheKind, u64), BTreeSet<CpuSet>> = BTreeMap::new();
    for cpu in online.iter() {
        let folder = format!("/sys/devices/system/cpu/cpu{cpu}/cache");
        for index in numbered(&root.names(&folder), "index").into_iter().take(CACHES_MAX as usize) {
            let path = |name: &str| format!("{folder}/index{index}/{name}");
            let kind = match root.text(path("type")).as_deref() {
                Ok("Data") => CacheKind::Data,
                Ok("Instruction") => CacheKind::Instruction,
                Ok("Unified") => CacheKind::Unified,
                _ => continue,
            };
            let bytes = root.text(path("size")).ok().and_then(|text| cache_bytes(&text));
            let (Some(level), Some(bytes)) = (root.value(path("level")), bytes) else { continue };
            let shared = root.value(path("shared_cpu_list")).unwrap_or_else(|| CpuSet::from_iter([cpu]));
            found.entry((level, kind, bytes)).or_default().insert(shared.and(online));
        }
    }
    let cache = |((level, kind, bytes), shared_by): (_, BTreeSet<_>)| {
        let mut shared_by: Vec<CpuSet> = shared_by.into_iter().collect();
        shared_by.sort_by_key(|cpus| cpus.iter().next());
        Cache { level, kind, bytes, shared_by }
    };
    found.into_iter().map(cache).collect()
}

/// As the kernel writes it: `48K`, `32768K`, `1M`.
fn cache_bytes(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| !c.is_ascii_digit());
    let unit = match &text[digits.len()..] {
        "" => 1,
        "K" => 1 << 10,
        "M" => 1 << 20,
        "G" => 1 << 30,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit).filter(|&bytes| bytes > 0)
}

/// The value of a line of `/proc/cpuinfo` whose field this is.
fn value<'a>(line: &'a str, field: &str) -> Option<&'a str> {
    let (name, value) = line.split_once(':')?;
    (name.trim() == field).then(|| value.trim())
}

fn field(cpuinfo: &str, name: &str) -> Option<String> {
    cpuinfo.lines().find_map(|line| value(line, name)).filter(|text| !text.is_empty()).map(str::to_owned)
}

/// Arm's processors have no name, but numbers of who made them and which they are.
fn model(cpuinfo: &str) -> Option<String> {
    field(cpuinfo, "model name").or_else(|| {
        let (maker, part) = (field(cpuinfo, "CPU implementer")?, field(cpuinfo, "CPU part")?);
        Some(format!("Arm, implementer {maker}, part {part}"))
    })
}

/// The kernel's names of what inference uses, and the field's.
const INSTRUCTION_SETS: &[(&str, &str)] = &[
    ("sse4_2", "sse4.2"),
    ("avx", "avx"),
    ("avx2", "avx2"),
    ("fma", "fma"),
    ("f16c", "f16c"),
    ("avx_vnni", "avx_vnni"),
    ("avx_vnni_int8", "avx_vnni_int8"),
    ("asimd", "neon"),
    ("asimdhp", "fp16"),
    ("asimddp", "dotprod"),
    ("i8mm", "i8mm"),
    ("bf16", "bf16"),
    ("sve", "sve"),
    ("sve2", "sve2"),
    ("sme", "sme"),
];
/// Families of which all members count, under the kernel's names.
const FAMILIES: [&str; 2] = ["avx512", "amx_"];

/// Those that every CPU has: big and little cores differ, and a thread may run on either.
fn instruction_sets(cpuinfo: &str) -> Vec<String> {
    let of_each = cpuinfo.lines().filter_map(|line| value(line, "flags").or_else(|| value(line, "Features")));
    let mut of_all: Option<BTreeSet<&str>> = None;
    for flags in of_each {
        let flags = flags.split_ascii_whitespace();
        of_all = Some(match of_all {
            None => flags.collect(),
            Some(before) => flags.filter(|flag| before.contains(flag)).collect(),
        });
    }
    let of_all = of_all.unwrap_or_default();
    let named = INSTRUCTION_SETS.iter().filter(|(flag, _)| of_all.contains(flag)).map(|&(_, name)| name);
    let members =
        of_all.iter().filter(|flag| FAMILIES.iter().any(|family| flag.starts_with(family))).copied();
    named.chain(members).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::root::tests::recorded, *};

    fn set(text: &str) -> CpuSet {
        text.parse().unwrap()
    }

    #[test]
    fn threads_never_exceed_the_cpus_granted() {
        let limit = |text: &str| {
            let quota = text.strip_suffix("m").map(|quota| quota.parse().unwrap());
            let cpus = quota.is_none().then(|| set(text));
            CpuLimit { source: "test".into(), cpus, quota_millicpus: quota }
        };
        // Online, limits, CPUs granted, threads.
        let cases: &[(&str, &[&str], &str, u32)] = &[
            ("0-7", &[], "0-7", 8),
            ("0-7", &["2-3", "3-5"], "3", 1),
            ("0-7", &["1500m"], "0-7", 1),
            ("0-7", &["2999m", "4000m"], "0-7", 2),
            ("0-7", &["500m"], "0-7", 1),
            ("0-1", &["64000m"], "0-1", 2),
            ("0-1", &["4-5"], "0-1", 2),
            ("0-7", &["1,3,5,7", "3000m"], "1,3,5,7", 3),
        ];
        for (online, limits, cpus, threads) in cases {
            let granted = GrantedCpus::under(&set(online), limits.iter().map(|text| limit(text)).collect());
            assert_eq!((granted.cpus.to_string().as_str(), granted.threads), (*cpus, *threads), "{limits:?}");
            assert_eq!(granted.compute_cores().len(), *threads as usize);
        }
    }

    #[test]
    fn instruction_sets_are_those_of_every_cpu() {
        let cases = [
            (
                "flags : fpu sse4_2 avx avx2 fma f16c avx512f avx512_vnni avx_vnni amx_tile",
                "sse4.2 avx avx2 fma f16c avx_vnni amx_tile avx512_vnni avx512f",
            ),
            ("flags\t\t: avx avx2\nflags\t\t: avx", "avx"),
            ("Features\t: fp asimd asimdhp asimddp sve i8mm bf16", "neon fp16 dotprod i8mm bf16 sve"),
            ("", ""),
        ];
        for (cpuinfo, expected) in cases {
            assert_eq!(instruction_sets(cpuinfo).join(" "), expected, "{cpuinfo}");
        }
    }

    #[test]
    fn names_of_processors() {
        let cases = [
            ("model name\t: AMD EPYC\n", Some("AMD EPYC")),
            ("CPU implementer\t: 0x41\nCPU part\t: 0xd40\n", Some("Arm, implementer 0x41, part 0xd40")),
            ("", None),
        ];
        for (cpuinfo, name) in cases {
            assert_eq!(model(cpuinfo).as_deref(), name);
        }
    }

    #[test]
    fn sizes_of_caches() {
        for (text, bytes) in
            [("48K", Some(49_152)), ("1M", Some(1 << 20)), ("0K", None), ("x", None), ("1T", None)]
        {
            assert_eq!(cache_bytes(text), bytes, "{text}");
        }
    }

    #[test]
    fn two_sockets_with_two_threads_a_core() {
        let mut files = vec![("/sys/devices/system/cpu/online".to_owned(), "0-7".to_owned())];
        for cpu in 0..8_u32 {
            let folder = format!("/sys/devices/system/cpu/cpu{cpu}");
            let mut file = |name: &str, text: String| files.push((format!("{folder}/{name}"), text));
            file("topology/physical_package_id", (cpu / 2 % 2).to_string());
            file("topology/core_id", (cpu % 2).to_string());
            file("cache/index0/level", "3".into());
            file("cache/index0/type", "Unified".into());
            file("cache/index0/size", "8M".into());
            let shared = if cpu / 2 % 2 == 0 { "0-1,4-5" } else { "2-3,6-7" };
            file("cache/index0/shared_cpu_list", shared.into());
        }
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
        let (_folder, root) = recorded(&files);
        let mut notes = Vec::new();
        let cpus = Cpus::read(&root, Some(&set("4-7")), &mut notes);
        assert_eq!((cpus.sockets, cpus.cores, cpus.online.len()), (Some(2), Some(4), 8));
        assert_eq!(cpus.caches.len(), 1);
        assert_eq!(cpus.caches[0].shared_by, [set("0-1,4-5"), set("2-3,6-7")]);
        assert_eq!(cpus.last_level_cache(), 8 << 20);
        assert_eq!((cpus.granted.cpus.to_string().as_str(), cpus.granted.threads), ("4-7", 4));
        assert_eq!(cpus.granted.limits[0].source, "affinity mask");
        assert!(notes.is_empty(), "{notes:?}");
    }
}
