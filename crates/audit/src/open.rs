//! How a log is opened: what the last server left undone is ended first.

use std::{
    collections::{HashMap, HashSet},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use futures::future::try_join_all;
use tlog::Signer;
use types::utc;
use vault::SecretFile;

use crate::{
    Audit, Facts, Happening, Outcome, Record, RecordKind, Seals, Used, Who,
    audit::{AuditUnavailable, ending},
    key,
    log::{self, ENTRIES_MAX, Log, LogError, Options},
};

/// How often, and after which pauses, a log is tried that another process has open.
const LOCK_TRIES: u32 = 50;
const LOCK_WAIT: Duration = Duration::from_millis(20);
/// How many are ended at once of what was left undone.
const ENDED_AT_ONCE: usize = 512;
/// What stands before the name of a model in a record.
const MODEL: &str = "model:";

/// Why a log cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It is damaged, tampered with, in use, or cannot be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What was left undone cannot be ended.
    #[error(transparent)]
    Unavailable(#[from] AuditUnavailable),
    /// The file with the key that it is signed with cannot be read or made.
    #[error(
        "the key of the audit log in `{}` cannot be used: {why}; make sure that it may be read and its folder written by the \
         user who runs the server, or restore it from a backup",
        .file.display()
    )]
    Key {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// There is a log, but not the key that it was signed with.
    #[error(
        "the key `{}` is missing, and the audit log was signed with it; restore it from a backup (if there is none, move the \
         folder of the log away and keep it: a new log with a new key begins)",
        .file.display()
    )]
    KeyLost {
        /// The file.
        file: PathBuf,
    },
}

/// What was found when a log was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Requests that the last server was working on when it died: ended by now, as `interrupted`.
    pub interrupted: u64,
    /// Bytes of a group that a crash has torn, and of which nobody had been told.
    pub cut_bytes: u64,
}

/// What was left undone in a log.
pub struct Found(log::Recovered);

/// A request that used a model, as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charged {
    /// The index of its beginning.
    pub begun: u64,
    /// Days since 1970, UTC, when it ended.
    pub day: u64,
    /// Who asked.
    pub who: Who,
    /// The model's configured name.
    pub model: String,
    /// What it used.
    pub used: Used,
}

impl Audit {
    /// Opens the log in `folder`, or begins one, and ends what was left undone: [`open_as_found`](Self::open_as_found), then
    /// [`settle`](Self::settle).
    pub async fn open(
        folder: &Path,
        key: &SecretFile,
        seals: Arc<dyn Seals>,
    ) -> Result<(Arc<Self>, Recovered), OpenError> {
        let (audit, found) = Self::open_as_found(folder, key, seals).await?;
        let recovered = audit.settle(found).await?;
        Ok((audit, recovered))
    }

    /// Opens the log in `folder`, or begins one; `key` is the file with the key that it is signed with (made, sealed), which is kept
    /// elsewhere; its public key is written beside it. Nothing is written into it yet and nothing is signed, so that it can be compared with what is known of it elsewhere
    /// ([`Outside::look`](crate::Outside::look)): until that has agreed, or [`settle`](Self::settle).
    pub async fn open_as_found(
        folder: &Path,
        key: &SecretFile,
        seals: Arc<dyn Seals>,
    ) -> Result<(Arc<Self>, Found), OpenError> {
        let (folder, key) = (folder.to_owned(), key.clone());
        let opened = tokio::task::spawn_blocking(move || {
            let signer: Signer = key::open(&key, key::LOG, folder.join("checkpoint").exists())?;
            let verifier = signer.public().clone();
            key::write_public(key.path(), &verifier)?;
            let id_of = |entry: &[u8]| Record::parse(entry).ok()?.request_id().map(|id| id.0);
            let mut left = LOCK_TRIES;
            loop {
                let signer = key::open(&key, key::LOG, true)?;
                match Log::open(Options { id_of, signs_later: true, ..Options::new(folder.clone(), signer) })
                {
                    // Whoever had it may be on the way out.
                    Err(LogError::Locked { .. }) if left > 0 => std::thread::sleep(LOCK_WAIT),
                    opened => {
                        let (log, recovered) = opened?;
                        return Ok::<_, OpenError>((log, verifier, recovered));
                    }
                }
                left -= 1;
            }
        });
        let broken_off = |_| LogError::Closed;
        let (log, verifier, found) = opened.await.map_err(broken_off)??;
        Ok((Self::new(log, verifier, seals), Found(found)))
    }

    /// What had begun and not ended is ended as `interrupted`, with all that was set aside for it; what was cut is noted.
    pub async fn settle(self: &Arc<Self>, Found(found): Found) -> Result<Recovered, OpenError> {
        let audit = self;
        audit.log().begin_signing();
        let mut recovered = Recovered { interrupted: 0, cut_bytes: 0 };
        for some in found.open.chunks(ENDED_AT_ONCE) {
            let interrupted = |(begin, entry): &(u64, Vec<u8>)| {
                let record = Record::parse(entry).ok();
                let used = record.as_ref().and_then(|record| record.reserved);
                let outcome = Outcome { how: "interrupted", used, ..Outcome::default() };
                audit.log().append(ending(*begin, record.as_ref(), outcome))
            };
            try_join_all(some.iter().map(interrupted)).await?;
            recovered.interrupted += some.len() as u64;
        }
        if let Some(cut) = &found.cut {
            recovered.cut_bytes = cut.bytes;
            let facts = Facts::none().with("bytes", cut.bytes).with("offset", cut.offset);
            audit.note(Happening { facts, ..Happening::of("log_cut", "recovered") }).await?;
        }
        Ok(recovered)
    }

    /// The requests that used a model and whose beginnings are at `low` or later, but for those in `counted`.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub async fn charged(
        self: &Arc<Self>,
        low: u64,
        counted: HashSet<u64>,
    ) -> Result<Vec<Charged>, AuditUnavailable> {
        let audit = self.clone();
        let read = tokio::task::spawn_blocking(move || audit.read_charged(low, &counted));
        Ok(read.await.map_err(|_| LogError::Closed)??)
    }

    fn read_charged(&self, low: u64, counted: &HashSet<u64>) -> Result<Vec<Charged>, LogError> {
        let (mut begins, mut charged) = (HashMap::<u64, Record>::new(), Vec::new());
        let (mut at, size) = (low, self.log().size());
        while at < size {
            for entry in self.log().entries(at..size.min(at + ENTRIES_MAX))? {
                let index = at;
                at += 1;
                let Ok(record) = Record::parse(&entry) else { continue };
                match record.kind {
                    RecordKind::Begin if record.reserved.is_some() && !counted.contains(&index) => {
                        begins.insert(index, record);
                    }
                    RecordKind::End => {
                        let begun = record.begin.and_then(|begin| Some((begin, begins.remove(&begin)?)));
                        charged.extend(begun.and_then(|(begun, begin)| Charged::of(begun, begin, &record)));
                    }
                    RecordKind::Begin | RecordKind::Event => {}
                }
            }
        }
        Ok(charged)
    }
}

impl Charged {
    /// None if nothing was used.
    fn of(index: u64, begin: Record, end: &Record) -> Option<Self> {
        let model = match &end.model {
            Some(model) => model.name.clone(),
            // It was interrupted.
            None => begin.on?.strip_prefix(MODEL)?.to_owned(),
        };
        Some(Self { begun: index, day: utc::day_of(&end.at)?, who: begin.who?, model, used: end.used? })
    }
}
