//! The problem.

use crate::words::chain;

/// Most activities of a project.
pub const ACTIVITIES_MAX: usize = 1 << 13;
/// Most resources.
pub const RESOURCES_MAX: usize = 1 << 6;
/// Most pairs of which one has to wait for the other.
pub const ORDERS_MAX: usize = 1 << 18;
/// Most ticks of all activities together.
pub const TICKS_MAX: i64 = 1 << 46;
/// Most units of a resource.
pub const UNITS_MAX: i64 = 1 << 31;

/// Something that has to be done, without interruption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activity {
    /// How long it takes; 0 for one that only stands for a moment.
    pub ticks: i64,
    /// Units that it needs of each resource while it runs.
    pub demands: Vec<i64>,
}

/// Why there is no such project.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProjectError {
    /// More than can be worked on.
    #[error("there are {count} {what}, and at most {most} can be worked on")]
    TooMany {
        /// `activities`, `resources`, `orders`, `ticks` or `units`.
        what: &'static str,
        /// How many.
        count: i64,
        /// At most so many.
        most: i64,
    },
    /// An activity that cannot be done.
    #[error("activity {activity}: {why}")]
    BadActivity {
        /// Its place, from 0.
        activity: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A resource that makes no sense.
    #[error("resource {0} has a negative number of units")]
    BadResource(usize),
    /// An order between activities that there are not.
    #[error("order {0} is about an activity that there is not, or about one and itself")]
    BadOrder(usize),
    /// Activities that wait for each other.
    #[error("activities wait for each other: {} (counted from 0)", chain(.0))]
    Cycle(
        /// Each waits for the one before it, and the first for the last. The lowest comes first.
        Vec<usize>,
    ),
}

/// A project that keeps to all limits: it can be done.
#[derive(Debug, Clone)]
pub struct Project {
    units: Vec<i64>,
    activities: Vec<Activity>,
    orders: Vec<(u32, u32)>,
    before: Vec<Vec<u32>>,
    after: Vec<Vec<u32>>,
    topological: Vec<u32>,
}

impl Project {
    /// Checks a project: units of each resource, activities, and pairs of which the second waits for the first.
    pub fn new(
        units: Vec<i64>,
        activities: Vec<Activity>,
        orders: Vec<(u32, u32)>,
    ) -> Result<Self, ProjectError> {
        let most = |what, count: usize, most: usize| {
            let (count, most) = (count as i64, most as i64);
            if count > most { Err(ProjectError::TooMany { what, count, most }) } else { Ok(()) }
        };
        most("activities", activities.len(), ACTIVITIES_MAX)?;
        most("resources", units.len(), RESOURCES_MAX)?;
        most("orders", orders.len(), ORDERS_MAX)?;
        for (resource, count) in units.iter().copied().enumerate() {
            if count < 0 {
                return Err(ProjectError::BadResource(resource));
            }
            if count > UNITS_MAX {
                return Err(ProjectError::TooMany { what: "units", count, most: UNITS_MAX });
            }
        }
        let mut ticks: i64 = 0;
        for (index, activity) in activities.iter().enumerate() {
            let bad = |why| Err(ProjectError::BadActivity { activity: index, why });
            if activity.ticks < 0 {
                return bad("it takes less than no time");
            }
            ticks = ticks.saturating_add(activity.ticks);
            if ticks > TICKS_MAX {
                return Err(ProjectError::TooMany { what: "ticks", count: ticks, most: TICKS_MAX });
            }
            if activity.demands.len() != units.len() {
                return bad("it needs a number for each resource");
            }
            if activity.demands.iter().any(|demand| *demand < 0) {
                return bad("it needs a negative number of units");
            }
            if activity.demands.iter().zip(&units).any(|(demand, units)| demand > units) {
                return bad("it needs more units than there are");
            }
        }
        let (mut before, mut after) =
            (vec![Vec::new(); activities.len()], vec![Vec::new(); activities.len()]);
        for (index, (first, second)) in orders.iter().copied().enumerate() {
            if first == second || (first.max(second) as usize) >= activities.len() {
                return Err(ProjectError::BadOrder(index));
            }
            before[second as usize].push(first);
            after[first as usize].push(second);
        }
        let topological = sorted(&before, &after)?;
        Ok(Self { units, activities, orders, before, after, topological })
    }

    /// Units of each resource.
    pub fn units(&self) -> &[i64] {
        &self.units
    }

    /// The activities.
    pub fn activities(&self) -> &[Activity] {
        &self.activities
    }

    /// Pairs of which the second waits for the first, as they were given.
    pub fn orders(&self) -> &[(u32, u32)] {
        &self.orders
    }

    pub(super) fn before(&self, activity: u32) -> &[u32] {
        &self.before[activity as usize]
    }

    pub(super) fn after(&self, activity: u32) -> &[u32] {
        &self.after[activity as usize]
    }

    /// All activities, each behind those that it waits for.
    pub(super) fn topological(&self) -> &[u32] {
        &self.topological
    }

    pub(super) fn ticks(&self, activity: u32) -> i64 {
        self.activities[activity as usize].ticks
    }

    /// For each activity the longest path to its start and the longest from its finish.
    pub(super) fn heads_and_tails(&self) -> (Vec<i64>, Vec<i64>) {
        let (mut heads, mut tails) = (vec![0; self.activities.len()], vec![0; self.activities.len()]);
        for activity in self.topological.iter().copied() {
            let longest =
                self.before(activity).iter().map(|one| heads[*one as usize] + self.ticks(*one)).max();
            heads[activity as usize] = longest.unwrap_or_default();
        }
        for activity in self.topological.iter().rev().copied() {
            let longest =
                self.after(activity).iter().map(|one| tails[*one as usize] + self.ticks(*one)).max();
            tails[activity as usize] = longest.unwrap_or_default();
        }
        (heads, tails)
    }
}

/// Kahn's algorithm.
fn sorted(before: &[Vec<u32>], after: &[Vec<u32>]) -> Result<Vec<u32>, ProjectError> {
    let mut waits: Vec<usize> = before.iter().map(Vec::len).collect();
    let mut sorted: Vec<u32> =
        (0..before.len() as u32).filter(|activity| waits[*activity as usize] == 0).collect();
    let mut done = 0;
    while let Some(activity) = sorted.get(done).copied() {
        done += 1;
        for next in &after[activity as usize] {
            waits[*next as usize] -= 1;
            if waits[*next as usize] == 0 {
                sorted.push(*next);
            }
        }
    }
    let Some(start) = waits.iter().position(|waits| *waits > 0) else {
        return Ok(sorted);
    };
    // What waits may wait behind a cycle: back, always to one that waits too, until one comes for the second time.
    let back = |at: usize| {
        let waiting = before[at].iter().find(|one| waits[**one as usize] > 0);
        waiting.map_or(at, |one| *one as usize)
    };
    let inside = (0..before.len()).fold(start, |at, _| back(at));
    let mut cycle = vec![inside];
    let mut at = back(inside);
    while at != inside {
        cycle.push(at);
        at = back(at);
    }
    cycle.reverse();
    let least = (0..cycle.len()).min_by_key(|place| cycle[*place]).unwrap_or_default();
    cycle.rotate_left(least);
    Err(ProjectError::Cycle(cycle))
}
