//! What is stored is sealed anew: in the suite that is configured, with the key that its person has now, under a data key that
//! was never used.
//!
//! Rows are taken in their order, a few at a time, while the server serves. Each is put in the place of the one that was
//! read only if that is still there as it was: what is changed meanwhile is looked at again, and what is deleted stays so.
//! So it may be broken off anywhere and begun again: what is sealed as it should be is passed over.

use access::{Credential, ManageVault};
use audit::Facts;
use store::{SealedParts, SealedRecord};
use vault::{Keyring, SubjectKey, SubjectKeyId, Suite, VaultError};

use super::{Kept, KeptError, Part, place, record};
use crate::{Path, PathError};

/// Rows that are sealed anew in one transaction: they are in memory together.
const RESEALED_AT_ONCE: u32 = 8;
/// How often all is gone through because somebody has changed a row meanwhile.
const PASSES_MAX: usize = 8;

/// What became of what was stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Resealed {
    /// What is new, and all that was sealed anew, is in this suite.
    pub suite: Suite,
    /// People who were given a new key.
    pub replaced_keys: u64,
    /// Chat completions that were sealed anew.
    pub chat_completions: u64,
    /// Seeds of apps that were.
    pub seeds: u64,
    /// Chat completions of people who were erased: nobody can open them, so they stay until they expire.
    pub erased: u64,
    /// Those that do not open: they stay as they are, and the log names each.
    pub unreadable: u64,
    /// Those that were changed by others again and again. Another call takes them up.
    pub left: u64,
}

impl Path {
    /// Seals anew what is stored in another suite than the one that is configured, or with a key that was replaced. With
    /// `replace_keys` all people are given new keys first.
    pub async fn reseal(&self, credential: Credential, replace_keys: bool) -> Result<Resealed, PathError> {
        let facts = Facts::none().with("deed", "reseal").with("suite", self.kept.secrets.suite());
        let facts = if replace_keys { facts.with("replace_keys", true) } else { facts };
        let acting = self.decided::<ManageVault>(&credential, ()).await?.act(facts).await?;
        let done = async {
            let mut replaced = 0;
            if replace_keys {
                let done = self.kept.replace_keys().await;
                // Names that were sealed with keys of before are sealed with the present ones from here on.
                self.access.audit().forget_names();
                replaced = done?;
            }
            // First: they are few, and done whatever becomes of the rest.
            let seeds = self.access.sign_in().reseal_seeds().await?;
            Ok::<_, PathError>(Resealed { replaced_keys: replaced, seeds, ..self.kept.reseal().await? })
        };
        let done = done.await;
        acting.end_with(done, |done| Facts::none().with("resealed", done.chat_completions)).await
    }
}

impl Kept {
    async fn replace_keys(&self) -> Result<u64, KeptError> {
        let _turn = self.resealing.lock().await;
        Ok(self.keyring.replace_subject_keys().await?)
    }

    async fn reseal(&self) -> Result<Resealed, KeptError> {
        let _turn = self.resealing.lock().await;
        let keyring = &self.keyring;
        let mut done = Resealed {
            suite: self.secrets.suite(),
            replaced_keys: 0,
            chat_completions: 0,
            seeds: 0,
            erased: 0,
            unreadable: 0,
            left: 0,
        };
        for _ in 0..PASSES_MAX {
            done = Resealed { erased: 0, unreadable: 0, left: 0, ..done };
            self.pass(keyring, &mut done).await?;
            if done.left == 0 {
                break;
            }
        }
        Ok(done)
    }

    /// Goes once through all rows that are not in the suite, and then through those of keys that were replaced.
    async fn pass(&self, keyring: &Keyring, done: &mut Resealed) -> Result<(), KeptError> {
        let (beginning, mut after) = (done.suite.beginning(), 0);
        loop {
            let rows =
                self.store.chat_completions_beginning_otherwise(&beginning, after, RESEALED_AT_ONCE).await?;
            let Some(last) = rows.last() else { break };
            after = last.number;
            self.put(keyring, rows, done).await?;
        }
        let mut after = 0;
        loop {
            let keys = keyring.replaced_keys(after).await?;
            let Some((place, _)) = keys.last() else { return Ok(()) };
            after = *place;
            for (_, key) in keys {
                self.put_all_of(keyring, key, done).await?;
            }
        }
    }

    async fn put_all_of(
        &self,
        keyring: &Keyring,
        key: SubjectKeyId,
        done: &mut Resealed,
    ) -> Result<(), KeptError> {
        let mut after = 0;
        loop {
            let rows = self.store.chat_completions_sealed_with(key.0, after, RESEALED_AT_ONCE).await?;
            let Some(last) = rows.last() else { return Ok(()) };
            after = last.number;
            self.put(keyring, rows, done).await?;
        }
    }

    async fn put(
        &self,
        keyring: &Keyring,
        rows: Vec<SealedRecord>,
        done: &mut Resealed,
    ) -> Result<(), KeptError> {
        let mut anew = Vec::with_capacity(rows.len());
        for row in rows {
            match sealed_anew(keyring, &row).await {
                Ok((key, parts)) => {
                    anew.push(store::Resealed { subject_key: key.id().0, parts, before: row });
                }
                Err(VaultError::Shredded) => done.erased += 1,
                Err(
                    error @ (VaultError::Refused
                    | VaultError::Unknown(_)
                    | VaultError::NoKey(_)
                    | VaultError::WrongKey { .. }),
                ) => {
                    tracing::warn!(id = %row.id, "a stored chat completion stays as it is sealed: {error}");
                    done.unreadable += 1;
                }
                Err(error) => return Err(error.into()),
            }
        }
        let tried = anew.len() as u64;
        let put = self.store.reseal_chat_completions(anew).await?;
        done.chat_completions += put;
        done.left += tried - put;
        Ok(())
    }
}

/// The parts of a row, each opened, and sealed by the present key for the place where it is.
async fn sealed_anew(keyring: &Keyring, row: &SealedRecord) -> Result<(SubjectKey, SealedParts), VaultError> {
    let old = keyring.of_sealed(&row.parts.answer).await?;
    let anew = |present: &SubjectKey, part, sealed| {
        let record = record(row.id, part);
        present.seal(&place(&record), &old.open(&place(&record), sealed)?)
    };
    let present = keyring.present(&old).await?;
    let parts = SealedParts {
        messages: anew(&present, Part::Messages, &row.parts.messages)?,
        answer: anew(&present, Part::Answer, &row.parts.answer)?,
        metadata: anew(&present, Part::Metadata, &row.parts.metadata)?,
    };
    Ok((present, parts))
}
