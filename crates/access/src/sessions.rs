//! Login sessions: opaque, kept here, and ended from here. A browser or a command holds a secret that names one; what it gives is what
//! its user may at that moment.

use std::{
    collections::HashMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use audit::Facts;
use store::{SessionRecord, StoreError};
use tokio::time::timeout;
use types::{OutOfRange, Principal, Scope, Secret, UserId};

use crate::{
    AccessError,
    access::carried_through,
    clock::now_s,
    key::{Form, Key, KeyId},
    keyring::Keyring,
};

/// Most sessions of all users. Bounds the memory: about 400 bytes each.
pub const SESSIONS_MAX: usize = 100_000;
/// Most sessions of one user; with one more, the one that was not used for longest ends.
pub const SESSIONS_OF_USER_MAX: usize = 32;
/// How often it is written down that a session is used, in seconds.
const SEEN_S: u64 = 60;
/// Longest between two looks at whether a session has expired: the clock may have been set.
const LOOK_MAX_S: u64 = 60;
/// How long a one-time token to set up an account is good for, in seconds.
const SETUP_S: u64 = 24 * 3_600;
/// How long a sign-in without the provider lasts, in seconds.
const BREAK_GLASS_S: u64 = 3_600;
/// How long a workload's session lasts, in seconds.
const WORKLOAD_S: u64 = 15 * 60;
/// How long there is time for the second factor, in seconds.
const FIRST_FACTOR_S: u64 = 15 * 60;

/// How long sessions last, in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionLimits {
    /// Longest that a browser's session is not used.
    pub idle_s: u64,
    /// Longest that a browser's session lasts, however much it is used.
    pub absolute_s: u64,
    /// Longest that a session of the commands lasts.
    pub cli_s: u64,
}

impl Default for SessionLimits {
    fn default() -> Self {
        Self { idle_s: 30 * 60, absolute_s: 12 * 3_600, cli_s: 7 * 24 * 3_600 }
    }
}

/// What a session is used by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SessionKind {
    /// A browser.
    Browser,
    /// A browser, signed in without the provider where there is one.
    BreakGlass,
    /// The commands, on somebody's own machine.
    Cli,
    /// The same, let in by a browser that was signed in without the provider.
    BreakGlassCli,
    /// A program that showed a token of its platform.
    Workload,
    /// Nothing but setting up an account, once.
    Setup,
}

/// How far a sign-in has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// The second factor is missing: good for that, and nothing else.
    FirstFactor,
    /// Done.
    Complete,
}

const KINDS: [(SessionKind, &str); 6] = [
    (SessionKind::Browser, "browser"),
    (SessionKind::BreakGlass, "break_glass"),
    (SessionKind::Cli, "cli"),
    (SessionKind::BreakGlassCli, "break_glass_cli"),
    (SessionKind::Workload, "workload"),
    (SessionKind::Setup, "setup"),
];
const STAGES: [(Stage, &str); 2] = [(Stage::FirstFactor, "first_factor"), (Stage::Complete, "complete")];

fn name_of<T: PartialEq>(names: &[(T, &'static str)], value: &T) -> &'static str {
    names.iter().find(|(known, _)| known == value).map_or("", |(_, name)| name)
}

fn named<T: Copy>(names: &[(T, &'static str)], name: &str) -> Option<T> {
    names.iter().find(|(_, known)| *known == name).map(|(value, _)| *value)
}

impl SessionKind {
    /// Its name in lists.
    pub fn as_str(self) -> &'static str {
        name_of(&KINDS, &self)
    }

    /// Whether somebody came in without the provider, where there is one.
    pub(crate) fn is_emergency(self) -> bool {
        matches!(self, Self::BreakGlass | Self::BreakGlassCli)
    }

    fn form(self) -> Form {
        if self == Self::Setup { Form::Setup } else { Form::Session }
    }
}

/// Who has signed in, and how.
#[derive(Debug, Clone)]
pub(crate) struct Opened {
    pub(crate) user: UserId,
    pub(crate) kind: SessionKind,
    pub(crate) stage: Stage,
    pub(crate) actions: Vec<String>,
    pub(crate) present_at: Option<u64>,
    /// The provider's issuer and the account there.
    pub(crate) account: Option<(String, String)>,
    pub(crate) issuer_session: Option<String>,
}

/// A session that is in force.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    pub(crate) id: KeyId,
    pub(crate) opened: Opened,
    pub(crate) created_at: u64,
    pub(crate) seen_at: u64,
    pub(crate) expires_at: u64,
}

struct Live {
    hash: [u8; 32],
    session: Session,
    seen_at: AtomicU64,
}

/// All sessions: in the store, and in memory.
pub(crate) struct Sessions {
    keyring: Arc<Keyring>,
    limits: SessionLimits,
    live: RwLock<HashMap<KeyId, Live>>,
}

impl Sessions {
    pub(crate) async fn open(keyring: Arc<Keyring>, limits: SessionLimits) -> Result<Self, StoreError> {
        let (mut live, mut over, now) = (HashMap::new(), Vec::new(), now_s());
        for record in keyring.store().sessions().await? {
            match of_record(&record).filter(|found| found.session.expires_at > now) {
                Some(found) => drop(live.insert(found.session.id, found)),
                // Also what somebody else wrote: it opens no door.
                None => over.push(record.id),
            }
        }
        if !over.is_empty() {
            keyring.store().delete_sessions(over).await?;
        }
        Ok(Self { keyring, limits, live: RwLock::new(live) })
    }

    /// Begins a session; its secret is returned this once. It ends at `until` (seconds since 1970) at the latest.
    pub(crate) async fn begin(&self, opened: Opened, until: Option<u64>) -> Result<Secret, AccessError> {
        let key = Key::random().map_err(|error| AccessError::Unavailable(error.to_string()))?;
        let (now, form) = (now_s(), opened.kind.form());
        let lasts = match (opened.stage, opened.kind) {
            (_, SessionKind::Setup) => SETUP_S,
            (Stage::FirstFactor, _) => FIRST_FACTOR_S,
            (Stage::Complete, SessionKind::Browser) => self.limits.absolute_s,
            (Stage::Complete, SessionKind::BreakGlass | SessionKind::BreakGlassCli) => {
                BREAK_GLASS_S.min(self.limits.absolute_s)
            }
            (Stage::Complete, SessionKind::Cli) => self.limits.cli_s,
            (Stage::Complete, SessionKind::Workload) => WORKLOAD_S,
        };
        let expires_at = until.map_or(now + lasts, |until| until.min(now + lasts));
        let session = Session { id: key.id(), opened, created_at: now, seen_at: now, expires_at };
        let hash = self.keyring.pepper().hash(&key);
        let Opened { user, kind, stage, .. } = &session.opened;
        let user = *user;
        let facts = Facts::none().with("session", key.id()).with("kind", kind.as_str());
        let facts = facts.with("stage", name_of(&STAGES, stage));
        let doing = self.keyring.begin(user, kind.is_emergency(), "session_begin", facts).await?;
        let begun = async {
            self.make_room(user, now).await?;
            self.keyring.store().put_session(record(&session, hash)).await?;
            let live = Live { hash, seen_at: AtomicU64::new(now), session };
            self.live.write().map_err(broken)?.insert(key.id(), live);
            Ok(key.text(form))
        };
        doing.end(begun.await).await
    }

    /// Ends what has expired, and the session of this user that was not used for longest if there are too many.
    async fn make_room(&self, user: UserId, now: u64) -> Result<(), AccessError> {
        let (over, pushed_out): (Vec<KeyId>, Vec<KeyId>) = {
            let live = self.live.read().map_err(broken)?;
            let mut over: Vec<KeyId> =
                live.values().filter(|live| !self.in_force(live, now)).map(|live| live.session.id).collect();
            let mut own: Vec<_> = live
                .values()
                .filter(|live| live.session.opened.user == user && self.in_force(live, now))
                .map(|live| (live.seen_at.load(Ordering::Relaxed), live.session.id))
                .collect();
            own.sort_unstable_by_key(|(seen_at, _)| *seen_at);
            let many = (own.len() + 1).saturating_sub(SESSIONS_OF_USER_MAX);
            let pushed_out: Vec<KeyId> = own.into_iter().take(many).map(|(_, id)| id).collect();
            over.extend(&pushed_out);
            if live.len() - over.len() >= SESSIONS_MAX {
                return Err(OutOfRange::new("sessions", live.len(), format!("at most {SESSIONS_MAX}")).into());
            }
            (over, pushed_out)
        };
        self.end_all(over).await?;
        for id in pushed_out {
            let facts = Facts::none().with("session", id).with("why", "too many sessions");
            self.keyring.record_after(user, false, ("session_end", "done"), facts).await;
        }
        Ok(())
    }

    /// The session of a secret. Unknown, over and wrong look the same and take the same time.
    pub(crate) fn find(&self, form: Form, secret: &Secret) -> Result<Session, AccessError> {
        const HASH_OF_NONE: [u8; 32] = [0; 32];
        let key = Key::parse(form, secret).ok_or(AccessError::Unauthenticated)?;
        let now = now_s();
        let live = self.live.read().map_err(broken)?;
        let found = live.get(&key.id());
        let matches = self.keyring.pepper().matches(&key, found.map_or(&HASH_OF_NONE, |live| &live.hash));
        let found = found
            .filter(|live| matches && live.session.opened.kind.form() == form && self.in_force(live, now));
        let found = found.ok_or(AccessError::Unauthenticated)?;
        if now - found.seen_at.load(Ordering::Relaxed).min(now) >= SEEN_S {
            found.seen_at.store(now, Ordering::Relaxed);
            self.keyring.store().touch_sessions(vec![(key.id().to_string(), now)]);
        }
        Ok(Session { seen_at: now, ..found.session.clone() })
    }

    /// What a session gives now.
    pub(crate) fn holder(&self, secret: &Secret) -> Result<Principal, AccessError> {
        let session = self.find(Form::Session, secret)?;
        let Opened { user, actions, present_at, kind, .. } = session.opened;
        let principal = self.keyring.principal_of(user)?.ok_or(AccessError::Unauthenticated)?;
        if session.opened.stage == Stage::FirstFactor {
            return Err(AccessError::SecondFactorMissing);
        }
        let (scope, break_glass) = (Scope::new(None, actions, Vec::new()), kind.is_emergency());
        Ok(Principal { scope, present_at, break_glass, ..principal })
    }

    fn in_force(&self, live: &Live, now: u64) -> bool {
        let idle = match live.session.opened.kind {
            SessionKind::Browser | SessionKind::BreakGlass => self.limits.idle_s,
            SessionKind::Cli | SessionKind::BreakGlassCli | SessionKind::Workload | SessionKind::Setup => {
                u64::MAX
            }
        };
        now < live.session.expires_at && now.saturating_sub(live.seen_at.load(Ordering::Relaxed)) < idle
    }

    /// The sessions for which this holds.
    pub(crate) fn of(&self, is_meant: impl Fn(&Session) -> bool) -> Result<Vec<Session>, AccessError> {
        let now = now_s();
        let live = self.live.read().map_err(broken)?;
        let in_force = live.values().filter(|live| self.in_force(live, now) && is_meant(&live.session));
        let seen =
            |live: &Live| Session { seen_at: live.seen_at.load(Ordering::Relaxed), ..live.session.clone() };
        Ok(in_force.map(seen).collect())
    }

    /// Ends sessions, with what is in work for them. They are over from the first moment on, also when the store then fails.
    pub(crate) async fn end(&self, is_meant: impl Fn(&Session) -> bool) -> Result<usize, AccessError> {
        let ended = self.of(is_meant)?;
        self.end_all(ended.iter().map(|session| session.id).collect()).await?;
        for session in &ended {
            let Opened { user, kind, .. } = &session.opened;
            let facts = Facts::none().with("session", session.id).with("kind", kind.as_str());
            self.keyring.record_after(*user, kind.is_emergency(), ("session_end", "done"), facts).await;
        }
        Ok(ended.len())
    }

    async fn end_all(&self, ids: Vec<KeyId>) -> Result<(), AccessError> {
        if ids.is_empty() {
            return Ok(());
        }
        {
            let mut live = self.live.write().map_err(broken)?;
            for id in &ids {
                live.remove(id);
            }
        }
        self.keyring.tell_taken();
        let ids = ids.iter().map(ToString::to_string).collect();
        let keyring = self.keyring.clone();
        // Also when whoever asked for it goes away: it must not come back with a restart.
        carried_through(async move {
            keyring.store().delete_sessions(ids).await.map_err(|error| {
                AccessError::Unavailable(format!(
                    "{error}; the session is refused from now on, but only until the server restarts: end it again before"
                ))
            })
        })
        .await
    }

    /// Resolves when a session is over: ended, expired, or its user suspended. An answer that runs is use enough.
    pub(crate) async fn ended(&self, id: KeyId) {
        let mut taken = self.keyring.taken();
        loop {
            let now = now_s();
            let expires_at = {
                let Ok(live) = self.live.read() else { return };
                let Some(found) = live.get(&id).filter(|live| now < live.session.expires_at) else { return };
                found.seen_at.store(now, Ordering::Relaxed);
                let user = found.session.opened.user;
                if !matches!(self.keyring.principal_of(user), Ok(Some(_))) {
                    return;
                }
                found.session.expires_at
            };
            let look = Duration::from_secs((expires_at - now).min(LOOK_MAX_S));
            // The sender lives as long as we do.
            let _ = timeout(look, taken.changed()).await;
        }
    }
}

fn record(session: &Session, hash: [u8; 32]) -> SessionRecord {
    let Session { id, opened, created_at, seen_at, expires_at } = session.clone();
    SessionRecord {
        id: id.to_string(),
        hash,
        user: opened.user,
        kind: opened.kind.as_str().to_owned(),
        stage: name_of(&STAGES, &opened.stage).to_owned(),
        created_at,
        seen_at,
        expires_at,
        actions: opened.actions,
        present_at: opened.present_at,
        account: opened.account,
        issuer_session: opened.issuer_session,
    }
}

/// None for what no session can be.
fn of_record(record: &SessionRecord) -> Option<Live> {
    let opened = Opened {
        user: record.user,
        kind: named(&KINDS, &record.kind)?,
        stage: named(&STAGES, &record.stage)?,
        actions: record.actions.clone(),
        present_at: record.present_at,
        account: record.account.clone(),
        issuer_session: record.issuer_session.clone(),
    };
    let id = KeyId::parse(record.id.as_bytes())?;
    let SessionRecord { created_at, seen_at, expires_at, .. } = *record;
    let session = Session { id, opened, created_at, seen_at, expires_at };
    Some(Live { hash: record.hash, session, seen_at: AtomicU64::new(seen_at) })
}

/// A thread died while it changed the index: what the index says can no longer be trusted.
fn broken<T>(_: PoisonError<T>) -> AccessError {
    AccessError::Unavailable("the index of sessions is broken; restart the server".to_owned())
}

#[cfg(test)]
mod tests;
