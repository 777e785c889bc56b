//! Measures a search on a folder of Taillard's job shops, by the CPU time of one thread; every schedule is verified.
//!
//! ```text
//! cargo run --release -p planner --example job_shop -- FOLDER ALGORITHM MILLISECONDS [INSTANCE...]
//! ```
#![allow(clippy::print_stdout, missing_docs)]

use std::{error::Error, fs, path::Path, time::Duration};

use planner::{Budget, Progress, job_shop, task_graph::Algorithm};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, algorithm, milliseconds, only @ ..] = words.as_slice() else {
        return Err("usage: job_shop FOLDER ALGORITHM MILLISECONDS [INSTANCE...]".into());
    };
    let limit = Duration::from_millis(milliseconds.parse()?);
    let Some((_, algorithm)) = Algorithm::NAMES.iter().find(|(name, _)| name == algorithm) else {
        return Err(format!("there is no algorithm {algorithm}").into());
    };
    let (mut logarithms, mut count) = (0.0, 0);
    for line in fs::read_to_string(Path::new(folder).join("bounds.csv"))?.lines().skip(1) {
        let words: Vec<&str> = line.split(',').collect();
        let [name, jobs, machines, _, best, ..] = words.as_slice() else { continue };
        if !only.is_empty() && !only.iter().any(|only| only == name) {
            continue;
        }
        let file = Path::new(folder).join(format!("{name}.txt"));
        let shop = job_shop::read(&fs::read_to_string(file)?)?;
        let begin = cpu_time();
        let mut control = |_: Progress| cpu_time().saturating_sub(begin) < limit;
        let budget = Budget { evaluations: u64::MAX };
        let solution = job_shop::solve(&shop, *algorithm, budget, 1, &mut control);
        let makespan = job_shop::verify(&shop, &solution.schedule)?;
        let ratio = makespan as f64 / best.parse::<f64>()?;
        println!(
            "{ratio:.4} {name} {jobs}x{machines}: {makespan}, best known {best}, bound {}, {} evaluations",
            solution.lower_bound, solution.evaluations
        );
        logarithms += ratio.ln();
        count += 1;
    }
    println!("geomean {:.4} of {count}", (logarithms / f64::from(count)).exp());
    Ok(())
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
