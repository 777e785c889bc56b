//! Connections: accepted at both doors under bounds, kept while they are used, and ended in good order.

use std::{io, time::Duration};

use axum::{Router, body::Body};
use hyper::{Request, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::{JoinError, JoinSet},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

use crate::{
    Doors,
    credential::Door,
    exchange::OpenAnswers,
    limits::{
        ACCEPT_RETRY, FLUSH, HANDSHAKE_TIMEOUT, HEADER_BYTES_MAX, HEADER_READ_TIMEOUT, HEADERS_MAX,
        LOCAL_CONNECTIONS_MAX, TCP_CONNECTIONS_MAX,
    },
    routes::Routers,
};

/// Both doors and what happens behind them.
pub(crate) struct Server {
    routers: Routers,
    open: OpenAnswers,
    http: http1::Builder,
    graceful: GracefulShutdown,
    tls: Option<TlsAcceptor>,
    tcp: JoinSet<()>,
    local: JoinSet<()>,
}

impl Server {
    pub(crate) fn new(routers: Routers, open: OpenAnswers, tls: Option<TlsAcceptor>) -> Self {
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new())
            .header_read_timeout(HEADER_READ_TIMEOUT)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEADER_BYTES_MAX);
        Self {
            routers,
            open,
            http,
            graceful: GracefulShutdown::new(),
            tls,
            tcp: JoinSet::new(),
            local: JoinSet::new(),
        }
    }

    /// Serves until `closing` resolves and then until no answer is open, or `grace` is over. Returns how many
    /// connections had to be cut.
    pub(crate) async fn run(
        mut self,
        doors: Doors,
        closing: impl Future<Output = ()>,
        grace: Duration,
    ) -> usize {
        self.accept(&doors, closing).await;
        let deadline = Instant::now() + grace;
        let none_left = self.open.clone();
        // New requests still get an answer, which says that the server closes.
        let drained = async move {
            let _ = timeout_at(deadline, none_left.none_left()).await;
        };
        self.accept(&doors, drained).await;
        drop(doors);
        self.finish(deadline).await
    }

    /// Takes connections until `until` resolves.
    async fn accept(&mut self, doors: &Doors, until: impl Future<Output = ()>) {
        tokio::pin!(until);
        loop {
            tokio::select! {
                () = &mut until => return,
                accepted = doors.tcp.accept(), if self.tcp.len() < TCP_CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => self.welcome_tcp(stream),
                    Err(error) => pause(&error).await,
                },
                accepted = doors.local.accept(), if self.local.len() < LOCAL_CONNECTIONS_MAX => match accepted {
                    Ok((stream, _)) => self.welcome_local(stream),
                    Err(error) => pause(&error).await,
                },
                Some(ended) = self.tcp.join_next() => note(ended),
                Some(ended) = self.local.join_next() => note(ended),
            }
        }
    }

    fn welcome_tcp(&mut self, stream: TcpStream) {
        // Without it a token could wait for the acknowledgement of the one before.
        if stream.set_nodelay(true).is_err() {
            return; // The peer is gone already.
        }
        let router = self.routers.tcp.clone();
        let peer = stream.peer_addr().ok().map(|peer| peer.ip());
        let Some(tls) = self.tls.clone() else {
            let connection = self.connection(stream, Door::Tcp { encrypted: false, peer }, router);
            self.tcp.spawn(connection);
            return;
        };
        let (http, watcher) = (self.http.clone(), self.graceful.watcher());
        self.tcp.spawn(async move {
            match timeout(HANDSHAKE_TIMEOUT, tls.accept(stream)).await {
                Ok(Ok(stream)) => {
                    serve_one(&http, watcher, stream, Door::Tcp { encrypted: true, peer }, router).await;
                }
                Ok(Err(error)) => tracing::debug!(%error, "a caller does not speak TLS 1.3 as we do"),
                Err(_) => tracing::debug!("a caller did not finish the handshake in time"),
            }
        });
    }

    fn welcome_local(&mut self, stream: UnixStream) {
        match stream.peer_cred() {
            Ok(peer) => {
                let door = Door::Local { uid: peer.uid() };
                let connection = self.connection(stream, door, self.routers.local.clone());
                self.local.spawn(connection);
            }
            Err(error) => tracing::warn!(%error, "a peer of the local socket has no name; it was sent away"),
        }
    }

    /// Serves one connection to its end.
    fn connection<S>(&self, stream: S, door: Door, router: Router) -> impl Future<Output = ()> + Send + use<S>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (http, watcher) = (self.http.clone(), self.graceful.watcher());
        async move { serve_one(&http, watcher, stream, door, router).await }
    }

    /// Ends idle connections, lets the last bytes leave, and cuts what is still open.
    async fn finish(mut self, deadline: Instant) -> usize {
        let flushed = deadline.max(Instant::now() + FLUSH);
        let _ = timeout_at(flushed, self.graceful.shutdown()).await;
        let mut cut = 0;
        for connections in [&mut self.tcp, &mut self.local] {
            connections.abort_all();
            while let Some(ended) = connections.join_next().await {
                cut += usize::from(ended.as_ref().is_err_and(JoinError::is_cancelled));
                note(ended);
            }
        }
        cut
    }
}

/// Serves one connection to its end.
async fn serve_one<S>(http: &http1::Builder, watcher: Watcher, stream: S, door: Door, router: Router)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(door);
        router.clone().oneshot(request.map(Body::new))
    });
    let connection = http.serve_connection(TokioIo::new(stream), service);
    // Callers come and go; what became of their request is in its log line.
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended with an error");
    }
}

/// What a panic carries may contain what was asked: only that it happened is logged.
fn note(ended: Result<(), JoinError>) {
    if ended.is_err_and(|error| error.is_panic()) {
        tracing::error!("a connection panicked");
    }
}

/// Waits before the next attempt: an error here usually means that there are no file descriptors left.
async fn pause(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    sleep(ACCEPT_RETRY).await;
}

#[cfg(test)]
pub(crate) mod tests;
