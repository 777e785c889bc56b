//! How much anybody may use: requests, tokens, money, and requests at once, of a tenant, of its teams, of its users, and of their keys.
//! Pure but for its lock: the time comes in as an argument.
//!
//! All that applies to a request is looked at in one pass, and taken from all or from none. What it may cost is set aside before the
//! work by an estimate, and settled after it by what was really used.
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

/// Units are billionths: whole numbers, so that sums are exact.
pub(crate) struct Bucket {
    most: i128,
    level: i128,
    per: Duration,
    filled_at: Instant,
}

pub(crate) const UNIT: i128 = 1_000_000_000;

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

impl Bucket {
    pub(crate) fn new(most: u64, per: Duration, now: Instant) -> Self {
        let most = i128::from(most) * UNIT;
        Self { most, level: most, per, filled_at: now }
    }

    pub(crate) fn fill(&mut self, now: Instant) {
        let per = self.per.as_nanos().cast_signed();
        let since = i128::from(now.nanos.saturating_sub(self.filled_at.nanos));
        // In two parts, so that no product is too large.
        let gained = (self.most / per).saturating_mul(since)
            + self.most % per * (since % per) / per
            + self.most % per * (since / per);
        self.level = self.most.min(self.level.saturating_add(gained));
        self.filled_at = now;
    }

    /// How long until it gives this much; none if it never can.
    pub(crate) fn wait(&self, amount: i128) -> Option<Duration> {
        if amount <= self.level {
            return Some(Duration::ZERO);
        }
        if amount > self.most {
            return None;
        }
        let (missing, per) = (amount - self.level, self.per.as_nanos().cast_signed());
        // Where the product is too large, so much comes back in a nanosecond that the rest of the division is nothing.
        let nanos = match missing.checked_mul(per) {
            Some(product) => product / self.most.max(1),
            None => missing / (self.most / per).max(1),
        };
        Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)))
    }

    pub(crate) fn take(&mut self, amount: i128) {
        self.level = (self.level - amount).min(self.most);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.level == self.most
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
            team: None,
            key: None,
        }
    }

    fn of(name: &str) -> Whose {
        if name == "*" { Whose::Each } else { Whose::Of(name.to_owned()) }
    }

    fn each_user(limits: Limits) -> Quota {
        Quota { user: Some(of("*")), limits, ..Quota::default() }
    }

    fn reserve(
        ledger: &Arc<Ledger>,
        account: &Account,
        tokens: u32,
        now: u64,
    ) -> Result<Reservation, AccessError> {
        ledger.reserve(account, Price::default(), (Tokens(tokens), Tokens(0)), at(now))
    }

    fn settle(reservation: Result<Reservation, AccessError>, tokens: u32) {
        reservation.unwrap().settle(Tokens(tokens), Tokens(0));
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
        let ledger = Ledger::new(vec![each_user(limits)]);
        let reserve = |tokens, now| reserve(&ledger, &account(1, 1), tokens, now);
        settle(reserve(500, 0), 100);
        settle(reserve(500, 0), 800);
        // 300 are owed, and 10 come back each second: 100 are there after 40 s.
        assert_eq!(refused(reserve(100, 0)), ("tokens_per_minute", "user", Some(40)));
        assert_eq!(refused(reserve(601, 0)).2, None, "more than there can ever be");
        settle(reserve(100, 40), 100);
        for _ in 0..2 {
            settle(reserve(0, 40), 0);
        }
        assert_eq!(refused(reserve(0, 40)).0, "requests_per_minute");
        super::tests::reserve(&ledger, &account(1, 2), 600, 40).unwrap();
    }

    #[test]
    fn all_levels_are_taken_from_or_none() {
        let day = |most| Limits { tokens_per_day: Some(most), ..Limits::default() };
        let one = Limits { concurrent: Some(1), ..Limits::default() };
        let in_t1 = Quota { tenant: Some("t1".to_owned()), ..Quota::default() };
        let ledger = Ledger::new(vec![
            Quota { limits: day(1_000), ..in_t1.clone() },
            each_user(day(700)),
            Quota { user: Some(of("u9")), limits: one, ..in_t1 },
        ]);
        let reserve = |user, tokens| reserve(&ledger, &account(1, user), tokens, 0);
        let held = reserve(1, 600).unwrap();
        assert_eq!(refused(reserve(1, 200)), ("tokens_per_day", "user", Some(12_342)));
        assert_eq!(refused(reserve(2, 500)).1, "tenant");
        // What was refused by one was taken from none.
        held.settle(Tokens(0), Tokens(0));
        settle(reserve(2, 500), 500);
        settle(reserve(1, 500), 500);
        super::tests::reserve(&ledger, &account(2, 1), 700, 0).unwrap();
        let only = reserve(9, 0).unwrap();
        assert_eq!(refused(reserve(9, 0)), ("concurrent", "user", Some(1)));
        drop(only);
        reserve(9, 0).unwrap();
    }

    /// Nobody has more for having many keys, nor a team for having many users.
    #[test]
    fn a_team_and_a_user_do_not_grow_with_what_is_below_them() {
        let minute = |most| Limits { tokens_per_minute: Some(most), ..Limits::default() };
        let ledger = Ledger::new(vec![
            Quota { team: Some(of("ward")), limits: minute(1_000), ..Quota::default() },
            Quota { team: Some(of("ward")), user: Some(of("*")), limits: minute(300), ..Quota::default() },
            Quota { key: Some(of("*")), limits: minute(200), ..Quota::default() },
        ]);
        let ask = |tenant, user, team: Option<&str>, key: Option<String>, tokens| {
            let (team, key) = (team.map(Into::into), key.map(Into::into));
            reserve(&ledger, &Account { team, key, ..account(tenant, user) }, tokens, 0)
        };
        let ward = Some("ward");
        assert_eq!(refused(ask(1, 1, ward, Some("k".to_owned()), 201)).1, "key");
        let of_keys = (0..50).filter(|i| ask(1, 1, ward, Some(format!("k{i}")), 100).is_ok()).count();
        assert_eq!(of_keys, 3, "300 for the user");
        let of_users = (2..50).filter(|user| ask(1, *user, ward, None, 100).is_ok()).count();
        assert_eq!(of_users, 7, "1,000 for the team, of which 300 are used");
        assert_eq!(refused(ask(1, 51, ward, None, 1)).1, "team");
        // A team of this name in another tenant is another one, and who is in none is not limited by it.
        ask(2, 1, ward, None, 300).unwrap();
        ask(1, 1, None, None, 9_000).unwrap();
    }

    /// What turns out to be more than was thought is allowed, or nothing is changed; and what is owed is owed at once.
    #[test]
    fn what_is_set_aside_can_be_changed() {
        let limits = Limits { tokens_per_day: Some(1_000), ..Limits::default() };
        let ledger = Ledger::new(vec![each_user(limits)]);
        let reserve = |tokens| reserve(&ledger, &account(1, 1), tokens, 0);
        let mut first = reserve(400).unwrap();
        let mut second = reserve(400).unwrap();
        first.change(Tokens(300), Tokens(300)).unwrap();
        let refused_with = second.change(Tokens(401), Tokens(0)).err();
        assert!(matches!(refused_with, Some(AccessError::OverQuota { of: "user", .. })), "{refused_with:?}");
        second.change(Tokens(100), Tokens(0)).unwrap();
        second.owe(Tokens(100), Tokens(700));
        // 1,400 of 1,000.
        assert_eq!(refused(reserve(1)), ("tokens_per_day", "user", Some(34_646)));
        first.change(Tokens(100), Tokens(0)).unwrap();
        drop(first);
        second.settle(Tokens(100), Tokens(700));
        settle(reserve(100), 100);
        assert_eq!(refused(reserve(1)).0, "tokens_per_day");
    }

    #[test]
    fn money_is_set_aside_and_settled_to_the_billionth() {
        let limits =
            Limits { spend_per_month: Some(10_000), spend_per_day: Some(8_000), ..Limits::default() };
        let ledger = Ledger::new(vec![each_user(limits)]);
        let price = Price { input: 3, output: 7 };
        let ask = |input, output, day: u64| {
            ledger.reserve(&account(1, 1), price, (Tokens(input), Tokens(output)), at(day * 86_400))
        };
        ask(1_000, 700, 0).unwrap().settle(Tokens(1_000), Tokens(11));
        // 3,077 of the 8,000 of the day are used.
        assert_eq!(refused(ask(0, 704, 0)).0, "spend_per_day");
        ask(0, 703, 0).unwrap().settle(Tokens(0), Tokens(703));
        assert_eq!(refused(ask(1, 0, 0)).0, "spend_per_day");
        // A day later 7,998 have come back of the day, and a thirtieth of what is a month's.
        assert_eq!(refused(ask(800, 0, 1)).0, "spend_per_month");
        ask(700, 0, 1).unwrap();
    }

    #[test]
    fn what_was_used_before_a_restart_counts_on_the_long_periods() {
        let limits = Limits {
            tokens_per_day: Some(1_000),
            spend_per_month: Some(3_000),
            requests_per_minute: Some(1),
            ..Limits::default()
        };
        let ledger = Ledger::new(vec![each_user(limits)]);
        let month = MONTH.as_secs();
        let remember = |tokens, spend, days_ago: u64| {
            ledger.remember(&account(1, 1), Cost { tokens, spend }, at(month - days_ago * 86_400));
        };
        remember(900, 3_000, 2);
        remember(400, 0, 0);
        remember(500, 0, 0);
        assert_eq!(refused(reserve(&ledger, &account(1, 1), 101, month)).0, "tokens_per_day");
        let price = Price { input: 201, output: 0 };
        let dear = ledger.reserve(&account(1, 1), price, (Tokens(1), Tokens(0)), at(month));
        assert_eq!(refused(dear).0, "spend_per_month", "two of thirty days have come back");
        reserve(&ledger, &account(1, 1), 100, month).unwrap();
    }

    /// The largest limits that can be configured, for years.
    #[test]
    fn no_number_is_too_large() {
        let limits = Limits {
            tokens_per_day: Some(1 << 53),
            spend_per_month: Some(u64::MAX),
            requests_per_minute: Some(1 << 53),
            ..Limits::default()
        };
        let ledger = Ledger::new(vec![each_user(limits)]);
        let price = Price { input: u64::MAX, output: u64::MAX };
        let ask = |seconds| {
            ledger.reserve(&account(1, 1), price, (Tokens(u32::MAX), Tokens(u32::MAX)), at(seconds))
        };
        drop(ask(0));
        assert!(refused(ask(1)).2.is_some());
        drop(ask(10_000_000_000));
    }

    #[test]
    fn a_race_for_the_last_tokens_is_won_exactly() {
        let limits = Limits { tokens_per_day: Some(1_000), ..Limits::default() };
        let ledger = Ledger::new(vec![Quota { limits, ..Quota::default() }]);
        let won: u64 = thread::scope(|scope| {
            let racers: Vec<_> = (0..500)
                .map(|user| {
                    let ledger = &ledger;
                    scope.spawn(move || match reserve(ledger, &account(1, user), 30, 0) {
                        Ok(reservation) => {
                            reservation.settle(Tokens(30), Tokens(0));
                            1
                        }
                        Err(_) => 0,
                    })
                })
                .collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).sum()
        });
        assert_eq!(won, 33, "33 times 30 are 990");
        settle(reserve(&ledger, &account(1, 1), 10, 0), 10);
        assert_eq!(refused(reserve(&ledger, &account(1, 1), 1, 0)).0, "tokens_per_day");
    }
}
