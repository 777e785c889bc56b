//! A server of PostgreSQL of our own, on a socket in a temporary folder.
#![allow(dead_code, reason = "each test uses a part of it")]

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

/// Longest that the server may take to start.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where Debian puts the programs of each version.
const PROGRAMS: &str = "/usr/lib/postgresql";
/// Who looks after the cluster.
const KEEPER: &str = "keeper";
/// The account that the server has: it owns its database, and that is all.
const USER: &str = "llmos";

/// The port that a server has if it is asked on its socket only.
const PORT: u16 = 5432;

/// A server that runs. Dropping it ends it.
pub(crate) struct Postgres {
    folder: tempfile::TempDir,
    programs: PathBuf,
    running: Option<Child>,
    port: u16,
    settings: Vec<String>,
}

impl Postgres {
    /// Makes a new cluster and starts its server.
    pub(crate) fn start() -> Self {
        let versions = fs::read_dir(PROGRAMS).expect("PostgreSQL is not installed; `make test` installs it");
        let mut versions: Vec<PathBuf> = versions.map(|entry| entry.unwrap().path().join("bin")).collect();
        versions.sort();
        let programs = versions.pop().expect("PostgreSQL is not installed; `make test` installs it");
        let folder = tempfile::Builder::new().prefix("pg").tempdir().unwrap();
        let mut postgres = Self {
            folder,
            programs,
            running: None,
            port: PORT,
            settings: vec!["-h".to_owned(), String::new()],
        };
        if is_root() {
            let chowned = Command::new("chown").arg("postgres").arg(postgres.folder.path()).status().unwrap();
            assert!(chowned.success());
        }
        let made = postgres
            .program("initdb")
            .args(["--no-sync", "--auth=trust", "--encoding=UTF8", "--no-locale", "--username", KEEPER])
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(made.success());
        postgres.start_again();
        let least = "LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS";
        postgres.sql("postgres", &format!("CREATE ROLE {USER} {least}"));
        postgres
    }

    /// Starts the server of the cluster after it was killed.
    pub(crate) fn start_again(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        let server = self
            .program("postgres")
            .args(["-c", "max_connections=40", "-k"])
            .arg(self.folder.path())
            .args(&self.settings)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.running = Some(server);
        let started = Instant::now();
        let is_ready = || {
            let mut ready = self.program("pg_isready");
            ready.arg("-q").arg("-h").arg(self.folder.path()).status().unwrap().success()
        };
        while !is_ready() {
            let log = fs::read_to_string(self.log()).unwrap_or_default();
            assert!(started.elapsed() < PATIENCE, "PostgreSQL does not start: {log}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Starts it anew for the network, with TLS: it shows a certificate, lets in who shows one that this authority has made for
    /// the account, and nobody else. All in PEM. Returns its port.
    pub(crate) fn secure(&mut self, certificate: &str, key: &str, authority: &str) -> u16 {
        self.kill();
        let entries = "local all all trust\nhostssl all all 127.0.0.1/32 cert\n";
        for (name, text) in [
            ("server.crt", certificate),
            ("server.key", key),
            ("clients.crt", authority),
            ("pg_hba.conf", entries),
        ] {
            let file = self.data().join(name);
            fs::write(&file, text).unwrap();
            fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
            if is_root() {
                assert!(Command::new("chown").arg("postgres").arg(&file).status().unwrap().success());
            }
        }
        self.port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        self.settings =
            ["-h", "127.0.0.1", "-c", "ssl=on", "-c", "ssl_ca_file=clients.crt"].map(str::to_owned).into();
        self.start_again();
        self.port
    }

    /// Starts it anew so that the account is let in with this password only.
    pub(crate) fn demand(&mut self, password: &str) {
        self.sql("postgres", &format!("ALTER ROLE {USER} PASSWORD '{password}'"));
        self.kill();
        let entries = format!("local all {KEEPER} trust\nlocal all all scram-sha-256\n");
        fs::write(self.data().join("pg_hba.conf"), entries).unwrap();
        self.start_again();
    }

    /// Ends the server at once, without a checkpoint: the next start has to recover.
    pub(crate) fn kill(&mut self) {
        let Some(mut server) = self.running.take() else { return };
        let _ = self.program("pg_ctl").args(["stop", "-s", "-m", "immediate"]).status();
        // If that did not help. A server that is gone already is no error.
        let _ = server.kill();
        let _ = server.wait();
    }

    /// A new, empty database; its address, with the account of the server.
    pub(crate) fn database(&self, name: &str) -> String {
        let made = self
            .program("createdb")
            .arg("-h")
            .arg(self.folder.path())
            .args(["-U", KEEPER, "-O", USER, name])
            .status()
            .unwrap();
        assert!(made.success());
        format!("postgres:///{name}?host={}&user={USER}", self.folder.path().display())
    }

    /// Runs a statement as who looks after the cluster; what it prints.
    pub(crate) fn sql(&self, database: &str, statement: &str) -> String {
        let mut psql = self.program("psql");
        psql.arg("-h").arg(self.folder.path());
        let output = psql.args(["-U", KEEPER, "-qAtc", statement, database]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// All that the cluster has on disk.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.folder.path().join("log")
    }

    /// One of its programs; the server refuses to be run by root.
    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = if is_root() {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups", "--"]).arg(program);
            command
        } else {
            Command::new(program)
        };
        command.env("PGDATA", self.data()).env("PGPORT", self.port.to_string()).current_dir(Path::new("/"));
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}
