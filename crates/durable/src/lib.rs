//! Small files that are there whole or not at all, also if the process is killed or the power fails while they are written.
//!
//! **Does** what every other crate would else do for itself, a little differently each time: writes beside the file, waits for the disk,
//! gives the name, waits for the folder. **Never** knows what is in a file, and is not for large ones: their bytes are in memory.
//!
//! - [`put_new`]: for what is made once and must not be replaced, such as a key.
//! - [`put`]: for what is replaced, such as the newest of something.
//! - [`read`]: for what may be missing.
//! - [`remove_unfinished`], [`remove_unfinished_of`]: for who owns a folder or a file, once nobody else writes there: what a killed
//!   process has left may hold secrets.
//!
//! Of two processes that write the same file, one is the last, and its file is whole.
//!
//! ```
//! # let folder = tempfile::tempdir()?;
//! let file = folder.path().join("secret.key");
//! durable::put_new(&file, b"seven of nine")?;
//! assert!(durable::put_new(&file, b"another").is_err());
//! assert_eq!(durable::read(&file, 100)?.as_deref(), Some(&b"seven of nine"[..]));
//! # Ok::<(), std::io::Error>(())
//! ```
#![forbid(unsafe_code)]

use std::{
    ffi::OsStr,
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

/// The owner may read and write, all others nothing.
const FILE_MODE: u32 = 0o600;
/// How the name of a file ends while it is written.
const UNFINISHED: &str = ".new";
/// Names for it that are tried: processes that were killed may have had the same number.
const NAMES_TRIED_MAX: usize = 1_000;

/// Puts these bytes in the place of whatever was in the file (0600). They are on the disk when this returns.
pub fn put(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = write_beside(file, bytes)?;
    name(&new, file, |new| fs::rename(new, file))
}

/// Writes a new file (0600); [`ErrorKind::AlreadyExists`] if there is one. It is on the disk when this returns.
pub fn put_new(file: &Path, bytes: &[u8]) -> io::Result<()> {
    match fs::symlink_metadata(file) {
        Ok(_) => return Err(ErrorKind::AlreadyExists.into()),
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Err(_) => {}
    }
    let new = write_beside(file, bytes)?;
    name(&new, file, |new| match renameat_with(CWD, new, CWD, file, RenameFlags::NOREPLACE) {
        // A file system of a network may not know it. A second name replaces nothing either.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => {
            fs::hard_link(new, file).and_then(|()| fs::remove_file(new))
        }
        named => Ok(named?),
    })
}

/// A file that may be missing. Of one that is longer than `limit`, one byte more is read, so that it does not pass for whole.
pub fn read(file: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(file).and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// A new name, or one that is gone, survives a power cut only once its folder is on the disk.
pub fn sync_folder_of(file: &Path) -> io::Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Removes what killed processes have left unfinished in this folder, durably; a folder that is missing has nothing. Returns how many
/// files. Only for who owns the folder, as long as nobody else writes there: what is being written looks the same.
pub fn remove_unfinished(folder: &Path) -> io::Result<usize> {
    remove_those(folder, |name| is_unfinished(name, None))
}

/// The same for one file, in a folder that others may use too.
pub fn remove_unfinished_of(file: &Path) -> io::Result<usize> {
    let name = file.file_name();
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    remove_those(folder.unwrap_or(Path::new(".")), |found| {
        name.is_some_and(|of| is_unfinished(found, Some(of)))
    })
}

fn remove_those(folder: &Path, is_one: impl Fn(&OsStr) -> bool) -> io::Result<usize> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(0),
        entries => entries?,
    };
    let mut removed = 0;
    for entry in entries {
        let entry = entry?;
        // No link is one: what it leads to is somebody else's.
        if is_one(&entry.file_name()) && entry.file_type()?.is_file() {
            fs::remove_file(entry.path())?;
            removed += 1;
        }
    }
    if removed > 0 {
        File::open(folder)?.sync_all()?;
    }
    Ok(removed)
}

/// Whether [`write_beside`] makes such names, of this file or of any.
fn is_unfinished(name: &OsStr, of: Option<&OsStr>) -> bool {
    let is_number = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let Some(rest) = name.as_bytes().strip_suffix(UNFINISHED.as_bytes()) else { return false };
    let Some(dot) = rest.iter().rposition(|byte| *byte == b'.') else { return false };
    let (file, numbers) = (&rest[..dot], &rest[dot + 1..]);
    let mut parts = numbers.split(|byte| *byte == b'-');
    let (Some(process), Some(number), None) = (parts.next(), parts.next(), parts.next()) else {
        return false;
    };
    is_number(process) && is_number(number) && !file.is_empty() && of.is_none_or(|of| of.as_bytes() == file)
}

/// What is not finished is beside the file, under a name that nobody has: what a killed process has left, or others have there, is
/// neither written to nor removed.
fn write_beside(file: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let Some(name) = file.file_name() else {
        return Err(io::Error::new(ErrorKind::InvalidInput, "this names no file"));
    };
    let (mut open, new) = (0..NAMES_TRIED_MAX)
        .find_map(|_| {
            let mut name = name.to_owned();
            name.push(format!(".{}-{}{UNFINISHED}", process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
            let new = file.with_file_name(name);
            match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new) {
                Ok(open) => Some(Ok((open, new))),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => None,
                Err(error) => Some(Err(error)),
            }
        })
        .unwrap_or_else(|| Err(ErrorKind::AlreadyExists.into()))?;
    let written = open.write_all(bytes).and_then(|()| open.sync_all());
    if written.is_err() {
        // A full disk gets back what could be written of it.
        let _ = fs::remove_file(&new);
    }
    written.map(|()| new)
}

fn name(new: &Path, file: &Path, rename: impl FnOnce(&Path) -> io::Result<()>) -> io::Result<()> {
    if let Err(error) = rename(new) {
        let _ = fs::remove_file(new);
        return Err(error);
    }
    sync_folder_of(file)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn what_is_put_is_whole_and_what_is_new_replaces_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("latest");
        assert_eq!(read(&file, 9).unwrap(), None);
        put(&file, b"one").unwrap();
        put(&file, b"two").unwrap();
        assert_eq!(put_new(&file, b"three").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(read(&file, 9).unwrap().unwrap(), b"two");
        assert_eq!(read(&file, 1).unwrap().unwrap(), b"tw");
        put_new(&folder.path().join("new"), b"three").unwrap();
        // Also a name that leads nowhere is one.
        let nowhere = folder.path().join("nowhere");
        symlink(folder.path().join("missing"), &nowhere).unwrap();
        assert_eq!(put_new(&nowhere, b"four").unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!(put(Path::new("/"), b"five").unwrap_err().kind(), ErrorKind::InvalidInput);
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 3, "nothing unfinished is left");
    }

    /// What a killed process has left, and what somebody else has there, stays what it is.
    #[test]
    fn what_lies_beside_a_file_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("latest");
        let beside: Vec<PathBuf> = (0..500)
            .map(|number| folder.path().join(format!("latest.{}-{number}{UNFINISHED}", process::id())))
            .chain([folder.path().join(format!("latest{UNFINISHED}"))])
            .collect();
        for file in &beside {
            fs::write(file, b"ha").unwrap();
        }
        put(&file, b"whole").unwrap();
        assert_eq!(read(&file, 9).unwrap().unwrap(), b"whole");
        let metadata = fs::symlink_metadata(&file).unwrap();
        assert!(metadata.is_file() && metadata.permissions().mode() & 0o777 == FILE_MODE);
        assert!(beside.iter().all(|file| fs::read(file).unwrap() == b"ha"));
    }

    #[test]
    fn what_killed_processes_left_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        let left = ["a.key.12-0.new", "a.key.4194304-17.new", "b.7-1.new"];
        let others = [
            "a.key",
            "a.key.new",
            "a.key.x-1.new",
            "a.key.1-2-3.new",
            "a.key.1.new",
            ".1-2.new",
            "1-2.new",
            "a.1-2.new~",
        ];
        for name in left.iter().chain(&others) {
            fs::write(path(name), b"secret").unwrap();
        }
        symlink(path("a.key"), path("c.1-2.new")).unwrap();
        fs::create_dir(path("d.1-2.new")).unwrap();
        assert_eq!(remove_unfinished_of(&path("a.key")).unwrap(), 2);
        assert!(path("b.7-1.new").exists());
        assert_eq!(remove_unfinished(folder.path()).unwrap(), 1);
        assert_eq!(remove_unfinished(folder.path()).unwrap(), 0);
        assert_eq!(remove_unfinished(&path("missing")).unwrap(), 0);
        assert!(left.iter().all(|name| !path(name).exists()));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), others.len() + 2);

        // What is left of a write that was broken off is such a file.
        let beside = write_beside(&path("a.key"), b"new").unwrap();
        assert_eq!(remove_unfinished(folder.path()).unwrap(), 1);
        assert!(!beside.exists());
    }
}
