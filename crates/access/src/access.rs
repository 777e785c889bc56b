use std::{collections::HashMap, net::IpAddr, sync::Arc};

use audit::{Audit, Caller};
use outbound::Outbound;
use store::Store;
use types::{
    DataClass, Instant, ModelName, NodeName, Principal, PriorityClass, Purposes, RequestId, Role, Scope,
    Secret, TenantId, Tokens, UserId,
};
use vault::SecretFile;

use crate::{
    AccessError, Action, Authorized, Book, KeyView, ManageFactors, ManageKeys, ManageUsers, ModelUse, NewKey,
    OpenError, Refusal, UserChange, UserView,
    attempts::Attempts,
    book::count_what_is_missing,
    clock::{DAY_S, now_s, today},
    granter::Granter,
    key::{Form, Key, KeyId},
    keyring::{Keyring, LOCAL},
    location::{Location, Locations},
    policy::{Policies, WALL},
    quota::{Account, Cost, Ledger, MONTH, Price, Quota, Reservation},
    recorded::subject_of_user,
    rules,
    sign_in::{SignIn, SignInSettings},
    unpaid::Unpaid,
};

/// What a caller comes with.
#[derive(Clone)]
pub struct Credential {
    /// Who they claim to be.
    pub shown: Shown,
    /// The address at the other end of the connection; none at the local socket.
    pub address: Option<IpAddr>,
    /// The request that comes with it.
    pub request: RequestId,
}

impl From<Shown> for Credential {
    fn from(shown: Shown) -> Self {
        Self { shown, address: None, request: RequestId(0) }
    }
}

/// Who somebody claims to be.
#[derive(Clone)]
pub enum Shown {
    /// `Authorization: Bearer llmos_…`.
    ApiKey(Secret),
    /// The secret of a login session: a cookie of a browser, or a bearer of the commands.
    LoginSession(Secret),
    /// An access token that an identity provider made (RFC 9068).
    AccessToken(Secret),
    /// The peer of the local socket, as the kernel names it.
    LocalSocket {
        /// Its user id.
        uid: u32,
    },
    /// Nothing, or what cannot be read.
    Nothing,
}

/// The tenant and the user that there are first.
const FIRST_TENANT: &str = "default";
const FIRST_USER: &str = "owner";
/// The user who may do everything on any machine.
const ROOT_UID: u32 = 0;

/// Whoever runs the server, seen through the local socket: they could read its files anyway. Ids in the store start
/// at 1.
fn local_operator() -> Principal {
    Principal {
        role: Role::Owner,
        class_max: PriorityClass::System,
        data_class_max: DataClass::Restricted,
        // They are there now: the kernel says so of every connection.
        present_at: Some(now_s()),
        ..Principal::least(LOCAL_TENANT, UserId(0))
    }
}

/// The tenant of the local socket.
pub(crate) const LOCAL_TENANT: TenantId = TenantId(0);
/// What a tenant is called in records that there is not: what was asked for may be anything.
const NO_SUCH_TENANT: &str = "tenant:?";
/// A tenant that nobody is in: whoever may do something to it may do it to all, also to those that are not there yet.
pub(crate) const ANY_TENANT: TenantId = TenantId(u64::MAX);

/// Who you are and what you may do.
///
/// ```
/// use access::{Access, ManageKeys, NewKey, Shown};
/// use types::{DataClass, PriorityClass, Purposes, Role, Scope};
///
/// # tokio::runtime::Runtime::new()?.block_on(async {
/// let folder = tempfile::tempdir()?;
/// let store = store::Store::open(&folder.path().join("llmos.db")).await?;
/// let root = || vault::Root::of_text(&"0123456789abcdef".repeat(4).into());
/// let key = vault::SecretFile::under(root()?, &folder.path().join("audit.key"));
/// let log = folder.path().join("audit");
/// let (audit, _) = audit::Audit::open(&log, &key, std::sync::Arc::new(audit::Erases)).await?;
/// let pepper = vault::SecretFile::under(root()?, &folder.path().join("key.pepper"));
/// let access = Access::open(store, &pepper, audit).await?;
///
/// let first = access.bootstrap().await?.ok_or("this store has keys already")?;
/// let owner = access.authenticate(Shown::ApiKey(first).into()).await?;
/// let proof = access.authorize::<ManageKeys>(&owner, owner.tenant)?;
/// let key = NewKey {
///     label: "triage assistant".to_owned(),
///     tenant: "emergency ward".to_owned(),
///     user: "assistant".to_owned(),
///     is_service: true,
///     role: Role::Member,
///     class_max: PriorityClass::Interactive,
///     data_class_max: DataClass::Restricted,
///     purposes: Purposes::only(["triage".parse()?])?,
///     scope: Scope::new(None, vec!["generate".to_owned()], Vec::new()),
///     expires_at: None,
/// };
/// let (view, text) = access.create_key(&proof, key).await?;
///
/// let member = access.authenticate(Shown::ApiKey(text).into()).await?;
/// assert_eq!(member.role, Role::Member);
/// assert!(access.authorize::<ManageKeys>(&member, member.tenant).is_err());
/// # drop(view);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// # })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Access {
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) policies: Arc<Policies>,
    sign_in: SignIn,
    pub(crate) ledger: Arc<Ledger>,
    prices: HashMap<ModelName, Price>,
    locations: Locations,
    attempts: Attempts,
    started: std::time::Instant,
    server_uid: u32,
    node: NodeName,
}

impl Access {
    /// Opens the keys in `store`; `pepper` is the file with the secret that key hashes are made with (made, sealed).
    ///
    /// Nothing else may change the keys of this store meanwhile: authentication works from memory.
    /// What is done is recorded in `audit`.
    pub async fn open(store: Store, pepper: &SecretFile, audit: Arc<Audit>) -> Result<Self, OpenError> {
        let policies = Arc::new(Policies::new().map_err(OpenError::Policies)?);
        rules::take_in(&policies, &store).await?;
        count_what_is_missing(&store, &audit).await?;
        let keyring = Arc::new(Keyring::open(store, pepper, audit).await?);
        let sign_in = SignIn::open(keyring.clone(), SignInSettings::alone(), None).await;
        Ok(Self {
            keyring,
            policies,
            sign_in: sign_in.map_err(OpenError::Sessions)?,
            ledger: Ledger::new(Vec::new()),
            prices: HashMap::new(),
            locations: Locations::default(),
            attempts: Attempts::default(),
            started: std::time::Instant::now(),
            server_uid: rustix::process::geteuid().as_raw(),
            node: NodeName::of_host(&rustix::system::uname().nodename().to_string_lossy()),
        })
    }

    /// The same with a door for those who sign in. The providers are reached through `outbound`, and not before somebody comes. What
    /// accounts at them may do is worked out anew: the configuration may be another one than before.
    pub async fn with_sign_in(
        self,
        settings: SignInSettings,
        outbound: Outbound,
    ) -> Result<Self, AccessError> {
        let sign_in = SignIn::open(self.keyring.clone(), settings, Some(outbound)).await?;
        sign_in.place(None).await?;
        Ok(Self { sign_in, ..self })
    }

    /// The machine that this is.
    pub fn node(&self) -> &NodeName {
        &self.node
    }

    /// The door for those who sign in.
    pub fn sign_in(&self) -> &SignIn {
        &self.sign_in
    }

    /// The same with limits to what may be used, and with what the tokens of models cost. What was used in the last 30 days counts on
    /// the limits of a day and of a month, as if it had been used at the end of its day (UTC).
    ///
    /// # Errors
    /// [`AccessError::Unavailable`] if that cannot be read.
    pub async fn with_quotas(
        self,
        quotas: Vec<Quota>,
        prices: HashMap<ModelName, Price>,
    ) -> Result<Self, AccessError> {
        let ledger = Ledger::new(quotas);
        let (today, now) = (today(), self.now());
        for used in self.keyring.usage(today.saturating_sub(MONTH.as_secs() / DAY_S), today).await? {
            let name = |name: Option<String>| Arc::from(name.as_deref().unwrap_or(LOCAL));
            let account = Account {
                tenant: used.tenant_id,
                user: used.user_id,
                tenant_name: name(used.tenant),
                user_name: name(used.user),
                team: used.team.map(Into::into),
                key: used.key.map(Into::into),
            };
            let cost = Cost { tokens: used.input_tokens + used.output_tokens, spend: used.spend };
            let since = now_s().saturating_sub((used.day + 1) * DAY_S);
            let at = Instant { nanos: now.nanos.saturating_sub(since * 1_000_000_000) };
            ledger.remember(&account, cost, at);
        }
        Ok(Self { ledger, prices, ..self })
    }

    /// The same with another rate of what is recorded and paid for by no quota: so much in a minute for each key, and for all sessions of a
    /// user.
    #[must_use]
    pub fn with_rate(self, per_minute: u64) -> Self {
        self.keyring.unpaid.set(per_minute);
        self
    }

    /// How often that may be asked for.
    pub fn unpaid(&self) -> &Unpaid {
        &self.keyring.unpaid
    }

    /// The same with names for places.
    #[must_use]
    pub fn with_locations(self, locations: Vec<Location>) -> Self {
        Self { locations: Locations::new(locations), ..self }
    }

    /// Makes the first key, of the owner, if there is no key at all, be it revoked; its text is returned this once.
    pub async fn bootstrap(&self) -> Result<Option<Secret>, AccessError> {
        let key = NewKey {
            label: "bootstrap".to_owned(),
            tenant: FIRST_TENANT.to_owned(),
            user: FIRST_USER.to_owned(),
            is_service: false,
            role: Role::Owner,
            class_max: PriorityClass::System,
            data_class_max: DataClass::Restricted,
            purposes: Purposes::any(),
            scope: Scope::default(),
            expires_at: None,
        };
        let keyring = Arc::clone(&self.keyring);
        carried_through(async move { keyring.create_first(key).await }).await
    }

    /// Who is it? Takes a few microseconds and never touches the disk; but for an access token whose key is not known yet, or that
    /// brings other groups than before.
    pub async fn authenticate(&self, credential: Credential) -> Result<Principal, AccessError> {
        let Credential { shown, address, .. } = credential;
        let known = match shown {
            // What cannot be one is no guess.
            Shown::ApiKey(text) => {
                let key = Key::parse(Form::ApiKey, &text).ok_or(AccessError::Unauthenticated)?;
                self.keyring.holder(&key)
            }
            Shown::LoginSession(secret) => self.sign_in.sessions().holder(&secret),
            Shown::AccessToken(token) => self.sign_in.token_holder(&token).await.map(|(holder, _)| holder),
            Shown::LocalSocket { uid } if uid == self.server_uid || uid == ROOT_UID => Ok(local_operator()),
            Shown::LocalSocket { .. } => Err(AccessError::Unauthenticated),
            // Who shows nothing guesses nothing.
            Shown::Nothing => return Err(AccessError::Unauthenticated),
        };
        match known {
            Ok(principal) => Ok(Principal { location: self.locations.of(address), ..principal }),
            Err(AccessError::Unauthenticated) => Err(self.attempts.wrong(address, self.now())),
            Err(error) => Err(error),
        }
    }

    /// Sets aside what tokens cost, read and written ones, on the account of whoever was authorised, and counts a request.
    ///
    /// # Errors
    /// [`AccessError::OverQuota`] if any quota that applies does not allow it; then nothing is taken from any.
    pub fn reserve<A: Action<Resource = ModelUse>>(
        &self,
        authorized: &Authorized<A>,
        input: Tokens,
        output: Tokens,
    ) -> Result<Reservation, AccessError> {
        let principal = authorized.principal();
        let (tenant_name, user_name) = if principal.is_local() {
            (LOCAL.into(), LOCAL.into())
        } else {
            self.keyring.names_of(principal.user)?.ok_or(AccessError::Unauthenticated)?
        };
        let account = Account {
            tenant: principal.tenant,
            user: principal.user,
            tenant_name,
            user_name,
            team: principal.team.clone(),
            key: principal.key.clone(),
        };
        self.ledger.reserve(&account, self.price(authorized), (input, output), self.now())
    }

    /// Where what they use is written down.
    pub fn book<A: Action<Resource = ModelUse>>(&self, authorized: &Authorized<A>) -> Book {
        Book {
            keyring: Arc::clone(&self.keyring),
            principal: authorized.principal().clone(),
            price: self.price(authorized),
        }
    }

    fn price<A: Action<Resource = ModelUse>>(&self, authorized: &Authorized<A>) -> Price {
        self.prices.get(&authorized.resource().model).copied().unwrap_or_default()
    }

    /// Whether who may do something in their own tenant may do it in this one too.
    pub(crate) fn covers<A: Action<Resource = TenantId>>(
        &self,
        by: &Authorized<A>,
        tenant: TenantId,
    ) -> bool {
        tenant == *by.resource() || self.authorize::<A>(by.principal(), tenant).is_ok()
    }

    pub(crate) fn now(&self) -> Instant {
        // So that what was used before the start has a time too.
        let elapsed = MONTH + self.started.elapsed();
        Instant { nanos: u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX) }
    }

    /// Follows whether a credential goes on to be one, for what takes long.
    pub fn standing(&self, credential: &Credential) -> Standing {
        let what = match &credential.shown {
            Shown::ApiKey(text) => Key::parse(Form::ApiKey, text).map(|key| Stands::Key(key.id())),
            Shown::LoginSession(text) => Key::parse(Form::Session, text).map(|key| Stands::Session(key.id())),
            Shown::AccessToken(token) => Some(Stands::Token(token.clone())),
            Shown::LocalSocket { .. } | Shown::Nothing => None,
        };
        Standing(what.map(|what| (self.keyring.clone(), self.sign_in.clone(), what)))
    }

    /// May they? The proof holds the resource as it was allowed, with what the caller left open filled in.
    pub fn authorize<A: Action>(
        &self,
        principal: &Principal,
        resource: A::Resource,
    ) -> Result<Authorized<A>, Refusal> {
        Authorized::decide(&self.policies, principal, resource, now_s())
    }

    /// May they, in the tenant of this name? Who may not in their own is told that; and for whom it is another one that they may
    /// not see, there is none of this name.
    pub async fn authorize_in<A: Action<Resource = TenantId>>(
        &self,
        principal: &Principal,
        tenant: &str,
    ) -> Result<Authorized<A>, Refusal> {
        let own = self.authorize::<A>(principal, principal.tenant)?;
        let refused = |why, policies| Refusal {
            why: Box::new(why),
            on: NO_SUCH_TENANT.to_owned(),
            tenant: None,
            policies,
            version: own.version().clone(),
        };
        let unknown = || AccessError::UnknownTenant(tenant.to_owned());
        match self.keyring.tenant(tenant).await {
            Ok(Some(named)) => self.authorize::<A>(principal, named).map_err(|refusal| {
                // Neither what they are told nor what they may read in the log says whether there is one.
                let is_unseen = refusal.policies.iter().any(|policy| policy == WALL);
                let shown = if is_unseen { refused(unknown(), Arc::new([])) } else { refusal };
                Refusal { why: Box::new(unknown()), ..shown }
            }),
            Ok(None) => Err(refused(unknown(), Arc::new([]))),
            Err(error) => Err(refused(error, Arc::new([]))),
        }
    }

    /// Where what is done is recorded.
    pub fn audit(&self) -> &Arc<Audit> {
        self.keyring.audit()
    }

    /// The tenant of this name.
    pub async fn tenant(&self, name: &str) -> Result<Option<TenantId>, AccessError> {
        self.keyring.tenant(name).await
    }

    /// Who somebody is by name, as it is recorded; none of whoever runs the server.
    pub fn named(
        &self,
        principal: &Principal,
        address: Option<IpAddr>,
    ) -> Result<Option<Caller>, AccessError> {
        if principal.is_local() {
            return Ok(None);
        }
        let (tenant, user) = self.keyring.names_of(principal.user)?.ok_or(AccessError::Unauthenticated)?;
        let subject = subject_of_user(&user)?;
        let (tenant, user) = ((principal.tenant, &*tenant), (principal.user, &*user));
        Ok(Some(Caller::new(tenant, user, subject, address)))
    }

    /// Makes a key; the text is shown this once. In another tenant than that of the proof, or in a new one, only for those who may
    /// do it there too.
    ///
    /// Label, tenant and user have 1 to [`crate::NAME_BYTES_MAX`] printable bytes; at most [`crate::KEYS_MAX`] keys
    /// are live.
    pub async fn create_key(
        &self,
        by: &Authorized<ManageKeys>,
        key: NewKey,
    ) -> Result<(KeyView, Secret), AccessError> {
        let (keyring, granter) = (Arc::clone(&self.keyring), self.granter(by));
        carried_through(async move {
            let tenant = keyring.tenant(&key.tenant).await?.unwrap_or(ANY_TENANT);
            if !granter.covers::<ManageKeys>(tenant) {
                return Err(AccessError::UnknownTenant(key.tenant));
            }
            keyring.create(&granter, key).await
        })
        .await
    }

    /// All keys that they may see, revoked ones included, oldest first.
    pub async fn keys(&self, by: &Authorized<ManageKeys>) -> Result<Vec<KeyView>, AccessError> {
        self.keyring.all(|tenant| self.covers(by, tenant)).await
    }

    /// All users that they may see, by tenant and name.
    pub async fn users(&self, by: &Authorized<ManageUsers>) -> Result<Vec<UserView>, AccessError> {
        self.keyring.users(|tenant| self.covers(by, tenant)).await
    }

    /// Changes what a user may do, at once, and with all their keys.
    pub async fn change_user(
        &self,
        by: &Authorized<ManageUsers>,
        tenant: &str,
        user: &str,
        change: UserChange,
    ) -> Result<UserView, AccessError> {
        let (keyring, granter) = (Arc::clone(&self.keyring), self.granter(by));
        let sessions = self.sign_in.sessions().clone();
        let (tenant, user) = (tenant.to_owned(), user.to_owned());
        carried_through(async move {
            match keyring.tenant(&tenant).await? {
                Some(id) if granter.covers::<ManageUsers>(id) => {
                    let (id, changed) = keyring.change_user(&granter, &tenant, &user, change).await?;
                    if changed.suspended_at.is_some() {
                        // They do not come back by themselves when the user does.
                        sessions.end(|session| session.opened.user == id).await?;
                    }
                    Ok(changed)
                }
                _ => Err(AccessError::UnknownUser { tenant, user }),
            }
        })
        .await
    }

    /// A one-time token, good for a day, with which a local account is set up in a browser.
    pub async fn invite(
        &self,
        by: &Authorized<ManageFactors>,
        tenant: &str,
        user: &str,
    ) -> Result<Secret, AccessError> {
        let found = self.subordinate(by, tenant, user).await?;
        if self.keyring.has_account(found)? {
            return Err(AccessError::NotLocal(user.to_owned()));
        }
        let sign_in = self.sign_in.clone();
        carried_through(async move { sign_in.invite(found).await }).await
    }

    /// Takes from a user who has lost them all passkeys, the app and the recovery codes, and ends their sessions. They add new ones with
    /// their next sign-in.
    pub async fn forget_factors(
        &self,
        by: &Authorized<ManageFactors>,
        tenant: &str,
        user: &str,
    ) -> Result<(), AccessError> {
        let found = self.subordinate(by, tenant, user).await?;
        let sign_in = self.sign_in.clone();
        carried_through(async move { sign_in.forget_factors(found).await }).await
    }

    /// A user whom somebody looks after, and who may do no more than they: whoever brings them in can be them.
    async fn subordinate(
        &self,
        by: &Authorized<ManageFactors>,
        tenant: &str,
        user: &str,
    ) -> Result<UserId, AccessError> {
        let granter = self.granter(by);
        let found = self.keyring.store().user(tenant, user).await?;
        let found = found.filter(|found| granter.covers::<ManageFactors>(found.tenant_id));
        let unknown = || AccessError::UnknownUser { tenant: tenant.to_owned(), user: user.to_owned() };
        let found = found.ok_or_else(unknown)?;
        granter.check_stand_in(&found.state.rights)?;
        if found.is_service {
            return Err(AccessError::NotLocal(user.to_owned()));
        }
        Ok(found.user_id)
    }

    /// The same for the owner whom [`Self::bootstrap`] has just made.
    pub async fn invite_first(&self) -> Result<Option<Secret>, AccessError> {
        match self.keyring.store().user(FIRST_TENANT, FIRST_USER).await? {
            Some(owner) => self.sign_in.invite(owner.user_id).await.map(Some),
            None => Ok(None),
        }
    }

    pub(crate) fn granter<A: Action>(&self, by: &Authorized<A>) -> Granter {
        Granter::new(by.principal().clone(), Arc::clone(&self.policies))
    }
}

/// Follows whether a credential goes on to be one.
pub struct Standing(Option<(Arc<Keyring>, SignIn, Stands)>);

enum Stands {
    Key(KeyId),
    Session(KeyId),
    Token(Secret),
}

impl Standing {
    /// Resolves when it gives nothing any more: revoked, expired, ended, its owner suspended. Whoever is at the local socket stays.
    pub async fn ended(&self) {
        match &self.0 {
            Some((keyring, _, Stands::Key(id))) => keyring.ended(*id).await,
            Some((_, sign_in, Stands::Session(id))) => sign_in.sessions().ended(*id).await,
            Some((_, sign_in, Stands::Token(token))) => sign_in.token_ended(token).await,
            None => std::future::pending().await,
        }
    }
}

/// Ends a change also when whoever asked for it goes away: half of one would leave memory and store apart.
pub(crate) async fn carried_through<T: Send + 'static, E: From<AccessError> + Send + 'static>(
    change: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, E> {
    tokio::spawn(change).await.unwrap_or_else(|_| {
        let why = "the change was broken off; look at what became of it, and ask again";
        Err(AccessError::Unavailable(why.to_owned()).into())
    })
}

#[cfg(test)]
mod tests;
