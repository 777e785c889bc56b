//! Workers at their limits: as many sequences as they take, which fill the whole context and draw their tokens freely.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::{process::Command, time::sleep};

use super::super::{
    Options,
    prompts::{Prompts, endless},
};
use crate::{
    figures::{Findings, Outcome},
    http::Connection,
    process::proportional_set_mb,
    progress,
    servers::{Load, MODEL, Server},
    statistics::Summary,
};

pub(super) const BEFORE: &str = "error_worst";
pub(super) const AFTER: &str = "error_worst_after_load";
/// Contexts that a model which generates is measured at.
const CONTEXTS: [u32; 5] = [512, 1024, 2048, 4096, 8192];
/// Contexts that a model which embeds is measured at: texts are short there.
const CONTEXTS_EMBEDDING: [u32; 5] = [64, 128, 256, 384, 512];
/// Sequences at once.
const PARALLEL: [u32; 3] = [1, 8, 32];
const THREADS: u32 = 1;
/// Tokens that a sequence draws at most: enough that all of them run before the first one ends.
const DRAWN_MAX: u32 = 64;
/// Tokens that the markers of a text may take, of its context.
const MARKERS: u32 = 4;
/// Texts that are sent at once to a model that embeds, at least.
const TEXTS_MIN: u32 = 8;
/// How often a worker's memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How often it is asked whether a model is loaded, and how often at most.
const POLL: Duration = Duration::from_millis(50);
const POLLS_MAX: usize = 2_400;

/// What `llmos estimate --json` prints, as much of it as is measured.
#[derive(Deserialize)]
struct Estimate {
    purpose: Purpose,
    resident: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Purpose {
    Generate,
    Embed,
}

pub(super) async fn run(options: &Options, findings: &mut Findings) -> Result<()> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    for model in &options.models {
        let name = model.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let copy = Copy::of(model)?;
        let bench =
            Bench { llmos: &options.llmos, model: &copy.path, untaught: copy.folder.path().join("none") };
        for (context, parallel, found) in bench.all(&name).await.with_context(|| name.clone())? {
            let Found { measured, before: estimated, after: corrected } = found;
            let error = |estimate: f64| (estimate / measured - 1.0).abs();
            before.push(error(estimated));
            after.push(error(corrected));
            findings.text(
                format!("{name}, context {context}, parallel {parallel}"),
                format!("{measured:.1} MB, estimated {estimated:.1} MB, after a load {corrected:.1} MB"),
            );
        }
    }
    for (figure, errors) in [(BEFORE, before), (AFTER, after)] {
        let worst = errors.into_iter().fold(0.0, f64::max);
        let summary = Summary::of(&[worst]).context("nothing was measured")?;
        findings.outcomes.insert(figure, Outcome::Measured(summary));
    }
    Ok(())
}

/// The model in a file of its own: pages of one that somebody else has mapped too would count by their share.
struct Copy {
    path: PathBuf,
    folder: tempfile::TempDir,
}

impl Copy {
    fn of(model: &Path) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("model.gguf");
        fs::copy(model, &path).with_context(|| format!("cannot copy {}", model.display()))?;
        Ok(Self { path, folder })
    }
}

/// In megabytes (10^6 bytes).
struct Found {
    measured: f64,
    before: f64,
    after: f64,
}

struct Bench<'a> {
    llmos: &'a Path,
    model: &'a Path,
    /// A data directory that nothing was ever learnt in.
    untaught: PathBuf,
}

impl Bench<'_> {
    /// Measures each context with each number of sequences. The first load teaches all estimates that follow, its
    /// own included.
    async fn all(&self, name: &str) -> Result<Vec<(u32, u32, Found)>> {
        let (_, purpose) = self.estimate(CONTEXTS[0], PARALLEL[0], &self.untaught).await?;
        let contexts = if purpose == Purpose::Generate { CONTEXTS } else { CONTEXTS_EMBEDDING };
        let taught = tempfile::tempdir()?;
        let mut all = Vec::new();
        for context in contexts {
            for parallel in PARALLEL {
                progress(&format!("estimate: {name}, context {context}, parallel {parallel}"));
                let load = Load { model: self.model, threads: THREADS, context, parallel };
                let measured = self.measure(load, purpose, taught.path()).await?;
                let (before, _) = self.estimate(context, parallel, &self.untaught).await?;
                let (after, _) = self.estimate(context, parallel, taught.path()).await?;
                all.push((context, parallel, Found { measured, before, after }));
            }
        }
        Ok(all)
    }

    async fn estimate(&self, context: u32, parallel: u32, data_dir: &Path) -> Result<(f64, Purpose)> {
        let mut command = Command::new(self.llmos);
        command.arg("estimate").arg(self.model).arg("--json").arg("--data-dir").arg(data_dir);
        for (flag, value) in [("--context", context), ("--parallel", parallel), ("--threads", THREADS)] {
            command.arg(flag).arg(value.to_string());
        }
        command.env_clear().current_dir(self.model.parent().unwrap_or(self.model)).stdin(Stdio::null());
        let output = command.kill_on_drop(true).output().await.context("cannot start llmos")?;
        let estimate: Estimate = serde_json::from_slice(&output.stdout).with_context(|| {
            format!("llmos does not estimate: {}", String::from_utf8_lossy(&output.stderr))
        })?;
        Ok((estimate.resident / 1e6, estimate.purpose))
    }

    /// The most that a worker has while it is busy. What the load taught is kept in `taught`, if nothing is there.
    async fn measure(&self, load: Load<'_>, purpose: Purpose, taught: &Path) -> Result<f64> {
        let server = Server::llmos(self.llmos, Some(load)).await?;
        let worker = loaded(&server).await?;
        let lesson = Path::new("memory.json");
        if !taught.join(lesson).exists() {
            fs::copy(server.data_dir().join(lesson), taught.join(lesson))
                .context("the load taught nothing")?;
        }
        let most = most_while(worker, work(&server, load, purpose)).await;
        let most = most.with_context(|| server.process.last_lines())?;
        server.process.stop().await?;
        Ok(most)
    }
}

/// The most memory that a process has while something is done.
async fn most_while(worker: u32, busy: impl Future<Output = Result<()>>) -> Result<f64> {
    tokio::pin!(busy);
    let mut most = proportional_set_mb(worker)?;
    loop {
        tokio::select! {
            done = &mut busy => {
                done?;
                return Ok(most.max(proportional_set_mb(worker)?));
            }
            () = sleep(LOOK_EVERY) => most = most.max(proportional_set_mb(worker)?),
        }
    }
}

/// Waits until the model is loaded. Returns the worker's process id.
async fn loaded(server: &Server) -> Result<u32> {
    for _ in 0..POLLS_MAX {
        if server.instruction_sets().is_some()
            && let Some(worker) = server.process.worker()?
        {
            return Ok(worker);
        }
        sleep(POLL).await;
    }
    anyhow::bail!("the model is not loaded: {}", server.process.last_lines())
}

/// Has the worker do all that it can at once.
async fn work(server: &Server, load: Load<'_>, purpose: Purpose) -> Result<()> {
    let bodies = match purpose {
        Purpose::Generate => generations(load),
        Purpose::Embed => texts(load),
    };
    let connections = bodies.iter().map(|_| Connection::open(&server.endpoint));
    let mut connections = try_join_all(connections).await?;
    let all = connections.iter_mut().zip(&bodies).map(async |(connection, body)| match purpose {
        Purpose::Generate => {
            let answer = connection.complete(body).await?;
            ensure!(answer.tokens > 0, "an answer without tokens");
            Ok(())
        }
        Purpose::Embed => connection.embed(body).await,
    });
    try_join_all(all).await?;
    Ok(())
}

/// Prompts and answers that fill the context together.
fn generations(load: Load<'_>) -> Vec<Value> {
    let share = load.context / load.parallel;
    let drawn = (share / 2).clamp(1, DRAWN_MAX);
    let mut prompts = Prompts::default();
    let body = |_| {
        json!({
            "model": MODEL,
            "prompt": prompts.next((share - drawn).max(1) as usize),
            "max_tokens": drawn,
            // Not greedy: then nothing is kept to draw from.
            "temperature": 1,
            "logit_bias": endless(),
            "stream": true,
            "stream_options": { "include_usage": true },
        })
    };
    (0..load.parallel).map(body).collect()
}

/// Texts as long as the context, in a word that every vocabulary has.
fn texts(load: Load<'_>) -> Vec<Value> {
    let text = "the ".repeat(load.context.saturating_sub(MARKERS).max(1) as usize);
    let body = |_| json!({ "model": MODEL, "input": text });
    (0..load.parallel.max(TEXTS_MIN)).map(body).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_work_fills_the_context_and_no_more() {
        for context in CONTEXTS {
            for parallel in PARALLEL {
                let load = Load { model: Path::new("m"), threads: THREADS, context, parallel };
                let bodies = generations(load);
                let tokens = |body: &Value| {
                    body["prompt"].as_array().unwrap().len() as u64 + body["max_tokens"].as_u64().unwrap()
                };
                assert_eq!(bodies.len(), parallel as usize);
                assert_eq!(
                    bodies.iter().map(tokens).sum::<u64>(),
                    u64::from(context),
                    "{context}/{parallel}"
                );
            }
        }
    }
}
