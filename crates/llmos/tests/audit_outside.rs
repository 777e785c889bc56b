//! Checkpoints of the audit log off the machine, on real servers: one countersigns the log of the other over HTTPS, and an older
//! copy that is put back is found.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;
mod raw;

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::{DirBuilderExt, PermissionsExt},
    path::Path,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use audit::{LogFiles, VerifierKey, Witness, WitnessKey};
use harness::{MODEL, PATIENCE, Server, Site, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use tlog::{
    Checkpoint, Signer,
    check::{Problem, Trust, check},
    cosignature,
    memory::MemoryLog,
    note::Note,
    proof::LogProof,
    witness::AddCheckpoint,
};
use tokio_rustls::rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use types::Secret;
use vault::{Root, SecretFile};

/// Trusts the certificate in `ca.pem`, and reaches this machine.
const OUTBOUND: &str =
    "[outbound]\nprivate = ['127.0.0.0/8']\nca_file = 'ca.pem'\n[audit]\npush_every_s = 1\n";
const TLS: &str = "[tls]\ncertificate = 'server.pem'\nkey = 'server.key'\n";

fn configure(site: &Site, configuration: &str) {
    let top = "listen = '127.0.0.1:0'\ndata_dir = 'data'\n";
    fs::write(site.folder().join("llmos.toml"), format!("{top}{configuration}{MODEL}")).unwrap();
}

fn folder_anchor(folder: &Path) -> String {
    format!("[[audit_anchor]]\nfolder = '{}'\n", folder.display())
}

fn seed(port: u16) -> [u8; 32] {
    let mut seed = [7; 32];
    seed[..2].copy_from_slice(&port.to_be_bytes());
    seed
}

/// The public key of a witness with this seed.
fn key_of(seed: &[u8; 32]) -> WitnessKey {
    let folder = tempfile::tempdir().unwrap();
    let root = Root::of_text(&Secret::from("0123456789abcdef".repeat(4))).unwrap();
    let file = SecretFile::under(root, &folder.path().join("witness.key"));
    file.make(&Secret::from(seed.to_vec())).unwrap();
    Witness::key_in(&folder.path().join("witness"), &file).unwrap()
}

/// A server that countersigns, on a port of its own, which it keeps over restarts.
struct Countersigner {
    site: Site,
    port: u16,
    certificate: String,
}

impl Countersigner {
    fn of(logs: &[&str]) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let logs: Vec<String> =
            logs.iter().map(|key| format!("[[witnessed_log]]\nkey = '{key}'\n")).collect();
        let logs = logs.concat();
        let site = Site::with(&format!("{TLS}{logs}{MODEL}"));
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let (certificate, key) = (made.cert.pem(), site.folder().join("server.key"));
        fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        fs::write(site.folder().join("server.pem"), &certificate).unwrap();
        // A key from before keys were sealed: the server takes it over.
        fs::DirBuilder::new().mode(0o700).create(site.data_dir()).unwrap();
        fs::create_dir(site.data_dir().join("witness")).unwrap();
        fs::write(site.data_dir().join("witness.key"), seed(port)).unwrap();
        Self { site, port, certificate }
    }

    fn serve(&self) -> Server<'_> {
        let server = self.site.serve_unready(&["--listen", &format!("127.0.0.1:{}", self.port)]);
        wait_until("the witness answers", || self.ask(b"nonsense").is_some_and(|(status, _)| status == 400));
        server
    }

    fn key(&self) -> WitnessKey {
        key_of(&seed(self.port))
    }

    /// What those set who want to be countersigned.
    fn anchor(&self, site: &Site) -> String {
        fs::write(site.folder().join("ca.pem"), &self.certificate).unwrap();
        let (port, key) = (self.port, self.key());
        format!("[[audit_anchor]]\nwitness = 'https://127.0.0.1:{port}/witness/v1'\nkey = '{key}'\n")
    }

    /// Asks as any client does, with the bytes of a body: status and body, if the answer comes whole.
    fn ask(&self, body: &[u8]) -> Option<(u16, String)> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.certificate.as_bytes()).unwrap()).unwrap();
        let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        let name = ServerName::try_from("127.0.0.1").unwrap();
        let client = ClientConnection::new(Arc::new(config), name).unwrap();
        let stream = TcpStream::connect(("127.0.0.1", self.port)).ok()?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut tls = StreamOwned::new(client, stream);
        let head = format!(
            "POST /witness/v1/add-checkpoint HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        tls.write_all(head.as_bytes()).and_then(|()| tls.write_all(body)).ok()?;
        let mut answer = String::new();
        tls.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }
}

fn checkpoint(server: &Server<'_>, key: &str) -> Value {
    let answer = server.request("GET", "/api/v1/audit/checkpoint", key, &[], None);
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body
}

/// Waits until all that is recorded by now is at every place; how it is there.
fn wait_until_outside(server: &Server<'_>, key: &str) -> Value {
    let size = checkpoint(server, key)["size"].as_u64().unwrap();
    let mut last = Value::Null;
    wait_until("every place has the checkpoint", || {
        last = checkpoint(server, key);
        let anchors = last["anchors"].as_array().unwrap();
        !anchors.is_empty()
            && anchors.iter().all(|at| at["size"].as_u64() >= Some(size) && at["error"].is_null())
    });
    last
}

/// Records of an action, the newest first.
fn records(server: &Server<'_>, key: &str, action: &str) -> Vec<Value> {
    let body = json!({ "action": action, "limit": 1000 });
    let answer = server.request("POST", "/api/v1/audit/records", key, &[], Some(&body));
    let records = answer.body["records"].as_array().unwrap();
    records.iter().map(|line| line["record"].clone()).collect()
}

fn stop(server: Server<'_>) {
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a", "-T"]).arg(from).arg(to).status().unwrap();
    assert!(copied.success());
}

/// Why a server does not start.
fn refused(site: &Site) -> String {
    let outcome = site.run(&["serve"]);
    assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
    outcome.stderr
}

#[test]
fn a_log_is_countersigned_elsewhere_and_an_older_copy_is_not_served() {
    let site = Site::new();
    let (owner, log_key) = {
        let server = site.serve(&[]);
        let owner = server.key().to_owned();
        let shown = checkpoint(&server, &owner);
        assert_eq!(shown["anchors"], json!([]));
        assert!(shown["warning"].as_str().unwrap().contains("older copy"), "{shown}");
        stop(server);
        (owner, shown["key"].as_str().unwrap().to_owned())
    };
    assert_eq!(site.log().matches("no checkpoint of the audit log is kept off this machine").count(), 1);

    let countersigner = Countersigner::of(&[&log_key]);
    let witness = countersigner.serve();
    let drop_folder = tempfile::tempdir().unwrap();
    let (by_witness, by_folder) = (countersigner.anchor(&site), folder_anchor(drop_folder.path()));
    configure(&site, &format!("{OUTBOUND}{by_witness}{by_folder}"));
    // Whoever is a witness says so beside the key of its own log, which stays alone where it is kept in a file.
    let told = countersigner.site.run(&["audit", "key"]);
    let own = countersigner.site.run(&["audit", "key", "--json"]).stdout;
    let own: Value = serde_json::from_str(&own).unwrap();
    assert_eq!(own["witness_key"], countersigner.key().to_string());
    assert_eq!(told.stdout, format!("{}\n", own["key"].as_str().unwrap()));
    assert!(
        told.stderr.contains(&format!("witness of other logs: {}", countersigner.key())),
        "{}",
        told.stderr
    );

    let server = site.serve(&[]);
    let told = site.run(&["audit", "key"]);
    assert!(told.stdout == format!("{log_key}\n") && !told.stderr.contains("witness"), "{}", told.stderr);
    let answer = server.chat(&owner, "hi");
    let shown = wait_until_outside(&server, &owner);
    assert!(shown["warning"].is_null() && shown["anchors"].as_array().unwrap().len() == 2, "{shown}");

    // A receipt carries the countersignature: two parties say that the record was there.
    let receipt = format!("/v1/receipts/{}", answer.body["id"].as_str().unwrap());
    let receipt = server.request("GET", &receipt, &owner, &[], None).body;
    let (verifier, witness_key) = (log_key.parse::<VerifierKey>().unwrap(), countersigner.key());
    for proved in receipt["entries"].as_array().unwrap() {
        let text = |field: &str| proved[field].as_str().unwrap().to_owned();
        let proof: LogProof = text("proof").parse().unwrap();
        proof.verify(text("entry").as_bytes(), &verifier).unwrap();
        cosignature::verify(&proof.checkpoint, &witness_key).unwrap();
    }
    let bearer = format!("host: localhost\r\nauthorization: Bearer {owner}\r\n");
    let (_, _, metrics) = raw::send(&server, &raw::line("GET", "/metrics", &bearer));
    assert!(metrics.contains("llmos_audit_outside_entries{place=\"https://127.0.0.1"), "{metrics}");

    // What is recorded last is outside, too, when the server has gone; and it can be verified there.
    stop(server);
    let latest = fs::read(drop_folder.path().join("latest")).unwrap();
    let kept = Checkpoint::open(&latest, &verifier).unwrap();
    let (log, older) = (site.data_dir().join("audit"), site.folder().join("older"));
    assert_eq!(fs::read(log.join("checkpoint")).unwrap(), latest);
    let trust = Trust { key: &verifier, kept: std::slice::from_ref(&kept), witnesses: &[] };
    assert!(check(&LogFiles::new(log.clone()), &trust).unwrap().is_valid());

    copy(&log, &older);
    let server = site.serve(&[]);
    server.chat(&owner, "hi again");
    wait_until_outside(&server, &owner);
    stop(server);
    let newer = Checkpoint::open(&fs::read(drop_folder.path().join("latest")).unwrap(), &verifier).unwrap();
    assert!(newer.size() > kept.size());
    fs::rename(&log, site.folder().join("newest")).unwrap();
    fs::rename(&older, &log).unwrap();
    // A place that knows nothing yet does not learn the older copy: it would refuse the log itself later.
    let fresh = tempfile::tempdir().unwrap();
    let with_fresh = format!("{}{by_witness}", folder_anchor(fresh.path()));
    for anchors in [&by_witness, &by_folder, &with_fresh] {
        configure(&site, &format!("{OUTBOUND}{anchors}"));
        let why = refused(&site);
        assert!(why.contains(&format!("it knows {} entries of this log", newer.size())), "{why}");
        assert!(why.contains("Somebody put an older copy back") && why.contains("it is evidence"), "{why}");
        assert!(why.contains("audit_rollback"), "{why}");
    }
    assert_eq!(fs::read_dir(fresh.path()).unwrap().count(), 0);
    // Who checks the folder with what was kept elsewhere sees it, too.
    let trust = Trust { key: &verifier, kept: std::slice::from_ref(&newer), witnesses: &[] };
    let report = check(&LogFiles::new(log.clone()), &trust).unwrap();
    let is_rollback =
        |problem: &Problem| matches!(problem, Problem::Rollback { kept, .. } if *kept == newer.size());
    assert!(report.problems.iter().any(is_rollback), "{:?}", report.problems);

    // Another log in this place is not served either: it may be one that was begun to hide this one.
    let another = Site::new();
    configure(&another, &format!("[audit]\npush_every_s = 1\n{by_folder}"));
    let why = refused(&another);
    assert!(why.contains("checkpoints of another log") && why.contains(verifier.name()), "{why}");

    // The newest copy is served again.
    fs::remove_dir_all(&log).unwrap();
    fs::rename(site.folder().join("newest"), &log).unwrap();
    configure(&site, &format!("{OUTBOUND}{by_witness}{by_folder}"));
    let server = site.serve(&[]);
    wait_until_outside(&server, &owner);
    drop(server);
    drop(witness);
}

/// An older copy, with records at its end that were not signed yet when it was made: nothing new vouches for it.
#[test]
fn nothing_is_signed_before_the_log_was_compared() {
    let site = Site::new();
    let places = tempfile::tempdir().unwrap();
    configure(&site, &format!("[audit]\npush_every_s = 1\n{}", folder_anchor(places.path())));
    let (log, older) = (site.data_dir().join("audit"), site.folder().join("older"));
    let checkpoint = log.join("checkpoint");
    let run = || {
        let server = site.serve(&[]);
        server.json(&["keys", "list"]);
        stop(server);
        fs::read(&checkpoint).unwrap()
    };
    let signed = run();
    assert_ne!(run(), signed);
    copy(&log, &older);
    fs::write(older.join("checkpoint"), &signed).unwrap();
    run();
    fs::rename(&log, site.folder().join("newest")).unwrap();
    fs::rename(&older, &log).unwrap();
    let pushed = fs::read_dir(places.path()).unwrap().count();
    let why = refused(&site);
    assert!(why.contains("it knows") && why.contains("Somebody put an older copy back"), "{why}");
    assert_eq!(fs::read(&checkpoint).unwrap(), signed);
    assert_eq!(fs::read_dir(places.path()).unwrap().count(), pushed);
}

/// Two servers with a copy of one log each: both sign what comes next, and one of them is found out.
#[test]
fn a_log_that_goes_on_twice_raises_an_alarm_and_is_still_served() {
    let site = Site::new();
    let (owner, log_key) = {
        let server = site.serve(&[]);
        let owner = server.key().to_owned();
        let key = checkpoint(&server, &owner)["key"].as_str().unwrap().to_owned();
        stop(server);
        (owner, key)
    };
    let countersigner = Countersigner::of(&[&log_key]);
    let _witness = countersigner.serve();
    let twin = Site::new();
    for site in [&site, &twin] {
        configure(site, &format!("{OUTBOUND}{}", countersigner.anchor(site)));
    }
    copy(&site.data_dir(), &twin.data_dir());
    let (one, other) = (site.serve(&[]), twin.serve(&[]));
    one.chat(&owner, "hi");
    one.chat(&owner, "hi again");
    let shown = wait_until_outside(&one, &owner);
    other.chat(&owner, "hello");
    wait_until("the alarm is raised", || twin.log().contains("audit_rollback"));
    wait_until("the alarm is recorded", || !records(&other, &owner, "audit_rollback").is_empty());
    assert_eq!(other.chat(&owner, "and on").status, 200);
    thread::sleep(Duration::from_secs(2));
    assert_eq!(twin.log().matches("alarm=\"audit_rollback\"").count(), 1, "{}", twin.log());
    assert!(shown["cosigned"].as_str().unwrap().contains(countersigner.key().name()));
}

/// Whatever moment a witness is killed at: what it has signed it still knows, and it signs nothing else of that size.
#[test]
fn a_witness_that_is_killed_signs_no_second_root() {
    let signer = || Signer::from_seed("example.com/log", zeroize::Zeroizing::new([7; 32])).unwrap();
    let key = signer().public().to_string();
    let countersigner = Countersigner::of(&[&key]);
    let request = |log: &MemoryLog, old: u64| {
        let note = log.checkpoint(&signer()).unwrap();
        let proof = tlog::tree::consistency_proof(old, log.size(), log).unwrap();
        let checkpoint = Note::parse(note.as_bytes()).unwrap();
        AddCheckpoint { old_size: old, proof, checkpoint }.to_string()
    };
    // What the witness knows, by its own word: of an empty log it says so.
    let known = |countersigner: &Countersigner| {
        let (status, body) = countersigner.ask(request(&MemoryLog::new(), 0).as_bytes()).unwrap();
        if status == 409 { body.trim().parse::<u64>().unwrap() } else { 0 }
    };
    let mut log = MemoryLog::new();
    log.push(b"first").unwrap();
    let mut cosigned = 0;
    for round in 0..5_u32 {
        let witness = countersigner.serve();
        let stopping = Arc::new(AtomicBool::new(false));
        let seen = known(&countersigner);
        assert!(seen >= cosigned && seen <= log.size(), "it knows {seen}, and has signed {cosigned}");
        if seen == log.size() {
            // The same size with another root, with all else that is right.
            let mut other = MemoryLog::new();
            for number in 0..seen {
                other.push(format!("other {number}").as_bytes()).unwrap();
            }
            let (status, body) = countersigner.ask(request(&other, seen).as_bytes()).unwrap();
            assert_eq!((status, body.as_str()), (409, format!("{seen}\n").as_str()));
        }
        cosigned = thread::scope(|scope| {
            let asking = scope.spawn(|| {
                let (mut old, mut last) = (seen, cosigned);
                while !stopping.load(Ordering::Relaxed) {
                    if old == log.size() {
                        log.push(format!("entry {old}").as_bytes()).unwrap();
                    }
                    match countersigner.ask(request(&log, old).as_bytes()) {
                        Some((200, _)) => (old, last) = (log.size(), log.size()),
                        Some((429, _)) => thread::sleep(Duration::from_millis(50)),
                        Some((status, body)) => panic!("{status}: {body}"),
                        // It was killed.
                        None => break,
                    }
                }
                last
            });
            let until = Instant::now() + Duration::from_millis(20 + 17 * u64::from(round));
            thread::sleep(until.saturating_duration_since(Instant::now()));
            witness.signal(Signal::KILL);
            stopping.store(true, Ordering::Relaxed);
            asking.join().unwrap()
        });
        drop(witness);
    }
    assert!(cosigned > 1, "it has signed something");
}

/// A small file system in memory, unmounted when dropped.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(folder: &'a Path) -> Option<Self> {
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", "size=64k", "none"]).arg(folder).output();
        mounted.is_ok_and(|output| output.status.success()).then_some(Self(folder))
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = Command::new("umount").args(["-l"]).arg(self.0).output();
    }
}

/// Unreachable, missing or full: it is said once, shown, recorded, and nothing else happens.
#[test]
fn a_place_that_takes_nothing_stops_nothing_and_is_said_once() {
    let site = Site::new();
    let places = tempfile::tempdir().unwrap();
    let (missing, full) = (places.path().join("missing"), places.path().join("full"));
    fs::create_dir(&full).unwrap();
    let mounted = Mounted::new(&full);
    let is_full = mounted.is_some();
    if is_full {
        // Nothing more goes in.
        let _ = fs::write(full.join("filling"), vec![0; 1 << 20]);
    } else {
        eprintln!("SKIPPED: a full folder (no small file system can be mounted here)");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    fs::write(site.folder().join("ca.pem"), rcgen::generate_simple_self_signed(vec![]).unwrap().cert.pem())
        .unwrap();
    let key = key_of(&seed(nobody));
    let witness = format!("[[audit_anchor]]\nwitness = 'https://127.0.0.1:{nobody}/w'\nkey = '{key}'\n");
    configure(&site, &format!("{OUTBOUND}{}{}{witness}", folder_anchor(&missing), folder_anchor(&full)));

    let server = site.serve(&[]);
    let owner = server.key().to_owned();
    assert_eq!(server.chat(&owner, "hi").status, 200);
    let shown = checkpoint(&server, &owner);
    let error = |at: usize| shown["anchors"][at]["error"].as_str().unwrap_or_default().to_owned();
    assert!(error(0).contains("no such folder") && error(2).contains("cannot reach"), "{shown}");
    assert_eq!(error(1).contains("No space left"), is_full, "{shown}");
    let failed = if is_full { 3 } else { 2 };
    assert_eq!(records(&server, &owner, "audit_push").len(), failed);

    // They are tried again: after five seconds, and not much later.
    fs::create_dir(&missing).unwrap();
    if is_full {
        fs::remove_file(full.join("filling")).unwrap();
    }
    wait_until("the places that were mended have it", || {
        let anchors = checkpoint(&server, &owner)["anchors"].clone();
        anchors[0]["error"].is_null() && anchors[1]["error"].is_null()
    });
    let recovered = |record: &&Value| record["outcome"] == "recovered";
    wait_until("that is recorded", || {
        records(&server, &owner, "audit_push").iter().filter(recovered).count() == failed - 1
    });
    assert_eq!(site.log().matches("no checkpoint of the audit log arrives there").count(), failed);
    stop(server);
    if is_full {
        assert!(full.join("latest").exists());
    }
}
