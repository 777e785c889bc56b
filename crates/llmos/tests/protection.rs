//! What `docs/security/rules.md#what-each-level-asks-for` promises, row by row, with something of each level planted in one server.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use harness::{MODEL, Server, Site};
use rustix::process::Signal;
use serde_json::{Value, json};

/// What a person wrote, and what is filed with it.
const PERSONAL: [&str; 2] = ["Planted-Xaverius-Diagnosis", "Planted-Metadata-Value"];
/// Names of a tenant and of two users in it.
const ACCOUNT: [&str; 3] = ["planted-clinic", "planted-ann", "planted-bob"];
/// The name of the model.
const OPERATION: &str = "mock";

struct Planted<'a> {
    site: &'a Site,
    server: Server<'a>,
    /// Keys of both users, of an administrator, of the owner.
    ann: String,
    bob: String,
    chief: String,
    owner: String,
    /// An answer that is stored for the first of them, and its text.
    stored: String,
    answer: String,
}

impl Planted<'_> {
    fn get(&self, key: &str, path: &str) -> u16 {
        self.server.request("GET", path, key, &[], None).status
    }

    fn stores(&self, class: &str) -> u16 {
        let class = format!("llmos-data-class: {class}");
        self.server
            .request("POST", "/v1/chat/completions", &self.ann, &[&class], Some(&conversation()))
            .status
    }
}

fn conversation() -> Value {
    json!({
        "model": OPERATION, "store": true, "temperature": 0, "max_tokens": 20, "metadata": { "case": PERSONAL[1] },
        "messages": [{ "role": "user", "content": PERSONAL[0] }],
    })
}

fn planted(site: &Site) -> Planted<'_> {
    let server = site.serve(&["--log-level", "trace"]);
    let key = |user: &str, role: &str| {
        let made = server.json(&[
            "keys", "create", "--label", "x", "--tenant", ACCOUNT[0], "--user", user, "--role", role,
        ]);
        made["secret"].as_str().unwrap().to_owned()
    };
    let (ann, bob, chief) =
        (key(ACCOUNT[1], "member"), key(ACCOUNT[2], "member"), key("chief", "administrator"));
    let owner = server.key().to_owned();
    let class = ["llmos-data-class: internal"];
    let answer = server.request("POST", "/v1/chat/completions", &ann, &class, Some(&conversation()));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let stored = answer.body["id"].as_str().unwrap().to_owned();
    let answer = answer.body["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    Planted { site, server, ann, bob, chief, owner, stored, answer }
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.is_file())
        .collect()
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn on_the_wire(planted: &Planted<'_>) {
    let refused = planted.site.run(&["serve", "--listen", "0.0.0.0:0", "--data-dir", "another"]);
    assert!(refused.code == Some(6) && refused.stderr.contains("tls.certificate"), "{}", refused.stderr);
    let listed = planted.server.request("GET", "/api/v1/keys", &planted.chief, &[], None).body.to_string();
    assert!(listed.contains(ACCOUNT[1]) && !listed.contains(&planted.ann), "a key is shown once");
}

fn at_rest(planted: &Planted<'_>) {
    let in_files = |text: &str| {
        let holders = files(&planted.site.data_dir());
        holders
            .into_iter()
            .filter(|file| fs::read(file).is_ok_and(|bytes| contains(&bytes, text)))
            .collect::<Vec<_>>()
    };
    let secrets = [&planted.ann, &planted.owner].map(|key| key.rsplit('_').next().unwrap());
    for text in secrets.into_iter().chain(PERSONAL).chain([planted.answer.as_str()]) {
        assert_eq!(in_files(text), Vec::<PathBuf>::new(), "{text}");
    }
    // The scan finds what is there: names of accounts are, in the database.
    let holders = in_files(ACCOUNT[1]);
    assert!(
        holders.iter().all(|file| file.file_name().unwrap().to_string_lossy().starts_with("llmos.db")),
        "{holders:?}"
    );
    assert!(!holders.is_empty());
    for file in files(&planted.site.data_dir()) {
        // A part of the audit log that has just grown has another name now.
        let Ok(metadata) = fs::metadata(&file) else { continue };
        assert_eq!(metadata.permissions().mode() & 0o077, 0, "{}", file.display());
    }
}

fn whole(planted: &Planted<'_>) {
    // Compared by hash: one letter less, or another one, is another secret. What is sealed: `vault` has the tests.
    let mut other = planted.ann.clone();
    let last = if other.pop() == Some('0') { '1' } else { '0' };
    assert_eq!(planted.get(&other, "/v1/models"), 401);
    assert_eq!(planted.get(&format!("{other}{last}"), "/v1/models"), 401);
    assert_eq!(planted.get(&planted.ann, "/v1/models"), 200);
}

fn kept(planted: &Planted<'_>) {
    assert_eq!(planted.stores("confidential"), 403, "its class is kept for no day");
    assert_eq!(planted.stores("internal"), 200);
    let usage = planted.server.json(&["usage"]).to_string();
    assert!(usage.contains(ACCOUNT[1]), "{usage}");
    let ids = planted.server.json(&["keys", "list"]);
    let of_bob = ids["keys"].as_array().unwrap().iter().find(|key| key["user"] == ACCOUNT[2]).unwrap();
    planted.server.json(&["keys", "revoke", of_bob["id"].as_str().unwrap()]);
    assert_eq!(planted.get(&planted.bob, "/v1/models"), 401);
}

fn in_logs(planted: &Planted<'_>) {
    let log = planted.site.log();
    for text in
        [&planted.ann, &planted.owner, &planted.answer].map(String::as_str).into_iter().chain(PERSONAL)
    {
        assert!(!log.contains(text), "{text}");
    }
    assert!(log.contains(OPERATION), "{log}");
}

fn read_by(planted: &Planted<'_>) {
    let stored = format!("/v1/chat/completions/{}", planted.stored);
    assert_eq!(
        [&planted.ann, &planted.bob, &planted.chief, &planted.owner].map(|key| planted.get(key, &stored)),
        [200, 404, 404, 404]
    );
    assert_eq!([&planted.bob, &planted.chief].map(|key| planted.get(key, "/api/v1/users")), [403, 200]);
    assert_eq!([&planted.bob, &planted.chief].map(|key| planted.get(key, "/api/v1/usage/1")), [403, 200]);
    assert_eq!([&planted.chief, &planted.owner].map(|key| planted.get(key, "/metrics")), [403, 200]);
}

fn in_urls(planted: &Planted<'_>) {
    for name in ["api_key", "key", "access_token"] {
        assert_eq!(planted.get("none", &format!("/v1/models?{name}={}", planted.ann)), 401, "{name}");
    }
    let list = "/v1/chat/completions";
    let refused = planted.get(&planted.ann, &format!("{list}?metadata[case]={}", PERSONAL[1]));
    assert_eq!(refused, 400, "what may be somebody's words is taken in a header only");
    let filter = format!("llmos-metadata: {}", json!({ "case": PERSONAL[1] }));
    let found = planted.server.request("GET", list, &planted.ann, &[&filter], None);
    assert_eq!((found.status, &found.body["data"][0]["id"]), (200, &json!(planted.stored)), "{}", found.body);
}

/// What a row asks for.
type Row = fn(&Planted<'_>);
/// In the order in which they are tried: what ends something comes late, and what must not be in the log or a file at the end.
const ROWS: [(&str, Row); 7] = [
    ("on the wire", on_the_wire),
    ("whole", whole),
    ("read by", read_by),
    ("in URLs", in_urls),
    ("kept", kept),
    ("in logs", in_logs),
    ("at rest", at_rest),
];

#[test]
fn each_level_is_protected_as_is_written_down() {
    let rules = include_str!("../../../docs/security/rules.md");
    let (_, section) = rules.split_once("## What each level asks for\n").unwrap();
    let section = section.split_once("\n## ").unwrap().0;
    let written = section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    let mut written: Vec<&str> = written.filter(|row| !row.starts_with('|')).collect();
    let known: BTreeMap<&str, Row> = ROWS.into();
    written.sort_unstable();
    assert_eq!(written, known.into_keys().collect::<Vec<_>>());
    let site = Site::with(&format!("{MODEL}[retention.chat_completions]\nconfidential_days = 0\n"));
    let planted = planted(&site);
    for (row, is_so) in ROWS {
        eprintln!("{row}");
        is_so(&planted);
    }
    planted.server.signal(Signal::TERM);
}
