//! Large-neighbourhood search: a group of tasks is lifted, and each put where the path through it is shortest; what became much
//! worse is taken back (Shaw, "Using Constraint Programming and Local Search Methods to Solve Vehicle Routing Problems", CP 1998;
//! acceptance as in Schrimpf et al., "Record Breaking Optimization Results Using the Ruin and Recreate Principle", J. of Computational
//! Physics 159, 2000).

use super::{
    anneal::pick,
    chance::{ONE, exponential},
    plan::Plan,
    race::Race,
    related::related,
};
use crate::Random;

/// Tasks that are lifted together, from two to this many.
const GROUP_MAX: u32 = 8;
/// How much worse a plan may be than the last, on average, as a part of the best makespan: at first,
const LOOSEST: i64 = ONE / 100;
/// and what of 64 parts is left of it after each step of a cycle.
const TIGHTENING: i64 = 58;
/// Steps of a cycle.
const STEPS: u64 = 32;
/// Evaluations of the first cycle, for each task; each next one has twice as many.
const CYCLE: u64 = 8;
/// Evaluations after which the order is sorted.
const SORT_EVERY: u64 = 16;

/// Searches until the race ends.
pub(super) fn search(plan: &mut Plan<'_>, race: &mut Race<'_>, random: &mut Random) {
    let mut evaluations = first_cycle(plan);
    while race.goes_on() {
        cycle(plan, race, random, evaluations);
        evaluations = evaluations.saturating_mul(2);
    }
}

/// Evaluations of the first cycle.
pub(super) fn first_cycle(plan: &Plan<'_>) -> u64 {
    CYCLE * plan.tasks() as u64
}

/// One cycle of about so many evaluations, or until the race ends.
pub(super) fn cycle(plan: &mut Plan<'_>, race: &mut Race<'_>, random: &mut Random, evaluations: u64) {
    let mut kept = plan.clone();
    let mut group = Vec::new();
    let mut slack = ((i128::from(race.makespan()) * i128::from(LOOSEST)) / i128::from(ONE)) as i64;
    for _ in 0..STEPS {
        for round in 0..evaluations.div_ceil(STEPS) {
            if !race.goes_on() {
                return;
            }
            if round % SORT_EVERY == 0 {
                plan.sort();
                kept.clone_from(plan);
            }
            let first = pick(plan, random);
            let count = 2 + random.below(GROUP_MAX - 1) as usize;
            related(plan, random, first, count, &mut group);
            for task in &group {
                plan.lift(*task);
            }
            for task in &group {
                let place = plan.best_place(*task, random, 0);
                plan.put(*task, place);
            }
            race.count(plan);
            let limit = kept.makespan() + exponential(random, slack);
            if plan.makespan() <= limit {
                kept.clone_from(plan);
            } else {
                plan.clone_from(&kept);
            }
        }
        slack = slack * TIGHTENING / 64;
    }
}
