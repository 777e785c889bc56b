//! Brings models into memory and sends them away, one at a time, as [`Residency`](crate::residency::Residency)
//! decides.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use engine::{Driver, Purpose, Stepped};
use tokio::{
    sync::{Notify, Semaphore, oneshot},
    time::{Instant as Clock, timeout_at},
};
use types::ModelName;

use crate::{
    LoadWhen, ReplicaState, ReplicaView, Route, RouteError, UnloadError,
    memory::Split,
    model::{Model, Prospect},
    residency::{Decision, Eagerness},
    state::{Failure, State},
};

/// Requests that wait for a model to be brought into memory; further ones are told at once when to come back.
const WAITERS_MAX: usize = 256;
/// When a caller is asked to come back where models that work are in the way: generations take about as long.
const ROOM_RETRY_AFTER: Duration = Duration::from_secs(15);
/// Most names listed in an error.
const NAMES_SHOWN_MAX: usize = 16;

/// What replicas, leases and background work share.
pub(crate) struct House {
    pub(crate) models: Vec<Model>,
    /// Names and aliases.
    pub(crate) by_name: HashMap<ModelName, usize>,
    state: Mutex<State>,
    /// A lease has ended, or memory is free: whoever waits for room looks again.
    pub(crate) changed: Notify,
    /// One model is brought or sent away at a time.
    moves: tokio::sync::Mutex<()>,
    pub(crate) waiters: Semaphore,
    started: Clock,
}

/// As long as it lives, its model stays in memory.
pub struct Lease {
    house: Arc<House>,
    model: usize,
}

impl Drop for Lease {
    fn drop(&mut self) {
        let now = self.house.now();
        if self.house.state().residency.release(now, self.model) {
            self.house.changed.notify_waiters();
        }
    }
}

/// What came of an attempt to bring a model into memory.
pub(crate) enum Brought {
    /// It is in memory, or on its way there.
    There(Route),
    /// Of what it needs so much is missing, as long as others work.
    NoRoom { needed: Split, missing: Split },
}

/// Proof that nobody else brings a model or sends one away.
struct Turn<'a>(#[expect(dead_code, reason = "held")] tokio::sync::MutexGuard<'a, ()>);

impl House {
    pub(crate) fn new(models: Vec<Model>, by_name: HashMap<ModelName, usize>, state: State) -> Self {
        Self {
            models,
            by_name,
            state: Mutex::new(state),
            changed: Notify::new(),
            moves: tokio::sync::Mutex::new(()),
            waiters: Semaphore::new(WAITERS_MAX),
            started: Clock::now(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn name(&self, model: usize) -> &ModelName {
        &self.models[model].spec.name
    }

    fn now(&self) -> types::Instant {
        types::Instant { nanos: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX) }
    }

    async fn turn(&self) -> Turn<'_> {
        Turn(self.moves.lock().await)
    }

    /// A lease of a model that is in memory or on its way there.
    pub(crate) fn lease(self: &Arc<Self>, model: usize) -> Option<Route> {
        let purpose = self.models[model].last_known()?.purpose;
        let mut state = self.state();
        state.settle(self.now(), model);
        let driver = state.drivers[model].clone()?;
        let leased = state.residency.lease(self.now(), model);
        drop(state);
        let lease = leased.then(|| Lease { house: self.clone(), model })?;
        let (name, digest) = (self.name(model).clone(), self.models[model].digest.clone());
        Some(Route { driver, model: name, digest, purpose, lease })
    }

    /// Why a model is left alone for now, if it is.
    pub(crate) fn left_alone(&self, model: usize) -> Result<(), RouteError> {
        let state = self.state();
        let failure = state.failure(model).filter(|failure| !failure.retry_in(self.now()).is_zero());
        failure.map_or(Ok(()), |failure| Err(self.failed(model, failure)))
    }

    /// What a model that is not in memory is and would need now. If that cannot be found out, it has failed.
    pub(crate) async fn prospect(&self, model: usize) -> Result<Prospect, RouteError> {
        let device_free = self.state().residency.free().device;
        self.models[model].prospect(device_free).await.map_err(|why| self.fail(model, why))
    }

    /// Whether a model that needs these bytes would get into memory now.
    pub(crate) fn has_room(&self, model: usize, bytes: Split) -> bool {
        !matches!(self.state().residency.judge(model, bytes, Eagerness::MakeRoom), Decision::Busy { .. })
    }

    /// Brings a model into memory when it is its turn. What has begun is carried through, also when whoever asked goes
    /// away; for one who has gone before nothing begins.
    pub(crate) async fn bring(
        self: &Arc<Self>,
        model: usize,
        eagerness: Eagerness,
    ) -> Result<Brought, RouteError> {
        let house = self.clone();
        let (mut answer, heard) = oneshot::channel();
        tokio::spawn(async move {
            let turn = tokio::select! {
                biased;
                () = answer.closed() => return,
                turn = house.turn() => turn,
            };
            if let Some(route) = house.lease(model) {
                let _ = answer.send(Ok(Brought::There(route)));
                return;
            }
            if let Err(error) = house.left_alone(model) {
                let _ = answer.send(Err(error));
                return;
            }
            let brought = match house.prospect(model).await {
                Ok(_) if answer.is_closed() => return,
                Ok(prospect) => house.make_room(&turn, model, prospect, eagerness).await,
                Err(error) => Err(error),
            };
            let _ = answer.send(brought);
        });
        heard.await.unwrap_or_else(|_| {
            Err(self.fail(model, "its load was broken off by a defect of llmos; see the log".to_owned()))
        })
    }

    /// Begins to load a model, after sending away whoever has to go for it.
    async fn make_room(
        self: &Arc<Self>,
        turn: &Turn<'_>,
        model: usize,
        prospect: Prospect,
        eagerness: Eagerness,
    ) -> Result<Brought, RouteError> {
        let decision = self.state().residency.want(self.now(), model, prospect.memory, eagerness);
        match decision {
            Decision::Present => {}
            Decision::Busy { missing } => {
                return Ok(Brought::NoRoom { needed: prospect.memory, missing });
            }
            Decision::TooBig { room } => {
                let why = self.models[model].too_big(prospect.memory, room).await;
                return Err(self.fail(model, why + &self.beside_pinned()));
            }
            Decision::Load { unload } => {
                for victim in unload {
                    let (name, makes_room_for) = (self.name(victim), self.name(model));
                    tracing::info!(model = %name, %makes_room_for, "unloading: least recently used");
                    self.send_away(turn, victim).await;
                }
                let driver = self.models[model].start(prospect.gpu_layers);
                self.watch(model, &driver);
                let mut state = self.state();
                state.forgive(model);
                state.drivers[model] = Some(driver);
            }
        }
        let route = self.lease(model).map(Brought::There);
        route.ok_or_else(|| self.fail(model, "it was unloaded as soon as it was loaded".to_owned()))
    }

    /// Notes it when an engine has failed for good, so that its memory is there for others. Ends when the engine does.
    fn watch(self: &Arc<Self>, model: usize, driver: &Stepped) {
        let failed = driver.failed_for_good();
        let house = Arc::downgrade(self);
        tokio::spawn(async move {
            failed.await;
            let Some(house) = house.upgrade() else { return };
            let now = house.now();
            house.state().settle(now, model);
            // Also if somebody else has seen it before: those who wait for its room have not heard of it.
            house.changed.notify_waiters();
        });
    }

    /// Ends the engine of a model that is noted as gone already, and waits until its memory is free.
    async fn send_away(&self, _turn: &Turn<'_>, model: usize) {
        let driver = self.state().drivers[model].take();
        if let Some(driver) = driver {
            driver.end().await;
        }
        self.changed.notify_waiters();
    }

    /// Sends a model away on an operator's word.
    pub(crate) async fn dismiss(&self, model: usize) -> Result<(), UnloadError> {
        let turn = self.turn().await;
        let (present, dismissed, requests) = {
            let mut state = self.state();
            let present = state.residency.is_present(model);
            (present, state.residency.dismiss(model), state.residency.leases(model))
        };
        match (present, dismissed) {
            (false, _) => Ok(()),
            (true, false) if requests > 0 => {
                Err(UnloadError::Busy { model: self.name(model).clone(), requests })
            }
            (true, false) => Err(UnloadError::Pinned(self.name(model).clone())),
            (true, true) => {
                self.send_away(&turn, model).await;
                Ok(())
            }
        }
    }

    /// Notes why a model cannot be loaded.
    fn fail(&self, model: usize, why: String) -> RouteError {
        let failure = self.state().fail(self.now(), model, why);
        self.failed(model, &failure)
    }

    fn failed(&self, model: usize, failure: &Failure) -> RouteError {
        let (model, retry_after) = (self.name(model).clone(), failure.retry_in(self.now()));
        let why = format!(
            "{}; it is tried again with the first request after {} s, or at once by `llmos load {model}`",
            failure.why,
            retry_after.as_secs_f64().ceil()
        );
        RouteError::Failed { model, why, retry_after }
    }

    pub(crate) fn no_turn(&self, model: usize) -> RouteError {
        RouteError::NoTurn { model: self.name(model).clone(), retry_after: ROOM_RETRY_AFTER }
    }

    pub(crate) fn no_room(&self, model: usize, missing: Split) -> RouteError {
        let busy = {
            let state = self.state();
            self.names(|i| state.residency.leases(i) > 0)
        };
        RouteError::NoRoom {
            model: self.name(model).clone(),
            missing,
            busy: busy.unwrap_or_else(|| "none any more".to_owned()),
            retry_after: ROOM_RETRY_AFTER,
        }
    }

    /// What pinned models have to do with it that another does not fit.
    fn beside_pinned(&self) -> String {
        let pinned = {
            let state = self.state();
            self.names(|i| self.models[i].spec.stay.pinned && state.residency.is_present(i))
        };
        pinned.map(|names| format!("; pinned models have the rest: {names}")).unwrap_or_default()
    }

    /// Refuses what a model is not made for; the first of `purposes` is what was asked, the others would do too.
    pub(crate) fn suits(&self, model: usize, is: Purpose, purposes: &[Purpose]) -> Result<(), RouteError> {
        if purposes.contains(&is) {
            return Ok(());
        }
        let known = |i: usize| self.models[i].last_known().map(|known| known.purpose);
        let able = self.names(|i| known(i).is_some_and(|purpose| purposes.contains(&purpose)));
        Err(RouteError::WrongPurpose {
            model: self.name(model).clone(),
            asked: purposes.first().copied().unwrap_or_default(),
            is,
            able: match able {
                Some(names) => format!("use one of: {names}"),
                None => "no configured model is".to_owned(),
            },
        })
    }

    pub(crate) fn known(&self) -> String {
        self.names(|_| true).unwrap_or_else(|| "none; add a [[model]] to the configuration".to_owned())
    }

    /// The names of those for which `that` holds; none if it holds for nobody.
    fn names(&self, that: impl Fn(usize) -> bool) -> Option<String> {
        let which = (0..self.models.len()).filter(|&i| that(i)).take(NAMES_SHOWN_MAX);
        let names: Vec<&str> = which.map(|i| self.name(i).as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    pub(crate) fn drivers(&self) -> Vec<(ModelName, Arc<dyn Driver>)> {
        let state = self.state();
        let named = self.models.iter().zip(&state.drivers);
        named
            .filter_map(|(model, driver)| {
                let driver: Arc<dyn Driver> = driver.clone()?;
                Some((model.spec.name.clone(), driver))
            })
            .collect()
    }

    pub(crate) fn view(&self, model: usize) -> ReplicaView {
        let mut state = self.state();
        state.settle(self.now(), model);
        let driver = state.drivers[model].clone();
        let failure = state.failure(model).cloned();
        let (memory, requests) = (state.residency.taken(model), state.residency.leases(model));
        drop(state);
        let state = match (&driver, failure) {
            (Some(driver), _) => driver.state().into(),
            (None, Some(failure)) => {
                let retry_in = Some(failure.retry_in(self.now()));
                ReplicaState::Failed { why: failure.why, retry_in }
            }
            (None, None) => ReplicaState::Unloaded,
        };
        let load = driver.map(|driver| driver.load()).unwrap_or_default();
        self.models[model].replica_view(state, load, memory.map(|memory| memory.host), requests)
    }
}

/// Loads what is loaded with the server, pinned models first, finds out what the others are made to do, and then sends
/// away whose time is over, as long as the server runs.
pub(crate) async fn keep(house: Arc<House>) {
    let stay = |i: usize| house.models[i].spec.stay;
    let (mut first, others): (Vec<usize>, Vec<usize>) =
        (0..house.models.len()).partition(|&i| stay(i).load == LoadWhen::Start);
    first.sort_by_key(|&i| !stay(i).pinned);
    for model in first {
        let name = house.name(model);
        match house.bring(model, Eagerness::IfFree).await {
            Ok(Brought::There(_)) => {}
            Ok(Brought::NoRoom { missing, .. }) => tracing::warn!(
                model = %name,
                %missing,
                "no room beside the models before it: it is loaded when it is asked for"
            ),
            Err(error) => tracing::error!(model = %name, %error, "not loaded"),
        }
    }
    for model in others {
        if let Err(error) = house.prospect(model).await {
            tracing::error!(model = %house.name(model), %error, "cannot be loaded when it is asked for");
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
        let turn = house.turn().await;
        let due = {
            let now = house.now();
            house.state().residency.expire(now)
        };
        for model in due {
            tracing::info!(model = %house.name(model), "unloading: unused for its `keep_alive_s`");
            house.send_away(&turn, model).await;
        }
    }
}
