//! Measures placement by the CPU time of one thread; every plan is verified.
//!
//! `saturation` takes Alibaba's nodes and pods (`openb_*.csv`), draws pods with replacement until they ask for 1.3 times the devices
//! that there are (as the paper of FGD does), and prints what share of the devices each rule allocates in the order of arrival and the
//! largest first, and what the search does, which knows the whole list too. `exact` makes small problems at random, of up to 8 devices, and prints what the search
//! costs; with a folder, it writes each as a mixed-integer program (`.lp`), for `HiGHS` or any other solver.
//!
//! ```text
//! cargo run --release -p planner --example placement -- saturation FOLDER MILLISECONDS [SEED]
//! cargo run --release -p planner --example placement -- exact COUNT MILLISECONDS [FOLDER]
//! ```
#![allow(clippy::print_stdout, clippy::wildcard_imports, missing_docs)]

use std::{collections::BTreeMap, error::Error, fmt::Write, fs, path::Path, time::Duration};

use planner::{Budget, Progress, Random, placement::*};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["saturation", folder, milliseconds, rest @ ..] => {
            let seed = rest.first().map_or(Ok(1), |seed| seed.parse())?;
            saturation(Path::new(folder), Duration::from_millis(milliseconds.parse()?), seed)
        }
        ["exact", count, milliseconds, rest @ ..] => {
            let limit = Duration::from_millis(milliseconds.parse()?);
            exact(count.parse()?, limit, rest.first().map(Path::new))
        }
        _ => Err("usage: placement saturation FOLDER MS [SEED] | exact COUNT MS [FOLDER]".into()),
    }
}

fn saturation(folder: &Path, limit: Duration, seed: u64) -> Result<(), Box<dyn Error>> {
    let mut kinds: BTreeMap<String, u8> = BTreeMap::new();
    let mut machines = Vec::new();
    for line in fs::read_to_string(folder.join("openb_node_list_gpu_node.csv"))?.lines().skip(1) {
        let words: Vec<&str> = line.split(',').collect();
        let [_, cores, memory, count, kind] = words.as_slice() else { return Err(line.into()) };
        let next = kinds.len() as u8;
        let kind = *kinds.entry((*kind).to_owned()).or_insert(next);
        let device = Device { kind, memory: 0, numa: 0, island: 0 };
        let numa = vec![Numa { cores_milli: cores.parse()?, memory: memory.parse()? }];
        machines.push(Machine { numa, devices: vec![device; count.parse()?], zone: 0 });
    }
    let mut models: Vec<Model> = Vec::new();
    let mut known: BTreeMap<String, u32> = BTreeMap::new();
    let mut pods = Vec::new();
    for line in fs::read_to_string(folder.join("openb_pod_list_default.csv"))?.lines().skip(1) {
        let words: Vec<&str> = line.split(',').collect();
        let [_, cores, memory, count, share, spec, ..] = words.as_slice() else { return Err(line.into()) };
        let next = models.len() as u32;
        let model = *known.entry(words[1..6].join(",")).or_insert(next);
        if model == next {
            let named =
                spec.split('|').filter_map(|kind| kinds.get(kind)).fold(0, |set, kind| set | 1 << kind);
            models.push(Model {
                cores_milli: cores.parse()?,
                memory: memory.parse()?,
                devices: count.parse()?,
                share_milli: share.parse()?,
                device_memory: 0,
                kinds: if spec.is_empty() { u64::MAX } else { named },
                within: Within::Machine,
                per_machine_max: u32::MAX,
                per_zone_max: u32::MAX,
                resident_on: Vec::new(),
                load_cost: 0,
                across_cost: 0,
            });
        }
        pods.push(model);
    }
    let all: i64 = machines.iter().map(|machine| machine.devices.len() as i64 * WHOLE_MILLI).sum();
    let shares = |model: &Model| i64::from(model.devices) * model.share_milli;
    let mut random = Random::new(seed);
    let (mut replicas, mut asked) = (Vec::new(), 0);
    while asked * 10 < all * 13 {
        let model = pods[random.below(pods.len() as u32) as usize];
        let value = shares(&models[model as usize]);
        asked += value;
        // One without devices is worth as much as a tenth of one.
        let value = if value > 0 { value } else { 100 };
        replicas.push(Replica { model, value, now: None, move_cost: 0 });
    }
    let problem = Problem::new(machines, models, replicas)?;
    let print = |name: &str, plan: &[Option<Place>], time: Duration| -> Result<i64, Box<dyn Error>> {
        verify(&problem, plan)?;
        let placed = plan.iter().zip(problem.replicas()).filter(|(place, _)| place.is_some());
        let placed: Vec<&Model> =
            placed.map(|(_, replica)| &problem.models()[replica.model as usize]).collect();
        let allocated = placed.iter().map(|model| shares(model)).sum::<i64>();
        let without = placed.iter().filter(|model| model.devices == 0).count();
        println!(
            "{name}: {:.3} % of {} devices allocated, {} pods, {without} of them without devices, in {:.2} s",
            allocated as f64 * 100.0 / all as f64,
            all / WHOLE_MILLI,
            placed.len(),
            time.as_secs_f64()
        );
        Ok(allocated)
    };
    let arrival: Vec<usize> = (0..problem.replicas().len()).collect();
    let mut largest = arrival.clone();
    largest.sort_by_key(|replica| std::cmp::Reverse(problem.replicas()[*replica].value));
    let mut best = [0; 2];
    for (order, pods, name) in [(0, &arrival, "as they arrive"), (1, &largest, "largest first")] {
        for rule in [Rule::FirstFit, Rule::BestFit, Rule::DotProduct, Rule::Fgd] {
            let begin = cpu_time();
            let plan = list(&problem, rule, pods).plan;
            let time = cpu_time().saturating_sub(begin);
            best[order] = best[order].max(print(&format!("{rule:?}, {name}"), &plan, time)?);
        }
    }
    let begin = cpu_time();
    let mut control = |_: Progress| cpu_time().saturating_sub(begin) < limit;
    let found = solve(&problem, Budget { evaluations: u64::MAX }, seed, &mut control);
    let ours = print("search", &found.plan, cpu_time().saturating_sub(begin))?;
    println!(
        "search over best baseline: {:.4} as they arrive, {:.4} largest first; cost {}, bound {}, {} evaluations",
        ours as f64 / best[0] as f64,
        ours as f64 / best[1] as f64,
        found.cost,
        found.lower_bound,
        found.evaluations
    );
    Ok(())
}

fn exact(count: u32, limit: Duration, folder: Option<&Path>) -> Result<(), Box<dyn Error>> {
    let mut random = Random::new(1);
    let (mut proven, mut sum) = (0, Duration::ZERO);
    let mut list = String::new();
    for number in 0..count {
        let problem = small(&mut random)?;
        let begin = cpu_time();
        let mut control = |_: Progress| cpu_time().saturating_sub(begin) < limit;
        let found = solve(&problem, Budget { evaluations: u64::MAX }, 1, &mut control);
        sum += cpu_time().saturating_sub(begin);
        verify(&problem, &found.plan)?;
        proven += u32::from(found.cost == found.lower_bound);
        writeln!(list, "{number},{},{}", found.cost, found.lower_bound)?;
        if let Some(folder) = folder {
            fs::write(folder.join(format!("{number}.lp")), program(&problem)?)?;
        }
    }
    if let Some(folder) = folder {
        fs::write(folder.join("costs.csv"), list)?;
    }
    println!("{proven} of {count} proven, {:.1} ms each", sum.as_secs_f64() * 1e3 / f64::from(count.max(1)));
    Ok(())
}

/// Two to four machines with eight devices in all, and more replicas than they hold; some run already.
fn small(random: &mut Random) -> Result<Problem, PlacementError> {
    let count = [2, 4][random.below(2) as usize];
    let device = |index: u32, kind: u8| Device {
        kind,
        memory: 40_000 + 40_000 * i64::from(kind),
        numa: u8::from(index >= 4 / count * 2 / 2),
        island: (index / 2) as u8,
    };
    let machines: Vec<Machine> = (0..count)
        .map(|_| {
            let kind = random.below(2) as u8;
            let numa = vec![Numa { cores_milli: 16_000, memory: 64_000 }; 2];
            let devices = (0..8 / count).map(|index| device(index, kind)).collect();
            Machine { numa, devices, zone: random.below(2) }
        })
        .collect();
    let some = |random: &mut Random, of: &[i64]| of[random.below(of.len() as u32) as usize];
    let models: Vec<Model> = (0..4)
        .map(|_| Model {
            cores_milli: some(random, &[1_000, 2_000, 4_000, 8_000]),
            memory: some(random, &[4_000, 8_000, 16_000, 30_000]),
            devices: some(random, &[1, 1, 1, 2, 2, 4]) as u8,
            share_milli: some(random, &[250, 400, 500, 1000, 1000]),
            device_memory: some(random, &[8_000, 16_000, 24_000, 40_000]),
            kinds: some(random, &[1, 2, 3, 3]) as u64,
            within: [Within::Machine, Within::Island, Within::Numa][random.below(3) as usize],
            per_machine_max: 1 + random.below(3),
            per_zone_max: 2 + random.below(4),
            resident_on: vec![random.below(count)],
            load_cost: some(random, &[10, 20, 50]),
            across_cost: some(random, &[0, 5, 20]),
        })
        .collect();
    let replicas = (0..12 + random.below(8)).map(|_| {
        let model = random.below(4);
        let wanted = &models[model as usize];
        // Those on one device may run somewhere.
        let now = (wanted.devices == 1 && random.below(3) == 0).then(|| {
            let numa = (wanted.within == Within::Numa).then_some(0);
            Place { machine: random.below(count), devices: 1 << random.below(2), numa }
        });
        let value = i64::from(50 + random.below(200)) * i64::from(wanted.devices);
        Replica { model, value, now, move_cost: some(random, &[5, 30]) }
    });
    let replicas = replicas.collect();
    Problem::new(machines, models, replicas)
}

/// The problem as a mixed-integer program: one variable for each place that each replica alone could have.
fn program(problem: &Problem) -> Result<String, Box<dyn Error>> {
    let (mut objective, mut chosen, mut names) = (String::new(), String::new(), String::new());
    let mut rows: BTreeMap<String, (String, i64)> = BTreeMap::new();
    let mut alone = vec![None; problem.replicas().len()];
    let values: i64 = problem.replicas().iter().map(|replica| replica.value).sum();
    for (index, replica) in problem.replicas().iter().enumerate() {
        let model = &problem.models()[replica.model as usize];
        let mut one = String::new();
        for (machine, there) in problem.machines().iter().enumerate() {
            for devices in 0..1_u16 << there.devices.len() {
                let nodes = (0..there.numa.len() as u8).map(Some).chain([None]);
                for numa in nodes {
                    alone[index] = Some(Place { machine: machine as u32, devices, numa });
                    let Ok(cost) = verify(problem, &alone) else { continue };
                    let name = format!("x{index}_{machine}_{devices}_{}", numa.map_or(9, u32::from));
                    write!(objective, " {:+} {name}", cost as i64 - values)?;
                    write!(one, " + {name}")?;
                    writeln!(names, " {name}")?;
                    let mut row = |what: String, takes: i64, has: i64| {
                        let row = rows.entry(what).or_insert((String::new(), has));
                        write!(row.0, " + {takes} {name}")
                    };
                    let cores = there.numa.iter().map(|node| node.cores_milli).sum();
                    let memory = there.numa.iter().map(|node| node.memory).sum();
                    row(format!("c{machine}"), model.cores_milli, cores)?;
                    row(format!("m{machine}"), model.memory, memory)?;
                    if let Some(node) = numa {
                        let has = there.numa[usize::from(node)];
                        row(format!("nc{machine}_{node}"), model.cores_milli, has.cores_milli)?;
                        row(format!("nm{machine}_{node}"), model.memory, has.memory)?;
                    }
                    for device in (0..there.devices.len()).filter(|device| devices >> device & 1 == 1) {
                        row(format!("ds{machine}_{device}"), model.share_milli, WHOLE_MILLI)?;
                        let has = there.devices[device].memory;
                        row(format!("dm{machine}_{device}"), model.device_memory, has)?;
                    }
                    row(format!("am{machine}_{}", replica.model), 1, model.per_machine_max.into())?;
                    row(format!("az{}_{}", there.zone, replica.model), 1, model.per_zone_max.into())?;
                }
            }
            alone[index] = None;
        }
        if !one.is_empty() {
            writeln!(chosen, " r{index}:{one} <= 1")?;
        }
    }
    let mut text =
        format!("minimize\n obj: {values} constant{objective}\nsubject to\n fix: constant = 1\n{chosen}");
    for (name, (terms, has)) in rows {
        writeln!(text, " {name}:{terms} <= {has}")?;
    }
    write!(text, "binary\n{names}end\n")?;
    Ok(text)
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
