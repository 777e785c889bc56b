//! Signed notes (C2SP `signed-note`): a text, a blank line, and a line for each signature.
//!
//! ```text
//! the text, one or more lines
//!
//! — example.com/log Az3grlgtzPICa5OS8npV...      name, and base64 of the key's id and the signature
//! ```

use std::fmt;

use data_encoding::BASE64;

use crate::{
    FormatError, KeyId, NoteError, PublicKey, Signer, VerifierKey,
    key::{SIGNATURE_BYTES, check_name},
};

#[cfg(test)]
mod tests;

/// Longest note. Twenty signatures of the longest known kind (5 kB) have room.
pub const NOTE_BYTES_MAX: usize = 128 << 10;
/// Most signatures of a note. The specification demands that 16 are taken.
pub const SIGNATURES_MAX: usize = 64;

const SIGNATURE_START: &str = "\u{2014} ";

/// A note that was read. Whose it is shows only when it is verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

/// A line of a note: whose signature, and the signature. Its text ends with a newline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    name: String,
    id: KeyId,
    bytes: Vec<u8>,
}

impl Signature {
    pub(crate) fn new(name: &str, id: KeyId, bytes: Vec<u8>) -> Self {
        Self { name: name.to_owned(), id, bytes }
    }

    /// Name of the key that it says it is by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A line with its newline, as it stands in a note.
    pub fn parse(line: &str) -> Result<Self, FormatError> {
        let wrong = |why| FormatError::new("line of a signature", why);
        let line = line.strip_suffix('\n').ok_or_else(|| wrong("it does not end with a newline"))?;
        let rest =
            line.strip_prefix(SIGNATURE_START).ok_or_else(|| wrong("it does not begin with a dash"))?;
        let (name, code) = rest.split_once(' ').ok_or_else(|| wrong("it has no name and signature"))?;
        check_name(name)?;
        let bytes = BASE64.decode(code.as_bytes()).map_err(|_| wrong("it is not in standard base64"))?;
        match bytes.split_first_chunk() {
            Some((id, bytes)) if !bytes.is_empty() => Ok(Self::new(name, *id, bytes.to_vec())),
            _ => Err(wrong("it is too short")),
        }
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [self.id.as_slice(), &self.bytes].concat();
        writeln!(f, "{SIGNATURE_START}{} {}", self.name, BASE64.encode(&bytes))
    }
}

impl Note {
    /// Reads a note, strictly. Nothing is verified yet.
    pub fn parse(bytes: &[u8]) -> Result<Self, FormatError> {
        let wrong = |why| FormatError::new("signed note", why);
        if bytes.len() > NOTE_BYTES_MAX {
            return Err(wrong("it has more than 128 KiB"));
        }
        let note = str::from_utf8(bytes).map_err(|_| wrong("it is not UTF-8"))?;
        if note.bytes().any(is_forbidden) {
            return Err(wrong("it has control characters"));
        }
        // The text may have blank lines too: the last one of the note is the border.
        let border =
            note.rfind("\n\n").ok_or_else(|| wrong("no blank line and signatures follow its text"))?;
        let (text, lines) = (&note[..=border], &note[border + 2..]);
        if lines.is_empty() {
            return Err(wrong("it has no signature"));
        }
        if lines.bytes().filter(|byte| *byte == b'\n').count() > SIGNATURES_MAX {
            return Err(wrong("it has more than 64 signatures"));
        }
        let signatures = lines.split_inclusive('\n').map(Signature::parse).collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The text, if this key signed it. A signature that names the key and is wrong is an error, also beside a right one;
    /// those of unknown keys do not count.
    pub fn verify(&self, key: &VerifierKey) -> Result<&str, NoteError> {
        let mut is_signed = false;
        for signature in self.signatures_of(key) {
            if signature.len() != SIGNATURE_BYTES || !key.verifies(self.text.as_bytes(), signature) {
                return Err(NoteError::BadSignature { name: key.name().to_owned() });
            }
            is_signed = true;
        }
        if is_signed { Ok(&self.text) } else { Err(NoteError::NotSigned { name: key.name().to_owned() }) }
    }

    /// The text as anybody may have written it: for finding the key to verify with, and nothing else.
    pub fn text_unverified(&self) -> &str {
        &self.text
    }

    /// All lines of signatures, of known and unknown keys.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }

    /// What stands behind the id in the lines that name a key.
    pub(crate) fn signatures_of<const TYPE: u8>(&self, key: &PublicKey<TYPE>) -> impl Iterator<Item = &[u8]> {
        let (name, id) = (key.name().to_owned(), key.id());
        let named = self.signatures.iter().filter(move |line| line.name == name && line.id == id);
        named.map(|line| line.bytes.as_slice())
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|line| line.fmt(f))
    }
}

/// Signs a text, which must end with a newline and have no other control characters, with each of the keys.
///
/// ```
/// # use tlog::{Signer, note};
/// # use zeroize::Zeroizing;
/// let signer = Signer::from_seed("example.com/notes", Zeroizing::new([7; 32]))?;
/// let signed = note::sign("all is well\n", &[&signer])?;
/// assert_eq!(note::open(signed.as_bytes(), &[signer.public()])?, "all is well\n");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sign(text: &str, signers: &[&Signer]) -> Result<String, FormatError> {
    let wrong = |why| FormatError::new("text of a note", why);
    if !text.ends_with('\n') {
        return Err(wrong("it does not end with a newline"));
    }
    if text.bytes().any(is_forbidden) {
        return Err(wrong("it has control characters"));
    }
    if signers.is_empty() {
        return Err(wrong("nobody signs it"));
    }
    let line = |signer: &&Signer| {
        let key = signer.public();
        Signature::new(key.name(), key.id(), signer.sign(text.as_bytes()))
    };
    let note = Note { text: text.to_owned(), signatures: signers.iter().map(line).collect() };
    let signed = note.to_string();
    // What could not be read again is not signed.
    Note::parse(signed.as_bytes()).map(|_| signed)
}

/// Reads a note, and gives its text if one of the keys signed it and none of them is shown with a wrong signature.
pub fn open(note: &[u8], keys: &[&VerifierKey]) -> Result<String, NoteError> {
    let note = Note::parse(note)?;
    let mut unsigned = None;
    let mut text = None;
    for key in keys {
        match note.verify(key) {
            Ok(signed) => text = Some(signed.to_owned()),
            Err(error @ NoteError::NotSigned { .. }) => unsigned = Some(error),
            Err(error) => return Err(error),
        }
    }
    text.ok_or_else(|| unsigned.unwrap_or_else(|| NoteError::NotSigned { name: "anybody".to_owned() }))
}

/// Control characters other than newlines.
fn is_forbidden(byte: u8) -> bool {
    byte < b' ' && byte != b'\n'
}
