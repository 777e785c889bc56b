//! The models of this machine and what runs them.
//!
//! **Does**: grants cores, verifies a model file before anything parses it, starts a replica for each model, and
//! finds the replica for a request. **Never** decides a placement (with one machine and fixed cores there is
//! nothing to place), and never parses a model file itself.
//!
//! The three types to know: [`ModelSpec`] (a model as configured), [`Replicas`] (all that is deployed),
//! [`Route`] (where one request goes).
#![forbid(unsafe_code)]

mod cores;
pub mod memory;
#[cfg(any(feature = "llama", test))]
mod model_file;
mod replicas;
mod spec;

pub use cores::available_cores;
pub use replicas::{ModelView, ReplicaView, Replicas, Route, RouteError};
pub use spec::{ModelSpec, ResourcesError, Source};
