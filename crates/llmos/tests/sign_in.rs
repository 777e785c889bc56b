//! The sign-in of a local account, form by form, as a browser sends them. With real browsers, passkeys and providers:
//! `tests/identity`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;
mod raw;

use std::time::SystemTime;

use data_encoding::BASE32_NOPAD;
use harness::{Server, Site};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use raw::{field, line, send};

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
