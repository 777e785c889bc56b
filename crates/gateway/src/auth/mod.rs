//! Signing in and out: pages for browsers, and the endpoints for devices, programs and providers. What they ask is decided in
//! `access`; here are only cookies, pages and the shapes of the protocols.

pub(crate) mod cookie;
mod page;
mod pages;
mod passkeys;
mod protocol;
mod sessions;

use std::collections::BTreeMap;

use access::{AccessError, SignInError};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use identity::IdentityError;
use serde_json::json;
use types::Secret;
use utoipa::{IntoResponses, openapi::RefOr};
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{described, error::ApiError, names, routes::Gateway};

/// Where all of it is. Anybody may ask for what is below: who signs in has no credential yet.
pub(crate) const ROOT: &str = "/auth";
/// Longest address that somebody is sent back to after a sign-in.
const NEXT_BYTES_MAX: usize = 512;

pub(crate) fn routes() -> OpenApiRouter<std::sync::Arc<Gateway>> {
    OpenApiRouter::default()
        .routes(routes!(pages::account))
        .routes(routes!(pages::script))
        .routes(routes!(pages::style))
        .routes(routes!(pages::login))
        .routes(routes!(pages::callback))
        .routes(routes!(pages::sign_out))
        .routes(routes!(pages::sign_out_elsewhere))
        .routes(routes!(pages::setup))
        .routes(routes!(pages::begin_totp))
        .routes(routes!(pages::first_totp))
        .routes(routes!(pages::prove_totp))
        .routes(routes!(pages::prove_recovery))
        .routes(routes!(pages::new_recovery_codes))
        .routes(routes!(pages::remove_factor))
        .routes(routes!(pages::ask_device, pages::decide_device))
        .routes(routes!(passkeys::challenge))
        .routes(routes!(passkeys::add))
        .routes(routes!(passkeys::prove))
        .routes(routes!(passkeys::sign_in))
        .routes(routes!(protocol::session, protocol::end_session))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::end))
        .routes(routes!(sessions::end_on_page))
        .routes(routes!(protocol::device))
        .routes(routes!(protocol::token))
        .routes(routes!(protocol::signed_out))
}

/// Whether a path is one of these.
pub(crate) fn is_below(path: &str) -> bool {
    path.strip_prefix(ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether a page of ours asks. What changes something counts only then: a cookie comes along with whatever a browser sends.
pub(crate) fn is_own_page(headers: &HeaderMap) -> bool {
    let only = |name| {
        let mut all = headers.get_all(name).iter();
        all.next().filter(|_| all.next().is_none()).and_then(|value| value.to_str().ok())
    };
    let origin = only(header::ORIGIN).and_then(|origin| origin.split_once("://"));
    origin
        .is_some_and(|(_, authority)| only(header::HOST).is_some_and(|host| names::is_same(authority, host)))
}

/// The session of whoever asks by a page of ours.
fn session_of(headers: &HeaderMap) -> Result<Secret, SignInError> {
    if !is_own_page(headers) {
        return Err(AccessError::Unauthenticated.into());
    }
    cookie::session(headers).ok_or_else(|| AccessError::Unauthenticated.into())
}

/// Whoever has signed in anew has one session, and nobody the one before.
async fn replacing(gateway: &Gateway, headers: &HeaderMap) -> Result<(), SignInError> {
    match cookie::session(headers) {
        Some(before) => gateway.path.sign_in().replaced(&before).await,
        None => Ok(()),
    }
}

/// Where somebody goes after a sign-in: only to pages of this server.
fn next(asked: Option<&str>) -> String {
    let is_ours = |path: &&str| {
        path.len() <= NEXT_BYTES_MAX
            && path.starts_with('/')
            && !path.starts_with("//")
            && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\')
    };
    asked.filter(is_ours).unwrap_or(ROOT).to_owned()
}

/// Sends a browser on.
fn see(place: &str) -> Response {
    let Ok(place) = HeaderValue::from_str(place) else { return ApiError::Internal.into_response() };
    (StatusCode::SEE_OTHER, [(header::LOCATION, place)]).into_response()
}

fn with_cookie(mut response: Response, cookie: Option<HeaderValue>) -> Response {
    match cookie {
        Some(cookie) => {
            response.headers_mut().append(header::SET_COOKIE, cookie);
            response
        }
        None => ApiError::Internal.into_response(),
    }
}

/// The status of what goes wrong with a sign-in.
pub(crate) fn status(error: &SignInError) -> StatusCode {
    match error {
        SignInError::Access(AccessError::SecondFactorMissing | AccessError::NameTaken(_))
        | SignInError::StepUp
        | SignInError::NotMapped
        | SignInError::ServiceAccount
        | SignInError::SecondFactorElsewhere => StatusCode::FORBIDDEN,
        SignInError::Access(AccessError::OutOfScope { .. } | AccessError::BadValue(_))
        | SignInError::NoReason
        | SignInError::NoPasskeys
        | SignInError::TooManyFactors => StatusCode::BAD_REQUEST,
        SignInError::Access(AccessError::Unavailable(_) | AccessError::Unrecorded(_)) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        SignInError::Identity(IdentityError::Unreachable { .. } | IdentityError::BadProvider { .. }) => {
            StatusCode::BAD_GATEWAY
        }
        SignInError::Identity(IdentityError::Random) => StatusCode::INTERNAL_SERVER_ERROR,
        SignInError::UnknownProvider | SignInError::UnknownFactor | SignInError::UnknownSession => {
            StatusCode::NOT_FOUND
        }
        SignInError::LockedOut(_)
        | SignInError::Access(AccessError::TooManyAttempts { .. } | AccessError::TooOften { .. }) => {
            StatusCode::TOO_MANY_REQUESTS
        }
        SignInError::Access(_)
        | SignInError::Identity(IdentityError::Rejected(_) | IdentityError::Declined { .. })
        | SignInError::Unknown
        | SignInError::WrongCode => StatusCode::UNAUTHORIZED,
    }
}

/// How a page ends otherwise: with another page, which says why; or, if it was asked for by something else than a page of ours,
/// with an error as everywhere.
struct Failed;

impl IntoResponses for Failed {
    fn responses() -> BTreeMap<String, RefOr<utoipa::openapi::Response>> {
        let page = json!({ "description": "A page that says why", "content": {
            "text/html": { "schema": { "type": "string" } }, "application/json": { "schema": described::error() },
        } });
        // Our own words are always a description; if they were not, the tests would see none.
        serde_json::from_value(json!({ "4XX": page, "5XX": page })).unwrap_or_default()
    }
}

/// A page for people; the reason why a proof was refused is for the log.
fn failed(error: &SignInError) -> Response {
    tracing::info!(%error, "a sign-in ended");
    let mut response = page::failed(status(error), error);
    if let SignInError::LockedOut(seconds) = error {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(*seconds));
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_sent_elsewhere() {
        for (asked, to) in [
            (Some("/auth/verify?user_code=AB"), "/auth/verify?user_code=AB"),
            (None, "/auth"),
            (Some(""), "/auth"),
            (Some("//evil.test"), "/auth"),
            (Some("/\\evil.test"), "/auth"),
            (Some("https://evil.test"), "/auth"),
            (Some("/a\r\nSet-Cookie: x"), "/auth"),
            (Some(&format!("/{}", "x".repeat(NEXT_BYTES_MAX))), "/auth"),
        ] {
            assert_eq!(next(asked), to, "{asked:?}");
        }
    }

    #[test]
    fn only_pages_of_ours_change_something() {
        let of = |pairs: &[(header::HeaderName, &str)]| {
            is_own_page(&pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect())
        };
        let (host, origin) = (header::HOST, header::ORIGIN);
        assert!(of(&[(host.clone(), "localhost:8080"), (origin.clone(), "http://localhost:8080")]));
        for other in ["null", "http://localhost:8081", "http://evil.test", "localhost:8080", ""] {
            assert!(!of(&[(host.clone(), "localhost:8080"), (origin.clone(), other)]), "{other}");
        }
        assert!(!of(&[(host.clone(), "localhost:8080")]));
        let own = (origin, "http://localhost:8080");
        assert!(!of(&[(host, "localhost:8080"), own.clone(), own]));
    }

    #[test]
    fn what_is_below_is_below() {
        assert!(is_below("/auth") && is_below("/auth/") && is_below("/auth/x"));
        assert!(!is_below("/authx") && !is_below("/AUTH") && !is_below("/") && !is_below("/v1/auth"));
    }
}
