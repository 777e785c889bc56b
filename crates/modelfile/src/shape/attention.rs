//! Heads, their lengths, and what they keep for each token.

use serde::Serialize;

use super::{DIMENSION_MAX, HEADS_MAX, keys::Keys, purpose};
use crate::ModelFileError;

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

/// ggml aborts where the heads for keys and values do not divide the heads.
pub(super) fn check_heads(keys: &Keys<'_>, heads: &[u32], kv_heads: &[u32]) -> Result<(), ModelFileError> {
    for (layer, (&heads, &kv)) in heads.iter().zip(kv_heads).enumerate() {
        if kv != 0 && !heads.is_multiple_of(kv) {
            let why = format!("is {kv} for layer {layer}, and must divide its {heads} heads");
            return Err(keys.refuse("attention.head_count_kv", why));
        }
    }
    Ok(())
}

/// The lengths of a key and of a value: of the file, or the embedding shared among the heads of the first layer.
pub(super) fn head_lengths(
    keys: &Keys<'_>,
    embedding: u32,
    heads: u32,
) -> Result<(u32, u32), ModelFileError> {
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
pub(super) fn share(keys: &Keys<'_>, attention: &mut [bool]) -> Result<(), ModelFileError> {
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
            attention.fill(false);
        }
        _ => {}
    }
    Ok(())
}

pub(super) fn check_scaling(keys: &Keys<'_>) -> Result<(), ModelFileError> {
    keys.check_one_of("rope.scaling.type", &["none", "linear", "yarn", "longrope"])?;
    for name in ["layer_norm_epsilon", "layer_norm_rms_epsilon", "group_norm_epsilon"] {
        keys.check_epsilon(&format!("attention.{name}"))?;
    }
    Ok(())
}

pub(super) fn mla(keys: &Keys<'_>) -> Result<Option<Mla>, ModelFileError> {
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

pub(super) fn causal(keys: &Keys<'_>) -> Result<bool, ModelFileError> {
    let said = keys.truth("attention.causal")?;
    // These set it whatever the file says.
    let never = ["dream", "llada", "llada-moe", "rnd1", "gemma-embedding"].contains(&keys.architecture);
    Ok(!never && said.unwrap_or(true))
}
