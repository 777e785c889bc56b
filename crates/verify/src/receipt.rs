//! `llmos-verify receipt`: the records of one request.
//!
//! ```text
//! {"version":1, "request":"ID", "entries":[{"entry":"RECORD", "proof":"TLOG-PROOF"}, ...], "consistency":["HASH", ...],
//!  "salt":"HEX"}
//! ```
//!
//! Up to [`RECEIPT_ENTRIES_MAX`] entries: begin, end, and what else the request led to. A record is a JSON object whose field `request`
//! is the same ID; its exact bytes are the log's entry. All proofs are of one checkpoint; only those of two entries may be of checkpoints
//! of different sizes, and then `consistency` is there. `salt` is what the commitments in the records are made with (`told`).

use std::path::{Path, PathBuf};

use serde::Deserialize;
use tlog::{
    Checkpoint, VerifierKey,
    proof::{LogProof, RECEIPT_ENTRIES_MAX},
    tree::{Hash, PROOF_HASHES_MAX, verify_consistency},
};

use crate::{
    input, log,
    shown::{name, quoted},
    told::{self, Texts},
    verdict::{Trouble, Verdict},
};

mod record;
#[cfg(test)]
mod tests;

/// Longest receipt: the longest entries with every byte escaped, and their proofs, each within a mebibyte.
const RECEIPT_BYTES_MAX: usize = RECEIPT_ENTRIES_MAX << 20;
/// Longest id of a request.
const REQUEST_BYTES_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Receipt {
    version: u32,
    request: String,
    entries: Vec<Entry>,
    consistency: Option<Vec<String>>,
    salt: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    entry: String,
    proof: String,
}

/// A record that is in the log.
struct Proved {
    index: u64,
    checkpoint: Checkpoint,
    fields: Vec<record::Field>,
}

pub(crate) fn verify(
    file: &Path,
    key: &str,
    checkpoints: &[PathBuf],
    texts: &told::Files,
) -> Result<Verdict, Trouble> {
    let key: VerifierKey = input::key("key", key)?;
    let kept = input::kept(checkpoints, &key)?;
    let texts = texts.read()?;
    Ok(judge(&input::bytes(file, RECEIPT_BYTES_MAX)?, &key, &kept, &texts))
}

/// Judges the bytes of a receipt.
fn judge(bytes: &[u8], key: &VerifierKey, kept: &[Checkpoint], texts: &Texts) -> Verdict {
    let mut verdict = Verdict::new();
    let (proved, salt) = match prove(bytes, key) {
        Ok(proved) => proved,
        Err(problem) => {
            verdict.problem(problem);
            return verdict;
        }
    };
    let mut shown = None;
    for Proved { index, checkpoint, fields } in &proved {
        if shown.replace(checkpoint) != Some(checkpoint) {
            log::head(checkpoint, &mut verdict);
        }
        verdict.line("entry", format!("{index}, which is in the log:"));
        for field in fields {
            verdict.text_line(format!("  {} = {}", name(&field.name), field.shown()));
        }
    }
    let fact = |name: &str| proved.iter().find_map(|proved| record::fact(&proved.fields, name));
    told::judge(texts, salt.as_deref(), fact, &mut verdict);
    for checkpoint in kept {
        compare(checkpoint, &proved, &mut verdict);
    }
    if kept.is_empty() {
        verdict.not_shown(
            "that the log still has these records, or was not rewritten by whoever has its key: a checkpoint that was \
             kept elsewhere (--checkpoint) and the whole log would",
        );
    }
    verdict
}

/// All records of a receipt, each proved to be in the log of the key, and its salt; or what is wrong.
fn prove(bytes: &[u8], key: &VerifierKey) -> Result<(Vec<Proved>, Option<String>), String> {
    let receipt: Receipt = serde_json::from_slice(bytes).map_err(|error| {
        // The library repeats what it did not expect.
        format!("this is no receipt: {}", crate::shown::plain(&error.to_string()))
    })?;
    if receipt.version != 1 {
        return Err(format!("the receipt is of version {}; this program knows version 1", receipt.version));
    }
    if receipt.request.len() > REQUEST_BYTES_MAX {
        return Err(format!("the id of the request has more than {REQUEST_BYTES_MAX} bytes"));
    }
    if !(1..=RECEIPT_ENTRIES_MAX).contains(&receipt.entries.len()) {
        let has = receipt.entries.len();
        return Err(format!("a receipt has 1 to {RECEIPT_ENTRIES_MAX} entries, and this has {has}"));
    }
    let mut proved: Vec<Proved> = Vec::new();
    for (place, Entry { entry, proof }) in receipt.entries.iter().enumerate() {
        let which = format!("entry {} of the receipt", place + 1);
        let proof: LogProof = proof.parse().map_err(|error| format!("{which}: {error}"))?;
        let checkpoint = proof.verify(entry.as_bytes(), key).map_err(|error| format!("{which}: {error}"))?;
        let fields = record::fields(entry).map_err(|why| format!("{which}: its record {why}"))?;
        match record::request(&fields) {
            Some(request) if request == receipt.request => {}
            Some(request) => {
                let (other, wanted) = (quoted(&request), quoted(&receipt.request));
                return Err(format!(
                    "{which}: its record is of request {other}, and the receipt of {wanted}"
                ));
            }
            None => return Err(format!("{which}: its record names no request")),
        }
        if proved.last().is_some_and(|before| before.index >= proof.index) {
            return Err(format!("{which}: it comes not after the one before it"));
        }
        proved.push(Proved { index: proof.index, checkpoint, fields });
    }
    agree(&proved, receipt.consistency.as_deref())?;
    Ok((proved, receipt.salt))
}

/// All proofs must be of one history.
fn agree(proved: &[Proved], consistency: Option<&[String]>) -> Result<(), String> {
    let (one, other) = match proved {
        [Proved { checkpoint: one, .. }, Proved { checkpoint: other, .. }] if one.size() <= other.size() => {
            (one, other)
        }
        [Proved { checkpoint: other, .. }, Proved { checkpoint: one, .. }] => (one, other),
        _ if consistency.is_some() => return Err("a proof of consistency belongs to two entries".to_owned()),
        _ => return agree_at_once(proved),
    };
    let hashes = consistency.unwrap_or_default();
    if one.size() == other.size() && one.root() != other.root() {
        return Err(equivocation(one, other));
    }
    if hashes.len() > PROOF_HASHES_MAX {
        return Err(format!("the proof of consistency has more than {PROOF_HASHES_MAX} hashes"));
    }
    if one.size() != other.size() && consistency.is_none() {
        return Err(of_two_sizes(one, other));
    }
    let hashes = hashes.iter().map(|hash| hash.parse()).collect::<Result<Vec<Hash>, _>>();
    let hashes = hashes.map_err(|error| format!("in the proof of consistency: {error}"))?;
    verify_consistency(one.size(), one.root(), other.size(), other.root(), &hashes)
        .map_err(|error| format!("its two checkpoints are not of one history: {error}"))
}

/// Without a proof of consistency they must be of the same checkpoint.
fn agree_at_once(proved: &[Proved]) -> Result<(), String> {
    let mut checkpoints = proved.iter().map(|proved| &proved.checkpoint);
    let Some(first) = checkpoints.next() else { return Ok(()) };
    for other in checkpoints {
        if first.size() != other.size() {
            return Err(of_two_sizes(first, other));
        }
        if first.root() != other.root() {
            return Err(equivocation(first, other));
        }
    }
    Ok(())
}

fn of_two_sizes(one: &Checkpoint, other: &Checkpoint) -> String {
    format!(
        "its checkpoints are of {} and {} entries, and nothing shows that they are of one history; ask for a receipt \
         with all proofs of one checkpoint",
        one.size(),
        other.size()
    )
}

/// What a kept checkpoint says about those of the receipt.
fn compare(kept: &Checkpoint, proved: &[Proved], verdict: &mut Verdict) {
    let same = proved.iter().map(|proved| &proved.checkpoint).find(|one| one.size() == kept.size());
    match same {
        Some(one) if one.root() != kept.root() => verdict.problem(equivocation(one, kept)),
        Some(_) => verdict.line("kept", format!("the same root of {} entries", kept.size())),
        None => verdict.not_shown(format!(
            "that the kept checkpoint of {} entries is of the same history: the whole log would (`llmos-verify log`)",
            kept.size()
        )),
    }
}

fn equivocation(one: &Checkpoint, other: &Checkpoint) -> String {
    format!(
        "equivocation: two roots are signed for {} entries, {} and {}: the log shows different people different entries",
        one.size(),
        one.root(),
        other.root()
    )
}
