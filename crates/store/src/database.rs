//! The connections to one database, and what its errors mean.

use std::{
    fmt,
    fs::{File, OpenOptions},
    io::ErrorKind,
    os::unix::{ffi::OsStrExt, fs::OpenOptionsExt},
    path::Path,
    sync::{Arc, Once},
    time::Duration,
};

use futures::{FutureExt, future::BoxFuture};
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};
use sqlx::{
    AnyConnection, AnyPool, Connection, Executor,
    any::{AnyPoolOptions, install_default_drivers},
    query_as, query_scalar,
};

use crate::{
    PostgresAddress, StoreError,
    migrations::{Schema, migrate},
    postgres,
    writer::Writer,
};

/// Most reads at the same time; further ones wait.
const READERS_MAX: u32 = 4;
/// Longest wait for a connection of ours that is at work, or for one to be made. Longer than the wait for a lock, of 5 s:
/// who holds the connection may itself be waiting for one.
const CONNECTION_WAIT_MAX: Duration = Duration::from_secs(10);
/// Read and written by the owner only. `SQLite` gives the same mode to the `-wal` and `-shm` files.
const FILE_MODE: u32 = 0o600;

/// What every connection to a file keeps to: a commit is on the disk (macOS keeps synced data in the disk's cache without
/// `fullfsync`; no effect elsewhere), references are checked, and a lock of another process is waited for.
const SQLITE_SETTINGS: &str = "PRAGMA foreign_keys = ON; PRAGMA synchronous = FULL; PRAGMA fullfsync = ON; \
                               PRAGMA busy_timeout = 5000;";
/// What is deleted is overwritten.
const SECURE_DELETE: &str = "PRAGMA secure_delete = ON;";

/// A database: one connection that writes, a few that read. Clones share them.
#[derive(Clone)]
pub(crate) struct Database {
    name: Name,
    writer: Writer,
    writing: AnyPool,
    readers: AnyPool,
}

/// What a database is called in errors, and whose it is. Holds no password.
#[derive(Debug, Clone)]
pub(crate) enum Name {
    /// A file of `SQLite`.
    File(Arc<Path>),
    /// A database of `PostgreSQL`.
    Postgres(Arc<str>),
}

impl Database {
    /// Opens the file, or makes it, and brings its schema up to date.
    pub(crate) async fn open_file(
        file: &Path,
        schema: &'static Schema,
        overwrites_deleted: bool,
    ) -> Result<Self, StoreError> {
        let name = Name::File(file.into());
        let failed = |error| name.error(error);
        create_private(file)
            .map_err(|error| StoreError::CannotOpen { database: name.to_string(), why: error.to_string() })?;
        let path = percent_encode(file.as_os_str().as_bytes(), NON_ALPHANUMERIC);
        let url = format!("sqlite://{path}");
        // By itself: a pool would try again what fails, and then only say that it took too long.
        let mut first = connect(&url).await.map_err(failed)?;
        settle(&mut first, overwrites_deleted).await.map_err(failed)?;
        migrate(&mut first, &name, schema).await?;
        // Only now, as it changes the file. From here on the file remembers it.
        let mode: String =
            query_scalar("PRAGMA journal_mode = WAL").fetch_one(&mut first).await.map_err(failed)?;
        if mode != "wal" {
            let why = format!("its file system allows the journal mode `{mode}` only, and `wal` is needed");
            return Err(StoreError::CannotOpen { database: name.to_string(), why });
        }
        first.close().await.map_err(failed)?;
        let pool = |connections_max, url: &str| {
            let pool = pool_of(connections_max)
                .after_connect(move |connection, _| settle(connection, overwrites_deleted).boxed());
            pool.connect_lazy(url).map_err(failed)
        };
        // To the readers the file is read-only, so a second writer cannot slip in.
        Ok(Self::new(name.clone(), pool(1, &url)?, pool(READERS_MAX, &format!("{url}?mode=ro"))?))
    }

    /// Connects to the database, which must exist, and brings its schema up to date. No other server may use it meanwhile.
    pub(crate) async fn open_postgres(
        address: &PostgresAddress,
        schema: &'static Schema,
    ) -> Result<Self, StoreError> {
        let name = Name::Postgres(address.to_string().into());
        PostgresAddress::check_environment(|variable| std::env::var_os(variable).is_some())
            .and_then(|()| address.check_key())
            .map_err(|why| StoreError::Unreachable { database: name.to_string(), why })?;
        let failed = |error| name.error(error);
        let mut first = connect(&address.for_driver()).await.map_err(failed)?;
        postgres::prepare(&mut first, true).await.map_err(failed)?;
        migrate(&mut first, &name, schema).await?;
        first.close().await.map_err(failed)?;
        let pool = |connections_max, writes| {
            let pool = pool_of(connections_max)
                .after_connect(move |connection, _| postgres::prepare(connection, writes).boxed());
            pool.connect_lazy(&address.for_driver()).map_err(failed)
        };
        let writing = pool(1, true)?;
        // Takes the server's lock again, and keeps it.
        drop(writing.acquire().await.map_err(failed)?);
        Ok(Self::new(name.clone(), writing, pool(READERS_MAX, false)?))
    }

    fn new(name: Name, writing: AnyPool, readers: AnyPool) -> Self {
        Self { writer: Writer::start(writing.clone(), name.clone()), name, writing, readers }
    }

    /// Does `work` soon, and tells nobody.
    pub(crate) fn write_soon<F>(&self, work: F)
    where
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, sqlx::Result<()>> + Send + 'static,
    {
        self.writer.write_soon(&self.name, work);
    }

    /// Waits for what was handed in, ends all connections, and folds the write-ahead log of a file into it.
    pub(crate) async fn close(&self) {
        // What fails here failed for who asked for it.
        let _ = self.write(|_| Box::pin(async { Ok(()) })).await;
        self.readers.close().await;
        self.writing.close().await;
    }

    /// The connections that read.
    pub(crate) fn readers(&self) -> &AnyPool {
        &self.readers
    }

    /// Does `work`, which has to be all that makes one change: all or nothing of it, on the disk when this returns.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, sqlx::Result<T>> + Send + 'static,
    {
        self.writer.write(&self.name, work).await
    }

    /// Overwrites what was deleted: folds the write-ahead log, which still has it, into the file, and empties it.
    pub(crate) async fn forget_deleted(&self) -> Result<(), StoreError> {
        let folded: (i64, i64, i64) = query_as("PRAGMA wal_checkpoint(TRUNCATE)")
            .fetch_one(&self.writing)
            .await
            .map_err(|error| self.failed(error))?;
        // A reader of ours that is in the middle of something keeps the log: its end comes with the next fold.
        if folded.0 != 0 {
            tracing::warn!(database = %self.name, "a reader kept the log from being emptied; the next deletion does it");
        }
        Ok(())
    }

    /// What an error of the driver means here.
    pub(crate) fn failed(&self, error: sqlx::Error) -> StoreError {
        self.name.error(error)
    }

    /// The connection that writes, for tests.
    #[cfg(test)]
    pub(crate) fn writing(&self) -> &AnyPool {
        &self.writing
    }
}

impl Name {
    /// How a transaction that writes begins. `SQLite` takes the write lock first, so that what is read in it still holds
    /// when it is acted upon; `PostgreSQL` has no other writer, as the server holds a lock on the database.
    pub(crate) fn begin(&self) -> &'static str {
        match self {
            Self::File(_) => "BEGIN IMMEDIATE",
            Self::Postgres(_) => "BEGIN",
        }
    }

    /// What an error of the driver means here.
    pub(crate) fn error(&self, error: sqlx::Error) -> StoreError {
        match self {
            Self::File(_) => StoreError::of_sqlite(self.to_string(), error),
            Self::Postgres(_) => StoreError::of_postgres(self.to_string(), error),
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.display().fmt(f),
            Self::Postgres(address) => address.fmt(f),
        }
    }
}

/// The databases have signed integers only; times and counts end there long after both.
pub(crate) fn column_of(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Makes a new connection to a file one of ours.
async fn settle(connection: &mut AnyConnection, overwrites_deleted: bool) -> sqlx::Result<()> {
    connection.execute(SQLITE_SETTINGS).await?;
    if overwrites_deleted {
        connection.execute(SECURE_DELETE).await?;
    }
    Ok(())
}

/// A connection outside of a pool.
async fn connect(url: &str) -> sqlx::Result<AnyConnection> {
    install_drivers();
    AnyConnection::connect(url).await
}

fn install_drivers() {
    static ONCE: Once = Once::new();
    ONCE.call_once(install_default_drivers);
}

/// Connections are kept: a new one would have to read the schema again.
fn pool_of(connections_max: u32) -> AnyPoolOptions {
    install_drivers();
    AnyPoolOptions::new()
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
pub(crate) fn sync_folder_of(file: &Path) -> std::io::Result<()> {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => File::open(folder)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use sqlx::{SqliteConnection, sqlite::SqliteConnectOptions};

    use super::*;
    use crate::Store;

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
        store.writing().execute("INSERT INTO tenant (name) VALUES ('x')").await.unwrap();
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
        for pool in [store.writing(), store.readers()] {
            let journal: String = query_scalar("PRAGMA journal_mode").fetch_one(pool).await.unwrap();
            let synchronous: i64 = query_scalar("PRAGMA synchronous").fetch_one(pool).await.unwrap();
            let foreign_keys: i64 = query_scalar("PRAGMA foreign_keys").fetch_one(pool).await.unwrap();
            assert_eq!((journal.as_str(), synchronous, foreign_keys), ("wal", 2, 1));
        }
        let refused = store.readers().execute("INSERT INTO tenant (name) VALUES ('x')").await.unwrap_err();
        assert!(refused.to_string().contains("readonly"), "{refused}");
        assert_eq!(store.writing().options().get_max_connections(), 1);
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
            ("newer", "has schema 99, but this program knows schemas up to 9"),
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
        store.writing().execute("PRAGMA busy_timeout = 0").await.unwrap();
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
        // At the start, if it looks at a page that is hit; at the latest when the page is needed.
        let error = match Store::open(&file).await {
            Ok(store) => store.keys().await.err().unwrap(),
            Err(error) => error,
        };
        assert!(matches!(error, StoreError::Corrupt { .. }), "{error}");
    }

    #[tokio::test]
    async fn a_full_disk_is_reported_and_loses_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).await.unwrap();
        // A limit on pages gives the very code that a full disk gives.
        store.writing().execute("PRAGMA max_page_count = 1").await.unwrap();
        let mut error = None;
        for number in 0..1000 {
            let name = format!("{number}{}", "x".repeat(1000));
            let insert = sqlx::query("INSERT INTO tenant (name) VALUES ($1)").bind(name);
            if let Err(refused) = insert.execute(store.writing()).await {
                error = Some(store.failed(refused));
                break;
            }
        }
        assert!(matches!(error, Some(StoreError::DiskFull { .. })), "{error:?}");
        let whole: String = query_scalar("PRAGMA integrity_check").fetch_one(store.readers()).await.unwrap();
        assert_eq!(whole, "ok");
    }
}
