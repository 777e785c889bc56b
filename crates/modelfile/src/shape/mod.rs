//! What a model is: its hyperparameters, read once, checked together, in one struct.

mod keys;
mod purpose;
mod recurrent;
mod vocabulary;
mod weights;
mod window;

#[cfg(test)]
mod tests;

use serde::Serialize;

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
const FILE_TYPE_KEY: &str = "general.file_type";
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

/// Multi-head latent attention (`DeepSeek`): one compressed vector per token instead of keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Mla {
    /// The length of the compressed vector.
    pub kv_rank: u32,
    /// The length of what of a key carries the position, which is kept beside it.
    pub rope: u32,
    /// The length of a head's key when unpacked.
    pub key_length: u32,
    /// The length of a head's value when unpacked.
    pub value_length: u32,
}

/// Mixture of experts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Experts {
    /// How many a layer has.
    pub count: u32,
    /// How many of them run for a token, in each layer.
    pub used: Vec<u32>,
    /// How many run for every token.
    pub shared: u32,
    /// The inner length of one, in each layer; 0 where the file does not say.
    pub feed_forward: Vec<u32>,
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
        check_heads(&keys, &heads, &kv_heads)?;
        let (key_length, value_length) = head_lengths(&keys, embedding, heads[0])?;
        let window_head_lengths = (
            keys.number("attention.key_length_swa", HEADS_MAX)?.unwrap_or(key_length),
            keys.number("attention.value_length_swa", HEADS_MAX)?.unwrap_or(value_length),
        );

        let (recurrent, mut attention_layers) =
            recurrent::recurrent(&keys, embedding, drafting_layers, &heads, &kv_heads, &feed_forward)?;
        let sliding_window = window::window(&keys, layers, drafting_layers, &attention_layers)?;
        share(&keys, &mut attention_layers)?;
        let pooling = Pooling::of(&keys)?;
        let classifier = self.tensor("cls.output.weight").is_some();
        check_scaling(&keys)?;
        check_token_types(&keys)?;

        Ok(ModelShape {
            architecture: architecture.to_owned(),
            purpose: purpose::purpose(architecture, pooling, classifier),
            name: self.text("general.name").map(str::to_owned),
            licence: self.text("general.license").map(str::to_owned),
            quantisation: quantisation(self)?,
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
            mla: mla(&keys)?,
            recurrent,
            experts: experts(&keys, layers)?,
            vocabulary: vocabulary::vocabulary(self, architecture)?,
            context_trained,
            causal: causal(&keys)?,
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

/// ggml aborts where the heads for keys and values do not divide the heads.
fn check_heads(keys: &Keys<'_>, heads: &[u32], kv_heads: &[u32]) -> Result<(), ModelFileError> {
    for (layer, (&heads, &kv)) in heads.iter().zip(kv_heads).enumerate() {
        if kv != 0 && !heads.is_multiple_of(kv) {
            let why = format!("is {kv} for layer {layer}, and must divide its {heads} heads");
            return Err(keys.refuse("attention.head_count_kv", why));
        }
    }
    Ok(())
}

/// The lengths of a key and of a value: of the file, or the embedding shared among the heads of the first layer.
fn head_lengths(keys: &Keys<'_>, embedding: u32, heads: u32) -> Result<(u32, u32), ModelFileError> {
    const ROPE: &str = "rope.dimension_count";
    let Some(shared) = embedding.checked_div(heads) else { return Ok((0, 0)) };
    let key = keys.number("attention.key_length", HEADS_MAX)?.unwrap_or(shared);
    let value = keys.number("attention.value_length", HEADS_MAX)?.unwrap_or(shared);
    for (name, length) in [("attention.key_length", key), ("attention.value_length", value)] {
        if length == 0 {
            return Err(keys.refuse(
                name,
                format!("is 0 or not given, and {heads} heads share an embedding of {embedding}"),
            ));
        }
    }
    // ggml aborts where positions need more of a key than there is.
    if let Some(rope) = keys.number(ROPE, HEADS_MAX)?
        && (rope > key || rope % 2 != 0)
    {
        return Err(
            keys.refuse(ROPE, format!("is {rope}, and must be even and at most the key length {key}"))
        );
    }
    Ok((key, value))
}

/// Layers that use the keys and values of earlier ones keep none themselves.
fn share(keys: &Keys<'_>, attention: &mut [bool]) -> Result<(), ModelFileError> {
    const NAME: &str = "attention.shared_kv_layers";
    /// `gemma3n` has this many layers with keys and values of their own, in all its sizes.
    const GEMMA3N_LAYERS: usize = 20;
    match keys.architecture {
        "gemma3n" => attention.iter_mut().skip(GEMMA3N_LAYERS).for_each(|layer| *layer = false),
        "gemma4" => {
            let layers = attention.len();
            let shared = keys.number(NAME, u32::MAX)?.unwrap_or(0) as usize;
            // llama.cpp aborts where fewer than two layers are left.
            if shared > 0 && shared + 2 > layers {
                return Err(keys.refuse(
                    NAME,
                    format!("is {shared}, and two of the {layers} layers must share nothing"),
                ));
            }
            attention[layers - shared..].fill(false);
        }
        // No memory at all: `llama_model::create_memory` of llama.cpp b10200.
        "dream" | "llada" | "llada-moe" | "rnd1" | "clef" => attention.fill(false),
        other if purpose::is_embedder(other) && !matches!(other, "llama-embed" | "t5encoder") => {
            attention.fill(false)
        }
        _ => {}
    }
    Ok(())
}

fn check_scaling(keys: &Keys<'_>) -> Result<(), ModelFileError> {
    keys.check_one_of("rope.scaling.type", &["none", "linear", "yarn", "longrope"])?;
    for name in ["layer_norm_epsilon", "layer_norm_rms_epsilon", "group_norm_epsilon"] {
        keys.check_epsilon(&format!("attention.{name}"))?;
    }
    Ok(())
}

fn mla(keys: &Keys<'_>) -> Result<Option<Mla>, ModelFileError> {
    const KEY: &str = "attention.key_length_mla";
    let key_length = keys.number(KEY, HEADS_MAX)?.unwrap_or(0);
    let value_length = keys.number("attention.value_length_mla", HEADS_MAX)?.unwrap_or(0);
    match (key_length, value_length) {
        (0, 0) => Ok(None),
        (0, _) | (_, 0) => {
            Err(keys.refuse(KEY, "and `attention.value_length_mla` must both be given, or none"))
        }
        _ => Ok(Some(Mla {
            kv_rank: keys.required("attention.kv_lora_rank", DIMENSION_MAX)?,
            rope: keys.number("rope.dimension_count", HEADS_MAX)?.unwrap_or(0),
            key_length,
            value_length,
        })),
    }
}

/// The rules that llama.cpp asserts (`llama_model_base::load_hparams`, b10200).
fn experts(keys: &Keys<'_>, layers: u32) -> Result<Option<Experts>, ModelFileError> {
    const COUNT: &str = "expert_count";
    const USED: &str = "expert_used_count";
    const GROUPS: &str = "expert_group_count";
    const GROUPS_USED: &str = "expert_group_used_count";
    let mut count = keys.number(COUNT, EXPERTS_MAX)?.unwrap_or(0);
    let mut used = keys.per_layer(USED, layers, EXPERTS_MAX)?.unwrap_or_else(|| vec![0; layers as usize]);
    if count <= 1 && ["hunyuan_vl", "hunyuan-dense"].contains(&keys.architecture) {
        count = 0;
        used.fill(0);
    }
    let most = used.iter().copied().max().unwrap_or(0);
    let groups = keys.number(GROUPS, EXPERTS_MAX)?.unwrap_or(0);
    let groups_used = keys.number(GROUPS_USED, EXPERTS_MAX)?.unwrap_or(0);
    if most > count || (count > 0 && most == 0) {
        return Err(keys.refuse(USED, format!("is {most} of {count} experts")));
    }
    if groups > 0 && (groups >= count || (groups > 1 && !count.is_multiple_of(groups))) {
        return Err(keys
            .refuse(GROUPS, format!("is {groups}, and must be a divisor of {count} experts, and not all")));
    }
    if groups > 1 && !(1..groups).contains(&groups_used) {
        return Err(keys.refuse(
            GROUPS_USED,
            format!("is {groups_used}, and must be 1 to {} of {groups} groups", groups - 1),
        ));
    }
    if count == 0 {
        return Ok(None);
    }
    let feed_forward = keys.per_layer("expert_feed_forward_length", layers, DIMENSION_MAX)?;
    Ok(Some(Experts {
        count,
        used,
        shared: keys.number("expert_shared_count", EXPERTS_MAX)?.unwrap_or(0),
        feed_forward: feed_forward.unwrap_or_else(|| vec![0; layers as usize]),
    }))
}

fn causal(keys: &Keys<'_>) -> Result<bool, ModelFileError> {
    let said = keys.truth("attention.causal")?;
    // These set it whatever the file says.
    let never = ["dream", "llada", "llada-moe", "rnd1", "gemma-embedding"].contains(&keys.architecture);
    Ok(!never && said.unwrap_or(true))
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

/// `llama_ftype` of llama.cpp b10200, by number.
const QUANTISATIONS: [(u32, &str); 36] = [
    (0, "F32"),
    (1, "F16"),
    (2, "Q4_0"),
    (3, "Q4_1"),
    (7, "Q8_0"),
    (8, "Q5_0"),
    (9, "Q5_1"),
    (10, "Q2_K"),
    (11, "Q3_K_S"),
    (12, "Q3_K_M"),
    (13, "Q3_K_L"),
    (14, "Q4_K_S"),
    (15, "Q4_K_M"),
    (16, "Q5_K_S"),
    (17, "Q5_K_M"),
    (18, "Q6_K"),
    (19, "IQ2_XXS"),
    (20, "IQ2_XS"),
    (21, "Q2_K_S"),
    (22, "IQ3_XS"),
    (23, "IQ3_XXS"),
    (24, "IQ1_S"),
    (25, "IQ4_NL"),
    (26, "IQ3_S"),
    (27, "IQ3_M"),
    (28, "IQ2_S"),
    (29, "IQ2_M"),
    (30, "IQ4_XS"),
    (31, "IQ1_M"),
    (32, "BF16"),
    (36, "TQ1_0"),
    (37, "TQ2_0"),
    (38, "MXFP4"),
    (39, "NVFP4"),
    (40, "Q1_0"),
    (41, "Q2_0"),
];

/// A number that is not known is no name: the types of the tensors are what counts.
fn quantisation(gguf: &Gguf) -> Result<Option<String>, ModelFileError> {
    let Some(value) = gguf.value(FILE_TYPE_KEY) else { return Ok(None) };
    let number = number(FILE_TYPE_KEY, value, u32::MAX)?;
    Ok(QUANTISATIONS.iter().find(|(known, _)| *known == number).map(|(_, name)| (*name).to_owned()))
}
