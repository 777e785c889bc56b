//! Checks schedules. Shares no code with the solvers: it reads the problem as it was given.

use super::{Edge, Known, Schedule, Situation, TaskGraph};

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Tasks are missing, or there are too many.
    #[error("{found} tasks are placed, and the graph has {expected}")]
    Shape {
        /// Tasks that are placed.
        found: usize,
        /// Tasks of the graph.
        expected: usize,
    },
    /// A task runs where it cannot, or where nothing is.
    #[error("task {task} cannot run on processor {processor}")]
    Processor {
        /// The task.
        task: usize,
        /// Where it was placed.
        processor: u32,
    },
    /// A task begins before time does.
    #[error("task {0} begins before tick 0")]
    Early(usize),
    /// A task does not take what it costs.
    #[error("task {task} takes {found} ticks, and costs {expected}")]
    Length {
        /// The task.
        task: usize,
        /// Ticks from start to finish.
        found: i128,
        /// What it costs there.
        expected: i64,
    },
    /// A task begins before its data is there.
    #[error("task {to} begins at {start}, and what it needs of task {from} is there at {ready}")]
    Order {
        /// The task before.
        from: u32,
        /// The task that is too early.
        to: u32,
        /// When it begins.
        start: i64,
        /// When it may begin.
        ready: i128,
    },
    /// A task that has started is not where and when it is.
    #[error("task {0} has started, and is not planned as it is")]
    Started(usize),
    /// A task is to begin in the past, or on a processor that is lost.
    #[error("task {0} is to begin in the past or on a lost processor")]
    TooLate(usize),
    /// Two tasks at once.
    #[error("tasks {first} and {second} run at the same time on processor {processor}")]
    Overlap {
        /// The one that begins first.
        first: usize,
        /// The other.
        second: usize,
        /// Where.
        processor: u32,
    },
}

/// Checks a schedule: every task runs once, where it can, for as long as it costs there, alone on its processor, and after all
/// that it needs has come. Returns the makespan.
pub fn schedule(graph: &TaskGraph, schedule: &Schedule) -> Result<i64, Wrong> {
    let placed = &schedule.placed;
    if placed.len() != graph.tasks() {
        return Err(Wrong::Shape { found: placed.len(), expected: graph.tasks() });
    }
    let mut makespan = 0;
    for (task, place) in placed.iter().enumerate() {
        let processor = place.processor;
        let Some(expected) = graph.cost(task as u32, processor) else {
            return Err(Wrong::Processor { task, processor });
        };
        if place.start < 0 {
            return Err(Wrong::Early(task));
        }
        let found = i128::from(place.finish) - i128::from(place.start);
        if found != i128::from(expected) {
            return Err(Wrong::Length { task, found, expected });
        }
        makespan = makespan.max(place.finish);
    }
    for edge in graph.edges() {
        order(graph, schedule, edge)?;
    }
    match overlaps(schedule).first() {
        Some((first, second, processor)) => {
            Err(Wrong::Overlap { first: *first, second: *second, processor: *processor })
        }
        None => Ok(makespan),
    }
}

/// Checks a new plan for a schedule that runs: what has started is as it is, and everything else begins from now on, not on lost
/// processors, and keeps to what [`schedule`] checks. Returns the makespan.
pub fn new_plan(graph: &TaskGraph, situation: &Situation<'_>, schedule: &Schedule) -> Result<i64, Wrong> {
    let placed = &schedule.placed;
    if placed.len() != graph.tasks() || situation.known.len() != graph.tasks() {
        return Err(Wrong::Shape { found: placed.len(), expected: graph.tasks() });
    }
    for (task, (place, known)) in placed.iter().zip(situation.known).enumerate() {
        let processor = place.processor;
        if let Known::Started(is) = known {
            if is != place {
                return Err(Wrong::Started(task));
            }
            continue;
        }
        let Some(expected) = graph.cost(task as u32, processor) else {
            return Err(Wrong::Processor { task, processor });
        };
        if place.start < situation.now || situation.lost.get(processor as usize) != Some(&false) {
            return Err(Wrong::TooLate(task));
        }
        let found = i128::from(place.finish) - i128::from(place.start);
        if found != i128::from(expected) {
            return Err(Wrong::Length { task, found, expected });
        }
    }
    let is_new = |task: usize| !matches!(situation.known[task], Known::Started(_));
    for edge in graph.edges().iter().filter(|edge| is_new(edge.to as usize)) {
        order(graph, schedule, edge)?;
    }
    for (first, second, processor) in overlaps(schedule) {
        // What has started is not ours to judge.
        if is_new(first) || is_new(second) {
            return Err(Wrong::Overlap { first, second, processor });
        }
    }
    Ok(schedule.makespan())
}

/// Whether the second task of an edge begins when its data is there.
fn order(graph: &TaskGraph, schedule: &Schedule, edge: &Edge) -> Result<(), Wrong> {
    let (from, to) = (schedule.placed[edge.from as usize], schedule.placed[edge.to as usize]);
    let mut ready = i128::from(from.finish);
    if from.processor != to.processor {
        let factor = i128::from(graph.links().factor(from.processor, to.processor));
        ready += (i128::from(edge.data) * factor + 999) / 1000;
    }
    if i128::from(to.start) < ready {
        return Err(Wrong::Order { from: edge.from, to: edge.to, start: to.start, ready });
    }
    Ok(())
}

/// Tasks that run on a processor while the one that ends last of those that began before still runs. Tasks that take no time may stand
/// at the edge of others, but not within them.
fn overlaps(schedule: &Schedule) -> Vec<(usize, usize, u32)> {
    let placed = &schedule.placed;
    let mut by_time: Vec<usize> = (0..placed.len()).collect();
    by_time.sort_by_key(|task| (placed[*task].processor, placed[*task].start, placed[*task].finish));
    let mut overlaps = Vec::new();
    let mut last: Option<usize> = None;
    for task in by_time {
        let before = last.filter(|last| placed[*last].processor == placed[task].processor);
        if let Some(before) = before.filter(|before| placed[task].start < placed[*before].finish) {
            overlaps.push((before, task, placed[task].processor));
        }
        if before.is_none_or(|before| placed[before].finish <= placed[task].finish) {
            last = Some(task);
        }
    }
    overlaps
}
