use std::time::Duration;

use types::Tokens;

/// Weight of the newest step in the moving averages.
const NEWEST: f64 = 0.1;

/// What steps have cost lately, for telling callers when to expect something. Exponential moving averages.
#[derive(Debug, Default)]
pub(crate) struct StepCost {
    step_s: Option<f64>,
    token_s: Option<f64>,
}

impl StepCost {
    pub(crate) fn learn(&mut self, took: Duration, tokens: Tokens) {
        if tokens == Tokens(0) {
            return;
        }
        let took_s = took.as_secs_f64();
        average(&mut self.step_s, took_s);
        average(&mut self.token_s, took_s / f64::from(tokens.0));
    }

    /// Time to process `tokens` more tokens of prompts. Zero before the first step: nothing is known yet.
    pub(crate) fn of_tokens(&self, tokens: Tokens) -> Duration {
        Duration::from_secs_f64(self.token_s.unwrap_or(0.0) * f64::from(tokens.0))
    }

    /// Time of `steps` steps.
    pub(crate) fn of_steps(&self, steps: u32) -> Duration {
        Duration::from_secs_f64(self.step_s.unwrap_or(0.0) * f64::from(steps))
    }
}

fn average(mean: &mut Option<f64>, newest: f64) {
    *mean = Some(mean.map_or(newest, |mean| mean + NEWEST * (newest - mean)));
}
