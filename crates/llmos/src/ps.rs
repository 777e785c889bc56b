//! `llmos ps` and `llmos kill`.

use gateway::admin_types::{Processes, Replica, Sequence};
use serde_json::json;

use crate::{
    client::Client,
    exit::Failure,
    output::{self, Output},
};

pub(crate) async fn list(client: &Client, output: Output) -> Result<(), Failure> {
    let processes: Processes = client.get("/api/v1/processes").await?;
    if output.json {
        return output::document(&processes);
    }
    let replicas: Vec<_> = processes.replicas.iter().map(replica).collect();
    output
        .table(&["MODEL", "STATE", "PID", "CORES", "MEMORY", "RUNNING", "WAITING", "KV", "WHY"], &replicas)?;
    output.text("\n")?;
    let sequences: Vec<_> = processes.sequences.iter().map(sequence).collect();
    let headers = ["ID", "MODEL", "TENANT", "CLASS", "STATE", "PROMPT", "GENERATED", "AGE", "WHY"];
    output.table(&headers, &sequences)
}

pub(crate) async fn kill(client: &Client, id: u64, output: Output) -> Result<(), Failure> {
    client.delete::<serde::de::IgnoredAny>(&format!("/api/v1/sequences/{id}")).await?;
    if output.json {
        output::document(&json!({ "killed": id }))
    } else {
        output.text(&format!("ended {id}\n"))
    }
}

fn replica(replica: &Replica) -> Vec<String> {
    let cores: Vec<String> = replica.cores.iter().map(ToString::to_string).collect();
    vec![
        replica.model.clone(),
        replica.state.clone(),
        replica.pid.map_or_else(none, |pid| pid.to_string()),
        if cores.is_empty() { none() } else { cores.join(",") },
        replica.memory.map_or_else(none, |bytes| format!("{} MB", bytes.div_ceil(1_000_000))),
        replica.running.to_string(),
        replica.waiting.to_string(),
        format!("{}/{}", replica.kv_used, replica.kv_total),
        one_line(replica.why.as_deref().unwrap_or_default()),
    ]
}

fn sequence(sequence: &Sequence) -> Vec<String> {
    vec![
        sequence.id.to_string(),
        sequence.model.clone(),
        sequence.tenant.to_string(),
        sequence.class.clone(),
        sequence.state.clone(),
        sequence.prompt.to_string(),
        sequence.generated.to_string(),
        format!("{:.1}s", sequence.age_s),
        one_line(&sequence.why.join("; ")),
    ]
}

fn none() -> String {
    "-".to_owned()
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
