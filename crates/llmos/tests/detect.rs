//! The real binary looks at real and described machines, and at a fake of NVIDIA's library.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tempfile::TempDir;

const FAKE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../resources/tests/fake_nvml/nvml.c");
const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/inventory");

/// Two linked devices, one of them throttled, one split, one that a program may not ask for its power.
const MACHINE: &str = "\
driver 580.82.07
cuda 13000
device GPU-0
name NVIDIA H100 80GB HBM3
bus 0000:01:00.0
memory_mib 81559
used_mib 1000
compute 9.0
clock 1200
clock_max 1980
memory_clock 2619
power 699000
power_limit 700000
temperature 84
busy 97
throttle 36
ecc 1
corrected 3
uncorrected 0
mig 0
nvlink 0 1 0000:02:00.0
nvlink 1 0 -
device GPU-1
name NVIDIA H100 80GB HBM3
bus 0000:02:00.0
memory_mib 81559
used_mib 2
nvlink 0 1 0000:01:00.0
nvlink 1 1 0000:99:00.0
denied power
device GPU-2
name NVIDIA A100-SXM4-40GB
memory_mib 40960
used_mib 4
mig 1
mig_places 7
part MIG-a
name NVIDIA A100-SXM4-40GB MIG 3g.20gb
memory_mib 19968
used_mib 12
part MIG-b
memory_mib 19968
used_mib 0
";

/// A folder to run in, with the fake library.
struct Site {
    folder: TempDir,
}

struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Site {
    fn new() -> Self {
        let site = Self { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(site.path("data")).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Builds the library, as a driver of this machine.
    fn install(&self, machine: &str) {
        let mut cc = Command::new("cc");
        let built = cc.args(["-shared", "-fPIC", "-o"]).arg(self.path("nvml.so")).arg(FAKE).status().unwrap();
        assert!(built.success());
        self.describe(machine);
    }

    /// What the library shows from now on.
    fn describe(&self, machine: &str) {
        fs::write(self.path("machine"), machine).unwrap();
    }

    fn run(&self, args: &[&str]) -> Outcome {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmos"));
        command.arg("detect").args(args).current_dir(self.folder.path()).env_clear();
        command.env("HOME", self.folder.path()).env("FAKE_NVML", self.path("machine"));
        command.env("LLMOS_DATA_DIR", self.path("data"));
        let output = command.output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// The documents that a successful command prints.
    fn documents(&self, args: &[&str]) -> Vec<Value> {
        let outcome = self.run(&[args, &["--json"]].concat());
        assert_eq!(outcome.code, Some(0), "{}", outcome.stderr);
        outcome.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

#[test]
fn this_machine_described_by_a_file_is_the_same_machine() {
    let site = Site::new();
    let described = site.documents(&["--nvml", "/nowhere/nvml.so"]).remove(0);
    assert!(described["cpus"]["granted"]["threads"].as_u64().unwrap() >= 1);
    assert!(described["memory"]["total"].as_u64().unwrap() > 0);
    assert_eq!(described["data_dir"]["path"], json!(site.path("data")));
    let notes = described["notes"].to_string();
    assert!(notes.contains("NVML cannot be loaded"), "{notes}");
    fs::write(site.path("m.json"), described.to_string()).unwrap();
    assert_eq!(site.documents(&["--inventory", "m.json"]), std::slice::from_ref(&described));

    // The speed of memory is measured once and kept.
    let kept: Value = serde_json::from_slice(&fs::read(site.path("data/bandwidth.json")).unwrap()).unwrap();
    assert_eq!(kept["bandwidth"], described["memory"]["bandwidth"]);
    let mut other = kept;
    other["bandwidth"]["bytes_per_s"] = json!(12_345);
    fs::write(site.path("data/bandwidth.json"), other.to_string()).unwrap();
    let again = site.documents(&[]).remove(0);
    assert_eq!(again["memory"]["bandwidth"]["bytes_per_s"], 12_345);

    let page = site.run(&[]);
    assert_eq!(page.code, Some(0));
    for part in ["machine\n", "\nprocessors\n", "granted to us", "\nmemory\n", "\nnotes\n"] {
        assert!(page.stdout.contains(part), "{part}: {}", page.stdout);
    }
}

#[test]
fn a_machine_that_cannot_be_is_refused_with_all_its_lies() {
    let site = Site::new();
    let example = Path::new(EXAMPLES).join("server-8x80gb.json");
    let mut machine: Value = serde_json::from_slice(&fs::read(&example).unwrap()).unwrap();
    machine["colour"] = json!("red");
    machine["devices"][3]["memory"]["used"] = json!(1_u64 << 40);
    machine["devices"][5]["uuid"] = machine["devices"][0]["uuid"].clone();
    fs::write(site.path("m.json"), machine.to_string()).unwrap();
    let refused = site.run(&["--inventory", "m.json"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(1), ""));
    for part in ["error: m.json does not describe", "colour: ", "devices[3].memory: ", "devices[5].uuid: "] {
        assert!(refused.stderr.contains(part), "{part}: {}", refused.stderr);
    }
    assert!(Command::new("mkfifo").arg(site.path("pipe")).status().unwrap().success());
    let refused = site.run(&["--inventory", "pipe"]);
    assert_eq!(refused.stderr, "error: cannot read pipe: it is not a regular file\n");
    let notes = site.documents(&["--nvml", "./pipe"])[0]["notes"].to_string();
    assert!(notes.contains("./pipe is not a regular file"), "{notes}");
    assert_eq!(site.run(&["--inventory", example.to_str().unwrap(), "--watch"]).code, Some(2));
    assert_eq!(site.run(&["--watch", "0"]).code, Some(2));
    assert_eq!(site.run(&["--count", "2"]).code, Some(2));
}

#[test]
fn devices_of_nvidia_say_what_they_are() {
    let site = Site::new();
    site.install(MACHINE);
    let machine = site.documents(&["--nvml", "./nvml.so"]).remove(0);
    let devices = machine["devices"].as_array().unwrap();
    assert_eq!(devices.len(), 3, "{machine}");
    let expected = json!({
        "index": 0, "vendor": "nvidia", "name": "NVIDIA H100 80GB HBM3", "uuid": "GPU-0", "state": "ready",
        "bus_id": "0000:01:00.0", "compute_capability": "9.0",
        "driver": { "name": "nvidia", "version": "580.82.07", "cuda": "13.0" },
        "memory": { "total": 81_559_u64 << 20, "used": 1_000 << 20, "free": 80_558_u64 << 20 },
        "clock_max_mhz": 1_980, "power_limit_mw": 700_000,
        "ecc": { "enabled": true, "corrected": 3, "uncorrected": 0 },
        "mig": { "enabled": false, "instances": [] },
        "nvlinks": [
            { "link": 0, "active": true, "peer": 1, "peer_bus_id": "0000:02:00.0" },
            { "link": 1, "active": false },
        ],
        "live": {
            "busy_percent": 97, "temperature_c": 84, "power_mw": 699_000, "clock_mhz": 1_200,
            "memory_clock_mhz": 2_619, "throttled_by": ["sw_power_cap", "sw_thermal_slowdown"],
        },
    });
    assert_eq!(devices[0], expected);
    let to_a_switch = json!({ "link": 1, "active": true, "peer_bus_id": "0000:99:00.0" });
    assert_eq!(devices[1]["nvlinks"][1], to_a_switch);
    assert_eq!(devices[1]["live"], Value::Null);
    let notes = machine["notes"].to_string();
    assert!(notes.contains("devices[1].power_mw: the current user does not have permission"), "{notes}");
    let parts = json!([
        { "uuid": "MIG-a", "name": "NVIDIA A100-SXM4-40GB MIG 3g.20gb",
          "memory": { "total": 19_968_u64 << 20, "used": 12 << 20, "free": 19_955_u64 << 20 } },
        { "uuid": "MIG-b", "memory": { "total": 19_968_u64 << 20, "used": 0, "free": 19_967_u64 << 20 } },
    ]);
    assert_eq!(devices[2]["mig"], json!({ "enabled": true, "instances": parts }));

    fs::write(site.path("m.json"), machine.to_string()).unwrap();
    assert_eq!(site.documents(&["--inventory", "m.json"]), [machine]);
    let page = site.run(&["--nvml", "./nvml.so"]).stdout;
    for line in [
        "  load            97 % busy, 84 °C, 699 W of 700 W, 1200 MHz of 1980 MHz, memory 2619 MHz",
        "  throttled by    sw_power_cap, sw_thermal_slowdown",
        "  nvlink          1 inactive, 1 to device 1",
    ] {
        assert!(page.lines().any(|there| there == line), "{line}\n{page}");
    }
}

#[test]
fn a_device_that_vanishes_is_lost_and_then_gone() {
    let site = Site::new();
    // It answers when it is read first, is lost soon after, and then there is no such device any more.
    site.install(&MACHINE.replace("device GPU-1\n", "device GPU-1\nlost_after 26\ngone_after 2\n"));
    let documents = site.documents(&["--nvml", "./nvml.so", "--watch", "0.1", "--count", "4"]);
    let states: Vec<Vec<&str>> = documents
        .iter()
        .map(|machine| {
            machine["devices"].as_array().unwrap().iter().map(|one| one["state"].as_str().unwrap()).collect()
        })
        .collect();
    assert_eq!(states[0], ["ready", "ready", "ready"], "{}", documents[0]);
    assert!(states.contains(&vec!["ready", "lost", "ready"]), "{states:?}");
    assert_eq!(states[3], ["ready", "ready"], "{states:?}");
    let lost = documents.iter().find(|machine| machine["devices"][1]["state"] == "lost").unwrap();
    let why = lost["devices"][1]["lost_because"].as_str().unwrap();
    assert!(why.contains("fell off the bus"), "{why}");
    assert!(documents[3]["notes"].to_string().contains("1 (NVIDIA H100 80GB HBM3) is gone"));
    assert_eq!(documents[3]["devices"][0]["nvlinks"][0]["active"], false);

    // A machine with a lost device can be described, whenever it was lost.
    for calls in 0..30 {
        site.describe(&MACHINE.replace("device GPU-1\n", &format!("device GPU-1\nlost_after {calls}\n")));
        let machine = site.documents(&["--nvml", "./nvml.so"]).remove(0);
        fs::write(site.path("m.json"), machine.to_string()).unwrap();
        assert_eq!(site.documents(&["--inventory", "m.json"]), [machine], "lost after {calls}");
    }
}

#[test]
fn a_driver_that_does_not_start_is_a_note() {
    let site = Site::new();
    site.install("");
    fs::remove_file(site.path("machine")).unwrap();
    let machine = site.documents(&["--nvml", "./nvml.so"]).remove(0);
    assert_eq!(machine["devices"], json!([]));
    let notes = machine["notes"].to_string();
    assert!(
        notes.contains("none of NVIDIA, because NVML does not start: NVIDIA driver is not loaded"),
        "{notes}"
    );
}
