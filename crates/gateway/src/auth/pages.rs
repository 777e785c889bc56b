//! What a browser asks for: pages, and the forms on them.

use std::{sync::Arc, time::SystemTime};

use access::SignInError;
use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use data_encoding::BASE64URL_NOPAD;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use identity::Callback;
use serde::Deserialize;
use types::Secret;
use utoipa::ToSchema;

use super::{Failed, cookie, failed, next, page, replacing, see, session_of, status, with_cookie};
use crate::{
    body::{FormBody, QueryFields},
    error::ApiError,
    routes::Gateway,
};

/// Random bytes of the name of a browser.
const BROWSER_BYTES: usize = 32;

#[derive(Deserialize, ToSchema)]
pub(crate) struct Wishes {
    /// Path of this server to go to afterwards.
    #[serde(default)]
    next: Option<String>,
    /// 1: the provider asks again who it is.
    #[serde(default)]
    anew: Option<String>,
}

type Wished = Result<QueryFields<Wishes>, ApiError>;

/// The page of the account
///
/// Where somebody signs in, adds and proves factors, and signs out.
#[utoipa::path(get, path = "/auth", tag = "sign-in", security(()), responses((status = 200, description = "A page", body = String, content_type = "text/html")))]
pub(crate) async fn account(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    wished: Wished,
) -> Response {
    let sign_in = gateway.path.sign_in();
    let wished = wished.ok().and_then(|QueryFields(wishes)| wishes.next);
    let view = cookie::session(&headers).and_then(|secret| {
        Some((sign_in.session(&secret).ok()?, sign_in.own_sessions(&secret).unwrap_or_default()))
    });
    match view {
        Some((view, sessions)) => {
            page::account(&view, &sessions, sign_in.has_passkeys(), &next(wished.as_deref()))
        }
        None => page::sign_in(&sign_in.providers(), sign_in.has_passkeys(), &next(wished.as_deref())),
    }
}

/// The script of the pages
#[utoipa::path(get, path = "/auth/passkeys.js", tag = "sign-in", security(()), responses((status = 200, description = "JavaScript", body = String, content_type = "text/javascript")))]
pub(crate) async fn script() -> Response {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], page::SCRIPT).into_response()
}

/// The style of the pages
#[utoipa::path(get, path = "/auth/page.css", tag = "sign-in", security(()), responses((status = 200, description = "CSS", body = String, content_type = "text/css")))]
pub(crate) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], page::STYLE).into_response()
}

/// Go to a provider
///
/// By a button of ours only: a link of another site would sign in whoever is signed in at the provider.
#[utoipa::path(
    post, path = "/auth/login/{provider}", tag = "sign-in", security(()),
    request_body(content = Wishes, content_type = "application/x-www-form-urlencoded"),
    params(("provider" = String, Path, description = "Configured name of the provider")),
    responses((status = 200, description = "A page that goes on to the provider", body = String, content_type = "text/html"), Failed)
)]
pub(crate) async fn login(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    provider: Result<Path<String>, PathRejection>,
    FormBody(Wishes { next: wished, anew }): FormBody<Wishes>,
) -> Response {
    if !super::is_own_page(&headers) {
        return failed(&access::AccessError::Unauthenticated.into());
    }
    let provider = provider.map_or(String::new(), |Path(provider)| provider);
    let browser = match browser_of(&headers) {
        Ok(browser) => browser,
        Err(error) => return error.into_response(),
    };
    let to = next(wished.as_deref());
    match gateway.path.sign_in().begin(&provider, &browser, to, anew.is_some()).await {
        Ok(url) => with_cookie(page::leave(&provider, url.as_str()), cookie::set_browser(&browser)),
        Err(error) => failed(&error),
    }
}

/// The page of the account, which leads on to another one.
fn by_way_of_root(next: &str) -> String {
    let query: String =
        url::form_urlencoded::Serializer::new(String::new()).append_pair("next", next).finish();
    format!("{}?{query}", super::ROOT)
}

fn new_browser() -> Result<String, ApiError> {
    let mut bytes = [0; BROWSER_BYTES];
    getrandom::fill(&mut bytes).map_err(|_| ApiError::Internal)?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

/// The name of the browser that asks, or a new one that it is given.
pub(super) fn browser_of(headers: &HeaderMap) -> Result<String, ApiError> {
    cookie::browser(headers).map_or_else(new_browser, |known| Ok(known.to_owned()))
}

/// Come back from a provider
#[utoipa::path(
    get, path = "/auth/callback/{provider}", tag = "sign-in", security(()),
    params(("provider" = String, Path, description = "Configured name of the provider")),
    responses((status = 303, description = "Signed in"), Failed)
)]
pub(crate) async fn callback(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    provider: Result<Path<String>, PathRejection>,
    said: Result<QueryFields<Callback>, ApiError>,
) -> Response {
    let (Ok(Path(provider)), Ok(QueryFields(said)), Some(browser)) =
        (provider, said, cookie::browser(&headers))
    else {
        return failed(&SignInError::Unknown);
    };
    let before = cookie::session(&headers);
    match gateway.path.sign_in().finish(&provider, browser, before.as_ref(), &said).await {
        Ok(signed_in) => {
            let to = match signed_in.stage {
                access::Stage::Complete => signed_in.next,
                // And from there on, when the second factor is proved.
                access::Stage::FirstFactor => by_way_of_root(&signed_in.next),
            };
            with_cookie(see(&to), cookie::set_session(&signed_in.session))
        }
        Err(error) => failed(&error),
    }
}

/// What a browser forgets with a session: whatever of our pages it may have kept. Not cookies, which would be those of all names
/// of the same organisation; ours is cleared by itself.
const CLEAR_SITE_DATA: HeaderName = HeaderName::from_static("clear-site-data");
const CLEARED: &str = "\"cache\", \"storage\"";

/// Sign out
#[utoipa::path(post, path = "/auth/sign-out", tag = "sign-in", security(()), responses((status = 200, description = "A page", body = String, content_type = "text/html"), Failed))]
pub(crate) async fn sign_out(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Response {
    let out = match session_of(&headers) {
        Ok(secret) => gateway.path.sign_in().sign_out(&secret).await,
        Err(error) => Err(error),
    };
    let link = match &out {
        Ok(Some(url)) => Some((url.as_str(), "Sign out at the provider too")),
        // That nobody is signed in is what was asked for.
        Ok(None) | Err(SignInError::Access(access::AccessError::Unauthenticated)) => None,
        Err(error) => return failed(error),
    };
    let mut page = page::done("You are signed out", "This browser is not signed in here any more.", link);
    page.headers_mut().insert(CLEAR_SITE_DATA, HeaderValue::from_static(CLEARED));
    with_cookie(page, Some(cookie::clear_session()))
}

/// Sign out everywhere else
#[utoipa::path(post, path = "/auth/sign-out-elsewhere", tag = "sign-in", security(()), responses((status = 200, description = "A page", body = String, content_type = "text/html"), Failed))]
pub(crate) async fn sign_out_elsewhere(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Response {
    let out = match session_of(&headers) {
        Ok(secret) => gateway.path.sign_in().sign_out_elsewhere(&secret).await,
        Err(error) => Err(error),
    };
    match out {
        Ok(count) => page::done("Signed out elsewhere", &format!("{count} other sessions were ended."), None),
        Err(error) => failed(&error),
    }
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct Setup {
    token: String,
    #[serde(default)]
    reason: Option<String>,
}

/// Redeem a one-time token
#[utoipa::path(post, path = "/auth/setup", tag = "sign-in", security(()), request_body(content = Setup, content_type = "application/x-www-form-urlencoded"), responses((status = 303, description = "Half signed in"), Failed))]
pub(crate) async fn setup(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    FormBody(Setup { token, reason }): FormBody<Setup>,
) -> Response {
    if !super::is_own_page(&headers) {
        return failed(&access::AccessError::Unauthenticated.into());
    }
    let token = Secret::from(token.trim().to_owned());
    let signed_in = match gateway.path.sign_in().redeem_setup(&token, reason.as_deref()).await {
        Ok(signed_in) => replacing(&gateway, &headers).await.map(|()| signed_in),
        Err(error) => Err(error),
    };
    match signed_in {
        Ok(signed_in) => with_cookie(see(super::ROOT), cookie::set_session(&signed_in.session)),
        Err(error) => failed(&error),
    }
}

/// Begin to add an authenticator app
#[utoipa::path(post, path = "/auth/totp", tag = "sign-in", security(()), request_body(content = Wishes, content_type = "application/x-www-form-urlencoded"), responses((status = 200, description = "A page", body = String, content_type = "text/html"), Failed))]
pub(crate) async fn begin_totp(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    FormBody(Wishes { next: wished, .. }): FormBody<Wishes>,
) -> Response {
    let begun = session_of(&headers).and_then(|secret| gateway.path.sign_in().begin_totp(&secret));
    match begun {
        Ok((id, enrolment)) => page::totp(&id, &enrolment.picture, &enrolment.text, &next(wished.as_deref())),
        Err(error) => failed(&error),
    }
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct FirstCode {
    id: String,
    code: String,
    #[serde(default)]
    next: Option<String>,
}

/// Add an authenticator app
#[utoipa::path(post, path = "/auth/totp/first", tag = "sign-in", security(()), request_body(content = FirstCode, content_type = "application/x-www-form-urlencoded"), responses((status = 200, description = "A page", body = String, content_type = "text/html"), Failed))]
pub(crate) async fn first_totp(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    FormBody(FirstCode { id, code, next: wished }): FormBody<FirstCode>,
) -> Response {
    let added = match session_of(&headers) {
        Ok(secret) => gateway.path.sign_in().finish_totp(&secret, &id, &code).await,
        Err(error) => Err(error),
    };
    match added {
        Ok((session, codes)) => {
            let to = next(wished.as_deref());
            let response = if codes.is_empty() { see(&to) } else { page::codes(&codes, &to) };
            with_cookie(response, cookie::set_session(&session))
        }
        Err(error) => failed(&error),
    }
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct Code {
    code: String,
    #[serde(default)]
    next: Option<String>,
}

/// Prove it by an authenticator app
#[utoipa::path(post, path = "/auth/proofs/totp", tag = "sign-in", security(()), request_body(content = Code, content_type = "application/x-www-form-urlencoded"), responses((status = 303, description = "Proved"), Failed))]
pub(crate) async fn prove_totp(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    FormBody(Code { code, next: wished }): FormBody<Code>,
) -> Response {
    let proved = match session_of(&headers) {
        Ok(secret) => gateway.path.sign_in().prove_totp(&secret, &code).await,
        Err(error) => Err(error),
    };
    went_on(proved, wished.as_deref())
}

/// Prove it by a recovery code
#[utoipa::path(post, path = "/auth/proofs/recovery", tag = "sign-in", security(()), request_body(content = Code, content_type = "application/x-www-form-urlencoded"), responses((status = 303, description = "Proved"), Failed))]
pub(crate) async fn prove_recovery(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    FormBody(Code { code, next: wished }): FormBody<Code>,
) -> Response {
    let proved = match session_of(&headers) {
        Ok(secret) => gateway.path.sign_in().prove_recovery(&secret, &code).await,
        Err(error) => Err(error),
    };
    went_on(proved, wished.as_deref())
}

fn went_on(proved: Result<Secret, SignInError>, wished: Option<&str>) -> Response {
    match proved {
        Ok(session) => with_cookie(see(&next(wished)), cookie::set_session(&session)),
        Err(error) => failed(&error),
    }
}

/// Make new recovery codes
#[utoipa::path(post, path = "/auth/recovery-codes", tag = "sign-in", security(()), responses((status = 200, description = "A page", body = String, content_type = "text/html"), Failed))]
pub(crate) async fn new_recovery_codes(State(gateway): State<Arc<Gateway>>, headers: HeaderMap) -> Response {
    let codes = match session_of(&headers) {
        Ok(secret) => gateway.path.sign_in().new_recovery_codes(&secret).await,
        Err(error) => Err(error),
    };
    match codes {
        Ok(codes) => page::codes(&codes, super::ROOT),
        Err(error) => failed(&error),
    }
}

/// Remove a factor
#[utoipa::path(
    post, path = "/auth/factors/{id}/remove", tag = "sign-in", security(()),
    params(("id" = String, Path, description = "Id of the factor")),
    responses((status = 303, description = "It is gone"), Failed)
)]
pub(crate) async fn remove_factor(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    id: Result<Path<String>, PathRejection>,
) -> Response {
    let id = id.map_or(String::new(), |Path(id)| id);
    let removed = match session_of(&headers) {
        Ok(secret) => gateway.path.sign_in().remove_factor(&secret, &id).await,
        Err(error) => Err(error),
    };
    match removed {
        Ok(()) => see(super::ROOT),
        Err(error) => failed(&error),
    }
}

#[derive(Deserialize)]
pub(crate) struct UserCode {
    #[serde(default)]
    user_code: Option<String>,
}

/// Look at a device that asks to be let in
#[utoipa::path(
    get, path = "/auth/verify", tag = "sign-in", security(()),
    params(("user_code" = Option<String>, Query, description = "The code that the device shows")),
    responses((status = 200, description = "A page", body = String, content_type = "text/html"), (status = 303, description = "To the sign-in"), Failed)
)]
pub(crate) async fn ask_device(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    code: Result<QueryFields<UserCode>, ApiError>,
) -> Response {
    let sign_in = gateway.path.sign_in();
    let code = code.ok().and_then(|QueryFields(code)| code.user_code).unwrap_or_default();
    let session = cookie::session(&headers)
        .filter(|secret| sign_in.session(secret).is_ok_and(|view| view.stage == access::Stage::Complete));
    let Some(session) = session else {
        let query: String =
            url::form_urlencoded::Serializer::new(String::new()).append_pair("user_code", &code).finish();
        let to = format!("/auth/verify?{query}");
        return see(&by_way_of_root(&to));
    };
    if code.is_empty() {
        return page::ask_device(&code);
    }
    match sign_in.device(&session, &code) {
        Ok(view) => {
            let now =
                SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
            page::decide_device(&view, &code, now.saturating_sub(view.asked_at) / 60)
        }
        Err(error @ SignInError::WrongCode) => {
            page::refused(status(&error), "there is no device with this code")
        }
        Err(error) => failed(&error),
    }
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct DeviceDecision {
    user_code: String,
    decision: String,
}

/// Let a device in, or send it away
#[utoipa::path(post, path = "/auth/verify", tag = "sign-in", security(()), request_body(content = DeviceDecision, content_type = "application/x-www-form-urlencoded"), responses((status = 200, description = "A page", body = String, content_type = "text/html"), Failed))]
pub(crate) async fn decide_device(
    State(gateway): State<Arc<Gateway>>,
    headers: HeaderMap,
    FormBody(DeviceDecision { user_code, decision }): FormBody<DeviceDecision>,
) -> Response {
    let allow = match decision.as_str() {
        "allow" => true,
        "deny" => false,
        _ => return page::refused(StatusCode::BAD_REQUEST, "the decision is neither `allow` nor `deny`"),
    };
    let decided = session_of(&headers)
        .and_then(|secret| gateway.path.sign_in().decide_device(&secret, &user_code, allow));
    match decided {
        Ok(()) if allow => page::done("It is let in", "You can go back to it now.", None),
        Ok(()) => page::done("It is sent away", "It has not got in.", None),
        Err(error @ SignInError::WrongCode) => {
            page::refused(status(&error), "there is no device with this code")
        }
        Err(error) => failed(&error),
    }
}
