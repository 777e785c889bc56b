//! Priorities of list schedulers, in sixteenths of a tick: means are no whole numbers.

use super::TaskGraph;

/// Parts of a tick. With `TICKS_MAX` no sum overflows.
const PART: i64 = 16;

/// Which cost stands for a task whose processor is not known yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stands {
    /// The mean over the processors that it can run on.
    Mean,
    /// The least.
    Least,
    /// The greatest.
    Most,
}

/// What the ranks are computed from: one cost for each task, one factor for all links.
pub(super) struct Means<'g> {
    graph: &'g TaskGraph,
    cost: Vec<i64>,
    /// In sixteenths of a thousandth of a tick.
    factor: u64,
}

impl<'g> Means<'g> {
    /// `carried` in quarters says how much of the mean delay counts: 4 is all of it.
    pub(super) fn new(graph: &'g TaskGraph, stands: Stands, carried: u64) -> Self {
        let cost = (0..graph.tasks() as u32).map(|task| {
            let choices = graph.choices(task);
            match stands {
                Stands::Mean => {
                    choices.iter().map(|choice| choice.cost * PART).sum::<i64>() / choices.len() as i64
                }
                Stands::Least => graph.least(task) * PART,
                Stands::Most => choices.iter().map(|choice| choice.cost * PART).max().unwrap_or_default(),
            }
        });
        let processors = graph.processors() as u32;
        let pairs = u128::from(processors) * u128::from(processors.saturating_sub(1));
        let all = (0..processors).flat_map(|from| (0..processors).map(move |to| (from, to)));
        let sum: u128 = all.map(|(from, to)| graph.links().factor(from, to) as u128).sum();
        let factor = sum * PART as u128 * u128::from(carried) / 4 / pairs.max(1);
        Self { graph, cost: cost.collect(), factor: u64::try_from(factor).unwrap_or(u64::MAX) }
    }

    /// The mean delay of data between two different processors.
    pub(super) fn delay(&self, data: u64) -> i64 {
        // The mean factor is at most the greatest, with which `data` stays within `TICKS_MAX` thousands.
        (u128::from(data) * u128::from(self.factor) / 1000) as i64
    }

    /// HEFT's upward rank: the length of the longest path from the beginning of a task to the end of all.
    pub(super) fn upward(&self) -> Vec<i64> {
        let mut rank = vec![0; self.graph.tasks()];
        for task in self.graph.topological().iter().rev().copied() {
            let after = self.graph.after(task).iter();
            let longest = after.map(|after| self.delay(after.data) + rank[after.task as usize]).max();
            rank[task as usize] = self.cost[task as usize] + longest.unwrap_or_default();
        }
        rank
    }

    /// The downward rank: the length of the longest path up to the beginning of a task.
    pub(super) fn downward(&self) -> Vec<i64> {
        let mut rank = vec![0; self.graph.tasks()];
        for task in self.graph.topological().iter().copied() {
            let before = self.graph.before(task).iter();
            let longest = before.map(|before| {
                rank[before.task as usize] + self.cost[before.task as usize] + self.delay(before.data)
            });
            rank[task as usize] = longest.max().unwrap_or_default();
        }
        rank
    }

    /// PEFT's optimistic cost table: for a task on a processor the longest of the shortest ways to the end, by task and processor, in whole ticks.
    /// A way of the shortest kind either stays or goes to the best of all, so a row takes one pass.
    pub(super) fn optimistic(&self) -> Vec<i64> {
        let processors = self.graph.processors();
        let mut table = vec![0; self.graph.tasks() * processors];
        let mut row = vec![0; processors];
        let mut through = vec![i64::MAX; processors];
        for task in self.graph.topological().iter().rev().copied() {
            row.fill(0);
            for after in self.graph.after(task) {
                let begin = after.task as usize * processors;
                through.fill(i64::MAX);
                for choice in self.graph.choices(after.task) {
                    let processor = choice.processor as usize;
                    through[processor] = table[begin + processor] + choice.cost * PART;
                }
                let best = through.iter().min().copied().unwrap_or_default();
                let away = best + self.delay(after.data);
                for (longest, stay) in row.iter_mut().zip(&through) {
                    *longest = (*longest).max(away.min(*stay));
                }
            }
            table[task as usize * processors..][..processors].copy_from_slice(&row);
        }
        for way in &mut table {
            *way /= PART;
        }
        table
    }
}
