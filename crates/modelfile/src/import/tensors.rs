//! Which tensor becomes which, and its conversion.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{Read, Seek, Write},
    path::Path,
};

use super::{ImportError, settings::Settings};
use crate::{
    Pooling, TensorType, Writer,
    float::{bf16, f16, f16_bits},
    gguf::Data,
    safetensors::{ElementType, SafeTensor, Safetensors},
};

/// What weights may have in front of their names.
const PREFIX: &str = "bert.";
/// Left out: positions that count from 0, and heads for training.
const LEFT_OUT: [&str; 4] =
    ["embeddings.position_ids", "pooler.", "cls.predictions.", "cls.seq_relationship."];
/// Within a layer, BERT's name and llama.cpp's. Each has a weight and a bias.
const LAYER: [(&str, &str); 8] = [
    ("attention.self.query", "attn_q"),
    ("attention.self.key", "attn_k"),
    ("attention.self.value", "attn_v"),
    ("attention.output.dense", "attn_output"),
    ("attention.output.LayerNorm", "attn_output_norm"),
    ("intermediate.dense", "ffn_up"),
    ("output.dense", "ffn_down"),
    ("output.LayerNorm", "layer_output_norm"),
];

/// All tensors of the new file, in their order.
pub(super) struct Plan<'s> {
    steps: Vec<Step<'s>>,
}

struct Step<'s> {
    source: &'s SafeTensor,
    name: String,
    /// The length of a row first.
    dimensions: Vec<u64>,
    kind: TensorType,
}

impl<'s> Plan<'s> {
    pub(super) fn of(settings: &Settings, source: &'s Safetensors) -> Result<Self, ImportError> {
        let config = &settings.config;
        let [embedding, inner] = [config.hidden_size, config.intermediate_size].map(u64::from);
        let mut finder = Finder::new(source)?;
        let vectors = [
            ("word", "token_embd", config.vocab_size, TensorType::F16),
            ("position", "position_embd", config.max_position_embeddings, TensorType::F32),
            ("token_type", "token_types", config.type_vocab_size, TensorType::F32),
        ];
        for (from, to, count, kind) in vectors {
            let from = format!("embeddings.{from}_embeddings.weight");
            finder.find(&from, format!("{to}.weight"), &[embedding, count.into()], kind)?;
        }
        finder.pair("embeddings.LayerNorm", "token_embd_norm", &[embedding], TensorType::F32)?;
        for layer in 0..config.num_hidden_layers {
            for (from, to) in LAYER {
                let (from, name) = (format!("encoder.layer.{layer}.{from}"), format!("blk.{layer}.{to}"));
                let dimensions = match to {
                    "ffn_up" => vec![embedding, inner],
                    "ffn_down" => vec![inner, embedding],
                    _ if to.ends_with("norm") => vec![embedding],
                    _ => vec![embedding, embedding],
                };
                finder.pair(&from, &name, &dimensions, TensorType::F16)?;
            }
        }
        if settings.pooling == Pooling::Rank {
            // The first token's vector goes through both, with a tanh between them (`BertPooler` of transformers;
            // `build_pooling` of llama.cpp b10200).
            finder.pair("pooler.dense", "cls", &[embedding, embedding], TensorType::F32)?;
            finder.pair("classifier", "cls.output", &[embedding, 1], TensorType::F32)?;
        }
        finder.finish()
    }

    /// Adds the descriptions of all tensors to a file.
    pub(super) fn describe(&self, file: &mut Writer) {
        for step in &self.steps {
            file.tensor(&step.name, &step.dimensions, step.kind);
        }
    }

    /// Converts the data of all tensors, piece by piece.
    pub(super) fn convert<W: Write>(
        &self,
        source: &Safetensors,
        weights: &mut (impl Read + Seek),
        path: &Path,
        data: &mut Data<'_, W>,
    ) -> Result<(), ImportError> {
        let mut converted = Vec::new();
        for step in &self.steps {
            source
                .data(step.source, weights, |piece| {
                    converted.clear();
                    step.convert(piece, &mut converted)?;
                    data.push(&converted).map_err(|error| Piece::Write(error.to_string()))
                })
                .map_err(|piece| piece.into_import_error(&step.source.name, path))?;
        }
        Ok(())
    }
}

/// Why a piece was not converted.
enum Piece {
    Read(crate::ModelFileError),
    Value(String),
    Write(String),
}

impl From<crate::ModelFileError> for Piece {
    fn from(why: crate::ModelFileError) -> Self {
        Self::Read(why)
    }
}

impl Piece {
    fn into_import_error(self, tensor: &str, path: &Path) -> ImportError {
        match self {
            Self::Read(why) => ImportError::Weights { file: path.to_owned(), why },
            Self::Value(why) => ImportError::Tensor { tensor: tensor.to_owned(), why },
            Self::Write(why) => ImportError::CannotWrite { why },
        }
    }
}

impl Step<'_> {
    fn convert(&self, piece: &[u8], out: &mut Vec<u8>) -> Result<(), Piece> {
        match self.source.kind {
            ElementType::F32 => {
                self.numbers(piece.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)), out)
            }
            ElementType::F16 => {
                self.numbers(piece.as_chunks().0.iter().map(|bytes| f16(u16::from_le_bytes(*bytes))), out)
            }
            _ => self.numbers(piece.as_chunks().0.iter().map(|bytes| bf16(u16::from_le_bytes(*bytes))), out),
        }
    }

    fn numbers(&self, numbers: impl Iterator<Item = f32>, out: &mut Vec<u8>) -> Result<(), Piece> {
        for number in numbers {
            if !number.is_finite() {
                return Err(Piece::Value(format!("holds {number}, and a weight must be a number")));
            }
            if self.kind == TensorType::F32 {
                out.extend(number.to_le_bytes());
                continue;
            }
            let bits = f16_bits(number);
            if !f16(bits).is_finite() {
                return Err(Piece::Value(format!("holds {number}, which 16 bits do not hold")));
            }
            out.extend(bits.to_le_bytes());
        }
        Ok(())
    }
}

/// Finds the tensors of the weights by their names, each once.
struct Finder<'s> {
    /// By their plain names.
    source: BTreeMap<String, &'s SafeTensor>,
    used: BTreeSet<&'s str>,
    steps: Vec<Step<'s>>,
}

impl<'s> Finder<'s> {
    fn new(source: &'s Safetensors) -> Result<Self, ImportError> {
        let mut by_name = BTreeMap::new();
        for tensor in &source.tensors {
            if by_name.insert(plain_name(&tensor.name), tensor).is_some() {
                let why = "is there under two names".to_owned();
                return Err(ImportError::Tensor { tensor: tensor.name.clone(), why });
            }
        }
        Ok(Self { source: by_name, used: BTreeSet::new(), steps: Vec::new() })
    }

    /// A weight, of this type if it has two dimensions, and its bias.
    fn pair(
        &mut self,
        from: &str,
        to: &str,
        dimensions: &[u64],
        kind: TensorType,
    ) -> Result<(), ImportError> {
        let kind = if dimensions.len() == 1 { TensorType::F32 } else { kind };
        self.find(&format!("{from}.weight"), format!("{to}.weight"), dimensions, kind)?;
        // As long as the last dimension: one for each row.
        let rows = &dimensions[dimensions.len() - 1..];
        self.find(&format!("{from}.bias"), format!("{to}.bias"), rows, TensorType::F32)
    }

    fn find(
        &mut self,
        from: &str,
        name: String,
        dimensions: &[u64],
        kind: TensorType,
    ) -> Result<(), ImportError> {
        let refuse = |why: String| ImportError::Tensor { tensor: from.to_owned(), why };
        let source = *self.source.get(from).ok_or_else(|| refuse("is absent".to_owned()))?;
        if !source.shape.iter().eq(dimensions.iter().rev()) {
            let wanted: Vec<u64> = dimensions.iter().rev().copied().collect();
            return Err(refuse(format!("has the shape {:?}, and must have {wanted:?}", source.shape)));
        }
        if !matches!(source.kind, ElementType::F32 | ElementType::F16 | ElementType::BF16) {
            return Err(refuse(format!(
                "has elements of type {:?}, and F32, F16 and BF16 are converted",
                source.kind
            )));
        }
        self.used.insert(&source.name);
        self.steps.push(Step { source, name, dimensions: dimensions.to_owned(), kind });
        Ok(())
    }

    /// Refuses weights that nothing was made of: the model would not be the one that was published.
    fn finish(self) -> Result<Plan<'s>, ImportError> {
        for (name, tensor) in &self.source {
            if !self.used.contains(tensor.name.as_str())
                && !LEFT_OUT.iter().any(|start| name.starts_with(start))
            {
                return Err(ImportError::Tensor {
                    tensor: tensor.name.clone(),
                    why: "is not known".to_owned(),
                });
            }
        }
        Ok(Plan { steps: self.steps })
    }
}

/// The name without what some weights have in front, and as it is called today.
fn plain_name(name: &str) -> String {
    let name = name.strip_prefix(PREFIX).unwrap_or(name);
    match (name.strip_suffix(".gamma"), name.strip_suffix(".beta")) {
        (Some(start), _) => format!("{start}.weight"),
        (_, Some(start)) => format!("{start}.bias"),
        _ => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_and_prefixed_names_are_the_same() {
        let cases = [
            ("bert.encoder.layer.0.output.LayerNorm.gamma", "encoder.layer.0.output.LayerNorm.weight"),
            ("embeddings.LayerNorm.beta", "embeddings.LayerNorm.bias"),
            ("classifier.weight", "classifier.weight"),
        ];
        for (name, plain) in cases {
            assert_eq!(plain_name(name), plain);
        }
    }
}
