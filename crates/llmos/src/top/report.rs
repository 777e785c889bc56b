//! What `llmos top --json` prints.

use std::collections::BTreeMap;

use gateway::admin_types::Processes;
use serde::Serialize;

use super::{
    figures::Tokens,
    history::{History, Latency},
    sample::Memory,
};

/// Two looks at the server, and what lies between them.
#[derive(Debug, Serialize)]
pub(crate) struct Report<'a> {
    /// Seconds from the one look to the other.
    window_s: f64,
    machine: MachineReport,
    /// Tokens per second, of all models and of each.
    tokens_per_s: TokensReport<'a>,
    time_to_first_token: Latency,
    inter_token_latency: Latency,
    /// Requests that ended since the server began, by how.
    ended: &'a BTreeMap<String, f64>,
    #[serde(flatten)]
    processes: &'a Processes,
}

#[derive(Debug, Serialize)]
struct MachineReport {
    /// Share of the processors' time that was used, 0 to 1.
    busy: Option<f64>,
    memory: Option<Memory>,
}

#[derive(Debug, Serialize)]
struct TokensReport<'a> {
    #[serde(flatten)]
    all: Tokens,
    models: BTreeMap<&'a str, Tokens>,
}

/// `None` before the first look.
pub(crate) fn report(history: &History) -> Option<Report<'_>> {
    let sample = history.newest()?;
    let models = sample.processes.replicas.iter().map(|replica| replica.model.as_str());
    Some(Report {
        window_s: history.window_s(),
        machine: MachineReport { busy: history.busy(), memory: sample.machine.memory },
        tokens_per_s: TokensReport {
            all: history.rate(None),
            models: models.map(|model| (model, history.rate(Some(model)))).collect(),
        },
        time_to_first_token: history.first_token(),
        inter_token_latency: history.inter_token(),
        ended: &sample.figures.outcomes,
        processes: &sample.processes,
    })
}
