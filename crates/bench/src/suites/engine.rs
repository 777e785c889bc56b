//! Suite `engine`: prefill and decode over HTTP beside llama-server, and what llmos itself needs without a model.
//!
//! Both servers hold the model at the same time and compute in turns, so that a machine that slows down slows down
//! for both. A ratio is ours over the peer's in the same round; the figure is the median of the rounds, at the
//! number of threads where that is lower. Every request has a prompt of its own, so that no cache helps.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use futures::future::try_join_all;
use serde_json::{Value, json};
use tokio::time::sleep;

use super::{
    Options,
    prompts::{CONTROL_IDS, Prompts, endless},
};
use crate::{
    figures::{Findings, Outcome},
    http::{Connection, Streamed},
    progress,
    servers::{self, Load, MODEL, Server},
    statistics::Summary,
};

/// Threads of the engines, one pair of servers for each.
const THREADS: [u32; 2] = [1, 2];
/// Tokens of KV memory, and sequences at once, on both sides.
const CONTEXT: u32 = 8192;
const PARALLEL: u32 = 16;
/// Starts without a model.
const IDLE_ROUNDS: usize = 5;
/// How long a server without a model is left alone before its memory is looked at.
const SETTLE: Duration = Duration::from_millis(500);
/// Pause before each turn: the threads of the engine that computed before still spin for a moment.
const TURN_PAUSE: Duration = Duration::from_millis(250);

/// Something that both servers are asked to do.
struct Task {
    figure: &'static str,
    rate: Rate,
    streams: usize,
    prompt: usize,
    tokens: u32,
    rounds: usize,
}

/// How a rate is made of times.
#[derive(Clone, Copy)]
enum Rate {
    /// Tokens of the prompt over the time from the request to the first token.
    Prefill,
    /// Tokens of all streams over the time while all streams generate: from the first token of the last to begin
    /// until the first one ends.
    Decode,
}

const fn decode(figure: &'static str, streams: usize, tokens: u32, rounds: usize) -> Task {
    Task { figure, rate: Rate::Decode, streams, prompt: 16, tokens, rounds }
}

const TASKS: [Task; 5] = [
    Task { figure: "prefill_ratio", rate: Rate::Prefill, streams: 1, prompt: 1024, tokens: 1, rounds: 3 },
    decode("decode_ratio_1", 1, 64, 5),
    decode("decode_ratio_4", 4, 48, 5),
    decode("decode_ratio_8", 8, 48, 3),
    decode("decode_ratio_16", 16, 48, 3),
];

/// Measured once before the rounds, and thrown away: first requests fault pages in and start threads.
const WARM_UP: Task = decode("warm-up", 2, 8, 1);

pub(crate) async fn run(options: &Options) -> Result<Findings> {
    let mut findings = Findings::default();
    findings.text("llmos", servers::version(&options.llmos).await.context("llmos")?);
    idle(options, &mut findings).await.context("llmos without a model")?;
    let Some(model) = options.chat_model() else {
        findings.text("model", "not found; fetch it by `make run`, or give the path of a GGUF file");
        findings.outcomes.extend(TASKS.iter().map(|task| (task.figure, Outcome::Skipped)));
        return Ok(findings);
    };
    findings.text("model", model.file_name().unwrap_or_default().to_string_lossy());
    match &options.llama_server {
        Some(peer) => findings.text("llama-server", servers::version(peer).await.context("llama-server")?),
        None => findings.text("llama-server", "not found; ours is measured alone"),
    }
    let mut at_threads = Vec::new();
    for threads in THREADS {
        let outcomes =
            at(Load { model, threads, context: CONTEXT, parallel: PARALLEL }, options, &mut findings).await;
        at_threads.push(outcomes.with_context(|| format!("threads = {threads}"))?);
    }
    for (index, task) in TASKS.iter().enumerate() {
        let ratios: Option<Vec<Summary>> = at_threads.iter().map(|ratios| ratios[index]).collect();
        let lowest = ratios.into_iter().flatten().min_by(|a, b| a.median.total_cmp(&b.median));
        findings.outcomes.insert(task.figure, lowest.map_or(Outcome::PeerMissing, Outcome::Measured));
    }
    Ok(findings)
}

/// Starts llmos without a model a few times.
async fn idle(options: &Options, findings: &mut Findings) -> Result<()> {
    let (mut memory, mut ready) = (Vec::new(), Vec::new());
    for round in 1..=IDLE_ROUNDS {
        progress(&format!("engine: llmos without a model, {round} of {IDLE_ROUNDS}"));
        let server = Server::llmos(&options.llmos, None).await?;
        ready.push(server.ready_after.as_secs_f64());
        sleep(SETTLE).await;
        memory.push(server.process.proportional_set_mb()?);
        server.process.stop().await?;
    }
    for (figure, values) in [("idle_resident_mb", memory), ("ready_seconds", ready)] {
        let summary = Summary::of(&values).context("nothing was measured")?;
        findings.outcomes.insert(figure, Outcome::Measured(summary));
    }
    Ok(())
}

/// One of the two servers, and what it has done.
struct Side {
    name: &'static str,
    server: Server,
    rates: Vec<f64>,
    cpu_seconds: f64,
}

impl Side {
    fn new(name: &'static str, server: Server) -> Self {
        Self { name, server, rates: Vec::new(), cpu_seconds: 0.0 }
    }

    /// What to say when a task fails.
    fn complaint(&self, task: &Task) -> String {
        let log = self.server.process.last_lines();
        format!("{}, {}; the end of its log:\n{log}\nwhat went wrong", self.name, task.figure)
    }
}

/// All tasks at one number of threads. Returns a ratio for each task, or nothing for each if there is no peer.
async fn at(load: Load<'_>, options: &Options, findings: &mut Findings) -> Result<Vec<Option<Summary>>> {
    let threads = load.threads;
    progress(&format!("engine: loading the model with threads = {threads}"));
    let ours = Server::llmos(&options.llmos, Some(load)).await.context("llmos")?;
    let mut sides = vec![Side::new("llmos", ours)];
    if let Some(peer) = &options.llama_server {
        let peer = Server::llama_server(peer, load).await.context("llama-server")?;
        sides.push(Side::new("llama-server", peer));
    }
    for side in &mut sides {
        let found = side.server.instruction_sets();
        let found = found.unwrap_or_else(|| "its log does not say".to_owned());
        findings.text(format!("threads {threads}, {}: instruction sets", side.name), found);
    }
    let mut prompts = Prompts::default();
    let mut ratios = Vec::new();
    for task in &TASKS {
        progress(&format!("engine: threads = {threads}, {}, {} rounds", task.figure, task.rounds));
        for side in &mut sides {
            once(&side.server, &WARM_UP, &mut prompts).await.with_context(|| side.complaint(&WARM_UP))?;
            (side.rates, side.cpu_seconds) = (Vec::new(), 0.0);
        }
        for round in 0..task.rounds {
            for turn in 0..sides.len() {
                // Who goes first takes turns too.
                let index = (turn + round) % sides.len();
                let side = &mut sides[index];
                sleep(TURN_PAUSE).await;
                let before = side.server.process.cpu_seconds()?;
                let rate = once(&side.server, task, &mut prompts).await;
                side.rates.push(rate.with_context(|| side.complaint(task))?);
                side.cpu_seconds += side.server.process.cpu_seconds()? - before;
            }
        }
        let what = task.figure.replace("_ratio", "");
        for side in &sides {
            let name = |what_of_it: &str| format!("threads {threads}, {what}, {}: {what_of_it}", side.name);
            let rate = Summary::of(&side.rates).context("nothing was measured")?;
            findings.number(name("rate"), rate.median, "tokens/s");
            findings.number(name("CPU time"), side.cpu_seconds / task.rounds as f64, "s");
        }
        let ratio = match &sides[..] {
            [ours, peer] => ratio(&ours.rates, &peer.rates),
            _ => None,
        };
        if let Some(ratio) = &ratio {
            findings.number(format!("threads {threads}, {what}: ratio"), ratio.median, "ratio");
        }
        ratios.push(ratio);
    }
    for side in sides {
        side.server.process.stop().await.context(side.name)?;
    }
    Ok(ratios)
}

/// Round by round, so that what slowed one round down for both changes nothing.
fn ratio(ours: &[f64], peer: &[f64]) -> Option<Summary> {
    let ratios: Vec<f64> = ours.iter().zip(peer).map(|(ours, peer)| ours / peer).collect();
    Summary::of(&ratios)
}

/// Has a server do a task once. Returns the rate, in tokens per second.
async fn once(server: &Server, task: &Task, prompts: &mut Prompts) -> Result<f64> {
    let connections = (0..task.streams).map(|_| Connection::open(&server.endpoint));
    let mut connections = try_join_all(connections).await?;
    let bodies: Vec<Value> =
        (0..task.streams).map(|_| body(prompts.next(task.prompt), task.tokens)).collect();
    let answers = connections.iter_mut().zip(&bodies).map(|(connection, body)| connection.complete(body));
    let answers = try_join_all(answers).await?;
    for answer in &answers {
        let used = (answer.prompt_tokens as usize, answer.tokens);
        ensure!(
            used == (task.prompt, task.tokens),
            "asked for {} tokens after {}, got {} after {}: a model whose control tokens are not {CONTROL_IDS:?} \
             may have ended early",
            task.tokens,
            task.prompt,
            used.1,
            used.0
        );
    }
    match task.rate {
        Rate::Prefill => prefill_rate(&answers).context("there was no token"),
        Rate::Decode => decode_rate(&answers).context("the streams did not run at the same time"),
    }
}

fn prefill_rate(answers: &[Streamed]) -> Option<f64> {
    let answer = answers.first()?;
    // A token that is no text by itself shows only in the end of the answer.
    let first = answer.pieces.first().unwrap_or(&answer.complete);
    Some(f64::from(answer.prompt_tokens) / (*first - answer.sent).as_secs_f64())
}

/// Pieces that hold several tokens count as the mean of their stream.
fn decode_rate(answers: &[Streamed]) -> Option<f64> {
    let begin =
        answers.iter().map(|answer| answer.pieces.first()).collect::<Option<Vec<_>>>()?.into_iter().max()?;
    let end = answers.iter().filter_map(|answer| answer.pieces.last()).min()?;
    let seconds = end.checked_duration_since(*begin)?.as_secs_f64();
    let tokens = answers.iter().map(|answer| {
        let within = answer.pieces.iter().filter(|&piece| piece > begin && piece <= end).count();
        within as f64 * f64::from(answer.tokens) / answer.pieces.len() as f64
    });
    (seconds > 0.0).then(|| tokens.sum::<f64>() / seconds)
}

/// The same request for both servers.
fn body(prompt: Vec<u64>, tokens: u32) -> Value {
    json!({
        "model": MODEL,
        "prompt": prompt,
        "max_tokens": tokens,
        "temperature": 0,
        "logit_bias": endless(),
        "stream": true,
        "stream_options": { "include_usage": true },
    })
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    /// An answer whose pieces come at these milliseconds.
    fn answer(start: Instant, pieces: &[u64], tokens: u32) -> Streamed {
        let at = |&millis: &u64| start + Duration::from_millis(millis);
        Streamed {
            sent: start,
            pieces: pieces.iter().map(at).collect(),
            complete: at(pieces.last().unwrap_or(&2000)),
            prompt_tokens: 1000,
            tokens,
        }
    }

    #[test]
    fn prefill_is_the_prompt_over_the_time_to_the_first_token() {
        let start = Instant::now();
        assert_eq!(prefill_rate(&[answer(start, &[500, 900], 2)]), Some(2000.0));
        assert_eq!(prefill_rate(&[answer(start, &[], 1)]), Some(500.0));
        assert_eq!(prefill_rate(&[]), None);
    }

    #[test]
    fn decode_counts_while_all_streams_generate() {
        let start = Instant::now();
        // From 1000 to 2000 ms both run: two tokens of the first, four of the second.
        let first = answer(start, &[500, 1000, 1500, 2000], 4);
        let second = answer(start, &[1000, 1250, 1500, 1750, 2000, 2250], 6);
        assert_eq!(decode_rate(&[first, second]), Some(6.0));
        // Two tokens in each piece.
        assert_eq!(decode_rate(&[answer(start, &[0, 500, 1000], 6)]), Some(4.0));
    }

    #[test]
    fn streams_that_never_ran_together_have_no_rate() {
        let start = Instant::now();
        let (first, second) = (answer(start, &[1, 2, 3], 3), answer(start, &[4, 5, 6], 3));
        assert_eq!(decode_rate(&[first, second]), None);
        assert_eq!(decode_rate(&[answer(start, &[], 3)]), None);
        assert_eq!(decode_rate(&[]), None);
    }

    #[test]
    fn a_ratio_is_taken_round_by_round() {
        let ratio = ratio(&[10.0, 5.0, 30.0], &[10.0, 10.0, 20.0]).unwrap();
        assert_eq!((ratio.median, ratio.min, ratio.max, ratio.rounds), (1.0, 0.5, 1.5, 3));
    }
}
