use std::sync::Arc;

use engine::Stepped;

use crate::residency::Residency;

/// What changes: who is in memory, and what runs it. By the numbers of the models.
pub(crate) struct State {
    pub(crate) residency: Residency,
    /// Present for a model that is in memory or on its way there.
    pub(crate) drivers: Vec<Option<Arc<Stepped>>>,
    /// Why a model could not even begin to load.
    pub(crate) failures: Vec<Option<String>>,
}

impl State {
    pub(crate) fn new(residency: Residency, models: usize) -> Self {
        Self { residency, drivers: vec![None; models], failures: vec![None; models] }
    }
}
