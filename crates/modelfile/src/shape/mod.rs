//! What a model is: its hyperparameters, read once, checked together, in one struct.

mod attention;
mod experts;
mod keys;
mod purpose;
mod quantisation;
mod recurrent;
mod special_tokens;
mod vocabulary;
mod weights;
mod window;

#[cfg(test)]
mod tests;

use serde::Serialize;

pub use attention::Mla;
pub use experts::Experts;
pub use purpose::{Pooling, Purpose};
pub use recurrent::Recurrent;
pub use weights::Weights;
pub use window::{SlidingWindow, WindowKind};

use crate::{
    Gguf, ModelFileError,
    gguf::{Array, Value, ValueType},
};
use keys::{Keys, number, refuse};

/// Most layers: llama.cpp aborts above it (`LLAMA_MAX_LAYERS`).
pub const LAYERS_MAX: u32 = 512;
/// Most experts of a layer: llama.cpp aborts above it (`LLAMA_MAX_EXPERTS`).
pub const EXPERTS_MAX: u32 = 1024;
/// Largest embedding, feed-forward length or size of a state. Models have up to about 200,000.
pub const DIMENSION_MAX: u32 = 1 << 20;
/// Most heads of a layer, and longest head.
pub const HEADS_MAX: u32 = 1 << 16;
/// Longest context, in tokens. Models have up to about 10 million.
pub const CONTEXT_MAX: u32 = 1 << 30;
/// Longest name of an architecture, in bytes.
pub const ARCHITECTURE_BYTES_MAX: usize = 64;

const ARCHITECTURE_KEY: &str = "general.architecture";
const TYPE_KEY: &str = "general.type";
const TOKEN_TYPES_KEY: &str = "tokenizer.ggml.token_type_count";

/// The shape of a model. Lists have one element per layer. Lengths are in elements, not bytes.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ModelShape {
    /// As llama.cpp names it: `llama`, `bert`.
    pub architecture: String,
    /// What it is for.
    pub purpose: Purpose,
    /// `general.name`.
    pub name: Option<String>,
    /// `general.license`.
    pub licence: Option<String>,
    /// How most of its tensors are stored, from `general.file_type`: `Q4_K_M`.
    pub quantisation: Option<String>,
    /// How many numbers its tensors hold.
    pub parameters: u64,
    /// Where their bytes lie.
    pub weights: Weights,

    /// How many layers (blocks) the file has, the drafting ones included: 1 to [`LAYERS_MAX`].
    pub layers: u32,
    /// How many of them, at the end, only predict further tokens and take no part in a normal step.
    pub drafting_layers: u32,
    /// The length of a token's vector.
    pub embedding: u32,
    /// The length of the vectors that leave the model.
    pub embedding_out: u32,
    /// The inner length of each layer's feed-forward network; 0 where it has none, or only experts.
    pub feed_forward: Vec<u32>,
    /// The attention heads of each layer; 0 where it has none.
    pub heads: Vec<u32>,
    /// The heads for keys and values of each layer. They divide the heads.
    pub kv_heads: Vec<u32>,
    /// The length of a head's key.
    pub key_length: u32,
    /// The length of a head's value.
    pub value_length: u32,
    /// The length of a head's key and of its value in a layer with a sliding window.
    pub window_head_lengths: (u32, u32),
    /// For each layer, whether it keeps keys and values of its own for every token.
    pub attention_layers: Vec<bool>,
    /// Layers that see a part of the context only.
    pub sliding_window: Option<SlidingWindow>,
    /// Keys and values kept compressed.
    pub mla: Option<Mla>,
    /// Layers that keep a state instead of keys and values.
    pub recurrent: Option<Recurrent>,
    /// Feed-forward networks of which a part runs for each token.
    pub experts: Option<Experts>,

    /// How many tokens it knows.
    pub vocabulary: u32,
    /// How many tokens of context it was trained on.
    pub context_trained: u32,
    /// Whether a token sees only those before it.
    pub causal: bool,
    /// How vectors of tokens become one, if the file says it.
    pub pooling: Option<Pooling>,
    /// How many scores its classifier gives; 1 unless the file names more.
    pub classes: u32,
}

impl ModelShape {
    /// The numbers that a token adds to this layer's cache: those of its key, and those of its value. Both are 0 in a
    /// layer without attention. With [`Mla`] there is one vector, counted as the key
    /// (`llama_kv_cache` of llama.cpp b10200: `has_v = !is_mla`).
    pub fn kv_per_token(&self, layer: usize) -> (u64, u64) {
        if !self.attention_layers.get(layer).is_some_and(|attention| *attention) {
            return (0, 0);
        }
        let windowed = self.sliding_window.as_ref().is_some_and(|window| window.layers[layer]);
        let (key, value) =
            if windowed { self.window_head_lengths } else { (self.key_length, self.value_length) };
        let value = if self.mla.is_some() { 0 } else { value };
        let heads = u64::from(self.kv_heads[layer]);
        (heads * u64::from(key), heads * u64::from(value))
    }
}

impl Gguf {
    /// The hyperparameters, of the types and within the ranges that llama.cpp takes without aborting.
    ///
    /// # Errors
    /// The first value that is wrong, by its key.
    pub fn shape(&self) -> Result<ModelShape, ModelFileError> {
        let architecture = architecture(self)?;
        let keys = Keys { gguf: self, architecture };
        let layers = keys.required("block_count", LAYERS_MAX)?;
        let drafting_layers = drafting(&keys, layers)?;
        let embedding = keys.required("embedding_length", DIMENSION_MAX)?;
        let context_trained = keys.required("context_length", CONTEXT_MAX)?;
        let per_layer = |name: &str, limit: u32| keys.per_layer(name, layers, limit);
        let none = || vec![0; layers as usize];

        let feed_forward = per_layer("feed_forward_length", DIMENSION_MAX)?.unwrap_or_else(none);
        let heads = per_layer("attention.head_count", HEADS_MAX)?.unwrap_or_else(none);
        let kv_heads = per_layer("attention.head_count_kv", HEADS_MAX)?.unwrap_or_else(|| heads.clone());
        attention::check_heads(&keys, &heads, &kv_heads)?;
        let (key_length, value_length) = attention::head_lengths(&keys, embedding, heads[0])?;
        let window_head_lengths = (
            keys.number("attention.key_length_swa", HEADS_MAX)?.unwrap_or(key_length),
            keys.number("attention.value_length_swa", HEADS_MAX)?.unwrap_or(value_length),
        );

        let (recurrent, mut attention_layers) =
            recurrent::recurrent(&keys, embedding, drafting_layers, &heads, &kv_heads, &feed_forward)?;
        let sliding_window = window::window(&keys, layers, drafting_layers, &attention_layers)?;
        attention::share(&keys, &mut attention_layers)?;
        let pooling = Pooling::of(&keys)?;
        let classifier = self.tensor("cls.output.weight").is_some();
        attention::check_scaling(&keys)?;
        weights::check_kinds(self)?;
        check_token_types(&keys)?;

        Ok(ModelShape {
            architecture: architecture.to_owned(),
            purpose: purpose::purpose(architecture, pooling, classifier),
            name: self.text("general.name").map(str::to_owned),
            licence: self.text("general.license").map(str::to_owned),
            quantisation: quantisation::quantisation(self)?,
            // More elements than bytes are possible, but not more than 64 bits count: a block has at most 256.
            parameters: self.tensors.iter().map(crate::Tensor::elements).fold(0, u64::saturating_add),
            weights: Weights::of(self, layers),
            layers,
            drafting_layers,
            embedding,
            embedding_out: keys.number("embedding_length_out", DIMENSION_MAX)?.unwrap_or(embedding),
            feed_forward,
            heads,
            kv_heads,
            key_length,
            value_length,
            window_head_lengths,
            attention_layers,
            sliding_window,
            mla: attention::mla(&keys)?,
            recurrent,
            experts: experts::experts(&keys, layers)?,
            vocabulary: vocabulary::vocabulary(self, architecture)?,
            context_trained,
            causal: attention::causal(&keys)?,
            pooling,
            classes: classes(&keys)?,
        })
    }
}

fn architecture(gguf: &Gguf) -> Result<&str, ModelFileError> {
    match gguf.text(TYPE_KEY) {
        None | Some("model") => {}
        Some(other) => {
            let why = format!("is `{}`: the file holds no model of its own", other.escape_debug());
            return Err(refuse(TYPE_KEY, why));
        }
    }
    let Some(architecture) = gguf.text(ARCHITECTURE_KEY) else {
        return Err(refuse(ARCHITECTURE_KEY, "is no text, or absent"));
    };
    if architecture.is_empty()
        || architecture.len() > ARCHITECTURE_BYTES_MAX
        || !architecture.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
    {
        let why = format!("must be 1 to {ARCHITECTURE_BYTES_MAX} letters, digits, `-`, `_` or `.`");
        return Err(refuse(ARCHITECTURE_KEY, why));
    }
    if architecture == "clip" {
        let why = "is `clip`: the file holds a projector for images, and no model of its own";
        return Err(refuse(ARCHITECTURE_KEY, why));
    }
    Ok(architecture)
}

fn drafting(keys: &Keys<'_>, layers: u32) -> Result<u32, ModelFileError> {
    const NAME: &str = "nextn_predict_layers";
    let drafting = keys.number(NAME, layers)?.unwrap_or(0);
    if drafting == layers {
        return Err(
            keys.refuse(NAME, format!("is {drafting}, and all {layers} layers cannot be for drafting"))
        );
    }
    Ok(drafting)
}

fn classes(keys: &Keys<'_>) -> Result<u32, ModelFileError> {
    const LABELS: &str = "classifier.output_labels";
    match keys.gguf.value(&keys.key(LABELS)) {
        None => Ok(1),
        Some(&Value::Array(Array { kind: ValueType::Text, length, .. })) => {
            u32::try_from(length.max(1)).ok().filter(|classes| *classes <= DIMENSION_MAX).ok_or_else(|| {
                keys.refuse(LABELS, format!("has {length} labels, and at most {DIMENSION_MAX} are read"))
            })
        }
        Some(_) => Err(keys.refuse(LABELS, "must be an array of str")),
    }
}

/// BERT looks a token's type up in a table, which must not be empty.
fn check_token_types(keys: &Keys<'_>) -> Result<(), ModelFileError> {
    if keys.architecture != "bert" {
        return Ok(());
    }
    let types = keys.gguf.value(TOKEN_TYPES_KEY).map(|value| number(TOKEN_TYPES_KEY, value, DIMENSION_MAX));
    match types.transpose()? {
        Some(0) | None => Err(refuse(TOKEN_TYPES_KEY, "is 0 or absent, and must be at least 1")),
        Some(_) => Ok(()),
    }
}
