//! List schedulers: tasks one after the other, each at the place that looks best when its turn comes. They differ in whose turn
//! it is and in what looks best. Each fills gaps between tasks that are placed already (insertion).

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    Placed, Schedule, TaskGraph,
    graph::Choice,
    ranks::{Means, Stands},
};

/// Ready tasks times processors that the batch rules compare at most, but always so many tasks; the others wait.
const BATCH_FINISHES_MAX: usize = 1 << 13;
const BATCH_MIN: usize = 8;

/// Which of the ready tasks is next, by the batch rules of Maheswaran et al. ("Dynamic Mapping of a Class of Independent Tasks
/// onto Heterogeneous Computing Systems", JPDC 59, 1999).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Batch {
    /// The one that can be finished first.
    MinMin,
    /// The one that is finished last, each at its best place.
    MaxMin,
    /// The one that would lose most at its second-best place.
    Sufferage,
}

/// Schedules that are being built.
struct Builder<'g> {
    graph: &'g TaskGraph,
    /// By processor, busy times in order; between two of them is a gap, so that few have to be looked at.
    busy: Vec<Vec<(i64, i64)>>,
    placed: Vec<Placed>,
    /// By task and processor, when the data of all tasks that were placed is there.
    arrives: Vec<i64>,
    /// By task, how many tasks before it are not placed.
    waits: Vec<u32>,
    /// Processors to keep to, if a task can run there.
    allowed: Option<&'g [bool]>,
}

impl<'g> Builder<'g> {
    fn new(graph: &'g TaskGraph, allowed: Option<&'g [bool]>) -> Self {
        Self {
            graph,
            busy: vec![Vec::new(); graph.processors()],
            placed: vec![Placed { processor: 0, start: 0, finish: 0 }; graph.tasks()],
            arrives: vec![0; graph.tasks() * graph.processors()],
            waits: (0..graph.tasks() as u32).map(|task| graph.before(task).len() as u32).collect(),
            allowed,
        }
    }

    fn choices(&self, task: u32) -> impl Iterator<Item = Choice> + Clone {
        let choices = self.graph.choices(task);
        let allowed =
            self.allowed.filter(|allowed| choices.iter().any(|choice| allowed[choice.processor as usize]));
        let may = move |choice: &&Choice| allowed.is_none_or(|allowed| allowed[choice.processor as usize]);
        choices.iter().filter(may).copied()
    }

    fn arrives(&self, task: u32, processor: u32) -> i64 {
        self.arrives[task as usize * self.busy.len() + processor as usize]
    }

    /// When a task that is `ready` then and takes `cost` can be finished on the processor, in the first gap that holds it; or
    /// a later tick than `limit`, if that is before.
    fn fits(&self, processor: u32, ready: i64, cost: i64, limit: i64) -> i64 {
        let busy = &self.busy[processor as usize];
        let mut finish = ready + cost;
        let first = busy.partition_point(|(_, end)| *end <= ready);
        for (begin, end) in &busy[first..] {
            if finish <= *begin || finish > limit {
                break;
            }
            finish = finish.max(*end + cost);
        }
        finish
    }

    fn finish(&self, task: u32, choice: Choice, limit: i64) -> i64 {
        self.fits(choice.processor, self.arrives(task, choice.processor), choice.cost, limit)
    }

    /// Places a task so that it is finished then; returns what became ready.
    fn place(&mut self, task: u32, choice: Choice, finish: i64, freed: &mut Vec<u32>) {
        let start = finish - choice.cost;
        self.placed[task as usize] = Placed { processor: choice.processor, start, finish };
        occupy(&mut self.busy[choice.processor as usize], start, finish);
        let processors = self.busy.len();
        for after in self.graph.after(task) {
            let row = &mut self.arrives[after.task as usize * processors..][..processors];
            for (processor, arrives) in row.iter_mut().enumerate() {
                let delay = self.graph.delay(after.data, choice.processor, processor as u32);
                *arrives = (*arrives).max(finish + delay);
            }
            self.waits[after.task as usize] -= 1;
            if self.waits[after.task as usize] == 0 {
                freed.push(after.task);
            }
        }
    }

    /// Where the task is finished first; of equals the first processor.
    fn soonest(&self, task: u32) -> (Choice, i64) {
        self.cheapest(task, |_| 0)
    }

    /// Where the task's finish and what is `added` for the processor are least together, and when it is finished there.
    fn cheapest(&self, task: u32, added: impl Fn(Choice) -> i64) -> (Choice, i64) {
        let mut best = (Choice { processor: 0, cost: 0 }, 0);
        let mut least = i64::MAX;
        for choice in self.choices(task) {
            let added = added(choice);
            let finish = self.finish(task, choice, least.saturating_sub(added));
            if finish + added < least {
                (best, least) = ((choice, finish), finish + added);
            }
        }
        best
    }

    fn ready(&self) -> Vec<u32> {
        (0..self.graph.tasks() as u32).filter(|task| self.waits[*task as usize] == 0).collect()
    }

    fn schedule(self) -> Schedule {
        Schedule { placed: self.placed }
    }

    /// Always the ready task of the highest rank (of equals the first), where `choose` says.
    fn by_rank(mut self, rank: &[i64], choose: impl Fn(&Self, u32) -> (Choice, i64)) -> Schedule {
        let key = |task: u32| (rank[task as usize], Reverse(task));
        let mut ready: BinaryHeap<_> = self.ready().into_iter().map(key).collect();
        let mut freed = Vec::new();
        while let Some((_, Reverse(task))) = ready.pop() {
            let (choice, finish) = choose(&self, task);
            self.place(task, choice, finish, &mut freed);
            ready.extend(freed.drain(..).map(key));
        }
        self.schedule()
    }
}

/// Adds a time to busy times that it does not overlap. One without length counts too: nothing may run across it.
fn occupy(busy: &mut Vec<(i64, i64)>, start: i64, finish: i64) {
    let next = busy.partition_point(|time| *time < (start, finish));
    let touches_next = busy.get(next).is_some_and(|(begin, _)| *begin == finish);
    let touches_last = next > 0 && busy[next - 1].1 == start;
    match (touches_last, touches_next) {
        (true, true) => busy[next - 1].1 = busy.remove(next).1,
        (true, false) => busy[next - 1].1 = finish,
        (false, true) => busy[next].0 = start,
        (false, false) => busy.insert(next, (start, finish)),
    }
}

/// HEFT: by upward rank, where the task is finished first (Topcuoglu, Hariri and Wu, "Performance-Effective and Low-Complexity Task
/// Scheduling for Heterogeneous Computing", IEEE TPDS 13(3), 2002).
pub(super) fn heft(graph: &TaskGraph) -> Schedule {
    by_rank(graph, &Means::new(graph, Stands::Mean, 4).upward(), None)
}

/// By any rank, where the task is finished first.
pub(super) fn by_rank(graph: &TaskGraph, rank: &[i64], allowed: Option<&[bool]>) -> Schedule {
    // The builder lives no longer than this call.
    Builder::new(graph, allowed).by_rank(rank, Builder::soonest)
}

/// PEFT: by the mean of the optimistic cost table, where finish and table together are least (Arabnejad and Barbosa, "List
/// Scheduling Algorithm for Heterogeneous Systems by an Optimistic Cost Table", IEEE TPDS 25(3), 2014).
pub(super) fn peft(graph: &TaskGraph) -> Schedule {
    let means = Means::new(graph, Stands::Mean, 4);
    let table = means.optimistic();
    let processors = graph.processors();
    let rows = table.chunks_exact(processors.max(1));
    let mean = |row: &[i64]| row.iter().map(|way| i128::from(*way)).sum::<i128>() / processors as i128;
    let rank: Vec<i64> = rows.map(|row| mean(row) as i64).collect();
    by_table(graph, &rank, &table)
}

/// By any rank, where finish and optimistic cost together are least.
pub(super) fn by_table(graph: &TaskGraph, rank: &[i64], table: &[i64]) -> Schedule {
    let processors = graph.processors();
    Builder::new(graph, None).by_rank(rank, |builder, task| {
        builder.cheapest(task, |choice| table[task as usize * processors + choice.processor as usize])
    })
}

/// Look-ahead: by upward rank, where the tasks that follow can be finished first, each at its best place (Bittencourt, Sakellariou
/// and Madeira, "DAG Scheduling Using a Lookahead Variant of the Heterogeneous Earliest Finish Time Algorithm", PDP 2010).
pub(super) fn look_ahead(graph: &TaskGraph) -> Schedule {
    look_ahead_by(graph, &Means::new(graph, Stands::Mean, 4).upward())
}

pub(super) fn look_ahead_by(graph: &TaskGraph, rank: &[i64]) -> Schedule {
    Builder::new(graph, None).by_rank(rank, |builder, task| {
        let mut best = (Choice { processor: 0, cost: 0 }, 0);
        let mut least = i64::MAX;
        for choice in builder.choices(task) {
            let finish = builder.finish(task, choice, i64::MAX);
            let follow = graph.after(task).iter().map(|after| {
                let mut soonest = i64::MAX;
                for next in builder.choices(after.task) {
                    let comes = finish + graph.delay(after.data, choice.processor, next.processor);
                    let ready = builder.arrives(after.task, next.processor).max(comes);
                    soonest = soonest.min(builder.fits(next.processor, ready, next.cost, soonest));
                }
                soonest
            });
            let done = follow.max().unwrap_or(finish);
            if done < least {
                (best, least) = ((choice, finish), done);
            }
        }
        best
    })
}

/// CPOP: by upward and downward rank together; those of the critical path on the processor that runs all of it soonest (in HEFT's
/// paper).
pub(super) fn cpop(graph: &TaskGraph) -> Schedule {
    let means = Means::new(graph, Stands::Mean, 4);
    let (up, down) = (means.upward(), means.downward());
    let rank: Vec<i64> = up.iter().zip(&down).map(|(up, down)| up + down).collect();
    let longest = rank.iter().max().copied().unwrap_or_default();
    // One path: from a first task always to the next that is on a longest path.
    let on_path = |task: &u32| rank[*task as usize] == longest;
    let firsts = graph.topological().iter().copied().filter(|task| graph.before(*task).is_empty());
    let mut critical = vec![false; graph.tasks()];
    let mut at = firsts.into_iter().find(on_path);
    while let Some(task) = at {
        critical[task as usize] = true;
        at = graph.after(task).iter().map(|after| after.task).find(on_path);
    }
    let mut sums = vec![Some(0_i64); graph.processors()];
    for task in (0..graph.tasks() as u32).filter(|task| critical[*task as usize]) {
        for (processor, sum) in sums.iter_mut().enumerate() {
            *sum = sum.zip(graph.cost(task, processor as u32)).map(|(sum, cost)| sum + cost);
        }
    }
    let sums = sums.iter().enumerate().filter_map(|(processor, sum)| sum.map(|sum| (sum, processor)));
    // None can run all of the path: then its tasks go where they are finished first too.
    let pinned = sums.min().map(|(_, processor)| processor as u32);
    Builder::new(graph, None).by_rank(&rank, |builder, task| {
        let mut choices = graph.choices(task).iter();
        let there = choices.find(|choice| Some(choice.processor) == pinned);
        match there.filter(|_| critical[task as usize]) {
            Some(choice) => (*choice, builder.finish(task, *choice, i64::MAX)),
            None => builder.soonest(task),
        }
    })
}

/// The batch rules. For each ready task the finish on every processor is kept, and looked for anew only where the task that was
/// placed took its time.
pub(super) fn batch(graph: &TaskGraph, rule: Batch) -> Schedule {
    struct Ready {
        task: u32,
        finishes: Vec<(Choice, i64)>,
    }
    let most = (BATCH_FINISHES_MAX / graph.processors().max(1)).max(BATCH_MIN);
    let mut builder = Builder::new(graph, None);
    let mut waiting = std::collections::VecDeque::from(builder.ready());
    let mut ready: Vec<Ready> = Vec::new();
    let mut freed = Vec::new();
    loop {
        while ready.len() < most
            && let Some(task) = waiting.pop_front()
        {
            let finish = |choice: &Choice| (*choice, builder.finish(task, *choice, i64::MAX));
            ready.push(Ready { task, finishes: graph.choices(task).iter().map(finish).collect() });
        }
        let score = |one: &Ready| {
            let (mut best, mut second) = (i64::MAX, i64::MAX);
            for (_, finish) in &one.finishes {
                second = second.min(best.max(*finish));
                best = best.min(*finish);
            }
            match rule {
                Batch::MinMin => best,
                Batch::MaxMin => -best,
                // What has one place only must not lose it: its second is as late as can be.
                Batch::Sufferage => best - second,
            }
        };
        let next = ready.iter().enumerate().min_by_key(|(_, one)| (score(one), one.task));
        let Some((place, _)) = next else {
            return builder.schedule();
        };
        let Ready { task, finishes } = ready.swap_remove(place);
        let soonest = finishes.into_iter().min_by_key(|(choice, finish)| (*finish, choice.processor));
        let (taken, end) = soonest.unwrap_or((Choice { processor: 0, cost: 0 }, 0));
        builder.place(task, taken, end, &mut freed);
        waiting.extend(freed.drain(..));
        let begin = end - taken.cost;
        for one in &mut ready {
            let there = one.finishes.iter_mut().find(|(choice, _)| choice.processor == taken.processor);
            if let Some((choice, finish)) = there
                && *finish >= begin
                && *finish - choice.cost <= end
            {
                *finish = builder.finish(one.task, *choice, i64::MAX);
            }
        }
    }
}
