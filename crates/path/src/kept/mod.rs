//! What is stored for callers: only what they asked to be stored, only where that is allowed, and only sealed, by the key of
//! the person it is about.
//!
//! ```text
//! begin: may it be kept? ─ whose key? ─ engine … ─ finish: seal ─ store (on the disk) ─ then the last event leaves
//! ```

mod answer;
mod export;
mod operate;
mod read;
mod reseal;

use std::{collections::HashSet, sync::Arc, time::Duration};

use access::subject_of_user;
use audit::Seals;
use futures::{FutureExt, TryFutureExt, future::BoxFuture};
use store::{Store, StoreError, Tombstone, VaultKeys};
use types::{DataClass, DataSubject, Principal, RequestId, Sealed, Secret, TenantId, UserId};
use vault::{Keyring, Place, Purpose, Secrets, VaultError};

pub(crate) use self::answer::{Keeping, stored};
pub use self::{
    answer::{Keep, Transcript},
    export::{Exported, Line},
    operate::{Erased, VaultStatus},
    read::{Stored, StoredPage, StoredQuery},
    reseal::Resealed,
};

/// What the tenant and the user of the local socket are called. They are no rows of the store.
const LOCAL: &str = "local";
/// The tenant and the user of the local socket.
const LOCAL_IDS: (TenantId, UserId) = (TenantId(0), UserId(0));

/// How long what is stored is kept, and what is not stored at all.
#[derive(Debug, Clone)]
pub struct Retention {
    /// Of chat completions, by data class, the least sensitive first. Zero: they are not stored.
    pub chat_completions: [Duration; DataClass::ALL.len()],
    /// Names of tenants for whom nothing is stored.
    pub no_store_tenants: Vec<String>,
}

/// What is stored for callers.
pub struct Kept {
    store: Store,
    keyring: Arc<Keyring>,
    secrets: Arc<Secrets>,
    retention: Retention,
    /// One rotation, backup or restore at a time.
    turn: tokio::sync::Mutex<()>,
    /// What is stored is sealed anew by one at a time. Keys may be rotated meanwhile.
    resealing: tokio::sync::Mutex<()>,
}

/// Why something is not stored, or not given back.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// A rule forbids it.
    #[error("this may not be stored: {0}; leave `store` out")]
    NotAllowed(String),
    /// There is none, or none that this caller may see.
    #[error("there is no stored chat completion of this id; `GET /v1/chat/completions` lists all")]
    Unknown,
    /// The key that it was sealed with was destroyed.
    #[error("the data of this person was erased: the key that it was sealed with was destroyed")]
    Erased,
    /// Too much would have to be opened to find what is looked for.
    #[error(
        "more than {0} stored chat completions would have to be opened to look at their metadata; go on behind the last \
         one that you have with `after`, or name a `model`"
    )]
    TooMany(usize),
    /// There is no tenant of this name.
    #[error("there is no tenant `{0}`; `llmos keys list` shows the names of all")]
    NoTenant(String),
    /// Nothing was ever stored about this person, or it was erased.
    #[error("nothing is stored about this person under this name in this tenant")]
    NoSubject,
    /// What was opened cannot be read. A defect.
    #[error("a stored chat completion cannot be read; the server's log has a line with this request id")]
    Damaged,
    /// Reading or writing a file.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// A file cannot be written or read.
    #[error("{path}: {why}")]
    File {
        /// The file.
        path: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// This cannot be done with the keys as they are.
    #[error("{0}")]
    Conflict(Arc<VaultError>),
    /// The keys cannot be used now.
    #[error("{0}")]
    Vault(Arc<VaultError>),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<VaultError> for KeptError {
    fn from(error: VaultError) -> Self {
        match error {
            VaultError::Shredded => Self::Erased,
            error @ (VaultError::Backup(_)
            | VaultError::Root(_)
            | VaultError::Secrets { .. }
            | VaultError::Recipients(_)
            | VaultError::Identities { .. }
            | VaultError::IdentityFile { .. }
            | VaultError::Export(_)) => Self::Conflict(Arc::new(error)),
            error => Self::Vault(Arc::new(error)),
        }
    }
}

impl Kept {
    /// Over this store and these keys, which are under the root and in the suite of these secrets. If data is there, and no
    /// key at all, nothing is sealed before the keys were restored.
    ///
    /// # Errors
    /// [`VaultError`] if keys are there and do not open.
    pub async fn open(
        store: Store,
        keys: VaultKeys,
        secrets: Arc<Secrets>,
        retention: Retention,
    ) -> Result<Self, VaultError> {
        let keyring = Arc::new(Keyring::open_from(keys, &secrets).await?);
        reconcile(&store, &keyring).await?;
        let are_keys_gone = keyring.counts().await?.tenants == 0
            && (store.count_chat_completions().await? > 0 || !store.tombstones().await?.is_empty());
        if are_keys_gone {
            keyring.await_restore();
            tracing::error!("{}", VaultError::Lost);
        }
        let (turn, resealing) = Default::default();
        Ok(Self { store, keyring, secrets, retention, turn, resealing })
    }

    /// Ends the connections to both databases: from here on each is one file, which may be copied. All else fails then.
    pub async fn close(&self) {
        self.keyring.close().await;
        self.store.close().await;
    }

    /// Applies rules that have become stricter to what is stored already. Returns how many expire sooner.
    pub async fn apply_retention(&self) -> Result<u64, KeptError> {
        let mut shortened = 0;
        for (class, lifetime) in DataClass::ALL.iter().zip(self.retention.chat_completions) {
            shortened += self.store.shorten_chat_completions(*class, lifetime.as_secs()).await?;
        }
        Ok(shortened)
    }

    /// Deletes what has expired at `now` (seconds since 1970). Nobody was given it any more anyway. Returns how many.
    pub async fn delete_expired(&self, now: u64) -> Result<u64, KeptError> {
        Ok(self.store.delete_expired_chat_completions(now).await?)
    }

    /// The names of a principal's tenant and user.
    async fn names(&self, principal: &Principal) -> Result<(String, String), KeptError> {
        let ids = (principal.tenant, principal.user);
        if ids == LOCAL_IDS {
            return Ok((LOCAL.to_owned(), LOCAL.to_owned()));
        }
        let names = self.store.names(ids.0, ids.1).await?;
        names.ok_or_else(|| KeptError::NoTenant(principal.tenant.to_string()))
    }

    /// A tenant by name.
    async fn tenant(&self, name: &str) -> Result<TenantId, KeptError> {
        match self.store.tenant(name).await? {
            Some(tenant) => Ok(tenant),
            None if name == LOCAL => Ok(LOCAL_IDS.0),
            None => Err(KeptError::NoTenant(name.to_owned())),
        }
    }

    /// How long something is kept; an error if not at all.
    fn lifetime(&self, tenant: &str, data_class: DataClass) -> Result<Duration, KeptError> {
        if self.retention.no_store_tenants.iter().any(|name| name == tenant) {
            let why = format!("nothing is stored for the tenant `{tenant}` (`retention.no_store_tenants`)");
            return Err(KeptError::NotAllowed(why));
        }
        let index = DataClass::ALL.iter().position(|class| *class == data_class).unwrap_or_default();
        let lifetime = self.retention.chat_completions[index];
        if lifetime.is_zero() {
            let why = format!(
                "chat completions of the data class `{data_class}` are not stored \
                 (`retention.chat_completions.{data_class}_days` is 0)"
            );
            return Err(KeptError::NotAllowed(why));
        }
        Ok(lifetime)
    }
}

/// The database and the keys tell each other what was destroyed: one of them may come from an older copy.
async fn reconcile(store: &Store, keyring: &Keyring) -> Result<(), VaultError> {
    let (theirs, ours) = (keyring.tombstones().await?, store.tombstones().await?);
    let missing = |here: &[Tombstone], there: &[Tombstone]| -> Vec<Tombstone> {
        let here: HashSet<[u8; 16]> = here.iter().map(|stone| stone.id).collect();
        there.iter().filter(|stone| !here.contains(&stone.id)).copied().collect()
    };
    let (for_keys, for_store) = (missing(&theirs, &ours), missing(&ours, &theirs));
    if !for_keys.is_empty() {
        keyring.entomb(for_keys).await?;
    }
    if !for_store.is_empty() {
        store.add_tombstones(for_store).await?;
    }
    Ok(())
}

/// The person that a request is about, if it names none.
fn the_user(name: &str) -> Result<DataSubject, KeptError> {
    subject_of_user(name).map_err(|error| KeptError::NotAllowed(error.to_string()))
}

/// What is personal in the audit log is sealed with the same keys as what is stored.
impl Seals for Kept {
    fn seal<'a>(
        &'a self,
        tenant: TenantId,
        subject: &'a DataSubject,
        name: &'a str,
        value: &'a Secret,
    ) -> BoxFuture<'a, Result<Sealed, String>> {
        async move {
            let key = self.keyring.subject(tenant, subject).await?;
            Ok(key.seal(&field(name), value)?)
        }
        .map_err(|error: KeptError| error.to_string())
        .boxed()
    }

    fn open<'a>(
        &'a self,
        name: &'a str,
        sealed: &'a Sealed,
    ) -> BoxFuture<'a, Result<Option<Secret>, String>> {
        async move {
            let opened = async {
                self.keyring.of_sealed(sealed).await?.open(&field(name), sealed).map_err(KeptError::from)
            };
            match opened.await {
                Ok(value) => Ok(Some(value)),
                Err(KeptError::Erased) => Ok(None),
                Err(error) => Err(error.to_string()),
            }
        }
        .boxed()
    }
}

/// The place of a field of a record of the audit log.
fn field(name: &str) -> Place<'_> {
    Place { purpose: Purpose::Audit, record: name.as_bytes() }
}

/// The parts of a stored chat completion; each is sealed by itself, for its own place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Messages,
    Answer,
    Metadata,
}

/// The name of the place of a part.
fn record(id: RequestId, part: Part) -> Vec<u8> {
    let part: &[u8] = match part {
        Part::Messages => b"messages",
        Part::Answer => b"answer",
        Part::Metadata => b"metadata",
    };
    [&id.0.to_be_bytes(), part].concat()
}

fn place(record: &[u8]) -> Place<'_> {
    Place { purpose: Purpose::Conversation, record }
}
