//! Where the root key comes from, and how one is put in the place of another.

use std::{
    fs,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use store::VaultKeys;
use types::Secret;

use crate::{HsmKey, Keyring, Root, RsaKeyFile, Secrets, VaultError};

/// Where the root key comes from.
pub enum RootSource {
    /// A file with an RSA key.
    File(RootFile),
    /// 256 bits that an operator keeps, as text.
    Text(Secret),
    /// A key of a security module.
    Hsm(HsmKey),
}

/// A file with an RSA key, made if there is none. While it is being replaced, the new one stands beside it.
pub struct RootFile {
    /// The file.
    pub path: PathBuf,
    /// What the key in it is under, if anything.
    pub passphrase: Option<Secret>,
}

impl Keyring {
    /// The keys in this store, under the root and in the suite of these secrets. All keys are moved to the newest root here, and a replacement of the
    /// root that was broken off is completed.
    ///
    /// # Errors
    /// [`VaultError::Root`] if a key is under a root that is not here.
    pub async fn open_from(keys: VaultKeys, secrets: &Secrets) -> Result<Self, VaultError> {
        let ring = Self::under(keys, secrets.roots.clone(), secrets.suite()).await?;
        ring.rotate_root().await?;
        secrets.complete().await?;
        Ok(ring)
    }

    /// Makes a new root, moves all keys and secrets to it, and destroys the old one. It can be broken off at any time: the next start,
    /// or the next call, completes it. Returns how many keys were moved. `secrets` are those that the keys were opened with.
    ///
    /// # Errors
    /// [`VaultError::Root`] if the root is not in a file: where it is kept, a new one is made, and the server is started
    /// with both.
    pub async fn renew_root(&self, secrets: &Secrets) -> Result<u64, VaultError> {
        secrets.renew_root(self.rotate_root()).await
    }
}

impl RootSource {
    /// The word for it: `file`, `environment` or `pkcs11`.
    pub fn kept_in(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            Self::Text(_) => "environment",
            Self::Hsm(_) => "pkcs11",
        }
    }

    /// Whether it is a file that is not there yet.
    pub fn has_to_be_made(&self) -> bool {
        matches!(self, Self::File(file) if !file.path.exists())
    }

    pub(crate) fn open(&self, is_new: bool) -> Result<Root, VaultError> {
        match self {
            Self::Text(text) => Root::of_text(text),
            Self::Hsm(key) => Root::of_hsm(key),
            Self::File(file) => file.open(is_new),
        }
    }

    /// Removes halves of keys that a killed process has left.
    pub(crate) fn remove_unfinished(&self) -> Result<(), VaultError> {
        match self {
            Self::File(file) => file.remove_unfinished(),
            Self::Text(_) | Self::Hsm(_) => Ok(()),
        }
    }

    pub(crate) fn next(&self) -> Result<Option<Root>, VaultError> {
        match self {
            Self::File(file) => found(RsaKeyFile::open(&file.next(), file.passphrase.as_ref())),
            Self::Text(_) | Self::Hsm(_) => Ok(None),
        }
    }

    pub(crate) fn make_next(&self) -> Result<Root, VaultError> {
        match self {
            Self::File(file) => match found(RsaKeyFile::open(&file.next(), file.passphrase.as_ref()))? {
                Some(next) => Ok(next),
                None => RsaKeyFile::create(&file.next(), file.passphrase.as_ref()),
            },
            Self::Text(_) | Self::Hsm(_) => {
                let why = "it is not in a file, so a new one is made where it is kept: configure that as `vault.root` \
                           and the present one as `vault.old_root`, and start the server again";
                Err(VaultError::Root(why.to_owned()))
            }
        }
    }

    pub(crate) fn replace(&self) -> Result<(), VaultError> {
        match self {
            Self::File(file) => file.replace(),
            Self::Text(_) | Self::Hsm(_) => Ok(()),
        }
    }
}

impl RootFile {
    fn open(&self, is_new: bool) -> Result<Root, VaultError> {
        if let Some(root) = found(RsaKeyFile::open(&self.path, self.passphrase.as_ref()))? {
            return Ok(root);
        }
        if !is_new {
            return Err(VaultError::Root(format!(
                "the file {} is gone, and there are keys under it; put it back from where you keep a copy of it",
                self.path.display()
            )));
        }
        RsaKeyFile::create(&self.path, self.passphrase.as_ref())
    }

    fn remove_unfinished(&self) -> Result<(), VaultError> {
        for path in [self.path.clone(), self.next()] {
            durable::remove_unfinished_of(&path).map_err(|error| VaultError::RootFile { path, error })?;
        }
        Ok(())
    }

    fn next(&self) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(".next");
        name.into()
    }

    /// The new file in the place of the old one, durably: from here on the old key is gone.
    fn replace(&self) -> Result<(), VaultError> {
        let failed = |error| VaultError::RootFile { path: self.path.clone(), error };
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty());
        fs::rename(self.next(), &self.path)
            .and_then(|()| fs::File::open(folder.unwrap_or(Path::new(".")))?.sync_all())
            .map_err(failed)
    }
}

/// None if there is no such file.
fn found(opened: Result<Root, VaultError>) -> Result<Option<Root>, VaultError> {
    match opened {
        Err(VaultError::RootFile { error, .. }) if error.kind() == ErrorKind::NotFound => Ok(None),
        opened => opened.map(Some),
    }
}
