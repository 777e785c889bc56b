//! Where the bytes of a model lie.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{Gguf, ModelFileError, TensorType};

/// Bytes of tensor data, by what they are for. Without the padding between tensors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Weights {
    /// All of them.
    pub total: u64,
    /// By how they are stored.
    pub by_kind: BTreeMap<TensorType, u64>,
    /// For each layer, its own (`blk.N.`).
    pub layers: Vec<u64>,
    /// The token embedding, which llama.cpp keeps in the memory of the processor (`token_embd`).
    pub token_embedding: u64,
    /// The output head; 0 where the model uses the token embedding once more (`output`).
    pub output: u64,
    /// What is left: norms, positions, classifiers.
    pub other: u64,
}

impl Weights {
    pub(super) fn of(gguf: &Gguf, layers: u32) -> Self {
        let mut weights = Self {
            total: 0,
            by_kind: BTreeMap::new(),
            layers: vec![0; layers as usize],
            token_embedding: 0,
            output: 0,
            other: 0,
        };
        // The sums are smaller than the file, so they fit.
        for tensor in &gguf.tensors {
            weights.total += tensor.bytes;
            *weights.by_kind.entry(tensor.kind).or_default() += tensor.bytes;
            let part = match layer(&tensor.name).and_then(|layer| weights.layers.get_mut(layer)) {
                Some(layer) => layer,
                None if tensor.name.starts_with("token_embd.") => &mut weights.token_embedding,
                None if tensor.name.starts_with("output.") => &mut weights.output,
                None => &mut weights.other,
            };
            *part += tensor.bytes;
        }
        weights
    }
}

/// Refuses what is added to a vector, or multiplied with it, and is not stored as `F32`: ggml aborts on it. These are
/// biases, norms and all else of one dimension. Lists of numbers are neither.
pub(super) fn check_kinds(gguf: &Gguf) -> Result<(), ModelFileError> {
    for tensor in &gguf.tensors {
        let named =
            [".bias", "norm.weight", "token_types.weight"].iter().any(|end| tensor.name.ends_with(end));
        let list = tensor.kind == TensorType::I32 && !named;
        if (named || tensor.dimensions.len() == 1) && tensor.kind != TensorType::F32 && !list {
            return Err(ModelFileError::Malformed {
                what: format!("tensor `{}`", tensor.name),
                at: gguf.data_offset + tensor.offset,
                why: format!("is stored as {}, and must be stored as F32", tensor.kind),
            });
        }
    }
    Ok(())
}

/// The layer that a tensor belongs to.
fn layer(name: &str) -> Option<usize> {
    name.strip_prefix("blk.")?.split('.').next()?.parse().ok()
}
