//! Seeds of apps as the store keeps them: who has the database alone can compute no codes.

use aws_lc_rs::aead::{AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use identity::{IdentityError, Totp};
use types::UserId;
use vault::Suite;
use zeroize::Zeroizing;

use super::{SignIn, SignInError};
use crate::AccessError;

/// Bytes of ciphertext, tag and nonce of a seed of 160 bits.
const SEALED_BYTES: usize = 20 + 16 + NONCE_LEN;
/// Stands before a seed in the second suite. One in the first has nothing before it: so they were when there was no other.
const SECOND: u8 = 2;
/// What is said of a seed that does not open.
const DAMAGED: &str = "a factor in the store is damaged";

impl SignIn {
    /// Each suite has a key of its own.
    fn cipher(&self, suite: Suite) -> Result<LessSafeKey, IdentityError> {
        let (algorithm, purpose) = match suite {
            Suite::Aes256Gcm => (&AES_256_GCM, "totp seed"),
            Suite::ChaCha20Poly1305 => (&CHACHA20_POLY1305, "totp seed in chacha20-poly1305"),
        };
        let key = self.0.keyring.pepper().derive(purpose, &[]);
        UnboundKey::new(algorithm, key.as_slice()).map(LessSafeKey::new).map_err(|_| IdentityError::Random)
    }

    pub(super) fn sealed(&self, user: UserId, seed: &[u8]) -> Result<Vec<u8>, SignInError> {
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(IdentityError::from)?;
        let mut sealed = seed.to_vec();
        self.cipher(self.0.suite)?
            .seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(user.0.to_be_bytes()),
                &mut sealed,
            )
            .map_err(|_| IdentityError::Random)?;
        sealed.extend_from_slice(&nonce);
        if self.0.suite == Suite::ChaCha20Poly1305 {
            sealed.insert(0, SECOND);
        }
        Ok(sealed)
    }

    pub(super) fn opened(&self, user: UserId, sealed: &[u8]) -> Result<Totp, SignInError> {
        let damaged = || SignInError::from(AccessError::Unavailable(DAMAGED.to_owned()));
        let (suite, sealed) = parts(sealed);
        let (sealed, nonce) =
            sealed.split_at_checked(sealed.len().saturating_sub(NONCE_LEN)).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let mut seed = Zeroizing::new(sealed.to_vec());
        let length = self
            .cipher(suite)?
            .open_in_place(nonce, Aad::from(user.0.to_be_bytes()), &mut seed)
            .map_err(|_| damaged())?
            .len();
        seed.truncate(length);
        Totp::of(seed).ok_or_else(damaged)
    }

    /// Seals those anew that are in another suite than the configured one. One that does not open stays as it is, and is named in
    /// the log. Returns how many were sealed.
    pub async fn reseal_seeds(&self) -> Result<u64, AccessError> {
        let mut resealed = 0;
        for factor in self.store().factors().await? {
            // One at a time, so that nobody who signs in waits for all of them.
            let _changing = self.0.changing.lock().await;
            if factor.kind != "totp" || parts(&factor.data).0 == self.0.suite {
                continue;
            }
            let anew =
                self.opened(factor.user, &factor.data).and_then(|totp| self.sealed(factor.user, totp.seed()));
            match anew {
                Ok(data) => {
                    resealed += u64::from(self.store().reseal_factor(&factor.id, factor.data, data).await?);
                }
                Err(error) => {
                    tracing::warn!(factor = factor.id, "the seed of an app stays as it is sealed: {error}");
                }
            }
        }
        let _changing = self.0.changing.lock().await;
        self.reload().await?;
        Ok(resealed)
    }
}

/// The suite that a seed is sealed in, and the rest.
fn parts(sealed: &[u8]) -> (Suite, &[u8]) {
    match sealed {
        [SECOND, rest @ ..] if rest.len() == SEALED_BYTES => (Suite::ChaCha20Poly1305, rest),
        all => (Suite::Aes256Gcm, all),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use store::{FactorRecord, Store};
    use types::Role;

    use super::*;
    use crate::{
        SignInSettings,
        keyring::Keyring,
        recorded::{audit_in, new_key, secret_file},
    };

    #[tokio::test]
    async fn each_suite_opens_the_seeds_of_the_other_and_all_are_sealed_anew() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db")).await.unwrap();
        let audit = audit_in(folder.path()).await;
        let keyring = Arc::new(
            Keyring::open(store.clone(), &secret_file(folder.path(), "pepper"), audit).await.unwrap(),
        );
        keyring.create_first(new_key(Role::Owner)).await.unwrap();
        let open = async |suite| {
            let settings = SignInSettings { suite, ..SignInSettings::alone() };
            SignIn::open(keyring.clone(), settings, None).await.unwrap()
        };
        let user = UserId(1);
        let seed = Totp::random().unwrap().seed().to_vec();
        let factor = |id: &str, data: Vec<u8>| FactorRecord {
            id: id.to_owned(),
            user,
            kind: "totp".to_owned(),
            label: String::new(),
            data,
            used: Some(7),
            created_at: 1,
        };
        let first = open(Suite::Aes256Gcm).await;
        let sealed = first.sealed(user, &seed).unwrap();
        assert_eq!(sealed.len(), SEALED_BYTES, "as before there was another suite");
        store.add_factors(user, "totp", vec![factor("a", sealed)], true).await.unwrap();
        store.add_factors(user, "totp", vec![factor("b", vec![1; 3])], true).await.unwrap();
        for (suite, length) in [(Suite::ChaCha20Poly1305, 1 + SEALED_BYTES), (Suite::Aes256Gcm, SEALED_BYTES)]
        {
            let sign_in = open(suite).await;
            let data = || async { store.factors().await.unwrap().into_iter().next().unwrap() };
            assert_eq!(sign_in.opened(user, &data().await.data).unwrap().seed(), seed);
            assert_eq!(sign_in.reseal_seeds().await.unwrap(), 1, "one does not open, and stays as it is");
            assert_eq!(sign_in.reseal_seeds().await.unwrap(), 0);
            let anew = data().await;
            assert_eq!((anew.data.len(), anew.used), (length, Some(7)), "what was used stays so");
            assert_eq!(sign_in.opened(user, &anew.data).unwrap().seed(), seed);
            assert!(sign_in.opened(UserId(2), &anew.data).is_err());
        }
    }
}
