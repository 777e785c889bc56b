//! The sign-in of a local account, form by form, as a browser sends them. With real browsers, passkeys and providers:
//! `tests/identity`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;
mod raw;

use std::{collections::BTreeSet, time::SystemTime};

use data_encoding::BASE32_NOPAD;
use harness::{Server, Site};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use raw::{field, line, send};

/// Which action each route is.
const ROUTES: &str = include_str!("../../gateway/src/routes.csv");
/// The ways in that are written down, by their words there, and the routes of them that anybody may ask.
const WAYS_IN: [(&str, &[&str]); 8] = [
    ("provider, in a browser", &["post /auth/login/{provider}", "get /auth/callback/{provider}"]),
    ("local account, passkey", &["post /auth/passkeys/challenges", "post /auth/passkeys/sign-ins"]),
    ("one-time token, made on the machine", &["post /auth/setup"]),
    (
        "`llmos login` (RFC 8628)",
        &["post /auth/device", "get /auth/verify", "post /auth/verify", "post /auth/token"],
    ),
    ("access token (RFC 9068)", &[]),
    ("workload (RFC 8693)", &["post /auth/token"]),
    ("API key", &[]),
    ("local socket", &[]),
];
/// What anybody may ask that is no way in: it shows nothing of anybody, or needs the session of a way in, or ends one.
const NO_WAYS_IN: [&str; 22] = [
    "get /healthz",
    "get /readyz",
    "post /witness/v1/add-checkpoint",
    "get /auth",
    "get /auth/passkeys.js",
    "get /auth/page.css",
    "post /auth/sign-out",
    "post /auth/sign-out-elsewhere",
    "post /auth/totp",
    "post /auth/totp/first",
    "post /auth/proofs/totp",
    "post /auth/proofs/recovery",
    "post /auth/recovery-codes",
    "post /auth/factors/{id}/remove",
    "post /auth/passkeys",
    "post /auth/passkeys/proofs",
    "get /auth/session",
    "delete /auth/session",
    "get /auth/sessions",
    "delete /auth/sessions/{id}",
    "post /auth/sessions/{id}/end",
    "post /auth/backchannel-logout/{provider}",
];

/// What one form got.
struct Page {
    status: u16,
    head: String,
    body: String,
    /// The session that the browser has from now on, if it got one.
    cookie: Option<String>,
}

/// Sends a form of a page of ours, with a session or without.
fn form(server: &Server<'_>, path: &str, cookie: &str, fields: &[(&str, &str)]) -> Page {
    let encoded = |text| utf8_percent_encode(text, NON_ALPHANUMERIC);
    let pairs: Vec<String> =
        fields.iter().map(|(name, value)| format!("{name}={}", encoded(value))).collect();
    let body = pairs.join("&");
    let headers = format!(
        "host: localhost\r\norigin: http://localhost\r\ncookie: __Host-llmos={cookie}\r\n\
         content-type: application/x-www-form-urlencoded\r\ncontent-length: {}\r\n",
        body.len()
    );
    let (status, head, body) = send(server, &(line("POST", path, &headers) + &body));
    let given = field(&head, "set-cookie").and_then(|set| set.strip_prefix("__host-llmos="));
    let cookie = given.map(|set| set.split(';').next().unwrap().to_owned());
    Page { status, head, body, cookie }
}

fn get(server: &Server<'_>, path: &str, cookie: &str) -> (u16, String) {
    let headers = format!("host: localhost\r\ncookie: __Host-llmos={cookie}\r\n");
    let (status, _, body) = send(server, &line("GET", path, &headers));
    (status, body)
}

/// Whether a session opens the API: 200, 403 while it is half of one, 401 when it is none.
fn opens(server: &Server<'_>, cookie: &str) -> u16 {
    get(server, "/v1/models", cookie).0
}

/// The text between two others.
fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start).and_then(|(_, rest)| rest.split_once(end)).unwrap_or_else(|| panic!("{text}")).0
}

fn invite(server: &Server<'_>) -> String {
    server.json(&["users", "invite", "--user", "owner"])["token"].as_str().unwrap().to_owned()
}

/// Adds an app to the account: the session after it and the page.
fn add_app(server: &Server<'_>, cookie: &str) -> Page {
    let page = form(server, "/auth/totp", cookie, &[]);
    assert_eq!(page.status, 200, "{}", page.body);
    let seed = BASE32_NOPAD.decode(between(&page.body, "<code>", "</code>").as_bytes()).unwrap();
    let id = between(&page.body, "name=\"id\" value=\"", "\"");
    let app =
        totp_rs::Builder::new().with_digits(6).with_step_duration(30).with_secret(seed).build().unwrap();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    form(server, "/auth/totp/first", cookie, &[("id", id), ("code", &app.generate(now).to_string())])
}

/// Whoever knew the secret of a session before a step has nothing after it; and nobody changes how they prove who they are
/// without having proved it.
#[test]
fn each_step_of_a_sign_in_has_a_secret_of_its_own() {
    let site = Site::new();
    let server = site.serve(&[]);
    let token = server.greeting["setup_token"].as_str().unwrap();
    let opened = form(&server, "/auth/setup", "", &[("token", token)]);
    let half = opened.cookie.unwrap();
    assert_eq!((opened.status, opens(&server, &half)), (303, 403), "half of a session");
    let added = add_app(&server, &half);
    let whole = added.cookie.unwrap();
    assert_eq!((added.status, opens(&server, &half), opens(&server, &whole)), (200, 401, 200));
    let codes: Vec<&str> =
        added.body.split("<li><code>").skip(1).map(|rest| &rest[..rest.find('<').unwrap()]).collect();
    assert_eq!(codes.len(), 10, "{}", added.body);

    // Another browser, which has to prove it.
    let other = form(&server, "/auth/setup", "", &[("token", &invite(&server))]).cookie.unwrap();
    assert_eq!(opens(&server, &other), 403);
    for (path, fields) in [
        ("/auth/totp", &[][..]),
        ("/auth/totp/first", &[("id", "0"), ("code", "000000")]),
        ("/auth/recovery-codes", &[]),
        ("/auth/factors/0/remove", &[]),
    ] {
        let refused = form(&server, path, &other, fields);
        assert!([401, 403].contains(&refused.status) && refused.cookie.is_none(), "{path}: {}", refused.body);
    }
    let prove = |cookie: &str, code: &str| {
        let proved = form(&server, "/auth/proofs/recovery", cookie, &[("code", code)]);
        assert_eq!(proved.status, 303, "{}", proved.body);
        proved.cookie.unwrap()
    };
    let proved = prove(&other, codes[0]);
    assert_eq!((opens(&server, &other), opens(&server, &proved), opens(&server, &whole)), (401, 200, 200));
    // Once more, because something needs it.
    let again = prove(&proved, codes[1]);
    assert_eq!((opens(&server, &proved), opens(&server, &again)), (401, 200));
    // And with a new sign-in of the same browser the one before is over.
    let anew = form(&server, "/auth/setup", &again, &[("token", &invite(&server))]).cookie.unwrap();
    assert_eq!((opens(&server, &again), opens(&server, &anew)), (401, 403));
    let last = prove(&anew, codes[2]);

    // Who changes a factor is offered to end all other sessions.
    let changed = add_app(&server, &last).cookie.unwrap();
    assert_eq!([&last, &changed, &whole].map(|cookie| opens(&server, cookie)), [401, 200, 200]);
    assert!(get(&server, "/auth", &changed).1.contains("Sign out everywhere else"));
    assert_eq!(form(&server, "/auth/sign-out-elsewhere", &changed, &[]).status, 200);
    assert_eq!([&changed, &whole].map(|cookie| opens(&server, cookie)), [200, 401]);
    let out = form(&server, "/auth/sign-out", &changed, &[]);
    assert_eq!(field(&out.head, "clear-site-data"), Some("\"cache\", \"storage\""), "{}", out.head);
    assert_eq!((out.cookie.as_deref(), opens(&server, &changed)), (Some(""), 401));
}

/// There is no other way to become somebody than those of `docs/security/rules.md#ways-in`.
#[test]
fn every_way_in_is_written_down() {
    let rules = include_str!("../../../docs/security/rules.md");
    let section = between(rules, "## Ways in", "\n## ");
    let written: Vec<&str> =
        section.lines().filter_map(|line| line.strip_prefix("| ")?.split(" | ").next()).skip(1).collect();
    assert_eq!(written, WAYS_IN.map(|(way, _)| way));
    let open = ROUTES
        .lines()
        .filter_map(|line| line.strip_suffix(",anybody"))
        .map(|line| line.replacen(',', " ", 1));
    let open: BTreeSet<String> = open.collect();
    let known = WAYS_IN.iter().flat_map(|(_, routes)| routes.iter()).chain(&NO_WAYS_IN);
    assert_eq!(open, known.map(|route| (*route).to_owned()).collect());

    // Whoever has nothing that counts becomes nobody, whatever they send from whatever page.
    let site = Site::new();
    let server = site.serve(&[]);
    let forged = "llmos-session_0123456789ab_x";
    let fields = ["token", "code", "id", "user_code", "device_code", "subject_token", "state", "credential"];
    let fields = fields.map(|name| format!("{name}={forged}&")).concat();
    let exchange = "urn:ietf:params:oauth:grant-type:token-exchange";
    let body = format!(
        "{fields}decision=allow&subject_token_type=urn:ietf:params:oauth:token-type:jwt&grant_type={exchange}"
    );
    for route in &open {
        let (method, path) = route.split_once(' ').unwrap();
        let path = path.replace("{provider}", "corp").replace("{id}", "0");
        for (kind, body) in [
            ("application/x-www-form-urlencoded", body.as_str()),
            ("application/json", "{\"purpose\":\"sign_in\",\"id\":\"0\",\"credential\":{}}"),
        ] {
            let headers = format!(
                "host: localhost\r\norigin: http://localhost\r\ncookie: __Host-llmos={forged}\r\ncontent-type: {kind}\r\n\
                 content-length: {}\r\n",
                body.len()
            );
            let (status, head, said) = send(&server, &(line(&method.to_uppercase(), &path, &headers) + body));
            let set = field(&head, "set-cookie").and_then(|set| set.strip_prefix("__host-llmos="));
            assert!(set.is_none_or(|set| set.starts_with(';')), "{route}: {head}");
            assert!(status < 500 && !said.contains("access_token"), "{route}: {head}{said}");
        }
    }
}

/// Whoever has lost their factors comes back as they came at first; and who lets them says how they made sure who asked.
#[test]
fn lost_factors_are_forgotten_for_a_reason_and_added_as_at_first() {
    let site = Site::new();
    let server = site.serve(&[]);
    let half = form(&server, "/auth/setup", "", &[("token", &invite(&server))]).cookie.unwrap();
    let added = add_app(&server, &half);
    let code = between(&added.body, "<li><code>", "</code>").to_owned();
    let whole = added.cookie.unwrap();
    let forget =
        |reason: &[&str]| site.run(&[&["users", "forget-factors", "--user", "owner"], reason].concat());
    for (reason, says) in [(&[][..], "--reason"), (&["--reason", "lost"], "8 to 200 characters")] {
        let refused = forget(reason);
        assert!(refused.code != Some(0) && refused.stderr.contains(says), "{}", refused.stderr);
    }
    assert_eq!(opens(&server, &whole), 200, "nothing is forgotten");
    let reason = "she came to the desk with her passport";
    assert_eq!(forget(&["--reason", reason]).code, Some(0));
    assert_eq!(opens(&server, &whole), 401);
    // A new token, which a person brings, opens nothing until there is a new factor; the old ones open nothing any more.
    let again = form(&server, "/auth/setup", "", &[("token", &invite(&server))]).cookie.unwrap();
    assert_eq!(opens(&server, &again), 403);
    let proved = form(&server, "/auth/proofs/recovery", &again, &[("code", &code)]);
    assert!(proved.status >= 400 && proved.cookie.is_none(), "{}", proved.body);
    let back = add_app(&server, &again).cookie.unwrap();
    assert_eq!(opens(&server, &back), 200);

    // The reason stands in the record of it, and nobody reads it in the files.
    let records = server.records(&["--action", "manage_factors"]);
    let reasons: Vec<_> = records.iter().filter_map(|found| found["opened"]["reason"].as_str()).collect();
    assert_eq!(reasons, [reason], "{records:?}");
    assert!(records.iter().all(|found| !found["record"].to_string().contains("passport")), "{records:?}");
}

/// Names that are HTML, on the pages that show them.
#[test]
fn names_are_shown_as_what_they_are() {
    let site = Site::new();
    let server = site.serve(&[]);
    let (tenant, user) = ("\"><img src=x onerror=a()>", "<script>a('x')&amp;</script>");
    server.json(&["keys", "create", "--label", "<b>", "--tenant", tenant, "--user", user]);
    let made = server.json(&["users", "invite", "--tenant", tenant, "--user", user]);
    let half = form(&server, "/auth/setup", "", &[("token", made["token"].as_str().unwrap())]);
    let cookie = half.cookie.unwrap();
    let device = form(&server, "/auth/device", "", &[("client_id", user)]);
    let code = serde_json::from_str::<serde_json::Value>(&device.body).unwrap();
    let code = code["user_code"].as_str().unwrap();
    let (_, first) = get(&server, "/auth", &cookie);
    assert!(
        first.contains("&lt;script&gt;a(&#39;x&#39;)&amp;amp;&lt;/script&gt; of &quot;&gt;&lt;img"),
        "{first}"
    );
    let whole = add_app(&server, &cookie).cookie.unwrap();
    let next = "%22%3E%3Cscript%3Ea%28%29%3C%2Fscript%3E";
    for (path, shows) in [
        ("/auth".to_owned(), "&lt;script&gt;a(&#39;x&#39;)"),
        (format!("/auth?next=/{next}"), "&lt;script&gt;a(&#39;x&#39;)"),
        (format!("/auth/verify?user_code={code}"), "&lt;script&gt;a(&#39;x&#39;)"),
        (format!("/auth/verify?user_code={next}"), "This did not work"),
        (format!("POST /auth/login/{next}"), "You are not signed in"),
    ] {
        let body = match path.strip_prefix("POST ") {
            Some(path) => form(&server, path, &whole, &[("next", "/auth")]).body,
            None => get(&server, &path, &whole).1,
        };
        assert!(body.contains(shows), "{path}: {body}");
        for dangerous in ["<script>a(", "<img src=x", "onerror=a()>"] {
            assert!(!body.contains(dangerous), "{path}: {body}");
        }
    }
    // What the script shows it shows as text.
    let (_, script) = get(&server, "/auth/passkeys.js", "");
    for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("] {
        assert!(script.contains("textContent") && !script.contains(way), "{way}");
    }
    for kept in ["localStorage", "sessionStorage", "indexedDB", "caches", "document.cookie"] {
        assert!(!script.contains(kept), "the script keeps something: {kept}");
    }
}
