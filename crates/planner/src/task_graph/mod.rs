//! Task graphs on heterogeneous processors: when and where does each task run, so that all are finished soonest?
//!
//! **Model** (HEFT's: Topcuoglu, Hariri and Wu, IEEE TPDS 13(3), 2002). Task `t` takes `c(t, p)` ticks on processor `p`, or cannot run
//! there. An edge `(s, t)` with `d` units of data lets `t` begin `⌈d · f(p, q) / 1000⌉` ticks after `s` is finished, if `s` runs on `p` and
//! `t` on `q ≠ p`, and at once on the same processor. A processor runs one task at a time and does not interrupt it; links are
//! never congested. Wanted is the least **makespan**, the finish of the last task. The problem is strongly NP-hard, so a schedule
//! comes with a [lower bound](lower_bound), and [`verify`] checks it by code that shares nothing with the solvers.
//!
//! **Algorithms** are in [`Algorithm`]: list schedulers give a schedule in less than a millisecond, and searches improve the best of
//! them for as long as they may. All are deterministic: the same graph, seed and number of evaluations give the same schedule.
//!
//! ```
//! use planner::{Budget, Unlimited};
//! use planner::task_graph::{Algorithm, Edge, Links, TaskGraph, solve, verify};
//!
//! // Two tasks and one that needs both. Processor 0 is fast for the first, 1 for the second; a unit of data takes a tick.
//! let costs = [Some(2), Some(9), Some(9), Some(3), Some(4), Some(4)];
//! let edges = vec![Edge { from: 0, to: 2, data: 1 }, Edge { from: 1, to: 2, data: 5 }];
//! let graph = TaskGraph::new(&costs, Links::of_nodes(&[0, 1], 0, 1000)?, edges)?;
//!
//! let budget = Budget { evaluations: 1_000 };
//! let solution = solve(&graph, Algorithm::Auto, budget, 1, &mut Unlimited);
//! assert_eq!(verify::schedule(&graph, &solution.schedule)?, 7);
//! assert_eq!(solution.schedule.placed[2].processor, 1, "where the larger data is");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod anneal;
mod bits;
mod bounds;
mod chance;
mod critical;
mod ensemble;
mod genetic;
mod graph;
mod hdag;
mod list;
mod neighbourhood;
mod plan;
mod race;
mod ranks;
mod related;
mod replan;
mod schedule;
mod solve;
pub mod verify;
mod wfcommons;

pub use bounds::lower_bound;
pub use critical::critical_path;
pub use graph::{
    COSTS_MAX, EDGES_MAX, Edge, GraphError, Links, PROCESSORS_MAX, TASKS_MAX, TICKS_MAX, TaskGraph,
};
pub use hdag::read;
pub use replan::{Known, NewPlan, ReplanError, Situation, replan};
pub use schedule::{Placed, Schedule};
pub(crate) use solve::solve_from;
pub use solve::{Algorithm, Solution, first_schedule, solve};
pub use wfcommons::{Machines, Workflow, read_workflow};
