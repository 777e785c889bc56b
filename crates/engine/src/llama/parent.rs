//! The kernel's side of a worker: starts it, speaks to it, and says how it died.

use std::{
    collections::VecDeque,
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt},
    path::PathBuf,
    process::Stdio,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use futures::{FutureExt, future::BoxFuture};
use scheduler::{Preemption, StepOutcome, StepPlan};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    process::{Child, ChildStderr, Command},
};
use types::{Input, Passage, Prompt, Sampling, SequenceId, Vector};

use super::{
    patience::{Pace, Patience},
    wire::{self, Encoded, Order, Report, Text, WireOutcome, WirePlan, WireSampling},
};
use crate::{
    EngineError, Launch, LaunchError, LoadProgress, Loaded, ModelCard, Purpose, StepEngine, StepResult,
    Tokenizer,
};

/// How long a model may take to load.
const LOAD_WAIT: Duration = Duration::from_secs(600);
/// How long a dying worker may take to be gone, before its death is reported without its exit status.
const EXIT_WAIT: Duration = Duration::from_secs(2);
/// How often a compute thread of libgomp looks whether the others have come, before it sleeps.
const SPINS: &str = "GOMP_SPINCOUNT";
/// Whether they sleep at all: an operator's word, which ours must not override.
const WAIT_POLICY: &str = "OMP_WAIT_POLICY";
/// By itself it looks almost for ever. Where another program takes a core, that core's thread is what all wait for, and who
/// waits keeps it from running: two threads beside two busy programs generated 28 tokens a second so, and 70 with this,
/// where half of 150 would be fair. Undisturbed both are equal; much less costs there (300: a tenth; 100: half).
const SPIN_COUNT: &str = "1000";
/// Lines of a worker's standard error that are kept to explain its death.
const LAST_WORDS_LINES: usize = 8;
/// Bytes kept of each.
const LAST_WORDS_LINE_BYTES: u64 = 200;

/// Most numbers of one vector: far above any model's.
const DIMENSIONS_MAX: u32 = 1 << 16;

/// What a worker is told to load, and with what.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WorkerOrder {
    /// A GGUF file.
    pub path: PathBuf,
    /// What it is loaded for.
    pub purpose: Purpose,
    /// KV memory in tokens, shared by all sequences.
    pub context: u32,
    /// Most tokens of one step. To embed or to rank, the worker takes more if a sequence may be longer: each is
    /// read whole.
    pub step: u32,
    /// Most sequences at once; at most 256 (llama.cpp's `LLAMA_MAX_SEQ`).
    pub running_max: u32,
    /// Cores it keeps to, with a thread on each.
    pub cores: Vec<usize>,
    /// Most memory beside the mapped model file, in bytes.
    pub memory_max: u64,
    /// Layers that a GPU computes; 0 in a build that knows none.
    pub gpu_layers: u32,
}

/// Starts workers for one model.
#[derive(Debug, Clone)]
pub struct LlamaLaunch {
    /// The program whose subcommand `engine-worker` is [`worker_main`](super::worker_main).
    pub program: PathBuf,
    /// What they load.
    pub order: WorkerOrder,
    /// When they are given up.
    pub patience: Patience,
}

impl Launch for LlamaLaunch {
    fn launch(&self, progress: Arc<LoadProgress>) -> BoxFuture<'_, Result<Loaded, LaunchError>> {
        async move { self.start(&progress).await }.boxed()
    }
}

impl LlamaLaunch {
    /// With the usual patience.
    pub fn new(program: PathBuf, order: WorkerOrder) -> Self {
        Self { program, order, patience: Patience::default() }
    }

    async fn start(&self, progress: &LoadProgress) -> Result<Loaded, LaunchError> {
        let failed =
            |error: io::Error| LaunchError { why: format!("cannot start a worker: {error}"), retry: true };
        let (steps, texts, mut process) = self.spawn().map_err(failed)?;
        let pid = process.child.id();
        progress.work_in(pid);
        let mut engine = LlamaEngine {
            steps: BufReader::new(steps),
            outbox: Vec::new(),
            process: None,
            pace: Pace::default(),
            patience: self.patience,
        };
        wire::frame(&Order::Load(self.order.clone()), &mut engine.outbox).map_err(failed)?;
        let loading = tokio::time::timeout(LOAD_WAIT, engine.load(progress)).await;
        let card = match loading {
            Ok(Ok(Report::Loaded(card))) if is_sound(&card, self.order.purpose) => card,
            Ok(Ok(Report::Loaded(_))) => {
                return Err(process.refused("the worker describes an impossible model").await);
            }
            Ok(Ok(Report::Failed(why))) => return Err(process.refused(&why).await),
            Ok(Ok(Report::Loading(_) | Report::Stepped(_)) | Err(_)) => {
                return Err(process.refused("the worker died while loading").await);
            }
            Err(_) => return Err(process.refused("loading took too long").await),
        };
        engine.process = Some(process);
        let texts = Arc::new(tokio::sync::Mutex::new(Some(BufReader::new(texts))));
        let tokenizer = LlamaTokenizer { texts, pid, wait: self.patience.encode };
        Ok(Loaded { card, tokenizer: Arc::new(tokenizer), engine: Box::new(engine), pid })
    }

    fn spawn(&self) -> io::Result<(UnixStream, UnixStream, Process)> {
        let (steps, their_steps) = socket_pair()?;
        let (texts, their_texts) = socket_pair()?;
        let mut command = Command::new(&self.program);
        // In a process group of its own: Ctrl-C at our terminal ends us, and us only, in good order.
        command.arg("engine-worker").env_clear().kill_on_drop(true).process_group(0);
        command.stdin(Stdio::from(their_steps)).stdout(Stdio::from(their_texts)).stderr(Stdio::piped());
        // Of the environment, which may hold secrets, only what finds libraries; no backtraces by gdb.
        command.env("GGML_NO_BACKTRACE", "1");
        if std::env::var_os(WAIT_POLICY).is_none() {
            command.env(SPINS, SPIN_COUNT);
        }
        for name in ["LD_LIBRARY_PATH", SPINS, WAIT_POLICY] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
        let mut child = command.spawn()?;
        let last_words = Arc::new(LastWords::default());
        if let Some(stderr) = child.stderr.take() {
            tokio::spawn(last_words.clone().listen(stderr));
        }
        Ok((steps, texts, Process { child, last_words }))
    }
}

fn socket_pair() -> io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    Ok((UnixStream::from_std(ours)?, theirs.into()))
}

/// The worker process. Dropping it kills it.
struct Process {
    child: Child,
    last_words: Arc<LastWords>,
}

impl Process {
    /// How it ended, as far as that is known.
    async fn death(&mut self) -> String {
        let status = tokio::time::timeout(EXIT_WAIT, self.child.wait()).await;
        let how = match status {
            // So the filters end a process that makes a call of a program that was taken over.
            Ok(Ok(status)) if status.signal() == Some(libc::SIGSYS) => {
                format!("{status}: it made a system call that no model needs")
            }
            Ok(Ok(status)) => status.to_string(),
            _ => "it does not answer".to_owned(),
        };
        // The log only: what a library writes is not for callers.
        tracing::error!(how, last_words = self.last_words.text(), "worker ended");
        how
    }

    async fn refused(&mut self, why: &str) -> LaunchError {
        let death = self.death().await;
        LaunchError { why: format!("{why} ({death})"), retry: true }
    }
}

/// The end of a worker's standard error.
#[derive(Default)]
struct LastWords(Mutex<VecDeque<String>>);

impl LastWords {
    async fn listen(self: Arc<Self>, stderr: ChildStderr) {
        let mut lines = BufReader::new(stderr);
        let mut line = Vec::new();
        // A line that is too long counts as several: a worker that floods us fills no memory.
        while matches!((&mut lines).take(LAST_WORDS_LINE_BYTES).read_until(b'\n', &mut line).await, Ok(n) if n > 0)
        {
            let text = String::from_utf8_lossy(&line).trim().to_owned();
            line.clear();
            tracing::debug!(target: "engine::worker", "{text}");
            if is_telling(&text) {
                let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
                if kept.len() == LAST_WORDS_LINES {
                    kept.pop_front();
                }
                kept.push_back(text);
            }
        }
    }

    fn text(&self) -> String {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.iter().map(String::as_str).collect::<Vec<_>>().join(" | ")
    }
}

/// llama.cpp writes hundreds of lines about a model; these words mark the ones that explain a failure.
fn is_telling(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ["error", "fail", "assert", "abort", "alloc", "terminate", "what()", "worker:", "invalid", "unknown"]
        .iter()
        .any(|word| line.contains(word))
}

/// The step engine of a worker.
struct LlamaEngine {
    steps: BufReader<UnixStream>,
    /// Frames that go out with the next step.
    outbox: Vec<u8>,
    /// Absent only while the model loads.
    process: Option<Process>,
    pace: Pace,
    patience: Patience,
}

impl LlamaEngine {
    async fn ask(&mut self) -> io::Result<Report> {
        self.steps.get_mut().write_all(&self.outbox).await?;
        self.outbox.clear();
        wire::receive(&mut self.steps).await
    }

    /// The first report that is not about how far the load has come.
    async fn load(&mut self, progress: &LoadProgress) -> io::Result<Report> {
        let mut report = self.ask().await?;
        // A worker that never ends meets the caller's time limit.
        while let Report::Loading(share) = report {
            progress.reach(share);
            report = wire::receive(&mut self.steps).await?;
        }
        Ok(report)
    }

    async fn carry_out(&mut self, plan: &StepPlan) -> Result<StepResult, EngineError> {
        let (tokens, begun) = (plan.tokens().0, Instant::now());
        let limit = self.pace.limit(tokens, &self.patience);
        let asked = match wire::frame(&Order::Step(wire_plan(plan)), &mut self.outbox) {
            Ok(()) => tokio::time::timeout(limit, self.ask()).await,
            Err(error) => Ok(Err(error)),
        };
        let Ok(answer) = asked else {
            let tokens = plan.tokens();
            tracing::error!(%tokens, limit_s = limit.as_secs(), "a step did not end; the worker is given up");
            if let Some(process) = &mut self.process {
                // Gone before the next one starts: there is memory for one of them.
                let _ = process.child.start_kill();
                process.death().await;
            }
            return Err(EngineError::Died { why: "a step did not end in time".to_owned() });
        };
        let why = match answer {
            Ok(Report::Stepped(outcome)) => {
                if tokens > 0 {
                    self.pace.learn(tokens, begun.elapsed());
                }
                return Ok(step_result(outcome, &self.patience));
            }
            Ok(Report::Failed(why)) => why,
            Ok(Report::Loading(_) | Report::Loaded(_)) => "the worker answered out of turn".to_owned(),
            Err(_) => self.post_mortem().await,
        };
        Err(EngineError::Died { why })
    }

    async fn post_mortem(&mut self) -> String {
        match &mut self.process {
            Some(process) => process.death().await,
            None => "the worker is gone".to_owned(),
        }
    }
}

impl StepEngine for LlamaEngine {
    fn add(&mut self, sequence: SequenceId, prompt: Arc<[u32]>, sampling: Option<&Sampling>) {
        let sampling = sampling.map(wire_sampling);
        let order = Order::Add { sequence: sequence.0, prompt: prompt.to_vec(), sampling };
        // Fails only beyond FRAME_BYTES_MAX, which no context reaches; the step then names an unknown sequence.
        if let Err(error) = wire::frame(&order, &mut self.outbox) {
            tracing::error!(%sequence, %error, "cannot tell the worker of a sequence");
        }
    }

    fn step<'a>(&'a mut self, plan: &'a StepPlan) -> BoxFuture<'a, Result<StepResult, EngineError>> {
        self.carry_out(plan).boxed()
    }

    fn death(&mut self) -> BoxFuture<'_, EngineError> {
        async {
            // Nothing is asked, so nothing can come but the end.
            let _ = self.steps.fill_buf().await;
            EngineError::Died { why: self.post_mortem().await }
        }
        .boxed()
    }
}

struct LlamaTokenizer {
    /// Given up, which ends the worker, when an answer does not come.
    texts: Arc<tokio::sync::Mutex<Option<BufReader<UnixStream>>>>,
    pid: Option<u32>,
    /// How long one answer may take.
    wait: Duration,
}

impl Tokenizer for LlamaTokenizer {
    fn encode<'a>(&'a self, input: &'a Input) -> BoxFuture<'a, Result<Vec<u32>, EngineError>> {
        async move {
            let text = match input {
                Input::Tokens(tokens) => return Ok(tokens.clone()),
                Input::Text(text) => Text::Plain(text.expose().to_owned()),
                Input::Chat(messages) => {
                    let pair =
                        |m: &types::Message| (m.speaker.as_str().to_owned(), m.content.expose().to_owned());
                    Text::Chat(messages.iter().map(pair).collect())
                }
            };
            self.ask(&text).await
        }
        .boxed()
    }

    fn encode_passage<'a>(&'a self, passage: &'a Passage) -> BoxFuture<'a, Result<Vec<u32>, EngineError>> {
        async move {
            let copied = |text: &Prompt| text.expose().to_owned();
            let text = match passage {
                Passage::Tokens(tokens) => return Ok(tokens.clone()),
                Passage::Text(text) => Text::Passage(copied(text)),
                Passage::Pair(query, document) => Text::Pair(copied(query), copied(document)),
            };
            self.ask(&text).await
        }
        .boxed()
    }
}

impl LlamaTokenizer {
    async fn ask(&self, text: &Text) -> Result<Vec<u32>, EngineError> {
        let died = || EngineError::Died { why: "the worker is gone".to_owned() };
        let mut bytes = Vec::new();
        wire::frame(text, &mut bytes).map_err(|error| EngineError::BadInput(error.to_string()))?;
        let mut texts = self.texts.clone().lock_owned().await;
        // In a task of its own: a caller who leaves half way must not leave its answer to the next one.
        let (pid, wait) = (self.pid, self.wait);
        let exchange = tokio::spawn(async move {
            let socket = texts.as_mut().ok_or(io::ErrorKind::NotConnected)?;
            let answer = async {
                socket.get_mut().write_all(&bytes).await?;
                wire::receive::<Encoded>(socket).await
            };
            let answer = tokio::time::timeout(wait, answer).await;
            if answer.is_err() {
                *texts = None;
                // A worker that hangs would not notice that it is given up; its end is what starts the next one.
                end(pid);
            }
            answer.unwrap_or_else(|late| Err(late.into()))
        });
        match exchange.await {
            Ok(Ok(encoded)) => encoded.map_err(EngineError::BadInput),
            Ok(Err(_)) | Err(_) => Err(died()),
        }
    }
}

/// Ends a worker at once.
fn end(pid: Option<u32>) {
    if let Some(pid) = pid.and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())) {
        // It may just have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// A worker reads an untrusted file, so what it says is checked.
fn is_sound(card: &ModelCard, purpose: Purpose) -> bool {
    let counts = [card.kv, card.step, card.running_max, card.context_trained];
    let whole = card.step >= card.sequence_max().0;
    let fits_purpose = match purpose {
        Purpose::Generate => card.dimensions == 0,
        Purpose::Embed => (1..=DIMENSIONS_MAX).contains(&card.dimensions) && whole,
        Purpose::Rank => card.dimensions == 1 && whole,
    };
    card.purpose == purpose
        && fits_purpose
        && counts.into_iter().all(|count| count > 0)
        && !card.pieces.is_empty()
}

fn wire_plan(plan: &StepPlan) -> WirePlan {
    WirePlan {
        release: plan.release.iter().map(|sequence| sequence.0).collect(),
        recompute: plan.preempt.iter().map(|(sequence, Preemption::Recompute)| sequence.0).collect(),
        run: plan.run.iter().map(|slice| (slice.sequence.0, slice.tokens.0)).collect(),
    }
}

fn step_result(report: WireOutcome, patience: &Patience) -> StepResult {
    let outcome = StepOutcome {
        took: Duration::from_nanos(report.took_ns).min(patience.step_max),
        produced: report
            .produced
            .into_iter()
            .map(|(sequence, token)| (SequenceId(sequence), token))
            .collect(),
        finished: report.finished.into_iter().map(SequenceId).collect(),
    };
    let vector = |(sequence, numbers)| (SequenceId(sequence), Vector::from(numbers));
    StepResult { outcome, vectors: report.vectors.into_iter().map(vector).collect() }
}

fn wire_sampling(sampling: &Sampling) -> WireSampling {
    let values = sampling.values();
    WireSampling {
        temperature: values.temperature,
        top_p: values.top_p,
        top_k: values.top_k,
        min_p: values.min_p,
        presence_penalty: values.presence_penalty,
        frequency_penalty: values.frequency_penalty,
        repetition_penalty: values.repetition_penalty,
        seed: values.seed.unwrap_or(0),
        logit_bias: values.logit_bias.clone(),
    }
}
