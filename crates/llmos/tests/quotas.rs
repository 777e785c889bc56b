//! How much anybody may use, through the doors of the real binary: tokens that many want at once, teams, keys and money.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod harness;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use harness::{Answer, MODEL, Server, Site};
use serde_json::{Value, json};

fn key(server: &Server<'_>, args: &[&str]) -> (String, String) {
    let made = server.json(&[&["keys", "create", "--label", "k"], args].concat());
    (made["id"].as_str().unwrap().to_owned(), made["secret"].as_str().unwrap().to_owned())
}

fn ask(server: &Server<'_>, key: &str) -> Answer {
    let body =
        json!({ "model": "mock", "max_tokens": 4, "messages": [{ "role": "user", "content": "hello" }] });
    server.request("POST", "/v1/chat/completions", key, &[], Some(&body))
}

fn used(server: &Server<'_>, by: &[&str]) -> Vec<Value> {
    let by: Vec<&str> = by.iter().flat_map(|by| ["--by", *by]).collect();
    let report = server.json(&[&["usage"][..], &by].concat());
    report["usage"].as_array().unwrap().clone()
}

fn tokens(row: &Value) -> u64 {
    row["input_tokens"].as_u64().unwrap() + row["output_tokens"].as_u64().unwrap()
}

/// Of ten users with ten keys each, at once.
#[test]
fn five_hundred_requests_race_for_the_last_thousand_tokens() {
    let site = Site::with(&format!("{MODEL}[[quota]]\ntenant = 'clinic'\ntokens_per_day = 1000\n"));
    let server = site.serve(&[]);
    let keys: Vec<String> = (0..20)
        .map(|number| key(&server, &["--tenant", "clinic", "--user", &format!("user {}", number % 10)]).1)
        .collect();
    let (won, next) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let spent = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..25 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 500 {
                        return;
                    }
                    let answer = ask(&server, &keys[number % keys.len()]);
                    match answer.status {
                        200 => {
                            let all = answer.body["usage"]["total_tokens"].as_u64().unwrap();
                            spent.fetch_add(usize::try_from(all).unwrap(), Ordering::Relaxed);
                            won.fetch_add(1, Ordering::Relaxed);
                        }
                        429 => assert_eq!(answer.body["error"]["code"], "quota_exceeded"),
                        other => panic!("{other}: {}", answer.body),
                    }
                }
            });
        }
    });
    let (won, spent) = (won.into_inner(), spent.into_inner() as u64);
    let each = spent / won as u64;
    // The bucket fills a little meanwhile.
    assert!(
        spent <= 1_000 + each + 20 && spent + 3 * each > 1_000,
        "{won} requests of {each} tokens, {spent} in all"
    );
    harness::wait_until("all is written down", || {
        used(&server, &["tenant"]).iter().map(tokens).sum::<u64>() == spent
    });
    for by in [&["user"][..], &["key"], &["user", "key"], &["day", "team", "model"]] {
        let rows = used(&server, by);
        assert_eq!(rows.iter().map(tokens).sum::<u64>(), spent, "by {by:?}");
        assert_eq!(
            rows.iter().map(|row| row["requests"].as_u64().unwrap()).sum::<u64>(),
            won as u64,
            "by {by:?}"
        );
    }
}

#[test]
fn teams_keys_and_money_have_limits_of_their_own() {
    let site = Site::with(&format!(
        "{MODEL}input_price = '1000'\noutput_price = '2500.5'\n[[quota]]\nteam = 'ward 3'\nrequests_per_minute = 6\n\
         [[quota]]\ntenant = 'clinic'\nkey = '*'\nrequests_per_minute = 4\n[[quota]]\ntenant = 'lab'\n\
         spend_per_month = '0.10'\n"
    ));
    let server = site.serve(&[]);
    let of = |tenant: &str, user: &str| key(&server, &["--tenant", tenant, "--user", user]);
    let answered = |key: &str, most: usize| (0..most).filter(|_| ask(&server, key).status == 200).count();
    let (id, anna) = of("clinic", "anna");
    let (_, bert) = of("clinic", "bert");
    for user in ["anna", "bert"] {
        let set = server.json(&["users", "set", "--tenant", "clinic", "--user", user, "--team", "ward 3"]);
        assert_eq!(set["team"], "ward 3");
    }
    assert_eq!(answered(&anna, 8), 4, "of the key");
    assert_eq!(answered(&bert, 8), 2, "of the team");
    let refused = ask(&server, &bert).body;
    assert!(refused["error"]["message"].as_str().unwrap().contains("the team's quota"), "{refused}");
    server.json(&["users", "set", "--tenant", "clinic", "--user", "bert", "--no-team"]);
    assert_eq!(answered(&bert, 8), 2, "and then of the key: it has answered two");

    // Money is what the tokens cost, to the billionth.
    let (_, kim) = of("lab", "kim");
    let first = ask(&server, &kim).body;
    let count = |name: &str| first["usage"][name].as_u64().unwrap();
    let each = count("prompt_tokens") * 1_000_000 + count("completion_tokens") * 2_500_500;
    let more = std::iter::repeat_with(|| ask(&server, &kim)).take_while(|answer| answer.status == 200).count()
        as u64;
    let spent = each * (more + 1);
    assert!(spent <= 100_000_000 && spent + 2 * each + 20_000_000 > 100_000_000, "{spent} at {each} each");
    // What is left: a month fills slowly, so it is what was not spent, and some billionths.
    let (_, boss) = key(&server, &["--tenant", "clinic", "--user", "boss", "--role", "administrator"]);
    let left = |by: &str| {
        let report = server.request("GET", "/api/v1/budgets", by, &[], None).body;
        report["budgets"].as_array().unwrap().clone()
    };
    let all = left(server.key());
    let money = all.iter().find(|row| row["limit"] == "spend_per_month").unwrap();
    assert_eq!((&money["tenant"], &money["most"]), (&json!("lab"), &json!(100_000_000)));
    let more = money["left"].as_u64().unwrap() + spent - 100_000_000;
    assert!(more < 1_000_000, "{money}: {more} more than what is left of {spent}");
    assert!(all.iter().any(|row| row["team"] == "ward 3" && row["most"] == 6), "{all:?}");
    assert!(all.iter().any(|row| row["key"] == *id && row["left"].as_i64() < Some(4)), "{all:?}");
    assert!(left(&boss).iter().all(|row| row["tenant"] == "clinic") && !left(&boss).is_empty());
    let table = site.run(&["budgets"]).stdout;
    assert!(table.contains("team ward 3") && table.contains("spend_per_month"), "{table}");
    let written = format!("0.{spent:09}");
    let written = written.trim_end_matches('0');
    let written_down =
        || used(&server, &["tenant"]).iter().find(|row| row["tenant"] == "lab").unwrap()["spend"].clone();
    harness::wait_until("all is written down", || written_down() == written);
    let by_key = used(&server, &["team", "key"]);
    let row = by_key.iter().find(|row| row["key"] == *id).unwrap();
    assert_eq!((&row["team"], &row["requests"]), (&json!("ward 3"), &json!(4)), "{by_key:?}");

    // It still is spent after a restart.
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.ended(), Some(0));
    let server = site.serve(&[]);
    assert_eq!(ask(&server, &kim).status, 429);
    let csv = site.run(&["usage", "--by", "tenant", "--csv"]).stdout;
    assert!(csv.starts_with("tenant,requests,input_tokens,output_tokens,spend\r\n"), "{csv}");
    assert!(csv.contains(&format!(",{written}\r\n")), "{csv}");
}

#[test]
fn bad_prices_quotas_and_places_are_named() {
    for (text, says) in [
        (
            "[[model]]\nname = 'm'\nsource = 'simulator:'\ninput_price = '0,15'",
            "`input_price` is `0,15`; write a decimal",
        ),
        ("[[model]]\nname = 'm'\nsource = 'simulator:'\noutput_price = '0.0001'", "and 3 behind it"),
        ("[[quota]]\nspend_per_day = '0'", "more than nothing"),
        ("[[quota]]\nspend_per_day = '-1'", "write a decimal number"),
        ("[[quota]]\nspend_per_month = '1.5.5'", "write a decimal number"),
        ("[[quota]]\nspend_per_month = '12345678901'", "9 digits before the point"),
        ("[[quota]]\nteam = ''\nconcurrent = 1", "`team` is empty"),
        ("[[quota]]\nkey = '*'", "this quota limits nothing"),
        ("[[location]]\nname = 'ward'", "there are 0 networks"),
        ("[[location]]\nname = ''\nnetworks = ['10.0.0.0/8']", "write a name that no other location has"),
        ("[[location]]\nname = 'ward'\nnetworks = ['10.0.0.1/8']", "10.0.0.1/8"),
    ] {
        let site = Site::with(text);
        let outcome = site.run(&["config", "check"]);
        assert!(outcome.code != Some(0) && outcome.stderr.contains(says), "{text}: {}", outcome.stderr);
    }
}

/// Whoever has any credential at all cannot fill the disk of the audit log: not by looking, not by being refused, not by failing.
#[test]
fn what_nobody_pays_for_is_answered_only_so_often() {
    const RATE: usize = 20;
    const ASKED: usize = 90;
    let site = Site::with(&format!("{MODEL}[audit]\nrequests_per_minute = {RATE}\n"));
    let server = site.serve(&[]);
    let [ann, ben, cleo] = ["ann", "ben", "cleo"]
        .map(|user| key(&server, &["--tenant", "clinic", "--user", user, "--role", "member"]).1);
    let audrey = key(&server, &["--tenant", "clinic", "--user", "audrey", "--role", "auditor"]).1;
    let look = |key: &str| server.request("GET", "/v1/models", key, &[], None);
    let ask = |key: &str, model: &str| {
        let body =
            json!({ "model": model, "max_tokens": 4, "messages": [{ "role": "user", "content": "hi" }] });
        server.request("POST", "/v1/chat/completions", key, &[], Some(&body))
    };
    // How many are not answered; how many of the others more than the rate there are, the time goes by: one in three seconds.
    let refused = |answers: Vec<Answer>, else_it_is: u16| {
        let is_refused = |answer: &Answer| {
            let code = answer.body["error"]["code"].as_str();
            answer.status == 429
                && code == Some("rate_limit_exceeded")
                && answer.head.contains("retry-after: ")
        };
        let (refused, answered): (Vec<_>, Vec<_>) = answers.into_iter().partition(is_refused);
        assert!(answered.iter().all(|answer| answer.status == else_it_is), "{:?}", answered[0].body);
        assert!((RATE..2 * RATE).contains(&answered.len()), "{} were answered", answered.len());
        refused.len()
    };
    let looks = refused((0..ASKED).map(|_| look(&ann)).collect(), 200);
    assert_eq!(
        (look(&ben).status, ask(&ann, "mock").status),
        (200, 200),
        "another user, and what is paid for"
    );
    let failures = refused((0..ASKED).map(|_| ask(&cleo, "none")).collect(), 404);
    // A refusal says what it is, however often.
    assert!((0..ASKED).all(|_| ask(&audrey, "mock").status == 403));
    server.signal(rustix::process::Signal::TERM);
    assert_eq!(server.ended(), Some(0));

    // All of them are in the log: one by one, or counted.
    let server = site.serve(&[]);
    let mut counted = HashMap::new();
    for found in server.records(&["--action", "ask_too_often"]) {
        let fact = |name: &str| found["record"]["facts"][name].as_str().unwrap().to_owned();
        *counted.entry(fact("of")).or_insert(0) += fact("count").parse::<usize>().unwrap();
    }
    let one_by_one = server.records(&["--action", "generate", "--decision", "deny"]).len();
    assert!((RATE..2 * RATE).contains(&one_by_one), "{one_by_one} refusals");
    let expected = [("asked", looks), ("failed", failures), ("refused", ASKED - one_by_one)];
    assert_eq!(counted, HashMap::from(expected.map(|(of, count)| (of.to_owned(), count))));
}
