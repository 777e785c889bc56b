use std::{
    collections::BTreeSet,
    fs::File,
    sync::{
        Condvar, Mutex, MutexGuard, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tlog::{Signer, tree::HashReader};
use tokio::sync::{oneshot, watch};

use super::{
    Checkpointed, LogError, SEGMENTS_BYTES_HELD, TAIL_BYTES_MAX, disk::Disk, folder::Folder,
    index_files::IndexFiles, segment::OPEN_MAX, tail::Tail, tiles::Tiles,
};

/// How long the writer waits for the keeper before it looks again.
const KEPT_EVERY: Duration = Duration::from_millis(5);

/// What the writer, the keeper and the readers of a log have in common.
pub(super) struct Shared {
    pub(super) folder: Folder,
    pub(super) disk: Disk,
    pub(super) signer: Signer,
    pub(super) id_of: fn(&[u8]) -> Option<u128>,
    pub(super) segment_bytes: u64,
    tail: RwLock<Tail>,
    /// Entries that are on the disk and in the tail.
    size: AtomicU64,
    pub(super) tiles: Tiles,
    pub(super) index: IndexFiles,
    pub(super) checkpoint: watch::Sender<Checkpointed>,
    broken: OnceLock<LogError>,
    keeping: Mutex<Keeping>,
    wake: Condvar,
    kept: Condvar,
    /// First indexes of the segments that are on the disk, in order.
    pub(super) segments: Mutex<Vec<u64>>,
    /// Begins whose caller did not stay to hear their index.
    orphans: Mutex<BTreeSet<u64>>,
    pub(super) counters: Counters,
    /// Held while the log is open.
    pub(super) lock: Mutex<Option<File>>,
}

/// For the status.
#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) groups: AtomicU64,
    pub(super) group_records_last: AtomicU64,
    pub(super) open: AtomicU64,
    /// The first begin without an end; the size if there is none.
    pub(super) lowest_open: AtomicU64,
    /// Why begins are refused at present.
    pub(super) paused: Mutex<Option<String>>,
}

impl Counters {
    pub(super) fn group(&self, records: u64, open: usize, lowest_open: u64) {
        self.groups.fetch_add(1, Ordering::Relaxed);
        self.group_records_last.store(records, Ordering::Relaxed);
        self.open.store(open as u64, Ordering::Relaxed);
        self.lowest_open.store(lowest_open, Ordering::Release);
    }

    /// `refused` says why something was refused for want of room; once something was taken in again, nothing is paused.
    pub(super) fn set_paused(&self, refused: Option<String>, has_begun: bool) {
        if refused.is_none() && !has_begun {
            return;
        }
        let mut paused = held(&self.paused);
        match (&refused, &*paused) {
            (Some(why), None) => tracing::error!("the audit log takes no new entries: {why}"),
            (None, Some(_)) => tracing::info!("the audit log takes new entries again"),
            _ => {}
        }
        *paused = refused;
    }
}

/// What is asked of the keeper.
#[derive(Default)]
pub(super) struct Keeping {
    /// There are entries that no checkpoint has.
    pub(super) is_behind: bool,
    /// Memory is getting short.
    pub(super) is_urgent: bool,
    /// Checkpoints may be signed.
    pub(super) may_sign: bool,
    pub(super) waiting: Vec<oneshot::Sender<Result<(), LogError>>>,
    pub(super) closing: Option<Vec<oneshot::Sender<()>>>,
    /// Nobody keeps any more.
    pub(super) is_closed: bool,
    /// Why tiles cannot be written at present.
    pub(super) stuck: Option<String>,
}

impl Shared {
    #[expect(clippy::too_many_arguments, reason = "called in one place")]
    pub(super) fn new(
        folder: Folder,
        disk: Disk,
        signer: Signer,
        id_of: fn(&[u8]) -> Option<u128>,
        segment_bytes: u64,
        tail: Tail,
        segments: Vec<u64>,
        indexed: u64,
        checkpoint: Checkpointed,
        lock: File,
    ) -> Self {
        Self {
            tiles: Tiles::new(folder.clone()),
            index: IndexFiles::new(indexed),
            size: tail.size().into(),
            tail: tail.into(),
            checkpoint: watch::Sender::new(checkpoint),
            broken: OnceLock::new(),
            // At the start there is always something: at least whole tiles to write once more.
            keeping: Mutex::new(Keeping { is_behind: true, is_urgent: true, ..Keeping::default() }),
            wake: Condvar::new(),
            kept: Condvar::new(),
            segments: segments.into(),
            orphans: Mutex::default(),
            counters: Counters::default(),
            lock: Some(lock).into(),
            folder,
            disk,
            signer,
            id_of,
            segment_bytes,
        }
    }

    pub(super) fn tail(&self) -> RwLockReadGuard<'_, Tail> {
        self.tail.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tail_mut(&self) -> RwLockWriteGuard<'_, Tail> {
        self.tail.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Entries that are on the disk.
    pub(super) fn size(&self) -> u64 {
        self.size.load(Ordering::Acquire)
    }

    pub(super) fn set_size(&self, size: u64) {
        self.size.store(size, Ordering::Release);
    }

    pub(super) fn broken(&self) -> Option<&LogError> {
        self.broken.get()
    }

    /// Nothing is written from now on.
    pub(super) fn set_broken(&self, error: LogError) {
        if self.broken.set(error.clone()).is_ok() {
            tracing::error!("{error}");
        }
        self.wake.notify_all();
        self.kept.notify_all();
    }

    pub(super) fn keeping(&self) -> MutexGuard<'_, Keeping> {
        held(&self.keeping)
    }

    /// Asks for a checkpoint of all that is on the disk now.
    pub(super) fn ask_checkpoint(&self, caller: oneshot::Sender<Result<(), LogError>>) {
        // Once the keeper is gone, the caller is dropped, and hears that the log is closed.
        self.ask(|keeping| {
            if !keeping.is_closed {
                keeping.waiting.push(caller);
            }
        });
    }

    /// Changes what is asked of the keeper, and wakes it.
    pub(super) fn ask(&self, change: impl FnOnce(&mut Keeping)) {
        change(&mut self.keeping());
        self.wake.notify_one();
    }

    /// The keeper sleeps until it is asked for something, or until `due` if there is something that can wait so long.
    pub(super) fn sleep(&self, due: Instant) -> MutexGuard<'_, Keeping> {
        let mut keeping = self.keeping();
        loop {
            let now = Instant::now();
            let is_asked = keeping.is_urgent || keeping.may_sign && !keeping.waiting.is_empty();
            // While the disk takes nothing, it is tried again in its time and not more often.
            let is_due =
                keeping.is_behind && now >= due || is_asked && (keeping.stuck.is_none() || now >= due);
            if is_due || keeping.closing.is_some() {
                return keeping;
            }
            keeping = if keeping.is_behind || is_asked {
                self.wake.wait_timeout(keeping, due - now).unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.wake.wait(keeping).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }

    /// There is more than the keeper has seen. It is woken only if it may be sleeping.
    pub(super) fn fall_behind(&self, is_urgent: bool) {
        let mut keeping = self.keeping();
        let is_news = !keeping.is_behind || is_urgent && !keeping.is_urgent;
        keeping.is_behind = true;
        keeping.is_urgent |= is_urgent;
        drop(keeping);
        if is_news {
            self.wake.notify_one();
        }
    }

    /// The keeper has done a round, or could not.
    pub(super) fn kept(&self, stuck: Option<String>) {
        self.keeping().stuck = stuck;
        self.kept.notify_all();
    }

    /// Whether so much is in memory, or in segments, that the keeper has to catch up first.
    fn is_overfull(&self) -> bool {
        let segments = held(&self.segments).len() as u64;
        self.tail().bytes() >= TAIL_BYTES_MAX || segments * self.segment_bytes >= SEGMENTS_BYTES_HELD
    }

    /// Waits until there may be more. Why not, if the keeper cannot write.
    pub(super) fn wait_for_room(&self) -> Option<String> {
        // One lock at a time: the keeper, which makes room, needs both.
        while self.broken().is_none() && self.is_overfull() {
            let mut keeping = self.keeping();
            if keeping.stuck.is_some() {
                return keeping.stuck.clone();
            }
            keeping.is_urgent = true;
            self.wake.notify_one();
            // Not longer, for it may have made room just before.
            drop(self.kept.wait_timeout(keeping, KEPT_EVERY));
        }
        None
    }

    /// Nobody was there to hear that this began. More than can be open are never remembered.
    pub(super) fn orphan(&self, begin: u64) {
        let mut orphans = held(&self.orphans);
        if orphans.len() < OPEN_MAX {
            orphans.insert(begin);
        }
    }

    pub(super) fn take_orphans(&self) -> BTreeSet<u64> {
        std::mem::take(&mut held(&self.orphans))
    }
}

/// Hashes of the tree of the entries that are on the disk: from memory, or from full tiles.
impl HashReader for Shared {
    type Error = LogError;

    fn hash(&self, level: u8, index: u64) -> Result<tlog::tree::Hash, LogError> {
        let here = self.tail().hash(level, index);
        match here {
            Some(hash) => Ok(hash),
            // What has left the memory is in a full tile.
            None => self.tiles.hash(level, index),
        }
    }
}

/// What a thread that panicked has left is still what it wrote.
pub(super) fn held<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
