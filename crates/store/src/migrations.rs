use std::path::Path;

use sqlx::{AssertSqlSafe, SqlitePool, query, query_scalar, raw_sql};

use crate::StoreError;

/// All steps of the schema, oldest first: a database of version `n` has the first `n` applied. Steps are added,
/// never changed.
pub(crate) const MIGRATIONS: &[&str] = &[include_str!("migrations/0001_keys.sql")];

/// Marks a file as ours (`llmo` in ASCII), so that a database of another program is never touched.
const APPLICATION_ID: i64 = 0x6c6c_6d6f;

/// Applies the steps that are missing, each in one transaction together with the new version.
pub(crate) async fn migrate(
    writer: &SqlitePool,
    file: &Path,
    steps: &[&'static str],
) -> Result<(), StoreError> {
    while apply_next(writer, file, steps).await? {}
    Ok(())
}

/// Applies one step. False if none is missing.
async fn apply_next(writer: &SqlitePool, file: &Path, steps: &[&'static str]) -> Result<bool, StoreError> {
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
    if application != APPLICATION_ID && !is_empty {
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
    let mark = format!("PRAGMA application_id = {APPLICATION_ID}");
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
        let first = MIGRATIONS[0];

        migrate(&pool, &file, &[first]).await.unwrap();
        query("INSERT INTO tenant (name) VALUES ('first')").execute(&pool).await.unwrap();

        let error = migrate(&pool, &file, &[first, BROKEN]).await.unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }), "{error}");
        assert_eq!(scalar(&pool, "PRAGMA user_version").await, 1);
        assert_eq!(scalar(&pool, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'").await, 0);

        for _ in 0..2 {
            migrate(&pool, &file, &[first, SECOND]).await.unwrap();
            assert_eq!(scalar(&pool, "PRAGMA user_version").await, 2);
            assert_eq!(scalar(&pool, "SELECT count(*) FROM tenant").await, 2);
        }

        let error = migrate(&pool, &file, &[first]).await.unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema { found: 2, known: 1, .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("schema 2") && text.contains("up to 1"), "{text}");
    }
}
