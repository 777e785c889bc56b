//! What is personal in a record, sealed with the key of the person it is about.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aws_lc_rs::rand;
use data_encoding::BASE64;
use futures::future::BoxFuture;
use serde_json::{Map, Value, json};
use tlog::commitment::{PersonSecret, SALT_BYTES, Salt};
use types::{DataSubject, RequestId, Sealed, Secret, TenantId, UserId};

use crate::{AuditUnavailable, text::cut};

/// Most callers whose names are kept sealed, so that not each of their requests seals them anew.
const CALLERS_MAX: usize = 10_000;
/// The name of the field with who asks.
pub(crate) const CALLER: &str = "caller";
/// Of a caller: what makes the salts of their requests. It is sealed with their name, and destroyed with it.
const SECRET: &str = "salt_secret";
/// How long they are kept: somebody may get another name.
const CALLER_LASTS: Duration = Duration::from_secs(600);

/// Seals and opens what is personal; the keys are not ours.
pub trait Seals: Send + Sync {
    /// Seals a value with the key of a person, for a field of this name.
    ///
    /// # Errors
    /// If the keys cannot be used now: why, in words.
    fn seal<'a>(
        &'a self,
        tenant: TenantId,
        subject: &'a DataSubject,
        name: &'a str,
        value: &'a Secret,
    ) -> BoxFuture<'a, Result<Sealed, String>>;

    /// Opens it; none if the person was erased.
    ///
    /// # Errors
    /// If the keys cannot be used now, or it was not sealed for a field of this name: why, in words.
    fn open<'a>(&'a self, name: &'a str, sealed: &'a Sealed)
    -> BoxFuture<'a, Result<Option<Secret>, String>>;
}

/// A field about a person.
pub struct Personal {
    name: &'static str,
    tenant: TenantId,
    subject: DataSubject,
    value: Secret,
}

/// Who asks, by name and from which address.
pub struct Caller {
    who: (TenantId, UserId, Option<IpAddr>),
    subject: DataSubject,
    value: Value,
}

/// A caller as they stand in a record, and what hides what they were told.
#[derive(Clone)]
pub struct SealedCaller {
    pub(crate) text: Arc<str>,
    secret: PersonSecret,
}

impl Personal {
    /// A field, and whose it is in which tenant. A long value is cut.
    pub fn new(name: &'static str, tenant: TenantId, subject: DataSubject, value: &str) -> Self {
        Self { name, tenant, subject, value: Secret::from(cut(value)) }
    }
}

impl Caller {
    /// `subject` is what their own key is named by.
    pub fn new(
        (tenant, tenant_name): (TenantId, &str),
        (user, user_name): (UserId, &str),
        subject: DataSubject,
        address: Option<IpAddr>,
    ) -> Self {
        let mut value = json!({ "tenant": cut(tenant_name), "user": cut(user_name) });
        if let Some(address) = address {
            value["address"] = json!(address);
        }
        Self { who: (tenant, user, address), subject, value }
    }
}

impl SealedCaller {
    /// What hides what they are told and what they ask in one request.
    pub fn salt(&self, request: RequestId) -> Salt {
        self.secret.salt(request.0)
    }
}

type Kept = HashMap<(TenantId, UserId, Option<IpAddr>), (SealedCaller, Instant)>;

/// Seals fields, and keeps those of callers.
pub(crate) struct Sealer {
    seals: Arc<dyn Seals>,
    kept: Mutex<Kept>,
    /// How often what is kept was thrown away.
    forgotten: AtomicU64,
}

impl Sealer {
    pub(crate) fn new(seals: Arc<dyn Seals>) -> Self {
        Self { seals, kept: Mutex::default(), forgotten: AtomicU64::new(0) }
    }

    /// The field as it stands in a record: its name and its value.
    pub(crate) async fn sealed(&self, personal: &Personal) -> Result<(String, String), AuditUnavailable> {
        let Personal { name, tenant, subject, value } = personal;
        let sealed = self.seals.seal(*tenant, subject, name, value).await.map_err(AuditUnavailable::Seal)?;
        Ok(((*name).to_owned(), BASE64.encode(sealed.as_bytes())))
    }

    /// A caller as they stand in a record, under the name [`CALLER`].
    pub(crate) async fn caller(&self, caller: Caller) -> Result<SealedCaller, AuditUnavailable> {
        let Caller { who, subject, mut value } = caller;
        let forgotten = self.forgotten.load(Ordering::Acquire);
        if let Some(kept) = self.kept(who) {
            return Ok(kept);
        }
        let mut random = [0; SALT_BYTES];
        rand::fill(&mut random)
            .map_err(|_| AuditUnavailable::Seal("there are no random numbers".to_owned()))?;
        let secret = PersonSecret::new(random);
        value[SECRET] = json!(*secret.to_hex());
        let personal =
            Personal { name: CALLER, tenant: who.0, subject, value: Secret::from(value.to_string()) };
        let (_, text) = self.sealed(&personal).await?;
        let sealed = SealedCaller { text: text.into(), secret };
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // It may be sealed with a key that was destroyed meanwhile.
        if self.forgotten.load(Ordering::Acquire) == forgotten {
            if kept.len() >= CALLERS_MAX {
                kept.clear();
            }
            kept.insert(who, (sealed.clone(), Instant::now()));
        }
        Ok(sealed)
    }

    fn kept(&self, who: (TenantId, UserId, Option<IpAddr>)) -> Option<SealedCaller> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&who).filter(|(_, since)| since.elapsed() < CALLER_LASTS).map(|(sealed, _)| sealed.clone())
    }

    /// Forgets what is kept: somebody's key was destroyed.
    pub(crate) fn forget(&self) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        self.forgotten.fetch_add(1, Ordering::AcqRel);
        kept.clear();
    }

    /// The value of a field of a record. Of a caller, without what makes salts.
    pub(crate) async fn opened(&self, name: &str, text: &str) -> Result<Option<Secret>, String> {
        let opened = self.open(name, text).await?;
        let Some(value) = opened.as_ref().filter(|_| name == CALLER).and_then(parsed) else {
            return Ok(opened);
        };
        let shown = value.into_iter().filter(|(name, _)| name != SECRET).collect::<Map<_, _>>();
        Ok(Some(Secret::from(Value::from(shown).to_string())))
    }

    /// What hides what somebody was told in a request; none if they were erased, or it was recorded before there was that.
    pub(crate) async fn salt(&self, caller: &str, request: RequestId) -> Result<Option<Salt>, String> {
        let opened = self.open(CALLER, caller).await?.as_ref().and_then(parsed);
        let secret = opened.as_ref().and_then(|value| value.get(SECRET)?.as_str());
        let secret = secret.map(PersonSecret::from_hex).transpose().map_err(|error| error.to_string())?;
        Ok(secret.map(|secret| secret.salt(request.0)))
    }

    async fn open(&self, name: &str, text: &str) -> Result<Option<Secret>, String> {
        let sealed = BASE64.decode(text.as_bytes()).map_err(|_| "it is not base64".to_owned())?;
        self.seals.open(name, &Sealed::from(sealed)).await
    }
}

/// The fields of a caller.
fn parsed(value: &Secret) -> Option<Map<String, Value>> {
    serde_json::from_slice(value.expose()).ok()
}

/// Seals by throwing away: all people are erased from the beginning. For where there are no keys, as in tests.
pub struct Erases;

impl Seals for Erases {
    fn seal<'a>(
        &'a self,
        _: TenantId,
        _: &'a DataSubject,
        _: &'a str,
        _: &'a Secret,
    ) -> BoxFuture<'a, Result<Sealed, String>> {
        Box::pin(async { Ok(Sealed::from(Vec::new())) })
    }

    fn open<'a>(&'a self, _: &'a str, _: &'a Sealed) -> BoxFuture<'a, Result<Option<Secret>, String>> {
        Box::pin(async { Ok(None) })
    }
}
