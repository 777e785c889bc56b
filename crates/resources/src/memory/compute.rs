//! What a step holds while it is computed, and what it leaves.
//!
//! llama.cpp builds the graph of the largest step there can be, lays its tensors out so that those share a place
//! that are never needed together (`ggml-alloc.c`), and keeps a buffer of that size. Pages that no real step comes
//! to are never touched: a step has an output for each sequence, not for each token.

use modelfile::{Gguf, ModelShape, Pooling, Purpose, TensorType};

use super::{Workload, kv::Cells, product, weights::layer};

/// Bytes of a number in a graph: `F32`.
const FLOAT: u64 = 4;
/// Bytes of a number of the attention mask: `F16`, as flash attention wants it, which the processor has
/// (`build_attn_inp_kq_mask`, `resolve_fused_ops`).
const MASK: u64 = 2;
/// Bytes of what comes with each token: id, position, places in the KV memory, output.
const TOKEN: u64 = 32;
/// The results of the last layer lie behind this many vectors per token, which the largest step needed before them.
/// Measured: 5 to 6 for all shapes tried.
const VECTORS_BEFORE_RESULTS: u64 = 6;
/// `sizeof(llama_token_data)`: what a sampler keeps of each token of the vocabulary while a sequence generates.
const CANDIDATE: u64 = 12;
/// Tile of flash attention (`GGML_FA_TILE_Q`, `GGML_FA_TILE_KV`).
const TILE: u64 = 64;
/// Widths of what a state-space layer holds at once: its widest projection, convolved, gated and scanned.
const STATE_LAYER_WIDTHS: u64 = 4;

/// Longest row of a tensor that is counted with. A longer one is too big for any machine, and so is this.
const WIDTH_MAX: u64 = 1 << 40;

/// How many numbers per token the widest layer holds at once, and the longest row that is multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LayerWidths {
    live: u64,
    row: u64,
    /// Bytes of a number of that row, quantised for the multiplication, times 32.
    row_number_bytes_by_32: u64,
}

impl LayerWidths {
    /// `build_qkv`, `build_attn_mha`, `build_ffn` and `build_moe_ffn` of `llama-graph.cpp`.
    pub(super) fn of(gguf: &Gguf, shape: &ModelShape) -> Self {
        let embedding = u64::from(shape.embedding);
        let heads = u64::from(shape.heads.iter().copied().max().unwrap_or(0));
        let kv_heads = u64::from(shape.kv_heads.iter().copied().max().unwrap_or(0));
        let (key, value) = (u64::from(shape.key_length), u64::from(shape.value_length));
        let attention = match &shape.mla {
            // Queries, the same in the space of the compressed keys, and these with their positions.
            Some(mla) => {
                let rank = u64::from(mla.kv_rank);
                heads * (u64::from(mla.key_length) + 2 * rank + u64::from(mla.rope))
            }
            // Queries, keys, values, and the result.
            None => heads * (key + value) + kv_heads * (key + value),
        };
        let forward = Forward::of(gguf);
        let experts = shape.experts.as_ref().map_or(0, |experts| {
            let used = u64::from(experts.used.iter().copied().max().unwrap_or(0));
            // Gate, up and their product; then the product and what comes out.
            let inner = forward.expert;
            used * (3 * inner).max(inner + embedding) + u64::from(experts.count)
        });
        let states = if shape.recurrent.is_some() { STATE_LAYER_WIDTHS * forward.widest } else { 0 };
        // What goes around a part of a layer, and what comes out of it or goes in normed.
        let live = (attention + 2 * embedding)
            .max(forward.live + embedding)
            .max(experts + 2 * embedding)
            .max(states + 2 * embedding);
        let row = [embedding, heads * value, forward.inner, forward.expert].into_iter().max().unwrap_or(0);
        Self { live, row, row_number_bytes_by_32: row_number_bytes_by_32(shape) }
    }
}

/// The feed-forward networks, by the rows of their tensors.
#[derive(Default)]
struct Forward {
    /// Gate, up and their product; without a gate only what the activation changes in place.
    live: u64,
    inner: u64,
    expert: u64,
    /// Most rows of any matrix of a layer.
    widest: u64,
}

impl Forward {
    fn of(gguf: &Gguf) -> Self {
        let mut forward = Self::default();
        let mut gated = false;
        for tensor in gguf.tensors.iter().filter(|tensor| layer(&tensor.name).is_some()) {
            let [input, rows, ..] = tensor.dimensions[..] else { continue };
            let (input, rows) = (input.min(WIDTH_MAX), rows.min(WIDTH_MAX));
            forward.widest = forward.widest.max(rows);
            if tensor.name.contains(".ffn_down_exps.") || tensor.name.contains(".ffn_down_shexp.") {
                forward.expert = forward.expert.max(input);
            } else if tensor.name.contains(".ffn_down.") {
                forward.inner = forward.inner.max(input);
            } else if tensor.name.contains(".ffn_up.") {
                // Gate and up in one tensor have twice the rows.
                forward.live = forward.live.max(rows);
            }
            gated |= tensor.name.contains(".ffn_gate.");
        }
        gated |= forward.inner > 0 && forward.live > forward.inner;
        forward.live = if gated { 3 * forward.inner } else { forward.inner };
        forward
    }
}

/// The type that rows are turned into depends on the type of the weights (`type_traits_cpu`, `vec_dot_type`).
fn row_number_bytes_by_32(shape: &ModelShape) -> u64 {
    let most = shape.weights.by_kind.iter().max_by_key(|(_, bytes)| **bytes).map(|(kind, _)| *kind);
    match most {
        Some(TensorType::F32) | None => 0,
        Some(TensorType::F16 | TensorType::BF16) => 32 * 2,
        // Q8_1 has 36 bytes for 32 numbers, Q8_0 and Q8_K a little less.
        Some(_) => 36,
    }
}

/// Bytes of a step, and of what it leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Compute {
    inputs: u64,
    /// What the widest layer holds at once.
    pub(super) layer: u64,
    before_results: u64,
    /// Results of the outputs that a step really has.
    results: u64,
    /// Results if every token of a step had one.
    results_reserved: u64,
    /// What threads work in.
    pub(super) scratch: u64,
    /// Rows of results that are kept for us (`llama_context::output_reserve`).
    pub(super) rows: u64,
    /// Those that are kept from the load on: one for each sequence.
    pub(super) rows_loaded: u64,
    /// What samplers keep.
    pub(super) candidates: u64,
}

impl Compute {
    pub(super) fn of(shape: &ModelShape, widths: LayerWidths, workload: &Workload) -> Self {
        let step = u64::from(workload.step);
        let parallel = u64::from(workload.parallel);
        let vocabulary = u64::from(shape.vocabulary);
        let embedding = u64::from(shape.embedding);
        let cells = Cells::of(shape, workload);
        let has_kv = (0..shape.layers as usize).any(|layer| shape.kv_per_token(layer) != (0, 0));
        let masks = match (has_kv, shape.sliding_window.is_some()) {
            (true, true) => cells.whole.saturating_add(cells.window),
            (true, false) => cells.whole,
            // Without a memory a token sees those of its step (`build_attn_inp_no_cache`).
            (false, false) => step,
            (false, true) => 2 * step,
        };
        let pools = shape.purpose != Purpose::Generate;
        let mean = pools && matches!(shape.pooling, None | Some(Pooling::Mean));
        let inputs = product(&[step, masks, MASK])
            .saturating_add(product(&[step, TOKEN]))
            .saturating_add(if mean { product(&[step, parallel, FLOAT]) } else { 0 });
        let logits = |outputs: u64| product(&[outputs, vocabulary, FLOAT]);
        let (results, results_reserved) = if pools { (0, 0) } else { (logits(parallel), logits(step)) };
        // With vectors a row of logits is kept all the same, and for each token: `has_logits` is always set.
        let row = if pools { vocabulary.saturating_add(u64::from(shape.embedding_out)) } else { vocabulary };
        let rows = |outputs: u64| product(&[outputs, row, FLOAT]);
        let attention =
            TILE * (2 * u64::from(shape.key_length) + 2 * TILE + 2 * u64::from(shape.value_length)) * FLOAT;
        let rows_quantised = product(&[step, widths.row, widths.row_number_bytes_by_32]) / 32;
        Self {
            inputs,
            layer: product(&[step, widths.live, FLOAT]),
            before_results: product(&[step, embedding, VECTORS_BEFORE_RESULTS, FLOAT]),
            results,
            results_reserved,
            scratch: rows_quantised.max(product(&[attention, u64::from(workload.threads)])),
            rows: if pools { rows(step.max(parallel)) } else { rows(parallel) },
            rows_loaded: rows(parallel),
            candidates: if pools { 0 } else { product(&[parallel, vocabulary, CANDIDATE]) },
        }
    }

    /// What steps touch of the graph's buffer, if the widest layer holds `layer` bytes.
    pub(super) fn graph(&self, layer: u64) -> u64 {
        self.inputs.saturating_add(self.peak(layer, self.results))
    }

    /// The graph's buffer.
    pub(super) fn graph_reserved(&self, layer: u64) -> u64 {
        self.inputs.saturating_add(self.peak(layer, self.results_reserved))
    }

    fn peak(&self, layer: u64, results: u64) -> u64 {
        layer.max(self.before_results.min(layer).saturating_add(results))
    }
}
