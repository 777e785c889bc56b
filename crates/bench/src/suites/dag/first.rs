//! How soon there is a first schedule.

use std::time::Duration;

use anyhow::{Context, Result};
use planner::{
    Random,
    task_graph::{Edge, Links, TaskGraph, first_schedule, verify},
};

use super::Instance;
use crate::{
    cpu::timed,
    figures::{Findings, Outcome},
    statistics::Summary,
};

const ROUNDS: usize = 101;
/// Graphs of the folder that count as one of a thousand tasks.
const THOUSAND: std::ops::RangeInclusive<usize> = 900..=1_100;
const PROCESSORS: u32 = 8;
/// Tasks of a layer, at most tasks of the layer before that one follows, and units of data.
const LAYER: u32 = 10;
const BEFORE_MAX: u32 = 5;
const DATA_MAX: u32 = 2_000;

/// The time of graphs that are made here, layer by layer; for a thousand tasks also of those in the folder, of which the slowest counts.
pub(super) fn measure(instances: &[Instance], findings: &mut Findings) -> Result<()> {
    let small = times("100 tasks", &layered(100)?)?;
    let us: Vec<f64> = small.iter().map(|time| time.as_secs_f64() * 1e6).collect();
    findings.outcomes.insert("first_answer_us_100x8", Outcome::of(&us));
    let made = layered(1_000)?;
    let mut graphs = vec![("1000 tasks in layers", &made)];
    let large = instances.iter().filter(|instance| THOUSAND.contains(&instance.graph.tasks()));
    graphs.extend(large.map(|instance| (instance.name.as_str(), &instance.graph)));
    let mut slowest: Option<(f64, Vec<f64>, &str)> = None;
    for (name, graph) in graphs {
        let ms: Vec<f64> = times(name, graph)?.iter().map(|time| time.as_secs_f64() * 1e3).collect();
        let median = Summary::of(&ms).context("nothing was measured")?.median;
        if slowest.as_ref().is_none_or(|slowest| slowest.0 < median) {
            slowest = Some((median, ms, name));
        }
    }
    let (_, ms, name) = slowest.context("there is at least one graph")?;
    findings.text("first answer, slowest graph of a thousand tasks", name);
    findings.outcomes.insert("first_answer_ms_1000", Outcome::of(&ms));
    Ok(())
}

fn times(name: &str, graph: &TaskGraph) -> Result<Vec<Duration>> {
    let times = (0..ROUNDS).map(|_| {
        let (schedule, took) = timed(|| first_schedule(graph));
        verify::schedule(graph, &schedule).with_context(|| name.to_owned())?;
        Ok(took)
    });
    times.collect()
}

/// Layers of tasks, each after a few of the layer before, on unlike processors of which two are a node.
fn layered(tasks: u32) -> Result<TaskGraph> {
    let mut random = Random::new(1);
    let costs =
        (0..tasks * PROCESSORS).map(|_| Some(i64::from(100 + random.below(2_000)))).collect::<Vec<_>>();
    let nodes: Vec<u32> = (0..PROCESSORS).map(|processor| processor / 2).collect();
    let mut edges = Vec::new();
    for to in LAYER..tasks {
        let first = (to / LAYER - 1) * LAYER;
        let mut before: Vec<u32> =
            (0..=random.below(BEFORE_MAX)).map(|_| first + random.below(LAYER)).collect();
        before.sort_unstable();
        before.dedup();
        edges.extend(before.into_iter().map(|from| Edge { from, to, data: random.below(DATA_MAX).into() }));
    }
    Ok(TaskGraph::new(&costs, Links::of_nodes(&nodes, 200, 700)?, edges)?)
}
