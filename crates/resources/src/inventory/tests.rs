use std::{fs, path::Path};

use serde_json::{Value, json};

use super::{root::tests::recorded, *};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/inventory");

/// A small machine with two nodes and two linked devices.
fn document() -> Value {
    let device = |index: u32| {
        json!({
            "index": index, "vendor": "nvidia", "name": "a", "uuid": format!("GPU-{index}"), "state": "ready",
            "bus_id": format!("0000:0{index}:00.0"), "numa_node": index,
            "memory": { "total": 100, "used": 40, "free": 50 },
            "nvlinks": [{ "link": 0, "active": true, "peer": 1 - index }],
        })
    };
    json!({
        "schema": SCHEMA,
        "machine": { "architecture": "x86_64" },
        "cpus": {
            "online": "0-7", "sockets": 1, "cores": 4,
            "caches": [{ "level": 3, "kind": "unified", "bytes": 1024, "shared_by": ["0-3", "4-7"] }],
            "granted": { "cpus": "0-3", "threads": 2, "limits": [{ "source": "q", "quota_millicpus": 2500 }] },
        },
        "memory": {
            "total": 1000, "available": 900, "granted": 500,
            "limits": [{ "source": "m", "bytes": 500, "used": 1 }],
        },
        "numa": [
            { "id": 0, "cpus": "0-3", "memory_total": 500, "memory_free": 400, "distances": [10, 20] },
            { "id": 1, "cpus": "4-7", "memory_total": 500, "memory_free": 400, "distances": [20, 10] },
        ],
        "disks": [{ "name": "sda", "bytes": 1 }],
        "network": [{ "name": "eth0", "state": "up", "hardware": true }],
        "devices": [device(0), device(1)],
    })
}

pub(super) fn machine() -> Inventory {
    Inventory::from_document(document()).unwrap()
}

/// Puts a value at a place, as `/devices/0/index`.
fn put(document: &mut Value, place: &str, value: Value) {
    let (parent, name) = place.rsplit_once('/').unwrap();
    let parent = document.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(entries) => entries.push(value),
        _ => parent[name] = value,
    }
}

#[test]
fn every_lie_is_refused_and_names_its_field() {
    let lies: &[(&str, Value, &str, &str)] = &[
        ("/schema", json!(2), "schema", "is 2; this version reads 1"),
        ("/colour", json!(1), "colour", "unknown field"),
        ("/memory/totle", json!(1), "memory.totle", "unknown field"),
        ("/memory/total", json!(-1), "memory.total", "invalid value"),
        ("/memory/total", json!(1.5), "memory.total", "invalid type"),
        ("/memory/total", json!(1_u64 << 51), "memory.total", "from 1 to 1125899906842624"),
        ("/memory/total", json!(0), "memory.total", "is 0"),
        ("/memory/available", json!(1001), "memory.available", "more than `memory.total` (1000)"),
        ("/memory/swap_free", json!(1), "memory.swap_free", "more than"),
        ("/memory/granted", json!(501), "memory.granted", "more than"),
        ("/memory/granted", json!(0), "memory.granted", "is 0"),
        (
            "/memory/huge_pages",
            json!([{ "bytes": 9, "total": 1_u64 << 60, "free": 0 }]),
            "memory.huge_pages[0].total",
            "fit",
        ),
        (
            "/memory/bandwidth",
            json!({ "bytes_per_s": 0, "threads": 1 }),
            "memory.bandwidth.bytes_per_s",
            "is 0",
        ),
        ("/cpus/online", json!("0-9999999"), "cpus.online", "no list of CPUs"),
        ("/cpus/cores", json!(9), "cpus.cores", "from 1 to 8"),
        ("/cpus/sockets", json!(5), "cpus.sockets", "from 1 to 4"),
        ("/cpus/granted/cpus", json!("6-9"), "cpus.granted.cpus", "8-9, which are not in `cpus.online`"),
        ("/cpus/granted/cpus", json!(""), "cpus.granted.cpus", "empty"),
        ("/cpus/granted/threads", json!(3), "cpus.granted.threads", "from 1 to 2"),
        ("/cpus/granted/threads", json!(0), "cpus.granted.threads", "is 0"),
        ("/cpus/granted/limits/-", json!({ "source": "x" }), "cpus.granted.limits[1]", "either"),
        (
            "/cpus/caches/0/shared_by",
            json!(["0-3", "3-7"]),
            "cpus.caches[0].shared_by",
            "3, which are in another",
        ),
        ("/cpus/caches/0/kind", json!("hot"), "cpus.caches[0].kind", "unknown variant"),
        ("/numa/1/cpus", json!("3-7"), "numa[1].cpus", "3, which are in another"),
        ("/numa/1/cpus", json!("4-8"), "numa[1].cpus", "8, which are not in"),
        ("/numa/1/id", json!(0), "numa[1].id", "twice"),
        ("/numa/0/distances", json!([10]), "numa[0].distances", "1 entries; there are 2 nodes"),
        ("/numa/0/memory_free", json!(501), "numa[0].memory_free", "more than"),
        ("/disks/-", json!({ "name": "sda", "bytes": 1 }), "disks[1].name", "twice"),
        (
            "/network/-",
            json!({ "name": "eth0", "state": "up", "hardware": true }),
            "network[1].name",
            "twice",
        ),
        ("/data_dir", json!({ "path": "/x", "total": 1, "free": 2 }), "data_dir.free", "more than"),
        ("/devices/1/index", json!(0), "devices[1].index", "twice"),
        ("/devices/1/uuid", json!("GPU-0"), "devices[1].uuid", "twice"),
        ("/devices/1/bus_id", json!("0000:00:00.0"), "devices[1].bus_id", "twice"),
        ("/devices/1/numa_node", json!(7), "devices[1].numa_node", "not in `numa`"),
        ("/devices/0/memory/used", json!(51), "devices[0].memory", "more than `total` (100)"),
        ("/devices/0/memory/used", json!(u64::MAX), "devices[0].memory", "more than `total` (100)"),
        ("/devices/0/memory/total", json!(1_u64 << 51), "devices[0].memory.total", "possible"),
        ("/devices/0/state", json!("lost"), "devices[0].lost_because", "goes with"),
        ("/devices/0/state", json!("well"), "devices[0].state", "unknown variant"),
        ("/devices/0/live", json!({ "busy_percent": 101 }), "devices[0].live.busy_percent", "from 0 to 100"),
        ("/devices/0/nvlinks/0/peer", json!(5), "devices[0].nvlinks[0].peer", "no such device"),
        ("/devices/0/nvlinks/0/peer", json!(0), "devices[0].nvlinks[0].peer", "itself"),
        (
            "/devices/0/nvlinks/0/active",
            json!(false),
            "devices[0].nvlinks[0].peer",
            "0 active links lead there, and 1",
        ),
        ("/devices/0/nvlinks", json!([]), "devices[1].nvlinks[0].peer", "1 active links lead there, and 0"),
        (
            "/devices/0/mig",
            json!({ "enabled": false, "instances": [{ "uuid": "m" }] }),
            "devices[0].mig.instances",
            "false",
        ),
        (
            "/devices/0/mig",
            json!({ "enabled": true, "instances": [{ "uuid": "GPU-0" }] }),
            "devices[0].mig.instances[0].uuid",
            "twice",
        ),
    ];
    for (place, value, field, message) in lies {
        let mut document = document();
        put(&mut document, place, value.clone());
        let problems = Inventory::from_document(document).expect_err(place);
        let named =
            problems.iter().any(|problem| problem.field == *field && problem.message.contains(message));
        assert!(named, "{place} = {value}: {problems:?}");
    }
}

#[test]
fn all_problems_are_found_at_once() {
    let mut document = document();
    put(&mut document, "/colour", json!(1));
    put(&mut document, "/devices/0/taste", json!({ "x": [] }));
    put(&mut document, "/devices/1/index", json!(0));
    put(&mut document, "/memory/available", json!(2_000));
    let fields = |document| {
        let problems = Inventory::from_document(document).unwrap_err();
        problems.into_iter().map(|problem| problem.field).collect::<Vec<_>>()
    };
    let expected = ["colour", "devices[0].taste", "memory.available", "devices[1].index"];
    let mut found = fields(document.clone());
    found.retain(|field| expected.contains(&field.as_str()));
    found.sort();
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(found, expected);

    // What cannot be read does not hide what comes after it.
    put(&mut document, "/memory/total", json!("much"));
    put(&mut document, "/cpus/online", json!(7));
    put(&mut document, "/devices/0/state", json!("well"));
    document["memory"].as_object_mut().unwrap().remove("granted");
    document["devices"][1].as_object_mut().unwrap().remove("vendor");
    let found = fields(document);
    for field in ["colour", "memory.total", "cpus.online", "devices[0].state", "memory", "devices[1]"] {
        assert!(found.iter().any(|name| name == field), "{field}: {found:?}");
    }
}

#[test]
fn files_that_describe_nothing_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("m.json");
    let twice = serde_json::to_string(&document()).unwrap().replacen('{', "{\"schema\":1,", 1);
    let cases = [
        ("[".repeat(100_000), "no JSON document"),
        ("{}".to_owned(), "does not describe"),
        ("null".to_owned(), "does not describe"),
        ("\u{0}".to_owned(), "no JSON document"),
        (" ".repeat(2 << 20), "has more than"),
        (twice, "does not describe"),
    ];
    for (text, message) in cases {
        fs::write(&file, &text).unwrap();
        let error = Inventory::from_file(&file).unwrap_err();
        assert!(error.to_string().contains(message), "{}: {error}", &text[..text.len().min(40)]);
    }
    let error = Inventory::from_file(Path::new("/nowhere/at/all")).unwrap_err();
    assert!(error.to_string().contains("cannot read"), "{error}");
}

/// Flips of single bytes, and every prefix: refused or read, never a crash.
#[test]
fn a_damaged_file_is_refused_or_read() {
    let whole = fs::read(Path::new(EXAMPLES).join("two-cores.json")).unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..whole.len()).map(|length| whole[..length].to_vec()).collect();
    for place in 0..whole.len() {
        for flip in [0x01, 0x08, 0x10] {
            let mut bytes = whole.clone();
            bytes[place] ^= flip;
            damaged.push(bytes);
        }
    }
    let mut read = 0;
    for bytes in damaged {
        let Ok(document) = serde_json::from_slice(&bytes) else { continue };
        match Inventory::from_document(document) {
            Ok(inventory) => {
                assert!(inventory.cpus.granted.threads as usize <= inventory.cpus.online.len());
                assert!(inventory.memory.free_to_us() <= inventory.memory.total);
                read += 1;
            }
            Err(problems) => assert!(!problems.is_empty()),
        }
    }
    assert!(read > 0);
}

/// Bounds on what is listed hold before anything is made of the list.
#[test]
fn many_of_everything_are_refused() {
    let many = |value: Value, count: usize| Value::Array(vec![value; count]);
    let device = json!({ "index": 0, "vendor": "amd", "name": "a", "state": "ready" });
    let cases = [
        ("/devices", many(device, 2_000), "devices"),
        ("/notes", many(json!("n"), 10_000), "notes"),
        ("/cpus/caches/0/shared_by", many(json!("0-8191"), 50_000), "cpus.caches[0].shared_by"),
        ("/numa", many(document()["numa"][0].clone(), 3_000), "numa"),
        (
            "/devices/0/nvlinks",
            many(json!({ "link": 0, "active": true, "peer": 1 }), 1_000),
            "devices[0].nvlinks",
        ),
    ];
    for (place, value, field) in cases {
        let mut document = document();
        put(&mut document, place, value);
        let problems = Inventory::from_document(document).expect_err(place);
        let named =
            problems.iter().any(|problem| problem.field == field && problem.message.contains("at most"));
        assert!(named && problems.len() <= 64, "{place}: {:?}", &problems[..3]);
    }
}

#[test]
fn the_examples_are_machines() {
    let cases = [("two-cores", 2, 0), ("workstation-24gb", 32, 1), ("server-8x80gb", 224, 8)];
    for (name, threads, devices) in cases {
        let file = Path::new(EXAMPLES).join(name).with_extension("json");
        let machine = Inventory::from_file(&file).unwrap_or_else(|error| panic!("{error}: {error:#?}"));
        assert_eq!((machine.cpus.granted.threads, machine.devices.len()), (threads, devices), "{name}");
    }
}

#[test]
fn this_machine_can_be_described_by_what_is_printed_of_it() {
    let mut inventory = Inventory::probe();
    let read = |inventory: &Inventory| Inventory::from_document(serde_json::to_value(inventory).unwrap());
    assert_eq!(read(&inventory).as_ref(), Ok(&inventory));
    let prober = Prober::new("/".into(), std::env::temp_dir(), Some(Path::new("/nowhere/nvml.so")));
    inventory = prober.probe();
    prober.refresh(&mut inventory);
    assert_eq!(read(&inventory).as_ref(), Ok(&inventory));
    assert!(
        inventory.notes.iter().any(|note| note.contains("NVML cannot be loaded")),
        "{:?}",
        inventory.notes
    );
    assert!(inventory.data_dir.is_some());
    assert_eq!(crate::available_cores().len(), inventory.cpus.granted.threads as usize);
}

#[test]
fn a_machine_that_shows_nothing_is_still_one() {
    let (folder, _root) = recorded(&[]);
    let prober = Prober::new(folder.path().into(), PathBuf::new(), Some(Path::new("/nowhere")));
    let inventory = prober.probe();
    assert!(!inventory.cpus.granted.cpus.is_empty() && inventory.cpus.granted.threads >= 1);
    assert!(inventory.devices.is_empty() && inventory.numa.is_empty());
    for part in ["cpus: ", "memory: ", "devices: none of NVIDIA"] {
        assert!(inventory.notes.iter().any(|note| note.starts_with(part)), "{part}: {:?}", inventory.notes);
    }
}
