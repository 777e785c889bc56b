//! Drivers: what runs a model.
//!
//! **Does**: turns a step engine and a scheduler into a [`Driver`] ([`Stepped`]); runs llama.cpp in a worker
//! process of its own (feature `llama`); renders chat templates. **Never** chooses which sequence runs: that is
//! the scheduler's plan.
//!
//! The three types to know: [`Driver`] (takes work, gives events), [`StepEngine`] (carries out one plan),
//! [`Stepped`] (makes the first of the second).
//!
//! The path of the data:
//! ```text
//! GenerateRequest ─ Tokenizer::encode ─ Arrival ─▶ Scheduler ─ plan ─▶ StepEngine::step ─ tokens ─▶ TextStream ─▶ Event
//!                   (worker, 2nd socket)           (kernel process)    (worker, 1st socket)
//! ```
//! A model that embeds or ranks takes the same way: each passage is a sequence of which nothing is generated, and what
//! comes out is a vector.

mod delivery;
mod driver;
mod embed;
#[cfg(feature = "llama")]
pub mod llama;
mod prepare;
mod progress;
mod step_engine;
mod stepped;
pub mod template;
mod text;
mod turns;

pub use driver::{Driver, DriverState, EmbedWork, Embedded, EngineError, EventStream, SequenceStatus, Work};
pub use modelfile::Purpose;
pub use progress::LoadProgress;
pub use step_engine::{
    Capabilities, Launch, LaunchError, Loaded, ModelCard, StepEngine, StepResult, Tokenizer,
};
pub use stepped::Stepped;
pub use turns::Turns;
