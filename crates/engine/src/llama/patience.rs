use std::time::Duration;

/// How long a worker may take until it is given up as hung, and replaced.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// To render and tokenise one prompt.
    pub encode: Duration,
    /// For a step, at least; more if its tokens take longer at the pace of this worker.
    pub step_min: Duration,
    /// For a step, at most, and as long as nothing is known of the pace.
    pub step_max: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        let s = Duration::from_secs;
        Self { encode: s(30), step_min: s(30), step_max: s(300) }
    }
}

/// So many times slower than ever before a step may be: others may have taken the processors or the memory.
const SLOWER_MAX: u32 = 20;

/// How slow a worker has been, for each token of a step. A step of few tokens takes longer for each of them, so a pace
/// that was learnt from one is only more patient with a large one.
#[derive(Debug, Default)]
pub(super) struct Pace {
    slowest: Duration,
}

impl Pace {
    /// Learns from a step of so many tokens.
    pub(super) fn learn(&mut self, tokens: u32, took: Duration) {
        self.slowest = self.slowest.max(took / tokens.max(1));
    }

    /// How long a step of so many tokens may take.
    pub(super) fn limit(&self, tokens: u32, patience: &Patience) -> Duration {
        if self.slowest.is_zero() {
            return patience.step_max;
        }
        let expected = self.slowest.saturating_mul(tokens.saturating_mul(SLOWER_MAX));
        expected.max(patience.step_min).min(patience.step_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_may_take_many_times_what_its_tokens_took_before() {
        let ms = Duration::from_millis;
        let patience = Patience::default();
        // Tokens of a step and what it took; tokens of the next, and its limit.
        for (before, next, limit) in [
            (None, 1, ms(300_000)),
            (Some((1, ms(20))), 1, ms(30_000)),
            (Some((1, ms(20))), 256, ms(102_400)),
            (Some((256, ms(2_000))), 1, ms(30_000)),
            (Some((1, ms(5_000))), 1, ms(100_000)),
            (Some((1, ms(5_000))), 256, ms(300_000)),
            (Some((0, ms(40_000))), u32::MAX, ms(300_000)),
        ] {
            let mut pace = Pace::default();
            if let Some((tokens, took)) = before {
                pace.learn(tokens, took);
            }
            assert_eq!(pace.limit(next, &patience), limit, "{before:?}, then {next}");
        }
    }
}
