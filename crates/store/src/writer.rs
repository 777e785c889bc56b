//! The one writer of a database. What several callers want written at the same time is committed as one: a commit waits
//! for the disk, and waiting once for many is what makes writing fast (group commit).

use std::sync::{Arc, OnceLock};

use futures::future::BoxFuture;
use sqlx::{AnyConnection, AnyPool, Executor};
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
    /// Does it, and keeps the result. If it fails, all that it has changed is undone.
    fn run<'c>(&'c mut self, connection: &'c mut AnyConnection) -> BoxFuture<'c, Result<(), StoreError>>;
    /// Tells the caller.
    fn answer(self: Box<Self>, committed: Result<(), StoreError>);
}

struct Pending<F, T> {
    name: Name,
    work: Option<F>,
    result: Option<Result<T, StoreError>>,
    caller: oneshot::Sender<Result<T, StoreError>>,
}

impl<F, T> Operation for Pending<F, T>
where
    T: Send + 'static,
    F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, sqlx::Result<T>> + Send,
{
    fn run<'c>(&'c mut self, connection: &'c mut AnyConnection) -> BoxFuture<'c, Result<(), StoreError>> {
        Box::pin(async move {
            let Some(work) = self.work.take() else { return Ok(()) };
            let result = work(connection).await.map_err(|error| self.name.error(error));
            self.result.insert(result).as_ref().map(|_| ()).map_err(StoreError::clone)
        })
    }

    fn answer(self: Box<Self>, committed: Result<(), StoreError>) {
        let answer = match (self.result, committed) {
            (Some(Err(error)), _) | (_, Err(error)) => Err(error),
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

    /// The same, but nobody waits. If there is no room, a task of its own waits for some.
    pub(crate) fn write_soon<F>(&self, name: &Name, work: F)
    where
        F: for<'c> FnOnce(&'c mut AnyConnection) -> BoxFuture<'c, sqlx::Result<()>> + Send + 'static,
    {
        let (caller, answer) = oneshot::channel();
        let pending = Pending { name: name.clone(), work: Some(work), result: None, caller };
        if let Err(mpsc::error::TrySendError::Full(pending)) = self.queue.try_send(Box::new(pending)) {
            let queue = self.queue.clone();
            tokio::spawn(async move { queue.send(pending).await });
        }
        tokio::spawn(async move {
            if let Ok(Err(error)) = answer.await {
                tracing::error!("something that nobody waits for was not written: {error}");
            }
        });
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
            None => commit(&pool, &name, &mut batch).await,
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

/// Does all operations in one transaction. An error means that nothing was written, whoever failed. The transaction is not
/// the driver's, which loses count when the database itself undoes it, as it may when a disk is full.
async fn commit(pool: &AnyPool, name: &Name, batch: &mut [Box<dyn Operation>]) -> Result<(), StoreError> {
    let mut connection = pool.acquire().await.map_err(|error| name.error(error))?;
    let committed = attempt(&mut connection, name, batch).await;
    if committed.is_err() {
        // There may be nothing to undo any more.
        let _ = connection.execute("ROLLBACK").await;
    }
    committed
}

async fn attempt(
    connection: &mut AnyConnection,
    name: &Name,
    batch: &mut [Box<dyn Operation>],
) -> Result<(), StoreError> {
    let run = async |connection: &mut AnyConnection, sql: &'static str| {
        connection.execute(sql).await.map(drop).map_err(|error| name.error(error))
    };
    run(connection, name.begin()).await?;
    if let [alone] = batch {
        // Without a savepoint: what fails is undone with the transaction.
        alone.run(connection).await?;
        return run(connection, "COMMIT").await;
    }
    for operation in batch {
        run(connection, "SAVEPOINT operation").await?;
        if let Err(why) = operation.run(connection).await {
            run(connection, "ROLLBACK TO operation").await.map_err(|_| why)?;
        }
        run(connection, "RELEASE operation").await?;
    }
    run(connection, "COMMIT").await
}
