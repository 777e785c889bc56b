//! Measures the search on a folder of `.rcp` files and the list of their best known values beside it (`j30/` and `j30.csv`), by the
//! CPU time of one thread; every schedule is verified.
//!
//! ```text
//! cargo run --release -p planner --example rcpsp -- FOLDER MILLISECONDS [--each]
//! ```
#![allow(clippy::print_stdout, missing_docs)]

use std::{error::Error, fs, path::Path, time::Duration};

use planner::{Budget, Progress, rcpsp};

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, milliseconds, options @ ..] = words.as_slice() else {
        return Err("usage: rcpsp FOLDER MILLISECONDS [--each]".into());
    };
    let folder = Path::new(folder);
    let limit = Duration::from_millis(milliseconds.parse()?);
    let (mut logarithms, mut count, mut proven, mut optimal, mut evaluations) = (0.0, 0, 0, 0, 0);
    for line in fs::read_to_string(folder.with_extension("csv"))?.lines().skip(1) {
        let words: Vec<&str> = line.split(',').collect();
        let [name, lower, best] = words.as_slice() else { continue };
        let (lower, best): (Option<i64>, i64) = (lower.parse().ok(), best.parse()?);
        let project = rcpsp::read(&fs::read_to_string(folder.join(format!("{name}.rcp")))?)?;
        let begin = cpu_time();
        let mut control = |_: Progress| cpu_time().saturating_sub(begin) < limit;
        let solution = rcpsp::solve(&project, Budget { evaluations: u64::MAX }, 1, &mut control);
        let makespan = rcpsp::verify(&project, &solution.starts)?;
        if lower == Some(best) {
            proven += 1;
            optimal += i32::from(makespan == best);
        }
        if makespan != best && options.contains(&"--each".to_owned()) {
            println!("{name}: {makespan}, best known {best}, bound {} of {lower:?}", solution.lower_bound);
        }
        logarithms += (makespan as f64 / best as f64).ln();
        evaluations += solution.evaluations;
        count += 1;
    }
    let geomean = (logarithms / f64::from(count)).exp();
    println!(
        "geomean {geomean:.4} of {count}; optimal {optimal} of {proven} proven; {evaluations} evaluations"
    );
    Ok(())
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
