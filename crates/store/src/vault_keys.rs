//! Wrapped keys, in a database of their own: no copy of the control plane's state holds any, so what was shredded stays
//! shredded whatever copy of the state is restored.

mod replaced;

use std::path::Path;

use sqlx::{
    Any, AnyConnection, AnyPool, FromRow, QueryBuilder, Row, any::AnyRow, query, query_as, query_scalar,
};
use types::TenantId;

use crate::{
    StoreError,
    database::{Database, column_of},
    migrations::VAULT_KEYS,
};

/// Rows that are changed by one statement; `SQLite` takes 32,766 parameters.
const ROWS_AT_ONCE: usize = 500;

/// A tenant key, wrapped by the root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantKeyRecord {
    /// Whose it is.
    pub tenant: TenantId,
    /// Counts from 1, one more with each rotation.
    pub generation: u64,
    /// The root that wraps it.
    pub root: [u8; 16],
    /// The key, wrapped.
    pub wrapped: Vec<u8>,
    /// The key that names of subjects are hashed with, wrapped by this one. The same in all generations.
    pub index: Vec<u8>,
}

/// A subject key, wrapped by a tenant key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectKeyRecord {
    /// Its name, which says nothing about the subject.
    pub id: [u8; 16],
    /// Whose subject it is.
    pub tenant: TenantId,
    /// The generation of the tenant key that wraps it.
    pub generation: u64,
    /// Keyed hash of the subject's name.
    pub subject: [u8; 32],
    /// The key, wrapped.
    pub wrapped: Vec<u8>,
    /// Whether the subject has another now. What was sealed with this one still opens by it.
    pub replaced: bool,
}

/// What remains of a subject key that was destroyed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Tombstone {
    /// The key's name.
    pub id: [u8; 16],
    /// Whose subject it was.
    pub tenant: TenantId,
    /// Seconds since 1970.
    pub shredded_at: u64,
}

/// How many keys there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyCounts {
    /// Tenants that have a key.
    pub tenants: u64,
    /// Subjects that have one.
    pub subjects: u64,
    /// Keys of subjects who have another now.
    pub replaced: u64,
    /// Subject keys that still wait to be wrapped by the newest key of their tenant.
    pub behind: u64,
    /// Keys that were destroyed.
    pub tombstones: u64,
}

/// The wrapped keys of an installation. Clones share the connections.
#[derive(Clone)]
pub struct VaultKeys {
    database: Database,
}

impl VaultKeys {
    /// Opens the database in `file`, or makes it, as [`Store::open`](crate::Store::open) does. What is deleted in it is
    /// overwritten.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        Ok(Self { database: Database::open_file(file, &VAULT_KEYS, true).await? })
    }

    /// Ends all connections.
    pub async fn close(&self) {
        self.database.close().await;
    }

    /// The keys of a tenant, the newest first.
    pub async fn tenant_keys(&self, tenant: TenantId) -> Result<Vec<TenantKeyRecord>, StoreError> {
        let sql = "SELECT tenant, generation, root, wrapped, index_key FROM tenant_key WHERE tenant = ? \
                   ORDER BY generation DESC";
        let found = query_as(sql).bind(column_of(tenant.0)).fetch_all(self.database.readers()).await;
        found.map_err(|error| self.database.failed(error))
    }

    /// The keys of all tenants that another root than this one wraps.
    pub async fn wrapped_by_others(&self, root: [u8; 16]) -> Result<Vec<TenantKeyRecord>, StoreError> {
        let sql = "SELECT tenant, generation, root, wrapped, index_key FROM tenant_key WHERE root <> ? \
                   ORDER BY tenant, generation";
        let found = query_as(sql).bind(&root[..]).fetch_all(self.database.readers()).await;
        found.map_err(|error| self.database.failed(error))
    }

    /// Adds a tenant key. False if there is one of its generation already. On the disk when this returns.
    pub async fn add_tenant_key(&self, key: TenantKeyRecord) -> Result<bool, StoreError> {
        let sql = "INSERT INTO tenant_key (tenant, generation, root, wrapped, index_key) VALUES ($1, $2, $3, $4, $5) \
                   ON CONFLICT DO NOTHING";
        let add = query(sql)
            .bind(column_of(key.tenant.0))
            .bind(column_of(key.generation))
            .bind(key.root.to_vec())
            .bind(key.wrapped)
            .bind(key.index);
        let added = self.database.write(|connection| Box::pin(add.execute(connection))).await?;
        Ok(added.rows_affected() > 0)
    }

    /// Puts another root's wrapping in the place of the one that is there. On the disk when this returns.
    pub async fn rewrap_tenant_key(&self, key: TenantKeyRecord) -> Result<(), StoreError> {
        let sql = "UPDATE tenant_key SET root = $1, wrapped = $2 WHERE tenant = $3 AND generation = $4";
        let change = query(sql)
            .bind(key.root.to_vec())
            .bind(key.wrapped)
            .bind(column_of(key.tenant.0))
            .bind(column_of(key.generation));
        self.database.write(|connection| Box::pin(change.execute(connection))).await.map(drop)
    }

    /// Destroys the keys of a tenant that are older than `generation` and wrap nothing any more. Returns how many.
    pub async fn destroy_old_tenant_keys(
        &self,
        tenant: TenantId,
        generation: u64,
    ) -> Result<u64, StoreError> {
        let sql = "DELETE FROM tenant_key WHERE tenant = $1 AND generation < $2 AND NOT EXISTS (SELECT 1 FROM \
                   subject_key s WHERE s.tenant = $1 AND s.generation = tenant_key.generation)";
        let delete = query(sql).bind(column_of(tenant.0)).bind(column_of(generation));
        let deleted = self.database.write(|connection| Box::pin(delete.execute(connection))).await?;
        self.database.forget_deleted().await?;
        Ok(deleted.rows_affected())
    }

    /// The key of a subject, by the hash of its name; not one that was replaced.
    pub async fn subject_key(
        &self,
        tenant: TenantId,
        subject: &[u8; 32],
    ) -> Result<Option<SubjectKeyRecord>, StoreError> {
        let sql = "SELECT id, tenant, generation, subject, wrapped, replaced FROM subject_key WHERE tenant = ? AND \
                   subject = ? AND replaced = 0";
        let found = query_as(sql)
            .bind(column_of(tenant.0))
            .bind(&subject[..])
            .fetch_optional(self.database.readers())
            .await;
        found.map_err(|error| self.database.failed(error))
    }

    /// A subject key by its own name.
    pub async fn subject_key_of_id(&self, id: [u8; 16]) -> Result<Option<SubjectKeyRecord>, StoreError> {
        let sql = "SELECT id, tenant, generation, subject, wrapped, replaced FROM subject_key WHERE id = ?";
        let found = query_as(sql).bind(&id[..]).fetch_optional(self.database.readers()).await;
        found.map_err(|error| self.database.failed(error))
    }

    /// Adds a subject key. Returns the one that is there then: another, if the subject had one already; none if the
    /// generation that wraps it is gone. On the disk when this returns.
    pub async fn add_subject_key(
        &self,
        key: SubjectKeyRecord,
    ) -> Result<Option<SubjectKeyRecord>, StoreError> {
        self.database.write(|connection| Box::pin(add_subject_key(connection, key))).await
    }

    /// Adds many keys of one tenant and generation, all or none; subjects that have one keep it. False if the generation
    /// is gone. On the disk when this returns.
    pub async fn add_subject_keys(
        &self,
        tenant: TenantId,
        generation: u64,
        keys: Vec<SubjectKeyRecord>,
    ) -> Result<bool, StoreError> {
        self.database
            .write(move |connection| Box::pin(add_subject_keys(connection, tenant, generation, keys)))
            .await
    }

    /// Subject keys of a tenant that an older key than `generation` wraps, at most so many.
    pub async fn subject_keys_behind(
        &self,
        tenant: TenantId,
        generation: u64,
        most: u32,
    ) -> Result<Vec<SubjectKeyRecord>, StoreError> {
        let sql = "SELECT id, tenant, generation, subject, wrapped, replaced FROM subject_key WHERE tenant = ? AND \
                   generation < ? LIMIT ?";
        let found = query_as(sql)
            .bind(column_of(tenant.0))
            .bind(column_of(generation))
            .bind(i64::from(most))
            .fetch_all(self.database.readers())
            .await;
        found.map_err(|error| self.database.failed(error))
    }

    /// Puts new wrappings in the place of old ones, all or none; of keys that were destroyed meanwhile nothing comes
    /// back. On the disk when this returns.
    pub async fn rewrap_subject_keys(&self, keys: Vec<SubjectKeyRecord>) -> Result<(), StoreError> {
        self.database.write(|connection| Box::pin(rewrap_subject_keys(connection, keys))).await
    }

    /// Destroys the keys of a subject, if there are any, and remembers that. On the disk when this returns, and the wrapped
    /// keys are overwritten there.
    pub async fn shred(
        &self,
        tenant: TenantId,
        subject: [u8; 32],
        shredded_at: u64,
    ) -> Result<Vec<Tombstone>, StoreError> {
        let shredded = self
            .database
            .write(move |connection| Box::pin(shred(connection, tenant, subject, shredded_at)))
            .await?;
        if !shredded.is_empty() {
            self.database.forget_deleted().await?;
        }
        Ok(shredded)
    }

    /// All tombstones, oldest first.
    pub async fn tombstones(&self) -> Result<Vec<Tombstone>, StoreError> {
        tombstones(self.database.readers()).await.map_err(|error| self.database.failed(error))
    }

    /// Whether a key of this name was destroyed.
    pub async fn is_shredded(&self, id: [u8; 16]) -> Result<bool, StoreError> {
        let found: sqlx::Result<i64> = query_scalar("SELECT count(*) FROM tombstone WHERE id = ?")
            .bind(&id[..])
            .fetch_one(self.database.readers())
            .await;
        found.map(|count| count > 0).map_err(|error| self.database.failed(error))
    }

    /// Everything, as it was at one moment.
    pub async fn all(
        &self,
    ) -> Result<(Vec<TenantKeyRecord>, Vec<SubjectKeyRecord>, Vec<Tombstone>), StoreError> {
        self.try_all().await.map_err(|error| self.database.failed(error))
    }

    async fn try_all(&self) -> sqlx::Result<(Vec<TenantKeyRecord>, Vec<SubjectKeyRecord>, Vec<Tombstone>)> {
        let mut snapshot = self.database.readers().begin().await?;
        let tenants = "SELECT tenant, generation, root, wrapped, index_key FROM tenant_key ORDER BY 1, 2";
        let tenants = query_as(tenants).fetch_all(&mut *snapshot).await?;
        let subjects =
            "SELECT id, tenant, generation, subject, wrapped, replaced FROM subject_key ORDER BY tenant, id";
        let subjects = query_as(subjects).fetch_all(&mut *snapshot).await?;
        let tombstones = "SELECT id, tenant, shredded_at FROM tombstone ORDER BY shredded_at, id";
        let tombstones = query_as(tombstones).fetch_all(&mut *snapshot).await?;
        Ok((tenants, subjects, tombstones))
    }

    /// Takes in what is missing, all or nothing: tombstones first, and no key that has one. What is there stays.
    pub async fn merge(
        &self,
        tenants: Vec<TenantKeyRecord>,
        subjects: Vec<SubjectKeyRecord>,
        tombstones: Vec<Tombstone>,
    ) -> Result<(), StoreError> {
        self.database
            .write(move |connection| Box::pin(merge(connection, tenants, subjects, tombstones)))
            .await?;
        self.database.forget_deleted().await
    }

    /// How many of these keys are there.
    pub async fn present(&self, keys: &[SubjectKeyRecord]) -> Result<u64, StoreError> {
        let mut present = 0;
        for some in keys.chunks(ROWS_AT_ONCE) {
            let mut select = QueryBuilder::<Any>::new("SELECT count(*) FROM subject_key WHERE id IN (");
            let mut ids = select.separated(", ");
            for key in some {
                ids.push_bind(&key.id[..]);
            }
            select.push(")");
            let found = select.build_query_scalar::<i64>().fetch_one(self.database.readers()).await;
            present += found.map_err(|error| self.database.failed(error))?.cast_unsigned();
        }
        Ok(present)
    }

    /// How many keys there are.
    pub async fn counts(&self) -> Result<KeyCounts, StoreError> {
        let sql = "SELECT (SELECT count(DISTINCT tenant) FROM tenant_key), (SELECT count(*) FROM subject_key \
                   WHERE replaced = 0), (SELECT count(*) FROM subject_key WHERE replaced = 1), (SELECT count(*) FROM \
                   subject_key s WHERE s.generation < (SELECT max(generation) FROM tenant_key \
                   t WHERE t.tenant = s.tenant)), (SELECT count(*) FROM tombstone)";
        let found: Result<(i64, i64, i64, i64, i64), _> =
            query_as(sql).fetch_one(self.database.readers()).await;
        let (tenants, subjects, replaced, behind, tombstones) =
            found.map_err(|error| self.database.failed(error))?;
        let count = i64::cast_unsigned;
        Ok(KeyCounts {
            tenants: count(tenants),
            subjects: count(subjects),
            replaced: count(replaced),
            behind: count(behind),
            tombstones: count(tombstones),
        })
    }
}

/// All tombstones, of either database.
pub(crate) async fn tombstones(readers: &AnyPool) -> sqlx::Result<Vec<Tombstone>> {
    query_as("SELECT id, tenant, shredded_at FROM tombstone ORDER BY shredded_at, id")
        .fetch_all(readers)
        .await
}

/// Adds tombstones to either database.
pub(crate) async fn add_tombstones(
    connection: &mut AnyConnection,
    tombstones: &[Tombstone],
) -> sqlx::Result<()> {
    for stone in tombstones {
        query("INSERT INTO tombstone (id, tenant, shredded_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(&stone.id[..])
            .bind(column_of(stone.tenant.0))
            .bind(column_of(stone.shredded_at))
            .execute(&mut *connection)
            .await?;
    }
    Ok(())
}

async fn add_subject_key(
    connection: &mut AnyConnection,
    key: SubjectKeyRecord,
) -> sqlx::Result<Option<SubjectKeyRecord>> {
    query(
        "INSERT INTO subject_key (id, tenant, generation, subject, wrapped) SELECT $1, $2, $3, $4, $5 WHERE \
         EXISTS (SELECT 1 FROM tenant_key WHERE tenant = $2 AND generation = $3) \
         ON CONFLICT (tenant, subject) WHERE replaced = 0 DO NOTHING",
    )
    .bind(&key.id[..])
    .bind(column_of(key.tenant.0))
    .bind(column_of(key.generation))
    .bind(&key.subject[..])
    .bind(&key.wrapped)
    .execute(&mut *connection)
    .await?;
    let sql = "SELECT id, tenant, generation, subject, wrapped, replaced FROM subject_key WHERE tenant = $1 AND subject = $2 AND \
         replaced = 0";
    let there = query_as(sql).bind(column_of(key.tenant.0)).bind(&key.subject[..]);
    there.fetch_optional(&mut *connection).await
}

async fn add_subject_keys(
    connection: &mut AnyConnection,
    tenant: TenantId,
    generation: u64,
    keys: Vec<SubjectKeyRecord>,
) -> sqlx::Result<bool> {
    let there: i64 = query_scalar("SELECT count(*) FROM tenant_key WHERE tenant = $1 AND generation = $2")
        .bind(column_of(tenant.0))
        .bind(column_of(generation))
        .fetch_one(&mut *connection)
        .await?;
    if there == 0 {
        return Ok(false);
    }
    for some in keys.chunks(ROWS_AT_ONCE) {
        let mut insert =
            QueryBuilder::<Any>::new("INSERT INTO subject_key (id, tenant, generation, subject, wrapped) ");
        insert.push_values(some, |mut row, key| {
            row.push_bind(&key.id[..])
                .push_bind(column_of(tenant.0))
                .push_bind(column_of(generation))
                .push_bind(&key.subject[..])
                .push_bind(&key.wrapped);
        });
        insert.push(" ON CONFLICT (tenant, subject) WHERE replaced = 0 DO NOTHING");
        insert.build().execute(&mut *connection).await?;
    }
    Ok(true)
}

async fn rewrap_subject_keys(
    connection: &mut AnyConnection,
    keys: Vec<SubjectKeyRecord>,
) -> sqlx::Result<()> {
    for some in keys.chunks(ROWS_AT_ONCE) {
        let mut update = QueryBuilder::<Any>::new(
            "UPDATE subject_key SET generation = new.column2, wrapped = new.column3 FROM (",
        );
        update.push_values(some, |mut row, key| {
            row.push_bind(&key.id[..]).push_bind(column_of(key.generation)).push_bind(&key.wrapped);
        });
        update.push(") AS new WHERE subject_key.id = new.column1");
        update.build().execute(&mut *connection).await?;
    }
    Ok(())
}

async fn shred(
    connection: &mut AnyConnection,
    tenant: TenantId,
    subject: [u8; 32],
    shredded_at: u64,
) -> sqlx::Result<Vec<Tombstone>> {
    let ids: Vec<Vec<u8>> = query_scalar(
        "SELECT id FROM subject_key WHERE tenant = $1 AND subject = $2 ORDER BY replaced, rowid",
    )
    .bind(column_of(tenant.0))
    .bind(&subject[..])
    .fetch_all(&mut *connection)
    .await?;
    let stone = |id: Vec<u8>| {
        let id = id.try_into().map_err(|_| damaged("id", "it does not have 16 bytes"))?;
        Ok(Tombstone { id, tenant, shredded_at })
    };
    let stones = ids.into_iter().map(stone).collect::<sqlx::Result<Vec<_>>>()?;
    query("DELETE FROM subject_key WHERE tenant = $1 AND subject = $2")
        .bind(column_of(tenant.0))
        .bind(&subject[..])
        .execute(&mut *connection)
        .await?;
    add_tombstones(connection, &stones).await?;
    Ok(stones)
}

async fn merge(
    connection: &mut AnyConnection,
    tenants: Vec<TenantKeyRecord>,
    subjects: Vec<SubjectKeyRecord>,
    tombstones: Vec<Tombstone>,
) -> sqlx::Result<()> {
    add_tombstones(connection, &tombstones).await?;
    bury(connection).await?;
    for some in tenants.chunks(ROWS_AT_ONCE) {
        let mut insert = QueryBuilder::<Any>::new(
            "INSERT INTO tenant_key (tenant, generation, root, wrapped, index_key) ",
        );
        insert.push_values(some, |mut row, key| {
            row.push_bind(column_of(key.tenant.0))
                .push_bind(column_of(key.generation))
                .push_bind(&key.root[..])
                .push_bind(&key.wrapped)
                .push_bind(&key.index);
        });
        insert.push(" ON CONFLICT DO NOTHING").build().execute(&mut *connection).await?;
    }
    // A key that was replaced stays so: else what is new would be sealed by it again.
    let replaced: Vec<&SubjectKeyRecord> = subjects.iter().filter(|key| key.replaced).collect();
    for some in replaced.chunks(ROWS_AT_ONCE) {
        let mut update = QueryBuilder::<Any>::new("UPDATE subject_key SET replaced = 1 WHERE id IN (");
        let mut ids = update.separated(", ");
        for key in some {
            ids.push_bind(&key.id[..]);
        }
        update.push(")").build().execute(&mut *connection).await?;
    }
    // A subject that has another key here keeps it, and what theirs sealed opens all the same.
    for replaced in [false, true] {
        for some in subjects.chunks(ROWS_AT_ONCE) {
            let mut insert = QueryBuilder::<Any>::new(
                "INSERT INTO subject_key (id, tenant, generation, subject, wrapped, replaced) ",
            );
            insert.push_values(some, |mut row, key| {
                row.push_bind(&key.id[..])
                    .push_bind(column_of(key.tenant.0))
                    .push_bind(column_of(key.generation))
                    .push_bind(&key.subject[..])
                    .push_bind(&key.wrapped)
                    .push_bind(i64::from(replaced || key.replaced));
            });
            insert.push(" ON CONFLICT DO NOTHING").build().execute(&mut *connection).await?;
        }
    }
    bury(connection).await?;
    // Tenant keys that were rotated away here do not come back, unless one of these keys is under them.
    let unused = "DELETE FROM tenant_key WHERE generation < (SELECT max(generation) FROM tenant_key t WHERE t.tenant = \
                  tenant_key.tenant) AND NOT EXISTS (SELECT 1 FROM subject_key s WHERE s.tenant = tenant_key.tenant AND \
                  s.generation = tenant_key.generation)";
    query(unused).execute(connection).await.map(drop)
}

/// In either direction: what was shredded there goes here, and what was shredded here does not come back.
async fn bury(connection: &mut AnyConnection) -> sqlx::Result<()> {
    query("DELETE FROM subject_key WHERE id IN (SELECT id FROM tombstone)")
        .execute(connection)
        .await
        .map(drop)
}

fn damaged(column: &str, why: &str) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: why.into() }
}

fn bytes<const N: usize>(row: &AnyRow, column: &str) -> sqlx::Result<[u8; N]> {
    let bytes: Vec<u8> = row.try_get(column)?;
    bytes.try_into().map_err(|_| damaged(column, "it has another length"))
}

fn number(row: &AnyRow, column: &str) -> sqlx::Result<u64> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| damaged(column, "it is negative"))
}

impl FromRow<'_, AnyRow> for TenantKeyRecord {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            tenant: TenantId(number(row, "tenant")?),
            generation: number(row, "generation")?,
            root: bytes(row, "root")?,
            wrapped: row.try_get("wrapped")?,
            index: row.try_get("index_key")?,
        })
    }
}

impl FromRow<'_, AnyRow> for SubjectKeyRecord {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: bytes(row, "id")?,
            tenant: TenantId(number(row, "tenant")?),
            generation: number(row, "generation")?,
            subject: bytes(row, "subject")?,
            wrapped: row.try_get("wrapped")?,
            replaced: number(row, "replaced")? > 0,
        })
    }
}

impl FromRow<'_, AnyRow> for Tombstone {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: bytes(row, "id")?,
            tenant: TenantId(number(row, "tenant")?),
            shredded_at: number(row, "shredded_at")?,
        })
    }
}
