//! The real binary, with a simulated model, over its real interfaces.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;

use std::{collections::BTreeSet, fs, os::unix::fs::PermissionsExt};

use harness::{Events, MODEL, Server, Site, modes, wait_until};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Streams that run at the same time: enough for the slowest to take seconds.
const CROWD: usize = 8;

/// Starts streams and waits for the first words of each.
fn crowd(server: &Server<'_>) -> Vec<(Events, String)> {
    let start = |number| {
        let mut events = server.stream(&format!("question {number}"));
        let first = (&mut events).map(|event| content(&event)).find(|text| !text.is_empty()).unwrap();
        (events, first)
    };
    (0..CROWD).map(start).collect()
}

fn content(event: &Value) -> String {
    event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn the_first_start_shows_a_key_that_works_and_later_starts_show_none() {
    let site = Site::new();
    let first = site.serve(&[]);
    assert_eq!(first.greeting["models"], json!(["mock"]));
    let curl = first.greeting["curl"].as_str().unwrap();
    assert!(
        curl.contains(first.key()) && curl.contains(first.address()) && curl.contains("\"mock\""),
        "{curl}"
    );
    let answer = first.chat(first.key(), "hello");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(!answer.body["choices"][0]["message"]["content"].as_str().unwrap().is_empty());
    let address = fs::read_to_string(site.data_dir().join("address")).unwrap();
    assert_eq!(address.trim(), first.address());
    let key = first.key().to_owned();
    first.signal(Signal::TERM);
    assert_eq!(first.ended(), Some(0));
    assert!(!site.data_dir().join("address").exists());

    let second = site.serve(&[]);
    assert_eq!(second.greeting["key"], Value::Null);
    assert_eq!(second.chat(&key, "hello").status, 200);
    assert_eq!(second.chat("llmos_wrong", "hello").status, 401);
}

#[test]
fn a_second_server_is_refused_by_folder_and_by_port() {
    let site = Site::new();
    let server = site.serve(&[]);
    let same_folder = site.run(&["serve"]);
    assert_eq!(same_folder.code, Some(1));
    let pid = format!("error: process {} already serves from", server.pid());
    assert!(same_folder.stderr.contains(&pid), "{}", same_folder.stderr);

    let same_port = site.run(&["serve", "--data-dir", "elsewhere", "--listen", server.address()]);
    assert_eq!(same_port.code, Some(1));
    for part in ["error: port ", " is in use by another program", "--listen"] {
        assert!(same_port.stderr.contains(part), "{}", same_port.stderr);
    }
    assert_eq!(same_port.stdout, "");
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn a_server_that_died_leaves_nothing_in_the_way() {
    let site = Site::new();
    let died = site.serve(&[]);
    died.signal(Signal::KILL);
    assert_eq!(died.ended(), None);
    assert!(site.data_dir().join("admin.sock").exists());
    assert_eq!(site.run(&["ps"]).code, Some(3));
    let again = site.serve(&[]);
    assert_eq!(again.json(&["ps"])["replicas"][0]["state"], "ready");
}

#[test]
fn sigterm_lets_streams_end_and_refuses_new_requests() {
    let site = Site::new();
    let server = site.serve(&[]);
    let streams = crowd(&server);
    server.signal(Signal::TERM);
    wait_until("the server closes", || server.get("/readyz").status == 503);
    let refused = server.chat(server.key(), "too late");
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.head.contains("\r\nretry-after: "), "{}", refused.head);
    assert!(refused.body["error"]["request_id"].is_string(), "{}", refused.body);

    for (events, _) in streams {
        let events: Vec<Value> = events.collect();
        assert_eq!(events.last().unwrap(), &json!("[DONE]"));
        assert!(events.iter().any(|event| event["choices"][0]["finish_reason"] == "stop"));
    }
    assert_eq!(server.ended(), Some(0));
}

#[test]
fn the_second_signal_ends_the_server_at_once() {
    let site = Site::new();
    let server = site.serve(&[]);
    let _streams = crowd(&server);
    server.signal(Signal::INT);
    wait_until("the server closes", || server.get("/readyz").status == 503);
    server.signal(Signal::INT);
    assert_eq!(server.ended(), Some(1));
}

#[test]
fn the_grace_period_is_a_limit() {
    let site = Site::with(&format!("shutdown_grace_s = 0\n{MODEL}"));
    let server = site.serve(&[]);
    let streams = crowd(&server);
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
    let whole = |events: Events| events.last() == Some(json!("[DONE]"));
    assert!(!streams.into_iter().all(|(events, _)| whole(events)));
    assert!(site.log().contains("the grace period is over"));
}

#[test]
fn ps_shows_what_runs_and_kill_ends_it() {
    let site = Site::new();
    let server = site.serve(&[]);
    let streams = crowd(&server);
    // A sequence may end by itself between the two commands.
    let mut killed = None;
    wait_until("a sequence is killed", || {
        let listed = server.json(&["ps"]);
        let sequences = listed["sequences"].as_array().unwrap();
        let youngest = sequences.iter().min_by_key(|sequence| sequence["generated"].as_u64());
        let id = youngest.expect("all have ended").get("id").unwrap().to_string();
        let table = site.run(&["ps"]);
        assert!(table.stdout.starts_with("MODEL  STATE"), "{}", table.stdout);
        let done = site.run(&["kill", &id]).code == Some(0);
        killed = done.then_some(id);
        done
    });
    let ends: Vec<Vec<Value>> = streams.into_iter().map(|(events, _)| events.collect()).collect();
    let cut = ends.iter().filter(|events| events.iter().any(|event| event.get("error").is_some())).count();
    assert_eq!(cut, 1);
    let again = site.run(&["kill", &killed.unwrap()]);
    assert_eq!(again.code, Some(5), "{}", again.stderr);
}

#[test]
fn a_key_lives_from_create_to_revoke() {
    let site = Site::new();
    let server = site.serve(&[]);
    let made = server.json(&["keys", "create", "--label", "app", "--user", "ann", "--class-max", "normal"]);
    let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    let fields =
        ["label", "tenant", "user", "role", "class_max", "data_class_max"].map(|name| made[name].clone());
    assert_eq!(fields, ["app", "default", "ann", "member", "normal", "internal"].map(Value::from));
    assert_eq!(server.chat(secret, "hello").status, 200);

    let printed = site.run(&["keys", "create", "--label", "x", "--user", "y", "--role", "operator"]);
    assert_eq!(server.chat(printed.stdout.trim_end(), "hello").status, 200, "{}", printed.stderr);

    assert_eq!(site.run(&["keys", "revoke", id]).code, Some(0));
    assert_eq!(server.chat(secret, "hello").status, 401);
    let list = server.json(&["keys", "list"]);
    let keys = list["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 3);
    let listed = keys.iter().find(|key| key["id"] == id).unwrap();
    assert!(listed["revoked_at"].is_u64() && listed.get("secret").is_none());
    let table = site.run(&["keys", "list"]).stdout;
    assert!(table.contains("app") && !table.contains(secret), "{table}");
}

#[test]
fn chat_answers_as_the_api_does() {
    let site = Site::new();
    let server = site.serve(&[]);
    let expected = server.chat(server.key(), "hello").body["choices"][0]["message"]["content"].clone();
    let expected = expected.as_str().unwrap();
    let said = site.run(&["chat", "--temperature", "0", "hello"]);
    assert_eq!(
        (said.code, said.stdout.as_str()),
        (Some(0), format!("{expected}\n").as_str()),
        "{}",
        said.stderr
    );
    let piped = site.run_with(&["chat", "--temperature", "0", "--model", "other"], "hello", &[]);
    assert_eq!(piped.stdout, said.stdout, "{}", piped.stderr);
    let document = server.json(&["chat", "--temperature", "0", "hello"]);
    assert_eq!(document["content"], expected);
    assert_eq!(document["finish_reason"], "stop");
    assert!(document["usage"]["completion_tokens"].as_u64().unwrap() > 0);
    assert_eq!(site.run(&["chat", "--model", "nobody", "hello"]).code, Some(5));
    assert_eq!(site.run_with(&["chat"], " \n", &[]).code, Some(2));
}

#[test]
fn every_exit_code_is_the_documented_one() {
    let site = Site::new();
    for (args, code, part) in [
        (&["version"][..], 0, ""),
        (&["config", "check"], 0, ""),
        (&["config", "show", "--json"], 0, ""),
        (&["ps", "--no-such-flag"], 2, "--no-such-flag"),
        (&["kill", "abc"], 2, "abc"),
        (&["keys", "create", "--label", "x"], 2, "--user"),
        (&["keys", "create", "--label", "x", "--user", "y", "--role", "boss"], 2, "member, analyst"),
        (&["ps"], 3, "llmos serve"),
        (&["chat", "hello"], 3, "no server is running"),
        (&["keys", "revoke", "../x"], 5, "there is no key"),
        (&["serve", "--listen", "0.0.0.0:80"], 6, "no transport security"),
        (&["ps", "--config", "missing.toml"], 6, "missing.toml"),
    ] {
        let outcome = site.run(args);
        assert_eq!(outcome.code, Some(code), "{args:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(part), "{args:?}: {}", outcome.stderr);
        assert_eq!(code == 0, outcome.stderr.is_empty(), "{args:?}: {}", outcome.stderr);
    }
    let error: Value = serde_json::from_str(&site.run(&["ps", "--json"]).stderr).unwrap();
    assert_eq!(error["error"]["exit"], 3);

    let _server = site.serve(&[]);
    for args in [&["kill", "999999"][..], &["keys", "revoke", "nobody"], &["chat", "-m", "nobody", "x"]] {
        assert_eq!(site.run(args).code, Some(5), "{args:?}");
    }
}

#[test]
fn a_bad_configuration_is_explained() {
    for (configuration, variables, part) in [
        (
            "lisen = '127.0.0.1:1'\n",
            &[][..],
            "llmos.toml line 3: unknown key `lisen`; did you mean `listen`?",
        ),
        ("[[model]]\nname = 'm'\nsource = 'gone.gguf'\n", &[], "line 5: there is no file"),
        ("", &[], "no model is configured"),
        (
            "",
            &[("LLMOS_LOGLEVEL", "info")],
            "environment LLMOS_LOGLEVEL: unknown variable; did you mean LLMOS_LOG_LEVEL?",
        ),
    ] {
        let site = Site::with(configuration);
        for args in [&["serve"][..], &["config", "check"]] {
            let outcome = site.run_with(args, "", variables);
            assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(6), ""), "{}", outcome.stderr);
            assert!(outcome.stderr.contains(part), "{}", outcome.stderr);
        }
        assert!(!site.data_dir().exists());
    }
}

#[test]
fn nobody_else_can_read_anything() {
    let site = Site::new();
    fs::create_dir(site.data_dir()).unwrap();
    fs::set_permissions(site.data_dir(), fs::Permissions::from_mode(0o755)).unwrap();
    let server = site.serve(&[]);
    server.json(&["keys", "create", "--label", "x", "--user", "y"]);
    assert!(site.log().contains("made the data directory 0700"));
    let folder = fs::metadata(site.data_dir()).unwrap().permissions().mode() & 0o777;
    assert_eq!(folder, 0o700);
    let modes = modes(&site.data_dir());
    let names: BTreeSet<&str> = modes.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["address", "admin.sock", "audit", "audit.key", "key.pepper", "llmos.db", "lock"] {
        assert!(names.contains(name), "{name} is missing: {modes:?}");
    }
    for (name, mode) in &modes {
        let expected = if name == "audit" { 0o700 } else { 0o600 };
        assert_eq!(*mode, expected, "{name}: {mode:o}");
    }
}

#[test]
fn the_log_has_request_ids_and_never_content() {
    let site = Site::new();
    let server = site.serve(&["--log-format", "json", "--log-level", "trace"]);
    let answer = server.chat(server.key(), "the patient is called Xaverius");
    assert_eq!(answer.status, 200);
    let said = answer.body["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    let key = server.key().to_owned();
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
    let log = site.log();
    for secret in ["Xaverius", said.as_str(), key.as_str()] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(lines.iter().any(|line| line.to_string().contains("request_id")), "{log}");
}

/// Whatever stands in an address, of a route or of none, with a key or without: no line of the log has it, and no record of the
/// audit log or other file.
#[test]
fn what_stands_in_an_address_is_written_down_nowhere() {
    const PLANTED: &str = "Xaverius-4711";
    let site = Site::with(&format!("metadata_filter = 'address'\n{MODEL}"));
    let server = site.serve(&["--log-format", "json", "--log-level", "trace"]);
    let key = server.key().to_owned();
    let body = json!({
        "model": "mock", "store": true, "max_tokens": 4, "metadata": { "name": PLANTED },
        "messages": [{ "role": "user", "content": "hi" }],
    });
    assert_eq!(server.request("POST", "/v1/chat/completions", &key, &[], Some(&body)).status, 200);
    let mut found = 0;
    for address in [
        format!("/v1/chat/completions?metadata[name]={PLANTED}"),
        format!("/v1/chat/completions?model={PLANTED}"),
        format!("/v1/chat/completions?after={PLANTED}"),
        format!("/v1/chat/completions?{PLANTED}=1"),
        format!("/v1/chat/completions/{PLANTED}"),
        format!("/v1/models/{PLANTED}"),
        format!("/v1/models?q={PLANTED}"),
        format!("/v1/receipts/{PLANTED}"),
        format!("/api/v1/policies/{PLANTED}"),
        format!("/scim/v2/{PLANTED}/Users?filter={PLANTED}"),
        format!("/auth/callback/{PLANTED}?code={PLANTED}&state={PLANTED}"),
        format!("/healthz?{PLANTED}"),
        format!("/{PLANTED}"),
    ] {
        for credential in [key.as_str(), "no key"] {
            let answer = server.request("GET", &address, credential, &[], None);
            found += answer.body["data"].as_array().map_or(0, Vec::len);
        }
    }
    assert!(found > 0, "the filter of the protocol works where it is allowed");
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
    assert!(site.log().contains("request_id"));
    assert!(!site.log().contains(PLANTED), "{}", site.log());
    let mut open = vec![site.data_dir()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                open.push(entry);
            } else if entry.is_file() {
                let content = fs::read(&entry).unwrap();
                let is_there = content.windows(PLANTED.len()).any(|window| window == PLANTED.as_bytes());
                assert!(!is_there, "{}", entry.display());
            }
        }
    }
}

/// In both forms, whatever time zone the server is told.
#[test]
fn times_in_the_log_are_in_utc_and_say_so() {
    let since_1970 = |time: &str| {
        // `2026-11-28T22:40:28.123456Z`, by the days before the year, the month and the day (proleptic Gregorian).
        let numbers: Vec<u64> = time
            .strip_suffix('Z')
            .unwrap_or_else(|| panic!("{time} does not say that it is in UTC"))
            .split(['-', 'T', ':', '.'])
            .map(|number| number.parse().unwrap())
            .collect();
        let [year, month, day, hour, minute, second, _micros] = numbers[..] else { panic!("{time}") };
        let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
        let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 719_469;
        days * 86_400 + hour * 3_600 + minute * 60 + second
    };
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    for format in ["text", "json"] {
        let site = Site::new();
        let begun = now();
        let server = site.serve_with(&["--log-format", format], &[("TZ", "Asia/Tokyo")]);
        server.get("/healthz");
        drop(server);
        let log = site.log();
        assert!(log.lines().count() > 1, "{log}");
        for line in log.lines() {
            let json: Value = serde_json::from_str(line).unwrap_or_default();
            let time = json["timestamp"].as_str().or_else(|| line.split_whitespace().next()).unwrap();
            assert!((begun..=now()).contains(&since_1970(time)), "{begun} {line}");
        }
    }
}

/// With a real embedding model, which `make test` names.
#[cfg(feature = "llama")]
/// Where the inventory of logs says (`docs/security/rules.md#logs`).
#[test]
fn logs_go_to_the_standard_error_and_nowhere_else() {
    let documented = include_str!("../../../docs/reference/cli.md");
    let (_, documented) = documented.split_once("## Data directory").unwrap();
    let site = Site::new();
    let server = site.serve(&["--log-format", "json", "--log-level", "trace"]);
    assert_eq!(server.chat(server.key(), "hi").status, 200);
    let (mut sockets, mut logs) = (Vec::new(), 0);
    for descriptor in fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap() {
        // One that was closed meanwhile is none.
        let Ok(target) = fs::read_link(descriptor.unwrap().path()) else { continue };
        let shown = target.display().to_string();
        if let Some(inode) = shown.strip_prefix("socket:[").and_then(|rest| rest.strip_suffix(']')) {
            sockets.push(inode.to_owned());
        } else if target == site.folder().join("log") {
            logs += 1;
        } else if let Ok(file) = target.strip_prefix(site.data_dir()) {
            let name = file.iter().next().unwrap_or_default().to_string_lossy();
            let name = name.trim_end_matches("-wal").trim_end_matches("-shm");
            assert!(name.is_empty() || documented.contains(&format!("`{name}")), "{shown} is not documented");
        } else {
            let known =
                ["pipe:[", "anon_inode:", "/dev/null", "/dev/urandom", "/dev/random", "/memfd:", "/proc/"];
            assert!(known.iter().any(|known| shown.starts_with(known)), "the server has {shown} open");
        }
    }
    assert!(logs == 1 && !sockets.is_empty(), "{logs} {sockets:?}");
    // No connection is the server's own: all are at the port where it listens.
    let port = format!(":{:04X}", server.address().rsplit(':').next().unwrap().parse::<u16>().unwrap());
    for protocol in ["tcp", "tcp6", "udp", "udp6"] {
        let table = fs::read_to_string(format!("/proc/{}/net/{protocol}", server.pid())).unwrap_or_default();
        for line in table.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            assert!(!sockets.iter().any(|inode| inode == fields[9]) || fields[1].ends_with(&port), "{line}");
        }
    }
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
    let log = site.log();
    assert!(log.contains("\"level\":\"INFO\"") && log.contains("\"request\""), "{log}");
    let mut folders = vec![site.data_dir()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            if entry.is_dir() {
                folders.push(entry);
            } else if let Ok(bytes) = fs::read(&entry) {
                let has_lines = String::from_utf8_lossy(&bytes).contains("\"level\":\"");
                assert!(!has_lines, "{} has lines of the log", entry.display());
            }
        }
    }
}

#[test]
fn who_names_no_model_is_answered_by_one_that_generates() {
    let Some(path) = std::env::var_os("LLMOS_TEST_EMBEDDING_MODEL") else {
        eprintln!("skipped: LLMOS_TEST_EMBEDDING_MODEL does not name a model; run `make test`");
        return;
    };
    let embedding = format!("[[model]]\nname = 'e'\nsource = {path:?}\nload = 'demand'\n{MODEL}");
    let site = Site::with(&embedding);
    let server = site.serve(&[]);
    let curl = server.greeting["curl"].as_str().unwrap();
    assert!(curl.contains("\"mock\""), "{curl}");
    assert!(site.log().contains("trained on 512"), "{}", site.log());
    assert_eq!(server.json(&["chat", "hello"])["model"], "mock");
}

#[test]
fn models_are_loaded_on_demand_make_room_for_each_other_and_pins_hold() {
    let section = |name: &str, mb: u32, rest: &str| {
        format!("[[model]]\nname = '{name}'\nsource = 'simulator:'\nmemory_mb = {mb}\n{rest}\n")
    };
    let models = [
        section("mock", 6, "load = 'demand'\naliases = ['m']"),
        section("other", 6, "load = 'demand'"),
        section("pinned", 4, "pinned = true"),
        section("giant", 7, "load = 'demand'"),
    ];
    let site = Site::with(&format!("memory_total_mb = 10\n{}", models.concat()));
    let server = site.serve(&[]);
    let states = || {
        let ps = server.json(&["ps"]);
        let replicas = ps["replicas"].as_array().unwrap().iter();
        replicas.map(|replica| replica["state"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(states(), "unloaded unloaded ready unloaded");
    assert_eq!(server.chat(server.key(), "hello").status, 200);
    assert_eq!(states(), "ready unloaded ready unloaded");
    assert_eq!(server.json(&["load", "other"])["state"], "ready");
    assert_eq!(states(), "unloaded ready ready unloaded");
    assert_eq!(server.json(&["load", "m"])["model"], "mock");
    assert_eq!(site.run(&["unload", "mock"]).stdout, "mock is gone from memory\n");
    assert_eq!(site.run(&["unload", "m"]).stdout, "mock was not in memory\n");
    assert_eq!(server.json(&["unload", "m"])["unloaded"], "mock");

    for (command, code, part) in [
        (["unload", "pinned"], 1, "`pinned` is pinned"),
        (["load", "giant"], 1, "pinned models have the rest: pinned"),
        (["load", "nobody"], 5, "no model"),
        (["unload", "../../keys/1"], 5, "no model"),
    ] {
        let outcome = site.run(&command);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(code), ""), "{}", outcome.stderr);
        assert!(outcome.stderr.contains(part), "{command:?}: {}", outcome.stderr);
    }
    assert_eq!(states(), "unloaded unloaded ready failed");
}
