//! The one writer of a database. What several callers want written at the same time is committed as one: a commit waits
//! for the disk, and waiting once for many is what makes writing fast (group commit).

use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use sqlx::{AnyConnection, AnyPool, Connection};
use tokio::sync::{mpsc, oneshot};

use crate::{StoreError, database::Name};

/// Most operations of one commit.
const BATCH_MAX: usize = 256;
/// Most operations that wait for the next commit; further callers wait before they are taken in.
const QUEUE_MAX: usize = 1024;

/// Where operations are handed in. Nobody is waited for: while one commit waits for the disk, the next batch gathers, so an
/// operation that comes alone is not delayed at all.
#[derive(Clone)]
pub(crate) struct Writer {
    queue: mpsc::Sender<Box<dyn Operation>>,
}

/// What one caller wants written.
trait Operation: Send {
    /// Does it, and keeps the result. False if it failed: then all that it has changed is undone.
    fn run<'c>(&'c mut self, connection: &'c mut AnyConnection) -> BoxFuture<'c, bool>;
    /// Tells the caller.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Pending<F, T> {
    name: Name,
    work: Option<F>,
    result: Option<sqlx::Result<T>>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Operation for Pending<F, T>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, sqlx::Result<T>> + Send,
{
    fn run<'c>(&'c mut self, connection: &'c mut AnyConnection) -> BoxFuture<'c, bool> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return false };
            self.result.insert(work(connection).await).is_ok()
        })
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (self.result, committed) {
            (Some(Err(error)), _) => Err(self.name.error(error)),
            (_, Err(error)) => Err(error),
            (Some(Ok(result)), Ok(())) => Ok(result),
            (None, Ok(())) => Err(self.name.error(sqlx::Error::WorkerCrashed)),
        };
        // A caller who has left does not hear it; what was written stays.
        let _ = self.caller.send(answer);
    }
}

impl Writer {
    /// A writer on the only connection of this pool. It ends when nobody can hand in anything any more.
    pub(crate) fn start(pool: AnyPool, name: Name) -> Self {
        let (queue, operations) = mpsc::channel(QUEUE_MAX);
        tokio::spawn(write_all(pool, name, operations));
        Self { queue }
    }

    /// Does `work` in a transaction, which may be shared with the work of others: all or nothing of it, and on the disk when
    /// this returns. It is done also if the caller leaves meanwhile.
    pub(crate) async fn write<T, F>(&self, name: &Name, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, sqlx::Result<T>> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let pending = Pending { name: name.clone(), work: Some(work), result: None, caller };
        // The writer is gone only if the runtime ends.
        let gone = |()| name.error(sqlx::Error::PoolClosed);
        self.queue.send(Box::new(pending)).await.map_err(|_| gone(()))?;
        answer.await.map_err(|_| gone(()))?
    }
}

async fn write_all(pool: AnyPool, name: Name, mut operations: mpsc::Receiver<Box<dyn Operation>>) {
    // Set once a sync has failed. What the system then holds in memory may be marked as written though it is not on the
    // disk, so the next sync could succeed and yet lose data (Rebello et al., "Can Applications Recover from fsync
    // Failures?", 2020). So nothing is written until the server was started anew and has read from the disk.
    let broken: Arc<OnceLock<StoreError>> = Arc::default();
    let mut batch = Vec::with_capacity(BATCH_MAX);
    while operations.recv_many(&mut batch, BATCH_MAX).await > 0 {
        let committed = match broken.get() {
            Some(error) => Err(error.clone()),
            None => commit(&pool, &mut batch).await.map_err(|error| name.error(error)),
        };
        if let Err(error @ StoreError::SyncFailed { .. }) = &committed
            && broken.set(error.clone()).is_ok()
        {
            tracing::error!("{error}");
        }
        for operation in batch.drain(..) {
            operation.answer(committed.clone());
        }
    }
}

async fn commit(pool: &AnyPool, batch: &mut [Box<dyn Operation>]) -> sqlx::Result<()> {
    let mut connection = pool.acquire().await?;
    // SQLite takes the write lock first, so that what is read here still holds when it is acted upon. PostgreSQL has no
    // other writer: the server holds a lock on the database.
    let begin = if connection.backend_name() == "SQLite" { "BEGIN IMMEDIATE" } else { "BEGIN" };
    let mut transaction = connection.begin_with(begin).await?;
    if let [alone] = batch {
        // Without a savepoint: what fails is undone with the transaction.
        return if alone.run(&mut transaction).await {
            transaction.commit().await
        } else {
            transaction.rollback().await
        };
    }
    for operation in batch {
        let mut savepoint = transaction.begin().await?;
        if operation.run(&mut savepoint).await {
            savepoint.commit().await?;
        } else {
            savepoint.rollback().await?;
        }
    }
    transaction.commit().await
}
