//! What is to be placed, and on what: the files of `llmos plan place`.

use std::path::Path;

use planner::placement::{
    DEVICES_MAX, Device, KINDS_MAX, Machine, Model, Numa, Place, PlacementError, Problem, Replica,
    WHOLE_MILLI, Within,
};
use resources::inventory::{self, DeviceState, Inventory};
use serde::Deserialize;

use super::text;
use crate::{
    detect,
    exit::{Exit, Failure},
};

/// What it is worth that a replica runs, and what is done to it, unless the file says otherwise: running counts more than
/// everything else, and staying more than loading.
const VALUE: i64 = 100;
const LOAD_COST: i64 = 10;
const ACROSS_COST: i64 = 10;
const MOVE_COST: i64 = 20;
const MIB: u64 = 1 << 20;
const MILLI: f64 = 1_000.0;

/// A problem, and what people call its parts.
pub(super) struct Fleet {
    pub(super) problem: Problem,
    /// By machine.
    pub(super) machines: Vec<String>,
    /// By replica: its model and which of its replicas it is, from 0.
    pub(super) replicas: Vec<(String, usize)>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MachinesFile {
    #[serde(default)]
    machine: Vec<MachineEntry>,
}

/// A machine: described here, or by what `llmos detect --json` printed there.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct MachineEntry {
    name: String,
    zone: Option<String>,
    inventory: Option<String>,
    #[serde(default)]
    numa: Vec<NumaEntry>,
    #[serde(default)]
    devices: Vec<DeviceEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NumaEntry {
    cores: f64,
    memory_mb: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceEntry {
    kind: String,
    memory_mb: i64,
    #[serde(default = "one")]
    count: usize,
    #[serde(default)]
    numa: u8,
    island: Option<u8>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelsFile {
    #[serde(default)]
    model: Vec<ModelEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ModelEntry {
    name: String,
    #[serde(default = "one")]
    replicas: usize,
    value: Option<i64>,
    #[serde(default)]
    cores: f64,
    #[serde(default)]
    memory_mb: i64,
    #[serde(default)]
    devices: u8,
    #[serde(default = "whole")]
    device_share: f64,
    #[serde(default)]
    device_memory_mb: i64,
    #[serde(default)]
    kinds: Vec<String>,
    #[serde(default)]
    within: WithinEntry,
    per_machine_max: Option<u32>,
    per_zone_max: Option<u32>,
    #[serde(default)]
    resident_on: Vec<String>,
    load_cost: Option<i64>,
    across_cost: Option<i64>,
    move_cost: Option<i64>,
    #[serde(default)]
    running: Vec<RunningEntry>,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum WithinEntry {
    #[default]
    Machine,
    Island,
    Numa,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RunningEntry {
    machine: String,
    #[serde(default)]
    devices: Vec<usize>,
    numa: Option<u8>,
}

fn one() -> usize {
    1
}

fn whole() -> f64 {
    1.0
}

/// Kinds of devices by their names, as the planner numbers them.
#[derive(Default)]
struct Kinds(Vec<String>);

/// Reads both files.
pub(super) fn read(machines: &Path, models: &Path) -> Result<Fleet, Failure> {
    let mut kinds = Kinds::default();
    let (names, described) = read_machines(machines, &mut kinds)?;
    let wrong = |what: String| refused(models, &what);
    let file: ModelsFile = from_toml(models, &text::read(models)?)?;
    let (mut wanted, mut replicas, mut called) = (Vec::new(), Vec::new(), Vec::<(String, usize)>::new());
    for (entry, index) in file.model.iter().zip(0..) {
        let of_model = |why: &str| wrong(format!("model `{}`: {why}", entry.name));
        if file.model.iter().take(index as usize).any(|other| other.name == entry.name) {
            return Err(of_model("there are two of this name"));
        }
        let find = |name: &str| {
            let found = names.iter().position(|known| known == name);
            found.ok_or_else(|| of_model(&format!("there is no machine `{name}`"))).map(|found| found as u32)
        };
        // Where a replica runs, its files are too.
        let holders = entry.resident_on.iter().chain(entry.running.iter().map(|running| &running.machine));
        let resident_on = holders.map(|name| find(name)).collect::<Result<_, _>>()?;
        wanted.push(Model {
            cores_milli: milli(entry.cores).ok_or_else(|| of_model("cores have to be 0 or more"))?,
            memory: entry.memory_mb,
            devices: entry.devices,
            share_milli: milli(entry.device_share)
                .filter(|share| (1..=WHOLE_MILLI).contains(share))
                .ok_or_else(|| of_model("device_share has to be 0.001 to 1"))?,
            device_memory: entry.device_memory_mb,
            kinds: kinds.that_are(&entry.kinds),
            within: match entry.within {
                WithinEntry::Machine => Within::Machine,
                WithinEntry::Island => Within::Island,
                WithinEntry::Numa => Within::Numa,
            },
            per_machine_max: entry.per_machine_max.unwrap_or(u32::MAX),
            per_zone_max: entry.per_zone_max.unwrap_or(u32::MAX),
            resident_on,
            load_cost: entry.load_cost.unwrap_or(LOAD_COST),
            across_cost: entry.across_cost.unwrap_or(ACROSS_COST),
        });
        if entry.running.len() > entry.replicas {
            return Err(of_model("more replicas run than are wanted; leave out those that may end"));
        }
        if entry.replicas > planner::placement::REPLICAS_MAX {
            return Err(of_model(&format!("at most {} replicas", planner::placement::REPLICAS_MAX)));
        }
        for number in 0..entry.replicas {
            let now = match entry.running.get(number) {
                None => None,
                Some(running) => Some(Place {
                    machine: find(&running.machine)?,
                    devices: mask(&running.devices)
                        .ok_or_else(|| of_model(&format!("devices are 0 to {}", DEVICES_MAX - 1)))?,
                    numa: running.numa,
                }),
            };
            let value = entry.value.unwrap_or(VALUE);
            let move_cost = entry.move_cost.unwrap_or(MOVE_COST);
            replicas.push(Replica { model: index, value, now, move_cost });
            called.push((entry.name.clone(), number));
        }
    }
    let problem = Problem::new(described, wanted, replicas);
    let problem = problem.map_err(|error| match error {
        PlacementError::BadMachine { machine, why } => {
            refused(machines, &format!("machine `{}`: {why}", names[machine]))
        }
        PlacementError::BadModel { model, why } => {
            wrong(format!("model `{}`: {why}", file.model[model].name))
        }
        PlacementError::BadReplica { replica, why } => {
            let (model, number) = &called[replica];
            wrong(format!("replica {number} of model `{model}`: {why}"))
        }
        error @ PlacementError::TooMany { .. } => Failure::new(Exit::Failed, error),
    })?;
    Ok(Fleet { problem, machines: names, replicas: called })
}

fn read_machines(path: &Path, kinds: &mut Kinds) -> Result<(Vec<String>, Vec<Machine>), Failure> {
    let text = text::read(path)?;
    if text.trim_start().starts_with('{') {
        let machine = detected(path, 0, kinds)?;
        return Ok((vec![machine.0.unwrap_or_else(|| "machine".to_owned())], vec![machine.1]));
    }
    let file: MachinesFile = from_toml(path, &text)?;
    let (mut names, mut zones, mut machines) = (Vec::new(), Vec::new(), Vec::new());
    for entry in file.machine {
        let wrong = |why: &str| refused(path, &format!("machine `{}`: {why}", entry.name));
        if names.contains(&entry.name) {
            return Err(wrong("there are two of this name"));
        }
        // A machine without a zone fails by itself.
        let zone = (entry.zone.is_some(), entry.zone.clone().unwrap_or_else(|| entry.name.clone()));
        let place = zones.iter().position(|known| *known == zone).unwrap_or(zones.len());
        if place == zones.len() {
            zones.push(zone);
        }
        let machine = match &entry.inventory {
            Some(_) if !entry.numa.is_empty() || !entry.devices.is_empty() => {
                return Err(wrong("it has an `inventory`, so `numa` and `devices` come from there"));
            }
            Some(file) => {
                let folder = path.parent().unwrap_or(Path::new(""));
                detected(&folder.join(file), place as u32, kinds)?.1
            }
            None => described(&entry, place as u32, kinds).map_err(|why| wrong(&why))?,
        };
        names.push(entry.name);
        machines.push(machine);
    }
    Ok((names, machines))
}

/// A machine as a person describes it.
fn described(entry: &MachineEntry, zone: u32, kinds: &mut Kinds) -> Result<Machine, String> {
    let mut numa = Vec::new();
    for node in &entry.numa {
        let cores_milli = milli(node.cores).ok_or("cores have to be 0 or more")?;
        numa.push(Numa { cores_milli, memory: node.memory_mb });
    }
    let mut devices: Vec<Device> = Vec::new();
    for group in &entry.devices {
        let kind = kinds.number(&group.kind)?;
        for _ in 0..group.count {
            if devices.len() == DEVICES_MAX {
                return Err(format!("it has more than {DEVICES_MAX} devices"));
            }
            // Without an island a device is joined to none: a number that nobody has.
            let taken = entry
                .devices
                .iter()
                .filter_map(|group| group.island)
                .chain(devices.iter().map(|device| device.island));
            let taken: Vec<u8> = taken.collect();
            let free = (0..DEVICES_MAX as u8).find(|island| !taken.contains(island));
            let island = group.island.or(free).ok_or("it has more than 16 islands")?;
            devices.push(Device { kind, memory: group.memory_mb, numa: group.numa, island });
        }
    }
    Ok(Machine { numa, devices, zone })
}

/// A machine as it was detected, with its name: what is granted of it, free or not, because replicas may run there already.
fn detected(path: &Path, zone: u32, kinds: &mut Kinds) -> Result<(Option<String>, Machine), Failure> {
    let inventory = Inventory::from_file(path).map_err(|error| detect::refused(&error))?;
    let wrong = |why: String| refused(path, &why);
    let Inventory { cpus, memory, .. } = &inventory;
    // A limit on time or memory takes the same part of every node.
    let cores_milli = |cores: usize| {
        let part = 1_000 * u64::from(cpus.granted.threads) * cores as u64;
        (part / (cpus.granted.cpus.len() as u64).max(1)) as i64
    };
    let mib = |bytes: u64| {
        let part = u128::from(bytes) * u128::from(memory.granted) / u128::from(memory.total.max(1));
        (part / u128::from(MIB)) as i64
    };
    let mut numa: Vec<Numa> = Vec::new();
    for node in &inventory.numa {
        let cores = node.cpus.and(&cpus.granted.cpus).len();
        numa.push(Numa { cores_milli: cores_milli(cores), memory: mib(node.memory_total) });
    }
    if numa.is_empty() {
        let cores = cpus.granted.cpus.len();
        numa.push(Numa { cores_milli: cores_milli(cores), memory: mib(memory.total) });
    }
    let is_whole = |device: &&inventory::Device| {
        device.state == DeviceState::Ready && device.mig.as_ref().is_none_or(|mig| !mig.enabled)
    };
    let ready: Vec<_> = inventory.devices.iter().filter(is_whole).collect();
    if ready.len() > DEVICES_MAX {
        return Err(wrong(format!(
            "it has {} devices, and at most {DEVICES_MAX} can be planned with",
            ready.len()
        )));
    }
    let mut devices = Vec::new();
    for (device, island) in ready.iter().zip(islands(&ready)) {
        let node = device.numa_node.and_then(|id| inventory.numa.iter().position(|node| node.id == id));
        devices.push(Device {
            kind: kinds.number(&device.name).map_err(wrong)?,
            memory: device.memory.as_ref().map_or(0, |memory| (memory.total / MIB) as i64),
            numa: node.unwrap_or_default() as u8,
            island,
        });
    }
    Ok((inventory.machine.hostname.clone(), Machine { numa, devices, zone }))
}

/// Which devices are joined by links, to each other or to the same switch: the same number for those.
fn islands(devices: &[&inventory::Device]) -> Vec<u8> {
    let buses = |device: &inventory::Device| -> Vec<String> {
        let peers =
            device.nvlinks.iter().filter(|link| link.active).filter_map(|link| link.peer_bus_id.clone());
        peers.chain(device.bus_id.clone()).collect()
    };
    let ends: Vec<Vec<String>> = devices.iter().map(|device| buses(device)).collect();
    let mut islands: Vec<u8> = (0..devices.len() as u8).collect();
    for first in 0..devices.len() {
        for second in 0..first {
            let (one, other) = (islands[first], islands[second]);
            if one != other && ends[first].iter().any(|end| ends[second].contains(end)) {
                for island in &mut islands {
                    if *island == one {
                        *island = other;
                    }
                }
            }
        }
    }
    islands
}

impl Kinds {
    fn number(&mut self, name: &str) -> Result<u8, String> {
        let place = self.0.iter().position(|known| known == name).unwrap_or(self.0.len());
        if place == self.0.len() {
            if place == usize::from(KINDS_MAX) {
                return Err(format!("there are more than {KINDS_MAX} kinds of devices"));
            }
            self.0.push(name.to_owned());
        }
        Ok(place as u8)
    }

    /// All whose name contains one of these, in capitals or not; all if there are none of these.
    fn that_are(&self, wanted: &[String]) -> u64 {
        let fits = |name: &String| {
            let name = name.to_lowercase();
            wanted.is_empty() || wanted.iter().any(|part| name.contains(&part.to_lowercase()))
        };
        self.0.iter().enumerate().filter(|(_, name)| fits(name)).fold(0, |all, (place, _)| all | 1 << place)
    }
}

fn milli(number: f64) -> Option<i64> {
    (number >= 0.0 && number.is_finite()).then(|| (number * MILLI).round() as i64)
}

fn mask(devices: &[usize]) -> Option<u16> {
    let bit = |device: &usize| (*device < DEVICES_MAX).then(|| 1_u16 << device);
    devices.iter().try_fold(0, |mask, device| Some(mask | bit(device)?))
}

fn from_toml<T: for<'de> Deserialize<'de>>(path: &Path, text: &str) -> Result<T, Failure> {
    toml::from_str(text).map_err(|error| {
        let before = text.get(..error.span().map_or(0, |span| span.start)).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.len() - before.rfind('\n').map_or(0, |end| end + 1) + 1;
        let place = format!("{}, line {line}, column {column}", path.display());
        Failure::new(Exit::Failed, format!("{place}: {}", error.message()))
    })
}

fn refused(path: &Path, why: &str) -> Failure {
    Failure::new(Exit::Failed, format!("{}: {why}", path.display()))
}
