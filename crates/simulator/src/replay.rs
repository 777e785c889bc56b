//! Runs a scheduler over arrivals in virtual time: no threads, no waiting, the same result every time.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use scheduler::{Admission, Arrival, Scheduler, StepOutcome};
use types::{Instant, PriorityClass, SequenceId, TenantId, Tokens};

/// How long a step takes: `base + per_token * tokens`.
#[derive(Debug, Clone, Copy)]
pub struct StepTime {
    /// Time of a step that processes nothing.
    pub base: Duration,
    /// Added for each token processed.
    pub per_token: Duration,
}

impl Default for StepTime {
    /// About a small model on two cores: 3 ms a step and 2 ms a token.
    fn default() -> Self {
        Self { base: Duration::from_millis(3), per_token: Duration::from_millis(2) }
    }
}

impl StepTime {
    /// Time of a step over this many tokens.
    pub fn of(self, tokens: Tokens) -> Duration {
        self.base + self.per_token * tokens.0
    }
}

/// One request of a trace.
#[derive(Debug, Clone, Copy)]
pub struct Visit {
    /// When it arrives; a trace is sorted by this.
    pub at: Instant,
    /// Tokens of its prompt, at least one.
    pub prompt: Tokens,
    /// Tokens of its answer, at least one.
    pub answer: Tokens,
}

/// How a visit ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// When its first token was there.
    pub first_token: Instant,
    /// When its last token was there.
    pub finished: Instant,
    /// Tokens generated.
    pub generated: Tokens,
}

/// Runs all visits to their end. The answer has one entry per visit, in order; `None` is a refusal.
pub fn replay(scheduler: &mut Scheduler, visits: &[Visit], time: StepTime) -> Vec<Option<End>> {
    let mut ends: Vec<Option<End>> = vec![None; visits.len()];
    let mut open = BTreeMap::new();
    let mut coming = visits.iter().enumerate().peekable();
    let mut now = Instant::default();
    loop {
        while let Some((i, visit)) = coming.next_if(|(_, visit)| visit.at <= now) {
            let sequence = SequenceId(i as u64);
            let prompt: Arc<[u32]> = vec![0; visit.prompt.0 as usize].into();
            let (tenant, class) = (TenantId(0), PriorityClass::Normal);
            let arrival = Arrival { sequence, tenant, class, prompt, tokens_max: visit.answer };
            if let Admission::Accepted { .. } = scheduler.arrive(now, arrival) {
                open.insert(sequence, Tokens(0));
            }
        }
        let plan = scheduler.plan();
        if plan.run.is_empty() {
            match coming.peek() {
                Some((_, visit)) => now = now.max(visit.at),
                None => return ends,
            }
            continue;
        }
        let took = time.of(plan.tokens());
        now = now + took;
        let mut outcome = StepOutcome { took, ..StepOutcome::default() };
        for slice in &plan.run {
            // A slice reaches the end of its sequence when nothing more of it could have been planned.
            if !scheduler.at_its_end(slice.sequence) {
                continue;
            }
            outcome.produced.push((slice.sequence, 0));
            let Some(generated) = open.get_mut(&slice.sequence) else { continue };
            *generated += Tokens(1);
            let i = slice.sequence.0 as usize;
            let end = ends[i].get_or_insert(End { first_token: now, finished: now, generated: *generated });
            (end.finished, end.generated) = (now, *generated);
            if *generated == visits[i].answer {
                outcome.finished.push(slice.sequence);
            }
        }
        scheduler.apply(&outcome);
    }
}
