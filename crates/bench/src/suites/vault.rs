//! Suite `vault`: how fast values are sealed and opened, and how long the keys of many people take.
//!
//! In this process, on one thread: what is measured is the crate that the server links. The database is where temporary
//! files are; what a synced write costs there is a detail of the page.

use std::{
    fs::File,
    io::{self, Write},
    time::Instant,
};

use anyhow::{Context, Result, ensure};
use store::VaultKeys;
use types::{DataSubject, Secret, TenantId};
use vault::{FRAME_BYTES, Keyring, Opener, Place, Purpose, Root, Sealer, SubjectKey, TenantKey};

use crate::{
    figures::{Findings, Outcome},
    progress,
    statistics::Summary,
};

/// Bytes that are sealed and opened in a round, streamed in pieces of a frame.
const STREAM_BYTES: usize = 256 << 20;
const STREAM_ROUNDS: usize = 5;
/// People of one tenant.
const SUBJECTS: u32 = 100_000;
const REWRAP_ROUNDS: usize = 3;
/// People that are shredded, one after the other.
const SHREDS: u32 = 50;
const TENANT: TenantId = TenantId(1);
const PLACE: Place<'_> = Place { purpose: Purpose::File, record: b"benchmark" };

pub(super) async fn run() -> Result<Findings> {
    let mut findings = Findings::default();
    let key = TenantKey::random(TENANT)?.new_subject()?;
    let (mut sealing, mut opening) = (Vec::new(), Vec::new());
    for round in 1..=STREAM_ROUNDS {
        progress(&format!("vault: sealing and opening, {round} of {STREAM_ROUNDS}"));
        let (sealed, seal_s) = seal(&key)?;
        let open_s = open(&key, &sealed)?;
        sealing.push(STREAM_BYTES as f64 / 1e9 / seal_s);
        opening.push(STREAM_BYTES as f64 / 1e9 / open_s);
    }
    measured(&mut findings, "seal_gb_per_s", &sealing)?;
    measured(&mut findings, "open_gb_per_s", &opening)?;

    let folder = tempfile::tempdir().context("a folder for the keys")?;
    let keys = VaultKeys::open(&folder.path().join("keys.db")).await?;
    let root = Root::of_text(&Secret::from("0123456789abcdef".repeat(4)))?;
    progress(&format!("vault: making the keys of {SUBJECTS} people"));
    let ring = Keyring::open(keys, root, None).await?;
    let names = (0..SUBJECTS).map(|number| DataSubject::try_from(format!("patient {number}")));
    let names = names.collect::<Result<Vec<_>, _>>()?;
    ring.add_subjects(TENANT, &names).await?;
    let mut rewraps = Vec::new();
    for round in 1..=REWRAP_ROUNDS {
        progress(&format!("vault: rotating the key of their tenant, {round} of {REWRAP_ROUNDS}"));
        let begun = Instant::now();
        let rewrapped = ring.rotate_tenant(TENANT, &mut |_| ()).await?;
        rewraps.push(begun.elapsed().as_secs_f64());
        ensure!(rewrapped == u64::from(SUBJECTS), "{rewrapped} keys were wrapped anew");
    }
    measured(&mut findings, "rewrap_100k_s", &rewraps)?;
    let mut shreds = Vec::new();
    for name in names.iter().take(SHREDS as usize) {
        let begun = Instant::now();
        let shredded = ring.shred(TENANT, name, 0).await?;
        shreds.push(begun.elapsed().as_secs_f64() * 1e3);
        ensure!(!shredded.is_empty(), "a key was not there to be destroyed");
    }
    measured(&mut findings, "shred_ms", &shreds)?;
    let mut file = File::create(folder.path().join("sync")).context("a file to sync")?;
    let mut syncs = Vec::new();
    for _ in 0..SHREDS {
        let begun = Instant::now();
        file.write_all(&[0; 4096]).and_then(|()| file.sync_all()).context("sync")?;
        syncs.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    let sync = Summary::of(&syncs).context("nothing was measured")?;
    findings.number("a synced write of 4 KiB", sync.median, "ms");
    Ok(findings)
}

fn measured(findings: &mut Findings, figure: &'static str, values: &[f64]) -> Result<()> {
    let summary = Summary::of(values).context("nothing was measured")?;
    findings.outcomes.insert(figure, Outcome::Measured(summary));
    Ok(())
}

/// The sealed bytes, and the seconds that it took.
fn seal(key: &SubjectKey) -> Result<(Vec<u8>, f64)> {
    let piece = vec![7; FRAME_BYTES];
    // Not zero, so that it is touched: memory costs more the first time than sealing does.
    let mut sealed = vec![1; vault::sealed_length(STREAM_BYTES as u64) as usize];
    let begun = Instant::now();
    let mut writer = Sealer::begin(key, &PLACE, io::Cursor::new(&mut sealed))?;
    for _ in 0..STREAM_BYTES / FRAME_BYTES {
        writer.write(&piece)?;
    }
    writer.finish()?;
    let took = begun.elapsed().as_secs_f64();
    Ok((sealed, took))
}

fn open(key: &SubjectKey, sealed: &[u8]) -> Result<f64> {
    let begun = Instant::now();
    let mut opener = Opener::begin(key, &PLACE, sealed)?;
    let mut bytes = 0;
    while let Some(frame) = opener.next_frame()? {
        bytes += frame.len();
    }
    let took = begun.elapsed().as_secs_f64();
    ensure!(bytes == STREAM_BYTES, "{bytes} bytes were opened");
    Ok(took)
}
