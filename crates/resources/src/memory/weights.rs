//! Where the tensors lie: in the mapped file, in a copy of it, or on a device.

use modelfile::{Gguf, ModelShape, Purpose, Tensor, TensorType};

use super::Split;

/// Types that llama.cpp copies into a layout of its own for the processor (`CPU_REPACK` buffer), as this build does
/// it: `ggml_repack_get_optimal_repack_type` of `ggml-cpu/repack.cpp`, with AVX2 on x86-64; a portable build for
/// ARM has none of the instructions that it asks for.
const REPACKED: &[TensorType] = if cfg!(target_arch = "x86_64") {
    &[TensorType::Q4_0, TensorType::Q4_K, TensorType::IQ4_NL, TensorType::MXFP4]
} else {
    &[]
};
/// Rows of a copied tensor are interleaved in groups of this many.
const REPACKED_ROWS: u64 = 8;
/// Tables: rows are looked up in them, and nothing is multiplied (`LLM_TENSOR_INFOS` of `llama-arch.cpp`).
const TABLES: [&str; 4] =
    ["token_embd.weight", "position_embd.weight", "token_types.weight", "per_layer_token_embd.weight"];
/// The output head; a model without one uses the token embedding once more (`TENSOR_DUPLICATED`).
const HEAD: &str = "output.weight";
/// A tensor that belongs to a layer has a name that begins with this and the layer's number.
const LAYER: &str = "blk.";

/// Bytes of tensors, by where they are.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Placed {
    /// All that is computed with, copies included.
    pub(super) weights: Split,
    /// Of the host's, private copies.
    pub(super) repacked: u64,
    /// Bytes of the file that stay mapped between tensors that are used from there.
    pub(super) file_cache: u64,
}

impl Placed {
    /// With `gpu_layers` on devices, counted from the end, the output head first
    /// (`llama_model::load_tensors`: `i_gpu_start`).
    pub(super) fn of(gguf: &Gguf, shape: &ModelShape, gpu_layers: u32) -> Self {
        let first_on_device = first_on_device(shape, gpu_layers);
        let tied = shape.purpose == Purpose::Generate && gguf.tensor(HEAD).is_none();
        let mut placed = Self::default();
        let mut mapped = Span::default();
        for tensor in &gguf.tensors {
            let table = TABLES.contains(&tensor.name.as_str());
            let on_device = match layer(&tensor.name) {
                Some(layer) => layer >= first_on_device,
                None => gpu_layers > 0 && !table,
            };
            if on_device {
                placed.weights.device = placed.weights.device.saturating_add(tensor.bytes);
            } else if !table && is_repacked(tensor) {
                placed.repacked = placed.repacked.saturating_add(tensor.bytes);
            } else {
                mapped.add(tensor);
            }
            if tied && tensor.name == TABLES[0] {
                if gpu_layers > 0 {
                    placed.weights.device = placed.weights.device.saturating_add(tensor.bytes);
                } else if is_repacked(tensor) {
                    placed.repacked = placed.repacked.saturating_add(tensor.bytes);
                }
            }
        }
        placed.weights.host = mapped.used.saturating_add(placed.repacked);
        placed.file_cache = mapped.length().saturating_sub(mapped.used);
        placed
    }
}

/// The first layer that is on a device; the number of layers if none is.
pub(super) fn first_on_device(shape: &ModelShape, gpu_layers: u32) -> u32 {
    (shape.layers + 1).saturating_sub(gpu_layers).min(shape.layers)
}

/// The part of the file that stays mapped: llama.cpp maps it whole, reads it ahead, and unmaps only what lies before
/// the first and behind the last tensor that is used from there (`llama_model_loader::load_all_data`,
/// `unmap_fragment`).
#[derive(Default)]
struct Span {
    used: u64,
    ends: Option<(u64, u64)>,
}

impl Span {
    fn add(&mut self, tensor: &Tensor) {
        let end = tensor.offset.saturating_add(tensor.bytes);
        let (first, last) = self.ends.unwrap_or((tensor.offset, end));
        self.ends = Some((first.min(tensor.offset), last.max(end)));
        self.used = self.used.saturating_add(tensor.bytes);
    }

    fn length(&self) -> u64 {
        self.ends.map_or(0, |(first, last)| last - first)
    }
}

/// Whether the processor computes with a copy of it: a matrix, or a stack of experts.
fn is_repacked(tensor: &Tensor) -> bool {
    let dimensions = tensor.dimensions.iter().rposition(|&length| length > 1).map_or(1, |last| last + 1);
    let shaped = dimensions == 2 || (dimensions == 3 && tensor.name.contains("_exps."));
    shaped
        && REPACKED.contains(&tensor.kind)
        && tensor.name.ends_with(".weight")
        && tensor.dimensions[1].is_multiple_of(REPACKED_ROWS)
}

pub(super) fn layer(name: &str) -> Option<u32> {
    name.strip_prefix(LAYER)?.split('.').next()?.parse().ok()
}
