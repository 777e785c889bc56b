//! The commands that plan.

use std::path::PathBuf;

use clap::{Args, Subcommand, builder::PossibleValuesParser};
use planner::task_graph::{Algorithm, PROCESSORS_MAX};

#[derive(Debug, Subcommand)]
pub(crate) enum PlanCommand {
    /// Find the cheapest flow of a DIMACS file (`p min`), or the greatest (`p max`). It may be packed by gzip.
    Flow {
        /// The file.
        file: PathBuf,
    },
    /// Find out where and when each task runs, so that all are finished soonest.
    Solve(SolveArgs),
    /// Find out which replica of which model runs on which devices of which machine.
    Place(PlaceArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SolveArgs {
    /// A task graph (`.hdag`, or a workflow of WfCommons, `.json`), a project (PSPLIB's `.rcp`), or a job shop (Taillard's format,
    /// any other name). It may be packed by gzip.
    pub(crate) file: PathBuf,
    /// How it is searched for.
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = PossibleValuesParser::new(Algorithm::NAMES.map(|named| named.0)))]
    pub(crate) algorithm: String,
    #[command(flatten)]
    pub(crate) search: SearchArgs,
    /// Draw the schedule into this file, as SVG.
    #[arg(long, value_name = "FILE")]
    pub(crate) gantt: Option<PathBuf>,
    /// Check the schedule by code that shares nothing with the search.
    #[arg(long)]
    pub(crate) verify: bool,
    /// For WfCommons: so many processors, each a machine of its own, in place of the machines of the file [default, if it names
    /// none: 8].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=PROCESSORS_MAX as i64))]
    pub(crate) processors: Option<u32>,
    /// For WfCommons: megabytes in a second between two machines [default: 1250].
    #[arg(long, value_name = "MB", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) link_mb_per_s: Option<u64>,
}

#[derive(Debug, Args)]
pub(crate) struct PlaceArgs {
    /// The machines: a TOML file, or one machine as `llmos detect --json` prints it.
    #[arg(long, value_name = "FILE")]
    pub(crate) inventory: PathBuf,
    /// The models and their replicas: a TOML file.
    #[arg(long, value_name = "FILE")]
    pub(crate) models: PathBuf,
    /// Say for each replica why it is there, what was second best, and what would change it.
    #[arg(long)]
    pub(crate) explain: bool,
    #[command(flatten)]
    pub(crate) search: SearchArgs,
}

/// How long a search may go on.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct SearchArgs {
    /// Milliseconds of one processor that the search may take [default: 1000, without --evaluations].
    #[arg(long, value_name = "MS")]
    pub(crate) budget_ms: Option<u64>,
    /// Plans that it may look at. The number that another search printed gives the same plan again, on any machine.
    #[arg(long, value_name = "N")]
    pub(crate) evaluations: Option<u64>,
    /// Where its chance begins.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,
}
