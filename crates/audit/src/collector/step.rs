//! What is done after an answer. Pure.

use super::{REFUSED_TRIES_MAX, otlp::Meaning};

/// How it has gone up to now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tried {
    /// Tries that have failed since one did not.
    pub(super) failures: u32,
    /// Something was taken since the start, or since a record was left out.
    pub(super) has_taken: bool,
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

/// What is done after a batch of `count` records.
pub(super) fn decide(meaning: Meaning, count: usize, tried: Tried) -> Step {
    match meaning {
        Meaning::Taken { refused, why } => Step::Go { refused, why },
        Meaning::Refused(_) if count > 1 => Step::Halve,
        // One failure more than there were: this one.
        Meaning::Refused(why) if tried.has_taken || tried.failures + 1 >= REFUSED_TRIES_MAX => {
            Step::Skip(why)
        }
        Meaning::Refused(why) | Meaning::Later(why) => Step::Wait(why),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_left_out_only_if_it_is_refused_alone_and_others_are_not() {
        let refused = || Meaning::Refused("no".to_owned());
        let later = || Meaning::Later("no".to_owned());
        let (skip, wait) = (|| Step::Skip("no".to_owned()), || Step::Wait("no".to_owned()));
        for (meaning, count, failures, has_taken, expected) in [
            (refused(), 512, 0, true, Step::Halve),
            (refused(), 2, 9, false, Step::Halve),
            (refused(), 1, 0, true, skip()),
            (refused(), 1, 0, false, wait()),
            (refused(), 1, REFUSED_TRIES_MAX - 2, false, wait()),
            (refused(), 1, REFUSED_TRIES_MAX - 1, false, skip()),
            // What may be taken later is tried for ever.
            (later(), 1, u32::MAX, true, wait()),
            (later(), 512, 0, false, wait()),
        ] {
            assert_eq!(
                decide(meaning.clone(), count, Tried { failures, has_taken }),
                expected,
                "{meaning:?}"
            );
        }
    }
}
