use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{control_group::Mount, root::Root};

/// Bytes of the unit in which the kernel gives sizes of disks, whatever their own block size.
const SECTOR_BYTES: u64 = 512;
/// Disks that are listed.
pub(super) const DISKS_MAX: usize = 1_024;
/// Names of block devices that are memory, files or parts of other disks.
const NO_DISKS: [&str; 5] = ["loop", "ram", "zram", "dm-", "md"];

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    /// As `nvme0n1`.
    pub name: String,
    /// As `Samsung SSD 990 PRO 2TB`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// Size in bytes.
    pub bytes: u64,
    /// Whether it turns, by its own account: virtual disks often say so wrongly.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rotational: Option<bool>,
}

/// The file system that the data directory lies on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DataVolume {
    /// The data directory.
    pub path: PathBuf,
    /// Where the file system is mounted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mount: Option<String>,
    /// As `ext4`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_system: Option<String>,
    /// As `/dev/nvme0n1p2`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
    /// Size in bytes.
    pub total: u64,
    /// Bytes that we may still write.
    pub free: u64,
}

impl Disk {
    pub(super) fn read_all(root: &Root) -> Vec<Self> {
        const FOLDER: &str = "/sys/block";
        let names = root.names(FOLDER).into_iter();
        let names = names.filter(|name| !NO_DISKS.iter().any(|prefix| name.starts_with(prefix)));
        let disk = |name: String| {
            let sectors = root.value(format!("{FOLDER}/{name}/size"))?;
            // A drive without a medium in it has no size.
            let bytes = SECTOR_BYTES.checked_mul(sectors).filter(|&bytes| bytes > 0)?;
            let rotational: Option<u8> = root.value(format!("{FOLDER}/{name}/queue/rotational"));
            Some(Self {
                model: root.words(format!("{FOLDER}/{name}/device/model")),
                bytes,
                rotational: rotational.map(|turns| turns != 0),
                name,
            })
        };
        names.filter_map(disk).take(DISKS_MAX).collect()
    }
}

impl DataVolume {
    /// `folder` need not exist yet: then it will be made on the file system of the nearest folder that does.
    pub(super) fn read(root: &Root, folder: &Path, notes: &mut Vec<String>) -> Option<Self> {
        let mut note = |why: String| {
            notes.push(format!("data_dir: {}: {why}", folder.display()));
            None
        };
        let absolute = match std::path::absolute(folder) {
            Ok(absolute) => absolute,
            Err(error) => return note(error.to_string()),
        };
        let Some(existing) = absolute.ancestors().find_map(|folder| folder.canonicalize().ok()) else {
            return note("there is no such folder, nor one above it".to_owned());
        };
        let figures = match rustix::fs::statvfs(&existing) {
            Ok(figures) => figures,
            Err(error) => return note(error.to_string()),
        };
        let mounts = root.text("/proc/self/mountinfo").unwrap_or_default();
        let mount = mount_of(&mounts, &existing);
        let bytes = |blocks: u64| blocks.saturating_mul(figures.f_frsize);
        let total = bytes(figures.f_blocks);
        Some(Self {
            path: absolute,
            mount: mount.as_ref().map(|mount| unescaped(mount.point)),
            file_system: mount.as_ref().map(|mount| mount.file_system.to_owned()),
            device: mount.as_ref().map(|mount| unescaped(mount.source)),
            total,
            free: bytes(figures.f_bavail).min(total),
        })
    }
}

/// The mount that a path is on: the deepest one above it, and the last of those on one point.
fn mount_of<'a>(mounts: &'a str, path: &Path) -> Option<Mount<'a>> {
    let above =
        mounts.lines().filter_map(Mount::parse).filter(|mount| path.starts_with(unescaped(mount.point)));
    above.max_by_key(|mount| Path::new(mount.point).components().count())
}

/// The kernel writes spaces, tabs, line ends and backslashes in octal.
fn unescaped(text: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(text.to_owned(), |text, (octal, character)| text.replace(octal, character))
}

#[cfg(test)]
mod tests {
    use super::{super::root::tests::recorded, *};

    const MOUNTS: &str = "\
27 1 254:0 / / rw,relatime - ext4 /dev/vda1 rw
28 27 0:30 / /srv rw - tmpfs none rw
29 27 259:2 / /srv rw - xfs /dev/nvme0n1p2 rw
30 27 0:31 / /srv/my\\040models rw - zfs tank/models rw
";

    #[test]
    fn the_mount_of_a_path_is_the_deepest_and_last() {
        for (path, source) in [
            ("/home/x", "/dev/vda1"),
            ("/srv", "/dev/nvme0n1p2"),
            ("/srv/a/b", "/dev/nvme0n1p2"),
            ("/srvx", "/dev/vda1"),
            ("/srv/my models/a", "tank/models"),
        ] {
            assert_eq!(mount_of(MOUNTS, Path::new(path)).unwrap().source, source, "{path}");
        }
        assert_eq!(mount_of("", Path::new("/")), None);
    }

    #[test]
    fn disks_and_what_is_none() {
        let (_folder, root) = recorded(&[
            ("/sys/block/nvme0n1/size", "4000000\n"),
            ("/sys/block/nvme0n1/queue/rotational", "0\n"),
            ("/sys/block/nvme0n1/device/model", "FAST 2TB      \n"),
            ("/sys/block/sr0/size", "0\n"),
            ("/sys/block/loop0/size", "8\n"),
            ("/sys/block/zram0/size", "8\n"),
        ]);
        let disk = Disk {
            name: "nvme0n1".into(),
            model: Some("FAST 2TB".into()),
            bytes: 2_048_000_000,
            rotational: Some(false),
        };
        assert_eq!(Disk::read_all(&root), [disk]);
    }

    #[test]
    fn a_data_directory_that_does_not_exist_yet_lies_on_the_file_system_above_it() {
        let (folder, root) = recorded(&[]);
        let mut notes = Vec::new();
        let volume = DataVolume::read(&root, &folder.path().join("a/b"), &mut notes).unwrap();
        assert_eq!(volume.path, folder.path().join("a/b"));
        assert!(volume.total > 0 && volume.free <= volume.total && notes.is_empty());
    }
}
