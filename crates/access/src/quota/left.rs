//! What is left of what may be used.

use types::{Instant, TenantId, UserId};

use super::{Holder, Ledger, Level, State};
use crate::bucket::Bucket;

/// What is left of a limit, of somebody who has used something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Remains {
    pub(crate) tenant: TenantId,
    pub(crate) whose: Holds,
    /// The limit, as the configuration calls it.
    pub(crate) limit: &'static str,
    /// Most that there can be.
    pub(crate) most: u64,
    /// What there is now; below zero it is owed.
    pub(crate) left: i64,
}

/// The same, with names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BudgetView {
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the team, if it is a team's.
    pub team: Option<String>,
    /// Name of the user, if it is a user's.
    pub user: Option<String>,
    /// Id of the key, if it is a key's.
    pub key: Option<String>,
    /// The limit, as the configuration calls it.
    pub limit: &'static str,
    /// Most that there can be: requests, tokens, or billionths of the currency.
    pub most: u64,
    /// What there is now; below zero it is owed.
    pub left: i64,
}

/// Who has it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Holds {
    Tenant,
    Team(String),
    User(UserId),
    Key(String),
}

impl Ledger {
    /// Of the tenants that `is_seen` names, in the order of who has it; of more than `most` those with the least share left.
    pub(crate) fn left(&self, now: Instant, most: usize, is_seen: impl Fn(TenantId) -> bool) -> Vec<Remains> {
        let mut accounts = self.locked();
        let seen = accounts.iter_mut().filter(|(Holder(_, tenant, _), _)| is_seen(*tenant));
        let mut all: Vec<Remains> = seen
            .flat_map(|(Holder(rule, tenant, level), state)| {
                state.fill(now);
                let (tenant, whose) = (*tenant, Holds::from(level));
                let concurrent = self.quotas[*rule].limits.concurrent;
                state.left(concurrent).map(move |(limit, most, left)| Remains {
                    tenant,
                    whose: whose.clone(),
                    limit,
                    most,
                    left,
                })
            })
            .collect();
        drop(accounts);
        if all.len() > most {
            let share = |left: &Remains| left.left as f64 / left.most.max(1) as f64;
            all.sort_by(|a, b| share(a).total_cmp(&share(b)));
            all.truncate(most);
        }
        all.sort_by(|a, b| (a.tenant, &a.whose, a.limit, a.most).cmp(&(b.tenant, &b.whose, b.limit, b.most)));
        all
    }
}

impl State {
    fn left(&self, concurrent: Option<u64>) -> impl Iterator<Item = (&'static str, u64, i64)> + use<> {
        let of = |limit, bucket: &Option<Bucket>| {
            bucket.as_ref().map(|bucket| (limit, bucket.most(), bucket.left()))
        };
        let at_once = |most: u64| ("concurrent", most, most.saturating_sub(self.concurrent).cast_signed());
        [
            of("requests_per_minute", &self.requests),
            of("tokens_per_minute", &self.tokens_minute),
            of("tokens_per_day", &self.tokens_day),
            of("spend_per_day", &self.spend_day),
            of("spend_per_month", &self.spend_month),
            concurrent.map(at_once),
        ]
        .into_iter()
        .flatten()
    }
}

impl From<&Level> for Holds {
    fn from(level: &Level) -> Self {
        match level {
            Level::Tenant => Self::Tenant,
            Level::Team(name) => Self::Team(name.to_string()),
            Level::User(user) => Self::User(*user),
            Level::Key(id) => Self::Key(id.to_string()),
        }
    }
}
