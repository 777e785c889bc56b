//! Who may what, on the real binary: every route with every role, every id of another tenant, and policies that a tenant has.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;

use std::{collections::HashMap, fs};

use harness::{Answer, Key, Server, Site};
use serde_json::{Value, json};

/// Which action each route is.
const ROUTES: &str = include_str!("../../gateway/src/routes.csv");
/// Which role may which action.
const ROLES: &str = include_str!("../../access/src/policy/roles.csv");
/// What is at the local socket only: it names files and processes of the machine.
const ON_THE_MACHINE: [&str; 5] = [
    "/api/v1/version",
    "/api/v1/vault/backups",
    "/api/v1/vault/restores",
    "/api/v1/subjects/export",
    "/api/v1/audit/exports",
];
/// What needs somebody who is there, and so is no use of a key's.
const IN_PERSON: [&str; 6] = [
    "manage_vault",
    "manage_factors",
    "manage_policies",
    "rotate_tenant_key",
    "erase_subject",
    "export_subject",
];

/// An id that nothing has.
const NOTHING: &str = "chatcmpl-0123456789abcdef0123456789abcdef";

/// What a route takes, as somebody would send it who may do it.
fn body(method: &str, path: &str) -> Option<Value> {
    let chat = json!({ "model": "mock", "messages": [{ "role": "user", "content": "hi" }], "max_tokens": 4 });
    Some(match (method, path) {
        ("post", "/v1/chat/completions") => chat,
        ("post", "/v1/completions") => json!({ "model": "mock", "prompt": "hi", "max_tokens": 4 }),
        ("post", "/v1/embeddings") => json!({ "model": "mock", "input": "hi" }),
        ("post", "/v1/rerank") => json!({ "model": "mock", "query": "hi", "documents": ["ho"] }),
        ("post", "/v1/chat/completions/{id}") => json!({ "metadata": {} }),
        ("post", "/api/v1/keys") => json!({
            "label": "x", "tenant": "clinic", "user": "new", "role": "member", "class_max": "normal",
            "data_class_max": "public",
        }),
        ("post", "/api/v1/keys/{id}/rotations") => json!({ "overlap_s": 0 }),
        ("post", "/api/v1/users/invitations") | ("patch", "/api/v1/users") => {
            json!({ "tenant": "clinic", "user": "nobody" })
        }
        ("post", "/api/v1/users/forgotten-factors") => {
            json!({ "tenant": "clinic", "user": "nobody", "reason": "they showed their badge" })
        }
        ("put", "/api/v1/policies/{tenant}/{name}") => {
            json!({ "text": "permit (principal, action, resource);" })
        }
        ("post", "/api/v1/workflow-plans") => {
            json!({ "workflow": { "tasks": [{ "id": "a", "runtimeInSeconds": 1 }] } })
        }
        ("post", "/api/v1/decisions") => {
            json!({ "tenant": "clinic", "user": "nobody", "action": "generate" })
        }
        // The signature of the log is the credential; what is no request is refused to anybody.
        ("post", "/witness/v1/add-checkpoint") => json!("old 0"),
        ("post", "/api/v1/audit/records" | "/api/v1/vault/reseals") => json!({}),
        ("post", "/api/v1/vault/rotations") => json!({ "tenant": "clinic" }),
        ("post", "/api/v1/subjects/shred") => json!({ "tenant": "clinic", "subject": "nobody" }),
        ("post" | "put", path) if path.starts_with("/scim/") && path.contains("/Users") => {
            json!({ "userName": "x", "externalId": "x" })
        }
        ("post" | "put", path) if path.starts_with("/scim/") => json!({ "displayName": "x" }),
        ("patch", path) if path.starts_with("/scim/") => {
            json!({ "Operations": [{ "op": "replace", "path": "displayName", "value": "x" }] })
        }
        _ => return None,
    })
}

fn ask(server: &Server<'_>, method: &str, path: &str, key: &str) -> Answer {
    let filled = path
        .replace("{id}", if path.starts_with("/v1/chat") { NOTHING } else { "0" })
        .replace("{model}", "nosuchmodel")
        .replace("{tenant}", "clinic")
        .replace("{name}", "none")
        .replace("{provider}", "nosuchprovider")
        .replace("{days}", "1")
        .replace("{old}", "0")
        .replace("{new}", "1");
    server.request(&method.to_uppercase(), &filled, key, &[], body(method, path).as_ref())
}

/// The matrix: made of the table of routes and the table of roles, so that neither can have more than the other.
#[test]
fn every_route_is_for_the_roles_of_its_action() {
    let site = Site::new();
    let server = site.serve(&[]);
    let mut lines = ROLES.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let roles: Vec<&str> = lines.next().unwrap()[1..].to_vec();
    let allowed: HashMap<&str, Vec<&str>> = lines.map(|row| (row[0], row[1..].to_vec())).collect();
    let keys: Vec<Key> = roles.iter().map(|role| server.key_of("clinic", role, role)).collect();
    let mut asked = 0;
    for route in ROUTES.lines().skip(1) {
        let [method, path, action] = route.split(',').collect::<Vec<_>>()[..] else { panic!("{route}") };
        if action == "anybody" || ON_THE_MACHINE.contains(&path) {
            continue;
        }
        assert_eq!(ask(&server, method, path, "no key").status, 401, "{route}");
        for (at, role) in roles.iter().enumerate() {
            let answer = ask(&server, method, path, &keys[at].secret);
            // SCIM has errors of its own, without such codes.
            let in_scim = answer.body["detail"].as_str().filter(|detail| detail.contains("does not allow"));
            let code =
                answer.body["error"]["code"].as_str().or(in_scim.map(|_| "not_allowed")).unwrap_or_default();
            let expected = match (allowed[action][at], IN_PERSON.contains(&action)) {
                ("no", _) => "not_allowed",
                ("yes", true) => "step_up_required",
                _ => "",
            };
            if expected.is_empty() {
                assert!(![401, 403].contains(&answer.status), "{route} of {role}: {}", answer.body);
            } else {
                assert_eq!((answer.status, code), (403, expected), "{route} of {role}");
            }
            asked += 1;
        }
    }
    assert!(asked > 200, "{asked}");
    for route in ROUTES.lines().filter(|route| ON_THE_MACHINE.iter().any(|path| route.contains(path))) {
        let [method, path, _] = route.split(',').collect::<Vec<_>>()[..] else { panic!("{route}") };
        assert_eq!(ask(&server, method, path, server.key()).status, 404, "{route}");
    }
}

/// What another tenant has is not there: the same status and the same words as for what nobody has.
#[test]
fn a28_ids_of_another_tenant_are_as_if_they_were_not() {
    let site = Site::new();
    let server = site.serve(&[]);
    let ours = server.key_of("clinic", "chief", "administrator");
    let theirs = server.key_of("lab", "boss", "administrator");
    let chat = json!({
        "model": "mock", "store": true, "messages": [{ "role": "user", "content": "their secret" }],
    });
    let stored = server.request("POST", "/v1/chat/completions", &theirs.secret, &[], Some(&chat)).body;
    let stored = stored["id"].as_str().unwrap();

    let same = |method: &str, theirs: &str, nobodys: &str, body: Option<Value>| {
        let seen = |path: &str, body: Option<&Value>| {
            let mut answer = server.request(method, path, &ours.secret, &[], body);
            answer.body["error"]["request_id"] = Value::Null;
            (answer.status, answer.body.to_string().replace(path.rsplit('/').next().unwrap(), "ID"))
        };
        let (status, text) = seen(theirs, body.as_ref());
        assert_eq!((status, &text), (404, &seen(nobodys, body.as_ref()).1), "{method} {theirs}");
    };
    for (method, body) in [("GET", None), ("DELETE", None), ("POST", Some(json!({ "metadata": {} })))] {
        let path = |id: &str| format!("/v1/chat/completions/{id}");
        same(method, &path(stored), &path(NOTHING), body);
    }
    same("DELETE", &format!("/api/v1/keys/{}", theirs.id), "/api/v1/keys/000000000000", None);
    let rotation = Some(json!({ "overlap_s": 0 }));
    let rotations = |id: &str| format!("/api/v1/keys/{id}/rotations");
    let (one, other) = (rotations(&theirs.id), rotations("000000000000"));
    let refused = |path: &str, id: &str| {
        let mut answer = server.request("POST", path, &ours.secret, &[], rotation.as_ref());
        answer.body["error"]["request_id"] = Value::Null;
        (answer.status, answer.body.to_string().replace(id, "ID"))
    };
    let nobodys = refused(&other, "000000000000");
    assert_eq!((nobodys.0, refused(&one, &theirs.id)), (404, nobodys.clone()));

    let in_body = |method: &str, path: &str, body: &dyn Fn(&str) -> Value| {
        let seen = |tenant: &str| {
            let mut answer = server.request(method, path, &ours.secret, &[], Some(&body(tenant)));
            answer.body["error"]["request_id"] = Value::Null;
            (answer.status, answer.body.to_string().replace(tenant, "TENANT"))
        };
        let (theirs, nobodys) = (seen("lab"), seen("nolab"));
        assert_eq!((theirs.0, &theirs), (404, &nobodys), "{method} {path}");
    };
    in_body(
        "PATCH",
        "/api/v1/users",
        &|tenant| json!({ "tenant": tenant, "user": "boss", "suspended": true }),
    );
    in_body(
        "POST",
        "/api/v1/decisions",
        &|tenant| json!({ "tenant": tenant, "user": "boss", "action": "generate", "resource": "model:mock" }),
    );
    let about = |id: &str| {
        let resource = format!("key:{id}");
        let body =
            json!({ "tenant": "clinic", "user": "chief", "action": "change_key", "resource": resource });
        let answer = server.request("POST", "/api/v1/decisions", &ours.secret, &[], Some(&body));
        (answer.status, answer.body["error"]["message"].to_string().replace(id, "ID"))
    };
    assert_eq!((about(&theirs.id).0, about(&theirs.id)), (404, about("000000000000")));
    in_body("POST", "/api/v1/keys", &|tenant| {
        json!({
            "label": "x", "tenant": tenant, "user": "mole", "role": "member", "class_max": "normal",
            "data_class_max": "public",
        })
    });
    // Nor are they in lists.
    for path in ["/api/v1/keys", "/api/v1/users", "/api/v1/usage/2", "/v1/chat/completions"] {
        let text = server.request("GET", path, &ours.secret, &[], None).body.to_string();
        assert!(
            !text.contains("\"lab\"") && !text.contains("boss") && !text.contains("secret"),
            "{path}: {text}"
        );
    }
    // They are untouched.
    assert_eq!(server.chat(&theirs.secret, "hi").status, 200);
}

/// In the tenant where the first owner is, too.
#[test]
fn a31_an_administrator_does_not_become_an_owner() {
    let site = Site::new();
    let server = site.serve(&[]);
    let admin = server.key_of("default", "chief", "administrator");
    let owner = server.json(&["keys", "list"])["keys"][0].clone();
    assert_eq!(owner["role"], "owner");
    let id = owner["id"].as_str().unwrap();
    let post = |path: &str, body: Value| server.request("POST", path, &admin.secret, &[], Some(&body));
    let of = |user: &str, role: &str| {
        json!({
            "label": "x", "tenant": "default", "user": user, "role": role, "class_max": "normal",
            "data_class_max": "public",
        })
    };
    let change = |body: Value| server.request("PATCH", "/api/v1/users", &admin.secret, &[], Some(&body));
    for refused in [
        post(&format!("/api/v1/keys/{id}/rotations"), json!({ "overlap_s": 0 })),
        server.request("DELETE", &format!("/api/v1/keys/{id}"), &admin.secret, &[], None),
        post("/api/v1/keys", of("owner", "member")),
        post("/api/v1/keys", of("new", "owner")),
        post("/api/v1/keys", of("new", "operator")),
        change(json!({ "tenant": "default", "user": "chief", "role": "owner" })),
        change(json!({ "tenant": "default", "user": "owner", "suspended": true })),
    ] {
        let code = refused.body["error"]["code"].as_str().unwrap_or_default();
        assert_eq!((refused.status, code), (403, "wider_than_granter"), "{}", refused.body);
    }
    assert_eq!(server.chat(server.key(), "hi").status, 200);
}

#[test]
fn a_tenant_has_policies_of_its_own_and_why_access_names_them() {
    let site = Site::new();
    let server = site.serve(&[]);
    let ann = server.key_of("clinic", "ann", "member");
    let bob = server.key_of("lab", "bob", "member");
    let write = |name: &str, text: &str| {
        fs::write(site.folder().join(name), text).unwrap();
        name.to_owned()
    };
    let weekend = write(
        "weekend.cedar",
        "@says(\"the model rests\")\nforbid (principal, action == Action::\"generate\", resource == Model::\"mock\");",
    );
    let why = |who: &str, action: &str, resource: &[&str]| {
        server.json(&[&["why", "access", who, action], resource].concat())
    };
    let decided = why("clinic/ann", "generate", &["model:mock"]);
    assert_eq!((&decided["allowed"], &decided["policies"][0]["name"]), (&json!(true), &json!("role.member")));

    server.json(&["policies", "set", "weekend", &weekend, "--tenant", "clinic"]);
    let refused = server.chat(&ann.secret, "hi");
    assert_eq!((refused.status, &refused.body["error"]["code"]), (403, &json!("forbidden_by_policy")));
    assert!(refused.body["error"]["message"].as_str().unwrap().contains("the model rests"));
    assert_eq!(server.chat(&bob.secret, "hi").status, 200);
    for who in ["clinic/ann".to_owned(), format!("key:{}", ann.id)] {
        let decided = why(&who, "generate", &["model:mock"]);
        assert_eq!(decided["allowed"], false);
        assert_eq!(decided["policies"][0]["name"], "tenant.weekend.1");
        assert!(decided["policies"][0]["text"].as_str().unwrap().contains("Model::\"mock\""));
    }
    let decided = why("clinic/ann", "manage_keys", &[]);
    assert_eq!((&decided["policies"], &decided["roles"]), (&json!([]), &json!("administrator, owner")));
    let told = site.run(&["why", "access", "clinic/ann", "manage_keys", "tenant:lab"]);
    assert!(told.stdout.contains("may not manage_keys: this belongs to another tenant"), "{}", told.stdout);
    assert!(told.stdout.contains("wall.tenant"), "{}", told.stdout);

    // It is there after a restart.
    let address = server.json(&["policies", "list", "--tenant", "clinic"]);
    assert_eq!(address["policies"][0]["name"], "weekend");
    drop(server);
    let server = site.serve(&[]);
    assert_eq!(server.chat(&ann.secret, "hi").status, 403);
    let bad = write("bad.cedar", "forbid (principal, action, resource) when { context.data_class > 1 };");
    let refused = site.run(&["policies", "set", "bad", &bad, "--tenant", "clinic"]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("policy `bad`") || refused.stderr.contains("data_class"),
        "{}",
        refused.stderr
    );
    // What would be the end of the process, if it were parsed.
    let deep = format!(
        "permit (principal, action, resource) when {{ {}true{} }};",
        "(".repeat(8_000),
        ")".repeat(8_000)
    );
    let deep = write("deep.cedar", &deep);
    let refused = site.run(&["policies", "set", "deep", &deep, "--tenant", "clinic"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("brackets"), "{}", refused.stderr);
    assert_eq!(site.run(&["policies", "list", "--tenant", "nobody"]).code, Some(5));
    assert_eq!(site.run(&["policies", "set", "x", &weekend, "--tenant", "nobody"]).code, Some(5));
    assert_eq!(site.run(&["policies", "remove", "none", "--tenant", "clinic"]).code, Some(5));
    server.json(&["policies", "remove", "weekend", "--tenant", "clinic"]);
    assert_eq!(server.chat(&ann.secret, "hi").status, 200);
    assert_eq!(site.run(&["why", "access", "clinic/nobody", "generate", "model:mock"]).code, Some(5));
    assert_eq!(site.run(&["why", "access", "clinic/ann", "generate"]).code, Some(1));
}

/// Ids that there are and ids that there are not, and secrets that are wrong in one place.
#[test]
fn a33_guesses_are_answered_only_so_often() {
    let site = Site::new();
    let server = site.serve(&[]);
    let right = server.key_of("clinic", "ann", "member");
    let wrong_by_one = |text: &str, place: usize| {
        let mut text = text.to_owned().into_bytes();
        text[place] = if text[place] == b'0' { b'1' } else { b'0' };
        String::from_utf8(text).unwrap()
    };
    let in_the_id = "llmos_".len() + 3;
    let in_the_secret = right.secret.len() - 3;
    let guess = |number: usize| {
        let guess =
            wrong_by_one(&right.secret, if number.is_multiple_of(2) { in_the_id } else { in_the_secret });
        server.request("GET", "/v1/models", &guess, &[], None)
    };
    let answers: Vec<Answer> = (0..300).map(guess).collect();
    let of = |status: u16| answers.iter().filter(|answer| answer.status == status).collect::<Vec<_>>();
    let (wrong, too_many) = (of(401), of(429));
    assert_eq!(wrong.len() + too_many.len(), 300);
    // Two more in each second that this takes.
    assert!((120..200).contains(&wrong.len()), "{} were answered", wrong.len());
    assert!(wrong.iter().all(|answer| answer.body["error"]["code"] == "invalid_api_key"));
    assert!(too_many.iter().all(|answer| answer.body["error"]["code"] == "too_many_attempts"));
    assert!(too_many.iter().all(|answer| answer.head.contains("retry-after: ")));
    // Whoever holds the right one is not kept out by those who guess.
    assert_eq!(server.request("GET", "/v1/models", &right.secret, &[], None).status, 200);
}

#[test]
fn what_for_and_from_where_decide_too() {
    let site = Site::with(&format!(
        "{}[[location]]\nname = 'here'\nnetworks = ['127.0.0.0/8']\n[[location]]\nname = 'ward'\nnetworks = ['10.1.3.0/24']\n",
        harness::MODEL
    ));
    let server = site.serve(&[]);
    let ann = server.key_of("clinic", "ann", "member");
    let ask = |key: &str, purpose: &[&str]| {
        let body =
            json!({ "model": "mock", "max_tokens": 1, "messages": [{ "role": "user", "content": "hello" }] });
        let answer = server.request("POST", "/v1/chat/completions", key, purpose, Some(&body));
        (answer.status, answer.body["error"]["code"].as_str().unwrap_or_default().to_owned())
    };
    let ok = || (200, String::new());
    let forbidden = || (403, "forbidden_by_policy".to_owned());
    assert_eq!(ask(&ann.secret, &[]), ok());
    assert_eq!(ask(&ann.secret, &["llmos-purpose: anything"]), ok(), "bound to none");
    assert_eq!(ask(&ann.secret, &["llmos-purpose: Not A Name"]), (400, "out_of_range".to_owned()));
    let twice = ["llmos-purpose: treatment", "llmos-purpose: billing"];
    assert_eq!(ask(&ann.secret, &twice), (400, "out_of_range".to_owned()), "which one is meant?");

    let bind = [
        "users",
        "set",
        "--tenant",
        "clinic",
        "--user",
        "ann",
        "--purpose",
        "treatment",
        "--purpose",
        "billing",
    ];
    assert_eq!(server.json(&bind)["purposes"], json!(["billing", "treatment"]));
    assert_eq!(ask(&ann.secret, &[]), forbidden());
    assert_eq!(ask(&ann.secret, &["llmos-purpose: research"]), forbidden());
    assert_eq!(ask(&ann.secret, &["llmos-purpose: treatment"]), ok());
    // A key narrows them, and cannot widen them.
    let make = |args: &[&str]| {
        let all =
            [&["keys", "create", "--label", "x", "--tenant", "clinic", "--user", "ann", "--json"], args]
                .concat();
        let made = site.run(&all);
        (made.code, serde_json::from_str::<Value>(&made.stdout).unwrap_or_default(), made.stderr)
    };
    let (_, billing, _) = make(&["--purpose", "billing"]);
    let billing = billing["secret"].as_str().unwrap();
    assert_eq!(ask(billing, &[]), ok(), "the only one need not be said");
    assert_eq!(ask(billing, &["llmos-purpose: treatment"]), forbidden());
    let (code, _, says) = make(&["--purpose", "research"]);
    assert!(code == Some(4) && says.contains("the user may have at most billing, treatment"), "{says}");
    let why = |args: &[&str]| {
        server.json(&[&["why", "access", "clinic/ann", "generate", "model:mock"], args].concat())["policies"]
            [0]["name"]
            .clone()
    };
    assert_eq!(why(&["--purpose", "research"]), "data.purpose");
    assert_eq!(why(&["--purpose", "billing"]), "role.member");
    server.json(&["users", "set", "--tenant", "clinic", "--user", "ann", "--any-purpose"]);
    assert_eq!(ask(&ann.secret, &[]), ok());

    let rule = "forbid (principal, action == Action::\"generate\", resource)\n\
                unless { context has location && context.location == \"ward\" };";
    fs::write(site.folder().join("ward.cedar"), rule).unwrap();
    server.json(&["policies", "set", "ward", "ward.cedar", "--tenant", "clinic"]);
    assert_eq!(ask(&ann.secret, &[]), forbidden());
    assert_eq!(ask(&ann.secret, &["x-forwarded-for: 10.1.3.7", "forwarded: for=10.1.3.7"]), forbidden());
    fs::write(site.folder().join("ward.cedar"), rule.replace("ward", "here")).unwrap();
    server.json(&["policies", "set", "ward", "ward.cedar", "--tenant", "clinic"]);
    assert_eq!(ask(&ann.secret, &[]), ok());
    assert_eq!(why(&["--location", "ward"]), "tenant.ward.1");
    assert_eq!(why(&["--location", "here"]), "role.member");

    // A program does not sign in at a browser.
    let service = ["keys", "create", "--label", "x", "--tenant", "clinic", "--user", "robot", "--service"];
    server.json(&service);
    let invited = site.run(&["users", "invite", "--tenant", "clinic", "--user", "robot"]);
    assert!(invited.code != Some(0) && invited.stderr.contains("robot"), "{}", invited.stderr);
    let listed = server.json(&["users", "list"])["users"].clone();
    assert!(listed.as_array().unwrap().iter().any(|user| user["user"] == "robot" && user["service"] == true));
}

/// Filters, orders and cursors that reach for what is somebody else's.
#[test]
fn a40_lists_hold_ones_own_whatever_is_asked_of_them() {
    let site = Site::new();
    let server = site.serve(&[]);
    let ours = server.key_of("clinic", "chief", "administrator");
    let theirs = server.key_of("lab", "bobby", "member");
    let stored = |key: &Key| {
        let body = json!({
            "model": "mock", "max_tokens": 1, "store": true, "messages": [{ "role": "user", "content": "hi" }],
        });
        let answer = server.request("POST", "/v1/chat/completions", &key.secret, &[], Some(&body));
        answer.body["id"].as_str().unwrap().to_owned()
    };
    let (own, others) = (stored(&ours), stored(&theirs));
    let ask = |path: &str| server.request("GET", path, &ours.secret, &[], None);
    for list in ["/api/v1/keys", "/api/v1/users", "/api/v1/usage/7", "/v1/chat/completions", "/v1/models"] {
        for asked in [
            "",
            "?org=lab",
            "?tenant=lab",
            "?owner=*",
            "?sort=hash",
            "?order=data",
            "?metadata[x]=%27%20or%201=1",
        ] {
            let answer = ask(&format!("{list}{asked}"));
            assert!([200, 400].contains(&answer.status), "{list}{asked}: {}", answer.status);
            let text = answer.body.to_string();
            let seen = ["bobby", &theirs.id, &others].into_iter().find(|name| text.contains(*name));
            assert_eq!(seen, None, "{list}{asked}: {text}");
        }
    }
    // The cursor of somebody else is as one that nobody has, and none is more than a place among one's own.
    let behind = |id: &str| {
        let Answer { status, mut body, .. } = ask(&format!("/v1/chat/completions?after={id}"));
        body["error"]["request_id"] = Value::Null;
        (status, body)
    };
    assert_eq!(behind(&others), behind(NOTHING));
    assert_eq!(behind(&own).1["data"], json!([]));
    for forged in ["*", "%27%20or%201=1", "../../lab", "0"] {
        let (status, body) = behind(forged);
        assert!([400, 404].contains(&status) || body["data"] == json!([]), "{forged}: {body}");
    }
}
