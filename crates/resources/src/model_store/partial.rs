use std::{
    fs::{self, File, Permissions, TryLockError},
    io::{self, Read, Seek, SeekFrom, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread::sleep,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    Digest, Licence, Progress, Size, StoreError, Watch,
    error::{Doing, is_full},
    folder::{
        FILE_MODE, Folder, free_space, is_same, open_to_lock, pid_in, read_small, sync_folder_of, write_whole,
    },
};

/// Bytes after which what has come is made durable: so many are lost at most when the process or the power dies.
const CHECKPOINT_BYTES: u64 = 8 << 20;
/// Largest model file: what no disk of today holds.
pub(super) const MODEL_BYTES_MAX: u64 = 1 << 44;
/// Bytes read at once while hashing.
const HASH_CHUNK_BYTES: usize = 1 << 20;
/// Largest description of a partial download.
const ABOUT_BYTES_MAX: u64 = 64 << 10;
/// How often a file is looked for again that was renamed in the meantime, or that a command which lists the store
/// has locked for a moment to see whether somebody is at it.
const OPEN_TRIES_MAX: usize = 16;
const OPEN_TRY_EVERY: Duration = Duration::from_millis(10);
/// Files in the store are never changed.
const BLOB_MODE: u32 = 0o400;
/// Endings of the two files.
pub(super) const DATA: &str = "data";
pub(super) const ABOUT: &str = "json";

/// A model file on its way into the store: its bytes, and beside them what they are. As long as this lives, no
/// other process pulls the same; dropping it keeps what has come.
#[derive(Debug)]
pub(super) struct Partial {
    data: PathBuf,
    about: PathBuf,
    /// Locked. It keeps the lock when it is renamed into the store.
    file: File,
    known: About,
    hash: Sha256,
    bytes: u64,
}

/// What is known about a partial download.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct About {
    pub(super) source: String,
    /// The process that is pulling it, or was.
    pub(super) pid: u32,
    /// The version that the bytes belong to. Without one they are of no use to another pull.
    pub(super) version: Option<String>,
    pub(super) total: Option<u64>,
    /// Bytes that are safe on the disk.
    pub(super) durable: u64,
    /// Set when all has come and is durable.
    pub(super) whole: Option<Whole>,
}

/// A file that lacks nothing but its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Whole {
    digest: String,
    origin: Origin,
}

/// What its source says about a file beside its bytes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Origin {
    pub(super) licence: Option<Licence>,
    /// The commit of the hub or the version of the package.
    pub(super) revision: Option<String>,
}

impl Partial {
    /// Begins or takes up the work with this key, unless another process is at it.
    pub(super) fn open(folder: &Folder, key: &str, source: &str) -> Result<Self, StoreError> {
        let path = |ending: &str| folder.partial().join(format!("{key}.{ending}"));
        let (data, about) = (path(DATA), path(ABOUT));
        let file = lock(&data, &about, source)?;
        let known = read_about(&about).unwrap_or_default();
        let mut partial = Self { data, about, file, known, hash: Sha256::new(), bytes: 0 };
        partial.known = About { source: source.to_owned(), pid: std::process::id(), ..partial.known.clone() };
        partial.write_about()?;
        Ok(partial)
    }

    /// What is known of a file that lacks only its name: its pull was cut off after the last byte, or the name was
    /// taken. Reads it again, so that [`Partial::digest`] is that of what is there.
    pub(super) fn whole(&mut self, watch: Watch<'_>) -> Result<Option<Origin>, StoreError> {
        let Some(Whole { digest, origin }) = self.known.whole.clone() else { return Ok(None) };
        self.read_again(watch)?;
        Ok((self.digest().to_string() == digest).then_some(origin))
    }

    /// Bytes that need not be fetched again, if they belong to `version`.
    pub(super) fn durable(&self) -> (u64, Option<&str>) {
        let length = self.file.metadata().map_or(0, |metadata| metadata.len());
        // One byte is left to fetch even of a file that is complete, so that there is an answer to compare with.
        let useful = self.known.total.map_or(u64::MAX, |total| total.saturating_sub(1));
        match &self.known.version {
            Some(version) if self.known.whole.is_none() => {
                (self.known.durable.min(length).min(useful), Some(version))
            }
            _ => (0, None),
        }
    }

    /// Bytes that have come.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Makes ready for the bytes from `from` on, of which there are `total`: what is there is hashed, what is
    /// behind it is cut off. Refuses what will not fit.
    pub(super) fn begin(
        &mut self,
        from: u64,
        version: Option<String>,
        total: Option<u64>,
        watch: Watch<'_>,
    ) -> Result<(), StoreError> {
        if total.is_some_and(|total| total > MODEL_BYTES_MAX) {
            return Err(StoreError::TooLarge {
                source_text: self.known.source.clone(),
                max: MODEL_BYTES_MAX,
            });
        }
        self.file.set_len(from).doing("shorten", &self.data)?;
        self.reserve(total.unwrap_or(from) - from.min(total.unwrap_or(from)))?;
        self.known = About { version, total, durable: from, whole: None, ..self.known.clone() };
        self.write_about()?;
        self.read_again(watch)?;
        if self.bytes == from {
            return Ok(());
        }
        let why = format!("{} bytes instead of {from}", self.bytes);
        Err(StoreError::Damaged { path: self.data.display().to_string(), why })
    }

    /// Refuses to begin what will not fit.
    pub(super) fn reserve(&self, needed: u64) -> Result<(), StoreError> {
        let folder = self.data.parent().unwrap_or(&self.data);
        let free = free_space(folder).doing("find out how much space is free in", folder)?;
        if needed <= free {
            return Ok(());
        }
        let (source_text, folder) = (self.known.source.clone(), folder.display().to_string());
        Err(StoreError::NoSpace { source_text, needed, free, folder })
    }

    /// Adds what has come.
    pub(super) fn write(&mut self, chunk: &[u8]) -> Result<(), StoreError> {
        if self.bytes + chunk.len() as u64 > MODEL_BYTES_MAX {
            return Err(StoreError::TooLarge {
                source_text: self.known.source.clone(),
                max: MODEL_BYTES_MAX,
            });
        }
        if let Err(error) = self.file.write_all(chunk) {
            // What of the chunk was written goes, and makes room to write down what stays.
            let _ = self.file.set_len(self.bytes).and_then(|()| self.checkpoint().map_err(io::Error::other));
            return Err(self.unwritten(error));
        }
        self.hash.update(chunk);
        self.bytes += chunk.len() as u64;
        if self.bytes - self.known.durable >= CHECKPOINT_BYTES {
            self.checkpoint()?;
        }
        Ok(())
    }

    /// Of what has come.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(self.hash.clone())
    }

    /// Ends the file: from here on it is whole and durable, and only its name is missing.
    pub(super) fn finish(&mut self, origin: &Origin) -> Result<(), StoreError> {
        self.checkpoint()?;
        self.known.whole = Some(Whole { digest: self.digest().to_string(), origin: origin.clone() });
        self.write_about()
    }

    /// Makes what has come durable, so that it need not come again.
    pub(super) fn keep(&mut self) -> Result<(), StoreError> {
        if self.bytes > self.known.durable { self.checkpoint() } else { Ok(()) }
    }

    /// Nothing of what has come is used again.
    pub(super) fn distrust(&mut self) {
        self.known.version = None;
    }

    pub(super) fn path(&self) -> &Path {
        &self.data
    }

    /// Gives the file its final name. What is left here is removed by [`Partial::discard`], later.
    pub(super) fn move_to(&self, blob: &Path) -> Result<(), StoreError> {
        let protect = || self.file.set_permissions(Permissions::from_mode(BLOB_MODE));
        let rename = |()| fs::rename(&self.data, blob);
        protect().and_then(rename).and_then(|()| sync_folder_of(blob)).doing("write", blob)
    }

    /// Forgets what has come.
    pub(super) fn discard(self) -> Result<(), StoreError> {
        remove(&self.data)?;
        remove(&self.about)
    }

    /// What a person is told about what has come.
    pub(super) fn kept(&self) -> String {
        match (self.known.durable, &self.known.version) {
            (0, _) | (_, None) => "nothing of it is kept".to_owned(),
            (durable, _) => format!("{} are kept, and the next pull goes on from there", Size(durable)),
        }
    }

    /// Hashes what is there, and leaves the file ready for more.
    fn read_again(&mut self, watch: Watch<'_>) -> Result<(), StoreError> {
        let total = self.file.metadata().doing("look at", &self.data)?.len();
        if total > 0 {
            let what = format!("checking what has come of {}", self.known.source);
            watch(Progress::Begins { what, total: Some(total), done: 0 });
        }
        self.hash = Sha256::new();
        self.file.seek(SeekFrom::Start(0)).doing("read", &self.data)?;
        let done = &mut |bytes| watch(Progress::Done(bytes));
        self.bytes = hash_all(&mut self.file, &mut self.hash, done).doing("read", &self.data)?;
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(|error| self.unwritten(error))?;
        let before = std::mem::replace(&mut self.known.durable, self.bytes);
        self.write_about().inspect_err(|_| self.known.durable = before)
    }

    fn write_about(&self) -> Result<(), StoreError> {
        let text = serde_json::to_vec(&self.known).map_err(io::Error::other).doing("describe", &self.data)?;
        write_whole(&self.about, &text).map_err(|error| self.unwritten(error))
    }

    fn unwritten(&self, error: io::Error) -> StoreError {
        if is_full(&error) {
            let folder = self.data.parent().unwrap_or(&self.data).display().to_string();
            return StoreError::DiskFull { folder, kept: self.kept() };
        }
        StoreError::Io { doing: format!("write {}", self.data.display()), error }
    }
}

/// A pull that is interrupted keeps all that has come, and nothing if it could not go on from there. A process that
/// is killed never gets here: it keeps what was there at its last checkpoint.
impl Drop for Partial {
    fn drop(&mut self) {
        if self.known.whole.is_some() || !is_same(&self.file, &self.data) {
            return;
        }
        let resumable = self.known.version.is_some() && self.bytes.max(self.known.durable) > 0;
        if !resumable {
            let _ = remove(&self.about).and_then(|()| remove(&self.data));
        } else if self.bytes > self.known.durable {
            let _ = self.checkpoint();
        }
    }
}

/// The SHA-256 of a file. Blocks: about 1 s per GB.
pub(super) fn hash_file(path: &Path, done: &mut dyn FnMut(u64)) -> Result<Digest, StoreError> {
    let mut hash = Sha256::new();
    File::open(path).and_then(|mut file| hash_all(&mut file, &mut hash, done)).doing("read", path)?;
    Ok(Digest::of(hash))
}

fn hash_all(file: &mut File, hash: &mut Sha256, done: &mut dyn FnMut(u64)) -> io::Result<u64> {
    let mut chunk = vec![0; HASH_CHUNK_BYTES];
    let mut bytes = 0;
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(bytes),
            length => {
                hash.update(&chunk[..length]);
                bytes += length as u64;
                done(length as u64);
            }
        }
    }
}

/// Opens and locks the data. The file may be renamed between the two by a process that has just ended its pull:
/// then there is a new one to begin.
pub(super) fn lock(data: &Path, about: &Path, source: &str) -> Result<File, StoreError> {
    let busy = || {
        let pid = read_about(about).map_or_else(|| pid_in(""), |known| known.pid.to_string());
        StoreError::PulledAlready { source_text: source.to_owned(), pid }
    };
    for _ in 0..OPEN_TRIES_MAX {
        let opened = open_to_lock(data);
        if opened.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied) {
            // Protected already, and killed before it got its name.
            fs::set_permissions(data, Permissions::from_mode(FILE_MODE)).doing("open", data)?;
            continue;
        }
        let file = opened.doing("open", data)?;
        match file.try_lock() {
            Ok(()) if is_same(&file, data) => return Ok(file),
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => sleep(OPEN_TRY_EVERY),
            Err(TryLockError::Error(error)) => return Err(error).doing("lock", data),
        }
    }
    Err(busy())
}

/// A description that cannot be read says nothing: the download begins anew.
pub(super) fn read_about(path: &Path) -> Option<About> {
    serde_json::from_slice(&read_small(path, ABOUT_BYTES_MAX).ok()??).ok()
}

pub(super) fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).doing("remove", path),
        _ => Ok(()),
    }
}
