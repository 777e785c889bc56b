//! What can be said about the last samples together: rates and latencies.

use std::collections::{BTreeMap, VecDeque};

use gateway::admin_types::Sequence;
use serde::Serialize;

use super::{
    figures::{Figures, Tokens},
    quantiles::Buckets,
    sample::Sample,
};

/// Samples that latencies are judged by.
const WINDOW_SAMPLES: usize = 40;
/// Steps from sample to sample that a rate is averaged over.
const RATE_STEPS: usize = 3;
/// Steps that are remembered, for the widest picture of the past.
const STEPS_MAX: usize = 256;

/// The last samples. The newest is there whole, of the older ones what is needed.
#[derive(Debug, Default)]
pub(crate) struct History {
    newest: Option<Sample>,
    busy: Option<f64>,
    steps: VecDeque<Step>,
    sequence_rates: BTreeMap<u64, f64>,
    window: VecDeque<(f64, Buckets, Buckets)>,
}

/// From one sample to the next.
#[derive(Debug)]
struct Step {
    seconds: f64,
    tokens: BTreeMap<String, Tokens>,
}

/// Half of the values, and nearly all of them, are at most this; in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub(crate) struct Latency {
    pub(crate) p50_s: Option<f64>,
    pub(crate) p99_s: Option<f64>,
}

impl History {
    /// Takes a sample that was made after all the others.
    pub(crate) fn push(&mut self, sample: Sample) {
        if let Some(last) = &self.newest {
            let seconds = (sample.at_s - last.at_s).max(f64::EPSILON);
            self.steps.push_back(Step { seconds, tokens: tokens_between(last, &sample) });
            self.sequence_rates = sequence_rates(last, &sample, seconds);
            let ticks = last.machine.ticks.zip(sample.machine.ticks);
            self.busy = ticks.and_then(|(earlier, later)| later.busy_since(earlier));
        }
        let Figures { first_token, inter_token, .. } = &sample.figures;
        self.window.push_back((sample.at_s, first_token.clone(), inter_token.clone()));
        self.newest = Some(sample);
        while self.steps.len() > STEPS_MAX {
            self.steps.pop_front();
        }
        while self.window.len() > WINDOW_SAMPLES {
            self.window.pop_front();
        }
    }

    pub(crate) fn newest(&self) -> Option<&Sample> {
        self.newest.as_ref()
    }

    /// The share of this machine's processors that was used, 0 to 1.
    pub(crate) fn busy(&self) -> Option<f64> {
        self.busy
    }

    /// Tokens per second now: of one model, or of all.
    pub(crate) fn rate(&self, model: Option<&str>) -> Tokens {
        let recent = || self.steps.iter().rev().take(RATE_STEPS);
        let seconds: f64 = recent().map(|step| step.seconds).sum();
        let tokens = recent().map(|step| step.of(model)).fold(Tokens::default(), sum);
        if seconds > 0.0 {
            Tokens { input: tokens.input / seconds, output: tokens.output / seconds }
        } else {
            Tokens::default()
        }
    }

    /// Tokens per second of one sequence; `None` before it was seen twice.
    pub(crate) fn sequence_rate(&self, id: u64) -> Option<f64> {
        self.sequence_rates.get(&id).copied()
    }

    /// Tokens of answers per second, step by step, oldest first.
    pub(crate) fn output_rates(&self) -> impl DoubleEndedIterator<Item = f64> + ExactSizeIterator {
        self.steps.iter().map(|step| step.of(None).output / step.seconds)
    }

    /// Seconds that the latencies are of.
    pub(crate) fn window_s(&self) -> f64 {
        self.window.front().zip(self.window.back()).map_or(0.0, |(oldest, newest)| newest.0 - oldest.0)
    }

    /// Arrival to first token.
    pub(crate) fn first_token(&self) -> Latency {
        self.latency(|(_, first_token, _)| first_token)
    }

    /// Token to token.
    pub(crate) fn inter_token(&self) -> Latency {
        self.latency(|(_, _, inter_token)| inter_token)
    }

    fn latency(&self, of: impl Fn(&(f64, Buckets, Buckets)) -> &Buckets) -> Latency {
        let ends = self.window.front().zip(self.window.back());
        let counted = ends.map(|(oldest, newest)| of(newest).since(of(oldest))).unwrap_or_default();
        Latency { p50_s: counted.quantile(0.5), p99_s: counted.quantile(0.99) }
    }
}

impl Step {
    fn of(&self, model: Option<&str>) -> Tokens {
        match model {
            Some(model) => self.tokens.get(model).copied().unwrap_or_default(),
            None => self.tokens.values().copied().fold(Tokens::default(), sum),
        }
    }
}

fn sum(a: Tokens, b: Tokens) -> Tokens {
    Tokens { input: a.input + b.input, output: a.output + b.output }
}

/// The server's counters move when a request ends, so what is under way is counted here: tokens that live sequences
/// gained, and of those that ended what was not counted while they lived. Of requests that were ended early nothing
/// is known after the last look at them, so the result is at most what was done, never more.
fn tokens_between(earlier: &Sample, later: &Sample) -> BTreeMap<String, Tokens> {
    let models =
        later.processes.replicas.iter().map(|replica| &replica.model).chain(later.figures.tokens.keys());
    let mut between = BTreeMap::new();
    for model in models {
        between.entry(model.clone()).or_insert_with(|| Tokens {
            input: gained(earlier, later, model, prompt_read, |tokens| tokens.input),
            output: gained(
                earlier,
                later,
                model,
                |sequence| sequence.generated.into(),
                |tokens| tokens.output,
            ),
        });
    }
    between
}

/// A prompt counts when the first token of its answer is there.
fn prompt_read(sequence: &Sequence) -> f64 {
    if sequence.generated > 0 { sequence.prompt.into() } else { 0.0 }
}

fn gained(
    earlier: &Sample,
    later: &Sample,
    model: &str,
    of: impl Fn(&Sequence) -> f64,
    of_counter: impl Fn(&Tokens) -> f64,
) -> f64 {
    let live = |sample: &Sample| -> BTreeMap<u64, f64> {
        let here = sample.processes.sequences.iter().filter(|sequence| sequence.model == model);
        here.map(|sequence| (sequence.id, of(sequence))).collect()
    };
    let counted = |sample: &Sample| sample.figures.tokens.get(model).map_or(0.0, &of_counter);
    let (before, now) = (live(earlier), live(later));
    let alive: f64 = now.iter().map(|(id, &tokens)| since(before.get(id).copied(), tokens)).sum();
    let known_of_gone: f64 = before.iter().filter(|(id, _)| !now.contains_key(id)).map(|(_, &n)| n).sum();
    let ended = since(Some(counted(earlier)), counted(later));
    alive + (ended - known_of_gone).max(0.0)
}

/// How far a count rose. One that fell began anew: the server was restarted.
fn since(before: Option<f64>, now: f64) -> f64 {
    match before {
        Some(before) if now >= before => now - before,
        _ => now,
    }
}

fn sequence_rates(earlier: &Sample, later: &Sample, seconds: f64) -> BTreeMap<u64, f64> {
    let before: BTreeMap<u64, u32> =
        earlier.processes.sequences.iter().map(|sequence| (sequence.id, sequence.generated)).collect();
    let rate = |sequence: &Sequence| {
        let before = before.get(&sequence.id)?;
        Some((sequence.id, f64::from(sequence.generated.saturating_sub(*before)) / seconds))
    };
    later.processes.sequences.iter().filter_map(rate).collect()
}

#[cfg(test)]
#[allow(clippy::float_cmp)] // Of whole numbers.
mod tests {
    use super::*;
    use crate::top::fixture::{bucket_text, sample, sequence};

    /// `(id, prompt, generated)` of live sequences and `(prompt, generated)` of the counters, before and after, and
    /// the tokens that were read and generated between.
    #[test]
    fn tokens_of_the_living_and_the_ended() {
        type Moment<'a> = (&'a [(u64, u32, u32)], (u32, u32));
        let cases: &[(&str, Moment<'_>, Moment<'_>, (f64, f64))] = &[
            ("nothing", (&[], (0, 0)), (&[], (0, 0)), (0.0, 0.0)),
            ("goes on", (&[(1, 9, 5)], (0, 0)), (&[(1, 9, 8)], (0, 0)), (0.0, 3.0)),
            ("reads", (&[(1, 9, 0)], (0, 0)), (&[(1, 9, 0)], (0, 0)), (0.0, 0.0)),
            ("has read", (&[(1, 9, 0)], (0, 0)), (&[(1, 9, 2)], (0, 0)), (9.0, 2.0)),
            ("comes", (&[], (0, 0)), (&[(1, 9, 4)], (0, 0)), (9.0, 4.0)),
            ("ends", (&[(1, 9, 5)], (20, 30)), (&[], (29, 40)), (0.0, 5.0)),
            ("comes and ends", (&[], (20, 30)), (&[], (29, 40)), (9.0, 10.0)),
            ("is ended early", (&[(1, 9, 5)], (20, 30)), (&[], (20, 30)), (0.0, 0.0)),
            ("one early, one goes on", (&[(1, 9, 5), (2, 9, 1)], (0, 0)), (&[(2, 9, 4)], (0, 0)), (0.0, 3.0)),
            ("a restart", (&[(1, 9, 50)], (200, 300)), (&[(1, 9, 4)], (6, 7)), (6.0, 11.0)),
        ];
        for &(name, before, after, expected) in cases {
            let moment = |at_s, (live, (prompt, generated)): Moment<'_>| {
                let live = live.iter().map(|&(id, prompt, generated)| sequence(id, "m", prompt, generated));
                let mut sample = sample(at_s, &["m"], live.collect());
                let tokens = Tokens { input: prompt.into(), output: generated.into() };
                sample.figures.tokens.insert("m".to_owned(), tokens);
                sample
            };
            let between = tokens_between(&moment(0.0, before), &moment(1.0, after))["m"];
            assert_eq!((between.input, between.output), expected, "{name}");
        }
    }

    #[test]
    fn rates_are_averages_of_the_last_steps_by_model() {
        let mut history = History::default();
        assert_eq!(history.rate(None), Tokens::default());
        for (at_s, generated) in [(0.0, 1), (1.0, 1001), (2.0, 1011), (4.0, 1031), (5.0, 1041)] {
            let live = vec![sequence(1, "a", 9, generated), sequence(2, "b", 9, generated / 10)];
            history.push(sample(at_s, &["a", "b"], live));
        }
        assert_eq!(history.rate(Some("a")).output, 10.0);
        assert_eq!(history.rate(Some("b")).output, 1.0);
        assert_eq!(history.rate(None).output, 11.0);
        assert_eq!(history.rate(Some("none")).output, 0.0);
        assert_eq!((history.sequence_rate(1), history.sequence_rate(9)), (Some(10.0), None));
        assert_eq!(history.output_rates().collect::<Vec<_>>(), [1100.0, 11.0, 11.0, 11.0]);
    }

    #[test]
    fn latencies_are_of_the_window_and_memory_is_bounded() {
        let mut history = History::default();
        for at in 0..STEPS_MAX + WINDOW_SAMPLES {
            let mut sample = sample(at as f64, &["m"], Vec::new());
            // Slow at first, then fast.
            let (slow, fast) = if at < 3 { (at, 0) } else { (3, at - 2) };
            sample.figures = Figures::parse(&bucket_text(fast, fast + slow));
            history.push(sample);
        }
        assert_eq!(history.window_s(), (WINDOW_SAMPLES - 1) as f64);
        let Latency { p50_s: Some(p50_s), p99_s: Some(p99_s) } = history.first_token() else {
            panic!("{:?}", history.first_token());
        };
        assert!((p50_s - 0.05).abs() < 1e-9 && (p99_s - 0.099).abs() < 1e-9, "{p50_s} {p99_s}");
        assert_eq!(history.inter_token(), Latency { p50_s: None, p99_s: None });
        assert_eq!((history.steps.len(), history.window.len()), (STEPS_MAX, WINDOW_SAMPLES));
    }
}
