//! Requests that cost an engine what real ones do.

use serde_json::{Map, Value};

/// Prompts are made of these ids: ordinary words in every vocabulary of usual size.
const PROMPT_IDS: std::ops::Range<u64> = 300..30_000;
/// Ids of the packaged model's control tokens. They are made impossible, so that no answer ends early.
pub(super) const CONTROL_IDS: std::ops::Range<u32> = 0..17;
/// The most that the API lets a token be disliked.
const IMPOSSIBLE: i32 = -100;

/// A `logit_bias` with which no answer ends before its last token.
pub(super) fn endless() -> Map<String, Value> {
    CONTROL_IDS.map(|id| (id.to_string(), IMPOSSIBLE.into())).collect()
}

/// Prompts that look like text to an engine, each different, the same in every run of the bench.
#[derive(Default)]
pub(super) struct Prompts {
    state: u64,
}

impl Prompts {
    pub(super) fn next(&mut self, tokens: usize) -> Vec<u64> {
        (0..tokens).map(|_| PROMPT_IDS.start + self.draw() % (PROMPT_IDS.end - PROMPT_IDS.start)).collect()
    }

    /// `SplitMix64` (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
    pub(super) fn draw(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_differ_and_come_again() {
        let (mut one, mut other) = (Prompts::default(), Prompts::default());
        let first = one.next(1024);
        assert!(first.len() == 1024 && first.iter().all(|id| PROMPT_IDS.contains(id)));
        assert_ne!(first, one.next(1024));
        assert_eq!(first, other.next(1024));
    }
}
