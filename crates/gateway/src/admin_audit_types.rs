//! Shapes of what the API says of the audit log, used by the handlers here and by the `llmos` command line. What holds for
//! [`admin_types`](crate::admin_types) holds here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Answer of `GET /v1/receipts/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReceiptBody {
    /// The version of this form.
    pub version: u32,
    /// The request.
    pub request: String,
    /// Its records in the audit log, in the order in which they were written.
    pub entries: Vec<ReceiptEntry>,
    /// What the commitments to question and answer are made with, which the records hold: 64 hexadecimal digits. Whoever has it and a text
    /// can find out whether it was that text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub salt: Option<String>,
}

/// A record and the proof that it is in the log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ReceiptEntry {
    /// The record (JSON), exactly as it is in the log.
    pub entry: String,
    /// The proof, in the format `tlog-proof` of C2SP.
    pub proof: String,
}

/// Body of `POST /api/v1/audit/records`. Filters that are absent let everything through.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditSearch {
    /// From this index on, the oldest first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<u64>,
    /// Before this index, the newest first; without it and `from`, from the end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
    /// At most so many: 1 to 1000; 100 without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1, maximum = 1000)]
    pub limit: Option<usize>,
    /// Of this request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Of this action.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Of the user with this number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<u64>,
    /// With the API key of this id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Decisions like this: `allow` or `deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// What ended like this: `done`, `failed`, `stop`, `interrupted`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// Written then or later: a time in RFC 3339, with its offset (`2026-11-23T19:51:46Z`), or a date, from its beginning in UTC
    /// (`2026-11-23`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<String>,
    /// Written before: the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<String>,
    /// The tenant that `subject` is of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// About this person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// Only what was done in an emergency.
    #[serde(default)]
    pub break_glass: bool,
}

/// Answer of `POST /api/v1/audit/records`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditRecords {
    /// In the order that was asked for.
    pub records: Vec<AuditRecord>,
    /// Where the next ones begin (as `before`, or as `from`); absent if there is nothing more for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<u64>,
    /// Entries of the log. With `from`: where to go on later if there is no `next`. That is below the end of the log as long as there are
    /// only records of people who follow it: they come with the next record of something else.
    pub size: u64,
}

/// A record of the audit log.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditRecord {
    /// Where it is in the log.
    pub index: u64,
    /// The record.
    #[schema(value_type = Object)]
    pub record: serde_json::Value,
    /// What is sealed in it, opened; null of people who were erased.
    pub opened: BTreeMap<String, Option<String>>,
}

/// Answer of `GET /api/v1/audit/checkpoint`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditCheckpointBody {
    /// What verifies it, and names the log.
    pub key: String,
    /// What verifies the countersignatures of this server; absent if it is no witness of other logs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness_key: Option<String>,
    /// Entries that it covers.
    pub size: u64,
    /// The signed note (C2SP `tlog-checkpoint`).
    pub checkpoint: String,
    /// The newest one that witnesses have countersigned, with their signatures. It may be older.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cosigned: Option<String>,
    /// Places off this machine, and what is known to be there.
    #[serde(default)]
    pub anchors: Vec<AuditAnchor>,
    /// Where the records themselves go; absent if they go nowhere.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub collector: Option<AuditCollector>,
    /// What cannot be found out, because there are no such places.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// A place off this machine where checkpoints are kept.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditAnchor {
    /// A folder, or the address of a witness.
    pub place: String,
    /// Entries of the last checkpoint that is known to be there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// When it was said to be there (RFC 3339, UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Why the last try failed; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// The collector that gets every record.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditCollector {
    /// Its address.
    pub place: String,
    /// Records, from the first one on, that it was sent and has answered.
    pub sent: u64,
    /// Records that it does not have yet.
    pub behind: u64,
    /// Records among those sent that it has refused for good.
    pub refused: u64,
    /// When it last took some (RFC 3339, UTC); absent if it took none since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Why the last try failed; absent when it did not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Answer of `GET /api/v1/audit/consistency`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditConsistency {
    /// Entries of the older checkpoint.
    pub old: u64,
    /// Entries of the newer one.
    pub new: u64,
    /// The hashes (base64).
    pub proof: Vec<String>,
}

/// Body of `POST /api/v1/audit/exports`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AuditExportRequest {
    /// Absolute path of the folder, which must not be there yet.
    pub folder: String,
}

/// Answer of `POST /api/v1/audit/exports`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct AuditExport {
    /// Entries that were copied.
    pub entries: u64,
    /// Bytes.
    pub bytes: u64,
}
