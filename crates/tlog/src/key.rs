//! Named Ed25519 keys, in the form of C2SP `signed-note`.

use std::{fmt, str::FromStr};

use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use data_encoding::{BASE64, HEXLOWER};
use zeroize::Zeroizing;

use crate::FormatError;

#[cfg(test)]
mod tests;

/// Bytes of the secret that a signing key is made of.
pub const SEED_BYTES: usize = 32;
/// Longest name of a key. The specifications have no limit; a later kind of signature allows 255.
pub const NAME_BYTES_MAX: usize = 255;

/// Type byte of plain signatures of a log: of [`VerifierKey`] and [`Signer`].
pub const ED25519_NOTE: u8 = 0x01;
/// Type byte of a witness's signatures with a time: of [`WitnessKey`] and [`Cosigner`].
pub const ED25519_COSIGNATURE: u8 = 0x04;

const PUBLIC_BYTES: usize = 32;
/// Bytes of an Ed25519 signature.
pub(crate) const SIGNATURE_BYTES: usize = 64;
/// Longest text of a key: name, 8 digits, 33 bytes in base64, and two signs between.
const TEXT_BYTES_MAX: usize = NAME_BYTES_MAX + 8 + 44 + 2;

/// The public key of a log. Its name is the origin of the log's checkpoints.
pub type VerifierKey = PublicKey<ED25519_NOTE>;
/// The public key of a witness. It speaks for no log.
pub type WitnessKey = PublicKey<ED25519_COSIGNATURE>;
/// The secret key of a log. Signs [checkpoints](crate::Checkpoint::sign) and [notes](crate::note::sign).
pub type Signer = SecretKey<ED25519_NOTE>;
/// The secret key of a witness. Signs [cosignatures](crate::cosignature::cosign).
pub type Cosigner = SecretKey<ED25519_COSIGNATURE>;

/// What a signature line says of its key beside the name: the beginning of the hash of name, type and public key.
pub type KeyId = [u8; 4];

/// A public Ed25519 key with a name, for signatures of one type: a key of one type is never taken for the other.
///
/// Its text is `name+id+key`: the id in 8 hexadecimal digits; type and public key in base64.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey<const TYPE: u8> {
    name: String,
    id: KeyId,
    public: [u8; PUBLIC_BYTES],
}

impl<const TYPE: u8> PublicKey<TYPE> {
    /// Of a name without spaces and plus signs, and the 32 bytes of RFC 8032.
    pub fn new(name: &str, public: [u8; PUBLIC_BYTES]) -> Result<Self, FormatError> {
        check_name(name)?;
        let mut identified = name.as_bytes().to_vec();
        identified.extend_from_slice(&[b'\n', TYPE]);
        identified.extend_from_slice(&public);
        let mut id = KeyId::default();
        id.copy_from_slice(&digest(&SHA256, &identified).as_ref()[..size_of::<KeyId>()]);
        Ok(Self { name: name.to_owned(), id, public })
    }

    /// Its name: of a log, the origin.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How signature lines name it, beside its name.
    pub fn id(&self) -> KeyId {
        self.id
    }

    /// Whether this key signed `message`.
    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public).verify(message, signature).is_ok()
    }
}

impl<const TYPE: u8> fmt::Display for PublicKey<TYPE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![TYPE];
        key.extend_from_slice(&self.public);
        write!(f, "{}+{}+{}", self.name, HEXLOWER.encode(&self.id), BASE64.encode(&key))
    }
}

impl<const TYPE: u8> fmt::Debug for PublicKey<TYPE> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({self})")
    }
}

impl<const TYPE: u8> FromStr for PublicKey<TYPE> {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let wrong = |why| FormatError::new("verifier key", why);
        if text.len() > TEXT_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong("it is not of the form name+id+key"));
        };
        let id = HEXLOWER.decode(id.as_bytes()).map_err(|_| wrong("its id is not 8 hexadecimal digits"))?;
        let key = BASE64.decode(key.as_bytes()).map_err(|_| wrong("its key is not standard base64"))?;
        let public = match key.split_first() {
            Some((kind, public)) if *kind == TYPE => public,
            Some((&ED25519_COSIGNATURE, _)) => {
                return Err(wrong("it is a witness's; a log's is wanted here"));
            }
            Some((&ED25519_NOTE, _)) => return Err(wrong("it is a log's; a witness's is wanted here")),
            _ => return Err(wrong("it is of an algorithm that this program does not know")),
        };
        let public = public.try_into().map_err(|_| wrong("an Ed25519 key has 32 bytes"))?;
        let key = Self::new(name, public)?;
        // A name or key that was mistyped or cut off is found here.
        if id == key.id { Ok(key) } else { Err(wrong("its id is not that of its name and key")) }
    }
}

/// A secret Ed25519 key with a name, for signatures of one type. Neither printed nor given out; wiped from memory when
/// dropped.
///
/// ```compile_fail
/// fn is_shown<T: std::fmt::Debug>() {}
/// is_shown::<tlog::Signer>();
/// ```
pub struct SecretKey<const TYPE: u8> {
    public: PublicKey<TYPE>,
    // The library wipes all that it frees, and this is the only copy: the seed itself is not kept.
    pair: Ed25519KeyPair,
}

impl<const TYPE: u8> SecretKey<TYPE> {
    /// Of a name and 32 random bytes, which are wiped here.
    pub fn from_seed(name: &str, seed: Zeroizing<[u8; SEED_BYTES]>) -> Result<Self, FormatError> {
        let wrong = || FormatError::new("seed", "no Ed25519 key can be made of it");
        let pair = Ed25519KeyPair::from_seed_unchecked(seed.as_slice()).map_err(|_| wrong())?;
        let public = pair.public_key().as_ref().try_into().map_err(|_| wrong())?;
        Ok(Self { public: PublicKey::new(name, public)?, pair })
    }

    /// What verifies its signatures.
    pub fn public(&self) -> &PublicKey<TYPE> {
        &self.public
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }
}

/// Names are written between spaces, and beside plus signs.
pub(crate) fn check_name(name: &str) -> Result<(), FormatError> {
    let why = if name.is_empty() {
        "it is empty"
    } else if name.len() > NAME_BYTES_MAX {
        "it has more than 255 bytes"
    } else if name.chars().any(|char| char.is_whitespace() || char.is_control() || char == '+') {
        "it has a space, a plus or a control character"
    } else {
        return Ok(());
    };
    Err(FormatError::new("name of a key", why))
}
