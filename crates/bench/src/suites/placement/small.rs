//! Small problems at random: two to four machines with eight devices in all, and more replicas than they hold, some of which run already.

use planner::{
    Random,
    placement::{Device, Machine, Model, Numa, Place, PlacementError, Problem, Replica, Within},
};

const DEVICES: u32 = 8;
const MODELS: u32 = 4;

pub(super) fn problem(random: &mut Random) -> Result<Problem, PlacementError> {
    let count = one_of(random, &[2, 4]);
    let machines = (0..count).map(|_| machine(random, DEVICES / count)).collect();
    let models: Vec<Model> = (0..MODELS).map(|_| model(random, count)).collect();
    let wanted = 12 + random.below(8);
    let replicas = (0..wanted).map(|_| replica(random, &models, count)).collect();
    Problem::new(machines, models, replicas)
}

/// Two NUMA nodes with half of the devices each; two devices are an island.
fn machine(random: &mut Random, devices: u32) -> Machine {
    let kind = random.below(2) as u8;
    let device = |index: u32| Device {
        kind,
        memory: 40_000 + 40_000 * i64::from(kind),
        numa: (index * 2 / devices) as u8,
        island: (index / 2) as u8,
    };
    let numa = vec![Numa { cores_milli: 16_000, memory: 64_000 }; 2];
    Machine { numa, devices: (0..devices).map(device).collect(), zone: random.below(2) }
}

fn model(random: &mut Random, machines: u32) -> Model {
    Model {
        cores_milli: one_of(random, &[1_000, 2_000, 4_000, 8_000]),
        memory: one_of(random, &[4_000, 8_000, 16_000, 30_000]),
        devices: one_of(random, &[1, 1, 1, 2, 2, 4]),
        share_milli: one_of(random, &[250, 400, 500, 1_000, 1_000]),
        device_memory: one_of(random, &[8_000, 16_000, 24_000, 40_000]),
        kinds: one_of(random, &[0b01, 0b10, 0b11, 0b11]),
        within: one_of(random, &[Within::Machine, Within::Island, Within::Numa]),
        per_machine_max: 1 + random.below(3),
        per_zone_max: 2 + random.below(4),
        resident_on: vec![random.below(machines)],
        load_cost: one_of(random, &[10, 20, 50]),
        across_cost: one_of(random, &[0, 5, 20]),
    }
}

/// Some of those on one device run somewhere.
fn replica(random: &mut Random, models: &[Model], machines: u32) -> Replica {
    let number = random.below(MODELS);
    let model = &models[number as usize];
    let now = (model.devices == 1 && random.below(3) == 0).then(|| {
        let numa = (model.within == Within::Numa).then_some(0);
        Place { machine: random.below(machines), devices: 1 << random.below(2), numa }
    });
    let value = i64::from(50 + random.below(200)) * i64::from(model.devices);
    Replica { model: number, value, now, move_cost: one_of(random, &[5, 30]) }
}

fn one_of<T: Copy>(random: &mut Random, things: &[T]) -> T {
    things[random.below(things.len() as u32) as usize]
}
