//! Projects under scarce resources (RCPSP): activities take time and, while they run, units of resources that are there again
//! afterwards; some have to be finished before others begin. Wanted is the least makespan. A job shop is the case in which every
//! resource has one unit.
//!
//! ```
//! use planner::{Budget, Unlimited};
//! use planner::rcpsp::{Activity, Project, solve, verify};
//!
//! // Three activities that need 2, 1 and 1 of two cooks; the last one waits for the second.
//! let activity = |ticks, demand| Activity { ticks, demands: vec![demand] };
//! let activities = vec![activity(2, 2), activity(3, 1), activity(1, 1)];
//! let project = Project::new(vec![2], activities, vec![(1, 2)])?;
//! let solution = solve(&project, Budget { evaluations: 100 }, 1, &mut Unlimited);
//! assert_eq!(verify(&project, &solution.starts)?, 6);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bound;
mod critical;
mod patterson;
mod profile;
mod project;
mod search;
mod verify;

pub use bound::lower_bound;
pub use critical::critical_path;
pub use patterson::read;
pub use project::{
    ACTIVITIES_MAX, Activity, ORDERS_MAX, Project, ProjectError, RESOURCES_MAX, TICKS_MAX, UNITS_MAX,
};
pub use search::{Solution, solve};
pub use verify::{Wrong, verify};
