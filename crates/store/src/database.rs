use std::{
    fs::{File, OpenOptions},
    io::ErrorKind,
    os::unix::fs::OpenOptionsExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use sqlx::{
    SqlitePool, query_as, query_scalar,
    sqlite::{SqliteConnectOptions, SqlitePoolOptions, SqliteSynchronous},
};

use crate::{
    StoreError,
    migrations::{STATE, Schema, migrate},
};

/// Most reads at the same time; further ones wait.
const READERS_MAX: u32 = 4;
/// Longest wait for a lock that another process holds on the file.
const LOCK_WAIT_MAX: Duration = Duration::from_secs(5);
/// Longest wait for a connection of ours that is at work. Longer than [`LOCK_WAIT_MAX`]: who holds the connection
/// may itself be waiting for a lock.
const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(10);
/// Read and written by the owner only. `SQLite` gives the same mode to the `-wal` and `-shm` files.
const FILE_MODE: u32 = 0o600;

/// State of the control plane. Clones share the connections.
///
/// ```
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let folder = tempfile::tempdir().unwrap();
/// let store = store::Store::open(&folder.path().join("llmos.db")).await?;
/// assert!(!store.has_any_key().await?);
/// # Ok::<(), store::StoreError>(())
/// # }).unwrap();
/// ```
#[derive(Clone)]
pub struct Store {
    connections: Connections,
}

impl Store {
    /// Opens the database in `file`, or makes it (mode 0600, whatever the umask), and brings its schema up to date.
    ///
    /// A file that is not ours, or that a newer program wrote, is refused and stays as it is.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        Ok(Self { connections: Connections::open(file, &STATE, &[]).await? })
    }

    /// Ends all connections and folds the write-ahead log into the file. Nothing is lost without it; after it the
    /// file alone is the whole state, and every other method fails.
    pub async fn close(&self) {
        self.connections.close().await;
    }

    /// The one connection that writes.
    pub(crate) fn writer(&self) -> &SqlitePool {
        self.connections.writer()
    }

    /// The connections that read.
    pub(crate) fn readers(&self) -> &SqlitePool {
        self.connections.readers()
    }

    /// What an error of the driver means here.
    pub(crate) fn failed(&self, error: sqlx::Error) -> StoreError {
        self.connections.failed(error)
    }
}

/// The connections to one database file: one that writes, a few that read. Clones share them.
#[derive(Clone)]
pub(crate) struct Connections {
    file: Arc<Path>,
    writer: SqlitePool,
    readers: SqlitePool,
}

impl Connections {
    /// Opens the file, or makes it, with these settings beside our own, and brings its schema up to date.
    pub(crate) async fn open(
        file: &Path,
        schema: &Schema,
        pragmas: &[(&'static str, &'static str)],
    ) -> Result<Self, StoreError> {
        let failed = |error| StoreError::of(file, error);
        create_private(file)
            .map_err(|error| StoreError::CannotOpen { file: file.to_owned(), why: error.to_string() })?;
        let options = SqliteConnectOptions::new()
            .filename(file)
            .foreign_keys(true)
            .synchronous(SqliteSynchronous::Full)
            // macOS keeps synced data in the disk's cache without it; no effect elsewhere.
            .pragma("fullfsync", "ON")
            .busy_timeout(LOCK_WAIT_MAX);
        let options = pragmas.iter().fold(options, |options, &(name, value)| options.pragma(name, value));
        let writer = pool_of(1).connect_with(options.clone()).await.map_err(failed)?;
        migrate(&writer, file, schema).await?;
        // Only now, as it changes the file. From here on the file remembers it.
        let mode: String =
            query_scalar("PRAGMA journal_mode = WAL").fetch_one(&writer).await.map_err(failed)?;
        if mode != "wal" {
            let why = format!("its file system allows the journal mode `{mode}` only, and `wal` is needed");
            return Err(StoreError::CannotOpen { file: file.to_owned(), why });
        }
        let readers = pool_of(READERS_MAX).connect_lazy_with(options.read_only(true));
        Ok(Self { file: file.into(), writer, readers })
    }

    /// Ends all of them and folds the write-ahead log into the file.
    pub(crate) async fn close(&self) {
        self.readers.close().await;
        self.writer.close().await;
    }

    /// The one connection that writes.
    pub(crate) fn writer(&self) -> &SqlitePool {
        &self.writer
    }

    /// The connections that read.
    pub(crate) fn readers(&self) -> &SqlitePool {
        &self.readers
    }

    /// Overwrites what was deleted: folds the write-ahead log, which still has it, into the file, and empties it.
    pub(crate) async fn forget_deleted(&self) -> Result<(), StoreError> {
        let folded: (i64, i64, i64) = query_as("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&self.writer)
            .await
            .map_err(|error| self.failed(error))?;
        // A reader of ours that is in the middle of something keeps the log: its end comes with the next fold.
        if folded.0 != 0 {
            tracing::debug!(file = %self.file.display(), "the log could not be emptied yet");
        }
        Ok(())
    }

    /// What an error of the driver means here.
    pub(crate) fn failed(&self, error: sqlx::Error) -> StoreError {
        StoreError::of(&self.file, error)
    }
}

/// `SQLite` has signed integers only; times and counts end there long after the file.
pub(crate) fn column_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Connections are kept: a new one would have to read the schema again.
fn pool_of(connections_max: u32) -> SqlitePoolOptions {
    SqlitePoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(CONNECTION_WAIT_MAX)
        .idle_timeout(None)
        .max_lifetime(None)
}

/// Makes an empty file, unless there is one. `SQLite` itself would let the umask decide who may read it.
fn create_private(file: &Path) -> std::io::Result<()> {
    match OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(file) {
        Ok(_) => sync_folder_of(file),
        // Not opened here either: closing it would release the locks that connections of this process hold on it.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error),
    }
}

/// A new name survives a power cut only once its folder is synced.
fn sync_folder_of(file: &Path) -> std::io::Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use sqlx::{Connection, Executor, SqliteConnection};

    use super::*;

    async fn execute_in(file: &Path, sql: &'static str) {
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
        connection.execute(sql).await.unwrap();
        connection.close().await.unwrap();
    }

    #[tokio::test]
    async fn only_the_owner_may_read_any_of_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).await.unwrap();
        store.writer().execute("INSERT INTO tenant (name) VALUES ('x')").await.unwrap();
        for name in ["state.db", "state.db-wal", "state.db-shm"] {
            let mode = fs::metadata(folder.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, FILE_MODE, "{name}");
        }
        store.close().await;
    }

    #[tokio::test]
    async fn every_connection_is_durable_and_checked_and_only_one_writes() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).await.unwrap();
        for pool in [store.writer(), store.readers()] {
            let journal: String = query_scalar("PRAGMA journal_mode").fetch_one(pool).await.unwrap();
            let synchronous: i64 = query_scalar("PRAGMA synchronous").fetch_one(pool).await.unwrap();
            let foreign_keys: i64 = query_scalar("PRAGMA foreign_keys").fetch_one(pool).await.unwrap();
            assert_eq!((journal.as_str(), synchronous, foreign_keys), ("wal", 2, 1));
        }
        let refused = store.readers().execute("INSERT INTO tenant (name) VALUES ('x')").await.unwrap_err();
        assert!(refused.to_string().contains("readonly"), "{refused}");
        assert_eq!(store.writer().options().get_max_connections(), 1);
    }

    #[tokio::test]
    async fn what_cannot_be_opened_is_named_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::write(path("text"), "this is not a database ".repeat(100)).unwrap();
        execute_in(&path("foreign"), "CREATE TABLE theirs (x)").await;
        execute_in(&path("marked"), "PRAGMA application_id = 7").await;
        drop(Store::open(&path("newer")).await.unwrap());
        execute_in(&path("newer"), "PRAGMA user_version = 99").await;
        fs::create_dir(path("folder")).unwrap();

        let cases = [
            ("text", "is not a database of llmos"),
            ("foreign", "is not a database of llmos"),
            ("marked", "is not a database of llmos"),
            ("newer", "has schema 99, but this program knows schemas up to 1"),
            ("folder", "cannot open the database"),
            ("missing/state.db", "cannot open the database"),
        ];
        for (name, says) in cases {
            let before = fs::read(path(name)).ok();
            let error = Store::open(&path(name)).await.err().unwrap().to_string();
            assert!(error.contains(says) && error.contains(name), "{name}: {error}");
            assert_eq!(fs::read(path(name)).ok(), before, "{name} was changed");
        }
    }

    #[tokio::test]
    async fn a_lock_of_another_process_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        let store = Store::open(&file).await.unwrap();
        let options = SqliteConnectOptions::new().filename(&file);
        let mut other = SqliteConnection::connect_with(&options).await.unwrap();
        other.execute("BEGIN IMMEDIATE").await.unwrap();
        // The same as what waiting gives, without the wait.
        store.writer().execute("PRAGMA busy_timeout = 0").await.unwrap();
        let error = store.revoke_key("x", 1).await.err().unwrap();
        assert!(matches!(error, StoreError::Busy { .. }), "{error}");
        // Reading goes on meanwhile.
        assert!(!store.has_any_key().await.unwrap());
    }

    #[tokio::test]
    async fn a_damaged_file_is_reported() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("state.db");
        let store = Store::open(&file).await.unwrap();
        store.close().await;
        let mut bytes = fs::read(&file).unwrap();
        // The header of the page size stays whole; every page after the first is scribbled over.
        bytes[4096..].fill(0xa5);
        fs::write(&file, bytes).unwrap();
        let store = Store::open(&file).await.unwrap();
        let error = store.keys().await.err().unwrap();
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_full_disk_is_reported_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).await.unwrap();
        // A limit on pages gives the very code that a full disk gives.
        store.writer().execute("PRAGMA max_page_count = 1").await.unwrap();
        let mut error = None;
        for number in 0..1000 {
            let name = format!("{number}{}", "x".repeat(1000));
            let insert = sqlx::query("INSERT INTO tenant (name) VALUES (?)").bind(name);
            if let Err(refused) = insert.execute(store.writer()).await {
                error = Some(store.failed(refused));
                break;
            }
        }
        assert!(matches!(error, Some(StoreError::DiskFull { .. })), "{error:?}");
        let whole: String = query_scalar("PRAGMA integrity_check").fetch_one(store.readers()).await.unwrap();
        assert_eq!(whole, "ok");
    }
}
