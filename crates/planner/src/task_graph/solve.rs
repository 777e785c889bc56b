//! The algorithms by name.

use super::{
    Schedule, TaskGraph, anneal, ensemble, genetic,
    list::{self, Batch},
    lower_bound, neighbourhood,
    plan::Plan,
    race::Race,
};
use crate::{Budget, Control, Random};

/// In about the time of one evaluation of large-neighbourhood search annealing has so many.
const ANNEALINGS: u64 = 4;

/// How a schedule is found. The first seven look at each task once, `Ensemble` runs them and more, and the others go on from there
/// until they are stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// By upward rank, where a task is finished first. O(E·P) and the search for gaps.
    Heft,
    /// By optimistic cost table. The same.
    Peft,
    /// As HEFT, but where the tasks that follow are finished first. O(E·P²).
    LookAhead,
    /// The critical path on one processor.
    Cpop,
    /// The task that is finished first is next. At most 8,192 / P ready tasks are compared with each
    /// other.
    MinMin,
    /// The task that is finished last is next.
    MaxMin,
    /// The task that loses most by its second-best place is next.
    Sufferage,
    /// All of these, with several ranks, and on groups of processors.
    Ensemble,
    /// Annealing; an evaluation is a task, or a few, put into another place.
    Annealing,
    /// Large-neighbourhood search; an evaluation is a group of tasks put into other places.
    LargeNeighbourhood,
    /// A genetic algorithm; an evaluation is a child.
    Genetic,
    /// What is best for its time: the ensemble, then large-neighbourhood search and annealing in turn.
    Auto,
}

impl Algorithm {
    /// All, with the names that they have in commands.
    pub const NAMES: [(&'static str, Self); 12] = [
        ("auto", Self::Auto),
        ("heft", Self::Heft),
        ("peft", Self::Peft),
        ("look-ahead", Self::LookAhead),
        ("cpop", Self::Cpop),
        ("min-min", Self::MinMin),
        ("max-min", Self::MaxMin),
        ("sufferage", Self::Sufferage),
        ("ensemble", Self::Ensemble),
        ("sa", Self::Annealing),
        ("lns", Self::LargeNeighbourhood),
        ("ga", Self::Genetic),
    ];
}

/// A schedule and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// The best that was found.
    pub schedule: Schedule,
    /// Ticks; no schedule has a smaller makespan.
    pub lower_bound: i64,
    /// Plans that were evaluated: with this budget the same schedule is found again, on any machine. The first one, by HEFT or by
    /// the algorithm of one pass that was asked for, is not counted.
    pub evaluations: u64,
}

/// A schedule by HEFT, and nothing else: the first answer where time is short.
pub fn first_schedule(graph: &TaskGraph) -> Schedule {
    list::heft(graph)
}

/// Finds a schedule. Ends when the budget is used up, when the control says so, or when the makespan is the lower bound; with a budget
/// of zero it is the first schedule. Schedules of `Ensemble` and of all searches are never worse than HEFT's.
pub fn solve(
    graph: &TaskGraph,
    algorithm: Algorithm,
    budget: Budget,
    seed: u64,
    control: &mut dyn Control,
) -> Solution {
    solve_from(graph, algorithm, budget, seed, control, lower_bound(graph))
}

/// The same with a bound that is known.
pub(crate) fn solve_from(
    graph: &TaskGraph,
    algorithm: Algorithm,
    budget: Budget,
    seed: u64,
    control: &mut dyn Control,
    lower_bound: i64,
) -> Solution {
    let first = match algorithm {
        Algorithm::Peft => list::peft(graph),
        Algorithm::LookAhead => list::look_ahead(graph),
        Algorithm::Cpop => list::cpop(graph),
        Algorithm::MinMin => list::batch(graph, Batch::MinMin),
        Algorithm::MaxMin => list::batch(graph, Batch::MaxMin),
        Algorithm::Sufferage => list::batch(graph, Batch::Sufferage),
        _ => list::heft(graph),
    };
    let mut race = Race::new(first, lower_bound, budget, control);
    let mut random = Random::new(seed);
    match algorithm {
        Algorithm::Ensemble => {
            ensemble::run(graph, &mut race);
        }
        Algorithm::Annealing => {
            ensemble::run(graph, &mut race);
            anneal::anneal(&mut Plan::of(graph, race.best()), &mut race, &mut random);
        }
        Algorithm::Auto => {
            ensemble::run(graph, &mut race);
            in_turn(&mut Plan::of(graph, race.best()), &mut race, &mut random);
        }
        Algorithm::LargeNeighbourhood => {
            ensemble::run(graph, &mut race);
            neighbourhood::search(&mut Plan::of(graph, race.best()), &mut race, &mut random);
        }
        Algorithm::Genetic => {
            let founders = ensemble::run(graph, &mut race);
            genetic::evolve(&mut Plan::of(graph, race.best()), &founders, &mut race, &mut random);
        }
        _ => {}
    }
    let (schedule, evaluations) = race.end();
    Solution { schedule, lower_bound, evaluations }
}

/// Cycles of large-neighbourhood search and of annealing, each twice as long as the last of its kind: one is quick to find the next
/// optimum, the other gets out of it.
fn in_turn(plan: &mut Plan<'_>, race: &mut Race<'_>, random: &mut Random) {
    let mut evaluations = neighbourhood::first_cycle(plan);
    while race.goes_on() {
        neighbourhood::cycle(plan, race, random, evaluations);
        anneal::cycle(plan, race, random, evaluations.saturating_mul(ANNEALINGS));
        evaluations = evaluations.saturating_mul(2);
    }
}
