//! A rate as a token bucket (Turner, "New Directions in Communications", 1986): it holds at most what may be used in one period, and
//! fills evenly. Pure: the time comes in as an argument.

use std::time::Duration;

use types::Instant;

/// Units are billionths: whole numbers, so that sums are exact.
pub(crate) struct Bucket {
    most: i128,
    level: i128,
    per: Duration,
    filled_at: Instant,
}

pub(crate) const UNIT: i128 = 1_000_000_000;

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

    /// Most that it holds, in whole ones.
    pub(crate) fn most(&self) -> u64 {
        u64::try_from(self.most / UNIT).unwrap_or(u64::MAX)
    }

    /// What it holds, in whole ones; below zero it is owed.
    pub(crate) fn left(&self) -> i64 {
        let whole = self.level.div_euclid(UNIT);
        i64::try_from(whole).unwrap_or(if whole < 0 { i64::MIN } else { i64::MAX })
    }

    pub(crate) fn is_full(&self) -> bool {
        self.level == self.most
    }
}
