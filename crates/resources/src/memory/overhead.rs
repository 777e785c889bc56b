//! What a worker holds beside the model and its steps.

use modelfile::{Gguf, ModelShape, gguf::Value};

use super::{Workload, kv::Cells, product};

/// Pages of the program and of libraries, of which the kernel process and others have their share. Measured.
const PROGRAM_BYTES: u64 = 7_000_000;
/// Heap of a worker that has no vocabulary and no graph. Measured.
const HEAP_BYTES: u64 = 2_000_000;
/// A token of the vocabulary: in llama.cpp an entry of `id_to_token` (40), of `token_to_id` (64, and 12 of its
/// buckets), of `cache_token_to_piece` (32) and of the list of all ids (4); with us its text, for the kernel process
/// (24, and 32 on the heap); and what the reader of the file had of it (40), which the heap keeps.
const TOKEN_BYTES: u64 = 208 + 40;
/// A merge of a byte-pair vocabulary: an entry of `bpe_ranks` (96) and its bucket (10), and the reader's text (32).
const MERGE_BYTES: u64 = 106 + 32;
/// A cell of the KV memory: `llama_kv_cells` holds position, place, shift and the set of 256 sequences.
const CELL_BYTES: u64 = 4 + 12 + 4 + 32;
/// A cell in use: a node of `used` and one of `seq_pos`.
const CELL_USED_BYTES: u64 = 96;
/// A node of a graph: `ggml_tensor_overhead` (368), and its part of `ggml_graph_overhead_custom` (40).
const NODE_BYTES: u64 = 368 + 40;
/// Graphs that are kept: one is made while loading, two by steps (`gf_res_reserve`, `gf_res_prev`).
const GRAPHS_LOADED: u64 = 1;
const GRAPHS_BUSY: u64 = 2;
/// Nodes of a graph (`llama_context::graph_max_nodes`): at least so many, and so many for each tensor.
const NODES_MIN: u64 = 1024;
const NODES_PER_TENSOR: u64 = 8;
/// What the graph scheduler sets aside for each node and never uses on one device (`ggml_backend_sched_new`: 60
/// copies of a tensor of 336 bytes, and 4 lists of 4 bytes for each).
const NODE_RESERVED_BYTES: u64 = 60 * (336 + 16);
/// What a thread touches of its stack and of its heap.
const THREAD_BYTES: u64 = 100_000;
/// What a thread sets aside: its stack.
const THREAD_RESERVED_BYTES: u64 = 8 << 20;
/// What a device's own runtime holds on it. Not measured here: what CUDA's context is known to take.
pub(super) const DEVICE_BYTES: u64 = 512 << 20;

/// Bytes beside the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Overhead {
    /// Shared pages of program and libraries.
    pub(super) program: u64,
    /// Private memory right after the load.
    pub(super) heap: u64,
    /// What comes to it once requests run.
    pub(super) busy: u64,
    /// What is set aside and not used.
    pub(super) reserved: u64,
}

impl Overhead {
    pub(super) fn of(gguf: &Gguf, shape: &ModelShape, workload: &Workload) -> Self {
        let nodes = NODES_MIN.max(NODES_PER_TENSOR * gguf.tensors.len() as u64);
        let has_kv = (0..shape.layers as usize).any(|layer| shape.kv_per_token(layer) != (0, 0));
        let cells = if has_kv { Cells::of(shape, workload) } else { Cells { whole: 0, window: 0 } };
        let cells = if shape.sliding_window.is_some() { cells.whole + cells.window } else { cells.whole };
        // One of those that compute is the first of the process; in its place comes the one that tokenises.
        let threads = u64::from(workload.threads);
        let vocabulary = product(&[u64::from(shape.vocabulary), TOKEN_BYTES])
            .saturating_add(product(&[merges(gguf), MERGE_BYTES]));
        let heap = [
            HEAP_BYTES,
            vocabulary,
            product(&[GRAPHS_LOADED, nodes, NODE_BYTES]),
            product(&[cells, CELL_BYTES]),
        ];
        let busy = [
            product(&[GRAPHS_BUSY, nodes, NODE_BYTES]),
            product(&[cells, CELL_USED_BYTES]),
            product(&[threads, THREAD_BYTES]),
        ];
        Self {
            program: PROGRAM_BYTES,
            heap: heap.into_iter().fold(0, u64::saturating_add),
            busy: busy.into_iter().fold(0, u64::saturating_add),
            reserved: product(&[nodes, NODE_RESERVED_BYTES])
                .saturating_add(product(&[threads, THREAD_RESERVED_BYTES])),
        }
    }
}

fn merges(gguf: &Gguf) -> u64 {
    match gguf.value("tokenizer.ggml.merges") {
        Some(Value::Array(merges)) => merges.length,
        _ => 0,
    }
}
