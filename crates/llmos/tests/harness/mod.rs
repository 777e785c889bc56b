//! Starts the real binary in a folder of its own and talks to it as its users do: over TCP, and by its commands.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

/// Longest that anything may take before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A simulated model.
pub(crate) const MODEL: &str =
    "[[model]]\nname = 'mock'\nsource = 'simulator:'\naliases = ['other']\ncontext = 8192\n";

/// A folder with a configuration file, for one or more servers, one after the other.
pub(crate) struct Site {
    folder: TempDir,
}

/// A command that has ended.
pub(crate) struct Outcome {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A server that runs. Dropping it ends it.
pub(crate) struct Server<'a> {
    site: &'a Site,
    child: Child,
    pub(crate) greeting: Value,
}

/// A complete answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Value,
}

impl Site {
    /// One simulated model, on a port that the system chooses.
    pub(crate) fn new() -> Self {
        Self::with(MODEL)
    }

    /// With this at the end of its configuration.
    pub(crate) fn with(configuration: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let top = "listen = '127.0.0.1:0'\ndata_dir = 'data'\n";
        fs::write(folder.path().join("llmos.toml"), format!("{top}{configuration}")).unwrap();
        Self { folder }
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// All that servers here have logged.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap()
    }

    /// The binary, in the folder, with nothing of our own environment.
    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmos"));
        command.args(args).current_dir(self.folder.path()).env_clear().env("HOME", self.folder.path());
        command
    }

    /// Starts a command.
    pub(crate) fn spawn(&self, args: &[&str]) -> Child {
        let mut command = self.command(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Outcome {
        self.run_with(args, "", &[])
    }

    /// The same with text on stdin and variables.
    pub(crate) fn run_with(&self, args: &[&str], stdin: &str, variables: &[(&str, &str)]) -> Outcome {
        let mut command = self.command(args);
        command.envs(variables.iter().copied()).stdin(Stdio::piped());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // A command that reads no stdin may be gone before it is written.
        let _ = child.stdin.take().unwrap().write_all(stdin.as_bytes());
        let output = child.wait_with_output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Outcome { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
    }

    /// Starts a server and waits until it is ready.
    pub(crate) fn serve(&self, args: &[&str]) -> Server<'_> {
        self.serve_with(args, &[])
    }

    /// The same with variables.
    pub(crate) fn serve_with(&self, args: &[&str], variables: &[(&str, &str)]) -> Server<'_> {
        let mut command = self.command(&[&["serve", "--json"], args].concat());
        command.envs(variables.iter().copied());
        self.serve_by(command)
    }

    /// The same, but does not ask whether it is ready.
    pub(crate) fn serve_unready(&self, args: &[&str]) -> Server<'_> {
        self.greeted(self.command(&[&["serve", "--json"], args].concat()))
    }

    /// The same by another command that becomes the server.
    pub(crate) fn serve_by(&self, command: Command) -> Server<'_> {
        let server = self.greeted(command);
        wait_until("the server is ready", || server.get("/readyz").status == 200);
        server
    }

    fn greeted(&self, mut command: Command) -> Server<'_> {
        let log =
            fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut greeting = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut greeting).unwrap();
        let greeting = serde_json::from_str(&greeting)
            .unwrap_or_else(|error| panic!("no greeting ({error}): {greeting}{}", self.log()));
        Server { site: self, child, greeting }
    }
}

impl Answer {
    /// Which request it answers.
    pub(crate) fn request_id(&self) -> &str {
        let id = self.head.lines().find_map(|line| line.strip_prefix("x-request-id: "));
        id.unwrap_or_else(|| panic!("no id: {}", self.head))
    }
}

/// An API key: its id and its secret.
pub(crate) struct Key {
    pub(crate) id: String,
    pub(crate) secret: String,
}

impl Server<'_> {
    /// A new key of somebody with this role.
    pub(crate) fn key_of(&self, tenant: &str, user: &str, role: &str) -> Key {
        let made = self
            .json(&["keys", "create", "--label", "x", "--tenant", tenant, "--user", user, "--role", role]);
        let text = |field: &str| made[field].as_str().unwrap().to_owned();
        Key { id: text("id"), secret: text("secret") }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Host and port.
    pub(crate) fn address(&self) -> &str {
        self.greeting["address"].as_str().unwrap().strip_prefix("http://").unwrap()
    }

    /// The administrator's key, if this is the first start.
    pub(crate) fn key(&self) -> &str {
        self.greeting["key"].as_str().unwrap()
    }

    /// Runs a command against this server; it must succeed and print JSON.
    pub(crate) fn json(&self, args: &[&str]) -> Value {
        let outcome = self.site.run(&[args, &["--json"]].concat());
        assert_eq!(outcome.code, Some(0), "{args:?}: {}", outcome.stderr);
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// Records of the audit log that these flags choose, the oldest first.
    pub(crate) fn records(&self, flags: &[&str]) -> Vec<Value> {
        let found = self.json(&[&["audit", "search", "--limit", "100000"], flags].concat());
        found["records"].as_array().unwrap().clone()
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        exchange(
            self.address(),
            &format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"),
        )
    }

    /// Any request, with JSON or without; headers as `name: value`.
    pub(crate) fn request(
        &self,
        method: &str,
        path: &str,
        key: &str,
        headers: &[&str],
        body: Option<&Value>,
    ) -> Answer {
        exchange(self.address(), &request(method, path, key, headers, body))
    }

    /// The same; the whole of what comes back, as text.
    pub(crate) fn raw(
        &self,
        method: &str,
        path: &str,
        key: &str,
        headers: &[&str],
        body: Option<&Value>,
    ) -> String {
        let mut reader = send(self.address(), &request(method, path, key, headers, body));
        read_head(&mut reader);
        let mut text = String::new();
        Chunked { reader, left: 0 }.read_to_string(&mut text).unwrap();
        text
    }

    /// The same; none if the answer does not come whole, as when the server is killed.
    pub(crate) fn try_raw(
        &self,
        method: &str,
        path: &str,
        key: &str,
        headers: &[&str],
        body: Option<&Value>,
    ) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address()).ok()?;
        stream.write_all(request(method, path, key, headers, body).as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        if head.starts_with("HTTP/1.1 200") { serde_json::from_str(body).ok() } else { None }
    }

    /// Asks the model, with a key, for the same answer every time.
    pub(crate) fn chat(&self, key: &str, prompt: &str) -> Answer {
        exchange(self.address(), &chat_request(key, prompt, false))
    }

    /// Asks the model for a stream of events.
    pub(crate) fn stream(&self, prompt: &str) -> Events {
        self.events(&chat_request(self.key(), prompt, true))
    }

    /// The same with a key and a body of one's own.
    pub(crate) fn stream_with(&self, key: &str, body: &Value) -> Events {
        self.events(&request("POST", "/v1/chat/completions", key, &[], Some(body)))
    }

    fn events(&self, request: &str) -> Events {
        let mut reader = send(self.address(), request);
        let head = read_head(&mut reader);
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        Events { reader: BufReader::new(Chunked { reader, left: 0 }) }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(self.child.id().cast_signed()).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// Waits for the end; returns the exit code.
    pub(crate) fn ended(self) -> Option<i32> {
        self.died().code()
    }

    /// Waits for the end; returns how it came.
    pub(crate) fn died(mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(started.elapsed() < PATIENCE, "the server does not end: {}", self.site.log());
            sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Events of a stream: each `data:` line, until `[DONE]` or the end.
pub(crate) struct Events {
    reader: BufReader<Chunked>,
}

impl Iterator for Events {
    type Item = Value;

    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            // A server that is killed may reset the connection: that is an end, too.
            if !matches!(self.reader.read_line(&mut line), Ok(bytes) if bytes > 0) {
                return None;
            }
            match line.trim().strip_prefix("data:").map(str::trim) {
                Some("[DONE]") => return Some(json!("[DONE]")),
                Some(data) => return Some(serde_json::from_str(data).unwrap()),
                None => {}
            }
        }
    }
}

/// Decodes `transfer-encoding: chunked`.
struct Chunked {
    reader: BufReader<TcpStream>,
    left: usize,
}

impl Read for Chunked {
    fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
        if self.left == 0 {
            let mut size = String::new();
            while size.trim().is_empty() {
                size.clear();
                if self.reader.read_line(&mut size)? == 0 {
                    return Ok(0);
                }
            }
            self.left = usize::from_str_radix(size.trim(), 16).unwrap();
            if self.left == 0 {
                return Ok(0);
            }
        }
        let most = into.len().min(self.left);
        let read = self.reader.read(&mut into[..most])?;
        self.left -= read;
        Ok(read)
    }
}

/// Waits for something that takes a moment.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < PATIENCE, "waited in vain until {what}");
        sleep(Duration::from_millis(10));
    }
}

/// Everything below a folder, with its permissions.
pub(crate) fn modes(folder: &Path) -> Vec<(String, u32)> {
    use std::os::unix::fs::PermissionsExt;
    let entries = fs::read_dir(folder).unwrap().map(Result::unwrap);
    let mode = |entry: &fs::DirEntry| entry.metadata().unwrap().permissions().mode() & 0o777;
    let mut modes: Vec<_> =
        entries.map(|entry| (entry.file_name().into_string().unwrap(), mode(&entry))).collect();
    modes.sort();
    modes
}

fn chat_request(key: &str, prompt: &str, stream: bool) -> String {
    let messages = json!([{ "role": "user", "content": prompt }]);
    let body =
        json!({ "model": "mock", "messages": messages, "stream": stream, "temperature": 0 }).to_string();
    format!(
        "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {key}\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn request(method: &str, path: &str, key: &str, headers: &[&str], body: Option<&Value>) -> String {
    let body = body.map(Value::to_string);
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\nauthorization: Bearer {key}\r\n"
    );
    let own = headers.iter().flat_map(|header| [*header, "\r\n"]).collect::<String>();
    let about = body.as_ref().map_or(String::new(), |body| {
        format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len())
    });
    head + &own + &about + "\r\n" + &body.unwrap_or_default()
}

fn send(address: &str, request: &str) -> BufReader<TcpStream> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    BufReader::new(stream)
}

/// Status line and headers, in lower case but for the first line.
fn read_head(reader: &mut impl BufRead) -> String {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "the answer ends in its head: {head}");
        head += &if head.is_empty() { line } else { line.to_lowercase() };
    }
    head
}

fn exchange(address: &str, request: &str) -> Answer {
    let mut reader = send(address, request);
    let head = read_head(&mut reader);
    let mut body = String::new();
    if head.contains("transfer-encoding: chunked") {
        Chunked { reader, left: 0 }.read_to_string(&mut body).unwrap();
    } else {
        reader.read_to_string(&mut body).unwrap();
    }
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head, body: serde_json::from_str(&body).unwrap_or(Value::Null) }
}
