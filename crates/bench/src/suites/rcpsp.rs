//! Suite `rcpsp`: makespans of projects under scarce resources over the best known ones, beside OR-tools' CP-SAT at the same CPU time
//! of one thread. Every schedule is verified, also the peer's.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    path::Path,
    time::Duration,
};

use anyhow::{Context, Result};
use planner::{
    Budget,
    rcpsp::{Project, read, solve, verify},
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

/// At most so many projects of a size that has a figure are measured, and so many of the others.
const PROJECTS: usize = 48;
const OTHERS: usize = 12;
/// A source and a sink do not count.
const DUMMIES: usize = 2;
/// How long both search.
const LIMIT: Duration = Duration::from_secs(1);
const SEED: u64 = 1;

struct Instance {
    name: String,
    project: Project,
    known: Option<Known>,
}

/// What one side found, for each project that it found something for.
#[derive(Default)]
struct Side {
    ratios: Vec<f64>,
    optimal: usize,
}

/// What is known of all projects of a size.
#[derive(Default)]
struct Size {
    ours: Side,
    theirs: Side,
    proven: usize,
    over_bound: usize,
}

/// Measures the projects of a folder; `python` has the peer.
pub(super) fn run(folder: Option<&Path>, python: Option<&Path>) -> Result<Findings> {
    let mut findings = Findings::default();
    let figures = ["j30_optimal_1s", "j60_over_best_1s"];
    findings.outcomes.extend(figures.map(|figure| (figure, Outcome::Skipped)));
    let Some(folder) = folder else { return Ok(findings) };
    let mut cp_sat = python.map(CpSat::start).transpose()?;
    for (activities, instances) in read_all(folder, &known(folder)?)? {
        let count = instances.len();
        let most = if [30, 60].contains(&activities) { PROJECTS } else { OTHERS };
        let instances = evenly(instances, most);
        progress(&format!("rcpsp: {} projects of {activities} activities", instances.len()));
        let mut size = Size::default();
        for instance in &instances {
            size.measure(instance, cp_sat.as_mut()).with_context(|| instance.name.clone())?;
        }
        let (ours, proven) = (geomean(&size.ours.ratios), size.proven as f64);
        match activities {
            30 if size.proven > 0 => {
                findings.outcomes.insert("j30_optimal_1s", Outcome::of(&[size.ours.optimal as f64 / proven]));
            }
            60 => {
                findings.outcomes.insert("j60_over_best_1s", Outcome::of(&[ours]));
            }
            _ => {}
        }
        let mut tell = |what: &str, value: f64, unit| {
            findings.number(format!("{activities} activities: {what}"), value, unit);
        };
        tell(&format!("projects measured, of {count}"), instances.len() as f64, "");
        tell("of them over a bound, as no makespan is known", size.over_bound as f64, "");
        tell("of them with a proven optimum", proven, "");
        for (name, side) in [("llmos", &size.ours), ("CP-SAT", &size.theirs)] {
            if !side.ratios.is_empty() {
                tell(&format!("{name} found a schedule"), side.ratios.len() as f64, "");
                tell(&format!("{name} found the proven optimum"), side.optimal as f64, "");
                tell(&format!("{name} over best known"), geomean(&side.ratios), "ratio");
            }
        }
    }
    Ok(findings)
}

/// The projects by the number of their activities.
fn read_all(folder: &Path, known: &HashMap<String, Known>) -> Result<BTreeMap<usize, Vec<Instance>>> {
    let mut by_size: BTreeMap<usize, Vec<Instance>> = BTreeMap::new();
    for file in files(folder, &[".rcp"])? {
        let name = stem(&name(&file)).to_owned();
        let project = read(&fs::read_to_string(&file)?).with_context(|| name.clone())?;
        let activities = project.activities().len().saturating_sub(DUMMIES);
        let known = known.get(&name).copied();
        by_size.entry(activities).or_default().push(Instance { name, project, known });
    }
    Ok(by_size)
}

impl Size {
    fn measure(&mut self, instance: &Instance, cp_sat: Option<&mut CpSat>) -> Result<()> {
        let project = &instance.project;
        let endless = Budget { evaluations: u64::MAX };
        let solution = solve(project, endless, SEED, &mut within(LIMIT));
        let ours = verify(project, &solution.starts)?;
        let (mut bound, mut theirs) = (solution.lower_bound, None);
        if let Some(cp_sat) = cp_sat {
            let answer = cp_sat.solve(project, LIMIT)?;
            bound = bound.max(answer.bound);
            theirs = answer.starts.map(|starts| verify(project, &starts)).transpose()?;
        }
        // Where no list says what is known, the bounds of both do, and prove what they meet.
        let least = theirs.unwrap_or(ours).min(ours);
        let known = instance.known.unwrap_or(Known { best: bound, is_proven: least == bound });
        self.over_bound += usize::from(instance.known.is_none());
        self.proven += usize::from(known.is_proven);
        for (side, makespan) in [(&mut self.ours, Some(ours)), (&mut self.theirs, theirs)] {
            let Some(makespan) = makespan else { continue };
            side.ratios.push(makespan as f64 / known.best.max(1) as f64);
            side.optimal += usize::from(known.is_proven && makespan <= known.best);
        }
        Ok(())
    }
}
