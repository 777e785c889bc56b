use std::{
    fs::{self, File},
    io::{self, Read},
    path::{Path, PathBuf},
    str::FromStr,
};

/// Longest file of procfs or sysfs that is read: `/proc/cpuinfo` of the largest machines.
const FILE_BYTES_MAX: u64 = 16 << 20;
/// Most entries of one folder that are looked at.
const ENTRIES_MAX: usize = 16_384;

/// Where the machine describes itself: `/`, or a folder with a recorded copy of its procfs and sysfs.
#[derive(Debug, Clone)]
pub(super) struct Root(PathBuf);

impl Root {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// The text of a file, without white space and zeros at its ends. `path` is absolute on the machine described.
    pub(super) fn text(&self, path: impl AsRef<Path>) -> io::Result<String> {
        let mut bytes = Vec::new();
        File::open(self.at(path.as_ref()))?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
        // Names of devices come from firmware, in whatever encoding.
        let text = String::from_utf8_lossy(&bytes);
        Ok(text.trim_matches(|c: char| c.is_whitespace() || c == '\0').to_owned())
    }

    /// The value in a file, if there is one that can be read.
    pub(super) fn value<T: FromStr>(&self, path: impl AsRef<Path>) -> Option<T> {
        self.text(path).ok()?.parse().ok()
    }

    /// A text that says something.
    pub(super) fn words(&self, path: impl AsRef<Path>) -> Option<String> {
        self.text(path).ok().filter(|text| !text.is_empty())
    }

    /// Names in a folder, in order; none if it cannot be read.
    pub(super) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.at(path.as_ref())).into_iter().flatten().flatten();
        let mut names: Vec<_> =
            entries.take(ENTRIES_MAX).filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    pub(super) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.at(path.as_ref()).exists()
    }

    /// The name of what a link points to, such as a device's driver.
    pub(super) fn link_name(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = fs::read_link(self.at(path.as_ref())).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    fn at(&self, path: &Path) -> PathBuf {
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }
}

/// The numbers at the ends of names: `node12` of prefix `node` is 12.
pub(super) fn numbered(names: &[String], prefix: &str) -> Vec<u32> {
    let number = |name: &String| name.strip_prefix(prefix)?.parse().ok();
    let mut numbers: Vec<u32> = names.iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A recorded machine: its files, each with its content. A content that begins with `->` is a link.
    pub(crate) fn recorded(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path().to_owned());
        for (path, content) in files {
            let path = root.at(Path::new(path));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("->") {
                Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                None => fs::write(path, content).unwrap(),
            }
        }
        (folder, root)
    }

    #[test]
    fn what_is_not_there_is_absent() {
        let (_folder, root) =
            recorded(&[("/sys/a/n", "12\n"), ("/sys/a/b", "x"), ("/sys/l", "->/drivers/i915")]);
        assert_eq!(root.value("/sys/a/n"), Some(12));
        assert_eq!(root.value::<u32>("/sys/a/b"), None);
        assert_eq!(root.words("/sys/a/c"), None);
        assert_eq!(root.names("/sys/a"), ["b", "n"]);
        assert!(root.names("/sys/none").is_empty());
        assert_eq!(root.link_name("/sys/l").as_deref(), Some("i915"));
        assert_eq!(numbered(&["node10".into(), "node2".into(), "nodes".into()], "node"), [2, 10]);
    }
}
