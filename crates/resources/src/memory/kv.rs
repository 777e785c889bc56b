//! What is kept of the tokens that a sequence has: keys and values, or a state.

use modelfile::ModelShape;

use super::{Split, Workload, product, weights::first_on_device};

/// llama.cpp rounds contexts up to this many tokens (`llama_context::llama_context`, `llama_kv_cache_iswa`).
const CELLS_STEP: u64 = 256;
/// Bytes of a number of a key or value: `F16` (`llama_context_default_params`: `type_k`, `type_v`).
const NUMBER_BYTES: u64 = 2;
/// Bytes of a number of a state: `F32` (`llama_model::create_memory`).
const STATE_NUMBER_BYTES: u64 = 4;

/// Tokens that there is room for, in a layer that sees everything and in one with a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cells {
    pub(super) whole: u64,
    pub(super) window: u64,
}

impl Cells {
    /// `llama_kv_cache_iswa::llama_kv_cache_iswa` with `swa_full = false` and a unified memory: a window for each
    /// sequence, and room for one step.
    pub(super) fn of(shape: &ModelShape, workload: &Workload) -> Self {
        let round = |tokens: u64| tokens.next_multiple_of(CELLS_STEP);
        let whole = round(u64::from(workload.context.0));
        let window = shape.sliding_window.as_ref().map_or(whole, |window| {
            let tokens = u64::from(window.tokens) * u64::from(workload.parallel);
            round(whole.min(tokens + u64::from(workload.step)))
        });
        Self { whole, window }
    }
}

/// Bytes of all layers, each where its weights are (`offload_kqv`).
pub(super) fn bytes(shape: &ModelShape, workload: &Workload) -> Split {
    let cells = Cells::of(shape, workload);
    let first_on_device = first_on_device(shape, workload.gpu_layers);
    let mut split = Split::default();
    // Layers that only draft are never run, and have no memory.
    for layer in 0..shape.layers.saturating_sub(shape.drafting_layers) {
        let index = layer as usize;
        let windowed =
            shape.sliding_window.as_ref().is_some_and(|window| window.layers.get(index) == Some(&true));
        let (key, value) = shape.kv_per_token(index);
        let tokens = if windowed { cells.window } else { cells.whole };
        let cached = product(&[tokens, key.saturating_add(value), NUMBER_BYTES]);
        let state = shape.recurrent.as_ref().filter(|recurrent| recurrent.layers.get(index) == Some(&true));
        let state =
            state.map_or(0, |recurrent| recurrent.shift_floats.saturating_add(recurrent.state_floats));
        let state = product(&[u64::from(workload.parallel), state, STATE_NUMBER_BYTES]);
        let part = if layer >= first_on_device { &mut split.device } else { &mut split.host };
        *part = part.saturating_add(cached).saturating_add(state);
    }
    split
}
