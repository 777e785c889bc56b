//! llama.cpp in a process of its own.
//!
//! ```text
//! kernel process                           worker process (the same binary, `engine-worker`)
//! LlamaLaunch ── spawn ──────────────────▶ confine itself, load the model, then two threads:
//! LlamaEngine ── Load, Add, Step ─ stdin ─▶ step: batch, decode, sample or pool ── Loaded, Stepped ─▶
//! LlamaTokenizer ─ Encode ─────── stdout ─▶ encode: template, tokenise ─── Tokens ─────────────────▶
//! ```
//!
//! The two Unix sockets are the worker's standard input and output, so it never opens one itself and may be
//! forbidden to. When either closes, the worker ends; when it ends, its sequences do, and nothing else.

mod buffers;
mod confinement;
mod parent;
mod passage;
mod patience;
mod sampler;
mod system_calls;
mod wire;
mod worker;

pub use parent::{LlamaLaunch, WorkerOrder};
pub use patience::Patience;
pub use worker::worker_main;

/// Whether this build has an engine for GPUs. Without one every layer is computed by processors.
pub const COMPUTES_ON_GPUS: bool = cfg!(any(feature = "cuda", feature = "vulkan"));
