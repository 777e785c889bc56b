//! All keys and users: in the store, and in memory for authentication, which never waits for the disk.

mod accounts;
mod live;

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use audit::{Audit, Facts, Happening};
use store::{KeyRecord, NewKeyRecord, NewUsage, Rights, Store, UsageRecord, UserRecord, UserState};
use tokio::{
    sync::{Mutex, watch},
    time::timeout,
};
use types::{OutOfRange, Principal, Scope, Secret, TenantId, UserId};
use vault::SecretFile;

pub(crate) use self::accounts::{Account as ProviderAccount, KnownAccount, Placed};
use self::live::{Live, LiveUser, scope};
use crate::{
    AccessError, ApiKey, KeyView, NewKey, OpenError, UserChange, UserView,
    clock::now_s,
    granter::{Granter, meet},
    key::{Form, Key, KeyId},
    key_changes::shortened,
    key_values::check_name,
    pepper::Pepper,
    recorded::Doing,
    unpaid::Unpaid,
};

/// What the tenant and the user of the local socket are called.
pub(crate) const LOCAL: &str = "local";
/// Most keys that are not revoked. Bounds the memory of the index: about 150 bytes a key.
pub const KEYS_MAX: usize = 100_000;

/// Longest that the old secret of a key is accepted beside the new one: 30 days.
const OVERLAP_S_MAX: u64 = 30 * 86_400;
/// Longest between two looks at whether a key has expired: the clock may have been set.
const LOOK_MAX_S: u64 = 60;

/// Compared with when there is no such key, so that an unknown id takes as long as a wrong secret.
const HASH_OF_NO_KEY: [u8; 32] = [0; 32];

/// The keys of one store. There is one keyring per store: what another one changed is not seen.
pub(crate) struct Keyring {
    store: Store,
    pepper: Pepper,
    pub(crate) audit: Arc<Audit>,
    /// How often users may ask for what is recorded and paid for by no quota.
    pub(crate) unpaid: Unpaid,
    live: RwLock<Live>,
    /// Held while keys and users are changed, so that what is checked still holds when it is acted upon.
    changing: Mutex<()>,
    /// Tells those who watch that something was taken from somebody.
    taken: watch::Sender<()>,
}

/// Whose a key is, and what it gives.
pub(crate) struct Held {
    pub(crate) api_key: ApiKey,
    pub(crate) owner: Rights,
    pub(crate) key: Rights,
    pub(crate) scope: Scope,
}

impl Keyring {
    pub(crate) async fn open(
        store: Store,
        pepper: &SecretFile,
        audit: Arc<Audit>,
    ) -> Result<Self, OpenError> {
        let records = store.keys().await?;
        let pepper = Pepper::open(pepper, !records.is_empty())?;
        let mut live = Live::default();
        for record in &records {
            live.take_in(record);
        }
        // Those too who have no key.
        for user in store.users().await? {
            live.users.insert(user.user_id, LiveUser::of(&user));
        }
        for account in store.accounts().await? {
            live.accounts.take_in(account);
        }
        let (live, changing, taken) = (RwLock::new(live), Mutex::new(()), watch::Sender::new(()));
        Ok(Self { store, pepper, audit, unpaid: Unpaid::new(), live, changing, taken })
    }

    /// What its holder may do now. Unknown, revoked, expired, of a suspended owner and wrong look the same and take the same
    /// time.
    pub(crate) fn holder(&self, key: &Key) -> Result<Principal, AccessError> {
        let now = now_s();
        let live = self.live.read().map_err(poisoned)?;
        let found = live.keys.get(&key.id());
        let old = found.and_then(|live| live.old).filter(|(_, until)| now < *until);
        let matches = self.pepper.matches(key, found.map_or(&HASH_OF_NO_KEY, |live| &live.hash));
        let matches_old = self.pepper.matches(key, old.as_ref().map_or(&HASH_OF_NO_KEY, |(hash, _)| hash));
        let principal = found.and_then(|found| live.principal(found, now));
        match principal {
            Some(principal) if matches | matches_old => Ok(principal),
            _ => Err(AccessError::Unauthenticated),
        }
    }

    /// What a user may do now, with all that they may; none if they are gone, suspended, or not let in.
    pub(crate) fn principal_of(&self, user: UserId) -> Result<Option<Principal>, AccessError> {
        let live = self.live.read().map_err(poisoned)?;
        Ok(live.acting(user).map(|found| found.principal(user, found.rights.clone())))
    }

    /// The names of a user's tenant and their own.
    pub(crate) fn names_of(&self, user: UserId) -> Result<Option<(Arc<str>, Arc<str>)>, AccessError> {
        let live = self.live.read().map_err(poisoned)?;
        Ok(live.users.get(&user).map(|found| (found.tenant_name.clone(), found.name.clone())))
    }

    /// The names of all tenants that have users.
    pub(crate) fn tenant_names(&self) -> Result<HashMap<TenantId, Arc<str>>, AccessError> {
        let live = self.live.read().map_err(poisoned)?;
        Ok(live.users.values().map(|user| (user.tenant, user.tenant_name.clone())).collect())
    }

    /// Who a user is, suspended or not, with the names of their tenant and their own.
    pub(crate) fn known(&self, user: UserId) -> Result<Option<(Principal, Arc<str>, Arc<str>)>, AccessError> {
        let live = self.live.read().map_err(poisoned)?;
        let known = |found: &LiveUser| {
            let principal = found.principal(user, found.rights.clone());
            (principal, found.tenant_name.clone(), found.name.clone())
        };
        Ok(live.users.get(&user).map(known))
    }

    /// What secrets are hashed with.
    pub(crate) fn pepper(&self) -> &Pepper {
        &self.pepper
    }

    /// Tells those who watch that something was taken from somebody.
    pub(crate) fn tell_taken(&self) {
        self.taken.send_replace(());
    }

    /// Changes when something is taken from somebody.
    pub(crate) fn taken(&self) -> watch::Receiver<()> {
        self.taken.subscribe()
    }

    /// Counts what was used.
    pub(crate) fn note_usage(&self, usage: NewUsage) {
        self.store.add_usage(usage);
    }

    /// What was used from one day to another, both included.
    pub(crate) async fn usage(&self, from: u64, to: u64) -> Result<Vec<UsageRecord>, AccessError> {
        Ok(self.store.usage(from, to).await?)
    }

    /// Resolves when a key gives nothing any more: it was revoked, it has expired, or its owner was suspended.
    pub(crate) async fn ended(&self, id: KeyId) {
        let mut taken = self.taken.subscribe();
        loop {
            let now = now_s();
            let expires_at = {
                // An index that is broken gives nothing.
                let Ok(live) = self.live.read() else { return };
                let Some(key) = live.keys.get(&id) else { return };
                if live.principal(key, now).is_none() {
                    return;
                }
                key.expires_at
            };
            let expiry = Duration::from_secs(expires_at.map_or(LOOK_MAX_S, |at| (at - now).min(LOOK_MAX_S)));
            // The sender lives as long as we do.
            let _ = timeout(expiry, taken.changed()).await;
        }
    }

    /// Makes a key; it is accepted once the store has it.
    pub(crate) async fn create(
        &self,
        granter: &Granter,
        new: NewKey,
    ) -> Result<(KeyView, Secret), AccessError> {
        let _changing = self.changing.lock().await;
        let owner = self.store.user(&new.tenant, &new.user).await?;
        granter.check_key(&new, owner.map(|owner| owner.state.rights))?;
        self.create_next(new).await
    }

    /// Whose a key is, revoked ones included. For what lives the store is not asked: a leaked key is taken away also when the store
    /// does not answer.
    pub(crate) async fn held(&self, id: &str) -> Result<Option<Held>, AccessError> {
        if let Some(held) = self.held_now(id)? {
            return Ok(Some(held));
        }
        Ok(self.store.key(id).await?.map(|record| Held {
            api_key: LiveUser::of(&record.owner).api_key(id, record.owner.user_id),
            owner: record.owner.state.rights.clone(),
            key: record.key.rights.clone(),
            scope: scope(&record.key).unwrap_or_default(),
        }))
    }

    fn held_now(&self, id: &str) -> Result<Option<Held>, AccessError> {
        let Some(known_form) = KeyId::parse(id.as_bytes()) else { return Ok(None) };
        let live = self.live.read().map_err(poisoned)?;
        let found = live.keys.get(&known_form).and_then(|key| Some((key, live.users.get(&key.user)?)));
        Ok(found.map(|(key, owner)| Held {
            api_key: owner.api_key(id, key.user),
            owner: owner.rights.clone(),
            key: key.rights.clone(),
            scope: key.scope.clone(),
        }))
    }

    /// What somebody may do now who has this name, as with a key that narrows nothing; and whether they are suspended, or not let in.
    pub(crate) async fn principal_named(
        &self,
        tenant: &str,
        user: &str,
    ) -> Result<Option<(Principal, bool)>, AccessError> {
        let found = self.store.user(tenant, user).await?;
        let live = self.live.read().map_err(poisoned)?;
        Ok(found.map(|found| {
            let user = LiveUser::of(&found);
            let is_out = user.suspended || !live.accounts.lets_in(found.user_id);
            (user.principal(found.user_id, user.rights.clone()), is_out)
        }))
    }

    /// What the holder of a key may do now; none if it is of no use.
    pub(crate) fn principal_of_key(&self, id: &str) -> Result<Option<Principal>, AccessError> {
        let Some(id) = KeyId::parse(id.as_bytes()) else { return Ok(None) };
        let live = self.live.read().map_err(poisoned)?;
        Ok(live.keys.get(&id).and_then(|key| live.principal(key, now_s())))
    }

    /// The tenant of this name. That of the local socket is no row of the store.
    pub(crate) async fn tenant(&self, name: &str) -> Result<Option<TenantId>, AccessError> {
        let found = self.store.tenant(name).await?;
        Ok(found.or_else(|| (name == LOCAL).then_some(TenantId(0))))
    }

    /// Where everything is kept.
    pub(crate) fn store(&self) -> &Store {
        &self.store
    }

    /// Makes a key if there never was one.
    pub(crate) async fn create_first(&self, new: NewKey) -> Result<Option<Secret>, AccessError> {
        let _changing = self.changing.lock().await;
        if self.store.has_any_key().await? {
            return Ok(None);
        }
        let facts = Facts::none().with("deed", "create_first").with("role", new.role);
        let about = Happening { facts, ..Happening::of("manage_keys", "") };
        let doing = Doing::begin(&self.audit, about).await?;
        let (_, text) = doing.end(self.create_next(new).await).await?;
        Ok(Some(text))
    }

    async fn create_next(&self, new: NewKey) -> Result<(KeyView, Secret), AccessError> {
        new.check(now_s())?;
        let count = self.live.read().map_err(poisoned)?.keys.len();
        if count >= KEYS_MAX {
            let allowed = format!("at most {KEYS_MAX}; revoke those that are not used any more");
            return Err(OutOfRange::new("keys", count + 1, allowed).into());
        }
        let key = Key::random().map_err(|error| AccessError::Unavailable(error.to_string()))?;
        let NewKey { label, tenant, user, is_service, scope, expires_at, .. } = new;
        let NewKey { role, class_max, data_class_max, purposes, .. } = new;
        let record = NewKeyRecord {
            id: key.id().to_string(),
            hash: self.pepper.hash(&key),
            label,
            tenant,
            user,
            is_service,
            rights: Rights { role, class_max, data_class_max, purposes },
            actions: scope.actions().to_vec(),
            models: scope.models().iter().map(ToString::to_string).collect(),
            created_at: now_s(),
            expires_at,
        };
        let record = self.store.insert_key(record).await?;
        self.live.write().map_err(poisoned)?.take_in(&record);
        Ok((view(record), key.text(Form::ApiKey)))
    }

    /// Gives a key a new secret. The one before is accepted for `overlap_s` seconds more.
    pub(crate) async fn rotate(&self, id: &str, overlap_s: u64) -> Result<(KeyView, Secret), AccessError> {
        let Some(known_form) = KeyId::parse(id.as_bytes()) else {
            return Err(AccessError::UnknownKey(shortened(id)));
        };
        if overlap_s > OVERLAP_S_MAX {
            return Err(OutOfRange::new("overlap_s", overlap_s, format!("0 to {OVERLAP_S_MAX}")).into());
        }
        let _changing = self.changing.lock().await;
        if !self.live.read().map_err(poisoned)?.keys.contains_key(&known_form) {
            return Err(AccessError::UnknownKey(id.to_owned()));
        }
        let key = Key::random_of(known_form).map_err(|error| AccessError::Unavailable(error.to_string()))?;
        let rotated = self.store.rotate_key(id, self.pepper.hash(&key), now_s() + overlap_s).await?;
        let record = rotated.ok_or_else(|| AccessError::UnknownKey(id.to_owned()))?;
        self.live.write().map_err(poisoned)?.take_in(&record);
        Ok((view(record), key.text(Form::ApiKey)))
    }

    /// All keys of those tenants, oldest first.
    pub(crate) async fn all(&self, of: impl Fn(TenantId) -> bool) -> Result<Vec<KeyView>, AccessError> {
        let keys = self.store.keys().await?.into_iter();
        Ok(keys.filter(|record| of(record.owner.tenant_id)).map(view).collect())
    }

    /// All users of those tenants, by tenant and name.
    pub(crate) async fn users(&self, of: impl Fn(TenantId) -> bool) -> Result<Vec<UserView>, AccessError> {
        let users = self.store.users().await?.into_iter().filter(|user| of(user.tenant_id));
        let live = self.live.read().map_err(poisoned)?;
        Ok(users.map(|user| user_view(user, &live)).collect())
    }

    /// Changes what a user may do. What is taken from them is gone from the first moment on, also when the store then fails.
    pub(crate) async fn change_user(
        &self,
        granter: &Granter,
        tenant: &str,
        user: &str,
        change: UserChange,
    ) -> Result<(UserId, UserView), AccessError> {
        if let Some(Some(team)) = &change.team {
            check_name("team", team)?;
        }
        let _changing = self.changing.lock().await;
        let Some(was) = self.store.user(tenant, user).await? else {
            return Err(AccessError::UnknownUser { tenant: tenant.to_owned(), user: user.to_owned() });
        };
        let had = was.state.clone();
        let becomes = UserState {
            rights: Rights {
                role: change.role.unwrap_or(had.rights.role),
                class_max: change.class_max.unwrap_or(had.rights.class_max),
                data_class_max: change.data_class_max.unwrap_or(had.rights.data_class_max),
                purposes: change.purposes.unwrap_or_else(|| had.rights.purposes.clone()),
            },
            team: change.team.unwrap_or_else(|| had.team.clone()),
            suspended_at: match change.suspended {
                Some(true) => Some(had.suspended_at.unwrap_or_else(now_s)),
                Some(false) => None,
                None => had.suspended_at,
            },
        };
        granter.check_change(&had.rights, &becomes.rights)?;
        // Of two roles none is always the lesser: whoever is given another one has it when the store has it.
        let lesser = granter.contains(had.rights.role, becomes.rights.role);
        let role = if lesser { becomes.rights.role } else { had.rights.role };
        let at_once = LiveUser {
            rights: Rights { role, ..meet(&had.rights, &becomes.rights) },
            suspended: becomes.suspended_at.is_some() || had.suspended_at.is_some(),
            ..LiveUser::of(&was)
        };
        self.set_user(was.user_id, at_once)?;
        let changed = self.store.change_user(was.tenant_id, was.user_id, becomes).await?;
        let unknown = || AccessError::UnknownUser { tenant: tenant.to_owned(), user: user.to_owned() };
        let changed = changed.ok_or_else(unknown)?;
        self.set_user(was.user_id, LiveUser::of(&changed))?;
        let live = self.live.read().map_err(poisoned)?;
        Ok((was.user_id, user_view(changed, &live)))
    }

    fn set_user(&self, id: UserId, user: LiveUser) -> Result<(), AccessError> {
        self.live.write().map_err(poisoned)?.users.insert(id, user);
        self.taken.send_replace(());
        Ok(())
    }

    /// Revokes a key. It is refused from the first moment on, also when the store then fails: a leaked key must not
    /// stay usable because a disk is full.
    pub(crate) async fn revoke(&self, id: &str) -> Result<KeyView, AccessError> {
        let Some(known_form) = KeyId::parse(id.as_bytes()) else {
            return Err(AccessError::UnknownKey(shortened(id)));
        };
        let _changing = self.changing.lock().await;
        let was_live = self.live.write().map_err(poisoned)?.keys.remove(&known_form).is_some();
        self.taken.send_replace(());
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

fn view(record: KeyRecord) -> KeyView {
    let KeyRecord { key, old, revoked_at, .. } = record;
    let scope = scope(&key).unwrap_or_default();
    // Its role stands beside it.
    let scope = Scope::new(None, scope.actions().to_vec(), scope.models().to_vec());
    let NewKeyRecord { id, label, tenant, user, is_service, rights, created_at, expires_at, .. } = key;
    let Rights { role, class_max, data_class_max, purposes } = rights;
    let key = NewKey {
        label,
        tenant,
        user,
        is_service,
        role,
        class_max,
        data_class_max,
        purposes,
        scope,
        expires_at,
    };
    KeyView { id, key, created_at, revoked_at, old_until: old.map(|(_, until)| until) }
}

fn user_view(record: UserRecord, live: &Live) -> UserView {
    let UserRecord { tenant, user, is_service, state, user_id, .. } = record;
    let UserState { rights, team, suspended_at } = state;
    let Rights { role, class_max, data_class_max, purposes } = rights;
    let shut_out = !live.accounts.lets_in(user_id);
    UserView {
        id: user_id,
        tenant,
        user,
        role,
        class_max,
        data_class_max,
        purposes,
        team,
        is_service,
        suspended_at,
        shut_out,
    }
}

/// A thread died while it changed the index: what the index says can no longer be trusted.
fn poisoned<T>(_: PoisonError<T>) -> AccessError {
    AccessError::Unavailable("the index of keys is broken; restart the server".to_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use types::{DataClass, PriorityClass, Role};

    use super::*;
    use crate::policy::Policies;
    use crate::recorded::{audit_in, new_key, secret_file};

    #[tokio::test]
    async fn there_is_a_most_of_live_keys() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db")).await.unwrap();
        let keyring =
            Keyring::open(store, &secret_file(folder.path(), "pepper"), audit_in(folder.path()).await)
                .await
                .unwrap();
        let owner = Principal {
            role: Role::Owner,
            class_max: PriorityClass::System,
            data_class_max: DataClass::Restricted,
            ..Principal::least(TenantId(1), UserId(1))
        };
        let granter = Granter::new(owner, Arc::new(Policies::new().unwrap()));
        let (view, _) = keyring.create(&granter, new_key(Role::Member)).await.unwrap();
        let live = keyring.live.read().unwrap().keys.values().next().unwrap().clone();
        let fill = (1..KEYS_MAX).map(|number| {
            let id = KeyId::parse(format!("{number:012}").as_bytes()).unwrap();
            (id, live.clone())
        });
        keyring.live.write().unwrap().keys.extend(fill);

        let error = keyring.create(&granter, new_key(Role::Member)).await.err().unwrap();
        assert!(matches!(&error, AccessError::BadValue(value) if value.parameter == "keys"), "{error}");
        keyring.revoke(&view.id).await.unwrap();
        keyring.create(&granter, new_key(Role::Member)).await.unwrap();
    }
}
