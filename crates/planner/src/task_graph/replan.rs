//! Planning again while a schedule runs: tasks are done, late or new, processors are lost.
//!
//! What has started stays as it is. The rest becomes a graph of its own, in which no task begins on a processor before that is free and
//! the data of started tasks is there. What can stay on its processor stays, in its old order; what cannot is put where the path
//! through it is shortest. Then critical tasks are moved, alone or with some that are related to them, for as long as that makes the plan
//! shorter; of what could have stayed not too many move.

use super::{
    COSTS_MAX, Edge, Placed, Schedule, TICKS_MAX, TaskGraph, neighbourhood, plan::Plan, race::Race,
    related::related,
};
use crate::{Budget, Control, Random};

/// After so many steps that changed nothing,
const ALONE: usize = 128;
/// a critical task is of 16 times so often not lifted alone,
const TOGETHER: u32 = 8;
/// but with up to so many others.
const OTHERS_MAX: u32 = 4;

/// What is known of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// It runs or is done: where, since when, and until when it ran or is expected to run, which need not be what it costs.
    Started(Placed),
    /// It has not begun, or has to be done again as its result is lost (what has started does not wait for it any more): where the
    /// old plan had it.
    Planned(Placed),
    /// It was not in the old plan.
    New,
}

/// What has become of a schedule.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The tick from which on tasks can begin.
    pub now: i64,
    /// By task.
    pub known: &'a [Known],
    /// By processor, whether nothing can begin there any more.
    pub lost: &'a [bool],
}

/// A new plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPlan {
    /// Of all tasks; those that have started are as they were.
    pub schedule: Schedule,
    /// Planned tasks that have another processor than before.
    pub moved: usize,
    /// Plans that were evaluated beside the first.
    pub evaluations: u64,
}

/// Why there is no new plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplanError {
    /// Not as many tasks or processors as the graph has.
    #[error("there are {found} {what}, and the graph has {expected}")]
    Shape {
        /// `tasks` or `processors`.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many the graph has.
        expected: usize,
    },
    /// A time that cannot be.
    #[error("a time of task {0}, or now, is negative, turned around or above {TICKS_MAX}")]
    Time(usize),
    /// A task is on a processor that there is not.
    #[error("task {0} is on a processor that there is not")]
    NoSuchProcessor(usize),
    /// All processors of a task are lost.
    #[error("all processors on which task {0} can run are lost")]
    NoProcessor(usize),
}

/// Plans again. At most `moved_max` planned tasks get another processor, beside those that have to; without such a limit it is a
/// large-neighbourhood search from there on, which goes on for as long as it may.
pub fn replan(
    graph: &TaskGraph,
    situation: &Situation<'_>,
    moved_max: Option<usize>,
    budget: Budget,
    seed: u64,
    control: &mut dyn Control,
) -> Result<NewPlan, ReplanError> {
    check(graph, situation)?;
    let rest = Rest::new(graph, situation)?;
    let mut random = Random::new(seed);
    let mut plan = rest.kept(situation);
    // What is nowhere has to move.
    let homes: Vec<u32> = (0..plan.tasks() as u32).map(|task| plan.processor(task)).collect();
    for task in plan.order().to_vec() {
        if plan.processor(task) == rest.graph.nowhere() {
            let place = plan.best_place(task, &mut random, 0);
            plan.put(task, place);
        }
    }
    let mut race = Race::new(plan.schedule(), 0, budget, control);
    match moved_max {
        None => neighbourhood::search(&mut plan, &mut race, &mut random),
        Some(moved_max) => improve(&mut plan, &homes, moved_max, &mut race, &mut random),
    }
    let (best, evaluations) = race.end();
    let mut schedule = Schedule { placed: situation.known.iter().map(Known::placed).collect() };
    for (task, placed) in rest.tasks.iter().zip(best.placed) {
        schedule.placed[*task as usize] = placed;
    }
    let mut moved = 0;
    for (known, placed) in situation.known.iter().zip(&schedule.placed) {
        moved += usize::from(matches!(known, Known::Planned(old) if old.processor != placed.processor));
    }
    Ok(NewPlan { schedule, moved, evaluations })
}

impl Known {
    fn placed(&self) -> Placed {
        match self {
            Self::Started(placed) | Self::Planned(placed) => *placed,
            Self::New => Placed { processor: 0, start: 0, finish: 0 },
        }
    }

    fn has_started(&self) -> bool {
        matches!(self, Self::Started(_))
    }
}

fn check(graph: &TaskGraph, situation: &Situation<'_>) -> Result<(), ReplanError> {
    let shape = |what, found, expected| {
        if found == expected { Ok(()) } else { Err(ReplanError::Shape { what, found, expected }) }
    };
    shape("tasks", situation.known.len(), graph.tasks())?;
    shape("processors", situation.lost.len(), graph.processors())?;
    let range = 0..=TICKS_MAX;
    for (task, known) in situation.known.iter().enumerate() {
        let Placed { processor, start, finish } = known.placed();
        if !range.contains(&situation.now)
            || !range.contains(&start)
            || !(start..=TICKS_MAX).contains(&finish)
        {
            return Err(ReplanError::Time(task));
        }
        if *known != Known::New && processor as usize >= graph.processors() {
            return Err(ReplanError::NoSuchProcessor(task));
        }
    }
    Ok(())
}

/// What has not started.
struct Rest {
    graph: TaskGraph,
    /// The tasks of the whole graph that these are.
    tasks: Vec<u32>,
}

impl Rest {
    fn new(graph: &TaskGraph, situation: &Situation<'_>) -> Result<Self, ReplanError> {
        let processors = graph.processors();
        let mut free = vec![situation.now; processors];
        for known in situation.known.iter().filter(|known| known.has_started()) {
            let Placed { processor, finish, .. } = known.placed();
            free[processor as usize] = free[processor as usize].max(finish);
        }
        let mut place = vec![None; graph.tasks()];
        let (mut tasks, mut costs, mut releases) = (Vec::new(), Vec::new(), Vec::new());
        for task in (0..graph.tasks() as u32).filter(|task| !situation.known[*task as usize].has_started()) {
            place[task as usize] = Some(tasks.len() as u32);
            tasks.push(task);
            let begin = costs.len();
            costs.resize(begin + processors, None);
            for choice in
                graph.choices(task).iter().filter(|choice| !situation.lost[choice.processor as usize])
            {
                costs[begin + choice.processor as usize] = Some(choice.cost);
            }
            if costs[begin..].iter().all(Option::is_none) {
                return Err(ReplanError::NoProcessor(task as usize));
            }
            releases.extend_from_slice(&free);
            for before in graph.before(task) {
                if let Known::Started(from) = situation.known[before.task as usize] {
                    for (processor, release) in releases[begin..].iter_mut().enumerate() {
                        let delay = graph.delay(before.data, from.processor, processor as u32);
                        *release = (*release).max(from.finish + delay);
                    }
                }
            }
        }
        let inside = |edge: &Edge| {
            let (from, to) = (place[edge.from as usize]?, place[edge.to as usize]?);
            Some(Edge { from, to, data: edge.data })
        };
        let edges = graph.edges().iter().filter_map(inside).collect();
        debug_assert!(costs.len() <= COSTS_MAX);
        // A part of a graph that keeps to all limits keeps to them too, and what can run nowhere was found above.
        let rest = TaskGraph::new(&costs, graph.links().clone(), edges);
        let rest =
            rest.map_err(|_| ReplanError::NoProcessor(tasks.first().map_or(0, |task| *task as usize)))?;
        Ok(Self { graph: rest.with_releases(releases), tasks })
    }

    /// The old plan of these: what cannot be where it was is nowhere.
    fn kept(&self, situation: &Situation<'_>) -> Plan<'_> {
        let old = |task: u32| situation.known[self.tasks[task as usize] as usize];
        let mut rank = vec![0; self.tasks.len()];
        for (index, task) in self.graph.topological().iter().enumerate() {
            rank[*task as usize] = index;
        }
        // A new task comes behind what it waits for, and so does what waits for a new one.
        let mut begins: Vec<i64> = vec![0; self.tasks.len()];
        for task in self.graph.topological().iter().copied() {
            let planned = if old(task) == Known::New { 0 } else { old(task).placed().start };
            let before = self.graph.before(task).iter().map(|before| begins[before.task as usize]).max();
            begins[task as usize] = planned.max(before.unwrap_or_default());
        }
        let mut order = self.graph.topological().to_vec();
        order.sort_by_key(|task| (begins[*task as usize], rank[*task as usize]));
        Plan::new(&self.graph, order, |task| match old(task) {
            Known::Planned(placed) if self.graph.cost(task, placed.processor).is_some() => placed.processor,
            _ => self.graph.nowhere(),
        })
    }
}

/// Puts critical tasks where the paths through them are shortest: no step makes the plan longer. At most `moved_max` tasks that have a
/// home are elsewhere.
fn improve(plan: &mut Plan<'_>, homes: &[u32], moved_max: usize, race: &mut Race<'_>, random: &mut Random) {
    let nowhere = plan.graph().nowhere();
    let is_moved = |plan: &Plan<'_>, task: u32| {
        let home = homes[task as usize];
        home != nowhere && home != plan.processor(task)
    };
    let (mut kept, mut group) = (plan.clone(), Vec::new());
    let (mut moved, mut kept_moved) = (0, 0);
    // The search ends when so many steps in a row changed nothing.
    let mut still = 0;
    while race.goes_on() && still < homes.len() {
        let first = plan.critical(random.below(homes.len() as u32) as usize);
        let is_alone = still < ALONE || random.below(16) >= TOGETHER;
        let others = if is_alone { 0 } else { 1 + random.below(OTHERS_MAX) as usize };
        related(plan, random, first, 1 + others, &mut group);
        // One alone can go back where it was; of several, some may be in the way of the others.
        if group.len() > 1 {
            kept.clone_from(plan);
            kept_moved = moved;
        }
        let before = plan.makespan();
        for task in &group {
            moved -= usize::from(is_moved(plan, *task));
            plan.lift(*task);
        }
        for task in &group {
            let home = homes[*task as usize];
            let is_free = home == nowhere || moved < moved_max;
            let place = plan.best_place_where(*task, random, 0, |processor| is_free || processor == home);
            plan.put(*task, place);
            moved += usize::from(is_moved(plan, *task));
        }
        race.count(plan);
        still = if plan.makespan() < before { 0 } else { still + 1 };
        if group.len() > 1 && plan.makespan() > before {
            plan.clone_from(&kept);
            moved = kept_moved;
        }
    }
}
