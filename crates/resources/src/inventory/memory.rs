use serde::{Deserialize, Serialize};

use super::{
    Bandwidth, CpuSet,
    control_group::ControlGroups,
    root::{Root, numbered},
};

/// Bytes of the kernel's `kB`.
const KIB: u64 = 1 << 10;
/// Nodes that are looked at.
pub(super) const NODES_MAX: usize = 1_024;

/// Main memory, and how much of it is ours. All sizes are in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// What the kernel manages.
    pub total: u64,
    /// What programs could still get without swapping.
    pub available: u64,
    /// Swap space.
    #[serde(default)]
    pub swap_total: u64,
    /// Swap space that is not used.
    #[serde(default)]
    pub swap_free: u64,
    /// Most that this process and its workers may use: the least of `total` and all limits.
    pub granted: u64,
    /// Limits of the control groups that we are in.
    #[serde(default)]
    pub limits: Vec<MemoryLimit>,
    /// Reserved large pages.
    #[serde(default)]
    pub huge_pages: Vec<HugePages>,
    /// How fast the granted CPUs together copy memory, if it was measured.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<Bandwidth>,
}

/// A limit of a control group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryLimit {
    /// The file that says so.
    pub source: String,
    /// Most that the group may use.
    pub bytes: u64,
    /// What it uses, without cached pages that nobody looked at for a while.
    pub used: u64,
}

/// Large pages of one size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HugePages {
    /// Size of a page.
    pub bytes: u64,
    /// Pages reserved.
    pub total: u64,
    /// Pages of them that are free.
    pub free: u64,
}

/// A part of the memory and the CPUs that are next to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumaNode {
    /// The kernel's number.
    pub id: u32,
    /// CPUs that are online; none for a node that is only memory.
    pub cpus: CpuSet,
    /// Memory in bytes.
    pub memory_total: u64,
    /// Memory in bytes that nothing is in.
    pub memory_free: u64,
    /// How far each node is, in the order of the list of nodes: 10 is the node itself, 20 twice as far.
    pub distances: Vec<u32>,
}

impl Memory {
    /// What this process and its workers could use now, in bytes.
    pub fn free_to_us(&self) -> u64 {
        let left = self.limits.iter().map(|limit| limit.bytes.saturating_sub(limit.used));
        left.chain([self.available]).min().unwrap_or(0)
    }

    pub(super) fn read(root: &Root, notes: &mut Vec<String>) -> Self {
        let meminfo = root.text("/proc/meminfo").unwrap_or_else(|error| {
            notes.push(format!("memory: cannot read /proc/meminfo: {error}"));
            String::new()
        });
        let figure = |name| meminfo_bytes(&meminfo, name);
        let total = figure("MemTotal").unwrap_or(0);
        let limits = ControlGroups::of_this_process(root).memory_limits(root);
        // A limit above all that there is limits nothing.
        let limits: Vec<_> = limits.into_iter().filter(|limit| limit.bytes < total || total == 0).collect();
        Self {
            total,
            // Kernels before 3.14 do not say what is available.
            available: figure("MemAvailable").or_else(|| figure("MemFree")).unwrap_or(0).min(total),
            swap_total: figure("SwapTotal").unwrap_or(0),
            swap_free: figure("SwapFree").unwrap_or(0),
            granted: limits.iter().map(|limit| limit.bytes).chain([total]).min().unwrap_or(total),
            limits,
            huge_pages: huge_pages(root),
            bandwidth: None,
        }
    }
}

/// What this process and its workers could use now, in bytes; `None` where the system does not say.
pub(crate) fn free_memory_here() -> Option<u64> {
    let memory = Memory::read(&Root::new("/".into()), &mut Vec::new());
    (memory.total > 0).then(|| memory.free_to_us())
}

impl NumaNode {
    pub(super) fn read_all(root: &Root, online: &CpuSet) -> Vec<Self> {
        const FOLDER: &str = "/sys/devices/system/node";
        let ids = numbered(&root.names(FOLDER), "node");
        let node = |id: u32| {
            let text = |name: &str| root.text(format!("{FOLDER}/node{id}/{name}")).unwrap_or_default();
            let meminfo = text("meminfo");
            let distances = text("distance");
            Self {
                id,
                cpus: text("cpulist").parse().map(|cpus: CpuSet| cpus.and(online)).unwrap_or_default(),
                memory_total: meminfo_bytes(&meminfo, "MemTotal").unwrap_or(0),
                memory_free: meminfo_bytes(&meminfo, "MemFree").unwrap_or(0),
                distances: distances.split_ascii_whitespace().filter_map(|text| text.parse().ok()).collect(),
            }
        };
        ids.into_iter().take(NODES_MAX).map(node).collect()
    }
}

/// A figure of `/proc/meminfo`, or of a node's, which begins each line with `Node 0 `.
fn meminfo_bytes(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| {
        let (before, after) = line.split_once(':')?;
        (before.rsplit(' ').next() == Some(name)).then_some(after)
    })?;
    line.trim().trim_end_matches("kB").trim_end().parse::<u64>().ok()?.checked_mul(KIB)
}

fn huge_pages(root: &Root) -> Vec<HugePages> {
    const FOLDER: &str = "/sys/kernel/mm/hugepages";
    let sizes = root.names(FOLDER).into_iter().filter_map(|name| {
        let kib: u64 = name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?;
        let pages = |file: &str| root.value(format!("{FOLDER}/{name}/{file}"));
        let total = pages("nr_hugepages").filter(|&total: &u64| total > 0)?;
        Some(HugePages { bytes: kib.checked_mul(KIB)?, total, free: pages("free_hugepages")?.min(total) })
    });
    let mut sizes: Vec<_> = sizes.collect();
    sizes.sort_by_key(|size| size.bytes);
    sizes
}

#[cfg(test)]
mod tests {
    use super::{super::root::tests::recorded, *};

    const MEMINFO: &str = "MemTotal:       16000 kB\nMemFree:         4000 kB\nMemAvailable:    9000 kB\n\
                           SwapTotal:       2000 kB\nSwapFree:        1000 kB\n";
    const MOUNT: &str = "35 24 0:29 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n";

    #[test]
    fn what_is_ours_is_the_least_of_machine_and_limits() {
        let limit = |bytes, used| MemoryLimit { source: String::new(), bytes, used };
        // Limits of control groups; granted and free to us, in KiB.
        let cases: &[(&[(u64, u64)], u64, u64)] = &[
            (&[], 16_000, 9_000),
            (&[(8_000, 1_000)], 8_000, 7_000),
            (&[(8_000, 9_000)], 8_000, 0),
            (&[(8_000, 1_000), (12_000, 11_500)], 8_000, 500),
            (&[(20_000, 0)], 16_000, 9_000),
        ];
        for (limits, granted, free) in cases {
            let mut files = vec![
                ("/proc/meminfo".to_owned(), MEMINFO.to_owned()),
                ("/proc/self/cgroup".to_owned(), "0::/a/b".to_owned()),
                ("/proc/self/mountinfo".to_owned(), MOUNT.to_owned()),
            ];
            for ((bytes, used), group) in limits.iter().zip(["a/b", "a"]) {
                files.push((format!("/sys/fs/cgroup/{group}/memory.max"), (bytes * KIB).to_string()));
                files.push((format!("/sys/fs/cgroup/{group}/memory.current"), (used * KIB).to_string()));
            }
            let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
            let (_folder, root) = recorded(&files);
            let memory = Memory::read(&root, &mut Vec::new());
            assert_eq!((memory.granted / KIB, memory.free_to_us() / KIB), (*granted, *free), "{limits:?}");
            assert_eq!((memory.swap_total, memory.swap_free), (2_000 * KIB, 1_000 * KIB));
        }
        let mut memory = Memory::read(&recorded(&[("/proc/meminfo", MEMINFO)]).1, &mut Vec::new());
        memory.limits = vec![limit(1, 2)];
        assert_eq!(memory.free_to_us(), 0);
    }

    #[test]
    fn nodes_and_a_machine_without_them() {
        let (_folder, root) = recorded(&[
            ("/sys/devices/system/node/node1/cpulist", "4-7\n"),
            ("/sys/devices/system/node/node1/distance", "21 10\n"),
            ("/sys/devices/system/node/node0/cpulist", "0-3,9\n"),
            ("/sys/devices/system/node/node0/distance", "10 21\n"),
            ("/sys/devices/system/node/node0/meminfo", "Node 0 MemTotal: 64 kB\nNode 0 MemFree: 32 kB\n"),
            ("/sys/devices/system/node/online", "0-1\n"),
        ]);
        let nodes = NumaNode::read_all(&root, &"0-7".parse().unwrap());
        let shown: Vec<_> =
            nodes.iter().map(|node| (node.id, node.cpus.to_string(), node.memory_total)).collect();
        assert_eq!(shown, [(0, "0-3".to_owned(), 65_536), (1, "4-7".to_owned(), 0)]);
        assert_eq!(nodes[1].distances, [21, 10]);
        assert!(NumaNode::read_all(&recorded(&[]).1, &CpuSet::default()).is_empty());
    }

    #[test]
    fn no_meminfo_is_a_note() {
        let mut notes = Vec::new();
        let memory = Memory::read(&recorded(&[]).1, &mut notes);
        assert_eq!((memory.total, notes.len()), (0, 1));
    }

    #[test]
    fn reserved_large_pages() {
        let (_folder, root) = recorded(&[
            ("/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "8\n"),
            ("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages", "5\n"),
            ("/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages", "0\n"),
        ]);
        assert_eq!(huge_pages(&root), [HugePages { bytes: 2 << 20, total: 8, free: 5 }]);
    }
}
