//! Checkpoints in a folder that is elsewhere: mounted from another machine, or on a medium that is written once.
//!
//! ```text
//! llmos-log-….17.checkpoint     one file for each size that was pushed; never overwritten
//! latest                        the newest; where the medium does not let it be replaced, the files above are enough
//! ```

use std::{
    fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use tlog::{Checkpoint, VerifierKey, note::NOTE_BYTES_MAX};

use super::{
    PushError,
    verdict::{Contradiction, believed, compare},
};
use crate::{Log, durable, log::Checkpointed};

/// The newest checkpoint.
const LATEST: &str = "latest";
/// What the names of the others end with.
const ENDING: &str = ".checkpoint";
/// Files that are tried, the newest first, until one is believed.
const TRIED_MAX: usize = 64;

/// Compares what the folder has with the log, and adds the checkpoint. `is_first`: all files are looked at, not only the
/// newest. Blocks.
pub(super) fn push(
    folder: &Path,
    log: &Log,
    key: &VerifierKey,
    checkpoint: &Checkpointed,
    is_first: bool,
) -> Result<(), PushError> {
    if !folder.is_dir() {
        return Err(PushError::Failed("there is no such folder; make it, or mount it".to_owned()));
    }
    let failed = |file: &Path, error: &io::Error| PushError::Failed(format!("{}: {error}", file.display()));
    if let Some(kept) = newest(folder, key, is_first)? {
        let found = compare(&kept, key, log.size(), |size| log.root(size));
        if let Some(contradiction) = found.map_err(|error| PushError::Failed(error.to_string()))? {
            return Err(contradiction.into());
        }
    }
    let numbered = folder.join(format!("{}.{}{ENDING}", stem(key), checkpoint.size));
    match durable::put_new(&numbered, checkpoint.note.as_bytes()) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            let kept = durable::read(&numbered, NOTE_BYTES_MAX).map_err(|error| failed(&numbered, &error))?;
            let kept = believed(&kept.unwrap_or_default(), key)
                .map_err(|why| PushError::Failed(format!("{}: {why}", numbered.display())))?;
            let root = log.root(checkpoint.size).map_err(|error| PushError::Failed(error.to_string()))?;
            if (kept.size(), kept.root()) != (checkpoint.size, root) {
                return Err(Contradiction::Other { known: checkpoint.size }.into());
            }
        }
        written => written.map_err(|error| failed(&numbered, &error))?,
    }
    let latest = folder.join(LATEST);
    match durable::put(&latest, checkpoint.note.as_bytes()) {
        // On a medium that is written once.
        Err(error)
            if [ErrorKind::PermissionDenied, ErrorKind::ReadOnlyFilesystem].contains(&error.kind()) =>
        {
            Ok(())
        }
        written => written.map_err(|error| failed(&latest, &error)),
    }
}

/// The newest checkpoint that the folder has of this log, or one that shows that the folder is another log's.
fn newest(folder: &Path, key: &VerifierKey, all: bool) -> Result<Option<Checkpoint>, PushError> {
    let mut files = vec![folder.join(LATEST)];
    if all {
        files.extend(numbered(folder, key).map_err(|error| PushError::Failed(error.to_string()))?);
    }
    let (mut newest, mut unbelieved) = (None, None);
    for file in files {
        let read = durable::read(&file, NOTE_BYTES_MAX)
            .map_err(|error| PushError::Failed(format!("{}: {error}", file.display())))?;
        let Some(bytes) = read else { continue };
        match believed(&bytes, key) {
            Ok(kept) if kept.origin() != key.name() => return Ok(Some(kept)),
            Ok(kept) => {
                let is_newer = newest.as_ref().is_none_or(|newest: &Checkpoint| newest.size() < kept.size());
                let is_last = file.file_name() != Some(LATEST.as_ref());
                if is_newer {
                    newest = Some(kept);
                }
                if is_last {
                    break;
                }
            }
            Err(why) => unbelieved = Some(format!("{}: {why}", file.display())),
        }
    }
    match (newest, unbelieved) {
        (None, Some(why)) => Err(PushError::Failed(why)),
        (newest, _) => Ok(newest),
    }
}

/// The files of this log, the largest first.
fn numbered(folder: &Path, key: &VerifierKey) -> io::Result<Vec<PathBuf>> {
    let stem = format!("{}.", stem(key));
    let mut sizes = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name();
        let digits = name.to_str().and_then(|name| name.strip_prefix(&stem)?.strip_suffix(ENDING));
        sizes.extend(digits.and_then(|digits| digits.parse::<u64>().ok()));
        if sizes.len() > 2 * TRIED_MAX {
            sizes.sort_unstable_by(|one, other| other.cmp(one));
            sizes.truncate(TRIED_MAX);
        }
    }
    sizes.sort_unstable_by(|one, other| other.cmp(one));
    sizes.truncate(TRIED_MAX);
    Ok(sizes.into_iter().map(|size| folder.join(format!("{stem}{size}{ENDING}"))).collect())
}

/// The name of the log, as names of files can have it.
fn stem(key: &VerifierKey) -> String {
    let plain = |char: char| if char.is_ascii_alphanumeric() || "-._".contains(char) { char } else { '-' };
    key.name().chars().map(plain).collect()
}
