use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    thread::sleep,
    time::{Duration, Instant},
};

use super::{Digest, StoreError, error::Doing};

/// The owner may do everything in a folder, all others nothing.
const FOLDER_MODE: u32 = 0o700;
/// The owner may read and write, all others nothing.
pub(super) const FILE_MODE: u32 = 0o600;
/// What is not whole yet, and will be renamed.
const NEW: &str = ".new";
/// Longest wait for the lock of the store, which is held for a few system calls only.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often the lock is tried.
const LOCK_TRY_EVERY: Duration = Duration::from_millis(20);
/// Most private folders of one process.
const SCRATCHES_MAX: usize = 64;
/// Longest process id in a name, in bytes.
const PID_BYTES_MAX: usize = 20;

/// Where everything is, and how it is written: a file appears whole under its name, or not at all.
#[derive(Debug, Clone)]
pub(super) struct Folder {
    root: PathBuf,
}

/// As long as this lives, no other process changes names or removes files.
#[derive(Debug)]
pub(super) struct Locked {
    _file: File,
}

/// A private folder for what is taken apart on the way into the store. Dropping it removes it; one whose process
/// was killed is removed when the store is next opened.
#[derive(Debug)]
pub(super) struct Scratch {
    path: PathBuf,
    _lock: File,
}

impl Folder {
    pub(super) fn open(root: PathBuf) -> Result<Self, StoreError> {
        let folder = Self { root };
        for part in [folder.blobs(), folder.partial(), folder.names(), folder.in_use(), folder.scratches()] {
            make_folder(&part)?;
        }
        Ok(folder)
    }

    /// Whole model files, named by their content.
    pub(super) fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    pub(super) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(blob_name(digest))
    }

    /// Downloads that have begun.
    pub(super) fn partial(&self) -> PathBuf {
        self.root.join("partial")
    }

    /// What each name stands for.
    pub(super) fn names(&self) -> PathBuf {
        self.root.join("names")
    }

    /// One file for each claim, locked by the process that made it.
    pub(super) fn in_use(&self) -> PathBuf {
        self.root.join("in-use")
    }

    fn scratches(&self) -> PathBuf {
        self.root.join("scratch")
    }

    /// Waits until no other process changes the store.
    pub(super) fn lock(&self) -> Result<Locked, StoreError> {
        let path = self.root.join("lock");
        let file = open_to_lock(&path).doing("open", &path)?;
        let started = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Locked { _file: file }),
                Err(TryLockError::WouldBlock) if started.elapsed() < LOCK_WAIT_MAX => sleep(LOCK_TRY_EVERY),
                Err(TryLockError::WouldBlock) => {
                    let (path, waited_s) = (path.display().to_string(), LOCK_WAIT_MAX.as_secs());
                    return Err(StoreError::Busy { path, waited_s });
                }
                Err(TryLockError::Error(error)) => return Err(error).doing("lock", &path),
            }
        }
    }

    /// Makes an empty private folder on the same file system.
    pub(super) fn scratch(&self) -> Result<Scratch, StoreError> {
        let _locked = self.lock()?;
        let pid = std::process::id();
        let path = |count| self.scratches().join(format!("{pid}-{count}"));
        let free = (0..SCRATCHES_MAX).map(path).find(|path| !path.exists());
        let path =
            free.ok_or(StoreError::TooMany { what: "private folders of one process", max: SCRATCHES_MAX })?;
        make_folder(&path)?;
        let lock = path.join("lock");
        let file = open_to_lock(&lock).doing("open", &lock)?;
        file.try_lock().map_err(io::Error::from).doing("lock", &lock)?;
        Ok(Scratch { path, _lock: file })
    }

    /// Removes what processes that were killed have left: scratch folders, claims, manifests that were not whole.
    pub(super) fn sweep(&self, _locked: &Locked) -> Result<(), StoreError> {
        for path in entries(&self.scratches())? {
            if is_abandoned(&path.join("lock")) {
                or_gone(fs::remove_dir_all(&path)).doing("remove", &path)?;
            }
        }
        for path in entries(&self.in_use())?.into_iter().filter(|path| is_abandoned(path)) {
            or_gone(fs::remove_file(&path)).doing("remove", &path)?;
        }
        // They are written under the lock, so nobody is writing one now.
        for path in entries(&self.names())?.into_iter().filter(|path| is_new(path)) {
            or_gone(fs::remove_file(&path)).doing("remove", &path)?;
        }
        Ok(())
    }
}

impl Scratch {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is swept when the store is next opened.
        let _ = fs::remove_dir_all(&self.path);
    }
}

pub(super) fn blob_name(digest: &Digest) -> String {
    format!("sha256-{}", digest.hex())
}

/// Writes a small file: whole under its name, or not at all, also when the power fails.
pub(super) fn write_whole(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(NEW);
    let new = PathBuf::from(new);
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(FILE_MODE).open(&new)?;
        file.write_all(text)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        sync_folder_of(path)
    };
    write().inspect_err(|_| drop(fs::remove_file(&new)))
}

/// Makes names that were added or removed last.
pub(super) fn sync_folder_of(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

/// Reads a small file of ours; nothing if there is none.
pub(super) fn read_small(path: &Path, bytes_max: u64) -> Result<Option<Vec<u8>>, StoreError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.doing("open", path)?,
    };
    let mut bytes = Vec::new();
    file.take(bytes_max + 1).read_to_end(&mut bytes).doing("read", path)?;
    if bytes.len() as u64 > bytes_max {
        let why = format!("larger than {bytes_max} bytes");
        return Err(StoreError::Damaged { path: path.display().to_string(), why });
    }
    Ok(Some(bytes))
}

/// All that is in a folder, in the order of the names.
pub(super) fn entries(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = || fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>();
    let mut paths = read().doing("look into", folder)?;
    paths.sort();
    Ok(paths)
}

/// Opens a file that only its owner can read, to lock it or to write what will be renamed.
pub(super) fn open_to_lock(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(FILE_MODE).open(path)
}

/// Whether this open file is still the one of that name.
pub(super) fn is_same(file: &File, path: &Path) -> bool {
    let id = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(ours), Ok(there)) => id(ours) == id(there),
        _ => false,
    }
}

/// Bytes that a file of ours may still take here.
pub(super) fn free_space(folder: &Path) -> io::Result<u64> {
    let space = rustix::fs::statvfs(folder)?;
    Ok(space.f_bavail.saturating_mul(space.f_frsize))
}

/// The process id at the end of the name of a claim, for a message.
pub(super) fn pid_in(text: &str) -> String {
    let digits: String = text.chars().filter(char::is_ascii_digit).take(PID_BYTES_MAX).collect();
    if digits.is_empty() { "of an unknown id".to_owned() } else { digits }
}

/// Whether nobody has this file locked. The kernel releases the lock of a process that dies, however it dies.
pub(super) fn is_abandoned(path: &Path) -> bool {
    match File::open(path) {
        Ok(file) => file.try_lock().is_ok(),
        Err(error) => error.kind() == io::ErrorKind::NotFound,
    }
}

/// Who removes its own things needs no lock for it, and may be quicker.
fn or_gone(removed: io::Result<()>) -> io::Result<()> {
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn is_new(path: &Path) -> bool {
    path.to_string_lossy().ends_with(NEW)
}

fn make_folder(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(path).doing("make the folder", path)
}
