//! The plan that a search works on: for each processor a sequence of tasks, each as early as can be. It keeps, for every task, its
//! **start** (the longest path to it) and its **rest** (the longest path from its start to the end of all), over edges and
//! sequences alike; after a change only what it reaches is computed again.
//!
//! A task is **lifted** out of its sequence and **put** into another place. While it is lifted, starts and rests of the others
//! do not depend on where it will stand, so the makespan of *every* place is known exactly without trying one: between `a` and
//! `b` on processor `p` it is the greater of the makespan without the task and
//!
//! ```text
//! max(data is there, finish(a)) + cost(p) + max(rest of what needs its data, rest(b))
//! ```
//!
//! (for the flexible job shop: Mastrolilli and Gambardella, "Effective Neighbourhood Functions for the Flexible Job Shop
//! Problem", J. of Scheduling 3(1), 2000; here with delays and all processors.) `finish(a)` rises along a sequence and `rest(b)`
//! falls, so the best place is found by bisection.
//!
//! All tasks stand in one linear order, in which everything follows what it waits for. A place is allowed if it keeps to that
//! order, which makes cycles impossible and costs few places, as the order is that of the starts.

use super::{Placed, Schedule, TaskGraph, bits::Bits, chance::exponential};
use crate::Random;

/// No task.
const NONE: u32 = u32::MAX;

/// What is known of a task, together: it is read together.
#[derive(Debug, Clone, Copy)]
struct Slot {
    start: i64,
    finish: i64,
    rest: i64,
    cost: i64,
    processor: u32,
    /// Place in the linear order.
    position: u32,
    /// Neighbours in the sequence.
    before: u32,
    after: u32,
}

/// A place for a lifted task.
#[derive(Debug, Clone, Copy)]
pub(super) struct Place {
    processor: u32,
    cost: i64,
    /// Index in the sequence.
    index: usize,
    /// Length of the longest path through the task.
    pub(super) length: i64,
}

#[derive(Debug)]
pub(super) struct Plan<'g> {
    graph: &'g TaskGraph,
    slots: Vec<Slot>,
    order: Vec<u32>,
    lanes: Vec<Vec<u32>>,
    /// Places of the order that have to be looked at.
    changed: Bits,
    /// What the last lift changed, with what it was before: a task that goes back where it was takes all of that back.
    undo: Vec<(u32, Slot)>,
    home: Option<Home>,
}

/// Where a lifted task was, if nothing was moved since.
#[derive(Debug, Clone, Copy)]
struct Home {
    task: u32,
    processor: u32,
    index: usize,
}

impl Clone for Plan<'_> {
    fn clone(&self) -> Self {
        Self {
            graph: self.graph,
            slots: self.slots.clone(),
            order: self.order.clone(),
            lanes: self.lanes.clone(),
            changed: self.changed.clone(),
            undo: Vec::new(),
            home: None,
        }
    }

    /// Without asking for memory.
    fn clone_from(&mut self, other: &Self) {
        self.slots.clone_from(&other.slots);
        self.order.clone_from(&other.order);
        self.lanes.clone_from(&other.lanes);
        self.changed.clone_from(&other.changed);
        self.home = None;
    }
}

impl<'g> Plan<'g> {
    /// Everything in this order, which keeps to the edges, on these processors; what is nowhere is lifted.
    pub(super) fn new(graph: &'g TaskGraph, order: Vec<u32>, processor: impl Fn(u32) -> u32) -> Self {
        let slot = |task: u32| Slot {
            start: 0,
            finish: 0,
            rest: 0,
            cost: 0,
            processor: processor(task),
            position: 0,
            before: NONE,
            after: NONE,
        };
        let mut plan = Self {
            graph,
            slots: (0..order.len() as u32).map(slot).collect(),
            changed: Bits::new(order.len()),
            order,
            lanes: vec![Vec::new(); graph.processors()],
            undo: Vec::new(),
            home: None,
        };
        plan.link();
        plan
    }

    /// The sequences of a schedule.
    pub(super) fn of(graph: &'g TaskGraph, schedule: &Schedule) -> Self {
        let mut place = vec![0; graph.tasks()];
        for (index, task) in graph.topological().iter().enumerate() {
            place[*task as usize] = index;
        }
        // What begins at once and takes no time keeps to the edges.
        let mut order: Vec<u32> = graph.topological().to_vec();
        order.sort_by_key(|task| {
            let placed = schedule.placed[*task as usize];
            (placed.start, placed.finish, place[*task as usize])
        });
        Self::new(graph, order, |task| schedule.placed[task as usize].processor)
    }

    /// Puts all tasks into other places at once.
    pub(super) fn reset(&mut self, order: &[u32], processor: impl Fn(u32) -> u32) {
        self.order.clear();
        self.order.extend_from_slice(order);
        for task in order {
            self.slots[*task as usize].processor = processor(*task);
        }
        self.link();
    }

    /// Sequences, starts and rests from the order and the processors.
    fn link(&mut self) {
        self.home = None;
        for lane in &mut self.lanes {
            lane.clear();
        }
        for (position, task) in self.order.iter().enumerate() {
            let slot = &mut self.slots[*task as usize];
            slot.position = position as u32;
            (slot.before, slot.after) = (NONE, NONE);
            if slot.processor == self.graph.nowhere() {
                slot.cost = self.graph.least(*task);
                continue;
            }
            let lane = &mut self.lanes[self.slots[*task as usize].processor as usize];
            let before = lane.last().copied().unwrap_or(NONE);
            if before != NONE {
                self.slots[before as usize].after = *task;
            }
            let slot = &mut self.slots[*task as usize];
            slot.cost = self.graph.cost(*task, slot.processor).unwrap_or_default();
            slot.before = before;
            lane.push(*task);
        }
        for place in 0..self.order.len() {
            self.start_again(self.order[place]);
        }
        for place in (0..self.order.len()).rev() {
            self.rest_again(self.order[place]);
        }
        self.undo.clear();
    }

    pub(super) fn tasks(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn graph(&self) -> &'g TaskGraph {
        self.graph
    }

    pub(super) fn order(&self) -> &[u32] {
        &self.order
    }

    pub(super) fn processor(&self, task: u32) -> u32 {
        self.slots[task as usize].processor
    }

    /// The task before in the sequence.
    pub(super) fn previous(&self, task: u32) -> Option<u32> {
        Some(self.slots[task as usize].before).filter(|before| *before != NONE)
    }

    /// The task behind in the sequence.
    pub(super) fn next(&self, task: u32) -> Option<u32> {
        Some(self.slots[task as usize].after).filter(|after| *after != NONE)
    }

    /// Sorts tasks by the linear order.
    pub(super) fn sort_by_position(&self, tasks: &mut [u32]) {
        tasks.sort_unstable_by_key(|task| self.slots[*task as usize].position);
    }

    /// When all that is not lifted is finished.
    pub(super) fn makespan(&self) -> i64 {
        let last = self.lanes.iter().filter_map(|lane| lane.last());
        last.map(|task| self.slots[*task as usize].finish).max().unwrap_or_default()
    }

    pub(super) fn schedule(&self) -> Schedule {
        let placed = self.slots.iter().map(|slot| Placed {
            processor: slot.processor,
            start: slot.start,
            finish: slot.finish,
        });
        Schedule { placed: placed.collect() }
    }

    /// A task on a longest path: the first one from a place of the order on.
    pub(super) fn critical(&self, from: usize) -> u32 {
        let makespan = self.makespan();
        let on_path = |task: &&u32| {
            let slot = &self.slots[**task as usize];
            slot.start + slot.rest == makespan
        };
        let (head, tail) = self.order.split_at(from);
        tail.iter().chain(head).find(on_path).copied().unwrap_or_default()
    }

    /// Takes a task out of its sequence.
    pub(super) fn lift(&mut self, task: u32) {
        let Slot { processor, before, after, .. } = self.slots[task as usize];
        let index = self.index_from(processor, self.slots[task as usize].position);
        self.lanes[processor as usize].remove(index);
        if before != NONE {
            self.slots[before as usize].after = after;
        }
        if after != NONE {
            self.slots[after as usize].before = before;
        }
        let slot = &mut self.slots[task as usize];
        (slot.processor, slot.before, slot.after) = (self.graph.nowhere(), NONE, NONE);
        slot.cost = self.graph.least(task);
        self.undo.clear();
        self.home = None;
        self.moved(task, before, after);
        self.home = Some(Home { task, processor, index });
    }

    /// The place of a lifted task with the shortest path after exponential noise of this mean is added; of equals any.
    pub(super) fn best_place(&self, task: u32, random: &mut Random, noise: i64) -> Place {
        self.best_place_where(task, random, noise, |_| true)
    }

    /// The same of the processors that may be; one of them has to be one where the task can run.
    pub(super) fn best_place_where(
        &self,
        task: u32,
        random: &mut Random,
        noise: i64,
        may_be: impl Fn(u32) -> bool,
    ) -> Place {
        let mut best = Place { processor: 0, cost: 0, index: 0, length: i64::MAX };
        let mut best_score = i64::MAX;
        let mut equals = 0;
        let (low, high) = self.window(task);
        for choice in self.graph.choices(task).iter().filter(|choice| may_be(choice.processor)) {
            let (processor, cost) = (choice.processor, choice.cost);
            let (mut ready, mut need) = (self.graph.release(task, processor), 0);
            for before in self.graph.before(task) {
                let slot = &self.slots[before.task as usize];
                ready = ready.max(slot.finish + self.graph.delay(before.data, slot.processor, processor));
            }
            for after in self.graph.after(task) {
                let slot = &self.slots[after.task as usize];
                need = need.max(slot.rest + self.graph.delay(after.data, processor, slot.processor));
            }
            if ready + cost + need > best_score {
                continue;
            }
            let any = Place { processor, cost, index: 0, length: 0 };
            let (place, score) = self.gap(any, (ready, need), (low, high), random, noise);
            equals = if score == best_score { equals + 1 } else { 1 };
            if score < best_score || (score == best_score && random.below(equals) == 0) {
                (best, best_score) = (place, score);
            }
        }
        best
    }

    /// The best gap of a sequence within the window, and its length with noise.
    fn gap(
        &self,
        place: Place,
        (ready, need): (i64, i64),
        (low, high): (u32, u32),
        random: &mut Random,
        noise: i64,
    ) -> (Place, i64) {
        let lane = &self.lanes[place.processor as usize];
        // Gap `i` is before the task `lane[i]`; it may be `first..=last`.
        let first = self.index_from(place.processor, low);
        let last = first + lane[first..].partition_point(|task| self.slots[*task as usize].position < high);
        // The last gap that does not delay the task, and the first that does not delay what follows. At the edges of the window a
        // neighbour outside of it may still be in the way.
        let no_wait =
            first + lane[first..last].partition_point(|task| self.slots[*task as usize].finish <= ready);
        let no_delay =
            first + lane[first..last].partition_point(|task| self.slots[*task as usize].rest > need);
        let at = |index: usize| {
            let before = if index == 0 { 0 } else { self.slots[lane[index - 1] as usize].finish };
            let after = lane.get(index).map_or(0, |task| self.slots[*task as usize].rest);
            Place { index, length: ready.max(before) + place.cost + need.max(after), ..place }
        };
        let scored = |place: Place, random: &mut Random| {
            if noise == 0 { place.length } else { place.length + exponential(random, noise) }
        };
        if no_delay <= no_wait {
            // All of these are equally good.
            let place = at(no_delay + random.below((no_wait - no_delay + 1) as u32) as usize);
            return (place, scored(place, random));
        }
        let mut best = (place, i64::MAX);
        for index in no_wait..=no_delay {
            let place = at(index);
            let score = scored(place, random);
            if score < best.1 {
                best = (place, score);
            }
        }
        best
    }

    /// The first index of a sequence whose task stands at this place of the order or behind it.
    fn index_from(&self, processor: u32, position: u32) -> usize {
        self.lanes[processor as usize].partition_point(|task| self.slots[*task as usize].position < position)
    }

    /// The places of the order between what a task waits for and what waits for it: from the first to before the second.
    fn window(&self, task: u32) -> (u32, u32) {
        let low = self.graph.before(task).iter().map(|before| self.slots[before.task as usize].position + 1);
        let high = self.graph.after(task).iter().map(|after| self.slots[after.task as usize].position);
        (low.max().unwrap_or_default(), high.min().unwrap_or(self.order.len() as u32))
    }

    /// Puts a lifted task into a place.
    pub(super) fn put(&mut self, task: u32, place: Place) {
        let home = self.home.take();
        let lane = &mut self.lanes[place.processor as usize];
        lane.insert(place.index, task);
        let before = if place.index == 0 { NONE } else { lane[place.index - 1] };
        let after = lane.get(place.index + 1).copied().unwrap_or(NONE);
        let (mut low, mut high) = self.window(task);
        if before != NONE {
            self.slots[before as usize].after = task;
            low = low.max(self.slots[before as usize].position + 1);
        }
        if after != NONE {
            self.slots[after as usize].before = task;
            high = high.min(self.slots[after as usize].position);
        }
        let slot = &mut self.slots[task as usize];
        (slot.processor, slot.before, slot.after) = (place.processor, before, after);
        slot.cost = place.cost;
        let came_from = home.filter(|home| home.task == task && home.processor == place.processor);
        if came_from.is_some_and(|home| home.index == place.index) {
            while let Some((task, was)) = self.undo.pop() {
                let slot = &mut self.slots[task as usize];
                (slot.start, slot.finish, slot.rest) = (was.start, was.finish, was.rest);
            }
            return;
        }
        self.move_between(task, low, high);
        self.moved(task, before, after);
        self.undo.clear();
    }

    /// Computes again what a task reaches that is at another place now: also where its own times are the same, delays are not.
    fn moved(&mut self, task: u32, before: u32, after: u32) {
        self.touch(task);
        self.touch_if(after);
        for after in self.graph.after(task) {
            self.touch(after.task);
        }
        self.starts();
        self.touch(task);
        self.touch_if(before);
        for before in self.graph.before(task) {
            self.touch(before.task);
        }
        self.rests();
    }

    /// Moves a task within the order to where its start belongs, from `low` to before `high`.
    fn move_between(&mut self, task: u32, low: u32, high: u32) {
        let start = self.path_to(task);
        let earlier = |task: &u32| self.slots[*task as usize].start < start;
        let mut to = low + self.order[low as usize..high as usize].partition_point(earlier) as u32;
        let from = self.slots[task as usize].position;
        if to > from {
            to -= 1;
            self.order.copy_within(from as usize + 1..=to as usize, from as usize);
        } else {
            self.order.copy_within(to as usize..from as usize, to as usize + 1);
        }
        self.order[to as usize] = task;
        for place in from.min(to)..=from.max(to) {
            self.slots[self.order[place as usize] as usize].position = place;
        }
    }

    /// Sorts the order by starts again: with time places drift apart, and windows become small.
    pub(super) fn sort(&mut self) {
        let slots = &self.slots;
        // Stable: what starts together keeps to what it waits for.
        self.order.sort_by_key(|task| slots[*task as usize].start);
        for (place, task) in self.order.iter().enumerate() {
            self.slots[*task as usize].position = place as u32;
        }
    }

    fn touch(&mut self, task: u32) {
        self.changed.set(self.slots[task as usize].position as usize);
    }

    fn touch_if(&mut self, task: u32) {
        if task != NONE {
            self.touch(task);
        }
    }

    /// Computes starts again, from the first task that was touched on.
    fn starts(&mut self) {
        let mut word = 0;
        while let Some(place) = self.changed.take_first(&mut word) {
            let task = self.order[place];
            if self.start_again(task) {
                for after in self.graph.after(task) {
                    self.changed.set(self.slots[after.task as usize].position as usize);
                }
                self.touch_if(self.slots[task as usize].after);
            }
        }
    }

    /// Computes rests again, from the last task that was touched back.
    fn rests(&mut self) {
        let mut word = self.changed.words();
        while let Some(place) = self.changed.take_last(&mut word) {
            let task = self.order[place];
            if self.rest_again(task) {
                for before in self.graph.before(task) {
                    self.changed.set(self.slots[before.task as usize].position as usize);
                }
                self.touch_if(self.slots[task as usize].before);
            }
        }
    }

    /// The longest path to the start of a task.
    fn path_to(&self, task: u32) -> i64 {
        let Slot { processor, before, .. } = self.slots[task as usize];
        let mut start = self.graph.release(task, processor);
        if before != NONE {
            start = start.max(self.slots[before as usize].finish);
        }
        for before in self.graph.before(task) {
            let from = &self.slots[before.task as usize];
            start = start.max(from.finish + self.graph.delay(before.data, from.processor, processor));
        }
        start
    }

    /// Whether the start or the finish changed.
    fn start_again(&mut self, task: u32) -> bool {
        let start = self.path_to(task);
        let slot = &mut self.slots[task as usize];
        let finish = start + slot.cost;
        if (slot.start, slot.finish) == (start, finish) {
            return false;
        }
        self.undo.push((task, *slot));
        (slot.start, slot.finish) = (start, finish);
        true
    }

    /// Whether the rest changed.
    fn rest_again(&mut self, task: u32) -> bool {
        let Slot { processor, after, cost, .. } = self.slots[task as usize];
        let mut rest = if after == NONE { 0 } else { self.slots[after as usize].rest };
        for after in self.graph.after(task) {
            let to = &self.slots[after.task as usize];
            rest = rest.max(to.rest + self.graph.delay(after.data, processor, to.processor));
        }
        rest += cost;
        let slot = &mut self.slots[task as usize];
        if slot.rest == rest {
            return false;
        }
        self.undo.push((task, *slot));
        slot.rest = rest;
        true
    }
}

#[cfg(test)]
mod tests;
