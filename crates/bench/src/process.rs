//! A server's processes: started, watched from outside through `/proc`, and stopped.

use std::{
    collections::HashMap,
    fs::{self, File},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use http::StatusCode;
use rustix::process::{Pid, Signal, kill_process};
use tokio::{
    process::{Child, ChildStdout, Command},
    time::{sleep, timeout},
};

use crate::http::{Connection, Endpoint};

/// Longest that a server may take to stop after it was asked to.
const STOP_MAX: Duration = Duration::from_secs(15);
/// Pause between two looks at a server that is not ready.
const POLL: Duration = Duration::from_millis(2);
/// Lines of a log that are shown when its server ended.
const LOG_LINES_SHOWN: usize = 5;
/// Environment variables that would change what is measured begin with one of these.
const ENVIRONMENT_OF_SERVERS: [&str; 5] = ["LLMOS_", "LLAMA_", "GGML_", "OMP_", "GOMP_"];

/// A running server, with the processes that it started. Dropping it kills it.
pub(crate) struct Process {
    child: Child,
    pid: u32,
    log: PathBuf,
    /// When it was started.
    pub(crate) started: Instant,
}

impl Process {
    /// Starts a program whose stderr goes to the file `log`. Its stdout is returned.
    pub(crate) fn start(mut command: Command, log: PathBuf) -> Result<(Self, ChildStdout)> {
        let program = command.as_std().get_program().to_string_lossy().into_owned();
        for (name, _) in std::env::vars_os() {
            let name_text = name.to_string_lossy();
            if ENVIRONMENT_OF_SERVERS.iter().any(|prefix| name_text.starts_with(prefix)) {
                command.env_remove(&name);
            }
        }
        let stderr = File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr).kill_on_drop(true);
        let started = Instant::now();
        let mut child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        let pid = child.id().context("the server ended at once")?;
        let stdout = child.stdout.take().context("the server has no stdout")?;
        Ok((Self { child, pid, log, started }, stdout))
    }

    /// Waits until `GET path` is answered 200, at most `patience`. Returns when that was.
    pub(crate) async fn ready(
        &mut self,
        endpoint: &Endpoint,
        path: &str,
        patience: Duration,
    ) -> Result<Instant> {
        let end = Instant::now() + patience;
        loop {
            // A server that does not listen yet refuses, and that is no error.
            if let Ok(mut connection) = Connection::open(endpoint).await
                && connection.status(path).await.is_ok_and(|status| status == StatusCode::OK)
            {
                return Ok(Instant::now());
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status}; its last lines: {}", self.last_lines());
            }
            ensure!(
                Instant::now() < end,
                "the server is not ready after {patience:?}: {}",
                self.last_lines()
            );
            sleep(POLL).await;
        }
    }

    /// What it has logged.
    pub(crate) fn log(&self) -> String {
        fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The end of its log.
    pub(crate) fn last_lines(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().rev().take(LOG_LINES_SHOWN).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// CPU time that it and the processes it started have used, in seconds.
    pub(crate) fn cpu_seconds(&self) -> Result<f64> {
        let ticks = ticks_of_tree(&usages()?, self.pid);
        Ok(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }

    /// Its memory without that of the processes it started, in megabytes (10^6 bytes): pages shared with n others
    /// count one n-th.
    pub(crate) fn proportional_set_mb(&self) -> Result<f64> {
        proportional_set_mb(self.pid)
    }

    /// The process that it started, if there is one.
    pub(crate) fn worker(&self) -> Result<Option<u32>> {
        let usages = usages()?;
        Ok(usages.iter().find(|(_, usage)| usage.parent == self.pid).map(|(&pid, _)| pid))
    }

    /// Asks it to stop, and waits until it has.
    pub(crate) async fn stop(mut self) -> Result<()> {
        if let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) {
            // If it has ended already there is nobody to tell.
            let _ = kill_process(pid, Signal::TERM);
        }
        let stopped = timeout(STOP_MAX, self.child.wait()).await;
        stopped.with_context(|| format!("the server did not stop in {STOP_MAX:?}"))??;
        Ok(())
    }
}

/// A process as `/proc/PID/stat` describes it.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Usage {
    parent: u32,
    /// In user and kernel mode, in clock ticks.
    ticks: u64,
}

/// All processes, by their ids.
fn usages() -> Result<HashMap<u32, Usage>> {
    let mut usages = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        // A process that just ended has no file any more.
        if let Some(usage) =
            fs::read_to_string(format!("/proc/{pid}/stat")).ok().and_then(|text| usage(&text))
        {
            usages.insert(pid, usage);
        }
    }
    Ok(usages)
}

/// Fields 4, 14 and 15 of `proc_pid_stat(5)`. The second field may contain spaces and parentheses.
fn usage(stat: &str) -> Option<Usage> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |index: usize| fields.get(index - 3)?.parse::<u64>().ok();
    Some(Usage { parent: u32::try_from(number(4)?).ok()?, ticks: number(14)? + number(15)? })
}

fn ticks_of_tree(usages: &HashMap<u32, Usage>, root: u32) -> u64 {
    let mut ticks = usages.get(&root).map_or(0, |usage| usage.ticks);
    let mut generation = vec![root];
    // As many generations as processes, at most: ids that are used again while we look could make a ring.
    for _ in 0..usages.len() {
        let children = usages.iter().filter(|(_, usage)| generation.contains(&usage.parent));
        let children: Vec<(u32, u64)> = children.map(|(&pid, usage)| (pid, usage.ticks)).collect();
        if children.is_empty() {
            break;
        }
        ticks += children.iter().map(|(_, ticks)| ticks).sum::<u64>();
        generation = children.into_iter().map(|(pid, _)| pid).collect();
    }
    ticks
}

/// The memory of a process in megabytes (10^6 bytes): pages shared with n others count one n-th. The server shows that to root
/// only; to others shared pages count whole, so what they see is never less.
pub(crate) fn proportional_set_mb(pid: u32) -> Result<f64> {
    let (path, open) = (format!("/proc/{pid}/smaps_rollup"), format!("/proc/{pid}/status"));
    let (path, name) = match fs::read_to_string(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => (open, "VmRSS:"),
        _ => (path, "Pss:"),
    };
    let text = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    memory(&text, name).with_context(|| format!("{path} has no {name}"))
}

fn memory(text: &str, name: &str) -> Option<f64> {
    let kib = text.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: f64 = kib.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Whether a path is a file that may be executed, or at least looked at.
pub(crate) fn is_file(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| metadata.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_files_are_read() {
        let stat = "42 (a (b) c) S 7 42 42 0 -1 4194560 1 0 0 0 30 12 99 99 20 0 3 0 1 1 1";
        assert_eq!(usage(stat), Some(Usage { parent: 7, ticks: 42 }));
        assert_eq!(usage("42 (x) S 7"), None);
        let rollup =
            "55d0-7ffe ---p 00000000 00:00 0 [rollup]\nRss: 9 kB\nPss:        1000 kB\nPss_Anon: 1 kB\n";
        assert_eq!(memory(rollup, "Pss:"), Some(1.024));
        assert_eq!(memory("Rss: 9 kB\n", "Pss:"), None);
    }

    #[test]
    fn the_tree_is_the_process_and_all_below_it() {
        let usage = |parent, ticks| Usage { parent, ticks };
        let usages = HashMap::from([
            (1, usage(0, 100)),
            (5, usage(1, 1)),
            (6, usage(5, 2)),
            (7, usage(6, 4)),
            (8, usage(1, 50)),
        ]);
        assert_eq!(ticks_of_tree(&usages, 5), 7);
        assert_eq!(ticks_of_tree(&usages, 9), 0);
        let ring = HashMap::from([(1, usage(2, 1)), (2, usage(1, 1))]);
        assert!(ticks_of_tree(&ring, 1) > 0);
    }

    #[tokio::test]
    async fn a_process_is_started_watched_and_stopped() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo hello >&2; exec sleep 60"]);
        let (process, _stdout) = Process::start(command, log).unwrap();
        while process.last_lines() != "hello" {
            sleep(POLL).await;
        }
        assert!(process.cpu_seconds().unwrap() >= 0.0);
        assert!(process.proportional_set_mb().unwrap() > 0.0);
        process.stop().await.unwrap();
    }

    #[tokio::test]
    async fn a_server_that_ends_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "echo port in use >&2; exit 3"]);
        let (mut process, _stdout) = Process::start(command, folder.path().join("log")).unwrap();
        let endpoint = Endpoint { address: ([127, 0, 0, 1], 1).into(), key: None };
        let error =
            process.ready(&endpoint, "/healthz", Duration::from_secs(30)).await.unwrap_err().to_string();
        assert!(error.contains("exit status: 3") && error.contains("port in use"), "{error}");
    }
}
