//! What the log does to files. In one place, so that tests can let it fail.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Advice, FallocateFlags};

use super::error::{Doing, LogError};

const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o700;
/// Bytes that are written at a time where the file system cannot allocate.
const ZEROS_BYTES: usize = 16 * 1024;

/// Folders in which names have changed since they were last synced.
#[derive(Debug, Default)]
pub(super) struct Touched(BTreeSet<PathBuf>);

impl Touched {
    /// A name in its folder has changed.
    pub(super) fn add(&mut self, path: &Path) {
        self.0.extend(path.parent().map(Path::to_path_buf));
    }
}

#[derive(Debug, Default)]
pub(super) struct Disk {
    #[cfg(test)]
    pub(super) faults: std::sync::Arc<Faults>,
}

/// Which calls fail, for tests.
#[cfg(test)]
#[derive(Debug, Default)]
pub(super) struct Faults {
    /// Nothing can be allocated, and no new file be written.
    pub(super) full: std::sync::atomic::AtomicBool,
    /// Not even what was allocated can be written.
    pub(super) no_room: std::sync::atomic::AtomicBool,
    /// Nothing is confirmed.
    pub(super) sync: std::sync::atomic::AtomicBool,
    /// Most bytes of a write to a segment that still arrive; 0 for all. Then the call fails.
    pub(super) torn_after: std::sync::atomic::AtomicUsize,
}

impl Disk {
    /// A new file of zeros, whose room nobody can take away any more.
    pub(super) fn allocate(&self, path: &Path, bytes: u64) -> Result<File, LogError> {
        self.check_room().doing("make", path)?;
        let mut file = options().create_new(true).open(path).doing("make", path)?;
        let allocated = match rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, bytes) {
            Err(rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOSYS) => write_zeros(&mut file, bytes),
            // What was only allocated is marked as unwritten, and a sync would have to write each mark's end into the file system's
            // journal: over zeros that are there it takes half the time.
            other => other.map_err(io::Error::from).and_then(|()| write_zeros(&mut file, bytes)),
        };
        if let Err(error) = allocated.doing("allocate", path) {
            // What could be had of it is given back, or a full disk would be fuller after each try.
            let _ = fs::remove_file(path);
            return Err(error);
        }
        self.sync(&file, path)?;
        Ok(file)
    }

    /// Writes to bytes that were allocated before. If it fails, nobody knows what they are now. There may be no room all the same, on a
    /// disk that promises more than it has, or that writes nothing in place: then it can be written again, over the same bytes.
    #[cfg_attr(not(test), expect(clippy::unused_self))]
    pub(super) fn write_at(
        &self,
        file: &File,
        path: &Path,
        bytes: &[u8],
        offset: u64,
    ) -> Result<(), LogError> {
        #[cfg(test)]
        if let limit @ 1.. = self.faults.torn_after.load(std::sync::atomic::Ordering::Relaxed) {
            let _ = file.write_all_at(&bytes[..limit.min(bytes.len())], offset);
            return Err(unconfirmed("write", path, &io::Error::other("torn by the test")));
        }
        #[cfg(test)]
        if self.faults.no_room.load(std::sync::atomic::Ordering::Relaxed) {
            // Some of it arrives.
            let _ = file.write_all_at(&bytes[..bytes.len() * 3 / 4], offset);
            return Err(io::Error::from(io::ErrorKind::StorageFull)).doing("write", path);
        }
        match file.write_all_at(bytes, offset) {
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
            {
                Err(error).doing("write", path)
            }
            other => other.map_err(|error| unconfirmed("write", path, &error)),
        }
    }

    /// The bytes of a file are on the disk when this returns. If it fails, nobody knows which are.
    pub(super) fn sync(&self, file: &File, path: &Path) -> Result<(), LogError> {
        self.check_sync().and_then(|()| file.sync_data()).map_err(|error| unconfirmed("sync", path, &error))
    }

    /// Writes a file whole: it is there with all its bytes, or not at all. Its name is on the disk after [`Disk::settle`].
    pub(super) fn put(
        &self,
        new: &Path,
        path: &Path,
        bytes: &[u8],
        touched: &mut Touched,
    ) -> Result<(), LogError> {
        self.check_room().doing("write", path)?;
        if let Some(folder) = path.parent() {
            make_folders(folder, touched)?;
            touched.0.insert(folder.to_path_buf());
        }
        let mut file = options().create(true).truncate(true).open(new).doing("write", new)?;
        file.write_all(bytes).doing("write", new)?;
        self.check_sync().and_then(|()| file.sync_all()).map_err(|error| unconfirmed("sync", new, &error))?;
        fs::rename(new, path).doing("name", path)
    }

    /// Every new name is on the disk when this returns.
    pub(super) fn settle(&self, touched: &mut Touched) -> Result<(), LogError> {
        while let Some(folder) = touched.0.pop_last() {
            let opened = File::open(&folder).doing("open", &folder)?;
            let synced = self.check_sync().and_then(|()| opened.sync_all());
            synced.map_err(|error| unconfirmed("sync", &folder, &error))?;
        }
        Ok(())
    }

    /// Opens a segment, and forgets what the system keeps of it in memory: after a failed sync that may be more than the
    /// disk has (Rebello et al., "Can Applications Recover from fsync Failures?", 2020).
    pub(super) fn reopen(&self, path: &Path) -> Result<File, LogError> {
        let file = options().open(path).doing("open", path)?;
        self.sync(&file, path)?;
        // Advice only: a file system without it keeps nothing in memory either.
        let _ = rustix::fs::fadvise(&file, 0, None, Advice::DontNeed);
        Ok(file)
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, clippy::unnecessary_wraps))]
    fn check_room(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.faults.full.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }

    #[cfg_attr(not(test), expect(clippy::unused_self, clippy::unnecessary_wraps))]
    fn check_sync(&self) -> io::Result<()> {
        #[cfg(test)]
        if self.faults.sync.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(io::Error::other("not confirmed, says the test"));
        }
        Ok(())
    }
}

/// Renames within a folder; on the disk after [`Disk::settle`].
pub(super) fn rename(from: &Path, to: &Path, touched: &mut Touched) -> Result<(), LogError> {
    fs::rename(from, to).doing("name", to)?;
    touched.0.extend(to.parent().map(Path::to_path_buf));
    Ok(())
}

/// Makes a folder and those above it.
pub(super) fn make_folders(folder: &Path, touched: &mut Touched) -> Result<(), LogError> {
    let missing: Vec<&Path> = folder.ancestors().take_while(|one| !one.exists()).collect();
    for one in missing.into_iter().rev() {
        DirBuilder::new().mode(FOLDER_MODE).create(one).doing("make", one)?;
        touched.0.extend(one.parent().map(Path::to_path_buf));
    }
    Ok(())
}

/// Opens the file that says who has the log, and takes it.
pub(super) fn lock(path: &Path) -> Result<File, LogError> {
    let file = options().create(true).open(path).doing("open", path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            let folder = path.parent().unwrap_or(path).display().to_string();
            Err(LogError::Locked { folder })
        }
        Err(fs::TryLockError::Error(error)) => Err(error).doing("lock", path),
    }
}

/// A file that may be missing. Of one that is longer than `limit`, one byte more is read, so that it does not pass for whole.
pub(super) fn read(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, LogError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes));
    match read {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error).doing("read", path),
    }
}

/// Names of the files in a folder that may be missing.
pub(super) fn names(folder: &Path) -> Result<Vec<String>, LogError> {
    let listed = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.doing("list", folder)?,
    };
    let mut names = Vec::new();
    for entry in listed {
        // A name that is no text is none of ours.
        names.extend(entry.doing("list", folder)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

/// Removes a file that may be gone.
pub(super) fn remove(path: &Path) -> Result<(), LogError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.doing("remove", path),
    }
}

fn unconfirmed(doing: &str, path: &Path, error: &io::Error) -> LogError {
    LogError::Broken { why: format!("cannot {doing} {}: {error}", path.display()) }
}

fn write_zeros(file: &mut File, bytes: u64) -> io::Result<()> {
    let zeros = vec![0; ZEROS_BYTES];
    let mut left = bytes;
    while left > 0 {
        let some = left.min(ZEROS_BYTES as u64);
        file.write_all(&zeros[..some as usize])?;
        left -= some;
    }
    Ok(())
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(FILE_MODE);
    options
}
