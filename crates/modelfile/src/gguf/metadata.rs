//! Keys and values.

use std::{collections::HashSet, io::Read};

use super::{
    Array, Scalar, TOKENS_KEY, Value, ValueType,
    input::{Input, Place},
    tokens::Tokens,
};
use crate::ModelFileError;

/// Most keys of the metadata. Models have about 40.
pub const KEYS_MAX: u64 = 4096;
/// Longest key.
pub const KEY_BYTES_MAX: u64 = 256;
/// Longest text that is kept; of a longer one only the length is.
pub const TEXT_KEPT_BYTES_MAX: u64 = 64 << 10;
/// Longest chat template: what the renderer of templates takes.
pub const TEMPLATE_BYTES_MAX: u64 = 256 << 10;
/// Most bytes of metadata kept in all.
pub const KEPT_BYTES_MAX: u64 = 8 << 20;
/// Longest array. The merges of a large vocabulary are about 500,000.
pub const ARRAY_LENGTH_MAX: u64 = 4 << 20;
/// Most numbers of an array that are kept: more than layers, of which llama.cpp allows 512.
pub const NUMBERS_KEPT_MAX: u64 = 1024;
/// Longest text in an array.
pub const ELEMENT_BYTES_MAX: u64 = 64 << 10;
/// Most tokens of a vocabulary. The largest known have 262,144.
pub const VOCABULARY_MAX: u64 = 1 << 20;

/// Keys that begin so hold chat templates: `tokenizer.chat_template` and `tokenizer.chat_template.NAME`.
const TEMPLATE_KEY: &str = "tokenizer.chat_template";

/// All keys and values of a file.
pub(super) struct Metadata {
    pub(super) entries: Vec<(String, Value)>,
    /// How many bytes the vocabulary has a token for.
    pub(super) byte_tokens: u32,
}

/// Reads them from where they begin.
pub(super) struct MetadataReader<'i, 'r, R> {
    input: &'i mut Input<'r, R>,
    byte_tokens: u32,
}

impl<'i, 'r, R: Read> MetadataReader<'i, 'r, R> {
    pub(super) fn new(input: &'i mut Input<'r, R>) -> Self {
        Self { input, byte_tokens: 0 }
    }

    /// Reads this many keys and their values.
    pub(super) fn read(mut self, count: u64) -> Result<Metadata, ModelFileError> {
        let mut metadata = Vec::new();
        let mut seen = HashSet::new();
        let mut kept = 0;
        for number in 0..count {
            let (place, at) = (Place::Key(number), self.input.at());
            let key = self.input.text(place, KEY_BYTES_MAX)?.to_owned();
            if key.is_empty() || !key.bytes().all(|byte| byte.is_ascii_graphic()) {
                return Err(place.malformed(
                    at,
                    format!("is `{}`, and a key is printable ASCII without spaces", key.escape_debug()),
                ));
            }
            if !seen.insert(key.clone()) {
                return Err(place.malformed(at, format!("is `{key}`, which stands there before")));
            }
            let value = self.value(&key)?;
            kept += key.len() as u64 + kept_bytes(&value);
            Place::Value(&key).at_most(
                self.input.at(),
                "bytes kept with all before it",
                kept,
                KEPT_BYTES_MAX,
            )?;
            metadata.push((key, value));
        }
        Ok(Metadata { entries: metadata, byte_tokens: self.byte_tokens })
    }

    fn value(&mut self, key: &str) -> Result<Value, ModelFileError> {
        let place = Place::Value(key);
        match self.value_type(place)? {
            ValueType::Text => self.text_value(key),
            ValueType::Array => self.array(key).map(Value::Array),
            kind => self.scalar(place, kind).map(Value::Scalar),
        }
    }

    fn value_type(&mut self, place: Place<'_>) -> Result<ValueType, ModelFileError> {
        let at = self.input.at();
        let number = self.input.u32(place)?;
        ValueType::of(number)
            .ok_or_else(|| place.malformed(at, format!("has type {number}, and types are 0 to 12")))
    }

    fn text_value(&mut self, key: &str) -> Result<Value, ModelFileError> {
        let place = Place::Value(key);
        if key.starts_with(TEMPLATE_KEY) {
            return self.input.text(place, TEMPLATE_BYTES_MAX).map(|text| Value::Text(text.to_owned()));
        }
        let bytes = self.input.u64(place)?;
        self.input.needs(place, bytes)?;
        if bytes > TEXT_KEPT_BYTES_MAX {
            self.input.skip_text(place, bytes)?;
            return Ok(Value::LongText { bytes });
        }
        self.input.kept_text(place, bytes).map(|text| Value::Text(text.to_owned()))
    }

    fn scalar(&mut self, place: Place<'_>, kind: ValueType) -> Result<Scalar, ModelFileError> {
        let at = self.input.at();
        Ok(match kind {
            ValueType::U8 => Scalar::Unsigned(kind, u8::from_le_bytes(self.input.exactly(place)?).into()),
            ValueType::U16 => Scalar::Unsigned(kind, u16::from_le_bytes(self.input.exactly(place)?).into()),
            ValueType::U32 => Scalar::Unsigned(kind, self.input.u32(place)?.into()),
            ValueType::U64 => Scalar::Unsigned(kind, self.input.u64(place)?),
            ValueType::I8 => Scalar::Signed(kind, i8::from_le_bytes(self.input.exactly(place)?).into()),
            ValueType::I16 => Scalar::Signed(kind, i16::from_le_bytes(self.input.exactly(place)?).into()),
            ValueType::I32 => Scalar::Signed(kind, i32::from_le_bytes(self.input.exactly(place)?).into()),
            ValueType::I64 => Scalar::Signed(kind, i64::from_le_bytes(self.input.exactly(place)?)),
            ValueType::F32 => Scalar::Float(kind, f32::from_le_bytes(self.input.exactly(place)?).into()),
            ValueType::F64 => Scalar::Float(kind, f64::from_le_bytes(self.input.exactly(place)?)),
            ValueType::Bool => Scalar::Bool(truth(place, at, self.input.exactly(place)?)?),
            ValueType::Text | ValueType::Array => return Err(place.malformed(at, "is no number")),
        })
    }

    fn array(&mut self, key: &str) -> Result<Array, ModelFileError> {
        let place = Place::Value(key);
        let at = self.input.at();
        let kind = self.value_type(place)?;
        let length_at = self.input.at();
        let length = self.input.u64(place)?;
        let bytes_min = match kind {
            ValueType::Array => {
                return Err(place.malformed(at, "is an array of arrays, and llama.cpp reads none"));
            }
            ValueType::U8 | ValueType::I8 | ValueType::Bool => 1,
            ValueType::U16 | ValueType::I16 => 2,
            ValueType::U32 | ValueType::I32 | ValueType::F32 => 4,
            // A text has its length in front.
            ValueType::U64 | ValueType::I64 | ValueType::F64 | ValueType::Text => 8,
        };
        self.input.needs(place, length.saturating_mul(bytes_min))?;
        place.at_most(length_at, "elements", length, ARRAY_LENGTH_MAX)?;
        let mut numbers = Vec::new();
        if kind == ValueType::Text {
            self.texts(key, length)?;
        } else if length <= NUMBERS_KEPT_MAX {
            for index in 0..length {
                numbers.push(self.scalar(Place::Element(key, index), kind)?);
            }
        } else if kind == ValueType::Bool {
            for index in 0..length {
                self.scalar(Place::Element(key, index), kind)?;
            }
        } else {
            self.input.skip(place, length * bytes_min)?;
        }
        Ok(Array { kind, length, numbers })
    }

    fn texts(&mut self, key: &str, length: u64) -> Result<(), ModelFileError> {
        if key != TOKENS_KEY {
            return (0..length).try_for_each(|index| {
                self.input.text(Place::Element(key, index), ELEMENT_BYTES_MAX).map(|_| ())
            });
        }
        let at = self.input.at();
        Place::Value(key).at_most(at, "tokens", length, VOCABULARY_MAX)?;
        let mut tokens = Tokens::new();
        for index in 0..length {
            tokens.push(index, self.input.text(Place::Element(key, index), ELEMENT_BYTES_MAX)?);
        }
        self.byte_tokens = tokens.check(Place::Value(key), at)?;
        Ok(())
    }
}

fn kept_bytes(value: &Value) -> u64 {
    match value {
        Value::Text(text) => text.len() as u64,
        Value::Array(array) => (array.numbers.len() * size_of::<Scalar>()) as u64,
        Value::Scalar(_) | Value::LongText { .. } => 0,
    }
}

fn truth(place: Place<'_>, at: u64, byte: [u8; 1]) -> Result<bool, ModelFileError> {
    match byte[0] {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(place.malformed(at, format!("is {other}, and a truth value is 0 or 1"))),
    }
}
