//! The public door over TLS, on the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;
mod raw;

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    sync::Arc,
};

use harness::{MODEL, PATIENCE, Server, Site};
use raw::{field, line, parsed};
use rcgen::{
    CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
    PKCS_RSA_SHA256, RsaKeySize,
};
use tokio_rustls::rustls::{
    CipherSuite, ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
    version::{TLS12, TLS13},
};

/// What binds browsers to TLS: for a year, and for all names below.
const HSTS: &str = "max-age=31536000; includeSubDomains";

/// A certificate of an authority of our own for a name; its files, and the authority's certificate.
fn certify(site: &Site, name: &str) -> CertificateDer<'static> {
    certify_with(site, name, &KeyPair::generate().unwrap())
}

fn certify_with(site: &Site, name: &str, signing_key: &KeyPair) -> CertificateDer<'static> {
    let made = CertificateParams::new([name.to_owned()]).unwrap().self_signed(signing_key).unwrap();
    let key = site.folder().join("server.key");
    fs::write(&key, signing_key.serialize_pem()).unwrap();
    fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(site.folder().join("server.pem"), made.pem()).unwrap();
    made.der().clone()
}

fn configuration() -> String {
    let names = "server_names = ['llm.example.org', 'new.example.org']\n";
    format!("{names}[tls]\ncertificate = 'server.pem'\nkey = 'server.key'\n{MODEL}")
}

/// Host and port.
fn address<'a>(server: &'a Server<'_>) -> &'a str {
    server.greeting["address"].as_str().unwrap().strip_prefix("https://").unwrap()
}

/// Asks over TLS; the suite that was agreed on and the answer, or why there is none.
fn ask(
    server: &Server<'_>,
    trusted: &CertificateDer<'static>,
    name: &str,
    version: &'static SupportedProtocolVersion,
    request: &str,
) -> Result<(CipherSuite, u16, String), String> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let mut provider = aws_lc_rs::default_provider();
    // The strongest last: who is asked decides.
    provider.cipher_suites.sort_by_key(|suite| suite.suite() == CipherSuite::TLS13_AES_256_GCM_SHA384);
    let config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[version])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name_of_server = ServerName::try_from(name.to_owned()).unwrap();
    let client = ClientConnection::new(Arc::new(config), name_of_server).unwrap();
    let stream = TcpStream::connect(address(server)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut tls = StreamOwned::new(client, stream);
    tls.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
    let mut answer = String::new();
    match tls.read_to_string(&mut answer) {
        Err(error) if answer.is_empty() => Err(error.to_string()),
        _ => {
            let (status, head, _) = parsed(&answer);
            Ok((tls.conn.negotiated_cipher_suite().unwrap().suite(), status, head))
        }
    }
}

/// How it does, by this name.
fn health(
    server: &Server<'_>,
    trusted: &CertificateDer<'static>,
    name: &str,
) -> Result<(CipherSuite, u16, String), String> {
    ask(server, trusted, name, &TLS13, &line("GET", "/healthz", &format!("host: {name}\r\n")))
}

#[test]
fn tls_is_of_version_1_3_and_its_certificate_is_replaced_on_the_running_server() {
    let site = Site::with(&configuration());
    let first = certify(&site, "llm.example.org");
    let server = site.serve_unready(&["--listen", "0.0.0.0:0"]);
    harness::wait_until("the server answers", || {
        health(&server, &first, "llm.example.org").is_ok_and(|answer| answer.1 == 200)
    });
    let (cipher, _, _) = health(&server, &first, "llm.example.org").unwrap();
    assert_eq!(
        cipher,
        CipherSuite::TLS13_AES_256_GCM_SHA384,
        "the strongest, whatever the client likes best"
    );
    let request = line("GET", "/healthz", "host: llm.example.org\r\n");
    assert!(ask(&server, &first, "llm.example.org", &TLS12, &request).is_err());

    // A file that is no certificate changes nothing; a new one is used.
    fs::write(site.folder().join("server.pem"), "nonsense").unwrap();
    harness::wait_until("the bad file is reported", || {
        site.log().contains("the certificate stays as it was")
    });
    assert_eq!(health(&server, &first, "llm.example.org").unwrap().1, 200);
    let second = certify(&site, "new.example.org");
    // Neither its bytes nor the time when it was written tell that it is private again.
    let mode = |mode| {
        let key = site.folder().join("server.key");
        fs::set_permissions(key, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
    };
    mode(0o644);
    harness::wait_until("it is reported that others can read the key", || {
        site.log().contains("others can read this key")
    });
    mode(0o600);
    harness::wait_until("the new certificate is used", || {
        health(&server, &second, "new.example.org").is_ok_and(|answer| answer.1 == 200)
    });
    assert!(health(&server, &first, "llm.example.org").is_err());
}

/// The key is nowhere in a file that opens without the root key, and is replaced as one in a file is.
#[test]
fn a_sealed_key_is_used_and_replaced_on_the_running_server() {
    let site = Site::with(&configuration().replace("'server.key'", "'vault:web'"));
    let sealed = |name: &str| {
        let certificate = certify(&site, name);
        let file = site.folder().join("server.key");
        let key = fs::read_to_string(&file).unwrap();
        fs::remove_file(file).unwrap();
        assert_eq!(site.run_with(&["vault", "seal-secret", "web"], &key, &[]).code, Some(0));
        certificate
    };
    let first = sealed("llm.example.org");
    let server = site.serve_unready(&["--listen", "0.0.0.0:0"]);
    harness::wait_until("the server answers", || {
        health(&server, &first, "llm.example.org").is_ok_and(|answer| answer.1 == 200)
    });
    assert_eq!(site.run(&["vault", "rotate"]).code, Some(0));
    let second = sealed("new.example.org");
    harness::wait_until("the new certificate is used", || {
        health(&server, &second, "new.example.org").is_ok_and(|answer| answer.1 == 200)
    });
    // One that is gone is reported, and the one before stays.
    assert_eq!(site.run(&["vault", "remove-secret", "web"]).code, Some(0));
    harness::wait_until("the missing key is reported", || site.log().contains("there is none of this name"));
    assert_eq!(health(&server, &second, "new.example.org").unwrap().1, 200);
}

/// Every kind of answer binds browsers to TLS; who comes without it learns nothing, not even where to go.
#[test]
fn a89_browsers_are_bound_to_tls_and_nobody_is_led_there() {
    let site = Site::with(&configuration());
    let trusted = certify(&site, "llm.example.org");
    let server = site.serve_unready(&["--listen", "127.0.0.1:0"]);
    let key = format!("authorization: Bearer {}\r\n", server.key());
    let own = "host: llm.example.org\r\n";
    for (target, headers, expected) in [
        ("/healthz", own.to_owned(), 200),
        ("/auth", own.to_owned(), 200),
        ("/auth/page.css", own.to_owned(), 200),
        ("/auth/callback/nobody", own.to_owned(), 401),
        ("/v1/models", own.to_owned(), 401),
        ("/v1/models", format!("{own}{key}"), 200),
        ("/v1/models?a=1&a=2", format!("{own}{key}"), 400),
        ("/v1/embeddings", format!("{own}{key}"), 405),
        ("/openapi.json", format!("{own}{key}"), 200),
        ("/nothing", format!("{own}{key}"), 404),
        ("/scim/v2/nobody/Users", format!("{own}{key}"), 404),
        ("/v1/models", "host: evil.test\r\n".to_owned(), 421),
        ("/v1/models", String::new(), 400),
        ("/v1/models", format!("{own}origin: https://evil.test\r\n"), 403),
    ] {
        let request = line("GET", target, &headers);
        let (_, status, head) = ask(&server, &trusted, "llm.example.org", &TLS13, &request).unwrap();
        assert_eq!(
            (status, field(&head, "strict-transport-security")),
            (expected, Some(&*HSTS.to_lowercase())),
            "{target} {head}"
        );
    }
    for target in ["/", "/auth", "/healthz", "/v1/models", "/auth/login/nobody"] {
        let mut plain = TcpStream::connect(address(&server)).unwrap();
        plain.set_read_timeout(Some(PATIENCE)).unwrap();
        plain.write_all(line("GET", target, &format!("{own}{key}")).as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = plain.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).to_lowercase();
        assert!(!answer.contains("http") && !answer.contains("location"), "{target}: {answer}");
    }
}

/// 128 bits of security and more, at the start and when the files are replaced.
#[test]
fn a_key_of_the_server_that_is_too_weak_is_refused() {
    let rsa = |size| KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap();
    let site = Site::with(&configuration());
    certify_with(&site, "llm.example.org", &rsa(RsaKeySize::_2048));
    let says = "server.pem: its RSA key has 2048 bits, and 3072 are the least; ask the authority for a certificate with an ECDSA";
    let refused = site.run(&["serve"]);
    assert!(refused.code == Some(6) && refused.stderr.contains(says), "{}", refused.stderr);
    // What the library itself does not load: RSA of 1024 bits, and a curve of less.
    for weak in [include_str!("fixtures/rsa-1024.pem"), include_str!("fixtures/p-224.pem")] {
        fs::write(site.folder().join("server.key"), weak).unwrap();
        let refused = site.run(&["serve"]);
        assert!(
            refused.code == Some(6) && refused.stderr.contains("server.key: TLS cannot use this key"),
            "{}",
            refused.stderr
        );
    }

    let strong = certify_with(&site, "llm.example.org", &rsa(RsaKeySize::_3072));
    let server = site.serve_unready(&["--listen", "127.0.0.1:0"]);
    harness::wait_until("the server answers", || {
        health(&server, &strong, "llm.example.org").is_ok_and(|answer| answer.1 == 200)
    });
    certify_with(&site, "llm.example.org", &rsa(RsaKeySize::_2048));
    harness::wait_until("the weak key is reported", || {
        site.log().contains("2048 bits, and 3072 are the least")
    });
    assert_eq!(health(&server, &strong, "llm.example.org").unwrap().1, 200, "the one before stays");
    for algorithm in [&PKCS_ECDSA_P256_SHA256, &PKCS_ECDSA_P384_SHA384, &PKCS_ED25519] {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let trusted = certify_with(&site, "llm.example.org", &key);
        harness::wait_until("another kind of key is used", || {
            health(&server, &trusted, "llm.example.org").is_ok_and(|answer| answer.1 == 200)
        });
    }
}

#[test]
fn certificates_that_cannot_be_used_are_named() {
    let with = |tls: &str| {
        let site = Site::with(&format!("[tls]\n{tls}\n{MODEL}"));
        certify(&site, "llm.example.org");
        site
    };
    let site = with("certificate = 'server.pem'\nkey = 'server.key'");
    let broken: [(&str, &dyn Fn(), &str); 4] = [
        (
            "key",
            &|| {
                let path = site.folder().join("server.key");
                fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o644)).unwrap();
            },
            "`chmod 600` makes it private",
        ),
        (
            "pair",
            &|| {
                let pem = fs::read(site.folder().join("server.pem")).unwrap();
                certify(&site, "other.example.org");
                fs::write(site.folder().join("server.pem"), pem).unwrap();
            },
            "does not go with the certificate",
        ),
        ("certificate", &|| fs::write(site.folder().join("server.pem"), "").unwrap(), "holds no certificate"),
        ("absent", &|| fs::remove_file(site.folder().join("server.pem")).unwrap(), "No such file"),
    ];
    for (what, breaks, says) in broken {
        certify(&site, "llm.example.org");
        breaks();
        let refused = site.run(&["serve"]);
        assert!(refused.code == Some(6) && refused.stderr.contains(says), "{what}: {}", refused.stderr);
    }
    let site = with("certificate = 'server.pem'");
    let refused = site.run(&["config", "check"]);
    assert!(refused.stderr.contains("`tls.key` is not; set both or none"), "{}", refused.stderr);
    let site = Site::with(&format!("server_names = ['https://llm.example.org']\n{MODEL}"));
    assert!(site.run(&["config", "check"]).stderr.contains("without scheme and port"));
}
