//! Suite `dag`: makespans of task graphs over the best known ones, in CPU time of one thread, beside anrg-saga; how soon there is a first
//! schedule; and planning again. Every schedule is verified, also the peer's.

mod first;
mod replan;
mod saga;
mod series;

use std::{collections::HashMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use planner::task_graph::{Algorithm, TaskGraph, first_schedule, lower_bound, read, verify};

use self::series::{Ran, Series};
use super::instances::{Known, evenly, files, known, name, stem};
use crate::{
    figures::{Findings, Outcome},
    progress,
    statistics::geomean,
};

/// Instances of up to so many tasks count for the tail of the distribution.
const SMALL: usize = 250;
/// What the searches that are not the default are measured on at the longest time: so many instances.
const SAMPLE: usize = 24;
const SHORT: Duration = Duration::from_millis(10);
const LONG: Duration = Duration::from_secs(1);
/// How long all of them search.
const LIMITS: [(Duration, &str); 3] =
    [(SHORT, "10 ms"), (Duration::from_millis(100), "100 ms"), (LONG, "1 s")];
/// The same seed for all.
const SEED: u64 = 1;
const FIGURES: [&str; 14] = [
    "geomean_10ms",
    "p90_10ms",
    "worst_10ms",
    "geomean_1s",
    "p90_1s",
    "worst_1s",
    "proven_solved_1s",
    "worse_than_heft",
    "over_best_of_saga",
    "first_answer_us_100x8",
    "first_answer_ms_1000",
    "replan_ms_1000",
    "replan_over_resolve",
    "replan_moved_share",
];

struct Instance {
    name: String,
    graph: TaskGraph,
    known: Option<Known>,
    /// Ticks; no schedule is shorter.
    bound: i64,
    /// The makespan of plain HEFT.
    heft: i64,
}

impl Instance {
    /// What a makespan is compared with: the best known one, or else the lower bound.
    fn reference(&self) -> i64 {
        self.known.map_or(self.bound, |known| known.best).max(1)
    }

    fn is_small(&self) -> bool {
        self.graph.tasks() <= SMALL
    }
}

/// Measures all graphs of a folder; `python` has the peer.
pub(super) fn run(folder: Option<&Path>, python: Option<&Path>) -> Result<Findings> {
    let mut findings = Findings::default();
    let Some(folder) = folder else {
        findings.outcomes.extend(FIGURES.map(|figure| (figure, Outcome::Skipped)));
        return Ok(findings);
    };
    let instances = read_all(folder, &known(folder)?)?;
    let lists = instances.iter().filter(|instance| instance.known.is_some()).count();
    findings.number("instances", instances.len() as f64, "");
    findings.number(
        "of them over the best known makespan, the others over the lower bound",
        lists as f64,
        "",
    );
    let (short, long) = side_by_side(&instances, &mut findings)?;
    let pairs = instances.iter().zip(&long.ran);
    let solved: Vec<bool> = if lists > 0 {
        pairs
            .filter_map(|(instance, ran)| Some((instance.known?, ran)))
            .filter(|(known, _)| known.is_proven)
            .map(|(known, ran)| ran.makespan <= known.best)
            .collect()
    } else {
        // Who knows no optima can still prove some.
        pairs.map(|(instance, ran)| ran.makespan == instance.bound).collect()
    };
    let share = solved.iter().filter(|solved| **solved).count() as f64 / solved.len() as f64;
    let solved = if solved.is_empty() { Outcome::Skipped } else { Outcome::of(&[share]) };
    findings.outcomes.insert("proven_solved_1s", solved);
    saga::measure(&instances, &short.ran, python, &mut findings)?;
    first::measure(&instances, &mut findings)?;
    replan::measure(&instances, &mut findings)?;
    Ok(findings)
}

fn read_all(folder: &Path, known: &HashMap<String, Known>) -> Result<Vec<Instance>> {
    let instances = files(folder, &[".hdag"])?.into_iter().map(|file| {
        let name = stem(&name(&file)).to_owned();
        let graph = read(&fs::read_to_string(&file)?).with_context(|| name.clone())?;
        let heft = verify::schedule(&graph, &first_schedule(&graph)).with_context(|| name.clone())?;
        let (bound, known) = (lower_bound(&graph), known.get(&name).copied());
        Ok(Instance { name, graph, known, bound, heft })
    });
    instances.collect()
}

/// Runs all algorithms for all times, and returns what the default one did in the shortest and in the longest.
fn side_by_side(instances: &[Instance], findings: &mut Findings) -> Result<(Series, Series)> {
    let all: Vec<&Instance> = instances.iter().collect();
    let sample = evenly(all.clone(), SAMPLE);
    for (name, algorithm) in [("heft", Algorithm::Heft), ("peft", Algorithm::Peft)] {
        findings.text(name, Series::run(&all, algorithm, SHORT)?.to_string());
    }
    let searches = [
        ("ensemble", Algorithm::Ensemble),
        ("sa", Algorithm::Annealing),
        ("lns", Algorithm::LargeNeighbourhood),
        ("ga", Algorithm::Genetic),
    ];
    let (mut worse, mut defaults) = (0, Vec::new());
    for (limit, called) in LIMITS {
        progress(&format!("dag: {} graphs, {called} each", all.len()));
        let auto = Series::run(&all, Algorithm::Auto, limit)?;
        worse += auto.worse_than_heft(&all);
        findings.text(format!("auto, {called}"), auto.to_string());
        if limit == LONG && sample.len() < all.len() {
            let ran = evenly(auto.ran.clone(), SAMPLE);
            findings.text(format!("auto, {called}, {SAMPLE} of them"), Series { ran }.to_string());
        }
        let (some, of_them) = match limit {
            LONG if sample.len() < all.len() => (&sample, format!(", {SAMPLE} of them")),
            _ => (&all, String::new()),
        };
        for (name, algorithm) in searches {
            progress(&format!("dag: {} graphs by {name}, {called} each", some.len()));
            let series = Series::run(some, algorithm, limit)?;
            worse += series.worse_than_heft(some);
            findings.text(format!("{name}, {called}{of_them}"), series.to_string());
        }
        let longest = auto.ran.iter().map(|ran| ran.took).max().unwrap_or_default();
        findings.number(
            format!("auto, {called}: most CPU time of a graph"),
            longest.as_secs_f64() * 1e3,
            "ms",
        );
        defaults.push(auto);
    }
    findings.outcomes.insert("worse_than_heft", Outcome::of(&[worse as f64]));
    let long = defaults.pop().context("there is a longest time")?;
    let short = defaults.swap_remove(0);
    for (series, figures) in
        [(&short, ["geomean_10ms", "p90_10ms", "worst_10ms"]), (&long, ["geomean_1s", "p90_1s", "worst_1s"])]
    {
        let values = [geomean(&series.ratios(|_| true)), series.p90(), series.worst(Ran::counts)];
        findings.outcomes.extend(figures.into_iter().zip(values.map(|value| Outcome::of(&[value]))));
    }
    for (instance, ran) in worst_first(instances, &long).into_iter().take(5) {
        let bound = instance.bound;
        let text = format!("{:.3}: {}, bound {bound}, heft {}", ran.ratio, ran.makespan, instance.heft);
        findings.text(format!("auto, 1 s, worst: {}", instance.name), text);
    }
    Ok((short, long))
}

fn worst_first<'a>(instances: &'a [Instance], series: &'a Series) -> Vec<(&'a Instance, &'a Ran)> {
    let mut pairs: Vec<_> = instances.iter().zip(&series.ran).collect();
    pairs.sort_by(|one, other| other.1.ratio.total_cmp(&one.1.ratio));
    pairs
}
