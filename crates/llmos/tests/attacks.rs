//! Attacks on the doors of the real binary, each by the number that it has in `docs/security/attacks.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;
mod raw;

use harness::{MODEL, Server, Site};
use raw::{field, line, send};
use serde_json::{Value, json};

const METHODS: [&str; 7] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Who may be asked without a credential: how the server does, and to countersign what the key of a known log has signed.
const OPEN: [&str; 3] = ["/healthz", "/readyz", "/witness/v1/add-checkpoint"];

/// An error has the protocol's shape and a request id, and repeats nothing of what was sent.
fn is_proper(body: &str, sent: &[&str]) {
    let error: Value = serde_json::from_str(body).unwrap_or_else(|_| panic!("no JSON: {body}"));
    for field in ["type", "code", "message", "request_id"] {
        assert!(error["error"][field].is_string(), "no {field} in {body}");
    }
    for text in sent {
        assert!(!body.contains(text), "{text} comes back in {body}");
    }
}

/// Every path that there is, with every method, and paths that nearly are.
#[test]
fn a01_without_a_credential_nothing_is_said() {
    let site = Site::new();
    let server = site.serve(&[]);
    let document = server.request("GET", "/openapi.json", server.key(), &[], None).body;
    let known: Vec<String> = document["paths"].as_object().unwrap().keys().cloned().collect();
    assert!(known.len() > 15, "{known:?}");
    let mut paths: Vec<String> = known
        .iter()
        .map(|path| path.replace("{id}", "x").replace("{model}", "x").replace("{provider}", "x"))
        .collect();
    for path in known {
        paths.extend([
            format!("{path}/"),
            format!("/{path}"),
            path.to_uppercase(),
            format!("{path}/%2e%2e"),
            format!("/x/..{path}"),
        ]);
    }
    paths.extend(
        [
            "/",
            "/debug/pprof",
            "/api/jobs",
            "/metrics/",
            "/%00",
            "/healthz/",
            "//healthz",
            "/healthz/../v1/models",
            // At the local socket only.
            "/api/v1/version",
            "/api/v1/vault/backups",
            "/api/v1/vault/restores",
            "/api/v1/subjects/export",
        ]
        .map(str::to_owned),
    );
    for path in &paths {
        for method in METHODS {
            for credential in
                ["", "authorization: Bearer llmos_0123456789ab_x\r\n", "authorization: Basic eDp5\r\n"]
            {
                let (status, head, body) =
                    send(&server, &line(method, path, &format!("host: localhost\r\n{credential}")));
                if OPEN.contains(&path.as_str()) {
                    assert_ne!(status, 401, "{method} {path}");
                    continue;
                }
                // Where people sign in: nobody is in by that alone, and what is not there is just not there.
                if path == "/auth" || path.starts_with("/auth/") {
                    assert!(
                        status < 500 && !head.contains("set-cookie: __host-llmos=llmos"),
                        "{method} {path}"
                    );
                    continue;
                }
                // Another server's log is its own credential; without one of the configuration there is nothing here.
                if path == "/witness/v1/add-checkpoint" {
                    assert!((400..500).contains(&status), "{method} {path}: {head}");
                    continue;
                }
                assert_eq!(status, 401, "{method} {path} {credential}: {head}");
                assert!(head.contains("www-authenticate: bearer"), "{head}");
                if method != "HEAD" {
                    is_proper(&body, &["0123456789ab", "eDp5"]);
                }
            }
        }
    }
    // Nor is a body looked at first, and no key is taken from the address.
    let long = format!(
        "host: localhost\r\ncontent-type: application/json\r\ncontent-length: 7\r\n\r\nnot {}",
        "json"
    );
    assert_eq!(send(&server, &line("POST", "/v1/chat/completions", &long)).0, 401);
    for name in ["api_key", "key", "access_token"] {
        let target = format!("/v1/models?{name}={}", server.key());
        assert_eq!(send(&server, &line("GET", &target, "host: localhost\r\n")).0, 401);
    }
    assert!(!site.log().contains(server.key()), "a key in an address does not get into the log");
    assert_eq!(server.get("/healthz").status, 200);
}

#[test]
fn a02_other_machines_are_let_in_over_tls_only() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:80"] {
        let site = Site::with(MODEL);
        let refused = site.run(&["serve", "--listen", address]);
        assert_eq!(refused.code, Some(6), "{}", refused.stderr);
        assert!(refused.stderr.contains("set `tls.certificate` and `tls.key`"), "{}", refused.stderr);
    }
}

#[test]
fn a03_what_the_caller_calls_the_server_decides_nothing() {
    let site = Site::new();
    let server = site.serve(&[]);
    let key = format!("authorization: Bearer {}\r\n", server.key());
    for (target, headers, status, code) in [
        ("/v1/models", "host: evil.test\r\n", 421, "unknown_host"),
        ("/v1/models", "host: x/../admin\r\n", 400, "bad_host"),
        ("/v1/models", "host: localhost\r\nhost: localhost\r\n", 400, "bad_host"),
        ("/v1/models", "", 400, "bad_host"),
        ("http://evil.test/v1/models", "host: localhost\r\n", 400, "bad_host"),
        ("http://evil.test/v1/models", "host: evil.test\r\n", 421, "unknown_host"),
    ] {
        let (found, _, body) = send(&server, &line("GET", target, &format!("{headers}{key}")));
        assert_eq!(found, status, "{target} {headers}: {body}");
        is_proper(&body, &["evil.test", server.key()]);
        assert!(body.contains(code), "{body}");
    }
    // Whether it is well is said to whoever asks by an address.
    assert_eq!(send(&server, &line("GET", "/healthz", "host: 10.1.2.3:8443\r\n")).0, 200);
    // What proxies add is not believed: the route is the one that was asked for.
    for header in [
        "x-original-url: /healthz",
        "x-rewrite-url: /healthz",
        "x-forwarded-host: evil.test",
        "x-forwarded-prefix: /healthz",
    ] {
        let (status, _, _) =
            send(&server, &line("GET", "/v1/models", &format!("host: localhost\r\n{header}\r\n")));
        assert_eq!(status, 401, "{header}");
        let (status, _, body) =
            send(&server, &line("GET", "/v1/models", &format!("host: localhost\r\n{header}\r\n{key}")));
        assert!(status == 200 && body.contains("mock"), "{header}: {body}");
    }
}

/// Revoked, or its user suspended: the next request is refused, and an answer that has begun ends.
#[test]
fn a18_who_is_sent_away_is_away_at_once() {
    let site = Site::new();
    let server = site.serve(&[]);
    for (user, command) in [("anna", "suspend"), ("bert", "revoke")] {
        let made = server.json(&["keys", "create", "--label", "k", "--user", user]);
        let (id, key) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
        let messages = json!([{ "role": "user", "content": "tell me a very long story" }]);
        let body = json!({ "model": "mock", "stream": true, "max_tokens": 8000, "messages": messages });
        let mut events = server.stream_with(key, &body);
        assert!(events.next().is_some());
        match command {
            "suspend" => drop(server.json(&["users", "suspend", "--user", user])),
            _ => drop(server.json(&["keys", "revoke", id])),
        }
        let taken = std::time::Instant::now();
        let last = events.last().unwrap();
        assert!(taken.elapsed() < std::time::Duration::from_secs(5), "{:?}", taken.elapsed());
        assert_eq!(last["error"]["code"], "invalid_api_key", "{last}");
        assert_eq!(server.request("GET", "/v1/models", key, &[], None).status, 401);
        harness::wait_until("its sequence is gone", || {
            server.json(&["ps"])["sequences"].as_array().unwrap().is_empty()
        });
    }
    server.json(&["users", "resume", "--user", "anna"]);
    assert_eq!(server.json(&["users", "list"])["users"][1]["suspended_at"], Value::Null);
}

#[test]
fn a31_a_key_never_gives_more_than_its_user_may_now() {
    let site = Site::new();
    let server = site.serve(&[]);
    let create = |args: &[&str]| {
        let all = [&["keys", "create", "--label", "k", "--user", "anna"], args, &["--json"]].concat();
        let outcome = site.run(&all);
        (outcome.code, serde_json::from_str::<Value>(&outcome.stdout).unwrap_or_default(), outcome.stderr)
    };
    let (_, made, _) = create(&["--role", "operator", "--class-max", "normal"]);
    let key = made["secret"].as_str().unwrap();
    assert_eq!(server.request("GET", "/metrics", key, &[], None).status, 200);
    for wider in
        [&["--role", "administrator"][..], &["--class-max", "system"], &["--data-class-max", "restricted"]]
    {
        let (code, _, stderr) = create(
            &[wider, &["--class-max", "normal"][..if wider[0] == "--class-max" { 0 } else { 2 }]].concat(),
        );
        assert!(code == Some(4) && stderr.contains("the user may have at most"), "{wider:?}: {stderr}");
    }
    // What is taken from the user is taken from the key that was made before.
    server.json(&["users", "set", "--user", "anna", "--role", "member"]);
    assert_eq!(server.request("GET", "/metrics", key, &[], None).status, 403);

    let (_, narrow, _) = create(&["--class-max", "normal", "--action", "generate", "--model", "mock"]);
    let narrow = narrow["secret"].as_str().unwrap();
    let ask = |model: &str| {
        let body =
            json!({ "model": model, "max_tokens": 1, "messages": [{ "role": "user", "content": "hello" }] });
        server.request("POST", "/v1/chat/completions", narrow, &[], Some(&body)).status
    };
    assert_eq!((ask("mock"), ask("other")), (200, 200), "an alias is the same model");
    let refused = server.request("GET", "/v1/models", narrow, &[], None);
    assert_eq!((refused.status, &refused.body["error"]["code"]), (403, &json!("out_of_key_scope")));
    let (_, elsewhere, _) = create(&["--class-max", "normal", "--model", "another"]);
    let elsewhere = elsewhere["secret"].as_str().unwrap();
    let listed = server.request("GET", "/v1/models", elsewhere, &[], None).body;
    assert_eq!(listed["data"], json!([]), "what a key is not for is not listed");
    let body = json!({ "model": "mock", "messages": [{ "role": "user", "content": "hello" }] });
    assert_eq!(server.request("POST", "/v1/chat/completions", elsewhere, &[], Some(&body)).status, 403);
    assert_ne!(create(&["--action", "no_such"]).0, Some(0));
}

#[test]
fn a32_keys_that_are_over_open_nothing() {
    let site = Site::new();
    let server = site.serve(&[]);
    let made = server.json(&["keys", "create", "--label", "k", "--user", "anna", "--expires-days", "1"]);
    let (id, first) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
    assert!(made["expires_at"].as_u64().unwrap() > made["created_at"].as_u64().unwrap());
    let status = |key: &str| server.request("GET", "/v1/models", key, &[], None).status;
    let second = server.json(&["keys", "rotate", id, "--overlap-hours", "1"]);
    let second = second["secret"].as_str().unwrap();
    assert_eq!((status(first), status(second)), (200, 200));
    let third = server.json(&["keys", "rotate", id, "--overlap-hours", "0"]);
    let third = third["secret"].as_str().unwrap();
    assert_eq!((status(first), status(second), status(third)), (401, 401, 200));
    server.json(&["users", "suspend", "--user", "anna"]);
    assert_eq!(status(third), 401);
    server.json(&["users", "resume", "--user", "anna"]);
    assert_eq!(status(third), 200);
    server.json(&["keys", "revoke", id]);
    assert_eq!(status(third), 401);
    assert_eq!(site.run(&["keys", "rotate", id]).code, Some(5));
    assert_eq!(site.run(&["users", "suspend", "--user", "nobody"]).code, Some(5));
    assert_eq!(site.run(&["users", "set", "--user", "anna"]).code, Some(2));
}

/// The sender's words come back in no header, and no log line is anybody's but ours.
#[test]
fn a51_ids_and_names_of_callers_are_used_for_nothing() {
    let site = Site::new();
    let server = site.serve(&["--log-level", "debug"]);
    let endless = "A".repeat(20_000);
    for value in ["\u{1b}[31mred", "x\u{7f}y", "evil.test:80", "../../etc/passwd", endless.as_str()] {
        let body = json!({
            "model": "mock", "user": value, "prompt_cache_key": value, "safety_identifier": value, "max_tokens": 1,
            "messages": [{ "role": "user", "content": "hello" }],
        });
        let printable = value.chars().all(|character| !character.is_control());
        let headers: Vec<String> = if printable {
            ["x-request-id", "traceparent", "cache_salt"].map(|name| format!("{name}: {value}")).into()
        } else {
            Vec::new()
        };
        let headers: Vec<&str> = headers.iter().map(String::as_str).take(1).collect();
        let answer = server.request("POST", "/v1/chat/completions", server.key(), &headers, Some(&body));
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(!answer.head.contains(&value.to_lowercase()[..8.min(value.len())]), "{}", answer.head);
    }
    let log = site.log();
    assert!(!log.contains("evil.test") && !log.contains("AAAAAAAA") && !log.contains('\u{7f}'));
    assert!(log.lines().all(|line| !line.contains("[31mred")));
    let salted =
        json!({ "model": "mock", "cache_salt": "x", "messages": [{ "role": "user", "content": "hello" }] });
    let refused = server.request("POST", "/v1/chat/completions", server.key(), &[], Some(&salted));
    assert_eq!(refused.status, 400, "a client does not choose whose cache it shares");
}

/// Fifty keys of one user, and users of one tenant: what is limited is whoever is behind them.
#[test]
fn a54_quotas_hold_over_all_keys_of_a_user_and_all_users_of_a_tenant() {
    let site = Site::with(&format!(
        "{MODEL}[[quota]]\ntenant = 'clinic'\nrequests_per_minute = 8\n[[quota]]\ntenant = 'clinic'\nuser = '*'\n\
         requests_per_minute = 5\n[[quota]]\ntenant = 'school'\ntokens_per_day = 2000\n[[quota]]\ntenant = 'slow'\n\
         concurrent = 1\n"
    ));
    let server = site.serve(&[]);
    let key = |tenant: &str, user: &str| {
        let made = server.json(&["keys", "create", "--label", "k", "--tenant", tenant, "--user", user]);
        made["secret"].as_str().unwrap().to_owned()
    };
    let messages = json!([{ "role": "user", "content": "hello" }]);
    let body = json!({ "model": "mock", "max_tokens": 4, "messages": messages });
    let ask = |key: &str| server.request("POST", "/v1/chat/completions", key, &[], Some(&body));
    let keys: Vec<String> = (0..8).map(|_| key("clinic", "anna")).collect();
    let answered = keys.iter().filter(|key| ask(key).status == 200).count();
    assert_eq!(answered, 5, "of one user, over all keys");
    let refused = ask(&keys[0]);
    assert_eq!(
        (refused.status, &refused.body["error"]["code"]),
        (429, &json!("quota_exceeded")),
        "{}",
        refused.body
    );
    assert!(refused.head.contains("retry-after: "), "{}", refused.head);
    let others: Vec<String> = (0..6).map(|number| key("clinic", &format!("user {number}"))).collect();
    let answered = others.iter().filter(|key| ask(key).status == 200).count();
    assert_eq!(answered, 3, "of one tenant, over all users");
    assert_eq!(ask(server.key()).status, 200, "another tenant");

    // Tokens are counted as they were used, whatever was set aside.
    let school = key("school", "kim");
    let first = ask(&school);
    let each = first.body["usage"]["total_tokens"].as_u64().unwrap();
    let more =
        std::iter::repeat_with(|| ask(&school)).take_while(|answer| answer.status == 200).count() as u64;
    let used = each * (more + 1);
    assert!(used <= 2_000 && used + 2 * each + 20 > 2_000, "{used} tokens at {each} each");
    let long = json!({ "model": "mock", "max_tokens": 3000, "messages": body["messages"] });
    let refused = server.request("POST", "/v1/chat/completions", &school, &[], Some(&long));
    assert!(
        refused.status == 429 && !refused.head.contains("retry-after"),
        "it never fits: {}",
        refused.head
    );

    // What was used is written down, and counts after a restart.
    let used_by = |server: &Server<'_>, user: &str| {
        let usage = server.json(&["usage", "--by", "user"]);
        let row = usage["usage"].as_array().unwrap().iter().find(|row| row["user"] == user).cloned().unwrap();
        row["input_tokens"].as_u64().unwrap() + row["output_tokens"].as_u64().unwrap()
    };
    harness::wait_until("all is written down", || used_by(&server, "kim") == used);
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.ended(), Some(0));
    let server = site.serve(&[]);
    let ask = |key: &str| server.request("POST", "/v1/chat/completions", key, &[], Some(&body));
    assert_eq!(used_by(&server, "kim"), used);
    assert_eq!(ask(&school).status, 429);
    let csv = site.run(&["usage", "--by", "tenant", "--by", "model", "--csv"]);
    assert!(
        csv.stdout.starts_with("tenant,model,requests,input_tokens,output_tokens,spend\r\nclinic,mock,8,"),
        "{}",
        csv.stdout
    );

    // One at once; who leaves makes room, and pays for what ran.
    let made = server.json(&["keys", "create", "--label", "k", "--tenant", "slow", "--user", "tom"]);
    let slow = made["secret"].as_str().unwrap().to_owned();
    let long = json!({ "model": "mock", "stream": true, "max_tokens": 8000, "messages": body["messages"] });
    let mut stream = server.stream_with(&slow, &long);
    assert!(stream.next().is_some());
    assert_eq!(ask(&slow).status, 429);
    drop(stream);
    harness::wait_until("there is room again", || ask(&slow).status == 200);
}

#[test]
fn a57_urgency_is_what_the_key_allows() {
    let site = Site::new();
    let server = site.serve(&[]);
    let made = server.json(&["keys", "create", "--label", "k", "--user", "u", "--class-max", "normal"]);
    let key = made["secret"].as_str().unwrap();
    let body =
        json!({ "model": "mock", "max_tokens": 1, "messages": [{ "role": "user", "content": "hello" }] });
    for (headers, status) in [
        (&["llmos-class: system"][..], 403),
        (&["llmos-class: interactive"], 403),
        (&["llmos-class: 0"], 400),
        (&["x-llmos-class: system", "x-llmos-tenant: 0", "x-llmos-role: administrator"], 200),
        (&["llmos-data-class: restricted"], 403),
    ] {
        let answer = server.request("POST", "/v1/chat/completions", key, headers, Some(&body));
        assert_eq!(answer.status, status, "{headers:?}: {}", answer.body);
    }
    let prioritised =
        json!({ "model": "mock", "priority": 0, "messages": [{ "role": "user", "content": "hello" }] });
    assert_eq!(server.request("POST", "/v1/chat/completions", key, &[], Some(&prioritised)).status, 400);
    let refused = server.request("GET", "/metrics", key, &["x-llmos-role: administrator"], None);
    assert_eq!(refused.status, 403, "{}", refused.body);
}

/// A page of another site, in the browser of somebody who sits at this machine.
#[test]
fn a62_pages_of_other_sites_are_refused() {
    let site = Site::new();
    let server = site.serve(&[]);
    let key = format!("authorization: Bearer {}\r\n", server.key());
    let ask = |headers: &str| send(&server, &line("GET", "/v1/models", &format!("{headers}{key}")));
    for origin in ["http://evil.test", "null", "http://localhost.evil.test:8080", "file://"] {
        let (status, head, _) = ask(&format!("host: localhost\r\norigin: {origin}\r\n"));
        assert_eq!(status, 403, "{origin}");
        assert!(!head.contains("access-control-allow"), "{head}");
    }
    assert_eq!(ask("host: rebound.evil.test\r\n").0, 421);
    let (status, head, _) = ask(&format!("host: {0}\r\norigin: http://{0}\r\n", server.address()));
    assert_eq!(status, 200);
    assert!(!head.contains("access-control-allow"), "{head}");
    // What a form or a script may send without asking first is no JSON to us.
    let simple = format!("host: localhost\r\ncontent-type: text/plain\r\ncontent-length: 2\r\n{key}\r\n{{}}");
    assert_eq!(
        send(&server, &format!("POST /v1/chat/completions HTTP/1.1\r\nconnection: close\r\n{simple}")).0,
        415
    );
    let (status, head, _) = send(
        &server,
        &line(
            "OPTIONS",
            "/v1/chat/completions",
            &format!(
                "host: localhost\r\norigin: http://evil.test\r\naccess-control-request-method: POST\r\n{key}"
            ),
        ),
    );
    assert!(status == 403 && !head.contains("access-control-allow"), "{head}");
}

/// Whatever is asked for, of whatever kind the answer is: the same rules, letter by letter.
#[test]
fn a89_every_answer_is_strict_and_none_is_cached() {
    let site = Site::new();
    let server = site.serve(&[]);
    let own = "host: localhost\r\n";
    let key = format!("{own}authorization: Bearer {}\r\n", server.key());
    let document = server.request("GET", "/openapi.json", server.key(), &[], None).body;
    let known = document["paths"].as_object().unwrap().keys().map(|path| path.replace(['{', '}'], ""));
    let mut asked = Vec::new();
    for path in known.chain(["/nothing".to_owned()]) {
        for method in METHODS.into_iter().chain(["TRACE"]) {
            asked.extend([line(method, &path, own), line(method, &path, &key)]);
        }
        asked.extend([line("GET", &path, "host: evil.test\r\n"), line("GET", &format!("{path}?a&a"), &key)]);
    }
    let body =
        json!({ "model": "mock", "stream": true, "messages": [{ "role": "user", "content": "hello" }] });
    let about = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.to_string().len());
    asked.push(line("POST", "/v1/chat/completions", &format!("{key}{about}")) + &body.to_string());
    let mut pages = 0;
    for request in asked {
        let (status, head, _) = send(&server, &request);
        assert!(status >= 200, "{request}: {head}");
        let is_page = field(&head, "content-type").is_some_and(|said| said.starts_with("text/html"));
        pages += usize::from(is_page);
        let (policy, referrer) = if is_page {
            (
                "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                 form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
                "same-origin",
            )
        } else {
            ("default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'", "no-referrer")
        };
        for (name, value) in [
            ("cache-control", Some("no-store")),
            ("x-content-type-options", Some("nosniff")),
            ("x-frame-options", Some("deny")),
            ("content-security-policy", Some(policy)),
            ("referrer-policy", Some(referrer)),
            ("cross-origin-resource-policy", Some("same-origin")),
            // Only over TLS.
            ("strict-transport-security", None),
            ("access-control-allow-origin", None),
            ("server", None),
            ("x-powered-by", None),
        ] {
            assert_eq!(field(&head, name), value, "{name} of {request}: {head}");
        }
        assert!(field(&head, "x-request-id").is_some_and(|id| id.len() == 32), "{head}");
    }
    assert!(pages > 5, "{pages}");
}

/// The table of attacks and the files that try them know each other.
#[test]
fn every_attack_that_is_named_is_tried() {
    let table = include_str!("../../../docs/security/attacks.md");
    let here = [
        include_str!("attacks.rs"),
        include_str!("attacks_inside.rs"),
        include_str!("access.rs"),
        include_str!("audit.rs"),
        include_str!("audit_records.rs"),
        include_str!("engine.rs"),
        include_str!("tls.rs"),
        include_str!("../../engine/src/llama/confinement/tests.rs"),
    ]
    .concat();
    let browser = [
        include_str!("../../../tests/identity/login.test.mjs"),
        include_str!("../../../tests/identity/device.test.mjs"),
    ]
    .concat();
    let is_attack = |name: &&str| {
        let mut bytes = name.bytes();
        bytes.next() == Some(b'a') && bytes.next().is_some_and(|digit| digit.is_ascii_digit())
    };
    let mut named: Vec<&str> = table.split('`').filter(is_attack).collect();
    let mut tried: Vec<&str> =
        here.split("fn ").filter(is_attack).filter_map(|rest| rest.split('(').next()).collect();
    tried.extend(browser.split("test('").filter(is_attack).filter_map(|rest| rest.split('\'').next()));
    named.sort_unstable();
    tried.sort_unstable();
    assert!(named.len() > 5);
    assert_eq!(named, tried);
}
