//! Records beside what was done, wherever it ends: cancelled, killed, out of room.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;

use std::{
    collections::HashMap,
    env, fs,
    path::PathBuf,
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use harness::{Server, Site};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A model that takes no time.
const INSTANT: &str = "[[model]]\nname = 'mock'\nsource = 'simulator:instant'\ncontext = 8192\n";

fn body(prompt: &str) -> Value {
    json!({ "model": "mock", "max_tokens": 4, "messages": [{ "role": "user", "content": prompt }] })
}

fn key(server: &Server<'_>, tenant: &str, user: &str) -> String {
    let made = server.json(&["keys", "create", "--label", "k", "--tenant", tenant, "--user", user]);
    made["secret"].as_str().unwrap().to_owned()
}

fn count(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap()
}

/// What `llmos usage` says, and what the ends in the log say: requests, tokens that were read, tokens that were written.
fn usage(server: &Server<'_>) -> [u64; 3] {
    let report = server.json(&["usage", "--by", "model"]);
    let rows = report["usage"].as_array().unwrap();
    ["requests", "input_tokens", "output_tokens"].map(|name| rows.iter().map(|row| count(row, name)).sum())
}

fn usage_of(records: &[Value]) -> [u64; 3] {
    let used = records.iter().map(|found| &found["record"]).filter(|record| record["kind"] == "end");
    let used: Vec<&Value> = used.map(|record| &record["used"]).filter(|used| used.is_object()).collect();
    let sum = |name: &str| used.iter().map(|used| count(used, name)).sum();
    [used.len() as u64, sum("input_tokens"), sum("output_tokens")]
}

#[test]
fn who_leaves_is_recorded_and_pays_for_what_ran() {
    let site = Site::new();
    let server = site.serve(&[]);
    let long = json!({
        "model": "mock", "stream": true, "max_tokens": 8000, "messages": [{ "role": "user", "content": "a long story" }],
    });
    let mut events = server.stream_with(server.key(), &long);
    let first = events.next().unwrap();
    let id = first["id"].as_str().unwrap().to_owned();
    // Its beginning is there before its first event.
    let of_it = || server.records(&["--request", &id]);
    let begins = of_it();
    assert_eq!((begins.len(), &begins[0]["record"]["kind"]), (1, &json!("begin")));
    assert_eq!(begins[0]["record"]["reserved"]["output_tokens"], 8000);
    drop(events);
    harness::wait_until("its end is there", || of_it().len() == 2);
    let ends = &of_it()[1]["record"];
    assert_eq!((&ends["outcome"], &ends["begin"]), (&json!("cancelled"), &begins[0]["index"]));
    let used = count(&ends["used"], "output_tokens");
    assert!((1..8000).contains(&used), "{ends}");

    // An end is there before the last event: whoever has the whole answer finds it.
    let body = json!({ "model": "mock", "stream": true, "max_tokens": 4, "messages": [{ "role": "user", "content": "hi" }] });
    for _ in 0..20 {
        let mut events = server.stream_with(server.key(), &body);
        let id = events.next().unwrap()["id"].as_str().unwrap().to_owned();
        let last = events.find(|event| event["choices"][0]["finish_reason"].is_string());
        assert!(last.is_some());
        let kinds: Vec<Value> =
            server.records(&["--request", &id]).iter().map(|found| found["record"]["kind"].clone()).collect();
        assert_eq!(kinds, ["begin", "end"]);
    }
    harness::wait_until("all is written down", || {
        usage(&server) == usage_of(&server.records(&["--action", "generate"]))
    });
}

/// Servers are killed while callers ask: whoever has an answer has its records, and usage is what they say, to the token.
#[test]
fn what_was_acknowledged_is_recorded_wherever_the_server_is_killed() {
    let rounds: u64 = if env::var_os("LLMOS_TEST_FULL").is_some() { 100 } else { 6 };
    let site = Site::with(INSTANT);
    let first = site.serve(&[]);
    let secret = first.key().to_owned();
    drop(first);
    let acknowledged: Mutex<HashMap<String, (u64, u64)>> = Mutex::default();
    for round in 0..rounds {
        let server = site.serve(&[]);
        let answered = AtomicUsize::new(0);
        thread::scope(|scope| {
            for caller in 0..6 {
                let (server, secret, acknowledged, answered) = (&server, &secret, &acknowledged, &answered);
                scope.spawn(move || {
                    loop {
                        let asked = body(&"word ".repeat(caller + 1));
                        let answer =
                            server.try_raw("POST", "/v1/chat/completions", secret, &[], Some(&asked));
                        let Some(answer) = answer else { return };
                        let id = answer["id"].as_str().unwrap().trim_start_matches("chatcmpl-").to_owned();
                        let used = &answer["usage"];
                        let used = (count(used, "prompt_tokens"), count(used, "completion_tokens"));
                        acknowledged.lock().unwrap().insert(id, used);
                        answered.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            while answered.load(Ordering::Relaxed) < 20 + (round as usize * 37) % 90 {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_micros(round * 7_919 % 30_000));
            server.signal(Signal::KILL);
        });
        assert_eq!(server.ended(), None);
    }
    let server = site.serve(&[]);
    let records = server.records(&["--action", "generate"]);
    let mut of: HashMap<&str, Vec<&Value>> = HashMap::new();
    for found in &records {
        of.entry(found["record"]["request"].as_str().unwrap()).or_default().push(&found["record"]);
    }
    for (id, used) in acknowledged.lock().unwrap().iter() {
        let [begins, ends] = of.get(id.as_str()).unwrap_or_else(|| panic!("{id} is lost"))[..] else {
            panic!("{id}")
        };
        assert_eq!((&begins["kind"], &begins["decision"]), (&json!("begin"), &json!("allow")));
        assert!(["stop", "length"].contains(&ends["outcome"].as_str().unwrap()), "{ends}");
        assert_eq!(
            (count(&ends["used"], "input_tokens"), count(&ends["used"], "output_tokens")),
            *used,
            "{ends}"
        );
    }
    // What was in work is ended, once, with all that was set aside for it.
    let mut interrupted = 0;
    for of_one in of.values() {
        let [begins, ends] = of_one[..] else { panic!("{of_one:?}") };
        if ends["outcome"] == "interrupted" {
            interrupted += 1;
            assert_eq!(ends["used"], begins["reserved"], "{ends}");
        }
    }
    assert!(interrupted <= 6 * rounds, "{interrupted}");
    assert!(acknowledged.lock().unwrap().len() as u64 > 20 * rounds);
    assert_eq!(usage(&server), usage_of(&records), "{interrupted} were interrupted");
    let valid = server.json(&["audit", "verify"]);
    assert_eq!(valid["valid"], true, "{valid}");
}

/// The server dies in the middle of the race, and goes on: what was spent before counts.
#[test]
fn a_budget_stays_exact_when_the_server_is_killed_in_the_race_for_it() {
    let site = Site::with(&format!("{INSTANT}[[quota]]\ntenant = 'clinic'\ntokens_per_day = 3000\n"));
    let first = site.serve(&[]);
    let keys: Vec<String> = (0..10).map(|number| key(&first, "clinic", &format!("user {number}"))).collect();
    drop(first);
    let (next, acknowledged) = (AtomicUsize::new(0), Mutex::new(0));
    let mut refused = 0;
    for killed_at in [60, 130, usize::MAX] {
        let server = site.serve(&[]);
        let refusals = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..25 {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= 500 {
                            return;
                        }
                        let key = &keys[number % keys.len()];
                        let answer =
                            server.try_raw("POST", "/v1/chat/completions", key, &[], Some(&body("hello")));
                        match answer {
                            Some(answer) => {
                                *acknowledged.lock().unwrap() += count(&answer["usage"], "total_tokens");
                            }
                            None if killed_at == usize::MAX => drop(refusals.fetch_add(1, Ordering::Relaxed)),
                            None => return,
                        }
                    }
                });
            }
            while next.load(Ordering::Relaxed) < killed_at.min(500) {
                thread::sleep(Duration::from_micros(200));
            }
            if killed_at != usize::MAX {
                server.signal(Signal::KILL);
            }
        });
        refused += refusals.into_inner();
        if killed_at != usize::MAX {
            assert_eq!(server.ended(), None);
            continue;
        }
        assert!(refused > 0, "the race was for nothing");
        let records = server.records(&["--action", "generate"]);
        let [requests, input, output] = usage_of(&records);
        let (spent, each) = (input + output, (input + output) / requests);
        harness::wait_until("all is written down", || usage(&server) == [requests, input, output]);
        let interrupted = records.iter().filter(|found| found["record"]["outcome"] == "interrupted");
        let interrupted: u64 = interrupted
            .map(|found| {
                count(&found["record"]["used"], "input_tokens")
                    + count(&found["record"]["used"], "output_tokens")
            })
            .sum();
        let acknowledged = *acknowledged.lock().unwrap();
        // Of those that were killed some had ended, and their callers do not know.
        assert!(acknowledged + interrupted <= spent, "{acknowledged} + {interrupted} of {spent}");
        // The bucket fills a little meanwhile. Who was refused when their prompt was counted pays nothing.
        assert!(spent <= 3_000 + 20, "{spent} at {each} each, {interrupted} of it interrupted");
        assert!(spent + 3 * each > 3_000, "{spent} at {each} each");
        assert_eq!(
            server.request("POST", "/v1/chat/completions", &keys[0], &[], Some(&body("hello"))).status,
            429
        );
    }
}

/// On a disk of its own, in a space of names of its own: what cannot be recorded is not done, and it goes on by itself.
#[test]
fn on_a_full_disk_nothing_is_done_that_is_not_recorded() {
    let site = Site::with(INSTANT);
    let data = site.data_dir();
    fs::create_dir(&data).unwrap();
    let isolated = |inner: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", inner]);
        command.current_dir(site.folder()).env_clear().env("HOME", site.folder());
        command.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    };
    let mount = "mount -t tmpfs -o size=80m,mode=700 tmpfs data";
    if !isolated(mount).status().is_ok_and(|status| status.success()) {
        eprintln!("skipped: disks cannot be mounted here");
        return;
    }
    let binary = env!("CARGO_BIN_EXE_llmos");
    let server = site.serve_by(isolated(&format!(
        "{mount} && {{ sleep 600 >/dev/null 2>&1 & echo $! >beside; exec {binary} serve --json; }}"
    )));
    // The server shows nothing of itself; a process beside it shows the disk.
    let beside: i32 = fs::read_to_string(site.folder().join("beside")).unwrap().trim().parse().unwrap();
    let inside = PathBuf::from(format!("/proc/{beside}/root")).join(data.strip_prefix("/").unwrap());
    let secret = server.key().to_owned();
    let member = {
        let request = json!({
            "label": "k", "tenant": "default", "user": "ann", "role": "member", "class_max": "normal", "data_class_max": "public",
        });
        move |server: &Server<'_>| server.request("POST", "/api/v1/keys", &secret, &[], Some(&request))
    };
    let secret = server.key().to_owned();
    let ask = || server.request("POST", "/v1/chat/completions", &secret, &[], Some(&body("hello")));
    assert_eq!((ask().status, member(&server).status), (200, 201));
    fs::write(inside.join("filler"), vec![7; 96 << 20]).unwrap_err();
    // What the log has set aside for itself is used up first.
    let answers = AtomicUsize::new(0);
    let refused = Mutex::new(None);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while refused.lock().unwrap().is_none() && answers.fetch_add(1, Ordering::Relaxed) < 60_000 {
                    let answer = ask();
                    if answer.status != 200 {
                        *refused.lock().unwrap() = Some(answer);
                    }
                }
            });
        }
    });
    let refused = refused.into_inner().unwrap().expect("the disk is full by now");
    assert_eq!(
        (refused.status, &refused.body["error"]["code"]),
        (503, &json!("audit_unavailable")),
        "{}",
        refused.body
    );
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    let privileged = member(&server);
    // What has ended meanwhile may have left room for one more record; then the database has none for the deed.
    let why = privileged.body["error"]["code"].as_str().unwrap();
    assert!(
        privileged.status == 503 && ["audit_unavailable", "key_store_unavailable"].contains(&why),
        "{}",
        privileged.body
    );
    // Whoever watches over it sees it all the same.
    assert_eq!(server.get("/healthz").status, 200);
    assert_eq!(server.request("GET", "/metrics", &secret, &[], None).status, 200);
    let said = refused.body["error"]["message"].as_str().unwrap();
    assert!(!said.contains("audit/") && !said.contains(data.to_str().unwrap()), "{said}");

    fs::remove_file(inside.join("filler")).unwrap();
    harness::wait_until("it goes on", || ask().status == 200);
    assert_eq!(member(&server).status, 201);
    // Nothing began that has not ended, and nothing was lost.
    let found = server.request("GET", "/api/v1/audit/checkpoint", &secret, &[], None);
    assert_eq!(found.status, 200, "{}", found.body);
    fs::write(site.folder().join("note"), found.body["checkpoint"].as_str().unwrap()).unwrap();
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
    let inside = inside.to_str().unwrap().to_owned();
    let valid = site.run(&["audit", "verify", "--json", "--data-dir", &inside, "--checkpoint", "note"]);
    assert_eq!(valid.code, Some(0), "{}{}", valid.stdout, valid.stderr);
    kill_process(Pid::from_raw(beside).unwrap(), Signal::KILL).unwrap();
}
