//! Secrets of somebody else that the configuration names: in a file, or sealed in the vault.

use std::{fs, os::unix::fs::MetadataExt, path::Path, sync::Arc};

use types::Secret;
use vault::Secrets;
use zeroize::Zeroizing;

use crate::{
    config::SecretPlace,
    exit::{Exit, Failure},
    kept,
};

/// Largest file with a secret of somebody else: of a provider, or of the collector of the audit log.
const SECRET_BYTES_MAX: u64 = 4_096;

/// Reads a secret, or says why it cannot.
pub(crate) type Read = Arc<dyn Fn() -> Result<Secret, String> + Send + Sync>;

/// Reads the secret that is there, each time anew, and could read it just now. It is called `what` in errors, and named by `setting`.
pub(crate) fn secret(
    secrets: &Secrets,
    (what, setting): (&str, &str),
    place: &SecretPlace,
) -> Result<Read, Failure> {
    match place {
        SecretPlace::File(file) => {
            of_file(what, file)?;
            let (what, file) = (what.to_owned(), file.clone());
            Ok(Arc::new(move || of_file(&what, &file).map_err(|failure| failure.what)))
        }
        SecretPlace::Vault(name) => {
            let secret = kept::named(secrets, setting, name)?;
            Ok(Arc::new(move || secret.open().map_err(|error| error.to_string())))
        }
    }
}

/// The secret in a file, which nobody else may read. `what` says which one it is, in errors.
fn of_file(what: &str, file: &Path) -> Result<Secret, Failure> {
    let wrong = |why: &str| {
        let what = format!("{what} in {} cannot be used: {why}", file.display());
        Failure::new(Exit::Configuration, what)
    };
    let metadata = fs::metadata(file).map_err(|error| wrong(&error.to_string()))?;
    if !metadata.is_file() || metadata.len() > SECRET_BYTES_MAX {
        return Err(wrong("it is no short file"));
    }
    if metadata.mode() & 0o077 != 0 {
        return Err(wrong("others can read it").advise("`chmod 600` makes it private"));
    }
    let mut text = Zeroizing::new(fs::read(file).map_err(|error| wrong(&error.to_string()))?);
    let length = text.trim_ascii_end().len();
    if length == 0 {
        return Err(wrong("it is empty"));
    }
    text.truncate(length);
    Ok(Secret::from(text.to_vec()))
}
