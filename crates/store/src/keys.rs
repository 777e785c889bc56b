use std::str::FromStr;

use sqlx::{AnyConnection, FromRow, Row, any::AnyRow, query, query_as, query_scalar};
use types::{DataClass, PriorityClass, PurposeOfUse, Purposes, Role, TenantId, UserId};

use crate::{Store, StoreError, database::column_of};

/// What a user may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// What they are.
    pub role: Role,
    /// Highest class of their requests.
    pub class_max: PriorityClass,
    /// Most sensitive data that they may send.
    pub data_class_max: DataClass,
    /// What they may use models for.
    pub purposes: Purposes,
}

/// What is changed of a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserState {
    /// What they may do.
    pub rights: Rights,
    /// Their team in the tenant.
    pub team: Option<String>,
    /// Seconds since 1970, if they may do nothing for now.
    pub suspended_at: Option<u64>,
}

/// A user of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserRecord {
    /// The tenant.
    pub tenant_id: TenantId,
    /// The user.
    pub user_id: UserId,
    /// The tenant's name.
    pub tenant: String,
    /// The user's name.
    pub user: String,
    /// Whether they are a service account: a program, not a person.
    pub is_service: bool,
    /// What else is known of them.
    pub state: UserState,
}

/// A row to be added to the API keys.
pub struct NewKeyRecord {
    /// Public part of the key; unique.
    pub id: String,
    /// Keyed hash of the key.
    pub hash: [u8; 32],
    /// What it is for, as its owner calls it.
    pub label: String,
    /// Name of the tenant; made if new.
    pub tenant: String,
    /// Name of the user in the tenant; made if new.
    pub user: String,
    /// Whether the user, if they are new, is a service account.
    pub is_service: bool,
    /// What may be done with it at most; and what the user may do, if they are new.
    pub rights: Rights,
    /// Names of the actions that it is for; empty: all.
    pub actions: Vec<String>,
    /// Names of the models that it is for; empty: all.
    pub models: Vec<String>,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Seconds since 1970; without it, it does not expire.
    pub expires_at: Option<u64>,
}

/// A row of the API keys, with the tenant and the user it belongs to.
pub struct KeyRecord {
    /// What was added.
    pub key: NewKeyRecord,
    /// Whose it is, as they are now.
    pub owner: UserRecord,
    /// The hash of the secret before this one, and until when that is accepted: seconds since 1970.
    pub old: Option<([u8; 32], u64)>,
    /// Seconds since 1970, if it was revoked.
    pub revoked_at: Option<u64>,
}

/// All columns of a [`UserRecord`]; a condition or an order follows.
macro_rules! select_users {
    ($rest:literal) => {
        concat!(
            "SELECT t.id AS tenant_id, t.name AS tenant_name, u.id AS user_id, u.name AS user_name, u.role AS user_role, ",
            "u.class_max AS user_class_max, u.data_class_max AS user_data_class_max, u.purposes AS user_purposes, ",
            "u.team, u.is_service, u.suspended_at FROM \"user\" u JOIN tenant t ON t.id = u.tenant ",
            $rest
        )
    };
}

/// All columns of a [`KeyRecord`]; a condition or an order follows.
macro_rules! select_keys {
    ($rest:literal) => {
        concat!(
            "SELECT k.id, k.hash, k.label, k.role, k.class_max, k.data_class_max, k.created_at, k.revoked_at, ",
            "k.expires_at, k.actions, k.models, k.purposes, k.old_hash, k.old_until, ",
            "t.id AS tenant_id, t.name AS tenant_name, u.id AS user_id, u.name AS user_name, u.role AS user_role, ",
            "u.class_max AS user_class_max, u.data_class_max AS user_data_class_max, u.purposes AS user_purposes, ",
            "u.team, u.is_service, u.suspended_at FROM api_key k JOIN \"user\" u ON u.id = k.\"user\" JOIN tenant t ON t.id = u.tenant ",
            $rest
        )
    };
}

impl Store {
    /// Adds a key, and its tenant and user where they are new: all or nothing. On the disk when this returns.
    pub async fn insert_key(&self, key: NewKeyRecord) -> Result<KeyRecord, StoreError> {
        self.write(|connection| Box::pin(insert_key(connection, key))).await
    }

    /// All keys, revoked ones included, oldest first.
    pub async fn keys(&self) -> Result<Vec<KeyRecord>, StoreError> {
        query_as(select_keys!("ORDER BY k.created_at, k.rowid"))
            .fetch_all(self.readers())
            .await
            .map_err(|error| self.failed(error))
    }

    /// The key of this id, be it revoked.
    pub async fn key(&self, id: &str) -> Result<Option<KeyRecord>, StoreError> {
        query_as(select_keys!("WHERE k.id = $1"))
            .bind(id)
            .fetch_optional(self.readers())
            .await
            .map_err(|error| self.failed(error))
    }

    /// Whether there is any key, be it revoked.
    pub async fn has_any_key(&self) -> Result<bool, StoreError> {
        let count: sqlx::Result<i64> =
            query_scalar("SELECT count(*) FROM api_key").fetch_one(self.readers()).await;
        count.map(|count| count > 0).map_err(|error| self.failed(error))
    }

    /// The names of a user and of the tenant that it belongs to: tenant first.
    pub async fn names(
        &self,
        tenant: TenantId,
        user: UserId,
    ) -> Result<Option<(String, String)>, StoreError> {
        let sql = "SELECT t.name, u.name FROM \"user\" u JOIN tenant t ON t.id = u.tenant WHERE t.id = $1 AND u.id = $2";
        query_as(sql)
            .bind(column_of(tenant.0))
            .bind(column_of(user.0))
            .fetch_optional(self.readers())
            .await
            .map_err(|error| self.failed(error))
    }

    /// The tenant of this name.
    pub async fn tenant(&self, name: &str) -> Result<Option<TenantId>, StoreError> {
        let id: sqlx::Result<Option<i64>> = query_scalar("SELECT id FROM tenant WHERE name = $1")
            .bind(name)
            .fetch_optional(self.readers())
            .await;
        id.map(|id| id.map(|id| TenantId(id.cast_unsigned()))).map_err(|error| self.failed(error))
    }

    /// The user of this name in the tenant of this name.
    pub async fn user(&self, tenant: &str, user: &str) -> Result<Option<UserRecord>, StoreError> {
        query_as(select_users!("WHERE t.name = $1 AND u.name = $2"))
            .bind(tenant)
            .bind(user)
            .fetch_optional(self.readers())
            .await
            .map_err(|error| self.failed(error))
    }

    /// All users, by tenant and name.
    pub async fn users(&self) -> Result<Vec<UserRecord>, StoreError> {
        query_as(select_users!("ORDER BY t.name, u.name"))
            .fetch_all(self.readers())
            .await
            .map_err(|error| self.failed(error))
    }

    /// Changes what a user may do, their team, and whether they are suspended. None if there is no such user. On the disk when this
    /// returns.
    pub async fn change_user(
        &self,
        tenant: TenantId,
        user: UserId,
        state: UserState,
    ) -> Result<Option<UserRecord>, StoreError> {
        self.write(move |connection| Box::pin(change_user(connection, tenant, user, state))).await
    }

    /// Gives a key a new secret; the one before is accepted until `old_until` (seconds since 1970). None if there is no such
    /// key. On the disk when this returns.
    pub async fn rotate_key(
        &self,
        id: &str,
        hash: [u8; 32],
        old_until: u64,
    ) -> Result<Option<KeyRecord>, StoreError> {
        let id = id.to_owned();
        self.write(move |connection| Box::pin(rotate_key(connection, id, hash, old_until))).await
    }

    /// Marks a key as revoked at `revoked_at` (seconds since 1970) and returns it; none if there is no such key.
    /// A key that was revoked before keeps its time. On the disk when this returns.
    pub async fn revoke_key(&self, id: &str, revoked_at: u64) -> Result<Option<KeyRecord>, StoreError> {
        let id = id.to_owned();
        self.write(move |connection| Box::pin(revoke_key(connection, id, revoked_at))).await
    }
}

async fn insert_key(connection: &mut AnyConnection, key: NewKeyRecord) -> sqlx::Result<KeyRecord> {
    query("INSERT INTO tenant (name) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(&key.tenant)
        .execute(&mut *connection)
        .await?;
    let tenant: i64 = query_scalar("SELECT id FROM tenant WHERE name = $1")
        .bind(&key.tenant)
        .fetch_one(&mut *connection)
        .await?;
    query(
        "INSERT INTO \"user\" (tenant, name, role, class_max, data_class_max, purposes, is_service) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING",
    )
    .bind(tenant)
    .bind(&key.user)
    .bind(key.rights.role.as_str())
    .bind(key.rights.class_max.as_str())
    .bind(key.rights.data_class_max.as_str())
    .bind(purposes_column(&key.rights.purposes))
    .bind(i64::from(key.is_service))
    .execute(&mut *connection)
    .await?;
    let user: i64 = query_scalar("SELECT id FROM \"user\" WHERE tenant = $1 AND name = $2")
        .bind(tenant)
        .bind(&key.user)
        .fetch_one(&mut *connection)
        .await?;
    query(
        "INSERT INTO api_key (id, hash, label, \"user\", role, class_max, data_class_max, created_at, expires_at, \
         actions, models, purposes) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)",
    )
    .bind(&key.id)
    .bind(&key.hash[..])
    .bind(&key.label)
    .bind(user)
    .bind(key.rights.role.as_str())
    .bind(key.rights.class_max.as_str())
    .bind(key.rights.data_class_max.as_str())
    .bind(column_of(key.created_at))
    .bind(key.expires_at.map(column_of))
    .bind(key.actions.join(" "))
    .bind(key.models.join(" "))
    .bind(purposes_column(&key.rights.purposes))
    .execute(&mut *connection)
    .await?;
    let record: KeyRecord =
        query_as(select_keys!("WHERE k.id = $1")).bind(&key.id).fetch_one(&mut *connection).await?;
    Ok(record)
}

async fn change_user(
    connection: &mut AnyConnection,
    tenant: TenantId,
    user: UserId,
    state: UserState,
) -> sqlx::Result<Option<UserRecord>> {
    let UserState { rights, team, suspended_at } = state;
    query(
        "UPDATE \"user\" SET role = $1, class_max = $2, data_class_max = $3, purposes = $4, team = $5, suspended_at = $6 \
         WHERE id = $7 AND tenant = $8",
    )
    .bind(rights.role.as_str())
    .bind(rights.class_max.as_str())
    .bind(rights.data_class_max.as_str())
    .bind(purposes_column(&rights.purposes))
    .bind(team)
    .bind(suspended_at.map(column_of))
    .bind(column_of(user.0))
    .bind(column_of(tenant.0))
    .execute(&mut *connection)
    .await?;
    user_by_id(connection, column_of(tenant.0), column_of(user.0)).await
}

pub(crate) async fn user_by_id(
    connection: &mut AnyConnection,
    tenant: i64,
    user: i64,
) -> sqlx::Result<Option<UserRecord>> {
    query_as(select_users!("WHERE u.id = $1 AND t.id = $2"))
        .bind(user)
        .bind(tenant)
        .fetch_optional(&mut *connection)
        .await
}

async fn rotate_key(
    connection: &mut AnyConnection,
    id: String,
    hash: [u8; 32],
    old_until: u64,
) -> sqlx::Result<Option<KeyRecord>> {
    query(
        "UPDATE api_key SET old_hash = hash, old_until = $1, hash = $2 WHERE id = $3 AND revoked_at IS NULL",
    )
    .bind(column_of(old_until))
    .bind(hash.to_vec())
    .bind(&id)
    .execute(&mut *connection)
    .await?;
    query_as(select_keys!("WHERE k.id = $1")).bind(&id).fetch_optional(&mut *connection).await
}

async fn revoke_key(
    connection: &mut AnyConnection,
    id: String,
    revoked_at: u64,
) -> sqlx::Result<Option<KeyRecord>> {
    query("UPDATE api_key SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL")
        .bind(column_of(revoked_at))
        .bind(&id)
        .execute(&mut *connection)
        .await?;
    query_as(select_keys!("WHERE k.id = $1")).bind(&id).fetch_optional(&mut *connection).await
}

impl FromRow<'_, AnyRow> for UserRecord {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let rights = Rights {
            role: named(row, "user_role")?,
            class_max: named(row, "user_class_max")?,
            data_class_max: named(row, "user_data_class_max")?,
            purposes: purposes(row, "user_purposes")?,
        };
        let (team, suspended_at) = (row.try_get("team")?, time(row, "suspended_at")?);
        Ok(Self {
            tenant_id: TenantId(unsigned("tenant_id", row.try_get("tenant_id")?)?),
            user_id: UserId(unsigned("user_id", row.try_get("user_id")?)?),
            tenant: row.try_get("tenant_name")?,
            user: row.try_get("user_name")?,
            is_service: row.try_get::<i64, _>("is_service")? != 0,
            state: UserState { rights, team, suspended_at },
        })
    }
}

impl FromRow<'_, AnyRow> for KeyRecord {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let hash = |column: &str| {
            let hash: Option<Vec<u8>> = row.try_get(column)?;
            let fixed = hash.map(<[u8; 32]>::try_from).transpose();
            fixed.map_err(|_| damaged(column, "it does not have 32 bytes"))
        };
        let words = |column: &str| {
            let text: String = row.try_get(column)?;
            Ok::<_, sqlx::Error>(text.split_whitespace().map(str::to_owned).collect())
        };
        let owner = UserRecord::from_row(row)?;
        let key = NewKeyRecord {
            id: row.try_get("id")?,
            hash: hash("hash")?.ok_or_else(|| damaged("hash", "it is absent"))?,
            label: row.try_get("label")?,
            tenant: owner.tenant.clone(),
            user: owner.user.clone(),
            is_service: owner.is_service,
            rights: Rights {
                role: named(row, "role")?,
                class_max: named(row, "class_max")?,
                data_class_max: named(row, "data_class_max")?,
                purposes: purposes(row, "purposes")?,
            },
            actions: words("actions")?,
            models: words("models")?,
            created_at: unsigned("created_at", row.try_get("created_at")?)?,
            expires_at: time(row, "expires_at")?,
        };
        let old = hash("old_hash")?.zip(time(row, "old_until")?);
        Ok(Self { key, owner, old, revoked_at: time(row, "revoked_at")? })
    }
}

pub(crate) fn time(row: &AnyRow, column: &str) -> sqlx::Result<Option<u64>> {
    row.try_get::<Option<i64>, _>(column)?.map(|seconds| unsigned(column, seconds)).transpose()
}

/// A column that holds the name of a level.
fn named<T: FromStr<Err = types::OutOfRange>>(row: &AnyRow, column: &str) -> sqlx::Result<T> {
    row.try_get::<&str, _>(column)?.parse().map_err(|error| damaged(column, error))
}

/// Names with a space between them; absent for who is bound to none.
pub(crate) fn purposes_column(purposes: &Purposes) -> Option<String> {
    let names = purposes.bound()?.iter().map(PurposeOfUse::as_str);
    Some(names.collect::<Vec<_>>().join(" "))
}

fn purposes(row: &AnyRow, column: &str) -> sqlx::Result<Purposes> {
    let Some(names) = row.try_get::<Option<String>, _>(column)? else { return Ok(Purposes::any()) };
    let names = names.split_whitespace().map(str::parse).collect::<Result<Vec<PurposeOfUse>, _>>();
    names.and_then(Purposes::only).map_err(|error| damaged(column, error))
}

pub(crate) fn unsigned(column: &str, value: i64) -> sqlx::Result<u64> {
    u64::try_from(value).map_err(|error| damaged(column, error))
}

pub(crate) fn damaged(
    column: &str,
    why: impl Into<Box<dyn std::error::Error + Send + Sync + 'static>>,
) -> sqlx::Error {
    sqlx::Error::ColumnDecode { index: column.to_owned(), source: why.into() }
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    fn new_key(id: &str, tenant: &str, user: &str, created_at: u64) -> NewKeyRecord {
        NewKeyRecord {
            id: id.to_owned(),
            hash: [7; 32],
            label: format!("label of {id}"),
            tenant: tenant.to_owned(),
            user: user.to_owned(),
            is_service: false,
            rights: Rights {
                role: Role::Operator,
                class_max: PriorityClass::Interactive,
                data_class_max: DataClass::Confidential,
                purposes: Purposes::only(["care".parse().unwrap()]).unwrap(),
            },
            actions: vec!["generate".to_owned(), "embed".to_owned()],
            models: Vec::new(),
            created_at,
            expires_at: None,
        }
    }

    async fn ids(store: &Store) -> Vec<String> {
        store.keys().await.unwrap().into_iter().map(|record| record.key.id).collect()
    }

    async fn open(folder: &Path) -> Store {
        Store::open(&folder.join("state.db")).await.unwrap()
    }

    #[tokio::test]
    async fn a_key_comes_back_as_it_went_in_also_after_reopening() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        assert!(!store.has_any_key().await.unwrap());
        store.insert_key(new_key("k", "clinic", "anna", 1_800_000_000)).await.unwrap();
        drop(store);

        let store = open(folder.path()).await;
        assert!(store.has_any_key().await.unwrap());
        let record = store.keys().await.unwrap().pop().unwrap();
        let key = &record.key;
        assert_eq!((key.id.as_str(), key.hash, key.label.as_str()), ("k", [7; 32], "label of k"));
        assert_eq!((key.tenant.as_str(), key.user.as_str()), ("clinic", "anna"));
        assert_eq!(
            (key.rights.role, key.rights.class_max, key.rights.data_class_max),
            (Role::Operator, PriorityClass::Interactive, DataClass::Confidential)
        );
        assert_eq!((key.created_at, record.revoked_at), (1_800_000_000, None));
    }

    #[tokio::test]
    async fn two_opens_of_one_file_see_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let one = open(folder.path()).await;
        let two = open(folder.path()).await;
        one.insert_key(new_key("by one", "t", "u", 1)).await.unwrap();
        two.insert_key(new_key("by two", "t", "u", 2)).await.unwrap();
        assert_eq!(ids(&one).await, ["by one", "by two"]);
        assert_eq!(ids(&two).await, ["by one", "by two"]);
    }

    /// What `kill -9` leaves: the file and the log as they are once a write was acknowledged.
    #[tokio::test]
    async fn an_acknowledged_write_survives_sudden_death() {
        let folder = tempfile::tempdir().unwrap();
        let left_over = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        for id in ["a", "b"] {
            store.insert_key(new_key(id, "t", "u", 1)).await.unwrap();
        }
        store.revoke_key("a", 2).await.unwrap();
        for name in ["state.db", "state.db-wal"] {
            fs::copy(folder.path().join(name), left_over.path().join(name)).unwrap();
        }
        let survivor = open(left_over.path()).await;
        assert_eq!(ids(&survivor).await, ["a", "b"]);
        assert_eq!(survivor.keys().await.unwrap()[0].revoked_at, Some(2));
    }

    #[tokio::test]
    async fn a_row_that_makes_no_sense_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(folder.path()).await;
        store.insert_key(new_key("k", "t", "u", 1)).await.unwrap();
        query("UPDATE api_key SET role = 'king'").execute(store.writing()).await.unwrap();
        let error = store.keys().await.err().unwrap();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
        assert!(error.to_string().contains("role"), "{error}");
    }
}
