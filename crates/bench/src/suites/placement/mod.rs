//! Suite `placement`: what plans cost over the optimum of small problems, which `HiGHS` proves; and what share of Alibaba's devices is
//! allocated when more is asked for than there is, over the best of the field's rules. Every plan is verified.

mod alibaba;
mod program;
mod small;

use std::{path::Path, time::Duration};

use anyhow::{Context, Result};
use planner::{
    Budget, Random,
    placement::{Place, Problem, Rule, list, solve, verify},
};
use serde::Deserialize;
use serde_json::json;

use self::alibaba::Cluster;
use super::instances::{evenly, files, name};
use crate::{
    cpu::{timed, within},
    figures::{Findings, Outcome},
    peer::Peer,
    progress,
    statistics::Summary,
};

const SCRIPT: &str = include_str!("../../../peers/highs.py");
/// Small problems, how long each is searched, and how long the peer may take for one.
const SMALL_PROBLEMS: usize = 60;
const SMALL_LIMIT: Duration = Duration::from_millis(50);
const PEER_SECONDS: u32 = 20;
/// Lists of pods that are measured at most, draws of each, and how long each is searched.
const LISTS: usize = 2;
const DRAWS: u64 = 3;
const LIMIT: Duration = Duration::from_secs(5);
/// The rules of the field.
const BASELINES: [Rule; 4] = [Rule::FirstFit, Rule::BestFit, Rule::DotProduct, Rule::Fgd];
const SEED: u64 = 1;
const ENDLESS: Budget = Budget { evaluations: u64::MAX };

/// What the peer found.
#[derive(Deserialize)]
struct Answer {
    /// Of the optimum, if it proved one.
    cost: Option<u64>,
    ms: f64,
}

/// Measures small problems, which need no data, and the clusters of a folder; `python` has the peer.
pub(super) fn run(folder: Option<&Path>, python: Option<&Path>) -> Result<Findings> {
    let mut findings = Findings::default();
    small_problems(python, &mut findings)?;
    let figure = "allocation_over_best_baseline";
    findings.outcomes.insert(figure, Outcome::Skipped);
    if let Some(folder) = folder {
        let tables = files(folder, &[".csv"])?;
        let (nodes, pods): (Vec<_>, Vec<_>) =
            tables.into_iter().partition(|table| name(table).contains("node"));
        let nodes = nodes.first().with_context(|| format!("no list of nodes in {}", folder.display()))?;
        let mut ratios = Vec::new();
        for pods in evenly(pods, LISTS) {
            let cluster = Cluster::read(nodes, &pods)?;
            for draw in 1..=DRAWS {
                let called = format!("{}, draw {draw}", name(&pods));
                progress(&format!("placement: {called}"));
                ratios.push(saturation(&cluster, draw, &called, &mut findings)?);
            }
        }
        findings.outcomes.insert(figure, Outcome::of(&ratios));
    }
    Ok(findings)
}

fn small_problems(python: Option<&Path>, findings: &mut Findings) -> Result<()> {
    let mut peer = python.map(|python| Peer::start(python, SCRIPT)).transpose()?;
    let mut random = Random::new(SEED);
    let (mut ratios, mut ours_ms, mut theirs_ms) = (Vec::new(), Vec::new(), Vec::new());
    let (mut proven, mut unproven) = (0, 0_usize);
    progress(&format!("placement: {SMALL_PROBLEMS} small problems"));
    for number in 0..SMALL_PROBLEMS {
        let problem = small::problem(&mut random)?;
        let (found, took) = timed(|| solve(&problem, ENDLESS, SEED, &mut within(SMALL_LIMIT)));
        verify(&problem, &found.plan)?;
        ours_ms.push(took.as_secs_f64() * 1e3);
        proven += usize::from(found.cost == found.lower_bound);
        let Some(peer) = &mut peer else { continue };
        let question = json!({"program": program::of(&problem)?, "seconds": PEER_SECONDS});
        let answer: Answer = peer.ask(&question).with_context(|| format!("small problem {number}"))?;
        theirs_ms.push(answer.ms);
        match answer.cost {
            Some(cost) => ratios.push(found.cost.max(1) as f64 / cost.max(1) as f64),
            None => unproven += 1,
        }
    }
    let outcome = match &peer {
        Some(_) => Outcome::of_ratios(&ratios),
        None => Outcome::PeerMissing,
    };
    findings.outcomes.insert("over_exact_50ms", outcome);
    findings.number("small: problems", SMALL_PROBLEMS as f64, "");
    findings.number("small: proven by llmos", proven as f64, "");
    findings.number("small: not proven by HiGHS, left out", unproven as f64, "");
    if let Some(worst) = ratios.iter().copied().reduce(f64::max) {
        findings.number("small: worst over the optimum", worst, "ratio");
    }
    for (name, times) in [("llmos", ours_ms), ("HiGHS", theirs_ms)] {
        if let Some(times) = Summary::of(&times) {
            findings.number(format!("small: {name}, median"), times.median, "ms CPU");
            findings.number(format!("small: {name}, most"), times.max, "ms CPU");
        }
    }
    Ok(())
}

/// What the search allocates over the best that a rule does, in either order.
fn saturation(cluster: &Cluster, draw: u64, called: &str, findings: &mut Findings) -> Result<f64> {
    let problem = cluster.problem(&mut Random::new(draw))?;
    let arrival: Vec<usize> = (0..problem.replicas().len()).collect();
    let mut largest = arrival.clone();
    largest.sort_by_key(|replica| std::cmp::Reverse(problem.replicas()[*replica].value));
    let mut best = 0.0_f64;
    for (order, said) in [(&arrival, "as they arrive"), (&largest, "largest first")] {
        for rule in BASELINES {
            let (found, took) = timed(|| list(&problem, rule, order));
            let share = allocated(&problem, &found.plan)?;
            best = best.max(share);
            let text = format!("{:.2} % in {:.2} s", share * 100.0, took.as_secs_f64());
            findings.text(format!("{called}: {rule:?}, {said}"), text);
        }
    }
    let (found, took) = timed(|| solve(&problem, ENDLESS, draw, &mut within(LIMIT)));
    let ours = allocated(&problem, &found.plan)?;
    let text = format!(
        "{:.2} % in {:.2} s; cost {}, bound {}",
        ours * 100.0,
        took.as_secs_f64(),
        found.cost,
        found.lower_bound
    );
    findings.text(format!("{called}: llmos"), text);
    Ok(ours / best)
}

/// The share of all devices that a plan allocates.
fn allocated(problem: &Problem, plan: &[Option<Place>]) -> Result<f64> {
    verify(problem, plan)?;
    let placed = plan.iter().zip(problem.replicas()).filter(|(place, _)| place.is_some());
    let shares = placed.map(|(_, replica)| alibaba::shares(&problem.models()[replica.model as usize]));
    Ok(shares.sum::<i64>() as f64 / alibaba::all_shares(problem.machines()) as f64)
}
