//! How often somebody who is known may ask for what is recorded and paid for by no quota: looks, changes, requests that are refused or
//! fail. Without that, whoever has any credential at all could fill the disk of the audit log.

use std::sync::Arc;

use types::{Instant, Principal, UserId};

use crate::{AccessError, rates::Rates};

/// So many of a kind in a minute, unless the configuration says otherwise: 25 in a second are what identity providers want of a server
/// that they provision with users.
const PER_MINUTE: u64 = 1_500;

/// An API key, or all sessions of a user: whoever has stolen a key cannot keep its owner from revoking it.
type Whose = (UserId, Option<Arc<str>>);

/// What each has asked for. Whoever is at the local socket is not counted: they could fill the disk anyway.
pub struct Unpaid {
    asked: Rates<Whose>,
    refused: Rates<Whose>,
    failed: Rates<Whose>,
    /// Those who sign in, and change how they do.
    at_the_door: Rates<UserId>,
    started: std::time::Instant,
}

impl Unpaid {
    pub(crate) fn new() -> Self {
        let rates = || Rates::new(PER_MINUTE);
        let (asked, refused, failed, at_the_door) = (rates(), rates(), rates(), Rates::new(PER_MINUTE));
        Self { asked, refused, failed, at_the_door, started: std::time::Instant::now() }
    }

    /// Another rate, for those who come from now on.
    pub(crate) fn set(&self, per_minute: u64) {
        for rates in [&self.asked, &self.refused, &self.failed] {
            rates.set(per_minute);
        }
        self.at_the_door.set(per_minute);
    }

    /// A look or a change.
    pub fn ask(&self, principal: &Principal) -> Result<(), AccessError> {
        self.counted(principal, |whose, now| self.asked.take(whose, now))
    }

    /// The same of somebody who signs in, or changes how they do.
    pub(crate) fn ask_at_the_door(&self, user: UserId) -> Result<(), AccessError> {
        self.at_the_door.take(user, self.now()).map_err(|retry_after| AccessError::TooOften { retry_after })
    }

    /// A request for a model, of which nobody knows yet whether it will be paid for.
    pub fn may_fail(&self, principal: &Principal) -> Result<(), AccessError> {
        self.counted(principal, |whose, now| self.failed.look(whose, now))
    }

    /// It was not.
    pub fn fail(&self, principal: &Principal) {
        let _ = self.counted(principal, |whose, now| {
            self.failed.owe(whose, now);
            Ok(())
        });
    }

    /// A refusal: whether it gets a record of its own.
    pub fn refuse(&self, principal: &Principal) -> bool {
        self.counted(principal, |whose, now| self.refused.take(whose, now)).is_ok()
    }

    fn counted(
        &self,
        principal: &Principal,
        count: impl FnOnce(Whose, Instant) -> Result<(), std::time::Duration>,
    ) -> Result<(), AccessError> {
        if principal.is_local() {
            return Ok(());
        }
        let whose = (principal.user, principal.key.clone());
        count(whose, self.now()).map_err(|retry_after| AccessError::TooOften { retry_after })
    }

    fn now(&self) -> Instant {
        Instant { nanos: u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX) }
    }
}
