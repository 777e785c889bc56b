use std::{convert::Infallible, net::SocketAddr, path::PathBuf};

use axum::{
    extract::Extension,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use futures::{StreamExt, stream};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UnixListener},
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};

use super::*;
use crate::{
    Names,
    body::JsonBody,
    error::ApiError,
    limits::BODY_BYTES_MAX,
    routes::{enclosed, with_fallbacks},
};

/// No test waits longer than this.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server on real sockets, with routes made for a test.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    local: PathBuf,
    shutdown: Option<oneshot::Sender<()>>,
    cut: JoinHandle<usize>,
    _folder: tempfile::TempDir,
}

impl Running {
    pub(crate) async fn start(routes: Router) -> Self {
        Self::with_grace(routes, Duration::ZERO).await
    }

    async fn with_grace(routes: Router, grace: Duration) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let local = folder.path().join("socket");
        let doors = Doors {
            tcp: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            tls: None,
            names: Names::new("127.0.0.1:0".parse().unwrap(), &["x".to_owned()]),
            metadata_in_address: false,
            local: UnixListener::bind(&local).unwrap(),
        };
        let address = doors.tcp.local_addr().unwrap();
        let open = OpenAnswers::default();
        let tcp = enclosed(with_fallbacks(routes), &open, &doors.names);
        let server = Server::new(Routers { local: tcp.clone(), tcp }, open, None);
        let (shutdown, closing) = oneshot::channel();
        let closing = async move {
            let _ = closing.await;
        };
        let cut = tokio::spawn(server.run(doors, closing, grace));
        Self { address, local, shutdown: Some(shutdown), cut, _folder: folder }
    }

    fn shut_down(&mut self) {
        self.shutdown.take().unwrap().send(()).unwrap();
    }

    /// How many connections were cut.
    async fn ended(self) -> usize {
        timeout(PATIENCE, self.cut).await.unwrap().unwrap()
    }

    /// Sends a request of one line and reads the answer to its end.
    async fn ask(&self, line: &str) -> String {
        let stream = TcpStream::connect(self.address).await.unwrap();
        exchange(stream, format!("{line} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").as_bytes()).await
    }
}

/// Sends the bytes and reads until the server closes.
async fn exchange(mut stream: impl AsyncRead + AsyncWrite + Unpin, sent: &[u8]) -> String {
    let mut answer = Vec::new();
    let whole = async {
        stream.write_all(sent).await.unwrap();
        stream.read_to_end(&mut answer).await.unwrap();
    };
    timeout(PATIENCE, whole).await.unwrap();
    String::from_utf8(answer).unwrap()
}

/// Reads until `part` has come.
async fn read_until(stream: &mut TcpStream, part: &str) -> String {
    let mut received = Vec::new();
    let reading = async {
        while !String::from_utf8_lossy(&received).contains(part) {
            assert_ne!(stream.read_buf(&mut received).await.unwrap(), 0, "closed before {part}");
        }
    };
    timeout(PATIENCE, reading).await.unwrap();
    String::from_utf8(received).unwrap()
}

fn contains_all(answer: &str, parts: &[&str]) {
    for part in parts {
        assert!(answer.contains(part), "no {part:?} in {answer}");
    }
}

/// What the tests ask for.
fn routes() -> Router {
    Router::new()
        .route("/hello/{name}", get(async || "hello"))
        .route("/door", get(async |Extension(door): Extension<Door>| format!("{door:?}")))
        .route("/refuse", get(async || ApiError::parameter("secret words", "secret words")))
        .route("/panic", get(async || -> Response { panic!("secret words") }))
        .route("/body", post(async |JsonBody(_): JsonBody<serde::de::IgnoredAny>| "read"))
}

#[tokio::test]
async fn every_answer_has_a_request_id_and_every_error_its_shape() {
    let server = Running::start(routes()).await;
    for (line, parts) in [
        ("GET /hello/you", &["HTTP/1.1 200", "hello"][..]),
        ("GET /nothing", &["HTTP/1.1 404", "\"code\":\"not_found\"", "\"type\":\"invalid_request_error\""]),
        ("PUT /hello/you", &["HTTP/1.1 405", "allow: GET,HEAD\r\n", "\"code\":\"method_not_allowed\""]),
        (
            "GET /refuse",
            &["HTTP/1.1 400", "\"param\":\"secret words\"", "content-type: application/json\r\n"],
        ),
        ("GET /panic", &["HTTP/1.1 500", "\"code\":\"internal_error\"", "\"type\":\"server_error\""]),
    ] {
        let answer = server.ask(line).await;
        contains_all(&answer, parts);
        let (_, id) = answer.split_once("x-request-id: ").unwrap();
        let id = &id[..32];
        assert!(id.bytes().all(|b| b.is_ascii_hexdigit()), "{id}");
        if answer.contains("\"error\"") {
            contains_all(&answer, &[&format!("\"request_id\":\"{id}\"")]);
            assert!(!line.contains("panic") || !answer.contains("secret words"));
        }
    }
}

#[tokio::test]
async fn the_door_is_known() {
    let server = Running::start(routes()).await;
    assert!(server.ask("GET /door").await.contains("Tcp { encrypted: false, peer: Some(127.0.0.1) }"));
    let local = UnixStream::connect(&server.local).await.unwrap();
    let uid = local.peer_cred().unwrap().uid();
    let answer = exchange(local, b"GET /door HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.ends_with(&format!("Local {{ uid: {uid} }}")), "{answer}");
}

#[tokio::test]
async fn bounds_are_answered_not_reset() {
    let server = Running::start(routes()).await;
    let connect = || async { TcpStream::connect(server.address).await.unwrap() };
    let headers = "x: 1\r\n".repeat(HEADERS_MAX + 1);
    let many = exchange(connect().await, format!("GET / HTTP/1.1\r\n{headers}\r\n").as_bytes()).await;
    contains_all(&many, &["HTTP/1.1 431"]);
    let long = format!("GET / HTTP/1.1\r\nx: {}\r\n\r\n", "x".repeat(HEADER_BYTES_MAX));
    contains_all(&exchange(connect().await, long.as_bytes()).await, &["HTTP/1.1 431"]);
    contains_all(&exchange(connect().await, b"nonsense\r\n\r\n").await, &["HTTP/1.1 400"]);

    let head = "POST /body HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    let mut declared = format!("{head}content-length: {}\r\n\r\n", 2 * BODY_BYTES_MAX).into_bytes();
    declared.resize(declared.len() + 2 * BODY_BYTES_MAX, b' ');
    contains_all(&exchange(connect().await, &declared).await, &["HTTP/1.1 413", "body_too_large"]);
    let mut chunked =
        format!("{head}transfer-encoding: chunked\r\n\r\n{:x}\r\n", 2 * BODY_BYTES_MAX).into_bytes();
    chunked.resize(chunked.len() + 2 * BODY_BYTES_MAX, b' ');
    chunked.extend_from_slice(b"\r\n0\r\n\r\n");
    contains_all(&exchange(connect().await, &chunked).await, &["HTTP/1.1 413", "body_too_large"]);
    let waiting = format!("{head}expect: 100-continue\r\ncontent-length: {}\r\n\r\n", 2 * BODY_BYTES_MAX);
    contains_all(&exchange(connect().await, waiting.as_bytes()).await, &["HTTP/1.1 413"]);
}

#[tokio::test]
async fn a_connection_is_used_again() {
    let server = Running::start(routes()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    for _ in 0..3 {
        stream.write_all(b"GET /hello/you HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        read_until(&mut stream, "\r\n\r\nhello").await;
    }
}

/// A route whose answer consists of what the test sends, and goes on until the test drops the sender.
fn told() -> (Router, mpsc::UnboundedSender<&'static str>) {
    let (sender, receiver) = mpsc::unbounded_channel();
    let receiver = std::sync::Arc::new(std::sync::Mutex::new(Some(receiver)));
    let handler = async move || {
        let receiver = receiver.lock().unwrap().take().unwrap();
        let pieces = stream::unfold(receiver, async |mut receiver: mpsc::UnboundedReceiver<&str>| {
            Some((receiver.recv().await?, receiver))
        });
        Body::from_stream(pieces.map(|piece| Ok::<_, Infallible>(Bytes::from(piece)))).into_response()
    };
    (routes().route("/told", get(handler)), sender)
}

#[tokio::test]
async fn each_piece_is_sent_at_once() {
    let (routes, tell) = told();
    let server = Running::start(routes).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /told HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    // The head goes out although there is nothing to say yet.
    read_until(&mut stream, "\r\n\r\n").await;
    for piece in ["one", "two"] {
        tell.send(piece).unwrap();
        read_until(&mut stream, piece).await;
    }
}

#[tokio::test]
async fn open_answers_finish_while_new_requests_are_answered() {
    let (routes, tell) = told();
    let mut server = Running::with_grace(routes, PATIENCE).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /told HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    server.shut_down();
    contains_all(&server.ask("GET /hello/you").await, &["HTTP/1.1 200"]);
    tell.send("late words").unwrap();
    drop(tell);
    read_until(&mut stream, "late words\r\n0\r\n\r\n").await;
    assert_eq!(server.ended().await, 0);
    assert_eq!(idle.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut_and_counted() {
    let (routes, _tell) = told();
    let mut server = Running::with_grace(routes, Duration::from_millis(1)).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /told HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    read_until(&mut stream, "\r\n\r\n").await;
    server.shut_down();
    assert_eq!(server.ended().await, 1);
}

/// What the whole process logs.
#[derive(Clone, Default)]
struct Log(std::sync::Arc<std::sync::Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn one_log_line_per_request_and_no_content() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_max_level(tracing::Level::INFO)
        .with_writer(move || writer.clone())
        .finish();
    // The process's own and not this thread's: tracing remembers for all threads whether a line is wanted.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let server = Running::start(routes()).await;
    for (line, parts) in [
        (
            "GET /hello/secret",
            &["method=\"GET\"", "route=\"/hello/{name}\"", "status=200", "complete=true"][..],
        ),
        ("BREW /secret", &["method=\"other\"", "route=\"none\"", "status=404", "error=\"not_found\""]),
        ("GET /refuse", &["status=400", "error=\"invalid_parameter\""]),
        ("GET /panic", &["a handler panicked", "status=500", "error=\"internal_error\""]),
    ] {
        let answer = server.ask(line).await;
        let (_, id) = answer.split_once("x-request-id: ").unwrap();
        let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        let about: Vec<&str> = log.lines().filter(|line| line.contains(&id[..32])).collect();
        assert_eq!(about.iter().filter(|line| line.contains("duration_ms=")).count(), 1, "{about:?}");
        contains_all(&about.concat(), parts);
        assert!(!log.contains("secret"), "{log}");
    }
}
