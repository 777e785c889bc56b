//! How much memory a worker needs, before it is started.
//!
//! **Does**: says from the header of a model file how much its worker holds when it is busy at its limits, part by
//! part ([`estimate`]); whether that fits, and what would ([`fits`]); and keeps what real loads taught
//! ([`Corrections`]). **Never** reads tensor data, and never measures: the figures come from whoever loads.
//!
//! The formulas follow llama.cpp b10200; each says which function of it. Weights, keys and values are exact. What
//! llama.cpp's allocator makes of a graph, and what the C++ and our own heap hold, is not: constants of the second
//! kind are measured on workers, for all models the same, and a load corrects them.
//!
//! ```text
//! header of the file ─ Gguf, ModelShape ─┐
//! context, parallel, threads ─ Workload ─┼─▶ estimate ─▶ MemoryEstimate ─▶ fits ─▶ a worker, or TooBig
//! what loads taught ─ Corrections ───────┘                     │
//!                          ▲                                   ▼
//!                          └────────── learn ◀────── Measured of the loaded worker
//! ```

mod compute;
mod corrections;
mod fit;
mod foresight;
mod kv;
mod overhead;
#[cfg(test)]
mod tests;
mod weights;

use std::{fmt, iter::Sum, ops::Add};

use modelfile::{Gguf, ModelShape, Purpose};
use serde::Serialize;
use types::Tokens;

use crate::Size;

pub use corrections::{Correction, Corrections, CorrectionsError, Measured};
pub use fit::{Available, TooBig, WouldFit, fits, gpu_layers_that_fit};
pub(crate) use foresight::Foresight;
use {compute::Compute, overhead::Overhead, weights::Placed};

/// Most tokens of one step of a model that generates: bounds how long a step lasts, and so how soon a cancelled
/// request is gone.
pub const STEP_TOKENS: u32 = 256;

/// What a worker is started with, as far as its memory depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workload {
    /// KV memory in tokens, shared by all sequences.
    pub context: Tokens,
    /// Most sequences at once.
    pub parallel: u32,
    /// Most tokens of one step.
    pub step: u32,
    /// Threads that compute.
    pub threads: u32,
    /// Layers on devices, counted from the last; one more than there are means the output head too.
    pub gpu_layers: u32,
}

impl Workload {
    /// On the host alone, with the step that workers get: never more tokens than the context has, and never more
    /// sequences than a step has tokens.
    pub fn new(context: Tokens, parallel: u32, threads: u32) -> Self {
        let step = STEP_TOKENS.min(context.0).max(1);
        Self { context, parallel: parallel.clamp(1, step), step, threads: threads.max(1), gpu_layers: 0 }
    }

    /// The same with this many layers on devices.
    #[must_use]
    pub fn on_device(self, gpu_layers: u32) -> Self {
        Self { gpu_layers, ..self }
    }
}

/// Bytes in main memory and on devices.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Split {
    /// In main memory.
    pub host: u64,
    /// On all devices together.
    pub device: u64,
}

impl Split {
    /// Whether there is room for it in `room`.
    #[must_use]
    pub fn fits(self, room: Self) -> bool {
        self.host <= room.host && self.device <= room.device
    }

    /// What is left of it without `other`, on each side at least nothing.
    #[must_use]
    pub fn less(self, other: Self) -> Self {
        Self { host: self.host.saturating_sub(other.host), device: self.device.saturating_sub(other.device) }
    }
}

impl Add for Split {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { host: self.host.saturating_add(other.host), device: self.device.saturating_add(other.device) }
    }
}

impl Sum for Split {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), Add::add)
    }
}

/// What is not nothing: `3.0 MB of main memory and 5.0 MB on devices`.
impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.host, self.device) {
            (host, 0) => write!(f, "{} of main memory", Size(host)),
            (0, device) => write!(f, "{} on devices", Size(device)),
            (host, device) => write!(f, "{} of main memory and {} on devices", Size(host), Size(device)),
        }
    }
}

/// The memory of one worker that is busy at its limits, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MemoryEstimate {
    /// Tensors, where they are computed with.
    pub weights: Split,
    /// Keys and values of the whole context, and states of recurrent layers.
    pub kv: Split,
    /// What a step holds while it is computed.
    pub compute: Split,
    /// Rows of results, and what tokens are drawn from.
    pub output: u64,
    /// The process: vocabulary, graphs, threads, program.
    pub overhead: Split,
    /// Of [`weights`](Self::weights), what llama.cpp copied into a layout of its own.
    pub repacked: u64,
    /// Pages of the file that stay mapped though nothing uses them. The kernel counts them as the worker's, and
    /// takes them back before anything runs short.
    pub file_cache: u64,
    /// Private memory that the worker asks for, used or not: below this its limit (`RLIMIT_DATA`) stops it.
    pub reserved: u64,
    /// What a measurement is compared with.
    #[serde(skip)]
    basis: Basis,
}

/// The uncertain parts as the formula has them, without any correction.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Basis {
    /// Private memory right after the load, but for what is exact.
    heap: u64,
    /// Private memory right after the load that is exact: copied weights, keys and values, rows of results.
    exact: u64,
    /// What llama.cpp reserves for graphs in main memory.
    graph_reserved: u64,
    /// Of it, what depends on how its allocator lays out a layer.
    layer: u64,
    /// Whether all of the model is in main memory: nothing is learnt from others.
    on_host: bool,
}

impl MemoryEstimate {
    /// Main memory that must be there.
    pub fn host(&self) -> u64 {
        let parts = [self.weights.host, self.kv.host, self.compute.host, self.output, self.overhead.host];
        parts.into_iter().fold(0, u64::saturating_add)
    }

    /// Memory of devices that must be there.
    pub fn device(&self) -> u64 {
        let parts = [self.weights.device, self.kv.device, self.compute.device, self.overhead.device];
        parts.into_iter().fold(0, u64::saturating_add)
    }

    /// All that must be there.
    pub fn total(&self) -> u64 {
        self.host().saturating_add(self.device())
    }

    /// What the kernel shows for the worker (its proportional set) while memory is free.
    pub fn resident(&self) -> u64 {
        self.host().saturating_add(self.file_cache)
    }
}

/// Says how much memory a worker for this model and workload needs.
pub fn estimate(
    gguf: &Gguf,
    shape: &ModelShape,
    workload: &Workload,
    corrections: &Corrections,
) -> MemoryEstimate {
    Model::of(gguf, shape).estimate(workload, &corrections.of(shape))
}

/// What of a model the formulas need: read once, estimated often.
struct Model<'a> {
    gguf: &'a Gguf,
    shape: &'a ModelShape,
    layer: compute::LayerWidths,
}

impl<'a> Model<'a> {
    fn of(gguf: &'a Gguf, shape: &'a ModelShape) -> Self {
        Self { gguf, shape, layer: compute::LayerWidths::of(gguf, shape) }
    }

    fn estimate(&self, workload: &Workload, correction: &Correction) -> MemoryEstimate {
        let workload = &self.whole_passages(workload);
        let placed = Placed::of(self.gguf, self.shape, workload.gpu_layers);
        let kv = kv::bytes(self.shape, workload);
        let compute = Compute::of(self.shape, self.layer, workload);
        let overhead = Overhead::of(self.gguf, self.shape, workload);
        let on_device = placed.weights.device > 0;

        let layer = correction.layer(compute.layer);
        let graph = compute.graph(layer);
        let heap = correction.heap(overhead.heap);
        let sum = |parts: &[u64]| parts.iter().copied().fold(0, u64::saturating_add);
        let private = sum(&[placed.repacked, kv.host]);
        let output = compute.rows.saturating_add(compute.candidates);
        let process = sum(&[heap, overhead.busy]);
        MemoryEstimate {
            weights: placed.weights,
            kv,
            // Layers on a device are computed there; the host still embeds tokens and may compute the others.
            compute: Split {
                host: graph.saturating_add(compute.scratch),
                device: if on_device { compute.graph_reserved(layer) } else { 0 },
            },
            output,
            overhead: Split {
                host: process.saturating_add(overhead.program),
                device: if on_device { overhead::DEVICE_BYTES } else { 0 },
            },
            repacked: placed.repacked,
            file_cache: placed.file_cache,
            reserved: sum(&[
                private,
                output,
                compute.graph_reserved(layer),
                compute.scratch,
                process,
                overhead.reserved,
            ]),
            basis: Basis {
                heap: overhead.heap,
                exact: private.saturating_add(compute.rows_loaded),
                graph_reserved: compute.graph_reserved(compute.layer),
                layer: compute.layer,
                on_host: !on_device,
            },
        }
    }

    /// A model that turns texts into vectors reads each as a whole: its step holds the longest, and the same number
    /// of tokens for each sequence, as the worker has it.
    fn whole_passages(&self, workload: &Workload) -> Workload {
        let step = match self.shape.purpose {
            Purpose::Generate => workload.step,
            Purpose::Embed | Purpose::Rank => {
                let longest = workload.step.max(workload.context.0.min(self.shape.context_trained));
                longest.checked_next_multiple_of(workload.parallel.max(1)).unwrap_or(longest)
            }
        };
        Workload { step, ..*workload }
    }
}

/// The product, or the greatest number if it is greater: a file may name any sizes.
fn product(factors: &[u64]) -> u64 {
    factors.iter().copied().fold(1, u64::saturating_mul)
}
