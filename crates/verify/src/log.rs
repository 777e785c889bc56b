//! `llmos-verify log`: a whole log.

use std::{
    path::{Path, PathBuf},
    time::Instant,
};

use tlog::{
    Checkpoint, VerifierKey, WitnessKey,
    check::{Report, Trust, check},
};

use crate::{
    folder::Folder,
    input,
    shown::{name, plain},
    verdict::{Trouble, Verdict},
};

pub(crate) fn verify(
    folder: &Path,
    key: &str,
    checkpoints: &[PathBuf],
    witnesses: &[String],
) -> Result<Verdict, Trouble> {
    let key: VerifierKey = input::key("key", key)?;
    let witnesses: Vec<WitnessKey> =
        witnesses.iter().map(|witness| input::key("witness", witness)).collect::<Result<_, _>>()?;
    let kept = input::kept(checkpoints, &key)?;
    let started = Instant::now();
    let report = checked(folder, &Trust { key: &key, kept: &kept, witnesses: &witnesses })?;
    let mut verdict = Verdict::new();
    tell(&report, &key, &mut verdict);
    if !report.problems.is_empty() {
        return Ok(verdict);
    }
    let seconds = started.elapsed().as_secs_f64().max(1e-6);
    verdict.line("speed", format!("{:.0} entries/s", report.entries as f64 / seconds));
    missing(&report, &kept, &witnesses, &mut verdict);
    Ok(verdict)
}

/// The report on a folder, which must be one.
pub(crate) fn checked(folder: &Path, trust: &Trust<'_>) -> Result<Report, Trouble> {
    // An empty answer about a folder that is not there would look like a log that was emptied.
    std::fs::read_dir(folder).map_err(|error| Trouble::Read { path: folder.to_owned(), error })?;
    check(&Folder::new(folder), trust).map_err(|error| Trouble::Log { path: folder.to_owned(), error })
}

/// What was checked, and everything that is wrong.
pub(crate) fn tell(report: &Report, key: &VerifierKey, verdict: &mut Verdict) {
    verdict.line("key", plain(&key.to_string()));
    if let Some(checkpoint) = &report.checkpoint {
        head(checkpoint, verdict);
        let (entries, bytes, tiles) = (report.entries, report.bytes, report.tiles);
        verdict.line("read", format!("{entries} entries ({bytes} bytes), each hashed; {tiles} tiles"));
        if report.kept > 0 {
            verdict.line("kept", format!("{} checkpoints, which the log continues", report.kept));
        }
    }
    for (witness, time) in &report.cosigned {
        verdict.line("cosigned", format!("by {} at {time} (seconds since 1970)", name(witness)));
    }
    if report.leftover > 0 {
        verdict.line("left over", format!("{} older partial tiles, which agree", report.leftover));
    }
    if report.beyond > 0 {
        let why = "so the log is being written, or its checkpoint was put back";
        verdict.line("beyond", format!("{} tiles hold more than was signed: {why}", report.beyond));
    }
    if report.unrelated > 0 {
        verdict
            .line("unrelated", format!("{} files are no part of a log, and were not read", report.unrelated));
    }
    for problem in &report.problems {
        verdict.problem(problem);
    }
    if report.stopped {
        verdict.problem("there is more: the check ended after so many problems");
    }
}

/// What a checkpoint says.
pub(crate) fn head(checkpoint: &Checkpoint, verdict: &mut Verdict) {
    verdict.line("log", name(checkpoint.origin()));
    verdict.line("size", format!("{} entries", checkpoint.size()));
    verdict.line("root", checkpoint.root());
    for line in checkpoint.extensions() {
        verdict.line("extension", plain(line));
    }
}

/// What this check could not show.
fn missing(report: &Report, kept: &[Checkpoint], witnesses: &[WitnessKey], verdict: &mut Verdict) {
    let size = report.checkpoint.as_ref().map_or(0, Checkpoint::size);
    match kept.iter().map(Checkpoint::size).max() {
        None => verdict.not_shown(
            "that the log was neither put back to an older state nor rewritten and signed anew by whoever has its \
             key: without a checkpoint that was kept elsewhere (--checkpoint) this cannot be detected",
        ),
        Some(kept) if kept < size => verdict.not_shown(format!(
            "that the last {} entries were not rewritten by whoever has the log's key: they came after the kept \
             checkpoints. Keep this one",
            size - kept
        )),
        Some(_) => {}
    }
    if witnesses.is_empty() {
        verdict.not_shown("that everybody is shown this same log: a witness's cosignature (--witness) would");
    }
}
