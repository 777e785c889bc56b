//! Keys of subjects that have another now: what was sealed with one opens by it for as long as the subject is not shredded.

use sqlx::{AnyConnection, FromRow, any::AnyRow, query, query_as, query_scalar};
use types::TenantId;

use super::{SubjectKeyRecord, VaultKeys, number};
use crate::{StoreError, database::column_of};

impl VaultKeys {
    /// All keys of a subject, the present one first.
    pub async fn subject_keys(
        &self,
        tenant: TenantId,
        subject: &[u8; 32],
    ) -> Result<Vec<SubjectKeyRecord>, StoreError> {
        let sql = "SELECT id, tenant, generation, subject, wrapped, replaced FROM subject_key WHERE tenant = ? AND \
                   subject = ? ORDER BY replaced, rowid";
        let found = query_as(sql)
            .bind(column_of(tenant.0))
            .bind(&subject[..])
            .fetch_all(self.database.readers())
            .await;
        found.map_err(|error| self.database.failed(error))
    }

    /// The greatest place of a subject key; a later one has a greater place. 0 if there is none.
    pub async fn last_place(&self) -> Result<u64, StoreError> {
        let found: sqlx::Result<Option<i64>> =
            query_scalar("SELECT max(rowid) FROM subject_key").fetch_one(self.database.readers()).await;
        found.map(|place| place.map_or(0, i64::cast_unsigned)).map_err(|error| self.database.failed(error))
    }

    /// Subject keys that were replaced, or those that were not, with their places; only behind `after`, in order, at most so
    /// many.
    pub async fn subject_keys_behind_place(
        &self,
        replaced: bool,
        after: u64,
        most: u32,
    ) -> Result<Vec<(u64, SubjectKeyRecord)>, StoreError> {
        let sql = "SELECT rowid AS place, id, tenant, generation, subject, wrapped, replaced FROM subject_key WHERE \
                   replaced = ? AND rowid > ? ORDER BY rowid LIMIT ?";
        let rows = query(sql)
            .bind(i64::from(replaced))
            .bind(column_of(after))
            .bind(i64::from(most))
            .fetch_all(self.database.readers())
            .await
            .map_err(|error| self.database.failed(error))?;
        let read = |row: &AnyRow| Ok((number(row, "place")?, SubjectKeyRecord::from_row(row)?));
        rows.iter().map(read).collect::<sqlx::Result<_>>().map_err(|error| self.database.failed(error))
    }

    /// Puts new keys of subjects in the place of the ones with these ids, all or none; of keys that were destroyed or
    /// replaced meanwhile no new one is put. Returns how many were put; none if a generation that wraps one is gone. On the
    /// disk when this returns.
    pub async fn replace_subject_keys(
        &self,
        keys: Vec<([u8; 16], SubjectKeyRecord)>,
    ) -> Result<Option<u64>, StoreError> {
        self.database.write(|connection| Box::pin(replace_subject_keys(connection, keys))).await
    }
}

async fn replace_subject_keys(
    connection: &mut AnyConnection,
    keys: Vec<([u8; 16], SubjectKeyRecord)>,
) -> sqlx::Result<Option<u64>> {
    for (_, new) in &keys {
        let there: i64 =
            query_scalar("SELECT count(*) FROM tenant_key WHERE tenant = $1 AND generation = $2")
                .bind(column_of(new.tenant.0))
                .bind(column_of(new.generation))
                .fetch_one(&mut *connection)
                .await?;
        if there == 0 {
            return Ok(None);
        }
    }
    let mut put = 0;
    for (old, new) in keys {
        let replaced = query("UPDATE subject_key SET replaced = 1 WHERE id = $1 AND replaced = 0")
            .bind(&old[..])
            .execute(&mut *connection)
            .await?;
        if replaced.rows_affected() == 0 {
            continue;
        }
        query(
            "INSERT INTO subject_key (id, tenant, generation, subject, wrapped) VALUES ($1, $2, $3, $4, $5)",
        )
        .bind(&new.id[..])
        .bind(column_of(new.tenant.0))
        .bind(column_of(new.generation))
        .bind(&new.subject[..])
        .bind(&new.wrapped)
        .execute(&mut *connection)
        .await?;
        put += 1;
    }
    Ok(Some(put))
}
