//! HTTP as its standards and ASVS ask for it, on the real binary.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;
mod raw;

use harness::{MODEL, Server, Site};
use raw::{exchange, field, line, send};
use serde_json::{Value, json};

/// Every route: method, path and action.
const ROUTES: &str = include_str!("../../gateway/src/routes.csv");
/// What is at the local socket only.
const ON_THE_MACHINE: [&str; 5] = [
    "/api/v1/version",
    "/api/v1/vault/backups",
    "/api/v1/vault/restores",
    "/api/v1/subjects/export",
    "/api/v1/audit/exports",
];

/// Methods and paths of the public address, with something in each place.
fn routes() -> Vec<(String, String)> {
    let row = |row: &str| {
        let mut fields = row.split(',').map(str::to_owned);
        (fields.next().unwrap().to_uppercase(), fields.next().unwrap())
    };
    let public = ROUTES.lines().skip(1).map(row).filter(|(_, path)| !ON_THE_MACHINE.contains(&path.as_str()));
    let filled = |path: String| {
        let id = if path.starts_with("/v1/models") { "mock" } else { "x" };
        let named = [
            ("{id}", id),
            ("{model}", "mock"),
            ("{tenant}", "default"),
            ("{days}", "1"),
            ("{old}", "0"),
            ("{new}", "1"),
        ];
        let path = named.into_iter().fold(path, |path, (name, value)| path.replace(name, value));
        path.replace("{provider}", "nobody").replace("{name}", "none")
    };
    let routes: Vec<_> = public.map(|(method, path)| (method, filled(path))).collect();
    assert!(routes.len() > 60 && routes.iter().all(|(_, path)| !path.contains('{')), "{routes:?}");
    routes
}

fn allowed(server: &Server<'_>) -> String {
    format!("host: localhost\r\nauthorization: Bearer {}\r\n", server.key())
}

/// Where a message ends has one reading. Each case is followed by a request that another reading would take for a part of it,
/// or the other way round; the statuses of all answers show which was taken.
#[test]
fn where_a_message_ends_has_one_reading() {
    let site = Site::new();
    let server = site.serve(&[]);
    let next = "GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let chunked = "transfer-encoding: chunked\r\n";
    let cases: &[(&str, &str, &[u16])] = &[
        // A body of JSON without a model is answered 400, an empty one too; then the next request is answered.
        ("content-length: 2\r\n", "{}", &[400, 200]),
        ("content-length: 2\r\ncontent-length: 2\r\n", "{}", &[400, 200]),
        (chunked, "2\r\n{}\r\n0\r\n\r\n", &[400, 200]),
        (chunked, "2;a=b;c=\"d\"\r\n{}\r\n0\r\nx: y\r\n\r\n", &[400, 200]),
        // Both: chunks count, and nothing more is taken from such a connection.
        ("content-length: 5\r\ntransfer-encoding: chunked\r\n", "0\r\n\r\n", &[400]),
        ("transfer-encoding: chunked\r\ncontent-length: 5\r\n", "0\r\n\r\n", &[400]),
        ("content-length: 200\r\ntransfer-encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n", &[400]),
        // Lengths that differ, or are none.
        ("content-length: 2\r\ncontent-length: 3\r\n", "{}", &[400]),
        ("content-length: 2, 3\r\n", "{}", &[400]),
        ("content-length: +2\r\n", "{}", &[400]),
        ("content-length: -2\r\n", "{}", &[400]),
        ("content-length: 0x2\r\n", "{}", &[400]),
        ("content-length: 2 2\r\n", "{}", &[400]),
        ("content-length: 99999999999999999999\r\n", "{}", &[400]),
        // Chunks that are not the last coding, or nearly called so.
        ("transfer-encoding: chunked, identity\r\n", "0\r\n\r\n", &[400]),
        ("transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", "0\r\n\r\n", &[400]),
        ("transfer-encoding: xchunked\r\n", "0\r\n\r\n", &[400]),
        ("transfer-encoding: \u{b}chunked\r\n", "0\r\n\r\n", &[400]),
        ("transfer-encoding: \"chunked\"\r\n", "0\r\n\r\n", &[400]),
        // Lines that others may read otherwise.
        ("transfer-encoding : chunked\r\n", "0\r\n\r\n", &[400]),
        ("transfer-encoding:\r\n chunked\r\n", "0\r\n\r\n", &[400]),
        (" transfer-encoding: chunked\r\n", "0\r\n\r\n", &[400]),
        ("x: y\r\n\tz\r\ncontent-length: 2\r\n", "{}", &[400]),
        ("x: y\rtransfer-encoding: chunked\r\n", "0\r\n\r\n", &[400]),
        ("x: y\0\r\ncontent-length: 2\r\n", "{}", &[400]),
        ("no colon\r\ncontent-length: 2\r\n", "{}", &[400]),
        (": no name\r\ncontent-length: 2\r\n", "{}", &[400]),
        // Chunks whose sizes are none, lie, or have no end.
        (chunked, "0x2\r\n{}\r\n0\r\n\r\n", &[400]),
        (chunked, "-2\r\n{}\r\n0\r\n\r\n", &[400]),
        (chunked, "2\r\n{}xx0\r\n\r\n", &[400]),
        (chunked, "2\n{}\n0\n\n", &[400]),
        (chunked, "2;a\nb\r\n{}\r\n0\r\n\r\n", &[400]),
        (chunked, "fffffffffffffffff\r\n{}\r\n0\r\n\r\n", &[400]),
    ];
    let head = format!(
        "POST /v1/chat/completions HTTP/1.1\r\n{}content-type: application/json\r\n",
        allowed(&server)
    );
    for (headers, body, expected) in cases {
        let answers = exchange(&server, format!("{head}{headers}\r\n{body}{next}").as_bytes());
        let statuses: Vec<u16> = answers
            .split("HTTP/1.1 ")
            .skip(1)
            .map(|answer| answer.split(' ').next().unwrap().parse().unwrap())
            .collect();
        assert_eq!(&statuses, expected, "{headers:?} {body:?}: {answers}");
    }
    // Other versions have no chunks, or are none that is spoken here.
    for (other, answer) in [
        (format!("POST /v1/models HTTP/1.0\r\n{chunked}\r\n0\r\n\r\n"), "HTTP/1.1 400 "),
        ("GET /healthz HTTP/1.2\r\n\r\n".to_owned(), "HTTP/1.1 400 "),
        ("GET /healthz\r\n\r\n".to_owned(), "HTTP/1.1 400 "),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), ""),
    ] {
        let answers = exchange(&server, (other.clone() + next).as_bytes());
        let count = usize::from(!answer.is_empty());
        assert!(answers.starts_with(answer), "{other}: {answers}");
        assert_eq!(answers.matches("HTTP/1.1").count(), count, "{other}: {answers}");
    }
    // Nor does a connection become another one.
    let upgrade =
        "upgrade: h2c\r\nhttp2-settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nconnection: upgrade, http2-settings\r\n";
    let answers = exchange(
        &server,
        format!("GET /healthz HTTP/1.1\r\nhost: localhost\r\n{upgrade}\r\n{next}").as_bytes(),
    );
    assert_eq!(answers.matches("HTTP/1.1 200").count(), 2, "{answers}");
}

/// Of what is there twice nobody can know which one is meant (HTTP parameter pollution).
#[test]
fn what_an_address_says_twice_is_refused_on_every_route() {
    let site = Site::new();
    let server = site.serve(&[]);
    let with_key = allowed(&server);
    for (method, path) in routes() {
        let (status, _, body) =
            send(&server, &line(&method, &format!("{path}?limit=1&a=b&limit=2"), &with_key));
        let error: Value = serde_json::from_str(&body).unwrap_or_default();
        let said = (&error["error"]["param"], &error["error"]["message"]);
        let expected = (&json!("limit"), &json!("`limit` is there twice; send it once"));
        assert_eq!((status, said), (400, expected), "{method} {path}: {body}");
    }
    // Whoever may not enter learns no more than before.
    let (status, _, _) = send(&server, &line("GET", "/v1/models?a=1&a=2", "host: localhost\r\n"));
    assert_eq!(status, 401);
}

/// What the caller said before a proxy hid it must not come back (cross-site tracing); nor is this a proxy.
#[test]
fn nothing_is_traced_and_nothing_is_connected() {
    let site = Site::new();
    let server = site.serve(&[]);
    let canary = "x-canary: CANARY-0123456789\r\n";
    let with_key = allowed(&server);
    let mut paths: Vec<String> = routes().into_iter().map(|(_, path)| path).collect();
    paths.extend(["/".to_owned(), "/nothing".to_owned(), "localhost:443".to_owned(), "*".to_owned()]);
    paths.dedup();
    for path in paths {
        for method in ["TRACE", "CONNECT", "TRACK", "DEBUG"] {
            for credential in ["host: localhost\r\n", with_key.as_str()] {
                let (status, head, body) =
                    send(&server, &line(method, &path, &format!("{credential}{canary}")));
                assert!([400, 401, 404, 405].contains(&status), "{method} {path}: {head}");
                assert!(!head.contains("canary") && !body.to_lowercase().contains("canary"), "{head} {body}");
            }
        }
    }
    assert!(!site.log().contains("CANARY"));
}

/// Everything that can be asked for without changing something, by somebody who may change everything.
#[test]
fn what_only_asks_changes_nothing() {
    let site = Site::new();
    let server = site.serve(&[]);
    let body =
        json!({ "model": "mock", "store": true, "messages": [{ "role": "user", "content": "hello" }] });
    let stored = server.request("POST", "/v1/chat/completions", server.key(), &[], Some(&body)).body;
    let made = server.json(&["keys", "create", "--label", "k", "--user", "anna"]);
    let all = || {
        let shown =
            ["/v1/chat/completions", "/v1/models", "/api/v1/keys", "/api/v1/users", "/api/v1/processes"];
        let mut seen: Vec<String> = shown
            .iter()
            .map(|path| server.request("GET", path, server.key(), &[], None).body.to_string())
            .collect();
        seen.push(server.json(&["vault", "status"]).to_string());
        seen
    };
    let before = all();
    assert!(before[0].contains(stored["id"].as_str().unwrap()) && before[2].contains("anna"), "{before:?}");
    let routes = routes();
    let ids = [stored["id"].as_str().unwrap(), made["id"].as_str().unwrap(), "mock"];
    let overrides =
        "x-http-method-override: DELETE\r\nx-http-method: DELETE\r\nx-method-override: DELETE\r\n";
    let with_key = format!("{}{overrides}", allowed(&server));
    for (_, path) in &routes {
        let is_read = routes.iter().any(|(method, other)| method == "GET" && other == path);
        for id in ids {
            let path = path.replace("/x", &format!("/{id}"));
            for method in ["GET", "HEAD"] {
                let target = format!("{path}?_method=DELETE&method=DELETE");
                let (status, head, _) = send(&server, &line(method, &target, &with_key));
                assert_eq!(status == 405, !is_read, "{method} {path}: {head}");
            }
        }
    }
    assert_eq!(all(), before);
}

/// What a body is, is said of every one, with its characters where it is text.
#[test]
fn every_body_is_what_it_says_it_is() {
    let site = Site::new();
    let server = site.serve(&[]);
    let with_key = allowed(&server);
    let mut asked: Vec<String> =
        routes().into_iter().map(|(method, path)| line(&method, &path, &with_key)).collect();
    asked.extend([
        line("GET", "/v1/models", "host: localhost\r\n"),
        line("GET", "/v1/models", "host: evil.test\r\n"),
        line("GET", "/nothing", &with_key),
        line("PUT", "/v1/models", &with_key),
    ]);
    for stream in [true, false] {
        let body =
            json!({ "model": "mock", "stream": stream, "messages": [{ "role": "user", "content": "é" }] });
        let about =
            format!("content-type: application/json\r\ncontent-length: {}\r\n", body.to_string().len());
        asked.push(line("POST", "/v1/chat/completions", &format!("{with_key}{about}")) + &body.to_string());
    }
    let mut kinds = std::collections::BTreeSet::new();
    for request in asked {
        let (_, head, body) = send(&server, &request);
        let said = field(&head, "content-type").unwrap_or_default();
        let is_it = match said {
            "" => body.is_empty(),
            "application/json" | "application/scim+json; charset=utf-8" => {
                serde_json::from_str::<Value>(&body).is_ok()
            }
            "text/event-stream; charset=utf-8" => body.contains("data: {"),
            "text/html; charset=utf-8" => {
                body.starts_with("<!doctype html>") && body.contains("<meta charset=\"utf-8\">")
            }
            "text/css; charset=utf-8" => body.contains('{') && !body.contains('<'),
            "text/javascript; charset=utf-8" => body.contains("navigator.credentials"),
            "application/openmetrics-text; version=1.0.0; charset=utf-8" => body.ends_with("# EOF\n"),
            _ => false,
        };
        assert!(is_it, "{said} of {request}: {body}");
        kinds.insert(said.to_owned());
    }
    assert_eq!(kinds.len(), 8, "each of them is tried: {kinds:?}");
}

/// What is encoded twice is decoded once, and looked at after that.
#[test]
fn what_is_encoded_twice_is_decoded_once() {
    let site = Site::with(&format!("metadata_filter = 'address'\n{MODEL}"));
    let server = site.serve(&[]);
    let key = server.key();
    let get = |path: &str| server.request("GET", path, key, &[], None);
    // Paths are not decoded before they are matched, so no part of one becomes two.
    for path in
        ["/v1%2Fmodels", "/v1%252Fmodels", "/%2e%2e/v1/models", "/v1/%2e/models", "/v1/models/%252e%252e/x"]
    {
        assert_eq!(get(path).status, 404, "{path}");
    }
    assert_eq!(get("/v1/models/m%6Fck").status, 200);
    assert_eq!(get("/v1/models/m%256Fck").status, 404);
    let body = json!({
        "model": "mock", "store": true, "metadata": { "ward": "%41" },
        "messages": [{ "role": "user", "content": "hello" }],
    });
    assert_eq!(server.request("POST", "/v1/chat/completions", key, &[], Some(&body)).status, 200);
    for (query, found) in [("%2541", 1), ("%41", 0), ("%252541", 0)] {
        let listed = get(&format!("/v1/chat/completions?metadata[ward]={query}")).body;
        assert_eq!(listed["data"].as_array().unwrap().len(), found, "{query}");
    }
}
