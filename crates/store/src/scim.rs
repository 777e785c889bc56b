//! What providers push: accounts and groups (SCIM 2.0, RFC 7643).

use sqlx::{AnyConnection, AssertSqlSafe, FromRow, Row, any::AnyRow, query, query_as, query_scalar};

use crate::{Store, StoreError, database::column_of, keys::unsigned};

/// An account at a provider, as it was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimAccountRecord {
    /// Ours; unique.
    pub id: String,
    /// The provider's issuer.
    pub issuer: String,
    /// The account there; unique with the issuer.
    pub subject: String,
    /// What it is called there; unique with the issuer.
    pub user_name: String,
    /// For people.
    pub display_name: String,
    /// Whether it may be used.
    pub active: bool,
    /// Whether it was let in when its groups were last looked at.
    pub allowed: bool,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Seconds since 1970.
    pub changed_at: u64,
}

/// A group at a provider, as it was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimGroupRecord {
    /// Ours; unique.
    pub id: String,
    /// The provider's issuer.
    pub issuer: String,
    /// What it is called; unique with the issuer.
    pub name: String,
    /// What the provider knows it by; may be empty.
    pub external_id: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Seconds since 1970.
    pub changed_at: u64,
}

/// Which rows of a list are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimQuery {
    /// The provider's issuer.
    pub issuer: String,
    /// The value that a column must have.
    pub filter: Option<(ScimColumn, String)>,
    /// How many of them are passed over.
    pub skip: u64,
    /// How many are wanted.
    pub count: u64,
}

/// What a list can be filtered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ScimColumn {
    /// Of accounts.
    UserName,
    /// Of accounts.
    Subject,
    /// Of groups.
    Name,
    /// Of groups.
    ExternalId,
}

impl ScimColumn {
    fn condition(filter: Option<&(Self, String)>) -> &'static str {
        match filter {
            // Both sides are compared as text; the parameter is there in each, so that they take the same ones.
            None => "issuer = $1 AND $2 = ''",
            Some((Self::UserName, _)) => "issuer = $1 AND user_name = $2",
            Some((Self::Subject, _)) => "issuer = $1 AND subject = $2",
            Some((Self::Name, _)) => "issuer = $1 AND name = $2",
            Some((Self::ExternalId, _)) => "issuer = $1 AND external_id = $2",
        }
    }
}

impl Store {
    /// Adds an account, or changes the one of its id. False if another one has its subject or name. On the disk when this returns.
    pub async fn put_scim_account(&self, account: ScimAccountRecord) -> Result<bool, StoreError> {
        self.write(|connection| Box::pin(put_account(connection, account))).await
    }

    /// The account of this id, at this issuer.
    pub async fn scim_account(
        &self,
        issuer: &str,
        id: &str,
    ) -> Result<Option<ScimAccountRecord>, StoreError> {
        query_as("SELECT * FROM scim_account WHERE issuer = $1 AND id = $2")
            .bind(issuer)
            .bind(id)
            .fetch_optional(self.readers())
            .await
            .map_err(|error| self.failed(error))
    }

    /// The account of this subject.
    pub async fn scim_account_of(
        &self,
        issuer: &str,
        subject: &str,
    ) -> Result<Option<ScimAccountRecord>, StoreError> {
        query_as("SELECT * FROM scim_account WHERE issuer = $1 AND subject = $2")
            .bind(issuer)
            .bind(subject)
            .fetch_optional(self.readers())
            .await
            .map_err(|error| self.failed(error))
    }

    /// Accounts by id, and how many there are in all.
    pub async fn scim_accounts(
        &self,
        wanted: &ScimQuery,
    ) -> Result<(u64, Vec<ScimAccountRecord>), StoreError> {
        self.list("scim_account", wanted).await
    }

    /// Groups by id, and how many there are in all.
    pub async fn scim_groups(&self, wanted: &ScimQuery) -> Result<(u64, Vec<ScimGroupRecord>), StoreError> {
        self.list("scim_group", wanted).await
    }

    async fn list<T>(&self, table: &'static str, wanted: &ScimQuery) -> Result<(u64, Vec<T>), StoreError>
    where
        T: for<'r> FromRow<'r, AnyRow> + Send + Unpin,
    {
        let condition = ScimColumn::condition(wanted.filter.as_ref());
        let value = wanted.filter.as_ref().map_or("", |(_, value)| value);
        // Table and condition are words of ours; values are bound.
        let sql = format!("SELECT * FROM {table} WHERE {condition} ORDER BY id LIMIT $3 OFFSET $4");
        let rows = query_as(AssertSqlSafe(sql))
            .bind(&wanted.issuer)
            .bind(value)
            .bind(column_of(wanted.count))
            .bind(column_of(wanted.skip))
            .fetch_all(self.readers())
            .await
            .map_err(|error| self.failed(error))?;
        let sql = format!("SELECT count(*) FROM {table} WHERE {condition}");
        let count: i64 = query_scalar(AssertSqlSafe(sql))
            .bind(&wanted.issuer)
            .bind(value)
            .fetch_one(self.readers())
            .await
            .map_err(|error| self.failed(error))?;
        Ok((count.cast_unsigned(), rows))
    }

    /// Deletes an account. On the disk when this returns.
    pub async fn delete_scim_account(&self, issuer: &str, id: &str) -> Result<bool, StoreError> {
        self.delete("DELETE FROM scim_account WHERE issuer = $1 AND id = $2", issuer, id).await
    }

    /// Deletes a group. On the disk when this returns.
    pub async fn delete_scim_group(&self, issuer: &str, id: &str) -> Result<bool, StoreError> {
        self.delete("DELETE FROM scim_group WHERE issuer = $1 AND id = $2", issuer, id).await
    }

    async fn delete(&self, sql: &'static str, issuer: &str, id: &str) -> Result<bool, StoreError> {
        let (issuer, id) = (issuer.to_owned(), id.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                let done = query(sql).bind(issuer).bind(id).execute(connection).await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Adds a group, or changes the one of its id; its members become these accounts of the same issuer, if any are given. False if
    /// another one has its name. On the disk when this returns.
    pub async fn put_scim_group(
        &self,
        group: ScimGroupRecord,
        members: Option<Vec<String>>,
    ) -> Result<bool, StoreError> {
        self.write(|connection| Box::pin(put_group(connection, group, members))).await
    }

    /// The group of this id, at this issuer.
    pub async fn scim_group(&self, issuer: &str, id: &str) -> Result<Option<ScimGroupRecord>, StoreError> {
        query_as("SELECT * FROM scim_group WHERE issuer = $1 AND id = $2")
            .bind(issuer)
            .bind(id)
            .fetch_optional(self.readers())
            .await
            .map_err(|error| self.failed(error))
    }

    /// The members of a group: ids and names of accounts.
    pub async fn scim_members(&self, group: &str) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT a.id, a.user_name FROM scim_member m JOIN scim_account a ON a.id = m.account WHERE m.in_group = $1 \
                   ORDER BY a.id";
        query_as(sql).bind(group).fetch_all(self.readers()).await.map_err(|error| self.failed(error))
    }

    /// The groups of an account: ids and names.
    pub async fn scim_groups_of(&self, account: &str) -> Result<Vec<(String, String)>, StoreError> {
        let sql = "SELECT g.id, g.name FROM scim_member m JOIN scim_group g ON g.id = m.in_group WHERE m.account = $1 \
                   ORDER BY g.id";
        query_as(sql).bind(account).fetch_all(self.readers()).await.map_err(|error| self.failed(error))
    }
}

async fn put_account(connection: &mut AnyConnection, account: ScimAccountRecord) -> sqlx::Result<bool> {
    let taken: i64 = query_scalar(
        "SELECT count(*) FROM scim_account WHERE issuer = $1 AND id <> $2 AND (subject = $3 OR user_name = $4)",
    )
    .bind(&account.issuer)
    .bind(&account.id)
    .bind(&account.subject)
    .bind(&account.user_name)
    .fetch_one(&mut *connection)
    .await?;
    if taken > 0 {
        return Ok(false);
    }
    query(
        "INSERT INTO scim_account (id, issuer, subject, user_name, display_name, active, allowed, created_at, changed_at) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, user_name = \
         excluded.user_name, display_name = excluded.display_name, active = excluded.active, allowed = excluded.allowed, \
         changed_at = excluded.changed_at",
    )
    .bind(account.id)
    .bind(account.issuer)
    .bind(account.subject)
    .bind(account.user_name)
    .bind(account.display_name)
    .bind(i64::from(account.active))
    .bind(i64::from(account.allowed))
    .bind(column_of(account.created_at))
    .bind(column_of(account.changed_at))
    .execute(connection)
    .await
    .map(|_| true)
}

async fn put_group(
    connection: &mut AnyConnection,
    group: ScimGroupRecord,
    members: Option<Vec<String>>,
) -> sqlx::Result<bool> {
    let taken: i64 =
        query_scalar("SELECT count(*) FROM scim_group WHERE issuer = $1 AND id <> $2 AND name = $3")
            .bind(&group.issuer)
            .bind(&group.id)
            .bind(&group.name)
            .fetch_one(&mut *connection)
            .await?;
    if taken > 0 {
        return Ok(false);
    }
    query(
        "INSERT INTO scim_group (id, issuer, name, external_id, created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6) ON \
         CONFLICT (id) DO UPDATE SET name = excluded.name, external_id = excluded.external_id, changed_at = \
         excluded.changed_at",
    )
    .bind(&group.id)
    .bind(&group.issuer)
    .bind(&group.name)
    .bind(&group.external_id)
    .bind(column_of(group.created_at))
    .bind(column_of(group.changed_at))
    .execute(&mut *connection)
    .await?;
    let Some(members) = members else { return Ok(true) };
    query("DELETE FROM scim_member WHERE in_group = $1").bind(&group.id).execute(&mut *connection).await?;
    for account in members {
        // Only accounts that there are, of the same provider.
        query(
            "INSERT INTO scim_member (in_group, account) SELECT $1, id FROM scim_account WHERE issuer = $2 AND id = $3 ON \
             CONFLICT DO NOTHING",
        )
        .bind(&group.id)
        .bind(&group.issuer)
        .bind(account)
        .execute(&mut *connection)
        .await?;
    }
    Ok(true)
}

impl FromRow<'_, AnyRow> for ScimAccountRecord {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            issuer: row.try_get("issuer")?,
            subject: row.try_get("subject")?,
            user_name: row.try_get("user_name")?,
            display_name: row.try_get("display_name")?,
            active: row.try_get::<i64, _>("active")? == 1,
            allowed: row.try_get::<i64, _>("allowed")? == 1,
            created_at: unsigned("created_at", row.try_get("created_at")?)?,
            changed_at: unsigned("changed_at", row.try_get("changed_at")?)?,
        })
    }
}

impl FromRow<'_, AnyRow> for ScimGroupRecord {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            issuer: row.try_get("issuer")?,
            name: row.try_get("name")?,
            external_id: row.try_get("external_id")?,
            created_at: unsigned("created_at", row.try_get("created_at")?)?,
            changed_at: unsigned("changed_at", row.try_get("changed_at")?)?,
        })
    }
}
