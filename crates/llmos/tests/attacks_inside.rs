//! Attacks on what is behind the doors of the real binary: its memory, its processes, its files. Each has the number that it has in
//! `docs/security/attacks.md`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;
mod raw;

use harness::Site;
use raw::{line, send};
use serde_json::json;

/// A thousand callers who leave as soon as they have sent a long prompt: nothing is left of them, and what ran is paid for.
#[test]
fn a49_who_leaves_at_once_leaves_nothing_behind() {
    let site = Site::with("[[model]]\nname = 'mock'\nsource = 'simulator:'\ncontext = 131072\n");
    let server = site.serve(&[]);
    let prompt = "x".repeat(100_000);
    let body = json!({ "model": "mock", "stream": true, "max_tokens": 1000, "messages": [{ "role": "user", "content": prompt }] })
        .to_string();
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        server.key(),
        body.len()
    );
    let resident_kib = || {
        let status = std::fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap()
    };
    let leave = |times: u32| {
        for _ in 0..times {
            let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
            // The server may be full, and say so, before all is sent.
            let _ = std::io::Write::write_all(&mut stream, request.as_bytes());
        }
        harness::wait_until("nothing is left", || {
            let ps = server.json(&["ps"]);
            let replica = &ps["replicas"][0];
            ps["sequences"] == json!([]) && replica["kv_used"] == 0 && replica["requests"] == 0
        });
    };
    // As many as below: what the allocator holds for so many at once is no leak.
    leave(800);
    let before = resident_kib();
    leave(800);
    // Of 800 prompts of 100 kB none is kept.
    assert!(resident_kib() < before + 40_000, "{before} KiB, then {}", resident_kib());
    let mut stream = std::net::TcpStream::connect(server.address()).unwrap();
    std::io::Write::write_all(&mut stream, request.as_bytes()).unwrap();
    harness::wait_until("it runs", || server.json(&["ps"])["replicas"][0]["kv_used"] != 0);
    drop(stream);
    harness::wait_until("nothing is left", || server.json(&["ps"])["sequences"] == json!([]));
    let usage = server.json(&["usage", "--by", "user"]);
    assert!(usage["usage"][0]["input_tokens"].as_u64().unwrap() >= 100_000, "{usage}");
    assert_eq!(server.chat(server.key(), "hello").status, 200);
}

/// No door takes a command, and a name is never an option: a worker is started with one word, and with nothing of our
/// environment.
#[test]
fn a71_nobody_has_a_command_started() {
    for name in ["-hf x", "--rpc host:1", "$(id)", "`id`", "x; id", "x\\ny"] {
        let site = Site::with(&format!("[[model]]\nname = \"{name}\"\nsource = 'simulator:'\n"));
        let refused = site.run(&["config", "check"]);
        assert!(refused.code == Some(6) && refused.stderr.contains("name"), "{name}: {}", refused.stderr);
    }
    let site = Site::new();
    let server = site.serve(&[]);
    let messages = json!([{ "role": "user", "content": "hello" }]);
    for (field, value) in [
        ("tools", json!([{ "type": "mcp", "server_label": "x", "command": "sh", "args": ["-c", "id"] }])),
        ("command", json!("id")),
        ("env", json!({ "LD_PRELOAD": "/tmp/x.so" })),
        ("engine_args", json!(["--rpc", "host:1"])),
        ("extra_body", json!({ "command": "id" })),
    ] {
        let body = json!({ "model": "mock", "messages": messages, field: value });
        let refused = server.request("POST", "/v1/chat/completions", server.key(), &[], Some(&body));
        assert_eq!(
            (refused.status, &refused.body["error"]["code"]),
            (400, &json!("invalid_parameter")),
            "{field}"
        );
    }
    for model in ["-hf x", "--rpc host:1", "$(id)", "x; id"] {
        let body = json!({ "model": model, "messages": messages });
        let refused = server.request("POST", "/v1/chat/completions", server.key(), &[], Some(&body));
        assert!([400, 404].contains(&refused.status), "{model}: {}", refused.body);
    }
    with_a_real_worker();
}

#[cfg(not(feature = "llama"))]
fn with_a_real_worker() {}

#[cfg(feature = "llama")]
fn with_a_real_worker() {
    let Some(path) = std::env::var_os("LLMOS_TEST_EMBEDDING_MODEL") else {
        eprintln!(
            "NOT TRIED: no worker was looked at; LLMOS_TEST_EMBEDDING_MODEL names no model; run `make test`"
        );
        return;
    };
    let path = path.into_string().unwrap();
    // A name that is no option, of a file that looks like two.
    let site = Site::with("[[model]]\nname = 'm'\nsource = '--rpc host.gguf'\n");
    std::os::unix::fs::symlink(path, site.folder().join("--rpc host.gguf")).unwrap();
    let canary = "CANARY-5f0c";
    let server = site.serve_with(&[], &[("HTTPS_PROXY", canary), ("PGPASSWORD", canary), ("LD_PRELOAD", "")]);
    let pid = server.json(&["ps"])["replicas"][0]["pid"].as_u64().unwrap();
    let words = |file: &str| {
        let bytes = std::fs::read(format!("/proc/{pid}/{file}")).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect::<Vec<_>>()
    };
    let command = words("cmdline");
    assert_eq!(command[1..], ["engine-worker"], "{command:?}");
    let environment = words("environ");
    let names: Vec<_> = environment.iter().filter_map(|entry| entry.split('=').next()).collect();
    assert_eq!(names, ["GGML_NO_BACKTRACE", "GOMP_SPINCOUNT"], "{environment:?}");
    let body = json!({ "model": "m", "input": "hello" });
    let answer = server.request("POST", "/v1/embeddings", server.key(), &[], Some(&body));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Secrets and content in every place where they may be sent, and where they must not be: then the server dies the worst way.
#[test]
fn a97_no_secret_is_written_down_also_when_the_server_dies() {
    const CANARY: &str = "CANARY-7d41e0c2";
    let site = Site::new();
    // Where dumps are allowed.
    let start = "ulimit -c unlimited 2>/dev/null; exec \"$0\" serve --json --log-level trace";
    let mut command = std::process::Command::new("sh");
    command.args(["-c", start, env!("CARGO_BIN_EXE_llmos")]).current_dir(site.folder());
    command.env_clear().env("HOME", site.folder());
    let server = site.serve_by(command);
    let key = server.key().to_owned();
    let own = format!("host: localhost\r\nauthorization: Bearer {key}\r\n");
    for header in [
        "authorization",
        "cookie",
        "x-api-key",
        "user-agent",
        "referer",
        "x-forwarded-for",
        "forwarded",
        "llmos-subject",
        "idempotency-key",
        "traceparent",
        "x-request-id",
        "accept",
        "if-none-match",
        "sec-websocket-key",
    ] {
        for value in [CANARY.to_owned(), format!("Bearer {CANARY}"), format!("__Host-llmos={CANARY}")] {
            for credential in ["host: localhost\r\n", own.as_str()] {
                send(&server, &line("GET", "/v1/models", &format!("{credential}{header}: {value}\r\n")));
            }
        }
    }
    for target in
        [format!("/{CANARY}"), format!("/v1/models/{CANARY}"), format!("/v1/models?api_key={CANARY}")]
    {
        send(&server, &line("GET", &target, &own));
        send(&server, &line("GET", &target, "host: localhost\r\n"));
    }
    let messages = json!([{ "role": "user", "content": CANARY }]);
    for (path, body) in [
        (
            "/v1/chat/completions",
            json!({ "model": "mock", "messages": messages, "user": CANARY, "store": true, "metadata": { "a": CANARY, CANARY: "b" } }),
        ),
        ("/v1/chat/completions", json!({ "model": CANARY, "messages": messages })),
        ("/v1/chat/completions", json!({ "model": "mock", "messages": messages, CANARY: CANARY })),
        (
            "/v1/chat/completions",
            json!({ "model": "mock", "messages": [{ "role": CANARY, "content": CANARY }] }),
        ),
        ("/v1/completions", json!({ "model": "mock", "prompt": CANARY, "stop": CANARY })),
        ("/v1/embeddings", json!({ "model": "mock", "input": CANARY })),
        ("/v1/rerank", json!({ "model": "mock", "query": CANARY, "documents": [CANARY] })),
    ] {
        server.request("POST", path, &key, &[&format!("llmos-subject: {CANARY}")], Some(&body));
    }
    for (path, form) in
        [("/auth/setup", "token"), ("/auth/proofs/totp", "code"), ("/auth/token", "subject_token")]
    {
        let form = format!("{form}={CANARY}&grant_type={CANARY}");
        let headers = format!(
            "host: localhost\r\norigin: http://localhost\r\ncookie: __Host-llmos={CANARY}\r\ncontent-length: {}\r\n\
             content-type: application/x-www-form-urlencoded\r\n",
            form.len()
        );
        send(&server, &(line("POST", path, &headers) + &form));
    }
    assert_eq!(server.chat(&key, CANARY).status, 200);
    let metrics = send(&server, &line("GET", "/metrics", &own)).2;
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    let shown = site.run(&["config", "show", "--json"]).stdout;
    let command = std::fs::read(format!("/proc/{}/cmdline", server.pid())).unwrap();
    server.signal(rustix::process::Signal::ABORT);
    let status = server.died();
    let (signal, dumped) = (
        std::os::unix::process::ExitStatusExt::signal(&status),
        std::os::unix::process::ExitStatusExt::core_dumped(&status),
    );
    assert_eq!((signal, dumped), (Some(6), false), "{status}");

    let mut written = vec![
        ("metrics".to_owned(), metrics.into_bytes()),
        ("configuration".to_owned(), shown.into_bytes()),
        ("command line".to_owned(), command),
    ];
    let mut folders = vec![site.folder().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
            match entry.file_type().unwrap() {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => {
                    written.push((entry.path().display().to_string(), std::fs::read(entry.path()).unwrap()));
                }
                _ => {}
            }
        }
    }
    let names: Vec<&str> = written.iter().map(|(name, _)| name.as_str()).collect();
    assert!(
        names.iter().any(|name| name.ends_with("/log"))
            && names.iter().any(|name| name.ends_with("llmos.db")),
        "{names:?}"
    );
    assert!(!names.iter().any(|name| name.contains("core")), "{names:?}");
    for (name, bytes) in &written {
        for secret in [CANARY, key.rsplit('_').next().unwrap()] {
            let found =
                bytes.windows(secret.len()).position(|window| window.eq_ignore_ascii_case(secret.as_bytes()));
            assert_eq!(found, None, "a secret is in {name}");
        }
    }
}
