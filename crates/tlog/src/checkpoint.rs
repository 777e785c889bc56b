//! Checkpoints (C2SP `tlog-checkpoint`): what a log signs of itself.

use std::fmt;

use crate::{
    FormatError, NoteError, Signer, VerifierKey,
    key::check_name,
    note::{self, Note},
    tile::decimal,
    tree::{Hash, SIZE_MAX},
};

#[cfg(test)]
mod tests;

/// A log at one size: whose it is, how many entries it has, and their root. Its text is what is signed.
///
/// ```
/// # use tlog::{Checkpoint, Signer, tree::Hash};
/// # use zeroize::Zeroizing;
/// let signer = Signer::from_seed("example.com/log", Zeroizing::new([7; 32]))?;
/// let checkpoint = Checkpoint::new("example.com/log", 0, Hash::empty())?;
/// let note = checkpoint.sign(&signer)?;
/// assert_eq!(Checkpoint::open(note.as_bytes(), signer.public())?, checkpoint);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    origin: String,
    size: u64,
    root: Hash,
    extensions: Vec<String>,
}

impl Checkpoint {
    /// Of a log's origin (a name as keys have it), its entries and their root.
    pub fn new(origin: &str, size: u64, root: Hash) -> Result<Self, FormatError> {
        check_name(origin)?;
        if size > SIZE_MAX {
            return Err(wrong("it has more entries than a tree can have"));
        }
        Ok(Self { origin: origin.to_owned(), size, root, extensions: Vec::new() })
    }

    /// With another line, which is signed too. The specification advises against them: no monitor can check what they say.
    pub fn with_extension(mut self, line: &str) -> Result<Self, FormatError> {
        if line.is_empty() || line.bytes().any(|byte| byte < b' ') {
            return Err(wrong("a line of an extension is empty or has control characters"));
        }
        self.extensions.push(line.to_owned());
        Ok(self)
    }

    /// Reads the text that is signed, without signatures.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        let text = text.strip_suffix('\n').ok_or_else(|| wrong("it does not end with a newline"))?;
        let mut lines = text.split('\n');
        let (Some(origin), Some(size), Some(root)) = (lines.next(), lines.next(), lines.next()) else {
            return Err(wrong("it has not the three lines origin, size and root"));
        };
        let size = decimal(size).ok_or_else(|| wrong("its second line is not a size"))?;
        let root = root.parse().map_err(|_| wrong("its third line is not a hash in base64"))?;
        lines.try_fold(Self::new(origin, size, root)?, Self::with_extension)
    }

    /// Reads a signed checkpoint and believes it if this key signed it. The key's name must be the origin, so that one key
    /// never speaks for two logs (the specification says SHOULD).
    pub fn open(note: &[u8], key: &VerifierKey) -> Result<Self, NoteError> {
        Self::open_note(&Note::parse(note)?, key)
    }

    /// As [`Checkpoint::open`], of a note that was read already.
    pub fn open_note(note: &Note, key: &VerifierKey) -> Result<Self, NoteError> {
        let checkpoint = Self::parse(note.verify(key)?)?;
        if checkpoint.origin != key.name() {
            return Err(NoteError::OtherOrigin { origin: checkpoint.origin, name: key.name().to_owned() });
        }
        Ok(checkpoint)
    }

    /// The note that says this, signed by the log's key. Refused if the key is another log's.
    ///
    /// **Never sign two that contradict each other**: nothing here can know what was signed before.
    pub fn sign(&self, signer: &Signer) -> Result<String, FormatError> {
        if self.origin != signer.public().name() {
            let key = signer.public().name();
            let why = format!("it is of {:?}, and the key belongs to {key:?}", self.origin);
            return Err(FormatError::new("checkpoint to sign", why));
        }
        note::sign(&self.to_string(), &[signer])
    }

    /// Whose log it is.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Root of all entries.
    pub fn root(&self) -> Hash {
        self.root
    }

    /// Further lines that were signed. What they mean is not known here.
    pub fn extensions(&self) -> &[String] {
        &self.extensions
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n{}\n{}", self.origin, self.size, self.root)?;
        self.extensions.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

fn wrong(why: &'static str) -> FormatError {
    FormatError::new("checkpoint", why)
}
