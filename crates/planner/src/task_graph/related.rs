//! Tasks that are lifted together.

use super::plan::Plan;
use crate::Random;

/// Of 16 steps from a task so many go along its sequence; the others go along an edge.
const ALONG_SEQUENCE: u32 = 4;
/// Steps for each task that is wanted: one may lead to a task that is there already, or nowhere.
const STEPS_EACH: usize = 2;

/// Up to `count` tasks around one: those that carry data to each other have to move together, as one alone would be far from the
/// other. In the order of the plan, or against it.
pub(super) fn related(plan: &Plan<'_>, random: &mut Random, first: u32, count: usize, group: &mut Vec<u32>) {
    group.clear();
    group.push(first);
    for _ in 0..count * STEPS_EACH {
        if group.len() >= count {
            break;
        }
        let from = group[random.below(group.len() as u32) as usize];
        if let Some(next) = neighbour(plan, random, from)
            && !group.contains(&next)
        {
            group.push(next);
        }
    }
    plan.sort_by_position(group);
    if random.below(2) == 0 {
        group.reverse();
    }
}

fn neighbour(plan: &Plan<'_>, random: &mut Random, task: u32) -> Option<u32> {
    let (before, after) = (plan.graph().before(task), plan.graph().after(task));
    let edges = (before.len() + after.len()) as u32;
    if edges == 0 || random.below(16) < ALONG_SEQUENCE {
        return if random.below(2) == 0 { plan.previous(task) } else { plan.next(task) };
    }
    let edge = random.below(edges) as usize;
    Some(before.get(edge).unwrap_or_else(|| &after[edge - before.len()]).task)
}
