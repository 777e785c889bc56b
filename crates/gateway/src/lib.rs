//! gateway (skeleton)
pub mod admin_types;

use std::{sync::Arc, time::Duration};

/// Where the server listens.
pub struct Doors {
    /// The public API, on loopback.
    pub tcp: tokio::net::TcpListener,
    /// The admin API, a 0600 socket in the data directory; the public API answers there too.
    pub local: tokio::net::UnixListener,
}

/// Serves until `shutdown` resolves, then lets open answers finish for at most `grace`.
/// Returns how many connections had to be cut.
pub async fn serve(
    _path: Arc<path::Path>,
    _doors: Doors,
    shutdown: impl Future<Output = ()> + Send + 'static,
    _grace: Duration,
) -> usize {
    shutdown.await;
    0
}
