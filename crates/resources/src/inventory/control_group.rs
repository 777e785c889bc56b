//! What a control group grants, by both versions of the kernel's interface (cgroups(7); the kernel's
//! `cgroup-v2.rst` and `cgroup-v1/`).

use std::path::{Path, PathBuf};

use super::{CpuLimit, CpuSet, MemoryLimit, root::Root};

/// Levels of a hierarchy that are looked at, from our own group up.
const LEVELS_MAX: usize = 32;
/// From here on a limit of version 1 means none: it is the largest number of pages, in bytes.
const NO_LIMIT_V1: u64 = 1 << 62;
/// Thousandths of a CPU.
const MILLICPUS: u64 = 1_000;

/// Our control groups: for each controller the folders from our own group up to the top of its hierarchy.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct ControlGroups {
    cpu: Option<Branch>,
    cpuset: Option<Branch>,
    memory: Option<Branch>,
}

/// Our place in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Branch {
    version: Version,
    folders: Vec<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Version {
    V1,
    V2,
}

impl ControlGroups {
    pub(super) fn of_this_process(root: &Root) -> Self {
        let text = |path| root.text(path).unwrap_or_default();
        Self::parse(&text("/proc/self/cgroup"), &text("/proc/self/mountinfo"), root)
    }

    /// `cgroup` is `/proc/self/cgroup`, `mounts` is `/proc/self/mountinfo`. A controller may be in either
    /// version; version 1 goes first, because version 2 has a controller only where version 1 does not.
    fn parse(cgroup: &str, mounts: &str, root: &Root) -> Self {
        let v1 = |controller: &str| {
            let group = cgroup.lines().find_map(|line| {
                let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
                controllers.split(',').any(|name| name == controller).then_some(path)
            })?;
            let mount = Mount::find(mounts, |mount| {
                mount.file_system == "cgroup" && mount.options.split(',').any(|option| option == controller)
            })?;
            Some(Branch { version: Version::V1, folders: mount.folders(group) })
        };
        let v2 = || {
            let group = cgroup.lines().find_map(|line| line.strip_prefix("0::"))?;
            let mount = Mount::find(mounts, |mount| mount.file_system == "cgroup2")?;
            Some(Branch { version: Version::V2, folders: mount.folders(group) })
        };
        let branch = |controller| {
            let found = v1(controller).or_else(v2);
            // A container may see its mounts without the files behind them.
            found.filter(|branch| branch.folders.iter().any(|folder| root.exists(folder)))
        };
        Self { cpu: branch("cpu"), cpuset: branch("cpuset"), memory: branch("memory") }
    }

    /// Everything that limits our use of CPUs, from our own group up.
    pub(super) fn cpu_limits(&self, root: &Root) -> Vec<CpuLimit> {
        // A group's effective set is never larger than that of the group above: our own says it all.
        let cpuset = self.cpuset.iter().find_map(|branch| {
            let names = match branch.version {
                Version::V1 => ["cpuset.effective_cpus", "cpuset.cpus"],
                Version::V2 => ["cpuset.cpus.effective", "cpuset.cpus"],
            };
            let candidates = branch.folders.iter().flat_map(|folder| names.map(|name| folder.join(name)));
            candidates.into_iter().find_map(|path| {
                let cpus = root.value::<CpuSet>(&path).filter(|cpus| !cpus.is_empty())?;
                Some(CpuLimit { source: shown(&path), cpus: Some(cpus), quota_millicpus: None })
            })
        });
        let quotas = self.cpu.iter().flat_map(|branch| {
            branch.folders.iter().filter_map(|folder| {
                let (path, quota) = match branch.version {
                    Version::V1 => {
                        let path = folder.join("cpu.cfs_quota_us");
                        let period = root.text(folder.join("cpu.cfs_period_us")).ok()?;
                        let quota = quota_millicpus(&root.text(&path).ok()?, &period);
                        (path, quota)
                    }
                    Version::V2 => {
                        let path = folder.join("cpu.max");
                        let text = root.text(&path).ok()?;
                        let (quota, period) = text.split_once(' ')?;
                        (path, quota_millicpus(quota, period))
                    }
                };
                Some(CpuLimit { source: shown(&path), cpus: None, quota_millicpus: Some(quota?) })
            })
        });
        cpuset.into_iter().chain(quotas).collect()
    }

    /// Every limit of our memory, from our own group up.
    pub(super) fn memory_limits(&self, root: &Root) -> Vec<MemoryLimit> {
        let Some(branch) = &self.memory else { return Vec::new() };
        let (limit, usage, inactive) = match branch.version {
            Version::V1 => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
            Version::V2 => ("memory.max", "memory.current", "inactive_file "),
        };
        let limits = branch.folders.iter().filter_map(|folder| {
            let path = folder.join(limit);
            // Without a limit version 2 says `max`, which is no number.
            let bytes = root.value(&path).filter(|&bytes: &u64| bytes < NO_LIMIT_V1)?;
            let usage: u64 = root.value(folder.join(usage)).unwrap_or(0);
            let stat = root.text(folder.join("memory.stat")).unwrap_or_default();
            let inactive = stat.lines().find_map(|line| line.strip_prefix(inactive)?.parse().ok());
            // Cached pages that nobody uses are counted, but go as soon as memory is asked for.
            let used = usage.saturating_sub(inactive.unwrap_or(0));
            Some(MemoryLimit { source: shown(&path), bytes, used })
        });
        limits.collect()
    }
}

/// A file system that is mounted, as in proc(5).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Mount<'a> {
    /// `major:minor`.
    pub(super) device: &'a str,
    /// The folder of the file system that is mounted.
    pub(super) root: &'a str,
    /// Where it is mounted; `\040` is a space.
    pub(super) point: &'a str,
    /// As `ext4`.
    pub(super) file_system: &'a str,
    /// As `/dev/sda1`.
    pub(super) source: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    pub(super) fn parse(line: &'a str) -> Option<Self> {
        let (before, after) = line.split_once(" - ")?;
        let mut before = before.split(' ').skip(2);
        let mut after = after.splitn(3, ' ');
        Some(Self {
            device: before.next()?,
            root: before.next()?,
            point: before.next()?,
            file_system: after.next()?,
            source: after.next()?,
            options: after.next().unwrap_or_default(),
        })
    }

    fn find(mounts: &'a str, wanted: impl Fn(&Self) -> bool) -> Option<Self> {
        mounts.lines().filter_map(Self::parse).find(wanted)
    }

    /// The folders of a control group and of those above it, as far as this mount shows them. A container
    /// often sees only its own group, mounted as if it were the top.
    fn folders(&self, group: &str) -> Vec<PathBuf> {
        let inside = Path::new(group).strip_prefix(self.root).unwrap_or(Path::new(""));
        // A group outside of our namespace is shown as `/../name`: of it we see the mount only.
        let inside =
            if inside.components().any(|part| part.as_os_str() == "..") { Path::new("") } else { inside };
        inside.ancestors().take(LEVELS_MAX).map(|part| Path::new(self.point).join(part)).collect()
    }
}

/// CPU time per time, in thousandths of a CPU; `None` for no limit (`max` or -1) and for what makes no sense.
fn quota_millicpus(quota: &str, period: &str) -> Option<u64> {
    let (quota, period): (u64, u64) = (quota.trim().parse().ok()?, period.trim().parse().ok()?);
    quota.checked_mul(MILLICPUS)?.checked_div(period).filter(|&millicpus| millicpus > 0)
}

fn shown(path: &Path) -> String {
    path.to_string_lossy().trim_end_matches('/').to_owned()
}

#[cfg(test)]
mod tests {
    use super::{super::root::tests::recorded, *};

    const V2_MOUNT: &str = "35 24 0:29 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n";
    const V1_MOUNTS: &str = "\
32 31 0:29 /docker/ab /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct
34 31 0:31 /docker/ab /sys/fs/cgroup/cpuset ro - cgroup cgroup rw,cpuset
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
    const V1_GROUP: &str =
        "4:memory:/user/me\n3:cpuset:/docker/ab\n1:cpu,cpuacct:/docker/ab\n0::/docker/ab\n";

    #[test]
    fn limits_of_both_versions_are_found_on_every_level() {
        type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, Vec<String>, Vec<(String, u64, u64)>);
        let s = str::to_owned;
        let cases: Vec<Case<'_>> = vec![
            ("nothing mounted", vec![("/proc/self/cgroup", "0::/a\n")], vec![], vec![]),
            (
                "version 2, nested",
                vec![
                    ("/proc/self/cgroup", "0::/a.slice/b\n"),
                    ("/proc/self/mountinfo", V2_MOUNT),
                    ("/sys/fs/cgroup/a.slice/b/cpu.max", "max 100000\n"),
                    ("/sys/fs/cgroup/a.slice/cpu.max", "150000 100000\n"),
                    ("/sys/fs/cgroup/a.slice/b/cpuset.cpus.effective", "2-3\n"),
                    ("/sys/fs/cgroup/cpuset.cpus.effective", "0-7\n"),
                    ("/sys/fs/cgroup/a.slice/b/memory.max", "max\n"),
                    ("/sys/fs/cgroup/a.slice/memory.max", "1000000\n"),
                    ("/sys/fs/cgroup/a.slice/memory.current", "600000\n"),
                    ("/sys/fs/cgroup/a.slice/memory.stat", "anon 1\ninactive_file 100000\n"),
                ],
                vec![
                    s("/sys/fs/cgroup/a.slice/b/cpuset.cpus.effective 2-3"),
                    s("/sys/fs/cgroup/a.slice/cpu.max 1500"),
                ],
                vec![(s("/sys/fs/cgroup/a.slice/memory.max"), 1_000_000, 500_000)],
            ),
            (
                "version 1 in a container, hybrid",
                vec![
                    ("/proc/self/cgroup", V1_GROUP),
                    ("/proc/self/mountinfo", V1_MOUNTS),
                    ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "250000\n"),
                    ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
                    ("/sys/fs/cgroup/cpuset/cpuset.effective_cpus", "\n"),
                    ("/sys/fs/cgroup/cpuset/cpuset.cpus", "1,3\n"),
                    ("/sys/fs/cgroup/memory/user/me/memory.limit_in_bytes", "9223372036854771712\n"),
                    ("/sys/fs/cgroup/memory/user/memory.limit_in_bytes", "2000\n"),
                    ("/sys/fs/cgroup/memory/user/memory.usage_in_bytes", "300\n"),
                ],
                vec![
                    s("/sys/fs/cgroup/cpuset/cpuset.cpus 1,3"),
                    s("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us 2500"),
                ],
                vec![(s("/sys/fs/cgroup/memory/user/memory.limit_in_bytes"), 2_000, 300)],
            ),
            (
                "version 1 without limits",
                vec![
                    ("/proc/self/cgroup", V1_GROUP),
                    ("/proc/self/mountinfo", V1_MOUNTS),
                    ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us", "-1\n"),
                    ("/sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us", "100000\n"),
                ],
                vec![],
                vec![],
            ),
        ];
        for (name, files, cpu, memory) in cases {
            let (_folder, root) = recorded(&files);
            let groups = ControlGroups::of_this_process(&root);
            let cpu_limits: Vec<_> = groups
                .cpu_limits(&root)
                .into_iter()
                .map(|limit| {
                    let cpus = limit.cpus.map(|cpus| cpus.to_string());
                    let quota = limit.quota_millicpus.map(|quota| quota.to_string());
                    format!("{} {}", limit.source, cpus.or(quota).unwrap())
                })
                .collect();
            assert_eq!(cpu_limits, cpu, "{name}");
            let memory_limits: Vec<_> = groups
                .memory_limits(&root)
                .into_iter()
                .map(|limit| (limit.source, limit.bytes, limit.used))
                .collect();
            assert_eq!(memory_limits, memory, "{name}");
        }
    }

    #[test]
    fn a_quota_is_time_per_time() {
        let cases = [
            ("150000", "100000", Some(1_500)),
            ("max", "100000", None),
            ("-1", "100000", None),
            ("1", "1000000", None),
            ("5", "0", None),
            ("18446744073709551615", "1", None),
        ];
        for (quota, period, expected) in cases {
            assert_eq!(quota_millicpus(quota, period), expected, "{quota} {period}");
        }
    }

    #[test]
    fn a_group_outside_of_the_namespace_is_seen_as_its_mount() {
        let mount = Mount::parse(V2_MOUNT.trim()).unwrap();
        let folders = |group| mount.folders(group);
        assert_eq!(folders("/../other"), [Path::new("/sys/fs/cgroup")]);
        assert_eq!(folders("/a"), [Path::new("/sys/fs/cgroup/a"), Path::new("/sys/fs/cgroup")]);
    }
}
