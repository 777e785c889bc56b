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
        Self { exit, what: without_passwords(&what.to_string()), advice: Vec::new() }
    }

    #[must_use]
    pub(crate) fn advise(mut self, line: impl Display) -> Self {
        self.advice.push(without_passwords(&line.to_string()));
        self
    }
}

/// The text with `…` for the user and the password of every URL in it: whoever reads errors need not know them. A text
/// that was cut may end within the password.
pub(crate) fn without_passwords(text: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find("://") {
        let (before, after) = rest.split_at(at + 3);
        shown.push_str(before);
        let ends = |c: char| c.is_whitespace() || c.is_control() || "/?#`'\"".contains(c);
        let authority = &after[..after.find(ends).unwrap_or(after.len())];
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let secret = authority.rfind('@').unwrap_or_else(|| match authority.split_once(':') {
            Some((_, port)) if !authority.starts_with('[') && !is_port(port) => authority.len(),
            _ => 0,
        });
        if secret > 0 {
            shown.push('…');
        }
        rest = &after[secret..];
    }
    shown + rest
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_of_urls_are_not_repeated() {
        for (text, shown) in [
            ("`https://me:s3cret@h.org/m` is refused", "`https://…@h.org/m` is refused"),
            ("https://token@h.org and http://a:p@ss@h:80?x", "https://…@h.org and http://…@h:80?x"),
            ("`https://me:s3cret", "`https://…"),
            ("http://127.0.0.1:8080/a@b, https://[::1]:80", "http://127.0.0.1:8080/a@b, https://[::1]:80"),
            ("hf:org/repo/m.gguf@main: no", "hf:org/repo/m.gguf@main: no"),
            ("https://", "https://"),
        ] {
            let failure = Failure::new(Exit::Failed, text).advise(text);
            assert_eq!((failure.what.as_str(), failure.advice[0].as_str()), (shown, shown));
        }
    }
}
