//! What can go wrong, and what the caller is told. One table says status, code and parameter of each.

use std::{borrow::Cow, sync::Arc, time::Duration};

use access::{AccessError, SignInError};
use audit::WitnessRefusal;
use axum::{
    Json,
    response::{IntoResponse, Response},
};
use engine::EngineError;
use http::{HeaderName, HeaderValue, StatusCode, header};
use path::{KeptError, Part, PathError};
use resources::{RouteError, UnloadError};
use serde::Serialize;
use types::{OutOfRange, RequestId};
use utoipa::ToSchema;

use crate::auth;
use crate::limits::{BODY_BYTES_MAX, BODY_READ_TIMEOUT, BODY_TOTAL_TIMEOUT};

/// A request that is asked again at once finds the engine being restarted; this is long enough for it to say so.
const RETRY_AFTER_DEATH: Duration = Duration::from_secs(1);
/// How long a caller stays away when the key store does not answer.
const RETRY_AFTER_STORE: Duration = Duration::from_secs(5);
/// How long a log stays away when too many ask this server to countersign.
const RETRY_AFTER_WITNESS: Duration = Duration::from_secs(1);
/// Tells OpenAI's clients not to send a request again on their own.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("x-should-retry");

/// Why a request gets an error instead of an answer.
///
/// The texts may repeat the caller's own words, so they go to the caller and are never logged.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// The path did not let it through, or the engine did not answer.
    #[error("{error}")]
    Path {
        /// What happened.
        error: PathError,
        /// The parameter that holds the model's input in the protocol spoken: `messages`, `prompt`, `input` or
        /// `documents`.
        input: &'static str,
    },
    /// A value outside what is allowed.
    #[error(transparent)]
    OutOfRange(#[from] OutOfRange),
    /// A parameter that is missing, unknown, malformed or not offered.
    #[error("{sentence}")]
    Parameter {
        /// Where in the body, for example `messages[2].content`.
        parameter: Cow<'static, str>,
        /// What is wrong with it and what to do.
        sentence: Cow<'static, str>,
    },
    /// The body is not what the protocol asks for, and no parameter can be blamed.
    #[error("the body cannot be read as a request: {0}")]
    Malformed(String),
    /// Nothing was sent.
    #[error("the body is empty; send a JSON object")]
    EmptyBody,
    /// The body broke off.
    #[error("the body ended before it was complete; send the request again")]
    BrokenBody,
    /// More than [`BODY_BYTES_MAX`].
    #[error("the body is larger than {BODY_BYTES_MAX} bytes; send less at once")]
    BodyTooLarge,
    /// The body came too slowly.
    #[error(
        "the body came too slowly: a pause of {} s, or {} s in all, is the most",
        BODY_READ_TIMEOUT.as_secs(),
        BODY_TOTAL_TIMEOUT.as_secs()
    )]
    BodyTooSlow,
    /// The body does not say that it is JSON.
    #[error("the body must be JSON; send it with the header `Content-Type: application/json`")]
    NotJson,
    /// The body does not say that it is a form.
    #[error(
        "the body must be a form; send it with the header `Content-Type: application/x-www-form-urlencoded`"
    )]
    NotForm,
    /// Nobody is signed in, or not far enough.
    #[error(transparent)]
    SignIn(#[from] SignInError),
    /// Not exactly one `Host`, or one that is no host.
    #[error("the header `Host` must name this server, once, as in `Host: localhost:8080`")]
    BadHost,
    /// A `Host` that is not a name of this server.
    #[error("this server is not called that; an administrator can add names to `server_names`")]
    UnknownHost,
    /// A page of another site asked.
    #[error("pages of other sites may not use this server")]
    ForeignOrigin,
    /// A witness does not countersign.
    #[error(transparent)]
    Witness(#[from] WitnessRefusal),
    /// No such path.
    #[error("there is nothing at this path; `/openapi.json` lists all paths")]
    NoSuchPath,
    /// The path exists, the method does not.
    #[error("this path does not have this method; the header `Allow` lists those it has")]
    NoSuchMethod,
    /// No such model in the list of models.
    #[error("there is no model of this name; `GET /v1/models` lists all")]
    NoSuchModel,
    /// No such sequence: it may just have ended.
    #[error("there is no sequence of this id; `GET /api/v1/processes` lists all")]
    NoSuchSequence,
    /// A defect of ours.
    #[error("the server failed on this request; its log has a line with this request id")]
    Internal,
}

/// What the caller gets for an error, beside its text.
struct Reply<'a> {
    status: StatusCode,
    code: &'static str,
    parameter: Option<&'a str>,
    retry_after: Option<Duration>,
}

impl From<PathError> for ApiError {
    fn from(error: PathError) -> Self {
        Self::Path { error, input: "messages" }
    }
}

impl ApiError {
    /// A complaint about one parameter.
    pub(crate) fn parameter(
        parameter: impl Into<Cow<'static, str>>,
        sentence: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self::Parameter { parameter: parameter.into(), sentence: sentence.into() }
    }

    /// The error's fixed name: safe to log.
    pub(crate) fn code(&self) -> &'static str {
        self.reply().code
    }

    /// The status that goes with it.
    pub(crate) fn status(&self) -> StatusCode {
        self.reply().status
    }

    fn reply(&self) -> Reply<'_> {
        let reply = |status, code| Reply { status, code, parameter: None, retry_after: None };
        match self {
            Self::Path { error, input } => match error {
                PathError::Access(error) => of_access(error),
                PathError::Route(error) => of_route(error),
                PathError::Engine(error) => of_engine(error, input),
                PathError::PartTooLong { part, .. } => Reply {
                    parameter: Some(of_part(*part)),
                    ..reply(StatusCode::BAD_REQUEST, "context_length_exceeded")
                },
                PathError::BadPart { part, .. } => Reply {
                    parameter: Some(of_part(*part)),
                    ..reply(StatusCode::BAD_REQUEST, "invalid_input")
                },
                PathError::OutOfRange(error) => out_of_range(error),
                PathError::Unload(error) => of_unload(error),
                PathError::Kept(error) => of_kept(error),
                PathError::NoReceipt => reply(StatusCode::NOT_FOUND, "receipt_not_found"),
                PathError::Export { .. } => {
                    Reply { parameter: Some("folder"), ..reply(StatusCode::BAD_REQUEST, "file") }
                }
                PathError::Workflow(_) => Reply {
                    parameter: Some("workflow"),
                    ..reply(StatusCode::BAD_REQUEST, "invalid_workflow")
                },
                PathError::Planning { retry_after } => unavailable("planner_busy", *retry_after),
                PathError::Closing { retry_after } => unavailable("shutting_down", *retry_after),
            },
            Self::OutOfRange(error) => out_of_range(error),
            Self::Parameter { parameter, .. } => {
                Reply { parameter: Some(parameter), ..reply(StatusCode::BAD_REQUEST, "invalid_parameter") }
            }
            Self::Malformed(_) => reply(StatusCode::BAD_REQUEST, "invalid_body"),
            Self::EmptyBody => reply(StatusCode::BAD_REQUEST, "empty_body"),
            Self::BrokenBody => reply(StatusCode::BAD_REQUEST, "broken_body"),
            Self::BodyTooLarge => reply(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Self::BodyTooSlow => reply(StatusCode::REQUEST_TIMEOUT, "body_too_slow"),
            Self::NotJson | Self::NotForm => {
                reply(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type")
            }
            Self::SignIn(error) => of_sign_in(error),
            Self::BadHost => reply(StatusCode::BAD_REQUEST, "bad_host"),
            Self::UnknownHost => reply(StatusCode::MISDIRECTED_REQUEST, "unknown_host"),
            Self::ForeignOrigin => reply(StatusCode::FORBIDDEN, "foreign_origin"),
            Self::Witness(error) => of_witness(error),
            Self::NoSuchPath => reply(StatusCode::NOT_FOUND, "not_found"),
            Self::NoSuchMethod => reply(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Self::NoSuchModel => {
                Reply { parameter: Some("model"), ..reply(StatusCode::NOT_FOUND, "model_not_found") }
            }
            Self::NoSuchSequence => reply(StatusCode::NOT_FOUND, "sequence_not_found"),
            Self::Internal => reply(StatusCode::INTERNAL_SERVER_ERROR, "internal_error"),
        }
    }

    /// The body, for an answer that is an error, and for an event that ends a stream.
    pub(crate) fn body(&self, request: RequestId) -> ErrorBody {
        let Reply { status, code, parameter, .. } = self.reply();
        ErrorBody {
            error: ErrorObject {
                message: self.to_string(),
                kind: kind(status),
                param: parameter.map(str::to_owned),
                code,
                request_id: request.to_string(),
            },
        }
    }

    /// The whole answer.
    pub(crate) fn answer(&self, request: RequestId) -> Response {
        let Reply { status, retry_after, code, .. } = self.reply();
        let mut response = (status, Json(self.body(request))).into_response();
        let headers = response.headers_mut();
        if let Some(retry_after) = retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(whole_seconds(retry_after)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if code == "request_killed" || (code == "quota_exceeded" && retry_after.is_none()) {
            headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
        }
        response
    }
}

/// With the statuses that the protocol asks for (C2SP `tlog-witness`).
fn of_witness(error: &WitnessRefusal) -> Reply<'static> {
    let reply = |status, code| Reply { status, code, parameter: None, retry_after: None };
    match error {
        WitnessRefusal::Malformed(_) => reply(StatusCode::BAD_REQUEST, "invalid_body"),
        WitnessRefusal::NotSigned(_) => reply(StatusCode::FORBIDDEN, "checkpoint_not_signed"),
        WitnessRefusal::UnknownLog => reply(StatusCode::NOT_FOUND, "log_not_found"),
        WitnessRefusal::Conflict { .. } => reply(StatusCode::CONFLICT, "other_size"),
        WitnessRefusal::NotContinued(_) => reply(StatusCode::UNPROCESSABLE_ENTITY, "log_not_continued"),
        WitnessRefusal::Busy => Reply {
            retry_after: Some(RETRY_AFTER_WITNESS),
            ..reply(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts")
        },
        WitnessRefusal::Unavailable(_) => unavailable("witness_unavailable", RETRY_AFTER_STORE),
    }
}

fn of_part(part: Part) -> &'static str {
    match part {
        Part::Query => "query",
        Part::Document(_) | Part::Pair(_) => "documents",
    }
}

fn unavailable(code: &'static str, retry_after: Duration) -> Reply<'static> {
    Reply { status: StatusCode::SERVICE_UNAVAILABLE, code, parameter: None, retry_after: Some(retry_after) }
}

fn wrong_purpose() -> Reply<'static> {
    Reply {
        status: StatusCode::BAD_REQUEST,
        code: "wrong_kind_of_model",
        parameter: Some("model"),
        retry_after: None,
    }
}

fn out_of_range(error: &OutOfRange) -> Reply<'static> {
    Reply {
        status: StatusCode::BAD_REQUEST,
        code: "out_of_range",
        parameter: Some(error.parameter),
        retry_after: None,
    }
}

fn of_access(error: &AccessError) -> Reply<'static> {
    let reply = |status, code, parameter| Reply { status, code, parameter, retry_after: None };
    match error {
        AccessError::Unauthenticated => reply(StatusCode::UNAUTHORIZED, "invalid_api_key", None),
        AccessError::SecondFactorMissing => reply(StatusCode::FORBIDDEN, "mfa_required", None),
        AccessError::NameTaken(_) => reply(StatusCode::CONFLICT, "name_taken", None),
        AccessError::NotLocal(_) => reply(StatusCode::CONFLICT, "not_local", None),
        AccessError::Denied { .. } => reply(StatusCode::FORBIDDEN, "not_allowed", None),
        AccessError::OverLimit { parameter, .. } => {
            reply(StatusCode::FORBIDDEN, "over_key_limit", Some(parameter))
        }
        AccessError::Forbidden { .. } => reply(StatusCode::FORBIDDEN, "forbidden_by_policy", None),
        AccessError::StepUp { .. } => reply(StatusCode::FORBIDDEN, "step_up_required", None),
        AccessError::WiderThanGranter { .. } => {
            reply(StatusCode::FORBIDDEN, "wider_than_granter", Some("role"))
        }
        AccessError::BadPolicy(_) => reply(StatusCode::BAD_REQUEST, "invalid_policy", Some("text")),
        AccessError::UnknownPolicy(_) => reply(StatusCode::NOT_FOUND, "policy_not_found", None),
        AccessError::UnknownTenant(_) => reply(StatusCode::NOT_FOUND, "tenant_not_found", Some("tenant")),
        AccessError::OutOfScope { .. } => reply(StatusCode::FORBIDDEN, "out_of_key_scope", None),
        AccessError::WiderThanOwner { parameter, .. } => {
            reply(StatusCode::FORBIDDEN, "wider_than_owner", Some(parameter))
        }
        AccessError::OverQuota { retry_after, .. } => Reply {
            retry_after: *retry_after,
            ..reply(StatusCode::TOO_MANY_REQUESTS, "quota_exceeded", None)
        },
        AccessError::TooManyAttempts { retry_after } => Reply {
            retry_after: Some(*retry_after),
            ..reply(StatusCode::TOO_MANY_REQUESTS, "too_many_attempts", None)
        },
        AccessError::TooOften { retry_after } => Reply {
            retry_after: Some(*retry_after),
            ..reply(StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded", None)
        },
        AccessError::UnknownUser { .. } => reply(StatusCode::NOT_FOUND, "user_not_found", None),
        AccessError::BadValue(error) => out_of_range(error),
        AccessError::UnknownKey(_) => reply(StatusCode::NOT_FOUND, "key_not_found", None),
        AccessError::Unrecorded(_) => unavailable("audit_unavailable", RETRY_AFTER_STORE),
        AccessError::Unavailable(_) => unavailable("key_store_unavailable", RETRY_AFTER_STORE),
    }
}

fn of_sign_in(error: &SignInError) -> Reply<'static> {
    let reply = |code| Reply { status: auth::status(error), code, parameter: None, retry_after: None };
    match error {
        SignInError::Access(error) => of_access(error),
        SignInError::Identity(_) => reply("not_proved"),
        SignInError::UnknownProvider => reply("provider_not_found"),
        SignInError::Unknown => reply("sign_in_not_found"),
        SignInError::NotMapped => reply("account_not_mapped"),
        SignInError::ServiceAccount => reply("service_account"),
        SignInError::WrongCode => reply("wrong_code"),
        SignInError::LockedOut(seconds) => {
            Reply { retry_after: Some(Duration::from_secs(*seconds)), ..reply("locked_out") }
        }
        SignInError::NoReason => reply("reason_missing"),
        SignInError::StepUp => reply("step_up_required"),
        SignInError::SecondFactorElsewhere => reply("mfa_required"),
        SignInError::UnknownFactor => reply("factor_not_found"),
        SignInError::UnknownSession => reply("session_not_found"),
        SignInError::TooManyFactors => reply("too_many_factors"),
        SignInError::NoPasskeys => reply("no_passkeys"),
    }
}

fn of_route(error: &RouteError) -> Reply<'static> {
    match error {
        RouteError::NotDeployed { .. } => Reply {
            status: StatusCode::NOT_FOUND,
            code: "model_not_found",
            parameter: Some("model"),
            retry_after: None,
        },
        RouteError::WrongPurpose { .. } => wrong_purpose(),
        RouteError::Failed { retry_after, .. } => unavailable("model_failed", *retry_after),
        RouteError::NoRoom { retry_after, .. } => unavailable("no_memory", *retry_after),
        RouteError::NoTurn { retry_after, .. } => unavailable("too_many_loads", *retry_after),
    }
}

fn of_unload(error: &UnloadError) -> Reply<'static> {
    let conflict =
        |code| Reply { status: StatusCode::CONFLICT, code, parameter: Some("model"), retry_after: None };
    match error {
        UnloadError::Unknown(error) => of_route(error),
        UnloadError::Pinned(_) => conflict("model_pinned"),
        UnloadError::Busy { .. } => conflict("model_busy"),
    }
}

fn of_engine(error: &EngineError, input: &'static str) -> Reply<'static> {
    let reply = |status, code, parameter| Reply { status, code, parameter, retry_after: None };
    match error {
        EngineError::Died { .. } => unavailable("engine_died", RETRY_AFTER_DEATH),
        EngineError::Unready { retry_after, .. } => unavailable("engine_not_ready", *retry_after),
        EngineError::Refused { retry_after, .. } => Reply {
            retry_after: Some(*retry_after),
            ..reply(StatusCode::TOO_MANY_REQUESTS, "server_busy", None)
        },
        EngineError::ContextExceeded { prompt, context, .. } => {
            let too_long = if prompt < context { "max_tokens" } else { input };
            reply(StatusCode::BAD_REQUEST, "context_length_exceeded", Some(too_long))
        }
        EngineError::TooLong { .. } => reply(StatusCode::BAD_REQUEST, "context_length_exceeded", Some(input)),
        EngineError::WrongPurpose { .. } => wrong_purpose(),
        EngineError::BadInput(_) | EngineError::BadPassage { .. } => {
            reply(StatusCode::BAD_REQUEST, "invalid_input", Some(input))
        }
        EngineError::Killed => reply(StatusCode::CONFLICT, "request_killed", None),
    }
}

fn of_kept(error: &KeptError) -> Reply<'static> {
    let reply = |status, code, parameter| Reply { status, code, parameter, retry_after: None };
    match error {
        KeptError::NotAllowed(_) => reply(StatusCode::FORBIDDEN, "storing_not_allowed", Some("store")),
        KeptError::Unknown => reply(StatusCode::NOT_FOUND, "chat_completion_not_found", None),
        KeptError::Erased => reply(StatusCode::GONE, "data_erased", None),
        KeptError::TooMany(_) => reply(StatusCode::BAD_REQUEST, "too_many_to_search", Some("metadata")),
        KeptError::NoTenant(_) => reply(StatusCode::NOT_FOUND, "tenant_not_found", Some("tenant")),
        KeptError::NoSubject => reply(StatusCode::NOT_FOUND, "subject_not_found", Some("subject")),
        KeptError::Damaged | KeptError::Io(_) => {
            reply(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", None)
        }
        KeptError::File { .. } => reply(StatusCode::BAD_REQUEST, "file_unusable", Some("file")),
        KeptError::Conflict(_) => reply(StatusCode::CONFLICT, "keys_unsuitable", None),
        KeptError::Vault(_) => unavailable("vault_unavailable", RETRY_AFTER_STORE),
        KeptError::Store(_) => unavailable("store_unavailable", RETRY_AFTER_STORE),
    }
}

/// OpenAI's name for the family of an error.
fn kind(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => "authentication_error",
        StatusCode::FORBIDDEN => "permission_error",
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    }
}

/// Rounded up, and never zero: zero would be an invitation to a busy loop.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs().saturating_add(u64::from(duration.subsec_nanos() > 0)).max(1)
}

impl IntoResponse for ApiError {
    /// Leaves the error in the response's extensions; `exchange`, which knows the request's id, writes it out.
    fn into_response(self) -> Response {
        let mut response = self.reply().status.into_response();
        response.extensions_mut().insert(Arc::new(self));
        response
    }
}

/// An error, in OpenAI's shape.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    error: ErrorObject,
}

/// What happened.
#[derive(Debug, Serialize, ToSchema)]
struct ErrorObject {
    /// What happened, why, and what to do.
    message: String,
    /// `invalid_request_error`, `authentication_error`, `permission_error`, `rate_limit_error` or `server_error`.
    #[serde(rename = "type")]
    kind: &'static str,
    /// The parameter concerned, if it is about one.
    param: Option<String>,
    /// The error's fixed name.
    code: &'static str,
    /// Names the request in the server's log.
    request_id: String,
}

#[cfg(test)]
mod tests {
    use engine::Purpose;
    use scheduler::RefusalReason;
    use types::{Role, Tokens};

    use super::*;

    fn engine(error: EngineError) -> ApiError {
        ApiError::Path { error: error.into(), input: "prompt" }
    }

    fn context_exceeded(prompt: u32) -> ApiError {
        engine(EngineError::ContextExceeded {
            prompt: Tokens(prompt),
            asked: Tokens(100),
            context: Tokens(64),
        })
    }

    #[test]
    fn every_error_has_its_status_type_code_parameter_and_delay() {
        let s = Duration::from_secs;
        let path = |error: PathError| ApiError::from(error);
        let range = || OutOfRange::new("top_p", 2, "above 0, to 1");
        let model = || "m".parse().unwrap();
        let denied = AccessError::Denied { action: "x", role: Role::Member, needs: "operator".into() };
        let over = AccessError::OverLimit { parameter: "class", asked: "system", max: "normal" };
        let failed = RouteError::Failed { model: model(), why: "gone".into(), retry_after: s(30) };
        let absent = RouteError::NotDeployed { model: model(), known: "n".into() };
        let room = RouteError::NoRoom {
            model: model(),
            missing: <_>::default(),
            busy: "n".into(),
            retry_after: s(15),
        };
        let refused =
            EngineError::Refused { retry_after: Duration::from_millis(1), why: RefusalReason::QueueFull };
        let unready = EngineError::Unready { why: "loads".into(), retry_after: Duration::from_millis(2500) };
        let wrong = RouteError::WrongPurpose {
            model: model(),
            asked: Purpose::Generate,
            is: Purpose::Embed,
            able: "models that generate: n".into(),
        };
        let turn = RouteError::NoTurn { model: model(), retry_after: s(15) };
        let query = PathError::PartTooLong { part: Part::Query, tokens: Tokens(600), most: Tokens(512) };
        let too_long = EngineError::TooLong { index: 3, tokens: Tokens(600), most: Tokens(512) };
        // Status and code, then parameter and Retry-After, `-` where there is none.
        let table = [
            (path(AccessError::Unauthenticated.into()), "401 invalid_api_key", "- -"),
            (path(denied.into()), "403 not_allowed", "- -"),
            (path(over.into()), "403 over_key_limit", "class -"),
            (
                path(
                    AccessError::OverQuota {
                        limit: "tokens_per_day",
                        of: "user",
                        retry_after: Some(Duration::from_millis(1_500)),
                    }
                    .into(),
                ),
                "429 quota_exceeded",
                "- 2",
            ),
            (
                path(AccessError::OutOfScope { what: "model", name: "m".into() }.into()),
                "403 out_of_key_scope",
                "- -",
            ),
            (path(AccessError::BadValue(range()).into()), "400 out_of_range", "top_p -"),
            (path(AccessError::UnknownKey("k".into()).into()), "404 key_not_found", "- -"),
            (path(AccessError::Unavailable("disk".into()).into()), "503 key_store_unavailable", "- 5"),
            (path(absent.into()), "404 model_not_found", "model -"),
            (path(failed.into()), "503 model_failed", "- 30"),
            (path(room.into()), "503 no_memory", "- 15"),
            (path(turn.into()), "503 too_many_loads", "- 15"),
            (path(UnloadError::Pinned(model()).into()), "409 model_pinned", "model -"),
            (engine(EngineError::Died { why: "signal 9".into() }), "503 engine_died", "- 1"),
            (engine(unready), "503 engine_not_ready", "- 3"),
            (engine(refused), "429 server_busy", "- 1"),
            (context_exceeded(10), "400 context_length_exceeded", "max_tokens -"),
            (context_exceeded(64), "400 context_length_exceeded", "prompt -"),
            (engine(EngineError::BadInput("no template".into())), "400 invalid_input", "prompt -"),
            (engine(too_long), "400 context_length_exceeded", "prompt -"),
            (path(query), "400 context_length_exceeded", "query -"),
            (path(wrong.into()), "400 wrong_kind_of_model", "model -"),
            (path(PathError::OutOfRange(range())), "400 out_of_range", "top_p -"),
            (engine(EngineError::Killed), "409 request_killed", "- -"),
            (path(PathError::Closing { retry_after: s(10) }), "503 shutting_down", "- 10"),
            (path(KeptError::NotAllowed("no".into()).into()), "403 storing_not_allowed", "store -"),
            (path(KeptError::Unknown.into()), "404 chat_completion_not_found", "- -"),
            (path(KeptError::Erased.into()), "410 data_erased", "- -"),
            (path(KeptError::TooMany(9).into()), "400 too_many_to_search", "metadata -"),
            (path(KeptError::NoTenant("t".into()).into()), "404 tenant_not_found", "tenant -"),
            (range().into(), "400 out_of_range", "top_p -"),
            (ApiError::parameter("n", "only 1"), "400 invalid_parameter", "n -"),
            (ApiError::BodyTooLarge, "413 body_too_large", "- -"),
            (ApiError::NotJson, "415 unsupported_media_type", "- -"),
            (ApiError::Internal, "500 internal_error", "- -"),
        ];
        for (error, status_and_code, parameter_and_delay) in table {
            let text = error.to_string();
            let body = error.body(RequestId(1)).error;
            let answer = error.answer(RequestId(1));
            let status = answer.status();
            assert_eq!(format!("{} {}", status.as_u16(), body.code), status_and_code);
            let delay =
                answer.headers().get(header::RETRY_AFTER).map_or("-", |value| value.to_str().unwrap());
            assert_eq!(
                format!("{} {delay}", body.param.as_deref().unwrap_or("-")),
                parameter_and_delay,
                "{text}"
            );
            assert_eq!((body.message, body.kind), (text, kind(status)));
            assert_eq!(body.request_id, "00000000000000000000000000000001");
            assert_eq!(answer.headers().contains_key(SHOULD_RETRY), body.code == "request_killed");
            assert_eq!(answer.headers().contains_key(header::WWW_AUTHENTICATE), status == 401);
        }
    }

    #[test]
    fn families_have_the_names_of_openai() {
        for (status, expected) in [
            (400, "invalid_request_error"),
            (401, "authentication_error"),
            (403, "permission_error"),
            (404, "invalid_request_error"),
            (409, "invalid_request_error"),
            (429, "rate_limit_error"),
            (500, "server_error"),
            (503, "server_error"),
        ] {
            assert_eq!(kind(StatusCode::from_u16(status).unwrap()), expected);
        }
    }
}
