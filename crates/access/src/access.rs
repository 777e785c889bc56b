use std::{path::Path, sync::Arc};

use store::{NewUsage, Store, UsageRecord};
use types::{
    DataClass, Instant, ModelName, Principal, PriorityClass, Role, Scope, Secret, TenantId, Tokens, UserId,
};

use crate::{
    AccessError, Action, Authorized, KeyView, ManageKeys, ManageUsers, NewKey, OpenError, ReadUsage,
    UserChange, UserView,
    clock::now_s,
    granter::Granter,
    key::{Key, KeyId},
    keyring::{self, Keyring},
    policy::Policies,
    quota::{Account, Ledger, Quota, Reservation},
    rules,
};

/// Who somebody claims to be.
pub enum Credential {
    /// `Authorization: Bearer llmos_…`.
    ApiKey(Secret),
    /// The peer of the local socket, as the kernel names it.
    LocalSocket {
        /// Its user id.
        uid: u32,
    },
    /// Nothing was shown.
    Absent,
}

/// What the tenant and the user of the local socket are called.
const LOCAL: &str = "local";
/// The user who may do everything on any machine.
const ROOT_UID: u32 = 0;

/// Whoever runs the server, seen through the local socket: they could read its files anyway. Ids in the store start
/// at 1.
fn local_operator() -> Principal {
    Principal {
        tenant: TenantId(0),
        user: UserId(0),
        role: Role::Owner,
        class_max: PriorityClass::System,
        data_class_max: DataClass::Restricted,
        scope: Scope::default(),
        // They are there now: the kernel says so of every connection.
        present_at: Some(now_s()),
    }
}

/// A tenant that nobody is in: whoever may do something to it may do it to all, also to those that are not there yet.
const ANY_TENANT: TenantId = TenantId(u64::MAX);

/// Who you are and what you may do.
///
/// ```
/// use access::{Access, Credential, ManageKeys, NewKey};
/// use types::{DataClass, PriorityClass, Role, Scope};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let folder = tempfile::tempdir()?;
/// let store = store::Store::open(&folder.path().join("llmos.db")).await?;
/// let access = Access::open(store, &folder.path().join("key.pepper")).await?;
///
/// let first = access.bootstrap().await?.ok_or("this store has keys already")?;
/// let administrator = access.authenticate(Credential::ApiKey(first)).await?;
/// let proof = access.authorize_in::<ManageKeys>(&administrator, "emergency ward").await?;
/// let key = NewKey {
///     label: "triage assistant".to_owned(),
///     tenant: "emergency ward".to_owned(),
///     user: "assistant".to_owned(),
///     role: Role::Member,
///     class_max: PriorityClass::Interactive,
///     data_class_max: DataClass::Restricted,
///     scope: Scope::new(None, vec!["generate".to_owned()], Vec::new()),
///     expires_at: None,
/// };
/// let (view, text) = access.create_key(&proof, key).await?;
///
/// let member = access.authenticate(Credential::ApiKey(text)).await?;
/// assert_eq!(member.role, Role::Member);
/// assert!(access.authorize::<ManageKeys>(&member, member.tenant).is_err());
/// # drop(view);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Access {
    keyring: Arc<Keyring>,
    policies: Arc<Policies>,
    ledger: Arc<Ledger>,
    started: std::time::Instant,
    server_uid: u32,
}

impl Access {
    /// Opens the keys in `store`; `pepper` is the file with the secret that key hashes are made with (created, 0600).
    ///
    /// Nothing else may change the keys of this store meanwhile: authentication works from memory.
    pub async fn open(store: Store, pepper: &Path) -> Result<Self, OpenError> {
        let policies = Arc::new(Policies::new().map_err(OpenError::Policies)?);
        rules::take_in(&policies, &store).await?;
        let keyring = Arc::new(Keyring::open(store, pepper).await?);
        Ok(Self {
            keyring,
            policies,
            ledger: Ledger::new(Vec::new()),
            started: std::time::Instant::now(),
            server_uid: rustix::process::geteuid().as_raw(),
        })
    }

    /// The same with limits to what may be used. What was used today (UTC) counts on those of the day.
    ///
    /// # Errors
    /// [`AccessError::Unavailable`] if that cannot be read.
    pub async fn with_quotas(self, quotas: Vec<Quota>) -> Result<Self, AccessError> {
        let ledger = Ledger::new(quotas);
        let (today, now) = (today(), self.now());
        for used in self.keyring.usage(today, today).await? {
            let name = |name: Option<String>| Arc::from(name.as_deref().unwrap_or(LOCAL));
            let account = Account {
                tenant: used.tenant_id,
                user: used.user_id,
                tenant_name: name(used.tenant),
                user_name: name(used.user),
            };
            ledger.remember(&account, used.input_tokens + used.output_tokens, now);
        }
        Ok(Self { ledger, ..self })
    }

    /// Makes the first key, of the owner, if there is no key at all, be it revoked; its text is returned this once.
    pub async fn bootstrap(&self) -> Result<Option<Secret>, AccessError> {
        let key = NewKey {
            label: "bootstrap".to_owned(),
            tenant: "default".to_owned(),
            user: "owner".to_owned(),
            role: Role::Owner,
            class_max: PriorityClass::System,
            data_class_max: DataClass::Restricted,
            scope: Scope::default(),
            expires_at: None,
        };
        let keyring = Arc::clone(&self.keyring);
        carried_through(async move { keyring.create_first(key).await }).await
    }

    /// Who is it? Takes a few microseconds and never touches the disk.
    // Nothing waits yet: identity providers will.
    #[expect(clippy::unused_async)]
    pub async fn authenticate(&self, credential: Credential) -> Result<Principal, AccessError> {
        match credential {
            Credential::ApiKey(text) => {
                let key = Key::parse(&text).ok_or(AccessError::Unauthenticated)?;
                self.keyring.holder(&key)
            }
            Credential::LocalSocket { uid } if uid == self.server_uid || uid == ROOT_UID => {
                Ok(local_operator())
            }
            Credential::LocalSocket { .. } | Credential::Absent => Err(AccessError::Unauthenticated),
        }
    }

    /// Sets tokens aside on the account of whoever was authorised, and counts a request.
    ///
    /// # Errors
    /// [`AccessError::OverQuota`] if any quota that applies does not allow it; then nothing is taken from any.
    pub fn reserve<A: Action>(
        &self,
        authorized: &Authorized<A>,
        tokens: Tokens,
    ) -> Result<Reservation, AccessError> {
        let principal = authorized.principal();
        let account = match (principal.tenant, principal.user) {
            (TenantId(0), UserId(0)) => Account {
                tenant: principal.tenant,
                user: principal.user,
                tenant_name: LOCAL.into(),
                user_name: LOCAL.into(),
            },
            (tenant, user) => self.keyring.account(tenant, user)?.ok_or(AccessError::Unauthenticated)?,
        };
        self.ledger.reserve(&account, tokens, self.now())
    }

    /// Where what they use is written down.
    pub fn book<A: Action>(&self, authorized: &Authorized<A>) -> Book {
        let principal = authorized.principal();
        Book { keyring: Arc::clone(&self.keyring), tenant: principal.tenant, user: principal.user }
    }

    /// What was used in the last `days` days, today's included.
    pub async fn usage(
        &self,
        by: &Authorized<ReadUsage>,
        days: u64,
    ) -> Result<Vec<UsageRecord>, AccessError> {
        let today = today();
        let used = self.keyring.usage((today + 1).saturating_sub(days), today).await?;
        let of = self.reach(by);
        Ok(used.into_iter().filter(|used| of(used.tenant_id)).collect())
    }

    /// Whose things somebody sees who may see those of their own tenant: those of all, if they may that too.
    fn reach<A: Action<Resource = TenantId>>(
        &self,
        by: &Authorized<A>,
    ) -> impl Fn(TenantId) -> bool + use<A> {
        let everywhere = self.authorize::<A>(by.principal(), ANY_TENANT).is_ok();
        let own = *by.resource();
        move |tenant| everywhere || tenant == own
    }

    fn now(&self) -> Instant {
        Instant { nanos: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX) }
    }

    /// Follows whether a credential goes on to be one, for what takes long.
    pub fn standing(&self, credential: &Credential) -> Standing {
        Standing(match credential {
            Credential::ApiKey(text) => Key::parse(text).map(|key| (Arc::clone(&self.keyring), key.id())),
            Credential::LocalSocket { .. } | Credential::Absent => None,
        })
    }

    /// May they? The proof holds the resource as it was allowed, with what the caller left open filled in.
    pub fn authorize<A: Action>(
        &self,
        principal: &Principal,
        resource: A::Resource,
    ) -> Result<Authorized<A>, AccessError> {
        Authorized::decide(&self.policies, principal, resource, now_s())
    }

    /// May they, in the tenant of this name? Who may not in their own is told that; and for whom it is another one that they may
    /// not see, there is none of this name. A tenant that is not there yet is for those who may do it in all.
    pub async fn authorize_in<A: Action<Resource = TenantId>>(
        &self,
        principal: &Principal,
        tenant: &str,
    ) -> Result<Authorized<A>, AccessError> {
        let own = self.authorize::<A>(principal, principal.tenant)?;
        let named = self.keyring.tenant(tenant).await?.unwrap_or(ANY_TENANT);
        if named == principal.tenant {
            return Ok(own);
        }
        let unknown = |_| AccessError::UnknownTenant(tenant.to_owned());
        self.authorize::<A>(principal, named).map_err(unknown)
    }

    /// May they, to this key?
    pub async fn authorize_key(
        &self,
        principal: &Principal,
        id: &str,
    ) -> Result<Authorized<ManageKeys>, AccessError> {
        self.authorize::<ManageKeys>(principal, principal.tenant)?;
        let unknown = || AccessError::UnknownKey(keyring::shortened(id));
        let tenant = self.keyring.tenant_of_key(id).await?.ok_or_else(unknown)?;
        self.authorize::<ManageKeys>(principal, tenant).map_err(|_| unknown())
    }

    /// Makes a key; the text is shown this once. It is in the tenant that the proof is of, or in a new one.
    ///
    /// Label, tenant and user have 1 to [`crate::NAME_BYTES_MAX`] printable bytes; at most [`crate::KEYS_MAX`] keys
    /// are live.
    pub async fn create_key(
        &self,
        by: &Authorized<ManageKeys>,
        key: NewKey,
    ) -> Result<(KeyView, Secret), AccessError> {
        if !covers(by, self.keyring.tenant(&key.tenant).await?) {
            return Err(AccessError::UnknownTenant(key.tenant));
        }
        let (keyring, granter) = (Arc::clone(&self.keyring), self.granter(by));
        carried_through(async move { keyring.create(&granter, key).await }).await
    }

    /// Gives a key a new secret, which is shown this once; the one before is accepted for `overlap_s` seconds more.
    pub async fn rotate_key(
        &self,
        _by: &Authorized<ManageKeys>,
        id: &str,
        overlap_s: u64,
    ) -> Result<(KeyView, Secret), AccessError> {
        let (keyring, id) = (Arc::clone(&self.keyring), id.to_owned());
        carried_through(async move { keyring.rotate(&id, overlap_s).await }).await
    }

    /// All users that they may see, by tenant and name.
    pub async fn users(&self, by: &Authorized<ManageUsers>) -> Result<Vec<UserView>, AccessError> {
        self.keyring.users(self.reach(by)).await
    }

    /// Changes what a user may do, at once, and with all their keys.
    pub async fn change_user(
        &self,
        by: &Authorized<ManageUsers>,
        tenant: &str,
        user: &str,
        change: UserChange,
    ) -> Result<UserView, AccessError> {
        if !covers(by, self.keyring.tenant(tenant).await?) {
            return Err(AccessError::UnknownUser { tenant: tenant.to_owned(), user: user.to_owned() });
        }
        let (keyring, granter) = (Arc::clone(&self.keyring), self.granter(by));
        let (tenant, user) = (tenant.to_owned(), user.to_owned());
        carried_through(async move { keyring.change_user(&granter, &tenant, &user, change).await }).await
    }

    /// All keys that they may see, revoked ones included, oldest first.
    pub async fn keys(&self, by: &Authorized<ManageKeys>) -> Result<Vec<KeyView>, AccessError> {
        self.keyring.all(self.reach(by)).await
    }

    /// Revokes a key, at once; revoking twice is not an error, and the first time stands.
    pub async fn revoke_key(&self, _by: &Authorized<ManageKeys>, id: &str) -> Result<KeyView, AccessError> {
        let (keyring, id) = (Arc::clone(&self.keyring), id.to_owned());
        carried_through(async move { keyring.revoke(&id).await }).await
    }

    pub(crate) fn keys_and_users(&self) -> &Keyring {
        &self.keyring
    }

    pub(crate) fn policies_in_force(&self) -> &Arc<Policies> {
        &self.policies
    }

    fn granter<A: Action>(&self, by: &Authorized<A>) -> Granter {
        Granter::new(by.principal().clone(), Arc::clone(&self.policies))
    }
}

/// Whether a proof is for this tenant; for one that is not there yet, only if it is for any.
fn covers<A: Action<Resource = TenantId>>(by: &Authorized<A>, tenant: Option<TenantId>) -> bool {
    *by.resource() == ANY_TENANT || tenant == Some(*by.resource())
}

/// Where what somebody uses is written down.
pub struct Book {
    keyring: Arc<Keyring>,
    tenant: TenantId,
    user: UserId,
}

impl Book {
    /// Counts a request. Nobody waits for the disk.
    pub fn note(&self, model: &ModelName, input: Tokens, output: Tokens) {
        self.keyring.note_usage(NewUsage {
            day: today(),
            tenant: self.tenant,
            user: self.user,
            model: model.to_string(),
            input_tokens: input.0.into(),
            output_tokens: output.0.into(),
        });
    }
}

/// Days since 1970, UTC.
fn today() -> u64 {
    now_s() / 86_400
}

/// Follows whether a credential goes on to be one.
pub struct Standing(Option<(Arc<Keyring>, KeyId)>);

impl Standing {
    /// Resolves when it gives nothing any more: revoked, expired, its owner suspended. Whoever is at the local socket stays.
    pub async fn ended(&self) {
        match &self.0 {
            Some((keyring, id)) => keyring.ended(*id).await,
            None => std::future::pending().await,
        }
    }
}

/// Ends a change also when whoever asked for it goes away: half of one would leave memory and store apart.
async fn carried_through<T: Send + 'static>(
    change: impl Future<Output = Result<T, AccessError>> + Send + 'static,
) -> Result<T, AccessError> {
    tokio::spawn(change).await.unwrap_or_else(|_| {
        Err(AccessError::Unavailable(
            "the change was broken off; list the keys to see what became of it".to_owned(),
        ))
    })
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::Pin, str, task::Poll, time::Duration};

    use tempfile::TempDir;

    use super::*;

    async fn open(folder: &TempDir) -> (Access, Store) {
        let store = Store::open(&folder.path().join("llmos.db")).await.unwrap();
        let access = Access::open(store.clone(), &folder.path().join("pepper")).await.unwrap();
        (access, store)
    }

    fn new_key(label: &str) -> NewKey {
        NewKey {
            label: label.to_owned(),
            tenant: "clinic".to_owned(),
            user: "anna".to_owned(),
            role: Role::Operator,
            class_max: PriorityClass::Interactive,
            data_class_max: DataClass::Confidential,
            scope: Scope::default(),
            expires_at: None,
        }
    }

    fn may_manage(access: &Access) -> Authorized<ManageKeys> {
        access.authorize(&local_operator(), ANY_TENANT).ok().unwrap()
    }

    fn may_manage_users(access: &Access) -> Authorized<ManageUsers> {
        access.authorize(&local_operator(), ANY_TENANT).ok().unwrap()
    }

    fn copy(key: &Secret) -> Credential {
        Credential::ApiKey(Secret::from(key.expose().to_vec()))
    }

    /// The key with its last secret character but one changed: still well-formed.
    fn tampered(key: &Secret) -> Credential {
        let mut text = key.expose().to_vec();
        let last_but_one = text.len() - 2;
        text[last_but_one] = if text[last_but_one] == b'0' { b'1' } else { b'0' };
        Credential::ApiKey(Secret::from(text))
    }

    #[tokio::test]
    async fn a_key_works_from_its_making_to_its_revocation_also_over_restarts() {
        let folder = tempfile::tempdir().unwrap();
        let (access, store) = open(&folder).await;
        let (view, key) = access.create_key(&may_manage(&access), new_key("a")).await.unwrap();
        let principal = access.authenticate(copy(&key)).await.unwrap();
        assert_eq!(
            (principal.role, principal.class_max, principal.data_class_max),
            (Role::Operator, PriorityClass::Interactive, DataClass::Confidential)
        );
        assert!(principal.tenant.0 > 0 && principal.user.0 > 0);
        assert!(str::from_utf8(key.expose()).unwrap().contains(&view.id));
        drop((access, store));

        let (access, store) = open(&folder).await;
        assert_eq!(access.authenticate(copy(&key)).await, Ok(principal));
        let revoked = access.revoke_key(&may_manage(&access), &view.id).await.unwrap();
        assert!(revoked.revoked_at.is_some());
        assert_eq!(access.authenticate(copy(&key)).await, Err(AccessError::Unauthenticated));
        let again = access.revoke_key(&may_manage(&access), &view.id).await.unwrap();
        assert_eq!(again.revoked_at, revoked.revoked_at);
        drop((access, store));

        let (access, _store) = open(&folder).await;
        assert_eq!(access.authenticate(copy(&key)).await, Err(AccessError::Unauthenticated));
    }

    #[tokio::test]
    async fn a_key_gives_what_its_owner_may_now_and_ends_at_once() {
        let folder = tempfile::tempdir().unwrap();
        let (access, _store) = open(&folder).await;
        let (by, over_users) = (may_manage(&access), may_manage_users(&access));
        let (view, key) = access.create_key(&by, new_key("a")).await.unwrap();
        let wider = NewKey { role: Role::Administrator, ..new_key("wider") };
        let error = access.create_key(&by, wider).await.err().unwrap();
        assert!(matches!(&error, AccessError::WiderThanOwner { parameter: "role", .. }), "{error}");

        let change = UserChange { role: Some(Role::Member), ..UserChange::default() };
        let user = access.change_user(&over_users, "clinic", "anna", change).await.unwrap();
        assert_eq!((user.role, user.class_max), (Role::Member, PriorityClass::Interactive));
        assert_eq!(access.authenticate(copy(&key)).await.unwrap().role, Role::Member);
        assert_eq!(access.users(&over_users).await.unwrap(), [user]);

        let standing = access.standing(&copy(&key));
        let mut ended = Box::pin(standing.ended());
        assert!(!is_ready(&mut ended).await);
        for (suspended, allowed) in [(true, false), (false, true)] {
            let change = UserChange { suspended: Some(suspended), ..UserChange::default() };
            access.change_user(&over_users, "clinic", "anna", change).await.unwrap();
            assert_eq!(access.authenticate(copy(&key)).await.is_ok(), allowed);
            if suspended {
                tokio::time::timeout(Duration::from_secs(5), &mut ended).await.unwrap();
            }
        }
        let mut ended = Box::pin(standing.ended());
        assert!(!is_ready(&mut ended).await);
        access.revoke_key(&by, &view.id).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap();
        let error = access.change_user(&over_users, "clinic", "bert", change).await.unwrap_err();
        assert!(matches!(error, AccessError::UnknownUser { .. }));
    }

    #[tokio::test]
    async fn a_key_expires_and_is_rotated_with_both_secrets_for_a_while() {
        let folder = tempfile::tempdir().unwrap();
        let (access, store) = open(&folder).await;
        let by = may_manage(&access);
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        let past = NewKey { expires_at: Some(now), ..new_key("past") };
        assert!(matches!(access.create_key(&by, past).await, Err(AccessError::BadValue(_))));
        let short = NewKey { expires_at: Some(now + 2), ..new_key("short") };
        let (_, short) = access.create_key(&by, short).await.unwrap();
        assert!(access.authenticate(copy(&short)).await.is_ok());
        tokio::time::timeout(Duration::from_secs(5), access.standing(&copy(&short)).ended()).await.unwrap();
        assert_eq!(access.authenticate(copy(&short)).await, Err(AccessError::Unauthenticated));

        let (view, first) = access.create_key(&by, new_key("rotated")).await.unwrap();
        let (rotated, second) = access.rotate_key(&by, &view.id, 3600).await.unwrap();
        assert!(rotated.id == view.id && rotated.old_until > Some(now + 3000));
        for key in [&first, &second] {
            assert!(access.authenticate(copy(key)).await.is_ok());
        }
        let (_, third) = access.rotate_key(&by, &view.id, 0).await.unwrap();
        drop((access, store));
        let (access, _store) = open(&folder).await;
        assert!(access.authenticate(copy(&third)).await.is_ok());
        for key in [&first, &second] {
            assert_eq!(access.authenticate(copy(key)).await, Err(AccessError::Unauthenticated));
        }
        for (id, overlap) in [("nosuchkey", 0), ("000000000000", 0), (view.id.as_str(), u64::MAX)] {
            assert!(access.rotate_key(&may_manage(&access), id, overlap).await.is_err());
        }
    }

    #[tokio::test]
    async fn whatever_is_wrong_with_a_key_the_answer_is_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let (access, _store) = open(&folder).await;
        let (_, key) = access.create_key(&may_manage(&access), new_key("live")).await.unwrap();
        let (view, revoked) = access.create_key(&may_manage(&access), new_key("revoked")).await.unwrap();
        access.revoke_key(&may_manage(&access), &view.id).await.unwrap();
        // The id of one key with the secret of another.
        let swapped = [&revoked.expose()[..18], &key.expose()[18..]].concat();
        let cases = [
            ("absent", Credential::Absent),
            ("empty", Credential::ApiKey(Secret::from(String::new()))),
            ("malformed", Credential::ApiKey(Secret::from("sk-1234".to_owned()))),
            ("unknown", Credential::ApiKey(Key::random().unwrap().text())),
            ("wrong secret", tampered(&key)),
            ("revoked", copy(&revoked)),
            ("revoked and wrong secret", tampered(&revoked)),
            ("another's id", Credential::ApiKey(Secret::from(swapped))),
        ];
        for (case, credential) in cases {
            assert_eq!(access.authenticate(credential).await, Err(AccessError::Unauthenticated), "{case}");
        }
        assert!(access.authenticate(copy(&key)).await.is_ok());
    }

    #[tokio::test]
    async fn the_local_socket_is_for_the_servers_own_user_and_root() {
        let folder = tempfile::tempdir().unwrap();
        let (mut access, _store) = open(&folder).await;
        access.server_uid = 1000;
        for (uid, allowed) in [(1000, true), (0, true), (1001, false), (999, false), (u32::MAX, false)] {
            let principal = access.authenticate(Credential::LocalSocket { uid }).await;
            match principal {
                Ok(principal) => assert!(allowed && principal.is_local() && principal.role == Role::Owner),
                Err(error) => assert!(!allowed && error == AccessError::Unauthenticated, "{uid}"),
            }
        }
    }

    #[tokio::test]
    async fn the_first_key_is_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let (access, store) = open(&folder).await;
        let first = access.bootstrap().await.unwrap().unwrap();
        let owner = access.authenticate(copy(&first)).await.unwrap();
        assert_eq!(
            (owner.role, owner.class_max, owner.data_class_max),
            (Role::Owner, PriorityClass::System, DataClass::Restricted)
        );
        assert!(access.bootstrap().await.unwrap().is_none());

        let proof = access.authorize::<ManageKeys>(&owner, owner.tenant).ok().unwrap();
        let key = access.keys(&proof).await.unwrap().pop().unwrap();
        assert_eq!(
            (key.key.label.as_str(), key.key.tenant.as_str(), key.key.user.as_str()),
            ("bootstrap", "default", "owner")
        );
        access.revoke_key(&proof, &key.id).await.unwrap();
        drop((access, store));

        let (access, _store) = open(&folder).await;
        assert!(access.bootstrap().await.unwrap().is_none(), "a revoked key is a key");
    }

    /// An administrator looks after their own tenant, and gives no more than they have. Of other tenants they learn nothing.
    #[tokio::test]
    async fn an_administrator_stays_within_their_tenant_and_their_rights() {
        let folder = tempfile::tempdir().unwrap();
        let (access, _store) = open(&folder).await;
        let all = may_manage(&access);
        let member = |tenant: &str| NewKey { tenant: tenant.to_owned(), role: Role::Member, ..new_key("m") };
        let admin = NewKey {
            user: "chief".to_owned(),
            role: Role::Administrator,
            data_class_max: DataClass::Internal,
            ..new_key("admin")
        };
        let (_, key) = access.create_key(&all, admin.clone()).await.unwrap();
        let (foreign, _) = access.create_key(&all, member("lab")).await.unwrap();
        let admin_of_clinic = access.authenticate(copy(&key)).await.unwrap();
        let own = access.authorize_in::<ManageKeys>(&admin_of_clinic, "clinic").await.ok().unwrap();

        for tenant in ["lab", "no such tenant"] {
            let refused = access.authorize_in::<ManageKeys>(&admin_of_clinic, tenant).await.err();
            assert_eq!(refused, Some(AccessError::UnknownTenant(tenant.to_owned())));
            let refused = access.create_key(&own, member(tenant)).await.err();
            assert_eq!(refused, Some(AccessError::UnknownTenant(tenant.to_owned())));
        }
        for id in [foreign.id.as_str(), "000000000000"] {
            let refused = access.authorize_key(&admin_of_clinic, id).await.err();
            assert_eq!(refused, Some(AccessError::UnknownKey(id.to_owned())));
        }
        assert_eq!(access.keys(&own).await.unwrap().len(), 1);
        assert_eq!(access.keys(&all).await.unwrap().len(), 2);

        let new = |role, data_class_max| NewKey { role, data_class_max, ..new_key("new") };
        for role in [Role::Owner, Role::Operator] {
            let error = access.create_key(&own, new(role, DataClass::Public)).await.err().unwrap();
            assert!(matches!(error, AccessError::WiderThanGranter { .. }), "{role}: {error}");
        }
        let error = access.create_key(&own, new(Role::Member, DataClass::Restricted)).await.err().unwrap();
        assert!(matches!(error, AccessError::WiderThanOwner { parameter: "data_class_max", .. }), "{error}");
        access.create_key(&own, new(Role::Auditor, DataClass::Internal)).await.unwrap();

        let over_users =
            access.authorize::<ManageUsers>(&admin_of_clinic, admin_of_clinic.tenant).ok().unwrap();
        let change = UserChange { role: Some(Role::Owner), ..UserChange::default() };
        let error = access.change_user(&over_users, "clinic", "chief", change).await.unwrap_err();
        assert!(matches!(error, AccessError::WiderThanGranter { .. }), "{error}");
        let error = access.change_user(&over_users, "lab", "anna", UserChange::default()).await.unwrap_err();
        assert!(matches!(error, AccessError::UnknownUser { .. }), "{error}");
    }

    #[tokio::test]
    async fn keys_are_listed_as_they_were_made() {
        let folder = tempfile::tempdir().unwrap();
        let (access, _store) = open(&folder).await;
        let proof = may_manage(&access);
        for label in ["first", "second", "third"] {
            access.create_key(&proof, new_key(label)).await.unwrap();
        }
        let keys = access.keys(&proof).await.unwrap();
        let labels: Vec<_> = keys.iter().map(|key| key.key.label.as_str()).collect();
        assert_eq!(labels, ["first", "second", "third"]);
        assert!(keys.iter().all(|key| key.created_at > 1_700_000_000 && key.revoked_at.is_none()));
    }

    #[tokio::test]
    async fn bad_values_and_unknown_ids_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let (access, _store) = open(&folder).await;
        let proof = may_manage(&access);
        let bad = NewKey { tenant: "two\nlines".to_owned(), ..new_key("a") };
        let error = access.create_key(&proof, bad).await.err().unwrap();
        assert!(matches!(&error, AccessError::BadValue(value) if value.parameter == "tenant"), "{error}");
        assert!(access.keys(&proof).await.unwrap().is_empty());
        for id in ["000000000000", "nosuchkey", ""] {
            let error = access.revoke_key(&proof, id).await.unwrap_err();
            assert_eq!(error, AccessError::UnknownKey(id.to_owned()));
        }
    }

    #[tokio::test]
    async fn without_its_store_it_makes_no_key_and_still_revokes() {
        let folder = tempfile::tempdir().unwrap();
        let (access, store) = open(&folder).await;
        let proof = may_manage(&access);
        let (view, key) = access.create_key(&proof, new_key("a")).await.unwrap();
        store.close().await;

        let unavailable = |error: Option<AccessError>| matches!(error, Some(AccessError::Unavailable(_)));
        assert!(unavailable(access.create_key(&proof, new_key("b")).await.err()));
        assert!(unavailable(access.keys(&proof).await.err()));
        assert!(unavailable(access.bootstrap().await.err()));
        assert!(access.authenticate(copy(&key)).await.is_ok(), "authentication does not touch the store");
        assert!(unavailable(access.revoke_key(&proof, &view.id).await.err()));
        assert_eq!(access.authenticate(copy(&key)).await, Err(AccessError::Unauthenticated));
    }

    #[tokio::test]
    async fn a_change_whose_asker_goes_away_is_carried_through() {
        let folder = tempfile::tempdir().unwrap();
        let (access, store) = open(&folder).await;
        let proof = may_manage(&access);
        let (view, key) = access.create_key(&proof, new_key("a")).await.unwrap();
        let mut revoking = Box::pin(access.revoke_key(&proof, &view.id));
        assert!(!is_ready(&mut revoking).await, "asked for, and not done yet");
        drop(revoking);

        let revoked = async {
            while store.keys().await.unwrap()[0].revoked_at.is_none() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), revoked).await.unwrap();
        assert_eq!(access.authenticate(copy(&key)).await, Err(AccessError::Unauthenticated));
    }

    /// Polls once.
    async fn is_ready(future: &mut (impl Future + Unpin)) -> bool {
        poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_ready())).await
    }

    #[tokio::test]
    async fn keys_without_their_pepper_are_not_opened() {
        let folder = tempfile::tempdir().unwrap();
        let (access, store) = open(&folder).await;
        access.bootstrap().await.unwrap();
        std::fs::remove_file(folder.path().join("pepper")).unwrap();
        let error = Access::open(store, &folder.path().join("pepper")).await.err().unwrap();
        assert!(matches!(error, OpenError::PepperLost { .. }), "{error}");
    }
}
