//! Suite `flow`: how long flows take beside OR-tools (cheapest), igraph and petgraph (greatest), in CPU time of one thread. Every
//! answer is checked by its proof, and its value compared with the peers'.

use std::{
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use petgraph::{
    algo::maximum_flow::ford_fulkerson,
    graph::{DiGraph, NodeIndex},
};
use planner::flow::{MaxFlowProblem, Problem, max_flow, min_cost, read, verify};
use rustix::time::{ClockId, clock_gettime};
use serde::Deserialize;

use crate::{
    figures::{Findings, Outcome},
    progress,
    statistics::Summary,
};

/// The peers from Python.
const PEER: &str = include_str!("../../peers/flow.py");
/// Rounds of each side; the median counts.
const ROUNDS: usize = 3;
/// Files of one folder.
const FILES_MAX: usize = 256;

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
struct Peer {
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
    let scratch = tempfile::tempdir().context("a folder for the peer's script")?;
    let script = scratch.path().join("flow.py");
    fs::write(&script, PEER).context("cannot write the peer's script")?;
    let mut totals = Totals::default();
    for file in files(folder)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        progress(&format!("flow: {name}"));
        measure(&file, &name, python.map(|python| (python, script.as_path())), &mut totals, &mut findings)?;
    }
    ensure!(totals.files > 0, "there is no .min, .max, .min.gz or .max.gz in {}", folder.display());
    let measured = |value: f64| Summary::of(&[value]).map_or(Outcome::Skipped, Outcome::Measured);
    let ratio = |(ours, theirs): (f64, f64)| {
        if python.is_none() {
            Outcome::PeerMissing
        } else if theirs > 0.0 {
            measured(ours / theirs)
        } else {
            Outcome::Skipped
        }
    };
    let share = totals.certified as f64 / totals.files as f64;
    let petgraph = if totals.greatest.0 > 0.0 {
        measured(totals.petgraph / totals.greatest.0)
    } else {
        Outcome::Skipped
    };
    let [certified, cheapest, greatest, speed] = figures;
    findings.outcomes.insert(certified, measured(share));
    findings.outcomes.insert(cheapest, ratio(totals.cheapest));
    findings.outcomes.insert(greatest, ratio(totals.greatest));
    findings.outcomes.insert(speed, petgraph);
    Ok(findings)
}

fn measure(
    file: &Path,
    name: &str,
    peer: Option<(&Path, &Path)>,
    totals: &mut Totals,
    findings: &mut Findings,
) -> Result<()> {
    let problem = read(&text(file)?).with_context(|| name.to_owned())?;
    let (mut ours, mut value, mut is_certified) = (Vec::new(), 0, true);
    for _ in 0..ROUNDS {
        let begun = cpu_time();
        match &problem {
            Problem::MinCost(problem) => {
                let answer = min_cost(problem).with_context(|| name.to_owned())?;
                ours.push(since(begun));
                is_certified &= verify::min_cost(problem, &answer).is_ok();
                value = answer.cost;
            }
            Problem::MaxFlow(problem) => {
                let answer = max_flow(problem).with_context(|| name.to_owned())?;
                ours.push(since(begun));
                is_certified &= verify::max_flow(problem, &answer).is_ok();
                value = answer.value.into();
            }
        }
    }
    let ours = median(&ours)?;
    findings.number(format!("{name}, llmos"), ours, "ms CPU");
    let mut theirs = 0.0;
    if let Some((python, script)) = peer {
        let ran = Command::new(python).arg(script).arg(file).arg(ROUNDS.to_string()).output();
        let ran = ran.with_context(|| format!("cannot run {}", python.display()))?;
        ensure!(ran.status.success(), "the peer failed on {name}: {}", String::from_utf8_lossy(&ran.stderr));
        let found: Peer = serde_json::from_slice(&ran.stdout).context("the peer printed something else")?;
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
    let begun = cpu_time();
    let (value, _) = ford_fulkerson(&graph, nodes[problem.source as usize], nodes[problem.sink as usize]);
    (since(begun), value)
}

fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut files: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    let is_one = |file: &PathBuf| {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        [".min", ".max", ".min.gz", ".max.gz"].iter().any(|ending| name.ends_with(ending))
    };
    files.retain(is_one);
    files.sort();
    ensure!(files.len() <= FILES_MAX, "at most {FILES_MAX} files can be measured");
    Ok(files)
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

fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}

fn since(begun: Duration) -> f64 {
    cpu_time().saturating_sub(begun).as_secs_f64() * 1e3
}
