//! Opens a log: reads what is in segments, cuts a torn tail, and compares what is there with the signed checkpoint.

use std::{
    collections::{BTreeSet, VecDeque},
    fs::{self, File},
    path::Path,
    sync::Arc,
};

use tlog::{
    Checkpoint, NoteError, VerifierKey,
    note::NOTE_BYTES_MAX,
    tile::{Tile, TileKind},
    tree::{Hash, root},
};
use tokio::sync::mpsc;

use super::{
    Checkpointed, Cut, LogError, Options, Recovered, SEGMENTS_BYTES_MAX,
    disk::{self, Disk, Touched},
    error::Doing,
    folder::{Folder, SegmentName, segment_name},
    index::{self, BLOCK_ENTRIES, INDEX_BYTES_MAX},
    keeper::Keeper,
    room::{SEGMENT_BYTES_MAX, SEGMENT_BYTES_MIN},
    scan::scan,
    segment::{HEADER_PAGES, Header, Kind, PAGE_BYTES, TILE_HASHES},
    shared::Shared,
    tail::Tail,
    tiles::Tiles,
    writer::{Handed, Segment, Spare, Writer, allocate_spare, begin_segment},
};

const WIDTH: u64 = TILE_HASHES as u64;

/// Everything that a log runs with.
pub(super) struct Opened {
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Writer,
    pub(super) keeper: Keeper,
    pub(super) recovered: Recovered,
}

/// What the segments have.
struct Read {
    tail: Tail,
    chain: Hash,
    open: BTreeSet<u64>,
    segments: Vec<u64>,
    last: Option<Segment>,
    cut: Option<Cut>,
}

pub(super) fn open(options: Options, disk: Disk, queue: mpsc::Receiver<Handed>) -> Result<Opened, LogError> {
    let Options { folder, signer, older_keys, id_of, segment_bytes, signs_later } = options;
    let is_whole = segment_bytes.is_multiple_of(PAGE_BYTES as u64);
    if !is_whole || !(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX).contains(&segment_bytes) {
        return Err(LogError::Options(format!(
            "a segment has {SEGMENT_BYTES_MIN} to {SEGMENT_BYTES_MAX} bytes in whole pages of {PAGE_BYTES}, not \
             {segment_bytes}"
        )));
    }
    let folder = Folder(folder);
    let mut touched = Touched::default();
    disk::make_folders(&folder.0, &mut touched)?;
    let lock = disk::lock(&folder.lock())?;
    disk::make_folders(&folder.segments(), &mut touched)?;
    disk::make_folders(&folder.all_unfinished(), &mut touched)?;
    for name in disk::names(&folder.all_unfinished())? {
        // It was not finished, so it is nothing.
        disk::remove(&folder.all_unfinished().join(name))?;
    }
    let (firsts, spare_numbers) = list_segments(&folder)?;
    let signed = read_checkpoint(&folder, &signer, &older_keys)?;
    let checkpoint = match signed {
        Some(signed) => signed,
        None if firsts.is_empty() && disk::names(&folder.0.join("tile"))?.is_empty() => {
            // From here on, a log without a checkpoint is one that somebody has taken away.
            let new = Checkpoint::new(signer.public().name(), 0, Hash::empty());
            let note = new
                .and_then(|new| new.sign(&signer))
                .map_err(|error| LogError::Options(error.to_string()))?;
            disk.put(&folder.unfinished("kept"), &folder.checkpoint(), note.as_bytes(), &mut touched)?;
            (Checkpointed { size: 0, note: note.into() }, Hash::empty())
        }
        None => return Err(LogError::tampered("it has entries, and its checkpoint is missing")),
    };
    disk.settle(&mut touched)?;
    let (checkpoint, signed_root) = checkpoint;
    if firsts.is_empty() && checkpoint.size > 0 {
        let why = format!("{} entries were signed, and all segments are missing", checkpoint.size);
        return Err(LogError::tampered(why));
    }
    let read = read_segments(&folder, &disk, &firsts)?;
    let size = read.tail.size();
    check_not_shorter(&folder, size, checkpoint.size)?;
    let indexed = read.segments.first().map_or(0, |first| first / BLOCK_ENTRIES);
    let segment_first = read.segments.first().copied().unwrap_or(0);
    let partials = list_partials(&folder, &read.tail)?;
    let shared = Arc::new(Shared::new(
        folder,
        disk,
        signer,
        id_of,
        segment_bytes,
        read.tail,
        read.segments,
        indexed,
        checkpoint.clone(),
        lock,
    ));
    shared.keeping().may_sign = !signs_later;
    if root(checkpoint.size, &*shared)? != signed_root {
        let why = format!("its first {} entries have another root than the signed one", checkpoint.size);
        return Err(LogError::tampered(why));
    }
    recover_ids(&shared, segment_first)?;
    let mut spares = take_spares(&shared, &spare_numbers)?;
    let spares_made = spare_numbers.iter().max().map_or(0, |number| number + 1);
    let segment = if let Some(segment) = read.last {
        segment
    } else {
        let spare = spares.pop_front().map_or_else(|| allocate_spare(&shared, spares_made), Ok)?;
        let header = Header { first: 0, chain: read.chain, edges: Vec::new(), open: Vec::new() };
        begin_segment(&shared, spare, &header)?
    };
    let open = read.open.iter().map(|begin| Ok((*begin, shared.entry(*begin)?)));
    let open = open.collect::<Result<_, LogError>>()?;
    let recovered = Recovered { size, cut: read.cut, open };
    if let Some(cut) = &recovered.cut {
        tracing::warn!(?cut, "cut a torn group from the audit log; nobody had been told that it was written");
    }
    let writer =
        Writer::new(Arc::clone(&shared), queue, segment, (spares, spares_made + 1), read.chain, read.open);
    let keeper = Keeper { shared: Arc::clone(&shared), partials };
    Ok(Opened { shared, writer, keeper, recovered })
}

/// First indexes of the segments, and the spare ones.
fn list_segments(folder: &Folder) -> Result<(Vec<u64>, Vec<u64>), LogError> {
    let (mut firsts, mut spares) = (Vec::new(), Vec::new());
    for name in disk::names(&folder.segments())? {
        match segment_name(&name) {
            Some(SegmentName::First(first)) => firsts.push(first),
            Some(SegmentName::Spare(number)) => spares.push(number),
            None => tracing::warn!(name, "a file among the segments of the audit log is none of ours"),
        }
    }
    firsts.sort_unstable();
    Ok((firsts, spares))
}

/// The checkpoint on the disk, and its root.
fn read_checkpoint(
    folder: &Folder,
    signer: &tlog::Signer,
    older_keys: &[VerifierKey],
) -> Result<Option<(Checkpointed, Hash)>, LogError> {
    let path = folder.checkpoint();
    let Some(bytes) = disk::read(&path, NOTE_BYTES_MAX)? else { return Ok(None) };
    let mut opened = Checkpoint::open(&bytes, signer.public());
    for key in older_keys {
        if matches!(opened, Err(NoteError::NotSigned { .. })) {
            opened = Checkpoint::open(&bytes, key);
        }
    }
    let checkpoint = opened?;
    let note = String::from_utf8(bytes).map_err(|_| LogError::damaged(&path, "it is no text"))?;
    Ok(Some((Checkpointed { size: checkpoint.size(), note: note.into() }, checkpoint.root())))
}

fn read_segments(folder: &Folder, disk: &Disk, firsts: &[u64]) -> Result<Read, LogError> {
    let mut read: Option<Read> = None;
    let mut bytes_all = 0;
    for (at, first) in firsts.iter().enumerate() {
        let path = folder.segment(*first);
        let damaged = |why: &str| LogError::damaged(&path, why);
        let file = disk.reopen(&path)?;
        let length = file.metadata().doing("examine", &path)?.len();
        bytes_all += length;
        let is_whole = length.is_multiple_of(PAGE_BYTES as u64) && length > HEADER_PAGES * PAGE_BYTES as u64;
        if !is_whole || length > SEGMENT_BYTES_MAX {
            return Err(damaged(&format!("no segment has {length} bytes")));
        }
        if bytes_all > SEGMENTS_BYTES_MAX {
            return Err(damaged("there are more segments than this program would have let grow"));
        }
        let bytes = fs::read(&path).doing("read", &path)?;
        let header = Header::decode(&bytes).ok_or_else(|| damaged("its header was changed"))?;
        if header.first != *first {
            return Err(damaged(&format!("it says that it begins with entry {}", header.first)));
        }
        let before = match &mut read {
            Some(before) => before,
            None => read.insert(begin(folder, &header)?),
        };
        let fits = before.tail.size() == header.first
            && before.chain == header.chain
            && before.tail.edges() == header.edges
            && before.open.iter().eq(&header.open);
        if !fits {
            return Err(damaged("it does not continue the segment before it"));
        }
        let scanned = scan(&bytes, &header, at + 1 == firsts.len()).map_err(|why| damaged(&why))?;
        for (record, leaf) in scanned.records {
            let index = before.tail.size();
            let is_known = match record.kind {
                Kind::Alone => true,
                Kind::Begin => before.open.insert(index),
                Kind::End { begin } => before.open.remove(&begin),
            };
            if !is_known {
                return Err(damaged(&format!("entry {index} ends what has not begun")));
            }
            before.tail.push(record.entry.into_boxed_slice(), leaf, record.id);
        }
        before.chain = scanned.chain;
        before.segments.push(*first);
        if scanned.torn_bytes > 0 {
            let offset = scanned.end_page * PAGE_BYTES as u64;
            cut(disk, &file, &path, offset, scanned.torn_bytes)?;
            before.cut = Some(Cut { segment: path.clone(), offset, bytes: scanned.torn_bytes as u64 });
        }
        let pages = length / PAGE_BYTES as u64;
        before.last = Some(Segment { file, path, salt: header.chain, end_page: scanned.end_page, pages });
    }
    match read {
        Some(read) => Ok(read),
        None => begin(folder, &Header { first: 0, chain: seed()?, edges: Vec::new(), open: Vec::new() }),
    }
}

/// What is known where a segment begins, if there is none before it.
fn begin(folder: &Folder, header: &Header) -> Result<Read, LogError> {
    let path = folder.segment(header.first);
    let damaged = || LogError::damaged(&path, "its header does not fit together");
    // Its first entries may follow others in their bundle, which is full: that is why the segment before could go.
    let entries = match header.edges.first() {
        Some(leaves) if !leaves.is_empty() => {
            Tiles::new(folder.clone()).entries_of(header.first / WIDTH, leaves)?
        }
        _ => Vec::new(),
    };
    let tail = Tail::begin(header.first, header.edges.clone(), entries).ok_or_else(damaged)?;
    let open = header.open.iter().copied().collect();
    Ok(Read { tail, chain: header.chain, open, segments: Vec::new(), last: None, cut: None })
}

/// Makes the place of a torn group zero again, for the next one.
fn cut(disk: &Disk, file: &File, path: &Path, offset: u64, bytes: usize) -> Result<(), LogError> {
    disk.write_at(file, path, &vec![0; bytes], offset)?;
    disk.sync(file, path)
}

/// That nothing is gone which a checkpoint or a full bundle shows to have been there.
fn check_not_shorter(folder: &Folder, size: u64, signed: u64) -> Result<(), LogError> {
    if size < signed {
        return Err(LogError::tampered(format!("{signed} entries were signed, and {size} are there")));
    }
    let next = (size / WIDTH + 1) * WIDTH;
    for kind in [TileKind::Entries, TileKind::Hashes(0)] {
        let beyond = Tile::of_tree(kind, size / WIDTH, next).map(|tile| folder.tile(&tile));
        if let Some(path) = beyond.filter(|path| path.exists()) {
            let why = format!("{size} entries are there, and {} has later ones", path.display());
            return Err(LogError::tampered(why));
        }
    }
    Ok(())
}

/// Partial tiles of the places that are still written to.
fn list_partials(folder: &Folder, tail: &Tail) -> Result<Vec<Tile>, LogError> {
    let size = tail.size();
    let mut partials = Vec::new();
    for tile in tail.full_tiles(size).into_iter().chain(tail.partial_tiles(size)) {
        for name in disk::names(&folder.partials(tile))? {
            partials.extend(format!("{}.p/{name}", tile.full()).parse::<Tile>());
        }
    }
    Ok(partials)
}

/// Ids of the entries of the last block that are in no segment any more.
fn recover_ids(shared: &Shared, end: u64) -> Result<(), LogError> {
    let (block, covered) = (end / BLOCK_ENTRIES, end % BLOCK_ENTRIES);
    if covered == 0 {
        return Ok(());
    }
    let mut ids = None;
    for path in [shared.folder.index(block), shared.folder.index_part(block)] {
        let bytes = disk::read(&path, INDEX_BYTES_MAX)?.unwrap_or_default();
        ids = ids.or(index::decode(block, &bytes).filter(|(has, _)| *has >= covered).map(|(_, ids)| ids));
    }
    let ids = match ids {
        Some(ids) => ids,
        None => shared.ids_of_entries(block, covered)?,
    };
    shared.tail_mut().add_ids(block, ids.into_iter().filter(|(_, index)| *index < end));
    Ok(())
}

/// Spare segments of before are spare still, if they are as they were allocated: on a full disk they are all that is left.
fn take_spares(shared: &Shared, numbers: &[u64]) -> Result<VecDeque<Spare>, LogError> {
    let mut spares = VecDeque::new();
    for number in numbers {
        let path = shared.folder.spare(*number);
        let file = shared.disk.reopen(&path)?;
        let bytes = file.metadata().doing("examine", &path)?.len();
        if bytes == shared.segment_bytes {
            spares.push_back(Spare { file, path, bytes });
        } else {
            disk::remove(&path)?;
        }
    }
    Ok(spares)
}

/// What the first chain begins with: nobody can foresee it, so that no entry can look like the head of a group.
fn seed() -> Result<Hash, LogError> {
    let mut seed = Hash([0; 32]);
    aws_lc_rs::rand::fill(&mut seed.0)
        .map_err(|_| LogError::Options("there are no random numbers".to_owned()))?;
    Ok(seed)
}
