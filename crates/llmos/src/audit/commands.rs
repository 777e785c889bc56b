//! `llmos audit`, as far as it asks a server.

use std::{
    io::ErrorKind,
    path::{Path, absolute},
    time::Duration,
};

use gateway::admin_audit_types::{
    AuditCheckpointBody, AuditExport, AuditExportRequest, AuditRecord, AuditRecords, AuditSearch, ReceiptBody,
};
use serde_json::json;

use super::line::line;
use crate::{
    cli::{AuditCommand, AuditSearchArgs},
    client::Client,
    exit::{Exit, Failure, Trying},
    output::{self, Output},
    policies::part,
};

/// Most records that the server gives at once.
const PAGE_RECORDS: usize = 1_000;
/// How often whoever follows the log asks for more.
const FOLLOW_EVERY: Duration = Duration::from_secs(1);

pub(crate) async fn run(client: &Client, command: AuditCommand, output: Output) -> Result<(), Failure> {
    match command {
        AuditCommand::Tail { lines, follow } => tail(client, lines, follow, output).await,
        AuditCommand::Search(args) => search(client, *args, output).await,
        AuditCommand::Prove { request, out } => prove(client, &request, out.as_deref(), output).await,
        AuditCommand::Checkpoint { out } => checkpoint(client, out.as_deref(), output).await,
        AuditCommand::Key => key(client, output).await,
        AuditCommand::Export { folder } => export(client, &folder, output).await,
        AuditCommand::Verify { .. } => {
            Err(Failure::new(Exit::Usage, "the log is verified where it lies, without a server"))
        }
    }
}

async fn tail(client: &Client, lines: u64, follow: bool, output: Output) -> Result<(), Failure> {
    let found = newest(client, AuditSearch::default(), lines).await?;
    // With --json one document is all of it, unless there is no end to it.
    if !follow && output.json {
        return output::document(&found);
    }
    each(&found.records, output)?;
    if !follow {
        return Ok(());
    }
    let mut from = found.size;
    loop {
        tokio::time::sleep(FOLLOW_EVERY).await;
        let search = AuditSearch { from: Some(from), limit: Some(PAGE_RECORDS), ..AuditSearch::default() };
        let page: AuditRecords = client.post("/api/v1/audit/records", &search).await?;
        each(&page.records, output)?;
        from = page.next.unwrap_or(page.size);
    }
}

async fn search(client: &Client, args: AuditSearchArgs, output: Output) -> Result<(), Failure> {
    let limit = args.limit;
    let search = AuditSearch {
        request: args.request,
        action: args.action,
        user: args.user,
        key: args.key,
        decision: args.decision,
        outcome: args.outcome,
        since: args.since,
        until: args.until,
        tenant: args.subject.as_ref().map(|_| args.tenant),
        subject: args.subject,
        break_glass: args.break_glass,
        ..AuditSearch::default()
    };
    let found = newest(client, search, limit).await?;
    if output.json {
        return output::document(&found);
    }
    each(&found.records, output)?;
    if found.next.is_some() {
        output::note(format_args!("there may be older ones; at most {limit} were wanted"));
    }
    Ok(())
}

/// The newest records that fit, the oldest of them first, as they are read.
async fn newest(client: &Client, search: AuditSearch, limit: u64) -> Result<AuditRecords, Failure> {
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let mut found = AuditRecords { records: Vec::new(), next: None, size: 0 };
    let mut before = None;
    loop {
        let most = (limit - found.records.len()).min(PAGE_RECORDS);
        let search = AuditSearch { before, limit: Some(most), ..search.clone() };
        let page: AuditRecords = client.post("/api/v1/audit/records", &search).await?;
        // What is written meanwhile is behind what was asked for.
        if before.is_none() {
            found.size = page.size;
        }
        found.records.extend(page.records);
        found.next = page.next;
        if page.next.is_none() || found.records.len() >= limit {
            found.records.reverse();
            return Ok(found);
        }
        before = page.next;
    }
}

fn each(records: &[AuditRecord], output: Output) -> Result<(), Failure> {
    records.iter().try_for_each(|record| {
        if output.json { output::document(record) } else { output.text(&line(record)) }
    })
}

async fn prove(client: &Client, request: &str, out: Option<&Path>, output: Output) -> Result<(), Failure> {
    let receipt: ReceiptBody = client.get(&format!("/v1/receipts/{}", part(request))).await?;
    let Some(file) = out else { return output::document(&receipt) };
    let text = serde_json::to_string(&receipt).trying("write the receipt as JSON")?;
    write(file, &(text + "\n"))?;
    let written = json!({ "file": file, "request": receipt.request, "records": receipt.entries.len() });
    let shown = file.display();
    told(output, &written, format_args!("wrote {shown}; `llmos-verify receipt {shown} --key KEY` checks it"))
}

async fn checkpoint(client: &Client, out: Option<&Path>, output: Output) -> Result<(), Failure> {
    let made: AuditCheckpointBody = client.get("/api/v1/audit/checkpoint").await?;
    if let Some(warning) = &made.warning {
        output::note(warning);
    }
    if let Some((collector, error)) = made.collector.as_ref().and_then(|of| Some((of, of.error.as_ref()?))) {
        let (place, behind) = (&collector.place, collector.behind);
        output::note(format_args!(
            "the collector {place} does not have {behind} of the records yet: {error}"
        ));
    }
    if let Some(file) = out {
        write(file, &made.checkpoint)?;
        let text = format!("wrote {}: the checkpoint of {} records", file.display(), made.size);
        return told(output, &made, text);
    }
    if output.json { output::document(&made) } else { output.text(&made.checkpoint) }
}

async fn key(client: &Client, output: Output) -> Result<(), Failure> {
    let AuditCheckpointBody { key, witness_key, .. } = client.get("/api/v1/audit/checkpoint").await?;
    if output.json {
        return output::document(&json!({ "key": key, "witness_key": witness_key }));
    }
    // On stderr: whoever keeps the key of the log in a file wants nothing else in it.
    if let Some(witness_key) = witness_key {
        output::note(format_args!("the key of this server as a witness of other logs: {witness_key}"));
    }
    output.text(&format!("{key}\n"))
}

async fn export(client: &Client, folder: &Path, output: Output) -> Result<(), Failure> {
    // The server may run in another folder.
    let folder = absolute(folder).trying("find out which folder this is")?;
    let folder = folder
        .into_os_string()
        .into_string()
        .map_err(|folder| Failure::new(Exit::Usage, format!("the path {} is not UTF-8", folder.display())))?;
    let request = AuditExportRequest { folder: folder.clone() };
    let done: AuditExport = client.post("/api/v1/audit/exports", &request).await?;
    told(output, &done, format_args!("wrote {folder}: {} records, {} bytes", done.entries, done.bytes))
}

fn told(output: Output, done: &impl serde::Serialize, text: impl std::fmt::Display) -> Result<(), Failure> {
    if output.json { output::document(done) } else { output.text(&format!("{text}\n")) }
}

/// Writes a new file. What was kept before is evidence, and is not written over.
fn write(file: &Path, text: &str) -> Result<(), Failure> {
    durable::put_new(file, text.as_bytes()).map_err(|error| {
        let what = format!("cannot write {}: {error}", file.display());
        let failure = Failure::new(Exit::Failed, what);
        match error.kind() {
            ErrorKind::AlreadyExists => {
                failure.advise("name a new file: what was kept before is not written over")
            }
            _ => failure,
        }
    })
}
