//! resources
use std::{path::PathBuf, sync::Arc, time::Duration};

use engine::{Driver, DriverState, Launch, SequenceStatus};
use scheduler::Load;
use types::{ModelName, SequenceId, Tokens};

/// A model as configured.
#[derive(Debug, Clone)]
pub struct ModelSpec {
    /// Its name.
    pub name: ModelName,
    /// Other names for it.
    pub aliases: Vec<ModelName>,
    /// Where its weights come from.
    pub source: Source,
    /// KV memory of the replica in tokens, shared by its sequences; also the longest sequence.
    pub context: Tokens,
    /// Threads, each on a core of its own. Without it the cores that are left are shared out evenly.
    pub threads: Option<usize>,
    /// Most memory of the worker beside the mapped file, in bytes.
    pub memory_max: Option<u64>,
}

/// Where a model comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A GGUF file; checked against the SHA-256 before anything parses it.
    File {
        /// Where it lies.
        path: PathBuf,
        /// 64 lower-case hexadecimal digits, if configured.
        sha256: Option<String>,
    },
    /// The simulator's mock engine: no weights, deterministic text.
    Simulator,
}

/// A model as callers see it.
#[derive(Debug, Clone)]
pub struct ModelView {
    /// Its name.
    pub name: ModelName,
    /// Other names for it.
    pub aliases: Vec<ModelName>,
    /// Longest sequence.
    pub context: Tokens,
    /// When its replica was made: seconds since 1970.
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
    pub state: DriverState,
    /// How busy it is.
    pub load: Load,
    /// The cores granted to it.
    pub cores: Vec<usize>,
}

/// Where a request goes.
pub struct Route {
    /// What runs it.
    pub driver: Arc<dyn Driver>,
    /// The model's configured name.
    pub model: ModelName,
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
    /// Its engine cannot be started.
    #[error("model `{model}` cannot be used: {why}")]
    Failed {
        /// The model.
        model: ModelName,
        /// What happened and what to do.
        why: String,
        /// When to come back.
        retry_after: Duration,
    },
}

/// All replicas of this machine.
pub struct Replicas;

/// Why the configured models cannot be run together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("resources")]
pub struct ResourcesError;

#[allow(unused)]
impl Replicas {
    /// Starts a replica for each model; returns at once, loading goes on in the background.
    /// `simulated` makes the engines of [`Source::Simulator`] models.
    pub fn start(
        specs: Vec<ModelSpec>,
        simulated: &dyn Fn(&ModelSpec) -> Arc<dyn Launch>,
    ) -> Result<Self, ResourcesError> {
        Ok(Self)
    }
    /// The replica for a model, by name or alias.
    pub fn route(&self, principal: &types::Principal, model: &ModelName) -> Result<Route, RouteError> {
        Err(RouteError::NotDeployed { model: model.clone(), known: String::new() })
    }
    /// The models, in their configured order.
    pub fn models(&self) -> Vec<ModelView> {
        vec![]
    }
    /// The replicas, in the order of their models.
    pub fn replicas(&self) -> Vec<ReplicaView> {
        vec![]
    }
    /// What runs and waits, everywhere.
    pub async fn sequences(&self) -> Vec<(ModelName, SequenceStatus)> {
        vec![]
    }
    /// Ends a sequence, wherever it is.
    pub async fn kill(&self, sequence: SequenceId) -> bool {
        false
    }
    /// Ends all engines: those that run lose their sequences.
    pub async fn stop(&self) {}
}
