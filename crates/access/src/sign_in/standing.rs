//! What accounts at providers may do here.
//!
//! **The invariant**: what an account may do is a function of what its provider has said of it, which the store holds, and of the
//! configuration. [`SignIn::worth`] is that function, and there is no other one. It is worked out anew at the start, for all accounts;
//! when a provider pushes something; when somebody signs in; when a token says something new. So what is taken from the configuration is
//! taken from everybody with the next start, and a crash between what was said and what follows leaves nobody in: the start works it out
//! again. Whoever is not let in has nothing by their sessions and keys from that moment on; sessions end for good, keys give again what
//! they did when the account is let in again. Only suspensions by hand lie beside it: they stay, whatever a provider says.
//!
//! Where a provider pushes an account, that alone counts: groups in its tokens say nothing.

use std::collections::HashSet;

use identity::Claimed;
use store::{AccountRecord, Placement};
use types::UserId;

use super::{SignIn, SignInError, mapping};
use crate::{
    AccessError,
    access::carried_through,
    keyring::{KnownAccount, Placed, ProviderAccount},
};

impl SignIn {
    /// Who an account is worth to be here, and with which rights; none if it is not let in.
    fn worth(&self, account: &AccountRecord) -> Option<Placement> {
        let provider = &self.provider_of(&account.issuer)?.settings().name;
        if account.pushed == Some(false) {
            return None;
        }
        let line = mapping::find(&self.0.mapping, provider, &account.subject, &account.groups)?;
        Some(line.placement(&account.issuer, &account.subject))
    }

    /// Gives these accounts, or all, what they are worth now. Names that users have who are somebody else are returned: these accounts are
    /// not let in.
    pub(crate) async fn place(
        &self,
        accounts: Option<&[ProviderAccount]>,
    ) -> Result<Vec<String>, AccessError> {
        let Placed { out, names_taken } = self.0.keyring.place(accounts, |account| self.worth(account)).await;
        let ended = if out.is_empty() {
            Ok(0)
        } else {
            let out: HashSet<UserId> = out.into_iter().collect();
            self.0.sessions.end(|session| out.contains(&session.opened.user)).await
        };
        for name in names_taken.iter().flatten() {
            tracing::warn!(
                alarm = "name_taken",
                user = name,
                "an account is not let in: its name is a user's who is somebody else"
            );
        }
        ended.and(names_taken)
    }

    /// Shuts an account out before the store knows why: it holds also if the store then fails, until it is placed again.
    pub(crate) fn shut_out(&self, account: &ProviderAccount) -> Result<(), AccessError> {
        self.0.keyring.shut_out(account)
    }

    /// Who somebody is who signs in, or shows an access token. What a token says of groups that are in no table takes nothing away: it
    /// may just be for less.
    pub(super) async fn account(&self, claimed: &Claimed, signs_in: bool) -> Result<UserId, SignInError> {
        let account = (claimed.issuer.clone(), claimed.subject.clone());
        let line = mapping::find(&self.0.mapping, &claimed.provider, &claimed.subject, &claimed.groups);
        let user = match (self.0.keyring.known_account(&account)?, line) {
            // Of whom is nobody here, nothing is written down.
            (None, None) => None,
            // Of two things that a provider says, what it pushes counts, and what it says later.
            (Some(known), _) if known.pushed || claimed.issued_at < known.as_of => known.let_in,
            (Some(_), None) if !signs_in => None,
            (Some(KnownAccount { let_in: Some(user), .. }), Some(line))
                if !signs_in
                    && self.0.keyring.is_placed(user, &line.placement(&account.0, &account.1))? =>
            {
                Some(user)
            }
            _ => {
                let (this, groups, as_of) = (self.clone(), claimed.groups.clone(), claimed.issued_at);
                let names_taken = carried_through(async move {
                    this.store().put_said(&account.0, &account.1, groups, as_of).await?;
                    this.place(Some(&[account])).await
                });
                if let Some(name) = names_taken.await?.pop() {
                    return Err(AccessError::NameTaken(name).into());
                }
                let account = (claimed.issuer.clone(), claimed.subject.clone());
                self.0.keyring.known_account(&account)?.and_then(|known| known.let_in)
            }
        };
        let user = user.ok_or(SignInError::NotMapped)?;
        // Suspended by hand.
        self.0.keyring.principal_of(user)?.ok_or(AccessError::Unauthenticated)?;
        Ok(user)
    }
}

#[cfg(test)]
mod tests;
