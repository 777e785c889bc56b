//! The keys that a provider signs with, as it publishes them.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use jsonwebtoken::{
    Algorithm, DecodingKey,
    jwk::{JwkSet, PublicKeyUse},
};
use tokio::{sync::Mutex, time::Instant};

use crate::IdentityError;

/// After this long they are fetched again, by whoever needs one next.
const FRESH: Duration = Duration::from_secs(300);
/// Least time between two fetches, however many unknown keys are named.
const FLOOR: Duration = Duration::from_secs(60);
/// If fetching fails, they are used until they are this old, and then nobody is let in any more.
const STALE_MAX: Duration = Duration::from_secs(3_600);
/// Most keys of a provider that are looked at.
const KEYS_MAX: usize = 64;

/// The keys of one provider.
#[derive(Default)]
pub(crate) struct Keys {
    known: RwLock<Option<Known>>,
    /// When it was last tried to fetch them. Held while they are fetched: the others wait and look again.
    tried: Mutex<Option<Instant>>,
}

#[derive(Clone)]
struct Known {
    set: Arc<JwkSet>,
    at: Instant,
}

impl Keys {
    /// The key of this id, or the only one that fits if the token names none. `fetch` gets them from the provider.
    pub(crate) async fn find<F>(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
        fetch: impl FnOnce() -> F,
    ) -> Result<DecodingKey, IdentityError>
    where
        F: Future<Output = Result<JwkSet, IdentityError>>,
    {
        let now = Instant::now();
        let known = self.known();
        if let Some(known) = known.as_ref().filter(|known| now - known.at < FRESH)
            && let Some(key) = select(&known.set, kid, algorithm)
        {
            return Ok(key);
        }
        let failed = self.refresh(known.map(|known| known.at), fetch).await.err();
        let known = self.known().filter(|known| Instant::now() - known.at < STALE_MAX);
        match (known.and_then(|known| select(&known.set, kid, algorithm)), failed) {
            (Some(key), _) => Ok(key),
            (None, Some(error)) => Err(error),
            (None, None) => {
                Err(IdentityError::Rejected("it is signed with a key that the provider does not have"))
            }
        }
    }

    fn known(&self) -> Option<Known> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Fetches them, unless somebody else just did or tried to.
    async fn refresh<F>(&self, seen: Option<Instant>, fetch: impl FnOnce() -> F) -> Result<(), IdentityError>
    where
        F: Future<Output = Result<JwkSet, IdentityError>>,
    {
        let mut tried = self.tried.lock().await;
        let is_newer = self.known().map(|known| known.at) != seen;
        if is_newer || tried.is_some_and(|tried| Instant::now() - tried < FLOOR) {
            return Ok(());
        }
        *tried = Some(Instant::now());
        let set = Arc::new(fetch().await?);
        *self.known.write().unwrap_or_else(PoisonError::into_inner) = Some(Known { set, at: Instant::now() });
        Ok(())
    }
}

/// A key that is for signatures of this kind.
fn select(set: &JwkSet, kid: Option<&str>, algorithm: Algorithm) -> Option<DecodingKey> {
    let mut fitting = set.keys.iter().take(KEYS_MAX).filter_map(|key| {
        let common = &key.common;
        let is_meant = kid.is_none_or(|kid| common.key_id.as_deref() == Some(kid));
        let signs = common.public_key_use.as_ref().is_none_or(|used| *used == PublicKeyUse::Signature);
        let fits = common.key_algorithm.is_none_or(|said| said.to_string() == format!("{algorithm:?}"));
        if !is_meant || !signs || !fits {
            return None;
        }
        DecodingKey::from_jwk(key).ok().filter(|key| key.family() == algorithm.family())
    });
    let first = fitting.next();
    // Without an id, two keys that fit would be a guess.
    if kid.is_none() && fitting.next().is_some() { None } else { first }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    fn set(kids: &[&str]) -> JwkSet {
        let (x, y) =
            ("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU", "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0");
        let key = |kid| json!({ "kty": "EC", "crv": "P-256", "x": x, "y": y, "kid": kid, "use": "sig" });
        let mut keys: Vec<_> = kids.iter().map(key).collect();
        keys.push(json!({ "kty": "oct", "k": "c2VjcmV0", "kid": "shared" }));
        serde_json::from_value(json!({ "keys": keys })).unwrap()
    }

    struct Site {
        keys: Keys,
        fetched: AtomicUsize,
    }

    impl Site {
        async fn find(&self, kid: Option<&str>, answer: Option<&[&str]>) -> Result<(), bool> {
            let fetch = || async {
                self.fetched.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_millis(1)).await;
                answer.map(set).ok_or(IdentityError::Random)
            };
            let found = self.keys.find(kid, Algorithm::ES256, fetch).await;
            found.map(drop).map_err(|error| matches!(error, IdentityError::Rejected(_)))
        }

        fn fetched(&self) -> usize {
            self.fetched.load(Ordering::Relaxed)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn keys_are_fetched_once_not_too_often_and_not_used_for_ever() {
        let site = Site { keys: Keys::default(), fetched: AtomicUsize::new(0) };
        let many = (0..50).map(|_| site.find(Some("a"), Some(&["a"])));
        for found in futures_join(many).await {
            assert_eq!(found, Ok(()));
        }
        assert_eq!(site.fetched(), 1, "all the others waited for the first");

        // A key that nobody has is asked for once in a minute.
        for _ in 0..20 {
            assert_eq!(site.find(Some("b"), Some(&["a"])).await, Err(true));
        }
        assert_eq!(site.fetched(), 1);
        tokio::time::advance(FLOOR).await;
        assert_eq!(site.find(Some("b"), Some(&["a", "b"])).await, Ok(()), "it was new");
        assert_eq!(site.fetched(), 2);

        // The provider does not answer: for an hour the old ones do.
        tokio::time::advance(FRESH + FLOOR).await;
        assert_eq!(site.find(Some("a"), None).await, Ok(()));
        tokio::time::advance(STALE_MAX).await;
        assert_eq!(site.find(Some("a"), None).await, Err(false));
        // A key that is gone opens nothing once they are fetched again.
        tokio::time::advance(FLOOR).await;
        assert_eq!(site.find(Some("a"), Some(&["b"])).await, Err(true));
        assert_eq!(site.find(Some("b"), None).await, Ok(()));
    }

    async fn futures_join<F: Future>(all: impl Iterator<Item = F>) -> Vec<F::Output> {
        let mut all: Vec<_> = all.map(Box::pin).collect();
        let mut done = Vec::new();
        std::future::poll_fn(|context| {
            all.retain_mut(|one| match one.as_mut().poll(context) {
                std::task::Poll::Ready(output) => {
                    done.push(output);
                    false
                }
                std::task::Poll::Pending => true,
            });
            if all.is_empty() { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
        })
        .await;
        done
    }

    #[test]
    fn only_a_key_for_such_signatures_is_taken() {
        let set = set(&["a", "b"]);
        assert!(select(&set, Some("a"), Algorithm::ES256).is_some());
        assert!(select(&set, Some("a"), Algorithm::RS256).is_none());
        assert!(select(&set, Some("shared"), Algorithm::ES256).is_none());
        assert!(select(&set, None, Algorithm::ES256).is_none(), "two fit");
        assert!(select(&self::set(&["a"]), None, Algorithm::ES256).is_some());
    }
}
