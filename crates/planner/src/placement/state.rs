//! What is free while replicas are placed, and the groups of devices that a replica could take.

use super::problem::{Model, Place, Problem, WHOLE_MILLI, Within, bits};

/// What is free on a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Free {
    pub(super) cores_milli: i64,
    pub(super) memory: i64,
    /// Cores and memory of each NUMA node that are not bound to a replica. What is not bound lies anywhere, so a machine is not too
    /// full as long as the sums hold.
    pub(super) numa: Vec<(i64, i64)>,
    /// Share and memory of each device.
    pub(super) devices: Vec<(i64, i64)>,
}

/// How devices are chosen among those that would do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Choice {
    /// Those that come first.
    First,
    /// Those on which least is left, for each island and for the whole machine.
    Tight,
}

/// Where everything is.
pub(super) struct State<'a> {
    pub(super) problem: &'a Problem,
    pub(super) free: Vec<Free>,
    pub(super) plan: Vec<Option<Place>>,
    /// What the plan costs.
    pub(super) cost: i64,
    /// Replicas of each model on each machine, and in each zone.
    on_machine: Vec<u32>,
    in_zone: Vec<u32>,
}

impl<'a> State<'a> {
    /// Nothing is placed.
    pub(super) fn new(problem: &'a Problem) -> Self {
        let free = problem.machines().iter().map(|machine| Free {
            cores_milli: machine.numa.iter().map(|node| node.cores_milli).sum(),
            memory: machine.numa.iter().map(|node| node.memory).sum(),
            numa: machine.numa.iter().map(|node| (node.cores_milli, node.memory)).collect(),
            devices: machine.devices.iter().map(|device| (WHOLE_MILLI, device.memory)).collect(),
        });
        let models = problem.models().len();
        Self {
            problem,
            free: free.collect(),
            plan: vec![None; problem.replicas().len()],
            cost: problem.replicas().iter().map(|replica| replica.value).sum(),
            on_machine: vec![0; models * problem.machines().len()],
            in_zone: vec![0; models * problem.zones()],
        }
    }

    fn counts(&mut self, model: u32, machine: u32) -> [&mut u32; 2] {
        let zone = self.problem.machines()[machine as usize].zone as usize;
        [
            &mut self.on_machine[model as usize * self.problem.machines().len() + machine as usize],
            &mut self.in_zone[model as usize * self.problem.zones() + zone],
        ]
    }

    /// Replicas of a model on a machine.
    pub(super) fn count(&self, model: u32, machine: u32) -> u32 {
        self.on_machine[model as usize * self.problem.machines().len() + machine as usize]
    }

    /// Whether machine and zone take one more replica of a model.
    pub(super) fn is_apart(&self, model: u32, machine: u32) -> bool {
        let wanted = &self.problem.models()[model as usize];
        let zone = self.problem.machines()[machine as usize].zone as usize;
        self.count(model, machine) < wanted.per_machine_max
            && self.in_zone[model as usize * self.problem.zones() + zone] < wanted.per_zone_max
    }

    /// Puts a replica that has no place where it fits.
    pub(super) fn put(&mut self, replica: usize, place: Place) {
        debug_assert!(self.plan[replica].is_none(), "it has a place");
        self.take(replica, place, -1);
        self.cost += self.problem.cost(replica, Some(place)) - self.problem.cost(replica, None);
        self.plan[replica] = Some(place);
    }

    /// Takes a replica away; nothing if it has no place.
    pub(super) fn lift(&mut self, replica: usize) -> Option<Place> {
        let place = self.plan[replica].take()?;
        self.take(replica, place, 1);
        self.cost += self.problem.cost(replica, None) - self.problem.cost(replica, Some(place));
        Some(place)
    }

    fn take(&mut self, replica: usize, place: Place, sign: i64) {
        let number = self.problem.replicas()[replica].model;
        for count in self.counts(number, place.machine) {
            *count = count.wrapping_add_signed(-sign as i32);
        }
        let model = &self.problem.models()[number as usize];
        let free = &mut self.free[place.machine as usize];
        free.cores_milli += sign * model.cores_milli;
        free.memory += sign * model.memory;
        if let Some(node) = place.numa {
            let node = &mut free.numa[usize::from(node)];
            node.0 += sign * model.cores_milli;
            node.1 += sign * model.memory;
        }
        for device in bits(place.devices) {
            let device = &mut free.devices[device];
            device.0 += sign * model.share_milli;
            device.1 += sign * model.device_memory;
        }
    }

    /// Whether a replica of a model fits at a place.
    pub(super) fn fits(&self, model: u32, place: Place) -> bool {
        let mut found = false;
        self.scopes(model, place.machine, &mut |usable, numa| {
            found |= numa == place.numa && place.devices & !usable == 0;
        });
        found && place.devices.count_ones() == u32::from(self.problem.models()[model as usize].devices)
    }

    /// Whether a machine has room for one more replica of a model.
    pub(super) fn has_room(&self, model: u32, machine: u32) -> bool {
        let mut found = false;
        self.scopes(model, machine, &mut |_, _| found = true);
        found
    }

    /// Tells of every part of a machine within which a replica may lie: the devices there that have room, and the NUMA node.
    fn scopes(&self, model: u32, machine: u32, tell: &mut dyn FnMut(u16, Option<u8>)) {
        let wanted = &self.problem.models()[model as usize];
        let free = &self.free[machine as usize];
        let fits_at_all = wanted.cores_milli <= free.cores_milli && wanted.memory <= free.memory;
        if !fits_at_all || !self.is_apart(model, machine) {
            return;
        }
        let usable = self.usable(wanted, machine);
        let enough = |mask: u16| mask.count_ones() >= u32::from(wanted.devices);
        if !enough(usable) {
            return;
        }
        let devices = &self.problem.machines()[machine as usize].devices;
        match wanted.within {
            Within::Machine => tell(usable, None),
            Within::Island if wanted.devices == 0 => tell(0, None),
            Within::Island => islands(
                usable,
                |device| devices[device].island,
                |mask| {
                    if enough(mask) {
                        tell(mask, None);
                    }
                },
            ),
            Within::Numa => {
                for (node, room) in free.numa.iter().enumerate() {
                    if wanted.cores_milli > room.0 || wanted.memory > room.1 {
                        continue;
                    }
                    let near = bits(usable).filter(|device| usize::from(devices[*device].numa) == node);
                    let mask = near.fold(0, |mask, device| mask | 1 << device);
                    if enough(mask) {
                        tell(mask, Some(node as u8));
                    }
                }
            }
        }
    }

    /// Devices that have room for a replica.
    fn usable(&self, wanted: &Model, machine: u32) -> u16 {
        let devices = &self.problem.machines()[machine as usize].devices;
        let mut mask = 0;
        for (index, (device, room)) in devices.iter().zip(&self.free[machine as usize].devices).enumerate() {
            let fits = wanted.kinds >> device.kind & 1 == 1
                && wanted.share_milli <= room.0
                && wanted.device_memory <= room.1;
            mask |= u16::from(fits && wanted.devices > 0) << index;
        }
        mask
    }

    /// Tells of places on a machine that a replica of a model could take: one for each island and NUMA node, and one for the machine.
    pub(super) fn places(&self, model: u32, machine: u32, choice: Choice, tell: &mut dyn FnMut(Place)) {
        let wanted = &self.problem.models()[model as usize];
        let count = usize::from(wanted.devices);
        let devices = &self.problem.machines()[machine as usize].devices;
        let room = &self.free[machine as usize].devices;
        self.scopes(model, machine, &mut |usable, numa| {
            let mut choose = |from: u16| {
                let mut order: Vec<usize> = bits(from).collect();
                if choice == Choice::Tight {
                    order.sort_by_key(|device| (room[*device], *device));
                }
                order.truncate(count);
                let mask = order.iter().fold(0, |mask, device| mask | 1 << device);
                tell(Place { machine, devices: mask, numa });
            };
            choose(usable);
            if choice == Choice::Tight && count > 0 {
                islands(
                    usable,
                    |device| devices[device].island,
                    |mask| {
                        if mask != usable && mask.count_ones() as usize >= count {
                            choose(mask);
                        }
                    },
                );
            }
        });
    }

    /// Tells of all places on a machine that a replica of a model could take. Unless every device counts for itself, devices that are
    /// alike and equally full are taken in their order only.
    pub(super) fn all_places(&self, model: u32, machine: u32, each: bool, tell: &mut dyn FnMut(Place)) {
        let count = u32::from(self.problem.models()[model as usize].devices);
        let devices = &self.problem.machines()[machine as usize].devices;
        let room = &self.free[machine as usize].devices;
        let alike = |one: usize, other: usize| devices[one] == devices[other] && room[one] == room[other];
        self.scopes(model, machine, &mut |usable, numa| {
            for mask in 0..=usable {
                if mask & !usable != 0 || mask.count_ones() != count {
                    continue;
                }
                let skips = |device: usize| {
                    bits(usable & !mask).any(|before| before < device && alike(before, device))
                };
                if each || !bits(mask).any(skips) {
                    tell(Place { machine, devices: mask, numa });
                }
            }
        });
    }
}

/// Tells of the devices of each island.
fn islands(mask: u16, island: impl Fn(usize) -> u8, mut tell: impl FnMut(u16)) {
    let mut left = mask;
    while left != 0 {
        let first = island(left.trailing_zeros() as usize);
        let same = bits(left).filter(|device| island(*device) == first);
        let group = same.fold(0, |mask, device| mask | 1 << device);
        tell(group);
        left &= !group;
    }
}
