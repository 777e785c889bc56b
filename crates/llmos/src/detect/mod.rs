//! `llmos detect`: the machine as llmos sees it. Needs no server.

mod page;

use std::{path::PathBuf, thread::sleep, time::Duration};

use resources::inventory::{Inventory, InventoryError, Prober};

use crate::{
    cli::DetectArgs,
    exit::{Exit, Failure},
    output::{self, Output},
};

/// Where the measured speed of memory is kept, in the data directory.
const BANDWIDTH: &str = "bandwidth.json";

pub(crate) fn run(
    args: &DetectArgs,
    data_dir: impl FnOnce() -> Result<PathBuf, Failure>,
    output: Output,
) -> Result<(), Failure> {
    if let Some(file) = &args.inventory {
        return show(&Inventory::from_file(file).map_err(|error| refused(&error))?, output);
    }
    let data_dir = data_dir()?;
    let prober = Prober::new("/".into(), data_dir.clone(), args.nvml.as_deref());
    let mut inventory = prober.probe().with_bandwidth(&data_dir.join(BANDWIDTH), args.measure);
    let Some(seconds) = args.watch else { return show(&inventory, output) };
    let mut left = args.count;
    loop {
        if output.json {
            output::document(&inventory)?;
        } else {
            output.page(&page::of(&inventory))?;
        }
        left = left.map(|left| left - 1);
        if left == Some(0) {
            return Ok(());
        }
        sleep(Duration::from_secs_f64(seconds));
        prober.refresh(&mut inventory);
    }
}

fn show(inventory: &Inventory, output: Output) -> Result<(), Failure> {
    if output.json { output::document(inventory) } else { output.text(&page::of(inventory)) }
}

pub(crate) fn refused(error: &InventoryError) -> Failure {
    let failure = Failure::new(Exit::Failed, error);
    match error {
        InventoryError::Refused { problems, .. } => problems.iter().fold(failure, Failure::advise),
        _ => failure,
    }
}
