//! Proofs that an entry is in a log, to be kept and verified offline (C2SP `tlog-proof`).

use std::{fmt, str::FromStr};

use data_encoding::BASE64;

use crate::{
    Checkpoint, FormatError, NoteError, ProofError, VerifierKey,
    note::{NOTE_BYTES_MAX, Note},
    tile::decimal,
    tree::{Hash, HashReader, inclusion_proof, leaf_hash, verify_inclusion},
    witness::hash_lines,
};

#[cfg(test)]
mod tests;

/// Longest text of a proof: what it carries, 63 hashes and a note.
pub const LOG_PROOF_BYTES_MAX: usize = EXTRA_BYTES_MAX.div_ceil(3) * 4 + NOTE_BYTES_MAX + 4096;
/// Most entries that a receipt proves: a beginning, its end, and what else one request led to. Whoever makes receipts and whoever checks
/// them go by this.
pub const RECEIPT_ENTRIES_MAX: usize = 16;
/// Most bytes that a proof carries for its reader.
pub const EXTRA_BYTES_MAX: usize = 64 << 10;

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// Where an entry is in a log, the hashes that show it, and the signed checkpoint that they lead to.
///
/// ```
/// # use tlog::{Signer, memory::MemoryLog, note::Note, proof::LogProof};
/// # use zeroize::Zeroizing;
/// let signer = Signer::from_seed("example.com/log", Zeroizing::new([7; 32]))?;
/// let mut log = MemoryLog::new();
/// log.push(b"begin")?;
/// log.push(b"end")?;
/// let checkpoint = Note::parse(log.checkpoint(&signer)?.as_bytes())?;
///
/// let text = LogProof::new(1, &log, checkpoint)?.to_string();
/// text.parse::<LogProof>()?.verify(b"end", signer.public())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogProof {
    /// Number of the entry, from 0.
    pub index: u64,
    /// Its sibling first, the child of the root last.
    pub proof: Vec<Hash>,
    /// The signed checkpoint, perhaps with cosignatures.
    pub checkpoint: Note,
    /// What the application put beside it. **Not signed**: anybody may have changed it.
    pub extra: Option<Vec<u8>>,
}

/// Why a [`LogProof`] does not show what it should.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LogProofError {
    /// The checkpoint is not believed.
    #[error("the checkpoint in the proof is not believed: {0}")]
    Checkpoint(#[from] NoteError),
    /// The hashes do not lead from the entry to the checkpoint.
    #[error(transparent)]
    Proof(#[from] ProofError),
}

/// Why a [`LogProof`] could not be made.
#[derive(Debug, thiserror::Error)]
pub enum MakeProofError<E> {
    /// The note is no checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] FormatError),
    /// The entry came after the checkpoint.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// A hash of the log could not be read.
    #[error("a hash of the log could not be read: {0}")]
    Read(E),
}

impl LogProof {
    /// Of entry `index`, against a checkpoint of that log.
    pub fn new<R: HashReader + ?Sized>(
        index: u64,
        reader: &R,
        checkpoint: Note,
    ) -> Result<Self, MakeProofError<R::Error>> {
        let size = Checkpoint::parse(checkpoint.text_unverified())?.size();
        if index >= size {
            return Err(ProofError::OutOfRange { index, size }.into());
        }
        let proof = inclusion_proof(index, size, reader).map_err(MakeProofError::Read)?;
        Ok(Self { index, proof, checkpoint, extra: None })
    }

    /// Whether `entry` is in the log of that key, and the checkpoint that it is in.
    pub fn verify(&self, entry: &[u8], key: &VerifierKey) -> Result<Checkpoint, LogProofError> {
        self.verify_leaf(leaf_hash(entry), key)
    }

    /// As [`LogProof::verify`], of an entry of which only the leaf hash is known.
    pub fn verify_leaf(&self, leaf: Hash, key: &VerifierKey) -> Result<Checkpoint, LogProofError> {
        let checkpoint = Checkpoint::open_note(&self.checkpoint, key)?;
        verify_inclusion(self.index, checkpoint.size(), leaf, &self.proof, checkpoint.root())?;
        Ok(checkpoint)
    }
}

impl fmt::Display for LogProof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{FIRST_LINE}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", BASE64.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        self.proof.iter().try_for_each(|hash| writeln!(f, "{hash}"))?;
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for LogProof {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let wrong = |why| FormatError::new("proof of a log", why);
        if text.len() > LOG_PROOF_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let rest = text.strip_prefix(FIRST_LINE).and_then(|rest| rest.strip_prefix('\n'));
        let mut rest = rest.ok_or_else(|| wrong("its first line is not c2sp.org/tlog-proof@v1"))?;
        let mut extra = None;
        if let Some((line, after)) = rest.strip_prefix("extra ").and_then(|rest| rest.split_once('\n')) {
            if line.len() > EXTRA_BYTES_MAX.div_ceil(3) * 4 {
                return Err(wrong("it carries more than 64 KiB"));
            }
            let bytes = BASE64.decode(line.as_bytes());
            extra = Some(bytes.map_err(|_| wrong("what it carries is not in standard base64"))?);
            rest = after;
        }
        let index = rest.strip_prefix("index ").and_then(|rest| rest.split_once('\n'));
        let (index, rest) = index.ok_or_else(|| wrong("it has no line with the index"))?;
        let index = decimal(index).ok_or_else(|| wrong("its index is not a number"))?;
        let (proof, note) = hash_lines(rest, "proof of a log")?;
        Ok(Self { index, proof, checkpoint: Note::parse(note.as_bytes())?, extra })
    }
}
