//! How fast memory is. A model that generates reads all of its weights for each token, so this figure bounds its
//! speed on CPUs.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};

use super::Inventory;

/// How long is measured, when the buffers are there.
const MEASURE: Duration = Duration::from_millis(300);
/// Rounds that are measured at least, and at most.
const ROUNDS_MIN: u32 = 3;
const ROUNDS_MAX: u32 = 1_000;
/// How many times larger than the last-level cache both buffers are together, so that little of them stays in it.
const TIMES_CACHE: u64 = 4;
/// Sizes of both buffers together, in bytes.
const BUFFERS_BYTES_MIN: u64 = 128 << 20;
const BUFFERS_BYTES_MAX: u64 = 2 << 30;
/// Part of the free memory that both buffers may take.
const SHARE_OF_FREE: u64 = 4;
/// Longest file with a kept figure.
const FILE_BYTES_MAX: u64 = 4 << 10;
/// The owner may read and write, all others nothing.
const FILE_MODE: u32 = 0o600;

/// A measured speed of memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bandwidth {
    /// Bytes read and bytes written per second together, by all threads; the best of a few rounds. The copy of the
    /// STREAM benchmark counts so too.
    pub bytes_per_s: u64,
    /// Threads that copied, each on a CPU of its own.
    pub threads: u32,
}

/// A figure and the machine that it was measured on.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    machine: String,
    bandwidth: Bandwidth,
}

impl Inventory {
    /// Fills in the speed of memory: the one kept in `file` if it is of this machine, else one that is measured
    /// now, in about half a second, and kept. `again` measures in any case. What goes wrong becomes a note.
    #[must_use]
    pub fn with_bandwidth(mut self, file: &Path, again: bool) -> Self {
        let machine = self.key();
        if !again && let Some(kept) = read(file).filter(|kept| kept.machine == machine) {
            self.memory.bandwidth = Some(kept.bandwidth);
            return self;
        }
        match self.measure() {
            Ok(bandwidth) => {
                self.memory.bandwidth = Some(bandwidth.clone());
                if let Err(error) = write(file, &Kept { machine, bandwidth }) {
                    self.notes.push(format!(
                        "memory.bandwidth: cannot be kept in {}, so it is measured each time: {error}",
                        file.display()
                    ));
                }
            }
            Err(why) => self.notes.push(format!("memory.bandwidth: not measured: {why}")),
        }
        self
    }

    /// What the figure depends on, and nothing that a new start of the machine changes.
    fn key(&self) -> String {
        let cpus = &self.cpus;
        let model = cpus.model.as_deref().unwrap_or("unknown");
        format!(
            "{} {model}, CPUs {}, threads {}",
            self.machine.architecture, cpus.granted.cpus, cpus.granted.threads
        )
    }

    fn measure(&self) -> Result<Bandwidth, String> {
        let cores = self.cpus.compute_cores();
        let wanted = (self.cpus.last_level_cache() * caches(self) * TIMES_CACHE)
            .clamp(BUFFERS_BYTES_MIN, BUFFERS_BYTES_MAX);
        let allowed = self.memory.free_to_us() / SHARE_OF_FREE;
        if wanted > allowed {
            return Err(format!("it needs {wanted} bytes, and {allowed} are a fourth of what is free"));
        }
        let bytes_per_s = copy(&cores, (wanted / 2) as usize).map_err(|error| error.to_string())?;
        Ok(Bandwidth { bytes_per_s, threads: cores.len() as u32 })
    }
}

/// Last-level caches that the granted CPUs use.
fn caches(inventory: &Inventory) -> u64 {
    let largest = inventory.cpus.caches.iter().max_by_key(|cache| cache.bytes);
    let used = |cache: &super::Cache| {
        cache.shared_by.iter().filter(|cpus| !cpus.and(&inventory.cpus.granted.cpus).is_empty()).count()
    };
    largest.map_or(1, used).max(1) as u64
}

/// Copies `bytes` with one thread on each core, for a while. The best round, in bytes read and written per second.
fn copy(cores: &[usize], bytes: usize) -> io::Result<u64> {
    let share = bytes / cores.len().max(1);
    let mut parts: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    // Each thread fills its own buffers, so that the kernel puts them next to its core.
    thread::scope(|scope| {
        let filled: Vec<_> = cores
            .iter()
            .map(|&core| {
                thread::Builder::new().spawn_scoped(scope, move || {
                    stay_on(core);
                    (vec![1_u8; share], vec![2_u8; share])
                })
            })
            .collect::<io::Result<_>>()?;
        for thread in filled {
            parts.push(thread.join().map_err(|_| io::Error::other("a thread died"))?);
        }
        Ok::<_, io::Error>(())
    })?;
    let moved = (share * cores.len() * 2) as f64;
    let (started, mut best) = (Instant::now(), 0.0_f64);
    for round in 0..ROUNDS_MAX {
        if round >= ROUNDS_MIN && started.elapsed() >= MEASURE {
            break;
        }
        let begun = Instant::now();
        thread::scope(|scope| {
            for (&core, (from, to)) in cores.iter().zip(&mut parts) {
                thread::Builder::new().spawn_scoped(scope, move || {
                    stay_on(core);
                    to.copy_from_slice(from);
                    // What nobody looks at need not be copied.
                    std::hint::black_box(to);
                })?;
            }
            Ok::<_, io::Error>(())
        })?;
        best = best.max(moved / begun.elapsed().as_secs_f64());
    }
    Ok(best as u64)
}

/// Keeps the calling thread on a core, where the system can.
fn stay_on(core: usize) {
    #[cfg(target_os = "linux")]
    if core < rustix::thread::CpuSet::MAX_CPU {
        let mut set = rustix::thread::CpuSet::new();
        set.set(core);
        // A thread that moves measures a little less; that is no reason not to measure.
        let _ = rustix::thread::sched_setaffinity(None, &set);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = core;
}

/// A file that is not there, or not ours, is as good as none: the figure is measured again.
fn read(file: &Path) -> Option<Kept> {
    let mut text = String::new();
    File::open(file).ok()?.take(FILE_BYTES_MAX).read_to_string(&mut text).ok()?;
    let kept: Kept = serde_json::from_str(&text).ok()?;
    (kept.bandwidth.bytes_per_s > 0 && kept.bandwidth.threads > 0).then_some(kept)
}

/// The file appears complete or not at all.
fn write(file: &Path, kept: &Kept) -> io::Result<()> {
    let new = file.with_extension("new");
    // What a killed process left is in the way; anything else there, a link for one, is not followed.
    let _ = fs::remove_file(&new);
    let mut to = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(&new)?;
    to.write_all(&serde_json::to_vec(kept)?)?;
    fs::rename(new, file)
}

#[cfg(test)]
mod tests {
    use super::{super::tests::machine, *};

    #[test]
    fn a_kept_figure_is_used_only_on_its_machine() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bandwidth.json");
        // So little memory that nothing is measured: what is filled in was kept.
        let inventory = |model: &str| {
            let mut inventory = machine();
            inventory.cpus.model = Some(model.to_owned());
            inventory.memory.available = 1;
            inventory
        };
        let bandwidth = Bandwidth { bytes_per_s: 5, threads: 2 };
        write(&file, &Kept { machine: inventory("a").key(), bandwidth: bandwidth.clone() }).unwrap();
        let filled = |model, again| inventory(model).with_bandwidth(&file, again).memory.bandwidth;
        assert_eq!(filled("a", false), Some(bandwidth));
        assert_eq!(filled("b", false), None);
        assert_eq!(filled("a", true), None);
        fs::write(&file, "{}").unwrap();
        assert_eq!(filled("a", false), None);
    }

    #[test]
    fn copying_measures_something() {
        assert!(copy(&[0], 1 << 20).unwrap() > 0);
    }
}
