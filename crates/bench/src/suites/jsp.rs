//! Suite `jsp`: makespans of job shops over the best known ones, beside OR-tools' CP-SAT at the same CPU time of one thread. Every
//! schedule is verified, also the peer's.

use std::{collections::HashMap, fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};
use planner::{
    Budget,
    job_shop::{self, JobShop},
    rcpsp::{Activity, Project},
    task_graph::{Algorithm, Placed, Schedule},
};

use super::{
    cp_sat::CpSat,
    instances::{Known, evenly, files, known, name, stem},
};
use crate::{
    cpu::within,
    figures::{Findings, Outcome},
    progress,
    statistics::geomean,
};

/// Jobs, and machines, of what the figure is about.
const SIZES: std::ops::RangeInclusive<usize> = 15..=20;
/// At most so many of these shops are measured, and so many larger ones.
const SHOPS: usize = 8;
const LARGER: usize = 2;
/// How long both search.
const LIMIT: Duration = Duration::from_secs(10);
const SEED: u64 = 1;

struct Instance {
    name: String,
    shop: JobShop,
    known: Option<Known>,
}

/// Ratios over the best known makespan: ours, and the peer's where it has a schedule.
#[derive(Default)]
struct Ratios {
    ours: Vec<f64>,
    theirs: Vec<f64>,
    without: usize,
}

/// Measures the shops of a folder; `python` has the peer.
pub(super) fn run(folder: Option<&Path>, python: Option<&Path>) -> Result<Findings> {
    let mut findings = Findings::default();
    let figure = "gap_15x15_to_20x20_10s";
    let Some(folder) = folder else {
        findings.outcomes.insert(figure, Outcome::Skipped);
        return Ok(findings);
    };
    let mut cp_sat = python.map(CpSat::start).transpose()?;
    let (counted, larger): (Vec<_>, Vec<_>) =
        read_all(folder, &known(folder)?)?.into_iter().partition(|instance| {
            let jobs = instance.shop.jobs();
            SIZES.contains(&jobs.len()) && jobs.iter().all(|job| SIZES.contains(&job.len()))
        });
    for (what, instances, most) in [("15x15 to 20x20", counted, SHOPS), ("other sizes", larger, LARGER)] {
        let (count, mut ratios) = (instances.len(), Ratios::default());
        for instance in evenly(instances, most) {
            progress(&format!("jsp: {}", instance.name));
            measure(&instance, cp_sat.as_mut(), &mut ratios, &mut findings)
                .with_context(|| instance.name.clone())?;
        }
        findings.number(format!("{what}: shops measured, of {count}"), ratios.ours.len() as f64, "");
        for (name, ratios) in [("llmos", &ratios.ours), ("CP-SAT", &ratios.theirs)] {
            if !ratios.is_empty() {
                findings.number(format!("{what}: {name} over best known"), geomean(ratios), "ratio");
            }
        }
        if cp_sat.is_some() {
            findings.number(format!("{what}: CP-SAT without a schedule"), ratios.without as f64, "");
        }
        // The figure is about the first sizes.
        findings.outcomes.entry(figure).or_insert_with(|| Outcome::of_ratios(&ratios.ours));
    }
    Ok(findings)
}

fn read_all(folder: &Path, known: &HashMap<String, Known>) -> Result<Vec<Instance>> {
    let instances = files(folder, &[".txt"])?.into_iter().map(|file| {
        let name = stem(&name(&file)).to_owned();
        let shop = job_shop::read(&fs::read_to_string(&file)?).with_context(|| name.clone())?;
        Ok(Instance { known: known.get(&name).copied(), name, shop })
    });
    instances.collect()
}

fn measure(
    instance: &Instance,
    cp_sat: Option<&mut CpSat>,
    ratios: &mut Ratios,
    findings: &mut Findings,
) -> Result<()> {
    let shop = &instance.shop;
    let endless = Budget { evaluations: u64::MAX };
    let solution = job_shop::solve(shop, Algorithm::Auto, endless, SEED, &mut within(LIMIT));
    let ours = job_shop::verify(shop, &solution.schedule)?;
    let mut bound = solution.lower_bound;
    let mut theirs = None;
    let mut text = String::new();
    if let Some(cp_sat) = cp_sat {
        let answer = cp_sat.solve(&project(shop)?, LIMIT)?;
        bound = bound.max(answer.bound);
        theirs = answer
            .starts
            .map(|starts| job_shop::verify(shop, &placed(shop, &starts)?).map_err(anyhow::Error::from))
            .transpose()?;
        let found = theirs.map_or("nothing".to_owned(), |makespan| makespan.to_string());
        text = format!("; CP-SAT {found} in {:.1} s, bound {}", answer.ms / 1e3, answer.bound);
    }
    let best = instance.known.map_or(bound, |known| known.best).max(1);
    let what = if instance.known.is_some() { "best known" } else { "bound" };
    let ratio = |makespan: i64| makespan as f64 / best as f64;
    let (jobs, machines) = (shop.jobs().len(), shop.machines());
    let text = format!("{:.3}: {ours}, {what} {best}{text}", ratio(ours));
    findings.text(format!("{}, {jobs}x{machines}", instance.name), text);
    ratios.ours.push(ratio(ours));
    ratios.without += usize::from(theirs.is_none());
    ratios.theirs.extend(theirs.map(ratio));
    Ok(())
}

/// The shop as a project: a machine is a resource of one unit.
fn project(shop: &JobShop) -> Result<Project> {
    let (mut activities, mut orders) = (Vec::new(), Vec::new());
    for job in shop.jobs() {
        for (index, operation) in job.iter().enumerate() {
            let number = activities.len() as u32;
            if index > 0 {
                orders.push((number - 1, number));
            }
            let demands =
                (0..shop.machines()).map(|machine| i64::from(machine == operation.machine as usize));
            activities.push(Activity { ticks: operation.ticks, demands: demands.collect() });
        }
    }
    Ok(Project::new(vec![1; shop.machines()], activities, orders)?)
}

fn placed(shop: &JobShop, starts: &[i64]) -> Result<Schedule> {
    let operations: Vec<_> = shop.jobs().iter().flatten().collect();
    ensure!(operations.len() == starts.len(), "{} operations have a start", starts.len());
    let placed = operations.into_iter().zip(starts).map(|(operation, &start)| Placed {
        processor: operation.machine,
        start,
        finish: start + operation.ticks,
    });
    Ok(Schedule { placed: placed.collect() })
}
