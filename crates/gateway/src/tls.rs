//! The public door over TLS 1.3, with a certificate that can be replaced on the running server.

use std::{
    fmt,
    fs::{self, File},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use ::aws_lc_rs::rsa::PublicEncryptingKey;
use tokio::time::sleep;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig, SignatureAlgorithm,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
        server::{ClientHello, ResolvesServerCert},
        sign::{CertifiedKey, SigningKey},
        version::TLS13,
    },
};
use types::Secret;
use vault::NamedSecret;
use zeroize::Zeroizing;

/// Largest file of a certificate chain or a key.
const FILE_BYTES_MAX: u64 = 1 << 20;
/// Shortest RSA key.
const RSA_BITS_MIN: usize = 3072;
/// What is accepted.
const WHAT_TO_ASK_FOR: &str =
    "ask the authority for a certificate with an ECDSA key on P-256, or with an RSA key of 3072 bits";
/// How often the files are looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// The one protocol that is spoken.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{}: {why}", .file.display())]
pub struct TlsError {
    file: PathBuf,
    why: String,
}

/// Where the key of a certificate is, in PEM.
pub enum TlsKey {
    /// A file for its owner only.
    File(PathBuf),
    /// A secret that is sealed under the root key.
    Sealed(NamedSecret),
}

impl TlsKey {
    /// What changes when it is replaced.
    fn file(&self) -> &Path {
        match self {
            Self::File(file) => file,
            Self::Sealed(secret) => secret.file(),
        }
    }

    fn read(&self) -> Result<Secret, TlsError> {
        let wrong = |why: String| TlsError { file: self.file().to_owned(), why };
        match self {
            Self::File(file) => {
                let mode = fs::metadata(file).map_err(|error| wrong(error.to_string()))?.mode();
                if mode & 0o077 != 0 {
                    return Err(wrong("others can read this key; `chmod 600` makes it private".to_owned()));
                }
                Ok(Secret::from(std::mem::take(&mut *pem(file)?)))
            }
            Self::Sealed(secret) => secret.open().map_err(|error| wrong(error.to_string())),
        }
    }
}

/// A certificate chain and its key.
pub struct Tls {
    acceptor: TlsAcceptor,
    files: Arc<Files>,
}

/// The files, and what was last read of them.
struct Files {
    certificate: PathBuf,
    key: TlsKey,
    used: RwLock<Arc<CertifiedKey>>,
    /// Taken before they were read: what changes meanwhile is noticed.
    first_seen: [Mark; 2],
}

/// What tells a file, and who may read it, from what was there before.
type Mark = Option<(u64, (i64, i64), (i64, i64), u64)>;

impl Tls {
    /// Reads both. The key is for its owner only.
    ///
    /// # Errors
    /// Names the file and what is wrong with it; also if the two do not belong together.
    pub fn open(certificate: &Path, key: TlsKey) -> Result<Self, TlsError> {
        let first_seen = marks(certificate, &key);
        let used = RwLock::new(Arc::new(read(certificate, &key)?));
        let files = Arc::new(Files { certificate: certificate.to_owned(), key, used, first_seen });
        let unusable = |error: tokio_rustls::rustls::Error| TlsError {
            file: certificate.to_owned(),
            why: error.to_string(),
        };
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&TLS13])
            .map_err(unusable)?
            .with_no_client_auth()
            .with_cert_resolver(files.clone());
        // The strongest suite goes first, whatever a client likes best.
        config.ignore_client_order = true;
        config.alpn_protocols = vec![HTTP_1_1.to_vec()];
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), files })
    }

    /// Who accepts connections.
    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Uses the files anew whenever they have changed, for as long as the server lives. What cannot be used is reported, and
    /// the one before stays.
    pub(crate) async fn follow(self) {
        let mut seen = self.files.first_seen;
        loop {
            sleep(LOOK_INTERVAL).await;
            let now = marks(&self.files.certificate, &self.files.key);
            if now == seen {
                continue;
            }
            seen = now;
            match read(&self.files.certificate, &self.files.key) {
                Ok(certified) => {
                    *self.files.used.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(certified);
                    tracing::info!(file = %self.files.certificate.display(), "the certificate was replaced");
                }
                Err(error) => {
                    tracing::error!(
                        "the certificate stays as it was, as the new one cannot be used: {error}"
                    );
                }
            }
        }
    }
}

fn marks(certificate: &Path, key: &TlsKey) -> [Mark; 2] {
    [certificate, key.file()].map(|file| {
        let found = fs::metadata(file).ok()?;
        let (written, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
        Some((found.ino(), written, changed, found.len()))
    })
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Files {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.used.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn read(certificate: &Path, key: &TlsKey) -> Result<CertifiedKey, TlsError> {
    let wrong = |file: &Path, why: &str| TlsError { file: file.to_owned(), why: why.to_owned() };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&pem(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(certificate, &format!("it is no PEM file of certificates ({error})")))?;
    if chain.is_empty() {
        return Err(wrong(certificate, "it holds no certificate (`-----BEGIN CERTIFICATE-----`)"));
    }
    let file = key.file();
    let private = PrivateKeyDer::from_pem_slice(key.read()?.expose())
        .map_err(|_| wrong(file, "it holds no private key (`-----BEGIN PRIVATE KEY-----`)"))?;
    let provider = aws_lc_rs::default_provider();
    let signing = provider.key_provider.load_private_key(private.clone_key());
    let signing = signing
        .map_err(|error| wrong(file, &format!("TLS cannot use this key ({error}); {WHAT_TO_ASK_FOR}")))?;
    let certified = CertifiedKey::from_der(chain, private, &provider)
        .map_err(|error| wrong(file, &format!("it does not go with the certificate ({error})")))?;
    check_strength(signing.as_ref()).map_err(|why| wrong(certificate, &why))?;
    Ok(certified)
}

/// Refuses an RSA key of less than 128 bits of security (NIST SP 800-57, part 1, table 2). Of the other kinds that the library
/// takes (ECDSA on P-256, P-384 and P-521, and Ed25519) none has less.
fn check_strength(key: &dyn SigningKey) -> Result<(), String> {
    if key.algorithm() != SignatureAlgorithm::RSA {
        return Ok(());
    }
    let public = key.public_key().and_then(|public| PublicEncryptingKey::from_der(&public).ok());
    match public.map(|public| public.key_size_bits()) {
        Some(bits) if bits >= RSA_BITS_MIN => Ok(()),
        Some(bits) => {
            Err(format!("its RSA key has {bits} bits, and {RSA_BITS_MIN} are the least; {WHAT_TO_ASK_FOR}"))
        }
        None => Err(format!("it cannot be told how long its RSA key is; {WHAT_TO_ASK_FOR}")),
    }
}

fn pem(path: &Path) -> Result<Zeroizing<Vec<u8>>, TlsError> {
    let failed = |error: io::Error| TlsError { file: path.to_owned(), why: error.to_string() };
    // Before it is opened: opening a pipe waits for a writer.
    if !fs::metadata(path).map_err(failed)?.is_file() {
        return Err(TlsError { file: path.to_owned(), why: "it is not a file".to_owned() });
    }
    let mut text = Zeroizing::new(Vec::new());
    File::open(path).and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut text)).map_err(failed)?;
    Ok(text)
}
