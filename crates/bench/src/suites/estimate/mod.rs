//! Suite `estimate`: what `llmos estimate` says against what a worker then has, and what it does with files that
//! mean harm.

mod hostile;
mod workers;

use anyhow::{Context, Result};

use super::Options;
use crate::{
    figures::{Findings, Outcome},
    servers::version,
};

pub(crate) async fn run(options: &Options) -> Result<Findings> {
    let mut findings = Findings::default();
    findings.text("llmos", version(&options.llmos).await.context("llmos")?);
    hostile::run(&options.llmos, &mut findings).context("hostile files")?;
    if options.models.is_empty() {
        findings.text("models", "not found; fetch them by `make run`, or give paths of GGUF files");
        for figure in [workers::BEFORE, workers::AFTER] {
            findings.outcomes.insert(figure, Outcome::Skipped);
        }
        return Ok(findings);
    }
    workers::run(options, &mut findings).await?;
    Ok(findings)
}
