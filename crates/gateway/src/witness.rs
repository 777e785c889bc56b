//! This server as a witness of other logs (C2SP `tlog-witness`). Anybody may ask: what counts is the signature of a log that is
//! configured, and that decides `audit`.

use std::sync::Arc;

use audit::WitnessRefusal;
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{StatusCode, header};

use crate::{
    body::NoteBody,
    error::{ApiError, ErrorBody},
    routes::Gateway,
};

/// Where it is. The address that those have who ask it is the part before the last name.
pub(crate) const ADD_CHECKPOINT: &str = "/witness/v1/add-checkpoint";
/// The media type that the protocol has for the size that a witness knows.
const SIZE: &str = "text/x.tlog.size";

/// Countersign a checkpoint
///
/// For other servers, in the protocol `tlog-witness` of C2SP: the size that this server has seen of a log, a proof that the log has only
/// grown since, and its new checkpoint, signed by the key of a log that is configured here. The answer is the line of the countersignature.
#[utoipa::path(
    post,
    path = "/witness/v1/add-checkpoint",
    tag = "audit",
    security(()),
    request_body(content = String, content_type = "text/plain"),
    responses(
        (status = 200, description = "The countersignature, a line of a signed note", body = String, content_type = "text/plain"),
        (status = 409, description = "This server has seen another size, which is the answer", body = String, content_type = "text/x.tlog.size"),
        (status = "4XX", description = "Malformed, of an unknown log, signed by an unknown key, or no continuation of what was seen", body = ErrorBody),
        (status = "5XX", description = "What was seen cannot be kept now, so nothing is signed", body = ErrorBody),
    ),
)]
pub(crate) async fn add_checkpoint(
    State(gateway): State<Arc<Gateway>>,
    NoteBody(body): NoteBody,
) -> Result<Response, ApiError> {
    let witness = gateway.path.witness()?.ok_or(ApiError::NoSuchPath)?;
    match witness.add_checkpoint(body).await {
        Ok(line) => Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], line).into_response()),
        Err(WitnessRefusal::Conflict { size }) => {
            Ok((StatusCode::CONFLICT, [(header::CONTENT_TYPE, SIZE)], format!("{size}\n")).into_response())
        }
        Err(refusal) => Err(refusal.into()),
    }
}
