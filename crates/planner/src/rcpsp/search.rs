//! A genetic algorithm over lists of activities (Hartmann, "A Competitive Genetic Algorithm for Resource-Constrained Project
//! Scheduling", Naval Research Logistics 45, 1998). A list becomes a schedule by placing one activity after the other as early as can
//! be; every schedule is then **justified**: all activities are moved to the right as far as they go, and back to the left, which
//! never makes it longer and mostly shorter (Valls, Ballestín and Quintanilla, "Justification and RCPSP: A Technique that Pays", EJOR
//! 165, 2005). When a population has become too much alike, a larger one begins.

use super::{Project, lower_bound, profile::Profile};
use crate::{Budget, Control, Progress, Random};

/// Individuals of the first population; each later one has half as many more, up to the second number.
const POPULATION: usize = 40;
const POPULATION_MAX: usize = 640;
/// A population ends when so many children for each individual brought nothing better.
const STALE: usize = 20;
/// Of 64 neighbours in a list so many change places in a child.
const SWAPS: u32 = 3;
/// Activities among which the next one of a first list is drawn, with a preference for those that must be finished first.
const DRAWN: u32 = 3;
/// Between two questions whether to go on lies the work of about so many activities.
const WORK_BETWEEN: usize = 1 << 11;

/// A schedule and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// When each activity begins.
    pub starts: Vec<i64>,
    /// When the last one is finished.
    pub makespan: i64,
    /// Ticks; no schedule is shorter.
    pub lower_bound: i64,
    /// Schedules that were built beside the first: with this budget the same one is found again, on any machine.
    pub evaluations: u64,
}

/// Finds a schedule. Ends when the budget is used up, when the control says so, or when the makespan is the lower bound; with a budget
/// of zero it is the first schedule, by the latest finish.
pub fn solve(project: &Project, budget: Budget, seed: u64, control: &mut dyn Control) -> Solution {
    let lower_bound = lower_bound(project);
    let mut search = Search::new(project, budget, lower_bound, control);
    let mut random = Random::new(seed);
    let first = search.drawn(&mut random, 1);
    let makespan = search.build(&first, Way::Forward);
    search.keep(makespan);
    let mut size = POPULATION;
    while search.goes_on() {
        search.population(size, &mut random);
        size = (size + size / 2).min(POPULATION_MAX);
    }
    let Search { best, makespan, evaluations, .. } = search;
    Solution { starts: best, makespan, lower_bound, evaluations }
}

/// In which direction time runs while a schedule is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Forward,
    Backward,
}

struct Individual {
    list: Vec<u32>,
    makespan: i64,
}

struct Search<'a> {
    project: &'a Project,
    control: &'a mut dyn Control,
    budget: Budget,
    bound: i64,
    ask_every: u64,
    evaluations: u64,
    stopped: bool,
    best: Vec<i64>,
    makespan: i64,
    profile: Profile,
    /// Starts of the last schedule that was built, in its direction of time.
    built: Vec<i64>,
    /// Place of each activity in an order that keeps to who waits for whom.
    rank: Vec<u32>,
    /// The longest path from the finish of each activity.
    tails: Vec<i64>,
}

impl<'a> Search<'a> {
    fn new(project: &'a Project, budget: Budget, bound: i64, control: &'a mut dyn Control) -> Self {
        let count = project.activities().len();
        let mut rank = vec![0; count];
        for (place, activity) in project.topological().iter().enumerate() {
            rank[*activity as usize] = place as u32;
        }
        Self {
            project,
            control,
            budget,
            bound,
            ask_every: (WORK_BETWEEN / count.max(1)).max(1) as u64,
            evaluations: 0,
            stopped: false,
            best: Vec::new(),
            makespan: i64::MAX,
            profile: Profile::new(project.units()),
            built: vec![0; count],
            rank,
            tails: project.heads_and_tails().1,
        }
    }

    fn goes_on(&self) -> bool {
        !self.stopped && self.evaluations < self.budget.evaluations
    }

    /// Builds a schedule: each activity of a list as early as can be. Returns its makespan.
    fn build(&mut self, list: &[u32], way: Way) -> i64 {
        self.profile.clear();
        let mut makespan = 0;
        for activity in list {
            let before = match way {
                Way::Forward => self.project.before(*activity),
                Way::Backward => self.project.after(*activity),
            };
            let finishes = before.iter().map(|one| self.built[*one as usize] + self.project.ticks(*one));
            let ready = finishes.max().unwrap_or_default();
            let ticks = self.project.ticks(*activity);
            let demands = &self.project.activities()[*activity as usize].demands;
            let start = self.profile.fits(ready, ticks, demands);
            self.profile.take(start, ticks, demands);
            self.built[*activity as usize] = start;
            makespan = makespan.max(start + ticks);
        }
        makespan
    }

    /// Keeps the last schedule, built forward, if it is the best.
    fn keep(&mut self, makespan: i64) {
        if makespan < self.makespan {
            self.makespan = makespan;
            self.best.clone_from(&self.built);
            self.stopped |= makespan <= self.bound;
        }
    }

    /// Counts a schedule that was built.
    fn count(&mut self) {
        self.evaluations += 1;
        if self.evaluations.is_multiple_of(self.ask_every) {
            let (evaluations, best) = (self.evaluations, self.makespan);
            self.stopped |= !self.control.goes_on(Progress { evaluations, best, bound: self.bound });
        }
    }

    /// Builds and justifies the schedule of a list, and sorts the list by the starts of what it became. If the search ends on the
    /// way, the list is worth nothing.
    fn evaluate(&mut self, list: &mut [u32]) -> i64 {
        let mut makespan = self.build(list, Way::Forward);
        self.keep(makespan);
        self.count();
        for way in [Way::Backward, Way::Forward] {
            if !self.goes_on() {
                return makespan;
            }
            // What is finished last comes first when time runs back. Those at the same time keep to who waits for whom.
            let (built, rank, project) = (&self.built, &self.rank, self.project);
            list.sort_unstable_by_key(|activity| {
                let finish = built[*activity as usize] + project.ticks(*activity);
                let rank = i64::from(rank[*activity as usize]);
                (-finish, if way == Way::Backward { -rank } else { rank })
            });
            makespan = self.build(list, way);
            if way == Way::Forward {
                self.keep(makespan);
            }
            self.count();
        }
        let (built, rank) = (&self.built, &self.rank);
        list.sort_unstable_by_key(|activity| (built[*activity as usize], rank[*activity as usize]));
        makespan
    }

    /// A list in which of those that could be next one with a long tail is probably next: the best of so many
    /// that are drawn, or of all if it is one.
    fn drawn(&self, random: &mut Random, draws: u32) -> Vec<u32> {
        let mut waits: Vec<usize> =
            (0..self.rank.len() as u32).map(|activity| self.project.before(activity).len()).collect();
        let mut open: Vec<u32> = self.project.topological().to_vec();
        open.retain(|activity| waits[*activity as usize] == 0);
        let urgent = |activity: u32| self.tails[activity as usize] + self.project.ticks(activity);
        let mut list = Vec::with_capacity(waits.len());
        while !open.is_empty() {
            let place = if draws == 1 {
                (0..open.len()).max_by_key(|place| (urgent(open[*place]), std::cmp::Reverse(open[*place])))
            } else {
                let places = (0..draws).map(|_| random.below(open.len() as u32) as usize);
                places.max_by_key(|place| urgent(open[*place]))
            };
            let activity = open.swap_remove(place.unwrap_or_default());
            list.push(activity);
            for next in self.project.after(activity) {
                waits[*next as usize] -= 1;
                if waits[*next as usize] == 0 {
                    open.push(*next);
                }
            }
        }
        list
    }

    /// One population, until it is stale or the search ends.
    fn population(&mut self, size: usize, random: &mut Random) {
        let mut population: Vec<Individual> = Vec::new();
        while population.len() < size && self.goes_on() {
            let draws = if population.is_empty() { 1 } else { DRAWN };
            let mut list = self.drawn(random, draws);
            let makespan = self.evaluate(&mut list);
            population.push(Individual { list, makespan });
        }
        let mut taken = vec![false; self.rank.len()];
        let (mut stale, mut best) = (0, i64::MAX);
        while self.goes_on() && stale < STALE * size && !population.is_empty() {
            let (first, second) = (parent(&population, random), parent(&population, random));
            let mut list = cross(&population[first].list, &population[second].list, random, &mut taken);
            self.swap_some(&mut list, random);
            let makespan = self.evaluate(&mut list);
            stale += 1;
            if makespan < best {
                (best, stale) = (makespan, 0);
            }
            if population.iter().any(|one| one.makespan == makespan && one.list == list) {
                continue;
            }
            let worst = population.iter_mut().max_by_key(|one| one.makespan);
            if let Some(worst) = worst.filter(|worst| makespan <= worst.makespan) {
                *worst = Individual { list, makespan };
            }
        }
    }

    fn swap_some(&self, list: &mut [u32], random: &mut Random) {
        for place in 1..list.len() {
            let waits = self.project.before(list[place]).contains(&list[place - 1]);
            if random.below(64) < SWAPS && !waits {
                list.swap(place - 1, place);
            }
        }
    }
}

/// The better of two.
fn parent(population: &[Individual], random: &mut Random) -> usize {
    let drawn = [0; 2].map(|_| random.below(population.len() as u32) as usize);
    if population[drawn[0]].makespan <= population[drawn[1]].makespan { drawn[0] } else { drawn[1] }
}

/// The ends of one list, and what lies between in the order of the other: it keeps to who waits for whom, as both do.
fn cross(one: &[u32], other: &[u32], random: &mut Random, taken: &mut [bool]) -> Vec<u32> {
    let count = one.len() as u32;
    let (mut from, mut to) = (random.below(count + 1) as usize, random.below(count + 1) as usize);
    if from > to {
        (from, to) = (to, from);
    }
    taken.fill(false);
    let mut list = Vec::with_capacity(one.len());
    let mut add = |activities: &[u32], most: usize| {
        for activity in activities {
            if list.len() < most && !std::mem::replace(&mut taken[*activity as usize], true) {
                list.push(*activity);
            }
        }
    };
    add(&one[..from], from);
    add(other, to);
    add(one, one.len());
    list
}
