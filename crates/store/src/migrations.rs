use std::path::Path;

use sqlx::{AssertSqlSafe, SqlitePool, query, query_scalar, raw_sql};

use crate::StoreError;

/// How a database of ours is built.
pub(crate) struct Schema {
    /// Marks a file as one of this schema, so that a database of another program is never touched.
    application: i64,
    /// All steps, oldest first: a database of version `n` has the first `n` applied. Steps are added, never changed.
    steps: &'static [&'static str],
}

/// The state of the control plane; `llmo` in ASCII.
pub(crate) const STATE: Schema =
    Schema { application: 0x6c6c_6d6f, steps: &[include_str!("migrations/0001_keys.sql")] };

/// The wrapped keys of the vault; `llmk` in ASCII.
pub(crate) const VAULT_KEYS: Schema =
    Schema { application: 0x6c6c_6d6b, steps: &[include_str!("migrations/vault_keys_0001.sql")] };

/// Applies the steps that are missing, each in one transaction together with the new version.
pub(crate) async fn migrate(writer: &SqlitePool, file: &Path, schema: &Schema) -> Result<(), StoreError> {
    while apply_next(writer, file, schema).await? {}
    Ok(())
}

/// Applies one step. False if none is missing.
async fn apply_next(writer: &SqlitePool, file: &Path, schema: &Schema) -> Result<bool, StoreError> {
    let steps = schema.steps;
    let failed = |error| StoreError::of(file, error);
    // Takes the write lock first, so that what is read here still holds when it is acted upon.
    let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await.map_err(failed)?;
    let application: i64 =
        query_scalar("PRAGMA application_id").fetch_one(&mut *transaction).await.map_err(failed)?;
    let version: i64 =
        query_scalar("PRAGMA user_version").fetch_one(&mut *transaction).await.map_err(failed)?;
    let objects: i64 = query_scalar("SELECT count(*) FROM sqlite_schema")
        .fetch_one(&mut *transaction)
        .await
        .map_err(failed)?;

    let is_empty = application == 0 && version == 0 && objects == 0;
    if application != schema.application && !is_empty {
        return Err(StoreError::NotOurs { file: file.to_owned() });
    }
    let found = usize::try_from(version).map_err(|_| StoreError::Corrupt {
        file: file.to_owned(),
        why: format!("its schema version is {version}"),
    })?;
    if found > steps.len() {
        return Err(StoreError::NewerSchema { file: file.to_owned(), found, known: steps.len() });
    }
    let Some(&step) = steps.get(found) else {
        return Ok(false);
    };

    raw_sql(step).execute(&mut *transaction).await.map_err(failed)?;
    // A pragma takes no bound parameters; both values are numbers of ours.
    let mark = format!("PRAGMA application_id = {}", schema.application);
    query(AssertSqlSafe(mark)).execute(&mut *transaction).await.map_err(failed)?;
    let bump = format!("PRAGMA user_version = {}", found + 1);
    query(AssertSqlSafe(bump)).execute(&mut *transaction).await.map_err(failed)?;
    transaction.commit().await.map_err(failed)?;
    tracing::info!(file = %file.display(), from = found, to = found + 1, "schema of the database moved forward");
    Ok(true)
}

#[cfg(test)]
mod tests {
    use sqlx::sqlite::SqliteConnectOptions;

    use super::*;

    const SECOND: &str =
        "CREATE TABLE extra (x INTEGER) STRICT; INSERT INTO tenant (name) VALUES ('second');";
    const BROKEN: &str = "CREATE TABLE half (x INTEGER) STRICT; INSERT INTO no_such_table VALUES (1);";

    async fn scalar(pool: &SqlitePool, sql: &'static str) -> i64 {
        query_scalar(sql).fetch_one(pool).await.unwrap()
    }

    #[tokio::test]
    async fn steps_are_applied_once_whole_and_only_forward() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        let options = SqliteConnectOptions::new().filename(&file).create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.unwrap();
        let first = STATE.steps[0];
        let leaked = |steps: &[&'static str]| Schema { steps: Vec::leak(steps.to_vec()), ..STATE };

        migrate(&pool, &file, &leaked(&[first])).await.unwrap();
        query("INSERT INTO tenant (name) VALUES ('first')").execute(&pool).await.unwrap();

        let error = migrate(&pool, &file, &leaked(&[first, BROKEN])).await.unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }), "{error}");
        assert_eq!(scalar(&pool, "PRAGMA user_version").await, 1);
        assert_eq!(scalar(&pool, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'").await, 0);

        for _ in 0..2 {
            migrate(&pool, &file, &leaked(&[first, SECOND])).await.unwrap();
            assert_eq!(scalar(&pool, "PRAGMA user_version").await, 2);
            assert_eq!(scalar(&pool, "SELECT count(*) FROM tenant").await, 2);
        }

        let error = migrate(&pool, &file, &leaked(&[first])).await.unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema { found: 2, known: 1, .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("schema 2") && text.contains("up to 1"), "{text}");
    }
}
