//! The keys that the log is signed with, and other logs are countersigned with; and their names.

use std::{
    io,
    path::{Path, PathBuf},
};

use aws_lc_rs::{digest, rand};
use data_encoding::HEXLOWER;
use tlog::{SEED_BYTES, SecretKey, VerifierKey};
use types::Secret;
use vault::{SecretFile, VaultError};
use zeroize::Zeroizing;

use crate::OpenError;

/// What stands before the hash of the key in the name of a log.
pub(crate) const LOG: &str = "llmos/log-";
/// The same in the name of a witness.
pub(crate) const WITNESS: &str = "llmos/witness-";
/// Bytes of the hash in it.
const NAME_HASH_BYTES: usize = 10;

/// Longest line with a public key.
const PUBLIC_BYTES_MAX: usize = 1 << 10;

/// What verifies a log that is signed with the key in this file, as the server has written it down: the key itself is sealed, and is not
/// needed for that.
///
/// # Errors
/// If it was never written down, or is damaged.
pub fn verifier_key(file: &Path) -> Result<VerifierKey, OpenError> {
    let public = public_of(file);
    let failed = |why: String| OpenError::Key { file: public.clone(), why };
    let line = durable::read(&public, PUBLIC_BYTES_MAX).map_err(|error| failed(error.to_string()))?;
    let line = line.ok_or_else(|| {
        failed("the public key is not there; the server writes it when it starts".to_owned())
    })?;
    let parsed = String::from_utf8_lossy(&line).trim_end().parse::<VerifierKey>();
    parsed.map_err(|error| failed(format!("it is no public key ({error})")))
}

/// Writes the public key beside the secret one, if it does not stand there.
pub(crate) fn write_public(file: &Path, key: &VerifierKey) -> Result<(), OpenError> {
    let (public, line) = (public_of(file), format!("{key}\n"));
    let failed = |error: io::Error| OpenError::Key { file: public.clone(), why: error.to_string() };
    let there = durable::read(&public, PUBLIC_BYTES_MAX).map_err(failed)?;
    if there.is_some_and(|there| there == line.as_bytes()) {
        return Ok(());
    }
    durable::put(&public, line.as_bytes()).map_err(failed)
}

/// `audit.pub` for `audit.key`.
fn public_of(file: &Path) -> PathBuf {
    file.with_extension("pub")
}

/// The key in this file; a new one if nothing was signed with it yet.
pub(crate) fn open<const TYPE: u8>(
    file: &SecretFile,
    kind: &str,
    has_signed: bool,
) -> Result<SecretKey<TYPE>, OpenError> {
    let refuse = |why: String| OpenError::Key { file: file.path().to_owned(), why };
    let failed = |error: VaultError| refuse(error.to_string());
    let seed = match file.read(SEED_BYTES).map_err(failed)? {
        Some(secret) => {
            let seed = <[u8; SEED_BYTES]>::try_from(secret.expose()).map(Zeroizing::new);
            seed.map_err(|_| {
                refuse(format!("it does not have the {SEED_BYTES} bytes that it was made with"))
            })?
        }
        None if has_signed => return Err(OpenError::KeyLost { file: file.path().to_owned() }),
        None => {
            let mut seed = Zeroizing::new([0; SEED_BYTES]);
            rand::fill(seed.as_mut_slice())
                .map_err(|_| refuse("the system gives no random numbers".to_owned()))?;
            file.make(&Secret::from(seed.to_vec())).map_err(failed)?;
            seed
        }
    };
    let named =
        |name: &str| SecretKey::from_seed(name, seed.clone()).map_err(|error| refuse(error.to_string()));
    // Unique, and the same for as long as the key is: whoever knows the name knows which key to expect.
    let public = named(kind)?.public().to_string();
    named(&format!(
        "{kind}{}",
        HEXLOWER.encode(&digest::digest(&digest::SHA256, public.as_bytes()).as_ref()[..NAME_HASH_BYTES])
    ))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tlog::{Cosigner, Signer};
    use vault::Root;

    use super::*;
    use crate::secret_file;

    fn open(file: &Path, has_signed: bool) -> Result<Signer, OpenError> {
        super::open(&secret_file(file), LOG, has_signed)
    }

    #[test]
    fn it_is_made_once_and_sealed_and_names_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.key");
        let first = open(&file, false).unwrap();
        let seed = secret_file(&file).read(SEED_BYTES).unwrap().unwrap();
        let bytes = fs::read(&file).unwrap();
        assert!(!bytes.windows(SEED_BYTES).any(|window| window == seed.expose()));
        let again = open(&file, true).unwrap();
        assert_eq!(first.public().to_string(), again.public().to_string());
        let other = open(&folder.path().join("other.key"), false).unwrap();
        assert_ne!(first.public().name(), other.public().name());
        let witness: Cosigner =
            super::open(&secret_file(&folder.path().join("witness.key")), WITNESS, false).unwrap();
        assert!(witness.public().name().starts_with(WITNESS));

        // As it was written before it was sealed.
        fs::write(&file, seed.expose()).unwrap();
        for _ in 0..2 {
            assert_eq!(open(&file, true).unwrap().public().to_string(), first.public().to_string());
            assert_ne!(fs::read(&file).unwrap(), seed.expose());
        }

        fs::write(&file, [7; SEED_BYTES + 1]).unwrap();
        let error = open(&file, true).err().unwrap().to_string();
        assert!(error.contains("is damaged"), "{error}");
        fs::remove_file(&file).unwrap();
        secret_file(&file).make(&Secret::from(vec![7; SEED_BYTES + 1])).unwrap();
        let error = open(&file, true).err().unwrap().to_string();
        assert!(error.contains("32 bytes"), "{error}");
        let elsewhere = Root::of_text(&Secret::from("fedcba9876543210".repeat(4))).unwrap();
        fs::remove_file(&file).unwrap();
        SecretFile::under(elsewhere, &file).make(&seed).unwrap();
        let error = open(&file, true).err().unwrap().to_string();
        assert!(error.contains("which is not configured"), "{error}");
        fs::remove_file(&file).unwrap();
        let error = open(&file, true).err().unwrap().to_string();
        assert!(error.contains("restore it"), "{error}");
    }

    #[test]
    fn the_public_key_stands_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.key");
        let error = verifier_key(&file).err().unwrap().to_string();
        assert!(error.contains("audit.pub") && error.contains("when it starts"), "{error}");
        let key = open(&file, false).unwrap().public().clone();
        for stands in ["", "nonsense"] {
            fs::write(folder.path().join("audit.pub"), stands).unwrap();
            assert!(verifier_key(&file).is_err());
            write_public(&file, &key).unwrap();
            assert_eq!(verifier_key(&file).unwrap().to_string(), key.to_string());
        }
    }
}
