//! What is stored, by the real binary over its real interfaces: sealed, given back to its owner, erased for good.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;
#[path = "../../store/tests/postgres/mod.rs"]
mod postgres;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use harness::{MODEL, Server, Site};
use postgres::Postgres;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// What must not be found anywhere.
const PLANTED: [&str; 5] = [
    "Planted-Question-4711",
    "Planted-System-Prompt",
    "planted-name",
    "Planted-Metadata",
    "Planted-Patient-0815",
];

/// Has a conversation stored. Returns its id and the answer's text.
fn store(server: &Server<'_>, key: &str, subject: &str, streamed: bool) -> (String, String) {
    let body = json!({
        "model": "mock", "store": true, "stream": streamed, "temperature": 0, "max_tokens": 40,
        "metadata": { PLANTED[2]: PLANTED[3] },
        "messages": [
            { "role": "system", "content": PLANTED[1] },
            { "role": "user", "content": PLANTED[0] },
        ],
    });
    let subject = format!("llmos-subject: {subject}");
    if streamed {
        let whole = server.raw("POST", "/v1/chat/completions", key, &[&subject], Some(&body));
        assert!(whole.contains("data: [DONE]"), "{whole}");
        let chunks = whole.lines().filter_map(|line| line.strip_prefix("data: {"));
        let chunks: Vec<Value> =
            chunks.map(|chunk| serde_json::from_str(&format!("{{{chunk}")).unwrap()).collect();
        let text = chunks.iter().filter_map(|chunk| chunk["choices"][0]["delta"]["content"].as_str());
        return (chunks[0]["id"].as_str().unwrap().to_owned(), text.collect());
    }
    let answer = server.request("POST", "/v1/chat/completions", key, &[&subject], Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let text = answer.body["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
    (answer.body["id"].as_str().unwrap().to_owned(), text)
}

fn get(server: &Server<'_>, key: &str, id: &str) -> (u16, Value) {
    let answer = server.request("GET", &format!("/v1/chat/completions/{id}"), key, &[], None);
    (answer.status, answer.body)
}

/// It is there, and as it was.
fn is_readable(server: &Server<'_>, key: &str, (id, text): &(String, String)) {
    let (status, body) = get(server, key, id);
    assert_eq!(status, 200, "{body}");
    assert_eq!(body["choices"][0]["message"]["content"], json!(text));
    assert_eq!(body["metadata"][PLANTED[2]], PLANTED[3]);
    let path = format!("/v1/chat/completions/{id}/messages");
    let messages = server.request("GET", &path, key, &[], None).body;
    assert_eq!(messages["data"][0]["content"], PLANTED[1], "{messages}");
    assert_eq!(messages["data"][1]["content"], PLANTED[0]);
}

fn listed(server: &Server<'_>, key: &str) -> Vec<String> {
    let list = server.request("GET", "/v1/chat/completions?limit=100", key, &[], None).body;
    let data = list["data"].as_array().unwrap_or_else(|| panic!("{list}"));
    data.iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.symlink_metadata().unwrap().file_type() {
                kind if kind.is_dir() => open.push(path),
                kind if kind.is_file() => all.push(path),
                _ => {}
            }
        }
    }
    all
}

/// Reads every byte of every file, and finds none of these texts: not as they are, nor in hexadecimal or base64.
fn assert_nowhere(folders: &[&Path], texts: &[&str]) {
    let mut needles: Vec<(String, Vec<u8>)> = Vec::new();
    for text in texts {
        let hexadecimal = hexadecimal(text);
        let wide: Vec<u8> = text.bytes().flat_map(|byte| [byte, 0]).collect();
        needles.push(((*text).to_owned(), text.as_bytes().to_vec()));
        needles.push((format!("{text} in hexadecimal"), hexadecimal.to_uppercase().into_bytes()));
        needles.push((format!("{text} in hexadecimal"), hexadecimal.into_bytes()));
        needles.push((format!("{text} in UTF-16"), wide));
        // Of the three ways in which it may lie in base64, without what its neighbours change.
        for shift in 0..3 {
            let shifted = [&vec![b' '; shift][..], text.as_bytes()].concat();
            let whole = base64(&shifted[..shifted.len() / 3 * 3]);
            needles.push((format!("{text} in base64"), whole[4..].to_vec()));
        }
    }
    let all: Vec<PathBuf> = folders.iter().flat_map(|folder| files(folder)).collect();
    assert!(!all.is_empty());
    for file in all {
        // A part of the audit log that has just grown has another name now.
        let Ok(content) = fs::read(&file) else { continue };
        for (name, needle) in &needles {
            let found = content.windows(needle.len()).any(|window| window == needle);
            assert!(!found, "{name} stands in {}", file.display());
        }
    }
}

fn hexadecimal(text: &str) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = |byte: u8| [byte >> 4, byte & 15].map(|half| char::from(DIGITS[usize::from(half)]));
    text.bytes().flat_map(digits).collect()
}

fn base64(bytes: &[u8]) -> Vec<u8> {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |three: &[u8]| {
        let number = three.iter().fold(0_usize, |number, byte| number << 8 | usize::from(*byte));
        [18, 12, 6, 0].map(|shift| ALPHABET[number >> shift & 63])
    };
    bytes.chunks_exact(3).flat_map(group).collect()
}

/// A scan that finds nothing proves something only if it would have found it.
#[test]
fn the_scan_finds_what_lies_there() {
    for text in [
        PLANTED[4].to_owned(),
        format!("..{}", hexadecimal(PLANTED[4])),
        String::from_utf8(base64(format!("12345{}7", PLANTED[4]).as_bytes())).unwrap(),
        PLANTED[4].chars().flat_map(|character| [character, '\0']).collect(),
    ] {
        let folder = tempfile::tempdir().unwrap();
        assert_nowhere_is(folder.path(), &text);
    }
}

fn assert_nowhere_is(folder: &Path, text: &str) {
    fs::create_dir(folder.join("below")).unwrap();
    fs::write(folder.join("below/file"), text).unwrap();
    let found = std::panic::catch_unwind(|| assert_nowhere(&[folder], &[PLANTED[4]]));
    assert!(found.is_err(), "{text}");
    assert_nowhere(&[folder], &[PLANTED[0]]);
}

/// Stored, readable, in no file in clear, shredded, and back from no copy.
fn sealed_and_erased(site: &Site, data: &[&Path]) {
    let server = site.serve(&["--log-level", "trace"]);
    let key = server.key().to_owned();
    let patient = store(&server, &key, PLANTED[4], false);
    let streamed = store(&server, &key, PLANTED[4], true);
    let other = store(&server, &key, "somebody else", false);
    for stored in [&patient, &streamed, &other] {
        is_readable(&server, &key, stored);
    }
    assert_eq!(listed(&server, &key), [&patient.0, &streamed.0, &other.0].map(Clone::clone));
    let texts: Vec<&str> = PLANTED.into_iter().chain([&patient.1[..], &streamed.1, &other.1]).collect();
    let everywhere = [&[site.folder()], data].concat();
    assert_nowhere(&everywhere, &texts);

    let before = site.folder().join("keys-before.backup");
    let before = before.to_str().unwrap();
    server.json(&["vault", "backup", before]);
    let shredded = server.json(&["shred", "--subject", PLANTED[4], "--yes"]);
    assert_eq!(shredded, json!({ "key_destroyed": true, "chat_completions": 2 }));
    assert_eq!(get(&server, &key, &patient.0).0, 404);
    assert_eq!(listed(&server, &key), std::slice::from_ref(&other.0));
    is_readable(&server, &key, &other);
    // The keys as they were before do not bring it back.
    assert_eq!(server.json(&["vault", "restore", before]), json!({ "restored": 0, "shredded": 1 }));
    assert_eq!(server.json(&["vault", "status"])["shredded"], 1);
    assert_nowhere(&everywhere, &texts);
    server.signal(Signal::KILL);
    server.ended();
    assert_nowhere(&everywhere, &texts);
    let server = site.serve(&[]);
    assert_eq!(listed(&server, &key), std::slice::from_ref(&other.0));
    is_readable(&server, &key, &other);
}

#[test]
fn what_is_stored_is_sealed_and_what_was_shredded_is_gone() {
    let site = Site::new();
    sealed_and_erased(&site, &[]);
}

#[test]
fn the_same_holds_in_postgres() {
    let postgres = Postgres::start();
    let address = postgres.database("llmos");
    let site = Site::with(&format!("{MODEL}[store]\npostgres = '{address}'\n"));
    sealed_and_erased(&site, &[&postgres.data()]);
    assert!(!site.data_dir().join("llmos.db").exists());
}

/// Copies of the state, and of the keys, from before a person was erased.
#[test]
fn no_copy_from_before_brings_back_who_was_shredded() {
    let site = Site::new();
    let server = site.serve(&[]);
    let key = server.key().to_owned();
    let patient = store(&server, &key, PLANTED[4], false);
    let other = store(&server, &key, "somebody else", false);
    stop(server);
    let copies = tempfile::tempdir().unwrap();
    let kept = ["llmos.db", "keys.db"];
    for name in kept {
        fs::copy(site.data_dir().join(name), copies.path().join(name)).unwrap();
    }
    let server = site.serve(&[]);
    is_readable(&server, &key, &patient);
    server.json(&["shred", "--subject", PLANTED[4], "--yes"]);
    stop(server);
    // The state from before, the keys from before; each beside the other as it is now.
    for name in kept {
        let now: Vec<(PathBuf, Vec<u8>)> = kept
            .map(|name| site.data_dir().join(name))
            .map(|file| (file.clone(), fs::read(file).unwrap()))
            .into();
        fs::copy(copies.path().join(name), site.data_dir().join(name)).unwrap();
        let server = site.serve(&[]);
        let (status, body) = get(&server, &key, &patient.0);
        if name == "llmos.db" {
            assert_eq!((status, &body["error"]["code"]), (410, &json!("data_erased")), "{body}");
        } else {
            assert_eq!(status, 404);
        }
        assert_eq!(listed(&server, &key), std::slice::from_ref(&other.0), "{name}");
        is_readable(&server, &key, &other);
        assert_eq!(server.json(&["vault", "status"])["shredded"], 1);
        stop(server);
        for (file, content) in now {
            fs::write(file, content).unwrap();
        }
    }
}

/// The database of the keys is lost, and clients ask before it is restored.
#[test]
fn keys_that_are_lost_are_restored_whoever_asks_first() {
    let site = Site::new();
    let server = site.serve(&[]);
    let key = server.key().to_owned();
    let patient = store(&server, &key, PLANTED[4], false);
    server.json(&["vault", "backup", "keys.backup"]);
    stop(server);
    for name in ["keys.db", "keys.db-wal", "keys.db-shm"] {
        let removed = fs::remove_file(site.data_dir().join(name));
        assert!(removed.is_ok() || name != "keys.db");
    }
    let server = site.serve(&[]);
    let body = json!({ "model": "mock", "messages": [{ "role": "user", "content": "hello" }] });
    let refused = server.request("POST", "/v1/chat/completions", &key, &[], Some(&body));
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(site.log().contains("restore them first with `llmos vault restore FILE`"), "{}", site.log());
    let restored = server.json(&["vault", "restore", "keys.backup"]);
    assert!(restored["restored"].as_u64() > Some(0), "{restored}");
    is_readable(&server, &key, &patient);
    store(&server, &key, "somebody else", false);
}

fn stop(server: Server<'_>) {
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), Some(0));
}

#[test]
fn where_nothing_may_be_stored_nothing_is() {
    let site = Site::with(&format!(
        "{MODEL}[retention]\nno_store_tenants = ['press']\n[retention.chat_completions]\nrestricted_days = 0\n"
    ));
    let server = site.serve(&[]);
    let made = server.json(&["keys", "create", "--label", "k", "--user", "u", "--tenant", "press"]);
    let press = made["secret"].as_str().unwrap().to_owned();
    let made = server.json(&["keys", "create", "--label", "k", "--user", "u", "--tenant", "clinic"]);
    let clinic = made["secret"].as_str().unwrap().to_owned();
    let messages = json!([{ "role": "user", "content": PLANTED[0] }]);
    let body = json!({ "model": "mock", "messages": messages, "store": true, "max_tokens": 4 });
    let ask = |key: &str, headers: &[&str]| {
        let answer = server.request("POST", "/v1/chat/completions", key, headers, Some(&body));
        (answer.status, answer.body["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(ask(&press, &[]), (403, "storing_not_allowed".to_owned()));
    assert_eq!(
        ask(server.key(), &[]),
        (403, "storing_not_allowed".to_owned()),
        "restricted, as nothing was said"
    );
    assert_eq!(ask(server.key(), &["llmos-data-class: internal"]), (200, String::new()));
    assert_eq!(ask(&clinic, &["cache-control: no-store"]), (400, "invalid_parameter".to_owned()));
    assert_eq!(ask(&clinic, &[]), (200, String::new()));
    // Each sees its own.
    assert_eq!((listed(&server, server.key()).len(), listed(&server, &clinic).len()), (1, 1));
    assert_eq!(listed(&server, &press), Vec::<String>::new());
    assert_nowhere(&[site.folder()], &[PLANTED[0]]);
}

#[test]
fn the_root_key_is_where_the_configuration_says() {
    let site = Site::new();
    let server = site.serve(&[]);
    let key = server.key().to_owned();
    let stored = store(&server, &key, "patient", false);
    let first = server.json(&["vault", "status"]);
    assert_eq!((&first["root_kept_in"], &first["tenant_keys"]), (&json!("file"), &json!(1)));
    assert_eq!(server.json(&["vault", "rotate"])["rewrapped"], 1);
    // The patient's, and that of the user who asked: with it their name is sealed in the audit log.
    assert_eq!(server.json(&["vault", "rotate", "--tenant", "default"])["rewrapped"], 2);
    assert_ne!(server.json(&["vault", "status"])["root"], first["root"]);
    is_readable(&server, &key, &stored);
    stop(server);

    // From the file to a key of the environment, which then is needed.
    let digits = "0123456789abcdef".repeat(4);
    let environment = ("LLMOS_VAULT_ROOT", "environment");
    let root = ("LLMOS_ROOT_KEY", digits.as_str());
    let refused = site.run_with(&["serve"], "", &[environment]);
    assert_eq!(refused.code, Some(6), "{}", refused.stderr);
    assert!(refused.stderr.contains("LLMOS_ROOT_KEY is empty or not set"), "{}", refused.stderr);
    let refused = site.run_with(&["serve"], "", &[environment, root]);
    assert!(refused.stderr.contains("is under the root"), "{}", refused.stderr);
    let server = site.serve_with(&[], &[environment, root, ("LLMOS_VAULT_OLD_ROOT", "file:data/root.pem")]);
    is_readable(&server, &key, &stored);
    stop(server);
    fs::remove_file(site.data_dir().join("root.pem")).unwrap();
    let server = site.serve_with(&[], &[environment, root]);
    is_readable(&server, &key, &stored);
    assert_eq!(server.json(&["vault", "status"])["root_kept_in"], "environment");
    let refused = site.run(&["vault", "rotate"]);
    assert!(refused.stderr.contains("`vault.old_root`"), "{}", refused.stderr);
    let shown = site.run_with(&["config", "show"], "", &[environment, root]);
    assert!(!shown.stdout.contains(&digits), "{}", shown.stdout);
    stop(server);

    // And on into a security module.
    let module = "/usr/lib/softhsm/libsofthsm2.so";
    if !Path::new(module).exists() {
        eprintln!("skipped in part: there is no {module}; install softhsm2");
        return;
    }
    let settings = site.folder().join("softhsm2.conf");
    let tokens = site.folder().join("tokens");
    fs::create_dir(&tokens).unwrap();
    fs::write(&settings, format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display()))
        .unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "llmos", "--pin", "4321", "--so-pin", "5678"])
        .env("SOFTHSM2_CONF", &settings)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let uri = format!("pkcs11:token=llmos;object=root?module-path={module}");
    let hsm = [
        ("LLMOS_VAULT_ROOT", uri.as_str()),
        ("LLMOS_ROOT_PIN", "4321"),
        ("SOFTHSM2_CONF", settings.to_str().unwrap()),
    ];
    let old = [("LLMOS_VAULT_OLD_ROOT", "environment"), ("LLMOS_OLD_ROOT_KEY", digits.as_str())];
    stop(site.serve_with(&[], &[&hsm[..], &old].concat()));
    let server = site.serve_with(&[], &hsm);
    is_readable(&server, &key, &stored);
    assert_eq!(server.json(&["vault", "status"])["root_kept_in"], "pkcs11");
    stop(server);
    let wrong = [hsm[0], ("LLMOS_ROOT_PIN", "0000"), hsm[2]];
    let refused = site.run_with(&["serve"], "", &wrong);
    assert!(refused.code != Some(0) && refused.stderr.contains("cannot log in"), "{}", refused.stderr);
}

#[test]
fn backups_and_exports_are_new_files_for_their_readers_only() {
    let site = Site::new();
    let server = site.serve(&[]);
    let key = server.key().to_owned();
    let stored = store(&server, &key, "patient 7", false);
    // Made by `age-keygen`, for this test.
    let recipient = "age1t7rxyev2z3rw82stdlrrepyc39nvn86l5078zqkf5uasdy86jp6svpy7pa";
    let export = ["export", "--subject", "patient 7", "--recipient", recipient, "patient.age"];
    assert_eq!(server.json(&export), json!({ "chat_completions": 1 }));
    let sealed = fs::read(site.folder().join("patient.age")).unwrap();
    assert!(sealed.starts_with(b"age-encryption.org/v1\n"));
    assert_nowhere(&[site.folder()], &[PLANTED[0], PLANTED[1], &stored.1]);
    for (args, says) in [
        (&export[..], "there is such a file already"),
        (&["export", "--subject", "nobody", "--recipient", recipient, "n.age"], "nothing is stored"),
        (&["export", "--subject", "patient 7", "--recipient", "age1x", "n.age"], "is none"),
        (
            &["export", "--subject", "patient 7", "--tenant", "none", "--recipient", recipient, "n.age"],
            "there is no tenant `none`",
        ),
        (&["vault", "restore", "patient.age"], "name the file of an identity"),
        (&["vault", "restore", "absent"], "No such file"),
        (&["vault", "restore", "llmos.toml"], "cannot be restored"),
        (&["vault", "rotate", "--tenant", "none"], "there is no tenant `none`"),
        (&["shred", "--subject", "patient 7"], "--yes"),
    ] {
        let refused = site.run(args);
        assert!(refused.code != Some(0) && refused.stderr.contains(says), "{args:?}: {}", refused.stderr);
    }
    assert!(!site.folder().join("n.age").exists());
    server.json(&["vault", "backup", "keys.age", "--recipient", recipient]);
    assert!(fs::read(site.folder().join("keys.age")).unwrap().starts_with(b"age-encryption.org/v1\n"));
    let modes = harness::modes(site.folder());
    for name in ["patient.age", "keys.age"] {
        assert!(modes.contains(&(name.to_owned(), 0o600)), "{modes:?}");
    }
    is_readable(&server, &key, &stored);
}

/// Servers are killed while callers have answers stored, keys are rotated and people are erased.
#[test]
fn what_was_acknowledged_is_there_wherever_the_server_is_killed() {
    let rounds = if env::var_os("LLMOS_TEST_FULL").is_some() { 200 } else { 10 };
    let site = Site::new();
    let first = site.serve(&[]);
    let key = first.key().to_owned();
    stop(first);
    // By id: the text, and whose it is.
    let acknowledged: Mutex<Vec<(String, String, String)>> = Mutex::default();
    let erased: Mutex<Vec<String>> = Mutex::default();
    for round in 0..rounds {
        let server = site.serve(&[]);
        let stored = AtomicU64::new(0);
        thread::scope(|scope| {
            for caller in 0..4 {
                let (server, key, acknowledged, stored) = (&server, &key, &acknowledged, &stored);
                scope.spawn(move || {
                    let subject = format!("{round}-{caller}");
                    let body = json!({
                        "model": "mock", "store": true, "max_tokens": 3, "temperature": 0,
                        "messages": [{ "role": "user", "content": format!("{subject} asks") }],
                    });
                    loop {
                        let header = format!("llmos-subject: {subject}");
                        let answer =
                            server.try_raw("POST", "/v1/chat/completions", key, &[&header], Some(&body));
                        let Some(answer) = answer else { return };
                        let text = answer["choices"][0]["message"]["content"].as_str().unwrap().to_owned();
                        let id = answer["id"].as_str().unwrap().to_owned();
                        acknowledged.lock().unwrap().push((id, text, subject.clone()));
                        stored.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            scope.spawn(|| {
                for step in 0..3 {
                    let _ = site.run(&["vault", "rotate", "--tenant", "default"]);
                    // Whoever was erased must stay so; it may not be known whether they were.
                    let gone = format!("{round}-{step}");
                    erased.lock().unwrap().push(gone.clone());
                    let _ = site.run(&["shred", "--subject", &gone, "--yes"]);
                    if step == 1 {
                        let _ = site.run(&["vault", "rotate"]);
                    }
                }
            });
            while stored.load(Ordering::Relaxed) < 5 + round % 7 {
                thread::sleep(Duration::from_millis(1));
            }
            thread::sleep(Duration::from_micros(round * 7_919 % 30_000));
            server.signal(Signal::KILL);
        });
        assert_eq!(server.ended(), None);
    }
    let server = site.serve(&[]);
    let (acknowledged, erased) = (acknowledged.into_inner().unwrap(), erased.into_inner().unwrap());
    assert!(acknowledged.len() as u64 > rounds * 5);
    for (id, text, subject) in &acknowledged {
        let (status, body) = get(&server, &key, id);
        match status {
            200 => assert_eq!(body["choices"][0]["message"]["content"], json!(text)),
            404 | 410 => assert!(erased.contains(subject), "{id} of {subject} is lost: {body}"),
            other => panic!("{id}: {other} {body}"),
        }
    }
    assert!(acknowledged.iter().any(|(_, _, subject)| !erased.contains(subject)));
    assert_eq!(
        server.json(&["vault", "rotate", "--tenant", "default"])["rewrapped"].as_u64().unwrap(),
        server.json(&["vault", "status"])["subject_keys"].as_u64().unwrap(),
        "a rotation resumes and ends"
    );
}

/// On a disk of its own, in a space of names of its own.
#[test]
fn on_a_full_disk_nothing_is_lost_and_the_error_says_so() {
    let site = Site::new();
    let data = site.data_dir();
    fs::create_dir(&data).unwrap();
    let isolated = |inner: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--mount", "sh", "-c", inner]);
        command
            .current_dir(site.folder())
            .env_clear()
            .env("HOME", site.folder())
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    };
    if !isolated("mount -t tmpfs -o size=80m,mode=700 tmpfs data")
        .status()
        .is_ok_and(|status| status.success())
    {
        eprintln!("skipped: disks cannot be mounted here");
        return;
    }
    let binary = env!("CARGO_BIN_EXE_llmos");
    let server = site.serve_by(isolated(&format!(
        "mount -t tmpfs -o size=80m,mode=700 tmpfs data && {{ sleep 600 >/dev/null 2>&1 & echo $! >beside; \
         exec {binary} serve --json; }}"
    )));
    // The server shows nothing of itself; a process beside it shows the disk.
    let beside: i32 = fs::read_to_string(site.folder().join("beside")).unwrap().trim().parse().unwrap();
    let inside = PathBuf::from(format!("/proc/{beside}/root")).join(data.strip_prefix("/").unwrap());
    let key = server.key().to_owned();
    let stored = store(&server, &key, "patient", false);
    fs::write(inside.join("filler"), vec![7; 160 << 20]).unwrap_err();
    let body = json!({
        "model": "mock", "store": true, "max_tokens": 3,
        "messages": [{ "role": "user", "content": "x".repeat(6_000) }],
    });
    let ask =
        || server.request("POST", "/v1/chat/completions", &key, &["llmos-subject: patient"], Some(&body));
    // What the files have set aside already may take some.
    let refused = (0..100).map(|_| ask()).find(|answer| answer.status != 200).unwrap();
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert_eq!(refused.body["error"]["code"], "store_unavailable");
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("disk is full"), "{}", refused.body);
    is_readable(&server, &key, &stored);
    let plain = server.chat(&key, "hello");
    assert_eq!(plain.status, 200, "answers that are not stored go on: {}", plain.body);
    fs::remove_file(inside.join("filler")).unwrap();
    let before = listed(&server, &key).len();
    assert_eq!(ask().status, 200);
    assert_eq!(listed(&server, &key).len(), before + 1);
    kill_process(Pid::from_raw(beside).unwrap(), Signal::KILL).unwrap();
}
