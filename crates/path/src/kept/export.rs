//! What is stored about one person, for that person: the right of access, and to data portability.

use std::{
    fs,
    io::{BufWriter, Write},
    path::{Path as File, PathBuf},
};

use access::{Credential, ExportSubject};
use audit::Facts;
use types::{DataSubject, Secret};
use vault::{ExportWriter, Recipients};

use super::{
    Kept, KeptError, Part,
    operate::{create_new, of_file},
    place,
    read::{Stored, open_with},
    record,
};
use crate::{Path, PathError};

/// Rows that are in memory at once.
const ROWS_AT_ONCE: u32 = 100;

/// A stored chat completion with what was asked.
pub struct Exported {
    /// What was answered.
    pub stored: Stored,
    /// What was asked.
    pub messages: Secret,
}

/// Puts one into the words of a protocol, as a line without its end. None if it cannot be read.
pub type Line<'a> = &'a (dyn Fn(&Exported) -> Option<Secret> + Sync);

impl Path {
    /// Writes all that is stored about a person, of all users of the tenant, into a new file: a line for each chat
    /// completion, the oldest first, sealed with `age` for these recipients. Returns how many there are.
    pub async fn export(
        &self,
        credential: Credential,
        tenant: &str,
        subject: &DataSubject,
        file: PathBuf,
        recipients: &[String],
        line: Line<'_>,
    ) -> Result<u64, PathError> {
        let decided = self.decided_in::<ExportSubject>(&credential, tenant).await?;
        let facts = self.kept.facts_of(tenant, subject).await?.with("file", file.display());
        let acting = decided.act(facts).await?;
        let done = self.kept.export(tenant, subject, &file, recipients, line).await;
        acting.end_with(done, |count| Facts::none().with("count", count)).await
    }
}

impl Kept {
    async fn export(
        &self,
        tenant: &str,
        subject: &DataSubject,
        file: &File,
        recipients: &[String],
        line: Line<'_>,
    ) -> Result<u64, KeptError> {
        let recipients = Recipients::parse(recipients)?;
        // Nothing moves from one key of the person to another meanwhile.
        let _still = self.resealing.lock().await;
        let tenant = self.tenant(tenant).await?;
        let keys = self.keyring.subject_key_ids(tenant, subject).await?;
        let keys: Vec<[u8; 16]> = keys.iter().map(|key| key.0).collect();
        if keys.is_empty() {
            return Err(KeptError::NoSubject);
        }
        let failed = of_file(file);
        let new = match create_new(file) {
            Ok(new) => new,
            Err(error) => return Err(failed(error)),
        };
        let written = self.write_export(&keys, recipients.seal(BufWriter::new(new))?, line).await;
        if written.is_err() {
            let _ = fs::remove_file(file);
        }
        written.map_err(|error| match error {
            KeptError::Io(error) => failed(error),
            error => error,
        })
    }

    async fn write_export(
        &self,
        keys: &[[u8; 16]],
        mut export: ExportWriter<BufWriter<fs::File>>,
        line: Line<'_>,
    ) -> Result<u64, KeptError> {
        let keyring = &self.keyring;
        let (mut after, mut count) = (0, 0);
        loop {
            let mut rows = Vec::new();
            for key in keys {
                rows.extend(self.store.chat_completions_of(*key, after, ROWS_AT_ONCE).await?);
            }
            rows.sort_unstable_by_key(|(row, _)| row.number);
            rows.truncate(ROWS_AT_ONCE as usize);
            let Some((last, _)) = rows.last() else { break };
            after = last.number;
            for (row, messages) in rows {
                let key = keyring.of_sealed(&row.answer).await?;
                let messages = key.open(&place(&record(row.id, Part::Messages)), &messages)?;
                let exported = Exported { stored: open_with(&key, row)?, messages };
                export.put(&line(&exported).ok_or(KeptError::Damaged)?)?;
                export.write_all(b"\n")?;
                count += 1;
            }
        }
        let file = export.finish()?.into_inner().map_err(std::io::IntoInnerError::into_error)?;
        file.sync_all()?;
        Ok(count)
    }
}
