//! Keys under keys: the cipher of a suite with a random nonce, bound to what the key is for.
//!
//! A tenant key wraps at most one key for each person and each rotation, so random nonces of 96 bits never come near
//! the 2^32 messages that NIST SP 800-38D allows under one key. ChaCha20-Poly1305 has nonces of the same length, so the
//! same holds for it.

use aws_lc_rs::{
    aead::{Aad, NONCE_LEN, Nonce},
    rand,
};
use zeroize::Zeroizing;

use crate::{Suite, VaultError, frames::TAG_BYTES, key::KEY_BYTES, key::Key};

/// Bytes of a wrapped key behind what may tell its suite.
const WRAPPED_BYTES: usize = NONCE_LEN + KEY_BYTES + TAG_BYTES;

/// A key under another: nonce, ciphertext and tag. May be stored anywhere. The number of the suite stands in front, but not
/// of the first one: what that had wrapped before there was another stays as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped(Vec<u8>);

impl Wrapped {
    /// As it was stored, if it has the form of one.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        let wrapped = Self(bytes.to_vec());
        wrapped.parts().is_some().then_some(wrapped)
    }

    /// What is stored.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The suite, and what was sealed in it.
    fn parts(&self) -> Option<(Suite, &[u8])> {
        match self.0.as_slice() {
            bytes if bytes.len() == WRAPPED_BYTES => Some((Suite::Aes256Gcm, bytes)),
            [number, bytes @ ..] if bytes.len() == WRAPPED_BYTES => {
                let suite = Suite::of_number(*number).filter(|suite| *suite != Suite::Aes256Gcm)?;
                Some((suite, bytes))
            }
            _ => None,
        }
    }
}

pub(crate) fn wrap(suite: Suite, under: &Key, key: &Key, context: &[u8]) -> Result<Wrapped, VaultError> {
    let sealed = seal_bytes_in(suite, under, key.bytes(), context)?;
    Ok(Wrapped(match suite {
        Suite::Aes256Gcm => sealed,
        Suite::ChaCha20Poly1305 => [&[suite.number()], sealed.as_slice()].concat(),
    }))
}

pub(crate) fn unwrap(under: &Key, wrapped: &Wrapped, context: &[u8]) -> Option<Key> {
    let (suite, sealed) = wrapped.parts()?;
    open_bytes_in(suite, under, sealed, context).and_then(|key| Key::of(&key))
}

/// Nonce, ciphertext and tag of a secret of any short length, in the first suite.
pub(crate) fn seal_bytes(under: &Key, secret: &[u8], context: &[u8]) -> Result<Vec<u8>, VaultError> {
    seal_bytes_in(Suite::Aes256Gcm, under, secret, context)
}

/// The reverse.
pub(crate) fn open_bytes(under: &Key, sealed: &[u8], context: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    open_bytes_in(Suite::Aes256Gcm, under, sealed, context)
}

fn seal_bytes_in(suite: Suite, under: &Key, secret: &[u8], context: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| VaultError::NoRandom)?;
    // The place of the tag is there from the beginning, so that no copy of the secret is left behind.
    let mut bytes = Vec::with_capacity(NONCE_LEN + secret.len() + TAG_BYTES);
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(secret);
    let tag = suite
        .cipher(under.bytes())
        .and_then(|cipher| {
            let secret = &mut bytes[NONCE_LEN..];
            cipher.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), secret)
        })
        .map_err(|_| VaultError::TooLong)?;
    bytes.extend_from_slice(tag.as_ref());
    Ok(bytes)
}

pub(crate) fn open_bytes_in(
    suite: Suite,
    under: &Key,
    sealed: &[u8],
    context: &[u8],
) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut secret = Zeroizing::new(rest.to_vec());
    let cipher = suite.cipher(under.bytes()).ok()?;
    let length = cipher.open_in_place(nonce, Aad::from(context), &mut secret).ok()?.len();
    secret.truncate(length);
    Some(secret)
}
