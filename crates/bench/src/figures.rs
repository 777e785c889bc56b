//! The table of figures, and the report that is made of it and of what a suite found.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};
use serde::Serialize;

use crate::{
    machine::Surroundings,
    statistics::{Summary, geomean},
};

/// The table, as the project's design has it.
const TABLE: &str = include_str!("../FIGURES.tsv");
/// Columns of the table, in this order.
const COLUMNS: &str = "suite\tfigure\tunit\tbetter\ttarget\tpeer\tconfiguration";
/// Stands for a peer where there is none.
const NO_PEER: &str = "-";

/// Which way a figure should go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
}

/// A row of the table: a figure that its suite must report.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Target {
    pub(crate) suite: &'static str,
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    pub(crate) better: Better,
    /// In `unit`.
    pub(crate) value: f64,
    pub(crate) peer: Option<&'static str>,
}

/// All rows of the table.
pub(crate) fn targets() -> Result<Vec<Target>> {
    parse(TABLE)
}

fn parse(table: &'static str) -> Result<Vec<Target>> {
    let mut lines = table.lines();
    ensure!(lines.next() == Some(COLUMNS), "the first line of the table of figures must be {COLUMNS:?}");
    let rows = lines.enumerate().filter(|(_, line)| !line.trim().is_empty());
    rows.map(|(index, line)| row(line).with_context(|| format!("line {} of the table of figures", index + 2)))
        .collect()
}

fn row(line: &'static str) -> Result<Target> {
    let cells: Vec<&str> = line.split('\t').collect();
    let [suite, name, unit, better, target, peer, ..] = cells[..] else {
        bail!("has {} columns; it needs {COLUMNS:?}", cells.len());
    };
    let better = match better {
        "higher" => Better::Higher,
        "lower" => Better::Lower,
        other => bail!("`better` is {other:?}; allowed: higher, lower"),
    };
    let value: f64 = target.parse().with_context(|| format!("the target {target:?} is no number"))?;
    ensure!(value.is_finite(), "the target {target:?} is not finite");
    Ok(Target { suite, name, unit, better, value, peer: (peer != NO_PEER).then_some(peer) })
}

/// What became of a figure.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Outcome {
    Measured(Summary),
    /// The program to compare with is not there.
    PeerMissing,
    /// What it is measured on is not there.
    Skipped,
}

impl Outcome {
    /// What all rounds say together; skipped if there were none.
    pub(crate) fn of(rounds: &[f64]) -> Self {
        Summary::of(rounds).map_or(Self::Skipped, Self::Measured)
    }

    /// The geometric mean of ratios; skipped if there are none.
    pub(crate) fn of_ratios(ratios: &[f64]) -> Self {
        if ratios.is_empty() { Self::Skipped } else { Self::of(&[geomean(ratios)]) }
    }
}

/// What a suite found: an outcome for each of its figures, and whatever else is worth knowing.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    pub(crate) outcomes: BTreeMap<&'static str, Outcome>,
    pub(crate) details: Vec<Detail>,
}

impl Findings {
    /// Adds a number that has no target.
    pub(crate) fn number(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.details.push(Detail { name: name.into(), value: Value::Number(value), unit });
    }

    /// Adds a remark.
    pub(crate) fn text(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.details.push(Detail { name: name.into(), value: Value::Text(value.into()), unit: "" });
    }
}

/// A row without a target.
#[derive(Debug, Serialize)]
pub(crate) struct Detail {
    pub(crate) name: String,
    pub(crate) value: Value,
    /// Empty for a text.
    pub(crate) unit: &'static str,
}

/// A number, which is `null` in JSON if it is not finite, or a text.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Value {
    Number(f64),
    Text(String),
}

/// Whether a figure has a value, and if not, why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Status {
    Measured,
    PeerMissing,
    Skipped,
}

/// The least and the greatest value of the rounds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Spread {
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) rounds: usize,
}

/// A figure and its target.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    pub(crate) name: &'static str,
    /// `null` in JSON if there is none, or if it is not finite.
    pub(crate) value: Option<f64>,
    pub(crate) unit: &'static str,
    pub(crate) target: f64,
    pub(crate) better: Better,
    pub(crate) peer: Option<&'static str>,
    pub(crate) spread: Option<Spread>,
    pub(crate) status: Status,
    /// Absent unless measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) met: Option<bool>,
}

impl Figure {
    fn new(target: &Target, outcome: &Outcome) -> Self {
        let (status, summary) = match outcome {
            Outcome::Measured(summary) => (Status::Measured, Some(summary)),
            Outcome::PeerMissing => (Status::PeerMissing, None),
            Outcome::Skipped => (Status::Skipped, None),
        };
        Self {
            name: target.name,
            value: summary.map(|summary| summary.median),
            unit: target.unit,
            target: target.value,
            better: target.better,
            peer: target.peer,
            spread: summary.map(|s| Spread { min: s.min, max: s.max, rounds: s.rounds }),
            status,
            met: summary.map(|summary| target.is_met_by(summary.median)),
        }
    }
}

impl Target {
    /// No target is met by a value that is not finite.
    fn is_met_by(&self, value: f64) -> bool {
        value.is_finite()
            && match self.better {
                Better::Higher => value >= self.value,
                Better::Lower => value <= self.value,
            }
    }
}

/// What is printed for a suite.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) suite: &'static str,
    /// The commit of the checkout that the bench ran in; `null` outside of one.
    pub(crate) commit: Option<String>,
    pub(crate) machine: String,
    pub(crate) figures: Vec<Figure>,
    pub(crate) details: Vec<Detail>,
}

impl Report {
    /// Puts findings beside their targets, in the table's order. Fails if the suite left one out, or speaks of one
    /// that the table does not have: then either the suite or the table is wrong.
    pub(crate) fn new(
        suite: &'static str,
        targets: &[Target],
        findings: Findings,
        surroundings: &Surroundings,
    ) -> Result<Self> {
        let Findings { mut outcomes, details } = findings;
        let mut figures = Vec::new();
        let mut missing = Vec::new();
        for target in targets.iter().filter(|target| target.suite == suite) {
            match outcomes.remove(target.name) {
                Some(outcome) => figures.push(Figure::new(target, &outcome)),
                None => missing.push(target.name),
            }
        }
        ensure!(missing.is_empty(), "suite `{suite}` did not report these figures: {}", missing.join(", "));
        let unknown: Vec<&str> = outcomes.into_keys().collect();
        ensure!(unknown.is_empty(), "suite `{suite}` reported unknown figures: {}", unknown.join(", "));
        Ok(Self {
            suite,
            commit: surroundings.commit.clone(),
            machine: surroundings.machine.clone(),
            figures,
            details,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value as Json, json};

    use super::*;

    const HEAD: &str = "suite\tfigure\tunit\tbetter\ttarget\tpeer\tconfiguration\n";

    fn table(rows: &str) -> Result<Vec<Target>> {
        parse(Box::leak(format!("{HEAD}{rows}").into_boxed_str()))
    }

    fn report(rows: &str, outcomes: &[(&'static str, Outcome)]) -> Result<Json> {
        let mut findings = Findings { outcomes: outcomes.iter().cloned().collect(), ..Findings::default() };
        findings.number("speed", f64::INFINITY, "tokens/s");
        findings.text("version", "1");
        let surroundings = Surroundings { commit: None, machine: "m".into(), date: "d".into() };
        let report = Report::new("s", &table(rows)?, findings, &surroundings)?;
        Ok(serde_json::to_value(report)?)
    }

    fn measured(values: &[f64]) -> Outcome {
        Outcome::Measured(Summary::of(values).unwrap())
    }

    #[test]
    fn the_table_of_the_design_is_read_whole() {
        let targets = targets().unwrap();
        assert_eq!(targets.len(), TABLE.trim().lines().count() - 1);
        let engine: Vec<_> = targets.iter().filter(|target| target.suite == "engine").collect();
        assert_eq!(engine.len(), 7);
        let expected = Target {
            suite: "engine",
            name: "prefill_ratio",
            unit: "ratio",
            better: Better::Higher,
            value: 0.95,
            peer: Some("llama-server"),
        };
        assert_eq!(*engine[0], expected);
        assert_eq!((engine[5].name, engine[5].peer), ("idle_resident_mb", None));
    }

    #[test]
    fn a_bad_row_is_named_by_its_line() {
        for (rows, complaint) in [
            ("s\tf\n", "has 2 columns"),
            ("s\tf\tms\tbigger\t1\t-\t\n", "allowed: higher, lower"),
            ("s\tf\tms\tlower\tlow\t-\t\n", "is no number"),
            ("s\tf\tms\tlower\tinf\t-\t\n", "is not finite"),
        ] {
            let error = format!("{:#}", table(rows).unwrap_err());
            assert!(error.contains("line 2") && error.contains(complaint), "{error}");
        }
        assert!(parse("suite\tfigure\n").is_err());
    }

    #[test]
    fn a_report_has_the_promised_shape() {
        let rows = "s\ta\tratio\thigher\t0.9\tp\t\ns\tb\tms\tlower\t2\t-\t\ns\tc\tms\tlower\t2\tq\t\nother\tx\tms\tlower\t1\t-\t\n";
        let outcomes =
            [("a", measured(&[0.8, 1.0, 1.1])), ("b", Outcome::Skipped), ("c", Outcome::PeerMissing)];
        let expected = json!({
            "suite": "s", "commit": null, "machine": "m",
            "figures": [
                {"name": "a", "value": 1.0, "unit": "ratio", "target": 0.9, "better": "higher", "peer": "p",
                 "spread": {"min": 0.8, "max": 1.1, "rounds": 3}, "status": "measured", "met": true},
                {"name": "b", "value": null, "unit": "ms", "target": 2.0, "better": "lower", "peer": null,
                 "spread": null, "status": "skipped"},
                {"name": "c", "value": null, "unit": "ms", "target": 2.0, "better": "lower", "peer": "q",
                 "spread": null, "status": "peer_missing"},
            ],
            "details": [
                {"name": "speed", "value": null, "unit": "tokens/s"},
                {"name": "version", "value": "1", "unit": ""},
            ],
        });
        assert_eq!(report(rows, &outcomes).unwrap(), expected);
    }

    #[test]
    fn a_target_is_met_at_its_value_and_never_by_infinity() {
        for (better, value, met) in [
            ("higher", 2.0, true),
            ("higher", 1.9, false),
            ("higher", f64::INFINITY, false),
            ("lower", 2.0, true),
            ("lower", 2.1, false),
            ("lower", f64::NAN, false),
        ] {
            let report =
                report(&format!("s\ta\tms\t{better}\t2\t-\t\n"), &[("a", measured(&[value]))]).unwrap();
            let figure = &report["figures"][0];
            assert_eq!(figure["met"], met, "{value} {better}");
            assert_eq!(figure["value"].is_null(), !value.is_finite());
        }
    }

    #[test]
    fn a_figure_left_out_fails_and_so_does_one_made_up() {
        let rows = "s\ta\tms\tlower\t2\t-\t\ns\tb\tms\tlower\t2\t-\t\ns\tc\tms\tlower\t2\t-\t\n";
        let error = report(rows, &[("b", Outcome::Skipped)]).unwrap_err().to_string();
        assert!(error.ends_with("did not report these figures: a, c"), "{error}");
        let error = report("", &[("z", Outcome::Skipped)]).unwrap_err().to_string();
        assert!(error.ends_with("unknown figures: z"), "{error}");
    }
}
