//! safetensors: the format in which most models are published. A length, a JSON header of that length, and the data.
//!
//! The header names each tensor, its type, its shape, and where its data begins and ends. The data lies without gaps
//! and without overlap, and fills the rest of the file; a header that says otherwise is refused.

use std::{
    collections::{BTreeMap, HashSet},
    fmt,
    io::{Read, Seek, SeekFrom},
    path::Path,
};

use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, Visitor},
};

use crate::{ModelFileError, gguf::TENSORS_MAX, open_regular};

/// Longest header. One tensor takes about 120 bytes of it.
pub const HEADER_BYTES_MAX: u64 = 8 << 20;
/// Longest name of a tensor in bytes.
pub const NAME_BYTES_MAX: usize = 256;
/// Most dimensions of a tensor.
pub const DIMENSIONS_MAX: usize = 8;
/// Most entries of `__metadata__`.
pub const METADATA_MAX: usize = 256;
/// Bytes of data read at once; a multiple of every element's size.
const CHUNK_BYTES: usize = 64 << 10;
/// The one entry of the header that is no tensor.
const METADATA: &str = "__metadata__";
/// The length of the header's length.
const PREFIX_BYTES: u64 = 8;

/// A file that keeps the rules of the format, without its data.
#[derive(Debug, Clone, PartialEq)]
pub struct Safetensors {
    /// What the file says of itself, mostly `format`.
    pub metadata: BTreeMap<String, String>,
    /// In the order of their data.
    pub tensors: Vec<SafeTensor>,
    /// Where the data begins, in bytes.
    pub data_offset: u64,
}

/// The description of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafeTensor {
    /// Its name, such as `encoder.layer.0.output.dense.weight`.
    pub name: String,
    /// The type of its elements.
    pub kind: ElementType,
    /// Its dimensions, the length of a row **last**: the reverse of GGUF.
    pub shape: Vec<u64>,
    /// Where its data begins, in bytes from [`Safetensors::data_offset`].
    pub begin: u64,
    /// Where its data ends.
    pub end: u64,
}

/// The type of an element, by its name in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[expect(non_camel_case_types, reason = "the names of the field")]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum ElementType {
    BOOL,
    U8,
    I8,
    F8_E5M2,
    F8_E4M3,
    I16,
    U16,
    F16,
    BF16,
    I32,
    U32,
    F32,
    F64,
    I64,
    U64,
}

impl ElementType {
    /// Bytes of one element.
    pub fn bytes(self) -> u64 {
        match self {
            Self::BOOL | Self::U8 | Self::I8 | Self::F8_E5M2 | Self::F8_E4M3 => 1,
            Self::I16 | Self::U16 | Self::F16 | Self::BF16 => 2,
            Self::I32 | Self::U32 | Self::F32 => 4,
            Self::F64 | Self::I64 | Self::U64 => 8,
        }
    }
}

impl Safetensors {
    /// Reads the header of a file.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn open(path: &Path) -> Result<Self, ModelFileError> {
        let refuse = |why: String| ModelFileError::CannotOpen { file: path.to_owned(), why };
        let mut file = open_regular(path).map_err(|error| refuse(error.to_string()))?;
        let length = file.metadata().map_err(|error| refuse(error.to_string()))?.len();
        Self::read(&mut file, length)
    }

    /// Reads the header of a file of `length` bytes.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(from: &mut impl Read, length: u64) -> Result<Self, ModelFileError> {
        let header = header(from, length)?;
        let refuse =
            |why: String| ModelFileError::Malformed { what: "the header".to_owned(), at: PREFIX_BYTES, why };
        let Header { metadata, mut tensors } =
            serde_json::from_slice(&header).map_err(|error| refuse(format!("cannot be read ({error})")))?;
        tensors.sort_by(|one, other| {
            (one.begin, one.end, &one.name).cmp(&(other.begin, other.end, &other.name))
        });
        let data_offset = PREFIX_BYTES + header.len() as u64;
        check_layout(&tensors, data_offset, length)?;
        Ok(Self { metadata, tensors, data_offset })
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&SafeTensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }

    /// Reads the data of one of this file's tensors, in pieces of whole elements that `see` gets one after the other.
    ///
    /// # Errors
    /// What the system says, or what `see` returned.
    pub fn data<E: From<ModelFileError>>(
        &self,
        tensor: &SafeTensor,
        from: &mut (impl Read + Seek),
        mut see: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut at = self.data_offset + tensor.begin;
        let failed =
            |at: u64, error: std::io::Error| ModelFileError::CannotRead { at, why: error.to_string() };
        from.seek(SeekFrom::Start(at)).map_err(|error| failed(at, error))?;
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut left = tensor.end - tensor.begin;
        while left > 0 {
            let now = CHUNK_BYTES.min(usize::try_from(left).unwrap_or(CHUNK_BYTES));
            from.read_exact(&mut chunk[..now]).map_err(|error| failed(at, error))?;
            see(&chunk[..now])?;
            at += now as u64;
            left -= now as u64;
        }
        Ok(())
    }
}

/// The bytes of the JSON, which the file is known to have before there is room for them.
fn header(from: &mut impl Read, length: u64) -> Result<Vec<u8>, ModelFileError> {
    let cut = |at, needed, left| ModelFileError::Cut { what: "the header".to_owned(), at, needed, left };
    let failed = |at: u64, error: std::io::Error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => cut(at, length.saturating_sub(at), 0),
        _ => ModelFileError::CannotRead { at, why: error.to_string() },
    };
    if length < PREFIX_BYTES {
        return Err(cut(0, PREFIX_BYTES, length));
    }
    let mut prefix = [0; PREFIX_BYTES as usize];
    from.read_exact(&mut prefix).map_err(|error| failed(0, error))?;
    let bytes = u64::from_le_bytes(prefix);
    if bytes > HEADER_BYTES_MAX {
        let what = "the length in bytes of the header".to_owned();
        return Err(ModelFileError::TooMuch { what, at: 0, found: bytes, limit: HEADER_BYTES_MAX });
    }
    if bytes > length - PREFIX_BYTES {
        return Err(cut(PREFIX_BYTES, bytes, length - PREFIX_BYTES));
    }
    let mut header = Vec::new();
    let read = from.take(bytes).read_to_end(&mut header).map_err(|error| failed(PREFIX_BYTES, error))?;
    if (read as u64) < bytes {
        return Err(cut(PREFIX_BYTES, bytes, read as u64));
    }
    Ok(header)
}

/// Data that follows the data before it and ends where the file ends.
fn check_layout(tensors: &[SafeTensor], data_offset: u64, length: u64) -> Result<(), ModelFileError> {
    let mut end = 0;
    for tensor in tensors {
        let at = data_offset.saturating_add(tensor.begin);
        let refuse = |why: String| {
            Err(ModelFileError::Malformed { what: format!("the data of tensor `{}`", tensor.name), at, why })
        };
        if tensor.begin != end {
            let what = if tensor.begin < end { "overlaps" } else { "leaves a gap after" };
            return refuse(format!("{what} the data before it, which ends at offset {end}"));
        }
        let elements =
            tensor.shape.iter().try_fold(1, |product: u64, dimension| product.checked_mul(*dimension));
        let bytes = elements.and_then(|elements| elements.checked_mul(tensor.kind.bytes()));
        if bytes.is_none() || bytes != tensor.end.checked_sub(tensor.begin) {
            return refuse(format!(
                "ends at offset {}, and {:?} elements of shape {:?} do not fill it exactly",
                tensor.end, tensor.kind, tensor.shape
            ));
        }
        end = tensor.end;
    }
    let left = length.saturating_sub(data_offset);
    if end > left {
        return Err(ModelFileError::Cut { what: "the data".to_owned(), at: data_offset, needed: end, left });
    }
    if end < left {
        let why = format!("ends, and {} more bytes follow that no tensor has", left - end);
        return Err(ModelFileError::Malformed { what: "the data".to_owned(), at: data_offset + end, why });
    }
    Ok(())
}

/// The header, which refuses what JSON allows: the same name twice, unknown fields, more than is bounded.
struct Header {
    metadata: BTreeMap<String, String>,
    tensors: Vec<SafeTensor>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    dtype: ElementType,
    #[serde(deserialize_with = "shape")]
    shape: Vec<u64>,
    data_offsets: (u64, u64),
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut header = Header { metadata: BTreeMap::new(), tensors: Vec::new() };
        let mut seen = HashSet::new();
        while let Some(name) = map.next_key::<String>()? {
            if name.len() > NAME_BYTES_MAX || name.chars().any(char::is_control) {
                let text =
                    format!("a name must have at most {NAME_BYTES_MAX} bytes and no control characters");
                return Err(A::Error::custom(text));
            }
            if !seen.insert(name.clone()) {
                return Err(A::Error::custom(format!("`{name}` is there twice")));
            }
            if name == METADATA {
                header.metadata = map.next_value()?;
                if header.metadata.len() > METADATA_MAX {
                    return Err(A::Error::custom(format!(
                        "`{METADATA}` has more than {METADATA_MAX} entries"
                    )));
                }
                continue;
            }
            if header.tensors.len() as u64 == TENSORS_MAX {
                return Err(A::Error::custom(format!("more than {TENSORS_MAX} tensors")));
            }
            let Entry { dtype, shape, data_offsets } = map.next_value()?;
            let (begin, end) = data_offsets;
            header.tensors.push(SafeTensor { name, kind: dtype, shape, begin, end });
        }
        Ok(header)
    }
}

fn shape<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u64>, D::Error> {
    struct Dimensions;

    impl<'de> Visitor<'de> for Dimensions {
        type Value = Vec<u64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "at most {DIMENSIONS_MAX} dimensions")
        }

        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut list: A) -> Result<Vec<u64>, A::Error> {
            let mut shape = Vec::new();
            while let Some(dimension) = list.next_element()? {
                if shape.len() == DIMENSIONS_MAX {
                    return Err(A::Error::custom(format!(
                        "a shape has more than {DIMENSIONS_MAX} dimensions"
                    )));
                }
                shape.push(dimension);
            }
            Ok(shape)
        }
    }

    deserializer.deserialize_seq(Dimensions)
}

#[cfg(test)]
mod tests;
