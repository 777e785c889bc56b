//! The audit log, as those see it who may: receipts of one's own requests, and the records of a tenant. To read it is recorded, too.

use std::{
    collections::{BTreeMap, HashMap},
    ops::Range,
    path::PathBuf,
    sync::Arc,
};

use access::{Action, Credential, ExportAudit, ReadAudit, ReadReceipt};
use audit::{
    AnchorStatus, Audit, AuditUnavailable, CollectorStatus, Exported, Facts, LogError, Receipt, Record, Who,
    Witness,
};
use types::{DataSubject, Principal, RequestId, Secret, TenantId, utc};

use crate::{Path, PathError, record::plain, told};

/// Most entries that are looked at to answer one request; the next one goes on behind them.
const LOOKED_AT_MAX: u64 = 50_000;
/// Entries that are read at once.
const READ_AT_ONCE: u64 = 512;
/// Most records of others who follow the log that whoever follows it does not hear of for now.
const FOLLOWS_MAX: u64 = READ_AT_ONCE;
/// What somebody reads, in the records of their reading: a part of the log, or what was written since they looked last.
const WHAT: &str = "what";
const RECORDS: &str = "records";
const FOLLOW: &str = "follow";
/// What the name of a person's key is called in records.
const SUBJECT_KEY: &str = "subject_key";
/// What stands there of somebody who has none.
const NO_KEY: &str = "none";
/// The sealed name of who asked.
const CALLER: &str = "caller";

/// Which records are wanted.
#[derive(Clone, Default)]
pub struct AuditQuery {
    /// Only before this index, the newest first; without it, from the end.
    pub before: Option<u64>,
    /// Only from this index on, the oldest first; goes before `before`.
    pub from: Option<u64>,
    /// At most so many.
    pub most: usize,
    /// Only of this request.
    pub request: Option<RequestId>,
    /// Only of this action.
    pub action: Option<String>,
    /// Only of the user with this number.
    pub user: Option<u64>,
    /// Only with the key of this id.
    pub key: Option<String>,
    /// Only decisions like this: `allow` or `deny`.
    pub decision: Option<String>,
    /// Only what ended like this.
    pub outcome: Option<String>,
    /// Only what was written then or later, in milliseconds since 1970.
    pub since: Option<i64>,
    /// Only what was written before, in milliseconds since 1970.
    pub until: Option<i64>,
    /// Only about this person, of this tenant.
    pub subject: Option<(String, DataSubject)>,
    /// Only in an emergency.
    pub break_glass: bool,
}

/// A record, and what was sealed in it.
pub struct AuditLine {
    /// Where it is in the log.
    pub index: u64,
    /// The record.
    pub record: Record,
    /// Its sealed fields as they were before; `None` of those whose person was erased.
    pub opened: BTreeMap<String, Option<Secret>>,
}

/// A part of the log.
pub struct AuditPage {
    /// In the order that was asked for.
    pub lines: Vec<AuditLine>,
    /// Where the next part begins (`before`, or `from`); none if there is nothing more for now.
    pub next: Option<u64>,
    /// Entries of the log, as far as there is anything to see: here whoever follows the log goes on if there is no `next`.
    pub size: u64,
}

/// What vouches for the log.
pub struct AuditCheckpoint {
    /// What verifies it.
    pub key: String,
    /// What verifies the countersignatures of this server, if it is a witness of other logs.
    pub witness_key: Option<String>,
    /// Entries that it covers.
    pub size: u64,
    /// The signed note.
    pub note: Arc<str>,
    /// The newest one that witnesses have countersigned, which may be older.
    pub cosigned: Option<Arc<str>>,
    /// How checkpoints arrive at places off this machine.
    pub anchors: Vec<AnchorStatus>,
    /// How records arrive at the collector; none if there is none.
    pub collector: Option<CollectorStatus>,
}

impl Path {
    /// What the log says of a request, with the proof that it does: for who made it, and for those who may read the log.
    pub async fn receipt(&self, credential: Credential, id: RequestId) -> Result<Receipt, PathError> {
        let decided = self.decided_in_own::<ReadReceipt>(&credential).await?;
        let authorized = decided.read(Facts::none().with("of", id)).await?;
        let audit = self.access.audit().clone();
        let found = blocking(move || audit.records_of(id)).await?;
        let principal = authorized.principal();
        let is_own =
            |who: &Who| who.is(principal.tenant, principal.user) || self.may_read(principal, who.tenant);
        if !found.iter().any(|(_, record)| record.who.as_ref().is_some_and(is_own)) {
            return Err(PathError::NoReceipt);
        }
        let indexes: Vec<u64> = found.iter().map(|(index, _)| *index).collect();
        let audit = self.access.audit();
        let salt = match found.iter().find(|(_, record)| record.facts.contains_key(told::PROMPT)) {
            Some((_, record)) => audit.salt(record).await,
            None => Ok(None),
        };
        let salt = salt.map_err(|why| unrecorded(AuditUnavailable::Seal(why)))?;
        if indexes.last() >= Some(&audit.log().checkpoint().size) {
            audit.log().checkpoint_now().await.map_err(unavailable)?;
        }
        let audit = audit.clone();
        let receipt = blocking(move || audit.receipt(id, &indexes)).await?;
        Ok(Receipt { salt: salt.map(|salt| salt.to_string()), ..receipt })
    }

    /// Records of the caller's tenant; of all, for those who may see all.
    pub async fn audit_records(
        &self,
        credential: Credential,
        query: AuditQuery,
    ) -> Result<AuditPage, PathError> {
        let decided = self.decided_in_own::<ReadAudit>(&credential).await?;
        let size = self.access.audit().log().size();
        if let Some(from) = query.from
            && self.is_nothing_but_following(from..size).await?
        {
            // Nothing is shown, so nothing is recorded: those who follow the log would find their own looks in it, and those of each other,
            // for ever. What is not shown now is shown, and recorded, with the next record of something else.
            return Ok(AuditPage { lines: Vec::new(), next: None, size: from.min(size) });
        }
        let subject_keys = match &query.subject {
            Some((tenant, subject)) => {
                // Whether somebody is known in another tenant is not for those who may only read their own.
                self.decided_in::<ReadAudit>(&credential, tenant).await?;
                Some(self.kept.subject_key_ids(tenant, subject).await?)
            }
            None => None,
        };
        let authorized = decided.read(asked(&query, subject_keys.as_deref())).await?;
        if subject_keys.as_ref().is_some_and(Vec::is_empty) {
            return Ok(AuditPage { lines: Vec::new(), next: None, size });
        }
        let mut may_read = HashMap::new();
        let mut wanted = |record: &Record| {
            let mut may = |tenant: u64| {
                *may_read.entry(tenant).or_insert_with(|| self.may_read(authorized.principal(), tenant))
            };
            (may(whose(record)) || on_tenant(record).is_some_and(may))
                && query.matches(record, subject_keys.as_deref())
        };
        let audit = self.access.audit();
        let size = audit.log().size();
        let (mut lines, mut looked_at) = (Vec::new(), 0);
        let mut at = match (query.from, query.before) {
            (Some(from), _) => from.min(size),
            (None, before) => before.unwrap_or(size).min(size),
        };
        let is_over = |at: u64| if query.from.is_some() { at >= size } else { at == 0 };
        'pages: while !is_over(at) && looked_at < LOOKED_AT_MAX {
            let range = if query.from.is_some() {
                at..size.min(at + READ_AT_ONCE)
            } else {
                at.saturating_sub(READ_AT_ONCE)..at
            };
            let (log, first) = (audit.log().clone(), range.start);
            let entries = blocking(move || log.entries(range)).await?;
            looked_at += entries.len() as u64;
            let mut numbered: Vec<(u64, Vec<u8>)> = (first..).zip(entries).collect();
            if query.from.is_none() {
                numbered.reverse();
            }
            for (index, entry) in numbered {
                at = if query.from.is_some() { index + 1 } else { index };
                let Ok(record) = Record::parse(&entry) else { continue };
                if wanted(&record) {
                    lines.push((index, record));
                    if lines.len() >= query.most {
                        break 'pages;
                    }
                }
            }
        }
        let next = (!is_over(at)).then_some(at);
        let mut opened = Vec::with_capacity(lines.len());
        for (index, record) in lines {
            let fields = self.opened(authorized.principal(), &record).await?;
            opened.push(AuditLine { index, opened: fields, record });
        }
        Ok(AuditPage { lines: opened, next, size })
    }

    /// Whether there is nothing, or nothing but records of people who follow the log. If these become many, they are something.
    async fn is_nothing_but_following(&self, range: Range<u64>) -> Result<bool, PathError> {
        if range.end.saturating_sub(range.start) > FOLLOWS_MAX {
            return Ok(false);
        }
        let log = self.access.audit().log().clone();
        let entries = blocking(move || log.entries(range)).await?;
        Ok(entries.iter().all(|entry| Record::parse(entry).is_ok_and(|record| is_following(&record))))
    }

    /// The newest checkpoint, of all that is recorded by now.
    pub async fn audit_checkpoint(&self, credential: Credential) -> Result<AuditCheckpoint, PathError> {
        let decided = self.decided_in_own::<ReadAudit>(&credential).await?;
        decided.read(Facts::none().with(WHAT, "checkpoint")).await?;
        let audit = self.access.audit();
        audit.log().checkpoint_now().await.map_err(unavailable)?;
        let checkpoint = audit.log().checkpoint();
        Ok(AuditCheckpoint {
            key: audit.key().to_string(),
            witness_key: self.witness.as_ref().map(|witness| witness.key().to_string()),
            size: checkpoint.size,
            note: checkpoint.note,
            cosigned: audit.cosigned_checkpoint().map(|cosigned| cosigned.note),
            anchors: audit.anchors(),
            collector: audit.collector(),
        })
    }

    /// Hashes (base64) that show that the first `new` entries begin with the first `old` ones.
    pub async fn audit_consistency(
        &self,
        credential: Credential,
        old: u64,
        new: u64,
    ) -> Result<Vec<String>, PathError> {
        let decided = self.decided_in_own::<ReadAudit>(&credential).await?;
        decided.read(Facts::none().with(WHAT, "consistency")).await?;
        let log = self.access.audit().log().clone();
        if old > new || new > log.size() {
            let allowed = format!("`old` at most `new`, and that at most {}", log.size());
            return Err(types::OutOfRange::new("new", new, allowed).into());
        }
        let proof = blocking(move || log.consistency_proof(old, new)).await?;
        Ok(proof.iter().map(ToString::to_string).collect())
    }

    /// Writes a copy of the whole log into a new folder, for `llmos-verify`.
    pub async fn export_audit(&self, credential: Credential, folder: PathBuf) -> Result<Exported, PathError> {
        let decided = self.decided::<ExportAudit>(&credential, ()).await?;
        let acting = decided.act(Facts::none().with("folder", folder.display())).await?;
        let audit: &Arc<Audit> = self.access.audit();
        let exported = async {
            audit.log().checkpoint_now().await.map_err(unavailable)?;
            let (log, shown) = (audit.log().clone(), folder.display().to_string());
            let copied = tokio::task::spawn_blocking(move || log.export(&folder)).await;
            let copied = copied.unwrap_or_else(|_| Err(std::io::ErrorKind::Interrupted.into()));
            copied.map_err(|error| PathError::Export { folder: shown, why: error.to_string() })
        };
        let exported = exported.await;
        acting.end_with(exported, |exported| Facts::none().with("entries", exported.size)).await
    }

    /// The witness, if this server is one. Anybody may ask it: it countersigns what the key of a log that it was told of has
    /// signed, and nothing else.
    pub fn witness(&self) -> Result<Option<&Arc<Witness>>, PathError> {
        self.open()?;
        Ok(self.witness.as_ref())
    }

    fn may_read(&self, principal: &Principal, tenant: u64) -> bool {
        self.access.authorize::<ReadAudit>(principal, TenantId(tenant)).is_ok()
    }

    /// The sealed fields that they may see: each is of the tenant of who did it, or of the one that it was done to.
    async fn opened(
        &self,
        principal: &Principal,
        record: &Record,
    ) -> Result<BTreeMap<String, Option<Secret>>, PathError> {
        let mut opened = BTreeMap::new();
        for (name, sealed) in &record.sealed {
            // What is about the caller is of their tenant, all else of the one that it was done to, if that is another.
            let tenant = if name == CALLER { None } else { on_tenant(record) };
            if !self.may_read(principal, tenant.unwrap_or_else(|| whose(record))) {
                continue;
            }
            let value = self.access.audit().opened(name, sealed).await;
            let value = value.map_err(|why| unrecorded(AuditUnavailable::Seal(why)))?;
            opened.insert(name.clone(), value);
        }
        Ok(opened)
    }
}

/// Whether somebody looked for what was written since they looked last, and nothing else. It says so because the server wrote it.
fn is_following(record: &Record) -> bool {
    record.action == ReadAudit::NAME
        && record.decision.as_deref() == Some("allow")
        && record.facts.get(WHAT).is_some_and(|what| what == FOLLOW)
}

/// The tenant of who did it. What nobody did is the machine's own.
fn whose(record: &Record) -> u64 {
    record.who.as_ref().map_or(0, |who| who.tenant)
}

/// The tenant that it was done to. Records of before have it in `on` alone.
fn on_tenant(record: &Record) -> Option<u64> {
    record.tenant.or_else(|| record.on.as_deref()?.strip_prefix("tenant:")?.parse().ok())
}

impl AuditQuery {
    fn matches(&self, record: &Record, subject_keys: Option<&[String]>) -> bool {
        let is = |wanted: &Option<String>, found: Option<&str>| match wanted {
            Some(wanted) => found == Some(wanted.as_str()),
            None => true,
        };
        let who = record.who.as_ref();
        self.request.is_none_or(|request| record.request_id() == Some(request))
            && is(&self.action, Some(record.action.as_str()))
            && self.user.is_none_or(|user| who.is_some_and(|who| who.user == user))
            && is(&self.key, who.and_then(|who| who.key.as_deref()))
            && is(&self.decision, record.decision.as_deref())
            && is(&self.outcome, record.outcome.as_deref())
            && self.is_in_time(record)
            && subject_keys.is_none_or(|keys| {
                record.facts.get(SUBJECT_KEY).is_some_and(|found| keys.iter().any(|key| key == found))
            })
            && (!self.break_glass || record.break_glass)
    }

    fn is_in_time(&self, record: &Record) -> bool {
        if self.since.is_none() && self.until.is_none() {
            return true;
        }
        let at = utc::millis_of(&record.at);
        at.is_some_and(|at| {
            self.since.is_none_or(|since| at >= since) && self.until.is_none_or(|until| at < until)
        })
    }
}

/// What is recorded of a question to the log.
fn asked(query: &AuditQuery, subject_keys: Option<&[String]>) -> Facts {
    let facts = match query.from {
        Some(from) => Facts::none().with(WHAT, FOLLOW).with("from", from),
        None => Facts::none().with(WHAT, RECORDS),
    };
    let facts = query.request.iter().fold(facts, |facts, request| facts.with("of", request));
    let facts = query.action.iter().fold(facts, |facts, action| facts.with("of_action", plain(action)));
    let facts = query.user.iter().fold(facts, |facts, user| facts.with("of_user", user));
    let facts = query.key.iter().fold(facts, |facts, key| facts.with("of_key", plain(key)));
    match subject_keys {
        Some(keys) => facts.with(SUBJECT_KEY, keys.first().map_or(NO_KEY, String::as_str)),
        None => facts,
    }
}

async fn blocking<T: Send + 'static>(
    read: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, PathError> {
    let read = tokio::task::spawn_blocking(read).await.unwrap_or(Err(LogError::Closed));
    read.map_err(unavailable)
}

fn unavailable(error: LogError) -> PathError {
    unrecorded(error.into())
}

fn unrecorded(error: AuditUnavailable) -> PathError {
    access::AccessError::from(error).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_found_by_the_moment_and_not_by_its_text() {
        let record = br#"{"version":1,"at":"2026-11-23T19:51:46.007Z","kind":"event","action":"generate"}"#;
        let record = Record::parse(record).unwrap();
        let at = 1_795_463_506_007;
        for (since, until, expected) in [
            (None, None, true),
            (Some(at), None, true),
            (Some(at + 1), None, false),
            (None, Some(at), false),
            (None, Some(at + 1), true),
            (Some(at), Some(at + 1), true),
            (Some(-1), Some(i64::MAX), true),
        ] {
            let query = AuditQuery { since, until, ..AuditQuery::default() };
            assert_eq!(query.matches(&record, None), expected, "{since:?} {until:?}");
        }
    }
}
