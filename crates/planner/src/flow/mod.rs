//! Flow in networks: what is moved at least cost, and how much can be moved at most. Every answer comes with what proves it, and
//! [`verify`] checks the proof by code that shares nothing with the solvers.
//!
//! **Minimum-cost flow.** Nodes have a supply `b(v)` (negative: a demand), arcs a lower bound `l`, a capacity `u` and a cost `c` for
//! each unit. Wanted are whole numbers `x` with `l ≤ x ≤ u` and `out(v) − in(v) = b(v)`, so that `Σ c·x` is least. The proof are
//! *potentials* `π`: a flow is optimal if and only if for every arc `(v, w)` the reduced cost `c + π(v) − π(w)` is not negative
//! where `x < u`, and not positive where `x > l` (Ahuja, Magnanti and Orlin, "Network Flows", 1993, theorem 9.3).
//!
//! **Maximum flow.** From a source to a sink as much as the capacities allow. The proof is a *cut*: nodes around the source whose
//! outgoing arcs are all full and whose incoming arcs are all empty; no flow is larger than the capacity of a cut (Ford and
//! Fulkerson, "Maximal Flow through a Network", 1956).
//!
//! ```
//! use planner::flow::{Arc, MinCostProblem, min_cost, verify};
//!
//! // Two tasks from node 0, by a cheap way for one and a dear one for any number.
//! let problem = MinCostProblem {
//!     supplies: vec![2, -2],
//!     arcs: vec![
//!         Arc { from: 0, to: 1, lower: 0, capacity: 1, cost: 3 },
//!         Arc { from: 0, to: 1, lower: 0, capacity: 9, cost: 5 },
//!     ],
//! };
//! let best = min_cost(&problem)?;
//! assert_eq!((best.cost, &best.flows[..]), (8, &[1, 1][..]));
//! verify::min_cost(&problem, &best)?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod dimacs;
mod max_flow;
mod network_simplex;
pub mod verify;

pub use crate::words::ReadError as DimacsError;
pub use dimacs::{Problem, read};
pub use max_flow::max_flow;
pub use network_simplex::min_cost;

/// Most nodes, and most arcs, of a problem.
pub const NODES_MAX: usize = 1 << 20;
/// See [`NODES_MAX`].
pub const ARCS_MAX: usize = 1 << 24;
/// Greatest amount of anything: supplies, bounds, and costs times nodes. Sums of them stay within 64 bits.
pub const AMOUNT_MAX: i64 = 1 << 60;

/// An arc of a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arc {
    /// Where it begins.
    pub from: u32,
    /// Where it ends.
    pub to: u32,
    /// Least units on it.
    pub lower: i64,
    /// Most units on it.
    pub capacity: i64,
    /// What a unit costs.
    pub cost: i64,
}

/// Find the cheapest flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinCostProblem {
    /// Units that each node gives (negative: takes); their sum is zero.
    pub supplies: Vec<i64>,
    /// The arcs.
    pub arcs: Vec<Arc>,
}

/// A cheapest flow, and its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MinCostFlow {
    /// What it costs.
    pub cost: i128,
    /// Units on each arc.
    pub flows: Vec<i64>,
    /// The potential of each node.
    pub potentials: Vec<i64>,
}

/// Find the greatest flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaxFlowProblem {
    /// How many nodes there are.
    pub nodes: usize,
    /// Where it comes from.
    pub source: u32,
    /// Where it goes.
    pub sink: u32,
    /// The arcs; their lower bounds are zero, and costs do not matter.
    pub arcs: Vec<Arc>,
}

/// A greatest flow, and its proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MaxFlow {
    /// How much.
    pub value: i64,
    /// Units on each arc.
    pub flows: Vec<i64>,
    /// Whether each node is on the source's side of a least cut.
    pub cut: Vec<bool>,
}

/// Why there is no flow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlowError {
    /// More than can be worked on.
    #[error("there are {count} {what}, and at most {most} can be worked on")]
    TooMany {
        /// `nodes` or `arcs`.
        what: &'static str,
        /// How many.
        count: usize,
        /// At most so many.
        most: usize,
    },
    /// An arc at no node, or with bounds that no flow can keep to, or amounts whose sums would overflow.
    #[error("arc {arc}: {why}")]
    BadArc {
        /// Its place, from 0.
        arc: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The supplies do not add up to zero.
    #[error("all supplies together are {0}, and have to be zero: what is given has to be taken")]
    Unbalanced(i128),
    /// No flow keeps to all bounds.
    #[error(
        "there is no such flow: the {nodes} nodes on one side of a cut have {short} units more to give than the arcs that \
         leave them can take (one of these nodes is {example})"
    )]
    Infeasible {
        /// How many nodes the cut holds.
        nodes: usize,
        /// One of them, from 0.
        example: usize,
        /// How many units are too many.
        short: i128,
        /// Whether each node is on that side.
        cut: Vec<bool>,
    },
    /// The source or the sink is no node, or both are the same.
    #[error("source and sink have to be two nodes of the network")]
    BadEnds,
}

/// What all problems have to keep to.
fn check_arcs(nodes: usize, arcs: &[Arc]) -> Result<(), FlowError> {
    if nodes > NODES_MAX {
        return Err(FlowError::TooMany { what: "nodes", count: nodes, most: NODES_MAX });
    }
    if arcs.len() > ARCS_MAX {
        return Err(FlowError::TooMany { what: "arcs", count: arcs.len(), most: ARCS_MAX });
    }
    let cost_max = AMOUNT_MAX / (nodes as i64 + 1);
    let mut capacity: i128 = 0;
    for (index, arc) in arcs.iter().enumerate() {
        let bad = |why| Err(FlowError::BadArc { arc: index, why });
        if arc.from as usize >= nodes || arc.to as usize >= nodes {
            return bad("it begins or ends at a node that there is not");
        }
        if arc.lower > arc.capacity {
            return bad("its lower bound is above its capacity");
        }
        if arc.lower < 0 {
            return bad("its lower bound is negative");
        }
        if arc.cost.checked_abs().is_none_or(|cost| cost > cost_max) {
            return bad("its cost is so large that sums could overflow");
        }
        capacity += i128::from(arc.capacity);
        if capacity > i128::from(AMOUNT_MAX) {
            return bad("the capacities up to it are so large that sums could overflow");
        }
    }
    Ok(())
}
