//! Segments, tiles and checkpoints that are not as they were written.

use std::path::PathBuf;

use super::*;

/// Where the first group of a segment begins.
const DATA: usize = HEADER_PAGES as usize * PAGE_BYTES;

/// A log of a few lone entries, one page each, and one group that is torn after so many bytes.
async fn torn(folder: &TempDir, entries: u64, length: usize, after: usize) -> u64 {
    let (log, faults) = open_on(folder);
    fill_alone(&log, entries).await;
    faults.torn_after.store(after, Ordering::Relaxed);
    let torn = Entry { kind: Kind::Alone, id: None, bytes: bytes(entries, length) };
    assert!(matches!(log.append(torn).await, Err(LogError::Broken { .. })));
    log.close().await;
    log.size()
}

async fn fill_alone(log: &Log, entries: u64) {
    for number in 0..entries {
        log.append(alone(number)).await.unwrap();
    }
}

fn segment(folder: &TempDir, first: u64) -> PathBuf {
    folder.path().join(format!("audit/segment/{first:020}"))
}

fn change(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn a_torn_group_is_cut_wherever_it_was_torn() {
    // In the head, behind it, at the edge of a sector and of a page, and before the last byte.
    for (length, after) in
        [(100, 1), (100, 59), (100, 60), (100, 120), (600, 512), (9_000, 4_096), (9_000, 9_065)]
    {
        let folder = tempfile::tempdir().unwrap();
        let size = torn(&folder, 3, length, after).await;
        assert_eq!(size, 3);
        let (log, recovered) = open(&folder);
        let cut = recovered.cut.expect("something was cut");
        assert_eq!((recovered.size, cut.offset), (3, (DATA + 3 * PAGE_BYTES) as u64), "{length} {after}");
        assert_eq!(cut.segment, segment(&folder, 0));
        assert!(cut.bytes <= after as u64);
        log.append(alone(3)).await.unwrap();
        log.close().await;
        let (log, recovered) = open(&folder);
        assert_eq!(recovered, Recovered { size: 4, cut: None, open: Vec::new() });
        log.close().await;
        assert_eq!(verified(&folder), 4);
    }
}

#[tokio::test]
async fn a_group_whose_pages_arrived_in_another_order_is_cut() {
    let folder = tempfile::tempdir().unwrap();
    torn(&folder, 3, 9_000, 9_065).await;
    let first_page = DATA + 3 * PAGE_BYTES;
    change(&segment(&folder, 0), |bytes| bytes[first_page..first_page + PAGE_BYTES].fill(0));
    let (log, recovered) = open(&folder);
    assert_eq!((recovered.size, recovered.cut.unwrap().offset), (3, first_page as u64));
    log.append(alone(3)).await.unwrap();
    log.close().await;
    assert_eq!(verified(&folder), 4);
}

/// A log that no checkpoint vouches for yet, as after a crash.
async fn unsigned(entries: u64) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let (log, faults) = open_on(&folder);
    log.checkpoint_now().await.unwrap();
    faults.full.store(true, Ordering::Relaxed);
    fill_alone(&log, entries).await;
    log.close().await;
    folder
}

#[tokio::test]
async fn damage_is_not_taken_for_a_torn_group() {
    // Also in the last group, as long as it has all its sectors.
    for at in [
        DATA,
        DATA + 10,
        DATA + 30,
        DATA + 57,
        DATA + 80,
        DATA + 2 * PAGE_BYTES + 80,
        DATA + 4 * PAGE_BYTES + 2,
    ] {
        let folder = unsigned(5).await;
        change(&segment(&folder, 0), |bytes| bytes[at] ^= 1);
        let why = refused(&folder);
        assert!(matches!(why, LogError::Damaged { .. }), "{at}: {why}");
    }
    let changes: [fn(&mut Vec<u8>); 5] = [
        // A whole group is gone, and others follow.
        |bytes| bytes[DATA + PAGE_BYTES..DATA + 2 * PAGE_BYTES].fill(0),
        // Two have changed places.
        |bytes| {
            let (left, right) = bytes.split_at_mut(DATA + PAGE_BYTES);
            left[DATA..].swap_with_slice(&mut right[..PAGE_BYTES]);
        },
        // One stands there twice.
        |bytes| bytes.copy_within(DATA..DATA + PAGE_BYTES, DATA + 5 * PAGE_BYTES),
        // Something behind the end.
        |bytes| bytes[DATA + 5 * PAGE_BYTES - 1] = 1,
        // The header.
        |bytes| bytes[20] ^= 1,
    ];
    for (number, one) in changes.into_iter().enumerate() {
        let folder = unsigned(5).await;
        change(&segment(&folder, 0), one);
        let why = refused(&folder);
        assert!(matches!(why, LogError::Damaged { .. }), "{number}: {why}");
    }
}

#[tokio::test]
async fn what_was_signed_cannot_be_missing_or_another() {
    let changes: [(&str, fn(&Path)); 6] = [
        ("the last group", |audit| {
            change(&audit.join("segment/00000000000000000000"), |bytes| {
                bytes[DATA + 4 * PAGE_BYTES..DATA + 5 * PAGE_BYTES].fill(0);
            });
        }),
        ("all segments", |audit| fs::remove_dir_all(audit.join("segment")).unwrap()),
        ("the checkpoint", |audit| fs::remove_file(audit.join("checkpoint")).unwrap()),
        ("everything but the checkpoint", |audit| {
            for name in ["segment", "tile"] {
                fs::remove_dir_all(audit.join(name)).unwrap();
            }
        }),
        ("a byte of the checkpoint", |audit| change(&audit.join("checkpoint"), |bytes| bytes[18] ^= 1)),
        ("another log's checkpoint", |audit| {
            let other = Checkpoint::new("example.com/audit", 5, leaf_hash(b"other")).unwrap();
            fs::write(audit.join("checkpoint"), other.sign(&signer()).unwrap()).unwrap();
        }),
    ];
    for (what, change) in changes {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = open(&folder);
        fill_alone(&log, 5).await;
        log.close().await;
        change(&folder.path().join("audit"));
        let why = refused(&folder);
        assert!(matches!(why, LogError::Tampered { .. } | LogError::Note(_)), "{what}: {why}");
    }
}

#[tokio::test]
async fn a_segment_that_is_gone_is_missed() {
    for gone in ["first", "middle", "last"] {
        let folder = tempfile::tempdir().unwrap();
        let (log, faults) = open_on(&folder);
        // Lone entries fill segments fast, and on a full disk no bundle takes them.
        for number in 0..250 {
            log.append(alone(number)).await.unwrap();
        }
        faults.full.store(true, Ordering::Relaxed);
        log.close().await;
        let names = disk::names(&folder.path().join("audit/segment")).unwrap();
        let firsts: Vec<_> = names.iter().filter(|name| !name.starts_with("spare")).collect();
        assert!(firsts.len() > 3, "{firsts:?}");
        let name = match gone {
            "first" => firsts[0],
            "middle" => firsts[2],
            _ => firsts[firsts.len() - 1],
        };
        fs::remove_file(folder.path().join("audit/segment").join(name)).unwrap();
        let opened = Log::open(options(folder.path()));
        // Without its last segment a log is an older one, which only a checkpoint can tell.
        let signed = fs::read_to_string(folder.path().join("audit/checkpoint")).unwrap();
        let signed: u64 = signed.lines().nth(1).unwrap().parse().unwrap();
        match (gone, opened) {
            ("last", Ok((log, recovered))) => {
                assert!(recovered.size >= signed);
                log.close().await;
            }
            (_, opened) => {
                let why = opened.err().expect("it is refused");
                assert!(matches!(why, LogError::Damaged { .. } | LogError::Tampered { .. }), "{gone}: {why}");
            }
        }
    }
}

#[tokio::test]
async fn a_changed_bundle_or_tile_is_found_when_it_is_read() {
    for path in ["tile/entries/000", "tile/0/000"] {
        let folder = tempfile::tempdir().unwrap();
        let (log, _) = open(&folder);
        fill(&log, 0..2_000).await;
        log.close().await;
        change(&folder.path().join("audit").join(path), |bytes| bytes[10] ^= 1);
        let (log, _) = open(&folder);
        let why = log.entry(0).unwrap_err();
        assert!(matches!(why, LogError::Damaged { .. }), "{path}: {why}");
        log.close().await;
    }
}
