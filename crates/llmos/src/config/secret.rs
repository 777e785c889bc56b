//! Where a secret is, as settings say it: a file, or the name of one that is sealed under the root key. And what they open.

use std::path::PathBuf;

use store::PostgresAddress;
use vault::SecretName;

use super::{check::Check, file};

/// What stands before the name of a sealed secret.
const VAULT: &str = "vault:";

/// Where a secret of the configuration is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum SecretPlace {
    /// A file; absolute.
    File(PathBuf),
    /// A secret of `llmos vault seal-secret`.
    Vault(SecretName),
}

impl SecretPlace {
    /// As `config show` prints it.
    pub(super) fn shown(&self) -> String {
        match self {
            Self::File(path) => path.to_string_lossy().into_owned(),
            Self::Vault(name) => format!("{VAULT}{name}"),
        }
    }
}

impl Check<'_> {
    pub(super) fn secret_place(&mut self, key: &str, text: &str) -> Option<SecretPlace> {
        match text.strip_prefix(VAULT) {
            Some(name) => self.secret_name(key, name).map(SecretPlace::Vault),
            None => self.path(key, text).map(SecretPlace::File),
        }
    }

    pub(super) fn postgres(&mut self, store: &file::Store) -> Option<PostgresAddress> {
        match store.postgres.as_ref()?.parse() {
            Ok(address) => Some(address),
            Err(why) => {
                self.refuse("store.postgres", format!("`store.postgres` cannot be used: {why}"));
                None
            }
        }
    }

    /// Whatever stands there in another form may be the password itself, and is not repeated.
    pub(super) fn postgres_password(&mut self, store: &file::Store) -> Option<SecretName> {
        const KEY: &str = "store.postgres_password";
        let text = store.postgres_password.as_ref()?;
        if store.postgres.is_none() {
            let message = format!("`{KEY}` is set, and `store.postgres` is not; set both, or remove it");
            self.refuse(KEY, message);
            return None;
        }
        let Some(name) = text.strip_prefix(VAULT) else {
            let message = format!(
                "`{KEY}` is not \"{VAULT}NAME\"; a password does not belong here: seal it with `llmos vault seal-secret NAME` \
                 and write its name"
            );
            self.refuse(KEY, message);
            return None;
        };
        self.secret_name(KEY, name)
    }

    fn secret_name(&mut self, key: &str, name: &str) -> Option<SecretName> {
        let parsed = name.parse::<SecretName>();
        let setting = key.rsplit_once("].").map_or(key, |(_, name)| name);
        parsed.map_err(|why| self.refuse(key, format!("`{setting}` names no secret: {why}"))).ok()
    }
}
