//! Checks allocations by their proofs. Shares no code with the solvers.

use std::collections::BTreeMap;

use super::{Cheapest, Fastest, Offer, Parallel, Piece, Share, Whole, Windows};

/// What is wrong with an allocation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Numbers are missing, or there are too many.
    #[error("it has {found} numbers, and the problem {expected}")]
    Shape {
        /// Numbers of the answer.
        found: usize,
        /// Tasks or devices of the problem.
        expected: usize,
    },
    /// A task is on a device that cannot do it.
    #[error("device {device} cannot do task {task}")]
    Unable {
        /// The task.
        task: usize,
        /// The device.
        device: u32,
    },
    /// More or less of a task is done than there is.
    #[error("of task {task} {found} parts are done, and there are {expected}")]
    Work {
        /// The task.
        task: usize,
        /// What is done.
        found: i128,
        /// What there is to do.
        expected: i128,
    },
    /// A device does more than it can.
    #[error("device {0} does more than it can")]
    Full(usize),
    /// The proof does not show that there is nothing better.
    #[error("the proof does not hold: {0}")]
    Proof(&'static str),
    /// The objective is not what is said.
    #[error("it is said to be {said}, and is {is}")]
    Value {
        /// What the answer says.
        said: i128,
        /// What it is.
        is: i128,
    },
    /// A piece is outside of the window of its job.
    #[error("a piece of job {0} is outside of its window")]
    Window(usize),
    /// Two things at once that cannot be.
    #[error("{what} {number} is in two pieces at the same time")]
    Overlap {
        /// `device` or `job`.
        what: &'static str,
        /// Which.
        number: u32,
    },
}

/// Whether a device can do a task: from the task itself.
fn can(offer: &Offer, task: usize, device: u32) -> bool {
    let wanted = &offer.tasks()[task];
    let is_eligible = wanted.eligible.as_ref().is_none_or(|eligible| eligible.contains(&device));
    let one = offer.devices().get(device as usize);
    is_eligible && one.is_some_and(|one| one.speed > 0 && one.memory >= wanted.memory)
}

/// Checks that shares do all work, `parts` of them a unit, where it can be done. Returns the parts on each device.
fn shares(offer: &Offer, shares: &[Share], parts: i64) -> Result<Vec<i128>, Wrong> {
    let mut done = vec![0_i128; offer.tasks().len()];
    let mut busy = vec![0_i128; offer.devices().len()];
    for share in shares {
        let task = share.task as usize;
        if task >= done.len() || share.work <= 0 || !can(offer, task, share.device) {
            return Err(Wrong::Unable { task, device: share.device });
        }
        done[task] += i128::from(share.work);
        busy[share.device as usize] += i128::from(share.work);
    }
    for (task, (wanted, found)) in offer.tasks().iter().zip(done).enumerate() {
        let expected = i128::from(wanted.work) * i128::from(parts);
        if found != expected {
            return Err(Wrong::Work { task, found, expected });
        }
    }
    Ok(busy)
}

/// Checks work in least time: all is done, no device takes longer, and the tasks of the bottleneck cannot be done sooner.
pub fn fastest(offer: &Offer, answer: &Fastest) -> Result<(), Wrong> {
    let (ticks, parts) = answer.ticks;
    if ticks < 0 || parts < 1 {
        return Err(Wrong::Proof("the time is no fraction"));
    }
    let busy = shares(offer, &answer.shares, parts)?;
    for (device, busy) in busy.iter().enumerate() {
        if *busy > i128::from(offer.devices()[device].speed) * i128::from(ticks) {
            return Err(Wrong::Full(device));
        }
    }
    let mut set = answer.bottleneck.clone();
    set.sort_unstable();
    set.dedup();
    if set.len() != answer.bottleneck.len() || set.iter().any(|task| *task >= offer.tasks().len()) {
        return Err(Wrong::Proof("the bottleneck is no set of tasks"));
    }
    let work: i128 = set.iter().map(|task| i128::from(offer.tasks()[*task].work)).sum();
    let devices = 0..offer.devices().len() as u32;
    let helps = |device: &u32| set.iter().any(|task| can(offer, *task, *device));
    let speed: i128 =
        devices.filter(helps).map(|device| i128::from(offer.devices()[device as usize].speed)).sum();
    if work * i128::from(parts) != i128::from(ticks) * speed {
        return Err(Wrong::Proof("the bottleneck could be done in another time"));
    }
    Ok(())
}

/// Checks work at least cost: all is done in time, the cost is right, and prices show that no other way is cheaper.
pub fn cheapest(offer: &Offer, ticks: i64, answer: &Cheapest) -> Result<(), Wrong> {
    for (found, expected) in
        [(answer.task_prices.len(), offer.tasks().len()), (answer.device_prices.len(), offer.devices().len())]
    {
        if found != expected {
            return Err(Wrong::Shape { found, expected });
        }
    }
    let busy = shares(offer, &answer.shares, 1)?;
    let price = |task: usize, device: u32| {
        let wanted = &offer.tasks()[task];
        let there = wanted.resident_on.contains(&device);
        i128::from(offer.devices()[device as usize].cost)
            + if there { 0 } else { i128::from(wanted.load_cost) }
    };
    let cost: i128 = answer
        .shares
        .iter()
        .map(|share| i128::from(share.work) * price(share.task as usize, share.device))
        .sum();
    if cost != answer.cost {
        return Err(Wrong::Value { said: answer.cost, is: cost });
    }
    // What every plan pays at least: Σ task price · work − Σ device price · what it can do. The plan has to pay no more.
    let mut least: i128 = 0;
    for (device, one) in offer.devices().iter().enumerate() {
        let most = i128::from(one.speed) * i128::from(ticks.max(0));
        if busy[device] > most {
            return Err(Wrong::Full(device));
        }
        let price = i128::from(answer.device_prices[device]);
        if price < 0 {
            return Err(Wrong::Proof("a device has a negative price"));
        }
        least -= price * most;
    }
    for (task, wanted) in offer.tasks().iter().enumerate() {
        let paid = i128::from(answer.task_prices[task]);
        least += paid * i128::from(wanted.work);
        for device in 0..offer.devices().len() as u32 {
            let there = i128::from(answer.device_prices[device as usize]);
            if can(offer, task, device) && price(task, device) + there < paid {
                return Err(Wrong::Proof("a task has a higher price than a device that can do it"));
            }
        }
    }
    if least != cost {
        return Err(Wrong::Proof("the prices allow a cheaper plan"));
    }
    Ok(())
}

/// Checks whole tasks: each is where it can be, and the last device is finished when it is said to be.
pub fn whole(offer: &Offer, answer: &Whole) -> Result<(), Wrong> {
    if answer.devices.len() != offer.tasks().len() {
        return Err(Wrong::Shape { found: answer.devices.len(), expected: offer.tasks().len() });
    }
    let mut load = vec![0_i128; offer.devices().len()];
    for (task, device) in answer.devices.iter().enumerate() {
        let wanted = &offer.tasks()[task];
        let Some(device) = *device else {
            if wanted.work > 0 {
                return Err(Wrong::Work { task, found: 0, expected: i128::from(wanted.work) });
            }
            continue;
        };
        if !can(offer, task, device) {
            return Err(Wrong::Unable { task, device });
        }
        let speed = i128::from(offer.devices()[device as usize].speed);
        load[device as usize] += (i128::from(wanted.work) + speed - 1) / speed;
        if wanted.work > 0 && !wanted.resident_on.contains(&device) {
            load[device as usize] += i128::from(wanted.load_ticks);
        }
    }
    let is = load.into_iter().max().unwrap_or_default();
    if is != i128::from(answer.makespan) {
        return Err(Wrong::Value { said: answer.makespan.into(), is });
    }
    Ok(())
}

/// Checks a timetable: every job is done, within its window, where it can be, no device does more than it can, and jobs that are on
/// one device at a time are.
pub fn timetable(windows: &Windows, pieces: &[Piece]) -> Result<(), Wrong> {
    let mut done = vec![0_i128; windows.jobs().len()];
    let mut times: BTreeMap<(u32, i64, i64), i128> = BTreeMap::new();
    let mut of_job: Vec<(u32, i64, i64)> = Vec::new();
    for piece in pieces {
        let task = piece.job as usize;
        let unable = Err(Wrong::Unable { task, device: piece.device });
        let Some(job) = windows.jobs().get(task) else { return unable };
        let device = piece.device as usize;
        if device >= windows.speeds().len() || job.devices & (1 << device) == 0 || piece.work <= 0 {
            return unable;
        }
        if piece.from < job.release || piece.to > job.deadline || piece.from >= piece.to {
            return Err(Wrong::Window(task));
        }
        done[task] += i128::from(piece.work);
        *times.entry((piece.device, piece.from, piece.to)).or_default() += i128::from(piece.work);
        of_job.push((piece.job, piece.from, piece.to));
    }
    for (task, (job, found)) in windows.jobs().iter().zip(done).enumerate() {
        if found != i128::from(job.work) {
            return Err(Wrong::Work { task, found, expected: job.work.into() });
        }
    }
    for ((device, from, to), work) in &times {
        let can = i128::from(windows.speeds()[*device as usize]) * i128::from(to - from);
        if *work > can {
            return Err(Wrong::Full(*device as usize));
        }
    }
    apart("device", times.into_keys().collect())?;
    if windows.parallel() == Parallel::OneAtATime { apart("job", of_job) } else { Ok(()) }
}

/// Checks that the times of each thing do not overlap.
fn apart(what: &'static str, mut times: Vec<(u32, i64, i64)>) -> Result<(), Wrong> {
    times.sort_unstable();
    match times.windows(2).find(|pair| pair[0].0 == pair[1].0 && pair[0].2 > pair[1].1) {
        Some(pair) => Err(Wrong::Overlap { what, number: pair[0].0 }),
        None => Ok(()),
    }
}
