//! Records of the audit log at a collector off the machine, on a real server: all of them, in order, whatever happens on the way.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod audited;
mod harness;
mod raw;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use audited::{chat, entries, key};
use harness::{MODEL, PATIENCE, Server, Site, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use tlog::{Checkpoint, VerifierKey, memory::MemoryLog, tree::leaf_hash};
use tokio_rustls::rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
};

const TOKEN: &str = "first-token-4711";

/// What a collector does with what comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mood {
    Takes,
    /// It takes it, and says that it drops one record of each batch.
    Drops,
    /// It refuses for good whatever has the record with this index.
    Refuses(u64),
    /// It has no time for a batch, and takes it when it comes again.
    PutsOff,
    /// It reads, and does not answer.
    Hangs,
    /// It ends every connection.
    Down,
}

/// What came: the header `authorization`, and the body.
#[derive(Debug, Clone)]
struct Got {
    authorization: String,
    text: String,
}

impl Got {
    fn records(&self) -> Vec<Value> {
        let body: Value = serde_json::from_str(&self.text).unwrap();
        body["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap().clone()
    }

    fn first(&self) -> u64 {
        index_of(&self.records()[0])
    }

    /// Nothing but records about forwarding is in it.
    fn is_own(&self) -> bool {
        self.records().iter().all(|record| attribute(record, "action").unwrap() == "audit_forward")
    }
}

struct Mind {
    mood: Mood,
    /// What it took.
    got: Vec<Got>,
    /// What it had no time for.
    put_off: Vec<Got>,
}

/// Takes logs over HTTPS as an OpenTelemetry collector does.
struct Collector {
    port: u16,
    certificate: String,
    mind: Arc<Mutex<Mind>>,
}

impl Collector {
    fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let certificate = made.cert.pem();
        let chain = vec![CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap()];
        let secret = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
        let config = ServerConfig::builder().with_no_client_auth().with_single_cert(chain, secret).unwrap();
        let (config, mind) =
            (Arc::new(config), Arc::new(Mutex::new(Mind { mood, got: Vec::new(), put_off: Vec::new() })));
        let collector = Self { port, certificate, mind };
        let mind = collector.mind.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (config, mind) = (config.clone(), mind.clone());
                thread::spawn(move || answer(stream.unwrap(), config, &mind));
            }
        });
        collector
    }

    fn mind(&self) -> MutexGuard<'_, Mind> {
        held(&self.mind)
    }

    fn feels(&self, mood: Mood) {
        self.mind().mood = mood;
    }

    fn got(&self) -> Vec<Got> {
        self.mind().got.clone()
    }

    /// Records that came, as they came.
    fn records(&self) -> Vec<Value> {
        self.got().iter().flat_map(Got::records).collect()
    }

    /// What those set who send to it.
    fn configure(&self, site: &Site) {
        fs::write(site.folder().join("ca.pem"), &self.certificate).unwrap();
        write_token(site, TOKEN);
        let top = "listen = '127.0.0.1:0'\ndata_dir = 'data'\n[outbound]\nprivate = ['127.0.0.0/8']\nca_file = 'ca.pem'\n";
        let url = format!("https://127.0.0.1:{}/v1/logs", self.port);
        let section = format!("[audit_collector]\nurl = '{url}'\ntoken_file = 'siem.token'\n");
        fs::write(site.folder().join("llmos.toml"), format!("{top}{section}{MODEL}")).unwrap();
    }
}

fn held(mind: &Mutex<Mind>) -> MutexGuard<'_, Mind> {
    mind.lock().unwrap_or_else(PoisonError::into_inner)
}

fn write_token(site: &Site, token: &str) {
    let (new, file) = (site.folder().join("siem.token.new"), site.folder().join("siem.token"));
    fs::write(&new, format!("{token}\n")).unwrap();
    fs::set_permissions(&new, fs::Permissions::from_mode(0o600)).unwrap();
    fs::rename(new, file).unwrap();
}

/// Answers one request. Who asks may be killed meanwhile.
fn answer(stream: TcpStream, config: Arc<ServerConfig>, mind: &Mutex<Mind>) -> Option<()> {
    if held(mind).mood == Mood::Down {
        return None;
    }
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    let mut reader = BufReader::new(StreamOwned::new(ServerConnection::new(config).ok()?, stream));
    let (mut length, mut authorization, mut first) = (0, String::new(), String::new());
    reader.read_line(&mut first).ok()?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        match line.trim_end().split_once(": ") {
            Some(("content-length", value)) => length = value.parse().ok()?,
            Some(("authorization", value)) => value.clone_into(&mut authorization),
            Some(("content-type", value)) => assert_eq!(value, "application/json"),
            Some(_) => {}
            None => break,
        }
    }
    assert_eq!(first, "POST /v1/logs HTTP/1.1\r\n");
    let mut text = vec![0; length];
    reader.read_exact(&mut text).ok()?;
    let got = Got { authorization, text: String::from_utf8(text).unwrap() };
    let mut mind = held(mind);
    let mood = mind.mood;
    let (status, body) = match mood {
        Mood::Refuses(index) if got.records().iter().any(|record| index_of(record) == index) => {
            ("400 Bad Request", r#"{"code":3,"message":"a field is too odd"}"#)
        }
        Mood::Drops => {
            ("200 OK", r#"{"partialSuccess":{"rejectedLogRecords":"1","errorMessage":"too old"}}"#)
        }
        Mood::PutsOff if mind.put_off.last().is_none_or(|last| last.first() != got.first()) => {
            ("429 Too Many Requests\r\nretry-after: 1", "{}")
        }
        _ => ("200 OK", "{}"),
    };
    match &status[..3] {
        "200" => mind.got.push(got),
        "429" => mind.put_off.push(got),
        _ => {}
    }
    drop(mind);
    if mood == Mood::Hangs {
        // Until whoever asks is gone.
        let _ = reader.read(&mut [0]);
        return None;
    }
    let head = format!(
        "HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let stream = reader.get_mut();
    stream.write_all(format!("{head}{body}").as_bytes()).ok()?;
    stream.conn.send_close_notify();
    stream.flush().ok()
}

/// An attribute: of numbers the digits.
fn attribute<'a>(record: &'a Value, name: &str) -> Option<&'a Value> {
    let attributes = record["attributes"].as_array().unwrap();
    let found = attributes.iter().find(|found| found["key"] == format!("llmos.audit.{name}"))?;
    found["value"].as_object().unwrap().values().next()
}

fn index_of(record: &Value) -> u64 {
    attribute(record, "index").unwrap().as_str().unwrap().parse().unwrap()
}

fn indexes(records: &[Value]) -> Vec<u64> {
    records.iter().map(index_of).collect()
}

fn stop(server: Server<'_>) {
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
}

/// How records arrive, as the server shows it.
fn shown(server: &Server<'_>) -> Value {
    server.json(&["audit", "checkpoint"])["collector"].clone()
}

/// Outcomes of the records about forwarding, the oldest first.
fn forwarded(server: &Server<'_>) -> Vec<String> {
    let found = server.records(&["--action", "audit_forward"]);
    found.iter().map(|found| found["record"]["outcome"].as_str().unwrap().to_owned()).collect()
}

fn log_of(site: &Site) -> Vec<Vec<u8>> {
    entries(&site.data_dir().join("audit"))
}

#[test]
fn every_record_leaves_the_machine_once_in_order_and_without_a_name() {
    let (site, collector, person) = (Site::new(), Collector::start(Mood::Takes), "Wilhelmina-4711");
    stop(site.serve(&[]));
    let before = log_of(&site).len();
    collector.configure(&site);
    let server = site.serve(&[]);
    let ann = key(&server, "clinic", person, &[]);
    assert_eq!(chat(&server, &ann.secret, &[], "Planted-Question-4711").status, 200);
    let refused = server.request("GET", "/metrics", &ann.secret, &[], None);
    assert_eq!(refused.status, 403, "{}", refused.body);
    wait_until("records arrive", || collector.records().len() > before);
    // A token that is replaced is used at once.
    write_token(&site, "second-token");
    server.json(&["shred", "--tenant", "clinic", "--subject", &format!("user:{person}"), "--yes"]);
    let log_key = server.json(&["audit", "key"])["key"].as_str().unwrap().parse::<VerifierKey>().unwrap();
    assert_eq!(forwarded(&server), ["begun"]);
    stop(server);

    let (got, records, log) = (collector.got(), collector.records(), log_of(&site));
    assert!(log.len() > before + 5, "{}", log.len());
    assert_eq!(indexes(&records), (0..log.len() as u64).collect::<Vec<_>>());
    for text in [person, ann.secret.rsplit('_').next().unwrap(), "Planted", TOKEN] {
        assert!(!got.iter().any(|got| got.text.contains(text)), "{text}");
    }
    assert_eq!(got[0].authorization, format!("Bearer {TOKEN}"));
    assert_eq!(got.last().unwrap().authorization, "Bearer second-token");

    // Whoever has what came can tell that nothing is missing, and that nothing else was in the log.
    let (mut tree, mut vouched) = (MemoryLog::new(), 0);
    for (record, entry) in records.iter().zip(&log) {
        let body = record["body"]["stringValue"].as_str().unwrap().as_bytes();
        assert_eq!(body, entry);
        assert_eq!(attribute(record, "leaf_hash").unwrap(), &json!(leaf_hash(body).to_string()));
        tree.push(body).unwrap();
        if let Some(note) = attribute(record, "checkpoint") {
            let checkpoint = Checkpoint::open(note.as_str().unwrap().as_bytes(), &log_key).unwrap();
            assert_eq!((checkpoint.size(), checkpoint.root()), (tree.size(), tree.root()));
            vouched = tree.size();
        }
    }
    assert_eq!(vouched, log.len() as u64, "the last one is vouched for");
    let refusals: Vec<_> = records.iter().filter(|record| record["severityText"] == "WARN").collect();
    assert_eq!(refusals.len(), 1, "{refusals:?}");
    assert_eq!(attribute(refusals[0], "action").unwrap(), "read_metrics");
    assert_eq!(attribute(refusals[0], "decision").unwrap(), "deny");

    // What has arrived does not come again.
    stop(site.serve(&[]));
    assert_eq!(indexes(&collector.records()), (0..log_of(&site).len() as u64).collect::<Vec<_>>());
}

/// It is said once, shown and recorded, and all is there in the end: at most the batch twice that was under way when the server was killed.
#[test]
fn a_collector_that_is_gone_stops_nothing_and_gets_all_in_the_end() {
    let (site, collector) = (Site::new(), Collector::start(Mood::Down));
    collector.configure(&site);
    let server = site.serve(&[]);
    let owner = server.key().to_owned();
    assert_eq!(server.chat(&owner, "hi").status, 200);
    wait_until("it shows that nothing arrives", || shown(&server)["error"].is_string());
    let status = shown(&server);
    assert!(status["sent"] == 0 && status["behind"].as_u64() > Some(3), "{status}");
    assert!(site.run(&["audit", "checkpoint"]).stderr.contains("of the records yet"));
    let bearer = format!("host: localhost\r\nauthorization: Bearer {owner}\r\n");
    let (_, _, metrics) = raw::send(&server, &raw::line("GET", "/metrics", &bearer));
    assert!(metrics.contains("llmos_audit_collector_behind{place=\"https://127.0.0.1"), "{metrics}");
    assert_eq!(forwarded(&server), ["begun", "failed"]);

    collector.feels(Mood::Takes);
    wait_until("it goes on", || shown(&server)["error"].is_null());
    wait_until("that is recorded", || forwarded(&server) == ["begun", "failed", "recovered"]);
    assert_eq!(site.log().matches("no record of the audit log arrives at the collector").count(), 1);

    // It has the batch, and the server is killed before it hears that.
    let before = {
        let mut mind = collector.mind();
        mind.mood = Mood::Hangs;
        mind.got.len()
    };
    assert_eq!(server.chat(&owner, "hi again").status, 200);
    wait_until("a batch hangs", || collector.got().len() > before);
    server.signal(Signal::KILL);
    drop(server);
    collector.feels(Mood::Takes);
    let server = site.serve(&[]);
    assert_eq!(server.chat(&owner, "and on").status, 200);
    stop(server);

    let got = collector.got();
    let hanging = &got[before];
    let once: Vec<_> = [&got[..before], &got[before + 1..]].concat().iter().flat_map(Got::records).collect();
    let log = log_of(&site);
    assert_eq!(indexes(&once), (0..log.len() as u64).collect::<Vec<_>>());
    for (record, entry) in once.iter().zip(&log) {
        assert_eq!(record["body"]["stringValue"].as_str().unwrap().as_bytes(), entry);
    }
    for record in hanging.records() {
        assert_eq!(record["body"], once[usize::try_from(index_of(&record)).unwrap()]["body"]);
    }
}

/// Else one record about it would follow the other for ever where nothing else happens.
#[test]
fn that_a_record_about_forwarding_has_to_wait_is_not_recorded() {
    let (site, collector) = (Site::new(), Collector::start(Mood::PutsOff));
    collector.configure(&site);
    let server = site.serve(&[]);
    wait_until("a record about forwarding has waited and is there", || {
        let mind = collector.mind();
        let waited = mind.put_off.iter().find(|put_off| put_off.is_own()).map(Got::first);
        waited.is_some_and(|waited| mind.got.iter().any(|got| got.first() == waited))
    });
    collector.feels(Mood::Takes);
    stop(server);
    let recorded = log_of(&site)
        .iter()
        .filter(|entry| {
            let record: Value = serde_json::from_slice(entry).unwrap();
            record["action"] == "audit_forward" && record["outcome"] == "failed"
        })
        .count();
    let others = collector.mind().put_off.iter().filter(|put_off| !put_off.is_own()).count();
    assert!((1..=others).contains(&recorded), "{recorded} recorded, and {others} of other records waited");
    assert_eq!(indexes(&collector.records()), (0..log_of(&site).len() as u64).collect::<Vec<_>>());
}

#[test]
fn what_a_collector_refuses_for_good_is_left_out_said_and_recorded() {
    let (site, collector) = (Site::new(), Collector::start(Mood::Refuses(3)));
    let server = site.serve(&[]);
    let owner = server.key().to_owned();
    for _ in 0..5 {
        assert_eq!(server.chat(&owner, "hi").status, 200);
    }
    stop(server);
    collector.configure(&site);
    let server = site.serve(&[]);
    wait_until("the refusal is recorded", || forwarded(&server) == ["begun", "refused"]);
    let facts = server.records(&["--action", "audit_forward"])[1]["record"]["facts"].clone();
    assert!(
        facts["index"] == "3" && facts["why"].as_str().unwrap().contains("a field is too odd"),
        "{facts}"
    );
    assert!(site.log().contains("refuses a record of the audit log"), "{}", site.log());
    let status = shown(&server);
    assert!(status["refused"] == 1 && status["error"].is_null(), "{status}");

    // What it drops by its own word is said once, too, and not sent again.
    collector.feels(Mood::Drops);
    wait_until("that is recorded", || forwarded(&server) == ["begun", "refused", "refused"]);
    collector.feels(Mood::Takes);
    stop(server);
    let expected: Vec<u64> = (0..log_of(&site).len() as u64).filter(|index| *index != 3).collect();
    assert_eq!(indexes(&collector.records()), expected);
}
