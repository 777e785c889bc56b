//! The secret that hashes of keys are keyed with, and the hashing.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{OpenError, key::Key};

/// Length of the file, in bytes.
const PEPPER_BYTES: usize = 32;

/// HMAC-SHA-256 keyed with the pepper (RFC 2104). Has no `Debug`.
pub(crate) struct Pepper(Hmac<Sha256>);

impl Pepper {
    /// Reads the pepper in `file`. Makes one if there is none, unless keys exist that were hashed with it.
    pub(crate) fn open(file: &Path, keys_exist: bool) -> Result<Self, OpenError> {
        let failed = |error: io::Error| OpenError::Pepper { file: file.to_owned(), why: error.to_string() };
        match File::open(file) {
            Ok(open) => Self::read(open)
                .map_err(failed)?
                .ok_or_else(|| OpenError::PepperDamaged { file: file.to_owned(), expected: PEPPER_BYTES }),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if keys_exist {
                    return Err(OpenError::PepperLost { file: file.to_owned() });
                }
                let mut bytes = Zeroizing::new([0; PEPPER_BYTES]);
                getrandom::fill(&mut *bytes).map_err(OpenError::Random)?;
                // On the disk before anything is hashed with it; and never half of it, after which nothing would start.
                durable::put_new(file, bytes.as_slice()).map_err(failed)?;
                Ok(Self::keyed(&bytes))
            }
            Err(error) => Err(failed(error)),
        }
    }

    /// None if the file has another length.
    fn read(file: File) -> io::Result<Option<Self>> {
        // One byte more than there should be, so that a longer file is noticed without reading it all. The
        // capacity is enough from the start: a vector that grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(2 * PEPPER_BYTES));
        file.take(PEPPER_BYTES as u64 + 1).read_to_end(&mut bytes)?;
        Ok(<&[u8; PEPPER_BYTES]>::try_from(bytes.as_slice()).ok().map(Self::keyed))
    }

    fn keyed(bytes: &[u8; PEPPER_BYTES]) -> Self {
        #[allow(clippy::expect_used)] // It cannot fail: the line below says why.
        let mac = Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length");
        Self(mac)
    }

    /// What the store keeps of a key.
    pub(crate) fn hash(&self, key: &Key) -> [u8; 32] {
        self.mac(key).finalize().into_bytes().into()
    }

    /// Whether `hash` was made of `key`; takes the same time wherever they differ.
    pub(crate) fn matches(&self, key: &Key, hash: &[u8; 32]) -> bool {
        self.mac(key).verify_slice(hash).is_ok()
    }

    /// A key or a hash for something else, which no key of the store can have: its inputs are longer.
    pub(crate) fn derive(&self, purpose: &'static str, about: &[&[u8]]) -> Zeroizing<[u8; 32]> {
        let mut mac = self.0.clone().chain_update(b"llmos pepper, derived for ").chain_update(purpose);
        for part in about {
            mac = mac.chain_update((part.len() as u64).to_be_bytes()).chain_update(part);
        }
        Zeroizing::new(mac.finalize().into_bytes().into())
    }

    /// Both parts have a fixed length, so no two keys give the same input.
    fn mac(&self, key: &Key) -> Hmac<Sha256> {
        self.0.clone().chain_update(key.id().as_bytes()).chain_update(key.secret())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn it_is_made_once_for_the_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pepper");
        let key = Key::random().unwrap();
        let hash = Pepper::open(&file, false).unwrap().hash(&key);
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(&file).unwrap().len(), PEPPER_BYTES as u64);
        let again = Pepper::open(&file, true).unwrap();
        assert!(again.matches(&key, &hash));
        assert!(!again.matches(&Key::random().unwrap(), &hash));

        let other = Pepper::open(&folder.path().join("other"), false).unwrap();
        assert!(!other.matches(&key, &hash));
    }

    /// RFC 2104's construction, by hand: H((K ^ opad) || H((K ^ ipad) || id || secret)).
    #[test]
    fn the_hash_is_hmac_sha_256_over_id_and_secret() {
        use sha2::Digest;
        let pepper = [0x5a; PEPPER_BYTES];
        let key = Key::random().unwrap();
        let pad = |with: u8| {
            let mut block = [with; 64];
            block.iter_mut().zip(pepper).for_each(|(byte, of_key)| *byte ^= of_key);
            block
        };
        let inner = Sha256::new()
            .chain_update(pad(0x36))
            .chain_update(key.id().as_bytes())
            .chain_update(key.secret());
        let outer = Sha256::new().chain_update(pad(0x5c)).chain_update(inner.finalize());
        assert_eq!(Pepper::keyed(&pepper).hash(&key), <[u8; 32]>::from(outer.finalize()));
    }

    #[test]
    fn a_file_that_cannot_be_used_is_an_error_and_stays() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        for (name, bytes) in [("empty", 0), ("short", 31), ("long", 33), ("huge", 1 << 20)] {
            fs::write(path(name), vec![1; bytes]).unwrap();
        }
        fs::create_dir(path("folder")).unwrap();
        let cases = [
            ("empty", false, "does not have the 32 bytes"),
            ("short", false, "does not have the 32 bytes"),
            ("long", false, "does not have the 32 bytes"),
            ("huge", false, "does not have the 32 bytes"),
            ("folder", false, "cannot use the pepper file"),
            ("missing/pepper", false, "cannot use the pepper file"),
            ("lost", true, "is missing, and without it none of the keys"),
        ];
        for (name, keys_exist, says) in cases {
            let before = fs::read(path(name)).ok();
            let error = Pepper::open(&path(name), keys_exist).err().unwrap().to_string();
            assert!(error.contains(says) && error.contains(name), "{name}: {error}");
            assert_eq!(fs::read(path(name)).ok(), before, "{name} was changed");
        }
    }
}
