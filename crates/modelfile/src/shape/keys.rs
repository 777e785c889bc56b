//! Hyperparameters by name: typed as llama.cpp demands, within named ranges.

use super::LAYERS_MAX;
use crate::{
    Gguf, ModelFileError,
    gguf::{Array, Scalar, Value, ValueType},
};

/// The metadata of a file, with the prefix of its architecture.
pub(super) struct Keys<'g> {
    pub(super) gguf: &'g Gguf,
    pub(super) architecture: &'g str,
}

/// Refuses the value of a key.
pub(super) fn refuse(key: impl Into<String>, why: impl Into<String>) -> ModelFileError {
    ModelFileError::Parameter { key: key.into(), why: why.into() }
}

impl<'g> Keys<'g> {
    /// The whole key: `llama.block_count`.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}.{name}", self.architecture)
    }

    fn value(&self, name: &str) -> Option<&'g Value> {
        self.gguf.value(&self.key(name))
    }

    /// Refuses the value of this hyperparameter.
    pub(super) fn refuse(&self, name: &str, why: impl Into<String>) -> ModelFileError {
        refuse(self.key(name), why)
    }

    /// A number of 32 bits, at most `limit`.
    pub(super) fn number(&self, name: &str, limit: u32) -> Result<Option<u32>, ModelFileError> {
        self.value(name).map(|value| number(&self.key(name), value, limit)).transpose()
    }

    /// A number from 1 to `limit` that must be there.
    pub(super) fn required(&self, name: &str, limit: u32) -> Result<u32, ModelFileError> {
        match self.number(name, limit)? {
            Some(0) => Err(self.refuse(name, format!("is 0, and must be 1 to {limit}"))),
            Some(number) => Ok(number),
            None => Err(self.refuse(name, "is absent")),
        }
    }

    pub(super) fn truth(&self, name: &str) -> Result<Option<bool>, ModelFileError> {
        match self.value(name) {
            None => Ok(None),
            Some(&Value::Scalar(Scalar::Bool(truth))) => Ok(Some(truth)),
            Some(other) => Err(self.refuse(name, format!("has type {}, and must have bool", other.kind()))),
        }
    }

    /// Refuses what is neither absent nor a number from 0 to 1: ggml aborts on a negative epsilon.
    pub(super) fn check_epsilon(&self, name: &str) -> Result<(), ModelFileError> {
        match self.value(name) {
            None => Ok(()),
            Some(&Value::Scalar(Scalar::Float(ValueType::F32, epsilon)))
                if (0.0..=1.0).contains(&epsilon) =>
            {
                Ok(())
            }
            Some(Value::Scalar(Scalar::Float(ValueType::F32, epsilon))) => {
                Err(self.refuse(name, format!("is {epsilon}, and must be 0 to 1")))
            }
            Some(other) => Err(self.refuse(name, format!("has type {}, and must have f32", other.kind()))),
        }
    }

    /// A text that must be one of these, if it is there.
    pub(super) fn check_one_of(&self, name: &str, known: &[&str]) -> Result<(), ModelFileError> {
        match self.value(name) {
            None => Ok(()),
            Some(Value::Text(text)) if known.contains(&text.as_str()) => Ok(()),
            Some(_) => Err(self.refuse(name, format!("must be one of the texts {}", known.join(", ")))),
        }
    }

    /// One number per layer: an array as long as there are layers, or one number for all.
    pub(super) fn per_layer(
        &self,
        name: &str,
        layers: u32,
        limit: u32,
    ) -> Result<Option<Vec<u32>>, ModelFileError> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Array(array)) => {
                self.check_length(name, array, u64::from(layers))?;
                self.numbers(name, array, limit).map(Some)
            }
            Some(value) => {
                let number = number(&self.key(name), value, limit)?;
                Ok(Some(vec![number; layers as usize]))
            }
        }
    }

    /// One truth value per layer, from an array of truth values or numbers; a number is no array. Layers beyond its
    /// end are false, as in llama.cpp.
    pub(super) fn truths(&self, name: &str, layers: u32) -> Result<Option<Vec<bool>>, ModelFileError> {
        let Some(Value::Array(array)) = self.value(name) else { return Ok(None) };
        if array.length > u64::from(LAYERS_MAX) {
            return Err(self
                .refuse(name, format!("has {} elements, and at most {LAYERS_MAX} are read", array.length)));
        }
        let mut truths: Vec<bool> = match array.kind {
            ValueType::Bool => array.numbers.iter().map(|truth| *truth == Scalar::Bool(true)).collect(),
            _ => self.numbers(name, array, u32::MAX)?.into_iter().map(|number| number != 0).collect(),
        };
        truths.resize(layers as usize, false);
        Ok(Some(truths))
    }

    fn check_length(&self, name: &str, array: &Array, length: u64) -> Result<(), ModelFileError> {
        if array.length == length {
            return Ok(());
        }
        Err(self.refuse(
            name,
            format!("has {} elements, and must have one for each of {length} layers", array.length),
        ))
    }

    fn numbers(&self, name: &str, array: &Array, limit: u32) -> Result<Vec<u32>, ModelFileError> {
        let key = self.key(name);
        array
            .numbers
            .iter()
            .map(|&scalar| match scalar {
                Scalar::Unsigned(ValueType::U32, number) => within(&key, number, limit),
                Scalar::Signed(ValueType::I32, number) => {
                    let number = u64::try_from(number)
                        .map_err(|_| refuse(&key, format!("has the element {number}, which is negative")))?;
                    within(&key, number, limit)
                }
                other => Err(refuse(
                    &key,
                    format!("has elements of type {}, and must have u32 or i32", other.kind()),
                )),
            })
            .collect()
    }
}

/// A value that must be a number of 32 bits, at most `limit`.
pub(super) fn number(key: &str, value: &Value, limit: u32) -> Result<u32, ModelFileError> {
    match *value {
        Value::Scalar(Scalar::Unsigned(ValueType::U32, number)) => within(key, number, limit),
        ref other => Err(refuse(key, format!("has type {}, and must have u32", other.kind()))),
    }
}

fn within(key: &str, number: u64, limit: u32) -> Result<u32, ModelFileError> {
    u32::try_from(number)
        .ok()
        .filter(|number| *number <= limit)
        .ok_or_else(|| refuse(key, format!("is {number}, and must be at most {limit}")))
}
