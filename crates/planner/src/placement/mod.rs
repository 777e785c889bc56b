//! Placement: which replica of which model runs on which devices of which machine.
//!
//! **The problem.** A [`Machine`] has NUMA nodes with cores and memory, and devices, each of a kind, with memory of its own, on a NUMA node
//! and on an island of fast links. A [`Model`] says what each replica takes: cores, memory, and a number of devices, of each of them a
//! share (in thousandths, so that several replicas share one) and memory; which kinds it can use; how near to each other all that has
//! to be ([`Within`]); and how many replicas may be on one machine and in one zone. A [`Replica`] that has no place costs its value; one
//! that has costs
//!
//! - `load_cost` on a machine that does not hold the files, and where it does not run already,
//! - `across_cost` if its devices are not all on one island,
//! - `move_cost` if it runs now, at another place.
//!
//! The plan whose sum is least is wanted. This is vector bin packing with choice, strongly NP-hard and hard to approximate, so an answer
//! is a plan, a **lower bound**, and a verifier that shares no code with the search. A replica is on one machine; one whose stages are
//! on several is a model for each stage.
//!
//! **Solved** by lists of replicas in several orders and by several rules, branch and bound if there are at most 64 replicas and devices
//! (which then proves the optimum, mostly), and local search. [`Rule`] has the baselines of the field.
//!
//! ```
//! use planner::{Budget, Unlimited, placement::*};
//!
//! let gpu = |island| Device { kind: 0, memory: 80, numa: 0, island };
//! let machine = Machine {
//!     numa: vec![Numa { cores_milli: 64_000, memory: 512 }],
//!     devices: vec![gpu(0), gpu(0), gpu(1)],
//!     zone: 0,
//! };
//! let small = Model {
//!     cores_milli: 4_000,
//!     memory: 20,
//!     devices: 1,
//!     share_milli: 500,
//!     device_memory: 40,
//!     kinds: 1,
//!     within: Within::Machine,
//!     per_machine_max: 8,
//!     per_zone_max: 8,
//!     resident_on: vec![0],
//!     load_cost: 10,
//!     across_cost: 0,
//! };
//! let large = Model { devices: 2, share_milli: 1000, within: Within::Island, ..small.clone() };
//! let replica = |model, value| Replica { model, value, now: None, move_cost: 0 };
//! let replicas = vec![replica(0, 100), replica(0, 100), replica(1, 900), replica(0, 50)];
//! let problem = Problem::new(vec![machine], vec![small, large], replicas)?;
//!
//! let best = solve(&problem, Budget { evaluations: 10_000 }, 1, &mut Unlimited);
//! // The large one has the island of two, two small ones share the third device, and the least valued waits.
//! assert_eq!((best.cost, best.lower_bound), (50, 50));
//! assert_eq!(best.plan[2].map(|place| place.devices), Some(0b011));
//! assert_eq!(verify(&problem, &best.plan)?, 50);
//!
//! let why = Explainer::new(&problem, &best.plan)?.explain(3).unwrap().to_string();
//! assert!(why.contains("on machine 0 it would cost 0, if there were one more device"), "{why}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod bound;
mod exact;
mod explain;
mod list;
mod problem;
mod search;
mod state;
mod verify;

pub use bound::lower_bound;
pub use explain::{Change, Explainer, Explanation, Lack};
pub use list::Rule;
pub use problem::{
    AMOUNT_MAX, DEVICES_MAX, Device, KINDS_MAX, MACHINES_MAX, MODELS_MAX, Machine, Model, NUMA_MAX, Numa,
    Parts, Place, PlacementError, Problem, REPLICAS_MAX, RESIDENTS_MAX, Replica, VALUE_MAX, WHOLE_MILLI,
    Within,
};
pub use search::{Solution, list, solve};
pub use verify::{Wrong, plan as verify};
