use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures::{Stream, future::BoxFuture, stream::BoxStream};
use scheduler::{Load, RefusalReason, SequenceView};
use types::{
    Event, GenerateRequest, Passage, Principal, PriorityClass, RequestId, SequenceId, Tokens, Vector,
};

use crate::{Capabilities, Purpose};

/// A request on its way into an engine.
pub struct Work {
    /// Its name inside, for `llmos ps` and `llmos kill`.
    pub id: SequenceId,
    /// What is asked.
    pub request: Arc<GenerateRequest>,
    /// Who asks: decides the queue it waits in.
    pub principal: Principal,
}

/// Passages on their way into an engine that computes a vector of each.
pub struct EmbedWork {
    /// The name inside of the first passage; each one after it has the next number.
    pub first: SequenceId,
    /// Whose work it is.
    pub request: RequestId,
    /// What the vectors are computed from.
    pub passages: Vec<Passage>,
    /// How urgent.
    pub class: PriorityClass,
    /// Who asks: decides the queue they wait in.
    pub principal: Principal,
}

/// What became of an [`EmbedWork`].
pub struct Embedded {
    /// One for each passage, in their order: an embedding of length 1, or the score of a pair alone.
    pub vectors: Vec<Vector>,
    /// Tokens read, those that the model puts around each passage included.
    pub input: Tokens,
}

/// What a driver sends back. Dropping it cancels the sequence within one step.
pub struct EventStream {
    prompt: Tokens,
    events: BoxStream<'static, Result<Event, EngineError>>,
}

impl EventStream {
    pub(crate) fn new(prompt: Tokens, events: BoxStream<'static, Result<Event, EngineError>>) -> Self {
        Self { prompt, events }
    }

    /// Tokens of the prompt, template included: known before the first event.
    pub fn prompt(&self) -> Tokens {
        self.prompt
    }
}

impl Stream for EventStream {
    type Item = Result<Event, EngineError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.as_mut().poll_next(context)
    }
}

/// Every driver takes work and gives events.
pub trait Driver: Send + Sync {
    /// Admits the work and streams its events. Waits, with a bound, while the engine starts.
    fn generate(&self, work: Work) -> BoxFuture<'_, Result<EventStream, EngineError>>;

    /// Computes a vector of each passage. Waits, with a bound, while the engine starts. Dropping the future cancels
    /// what has not been computed.
    fn embed(&self, work: EmbedWork) -> BoxFuture<'_, Result<Embedded, EngineError>>;

    /// What it can do; nothing while its engine does not run.
    fn capabilities(&self) -> Option<Capabilities>;

    /// Waits, with a bound, until the engine has started, and says what it can do.
    fn ready(&self) -> BoxFuture<'_, Result<Capabilities, EngineError>>;

    /// Whether it can work now, and if not why.
    fn state(&self) -> DriverState;

    /// How busy it is.
    fn load(&self) -> Load;

    /// What it works on, with the reasons why each stands where it stands.
    fn sequences(&self) -> BoxFuture<'_, Vec<SequenceStatus>>;

    /// Ends a sequence; its stream gets [`EngineError::Killed`]. False if there is none of that id.
    fn kill(&self, sequence: SequenceId) -> BoxFuture<'_, bool>;
}

/// One line of `llmos ps`.
#[derive(Debug, Clone)]
pub struct SequenceStatus {
    /// The sequence.
    pub view: SequenceView,
    /// How long ago it arrived.
    pub age: Duration,
    /// Why it stands where it stands.
    pub why: Vec<String>,
}

/// Whether a driver can work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DriverState {
    /// The engine is being started for the `attempt`-th time in a row.
    Starting {
        /// Counts from 1.
        attempt: u32,
        /// How much of the model is loaded.
        percent: u8,
        /// How long it will still take, as far as that can be judged.
        left: Option<Duration>,
        /// Process id of the worker that loads it, if there is one yet.
        pid: Option<u32>,
    },
    /// It works.
    Ready {
        /// Process id of the worker, if there is one.
        pid: Option<u32>,
    },
    /// It could not be started.
    Failed {
        /// What happened and what to do.
        why: String,
        /// Time until the next attempt; none is made if absent.
        retry_in: Option<Duration>,
    },
}

/// Why work got no answer, or not a whole one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// The engine is gone, and the sequence with it.
    #[error(
        "the engine died while it worked on this request ({why}); it is being restarted: send the request again"
    )]
    Died {
        /// What is known about the death.
        why: String,
    },
    /// The engine does not run, and did not start within the time that a request may wait for it.
    #[error("the engine is not ready: {why}")]
    Unready {
        /// What it waits for.
        why: String,
        /// When to come back.
        retry_after: Duration,
    },
    /// The scheduler does not take the sequence.
    #[error("refused, because {}; try again in {} s", reason(*.why), .retry_after.as_secs().max(1))]
    Refused {
        /// When to come back.
        retry_after: Duration,
        /// Why.
        why: RefusalReason,
    },
    /// Prompt and answer do not fit.
    #[error(
        "the prompt has {prompt} tokens and {asked} are asked for, but the context holds {context}; {}",
        advice(*.prompt, *.context)
    )]
    ContextExceeded {
        /// Tokens of the prompt; at least this many if it was too long to count.
        prompt: Tokens,
        /// Tokens asked for.
        asked: Tokens,
        /// Tokens that a sequence may have.
        context: Tokens,
    },
    /// The input cannot be given to this model.
    #[error("{0}")]
    BadInput(String),
    /// One of several inputs cannot be given to this model.
    #[error("input {index}: {why}")]
    BadPassage {
        /// Its place, from 0.
        index: usize,
        /// What is wrong with it.
        why: String,
    },
    /// One of several inputs is longer than the model reads at once. It is never cut silently.
    #[error(
        "input {index}: it has {tokens} tokens, but the model reads at most {most} at once; shorten or split it"
    )]
    TooLong {
        /// Its place, from 0.
        index: usize,
        /// Its tokens, those that the model puts around it included.
        tokens: Tokens,
        /// Most that would have been read.
        most: Tokens,
    },
    /// The model is of another kind.
    #[error("the model is made to {is}, not to {asked}")]
    WrongPurpose {
        /// What was asked for.
        asked: Purpose,
        /// What it can do.
        is: Purpose,
    },
    /// An operator ended the sequence.
    #[error("an operator ended this request")]
    Killed,
}

fn reason(why: RefusalReason) -> &'static str {
    match why {
        RefusalReason::QueueFull => "the queue is full",
    }
}

fn advice(prompt: Tokens, context: Tokens) -> String {
    match context.saturating_sub(prompt) {
        Tokens(0) => "shorten the prompt".to_owned(),
        room => format!("ask for at most {room} tokens or shorten the prompt"),
    }
}
