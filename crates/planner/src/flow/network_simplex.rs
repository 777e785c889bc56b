//! Network simplex: a spanning tree of arcs, improved arc by arc. The tree is kept strongly feasible, so it does not cycle
//! (Cunningham, "A Network Simplex Method", 1976). Each step exchanges one arc of the tree; the tree is kept as a thread through its
//! nodes in depth-first order, so that only the part that moves is touched (Király and Kovács, "Efficient Implementations of
//! Minimum-Cost Flow Algorithms", 2012, section 5). The entering arc is the best of a block of arcs, and blocks take turns.
//!
//! Exponential in the worst case, and in practice the fastest method for networks of up to some ten thousand nodes.

use super::{AMOUNT_MAX, FlowError, MinCostFlow, MinCostProblem, check_arcs};

/// Least arcs of a block.
const BLOCK_MIN: usize = 10;
/// No node, and no arc.
const NONE: u32 = u32::MAX;

/// Where an arc is: at its lower bound, in the tree, or full. As numbers they are the sign of the reduced cost that improves.
const LOWER: i8 = 1;
const TREE: i8 = 0;
const FULL: i8 = -1;
/// Whether the arc above a node leads to its parent.
const UP: i8 = 1;
const DOWN: i8 = -1;

/// Finds a flow of least cost.
///
/// # Errors
/// [`FlowError::Infeasible`] names a cut that no flow can satisfy. The others are about the problem itself.
pub fn min_cost(problem: &MinCostProblem) -> Result<MinCostFlow, FlowError> {
    let nodes = problem.supplies.len();
    check_arcs(nodes, &problem.arcs)?;
    let all: i128 = problem.supplies.iter().map(|supply| i128::from(*supply)).sum();
    if all != 0 {
        return Err(FlowError::Unbalanced(all));
    }
    let given: i128 = problem.supplies.iter().map(|supply| i128::from(*supply).abs()).sum();
    if given > i128::from(AMOUNT_MAX) {
        return Err(FlowError::Unbalanced(given));
    }
    if nodes == 0 {
        return Ok(MinCostFlow { cost: 0, flows: Vec::new(), potentials: Vec::new() });
    }
    let mut tree = Tree::new(problem);
    while tree.find_entering() {
        tree.find_join();
        let delta = tree.find_leaving();
        tree.push(delta);
        if let Some(delta_of_tree) = tree.leaving {
            tree.exchange(delta_of_tree);
        }
    }
    tree.answer(problem)
}

/// The arc that leaves the tree: the one above `out`; the part below it is hung up at `inner` below `outer`.
#[derive(Clone, Copy)]
struct Leaving {
    out: u32,
    inner: u32,
    outer: u32,
}

struct Tree {
    // Arcs, and behind them one to or from the root for each node.
    from: Vec<u32>,
    to: Vec<u32>,
    capacity: Vec<i64>,
    cost: Vec<i64>,
    flow: Vec<i64>,
    state: Vec<i8>,
    // Nodes, and behind them the root.
    potential: Vec<i64>,
    parent: Vec<u32>,
    above: Vec<u32>,
    direction: Vec<i8>,
    thread: Vec<u32>,
    thread_back: Vec<u32>,
    below: Vec<u32>,
    last: Vec<u32>,
    // The step that is being made.
    real_arcs: usize,
    block: usize,
    next: usize,
    entering: usize,
    join: u32,
    leaving: Option<Leaving>,
    dirty: Vec<u32>,
}

impl Tree {
    fn new(problem: &MinCostProblem) -> Self {
        let (nodes, arcs) = (problem.supplies.len(), problem.arcs.len());
        let root = nodes as u32;
        // Lower bounds are moved into the supplies.
        let mut supplies = problem.supplies.clone();
        for arc in &problem.arcs {
            supplies[arc.from as usize] -= arc.lower;
            supplies[arc.to as usize] += arc.lower;
        }
        let dearest = problem.arcs.iter().map(|arc| arc.cost.abs()).max().unwrap_or(0);
        // A way through all nodes is cheaper than one over the root.
        let artificial = (dearest + 1) * (nodes as i64 + 1);
        let mut tree = Self {
            from: problem.arcs.iter().map(|arc| arc.from).collect(),
            to: problem.arcs.iter().map(|arc| arc.to).collect(),
            capacity: problem.arcs.iter().map(|arc| arc.capacity - arc.lower).collect(),
            cost: problem.arcs.iter().map(|arc| arc.cost).collect(),
            flow: vec![0; arcs],
            state: vec![LOWER; arcs],
            potential: vec![0; nodes + 1],
            parent: vec![root; nodes + 1],
            above: vec![NONE; nodes + 1],
            direction: vec![UP; nodes + 1],
            thread: (1..=root).chain([0]).collect(),
            thread_back: [root].into_iter().chain(0..root).collect(),
            below: vec![1; nodes + 1],
            last: (0..=root).collect(),
            real_arcs: arcs,
            block: (arcs.isqrt()).max(BLOCK_MIN),
            next: 0,
            entering: 0,
            join: 0,
            leaving: None,
            dirty: Vec::new(),
        };
        tree.parent[nodes] = NONE;
        tree.below[nodes] = root + 1;
        tree.last[nodes] = root - 1;
        for (node, supply) in supplies.iter().enumerate() {
            tree.above[node] = (arcs + node) as u32;
            let (from, to, cost) =
                if *supply >= 0 { (node as u32, root, 0) } else { (root, node as u32, artificial) };
            tree.direction[node] = if *supply >= 0 { UP } else { DOWN };
            tree.potential[node] = cost;
            tree.from.push(from);
            tree.to.push(to);
            tree.capacity.push(i64::MAX);
            tree.cost.push(cost);
            tree.flow.push(supply.abs());
            tree.state.push(TREE);
        }
        tree
    }

    /// The best arc of the next block that has one which improves. False if no arc does.
    fn find_entering(&mut self) -> bool {
        let mut best = 0;
        let mut left = self.block;
        let Self { from, to, cost, state, potential, .. } = self;
        let reduced = |arc: usize| {
            let there = potential[from[arc] as usize] - potential[to[arc] as usize];
            i64::from(state[arc]) * (cost[arc] + there)
        };
        for arc in (self.next..self.real_arcs).chain(0..self.next) {
            let value = reduced(arc);
            if value < best {
                best = value;
                self.entering = arc;
            }
            left -= 1;
            if left == 0 {
                if best < 0 {
                    self.next = arc;
                    return true;
                }
                left = self.block;
            }
        }
        self.next = self.entering;
        best < 0
    }

    /// Where the ways from both ends of the entering arc to the root meet.
    fn find_join(&mut self) {
        let (mut one, mut other) = (self.from[self.entering], self.to[self.entering]);
        while one != other {
            if self.below[one as usize] < self.below[other as usize] {
                one = self.parent[one as usize];
            } else {
                other = self.parent[other as usize];
            }
        }
        self.join = one;
    }

    /// How much can be pushed around the cycle, and which arc of the tree then is at a bound.
    fn find_leaving(&mut self) -> i64 {
        let (from, to) = (self.from[self.entering], self.to[self.entering]);
        let (first, second) = if self.state[self.entering] == LOWER { (from, to) } else { (to, from) };
        let mut delta = self.capacity[self.entering];
        self.leaving = None;
        let room = |tree: &Self, node: u32, with: i8| {
            let arc = tree.above[node as usize] as usize;
            if tree.direction[node as usize] == with {
                tree.capacity[arc].saturating_sub(tree.flow[arc])
            } else {
                tree.flow[arc]
            }
        };
        let mut node = first;
        while node != self.join {
            let left = room(self, node, DOWN);
            if left < delta {
                delta = left;
                self.leaving = Some(Leaving { out: node, inner: first, outer: second });
            }
            node = self.parent[node as usize];
        }
        let mut node = second;
        while node != self.join {
            let left = room(self, node, UP);
            // The last one that limits, seen along the cycle: that keeps the tree strongly feasible.
            if left <= delta {
                delta = left;
                self.leaving = Some(Leaving { out: node, inner: second, outer: first });
            }
            node = self.parent[node as usize];
        }
        delta
    }

    /// Pushes units around the cycle.
    fn push(&mut self, delta: i64) {
        let entering = self.entering;
        if delta > 0 {
            let signed = i64::from(self.state[entering]) * delta;
            self.flow[entering] += signed;
            for (end, sign) in [(self.from[entering], -signed), (self.to[entering], signed)] {
                let mut node = end;
                while node != self.join {
                    let at = node as usize;
                    self.flow[self.above[at] as usize] += i64::from(self.direction[at]) * sign;
                    node = self.parent[at];
                }
            }
        }
        match self.leaving {
            None => self.state[entering] = -self.state[entering],
            Some(Leaving { out, .. }) => {
                self.state[entering] = TREE;
                let leaving = self.above[out as usize] as usize;
                self.state[leaving] = if self.flow[leaving] == 0 { LOWER } else { FULL };
            }
        }
    }

    /// Puts the entering arc in the place of the leaving one.
    fn exchange(&mut self, Leaving { out, inner, outer }: Leaving) {
        let at = |node: u32| node as usize;
        let before_out = self.thread_back[at(out)];
        let (moved, last_of_out, out_parent) =
            (self.below[at(out)], self.last[at(out)], self.parent[at(out)]);
        let entering = self.entering as u32;
        let direction = if inner == self.from[self.entering] { UP } else { DOWN };
        if inner == out {
            self.parent[at(inner)] = outer;
            self.above[at(inner)] = entering;
            self.direction[at(inner)] = direction;
            if self.thread[at(outer)] != out {
                let after = self.thread[at(last_of_out)];
                self.link(before_out, after);
                let after = self.thread[at(outer)];
                self.link(outer, out);
                self.link(last_of_out, after);
            }
        } else {
            self.turn_stem(Leaving { out, inner, outer }, before_out, last_of_out);
            self.above[at(inner)] = entering;
            self.direction[at(inner)] = direction;
            self.below[at(inner)] = moved;
        }
        self.update_last(outer, out, out_parent, before_out, last_of_out);
        let mut node = outer;
        while node != self.join {
            self.below[at(node)] += moved;
            node = self.parent[at(node)];
        }
        let mut node = out_parent;
        while node != self.join {
            self.below[at(node)] -= moved;
            node = self.parent[at(node)];
        }
        let sigma = self.potential[at(outer)]
            - self.potential[at(inner)]
            - i64::from(direction) * self.cost[self.entering];
        let end = self.thread[at(self.last[at(inner)])];
        let mut node = inner;
        while node != end {
            self.potential[at(node)] += sigma;
            node = self.thread[at(node)];
        }
    }

    fn link(&mut self, one: u32, next: u32) {
        self.thread[one as usize] = next;
        self.thread_back[next as usize] = one;
    }

    /// Turns the way from `inner` up to `out` round, so that it hangs at `outer`.
    fn turn_stem(&mut self, Leaving { out, inner, outer }: Leaving, before_out: u32, last_of_out: u32) {
        let at = |node: u32| node as usize;
        let goes_on = if before_out == outer { self.thread[at(last_of_out)] } else { self.thread[at(outer)] };
        let (mut stem, mut stem_parent) = (inner, outer);
        let mut last = self.last[at(inner)];
        let mut after = self.thread[at(last)];
        self.thread[at(outer)] = inner;
        self.dirty.clear();
        self.dirty.push(outer);
        while stem != out {
            let next_stem = self.parent[at(stem)];
            self.thread[at(last)] = next_stem;
            self.dirty.push(last);
            let before = self.thread_back[at(stem)];
            self.link(before, after);
            self.parent[at(stem)] = stem_parent;
            stem_parent = stem;
            stem = next_stem;
            last = if self.last[at(stem)] == self.last[at(stem_parent)] {
                self.thread_back[at(stem_parent)]
            } else {
                self.last[at(stem)]
            };
            after = self.thread[at(last)];
        }
        self.parent[at(out)] = stem_parent;
        self.link(last, goes_on);
        self.last[at(out)] = last;
        if before_out != outer {
            self.link(before_out, after);
        }
        for index in 0..self.dirty.len() {
            let node = self.dirty[index];
            let next = self.thread[at(node)];
            self.thread_back[at(next)] = node;
        }
        let mut gathered: u32 = 0;
        let last_of_all = self.last[at(out)];
        let mut node = out;
        while node != inner {
            let parent = self.parent[at(node)];
            self.above[at(node)] = self.above[at(parent)];
            self.direction[at(node)] = -self.direction[at(parent)];
            gathered = gathered + self.below[at(node)] - self.below[at(parent)];
            self.below[at(node)] = gathered;
            self.last[at(parent)] = last_of_all;
            node = parent;
        }
    }

    fn update_last(&mut self, outer: u32, out: u32, out_parent: u32, before_out: u32, last_of_out: u32) {
        let at = |node: u32| node as usize;
        let stop = if self.last[at(self.join)] == outer { self.join } else { NONE };
        let last_of_moved = self.last[at(out)];
        let mut node = outer;
        while node != NONE && self.last[at(node)] == outer {
            self.last[at(node)] = last_of_moved;
            node = self.parent[at(node)];
        }
        let new = if self.join != before_out && outer != before_out {
            before_out
        } else if last_of_moved != last_of_out {
            last_of_moved
        } else {
            return;
        };
        let mut node = out_parent;
        while node != stop && node != NONE && self.last[at(node)] == last_of_out {
            self.last[at(node)] = new;
            node = self.parent[at(node)];
        }
    }

    fn answer(self, problem: &MinCostProblem) -> Result<MinCostFlow, FlowError> {
        let (nodes, arcs) = (problem.supplies.len(), self.real_arcs);
        if self.flow[arcs..].iter().any(|flow| *flow != 0) {
            return Err(self.infeasible(problem));
        }
        let flows: Vec<i64> =
            self.flow[..arcs].iter().zip(&problem.arcs).map(|(flow, arc)| flow + arc.lower).collect();
        let cost =
            flows.iter().zip(&problem.arcs).map(|(flow, arc)| i128::from(*flow) * i128::from(arc.cost));
        Ok(MinCostFlow { cost: cost.sum(), flows, potentials: self.potential[..nodes].to_vec() })
    }

    /// The nodes that what is left over can still reach: no arc that leaves them has room, and none that enters them can give
    /// anything back.
    fn infeasible(&self, problem: &MinCostProblem) -> FlowError {
        let nodes = problem.supplies.len();
        let mut out: Vec<Vec<u32>> = vec![Vec::new(); nodes];
        for arc in 0..self.real_arcs {
            if self.flow[arc] < self.capacity[arc] {
                out[self.from[arc] as usize].push(self.to[arc]);
            }
            if self.flow[arc] > 0 {
                out[self.to[arc] as usize].push(self.from[arc]);
            }
        }
        let mut cut = vec![false; nodes];
        let left_over = |node: &usize| {
            self.to[self.real_arcs + node] as usize == nodes && self.flow[self.real_arcs + node] > 0
        };
        let mut open: Vec<usize> = (0..nodes).filter(left_over).collect();
        let example = open.first().copied().unwrap_or_default();
        for node in &open {
            cut[*node] = true;
        }
        while let Some(node) = open.pop() {
            for next in &out[node] {
                if !std::mem::replace(&mut cut[*next as usize], true) {
                    open.push(*next as usize);
                }
            }
        }
        let short =
            (0..nodes).filter(left_over).map(|node| i128::from(self.flow[self.real_arcs + node])).sum();
        FlowError::Infeasible { nodes: cut.iter().filter(|inside| **inside).count(), example, short, cut }
    }
}
