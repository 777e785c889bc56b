//! The root that is in use, and those before it as long as something may be under them.

use std::sync::{Arc, PoisonError, RwLock};

use tokio::sync::RwLockReadGuard;

use crate::Root;

pub(crate) struct Roots {
    /// The one that wraps what is made first. Never empty.
    all: RwLock<Arc<[Arc<Root>]>>,
    /// Held by whoever reads or writes a tenant key and needs its root until that is done.
    used: tokio::sync::RwLock<()>,
}

impl Roots {
    pub(crate) fn new(newest: Root, older: Option<Root>) -> Self {
        let all = [Some(newest), older].into_iter().flatten().map(Arc::new).collect();
        Self { all: RwLock::new(all), used: tokio::sync::RwLock::default() }
    }

    /// As long as it is held, the newest root stays that, and none goes.
    pub(crate) async fn hold(&self) -> RwLockReadGuard<'_, ()> {
        self.used.read().await
    }

    /// Puts a new root before those that are there. Whatever is wrapped by another is in the store when this returns.
    pub(crate) async fn adopt(&self, root: Root) {
        let _unused = self.used.write().await;
        let mut roots = self.all.write().unwrap_or_else(PoisonError::into_inner);
        if roots[0].id() != root.id() {
            *roots = std::iter::once(Arc::new(root)).chain(roots.iter().cloned()).collect();
        }
    }

    /// Forgets all but the newest: nothing is under them any more.
    pub(crate) async fn keep_newest(&self) {
        let _unused = self.used.write().await;
        let mut roots = self.all.write().unwrap_or_else(PoisonError::into_inner);
        *roots = Arc::new([roots[0].clone()]);
    }

    pub(crate) fn newest(&self) -> Arc<Root> {
        self.all()[0].clone()
    }

    pub(crate) fn of(&self, id: &[u8; 16]) -> Option<Arc<Root>> {
        self.all().iter().find(|root| root.id() == *id).cloned()
    }

    fn all(&self) -> Arc<[Arc<Root>]> {
        self.all.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, pin::pin, task::Poll};

    use types::Secret;

    use super::*;

    fn root(digit: char) -> Root {
        Root::of_text(&Secret::from(format!("0123456789abcdef{}", digit.to_string().repeat(48)))).unwrap()
    }

    /// What is wrapped by the old root meanwhile would stay under it.
    #[tokio::test]
    async fn a_root_comes_when_nobody_wraps_by_the_one_before() {
        let roots = Roots::new(root('a'), None);
        let held = roots.hold().await;
        let mut adopting = pin!(roots.adopt(root('b')));
        assert!(poll_fn(|context| Poll::Ready(adopting.as_mut().poll(context).is_pending())).await);
        assert_eq!(roots.newest().id(), root('a').id());
        drop(held);
        adopting.await;
        assert_eq!(roots.newest().id(), root('b').id());
        roots.keep_newest().await;
        assert!(roots.of(&root('a').id()).is_none());
    }
}
