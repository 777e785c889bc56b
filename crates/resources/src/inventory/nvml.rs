//! NVIDIA's devices, by NVML: a library of the driver, loaded when the program runs, so that one binary serves
//! machines with and without it.

use std::path::Path;

use nvml_wrapper::{
    Device as Handle, Nvml,
    bitmasks::device::ThrottleReasons,
    cuda_driver_version_major, cuda_driver_version_minor,
    enum_wrappers::device::{Clock, EccCounter, MemoryError, TemperatureSensor},
    error::NvmlError,
};

use super::{
    Device, DeviceMemory, DeviceState, Driver, Ecc, Live, Mig, MigInstance, NvLink, Throttle, Vendor,
    device::{DEVICES_MAX, LINKS_MAX, MIG_INSTANCES_MAX, bus_id, node},
    root::Root,
};

/// What a device is called that does not say.
const NAMELESS: &str = "NVIDIA device";

/// NVML, loaded and initialised.
#[derive(Debug)]
pub(super) struct Nvidia {
    nvml: Nvml,
}

impl Nvidia {
    /// Loads the driver's library, or the one at a path. The reason for none is for people.
    pub(super) fn load(library: Option<&Path>) -> Result<Self, String> {
        let nvml = match library {
            // Loading opens it, and opening a pipe waits for a writer.
            Some(path) if path.metadata().is_ok_and(|facts| !facts.is_file()) => {
                return Err(format!("NVML cannot be loaded ({} is not a regular file)", path.display()));
            }
            Some(path) => Nvml::builder().lib_path(path.as_os_str()).init(),
            None => Nvml::init(),
        };
        nvml.map(|nvml| Self { nvml }).map_err(|error| match error {
            NvmlError::LibloadingError(error) => format!("NVML cannot be loaded ({error})"),
            error => format!("NVML does not start: {error}"),
        })
    }

    /// All devices, those that do not answer included.
    pub(super) fn devices(&self, root: &Root, notes: &mut Vec<String>) -> Vec<Device> {
        let count = match self.nvml.device_count() {
            Ok(count) => count,
            Err(error) => {
                notes.push(format!("devices: NVML does not count its devices: {error}"));
                return Vec::new();
            }
        };
        if count as usize > DEVICES_MAX {
            notes.push(format!("devices: NVML has {count}; the first {DEVICES_MAX} are listed"));
        }
        let driver = self.driver();
        let mut devices: Vec<Device> = (0..count.min(DEVICES_MAX as u32))
            .map(|index| Device { driver: Some(driver.clone()), ..self.device(index, root, notes) })
            .collect();
        name_peers(&mut devices);
        devices
    }

    /// Reads again what changes. `false` if there is no such device any more.
    pub(super) fn refresh(&self, device: &mut Device) -> bool {
        let handle = match &device.uuid {
            Some(uuid) => self.nvml.device_by_uuid(uuid.as_str()),
            None => self.nvml.device_by_index(device.index),
        };
        let handle = match handle {
            Ok(handle) => handle,
            Err(NvmlError::NotFound | NvmlError::InvalidArg) => return false,
            Err(error) => {
                device.lose(error.to_string());
                return true;
            }
        };
        // What cannot be read was noted when it was read first.
        let mut unread = Vec::new();
        let mut reader = Reader { handle: &handle, index: device.index, lost: None, notes: &mut unread };
        let (live, memory) = (reader.live(), reader.memory());
        if let Some(why) = reader.lost {
            device.lose(why);
        } else {
            device.state = DeviceState::Ready;
            device.lost_because = None;
            (device.live, device.memory) = (live, memory);
        }
        true
    }

    fn driver(&self) -> Driver {
        let cuda = self.nvml.sys_cuda_driver_version().ok();
        let cuda = cuda
            .map(|cuda| format!("{}.{}", cuda_driver_version_major(cuda), cuda_driver_version_minor(cuda)));
        Driver { name: "nvidia".to_owned(), version: self.nvml.sys_driver_version().ok(), cuda }
    }

    fn device(&self, index: u32, root: &Root, notes: &mut Vec<String>) -> Device {
        let mut device = Device::new(index, Vendor::Nvidia, NAMELESS.to_owned());
        let handle = match self.nvml.device_by_index(index) {
            Ok(handle) => handle,
            Err(error) => {
                device.lose(error.to_string());
                return device;
            }
        };
        let mut reader = Reader { handle: &handle, index, lost: None, notes };
        device.uuid = reader.take("uuid", Handle::uuid);
        device.bus_id = reader.take("bus_id", Handle::pci_info).map(|pci| bus_id(&pci.bus_id));
        if let Some(name) = reader.take("name", Handle::name) {
            device.name = name;
        }
        device.numa_node = device
            .bus_id
            .as_ref()
            .and_then(|bus_id| node(root.value(format!("/sys/bus/pci/devices/{bus_id}/numa_node"))));
        device.compute_capability = reader
            .take("compute_capability", Handle::cuda_compute_capability)
            .map(|version| format!("{}.{}", version.major, version.minor));
        device.memory = reader.memory();
        device.clock_max_mhz = reader.take("clock_max_mhz", |handle| handle.max_clock_info(Clock::SM));
        device.power_limit_mw = reader.take("power_limit_mw", Handle::enforced_power_limit).map(u64::from);
        device.ecc = reader.ecc();
        device.mig = reader.mig();
        device.nvlinks = reader.nvlinks();
        device.live = reader.live();
        if let Some(why) = reader.lost {
            device.lose(why);
        }
        device
    }
}

/// Reads one device until it turns out to be lost.
struct Reader<'a, 'nvml> {
    handle: &'a Handle<'nvml>,
    index: u32,
    lost: Option<String>,
    notes: &'a mut Vec<String>,
}

impl<'nvml> Reader<'_, 'nvml> {
    /// What a device does not have is absent without a word; what it does not say is noted.
    fn take<T>(
        &mut self,
        what: &str,
        read: impl FnOnce(&Handle<'nvml>) -> Result<T, NvmlError>,
    ) -> Option<T> {
        if self.lost.is_some() {
            return None;
        }
        match read(self.handle) {
            Ok(value) => return Some(value),
            Err(NvmlError::NotSupported) => {}
            Err(error) if self.is_lost(&error) => self.lost = Some(error.to_string()),
            Err(error) => self.notes.push(format!("devices[{}].{what}: {error}", self.index)),
        }
        None
    }

    /// "Unknown" is also said of a single figure, by a device that is well otherwise.
    fn is_lost(&self, error: &NvmlError) -> bool {
        let gone = |error: &NvmlError| matches!(error, NvmlError::GpuLost | NvmlError::ResetRequired);
        match error {
            NvmlError::Unknown => self
                .handle
                .memory_info()
                .is_err_and(|error| gone(&error) || matches!(error, NvmlError::Unknown)),
            error => gone(error),
        }
    }

    fn memory(&mut self) -> Option<DeviceMemory> {
        self.take("memory", memory)
    }

    fn live(&mut self) -> Live {
        let throttled = self.take("throttled_by", Handle::current_throttle_reasons);
        Live {
            busy_percent: self
                .take("busy_percent", Handle::utilization_rates)
                .map(|rates| rates.gpu.min(100)),
            temperature_c: self.take("temperature_c", |handle| handle.temperature(TemperatureSensor::Gpu)),
            power_mw: self.take("power_mw", Handle::power_usage).map(u64::from),
            clock_mhz: self.take("clock_mhz", |handle| handle.clock_info(Clock::SM)),
            memory_clock_mhz: self.take("memory_clock_mhz", |handle| handle.clock_info(Clock::Memory)),
            throttled_by: throttled.map(throttles).unwrap_or_default(),
        }
    }

    fn ecc(&mut self) -> Option<Ecc> {
        let enabled = self.take("ecc", Handle::is_ecc_enabled)?.currently_enabled;
        let mut errors = |what, kind| {
            self.take(what, |handle| handle.total_ecc_errors(kind, EccCounter::Volatile)).filter(|_| enabled)
        };
        Some(Ecc {
            enabled,
            corrected: errors("ecc.corrected", MemoryError::Corrected),
            uncorrected: errors("ecc.uncorrected", MemoryError::Uncorrected),
        })
    }

    fn mig(&mut self) -> Option<Mig> {
        let enabled = self.take("mig", Handle::mig_mode)?.current != 0;
        let places = if enabled { self.take("mig.instances", Handle::mig_device_count) } else { None };
        let mut instances = Vec::new();
        for place in 0..places.unwrap_or(0).min(MIG_INSTANCES_MAX as u32) {
            let instance = self.take("mig.instances", |handle| match handle.mig_device_by_index(place) {
                // Not every place is taken.
                Err(NvmlError::NotFound) => Ok(None),
                Err(error) => Err(error),
                Ok(part) => Ok(Some(MigInstance {
                    uuid: part.uuid()?,
                    name: part.name().ok(),
                    memory: memory(&part).ok(),
                })),
            });
            instances.extend(instance.flatten());
        }
        Some(Mig { enabled, instances })
    }

    fn nvlinks(&mut self) -> Vec<NvLink> {
        let mut links = Vec::new();
        for link in 0..LINKS_MAX as u32 {
            let active = self.take("nvlinks", |handle| match handle.link_wrapper_for(link).is_active() {
                // That many links it does not have.
                Err(NvmlError::InvalidArg) => Err(NvmlError::NotSupported),
                state => state,
            });
            let Some(active) = active else { break };
            let remote = |handle: &Handle<'nvml>| handle.link_wrapper_for(link).remote_pci_info();
            let remote = if active { self.take("nvlinks.peer_bus_id", remote) } else { None };
            let peer_bus_id = remote.map(|pci| bus_id(&pci.bus_id));
            links.push(NvLink { link, active, peer: None, peer_bus_id });
        }
        links
    }
}

fn memory(handle: &Handle<'_>) -> Result<DeviceMemory, NvmlError> {
    let info = handle.memory_info()?;
    Ok(DeviceMemory { total: info.total, used: info.used, free: info.free })
}

/// Finds the devices at the other ends of links; what is no device is a switch.
fn name_peers(devices: &mut [Device]) {
    let buses: Vec<_> = devices.iter().map(|device| (device.bus_id.clone(), device.index)).collect();
    for link in devices.iter_mut().flat_map(|device| &mut device.nvlinks) {
        let at_bus = |(bus_id, _): &&(Option<String>, u32)| bus_id.is_some() && *bus_id == link.peer_bus_id;
        link.peer = buses.iter().find(at_bus).map(|&(_, index)| index);
    }
}

/// What slows it down. An idle device is not slowed down.
fn throttles(reasons: ThrottleReasons) -> Vec<Throttle> {
    [
        (ThrottleReasons::APPLICATIONS_CLOCKS_SETTING, Throttle::ApplicationsClocksSetting),
        (ThrottleReasons::SW_POWER_CAP, Throttle::SwPowerCap),
        (ThrottleReasons::HW_SLOWDOWN, Throttle::HwSlowdown),
        (ThrottleReasons::SYNC_BOOST, Throttle::SyncBoost),
        (ThrottleReasons::SW_THERMAL_SLOWDOWN, Throttle::SwThermalSlowdown),
        (ThrottleReasons::HW_THERMAL_SLOWDOWN, Throttle::HwThermalSlowdown),
        (ThrottleReasons::HW_POWER_BRAKE_SLOWDOWN, Throttle::HwPowerBrakeSlowdown),
        (ThrottleReasons::DISPLAY_CLOCK_SETTING, Throttle::DisplayClockSetting),
    ]
    .into_iter()
    .filter_map(|(reason, throttle)| reasons.contains(reason).then_some(throttle))
    .collect()
}
