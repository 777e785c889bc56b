//! What a described machine must fulfil. A file may be written by hand, or by somebody who wants a plan that no
//! machine bears.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    CpuSet, Cpus, DEVICES_MAX, Device, DeviceMemory, DeviceState, Inventory, Memory, NumaNode, Problem,
    SCHEMA,
    device::{LINKS_MAX, MIG_INSTANCES_MAX},
    disks::DISKS_MAX,
    memory::NODES_MAX,
    network::INTERFACES_MAX,
};

/// Most memory of a machine or a device: a pebibyte.
const MEMORY_BYTES_MAX: u64 = 1 << 50;
/// Largest disk or file system: an exbibyte.
const DISK_BYTES_MAX: u64 = 1 << 60;
/// Largest cache.
const CACHE_BYTES_MAX: u64 = 1 << 40;
/// Levels of caches.
const CACHE_LEVEL_MAX: u64 = 8;
/// Different caches.
const CACHES_MAX: usize = 64;
/// Limits, sizes of large pages, instruction sets and notes.
const LIST_MAX: usize = 256;
/// Distance of nodes, as the firmware gives it in one byte.
const DISTANCE_MAX: u64 = 255;
/// Fastest memory.
const BANDWIDTH_BYTES_PER_S_MAX: u64 = 1 << 50;
/// Most of a CPU's time.
const QUOTA_MILLICPUS_MAX: u64 = 1_000 * super::CPUS_MAX as u64;
/// Hottest device, in degrees Celsius.
const TEMPERATURE_C_MAX: u64 = 200;
/// Most power of one device: 100 kW.
const POWER_MW_MAX: u64 = 100_000_000;
/// Fastest clock: 100 GHz.
const CLOCK_MHZ_MAX: u64 = 100_000;
/// Fastest link: 100 Tbit/s.
const SPEED_MBITS_MAX: u64 = 100_000_000;

/// All that is wrong with a described machine.
pub(super) fn problems(inventory: &Inventory) -> Vec<Problem> {
    let mut check = Check { problems: Vec::new() };
    if inventory.schema != SCHEMA {
        check.refuse("schema", format!("is {}; this version reads {SCHEMA}", inventory.schema));
    }
    check.at_most("notes", inventory.notes.len(), LIST_MAX);
    check.cpus(&inventory.cpus);
    check.memory(&inventory.memory);
    check.nodes(&inventory.numa, &inventory.cpus.online);
    check.storage(inventory);
    check.devices(inventory);
    check.problems
}

struct Check {
    problems: Vec<Problem>,
}

impl Check {
    fn refuse(&mut self, field: impl Into<String>, message: impl Into<String>) {
        self.problems.push(Problem { field: field.into(), message: message.into() });
    }

    fn range(&mut self, field: impl Into<String>, value: impl Into<u64>, least: u64, most: u64) {
        let value = value.into();
        if !(least..=most).contains(&value) {
            self.refuse(field, format!("is {value}; from {least} to {most} is possible"));
        }
    }

    fn optional(&mut self, field: impl Into<String>, value: Option<impl Into<u64>>, most: u64) {
        if let Some(value) = value {
            self.range(field, value, 0, most);
        }
    }

    fn at_most(&mut self, field: impl Into<String>, count: usize, most: usize) {
        if count > most {
            self.refuse(field, format!("has {count} entries; {most} at most are possible"));
        }
    }

    fn part(&mut self, field: impl Into<String>, part: u64, whole_name: &str, whole: u64) {
        if part > whole {
            self.refuse(field, format!("is {part}, more than `{whole_name}` ({whole})"));
        }
    }

    fn unique<T: Ord + std::fmt::Display>(&mut self, seen: &mut BTreeSet<T>, field: String, value: T) {
        if seen.contains(&value) {
            self.refuse(field, format!("`{value}` is there twice"));
        }
        seen.insert(value);
    }

    /// CPUs that are not online.
    fn online(&mut self, field: impl Into<String>, cpus: &CpuSet, online: &CpuSet) {
        let unknown = cpus.without(online);
        if !unknown.is_empty() {
            self.refuse(field, format!("has CPUs {unknown}, which are not in `cpus.online` ({online})"));
        }
    }

    fn cpus(&mut self, cpus: &Cpus) {
        let (online, granted) = (&cpus.online, &cpus.granted);
        if online.is_empty() {
            self.refuse("cpus.online", "is empty; a machine has a CPU");
        }
        let count = online.len() as u64;
        if let Some(cores) = cpus.cores {
            self.range("cpus.cores", cores, 1, count.max(1));
        }
        if let Some(sockets) = cpus.sockets {
            self.range(
                "cpus.sockets",
                sockets,
                1,
                u64::from(cpus.cores.unwrap_or(u32::MAX)).min(count.max(1)),
            );
        }
        self.at_most("cpus.instruction_sets", cpus.instruction_sets.len(), LIST_MAX);
        self.at_most("cpus.caches", cpus.caches.len(), CACHES_MAX);
        for (number, cache) in cpus.caches.iter().enumerate().take(CACHES_MAX) {
            let field = |name: &str| format!("cpus.caches[{number}].{name}");
            self.range(field("level"), cache.level, 1, CACHE_LEVEL_MAX);
            self.range(field("bytes"), cache.bytes, 1, CACHE_BYTES_MAX);
            self.at_most(field("shared_by"), cache.shared_by.len(), online.len());
            let sets = cache.shared_by.iter().take(online.len());
            self.disjoint(sets.map(|cpus| (field("shared_by"), cpus)), online);
        }
        if granted.cpus.is_empty() {
            self.refuse("cpus.granted.cpus", "is empty; a program that runs has a CPU");
        }
        self.online("cpus.granted.cpus", &granted.cpus, online);
        let quota = granted.limits.iter().filter_map(|limit| limit.quota_millicpus).min();
        let bears = quota.map_or(u64::MAX, |millicpus| (millicpus / 1_000).max(1));
        self.range("cpus.granted.threads", granted.threads, 1, bears.min(granted.cpus.len().max(1) as u64));
        self.at_most("cpus.granted.limits", granted.limits.len(), LIST_MAX);
        for (number, limit) in granted.limits.iter().enumerate().take(LIST_MAX) {
            let field = format!("cpus.granted.limits[{number}]");
            if limit.cpus.is_some() == limit.quota_millicpus.is_some() {
                self.refuse(&field, "must have either `cpus` or `quota_millicpus`");
            }
            if let Some(quota) = limit.quota_millicpus {
                self.range(format!("{field}.quota_millicpus"), quota, 1, QUOTA_MILLICPUS_MAX);
            }
        }
    }

    /// Each CPU is in one of the sets at most, and online.
    fn disjoint<'a>(&mut self, sets: impl Iterator<Item = (String, &'a CpuSet)>, online: &CpuSet) {
        let mut seen = CpuSet::default();
        for (field, cpus) in sets {
            self.online(field.as_str(), cpus, online);
            let twice = cpus.and(&seen);
            if !twice.is_empty() {
                self.refuse(field, format!("has CPUs {twice}, which are in another one already"));
            }
            seen = seen.or(cpus);
        }
    }

    fn memory(&mut self, memory: &Memory) {
        self.range("memory.total", memory.total, 1, MEMORY_BYTES_MAX);
        self.part("memory.available", memory.available, "memory.total", memory.total);
        self.range("memory.swap_total", memory.swap_total, 0, MEMORY_BYTES_MAX);
        self.part("memory.swap_free", memory.swap_free, "memory.swap_total", memory.swap_total);
        let least = memory.limits.iter().map(|limit| limit.bytes).chain([memory.total]).min();
        if memory.granted == 0 {
            self.refuse("memory.granted", "is 0; a program that runs has memory");
        }
        self.part("memory.granted", memory.granted, "memory.total or the least limit", least.unwrap_or(0));
        self.at_most("memory.limits", memory.limits.len(), LIST_MAX);
        self.at_most("memory.huge_pages", memory.huge_pages.len(), LIST_MAX);
        for (number, pages) in memory.huge_pages.iter().enumerate().take(LIST_MAX) {
            let field = |name: &str| format!("memory.huge_pages[{number}].{name}");
            self.part(field("free"), pages.free, &field("total"), pages.total);
            let bytes = pages.bytes.saturating_mul(pages.total);
            if bytes > memory.total || pages.bytes == 0 {
                let message =
                    format!("{} pages of {} bytes do not fit into `memory.total`", pages.total, pages.bytes);
                self.refuse(field("total"), message);
            }
        }
        if let Some(bandwidth) = &memory.bandwidth {
            self.range("memory.bandwidth.bytes_per_s", bandwidth.bytes_per_s, 1, BANDWIDTH_BYTES_PER_S_MAX);
            self.range("memory.bandwidth.threads", bandwidth.threads, 1, u64::from(super::CPUS_MAX));
        }
    }

    fn nodes(&mut self, nodes: &[NumaNode], online: &CpuSet) {
        self.at_most("numa", nodes.len(), NODES_MAX);
        let field = |number: usize, name: &str| format!("numa[{number}].{name}");
        let mut ids = BTreeSet::new();
        for (number, node) in nodes.iter().enumerate().take(NODES_MAX) {
            self.unique(&mut ids, field(number, "id"), node.id);
            self.range(field(number, "memory_total"), node.memory_total, 0, MEMORY_BYTES_MAX);
            self.part(
                field(number, "memory_free"),
                node.memory_free,
                &field(number, "memory_total"),
                node.memory_total,
            );
            if node.distances.len() != nodes.len() {
                let message =
                    format!("has {} entries; there are {} nodes", node.distances.len(), nodes.len());
                self.refuse(field(number, "distances"), message);
            }
            for &distance in node.distances.iter().take(nodes.len()) {
                self.range(field(number, "distances"), distance, 1, DISTANCE_MAX);
            }
        }
        let sets = nodes
            .iter()
            .enumerate()
            .take(NODES_MAX)
            .map(|(number, node)| (field(number, "cpus"), &node.cpus));
        self.disjoint(sets, online);
    }

    fn storage(&mut self, inventory: &Inventory) {
        if let Some(volume) = &inventory.data_dir {
            self.range("data_dir.total", volume.total, 0, DISK_BYTES_MAX);
            self.part("data_dir.free", volume.free, "data_dir.total", volume.total);
        }
        self.at_most("disks", inventory.disks.len(), DISKS_MAX);
        let mut names = BTreeSet::new();
        for (number, disk) in inventory.disks.iter().enumerate().take(DISKS_MAX) {
            self.unique(&mut names, format!("disks[{number}].name"), &disk.name);
            self.range(format!("disks[{number}].bytes"), disk.bytes, 1, DISK_BYTES_MAX);
        }
        self.at_most("network", inventory.network.len(), INTERFACES_MAX);
        let mut names = BTreeSet::new();
        for (number, interface) in inventory.network.iter().enumerate().take(INTERFACES_MAX) {
            self.unique(&mut names, format!("network[{number}].name"), &interface.name);
            self.optional(format!("network[{number}].speed_mbits"), interface.speed_mbits, SPEED_MBITS_MAX);
        }
    }

    fn devices(&mut self, inventory: &Inventory) {
        let devices = &inventory.devices;
        self.at_most("devices", devices.len(), DEVICES_MAX);
        let (mut indices, mut uuids, mut buses) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for (number, device) in devices.iter().enumerate().take(DEVICES_MAX) {
            let field = |name: &str| format!("devices[{number}].{name}");
            self.unique(&mut indices, field("index"), device.index);
            if let Some(uuid) = &device.uuid {
                self.unique(&mut uuids, field("uuid"), uuid);
            }
            if let Some(bus_id) = &device.bus_id {
                self.unique(&mut buses, field("bus_id"), bus_id);
            }
            if let Some(node) =
                device.numa_node.filter(|id| !inventory.numa.iter().any(|node| node.id == *id))
            {
                self.refuse(field("numa_node"), format!("is {node}, which is not in `numa`"));
            }
            if let Some(memory) = &device.memory {
                self.device_memory(&field("memory"), memory, MEMORY_BYTES_MAX);
            }
            self.state(&field, device);
            if let Some(mig) = &device.mig {
                self.at_most(field("mig.instances"), mig.instances.len(), MIG_INSTANCES_MAX);
                if !mig.enabled && !mig.instances.is_empty() {
                    self.refuse(field("mig.instances"), "is not empty, but `mig.enabled` is false");
                }
                let whole = device.memory.as_ref().map_or(MEMORY_BYTES_MAX, |memory| memory.total);
                for (part, instance) in mig.instances.iter().enumerate().take(MIG_INSTANCES_MAX) {
                    let field = |name: &str| format!("devices[{number}].mig.instances[{part}].{name}");
                    self.unique(&mut uuids, field("uuid"), &instance.uuid);
                    if let Some(memory) = &instance.memory {
                        self.device_memory(&field("memory"), memory, whole);
                    }
                }
            }
        }
        self.links(devices);
    }

    fn device_memory(&mut self, field: &str, memory: &DeviceMemory, most: u64) {
        self.range(format!("{field}.total"), memory.total, 1, most);
        if memory.used.checked_add(memory.free).is_none_or(|sum| sum > memory.total) {
            let DeviceMemory { total, used, free } = memory;
            self.refuse(
                field,
                format!("`used` ({used}) and `free` ({free}) are more than `total` ({total})"),
            );
        }
    }

    fn state(&mut self, field: &impl Fn(&str) -> String, device: &Device) {
        if (device.state == DeviceState::Lost) != device.lost_because.is_some() {
            self.refuse(field("lost_because"), "goes with `state` \"lost\", and only with it");
        }
        let live = &device.live;
        self.optional(field("live.busy_percent"), live.busy_percent, 100);
        self.optional(field("live.temperature_c"), live.temperature_c, TEMPERATURE_C_MAX);
        self.optional(field("live.power_mw"), live.power_mw, POWER_MW_MAX);
        self.optional(field("live.clock_mhz"), live.clock_mhz, CLOCK_MHZ_MAX);
        self.optional(field("live.memory_clock_mhz"), live.memory_clock_mhz, CLOCK_MHZ_MAX);
        self.optional(field("clock_max_mhz"), device.clock_max_mhz, CLOCK_MHZ_MAX);
        self.optional(field("power_limit_mw"), device.power_limit_mw, POWER_MW_MAX);
    }

    /// Links go to devices that exist, and as many lead back.
    fn links(&mut self, devices: &[Device]) {
        let devices = devices.get(..DEVICES_MAX).unwrap_or(devices);
        let by_index: BTreeMap<u32, &Device> = devices.iter().map(|device| (device.index, device)).collect();
        // A device that was lost may not have said where its links lead.
        let known = |device: &&Device| device.state == DeviceState::Ready;
        let toward = |from: &Device, to: u32| {
            from.nvlinks.iter().filter(|link| link.active && link.peer == Some(to)).count()
        };
        for (number, device) in devices.iter().enumerate() {
            self.at_most(format!("devices[{number}].nvlinks"), device.nvlinks.len(), LINKS_MAX);
            let mut links = BTreeSet::new();
            let mut judged = BTreeSet::new();
            for (place, link) in device.nvlinks.iter().enumerate().take(LINKS_MAX) {
                let field = |name: &str| format!("devices[{number}].nvlinks[{place}].{name}");
                self.unique(&mut links, field("link"), link.link);
                let Some(peer) = link.peer else { continue };
                if peer == device.index {
                    self.refuse(field("peer"), format!("is {peer}, the device itself"));
                    continue;
                }
                let Some(other) = by_index.get(&peer) else {
                    self.refuse(field("peer"), format!("is {peer}, and there is no such device"));
                    continue;
                };
                let (there, back) = (toward(device, peer), toward(other, device.index));
                if there != back && known(&device) && known(other) && judged.insert(peer) {
                    let message = format!(
                        "is {peer}: {there} active links lead there, and {back} back; they must be equal"
                    );
                    self.refuse(field("peer"), message);
                }
            }
        }
    }
}
