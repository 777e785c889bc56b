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
use crate::{Log, log::Checkpointed};

/// The newest checkpoint.
const LATEST: &str = "latest";
/// What the names of the others end with.
const ENDING: &str = ".checkpoint";
/// Files that are tried, the newest first, until one is believed.
const TRIED_MAX: usize = 64;

/// The newest checkpoint that the folder has, if the log continues it. `all` files are looked at, or the newest only. Blocks.
pub(super) fn look(
    folder: &Path,
    log: &Log,
    key: &VerifierKey,
    all: bool,
) -> Result<Option<Checkpoint>, PushError> {
    if !folder.is_dir() {
        return Err(PushError::Failed("there is no such folder; make it, or mount it".to_owned()));
    }
    let Some(kept) = newest(folder, key, all)? else { return Ok(None) };
    match compare(&kept, key, log.size(), |size| log.root(size)) {
        Ok(None) => Ok(Some(kept)),
        Ok(Some(contradiction)) => Err(contradiction.into()),
        Err(error) => Err(PushError::Failed(error.to_string())),
    }
}

/// Compares what the folder has with the log, and adds the checkpoint. `pushed` is the size that is known to be there since
/// the start; without one all files are looked at, not only the newest. Blocks.
pub(super) fn push(
    folder: &Path,
    log: &Log,
    key: &VerifierKey,
    checkpoint: &Checkpointed,
    pushed: Option<u64>,
) -> Result<(), PushError> {
    let failed = |file: &Path, error: &io::Error| PushError::Failed(format!("{}: {error}", file.display()));
    let named = |size: u64| folder.join(format!("{}.{size}{ENDING}", stem(key)));
    let kept = look(folder, log, key, pushed.is_none())?;
    if kept.is_none() && pushed.is_some_and(|size| !named(size).exists()) {
        // Else the checkpoints would go to the disk of this machine, below the place where the folder was mounted.
        let why = "what was there is gone; is the folder still mounted?";
        return Err(PushError::Failed(why.to_owned()));
    }
    let numbered = named(checkpoint.size);
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
                let is_numbered = file.file_name() != Some(LATEST.as_ref());
                if is_newer {
                    newest = Some(kept);
                }
                if is_numbered {
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

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tlog::{Signer, tree::Hash};
    use zeroize::Zeroizing;

    use super::*;
    use crate::log::{Entry, Kind, Options};

    fn signer(name: &str) -> Signer {
        Signer::from_seed(name, Zeroizing::new([7; 32])).unwrap()
    }

    /// What the key of this log signs.
    fn signed(name: &str, size: u64, root: Hash) -> Checkpointed {
        let checkpoint = Checkpoint::new(name, size, root).unwrap();
        Checkpointed { size, note: Arc::from(checkpoint.sign(&signer(name)).unwrap()) }
    }

    #[tokio::test]
    async fn what_is_there_is_compared_and_never_overwritten() {
        let place = tempfile::tempdir().unwrap();
        let (folder, at) = (place.path().join("elsewhere"), place.path().join("audit"));
        let name = "example.com/log";
        let (log, _) = Log::open(Options::new(at, signer(name))).unwrap();
        let key = signer(name).public().clone();
        let push = |pushed: Option<u64>| push(&folder, &log, &key, &log.checkpoint(), pushed);
        let failed = |pushed: Result<(), PushError>, says: &str| match pushed {
            Err(PushError::Failed(why)) => assert!(why.contains(says), "{why}"),
            other => panic!("{other:?}"),
        };
        let contradicted = |pushed: Result<(), PushError>| match pushed {
            Err(PushError::Contradicted(contradiction)) => contradiction,
            other => panic!("{other:?}"),
        };
        failed(push(None), "no such folder");
        fs::create_dir(&folder).unwrap();
        for entry in [&b"a"[..], b"b", b"c"] {
            log.append(Entry { kind: Kind::Alone, id: None, bytes: entry.to_vec() }).await.unwrap();
            log.checkpoint_now().await.unwrap();
            push(None).unwrap();
            // Once more is no matter.
            push(Some(log.size())).unwrap();
        }
        let (file, latest) = (folder.join("example.com-log.3.checkpoint"), folder.join(LATEST));
        let three = log.checkpoint().note.to_string();
        assert_eq!(
            [&file, &latest].map(|file| fs::read_to_string(file).unwrap()),
            [three.clone(), three.clone()]
        );
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 4);

        // `latest` was put back, and the files of the sizes say so; a file that nobody signed hides nothing.
        let larger = signed(name, 5, Hash::empty());
        fs::write(folder.join("example.com-log.5.checkpoint"), &*larger.note).unwrap();
        fs::write(folder.join("example.com-log.9.checkpoint"), "nonsense").unwrap();
        assert_eq!(contradicted(push(None)), Contradiction::Shorter { known: 5, size: 3 });
        push(Some(3)).unwrap();
        fs::remove_file(folder.join("example.com-log.5.checkpoint")).unwrap();

        // Another root of the same size stays as it is: it is evidence.
        let other = signed(name, 3, Hash::empty());
        fs::write(&file, &*other.note).unwrap();
        assert_eq!(contradicted(push(Some(3))), Contradiction::Other { known: 3 });
        assert_eq!(fs::read_to_string(&file).unwrap(), *other.note);
        fs::remove_file(&file).unwrap();

        fs::write(&latest, &*signed("example.com/other", 1, Hash::empty()).note).unwrap();
        let origin = "example.com/other".to_owned();
        assert_eq!(contradicted(push(Some(3))), Contradiction::OtherLog { origin });
        fs::write(&latest, "nonsense").unwrap();
        failed(push(Some(3)), "signed note");
        // What was mounted is not any more.
        fs::remove_dir_all(&folder).unwrap();
        fs::create_dir(&folder).unwrap();
        failed(push(Some(3)), "still mounted");
    }
}
