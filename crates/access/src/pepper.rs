//! The secret that hashes of keys are keyed with, and the hashing.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use types::Secret;
use vault::{SecretFile, VaultError};
use zeroize::Zeroizing;

use crate::{OpenError, key::Key};

/// Its length, in bytes; that of the file, too, before it was sealed.
const PEPPER_BYTES: usize = 32;

/// HMAC-SHA-256 keyed with the pepper (RFC 2104). Has no `Debug`.
pub(crate) struct Pepper(Hmac<Sha256>);

impl Pepper {
    /// Reads the pepper in `file`. Makes one if there is none, unless keys exist that were hashed with it.
    pub(crate) fn open(file: &SecretFile, keys_exist: bool) -> Result<Self, OpenError> {
        let path = || file.path().to_owned();
        let failed = |error: VaultError| OpenError::Pepper { file: path(), why: error.to_string() };
        match file.read(PEPPER_BYTES).map_err(failed)? {
            Some(pepper) => <&[u8; PEPPER_BYTES]>::try_from(pepper.expose())
                .map(Self::keyed)
                .map_err(|_| OpenError::PepperDamaged { file: path(), expected: PEPPER_BYTES }),
            None if keys_exist => Err(OpenError::PepperLost { file: path() }),
            None => {
                let mut bytes = Zeroizing::new([0; PEPPER_BYTES]);
                getrandom::fill(&mut *bytes).map_err(OpenError::Random)?;
                // On the disk before anything is hashed with it; and never half of it, after which nothing would start.
                file.make(&Secret::from(bytes.to_vec())).map_err(failed)?;
                Ok(Self::keyed(&bytes))
            }
        }
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
    use std::{fs, path::Path};

    use vault::Root;

    use super::*;

    fn sealed(path: &Path) -> SecretFile {
        SecretFile::under(Root::of_text(&Secret::from("0123456789abcdef".repeat(4))).unwrap(), path)
    }

    fn open(path: &Path, keys_exist: bool) -> Result<Pepper, OpenError> {
        Pepper::open(&sealed(path), keys_exist)
    }

    #[test]
    fn it_is_made_once_and_sealed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pepper");
        let key = Key::random().unwrap();
        let hash = open(&file, false).unwrap().hash(&key);
        let pepper = sealed(&file).read(PEPPER_BYTES).unwrap().unwrap();
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(PEPPER_BYTES).any(|window| window == pepper.expose()));
        let again = open(&file, true).unwrap();
        assert!(again.matches(&key, &hash));
        assert!(!again.matches(&Key::random().unwrap(), &hash));

        let other = open(&folder.path().join("other"), false).unwrap();
        assert!(!other.matches(&key, &hash));
    }

    /// As it was written before it was sealed.
    #[test]
    fn a_plain_one_is_sealed_and_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("pepper");
        let plain = [0x5a; PEPPER_BYTES];
        fs::write(&file, plain).unwrap();
        let key = Key::random().unwrap();
        for _ in 0..2 {
            assert!(open(&file, true).unwrap().matches(&key, &Pepper::keyed(&plain).hash(&key)));
            assert!(!fs::read(&file).unwrap().windows(PEPPER_BYTES).any(|window| window == plain));
        }
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
        let elsewhere = Root::of_text(&Secret::from("fedcba9876543210".repeat(4))).unwrap();
        SecretFile::under(elsewhere, &path("elsewhere")).make(&Secret::from(vec![1; PEPPER_BYTES])).unwrap();
        sealed(&path("more")).make(&Secret::from(vec![1; PEPPER_BYTES + 1])).unwrap();
        let cases = [
            ("empty", false, "its file is damaged"),
            ("short", false, "its file is damaged"),
            ("long", false, "its file is damaged"),
            ("huge", false, "its file is damaged"),
            ("elsewhere", false, "which is not configured"),
            ("more", false, "does not have the 32 bytes"),
            ("folder", false, "cannot use the pepper file"),
            ("missing/pepper", false, "cannot use the pepper file"),
            ("lost", true, "is missing, and without it none of the keys"),
        ];
        for (name, keys_exist, says) in cases {
            let before = fs::read(path(name)).ok();
            let error = open(&path(name), keys_exist).err().unwrap().to_string();
            assert!(error.contains(says) && error.contains(name), "{name}: {error}");
            assert_eq!(fs::read(path(name)).ok(), before, "{name} was changed");
        }
    }
}
