//! Where a request goes, and why it has nowhere to go.

use std::{sync::Arc, time::Duration};

use engine::{Driver, Purpose};
use types::ModelName;

use crate::{FileDigest, house::Lease, memory::Split};

/// Where a request goes.
pub struct Route {
    /// What runs it.
    pub driver: Arc<dyn Driver>,
    /// The model's configured name.
    pub model: ModelName,
    /// The hash of its file, once it is loaded.
    pub digest: FileDigest,
    /// What it is made to do.
    pub purpose: Purpose,
    /// Holds the model in memory. Keep it until the last event.
    pub lease: Lease,
}

/// Why a request has nowhere to go.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RouteError {
    /// There is no such model.
    #[error("there is no model `{model}`; there are: {known}")]
    NotDeployed {
        /// What was asked for.
        model: ModelName,
        /// Names that would have worked.
        known: String,
    },
    /// It is of another kind. Nothing was loaded to find that out.
    #[error("model `{model}` is made to {is}, not to {asked}; {able}")]
    WrongPurpose {
        /// The model.
        model: ModelName,
        /// What was asked of it.
        asked: Purpose,
        /// What it can do.
        is: Purpose,
        /// Which models could have done it.
        able: String,
    },
    /// Its engine cannot be started.
    #[error("model `{model}` cannot be used: {why}")]
    Failed {
        /// The model.
        model: ModelName,
        /// What happened and what to do.
        why: String,
        /// When it is tried again.
        retry_after: Duration,
    },
    /// Models that work now have the memory that it needs.
    #[error(
        "model `{model}` is not in memory, and {missing} are missing for it as long as these work: {busy}; try \
         again in {} s",
        .retry_after.as_secs()
    )]
    NoRoom {
        /// The model.
        model: ModelName,
        /// What is missing.
        missing: Split,
        /// Models that work.
        busy: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// Models are brought into memory one at a time, and its turn did not come.
    #[error(
        "model `{model}` is not in memory, and requests for others are waiting to be loaded before it; try again in \
         {} s",
        .retry_after.as_secs()
    )]
    NoTurn {
        /// The model.
        model: ModelName,
        /// When to come back.
        retry_after: Duration,
    },
}

/// Why a model cannot be sent away.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum UnloadError {
    /// There is no such model.
    #[error(transparent)]
    Unknown(#[from] RouteError),
    /// It stays.
    #[error(
        "model `{0}` is pinned: it stays in memory; remove `pinned` from its section and restart to change that"
    )]
    Pinned(ModelName),
    /// It works.
    #[error(
        "model `{model}` works on {requests} request{}; `llmos ps` lists them, `llmos kill` ends one",
        if *.requests == 1 { "" } else { "s" }
    )]
    Busy {
        /// The model.
        model: ModelName,
        /// Requests that have it in use.
        requests: usize,
    },
}
