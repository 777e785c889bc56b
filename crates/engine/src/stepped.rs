//! Turns a step engine and a scheduler into a driver: `loop { plan, step, apply, send }`.
//!
//! The scheduler and its queues live here, in the kernel process: the death of an engine loses what it had
//! started, and nothing that waits.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{FutureExt, StreamExt, future::BoxFuture, stream};
use scheduler::{Admission, Arrival, Limits, Load, Scheduler};
use tokio::{
    sync::{Semaphore, mpsc, oneshot, watch},
    time::Instant as Clock,
};
use types::{Instant, PriorityClass, SequenceId, Tokens};

use crate::{
    Capabilities, Driver, DriverState, EmbedWork, Embedded, EngineError, EventStream, Launch, LoadProgress,
    Loaded, ModelCard, Purpose, SequenceStatus, StepEngine, StepResult, Turns, Work,
    delivery::{Answer, Delivery},
    prepare::{Front, check_bias, encode, fit, seeded},
    text::TextStream,
};

/// Commands that wait for the loop; senders wait beyond that.
const COMMANDS_MAX: usize = 256;
/// Sequences that wait for their turn; further ones are refused.
const WAITING_MAX: usize = 256;
/// How long a request waits for an engine that is starting.
const READY_WAIT: Duration = Duration::from_secs(20);
/// Requests that wait for an engine that is starting; further ones are told at once when to come back.
const READY_WAITERS_MAX: usize = 256;
/// When a caller is asked to come back where nothing can be judged by.
const READY_RETRY_AFTER: Duration = Duration::from_secs(10);
/// Pause before the first new attempt to start an engine; doubled for each further one.
const BACK_OFF_MIN: Duration = Duration::from_millis(250);
/// How long an engine that is told to end may take to be gone.
const END_WAIT: Duration = Duration::from_secs(5);
/// How often that is looked at.
const END_POLL: Duration = Duration::from_millis(5);
/// Longest pause between attempts.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// A driver around an engine that we step ourselves.
pub struct Stepped {
    commands: mpsc::Sender<Command>,
    front: watch::Receiver<Option<Arc<Front>>>,
    phase: watch::Receiver<Phase>,
    load: watch::Receiver<Load>,
    waiters: Semaphore,
    task: tokio::task::JoinHandle<()>,
}

/// Where the engine is in its life.
enum Phase {
    Starting { attempt: u32, progress: Arc<LoadProgress> },
    Ready { pid: Option<u32> },
    Failed { why: String, retry_in: Option<Duration> },
}

enum Command {
    Arrive { arrival: Arrival, delivery: Delivery, admitted: oneshot::Sender<Result<(), EngineError>> },
    Kill(SequenceId, oneshot::Sender<bool>),
    List(oneshot::Sender<Vec<SequenceStatus>>),
}

impl Stepped {
    /// Starts the loop; it launches the engine, and again whenever the engine dies. The engine computes when it is
    /// its turn.
    pub fn start(name: String, launch: Arc<dyn Launch>, turns: Turns) -> Self {
        let (commands, inbox) = mpsc::channel(COMMANDS_MAX);
        let (front, front_seen) = watch::channel(None);
        let (phase, phase_seen) = watch::channel(Phase::first());
        let (load, load_seen) = watch::channel(Load::default());
        let started = Clock::now();
        let outlook = Outlook { front, phase, load };
        let kernel = Loop {
            name,
            launch,
            turns,
            inbox,
            outlook,
            deliveries: BTreeMap::new(),
            scheduler: None,
            pause: BACK_OFF_MIN,
            started,
        };
        let task = tokio::spawn(kernel.run());
        let waiters = Semaphore::new(READY_WAITERS_MAX);
        Self { commands, front: front_seen, phase: phase_seen, load: load_seen, waiters, task }
    }

    /// Ends the loop and the engine, and waits, with a bound, until the engine's memory is free again; also that of one
    /// that still loads.
    pub async fn end(&self) {
        self.task.abort();
        let deadline = Clock::now() + END_WAIT;
        // Only when the loop is gone is it certain that it starts no process any more.
        while !self.task.is_finished() && Clock::now() < deadline {
            tokio::time::sleep(END_POLL).await;
        }
        let pid = match &*self.phase.borrow() {
            Phase::Ready { pid } => *pid,
            Phase::Starting { progress, .. } => progress.worker(),
            Phase::Failed { .. } => None,
        };
        let Some(pid) = pid.and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) else { return };
        while rustix::process::test_kill_process(pid).is_ok() {
            if Clock::now() >= deadline {
                tracing::error!(
                    pid = pid.as_raw_pid(),
                    "a worker was killed and is not gone; its memory may not be free"
                );
                return;
            }
            tokio::time::sleep(END_POLL).await;
        }
    }

    /// Resolves when the engine has failed for good, and nothing will change by itself, or when the driver is gone.
    /// Does not keep the driver alive.
    pub fn failed_for_good(&self) -> impl Future<Output = ()> + Send + use<> {
        let mut phase = self.phase.clone();
        async move {
            let _ = phase.wait_for(|phase| matches!(phase, Phase::Failed { retry_in: None, .. })).await;
        }
    }

    /// Waits, with a bound, while the engine starts.
    pub(crate) async fn front(&self) -> Result<Arc<Front>, EngineError> {
        let mut front = self.front.clone();
        if let Some(front) = front.borrow().clone() {
            return Ok(front);
        }
        let Ok(_place) = self.waiters.try_acquire() else { return Err(self.unready()) };
        tokio::select! {
            biased;
            ready = front.wait_for(Option::is_some) => match ready {
                Ok(front) => front.clone().ok_or_else(gone),
                Err(_) => Err(gone()),
            },
            () = self.failed_for_good() => Err(self.unready()),
            () = tokio::time::sleep(READY_WAIT) => Err(self.unready()),
        }
    }

    /// What a caller is told who does not wait any longer.
    fn unready(&self) -> EngineError {
        let (why, retry_after) = match self.state() {
            DriverState::Failed { why, retry_in } => (why, retry_in.unwrap_or(BACK_OFF_MAX)),
            DriverState::Starting { percent, left, .. } => (
                format!("the model is still loading, {percent} % are done"),
                left.unwrap_or(READY_RETRY_AFTER),
            ),
            DriverState::Ready { .. } => ("the model has just been loaded".to_owned(), Duration::ZERO),
        };
        EngineError::Unready { why, retry_after }
    }

    async fn admit(&self, work: Work) -> Result<EventStream, EngineError> {
        let front = self.front().await?;
        if front.card.purpose != Purpose::Generate {
            return Err(EngineError::WrongPurpose { asked: Purpose::Generate, is: front.card.purpose });
        }
        let prompt = encode(&front, &work.request).await?;
        let tokens_max = fit(&front.card, &prompt, work.request.tokens_max)?;
        check_bias(&front.card, &work.request.sampling)?;
        tracing::debug!(request_id = %work.request.id, sequence = %work.id, prompt = prompt.len(), "prepared");
        let prompt: Arc<[u32]> = prompt.into();
        // As many places as there can be events: a slow reader never holds up the loop.
        let (events, mut received) = mpsc::channel(tokens_max.0 as usize + 4);
        let length = Tokens(u32::try_from(prompt.len()).unwrap_or(u32::MAX));
        let answer = Answer {
            events,
            text: TextStream::new(work.request.stop.as_slice()),
            sampling: seeded(&work.request),
            generated: Tokens(0),
            tokens_max,
        };
        let delivery = Delivery::of_text(prompt.clone(), answer);
        let arrival = Arrival {
            sequence: work.id,
            tenant: work.principal.tenant,
            class: work.request.declared.class.unwrap_or(PriorityClass::Normal),
            prompt,
            tokens_max,
        };
        self.arrive(arrival, delivery).await?;
        let events = stream::poll_fn(move |context| received.poll_recv(context));
        Ok(EventStream::new(length, events.boxed()))
    }

    /// Brings a sequence to the loop. Once it is admitted, its addressee hears of it.
    pub(crate) async fn arrive(&self, arrival: Arrival, delivery: Delivery) -> Result<(), EngineError> {
        let (admitted, answer) = oneshot::channel();
        self.commands.send(Command::Arrive { arrival, delivery, admitted }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.commands.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

impl Driver for Stepped {
    fn generate(&self, work: Work) -> BoxFuture<'_, Result<EventStream, EngineError>> {
        self.admit(work).boxed()
    }

    fn embed(&self, work: EmbedWork) -> BoxFuture<'_, Result<Embedded, EngineError>> {
        self.vectors(work).boxed()
    }

    fn capabilities(&self) -> Option<Capabilities> {
        self.front.borrow().as_ref().map(|front| front.card.capabilities())
    }

    fn ready(&self) -> BoxFuture<'_, Result<Capabilities, EngineError>> {
        async { Ok(self.front().await?.card.capabilities()) }.boxed()
    }

    fn state(&self) -> DriverState {
        if self.task.is_finished() {
            let why =
                "its loop has ended by a defect of llmos; restart the server and report its log".to_owned();
            return DriverState::Failed { why, retry_in: None };
        }
        match &*self.phase.borrow() {
            Phase::Starting { attempt, progress } => DriverState::Starting {
                attempt: *attempt,
                percent: progress.percent(),
                left: progress.left(),
                pid: progress.worker(),
            },
            Phase::Ready { pid } => DriverState::Ready { pid: *pid },
            Phase::Failed { why, retry_in } => DriverState::Failed { why: why.clone(), retry_in: *retry_in },
        }
    }

    fn load(&self) -> Load {
        *self.load.borrow()
    }

    fn sequences(&self) -> BoxFuture<'_, Vec<SequenceStatus>> {
        async { self.ask(Command::List).await.unwrap_or_default() }.boxed()
    }

    fn kill(&self, sequence: SequenceId) -> BoxFuture<'_, bool> {
        async move { self.ask(|reply| Command::Kill(sequence, reply)).await.unwrap_or(false) }.boxed()
    }
}

/// Ends the loop, and with it the engine.
impl Drop for Stepped {
    fn drop(&mut self) {
        self.task.abort();
    }
}

pub(crate) fn gone() -> EngineError {
    EngineError::Unready { why: "the model is being unloaded".to_owned(), retry_after: READY_RETRY_AFTER }
}

/// What the outside sees of the loop.
struct Outlook {
    front: watch::Sender<Option<Arc<Front>>>,
    phase: watch::Sender<Phase>,
    load: watch::Sender<Load>,
}

impl Phase {
    fn first() -> Self {
        Self::Starting { attempt: 1, progress: Arc::new(LoadProgress::begin()) }
    }
}

/// Whoever loads a model hears of it when nobody waits any more.
struct Watched(Arc<LoadProgress>);

impl Drop for Watched {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

struct Loop {
    name: String,
    launch: Arc<dyn Launch>,
    turns: Turns,
    inbox: mpsc::Receiver<Command>,
    outlook: Outlook,
    deliveries: BTreeMap<SequenceId, Delivery>,
    /// Made when the model is loaded for the first time: its limits come from the model.
    scheduler: Option<Scheduler>,
    /// Before the next attempt to start the engine.
    pause: Duration,
    started: Clock,
}

impl Loop {
    async fn run(mut self) {
        loop {
            let Some(loaded) = self.launch_until_loaded().await else { return };
            let Some(error) = self.serve(loaded).await else { return };
            self.outlook.front.send_replace(None);
            self.outlook.phase.send_replace(Phase::first());
            tracing::error!(model = self.name, error = %error, "engine died; starting it again");
            let lost = self.scheduler.as_mut().map(Scheduler::lose_engine).unwrap_or_default();
            self.fail(&lost, &error);
            self.publish();
            if self.back_off().await.is_none() {
                return;
            }
        }
    }

    /// Launches until it works. Meanwhile commands are answered; what waits is failed at the first refusal.
    async fn launch_until_loaded(&mut self) -> Option<Loaded> {
        for attempt in 1.. {
            let progress = Arc::new(LoadProgress::begin());
            let _load = Watched(progress.clone());
            self.outlook.phase.send_replace(Phase::Starting { attempt, progress: progress.clone() });
            let launch = self.launch.clone();
            let error = match self.meanwhile(launch.launch(progress)).await? {
                Ok(loaded) => return Some(loaded),
                Err(error) => error,
            };
            tracing::error!(model = self.name, attempt, error = %error, "engine did not start");
            let retry_in = error.retry.then_some(self.pause);
            self.outlook.phase.send_replace(Phase::Failed { why: error.why.clone(), retry_in });
            let waiting: Vec<_> = self.deliveries.keys().copied().collect();
            let told = EngineError::Unready { why: error.why, retry_after: retry_in.unwrap_or(BACK_OFF_MAX) };
            self.fail(&waiting, &told);
            if retry_in.is_none() {
                // Nothing will change by itself: answer commands until the driver is dropped.
                self.meanwhile(std::future::pending::<()>()).await?;
            }
            self.back_off().await?;
        }
        None
    }

    /// Waits before the next attempt, longer each time until a step succeeds.
    async fn back_off(&mut self) -> Option<()> {
        let pause = self.pause;
        self.pause = (pause * 2).min(BACK_OFF_MAX);
        self.meanwhile(tokio::time::sleep(pause)).await
    }

    /// Waits for `future` and answers commands until then. `None` when the driver is gone.
    async fn meanwhile<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        tokio::pin!(future);
        loop {
            tokio::select! {
                done = &mut future => return Some(done),
                command = self.inbox.recv() => { self.handle(command?); }
            }
        }
    }

    /// Steps the engine until it dies, and says how. `None` when the driver is gone.
    async fn serve(&mut self, loaded: Loaded) -> Option<EngineError> {
        let Loaded { card, tokenizer, mut engine, pid } = loaded;
        let limits = limits(&card);
        tracing::info!(
            model = self.name,
            pid,
            kv = card.kv,
            hardware = card.hardware,
            confinement = card.confinement,
            "model is ready"
        );
        self.scheduler.get_or_insert_with(|| Scheduler::new(limits));
        let front = Arc::new(Front { card, tokenizer });
        for (&sequence, delivery) in &self.deliveries {
            engine.add(sequence, delivery.prompt.clone(), delivery.sampling());
        }
        self.outlook.front.send_replace(Some(front.clone()));
        self.outlook.phase.send_replace(Phase::Ready { pid });
        loop {
            while let Ok(command) = self.inbox.try_recv() {
                self.take_in(command, engine.as_mut());
            }
            self.forget_abandoned();
            let scheduler = self.scheduler.as_mut()?;
            let plan = scheduler.plan();
            let ran = plan.run.iter().map(|slice| slice.sequence);
            let ends = ran.filter(|&sequence| scheduler.at_its_end(sequence));
            let is_text = |sequence: &SequenceId| {
                self.deliveries.get(sequence).is_some_and(|delivery| delivery.sampling().is_some())
            };
            let (texts, vectors): (Vec<_>, Vec<_>) = ends.partition(is_text);
            self.publish();
            if plan.is_empty() {
                let command = tokio::select! {
                    command = self.inbox.recv() => command?,
                    error = engine.death() => return Some(error),
                };
                self.take_in(command, engine.as_mut());
                continue;
            }
            let mut arrived = Vec::new();
            let result = {
                let turns = self.turns.clone();
                let step = async {
                    let _turn = turns.take().await;
                    engine.step(&plan).await
                };
                tokio::pin!(step);
                loop {
                    tokio::select! {
                        biased;
                        result = &mut step => break result,
                        command = self.inbox.recv() => arrived.extend(self.handle(command?)),
                    }
                }
            };
            for sequence in arrived {
                self.introduce(sequence, engine.as_mut());
            }
            match result {
                Ok(result) => {
                    if let Err(why) = result.answers(&texts, &vectors, &front.card) {
                        return Some(EngineError::Died { why });
                    }
                    self.pause = BACK_OFF_MIN;
                    self.deliver(result, &front.card);
                }
                Err(error) => return Some(error),
            }
        }
    }

    fn take_in(&mut self, command: Command, engine: &mut dyn StepEngine) {
        if let Some(sequence) = self.handle(command) {
            self.introduce(sequence, engine);
        }
    }

    fn introduce(&self, sequence: SequenceId, engine: &mut dyn StepEngine) {
        if let Some(delivery) = self.deliveries.get(&sequence) {
            engine.add(sequence, delivery.prompt.clone(), delivery.sampling());
        }
    }

    /// Answers a command. Returns the sequence that it brought, which the engine has to be told.
    fn handle(&mut self, command: Command) -> Option<SequenceId> {
        let now = self.now();
        self.forget_abandoned();
        match command {
            Command::Arrive { arrival, delivery, admitted } => {
                let sequence = arrival.sequence;
                let Some(scheduler) = &mut self.scheduler else {
                    let _ = admitted.send(Err(gone()));
                    return None;
                };
                match scheduler.arrive(now, arrival) {
                    Admission::Accepted { expected_start } => {
                        tracing::debug!(%sequence, wait = ?expected_start.since(now), "admitted");
                        self.deliveries.insert(sequence, delivery);
                        let _ = admitted.send(Ok(()));
                        return Some(sequence);
                    }
                    Admission::Refused { retry_after, why } => {
                        let _ = admitted.send(Err(EngineError::Refused { retry_after, why }));
                    }
                }
            }
            Command::Kill(sequence, reply) => {
                let known = self.deliveries.contains_key(&sequence);
                self.fail(&[sequence], &EngineError::Killed);
                let _ = reply.send(known);
            }
            Command::List(reply) => {
                let _ = reply.send(self.list(now));
            }
        }
        None
    }

    fn list(&self, now: Instant) -> Vec<SequenceStatus> {
        let Some(scheduler) = &self.scheduler else { return Vec::new() };
        let status = |view: scheduler::SequenceView| SequenceStatus {
            age: now.since(view.arrived),
            why: scheduler.explain(view.sequence),
            view,
        };
        scheduler.sequences().map(status).collect()
    }

    /// Sends what the step produced, and tells the scheduler what is complete.
    fn deliver(&mut self, result: StepResult, card: &ModelCard) {
        let StepResult { mut outcome, vectors } = result;
        let ended_by_model = std::mem::take(&mut outcome.finished);
        for &(sequence, token) in &outcome.produced {
            let Some(delivery) = self.deliveries.get_mut(&sequence) else { continue };
            let piece = if ended_by_model.contains(&sequence) { None } else { Some(card.piece(token)) };
            if delivery.token(piece) {
                outcome.finished.push(sequence);
                self.deliveries.remove(&sequence);
            }
        }
        for (sequence, vector) in vectors {
            let Some(mut delivery) = self.deliveries.remove(&sequence) else { continue };
            outcome.finished.push(sequence);
            if vector.expose().iter().all(|number| number.is_finite()) {
                delivery.vector(vector);
            } else {
                let why = "the model computes no finite numbers of this input; it may be damaged".to_owned();
                delivery.fail(EngineError::BadInput(why));
            }
        }
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.apply(&outcome);
        }
    }

    fn fail(&mut self, sequences: &[SequenceId], error: &EngineError) {
        for &sequence in sequences {
            if let Some(delivery) = self.deliveries.get_mut(&sequence) {
                delivery.fail(error.clone());
            }
            self.forget(sequence);
        }
    }

    /// A caller cancels by dropping the stream, admitted or not: nothing has to be sent, so nothing can be lost.
    fn forget_abandoned(&mut self) {
        let abandoned = self.deliveries.iter().filter(|(_, delivery)| delivery.is_abandoned());
        for sequence in abandoned.map(|(&sequence, _)| sequence).collect::<Vec<_>>() {
            self.forget(sequence);
        }
    }

    fn forget(&mut self, sequence: SequenceId) {
        self.deliveries.remove(&sequence);
        if let Some(scheduler) = &mut self.scheduler {
            scheduler.cancel(sequence);
        }
    }

    fn publish(&self) {
        let load = self.scheduler.as_ref().map(Scheduler::load).unwrap_or_default();
        self.outlook.load.send_if_modified(|seen| std::mem::replace(seen, load) != load);
    }

    fn now(&self) -> Instant {
        Instant { nanos: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX) }
    }
}

fn limits(card: &ModelCard) -> Limits {
    Limits {
        kv: Tokens(card.kv),
        sequence_max: card.sequence_max(),
        step: Tokens(card.step),
        running_max: card.running_max as usize,
        waiting_max: WAITING_MAX,
    }
}
