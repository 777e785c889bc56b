//! The admin API `/api/v1`.

use std::{str::FromStr, sync::Arc};

use access::{KeyView, NewKey, Reason, UserChange, UserView};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use engine::SequenceStatus;
use http::StatusCode;
use path::ProcessList;
use resources::{ReplicaState, ReplicaView};
use types::{ModelName, OutOfRange, PurposeOfUse, Purposes, Scope, SequenceId};

use crate::{
    admin_types::{
        CreatedKey, Invitation, Key, KeyRequest, KeyRotationRequest, Keys, LostFactors, NamedUser, Processes,
        PurposesChange, Replica, Sequence, User, UserRequest, Users, Version,
    },
    body::JsonBody,
    credential::Caller,
    error::{ApiError, ErrorBody},
    routes::Gateway,
};

/// What answers
#[utoipa::path(
    get,
    path = "/api/v1/version",
    tag = "admin",
    responses(
        (status = 200, description = "The server", body = Version),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
    ),
)]
pub(crate) async fn version(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
) -> Result<Json<Version>, ApiError> {
    gateway.path.may_read_api(credential).await?;
    Ok(Json(Version {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        api: "v1".to_owned(),
        pid: std::process::id(),
        listen: gateway.listen.clone(),
    }))
}

/// What runs and waits
#[utoipa::path(
    get,
    path = "/api/v1/processes",
    tag = "admin",
    responses(
        (status = 200, description = "Replicas and sequences", body = Processes),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
    ),
)]
pub(crate) async fn processes(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
) -> Result<Json<Processes>, ApiError> {
    let ProcessList { replicas, sequences } = gateway.path.processes(credential).await?;
    Ok(Json(Processes {
        replicas: replicas.into_iter().map(Replica::from).collect(),
        sequences: sequences.into_iter().map(Sequence::from).collect(),
    }))
}

/// Load a model
///
/// Answers as soon as the load has begun; `GET /api/v1/processes` shows how far it has come. A model that could not be
/// loaded is tried again.
#[utoipa::path(
    put,
    path = "/api/v1/loaded/{*model}",
    tag = "admin",
    params(("model" = String, Path, description = "Name or alias of the model")),
    responses(
        (status = 202, description = "It is loaded, or on its way"),
        (status = "4XX", description = "Not allowed, or no such model", body = ErrorBody),
        (status = "5XX", description = "It does not fit into memory, or its file cannot be used", body = ErrorBody),
    ),
)]
pub(crate) async fn load_model(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    model: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    gateway.path.load_model(credential, named(model)?).await?;
    Ok(StatusCode::ACCEPTED)
}

/// Unload a model
///
/// Answers when its memory is free. A model that is pinned or works stays.
#[utoipa::path(
    delete,
    path = "/api/v1/loaded/{*model}",
    tag = "admin",
    params(("model" = String, Path, description = "Name or alias of the model")),
    responses(
        (status = 204, description = "It is not in memory"),
        (status = "4XX", description = "Not allowed, no such model, or it stays", body = ErrorBody),
    ),
)]
pub(crate) async fn unload_model(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    model: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    gateway.path.unload_model(credential, named(model)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A path that is no name of a model names none.
fn named(model: Result<Path<String>, PathRejection>) -> Result<ModelName, ApiError> {
    model.ok().and_then(|Path(name)| name.parse().ok()).ok_or(ApiError::NoSuchModel)
}

/// End a sequence
///
/// Whoever waits for it gets the error `request_killed`.
#[utoipa::path(
    delete,
    path = "/api/v1/sequences/{id}",
    tag = "admin",
    params(("id" = u64, Path, description = "Id of the sequence")),
    responses(
        (status = 204, description = "It is ended"),
        (status = "4XX", description = "Not allowed, or no such sequence", body = ErrorBody),
    ),
)]
pub(crate) async fn kill_sequence(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    id: Result<Path<u64>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    // An id that is no number names nothing; 0 is never given to a sequence, so the path says the same.
    let Path(id) = id.unwrap_or(Path(0));
    if gateway.path.kill(credential, SequenceId(id)).await? {
        Ok(StatusCode::NO_CONTENT)
    } else {
        Err(ApiError::NoSuchSequence)
    }
}

/// List keys
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    tag = "admin",
    responses(
        (status = 200, description = "All keys, without their secrets", body = Keys),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
    ),
)]
pub(crate) async fn list_keys(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
) -> Result<Json<Keys>, ApiError> {
    let keys = gateway.path.keys(credential).await?;
    Ok(Json(Keys { keys: keys.into_iter().map(Key::from).collect() }))
}

/// Make a key
#[utoipa::path(
    post,
    path = "/api/v1/keys",
    tag = "admin",
    request_body = KeyRequest,
    responses(
        (status = 201, description = "The key, shown this once", body = CreatedKey),
        (status = "4XX", description = "Not allowed, or a value that is not", body = ErrorBody),
    ),
)]
pub(crate) async fn create_key(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    JsonBody(request): JsonBody<KeyRequest>,
) -> Result<(StatusCode, Json<CreatedKey>), ApiError> {
    let (key, secret) = gateway.path.create_key(credential, NewKey::try_from(request)?).await?;
    // Keys are made of ASCII.
    let secret = String::from_utf8_lossy(secret.expose()).into_owned();
    Ok((StatusCode::CREATED, Json(CreatedKey { secret, key: Key::from(key) })))
}

/// Revoke a key
///
/// At once. Revoking twice is not an error.
#[utoipa::path(
    delete,
    path = "/api/v1/keys/{id}",
    tag = "admin",
    params(("id" = String, Path, description = "Id of the key")),
    responses(
        (status = 200, description = "The revoked key", body = Key),
        (status = "4XX", description = "Not allowed, or no such key", body = ErrorBody),
    ),
)]
pub(crate) async fn revoke_key(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<Key>, ApiError> {
    // An id that is no text names no key, as the empty one.
    let Path(id) = id.unwrap_or(Path(String::new()));
    Ok(Json(Key::from(gateway.path.revoke_key(credential, &id).await?)))
}

impl From<ReplicaView> for Replica {
    fn from(view: ReplicaView) -> Self {
        let (mut percent, mut left_s) = (None, None);
        let (state, why, pid) = match view.state {
            ReplicaState::Unloaded => ("unloaded", Some("is loaded when it is asked for".to_owned()), None),
            ReplicaState::Ready { pid } => ("ready", None, pid),
            ReplicaState::Loading { attempt, percent: done, left } => {
                (percent, left_s) = (Some(done), left.map(|left| left.as_secs_f64()));
                let why = match attempt {
                    1 => format!("is loading, {done} % are done"),
                    attempt => format!("is being restarted, attempt {attempt}, {done} % are done"),
                };
                ("loading", Some(why), None)
            }
            ReplicaState::Failed { why, .. } => ("failed", Some(why), None),
        };
        Self {
            model: view.model.to_string(),
            state: state.to_owned(),
            why,
            pid,
            percent,
            left_s,
            memory: view.memory,
            resident: view.resident,
            requests: view.requests,
            pinned: view.pinned,
            cores: view.cores,
            running: view.load.running,
            waiting: view.load.waiting,
            kv_used: view.load.kv_used.0,
            kv_total: view.load.kv_total.0,
        }
    }
}

impl From<(ModelName, SequenceStatus)> for Sequence {
    fn from((model, status): (ModelName, SequenceStatus)) -> Self {
        let SequenceStatus { view, age, why } = status;
        Self {
            id: view.sequence.0,
            model: model.to_string(),
            tenant: view.tenant.0,
            class: view.class.to_string(),
            state: view.state.as_str().to_owned(),
            prompt: view.prompt.0,
            generated: view.generated.0,
            age_s: age.as_secs_f64(),
            why,
        }
    }
}

impl From<KeyView> for Key {
    fn from(view: KeyView) -> Self {
        Self {
            id: view.id,
            label: view.key.label,
            tenant: view.key.tenant,
            user: view.key.user,
            role: view.key.role.to_string(),
            class_max: view.key.class_max.to_string(),
            data_class_max: view.key.data_class_max.to_string(),
            purposes: names(&view.key.purposes),
            actions: view.key.scope.actions().to_vec(),
            models: view.key.scope.models().iter().map(ModelName::to_string).collect(),
            created_at: view.created_at,
            expires_at: view.key.expires_at,
            old_until: view.old_until,
            revoked_at: view.revoked_at,
        }
    }
}

impl TryFrom<KeyRequest> for NewKey {
    type Error = OutOfRange;

    fn try_from(request: KeyRequest) -> Result<Self, OutOfRange> {
        let models = request.models.iter().map(|name| level("models", name)).collect::<Result<_, _>>()?;
        Ok(Self {
            role: level("role", &request.role)?,
            class_max: level("class_max", &request.class_max)?,
            data_class_max: level("data_class_max", &request.data_class_max)?,
            purposes: request.purposes.as_deref().map_or(Ok(Purposes::any()), only)?,
            is_service: request.service,
            scope: Scope::new(None, request.actions, models),
            label: request.label,
            tenant: request.tenant,
            user: request.user,
            expires_at: request.expires_at,
        })
    }
}

/// Give a key a new secret
///
/// The secret before is accepted for a while, so that those who use the key can be told one after the other.
#[utoipa::path(
    post,
    path = "/api/v1/keys/{id}/rotations",
    tag = "admin",
    params(("id" = String, Path, description = "Id of the key")),
    request_body = KeyRotationRequest,
    responses(
        (status = 201, description = "The key with its new secret, shown this once", body = CreatedKey),
        (status = "4XX", description = "Not allowed, or no such key", body = ErrorBody),
    ),
)]
pub(crate) async fn rotate_key(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    id: Result<Path<String>, PathRejection>,
    JsonBody(request): JsonBody<KeyRotationRequest>,
) -> Result<(StatusCode, Json<CreatedKey>), ApiError> {
    let Path(id) = id.unwrap_or(Path(String::new()));
    let (key, secret) = gateway.path.rotate_key(credential, &id, request.overlap_s).await?;
    // Keys are made of ASCII.
    let secret = String::from_utf8_lossy(secret.expose()).into_owned();
    Ok((StatusCode::CREATED, Json(CreatedKey { secret, key: Key::from(key) })))
}

/// List users
#[utoipa::path(
    get,
    path = "/api/v1/users",
    tag = "admin",
    responses(
        (status = 200, description = "All users", body = Users),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
    ),
)]
pub(crate) async fn list_users(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
) -> Result<Json<Users>, ApiError> {
    let users = gateway.path.users(credential).await?;
    Ok(Json(Users { users: users.into_iter().map(User::from).collect() }))
}

/// Change what a user may do
///
/// At once, and with all their keys: what is taken from them is gone, also from answers that have begun.
#[utoipa::path(
    patch,
    path = "/api/v1/users",
    tag = "admin",
    request_body = UserRequest,
    responses(
        (status = 200, description = "The user as they are now", body = User),
        (status = "4XX", description = "Not allowed, no such user, or a value that is not", body = ErrorBody),
    ),
)]
pub(crate) async fn change_user(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    JsonBody(request): JsonBody<UserRequest>,
) -> Result<Json<User>, ApiError> {
    let UserRequest { tenant, user, role, class_max, data_class_max, purposes, team, suspended } = request;
    let purposes = purposes.map(|change| match change {
        PurposesChange::Any => Ok(Purposes::any()),
        PurposesChange::Only(names) => only(&names),
    });
    let change = UserChange {
        role: role.as_deref().map(|name| level("role", name)).transpose()?,
        class_max: class_max.as_deref().map(|name| level("class_max", name)).transpose()?,
        data_class_max: data_class_max.as_deref().map(|name| level("data_class_max", name)).transpose()?,
        purposes: purposes.transpose()?,
        team: team.map(|team| Some(team).filter(|team| !team.is_empty())),
        suspended,
    };
    Ok(Json(User::from(gateway.path.change_user(credential, &tenant, &user, change).await?)))
}

/// Invite a user
///
/// Makes a one-time token, good for a day, with which a local account adds its second factor at `/auth`.
#[utoipa::path(
    post,
    path = "/api/v1/users/invitations",
    tag = "admin",
    request_body = NamedUser,
    responses(
        (status = 201, description = "The token, shown this once", body = Invitation),
        (status = "4XX", description = "Not allowed, no such user, or one who signs in at a provider", body = ErrorBody),
    ),
)]
pub(crate) async fn invite(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    JsonBody(request): JsonBody<NamedUser>,
) -> Result<(StatusCode, Json<Invitation>), ApiError> {
    let token = gateway.path.invite(credential, &request.tenant, &request.user).await?;
    let token = String::from_utf8_lossy(token.expose()).into_owned();
    let mut url = gateway.path.sign_in().public_url().clone();
    url.set_path("/auth");
    Ok((StatusCode::CREATED, Json(Invitation { url: url.to_string(), token })))
}

/// Forget the second factors of a user
///
/// They have lost them: their passkeys, app and recovery codes are gone, their sessions end, and they add new ones with their next
/// sign-in.
#[utoipa::path(
    post,
    path = "/api/v1/users/forgotten-factors",
    tag = "admin",
    request_body = LostFactors,
    responses(
        (status = 204, description = "They are forgotten"),
        (status = "4XX", description = "Not allowed, no such user, or no reason", body = ErrorBody),
    ),
)]
pub(crate) async fn forget_factors(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    JsonBody(request): JsonBody<LostFactors>,
) -> Result<StatusCode, ApiError> {
    let LostFactors { tenant, user, reason } = request;
    let reason = Reason::try_from(reason.as_str())?;
    gateway.path.forget_factors(credential, &tenant, &user, &reason).await?;
    Ok(StatusCode::NO_CONTENT)
}

impl From<UserView> for User {
    fn from(view: UserView) -> Self {
        Self {
            number: view.id.0,
            tenant: view.tenant,
            user: view.user,
            role: view.role.to_string(),
            class_max: view.class_max.to_string(),
            data_class_max: view.data_class_max.to_string(),
            purposes: names(&view.purposes),
            team: view.team,
            service: view.is_service,
            suspended_at: view.suspended_at,
            shut_out: view.shut_out,
        }
    }
}

/// The purposes that somebody is bound to.
fn names(purposes: &Purposes) -> Option<Vec<String>> {
    purposes.bound().map(|purposes| purposes.iter().map(PurposeOfUse::to_string).collect())
}

fn only(names: &[String]) -> Result<Purposes, OutOfRange> {
    let purposes = names.iter().map(|name| level("purposes", name)).collect::<Result<Vec<_>, _>>()?;
    Purposes::only(purposes)
}

fn level<T: FromStr<Err = OutOfRange>>(parameter: &'static str, name: &str) -> Result<T, OutOfRange> {
    name.parse().map_err(|error| OutOfRange { parameter, ..error })
}

#[cfg(test)]
mod tests {
    use types::{DataClass, PriorityClass, Role};

    use super::*;

    fn request() -> KeyRequest {
        KeyRequest {
            label: "l".to_owned(),
            tenant: "t".to_owned(),
            user: "u".to_owned(),
            role: "operator".to_owned(),
            class_max: "interactive".to_owned(),
            data_class_max: "restricted".to_owned(),
            service: false,
            purposes: Some(vec!["care".to_owned()]),
            actions: Vec::new(),
            models: Vec::new(),
            expires_at: None,
        }
    }

    #[test]
    fn names_of_levels_are_checked_at_the_edge() {
        let key = NewKey::try_from(request()).unwrap();
        assert_eq!(
            (key.role, key.class_max, key.data_class_max),
            (Role::Operator, PriorityClass::Interactive, DataClass::Restricted)
        );
        for (parameter, bad) in [
            ("role", KeyRequest { role: "root".to_owned(), ..request() }),
            ("class_max", KeyRequest { class_max: "realtime".to_owned(), ..request() }),
            ("data_class_max", KeyRequest { data_class_max: String::new(), ..request() }),
            ("purposes", KeyRequest { purposes: Some(vec!["Care".to_owned()]), ..request() }),
            ("models", KeyRequest { models: vec!["two words".to_owned()], ..request() }),
        ] {
            assert_eq!(NewKey::try_from(bad).unwrap_err().parameter, parameter);
        }
    }
}
