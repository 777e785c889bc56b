//! What is personal in a record, sealed with the key of the person it is about.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use data_encoding::BASE64;
use futures::future::BoxFuture;
use serde_json::json;
use types::{DataSubject, Sealed, Secret, TenantId, UserId};

use crate::{AuditUnavailable, text::cut};

/// Most callers whose names are kept sealed, so that not each of their requests seals them anew.
const CALLERS_MAX: usize = 10_000;
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
    kept_as: Option<(UserId, Option<IpAddr>)>,
}

impl Personal {
    /// A field, and whose it is in which tenant. A long value is cut.
    pub fn new(name: &'static str, tenant: TenantId, subject: DataSubject, value: &str) -> Self {
        Self { name, tenant, subject, value: Secret::from(cut(value)), kept_as: None }
    }

    /// The field `caller`: who somebody is by name, and from which address. `subject` is what their own key is named by.
    pub fn caller(
        (tenant, tenant_name): (TenantId, &str),
        (user, user_name): (UserId, &str),
        subject: DataSubject,
        address: Option<IpAddr>,
    ) -> Self {
        let mut value = json!({ "tenant": cut(tenant_name), "user": cut(user_name) });
        if let Some(address) = address {
            value["address"] = json!(address);
        }
        let value = Secret::from(value.to_string());
        Self { name: "caller", tenant, subject, value, kept_as: Some((user, address)) }
    }
}

type Kept = HashMap<(TenantId, UserId, Option<IpAddr>), (Arc<str>, Instant)>;

/// Seals fields, and keeps those of callers.
pub(crate) struct Sealer {
    seals: Arc<dyn Seals>,
    kept: Mutex<Kept>,
}

impl Sealer {
    pub(crate) fn new(seals: Arc<dyn Seals>) -> Self {
        Self { seals, kept: Mutex::default() }
    }

    /// The field as it stands in a record: its name and its value.
    pub(crate) async fn sealed(&self, personal: &Personal) -> Result<(String, String), AuditUnavailable> {
        let kept_as = personal.kept_as.map(|(user, address)| (personal.tenant, user, address));
        if let Some(kept) = kept_as.and_then(|key| self.kept(key)) {
            return Ok((personal.name.to_owned(), kept.to_string()));
        }
        let Personal { name, tenant, subject, value, .. } = personal;
        let sealed = self.seals.seal(*tenant, subject, name, value).await.map_err(AuditUnavailable::Seal)?;
        let text = BASE64.encode(sealed.as_bytes());
        if let Some(key) = kept_as {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() >= CALLERS_MAX {
                kept.clear();
            }
            kept.insert(key, (text.as_str().into(), Instant::now()));
        }
        Ok((personal.name.to_owned(), text))
    }

    fn kept(&self, key: (TenantId, UserId, Option<IpAddr>)) -> Option<Arc<str>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.get(&key).filter(|(_, since)| since.elapsed() < CALLER_LASTS).map(|(text, _)| text.clone())
    }

    /// Forgets what is kept: somebody's key was destroyed.
    pub(crate) fn forget(&self) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// The value of a field of a record.
    pub(crate) async fn opened(&self, name: &str, text: &str) -> Result<Option<Secret>, String> {
        let sealed = BASE64.decode(text.as_bytes()).map_err(|_| "it is not base64".to_owned())?;
        self.seals.open(name, &Sealed::from(sealed)).await
    }
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
