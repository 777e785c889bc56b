//! Allocation: which device does how much of which work.
//!
//! Tasks `j` with work `w_j`, devices `i` with speed `c_i`, and which can do what (eligibility, memory). The often quoted
//! `min Σ c_i·x_i` under `Σ x_i ≤ Σ w_j` is no model of this: `x = 0` satisfies it and is its optimum, since nothing says that work has to be
//! done, by when, or by whom. What is wanted are amounts `x_ij ≥ 0` with `Σ_i x_ij = w_j`, and then
//!
//! | question | model | function | proof |
//! |---|---|---|---|
//! | done soonest, divisible | least `T` with `Σ_j x_ij ≤ c_i·T`: parametric maximum flow | [`fastest`] | tasks that keep all devices that can do them busy |
//! | cheapest within `T`, divisible; traffic over replicas | `min Σ cost_ij·x_ij`: minimum-cost flow | [`cheapest`] | prices |
//! | done soonest, whole tasks | `R‖Cmax`, NP-hard: lists, branch and bound, local search | [`whole`] | a lower bound |
//! | all in time, with interruptions | maximum flow over intervals | [`timetable`] | the timetable, or jobs that have too little room |
//! | how much in time at most | its fractional relaxation | [`value_bound`] | no schedule is worth more |
//!
//! Complexity: [`fastest`] is at most one maximum flow for each device, `O(n² √m)` each, and mostly two or three; [`cheapest`] one network
//! simplex.
//!
//! ```
//! use planner::{Budget, Unlimited, allocation::*};
//!
//! let device = |speed, memory, cost| Device { speed, memory, cost };
//! let task = |work, memory| Task {
//!     work,
//!     memory,
//!     eligible: None,
//!     resident_on: Vec::new(),
//!     load_ticks: 0,
//!     load_cost: 0,
//! };
//! // A fast device, and a slow, cheap one that is too small for the second task.
//! let offer = Offer::new(vec![device(30, 80, 5), device(10, 8, 1)], vec![task(60, 4), task(90, 40)])?;
//!
//! // 150 units at 40 a tick: 3.75 ticks, and the small device has work for that long.
//! let soonest = fastest(&offer)?;
//! assert_eq!((soonest.ticks, &soonest.bottleneck[..]), ((15, 4), &[0, 1][..]));
//! verify::fastest(&offer, &soonest)?;
//!
//! // In five ticks the cheap device does 50 units, all of the first task.
//! let least = cheapest(&offer, 5)?;
//! assert_eq!(least.cost, 50 + 100 * 5);
//! verify::cheapest(&offer, 5, &least)?;
//!
//! // Undivided, both on the fast one (5 ticks) are done before the slow one has done the first (6).
//! let undivided = whole(&offer, Budget { evaluations: 1_000 }, 1, &mut Unlimited)?;
//! assert_eq!((undivided.makespan, undivided.lower_bound), (5, 5));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod divide;
mod offer;
pub mod verify;
mod whole;
mod windows;

pub use divide::{Cheapest, Fastest, Share, cheapest, fastest};
pub use offer::{
    AMOUNT_MAX, AllocationError, DEVICES_MAX, Device, Offer, PAIRS_MAX, SPEED_MAX, TASKS_MAX, TICKS_MAX,
    Task, WORK_MAX,
};
pub use whole::{Whole, whole};
pub use windows::{
    JOB_VALUE_MAX, Job, Parallel, Piece, WINDOW_DEVICES_MAX, WINDOW_PAIRS_MAX, Windows, timetable,
    value_bound,
};
