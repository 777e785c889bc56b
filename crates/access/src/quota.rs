//! How much anybody may use: requests, tokens, and requests at once, of a tenant and of each of its users. Pure but for its
//! lock: the time comes in as an argument.
//!
//! All that applies to a request is looked at in one pass, and taken from all or from none. Tokens are set aside before the work
//! by an estimate, and settled after it by what was really used.
//!
//! A rate is a token bucket (Turner, "New Directions in Communications", 1986): it holds at most what may be used in one period,
//! and fills evenly. What was used beyond the estimate is owed: a bucket may go below zero, and then fills before it gives.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use types::{Instant, TenantId, Tokens, UserId};

use crate::AccessError;

/// Most tenants and users whose use is remembered; beyond it those who have used nothing for the longest time are forgotten.
const ACCOUNTS_MAX: usize = 100_000;
/// A caller who has to wait for requests of others to end comes back after this long.
const RETRY_CONCURRENT: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const DAY: Duration = Duration::from_secs(86_400);

/// How much may be used; what is absent is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Requests in a minute.
    pub requests_per_minute: Option<u64>,
    /// Tokens in a minute, of prompts and answers together.
    pub tokens_per_minute: Option<u64>,
    /// Tokens in 24 hours.
    pub tokens_per_day: Option<u64>,
    /// Requests at once.
    pub concurrent: Option<u64>,
}

/// A rule: whose use is limited, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// Name of the tenant; without it every tenant, each by itself.
    pub tenant: Option<String>,
    /// Whose use it is.
    pub whose: Whose,
    /// How much.
    pub limits: Limits,
}

/// Whose use a rule limits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// That of all users of the tenant together.
    Tenant,
    /// That of each user by itself.
    EachUser,
    /// That of this user.
    User(String),
}

/// Who uses something.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Account {
    pub(crate) tenant: TenantId,
    pub(crate) user: UserId,
    pub(crate) tenant_name: Arc<str>,
    pub(crate) user_name: Arc<str>,
}

/// What all have used.
pub(crate) struct Ledger {
    quotas: Vec<Quota>,
    accounts: Mutex<HashMap<(usize, TenantId, Option<UserId>), State>>,
}

/// What one of them has used under one rule.
struct State {
    requests: Option<Bucket>,
    tokens_minute: Option<Bucket>,
    tokens_day: Option<Bucket>,
    concurrent: u64,
    used_at: Instant,
}

/// Units are billionths: whole numbers, so that sums are exact.
struct Bucket {
    most: i128,
    level: i128,
    per: Duration,
    filled_at: Instant,
}

const UNIT: i128 = 1_000_000_000;

/// Tokens set aside before the work. Settle it: dropped, it is charged whole.
pub struct Reservation {
    ledger: Arc<Ledger>,
    taken: Vec<(usize, TenantId, Option<UserId>)>,
    tokens: Tokens,
    settled: bool,
}

impl Reservation {
    /// Charges what was really used in place of what was set aside.
    pub fn settle(mut self, used: Tokens) {
        self.settled = true;
        let difference = i128::from(self.tokens.0) - i128::from(used.0);
        self.ledger.give_back(&self.taken, difference);
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if !self.settled {
            self.ledger.give_back(&self.taken, 0);
        }
    }
}

impl Bucket {
    fn new(most: u64, per: Duration, now: Instant) -> Self {
        let most = i128::from(most) * UNIT;
        Self { most, level: most, per, filled_at: now }
    }

    fn fill(&mut self, now: Instant) {
        let since = now.nanos.saturating_sub(self.filled_at.nanos);
        let gained = self.most * i128::from(since) / self.per.as_nanos().cast_signed();
        self.level = self.most.min(self.level + gained);
        self.filled_at = now;
    }

    /// How long until it gives this much; none if it never can.
    fn wait(&self, amount: i128) -> Option<Duration> {
        if amount <= self.level {
            return Some(Duration::ZERO);
        }
        if amount > self.most {
            return None;
        }
        let nanos = (amount - self.level) * self.per.as_nanos().cast_signed() / self.most.max(1);
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }
}

impl Ledger {
    pub(crate) fn new(quotas: Vec<Quota>) -> Arc<Self> {
        Arc::new(Self { quotas, accounts: Mutex::default() })
    }

    /// Takes one request and these tokens from all that applies, or says what does not allow it.
    pub(crate) fn reserve(
        self: &Arc<Self>,
        account: &Account,
        tokens: Tokens,
        now: Instant,
    ) -> Result<Reservation, AccessError> {
        let mut accounts = self.locked();
        let applies = self.quotas.iter().enumerate().filter_map(|(rule, quota)| {
            let user = quota.covers(account)?;
            Some((rule, account.tenant, user))
        });
        let applies: Vec<_> = applies.collect();
        let amount = i128::from(tokens.0) * UNIT;
        for key in &applies {
            let limits = self.quotas[key.0].limits;
            let state = accounts.entry(*key).or_insert_with(|| State::new(limits, now));
            state.fill(now);
            state.check(limits, &self.quotas[key.0], amount)?;
        }
        for key in &applies {
            if let Some(state) = accounts.get_mut(key) {
                state.concurrent += 1;
                state.used_at = now;
                state.take(UNIT, amount);
            }
        }
        if accounts.len() > ACCOUNTS_MAX {
            forget(&mut accounts);
        }
        Ok(Reservation { ledger: Arc::clone(self), taken: applies, tokens, settled: false })
    }

    /// Charges tokens that were used on this day before this ledger was made.
    pub(crate) fn remember(&self, account: &Account, tokens: u64, now: Instant) {
        let mut accounts = self.locked();
        for (rule, quota) in self.quotas.iter().enumerate() {
            let Some(user) = quota.covers(account) else { continue };
            let key = (rule, account.tenant, user);
            let state = accounts.entry(key).or_insert_with(|| State::new(quota.limits, now));
            if let Some(day) = &mut state.tokens_day {
                day.level -= i128::from(tokens) * UNIT;
            }
        }
    }

    fn give_back(&self, taken: &[(usize, TenantId, Option<UserId>)], tokens: i128) {
        let mut accounts = self.locked();
        for key in taken {
            if let Some(state) = accounts.get_mut(key) {
                state.concurrent = state.concurrent.saturating_sub(1);
                state.take(0, -tokens * UNIT);
            }
        }
    }

    fn locked(&self) -> MutexGuard<'_, HashMap<(usize, TenantId, Option<UserId>), State>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Forgets the half that has used nothing for the longest time, but nobody who uses something now.
fn forget(accounts: &mut HashMap<(usize, TenantId, Option<UserId>), State>) {
    let mut times: Vec<Instant> = accounts.values().map(|state| state.used_at).collect();
    times.sort_unstable();
    let middle = times[times.len() / 2];
    accounts.retain(|_, state| state.concurrent > 0 || state.used_at > middle);
}

impl Quota {
    /// Whose account a request counts on: the user's, or none's but the tenant's. None if the rule is about others.
    #[allow(clippy::option_option)]
    fn covers(&self, account: &Account) -> Option<Option<UserId>> {
        if self.tenant.as_deref().is_some_and(|name| name != &*account.tenant_name) {
            return None;
        }
        match &self.whose {
            Whose::Tenant => Some(None),
            Whose::EachUser => Some(Some(account.user)),
            Whose::User(name) => (**name == *account.user_name).then_some(Some(account.user)),
        }
    }

    fn of(&self) -> &'static str {
        match self.whose {
            Whose::Tenant => "tenant",
            Whose::EachUser | Whose::User(_) => "user",
        }
    }
}

impl State {
    fn new(limits: Limits, now: Instant) -> Self {
        Self {
            requests: limits.requests_per_minute.map(|most| Bucket::new(most, MINUTE, now)),
            tokens_minute: limits.tokens_per_minute.map(|most| Bucket::new(most, MINUTE, now)),
            tokens_day: limits.tokens_per_day.map(|most| Bucket::new(most, DAY, now)),
            concurrent: 0,
            used_at: now,
        }
    }

    fn fill(&mut self, now: Instant) {
        for bucket in
            [&mut self.requests, &mut self.tokens_minute, &mut self.tokens_day].into_iter().flatten()
        {
            bucket.fill(now);
        }
    }

    fn check(&self, limits: Limits, quota: &Quota, tokens: i128) -> Result<(), AccessError> {
        let over =
            |limit: &'static str, retry_after| AccessError::OverQuota { limit, of: quota.of(), retry_after };
        if limits.concurrent.is_some_and(|most| self.concurrent >= most) {
            return Err(over("concurrent", Some(RETRY_CONCURRENT)));
        }
        for (limit, bucket, amount) in [
            ("requests_per_minute", &self.requests, UNIT),
            ("tokens_per_minute", &self.tokens_minute, tokens),
            ("tokens_per_day", &self.tokens_day, tokens),
        ] {
            match bucket.as_ref().map(|bucket| bucket.wait(amount)) {
                None | Some(Some(Duration::ZERO)) => {}
                Some(retry_after) => return Err(over(limit, retry_after)),
            }
        }
        Ok(())
    }

    fn take(&mut self, requests: i128, tokens: i128) {
        let take = |bucket: &mut Option<Bucket>, amount: i128| {
            if let Some(bucket) = bucket {
                bucket.level = (bucket.level - amount).min(bucket.most);
            }
        };
        take(&mut self.requests, requests);
        take(&mut self.tokens_minute, tokens);
        take(&mut self.tokens_day, tokens);
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant { nanos: seconds * 1_000_000_000 }
    }

    fn account(tenant: u64, user: u64) -> Account {
        Account {
            tenant: TenantId(tenant),
            user: UserId(user),
            tenant_name: format!("t{tenant}").into(),
            user_name: format!("u{user}").into(),
        }
    }

    fn quota(tenant: Option<&str>, whose: Whose, limits: Limits) -> Quota {
        Quota { tenant: tenant.map(str::to_owned), whose, limits }
    }

    fn refused(result: Result<Reservation, AccessError>) -> (&'static str, &'static str, Option<u64>) {
        match result {
            Err(AccessError::OverQuota { limit, of, retry_after }) => {
                (limit, of, retry_after.map(|wait| wait.as_secs()))
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("let through"),
        }
    }

    #[test]
    fn rates_fill_evenly_and_what_was_used_beyond_is_owed() {
        let limits =
            Limits { tokens_per_minute: Some(600), requests_per_minute: Some(3), ..Limits::default() };
        let ledger = Ledger::new(vec![quota(None, Whose::EachUser, limits)]);
        let reserve = |tokens, now| ledger.reserve(&account(1, 1), Tokens(tokens), at(now));
        reserve(500, 0).unwrap().settle(Tokens(100));
        reserve(500, 0).unwrap().settle(Tokens(800));
        // 300 are owed, and 10 come back each second: 100 are there after 40 s.
        assert_eq!(refused(reserve(100, 0)), ("tokens_per_minute", "user", Some(40)));
        assert_eq!(refused(reserve(601, 0)).2, None, "more than there can ever be");
        reserve(100, 40).unwrap().settle(Tokens(100));
        for _ in 0..2 {
            reserve(0, 40).unwrap().settle(Tokens(0));
        }
        assert_eq!(refused(reserve(0, 40)).0, "requests_per_minute");
        ledger.reserve(&account(1, 2), Tokens(600), at(40)).unwrap();
    }

    #[test]
    fn all_levels_are_taken_from_or_none() {
        let day = |most| Limits { tokens_per_day: Some(most), ..Limits::default() };
        let one = Limits { concurrent: Some(1), ..Limits::default() };
        let ledger = Ledger::new(vec![
            quota(Some("t1"), Whose::Tenant, day(1_000)),
            quota(None, Whose::EachUser, day(700)),
            quota(Some("t1"), Whose::User("u9".to_owned()), one),
        ]);
        let reserve = |user, tokens| ledger.reserve(&account(1, user), Tokens(tokens), at(0));
        let held = reserve(1, 600).unwrap();
        assert_eq!(refused(reserve(1, 200)), ("tokens_per_day", "user", Some(12_342)));
        assert_eq!(refused(reserve(2, 500)).1, "tenant");
        // What was refused by one was taken from none.
        held.settle(Tokens(0));
        reserve(2, 500).unwrap().settle(Tokens(500));
        reserve(1, 500).unwrap().settle(Tokens(500));
        ledger.reserve(&account(2, 1), Tokens(700), at(0)).unwrap();
        let only = reserve(9, 0).unwrap();
        assert_eq!(refused(reserve(9, 0)), ("concurrent", "user", Some(1)));
        drop(only);
        reserve(9, 0).unwrap();
    }

    #[test]
    fn what_was_used_before_a_restart_counts_on_the_day() {
        let limits =
            Limits { tokens_per_day: Some(1_000), requests_per_minute: Some(1), ..Limits::default() };
        let ledger = Ledger::new(vec![quota(None, Whose::EachUser, limits)]);
        ledger.remember(&account(1, 1), 400, at(0));
        ledger.remember(&account(1, 1), 500, at(0));
        assert_eq!(refused(ledger.reserve(&account(1, 1), Tokens(101), at(0))).0, "tokens_per_day");
        ledger.reserve(&account(1, 1), Tokens(100), at(0)).unwrap();
    }

    #[test]
    fn a_race_for_the_last_tokens_is_won_exactly() {
        let limits = Limits { tokens_per_day: Some(1_000), ..Limits::default() };
        let ledger = Ledger::new(vec![quota(None, Whose::Tenant, limits)]);
        let won: u64 = thread::scope(|scope| {
            let racers: Vec<_> = (0..500)
                .map(|user| {
                    let ledger = &ledger;
                    scope.spawn(move || match ledger.reserve(&account(1, user), Tokens(30), at(0)) {
                        Ok(reservation) => {
                            reservation.settle(Tokens(30));
                            1
                        }
                        Err(_) => 0,
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(won, 33, "33 times 30 are 990");
        ledger.reserve(&account(1, 1), Tokens(10), at(0)).unwrap().settle(Tokens(10));
        assert_eq!(refused(ledger.reserve(&account(1, 1), Tokens(1), at(0))).0, "tokens_per_day");
    }

    #[test]
    fn who_has_used_nothing_for_long_is_forgotten() {
        let limits = Limits { tokens_per_minute: Some(10), ..Limits::default() };
        let ledger = Ledger::new(vec![quota(None, Whose::EachUser, limits)]);
        let held = ledger.reserve(&account(1, 0), Tokens(10), at(0)).unwrap();
        for user in 1..=ACCOUNTS_MAX as u64 {
            ledger.reserve(&account(1, user), Tokens(1), at(user)).unwrap().settle(Tokens(1));
        }
        let count = ledger.locked().len();
        assert!((ACCOUNTS_MAX / 2 - 1..=ACCOUNTS_MAX / 2 + 2).contains(&count), "{count}");
        held.settle(Tokens(10));
        assert_eq!(ledger.locked()[&(0, TenantId(1), Some(UserId(0)))].concurrent, 0);
    }
}
