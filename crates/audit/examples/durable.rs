//! How many entries of 500 bytes a log takes in a second, and what each costs: `cargo run --release -p audit --example
//! durable [FOLDER]`. The folder says which disk.
#![forbid(unsafe_code)]
#![allow(clippy::print_stdout)]

use std::{
    error::Error,
    os::unix::fs::FileExt,
    path::Path,
    time::{Duration, Instant},
};

use audit::log::{Entry, Kind, Log, LogError, Options};
use rustix::{
    fs::FallocateFlags,
    time::{ClockId, clock_gettime},
};
use tokio::{runtime, task::JoinSet};

/// How long each load lasts.
const LOAD: Duration = Duration::from_secs(3);
/// Pages that are written for the measure of the disk.
const PAGES: u32 = 300;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let runtime = runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    // Producers that wait for each of their entries; those that have several on the way count as so many.
    for producers in [1, 8, 64, 256, 1_024] {
        let scratch = tempfile::tempdir_in(&folder)?;
        let bare = bare_sync(scratch.path())?;
        let signer = tlog::Signer::from_seed("example.com/audit", zeroize::Zeroizing::new([7; 32]))?;
        let (log, _) = Log::open(Options::new(scratch.path().join("audit"), signer))?;
        let (cpu, started) = (cpu_time(), Instant::now());
        let mut waits = runtime.block_on(load(&log, producers))?;
        let (took, cpu) = (started.elapsed(), cpu_time().saturating_sub(cpu));
        let groups = log.status().groups;
        runtime.block_on(log.close());
        waits.sort_unstable();
        let (count, part) = (waits.len(), |part: usize| waits[waits.len() * part / 100].as_micros());
        println!(
            "{producers:5} producers: {:6.0} entries/s, {:5.1} in a group, a group in {:5} us (the disk alone: {} us), waits \
             p50 {} us, p99 {} us, CPU {:.1} us an entry",
            count as f64 / took.as_secs_f64(),
            count as f64 / groups as f64,
            took.as_micros() / u128::from(groups),
            bare.as_micros(),
            part(50),
            part(99),
            cpu.as_secs_f64() * 1e6 / count as f64,
        );
    }
    Ok(())
}

/// How long each entry waited.
async fn load(log: &Log, producers: u128) -> Result<Vec<Duration>, LogError> {
    let until = Instant::now() + LOAD;
    let mut tasks = JoinSet::new();
    for producer in 0..producers {
        let log = log.clone();
        tasks.spawn(async move {
            let mut waits = Vec::new();
            while Instant::now() < until {
                let id = (waits.len() as u128 * producers + producer).wrapping_mul(0x9E37_79B9_7F4A_7C15);
                let handed_in = Instant::now();
                log.append(Entry { kind: Kind::Alone, id: Some(id), bytes: vec![b'x'; 500] }).await?;
                waits.push(handed_in.elapsed());
            }
            Ok(waits)
        });
    }
    let waits: Result<Vec<_>, LogError> = tasks.join_all().await.into_iter().collect();
    Ok(waits?.concat())
}

/// What this disk needs at least: a page is written and synced.
fn bare_sync(folder: &Path) -> std::io::Result<Duration> {
    let file = tempfile::tempfile_in(folder)?;
    rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, u64::from(PAGES) * 4_096)?;
    file.sync_all()?;
    let started = Instant::now();
    for page in 0..PAGES {
        file.write_all_at(&[1; 600], u64::from(page) * 4_096)?;
        file.sync_data()?;
    }
    Ok(started.elapsed() / PAGES)
}

/// Of the whole process: the log, and those who wait for it.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
