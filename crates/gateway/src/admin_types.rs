//! Shapes of the admin API `/api/v1`, used by the handlers here and by the `llmos` command line.
//!
//! What is sent to the server refuses unknown fields, so that a misspelt one is not silently ignored. What the
//! server sends ignores them, so that an older command line reads a newer server.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::described::{ClassName, DataClassName, RoleName};

/// Answer of `GET /api/v1/version`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Version {
    /// Version of the server.
    pub version: String,
    /// Version of this API: `v1`.
    pub api: String,
    /// Process id of the server.
    pub pid: u32,
    /// Address of the public listener, for example `127.0.0.1:8080`.
    pub listen: String,
}

/// Answer of `GET /api/v1/processes`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Processes {
    /// One entry per deployed model.
    pub replicas: Vec<Replica>,
    /// What runs and waits.
    pub sequences: Vec<Sequence>,
}

/// A replica of a model.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Replica {
    /// The model's name.
    pub model: String,
    /// `unloaded`, `loading`, `ready` or `failed`.
    pub state: String,
    /// Why it is not ready; absent when it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Process id of its worker, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// How much of it is loaded, in percent; absent when it is not on its way into memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub percent: Option<u8>,
    /// Seconds until it is loaded, as far as that can be judged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub left_s: Option<f64>,
    /// Bytes that are set aside for it; absent when it is not in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Bytes that its worker was measured to have; absent when it has no process.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resident: Option<u64>,
    /// Requests that hold it in memory.
    pub requests: usize,
    /// Whether it stays in memory once it is there.
    pub pinned: bool,
    /// The cores granted to it.
    pub cores: Vec<usize>,
    /// Sequences on the device.
    pub running: usize,
    /// Sequences that wait.
    pub waiting: usize,
    /// KV memory in use, in tokens.
    pub kv_used: u32,
    /// KV memory in all, in tokens.
    pub kv_total: u32,
}

/// One generation.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Sequence {
    /// What `llmos kill` takes.
    pub id: u64,
    /// The model that works on it.
    pub model: String,
    /// Whose it is.
    pub tenant: u64,
    /// `batch`, `normal`, `interactive` or `system`.
    #[schema(value_type = ClassName)]
    pub class: String,
    /// `waiting`, `running` or `preempted`.
    pub state: String,
    /// Tokens of its prompt.
    pub prompt: u32,
    /// Tokens generated so far.
    pub generated: u32,
    /// Seconds since it arrived.
    pub age_s: f64,
    /// Why it stands where it stands.
    pub why: Vec<String>,
}

/// Body of `POST /api/v1/keys`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRequest {
    /// What it is for.
    pub label: String,
    /// Name of the tenant; made if new.
    pub tenant: String,
    /// Name of the user in the tenant; made if new.
    pub user: String,
    /// Whether the user, if they are new, is a service account: a program, not a person.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub service: bool,
    /// `member`, `analyst`, `developer`, `auditor`, `operator`, `administrator` or `owner`.
    #[schema(value_type = RoleName)]
    pub role: String,
    /// Highest class of its requests: `batch`, `normal`, `interactive` or `system`.
    #[schema(value_type = ClassName)]
    pub class_max: String,
    /// Most sensitive data that may be sent with it: `public`, `internal`, `confidential` or `restricted`.
    #[schema(value_type = DataClassName)]
    pub data_class_max: String,
    /// What models may be used for with it; absent: all that its user may use them for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purposes: Option<Vec<String>>,
    /// Names of the actions that it is for; none: all that its user may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// Configured names of the models that it is for; none: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// When it expires: seconds since 1970. Without it, it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
}

/// A key, without its secret.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Key {
    /// What `llmos keys revoke` takes.
    pub id: String,
    /// What it is for.
    pub label: String,
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the user in the tenant.
    pub user: String,
    /// `member`, `analyst`, `developer`, `auditor`, `operator`, `administrator` or `owner`.
    #[schema(value_type = RoleName)]
    pub role: String,
    /// Highest class of its requests: `batch`, `normal`, `interactive` or `system`.
    #[schema(value_type = ClassName)]
    pub class_max: String,
    /// Most sensitive data that may be sent with it: `public`, `internal`, `confidential` or `restricted`.
    #[schema(value_type = DataClassName)]
    pub data_class_max: String,
    /// What models may be used for with it; absent: all that its user may use them for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purposes: Option<Vec<String>>,
    /// Names of the actions that it is for; absent: all that its user may.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub actions: Vec<String>,
    /// Configured names of the models that it is for; absent: all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub models: Vec<String>,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Seconds since 1970, if it expires.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    /// Until when the secret before this one is accepted, if it was rotated: seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_until: Option<u64>,
    /// Seconds since 1970, if it was revoked.
    pub revoked_at: Option<u64>,
}

/// Body of `POST /api/v1/keys/{id}/rotations`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct KeyRotationRequest {
    /// For how many seconds more the secret before is accepted: 0 to 2592000 (30 days).
    #[schema(maximum = 2_592_000)]
    pub overlap_s: u64,
}

/// A user of a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct User {
    /// Their number, by which policies (`User::"7"`, `ServiceAccount::"7"`) and records of the audit log name them.
    #[serde(default)]
    pub number: u64,
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the user in it.
    pub user: String,
    /// `member`, `analyst`, `developer`, `auditor`, `operator`, `administrator` or `owner`.
    #[schema(value_type = RoleName)]
    pub role: String,
    /// Highest class of their requests.
    #[schema(value_type = ClassName)]
    pub class_max: String,
    /// Most sensitive data that they may send.
    #[schema(value_type = DataClassName)]
    pub data_class_max: String,
    /// The purposes that they are bound to; absent: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purposes: Option<Vec<String>>,
    /// Their team in the tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Whether they are a service account: a program, not a person.
    #[serde(default)]
    pub service: bool,
    /// Seconds since 1970, if they may do nothing for now.
    pub suspended_at: Option<u64>,
    /// Whether they are an account that its provider, or the table of roles, does not let in.
    #[serde(default)]
    pub shut_out: bool,
}

/// Answer of `GET /api/v1/users`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Users {
    /// By tenant and name.
    pub users: Vec<User>,
}

/// Body of what is done to one user.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NamedUser {
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the user in it.
    pub user: String,
}

/// Body of `POST /api/v1/users/forgotten-factors`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct LostFactors {
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the user in it.
    pub user: String,
    /// How it was made sure that the user themselves asks for it, in 8 to 200 characters. It is sealed in the audit log.
    pub reason: String,
}

/// Answer of `POST /api/v1/users/invitations`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Invitation {
    /// Where it is redeemed.
    pub url: String,
    /// The token: good once, for a day.
    pub token: String,
}

/// Body of `PATCH /api/v1/users`. What is absent stays.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct UserRequest {
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the user in it.
    pub user: String,
    /// `member`, `analyst`, `developer`, `auditor`, `operator`, `administrator` or `owner`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<RoleName>)]
    pub role: Option<String>,
    /// Highest class of their requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<ClassName>)]
    pub class_max: Option<String>,
    /// Most sensitive data that they may send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<DataClassName>)]
    pub data_class_max: Option<String>,
    /// The purposes that they are bound to from now on; `any`: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purposes: Option<PurposesChange>,
    /// Their team in the tenant; the empty name: none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Whether they may do nothing for now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended: Option<bool>,
}

/// What somebody is bound to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PurposesChange {
    /// Nothing: models may be used for anything.
    Any,
    /// These purposes; an empty list leaves nothing that models may be used for.
    Only(Vec<String>),
}

/// Answer of `POST /api/v1/keys`: the only time that the key itself is shown.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CreatedKey {
    /// The key to send as `Authorization: Bearer`.
    pub secret: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub key: Key,
}

/// Answer of `GET /api/v1/keys`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Keys {
    /// Oldest first, revoked ones included.
    pub keys: Vec<Key>,
}

/// Answer of `GET /api/v1/vault`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Vault {
    /// Names the root key; no secret.
    pub root: String,
    /// Where the root key is kept: `file`, `environment` or `pkcs11`.
    pub root_kept_in: String,
    /// What is new is sealed in it: `aes-256-gcm` or `chacha20-poly1305`.
    pub suite: String,
    /// Tenants that have a key.
    pub tenant_keys: u64,
    /// People who have one.
    pub subject_keys: u64,
    /// Keys of people that still wait to be wrapped by the newest key of their tenant: a rotation was broken off.
    pub subject_keys_behind: u64,
    /// Keys that were destroyed.
    pub shredded: u64,
    /// Chat completions that are stored.
    pub chat_completions: u64,
}

/// Body of `POST /api/v1/vault/rotations`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RotationRequest {
    /// Name of the tenant whose key is rotated; without one, the root key is.
    #[serde(default)]
    pub tenant: Option<String>,
}

/// Answer of `POST /api/v1/vault/rotations`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Rotation {
    /// Keys that were wrapped anew.
    pub rewrapped: u64,
}

/// Body of `POST /api/v1/vault/backups`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BackupRequest {
    /// Absolute path of the file, which must not exist yet. The server writes it.
    pub file: String,
    /// If there are any, the file is sealed with age for these recipients (`age1…`).
    #[serde(default)]
    pub recipients: Vec<String>,
}

/// Answer of `POST /api/v1/vault/backups`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Backup {
    /// Bytes of the file.
    pub bytes: u64,
}

/// Body of `POST /api/v1/vault/restores`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RestoreRequest {
    /// Absolute path of a backup. The server reads it.
    pub file: String,
    /// Absolute path of a file with an identity of age, if the backup is sealed with it.
    #[serde(default)]
    pub identity: Option<String>,
}

/// Answer of `POST /api/v1/vault/restores`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Restore {
    /// Keys of people that were missing and are here again.
    pub restored: u64,
    /// Keys of the backup that stay away, because they were shredded.
    pub shredded: u64,
}

/// Body of `POST /api/v1/vault/reseals`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResealRequest {
    /// Whether all people are given new keys first, with which all that is stored is sealed anew.
    #[serde(default)]
    pub replace_keys: bool,
}

/// Answer of `POST /api/v1/vault/reseals`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Reseal {
    /// The suite that they are sealed in now.
    pub suite: String,
    /// People who were given a new key.
    pub replaced_keys: u64,
    /// Chat completions that were sealed anew.
    pub chat_completions: u64,
    /// Seeds of apps that were.
    pub seeds: u64,
    /// Chat completions of people who were erased: nobody can open them, so they stay until they expire.
    pub erased: u64,
    /// Those that do not open, and stay as they are; the log names each.
    pub unreadable: u64,
    /// Those that were changed by others again and again; another call takes them up.
    pub left: u64,
}

/// Body of `POST /api/v1/subjects/shred`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShredRequest {
    /// Name of the tenant.
    pub tenant: String,
    /// The person, as requests name them.
    pub subject: String,
}

/// Answer of `POST /api/v1/subjects/shred`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Shred {
    /// Whether there was a key, which is destroyed now.
    pub key_destroyed: bool,
    /// Stored chat completions that were deleted; nobody could have read them any more.
    pub chat_completions: u64,
}

/// Body of `POST /api/v1/subjects/export`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExportRequest {
    /// Name of the tenant.
    pub tenant: String,
    /// The person, as requests name them.
    pub subject: String,
    /// Absolute path of the file, which must not exist yet. The server writes it.
    pub file: String,
    /// The file is sealed with age for these recipients (`age1…`), of which there is at least one.
    pub recipients: Vec<String>,
}

/// Answer of `POST /api/v1/subjects/export`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Export {
    /// Chat completions in it.
    pub chat_completions: u64,
}

/// Answer of `GET /api/v1/policies/{tenant}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Policies {
    /// By name.
    pub policies: Vec<Policy>,
}

/// A policy that a tenant has for its own users.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Policy {
    /// Unique in the tenant.
    pub name: String,
    /// In Cedar's language.
    pub text: String,
}

/// Body of `PUT /api/v1/policies/{tenant}/{name}`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PolicyRequest {
    /// In Cedar's language.
    pub text: String,
}

/// Body of `POST /api/v1/decisions`: a user, or a key.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionRequest {
    /// Name of the tenant, of a user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// Name of the user in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Id of a key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Name of the action.
    pub action: String,
    /// `server`, `node:NAME`, `model:NAME`, `tenant:NAME`, `key:ID`, `dataset:TENANT/chat_completions`, `budget:TENANT`,
    /// `workflow:TENANT` or `audit:TENANT`; without it, what is their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resource: Option<String>,
    /// What a model is used for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// Configured name of the place where they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// Answer of `POST /api/v1/decisions`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DecisionReport {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The policies that decide it: those that permit, or those that forbid; none if there is none that permits.
    pub policies: Vec<Policy>,
    /// What the first that forbids says about itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub says: Option<String>,
    /// Roles that may do it to what is their own.
    pub roles: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    const REQUESTED: &str = r#""label":"l","tenant":"t","user":"u","role":"member","class_max":"normal","data_class_max":"internal""#;

    #[test]
    fn a_created_key_is_one_flat_object() {
        let text = format!(r#"{{"secret":"s","id":"i",{REQUESTED},"created_at":1,"revoked_at":null}}"#);
        let created: CreatedKey = serde_json::from_str(&text).unwrap();
        assert_eq!((created.secret.as_str(), created.key.label.as_str()), ("s", "l"));
        assert_eq!(serde_json::to_string(&created).unwrap(), text);
    }

    #[test]
    fn only_requests_refuse_unknown_fields() {
        let request = |more: &str| serde_json::from_str::<KeyRequest>(&format!("{{{REQUESTED}{more}}}"));
        assert_eq!(request("").unwrap().role, "member");
        assert!(request(r#","expires":1"#).unwrap_err().to_string().contains("unknown field `expires`"));
        let key = format!(r#"{{"id":"i",{REQUESTED},"created_at":1,"revoked_at":2,"newer":true}}"#);
        assert_eq!(serde_json::from_str::<Key>(&key).unwrap().revoked_at, Some(2));
    }
}
