//! Suite `audit`: how fast records get onto the disk, what that costs a request, and how fast a stranger checks them.
//!
//! In this process: what is measured is the crate that the server links. The log is where temporary files are; what a synced write
//! costs there is a detail of the page.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use audit::{
    Audit, Decision, Erases, Facts, LogFiles, Outcome as Ended, Used,
    log::{Entry, Kind, Log, Options},
};
use futures::future::try_join_all;
use tlog::{
    Signer,
    check::{Trust, check},
    memory::MemoryLog,
    note::Note,
    proof::LogProof,
};
use types::{Declared, Principal, RequestId, Role, TenantId, UserId};
use zeroize::Zeroizing;

use crate::{
    figures::{Findings, Outcome},
    progress,
    statistics::Summary,
};

/// Callers at once, each of whom waits until its record is on the disk.
const PRODUCERS: u64 = 8;
const ROUNDS: usize = 5;
/// How long they go on in a round.
const ROUND: Duration = Duration::from_secs(2);
/// Bytes of a record: about as many as that of a request has.
const RECORD_BYTES: usize = 500;
/// Requests that are begun and ended in turn by each of the callers.
const REQUESTS: usize = 400;
/// Records of the log that is checked, and how often it is.
const CHECKED: u64 = 300_000;
const CHECKS: usize = 5;
/// Records that wait at once while it is written.
const AT_ONCE: u64 = 512;
/// Records of the log that something is proved to be in.
const PROVED: u64 = 1_000_000;
const SYNCS: u64 = 200;
const PAGE: usize = 4_096;
const ORIGIN: &str = "example.com/log";

pub(super) async fn run() -> Result<Findings> {
    let mut findings = Findings::default();
    let folder = tempfile::tempdir().context("a folder for the log")?;
    let (mut rates, mut groups) = (Vec::new(), Vec::new());
    for round in 1..=ROUNDS {
        progress(&format!("audit: {PRODUCERS} producers, {round} of {ROUNDS}"));
        let (rate, group) = produce(&folder.path().join(format!("round-{round}"))).await?;
        rates.push(rate);
        groups.push(group);
    }
    measured(&mut findings, "records_per_s", &rates)?;
    let group = Summary::of(&groups).context("nothing was measured")?;
    findings.number("records of a group that is synced at once", group.median, "");
    progress("audit: what a record adds to a request");
    let (begins, ends) = waits(folder.path()).await?;
    for (what, mut waits) in [("begin", begins), ("end", ends)] {
        waits.sort_unstable();
        for (name, part) in [("p50", 50), ("p99", 99)] {
            let waited = waits[waits.len() * part / 100].as_secs_f64() * 1e3;
            findings.number(format!("`{what}` of a request, {PRODUCERS} at once, {name}"), waited, "ms");
        }
    }
    findings.number("a synced write of 4 KiB", synced(folder.path())?, "ms");
    measured(&mut findings, "verify_records_per_s", &verify(&folder.path().join("checked")).await?)?;
    progress(&format!("audit: a log of {PROVED} records"));
    prove(&mut findings)?;
    Ok(findings)
}

fn measured(findings: &mut Findings, figure: &'static str, values: &[f64]) -> Result<()> {
    let summary = Summary::of(values).context("nothing was measured")?;
    findings.outcomes.insert(figure, Outcome::Measured(summary));
    Ok(())
}

fn signer() -> Result<Signer> {
    Ok(Signer::from_seed(ORIGIN, Zeroizing::new([7; 32]))?)
}

/// Records in a second, and how many of them are in a group.
async fn produce(folder: &Path) -> Result<(f64, f64)> {
    let (log, _) = Log::open(Options::new(folder.to_owned(), signer()?))?;
    let begun = Instant::now();
    let producers = (0..PRODUCERS).map(|producer| {
        let log = log.clone();
        async move {
            let mut count = 0;
            while begun.elapsed() < ROUND {
                let id = Some(u128::from(producer) << 64 | u128::from(count));
                log.append(Entry { kind: Kind::Alone, id, bytes: vec![b'x'; RECORD_BYTES] }).await?;
                count += 1;
            }
            anyhow::Ok(count)
        }
    });
    let counts: Vec<u64> = try_join_all(producers).await?;
    let (count, took) = (counts.iter().sum::<u64>() as f64, begun.elapsed().as_secs_f64());
    let groups = log.status().groups as f64;
    log.close().await;
    Ok((count / took, count / groups))
}

/// How long requests wait for their beginning, and for their end, to be on the disk.
async fn waits(folder: &Path) -> Result<(Vec<Duration>, Vec<Duration>)> {
    let (log, key) = (folder.join("waits"), super::secret_file(&folder.join("waits.key"))?);
    let (audit, _) = Audit::open(&log, &key, Arc::new(Erases)).await?;
    let principal = Principal { role: Role::Member, ..Principal::least(TenantId(1), UserId(1)) };
    let policies = ["role.member".to_owned()];
    let callers = (0..PRODUCERS).map(|caller| {
        let (audit, principal, policies) = (&audit, &principal, &policies);
        async move {
            let (mut begins, mut ends) = (Vec::new(), Vec::new());
            let declared = Declared::default();
            let used = Used { input_tokens: 20, output_tokens: 30, spend: 0 };
            for request in 0..REQUESTS {
                let at = Instant::now();
                let decision = Decision {
                    request: RequestId(u128::from(caller) << 64 | request as u128),
                    principal,
                    action: "generate",
                    on: "model:m".to_owned(),
                    tenant: None,
                    declared: Some(&declared),
                    allowed: true,
                    policies,
                    policies_version: Some("0123456789abcdef".to_owned()),
                    reserved: Some(used),
                    facts: Facts::none(),
                    caller: None,
                    personal: Vec::new(),
                };
                let begun = audit.begin(decision).await?;
                begins.push(at.elapsed());
                let at = Instant::now();
                begun.end(Ended { how: "stop", used: Some(used), ..Ended::default() }).await?;
                ends.push(at.elapsed());
            }
            anyhow::Ok((begins, ends))
        }
    });
    let (mut begins, mut ends) = (Vec::new(), Vec::new());
    for (of_one, ends_of_one) in try_join_all(callers).await? {
        begins.extend(of_one);
        ends.extend(ends_of_one);
    }
    audit.close().await;
    Ok((begins, ends))
}

/// What the disk itself takes, in milliseconds.
fn synced(folder: &Path) -> Result<f64> {
    let file = File::create(folder.join("sync")).context("a file to sync")?;
    file.write_all_at(&vec![0; PAGE * SYNCS as usize], 0).and_then(|()| file.sync_all()).context("write")?;
    let mut syncs = Vec::new();
    for page in 0..SYNCS {
        let begun = Instant::now();
        file.write_all_at(&[1; PAGE], page * PAGE as u64).and_then(|()| file.sync_data()).context("sync")?;
        syncs.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(Summary::of(&syncs).context("nothing was measured")?.median)
}

/// Records that are checked in a second, as `llmos-verify log` does it, on one thread.
async fn verify(folder: &Path) -> Result<Vec<f64>> {
    progress(&format!("audit: writing {CHECKED} records"));
    let signer = signer()?;
    let key = signer.public().clone();
    let (log, _) = Log::open(Options::new(folder.to_owned(), signer))?;
    for first in (0..CHECKED).step_by(AT_ONCE as usize) {
        let entry = |number: u64| {
            let bytes = format!("{number:0RECORD_BYTES$}").into_bytes();
            log.append(Entry { kind: Kind::Alone, id: None, bytes })
        };
        try_join_all((first..CHECKED.min(first + AT_ONCE)).map(entry)).await?;
    }
    log.close().await;
    let files = LogFiles::new(folder.to_owned());
    let mut rates = Vec::new();
    for round in 1..=CHECKS {
        progress(&format!("audit: checking them, {round} of {CHECKS}"));
        let begun = Instant::now();
        let report = check(&files, &Trust { key: &key, kept: &[], witnesses: &[] })?;
        ensure!(report.is_valid() && report.entries == CHECKED, "the log is not valid: {report:?}");
        rates.push(CHECKED as f64 / begun.elapsed().as_secs_f64());
    }
    Ok(rates)
}

/// How long a proof is, as it is written in a receipt: the index and the hashes, each on a line of its own.
fn prove(findings: &mut Findings) -> Result<()> {
    let signer = signer()?;
    let mut log = MemoryLog::new();
    for number in 0..PROVED {
        log.push(&number.to_be_bytes())?;
    }
    let note = Note::parse(log.checkpoint(&signer)?.as_bytes())?;
    let (mut lengths, mut whole) = (Vec::new(), Vec::new());
    for index in (0..PROVED).step_by(PROVED as usize / 100) {
        let proof = LogProof::new(index, &log, note.clone())?;
        proof.verify(&index.to_be_bytes(), signer.public())?;
        let hashes: usize = proof.proof.iter().map(|hash| hash.to_string().len() + 1).sum();
        lengths.push((format!("index {index}\n").len() + hashes) as f64);
        whole.push(proof.to_string().len() as f64);
    }
    measured(findings, "proof_bytes", &lengths)?;
    let whole = Summary::of(&whole).context("nothing was measured")?;
    findings.number("the same with the signed checkpoint that it leads to", whole.median, "bytes");
    Ok(())
}
