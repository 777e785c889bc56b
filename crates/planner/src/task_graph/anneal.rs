//! Annealing. Tasks are lifted, mostly critical ones, and put where the path through them is short; to the length of that path noise
//! is added, other for each place, so that now and then a worse one is taken. As the noise falls, so does the makespan. A
//! usual annealing would try a random place and mostly refuse it (Kirkpatrick, Gelatt and Vecchi, "Optimization by Simulated
//! Annealing", Science 220, 1983); here the lengths of all places are known, so one is drawn out of all: each step moves.
//!
//! How long the search may go on is not known, and a result has to be that of its number of evaluations. So it cools in cycles, each
//! twice as long as the one before.

use super::{chance::ONE, plan::Plan, race::Race, related::related};
use crate::Random;

/// Noise at the beginning of a cycle, as a part of the best makespan,
const HOTTEST: i64 = ONE / 100;
/// what of 64 parts is left of it after each step,
const COOLING: i64 = 59;
/// and the steps of a cycle.
const STEPS: u64 = 64;
/// Evaluations of the first cycle, for each task.
const CYCLE: u64 = 100;
/// Of 16 tasks so many are taken from a longest path, the others from all.
const CRITICAL: u32 = 12;
/// Of 16 times so often a task is not lifted alone,
const TOGETHER: u32 = 4;
/// but with up to so many others.
const OTHERS_MAX: u32 = 4;
/// Evaluations after which the order is sorted.
const SORT_EVERY: u64 = 32;

/// Searches until the race ends.
pub(super) fn anneal(plan: &mut Plan<'_>, race: &mut Race<'_>, random: &mut Random) {
    let mut evaluations = CYCLE * plan.tasks() as u64;
    while race.goes_on() {
        cycle(plan, race, random, evaluations);
        evaluations = evaluations.saturating_mul(2);
    }
}

/// One cycle of about so many evaluations, or until the race ends.
pub(super) fn cycle(plan: &mut Plan<'_>, race: &mut Race<'_>, random: &mut Random, evaluations: u64) {
    let mut group = Vec::new();
    let hottest = (i128::from(race.makespan()) * i128::from(HOTTEST)) / i128::from(ONE);
    let mut noise = hottest as i64 + 1;
    for _ in 0..STEPS {
        for round in 0..evaluations.div_ceil(STEPS) {
            if !race.goes_on() {
                return;
            }
            if round % SORT_EVERY == 0 {
                plan.sort();
            }
            step(plan, random, noise, &mut group);
            race.count(plan);
        }
        noise = noise * COOLING / 64;
    }
}

fn step(plan: &mut Plan<'_>, random: &mut Random, noise: i64, group: &mut Vec<u32>) {
    let first = pick(plan, random);
    if random.below(16) < TOGETHER {
        let count = 2 + random.below(OTHERS_MAX) as usize;
        related(plan, random, first, count, group);
    } else {
        group.clear();
        group.push(first);
    }
    for task in group.iter() {
        plan.lift(*task);
    }
    for task in group.iter() {
        let place = plan.best_place(*task, random, noise);
        plan.put(*task, place);
    }
}

/// Mostly a task of a longest path: only where those move the makespan falls.
pub(super) fn pick(plan: &Plan<'_>, random: &mut Random) -> u32 {
    let any = random.below(plan.tasks() as u32);
    if random.below(16) < CRITICAL { plan.critical(any as usize) } else { any }
}
