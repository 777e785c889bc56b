//! The part of the API that is about the audit log: receipts for those who made a request, records for those who may read them.

use std::{path::PathBuf, sync::Arc};

use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use path::{AuditCheckpoint, AuditLine, AuditQuery};
use types::{DataSubject, OutOfRange, RequestId, utc};

use crate::{
    admin_audit_types::{
        AuditAnchor, AuditCheckpointBody, AuditCollector, AuditConsistency, AuditExport, AuditExportRequest,
        AuditRecord, AuditRecords, AuditSearch, ReceiptBody, ReceiptEntry,
    },
    body::JsonBody,
    credential::Caller,
    error::{ApiError, ErrorBody},
    routes::Gateway,
};

/// Most records of one answer, and how many there are without a number.
const RECORDS_MAX: usize = 1_000;
const RECORDS: usize = 100;
/// What stands before the id of a request in the answers of the protocols.
const PREFIXES: [&str; 2] = ["chatcmpl-", "cmpl-"];
/// Highest index, and highest number of a user.
const NUMBER_MAX: u64 = i64::MAX.cast_unsigned();
/// Times that `since` and `until` take.
const MOMENTS: &str = "a time in RFC 3339 with its offset (`2026-11-23T19:51:46Z`, `2026-11-23T20:51:46.5+01:00`), or a date, from its \
                       beginning in UTC (`2026-11-23`)";
/// Digits of a request's id.
const ID_DIGITS: usize = 32;

/// Get the receipt of a request
///
/// Its id is in the header `x-request-id` of every answer, and in the field `id` of those that have one. A receipt holds what the audit
/// log says of the request, byte for byte, with the proof that it does; `llmos-verify receipt` checks it offline.
#[utoipa::path(
    get,
    path = "/v1/receipts/{id}",
    tag = "openai",
    params(("id" = String, Path, description = "Id of the request, or of its answer")),
    responses(
        (status = 200, description = "The receipt", body = ReceiptBody),
        (status = "4XX", description = "Not allowed, or no such request of this user", body = ErrorBody),
        (status = "5XX", description = "The audit log cannot be read now", body = ErrorBody),
    ),
)]
pub(crate) async fn receipt(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    id: Result<Path<String>, PathRejection>,
) -> Result<Json<ReceiptBody>, ApiError> {
    let id = id.ok().and_then(|Path(id)| request_id(&id));
    // What is no id at all is the id of nothing.
    let id = id.unwrap_or(RequestId(0));
    let receipt = gateway.path.receipt(credential, id).await?;
    let entry = |proved: audit::Proved| ReceiptEntry { entry: proved.entry, proof: proved.proof };
    Ok(Json(ReceiptBody {
        version: receipt.version,
        request: receipt.request,
        entries: receipt.entries.into_iter().map(entry).collect(),
        salt: receipt.salt,
    }))
}

/// Search the audit log
///
/// Records of the caller's tenant, the newest first, or from an index on the oldest first. What is sealed in them is opened beside them;
/// of people who were erased it is null. To search is recorded, too.
#[utoipa::path(
    post,
    path = "/api/v1/audit/records",
    tag = "admin",
    request_body = AuditSearch,
    responses(
        (status = 200, description = "Records, and where the next ones begin", body = AuditRecords),
        (status = "4XX", description = "Not allowed, or a filter that cannot be", body = ErrorBody),
        (status = "5XX", description = "The audit log cannot be read now", body = ErrorBody),
    ),
)]
pub(crate) async fn records(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    JsonBody(search): JsonBody<AuditSearch>,
) -> Result<Json<AuditRecords>, ApiError> {
    let query = AuditQuery::try_from(search)?;
    let page = gateway.path.audit_records(credential, query).await?;
    let record = |AuditLine { index, record, opened }: AuditLine| {
        let text = |value: types::Secret| String::from_utf8_lossy(value.expose()).into_owned();
        AuditRecord {
            index,
            // A record is a JSON object: it was read from one.
            record: serde_json::to_value(record).unwrap_or_default(),
            opened: opened.into_iter().map(|(name, value)| (name, value.map(text))).collect(),
        }
    };
    Ok(Json(AuditRecords {
        records: page.lines.into_iter().map(record).collect(),
        next: page.next,
        size: page.size,
    }))
}

/// The newest checkpoint
///
/// Signed, of all that is recorded by now. Kept elsewhere, it shows later whether the log is still the same; `anchors` are the places
/// off this machine to which the server pushes it, and without any `warning` says what nobody can find out. `collector` is where the
/// records themselves go.
#[utoipa::path(
    get,
    path = "/api/v1/audit/checkpoint",
    tag = "admin",
    responses(
        (status = 200, description = "The checkpoint, and the key that verifies it", body = AuditCheckpointBody),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
        (status = "5XX", description = "The audit log cannot be read now", body = ErrorBody),
    ),
)]
pub(crate) async fn checkpoint(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
) -> Result<Json<AuditCheckpointBody>, ApiError> {
    let AuditCheckpoint { key, witness_key, size, note, cosigned, anchors, collector: collected } =
        gateway.path.audit_checkpoint(credential).await?;
    let warning = anchors.is_empty().then(|| audit::outside::NOTHING_OUTSIDE.to_owned());
    let anchor = |status: audit::AnchorStatus| AuditAnchor {
        place: status.place,
        size: status.size,
        at: status.at_ms.map(utc::rfc3339),
        error: status.error,
    };
    let collector = |status: audit::CollectorStatus| AuditCollector {
        behind: status.behind(size),
        place: status.place,
        sent: status.sent,
        refused: status.refused,
        at: status.at_ms.map(utc::rfc3339),
        error: status.error,
    };
    Ok(Json(AuditCheckpointBody {
        collector: collected.map(collector),
        key,
        witness_key,
        size,
        checkpoint: note.to_string(),
        cosigned: cosigned.map(|note| note.to_string()),
        anchors: anchors.into_iter().map(anchor).collect(),
        warning,
    }))
}

/// Prove that the log has only grown
///
/// The hashes that show that its first `new` entries begin with the first `old` ones (RFC 6962, section 2.1.2).
#[utoipa::path(
    get,
    path = "/api/v1/audit/consistency/{old}/{new}",
    tag = "admin",
    params(
        ("old" = u64, Path, description = "Entries of the older checkpoint"),
        ("new" = u64, Path, description = "Entries of the newer one"),
    ),
    responses(
        (status = 200, description = "The proof", body = AuditConsistency),
        (status = "4XX", description = "Not allowed, or no such sizes", body = ErrorBody),
        (status = "5XX", description = "The audit log cannot be read now", body = ErrorBody),
    ),
)]
pub(crate) async fn consistency(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    sizes: Result<Path<(u64, u64)>, PathRejection>,
) -> Result<Json<AuditConsistency>, ApiError> {
    let Path((old, new)) = sizes
        .map_err(|_| OutOfRange::new("old", "no number", "two sizes of the log, the smaller one first"))?;
    let proof = gateway.path.audit_consistency(credential, old, new).await?;
    Ok(Json(AuditConsistency { old, new, proof }))
}

/// Copy the audit log
///
/// All of it, of all tenants, into a new folder on this machine, in the layout `tlog-tiles`; `llmos-verify log` checks it anywhere.
#[utoipa::path(
    post,
    path = "/api/v1/audit/exports",
    tag = "admin",
    request_body = AuditExportRequest,
    responses(
        (status = 200, description = "The copy is complete", body = AuditExport),
        (status = "4XX", description = "Not allowed, or the folder cannot be made", body = ErrorBody),
        (status = "5XX", description = "The audit log cannot be read now", body = ErrorBody),
    ),
)]
pub(crate) async fn export(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    JsonBody(AuditExportRequest { folder }): JsonBody<AuditExportRequest>,
) -> Result<Json<AuditExport>, ApiError> {
    let exported = gateway.path.export_audit(credential, PathBuf::from(folder)).await?;
    Ok(Json(AuditExport { entries: exported.size, bytes: exported.bytes }))
}

impl TryFrom<AuditSearch> for AuditQuery {
    type Error = OutOfRange;

    fn try_from(search: AuditSearch) -> Result<Self, OutOfRange> {
        let AuditSearch { from, before, limit, request, action, user, key, decision, outcome, .. } = search;
        let most = limit.unwrap_or(RECORDS);
        if !(1..=RECORDS_MAX).contains(&most) {
            return Err(OutOfRange::new("limit", most, format!("1 to {RECORDS_MAX}")));
        }
        for (name, number) in [("from", from), ("before", before), ("user", user)] {
            if let Some(number) = number.filter(|number| *number > NUMBER_MAX) {
                return Err(OutOfRange::new(name, number, format!("0 to {NUMBER_MAX}")));
            }
        }
        let known = |id: String| {
            let wrong =
                || OutOfRange::new("request", "no id of a request", "as in the header `x-request-id`");
            request_id(&id).ok_or_else(wrong)
        };
        let moment = |name: &'static str, text: Option<String>| {
            let read =
                |text: String| utc::millis_of(&text).ok_or_else(|| OutOfRange::new(name, "no time", MOMENTS));
            text.map(read).transpose()
        };
        let (since, until) = (moment("since", search.since)?, moment("until", search.until)?);
        let subject = match (search.tenant, search.subject) {
            (_, None) => None,
            (Some(tenant), Some(subject)) => Some((tenant, DataSubject::try_from(subject)?)),
            (None, Some(_)) => {
                return Err(OutOfRange::new("tenant", "missing", "the tenant that the subject is of"));
            }
        };
        Ok(Self {
            before,
            from,
            most,
            request: request.map(known).transpose()?,
            action,
            user,
            key,
            decision,
            outcome,
            since,
            until,
            subject,
            break_glass: search.break_glass,
        })
    }
}

/// The id of a request, as it is or as answers have it.
fn request_id(id: &str) -> Option<RequestId> {
    let bare = PREFIXES.iter().find_map(|prefix| id.strip_prefix(prefix)).unwrap_or(id);
    let is_one =
        bare.len() == ID_DIGITS && bare.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    is_one.then(|| u128::from_str_radix(bare, 16).ok().map(RequestId)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_moments_or_refused_by_name() {
        let of = |field: &str, text: &str| {
            let search = serde_json::from_value::<AuditSearch>(serde_json::json!({ field: text })).unwrap();
            AuditQuery::try_from(search)
        };
        for text in ["2026-11-23T19:51:46Z", "2026-11-23T20:51:46+01:00"] {
            let both = ["since", "until"].map(|field| of(field, text).unwrap());
            assert_eq!((both[0].since, both[1].until), (Some(1_795_463_506_000), Some(1_795_463_506_000)));
        }
        for field in ["since", "until"] {
            for wrong in ["2026", "", "tomorrow", "2026-11-23T19:51:46"] {
                let refused = of(field, wrong).err().unwrap();
                assert_eq!((refused.parameter, refused.allowed.as_str()), (field, MOMENTS), "{wrong}");
            }
        }
    }

    #[test]
    fn a_request_is_named_as_in_its_answer() {
        let id = "0000000000000000000000000000000a";
        for named in [id.to_owned(), format!("chatcmpl-{id}"), format!("cmpl-{id}")] {
            assert_eq!(request_id(&named), Some(RequestId(10)), "{named}");
        }
        for wrong in
            ["", "a", "chatcmpl-", "0000000000000000000000000000000A", "+000000000000000000000000000000a"]
        {
            assert_eq!(request_id(wrong), None, "{wrong}");
        }
    }
}
