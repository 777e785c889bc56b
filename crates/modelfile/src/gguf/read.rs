//! From bytes to a [`Gguf`], each rule where its part is read: the header and the descriptions of the tensors.

use std::{collections::HashSet, io::Read};

use super::{
    ALIGNMENT_DEFAULT, ALIGNMENT_KEY, Gguf, MAGIC, Scalar, Tensor, Value, ValueType,
    input::{Input, Place},
    metadata::{KEYS_MAX, Metadata, MetadataReader},
};
use crate::{ModelFileError, TensorType};

/// Most tensors.
pub const TENSORS_MAX: u64 = 65_536;
/// Longest name of a tensor: llama.cpp keeps 64 bytes with the NUL at the end.
pub const TENSOR_NAME_BYTES_MAX: u64 = 63;
/// Largest alignment. Files use 32; disks and huge pages no more than this.
pub const ALIGNMENT_MAX: u64 = 2 << 20;

/// Most dimensions of a tensor.
const DIMENSIONS_MAX: u32 = 4;
/// Largest product of dimensions, and largest dimension: llama.cpp counts elements with a sign.
const ELEMENTS_MAX: u64 = i64::MAX as u64;
/// Key, type and value take at least this: a length, one character, a type and one byte.
const KEY_VALUE_BYTES_MIN: u64 = 8 + 1 + 4 + 1;
/// A description takes at least this: a length, one character, one dimension, its number, a type and an offset.
const TENSOR_BYTES_MIN: u64 = 8 + 1 + 4 + 8 + 4 + 8;
const SPLIT_KEY: &str = "split.count";

pub(super) fn read(from: &mut impl Read, length: u64) -> Result<Gguf, ModelFileError> {
    let mut input = Input::new(from, length);
    let version = version(&mut input)?;
    let tensor_count =
        count(&mut input, Place::Header("number of tensors"), "tensors", TENSORS_MAX, TENSOR_BYTES_MIN)?;
    let key_count =
        count(&mut input, Place::Header("number of keys"), "keys", KEYS_MAX, KEY_VALUE_BYTES_MIN)?;

    let Metadata { entries: metadata, byte_tokens } = MetadataReader::new(&mut input).read(key_count)?;
    let alignment = alignment(&metadata)?;
    refuse_split(&metadata)?;

    let mut tensors: Vec<Tensor> = Vec::new();
    let mut data_bytes = 0;
    for number in 0..tensor_count {
        let tensor = tensor(&mut input, number, alignment, &mut data_bytes)?;
        tensors.push(tensor);
    }
    let data_offset = if tensors.is_empty() { input.at() } else { padded(input.at(), alignment) };
    data_within(&tensors, data_offset, length)?;
    // A file may be filled up to the alignment behind its last tensor, and no further.
    let end = padded(data_offset, alignment).saturating_add(data_bytes);
    if length > end {
        return Err(ModelFileError::Behind { at: end, left: length - end });
    }
    Ok(Gguf { version, alignment, metadata, byte_tokens, tensors, data_offset, length })
}

fn version<R: Read>(input: &mut Input<'_, R>) -> Result<u32, ModelFileError> {
    let magic: [u8; 4] = input.exactly(Place::Header("name of the format"))?;
    if magic != MAGIC {
        return Err(ModelFileError::NotGguf { found: format!("`{}`", magic.escape_ascii()) });
    }
    let found = input.u32(Place::Header("version"))?;
    match found {
        2 | 3 => Ok(found),
        // A small number read in the wrong order.
        _ if found.swap_bytes() < 1 << 16 && found >= 1 << 16 => Err(ModelFileError::BigEndian),
        _ => Err(ModelFileError::Version { found }),
    }
}

/// A number of things, each of which takes at least `bytes_min` of what is left of the file.
fn count<R: Read>(
    input: &mut Input<'_, R>,
    place: Place<'_>,
    unit: &str,
    limit: u64,
    bytes_min: u64,
) -> Result<u64, ModelFileError> {
    let at = input.at();
    let found = input.u64(place)?;
    if found > limit {
        return Err(ModelFileError::TooMuch { what: format!("the number of {unit}"), at, found, limit });
    }
    input.needs(place, found * bytes_min)?;
    Ok(found)
}

fn alignment(metadata: &[(String, Value)]) -> Result<u64, ModelFileError> {
    let refuse = |why: String| Err(ModelFileError::Parameter { key: ALIGNMENT_KEY.to_owned(), why });
    match metadata.iter().find(|(key, _)| key == ALIGNMENT_KEY).map(|(_, value)| value) {
        None => Ok(ALIGNMENT_DEFAULT),
        Some(&Value::Scalar(Scalar::Unsigned(ValueType::U32, bytes))) => {
            if bytes.is_power_of_two() && bytes <= ALIGNMENT_MAX {
                Ok(bytes)
            } else {
                refuse(format!("is {bytes}, and must be a power of two up to {ALIGNMENT_MAX}"))
            }
        }
        Some(other) => refuse(format!("has type {}, and must have u32", other.kind())),
    }
}

fn refuse_split(metadata: &[(String, Value)]) -> Result<(), ModelFileError> {
    match metadata.iter().find(|(key, _)| key == SPLIT_KEY).map(|(_, value)| value) {
        None | Some(Value::Scalar(Scalar::Unsigned(ValueType::U16, 0 | 1))) => Ok(()),
        Some(&Value::Scalar(Scalar::Unsigned(ValueType::U16, parts))) => Err(ModelFileError::Split { parts }),
        Some(other) => {
            let why = format!("has type {}, and must have u16", other.kind());
            Err(ModelFileError::Parameter { key: SPLIT_KEY.to_owned(), why })
        }
    }
}

/// Reads one description. `data_bytes` is where the data of the next tensor must begin.
fn tensor<R: Read>(
    input: &mut Input<'_, R>,
    number: u64,
    alignment: u64,
    data_bytes: &mut u64,
) -> Result<Tensor, ModelFileError> {
    let (place, at) = (Place::TensorName(number), input.at());
    let name = input.text(place, TENSOR_NAME_BYTES_MAX)?.to_owned();
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(place
            .malformed(at, format!("is `{}`, and a name has no control characters", name.escape_debug())));
    }
    let place = Place::Tensor(&name);
    let dimensions = dimensions(input, place)?;
    let at = input.at();
    let kind = input.u32(place)?;
    let kind =
        TensorType::of(kind).map_err(|why| place.malformed(at, format!("has type {kind}, which {why}")))?;
    let bytes = bytes_of(place, at, kind, &dimensions)?;
    let at = input.at();
    let offset = input.u64(place)?;
    if offset % alignment != 0 {
        return Err(place.malformed(
            at,
            format!("has its data at offset {offset}, no multiple of the alignment {alignment}"),
        ));
    }
    // llama.cpp reads only files whose tensors lie in the order of their descriptions, without gaps. That they do
    // not overlap follows.
    if offset != *data_bytes {
        let why =
            if offset < *data_bytes { "overlaps the tensor before it" } else { "leaves a gap before it" };
        return Err(place
            .malformed(at, format!("{why}: its data is at offset {offset}, and must be at {data_bytes}")));
    }
    let end = offset.checked_add(bytes).and_then(|end| end.checked_next_multiple_of(alignment));
    *data_bytes = end.ok_or_else(|| place.malformed(at, "ends where 64 bits do not reach"))?;
    Ok(Tensor { name, dimensions, kind, offset, bytes })
}

fn dimensions<R: Read>(input: &mut Input<'_, R>, place: Place<'_>) -> Result<Vec<u64>, ModelFileError> {
    let at = input.at();
    let count = input.u32(place)?;
    if !(1..=DIMENSIONS_MAX).contains(&count) {
        return Err(
            place.malformed(at, format!("has {count} dimensions, and 1 to {DIMENSIONS_MAX} are possible"))
        );
    }
    let mut dimensions = Vec::with_capacity(count as usize);
    let mut elements: u64 = 1;
    for _ in 0..count {
        let dimension = input.u64(place)?;
        if dimension == 0 {
            return Err(place.malformed(at, "has a dimension of 0"));
        }
        elements = elements
            .checked_mul(dimension)
            .filter(|elements| *elements <= ELEMENTS_MAX)
            .ok_or_else(|| place.malformed(at, format!("has more than {ELEMENTS_MAX} elements")))?;
        dimensions.push(dimension);
    }
    Ok(dimensions)
}

fn bytes_of(place: Place<'_>, at: u64, kind: TensorType, dimensions: &[u64]) -> Result<u64, ModelFileError> {
    let (row, block) = (dimensions[0], kind.elements_per_block());
    if row % block != 0 {
        return Err(
            place.malformed(at, format!("has rows of {row} elements, and {kind} needs multiples of {block}"))
        );
    }
    // The product was checked, so it fits.
    let bytes = kind.bytes(dimensions.iter().product());
    bytes.ok_or_else(|| place.malformed(at, "has more bytes than 64 bits count"))
}

/// Refuses data beyond the end of the file, and names that stand there twice.
fn data_within(tensors: &[Tensor], data_offset: u64, length: u64) -> Result<(), ModelFileError> {
    let mut seen = HashSet::with_capacity(tensors.len());
    for tensor in tensors {
        let at = data_offset.saturating_add(tensor.offset);
        if !seen.insert(tensor.name.as_str()) {
            return Err(Place::Tensor(&tensor.name).malformed(at, "has a name that stands there before"));
        }
        if at.saturating_add(tensor.bytes) > length {
            let what = Place::Data(&tensor.name).to_string();
            return Err(ModelFileError::Cut {
                what,
                at,
                needed: tensor.bytes,
                left: length.saturating_sub(at),
            });
        }
    }
    Ok(())
}

/// The next multiple of the alignment, a power of two; `at` is in a header, far from the end of 64 bits.
fn padded(at: u64, alignment: u64) -> u64 {
    at.next_multiple_of(alignment)
}
