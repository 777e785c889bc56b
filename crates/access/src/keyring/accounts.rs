//! Accounts at identity providers: who they are here, and whether they are let in. In memory, so that authentication never waits for
//! the disk.

use std::collections::{HashMap, HashSet};

use store::{AccountRecord, Placement};
use types::UserId;

use super::{Keyring, Live, LiveUser, poisoned};
use crate::AccessError;

/// The provider's issuer, and the account there.
pub(crate) type Account = (String, String);

/// Most accounts that are read one by one; of more, all are read at once.
const ONE_BY_ONE_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Accounts {
    known: HashMap<Account, Known>,
    /// Of users who are accounts. Nobody is let in before they have been placed.
    let_in: HashMap<UserId, bool>,
}

struct Known {
    pushed: bool,
    as_of: u64,
    users: Vec<UserId>,
}

/// What is known of an account.
pub(crate) struct KnownAccount {
    /// Whether its provider pushes what is to be known of it.
    pub(crate) pushed: bool,
    /// When the provider said something of it last: seconds since 1970.
    pub(crate) as_of: u64,
    /// Who it is, if it is let in.
    pub(crate) let_in: Option<UserId>,
}

/// What has come of placing accounts.
pub(crate) struct Placed {
    /// Users who are not let in, or not any more. They are out already, also if the rest has failed.
    pub(crate) out: Vec<UserId>,
    /// Names that are those of users who are somebody else: these accounts are not let in.
    pub(crate) names_taken: Result<Vec<String>, AccessError>,
}

impl Accounts {
    pub(super) fn lets_in(&self, user: UserId) -> bool {
        self.let_in.get(&user).copied().unwrap_or(true)
    }

    /// Takes note of an account. Its users are not let in so far.
    pub(super) fn take_in(&mut self, record: AccountRecord) {
        let AccountRecord { issuer, subject, pushed, as_of, users, .. } = record;
        self.let_in.extend(users.iter().map(|user| (*user, false)));
        self.known.insert((issuer, subject), Known { pushed: pushed.is_some(), as_of, users });
    }
}

impl LiveUser {
    fn is_placed(&self, place: &Placement) -> bool {
        *self.tenant_name == *place.tenant
            && self.rights == place.rights
            && self.team.as_deref() == place.team.as_deref()
            && self.is_service == place.is_service
    }
}

impl Live {
    /// Takes note of an account and of what it is worth; the placement, if it is another one than it has.
    fn place(
        &mut self,
        record: AccountRecord,
        worth: Option<Placement>,
        out: &mut Vec<UserId>,
    ) -> Option<Placement> {
        let in_tenant = |user: UserId, worth: &Placement| {
            let found = self.users.get(&user).filter(|found| *found.tenant_name == *worth.tenant);
            found.map(|found| (user, found.is_placed(worth)))
        };
        let there =
            worth.as_ref().and_then(|worth| record.users.iter().find_map(|user| in_tenant(*user, worth)));
        out.extend(record.users.iter().filter(|user| there.is_none_or(|(there, _)| there != **user)));
        let is_same = there.is_some_and(|(_, is_placed)| is_placed);
        // Whoever only gets other rights is not out meanwhile.
        let goes_on = there.filter(|(user, _)| is_same || self.accounts.lets_in(*user));
        self.accounts.take_in(record);
        if let Some((user, _)) = goes_on {
            self.accounts.let_in.insert(user, true);
        }
        worth.filter(|_| !is_same)
    }
}

impl Keyring {
    /// What is known of an account at a provider.
    pub(crate) fn known_account(&self, account: &Account) -> Result<Option<KnownAccount>, AccessError> {
        let live = self.live.read().map_err(poisoned)?;
        let Some(known) = live.accounts.known.get(account) else { return Ok(None) };
        let let_in = known.users.iter().copied().find(|user| live.accounts.lets_in(*user));
        Ok(Some(KnownAccount { pushed: known.pushed, as_of: known.as_of, let_in }))
    }

    /// Whether an account has this place already.
    pub(crate) fn is_placed(&self, user: UserId, place: &Placement) -> Result<bool, AccessError> {
        Ok(self.live.read().map_err(poisoned)?.users.get(&user).is_some_and(|found| found.is_placed(place)))
    }

    /// Whether a user is somebody's account at a provider.
    pub(crate) fn has_account(&self, user: UserId) -> Result<bool, AccessError> {
        Ok(self.live.read().map_err(poisoned)?.accounts.let_in.contains_key(&user))
    }

    /// Shuts an account out, until it is placed again: for what must hold also if the store then fails.
    pub(crate) fn shut_out(&self, account: &Account) -> Result<(), AccessError> {
        let mut live = self.live.write().map_err(poisoned)?;
        let Accounts { known, let_in } = &mut live.accounts;
        let_in
            .extend(known.get(account).into_iter().flat_map(|known| &known.users).map(|user| (*user, false)));
        drop(live);
        self.taken.send_replace(());
        Ok(())
    }

    /// Reads what was said of these accounts, or of all, and gives each what it is `worth`. Who is worth nothing is out at once, also if
    /// the store then fails.
    pub(crate) async fn place(
        &self,
        accounts: Option<&[Account]>,
        worth: impl Fn(&AccountRecord) -> Option<Placement>,
    ) -> Placed {
        let mut out = Vec::new();
        let names_taken = self.place_all(accounts, worth, &mut out).await;
        self.taken.send_replace(());
        Placed { out, names_taken }
    }

    async fn place_all(
        &self,
        accounts: Option<&[Account]>,
        worth: impl Fn(&AccountRecord) -> Option<Placement>,
        out: &mut Vec<UserId>,
    ) -> Result<Vec<String>, AccessError> {
        let _changing = self.changing.lock().await;
        let records = match accounts {
            None => self.store.accounts().await?,
            Some(accounts) if accounts.len() > ONE_BY_ONE_MAX => {
                let wanted: HashSet<&Account> = accounts.iter().collect();
                let mut records = self.store.accounts().await?;
                records.retain(|record| wanted.contains(&(record.issuer.clone(), record.subject.clone())));
                records
            }
            Some(accounts) => {
                let mut records = Vec::with_capacity(accounts.len());
                for (issuer, subject) in accounts {
                    records.push(self.store.account(issuer, subject).await?);
                }
                records
            }
        };
        let mut wanted = Vec::new();
        {
            let mut live = self.live.write().map_err(poisoned)?;
            for record in records {
                let worth = worth(&record);
                wanted.extend(live.place(record, worth, out));
            }
        }
        self.taken.send_replace(());
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let placed = match self.store.place(wanted.clone()).await {
            Ok(placed) => placed,
            Err(error) => {
                // They have more than they are worth now, or less: out until they can be placed.
                for Placement { issuer, subject, .. } in wanted {
                    self.shut_out(&(issuer, subject))?;
                }
                return Err(error.into());
            }
        };
        let mut names_taken = Vec::new();
        let mut live = self.live.write().map_err(poisoned)?;
        for (Placement { issuer, subject, user: name, .. }, placed) in wanted.into_iter().zip(placed) {
            let Some(user) = placed else {
                names_taken.push(name);
                continue;
            };
            live.users.insert(user.user_id, LiveUser::of(&user));
            live.accounts.let_in.insert(user.user_id, true);
            if let Some(known) = live.accounts.known.get_mut(&(issuer, subject))
                && !known.users.contains(&user.user_id)
            {
                known.users.push(user.user_id);
            }
        }
        Ok(names_taken)
    }
}
