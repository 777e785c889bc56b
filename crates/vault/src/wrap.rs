//! Keys under keys: AES-256-GCM with a random nonce, bound to what the key is for.
//!
//! A tenant key wraps at most one key for each person and each rotation, so random nonces of 96 bits never come near
//! the 2^32 messages that NIST SP 800-38D allows under one key.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    rand,
};
use zeroize::Zeroizing;

use crate::{VaultError, frames::TAG_BYTES, key::KEY_BYTES, key::Key};

/// A key under another: nonce, ciphertext and tag. May be stored anywhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrapped(pub [u8; Self::BYTES]);

impl Wrapped {
    /// Bytes of every wrapped key.
    pub const BYTES: usize = NONCE_LEN + KEY_BYTES + TAG_BYTES;

    /// As it was stored, if it has the length of one.
    pub fn of(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

pub(crate) fn wrap(under: &Key, key: &Key, context: &[u8]) -> Result<Wrapped, VaultError> {
    let mut wrapped = [0; Wrapped::BYTES];
    wrapped.copy_from_slice(&seal_bytes(under, key.bytes(), context)?);
    Ok(Wrapped(wrapped))
}

pub(crate) fn unwrap(under: &Key, wrapped: &Wrapped, context: &[u8]) -> Option<Key> {
    open_bytes(under, &wrapped.0, context).and_then(|key| Key::of(&key))
}

/// Nonce, ciphertext and tag of a secret of any short length.
pub(crate) fn seal_bytes(under: &Key, secret: &[u8], context: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut nonce = [0; NONCE_LEN];
    rand::fill(&mut nonce).map_err(|_| VaultError::NoRandom)?;
    // The place of the tag is there from the beginning, so that no copy of the secret is left behind.
    let mut bytes = Vec::with_capacity(NONCE_LEN + secret.len() + TAG_BYTES);
    bytes.extend_from_slice(&nonce);
    bytes.extend_from_slice(secret);
    let tag = cipher(under)
        .and_then(|cipher| {
            let secret = &mut bytes[NONCE_LEN..];
            cipher.seal_in_place_separate_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context), secret)
        })
        .map_err(|_| VaultError::TooLong)?;
    bytes.extend_from_slice(tag.as_ref());
    Ok(bytes)
}

pub(crate) fn open_bytes(under: &Key, sealed: &[u8], context: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let mut secret = Zeroizing::new(rest.to_vec());
    let length = cipher(under).ok()?.open_in_place(nonce, Aad::from(context), &mut secret).ok()?.len();
    secret.truncate(length);
    Some(secret)
}

fn cipher(key: &Key) -> Result<LessSafeKey, aws_lc_rs::error::Unspecified> {
    Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key.bytes())?))
}
