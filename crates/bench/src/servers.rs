//! The servers that are measured: ours, and llama.cpp's.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{ChildStdout, Command},
    time::timeout,
};

use crate::{http::Endpoint, process::Process};

/// The name that both servers know the model by.
pub(crate) const MODEL: &str = "bench";
/// Longest that a server may take to be ready, its model loaded.
const READY_MAX: Duration = Duration::from_mins(2);

/// A server that is ready. Its files are removed when it is dropped.
pub(crate) struct Server {
    pub(crate) process: Process,
    pub(crate) endpoint: Endpoint,
    /// From the start of the process until it answered.
    pub(crate) ready_after: Duration,
    // Read to its end by nobody; closed it would be an error to whoever writes to it.
    _stdout: BufReader<ChildStdout>,
    folder: TempDir,
}

/// A model and what it is run with.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load<'a> {
    pub(crate) model: &'a Path,
    pub(crate) threads: u32,
    /// Tokens of KV memory.
    pub(crate) context: u32,
    /// Most sequences at once.
    pub(crate) parallel: u32,
}

/// What `llmos serve --json` prints first.
#[derive(Deserialize)]
struct Greeting {
    address: String,
    key: Option<String>,
}

impl Server {
    /// Starts llmos in a new folder, with a model or without one. Ready means that the model is loaded, if there is
    /// one, and else that the server is up.
    pub(crate) async fn llmos(program: &Path, load: Option<Load<'_>>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("llmos.toml");
        fs::write(&config, configuration(&data_dir(folder.path()), load))?;
        let mut command = Command::new(program);
        command.arg("serve").arg("--json").arg("--config").arg(&config);
        let (mut process, stdout) = Process::start(command, folder.path().join("log"))?;
        let (endpoint, stdout) = greeted(&process, stdout).await?;
        let path = if load.is_some() { "/readyz" } else { "/healthz" };
        let ready = process.ready(&endpoint, path, READY_MAX).await?;
        Ok(Self::new(process, endpoint, ready, stdout, folder))
    }

    /// Starts the codec of chats wired straight to the mock driver. It takes connections at once.
    pub(crate) async fn straight(program: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (process, stdout) = Process::start(Command::new(program), folder.path().join("log"))?;
        let (endpoint, stdout) = greeted(&process, stdout).await?;
        Ok(Self::new(process, endpoint, Instant::now(), stdout, folder))
    }

    /// Starts llama-server.
    pub(crate) async fn llama_server(program: &Path, load: Load<'_>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let address = free_address()?;
        let mut command = Command::new(program);
        command.arg("-m").arg(load.model).args(["--alias", MODEL, "--host", "127.0.0.1", "--kv-unified"]);
        // Its line about instruction sets is a debug line, and it writes none per token.
        command.args(["--no-webui", "--log-colors", "off", "--verbosity", "4"]);
        // No copies of finished prompts: they would cost it time, and no prompt comes twice.
        command.args(["--no-cache-prompt", "--cache-ram", "0"]);
        for (flag, value) in [
            ("--port", u32::from(address.port())),
            ("-c", load.context),
            ("--parallel", load.parallel),
            ("-t", load.threads),
            ("-tb", load.threads),
        ] {
            command.arg(flag).arg(value.to_string());
        }
        let (mut process, stdout) = Process::start(command, folder.path().join("log"))?;
        let endpoint = Endpoint { address, key: None };
        let ready = process.ready(&endpoint, "/health", READY_MAX).await?;
        Ok(Self::new(process, endpoint, ready, BufReader::new(stdout), folder))
    }

    fn new(
        process: Process,
        endpoint: Endpoint,
        ready: Instant,
        stdout: BufReader<ChildStdout>,
        folder: TempDir,
    ) -> Self {
        let ready_after = ready - process.started;
        Self { process, endpoint, ready_after, _stdout: stdout, folder }
    }

    /// The folder of its state, if it is ours.
    pub(crate) fn data_dir(&self) -> PathBuf {
        data_dir(self.folder.path())
    }

    /// The instruction sets that its engine uses, if its log has them: as soon as its model is loaded.
    pub(crate) fn instruction_sets(&self) -> Option<String> {
        instruction_sets(&self.process.log())
    }
}

/// Reads where a server of ours listens, and the key that it gives out.
async fn greeted(process: &Process, stdout: ChildStdout) -> Result<(Endpoint, BufReader<ChildStdout>)> {
    let mut stdout = BufReader::new(stdout);
    let mut line = String::new();
    timeout(READY_MAX, stdout.read_line(&mut line)).await.context("the server says nothing")??;
    let greeting: Greeting = serde_json::from_str(&line)
        .with_context(|| format!("the server did not say where it listens: {}", process.last_lines()))?;
    let address = greeting.address.trim_start_matches("http://").parse()?;
    Ok((Endpoint { address, key: greeting.key }, stdout))
}

fn data_dir(folder: &Path) -> PathBuf {
    folder.join("data")
}

/// A server must have a model to start; the simulated one has no file, no worker and next to no memory.
fn configuration(data_dir: &Path, load: Option<Load<'_>>) -> String {
    let quoted = |path: &Path| Value::from(path.to_string_lossy()).to_string();
    let data_dir = quoted(data_dir);
    let source = load.map_or("\"simulator:instant\"".to_owned(), |load| quoted(load.model));
    let settings = load.map_or(String::new(), |Load { threads, context, parallel, .. }| {
        format!("threads = {threads}\ncontext = {context}\nparallel = {parallel}\n")
    });
    format!(
        "listen = \"127.0.0.1:0\"\ndata_dir = {data_dir}\nshutdown_grace_s = 5\n\n\
         [log]\nformat = \"json\"\nlevel = \"info\"\n\n\
         [[model]]\nname = \"{MODEL}\"\nsource = {source}\n{settings}"
    )
}

/// Ours logs a field `hardware`; llama.cpp's line is `system_info: … | AVX2 = 1 | …`.
fn instruction_sets(log: &str) -> Option<String> {
    log.lines().find_map(|line| {
        let ours = serde_json::from_str::<Value>(line).ok();
        let ours = ours.and_then(|line| line.get("hardware")?.as_str().map(str::to_owned));
        ours.or_else(|| line.split_once("system_info: ").map(|(_, found)| found.trim().to_owned()))
    })
}

/// The version line of a program.
pub(crate) async fn version(program: &Path) -> Result<String> {
    let output = Command::new(program).arg("--version").kill_on_drop(true).output();
    let output = timeout(READY_MAX, output).await.context("no version")??;
    // llama-server writes it to stderr.
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    let line = text.lines().find(|line| !line.trim().is_empty()).context("it prints no version")?;
    Ok(line.trim().trim_start_matches("version: ").to_owned())
}

/// A port that was free just now: the peer takes a number, not "any".
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// The program of this name beside the one that runs.
pub(crate) fn beside_us(name: &str) -> Result<PathBuf> {
    let us = std::env::current_exe().context("cannot find out where this program lies")?;
    Ok(us.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instruction_sets_are_found_in_both_logs() {
        let ours = "{\"level\":\"INFO\",\"message\":\"serving\"}\n{\"message\":\"model is ready\",\"hardware\":\"AVX2 = 1\"}\n";
        assert_eq!(instruction_sets(ours).as_deref(), Some("AVX2 = 1"));
        let peer = "build: 1\n0.1 I system_info: n_threads = 2 | CPU : AVX512 = 1 |\n";
        assert_eq!(instruction_sets(peer).as_deref(), Some("n_threads = 2 | CPU : AVX512 = 1 |"));
        assert_eq!(instruction_sets("nothing\n"), None);
    }

    #[test]
    fn the_configuration_quotes_what_it_is_given() {
        let load = Load { model: Path::new("/a \"b\"/m.gguf"), threads: 2, context: 512, parallel: 4 };
        let text = configuration(Path::new("/data"), Some(load));
        assert!(text.contains("source = \"/a \\\"b\\\"/m.gguf\"") && text.contains("threads = 2"), "{text}");
        assert!(text.contains("context = 512") && text.contains("parallel = 4"), "{text}");
        assert!(configuration(Path::new("/data"), None).contains("source = \"simulator:instant\""));
    }

    #[tokio::test]
    async fn a_version_is_the_first_line() {
        assert!(version(Path::new("git")).await.unwrap().starts_with("git version "));
    }
}
