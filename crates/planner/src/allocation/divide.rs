//! Divisible work: in least time, and at least cost within a time.

use super::offer::{AllocationError, Offer, TICKS_MAX, limit};
use crate::flow::{Arc, FlowError, MaxFlowProblem, MinCostProblem, max_flow, min_cost};

/// Work of a task on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// The task.
    pub task: u32,
    /// The device.
    pub device: u32,
    /// Units of work, or parts of units where that is said; from 1.
    pub work: i64,
}

/// Work in least time, and the proof that there is no less.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fastest {
    /// The least time is `ticks.0 / ticks.1`, in lowest terms.
    pub ticks: (i64, i64),
    /// Who does what, in parts of a unit: `ticks.1` parts are one.
    pub shares: Vec<Share>,
    /// Tasks whose work keeps all devices that can do some of it busy for all of that time. Empty if there is no work.
    pub bottleneck: Vec<usize>,
}

/// Divides work so that it is done in least time: `T = max over sets S of tasks of work(S) / speed(all that can do some of S)`.
///
/// That no division is faster is plain; that one is as fast is the theorem of Gale and Hoffman on feasible flows. The set is found by
/// Newton's method (Dinkelbach, "On Nonlinear Fractional Programming", Management Science 13, 1967) on the parametric maximum flow
/// (Gallo, Grigoriadis and Tarjan, SIAM J. on Computing 18, 1989): for a time that is too short a least cut is such a set, and its
/// time is the next one. Speeds of the sets fall from step to step, so there are at most as many steps as devices, each a maximum
/// flow. Loading does not count: what is loaded at a fixed cost cannot be divided freely, and is placement.
pub fn fastest(offer: &Offer) -> Result<Fastest, AllocationError> {
    let all: i64 = offer.tasks().iter().map(|task| task.work).sum();
    if all == 0 {
        return Ok(Fastest { ticks: (0, 1), shares: Vec::new(), bottleneck: Vec::new() });
    }
    let mut set: Vec<usize> = (0..offer.tasks().len()).filter(|task| offer.tasks()[*task].work > 0).collect();
    // The speed of a set falls in each step, so this ends before that.
    for _ in 0..=offer.devices().len() {
        let ticks = time(offer, &set);
        let network = network(offer, ticks);
        let flow = max_flow(&network).map_err(|_| too_much())?;
        if flow.value == all * ticks.1 {
            return Ok(Fastest { ticks, shares: shares(offer, &flow.flows), bottleneck: set });
        }
        set = (0..offer.tasks().len())
            .filter(|task| flow.cut[*task] && offer.tasks()[*task].work > 0)
            .collect();
    }
    Err(too_much())
}

/// The limits of an offer keep all sums within those of flows, so this cannot be.
fn too_much() -> AllocationError {
    AllocationError::TooMany { what: "units of work", count: i128::from(i64::MAX), most: super::WORK_MAX }
}

/// How long tasks take if all that can do some of them do nothing else, in lowest terms.
fn time(offer: &Offer, set: &[usize]) -> (i64, i64) {
    let work: i64 = set.iter().map(|task| offer.tasks()[*task].work).sum();
    let mut can = vec![false; offer.devices().len()];
    for device in set.iter().flat_map(|task| offer.able(*task)) {
        can[*device as usize] = true;
    }
    let speeds = offer.devices().iter().zip(can).filter(|(_, can)| *can);
    let speed: i64 = speeds.map(|(device, _)| device.speed).sum();
    let (mut a, mut b) = (work, speed.max(1));
    while b > 0 {
        (a, b) = (b, a % b);
    }
    (work / a, speed.max(1) / a)
}

/// Tasks, devices, source, sink; pairs come first, in the order of tasks.
fn network(offer: &Offer, ticks: (i64, i64)) -> MaxFlowProblem {
    let (tasks, devices) = (offer.tasks().len() as u32, offer.devices().len() as u32);
    let (source, sink) = (tasks + devices, tasks + devices + 1);
    let arc = |from, to, capacity| Arc { from, to, lower: 0, capacity, cost: 0 };
    let mut arcs = Vec::new();
    for (task, wanted) in offer.tasks().iter().enumerate() {
        let able = offer.able(task).iter();
        // Never full, so that no least cut goes through it: then all that can do some of a set are in the cut with it.
        arcs.extend(able.map(|device| arc(task as u32, tasks + device, wanted.work * ticks.1 + 1)));
    }
    for (task, wanted) in offer.tasks().iter().enumerate() {
        arcs.push(arc(source, task as u32, wanted.work * ticks.1));
    }
    for (device, one) in offer.devices().iter().enumerate() {
        arcs.push(arc(tasks + device as u32, sink, one.speed * ticks.0));
    }
    MaxFlowProblem { nodes: sink as usize + 1, source, sink, arcs }
}

/// What flows from tasks to devices.
fn shares(offer: &Offer, flows: &[i64]) -> Vec<Share> {
    let tasks = 0..offer.tasks().len();
    let pairs = tasks.flat_map(|task| offer.able(task).iter().map(move |device| (task as u32, *device)));
    let shares = pairs.zip(flows).map(|((task, device), work)| Share { task, device, work: *work });
    shares.filter(|share| share.work > 0).collect()
}

/// Work at least cost, and the proof that there is no cheaper way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cheapest {
    /// What it costs.
    pub cost: i128,
    /// Who does what, in units.
    pub shares: Vec<Share>,
    /// What one more unit of each task would cost.
    pub task_prices: Vec<i64>,
    /// What one unit of work less on each device is worth, from 0; 0 if it is not busy all the time.
    pub device_prices: Vec<i64>,
}

/// Divides work in whole units so that it costs least and every device is done within so many ticks: minimum-cost flow. Also splits
/// traffic over replicas that differ: a tick is then a second, work is what comes in a second, and speed what a replica takes on.
///
/// # Errors
/// [`AllocationError::TooLittle`] names tasks whose work cannot be done in that time.
pub fn cheapest(offer: &Offer, ticks: i64) -> Result<Cheapest, AllocationError> {
    limit("ticks", i128::from(ticks), TICKS_MAX)?;
    let (tasks, devices) = (offer.tasks().len(), offer.devices().len());
    let all: i64 = offer.tasks().iter().map(|task| task.work).sum();
    let sink = (tasks + devices) as u32;
    let mut arcs = Vec::new();
    for (task, wanted) in offer.tasks().iter().enumerate() {
        arcs.extend(offer.able(task).iter().map(|device| Arc {
            from: task as u32,
            to: tasks as u32 + device,
            lower: 0,
            // Never full, so that its reduced cost is a price's and not a bound's.
            capacity: wanted.work + 1,
            cost: offer.cost(task, *device),
        }));
    }
    for (device, one) in offer.devices().iter().enumerate() {
        let most = i128::from(one.speed) * i128::from(ticks.max(0));
        // More than all there is to do is never done.
        let capacity = most.min(i128::from(all) + 1) as i64;
        arcs.push(Arc { from: (tasks + device) as u32, to: sink, lower: 0, capacity, cost: 0 });
    }
    let given = offer.tasks().iter().map(|task| task.work);
    let supplies = given.chain(std::iter::repeat_n(0, devices)).chain([-all]).collect();
    let problem = MinCostProblem { supplies, arcs };
    let flow = match min_cost(&problem) {
        Ok(flow) => flow,
        Err(FlowError::Infeasible { cut, .. }) => return Err(too_little(offer, ticks, &cut)),
        Err(_) => return Err(too_much()),
    };
    let at_sink = flow.potentials[sink as usize];
    let price = |node: usize| at_sink - flow.potentials[node];
    Ok(Cheapest {
        cost: flow.cost,
        shares: shares(offer, &flow.flows),
        task_prices: (0..tasks).map(price).collect(),
        device_prices: (tasks..tasks + devices).map(|device| price(device).max(0)).collect(),
    })
}

/// The tasks on one side of a cut, and what the devices that can do them have time for.
fn too_little(offer: &Offer, ticks: i64, cut: &[bool]) -> AllocationError {
    let tasks: Vec<usize> =
        (0..offer.tasks().len()).filter(|task| cut[*task] && offer.tasks()[*task].work > 0).collect();
    let work = tasks.iter().map(|task| i128::from(offer.tasks()[*task].work)).sum();
    let mut can = vec![false; offer.devices().len()];
    for device in tasks.iter().flat_map(|task| offer.able(*task)) {
        can[*device as usize] = true;
    }
    let speeds = offer.devices().iter().zip(can).filter(|(_, can)| *can);
    let capacity = speeds.map(|(device, _)| i128::from(device.speed) * i128::from(ticks.max(0))).sum();
    AllocationError::TooLittle { tasks, work, capacity }
}
