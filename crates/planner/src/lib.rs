//! Plans near the optimum, each with a bound and a proof: flow, allocation, task graphs, placement. Pure.
//!
//! **Does**: solves, bounds and verifies. **Never** knows the time, a file, a thread or a socket: how long it may search is a
//! [`Budget`] of evaluations and a [`Control`] that is asked on the way, and its randomness is a seed. So the same input
//! gives the same plan on any machine, and a solver can be stopped at any moment with the best plan so far.
//!
//! All objectives are whole numbers. No floating-point mathematics of the platform decides anything.
#![forbid(unsafe_code)]

pub mod allocation;
mod control;
pub mod flow;
pub mod job_shop;
mod one_machine;
pub mod placement;
mod random;
pub mod rcpsp;
pub mod task_graph;
mod words;

pub use control::{Budget, Control, Progress, Unlimited};
pub use random::Random;
pub use words::ReadError;
