//! The whole request path, in order, in this file, without HTTP.
//!
//! **Does**: authenticate, authorise, reserve, record, route, run, settle, record; and store, if that was asked for. `gateway` calls it for every protocol; workflows and batches
//! will call the same [`Path::serve`], [`Path::embed`] and [`Path::rerank`]. **Never** is bypassed: each step takes
//! what only the step before can make.
//!
//! The three types to know: [`Path`], [`Answer`], [`PathError`]. What operators do (list, kill, keys, metrics)
//! is in `operate.rs`; it passes through the same first steps, and nothing is done before its record is on the disk
//! (`record.rs`). What is stored for callers is in `kept`.
#![forbid(unsafe_code)]

mod audited;
mod charge;
mod kept;
mod metrics;
mod operate;
mod plan;
mod record;
mod told;
mod vectors;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use access::{
    Access, AccessError, Action, Authorized, Credential, Embed, Generate, ModelUse, Standing,
    StoreChatCompletion, Unpaid,
};
use audit::{Facts, Witness};
use engine::{EmbedWork, Embedded, EngineError, EventStream, Purpose, Work};
use futures::{
    FutureExt, StreamExt,
    future::{self, Either},
    stream::{self, BoxStream},
};
use resources::{FileDigest, Lease, Replicas, Route, RouteError, UnloadError};
use types::{
    EmbedRequest, Event, GenerateRequest, ModelName, OutOfRange, Passage, PriorityClass, RequestId,
    RerankRequest, SequenceId, Tokens, Vector,
};

pub use crate::{
    audited::{AuditCheckpoint, AuditLine, AuditPage, AuditQuery},
    kept::{
        Erased, Exported, Keep, Kept, KeptError, Line, Resealed, Retention, Stored, StoredPage, StoredQuery,
        Transcript, VaultStatus,
    },
    operate::{ModelList, NotReady, ProcessList},
    plan::{PLAN_BUDGET_MS_MAX, PLAN_COSTS_MAX, PLAN_PROCESSORS_MAX, PlanRequest, PlannedTask, WorkflowPlan},
    vectors::{Method, Relevance},
};
use crate::{
    charge::{Charge, Cost, charged},
    kept::{Keeping, stored},
    metrics::{Metrics, Observation, Operation},
    plan::Planner,
    record::{Asker, FAILED},
};

/// How long a caller is asked to stay away while the server shuts down: time for a restart.
const RETRY_AFTER_SHUTDOWN: Duration = Duration::from_secs(10);
/// What refuses to store where nothing may be stored, in records.
const RETENTION: &str = "retention";

/// The kernel's door: everything that is asked of models comes through here.
pub struct Path {
    access: Access,
    replicas: Replicas,
    kept: Arc<Kept>,
    metrics: Metrics,
    sequences: AtomicU64,
    closing: AtomicBool,
    planner: Planner,
    witness: Option<Arc<Witness>>,
}

/// An answer that has begun.
pub struct Answer {
    /// The request it answers.
    pub request: RequestId,
    /// The model's configured name, whatever alias was asked for.
    pub model: ModelName,
    /// The events. Dropping the stream cancels the work within one step.
    pub events: BoxStream<'static, Result<Event, PathError>>,
}

/// Vectors that were asked for.
pub struct Embeddings {
    /// The model's configured name, whatever alias was asked for.
    pub model: ModelName,
    /// One of length 1 for each passage, in their order.
    pub vectors: Vec<Vector>,
    /// Tokens read.
    pub input: Tokens,
}

/// Documents in the order of their relevance.
pub struct Ranking {
    /// The model's configured name, whatever alias was asked for.
    pub model: ModelName,
    /// Where the scores come from.
    pub method: Method,
    /// The most relevant first; as many as were asked for.
    pub best: Vec<Relevance>,
    /// Tokens read.
    pub input: Tokens,
}

/// A part of what a ranking is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The query.
    Query,
    /// A document, by its place from 0.
    Document(usize),
    /// A document and the query, which the model reads together.
    Pair(usize),
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Query => f.write_str("the query"),
            Self::Document(index) => write!(f, "document {index}"),
            Self::Pair(index) => write!(f, "document {index} with the query"),
        }
    }
}

/// Why there is no answer, or not a whole one.
#[derive(Debug, thiserror::Error)]
pub enum PathError {
    /// Not let through.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// No replica to send it to.
    #[error(transparent)]
    Route(#[from] RouteError),
    /// The model stays in memory.
    #[error(transparent)]
    Unload(#[from] UnloadError),
    /// The engine did not answer.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// It is not stored, or what was stored is not given back.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// Nothing of it is recorded, or it is somebody else's.
    #[error(
        "there is no receipt of this id; it is the id of a request of your own, as in the header `x-request-id` of its answer"
    )]
    NoReceipt,
    /// The audit log cannot be copied there.
    #[error("{folder}: {why}")]
    Export {
        /// The folder.
        folder: String,
        /// What is wrong.
        why: String,
    },
    /// A part of a ranking cannot be given to this model.
    #[error("{part}: {why}")]
    BadPart {
        /// Which part.
        part: Part,
        /// What is wrong with it.
        why: String,
    },
    /// A part of a ranking is longer than the model reads at once.
    #[error(
        "{part}: it has {tokens} tokens, but the model reads at most {most} at once; shorten or split it"
    )]
    PartTooLong {
        /// Which part.
        part: Part,
        /// Its tokens, those that the model puts around it included.
        tokens: Tokens,
        /// Most that would have been read.
        most: Tokens,
    },
    /// A value that this model does not allow.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// What is to be planned cannot be.
    #[error("the workflow cannot be planned: {0}")]
    Workflow(String),
    /// Another plan is being made.
    #[error("a workflow of yours, or as many as can wait, are being planned now; try again")]
    Planning {
        /// When to come back.
        retry_after: Duration,
    },
    /// The server is going away.
    #[error("the server is shutting down and takes no new requests")]
    Closing {
        /// When to come back.
        retry_after: Duration,
    },
}

/// What is asked of a model, as the steps see it that all requests have in common.
trait Ask {
    const OPERATION: Operation;
    /// What a model must be made to do; the first is the usual.
    const PURPOSES: &[Purpose];

    fn wanted(&self) -> ModelUse;
}

impl Ask for GenerateRequest {
    const OPERATION: Operation = Operation::Generate;
    const PURPOSES: &[Purpose] = &[Purpose::Generate];

    fn wanted(&self) -> ModelUse {
        ModelUse { model: self.model.clone(), declared: self.declared.clone() }
    }
}

impl Ask for EmbedRequest {
    const OPERATION: Operation = Operation::Embed;
    const PURPOSES: &[Purpose] = &[Purpose::Embed];

    fn wanted(&self) -> ModelUse {
        ModelUse { model: self.model.clone(), declared: self.declared.clone() }
    }
}

impl Ask for RerankRequest {
    const OPERATION: Operation = Operation::Rerank;
    const PURPOSES: &[Purpose] = &[Purpose::Rank, Purpose::Embed];

    fn wanted(&self) -> ModelUse {
        ModelUse { model: self.model.clone(), declared: self.declared.clone() }
    }
}

/// Proof that a request has a replica. Made by `route` only, from a request that was authorised.
struct Routed<A: Action, R> {
    authorized: Authorized<A>,
    route: Route,
    request: R,
    /// Dropped, it counts the request as aborted.
    observation: Observation,
}

impl Path {
    /// A path over these replicas, guarded by `access`; what callers want stored goes into `kept`.
    pub fn new(access: Access, replicas: Replicas, kept: Arc<Kept>) -> Self {
        Self {
            access,
            kept,
            metrics: Metrics::new(),
            replicas,
            sequences: AtomicU64::new(1),
            closing: AtomicBool::new(false),
            planner: Planner::default(),
            witness: None,
        }
    }

    /// With a witness, which countersigns the audit logs of others.
    #[must_use]
    pub fn with_witness(mut self, witness: Arc<Witness>) -> Self {
        self.witness = Some(witness);
        self
    }

    /// Answers one request. Called by `gateway`, for all protocols alike. What is to be kept is stored before the last event
    /// leaves; whether it may be is known before the engine begins.
    pub async fn serve(
        &self,
        credential: Credential,
        request: GenerateRequest,
        keep: Option<Keep>,
    ) -> Result<Answer, PathError> {
        self.open()?;
        let standing = self.access.standing(&credential);
        let asker = self.asker_for(&credential, &request);
        let (authorized, mut charge) = self.reserved::<Generate, _>(&credential, &request).await?;
        let keeping = match keep {
            Some(keep) => Some(self.keep(asker, &authorized, request.id, keep).await?),
            None => None,
        };
        let facts = keeping.iter().fold(Facts::none(), |facts, keeping| keeping.facts(facts));
        charge.record(asker, &authorized, facts, Some(&request.input)).await?;
        let answered = async { self.run(self.route(authorized, request).await?).await };
        let (mut answer, prompt, digest) = match answered.await {
            Ok(answered) => answered,
            Err(error) => return Err(charge.fail(error).await),
        };
        // The estimate gives way to what it is. Who cannot pay that gets no answer: it is cancelled before it has begun, and costs nothing.
        if let Err(error) = charge.reads(prompt) {
            return Err(charge.fail(error.into()).await);
        }
        charge.begin(&answer.model, &digest);
        if let Some(keeping) = keeping {
            answer.events = stored(answer.events, keeping, answer.model.clone());
        }
        answer.events = charged(answer.events, charge);
        answer.events = while_it_stands(answer.events, standing);
        Ok(answer)
    }

    /// Computes a vector of each passage. Dropping the future cancels the work within one step.
    pub async fn embed(
        &self,
        credential: Credential,
        request: EmbedRequest,
    ) -> Result<Embeddings, PathError> {
        let (routed, charge) = self.routed::<Embed, _>(credential, request).await?;
        let embeddings = self.run_embedding(routed).await;
        charge.close(embeddings, |embeddings| embeddings.input).await
    }

    /// Puts documents in the order of their relevance to a query. Dropping the future cancels the work within one
    /// step.
    pub async fn rerank(&self, credential: Credential, request: RerankRequest) -> Result<Ranking, PathError> {
        let (routed, charge) = self.routed::<Embed, _>(credential, request).await?;
        let ranking = self.run_ranking(routed).await;
        charge.close(ranking, |ranking| ranking.input).await
    }

    async fn keep(
        &self,
        asker: Asker<'_>,
        authorized: &Authorized<Generate>,
        id: RequestId,
        keep: Keep,
    ) -> Result<Keeping, PathError> {
        let principal = authorized.principal();
        // Filled in by the decision.
        let data_class = authorized.resource().declared.data_class.unwrap_or(principal.data_class_max);
        match self.access.authorize::<StoreChatCompletion>(principal, data_class) {
            Ok(authorized) => match self.kept.begin(&authorized, id, keep).await {
                Err(error @ KeptError::NotAllowed(_)) => {
                    asker.refused_by(&authorized, RETENTION).await;
                    Err(error.into())
                }
                kept => Ok(kept?),
            },
            Err(refusal) => Err(asker.refused(principal, StoreChatCompletion::NAME, refusal).await),
        }
    }

    /// The steps that requests for vectors have in common: authenticate, authorise, reserve, record, route.
    async fn routed<A: Action<Resource = ModelUse>, R: Ask + Cost>(
        &self,
        credential: Credential,
        request: R,
    ) -> Result<(Routed<A, R>, Charge), PathError> {
        self.open()?;
        let (authorized, mut charge) = self.reserved::<A, R>(&credential, &request).await?;
        charge.record(self.asker_for(&credential, &request), &authorized, Facts::none(), None).await?;
        match self.route(authorized, request).await {
            Ok(routed) => {
                charge.begin(&routed.route.model, &routed.route.digest);
                Ok((routed, charge))
            }
            Err(error) => Err(charge.fail(error).await),
        }
    }

    /// The steps that all requests to models have in common: authenticate, authorise, and set aside what it may cost, on the account of
    /// whoever was authorised. A refusal is recorded.
    async fn reserved<A: Action<Resource = ModelUse>, R: Ask + Cost>(
        &self,
        credential: &Credential,
        request: &R,
    ) -> Result<(Authorized<A>, Charge), PathError> {
        let (principal, asker) = (self.principal(credential).await?, self.asker_for(credential, request));
        asker.may(&principal, FAILED, Unpaid::may_fail).await?;
        let (input, output) = (request.input(), request.output());
        let reserved = self.access.authorize::<A>(&principal, self.wanted(request)).and_then(|authorized| {
            match self.access.reserve(&authorized, input, output) {
                Ok(reservation) => Ok((authorized, reservation)),
                Err(why) => Err(authorized.over_quota(why)),
            }
        });
        match reserved {
            Ok((authorized, reservation)) => {
                let charge = Charge::new(reservation, self.access.book(&authorized), input, output);
                Ok((authorized, charge))
            }
            Err(refusal) => Err(asker.refused(&principal, A::NAME, refusal).await),
        }
    }

    fn asker_for(&self, credential: &Credential, request: &impl Ask) -> Asker<'_> {
        let asker = self.asker(credential);
        match self.replicas.name(&request.wanted().model) {
            Ok(_) => asker,
            Err(_) => asker.without_model(),
        }
    }

    /// What a request wants, with the model's configured name: a key may be for some models only.
    fn wanted(&self, request: &impl Ask) -> ModelUse {
        let wanted = request.wanted();
        match self.replicas.name(&wanted.model) {
            Ok(model) => ModelUse { model: model.clone(), ..wanted },
            // That there is none is said where it is looked for.
            Err(_) => wanted,
        }
    }

    /// From here on new requests are refused; those that run go on.
    pub fn close(&self) {
        self.closing.store(true, Ordering::Release);
    }

    fn open(&self) -> Result<(), PathError> {
        if self.closing.load(Ordering::Acquire) {
            return Err(PathError::Closing { retry_after: RETRY_AFTER_SHUTDOWN });
        }
        Ok(())
    }

    async fn route<A: Action<Resource = ModelUse>, R: Ask>(
        &self,
        authorized: Authorized<A>,
        request: R,
    ) -> Result<Routed<A, R>, PathError> {
        let model = &authorized.resource().model;
        let mut observation = self.metrics.begin(R::OPERATION, self.replicas.name(model)?);
        match self.replicas.route(authorized.principal(), model, R::PURPOSES).await {
            Ok(route) => Ok(Routed { authorized, route, request, observation }),
            Err(error) => {
                observation.refused();
                Err(error.into())
            }
        }
    }

    /// Starts the work. Its events are measured on their way out. With the tokens of the prompt, and the hash of the model.
    async fn run(
        &self,
        routed: Routed<Generate, GenerateRequest>,
    ) -> Result<(Answer, Tokens, FileDigest), PathError> {
        let Routed { authorized, route, mut request, mut observation } = routed;
        let id = request.id;
        request.declared = authorized.resource().declared.clone();
        let work = Work {
            id: SequenceId(self.sequences.fetch_add(1, Ordering::Relaxed)),
            request: Arc::new(request),
            principal: authorized.principal().clone(),
        };
        match route.driver.generate(work).await {
            Ok(events) => {
                let prompt = events.prompt();
                let events = measured(events, observation, route.lease);
                Ok((Answer { request: id, model: route.model, events }, prompt, route.digest))
            }
            Err(error) => {
                observation.refused();
                Err(error.into())
            }
        }
    }

    /// Computes the vectors, and cuts them to the length asked for.
    async fn run_embedding(&self, routed: Routed<Embed, EmbedRequest>) -> Result<Embeddings, PathError> {
        let Routed { authorized, route, request, observation } = routed;
        let embedded = async {
            if let Some(wanted) = request.dimensions {
                let can = route.driver.ready().await?;
                if !(1..=can.dimensions).contains(&wanted) {
                    let allowed = format!("1 to {}", can.dimensions);
                    return Err(OutOfRange::new("dimensions", wanted, allowed).into());
                }
            }
            let work = self.embed_work(&authorized, request.id, request.passages);
            Ok(route.driver.embed(work).await?)
        };
        let Embedded { vectors, input } = observation.computing(embedded).await?;
        let vectors = match request.dimensions {
            Some(wanted) => vectors.iter().map(|whole| vectors::shortened(whole, wanted)).collect(),
            None => vectors,
        };
        Ok(Embeddings { model: route.model.clone(), vectors, input })
    }

    /// Scores by a model that ranks; by the cosine of embeddings where the model only embeds.
    async fn run_ranking(&self, routed: Routed<Embed, RerankRequest>) -> Result<Ranking, PathError> {
        let Routed { authorized, route, request, observation } = routed;
        let RerankRequest { id, query, documents, best, .. } = request;
        let count = documents.len();
        let method = match route.purpose {
            Purpose::Embed => Method::Cosine,
            Purpose::Rank | Purpose::Generate => Method::Rank,
        };
        let passages = match method {
            Method::Rank => documents.into_iter().map(|text| Passage::Pair(query.clone(), text)).collect(),
            Method::Cosine => documents.into_iter().chain([query]).map(Passage::Text).collect(),
        };
        let work = self.embed_work(&authorized, id, passages);
        let embedded =
            async { route.driver.embed(work).await.map_err(|error| of_part(error, method, count)) };
        let Embedded { vectors, input } = observation.computing(embedded).await?;
        let best = vectors::best_first(method, &vectors, best.map_or(count, |best| best as usize));
        Ok(Ranking { model: route.model.clone(), method, best, input })
    }

    fn embed_work(
        &self,
        authorized: &Authorized<Embed>,
        request: RequestId,
        passages: Vec<Passage>,
    ) -> EmbedWork {
        let first = self.sequences.fetch_add(passages.len() as u64, Ordering::Relaxed);
        EmbedWork {
            first: SequenceId(first),
            request,
            passages,
            class: authorized.resource().declared.class.unwrap_or(PriorityClass::Normal),
            principal: authorized.principal().clone(),
        }
    }
}

/// An error about a passage, in the words of whoever asked for a ranking.
fn of_part(error: EngineError, method: Method, documents: usize) -> PathError {
    // By cosine the query is one more passage, behind the documents.
    let part = |index| match method {
        _ if index == documents => Part::Query,
        Method::Cosine => Part::Document(index),
        Method::Rank => Part::Pair(index),
    };
    match error {
        EngineError::TooLong { index, tokens, most } => {
            PathError::PartTooLong { part: part(index), tokens, most }
        }
        EngineError::BadPassage { index, why } => PathError::BadPart { part: part(index), why },
        error => error.into(),
    }
}

/// Passes events on as long as the credential stands: whoever is sent away is sent away in the middle of an answer, too. What
/// is in work then is cancelled.
fn while_it_stands(
    events: BoxStream<'static, Result<Event, PathError>>,
    standing: Standing,
) -> BoxStream<'static, Result<Event, PathError>> {
    let ended = async move { standing.ended().await }.boxed();
    stream::unfold(Some((events, ended)), |state| async move {
        let (mut events, ended) = state?;
        match future::select(ended, events.next()).await {
            Either::Left(_) => Some((Err(AccessError::Unauthenticated.into()), None)),
            Either::Right((event, ended)) => Some((event?, Some((events, ended)))),
        }
    })
    .boxed()
}

/// Passes events on unchanged and lets `observation` see them. An observation that is dropped before the last
/// event counts the request as aborted. The stream holds the model in memory until it is dropped itself.
fn measured(
    events: EventStream,
    mut observation: Observation,
    lease: Lease,
) -> BoxStream<'static, Result<Event, PathError>> {
    events
        .map(move |event| {
            let _held = &lease;
            observation.see(&event);
            event.map_err(PathError::from)
        })
        .boxed()
}
