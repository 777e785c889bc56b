//! The keys that the log is signed with, and other logs are countersigned with; and their names.

use std::{
    fs::File,
    io::{self, ErrorKind, Read},
    path::Path,
};

use aws_lc_rs::{digest, rand};
use data_encoding::HEXLOWER;
use tlog::{SEED_BYTES, SecretKey, Signer, VerifierKey};
use zeroize::Zeroizing;

use crate::OpenError;

/// What stands before the hash of the key in the name of a log.
pub(crate) const LOG: &str = "llmos/log-";
/// The same in the name of a witness.
pub(crate) const WITNESS: &str = "llmos/witness-";
/// Bytes of the hash in it.
const NAME_HASH_BYTES: usize = 10;

/// What verifies a log that is signed with the key in this file.
///
/// # Errors
/// If there is no such file, or it holds no key.
pub fn verifier_key(file: &Path) -> Result<VerifierKey, OpenError> {
    let signer: Signer = open(file, LOG, true)?;
    Ok(signer.public().clone())
}

/// The key in this file; a new one if nothing was signed with it yet.
pub(crate) fn open<const TYPE: u8>(
    file: &Path,
    kind: &str,
    has_signed: bool,
) -> Result<SecretKey<TYPE>, OpenError> {
    let failed = |error: io::Error| OpenError::Key { file: file.to_owned(), why: error.to_string() };
    let seed = match File::open(file) {
        Ok(open) => read(open).map_err(failed)?.ok_or_else(|| {
            let why = format!("it does not have the {SEED_BYTES} bytes that it was made with");
            OpenError::Key { file: file.to_owned(), why }
        })?,
        Err(error) if error.kind() == ErrorKind::NotFound && has_signed => {
            return Err(OpenError::KeyLost { file: file.to_owned() });
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let mut seed = Zeroizing::new([0; SEED_BYTES]);
            rand::fill(seed.as_mut_slice())
                .map_err(|_| failed(io::Error::other("the system gives no random numbers")))?;
            durable::put_new(file, seed.as_slice()).map_err(failed)?;
            seed
        }
        Err(error) => return Err(failed(error)),
    };
    let named = |name: &str| {
        SecretKey::from_seed(name, seed.clone())
            .map_err(|error| OpenError::Key { file: file.to_owned(), why: error.to_string() })
    };
    // Unique, and the same for as long as the key is: whoever knows the name knows which key to expect.
    let public = named(kind)?.public().to_string();
    named(&format!(
        "{kind}{}",
        HEXLOWER.encode(&digest::digest(&digest::SHA256, public.as_bytes()).as_ref()[..NAME_HASH_BYTES])
    ))
}

/// None if the file has another length.
fn read(file: File) -> io::Result<Option<Zeroizing<[u8; SEED_BYTES]>>> {
    // One byte more than there should be, so that a longer file is noticed without reading it all. The capacity is enough
    // from the start: a vector that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(2 * SEED_BYTES));
    file.take(SEED_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(<[u8; SEED_BYTES]>::try_from(bytes.as_slice()).ok().map(Zeroizing::new))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use tlog::{Cosigner, Signer};

    use super::*;

    fn open(file: &Path, has_signed: bool) -> Result<Signer, OpenError> {
        super::open(file, LOG, has_signed)
    }

    #[test]
    fn it_is_made_once_for_the_owner_only_and_names_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("audit.key");
        let first = open(&file, false).unwrap();
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        let again = open(&file, true).unwrap();
        assert_eq!(first.public().to_string(), again.public().to_string());
        let other = open(&folder.path().join("other.key"), false).unwrap();
        assert_ne!(first.public().name(), other.public().name());
        let witness: Cosigner = super::open(&folder.path().join("witness.key"), WITNESS, false).unwrap();
        assert!(witness.public().name().starts_with(WITNESS));

        fs::write(&file, [7; SEED_BYTES + 1]).unwrap();
        let error = open(&file, true).err().unwrap().to_string();
        assert!(error.contains("32 bytes"), "{error}");
        fs::remove_file(&file).unwrap();
        let error = open(&file, true).err().unwrap().to_string();
        assert!(error.contains("restore it"), "{error}");
    }
}
