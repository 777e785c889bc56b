//! The whole request path, in order, in this file, without HTTP.
//!
//! **Does**: authenticate, authorise, route, run. `gateway` calls it for every protocol; workflows and batches
//! will call the same [`Path::serve`]. **Never** is bypassed: each step takes what only the step before can make.
//!
//! The three types to know: [`Path`], [`Answer`], [`PathError`]. What operators do (list, kill, keys, metrics)
//! is in `operate.rs`; it passes through the same two first steps.
#![forbid(unsafe_code)]

mod metrics;
mod operate;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use access::{Access, AccessError, Authorized, Credential, Generate, Generation};
use engine::{EngineError, EventStream, Work};
use futures::{StreamExt, stream::BoxStream};
use resources::{Lease, Replicas, Route, RouteError, UnloadError};
use types::{Event, GenerateRequest, ModelName, RequestId, SequenceId};

use crate::metrics::{Metrics, Observation};
pub use crate::operate::{ModelList, NotReady, ProcessList};

/// How long a caller is asked to stay away while the server shuts down: time for a restart.
const RETRY_AFTER_SHUTDOWN: Duration = Duration::from_secs(10);

/// The kernel's door: everything that is asked of models comes through here.
pub struct Path {
    access: Access,
    replicas: Replicas,
    metrics: Metrics,
    sequences: AtomicU64,
    closing: AtomicBool,
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
    /// The server is going away.
    #[error("the server is shutting down and takes no new requests")]
    Closing {
        /// When to come back.
        retry_after: Duration,
    },
}

/// Proof that a request has a replica. Made by `route` only, from a request that was authorised.
struct Routed {
    authorized: Authorized<Generate>,
    route: Route,
    request: GenerateRequest,
}

impl Path {
    /// A path over these replicas, guarded by `access`.
    pub fn new(access: Access, replicas: Replicas) -> Self {
        Self {
            access,
            metrics: Metrics::new(),
            replicas,
            sequences: AtomicU64::new(1),
            closing: AtomicBool::new(false),
        }
    }

    /// Answers one request. Called by `gateway`, for all protocols alike.
    pub async fn serve(&self, credential: Credential, request: GenerateRequest) -> Result<Answer, PathError> {
        self.open()?;
        let principal = self.access.authenticate(credential).await?;
        let wanted =
            Generation { model: request.model.clone(), class: request.class, data_class: request.data_class };
        let authorized = self.access.authorize::<Generate>(&principal, wanted)?;
        let routed = self.route(authorized, request).await?;
        self.run(routed).await
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

    async fn route(
        &self,
        authorized: Authorized<Generate>,
        request: GenerateRequest,
    ) -> Result<Routed, PathError> {
        let route = self.replicas.route(authorized.principal(), &authorized.resource().model).await?;
        Ok(Routed { authorized, route, request })
    }

    /// Starts the work. Its events are measured on their way out.
    async fn run(&self, routed: Routed) -> Result<Answer, PathError> {
        let Routed { authorized, route, request } = routed;
        let id = request.id;
        let mut request = request;
        request.class = authorized.resource().class;
        request.data_class = authorized.resource().data_class;
        let work = Work {
            id: SequenceId(self.sequences.fetch_add(1, Ordering::Relaxed)),
            request: Arc::new(request),
            principal: authorized.principal().clone(),
        };
        let mut observation = self.metrics.begin(&route.model);
        let events = route.driver.generate(work).await.inspect_err(|_| observation.refused())?;
        Ok(Answer { request: id, model: route.model, events: measured(events, observation, route.lease) })
    }
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
