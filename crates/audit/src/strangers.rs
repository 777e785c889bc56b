//! Those who show nothing that is good for anything: counted, and sampled into the log.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// How often one of them gets a record, at most; the others are counted in the next one.
const SAMPLED_EVERY: Duration = Duration::from_secs(1);

/// Counts them.
#[derive(Default)]
pub(crate) struct Strangers(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    since_last: u64,
    last: Option<Instant>,
}

impl Strangers {
    /// One more. If it is to be recorded: how many there were since the last record.
    pub(crate) fn count(&self, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.since_last += 1;
        if counted.last.is_some_and(|last| now.duration_since(last) < SAMPLED_EVERY) {
            return None;
        }
        counted.last = Some(now);
        Some(std::mem::take(&mut counted.since_last))
    }

    /// Those who are in no record yet.
    pub(crate) fn rest(&self) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(std::mem::take(&mut counted.since_last)).filter(|count| *count > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_in_one_record() {
        let (strangers, start) = (Strangers::default(), Instant::now());
        let at = |ms| start + Duration::from_millis(ms);
        let counts: Vec<_> = [0, 10, 999, 1_000, 1_001].iter().map(|ms| strangers.count(at(*ms))).collect();
        assert_eq!(counts, [Some(1), None, None, Some(3), None]);
        assert_eq!((strangers.rest(), strangers.rest()), (Some(1), None));
    }
}
