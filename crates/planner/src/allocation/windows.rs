//! Jobs that come and have to be done by their deadlines, with interruptions: whether all can be, and how much at most.

use std::collections::BTreeMap;

use super::offer::{AllocationError, SPEED_MAX, TASKS_MAX, TICKS_MAX, WORK_MAX, limit};
use crate::flow::{Arc, MaxFlowProblem, MinCostProblem, max_flow, min_cost};

/// Most devices.
pub const WINDOW_DEVICES_MAX: usize = 64;
/// Most pairs of a job and an interval between two releases or deadlines, in which some devices can do it.
pub const WINDOW_PAIRS_MAX: usize = 1 << 21;
/// Most intervals, counted for each group of devices that can do the same jobs: they are nodes of a flow.
const CELLS_MAX: i64 = 1 << 19;
/// Greatest value of a job.
pub const JOB_VALUE_MAX: i64 = 1 << 15;
/// Values for a unit of work are rounded up to parts of this.
const DENSITY: i64 = 1 << 24;

/// Something to be done in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// When it comes, in ticks from 0.
    pub release: i64,
    /// When it has to be done, at most [`TICKS_MAX`].
    pub deadline: i64,
    /// Units of work.
    pub work: i64,
    /// What it is worth if it is done in time, 0 to [`JOB_VALUE_MAX`].
    pub value: i64,
    /// The devices that can do it: bit `d` for device `d`.
    pub devices: u64,
}

/// Whether a job is on several devices at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parallel {
    /// It may be: batches of requests, for instance.
    Divisible,
    /// It is on one device at a time, and may change. All devices do one unit of work in a tick and can do all jobs: for devices that
    /// differ this is no flow (Lawler and Labetoulle, J. of the ACM 25, 1978).
    OneAtATime,
}

/// Jobs and devices. Made by [`Windows::new`], which checks them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Windows {
    speeds: Vec<i64>,
    jobs: Vec<Job>,
    parallel: Parallel,
    /// Releases and deadlines, rising.
    points: Vec<i64>,
    /// Devices that can do the same jobs, and the jobs' bit for them.
    groups: Vec<Vec<u32>>,
}

/// A part of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piece {
    /// The job.
    pub job: u32,
    /// The device.
    pub device: u32,
    /// Begin of the time in which the device does it.
    pub from: i64,
    /// End of that time. Several pieces of divisible jobs share one time on a device, in any order.
    pub to: i64,
    /// Units of work.
    pub work: i64,
}

impl Windows {
    /// Checks sizes, amounts, and that every job has time and a device.
    pub fn new(speeds: Vec<i64>, jobs: Vec<Job>, parallel: Parallel) -> Result<Self, AllocationError> {
        limit("devices", speeds.len() as i128, WINDOW_DEVICES_MAX as i64)?;
        limit("jobs", jobs.len() as i128, TASKS_MAX as i64)?;
        let all = u64::MAX.checked_shr(64 - speeds.len() as u32).unwrap_or(0);
        for (device, speed) in speeds.iter().enumerate() {
            let why = match parallel {
                _ if *speed < 0 => "its speed is negative",
                Parallel::OneAtATime if *speed != 1 => {
                    "its speed is not 1: jobs on one device at a time have ticks for work, and devices are equal"
                }
                _ => continue,
            };
            return Err(AllocationError::BadDevice { device, why });
        }
        let speed: i128 = speeds.iter().map(|speed| i128::from(*speed)).sum();
        limit("units of work in a tick", speed, SPEED_MAX)?;
        for (task, job) in jobs.iter().enumerate() {
            check_job(job, all, parallel).map_err(|why| AllocationError::BadTask { task, why })?;
            if job.work > 0 && !(0..speeds.len()).any(|device| job.can(device) && speeds[device] > 0) {
                return Err(AllocationError::NoDevice(task));
            }
        }
        let work = jobs.iter().map(|job| i128::from(job.work)).sum();
        limit("units of work", work, WORK_MAX)?;
        let mut points: Vec<i64> = jobs.iter().flat_map(|job| [job.release, job.deadline]).collect();
        points.sort_unstable();
        points.dedup();
        let mut groups: BTreeMap<Vec<bool>, Vec<u32>> = BTreeMap::new();
        for device in 0..speeds.len() {
            let can = jobs.iter().map(|job| job.can(device)).collect();
            groups.entry(can).or_default().push(device as u32);
        }
        let windows = Self { speeds, jobs, parallel, points, groups: groups.into_values().collect() };
        let cells = windows.points.len() as i128 * windows.groups.len() as i128;
        limit("intervals of groups of devices", cells, CELLS_MAX)?;
        let pairs = windows.jobs.iter().map(|job| windows.intervals(job).len() * windows.groups.len());
        let pairs: usize = pairs.sum();
        limit("pairs of job and interval", pairs as i128, WINDOW_PAIRS_MAX as i64)?;
        Ok(windows)
    }

    /// Units of work in a tick of each device.
    pub fn speeds(&self) -> &[i64] {
        &self.speeds
    }

    /// The jobs.
    pub fn jobs(&self) -> &[Job] {
        &self.jobs
    }

    /// Whether jobs are on several devices at the same time.
    pub fn parallel(&self) -> Parallel {
        self.parallel
    }

    /// The intervals in which a job may be done: interval `k` is from point `k` to the next.
    fn intervals(&self, job: &Job) -> std::ops::Range<usize> {
        let at = |tick| self.points.partition_point(|point| *point < tick);
        at(job.release)..at(job.deadline)
    }

    fn ticks(&self, interval: usize) -> i64 {
        self.points[interval + 1] - self.points[interval]
    }

    /// What a group of devices does in an interval, in 2^58 at most.
    fn capacity(&self, interval: usize, group: usize) -> i64 {
        let speed: i64 = self.groups[group].iter().map(|device| self.speeds[*device as usize]).sum();
        speed * self.ticks(interval)
    }

    /// Jobs, then intervals of each group; the arcs from jobs first, and which job, interval and group each is.
    fn network(&self) -> (Vec<Arc>, Vec<(u32, usize, usize)>, u32) {
        let (jobs, groups) = (self.jobs.len(), self.groups.len());
        let intervals = self.points.len().saturating_sub(1);
        let sink = (jobs + intervals * groups) as u32;
        let all: i64 = self.jobs.iter().map(|job| job.work).sum();
        let (mut arcs, mut pairs) = (Vec::new(), Vec::new());
        for (number, job) in self.jobs.iter().enumerate() {
            for interval in self.intervals(job) {
                for (group, devices) in self.groups.iter().enumerate() {
                    if !job.can(devices[0] as usize) {
                        continue;
                    }
                    let most = match self.parallel {
                        // Never full, so that no least cut goes through it.
                        Parallel::Divisible => job.work + 1,
                        Parallel::OneAtATime => self.ticks(interval),
                    };
                    let to = (jobs + interval * groups + group) as u32;
                    arcs.push(Arc { from: number as u32, to, lower: 0, capacity: most, cost: 0 });
                    pairs.push((number as u32, interval, group));
                }
            }
        }
        for interval in 0..intervals {
            for group in 0..groups {
                let capacity = self.capacity(interval, group).min(all + 1);
                let from = (jobs + interval * groups + group) as u32;
                arcs.push(Arc { from, to: sink, lower: 0, capacity, cost: 0 });
            }
        }
        (arcs, pairs, sink)
    }
}

impl Job {
    /// Whether a device can do it.
    pub fn can(&self, device: usize) -> bool {
        self.devices >> device & 1 == 1
    }
}

fn check_job(job: &Job, all: u64, parallel: Parallel) -> Result<(), &'static str> {
    if job.release < 0 || job.deadline > TICKS_MAX {
        return Err("it comes before tick 0, or its deadline is after 2^34");
    }
    if job.release >= job.deadline && job.work > 0 {
        return Err("it has no time: its deadline is not after its release");
    }
    if job.release > job.deadline {
        return Err("its deadline is before its release");
    }
    if !(0..=WORK_MAX).contains(&job.work) {
        return Err("its work has to be 0 to 2^34");
    }
    if !(0..=JOB_VALUE_MAX).contains(&job.value) {
        return Err("its value has to be 0 to 2^15");
    }
    if parallel == Parallel::OneAtATime && job.devices & all != all {
        return Err("it cannot use all devices: jobs on one device at a time have to");
    }
    Ok(())
}

/// Sums of the capacities of arcs are within the limits of flows, except for very many jobs with very much work and long windows.
fn too_much(windows: &Windows) -> AllocationError {
    let pairs = windows.jobs.iter().map(|job| windows.intervals(job).len() as i128 * i128::from(job.work));
    AllocationError::TooMany {
        what: "units of work of all pairs of job and interval",
        count: pairs.sum(),
        most: crate::flow::AMOUNT_MAX,
    }
}

/// Finds when and where each job is done, so that all are in time: a maximum flow from jobs to the intervals between releases and
/// deadlines (Horn, "Some Simple Scheduling Algorithms", Naval Research Logistics Quarterly 21, 1974); in each interval jobs wrap
/// around from one device to the next (`McNaughton`, Management Science 6, 1959).
///
/// # Errors
/// [`AllocationError::TooLittle`] names jobs whose work does not fit into their windows.
pub fn timetable(windows: &Windows) -> Result<Vec<Piece>, AllocationError> {
    let (mut arcs, pairs, sink) = windows.network();
    let source = sink + 1;
    let jobs = windows.jobs.iter().enumerate();
    arcs.extend(jobs.map(|(number, job)| Arc {
        from: source,
        to: number as u32,
        lower: 0,
        capacity: job.work,
        cost: 0,
    }));
    let problem = MaxFlowProblem { nodes: source as usize + 1, source, sink, arcs };
    let flow = max_flow(&problem).map_err(|_| too_much(windows))?;
    let all: i64 = windows.jobs.iter().map(|job| job.work).sum();
    if flow.value < all {
        let tasks: Vec<usize> =
            (0..windows.jobs.len()).filter(|job| flow.cut[*job] && windows.jobs[*job].work > 0).collect();
        let work = tasks.iter().map(|job| i128::from(windows.jobs[*job].work)).sum();
        return Err(AllocationError::TooLittle { work, capacity: room(windows, &tasks), tasks });
    }
    let mut done: BTreeMap<(usize, usize), Vec<(u32, i64)>> = BTreeMap::new();
    for ((job, interval, group), work) in pairs.into_iter().zip(flow.flows) {
        if work > 0 {
            done.entry((interval, group)).or_default().push((job, work));
        }
    }
    let mut pieces = Vec::new();
    for ((interval, group), jobs) in done {
        wrap(windows, interval, group, &jobs, &mut pieces);
    }
    Ok(pieces)
}

/// What can be done at most of some jobs: in each interval what they can take or what the devices do, whichever is less.
fn room(windows: &Windows, jobs: &[usize]) -> i128 {
    let mut wanted: BTreeMap<(usize, usize), i128> = BTreeMap::new();
    for job in jobs.iter().map(|job| &windows.jobs[*job]) {
        for interval in windows.intervals(job) {
            for group in 0..windows.groups.len() {
                if job.can(windows.groups[group][0] as usize) {
                    let most = match windows.parallel {
                        // All that the devices do.
                        Parallel::Divisible => windows.capacity(interval, group),
                        Parallel::OneAtATime => windows.ticks(interval),
                    };
                    *wanted.entry((interval, group)).or_default() += i128::from(most);
                }
            }
        }
    }
    let least = |((interval, group), wanted): ((usize, usize), i128)| {
        wanted.min(i128::from(windows.capacity(interval, group)))
    };
    wanted.into_iter().map(least).sum()
}

/// Fills one device of a group after the other.
fn wrap(windows: &Windows, interval: usize, group: usize, jobs: &[(u32, i64)], pieces: &mut Vec<Piece>) {
    let (begin, end) = (windows.points[interval], windows.points[interval + 1]);
    let mut devices = windows.groups[group].iter();
    let mut device = 0;
    let mut room = 0;
    for &(job, work) in jobs {
        let mut left = work;
        while left > 0 {
            if room == 0 {
                // The capacity of the group is that of its devices, so there is one; a speed of zero has no room.
                let Some(next) = devices.next() else { return };
                device = *next;
                room = windows.speeds[device as usize] * (end - begin);
                continue;
            }
            let part = left.min(room);
            let (from, to) = match windows.parallel {
                Parallel::Divisible => (begin, end),
                Parallel::OneAtATime => (end - room, end - room + part),
            };
            pieces.push(Piece { job, device, from, to, work: part });
            left -= part;
            room -= part;
        }
    }
}

/// What jobs are worth at most that are done in time, whoever schedules them and whatever is known before: the clairvoyant bound.
///
/// A job counts in part here for what is done of it, so this is the optimum of a relaxation, by minimum-cost flow; jobs that could not
/// be in time even alone count nothing.
pub fn value_bound(windows: &Windows) -> Result<i64, AllocationError> {
    let (mut arcs, _, sink) = windows.network();
    let source = sink + 1;
    let (mut free, mut all) = (0, 0);
    for (number, job) in windows.jobs.iter().enumerate() {
        if job.work == 0 {
            free += job.value;
        } else if room(windows, &[number]) >= i128::from(job.work) {
            let density = (job.value * DENSITY + job.work - 1) / job.work;
            arcs.push(Arc { from: source, to: number as u32, lower: 0, capacity: job.work, cost: -density });
            all += job.work;
        }
    }
    arcs.push(Arc { from: source, to: sink, lower: 0, capacity: all, cost: 0 });
    let mut supplies = vec![0; source as usize + 1];
    (supplies[source as usize], supplies[sink as usize]) = (all, -all);
    let flow = min_cost(&MinCostProblem { supplies, arcs }).map_err(|_| too_much(windows))?;
    Ok(free + ((-flow.cost) / i128::from(DENSITY)) as i64)
}
