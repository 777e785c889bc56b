//! The records of the audit log of the real binary: what they hold whatever callers write, what is in none of them, and who reads them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod audited;
mod harness;
mod raw;

use std::{
    collections::BTreeSet,
    fs,
    io::{BufRead, BufReader},
    thread::sleep,
    time::Duration,
};

use audited::{Key, chat, entries, exported, key};
use harness::{Server, Site};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Text that must not be found anywhere.
const PROMPT: &str = "Planted-Question-4711";
/// What would end a line, begin another one, turn it around or act on a terminal.
const HOSTILE: &str = "x\n{\"kind\":\"end\"}\r\n\u{2028}\u{202e}\u{1b}[2J";

fn stop(server: Server<'_>) {
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
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

/// Each sees that the other looks, and what they see by that is nothing to look at again. Nobody reads anything without a record.
fn those_who_follow_wake_each_other_no_more(server: &Server<'_>, ann: &Key) {
    let followers = ["one", "other"].map(|user| key(server, "house", user, &["--role", "owner"]));
    let looks = |key: &Key, from: u64| {
        let body = json!({ "from": from, "limit": 1000 });
        server.request("POST", "/api/v1/audit/records", &key.secret, &[], Some(&body)).body
    };
    let indexes = |page: &Value| -> Vec<u64> {
        page["records"].as_array().unwrap().iter().map(|found| found["index"].as_u64().unwrap()).collect()
    };
    let goes_on = |page: &Value| page["next"].as_u64().or(page["size"].as_u64()).unwrap();
    // What is behind the end is nothing, and says where the end is.
    let size = || looks(&followers[0], u64::MAX >> 1)["size"].as_u64().unwrap();
    let mut from = [size(), size()];
    let answer = chat(server, &ann.secret, &[], "hi");
    let mut seen = [Vec::new(), Vec::new()];
    let mut rounds = |seen: &mut [Vec<u64>; 2], count: usize| {
        for _ in 0..count {
            for (at, follower) in followers.iter().enumerate() {
                let page = looks(follower, from[at]);
                seen[at].extend(indexes(&page));
                from[at] = goes_on(&page);
            }
        }
    };
    rounds(&mut seen, 3);
    let quiet = size();
    rounds(&mut seen, 3);
    assert_eq!(size(), quiet, "they do not wake each other");
    // A search is something else: both see it, and with it all that they had not been shown, none of it twice.
    let before = server.records(&["--action", "read_audit"]);
    rounds(&mut seen, 3);
    for seen in &seen {
        let all: Vec<u64> = (seen[0]..seen[0] + seen.len() as u64).collect();
        assert!(*seen == all && seen.last() >= Some(&quiet), "{seen:?}");
    }
    // Each page that had something in it has its record, with where it began.
    let of_answer = server.records(&["--request", answer.request_id()])[0]["index"].as_u64().unwrap();
    let follows = |found: &&Value| found["record"]["facts"]["what"] == "follow";
    let began = |found: &Value| found["record"]["facts"]["from"].as_str().unwrap().parse::<u64>().unwrap();
    let who: BTreeSet<String> = before
        .iter()
        .filter(follows)
        .filter(|found| began(found) <= of_answer && found["index"].as_u64().unwrap() > of_answer)
        .map(|found| found["record"]["who"]["key"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(who, followers.iter().map(|key| key.id.clone()).collect());
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
        &["--since", "2020-01-01", "--until", "2999-12-31T00:00:00+14:00", "--action", "generate"],
        &["--key", &ann.id, "--user", &user, "--action", "generate", "--decision", "allow"],
    ] {
        let found = server.records(flags);
        assert!(!found.is_empty(), "{flags:?}");
        assert!(
            found.iter().all(|found| found["record"]["request"] == first.request_id()),
            "{flags:?}: {found:?}"
        );
    }
    for flags in
        [&["--until", "2020-01-01"][..], &["--user", "999"], &["--break-glass"], &["--decision", "deny"]]
    {
        assert_eq!(server.records(flags), Vec::<Value>::new(), "{flags:?}");
    }
    for (flags, says) in [
        (&["--request", "x"][..], "request"),
        (&["--tenant", "clinic"], "--subject"),
        (&["--decision", "maybe"], "allow"),
        (&["--limit", "0"], "--limit"),
        (&["--since", "2020"], "`since` is no time; allowed: a time in RFC 3339"),
        (&["--until", "2026-11-23 noon"], "`until` is no time; allowed: a time in RFC 3339"),
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
    those_who_follow_wake_each_other_no_more(&server, &ann);
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
