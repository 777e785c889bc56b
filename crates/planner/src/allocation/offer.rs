//! Devices and the work for them.

/// Most devices.
pub const DEVICES_MAX: usize = 1 << 10;
/// Most tasks.
pub const TASKS_MAX: usize = 1 << 14;
/// Most pairs of a task and a device that can do it.
pub const PAIRS_MAX: usize = 1 << 20;
/// Greatest speed of all devices together.
pub const SPEED_MAX: i64 = 1 << 24;
/// Most work of all pairs of a task and a device that can do it; so the least time is exact in 64 bits.
pub const WORK_MAX: i64 = 1 << 34;
/// Greatest cost of a unit of work, and most memory of one thing.
pub const AMOUNT_MAX: i64 = 1 << 40;
/// Most ticks of one thing: loading, a limit.
pub const TICKS_MAX: i64 = 1 << 34;

/// Something that works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Device {
    /// Units of work in a tick, from 0 (it is lost).
    pub speed: i64,
    /// What it holds, in any unit.
    pub memory: i64,
    /// What a unit of work costs on it, 0 to [`AMOUNT_MAX`].
    pub cost: i64,
}

/// Something to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Units of work, from 0.
    pub work: i64,
    /// Memory without which a device cannot do it.
    pub memory: i64,
    /// The devices that can do it if they have the memory; none for all.
    pub eligible: Option<Vec<u32>>,
    /// The devices that hold what it needs already.
    pub resident_on: Vec<u32>,
    /// How long another device loads before it begins, 0 to [`TICKS_MAX`]. Counts where tasks are whole.
    pub load_ticks: i64,
    /// What a unit of its work costs more on another device, 0 to [`AMOUNT_MAX`]. Counts where tasks are divided.
    pub load_cost: i64,
}

/// Why there is no such offer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AllocationError {
    /// More than can be worked on.
    #[error("there are {count} {what}, and at most {most} can be worked on")]
    TooMany {
        /// `devices`, `tasks`, `pairs of task and device`, and so on.
        what: &'static str,
        /// How many.
        count: i128,
        /// At most so many.
        most: i64,
    },
    /// A device that there cannot be.
    #[error("device {device}: {why}")]
    BadDevice {
        /// Its place, from 0.
        device: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A task, or a job, that there cannot be.
    #[error("task {task}: {why}")]
    BadTask {
        /// Its place, from 0.
        task: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A task that no device can do.
    #[error(
        "task {0} can be done by no device: none that is eligible has the memory and works at all; add one, or drop the task"
    )]
    NoDevice(usize),
    /// There is not enough time.
    #[error(
        "{} tasks (one is {}) have {work} units of work, and the devices that can do them do {capacity} in that time",
        tasks.len(),
        tasks.first().copied().unwrap_or_default()
    )]
    TooLittle {
        /// The tasks.
        tasks: Vec<usize>,
        /// Their work.
        work: i128,
        /// What can be done of it at most.
        capacity: i128,
    },
}

/// Devices and tasks. Made by [`Offer::new`], which checks them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    devices: Vec<Device>,
    tasks: Vec<Task>,
    /// The devices that can do each task.
    able: Vec<Vec<u32>>,
}

impl Offer {
    /// Checks sizes, amounts and references, and that every task with work can be done by some device.
    pub fn new(devices: Vec<Device>, tasks: Vec<Task>) -> Result<Self, AllocationError> {
        limit("devices", devices.len() as i128, DEVICES_MAX as i64)?;
        limit("tasks", tasks.len() as i128, TASKS_MAX as i64)?;
        let is_amount = |amount: i64| (0..=AMOUNT_MAX).contains(&amount);
        for (device, one) in devices.iter().enumerate() {
            let bad = |why| Err(AllocationError::BadDevice { device, why });
            if one.speed < 0 {
                return bad("its speed is negative");
            }
            if !is_amount(one.memory) || !is_amount(one.cost) {
                return bad("memory and costs have to be 0 to 2^40");
            }
        }
        let speed: i128 = devices.iter().map(|device| i128::from(device.speed)).sum();
        limit("units of work in a tick", speed, SPEED_MAX)?;
        let mut able: Vec<Vec<u32>> = Vec::new();
        let (mut pairs, mut work) = (0_i128, 0_i128);
        for (index, task) in tasks.iter().enumerate() {
            check_task(task, devices.len()).map_err(|why| AllocationError::BadTask { task: index, why })?;
            let mut can: Vec<u32> = match &task.eligible {
                Some(eligible) => eligible.clone(),
                None => (0..devices.len() as u32).collect(),
            };
            can.retain(|device| {
                let device = &devices[*device as usize];
                device.memory >= task.memory && device.speed > 0
            });
            can.sort_unstable();
            can.dedup();
            if can.is_empty() && task.work > 0 {
                return Err(AllocationError::NoDevice(index));
            }
            pairs += can.len() as i128;
            work += (can.len() as i128 + 1) * i128::from(task.work);
            limit("pairs of task and device", pairs, PAIRS_MAX as i64)?;
            able.push(can);
        }
        limit("units of work of all pairs of task and device", work, WORK_MAX)?;
        Ok(Self { devices, tasks, able })
    }

    /// The devices.
    pub fn devices(&self) -> &[Device] {
        &self.devices
    }

    /// The tasks.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The devices that can do a task, rising.
    pub fn able(&self, task: usize) -> &[u32] {
        &self.able[task]
    }

    /// What a unit of a task's work costs on a device.
    pub fn cost(&self, task: usize, device: u32) -> i64 {
        let is_there = self.tasks[task].resident_on.contains(&device);
        self.devices[device as usize].cost + if is_there { 0 } else { self.tasks[task].load_cost }
    }
}

pub(super) fn limit(what: &'static str, count: i128, most: i64) -> Result<(), AllocationError> {
    if count > i128::from(most) {
        return Err(AllocationError::TooMany { what, count, most });
    }
    Ok(())
}

fn check_task(task: &Task, devices: usize) -> Result<(), &'static str> {
    if !(0..=WORK_MAX).contains(&task.work) {
        return Err("its work has to be 0 to 2^34");
    }
    if [task.memory, task.load_cost].iter().any(|amount| !(0..=AMOUNT_MAX).contains(amount)) {
        return Err("memory and costs have to be 0 to 2^40");
    }
    if !(0..=TICKS_MAX).contains(&task.load_ticks) {
        return Err("its time of loading has to be 0 to 2^34");
    }
    let mut named = task.eligible.iter().flatten().chain(&task.resident_on);
    if named.any(|device| *device as usize >= devices) {
        return Err("it names a device that there is not");
    }
    Ok(())
}
