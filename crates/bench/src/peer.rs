//! A peer that runs in Python. It is asked by lines of JSON for as long as a suite goes on, so that ours and it take turns, and its
//! packages are loaded once.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read, Seek, Write},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};
use serde::{Serialize, de::DeserializeOwned};

/// Longest that an answer may take. What a peer may use is told to it, and is far less.
const ANSWER_MAX: Duration = Duration::from_mins(10);
/// Bytes of what it complained about that are shown.
const COMPLAINT_SHOWN: u64 = 2_000;

/// A running peer. Dropping it ends it.
pub(crate) struct Peer {
    child: Child,
    questions: ChildStdin,
    answers: Receiver<String>,
    complaints: File,
}

impl Peer {
    /// Starts a script, which answers each line of stdin by a line of stdout.
    pub(crate) fn start(python: &Path, script: &str) -> Result<Self> {
        let complaints = tempfile::tempfile().context("a file for what the peer complains about")?;
        let mut child = Command::new(python)
            .args(["-c", script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(complaints.try_clone().context("a second handle of that file")?)
            .spawn()
            .with_context(|| format!("cannot run {}", python.display()))?;
        let questions = child.stdin.take().context("the peer has no stdin")?;
        let stdout = child.stdout.take().context("the peer has no stdout")?;
        let (sender, answers) = channel();
        // Reading cannot be given a limit of time, but waiting for who reads can. It ends when the peer does.
        thread::spawn(move || {
            let lines = BufReader::new(stdout).lines().map_while(Result::ok);
            lines.map(|line| sender.send(line)).all(|sent| sent.is_ok())
        });
        Ok(Self { child, questions, answers, complaints })
    }

    /// Asks, and waits for the answer.
    pub(crate) fn ask<A: DeserializeOwned>(&mut self, question: &impl Serialize) -> Result<A> {
        let question = serde_json::to_string(question)? + "\n";
        let asked = self.questions.write_all(question.as_bytes()).and_then(|()| self.questions.flush());
        let answer = asked.map_err(anyhow::Error::from);
        let answer = answer.and_then(|()| Ok(self.answers.recv_timeout(ANSWER_MAX)?));
        let answer = answer.map_err(|_| anyhow!("the peer does not answer: {}", self.last_words()))?;
        serde_json::from_str(&answer).with_context(|| format!("the peer answered something else: {answer}"))
    }

    fn last_words(&mut self) -> String {
        let mut words = Vec::new();
        let length = self.complaints.metadata().map_or(0, |file| file.len());
        let begin = std::io::SeekFrom::Start(length.saturating_sub(COMPLAINT_SHOWN));
        // Nothing is lost but an explanation.
        let _ = self.complaints.seek(begin).and_then(|_| self.complaints.read_to_end(&mut words));
        String::from_utf8_lossy(&words).trim().to_owned()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
