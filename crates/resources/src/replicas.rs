use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use engine::{DriverState, Launch, Purpose, SequenceStatus};
use tokio::{
    task::JoinHandle,
    time::{Instant as Clock, timeout_at},
};
use types::{ModelName, Principal, SequenceId};

use crate::{
    ModelSpec, ModelView, ReplicaState, ReplicaView, ResourcesError, Route, RouteError, UnloadError, cores,
    granted,
    house::{self, Brought, House},
    memory::{Corrections, Foresight, Split},
    model::Model,
    residency::{Eagerness, Residency, Rights},
    state::{LEFT_ALONE, State},
    worker_memory,
};

/// How long a request waits until its model begins to load: for its turn, and until models that work make room.
const ROOM_WAIT: Duration = Duration::from_secs(20);

/// All models of this machine, in memory or not: one replica for each.
pub struct Replicas {
    house: Arc<House>,
    /// Loads what is loaded with the server, then sends away whose time is over.
    keeper: JoinHandle<()>,
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
        let foresight = Arc::new(Foresight::new(corrections));
        let mut models = Vec::with_capacity(specs.len());
        for (spec, grant) in specs.into_iter().zip(grants) {
            models.push(Model::new(spec, grant, created_at, memory, &foresight, simulated)?);
        }
        let rights = models
            .iter()
            .map(|model| Rights { pinned: model.spec.stay.pinned, keep_alive: model.spec.stay.keep_alive });
        let memory = Split { host: memory, device: granted::device_memory_for_models() };
        let state = State::new(Residency::new(memory, rights), models.len());
        let house = Arc::new(House::new(models, by_name, state));
        let keeper = tokio::spawn(house::keep(house.clone()));
        Ok(Self { house, keeper })
    }

    /// A model's configured name, by name or alias.
    pub fn name(&self, model: &ModelName) -> Result<&ModelName, RouteError> {
        Ok(self.house.name(self.find(model)?))
    }

    /// The replica for a model, by name or alias; loads it if it is not in memory and suits one of `purposes`, the
    /// first of which is what was asked for. There is one per model, so the principal has no say yet. Waits, with a
    /// bound, while models that work have the memory it needs.
    pub async fn route(
        &self,
        _principal: &Principal,
        model: &ModelName,
        purposes: &[Purpose],
    ) -> Result<Route, RouteError> {
        let (house, model) = (&self.house, self.find(model)?);
        if let Some(known) = house.models[model].last_known() {
            house.suits(model, known.purpose, purposes)?;
        }
        if let Some(route) = house.lease(model) {
            return usable(route);
        }
        house.left_alone(model)?;
        let Ok(_place) = house.waiters.try_acquire() else { return Err(house.no_turn(model)) };
        let deadline = Clock::now() + ROOM_WAIT;
        let prospect = house.prospect(model).await?;
        house.suits(model, prospect.purpose, purposes)?;
        loop {
            let attempt = timeout_at(deadline, house.bring(model, Eagerness::MakeRoom));
            let (needed, missing) = match attempt.await.map_err(|_| house.no_turn(model))?? {
                Brought::There(route) => return usable(route),
                Brought::NoRoom { needed, missing } => (needed, missing),
            };
            let room = async {
                loop {
                    // Listening begins before the look, so that no change is missed in between.
                    let changed = house.changed.notified();
                    if house.has_room(model, needed) {
                        return;
                    }
                    changed.await;
                }
            };
            timeout_at(deadline, room).await.map_err(|_| house.no_room(model, missing))?;
        }
    }

    /// Brings a model into memory, if it is not there, and tries again what had failed for good. Returns as soon as
    /// the load has begun.
    pub async fn load(&self, model: &ModelName) -> Result<(), RouteError> {
        let (house, model) = (&self.house, self.find(model)?);
        house.state().forgive(model);
        let attempt = timeout_at(Clock::now() + ROOM_WAIT, house.bring(model, Eagerness::MakeRoom));
        match attempt.await.map_err(|_| house.no_turn(model))?? {
            Brought::There(_) => Ok(()),
            Brought::NoRoom { missing, .. } => Err(house.no_room(model, missing)),
        }
    }

    /// Sends a model away, now. One that is not in memory is gone already.
    pub async fn unload(&self, model: &ModelName) -> Result<(), UnloadError> {
        let model = self.find(model)?;
        let house = self.house.clone();
        // Carried through also when whoever asked goes away.
        tokio::spawn(async move { house.dismiss(model).await }).await.unwrap_or(Ok(()))
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

/// The route, unless its engine cannot be started.
fn usable(route: Route) -> Result<Route, RouteError> {
    match route.driver.state() {
        DriverState::Failed { why, retry_in } => {
            Err(RouteError::Failed { model: route.model, why, retry_after: retry_in.unwrap_or(LEFT_ALONE) })
        }
        _ => Ok(route),
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
