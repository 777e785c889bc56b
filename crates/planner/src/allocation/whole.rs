//! Tasks that cannot be divided: each on one device, so that the last one is finished soonest (`R||Cmax`).
//!
//! Lists, branch and bound with prices if there are few tasks, and local search. The bound: of devices with weights `λ` that sum up to `Λ`
//! the loads are `Σ_i λ_i · load_i ≤ Λ · Cmax`, so `Σ_j min_i λ_i · p_ij ≤ Λ · Cmax`; and if no schedule is longer than `T`, only pairs with
//! `p_ij ≤ T` can be used, which makes the left side greater (the pruning of Lenstra, Shmoys and Tardos, Mathematical Programming 46,
//! 1990). The bound is one more than the greatest `T` that is refuted.

use super::{
    divide::fastest,
    offer::{AllocationError, Offer},
};
use crate::{Budget, Control, Progress, Random};

/// Weights are parts of this.
const WEIGHT: i64 = 1 << 16;
/// How often weights are changed.
const ROUNDS: i64 = 40;
/// Most tasks that are searched to the end, and most branches of that search.
const EXACT_TASKS_MAX: usize = 32;
const BRANCHES_MAX: u64 = 1 << 16;
/// Local moves before a small problem is searched to the end.
const MOVES_FIRST: u64 = 1_000;
/// Most tasks that a move lifts.
const LIFTED_MAX: u32 = 8;
/// Between two questions whether to go on lie so many evaluations.
const ASK_EVERY: u64 = 64;

/// Each task on one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Whole {
    /// The device of each task; none if it has no work and no device could do it.
    pub devices: Vec<Option<u32>>,
    /// Ticks until all is done.
    pub makespan: i64,
    /// No assignment is done sooner.
    pub lower_bound: i64,
    /// Lists, moves and branches: with this budget the same assignment is found again, on any machine.
    pub evaluations: u64,
}

/// How long each task takes on each device that can do it: `⌈work / speed⌉`, and loading where it is not resident.
fn times(offer: &Offer) -> Vec<Vec<(u32, i64)>> {
    let time = |task: usize, device: u32| {
        let wanted = &offer.tasks()[task];
        let is_there = wanted.work == 0 || wanted.resident_on.contains(&device);
        let speed = offer.devices()[device as usize].speed;
        wanted.work.div_euclid(speed)
            + i64::from(wanted.work % speed > 0)
            + if is_there { 0 } else { wanted.load_ticks }
    };
    (0..offer.tasks().len())
        .map(|task| offer.able(task).iter().map(|device| (*device, time(task, *device))).collect())
        .collect()
}

/// Finds an assignment. Ends when the budget is used up, when the control says so, or when it is proven; with a budget of zero it is that
/// of the first list.
pub fn whole(
    offer: &Offer,
    budget: Budget,
    seed: u64,
    control: &mut dyn Control,
) -> Result<Whole, AllocationError> {
    let times = times(offer);
    // Tasks of 2^34 ticks each, 2^14 of them: 64 bits hold the sums, and with weights 128 bits do.
    let devices = offer.devices().len();
    let (lower_bound, weights) = lower_bound(offer, &times)?;
    let mut search = Search {
        times: &times,
        control,
        budget,
        evaluations: 0,
        stopped: false,
        on: vec![NOWHERE; times.len()],
        load: vec![0; devices],
        best: vec![NOWHERE; times.len()],
        makespan: i64::MAX,
        lower_bound,
    };
    let mut random = Random::new(seed);
    for (number, rule) in [List::Longest, List::MinMin, List::MaxMin, List::Sufferage].into_iter().enumerate()
    {
        if number > 0 {
            if !search.goes_on() {
                break;
            }
            search.evaluations += 1;
        }
        search.list(rule);
        search.ask();
    }
    if times.len() <= EXACT_TASKS_MAX {
        search.moves(&mut random, MOVES_FIRST);
        if search.goes_on() && search.branches(&weights) {
            search.lower_bound = search.makespan;
            search.stopped = true;
        }
    }
    search.moves(&mut random, u64::MAX);
    let Search { best, makespan, lower_bound, evaluations, .. } = search;
    let devices = best.into_iter().map(|device| (device != NOWHERE).then_some(device)).collect();
    Ok(Whole { devices, makespan, lower_bound, evaluations })
}

/// No device.
const NOWHERE: u32 = u32::MAX;

#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    /// The task that is longest even where it is shortest goes first, to where it is finished soonest.
    Longest,
    /// The task that can be finished soonest, then the next (Maheswaran et al., JPDC 59, 1999; also the next two).
    MinMin,
    /// The task whose soonest finish is latest.
    MaxMin,
    /// The task that loses most if it does not get its best device.
    Sufferage,
}

struct Search<'a> {
    times: &'a [Vec<(u32, i64)>],
    control: &'a mut dyn Control,
    budget: Budget,
    evaluations: u64,
    stopped: bool,
    on: Vec<u32>,
    load: Vec<i64>,
    best: Vec<u32>,
    makespan: i64,
    lower_bound: i64,
}

impl Search<'_> {
    fn goes_on(&self) -> bool {
        !self.stopped && self.evaluations < self.budget.evaluations
    }

    fn count(&mut self) {
        self.evaluations += 1;
        if self.evaluations.is_multiple_of(ASK_EVERY) {
            self.ask();
        }
    }

    fn ask(&mut self) {
        let (evaluations, best, bound) = (self.evaluations, self.makespan, self.lower_bound);
        self.stopped |= !self.control.goes_on(Progress { evaluations, best, bound });
    }

    fn longest(&self) -> i64 {
        self.load.iter().copied().max().unwrap_or_default()
    }

    fn keep(&mut self) {
        let makespan = self.longest();
        if makespan < self.makespan {
            self.makespan = makespan;
            self.best.clone_from(&self.on);
            self.stopped |= makespan <= self.lower_bound;
        }
    }

    fn put(&mut self, task: usize, device: u32, ticks: i64) {
        self.on[task] = device;
        self.load[device as usize] += ticks;
    }

    fn lift(&mut self, task: usize) {
        let device = self.on[task];
        if let Some((_, ticks)) = self.times[task].iter().find(|time| time.0 == device) {
            self.load[device as usize] -= ticks;
            self.on[task] = NOWHERE;
        }
    }

    /// The two soonest finishes of a task, and the device of the first.
    fn soonest(&self, task: usize) -> Option<(i64, i64, u32, i64)> {
        let mut best: Option<(i64, i64, u32, i64)> = None;
        for (device, ticks) in &self.times[task] {
            let finish = self.load[*device as usize] + ticks;
            best = Some(match best {
                None => (finish, i64::MAX, *device, *ticks),
                Some(best) if finish < best.0 => (finish, best.0, *device, *ticks),
                Some(best) => (best.0, best.1.min(finish), best.2, best.3),
            });
        }
        best
    }

    fn list(&mut self, rule: List) {
        self.on.fill(NOWHERE);
        self.load.fill(0);
        let shortest = |task: usize| self.times[task].iter().map(|time| time.1).min();
        let mut left: Vec<usize> = (0..self.times.len()).filter(|task| shortest(*task).is_some()).collect();
        left.sort_by_key(|task| (std::cmp::Reverse(shortest(*task)), *task));
        // The other rules look at all that is left each time; many tasks are looked at in parts of so many.
        let window = if rule == List::Longest { 1 } else { 1 << 8 };
        let mut waiting: Vec<usize> = Vec::new();
        let mut next = left.into_iter();
        loop {
            waiting.extend(next.by_ref().take(window - waiting.len()));
            let mut chosen: Option<(i64, usize, u32, i64)> = None;
            for (at, task) in waiting.iter().enumerate() {
                let Some((first, second, device, ticks)) = self.soonest(*task) else { continue };
                let key = match rule {
                    List::Longest => 0,
                    List::MinMin => first,
                    List::MaxMin => -first,
                    List::Sufferage => first.saturating_sub(second),
                };
                if chosen.is_none_or(|chosen| key < chosen.0) {
                    chosen = Some((key, at, device, ticks));
                }
            }
            let Some((_, at, device, ticks)) = chosen else { break };
            let task = waiting.remove(at);
            self.put(task, device, ticks);
        }
        self.keep();
    }

    /// Lifts a few tasks, some of them from the device that is finished last, and puts each where it is finished soonest.
    fn moves(&mut self, random: &mut Random, most: u64) {
        self.on.clone_from(&self.best);
        self.load.fill(0);
        let mut tasks: Vec<Vec<u32>> = vec![Vec::new(); self.load.len()];
        for task in 0..self.times.len() {
            if let Some((device, ticks)) = self.times[task].iter().find(|time| time.0 == self.on[task]) {
                self.load[*device as usize] += ticks;
                tasks[*device as usize].push(task as u32);
            }
        }
        let ends_at = self.evaluations.saturating_add(most);
        while self.goes_on() && self.evaluations < ends_at && self.load.len() > 1 {
            self.step(&mut tasks, random);
            self.keep();
            self.count();
        }
    }

    fn step(&mut self, tasks: &mut [Vec<u32>], random: &mut Random) {
        let last = (0..self.load.len()).max_by_key(|device| self.load[*device]).unwrap_or_default();
        let before = self.longest();
        let mut lifted: Vec<(usize, u32)> = Vec::new();
        for number in 0..=random.below(LIFTED_MAX) {
            let from = if number % 2 == 0 { last } else { random.below(self.load.len() as u32) as usize };
            let count = tasks[from].len() as u32;
            if count > 0 {
                let task = tasks[from].swap_remove(random.below(count) as usize) as usize;
                lifted.push((task, from as u32));
                self.lift(task);
            }
        }
        let mut order: Vec<(i64, usize)> = lifted
            .iter()
            .map(|(task, _)| {
                let shortest = self.times[*task].iter().map(|time| time.1).min().unwrap_or_default();
                (-(shortest / 64 * i64::from(32 + random.below(64))), *task)
            })
            .collect();
        order.sort_unstable();
        for (_, task) in order {
            // Finishing soonest, or taking little time: both matter, and now and then not the best is right.
            let slack = i64::from(random.below(3));
            let times = self.times[task].iter();
            let key =
                |time: &(u32, i64)| (self.load[time.0 as usize] + time.1).saturating_add(time.1 * slack);
            let Some(&(device, ticks)) = times
                .filter(|_| random.below(8) > 0)
                .min_by_key(|time| key(time))
                .or_else(|| self.times[task].first())
            else {
                continue;
            };
            self.put(task, device, ticks);
            tasks[device as usize].push(task as u32);
        }
        // Equal ones are taken: among them lies the way on. Slightly longer ones now and then.
        let allowed = if random.below(64) == 0 { before / 64 } else { 0 };
        if self.longest() > before + allowed {
            for (task, _) in &lifted {
                let device = self.on[*task] as usize;
                if let Some(at) = tasks[device].iter().position(|one| *one as usize == *task) {
                    tasks[device].swap_remove(at);
                }
                self.lift(*task);
            }
            for (task, device) in lifted {
                if let Some((_, ticks)) = self.times[task].iter().find(|time| time.0 == device) {
                    self.put(task, device, *ticks);
                    tasks[device as usize].push(task as u32);
                }
            }
        }
    }

    /// Branch and bound. Returns whether it came to the end.
    fn branches(&mut self, weights: &[i64]) -> bool {
        self.on.fill(NOWHERE);
        self.load.fill(0);
        let least = |task: usize| priced(&self.times[task], weights, i64::MAX).unwrap_or_default();
        let mut order: Vec<usize> =
            (0..self.times.len()).filter(|task| !self.times[*task].is_empty()).collect();
        order.sort_by_key(|task| (std::cmp::Reverse(least(*task)), *task));
        // What is left from each depth on costs at least so much.
        let mut rest = vec![0_i128; order.len() + 1];
        for depth in (0..order.len()).rev() {
            rest[depth] = rest[depth + 1] + least(order[depth]);
        }
        let ends_at = self.evaluations.saturating_add(BRANCHES_MAX);
        self.branch(0, 0, &order, &rest, weights, ends_at)
    }

    fn branch(
        &mut self,
        depth: usize,
        paid: i128,
        order: &[usize],
        rest: &[i128],
        weights: &[i64],
        ends_at: u64,
    ) -> bool {
        if !self.goes_on() || self.evaluations >= ends_at {
            return false;
        }
        self.count();
        let all: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
        if self.longest() >= self.makespan || paid + rest[depth] > i128::from(self.makespan - 1) * all {
            return true;
        }
        let Some(&task) = order.get(depth) else {
            self.keep();
            return true;
        };
        let mut choices = self.times[task].clone();
        choices.sort_by_key(|(device, ticks)| (self.load[*device as usize] + ticks, *device));
        let mut complete = true;
        for (device, ticks) in choices {
            let paid = paid + i128::from(ticks) * i128::from(weights[device as usize]);
            self.put(task, device, ticks);
            complete &= self.branch(depth + 1, paid, order, rest, weights, ends_at);
            self.lift(task);
        }
        complete
    }
}

/// The least weighted time of a task on a device where it takes at most so long.
fn priced(times: &[(u32, i64)], weights: &[i64], most: i64) -> Option<i128> {
    let usable = times.iter().filter(|time| time.1 <= most);
    usable.map(|(device, ticks)| i128::from(*ticks) * i128::from(weights[*device as usize])).min()
}

/// The bound, and the weights of devices that show it, from 1. It is at least the time of divided work without loading, and the first
/// weights are the proof of that time: the speeds of the devices that it keeps busy.
fn lower_bound(offer: &Offer, times: &[Vec<(u32, i64)>]) -> Result<(i64, Vec<i64>), AllocationError> {
    let divided = fastest(offer)?;
    let speeds = offer.devices().iter().map(|device| device.speed);
    let top = speeds.max().unwrap_or_default().max(1);
    let mut start = vec![1; offer.devices().len()];
    for device in divided.bottleneck.iter().flat_map(|task| offer.able(*task)) {
        let device = *device as usize;
        start[device] = (offer.devices()[device].speed * WEIGHT / top).max(1);
    }
    let divided = divided.ticks.0 / divided.ticks.1 + i64::from(divided.ticks.0 % divided.ticks.1 > 0);
    let tasks: Vec<&Vec<(u32, i64)>> = times.iter().filter(|times| !times.is_empty()).collect();
    let shortest = |times: &&Vec<(u32, i64)>| times.iter().map(|time| time.1).min().unwrap_or_default();
    // What is refuted, and what need not be: all on their fastest devices one after the other is a schedule.
    let mut low = tasks.iter().map(shortest).max().unwrap_or_default().max(divided) - 1;
    let mut high = tasks.iter().map(shortest).sum::<i64>();
    let mut weights = start.clone();
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        let (bound, found) = relaxed(&tasks, &start, middle);
        if bound > middle {
            (low, weights) = (middle, found);
        } else {
            high = middle;
        }
    }
    Ok((low + 1, weights))
}

/// The greatest bound that some rounds find, if only pairs of at most so many ticks are used, and its weights.
fn relaxed(tasks: &[&Vec<(u32, i64)>], start: &[i64], most: i64) -> (i64, Vec<i64>) {
    let devices = start.len();
    let mut weights = start.to_vec();
    let (mut best, mut best_weights) = (0, weights.clone());
    for round in 0..ROUNDS {
        let mut load = vec![0_i64; devices];
        let mut sum: i128 = 0;
        for times in tasks {
            let usable = times.iter().filter(|time| time.1 <= most);
            let weighted = |time: &&(u32, i64)| i128::from(time.1) * i128::from(weights[time.0 as usize]);
            let Some((device, ticks)) = usable.min_by_key(weighted) else { return (i64::MAX, weights) };
            load[*device as usize] += ticks;
            sum += i128::from(*ticks) * i128::from(weights[*device as usize]);
        }
        let all: i128 = weights.iter().map(|weight| i128::from(*weight)).sum();
        let bound = ((sum + all - 1) / all.max(1)) as i64;
        if bound > best {
            (best, best_weights) = (bound, weights.clone());
        }
        if best > most {
            break;
        }
        let greatest = i128::from(load.iter().copied().max().unwrap_or_default().max(1));
        let mean = sum / all.max(1);
        for (weight, load) in weights.iter_mut().zip(&load) {
            let over =
                (i128::from(*load) - mean) * i128::from(*weight) * 2 / (greatest * i128::from(4 + round / 2));
            *weight += over as i64;
        }
        let top = weights.iter().copied().max().unwrap_or(WEIGHT).max(1);
        for weight in &mut weights {
            *weight = (*weight * WEIGHT / top).max(1);
        }
    }
    (best, best_weights)
}
