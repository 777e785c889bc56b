//! Shows how far a long command is, on stderr: a bar at a terminal, else a line now and then.

use std::{
    io::{self, IsTerminal},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use resources::{Size, model_store::Progress};

use crate::output::{self, Output};

/// How often a line is written where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(5);
/// How often a bar moves by itself, to show that something is going on.
const TICK_EVERY: Duration = Duration::from_millis(200);
/// Longest message beside a bar.
const MESSAGE_CHARACTERS_MAX: usize = 41;
const WITH_TOTAL: &str =
    "{msg} {bar:24} {percent:>3}% {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec} {eta}";
const WITHOUT_TOTAL: &str = "{msg} {spinner} {decimal_bytes} {elapsed}";

/// What a person sees of the work.
pub(crate) enum Meter {
    /// The result is a document for a script: nothing.
    Silent,
    /// A terminal.
    Bar(ProgressBar),
    /// A file or a pipe.
    Lines(Lines),
}

/// The work as it was last told.
pub(crate) struct Lines {
    what: String,
    total: Option<u64>,
    done: u64,
    told_at: Instant,
}

impl Meter {
    pub(crate) fn new(output: Output) -> Self {
        if output.json {
            Self::Silent
        } else if io::stderr().is_terminal() {
            Self::Bar(ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()))
        } else {
            let lines = Lines { what: String::new(), total: None, done: 0, told_at: Instant::now() };
            Self::Lines(lines)
        }
    }

    pub(crate) fn show(&mut self, progress: Progress) {
        match (self, progress) {
            (Self::Silent, _) => {}
            (Self::Bar(bar), Progress::Begins { what, total, done }) => {
                bar.finish_and_clear();
                *bar = begin(&what, total, done);
            }
            (Self::Bar(bar), Progress::Done(bytes)) => bar.inc(bytes),
            (Self::Bar(bar), Progress::Note(note)) => bar.suspend(|| output::note(note)),
            (Self::Lines(lines), Progress::Begins { what, total, done }) => {
                *lines = Lines { what, total, done, told_at: Instant::now() };
                output::note(lines.line());
            }
            (Self::Lines(lines), Progress::Done(bytes)) => {
                lines.done += bytes;
                if lines.told_at.elapsed() >= LINE_EVERY {
                    lines.told_at = Instant::now();
                    output::note(lines.line());
                }
            }
            (Self::Lines(_), Progress::Note(note)) => output::note(note),
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

impl Lines {
    fn line(&self) -> String {
        let (what, done) = (&self.what, Size(self.done));
        match self.total {
            Some(total) if total > 0 => {
                format!(
                    "{what}: {} % ({done} of {})",
                    u128::from(self.done) * 100 / u128::from(total),
                    Size(total)
                )
            }
            _ if self.done > 0 => format!("{what}: {done}"),
            _ => what.clone(),
        }
    }
}

fn begin(what: &str, total: Option<u64>, done: u64) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
    let template = if total.is_some() { WITH_TOTAL } else { WITHOUT_TOTAL };
    // The templates are constants: a wrong one would leave the usual bar.
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    bar.set_style(style.progress_chars("=> "));
    bar.set_message(shortened(&what.replace(char::is_control, "\u{fffd}")));
    // What was done before counts for the share, and not for the speed.
    bar.set_position(done);
    bar.reset_eta();
    bar.enable_steady_tick(TICK_EVERY);
    bar
}

/// Beginning and end of a long text, so that a bar fits into a line.
fn shortened(text: &str) -> String {
    let count = text.chars().count();
    if count <= MESSAGE_CHARACTERS_MAX {
        return text.to_owned();
    }
    let half = (MESSAGE_CHARACTERS_MAX - 1) / 2;
    let (begin, end): (String, String) =
        (text.chars().take(half).collect(), text.chars().skip(count - half).collect());
    format!("{begin}…{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_messages_keep_both_ends() {
        assert_eq!(shortened("pulling m"), "pulling m");
        let long = shortened(&format!("pulling https://example.org/{}/ü.gguf", "x".repeat(100)));
        assert_eq!(long, "pulling https://exam…xxxxxxxxxxxxx/ü.gguf");
    }

    #[test]
    fn lines_say_how_far_it_is() {
        for (total, done, line) in [
            (Some(200_000_000), 50_000_000, "pulling m: 25 % (50.0 MB of 200.0 MB)"),
            (Some(0), 0, "pulling m"),
            (None, 5_000, "pulling m: 5.0 kB"),
            (None, 0, "pulling m"),
        ] {
            let lines = Lines { what: "pulling m".to_owned(), total, done, told_at: Instant::now() };
            assert_eq!(lines.line(), line);
        }
    }
}
