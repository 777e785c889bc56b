//! Checks plans. Shares no code with the solvers: it reads the problem as it was given and counts everything anew.

use std::collections::BTreeMap;

use super::{Place, Problem, Within};

/// What is wrong with a plan.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// Replicas are missing, or there are too many.
    #[error("the plan has {found} replicas, and the problem {expected}")]
    Shape {
        /// Replicas of the plan.
        found: usize,
        /// Replicas of the problem.
        expected: usize,
    },
    /// A replica is where it cannot be.
    #[error("replica {replica} cannot be there: {why}")]
    Place {
        /// The replica.
        replica: usize,
        /// Why.
        why: &'static str,
    },
    /// More is taken of a machine than it has.
    #[error("machine {machine} has {has} of {what}, and {taken} are taken")]
    Full {
        /// The machine.
        machine: u32,
        /// `cores (thousandths)`, `memory`, and so on.
        what: &'static str,
        /// What it has.
        has: i128,
        /// What is taken.
        taken: i128,
    },
    /// Replicas of a model are not far enough apart.
    #[error("there are {found} replicas of model {model} on one {what}, and at most {most} may be")]
    Together {
        /// The model.
        model: u32,
        /// `machine` or `zone`.
        what: &'static str,
        /// How many.
        found: u32,
        /// At most so many.
        most: u32,
    },
}

/// Checks a plan: every replica is within one machine, island or NUMA node as its model wants, on devices of the right kind; nothing is
/// taken twice; and what has to be apart is. Returns what the plan costs: the values of what has no place, and loading, links and
/// moving of what has one.
pub fn plan(problem: &Problem, plan: &[Option<Place>]) -> Result<i128, Wrong> {
    let replicas = problem.replicas();
    if plan.len() != replicas.len() {
        return Err(Wrong::Shape { found: plan.len(), expected: replicas.len() });
    }
    let mut taken: BTreeMap<(u32, &'static str, usize), (i128, i128)> = BTreeMap::new();
    let mut together: BTreeMap<(u32, &'static str, u32), u32> = BTreeMap::new();
    let mut cost: i128 = 0;
    for (index, (replica, place)) in replicas.iter().zip(plan).enumerate() {
        let Some(place) = place else {
            cost += i128::from(replica.value);
            continue;
        };
        let wrong = |why| Err(Wrong::Place { replica: index, why });
        let model = &problem.models()[replica.model as usize];
        let Some(machine) = problem.machines().get(place.machine as usize) else {
            return wrong("there is no such machine");
        };
        let mut chosen = Vec::new();
        for device in 0..u16::BITS as usize {
            if place.devices & (1 << device) != 0 {
                let Some(there) = machine.devices.get(device) else {
                    return wrong("the machine has no such device");
                };
                if model.kinds & (1 << there.kind) == 0 {
                    return wrong("its model cannot use this kind of device");
                }
                chosen.push((device, there));
            }
        }
        if chosen.len() != usize::from(model.devices) {
            return wrong("it has more or fewer devices than it needs");
        }
        let one_island = chosen.windows(2).all(|pair| pair[0].1.island == pair[1].1.island);
        match (model.within, place.numa) {
            (Within::Numa, Some(node)) => {
                let Some(numa) = machine.numa.get(usize::from(node)) else {
                    return wrong("there is no such NUMA node");
                };
                if chosen.iter().any(|(_, device)| device.numa != node) {
                    return wrong("a device is not on its NUMA node");
                }
                let at = usize::from(node);
                take(
                    &mut taken,
                    (place.machine, "cores (thousandths) of a NUMA node", at),
                    numa.cores_milli,
                    model.cores_milli,
                );
                take(&mut taken, (place.machine, "memory of a NUMA node", at), numa.memory, model.memory);
            }
            (Within::Numa, None) => return wrong("it has to be bound to a NUMA node"),
            (_, Some(_)) => return wrong("it is bound to a NUMA node, and its model is not"),
            (Within::Island, None) if !one_island => return wrong("its devices are not on one island"),
            (Within::Island | Within::Machine, None) => {}
        }
        let cores = machine.numa.iter().map(|node| node.cores_milli).sum();
        let memory = machine.numa.iter().map(|node| node.memory).sum();
        take(&mut taken, (place.machine, "cores (thousandths)", 0), cores, model.cores_milli);
        take(&mut taken, (place.machine, "memory", 0), memory, model.memory);
        for (device, there) in &chosen {
            take(&mut taken, (place.machine, "thousandths of a device", *device), 1000, model.share_milli);
            take(
                &mut taken,
                (place.machine, "memory of a device", *device),
                there.memory,
                model.device_memory,
            );
        }
        for (what, at, most) in
            [("machine", place.machine, model.per_machine_max), ("zone", machine.zone, model.per_zone_max)]
        {
            let found = together.entry((replica.model, what, at)).or_default();
            *found += 1;
            if *found > most {
                return Err(Wrong::Together { model: replica.model, what, found: *found, most });
            }
        }
        let runs_here = replica.now.is_some_and(|now| now.machine == place.machine);
        if !runs_here && !model.resident_on.contains(&place.machine) {
            cost += i128::from(model.load_cost);
        }
        if !one_island {
            cost += i128::from(model.across_cost);
        }
        if replica.now.is_some() && replica.now != Some(*place) {
            cost += i128::from(replica.move_cost);
        }
    }
    for ((machine, what, _), (has, taken)) in taken {
        if taken > has {
            return Err(Wrong::Full { machine, what, has, taken });
        }
    }
    Ok(cost)
}

fn take(
    taken: &mut BTreeMap<(u32, &'static str, usize), (i128, i128)>,
    what: (u32, &'static str, usize),
    has: i64,
    amount: i64,
) {
    let entry = taken.entry(what).or_insert((i128::from(has), 0));
    entry.1 += i128::from(amount);
}
