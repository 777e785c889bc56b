//! anrg-saga's list schedulers on the same graphs. They know related machines only: work over speed, in fractions of a tick. So of their
//! schedules the processors and orders count, timed anew by our model; what lacks tasks or waits for itself does not.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use anyhow::{Context, Result};
use planner::task_graph::{Placed, Schedule, TaskGraph, verify};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{Instance, SMALL, series::Ran};
use crate::{
    figures::{Findings, Outcome},
    peer::Peer,
    progress,
};

const SCRIPT: &str = include_str!("../../../peers/saga.py");
/// CPU time that one scheduler may use on one graph, in milliseconds: a hundred times ours.
const SCHEDULER_MS: u32 = 1_000;
/// A claim may be so much shorter than it is, as its ticks are fractions.
const CLAIM_MIN: f64 = 0.99;

/// What one of its schedulers said.
#[derive(Deserialize)]
struct Answer {
    name: String,
    /// Task, processor, start and finish.
    placed: Option<Vec<(usize, usize, f64, f64)>>,
}

/// What became of its schedules.
#[derive(Default)]
struct Counts {
    asked: usize,
    late: usize,
    valid: usize,
    lack_tasks: BTreeMap<String, usize>,
    wait_for_themselves: BTreeSet<String>,
    claim_less: BTreeSet<String>,
}

/// `ran` is what we did on the instances in the same time.
pub(super) fn measure(
    instances: &[Instance],
    ran: &[Ran],
    python: Option<&Path>,
    findings: &mut Findings,
) -> Result<()> {
    let Some(python) = python else {
        findings.outcomes.insert("over_best_of_saga", Outcome::PeerMissing);
        return Ok(());
    };
    let mut peer = Peer::start(python, SCRIPT)?;
    let (mut counts, mut ratios, mut won) = (Counts::default(), Vec::new(), 0);
    for (instance, ran) in instances.iter().zip(ran) {
        let Some(question) = question(&instance.graph).filter(|_| instance.is_small()) else { continue };
        progress(&format!("dag: anrg-saga on {}", instance.name));
        let answers: Vec<Answer> = peer.ask(&question).with_context(|| instance.name.clone())?;
        let theirs = answers.iter().filter_map(|answer| counts.judge(&instance.graph, answer)).min();
        let Some(theirs) = theirs else { continue };
        ratios.push(ran.makespan as f64 / theirs.max(1) as f64);
        won += usize::from(theirs < ran.makespan);
    }
    findings.outcomes.insert("over_best_of_saga", Outcome::of_ratios(&ratios));
    findings.number(
        format!("saga: graphs on related machines, up to {SMALL} tasks"),
        ratios.len() as f64,
        "",
    );
    findings.number("saga: graphs on which it was better", won as f64, "");
    counts.tell(findings);
    Ok(())
}

impl Counts {
    /// The makespan of a schedule that is valid.
    fn judge(&mut self, graph: &TaskGraph, answer: &Answer) -> Option<i64> {
        self.asked += 1;
        let Some(placed) = &answer.placed else {
            self.late += 1;
            return None;
        };
        let tasks: BTreeSet<usize> = placed.iter().map(|row| row.0).collect();
        if tasks.len() != graph.tasks() || placed.len() != graph.tasks() {
            *self.lack_tasks.entry(answer.name.clone()).or_default() += 1;
            return None;
        }
        let schedule = timed_anew(graph, placed);
        let makespan = schedule.and_then(|schedule| verify::schedule(graph, &schedule).ok());
        let Some(makespan) = makespan else {
            self.wait_for_themselves.insert(answer.name.clone());
            return None;
        };
        let claimed = placed.iter().map(|row| row.3).fold(0.0, f64::max);
        if claimed < makespan as f64 * CLAIM_MIN {
            self.claim_less.insert(answer.name.clone());
        }
        self.valid += 1;
        Some(makespan)
    }

    fn tell(&self, findings: &mut Findings) {
        findings.number("saga: schedules asked for", self.asked as f64, "");
        findings.number("saga: valid ones", self.valid as f64, "");
        findings.number(format!("saga: none within {SCHEDULER_MS} ms, or failed"), self.late as f64, "");
        for (name, count) in &self.lack_tasks {
            findings.number(format!("saga: {name}, schedules that lack tasks"), *count as f64, "");
        }
        for (what, names) in [
            ("whose tasks wait for themselves", &self.wait_for_themselves),
            ("that claim to be shorter than their orders are", &self.claim_less),
        ] {
            if !names.is_empty() {
                let names = names.iter().cloned().collect::<Vec<_>>().join(", ");
                findings.text(format!("saga: schedulers {what}"), names);
            }
        }
    }
}

/// The graph as it knows them: if its processors differ by their speeds only, and do differ.
fn question(graph: &TaskGraph) -> Option<Value> {
    let (tasks, processors) = (graph.tasks() as u32, graph.links().processors() as u32);
    let of_task = |task| (0..processors).map(move |processor| graph.cost(task, processor));
    let costs: Option<Vec<Vec<i64>>> = (0..tasks).map(|task| of_task(task).collect()).collect();
    let costs = costs?;
    let sum = |processor: usize| costs.iter().map(|row| row[processor]).sum::<i64>().max(1) as f64;
    let sums: Vec<f64> = (0..processors as usize).map(sum).collect();
    let slowest = sums.iter().copied().fold(0.0, f64::max);
    let speeds: Vec<f64> = sums.iter().map(|sum| slowest / sum).collect();
    let works: Vec<i64> = costs.iter().map(|row| row.iter().copied().max().unwrap_or_default()).collect();
    let is_related = costs.iter().zip(&works).all(|(row, work)| {
        row.iter().zip(&speeds).all(|(cost, speed)| (*cost as f64 - *work as f64 / speed).abs() <= 2.0)
    });
    let differ = speeds.iter().any(|speed| *speed > 1.01);
    let factors = |from| (0..processors).map(|to| graph.links().factor(from, to)).collect::<Vec<_>>();
    let factors: Vec<_> = (0..processors).map(factors).collect();
    let edges: Vec<_> = graph.edges().iter().map(|edge| (edge.from, edge.to, edge.data)).collect();
    (is_related && differ).then(
        || json!({"works": works, "speeds": speeds, "factors": factors, "edges": edges, "ms": SCHEDULER_MS}),
    )
}

/// The schedule with these processors and orders, each task as early as can be; nothing if tasks wait for themselves.
fn timed_anew(graph: &TaskGraph, placed: &[(usize, usize, f64, f64)]) -> Option<Schedule> {
    let tasks = graph.tasks();
    let mut rows = placed.to_vec();
    rows.sort_by(|one, other| {
        one.1.cmp(&other.1).then(one.2.total_cmp(&other.2)).then(one.3.total_cmp(&other.3))
    });
    let mut processor = vec![0_u32; tasks];
    let (mut waits, mut after) = (vec![0_usize; tasks], vec![Vec::new(); tasks]);
    for row in &rows {
        processor[row.0] = row.1 as u32;
    }
    for pair in rows.windows(2).filter(|pair| pair[0].1 == pair[1].1) {
        waits[pair[1].0] += 1;
        after[pair[0].0].push((pair[1].0, 0));
    }
    for edge in graph.edges() {
        let (from, to) = (edge.from as usize, edge.to as usize);
        let is_near = processor[from] == processor[to];
        let factor = if is_near { 0 } else { graph.links().factor(processor[from], processor[to]) };
        waits[to] += 1;
        after[from].push((to, (edge.data * factor + 999) / 1000));
    }
    let mut ready: Vec<usize> = (0..tasks).filter(|task| waits[*task] == 0).collect();
    let mut starts = vec![0_i64; tasks];
    let mut schedule = Schedule { placed: vec![Placed { processor: 0, start: 0, finish: 0 }; tasks] };
    let mut count = 0;
    while let Some(task) = ready.pop() {
        count += 1;
        let finish = starts[task] + graph.cost(task as u32, processor[task])?;
        schedule.placed[task] = Placed { processor: processor[task], start: starts[task], finish };
        for (next, delay) in &after[task] {
            starts[*next] = starts[*next].max(finish + delay);
            waits[*next] -= 1;
            if waits[*next] == 0 {
                ready.push(*next);
            }
        }
    }
    (count == tasks).then_some(schedule)
}
