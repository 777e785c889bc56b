//! A machine on one page, for people.

use std::{collections::BTreeMap, fmt::Display};

use resources::inventory::{
    Cache, CacheKind, CpuLimit, Cpus, Device, DeviceMemory, DeviceState, Inventory, Live, Memory, NvLink,
    Throttle,
};

/// Width of the column of names.
const NAME_WIDTH: usize = 16;
/// Units of sizes, each 1024 times the one before.
const UNITS: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

pub(super) fn of(inventory: &Inventory) -> String {
    let mut page = Page(String::new());
    machine(&mut page, inventory);
    cpus(&mut page, &inventory.cpus);
    memory(&mut page, &inventory.memory);
    nodes(&mut page, inventory);
    storage(&mut page, inventory);
    if inventory.devices.is_empty() {
        page.section("devices");
        page.line("  none");
    }
    for one in &inventory.devices {
        device(&mut page, one);
    }
    if !inventory.notes.is_empty() {
        page.section("notes");
        for note in &inventory.notes {
            page.line(format_args!("  {note}"));
        }
    }
    page.0
}

struct Page(String);

impl Page {
    fn section(&mut self, title: impl Display) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.line(title);
    }

    fn row(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("  {name:NAME_WIDTH$}{value}"));
    }

    fn known(&mut self, name: &str, value: Option<impl Display>) {
        if let Some(value) = value {
            self.row(name, value);
        }
    }

    /// What a file or a device says of itself is not believed to be text: a line stays one line, and harmless.
    fn line(&mut self, line: impl Display) {
        self.0.push_str(&line.to_string().replace(char::is_control, "\u{fffd}"));
        self.0.push('\n');
    }
}

fn machine(page: &mut Page, inventory: &Inventory) {
    let machine = &inventory.machine;
    page.section("machine");
    page.known("name", machine.hostname.as_ref());
    page.known("system", machine.os.as_ref());
    page.known("kernel", machine.kernel.as_ref());
    page.row("architecture", &machine.architecture);
}

fn cpus(page: &mut Page, cpus: &Cpus) {
    page.section("processors");
    page.known("model", cpus.model.as_ref());
    let count = |number: Option<u32>, what| number.map(|number| format!("{}, ", counted(number, what)));
    let sockets = count(cpus.sockets, "socket").unwrap_or_default();
    let cores = count(cpus.cores, "core").unwrap_or_default();
    let online = counted(cpus.online.len() as u32, "CPU");
    page.row("online", format_args!("{sockets}{cores}{online} ({})", cpus.online));
    if !cpus.instruction_sets.is_empty() {
        page.row("instructions", cpus.instruction_sets.join(" "));
    }
    if !cpus.caches.is_empty() {
        page.row("caches", cpus.caches.iter().map(cache).collect::<Vec<_>>().join(", "));
    }
    let granted = &cpus.granted;
    let threads = counted(granted.threads, "compute thread");
    page.row("granted to us", format_args!("{threads} on CPUs {}", granted.cpus));
    for limit in &granted.limits {
        page.row("  limited by", cpu_limit(limit));
    }
}

fn cache(cache: &Cache) -> String {
    let kind = match cache.kind {
        CacheKind::Data => "d",
        CacheKind::Instruction => "i",
        CacheKind::Unified => "",
    };
    format!("L{}{kind} {} × {}", cache.level, bytes(cache.bytes), cache.shared_by.len())
}

fn cpu_limit(limit: &CpuLimit) -> String {
    let cpus = limit.cpus.as_ref().map(|cpus| format!("CPUs {cpus}"));
    let quota = limit.quota_millicpus.map(|quota| format!("the time of {} CPUs", thousandths(quota)));
    format!("{}: {}", limit.source, cpus.or(quota).unwrap_or_default())
}

fn memory(page: &mut Page, memory: &Memory) {
    page.section("memory");
    if memory.total == 0 {
        page.row("total", "unknown");
        return;
    }
    page.row("total", format_args!("{}, {} available", bytes(memory.total), bytes(memory.available)));
    if memory.swap_total > 0 {
        page.row("swap", format_args!("{}, {} free", bytes(memory.swap_total), bytes(memory.swap_free)));
    }
    for pages in &memory.huge_pages {
        let size = bytes(pages.bytes);
        page.row("large pages", format_args!("{} of {size}, {} free", pages.total, pages.free));
    }
    page.row("granted to us", format_args!("{}, {} free", bytes(memory.granted), bytes(memory.free_to_us())));
    for limit in &memory.limits {
        let (most, used) = (bytes(limit.bytes), bytes(limit.used));
        page.row("  limited by", format_args!("{}: {most}, {used} used", limit.source));
    }
    if let Some(bandwidth) = &memory.bandwidth {
        let speed = bandwidth.bytes_per_s as f64 / 1e9;
        let threads = counted(bandwidth.threads, "thread");
        page.row("bandwidth", format_args!("{speed:.1} GB/s read and written, copied by {threads}"));
    }
}

fn nodes(page: &mut Page, inventory: &Inventory) {
    for node in &inventory.numa {
        let distances: Vec<String> = node.distances.iter().map(ToString::to_string).collect();
        let (total, free) = (bytes(node.memory_total), bytes(node.memory_free));
        let cpus = if node.cpus.is_empty() { "no CPUs".to_owned() } else { format!("CPUs {}", node.cpus) };
        let distances = distances.join(" ");
        page.row(
            &format!("node {}", node.id),
            format_args!("{total}, {free} free, {cpus}, distances {distances}"),
        );
    }
}

fn storage(page: &mut Page, inventory: &Inventory) {
    let is_there =
        inventory.data_dir.is_some() || !inventory.disks.is_empty() || !inventory.network.is_empty();
    if is_there {
        page.section("disks and network");
    }
    if let Some(volume) = &inventory.data_dir {
        let (free, total) = (bytes(volume.free), bytes(volume.total));
        let place: Vec<&str> = [&volume.file_system, &volume.device, &volume.mount]
            .into_iter()
            .flatten()
            .map(String::as_str)
            .collect();
        let place = place.join(" ");
        page.row(
            "data directory",
            format_args!("{}: {free} free of {total} ({place})", volume.path.display()),
        );
    }
    for disk in &inventory.disks {
        let model = disk.model.as_ref().map(|model| format!(", {model}")).unwrap_or_default();
        let turns = if disk.rotational == Some(true) { ", rotational" } else { "" };
        page.row("disk", format_args!("{}: {}{model}{turns}", disk.name, bytes(disk.bytes)));
    }
    for interface in &inventory.network {
        let speed = interface.speed_mbits.map(|speed| format!(", {speed} Mbit/s")).unwrap_or_default();
        let kind = if interface.hardware { "" } else { ", virtual" };
        page.row("network", format_args!("{}: {}{speed}{kind}", interface.name, interface.state));
    }
}

fn device(page: &mut Page, device: &Device) {
    page.section(format_args!("device {}: {}", device.index, device.name));
    match (device.state, &device.lost_because) {
        (DeviceState::Ready, _) => page.row("state", "ready"),
        (DeviceState::Lost, why) => {
            page.row("state", format_args!("lost: {}", why.as_deref().unwrap_or("unknown")));
        }
    }
    page.known("memory", device.memory.as_ref().map(device_memory));
    let load = load(device);
    page.known("load", (!load.is_empty()).then_some(load));
    if !device.live.throttled_by.is_empty() {
        let reasons: Vec<&str> =
            device.live.throttled_by.iter().map(|reason| Throttle::as_str(*reason)).collect();
        page.row("throttled by", reasons.join(", "));
    }
    if let Some(ecc) = &device.ecc {
        let errors =
            |count: Option<u64>, what| count.map(|count| format!(", {count} {what}")).unwrap_or_default();
        let (corrected, uncorrected) =
            (errors(ecc.corrected, "corrected"), errors(ecc.uncorrected, "uncorrected"));
        page.row("ecc", format_args!("{}{corrected}{uncorrected}", on(ecc.enabled)));
    }
    if let Some(mig) = &device.mig {
        page.row("mig", on(mig.enabled));
        for part in &mig.instances {
            let memory = part.memory.as_ref().map(|memory| format!(", {}", device_memory(memory)));
            let name = part.name.as_deref().unwrap_or("instance");
            page.row("  instance", format_args!("{name}{} ({})", memory.unwrap_or_default(), part.uuid));
        }
    }
    if !device.nvlinks.is_empty() {
        page.row("nvlink", links(&device.nvlinks));
    }
    page.known("bus", device.bus_id.as_ref());
    page.known("node", device.numa_node);
    if let Some(driver) = &device.driver {
        let version = driver.version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
        let cuda = driver.cuda.as_ref().map(|cuda| format!(", CUDA {cuda}")).unwrap_or_default();
        let computes = device.compute_capability.as_ref();
        let computes = computes.map(|version| format!(", compute capability {version}")).unwrap_or_default();
        page.row("driver", format_args!("{}{version}{cuda}{computes}", driver.name));
    }
    page.known("uuid", device.uuid.as_ref());
}

fn device_memory(memory: &DeviceMemory) -> String {
    format!("{}, {} used, {} free", bytes(memory.total), bytes(memory.used), bytes(memory.free))
}

fn load(device: &Device) -> String {
    let Live { busy_percent, temperature_c, power_mw, clock_mhz, memory_clock_mhz, .. } = &device.live;
    let most = |most: Option<String>| most.map(|most| format!(" of {most}")).unwrap_or_default();
    let power_most = most(device.power_limit_mw.map(watts));
    let clock_most = most(device.clock_max_mhz.map(|clock| format!("{clock} MHz")));
    let figures = [
        busy_percent.map(|busy| format!("{busy} % busy")),
        temperature_c.map(|degrees| format!("{degrees} °C")),
        power_mw.map(|power| format!("{}{power_most}", watts(power))),
        clock_mhz.map(|clock| format!("{clock} MHz{clock_most}")),
        memory_clock_mhz.map(|clock| format!("memory {clock} MHz")),
    ];
    figures.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn links(links: &[NvLink]) -> String {
    let mut toward: BTreeMap<String, u32> = BTreeMap::new();
    for link in links {
        let end = match (link.active, link.peer) {
            (false, _) => "inactive".to_owned(),
            (true, Some(peer)) => format!("to device {peer}"),
            (true, None) => "to a switch".to_owned(),
        };
        *toward.entry(end).or_default() += 1;
    }
    toward.into_iter().map(|(end, count)| format!("{count} {end}")).collect::<Vec<_>>().join(", ")
}

fn on(enabled: bool) -> &'static str {
    if enabled { "on" } else { "off" }
}

fn counted(number: u32, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

fn watts(milliwatts: u64) -> String {
    format!("{} W", milliwatts / 1_000)
}

fn thousandths(number: u64) -> String {
    let (whole, part) = (number / 1_000, number % 1_000);
    if part == 0 { whole.to_string() } else { format!("{whole}.{part:03}").trim_end_matches('0').to_owned() }
}

/// A size for people: `0 B`, `1.5 KiB`, `32 MiB`.
fn bytes(bytes: u64) -> String {
    let unit = (bytes.checked_ilog2().unwrap_or(0) / 10) as usize;
    let tenths = (u128::from(bytes) * 10) >> (10 * unit);
    let (whole, tenth) = (tenths / 10, tenths % 10);
    if tenth == 0 { format!("{whole} {}", UNITS[unit]) } else { format!("{whole}.{tenth} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/inventory");

    fn page(name: &str) -> String {
        of(&Inventory::from_file(format!("{EXAMPLES}/{name}.json").as_ref()).unwrap())
    }

    #[test]
    fn a_machine_without_devices() {
        let expected = "\
machine
  name            two-cores
  system          Debian GNU/Linux 12 (bookworm)
  kernel          6.1.0
  architecture    x86_64

processors
  model           Intel(R) Xeon(R) Platinum 8171M CPU @ 2.60GHz
  online          1 socket, 4 cores, 8 CPUs (0-7)
  instructions    sse4.2 avx avx2 fma f16c avx512f avx512bw avx512vl
  caches          L1d 32 KiB × 4, L2 1 MiB × 4, L3 35.7 MiB × 1
  granted to us   2 compute threads on CPUs 0-7
    limited by    /sys/fs/cgroup/cpu.max: the time of 2 CPUs

memory
  total           32 GiB, 28 GiB available
  granted to us   4 GiB, 3.7 GiB free
    limited by    /sys/fs/cgroup/memory.max: 4 GiB, 256 MiB used
  bandwidth       21.5 GB/s read and written, copied by 2 threads

devices
  none
";
        assert_eq!(page("two-cores"), expected);
    }

    #[test]
    fn devices() {
        let page = page("server-8x80gb");
        for line in [
            "  node 1          1 TiB, 990 GiB free, CPUs 56-111,168-223, distances 21 10",
            "  data directory  /raid/llmos: 21.8 TiB free of 27.2 TiB (xfs /dev/md1 /raid)",
            "  network         eno1: up, 10000 Mbit/s",
            "device 7: NVIDIA H100 80GB HBM3",
            "  memory          79.6 GiB, 0 B used, 79 GiB free",
            "  load            0 % busy, 31 °C, 71 W of 700 W, 345 MHz of 1980 MHz, memory 2619 MHz",
            "  ecc             on, 0 corrected, 0 uncorrected",
            "  nvlink          18 to a switch",
            "  driver          nvidia 580.82.07, CUDA 13.0, compute capability 9.0",
        ] {
            assert!(page.lines().any(|there| there == line), "{line}\n{page}");
        }
    }

    #[test]
    fn what_is_not_known_or_no_text_is_not_shown_as_if() {
        let mut inventory = Inventory::from_file(format!("{EXAMPLES}/two-cores.json").as_ref()).unwrap();
        inventory.machine.hostname = Some("\x1b[2Jname\nx".to_owned());
        (inventory.memory.total, inventory.memory.granted) = (0, 0);
        let page = of(&inventory);
        assert!(page.contains("\n  name            \u{fffd}[2Jname\u{fffd}x\n"), "{page}");
        assert!(page.contains("\nmemory\n  total           unknown\n\n"), "{page}");
    }

    #[test]
    fn sizes() {
        for (number, text) in [
            (0, "0 B"),
            (1_023, "1023 B"),
            (1_536, "1.5 KiB"),
            (32 << 20, "32 MiB"),
            ((1 << 30) - 1, "1023.9 MiB"),
            (u64::MAX, "15.9 EiB"),
        ] {
            assert_eq!(bytes(number), text);
        }
        assert_eq!(
            (thousandths(1_500), thousandths(2_000), thousandths(50)),
            ("1.5".into(), "2".into(), "0.05".into())
        );
    }
}
