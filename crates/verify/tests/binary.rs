//! The program as an auditor uses it.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use tempfile::TempDir;
use tlog::{
    Checkpoint, Cosigner, Signer, cosignature::cosign, memory::MemoryLog, note::Note, proof::LogProof,
};
use zeroize::Zeroizing;

const ORIGIN: &str = "example.com/log";

fn signer(seed: u8) -> Signer {
    Signer::from_seed(ORIGIN, Zeroizing::new([seed; 32])).unwrap()
}

fn entry(index: u64) -> String {
    format!(r#"{{"request":"r-{index}","what":"begin"}}"#)
}

fn log_of(size: u64) -> MemoryLog {
    let mut log = MemoryLog::new();
    for index in 0..size {
        log.push(entry(index).as_bytes()).unwrap();
    }
    log
}

/// Writes a log into a folder.
fn write(log: &MemoryLog, folder: &Path) {
    for (path, bytes) in log.files(&signer(1)).unwrap().0 {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

/// A folder with a log in `log`, and its key in `key`.
fn house(size: u64) -> TempDir {
    let house = tempfile::tempdir().unwrap();
    write(&log_of(size), &house.path().join("log"));
    fs::write(house.path().join("key"), format!("{}\n", signer(1).public())).unwrap();
    house
}

/// Keeps the checkpoint of a log in a file.
fn keep(house: &TempDir, name: &str, log: &MemoryLog) -> PathBuf {
    let path = house.path().join(name);
    fs::write(&path, log.checkpoint(&signer(1)).unwrap()).unwrap();
    path
}

/// Exit status, standard output and standard error.
fn run(house: &TempDir, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_llmos-verify"))
        .args(arguments)
        .current_dir(house.path())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

#[test]
fn a_log_is_valid_and_what_is_not_shown_is_said() {
    let house = house(1000);
    let (status, text, errors) = run(&house, &["log", "log", "--key", "key"]);
    assert_eq!((status, errors.as_str()), (0, ""), "{text}");
    assert!(text.ends_with("VALID\n") && text.contains("1000 entries"), "{text}");
    assert!(text.contains("put back") && text.contains("--checkpoint"), "{text}");
    assert!(text.contains(&log_of(1000).root().to_string()) && text.contains("entries/s"), "{text}");

    keep(&house, "700", &log_of(700));
    let key = signer(1).public().to_string();
    let (status, text, _) = run(&house, &["log", "log", "--key", &key, "--checkpoint", "700"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("the last 300 entries") && !text.contains("put back"), "{text}");
    keep(&house, "1000", &log_of(1000));
    let (status, text, _) =
        run(&house, &["log", "log", "--key", &key, "--checkpoint", "700", "--checkpoint", "1000"]);
    assert_eq!(status, 0, "{text}");
    assert!(text.contains("2 checkpoints, which the log continues") && !text.contains("the last"), "{text}");
}

#[test]
fn a_log_that_was_changed_is_not_valid_and_says_where() {
    let house = house(1000);
    keep(&house, "1000", &log_of(1000));
    let arguments = ["log", "log", "--key", "key", "--checkpoint", "1000"];
    let bundle = house.path().join("log/tile/entries/001");
    let right = fs::read(&bundle).unwrap();
    let mut wrong = right.clone();
    wrong[10] ^= 1;
    fs::write(&bundle, &wrong).unwrap();
    let (status, text, _) = run(&house, &arguments);
    assert_eq!(status, 1);
    assert!(text.contains("WRONG        tile/entries/001: entry 256"), "{text}");
    assert!(text.ends_with("NOT VALID\n"), "{text}");
    fs::remove_file(&bundle).unwrap();
    let (status, text, _) = run(&house, &arguments);
    assert!(status == 1 && text.contains("tile/entries/001: it is missing"), "{text}");
    // Longer than a bundle can be: read up to there, and no further.
    fs::File::create(&bundle).unwrap().set_len(1 << 40).unwrap();
    let (status, text, _) = run(&house, &arguments);
    assert!(status == 1 && text.contains("tile/entries/001: this is no bundle"), "{text}");
    fs::write(&bundle, right).unwrap();
    assert_eq!(run(&house, &arguments).0, 0);

    fs::remove_dir_all(house.path().join("log")).unwrap();
    write(&log_of(700), &house.path().join("log"));
    let (status, text, _) = run(&house, &arguments);
    assert!(status == 1 && text.contains("rollback"), "{text}");
    fs::remove_file(house.path().join("log/checkpoint")).unwrap();
    let (status, text, _) = run(&house, &arguments);
    assert!(status == 1 && text.contains("checkpoint: it is missing"), "{text}");
}

#[test]
fn a_witness_must_have_cosigned() {
    let house = house(10);
    let witness = Cosigner::from_seed("witness.example/w1", Zeroizing::new([2; 32])).unwrap();
    let key = witness.public().to_string();
    let arguments = ["log", "log", "--key", "key", "--witness", &key];
    let (status, text, _) = run(&house, &arguments);
    assert!(status == 1 && text.contains("not signed by \"witness.example/w1\""), "{text}");
    let path = house.path().join("log/checkpoint");
    let checkpoint = Checkpoint::new(ORIGIN, 10, log_of(10).root()).unwrap();
    let line = cosign(&checkpoint, &witness, 1_700_000_000).unwrap().to_string();
    fs::OpenOptions::new().append(true).open(path).unwrap().write_all(line.as_bytes()).unwrap();
    let (status, text, _) = run(&house, &arguments);
    assert!(status == 0 && text.contains("witness.example/w1 at 1700000000"), "{text}");
    // A log's key is none of a witness.
    assert_eq!(run(&house, &["log", "log", "--key", "key", "--witness", "key"]).0, 2);
}

#[test]
fn what_cannot_be_checked_is_no_verdict() {
    let house = house(10);
    keep(&house, "kept", &log_of(10));
    fs::write(house.path().join("long"), vec![b'a'; 1 << 20]).unwrap();
    fs::write(house.path().join("unsigned"), "example.com/log\n").unwrap();
    let other = signer(2).public().to_string();
    let cases: [(&[&str], &str); 9] = [
        (&[], "no command"),
        (&["log", "log"], "--key is missing"),
        (&["log", "nowhere", "--key", "key"], "\"nowhere\" cannot be read"),
        (&["log", "log", "--key", "nowhere"], "--key \"nowhere\" is no key"),
        (&["log", "log", "--key", "long"], "is no key"),
        (
            &["log", "log", "--key", "key", "--checkpoint", "unsigned"],
            "checkpoint \"unsigned\" cannot be used",
        ),
        (&["log", "log", "--key", &other, "--checkpoint", "kept"], "not signed by"),
        (&["receipt", "nowhere", "--key", "key"], "cannot be read"),
        (&["checkpoints", "kept", "log", "--key", "key"], "not a regular file"),
    ];
    for (arguments, says) in cases {
        let (status, text, errors) = run(&house, arguments);
        assert_eq!((status, text.as_str()), (2, ""), "{arguments:?}");
        assert!(errors.starts_with("llmos-verify: ") && errors.contains(says), "{arguments:?}: {errors}");
        assert_eq!(errors.lines().count(), 1, "{errors}");
    }
    let (status, text, _) = run(&house, &["--help"]);
    assert!(status == 0 && text.contains("exit status"));
}

#[test]
fn checkpoints_are_compared() {
    let house = house(1000);
    let mut forged = log_of(699);
    forged.push(b"forged").unwrap();
    keep(&house, "700", &log_of(700));
    keep(&house, "split", &forged);
    keep(&house, "1000", &log_of(1000));
    let checked = |files: &[&str]| run(&house, &[&["checkpoints", "--key", "key"], files].concat());
    let (status, text, _) = checked(&["1000", "700"]);
    assert!(status == 0 && text.contains("not shown") && text.contains("--log"), "{text}");
    let (status, text, _) = checked(&["1000", "700", "--log", "log"]);
    assert!(status == 0 && text.contains("2 checkpoints, which the log continues"), "{text}");
    let (status, text, _) = checked(&["split", "1000", "700"]);
    assert!(status == 1 && text.contains("equivocation: \"split\" and \"700\""), "{text}");
    let (status, text, _) = checked(&["split", "1000"]);
    assert!(status == 0, "nothing shows it without the log: {text}");
    let (status, text, _) = checked(&["split", "--log", "log"]);
    assert!(status == 1 && text.contains("rewritten"), "{text}");
    let (status, text, _) = checked(&["700", "key"]);
    assert!(status == 1 && text.contains("\"key\": this is no signed note"), "{text}");
}

#[test]
fn a_receipt_comes_from_a_file_or_from_standard_input() {
    let house = house(10);
    let log = log_of(10);
    let checkpoint = Note::parse(log.checkpoint(&signer(1)).unwrap().as_bytes()).unwrap();
    let proof = LogProof::new(4, &log, checkpoint).unwrap().to_string();
    let receipt = serde_json::json!({
        "version": 1, "request": "r-4", "entries": [{"entry": entry(4), "proof": proof}],
    });
    let path = house.path().join("receipt");
    fs::write(&path, receipt.to_string()).unwrap();
    let (status, text, _) = run(&house, &["receipt", "receipt", "--key", "key"]);
    assert!(status == 0 && text.contains("request = \"r-4\""), "{text}");
    let output = Command::new(env!("CARGO_BIN_EXE_llmos-verify"))
        .args(["receipt", "-", "--key", &signer(1).public().to_string()])
        .stdin(fs::File::open(&path).unwrap())
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    let wrong = receipt.to_string().replace("r-4", "r-5");
    fs::write(&path, wrong).unwrap();
    let (status, text, _) = run(&house, &["receipt", "receipt", "--key", "key"]);
    assert!(status == 1 && text.contains("does not lead to the root"), "{text}");
}

#[test]
fn a_hostile_folder_neither_hangs_nor_leads_elsewhere() {
    let house = house(300);
    let log = house.path().join("log");
    std::os::unix::fs::symlink("..", log.join("circle")).unwrap();
    let arguments = ["log", "log", "--key", "key"];
    let (status, text, _) = run(&house, &arguments);
    assert!(status == 0 && text.contains("1 files are no part of a log"), "{text}");
    // A folder and a device in the place of a tile.
    let tile = log.join("tile/0/000");
    fs::remove_file(&tile).unwrap();
    fs::create_dir(&tile).unwrap();
    let (status, _, errors) = run(&house, &arguments);
    assert!(
        status == 2 && errors.contains("tile/0/000 cannot be read: it is not a regular file"),
        "{errors}"
    );
    fs::remove_dir(&tile).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &tile).unwrap();
    let (status, _, errors) = run(&house, &arguments);
    assert!(status == 2 && errors.contains("not a regular file"), "{errors}");
    fs::remove_file(&tile).unwrap();
    fs::create_dir_all(log.join("a/".repeat(40))).unwrap();
    let (status, _, errors) = run(&house, &arguments);
    assert!(status == 2 && errors.contains("more than 16 folders"), "{errors}");
}
