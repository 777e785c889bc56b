//! The thread that writes. It takes all that waits, writes it as one group, waits once for the disk, and answers all.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::File,
    path::PathBuf,
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use tlog::tree::Hash;
use tokio::sync::{mpsc, oneshot};

use super::{
    LogError,
    disk::{self, Touched},
    room::{Room, Verdict, spare_pages},
    segment::{
        GROUP_AROUND_BYTES, GROUP_BYTES_MAX, GROUP_RECORDS_MAX, GroupWriter, HEADER_PAGES, Header, Kind,
        OPEN_MAX, PAGE_BYTES, Record, group_pages, record_bytes,
    },
    shared::{Shared, held},
};

/// How long the next group is waited for, after one of several entries.
const GATHER_MAX: Duration = Duration::from_micros(50);
/// How long ends wait where there is no room in what was allocated.
const TRIED_AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Entries that are enough for a group that waits.
const GATHER_RECORDS_MAX: usize = 16;

/// What is handed to the writer.
pub(super) enum Handed {
    Record(Pending),
    Close(oneshot::Sender<()>),
}

pub(super) struct Pending {
    pub(super) record: Record,
    /// Nobody, if nobody waits.
    pub(super) caller: Option<oneshot::Sender<Result<Ticket, LogError>>>,
}

impl Pending {
    fn bytes(&self) -> usize {
        record_bytes(self.record.kind, self.record.id, &self.record.entry)
    }

    fn refuse(self, error: LogError) {
        let Some(caller) = self.caller else {
            return tracing::error!("an audit entry that nobody waits for was not written: {error}");
        };
        // A caller who has left does not hear it.
        let _ = caller.send(Err(error));
    }
}

/// Index of an entry, on its way to the caller. If that one has left, a begin becomes an orphan.
pub(super) struct Ticket {
    index: u64,
    lost: Option<Arc<Shared>>,
}

impl Ticket {
    pub(super) fn take(mut self) -> u64 {
        self.lost = None;
        self.index
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(shared) = self.lost.take() {
            shared.orphan(self.index);
        }
    }
}

/// The segment that is written.
pub(super) struct Segment {
    pub(super) file: File,
    pub(super) path: PathBuf,
    /// The chain that it began with.
    pub(super) salt: Hash,
    /// Where the next group begins.
    pub(super) end_page: u64,
    pub(super) pages: u64,
}

/// A segment of zeros.
pub(super) struct Spare {
    pub(super) file: File,
    pub(super) path: PathBuf,
    pub(super) bytes: u64,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    queue: mpsc::Receiver<Handed>,
    segment: Segment,
    spares: VecDeque<Spare>,
    /// Name of the next spare.
    spares_made: u64,
    chain: Hash,
    /// What has begun and not ended.
    open: BTreeSet<u64>,
    waiting: VecDeque<Pending>,
    group: GroupWriter,
    closers: Vec<oneshot::Sender<()>>,
    /// The page behind the last one that a write may have reached which had no room: nobody knows what is there.
    soiled_to: u64,
    /// Callers who were answered after the last group.
    answered: usize,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        queue: mpsc::Receiver<Handed>,
        segment: Segment,
        (spares, spares_made): (VecDeque<Spare>, u64),
        chain: Hash,
        open: BTreeSet<u64>,
    ) -> Self {
        shared.counters.open.store(open.len() as u64, Ordering::Relaxed);
        let lowest_open = open.first().copied().unwrap_or_else(|| shared.size());
        shared.counters.lowest_open.store(lowest_open, Ordering::Release);
        Self {
            shared,
            queue,
            segment,
            spares,
            spares_made,
            chain,
            open,
            waiting: VecDeque::new(),
            group: GroupWriter::new(),
            closers: Vec::new(),
            soiled_to: 0,
            answered: 0,
        }
    }

    /// Until the log is closed, or nobody can hand in anything any more.
    pub(super) fn run(mut self) {
        let mut handed = Vec::with_capacity(GROUP_RECORDS_MAX);
        loop {
            if self.waiting.is_empty() && self.queue.blocking_recv_many(&mut handed, GROUP_RECORDS_MAX) == 0 {
                break;
            }
            self.gather(handed.len());
            while handed.len() + self.waiting.len() < GROUP_RECORDS_MAX
                && let Ok(one) = self.queue.try_recv()
            {
                handed.push(one);
            }
            for one in handed.drain(..) {
                match one {
                    Handed::Record(pending) => self.waiting.push_back(pending),
                    Handed::Close(closer) => {
                        self.queue.close();
                        self.closers.push(closer);
                    }
                }
            }
            self.write_group();
        }
        let closers = self.closers;
        self.shared.ask(|keeping| keeping.closing = Some(closers));
    }

    /// Those who were just answered together come again together: a moment is enough for all to be in the next group
    /// instead of every other. An entry that comes alone is not delayed.
    fn gather(&self, handed: usize) {
        let expected = self.answered.min(GATHER_RECORDS_MAX);
        if expected < 2 {
            return;
        }
        let started = Instant::now();
        while handed + self.waiting.len() + self.queue.len() < expected && started.elapsed() < GATHER_MAX {
            thread::yield_now();
        }
    }

    /// Writes as much of what waits as one group takes, and answers it.
    fn write_group(&mut self) {
        if let Some(error) = self.shared.broken().cloned() {
            for pending in self.waiting.drain(..) {
                pending.refuse(error.clone());
            }
            return;
        }
        let held = self.shared.wait_for_room();
        let mut written = Vec::new();
        let outcome = self.admit(held, &mut written).and_then(|()| self.write(&written));
        match outcome {
            Ok(leaves) => self.acknowledge(written, leaves),
            Err(LogError::Full { why }) => self.put_off(written, why),
            // The disk did not confirm a write: this is final.
            Err(error) => {
                self.shared.set_broken(error.clone());
                for pending in written {
                    pending.refuse(error.clone());
                }
            }
        }
    }

    /// There is no room where there should be. What has begun must end, so ends wait for it; others can come again.
    fn put_off(&mut self, written: Vec<Pending>, why: String) {
        let is_closing = !self.closers.is_empty();
        // Those that were looked at already are open again.
        self.open.extend(written.iter().filter_map(|pending| match pending.record.kind {
            Kind::End { begin } => Some(begin),
            Kind::Alone | Kind::Begin => None,
        }));
        let waiting = std::mem::take(&mut self.waiting);
        // Before anybody hears of it: whoever was refused finds out why.
        self.shared.counters.set_paused(Some(why.clone()), false);
        for pending in written.into_iter().chain(waiting) {
            match pending.record.kind {
                Kind::End { .. } if !is_closing => self.waiting.push_back(pending),
                _ => pending.refuse(LogError::Full { why: why.clone() }),
            }
        }
        if !self.waiting.is_empty() {
            thread::sleep(TRIED_AGAIN_AFTER);
        }
    }

    /// Decides what comes into the next group, and answers what does not. `held` says why only ends may, if so.
    fn admit(&mut self, held: Option<String>, taken: &mut Vec<Pending>) -> Result<(), LogError> {
        let mut full = if self.room().is_segment_done() { self.next_segment()? } else { None };
        let count = self.count_next();
        // Ends have their room already, and make room for others of the same group; so they are looked at first.
        let next = self.waiting.iter().take(count);
        let is_due = |pending: &Pending| match pending.record.kind {
            Kind::End { begin } => self.open.remove(&begin),
            Kind::Alone | Kind::Begin => false,
        };
        let ends: Vec<bool> = next.map(is_due).collect();
        let due = self.waiting.iter().zip(&ends).filter(|(_, is_due)| **is_due);
        let mut bytes: usize = due.map(|(pending, _)| pending.bytes()).sum();
        let mut open = self.open.len();
        let (mut refused, mut left_out) = (None, Vec::new());
        for is_due in ends {
            let Some(pending) = self.waiting.pop_front() else { break };
            if let Kind::End { begin } = pending.record.kind {
                if is_due && group_pages(bytes) <= self.room().left {
                    taken.push(pending);
                } else if is_due {
                    // Only if somebody has removed the spare segments.
                    self.open.insert(begin);
                    pending.refuse(LogError::Full { why: full.clone().unwrap_or_default() });
                } else {
                    pending.refuse(LogError::NotOpen { begin });
                }
                continue;
            }
            let with = (bytes + pending.bytes(), open + usize::from(pending.record.kind == Kind::Begin));
            let mut verdict = self.room().verdict(group_pages(with.0), with.1);
            if verdict == Verdict::NoRoom && full.is_none() {
                match self.add_spare() {
                    Ok(why) => full = why,
                    Err(error) => {
                        // They are answered with the others.
                        taken.extend(left_out.into_iter().map(|(pending, _)| pending));
                        taken.push(pending);
                        return Err(error);
                    }
                }
                verdict = self.room().verdict(group_pages(with.0), with.1);
            }
            match (verdict, held.as_ref().or(full.as_ref())) {
                (Verdict::TooManyOpen, _) => pending.refuse(LogError::TooManyOpen { max: OPEN_MAX }),
                (Verdict::Take, _) if held.is_none() => {
                    (bytes, open) = with;
                    taken.push(pending);
                }
                (_, why) => {
                    let why = refused.insert(why.cloned().unwrap_or_default()).clone();
                    left_out.push((pending, why));
                }
            }
        }
        let has_begun = taken.iter().any(|pending| !matches!(pending.record.kind, Kind::End { .. }));
        // Before anybody hears of it: whoever was refused finds out why.
        self.shared.counters.set_paused(refused, has_begun);
        for (pending, why) in left_out {
            pending.refuse(LogError::Full { why });
        }
        Ok(())
    }

    /// How many of those that wait come next: as many as fit in a group and in the current segment, and one at least.
    fn count_next(&self) -> usize {
        let limit = GROUP_BYTES_MAX.min(self.room().left as usize * PAGE_BYTES);
        let mut bytes = GROUP_AROUND_BYTES;
        let first = self.waiting.iter().take(GROUP_RECORDS_MAX);
        let fit = first.take_while(|pending| {
            bytes += pending.bytes();
            bytes <= limit
        });
        fit.count().max(1)
    }

    /// Writes one group, and waits for the disk. The leaf hashes of its entries.
    fn write(&mut self, taken: &[Pending]) -> Result<Vec<Hash>, LogError> {
        if taken.is_empty() {
            return Ok(Vec::new());
        }
        self.group.clear();
        let push = |pending: &Pending| {
            let Record { kind, id, entry } = &pending.record;
            self.group.push(*kind, *id, entry)
        };
        let leaves = taken.iter().map(push).collect();
        let Segment { file, path, salt, end_page, .. } = &mut self.segment;
        let (bytes, chain) = self.group.seal(self.shared.size(), self.chain, *salt);
        let begins = *end_page;
        let ends = begins + bytes.len().div_ceil(PAGE_BYTES) as u64;
        // Behind a group there is nothing, or the next start would take it for damage.
        let is_soiled = self.soiled_to > begins;
        let soiled_to = self.soiled_to.max(ends);
        self.soiled_to = soiled_to;
        if is_soiled {
            let from = begins * PAGE_BYTES as u64 + bytes.len() as u64;
            let nothing = vec![0; (soiled_to * PAGE_BYTES as u64 - from) as usize];
            self.shared.disk.write_at(file, path, &nothing, from)?;
        }
        self.shared.disk.write_at(file, path, bytes, begins * PAGE_BYTES as u64)?;
        self.shared.disk.sync(file, path)?;
        (*end_page, self.soiled_to) = (ends, 0);
        self.chain = chain;
        Ok(leaves)
    }

    /// It is on the disk: everybody may read it, and those who wait are told.
    fn acknowledge(&mut self, written: Vec<Pending>, leaves: Vec<Hash>) {
        if written.is_empty() {
            return;
        }
        let first = self.shared.size();
        let size = first + written.len() as u64;
        let mut callers = Vec::with_capacity(written.len());
        let mut tail = self.shared.tail_mut();
        for ((pending, leaf), index) in written.into_iter().zip(leaves).zip(first..) {
            let Record { kind, id, entry } = pending.record;
            tail.push(entry.into_boxed_slice(), leaf, id);
            let is_begin = kind == Kind::Begin;
            if is_begin {
                self.open.insert(index);
            }
            match pending.caller {
                Some(caller) => callers.push((caller, index, is_begin)),
                None if is_begin => self.shared.orphan(index),
                None => {}
            }
        }
        self.shared.set_size(size);
        let is_urgent = tail.bytes() > super::TAIL_BYTES_URGENT;
        drop(tail);
        let lowest_open = self.open.first().copied().unwrap_or(size);
        self.shared.counters.group(size - first, self.open.len(), lowest_open);
        self.answered = callers.len();
        for (caller, index, is_begin) in callers {
            let lost = is_begin.then(|| Arc::clone(&self.shared));
            // A caller who has left leaves the ticket behind, which knows what to do.
            let _ = caller.send(Ok(Ticket { index, lost }));
        }
        self.shared.fall_behind(is_urgent);
    }

    fn room(&self) -> Room {
        let spare = self.spares.iter().map(|spare| spare_pages(spare.bytes)).sum();
        Room { left: self.segment.pages - self.segment.end_page, spare }
    }

    /// Goes on in another segment. Why that cannot be, if there is no room for one.
    fn next_segment(&mut self) -> Result<Option<String>, LogError> {
        if self.spares.is_empty()
            && let Some(why) = self.add_spare()?
        {
            return Ok(Some(why));
        }
        let Some(spare) = self.spares.front() else { return Ok(None) };
        let first = self.shared.size();
        let edges = self.shared.tail().edges();
        let header = Header { first, chain: self.chain, edges, open: self.open.iter().copied().collect() };
        match prepare_segment(&self.shared, spare, &header) {
            Ok(()) => {}
            // It stays a spare, and can be tried again.
            Err(LogError::Full { why }) => return Ok(Some(why)),
            Err(error) => return Err(error),
        }
        if let Some(spare) = self.spares.pop_front() {
            self.segment = name_segment(&self.shared, spare, &header)?;
            self.soiled_to = 0;
        }
        Ok(None)
    }

    /// Allocates a segment. Why that cannot be, if so; an error is final.
    fn add_spare(&mut self) -> Result<Option<String>, LogError> {
        match allocate_spare(&self.shared, self.spares_made) {
            Ok(spare) => {
                self.spares_made += 1;
                self.spares.push_back(spare);
                Ok(None)
            }
            Err(error @ LogError::Broken { .. }) => Err(error),
            Err(LogError::Full { why }) => Ok(Some(why)),
            Err(error) => Ok(Some(error.to_string())),
        }
    }
}

/// A segment of zeros under a name of its own, and on the disk.
pub(super) fn allocate_spare(shared: &Shared, number: u64) -> Result<Spare, LogError> {
    let (path, bytes) = (shared.folder.spare(number), shared.segment_bytes);
    let file = shared.disk.allocate(&path, bytes)?;
    let mut touched = Touched::default();
    touched.add(&path);
    shared.disk.settle(&mut touched)?;
    Ok(Spare { file, path, bytes })
}

/// Makes a spare segment the one that goes on from here.
pub(super) fn begin_segment(shared: &Shared, spare: Spare, header: &Header) -> Result<Segment, LogError> {
    prepare_segment(shared, &spare, header)?;
    name_segment(shared, spare, header)
}

fn prepare_segment(shared: &Shared, spare: &Spare, header: &Header) -> Result<(), LogError> {
    shared.disk.write_at(&spare.file, &spare.path, &header.encode(), 0)?;
    shared.disk.sync(&spare.file, &spare.path)
}

fn name_segment(shared: &Shared, spare: Spare, header: &Header) -> Result<Segment, LogError> {
    let path = shared.folder.segment(header.first);
    let mut touched = Touched::default();
    disk::rename(&spare.path, &path, &mut touched)?;
    shared.disk.settle(&mut touched)?;
    held(&shared.segments).push(header.first);
    let pages = spare.bytes / PAGE_BYTES as u64;
    Ok(Segment { file: spare.file, path, salt: header.chain, end_page: HEADER_PAGES, pages })
}
