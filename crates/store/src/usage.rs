//! What was used, by day, user, team, key and model.

use std::{
    collections::{HashMap, HashSet},
    mem,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use sqlx::{AnyConnection, FromRow, Row, any::AnyRow, query, query_as};
use types::{TenantId, UserId};

use crate::{Store, StoreError, database::column_of};

/// How long what is used is gathered before it is written: each row once, whoever many requests it was.
const GATHERED_FOR: Duration = Duration::from_millis(250);
/// How long after what could not be written it is tried again.
const TRIED_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// Most rows that wait for a disk that takes none. What is used beyond is said in the log, and not counted.
const ROWS_MAX: usize = 100_000;

/// What one request used.
#[derive(Debug, Clone)]
pub struct NewUsage {
    /// The index of its beginning in the audit log, where it is recorded.
    pub begun: Option<u64>,
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
    /// Counts one request. It is written within a quarter of a second; [`usage`](Self::usage) and [`close`](Self::close) wait for
    /// that, the caller does not.
    pub fn add_usage(&self, usage: NewUsage) {
        if self.used.add(usage) {
            self.write_usage_after(GATHERED_FOR);
        }
    }

    fn write_usage_after(&self, pause: Duration) {
        let store = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            store.write_usage().await;
        });
    }

    /// Writes what was gathered. What cannot be written is kept, and tried again.
    pub(crate) async fn write_usage(&self) {
        let _turn = self.used.turn.lock().await;
        // Before what is taken: whatever is below has been handed in.
        let low = self.used.low.get().map(|lowest_open| lowest_open());
        let taken = self.used.take();
        if taken.rows.is_empty() {
            return;
        }
        let written = Arc::new(taken);
        let writing = Arc::clone(&written);
        let done = self.write(move |connection| {
            Box::pin(async move {
                for (row, used) in &writing.rows {
                    add(connection, row, used).await?;
                }
                match low {
                    Some(low) => note_counted(connection, low, &writing.begins).await,
                    None => Ok(()),
                }
            })
        });
        if let Err(error) = done.await {
            tracing::error!("what was used is not written yet: {error}");
            self.used.put_back(&written);
            // Otherwise whoever closes would wait for this for ever.
            if !matches!(error, StoreError::SyncFailed { .. }) {
                self.write_usage_after(TRIED_AGAIN_AFTER);
            }
        }
    }

    /// From here on it is written down which requests of the audit log are counted; `lowest_open` is the lowest index of a beginning
    /// that has no end, or the size of the log. A request is handed in here before its end is recorded there.
    pub fn count_by(&self, lowest_open: impl Fn() -> u64 + Send + Sync + 'static) {
        // Once, at the start.
        let _ = self.used.low.set(Box::new(lowest_open));
    }

    /// Which requests of the audit log are counted, by the index of their beginning: all below the number, and these.
    pub async fn counted(&self) -> Result<(u64, HashSet<u64>), StoreError> {
        let rows: Vec<(i64, Vec<u8>)> = query_as("SELECT low, begins FROM usage_counted")
            .fetch_all(self.readers())
            .await
            .map_err(|error| self.failed(error))?;
        let low = rows.iter().map(|(low, _)| low.cast_unsigned()).max().unwrap_or(0);
        let begins = rows.iter().flat_map(|(_, begins)| begins.as_chunks::<8>().0);
        Ok((low, begins.map(|begin| u64::from_be_bytes(*begin)).collect()))
    }

    /// Takes all below `low` for counted, and nothing else: there is another log now. On the disk when this returns.
    pub async fn reset_counted(&self, low: u64) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                query("DELETE FROM usage_counted").execute(&mut *connection).await?;
                note_counted(connection, low, &[]).await
            })
        })
        .await
    }

    /// What was used from one day to another, both included, in the order of days, tenants, users, teams, keys and models.
    pub async fn usage(&self, from: u64, to: u64) -> Result<Vec<UsageRecord>, StoreError> {
        // Also if whoever asks goes away: what was gathered must not be lost with them.
        let store = self.clone();
        let _ = tokio::spawn(async move { store.write_usage().await }).await;
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

/// What was used and is not written yet.
#[derive(Default)]
pub(crate) struct Gathered {
    waiting: Mutex<Waiting>,
    low: OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>,
    /// One writes at a time, so that who waits for it waits for what another one has taken, too.
    turn: tokio::sync::Mutex<()>,
}

/// What waits to be written.
#[derive(Default)]
struct Waiting {
    rows: HashMap<Account, Used>,
    /// The beginnings of the requests that are counted in them.
    begins: Vec<u64>,
}

/// Whose row of the table it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Account {
    day: u64,
    tenant: TenantId,
    user: UserId,
    team: Option<Arc<str>>,
    key: Option<Arc<str>>,
    model: String,
}

/// What is added to a row.
#[derive(Debug, Clone, Copy, Default)]
struct Used {
    requests: u64,
    input_tokens: u64,
    output_tokens: u64,
    spend: u64,
}

impl Used {
    fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.spend = self.spend.saturating_add(other.spend);
    }
}

impl Gathered {
    /// Adds one request. True if it is the first that waits.
    fn add(&self, usage: NewUsage) -> bool {
        let NewUsage { begun, day, tenant, user, team, key, model, input_tokens, output_tokens, spend } =
            usage;
        let row = Account { day, tenant, user, team, key, model };
        let used = Used { requests: 1, input_tokens, output_tokens, spend };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let Waiting { rows, begins } = &mut *waiting;
        let is_first = rows.is_empty();
        if rows.len() >= ROWS_MAX && !rows.contains_key(&row) {
            tracing::error!(?row, ?used, "too much waits to be written: this is not counted");
            return false;
        }
        rows.entry(row).or_default().add(used);
        begins.extend(begun);
        is_first
    }

    fn take(&self) -> Waiting {
        mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn put_back(&self, taken: &Waiting) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        for (row, used) in &taken.rows {
            waiting.rows.entry(row.clone()).or_default().add(*used);
        }
        waiting.begins.extend(&taken.begins);
    }
}

/// Adds a row of those that are counted, and removes those of which all are below `low`.
async fn note_counted(connection: &mut AnyConnection, low: u64, begins: &[u64]) -> sqlx::Result<()> {
    let sql = "DELETE FROM usage_counted WHERE last < $1";
    query(sql).bind(column_of(low)).execute(&mut *connection).await?;
    let last = begins.iter().copied().max().unwrap_or(0);
    let begins: Vec<u8> = begins.iter().flat_map(|begin| begin.to_be_bytes()).collect();
    query("INSERT INTO usage_counted (low, last, begins) VALUES ($1, $2, $3)")
        .bind(column_of(low))
        .bind(column_of(last))
        .bind(begins)
        .execute(connection)
        .await
        .map(drop)
}

async fn add(connection: &mut AnyConnection, row: &Account, used: &Used) -> sqlx::Result<()> {
    query(
        "INSERT INTO usage (day, tenant, \"user\", team, key, model, requests, input_tokens, output_tokens, spend) VALUES ($1, $2, \
         $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (day, tenant, \"user\", team, key, model) DO UPDATE SET requests = \
         usage.requests + excluded.requests, input_tokens = usage.input_tokens + excluded.input_tokens, output_tokens = usage.output_tokens + \
         excluded.output_tokens, spend = usage.spend + excluded.spend",
    )
    .bind(column_of(row.day))
    .bind(column_of(row.tenant.0))
    .bind(column_of(row.user.0))
    .bind(row.team.as_deref().unwrap_or_default().to_owned())
    .bind(row.key.as_deref().unwrap_or_default().to_owned())
    .bind(row.model.clone())
    .bind(column_of(used.requests))
    .bind(column_of(used.input_tokens))
    .bind(column_of(used.output_tokens))
    .bind(column_of(used.spend))
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
