//! Suite `flow`: how long flows take beside OR-tools (cheapest), igraph and petgraph (greatest), in CPU time of one thread. Every
//! answer is checked by its proof, and its value compared with the peers'.

use std::{fs::File, io::Read, path::Path, time::Duration};

use anyhow::{Context, Result};
use petgraph::{
    algo::maximum_flow::ford_fulkerson,
    graph::{DiGraph, NodeIndex},
};
use planner::flow::{MaxFlowProblem, Problem, max_flow, min_cost, read, verify};
use serde::Deserialize;
use serde_json::json;

use super::instances::{files, name};
use crate::{
    cpu::timed,
    figures::{Findings, Outcome},
    peer::Peer,
    progress,
    statistics::Summary,
};

/// The peers from Python.
const PEERS: &str = include_str!("../../peers/flow.py");
/// Rounds of each side; the median counts.
const ROUNDS: usize = 3;
/// What files are called.
const ENDINGS: [&str; 4] = [".min", ".max", ".min.gz", ".max.gz"];

/// Milliseconds of all files together.
#[derive(Default)]
struct Totals {
    files: usize,
    certified: usize,
    cheapest: (f64, f64),
    greatest: (f64, f64),
    petgraph: f64,
}

/// What the peer's script prints.
#[derive(Deserialize)]
struct Answer {
    value: i128,
    ms: Vec<f64>,
}

/// Measures all files of a folder; `python` has the peers.
pub(super) fn run(folder: Option<&Path>, python: Option<&Path>) -> Result<Findings> {
    let mut findings = Findings::default();
    let figures = [
        "certified_share",
        "mincost_cpu_over_ortools",
        "maxflow_cpu_over_igraph",
        "maxflow_speed_over_petgraph",
    ];
    let Some(folder) = folder else {
        findings.outcomes.extend(figures.map(|figure| (figure, Outcome::Skipped)));
        return Ok(findings);
    };
    let mut peers = python.map(|python| Peer::start(python, PEERS)).transpose()?;
    let mut totals = Totals::default();
    for file in files(folder, &ENDINGS)? {
        progress(&format!("flow: {}", name(&file)));
        measure(&file, peers.as_mut(), &mut totals, &mut findings)?;
    }
    let ratio = |(ours, theirs): (f64, f64)| {
        if python.is_none() {
            Outcome::PeerMissing
        } else if theirs > 0.0 {
            Outcome::of(&[ours / theirs])
        } else {
            Outcome::Skipped
        }
    };
    let share = totals.certified as f64 / totals.files as f64;
    let petgraph = if totals.greatest.0 > 0.0 {
        Outcome::of(&[totals.petgraph / totals.greatest.0])
    } else {
        Outcome::Skipped
    };
    let [certified, cheapest, greatest, speed] = figures;
    findings.outcomes.insert(certified, Outcome::of(&[share]));
    findings.outcomes.insert(cheapest, ratio(totals.cheapest));
    findings.outcomes.insert(greatest, ratio(totals.greatest));
    findings.outcomes.insert(speed, petgraph);
    Ok(findings)
}

fn measure(
    file: &Path,
    peers: Option<&mut Peer>,
    totals: &mut Totals,
    findings: &mut Findings,
) -> Result<()> {
    let name = name(file);
    let problem = read(&text(file)?).with_context(|| name.clone())?;
    let (mut ours, mut value, mut is_certified) = (Vec::new(), 0, true);
    for _ in 0..ROUNDS {
        match &problem {
            Problem::MinCost(problem) => {
                let (answer, took) = timed(|| min_cost(problem));
                let answer = answer.with_context(|| name.clone())?;
                ours.push(ms(took));
                is_certified &= verify::min_cost(problem, &answer).is_ok();
                value = answer.cost;
            }
            Problem::MaxFlow(problem) => {
                let (answer, took) = timed(|| max_flow(problem));
                let answer = answer.with_context(|| name.clone())?;
                ours.push(ms(took));
                is_certified &= verify::max_flow(problem, &answer).is_ok();
                value = answer.value.into();
            }
        }
    }
    let ours = median(&ours)?;
    findings.number(format!("{name}, llmos"), ours, "ms CPU");
    let mut theirs = 0.0;
    if let Some(peers) = peers {
        let question = json!({"file": std::path::absolute(file).context("bad path")?, "rounds": ROUNDS});
        let found: Answer = peers.ask(&question).with_context(|| name.clone())?;
        is_certified &= found.value == value;
        theirs = median(&found.ms)?;
        let called = if matches!(problem, Problem::MinCost(_)) { "ortools" } else { "igraph" };
        findings.number(format!("{name}, {called}"), theirs, "ms CPU");
    }
    let total = match &problem {
        Problem::MinCost(_) => &mut totals.cheapest,
        Problem::MaxFlow(problem) => {
            let (theirs, found) = petgraph(problem);
            is_certified &= i128::from(found) == value;
            totals.petgraph += theirs;
            findings.number(format!("{name}, petgraph"), theirs, "ms CPU");
            &mut totals.greatest
        }
    };
    total.0 += ours;
    total.1 += theirs;
    totals.files += 1;
    totals.certified += usize::from(is_certified);
    Ok(())
}

/// One round: it takes long enough.
fn petgraph(problem: &MaxFlowProblem) -> (f64, u64) {
    let mut graph = DiGraph::<(), u64>::new();
    let nodes: Vec<NodeIndex> = (0..problem.nodes).map(|_| graph.add_node(())).collect();
    for arc in &problem.arcs {
        graph.add_edge(nodes[arc.from as usize], nodes[arc.to as usize], arc.capacity.unsigned_abs());
    }
    let source = nodes[problem.source as usize];
    let sink = nodes[problem.sink as usize];
    let ((value, _), took) = timed(|| ford_fulkerson(&graph, source, sink));
    (ms(took), value)
}

fn text(file: &Path) -> Result<String> {
    let opened = File::open(file).with_context(|| format!("cannot open {}", file.display()))?;
    let mut text = String::new();
    if file.extension().is_some_and(|ending| ending == "gz") {
        flate2::read::MultiGzDecoder::new(opened).read_to_string(&mut text)
    } else {
        std::io::BufReader::new(opened).read_to_string(&mut text)
    }
    .with_context(|| format!("cannot read {}", file.display()))?;
    Ok(text)
}

fn median(values: &[f64]) -> Result<f64> {
    Ok(Summary::of(values).context("nothing was measured")?.median)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
