use std::sync::Arc;

use tokio::sync::{Mutex, OwnedMutexGuard};

/// Engines that share cores take turns, a step each, in the order in which they ask: two that compute on one core
/// at the same time were measured 24 times slower than one.
#[derive(Debug, Clone, Default)]
pub struct Turns(Option<Arc<Mutex<()>>>);

impl Turns {
    /// For engines that share cores: give each a clone.
    pub fn shared() -> Self {
        Self(Some(Arc::default()))
    }

    /// For an engine that has its cores alone.
    pub fn alone() -> Self {
        Self(None)
    }

    /// Waits for the turn; it ends when what is returned is dropped.
    pub(crate) async fn take(&self) -> Option<OwnedMutexGuard<()>> {
        match &self.0 {
            Some(turn) => Some(turn.clone().lock_owned().await),
            None => None,
        }
    }
}
