//! Disks that are full, or do not confirm.

use super::*;

/// Pages of a fresh segment that can be relied on.
const PAGES: usize = (SEGMENT_BYTES_MIN / PAGE_BYTES as u64 - HEADER_PAGES) as usize - 4;

#[tokio::test]
async fn on_a_full_disk_every_end_goes_in_and_nothing_else_does() {
    let folder = tempfile::tempdir().unwrap();
    let (log, faults) = open_on(&folder);
    faults.full.store(true, Ordering::Relaxed);
    let mut begins = Vec::new();
    let why = loop {
        match log.append(Entry { kind: Kind::Begin, id: None, bytes: vec![b'b'; 300] }).await {
            Ok(begin) => begins.push(begin),
            Err(error) => break error,
        }
    };
    assert!(matches!(&why, LogError::Full { why } if why.contains("cannot make")), "{why}");
    // One page for itself and one for its end.
    assert_eq!(begins.len(), PAGES / 2);
    assert!(matches!(log.append(alone(1)).await, Err(LogError::Full { .. })));
    assert!(log.status().paused.is_some());
    // The largest ends, and each comes alone.
    let end = |begin| Entry { kind: Kind::End { begin }, id: Some(1), bytes: vec![b'e'; END_BYTES_MAX] };
    for begin in begins.drain(..3) {
        log.append(end(begin)).await.unwrap();
    }
    // Where there is no room for a begin and its end there is none, however many ends have come.
    let refused = log.append(Entry { kind: Kind::Begin, id: None, bytes: vec![b'b'; 5_000] }).await;
    assert!(matches!(refused, Err(LogError::Full { .. })), "{refused:?}");
    faults.full.store(false, Ordering::Relaxed);
    let begin = log.append(entry(Kind::Begin, 5)).await.unwrap();
    assert_eq!(log.status().paused, None);
    faults.full.store(true, Ordering::Relaxed);
    log.append(end(begin)).await.unwrap();
    for begin in begins.drain(..) {
        log.append(end(begin)).await.unwrap();
    }
    let size = log.size();
    assert_eq!(log.status().open, 0);
    faults.full.store(false, Ordering::Relaxed);
    log.close().await;
    assert_eq!(verified(&folder), size);
    assert!(open(&folder).1.open.is_empty());
}

/// Some disks promise more room than they have.
#[tokio::test]
async fn where_not_even_what_was_allocated_can_be_written_ends_wait_for_room() {
    let folder = tempfile::tempdir().unwrap();
    let (log, faults) = open_on(&folder);
    let begin = log.append(entry(Kind::Begin, 1)).await.unwrap();
    faults.no_room.store(true, Ordering::Relaxed);
    // More pages than what comes after it: nothing of it may be left behind that.
    let pages = Entry { kind: Kind::Alone, id: None, bytes: vec![b'l'; 12_000] };
    let refused = log.append(pages).await;
    assert!(matches!(refused, Err(LogError::Full { .. })), "{refused:?}");
    let ending = tokio::spawn({
        let log = log.clone();
        async move { log.append(entry(Kind::End { begin }, 1)).await }
    });
    tokio::time::sleep(std::time::Duration::from_millis(250)).await;
    assert!(!ending.is_finished() && log.status().broken.is_none() && log.status().paused.is_some());
    faults.no_room.store(false, Ordering::Relaxed);
    assert_eq!(ending.await.unwrap().unwrap(), 1);
    assert_eq!(killed_and_opened(&folder), 2);
    log.append(alone(3)).await.unwrap();
    assert_eq!(log.status().paused, None);
    log.close().await;
    assert_eq!(verified(&folder), 3);
}

/// Entries that a server finds which starts on what the disk has now.
fn killed_and_opened(folder: &TempDir) -> u64 {
    let copy = tempfile::tempdir().unwrap();
    let copied =
        std::process::Command::new("cp").arg("-a").arg(folder.path()).arg(copy.path().join("log")).status();
    assert!(copied.unwrap().success());
    let _ = std::fs::remove_file(copy.path().join("log").join("lock"));
    let (log, recovered) = Log::open(options(&copy.path().join("log"))).unwrap();
    drop(log);
    recovered.size
}

#[tokio::test]
async fn spare_room_is_kept_over_a_start_on_a_full_disk() {
    let folder = tempfile::tempdir().unwrap();
    let (log, _) = open(&folder);
    let mut begins = Vec::new();
    for _ in 0..PAGES * 3 {
        begins.push(log.append(Entry { kind: Kind::Begin, id: None, bytes: vec![b'b'; 16] }).await.unwrap());
    }
    log.close().await;
    let disk = Disk::default();
    let faults = Arc::clone(&disk.faults);
    faults.full.store(true, Ordering::Relaxed);
    let (log, recovered) = Log::open_on(options(folder.path()), disk).unwrap();
    assert_eq!(recovered.open.iter().map(|(begin, _)| *begin).collect::<Vec<_>>(), begins);
    for begin in begins {
        let bytes = vec![b'e'; END_BYTES_MAX];
        log.append(Entry { kind: Kind::End { begin }, id: None, bytes }).await.unwrap();
    }
    log.close().await;
    let (log, recovered) = open(&folder);
    assert_eq!((recovered.size, recovered.open.len()), (PAGES as u64 * 6, 0));
    log.close().await;
    assert_eq!(verified(&folder), PAGES as u64 * 6);
}

#[tokio::test]
async fn checkpoints_go_on_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let (log, faults) = open_on(&folder);
    faults.full.store(true, Ordering::Relaxed);
    log.append(alone(1)).await.unwrap();
    let refused = log.checkpoint_now().await;
    assert!(matches!(refused, Err(LogError::Full { .. })), "{refused:?}");
    assert!(log.status().stuck.is_some());
    faults.full.store(false, Ordering::Relaxed);
    log.checkpoints().wait_for(|checkpoint| checkpoint.size == 1).await.unwrap();
    log.checkpoint_now().await.unwrap();
    assert_eq!(log.status().stuck, None);
    log.close().await;
    assert_eq!(verified(&folder), 1);
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written_until_the_next_start() {
    let folder = tempfile::tempdir().unwrap();
    let (log, faults) = open_on(&folder);
    fill(&log, 0..10).await;
    log.checkpoint_now().await.unwrap();
    faults.sync.store(true, Ordering::Relaxed);
    let failed = log.append(alone(10)).await;
    assert!(matches!(&failed, Err(LogError::Broken { why }) if why.contains("segment/")), "{failed:?}");
    // The next one would succeed, and yet the one before may be lost.
    faults.sync.store(false, Ordering::Relaxed);
    assert!(matches!(log.append(alone(11)).await, Err(LogError::Broken { .. })));
    assert!(matches!(log.checkpoint_now().await, Err(LogError::Broken { .. })));
    assert!(log.status().broken.is_some());
    // Reading goes on.
    assert_eq!((log.size(), log.entry(9).unwrap()), (10, alone(9).bytes));
    log.close().await;
    // What the disk has of it counts now, and nobody was told either way.
    let (log, recovered) = open(&folder);
    assert!(recovered.size == 10 || recovered.size == 11);
    log.append(alone(recovered.size)).await.unwrap();
    log.close().await;
    assert_eq!(verified(&folder), recovered.size + 1);
}

#[tokio::test]
async fn a_checkpoint_that_is_not_confirmed_breaks_the_log_too() {
    let folder = tempfile::tempdir().unwrap();
    let (log, faults) = open_on(&folder);
    log.append(alone(0)).await.unwrap();
    faults.sync.store(true, Ordering::Relaxed);
    assert!(matches!(log.checkpoint_now().await, Err(LogError::Broken { .. })));
    faults.sync.store(false, Ordering::Relaxed);
    assert!(matches!(log.append(alone(1)).await, Err(LogError::Broken { .. })));
    log.close().await;
    let (log, recovered) = open(&folder);
    assert_eq!(recovered.size, 1);
    log.close().await;
}

#[tokio::test]
async fn while_tiles_cannot_be_written_memory_stays_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let roomy = || Options { segment_bytes: SEGMENT_BYTES, ..options(folder.path()) };
    let (log, _) = Log::open(roomy()).unwrap();
    log.checkpoint_now().await.unwrap();
    // Where new files are made there is something else.
    let in_the_way = folder.path().join("audit/new/kept");
    fs::create_dir(&in_the_way).unwrap();
    let begin = log.append(entry(Kind::Begin, 1)).await.unwrap();
    let large = || Entry { kind: Kind::Alone, id: None, bytes: vec![b'x'; ENTRY_BYTES_MAX] };
    let why = loop {
        for _ in 0..100 {
            log.append_soon(large());
        }
        if let Err(error) = log.append(large()).await {
            break error;
        }
    };
    assert!(matches!(&why, LogError::Full { why } if why.contains("new/kept")), "{why}");
    let status = log.status();
    assert!(status.tail_bytes < TAIL_BYTES_MAX as u64 + segment::GROUP_BYTES_MAX as u64, "{status:?}");
    assert!(status.stuck.is_some() && status.paused.is_some(), "{status:?}");
    log.append(entry(Kind::End { begin }, 1)).await.unwrap();
    fs::remove_dir(&in_the_way).unwrap();
    log.checkpoint_now().await.unwrap();
    log.append(large()).await.unwrap();
    assert_eq!(log.status().paused, None);
    let size = log.size();
    log.close().await;
    assert_eq!(verified(&folder), size);
    let (log, recovered) = Log::open(roomy()).unwrap();
    assert_eq!(recovered.size, size);
    log.close().await;
}
