//! How long a search may go on: what the planner cannot know, because it has no clock.

use std::{
    io::{self, IsTerminal},
    process,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use planner::{Budget, Control, Progress};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use super::cpu_time;
use crate::{
    cli::SearchArgs,
    exit::{Exit, Failure, Trying},
    output::{self, Output},
};

/// Time of a search for which neither time nor evaluations were given.
const BUDGET_MS: u64 = 1_000;
/// A search that takes longer than this shows how far it is.
const QUIET: Duration = Duration::from_millis(500);
/// How often that is drawn.
const DRAWN_EVERY: Duration = Duration::from_millis(100);
const BAR: &str = "{bar:24} {percent:>3}% {msg}";

/// A search that has been done.
pub(super) struct Searched<T> {
    pub(super) found: T,
    /// Time of one processor.
    pub(super) cpu_ms: f64,
}

/// Runs a search for as long as it may: until its budget is used up, its time is over, or Ctrl-C is pressed.
pub(super) fn run<T>(
    wanted: &SearchArgs,
    output: Output,
    search: impl FnOnce(Budget, &mut dyn Control) -> T,
) -> Result<Searched<T>, Failure> {
    let limit_ms = wanted.budget_ms.or(wanted.evaluations.is_none().then_some(BUDGET_MS));
    // No time at all is no evaluation: then the answer does not hang on how fast this machine is.
    let evaluations = if limit_ms == Some(0) { 0 } else { wanted.evaluations.unwrap_or(u64::MAX) };
    let mut clock = Clock {
        begun: cpu_time(),
        limit: limit_ms.map(Duration::from_millis),
        evaluations,
        stopped: stopped_by_signal()?,
        bar: (!output.json && io::stderr().is_terminal()).then(|| Bar { seen: Instant::now(), bar: None }),
    };
    let found = search(Budget { evaluations }, &mut clock);
    let cpu_ms = cpu_time().saturating_sub(clock.begun).as_secs_f64() * 1e3;
    drop(clock.bar);
    if clock.stopped.load(Ordering::Relaxed) {
        output::note("stopped: this is the best so far");
    }
    Ok(Searched { found, cpu_ms })
}

/// Becomes true with the first Ctrl-C (or SIGTERM); the second ends the process, as the first does without this.
fn stopped_by_signal() -> Result<Arc<AtomicBool>, Failure> {
    let runtime = Builder::new_current_thread().enable_all().build().trying("start")?;
    let stopped = Arc::new(AtomicBool::new(false));
    let (mut interrupt, mut terminate) = {
        let _inside = runtime.enter();
        (
            signal(SignalKind::interrupt()).trying("listen for signals")?,
            signal(SignalKind::terminate()).trying("listen for signals")?,
        )
    };
    let tells = Arc::clone(&stopped);
    thread::spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if tells.swap(true, Ordering::Relaxed) {
                    process::exit(Exit::Failed.code().into());
                }
            }
        });
    });
    Ok(stopped)
}

struct Clock {
    begun: Duration,
    limit: Option<Duration>,
    evaluations: u64,
    stopped: Arc<AtomicBool>,
    bar: Option<Bar>,
}

impl Control for Clock {
    fn goes_on(&mut self, progress: Progress) -> bool {
        let used = cpu_time().saturating_sub(self.begun);
        if let Some(bar) = &mut self.bar {
            let by_time = self.limit.map(|limit| used.as_secs_f64() / limit.as_secs_f64());
            let by_count = progress.evaluations as f64 / self.evaluations as f64;
            bar.show(by_time.unwrap_or_default().max(by_count), progress);
        }
        !self.stopped.load(Ordering::Relaxed) && self.limit.is_none_or(|limit| used < limit)
    }
}

/// Nothing at first, then a bar.
struct Bar {
    seen: Instant,
    bar: Option<ProgressBar>,
}

impl Bar {
    fn show(&mut self, share: f64, progress: Progress) {
        let every = if self.bar.is_some() { DRAWN_EVERY } else { QUIET };
        if self.seen.elapsed() < every {
            return;
        }
        self.seen = Instant::now();
        let bar = self.bar.get_or_insert_with(|| {
            let bar = ProgressBar::with_draw_target(Some(100), ProgressDrawTarget::stderr());
            // The template is a constant: a wrong one would leave the usual bar.
            let style = ProgressStyle::with_template(BAR).unwrap_or_else(|_| ProgressStyle::default_bar());
            bar.with_style(style.progress_chars("=> "))
        });
        bar.set_message(format!("best {}, bound {}; Ctrl-C takes the best", progress.best, progress.bound));
        bar.set_position((share * 100.0) as u64);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
