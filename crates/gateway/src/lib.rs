//! Protocols in, protocols out: what comes over HTTP becomes a [`types::GenerateRequest`], and [`types::Event`]s
//! become what the caller's client understands.
//!
//! **Does**: connections, bounds on what callers send, parsing, errors in the protocol's shape, streaming, one log
//! line per request. **Never** contains a step of the path: a handler makes a credential of what the caller shows
//! and calls [`path::Path`], which decides. Never logs what was asked or answered.
//!
//! The three things to know: [`serve`] with its [`Doors`]; the table of routes in `routes.rs`; the codecs of
//! OpenAI's protocol in `openai/`. A request goes `server` → `exchange` → a handler of `routes` → its codec →
//! [`path::Path::serve`] → `openai/answer` or `openai/stream`.

#![forbid(unsafe_code)]

mod admin;
mod admin_audit;
pub mod admin_audit_types;
mod admin_plans;
mod admin_policies;
pub mod admin_types;
mod admin_usage;
pub mod admin_usage_types;
mod admin_vault;
mod auth;
mod body;
pub mod codec;
mod credential;
mod described;
mod error;
mod exchange;
mod health;
mod json;
mod limits;
mod names;
mod openai;
mod request_id;
mod routes;
mod scim;
mod server;
pub mod sign_in_types;
mod tls;
mod witness;

use std::{sync::Arc, time::Duration};

use crate::{exchange::OpenAnswers, server::Server};
pub use crate::{
    names::Names,
    tls::{Tls, TlsError, TlsKey},
};

/// Where the server listens.
pub struct Doors {
    /// The public API.
    pub tcp: tokio::net::TcpListener,
    /// Encrypts it. Without it, it is for loopback only.
    pub tls: Option<Tls>,
    /// By which names callers may address it.
    pub names: Names,
    /// Whether lists take texts to filter by in their addresses, as OpenAI's protocol has it. Else in a header only: proxies and
    /// browsers write addresses down.
    pub metadata_in_address: bool,
    /// The admin API, a 0600 socket in the data directory; the public API answers there too.
    pub local: tokio::net::UnixListener,
}

/// Serves until `shutdown` resolves, then lets open answers finish for at most `grace`. While they do, new requests
/// are still answered: with 503 by the path, which is closed first.
///
/// Returns how many connections had to be cut.
pub async fn serve(
    path: Arc<path::Path>,
    mut doors: Doors,
    shutdown: impl Future<Output = ()> + Send + 'static,
    grace: Duration,
) -> usize {
    let open = OpenAnswers::default();
    let listen = doors.tcp.local_addr().map_or_else(|_| "unknown".to_owned(), |address| address.to_string());
    let routers = routes::routers(&path, &listen, &open, &doors);
    let tls = doors.tls.take();
    let acceptor = tls.as_ref().map(Tls::acceptor);
    let following = tls.map(|tls| tokio::spawn(tls.follow()));
    let closing = async move {
        shutdown.await;
        path.close();
    };
    let cut = Server::new(routers, open, acceptor).run(doors, closing, grace).await;
    if let Some(following) = following {
        following.abort();
    }
    cut
}
