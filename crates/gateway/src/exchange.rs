//! One request and its answer: gives it an id, catches panics, writes errors out, counts the answer as open until
//! its last byte has left, and logs one line when it is over. Never logs what was asked or answered.

use std::{
    panic::AssertUnwindSafe,
    pin::Pin,
    sync::{Arc, OnceLock},
    task::{Context, Poll, ready},
    time::Instant,
};

use axum::{
    body::Body,
    extract::{FromRequestParts, MatchedPath, Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::FutureExt;
use http::{Extensions, HeaderName, HeaderValue, Method, StatusCode, request::Parts};
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::sync::watch;
use types::{ModelName, RequestId, Tokens};

use crate::{error::ApiError, request_id};

/// Names the request in every answer.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// What the log says of a caller who left before there was an answer; nginx uses the same number.
const CALLER_LEFT: u16 = 499;

/// How many answers have begun and not ended.
#[derive(Clone, Default)]
pub(crate) struct OpenAnswers(watch::Sender<usize>);

impl OpenAnswers {
    /// Counts one more, until what is returned is dropped.
    fn begin(&self) -> OpenAnswer {
        self.0.send_modify(|open| *open += 1);
        OpenAnswer(self.0.clone())
    }

    /// Resolves when there are none.
    pub(crate) async fn none_left(&self) {
        // An error would mean that the sender is gone, and `self` is a sender.
        let _ = self.0.subscribe().wait_for(|open| *open == 0).await;
    }
}

struct OpenAnswer(watch::Sender<usize>);

impl Drop for OpenAnswer {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open -= 1);
    }
}

/// The exchange that a handler works on: its id, and what the handler notes for the log.
#[derive(Clone)]
pub(crate) struct Exchange(Arc<Notes>);

struct Notes {
    id: RequestId,
    model: OnceLock<ModelName>,
    used: OnceLock<(Tokens, Tokens)>,
    error: OnceLock<&'static str>,
}

impl Exchange {
    /// An exchange with an id of its own.
    pub(crate) fn new() -> Self {
        Self(Arc::new(Notes {
            id: request_id::random(),
            model: OnceLock::new(),
            used: OnceLock::new(),
            error: OnceLock::new(),
        }))
    }

    /// The request's id.
    pub(crate) fn id(&self) -> RequestId {
        self.0.id
    }

    /// Notes which model answers. The first call counts, here and below.
    pub(crate) fn answered_by(&self, model: &ModelName) {
        self.0.model.get_or_init(|| model.clone());
    }

    /// Notes what it cost.
    pub(crate) fn used(&self, input: Tokens, output: Tokens) {
        self.0.used.get_or_init(|| (input, output));
    }

    /// Notes the error that ended it.
    pub(crate) fn failed(&self, error: &ApiError) {
        self.0.error.get_or_init(|| error.code());
    }
}

/// The id of a request on its way.
pub(crate) fn id_of(extensions: &Extensions) -> RequestId {
    // `carry` puts one into every request.
    extensions.get::<Exchange>().map_or(RequestId(0), Exchange::id)
}

impl<S: Sync> FromRequestParts<S> for Exchange {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        // `carry` puts it into every request; a route outside of it would be a defect.
        parts.extensions.get::<Self>().cloned().ok_or(ApiError::Internal)
    }
}

/// The outermost layer of all routes.
pub(crate) async fn carry(State(open): State<OpenAnswers>, mut request: Request, next: Next) -> Response {
    let exchange = Exchange::new();
    let mut ending = Ending::new(&exchange, &request, open.begin());
    request.extensions_mut().insert(exchange.clone());
    let response = AssertUnwindSafe(next.run(request)).catch_unwind().await.unwrap_or_else(|_| {
        // What a panic carries may contain what was asked: only that it happened is logged.
        tracing::error!(request_id = %exchange.id(), "a handler panicked");
        ApiError::Internal.into_response()
    });
    let mut response = written_out(response, &exchange);
    if let Ok(id) = HeaderValue::try_from(exchange.id().to_string()) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    ending.status = Some(response.status());
    response.map(|body| {
        ending.complete = body.is_end_stream();
        Body::new(Observed { body, ending })
    })
}

/// Gives an error its body. Headers that were set before it (such as `Allow`) stay.
fn written_out(mut response: Response, exchange: &Exchange) -> Response {
    let Some(error) = response.extensions_mut().remove::<Arc<ApiError>>() else { return response };
    exchange.failed(&error);
    let (mut parts, body) = error.answer(exchange.id()).into_parts();
    for (name, value) in response.headers() {
        if !parts.headers.contains_key(name) && name != http::header::CONTENT_LENGTH {
            parts.headers.append(name, value.clone());
        }
    }
    Response::from_parts(parts, body)
}

/// Lives as long as the exchange, wherever it ends: in the handler, if the caller leaves before there is an answer,
/// or with the answer's body.
struct Ending {
    exchange: Exchange,
    method: &'static str,
    route: Option<MatchedPath>,
    started: Instant,
    status: Option<StatusCode>,
    complete: bool,
    _open: OpenAnswer,
}

impl Ending {
    fn new(exchange: &Exchange, request: &Request, open: OpenAnswer) -> Self {
        Self {
            exchange: exchange.clone(),
            method: method_name(request.method()),
            route: request.extensions().get().cloned(),
            started: Instant::now(),
            status: None,
            complete: false,
            _open: open,
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        let notes = &self.exchange.0;
        let used = notes.used.get();
        tracing::info!(
            request_id = %notes.id,
            method = self.method,
            // The path itself may hold anything; the route is one of ours.
            route = self.route.as_ref().map_or("none", MatchedPath::as_str),
            status = self.status.map_or(CALLER_LEFT, |status| status.as_u16()),
            complete = self.complete,
            duration_ms = self.started.elapsed().as_micros() as f64 / 1e3,
            model = notes.model.get().map(ModelName::as_str),
            tokens_in = used.map(|(input, _)| input.0),
            tokens_out = used.map(|(_, output)| output.0),
            error = notes.error.get(),
            "request"
        );
    }
}

/// The names of the standard methods; others are the caller's words.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

/// A body that carries the ending of its exchange.
struct Observed {
    body: Body,
    ending: Ending,
}

impl HttpBody for Observed {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let failed = matches!(frame, Some(Err(_)));
        self.ending.complete = !failed && (frame.is_none() || self.body.is_end_stream());
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
