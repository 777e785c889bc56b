//! What no plan can be cheaper than: a Lagrangian relaxation.
//!
//! Every plan keeps to *rows* `Σ_i d(r, model of i) · x_i ≤ cap(r)`, where `x_i` is 1 if replica `i` has a place: all cores, all memory, the
//! devices of every set of kinds, and for every model the *slots*: however a machine is filled, it holds at most so many replicas that
//! each take at least what that model takes. With a price `λ_r ≥ 0` for each row, no plan gains more than
//!
//! ```text
//! Σ_r λ_r · cap(r) + Σ_i max(0, gain_i − Σ_r λ_r · d(r, model of i))
//! ```
//!
//! where `gain_i` is the value of `i` less the least it can cost (Geoffrion, "Lagrangean Relaxation for Integer Programming", 1974).
//! Any prices give a bound; good ones are found by raising the prices of rows that are overdrawn. All in whole numbers.

use super::{
    problem::{Machine, Model, Problem, WHOLE_MILLI, Within},
    state::{Choice, State},
};

/// Rows are divided into so many parts.
const ROW: i128 = 1 << 20;
/// Prices are in this part of a value.
const PRICE: i128 = 1 << 10;
/// What gains and prices are multiplied with to be compared.
const SCALE: i128 = ROW * PRICE;
/// How often prices are changed.
const ROUNDS: i128 = 200;
/// Most models that have rows of slots of their own.
const SLOT_MODELS_MAX: usize = 64;
/// Most sets of kinds that have rows of their own.
const KIND_SETS_MAX: usize = 16;

/// Prices, and what follows from them.
pub(super) struct Bound {
    /// What each replica gains at most by having a place; negative if it can have none, or one only at a loss.
    gains: Vec<i64>,
    /// The price of what a replica of each model takes, scaled.
    prices: Vec<i128>,
    /// The price of all there is, scaled.
    all: i128,
    /// Sum of all values.
    values: i64,
}

impl Bound {
    pub(super) fn new(problem: &Problem) -> Self {
        let gains = gains(problem);
        let values = problem.replicas().iter().map(|replica| replica.value).sum();
        let rows = rows(problem, &gains);
        let models = problem.models().len();
        let mut bound = Self { gains, prices: vec![0; models], all: 0, values };
        let mut best = (bound.all, bound.prices.clone());
        let mut upper = bound.upper(problem);
        let hoped: i128 = bound.gains.iter().map(|gain| i128::from((*gain).max(0))).sum();
        let mut lambda = vec![hoped * PRICE / (rows.len() as i128 + 1) + 1; rows.len()];
        for round in 0..ROUNDS {
            bound.all = lambda.iter().sum::<i128>() * ROW;
            for model in 0..models {
                bound.prices[model] = rows.iter().zip(&lambda).map(|(row, price)| row[model] * price).sum();
            }
            let found = bound.upper(problem);
            if found < upper {
                upper = found;
                best = (bound.all, bound.prices.clone());
            }
            let mut wanted = vec![0_i128; models];
            for (replica, gain) in problem.replicas().iter().zip(&bound.gains) {
                let model = replica.model as usize;
                wanted[model] += i128::from(i128::from(*gain) * SCALE > bound.prices[model]);
            }
            for (row, price) in rows.iter().zip(&mut lambda) {
                let used: i128 = row.iter().zip(&wanted).map(|(part, count)| part * count).sum();
                // From half to double, and less and less as time goes by.
                let over = (used - ROW).clamp(-ROW / 2, ROW);
                *price = (*price + *price * over * 8 / (ROW * (8 + round))).max(1);
            }
        }
        (bound.all, bound.prices) = best;
        bound
    }

    /// What all replicas together gain at most, scaled.
    pub(super) fn upper(&self, problem: &Problem) -> i128 {
        self.all + (0..self.gains.len()).map(|replica| self.hoped(problem, replica)).sum::<i128>()
    }

    /// What a replica that may have a place or not adds to the upper bound, scaled.
    pub(super) fn hoped(&self, problem: &Problem, replica: usize) -> i128 {
        self.placed(problem, replica, self.gains[replica]).max(0)
    }

    /// What a replica that has a place and gains so much adds to the upper bound, scaled.
    pub(super) fn placed(&self, problem: &Problem, replica: usize, gain: i64) -> i128 {
        i128::from(gain) * SCALE - self.prices[problem.replicas()[replica].model as usize]
    }

    /// The cost below which no plan is, if it gains at most so much.
    pub(super) fn cost(&self, upper: i128) -> i64 {
        self.values - upper.div_euclid(SCALE) as i64
    }
}

/// What no plan costs less than.
pub fn lower_bound(problem: &Problem) -> i64 {
    let bound = Bound::new(problem);
    bound.cost(bound.upper(problem))
}

/// What each replica gains at most: its value less the least that it costs on empty machines.
fn gains(problem: &Problem) -> Vec<i64> {
    let empty = State::new(problem);
    let machines = problem.machines().len() as u32;
    let least = |replica: usize, machine: u32| {
        let model = problem.replicas()[replica].model;
        let mut least: Option<i64> = None;
        empty.places(model, machine, Choice::Tight, &mut |place| {
            let cost = problem.cost(replica, Some(place));
            least = Some(least.map_or(cost, |least| least.min(cost)));
        });
        least
    };
    // Without where it runs and with a cost of moving of zero, replicas of a model are alike.
    let mut of_model: Vec<Option<Option<i64>>> = vec![None; problem.models().len()];
    let gain = |replica: usize| {
        let wanted = &problem.replicas()[replica];
        let elsewhere = *of_model[wanted.model as usize].get_or_insert_with(|| {
            (0..machines).filter_map(|machine| anywhere(problem, &empty, wanted.model, machine)).min()
        });
        let moved = if wanted.now.is_some() { wanted.move_cost } else { 0 };
        let mut cheapest = elsewhere.map(|cost| cost + moved);
        if let Some(now) = wanted.now {
            let stays = empty.fits(wanted.model, now).then(|| problem.cost(replica, Some(now)));
            cheapest = [cheapest, stays, least(replica, now.machine)].into_iter().flatten().min();
        }
        cheapest.map_or(-1, |cost| wanted.value - cost)
    };
    (0..problem.replicas().len()).map(gain).collect()
}

/// What a replica that does not run yet costs on an empty machine, if it fits.
fn anywhere(problem: &Problem, empty: &State<'_>, model: u32, machine: u32) -> Option<i64> {
    let mut least: Option<i64> = None;
    empty.places(model, machine, Choice::Tight, &mut |place| {
        let cost = problem.cost_there(model, false, place);
        least = Some(least.map_or(cost, |least| least.min(cost)));
    });
    least
}

/// The rows: for each model the part of the row that one replica takes, of [`ROW`]. Parts are rounded down, so a plan keeps to them.
fn rows(problem: &Problem, gains: &[i64]) -> Vec<Vec<i128>> {
    let (machines, models) = (problem.machines(), problem.models());
    let mut rows = Rows { rows: Vec::new(), models };
    let numa = || machines.iter().flat_map(|machine| &machine.numa);
    let cores: i128 = numa().map(|node| i128::from(node.cores_milli)).sum();
    let memory: i128 = numa().map(|node| i128::from(node.memory)).sum();
    rows.add(cores, |_, model| i128::from(model.cores_milli));
    rows.add(memory, |_, model| i128::from(model.memory));

    let mut sets: Vec<u64> =
        models.iter().filter(|model| model.devices > 0).map(|model| model.kinds).collect();
    sets.push(u64::MAX);
    sets.sort_unstable_by_key(|set| (std::cmp::Reverse(set.count_ones()), *set));
    sets.dedup();
    sets.truncate(KIND_SETS_MAX);
    for set in sets {
        let devices = || machines.iter().flat_map(|machine| &machine.devices);
        let within = || devices().filter(|device| set >> device.kind & 1 == 1);
        let only = |model: &Model| model.devices > 0 && model.kinds & !set == 0;
        let part = |model: &Model, amount: i64| {
            if only(model) { i128::from(model.devices) * i128::from(amount) } else { 0 }
        };
        let memory = within().map(|device| i128::from(device.memory)).sum();
        rows.add(within().count() as i128 * i128::from(WHOLE_MILLI), |_, model| {
            part(model, model.share_milli)
        });
        rows.add(memory, |_, model| part(model, model.device_memory));
    }

    let mut hoped = vec![0_i64; models.len()];
    for (replica, gain) in problem.replicas().iter().zip(gains) {
        hoped[replica.model as usize] += (*gain).max(0);
    }
    let mut order: Vec<usize> = (0..models.len()).filter(|model| hoped[*model] > 0).collect();
    order.sort_by_key(|model| (std::cmp::Reverse(hoped[*model]), *model));
    for index in order.into_iter().take(SLOT_MODELS_MAX) {
        let least = &models[index];
        let slots = machines.iter().map(|machine| i128::from(slots(machine, least))).sum();
        rows.add(slots, |_, model| i128::from(takes_as_much(model, least)));
        let mut zones = vec![0_i128; problem.zones()];
        for machine in machines {
            let here = slots_within(machine, least).min(i64::from(least.per_machine_max));
            zones[machine.zone as usize] += i128::from(here);
        }
        let most = i128::from(least.per_zone_max);
        rows.add(zones.iter().map(|zone| (*zone).min(most)).sum(), |number, _| i128::from(number == index));
    }
    rows.rows
}

struct Rows<'a> {
    rows: Vec<Vec<i128>>,
    models: &'a [Model],
}

impl Rows<'_> {
    fn add(&mut self, cap: i128, takes: impl Fn(usize, &Model) -> i128) {
        // Of what there is nothing, nothing can be placed that takes some; the gains know that already.
        if cap > 0 {
            let parts =
                self.models.iter().enumerate().map(|(number, model)| takes(number, model) * ROW / cap);
            self.rows.push(parts.collect());
        }
    }
}

/// Whether a model takes at least what another takes, from the same devices or fewer.
fn takes_as_much(model: &Model, least: &Model) -> bool {
    let devices = least.devices == 0
        || (model.devices >= least.devices
            && model.share_milli >= least.share_milli
            && model.device_memory >= least.device_memory
            && model.kinds & !least.kinds == 0);
    model.cores_milli >= least.cores_milli && model.memory >= least.memory && devices
}

/// How often an amount goes into another.
fn times(room: i64, amount: i64) -> i64 {
    if amount == 0 { i64::from(u32::MAX) } else { room / amount }
}

/// Most replicas that a machine can hold if each takes at least what this model takes.
fn slots(machine: &Machine, model: &Model) -> i64 {
    let cores = machine.numa.iter().map(|node| node.cores_milli).sum();
    let memory = machine.numa.iter().map(|node| node.memory).sum();
    group(machine, model, cores, memory, |_| true)
}

/// Most replicas of this very model that a machine can hold: they keep to islands and NUMA nodes.
fn slots_within(machine: &Machine, model: &Model) -> i64 {
    let all = slots(machine, model);
    let cores = machine.numa.iter().map(|node| node.cores_milli).sum();
    let memory = machine.numa.iter().map(|node| node.memory).sum();
    let parts: i64 = match model.within {
        Within::Machine => return all,
        Within::Island if model.devices == 0 => return all,
        Within::Island => {
            (0..16).map(|island| group(machine, model, cores, memory, |device| device.island == island)).sum()
        }
        Within::Numa => {
            let nodes = machine.numa.iter().enumerate();
            let on = |(index, node): (usize, &super::Numa)| {
                group(machine, model, node.cores_milli, node.memory, |device| {
                    usize::from(device.numa) == index
                })
            };
            nodes.map(on).sum()
        }
    };
    all.min(parts)
}

fn group(
    machine: &Machine,
    model: &Model,
    cores: i64,
    memory: i64,
    is_in: impl Fn(&super::Device) -> bool,
) -> i64 {
    let by_devices = if model.devices == 0 {
        i64::MAX
    } else {
        let usable =
            machine.devices.iter().filter(|device| is_in(device) && model.kinds >> device.kind & 1 == 1);
        let parts = usable.map(|device| {
            times(WHOLE_MILLI, model.share_milli).min(times(device.memory, model.device_memory))
        });
        parts.sum::<i64>() / i64::from(model.devices)
    };
    times(cores, model.cores_milli).min(times(memory, model.memory)).min(by_devices)
}
