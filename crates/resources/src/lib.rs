//! The models of this machine and what runs them.
//!
//! **Does**: takes stock of the machine ([`inventory`]), keeps the store of models ([`model_store`]), grants cores,
//! says what a model needs ([`memory`]) and decides who is in memory, verifies a model file before llama.cpp parses it,
//! and finds the replica for a request. **Never** decides a placement (with one machine and fixed cores there is
//! nothing to place), and never begins a load without room for it.
//!
//! The three types to know: [`ModelSpec`] (a model as configured), [`Replicas`] (all that is deployed),
//! [`Route`] (where one request goes).
#![forbid(unsafe_code)]

mod cores;
mod file_digest;
mod granted;
mod house;
pub mod inventory;
mod launch;
pub mod memory;
mod model;
pub mod model_store;
mod replicas;
mod residency;
mod route;
mod size;
mod spec;
mod state;
#[cfg(any(feature = "llama", test))]
mod verify;
mod views;
mod worker_memory;

pub use cores::available_cores;
pub use file_digest::FileDigest;
pub use granted::memory_for_models;
pub use house::Lease;
pub use replicas::Replicas;
pub use route::{Route, RouteError, UnloadError};
pub use size::Size;
pub use spec::{GpuLayers, LoadWhen, ModelSpec, ResourcesError, Source, Stay};
pub use views::{ModelView, ReplicaState, ReplicaView};
