//! What there is on this machine, and how much of it is ours.
//!
//! **Never** an error: what cannot be read is absent, and a note says why. What reads is apart from what parses,
//! and all that reads takes the root of the file system as an argument, so that a recorded machine can be read too.
//! A machine can also be described by a file ([`Inventory::from_file`]), which is judged strictly, because a file
//! may lie.
//!
//! The three types to know: [`Inventory`] (the machine), [`Prober`] (reads it, and again), [`GrantedCpus`] (the
//! part of it that worker threads may use).

mod bandwidth;
mod check;
mod control_group;
mod cpu_set;
mod cpus;
mod device;
mod disks;
mod document;
mod drm;
mod machine;
mod memory;
mod network;
mod nvml;
mod root;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use bandwidth::Bandwidth;
pub use cpu_set::{CPUS_MAX, CpuSet, CpuSetError};
pub(crate) use cpus::granted_here;
pub use cpus::{Cache, CacheKind, CpuLimit, Cpus, GrantedCpus};
pub use device::{
    DEVICES_MAX, Device, DeviceMemory, DeviceState, Driver, Ecc, Live, Mig, MigInstance, NvLink, Throttle,
    Vendor,
};
pub use disks::{DataVolume, Disk};
pub use document::{InventoryError, Problem};
pub use machine::Machine;
pub(crate) use memory::free_memory_here;
pub use memory::{HugePages, Memory, MemoryLimit, NumaNode};
pub use network::Interface;
use nvml::Nvidia;
use root::Root;

/// Version of the document's shape. It changes when a field changes its meaning or goes.
pub const SCHEMA: u32 = 1;
/// Notes that are kept.
const NOTES_MAX: usize = 100;

/// A machine. Sizes are in bytes unless a field's name has another unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Inventory {
    /// [`SCHEMA`].
    pub schema: u32,
    /// Which machine it is.
    pub machine: Machine,
    /// Its processors.
    pub cpus: Cpus,
    /// Its main memory.
    pub memory: Memory,
    /// Its nodes of memory; none if the kernel knows of none.
    #[serde(default)]
    pub numa: Vec<NumaNode>,
    /// Where llmos keeps its state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data_dir: Option<DataVolume>,
    /// Its disks.
    #[serde(default)]
    pub disks: Vec<Disk>,
    /// Its network interfaces.
    #[serde(default)]
    pub network: Vec<Interface>,
    /// Its accelerators.
    #[serde(default)]
    pub devices: Vec<Device>,
    /// What could not be read, and why.
    #[serde(default)]
    pub notes: Vec<String>,
}

impl Inventory {
    /// This machine, as it is now.
    pub fn probe() -> Self {
        Prober::new("/".into(), PathBuf::new(), None).probe()
    }
}

/// Reads a machine, and reads again what changes from second to second.
#[derive(Debug)]
pub struct Prober {
    root: Root,
    data_dir: PathBuf,
    affinity: Option<CpuSet>,
    nvidia: Result<Nvidia, String>,
}

impl Prober {
    /// `root` is `/`, or a folder with a recorded machine. `data_dir` is where llmos keeps its state; empty for
    /// nowhere. `nvml` is the library to load in place of the driver's.
    pub fn new(root: PathBuf, data_dir: PathBuf, nvml: Option<&Path>) -> Self {
        Self { root: Root::new(root), data_dir, affinity: affinity(), nvidia: Nvidia::load(nvml) }
    }

    /// The whole machine. Takes milliseconds, with accelerators tens of them.
    pub fn probe(&self) -> Inventory {
        let mut notes = Vec::new();
        let cpus = Cpus::read(&self.root, self.affinity.as_ref(), &mut notes);
        let memory = Memory::read(&self.root, &mut notes);
        let numa = NumaNode::read_all(&self.root, &cpus.online);
        let named = !self.data_dir.as_os_str().is_empty();
        let data_dir = named.then(|| DataVolume::read(&self.root, &self.data_dir, &mut notes)).flatten();
        let mut devices = match &self.nvidia {
            Ok(nvidia) => nvidia.devices(&self.root, &mut notes),
            Err(why) => {
                notes.push(format!("devices: none of NVIDIA, because {why}"));
                Vec::new()
            }
        };
        let first = devices.len() as u32;
        devices.extend(drm::devices(&self.root, first, self.nvidia.is_ok(), &mut notes));
        notes.truncate(NOTES_MAX);
        Inventory {
            schema: SCHEMA,
            machine: Machine::read(&self.root),
            memory,
            numa,
            data_dir,
            disks: Disk::read_all(&self.root),
            network: Interface::read_all(&self.root),
            devices,
            cpus,
            notes,
        }
    }

    /// Reads again what changes: memory, and the figures of devices. A device that does not answer is lost; one
    /// that is not there any more goes from the list, with a note. Cheap enough for once a second.
    pub fn refresh(&self, inventory: &mut Inventory) {
        let bandwidth = inventory.memory.bandwidth.take();
        // What is wrong with memory was noted when it was read first.
        inventory.memory = Memory { bandwidth, ..Memory::read(&self.root, &mut Vec::new()) };
        let notes = &mut inventory.notes;
        inventory.devices.retain_mut(|device| {
            let is_there = match (device.vendor, &self.nvidia) {
                (Vendor::Nvidia, Ok(nvidia)) => nvidia.refresh(device),
                (Vendor::Nvidia, Err(_)) => false,
                _ => drm::refresh(&self.root, device),
            };
            if !is_there && notes.len() < NOTES_MAX {
                notes.push(format!("devices: {} ({}) is gone", device.index, device.name));
            }
            is_there
        });
        let indices: Vec<u32> = inventory.devices.iter().map(|device| device.index).collect();
        for link in inventory.devices.iter_mut().flat_map(|device| &mut device.nvlinks) {
            if link.peer.is_some_and(|peer| !indices.contains(&peer)) {
                (link.peer, link.active) = (None, false);
            }
        }
    }
}

/// The CPUs that the kernel lets this process run on; `None` where it does not say.
pub(crate) fn affinity() -> Option<CpuSet> {
    #[cfg(target_os = "linux")]
    {
        let set = rustix::thread::sched_getaffinity(None).ok()?;
        let is_set = |&cpu: &u32| set.is_set(cpu as usize);
        Some((0..rustix::thread::CpuSet::MAX_CPU as u32).filter(is_set).collect())
    }
    #[cfg(not(target_os = "linux"))]
    None
}
