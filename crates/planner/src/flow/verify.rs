//! Checks answers by their proofs. Shares no code with the solvers.

use super::{MaxFlow, MaxFlowProblem, MinCostFlow, MinCostProblem};

/// What is wrong with an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// It is about another problem.
    #[error("it has {found} numbers, and the problem {expected}")]
    Shape {
        /// Numbers of the answer.
        found: usize,
        /// Arcs or nodes of the problem.
        expected: usize,
    },
    /// An arc has more or less on it than it may.
    #[error("arc {0} is outside of its bounds")]
    Bounds(usize),
    /// A node gives more or less than it has.
    #[error("node {0} does not give what it has")]
    Balance(usize),
    /// An arc could be used better.
    #[error("arc {0} shows that the flow is not the cheapest")]
    NotOptimal(usize),
    /// An arc across the cut shows that more would go.
    #[error("arc {0} shows that the cut proves nothing")]
    NotACut(usize),
    /// The value is not that of the flow.
    #[error("the value is said to be {said}, and is {is}")]
    Value {
        /// What the answer says.
        said: i128,
        /// What it is.
        is: i128,
    },
}

/// Checks a cheapest flow: bounds, balance, cost, and that the potentials prove it.
pub fn min_cost(problem: &MinCostProblem, answer: &MinCostFlow) -> Result<(), Wrong> {
    shape(answer.flows.len(), problem.arcs.len())?;
    shape(answer.potentials.len(), problem.supplies.len())?;
    let mut left: Vec<i128> = problem.supplies.iter().map(|supply| i128::from(*supply)).collect();
    let mut cost: i128 = 0;
    for (index, (arc, flow)) in problem.arcs.iter().zip(&answer.flows).enumerate() {
        if !(arc.lower..=arc.capacity).contains(flow) {
            return Err(Wrong::Bounds(index));
        }
        left[arc.from as usize] -= i128::from(*flow);
        left[arc.to as usize] += i128::from(*flow);
        cost += i128::from(*flow) * i128::from(arc.cost);
        let potential = |node: u32| i128::from(answer.potentials[node as usize]);
        let reduced = i128::from(arc.cost) + potential(arc.from) - potential(arc.to);
        if (reduced < 0 && *flow < arc.capacity) || (reduced > 0 && *flow > arc.lower) {
            return Err(Wrong::NotOptimal(index));
        }
    }
    if let Some(node) = left.iter().position(|left| *left != 0) {
        return Err(Wrong::Balance(node));
    }
    if cost != answer.cost {
        return Err(Wrong::Value { said: answer.cost, is: cost });
    }
    Ok(())
}

/// Checks a greatest flow: bounds, balance, value, and that the cut proves it.
pub fn max_flow(problem: &MaxFlowProblem, answer: &MaxFlow) -> Result<(), Wrong> {
    shape(answer.flows.len(), problem.arcs.len())?;
    shape(answer.cut.len(), problem.nodes)?;
    let mut given = vec![0_i128; problem.nodes];
    let side = |node: u32| answer.cut[node as usize];
    for (index, (arc, flow)) in problem.arcs.iter().zip(&answer.flows).enumerate() {
        if !(0..=arc.capacity).contains(flow) {
            return Err(Wrong::Bounds(index));
        }
        given[arc.from as usize] += i128::from(*flow);
        given[arc.to as usize] -= i128::from(*flow);
        let leaves_room = side(arc.from) && !side(arc.to) && *flow < arc.capacity;
        let comes_back = !side(arc.from) && side(arc.to) && *flow > 0;
        if leaves_room || comes_back {
            return Err(Wrong::NotACut(index));
        }
    }
    let ends = [problem.source, problem.sink].map(|node| node as usize);
    if let Some(node) = (0..problem.nodes).find(|node| !ends.contains(node) && given[*node] != 0) {
        return Err(Wrong::Balance(node));
    }
    let (value, said) = (given[ends[0]], i128::from(answer.value));
    if value != said || value != -given[ends[1]] {
        return Err(Wrong::Value { said, is: value });
    }
    if !side(problem.source) || side(problem.sink) {
        return Err(Wrong::NotACut(problem.arcs.len()));
    }
    Ok(())
}

/// Checks that a cut shows that there is no flow: its nodes have more to give than the arcs across it can take.
pub fn infeasible(problem: &MinCostProblem, cut: &[bool]) -> Result<(), Wrong> {
    shape(cut.len(), problem.supplies.len())?;
    let inside = |node: u32| cut[node as usize];
    let gives: i128 = problem
        .supplies
        .iter()
        .zip(cut)
        .filter(|(_, inside)| **inside)
        .map(|(supply, _)| i128::from(*supply))
        .sum();
    let mut takes: i128 = 0;
    for arc in &problem.arcs {
        match (inside(arc.from), inside(arc.to)) {
            (true, false) => takes += i128::from(arc.capacity),
            (false, true) => takes -= i128::from(arc.lower),
            _ => {}
        }
    }
    if gives > takes { Ok(()) } else { Err(Wrong::Value { said: gives, is: takes }) }
}

fn shape(found: usize, expected: usize) -> Result<(), Wrong> {
    if found == expected { Ok(()) } else { Err(Wrong::Shape { found, expected }) }
}
