//! Layers that keep a state of fixed size instead of keys and values: Mamba, RWKV and what mixes them with attention.

use serde::Serialize;

use super::{DIMENSION_MAX, HEADS_MAX, keys::Keys};
use crate::ModelFileError;

/// Layers whose memory does not grow with the context. Sizes are in numbers of 32-bit floats, per layer and sequence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Recurrent {
    /// For each layer, whether it keeps a state.
    pub layers: Vec<bool>,
    /// The last inputs of its convolution or its token shift (`n_embd_r` of llama.cpp).
    pub shift_floats: u64,
    /// The state itself (`n_embd_s` of llama.cpp).
    pub state_floats: u64,
}

/// Which layers of an architecture keep a state, and which keys and values
/// (`llama_model::create_memory` of llama.cpp b10200).
enum Mix {
    /// All keep a state, none keys and values.
    All,
    /// All keep both.
    Both,
    /// Those without heads for keys and values keep a state.
    WithoutHeads,
    /// The same, but for those with a feed-forward network, which keep nothing.
    WithoutHeadsAndFeedForward,
    /// All but every so manieth keep a state, unless the file says it.
    AllButEvery(u32),
}

fn mix(architecture: &str) -> Option<Mix> {
    Some(match architecture {
        "mamba" | "mamba2" | "rwkv6" | "rwkv6qwen2" | "rwkv7" | "arwkv7" => Mix::All,
        "falcon-h1" => Mix::Both,
        "jamba" | "plamo2" | "granitehybrid" | "lfm2" | "lfm2moe" | "kimi-linear" | "kimi-k3"
        | "bailingmoe3" | "glm5-next" => Mix::WithoutHeads,
        "nemotron_h" | "nemotron_h_moe" => Mix::WithoutHeadsAndFeedForward,
        "qwen3next" | "qwen35" | "qwen35moe" | "qwen4exp" => Mix::AllButEvery(4),
        "minimax-01" => Mix::AllButEvery(8),
        _ => return None,
    })
}

/// The layers with a state, and for each layer whether it keeps keys and values.
pub(super) fn recurrent(
    keys: &Keys<'_>,
    embedding: u32,
    drafting: u32,
    heads: &[u32],
    kv_heads: &[u32],
    feed_forward: &[u32],
) -> Result<(Option<Recurrent>, Vec<bool>), ModelFileError> {
    let count = kv_heads.len();
    let main = count - drafting as usize;
    let Some(mix) = mix(keys.architecture) else { return Ok((None, vec![true; count])) };
    let (mut state, mut attention) = match mix {
        Mix::All => (vec![true; count], vec![false; count]),
        Mix::Both => (vec![true; count], vec![true; count]),
        Mix::WithoutHeads => split(kv_heads.iter().map(|heads| *heads == 0)),
        Mix::WithoutHeadsAndFeedForward => (
            (0..count).map(|layer| kv_heads[layer] == 0 && feed_forward[layer] == 0).collect(),
            (0..count).map(|layer| kv_heads[layer] != 0 && feed_forward[layer] == 0).collect(),
        ),
        Mix::AllButEvery(preset) => split(every(keys, count as u32, preset)?.into_iter()),
    };
    state[main..].fill(false);
    attention[main..].fill(false);
    let (shift_floats, state_floats) = sizes(keys, embedding, heads)?;
    let recurrent = state.contains(&true).then_some(Recurrent { layers: state, shift_floats, state_floats });
    Ok((recurrent, attention))
}

fn split(state: impl Iterator<Item = bool>) -> (Vec<bool>, Vec<bool>) {
    state.map(|state| (state, !state)).unzip()
}

fn every(keys: &Keys<'_>, layers: u32, preset: u32) -> Result<Vec<bool>, ModelFileError> {
    const LISTED: &str = "attention.recurrent_layers";
    const INTERVAL: &str = "full_attention_interval";
    if let Some(listed) = keys.truths(LISTED, layers)? {
        return Ok(listed);
    }
    if let Some(all) = keys.per_layer(LISTED, layers, 1)? {
        return Ok(all.into_iter().map(|one| one != 0).collect());
    }
    let interval = keys.number(INTERVAL, DIMENSION_MAX)?.unwrap_or(preset);
    if interval == 0 {
        // llama.cpp divides by it.
        return Err(keys.refuse(INTERVAL, "is 0, and must be at least 1"));
    }
    Ok((0..layers).map(|layer| !(layer + 1).is_multiple_of(interval)).collect())
}

/// `llama_hparams::n_embd_r` and `n_embd_s` of llama.cpp b10200.
fn sizes(keys: &Keys<'_>, embedding: u32, heads: &[u32]) -> Result<(u64, u64), ModelFileError> {
    let dimension = |name: &str| -> Result<Option<u64>, ModelFileError> {
        match keys.number(name, DIMENSION_MAX)? {
            // llama.cpp divides by most of them.
            Some(0) => Err(keys.refuse(name, format!("is 0, and must be 1 to {DIMENSION_MAX}"))),
            other => Ok(other.map(u64::from)),
        }
    };
    let embedding = u64::from(embedding);
    let heads = u64::from(heads.first().copied().unwrap_or(0).min(HEADS_MAX));
    if let Some(head) = dimension("wkv.head_size")? {
        let shifts = keys.number("token_shift_count", DIMENSION_MAX)?.map_or(2, u64::from);
        return Ok((shifts * embedding, embedding * head));
    }
    if keys.architecture.contains("rwkv") {
        return Err(keys.refuse("wkv.head_size", "is absent"));
    }
    if let Some(cache) = dimension("shortconv.l_cache")? {
        return Ok((embedding * (cache - 1), 0));
    }
    let convolution = dimension("ssm.conv_kernel")?;
    if let Some(head) = dimension("kda.head_dim")? {
        return Ok((3 * convolution.map_or(3, |kernel| kernel - 1) * heads * head, head * head * heads));
    }
    let inner = dimension("ssm.inner_size")?.unwrap_or(0);
    let state = dimension("ssm.state_size")?.unwrap_or(0);
    let groups = keys.number("ssm.group_count", DIMENSION_MAX)?.map_or(0, u64::from);
    dimension("ssm.time_step_rank")?;
    let shift = convolution.map_or(0, |kernel| kernel - 1) * (inner + 2 * groups * state);
    if keys.architecture == "minimax-01" {
        let head = dimension("attention.key_length")?.unwrap_or(embedding / heads.max(1));
        return Ok((shift, head * head * heads));
    }
    Ok((shift, state * inner))
}
