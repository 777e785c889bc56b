//! Chat completions that were asked to be stored. What was said is in here only as [`Sealed`].

use sqlx::{AnyConnection, FromRow, Row, any::AnyRow, query, query_as, query_scalar};
use types::{DataClass, RequestId, Sealed, TenantId, UserId};

use crate::{Store, StoreError, database::column_of};

/// Rows of one deletion by age or subject: a transaction that others wait for stays short.
const DELETED_AT_ONCE: i64 = 500;

/// Whose it is. Nobody else reads, changes or deletes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The tenant.
    pub tenant: TenantId,
    /// The user in it.
    pub user: UserId,
    /// Rows that are more sensitive than this are as if they were not there.
    pub data_class_max: DataClass,
}

/// A row to be added.
#[derive(Debug, Clone)]
pub struct NewChatCompletionRecord {
    /// The request that it answers.
    pub id: RequestId,
    /// The tenant.
    pub tenant: TenantId,
    /// The user in it.
    pub user: UserId,
    /// The key that all of it is sealed with.
    pub subject_key: [u8; 16],
    /// How sensitive it is.
    pub data_class: DataClass,
    /// The model that answered.
    pub model: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// When it is deleted: seconds since 1970.
    pub expires_at: u64,
    /// What was asked.
    pub messages: Sealed,
    /// What was answered.
    pub answer: Sealed,
    /// What the caller attached to it.
    pub metadata: Sealed,
}

/// A row as it is listed: without what was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChatCompletionRecord {
    /// Its place among all rows: later ones have greater numbers.
    pub number: u64,
    /// The request that it answers.
    pub id: RequestId,
    /// The model that answered.
    pub model: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// What was answered.
    pub answer: Sealed,
    /// What the caller attached to it.
    pub metadata: Sealed,
}

/// Which rows of an owner are listed, and how.
#[derive(Debug, Clone, Default)]
pub struct Listed {
    /// Only of this model.
    pub model: Option<String>,
    /// Only behind this number, in the order of the list.
    pub after: Option<u64>,
    /// The newest first.
    pub newest_first: bool,
    /// At most so many.
    pub most: u32,
}

/// A statement about rows of one owner that have not expired, in parameters 1 to 4; what comes behind goes on with 5.
macro_rules! owned {
    (select $rest:literal) => {
        owned!("SELECT number, id, model, created_at, answer, metadata FROM chat_completion", $rest)
    };
    ($statement:literal, $rest:literal) => {
        concat!(
            $statement,
            " WHERE tenant = $1 AND \"user\" = $2 AND data_class <= $3 AND expires_at > $4 AND ",
            $rest
        )
    };
}

/// The parameters of [`owned`].
macro_rules! bind_owner {
    ($query:expr, $owner:expr, $now:expr) => {
        $query
            .bind(column_of($owner.tenant.0))
            .bind(column_of($owner.user.0))
            .bind(level($owner.data_class_max))
            .bind(column_of($now))
    };
}

impl Store {
    /// Adds a row. On the disk when this returns.
    pub async fn insert_chat_completion(&self, row: NewChatCompletionRecord) -> Result<(), StoreError> {
        self.write(|connection| Box::pin(insert(connection, row))).await
    }

    /// A row of this owner that has not expired at `now` (seconds since 1970).
    pub async fn chat_completion(
        &self,
        owner: Owner,
        id: RequestId,
        now: u64,
    ) -> Result<Option<ChatCompletionRecord>, StoreError> {
        let found = query_as(owned!(select "id = $5"));
        let found = bind_owner!(found, owner, now).bind(bytes_of(id)).fetch_optional(self.readers()).await;
        found.map_err(|error| self.failed(error))
    }

    /// What was asked, of such a row.
    pub async fn chat_completion_messages(
        &self,
        owner: Owner,
        id: RequestId,
        now: u64,
    ) -> Result<Option<Sealed>, StoreError> {
        let sql = owned!("SELECT messages FROM chat_completion", "id = $5");
        let found: sqlx::Result<Option<Vec<u8>>> = bind_owner!(query_scalar(sql), owner, now)
            .bind(bytes_of(id))
            .fetch_optional(self.readers())
            .await;
        found.map(|found| found.map(Sealed::from)).map_err(|error| self.failed(error))
    }

    /// Rows of this owner that have not expired at `now`.
    pub async fn chat_completions(
        &self,
        owner: Owner,
        listed: &Listed,
        now: u64,
    ) -> Result<Vec<ChatCompletionRecord>, StoreError> {
        let oldest_first =
            owned!(select "($5 IS NULL OR model = $5) AND number > $6 ORDER BY number LIMIT $7");
        let newest_first =
            owned!(select "($5 IS NULL OR model = $5) AND number < $6 ORDER BY number DESC LIMIT $7");
        let (sql, start) = if listed.newest_first { (newest_first, i64::MAX) } else { (oldest_first, 0) };
        let found = bind_owner!(query_as(sql), owner, now)
            .bind(listed.model.clone())
            .bind(listed.after.map_or(start, column_of))
            .bind(i64::from(listed.most))
            .fetch_all(self.readers())
            .await;
        found.map_err(|error| self.failed(error))
    }

    /// Rows that are sealed with this key, of all owners and with what was asked; only behind this number, the oldest first,
    /// at most so many. Those that have expired are among them as long as they are there.
    pub async fn chat_completions_of(
        &self,
        subject_key: [u8; 16],
        after: u64,
        most: u32,
    ) -> Result<Vec<(ChatCompletionRecord, Sealed)>, StoreError> {
        let sql = "SELECT number, id, model, created_at, answer, metadata, messages FROM chat_completion WHERE \
                   subject_key = $1 AND number > $2 ORDER BY number LIMIT $3";
        let rows = query(sql)
            .bind(subject_key.to_vec())
            .bind(column_of(after))
            .bind(i64::from(most))
            .fetch_all(self.readers())
            .await
            .map_err(|error| self.failed(error))?;
        let read = |row: &AnyRow| {
            Ok((ChatCompletionRecord::from_row(row)?, Sealed::from(row.try_get::<Vec<u8>, _>("messages")?)))
        };
        rows.iter().map(read).collect::<sqlx::Result<_>>().map_err(|error| self.failed(error))
    }

    /// Puts other metadata, sealed with this key, in the place of what is there. False if there is no such row, or one that is
    /// sealed with another key by now. On the disk when this returns.
    pub async fn update_chat_completion(
        &self,
        owner: Owner,
        id: RequestId,
        subject_key: [u8; 16],
        metadata: Sealed,
        now: u64,
    ) -> Result<bool, StoreError> {
        let sql = owned!("UPDATE chat_completion SET metadata = $6", "id = $5 AND subject_key = $7");
        let update = bind_owner!(query(sql), owner, now)
            .bind(bytes_of(id))
            .bind(metadata.as_bytes().to_vec())
            .bind(subject_key.to_vec());
        let updated = self.write(|connection| Box::pin(update.execute(connection))).await?;
        Ok(updated.rows_affected() > 0)
    }

    /// Deletes a row. False if there is no such row. On the disk when this returns.
    pub async fn delete_chat_completion(
        &self,
        owner: Owner,
        id: RequestId,
        now: u64,
    ) -> Result<bool, StoreError> {
        let sql = owned!("DELETE FROM chat_completion", "id = $5");
        let delete = bind_owner!(query(sql), owner, now).bind(bytes_of(id));
        let deleted = self.write(|connection| Box::pin(delete.execute(connection))).await?;
        Ok(deleted.rows_affected() > 0)
    }

    /// Deletes all rows that are sealed with this key. Returns how many.
    pub async fn delete_chat_completions_of(&self, subject_key: [u8; 16]) -> Result<u64, StoreError> {
        let sql = "DELETE FROM chat_completion WHERE number IN (SELECT number FROM chat_completion WHERE subject_key = $1 \
                   ORDER BY number LIMIT $2)";
        self.delete_in_parts(sql, Key::Subject(subject_key)).await
    }

    /// Lets rows of this data class expire this many seconds after they were made, where they would be kept for longer.
    /// Returns how many.
    pub async fn shorten_chat_completions(
        &self,
        data_class: DataClass,
        lifetime_s: u64,
    ) -> Result<u64, StoreError> {
        let some: sqlx::Result<i64> = query_scalar(
            "SELECT count(*) FROM chat_completion WHERE data_class = $1 AND expires_at > created_at + $2",
        )
        .bind(level(data_class))
        .bind(column_of(lifetime_s))
        .fetch_one(self.readers())
        .await;
        if some.map_err(|error| self.failed(error))? == 0 {
            return Ok(0);
        }
        let shorten = query(
            "UPDATE chat_completion SET expires_at = created_at + $2 WHERE data_class = $1 AND expires_at > created_at + $2",
        )
        .bind(level(data_class))
        .bind(column_of(lifetime_s));
        let shortened = self.write(|connection| Box::pin(shorten.execute(connection))).await?;
        Ok(shortened.rows_affected())
    }

    /// Deletes all rows that have expired at `now` (seconds since 1970). Returns how many.
    pub async fn delete_expired_chat_completions(&self, now: u64) -> Result<u64, StoreError> {
        let sql = "DELETE FROM chat_completion WHERE number IN (SELECT number FROM chat_completion WHERE expires_at <= $1 \
                   ORDER BY expires_at LIMIT $2)";
        self.delete_in_parts(sql, Key::Expired(now)).await
    }

    async fn delete_in_parts(&self, sql: &'static str, key: Key) -> Result<u64, StoreError> {
        let mut all = 0;
        loop {
            let delete = match key {
                Key::Subject(key) => query(sql).bind(key.to_vec()),
                Key::Expired(now) => query(sql).bind(column_of(now)),
            };
            let delete = delete.bind(DELETED_AT_ONCE);
            let deleted =
                self.write(|connection| Box::pin(delete.execute(connection))).await?.rows_affected();
            all += deleted;
            if deleted == 0 {
                return Ok(all);
            }
        }
    }

    /// How many rows there are, of all owners.
    pub async fn count_chat_completions(&self) -> Result<u64, StoreError> {
        let count: sqlx::Result<i64> =
            query_scalar("SELECT count(*) FROM chat_completion").fetch_one(self.readers()).await;
        count.map(i64::cast_unsigned).map_err(|error| self.failed(error))
    }
}

/// What rows are deleted by.
#[derive(Clone, Copy)]
enum Key {
    Subject([u8; 16]),
    Expired(u64),
}

async fn insert(connection: &mut AnyConnection, row: NewChatCompletionRecord) -> sqlx::Result<()> {
    query(
        "INSERT INTO chat_completion (id, tenant, \"user\", subject_key, data_class, model, created_at, expires_at, \
         messages, answer, metadata) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
    )
    .bind(bytes_of(row.id))
    .bind(column_of(row.tenant.0))
    .bind(column_of(row.user.0))
    .bind(&row.subject_key[..])
    .bind(level(row.data_class))
    .bind(&row.model)
    .bind(column_of(row.created_at))
    .bind(column_of(row.expires_at))
    .bind(row.messages.as_bytes())
    .bind(row.answer.as_bytes())
    .bind(row.metadata.as_bytes())
    .execute(connection)
    .await
    .map(drop)
}

/// Levels are compared, so they are kept as numbers: the least sensitive is 0.
fn level(class: DataClass) -> i64 {
    DataClass::ALL.iter().position(|level| *level == class).unwrap_or_default() as i64
}

pub(crate) fn bytes_of(id: RequestId) -> Vec<u8> {
    id.0.to_be_bytes().to_vec()
}

impl FromRow<'_, AnyRow> for ChatCompletionRecord {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let damaged = |column: &str| sqlx::Error::ColumnDecode {
            index: column.to_owned(),
            source: "it is out of range".into(),
        };
        let number =
            |column: &str| u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| damaged(column));
        let sealed = |column: &str| Ok::<_, sqlx::Error>(Sealed::from(row.try_get::<Vec<u8>, _>(column)?));
        let id: Vec<u8> = row.try_get("id")?;
        Ok(Self {
            number: number("number")?,
            id: RequestId(u128::from_be_bytes(id.try_into().map_err(|_| damaged("id"))?)),
            model: row.try_get("model")?,
            created_at: number("created_at")?,
            answer: sealed("answer")?,
            metadata: sealed("metadata")?,
        })
    }
}
