//! What a witness is asked, and how it decides (C2SP `tlog-witness`, the call `add-checkpoint`), without HTTP.

use std::fmt;

use crate::{
    Checkpoint, FormatError, NoteError, ProofError, VerifierKey,
    note::{NOTE_BYTES_MAX, Note},
    tile::decimal,
    tree::{Hash, PROOF_HASHES_MAX, verify_consistency},
};

#[cfg(test)]
mod tests;

/// Longest body of a request: the old size, 63 hashes with their newlines, and a note.
pub const REQUEST_BYTES_MAX: usize = NOTE_BYTES_MAX + 4096;

/// A request to cosign a checkpoint. Its text is the body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AddCheckpoint {
    /// Entries of the checkpoint that the witness cosigned last, as the client believes; 0 if there is none.
    pub old_size: u64,
    /// That the new checkpoint continues that one.
    pub proof: Vec<Hash>,
    /// The new checkpoint, signed.
    pub checkpoint: Note,
}

impl AddCheckpoint {
    /// Reads the body of a request, strictly. Nothing is verified yet.
    pub fn parse(body: &[u8]) -> Result<Self, FormatError> {
        let wrong = |why| FormatError::new("request to a witness", why);
        if body.len() > REQUEST_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let text = str::from_utf8(body).map_err(|_| wrong("it is not UTF-8"))?;
        let (first, rest) = text.split_once('\n').ok_or_else(|| wrong("it has no lines"))?;
        let old_size = first.strip_prefix("old ").and_then(decimal);
        let old_size = old_size.ok_or_else(|| wrong("its first line does not say the old size"))?;
        let (proof, note) = hash_lines(rest, "request to a witness")?;
        Ok(Self { old_size, proof, checkpoint: Note::parse(note.as_bytes())? })
    }
}

impl fmt::Display for AddCheckpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "old {}", self.old_size)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

/// Lines of hashes up to an empty line, and what follows it.
pub(crate) fn hash_lines<'a>(text: &'a str, what: &'static str) -> Result<(Vec<Hash>, &'a str), FormatError> {
    let mut hashes = Vec::new();
    let mut rest = text;
    loop {
        let line = rest.split_once('\n');
        let (line, after) = line.ok_or_else(|| FormatError::new(what, "no empty line ends its proof"))?;
        rest = after;
        if line.is_empty() {
            return Ok((hashes, rest));
        }
        if hashes.len() == PROOF_HASHES_MAX {
            return Err(FormatError::new(what, "its proof has more than 63 hashes"));
        }
        let hash = line.parse();
        hashes.push(hash.map_err(|_| FormatError::new(what, "a line of its proof is not a hash in base64"))?);
    }
}

/// What a witness knows of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownLog {
    /// The log's keys: more than one while they are rotated.
    pub keys: Vec<VerifierKey>,
    /// The last checkpoint that was cosigned.
    pub seen: Option<Seen>,
}

/// What a witness keeps of the last checkpoint that it cosigned for a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Entries.
    pub size: u64,
    /// Their root.
    pub root: Hash,
}

/// What a witness does with a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Keep its size and root as [`Seen`], durably, and only if nobody else did in the meantime; then cosign it.
    Cosign(Checkpoint),
    /// The client's old size is not what was seen, or the roots of one size differ. Answer with the size that was seen.
    Conflict {
        /// Entries of the last checkpoint that was cosigned, 0 if there is none.
        size: u64,
    },
    /// Nobody told this witness of that log.
    UnknownOrigin,
    /// No key of the log signed it, or a signature is wrong.
    BadSignature(NoteError),
    /// The proof does not lead from what was seen to the new checkpoint. Worth keeping: the log may have misbehaved.
    BadProof(ProofError),
    /// It is no request, or asks to go back.
    Malformed(FormatError),
}

impl Decision {
    /// The HTTP status that the specification demands.
    pub fn status(&self) -> u16 {
        match self {
            Self::Cosign(_) => 200,
            Self::Malformed(_) => 400,
            Self::BadSignature(_) => 403,
            Self::UnknownOrigin => 404,
            Self::Conflict { .. } => 409,
            Self::BadProof(_) => 422,
        }
    }
}

/// Decides about the body of a request. `known` says what the witness knows of the log with an origin.
///
/// ```
/// # use tlog::{Cosigner, Signer, cosignature, memory::MemoryLog, note::Note};
/// # use tlog::witness::{AddCheckpoint, Decision, KnownLog, decide};
/// # use zeroize::Zeroizing;
/// let signer = Signer::from_seed("example.com/log", Zeroizing::new([7; 32]))?;
/// let mut log = MemoryLog::new();
/// log.push(b"begin")?;
/// let checkpoint = Note::parse(log.checkpoint(&signer)?.as_bytes())?;
/// let body = AddCheckpoint { old_size: 0, proof: Vec::new(), checkpoint }.to_string();
///
/// let known = |_: &str| Some(KnownLog { keys: vec![signer.public().clone()], seen: None });
/// let Decision::Cosign(checkpoint) = decide(body.as_bytes(), known) else { panic!("refused") };
/// let witness = Cosigner::from_seed("witness.example/w1", Zeroizing::new([8; 32]))?;
/// println!("{}", cosignature::cosign(&checkpoint, &witness, 1_700_000_000)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn decide(body: &[u8], known: impl FnOnce(&str) -> Option<KnownLog>) -> Decision {
    let request = match AddCheckpoint::parse(body) {
        Ok(request) => request,
        Err(error) => return Decision::Malformed(error),
    };
    // Whose log it says it is: only to find the keys that show whether it is.
    let claimed = match Checkpoint::parse(request.checkpoint.text_unverified()) {
        Ok(claimed) => claimed,
        Err(error) => return Decision::Malformed(error),
    };
    let Some(KnownLog { keys, seen }) = known(claimed.origin()) else { return Decision::UnknownOrigin };
    let checkpoint = match open(&request.checkpoint, &keys) {
        Ok(checkpoint) => checkpoint,
        Err(error) => return Decision::BadSignature(error),
    };
    if request.old_size > checkpoint.size() {
        let why = "its old size is larger than its checkpoint";
        return Decision::Malformed(FormatError::new("request to a witness", why));
    }
    let seen = seen.unwrap_or_else(|| Seen { size: 0, root: Hash::empty() });
    let contradicts = seen.size == checkpoint.size() && seen.root != checkpoint.root();
    if request.old_size != seen.size || contradicts {
        return Decision::Conflict { size: seen.size };
    }
    match verify_consistency(seen.size, seen.root, checkpoint.size(), checkpoint.root(), &request.proof) {
        Ok(()) => Decision::Cosign(checkpoint),
        Err(error) => Decision::BadProof(error),
    }
}

/// The checkpoint, if one of the keys signed it and none of them is shown with a wrong signature.
fn open(note: &Note, keys: &[VerifierKey]) -> Result<Checkpoint, NoteError> {
    let unknown = NoteError::NotSigned { name: "a known key of this log".to_owned() };
    let mut opened = Err(unknown);
    for key in keys {
        match Checkpoint::open_note(note, key) {
            Ok(checkpoint) => opened = Ok(checkpoint),
            Err(NoteError::NotSigned { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    opened
}
