//! One replica after the other, each on the machine that a rule likes best: the baselines of the field, and the rule that the search
//! begins with.

use super::{
    problem::{Machine, Model, Place, Problem, WHOLE_MILLI, bits},
    state::{Choice, Free, State},
};

/// Resources are compared as fractions of this.
const UNIT: i64 = 1 << 20;
/// A unit of cost weighs more than all that can be left of a machine, four units; and 64 bits hold the sum.
const COST: i64 = 1 << 17;
/// Between two questions whether to go on lie so many replicas.
const ASK_EVERY: usize = 64;
/// Of all replicas so many hundredths are of the models that fragmentation is counted for, the most frequent ones first.
const FREQUENT_PERCENT: u64 = 95;

/// Which machine a replica is put on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// The first one that has room, on its first devices.
    FirstFit,
    /// The one on which least is left: `Σ (free − wanted) / greatest of all machines` over cores, memory, shares and memory of devices.
    BestFit,
    /// The one with the least `Σ free · wanted`, both as fractions of the greatest machine: what is scarce is kept for those that
    /// want it. (Panigrahy et al., "Heuristics for Vector Bin Packing", 2011, in the sense in which the paper of FGD compares it.)
    DotProduct,
    /// The one whose fragmentation grows least (Weng et al., "Beware of Fragmentation: Scheduling GPU-Sharing Workloads with
    /// Fragmentation Gradient Descent", USENIX ATC 2023, section 4): the shares of devices that a replica drawn from those that are
    /// wanted could not use, on average.
    Fgd,
    /// The one where the replica costs least, and among those the best fit.
    Cheapest,
}

impl Rule {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::FirstFit, Self::BestFit, Self::DotProduct, Self::Fgd, Self::Cheapest];
}

/// The demands that fragmentation is counted for, and how many replicas have them.
pub(super) struct Frequent<'a> {
    models: Vec<(&'a Model, i64)>,
}

impl<'a> Frequent<'a> {
    pub(super) fn new(problem: &'a Problem) -> Self {
        let mut counts = vec![0_u64; problem.models().len()];
        for replica in problem.replicas() {
            counts[replica.model as usize] += 1;
        }
        let mut order: Vec<usize> = (0..counts.len()).filter(|model| counts[*model] > 0).collect();
        order.sort_by_key(|model| (std::cmp::Reverse(counts[*model]), *model));
        let enough = problem.replicas().len() as u64 * FREQUENT_PERCENT;
        let mut covered = 0;
        let mut models = Vec::new();
        for model in order {
            if covered * 100 >= enough {
                break;
            }
            covered += counts[model];
            models.push((&problem.models()[model], counts[model] as i64));
        }
        Self { models }
    }

    /// Thousandths of free devices that cannot be used, times replicas.
    fn fragmentation(&self, machine: &Machine, free: &Free) -> i64 {
        let all: i64 = free.devices.iter().map(|device| device.0).sum();
        let of = |model: &Model| {
            if model.devices == 0 || model.cores_milli > free.cores_milli || model.memory > free.memory {
                return all;
            }
            let fits = |index: usize| {
                let room = free.devices[index];
                model.kinds >> machine.devices[index].kind & 1 == 1
                    && model.share_milli <= room.0
                    && model.device_memory <= room.1
            };
            let (mut usable, mut count) = (0, 0);
            for index in (0..free.devices.len()).filter(|index| fits(*index)) {
                usable += free.devices[index].0;
                count += 1;
            }
            if count < model.devices { all } else { all - usable }
        };
        self.models.iter().map(|(model, count)| count * of(model)).sum()
    }
}

/// Puts replicas on machines by a rule.
pub(super) struct Lister<'a> {
    problem: &'a Problem,
    frequent: Frequent<'a>,
    /// The greatest cores, memory, shares and memory of devices of a machine, at least 1.
    greatest: [i64; 4],
}

/// The score of a model on a machine, and how often the machine had changed when it was computed.
#[derive(Clone, Copy)]
struct Known {
    changes: u32,
    score: Option<i64>,
}

impl<'a> Lister<'a> {
    pub(super) fn new(problem: &'a Problem) -> Self {
        let mut greatest = [1; 4];
        for free in &State::new(problem).free {
            for (greatest, amount) in greatest.iter_mut().zip(amounts(free)) {
                *greatest = amount.max(*greatest);
            }
        }
        Self { problem, frequent: Frequent::new(problem), greatest }
    }

    /// Places each of these replicas that has no place and finds one that does not cost more than it is worth. Asks now and then
    /// whether to go on, and returns whether it came to the end.
    pub(super) fn place(
        &self,
        state: &mut State<'_>,
        rule: Rule,
        order: &[usize],
        goes_on: &mut dyn FnMut() -> bool,
    ) -> bool {
        let machines = self.problem.machines().len();
        let unknown = Known { changes: u32::MAX, score: None };
        let mut known = vec![unknown; machines * self.problem.models().len()];
        let mut changes = vec![0_u32; machines];
        for (number, &replica) in order.iter().enumerate() {
            if number % ASK_EVERY == ASK_EVERY - 1 && !goes_on() {
                return false;
            }
            if state.plan[replica].is_some() {
                continue;
            }
            let wanted = &self.problem.replicas()[replica];
            // What a running replica costs where it runs is its own; elsewhere it costs what others do, and moving.
            let runs_on = wanted.now.filter(|_| rule == Rule::Cheapest).map(|now| now.machine);
            let moving = if runs_on.is_some() { wanted.move_cost * COST } else { 0 };
            let mut best: Option<(i64, u32)> = None;
            for machine in 0..machines as u32 {
                // A zone that is full is not a change of the machine.
                if !state.is_apart(wanted.model, machine) {
                    continue;
                }
                let score = if runs_on == Some(machine) {
                    self.best(state, rule, wanted.model, Some(replica), machine).map(|best| best.0)
                } else {
                    let entry = &mut known[wanted.model as usize * machines + machine as usize];
                    if entry.changes != changes[machine as usize] {
                        let found = self.best(state, rule, wanted.model, None, machine);
                        let score = found.map(|best| best.0);
                        *entry = Known { changes: changes[machine as usize], score };
                    }
                    entry.score.map(|score| score + moving)
                };
                let Some(score) = score else { continue };
                if best.is_none_or(|best| score < best.0) {
                    best = Some((score, machine));
                    if rule == Rule::FirstFit {
                        break;
                    }
                }
            }
            let place = best.and_then(|(_, machine)| {
                let own = runs_on.filter(|runs_on| *runs_on == machine).map(|_| replica);
                self.best(state, rule, wanted.model, own, machine)
            });
            if let Some((_, place)) = place
                && self.problem.cost(replica, Some(place)) <= wanted.value
            {
                state.put(replica, place);
                changes[place.machine as usize] += 1;
            }
        }
        true
    }

    /// The best place on a machine by a rule, and its score: lower is better. Costs are those of one replica, or of any that does not
    /// run.
    fn best(
        &self,
        state: &State<'_>,
        rule: Rule,
        number: u32,
        own: Option<usize>,
        machine: u32,
    ) -> Option<(i64, Place)> {
        let model = &self.problem.models()[number as usize];
        let mut best: Option<(i64, Place)> = None;
        let mut tell = |place: Place| {
            let score = match rule {
                Rule::FirstFit => 0,
                Rule::BestFit => self.left(state, model, machine),
                Rule::DotProduct => self.product(state, model, machine),
                Rule::Fgd => self.growth(state, model, place),
                Rule::Cheapest => {
                    let cost = match own {
                        Some(replica) => self.problem.cost(replica, Some(place)),
                        None => self.problem.cost_there(number, false, place),
                    };
                    cost * COST + self.left(state, model, machine) / (8 * UNIT / COST)
                }
            };
            if best.is_none_or(|best| score < best.0) {
                best = Some((score, place));
            }
        };
        match rule {
            Rule::FirstFit => state.places(number, machine, Choice::First, &mut tell),
            Rule::Fgd if model.devices == 1 && model.share_milli < WHOLE_MILLI => {
                state.all_places(number, machine, false, &mut tell);
            }
            _ => state.places(number, machine, Choice::Tight, &mut tell),
        }
        best
    }

    /// What is left of a machine under a replica, in [`UNIT`]s.
    pub(super) fn left(&self, state: &State<'_>, model: &Model, machine: u32) -> i64 {
        let free = amounts(&state.free[machine as usize]);
        let left = free.iter().zip(demand(model)).zip(self.greatest);
        left.map(|((free, wanted), greatest)| part(free - wanted, greatest)).sum()
    }

    fn product(&self, state: &State<'_>, model: &Model, machine: u32) -> i64 {
        let free = amounts(&state.free[machine as usize]);
        let both = free.iter().zip(demand(model)).zip(self.greatest);
        both.map(|((free, wanted), greatest)| part(*free, greatest) * part(wanted, greatest)).sum()
    }

    fn growth(&self, state: &State<'_>, model: &Model, place: Place) -> i64 {
        let machine = &self.problem.machines()[place.machine as usize];
        let before = &state.free[place.machine as usize];
        let mut after = before.clone();
        after.cores_milli -= model.cores_milli;
        after.memory -= model.memory;
        for device in bits(place.devices) {
            after.devices[device].0 -= model.share_milli;
            after.devices[device].1 -= model.device_memory;
        }
        self.frequent.fragmentation(machine, &after) - self.frequent.fragmentation(machine, before)
    }
}

/// An amount in [`UNIT`]s of the greatest.
fn part(amount: i64, greatest: i64) -> i64 {
    (i128::from(amount) * i128::from(UNIT) / i128::from(greatest)) as i64
}

/// What is free: cores, memory, shares, memory of devices.
fn amounts(free: &Free) -> [i64; 4] {
    let (shares, memories) =
        free.devices.iter().fold((0, 0), |sum, device| (sum.0 + device.0, sum.1 + device.1));
    [free.cores_milli, free.memory, shares, memories]
}

/// What a replica takes: cores, memory, shares, memory of devices.
pub(super) fn demand(model: &Model) -> [i64; 4] {
    let devices = i64::from(model.devices);
    [model.cores_milli, model.memory, devices * model.share_milli, devices * model.device_memory]
}
