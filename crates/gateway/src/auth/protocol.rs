//! What programs ask: devices (RFC 8628), workloads (RFC 8693), providers (`OpenID` Connect Back-Channel Logout), and who wants to
//! know who they are.

use std::sync::Arc;

use access::{DeviceError, SignInError};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use types::Secret;
use utoipa::ToSchema;

use super::{cookie, status};
use crate::{
    body::FormBody,
    credential::{Peer, shown_session},
    error::{ApiError, ErrorBody},
    routes::Gateway,
    sign_in_types::{DeviceAnswer, Session, TokenAnswer, TokenError},
};

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const EXCHANGE_GRANT: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
const JWT: &str = "urn:ietf:params:oauth:token-type:jwt";

/// Who am I
#[utoipa::path(get, path = "/auth/session", tag = "sign-in", security(()), responses((status = 200, description = "The session of the cookie or the bearer", body = Session), (status = "4XX", description = "There is none", body = ErrorBody)))]
pub(crate) async fn session(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
) -> Result<Json<Session>, ApiError> {
    let secret = shown_session(&headers).or_else(|| cookie::session(&headers));
    let secret = secret.ok_or(SignInError::Access(access::AccessError::Unauthenticated))?;
    let view = gateway.path.sign_in().session(&secret)?;
    Ok(Json(Session {
        tenant: view.tenant,
        user: view.user,
        role: view.role.as_str().to_owned(),
        kind: view.kind.as_str().to_owned(),
        complete: view.stage == access::Stage::Complete,
        present_at: view.present_at,
        expires_at: view.expires_at,
    }))
}

/// Sign out a program
///
/// Ends the session of the bearer.
#[utoipa::path(delete, path = "/auth/session", tag = "sign-in", security(()), responses((status = 204, description = "It is over"), (status = "4XX", description = "There is none", body = ErrorBody)))]
pub(crate) async fn end_session(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
) -> Result<StatusCode, ApiError> {
    let secret = shown_session(&headers).ok_or(SignInError::Access(access::AccessError::Unauthenticated))?;
    gateway.path.sign_in().sign_out(&secret).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct DeviceRequest {
    #[serde(default)]
    client_id: String,
}

/// Ask to let a device in
#[utoipa::path(post, path = "/auth/device", tag = "sign-in", security(()), request_body(content = DeviceRequest, content_type = "application/x-www-form-urlencoded"), responses((status = 200, description = "Codes", body = DeviceAnswer), (status = "5XX", description = "Too many wait", body = ErrorBody)))]
pub(crate) async fn device(
    State(gateway): State<Arc<Gateway>>,
    peer: Peer,
    FormBody(DeviceRequest { client_id }): FormBody<DeviceRequest>,
) -> Result<Json<DeviceAnswer>, ApiError> {
    let sign_in = gateway.path.sign_in();
    let codes = sign_in.begin_device(&client_id, &peer.to_string())?;
    let mut uri = sign_in.public_url().clone();
    uri.set_path("/auth/verify");
    let verification_uri = uri.to_string();
    uri.query_pairs_mut().append_pair("user_code", &codes.user_code);
    Ok(Json(DeviceAnswer {
        device_code: String::from_utf8_lossy(codes.device_code.expose()).into_owned(),
        user_code: codes.user_code,
        verification_uri,
        verification_uri_complete: uri.to_string(),
        expires_in: codes.expires_in,
        interval: codes.interval,
    }))
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct TokenRequest {
    #[serde(default)]
    grant_type: String,
    #[serde(default)]
    device_code: String,
    #[serde(default)]
    subject_token: String,
    #[serde(default)]
    subject_token_type: String,
    #[serde(default)]
    scope: String,
}

fn refused(status: StatusCode, error: &'static str, words: impl Into<String>) -> Response {
    (status, Json(TokenError { error: error.to_owned(), error_description: words.into() })).into_response()
}

/// What is no form of ours, in the words of the protocol.
fn unreadable(error: &ApiError) -> Response {
    refused(StatusCode::BAD_REQUEST, "invalid_request", error.to_string())
}

/// Get a session for a device or a workload
#[utoipa::path(post, path = "/auth/token", tag = "sign-in", security(()), request_body(content = TokenRequest, content_type = "application/x-www-form-urlencoded"), responses((status = 200, description = "A session", body = TokenAnswer), (status = 400, description = "Not yet, or not at all", body = TokenError), (status = "5XX", description = "Not now", body = TokenError)))]
pub(crate) async fn token(
    State(gateway): State<Arc<Gateway>>,
    form: Result<FormBody<TokenRequest>, ApiError>,
) -> Response {
    let FormBody(request) = match form {
        Ok(form) => form,
        Err(error) => return unreadable(&error),
    };
    let sign_in = gateway.path.sign_in();
    let bad = |error, words: &str| refused(StatusCode::BAD_REQUEST, error, words);
    let (secret, issued) = match request.grant_type.as_str() {
        DEVICE_GRANT => match sign_in.poll_device(&Secret::from(request.device_code)).await {
            Ok(secret) => (secret, None),
            Err(DeviceError::Pending) => return bad("authorization_pending", "nobody has let it in yet"),
            Err(DeviceError::SlowDown) => {
                return bad("slow_down", "it asks too often; wait 5 s longer each time");
            }
            Err(DeviceError::Denied) => return bad("access_denied", "somebody sent it away"),
            Err(DeviceError::Invalid) => {
                return bad("invalid_grant", "the code is unknown, used, or too old; begin again");
            }
        },
        EXCHANGE_GRANT => {
            if ![ACCESS_TOKEN, JWT].contains(&request.subject_token_type.as_str()) {
                return bad(
                    "invalid_request",
                    "`subject_token_type` must be that of an access token or a JWT",
                );
            }
            match sign_in.exchange(&Secret::from(request.subject_token), &request.scope).await {
                Ok(secret) => (secret, Some(ACCESS_TOKEN)),
                Err(error @ SignInError::Access(access::AccessError::OutOfScope { .. })) => {
                    return bad("invalid_scope", &error.to_string());
                }
                Err(error) => {
                    tracing::info!(%error, "a token was not exchanged");
                    let words = "the token does not say who it is for this server";
                    return match status(&error) {
                        at if at.is_server_error() => {
                            refused(at, "temporarily_unavailable", error.to_string())
                        }
                        _ => bad("invalid_grant", words),
                    };
                }
            }
        }
        _ => {
            return bad(
                "unsupported_grant_type",
                "it must be that of RFC 8628 (device) or RFC 8693 (exchange)",
            );
        }
    };
    match sign_in.session(&secret) {
        Ok(view) => Json(TokenAnswer {
            access_token: String::from_utf8_lossy(secret.expose()).into_owned(),
            token_type: "Bearer".to_owned(),
            expires_in: view.expires_in(),
            issued_token_type: issued.map(str::to_owned),
        })
        .into_response(),
        Err(_) => bad("invalid_grant", "the session is over already"),
    }
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct LogoutRequest {
    #[serde(default)]
    logout_token: String,
}

/// Take note that a provider has signed somebody out
#[utoipa::path(
    post, path = "/auth/backchannel-logout/{provider}", tag = "sign-in", security(()),
    request_body(content = LogoutRequest, content_type = "application/x-www-form-urlencoded"),
    params(("provider" = String, Path, description = "Configured name of the provider")),
    responses((status = 200, description = "Their sessions are over"), (status = 400, description = "The token proves nothing", body = TokenError))
)]
pub(crate) async fn signed_out(
    State(gateway): State<Arc<Gateway>>,
    provider: Result<Path<String>, PathRejection>,
    form: Result<FormBody<LogoutRequest>, ApiError>,
) -> Response {
    let FormBody(LogoutRequest { logout_token }) = match form {
        Ok(form) => form,
        Err(error) => return unreadable(&error),
    };
    let provider = provider.map_or(String::new(), |Path(provider)| provider);
    match gateway.path.sign_in().signed_out_at_provider(&provider, &logout_token).await {
        Ok(ended) => {
            tracing::info!(ended, "a provider has signed somebody out");
            StatusCode::OK.into_response()
        }
        Err(error) => {
            tracing::warn!(%error, "a logout token was refused");
            refused(StatusCode::BAD_REQUEST, "invalid_request", "the logout token proves nothing here")
        }
    }
}
