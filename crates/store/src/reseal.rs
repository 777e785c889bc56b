//! Stored values in the place of which the same ones are put, sealed anew.

use sqlx::{AnyConnection, Row, any::AnyRow, query, query_scalar};
use types::{RequestId, Sealed};

use crate::{Store, StoreError, chat_completions::bytes_of, database::column_of};

/// Numbers of rows that one statement looks through: however many there are, none takes long.
const LOOKED_THROUGH_AT_ONCE: i64 = 1_000;

/// The sealed parts of a stored chat completion.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedParts {
    /// What was asked.
    pub messages: Sealed,
    /// What was answered.
    pub answer: Sealed,
    /// What the caller attached to it.
    pub metadata: Sealed,
}

/// A stored chat completion, whosever it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedRecord {
    /// Its place among all rows.
    pub number: u64,
    /// The request that it answers.
    pub id: RequestId,
    /// The key that all of it is sealed with.
    pub subject_key: [u8; 16],
    /// What is sealed.
    pub parts: SealedParts,
}

/// A row is written anew only if it is still as it was read: what was changed or deleted meanwhile stays so.
#[derive(Debug, Clone)]
pub struct Resealed {
    /// As it was read.
    pub before: SealedRecord,
    /// The key that seals it now.
    pub subject_key: [u8; 16],
    /// The same, sealed anew.
    pub parts: SealedParts,
}

impl Store {
    /// Rows of which a part does not begin with these bytes; only behind this number, in order, at most so many.
    pub async fn chat_completions_beginning_otherwise(
        &self,
        beginning: &[u8],
        after: u64,
        most: u32,
    ) -> Result<Vec<SealedRecord>, StoreError> {
        let sql = "SELECT number, id, subject_key, messages, answer, metadata FROM chat_completion WHERE number > $1 AND \
                   number <= $5 AND (substr(messages, 1, CAST($2 AS INTEGER)) <> $3 OR substr(answer, 1, CAST($2 AS INTEGER)) \
                   <> $3 OR substr(metadata, 1, CAST($2 AS INTEGER)) <> $3) ORDER BY number LIMIT $4";
        let last = query_scalar("SELECT coalesce(max(number), 0) FROM chat_completion");
        let last: i64 = last.fetch_one(self.readers()).await.map_err(|error| self.failed(error))?;
        let mut after = column_of(after);
        while after < last {
            let end = after.saturating_add(LOOKED_THROUGH_AT_ONCE);
            let rows = query(sql)
                .bind(after)
                .bind(beginning.len() as i64)
                .bind(beginning.to_vec())
                .bind(i64::from(most))
                .bind(end)
                .fetch_all(self.readers())
                .await
                .map_err(|error| self.failed(error))?;
            if !rows.is_empty() {
                let records = rows.iter().map(record).collect::<sqlx::Result<_>>();
                return records.map_err(|error| self.failed(error));
            }
            after = end;
        }
        Ok(Vec::new())
    }

    /// Rows that are sealed with this key; only behind this number, in order, at most so many.
    pub async fn chat_completions_sealed_with(
        &self,
        subject_key: [u8; 16],
        after: u64,
        most: u32,
    ) -> Result<Vec<SealedRecord>, StoreError> {
        let sql = "SELECT number, id, subject_key, messages, answer, metadata FROM chat_completion WHERE subject_key = $1 AND \
                   number > $2 ORDER BY number LIMIT $3";
        let rows = query(sql)
            .bind(subject_key.to_vec())
            .bind(column_of(after))
            .bind(i64::from(most))
            .fetch_all(self.readers())
            .await
            .map_err(|error| self.failed(error))?;
        rows.iter().map(record).collect::<sqlx::Result<_>>().map_err(|error| self.failed(error))
    }

    /// Puts rows that were sealed anew in the place of those that were read, all or none but for those that are not as they
    /// were any more. Returns how many were put. On the disk when this returns.
    pub async fn reseal_chat_completions(&self, rows: Vec<Resealed>) -> Result<u64, StoreError> {
        self.write(|connection| Box::pin(put(connection, rows))).await
    }
}

async fn put(connection: &mut AnyConnection, rows: Vec<Resealed>) -> sqlx::Result<u64> {
    let mut all = 0;
    for Resealed { before, subject_key, parts } in rows {
        let sql = "UPDATE chat_completion SET subject_key = $1, messages = $2, answer = $3, metadata = $4 WHERE number = $5 \
                   AND id = $6 AND subject_key = $7 AND messages = $8 AND answer = $9 AND metadata = $10";
        let done = query(sql)
            .bind(subject_key.to_vec())
            .bind(parts.messages.as_bytes())
            .bind(parts.answer.as_bytes())
            .bind(parts.metadata.as_bytes())
            .bind(column_of(before.number))
            .bind(bytes_of(before.id))
            .bind(before.subject_key.to_vec())
            .bind(before.parts.messages.as_bytes())
            .bind(before.parts.answer.as_bytes())
            .bind(before.parts.metadata.as_bytes())
            .execute(&mut *connection)
            .await?;
        all += done.rows_affected();
    }
    Ok(all)
}

fn record(row: &AnyRow) -> sqlx::Result<SealedRecord> {
    let damaged = |column: &str| sqlx::Error::ColumnDecode {
        index: column.to_owned(),
        source: "it is out of range".into(),
    };
    let bytes = |column: &str| row.try_get::<Vec<u8>, _>(column);
    let fixed = |column: &str| <[u8; 16]>::try_from(bytes(column)?).map_err(|_| damaged(column));
    Ok(SealedRecord {
        number: u64::try_from(row.try_get::<i64, _>("number")?).map_err(|_| damaged("number"))?,
        id: RequestId(u128::from_be_bytes(fixed("id")?)),
        subject_key: fixed("subject_key")?,
        parts: SealedParts {
            messages: bytes("messages")?.into(),
            answer: bytes("answer")?.into(),
            metadata: bytes("metadata")?.into(),
        },
    })
}
