//! The log itself: opaque entries in an append-only Merkle tree (RFC 6962) on the disk.
//!
//! ```text
//! append ──▶ queue ──▶ writer ─────────▶ keeper, each second ─────────────────────────▶ anybody
//!                      │ segment/…        │ tile/entries/…  bundles of 256 entries       copies the folder and verifies it
//!                      │ one group,       │ tile/0/… 1/… …  hashes, 256 to a file        with the public key alone
//!                      │ one sync,        │ index/…         entries by id
//!                      │ many answers     │ checkpoint      the signed root
//!                      ▼                  ▼
//!                   memory: what is in no full bundle yet
//! ```
//!
//! - **An entry is on the disk when [`Log::append`] returns.** The writer takes all that waits and syncs once for all of it;
//!   an entry that comes alone is not delayed. It is in a *segment* then, from where the keeper carries it to the files of
//!   C2SP `tlog-tiles`; a segment goes when all of its entries are in full bundles.
//! - **Every end has room.** A begin is taken only if its end, which may be [`END_BYTES_MAX`] long, still fits in what is
//!   allocated. On a full disk begins are refused and ends go in; nothing is dropped, and it goes on once there is room.
//! - **A failed sync is final** ([`LogError::Broken`]): what the disk has is known only when it is read again, at the next
//!   start.
//! - **Nothing acknowledged disappears silently.** After a crash at most the one group is cut that nobody was told of. Groups
//!   are chained by hashes, so whatever else is missing or changed refuses the start; and so does a log that is not the one
//!   of its last checkpoint. An older copy of the whole folder shows only where checkpoints are kept elsewhere.
//!
//! The types to know: [`Log`], [`Entry`] (what is appended), [`Recovered`] (what was found at the start).
//!
//! Reads block, so they belong on a thread that may ([`tokio::task::spawn_blocking`]).
//!
//! ```
//! use audit::log::{Entry, Kind, Log, Options};
//! # let runtime = tokio::runtime::Runtime::new()?;
//! # let folder = tempfile::tempdir()?;
//! # let seed = zeroize::Zeroizing::new([7; 32]);
//! let signer = tlog::Signer::from_seed("example.com/audit", seed)?;
//! let key = signer.public().clone();
//! let (log, recovered) = Log::open(Options::new(folder.path().join("audit"), signer))?;
//! assert_eq!(recovered.size, 0);
//! # runtime.block_on(async {
//! let begin = log.append(Entry { kind: Kind::Begin, id: Some(1), bytes: b"who, what".to_vec() }).await?;
//! log.append(Entry { kind: Kind::End { begin }, id: Some(1), bytes: b"outcome".to_vec() }).await?;
//! log.checkpoint_now().await?;
//! let checkpoint = tlog::Checkpoint::open(log.checkpoint().note.as_bytes(), &key)?;
//! assert_eq!((checkpoint.size(), checkpoint.root()), (2, log.root(2)?));
//! log.close().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::{
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
    thread,
    time::Duration,
};

use tlog::{
    Signer, VerifierKey,
    tree::{self, Hash},
};
use tokio::sync::{mpsc, oneshot, watch};

mod disk;
mod error;
mod folder;
mod index;
mod index_files;
mod keeper;
mod recovery;
mod room;
mod scan;
mod segment;
mod shared;
mod tail;
#[cfg(test)]
mod tests;
mod tiles;
mod writer;

pub use error::LogError;
pub use segment::{END_BYTES_MAX, ENTRY_BYTES_MAX, Kind, OPEN_MAX};

use disk::Disk;
use segment::{Record, TILE_HASHES};
use shared::{Shared, held};
use writer::{Handed, Pending};

/// Entries that wait for the writer; further callers wait before they are taken in.
pub const QUEUE_MAX: usize = 4_096;
/// A new checkpoint is signed this often, if anything is new.
pub const CHECKPOINT_EVERY: Duration = Duration::from_secs(1);
/// Bytes of a segment, if the options say nothing else.
pub const SEGMENT_BYTES: u64 = 16 * 1024 * 1024;
/// Most entries that [`Log::entries`] gives at a time.
pub const ENTRIES_MAX: u64 = 1_024;

/// Bytes of entries in memory from which on only ends are taken in.
const TAIL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Bytes of entries in memory from which on the keeper does not wait for the next checkpoint.
const TAIL_BYTES_URGENT: usize = 16 * 1024 * 1024;
/// Bytes of segments on the disk from which on only ends are taken in.
const SEGMENTS_BYTES_HELD: u64 = 512 * 1024 * 1024;
/// Most bytes of segments on the disk: there is room for every end.
const SEGMENTS_BYTES_MAX: u64 = 1024 * 1024 * 1024;

const _: () = assert!(SEGMENTS_BYTES_HELD + (OPEN_MAX * segment::PAGE_BYTES) as u64 * 2 < SEGMENTS_BYTES_MAX);

/// What a log is opened with.
pub struct Options {
    /// Where it is. Made if it is missing; nothing else belongs there.
    pub folder: PathBuf,
    /// Signs checkpoints. Its name is the origin of the log.
    pub signer: Signer,
    /// Keys that signed earlier checkpoints of this log, if it has been given another.
    pub older_keys: Vec<VerifierKey>,
    /// Finds the id in an entry, where the index has to be made again.
    pub id_of: fn(&[u8]) -> Option<u128>,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Signs nothing before [`Log::begin_signing`]: what is there is to be compared first with what is known of it elsewhere.
    pub signs_later: bool,
}

impl Options {
    /// With one key, without ids in entries, and with segments of [`SEGMENT_BYTES`].
    pub fn new(folder: PathBuf, signer: Signer) -> Self {
        Self {
            folder,
            signer,
            older_keys: Vec::new(),
            id_of: |_| None,
            segment_bytes: SEGMENT_BYTES,
            signs_later: false,
        }
    }
}

/// What is appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is to other entries.
    pub kind: Kind,
    /// By which it can be found again.
    pub id: Option<u128>,
    /// The entry itself: 1 to [`ENTRY_BYTES_MAX`] bytes, of an end at most [`END_BYTES_MAX`].
    pub bytes: Vec<u8>,
}

/// What was found when a log was opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovered {
    /// Entries.
    pub size: u64,
    /// What was cut from the end, if anything.
    pub cut: Option<Cut>,
    /// Begins without an end: index and entry.
    pub open: Vec<(u64, Vec<u8>)>,
}

/// A group that a crash has torn, and of which nobody had been told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The segment that it was in.
    pub segment: PathBuf,
    /// Where it began.
    pub offset: u64,
    /// How much of it there was.
    pub bytes: u64,
}

/// A signed checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpointed {
    /// Entries that it vouches for.
    pub size: u64,
    /// The signed note.
    pub note: Arc<str>,
}

/// How a log is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Entries on the disk.
    pub size: u64,
    /// Entries of the last checkpoint.
    pub checkpoint_size: u64,
    /// Begins without an end.
    pub open: u64,
    /// Groups that were written since the log was opened.
    pub groups: u64,
    /// Entries of the last group.
    pub group_entries_last: u64,
    /// Bytes of entries that are in no full bundle.
    pub tail_bytes: u64,
    /// Why nothing but ends is taken in at present.
    pub paused: Option<String>,
    /// Why there is no new checkpoint, though it is time.
    pub stuck: Option<String>,
    /// Why nothing is written until the next start.
    pub broken: Option<String>,
}

/// An open log. Clones are the same log.
#[derive(Clone)]
pub struct Log {
    queue: mpsc::Sender<Handed>,
    shared: Arc<Shared>,
}

impl Log {
    /// Opens a log, or begins one. Reads what is in no full bundle yet, so it blocks.
    pub fn open(options: Options) -> Result<(Self, Recovered), LogError> {
        Self::open_on(options, Disk::default())
    }

    fn open_on(options: Options, disk: Disk) -> Result<(Self, Recovered), LogError> {
        let (queue, handed) = mpsc::channel(QUEUE_MAX);
        let recovery::Opened { shared, writer, keeper, recovered } = recovery::open(options, disk, handed)?;
        let start = |name: &str, run: Box<dyn FnOnce() + Send>| {
            let started = thread::Builder::new().name(name.to_owned()).spawn(run);
            started.map(drop).map_err(|error| LogError::Options(format!("no thread can be started: {error}")))
        };
        start("audit-writer", Box::new(|| writer.run()))?;
        start("audit-keeper", Box::new(|| keeper.run()))?;
        Ok((Self { queue, shared }, recovered))
    }

    /// Appends an entry. It is on the disk when this returns its index. If the caller leaves once it was handed in, it is
    /// appended all the same; a begin of which then nobody knows is told by [`Log::take_orphans`].
    pub async fn append(&self, entry: Entry) -> Result<u64, LogError> {
        let record = checked(entry)?;
        let (caller, answer) = oneshot::channel();
        let pending = Handed::Record(Pending { record, caller: Some(caller) });
        self.queue.send(pending).await.map_err(|_| self.gone())?;
        answer.await.map_err(|_| self.gone())?.map(writer::Ticket::take)
    }

    /// The same, handed in at once: whoever waits for the answer and goes away changes nothing. Called on a runtime.
    pub fn hand_in(&self, entry: Entry) -> impl Future<Output = Result<u64, LogError>> + Send + 'static {
        let (caller, answer) = oneshot::channel();
        let log = self.clone();
        let handed = checked(entry).map(|record| log.enqueue(Pending { record, caller: Some(caller) }));
        async move {
            handed?;
            answer.await.map_err(|_| log.gone())?.map(writer::Ticket::take)
        }
    }

    /// The same, and nobody waits. If the queue is full, a task of its own waits for room; so this is called on a runtime.
    pub fn append_soon(&self, entry: Entry) {
        let record = match checked(entry) {
            Ok(record) => record,
            Err(error) => {
                return tracing::error!("an audit entry that nobody waits for was not written: {error}");
            }
        };
        self.enqueue(Pending { record, caller: None });
    }

    fn enqueue(&self, pending: Pending) {
        match self.queue.try_send(Handed::Record(pending)) {
            Ok(()) => {}
            Err(mpsc::error::TrySendError::Full(pending)) => {
                let log = self.clone();
                drop(tokio::spawn(async move {
                    if log.queue.send(pending).await.is_err() {
                        tracing::error!(
                            "an audit entry that nobody waits for was not written: {}",
                            log.gone()
                        );
                    }
                }));
            }
            Err(mpsc::error::TrySendError::Closed(_)) => {
                tracing::error!("an audit entry that nobody waits for was not written: {}", self.gone());
            }
        }
    }

    /// Begins whose caller did not stay to hear their index, since this was last asked. They wait for their end.
    pub fn take_orphans(&self) -> Vec<u64> {
        self.shared.take_orphans().into_iter().collect()
    }

    /// Entries that are on the disk.
    pub fn size(&self) -> u64 {
        self.shared.size()
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.shared.folder.0
    }

    /// Tells the index of the first begin that waits for its end; the size if there is none. All before it has ended. Does not keep the
    /// log open.
    pub fn lowest_open(&self) -> impl Fn() -> u64 + Send + Sync + 'static {
        let shared = Arc::clone(&self.shared);
        move || shared.counters.lowest_open.load(Ordering::Acquire)
    }

    /// An entry. Blocks.
    pub fn entry(&self, index: u64) -> Result<Vec<u8>, LogError> {
        self.shared.entry(index)
    }

    /// Entries in their order, from the first of the range on: at most [`ENTRIES_MAX`], and none that is not there yet.
    /// Blocks.
    pub fn entries(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, LogError> {
        self.shared.entries(range)
    }

    /// Indexes of the entries with this id, in their order. Blocks.
    pub fn find(&self, id: u128) -> Result<Vec<u64>, LogError> {
        let mut found = self.shared.tail().find(id);
        found.extend(self.shared.find_on_disk(id)?);
        found.sort_unstable();
        // What is just being moved from memory to a file is found in both.
        found.dedup();
        Ok(found)
    }

    /// Root of the first `size` entries. Blocks.
    pub fn root(&self, size: u64) -> Result<Hash, LogError> {
        self.shared.check(size, self.size() + 1)?;
        tree::root(size, &*self.shared)
    }

    /// That an entry is one of the first `size`. Blocks.
    pub fn inclusion_proof(&self, index: u64, size: u64) -> Result<Vec<Hash>, LogError> {
        self.shared.check(size, self.size() + 1)?;
        self.shared.check(index, size)?;
        tree::inclusion_proof(index, size, &*self.shared)
    }

    /// That the first `new` entries begin with the first `old`. Blocks.
    pub fn consistency_proof(&self, old: u64, new: u64) -> Result<Vec<Hash>, LogError> {
        self.shared.check(new, self.size() + 1)?;
        self.shared.check(old, new + 1)?;
        tree::consistency_proof(old, new, &*self.shared)
    }

    /// The newest signed checkpoint.
    pub fn checkpoint(&self) -> Checkpointed {
        self.shared.checkpoint.borrow().clone()
    }

    /// Follows the checkpoints.
    pub fn checkpoints(&self) -> watch::Receiver<Checkpointed> {
        self.shared.checkpoint.subscribe()
    }

    /// From now on checkpoints are signed ([`Options::signs_later`]).
    pub fn begin_signing(&self) {
        self.shared.ask(|keeping| keeping.may_sign = true);
    }

    /// Signs all that is on the disk now, and returns when that is on the disk too. If nothing is signed yet, it waits until that begins.
    pub async fn checkpoint_now(&self) -> Result<(), LogError> {
        let (caller, answer) = oneshot::channel();
        self.shared.ask_checkpoint(caller);
        answer.await.map_err(|_| self.gone())?
    }

    /// How it is.
    pub fn status(&self) -> Status {
        let counters = &self.shared.counters;
        // One lock at a time.
        let checkpoint_size = self.shared.checkpoint.borrow().size;
        let tail_bytes = self.shared.tail().bytes() as u64;
        let paused = held(&counters.paused).clone();
        let stuck = self.shared.keeping().stuck.clone();
        Status {
            size: self.size(),
            checkpoint_size,
            open: counters.open.load(Ordering::Relaxed),
            groups: counters.groups.load(Ordering::Relaxed),
            group_entries_last: counters.group_records_last.load(Ordering::Relaxed),
            tail_bytes,
            paused,
            stuck,
            broken: self.shared.broken().map(LogError::to_string),
        }
    }

    /// Writes what was handed in, signs it, and gives the log back: another may open it when this returns.
    pub async fn close(&self) {
        let (closer, answer) = oneshot::channel();
        if self.queue.send(Handed::Close(closer)).await.is_ok() {
            let _ = answer.await;
        }
    }

    fn gone(&self) -> LogError {
        self.shared.broken().cloned().unwrap_or(LogError::Closed)
    }
}

fn checked(entry: Entry) -> Result<Record, LogError> {
    let Entry { kind, id, bytes } = entry;
    let max = if matches!(kind, Kind::End { .. }) { END_BYTES_MAX } else { ENTRY_BYTES_MAX };
    if bytes.is_empty() || bytes.len() > max {
        return Err(LogError::Length { bytes: bytes.len(), max });
    }
    Ok(Record { kind, id, entry: bytes })
}

impl Shared {
    /// That something is below what there is.
    fn check(&self, asked: u64, end: u64) -> Result<(), LogError> {
        if asked < end { Ok(()) } else { Err(LogError::NoEntry { asked, size: self.size() }) }
    }

    fn entry(&self, index: u64) -> Result<Vec<u8>, LogError> {
        self.check(index, self.size())?;
        let mut entries = self.entries(index..index + 1)?;
        entries.pop().ok_or(LogError::NoEntry { asked: index, size: self.size() })
    }

    fn entries(&self, range: Range<u64>) -> Result<Vec<Vec<u8>>, LogError> {
        let end = range.end.min(self.size()).min(range.start.saturating_add(ENTRIES_MAX));
        let mut entries = Vec::new();
        let mut next = range.start;
        while next < end {
            let tail = self.tail();
            let width = TILE_HASHES as u64;
            if next >= tail.first() {
                // Some at a time: the writer waits meanwhile.
                let here = (next..end.min(next + width)).map_while(|index| tail.entry(index));
                entries.extend(here.map(<[u8]>::to_vec));
                next += width;
                continue;
            }
            drop(tail);
            // What has left the memory is in a full bundle.
            let (bundle, skipped) = (next / width, next % width);
            let wanted = (end - next).min(width - skipped);
            let read = self.tiles.entries(bundle)?.into_iter().skip(skipped as usize).take(wanted as usize);
            entries.extend(read.map(Vec::from));
            next += wanted;
        }
        Ok(entries)
    }
}
