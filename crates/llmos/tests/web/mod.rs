//! A web server on this machine, with a certificate of its own, that answers as badly as it is told to.

use std::{
    fs,
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::{Arc, Mutex},
    thread,
};

use tokio_rustls::rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer},
};

use crate::harness::PATIENCE;

/// Longest head of a request that is read.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// What was asked for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) path: String,
    /// All of its head in lower case, but for the path.
    head: String,
}

/// Where an answer is written to, head and all.
pub(crate) type Out<'a> = &'a mut dyn Write;

/// A server. It ends with the test.
pub(crate) struct Web {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Web {
    /// Writes its certificate to `ca.pem` in the folder and answers in threads, until the test ends.
    pub(crate) fn start(
        folder: &Path,
        answer: impl Fn(&Request, Out<'_>) -> io::Result<()> + Send + Sync + 'static,
    ) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let mut authorities =
            fs::OpenOptions::new().create(true).append(true).open(folder.join("ca.pem")).unwrap();
        authorities.write_all(made.cert.pem().as_bytes()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = ServerConfig::builder().with_no_client_auth();
        let config = Arc::new(config.with_single_cert(vec![made.cert.der().clone()], key).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (requests.clone(), Arc::new(answer));
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, seen, answer) = (config.clone(), seen.clone(), answer.clone());
                // A client that was killed is no problem of the server.
                thread::spawn(move || {
                    stream.and_then(|stream| serve(stream, config, &seen, answer.as_ref()))
                });
            }
        });
        Self { address, requests }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// All that were asked so far.
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

impl Request {
    pub(crate) fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

fn serve(
    stream: TcpStream,
    config: Arc<ServerConfig>,
    seen: &Mutex<Vec<Request>>,
    answer: &(dyn Fn(&Request, Out<'_>) -> io::Result<()> + Send + Sync),
) -> io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let connection = ServerConnection::new(config).map_err(io::Error::other)?;
    let mut stream = StreamOwned::new(connection, stream);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(' ').nth(1).unwrap_or_default().to_owned();
    let request = Request { path, head: head.to_lowercase() };
    seen.lock().unwrap().push(request.clone());
    answer(&request, &mut stream)?;
    stream.conn.send_close_notify();
    stream.flush()
}

/// Sends a file, or the part of it that is asked for, if it is still the same.
pub(crate) fn send_file(
    request: &Request,
    out: Out<'_>,
    content: &[u8],
    etag: &str,
    fields: &str,
) -> io::Result<()> {
    let asked = request
        .field("range")
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok());
    let same = request.field("if-range").is_none_or(|known| known == etag);
    let length = content.len();
    let from = match asked {
        Some(from) if same => {
            write!(
                out,
                "HTTP/1.1 206 Partial Content\r\ncontent-range: bytes {from}-{}/{length}\r\n",
                length - 1
            )?;
            from
        }
        _ => {
            write!(out, "HTTP/1.1 200 OK\r\n")?;
            0
        }
    };
    write!(out, "{fields}etag: {etag}\r\ncontent-length: {}\r\n\r\n", length - from)?;
    out.write_all(&content[from..])
}

/// Sends a page.
pub(crate) fn send(out: Out<'_>, status: &str, fields: &str, body: &str) -> io::Result<()> {
    write!(out, "HTTP/1.1 {status}\r\n{fields}content-length: {}\r\n\r\n{body}", body.len())
}

/// Passes on so many bytes, then calls `then` once and goes on.
pub(crate) struct Pausing<'a, F> {
    pub(crate) out: Out<'a>,
    pub(crate) bytes_left: usize,
    pub(crate) then: Option<F>,
}

impl<F: FnOnce() -> io::Result<()>> Write for Pausing<'_, F> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes_left == 0
            && let Some(then) = self.then.take()
        {
            self.out.flush()?;
            then()?;
        }
        let now = if self.then.is_some() { bytes.len().min(self.bytes_left) } else { bytes.len() };
        let written = self.out.write(&bytes[..now])?;
        self.bytes_left = self.bytes_left.saturating_sub(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}
