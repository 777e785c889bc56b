//! Secrets under the root key on the real binary: those that an operator brings, and those that the server makes for itself.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;
#[path = "../../store/tests/postgres/mod.rs"]
mod postgres;

use std::{fs, os::unix::fs::PermissionsExt};

use harness::{MODEL, Server, Site};
use postgres::Postgres;
use rustix::process::Signal;
use serde_json::json;
use vault::{RootFile, RootSource, Secrets, SecretsPlace};

/// Bytes of the pepper, and of the seed of the key of the log.
const OWN_BYTES: usize = 32;
const OWN: [&str; 2] = ["key.pepper", "audit.key"];

fn stop(server: Server<'_>) {
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
}

/// What the server's own files hold, with the root file of the site.
fn opened(site: &Site) -> Vec<Vec<u8>> {
    let data = site.data_dir();
    let root = RootSource::File(RootFile { path: data.join("root.pem"), passphrase: None });
    let secrets =
        Secrets::open(root, None, SecretsPlace::new(data.join("secrets"), Vec::new()), true).unwrap();
    let open = |name| secrets.own(&data.join(name)).read(OWN_BYTES).unwrap().unwrap().expose().to_vec();
    OWN.map(open).to_vec()
}

/// The roots that these files say they are under, in hexadecimal digits.
fn roots(site: &Site, names: &[&str]) -> Vec<String> {
    let root = |name: &&str| {
        let bytes = fs::read(site.data_dir().join(name)).unwrap();
        assert_eq!(&bytes[..4], b"LLMS", "{name} is not sealed");
        format!("{:032x}", u128::from_be_bytes(bytes[8..24].try_into().unwrap()))
    };
    names.iter().map(root).collect()
}

fn root(server: &Server<'_>) -> String {
    server.json(&["vault", "status"])["root"].as_str().unwrap().to_owned()
}

#[test]
fn what_the_server_makes_is_sealed_and_what_was_plain_is_taken_over() {
    let site = Site::new();
    let server = site.serve(&[]);
    let key = server.key().to_owned();
    assert_eq!(roots(&site, &OWN), [root(&server), root(&server)]);
    let log_key = server.json(&["audit", "key"]);
    stop(server);

    // As an older program has left them; and what it left when it was killed.
    let plain = opened(&site);
    for (name, bytes) in OWN.iter().zip(&plain) {
        fs::write(site.data_dir().join(name), bytes).unwrap();
        fs::write(site.data_dir().join(format!("{name}.12-0.new")), bytes).unwrap();
    }
    fs::remove_file(site.data_dir().join("audit.pub")).unwrap();
    let server = site.serve(&[]);
    assert_eq!(server.chat(&key, "hello").status, 200);
    assert_eq!(server.json(&["audit", "key"]), log_key);
    stop(server);
    roots(&site, &OWN);
    assert_eq!(opened(&site), plain);
    for entry in fs::read_dir(site.data_dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = fs::read(&path).unwrap();
            let holds = |secret: &Vec<u8>| bytes.windows(OWN_BYTES).any(|window| window == secret);
            assert!(!plain.iter().any(holds), "{} holds a secret", path.display());
        }
    }
    // Whoever checks the log needs no secret.
    let verified = site.run(&["audit", "verify"]);
    assert!(verified.code == Some(0) && verified.stdout.contains("VALID"), "{}", verified.stderr);

    // A new root, on the running server; and then from the file to the environment.
    let server = site.serve(&[]);
    let before = root(&server);
    server.json(&["vault", "rotate"]);
    assert_ne!(root(&server), before);
    assert_eq!(roots(&site, &OWN), [root(&server), root(&server)]);
    assert_eq!(server.chat(&key, "hello").status, 200);
    stop(server);
    assert_eq!(opened(&site), plain);
    let digits = "0123456789abcdef".repeat(4);
    let elsewhere = [("LLMOS_VAULT_ROOT", "environment"), ("LLMOS_ROOT_KEY", digits.as_str())];
    let refused = site.run_with(&["serve"], "", &elsewhere);
    assert!(refused.code != Some(0) && refused.stderr.contains("is under the root"), "{}", refused.stderr);
    let both = [&elsewhere[..], &[("LLMOS_VAULT_OLD_ROOT", "file:data/root.pem")]].concat();
    stop(site.serve_with(&[], &both));
    fs::remove_file(site.data_dir().join("root.pem")).unwrap();
    let server = site.serve_with(&[], &elsewhere);
    assert_eq!(server.chat(&key, "hello").status, 200);
    stop(server);

    // One under another root keeps the server from starting, and says what it is.
    fs::remove_file(site.data_dir().join("keys.db")).unwrap();
    let others = [("LLMOS_VAULT_ROOT", "environment"), ("LLMOS_ROOT_KEY", &"fedcba9876543210".repeat(4))];
    let refused = site.run_with(&["serve"], "", &others);
    assert!(
        refused.stderr.contains("audit.key") && refused.stderr.contains("old_root"),
        "{}",
        refused.stderr
    );
}

#[test]
fn secrets_are_sealed_listed_and_removed_and_never_shown() {
    let site = Site::new();
    let planted = "Planted-Secret-4711";
    assert_eq!(site.run(&["vault", "secrets"]).stdout, "");
    let sealed = site.run_with(&["vault", "seal-secret", "db", "--json"], &format!("{planted}\n"), &[]);
    assert_eq!(sealed.code, Some(0), "{}", sealed.stderr);
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&sealed.stdout).unwrap(),
        json!({"sealed": "db", "replaced": false})
    );
    let again = site.run_with(&["vault", "seal-secret", "db"], planted, &[]);
    assert!(again.stdout.contains("in the place of the one before"), "{}", again.stdout);
    let server = site.serve(&[]);
    assert_eq!(server.json(&["vault", "secrets"]), json!({"secrets": ["db"]}));
    assert_eq!(roots(&site, &["secrets/db"]), [root(&server)]);
    let file = fs::metadata(site.data_dir().join("secrets/db")).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    // Sealed beside the running server, and moved with its root.
    assert_eq!(site.run_with(&["vault", "seal-secret", "late"], planted, &[]).code, Some(0));
    server.json(&["vault", "rotate"]);
    assert_eq!(roots(&site, &["secrets/db", "secrets/late"]), [root(&server), root(&server)]);
    stop(server);
    assert!(!site.log().contains(planted));
    let holds = fs::read(site.data_dir().join("secrets/db")).unwrap();
    assert!(!holds.windows(planted.len()).any(|window| window == planted.as_bytes()));

    for (args, stdin, code, says) in [
        (&["vault", "seal-secret", "A b"][..], "x", 2, "1 to 64 of a-z"),
        (&["vault", "seal-secret", "empty"], " \n", 2, "no secret on stdin"),
        (&["vault", "seal-secret", "long"], &"x".repeat((64 << 10) + 1), 2, "more than 65536 bytes"),
        (
            &["vault", "seal-secret", "far", "--server", "https://llm.example.org"],
            "x",
            2,
            "on the machine of the server",
        ),
        (&["vault", "remove-secret", "nobody"], "", 5, "no secret `nobody`"),
    ] {
        let refused = site.run_with(args, stdin, &[]);
        assert!(refused.code == Some(code) && refused.stderr.contains(says), "{args:?}: {}", refused.stderr);
    }
    for name in ["db", "late"] {
        assert_eq!(site.run(&["vault", "remove-secret", name]).code, Some(0));
    }
    assert_eq!(site.run(&["vault", "secrets"]).stdout, "");
}

/// Each setting that can name a secret; what cannot be used keeps the server from starting, and is named.
#[test]
fn a_secret_that_cannot_be_used_is_named_with_its_setting() {
    let provider = "[[provider]]\nname = 'corp'\nissuer = 'https://login.example.org'\nclient_id = 'llmos'\n\
                    client_secret_file = 'vault:corp'\n";
    for (configuration, setting, name) in [
        ("[tls]\ncertificate = 'server.pem'\nkey = 'vault:web'\n", "`tls.key`", "web"),
        (provider, "`client_secret_file` of the provider `corp`", "corp"),
        (
            "[store]\npostgres = 'postgres:///llmos?host=/nowhere'\npostgres_password = 'vault:db'\n",
            "`store.postgres_password`",
            "db",
        ),
    ] {
        let site = Site::with(&format!("{configuration}{MODEL}"));
        let refused = |what: &str, says: &str| {
            let refused = site.run(&["serve"]);
            let told = [setting, &format!("`{name}`"), says].iter().all(|part| refused.stderr.contains(part));
            assert!(refused.code == Some(6) && told, "{what}: {}", refused.stderr);
        };
        refused("missing", &format!("llmos vault seal-secret {name} < FILE"));
        let root = ("LLMOS_ROOT_KEY", "0123456789abcdef".repeat(4));
        let elsewhere = [("LLMOS_VAULT_ROOT", "environment"), (root.0, root.1.as_str())];
        assert_eq!(site.run_with(&["vault", "seal-secret", name], "x", &elsewhere).code, Some(0));
        refused("under another root", "which is not configured");
        assert_eq!(site.run_with(&["vault", "seal-secret", name], "x", &[]).code, Some(0));
        let shown = site.run(&["config", "show"]).stdout;
        assert!(shown.contains(&format!("\"vault:{name}\"")), "{shown}");
        let file = site.data_dir().join("secrets").join(name);
        fs::write(&file, &fs::read(&file).unwrap()[1..]).unwrap();
        refused("damaged", "is damaged");
    }
    // A password in the place of a name is not repeated.
    let site = Site::with(&format!(
        "[store]\npostgres = 'postgres:///llmos'\npostgres_password = 's3cret'\n{MODEL}"
    ));
    let refused = site.run(&["serve"]).stderr;
    assert!(refused.contains("is not \"vault:NAME\"") && !refused.contains("s3cret"), "{refused}");
    let site = Site::with(&format!("[store]\npostgres_password = 'vault:db'\n{MODEL}"));
    assert!(site.run(&["config", "check"]).stderr.contains("`store.postgres` is not"));
}

#[test]
fn the_password_of_the_database_is_sealed() {
    let mut postgres = Postgres::start();
    let address = postgres.database("llmos");
    // It is no part of the address, so it may hold anything.
    let password = "Pl&nted P@ss/word=ü";
    postgres.demand(password);
    let store = format!("[store]\npostgres = '{address}'\npostgres_password = 'vault:db'\n");
    let site = Site::with(&format!("{store}{MODEL}"));
    for (what, sealed) in [("wrong", "another"), ("right", password)] {
        assert_eq!(site.run_with(&["vault", "seal-secret", "db"], sealed, &[]).code, Some(0));
        if what == "wrong" {
            let refused = site.run(&["serve"]);
            assert!(refused.stderr.contains("password authentication failed"), "{}", refused.stderr);
            assert!(!refused.stderr.contains(sealed), "{}", refused.stderr);
        }
    }
    let server = site.serve(&["--log-level", "trace"]);
    assert_eq!(server.chat(server.key(), "hello").status, 200);
    stop(server);
    let log = site.log();
    assert!(!log.contains("nted P") && !log.contains("nted+P") && !log.contains("nted%20P"), "{log}");
}
