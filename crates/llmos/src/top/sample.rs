//! One look at the server and at this machine.

use std::fs;

use gateway::admin_types::Processes;
use serde::Serialize;

use super::figures::Figures;
use crate::{client::Client, exit::Failure};

/// What there was at one moment.
#[derive(Debug, Clone)]
pub(crate) struct Sample {
    /// Seconds since `top` began.
    pub(crate) at_s: f64,
    /// Models and sequences.
    pub(crate) processes: Processes,
    /// What the server has counted.
    pub(crate) figures: Figures,
    /// The machine that it runs on, if that is this one.
    pub(crate) machine: Machine,
}

/// Figures of this machine; none where it does not tell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub(crate) struct Machine {
    /// Time of all processors since the machine began, in ticks.
    #[serde(skip)]
    pub(crate) ticks: Option<Ticks>,
    /// Its memory.
    pub(crate) memory: Option<Memory>,
}

/// Processor time; only differences mean something.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Ticks {
    pub(crate) busy: u64,
    pub(crate) all: u64,
}

/// Memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Memory {
    /// What new programs could not have.
    pub(crate) used: u64,
    pub(crate) total: u64,
}

/// Asks the server. Sequences come before counters: what ends between the two is then
/// counted late rather than twice.
pub(crate) async fn take(client: &Client, at_s: impl Fn() -> f64) -> Result<Sample, Failure> {
    let processes = client.get("/api/v1/processes").await?;
    let at_s = at_s();
    let figures = Figures::parse(&client.text("/metrics").await?);
    // What is here says nothing of a machine elsewhere.
    let machine = if client.is_here() { Machine::here() } else { Machine::default() };
    Ok(Sample { at_s, processes, figures, machine })
}

impl Machine {
    /// Reads what Linux has in `/proc`.
    fn here() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        Self { ticks: Ticks::parse(&read("/proc/stat")), memory: Memory::parse(&read("/proc/meminfo")) }
    }
}

impl Ticks {
    /// From the first line of `/proc/stat` (see `man proc_stat`): user, nice, system, idle, iowait, irq, softirq, steal.
    /// Guest time is part of user time already.
    fn parse(stat: &str) -> Option<Self> {
        const SUMMED: usize = 8;
        let line = stat.lines().next()?.strip_prefix("cpu ")?;
        let times: Option<Vec<u64>> =
            line.split_whitespace().take(SUMMED).map(|time| time.parse().ok()).collect();
        let times = times.filter(|times| times.len() == SUMMED)?;
        let all = times.iter().fold(0, |sum: u64, &time| sum.saturating_add(time));
        let idle = times[3].saturating_add(times[4]);
        Some(Self { busy: all.saturating_sub(idle), all })
    }

    /// The share of processor time since `earlier` that was used, 0 to 1.
    pub(crate) fn busy_since(self, earlier: Self) -> Option<f64> {
        let all = self.all.checked_sub(earlier.all).filter(|&all| all > 0)?;
        Some((self.busy.saturating_sub(earlier.busy) as f64 / all as f64).min(1.0))
    }
}

impl Memory {
    /// From `/proc/meminfo` (see `man proc_meminfo`), whose values are in KiB.
    fn parse(meminfo: &str) -> Option<Self> {
        let value = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
            line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
        };
        let total = value("MemTotal").filter(|&total| total > 0)?;
        Some(Self { used: total.saturating_sub(value("MemAvailable")?), total })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_from_proc() {
        let stat = "cpu  10 20 30 400 5 6 7 8 9 9\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        let earlier = Ticks::parse(stat).unwrap();
        assert_eq!(earlier, Ticks { busy: 81, all: 486 });
        let later = Ticks { busy: 91, all: 526 };
        assert_eq!(later.busy_since(earlier), Some(0.25));
        assert_eq!(earlier.busy_since(earlier), None);
        assert_eq!(earlier.busy_since(later), None);
        for broken in ["", "cpu", "cpu  1 2 3", "cpu  1 2 3 x 5 6 7 8", "intr 1"] {
            assert_eq!(Ticks::parse(broken), None, "{broken}");
        }

        let meminfo = "MemTotal:       1000 kB\nMemFree: 100 kB\nMemAvailable:    250 kB\n";
        assert_eq!(Memory::parse(meminfo), Some(Memory { used: 750 * 1024, total: 1000 * 1024 }));
        for broken in
            ["", "MemTotal: 0 kB\nMemAvailable: 1 kB", "MemTotal: 5 kB", "MemTotal: x\nMemAvailable: 1"]
        {
            assert_eq!(Memory::parse(broken), None, "{broken}");
        }
    }
}
