//! Job shop: jobs are chains of operations, each on a given machine; a machine does one at a time. Wanted is the least makespan.
//!
//! It is a task graph in which every task can run in one place only and data takes no time, so it is solved by the same
//! [searches](crate::task_graph::Algorithm); operations are tasks in the order of the file, machines are processors.
//!
//! The **lower bound** is, over all machines, that of one machine whose operations have heads and tails and may be interrupted: the one
//! with the longest tail of those that could run runs (Jackson's preemptive schedule); and the longest job.
//!
//! ```
//! use planner::{Budget, Unlimited, job_shop, task_graph::Algorithm};
//!
//! // Two jobs on two machines: 0 then 1, and 1 then 0.
//! let shop = job_shop::read("2 2\n0 3 1 2\n1 4 0 1\n")?;
//! let solution = job_shop::solve(&shop, Algorithm::Auto, Budget { evaluations: 100 }, 1, &mut Unlimited);
//! assert_eq!(job_shop::verify(&shop, &solution.schedule)?, 6);
//! assert_eq!(solution.lower_bound, 6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bound;
mod taillard;
mod verify;

pub use bound::lower_bound;
pub use taillard::read;
pub use verify::{Wrong, verify};

use crate::{
    Budget, Control,
    task_graph::{self, Algorithm, Edge, GraphError, Links, Solution, TaskGraph},
};

/// An operation of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Operation {
    /// Index of its machine.
    pub machine: u32,
    /// How long it takes.
    pub ticks: i64,
}

/// A job shop that keeps to the limits of [`task_graph`]: its operations are tasks.
#[derive(Debug, Clone)]
pub struct JobShop {
    machines: usize,
    jobs: Vec<Vec<Operation>>,
    graph: TaskGraph,
}

impl JobShop {
    /// Checks a problem. A job may be on a machine more than once.
    pub fn new(machines: usize, jobs: Vec<Vec<Operation>>) -> Result<Self, GraphError> {
        let tasks: usize = jobs.iter().map(Vec::len).sum();
        let count = tasks.saturating_mul(machines);
        if count > task_graph::COSTS_MAX {
            return Err(GraphError::TooMany { what: "costs", count, most: task_graph::COSTS_MAX });
        }
        let links = Links::of_nodes(&vec![0; machines.min(task_graph::PROCESSORS_MAX + 1)], 0, 0)?;
        let mut costs = vec![None; count];
        let (mut edges, mut task) = (Vec::new(), 0);
        for job in &jobs {
            for (index, operation) in job.iter().enumerate() {
                let machine = operation.machine as usize;
                if machine >= machines {
                    return Err(GraphError::NoProcessor(task));
                }
                costs[task * machines + machine] = Some(operation.ticks);
                if index > 0 {
                    edges.push(Edge { from: task as u32 - 1, to: task as u32, data: 0 });
                }
                task += 1;
            }
        }
        let graph = TaskGraph::new(&costs, links, edges)?;
        Ok(Self { machines, jobs, graph })
    }

    /// How many machines there are.
    pub fn machines(&self) -> usize {
        self.machines
    }

    /// The operations of each job, in their order.
    pub fn jobs(&self) -> &[Vec<Operation>] {
        &self.jobs
    }

    /// The same as a task graph.
    pub fn graph(&self) -> &TaskGraph {
        &self.graph
    }
}

/// Finds a schedule, as [`task_graph::solve`] does, with a better bound; `Auto` is annealing here.
pub fn solve(
    shop: &JobShop,
    algorithm: Algorithm,
    budget: Budget,
    seed: u64,
    control: &mut dyn Control,
) -> Solution {
    let algorithm = if algorithm == Algorithm::Auto { Algorithm::Annealing } else { algorithm };
    task_graph::solve_from(&shop.graph, algorithm, budget, seed, control, lower_bound(shop))
}
