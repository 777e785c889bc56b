use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use engine::{Driver, DriverState, Launch, Purpose, SequenceStatus, Stepped};
use scheduler::Load;
use types::{ModelName, Principal, SequenceId, Tokens};

use crate::{ModelSpec, ResourcesError, Source, cores};

/// What a caller is told when nothing is known about when a failed model may work.
const FAILED_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Most names listed in an error.
const NAMES_SHOWN_MAX: usize = 16;

/// All replicas of this machine: one for each model.
pub struct Replicas {
    replicas: Vec<Replica>,
    /// Names and aliases.
    by_name: HashMap<ModelName, usize>,
}

struct Replica {
    spec: ModelSpec,
    cores: Vec<usize>,
    created_at: u64,
    driver: Arc<dyn Driver>,
}

/// A model as callers see it.
#[derive(Debug, Clone)]
pub struct ModelView {
    /// Its name.
    pub name: ModelName,
    /// Other names for it.
    pub aliases: Vec<ModelName>,
    /// Longest sequence that is configured.
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

impl Replicas {
    /// Starts a replica for each model; returns at once, loading goes on in the background. Must be called in a
    /// tokio runtime. `simulated` makes the engines of [`Source::Simulator`] models.
    pub fn start(
        specs: Vec<ModelSpec>,
        simulated: &dyn Fn(&ModelSpec) -> Arc<dyn Launch>,
    ) -> Result<Self, ResourcesError> {
        let by_name = names(&specs)?;
        let granted = cores::grant(&specs, &cores::available_cores())?;
        let created_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let mut replicas = Vec::with_capacity(specs.len());
        for (spec, cores) in specs.into_iter().zip(granted) {
            let launch = match &spec.source {
                Source::Simulator => simulated(&spec),
                Source::File { path, sha256 } => file_launch(&spec, path, sha256.as_deref(), &cores)?,
            };
            let driver = Arc::new(Stepped::start(spec.name.to_string(), launch));
            replicas.push(Replica { spec, cores, created_at, driver });
        }
        Ok(Self { replicas, by_name })
    }

    /// The replica for a model, by name or alias. There is one per model, so the principal has no say yet.
    pub fn route(&self, _principal: &Principal, model: &ModelName) -> Result<Route, RouteError> {
        let Some(replica) = self.by_name.get(model).and_then(|&i| self.replicas.get(i)) else {
            return Err(RouteError::NotDeployed { model: model.clone(), known: self.known() });
        };
        if let DriverState::Failed { why, retry_in } = replica.driver.state() {
            let retry_after = retry_in.unwrap_or(FAILED_RETRY_AFTER);
            return Err(RouteError::Failed { model: replica.spec.name.clone(), why, retry_after });
        }
        Ok(Route { driver: replica.driver.clone(), model: replica.spec.name.clone() })
    }

    /// Names of the running models that are made to do this.
    pub fn made_to(&self, purpose: Purpose) -> Vec<&str> {
        let is = |replica: &&Replica| replica.driver.capabilities().is_some_and(|can| can.purpose == purpose);
        let names = self.replicas.iter().filter(is).map(|replica| replica.spec.name.as_str());
        names.take(NAMES_SHOWN_MAX).collect()
    }

    /// The models, in their configured order.
    pub fn models(&self) -> Vec<ModelView> {
        let view = |replica: &Replica| ModelView {
            name: replica.spec.name.clone(),
            aliases: replica.spec.aliases.clone(),
            context: replica.spec.context,
            created_at: replica.created_at,
            simulated: matches!(replica.spec.source, Source::Simulator),
        };
        self.replicas.iter().map(view).collect()
    }

    /// The replicas, in the order of their models.
    pub fn replicas(&self) -> Vec<ReplicaView> {
        let view = |replica: &Replica| ReplicaView {
            model: replica.spec.name.clone(),
            state: replica.driver.state(),
            load: replica.driver.load(),
            cores: replica.cores.clone(),
        };
        self.replicas.iter().map(view).collect()
    }

    /// What runs and waits, everywhere.
    pub async fn sequences(&self) -> Vec<(ModelName, SequenceStatus)> {
        let mut all = Vec::new();
        for replica in &self.replicas {
            let sequences = replica.driver.sequences().await;
            all.extend(sequences.into_iter().map(|status| (replica.spec.name.clone(), status)));
        }
        all
    }

    /// Ends a sequence, wherever it is. False if it is nowhere.
    pub async fn kill(&self, sequence: SequenceId) -> bool {
        for replica in &self.replicas {
            if replica.driver.kill(sequence).await {
                return true;
            }
        }
        false
    }

    fn known(&self) -> String {
        if self.replicas.is_empty() {
            return "none; add a [[model]] to the configuration".to_owned();
        }
        let names = self.replicas.iter().take(NAMES_SHOWN_MAX).map(|replica| replica.spec.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    }
}

fn names(specs: &[ModelSpec]) -> Result<HashMap<ModelName, usize>, ResourcesError> {
    let mut by_name = HashMap::new();
    for (i, spec) in specs.iter().enumerate() {
        for name in std::iter::once(&spec.name).chain(&spec.aliases) {
            if by_name.insert(name.clone(), i).is_some() {
                return Err(ResourcesError::NameTaken(name.clone()));
            }
        }
    }
    Ok(by_name)
}

#[cfg(feature = "llama")]
fn file_launch(
    spec: &ModelSpec,
    path: &std::path::Path,
    sha256: Option<&str>,
    cores: &[usize],
) -> Result<Arc<dyn Launch>, ResourcesError> {
    let program = std::env::current_exe().map_err(|error| ResourcesError::NoProgram(error.to_string()))?;
    Ok(Arc::new(crate::model_file::FileLaunch {
        program,
        path: path.to_owned(),
        sha256: sha256.map(str::to_owned),
        spec: spec.clone(),
        cores: cores.to_vec(),
    }))
}

#[cfg(not(feature = "llama"))]
fn file_launch(
    spec: &ModelSpec,
    _path: &std::path::Path,
    _sha256: Option<&str>,
    _cores: &[usize],
) -> Result<Arc<dyn Launch>, ResourcesError> {
    Err(ResourcesError::NoEngine(spec.name.clone()))
}
