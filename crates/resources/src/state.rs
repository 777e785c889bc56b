use std::{sync::Arc, time::Duration};

use engine::{Driver, DriverState, Stepped};
use types::Instant;

use crate::residency::Residency;

/// How long a model that failed for good is left alone, unless an operator has it loaded.
pub(crate) const LEFT_ALONE: Duration = Duration::from_secs(60);

/// What changes: who is in memory, and what runs it. By the numbers of the models.
pub(crate) struct State {
    pub(crate) residency: Residency,
    /// Present for a model that is in memory or on its way there.
    pub(crate) drivers: Vec<Option<Arc<Stepped>>>,
    /// Why a model could not be loaded the last time.
    failures: Vec<Option<Failure>>,
}

/// A model could not be loaded, and nothing will change by itself.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// What happened and what to do.
    pub(crate) why: String,
    /// A request after this tries again.
    until: Instant,
}

impl Failure {
    /// Time until a request tries again.
    pub(crate) fn retry_in(&self, now: Instant) -> Duration {
        self.until.since(now)
    }
}

impl State {
    pub(crate) fn new(residency: Residency, models: usize) -> Self {
        Self { residency, drivers: vec![None; models], failures: vec![None; models] }
    }

    /// Notes why a model cannot be loaded.
    pub(crate) fn fail(&mut self, now: Instant, model: usize, why: String) -> Failure {
        let failure = Failure { why, until: now + LEFT_ALONE };
        self.failures[model] = Some(failure.clone());
        failure
    }

    /// Why a model could not be loaded the last time, if it has not been since.
    pub(crate) fn failure(&self, model: usize) -> Option<&Failure> {
        self.failures[model].as_ref()
    }

    /// A new attempt begins.
    pub(crate) fn forgive(&mut self, model: usize) {
        self.failures[model] = None;
    }

    /// A model that failed for good has nothing in memory, so it is gone.
    pub(crate) fn settle(&mut self, now: Instant, model: usize) {
        let Some(driver) = &self.drivers[model] else { return };
        let DriverState::Failed { why, retry_in: None } = driver.state() else { return };
        self.drivers[model] = None;
        self.residency.give_up(model);
        self.fail(now, model, why);
    }
}
