use std::time::Duration;

use types::{SequenceId, Tokens};

/// One step of one replica: who runs, with how many tokens, who gives up memory.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StepPlan {
    /// Forget these and free their memory, before anything else of the step.
    pub release: Vec<SequenceId>,
    /// Take these off the device, after `release` and before `run`.
    pub preempt: Vec<(SequenceId, Preemption)>,
    /// Process the next tokens of these. Never two slices of one sequence.
    pub run: Vec<Slice>,
}

impl StepPlan {
    /// Nothing to do: no step is needed.
    pub fn is_empty(&self) -> bool {
        self.release.is_empty() && self.preempt.is_empty() && self.run.is_empty()
    }

    /// Tokens processed by the step.
    pub fn tokens(&self) -> Tokens {
        self.run.iter().map(|slice| slice.tokens).sum()
    }
}

/// The next tokens of one sequence. When they reach its last token, the engine draws the next one; or, of a
/// sequence that generates nothing, hands out what it computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slice {
    /// Whose tokens.
    pub sequence: SequenceId,
    /// How many, at least one.
    pub tokens: Tokens,
}

/// How a sequence leaves the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Preemption {
    /// Its KV memory is freed; prompt and answer so far are read again when it resumes.
    Recompute,
}

/// What a step did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct StepOutcome {
    /// How long the engine computed.
    pub took: Duration,
    /// The token drawn for each generating sequence whose slice reached its end.
    pub produced: Vec<(SequenceId, u32)>,
    /// Sequences that are complete; their memory is released by the next plan.
    pub finished: Vec<SequenceId>,
}
