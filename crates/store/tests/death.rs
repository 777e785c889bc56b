//! A process that writes is killed at random points, or its disk fails: what it had acknowledged is there.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use seccompiler::{SeccompAction, SeccompFilter, apply_filter_all_threads};
use store::{NewChatCompletionRecord, Owner, Store, StoreError};
use types::{DataClass, RequestId, Sealed, TenantId, UserId};

/// Names the folder to the process that dies, and says how.
const FOLDER: &str = "LLMOS_TEST_DIES_IN";
const HOW: &str = "LLMOS_TEST_DIES_OF";
const ROUND: &str = "LLMOS_TEST_ROUND";
/// Callers that write at the same time.
const WRITERS: u128 = 8;
const OWNER: Owner = Owner { tenant: TenantId(1), user: UserId(1), data_class_max: DataClass::Restricted };

/// 50, or 1,000 with `LLMOS_TEST_FULL=1`.
fn rounds() -> u128 {
    if env::var_os("LLMOS_TEST_FULL").is_some() { 1_000 } else { 50 }
}

fn row(id: u128) -> NewChatCompletionRecord {
    let sealed = |what: &str| Sealed::from(format!("{what} of {id} ").repeat(100).into_bytes());
    NewChatCompletionRecord {
        id: RequestId(id),
        tenant: OWNER.tenant,
        user: OWNER.user,
        subject_key: [1; 16],
        data_class: DataClass::Internal,
        model: "m".to_owned(),
        created_at: 1,
        expires_at: 1_000,
        messages: sealed("messages"),
        answer: sealed("answer"),
        metadata: sealed("metadata"),
    }
}

fn say(line: &str) {
    // One write for each line: the process may be killed between any two.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// From now on these calls of this process fail.
fn forbid(calls: &[i64], errno: i32) {
    let rules: BTreeMap<i64, Vec<_>> = calls.iter().map(|call| (*call, Vec::new())).collect();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(errno.cast_unsigned()),
        env::consts::ARCH.try_into().unwrap(),
    );
    apply_filter_all_threads(&seccompiler::BpfProgram::try_from(filter.unwrap()).unwrap()).unwrap();
}

/// What the process does until it dies. Each line that it prints is an acknowledgement.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_dies() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let store = Store::open(&Path::new(&folder).join("state.db")).await.unwrap();
    let round: u128 = env::var(ROUND).unwrap().parse().unwrap();
    let how = env::var(HOW).unwrap();
    say("");
    if how == "kill" {
        let write = async |writer: u128| {
            for step in 0.. {
                let id = (round * WRITERS + writer) * 1_000_000 + step;
                store.insert_chat_completion(row(id)).await.unwrap();
                say(&format!("ack kept {id}"));
                if step % 5 == 4 {
                    let gone = id - 2;
                    say(&format!("ack deletes {gone}"));
                    assert!(store.delete_chat_completion(OWNER, RequestId(gone), 2).await.unwrap());
                    say(&format!("ack deleted {gone}"));
                }
            }
        };
        futures::future::join_all((0..WRITERS).map(write)).await;
    }
    store.insert_chat_completion(row(1)).await.unwrap();
    let (calls, errno) = match how.as_str() {
        "sync" => (&[libc::SYS_fsync, libc::SYS_fdatasync][..], libc::EIO),
        "full" => (&[libc::SYS_pwrite64, libc::SYS_ftruncate, libc::SYS_fallocate][..], libc::ENOSPC),
        other => panic!("{other}"),
    };
    forbid(calls, errno);
    let failed = Arc::new(AtomicBool::new(false));
    // Many at once, and then again: the second time must not succeed just because the system has forgotten.
    for _ in 0..2 {
        let writes = (2..10).map(|id| store.insert_chat_completion(row(id)));
        for outcome in futures::future::join_all(writes).await {
            let error = outcome.unwrap_err();
            match how.as_str() {
                "sync" => assert!(matches!(error, StoreError::SyncFailed { .. }), "{error:?}"),
                _ => assert!(matches!(error, StoreError::DiskFull { .. }), "{error:?}"),
            }
            failed.store(true, Ordering::Relaxed);
        }
        // Reading goes on.
        assert!(store.chat_completion(OWNER, RequestId(1), 2).await.unwrap().is_some());
    }
    assert!(failed.load(Ordering::Relaxed));
    say("ack done");
    std::process::exit(0);
}

fn dying(folder: &Path, how: &str, round: u128) -> std::process::Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_process_that_dies", "--nocapture"])
        .env(FOLDER, folder)
        .env(HOW, how)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test]
async fn what_was_acknowledged_is_there_wherever_the_process_is_killed() {
    if env::var_os(FOLDER).is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    // By id: whether it is there; nothing is known while it is being deleted.
    let mut known: BTreeMap<u128, Option<bool>> = BTreeMap::new();
    for round in 0..rounds() {
        let mut killed = dying(folder.path(), "kill", round);
        let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().map_while(Result::ok).any(|line| line.is_empty()), "it has begun");
        // As many acknowledgements, however busy the machine is, and then somewhere before the next.
        let mut said: Vec<String> =
            lines.by_ref().map_while(Result::ok).take((round * 7 % 60) as usize).collect();
        thread::sleep(Duration::from_micros(round as u64 * 7_919 % 5_000));
        killed.kill().unwrap();
        killed.wait().unwrap();
        said.extend(lines.map_while(Result::ok));
        for line in said {
            let words: Vec<&str> = line.split(' ').collect();
            let ["ack", what, id] = words[..] else { continue };
            let there = match what {
                "kept" => Some(true),
                "deleted" => Some(false),
                _ => None,
            };
            known.insert(id.parse().unwrap(), there);
        }
        let store = Store::open(&folder.path().join("state.db")).await.unwrap();
        for (id, expected) in known.range(round * WRITERS * 1_000_000..) {
            let found = store.chat_completion(OWNER, RequestId(*id), 2).await.unwrap();
            if let Some(expected) = expected {
                assert_eq!(found.is_some(), *expected, "{id} in round {round}");
            }
            if let Some(found) = found {
                let written = row(*id);
                assert_eq!((found.answer, found.metadata), (written.answer, written.metadata));
            }
        }
        store.close().await;
    }
    assert!(known.len() as u128 > rounds(), "{}", known.len());
}

#[tokio::test]
async fn a_disk_that_fails_or_is_full_is_reported_and_loses_nothing() {
    if env::var_os(FOLDER).is_some() {
        return;
    }
    for how in ["sync", "full"] {
        let folder = tempfile::tempdir().unwrap();
        let output = dying(folder.path(), how, 0).wait_with_output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && said.contains("ack done"), "{how}: {said}");
        let store = Store::open(&folder.path().join("state.db")).await.unwrap();
        assert!(store.chat_completion(OWNER, RequestId(1), 2).await.unwrap().is_some(), "{how}");
        store.insert_chat_completion(row(100)).await.unwrap();
    }
}
