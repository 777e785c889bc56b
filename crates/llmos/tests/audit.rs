//! The audit log of the real binary: who and what is in it, and what a stranger can prove with it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod audited;
mod harness;

use std::{fs, path::Path, process::Command};

use audited::{Key, chat, entries, exported, key};
use harness::{Answer, MODEL, Outcome, Server, Site, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};
use tlog::{Signer, bundle, memory::MemoryLog};
use vault::{RootFile, RootSource, Secrets, SecretsPlace};
use zeroize::Zeroizing;

/// What somebody asks.
const PROMPT: &str = "Planted-Question-4711";

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
        for what in ["question     its text in the file", "answer       its text in the file"] {
            assert!(found.stdout.contains(what), "{what}: {}", found.stdout);
        }
        save("request.json", &body.to_string().replace(PROMPT, "Planted-Question-4712"));
        save(
            "answer.json",
            &answer.replace(r#""content":""#, r#""content":"X"#).replace(r#""text":""#, r#""text":"X"#),
        );
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
    let root = RootSource::File(RootFile { path: data.join("root.pem"), passphrase: None });
    let secrets =
        Secrets::open(root, None, SecretsPlace::new(data.join("secrets"), Vec::new()), true).unwrap();
    let seed = secrets.own(&data.join("audit.key")).read(32).unwrap().unwrap();
    let seed: [u8; 32] = seed.expose().try_into().unwrap();
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
