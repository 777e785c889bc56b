//! Cosignatures of witnesses (C2SP `tlog-cosignature`, `cosignature/v1`): at that time, this was the largest tree of this
//! log that the witness had seen, and it continued all before it.

use crate::{
    Checkpoint, Cosigner, FormatError, NoteError, WitnessKey,
    key::SIGNATURE_BYTES,
    note::{Note, Signature},
};

#[cfg(test)]
mod tests;

/// Latest time of a cosignature, in seconds since 1970.
pub const TIME_MAX: u64 = i64::MAX as u64;

const TIME_BYTES: usize = 8;

/// Signs a checkpoint as a witness, at `time` in seconds since 1970. The line is appended to the signed checkpoint.
///
/// Only what [`crate::witness::decide`] let through should get here.
///
/// ```
/// # use tlog::{Checkpoint, Cosigner, Signer, cosignature, note::Note, tree::Hash};
/// # use zeroize::Zeroizing;
/// let log = Signer::from_seed("example.com/log", Zeroizing::new([7; 32]))?;
/// let witness = Cosigner::from_seed("witness.example/w1", Zeroizing::new([8; 32]))?;
/// let checkpoint = Checkpoint::new("example.com/log", 0, Hash::empty())?;
///
/// let mut note = checkpoint.sign(&log)?;
/// note += &cosignature::cosign(&checkpoint, &witness, 1_700_000_000)?.to_string();
/// assert_eq!(cosignature::verify(&Note::parse(note.as_bytes())?, witness.public())?, 1_700_000_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn cosign(checkpoint: &Checkpoint, witness: &Cosigner, time: u64) -> Result<Signature, FormatError> {
    if time > TIME_MAX {
        return Err(FormatError::new("time", "it is later than a cosignature can say"));
    }
    let mut bytes = time.to_be_bytes().to_vec();
    bytes.extend_from_slice(&witness.sign(&message(&checkpoint.to_string(), time)));
    Ok(Signature::new(witness.public().name(), witness.public().id(), bytes))
}

/// When this witness cosigned the checkpoint, in seconds since 1970; of several times the latest. A line that names the
/// witness and is wrong is an error. Says nothing about the signature of the log, nor whether the time is in the future.
pub fn verify(note: &Note, witness: &WitnessKey) -> Result<u64, NoteError> {
    let text = note.text_unverified();
    // A witness says something about checkpoints only.
    Checkpoint::parse(text)?;
    let wrong = || NoteError::BadSignature { name: witness.name().to_owned() };
    let mut latest = None;
    for bytes in note.signatures_of(witness) {
        let (time, signature) = bytes.split_first_chunk::<TIME_BYTES>().ok_or_else(wrong)?;
        let time = u64::from_be_bytes(*time);
        if time > TIME_MAX
            || signature.len() != SIGNATURE_BYTES
            || !witness.verifies(&message(text, time), signature)
        {
            return Err(wrong());
        }
        latest = latest.max(Some(time));
    }
    latest.ok_or_else(|| NoteError::NotSigned { name: witness.name().to_owned() })
}

fn message(text: &str, time: u64) -> Vec<u8> {
    format!("cosignature/v1\ntime {time}\n{text}").into_bytes()
}
