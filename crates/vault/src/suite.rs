//! Which algorithms seal: chosen for what is new, told by its number for what is there.

use std::fmt;

use aws_lc_rs::{
    aead::{AES_256_GCM, Algorithm as Aead, CHACHA20_POLY1305, LessSafeKey, UnboundKey},
    error::Unspecified,
    hkdf::{Algorithm as Hkdf, HKDF_SHA256, HKDF_SHA512},
};

use crate::key::KEY_BYTES;

/// A cipher and the hash that its data keys are derived with. Keys (256 bits), nonces (96), tags (128) and frames are alike
/// in all suites, so that a sealed value is as long in one as in another.
///
/// The suites share no cipher and no hash: should one of these fall, what is stored can be sealed anew under the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[repr(u8)]
pub enum Suite {
    /// AES-256-GCM (NIST SP 800-38D), HKDF-SHA256. The fastest where the processor has instructions for AES.
    #[default]
    Aes256Gcm = 1,
    /// ChaCha20-Poly1305 (RFC 8439), HKDF-SHA512.
    ChaCha20Poly1305 = 2,
}

impl Suite {
    /// All that this program can open.
    pub const ALL: [Self; 2] = [Self::Aes256Gcm, Self::ChaCha20Poly1305];

    /// What it is called in the configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::ChaCha20Poly1305 => "chacha20-poly1305",
        }
    }

    /// Its number in the format.
    pub(crate) fn number(self) -> u8 {
        self as u8
    }

    pub(crate) fn of_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.number() == number)
    }

    pub(crate) fn cipher(self, key: &[u8; KEY_BYTES]) -> Result<LessSafeKey, Unspecified> {
        let aead: &'static Aead = match self {
            Self::Aes256Gcm => &AES_256_GCM,
            Self::ChaCha20Poly1305 => &CHACHA20_POLY1305,
        };
        Ok(LessSafeKey::new(UnboundKey::new(aead, key)?))
    }

    pub(crate) fn hkdf(self) -> Hkdf {
        match self {
            Self::Aes256Gcm => HKDF_SHA256,
            Self::ChaCha20Poly1305 => HKDF_SHA512,
        }
    }
}

impl fmt::Display for Suite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
