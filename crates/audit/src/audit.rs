use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use tlog::{VerifierKey, commitment::Salt};
use types::{Declared, ModelName, Principal, RequestId, TenantId};

use crate::{
    AnchorStatus, Caller, CollectorStatus, Personal, Record, RecordKind, SealedCaller, Seals, Used, Who,
    cosigned::{self, Cosigned},
    log::{Checkpointed, END_BYTES_MAX, ENTRY_BYTES_MAX, Entry, Kind, Log, LogError},
    personal::{self, Sealer},
    record::{Facts, ModelUsed},
    sampled::Sampled,
    text::cut,
};

/// What a decision says.
const ALLOW: &str = "allow";
const DENY: &str = "deny";
/// How something ends of which nobody says how it ended.
const ABANDONED: &str = "abandoned";
/// What is recorded of users who ask for more than their rate allows.
const TOO_OFTEN: &str = "ask_too_often";
const REFUSED: &str = "refused";

/// Why nothing is recorded, and so nothing may be done.
#[derive(Debug, Clone, thiserror::Error)]
pub enum AuditUnavailable {
    /// The log takes no entries.
    #[error("the audit log takes no records, so nothing that has to be recorded is done: {0}")]
    Log(Arc<LogError>),
    /// What is personal cannot be sealed.
    #[error("names cannot be sealed for the audit log, so nothing that has to be recorded is done: {0}")]
    Seal(String),
}

impl AuditUnavailable {
    /// The same for those who asked: what of this machine is none of their business is left out.
    pub fn to_callers(&self) -> &'static str {
        let Self::Log(error) = self else {
            return "names cannot be sealed for the audit log now, so nothing that has to be recorded is done";
        };
        match **error {
            LogError::Full { .. } => {
                "the audit log has no room for new records, so nothing that has to be recorded is done; it goes on by itself once \
                 there is room on the disk"
            }
            LogError::Broken { .. } => {
                "the audit log is closed, because the disk did not confirm a write, so nothing that has to be recorded is done \
                 until the server was started anew"
            }
            LogError::TooManyOpen { .. } => {
                "too much is going on at once for the audit log, so nothing more begins that has to be recorded; try again"
            }
            _ => {
                "the audit log cannot be used now, so nothing that has to be recorded is done; the server's log says why"
            }
        }
    }
}

impl From<LogError> for AuditUnavailable {
    fn from(error: LogError) -> Self {
        Self::Log(Arc::new(error))
    }
}

/// The answer to "may they?", and the question. Plain data: who may do what is not decided here.
pub struct Decision<'a> {
    /// The request.
    pub request: RequestId,
    /// Who asks.
    pub principal: &'a Principal,
    /// What for: the name of the action.
    pub action: &'a str,
    /// What it is done to: `model:NAME`, `tenant:NUMBER`, `key:ID`, `node:NAME`, `server`, or something of a tenant, as `budget:NUMBER`.
    pub on: String,
    /// The tenant that this belongs to, if it is one's.
    pub tenant: Option<TenantId>,
    /// What the caller says of it, as it was allowed.
    pub declared: Option<&'a Declared>,
    /// Whether it is allowed.
    pub allowed: bool,
    /// The policies that decided.
    pub policies: &'a [String],
    /// Which version of them.
    pub policies_version: Option<String>,
    /// What is set aside.
    pub reserved: Option<Used>,
    /// What else there is to know.
    pub facts: Facts,
    /// Who asks, by name; none of whoever runs the server.
    pub caller: Option<SealedCaller>,
    /// What else is personal.
    pub personal: Vec<Personal>,
}

/// What became of something.
#[derive(Debug, Clone, Default)]
pub struct Outcome<'a> {
    /// How it ended: `done`, `failed`, `stop`, `length`, …
    pub how: &'a str,
    /// The code of the error that ended it.
    pub error: Option<&'a str>,
    /// What refused it, if it was allowed at first and turned out not to be.
    pub refused_by: Option<&'a str>,
    /// The model that worked, and the SHA-256 of its file.
    pub model: Option<(&'a ModelName, Option<&'a str>)>,
    /// What it used.
    pub used: Option<Used>,
    /// What else there is to know.
    pub facts: Facts,
}

/// What happened by itself, or as a part of something else: a sign-in, a wrong code, a change that a provider pushed.
pub struct Happening<'a> {
    /// Its name.
    pub what: &'a str,
    /// The request that it belongs to.
    pub request: Option<RequestId>,
    /// Whom it concerns.
    pub principal: Option<&'a Principal>,
    /// How it ended.
    pub how: &'a str,
    /// What else there is to know.
    pub facts: Facts,
    /// Whom it concerns, by name.
    pub caller: Option<SealedCaller>,
    /// What else is personal.
    pub personal: Vec<Personal>,
}

impl<'a> Happening<'a> {
    /// Something of which nothing else is known.
    pub fn of(what: &'a str, how: &'a str) -> Self {
        let (facts, personal) = (Facts::none(), Vec::new());
        Self { what, request: None, principal: None, how, facts, caller: None, personal }
    }
}

/// Keeps the records. Nothing that has to be recorded is done before its record is on the disk.
pub struct Audit {
    log: Log,
    key: VerifierKey,
    sealer: Sealer,
    /// Those whose credential is good for nothing.
    strangers: Sampled<()>,
    /// What is asked for more often than a rate allows.
    too_often: Sampled<Beyond>,
    cosigned: Cosigned,
    anchors: Mutex<Vec<AnchorStatus>>,
    collector: Mutex<Option<CollectorStatus>>,
}

/// Who asks too often, and for what.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Beyond {
    who: Who,
    break_glass: bool,
    of: &'static str,
}

/// A decision that is on the disk. Its end is due: dropped, it ends as `abandoned`; and if the server dies first, it is ended
/// as `interrupted` with the next start.
#[must_use = "its end is due"]
pub struct Begun(Option<Open>);

struct Open {
    audit: Arc<Audit>,
    index: u64,
    request: Option<RequestId>,
    of: Beginning,
}

/// What an end says again of its beginning.
#[derive(Clone)]
struct Beginning {
    action: String,
    tenant: Option<u64>,
    who: Option<Who>,
    break_glass: bool,
}

impl Audit {
    pub(crate) fn new(log: Log, key: VerifierKey, seals: Arc<dyn Seals>) -> Arc<Self> {
        let cosigned = Cosigned::open(log.folder().join(cosigned::FILE), &key);
        let (strangers, too_often, sealer) = (Sampled::default(), Sampled::default(), Sealer::new(seals));
        let (anchors, collector) = (Mutex::default(), Mutex::default());
        Arc::new(Self { log, key, sealer, strangers, too_often, cosigned, anchors, collector })
    }

    /// What verifies the log's checkpoints, and names the log.
    pub fn key(&self) -> &VerifierKey {
        &self.key
    }

    /// The log itself.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The newest checkpoint that witnesses have countersigned, with what they signed; none if none did.
    pub fn cosigned_checkpoint(&self) -> Option<Checkpointed> {
        self.cosigned.newest()
    }

    /// How checkpoints arrive at places off this machine; empty if there are none
    /// ([`NOTHING_OUTSIDE`](crate::outside::NOTHING_OUTSIDE)).
    pub fn anchors(&self) -> Vec<AnchorStatus> {
        self.anchors.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// How records arrive at the collector; none if there is none.
    pub fn collector(&self) -> Option<CollectorStatus> {
        self.collector.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn cosigned(&self) -> &Cosigned {
        &self.cosigned
    }

    pub(crate) fn set_anchors(&self, anchors: Vec<AnchorStatus>) {
        *self.anchors.lock().unwrap_or_else(PoisonError::into_inner) = anchors;
    }

    pub(crate) fn set_collector(&self, collector: CollectorStatus) {
        *self.collector.lock().unwrap_or_else(PoisonError::into_inner) = Some(collector);
    }

    /// Records what is about to begin. On the disk when this returns.
    ///
    /// # Errors
    /// Then it must not begin.
    pub async fn begin(self: &Arc<Self>, decision: Decision<'_>) -> Result<Begun, AuditUnavailable> {
        let request = decision.request;
        self.end_orphans();
        let record = self.decided(RecordKind::Begin, decision).await?;
        let of = Beginning::of(&record);
        let index = self.append(Kind::Begin, Some(request), record).await?;
        Ok(Begun(Some(Open { audit: self.clone(), index, request: Some(request), of })))
    }

    /// Records what is about to be done as a part of something else: a factor that is added, a session that begins. What became of it
    /// (`how`) is not known yet, and is said with its end. On the disk when this returns.
    ///
    /// # Errors
    /// Then it must not begin.
    pub async fn begin_happening(
        self: &Arc<Self>,
        happening: Happening<'_>,
    ) -> Result<Begun, AuditUnavailable> {
        let request = happening.request;
        self.end_orphans();
        let record = self.happened(RecordKind::Begin, happening).await?;
        let of = Beginning::of(&record);
        let index = self.append(Kind::Begin, request, record).await?;
        Ok(Begun(Some(Open { audit: self.clone(), index, request, of })))
    }

    /// Records a decision that nothing comes after: a refusal, or a look. On the disk when this returns.
    pub async fn decide(&self, decision: Decision<'_>) -> Result<(), AuditUnavailable> {
        let request = decision.request;
        let record = self.decided(RecordKind::Event, decision).await?;
        self.append(Kind::Alone, Some(request), record).await.map(drop)
    }

    /// Records what happened. On the disk when this returns.
    pub async fn note(&self, happening: Happening<'_>) -> Result<(), AuditUnavailable> {
        let (request, how) = (happening.request, cut(happening.how));
        let mut record = self.happened(RecordKind::Event, happening).await?;
        record.outcome = Some(how);
        self.append(Kind::Alone, request, record).await.map(drop)
    }

    /// Takes note of somebody whose credential is good for nothing: `shown` says of what kind it was. One in a second gets a record, with the
    /// number of all since the one before.
    pub async fn note_stranger(&self, request: RequestId, shown: &str) {
        if let Some(count) = self.strangers.count((), Instant::now()) {
            self.note_strangers(Some(request), Facts::none().with("shown", shown), count).await;
        }
    }

    /// Takes note of somebody who is refused because they ask too often, or of a refusal of theirs too many: `of` says which. One in a second
    /// of each gets a record, with the number of all since the one before.
    pub async fn note_too_often(&self, request: Option<RequestId>, principal: &Principal, of: &'static str) {
        let whose = Beyond { who: Who::of(principal), break_glass: principal.break_glass, of };
        if let Some(count) = self.too_often.count(whose.clone(), Instant::now()) {
            self.note_excess(request, whose, count).await;
        }
    }

    /// Writes what is only counted yet, and ends the log.
    pub async fn close(&self) {
        for ((), count) in self.strangers.rest() {
            self.note_strangers(None, Facts::none(), count).await;
        }
        for (whose, count) in self.too_often.rest() {
            self.note_excess(None, whose, count).await;
        }
        self.log.close().await;
    }

    async fn note_excess(&self, request: Option<RequestId>, whose: Beyond, count: u64) {
        let mut record = Record::new(RecordKind::Event, now_ms(), TOO_OFTEN, request);
        (record.who, record.break_glass) = (Some(whose.who.clone()), whose.break_glass);
        record.outcome = Some(REFUSED.to_owned());
        record.facts = Facts::none().with("of", whose.of).with("count", count).into_map();
        // They are refused, whatever becomes of the record.
        if let Err(error) = self.append(Kind::Alone, request, record).await {
            tracing::error!(
                of = whose.of,
                count,
                "what somebody asked for too often is not in the audit log: {error}"
            );
            self.too_often.put_back(&whose, count);
        }
    }

    async fn note_strangers(&self, request: Option<RequestId>, facts: Facts, count: u64) {
        let facts = facts.with("count", count);
        let noted = Happening { request, facts, ..Happening::of("authenticate", REFUSED) };
        // They are refused, whatever becomes of the record.
        if let Err(error) = self.note(noted).await {
            tracing::error!(count, "callers without a credential are not in the audit log: {error}");
            self.strangers.put_back(&(), count);
        }
    }

    /// Ends what began just when its caller went away, so that nobody knows of it.
    fn end_orphans(self: &Arc<Self>) {
        let orphans = self.log.take_orphans();
        if orphans.is_empty() {
            return;
        }
        let audit = self.clone();
        tokio::task::spawn_blocking(move || {
            for begin in orphans {
                let record = audit.log.entry(begin).ok().and_then(|entry| Record::parse(&entry).ok());
                let outcome = Outcome { how: ABANDONED, ..Outcome::default() };
                audit.log.append_soon(ending(begin, record.as_ref(), outcome));
            }
        });
    }

    /// Forgets names that are kept sealed: the key of a person was destroyed.
    pub fn forget_names(&self) {
        self.sealer.forget();
    }

    /// Seals who asks, with the key of their own.
    ///
    /// # Errors
    /// If the keys cannot be used now.
    pub async fn caller(&self, caller: Caller) -> Result<SealedCaller, AuditUnavailable> {
        self.sealer.caller(caller).await
    }

    /// What hides what somebody was told in the request of a record; none if they were erased, or nothing is hidden.
    ///
    /// # Errors
    /// As with [`opened`](Self::opened).
    pub async fn salt(&self, record: &Record) -> Result<Option<Salt>, String> {
        match (record.sealed.get(personal::CALLER), record.request_id()) {
            (Some(caller), Some(request)) => self.sealer.salt(caller, request).await,
            _ => Ok(None),
        }
    }

    /// A field of a record as it was before it was sealed; none if the person was erased.
    ///
    /// # Errors
    /// If the keys cannot be used now, or it is no sealed field: why, in words.
    pub async fn opened(&self, name: &str, sealed: &str) -> Result<Option<types::Secret>, String> {
        self.sealer.opened(name, sealed).await
    }

    async fn decided(&self, kind: RecordKind, decision: Decision<'_>) -> Result<Record, AuditUnavailable> {
        let mut record = Record::new(kind, now_ms(), decision.action, Some(decision.request));
        record.who = Some(Who::of(decision.principal));
        record.break_glass = decision.principal.break_glass;
        record.on = Some(cut(&decision.on));
        record.tenant = decision.tenant.map(|tenant| tenant.0);
        if let Some(declared) = decision.declared {
            record.purpose = declared.purpose.as_ref().map(ToString::to_string);
            record.data_class = declared.data_class.map(|class| class.to_string());
            record.class = declared.class.map(|class| class.to_string());
        }
        record.decision = Some(if decision.allowed { ALLOW } else { DENY }.to_owned());
        record.name_policies(decision.policies);
        record.policies_version = decision.policies_version;
        record.reserved = decision.reserved;
        record.facts = decision.facts.into_map();
        record.sealed = self.sealed(decision.caller, &decision.personal).await?;
        Ok(record)
    }

    /// Without what became of it.
    async fn happened(&self, kind: RecordKind, happening: Happening<'_>) -> Result<Record, AuditUnavailable> {
        let Happening { what, request, principal, how: _, facts, caller, personal } = happening;
        let mut record = Record::new(kind, now_ms(), what, request);
        if let Some(principal) = principal {
            record.who = Some(Who::of(principal));
            record.break_glass = principal.break_glass;
        }
        record.facts = facts.into_map();
        record.sealed = self.sealed(caller, &personal).await?;
        Ok(record)
    }

    async fn sealed(
        &self,
        caller: Option<SealedCaller>,
        personal: &[Personal],
    ) -> Result<BTreeMap<String, String>, AuditUnavailable> {
        let caller = caller.map(|caller| (personal::CALLER.to_owned(), caller.text.to_string()));
        let mut sealed: BTreeMap<_, _> = caller.into_iter().collect();
        for field in personal {
            sealed.extend([self.sealer.sealed(field).await?]);
        }
        Ok(sealed)
    }

    async fn append(
        &self,
        kind: Kind,
        id: Option<RequestId>,
        record: Record,
    ) -> Result<u64, AuditUnavailable> {
        let bytes = record.bytes(ENTRY_BYTES_MAX);
        Ok(self.log.append(Entry { kind, id: id.map(|id| id.0), bytes }).await?)
    }
}

impl Begun {
    /// The index of the record.
    pub fn index(&self) -> u64 {
        self.0.as_ref().map_or(0, |open| open.index)
    }

    /// Records what became of it. On the disk when this returns.
    pub async fn end(mut self, outcome: Outcome<'_>) -> Result<(), AuditUnavailable> {
        let Some(open) = self.0.take() else { return Ok(()) };
        // Handed in before anything is waited for: it is recorded also if whoever waits goes away.
        let ended = open.audit.log.hand_in(open.entry(outcome));
        Ok(ended.await.map(drop)?)
    }

    /// The same, and nobody waits.
    pub fn end_soon(mut self, outcome: Outcome<'_>) {
        if let Some(open) = self.0.take() {
            open.end_soon(outcome);
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(open) = self.0.take() {
            open.end_soon(Outcome { how: ABANDONED, ..Outcome::default() });
        }
    }
}

impl Open {
    fn end_soon(&self, outcome: Outcome<'_>) {
        self.audit.log.append_soon(self.entry(outcome));
    }

    fn entry(&self, outcome: Outcome<'_>) -> Entry {
        ended(self.request, self.index, self.of.clone(), outcome)
    }
}

impl Beginning {
    fn of(record: &Record) -> Self {
        let Record { action, tenant, who, break_glass, .. } = record;
        Self { action: action.clone(), tenant: *tenant, who: who.clone(), break_glass: *break_glass }
    }
}

/// The end of something whose record is this one.
pub(crate) fn ending(begin: u64, record: Option<&Record>, outcome: Outcome<'_>) -> Entry {
    let nothing = || Beginning { action: "unknown".to_owned(), tenant: None, who: None, break_glass: false };
    let of = record.map_or_else(nothing, Beginning::of);
    ended(record.and_then(Record::request_id), begin, of, outcome)
}

fn ended(request: Option<RequestId>, begin: u64, of: Beginning, outcome: Outcome<'_>) -> Entry {
    let mut record = Record::new(RecordKind::End, now_ms(), &of.action, request);
    record.begin = Some(begin);
    record.tenant = of.tenant;
    record.who = of.who;
    record.break_glass = of.break_glass;
    record.outcome = Some(cut(outcome.how));
    record.error = outcome.error.map(cut);
    if let Some(policy) = outcome.refused_by {
        record.decision = Some(DENY.to_owned());
        record.policies = vec![cut(policy)];
    }
    let model = |(name, sha256): (&ModelName, Option<&str>)| ModelUsed {
        name: name.to_string(),
        sha256: sha256.map(cut),
    };
    record.model = outcome.model.map(model);
    record.used = outcome.used;
    record.facts = outcome.facts.into_map();
    Entry { kind: Kind::End { begin }, id: request.map(|id| id.0), bytes: record.bytes(END_BYTES_MAX) }
}

pub(crate) fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}
