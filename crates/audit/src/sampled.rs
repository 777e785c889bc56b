//! What would be too much to be recorded one by one: counted, and sampled into the log.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often one of a kind gets a record, at most; the others are counted in the next one.
const SAMPLED_EVERY: Duration = Duration::from_secs(1);
/// Most kinds that are remembered. Beyond, those that are all in records are forgotten, and if that is none, another kind is
/// recorded each time.
const KINDS_MAX: usize = 10_000;

/// Counts them, each kind by itself.
pub(crate) struct Sampled<K>(Mutex<HashMap<K, Counted>>);

struct Counted {
    since_last: u64,
    last: Instant,
}

impl<K> Default for Sampled<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<K: Eq + Hash> Sampled<K> {
    /// One more. If it is to be recorded: how many there were since the last record.
    pub(crate) fn count(&self, kind: K, now: Instant) -> Option<u64> {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counted) = kinds.get_mut(&kind) {
            counted.since_last += 1;
            if now.duration_since(counted.last) < SAMPLED_EVERY {
                return None;
            }
            counted.last = now;
            return Some(std::mem::take(&mut counted.since_last));
        }
        if kinds.len() >= KINDS_MAX {
            kinds.retain(|_, counted| counted.since_last > 0);
        }
        if kinds.len() < KINDS_MAX {
            kinds.insert(kind, Counted { since_last: 0, last: now });
        }
        Some(1)
    }

    /// So many could not be recorded: they come with the next ones.
    pub(crate) fn put_back(&self, kind: &K, count: u64) {
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(counted) = kinds.get_mut(kind) {
            counted.since_last += count;
        }
    }

    /// Those that are in no record yet.
    pub(crate) fn rest(&self) -> Vec<(K, u64)> {
        let kinds = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        let rest = kinds.into_iter().map(|(kind, counted)| (kind, counted.since_last));
        rest.filter(|(_, count)| *count > 0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_one_record() {
        let (sampled, start) = (Sampled::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let counts: Vec<_> =
            [0, 10, 999, 1_000, 1_001].iter().map(|ms| sampled.count("ann", at(*ms))).collect();
        assert_eq!(counts, [Some(1), None, None, Some(3), None]);
        assert_eq!(sampled.count("ben", at(1_001)), Some(1));
        sampled.put_back(&"ann", 3);
        assert_eq!((sampled.rest(), sampled.rest()), (vec![("ann", 4)], vec![]));
    }

    #[test]
    fn only_so_many_kinds_are_remembered() {
        let (sampled, now) = (Sampled::default(), Instant::now());
        for kind in 0..KINDS_MAX {
            assert_eq!((sampled.count(kind, now), sampled.count(kind, now)), (Some(1), None));
        }
        assert_eq!((sampled.count(KINDS_MAX, now), sampled.count(KINDS_MAX, now)), (Some(1), Some(1)));
        assert_eq!(sampled.rest().len(), KINDS_MAX);
    }
}
