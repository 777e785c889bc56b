//! A process that appends is killed at random points: what it had acknowledged is there, and the log is whole.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout, missing_docs)]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    io::{self, BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use audit::log::{Entry, Kind, Log, Options};
use tlog::{
    Checkpoint, Signer,
    check::{Files, Trust, check},
    tree::{leaf_hash, verify_consistency},
};
use zeroize::Zeroizing;

/// Names the folder to the process that dies.
const FOLDER: &str = "LLMOS_TEST_DIES_IN";
const ROUND: &str = "LLMOS_TEST_ROUND";
/// Callers that append at the same time.
const PRODUCERS: u64 = 8;
/// Rounds that go on with the log of the round before. Then it is long enough, and another one begins.
const ROUNDS_OF_A_LOG: u64 = 50;
/// Small, so that a round goes through several.
const SEGMENT_BYTES: u64 = 512 * 1024;

/// 50, or 1,000 with `LLMOS_TEST_FULL=1`.
fn rounds() -> u64 {
    if env::var_os("LLMOS_TEST_FULL").is_some() { 1_000 } else { 50 }
}

fn signer() -> Signer {
    Signer::from_seed("example.com/audit", Zeroizing::new([7; 32])).unwrap()
}

fn options(folder: &Path) -> Options {
    Options { segment_bytes: SEGMENT_BYTES, ..Options::new(folder.to_path_buf(), signer()) }
}

/// Appends, and says what was acknowledged: one write for each line, so the process may be killed between any two.
async fn append(log: &Log, kind: Kind, text: String) -> u64 {
    let hash = leaf_hash(text.as_bytes());
    let id = Some(u128::from(hash.0[0]));
    let index = log.append(Entry { kind, id, bytes: text.into_bytes() }).await.unwrap();
    say(&format!("ack {index} {hash}"));
    index
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// What the process does until it dies.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_dies() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let round = env::var(ROUND).unwrap();
    let (log, _) = Log::open(options(Path::new(&folder))).unwrap();
    say("ready");
    let mut producers = tokio::task::JoinSet::new();
    for producer in 0..PRODUCERS {
        let (log, round) = (log.clone(), round.clone());
        producers.spawn(async move {
            for step in 0_usize.. {
                let text = format!("{round} {producer} {step} {}", "x".repeat(step * 331 % 9_000));
                let begin = append(&log, Kind::Begin, format!("begin {text}")).await;
                if step % 3 == 0 {
                    append(&log, Kind::Alone, format!("alone {text}")).await;
                }
                if step % 10 < 9 {
                    append(&log, Kind::End { begin }, format!("end {begin} {round}")).await;
                }
            }
        });
    }
    loop {
        log.checkpoint_now().await.unwrap();
        tokio::time::sleep(Duration::from_millis(3)).await;
    }
}

fn dying(folder: &Path, round: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_process_that_dies", "--nocapture"])
        .env(FOLDER, folder)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

struct Copied<'a>(&'a Path);

impl Files for Copied<'_> {
    fn read(&self, path: &str, _limit: usize) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.0.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn walk(&self, visit: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let mut left = vec![self.0.to_path_buf()];
        while let Some(one) = left.pop() {
            for found in fs::read_dir(&one)? {
                let path = found?.path();
                if path.is_dir() {
                    left.push(path);
                } else {
                    visit(path.strip_prefix(self.0).unwrap().to_str().unwrap())?;
                }
            }
        }
        Ok(())
    }
}

fn checkpoint(folder: &Path) -> Checkpoint {
    Checkpoint::open(&fs::read(folder.join("checkpoint")).unwrap(), signer().public()).unwrap()
}

/// Runs a process until somewhere behind some acknowledgements. What it said was on the disk: index and hash.
fn killed_after(folder: &Path, round: u64, acks: usize) -> Vec<(u64, String)> {
    let mut killed = dying(folder, round);
    let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.ends_with("ready")), "it has begun");
    let mut said: Vec<String> = lines.by_ref().take(acks).collect();
    thread::sleep(Duration::from_micros(round * 7_919 % 5_000));
    killed.kill().unwrap();
    killed.wait().unwrap();
    said.extend(lines);
    let parsed = said.iter().filter_map(|line| {
        let [what, index, hash] = line.split(' ').collect::<Vec<_>>()[..] else { return None };
        // The last line may be torn too: then its hash is.
        (what == "ack" && hash.len() == 44).then(|| (index.parse().unwrap(), hash.to_owned()))
    });
    parsed.collect()
}

/// The begins in a log that have no end.
fn lone(entries: &BTreeMap<u64, Vec<u8>>) -> BTreeSet<u64> {
    let mut open = BTreeSet::new();
    for (index, entry) in entries {
        let mut words = str::from_utf8(entry).unwrap().split(' ');
        match words.next().unwrap() {
            "begin" => assert!(open.insert(*index)),
            "end" => {
                assert!(open.remove(&words.next().unwrap().parse().unwrap()), "entry {index} ends nothing");
            }
            _ => {}
        }
    }
    open
}

#[tokio::test]
async fn what_was_acknowledged_is_there_wherever_the_process_is_killed() {
    if env::var_os(FOLDER).is_some() {
        return;
    }
    let (mut cuts, mut acknowledged) = (0, 0);
    let mut folder = tempfile::tempdir().unwrap();
    let mut entries: BTreeMap<u64, Vec<u8>> = BTreeMap::new();
    for round in 0..rounds() {
        if round % ROUNDS_OF_A_LOG == 0 {
            folder = tempfile::tempdir().unwrap();
            entries.clear();
        }
        let path = folder.path().join("audit");
        let acks = killed_after(&path, round, (round * 37 % 100) as usize);
        let seen = checkpoint(&path);
        let (log, recovered) = Log::open(options(&path)).unwrap();
        // What was there stays there, and what is new is what was handed in.
        let before = entries.len() as u64;
        assert!(recovered.size >= before, "round {round}");
        while (entries.len() as u64) < recovered.size {
            let first = entries.len() as u64;
            entries.extend((first..).zip(log.entries(first..recovered.size).unwrap()));
        }
        for (index, hash) in &acks {
            let entry =
                entries.get(index).unwrap_or_else(|| panic!("entry {index} is lost in round {round}"));
            assert_eq!(leaf_hash(entry).to_string(), *hash, "entry {index} in round {round}");
            assert!(log.find(u128::from(leaf_hash(entry).0[0])).unwrap().contains(index));
        }
        let open: BTreeSet<u64> = recovered.open.iter().map(|(begin, _)| *begin).collect();
        assert_eq!(open, lone(&entries), "round {round}");
        assert!(recovered.open.iter().all(|(begin, entry)| entries[begin] == *entry));
        // The checkpoint of before is of the beginning of what is there.
        let proof = log.consistency_proof(seen.size(), log.size()).unwrap();
        let root = log.root(log.size()).unwrap();
        verify_consistency(seen.size(), seen.root(), log.size(), root, &proof).unwrap();
        let mut ends = tokio::task::JoinSet::new();
        for (begin, _) in recovered.open {
            let log = log.clone();
            ends.spawn(async move {
                let bytes = format!("end {begin} interrupted").into_bytes();
                let end = Entry { kind: Kind::End { begin }, id: None, bytes: bytes.clone() };
                (log.append(end).await.unwrap(), bytes)
            });
        }
        entries.extend(ends.join_all().await);
        log.close().await;
        let (kept, key) = ([seen], signer().public().clone());
        let trust = Trust { key: &key, kept: &kept, witnesses: &[] };
        let report = check(&Copied(&path), &trust).unwrap();
        assert!(report.is_valid(), "round {round}: {report:?}");
        assert_eq!(report.checkpoint.unwrap().size(), entries.len() as u64);
        cuts += u64::from(recovered.cut.is_some());
        acknowledged += acks.len();
    }
    println!("{} rounds, {acknowledged} acknowledged entries, {cuts} torn groups cut", rounds());
}
