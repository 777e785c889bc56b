//! By which certificates servers are believed to be who they are: the system's, and those of an authority of the
//! operator's own.

use std::{fs::File, io::Read, path::Path, sync::Arc};

use tokio_rustls::{
    TlsConnector,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, pem::PemObject},
        version::{TLS12, TLS13},
    },
};

use crate::OutboundError;

/// Largest file of certificates: a system's whole collection has about 230 kB.
const CA_FILE_BYTES_MAX: u64 = 4 << 20;
/// The one protocol that we speak.
const HTTP_1_1: &[u8] = b"http/1.1";

/// Makes secure connections, TLS 1.2 or 1.3, to whoever has a certificate of the system's authorities or of `ca_file`.
pub(crate) fn connector(ca_file: Option<&Path>) -> Result<TlsConnector, OutboundError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    // Some collections hold certificates that nobody can parse any more; the others count.
    let _ = roots.add_parsable_certificates(native.certs);
    if let Some(file) = ca_file {
        let refuse = |why| OutboundError::CaFile { file: file.to_owned(), why };
        for certificate in read(file).map_err(refuse)? {
            roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
        }
    }
    if roots.is_empty() {
        let why = native.errors.first().map_or_else(|| "none was found".to_owned(), ToString::to_string);
        return Err(OutboundError::NoTrust { why });
    }
    let mut config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|error| OutboundError::NoTrust { why: error.to_string() })?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![HTTP_1_1.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// All certificates of a PEM file, of which there is at least one.
fn read(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    // Before it is opened: opening a pipe waits for a writer.
    if !path.metadata().map_err(|error| error.to_string())?.is_file() {
        return Err("it is not a file".to_owned());
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut text = Vec::new();
    file.take(CA_FILE_BYTES_MAX + 1).read_to_end(&mut text).map_err(|error| error.to_string())?;
    if text.len() as u64 > CA_FILE_BYTES_MAX {
        return Err(format!("it is larger than {CA_FILE_BYTES_MAX} bytes"));
    }
    let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    // What exactly is wrong is not repeated: the parser's text quotes the file, which might be a key.
    let certificates = certificates.map_err(|_| "it is not PEM".to_owned())?;
    if certificates.is_empty() {
        return Err("there is no certificate in it".to_owned());
    }
    Ok(certificates)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_cannot_be_used_is_refused_with_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let wrong = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let broken = "-----BEGIN CERTIFICATE-----\n&&secret&&\n-----END CERTIFICATE-----\n";
        let cases = [
            ("empty", "", "no certificate in it"),
            ("page", "<html>secret</html>", "no certificate in it"),
            ("key", &key, "no certificate in it"),
            ("wrong", wrong, "invalid peer certificate"),
            ("broken", broken, "not PEM"),
            ("huge", &"#".repeat(CA_FILE_BYTES_MAX as usize + 1), "larger than"),
        ];
        for (name, content, says) in cases {
            let file = folder.path().join(name);
            fs::write(&file, content).unwrap();
            let error = connector(Some(&file)).err().unwrap().to_string();
            assert!(error.contains(says) && error.contains(name) && !error.contains("secret"), "{error}");
        }
        // Opening a pipe would wait for a writer that never comes.
        let pipe = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for (path, says) in [
            (pipe, "not a file"),
            (folder.path().to_owned(), "not a file"),
            (folder.path().join("none"), "No such file"),
        ] {
            let error = connector(Some(&path)).err().unwrap().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
