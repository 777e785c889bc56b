use std::{fmt::Display, process::ExitCode};

/// How a command ended, as scripts see it. Listed in `--help` and in `docs/reference/cli.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    Failed = 1,
    Usage = 2,
    NoServer = 3,
    NotAllowed = 4,
    NotFound = 5,
    Configuration = 6,
}

impl Exit {
    pub(crate) const ALL: [Self; 7] = [
        Self::Ok,
        Self::Failed,
        Self::Usage,
        Self::NoServer,
        Self::NotAllowed,
        Self::NotFound,
        Self::Configuration,
    ];

    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Usage => "wrong usage",
            Self::NoServer => "no server is running",
            Self::NotAllowed => "not allowed",
            Self::NotFound => "not found",
            Self::Configuration => "bad configuration",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a command did not do what was asked: printed on stderr, and the exit code.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what}")]
pub(crate) struct Failure {
    /// How the process ends.
    pub(crate) exit: Exit,
    /// What happened.
    pub(crate) what: String,
    /// Why, and what to do: one line each, most useful first.
    pub(crate) advice: Vec<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, what: impl Display) -> Self {
        Self { exit, what: what.to_string(), advice: Vec::new() }
    }

    #[must_use]
    pub(crate) fn advise(mut self, line: impl Display) -> Self {
        self.advice.push(line.to_string());
        self
    }
}

/// Says what was tried when something outside of us says no.
pub(crate) trait Trying<T> {
    /// "cannot `what`: reason".
    fn trying(self, what: impl Display) -> Result<T, Failure>;
}

impl<T, E: Display> Trying<T> for Result<T, E> {
    fn trying(self, what: impl Display) -> Result<T, Failure> {
        self.map_err(|error| Failure::new(Exit::Failed, format!("cannot {what}: {error}")))
    }
}
