//! The part of the admin API that is about keys and erasure. Files are named, not sent: whoever may use the local socket works
//! on the same machine, and a backup may be larger than any body.

use std::{path::PathBuf, sync::Arc};

use axum::{Json, extract::State};
use path::{Erased, Resealed, VaultStatus};
use types::DataSubject;

use crate::{
    admin_types::{
        Backup, BackupRequest, Export, ExportRequest, Reseal, ResealRequest, Restore, RestoreRequest,
        Rotation, RotationRequest, Shred, ShredRequest, Vault,
    },
    body::JsonBody,
    credential::Caller,
    error::{ApiError, ErrorBody},
    openai::{answer::now, stored},
    routes::Gateway,
};

/// How the vault does
#[utoipa::path(
    get,
    path = "/api/v1/vault",
    tag = "admin",
    responses(
        (status = 200, description = "Its keys, counted", body = Vault),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
        (status = "5XX", description = "The keys cannot be read", body = ErrorBody),
    ),
)]
pub(crate) async fn status(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
) -> Result<Json<Vault>, ApiError> {
    let VaultStatus { root, kept_in, suite, keys, chat_completions } =
        gateway.path.vault_status(credential).await?;
    Ok(Json(Vault {
        root: data_encoding::HEXLOWER.encode(&root),
        root_kept_in: kept_in.to_owned(),
        suite: suite.to_string(),
        tenant_keys: keys.tenants,
        subject_keys: keys.subjects,
        subject_keys_behind: keys.behind,
        shredded: keys.tombstones,
        chat_completions,
    }))
}

/// Rotate a key
///
/// The key of a tenant, or the root key: a new one wraps what the old one wrapped, and the old one is destroyed. No stored data
/// is touched. One that was broken off is completed.
#[utoipa::path(
    post,
    path = "/api/v1/vault/rotations",
    tag = "admin",
    request_body = RotationRequest,
    responses(
        (status = 200, description = "It is rotated", body = Rotation),
        (status = "4XX", description = "Not allowed, no such tenant, or a root that is not in a file", body = ErrorBody),
        (status = "5XX", description = "The keys cannot be written", body = ErrorBody),
    ),
)]
pub(crate) async fn rotate(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    JsonBody(request): JsonBody<RotationRequest>,
) -> Result<Json<Rotation>, ApiError> {
    let rewrapped = match request.tenant {
        Some(tenant) => gateway.path.rotate_tenant_key(credential, &tenant).await?,
        None => gateway.path.rotate_root_key(credential).await?,
    };
    Ok(Json(Rotation { rewrapped }))
}

/// Back up all keys
///
/// Wrapped, so that nothing opens without the root key, and with the marks of what was shredded.
#[utoipa::path(
    post,
    path = "/api/v1/vault/backups",
    tag = "admin",
    request_body = BackupRequest,
    responses(
        (status = 200, description = "The file is written", body = Backup),
        (status = "4XX", description = "Not allowed, or the file cannot be written", body = ErrorBody),
        (status = "5XX", description = "The keys cannot be read", body = ErrorBody),
    ),
)]
pub(crate) async fn back_up(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    JsonBody(request): JsonBody<BackupRequest>,
) -> Result<Json<Backup>, ApiError> {
    let file = PathBuf::from(request.file);
    let bytes = gateway.path.back_up_keys(credential, file, &request.recipients).await?;
    Ok(Json(Backup { bytes }))
}

/// Restore keys
///
/// Takes in what is missing. What was shredded, here or before the backup was made, does not come back.
#[utoipa::path(
    post,
    path = "/api/v1/vault/restores",
    tag = "admin",
    request_body = RestoreRequest,
    responses(
        (status = 200, description = "What is missing was taken in", body = Restore),
        (status = "4XX", description = "Not allowed, or the file is no backup of this installation", body = ErrorBody),
        (status = "5XX", description = "The keys cannot be written", body = ErrorBody),
    ),
)]
pub(crate) async fn restore(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    JsonBody(request): JsonBody<RestoreRequest>,
) -> Result<Json<Restore>, ApiError> {
    let (file, identity) = (PathBuf::from(request.file), request.identity.map(PathBuf::from));
    let restored = gateway.path.restore_keys(credential, file, identity).await?;
    Ok(Json(Restore { restored: restored.subjects, shredded: restored.shredded }))
}

/// Seal anew what is stored
///
/// What is stored in another suite than `vault.suite` names, or with a key that was replaced, is opened and sealed as it should be,
/// while the server serves. What is so already is passed over, so a call that was broken off is taken up by the next one.
#[utoipa::path(
    post,
    path = "/api/v1/vault/reseals",
    tag = "admin",
    request_body = ResealRequest,
    responses(
        (status = 200, description = "All that can be is in the suite", body = Reseal),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
        (status = "5XX", description = "It cannot be read or written", body = ErrorBody),
    ),
)]
pub(crate) async fn reseal(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    JsonBody(request): JsonBody<ResealRequest>,
) -> Result<Json<Reseal>, ApiError> {
    let Resealed { suite, replaced_keys, chat_completions, seeds, erased, unreadable, left } =
        gateway.path.reseal(credential, request.replace_keys).await?;
    let suite = suite.to_string();
    Ok(Json(Reseal { suite, replaced_keys, chat_completions, seeds, erased, unreadable, left }))
}

/// Erase a person
///
/// Destroys the key that everything about them is sealed with, durably, and deletes what is stored. Nothing of it can be read
/// again, wherever copies of it are.
#[utoipa::path(
    post,
    path = "/api/v1/subjects/shred",
    tag = "admin",
    request_body = ShredRequest,
    responses(
        (status = 200, description = "Nothing about this person can be read any more", body = Shred),
        (status = "4XX", description = "Not allowed, or no such tenant", body = ErrorBody),
        (status = "5XX", description = "The key could not be destroyed", body = ErrorBody),
    ),
)]
pub(crate) async fn shred(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    JsonBody(request): JsonBody<ShredRequest>,
) -> Result<Json<Shred>, ApiError> {
    let subject = DataSubject::try_from(request.subject)?;
    let Erased { key_destroyed, chat_completions } =
        gateway.path.shred(credential, &request.tenant, &subject, now()).await?;
    Ok(Json(Shred { key_destroyed, chat_completions }))
}

/// Export what is stored about a person
///
/// One line of JSON for each chat completion: the answer as `GET /v1/chat/completions/{id}` gives it, and its `messages`.
#[utoipa::path(
    post,
    path = "/api/v1/subjects/export",
    tag = "admin",
    request_body = ExportRequest,
    responses(
        (status = 200, description = "The file is written", body = Export),
        (status = "4XX", description = "Not allowed, nothing is stored about this person, or the file cannot be written", body = ErrorBody),
        (status = "5XX", description = "It cannot be read", body = ErrorBody),
    ),
)]
pub(crate) async fn export(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    JsonBody(request): JsonBody<ExportRequest>,
) -> Result<Json<Export>, ApiError> {
    let ExportRequest { tenant, subject, file, recipients } = request;
    let (subject, file) = (DataSubject::try_from(subject)?, PathBuf::from(file));
    let exported = gateway.path.export(credential, &tenant, &subject, file, &recipients, &stored::line);
    Ok(Json(Export { chat_completions: exported.await? }))
}
