//! What providers push: accounts and groups (SCIM 2.0, RFC 7643).

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use sqlx::{AnyConnection, AssertSqlSafe, FromRow, Row, any::AnyRow, query, query_as, query_scalar};

use crate::{Store, StoreError, accounts::say, database::column_of, keys::unsigned};

/// What a provider has pushed: a [`ScimAccount`] or a [`ScimGroup`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimRecord<T> {
    /// Ours; unique.
    pub id: String,
    /// The provider's issuer.
    pub issuer: String,
    /// What is said of it.
    pub said: T,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Seconds since 1970.
    pub changed_at: u64,
}

/// What is said of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimAccount {
    /// The account at the provider, as its tokens name it: `externalId`; unique with the issuer.
    pub subject: String,
    /// What it is called there; unique with the issuer.
    pub user_name: String,
    /// For people.
    pub display_name: String,
    /// Whether it may be used.
    pub active: bool,
}

/// What is said of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimGroup {
    /// What it is called: what `[[role_mapping]]` names; unique with the issuer.
    pub name: String,
    /// What the provider knows it by; may be empty.
    pub external_id: String,
    /// Ids of accounts. Those that there are none of are passed over.
    pub members: Vec<String>,
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

/// What there is of both kinds of resources.
pub trait ScimResource: Sized + Send + Sync + Unpin + 'static {
    /// What it is called in errors.
    const NAME: &'static str;
    /// Where its rows are.
    const TABLE: &'static str;
    /// Ids and names of what the one with an id is in, or of what is in it.
    const RELATED: &'static str;
    /// Subjects of the accounts for which something may follow from the one with an id.
    const SUBJECTS: &'static str;
    /// Whether what a provider has said of an account elsewhere counts no more once this is gone.
    const IS_ACCOUNT: bool;

    /// What stands in a row.
    fn of_row(row: &AnyRow) -> sqlx::Result<Self>;
    /// The same, with what is in it.
    #[must_use]
    fn with_related(self, related: &[(String, String)]) -> Self;
    /// Writes a row. False if another one has what must be unique.
    fn write(record: ScimRecord<Self>, connection: &mut AnyConnection) -> BoxFuture<'_, sqlx::Result<bool>>;
}

impl Store {
    /// Adds one, or changes the one of its id; what a provider said of an account that is none any more counts from `as_of` on only
    /// (seconds since 1970). The subjects of all accounts for which something may follow; none if another one has its name. On the
    /// disk when this returns.
    pub async fn put_scim<T: ScimResource>(
        &self,
        record: ScimRecord<T>,
        as_of: u64,
    ) -> Result<Option<BTreeSet<String>>, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let (issuer, id) = (record.issuer.clone(), record.id.clone());
                let before = subjects::<T>(connection, &id).await?;
                if !T::write(record, connection).await? {
                    return Ok(None);
                }
                let after = subjects::<T>(connection, &id).await?;
                forget::<T>(connection, &issuer, before.difference(&after), as_of).await?;
                Ok(Some(&before | &after))
            })
        })
        .await
    }

    /// Deletes one; the same for what follows. On the disk when this returns.
    pub async fn delete_scim<T: ScimResource>(
        &self,
        issuer: &str,
        id: &str,
        as_of: u64,
    ) -> Result<BTreeSet<String>, StoreError> {
        let (issuer, id) = (issuer.to_owned(), id.to_owned());
        self.write(move |connection| {
            Box::pin(async move {
                let before = subjects::<T>(connection, &id).await?;
                // A word of ours; values are bound.
                let sql = format!("DELETE FROM {} WHERE issuer = $1 AND id = $2", T::TABLE);
                query(AssertSqlSafe(sql)).bind(&issuer).bind(id).execute(&mut *connection).await?;
                forget::<T>(connection, &issuer, before.iter(), as_of).await?;
                Ok(before)
            })
        })
        .await
    }

    /// The one of this id, at this issuer.
    pub async fn scim<T: ScimResource>(
        &self,
        issuer: &str,
        id: &str,
    ) -> Result<Option<ScimRecord<T>>, StoreError> {
        let sql = format!("SELECT * FROM {} WHERE issuer = $1 AND id = $2", T::TABLE);
        query_as(AssertSqlSafe(sql))
            .bind(issuer)
            .bind(id)
            .fetch_optional(self.readers())
            .await
            .map_err(|error| self.failed(error))
    }

    /// Ids and names of the groups of an account, or of the members of a group.
    pub async fn scim_related<T: ScimResource>(&self, id: &str) -> Result<Vec<(String, String)>, StoreError> {
        query_as(T::RELATED).bind(id).fetch_all(self.readers()).await.map_err(|error| self.failed(error))
    }

    /// Some of them by id, and how many there are in all.
    pub async fn list_scim<T: ScimResource>(
        &self,
        wanted: &ScimQuery,
    ) -> Result<(u64, Vec<ScimRecord<T>>), StoreError> {
        let (table, condition) = (T::TABLE, ScimColumn::condition(wanted.filter.as_ref()));
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
}

async fn subjects<T: ScimResource>(
    connection: &mut AnyConnection,
    id: &str,
) -> sqlx::Result<BTreeSet<String>> {
    let subjects: Vec<String> = query_scalar(T::SUBJECTS).bind(id).fetch_all(connection).await?;
    Ok(subjects.into_iter().collect())
}

/// Whose account is gone does not come back by what was said of it before.
async fn forget<T: ScimResource>(
    connection: &mut AnyConnection,
    issuer: &str,
    subjects: impl Iterator<Item = &String>,
    as_of: u64,
) -> sqlx::Result<()> {
    for subject in subjects.filter(|_| T::IS_ACCOUNT) {
        say(connection, issuer, subject, &[], as_of).await?;
    }
    Ok(())
}

impl ScimResource for ScimAccount {
    const NAME: &'static str = "user";
    const TABLE: &'static str = "scim_account";
    const RELATED: &'static str = "SELECT g.id, g.name FROM scim_member m JOIN scim_group g ON g.id = m.in_group WHERE \
                                   m.account = $1 ORDER BY g.id";
    const SUBJECTS: &'static str = "SELECT subject FROM scim_account WHERE id = $1";
    const IS_ACCOUNT: bool = true;

    fn of_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            subject: row.try_get("subject")?,
            user_name: row.try_get("user_name")?,
            display_name: row.try_get("display_name")?,
            active: row.try_get::<i64, _>("active")? == 1,
        })
    }

    fn with_related(self, _: &[(String, String)]) -> Self {
        self
    }

    fn write(record: ScimRecord<Self>, connection: &mut AnyConnection) -> BoxFuture<'_, sqlx::Result<bool>> {
        Box::pin(async move {
            let said = record.said;
            let taken: i64 = query_scalar(
                "SELECT count(*) FROM scim_account WHERE issuer = $1 AND id <> $2 AND (subject = $3 OR user_name = $4)",
            )
            .bind(&record.issuer)
            .bind(&record.id)
            .bind(&said.subject)
            .bind(&said.user_name)
            .fetch_one(&mut *connection)
            .await?;
            if taken > 0 {
                return Ok(false);
            }
            query(
                "INSERT INTO scim_account (id, issuer, subject, user_name, display_name, active, created_at, changed_at) VALUES \
                 ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT (id) DO UPDATE SET subject = excluded.subject, user_name = \
                 excluded.user_name, display_name = excluded.display_name, active = excluded.active, changed_at = \
                 excluded.changed_at",
            )
            .bind(record.id)
            .bind(record.issuer)
            .bind(said.subject)
            .bind(said.user_name)
            .bind(said.display_name)
            .bind(i64::from(said.active))
            .bind(column_of(record.created_at))
            .bind(column_of(record.changed_at))
            .execute(connection)
            .await
            .map(|_| true)
        })
    }
}

impl ScimResource for ScimGroup {
    const NAME: &'static str = "group";
    const TABLE: &'static str = "scim_group";
    const RELATED: &'static str = "SELECT a.id, a.user_name FROM scim_member m JOIN scim_account a ON a.id = m.account WHERE \
                                   m.in_group = $1 ORDER BY a.id";
    const SUBJECTS: &'static str = "SELECT a.subject FROM scim_member m JOIN scim_account a ON a.id = m.account WHERE \
                                    m.in_group = $1";
    const IS_ACCOUNT: bool = false;

    fn of_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self { name: row.try_get("name")?, external_id: row.try_get("external_id")?, members: Vec::new() })
    }

    fn with_related(self, related: &[(String, String)]) -> Self {
        Self { members: related.iter().map(|(id, _)| id.clone()).collect(), ..self }
    }

    fn write(record: ScimRecord<Self>, connection: &mut AnyConnection) -> BoxFuture<'_, sqlx::Result<bool>> {
        Box::pin(async move {
            let ScimRecord { id, issuer, said, created_at, changed_at } = record;
            let taken: i64 =
                query_scalar("SELECT count(*) FROM scim_group WHERE issuer = $1 AND id <> $2 AND name = $3")
                    .bind(&issuer)
                    .bind(&id)
                    .bind(&said.name)
                    .fetch_one(&mut *connection)
                    .await?;
            if taken > 0 {
                return Ok(false);
            }
            query(
                "INSERT INTO scim_group (id, issuer, name, external_id, created_at, changed_at) VALUES ($1, $2, $3, $4, $5, $6) \
                 ON CONFLICT (id) DO UPDATE SET name = excluded.name, external_id = excluded.external_id, changed_at = \
                 excluded.changed_at",
            )
            .bind(&id)
            .bind(&issuer)
            .bind(said.name)
            .bind(said.external_id)
            .bind(column_of(created_at))
            .bind(column_of(changed_at))
            .execute(&mut *connection)
            .await?;
            query("DELETE FROM scim_member WHERE in_group = $1").bind(&id).execute(&mut *connection).await?;
            for account in said.members {
                // Only accounts that there are, of the same provider.
                query(
                    "INSERT INTO scim_member (in_group, account) SELECT $1, id FROM scim_account WHERE issuer = $2 AND id = $3 \
                     ON CONFLICT DO NOTHING",
                )
                .bind(&id)
                .bind(&issuer)
                .bind(account)
                .execute(&mut *connection)
                .await?;
            }
            Ok(true)
        })
    }
}

impl<T: ScimResource> FromRow<'_, AnyRow> for ScimRecord<T> {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            issuer: row.try_get("issuer")?,
            said: T::of_row(row)?,
            created_at: unsigned("created_at", row.try_get("created_at")?)?,
            changed_at: unsigned("changed_at", row.try_get("changed_at")?)?,
        })
    }
}
