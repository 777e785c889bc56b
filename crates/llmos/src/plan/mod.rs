//! `llmos plan`: the planner on a file.

mod flow;

use crate::{cli::PlanCommand, exit::Failure, output::Output};

pub(crate) fn run(command: PlanCommand, output: Output) -> Result<(), Failure> {
    match command {
        PlanCommand::Flow { file } => flow::run(&file, output),
    }
}
