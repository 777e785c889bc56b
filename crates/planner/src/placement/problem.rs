//! The problem.

/// Most machines.
pub const MACHINES_MAX: usize = 1 << 12;
/// Most devices of a machine.
pub const DEVICES_MAX: usize = 16;
/// Most NUMA nodes of a machine.
pub const NUMA_MAX: usize = 16;
/// Most kinds of devices.
pub const KINDS_MAX: u8 = 64;
/// Most models.
pub const MODELS_MAX: usize = 1 << 10;
/// Most replicas.
pub const REPLICAS_MAX: usize = 1 << 16;
/// Most machines that hold the files of some model, counted for each model.
pub const RESIDENTS_MAX: usize = 1 << 20;
/// Greatest amount of cores (in thousandths) or memory of one thing. Sums over all machines stay within 64 bits.
pub const AMOUNT_MAX: i64 = 1 << 40;
/// Greatest value of a replica, and greatest cost of one thing that is done to it. Sums stay within 64 bits.
pub const VALUE_MAX: i64 = 1 << 40;
/// A whole device, in the unit of [`Model::share_milli`].
pub const WHOLE_MILLI: i64 = 1000;

/// A NUMA node: cores and the memory that is near to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Numa {
    /// Thousandths of a core, 0 to [`AMOUNT_MAX`].
    pub cores_milli: i64,
    /// Any unit, the same everywhere (MiB, say), 0 to [`AMOUNT_MAX`].
    pub memory: i64,
}

/// A device, an accelerator for instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Device {
    /// What it is, below [`KINDS_MAX`].
    pub kind: u8,
    /// Memory of its own, in the unit of all memory.
    pub memory: i64,
    /// The NUMA node of its machine that it hangs on.
    pub numa: u8,
    /// Devices with the same number are joined by fast links (`NVLink`); any number below [`DEVICES_MAX`].
    pub island: u8,
}

/// A machine.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Machine {
    /// Its NUMA nodes, 1 to [`NUMA_MAX`].
    pub numa: Vec<Numa>,
    /// Its devices, none to [`DEVICES_MAX`].
    pub devices: Vec<Device>,
    /// What fails together (a rack, say), below [`MACHINES_MAX`].
    pub zone: u32,
}

/// How near to each other the parts of a replica have to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Within {
    /// Anywhere on one machine.
    Machine,
    /// All devices on one island; cores and memory anywhere on the machine.
    Island,
    /// All devices, cores and memory on one NUMA node.
    Numa,
}

/// A model: what each of its replicas takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Thousandths of a core.
    pub cores_milli: i64,
    /// Memory of the machine.
    pub memory: i64,
    /// How many devices, none to [`DEVICES_MAX`].
    pub devices: u8,
    /// Thousandths of each of these devices, 1 to [`WHOLE_MILLI`]; not looked at without devices.
    pub share_milli: i64,
    /// Memory on each of these devices.
    pub device_memory: i64,
    /// Kinds of devices that it can use: bit `k` for kind `k`.
    pub kinds: u64,
    /// How near to each other its parts have to be.
    pub within: Within,
    /// Most replicas on one machine, from 1 (anti-affinity).
    pub per_machine_max: u32,
    /// Most replicas in one zone, from 1.
    pub per_zone_max: u32,
    /// Machines that hold its files already.
    pub resident_on: Vec<u32>,
    /// What a replica costs on another machine, 0 to [`VALUE_MAX`].
    pub load_cost: i64,
    /// What a replica costs whose devices are not all on one island, 0 to [`VALUE_MAX`].
    pub across_cost: i64,
}

/// Where a replica is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The machine.
    pub machine: u32,
    /// Its devices: bit `d` for device `d` of the machine.
    pub devices: u16,
    /// The NUMA node that it is bound to, if its model is [`Within::Numa`].
    pub numa: Option<u8>,
}

/// What a replica costs at a place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Parts {
    /// Its files are not there.
    pub loading: i64,
    /// Its devices are not all on one island.
    pub across: i64,
    /// It runs elsewhere now.
    pub moving: i64,
}

/// A replica that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replica {
    /// Its model.
    pub model: u32,
    /// What it is worth that it runs: its priority, 0 to [`VALUE_MAX`]. If one class has to come before all of another, its values
    /// are greater than the sum of the other's.
    pub value: i64,
    /// Where it runs now, if it does.
    pub now: Option<Place>,
    /// What it costs to move it from there, 0 to [`VALUE_MAX`].
    pub move_cost: i64,
}

/// Why there is no such problem.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// More than can be worked on.
    #[error("there are {count} {what}, and at most {most} can be worked on")]
    TooMany {
        /// `machines`, `models`, `replicas` or `machines with files`.
        what: &'static str,
        /// How many.
        count: usize,
        /// At most so many.
        most: usize,
    },
    /// A machine that there cannot be.
    #[error("machine {machine}: {why}")]
    BadMachine {
        /// Its place, from 0.
        machine: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A model that there cannot be.
    #[error("model {model}: {why}")]
    BadModel {
        /// Its place, from 0.
        model: usize,
        /// What is wrong with it.
        why: &'static str,
    },
    /// A replica that there cannot be.
    #[error("replica {replica}: {why}")]
    BadReplica {
        /// Its place, from 0.
        replica: usize,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What is to be placed, and on what. Made by [`Problem::new`], which checks it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    machines: Vec<Machine>,
    models: Vec<Model>,
    replicas: Vec<Replica>,
    zones: usize,
    /// For each model whether each machine holds its files.
    resident: Vec<bool>,
}

impl Problem {
    /// Checks sizes, amounts and references. A replica that runs where it no longer can (its device is gone, or it is too large) is
    /// no error: it will be moved. Its machine has to be in the list; give a lost machine without cores and devices.
    pub fn new(
        machines: Vec<Machine>,
        models: Vec<Model>,
        replicas: Vec<Replica>,
    ) -> Result<Self, PlacementError> {
        let files = models.iter().map(|model| model.resident_on.len()).sum();
        for (what, count, most) in [
            ("machines", machines.len(), MACHINES_MAX),
            ("models", models.len(), MODELS_MAX),
            ("replicas", replicas.len(), REPLICAS_MAX),
            ("machines with files", files, RESIDENTS_MAX),
        ] {
            if count > most {
                return Err(PlacementError::TooMany { what, count, most });
            }
        }
        for (index, machine) in machines.iter().enumerate() {
            check_machine(machine).map_err(|why| PlacementError::BadMachine { machine: index, why })?;
        }
        let mut resident = vec![false; machines.len() * models.len()];
        for (index, model) in models.iter().enumerate() {
            check_model(model).map_err(|why| PlacementError::BadModel { model: index, why })?;
            for machine in &model.resident_on {
                if *machine as usize >= machines.len() {
                    let why = "its files are on a machine that there is not";
                    return Err(PlacementError::BadModel { model: index, why });
                }
                resident[index * machines.len() + *machine as usize] = true;
            }
        }
        for (index, replica) in replicas.iter().enumerate() {
            check_replica(replica, &machines, &models)
                .map_err(|why| PlacementError::BadReplica { replica: index, why })?;
        }
        let zones = machines.iter().map(|machine| machine.zone as usize + 1).max().unwrap_or(0);
        Ok(Self { machines, models, replicas, zones, resident })
    }

    /// The machines.
    pub fn machines(&self) -> &[Machine] {
        &self.machines
    }

    /// The models.
    pub fn models(&self) -> &[Model] {
        &self.models
    }

    /// The replicas that are wanted.
    pub fn replicas(&self) -> &[Replica] {
        &self.replicas
    }

    /// Numbers of zones, used or not.
    pub(super) fn zones(&self) -> usize {
        self.zones
    }

    pub(super) fn model_of(&self, replica: usize) -> &Model {
        &self.models[self.replicas[replica].model as usize]
    }

    pub(super) fn is_resident(&self, model: u32, machine: u32) -> bool {
        self.resident[model as usize * self.machines.len() + machine as usize]
    }

    /// What a replica costs at a place, or its value if it has none.
    pub(super) fn cost(&self, replica: usize, place: Option<Place>) -> i64 {
        let wanted = &self.replicas[replica];
        let Some(place) = place else { return wanted.value };
        let Parts { loading, across, moving } = self.parts(replica, place);
        loading + across + moving
    }

    /// What a replica costs at a place, part by part.
    pub(super) fn parts(&self, replica: usize, place: Place) -> Parts {
        let wanted = &self.replicas[replica];
        let moved = wanted.now.is_some_and(|now| now != place);
        let is_there = wanted.now.is_some_and(|now| now.machine == place.machine);
        let parts = self.parts_there(wanted.model, is_there, place);
        Parts { moving: if moved { wanted.move_cost } else { 0 }, ..parts }
    }

    /// Loading and links, without moving. A running replica has its files where it runs.
    pub(super) fn cost_there(&self, model: u32, runs_there: bool, place: Place) -> i64 {
        let parts = self.parts_there(model, runs_there, place);
        parts.loading + parts.across
    }

    fn parts_there(&self, model: u32, runs_there: bool, place: Place) -> Parts {
        let wanted = &self.models[model as usize];
        let is_there = runs_there || self.is_resident(model, place.machine);
        Parts {
            loading: if is_there { 0 } else { wanted.load_cost },
            across: if self.is_across(place) { wanted.across_cost } else { 0 },
            moving: 0,
        }
    }

    fn is_across(&self, place: Place) -> bool {
        let devices = &self.machines[place.machine as usize].devices;
        let mut islands = bits(place.devices).map(|device| devices[device].island);
        let first = islands.next();
        islands.any(|island| Some(island) != first)
    }
}

/// The bits that are set, from the lowest.
pub(super) fn bits(mask: u16) -> impl Iterator<Item = usize> {
    (0..DEVICES_MAX).filter(move |bit| mask >> bit & 1 == 1)
}

fn is_amount(amount: i64) -> bool {
    (0..=AMOUNT_MAX).contains(&amount)
}

fn check_machine(machine: &Machine) -> Result<(), &'static str> {
    let (numa, devices) = (&machine.numa, &machine.devices);
    if numa.is_empty() || numa.len() > NUMA_MAX {
        return Err("it needs 1 to 16 NUMA nodes");
    }
    if devices.len() > DEVICES_MAX {
        return Err("it has more than 16 devices");
    }
    if machine.zone as usize >= MACHINES_MAX {
        return Err("its zone is 4096 or greater");
    }
    if numa.iter().any(|node| !is_amount(node.cores_milli) || !is_amount(node.memory)) {
        return Err("cores and memory have to be 0 to 2^40");
    }
    if devices.iter().any(|device| !is_amount(device.memory)) {
        return Err("the memory of a device has to be 0 to 2^40");
    }
    if devices.iter().any(|device| device.kind >= KINDS_MAX || usize::from(device.island) >= DEVICES_MAX) {
        return Err("kinds of devices are 0 to 63, and islands 0 to 15");
    }
    if devices.iter().any(|device| usize::from(device.numa) >= numa.len()) {
        return Err("a device hangs on a NUMA node that there is not");
    }
    Ok(())
}

fn check_model(model: &Model) -> Result<(), &'static str> {
    if [model.cores_milli, model.memory, model.device_memory].iter().any(|amount| !is_amount(*amount)) {
        return Err("cores and memory have to be 0 to 2^40");
    }
    if usize::from(model.devices) > DEVICES_MAX {
        return Err("it needs more than 16 devices, which no machine has");
    }
    if model.devices > 0 && !(1..=WHOLE_MILLI).contains(&model.share_milli) {
        return Err("its share of a device has to be 1 to 1000 thousandths");
    }
    if model.per_machine_max == 0 || model.per_zone_max == 0 {
        return Err("at least one replica on a machine and in a zone has to be allowed");
    }
    if [model.load_cost, model.across_cost].iter().any(|cost| !(0..=VALUE_MAX).contains(cost)) {
        return Err("costs have to be 0 to 2^40");
    }
    Ok(())
}

fn check_replica(replica: &Replica, machines: &[Machine], models: &[Model]) -> Result<(), &'static str> {
    let Some(model) = models.get(replica.model as usize) else {
        return Err("there is no such model");
    };
    if [replica.value, replica.move_cost].iter().any(|cost| !(0..=VALUE_MAX).contains(cost)) {
        return Err("its value and its cost of moving have to be 0 to 2^40");
    }
    let Some(now) = replica.now else { return Ok(()) };
    if now.machine as usize >= machines.len() {
        return Err("it runs on a machine that there is not");
    }
    if now.devices.count_ones() != u32::from(model.devices) {
        return Err("it runs on more or fewer devices than its model needs");
    }
    if now.numa.is_some() != (model.within == Within::Numa) {
        return Err("it is bound to a NUMA node though its model is not, or the other way round");
    }
    Ok(())
}
