//! Opens the audit log of a server; below it, `llmos audit`.

mod commands;
mod line;
mod verify;

use std::sync::Arc;

use audit::Audit;
use path::Kept;

use crate::{
    data_dir::DataDir,
    exit::{Failure, Trying},
};

pub(crate) use commands::run;
pub(crate) use verify::verify;

/// The log of the data directory. Names in it are sealed with the keys of what is stored.
pub(crate) async fn open(data_dir: &DataDir, kept: Arc<Kept>) -> Result<Arc<Audit>, Failure> {
    let opened = Audit::open(&data_dir.audit(), &data_dir.audit_key(), kept).await;
    let (audit, recovered) = opened.trying("open the audit log")?;
    let audit::Recovered { interrupted, cut_bytes } = recovered;
    if interrupted > 0 {
        tracing::warn!(interrupted, "the last server died over requests; the audit log says so now");
    }
    if cut_bytes > 0 {
        tracing::warn!(
            cut_bytes,
            "cut from the audit log what a crash had torn, and of which nobody had been told"
        );
    }
    Ok(audit)
}
