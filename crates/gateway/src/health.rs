//! Whether the server lives, is ready, and how it does; and the description of the API.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};
use path::NotReady;
use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    credential::Caller,
    error::{ApiError, ErrorBody, whole_seconds},
    routes::Gateway,
};

/// Media type of the text format that Prometheus reads.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Answer of `/healthz`.
#[derive(Serialize, ToSchema)]
pub(crate) struct Health {
    /// Always `ok`.
    status: &'static str,
}

/// Answer of `/readyz`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Readiness {
    /// Whether every model can be asked.
    ready: bool,
    /// Why not; empty if it is.
    reasons: Vec<Reason>,
}

/// Something that keeps the server from being ready.
#[derive(Debug, Serialize, ToSchema)]
struct Reason {
    /// The model concerned; null if it is the server itself.
    model: Option<String>,
    /// What it is.
    why: String,
    /// When it is worth asking again, in seconds; null if that is not known.
    retry_after_s: Option<u64>,
}

impl From<Vec<NotReady>> for Readiness {
    fn from(reasons: Vec<NotReady>) -> Self {
        let reason = |reason: NotReady| Reason {
            model: reason.model.map(|model| model.to_string()),
            why: reason.why,
            retry_after_s: reason.retry_after.map(whole_seconds),
        };
        Self { ready: reasons.is_empty(), reasons: reasons.into_iter().map(reason).collect() }
    }
}

/// Whether the server lives
///
/// Needs no key.
#[utoipa::path(
    get,
    path = "/healthz",
    tag = "health",
    security(()),
    responses((status = 200, description = "It listens", body = Health)),
)]
pub(crate) async fn healthz() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Whether every model can be asked
///
/// Needs no key.
#[utoipa::path(
    get,
    path = "/readyz",
    tag = "health",
    security(()),
    responses(
        (status = 200, description = "Ready", body = Readiness),
        (status = 503, description = "Not ready, and why", body = Readiness),
    ),
)]
pub(crate) async fn readyz(State(gateway): State<Arc<Gateway>>) -> Response {
    let readiness = Readiness::from(gateway.path.not_ready());
    let status = if readiness.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(readiness)).into_response()
}

/// Metrics
///
/// In the `OpenMetrics` text format. Covers all tenants, so it needs the role `operator`.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    responses(
        (status = 200, description = "The metrics", body = String, content_type = "application/openmetrics-text"),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
    ),
)]
pub(crate) async fn metrics(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
) -> Result<Response, ApiError> {
    let text = gateway.path.metrics(credential).await?;
    Ok(([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

/// This description
#[utoipa::path(
    get,
    path = "/openapi.json",
    tag = "health",
    responses(
        (status = 200, description = "The description of the API", content_type = "application/json"),
        (status = "4XX", description = "No valid key", body = ErrorBody),
    ),
)]
pub(crate) async fn openapi(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
) -> Result<Response, ApiError> {
    gateway.path.may_read_api(credential).await?;
    Ok(([(header::CONTENT_TYPE, "application/json")], gateway.document.clone()).into_response())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn reasons_are_listed() {
        let json = |reasons: Vec<NotReady>| serde_json::to_string(&Readiness::from(reasons)).unwrap();
        assert_eq!(json(vec![]), r#"{"ready":true,"reasons":[]}"#);
        let loading = NotReady { model: "m".parse().ok(), why: "is loading".to_owned(), retry_after: None };
        let closing =
            NotReady { model: None, why: "ends".to_owned(), retry_after: Some(Duration::from_millis(1)) };
        assert_eq!(
            json(vec![loading, closing]),
            r#"{"ready":false,"reasons":[{"model":"m","why":"is loading","retry_after_s":null},{"model":null,"why":"ends","retry_after_s":1}]}"#
        );
    }
}
