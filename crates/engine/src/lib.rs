//! engine
mod driver;
mod step_engine;
pub use driver::{Driver, DriverState, EngineError, EventStream, SequenceStatus, Work};
pub use step_engine::{Fragment, Launch, LaunchError, Loaded, ModelCard, StepEngine, Tokenizer};
