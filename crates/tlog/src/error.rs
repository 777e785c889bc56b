use std::borrow::Cow;

/// Text or bytes that do not have the form that they must have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this is no {what}: {why}")]
pub struct FormatError {
    what: &'static str,
    why: Cow<'static, str>,
}

impl FormatError {
    pub(crate) fn new(what: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self { what, why: why.into() }
    }

    /// What it should have been, as a noun: "signed note", "tile path".
    pub fn what(&self) -> &'static str {
        self.what
    }
}

/// Why a proof of inclusion or of consistency does not hold.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no such entry in a tree of that size.
    #[error("entry {index} is not in a tree of {size}")]
    OutOfRange {
        /// The entry, counted from 0.
        index: u64,
        /// Entries of the tree.
        size: u64,
    },
    /// The newer tree is smaller than the older one.
    #[error("a tree of {new} entries cannot continue one of {old}")]
    Shrunk {
        /// Entries of the older tree.
        old: u64,
        /// Entries of the newer tree.
        new: u64,
    },
    /// The proof has not as many hashes as the sizes demand.
    #[error("the proof has {found} hashes; one for these sizes has {expected}")]
    Length {
        /// Hashes that a proof for this index and these sizes has.
        expected: usize,
        /// Hashes that there are.
        found: usize,
    },
    /// The hashes do not lead to the root: the entry, the proof or the root is another.
    #[error(
        "the proof does not lead to the root of {size} entries: the entry, the proof or the root is another"
    )]
    Root {
        /// Entries of the tree whose root was not reached.
        size: u64,
    },
}

/// Why a signed note, checkpoint or cosignature is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// It is malformed.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// The key signed nothing here. Signatures of others do not count.
    #[error("it is not signed by {name:?}; is it the right key, and the whole file?")]
    NotSigned {
        /// Name of the key that should have signed.
        name: String,
    },
    /// It names the key, but the signature is another's or the text was changed.
    #[error("the signature of {name:?} is wrong: the text or the signature was changed")]
    BadSignature {
        /// Name of the key that should have signed.
        name: String,
    },
    /// The key belongs to another log than the checkpoint.
    #[error("it is a checkpoint of {origin:?}, and the key belongs to {name:?}")]
    OtherOrigin {
        /// The log that the checkpoint says it is of.
        origin: String,
        /// Name of the key, which must be the same.
        name: String,
    },
}
