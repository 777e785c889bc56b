//! The bytes of a header: counted, bounded, and never taken before it is known that the file has them.

use std::{fmt, io::Read};

use crate::ModelFileError;

/// Most bytes from the beginning of a file to its tensors. A vocabulary of 250,000 tokens needs about 10 MB.
pub const HEADER_BYTES_MAX: u64 = 256 << 20;
/// Bytes taken from the file at once.
const CHUNK_BYTES: usize = 64 << 10;
/// Longest beginning of a character that the next chunk completes.
const PARTIAL_CHARACTER_BYTES_MAX: usize = 3;

/// What is being read, for the text of a refusal. Costs nothing until there is one.
#[derive(Debug, Clone, Copy)]
pub(super) enum Place<'a> {
    /// A fixed field at the beginning.
    Header(&'static str),
    /// The key of this number.
    Key(u64),
    /// The type or the value of this key.
    Value(&'a str),
    /// An element of the array of this key.
    Element(&'a str, u64),
    /// The name of the tensor of this number.
    TensorName(u64),
    /// The description of this tensor.
    Tensor(&'a str),
    /// The elements of this tensor.
    Data(&'a str),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Header(what) => write!(f, "the {what}"),
            Self::Key(number) => write!(f, "key {number} of the metadata"),
            Self::Value(key) => write!(f, "the value of `{key}`"),
            Self::Element(key, number) => write!(f, "element {number} of `{key}`"),
            Self::TensorName(number) => write!(f, "the name of tensor {number}"),
            Self::Tensor(name) => write!(f, "tensor `{name}`"),
            Self::Data(name) => write!(f, "the data of tensor `{name}`"),
        }
    }
}

impl Place<'_> {
    pub(super) fn malformed(self, at: u64, why: impl Into<String>) -> ModelFileError {
        ModelFileError::Malformed { what: self.to_string(), at, why: why.into() }
    }

    /// Refuses more than `limit` of `unit`.
    pub(super) fn at_most(self, at: u64, unit: &str, found: u64, limit: u64) -> Result<(), ModelFileError> {
        if found <= limit {
            return Ok(());
        }
        Err(ModelFileError::TooMuch { what: format!("the number of {unit} of {self}"), at, found, limit })
    }
}

/// Reads a file from its beginning through one chunk.
pub(super) struct Input<'r, R> {
    from: &'r mut R,
    /// The bytes of the file, as its owner says: nothing is taken beyond.
    length: u64,
    /// The next byte to be taken.
    at: u64,
    chunk: Vec<u8>,
    /// What of the chunk is read and not yet taken.
    ready: std::ops::Range<usize>,
    /// The last text.
    text: Vec<u8>,
}

impl<'r, R: Read> Input<'r, R> {
    pub(super) fn new(from: &'r mut R, length: u64) -> Self {
        Self { from, length, at: 0, chunk: vec![0; CHUNK_BYTES], ready: 0..0, text: Vec::new() }
    }

    /// Where the next byte is.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Bytes of the file from here to its end.
    pub(super) fn left(&self) -> u64 {
        self.length - self.at
    }

    /// Refuses what the rest of the file, or of a header, does not hold.
    pub(super) fn needs(&self, place: Place<'_>, bytes: u64) -> Result<(), ModelFileError> {
        if bytes > self.left() {
            let what = place.to_string();
            return Err(ModelFileError::Cut { what, at: self.at, needed: bytes, left: self.left() });
        }
        let end = self.at + bytes;
        if end > HEADER_BYTES_MAX {
            let what = format!("the length in bytes of everything up to {place}");
            return Err(ModelFileError::TooMuch { what, at: self.at, found: end, limit: HEADER_BYTES_MAX });
        }
        Ok(())
    }

    /// Takes `bytes`, in pieces that `see` gets one after the other.
    fn take(
        &mut self,
        place: Place<'_>,
        bytes: u64,
        mut see: impl FnMut(&[u8]) -> Result<(), ModelFileError>,
    ) -> Result<(), ModelFileError> {
        self.needs(place, bytes)?;
        let mut wanted = bytes;
        while wanted > 0 {
            if self.ready.is_empty() {
                self.fill(place, wanted)?;
            }
            let now = self.ready.len().min(usize::try_from(wanted).unwrap_or(usize::MAX));
            see(&self.chunk[self.ready.start..self.ready.start + now])?;
            self.ready.start += now;
            self.at += now as u64;
            wanted -= now as u64;
        }
        Ok(())
    }

    fn fill(&mut self, place: Place<'_>, wanted: u64) -> Result<(), ModelFileError> {
        let most = self.chunk.len().min(usize::try_from(self.left()).unwrap_or(usize::MAX));
        loop {
            match self.from.read(&mut self.chunk[..most]) {
                // Shorter than its owner said: it was cut while we read, or the owner was wrong.
                Ok(0) => {
                    let what = place.to_string();
                    return Err(ModelFileError::Cut { what, at: self.at, needed: wanted, left: 0 });
                }
                Ok(read) => {
                    self.ready = 0..read.min(most);
                    return Ok(());
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(ModelFileError::CannotRead { at: self.at, why: error.to_string() });
                }
            }
        }
    }

    pub(super) fn exactly<const N: usize>(&mut self, place: Place<'_>) -> Result<[u8; N], ModelFileError> {
        let mut bytes = [0; N];
        let mut filled = 0;
        self.take(place, N as u64, |piece| {
            bytes[filled..filled + piece.len()].copy_from_slice(piece);
            filled += piece.len();
            Ok(())
        })?;
        Ok(bytes)
    }

    pub(super) fn u32(&mut self, place: Place<'_>) -> Result<u32, ModelFileError> {
        self.exactly(place).map(u32::from_le_bytes)
    }

    pub(super) fn u64(&mut self, place: Place<'_>) -> Result<u64, ModelFileError> {
        self.exactly(place).map(u64::from_le_bytes)
    }

    /// Takes bytes that only have to be there.
    pub(super) fn skip(&mut self, place: Place<'_>, bytes: u64) -> Result<(), ModelFileError> {
        self.take(place, bytes, |_| Ok(()))
    }

    /// Takes a text with its length in front, of at most `limit` bytes. It stays until the next one is taken.
    pub(super) fn text(&mut self, place: Place<'_>, limit: u64) -> Result<&str, ModelFileError> {
        let at = self.at;
        let bytes = self.u64(place)?;
        // Longer than the file is the better answer, where both are true.
        self.needs(place, bytes)?;
        place.at_most(at, "bytes", bytes, limit)?;
        self.kept_text(place, bytes)
    }

    /// Takes a text of this many bytes, which the caller has bounded.
    pub(super) fn kept_text(&mut self, place: Place<'_>, bytes: u64) -> Result<&str, ModelFileError> {
        let at = self.at;
        let mut text = std::mem::take(&mut self.text);
        text.clear();
        self.take(place, bytes, |piece| {
            text.extend_from_slice(piece);
            Ok(())
        })?;
        self.text = text;
        std::str::from_utf8(&self.text).map_err(|error| not_text(place, at, error.valid_up_to() as u64))
    }

    /// Takes a text of this many bytes, of which nothing is kept, in constant memory.
    pub(super) fn skip_text(&mut self, place: Place<'_>, bytes: u64) -> Result<(), ModelFileError> {
        let begin = self.at;
        let mut partial: Vec<u8> = Vec::with_capacity(CHUNK_BYTES + PARTIAL_CHARACTER_BYTES_MAX);
        let mut seen = 0;
        self.take(place, bytes, |piece| {
            partial.extend_from_slice(piece);
            match std::str::from_utf8(&partial) {
                Ok(_) => {
                    seen += partial.len() as u64;
                    partial.clear();
                }
                Err(error) if error.error_len().is_none() => {
                    seen += error.valid_up_to() as u64;
                    partial.drain(..error.valid_up_to());
                }
                Err(error) => return Err(not_text(place, begin, seen + error.valid_up_to() as u64)),
            }
            Ok(())
        })?;
        if partial.is_empty() { Ok(()) } else { Err(not_text(place, begin, seen)) }
    }
}

fn not_text(place: Place<'_>, at: u64, good: u64) -> ModelFileError {
    place.malformed(at, format!("is not UTF-8 from its byte {good} on"))
}
