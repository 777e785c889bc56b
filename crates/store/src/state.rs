use std::{path::Path, sync::Arc};

use futures::future::BoxFuture;
use sqlx::{AnyConnection, AnyPool};

use crate::{
    PostgresAddress, StoreError, Tombstone, database::Database, migrations::STATE, usage::Gathered,
    vault_keys,
};

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
    database: Database,
    pub(crate) used: Arc<Gathered>,
}

impl Store {
    /// Opens the database in `file`, or makes it (mode 0600, whatever the umask), and brings its schema up to date; what
    /// was there is backed up first, as `FILE.schema-N.backup`.
    ///
    /// A file that is not ours, or that a newer program wrote, is refused and stays as it is.
    pub async fn open(file: &Path) -> Result<Self, StoreError> {
        Ok(Self::over(Database::open_file(file, &STATE, false).await?))
    }

    /// The same with a database of `PostgreSQL`, which must exist and be empty or ours. Its backup is a schema
    /// `llmos_before_N` in the same database.
    ///
    /// # Errors
    /// [`StoreError::Unreachable`] also if another server uses the database.
    pub async fn open_postgres(address: &PostgresAddress) -> Result<Self, StoreError> {
        Ok(Self::over(Database::open_postgres(address, &STATE).await?))
    }

    fn over(database: Database) -> Self {
        Self { database, used: Arc::default() }
    }

    /// Waits for what was handed in, ends all connections and folds the write-ahead log into the file. Nothing is lost without it; after it the
    /// file alone is the whole state, and every other method fails.
    pub async fn close(&self) {
        self.write_usage().await;
        self.database.close().await;
    }

    /// Keys of the vault that were destroyed, as far as this database knows.
    pub async fn tombstones(&self) -> Result<Vec<Tombstone>, StoreError> {
        vault_keys::tombstones(self.readers()).await.map_err(|error| self.failed(error))
    }

    /// Takes note of keys that were destroyed. On the disk when this returns.
    pub async fn add_tombstones(&self, tombstones: Vec<Tombstone>) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move { vault_keys::add_tombstones(connection, &tombstones).await })
        })
        .await
    }

    /// Does `work`: all or nothing of it, on the disk when this returns.
    pub(crate) async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, sqlx::Result<T>> + Send + 'static,
    {
        self.database.write(work).await
    }

    /// Does `work` soon, and tells nobody.
    pub(crate) fn write_soon<F>(&self, work: F)
    where
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, sqlx::Result<()>> + Send + 'static,
    {
        self.database.write_soon(work);
    }

    /// The connection that writes, for tests.
    #[cfg(test)]
    pub(crate) fn writing(&self) -> &AnyPool {
        self.database.writing()
    }

    /// The connections that read.
    pub(crate) fn readers(&self) -> &AnyPool {
        self.database.readers()
    }

    /// What an error of the driver means here.
    pub(crate) fn failed(&self, error: sqlx::Error) -> StoreError {
        self.database.failed(error)
    }
}
