//! A placement as a mixed-integer program in the LP format, for a solver that shares nothing with ours.

use std::{collections::BTreeMap, fmt::Write};

use anyhow::Result;
use planner::placement::{Machine, Model, Place, Problem, WHOLE_MILLI, verify};

/// What is limited, the terms that take of it, and how much there is.
type Rows = BTreeMap<String, (String, i64)>;

/// One variable for each place that each replica alone could have. What such a place costs the verifier says.
pub(super) fn of(problem: &Problem) -> Result<String> {
    let (mut objective, mut chosen, mut names) = (String::new(), String::new(), String::new());
    let mut rows = Rows::new();
    let mut alone = vec![None; problem.replicas().len()];
    let values: i64 = problem.replicas().iter().map(|replica| replica.value).sum();
    for (index, replica) in problem.replicas().iter().enumerate() {
        let mut one = String::new();
        for place in places(problem.machines()) {
            alone[index] = Some(place);
            let Ok(cost) = verify(problem, &alone) else { continue };
            let numa = place.numa.map_or("any".to_owned(), |node| node.to_string());
            let name = format!("x{index}_{}_{}_{numa}", place.machine, place.devices);
            write!(objective, " {:+} {name}", cost as i64 - values)?;
            write!(one, " + {name}")?;
            writeln!(names, " {name}")?;
            take(&mut rows, problem, replica.model, place, &name)?;
        }
        alone[index] = None;
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

fn places(machines: &[Machine]) -> impl Iterator<Item = Place> {
    machines.iter().enumerate().flat_map(|(machine, there)| {
        (0..1_u16 << there.devices.len()).flat_map(move |devices| {
            let nodes = (0..there.numa.len() as u8).map(Some).chain([None]);
            nodes.map(move |numa| Place { machine: machine as u32, devices, numa })
        })
    })
}

/// What a place takes of the machine, its nodes and devices, and of what may be near to each other.
fn take(rows: &mut Rows, problem: &Problem, number: u32, place: Place, name: &str) -> Result<()> {
    let model: &Model = &problem.models()[number as usize];
    let there = &problem.machines()[place.machine as usize];
    let machine = place.machine;
    let mut row = |what: String, takes: i64, has: i64| {
        let row = rows.entry(what).or_insert((String::new(), has));
        write!(row.0, " + {takes} {name}")
    };
    row(format!("c{machine}"), model.cores_milli, there.numa.iter().map(|node| node.cores_milli).sum())?;
    row(format!("m{machine}"), model.memory, there.numa.iter().map(|node| node.memory).sum())?;
    if let Some(node) = place.numa {
        let has = there.numa[usize::from(node)];
        row(format!("nc{machine}_{node}"), model.cores_milli, has.cores_milli)?;
        row(format!("nm{machine}_{node}"), model.memory, has.memory)?;
    }
    for device in (0..there.devices.len()).filter(|device| place.devices >> device & 1 == 1) {
        row(format!("ds{machine}_{device}"), model.share_milli, WHOLE_MILLI)?;
        row(format!("dm{machine}_{device}"), model.device_memory, there.devices[device].memory)?;
    }
    row(format!("am{machine}_{number}"), 1, model.per_machine_max.into())?;
    row(format!("az{}_{number}", there.zone), 1, model.per_zone_max.into())?;
    Ok(())
}
