//! What no schedule can beat: the longest path; the work of each resource within windows (what cannot start before `a` and has at least
//! `b` to follow has to be worked off in between); and, for activities of which no two can run together, the bound of one machine.

use super::Project;
use crate::one_machine::{Work, preemptive};

/// Values of `a`, and of `b`, that are tried at most.
const WINDOWS_MAX: usize = 64;
/// Groups of activities of which no two can run together, each begun with another activity.
const GROUPS_MAX: usize = 256;
/// Most activities for which groups are looked for: it takes the square of it for each.
const GROUPED_MAX: usize = 512;

/// No schedule has a smaller makespan.
pub fn lower_bound(project: &Project) -> i64 {
    let (heads, tails) = project.heads_and_tails();
    let activities = project.activities().iter().zip(heads.iter().zip(&tails));
    let works: Vec<Work> = activities
        .map(|(activity, (head, tail))| Work { head: *head, ticks: activity.ticks, tail: *tail })
        .collect();
    let path = works.iter().map(|work| work.head + work.ticks + work.tail).max().unwrap_or_default();
    path.max(windows(project, &works)).max(groups(project, &works))
}

fn windows(project: &Project, works: &[Work]) -> i64 {
    let mut by_tail: Vec<usize> = (0..works.len()).collect();
    by_tail.sort_by_key(|index| std::cmp::Reverse(works[*index].tail));
    let heads = sample(works.iter().map(|work| work.head));
    let tails = sample(works.iter().map(|work| work.tail));
    let mut best = 0;
    for (resource, units) in project.units().iter().enumerate().filter(|(_, units)| **units > 0) {
        for head in &heads {
            let mut inside = by_tail.iter().filter(|index| works[**index].head >= *head).peekable();
            let mut used: i128 = 0;
            for tail in tails.iter().rev() {
                while let Some(index) = inside.next_if(|index| works[**index].tail >= *tail) {
                    let demand = project.activities()[*index].demands[resource];
                    used += i128::from(demand) * i128::from(works[*index].ticks);
                }
                // Nothing used: nothing has to happen in between.
                if used > 0 {
                    let units = i128::from(*units);
                    best = best.max(head + ((used + units - 1) / units) as i64 + tail);
                }
            }
        }
    }
    best
}

/// Some of the values, rising, the least among them.
fn sample(values: impl Iterator<Item = i64>) -> Vec<i64> {
    let mut values: Vec<i64> = values.collect();
    values.sort_unstable();
    values.dedup();
    let step = values.len().div_ceil(WINDOWS_MAX).max(1);
    values.into_iter().step_by(step).collect()
}

fn groups(project: &Project, works: &[Work]) -> i64 {
    if works.len() > GROUPED_MAX {
        return 0;
    }
    let comes_before = reaches(project);
    let demands = |index: usize| &project.activities()[index].demands;
    let apart = |one: usize, other: usize| {
        let both = demands(one).iter().zip(demands(other)).zip(project.units());
        comes_before[one][other]
            || comes_before[other][one]
            || both.into_iter().any(|((one, other), units)| one + other > *units)
    };
    let mut longest: Vec<usize> = (0..works.len()).filter(|index| works[*index].ticks > 0).collect();
    longest.sort_by_key(|index| std::cmp::Reverse(works[*index].ticks));
    let mut best = 0;
    for first in longest.iter().take(GROUPS_MAX) {
        let mut group = vec![*first];
        for next in &longest {
            if !group.contains(next) && group.iter().all(|member| apart(*member, *next)) {
                group.push(*next);
            }
        }
        best = best.max(preemptive(group.iter().map(|index| works[*index]).collect()));
    }
    best
}

/// For each activity, which ones come behind it.
fn reaches(project: &Project) -> Vec<Vec<bool>> {
    let count = project.activities().len();
    let mut reaches = vec![vec![false; count]; count];
    for activity in project.topological().iter().rev() {
        let mut row = vec![false; count];
        for next in project.after(*activity) {
            row[*next as usize] = true;
            for (to, behind) in row.iter_mut().zip(&reaches[*next as usize]) {
                *to |= behind;
            }
        }
        reaches[*activity as usize] = row;
    }
    reaches
}
