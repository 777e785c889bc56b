//! Small files that are there whole or not at all, also after a crash.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use rustix::{
    fs::{CWD, RenameFlags, renameat_with},
    io::Errno,
};

/// The owner may read and write, all others nothing.
const FILE_MODE: u32 = 0o600;

/// Puts these bytes in the place of whatever was in the file. They are on the disk when this returns.
pub(crate) fn put(file: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = write_beside(file, bytes)?;
    name(&new, file, |new| fs::rename(new, file))
}

/// Writes a new file; [`ErrorKind::AlreadyExists`] if there is one. It is on the disk when this returns.
pub(crate) fn put_new(file: &Path, bytes: &[u8]) -> io::Result<()> {
    if file.try_exists()? {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let new = write_beside(file, bytes)?;
    name(&new, file, |new| match renameat_with(CWD, new, CWD, file, RenameFlags::NOREPLACE) {
        // A file system of a network may not know it. Then what was seen above has to do.
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP) => fs::rename(new, file),
        named => Ok(named?),
    })
}

/// A file that may be missing. Of one that is longer than `limit`, one byte more is read, so that it does not pass for whole.
pub(crate) fn read(file: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    match File::open(file).and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is not finished is beside the file, under a name that is no file of anybody's.
fn write_beside(file: &Path, bytes: &[u8]) -> io::Result<std::path::PathBuf> {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = file.with_file_name(name);
    let mut open = OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&new)?;
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
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
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
        let names = fs::read_dir(folder.path()).unwrap().count();
        assert_eq!(names, 2, "nothing unfinished is left");
    }
}
