//! `llmos audit verify`: the log where it lies.

use std::{
    fs::File,
    io::Read,
    path::{Path, PathBuf},
};

use audit::LogFiles;
use serde_json::json;
use tlog::{
    Checkpoint, VerifierKey,
    check::{Report, Trust, check},
    note::NOTE_BYTES_MAX,
};

use crate::{
    data_dir,
    exit::{Exit, Failure, Trying},
    output::{self, Output, one_line},
};

/// What the files of a log cannot say of themselves.
const NOT_WITHOUT_CHECKPOINT: &str = "that the log was neither put back to an older state nor written anew by whoever has its \
                                      key: only a checkpoint that was kept elsewhere (--checkpoint) can show that";
const NOT_HERE: &str = "that this program and this machine are honest: copy the log (`llmos audit export`), and check it with \
                        `llmos-verify` on another one";

/// Checks the log in a data directory, and says what is wrong and what nobody could tell from this.
pub(crate) fn verify(data_dir: &Path, checkpoints: &[PathBuf], output: Output) -> Result<(), Failure> {
    let folder = data_dir::audit(data_dir);
    if !folder.is_dir() {
        let what = format!("there is no audit log in {}", data_dir.display());
        return Err(Failure::new(Exit::NotFound, what)
            .advise("name the server's data directory with --data-dir or LLMOS_DATA_DIR"));
    }
    let key = audit::verifier_key(&data_dir::audit_key(data_dir))
        .map_err(|error| Failure::new(Exit::Failed, error))?;
    let kept = checkpoints.iter().map(|file| kept(file, &key)).collect::<Result<Vec<_>, _>>()?;
    let trust = Trust { key: &key, kept: &kept, witnesses: &[] };
    let report = check(&LogFiles::new(folder.clone()), &trust)
        .trying(format_args!("check the log in {}", folder.display()))?;
    let not_shown = not_shown(&report, &kept);
    if output.json {
        output::document(&document(&report, &key, &not_shown))?;
    } else {
        output.text(&text(&report, &key, &not_shown))?;
    }
    if report.is_valid() {
        return Ok(());
    }
    let what = format!("the audit log in {} is not as it was written", folder.display());
    Err(Failure::new(Exit::Failed, what)
        .advise("keep this folder as evidence, and find out who changed it")
        .advise("a copy from before the change (`llmos audit export`) says what stood there"))
}

/// A checkpoint that was kept elsewhere, signed by the key.
fn kept(file: &Path, key: &VerifierKey) -> Result<Checkpoint, Failure> {
    let mut note = Vec::new();
    let read = File::open(file).and_then(|file| file.take(NOTE_BYTES_MAX as u64 + 1).read_to_end(&mut note));
    read.trying(format_args!("read the checkpoint {}", file.display()))?;
    Checkpoint::open(&note, key).trying(format_args!("believe the checkpoint {}", file.display()))
}

fn not_shown(report: &Report, kept: &[Checkpoint]) -> Vec<String> {
    let size = report.checkpoint.as_ref().map_or(0, Checkpoint::size);
    let by_time = match kept.iter().map(Checkpoint::size).max() {
        None => Some(NOT_WITHOUT_CHECKPOINT.to_owned()),
        Some(kept) if kept < size => Some(format!(
            "that nothing behind the first {kept} records was written anew: it came after the newest of these checkpoints. Keep a \
             new one elsewhere (`llmos audit checkpoint`)"
        )),
        Some(_) => None,
    };
    by_time.into_iter().chain([NOT_HERE.to_owned()]).collect()
}

fn text(report: &Report, key: &VerifierKey, not_shown: &[String]) -> String {
    let mut lines = vec![("key", one_line(&key.to_string()))];
    if let Some(checkpoint) = &report.checkpoint {
        lines.push(("log", format!("{} records, root {}", checkpoint.size(), checkpoint.root())));
        lines.push(("read", format!("{} records ({} bytes), each hashed", report.entries, report.bytes)));
    }
    if report.kept > 0 {
        lines.push(("kept", format!("the log continues the checkpoints that were given: {}", report.kept)));
    }
    if report.beyond > 0 {
        let what = format!(
            "{} files hold more than was signed: the log is being written, or was put back",
            report.beyond
        );
        lines.push(("beyond", what));
    }
    lines.extend(report.problems.iter().map(|problem| ("WRONG", one_line(&problem.to_string()))));
    if report.stopped {
        lines.push(("WRONG", "there is more: the check ended after so many problems".to_owned()));
    }
    lines.extend(not_shown.iter().map(|what| ("not shown", what.clone())));
    let verdict = if report.is_valid() { "VALID\n" } else { "NOT VALID\n" };
    let lines: Vec<String> = lines.iter().map(|(name, what)| format!("{name:<10}  {what}\n")).collect();
    lines.concat() + verdict
}

fn document(report: &Report, key: &VerifierKey, not_shown: &[String]) -> serde_json::Value {
    let checkpoint = report.checkpoint.as_ref();
    json!({
        "valid": report.is_valid(),
        "key": key.to_string(),
        "size": checkpoint.map(Checkpoint::size),
        "root": checkpoint.map(|checkpoint| checkpoint.root().to_string()),
        "records": report.entries,
        "bytes": report.bytes,
        "kept": report.kept,
        "beyond": report.beyond,
        "problems": report.problems.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "complete": !report.stopped,
        "not_shown": not_shown,
    })
}
