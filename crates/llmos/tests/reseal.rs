//! What is stored is sealed anew on the running server, by the real binary: in another suite, and with other keys.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;
#[path = "../../store/tests/postgres/mod.rs"]
mod postgres;

use std::{
    env, fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use harness::{MODEL, Server, Site};
use postgres::Postgres;
use rustix::process::Signal;
use serde_json::{Value, json};

const SUITES: [&str; 2] = ["aes-256-gcm", "chacha20-poly1305"];
/// Answers that are stored before servers are killed.
const STORED: usize = 60;
/// People that they are about.
const PEOPLE: usize = 6;
/// Bytes of each question: more than a frame, so that sealing takes a while.
const QUESTION_BYTES: usize = 90_000;
/// Has room for such questions, and takes no time.
const INSTANT: &str = "[[model]]\nname = 'mock'\nsource = 'simulator:instant'\ncontext = 1048576\n";

/// A stored answer.
struct Stored {
    id: String,
    text: String,
    subject: String,
}

fn serve<'a>(site: &'a Site, name: &str) -> Server<'a> {
    site.serve_with(&[], &[("LLMOS_VAULT_SUITE", name)])
}

fn store(server: &Server<'_>, key: &str, subject: &str, question: &str) -> Stored {
    let body = json!({
        "model": "mock", "store": true, "temperature": 0, "max_tokens": 3, "metadata": { "of": subject },
        "messages": [{ "role": "user", "content": question }],
    });
    let header = format!("llmos-subject: {subject}");
    let answer = server.request("POST", "/v1/chat/completions", key, &[&header], Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    Stored {
        id: text(&answer.body["id"]),
        text: text(&answer.body["choices"][0]["message"]["content"]),
        subject: subject.to_owned(),
    }
}

/// Its status; if it is there, it is as it was.
fn look(server: &Server<'_>, key: &str, stored: &Stored, question: &str) -> u16 {
    let path = format!("/v1/chat/completions/{}", stored.id);
    let answer = server.request("GET", &path, key, &[], None);
    if answer.status == 200 {
        assert_eq!(answer.body["choices"][0]["message"]["content"], json!(stored.text));
        assert_eq!(answer.body["metadata"]["of"], json!(stored.subject));
        let messages = server.request("GET", &format!("{path}/messages"), key, &[], None).body;
        assert_eq!(messages["data"][0]["content"], json!(question));
    }
    answer.status
}

fn stop(server: Server<'_>) {
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
}

fn counts(done: &Value) -> [u64; 5] {
    ["replaced_keys", "chat_completions", "erased", "unreadable", "left"]
        .map(|name| done[name].as_u64().unwrap_or_else(|| panic!("{done}")))
}

fn suites_and_keys_change(site: &Site) {
    const QUESTION: &str = "what is it?";
    let server = serve(site, SUITES[0]);
    let key = server.key().to_owned();
    let mut stored: Vec<Stored> =
        ["anna", "bert", "cora"].map(|subject| store(&server, &key, subject, QUESTION)).into();
    assert_eq!(counts(&server.json(&["vault", "reseal"])), [0, 0, 0, 0, 0], "all is as it should be");
    stop(server);

    // Each suite reads what the other has sealed.
    let server = serve(site, SUITES[1]);
    stored.push(store(&server, &key, "anna", QUESTION));
    let all_are_there = |server: &Server<'_>| {
        for one in &stored {
            assert_eq!(look(server, &key, one, QUESTION), 200, "{} of {}", one.id, one.subject);
        }
    };
    all_are_there(&server);
    assert_eq!(server.json(&["vault", "status"])["suite"], SUITES[1]);
    let done = server.json(&["vault", "reseal"]);
    assert_eq!((&done["suite"], counts(&done)), (&json!(SUITES[1]), [0, 3, 0, 0, 0]));
    assert_eq!(counts(&server.json(&["vault", "reseal"])), [0; 5], "what is in the suite is passed over");
    all_are_there(&server);
    // With new keys it is all sealed anew, and the keys above them still can be rotated. The user of the key has one, too.
    let before = server.json(&["vault", "status"]);
    assert_eq!(counts(&server.json(&["vault", "reseal", "--replace-keys"])), [4, 4, 0, 0, 0]);
    assert_eq!(server.json(&["vault", "rotate", "--tenant", "default"])["rewrapped"], 8);
    assert_eq!(server.json(&["vault", "status"])["subject_keys"], before["subject_keys"]);
    all_are_there(&server);
    let renamed = server.request(
        "POST",
        &format!("/v1/chat/completions/{}", stored[0].id),
        &key,
        &[],
        Some(&json!({ "metadata": { "of": "anna" } })),
    );
    assert_eq!(renamed.status, 200, "{}", renamed.body);
    // What is recorded about her before and after is found by her name; so is what is stored.
    let of_anna = server.records(&["--subject", "anna"]);
    assert!(of_anna.iter().filter(|line| line["record"]["action"] == "generate").count() >= 2, "{of_anna:?}");
    let export = ["export", "--subject", "anna", "--recipient", RECIPIENT, "anna.age"];
    assert_eq!(server.json(&export)["chat_completions"], 2);
    let deeds = server.records(&["--action", "manage_vault"]);
    let reseals = deeds.iter().filter(|record| record.to_string().contains("reseal"));
    assert!(reseals.count() >= 4, "begin and end of each: {deeds:?}");
    stop(server);

    // And back; who is erased is so under all keys that they ever had.
    let server = serve(site, SUITES[0]);
    all_are_there(&server);
    let shredded = server.json(&["shred", "--subject", "anna", "--yes"]);
    assert_eq!(shredded, json!({ "key_destroyed": true, "chat_completions": 2 }));
    assert_eq!(counts(&server.json(&["vault", "reseal"])), [0, 2, 0, 0, 0]);
    let statuses: Vec<u16> = stored.iter().map(|one| look(&server, &key, one, QUESTION)).collect();
    assert_eq!(statuses, [404, 200, 200, 404]);
    let refused = site.run_with(&["serve"], "", &[("LLMOS_VAULT_SUITE", "rot13")]);
    assert!(
        refused.code == Some(6) && refused.stderr.contains("aes-256-gcm, chacha20"),
        "{}",
        refused.stderr
    );
}

/// Made by `age-keygen`, for this test.
const RECIPIENT: &str = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";

#[test]
fn each_suite_reads_the_other_and_all_is_sealed_anew() {
    suites_and_keys_change(&Site::new());
}

#[test]
fn the_same_holds_in_postgres() {
    let postgres = Postgres::start();
    let address = postgres.database("llmos");
    suites_and_keys_change(&Site::with(&format!("{MODEL}[store]\npostgres = '{address}'\n")));
}

/// Servers are killed while they seal all anew, in one suite and the other, with the same keys and with new ones, while people
/// are erased and answers changed.
#[test]
fn a_reseal_that_is_killed_anywhere_loses_nothing_and_brings_nobody_back() {
    let rounds = if env::var_os("LLMOS_TEST_FULL").is_some() { 60 } else { 6 };
    let site = Site::with(INSTANT);
    let question = "words ".repeat(QUESTION_BYTES / 6);
    let (mut stored, mut erased) = (Vec::new(), Vec::<String>::new());
    let (mut in_the_middle, mut key) = (0, String::new());
    for round in 0..rounds {
        let other = SUITES[(round + 1) % 2];
        let server = serve(&site, SUITES[round % 2]);
        if key.is_empty() {
            key = server.key().to_owned();
        }
        // Whoever was erased is replaced by somebody new, so that there is as much to do in each round.
        for number in stored.len() - gone(&stored, &erased)..STORED {
            stored.push(store(&server, &key, &format!("{round}-{}", number % PEOPLE), &question));
        }
        server.json(&["vault", "reseal"]);
        stop(server);

        let server = serve(&site, other);
        let wal = || fs::metadata(site.data_dir().join("llmos.db-wal")).map_or(0, |file| file.len());
        let (before, killed) = (wal(), AtomicBool::new(false));
        let victim =
            stored.iter().map(|one| one.subject.clone()).find(|name| !erased.contains(name)).unwrap();
        thread::scope(|scope| {
            scope.spawn(|| {
                let all: &[&str] = &["vault", "reseal", "--replace-keys"];
                let _ = site.run(if round % 3 == 2 { all } else { &all[..2] });
            });
            scope.spawn(|| {
                for one in stored.iter().rev() {
                    let path = format!("/v1/chat/completions/{}", one.id);
                    let body = json!({ "metadata": { "of": one.subject } });
                    if killed.load(Ordering::Relaxed)
                        || server.try_raw("POST", &path, &key, &[], Some(&body)).is_none()
                    {
                        return;
                    }
                }
            });
            if round % 2 == 1 {
                // It may not be known whether they were.
                erased.push(victim.clone());
                scope.spawn(|| site.run(&["shred", "--subject", &victim, "--yes"]));
            }
            harness::wait_until("it has begun", || wal() > before);
            thread::sleep(Duration::from_micros(round as u64 * 7_919 % 40_000));
            server.signal(Signal::KILL);
            killed.store(true, Ordering::Relaxed);
        });
        assert_eq!(server.ended(), None);

        let server = serve(&site, other);
        for one in &stored {
            match look(&server, &key, one, &question) {
                200 => {}
                404 | 410 => assert!(erased.contains(&one.subject), "{} of {} is lost", one.id, one.subject),
                other => panic!("{}: {other}", one.id),
            }
        }
        let [_, anew, _, unreadable, left] = counts(&server.json(&["vault", "reseal"]));
        assert_eq!((unreadable, left), (0, 0), "round {round}");
        in_the_middle += usize::from(anew > 0 && anew < (STORED - PEOPLE) as u64);
        assert_eq!(counts(&server.json(&["vault", "reseal"]))[1], 0, "it is complete");
        // Who was told to be erased is, and was before if they were told so.
        for name in &erased {
            server.json(&["shred", "--subject", name, "--yes"]);
        }
        for one in stored.iter().filter(|one| erased.contains(&one.subject)) {
            // 410 of what the server was killed before it was deleted: nobody can open it.
            let status = look(&server, &key, one, &question);
            assert!([404, 410].contains(&status), "{} of {}: {status}", one.id, one.subject);
        }
        stop(server);
    }
    eprintln!("{in_the_middle} of {rounds} were killed in the middle");
    assert!(in_the_middle > 0);
}

/// Answers of people who were erased.
fn gone(stored: &[Stored], erased: &[String]) -> usize {
    stored.iter().filter(|one| erased.contains(&one.subject)).count()
}
