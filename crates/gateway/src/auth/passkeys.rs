//! What the script of the pages asks, as JSON.

use std::sync::Arc;

use access::SignInError;
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use serde_json::{Value, value::RawValue};
use utoipa::ToSchema;

use super::{cookie, is_own_page, pages::browser_of, replacing, session_of, with_cookie};
use crate::{
    body::JsonBody,
    error::{ApiError, ErrorBody},
    routes::Gateway,
};

/// What a passkey is wanted for.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Purpose {
    /// To be added.
    Add,
    /// To prove the second factor.
    Prove,
    /// To sign in.
    SignIn,
}

/// Asks for a challenge.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChallengeRequest {
    purpose: Purpose,
}

/// A challenge for the device.
#[derive(Serialize, ToSchema)]
pub(crate) struct Challenge {
    /// To be given back with the answer.
    id: String,
    /// What `navigator.credentials` takes, with bytes in base64url.
    #[schema(value_type = Object)]
    challenge: Box<RawValue>,
}

/// Ask for a challenge for a passkey
#[utoipa::path(post, path = "/auth/passkeys/challenges", tag = "sign-in", security(()), request_body = ChallengeRequest, responses((status = 200, description = "A challenge", body = Challenge), (status = "4XX", description = "Not signed in, or not now", body = ErrorBody)))]
pub(crate) async fn challenge(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    JsonBody(request): JsonBody<ChallengeRequest>,
) -> Result<Response, ApiError> {
    let sign_in = gateway.path.sign_in();
    let mut browser = None;
    let (id, challenge) = match request.purpose {
        Purpose::Add => sign_in.begin_passkey(&session_of(&headers)?)?,
        Purpose::Prove => sign_in.begin_passkey_proof(&session_of(&headers)?)?,
        Purpose::SignIn => {
            own(&headers)?;
            let name = browser_of(&headers)?;
            let begun = sign_in.begin_local(&name)?;
            browser = Some(name);
            begun
        }
    };
    let challenge = RawValue::from_string(challenge).map_err(|_| ApiError::Internal)?;
    let response = Json(Challenge { id, challenge }).into_response();
    Ok(match browser {
        Some(name) => with_cookie(response, cookie::set_browser(&name)),
        None => response,
    })
}

fn own(headers: &HeaderMap) -> Result<(), SignInError> {
    if is_own_page(headers) { Ok(()) } else { Err(access::AccessError::Unauthenticated.into()) }
}

/// What a device has answered.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Said {
    /// Of the challenge.
    id: String,
    /// What the passkey is called, if it is added.
    #[serde(default)]
    label: Option<String>,
    /// Why somebody signs in without the provider.
    #[serde(default)]
    reason: Option<String>,
    /// What `navigator.credentials` gave, with bytes in base64url.
    #[schema(value_type = Object)]
    answer: Value,
}

/// What comes with the first factor.
#[derive(Serialize, ToSchema)]
pub(crate) struct Codes {
    /// Recovery codes, shown this once; empty if there were factors before.
    codes: Vec<String>,
}

/// Add a passkey
#[utoipa::path(post, path = "/auth/passkeys", tag = "sign-in", security(()), request_body = Said, responses((status = 200, description = "It is added", body = Codes), (status = "4XX", description = "It is not", body = ErrorBody)))]
pub(crate) async fn add(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    JsonBody(said): JsonBody<Said>,
) -> Result<Response, ApiError> {
    let label = said.label.unwrap_or_else(|| "passkey".to_owned());
    let session = session_of(&headers)?;
    let (session, codes) =
        gateway.path.sign_in().finish_passkey(&session, &said.id, &label, &said.answer).await?;
    let codes = codes.iter().map(|code| String::from_utf8_lossy(code.expose()).into_owned()).collect();
    Ok(with_cookie(Json(Codes { codes }).into_response(), cookie::set_session(&session)))
}

/// Prove it by a passkey
#[utoipa::path(post, path = "/auth/passkeys/proofs", tag = "sign-in", security(()), request_body = Said, responses((status = 200, description = "Proved", body = Codes), (status = "4XX", description = "It does not", body = ErrorBody)))]
pub(crate) async fn prove(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    JsonBody(said): JsonBody<Said>,
) -> Result<Response, ApiError> {
    let session = session_of(&headers)?;
    let session = gateway.path.sign_in().finish_passkey_proof(&session, &said.id, &said.answer).await?;
    Ok(with_cookie(Json(Codes { codes: Vec::new() }).into_response(), cookie::set_session(&session)))
}

/// Sign in by a passkey
#[utoipa::path(post, path = "/auth/passkeys/sign-ins", tag = "sign-in", security(()), request_body = Said, responses((status = 200, description = "Signed in", body = Codes), (status = "4XX", description = "Not", body = ErrorBody)))]
pub(crate) async fn sign_in(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    JsonBody(said): JsonBody<Said>,
) -> Result<Response, ApiError> {
    own(&headers)?;
    let browser = cookie::browser(&headers).ok_or(SignInError::Unknown)?;
    let door = gateway.path.sign_in();
    let signed_in = door.finish_local(browser, &said.id, &said.answer, said.reason.as_deref()).await?;
    replacing(&gateway, &headers).await?;
    let response = Json(Codes { codes: Vec::new() }).into_response();
    Ok(with_cookie(response, cookie::set_session(&signed_in.session)))
}
