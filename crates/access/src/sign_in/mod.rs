//! Signing in: at a provider, with a passkey of one's own, with a one-time token, from a device; and signing out.
//!
//! What comes out is a session (`sessions.rs`). It is complete when a second factor was proved: at the provider, if the settings
//! name its `acr` or `amr`, and here otherwise. Until then it is good for nothing but that.
//!
//! There are no passwords. A local account has a passkey, or a one-time token from the machine together with a code; where there
//! is a provider, such a sign-in is one in an emergency, says why, and is shouted into the log.

mod device;
mod error;
mod factors;
mod mapping;
mod own_sessions;
mod provider;
mod reason;
mod seeds;
mod standing;
mod waiting;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use audit::Facts;
use identity::{Passkeys, Pending, Provider, ProviderSettings};
use outbound::Outbound;
use store::FactorRecord;
use types::{Role, Secret, UserId};
use url::Url;
use vault::Suite;

use self::{device::Devices, factors::Ceremony, waiting::Waiting};
pub use self::{
    device::{DeviceCodes, DeviceView},
    error::{DeviceError, SignInError},
    factors::{FactorKind, FactorView, RECOVERY_CODES},
    mapping::RoleMapping,
    own_sessions::OwnSession,
    reason::Reason,
};
use crate::{
    AccessError, SessionKind, SessionLimits, Stage,
    access::carried_through,
    clock::now_s,
    key::Form,
    keyring::Keyring,
    sessions::{Opened, Session, Sessions},
};

/// How long somebody may take at the provider, or with a passkey.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(600);
/// Most sign-ins that wait at once.
const WAITING_MAX: usize = 4_096;
/// How long the id of a logout token is remembered: longer than one is accepted.
const LOGOUT_MEMORY: Duration = Duration::from_secs(900);
/// How old a proof of the second factor may be for what cannot be undone: the same as in `policy/shipped.cedar`.
pub(crate) const PRESENT_S: u64 = 900;
/// Wrong codes until somebody has to wait.
const WRONG_MAX: u64 = 5;
/// The first wait, in seconds; each further wrong code doubles it.
const LOCK_S: u64 = 30;
/// How often it doubles at most.
const LOCK_DOUBLED_MAX: u64 = 16;
/// The longest wait, in seconds.
const LOCK_S_MAX: u64 = 3_600;

/// How people sign in here.
#[derive(Clone)]
pub struct SignInSettings {
    /// The address that browsers know.
    pub public_url: Url,
    /// The identity providers.
    pub providers: Vec<ProviderSettings>,
    /// What their accounts may do here.
    pub mapping: Vec<RoleMapping>,
    /// How long sessions last.
    pub limits: SessionLimits,
    /// In which suite seeds of apps are sealed. All are opened.
    pub suite: Suite,
}

impl SignInSettings {
    /// Without any provider, on this machine.
    pub(crate) fn alone() -> Self {
        #[allow(clippy::expect_used)] // A constant, which the tests read.
        let public_url = Url::parse("http://localhost").expect("an address");
        Self {
            public_url,
            providers: Vec::new(),
            mapping: Vec::new(),
            limits: SessionLimits::default(),
            suite: Suite::default(),
        }
    }
}

/// The door for those who sign in. Gives sessions, and never a principal.
#[derive(Clone)]
pub struct SignIn(Arc<Inner>);

struct Inner {
    keyring: Arc<Keyring>,
    sessions: Arc<Sessions>,
    providers: Vec<Provider>,
    mapping: Vec<RoleMapping>,
    public_url: Url,
    passkeys: Option<Passkeys>,
    flows: Mutex<Waiting<Flow>>,
    ceremonies: Mutex<Waiting<Ceremony>>,
    logouts: Mutex<Waiting<()>>,
    devices: Mutex<Devices>,
    attempts: Mutex<HashMap<UserId, Attempts>>,
    factors: RwLock<HashMap<UserId, Vec<FactorRecord>>>,
    suite: Suite,
    /// Held while factors are changed.
    changing: tokio::sync::Mutex<()>,
    /// Held while what a provider pushes is taken in: each change follows from all that was said before.
    provisioning: tokio::sync::Mutex<()>,
}

/// A sign-in that has gone to a provider.
struct Flow {
    /// Which browser began it.
    browser: String,
    provider: usize,
    pending: Pending,
    next: String,
}

/// Wrong codes of a user since their last right one.
#[derive(Clone, Copy, Default)]
struct Attempts {
    wrong: u64,
    /// Seconds since 1970.
    until: u64,
}

/// Whoever has signed in just now.
pub struct SignedIn {
    /// The secret of the session, for the browser.
    pub session: Secret,
    /// Whether the second factor is still to come.
    pub stage: Stage,
    /// Where they wanted to go.
    pub next: String,
}

/// A session, as its owner sees it.
pub struct SessionView {
    /// The tenant's name.
    pub tenant: String,
    /// The user's name.
    pub user: String,
    /// What they are.
    pub role: Role,
    /// What it is used by.
    pub kind: SessionKind,
    /// How far it has come.
    pub stage: Stage,
    /// When they last proved that they are there themselves: seconds since 1970.
    pub present_at: Option<u64>,
    /// When it ends at the latest: seconds since 1970.
    pub expires_at: u64,
    /// What they can prove themselves with here.
    pub factors: Vec<FactorView>,
    /// The provider that asks for the second factor, if it is not asked for here.
    pub second_factor_at: Option<String>,
    /// Whether factors may be added and removed now.
    pub may_change_factors: bool,
}

impl SessionView {
    /// Seconds until it ends at the latest.
    pub fn expires_in(&self) -> u64 {
        self.expires_at.saturating_sub(now_s())
    }
}

impl SignIn {
    pub(crate) async fn open(
        keyring: Arc<Keyring>,
        settings: SignInSettings,
        outbound: Option<Outbound>,
    ) -> Result<Self, AccessError> {
        let mut factors: HashMap<UserId, Vec<FactorRecord>> = HashMap::new();
        for factor in keyring.store().factors().await? {
            factors.entry(factor.user).or_default().push(factor);
        }
        let wrong_codes = keyring.store().wrong_codes().await?.into_iter();
        let attempts = wrong_codes.map(|(user, wrong, until)| (user, Attempts { wrong, until })).collect();
        let SignInSettings { public_url, providers, mapping, limits, suite } = settings;
        let providers = outbound.map_or_else(Vec::new, |outbound| {
            providers.into_iter().map(|provider| Provider::new(provider, outbound.clone())).collect()
        });
        Ok(Self(Arc::new(Inner {
            sessions: Arc::new(Sessions::open(keyring.clone(), limits).await?),
            keyring,
            providers,
            mapping,
            passkeys: Passkeys::new(&public_url).ok(),
            public_url,
            flows: Mutex::new(Waiting::new(ANSWER_WAIT_MAX, WAITING_MAX)),
            ceremonies: Mutex::new(Waiting::new(ANSWER_WAIT_MAX, WAITING_MAX)),
            logouts: Mutex::new(Waiting::new(LOGOUT_MEMORY, WAITING_MAX)),
            devices: Mutex::new(Devices::new()),
            attempts: Mutex::new(attempts),
            factors: RwLock::new(factors),
            suite,
            changing: tokio::sync::Mutex::default(),
            provisioning: tokio::sync::Mutex::default(),
        })))
    }

    pub(crate) fn sessions(&self) -> &Arc<Sessions> {
        &self.0.sessions
    }

    /// The address that browsers know.
    pub fn public_url(&self) -> &Url {
        &self.0.public_url
    }

    /// The configured names of the providers.
    pub fn providers(&self) -> Vec<&str> {
        self.0.providers.iter().map(|provider| provider.settings().name.as_str()).collect()
    }

    /// Whether passkeys can be made for this site.
    pub fn has_passkeys(&self) -> bool {
        self.0.passkeys.is_some()
    }

    /// A session, also one that lacks the second factor.
    pub fn session(&self, secret: &Secret) -> Result<SessionView, SignInError> {
        let session = self.found(secret)?;
        let user = session.opened.user;
        let names = self.0.keyring.names_of(user)?.ok_or(AccessError::Unauthenticated)?;
        let principal = self.0.keyring.principal_of(user)?.ok_or(AccessError::Unauthenticated)?;
        Ok(SessionView {
            tenant: names.0.to_string(),
            user: names.1.to_string(),
            role: principal.role,
            kind: session.opened.kind,
            stage: session.opened.stage,
            present_at: session.opened.present_at,
            expires_at: session.expires_at,
            factors: self.factor_views(user),
            second_factor_at: self.second_factor_at(&session).map(str::to_owned),
            may_change_factors: self.check_change(&session).is_ok(),
        })
    }

    /// Redeems a one-time token, which then is of no use any more. `reason` is needed where there is a provider.
    pub async fn redeem_setup(&self, token: &Secret, reason: Option<&str>) -> Result<SignedIn, SignInError> {
        let setup = self.0.sessions.find(Form::Setup, token)?;
        let kind = self.local_kind(setup.opened.user, reason).await?;
        let sessions = self.0.sessions.clone();
        carried_through(async move {
            if sessions.end(|session| session.id == setup.id).await? == 0 {
                return Err(AccessError::Unauthenticated.into());
            }
            let opened = Opened { kind, stage: Stage::FirstFactor, present_at: None, ..setup.opened };
            let session = sessions.begin(opened, None).await?;
            Ok(SignedIn { session, stage: Stage::FirstFactor, next: String::new() })
        })
        .await
    }

    /// A one-time token for a local account.
    pub(crate) async fn invite(&self, user: UserId) -> Result<Secret, AccessError> {
        self.0
            .sessions
            .end(|session| session.opened.user == user && session.opened.kind == SessionKind::Setup)
            .await?;
        let opened = Opened {
            user,
            kind: SessionKind::Setup,
            stage: Stage::FirstFactor,
            actions: Vec::new(),
            present_at: None,
            account: None,
            issuer_session: None,
        };
        self.0.sessions.begin(opened, None).await
    }

    /// Ends a session. Returns where its owner signs out at the provider, if they came from one.
    pub async fn sign_out(&self, secret: &Secret) -> Result<Option<Url>, SignInError> {
        let session = self.found(secret)?;
        self.0.sessions.end(|other| other.id == session.id).await?;
        let provider = session.opened.account.as_ref().and_then(|(issuer, _)| self.provider_of(issuer));
        Ok(match provider {
            Some(provider) => provider.end_session(&self.at("/auth")).await,
            None => None,
        })
    }

    /// Ends the session that a browser had before it signed in anew, whoever's it was.
    pub async fn replaced(&self, before: &Secret) -> Result<(), SignInError> {
        // It may be over already.
        let Ok(session) = self.found(before) else { return Ok(()) };
        self.0.sessions.end(|other| other.id == session.id).await?;
        Ok(())
    }

    /// Ends all other sessions of the owner of this one.
    pub async fn sign_out_elsewhere(&self, secret: &Secret) -> Result<usize, SignInError> {
        let own = self.found(secret)?;
        let (id, user) = (own.id, own.opened.user);
        Ok(self.0.sessions.end(|other| other.opened.user == user && other.id != id).await?)
    }

    /// A session that goes on under a new secret, with what was proved just now: whoever knew the old one has nothing.
    async fn advance(&self, session: &Session) -> Result<Secret, SignInError> {
        let opened = Opened { stage: Stage::Complete, present_at: Some(now_s()), ..session.opened.clone() };
        // What was complete before lasts no longer than it would have.
        let until = (session.opened.stage == Stage::Complete).then_some(session.expires_at);
        let secret = self.0.sessions.begin(opened, until).await?;
        self.0.sessions.end(|other| other.id == session.id).await?;
        Ok(secret)
    }

    fn found(&self, secret: &Secret) -> Result<Session, SignInError> {
        Ok(self.0.sessions.find(Form::Session, secret)?)
    }

    /// A session of a browser: those of programs prove nothing, let nobody in and change no factors, so that one that was stolen
    /// cannot make itself last.
    fn in_browser(&self, secret: &Secret) -> Result<Session, SignInError> {
        let session = self.found(secret)?;
        match session.opened.kind {
            SessionKind::Browser | SessionKind::BreakGlass => Ok(session),
            SessionKind::Cli | SessionKind::BreakGlassCli | SessionKind::Workload | SessionKind::Setup => {
                Err(AccessError::Unauthenticated.into())
            }
        }
    }

    /// What a sign-in without the provider is, of a local account. Where there is a provider, it says why.
    async fn local_kind(&self, user: UserId, reason: Option<&str>) -> Result<SessionKind, SignInError> {
        let names = self.0.keyring.names_of(user)?.ok_or(AccessError::Unauthenticated)?;
        if self.0.keyring.principal_of(user)?.is_none() || self.0.keyring.has_account(user)? {
            return Err(AccessError::Unauthenticated.into());
        }
        if self.0.providers.is_empty() {
            return Ok(SessionKind::Browser);
        }
        let reason = Reason::try_from(reason.unwrap_or_default())?;
        let reason = reason.as_str();
        self.0.keyring.record(user, true, ("break_glass", "begun"), Facts::none(), Some(reason)).await?;
        let (tenant, user) = names;
        tracing::warn!(alarm = "break_glass", %tenant, %user, reason, "somebody signs in without the provider");
        Ok(SessionKind::BreakGlass)
    }

    /// The provider that asks for the second factor of a session, if it is not asked for here.
    fn second_factor_at(&self, session: &Session) -> Option<&str> {
        let (issuer, _) = session.opened.account.as_ref()?;
        let settings = self.provider_of(issuer)?.settings();
        settings.asks_for_second_factor().then_some(settings.name.as_str())
    }

    fn provider_of(&self, issuer: &str) -> Option<&Provider> {
        self.0.providers.iter().find(|provider| provider.settings().issuer == issuer)
    }

    /// An address of this server.
    fn at(&self, path: &str) -> Url {
        let mut url = self.0.public_url.clone();
        url.set_path(path);
        url
    }

    /// Whether somebody has to wait, after too many wrong codes.
    fn check_attempts(&self, user: UserId) -> Result<(), SignInError> {
        let until = locked(&self.0.attempts).get(&user).map_or(0, |attempts| attempts.until);
        // The clock may have been set.
        match until.saturating_sub(now_s()).min(LOCK_S_MAX) {
            0 => Ok(()),
            left => Err(SignInError::LockedOut(left)),
        }
    }

    /// Counts a wrong code of an account, in whichever of its sessions; it is said in this one.
    fn wrong(&self, opened: &Opened, what: &'static str) {
        let (user, in_emergency) = (opened.user, opened.kind.is_emergency());
        let mut all = locked(&self.0.attempts);
        let attempts = all.entry(user).or_default();
        attempts.wrong += 1;
        let wait = attempts.wrong.checked_sub(WRONG_MAX);
        let wait = wait.map(|more| (LOCK_S << more.min(LOCK_DOUBLED_MAX)).min(LOCK_S_MAX));
        if let Some(wait_s) = wait {
            attempts.until = now_s() + wait_s;
        }
        let Attempts { wrong, until } = *attempts;
        self.store().note_wrong_codes(user, wrong, until);
        drop(all);
        let facts = Facts::none().with("of", what).with("wrong", wrong);
        let keyring = self.0.keyring.clone();
        // Who guesses need not wait for the disk; that it counts is certain already.
        tokio::spawn(async move {
            keyring.record_after(user, in_emergency, ("wrong_code", "refused"), facts).await;
        });
        if let Some(wait_s) = wait {
            let (tenant, user) = self.0.keyring.names_of(user).ok().flatten().unwrap_or_default();
            tracing::warn!(alarm = "wrong_codes", what, %tenant, %user, wrong, wait_s, "an account is locked");
        }
    }

    fn right(&self, user: UserId) {
        if locked(&self.0.attempts).remove(&user).is_some() {
            self.store().note_wrong_codes(user, 0, 0);
        }
    }
}

/// What is behind it is whole also if a thread died with it: each change is one step.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
