//! All keys: in the store, and in memory for authentication, which never waits for the disk.

use std::{
    collections::HashMap,
    path::Path,
    sync::{PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use store::{KeyRecord, NewKeyRecord, Store};
use tokio::sync::Mutex;
use types::{OutOfRange, Principal, Secret};

use crate::{
    AccessError, KeyView, NewKey, OpenError,
    key::{ID_CHARS, Key, KeyId},
    pepper::Pepper,
};

/// Most keys that are not revoked. Bounds the memory of the index: about 150 bytes a key.
pub const KEYS_MAX: usize = 100_000;

/// Compared with when there is no such key, so that an unknown id takes as long as a wrong secret.
const HASH_OF_NO_KEY: [u8; 32] = [0; 32];

/// The keys of one store. There is one keyring per store: what another one changed is not seen.
pub(crate) struct Keyring {
    store: Store,
    pepper: Pepper,
    live: RwLock<HashMap<KeyId, LiveKey>>,
    /// Held while keys are made or revoked, so that what is checked still holds when it is acted upon.
    changing: Mutex<()>,
}

/// A key that is not revoked.
#[derive(Clone)]
struct LiveKey {
    hash: [u8; 32],
    principal: Principal,
}

impl Keyring {
    pub(crate) async fn open(store: Store, pepper: &Path) -> Result<Self, OpenError> {
        let records = store.keys().await?;
        let pepper = Pepper::open(pepper, !records.is_empty())?;
        let live = records.iter().filter(|record| record.revoked_at.is_none()).filter_map(live_key).collect();
        Ok(Self { store, pepper, live: RwLock::new(live), changing: Mutex::new(()) })
    }

    /// Whose key it is. Unknown, revoked and wrong look the same and take the same time.
    pub(crate) fn holder(&self, key: &Key) -> Result<Principal, AccessError> {
        let found = self.live.read().map_err(poisoned)?.get(&key.id()).cloned();
        let hash = found.as_ref().map_or(&HASH_OF_NO_KEY, |live| &live.hash);
        let matches = self.pepper.matches(key, hash);
        match found {
            Some(live) if matches => Ok(live.principal),
            _ => Err(AccessError::Unauthenticated),
        }
    }

    /// Makes a key; it is accepted once the store has it.
    pub(crate) async fn create(&self, new: NewKey) -> Result<(KeyView, Secret), AccessError> {
        let _changing = self.changing.lock().await;
        self.create_next(new).await
    }

    /// Makes a key if there never was one.
    pub(crate) async fn create_first(&self, new: NewKey) -> Result<Option<Secret>, AccessError> {
        let _changing = self.changing.lock().await;
        if self.store.has_any_key().await? {
            return Ok(None);
        }
        let (_, text) = self.create_next(new).await?;
        Ok(Some(text))
    }

    async fn create_next(&self, new: NewKey) -> Result<(KeyView, Secret), AccessError> {
        new.check()?;
        let count = self.live.read().map_err(poisoned)?.len();
        if count >= KEYS_MAX {
            let allowed = format!("at most {KEYS_MAX}; revoke those that are not used any more");
            return Err(OutOfRange::new("keys", count + 1, allowed).into());
        }
        let key = Key::random().map_err(|error| AccessError::Unavailable(error.to_string()))?;
        let NewKey { label, tenant, user, role, class_max, data_class_max } = new;
        let record = NewKeyRecord {
            id: key.id().to_string(),
            hash: self.pepper.hash(&key),
            label,
            tenant,
            user,
            role,
            class_max,
            data_class_max,
            created_at: now_s(),
        };
        let record = self.store.insert_key(record).await?;
        self.live.write().map_err(poisoned)?.extend(live_key(&record));
        Ok((view(record), key.text()))
    }

    /// All keys, oldest first.
    pub(crate) async fn all(&self) -> Result<Vec<KeyView>, AccessError> {
        Ok(self.store.keys().await?.into_iter().map(view).collect())
    }

    /// Revokes a key. It is refused from the first moment on, also when the store then fails: a leaked key must not
    /// stay usable because a disk is full.
    pub(crate) async fn revoke(&self, id: &str) -> Result<KeyView, AccessError> {
        let Some(known_form) = KeyId::parse(id.as_bytes()) else {
            return Err(AccessError::UnknownKey(shortened(id)));
        };
        let _changing = self.changing.lock().await;
        let was_live = self.live.write().map_err(poisoned)?.remove(&known_form).is_some();
        match self.store.revoke_key(id, now_s()).await {
            Ok(Some(record)) => Ok(view(record)),
            Ok(None) => Err(AccessError::UnknownKey(id.to_owned())),
            Err(error) if was_live => Err(AccessError::Unavailable(format!(
                "{error}; the key is refused from now on, but only until the server restarts: revoke it again before"
            ))),
            Err(error) => Err(error.into()),
        }
    }
}

/// The entry of the index. None for an id that no key can have: a row that somebody else wrote opens no door.
fn live_key(record: &KeyRecord) -> Option<(KeyId, LiveKey)> {
    let key = &record.key;
    let principal = Principal {
        tenant: record.tenant_id,
        user: record.user_id,
        role: key.role,
        class_max: key.class_max,
        data_class_max: key.data_class_max,
    };
    Some((KeyId::parse(key.id.as_bytes())?, LiveKey { hash: key.hash, principal }))
}

fn view(record: KeyRecord) -> KeyView {
    let KeyRecord { key, revoked_at, .. } = record;
    let NewKeyRecord { id, label, tenant, user, role, class_max, data_class_max, created_at, .. } = key;
    let key = NewKey { label, tenant, user, role, class_max, data_class_max };
    KeyView { id, key, created_at, revoked_at }
}

/// What is no id may be a whole key, pasted by mistake: its secret must not come back in an error.
fn shortened(id: &str) -> String {
    match id.char_indices().nth(ID_CHARS) {
        Some((end, _)) => format!("{}…", &id[..end]),
        None => id.to_owned(),
    }
}

/// A thread died while it changed the index: what the index says can no longer be trusted.
fn poisoned<T>(_: PoisonError<T>) -> AccessError {
    AccessError::Unavailable("the index of keys is broken; restart the server".to_owned())
}

/// Seconds since 1970. A clock that is set before that gives 0.
fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use types::{DataClass, PriorityClass, Role, TenantId, UserId};

    use super::*;

    fn new_key() -> NewKey {
        NewKey {
            label: "l".to_owned(),
            tenant: "t".to_owned(),
            user: "u".to_owned(),
            role: Role::Member,
            class_max: PriorityClass::Normal,
            data_class_max: DataClass::Internal,
        }
    }

    #[tokio::test]
    async fn there_is_a_most_of_live_keys() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db")).await.unwrap();
        let keyring = Keyring::open(store, &folder.path().join("pepper")).await.unwrap();
        let (view, _) = keyring.create(new_key()).await.unwrap();
        let principal = Principal {
            tenant: TenantId(1),
            user: UserId(1),
            role: Role::Member,
            class_max: PriorityClass::Normal,
            data_class_max: DataClass::Internal,
        };
        let live = LiveKey { hash: [1; 32], principal };
        let fill = (1..KEYS_MAX).map(|number| {
            let id = KeyId::parse(format!("{number:012}").as_bytes()).unwrap();
            (id, live.clone())
        });
        keyring.live.write().unwrap().extend(fill);

        let error = keyring.create(new_key()).await.err().unwrap();
        assert!(matches!(&error, AccessError::BadValue(value) if value.parameter == "keys"), "{error}");
        keyring.revoke(&view.id).await.unwrap();
        keyring.create(new_key()).await.unwrap();
    }

    #[test]
    fn a_pasted_key_does_not_come_back() {
        assert_eq!(shortened("nosuchkey"), "nosuchkey");
        assert_eq!(shortened("llmos_0123456789ab_0000"), "llmos_012345…");
        assert_eq!(shortened("ééééééééééééé"), "éééééééééééé…");
    }
}
