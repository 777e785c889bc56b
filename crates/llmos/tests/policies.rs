//! Policies that a tenant has, on the real binary: what they tell apart, and what records say of it.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod harness;

use std::fs;

use harness::{Answer, Key, Server, Site};
use serde_json::{Value, json};

fn set_policy(site: &Site, server: &Server<'_>, name: &str, tenant: &str, text: &str) {
    let file = format!("{name}.cedar");
    fs::write(site.folder().join(&file), text).unwrap();
    server.json(&["policies", "set", name, &file, "--tenant", tenant]);
}

/// A key and the log of a tenant are something of their own, and records name the key and whose it is.
#[test]
fn policies_tell_keys_apart_and_records_name_them() {
    let site = Site::new();
    let server = site.serve(&[]);
    let (chief, ann) =
        (server.key_of("clinic", "chief", "administrator"), server.key_of("clinic", "ann", "administrator"));
    let bob = server.key_of("clinic", "bob", "member");
    let (lab, watcher) = (server.key_of("lab", "lea", "member"), server.key_of("lab", "watcher", "auditor"));
    let service = ["keys", "create", "--label", "x", "--tenant", "clinic", "--user", "robot", "--service"];
    let robot = server.json(&service)["id"].as_str().unwrap().to_owned();
    let users = server.json(&["users", "list"])["users"].clone();
    let number = |name: &str| {
        let found = users.as_array().unwrap().iter().find(|user| user["user"] == name);
        found.unwrap()["number"].as_u64().unwrap()
    };
    let rule = format!(
        "@says(\"only ann\") forbid (principal, action == Action::\"change_key\", resource)
         when {{ resource.service }} unless {{ principal == User::\"{}\" }};",
        number("ann")
    );
    set_policy(&site, &server, "robots", "clinic", &rule);

    let named = |id: &str| format!("key:{id}");
    let overlap = json!({ "overlap_s": 60 });
    let rotate = |by: &str, id: &str| {
        server.request("POST", &format!("/api/v1/keys/{id}/rotations"), by, &[], Some(&overlap))
    };
    let revoke = |by: &str, id: &str| server.request("DELETE", &format!("/api/v1/keys/{id}"), by, &[], None);
    let records = |answer: &Answer| -> Vec<Value> {
        let found = server.records(&["--request", answer.request_id()]);
        found.iter().map(|found| found["record"].clone()).collect()
    };
    for refused in [rotate(&chief.secret, &robot), revoke(&chief.secret, &robot)] {
        assert_eq!((refused.status, &refused.body["error"]["code"]), (403, &json!("forbidden_by_policy")));
        let [record] = &records(&refused)[..] else { panic!("{}", refused.body) };
        assert_eq!((&record["decision"], &record["policies"]), (&json!("deny"), &json!(["tenant.robots.1"])));
        assert_eq!((&record["on"], &record["tenant"]), (&json!(named(&robot)), &record["who"]["tenant"]));
    }
    let rotated = rotate(&chief.secret, &bob.id);
    let [begins, ends] = &records(&rotated)[..] else { panic!("{}", rotated.body) };
    assert_eq!((rotated.status, &begins["action"]), (201, &json!("change_key")));
    assert_eq!((&begins["on"], &begins["tenant"]), (&json!(named(&bob.id)), &begins["who"]["tenant"]));
    assert_eq!((&ends["outcome"], &ends["tenant"]), (&json!("done"), &begins["tenant"]));
    assert_eq!(rotate(&ann.secret, &robot).status, 201);
    // A key that was made to manage keys goes on to change them.
    let narrow = ["--action", "manage_keys", "--role", "administrator"];
    let create = ["keys", "create", "--label", "x", "--tenant", "clinic", "--user", "ann"];
    let made = server.json(&[&create[..], &narrow].concat());
    assert_eq!(revoke(made["secret"].as_str().unwrap(), &bob.id).status, 200);

    let why = |args: &[&str]| {
        let told = server.json(&[&["why", "access"], args].concat());
        (told["allowed"].clone(), told["policies"][0]["name"].clone())
    };
    let yes = || (json!(true), json!("role.administrator"));
    assert_eq!(why(&["clinic/chief", "change_key"]), yes());
    assert_eq!(why(&["clinic/chief", "change_key", &named(&bob.id)]), yes());
    assert_eq!(why(&["clinic/ann", "change_key", &named(&robot)]), yes());
    for (id, by) in [(&robot, "tenant.robots.1"), (&lab.id, "wall.tenant")] {
        assert_eq!(why(&["clinic/chief", "change_key", &named(id)]), (json!(false), json!(by)));
    }
    assert_eq!(site.run(&["why", "access", "clinic/chief", "change_key", "key:000000000000"]).code, Some(5));
    assert_eq!(why(&["clinic/chief", "read_audit", "audit:clinic"]), yes());
    for tenant in ["audit:lab", "audit:nowhere"] {
        assert_eq!(why(&["clinic/chief", "read_audit", tenant]), (json!(false), json!("wall.tenant")));
    }
    let wrong = site.run(&["why", "access", "clinic/chief", "read_audit", "tenant:clinic"]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("`audit:TENANT`"), "{}", wrong.stderr);

    // What an owner does to the key of another tenant is in that tenant's log, how it ended too.
    let revoked = revoke(server.key(), &lab.id);
    assert_eq!(revoked.status, 200, "{}", revoked.body);
    let read = |by: &Key, request: &str| {
        let body = json!({ "request": request });
        server.request("POST", "/api/v1/audit/records", &by.secret, &[], Some(&body)).body["records"].clone()
    };
    let seen = read(&watcher, revoked.request_id());
    let kinds = |field: &str| -> Vec<Value> {
        seen.as_array().unwrap().iter().map(|found| found["record"][field].clone()).collect()
    };
    assert_eq!(kinds("kind"), ["end", "begin"], "{seen}");
    assert_eq!(kinds("tenant"), vec![seen[1]["record"]["tenant"].clone(); 2], "{seen}");
    assert_eq!(seen[1]["record"]["on"], named(&lab.id));
    assert_eq!(read(&chief, revoked.request_id()), json!([]));

    // One that is nowhere and one of another tenant leave one record each, which says the same of both.
    let tried = ["000000000000", &lab.id].map(|id| {
        let tried = revoke(&chief.secret, id);
        assert_eq!(tried.status, 404, "{}", tried.body);
        let [record] = &records(&tried)[..] else { panic!("{:?}", records(&tried)) };
        let mut record = record.clone();
        assert_eq!((&record["on"], &record["decision"]), (&json!(named(id)), &json!("deny")));
        for field in ["on", "at", "request", "sealed"] {
            record[field] = Value::Null;
        }
        record
    });
    assert_eq!(tried[0], tried[1]);

    let rule =
        "@says(\"in the office\") forbid (principal in Role::\"auditor\", action, resource is AuditLog)
                unless { context has location && context.location == \"office\" };";
    set_policy(&site, &server, "office", "lab", rule);
    let read = |by: &Key| {
        let body = json!({ "limit": 1 });
        server.request("POST", "/api/v1/audit/records", &by.secret, &[], Some(&body)).status
    };
    assert_eq!((read(&watcher), read(&chief)), (403, 200));
    let at = |place: &str| why(&["lab/watcher", "read_receipt", "--location", place]).1;
    assert_eq!((at("office"), at("home")), (json!("role.auditor"), json!("tenant.office.1")));
}

/// Data sets, budgets, nodes and workflows: a policy that forbids something of each, what is refused by it and what is not, and what the
/// record says that it was done to.
#[test]
fn policies_speak_of_data_sets_budgets_nodes_and_workflows() {
    let site = Site::new();
    let server = site.serve(&[]);
    let chief = server.key_of("clinic", "chief", "administrator");
    let lab = server.key_of("lab", "lea", "developer");
    // Operators are of the tenant that policies of theirs are in.
    let operator = server.key_of("clinic", "otto", "operator");
    let node = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let rules = [
        "@says(\"only what is public is stored\") forbid (principal, action == Action::\"store_chat_completion\", resource is Dataset)
             when { resource.name == \"chat_completions\" && context.data_class >= 1 };".to_owned(),
        "forbid (principal in Role::\"administrator\", action, resource is Budget);".to_owned(),
        format!("forbid (principal, action == Action::\"move_model\", resource == Node::\"{node}\");"),
        "forbid (principal in Role::\"operator\", action, resource is Workflow);".to_owned(),
    ];
    for (name, rule) in ["data", "budget", "node", "workflow"].iter().zip(&rules) {
        set_policy(&site, &server, name, "clinic", rule);
    }

    let store = |class: &str| {
        let body = json!({
            "model": "mock", "max_tokens": 1, "store": true, "messages": [{ "role": "user", "content": "hi" }],
        });
        let class = format!("llmos-data-class: {class}");
        server.request("POST", "/v1/chat/completions", &chief.secret, &[&class], Some(&body))
    };
    let plan = |by: &Key| {
        let body = json!({
            "processors": 2,
            "workflow": { "tasks": [
                { "id": "a", "runtimeInSeconds": 2, "children": ["c"] },
                { "id": "b", "runtimeInSeconds": 1, "children": ["c"] },
                { "id": "c", "runtimeInSeconds": 1, "parents": ["a", "b"] },
            ] },
        });
        server.request("POST", "/api/v1/workflow-plans", &by.secret, &[], Some(&body))
    };
    let get = |path: &str, by: &Key| server.request("GET", path, &by.secret, &[], None);
    let unload = |by: &Key| server.request("DELETE", "/api/v1/loaded/mock", &by.secret, &[], None);
    // The last record is the one of the data set: whoever asks for an answer may have it.
    let on = |answer: &Answer| {
        let found = server.records(&["--request", answer.request_id()]);
        let record = found.iter().map(|found| &found["record"]).find(|record| record["kind"] != "end");
        record.unwrap()["on"].as_str().unwrap().to_owned()
    };
    assert_eq!(store("public").status, 200);
    for (answer, policy, thing) in [
        (store("internal"), "tenant.data.1", "dataset:"),
        (get("/api/v1/usage/1", &chief), "tenant.budget.1", "budget:"),
        (unload(&operator), "tenant.node.1", "node:"),
        (plan(&operator), "tenant.workflow.1", "workflow:"),
    ] {
        assert_eq!((answer.status, &answer.body["error"]["code"]), (403, &json!("forbidden_by_policy")));
        assert!(answer.body["error"]["message"].as_str().unwrap().contains(policy), "{}", answer.body);
        assert!(on(&answer).starts_with(thing), "{}", on(&answer));
    }
    assert_eq!(get("/api/v1/processes", &operator).status, 200);
    assert_eq!(on(&get("/api/v1/processes", &operator)), format!("node:{node}"));

    let planned = plan(&lab);
    assert_eq!((planned.status, &planned.body["makespan_ms"]), (200, &json!(3000)), "{}", planned.body);
    assert_eq!(planned.body["lower_bound_ms"], json!(3000));
    let critical: Vec<&Value> =
        planned.body["schedule"].as_array().unwrap().iter().map(|task| &task["critical"]).collect();
    assert_eq!(critical, [true, false, true]);
    let nothing = json!({ "workflow": { "tasks": [{ "id": "a", "parents": ["a"] }] } });
    let refused = server.request("POST", "/api/v1/workflow-plans", &lab.secret, &[], Some(&nothing));
    assert_eq!(
        (refused.status, &refused.body["error"]["param"]),
        (400, &json!("workflow")),
        "{}",
        refused.body
    );

    let why = |args: &[&str]| {
        let told = server.json(&[&["why", "access"], args].concat());
        (
            told["allowed"].as_bool().unwrap(),
            told["policies"][0]["name"].as_str().unwrap_or_default().to_owned(),
        )
    };
    let no = |policy: &str| (false, policy.to_owned());
    let here = format!("node:{node}");
    assert_eq!(why(&["clinic/otto", "move_model", &here]), no("tenant.node.1"));
    assert_eq!(why(&["clinic/otto", "move_model"]), no("tenant.node.1"));
    assert_eq!(why(&["clinic/otto", "move_model", "node:another"]), (true, "role.operator".to_owned()));
    assert_eq!(why(&["clinic/chief", "read_usage", "budget:lab"]), no("tenant.budget.1"));
    assert_eq!(why(&["lab/lea", "plan_workflow", "workflow:clinic"]), no("wall.tenant"));
    for (tenant, allowed) in [("lab", true), ("clinic", false)] {
        let answers = format!("dataset:{tenant}/chat_completions");
        assert_eq!(why(&["lab/lea", "read_chat_completions", &answers]).0, allowed, "{tenant}");
    }
    // Whether there is another tenant of a name is not told to those who may not see it, whatever policies they have.
    let probe = format!(
        "forbid (principal, action == Action::\"read_usage\", resource == Budget::\"{}\");",
        u64::MAX
    );
    set_policy(&site, &server, "probe", "clinic", &probe);
    let told = |tenant: &str| {
        let inquiry = json!({
            "tenant": "clinic", "user": "chief", "action": "read_usage", "resource": format!("budget:{tenant}"),
        });
        server.request("POST", "/api/v1/decisions", &chief.secret, &[], Some(&inquiry)).body
    };
    assert_eq!(told("lab"), told("nowhere"));

    let wrong = site.run(&["why", "access", "lab/lea", "plan_workflow", "tenant:lab"]);
    assert!(wrong.code == Some(1) && wrong.stderr.contains("`workflow:TENANT`"), "{}", wrong.stderr);
}
