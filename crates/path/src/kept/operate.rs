//! What operators do with the keys of what is stored.

use std::{
    fs,
    io::{BufRead, BufReader, ErrorKind},
    os::unix::fs::OpenOptionsExt,
    path::{Path as File, PathBuf},
};

use access::{Credential, EraseSubject, ManageVault, RotateTenantKey};
use audit::Facts;
use store::KeyCounts;
use types::DataSubject;
use vault::{Identities, Recipients, Restored, Suite, VaultError, is_age};

use super::{Kept, KeptError, reconcile};
use crate::{Path, PathError};

/// Read and written by the owner only.
const FILE_MODE: u32 = 0o600;

/// How the vault does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct VaultStatus {
    /// Names the root key; no secret.
    pub root: [u8; 16],
    /// Where the root key is kept: `file`, `environment` or `pkcs11`.
    pub kept_in: &'static str,
    /// What is new is sealed in it.
    pub suite: Suite,
    /// How many keys there are.
    pub keys: KeyCounts,
    /// How many chat completions are stored.
    pub chat_completions: u64,
}

/// What an erasure did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// Whether there was a key to destroy.
    pub key_destroyed: bool,
    /// Stored chat completions that were deleted: nobody could have read them any more.
    pub chat_completions: u64,
}

impl Path {
    /// How the vault does.
    pub async fn vault_status(&self, credential: Credential) -> Result<VaultStatus, PathError> {
        self.look_at::<ManageVault>(&credential, (), Facts::none().with("deed", "status")).await?;
        Ok(self.kept.status().await?)
    }

    /// Gives a tenant a new key. No data is touched. Returns how many keys were wrapped anew.
    pub async fn rotate_tenant_key(&self, credential: Credential, tenant: &str) -> Result<u64, PathError> {
        let decided = self.decided_in::<RotateTenantKey>(&credential, tenant).await?;
        let acting = decided.act(Facts::none()).await?;
        let done = self.kept.rotate_tenant(tenant).await;
        acting.end(done).await
    }

    /// Puts a new root key in the place of the one that is there. Returns how many keys were wrapped anew.
    pub async fn rotate_root_key(&self, credential: Credential) -> Result<u64, PathError> {
        let facts = Facts::none().with("deed", "rotate_root");
        let acting = self.decided::<ManageVault>(&credential, ()).await?.act(facts).await?;
        let done = self.kept.rotate_root().await;
        acting.end(done).await
    }

    /// Writes all keys, wrapped, and what was shredded, into a new file; sealed with `age` if recipients are named. Returns
    /// how many bytes it has.
    pub async fn back_up_keys(
        &self,
        credential: Credential,
        file: PathBuf,
        recipients: &[String],
    ) -> Result<u64, PathError> {
        let facts = Facts::none().with("deed", "back_up").with("file", file.display());
        let acting = self.decided::<ManageVault>(&credential, ()).await?.act(facts).await?;
        let done = self.kept.back_up(file, recipients).await;
        acting.end(done).await
    }

    /// Takes in what is missing of such a file. What was shredded, here or there, does not come back. A file that is sealed
    /// with `age` needs the file of an identity that it was sealed for.
    pub async fn restore_keys(
        &self,
        credential: Credential,
        file: PathBuf,
        identity: Option<PathBuf>,
    ) -> Result<Restored, PathError> {
        let facts = Facts::none().with("deed", "restore").with("file", file.display());
        let acting = self.decided::<ManageVault>(&credential, ()).await?.act(facts).await?;
        let done = self.kept.restore(file, identity).await;
        acting.end(done).await
    }

    /// Erases a person: destroys their key, durably, and then deletes what was sealed with it. `now` is in seconds since
    /// 1970.
    pub async fn shred(
        &self,
        credential: Credential,
        tenant: &str,
        subject: &DataSubject,
        now: u64,
    ) -> Result<Erased, PathError> {
        let decided = self.decided_in::<EraseSubject>(&credential, tenant).await?;
        let acting = decided.act(self.kept.facts_of(tenant, subject).await?).await?;
        let done = self.kept.shred(tenant, subject, now).await;
        // Names that are sealed already stay so for good; from here on they would be sealed for nobody.
        self.access.audit().forget_names();
        acting.end(done).await
    }
}

impl Kept {
    /// Names a person in records by the id of their key, which says nothing about them.
    pub(super) async fn facts_of(&self, tenant: &str, subject: &DataSubject) -> Result<Facts, KeptError> {
        let ids = self.subject_key_ids(tenant, subject).await?;
        Ok(Facts::none().with("subject_key", ids.first().map_or("none", String::as_str)))
    }

    /// The ids of a person's keys: of the present one, then of those that it has replaced.
    pub(crate) async fn subject_key_ids(
        &self,
        tenant: &str,
        subject: &DataSubject,
    ) -> Result<Vec<String>, KeptError> {
        let tenant = self.tenant(tenant).await?;
        let keys = self.keyring.subject_key_ids(tenant, subject).await?;
        Ok(keys.iter().map(ToString::to_string).collect())
    }

    async fn status(&self) -> Result<VaultStatus, KeptError> {
        let keyring = &self.keyring;
        Ok(VaultStatus {
            root: keyring.root_id(),
            kept_in: self.secrets.root_kept_in(),
            suite: self.secrets.suite(),
            keys: keyring.counts().await?,
            chat_completions: self.store.count_chat_completions().await?,
        })
    }

    async fn rotate_tenant(&self, tenant: &str) -> Result<u64, KeptError> {
        let tenant = self.tenant(tenant).await?;
        let _turn = self.turn.lock().await;
        Ok(self.keyring.rotate_tenant(tenant, &mut |_| ()).await?)
    }

    async fn rotate_root(&self) -> Result<u64, KeptError> {
        let _turn = self.turn.lock().await;
        let (keyring, secrets) = (self.keyring.clone(), self.secrets.clone());
        let runtime = tokio::runtime::Handle::current();
        // To make an RSA key takes a second of computing. It is carried through also if the caller leaves.
        let renewed = tokio::task::spawn_blocking(move || runtime.block_on(keyring.renew_root(&secrets)));
        let broken = |_| VaultError::Root("its replacement was broken off; try again".to_owned());
        Ok(renewed.await.map_err(broken)??)
    }

    async fn back_up(&self, file: PathBuf, recipients: &[String]) -> Result<u64, KeptError> {
        let _turn = self.turn.lock().await;
        let mut contents = Vec::new();
        if recipients.is_empty() {
            self.keyring.backup(&mut contents).await?;
        } else {
            let mut sealed = Recipients::parse(recipients)?.seal(&mut contents)?;
            self.keyring.backup(&mut sealed).await?;
            sealed.finish()?;
        }
        let failed = of_file(&file);
        let bytes = contents.len() as u64;
        in_background(move || write_new(&file, &contents)).await.map_err(failed)?;
        Ok(bytes)
    }

    async fn restore(&self, file: PathBuf, identity: Option<PathBuf>) -> Result<Restored, KeptError> {
        let _turn = self.turn.lock().await;
        let failed = of_file(&file);
        let opened = in_background(move || {
            let opened = fs::File::open(&file)?;
            if !opened.metadata()?.is_file() {
                return Err(std::io::Error::new(ErrorKind::InvalidInput, "this is not a file"));
            }
            let mut backup = BufReader::new(opened);
            backup.fill_buf()?;
            Ok(backup)
        });
        let mut backup = opened.await.map_err(failed)?;
        let keyring = &self.keyring;
        // Before, so that what was shredded is counted as such; and after, so that both know what the backup knew.
        reconcile(&self.store, keyring).await?;
        let restored = match (is_age(backup.buffer()), identity) {
            (false, None) => keyring.restore(&mut backup).await?,
            (true, Some(identity)) => {
                let opened = Identities::read(&identity)?.open(backup)?;
                keyring.restore(&mut BufReader::new(opened)).await?
            }
            (true, None) => {
                let why = "it is sealed with age; name the file of an identity that it was sealed for";
                return Err(VaultError::Backup(why.to_owned()).into());
            }
            (false, Some(_)) => {
                let why = "it is not sealed with age, so no identity opens it; leave the identity out";
                return Err(VaultError::Backup(why.to_owned()).into());
            }
        };
        reconcile(&self.store, keyring).await?;
        Ok(restored)
    }

    async fn shred(&self, tenant: &str, subject: &DataSubject, now: u64) -> Result<Erased, KeptError> {
        let tenant = self.tenant(tenant).await?;
        let stones = self.keyring.shred(tenant, subject, now).await?;
        if stones.is_empty() {
            return Ok(Erased { key_destroyed: false, chat_completions: 0 });
        }
        // From here on the person is erased, whatever becomes of this.
        self.store.add_tombstones(stones.clone()).await?;
        let mut chat_completions = 0;
        // The present key is first, and comes last: what is sealed anew meanwhile moves to it from those before.
        for stone in stones.into_iter().rev() {
            chat_completions += self.store.delete_chat_completions_of(stone.id).await?;
        }
        Ok(Erased { key_destroyed: true, chat_completions })
    }
}

/// Writes a file that did not exist: whole and on the disk, or not at all.
fn write_new(file: &File, contents: &[u8]) -> std::io::Result<()> {
    check_absolute(file)?;
    durable::put_new(file, contents)
}

/// A new file that only the owner can read.
pub(super) fn create_new(file: &File) -> std::io::Result<fs::File> {
    check_absolute(file)?;
    fs::OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(file)
}

fn check_absolute(file: &File) -> std::io::Result<()> {
    if file.is_absolute() {
        return Ok(());
    }
    Err(std::io::Error::new(ErrorKind::InvalidInput, "this is not an absolute path"))
}

async fn in_background<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|_| Err(ErrorKind::Interrupted.into()))
}

pub(super) fn of_file(file: &File) -> impl FnOnce(std::io::Error) -> KeptError + use<> {
    let path = file.display().to_string();
    move |error| {
        let why = match error.kind() {
            ErrorKind::AlreadyExists => "there is such a file already; choose another name".to_owned(),
            ErrorKind::StorageFull => "the disk is full; choose another place".to_owned(),
            _ => error.to_string(),
        };
        KeptError::File { path, why }
    }
}
