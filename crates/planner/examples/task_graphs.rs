//! Measures the algorithms on a folder of `.hdag` files, by the CPU time of one thread; every schedule is verified.
//!
//! ```text
//! cargo run --release -p planner --example task_graphs -- FOLDER ALGORITHM[,...] [MILLISECONDS...] [--each]
//! ```
#![allow(clippy::print_stdout, missing_docs)]

use std::{collections::HashMap, error::Error, fs, path::Path, time::Duration};

use planner::{
    Budget, Progress,
    task_graph::{Algorithm, TaskGraph, first_schedule, read, solve, verify},
};

/// Instances of up to so many tasks count for the tail of the distribution.
const SMALL: usize = 250;

struct Instance {
    name: String,
    graph: TaskGraph,
    best: Option<i64>,
}

struct Row {
    ratio: f64,
    text: String,
    is_small: bool,
}

fn main() -> Result<(), Box<dyn Error>> {
    let (options, words): (Vec<String>, Vec<String>) =
        std::env::args().skip(1).partition(|word| word.starts_with("--"));
    let [folder, algorithms, budgets @ ..] = words.as_slice() else {
        return Err("usage: task_graphs FOLDER ALGORITHM[,...] [MILLISECONDS...] [--each]".into());
    };
    let instances = instances(Path::new(folder))?;
    for name in algorithms.split(',') {
        let Some((_, algorithm)) = Algorithm::NAMES.iter().find(|(known, _)| *known == name) else {
            return Err(format!("there is no algorithm {name}").into());
        };
        for budget in budgets {
            let limit = Duration::from_millis(budget.parse()?);
            let mut rows = Vec::new();
            for instance in &instances {
                rows.push(measure(instance, *algorithm, limit)?);
            }
            println!("{name} {budget} ms: {}", summary(&mut rows));
            if options.contains(&"--each".to_owned()) {
                for row in rows.iter().rev() {
                    println!("  {:.4} {}", row.ratio, row.text);
                }
            }
        }
    }
    Ok(())
}

fn instances(folder: &Path) -> Result<Vec<Instance>, Box<dyn Error>> {
    let mut best = HashMap::new();
    for line in fs::read_to_string(folder.join("bounds.csv")).unwrap_or_default().lines().skip(1) {
        if let [name, _, known, ..] = line.split(',').collect::<Vec<_>>().as_slice() {
            best.insert((*name).to_owned(), known.parse::<i64>()?);
        }
    }
    let mut instances = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?.path();
        if file.extension().is_some_and(|ending| ending == "hdag") {
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let graph = read(&fs::read_to_string(&file)?)?;
            let best = best.get(&name).copied();
            instances.push(Instance { name, graph, best });
        }
    }
    instances.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(instances)
}

fn measure(instance: &Instance, algorithm: Algorithm, limit: Duration) -> Result<Row, Box<dyn Error>> {
    let begin = cpu_time();
    let first = first_schedule(&instance.graph).makespan();
    let first_took = cpu_time().saturating_sub(begin);
    let begin = cpu_time();
    let mut control = |_: Progress| cpu_time().saturating_sub(begin) < limit;
    let budget = Budget { evaluations: u64::MAX };
    let solution = solve(&instance.graph, algorithm, budget, 1, &mut control);
    let took = cpu_time().saturating_sub(begin);
    let makespan = verify::schedule(&instance.graph, &solution.schedule)?;
    let ratio = makespan as f64 / instance.best.unwrap_or(solution.lower_bound).max(1) as f64;
    let text = format!(
        "{}: {makespan}, first {first} in {} µs, bound {}, {} evaluations in {} µs",
        instance.name,
        first_took.as_micros(),
        solution.lower_bound,
        solution.evaluations,
        took.as_micros()
    );
    Ok(Row { ratio, text, is_small: instance.graph.tasks() <= SMALL })
}

/// Sorts the rows by their ratios.
fn summary(rows: &mut [Row]) -> String {
    rows.sort_by(|one, other| one.ratio.total_cmp(&other.ratio));
    let geomean = |ratios: &[f64]| {
        (ratios.iter().map(|ratio| ratio.ln()).sum::<f64>() / ratios.len().max(1) as f64).exp()
    };
    let of = |is_small: bool| -> Vec<f64> {
        rows.iter().filter(|row| row.is_small == is_small).map(|row| row.ratio).collect()
    };
    let (small, large) = (of(true), of(false));
    let all: Vec<f64> = rows.iter().map(|row| row.ratio).collect();
    format!(
        "geomean {:.4} of {}; up to {SMALL} tasks: geomean {:.4}, p90 {:.4}, worst {:.4}; above: geomean {:.4}, worst {:.4}",
        geomean(&all),
        all.len(),
        geomean(&small),
        small.get(small.len() * 9 / 10).copied().unwrap_or_default(),
        small.last().copied().unwrap_or_default(),
        geomean(&large),
        large.last().copied().unwrap_or_default(),
    )
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
