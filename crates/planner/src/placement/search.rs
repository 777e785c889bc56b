//! The search: lists, branch and bound where the problem is small, and local search that empties a few machines in part and fills them
//! anew (ruin and recreate: Schrimpf et al., J. of Computational Physics 159, 2000).

use super::{
    bound::Bound,
    exact,
    list::{Lister, Rule, demand},
    problem::{Place, Problem},
    state::{Choice, State},
};
use crate::{Budget, Control, Progress, Random};

/// Local moves before a small problem is searched to the end.
const MOVES_FIRST: u64 = 1_000;
/// Where there are more pairs of replica and machine, one list has to do: moves gain more in the time of another.
const LIST_WORK_MAX: usize = 1 << 24;
/// Most machines that a move empties.
const MACHINES_MOVED: u32 = 3;
/// Replicas without a place that a move tries to fit in.
const WAITING_TRIED: u32 = 12;
/// The search goes back to the best plan when it has lost so many average values.
const LOST_MAX: i64 = 4;
/// Between two questions whether to go on lie so many evaluations.
const ASK_EVERY: u64 = 16;

/// A plan and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Solution {
    /// Where each replica is; none if it has no place.
    pub plan: Vec<Option<Place>>,
    /// The values of what has no place, and loading, links and moving of what has one.
    pub cost: i64,
    /// No plan costs less.
    pub lower_bound: i64,
    /// Lists, branches and moves: with this budget the same plan is found again, on any machine.
    pub evaluations: u64,
}

/// Places replicas by a rule, in an order (their numbers; those that it lacks have no place). What runs is not favoured, except by
/// [`Rule::Cheapest`].
pub fn list(problem: &Problem, rule: Rule, order: &[usize]) -> Solution {
    let mut state = State::new(problem);
    let known: Vec<usize> =
        order.iter().copied().filter(|replica| *replica < problem.replicas().len()).collect();
    Lister::new(problem).place(&mut state, rule, &known, &mut || true);
    Solution { cost: state.cost, lower_bound: super::lower_bound(problem), plan: state.plan, evaluations: 1 }
}

/// Finds a plan. Ends when the budget is used up, when the control says so, or when the plan is proven; with a budget of zero it is the
/// first plan: what runs stays, and the rest is placed by [`Rule::Cheapest`], the most value for its size first.
pub fn solve(problem: &Problem, budget: Budget, seed: u64, control: &mut dyn Control) -> Solution {
    let bound = Bound::new(problem);
    let lower_bound = bound.cost(bound.upper(problem));
    let lister = Lister::new(problem);
    let mut random = Random::new(seed);
    let mut search = Search::new(problem, budget, lower_bound, control);
    search.lists(&lister);
    if exact::is_small(problem) {
        search.moves(&lister, &mut random, MOVES_FIRST);
        if search.goes_on() && exact::search(&mut search, &bound) {
            search.proven();
        }
    }
    search.moves(&lister, &mut random, u64::MAX);
    let Search { best, cost, evaluations, lower_bound, .. } = search;
    Solution { plan: best, cost, lower_bound, evaluations }
}

/// The best plan so far, and how far the search is.
pub(super) struct Search<'a> {
    pub(super) problem: &'a Problem,
    control: &'a mut dyn Control,
    budget: Budget,
    pub(super) evaluations: u64,
    stopped: bool,
    best: Vec<Option<Place>>,
    pub(super) cost: i64,
    lower_bound: i64,
}

impl<'a> Search<'a> {
    pub(super) fn new(
        problem: &'a Problem,
        budget: Budget,
        lower_bound: i64,
        control: &'a mut dyn Control,
    ) -> Self {
        // All that is not placed yet is the dearest plan, and a valid one.
        let state = State::new(problem);
        Self {
            problem,
            control,
            budget,
            evaluations: 0,
            stopped: false,
            best: state.plan,
            cost: state.cost,
            lower_bound,
        }
    }

    pub(super) fn goes_on(&self) -> bool {
        !self.stopped && self.evaluations < self.budget.evaluations
    }

    /// Counts an evaluation.
    pub(super) fn count(&mut self) {
        self.evaluations += 1;
        if self.evaluations.is_multiple_of(ASK_EVERY) {
            self.ask();
        }
    }

    fn ask(&mut self) {
        let progress = Progress { evaluations: self.evaluations, best: self.cost, bound: self.lower_bound };
        self.stopped |= !self.control.goes_on(progress);
    }

    /// Keeps a plan if it is the best.
    pub(super) fn keep(&mut self, state: &State<'_>) {
        if state.cost < self.cost {
            self.cost = state.cost;
            self.best.clone_from(&state.plan);
            self.stopped |= self.cost <= self.lower_bound;
        }
    }

    fn proven(&mut self) {
        self.lower_bound = self.cost;
        self.stopped = true;
    }

    /// What runs where it can, the most valued first.
    fn running(&self) -> State<'a> {
        let mut state = State::new(self.problem);
        let replicas = self.problem.replicas();
        let mut order: Vec<usize> = (0..replicas.len()).collect();
        order.sort_by_key(|replica| (std::cmp::Reverse(replicas[*replica].value), *replica));
        for replica in order {
            let wanted = &replicas[replica];
            if let Some(now) = wanted.now
                && state.fits(wanted.model, now)
                && self.problem.cost(replica, Some(now)) <= wanted.value
            {
                state.put(replica, now);
            }
        }
        state
    }

    /// Every order with every rule. The first one counts as no evaluation, and is made in any case.
    fn lists(&mut self, lister: &Lister<'_>) {
        let rules = [Rule::Cheapest, Rule::BestFit, Rule::Fgd, Rule::DotProduct];
        let orders = orders(self.problem);
        let running = self.running();
        let runs = running.plan.iter().any(Option::is_some);
        self.list(lister, Rule::Cheapest, &orders[0], running, false);
        if self.problem.replicas().len() * self.problem.machines().len() > LIST_WORK_MAX {
            return;
        }
        for (number, rule) in rules.into_iter().enumerate() {
            for (place, order) in orders.iter().enumerate() {
                if (number, place) != (0, 0) && self.goes_on() {
                    self.list(lister, rule, order, self.running(), true);
                }
                // Again without favour for what runs.
                if runs && rule == Rule::Cheapest && self.goes_on() {
                    self.list(lister, rule, order, State::new(self.problem), true);
                }
            }
        }
    }

    /// Makes a list. One that the control ends is dropped, and does not count, so that the plan is that of so many evaluations.
    fn list(
        &mut self,
        lister: &Lister<'_>,
        rule: Rule,
        order: &[usize],
        mut state: State<'_>,
        may_end: bool,
    ) {
        let mut goes_on = || {
            if may_end {
                self.ask();
            }
            !self.stopped
        };
        if lister.place(&mut state, rule, order, &mut goes_on) {
            self.evaluations += u64::from(may_end);
            self.keep(&state);
            self.ask();
        }
    }

    /// Moves from the best plan on, at most so many.
    fn moves(&mut self, lister: &Lister<'_>, random: &mut Random, most: u64) {
        if self.problem.machines().is_empty() || self.problem.replicas().is_empty() {
            return;
        }
        let mut walk = Walk::new(self.problem, &self.best);
        let ends_at = self.evaluations.saturating_add(most);
        while self.goes_on() && self.evaluations < ends_at {
            walk.step(lister, random);
            self.keep(&walk.state);
            self.count();
            if walk.state.cost > self.cost + LOST_MAX * walk.value {
                walk = Walk::new(self.problem, &self.best);
            }
        }
    }
}

/// Replicas in the orders that lists are made in.
fn orders(problem: &Problem) -> Vec<Vec<usize>> {
    let totals = State::new(problem).free.iter().fold([1_i64; 4], |sum, free| {
        let devices = free.devices.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        [sum[0] + free.cores_milli, sum[1] + free.memory, sum[2] + devices.0, sum[3] + devices.1]
    });
    // In parts of all there is, so large that the smallest parts differ.
    let part = |amount: i64, total: i64| i128::from(amount) * (1 << 40) / i128::from(total);
    let sizes: Vec<i128> = (0..problem.replicas().len())
        .map(|replica| {
            let parts = demand(problem.model_of(replica)).into_iter().zip(totals);
            parts.map(|(amount, total)| part(amount, total)).max().unwrap_or_default()
        })
        .collect();
    let value = |replica: usize| i128::from(problem.replicas()[replica].value);
    let sorted = |key: &dyn Fn(usize) -> (i128, i128)| {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|replica| (std::cmp::Reverse(key(*replica)), *replica));
        order
    };
    vec![
        sorted(&|replica| ((value(replica) << 40) / (sizes[replica] + 1), sizes[replica])),
        sorted(&|replica| (value(replica), -sizes[replica])),
        sorted(&|replica| (sizes[replica], value(replica))),
        sorted(&|_| (0, 0)),
    ]
}

/// A plan that is changed step by step.
struct Walk<'a> {
    state: State<'a>,
    /// Replicas on each machine.
    on: Vec<Vec<u32>>,
    /// Replicas without a place, and where in this list each is.
    waiting: Vec<u32>,
    at: Vec<u32>,
    /// The average value of a replica.
    value: i64,
}

impl<'a> Walk<'a> {
    fn new(problem: &'a Problem, plan: &[Option<Place>]) -> Self {
        let count = plan.len();
        let sum: i64 = problem.replicas().iter().map(|replica| replica.value).sum();
        let mut walk = Self {
            state: State::new(problem),
            on: vec![Vec::new(); problem.machines().len()],
            waiting: (0..count as u32).collect(),
            at: (0..count as u32).collect(),
            value: sum / count.max(1) as i64,
        };
        for (replica, place) in plan.iter().enumerate() {
            if let Some(place) = place {
                walk.put(replica, *place);
            }
        }
        walk
    }

    fn put(&mut self, replica: usize, place: Place) {
        self.state.put(replica, place);
        self.on[place.machine as usize].push(replica as u32);
        let at = self.at[replica] as usize;
        self.waiting.swap_remove(at);
        if let Some(moved) = self.waiting.get(at) {
            self.at[*moved as usize] = at as u32;
        }
    }

    fn lift(&mut self, replica: usize) -> Option<Place> {
        let place = self.state.lift(replica)?;
        let on = &mut self.on[place.machine as usize];
        if let Some(at) = on.iter().position(|one| *one as usize == replica) {
            on.swap_remove(at);
        }
        self.at[replica] = self.waiting.len() as u32;
        self.waiting.push(replica as u32);
        Some(place)
    }

    /// Lifts what is on a few machines in part, fills them anew, and takes that back if it costs too much.
    fn step(&mut self, lister: &Lister<'_>, random: &mut Random) {
        let problem = self.state.problem;
        let before = self.state.cost;
        let machines = self.machines(random);
        let share = [64, 32, 16][random.below(3) as usize];
        let mut tried: Vec<usize> = Vec::new();
        for machine in &machines {
            let lifted = self.on[*machine as usize].iter().filter(|_| random.below(64) < share);
            tried.extend(lifted.map(|replica| *replica as usize));
        }
        for _ in 0..WAITING_TRIED.min(self.waiting.len() as u32) {
            tried.push(self.waiting[random.below(self.waiting.len() as u32) as usize] as usize);
        }
        tried.sort_unstable();
        tried.dedup();
        let old: Vec<Option<Place>> = tried.iter().map(|replica| self.lift(*replica)).collect();
        for replica in ordered(problem, &tried, random) {
            if let Some(place) = self.cheapest(lister, replica, &machines, random) {
                self.put(replica, place);
            }
        }
        // Mostly nothing dearer is taken, and now and then much dearer.
        let noise = i64::from(random.below(1 << 10));
        let allowed = (i128::from(self.value) * i128::from(noise.pow(4))) >> 40;
        let allowed = if random.below(8) == 0 { allowed as i64 } else { 0 };
        if self.state.cost > before.saturating_add(allowed) {
            for replica in &tried {
                self.lift(*replica);
            }
            for (replica, place) in tried.iter().zip(old) {
                if let Some(place) = place {
                    self.put(*replica, place);
                }
            }
        }
    }

    /// One to three machines; one of them may be where a replica runs that has no place, or another one.
    fn machines(&self, random: &mut Random) -> Vec<u32> {
        let count = self.on.len() as u32;
        let mut machines: Vec<u32> =
            (0..=random.below(MACHINES_MOVED)).map(|_| random.below(count)).collect();
        let replica = random.below(self.at.len() as u32) as usize;
        if let Some(now) = self.state.problem.replicas()[replica].now
            && self.state.plan[replica] != Some(now)
        {
            machines.push(now.machine);
            machines.extend(self.state.plan[replica].map(|place| place.machine));
        }
        machines.sort_unstable();
        machines.dedup();
        machines
    }

    /// The cheapest place on these machines; among equals mostly the one on which least is left.
    fn cheapest(
        &self,
        lister: &Lister<'_>,
        replica: usize,
        machines: &[u32],
        random: &mut Random,
    ) -> Option<Place> {
        let problem = self.state.problem;
        let wanted = &problem.replicas()[replica];
        let model = problem.model_of(replica);
        let noise = [0, 1 << 16, 1 << 22][random.below(3) as usize];
        let mut best: Option<((i64, i64), Place)> = None;
        for &machine in machines {
            let left = lister.left(&self.state, model, machine) + i64::from(random.below(noise + 1));
            let mut tell = |place: Place| {
                let cost = problem.cost(replica, Some(place));
                if cost <= wanted.value && best.is_none_or(|best| (cost, left) < best.0) {
                    best = Some(((cost, left), place));
                }
            };
            if let Some(now) = wanted.now
                && now.machine == machine
                && self.state.fits(wanted.model, now)
            {
                tell(now);
            }
            self.state.places(wanted.model, machine, Choice::Tight, &mut tell);
            if model.devices > 0 && random.below(4) == 0 {
                self.state.places(wanted.model, machine, Choice::First, &mut tell);
            }
        }
        best.map(|best| best.1)
    }
}

/// Replicas in the order in which they are put: by value, by size or by chance, with some noise.
fn ordered(problem: &Problem, tried: &[usize], random: &mut Random) -> Vec<usize> {
    let by = random.below(4);
    let mut keyed: Vec<(i64, usize)> = tried
        .iter()
        .map(|&replica| {
            let [cores, _, shares, _] = demand(problem.model_of(replica));
            let noise = 512 + i128::from(random.below(1024));
            let value = i128::from(problem.replicas()[replica].value);
            let key = match by {
                0 => i128::from(random.below(u32::MAX)),
                1 => value * noise,
                2 => i128::from(shares.saturating_mul(1 << 10).saturating_add(cores)) * noise,
                _ => value * noise * 1024 / i128::from(shares.saturating_add(cores / 8).max(1)),
            };
            (-(key.min(i128::from(i64::MAX)) as i64), replica)
        })
        .collect();
    keyed.sort_unstable();
    keyed.into_iter().map(|(_, replica)| replica).collect()
}
