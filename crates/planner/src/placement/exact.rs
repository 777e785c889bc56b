//! Branch and bound over replicas, the largest first: each on every place that matters, or on none. A branch ends when even the prices
//! of [`Bound`] promise nothing better, or when the same machines were as full at no greater cost before. Machines that are alike and
//! equally full are tried once; so are devices. Of replicas that are alike, the less valued have no place if the more valued have none.

use std::collections::BTreeMap;

use super::{
    bound::Bound,
    list::demand,
    problem::{Place, Problem},
    search::Search,
    state::State,
};

/// Most replicas, and devices, of a problem that is searched to the end.
const REPLICAS_MAX: usize = 64;
const DEVICES_MAX: usize = 64;
/// Most machines.
const MACHINES_MAX: usize = 32;
/// Most states that are remembered.
const REMEMBERED_MAX: usize = 1 << 15;
/// Most evaluations, after which only the heuristic goes on.
pub(super) const EVALUATIONS_MAX: u64 = 1 << 18;

/// Whether a problem is small enough.
pub(super) fn is_small(problem: &Problem) -> bool {
    let devices: usize = problem.machines().iter().map(|machine| machine.devices.len()).sum();
    problem.replicas().len() <= REPLICAS_MAX
        && devices <= DEVICES_MAX
        && problem.machines().len() <= MACHINES_MAX
}

/// Searches all plans. Returns whether it came to the end, so that the best one is proven.
pub(super) fn search(search: &mut Search<'_>, bound: &Bound) -> bool {
    let problem = search.problem;
    let totals = State::new(problem).free.iter().fold([1_i64; 4], |sum, free| {
        let devices = free.devices.iter().fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
        [sum[0] + free.cores_milli, sum[1] + free.memory, sum[2] + devices.0, sum[3] + devices.1]
    });
    let size = |replica: usize| {
        let parts = demand(problem.model_of(replica));
        parts.iter().zip(totals).map(|(part, total)| i128::from(*part) * 1_000_000 / i128::from(total)).max()
    };
    let replicas = problem.replicas();
    let mut order: Vec<usize> = (0..replicas.len()).collect();
    order.sort_by_key(|replica| {
        let wanted = &replicas[*replica];
        let value = std::cmp::Reverse(wanted.value);
        (std::cmp::Reverse(size(*replica)), wanted.model, wanted.now.is_some(), value, *replica)
    });
    let is_weaker = |pair: &[usize]| {
        let (first, second) = (&replicas[pair[0]], &replicas[pair[1]]);
        first.model == second.model && first.now.is_none() && second.now.is_none()
    };
    let weaker = [false].into_iter().chain(order.windows(2).map(is_weaker)).collect();
    let mut last_runs = vec![0; problem.machines().len()];
    for (depth, replica) in order.iter().enumerate() {
        if let Some(now) = replicas[*replica].now {
            last_runs[now.machine as usize] = depth + 1;
        }
    }
    let mut branching = Branching {
        bound,
        classes: classes(problem),
        last_runs,
        state: State::new(problem),
        remembered: BTreeMap::new(),
        ends_at: search.evaluations.saturating_add(EVALUATIONS_MAX),
        order,
        weaker,
        search,
    };
    let upper = bound.upper(problem);
    branching.branch(0, upper, true)
}

/// Equal numbers for machines that are alike, and hold the files of the same models.
fn classes(problem: &Problem) -> Vec<i64> {
    let mut known = BTreeMap::new();
    let machines = problem.machines().iter().enumerate();
    let class = |(index, machine)| {
        let files: Vec<bool> = (0..problem.models().len())
            .map(|model| problem.is_resident(model as u32, index as u32))
            .collect();
        let next = known.len() as i64;
        *known.entry((machine, files)).or_insert(next)
    };
    machines.map(class).collect()
}

struct Branching<'s, 'a> {
    search: &'s mut Search<'a>,
    bound: &'s Bound,
    order: Vec<usize>,
    /// Whether the replica before each is alike, and worth at least as much.
    weaker: Vec<bool>,
    classes: Vec<i64>,
    /// The depth from which on no replica is left that runs on each machine.
    last_runs: Vec<usize>,
    state: State<'a>,
    /// The least cost at which replicas up to a depth filled the machines in some way.
    remembered: BTreeMap<Vec<i64>, i64>,
    ends_at: u64,
}

impl Branching<'_, '_> {
    /// Tries all for the replica at this depth. Returns whether all that could be better was tried.
    fn branch(&mut self, depth: usize, upper: i128, before_has_place: bool) -> bool {
        if !self.search.goes_on() || self.search.evaluations >= self.ends_at {
            return false;
        }
        self.search.count();
        let Some(&replica) = self.order.get(depth) else {
            self.search.keep(&self.state);
            return true;
        };
        let problem = self.search.problem;
        if self.bound.cost(self.promised(depth, upper)) >= self.search.cost {
            return true;
        }
        let may_have_place = before_has_place || !self.weaker[depth];
        let looks: Vec<Vec<i64>> =
            (0..problem.machines().len()).map(|machine| self.looks(machine, depth)).collect();
        if self.was_better_before(depth, may_have_place, &looks) {
            return true;
        }
        let hoped = self.bound.hoped(problem, replica);
        let mut complete = true;
        if may_have_place {
            for (_, place) in self.places(replica, depth, &looks) {
                let gain = problem.replicas()[replica].value - problem.cost(replica, Some(place));
                self.state.put(replica, place);
                let upper = upper - hoped + self.bound.placed(problem, replica, gain);
                complete &= self.branch(depth + 1, upper, true);
                self.state.lift(replica);
            }
        }
        self.branch(depth + 1, upper - hoped, false) && complete
    }

    /// The places that matter, the cheapest first.
    fn places(&self, replica: usize, depth: usize, looks: &[Vec<i64>]) -> Vec<(i64, Place)> {
        let problem = self.search.problem;
        let wanted = &problem.replicas()[replica];
        let mut places = Vec::new();
        for machine in 0..looks.len() {
            if looks[..machine].contains(&looks[machine]) {
                continue;
            }
            let each = depth < self.last_runs[machine];
            self.state.all_places(wanted.model, machine as u32, each, &mut |place| {
                let cost = problem.cost(replica, Some(place));
                if cost <= wanted.value {
                    places.push((cost, place));
                }
            });
        }
        places.sort_unstable();
        places
    }

    /// The upper bound without the replicas that no longer fit anywhere.
    fn promised(&self, depth: usize, upper: i128) -> i128 {
        let problem = self.search.problem;
        let mut fits: BTreeMap<u32, bool> = BTreeMap::new();
        let mut upper = upper;
        for replica in &self.order[depth..] {
            let model = problem.replicas()[*replica].model;
            let fits = *fits.entry(model).or_insert_with(|| {
                (0..problem.machines().len() as u32).any(|machine| self.state.has_room(model, machine))
            });
            if !fits {
                upper -= self.bound.hoped(problem, *replica);
            }
        }
        upper
    }

    /// What a machine looks like to the replicas from this depth on. Equal ones can be exchanged.
    fn looks(&self, machine: usize, depth: usize) -> Vec<i64> {
        let problem = self.search.problem;
        let (free, known) = (&self.state.free[machine], &problem.machines()[machine]);
        let counts_itself = depth < self.last_runs[machine];
        let itself = if counts_itself { machine as i64 } else { -1 };
        let mut looks = vec![self.classes[machine], itself, free.cores_milli, free.memory];
        looks.extend(free.numa.iter().flat_map(|node| [node.0, node.1]));
        let mut devices: Vec<_> = known.devices.iter().zip(&free.devices).collect();
        if !counts_itself {
            devices.sort_unstable();
        }
        for (device, room) in devices {
            let is = i64::from(device.kind) << 16 | i64::from(device.numa) << 8 | i64::from(device.island);
            looks.extend([is, device.memory, room.0, room.1]);
        }
        for (number, model) in problem.models().iter().enumerate() {
            if model.per_machine_max.min(model.per_zone_max) as usize <= self.order.len() {
                looks.push(i64::from(self.state.count(number as u32, machine as u32)));
            }
        }
        looks
    }

    fn was_better_before(&mut self, depth: usize, may_have_place: bool, looks: &[Vec<i64>]) -> bool {
        let mut looks = looks.to_vec();
        looks.sort_unstable();
        let mut key = vec![depth as i64, i64::from(may_have_place)];
        key.extend(looks.into_iter().flatten());
        if let Some(before) = self.remembered.get_mut(&key) {
            if *before <= self.state.cost {
                return true;
            }
            *before = self.state.cost;
        } else if self.remembered.len() < REMEMBERED_MAX {
            self.remembered.insert(key, self.state.cost);
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        Budget, Random, Unlimited,
        placement::{Device, Machine, Model, Numa, Place, Problem, Replica, Within, verify},
    };

    use super::{Bound, Search, search};

    /// Two machines that are alike but for files and what runs on them.
    fn problem(random: &mut Random) -> Problem {
        let device = Device { kind: 0, memory: 10, numa: 0, island: 0 };
        let numa = vec![Numa { cores_milli: 10, memory: 10 }];
        let machines = vec![Machine { numa, devices: vec![device; 2], zone: 0 }; 2];
        let mut below = |end: u32| i64::from(random.below(end));
        let models = (0..2)
            .map(|_| Model {
                cores_milli: below(5),
                memory: 0,
                devices: 1 + below(2) as u8,
                share_milli: [400, 500, 1000][below(3) as usize],
                device_memory: below(6),
                kinds: 1,
                within: Within::Machine,
                per_machine_max: 1 + below(3) as u32,
                per_zone_max: 4,
                resident_on: if below(3) == 0 { vec![below(2) as u32] } else { Vec::new() },
                load_cost: below(9),
                across_cost: 0,
            })
            .collect::<Vec<_>>();
        let replica = |_| {
            let model = below(2) as u32;
            let one = models[model as usize].devices == 1;
            let devices = if one { 1 << below(2) } else { 3 };
            let place = Place { machine: below(2) as u32, devices, numa: None };
            let now = (below(2) == 0).then_some(place);
            Replica { model, value: below(12), now, move_cost: below(8) }
        };
        let replicas = (0..5).map(replica).collect();
        Problem::new(machines, models, replicas).unwrap()
    }

    fn cheapest(problem: &Problem, plan: &mut Vec<Option<Place>>, replica: usize) -> i128 {
        if replica == plan.len() {
            return verify(problem, plan).unwrap();
        }
        let mut best = cheapest(problem, plan, replica + 1);
        for (machine, devices) in (0..2).flat_map(|machine| (1..4).map(move |devices| (machine, devices))) {
            plan[replica] = Some(Place { machine, devices, numa: None });
            if verify(problem, plan).is_ok() {
                best = best.min(cheapest(problem, plan, replica + 1));
            }
        }
        plan[replica] = None;
        best
    }

    /// Without the heuristics, which mostly find the best plan before.
    #[test]
    fn branches_alone_find_the_best_plan() {
        let mut random = Random::new(1);
        for _ in 0..400 {
            let problem = problem(&mut random);
            let mut control = Unlimited;
            let budget = Budget { evaluations: u64::MAX };
            let mut found = Search::new(&problem, budget, i64::MIN, &mut control);
            assert!(search(&mut found, &Bound::new(&problem)));
            let best = cheapest(&problem, &mut vec![None; problem.replicas().len()], 0);
            assert_eq!(i128::from(found.cost), best, "{problem:?}");
        }
    }
}
