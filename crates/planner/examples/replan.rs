//! Measures planning again on a folder of `.hdag` files: each is scheduled, its last processor is lost when a third of the time
//! is over, and the rest is planned again, with at most a twentieth of it moved beside what has to; then without such a limit for a
//! second. By the CPU time of one thread; every plan is verified.
//!
//! ```text
//! cargo run --release -p planner --example replan -- FOLDER LEAST_TASKS
//! ```
#![allow(clippy::print_stdout, missing_docs)]

use std::{error::Error, fs, time::Duration};

use planner::{
    Budget, Progress,
    task_graph::{Algorithm, Known, Situation, read, replan, solve, verify},
};

const ENDLESS: Budget = Budget { evaluations: u64::MAX };
/// When the new plan has to be there, and what the last step may take.
const REPLAN: Duration = Duration::from_micros(4_500);

fn main() -> Result<(), Box<dyn Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [folder, least] = words.as_slice() else {
        return Err("usage: replan FOLDER LEAST_TASKS".into());
    };
    let least: usize = least.parse()?;
    let mut files: Vec<_> =
        fs::read_dir(folder)?.map(|file| file.map(|file| file.path())).collect::<Result<_, _>>()?;
    files.sort();
    let (mut logarithms, mut count) = (0.0, 0);
    for file in files.iter().filter(|file| file.extension().is_some_and(|ending| ending == "hdag")) {
        let graph = read(&fs::read_to_string(file)?)?;
        if graph.tasks() < least {
            continue;
        }
        let old =
            solve(&graph, Algorithm::Auto, ENDLESS, 1, &mut within(Duration::from_millis(200))).schedule;
        let now = old.makespan() / 3;
        let mut lost = vec![false; graph.links().processors()];
        let gone = lost.len() - 1;
        lost[gone] = true;
        let mut known = Vec::new();
        for placed in &old.placed {
            let runs = placed.start < now && placed.processor as usize != gone;
            known.push(if placed.finish <= now || runs {
                Known::Started(*placed)
            } else {
                Known::Planned(*placed)
            });
        }
        let waiting = known.iter().filter(|known| matches!(known, Known::Planned(_))).count();
        let situation = Situation { now, known: &known, lost: &lost };
        let begin = cpu_time();
        let plan = replan(&graph, &situation, Some(waiting / 20), ENDLESS, 1, &mut within(REPLAN))?;
        let took = cpu_time().saturating_sub(begin);
        let makespan = verify::new_plan(&graph, &situation, &plan.schedule)?;
        let second = &mut within(Duration::from_secs(1));
        let again = replan(&graph, &situation, None, ENDLESS, 1, second)?;
        let best = verify::new_plan(&graph, &situation, &again.schedule)?;
        let (ratio, share) = (makespan as f64 / best as f64, plan.moved as f64 / waiting.max(1) as f64);
        println!(
            "{ratio:.4} of the second's, {share:.3} of {waiting} moved, {} µs, {} evaluations: {}",
            took.as_micros(),
            plan.evaluations,
            file.display()
        );
        logarithms += ratio.ln();
        count += 1;
    }
    println!("geomean {:.4} of {count}", (logarithms / f64::from(count)).exp());
    Ok(())
}

fn within(limit: Duration) -> impl FnMut(Progress) -> bool {
    let begin = cpu_time();
    move |_| cpu_time().saturating_sub(begin) < limit
}

/// CPU time of this thread.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec.unsigned_abs() as u32)
}
