//! Checks schedules by the project as it was given.

use super::Project;

/// What is wrong with a schedule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Activities are missing, or there are too many.
    #[error("{found} activities have a start, and the project has {expected}")]
    Shape {
        /// Activities that have a start.
        found: usize,
        /// Activities of the project.
        expected: usize,
    },
    /// An activity begins before tick 0, or is finished after the end of time.
    #[error("activity {0} begins before time does, or never ends")]
    Time(usize),
    /// An activity begins before one that it waits for is finished.
    #[error("activity {second} begins before activity {first} is finished")]
    Order {
        /// The one before.
        first: u32,
        /// The one that is too early.
        second: u32,
    },
    /// More is used than is there.
    #[error("at tick {tick} there are {used} units of resource {resource} in use")]
    Resource {
        /// The resource.
        resource: usize,
        /// When.
        tick: i64,
        /// How many are used.
        used: i128,
    },
}

/// Checks the start of each activity, and returns the makespan.
pub fn verify(project: &Project, starts: &[i64]) -> Result<i64, Wrong> {
    let activities = project.activities();
    if starts.len() != activities.len() {
        return Err(Wrong::Shape { found: starts.len(), expected: activities.len() });
    }
    let mut finishes = Vec::new();
    for (index, (activity, start)) in activities.iter().zip(starts).enumerate() {
        match start.checked_add(activity.ticks) {
            Some(finish) if *start >= 0 => finishes.push(finish),
            _ => return Err(Wrong::Time(index)),
        }
    }
    for (first, second) in project.orders().iter().copied() {
        if starts[second as usize] < finishes[first as usize] {
            return Err(Wrong::Order { first, second });
        }
    }
    for (resource, units) in project.units().iter().enumerate() {
        // What ends at a tick gives back before what begins there takes.
        let mut changes = Vec::new();
        for (activity, (start, finish)) in activities.iter().zip(starts.iter().zip(&finishes)) {
            if activity.ticks > 0 {
                changes.push((*start, i128::from(activity.demands[resource])));
                changes.push((*finish, -i128::from(activity.demands[resource])));
            }
        }
        changes.sort_unstable();
        let mut used = 0;
        for (tick, change) in changes {
            used += change;
            if used > i128::from(*units) {
                return Err(Wrong::Resource { resource, tick, used });
            }
        }
    }
    Ok(finishes.into_iter().max().unwrap_or_default())
}
