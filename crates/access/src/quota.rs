//! How much anybody may use: requests, tokens, money, and requests at once, of a tenant, of its teams, of its users, and of their keys.
//! Pure but for its lock: the time comes in as an argument.
//!
//! All that applies to a request is looked at in one pass, and taken from all or from none. What it may cost is set aside before the
//! work by an estimate, and settled after it by what was really used.
//!
//! What was used beyond the estimate is owed: a bucket may go below zero, and then fills before it gives.

mod left;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use types::{Instant, TenantId, Tokens, UserId};

pub use self::left::BudgetView;
pub(crate) use self::left::{Holds, Remains};
use crate::{
    AccessError,
    bucket::{Bucket, UNIT},
};

/// Most whose use is remembered; beyond it those who have used nothing for the longest time are forgotten.
const ACCOUNTS_MAX: usize = 100_000;
/// A caller who has to wait for requests of others to end comes back after this long.
const RETRY_CONCURRENT: Duration = Duration::from_secs(1);
pub(crate) const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);
/// The longest period of a limit.
pub(crate) const MONTH: Duration = Duration::from_secs(30 * 86_400);

/// How much may be used; what is absent is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens in a minute, of prompts and answers together.
    pub tokens_per_minute: Option<u64>,
    /// Tokens in 24 hours.
    pub tokens_per_day: Option<u64>,
    /// Money in 24 hours, in billionths of the currency.
    pub spend_per_day: Option<u64>,
    /// Money in 30 days, in billionths of the currency.
    pub spend_per_month: Option<u64>,
    /// Requests at once.
    pub concurrent: Option<u64>,
}

/// A rule: whose use is limited, and how. It is that of the smallest that is named: of a key, else of a user, else of a team, else of
/// a tenant; what else is named says which of them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Quota {
    /// Name of the tenant; without it every tenant, each by itself.
    pub tenant: Option<String>,
    /// The team of the tenant.
    pub team: Option<Whose>,
    /// The user of the tenant.
    pub user: Option<Whose>,
    /// The API key, by its id.
    pub key: Option<Whose>,
    /// How much.
    pub limits: Limits,
}

/// Whose use a rule limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// That of each by itself.
    Each,
    /// That of this one.
    Of(String),
}

/// What tokens of a model cost, in billionths of the currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Price {
    /// A token that is read.
    pub input: u64,
    /// A token that is written.
    pub output: u64,
}

impl Price {
    /// What this many tokens cost.
    pub fn of(self, input: Tokens, output: Tokens) -> u64 {
        let (input, output) = (u64::from(input.0), u64::from(output.0));
        self.input.saturating_mul(input).saturating_add(self.output.saturating_mul(output))
    }
}

/// Who uses something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    pub(crate) tenant_name: Arc<str>,
    pub(crate) user_name: Arc<str>,
    pub(crate) team: Option<Arc<str>>,
    pub(crate) key: Option<Arc<str>>,
}

/// What is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Cost {
    pub(crate) tokens: u64,
    /// In billionths of the currency.
    pub(crate) spend: u64,
}

/// What all have used.
pub(crate) struct Ledger {
    quotas: Vec<Quota>,
    accounts: Mutex<HashMap<Holder, State>>,
}

/// Whose use is counted, and by which rule.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Holder(usize, TenantId, Level);

/// Whose in a tenant.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Level {
    Tenant,
    Team(Arc<str>),
    User(UserId),
    Key(Arc<str>),
}

/// What one of them has used under one rule.
struct State {
    requests: Option<Bucket>,
    tokens_minute: Option<Bucket>,
    tokens_day: Option<Bucket>,
    spend_day: Option<Bucket>,
    spend_month: Option<Bucket>,
    concurrent: u64,
    used_at: Instant,
}

/// What is set aside before the work. Settle it: dropped, it is charged whole.
pub struct Reservation {
    ledger: Arc<Ledger>,
    taken: Vec<Holder>,
    price: Price,
    set_aside: Cost,
    settled: bool,
}

impl Reservation {
    /// Sets aside this much in place of what was.
    ///
    /// # Errors
    /// [`AccessError::OverQuota`] if it is more, and any quota that applies does not allow it; then nothing is changed.
    pub fn change(&mut self, input: Tokens, output: Tokens) -> Result<(), AccessError> {
        let more = Cost::of(self.price, input, output);
        self.ledger.change(&self.taken, self.set_aside, more)?;
        self.set_aside = more;
        Ok(())
    }

    /// The same, whatever the quotas allow.
    pub fn owe(&mut self, input: Tokens, output: Tokens) {
        let more = Cost::of(self.price, input, output);
        self.ledger.charge(&self.taken, more, self.set_aside);
        self.set_aside = more;
    }

    /// Charges what was really used in place of what was set aside.
    pub fn settle(mut self, input: Tokens, output: Tokens) {
        self.settled = true;
        let used = Cost::of(self.price, input, output);
        self.ledger.end(&self.taken, used, self.set_aside);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.settled {
            self.ledger.end(&self.taken, self.set_aside, self.set_aside);
        }
    }
}

impl Cost {
    fn of(price: Price, input: Tokens, output: Tokens) -> Self {
        Self { tokens: u64::from(input.0) + u64::from(output.0), spend: price.of(input, output) }
    }
}

impl Ledger {
    pub(crate) fn new(quotas: Vec<Quota>) -> Arc<Self> {
        Arc::new(Self { quotas, accounts: Mutex::default() })
    }

    /// Takes one request and what so many tokens cost from all that applies, or says what does not allow it.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        account: &Account,
        price: Price,
        (input, output): (Tokens, Tokens),
        now: Instant,
    ) -> Result<Reservation, AccessError> {
        let set_aside = Cost::of(price, input, output);
        let mut accounts = self.locked();
        let taken: Vec<Holder> = self.holders(account).collect();
        for holder in &taken {
            let quota = &self.quotas[holder.0];
            let state = accounts.entry(holder.clone()).or_insert_with(|| State::new(quota.limits, now));
            state.fill(now);
            state.has_room(quota)?;
            state.allows(quota, 1, set_aside)?;
        }
        for holder in &taken {
            if let Some(state) = accounts.get_mut(holder) {
                state.concurrent += 1;
                state.used_at = now;
                take(&mut state.requests, UNIT);
                state.charge(set_aside, Cost::default());
            }
        }
        if accounts.len() > ACCOUNTS_MAX {
            forget(&mut accounts);
        }
        Ok(Reservation { ledger: Arc::clone(self), taken, price, set_aside, settled: false })
    }

    /// Charges what was used before this ledger was made on the limits of long periods. In the order of time.
    pub(crate) fn remember(&self, account: &Account, used: Cost, at: Instant) {
        let mut accounts = self.locked();
        for holder in self.holders(account) {
            let limits = self.quotas[holder.0].limits;
            let state = accounts.entry(holder).or_insert_with(|| State::new(limits, at));
            state.fill(at);
            state.charge_long(used, Cost::default());
        }
    }

    /// Sets aside one cost in place of another, if all that applies allows what is more.
    fn change(&self, taken: &[Holder], from: Cost, to: Cost) -> Result<(), AccessError> {
        let more = Cost {
            tokens: to.tokens.saturating_sub(from.tokens),
            spend: to.spend.saturating_sub(from.spend),
        };
        let mut accounts = self.locked();
        if more != Cost::default() {
            for (holder, state) in taken.iter().filter_map(|holder| Some((holder, accounts.get(holder)?))) {
                state.allows(&self.quotas[holder.0], 0, more)?;
            }
        }
        charge(&mut accounts, taken, to, from);
        Ok(())
    }

    fn charge(&self, taken: &[Holder], used: Cost, set_aside: Cost) {
        charge(&mut self.locked(), taken, used, set_aside);
    }

    fn end(&self, taken: &[Holder], used: Cost, set_aside: Cost) {
        let mut accounts = self.locked();
        charge(&mut accounts, taken, used, set_aside);
        for holder in taken {
            if let Some(state) = accounts.get_mut(holder) {
                state.concurrent = state.concurrent.saturating_sub(1);
            }
        }
    }

    /// On whose accounts a request counts.
    fn holders<'a>(&'a self, account: &'a Account) -> impl Iterator<Item = Holder> + 'a {
        let quotas = self.quotas.iter().enumerate();
        quotas.filter_map(|(rule, quota)| Some(Holder(rule, account.tenant, quota.covers(account)?)))
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<Holder, State>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Charges what was used in place of what was set aside.
fn charge(accounts: &mut HashMap<Holder, State>, taken: &[Holder], used: Cost, set_aside: Cost) {
    for holder in taken {
        if let Some(state) = accounts.get_mut(holder) {
            state.charge(used, set_aside);
        }
    }
}

/// Forgets the half that has used nothing for the longest time, but nobody who uses something now.
fn forget(accounts: &mut HashMap<Holder, State>) {
    let mut times: Vec<Instant> = accounts.values().map(|state| state.used_at).collect();
    times.sort_unstable();
    let middle = times[times.len() / 2];
    accounts.retain(|_, state| state.concurrent > 0 || state.used_at > middle);
}

impl Whose {
    fn fits(&self, name: &str) -> bool {
        match self {
            Self::Each => true,
            Self::Of(this) => this == name,
        }
    }
}

impl Quota {
    /// Whose account a request counts on. None if the rule is about others.
    fn covers(&self, account: &Account) -> Option<Level> {
        if self.tenant.as_deref().is_some_and(|name| name != &*account.tenant_name) {
            return None;
        }
        let mut level = Level::Tenant;
        if let Some(whose) = &self.team {
            let team = account.team.as_ref().filter(|team| whose.fits(team))?;
            level = Level::Team(Arc::clone(team));
        }
        if let Some(whose) = &self.user {
            level = whose.fits(&account.user_name).then_some(Level::User(account.user))?;
        }
        if let Some(whose) = &self.key {
            let key = account.key.as_ref().filter(|key| whose.fits(key))?;
            level = Level::Key(Arc::clone(key));
        }
        Some(level)
    }

    fn of(&self) -> &'static str {
        match (&self.key, &self.user, &self.team) {
            (Some(_), _, _) => "key",
            (None, Some(_), _) => "user",
            (None, None, Some(_)) => "team",
            (None, None, None) => "tenant",
        }
    }
}

fn take(bucket: &mut Option<Bucket>, amount: i128) {
    if let Some(bucket) = bucket {
        bucket.take(amount);
    }
}

impl State {
    fn new(limits: Limits, now: Instant) -> Self {
        let bucket = |most: Option<u64>, per| most.map(|most| Bucket::new(most, per, now));
        Self {
            requests: bucket(limits.requests_per_minute, MINUTE),
            tokens_minute: bucket(limits.tokens_per_minute, MINUTE),
            tokens_day: bucket(limits.tokens_per_day, DAY),
            spend_day: bucket(limits.spend_per_day, DAY),
            spend_month: bucket(limits.spend_per_month, MONTH),
            concurrent: 0,
            used_at: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        let Self { requests, tokens_minute, tokens_day, spend_day, spend_month, .. } = self;
        for bucket in [requests, tokens_minute, tokens_day, spend_day, spend_month].into_iter().flatten() {
            bucket.fill(now);
        }
    }

    fn has_room(&self, quota: &Quota) -> Result<(), AccessError> {
        if quota.limits.concurrent.is_none_or(|most| self.concurrent < most) {
            return Ok(());
        }
        Err(AccessError::OverQuota {
            limit: "concurrent",
            of: quota.of(),
            retry_after: Some(RETRY_CONCURRENT),
        })
    }

    fn allows(&self, quota: &Quota, requests: u64, cost: Cost) -> Result<(), AccessError> {
        for (limit, bucket, amount) in [
            ("requests_per_minute", &self.requests, requests),
            ("tokens_per_minute", &self.tokens_minute, cost.tokens),
            ("tokens_per_day", &self.tokens_day, cost.tokens),
            ("spend_per_day", &self.spend_day, cost.spend),
            ("spend_per_month", &self.spend_month, cost.spend),
        ] {
            // Whoever only asks for more of one thing does not wait for another.
            let bucket = bucket.as_ref().filter(|_| amount > 0 || requests > 0);
            match bucket.map(|bucket| bucket.wait(i128::from(amount) * UNIT)) {
                None | Some(Some(Duration::ZERO)) => {}
                Some(retry_after) => {
                    return Err(AccessError::OverQuota { limit, of: quota.of(), retry_after });
                }
            }
        }
        Ok(())
    }

    fn charge(&mut self, used: Cost, set_aside: Cost) {
        take(&mut self.tokens_minute, difference(used.tokens, set_aside.tokens));
        self.charge_long(used, set_aside);
    }

    fn charge_long(&mut self, used: Cost, set_aside: Cost) {
        take(&mut self.tokens_day, difference(used.tokens, set_aside.tokens));
        take(&mut self.spend_day, difference(used.spend, set_aside.spend));
        take(&mut self.spend_month, difference(used.spend, set_aside.spend));
    }
}

fn difference(used: u64, set_aside: u64) -> i128 {
    (i128::from(used) - i128::from(set_aside)) * UNIT
}

#[cfg(test)]
mod tests;
