//! The rates of many, each with a bucket of its own. Pure: the time comes in as an argument.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use types::Instant;

use crate::{
    bucket::{Bucket, UNIT},
    quota::MINUTE,
};

/// Most that are remembered. Beyond, those that have nothing against them are forgotten, and if that is none, all are.
const REMEMBERED_MAX: usize = 10_000;

/// So much in a minute for each, and at once if they have asked for nothing before.
pub(crate) struct Rates<K> {
    per_minute: AtomicU64,
    buckets: Mutex<HashMap<K, Bucket>>,
}

impl<K: Eq + Hash> Rates<K> {
    pub(crate) fn new(per_minute: u64) -> Self {
        Self { per_minute: AtomicU64::new(per_minute), buckets: Mutex::default() }
    }

    /// Another rate, for those who are not remembered yet.
    pub(crate) fn set(&self, per_minute: u64) {
        self.per_minute.store(per_minute, Ordering::Relaxed);
    }

    /// Takes one; if there is none left, says when there is the next.
    pub(crate) fn take(&self, whose: K, now: Instant) -> Result<(), Duration> {
        self.with(whose, now, |bucket| match bucket.wait(UNIT) {
            Some(Duration::ZERO) => {
                bucket.take(UNIT);
                Ok(())
            }
            wait => Err(wait.unwrap_or(MINUTE)),
        })
    }

    /// Whether there is one left; it is not taken.
    pub(crate) fn look(&self, whose: K, now: Instant) -> Result<(), Duration> {
        self.with(whose, now, |bucket| match bucket.wait(UNIT) {
            Some(Duration::ZERO) => Ok(()),
            wait => Err(wait.unwrap_or(MINUTE)),
        })
    }

    /// Takes one for what has happened, also if there is none left.
    pub(crate) fn owe(&self, whose: K, now: Instant) {
        self.with(whose, now, |bucket| bucket.take(UNIT));
    }

    fn with<T>(&self, whose: K, now: Instant, act: impl FnOnce(&mut Bucket) -> T) -> T {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= REMEMBERED_MAX && !buckets.contains_key(&whose) {
            buckets.retain(|_, bucket| {
                bucket.fill(now);
                !bucket.is_full()
            });
            if buckets.len() >= REMEMBERED_MAX {
                buckets.clear();
            }
        }
        let per_minute = self.per_minute.load(Ordering::Relaxed);
        let bucket = buckets.entry(whose).or_insert_with(|| Bucket::new(per_minute, MINUTE, now));
        bucket.fill(now);
        act(bucket)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_owed_is_waited_for() {
        let rates = Rates::new(60);
        let at = |seconds: u64| Instant { nanos: seconds * 1_000_000_000 };
        for _ in 0..61 {
            rates.owe("ann", at(0));
        }
        assert_eq!(rates.look("ann", at(0)), Err(Duration::from_secs(2)));
        assert_eq!((rates.look("ben", at(0)), rates.take("ben", at(0))), (Ok(()), Ok(())));
        assert_eq!(rates.look("ann", at(2)), Ok(()));
        assert_eq!(
            (rates.take("ann", at(2)), rates.take("ann", at(2))),
            (Ok(()), Err(Duration::from_secs(1)))
        );
    }

    #[test]
    fn only_so_many_are_remembered() {
        let rates = Rates::new(60);
        for one in 0..REMEMBERED_MAX + 5 {
            rates.owe(one, Instant { nanos: 0 });
        }
        assert!(rates.buckets.lock().unwrap().len() <= REMEMBERED_MAX);
    }
}
