//! What is done after an answer. Pure.

use std::time::Duration;

use super::{REFUSED_TRIES_MAX, otlp::Meaning};
use crate::retry;

/// How it has gone up to now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tried {
    /// Tries that have failed since one did not.
    pub(super) failures: u32,
    /// Tries in a row in which the first record was refused alone.
    pub(super) refusals: u32,
    /// Something was taken since the start, or since a record was left out.
    pub(super) has_taken: bool,
}

impl Tried {
    /// It has failed once more, and was refused so often.
    pub(super) fn failed(self, refusals: u32) -> Self {
        Self { failures: self.failures.saturating_add(1), refusals, ..self }
    }

    /// How long the collector is left alone: as long as it says (`after`), or longer each time. Where it refuses a record it cannot say
    /// less than that, or the tries would be over before anybody has mended it.
    pub(super) fn pause(self, after: Option<Duration>) -> Duration {
        let usual = retry::after(self.failures);
        let least = if self.refusals > 0 { usual } else { Duration::ZERO };
        after.map_or(usual, |after| after.max(least).min(retry::MAX))
    }
}

/// What is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    /// The next records, though of these so many are not kept there.
    Go {
        /// How many.
        refused: u64,
        /// Why.
        why: String,
    },
    /// The first half of them.
    Halve,
    /// The next record: this one is left out.
    Skip(String),
    /// The same again, later.
    Wait(String),
}

/// What is done after a batch of `count` records, and how it has gone then.
pub(super) fn decide(meaning: Meaning, count: usize, tried: Tried) -> (Step, Tried) {
    let refusals = tried.refusals.saturating_add(1);
    match meaning {
        Meaning::Taken { refused, why } => {
            (Step::Go { refused, why }, Tried { has_taken: true, ..Tried::default() })
        }
        Meaning::Refused(_) if count > 1 => (Step::Halve, tried),
        Meaning::Refused(why) if tried.has_taken || refusals >= REFUSED_TRIES_MAX => {
            (Step::Skip(why), Tried::default())
        }
        Meaning::Refused(why) => (Step::Wait(why), tried.failed(refusals)),
        Meaning::Later(why) => (Step::Wait(why), tried.failed(0)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_left_out_only_if_it_is_refused_alone_and_others_are_not() {
        let refused = || Meaning::Refused("no".to_owned());
        let later = || Meaning::Later("no".to_owned());
        let taken = || Meaning::Taken { refused: 0, why: String::new() };
        let go = || Step::Go { refused: 0, why: String::new() };
        let (skip, wait) = (|| Step::Skip("no".to_owned()), || Step::Wait("no".to_owned()));
        let now = |failures, refusals, has_taken| Tried { failures, refusals, has_taken };
        let most = REFUSED_TRIES_MAX;
        for (meaning, count, tried, expected, then) in [
            (refused(), 512, now(0, 0, true), Step::Halve, now(0, 0, true)),
            (refused(), 2, now(9, 9, false), Step::Halve, now(9, 9, false)),
            (refused(), 1, now(0, 0, true), skip(), now(0, 0, false)),
            (refused(), 1, now(0, 0, false), wait(), now(1, 1, false)),
            (refused(), 1, now(most - 2, most - 2, false), wait(), now(most - 1, most - 1, false)),
            (refused(), 1, now(most - 1, most - 1, false), skip(), now(0, 0, false)),
            // That it did not answer says nothing of the record.
            (refused(), 1, now(u32::MAX, 0, false), wait(), now(u32::MAX, 1, false)),
            (later(), 1, now(5, 5, false), wait(), now(6, 0, false)),
            // What may be taken later is tried for ever.
            (later(), 1, now(u32::MAX, 0, true), wait(), now(u32::MAX, 0, true)),
            (later(), 512, now(0, 0, false), wait(), now(1, 0, false)),
            (taken(), 1, now(3, 2, false), go(), now(0, 0, true)),
        ] {
            assert_eq!(decide(meaning.clone(), count, tried), (expected, then), "{meaning:?} {tried:?}");
        }
    }

    #[test]
    fn a_collector_says_when_it_is_tried_again_but_does_not_hurry_what_it_refuses() {
        for (failures, refusals, after, pause) in [
            (1, 0, None, 5),
            (3, 0, None, 20),
            (3, 0, Some(0), 0),
            (3, 0, Some(60), 60),
            (3, 0, Some(3_600), 300),
            (3, 3, None, 20),
            (3, 3, Some(0), 20),
            (3, 3, Some(60), 60),
            (3, 3, Some(3_600), 300),
        ] {
            let tried = Tried { failures, refusals, has_taken: false };
            let found = tried.pause(after.map(Duration::from_secs));
            assert_eq!(found.as_secs(), pause, "{tried:?} {after:?}");
        }
    }
}
