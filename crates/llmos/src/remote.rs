//! A server on another machine, and the sign-in there. The secret lies in a file that nobody else can read, and goes to that server
//! only.

use std::{
    env, fs,
    io::ErrorKind,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use gateway::sign_in_types::TokenAnswer;
use http::Method;
use outbound::{Call, Outbound, OutboundError, Reply, Streamed, Url};
use serde::{Deserialize, Serialize};
use types::Secret;
use zeroize::Zeroizing;

use crate::{
    config::Config,
    data_dir,
    exit::{Exit, Failure, Trying},
};

/// Largest answer.
const ANSWER_BYTES_MAX: u64 = 64 << 20;
/// Largest file of a sign-in.
const FILE_BYTES_MAX: u64 = 16 << 10;

/// A server on another machine.
pub(crate) struct Remote {
    url: Url,
    outbound: Outbound,
    file: PathBuf,
    session: Option<Secret>,
}

/// What is kept of a sign-in.
#[derive(Serialize, Deserialize)]
struct Kept {
    server: String,
    session: String,
}

impl Remote {
    /// Connects to nobody yet.
    pub(crate) fn new(server: &str, config: &Config) -> Result<Self, Failure> {
        let is_server = |url: &Url| url.scheme() == "https" && url.path() == "/" && url.query().is_none();
        let url = Url::parse(server).ok().filter(is_server).ok_or_else(|| {
            Failure::new(Exit::Usage, format!("`{server}` is no address of a server"))
                .advise("write it as https://llm.example.org")
        })?;
        let outbound =
            Outbound::new(config.outbound.rules.clone()).trying("read the certificates to check it by")?;
        let host = url.host_str().unwrap_or_default();
        let name: String =
            host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
        let file = folder()?.join(format!("{name}-{}.json", url.port_or_known_default().unwrap_or_default()));
        Ok(Self { url, outbound, file, session: None })
    }

    /// With the sign-in that is kept.
    pub(crate) fn signed_in(self) -> Result<Self, Failure> {
        let nobody = || {
            Failure::new(Exit::NotAllowed, format!("nobody is signed in at {}", self.url))
                .advise("`llmos login` signs in")
        };
        let file = self.file.display();
        let metadata = match fs::metadata(&self.file) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == ErrorKind::NotFound => return Err(nobody()),
            Err(error) => return Err(error).trying("read the sign-in"),
        };
        if metadata.mode() & 0o077 != 0 || !metadata.is_file() || metadata.len() > FILE_BYTES_MAX {
            let what = format!(
                "the sign-in in {file} is not used: others can read it, or it is not what was written"
            );
            return Err(Failure::new(Exit::NotAllowed, what)
                .advise("remove it, and sign in again with `llmos login`"));
        }
        let text = Zeroizing::new(fs::read(&self.file).trying("read the sign-in")?);
        let kept: Kept =
            serde_json::from_slice(&text).trying("read the sign-in; remove its file and sign in again")?;
        // Two servers may have names that look alike as names of files.
        if kept.server != self.url.as_str() {
            return Err(nobody());
        }
        Ok(Self { session: Some(Secret::from(kept.session)), ..self })
    }

    /// Its address, for people.
    pub(crate) fn url(&self) -> &Url {
        &self.url
    }

    /// Asks it, with the sign-in if there is one.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<Vec<u8>>,
    ) -> Result<Reply, Failure> {
        self.call(path, &self.signed(method, body)).await
    }

    /// The same, of an answer that takes its time.
    pub(crate) async fn begin(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Streamed, Failure> {
        let url = self.url.join(path).trying("make an address")?;
        let begun = self.outbound.stream(&url, &self.signed(method, Some(body))).await;
        begun.map_err(|error| unreachable(&error))
    }

    fn signed(&self, method: Method, body: Option<Vec<u8>>) -> Call {
        Call {
            method,
            body: body.map(|body| ("application/json", Secret::from(body))),
            authorization: self.session.as_ref().map(Call::bearer),
            bytes_max: ANSWER_BYTES_MAX,
        }
    }

    /// Sends it a form.
    pub(crate) async fn form(&self, path: &str, fields: &[(&str, &Secret)]) -> Result<Reply, Failure> {
        self.call(path, &Call::form(fields, None, ANSWER_BYTES_MAX)).await
    }

    async fn call(&self, path: &str, call: &Call) -> Result<Reply, Failure> {
        let url = self.url.join(path).trying("make an address")?;
        self.outbound.call(&url, call).await.map_err(|error| unreachable(&error))
    }

    /// Keeps a sign-in for the next commands.
    pub(crate) fn keep(&self, answer: TokenAnswer) -> Result<(), Failure> {
        let folder = self.file.parent().unwrap_or(Path::new("."));
        data_dir::make(folder)?;
        let kept = Kept { server: self.url.to_string(), session: answer.access_token };
        let text = Zeroizing::new(serde_json::to_vec(&kept).trying("write the sign-in")?);
        durable::put(&self.file, &text).trying("keep the sign-in")
    }

    /// Forgets it.
    pub(crate) fn forget(&self) -> Result<(), Failure> {
        match fs::remove_file(&self.file) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error).trying("remove the sign-in"),
            _ => Ok(()),
        }
    }
}

fn unreachable(error: &OutboundError) -> Failure {
    Failure::new(Exit::NoServer, format!("the server cannot be asked: {error}")).advise(
        "`outbound.private` and `outbound.ca_file` in llmos.toml say which private networks and authorities are trusted",
    )
}

/// Where sign-ins are kept, for this user of the machine.
fn folder() -> Result<PathBuf, Failure> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    let config = config.ok_or_else(|| {
        Failure::new(Exit::Configuration, "there is no home directory to keep the sign-in in")
            .advise("set HOME or XDG_CONFIG_HOME")
    })?;
    Ok(config.join("llmos").join("sessions"))
}
