//! How a check ends.

use std::{
    fmt::Display,
    io,
    path::{Path, PathBuf},
};

use crate::shown::quoted;

/// What was found, for a person to read.
#[derive(Debug)]
pub(crate) struct Verdict {
    text: String,
    problems: usize,
    not_shown: Vec<String>,
    is_check: bool,
}

impl Verdict {
    pub(crate) fn new() -> Self {
        Self { text: String::new(), problems: 0, not_shown: Vec::new(), is_check: true }
    }

    /// Text that judges nothing.
    pub(crate) fn plain(text: &str) -> Self {
        Self { text: text.to_owned(), is_check: false, ..Self::new() }
    }

    /// Something that was found, under a name.
    pub(crate) fn line(&mut self, name: &str, value: impl Display) {
        self.text += &named(name, value);
    }

    /// A line that stands for itself.
    pub(crate) fn text_line(&mut self, text: impl Display) {
        self.text += &text.to_string();
        self.text.push('\n');
    }

    /// Something wrong.
    pub(crate) fn problem(&mut self, problem: impl Display) {
        self.problems += 1;
        self.line("WRONG", problem);
    }

    /// What could be wrong unseen, and what would show it.
    pub(crate) fn not_shown(&mut self, what: impl Into<String>) {
        self.not_shown.push(what.into());
    }

    pub(crate) fn is_valid(&self) -> bool {
        self.problems == 0
    }

    /// All of it, and the verdict in the last line.
    pub(crate) fn text(&self) -> String {
        if !self.is_check {
            return self.text.clone();
        }
        let missing = self.not_shown.iter().map(|what| named("not shown", what));
        let last = if self.is_valid() { "VALID\n" } else { "NOT VALID\n" };
        std::iter::once(self.text.clone()).chain(missing).chain([last.to_owned()]).collect()
    }
}

fn named(name: &str, value: impl Display) -> String {
    format!("{name:<12} {value}\n")
}

/// Why nothing could be checked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("{0}; `llmos-verify --help` shows how it is used")]
    Usage(String),
    #[error("{} cannot be read: {error}", shown(.path))]
    Read {
        path: PathBuf,
        #[source]
        error: io::Error,
    },
    #[error("{} has more than {limit} bytes, and is not what it should be", shown(.path))]
    TooLong { path: PathBuf, limit: usize },
    #[error("--{option} {value:?} is no key ({format}) and no file with one ({file})")]
    NoKey { option: &'static str, value: String, format: tlog::FormatError, file: String },
    #[error("the kept checkpoint {} cannot be used: {error}", shown(.path))]
    Kept { path: PathBuf, error: tlog::NoteError },
    #[error("the log {} cannot be checked: {error}", shown(.path))]
    Log { path: PathBuf, error: tlog::check::CheckError },
}

/// A path in quotes, so that no name of a file acts on the terminal.
pub(crate) fn shown(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}
