//! The values of the metadata, and what of them is kept.

use std::fmt;

/// The type of a value, by its number in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum ValueType {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    Text,
    Array,
    U64,
    I64,
    F64,
}

impl ValueType {
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::Text,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    pub(super) fn of(number: u32) -> Option<Self> {
        Self::ALL.get(number as usize).copied()
    }

    /// Its number in a file.
    pub fn number(self) -> u32 {
        self as u32
    }

    /// As llama.cpp names it: `u32`, `str`.
    pub fn name(self) -> &'static str {
        match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::Text => "str",
            Self::Array => "arr",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        }
    }
}

impl fmt::Display for ValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A number or a truth value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Scalar {
    /// An integer without a sign, of this type.
    Unsigned(ValueType, u64),
    /// An integer with a sign, of this type.
    Signed(ValueType, i64),
    /// A floating-point number, of this type.
    Float(ValueType, f64),
    /// True or false.
    Bool(bool),
}

impl Scalar {
    /// The type it has in the file.
    pub fn kind(self) -> ValueType {
        match self {
            Self::Unsigned(kind, _) | Self::Signed(kind, _) | Self::Float(kind, _) => kind,
            Self::Bool(_) => ValueType::Bool,
        }
    }
}

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// A number or a truth value.
    Scalar(Scalar),
    /// A text, kept whole.
    Text(String),
    /// A text too long to be kept. It is UTF-8.
    LongText {
        /// Its length.
        bytes: u64,
    },
    /// An array. Its texts are not kept, and its numbers only where they are few.
    Array(Array),
}

/// What is known of an array.
#[derive(Debug, Clone, PartialEq)]
pub struct Array {
    /// The type of its elements: never [`ValueType::Array`].
    pub kind: ValueType,
    /// How many there are.
    pub length: u64,
    /// All of them, if they are numbers or truth values and at most
    /// [`NUMBERS_KEPT_MAX`](super::NUMBERS_KEPT_MAX), else none.
    pub numbers: Vec<Scalar>,
}

impl Value {
    /// Its type, as a refusal names it.
    pub fn kind(&self) -> ValueType {
        match self {
            Self::Scalar(scalar) => scalar.kind(),
            Self::Text(_) | Self::LongText { .. } => ValueType::Text,
            Self::Array(_) => ValueType::Array,
        }
    }
}
