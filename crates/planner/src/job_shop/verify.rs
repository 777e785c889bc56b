//! Checks schedules of job shops by the jobs as they were given.

use super::JobShop;
use crate::task_graph::Schedule;

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Operations are missing, or there are too many.
    #[error("{found} operations are placed, and the shop has {expected}")]
    Shape {
        /// Operations that are placed.
        found: usize,
        /// Operations of the shop.
        expected: usize,
    },
    /// An operation is on another machine, takes another time, or begins before its job lets it.
    #[error("operation {index} of job {job}: {why}")]
    Operation {
        /// The job, from 0.
        job: usize,
        /// The operation within the job, from 0.
        index: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A machine does two things at once.
    #[error("machine {machine} does two operations at tick {tick}")]
    Overlap {
        /// The machine.
        machine: usize,
        /// When the second one begins.
        tick: i64,
    },
}

/// Checks a schedule, and returns its makespan.
pub fn verify(shop: &JobShop, schedule: &Schedule) -> Result<i64, Wrong> {
    let expected = shop.jobs().iter().map(Vec::len).sum();
    if schedule.placed.len() != expected {
        return Err(Wrong::Shape { found: schedule.placed.len(), expected });
    }
    let mut placed = schedule.placed.iter();
    let mut busy: Vec<Vec<(i64, i64)>> = vec![Vec::new(); shop.machines()];
    let mut makespan = 0;
    for (job, operations) in shop.jobs().iter().enumerate() {
        let mut ready = 0;
        for (index, (operation, place)) in operations.iter().zip(placed.by_ref()).enumerate() {
            let wrong = |why| Err(Wrong::Operation { job, index, why });
            if place.processor != operation.machine {
                return wrong("it is on another machine");
            }
            if place.start < ready {
                return wrong("it begins before what comes before it is finished");
            }
            if place.start.checked_add(operation.ticks) != Some(place.finish) {
                return wrong("it takes another time");
            }
            ready = place.finish;
            busy[operation.machine as usize].push((place.start, place.finish));
        }
        makespan = makespan.max(ready);
    }
    for (machine, times) in busy.iter_mut().enumerate() {
        times.sort_unstable();
        if let Some(pair) = times.windows(2).find(|pair| pair[1].0 < pair[0].1) {
            return Err(Wrong::Overlap { machine, tick: pair[1].0 });
        }
    }
    Ok(makespan)
}
