//! The problem: what has to run, what it costs where, and what has to be carried.

use crate::words::chain;

/// Most tasks of a graph.
pub const TASKS_MAX: usize = 1 << 17;
/// Most edges of a graph.
pub const EDGES_MAX: usize = 1 << 21;
/// Most processors.
pub const PROCESSORS_MAX: usize = 1 << 10;
/// Most costs: tasks times processors.
pub const COSTS_MAX: usize = 1 << 24;
/// Most ticks of everything together, each task at its dearest and each edge over its slowest link. So no sum overflows, with
/// room for the fractions that ranks are computed in.
pub const TICKS_MAX: i64 = 1 << 46;
/// Link factors are thousandths of a tick.
const FACTOR_UNIT: u64 = 1000;

/// `from` has to be finished, and its data carried, before `to` begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Edge {
    /// Index of a task.
    pub from: u32,
    /// Index of another task.
    pub to: u32,
    /// Units of data that are carried if both run on different processors; not negative.
    pub data: i64,
}

/// How long data travels between processors: `⌈data · factor / 1000⌉` ticks, nothing on the same processor. Links are never
/// congested.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    processors: usize,
    /// `factors[from * processors + to]`.
    factors: Vec<i64>,
}

impl Links {
    /// Of any shape: `factors[from * processors + to]`, each in thousandths of a tick for a unit of data and not negative;
    /// those of a processor with itself do not matter.
    pub fn new(processors: usize, factors: Vec<i64>) -> Result<Self, GraphError> {
        let most = PROCESSORS_MAX;
        if processors > most {
            return Err(GraphError::TooMany { what: "processors", count: processors, most });
        }
        if factors.len() != processors * processors {
            return Err(GraphError::Shape {
                what: "link factors",
                found: factors.len(),
                expected: processors * processors,
            });
        }
        if let Some(place) = factors.iter().position(|factor| *factor < 0) {
            let (from, to) = (place / processors, place % processors);
            return Err(GraphError::BadLink { from, to, factor: factors[place] });
        }
        let mut links = Self { processors, factors };
        for processor in 0..processors {
            links.factors[processor * (processors + 1)] = 0;
        }
        Ok(links)
    }

    /// Processors on nodes: `intra` between two on the same node, `inter` between nodes.
    pub fn of_nodes(nodes: &[u32], intra: i64, inter: i64) -> Result<Self, GraphError> {
        if nodes.len() > PROCESSORS_MAX {
            return Err(GraphError::TooMany { what: "processors", count: nodes.len(), most: PROCESSORS_MAX });
        }
        let pairs = nodes.iter().flat_map(|from| nodes.iter().map(move |to| (from, to)));
        let factors = pairs.map(|(from, to)| if from == to { intra } else { inter }).collect();
        Self::new(nodes.len(), factors)
    }

    /// How many processors there are.
    pub fn processors(&self) -> usize {
        self.processors
    }

    /// Thousandths of a tick for a unit of data.
    pub fn factor(&self, from: u32, to: u32) -> i64 {
        self.factors[from as usize * self.processors + to as usize]
    }
}

/// Why there is no such task graph.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// More than can be worked on.
    #[error("there are {count} {what}, and at most {most} can be worked on")]
    TooMany {
        /// `tasks`, `edges`, `processors` or `costs`.
        what: &'static str,
        /// How many.
        count: usize,
        /// At most so many.
        most: usize,
    },
    /// A table of the wrong size.
    #[error("there are {found} {what}, and there have to be {expected}")]
    Shape {
        /// What is counted.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many there have to be.
        expected: usize,
    },
    /// A cost below zero.
    #[error("task {task} costs {cost} ticks on processor {processor}; a cost is 0 or more")]
    BadCost {
        /// The task, from 0.
        task: usize,
        /// The processor, from 0.
        processor: usize,
        /// The cost.
        cost: i64,
    },
    /// A task that can run nowhere.
    #[error("task {0} can run on no processor")]
    NoProcessor(usize),
    /// A link that makes time go back.
    #[error("the link from processor {from} to {to} has factor {factor}; it is 0 or more")]
    BadLink {
        /// The sending processor, from 0.
        from: usize,
        /// The receiving processor, from 0.
        to: usize,
        /// The factor.
        factor: i64,
    },
    /// An edge at no task, from a task to itself, or with negative data.
    #[error("edge {edge}: {why}")]
    BadEdge {
        /// Its place, from 0.
        edge: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// All ticks together are too many.
    #[error(
        "costs and delays add up to {0} ticks or more, and at most {TICKS_MAX} can be worked with; use a longer tick"
    )]
    TooLong(i64),
    /// Tasks that wait for each other.
    #[error("tasks wait for each other: {}", chain(.0))]
    Cycle(
        /// Each waits for the one before it, and the first for the last. The lowest comes first.
        Vec<u32>,
    ),
}

/// The other end of an edge.
#[derive(Debug, Clone, Copy)]
pub(super) struct Half {
    pub(super) task: u32,
    pub(super) data: u64,
}

/// A place where a task can run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice {
    pub(super) processor: u32,
    pub(super) cost: i64,
}

/// A task graph on heterogeneous processors that keeps to all limits: every task can run somewhere, there is no cycle, and no
/// sum of its times overflows. Built once, then only read.
#[derive(Debug, Clone)]
pub struct TaskGraph {
    links: Links,
    edges: Vec<Edge>,
    tasks: usize,
    // What a task follows, what follows it, and where it can run: those of task `t` are `first[t]..first[t + 1]`.
    first_before: Vec<u32>,
    before: Vec<Half>,
    first_after: Vec<u32>,
    after: Vec<Half>,
    first_choice: Vec<u32>,
    choices: Vec<Choice>,
    least: Vec<i64>,
    topological: Vec<u32>,
    /// By task and processor, before which tick a task cannot begin there; empty if there is no such tick.
    releases: Vec<i64>,
    /// Link factors with one more processor, which is nowhere: what is not placed yet neither sends nor waits.
    factors: Vec<u64>,
}

impl TaskGraph {
    /// Checks a problem: `costs[task * processors + processor]` in ticks, `None` where the task cannot run.
    pub fn new(costs: &[Option<i64>], links: Links, edges: Vec<Edge>) -> Result<Self, GraphError> {
        let processors = links.processors();
        if costs.len() > COSTS_MAX {
            return Err(GraphError::TooMany { what: "costs", count: costs.len(), most: COSTS_MAX });
        }
        let tasks = costs.len().checked_div(processors).unwrap_or_default();
        if tasks * processors != costs.len() {
            let expected = tasks.saturating_add(1) * processors;
            return Err(GraphError::Shape { what: "costs", found: costs.len(), expected });
        }
        if tasks > TASKS_MAX {
            return Err(GraphError::TooMany { what: "tasks", count: tasks, most: TASKS_MAX });
        }
        if edges.len() > EDGES_MAX {
            return Err(GraphError::TooMany { what: "edges", count: edges.len(), most: EDGES_MAX });
        }
        let (mut first_choice, mut choices, mut least) = (vec![0], Vec::new(), Vec::new());
        let mut ticks: i64 = 0;
        for (task, row) in costs.chunks_exact(processors.max(1)).enumerate() {
            let begin = choices.len();
            for (processor, cost) in row.iter().enumerate() {
                match *cost {
                    Some(cost) if cost < 0 => return Err(GraphError::BadCost { task, processor, cost }),
                    Some(cost) => choices.push(Choice { processor: processor as u32, cost }),
                    None => {}
                }
            }
            let of_task = &choices[begin..];
            let (Some(cheapest), Some(dearest)) = (
                of_task.iter().map(|choice| choice.cost).min(),
                of_task.iter().map(|choice| choice.cost).max(),
            ) else {
                return Err(GraphError::NoProcessor(task));
            };
            ticks = within_limit(ticks, dearest.into())?;
            least.push(cheapest);
            first_choice.push(choices.len() as u32);
        }
        let slowest = links.factors.iter().max().copied().unwrap_or_default();
        for (index, edge) in edges.iter().enumerate() {
            let bad = |why| Err(GraphError::BadEdge { edge: index, why });
            if edge.from as usize >= tasks || edge.to as usize >= tasks {
                return bad("it begins or ends at a task that there is not");
            }
            if edge.from == edge.to {
                return bad("a task cannot wait for itself");
            }
            if edge.data < 0 {
                return bad("its data is negative");
            }
            let delay = (i128::from(edge.data) * i128::from(slowest)).div_euclid(i128::from(FACTOR_UNIT)) + 1;
            ticks = within_limit(ticks, if slowest == 0 { 0 } else { delay })?;
        }
        let (first_before, before) = halves(tasks, &edges, |edge| (edge.to, edge.from));
        let (first_after, after) = halves(tasks, &edges, |edge| (edge.from, edge.to));
        let mut factors = vec![0; (processors + 1) * (processors + 1)];
        for from in 0..processors {
            for to in 0..processors {
                factors[from * (processors + 1) + to] = links.factors[from * processors + to] as u64;
            }
        }
        let mut graph = Self {
            links,
            edges,
            tasks,
            first_before,
            before,
            first_after,
            after,
            first_choice,
            choices,
            least,
            topological: Vec::new(),
            releases: Vec::new(),
            factors,
        };
        graph.topological = graph.sorted()?;
        Ok(graph)
    }

    /// How many tasks there are.
    pub fn tasks(&self) -> usize {
        self.tasks
    }

    /// The links, and with them the processors.
    pub fn links(&self) -> &Links {
        &self.links
    }

    /// The edges, as they were given.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// Ticks of a task on a processor; none if it cannot run there, or if there is no such task.
    pub fn cost(&self, task: u32, processor: u32) -> Option<i64> {
        if task as usize >= self.tasks {
            return None;
        }
        let choices = self.choices(task);
        let place = choices.binary_search_by_key(&processor, |choice| choice.processor);
        place.ok().map(|place| choices[place].cost)
    }

    pub(super) fn processors(&self) -> usize {
        self.links.processors
    }

    /// Where a task can run, by processor.
    pub(super) fn choices(&self, task: u32) -> &[Choice] {
        &self.choices
            [self.first_choice[task as usize] as usize..self.first_choice[task as usize + 1] as usize]
    }

    /// Ticks of a task where it is cheapest.
    pub(super) fn least(&self, task: u32) -> i64 {
        self.least[task as usize]
    }

    /// What a task follows.
    pub(super) fn before(&self, task: u32) -> &[Half] {
        &self.before[self.first_before[task as usize] as usize..self.first_before[task as usize + 1] as usize]
    }

    /// What follows a task.
    pub(super) fn after(&self, task: u32) -> &[Half] {
        &self.after[self.first_after[task as usize] as usize..self.first_after[task as usize + 1] as usize]
    }

    /// All tasks, each behind those that it follows.
    pub(super) fn topological(&self) -> &[u32] {
        &self.topological
    }

    /// The processor that is nowhere: with no delay to or from any.
    pub(super) fn nowhere(&self) -> u32 {
        self.links.processors as u32
    }

    /// The same graph with a tick for each task and processor, before which the task cannot begin there. List schedulers and bounds do
    /// not look at it.
    pub(super) fn with_releases(mut self, releases: Vec<i64>) -> Self {
        self.releases = releases;
        self
    }

    /// Before which tick a task cannot begin on a processor, or anywhere.
    pub(super) fn release(&self, task: u32, processor: u32) -> i64 {
        if self.releases.is_empty() {
            return 0;
        }
        let row = &self.releases[task as usize * self.processors()..][..self.processors()];
        let anywhere = || self.choices(task).iter().map(|choice| row[choice.processor as usize]).min();
        row.get(processor as usize).copied().or_else(anywhere).unwrap_or_default()
    }

    /// Ticks that data travels.
    pub(super) fn delay(&self, data: u64, from: u32, to: u32) -> i64 {
        let factor = self.factors[from as usize * (self.links.processors + 1) + to as usize];
        (data * factor).div_ceil(FACTOR_UNIT) as i64
    }

    /// Kahn's algorithm; of those that could be next, the lowest index that became free first.
    fn sorted(&self) -> Result<Vec<u32>, GraphError> {
        let mut waits: Vec<u32> = (0..self.tasks as u32).map(|task| self.before(task).len() as u32).collect();
        let mut sorted: Vec<u32> = (0..self.tasks as u32).filter(|task| waits[*task as usize] == 0).collect();
        let mut done = 0;
        while let Some(task) = sorted.get(done).copied() {
            done += 1;
            for next in self.after(task) {
                waits[next.task as usize] -= 1;
                if waits[next.task as usize] == 0 {
                    sorted.push(next.task);
                }
            }
        }
        match waits.iter().position(|waits| *waits > 0) {
            None => Ok(sorted),
            Some(task) => Err(GraphError::Cycle(self.cycle(task as u32, &waits))),
        }
    }

    /// Goes back from a task that waits, always to one that waits too, until it comes to one for the second time.
    fn cycle(&self, task: u32, waits: &[u32]) -> Vec<u32> {
        let mut seen_at = vec![usize::MAX; self.tasks];
        let (mut way, mut at) = (Vec::new(), task);
        while seen_at[at as usize] == usize::MAX {
            seen_at[at as usize] = way.len();
            way.push(at);
            let waiting = self.before(at).iter().find(|before| waits[before.task as usize] > 0);
            match waiting {
                Some(before) => at = before.task,
                None => break,
            }
        }
        let mut cycle = way.split_off(seen_at[at as usize]);
        cycle.reverse();
        let least = (0..cycle.len()).min_by_key(|place| cycle[*place]).unwrap_or_default();
        cycle.rotate_left(least);
        cycle
    }
}

fn within_limit(ticks: i64, more: i128) -> Result<i64, GraphError> {
    let sum = i128::from(ticks) + more;
    if sum > i128::from(TICKS_MAX) {
        return Err(GraphError::TooLong(i64::try_from(sum).unwrap_or(i64::MAX)));
    }
    Ok(sum as i64)
}

/// Edges by the task at one end.
fn halves(tasks: usize, edges: &[Edge], ends: impl Fn(&Edge) -> (u32, u32)) -> (Vec<u32>, Vec<Half>) {
    let mut first = vec![0_u32; tasks + 1];
    for edge in edges {
        first[ends(edge).0 as usize + 1] += 1;
    }
    for task in 0..tasks {
        first[task + 1] += first[task];
    }
    let mut free = first.clone();
    let mut halves = vec![Half { task: 0, data: 0 }; edges.len()];
    for edge in edges {
        let (here, there) = ends(edge);
        halves[free[here as usize] as usize] = Half { task: there, data: edge.data as u64 };
        free[here as usize] += 1;
    }
    (first, halves)
}
