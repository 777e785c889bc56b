//! The sessions of whoever asks, for programs and for the page of the account.

use std::sync::Arc;

use access::{AccessError, OwnSession, SignInError};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    response::Response,
};
use http::{HeaderMap, Method, StatusCode};
use types::Secret;

use super::{Failed, cookie, failed, see, session_of};
use crate::{
    credential::shown_session,
    error::{ApiError, ErrorBody},
    routes::Gateway,
    sign_in_types::{ListedSession, Sessions},
};

type Named = Result<Path<String>, PathRejection>;

/// That of the bearer, or of the cookie; where something is changed, only if a page of ours asks.
fn secret(method: &Method, headers: &HeaderMap) -> Result<Secret, SignInError> {
    let of_cookie = || match *method {
        Method::GET => cookie::session(headers).ok_or_else(|| AccessError::Unauthenticated.into()),
        _ => session_of(headers),
    };
    shown_session(headers).map_or_else(of_cookie, Ok)
}

/// List one's own sessions
#[utoipa::path(get, path = "/auth/sessions", tag = "sign-in", security(()), responses((status = 200, description = "Those of whoever has signed in, the latest first", body = Sessions), (status = "4XX", description = "There is none, or it is not complete", body = ErrorBody)))]
pub(crate) async fn list(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
) -> Result<Json<Sessions>, ApiError> {
    let secret = secret(&Method::GET, &headers)?;
    let sessions = gateway.path.sign_in().own_sessions(&secret)?;
    Ok(Json(Sessions { sessions: sessions.into_iter().map(ListedSession::from).collect() }))
}

/// End a session of one's own
///
/// With what is in work for it. Another one than that which asks ends only for who has proved in the last 15 minutes that they are there.
#[utoipa::path(delete, path = "/auth/sessions/{id}", tag = "sign-in", security(()), params(("id" = String, Path, description = "Its id")), responses((status = 204, description = "It is over"), (status = "4XX", description = "There is none, or a proof is missing", body = ErrorBody)))]
pub(crate) async fn end(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    id: Named,
) -> Result<StatusCode, ApiError> {
    let (secret, id) = (secret(&Method::DELETE, &headers)?, id.map_or(String::new(), |Path(id)| id));
    gateway.path.sign_in().end_own_session(&secret, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// End a session of one's own, from the page
#[utoipa::path(post, path = "/auth/sessions/{id}/end", tag = "sign-in", security(()), params(("id" = String, Path, description = "Its id")), responses((status = 303, description = "It is over"), Failed))]
pub(crate) async fn end_on_page(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    id: Named,
) -> Response {
    let id = id.map_or(String::new(), |Path(id)| id);
    let ended = match session_of(&headers) {
        Ok(secret) => gateway.path.sign_in().end_own_session(&secret, &id).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => see(super::ROOT),
        Err(error) => failed(&error),
    }
}

impl From<OwnSession> for ListedSession {
    fn from(session: OwnSession) -> Self {
        let OwnSession { id, kind, stage, provider, created_at, seen_at, expires_at, is_this } = session;
        let (kind, complete) = (kind.as_str().to_owned(), stage == access::Stage::Complete);
        Self { id, kind, complete, provider, created_at, seen_at, expires_at, is_this }
    }
}
