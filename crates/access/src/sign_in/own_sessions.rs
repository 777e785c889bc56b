//! The sessions of whoever asks: which there are, and how one that is not theirs any more ends.

use types::Secret;

use super::{PRESENT_S, SignIn, SignInError};
use crate::{AccessError, SessionKind, Stage, clock::now_s, sessions::Session};

/// A session, in the list of its owner's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnSession {
    /// Names it when it is ended.
    pub id: String,
    /// What it is used by.
    pub kind: SessionKind,
    /// How far it has come.
    pub stage: Stage,
    /// The provider by which they signed in, if it was one.
    pub provider: Option<String>,
    /// Seconds since 1970.
    pub created_at: u64,
    /// When it was last used: seconds since 1970, to the minute.
    pub seen_at: u64,
    /// When it ends at the latest: seconds since 1970.
    pub expires_at: u64,
    /// Whether it is the one that asks.
    pub is_this: bool,
}

impl SignIn {
    /// All sessions of whoever has signed in completely, the latest first.
    pub fn own_sessions(&self, secret: &Secret) -> Result<Vec<OwnSession>, SignInError> {
        let own = self.completed(secret)?;
        let of_user = |other: &Session| other.opened.user == own.opened.user;
        let mut sessions: Vec<OwnSession> = (self.0.sessions.of(of_user)?.into_iter())
            .map(|session| OwnSession {
                id: session.id.to_string(),
                kind: session.opened.kind,
                stage: session.opened.stage,
                provider: session.opened.account.as_ref().map(|(issuer, _)| {
                    self.provider_of(issuer).map_or(issuer, |known| &known.settings().name).clone()
                }),
                created_at: session.created_at,
                seen_at: session.seen_at,
                expires_at: session.expires_at,
                is_this: session.id == own.id,
            })
            .collect();
        sessions.sort_unstable_by(|one, other| (other.created_at, &other.id).cmp(&(one.created_at, &one.id)));
        Ok(sessions)
    }

    /// Ends one of them. Another one than that which asks ends only for who has proved lately that they are there.
    ///
    /// # Errors
    /// [`SignInError::UnknownSession`] also for those of others.
    pub async fn end_own_session(&self, secret: &Secret, id: &str) -> Result<(), SignInError> {
        let own = self.completed(secret)?;
        let is_meant = |other: &Session| other.opened.user == own.opened.user && other.id.to_string() == id;
        if own.id.to_string() != id && !is_present(&own) {
            return Err(SignInError::StepUp);
        }
        match self.0.sessions.end(is_meant).await? {
            0 => Err(SignInError::UnknownSession),
            _ => Ok(()),
        }
    }

    fn completed(&self, secret: &Secret) -> Result<Session, SignInError> {
        let session = self.found(secret)?;
        // Suspended, or not let in any more.
        self.0.keyring.principal_of(session.opened.user)?.ok_or(AccessError::Unauthenticated)?;
        match session.opened.stage {
            Stage::Complete => Ok(session),
            Stage::FirstFactor => Err(AccessError::SecondFactorMissing.into()),
        }
    }
}

/// Whether a second factor was proved in a session lately.
pub(super) fn is_present(session: &Session) -> bool {
    session.opened.present_at.is_some_and(|at| now_s() <= at + PRESENT_S)
}
