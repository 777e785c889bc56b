use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use engine::{Driver, DriverState, Launch, Purpose, SequenceStatus};
use tokio::{
    sync::{Notify, Semaphore},
    task::JoinHandle,
    time::{Instant as Clock, timeout_at},
};
use types::{ModelName, Principal, SequenceId};

use crate::{
    LoadWhen, ModelSpec, ModelView, ReplicaState, ReplicaView, ResourcesError, cores, granted,
    memory::{Corrections, Foresight},
    model::Model,
    residency::{Decision, Eagerness, Residency, Rights},
    state::State,
    worker_memory,
};

/// How long a request waits until models that work make room for its own.
const ROOM_WAIT: Duration = Duration::from_secs(20);
/// Requests that wait for room; further ones are told at once when to come back.
const ROOM_WAITERS_MAX: usize = 256;
/// When a caller is asked to come back where models that work are in the way: generations take about as long.
const ROOM_RETRY_AFTER: Duration = Duration::from_secs(15);
/// What a caller is told when nothing is known about when a failed model may work.
const FAILED_RETRY_AFTER: Duration = Duration::from_secs(60);
/// Most names listed in an error.
const NAMES_SHOWN_MAX: usize = 16;

/// All models of this machine, in memory or not: one replica for each.
pub struct Replicas {
    house: Arc<House>,
    /// Loads what is loaded with the server, then sends away whose time is over.
    keeper: JoinHandle<()>,
}

/// What leases and background work share.
struct House {
    models: Vec<Model>,
    /// Names and aliases.
    by_name: HashMap<ModelName, usize>,
    state: Mutex<State>,
    /// A lease has ended, or memory is free: whoever waits for room looks again.
    changed: Notify,
    /// One model is brought or sent away at a time.
    moves: tokio::sync::Mutex<()>,
    room_waiters: Semaphore,
    started: Clock,
}

/// Where a request goes.
pub struct Route {
    /// What runs it.
    pub driver: Arc<dyn Driver>,
    /// The model's configured name.
    pub model: ModelName,
    /// Holds the model in memory. Keep it until the last event.
    pub lease: Lease,
}

/// As long as it lives, its model stays in memory.
pub struct Lease {
    house: Arc<House>,
    model: usize,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let now = self.house.now();
        self.house.state().residency.release(now, self.model);
        self.house.changed.notify_waiters();
    }
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
    /// Models that work now have the memory that it needs.
    #[error(
        "model `{model}` is not in memory, and {missing_mb} MB are missing for it as long as these work: {busy}; try \
         again in {} s",
        .retry_after.as_secs()
    )]
    NoRoom {
        /// The model.
        model: ModelName,
        /// Megabytes.
        missing_mb: u64,
        /// Models that work.
        busy: String,
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
    #[error("model `{model}` works on {requests} requests; `llmos ps` lists them, `llmos kill` ends one")]
    Busy {
        /// The model.
        model: ModelName,
        /// Requests that have it in use.
        requests: usize,
    },
}

impl Replicas {
    /// Takes in the models and begins to load those that are loaded with the server; returns at once. Must be called
    /// in a tokio runtime. All models together take at most `memory` bytes. `simulated` makes the engines of
    /// [`Source::Simulator`](crate::Source::Simulator) models; `corrections` is what earlier loads taught.
    pub fn start(
        specs: Vec<ModelSpec>,
        memory: u64,
        corrections: Corrections,
        simulated: &dyn Fn(&ModelSpec) -> Arc<dyn Launch>,
    ) -> Result<Self, ResourcesError> {
        let by_name = names(&specs)?;
        let grants = cores::grant(&specs, &cores::available_cores())?;
        let created_at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let foresight = Arc::new(Foresight::new(corrections, granted::device_memory_for_models()));
        let mut models = Vec::with_capacity(specs.len());
        for (spec, grant) in specs.into_iter().zip(grants) {
            models.push(Model::new(spec, grant, created_at, memory, &foresight, simulated)?);
        }
        let rights = models
            .iter()
            .map(|model| Rights { pinned: model.spec.stay.pinned, keep_alive: model.spec.stay.keep_alive });
        let state = State::new(Residency::new(memory, rights), models.len());
        let house = Arc::new(House {
            models,
            by_name,
            state: Mutex::new(state),
            changed: Notify::new(),
            moves: tokio::sync::Mutex::new(()),
            room_waiters: Semaphore::new(ROOM_WAITERS_MAX),
            started: Clock::now(),
        });
        let keeper = tokio::spawn(keep(house.clone()));
        Ok(Self { house, keeper })
    }

    /// The replica for a model, by name or alias; loads it if it is not in memory. There is one per model, so the
    /// principal has no say yet. Waits, with a bound, while models that work have the memory it needs.
    pub async fn route(&self, _principal: &Principal, model: &ModelName) -> Result<Route, RouteError> {
        let model = self.find(model)?;
        let house = &self.house;
        if let Some(route) = house.lease(model) {
            return usable(route);
        }
        let deadline = Clock::now() + ROOM_WAIT;
        let place = house.room_waiters.try_acquire();
        loop {
            // Listening begins before the attempt, so that no change is missed in between.
            let changed = house.changed.notified();
            let missing = match house.carried_through(model, Eagerness::MakeRoom).await? {
                Brought::There(route) => return usable(route),
                Brought::NoRoom { missing } => missing,
            };
            if place.is_err() || timeout_at(deadline, changed).await.is_err() {
                return Err(house.no_room(model, missing));
            }
        }
    }

    /// Brings a model into memory, if it is not there, and tries again what had failed for good. Returns as soon as
    /// the load has begun.
    pub async fn load(&self, model: &ModelName) -> Result<(), RouteError> {
        let model = self.find(model)?;
        if matches!(self.house.view(model).state, ReplicaState::Failed { retry_in: None, .. }) {
            let _moving = self.house.moves.lock().await;
            let mut state = self.house.state();
            state.failures[model] = None;
            // Looked at again under the lock: somebody else may have begun a new load.
            let failed = |driver: &Arc<engine::Stepped>| {
                matches!(driver.state(), DriverState::Failed { retry_in: None, .. })
            };
            if state.drivers[model].as_ref().is_some_and(failed) {
                state.residency.give_up(model);
                state.drivers[model] = None;
            }
        }
        match self.house.carried_through(model, Eagerness::MakeRoom).await? {
            Brought::There(_) => Ok(()),
            Brought::NoRoom { missing } => Err(self.house.no_room(model, missing)),
        }
    }

    /// Sends a model away, now. One that is not in memory is gone already.
    pub async fn unload(&self, model: &ModelName) -> Result<(), UnloadError> {
        let model = self.find(model)?;
        let house = self.house.clone();
        // Carried through also when whoever asked goes away.
        tokio::spawn(async move { house.dismiss(model).await }).await.unwrap_or(Ok(()))
    }

    /// Names of the running models that are made to do this.
    pub fn made_to(&self, purpose: Purpose) -> Vec<ModelName> {
        let drivers = self.house.drivers().into_iter();
        let able =
            drivers.filter(|(_, driver)| driver.capabilities().is_some_and(|can| can.purpose == purpose));
        able.map(|(name, _)| name).take(NAMES_SHOWN_MAX).collect()
    }

    /// The models, in their configured order.
    pub fn models(&self) -> Vec<ModelView> {
        self.house.models.iter().map(Model::view).collect()
    }

    /// The replicas, in the order of their models.
    pub fn replicas(&self) -> Vec<ReplicaView> {
        (0..self.house.models.len()).map(|model| self.house.view(model)).collect()
    }

    /// The same, with what their workers are measured to have. What cannot be measured is left out.
    pub async fn measured(&self) -> Vec<ReplicaView> {
        let mut replicas = self.replicas();
        let measuring = tokio::task::spawn_blocking(move || {
            for replica in &mut replicas {
                if let ReplicaState::Ready { pid: Some(pid) } = replica.state {
                    replica.resident = worker_memory::resident(pid).ok();
                }
            }
            replicas
        });
        measuring.await.unwrap_or_else(|_| self.replicas())
    }

    /// What runs and waits, everywhere.
    pub async fn sequences(&self) -> Vec<(ModelName, SequenceStatus)> {
        let mut all = Vec::new();
        for (name, driver) in self.house.drivers() {
            let sequences = driver.sequences().await;
            all.extend(sequences.into_iter().map(|status| (name.clone(), status)));
        }
        all
    }

    /// Ends a sequence, wherever it is. False if it is nowhere.
    pub async fn kill(&self, sequence: SequenceId) -> bool {
        for (_, driver) in self.house.drivers() {
            if driver.kill(sequence).await {
                return true;
            }
        }
        false
    }

    fn find(&self, model: &ModelName) -> Result<usize, RouteError> {
        let absent = || RouteError::NotDeployed { model: model.clone(), known: self.house.known() };
        self.house.by_name.get(model).copied().ok_or_else(absent)
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

enum Brought {
    There(Route),
    NoRoom { missing: u64 },
}

impl House {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> types::Instant {
        types::Instant { nanos: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX) }
    }

    /// A lease of a model that is in memory or on its way there.
    fn lease(self: &Arc<Self>, model: usize) -> Option<Route> {
        let mut state = self.state();
        let driver = state.drivers[model].clone()?;
        let leased = state.residency.lease(self.now(), model);
        drop(state);
        let lease = leased.then(|| Lease { house: self.clone(), model })?;
        Some(Route { driver, model: self.models[model].spec.name.clone(), lease })
    }

    /// [`bring`](Self::bring), also when whoever asked goes away half way.
    async fn carried_through(
        self: &Arc<Self>,
        model: usize,
        eagerness: Eagerness,
    ) -> Result<Brought, RouteError> {
        let house = self.clone();
        tokio::spawn(async move { house.bring(model, eagerness).await }).await.unwrap_or_else(|_| {
            Err(self.failed(model, "its load was broken off by a defect of llmos; see the log".to_owned()))
        })
    }

    /// Begins to load a model, after sending away whoever has to go for it.
    async fn bring(self: Arc<Self>, model: usize, eagerness: Eagerness) -> Result<Brought, RouteError> {
        let _moving = self.moves.lock().await;
        if let Some(route) = self.lease(model) {
            return Ok(Brought::There(route));
        }
        let needed = self.models[model].memory_needed().await;
        let bytes = match needed {
            Ok(bytes) => bytes,
            Err(why) => {
                self.state().failures[model] = Some(why.clone());
                return Err(self.failed(model, why));
            }
        };
        let decision = {
            let mut state = self.state();
            state.failures[model] = None;
            state.residency.want(self.now(), model, bytes, eagerness)
        };
        match decision {
            Decision::Present => {}
            Decision::Busy { missing } => return Ok(Brought::NoRoom { missing }),
            Decision::TooBig { room } => {
                let why = self.models[model].too_big(bytes, room).await;
                self.state().failures[model] = Some(why.clone());
                return Err(self.failed(model, why));
            }
            Decision::Load { unload } => {
                for victim in unload {
                    tracing::info!(
                        model = %self.models[victim].spec.name,
                        makes_room_for = %self.models[model].spec.name,
                        "unloading: least recently used"
                    );
                    self.send_away(victim).await;
                }
                let driver = self.models[model].start();
                self.state().drivers[model] = Some(driver);
            }
        }
        self.lease(model)
            .map(Brought::There)
            .ok_or_else(|| self.failed(model, "it is being unloaded".to_owned()))
    }

    /// Ends the engine of a model that is noted as gone already, and waits until its memory is free.
    async fn send_away(&self, model: usize) {
        let driver = self.state().drivers[model].take();
        if let Some(driver) = driver {
            driver.end().await;
        }
        self.changed.notify_waiters();
    }

    async fn dismiss(&self, model: usize) -> Result<(), UnloadError> {
        let _moving = self.moves.lock().await;
        let name = || self.models[model].spec.name.clone();
        let (present, dismissed, requests) = {
            let mut state = self.state();
            let present = state.residency.is_present(model);
            (present, state.residency.dismiss(model), state.residency.leases(model))
        };
        match (present, dismissed) {
            (false, _) => Ok(()),
            (true, false) if requests > 0 => Err(UnloadError::Busy { model: name(), requests }),
            (true, false) => Err(UnloadError::Pinned(name())),
            (true, true) => {
                self.send_away(model).await;
                Ok(())
            }
        }
    }

    fn failed(&self, model: usize, why: String) -> RouteError {
        let model = self.models[model].spec.name.clone();
        RouteError::Failed { model, why, retry_after: FAILED_RETRY_AFTER }
    }

    fn no_room(&self, model: usize, missing: u64) -> RouteError {
        let state = self.state();
        let busy = (0..self.models.len()).filter(|&i| state.residency.leases(i) > 0);
        let busy: Vec<&str> = busy.take(NAMES_SHOWN_MAX).map(|i| self.models[i].spec.name.as_str()).collect();
        RouteError::NoRoom {
            model: self.models[model].spec.name.clone(),
            missing_mb: missing.div_ceil(1_000_000),
            busy: busy.join(", "),
            retry_after: ROOM_RETRY_AFTER,
        }
    }

    fn drivers(&self) -> Vec<(ModelName, Arc<dyn Driver>)> {
        let state = self.state();
        let named = self.models.iter().zip(&state.drivers);
        named
            .filter_map(|(model, driver)| {
                let driver: Arc<dyn Driver> = driver.clone()?;
                Some((model.spec.name.clone(), driver))
            })
            .collect()
    }

    fn view(&self, model: usize) -> ReplicaView {
        let state = self.state();
        let driver = state.drivers[model].clone();
        let failure = state.failures[model].clone();
        let (memory, requests) = (state.residency.taken(model), state.residency.leases(model));
        drop(state);
        let state = match (&driver, failure) {
            (Some(driver), _) => driver.state().into(),
            (None, Some(why)) => ReplicaState::Failed { why, retry_in: None },
            (None, None) => ReplicaState::Unloaded,
        };
        let load = driver.map(|driver| driver.load()).unwrap_or_default();
        self.models[model].replica_view(state, load, memory, requests)
    }

    fn known(&self) -> String {
        if self.models.is_empty() {
            return "none; add a [[model]] to the configuration".to_owned();
        }
        let names = self.models.iter().take(NAMES_SHOWN_MAX).map(|model| model.spec.name.as_str());
        names.collect::<Vec<_>>().join(", ")
    }
}

/// The route, unless its engine cannot be started.
fn usable(route: Route) -> Result<Route, RouteError> {
    match route.driver.state() {
        DriverState::Failed { why, retry_in } => Err(RouteError::Failed {
            model: route.model,
            why,
            retry_after: retry_in.unwrap_or(FAILED_RETRY_AFTER),
        }),
        _ => Ok(route),
    }
}

/// Loads what is loaded with the server, pinned models first; then sends away whose time is over, as long as the
/// server runs.
async fn keep(house: Arc<House>) {
    let with_the_server = |&i: &usize| house.models[i].spec.stay.load == LoadWhen::Start;
    let mut first: Vec<usize> = (0..house.models.len()).filter(with_the_server).collect();
    first.sort_by_key(|&i| !house.models[i].spec.stay.pinned);
    for model in first {
        let name = house.models[model].spec.name.clone();
        match house.carried_through(model, Eagerness::IfFree).await {
            Ok(Brought::There(_)) => {}
            Ok(Brought::NoRoom { missing }) => tracing::warn!(
                model = %name,
                missing_mb = missing.div_ceil(1_000_000),
                "no room beside the models before it: it is loaded when it is asked for"
            ),
            Err(error) => tracing::error!(model = %name, %error, "not loaded"),
        }
    }
    loop {
        let changed = house.changed.notified();
        let next = house.state().residency.next_expiry();
        let until = |at: types::Instant| house.started + Duration::from_nanos(at.nanos);
        match next {
            Some(next) => drop(timeout_at(until(next), changed).await),
            None => changed.await,
        }
        let _moving = house.moves.lock().await;
        let due = {
            let now = house.now();
            house.state().residency.expire(now)
        };
        for model in due {
            tracing::info!(model = %house.models[model].spec.name, "unloading: unused for its `keep_alive_s`");
            house.send_away(model).await;
        }
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
