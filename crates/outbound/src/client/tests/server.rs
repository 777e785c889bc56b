//! A TLS server on this machine that says whatever a test wants.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    time::sleep,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer},
        version::{TLS12, TLS13},
    },
};

/// Names that the server can prove to have.
const NAMES: [&str; 5] = ["localhost", "models.test", "cdn.test", "*.cdn.test", "127.0.0.1"];
/// Between two repetitions of [`Act::Repeat`].
const PAUSE: Duration = Duration::from_millis(10);
/// Longest request that a test sends.
const REQUEST_BYTES_MAX: usize = 16 << 10;

/// What the server does after it has read a request, one after the other. Behind the last it closes as it should.
#[derive(Clone)]
pub(super) enum Act {
    Send(Vec<u8>),
    /// Again and again, until the other side closes.
    Repeat(&'static [u8]),
    /// Nothing, until the other side closes.
    Wait,
    /// Closes without a word, as if the network had gone.
    Break,
}

pub(super) fn send(text: impl Into<Vec<u8>>) -> Vec<Act> {
    vec![Act::Send(text.into())]
}

/// A running server. It ends with the test's runtime.
pub(super) struct Server {
    pub(super) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    closed: mpsc::UnboundedReceiver<()>,
    authority: PathBuf,
    _folder: tempfile::TempDir,
}

impl Server {
    pub(super) async fn start(reply: impl Fn(&str) -> Vec<Act> + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = folder.path().join("authority.pem");
        let tls = acceptor(&authority);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (close, closed) = mpsc::unbounded_channel();
        let (reply, seen) = (Arc::new(reply), Arc::clone(&requests));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (tls, reply, seen, close) =
                    (tls.clone(), Arc::clone(&reply), Arc::clone(&seen), close.clone());
                tokio::spawn(async move {
                    serve(&tls, stream, &*reply, &seen).await;
                    let _ = close.send(());
                });
            }
        });
        Self { address, requests, closed, authority, _folder: folder }
    }

    /// The certificate of the authority that vouches for this server.
    pub(super) fn authority(&self) -> &Path {
        &self.authority
    }

    /// The requests that came since the last call.
    pub(super) fn requests(&self) -> Vec<String> {
        std::mem::take(&mut self.requests.lock().unwrap())
    }

    /// Waits until a connection is closed.
    pub(super) async fn closed(&mut self) {
        self.closed.recv().await.unwrap();
    }
}

/// One request and what is answered. A client that refuses us is one of the cases.
async fn serve(
    tls: &TlsAcceptor,
    stream: TcpStream,
    reply: &(dyn Fn(&str) -> Vec<Act> + Send + Sync),
    seen: &Mutex<Vec<String>>,
) {
    let Ok(mut stream) = tls.accept(stream).await else { return };
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        assert!(request.len() < REQUEST_BYTES_MAX);
        let Ok(byte) = stream.read_u8().await else { return };
        request.push(byte);
    }
    let head = String::from_utf8(request.clone()).unwrap();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse().ok());
    let mut body = vec![0; length.unwrap_or(0)];
    assert!(body.len() < REQUEST_BYTES_MAX);
    let Ok(_) = stream.read_exact(&mut body).await else { return };
    let request = String::from_utf8([request, body].concat()).unwrap();
    let acts = reply(&request);
    seen.lock().unwrap().push(request);
    for act in acts {
        let sent = match act {
            Act::Send(bytes) => {
                async {
                    stream.write_all(&bytes).await?;
                    stream.flush().await
                }
                .await
            }
            Act::Repeat(bytes) => loop {
                let written = async {
                    stream.write_all(bytes).await?;
                    stream.flush().await
                }
                .await;
                if written.is_err() {
                    break written;
                }
                sleep(PAUSE).await;
            },
            Act::Wait => stream.read_u8().await.map(|_| ()),
            Act::Break => return,
        };
        if sent.is_err() {
            return;
        }
    }
    let _ = stream.shutdown().await;
}

/// Makes an authority, whose certificate goes to `authority`, and a certificate of the server by it.
fn acceptor(authority: &Path) -> TlsAcceptor {
    let mut params = CertificateParams::new([]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().unwrap();
    std::fs::write(authority, params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let names = NAMES.map(str::to_owned).to_vec();
    let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    let certificate = CertificateDer::from(certificate.der().to_vec());
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], key)
        .unwrap();
    TlsAcceptor::from(Arc::new(config))
}
