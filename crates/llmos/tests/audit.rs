//! The audit log of the real binary: what is in it, what is never in it, and what a stranger can prove with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;
mod raw;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::Command,
    thread::sleep,
    time::Duration,
};

use harness::{Answer, MODEL, Outcome, Server, Site, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use tlog::{Signer, bundle, memory::MemoryLog, tile::Tile};
use zeroize::Zeroizing;

/// Text that must not be found anywhere.
const PROMPT: &str = "Planted-Question-4711";
/// What would end a line, begin another one, turn it around or act on a terminal.
const HOSTILE: &str = "x\n{\"kind\":\"end\"}\r\n\u{2028}\u{202e}\u{1b}[2J";

struct Key {
    id: String,
    secret: String,
}

fn key(server: &Server<'_>, tenant: &str, user: &str, more: &[&str]) -> Key {
    let made = server
        .json(&[&["keys", "create", "--label", "k", "--tenant", tenant, "--user", user], more].concat());
    let text = |field: &str| made[field].as_str().unwrap().to_owned();
    Key { id: text("id"), secret: text("secret") }
}

fn chat(server: &Server<'_>, key: &str, headers: &[&str], prompt: &str) -> Answer {
    let body =
        json!({ "model": "mock", "max_tokens": 4, "messages": [{ "role": "user", "content": prompt }] });
    server.request("POST", "/v1/chat/completions", key, headers, Some(&body))
}

fn stop(server: Server<'_>) {
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
}

/// Runs `llmos-verify`, which is built beside `llmos`, with nothing but its arguments.
fn verify(folder: &Path, args: &[&str]) -> Outcome {
    let program = Path::new(env!("CARGO_BIN_EXE_llmos")).with_file_name("llmos-verify");
    assert!(program.exists(), "{} is not built; build the whole workspace", program.display());
    let output = Command::new(program).args(args).current_dir(folder).env_clear().output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The key of the log, in a file of the site.
fn save_key(site: &Site, server: &Server<'_>) {
    fs::write(site.folder().join("log.key"), server.json(&["audit", "key"])["key"].as_str().unwrap())
        .unwrap();
}

/// Every entry of a copy of a log.
fn entries(folder: &Path) -> Vec<Vec<u8>> {
    let note = fs::read_to_string(folder.join("checkpoint")).unwrap();
    let size = note.lines().nth(1).unwrap().parse().unwrap();
    let bundles = Tile::grown(0, size).filter(|tile| tile.to_string().starts_with("tile/entries/"));
    let read = |tile: Tile| {
        let bytes = fs::read(folder.join(tile.to_string())).unwrap();
        let entries = bundle::parse(&bytes, tile.width()).unwrap();
        entries.iter().map(|entry| entry.to_vec()).collect::<Vec<_>>()
    };
    bundles.flat_map(read).collect()
}

/// A copy of the whole log as it is now.
fn exported(site: &Site, server: &Server<'_>, name: &str) -> PathBuf {
    server.json(&["audit", "export", name]);
    site.folder().join(name)
}

#[test]
fn an_answer_is_proved_where_nobody_believes_the_server() {
    let site = Site::new();
    let server = site.serve(&[]);
    let ann = key(&server, "clinic", "ann", &[]);
    let bob = key(&server, "clinic", "bob", &[]);
    let auditor = key(&server, "clinic", "audrey", &["--role", "auditor"]);
    let stranger = key(&server, "lab", "audrey", &["--role", "auditor"]);
    let answer = chat(&server, &ann.secret, &["llmos-purpose: treatment"], PROMPT);
    // Known before the body, and the same in it.
    let id = answer.request_id().to_owned();
    assert_eq!(answer.body["id"], format!("chatcmpl-{id}"));

    let receipt = |key: &str, id: &str| server.request("GET", &format!("/v1/receipts/{id}"), key, &[], None);
    let own = receipt(&ann.secret, &id);
    assert_eq!(own.status, 200, "{}", own.body);
    let of_auditor = receipt(&auditor.secret, &format!("chatcmpl-{id}"));
    assert_eq!(of_auditor.status, 200, "{}", of_auditor.body);
    // Somebody else's is as one that nobody has.
    let refused = |key: &Key, id: &str| {
        let Answer { status, mut body, .. } = receipt(&key.secret, id);
        body["error"]["request_id"] = Value::Null;
        (status, body)
    };
    let nothing = refused(&bob, "0123456789abcdef0123456789abcdef");
    assert_eq!((nothing.0, &nothing.1["error"]["code"]), (404, &json!("receipt_not_found")));
    for (key, asked) in [(&bob, id.as_str()), (&stranger, &id), (&bob, "no-id"), (&auditor, "chatcmpl-")] {
        assert_eq!(refused(key, asked), nothing, "{asked}");
    }

    // The auditor reads the records of the tenant, and does nothing else; a member does not read them.
    let records = |key: &Key| {
        server.request("POST", "/api/v1/audit/records", &key.secret, &[], Some(&json!({ "request": id })))
    };
    let seen = records(&auditor).body;
    let kinds: Vec<_> =
        seen["records"].as_array().unwrap().iter().map(|found| &found["record"]["kind"]).collect();
    assert_eq!(kinds, [&json!("end"), &json!("begin")], "{seen}");
    assert_eq!(records(&stranger).body["records"], json!([]));
    assert_eq!((records(&ann).status, chat(&server, &auditor.secret, &[], "hi").status), (403, 403));

    save_key(&site, &server);
    let told = site.run(&["audit", "prove", &id, "--out", "receipt.json"]);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    let again = site.run(&["audit", "prove", &id, "--out", "receipt.json"]);
    assert!(again.code == Some(1) && again.stderr.contains("name a new file"), "{}", again.stderr);
    let valid = verify(site.folder(), &["receipt", "receipt.json", "--key", "log.key"]);
    assert_eq!(valid.code, Some(0), "{}{}", valid.stdout, valid.stderr);
    let (begins, ends) = (&of_auditor.body["entries"][0]["entry"], &of_auditor.body["entries"][1]["entry"]);
    let [begins, ends] =
        [begins, ends].map(|entry| serde_json::from_str::<Value>(entry.as_str().unwrap()).unwrap());
    assert_eq!((&begins["purpose"], &begins["policies"]), (&json!("treatment"), &json!(["role.member"])));
    assert_eq!((&ends["outcome"], &ends["model"]["name"]), (&json!("length"), &json!("mock")));
    assert_eq!(ends["used"]["output_tokens"], answer.body["usage"]["completion_tokens"]);
    assert_eq!(ends["used"]["input_tokens"], answer.body["usage"]["prompt_tokens"]);
    for shown in [id.as_str(), "\"treatment\"", "role.member", "VALID"] {
        assert!(valid.stdout.contains(shown), "{shown}: {}", valid.stdout);
    }

    // One changed byte, wherever it is (in the salt, it fits no answer any more); what a JSON parser does not see is no change.
    let whole = fs::read(site.folder().join("receipt.json")).unwrap();
    fs::write(site.folder().join("answer.json"), answer.body.to_string()).unwrap();
    let own: Value = serde_json::from_slice(&whole).unwrap();
    for place in (0..whole.len()).step_by(whole.len() / 40) {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        let same = serde_json::from_slice::<Value>(&changed).is_ok_and(|changed| changed == own);
        fs::write(site.folder().join("changed.json"), &changed).unwrap();
        let line = ["receipt", "changed.json", "--key", "log.key", "--answer", "answer.json"];
        let found = verify(site.folder(), &line);
        assert!(same || found.code == Some(1), "byte {place}: {}{}", found.stdout, found.stderr);
    }
    let elsewhere = Site::new();
    let other = elsewhere.serve(&[]);
    save_key(&elsewhere, &other);
    let key = elsewhere.folder().join("log.key");
    let found = verify(site.folder(), &["receipt", "receipt.json", "--key", key.to_str().unwrap()]);
    assert_eq!(found.code, Some(1), "of another log: {}", found.stdout);

    // A stored answer says what else was asked; its receipt is one, too.
    let body = json!({ "model": "mock", "max_tokens": 4, "store": true, "messages": [{ "role": "user", "content": "x" }] });
    let stored = server.request("POST", "/v1/chat/completions", &ann.secret, &[], Some(&body));
    assert_eq!(stored.status, 200, "{}", stored.body);
    server.json(&["audit", "prove", stored.request_id(), "--out", "stored.json"]);
    let valid = verify(site.folder(), &["receipt", "stored.json", "--key", "log.key"]);
    assert_eq!(valid.code, Some(0), "{}{}", valid.stdout, valid.stderr);
}

/// The log has neither question nor answer, and shows all the same which they were.
#[test]
fn what_a_model_was_told_and_said_is_proved_too() {
    let site = Site::new();
    let server = site.serve(&[]);
    let ann = key(&server, "clinic", "ann", &[]);
    save_key(&site, &server);
    let save = |name: &str, text: &str| fs::write(site.folder().join(name), text).unwrap();
    let parts = json!([{ "type": "text", "text": "Be" }, { "type": "text", "text": "brief." }]);
    let chat = json!({ "model": "mock", "max_tokens": 6, "messages": [
        { "role": "developer", "content": parts }, { "role": "user", "content": PROMPT },
    ] });
    let streamed = json!({ "model": "mock", "max_tokens": 6, "stream": true, "messages": chat["messages"] });
    let raw = json!({ "model": "mock", "max_tokens": 6, "prompt": PROMPT });
    let prove = |id: &str, name: &str| server.json(&["audit", "prove", id, "--out", name]);
    let check = |receipt: &str, more: &[&str]| {
        verify(site.folder(), &[&["receipt", receipt, "--key", "log.key"], more].concat())
    };
    let both = ["--request", "request.json", "--answer", "answer.json"];
    let ask = |path: &str, body: &Value| server.request("POST", path, &ann.secret, &[], Some(body)).body;
    let in_pieces = server.raw("POST", "/v1/chat/completions", &ann.secret, &[], Some(&streamed));
    let of_pieces = in_pieces.split("chatcmpl-").nth(1).unwrap()[..32].to_owned();
    let [whole, completed] = [ask("/v1/chat/completions", &chat), ask("/v1/completions", &raw)];
    let id = |answer: &Value| answer["id"].as_str().unwrap().rsplit('-').next().unwrap().to_owned();
    for (body, answer, id) in [
        (&chat, whole.to_string(), id(&whole)),
        (&raw, completed.to_string(), id(&completed)),
        (&streamed, in_pieces, of_pieces),
    ] {
        let receipt = format!("{id}.json");
        prove(&id, &receipt);
        save("request.json", &body.to_string());
        save("answer.json", &answer);
        let found = check(&receipt, &both);
        assert_eq!(found.code, Some(0), "{}{}", found.stdout, found.stderr);
        for what in ["question     it is the one", "answer       it is the one"] {
            assert!(found.stdout.contains(what), "{what}: {}", found.stdout);
        }
        save("request.json", &body.to_string().replace(PROMPT, "Planted-Question-4712"));
        save("answer.json", &answer.replace("\"content\"", "\"c\"").replace("\"text\"", "\"t\""));
        let found = check(&receipt, &both);
        assert_eq!(found.code, Some(1), "{}{}", found.stdout, found.stderr);
        for what in ["the question was another one", "the answer was another one"] {
            assert!(found.stdout.contains(what), "{what}: {}", found.stdout);
        }
    }
    // Nobody can compare anything any more once the caller is erased, and the log is what it was.
    let before = id(&ask("/v1/chat/completions", &chat));
    server.json(&["shred", "--tenant", "clinic", "--subject", "user:ann", "--yes"]);
    prove(&before, "erased.json");
    save("request.json", &chat.to_string());
    let found = check("erased.json", &["--request", "request.json"]);
    assert!(found.code == Some(1) && found.stdout.contains("the person was erased"), "{}", found.stdout);
    assert_eq!(check("erased.json", &[]).code, Some(0));
}

/// Whoever is known and is refused leaves one record, with what decided.
#[test]
fn every_refusal_is_one_record_and_names_what_decided() {
    let site = Site::with(&format!(
        "{MODEL}[[quota]]\ntenant = 'clinic'\nuser = 'quick'\nrequests_per_minute = 1\n[retention]\nno_store_tenants = ['press']\n"
    ));
    let server = site.serve(&[]);
    let ann = key(&server, "clinic", "ann", &[]);
    let bound = key(&server, "clinic", "bound", &["--purpose", "treatment"]);
    let narrow = key(&server, "clinic", "nora", &["--action", "generate", "--model", "another"]);
    let quick = key(&server, "clinic", "quick", &[]);
    let chief = key(&server, "clinic", "chief", &["--role", "administrator"]);
    key(&server, "lab", "boss", &["--role", "administrator"]);
    let press = key(&server, "press", "paul", &[]);
    fs::write(
        site.folder().join("rest.cedar"),
        "forbid (principal, action == Action::\"list_models\", resource);",
    )
    .unwrap();
    server.json(&["policies", "set", "rest", "rest.cedar", "--tenant", "clinic"]);
    assert_eq!(chat(&server, &quick.secret, &[], "hi").status, 200);

    let ask = |key: &Key, method: &str, path: &str, body: Option<Value>| {
        server.request(method, path, &key.secret, &[], body.as_ref())
    };
    let store = json!({ "model": "mock", "store": true, "messages": [{ "role": "user", "content": "x" }] });
    let owner = json!({
        "label": "x", "tenant": "clinic", "user": "new", "role": "owner", "class_max": "normal", "data_class_max": "public",
    });
    for (answer, status, action, policy) in [
        (ask(&ann, "GET", "/metrics", None), 403, "read_metrics", "wall.server"),
        (ask(&ann, "POST", "/api/v1/audit/records", Some(json!({}))), 403, "read_audit", "default.deny"),
        (ask(&narrow, "GET", "/v1/models", None), 403, "list_models", "key.scope"),
        (chat(&server, &narrow.secret, &[], "hi"), 403, "generate", "key.scope"),
        (
            chat(&server, &ann.secret, &["llmos-data-class: restricted"], "hi"),
            403,
            "generate",
            "limit.data_class",
        ),
        (chat(&server, &ann.secret, &["llmos-class: system"], "hi"), 403, "generate", "limit.class"),
        (chat(&server, &bound.secret, &["llmos-purpose: research"], "hi"), 403, "generate", "data.purpose"),
        (chat(&server, &quick.secret, &[], "hi"), 429, "generate", "quota.user.requests_per_minute"),
        (ask(&chief, "GET", "/v1/models", None), 403, "list_models", "tenant.rest.1"),
        (
            ask(&chief, "POST", "/api/v1/vault/rotations", Some(json!({ "tenant": "clinic" }))),
            403,
            "rotate_tenant_key",
            "step_up",
        ),
        // Allowed at first, and then it turned out what they want.
        (ask(&chief, "POST", "/api/v1/keys", Some(owner)), 403, "manage_keys", "limit.granter"),
        (ask(&press, "POST", "/v1/chat/completions", Some(store)), 403, "store_chat_completion", "retention"),
    ] {
        let case = format!("{action} by {policy}: {} {}", answer.status, answer.body);
        assert_eq!(answer.status, status, "{case}");
        let found = server.records(&["--request", answer.request_id()]);
        let denied: Vec<&Value> = found
            .iter()
            .map(|found| &found["record"])
            .filter(|record| record["decision"] == "deny")
            .collect();
        let [record] = denied[..] else { panic!("{case}: {found:?}") };
        assert!(found.len() == 1 || record["kind"] == "end" && found.len() == 2, "{case}: {found:?}");
        assert_eq!(record["action"], action, "{case}");
        let policies = record["policies"].as_array().unwrap();
        assert!(
            policies.iter().any(|named| named.as_str().unwrap().contains(policy)),
            "{case}: {policies:?}"
        );
        assert!(record["policies_version"].is_string() || record["kind"] == "end", "{record}");
        assert!(record["who"]["key"].is_string(), "{record}");
    }
    // What is another tenant's is as what nobody has, here too: it was tried, and there was nothing.
    let suspend = |tenant: &str| Some(json!({ "tenant": tenant, "user": "boss", "suspended": true }));
    for tenant in ["lab", "nolab"] {
        let tried = ask(&chief, "PATCH", "/api/v1/users", suspend(tenant));
        assert_eq!(tried.status, 404);
        let found = server.records(&["--request", tried.request_id()]);
        assert_eq!((found.len(), &found[1]["record"]["error"]), (2, &json!("not_found")), "{found:?}");
    }
    // What they may see of it is what happened in their tenant.
    let mine =
        ask(&chief, "POST", "/api/v1/audit/records", Some(json!({ "decision": "deny", "limit": 1000 })));
    let tenants =
        mine.body["records"].as_array().unwrap().iter().map(|found| found["record"]["who"]["tenant"].clone());
    let mut tenants: Vec<Value> = tenants.collect();
    tenants.dedup();
    assert_eq!(tenants.len(), 1, "{}", mine.body);
    let found = server.records(&["--key", &ann.id, "--decision", "deny"]);
    assert_eq!(found.len(), 4, "{found:?}");
    let named = found[0]["opened"]["caller"].as_str().unwrap();
    assert!(named.contains("\"ann\"") && named.contains("\"127.0.0.1\""), "{named}");
}

/// They are no principal: counted, each once, and sampled.
#[test]
fn whoever_shows_nothing_is_counted() {
    let site = Site::new();
    let server = site.serve(&[]);
    let count = |status: u16| {
        let asked = (0..40).map(|number| match number % 2 {
            0 => server.get("/v1/models").status,
            _ => server.request("GET", "/v1/models", "llmos_0123456789ab_x", &[], None).status,
        });
        asked.filter(|found| *found == status).count() as u64
    };
    let refused = count(401);
    assert!(refused >= 20, "{refused}");
    stop(server);
    let server = site.serve(&[]);
    let records = server.records(&["--action", "authenticate"]);
    let counted: u64 = records
        .iter()
        .map(|found| found["record"]["facts"]["count"].as_str().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(counted, refused, "{records:?}");
    assert!(
        (records.len() as u64) < refused && records.iter().all(|found| found["record"].get("who").is_none())
    );
}

/// What others choose: names, headers, paths, of a kind that would make two records of one, or an endless one.
#[test]
fn a95_what_others_write_stays_in_one_record() {
    let site = Site::new();
    let server = site.serve(&[]);
    let owner = server.key().to_owned();
    let long = "A".repeat(10 << 20);
    let key_of = |user: &str, label: &str| {
        json!({
            "label": label, "tenant": "clinic", "user": user, "role": "member", "class_max": "normal", "data_class_max": "public",
        })
    };
    let chat = |model: &str, user: &str| json!({ "model": model, "user": user, "max_tokens": 1, "messages": [{ "role": "user", "content": "hi" }] });
    let mut asked = 0;
    for text in [HOSTILE, "ann\u{202e}nna", "größer", &long[..600], &long] {
        for (method, path, body) in [
            ("POST", "/api/v1/keys".to_owned(), Some(key_of("ann", text))),
            ("POST", "/api/v1/keys".to_owned(), Some(key_of(text, "k"))),
            (
                "PATCH",
                "/api/v1/users".to_owned(),
                Some(json!({ "tenant": text, "user": text, "suspended": true })),
            ),
            ("POST", "/v1/chat/completions".to_owned(), Some(chat(text, text))),
            ("POST", "/v1/chat/completions".to_owned(), Some(chat("mock", text))),
            ("POST", "/api/v1/audit/records".to_owned(), Some(json!({ "action": text, "key": text }))),
            ("PUT", format!("/api/v1/policies/clinic/{}", encoded(text)), Some(json!({ "text": text }))),
            ("DELETE", format!("/api/v1/keys/{}", encoded(text)), None),
            ("PUT", format!("/api/v1/loaded/{}", encoded(text)), None),
        ] {
            // What is far too long is refused at the door.
            let at_the_door = text.len() > 1 << 20;
            let answer = if at_the_door && path.len() > 1 << 20 {
                continue;
            } else {
                raw::send(&server, &request(method, &path, &owner, body.as_ref()))
            };
            let (status, head, _) = answer;
            let Some(id) = raw::field(&head, "x-request-id") else {
                assert!(at_the_door, "{method} {path}: {status} {head}");
                continue;
            };
            let found = server.records(&["--request", id]);
            // A decision, and what became of it.
            assert!(found.len() <= 2, "{method} {path}: {found:?}");
            asked += found.len();
        }
    }
    assert!(asked > 40, "{asked}");
    // Bytes that are no text.
    for header in [
        &b"llmos-purpose: \xff\xfe"[..],
        b"llmos-subject: \xc3\x28",
        b"user-agent: \xff",
        b"x-request-id: \xff",
    ] {
        let body = chat("mock", "x").to_string();
        let head = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {owner}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n",
            body.len()
        );
        let bytes = [head.as_bytes(), header, b"\r\n\r\n", body.as_bytes()].concat();
        let (status, _, answer) = raw::parsed(&raw::exchange(&server, &bytes));
        assert!([200, 400].contains(&status), "{status} {answer}");
    }
    // A path of this machine that is too long to be one, with all of it in one name.
    let folder = format!("{HOSTILE}{}", &long[..100_000]);
    assert_eq!(site.run(&["audit", "export", &folder]).code, Some(1));

    let copy = exported(&site, &server, "copy");
    let all = entries(&copy);
    let mut cut = 0;
    for entry in &all {
        let text = std::str::from_utf8(entry).unwrap();
        let record: Value = serde_json::from_str(text).unwrap();
        assert!(entry.len() < 16 << 10, "{} bytes", entry.len());
        let bad = |c: char| {
            c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{feff}')
        };
        assert!(!text.contains(bad), "{text:?}");
        if let Some(folder) = record["facts"]["folder"].as_str().filter(|folder| folder.contains("[cut: ")) {
            assert!(folder.contains(HOSTILE) && folder.len() < 600, "{folder}");
            cut += 1;
        }
    }
    assert_eq!(cut, 1);
    // Nor does a terminal obey it: each is a line.
    let shown = site.run(&["audit", "tail", "-n", "1000"]).stdout;
    assert_eq!(
        shown.lines().count(),
        all.len() + 2,
        "the copy ended after it was made, and this look is one"
    );
    assert!(!shown.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}' || c == '\u{2028}'));
    assert_eq!(site.run(&["audit", "verify"]).code, Some(0));
}

fn encoded(text: &str) -> String {
    percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC).to_string()
}

fn request(method: &str, path: &str, key: &str, body: Option<&Value>) -> String {
    let body = body.map_or(String::new(), Value::to_string);
    let about = format!(
        "host: localhost\r\nauthorization: Bearer {key}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n",
        body.len()
    );
    raw::line(method, path, &about) + &body
}

/// What was asked and answered, secrets and names of people: in no file of the log. And what was sealed is gone with its person.
#[test]
fn the_log_has_no_content_no_secret_and_no_name() {
    let site = Site::new();
    let server = site.serve(&[]);
    let (user, reason) = ("Planted-Person-0815", "Planted-Subject-1234");
    let ann = key(&server, "clinic", user, &[]);
    let body = json!({
        "model": "mock", "store": true, "max_tokens": 40, "metadata": { "Planted-Name": "Planted-Metadata" },
        "messages": [{ "role": "system", "content": "Planted-System" }, { "role": "user", "content": PROMPT }],
    });
    let subject = format!("llmos-subject: {reason}");
    let answer = server.request("POST", "/v1/chat/completions", &ann.secret, &[&subject], Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let said = answer.body["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    assert_eq!(server.request("GET", "/metrics", &ann.secret, &[], None).status, 403);
    server.json(&["users", "set", "--tenant", "clinic", "--user", user, "--role", "developer"]);
    server.json(&["users", "suspend", "--tenant", "clinic", "--user", user]);
    server.json(&["users", "resume", "--tenant", "clinic", "--user", user]);
    server.json(&["keys", "rotate", &ann.id]);
    // What somebody puts into the wrong place.
    assert_ne!(site.run(&["keys", "revoke", &ann.secret]).code, Some(0));
    assert_ne!(site.run(&["vault", "rotate", "--tenant", "Planted-Patient"]).code, Some(0));
    server.json(&["audit", "search", "--tenant", "clinic", "--subject", &format!("user:{user}")]);
    let of_them = server.records(&["--request", answer.request_id()]);
    let caller: Value = serde_json::from_str(of_them[0]["opened"]["caller"].as_str().unwrap()).unwrap();
    assert_eq!(caller, json!({ "tenant": "clinic", "user": user, "address": "127.0.0.1" }));
    let shown = site.run(&["audit", "search", "--request", answer.request_id()]).stdout;
    assert!(shown.contains(&format!("clinic/{user}")), "{shown}");

    let texts = [PROMPT, &said, "Planted-", ann.secret.rsplit('_').next().unwrap(), user, reason];
    let nowhere = |site: &Site| {
        let mut folders = vec![site.data_dir().join("audit")];
        let mut files = 0;
        while let Some(folder) = folders.pop() {
            // What has just grown has another name now.
            for entry in fs::read_dir(folder).into_iter().flatten().map(Result::unwrap) {
                if entry.path().is_dir() {
                    folders.push(entry.path());
                    continue;
                }
                let Ok(bytes) = fs::read(entry.path()) else { continue };
                files += 1;
                for text in texts {
                    let found = bytes.windows(text.len()).position(|window| window == text.as_bytes());
                    assert_eq!(found, None, "{text} is in {}", entry.path().display());
                }
            }
        }
        assert!(files >= 3, "{files}");
    };
    nowhere(&site);

    server.json(&["shred", "--tenant", "clinic", "--subject", &format!("user:{user}"), "--yes"]);
    let of_them = server.records(&["--request", answer.request_id()]);
    assert_eq!(of_them[0]["opened"], json!({ "caller": null }), "{of_them:?}");
    let others = server.records(&["--action", "manage_users"]);
    let about: Vec<&Value> =
        others.iter().map(|found| &found["opened"]["user"]).filter(|user| !user.is_null()).collect();
    assert_eq!(about, Vec::<&Value>::new());
    let number = of_them[0]["record"]["who"].clone();
    let shown = site.run(&["audit", "search", "--request", answer.request_id()]).stdout;
    assert!(shown.contains(&format!(" {}/{} ", number["tenant"], number["user"])), "{shown}");
    // The shredding itself is a record, without the name.
    let shreds = server.records(&["--action", "erase_subject"]);
    assert_eq!(shreds.len(), 2, "{shreds:?}");
    // The tree is what it was.
    let valid = server.json(&["audit", "verify"]);
    assert_eq!((&valid["valid"], &valid["problems"]), (&json!(true), &json!([])));
    stop(server);
    nowhere(&site);
    assert_eq!(site.run(&["audit", "verify"]).code, Some(0), "also without a server");
}

/// Whatever somebody does to the files. Each is found; two only with a checkpoint that was kept elsewhere.
#[test]
fn a92_every_change_of_the_log_is_found() {
    let site = Site::new();
    let server = site.serve(&[]);
    let secret = server.key().to_owned();
    for number in 0..140 {
        chat(&server, &secret, &[], &format!("question {number}"));
    }
    let older = exported(&site, &server, "older");
    for number in 0..20 {
        chat(&server, &secret, &[], &format!("question {number}"));
    }
    server.json(&["audit", "checkpoint", "--out", "kept"]);
    save_key(&site, &server);
    stop(server);
    let (data, log) = (site.data_dir(), site.data_dir().join("audit"));
    let whole = site.folder().join("whole");
    copy(&log, &whole);
    let count = entries(&log).len();
    assert!(count > 300, "{count}");
    let verified = |args: &[&str]| {
        let ours = site.run(&[&["audit", "verify"], args].concat());
        // The stranger's program says the same of the same folder.
        let log = log.to_str().unwrap();
        let theirs = verify(site.folder(), &[&["log", log, "--key", "log.key"], args].concat());
        assert_eq!(ours.code, theirs.code, "{}{}{}", ours.stdout, ours.stderr, theirs.stdout);
        (ours.code, ours.stdout)
    };
    let kept = ["--checkpoint", "kept"];
    let (code, said) = verified(&[]);
    assert!(code == Some(0) && said.contains("only a checkpoint that was kept elsewhere"), "{said}");
    assert_eq!(verified(&kept).0, Some(0));

    let full = log.join("tile/entries/000");
    let tail = fs::read_dir(log.join("tile/entries/001.p")).unwrap().next().unwrap().unwrap().path();
    let bytes = fs::read(&full).unwrap();
    let parsed: Vec<Vec<u8>> =
        bundle::parse(&bytes, 256).unwrap().iter().map(|entry| entry.to_vec()).collect();
    let bundled = |entries: &[Vec<u8>]| -> Vec<u8> {
        let one = |entry: &Vec<u8>| [&u16::try_from(entry.len()).unwrap().to_be_bytes()[..], entry].concat();
        entries.iter().flat_map(one).collect()
    };
    assert_eq!(bundled(&parsed), bytes);
    let flipped = |file: &Path, place: usize| {
        let mut bytes = fs::read(file).unwrap();
        let place = place % bytes.len();
        bytes[place] ^= 1 << (place % 8);
        fs::write(file, bytes).unwrap();
    };
    let edited = |edit: &dyn Fn(&mut Vec<Vec<u8>>)| {
        let mut entries = parsed.clone();
        edit(&mut entries);
        fs::write(&full, bundled(&entries)).unwrap();
    };
    let changes: [(&str, &dyn Fn()); 9] = [
        ("a bit of a record", &|| flipped(&full, 7_919)),
        ("a bit of the last records", &|| flipped(&tail, 40)),
        ("a bit of a hash", &|| flipped(&log.join("tile/0/000"), 4_099)),
        ("a bit of the checkpoint", &|| flipped(&log.join("checkpoint"), 60)),
        ("one is gone", &|| edited(&|entries| drop(entries.remove(7)))),
        ("two are swapped", &|| edited(&|entries| entries.swap(7, 8))),
        ("one is more", &|| edited(&|entries| entries.insert(7, b"{}".to_vec()))),
        ("one is another", &|| edited(&|entries| entries[7] = b"{}".to_vec())),
        ("the end is cut off", &|| fs::remove_file(&tail).unwrap()),
    ];
    for (what, change) in changes {
        change();
        let (code, said) = verified(&[]);
        assert!(code == Some(1) && said.contains("WRONG"), "{what}: {said}");
        restore(&whole, &log);
    }
    assert_eq!(verified(&[]).0, Some(0));

    // An older copy of the whole log, and one that was written anew with the key that it is signed with: valid logs both.
    restore(&older, &log);
    assert_eq!(verified(&[]).0, Some(0));
    let (code, said) = verified(&kept);
    assert!(code == Some(1) && said.contains("WRONG"), "put back: {said}");
    let seed: [u8; 32] = fs::read(data.join("audit.key")).unwrap().try_into().unwrap();
    let named = fs::read_to_string(site.folder().join("log.key")).unwrap();
    let signer = Signer::from_seed(named.split('+').next().unwrap(), Zeroizing::new(seed)).unwrap();
    for (what, more) in [("of the same size", 0), ("longer", 5)] {
        let mut anew = MemoryLog::new();
        for (index, entry) in entries(&whole).iter().enumerate() {
            anew.push(if index == 7 { b"{}" } else { entry }).unwrap();
        }
        for _ in 0..more {
            anew.push(b"{}").unwrap();
        }
        fs::remove_dir_all(&log).unwrap();
        for (path, bytes) in anew.files(&signer).unwrap().0 {
            fs::create_dir_all(log.join(&path).parent().unwrap()).unwrap();
            fs::write(log.join(path), bytes).unwrap();
        }
        assert_eq!(verified(&[]).0, Some(0), "{what}");
        let (code, said) = verified(&kept);
        assert!(code == Some(1) && said.contains("WRONG"), "{what}: {said}");
    }
    // Nor does the server go on with records that are others than those that it has signed.
    restore(&whole, &log);
    let segment =
        fs::read_dir(log.join("segment")).unwrap().map(|entry| entry.unwrap().path()).min().unwrap();
    let text = b"\"action\":\"generate\"";
    let place = fs::read(&segment).unwrap().windows(text.len()).position(|window| window == text).unwrap();
    flipped(&segment, place);
    let mut refused = site.spawn(&["serve"]);
    wait_until("it does not start", || refused.try_wait().unwrap().is_some());
    let refused = refused.wait_with_output().unwrap();
    let says = String::from_utf8(refused.stderr).unwrap();
    assert!(refused.status.code() == Some(1) && says.contains("audit log"), "{says}");
}

/// Two servers with one key, who show different people different logs.
#[test]
fn a94_two_logs_of_one_key_are_found() {
    let site = Site::new();
    let server = site.serve(&[]);
    save_key(&site, &server);
    stop(server);
    let fork = Site::new();
    copy(&site.data_dir(), &fork.data_dir());
    for each in [&site, &fork] {
        let server = each.serve(&[]);
        server.json(&["keys", "list"]);
        server.json(&["audit", "checkpoint", "--out", "shown"]);
        stop(server);
    }
    fs::copy(fork.folder().join("shown"), site.folder().join("shown to others")).unwrap();
    let notes = ["shown", "shown to others"];
    let found = verify(site.folder(), &["checkpoints", notes[0], notes[1], "--key", "log.key"]);
    assert_eq!(found.code, Some(1), "{}{}", found.stdout, found.stderr);
    for said in ["equivocation", notes[0], notes[1], "NOT VALID"] {
        assert!(found.stdout.contains(said), "{said}: {}", found.stdout);
    }
    // Either log is valid by itself, and says so of its own; with the other's checkpoint it is not.
    assert_eq!(site.run(&["audit", "verify", "--checkpoint", notes[0]]).code, Some(0));
    let found = site.run(&["audit", "verify", "--checkpoint", notes[1]]);
    assert_eq!(found.code, Some(1), "{}", found.stdout);
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (kind, place) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &place);
        } else if kind.is_file() {
            fs::copy(entry.path(), place).unwrap();
        }
    }
}

fn restore(from: &Path, to: &Path) {
    fs::remove_dir_all(to).unwrap();
    copy(from, to);
}

/// Newest first where that is asked for, on and on where it is followed; every filter alone and all together.
#[test]
fn the_log_is_searched_and_followed() {
    let site = Site::new();
    let server = site.serve(&[]);
    let ann = key(&server, "clinic", "ann", &[]);
    let first = chat(&server, &ann.secret, &[], "hi");
    let user = server.records(&["--request", first.request_id()])[0]["record"]["who"]["user"].clone();
    let user = user.as_u64().unwrap().to_string();
    for flags in [
        &["--user", user.as_str()][..],
        &["--key", &ann.id],
        &["--action", "generate"],
        &["--outcome", "length"],
        &["--since", "2020", "--until", "2999-12-31", "--action", "generate"],
        &["--key", &ann.id, "--user", &user, "--action", "generate", "--decision", "allow"],
    ] {
        let found = server.records(flags);
        assert!(!found.is_empty(), "{flags:?}");
        assert!(
            found.iter().all(|found| found["record"]["request"] == first.request_id()),
            "{flags:?}: {found:?}"
        );
    }
    for flags in [&["--until", "2020"][..], &["--user", "999"], &["--break-glass"], &["--decision", "deny"]] {
        assert_eq!(server.records(flags), Vec::<Value>::new(), "{flags:?}");
    }
    for (flags, says) in [
        (&["--request", "x"][..], "request"),
        (&["--tenant", "clinic"], "--subject"),
        (&["--decision", "maybe"], "allow"),
        (&["--limit", "0"], "--limit"),
    ] {
        let refused = site.run(&[&["audit", "search"], flags].concat());
        assert!(refused.code != Some(0) && refused.stderr.contains(says), "{flags:?}: {}", refused.stderr);
    }
    let mut follows = site.spawn(&["audit", "tail", "-n", "1", "--follow", "--json"]);
    let mut lines = BufReader::new(follows.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let seen = next()["index"].as_u64().unwrap();
    // It looks again and again, and leaves nothing of that in the log as long as there is nothing to see.
    sleep(Duration::from_millis(2_500));
    let second = chat(&server, &ann.secret, &[], "hi");
    let begins = next();
    assert_eq!(
        (&begins["index"], &begins["record"]["request"]),
        (&json!(seen + 1), &json!(second.request_id()))
    );
    let ends = std::iter::repeat_with(&mut next).find(|found| found["record"]["kind"] == "end").unwrap();
    assert_eq!(ends["record"]["request"], second.request_id());
    follows.kill().unwrap();
    follows.wait().unwrap();
    let shown = site.run(&["audit", "tail", "-n", "3"]);
    assert_eq!(shown.stdout.lines().count(), 3, "{}", shown.stdout);
    for (args, code, says) in [
        (&["audit", "prove", "0123456789abcdef0123456789abcdef"][..], 5, "there is no receipt of this id"),
        (&["audit", "verify", "--data-dir", "elsewhere"], 5, "there is no audit log"),
        (&["audit", "verify", "--checkpoint", "llmos.toml"], 1, "cannot believe the checkpoint"),
        (&["audit", "export", "data"], 1, "there is such a folder already"),
        (&["audit", "checkpoint", "--out", "llmos.toml"], 1, "name a new file"),
    ] {
        let refused = site.run(args);
        assert!(
            refused.code == Some(code) && refused.stderr.contains(says),
            "{args:?}: {:?} {}",
            refused.code,
            refused.stderr
        );
    }
}
