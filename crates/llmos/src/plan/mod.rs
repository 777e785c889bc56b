//! `llmos plan`: the planner on a file.

mod fleet;
mod flow;
mod gantt;
mod place;
mod search;
mod solve;
mod text;

use std::{fmt::Display, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use crate::{
    cli::PlanCommand,
    exit::{Exit, Failure},
    output::Output,
};

pub(crate) fn run(command: PlanCommand, output: Output) -> Result<(), Failure> {
    match command {
        PlanCommand::Flow { file } => flow::run(&file, output),
        PlanCommand::Solve(wanted) => solve::run(&wanted, output),
        PlanCommand::Place(wanted) => place::run(&wanted, output),
    }
}

/// The check found an answer wrong: it is not shown.
fn defect(wrong: &impl Display) -> Failure {
    Failure::new(Exit::Failed, format!("the planner has made a mistake, which its check found: {wrong}"))
        .advise("please report it with the file")
}

/// Time of one processor that this thread has used.
fn cpu_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
}
