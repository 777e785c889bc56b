//! This server as a witness of other logs (C2SP `tlog-witness`): it countersigns a checkpoint only if the log has grown from
//! the last one that it countersigned.
//!
//! What was seen is on the disk before the signature leaves, so that no crash makes it sign two roots of one size. A disk that
//! did not confirm that ends it for this log until the next start: nobody knows what the disk has.

use std::{
    collections::HashMap,
    fs::DirBuilder,
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use aws_lc_rs::digest;
use data_encoding::HEXLOWER;
use tlog::{
    Checkpoint, Cosigner, FormatError, NoteError, ProofError, VerifierKey, WitnessKey, cosignature,
    note::{NOTE_BYTES_MAX, Note},
    witness::{AddCheckpoint, Decision, KnownLog, Seen, decide},
};
use tokio::sync::Semaphore;
use vault::SecretFile;

pub use tlog::witness::REQUEST_BYTES_MAX as WITNESS_REQUEST_BYTES_MAX;

use crate::{Audit, Facts, Happening, OpenError, key};

/// Requests that are decided at once. Anybody may ask, and each costs a signature to verify.
const AT_ONCE_MAX: usize = 4;
/// Countersignatures of one log in a row, each of which is a write to the disk; one more for each second.
const COSIGNED_MAX: u32 = 10;
/// The owner may do everything in the folder, all others nothing.
const FOLDER_MODE: u32 = 0o700;
/// Bytes of the hash of an origin in the name of its file.
const FILE_HASH_BYTES: usize = 16;

/// Why a checkpoint is not countersigned.
#[derive(Debug, thiserror::Error)]
pub enum WitnessRefusal {
    /// The caller's old size is not what was seen, or the roots of one size differ.
    #[error("this witness has seen {size} entries of that log")]
    Conflict {
        /// Entries that were seen.
        size: u64,
    },
    /// No such log is configured.
    #[error(
        "this witness was not told of that log; its operator names the key of the log in `[[witnessed_log]]`"
    )]
    UnknownLog,
    /// No known key of the log signed it.
    #[error("the checkpoint is not believed: {0}")]
    NotSigned(NoteError),
    /// The log is not the one that was seen, or the proof is wrong.
    #[error("the checkpoint does not continue what this witness has seen: {0}")]
    NotContinued(ProofError),
    /// Something else than a request.
    #[error(transparent)]
    Malformed(FormatError),
    /// Too many ask.
    #[error("too many ask this witness; come back in a second")]
    Busy,
    /// What was seen cannot be kept, so nothing is signed.
    #[error("this witness cannot keep what it has seen, so it signs nothing: {0}")]
    Unavailable(String),
}

/// Why a witness cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum WitnessError {
    /// The file with its key cannot be used.
    #[error(transparent)]
    Key(OpenError),
    /// It has signed, and its key is gone.
    #[error(
        "the key `{}` is missing, and this server countersigned other logs with it; restore it from a backup (if there is \
         none, move the folder {} away: a new witness with a new key begins, and those who ask it need that key)",
        .file.display(), .folder.display()
    )]
    KeyLost {
        /// The file.
        file: PathBuf,
        /// What it has seen.
        folder: PathBuf,
    },
    /// What it has seen cannot be read. Without it, it could sign two roots of one size.
    #[error("what this witness has seen of a log cannot be read from {}: {why}; restore the file from a backup", .file.display())]
    Seen {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

/// A witness of other logs.
pub struct Witness {
    cosigner: Cosigner,
    folder: PathBuf,
    logs: Mutex<HashMap<String, Witnessed>>,
    turns: Arc<Semaphore>,
    audit: Arc<Audit>,
}

/// A log that is countersigned.
struct Witnessed {
    keys: Vec<VerifierKey>,
    seen: Option<Seen>,
    /// Why nothing is signed any more.
    broken: Option<String>,
    allowance: Allowance,
    /// It was told once that this log contradicts itself.
    is_told: bool,
}

/// How many signatures are left at a time.
struct Allowance {
    left: u32,
    since: Instant,
}

impl Witness {
    /// The public key of the witness that [`open`](Self::open) would make of this folder and this file: to be given to others,
    /// before the first log is configured. Made if it is missing, and nothing was signed with it. Blocks.
    ///
    /// # Errors
    /// If it cannot be read or made.
    pub fn key_in(folder: &Path, file: &SecretFile) -> Result<WitnessKey, WitnessError> {
        Ok(cosigner(folder, file)?.public().clone())
    }

    /// A witness of the logs with these keys, the names of which are their origins. `file` has its own key (made, sealed),
    /// `folder` what it has seen. Blocks.
    pub fn open(
        folder: &Path,
        file: &SecretFile,
        keys: &[VerifierKey],
        audit: Arc<Audit>,
    ) -> Result<Self, WitnessError> {
        let unreadable = |file: &Path, why: &dyn ToString| WitnessError::Seen {
            file: file.to_owned(),
            why: why.to_string(),
        };
        if file.path().exists() && !folder.exists() {
            // It has signed, and does not know what: it could sign another root of the same size.
            return Err(unreadable(
                folder,
                &"it is missing, and the key of the witness is there; restore both from one backup",
            ));
        }
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(folder)
            .map_err(|error| unreadable(folder, &error))?;
        let cosigner = cosigner(folder, file)?;
        let mut logs: HashMap<String, Witnessed> = HashMap::new();
        for key in keys {
            let origin = key.name();
            if let Some(log) = logs.get_mut(origin) {
                log.keys.push(key.clone());
                continue;
            }
            let kept = seen_file(folder, origin);
            let seen = read_seen(&kept, origin).map_err(|why| unreadable(&kept, &why))?;
            let allowance = Allowance { left: COSIGNED_MAX, since: Instant::now() };
            let log = Witnessed { keys: vec![key.clone()], seen, broken: None, allowance, is_told: false };
            logs.insert(origin.to_owned(), log);
        }
        let (logs, turns) = (Mutex::new(logs), Arc::new(Semaphore::new(AT_ONCE_MAX)));
        Ok(Self { cosigner, folder: folder.to_owned(), logs, turns, audit })
    }

    /// What verifies its countersignatures: those who ask it have this in their configuration.
    pub fn key(&self) -> &WitnessKey {
        self.cosigner.public()
    }

    /// Decides about the body of a request, and gives the line of the countersignature.
    pub async fn add_checkpoint(self: &Arc<Self>, body: Vec<u8>) -> Result<String, WitnessRefusal> {
        let Ok(turn) = self.turns.clone().try_acquire_owned() else { return Err(WitnessRefusal::Busy) };
        let witness = self.clone();
        // The turn lasts as long as the work, also if whoever asks hangs up.
        let decide = move || {
            let _turn = turn;
            witness.decided(&body)
        };
        let decided = tokio::task::spawn_blocking(decide).await;
        let (answer, contradiction) = decided.unwrap_or_else(|_| {
            (Err(WitnessRefusal::Unavailable("it has failed on this request".to_owned())), None)
        });
        if let Some(Contradiction { origin, size }) = contradiction {
            tracing::warn!(
                alarm = "audit_equivocation", %origin, size,
                "a log that this server countersigns has signed two roots of one size; both are in the folder of the witness"
            );
            let facts = Facts::none().with("origin", &origin).with("size", size);
            let noted = Happening { facts, ..Happening::of("witness", "equivocation") };
            if let Err(error) = self.audit.note(noted).await {
                tracing::error!(%origin, "that a log contradicts itself is not in the audit log: {error}");
            }
        }
        answer
    }

    fn decided(&self, body: &[u8]) -> (Result<String, WitnessRefusal>, Option<Contradiction>) {
        let mut logs = self.logs();
        // One after the other: what was seen must not change between the decision and the file.
        let known =
            |origin: &str| logs.get(origin).map(|log| KnownLog { keys: log.keys.clone(), seen: log.seen });
        let refused = match decide(body, known) {
            Decision::Cosign(checkpoint) => return (self.cosign(&mut logs, &checkpoint, body), None),
            Decision::Conflict { size } => {
                return (Err(WitnessRefusal::Conflict { size }), self.contradiction(&mut logs, body));
            }
            Decision::UnknownOrigin => WitnessRefusal::UnknownLog,
            Decision::BadSignature(error) => WitnessRefusal::NotSigned(error),
            // Whoever has a checkpoint of the log can send it with a wrong proof: it shows nothing about the log.
            Decision::BadProof(error) => WitnessRefusal::NotContinued(error),
            Decision::Malformed(error) => WitnessRefusal::Malformed(error),
        };
        (Err(refused), None)
    }

    fn cosign(
        &self,
        logs: &mut HashMap<String, Witnessed>,
        checkpoint: &Checkpoint,
        body: &[u8],
    ) -> Result<String, WitnessRefusal> {
        let log = logs.get_mut(checkpoint.origin()).ok_or(WitnessRefusal::UnknownLog)?;
        if let Some(why) = &log.broken {
            tracing::debug!("this witness signs nothing for this log: {why}");
            return Err(WitnessRefusal::Unavailable("it cannot keep what it sees".to_owned()));
        }
        if !log.allowance.take(Instant::now()) {
            return Err(WitnessRefusal::Busy);
        }
        let seen = Seen { size: checkpoint.size(), root: checkpoint.root() };
        if log.seen != Some(seen) {
            let note = AddCheckpoint::parse(body).map_err(WitnessRefusal::Malformed)?.checkpoint;
            let file = seen_file(&self.folder, checkpoint.origin());
            if let Err(error) = durable::put(&file, note.to_string().as_bytes()) {
                let why = format!("{}: {error}", file.display());
                // What was not confirmed may be on the disk all the same, so it is read anew before anything is signed.
                match read_seen(&file, checkpoint.origin()) {
                    Ok(found) if found == log.seen && is_no_room(&error) => {}
                    _ => log.broken = Some(why.clone()),
                }
                tracing::error!("this witness cannot keep what it has seen: {why}");
                return Err(WitnessRefusal::Unavailable("it cannot keep what it sees".to_owned()));
            }
            log.seen = Some(seen);
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let signature = cosignature::cosign(checkpoint, &self.cosigner, now);
        signature.map(|line| line.to_string()).map_err(WitnessRefusal::Malformed)
    }

    /// Another root of the size that was seen, signed by the log. It is kept: the two together prove it to anybody.
    fn contradiction(&self, logs: &mut HashMap<String, Witnessed>, body: &[u8]) -> Option<Contradiction> {
        let note = AddCheckpoint::parse(body).ok()?.checkpoint;
        let checkpoint = Checkpoint::parse(note.text_unverified()).ok()?;
        let log = logs.get_mut(checkpoint.origin())?;
        let seen = log.seen?;
        if seen.size != checkpoint.size() || seen.root == checkpoint.root() || log.is_told {
            return None;
        }
        log.is_told = true;
        let origin = checkpoint.origin().to_owned();
        let file = seen_file(&self.folder, &origin).with_extension("equivocation");
        match durable::put_new(&file, note.to_string().as_bytes()) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                tracing::error!("the second root cannot be kept in {}: {error}", file.display());
            }
            _ => {}
        }
        Some(Contradiction { origin, size: seen.size })
    }

    fn logs(&self) -> MutexGuard<'_, HashMap<String, Witnessed>> {
        self.logs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log that signed two roots of one size.
struct Contradiction {
    origin: String,
    size: u64,
}

impl Allowance {
    fn take(&mut self, now: Instant) -> bool {
        let gained = now.saturating_duration_since(self.since).as_secs();
        self.since += Duration::from_secs(gained);
        self.left = self.left.saturating_add(u32::try_from(gained).unwrap_or(u32::MAX)).min(COSIGNED_MAX);
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }
}

/// The key of the witness; a new one only if it has seen nothing.
fn cosigner(folder: &Path, file: &SecretFile) -> Result<Cosigner, WitnessError> {
    let has_signed = folder.read_dir().is_ok_and(|mut seen| seen.next().is_some());
    key::open(file, key::WITNESS, has_signed).map_err(|error| match error {
        OpenError::KeyLost { file } => WitnessError::KeyLost { file, folder: folder.to_owned() },
        error => WitnessError::Key(error),
    })
}

/// Nothing of the file was changed then.
fn is_no_room(error: &io::Error) -> bool {
    [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded].contains(&error.kind())
}

/// Origins have characters that names of files cannot have.
fn seen_file(folder: &Path, origin: &str) -> PathBuf {
    let hash = digest::digest(&digest::SHA256, origin.as_bytes());
    folder.join(format!("{}.checkpoint", HEXLOWER.encode(&hash.as_ref()[..FILE_HASH_BYTES])))
}

/// The last checkpoint that was countersigned; it was verified before it was written.
fn read_seen(file: &Path, origin: &str) -> Result<Option<Seen>, String> {
    let Some(bytes) = durable::read(file, NOTE_BYTES_MAX).map_err(|error| error.to_string())? else {
        return Ok(None);
    };
    let note = Note::parse(&bytes).map_err(|error| error.to_string())?;
    let checkpoint = Checkpoint::parse(note.text_unverified()).map_err(|error| error.to_string())?;
    if checkpoint.origin() != origin {
        return Err(format!("it is of the log {:?}", checkpoint.origin()));
    }
    Ok(Some(Seen { size: checkpoint.size(), root: checkpoint.root() }))
}

#[cfg(test)]
mod tests;
