//! What was used, by day, user, team, key and model.

use std::sync::Arc;

use sqlx::{AnyConnection, FromRow, Row, any::AnyRow, query, query_as};
use types::{TenantId, UserId};

use crate::{Store, StoreError, database::column_of};

/// What one request used.
#[derive(Debug, Clone)]
pub struct NewUsage {
    /// Days since 1970, UTC.
    pub day: u64,
    /// The tenant.
    pub tenant: TenantId,
    /// The user in it.
    pub user: UserId,
    /// The user's team; none: none.
    pub team: Option<Arc<str>>,
    /// The id of the API key that was shown; none: none was.
    pub key: Option<Arc<str>>,
    /// The model's configured name.
    pub model: String,
    /// Tokens that were read.
    pub input_tokens: u64,
    /// Tokens that were written.
    pub output_tokens: u64,
    /// What it cost, in billionths of the currency.
    pub spend: u64,
}

/// What a user used of a model on a day, with a key or without.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageRecord {
    /// Days since 1970, UTC.
    pub day: u64,
    /// The tenant.
    pub tenant_id: TenantId,
    /// The user in it.
    pub user_id: UserId,
    /// The tenant's name; none for the local operator's.
    pub tenant: Option<String>,
    /// The user's name; none for the local operator.
    pub user: Option<String>,
    /// The team that the user was in.
    pub team: Option<String>,
    /// The id of the API key that was shown.
    pub key: Option<String>,
    /// The model's configured name.
    pub model: String,
    /// Requests.
    pub requests: u64,
    /// Tokens that were read.
    pub input_tokens: u64,
    /// Tokens that were written.
    pub output_tokens: u64,
    /// What it cost, in billionths of the currency.
    pub spend: u64,
}

impl Store {
    /// Counts one request. Nobody waits for it, but [`close`](Self::close) does.
    pub fn add_usage(&self, usage: NewUsage) {
        self.write_soon(|connection| Box::pin(add(connection, usage)));
    }

    /// What was used from one day to another, both included, in the order of days, tenants, users, teams, keys and models.
    pub async fn usage(&self, from: u64, to: u64) -> Result<Vec<UsageRecord>, StoreError> {
        query_as(
            "SELECT g.day, g.tenant, g.\"user\", t.name AS tenant_name, u.name AS user_name, g.team, g.key, g.model, \
             g.requests, g.input_tokens, g.output_tokens, g.spend FROM usage g LEFT JOIN tenant t ON t.id = g.tenant LEFT JOIN \"user\" u ON u.id \
             = g.\"user\" WHERE g.day >= $1 AND g.day <= $2 ORDER BY g.day, t.name, u.name, g.team, g.key, g.model",
        )
        .bind(column_of(from))
        .bind(column_of(to))
        .fetch_all(self.readers())
        .await
        .map_err(|error| self.failed(error))
    }
}

async fn add(connection: &mut AnyConnection, usage: NewUsage) -> sqlx::Result<()> {
    query(
        "INSERT INTO usage (day, tenant, \"user\", team, key, model, requests, input_tokens, output_tokens, spend) VALUES ($1, $2, \
         $3, $4, $5, $6, 1, $7, $8, $9) ON CONFLICT (day, tenant, \"user\", team, key, model) DO UPDATE SET requests = \
         usage.requests + 1, input_tokens = usage.input_tokens + excluded.input_tokens, output_tokens = usage.output_tokens + \
         excluded.output_tokens, spend = usage.spend + excluded.spend",
    )
    .bind(column_of(usage.day))
    .bind(column_of(usage.tenant.0))
    .bind(column_of(usage.user.0))
    .bind(usage.team.as_deref().unwrap_or_default().to_owned())
    .bind(usage.key.as_deref().unwrap_or_default().to_owned())
    .bind(usage.model)
    .bind(column_of(usage.input_tokens))
    .bind(column_of(usage.output_tokens))
    .bind(column_of(usage.spend))
    .execute(connection)
    .await
    .map(drop)
}

impl FromRow<'_, AnyRow> for UsageRecord {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let number = |column: &str| {
            u64::try_from(row.try_get::<i64, _>(column)?).map_err(|_| sqlx::Error::ColumnDecode {
                index: column.to_owned(),
                source: "it is negative".into(),
            })
        };
        let name = |column: &str| {
            let name: String = row.try_get(column)?;
            Ok::<_, sqlx::Error>(Some(name).filter(|name| !name.is_empty()))
        };
        Ok(Self {
            day: number("day")?,
            tenant_id: TenantId(number("tenant")?),
            user_id: UserId(number("user")?),
            tenant: row.try_get("tenant_name")?,
            user: row.try_get("user_name")?,
            team: name("team")?,
            key: name("key")?,
            model: row.try_get("model")?,
            requests: number("requests")?,
            input_tokens: number("input_tokens")?,
            output_tokens: number("output_tokens")?,
            spend: number("spend")?,
        })
    }
}
