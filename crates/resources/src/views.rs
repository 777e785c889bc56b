use std::time::Duration;

use engine::{DriverState, Purpose};
use scheduler::Load;
use types::{ModelName, Tokens};

/// A model as callers see it.
#[derive(Debug, Clone)]
pub struct ModelView {
    /// Its name.
    pub name: ModelName,
    /// Other names for it.
    pub aliases: Vec<ModelName>,
    /// What it is made to do; absent as long as its file could not be read.
    pub purpose: Option<Purpose>,
    /// Longest sequence: as configured, or as trained if that is known to be less.
    pub context: Tokens,
    /// When the server took it in: seconds since 1970.
    pub created_at: u64,
    /// Whether it is the simulator's mock.
    pub simulated: bool,
}

/// A replica as `llmos ps` and the metrics show it.
#[derive(Debug, Clone)]
pub struct ReplicaView {
    /// The model it runs.
    pub model: ModelName,
    /// Whether it works.
    pub state: ReplicaState,
    /// How busy it is.
    pub load: Load,
    /// The cores granted to it.
    pub cores: Vec<usize>,
    /// Bytes of main memory that are set aside for it; none when it is not in memory.
    pub memory: Option<u64>,
    /// Bytes that its worker was measured to have, where that was asked for.
    pub resident: Option<u64>,
    /// Requests that hold it in memory.
    pub requests: usize,
    /// Whether it stays in memory once it is there.
    pub pinned: bool,
    /// Whether it is loaded with the server.
    pub loads_at_start: bool,
}

/// Where a replica is in its life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReplicaState {
    /// Not in memory; it is loaded when it is asked for.
    Unloaded,
    /// On its way into memory.
    Loading {
        /// Counts from 1; more than that after a death or a failure.
        attempt: u32,
        /// How much of it is loaded.
        percent: u8,
        /// How long it will still take, as far as that can be judged.
        left: Option<Duration>,
    },
    /// It works.
    Ready {
        /// Process id of the worker, if there is one.
        pid: Option<u32>,
    },
    /// It could not be loaded.
    Failed {
        /// What happened and what to do.
        why: String,
        /// Time until it is tried again: by itself, or with the first request after that.
        retry_in: Option<Duration>,
    },
}

impl From<DriverState> for ReplicaState {
    fn from(state: DriverState) -> Self {
        match state {
            DriverState::Starting { attempt, percent, left, .. } => Self::Loading { attempt, percent, left },
            DriverState::Ready { pid } => Self::Ready { pid },
            DriverState::Failed { why, retry_in } => Self::Failed { why, retry_in },
        }
    }
}
