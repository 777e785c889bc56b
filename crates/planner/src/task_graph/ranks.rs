//! Priorities of list schedulers, in parts of a tick: means are no whole numbers.

use super::TaskGraph;

/// Parts of a tick. With `TICKS_MAX` no sum overflows.
const PART: i64 = 1 << 10;

/// Different link factors that are looked at one by one; above, their mean stands for all.
const CLASSES_MAX: usize = 8;

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

/// What the ranks are computed from: one cost for each task, one delay for all links.
pub(super) struct Means<'g> {
    graph: &'g TaskGraph,
    cost: Vec<i64>,
    /// Link factors above 0, and how many pairs of processors have them.
    classes: Vec<(i64, i64)>,
    pairs: i64,
    carried: i64,
}

impl<'g> Means<'g> {
    /// `carried` in quarters says how much of the mean delay counts: 4 is all of it.
    pub(super) fn new(graph: &'g TaskGraph, stands: Stands, carried: i64) -> Self {
        let cost = (0..graph.tasks() as u32).map(|task| {
            let choices = graph.choices(task);
            match stands {
                Stands::Mean => {
                    let sum: i128 = choices.iter().map(|choice| i128::from(choice.cost * PART)).sum();
                    (sum / choices.len() as i128) as i64
                }
                Stands::Least => graph.least(task) * PART,
                Stands::Most => choices.iter().map(|choice| choice.cost * PART).max().unwrap_or_default(),
            }
        });
        let processors = graph.processors() as u32;
        let pairs = i64::from(processors) * i64::from(processors);
        let all = (0..processors).flat_map(|from| (0..processors).map(move |to| (from, to)));
        let mut factors: Vec<i64> = all.map(|(from, to)| graph.links().factor(from, to)).collect();
        factors.sort_unstable();
        let mut classes: Vec<(i64, i64)> = factors
            .chunk_by(|one, other| one == other)
            .map(|class| (class[0], class.len() as i64))
            .filter(|(factor, _)| *factor > 0)
            .collect();
        if classes.len() > CLASSES_MAX {
            let sum: i128 =
                classes.iter().map(|(factor, count)| i128::from(*factor) * i128::from(*count)).sum();
            classes = vec![((sum / i128::from(pairs)) as i64, pairs)];
        }
        Self { graph, cost: cost.collect(), classes, pairs, carried }
    }

    /// The mean delay of data between two processors, which may be the same.
    pub(super) fn delay(&self, data: u64) -> i64 {
        let delay = |(factor, count): &(i64, i64)| {
            (i128::from(data) * i128::from(*factor) + 999) / 1000 * i128::from(*count)
        };
        let sum: i128 = self.classes.iter().map(delay).sum();
        (sum * i128::from(PART * self.carried) / i128::from(4 * self.pairs.max(1))) as i64
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
