//! `llmos-verify checkpoints`: signed checkpoints against one another, and against their log.

use std::path::{Path, PathBuf};

use tlog::{Checkpoint, VerifierKey, check::Trust, note::NOTE_BYTES_MAX};

use crate::{
    input, log,
    verdict::{Trouble, Verdict, shown},
};

pub(crate) fn verify(files: &[PathBuf], key: &str, folder: Option<&Path>) -> Result<Verdict, Trouble> {
    let key: VerifierKey = input::key("key", key)?;
    let mut verdict = Verdict::new();
    let mut opened: Vec<(&PathBuf, Checkpoint)> = Vec::new();
    for file in files {
        let note = input::bytes(file, NOTE_BYTES_MAX)?;
        match Checkpoint::open(&note, &key) {
            Ok(checkpoint) => opened.push((file, checkpoint)),
            Err(error) => verdict.problem(format!("{}: {error}", shown(file))),
        }
    }
    opened.sort_by_key(|(_, checkpoint)| checkpoint.size());
    for (file, checkpoint) in &opened {
        let (size, root) = (checkpoint.size(), checkpoint.root());
        verdict.line("checkpoint", format!("{}: {size} entries, root {root}", shown(file)));
    }
    for pair in opened.windows(2) {
        let [(one, first), (other, second)] = pair else { continue };
        if first.size() == second.size() && first.root() != second.root() {
            verdict.problem(format!(
                "equivocation: {} and {} are of {} entries, have different roots, and are both signed: the log shows \
                 different people different entries. Keep both files, they prove it",
                shown(one),
                shown(other),
                first.size()
            ));
        }
    }
    let kept: Vec<Checkpoint> = opened.into_iter().map(|(_, checkpoint)| checkpoint).collect();
    if let Some(folder) = folder {
        let report = log::checked(folder, &Trust { key: &key, kept: &kept, witnesses: &[] })?;
        log::tell(&report, &key, &mut verdict);
    } else if kept.windows(2).any(|pair| pair[0].size() != pair[1].size()) {
        verdict.not_shown("that the larger ones continue the smaller ones: the log itself (--log) would");
    }
    Ok(verdict)
}
