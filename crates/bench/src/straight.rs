//! `llmos-bench-straight`: the codec of chat completions wired straight to the mock driver. Suite `access` of `llmos-bench`
//! measures what a request costs llmos beside what it costs here: nobody is asked who they are, what they may do and what they
//! may use, nothing is counted, and nothing is logged.
//!
//! Prints where it listens, as `llmos serve --json` does, and serves until it is ended.
#![forbid(unsafe_code)]

use std::{
    error::Error,
    io::{self, Write},
    net::Ipv4Addr,
    process::ExitCode,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use anyhow::{Context, Result, anyhow};
use engine::{Driver, Stepped, Turns, Work};
use gateway::codec::Chat;
use http::{Request, Response};
use http_body_util::{BodyExt, Limited};
use hyper::{
    body::{Body, Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use simulator::MockLaunch;
use tokio::net::{TcpListener, TcpStream};
use types::{DataClass, ModelName, Principal, PriorityClass, SequenceId, TenantId, Tokens, UserId};

/// KV memory of the mock, in tokens: as much as it has in llmos.
const CONTEXT: Tokens = Tokens(4_096);
/// Largest body.
const BODY_BYTES_MAX: usize = 1 << 20;

/// What all connections share.
struct Straight {
    driver: Stepped,
    model: ModelName,
    sequences: AtomicU64,
}

fn main() -> ExitCode {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    match runtime.context("no runtime").and_then(|runtime| runtime.block_on(serve())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nobody reads a closed stderr.
            let _ = writeln!(io::stderr(), "error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let driver = Stepped::start("mock".to_owned(), Arc::new(MockLaunch::new(CONTEXT)), Turns::alone());
    let straight = Arc::new(Straight { driver, model: "bench".parse()?, sequences: AtomicU64::new(1) });
    writeln!(io::stdout(), "{{\"address\":\"http://{}\",\"key\":null}}", listener.local_addr()?)?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(connection(straight.clone(), stream));
    }
}

async fn connection(straight: Arc<Straight>, stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let service = service_fn(move |request| {
        let straight = straight.clone();
        async move { straight.answer(request).await.map_err(|error| error.to_string()) }
    });
    Ok(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await?)
}

impl Straight {
    /// Whatever is asked is taken for a chat.
    async fn answer(
        &self,
        request: Request<Incoming>,
    ) -> Result<Response<impl Body<Data = Bytes, Error: Error + Send + Sync> + use<>>> {
        let (head, body) = request.into_parts();
        let body = Limited::new(body, BODY_BYTES_MAX).collect().await.map_err(|error| anyhow!(error))?;
        let (chat, request) = Chat::read(&body.to_bytes(), &head.headers).map_err(|error| anyhow!(error))?;
        let work = Work {
            id: SequenceId(self.sequences.fetch_add(1, Ordering::Relaxed)),
            request: Arc::new(request),
            principal: anybody(),
        };
        let events = self.driver.generate(work).await?;
        chat.write(self.model.clone(), events).await.map_err(|error| anyhow!(error))
    }
}

fn anybody() -> Principal {
    Principal {
        class_max: PriorityClass::Interactive,
        data_class_max: DataClass::Restricted,
        ..Principal::least(TenantId(1), UserId(1))
    }
}
