//! What stands in the log: one JSON object for each entry, always in the same order of fields, on one line.

use std::{collections::BTreeMap, fmt::Display};

use serde::{Deserialize, Serialize};
use types::{Principal, RequestId, TenantId, UserId};

use crate::text::{self, cut};

/// The version of the form of records.
const VERSION: u32 = 1;
/// Most facts of one record, and most policies that are named; what is beyond is counted.
const LIST_MAX: usize = 24;

/// Which part of something a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordKind {
    /// It was decided, and begins: written before it does.
    Begin,
    /// What became of it.
    End,
    /// All of it, in one record: what was refused, what was only looked at, what happened by itself.
    Event,
}

/// One record. Names of people are not in it, but sealed: see [`sealed`](Self::sealed).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of this form.
    pub version: u32,
    /// When it was written (RFC 3339, UTC, milliseconds).
    pub at: String,
    /// Which part it is.
    pub kind: RecordKind,
    /// The request; none if there is none, or as an answer's id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// Of an end: the index of its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begin: Option<u64>,
    /// What was done, or tried: the name of an action, or of what happened.
    pub action: String,
    /// What it was done to: `model:NAME`, `tenant:NUMBER`, `key:ID`, `node:NAME`, `server`, or something of a tenant, as `budget:NUMBER`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<String>,
    /// The tenant that this belongs to; none if it is no tenant's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<u64>,
    /// Who.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub who: Option<Who>,
    /// What for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purpose: Option<String>,
    /// How sensitive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_class: Option<String>,
    /// How urgent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub class: Option<String>,
    /// `allow` or `deny`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<String>,
    /// The policies that decided.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<String>,
    /// Which version of them: the beginning of the SHA-256 of all that were looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policies_version: Option<String>,
    /// What was set aside for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reserved: Option<Used>,
    /// How it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// The code of the error that ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The model that worked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ModelUsed>,
    /// What it used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Used>,
    /// Whether it was done by somebody who came in without the provider, in an emergency.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub break_glass: bool,
    /// What else there is to know, by name: ids, names of roles, counts. Nothing personal.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub facts: BTreeMap<String, String>,
    /// What is personal, by name: sealed with the key of the person it is about (base64), so that it can be erased without
    /// touching the log.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub sealed: BTreeMap<String, String>,
}

/// Who did it. The numbers are of this installation, and lead to a person only as long as they are known here.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Who {
    /// The tenant; 0 is the machine's own.
    pub tenant: u64,
    /// The user; 0 is whoever runs the server.
    pub user: u64,
    /// What they are.
    pub role: String,
    /// Whether it is a program.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_service: bool,
    /// Their team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The id of the key that was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The place where they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub location: Option<String>,
}

/// A model that worked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelUsed {
    /// Its configured name.
    pub name: String,
    /// The SHA-256 of its file; none if it has none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// What something uses, or may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// Tokens that are read.
    pub input_tokens: u64,
    /// Tokens that are written.
    pub output_tokens: u64,
    /// What it costs, in billionths of the currency.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub spend: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // As serde wants it.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// What else there is to know, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts(BTreeMap<String, String>);

impl Facts {
    /// None.
    pub fn none() -> Self {
        Self::default()
    }

    /// With one more. A long one is cut.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Display) -> Self {
        if self.0.len() < LIST_MAX {
            self.0.insert(name.to_owned(), cut(&value.to_string()));
        }
        self
    }

    pub(crate) fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }
}

impl Record {
    /// A record of `at` (milliseconds since 1970) with nothing in it yet.
    pub(crate) fn new(kind: RecordKind, at: u64, action: &str, request: Option<RequestId>) -> Self {
        Self {
            version: VERSION,
            at: types::utc::rfc3339(at),
            kind,
            request: request.map(|id| id.to_string()),
            begin: None,
            action: cut(action),
            on: None,
            tenant: None,
            who: None,
            purpose: None,
            data_class: None,
            class: None,
            decision: None,
            policies: Vec::new(),
            policies_version: None,
            reserved: None,
            outcome: None,
            error: None,
            model: None,
            used: None,
            break_glass: false,
            facts: BTreeMap::new(),
            sealed: BTreeMap::new(),
        }
    }

    /// Names the policies, as many as there is room for.
    pub(crate) fn name_policies(&mut self, policies: &[String]) {
        self.policies = policies.iter().take(LIST_MAX).map(|policy| cut(policy)).collect();
        if let Some(more) = policies.len().checked_sub(LIST_MAX).filter(|more| *more > 0) {
            self.policies.push(format!("[cut: {more} more]"));
        }
    }

    /// The bytes of the entry, at most `most`: what is too much is left out, with a mark.
    pub(crate) fn bytes(mut self, most: usize) -> Vec<u8> {
        // Strings, numbers and maps of strings cannot fail.
        let written = |record: &Self| text::json(record).unwrap_or_default();
        let bytes = written(&self);
        if bytes.len() <= most {
            return bytes;
        }
        self.facts = BTreeMap::from([("cut".to_owned(), format!("{} bytes were too much", bytes.len()))]);
        let bytes = written(&self);
        if bytes.len() <= most {
            return bytes;
        }
        // Only hundreds of long names of policies get here.
        self.policies.clear();
        self.sealed.clear();
        written(&self)
    }

    /// Reads an entry.
    ///
    /// # Errors
    /// If it is none that this program knows.
    pub fn parse(entry: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice(entry)
    }

    /// The request of an entry, if it has one.
    pub fn request_id(&self) -> Option<RequestId> {
        let id = self.request.as_deref().filter(|id| id.len() == 32)?;
        u128::from_str_radix(id, 16).ok().map(RequestId)
    }
}

impl Who {
    /// A principal, without what is personal.
    pub fn of(principal: &Principal) -> Self {
        let owned = |text: &Option<std::sync::Arc<str>>| text.as_deref().map(cut);
        Self {
            tenant: principal.tenant.0,
            user: principal.user.0,
            role: principal.role.to_string(),
            is_service: principal.is_service,
            team: owned(&principal.team),
            key: owned(&principal.key),
            location: owned(&principal.location),
        }
    }

    /// Whether it is this user of this tenant.
    pub fn is(&self, tenant: TenantId, user: UserId) -> bool {
        (self.tenant, self.user) == (tenant.0, user.0)
    }
}
