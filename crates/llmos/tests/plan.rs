//! `llmos plan` on files, good and bad.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod harness;

use std::{fs, io::Write};

use harness::Site;
use serde_json::{Value, json};

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
