use serde::{Deserialize, Serialize};

/// Most devices of one machine.
pub const DEVICES_MAX: usize = 64;
/// Most links of one device: twice what NVML knows of today.
pub(super) const LINKS_MAX: usize = 36;
/// Most parts that a device is split into by MIG.
pub(super) const MIG_INSTANCES_MAX: usize = 64;

/// An accelerator. What it cannot say is absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// Number in this inventory; for NVIDIA's devices the one that `nvidia-smi` shows.
    pub index: u32,
    /// Who made it.
    pub vendor: Vendor,
    /// As `NVIDIA H100 80GB HBM3`.
    pub name: String,
    /// Its name for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uuid: Option<String>,
    /// Whether it answers.
    pub state: DeviceState,
    /// Why it is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lost_because: Option<String>,
    /// Place on the PCI bus, as `0000:3b:00.0`, in lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bus_id: Option<String>,
    /// The node of memory and CPUs that it is next to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub numa_node: Option<u32>,
    /// What drives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub driver: Option<Driver>,
    /// NVIDIA's version of what it can compute, as `9.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute_capability: Option<String>,
    /// Its own memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<DeviceMemory>,
    /// Highest clock of its processors, in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_max_mhz: Option<u32>,
    /// Most power that it takes before it slows down, in milliwatts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_limit_mw: Option<u64>,
    /// Whether its memory corrects errors, and how many there were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ecc: Option<Ecc>,
    /// Whether and how it is split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mig: Option<Mig>,
    /// Its direct links to other devices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nvlinks: Vec<NvLink>,
    /// What changes from second to second.
    #[serde(default, skip_serializing_if = "Live::is_silent")]
    pub live: Live,
}

/// Makers of devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Vendor {
    /// NVIDIA.
    Nvidia,
    /// AMD.
    Amd,
    /// Intel.
    Intel,
    /// Another one.
    Other,
}

/// Whether a device can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeviceState {
    /// It answers.
    Ready,
    /// It fell off the bus, or its driver lost it.
    Lost,
}

/// What drives a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Driver {
    /// As `nvidia` or `amdgpu`.
    pub name: String,
    /// As `580.82.07`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Newest CUDA that it serves, as `13.0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cuda: Option<String>,
}

/// Memory of a device, in bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeviceMemory {
    /// All of it.
    pub total: u64,
    /// Taken by programs.
    pub used: u64,
    /// Neither taken by programs nor kept by the driver.
    pub free: u64,
}

/// Memory that corrects errors.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ecc {
    /// Whether it is on.
    pub enabled: bool,
    /// Errors that were corrected since the driver was loaded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub corrected: Option<u64>,
    /// Errors that could not be: what was computed with them is wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uncorrected: Option<u64>,
}

/// A device that can be split into instances with memory of their own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mig {
    /// Whether it is split. Then only its instances can be used, not the whole.
    pub enabled: bool,
    /// Its parts.
    #[serde(default)]
    pub instances: Vec<MigInstance>,
}

/// A part of a split device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MigInstance {
    /// Its name for programs.
    pub uuid: String,
    /// As `NVIDIA H100 80GB HBM3 MIG 3g.40gb`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its own memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<DeviceMemory>,
}

/// A direct link between two devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NvLink {
    /// Number of the link on this device.
    pub link: u32,
    /// Whether it is up.
    pub active: bool,
    /// The device at its other end, by index. Absent at a switch, through which a device reaches all others on it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer: Option<u32>,
    /// The bus of what is at its other end, device or switch.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub peer_bus_id: Option<String>,
}

/// What changes from second to second.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Live {
    /// Share of the last second in which it computed, in percent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub busy_percent: Option<u32>,
    /// Degrees Celsius.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature_c: Option<u32>,
    /// Milliwatts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub power_mw: Option<u64>,
    /// Clock of its processors, in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_mhz: Option<u32>,
    /// Clock of its memory, in MHz.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_clock_mhz: Option<u32>,
    /// Why it runs slower than it could.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub throttled_by: Vec<Throttle>,
}

/// Why a device runs slower than it could, in NVML's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Throttle {
    /// Somebody set lower clocks.
    ApplicationsClocksSetting,
    /// It would take more power than its limit.
    SwPowerCap,
    /// Too hot, too much power, or told to by the power supply; clocks are halved at least.
    HwSlowdown,
    /// Another device of its group is slower.
    SyncBoost,
    /// It or its memory is hotter than it should be.
    SwThermalSlowdown,
    /// Too hot; clocks are halved at least.
    HwThermalSlowdown,
    /// The power supply asks for less; clocks are halved at least.
    HwPowerBrakeSlowdown,
    /// A display sets its clocks.
    DisplayClockSetting,
}

impl Throttle {
    /// In the words of the JSON document.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ApplicationsClocksSetting => "applications_clocks_setting",
            Self::SwPowerCap => "sw_power_cap",
            Self::HwSlowdown => "hw_slowdown",
            Self::SyncBoost => "sync_boost",
            Self::SwThermalSlowdown => "sw_thermal_slowdown",
            Self::HwThermalSlowdown => "hw_thermal_slowdown",
            Self::HwPowerBrakeSlowdown => "hw_power_brake_slowdown",
            Self::DisplayClockSetting => "display_clock_setting",
        }
    }
}

impl Live {
    fn is_silent(&self) -> bool {
        *self == Self::default()
    }
}

impl Device {
    pub(super) fn new(index: u32, vendor: Vendor, name: String) -> Self {
        Self {
            index,
            vendor,
            name,
            uuid: None,
            state: DeviceState::Ready,
            lost_because: None,
            bus_id: None,
            numa_node: None,
            driver: None,
            compute_capability: None,
            memory: None,
            clock_max_mhz: None,
            power_limit_mw: None,
            ecc: None,
            mig: None,
            nvlinks: Vec::new(),
            live: Live::default(),
        }
    }

    /// Keeps what it is, and forgets what it did: a lost device has no figures.
    pub(super) fn lose(&mut self, why: String) {
        self.state = DeviceState::Lost;
        self.lost_because = Some(why);
        self.live = Live::default();
    }
}

/// As `0000:3b:00.0`: NVML writes eight digits of a domain and upper case, sysfs four or more and lower case.
pub(super) fn bus_id(text: &str) -> String {
    let lower = text.trim().to_ascii_lowercase();
    let Some((domain, rest)) = lower.split_once(':') else { return lower };
    format!("{:0>4}:{rest}", domain.trim_start_matches('0'))
}

/// The node that a file of sysfs names; -1 means that the machine has no nodes or does not say.
pub(super) fn node(number: Option<i64>) -> Option<u32> {
    number.and_then(|number| u32::try_from(number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_of_a_bus() {
        for (text, expected) in [
            ("00000000:3B:00.0", "0000:3b:00.0"),
            ("0000:3b:00.0", "0000:3b:00.0"),
            ("00010000:01:00.0", "10000:01:00.0"),
            ("odd", "odd"),
        ] {
            assert_eq!(bus_id(text), expected);
        }
    }
}
