//! The floor rule: a crate uses only crates on floors below its own, and none of others that makes random numbers of its own. What
//! only its tests use is not judged.

use anyhow::{Context, Result};
use serde::Deserialize;

use super::Finding;

/// Where a crate stands, which says whom it may use.
#[derive(Debug, Clone, Copy)]
enum Place {
    /// On a floor of the house: whatever stands below.
    Floor(u32),
    /// On top of all floors: the only one that knows all the others, also those beside the house.
    Roof,
    /// Beside the house: these only.
    Beside(&'static [&'static str]),
}

/// The house of `ARCHITECTURE.md`, from the ground up. A new crate gets its place here first.
const HOUSE: [(&str, Place); 21] = [
    ("durable", Place::Floor(0)),
    ("types", Place::Floor(0)),
    ("modelfile", Place::Floor(1)),
    ("outbound", Place::Floor(1)),
    ("planner", Place::Floor(1)),
    ("scheduler", Place::Floor(1)),
    ("store", Place::Floor(1)),
    ("tlog", Place::Floor(1)),
    ("identity", Place::Floor(2)),
    ("vault", Place::Floor(2)),
    ("audit", Place::Floor(3)),
    ("engine", Place::Floor(3)),
    ("access", Place::Floor(4)),
    ("resources", Place::Floor(4)),
    ("path", Place::Floor(5)),
    ("gateway", Place::Floor(7)),
    ("llmos", Place::Roof),
    ("simulator", Place::Beside(&["types", "scheduler", "engine"])),
    (
        "bench",
        Place::Beside(&[
            "access",
            "audit",
            "engine",
            "gateway",
            "modelfile",
            "planner",
            "simulator",
            "store",
            "tlog",
            "types",
            "vault",
        ]),
    ),
    ("verify", Place::Beside(&["tlog"])),
    ("xtask", Place::Beside(&["modelfile"])),
];
/// Crates of others that make numbers which can be guessed, or would be one more maker to trust: what is secret or unique comes
/// from `getrandom` or `aws-lc-rs`.
const GENERATORS: [&str; 7] =
    ["fastrand", "nanorand", "oorandom", "rand", "rand_chacha", "rand_core", "rand_xoshiro"];
/// Programs for those who build llmos: no part of it.
const TOOLS: [&str; 2] = ["bench", "xtask"];

/// A crate of the workspace and what its own code uses.
#[derive(Debug, Deserialize)]
pub(super) struct Crate {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// Absent for a normal one, else `dev` or `build`.
    kind: Option<String>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Crate>,
}

/// Reads what `cargo metadata --no-deps` prints.
pub(super) fn parse(metadata: &[u8]) -> Result<Vec<Crate>> {
    let metadata: Metadata =
        serde_json::from_slice(metadata).context("`cargo metadata` printed something new")?;
    Ok(metadata.packages)
}

/// Every use of a crate that its place does not allow.
pub(super) fn findings(crates: &[Crate]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for one in crates {
        let Some(place) = place(&one.name) else {
            let problem = "has no floor yet; give it one in xtask/src/check/floors.rs and in ARCHITECTURE.md";
            findings.push(Finding { place: format!("crate {}", one.name), problem: problem.to_owned() });
            continue;
        };
        let is_tool = TOOLS.contains(&one.name.as_str());
        let makes_numbers =
            |used: &&Dependency| used.kind.is_none() && GENERATORS.contains(&used.name.as_str());
        for used in one.dependencies.iter().filter(makes_numbers).filter(|_| !is_tool) {
            let problem =
                format!("uses {}; what is secret or unique comes from getrandom or aws-lc-rs", used.name);
            findings.push(Finding { place: format!("crate {}", one.name), problem });
        }
        let ours = |used: &&Dependency| crates.iter().any(|other| other.name == used.name);
        for used in one.dependencies.iter().filter(|used| used.kind.is_none()).filter(ours) {
            if !allows(place, &used.name) {
                let problem =
                    format!("uses {}, which is not below it; the floors are in ARCHITECTURE.md", used.name);
                findings.push(Finding { place: format!("crate {}", one.name), problem });
            }
        }
    }
    findings
}

fn place(name: &str) -> Option<Place> {
    HOUSE.iter().find(|(known, _)| *known == name).map(|(_, place)| *place)
}

fn allows(place_of_user: Place, used: &str) -> bool {
    match (place_of_user, place(used)) {
        (Place::Floor(above), Some(Place::Floor(below))) => below < above,
        (Place::Roof, Some(_)) => !TOOLS.contains(&used),
        (Place::Beside(allowed), _) => allowed.contains(&used),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crate_uses_only_what_is_below_it() {
        let cases = [
            ("gateway", "types", true),
            ("path", "engine", true),
            ("llmos", "simulator", true),
            ("simulator", "engine", true),
            ("scheduler", "store", false),
            ("store", "outbound", false),
            ("access", "resources", false),
            ("engine", "path", false),
            ("engine", "llmos", false),
            ("gateway", "simulator", false),
            ("simulator", "path", false),
            ("bench", "path", false),
            ("xtask", "types", false),
            ("llmos", "bench", false),
        ];
        for (user, used, expected) in cases {
            assert_eq!(
                findings(&[uses(user, used, None), alone(used)]).is_empty(),
                expected,
                "{user} uses {used}"
            );
        }
    }

    #[test]
    fn tests_may_use_any_crate_and_strangers_are_not_judged() {
        assert!(findings(&[uses("engine", "simulator", Some("dev")), alone("simulator")]).is_empty());
        assert!(findings(&[uses("types", "thiserror", None)]).is_empty());
    }

    #[test]
    fn nobody_brings_a_maker_of_numbers_along() {
        for (user, kind, found) in
            [("access", None, 1), ("planner", None, 1), ("access", Some("dev"), 0), ("bench", None, 0)]
        {
            assert_eq!(findings(&[uses(user, "rand", kind)]).len(), found, "{user}");
        }
        assert!(findings(&[uses("access", "getrandom", None)]).is_empty());
    }

    #[test]
    fn a_crate_without_a_floor_is_found() {
        assert_eq!(findings(&[alone("misc")])[0].place, "crate misc");
    }

    #[test]
    fn reads_what_cargo_prints() {
        let text = br#"{"packages": [{"name": "types", "version": "0.1.0", "dependencies":
            [{"name": "engine", "kind": null, "req": "*"}]}, {"name": "engine", "dependencies": []}]}"#;
        assert_eq!(findings(&parse(text).unwrap()).len(), 1);
    }

    fn uses(name: &str, used: &str, kind: Option<&str>) -> Crate {
        let dependency = Dependency { name: used.to_owned(), kind: kind.map(str::to_owned) };
        Crate { name: name.to_owned(), dependencies: vec![dependency] }
    }

    fn alone(name: &str) -> Crate {
        Crate { name: name.to_owned(), dependencies: Vec::new() }
    }
}
