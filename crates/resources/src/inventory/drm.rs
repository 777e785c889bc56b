//! Devices of other makers, by what their kernel drivers show in sysfs (the kernel's `gpu/amdgpu` and `gpu/i915`
//! documentation, and `hwmon/sysfs-interface.rst`).

use super::{
    Device, DeviceMemory, DeviceState, Driver, Live, Vendor,
    device::{DEVICES_MAX, bus_id, node},
    root::{Root, numbered},
};

const FOLDER: &str = "/sys/class/drm";
/// Parts of the units that hwmon uses.
const MILLI: i64 = 1_000;
const MICRO_PER_MILLI: u64 = 1_000;
const HZ_PER_MHZ: u64 = 1_000_000;

/// Devices that NVML does not speak for, numbered from `first` on. `nvidia` says whether NVML was there.
pub(super) fn devices(root: &Root, first: u32, nvidia: bool, notes: &mut Vec<String>) -> Vec<Device> {
    let mut devices = Vec::new();
    for card in numbered(&root.names(FOLDER), "card") {
        let Some(mut device) = describe(root, card) else { continue };
        if device.vendor == Vendor::Nvidia {
            if !nvidia {
                let place = device.bus_id.as_deref().unwrap_or("an unknown bus");
                notes.push(format!(
                    "devices: there is one of NVIDIA at {place}, which only NVML can describe"
                ));
            }
            continue;
        }
        if first as usize + devices.len() >= DEVICES_MAX {
            notes.push(format!("devices: there are more; the first {DEVICES_MAX} are listed"));
            break;
        }
        device.index = first + devices.len() as u32;
        devices.push(device);
    }
    devices
}

/// Reads again what changes. `false` if there is no such device any more.
pub(super) fn refresh(root: &Root, device: &mut Device) -> bool {
    let cards = numbered(&root.names(FOLDER), "card");
    let mut found = cards.into_iter().filter_map(|card| describe(root, card));
    let Some(now) = found.find(|now| now.bus_id == device.bus_id && now.vendor == device.vendor) else {
        return false;
    };
    device.state = DeviceState::Ready;
    (device.memory, device.live) = (now.memory, now.live);
    true
}

/// A card that is a device on a bus; `None` for what only looks like one, such as a virtual display.
fn describe(root: &Root, card: u32) -> Option<Device> {
    let at = |name: &str| format!("{FOLDER}/card{card}/device/{name}");
    let id = root.words(at("vendor"))?;
    let vendor = match id.as_str() {
        "0x10de" => Vendor::Nvidia,
        "0x1002" => Vendor::Amd,
        "0x8086" => Vendor::Intel,
        _ => Vendor::Other,
    };
    let uevent = root.text(at("uevent")).unwrap_or_default();
    let event = |key: &str| uevent.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let memory = memory(root, card);
    // A display without memory or processors of its own computes nothing.
    if vendor == Vendor::Other && memory.is_none() {
        return None;
    }
    let number = root.words(at("device")).unwrap_or_default();
    let name = root.words(at("product_name")).unwrap_or_else(|| format!("{} {number}", maker(vendor, &id)));
    let mut device = Device::new(0, vendor, name);
    device.uuid = root.words(at("unique_id"));
    device.bus_id = event("PCI_SLOT_NAME").map(bus_id);
    device.numa_node = node(root.value(at("numa_node")));
    let driver = event("DRIVER").map(str::to_owned).or_else(|| root.link_name(at("driver")));
    device.driver = driver.map(|name| Driver { name, version: None, cuda: None });
    device.memory = memory;
    device.clock_max_mhz = root.value(format!("{FOLDER}/card{card}/gt_max_freq_mhz"));
    let monitor = root.names(at("hwmon")).into_iter().next().map(|name| at(&format!("hwmon/{name}")));
    let sensor = |name: &str| Some(format!("{}/{name}", monitor.as_ref()?));
    let milliwatts = |name: &str| {
        let microwatts: u64 = root.value(sensor(name)?)?;
        Some(microwatts / MICRO_PER_MILLI)
    };
    let megahertz = |name: &str| {
        let hertz: u64 = root.value(sensor(name)?)?;
        u32::try_from(hertz / HZ_PER_MHZ).ok()
    };
    device.power_limit_mw = milliwatts("power1_cap");
    device.live = Live {
        busy_percent: root.value(at("gpu_busy_percent")).filter(|&busy| busy <= 100),
        temperature_c: sensor("temp1_input")
            .and_then(|path| root.value::<i64>(path))
            .and_then(|millidegrees| u32::try_from(millidegrees / MILLI).ok()),
        power_mw: milliwatts("power1_average").or_else(|| milliwatts("power1_input")),
        clock_mhz: megahertz("freq1_input")
            .or_else(|| root.value(format!("{FOLDER}/card{card}/gt_act_freq_mhz"))),
        memory_clock_mhz: megahertz("freq2_input"),
        throttled_by: Vec::new(),
    };
    Some(device)
}

/// AMD's driver says total and used. Intel's says the total only, so nothing is known of what is used.
fn memory(root: &Root, card: u32) -> Option<DeviceMemory> {
    let figure = |name: &str| root.value::<u64>(format!("{FOLDER}/card{card}/device/{name}"));
    let total = figure("mem_info_vram_total").filter(|&total| total > 0)?;
    let used = figure("mem_info_vram_used")?.min(total);
    Some(DeviceMemory { total, used, free: total - used })
}

fn maker(vendor: Vendor, id: &str) -> &str {
    match vendor {
        Vendor::Nvidia => "NVIDIA",
        Vendor::Amd => "AMD",
        Vendor::Intel => "Intel",
        Vendor::Other => id,
    }
}

#[cfg(test)]
mod tests {
    use super::{super::root::tests::recorded, *};

    #[test]
    fn an_amd_card_an_intel_one_a_silent_nvidia_and_a_virtual_display() {
        const AMD: &str = "/sys/class/drm/card1/device";
        let amd = |name: &str| format!("{AMD}/{name}");
        let files: Vec<(String, &str)> = vec![
            (amd("vendor"), "0x1002\n"),
            (amd("device"), "0x744c\n"),
            (amd("uevent"), "DRIVER=amdgpu\nPCI_SLOT_NAME=0000:03:00.0\n"),
            (amd("numa_node"), "-1\n"),
            (amd("unique_id"), "1a2b3c\n"),
            (amd("mem_info_vram_total"), "25753026560\n"),
            (amd("mem_info_vram_used"), "1073741824\n"),
            (amd("gpu_busy_percent"), "37\n"),
            (amd("hwmon/hwmon4/temp1_input"), "54000\n"),
            (amd("hwmon/hwmon4/power1_average"), "98000000\n"),
            (amd("hwmon/hwmon4/power1_cap"), "339000000\n"),
            (amd("hwmon/hwmon4/freq1_input"), "2304000000\n"),
            ("/sys/class/drm/card1-DP-1/status".into(), "connected\n"),
            ("/sys/class/drm/card0/device/vendor".into(), "0x8086\n"),
            ("/sys/class/drm/card0/device/device".into(), "0x56a0\n"),
            ("/sys/class/drm/card0/gt_max_freq_mhz".into(), "2400\n"),
            ("/sys/class/drm/card2/device/vendor".into(), "0x10de\n"),
            ("/sys/class/drm/card2/device/uevent".into(), "PCI_SLOT_NAME=0000:41:00.0\n"),
            ("/sys/class/drm/card3/device/vendor".into(), "0x1af4\n"),
        ];
        let files: Vec<_> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        let (folder, root) = recorded(&files);
        let mut notes = Vec::new();
        let mut devices = devices(&root, 2, false, &mut notes);
        assert_eq!(notes, ["devices: there is one of NVIDIA at 0000:41:00.0, which only NVML can describe"]);
        let [intel, amd] = devices.as_mut_slice() else { panic!("{devices:?}") };
        assert_eq!((intel.index, intel.name.as_str(), intel.clock_max_mhz), (2, "Intel 0x56a0", Some(2_400)));
        assert_eq!((amd.index, amd.vendor, amd.name.as_str()), (3, Vendor::Amd, "AMD 0x744c"));
        assert_eq!(amd.driver.as_ref().unwrap().name, "amdgpu");
        assert_eq!((amd.bus_id.as_deref(), amd.numa_node), (Some("0000:03:00.0"), None));
        assert_eq!(amd.memory.as_ref().unwrap().free, 25_753_026_560 - 1_073_741_824);
        assert_eq!((amd.power_limit_mw, amd.live.power_mw), (Some(339_000), Some(98_000)));
        assert_eq!((amd.live.busy_percent, amd.live.temperature_c), (Some(37), Some(54)));
        assert_eq!(amd.live.clock_mhz, Some(2_304));

        std::fs::write(folder.path().join(&AMD[1..]).join("gpu_busy_percent"), "99\n").unwrap();
        assert!(refresh(&root, amd));
        assert_eq!(amd.live.busy_percent, Some(99));
        std::fs::remove_dir_all(folder.path().join("sys/class/drm/card1")).unwrap();
        assert!(!refresh(&root, amd));
    }
}
