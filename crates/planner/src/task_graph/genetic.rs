//! A genetic algorithm, because the field expects one. An individual is an order of all tasks that keeps to the edges, with a
//! processor for each task. A child takes the first part of its order, with the processors, from one parent, and the rest in the
//! order of the other, so it keeps to the edges too (Wang, Siegel, Roychowdhury and Maciejewski, "Task Matching and Scheduling in
//! Heterogeneous Computing Environments Using a Genetic-Algorithm-Based Approach", JPDC 47, 1997); then a few of its tasks are
//! lifted and put where the path through them is shortest.

use super::{Schedule, anneal::pick, plan::Plan, race::Race};
use crate::Random;

/// Individuals that live at the same time.
const POPULATION: usize = 48;
/// Individuals of which the best becomes a parent.
const TOURNAMENT: u32 = 3;
/// Tasks of a child that are put anew, at most; one at least.
const PUT_ANEW_MAX: u32 = 8;
/// Tasks that are put anew, by one out of so many tasks, to make the first individuals different.
const SCATTER: usize = 4;

struct Individual {
    order: Vec<u32>,
    /// By task.
    processors: Vec<u32>,
    makespan: i64,
}

impl Individual {
    fn of(plan: &Plan<'_>) -> Self {
        let processors = (0..plan.tasks() as u32).map(|task| plan.processor(task)).collect();
        Self { order: plan.order().to_vec(), processors, makespan: plan.makespan() }
    }
}

/// Searches until the race ends, from these schedules on.
pub(super) fn evolve(plan: &mut Plan<'_>, founders: &[Schedule], race: &mut Race<'_>, random: &mut Random) {
    let mut population: Vec<Individual> =
        founders.iter().take(POPULATION).map(|one| Individual::of(&Plan::of(plan.graph(), one))).collect();
    while population.len() < POPULATION && race.goes_on() {
        for _ in 0..plan.tasks().div_ceil(SCATTER) {
            put_anew(plan, random);
        }
        race.count(plan);
        population.push(Individual::of(plan));
    }
    let mut taken = vec![false; plan.tasks()];
    while race.goes_on() && !population.is_empty() {
        let (first, second) = (parent(&population, random), parent(&population, random));
        cross(plan, &population[first], &population[second], random, &mut taken);
        for _ in 0..=random.below(PUT_ANEW_MAX) {
            put_anew(plan, random);
        }
        race.count(plan);
        plan.sort();
        settle(&mut population, Individual::of(plan));
    }
}

fn put_anew(plan: &mut Plan<'_>, random: &mut Random) {
    let task = pick(plan, random);
    plan.lift(task);
    let place = plan.best_place(task, random, 0);
    plan.put(task, place);
}

fn parent(population: &[Individual], random: &mut Random) -> usize {
    let drawn = (0..TOURNAMENT).map(|_| random.below(population.len() as u32) as usize);
    drawn.min_by_key(|index| population[*index].makespan).unwrap_or_default()
}

fn cross(
    plan: &mut Plan<'_>,
    first: &Individual,
    second: &Individual,
    random: &mut Random,
    taken: &mut [bool],
) {
    let cut = random.below(first.order.len() as u32) as usize;
    let mut order = first.order[..cut].to_vec();
    taken.fill(false);
    for task in &order {
        taken[*task as usize] = true;
    }
    order.extend(second.order.iter().filter(|task| !taken[**task as usize]));
    plan.reset(&order, |task| {
        let from = if taken[task as usize] { first } else { second };
        from.processors[task as usize]
    });
}

/// Puts a child in the place of the worst, unless it is worse than all, or there is one like it already.
fn settle(population: &mut [Individual], child: Individual) {
    let like = |one: &Individual| one.makespan == child.makespan && one.processors == child.processors;
    if population.iter().any(like) {
        return;
    }
    if let Some(worst) = population.iter_mut().max_by_key(|one| one.makespan)
        && child.makespan <= worst.makespan
    {
        *worst = child;
    }
}
