//! What all searches share: how long they may go on, and the best that was found.

use super::{Schedule, plan::Plan};
use crate::{Budget, Control, Progress};

/// Between two questions whether to go on lies the work of about so many tasks.
const WORK_BETWEEN: usize = 1 << 12;

pub(super) struct Race<'a> {
    control: &'a mut dyn Control,
    budget: Budget,
    evaluations: u64,
    ask_every: u64,
    stopped: bool,
    bound: i64,
    makespan: i64,
    best: Schedule,
}

impl<'a> Race<'a> {
    /// Begins with a schedule, which is not counted.
    pub(super) fn new(best: Schedule, bound: i64, budget: Budget, control: &'a mut dyn Control) -> Self {
        let makespan = best.makespan();
        let ask_every = (WORK_BETWEEN / best.placed.len().max(1)).max(1) as u64;
        let stopped = makespan <= bound;
        Self { control, budget, evaluations: 0, ask_every, stopped, bound, makespan, best }
    }

    pub(super) fn makespan(&self) -> i64 {
        self.makespan
    }

    pub(super) fn best(&self) -> &Schedule {
        &self.best
    }

    /// Whether another plan may be evaluated.
    pub(super) fn goes_on(&self) -> bool {
        !self.stopped && self.evaluations < self.budget.evaluations
    }

    /// Counts a plan of the search, keeps it if it is the best, and asks now and then whether to go on.
    pub(super) fn count(&mut self, plan: &Plan<'_>) {
        let makespan = plan.makespan();
        if makespan < self.makespan {
            (self.makespan, self.best) = (makespan, plan.schedule());
        }
        self.counted(self.evaluations.is_multiple_of(self.ask_every));
    }

    /// The same for a schedule that took longer to make.
    pub(super) fn count_schedule(&mut self, schedule: &Schedule) {
        let makespan = schedule.makespan();
        if makespan < self.makespan {
            (self.makespan, self.best) = (makespan, schedule.clone());
        }
        self.counted(true);
    }

    fn counted(&mut self, asks: bool) {
        self.evaluations += 1;
        let progress = Progress { evaluations: self.evaluations, best: self.makespan, bound: self.bound };
        self.stopped |= self.makespan <= self.bound || (asks && !self.control.goes_on(progress));
    }

    /// The best schedule and how many plans were evaluated.
    pub(super) fn end(self) -> (Schedule, u64) {
        (self.best, self.evaluations)
    }
}
