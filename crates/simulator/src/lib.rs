//! A mock engine and a replay, driving the *same* scheduler and driver as the real engines.
//!
//! **Does**: [`MockEngine`], a step engine without weights whose text and vectors depend on the prompt alone;
//! [`replay`](replay::replay), which runs a scheduler over arrivals in virtual time. **Never** is a second
//! implementation of anything that it simulates.
//!
//! The virtual clock: the mock's steps take `tokio` time, so a test with paused time runs hours in
//! milliseconds; the replay carries its own [`types::Instant`].
//!
//! ```
//! use simulator::replay::{StepTime, Visit, replay};
//! use std::time::Duration;
//! use scheduler::{Limits, Scheduler};
//! use types::{Instant, Tokens};
//!
//! let limits = Limits {
//!     kv: Tokens(4096), sequence_max: Tokens(2048), step: Tokens(256), running_max: 8, waiting_max: 64,
//! };
//! let visits = vec![Visit { at: Instant::default(), prompt: Tokens(100), answer: Tokens(3) }];
//! let ends = replay(&mut Scheduler::new(limits), &visits, StepTime::default());
//! assert_eq!(ends[0].unwrap().generated, Tokens(3));
//! ```
#![forbid(unsafe_code)]

mod bags;
mod mock;
pub mod replay;

pub use mock::{MockEngine, MockLaunch};
