//! Second factors that are kept here: passkeys, codes of an app, and recovery codes.

use std::sync::PoisonError;

use audit::Facts;
use data_encoding::HEXLOWER;
use identity::{
    Enrolment, IdentityError, PasskeyChallenge, PasskeyProof, PasskeySignInPending, PendingPasskey, Totp,
    recovery_code,
};
use serde_json::Value;
use store::FactorRecord;
use types::{Secret, UserId};
use zeroize::Zeroizing;

use super::{SignIn, SignInError, SignedIn, locked, own_sessions::is_present};
use crate::{
    AccessError, NAME_BYTES_MAX, Stage,
    access::carried_through,
    clock::now_s,
    key_values::check_name,
    recorded::Doing,
    sessions::{Opened, Session},
};

#[cfg(test)]
mod tests;

/// How many recovery codes somebody has.
pub const RECOVERY_CODES: usize = 10;
/// Most passkeys of one user.
const PASSKEYS_MAX: usize = 16;
/// What stands in the place of a time when something must not have been used at all.
const NEVER_USED: u64 = 0;
/// Later than any use.
const ALWAYS: u64 = i64::MAX as u64;
/// Random bytes of an id.
const ID_BYTES: usize = 12;

/// What somebody proves themselves with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FactorKind {
    /// A key in a device, which checks who holds it.
    Passkey,
    /// Codes of an app.
    Totp,
    /// A code on paper, good once.
    Recovery,
}

impl FactorKind {
    const ALL: [Self; 3] = [Self::Passkey, Self::Totp, Self::Recovery];

    /// Its name in lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passkey => "passkey",
            Self::Totp => "totp",
            Self::Recovery => "recovery",
        }
    }
}

/// A factor, as its owner sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorView {
    /// Names it when it is removed.
    pub id: String,
    /// What it is.
    pub kind: FactorKind,
    /// What its owner calls it.
    pub label: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Whether a recovery code was used.
    pub is_used: bool,
}

/// Something that a browser was asked and has not answered yet.
pub(crate) enum Ceremony {
    Registration { session: Session, pending: PendingPasskey },
    Proof { session: Session, pending: PasskeyProof },
    SignIn { browser: String, pending: PasskeySignInPending },
    Totp { session: Session, totp: Totp },
}

impl SignIn {
    pub(super) fn factor_views(&self, user: UserId) -> Vec<FactorView> {
        let view = |factor: FactorRecord| {
            let kind = FactorKind::ALL.into_iter().find(|kind| kind.as_str() == factor.kind)?;
            let FactorRecord { id, label, created_at, used, .. } = factor;
            Some(FactorView {
                id,
                kind,
                label,
                created_at,
                is_used: kind == FactorKind::Recovery && used.is_some(),
            })
        };
        self.factors(user).into_iter().filter_map(view).collect()
    }

    fn factors(&self, user: UserId) -> Vec<FactorRecord> {
        let all = self.0.factors.read().unwrap_or_else(PoisonError::into_inner);
        all.get(&user).cloned().unwrap_or_default()
    }

    fn of_kind(&self, user: UserId, kind: FactorKind) -> Vec<FactorRecord> {
        let is_meant = |factor: &FactorRecord| factor.kind == kind.as_str();
        self.factors(user).into_iter().filter(is_meant).collect()
    }

    fn passkeys_of(&self, user: UserId) -> (Vec<FactorRecord>, Vec<String>) {
        let records = self.of_kind(user, FactorKind::Passkey);
        let texts = records.iter().map(|record| String::from_utf8_lossy(&record.data).into_owned()).collect();
        (records, texts)
    }

    fn passkeys(&self) -> Result<&identity::Passkeys, SignInError> {
        self.0.passkeys.as_ref().ok_or(SignInError::NoPasskeys)
    }

    /// The first factor may be added by whoever has signed in so far; everything else only by who has just proved one.
    pub(super) fn check_change(&self, session: &Session) -> Result<(), SignInError> {
        if self.second_factor_at(session).is_some() {
            return Err(SignInError::SecondFactorElsewhere);
        }
        let may = match session.opened.stage {
            Stage::FirstFactor => self.factors(session.opened.user).is_empty(),
            Stage::Complete => is_present(session),
        };
        if may { Ok(()) } else { Err(SignInError::StepUp) }
    }

    fn ask(&self, ceremony: Ceremony) -> Result<String, SignInError> {
        let id = random_id()?;
        locked(&self.0.ceremonies).insert(id.clone(), ceremony);
        Ok(id)
    }

    fn answered(&self, id: &str) -> Result<Ceremony, SignInError> {
        locked(&self.0.ceremonies).take(id).ok_or(SignInError::Unknown)
    }

    /// Begins to add a passkey. The id is to be given back with what the browser says.
    pub fn begin_passkey(&self, secret: &Secret) -> Result<(String, PasskeyChallenge), SignInError> {
        let session = self.in_browser(secret)?;
        self.check_change(&session)?;
        let user = session.opened.user;
        let (_, kept) = self.passkeys_of(user);
        if kept.len() >= PASSKEYS_MAX {
            return Err(SignInError::TooManyFactors);
        }
        let (tenant, name) = self.0.keyring.names_of(user)?.ok_or(AccessError::Unauthenticated)?;
        let name = format!("{name} ({tenant})");
        let (challenge, pending) = self.passkeys()?.begin_registration(self.handle(user), &name, &kept)?;
        Ok((self.ask(Ceremony::Registration { session, pending })?, challenge))
    }

    /// Adds a passkey.
    pub async fn finish_passkey(
        &self,
        secret: &Secret,
        id: &str,
        label: &str,
        said: &Value,
    ) -> Result<(Secret, Vec<Secret>), SignInError> {
        let session = self.in_browser(secret)?;
        check_name("label", label).map_err(AccessError::from)?;
        let Ceremony::Registration { session: asked, pending } = self.answered(id)? else {
            return Err(SignInError::Unknown);
        };
        if asked.id != session.id {
            return Err(SignInError::Unknown);
        }
        let passkey = self.passkeys()?.finish_registration(&pending, said)?;
        let (sign_in, label) = (self.clone(), label.to_owned());
        carried_through(async move {
            sign_in.added(&session, FactorKind::Passkey, label, passkey.into_bytes(), None, true).await
        })
        .await
    }

    /// Begins to add the codes of an app; those that were there before go when this one is proved.
    pub fn begin_totp(&self, secret: &Secret) -> Result<(String, Enrolment), SignInError> {
        let session = self.in_browser(secret)?;
        self.check_change(&session)?;
        let (tenant, name) =
            self.0.keyring.names_of(session.opened.user)?.ok_or(AccessError::Unauthenticated)?;
        let totp = Totp::random()?;
        let enrolment = totp.enrolment(&format!("{name} ({tenant})"))?;
        Ok((self.ask(Ceremony::Totp { session, totp })?, enrolment))
    }

    /// Adds them, with a first code that shows that the app has them.
    pub async fn finish_totp(
        &self,
        secret: &Secret,
        id: &str,
        code: &str,
    ) -> Result<(Secret, Vec<Secret>), SignInError> {
        let session = self.in_browser(secret)?;
        let Ceremony::Totp { session: asked, totp } = self.answered(id)? else {
            return Err(SignInError::Unknown);
        };
        if asked.id != session.id {
            return Err(SignInError::Unknown);
        }
        let Some(step) = totp.step_of(code, now_s()) else {
            // It can be tried again with the same seed: nobody is in any further by it.
            let again = Ceremony::Totp { session: asked, totp };
            locked(&self.0.ceremonies).insert(id.to_owned(), again);
            return Err(SignInError::WrongCode);
        };
        let sealed = self.sealed(session.opened.user, totp.seed())?;
        let (sign_in, label) = (self.clone(), "authenticator app".to_owned());
        carried_through(async move {
            sign_in.added(&session, FactorKind::Totp, label, sealed, Some(step), false).await
        })
        .await
    }

    /// Keeps a factor. With the first one come the recovery codes. The session goes on, as proved, under a new secret.
    async fn added(
        &self,
        session: &Session,
        kind: FactorKind,
        label: String,
        data: Vec<u8>,
        step: Option<u64>,
        kept: bool,
    ) -> Result<(Secret, Vec<Secret>), SignInError> {
        let _changing = self.0.changing.lock().await;
        // It may have got a factor in another window meanwhile.
        self.check_change(session)?;
        let user = session.opened.user;
        let is_first = self.factors(user).is_empty();
        let (id, kind_name) = (random_id()?, kind.as_str().to_owned());
        let doing = self.begin_change(session, "factor_add", kind.as_str(), &id).await?;
        let record = FactorRecord { id, user, kind: kind_name, label, data, used: step, created_at: now_s() };
        let codes = async {
            self.store()
                .add_factors(user, kind.as_str(), vec![record], kept)
                .await
                .map_err(AccessError::from)?;
            self.reload().await?;
            if is_first { self.new_codes(user).await } else { Ok(Vec::new()) }
        };
        let codes = doing.end(codes.await).await?;
        Ok((self.advance(session).await?, codes))
    }

    async fn begin_change(
        &self,
        session: &Session,
        what: &str,
        kind: &str,
        id: &str,
    ) -> Result<Doing, AccessError> {
        let facts = Facts::none().with("factor", id).with("kind", kind);
        let Opened { user, kind, .. } = session.opened;
        self.0.keyring.begin(user, kind.is_emergency(), what, facts).await
    }

    /// New recovery codes in the place of those that are left. They are shown this once.
    pub async fn new_recovery_codes(&self, secret: &Secret) -> Result<Vec<Secret>, SignInError> {
        let (sign_in, session) = (self.clone(), self.in_browser(secret)?);
        carried_through(async move {
            let _changing = sign_in.0.changing.lock().await;
            sign_in.check_change(&session)?;
            if sign_in.factors(session.opened.user).is_empty() {
                return Err(SignInError::UnknownFactor);
            }
            let kind = FactorKind::Recovery.as_str();
            let doing = sign_in.begin_change(&session, "factor_add", kind, "all").await?;
            doing.end(sign_in.new_codes(session.opened.user).await).await
        })
        .await
    }

    async fn new_codes(&self, user: UserId) -> Result<Vec<Secret>, SignInError> {
        let codes: Vec<String> = (0..RECOVERY_CODES).map(|_| recovery_code()).collect::<Result<_, _>>()?;
        let record = |code: &String| {
            Ok(FactorRecord {
                id: random_id()?,
                user,
                kind: FactorKind::Recovery.as_str().to_owned(),
                label: String::new(),
                data: self.hashed(user, code).to_vec(),
                used: None,
                created_at: now_s(),
            })
        };
        let records = codes.iter().map(record).collect::<Result<Vec<_>, SignInError>>()?;
        let kind = FactorKind::Recovery.as_str();
        self.store().add_factors(user, kind, records, false).await.map_err(AccessError::from)?;
        self.reload().await?;
        Ok(codes.into_iter().map(Secret::from).collect())
    }

    /// Removes a factor. The last one that is no recovery code stays: without it nobody could come in again.
    pub async fn remove_factor(&self, secret: &Secret, id: &str) -> Result<(), SignInError> {
        let (sign_in, session, id) = (self.clone(), self.in_browser(secret)?, id.to_owned());
        carried_through(async move {
            let _changing = sign_in.0.changing.lock().await;
            sign_in.check_change(&session)?;
            let user = session.opened.user;
            let recovery = FactorKind::Recovery.as_str();
            if sign_in.factors(user).iter().all(|factor| factor.kind == recovery || factor.id == id) {
                return Err(SignInError::StepUp);
            }
            let doing = sign_in.begin_change(&session, "factor_remove", "any", &id).await?;
            let removed = async {
                let is_gone = sign_in.store().delete_factor(user, &id).await.map_err(AccessError::from)?;
                sign_in.reload().await?;
                if is_gone { Ok(()) } else { Err(SignInError::UnknownFactor) }
            };
            doing.end(removed.await).await
        })
        .await
    }

    /// Takes all factors from a user who has lost them, and ends their sessions.
    pub(crate) async fn forget_factors(&self, user: UserId) -> Result<(), AccessError> {
        let _changing = self.0.changing.lock().await;
        for kind in FactorKind::ALL {
            self.store().add_factors(user, kind.as_str(), Vec::new(), false).await?;
        }
        self.reload().await?;
        self.0.sessions.end(|session| session.opened.user == user).await?;
        Ok(())
    }

    /// Asks for one of the passkeys of whoever has signed in so far.
    pub fn begin_passkey_proof(&self, secret: &Secret) -> Result<(String, PasskeyChallenge), SignInError> {
        let session = self.in_browser(secret)?;
        self.check_here(&session)?;
        let (_, kept) = self.passkeys_of(session.opened.user);
        if kept.is_empty() {
            return Err(SignInError::UnknownFactor);
        }
        let (challenge, pending) = self.passkeys()?.begin_proof(&kept)?;
        Ok((self.ask(Ceremony::Proof { session, pending })?, challenge))
    }

    /// The session goes on, as proved, under a new secret.
    pub async fn finish_passkey_proof(
        &self,
        secret: &Secret,
        id: &str,
        said: &Value,
    ) -> Result<Secret, SignInError> {
        let session = self.in_browser(secret)?;
        let Ceremony::Proof { session: asked, pending } = self.answered(id)? else {
            return Err(SignInError::Unknown);
        };
        if asked.id != session.id {
            return Err(SignInError::Unknown);
        }
        let (records, kept) = self.passkeys_of(session.opened.user);
        let (index, text) = self.passkeys()?.finish_proof(&pending, said, &kept)?;
        let (sign_in, record) = (self.clone(), records[index].clone());
        carried_through(async move {
            if !sign_in.used(&record, now_s(), ALWAYS, Some(text.into_bytes())).await? {
                return Err(SignInError::WrongCode);
            }
            sign_in.advance(&session).await
        })
        .await
    }

    /// Asks whoever is there for a passkey. The id is to be given back by the same browser.
    pub fn begin_local(&self, browser: &str) -> Result<(String, PasskeyChallenge), SignInError> {
        let (challenge, pending) = self.passkeys()?.begin_sign_in()?;
        Ok((self.ask(Ceremony::SignIn { browser: browser.to_owned(), pending })?, challenge))
    }

    /// Signs in with a passkey alone, which is two factors: the device, and what the device checks. For local accounts only: of others,
    /// the provider decides whether they come in. `reason` is needed where there is a provider.
    pub async fn finish_local(
        &self,
        browser: &str,
        id: &str,
        said: &Value,
        reason: Option<&str>,
    ) -> Result<SignedIn, SignInError> {
        let Ceremony::SignIn { browser: asked, pending } = self.answered(id)? else {
            return Err(SignInError::Unknown);
        };
        if asked != browser {
            return Err(SignInError::Unknown);
        }
        let site = self.passkeys()?;
        let sign_in = site.identify(said)?;
        let users: Vec<UserId> = {
            let all = self.0.factors.read().unwrap_or_else(PoisonError::into_inner);
            all.keys().copied().collect()
        };
        let user = users.into_iter().find(|user| self.handle(*user) == sign_in.handle);
        let user = user.ok_or(AccessError::Unauthenticated)?;
        let (records, kept) = self.passkeys_of(user);
        let (index, text) = site.finish_sign_in(pending, &sign_in, &kept)?;
        let kind = self.local_kind(user, reason).await?;
        let (sign_in, record) = (self.clone(), records[index].clone());
        let opened = Opened {
            user,
            kind,
            stage: Stage::Complete,
            actions: Vec::new(),
            present_at: Some(now_s()),
            account: None,
            issuer_session: None,
        };
        carried_through(async move {
            if !sign_in.used(&record, now_s(), ALWAYS, Some(text.into_bytes())).await? {
                return Err(SignInError::WrongCode);
            }
            let session = sign_in.0.sessions.begin(opened, None).await?;
            Ok(SignedIn { session, stage: Stage::Complete, next: String::new() })
        })
        .await
    }

    /// Proves the second factor by a code of an app. Each code counts once.
    pub async fn prove_totp(&self, secret: &Secret, code: &str) -> Result<Secret, SignInError> {
        let session = self.in_browser(secret)?;
        self.check_here(&session)?;
        let user = session.opened.user;
        self.check_attempts(user)?;
        let record = self.of_kind(user, FactorKind::Totp).pop().ok_or(SignInError::UnknownFactor)?;
        let totp = self.opened(user, &record.data)?;
        let step = totp.step_of(code, now_s());
        let right = step.map(|step| (record, step, step));
        self.proved(session, right, "totp").await
    }

    /// Proves the second factor by a recovery code, which is of no use afterwards.
    pub async fn prove_recovery(&self, secret: &Secret, code: &str) -> Result<Secret, SignInError> {
        let session = self.in_browser(secret)?;
        self.check_here(&session)?;
        let user = session.opened.user;
        self.check_attempts(user)?;
        let hash = self.hashed(user, code);
        let records = self.of_kind(user, FactorKind::Recovery);
        // Of keyed hashes, how many bytes are equal says nothing about the codes.
        let found = records.into_iter().find(|record| record.data[..] == hash[..]);
        let right = found.map(|record| (record, now_s(), NEVER_USED));
        self.proved(session, right, "recovery").await
    }

    /// The session goes on if this factor counts, used now, and not at `before` or later.
    async fn proved(
        &self,
        session: Session,
        right: Option<(FactorRecord, u64, u64)>,
        what: &'static str,
    ) -> Result<Secret, SignInError> {
        let (this, owner) = (self.clone(), session.opened.user);
        // A guess counts before anybody else has a turn: of many at once, no more are looked at than of one after the other.
        let Some((record, now, before)) = right else {
            self.wrong(&session.opened, what);
            return Err(SignInError::WrongCode);
        };
        carried_through(async move {
            if !this.used(&record, now, before, None).await? {
                if record.kind == FactorKind::Recovery.as_str() {
                    let (tenant, user) = this.0.keyring.names_of(owner)?.unwrap_or_default();
                    let facts = Facts::none().with("factor", &record.id);
                    let event = ("recovery_code_reused", "refused");
                    let in_emergency = session.opened.kind.is_emergency();
                    this.0.keyring.record_after(owner, in_emergency, event, facts).await;
                    tracing::warn!(alarm = "recovery_code_reused", %tenant, %user, "a recovery code was shown a second time");
                }
                this.wrong(&session.opened, what);
                return Err(SignInError::WrongCode);
            }
            this.right(owner);
            this.advance(&session).await
        })
        .await
    }

    /// A session whose second factor is asked for elsewhere does not get further by one of here.
    fn check_here(&self, session: &Session) -> Result<(), SignInError> {
        if self.second_factor_at(session).is_some() {
            Err(SignInError::SecondFactorElsewhere)
        } else {
            Ok(())
        }
    }

    /// Notes that a factor is used. False if it is gone, or was used at `before` or later.
    async fn used(
        &self,
        record: &FactorRecord,
        used: u64,
        before: u64,
        data: Option<Vec<u8>>,
    ) -> Result<bool, SignInError> {
        let _changing = self.0.changing.lock().await;
        let is_used =
            self.store().use_factor(&record.id, used, before, data).await.map_err(AccessError::from)?;
        self.reload().await?;
        Ok(is_used)
    }

    /// Takes in what the store has: there are few of them, and they change seldom.
    pub(super) async fn reload(&self) -> Result<(), AccessError> {
        let mut all = std::collections::HashMap::<UserId, Vec<FactorRecord>>::new();
        for factor in self.store().factors().await? {
            all.entry(factor.user).or_default().push(factor);
        }
        *self.0.factors.write().unwrap_or_else(PoisonError::into_inner) = all;
        Ok(())
    }

    /// What devices know a user by: nothing that says who it is.
    fn handle(&self, user: UserId) -> [u8; 16] {
        let derived = self.0.keyring.pepper().derive("passkey handle", &[&user.0.to_be_bytes()]);
        let mut handle = [0; 16];
        handle.copy_from_slice(&derived[..16]);
        handle
    }

    /// People type them with and without what stands between the groups, and in any case.
    fn hashed(&self, user: UserId, code: &str) -> Zeroizing<[u8; 32]> {
        let typed: Zeroizing<String> = Zeroizing::new(
            code.chars()
                .filter(char::is_ascii_alphanumeric)
                .take(NAME_BYTES_MAX)
                .collect::<String>()
                .to_uppercase(),
        );
        self.0.keyring.pepper().derive("recovery code", &[&user.0.to_be_bytes(), typed.as_bytes()])
    }
}

fn random_id() -> Result<String, SignInError> {
    let mut bytes = [0; ID_BYTES];
    getrandom::fill(&mut bytes).map_err(IdentityError::from)?;
    Ok(HEXLOWER.encode(&bytes))
}
