//! `llmos plan` on files, good and bad.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod harness;

use std::{fs, io::Write, path::Path};

use harness::{Outcome, Site, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// Two tasks and one that needs both; the least makespan is 7.
const GRAPH: &str = "p hdag 3 2 2\nn 0 1\nk 0 1000\nw 0 2 9\nw 1 9 3\nw 2 4 4\ne 0 2 1\ne 1 2 5\n";
const SHOP: &str = "2 2\n0 3 1 2\n1 4 0 1\n";
/// Three activities between two that take no time.
const PROJECT: &str = "5 1\n2\n0 0 2 2 3\n2 2 1 5\n3 1 1 4\n1 1 1 5\n0 0 0\n";
const WORKFLOW: &str = r#"{"workflow": {"specification": {"tasks": [
{"id": "a", "parents": [], "children": ["b", "c"], "outputFiles": ["f"]},
{"id": "b", "parents": ["a"], "children": [], "inputFiles": ["f"]},
{"id": "c", "parents": ["a"], "children": []}], "files": [{"id": "f", "sizeInBytes": 1250000000}]},
"execution": {"tasks": [{"id": "a", "runtimeInSeconds": 1.5}, {"id": "b", "runtimeInSeconds": 2}, {"id": "c", "runtimeInSeconds": 0.25}],
"machines": [{"nodeName": "m", "cpu": {"coreCount": 2}}]}}}"#;
/// Three equal tasks on two processors: no bound of ours is as high as the makespan, so a search goes on for as long as it may.
const ENDLESS: &str = "p hdag 3 2 0\nn 0 0\nk 0 0\nw 0 2 2\nw 1 2 2\nw 2 2 2\n";
const CHEAPEST: &str = "c two ways\np min 3 3\nn 1 4\nn 3 -4\na 1 2 0 3 1\na 2 3 0 3 1\na 1 3 0 9 5\n";
const GREATEST: &str = "p max 4 5\nn 1 s\nn 4 t\na 1 2 3\na 1 3 2\na 2 3 5\na 2 4 2\na 3 4 3\n";

#[test]
fn flows_are_found_with_proof() {
    let site = Site::new();
    fs::write(site.folder().join("a.min"), CHEAPEST).unwrap();
    let packed = fs::File::create(site.folder().join("b.max.gz")).unwrap();
    let mut packed = flate2::write::GzEncoder::new(packed, flate2::Compression::fast());
    packed.write_all(GREATEST.as_bytes()).unwrap();
    packed.finish().unwrap();
    let json = |file: &str| -> Value {
        let outcome = site.run(&["plan", "flow", file, "--json"]);
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        serde_json::from_str(&outcome.stdout).unwrap()
    };
    let cheapest = json("a.min");
    assert_eq!((&cheapest["cost"], &cheapest["status"]), (&json!(11), &json!("optimal")));
    assert_eq!(cheapest["flows"], json!([[1, 2, 3], [2, 3, 3], [1, 3, 1]]));
    assert!(cheapest["cpu_ms"].as_f64().unwrap() >= 0.0);
    let greatest = json("b.max.gz");
    assert_eq!((&greatest["value"], greatest["cost"].is_null()), (&json!(5), true));
    let told = site.run(&["plan", "flow", "a.min"]);
    assert!(told.stdout.starts_with("cost 11, optimal: proven and checked\n3 of 3 arcs"), "{}", told.stdout);
}

#[test]
fn what_has_no_flow_or_is_damaged_is_named() {
    let site = Site::new();
    for (text, says) in [
        (
            "p min 2 1\nn 1 2\nn 2 -2\na 1 2 0 1 1\n",
            "1 units more to give than the arcs that leave them can take (one of these nodes is 1)",
        ),
        ("p min 2 1\nn 1 2\na 1 2 0 1 1\n", "all supplies together are 2"),
        ("p min 2 1\na 1 2 0 1\n", "line 2, column 9: the cost is missing"),
        ("p min 2 2\na 1 2 0 1 1\n", "is the file cut off?"),
        ("p min 9000000 2\n", "0 to 1048576"),
        ("p min 2 1\nn 1 2\nn 2 -2\na 1 2 0 0 1\n", "2 units more to give than the arcs"),
        ("p min 2 1\na 1 2 0 9999999999999999999 1\n", "line 2, column 9: "),
        ("p min 2 1\na 1 2 3 1 1\n", "line 2, column 11: the bounds of this arc leave nothing"),
        ("\u{1f}\u{8b}", "line 1, column 1"),
    ] {
        fs::write(site.folder().join("bad"), text).unwrap();
        let refused = site.run(&["plan", "flow", "bad"]);
        assert!(refused.code == Some(1) && refused.stderr.contains(says), "{text}: {}", refused.stderr);
    }
    fs::write(site.folder().join("bad"), [0x1f, 0x8b, 8, 0]).unwrap();
    assert!(site.run(&["plan", "flow", "bad"]).stderr.contains("cannot read"));
    assert!(site.run(&["plan", "flow", "absent"]).stderr.contains("No such file"));
}

/// A result of a command that went well.
fn document(outcome: &Outcome) -> Value {
    assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// A job shop in which every job is on every machine once, with pseudo-random order and times.
fn shop(jobs: u64, machines: u64) -> String {
    let mut state: u64 = 7;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let mut text = format!("{jobs} {machines}\n");
    for _ in 0..jobs {
        let first = random(machines);
        let operation = |at| format!("{} {}", (first + at * 3) % machines, 1 + random(99));
        text += &(0..machines).map(operation).collect::<Vec<_>>().join(" ");
        text.push('\n');
    }
    text
}

fn names(value: &Value) -> Vec<&String> {
    let mut names: Vec<&String> = value.as_object().unwrap().keys().collect();
    names.sort_unstable();
    names
}

#[test]
fn every_format_is_solved_and_the_document_has_the_fields_that_are_promised() {
    let site = Site::new();
    for (file, text, makespan, algorithm, schedule) in [
        ("a.hdag", GRAPH, 7, "auto", json!([[0, 0, 0, 2], [1, 1, 0, 3], [2, 1, 3, 7]])),
        ("shop.txt", SHOP, 6, "sa", json!([[0, 0, 0, 3], [1, 1, 4, 6], [2, 1, 0, 4], [3, 0, 4, 5]])),
        ("b.rcp", PROJECT, 6, "ga", Value::Null),
        ("w.json", WORKFLOW, 3500, "auto", Value::Null),
    ] {
        fs::write(site.folder().join(file), text).unwrap();
        let outcome = site.run(&["plan", "solve", file, "--json", "--verify"]);
        // Nothing but errors is told where there is no terminal.
        assert_eq!(outcome.stderr, "", "{file}");
        let found = document(&outcome);
        let keys = ["algorithm", "cpu_ms", "evaluations", "lower_bound", "makespan", "schedule"];
        assert_eq!(names(&found), keys);
        assert_eq!(
            (&found["makespan"], &found["algorithm"]),
            (&json!(makespan), &json!(algorithm)),
            "{file}"
        );
        assert!(found["lower_bound"].as_i64().unwrap() <= makespan, "{file}");
        let rows = found["schedule"].as_array().unwrap().iter().zip(0..).map(|(row, task)| {
            assert_eq!(names(row), ["finish", "processor", "start", "task"]);
            assert_eq!(row["task"], json!(task));
            json!([row["task"], row["processor"], row["start"], row["finish"]])
        });
        let rows: Vec<Value> = rows.collect();
        match schedule {
            Value::Null => assert_eq!(rows[0][1].is_null(), file == "b.rcp"),
            schedule => assert_eq!(json!(rows), schedule, "{file}"),
        }
        let told = site.run(&["plan", "solve", file, "--verify"]).stdout;
        assert!(
            told.starts_with(&format!("makespan {makespan}, ")) && told.contains("; checked\n"),
            "{told}"
        );
    }
}

#[test]
fn the_number_of_evaluations_repeats_a_search_that_a_clock_ended() {
    let site = Site::new();
    fs::write(site.folder().join("shop"), shop(10, 8)).unwrap();
    fs::write(site.folder().join("p.rcp"), PROJECT).unwrap();
    for (file, algorithm) in
        [("shop", "auto"), ("shop", "lns"), ("shop", "ga"), ("shop", "heft"), ("p.rcp", "ga")]
    {
        let args = ["plan", "solve", file, "--json", "--verify", "--seed", "5", "--algorithm", algorithm];
        let once = document(&site.run(&[&args[..], &["--budget-ms", "40"]].concat()));
        let evaluations = once["evaluations"].to_string();
        let again = document(&site.run(&[&args[..], &["--evaluations", &evaluations]].concat()));
        for field in ["makespan", "lower_bound", "algorithm", "evaluations", "schedule"] {
            assert_eq!(once[field], again[field], "{algorithm}: {field}");
        }
    }
}

#[test]
fn without_a_budget_there_is_a_valid_schedule_all_the_same() {
    let site = Site::new();
    fs::write(site.folder().join("shop"), shop(6, 6)).unwrap();
    for (file, text) in [
        ("a.hdag", GRAPH),
        ("b.rcp", PROJECT),
        ("w.json", WORKFLOW),
        ("none.hdag", "p hdag 0 1 0\nn 0\nk 0 0\n"),
    ] {
        fs::write(site.folder().join(file), text).unwrap();
    }
    for file in ["shop", "a.hdag", "b.rcp", "w.json", "none.hdag"] {
        for budget in ["--budget-ms", "--evaluations"] {
            let found = document(&site.run(&["plan", "solve", file, budget, "0", "--verify", "--json"]));
            assert_eq!(found["evaluations"], json!(0), "{file} {budget}");
        }
    }
}

#[test]
fn the_first_interrupt_takes_the_best_so_far() {
    let site = Site::new();
    fs::write(site.folder().join("a.hdag"), ENDLESS).unwrap();
    let child = site.spawn(&["plan", "solve", "a.hdag", "--budget-ms", "600000", "--verify", "--json"]);
    let status = format!("/proc/{}/status", child.id());
    // Bit 1 of the signals that are caught is SIGINT.
    let catches = |line: &str| {
        let mask = line.strip_prefix("SigCgt:").map(|mask| u64::from_str_radix(mask.trim(), 16).unwrap());
        mask.is_some_and(|mask| mask & 1 << 1 != 0)
    };
    wait_until("it listens for signals", || fs::read_to_string(&status).unwrap().lines().any(catches));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["makespan"], &found["lower_bound"]), (&json!(4), &json!(3)));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "stopped: this is the best so far\n");
}

#[test]
fn the_picture_has_every_task_and_marks_the_critical_path() {
    let site = Site::new();
    let named = WORKFLOW.replace("\"b\"", "\"<b&\"");
    for (file, text, tasks, critical) in
        [("a.hdag", GRAPH, 3, 2), ("s", SHOP, 4, 2), ("b.rcp", PROJECT, 5, 5), ("w.json", &named, 3, 2)]
    {
        fs::write(site.folder().join(file), text).unwrap();
        document(&site.run(&["plan", "solve", file, "--json", "--gantt", "out.svg"]));
        let svg = fs::read_to_string(site.folder().join("out.svg")).unwrap();
        let count = |part: &str| svg.matches(part).count();
        let drawn = count("<g class=\"critical\"><title>") + count("<g class=\"critical thin\"><title>");
        let others = count("<g class=\"task\"><title>") + count("<g class=\"task thin\"><title>");
        assert_eq!((drawn, drawn + others), (critical, tasks), "{file}");
        assert!(!svg.contains("<b&") && svg.ends_with("</svg>\n"), "{file}");
    }
    let refused =
        site.run(&["plan", "solve", "a.hdag", "--gantt", "no/such/folder.svg", "--budget-ms", "600000"]);
    assert!(refused.code == Some(1) && refused.stderr.contains("cannot write no/such/folder.svg"));
}

#[test]
fn every_algorithm_has_its_name() {
    let site = Site::new();
    fs::write(site.folder().join("a.hdag"), GRAPH).unwrap();
    fs::write(site.folder().join("b.rcp"), PROJECT).unwrap();
    for name in [
        "auto",
        "heft",
        "peft",
        "look-ahead",
        "cpop",
        "min-min",
        "max-min",
        "sufferage",
        "ensemble",
        "sa",
        "lns",
        "ga",
    ] {
        let args =
            ["plan", "solve", "a.hdag", "--algorithm", name, "--evaluations", "20", "--verify", "--json"];
        assert_eq!(document(&site.run(&args))["algorithm"], json!(name));
        let project = site.run(&["plan", "solve", "b.rcp", "--algorithm", name]);
        assert_eq!(
            project.code,
            Some(if ["auto", "ga"].contains(&name) { 0 } else { 2 }),
            "{}",
            project.stderr
        );
    }
    assert_eq!(site.run(&["plan", "solve", "a.hdag", "--algorithm", "best"]).code, Some(2));
}

#[test]
fn what_cannot_be_solved_is_one_clear_error() {
    let site = Site::new();
    let cut = |text: &str| text[..text.len() / 2].to_owned();
    let many = "[1],".repeat(3);
    let tasks = format!("{}{{\"id\": \"last\"}}", "{\"id\": \"x\"},".repeat(1_000_000));
    for (file, text, code, says) in [
        // Cycles, self-loops.
        (
            "a.hdag",
            "p hdag 2 1 2\nn 0\nk 0 0\nw 0 1\nw 1 1\ne 0 1 0\ne 1 0 0\n".to_owned(),
            1,
            "wait for each other: 0 → 1 → 0",
        ),
        ("b.rcp", "3 0\n1 1 2\n1 1 3\n1 1 2\n".to_owned(), 1, "wait for each other: 1 → 2 → 1"),
        (
            "w.json",
            WORKFLOW.replace("\"parents\": [], \"children\": [\"b\", \"c\"]", "\"parents\": [\"b\"]"),
            1,
            "line 2, column 9: tasks wait for each other: a → b → a",
        ),
        ("a.hdag", GRAPH.replace("e 0 2 1", "e 2 2 1"), 1, "line 7, column 5: a task cannot wait for itself"),
        ("b.rcp", "1 1\n1\n1 1 1 1\n".to_owned(), 1, "line 3, column 7: an activity cannot follow itself"),
        (
            "w.json",
            WORKFLOW.replace("[\"a\"], \"children\": [], \"input", "[\"b\"], \"input"),
            1,
            "task `b` cannot wait for itself",
        ),
        // Negative and overflowing weights.
        ("a.hdag", GRAPH.replace("w 0 2", "w 0 -2"), 1, "line 4, column 5: a cost is -2"),
        (
            "a.hdag",
            GRAPH.replace("w 0 2", "w 0 99999999999999999999"),
            1,
            "line 4, column 5: a cost is no whole number of 64 bits",
        ),
        ("a.hdag", GRAPH.replace("w 0 2", "w 0 9223372036854775807"), 1, "use a longer tick"),
        ("a.hdag", GRAPH.replace("k 0 1000", "k 0 9223372036854775807"), 1, "use a longer tick"),
        ("shop", SHOP.replace("3 1", "-3 1"), 1, "line 2, column 3: an operation takes -3 ticks"),
        (
            "b.rcp",
            PROJECT.replace("2 2 1 5", "-2 2 1 5"),
            1,
            "line 4, column 1: the ticks of an activity is -2",
        ),
        (
            "w.json",
            WORKFLOW.replace("1.5", "-1.5"),
            1,
            "line 5, column 61: a time, size or number is -1.5; it is 0 or more",
        ),
        ("w.json", WORKFLOW.replace("1.5", "1e300"), 1, "use a longer tick"),
        // What can run nowhere.
        ("a.hdag", GRAPH.replace("w 2 4 4", "w 2 -1 -1"), 1, "task 2 can run on no processor"),
        (
            "b.rcp",
            PROJECT.replace("2 2 1 5", "2 3 1 5"),
            1,
            "line 4, column 3: the demand of an activity is 3; it may be 0 to 2",
        ),
        ("shop", SHOP.replace("1 4", "7 4"), 1, "line 3, column 1: the machine is 7; there are 2"),
        // Cut in the middle.
        ("a.hdag", cut(GRAPH), 1, "is the file cut off?"),
        ("shop", cut(SHOP), 1, "line 2, column 5: the time is missing; is the file cut off?"),
        (
            "b.rcp",
            cut(PROJECT),
            1,
            "line 5, column 1: the ticks of an activity is missing; is the file cut off?",
        ),
        ("w.json", cut(WORKFLOW), 1, "line 4, column 56: EOF while parsing a value; is the file cut off?"),
        (
            "empty",
            String::new(),
            1,
            "line 1, column 1: the line with the numbers of jobs and machines is missing",
        ),
        // Too large.
        (
            "a.hdag",
            "p hdag 1000000 1 0\n".to_owned(),
            1,
            "line 1, column 8: the number of tasks is 1000000; it may be 0 to 131072",
        ),
        ("shop", "1000000 2\n".to_owned(), 1, "it may be 0 to 131072"),
        ("b.rcp", "1000000 2\n".to_owned(), 1, "it may be 0 to 8192"),
        (
            "w.json",
            format!("{{\"workflow\": {{\"tasks\": [{tasks}]}}}}"),
            1,
            "there are 1000001 tasks; there may be 1 to 131072",
        ),
        // Neither.
        ("w.json", many, 1, "line 1, column 2: "),
        ("absent", "\0".to_owned(), 1, "it was read as a job shop; a project's name ends with .rcp"),
    ] {
        fs::write(site.folder().join(file), &text).unwrap();
        let refused = site.run(&["plan", "solve", file]);
        let shown = &text[..text.len().min(300)];
        assert!(refused.stderr.contains(says), "{file}: {shown}\n{}", refused.stderr);
        assert_eq!((refused.code, refused.stdout.as_str()), (Some(code), ""), "{shown}");
        assert_eq!(refused.stderr.matches("error:").count(), 1, "{}", refused.stderr);
    }
    assert!(site.run(&["plan", "solve", "nowhere"]).stderr.contains("No such file"));
    for (args, says) in [
        (vec!["a.hdag", "--processors", "3"], "go with workflows of WfCommons only"),
        (vec!["w.json", "--processors", "0"], "0 is not in 1..=1024"),
        (vec!["w.json", "--link-mb-per-s", "0"], "0 is not in 1.."),
        (vec!["w.json", "--budget-ms", "soon"], "--budget-ms"),
    ] {
        let refused = site.run(&[&["plan", "solve"], &args[..]].concat());
        assert!(refused.code == Some(2) && refused.stderr.contains(says), "{args:?}: {}", refused.stderr);
    }
}

/// The files that the documentation shows.
fn example(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples").join(name).to_str().unwrap().to_owned()
}

#[test]
fn replicas_are_placed_and_explained() {
    let site = Site::new();
    let (machines, models) = (example("placement/machines.toml"), example("placement/models.toml"));
    let args = ["plan", "place", "--inventory", &machines, "--models", &models];
    let found = document(&site.run(&[&args[..], &["--json"]].concat()));
    assert_eq!((&found["cost"], &found["lower_bound"]), (&json!(430), &json!(430)));
    let replicas = found["replicas"].as_array().unwrap();
    assert_eq!(replicas.len(), 8);
    let large = &replicas[0];
    assert_eq!(
        (&large["model"], &large["replica"], large.get("explanation")),
        (&json!("assistant-70b"), &json!(0), None)
    );
    assert_eq!(
        (&large["place"]["machine"], large["place"]["devices"].as_array().unwrap().len()),
        (&json!("server"), 4)
    );
    assert!(replicas[2]["place"].is_null());
    let told = site.run(&args).stdout;
    assert!(
        told.starts_with("7 of 8 replicas have a place; the plan costs 430: the least that there can be\n"),
        "{told}"
    );
    let explained = site.run(&[&args[..], &["--explain"]].concat()).stdout;
    for says in [
        "letters-8b/0 is on old-server, device 0, at a cost of 0: it stays where it runs, its files are there\n  second best: no place at 100\n",
        "assistant-70b/2 has no place, which costs its value of 400\n  second best: none; no machine has room for it as it is now\n",
        "  would change it: if server had 4 more devices that it can use, near each other; there it would cost 0\n",
        "on ward, NUMA node 0, at a cost of 10: its files have to be loaded (10)\n",
    ] {
        assert!(explained.contains(says), "{explained}");
    }
    let explanation = document(&site.run(&[&args[..], &["--explain", "--json"]].concat()));
    assert_eq!(
        explanation["replicas"][0]["explanation"]["parts"],
        json!({"loading": 0, "across": 0, "moving": 0})
    );
    let first = document(&site.run(&[&args[..], &["--budget-ms", "0", "--json"]].concat()));
    assert_eq!(first["evaluations"], json!(0));
    // One machine, as it was detected.
    let one = example("inventory/server-8x80gb.json");
    fs::write(
        site.folder().join("m.toml"),
        "[[model]]\nname = 'm'\nreplicas = 3\ndevices = 4\nwithin = 'island'\n",
    )
    .unwrap();
    let found = document(&site.run(&["plan", "place", "--inventory", &one, "--models", "m.toml", "--json"]));
    assert_eq!(found["cost"], json!(120), "two are loaded, and one has no place");
}

#[test]
fn descriptions_that_cannot_be_are_refused() {
    let site = Site::new();
    let machine = "[[machine]]\nname = 'a'\nnuma = [{ cores = 4, memory_mb = 100 }]\n";
    let model = "[[model]]\nname = 'm'\n";
    for (machines, models, says) in [
        (
            machine.to_owned(),
            "[[model]]\nnam = 'm'\n".to_owned(),
            "models, line 2, column 1: unknown field `nam`",
        ),
        (machine.to_owned(), "[[model]]\nname = 'm\n".to_owned(), "models, line 2, column "),
        (machine.to_owned(), format!("{model}{model}"), "model `m`: there are two of this name"),
        (machine.to_owned(), format!("{model}cores = -1\n"), "model `m`: cores have to be 0 or more"),
        (machine.to_owned(), format!("{model}cores = nan\n"), "model `m`: cores have to be 0 or more"),
        (
            machine.to_owned(),
            format!("{model}memory_mb = 9223372036854775807\n"),
            "model `m`: cores and memory have to be 0 to 2^40",
        ),
        (machine.to_owned(), format!("{model}device_share = 1.5\n"), "device_share has to be 0.001 to 1"),
        (
            machine.to_owned(),
            format!("{model}within = 'rack'\n"),
            "models, line 3, column 10: unknown variant `rack`",
        ),
        (machine.to_owned(), format!("{model}resident_on = ['b']\n"), "model `m`: there is no machine `b`"),
        (machine.to_owned(), format!("{model}replicas = 1000000\n"), "model `m`: at most 65536 replicas"),
        (
            machine.to_owned(),
            format!("{model}replicas = 0\nrunning = [{{ machine = 'a' }}]\n"),
            "more replicas run than are wanted",
        ),
        (
            machine.to_owned(),
            format!("{model}devices = 2\nrunning = [{{ machine = 'a', devices = [0] }}]\n"),
            "replica 0 of model `m`: it runs on more or fewer devices",
        ),
        (machine.to_owned(), format!("{model}value = -1\n"), "replica 0 of model `m`: its value"),
        (format!("{machine}{machine}"), model.to_owned(), "machine `a`: there are two of this name"),
        (
            "[[machine]]\nname = 'a'\n".to_owned(),
            model.to_owned(),
            "machine `a`: it needs 1 to 16 NUMA nodes",
        ),
        (
            format!("{machine}devices = [{{ kind = 'x', memory_mb = 1, count = 17 }}]\n"),
            model.to_owned(),
            "machine `a`: it has more than 16 devices",
        ),
        (
            format!("{machine}inventory = 'x.json'\n"),
            model.to_owned(),
            "`numa` and `devices` come from there",
        ),
        (
            "[[machine]]\nname = 'a'\ninventory = 'x.json'\n".to_owned(),
            model.to_owned(),
            "cannot read x.json",
        ),
        ("{\"schema\": 1".to_owned(), model.to_owned(), "is no JSON document"),
    ] {
        fs::write(site.folder().join("machines"), &machines).unwrap();
        fs::write(site.folder().join("models"), &models).unwrap();
        let refused = site.run(&["plan", "place", "--inventory", "machines", "--models", "models"]);
        assert!(
            refused.code == Some(1) && refused.stderr.contains(says),
            "{machines}{models}: {}",
            refused.stderr
        );
    }
}
