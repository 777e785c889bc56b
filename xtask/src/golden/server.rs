//! A llama-server of our own on a free port of this machine, and as much HTTP as it takes to ask it.

use std::{
    fs::File,
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How long the server may take to load the model.
const LOAD_MAX: Duration = Duration::from_mins(2);
/// How long it may take to answer one question.
const ANSWER_MAX: Duration = Duration::from_secs(30);
/// How often it is asked whether it is ready.
const POLL: Duration = Duration::from_millis(50);
/// Longest answer that is read, in bytes.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// Tokens of context it keeps: no golden conversation is longer.
const CONTEXT_TOKENS: &str = "2048";

/// A running llama-server. Dropping it ends it.
pub(super) struct Server {
    child: Child,
    port: u16,
}

impl Server {
    /// Starts the program on the model and waits until it answers.
    pub(super) fn start(program: &Path, model: &Path) -> Result<Self> {
        // Another process may take the port in between; then the server ends, and that is reported.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
        let log_path = program.with_extension("log");
        let log = File::create(&log_path).with_context(|| format!("cannot write {}", log_path.display()))?;
        let mut command = Command::new(program);
        command.arg("--model").arg(model).args(["--host", "127.0.0.1", "--port", &port.to_string()]);
        command.args(["--ctx-size", CONTEXT_TOKENS, "--threads", "1", "--no-warmup"]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let started = command.spawn();
        let what = || format!("cannot start {}; `cargo xtask setup bench` builds it", program.display());
        let mut server = Self { child: started.with_context(what)?, port };
        server.wait_until_ready().with_context(|| format!("llama-server: see {}", log_path.display()))?;
        Ok(server)
    }

    /// Sends a JSON body and reads the JSON answer.
    pub(super) fn post<A: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<A> {
        let body = body.to_string();
        let length = body.len();
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n"
        );
        let (status, answer) = self.exchange(&(head + &body)).with_context(|| format!("POST {path}"))?;
        if status != 200 {
            bail!("POST {path} was answered with {status}: {answer}");
        }
        serde_json::from_str(&answer).with_context(|| format!("POST {path} was answered with {answer}"))
    }

    fn wait_until_ready(&mut self) -> Result<()> {
        let question = "GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n";
        let started = Instant::now();
        while started.elapsed() < LOAD_MAX {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended while loading the model ({status})");
            }
            if self.exchange(question).is_ok_and(|(status, _)| status == 200) {
                return Ok(());
            }
            sleep(POLL);
        }
        bail!("it was not ready after {} s", LOAD_MAX.as_secs())
    }

    /// One question over a connection of its own: status and body.
    fn exchange(&self, question: &str) -> Result<(u16, String)> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port))?;
        stream.set_read_timeout(Some(ANSWER_MAX))?;
        stream.set_write_timeout(Some(ANSWER_MAX))?;
        stream.write_all(question.as_bytes())?;
        let mut answer = String::new();
        stream.take(ANSWER_BYTES_MAX).read_to_string(&mut answer)?;
        parse(&answer)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already, or it ends now; either way there is nothing left to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Status and body of an answer that ended with its connection.
fn parse(answer: &str) -> Result<(u16, String)> {
    let (head, body) = answer.split_once("\r\n\r\n").context("the answer has no end of its head")?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.with_context(|| format!("the answer has no status: {head}"))?;
    let fields = head.lines().filter_map(|line| line.split_once(':'));
    for (name, value) in fields {
        if name.eq_ignore_ascii_case("transfer-encoding") {
            bail!("the answer comes in pieces ({}), which this client cannot read", value.trim());
        }
        if name.eq_ignore_ascii_case("content-length") && value.trim() != body.len().to_string() {
            bail!("the answer has {} of {} bytes", body.len(), value.trim());
        }
    }
    Ok((status, body.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_answers() {
        let cases = [
            ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", Some((200, "{}"))),
            ("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 4\r\n\r\nbusy", Some((503, "busy"))),
            ("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}", None),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", None),
            ("HTTP/1.1 200 OK\r\nContent-Length: 2", None),
            ("\r\n\r\n", None),
        ];
        for (answer, expected) in cases {
            let parsed = parse(answer).ok();
            let parsed = parsed.as_ref().map(|(status, body)| (*status, body.as_str()));
            assert_eq!(parsed, expected, "{answer}");
        }
    }
}
