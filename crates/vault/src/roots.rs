//! The root that is in use, and those before it as long as something may be under them.

use std::sync::{Arc, PoisonError, RwLock};

use crate::Root;

/// The one that wraps what is made first. Never empty.
pub(crate) struct Roots(RwLock<Arc<[Arc<Root>]>>);

impl Roots {
    pub(crate) fn new(newest: Root, older: Option<Root>) -> Self {
        Self(RwLock::new([Some(newest), older].into_iter().flatten().map(Arc::new).collect()))
    }

    /// Puts a new root before those that are there.
    pub(crate) fn adopt(&self, root: Root) {
        let mut roots = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if roots[0].id() != root.id() {
            *roots = std::iter::once(Arc::new(root)).chain(roots.iter().cloned()).collect();
        }
    }

    pub(crate) fn newest(&self) -> Arc<Root> {
        self.all()[0].clone()
    }

    pub(crate) fn of(&self, id: &[u8; 16]) -> Option<Arc<Root>> {
        self.all().iter().find(|root| root.id() == *id).cloned()
    }

    fn all(&self) -> Arc<[Arc<Root>]> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
