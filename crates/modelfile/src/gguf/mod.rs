//! GGUF: the format of llama.cpp's models. Versions 2 and 3, little-endian.
//!
//! A file is a *header* (how many of what), the *metadata* (keys with typed values, among them the hyperparameters
//! and the whole vocabulary), the *descriptions* of the tensors (name, dimensions, type, offset), and then the
//! *data* of the tensors, each aligned, in the order of their descriptions, without gaps.
//!
//! [`Gguf::open`] reads all but the data, once, from front to back, and refuses what llama.cpp would refuse, abort
//! on, or believe to its harm. [`Writer`] writes such a file.

mod input;
mod metadata;
mod read;
mod sample;
mod tokens;
mod value;
mod writer;

#[cfg(test)]
mod tests;

use std::{io::Read, path::Path};

pub use input::HEADER_BYTES_MAX;
pub use metadata::{
    ARRAY_LENGTH_MAX, ELEMENT_BYTES_MAX, KEPT_BYTES_MAX, KEY_BYTES_MAX, KEYS_MAX, NUMBERS_KEPT_MAX,
    TEMPLATE_BYTES_MAX, TEXT_KEPT_BYTES_MAX, VOCABULARY_MAX,
};
pub use read::{ALIGNMENT_MAX, TENSOR_NAME_BYTES_MAX, TENSORS_MAX};
pub use sample::sample;
pub use value::{Array, Scalar, Value, ValueType};
pub use writer::{Data, Writer};

use crate::{ModelFileError, TensorType, open_regular};

/// The first four bytes of every file.
const MAGIC: [u8; 4] = *b"GGUF";
/// The version that is written.
const VERSION: u32 = 3;
/// Where the metadata does not say otherwise, tensors begin at multiples of this many bytes.
const ALIGNMENT_DEFAULT: u64 = 32;
/// Says otherwise.
const ALIGNMENT_KEY: &str = "general.alignment";
/// The vocabulary: one text per token.
pub(crate) const TOKENS_KEY: &str = "tokenizer.ggml.tokens";

/// A file that keeps the rules of the format, without its data.
#[derive(Debug, Clone, PartialEq)]
pub struct Gguf {
    /// 2 or 3.
    pub version: u32,
    /// Tensors begin at multiples of this many bytes, counted from [`data_offset`](Self::data_offset).
    pub alignment: u64,
    /// Keys and values in the order of the file; no key stands there twice.
    pub metadata: Vec<(String, Value)>,
    /// How many of the 256 bytes the vocabulary has a token for.
    pub byte_tokens: u32,
    /// In the order of the file, which is the order of their data. No name stands there twice.
    pub tensors: Vec<Tensor>,
    /// Where the data of the tensors begins, in bytes.
    pub data_offset: u64,
    /// The length of the file in bytes. All data lies within it.
    pub length: u64,
}

/// The description of one tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tensor {
    /// Its name, such as `blk.0.attn_q.weight`.
    pub name: String,
    /// 1 to 4 of them, none zero; the first is the length of a row.
    pub dimensions: Vec<u64>,
    /// How its elements are stored.
    pub kind: TensorType,
    /// Where its data begins, in bytes from [`Gguf::data_offset`].
    pub offset: u64,
    /// The length of its data.
    pub bytes: u64,
}

impl Tensor {
    /// How many elements it has: the product of its dimensions, which is known to fit.
    pub fn elements(&self) -> u64 {
        self.dimensions.iter().product()
    }
}

impl Gguf {
    /// Reads the file up to its tensors.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn open(path: &Path) -> Result<Self, ModelFileError> {
        let refuse = |why: String| ModelFileError::CannotOpen { file: path.to_owned(), why };
        let mut file = open_regular(path).map_err(|error| refuse(error.to_string()))?;
        let length = file.metadata().map_err(|error| refuse(error.to_string()))?.len();
        Self::read(&mut file, length)
    }

    /// Reads a file of `length` bytes up to its tensors.
    ///
    /// # Errors
    /// The first thing that is wrong with it.
    pub fn read(from: &mut impl Read, length: u64) -> Result<Self, ModelFileError> {
        read::read(from, length)
    }

    /// The value of a key.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.metadata.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The value of a key whose value is a text that is kept.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.value(key) {
            Some(Value::Text(text)) => Some(text),
            _ => None,
        }
    }

    /// The tensor of this name.
    pub fn tensor(&self, name: &str) -> Option<&Tensor> {
        self.tensors.iter().find(|tensor| tensor.name == name)
    }
}
