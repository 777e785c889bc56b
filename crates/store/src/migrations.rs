//! How the schema of a database moves forward. Never back: a newer one is refused.

use std::{fs, path::Path};

use sqlx::{Any, AnyConnection, AssertSqlSafe, Connection, Executor, query, query_scalar, raw_sql};

use crate::{
    StoreError,
    database::{Name, sync_folder_of},
};

/// How a database of ours is built.
pub(crate) struct Schema {
    /// Marks a database as one of this schema, so that one of another program is never touched.
    application: i64,
    /// All steps, oldest first: a database of version `n` has the first `n` applied. Steps are added, never changed.
    steps: &'static [Step],
    /// Whether a copy is kept before a step. Not of keys: one that was destroyed would live on in the copy.
    backed_up: bool,
}

/// One step, in the words of each database.
#[derive(Clone, Copy)]
struct Step {
    sqlite: &'static str,
    /// None if the schema is for files only.
    postgres: Option<&'static str>,
}

macro_rules! step {
    ($name:literal) => {
        Step {
            sqlite: include_str!(concat!("migrations/", $name, ".sqlite.sql")),
            postgres: Some(include_str!(concat!("migrations/", $name, ".postgres.sql"))),
        }
    };
}

/// The state of the control plane; `llmo` in ASCII.
pub(crate) const STATE: Schema = Schema {
    application: 0x6c6c_6d6f,
    steps: &[
        step!("0001_keys"),
        step!("0002_chat_completions"),
        step!("0003_accounts"),
        step!("0004_usage"),
        step!("0005_policies"),
        step!("0006_sign_in"),
        step!("0007_teams"),
        step!("0008_said"),
        step!("0009_usage_counted"),
    ],
    backed_up: true,
};

/// The wrapped keys of the vault; `llmk` in ASCII.
pub(crate) const VAULT_KEYS: Schema = Schema {
    application: 0x6c6c_6d6b,
    steps: &[
        Step { sqlite: include_str!("migrations/vault_keys_0001.sqlite.sql"), postgres: None },
        Step { sqlite: include_str!("migrations/vault_keys_0002.sqlite.sql"), postgres: None },
    ],
    backed_up: false,
};

/// What a database says about itself.
struct Found {
    application: i64,
    version: i64,
    is_empty: bool,
}

/// Applies the steps that are missing, all in one transaction together with the new version, after a backup of what is
/// there.
pub(crate) async fn migrate(
    connection: &mut AnyConnection,
    name: &Name,
    schema: &Schema,
) -> Result<(), StoreError> {
    let failed = |error| name.error(error);
    let found = found(connection, name).await.map_err(failed)?;
    let (from, to) = (version(&found, name, schema)?, schema.steps.len());
    if from == to {
        return Ok(());
    }
    if let (Name::File(file), true) = (name, from > 0 && schema.backed_up) {
        back_up_file(connection, file, from)
            .await
            .map_err(|why| StoreError::NoBackup { database: name.to_string(), why })?;
    }
    let mut transaction = connection.begin_with(name.begin()).await.map_err(failed)?;
    let now = self::found(&mut transaction, name).await.map_err(failed)?;
    // Another process may have been quicker.
    if version(&now, name, schema)? == from {
        apply(&mut transaction, name, schema, from).await.map_err(failed)?;
    }
    transaction.commit().await.map_err(failed)?;
    tracing::info!(database = %name, from, to, "schema of the database moved forward");
    Ok(())
}

/// The version, of a database that is ours and not newer than this program.
fn version(found: &Found, name: &Name, schema: &Schema) -> Result<usize, StoreError> {
    if found.application != schema.application && !found.is_empty {
        return Err(StoreError::NotOurs { database: name.to_string() });
    }
    let known = schema.steps.len();
    let version = usize::try_from(found.version).map_err(|_| StoreError::Corrupt {
        database: name.to_string(),
        why: format!("its schema version is {}", found.version),
    })?;
    if version > known {
        return Err(StoreError::NewerSchema { database: name.to_string(), found: version, known });
    }
    Ok(version)
}

async fn found(connection: &mut AnyConnection, name: &Name) -> sqlx::Result<Found> {
    let number = async |connection: &mut AnyConnection, sql: &'static str| {
        query_scalar::<Any, i64>(sql).fetch_one(connection).await
    };
    if matches!(name, Name::File(_)) {
        let application = number(connection, "PRAGMA application_id").await?;
        let version = number(connection, "PRAGMA user_version").await?;
        let objects = number(connection, "SELECT count(*) FROM sqlite_schema").await?;
        return Ok(Found {
            application,
            version,
            is_empty: application == 0 && version == 0 && objects == 0,
        });
    }
    let tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema()";
    let marked = "SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name \
                  = 'llmos_schema'";
    if number(connection, marked).await? == 0 {
        let is_empty = number(connection, tables).await? == 0;
        return Ok(Found { application: 0, version: 0, is_empty });
    }
    let application = number(connection, "SELECT application FROM llmos_schema").await?;
    let version = number(connection, "SELECT version FROM llmos_schema").await?;
    Ok(Found { application, version, is_empty: false })
}

async fn apply(
    connection: &mut AnyConnection,
    name: &Name,
    schema: &Schema,
    from: usize,
) -> sqlx::Result<()> {
    let (application, to) = (schema.application, schema.steps.len());
    let steps = &schema.steps[from..];
    match name {
        Name::File(_) => {
            for step in steps {
                connection.execute(raw_sql(step.sqlite)).await?;
            }
            // A pragma takes no bound parameters; both values are numbers of ours.
            let mark = format!("PRAGMA application_id = {application}; PRAGMA user_version = {to}");
            connection.execute(raw_sql(AssertSqlSafe(mark))).await?;
        }
        Name::Postgres(_) => {
            // A copy of large tables takes as long as it takes.
            connection.execute("SET LOCAL statement_timeout TO 0").await?;
            if from > 0 {
                back_up_schema(connection, from).await?;
            }
            for step in steps {
                let step = step.postgres.ok_or_else(|| {
                    sqlx::Error::Configuration("this schema is for files of SQLite only".into())
                })?;
                connection.execute(raw_sql(step)).await?;
            }
            let mark = "CREATE TABLE IF NOT EXISTS llmos_schema (application BIGINT NOT NULL, version BIGINT NOT NULL); \
                        DELETE FROM llmos_schema";
            connection.execute(raw_sql(mark)).await?;
            query("INSERT INTO llmos_schema (application, version) VALUES ($1, $2)")
                .bind(application)
                .bind(to as i64)
                .execute(&mut *connection)
                .await?;
        }
    }
    Ok(())
}

/// Writes `NAME.schema-N.backup` beside the file: whole and on the disk, or not at all.
async fn back_up_file(connection: &mut AnyConnection, file: &Path, version: usize) -> Result<(), String> {
    let beside = |ending: &str| {
        let mut name = file.file_name().unwrap_or_default().to_owned();
        name.push(format!(".schema-{version}.{ending}"));
        file.with_file_name(name)
    };
    let (new, backup) = (beside("new"), beside("backup"));
    let said = |error: std::io::Error| format!("{}: {error}", new.display());
    match fs::remove_file(&new) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(said(error)),
        _ => {}
    }
    let path = new.to_str().ok_or("the path is not UTF-8")?;
    query("VACUUM INTO $1").bind(path).execute(connection).await.map_err(|error| error.to_string())?;
    fs::File::open(&new).and_then(|copy| copy.sync_all()).map_err(said)?;
    fs::rename(&new, &backup).and_then(|()| sync_folder_of(&backup)).map_err(said)?;
    tracing::info!(backup = %backup.display(), "backed up the database before its schema moves forward");
    Ok(())
}

/// Copies all tables into a schema of their own, in the transaction of the step.
async fn back_up_schema(connection: &mut AnyConnection, version: usize) -> sqlx::Result<()> {
    let copy = format!(
        "DO $$ DECLARE name text; BEGIN
             DROP SCHEMA IF EXISTS llmos_before_{next} CASCADE;
             CREATE SCHEMA llmos_before_{next};
             FOR name IN SELECT table_name FROM information_schema.tables
                 WHERE table_schema = current_schema() AND table_type = 'BASE TABLE' LOOP
                 EXECUTE format('CREATE TABLE llmos_before_{next}.%I AS TABLE %I', name, name);
             END LOOP;
         END $$",
        next = version + 1
    );
    connection.execute(raw_sql(AssertSqlSafe(copy))).await.map(drop)
}

#[cfg(test)]
mod tests {
    use sqlx::any::install_default_drivers;

    use super::*;

    const SECOND: Step = Step {
        sqlite: "CREATE TABLE extra (x INTEGER) STRICT; INSERT INTO tenant (name) VALUES ('second');",
        postgres: None,
    };
    const BROKEN: Step = Step {
        sqlite: "CREATE TABLE half (x INTEGER) STRICT; INSERT INTO no_such_table VALUES (1);",
        postgres: None,
    };

    async fn scalar(connection: &mut AnyConnection, sql: &'static str) -> i64 {
        query_scalar(sql).fetch_one(connection).await.unwrap()
    }

    #[tokio::test]
    async fn steps_are_applied_once_whole_and_only_forward_after_a_backup() {
        install_default_drivers();
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        let url = |file: &Path| format!("sqlite://{}?mode=rwc", file.display());
        let mut connection = AnyConnection::connect(&url(&file)).await.unwrap();
        let name = Name::File(file.as_path().into());
        let first = STATE.steps[0];
        let leaked = |steps: &[Step]| Schema { steps: Vec::leak(steps.to_vec()), ..STATE };
        let backup = folder.path().join("state.db.schema-1.backup");

        migrate(&mut connection, &name, &leaked(&[first])).await.unwrap();
        query("INSERT INTO tenant (name) VALUES ('first')").execute(&mut connection).await.unwrap();
        assert!(!backup.exists(), "there was nothing to back up");

        let error = migrate(&mut connection, &name, &leaked(&[first, SECOND, BROKEN])).await.unwrap_err();
        assert!(matches!(error, StoreError::Failed { .. }), "{error}");
        assert_eq!(scalar(&mut connection, "PRAGMA user_version").await, 1);
        let made = "SELECT count(*) FROM sqlite_schema WHERE name IN ('half', 'extra')";
        assert_eq!(scalar(&mut connection, made).await, 0);

        for _ in 0..2 {
            migrate(&mut connection, &name, &leaked(&[first, SECOND])).await.unwrap();
            assert_eq!(scalar(&mut connection, "PRAGMA user_version").await, 2);
            assert_eq!(scalar(&mut connection, "SELECT count(*) FROM tenant").await, 2);
        }
        let mut before = AnyConnection::connect(&url(&backup)).await.unwrap();
        assert_eq!(scalar(&mut before, "PRAGMA user_version").await, 1);
        assert_eq!(scalar(&mut before, "SELECT count(*) FROM tenant").await, 1);

        let error = migrate(&mut connection, &name, &leaked(&[first])).await.unwrap_err();
        assert!(matches!(error, StoreError::NewerSchema { found: 2, known: 1, .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("schema 2") && text.contains("up to 1"), "{text}");

        // Of keys no copy is kept.
        let keys =
            Schema { backed_up: false, ..leaked(&[first, SECOND, Step { sqlite: "", postgres: None }]) };
        migrate(&mut connection, &name, &keys).await.unwrap();
        assert!(!folder.path().join("state.db.schema-2.backup").exists());
    }
}
