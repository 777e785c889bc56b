use std::{
    collections::BTreeMap,
    fs, io,
    os::unix::fs::PermissionsExt,
    path::Path,
    sync::{Arc, atomic::Ordering},
};

use tempfile::TempDir;
use tlog::{
    Checkpoint, VerifierKey,
    check::{Files, Trust},
    memory::MemoryLog,
    tree::{leaf_hash, verify_consistency, verify_inclusion},
};
use zeroize::Zeroizing;

use super::{
    disk::Faults,
    room::SEGMENT_BYTES_MIN,
    segment::{HEADER_PAGES, PAGE_BYTES},
    *,
};

mod damage;
mod full;

fn signer() -> Signer {
    Signer::from_seed("example.com/audit", Zeroizing::new([7; 32])).unwrap()
}

fn key() -> VerifierKey {
    signer().public().clone()
}

/// Small segments, and ids that are the first 16 bytes of an entry.
fn options(folder: &Path) -> Options {
    Options {
        id_of: |entry| entry.first_chunk().map(|id| u128::from_be_bytes(*id)),
        segment_bytes: SEGMENT_BYTES_MIN,
        ..Options::new(folder.join("audit"), signer())
    }
}

fn open(folder: &TempDir) -> (Log, Recovered) {
    Log::open(options(folder.path())).unwrap()
}

fn open_on(folder: &TempDir) -> (Log, Arc<Faults>) {
    let disk = Disk::default();
    let faults = Arc::clone(&disk.faults);
    (Log::open_on(options(folder.path()), disk).unwrap().0, faults)
}

/// What refuses to be opened.
fn refused(folder: &TempDir) -> LogError {
    Log::open(options(folder.path())).err().expect("it is refused")
}

/// The entry that has `number` for its id.
fn bytes(number: u64, length: usize) -> Vec<u8> {
    let mut bytes = u128::from(number).to_be_bytes().to_vec();
    bytes.extend(format!("entry {number} ").bytes().cycle().take(length.saturating_sub(16)));
    bytes
}

fn entry(kind: Kind, number: u64) -> Entry {
    Entry { kind, id: Some(number.into()), bytes: bytes(number, 100 + number as usize * 37 % 900) }
}

fn alone(number: u64) -> Entry {
    entry(Kind::Alone, number)
}

/// Appends the entries with these numbers, many at a time, so that groups are of all sizes.
async fn fill(log: &Log, numbers: Range<u64>) {
    for number in numbers.clone() {
        if number % 97 == 0 || number + 1 == numbers.end {
            log.append(alone(number)).await.unwrap();
        } else {
            log.append_soon(alone(number));
        }
    }
}

/// The same log as a plain tree.
fn plain(size: u64) -> MemoryLog {
    let mut plain = MemoryLog::new();
    for number in 0..size {
        plain.push(&alone(number).bytes).unwrap();
    }
    plain
}

/// A folder as anybody sees it who has a copy.
struct Copied<'a>(&'a Path);

impl Files for Copied<'_> {
    fn read(&self, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        disk::read(&self.0.join(path), limit).map_err(io::Error::other)
    }

    fn walk(&self, visit: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        files(self.0).keys().try_for_each(|path| visit(path))
    }
}

/// All files below a folder.
fn files(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let (mut files, mut left) = (BTreeMap::new(), vec![folder.to_path_buf()]);
    while let Some(one) = left.pop() {
        for found in fs::read_dir(&one).unwrap() {
            let path = found.unwrap().path();
            if path.is_dir() {
                left.push(path);
            } else {
                files.insert(
                    path.strip_prefix(folder).unwrap().display().to_string(),
                    fs::read(&path).unwrap(),
                );
            }
        }
    }
    files
}

/// That anybody finds this log whole, and how many entries they see.
fn verified(folder: &TempDir) -> u64 {
    let key = key();
    let trust = Trust { key: &key, kept: &[], witnesses: &[] };
    let report = tlog::check::check(&Copied(&folder.path().join("audit")), &trust).unwrap();
    assert!(report.is_valid(), "{report:?}");
    report.checkpoint.unwrap().size()
}

#[tokio::test]
async fn what_is_appended_is_there_and_stays_there() {
    let folder = tempfile::tempdir().unwrap();
    let (log, recovered) = open(&folder);
    assert_eq!(recovered, Recovered { size: 0, cut: None, open: Vec::new() });
    fill(&log, 0..1_500).await;
    for (size, first) in [(1_500, 0), (3_000, 1_500)] {
        if first > 0 {
            let (log, recovered) = open(&folder);
            assert_eq!(recovered, Recovered { size: first, cut: None, open: Vec::new() });
            fill(&log, first..size).await;
            log.close().await;
        } else {
            log.close().await;
        }
        assert_eq!(verified(&folder), size);
    }
    let (log, _) = open(&folder);
    let plain = plain(3_000);
    assert_eq!(log.root(3_000).unwrap(), plain.root());
    for number in 0..3_000 {
        assert_eq!(log.entry(number).unwrap(), alone(number).bytes);
        assert_eq!(log.find(number.into()).unwrap(), [number]);
    }
    assert_eq!(log.entries(200..5_000).unwrap().len() as u64, ENTRIES_MAX);
    assert_eq!(
        log.entries(2_990..5_000).unwrap(),
        (2_990..3_000).map(|n| alone(n).bytes).collect::<Vec<_>>()
    );
    assert!(matches!(log.entry(3_000), Err(LogError::NoEntry { asked: 3_000, size: 3_000 })));
    assert!(log.find(4_000).unwrap().is_empty());
    log.close().await;
    // Nothing but what is needed is kept.
    let names = files(&folder.path().join("audit"));
    let partial: Vec<_> = names.keys().filter(|name| name.contains(".p/")).collect();
    assert_eq!(partial, ["tile/0/011.p/184", "tile/1/000.p/11", "tile/entries/011.p/184"]);
    assert!(names.keys().filter(|name| name.starts_with("segment/")).count() <= 3, "{:?}", names.keys());
}

#[tokio::test]
async fn proofs_are_those_of_a_plain_tree() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    fill(&log, 0..700).await;
    log.checkpoint_now().await.unwrap();
    fill(&log, 700..1_000).await;
    let plain = plain(1_000);
    for size in [1, 2, 255, 256, 257, 511, 512, 513, 700, 768, 999, 1_000] {
        let root = log.root(size).unwrap();
        assert_eq!(root, tree::root(size, &plain).unwrap(), "{size}");
        for index in
            [0, 1, 254, 255, 256, 500, 511, 512, 767, 998, 999].into_iter().filter(|index| *index < size)
        {
            let proof = log.inclusion_proof(index, size).unwrap();
            verify_inclusion(index, size, leaf_hash(&log.entry(index).unwrap()), &proof, root).unwrap();
        }
        let proof = log.consistency_proof(size, 1_000).unwrap();
        verify_consistency(size, root, 1_000, plain.root(), &proof).unwrap();
    }
    assert!(matches!(log.root(1_001), Err(LogError::NoEntry { .. })));
    assert!(matches!(log.inclusion_proof(5, 5), Err(LogError::NoEntry { .. })));
    assert!(matches!(log.consistency_proof(6, 5), Err(LogError::NoEntry { .. })));
    log.close().await;
}

#[tokio::test]
async fn a_checkpoint_follows_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    let mut checkpoints = log.checkpoints();
    log.append(alone(0)).await.unwrap();
    checkpoints.wait_for(|checkpoint| checkpoint.size == 1).await.unwrap();
    log.append(alone(1)).await.unwrap();
    let second = checkpoints.wait_for(|checkpoint| checkpoint.size == 2).await.unwrap().clone();
    let opened = Checkpoint::open(second.note.as_bytes(), &key()).unwrap();
    assert_eq!((opened.size(), opened.root()), (2, log.root(2).unwrap()));
    assert_eq!(log.checkpoint(), second);
    assert_eq!(fs::read(folder.path().join("audit/checkpoint")).unwrap(), second.note.as_bytes());
    log.close().await;
}

#[tokio::test]
async fn a_begin_without_an_end_is_told_at_the_next_start_however_long_ago() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    let lone = log.append(entry(Kind::Begin, 7)).await.unwrap();
    let begin = log.append(entry(Kind::Begin, 8)).await.unwrap();
    log.append(entry(Kind::End { begin }, 8)).await.unwrap();
    for begin in [begin, 5, 1_000] {
        let refused = log.append(entry(Kind::End { begin }, 8)).await;
        assert!(matches!(refused, Err(LogError::NotOpen { .. })), "{refused:?}");
    }
    assert_eq!(log.status().open, 1);
    // Until the segment of the begin is long gone.
    fill(&log, 10..2_000).await;
    log.close().await;
    assert!(!folder.path().join("audit/segment/00000000000000000000").exists());
    let (log, recovered) = open(&folder);
    assert_eq!(recovered.open, [(lone, entry(Kind::Begin, 7).bytes)]);
    log.append(entry(Kind::End { begin: lone }, 7)).await.unwrap();
    assert_eq!(log.find(7).unwrap(), [lone, 1_993]);
    log.close().await;
    assert!(open(&folder).1.open.is_empty());
}

#[tokio::test]
async fn a_begin_whose_caller_has_left_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    let mut left = Box::pin(log.append(entry(Kind::Begin, 1)));
    assert!(futures_poll(left.as_mut()));
    drop(left);
    let begin = log.append(entry(Kind::Begin, 2)).await.unwrap();
    assert_eq!((begin, log.take_orphans()), (1, vec![0]));
    assert!(log.take_orphans().is_empty());
    log.append(entry(Kind::End { begin: 0 }, 1)).await.unwrap();
    log.close().await;
}

/// Polls once; whether it is still pending.
fn futures_poll(future: std::pin::Pin<&mut impl Future>) -> bool {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    future.poll(&mut context).is_pending()
}

#[tokio::test]
async fn entries_have_a_length() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    let of = |kind, length| Entry { kind, id: None, bytes: vec![b'a'; length] };
    for (kind, length, max) in [
        (Kind::Alone, 0, ENTRY_BYTES_MAX),
        (Kind::Begin, ENTRY_BYTES_MAX + 1, ENTRY_BYTES_MAX),
        (Kind::End { begin: 0 }, END_BYTES_MAX + 1, END_BYTES_MAX),
    ] {
        let refused = log.append(of(kind, length)).await;
        assert!(
            matches!(refused, Err(LogError::Length { bytes, max: most }) if bytes == length && most == max)
        );
    }
    log.append(of(Kind::Begin, ENTRY_BYTES_MAX)).await.unwrap();
    log.append(of(Kind::End { begin: 0 }, END_BYTES_MAX)).await.unwrap();
    log.close().await;
    assert_eq!(verified(&folder), 2);
}

#[tokio::test]
async fn one_process_has_it_and_others_may_not_look() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    assert!(matches!(refused(&folder), LogError::Locked { .. }));
    fill(&log, 0..300).await;
    log.close().await;
    assert!(matches!(log.append(alone(0)).await, Err(LogError::Closed)));
    assert!(matches!(log.checkpoint_now().await, Err(LogError::Closed)));
    log.close().await;
    let mut left = vec![folder.path().join("audit")];
    while let Some(path) = left.pop() {
        let is_folder = path.is_dir();
        let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode, if is_folder { 0o700 } else { 0o600 }, "{}", path.display());
        if is_folder {
            left.extend(fs::read_dir(&path).unwrap().map(|found| found.unwrap().path()));
        }
    }
}

#[tokio::test]
async fn a_lost_index_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    let size = index::BLOCK_ENTRIES + 2_000;
    let small = |number: u64| Entry {
        kind: Kind::Alone,
        id: Some((number / 2).into()),
        bytes: bytes(number / 2, 16),
    };
    for number in 0..size {
        if number % 1_000 == 999 {
            log.append(small(number)).await.unwrap();
        } else {
            log.append_soon(small(number));
        }
    }
    let expected = |number: u64| vec![number * 2, number * 2 + 1];
    let check = |log: &Log| {
        for number in [0, 1, 1_000, 32_767, 32_768, 33_000, size / 2 - 1] {
            assert_eq!(log.find(number.into()).unwrap(), expected(number), "{number}");
        }
    };
    log.close().await;
    check(&log);
    let index = folder.path().join("audit/index");
    assert_eq!(disk::names(&index).unwrap(), ["0", "1.part"]);
    for break_it in [
        (|index| {
            let mut bytes = fs::read(index.join("1.part")).unwrap();
            bytes[100] ^= 1;
            fs::write(index.join("1.part"), bytes).unwrap();
        }) as fn(&Path),
        |index| fs::write(index.join("0"), "no index").unwrap(),
        |index| fs::remove_dir_all(index).unwrap(),
        |_| {},
    ] {
        break_it(&index);
        let (log, _) = open(&folder);
        check(&log);
        log.close().await;
    }
}

#[tokio::test]
async fn what_a_crash_has_left_of_tiles_is_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::default();
    let faults = Arc::clone(&disk.faults);
    let roomy = Options { segment_bytes: SEGMENT_BYTES, ..options(folder.path()) };
    let (log, _) = Log::open_on(roomy, disk).unwrap();
    fill(&log, 0..600).await;
    log.checkpoint_now().await.unwrap();
    // As if what is not in the checkpoint had been on its way.
    faults.full.store(true, Ordering::Relaxed);
    fill(&log, 600..700).await;
    log.close().await;
    let audit = folder.path().join("audit");
    let first: u64 = disk::names(&audit.join("segment")).unwrap()[0].parse().unwrap();
    assert_eq!(first, 0, "all of it is in segments");
    fs::remove_dir_all(audit.join("tile/0")).unwrap();
    fs::write(audit.join("tile/entries/001"), "half a bund").unwrap();
    fs::write(audit.join("new/kept"), "half a tile").unwrap();
    let (log, recovered) = open(&folder);
    assert_eq!(recovered.size, 700);
    log.close().await;
    assert_eq!(verified(&folder), 700);
    assert!(!audit.join("new/kept").exists());
}

#[tokio::test]
async fn nothing_is_lost_where_nobody_waits_and_the_queue_is_full() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    let count = QUEUE_MAX as u64 * 2;
    for number in 0..count {
        log.append_soon(Entry { kind: Kind::Alone, id: None, bytes: bytes(number, 16) });
    }
    // This task has not let any other run, so half of them are still in tasks of their own.
    while log.size() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    log.close().await;
    let mut found = Vec::new();
    while (found.len() as u64) < count {
        found.extend(log.entries(found.len() as u64..count).unwrap());
    }
    found.sort_unstable();
    assert!(found.into_iter().eq((0..count).map(|number| bytes(number, 16))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_append_and_read_at_the_same_time() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    let mut producers = tokio::task::JoinSet::new();
    for producer in 0..16_u64 {
        let log = log.clone();
        producers.spawn(async move {
            for step in 0..200 {
                let number = producer * 1_000 + step;
                let begin = log.append(entry(Kind::Begin, number)).await.unwrap();
                let end = log.append(entry(Kind::End { begin }, number)).await.unwrap();
                assert!(begin < end && end < log.size());
                // Of what is just being moved from memory to files, too.
                for index in [begin, end / 2, 0] {
                    let size = log.size();
                    let (bytes, root) = (log.entry(index).unwrap(), log.root(size).unwrap());
                    let proof = log.inclusion_proof(index, size).unwrap();
                    verify_inclusion(index, size, leaf_hash(&bytes), &proof, root).unwrap();
                }
                assert_eq!(log.find(number.into()).unwrap(), [begin, end]);
                assert_eq!(log.status().broken, None);
                if step % 20 == 0 {
                    log.checkpoint_now().await.unwrap();
                }
            }
        });
    }
    while let Some(done) = producers.join_next().await {
        done.unwrap();
    }
    assert_eq!((log.size(), log.status().open), (6_400, 0));
    log.close().await;
    assert_eq!(verified(&folder), 6_400);
}

#[tokio::test]
async fn another_key_goes_on_if_the_older_one_is_known() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    fill(&log, 0..10).await;
    log.close().await;
    let newer = || Signer::from_seed("example.com/audit", Zeroizing::new([8; 32])).unwrap();
    let with = |older_keys| Options { signer: newer(), older_keys, ..options(folder.path()) };
    assert!(matches!(Log::open(with(Vec::new())).err(), Some(LogError::Note(_))));
    let (log, recovered) = Log::open(with(vec![key()])).unwrap();
    assert_eq!(recovered.size, 10);
    log.close().await;
    let (log, _) = Log::open(with(Vec::new())).unwrap();
    log.close().await;
}

/// What a server finds at its start is compared with what is known elsewhere first, so nothing new may vouch for it.
#[tokio::test]
async fn nothing_is_signed_before_it_may_be() {
    let folder = TempDir::new().unwrap();
    let (log, _) = open(&folder);
    fill(&log, 0..5).await;
    log.close().await;
    let note = || fs::read(folder.path().join("audit/checkpoint")).unwrap();
    let signed = note();
    let later = || Log::open(Options { signs_later: true, ..options(folder.path()) }).unwrap().0;
    let log = later();
    fill(&log, 5..9).await;
    log.close().await;
    assert_eq!(note(), signed, "not even when it is closed");

    let log = later();
    assert_eq!((log.size(), log.checkpoint().size), (9, 5));
    let asked = tokio::spawn({
        let log = log.clone();
        async move { log.checkpoint_now().await }
    });
    log.append(alone(9)).await.unwrap();
    assert_eq!(note(), signed);
    log.begin_signing();
    asked.await.unwrap().unwrap();
    log.checkpoint_now().await.unwrap();
    assert_eq!((log.checkpoint().size, log.root(10).unwrap()), (10, plain(10).root()));
    log.close().await;
}
