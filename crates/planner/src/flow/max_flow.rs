//! Push and relabel: excess is pushed downhill, and a node that cannot push is lifted (Goldberg and Tarjan, "A New Approach to the
//! Maximum-Flow Problem", 1988). The highest node goes first; when a height has no nodes, those above it are cut off from the sink and
//! go back at once (gap heuristic); now and then all heights are set to true distances (global relabelling; both from Cherkassky
//! and Goldberg, "On Implementing the Push-Relabel Method", 1997). O(n² √m) steps.

use super::{FlowError, MaxFlow, MaxFlowProblem, check_arcs};

/// Work of a lift beside the arcs that it looks at, and the work after which all heights are set anew, in nodes: both from
/// Cherkassky and Goldberg.
const LIFT_WORK: usize = 12;
const NODE_WORK: usize = 6;
/// No node.
const NONE: u32 = u32::MAX;

/// Finds a flow that is as large as can be.
///
/// # Errors
/// [`FlowError::BadEnds`], and what is wrong with arcs.
pub fn max_flow(problem: &MaxFlowProblem) -> Result<MaxFlow, FlowError> {
    check_arcs(problem.nodes, &problem.arcs)?;
    let (source, sink) = (problem.source as usize, problem.sink as usize);
    if source >= problem.nodes || sink >= problem.nodes || source == sink {
        return Err(FlowError::BadEnds);
    }
    if let Some(arc) = problem.arcs.iter().position(|arc| arc.lower != 0) {
        return Err(FlowError::BadArc { arc, why: "in a maximum flow there are no lower bounds" });
    }
    let mut network = Network::new(problem);
    network.run();
    Ok(network.answer(problem))
}

struct Network {
    source: usize,
    sink: usize,
    // Residual arcs, by the node that they leave.
    first: Vec<u32>,
    head: Vec<u32>,
    back: Vec<u32>,
    room: Vec<i64>,
    /// The residual arc of each arc; `NONE` for a loop.
    place: Vec<u32>,
    excess: Vec<i64>,
    height: Vec<u32>,
    current: Vec<u32>,
    /// Nodes with excess, by height.
    active: Vec<Vec<u32>>,
    highest: usize,
    /// All nodes below the number of nodes, by height: a list for each.
    at_height: Vec<u32>,
    next: Vec<u32>,
    previous: Vec<u32>,
    work: usize,
}

impl Network {
    fn new(problem: &MaxFlowProblem) -> Self {
        let nodes = problem.nodes;
        let real = || problem.arcs.iter().filter(|arc| arc.from != arc.to);
        let mut first = vec![0_u32; nodes + 1];
        for arc in real() {
            first[arc.from as usize + 1] += 1;
            first[arc.to as usize + 1] += 1;
        }
        for node in 0..nodes {
            first[node + 1] += first[node];
        }
        let count = first[nodes] as usize;
        let (mut head, mut back, mut room) = (vec![0; count], vec![0; count], vec![0; count]);
        let mut free = first.clone();
        let mut take = |node: u32| {
            let place = free[node as usize];
            free[node as usize] += 1;
            place
        };
        let place = |arc: &super::Arc| {
            if arc.from == arc.to {
                return NONE;
            }
            let (forward, backward) = (take(arc.from), take(arc.to));
            head[forward as usize] = arc.to;
            head[backward as usize] = arc.from;
            back[forward as usize] = backward;
            back[backward as usize] = forward;
            room[forward as usize] = arc.capacity;
            forward
        };
        let place = problem.arcs.iter().map(place).collect();
        Self {
            source: problem.source as usize,
            sink: problem.sink as usize,
            current: first[..nodes].to_vec(),
            first,
            head,
            back,
            room,
            place,
            excess: vec![0; nodes],
            height: vec![0; nodes],
            active: vec![Vec::new(); 2 * nodes + 1],
            highest: 0,
            at_height: vec![NONE; nodes],
            next: vec![NONE; nodes],
            previous: vec![NONE; nodes],
            work: 0,
        }
    }

    fn nodes(&self) -> usize {
        self.excess.len()
    }

    fn arcs_of(&self, node: usize) -> std::ops::Range<usize> {
        self.first[node] as usize..self.first[node + 1] as usize
    }

    fn run(&mut self) {
        for arc in self.arcs_of(self.source) {
            let (to, room) = (self.head[arc] as usize, self.room[arc]);
            if room > 0 {
                self.room[arc] = 0;
                self.room[self.back[arc] as usize] += room;
                self.excess[to] += room;
                self.excess[self.source] -= room;
            }
        }
        self.relabel_all();
        let enough = NODE_WORK * self.nodes() + self.head.len() / 2;
        loop {
            while let Some(node) = self.active[self.highest].pop() {
                // Lifted, or sent back, since it was put here.
                if self.height[node as usize] as usize == self.highest && self.excess[node as usize] > 0 {
                    self.discharge(node as usize);
                }
                if self.work > enough {
                    self.relabel_all();
                }
            }
            if self.highest == 0 {
                return;
            }
            self.highest -= 1;
        }
    }

    fn discharge(&mut self, node: usize) {
        let end = self.first[node + 1] as usize;
        loop {
            let mut arc = self.current[node] as usize;
            while arc < end {
                let to = self.head[arc] as usize;
                if self.room[arc] > 0 && self.height[node] == self.height[to] + 1 {
                    self.push(node, arc, to);
                    if self.excess[node] == 0 {
                        self.current[node] = arc as u32;
                        return;
                    }
                }
                arc += 1;
            }
            if !self.lift(node) {
                return;
            }
        }
    }

    fn push(&mut self, node: usize, arc: usize, to: usize) {
        let amount = self.excess[node].min(self.room[arc]);
        self.room[arc] -= amount;
        self.room[self.back[arc] as usize] += amount;
        self.excess[node] -= amount;
        if self.excess[to] == 0 && to != self.source && to != self.sink {
            self.active[self.height[to] as usize].push(to as u32);
        }
        self.excess[to] += amount;
    }

    /// Lifts a node just above the lowest that it could push to. False if it is to be looked at later.
    fn lift(&mut self, node: usize) -> bool {
        let old = self.height[node] as usize;
        let arcs = self.arcs_of(node);
        self.work += LIFT_WORK + arcs.len();
        let mut lowest = u32::MAX;
        for arc in arcs {
            let height = self.height[self.head[arc] as usize];
            if self.room[arc] > 0 && height < lowest {
                lowest = height;
                self.current[node] = arc as u32;
            }
        }
        // What has excess got it from somewhere, so there is a way back.
        let new = lowest.saturating_add(1).min(2 * self.nodes() as u32);
        self.leave_height(node);
        self.height[node] = new;
        self.enter_height(node);
        if old < self.nodes() && self.at_height[old] == NONE {
            self.close_gap(old);
        }
        let new = self.height[node] as usize;
        if new >= self.active.len() - 1 {
            return false;
        }
        if new > self.highest {
            self.highest = new;
        }
        true
    }

    /// No node is at this height any more, so what is above it has no way to the sink.
    fn close_gap(&mut self, gap: usize) {
        let nodes = self.nodes();
        for height in gap + 1..nodes {
            while self.at_height[height] != NONE {
                let node = self.at_height[height] as usize;
                self.leave_height(node);
                self.height[node] = nodes as u32 + 1;
                self.current[node] = self.first[node];
                if self.excess[node] > 0 && node != self.source && node != self.sink {
                    self.active[nodes + 1].push(node as u32);
                    self.highest = self.highest.max(nodes + 1);
                }
            }
        }
    }

    fn enter_height(&mut self, node: usize) {
        let height = self.height[node] as usize;
        if height < self.nodes() {
            let other = self.at_height[height];
            self.next[node] = other;
            self.previous[node] = NONE;
            if other != NONE {
                self.previous[other as usize] = node as u32;
            }
            self.at_height[height] = node as u32;
        }
    }

    fn leave_height(&mut self, node: usize) {
        let height = self.height[node] as usize;
        if height < self.nodes() {
            let (next, previous) = (self.next[node], self.previous[node]);
            if previous == NONE {
                self.at_height[height] = next;
            } else {
                self.next[previous as usize] = next;
            }
            if next != NONE {
                self.previous[next as usize] = previous;
            }
        }
    }

    /// Sets all heights to distances: to the sink, or, where it cannot be reached, to the source.
    fn relabel_all(&mut self) {
        let nodes = self.nodes();
        self.work = 0;
        self.height.fill(2 * nodes as u32);
        self.at_height.fill(NONE);
        self.active.iter_mut().for_each(Vec::clear);
        self.spread(self.sink, 0);
        self.spread(self.source, nodes as u32);
        self.highest = 0;
        for node in 0..nodes {
            self.current[node] = self.first[node];
            self.enter_height(node);
            if self.excess[node] > 0 && node != self.source && node != self.sink {
                let height = self.height[node] as usize;
                self.active[height].push(node as u32);
                self.highest = self.highest.max(height);
            }
        }
    }

    /// Breadth first against the arcs with room, from a node that gets this height.
    fn spread(&mut self, start: usize, height: u32) {
        let unset = 2 * self.nodes() as u32;
        self.height[start] = height;
        let mut open = vec![start as u32];
        let mut at = 0;
        while let Some(&node) = open.get(at) {
            at += 1;
            for arc in self.arcs_of(node as usize) {
                let from = self.head[arc] as usize;
                // The source is never passed on the way to the sink: it stays as high as there are nodes.
                if self.height[from] == unset && from != self.source && self.room[self.back[arc] as usize] > 0
                {
                    self.height[from] = self.height[node as usize] + 1;
                    open.push(from as u32);
                }
            }
        }
    }

    fn answer(mut self, problem: &MaxFlowProblem) -> MaxFlow {
        let flow = |(arc, place): (&super::Arc, &u32)| {
            if *place == NONE { 0 } else { arc.capacity - self.room[*place as usize] }
        };
        let flows = problem.arcs.iter().zip(&self.place).map(flow).collect();
        let unset = 2 * self.nodes() as u32;
        self.height.fill(unset);
        self.spread(self.sink, 0);
        let cut = self.height.iter().map(|height| *height == unset).collect();
        MaxFlow { value: self.excess[self.sink], flows, cut }
    }
}
