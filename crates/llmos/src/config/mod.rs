//! The effective configuration: defaults, then the file, then the environment, then flags; each goes before the
//! one to its left. Every problem is found at once and says where it stands.

mod audit;
mod check;
mod file;
mod keys;
mod models;
mod overrides;
mod quotas;
mod root;
mod secret;
mod sign_in;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    fmt::{self, Write as _},
    io::Read,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use ::audit::{Anchor, VerifierKey};
use ::path::Retention;
use access::{Location, Price, Quota, RoleMapping, SessionLimits};
use identity::ProviderSettings;
pub(crate) use models::STORE;
use outbound::{Listed, Rules, Url};
pub(crate) use overrides::{OLD_ROOT_KEY, ROOT_KEY, ROOT_PASSPHRASE, ROOT_PIN, SERVER};
use resources::{ModelSpec, Source, model_store::ModelStore};
pub(crate) use secret::SecretPlace;
use serde_json::json;
use store::PostgresAddress;
use toml::{Table, Value};
use tracing_subscriber::filter::LevelFilter;
use types::ModelName;
use vault::{SecretName, Suite};

use crate::{
    cli::ConfigArgs,
    data_dir,
    exit::{Exit, Failure, Trying},
};

/// Name of the configuration file where none is named.
const FILE_NAME: &str = "llmos.toml";
/// Largest configuration file.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// What the server and the commands go by.
#[derive(Debug)]
pub(crate) struct Config {
    /// The file it comes from, if there is one.
    pub(crate) file: Option<PathBuf>,
    /// A loopback address, unless there is transport security; port 0 lets the system choose one.
    pub(crate) listen: SocketAddr,
    /// Transport security, if there is any.
    pub(crate) tls: Option<TlsFiles>,
    /// Other names that callers may address the server by.
    pub(crate) server_names: Vec<String>,
    /// Absolute.
    pub(crate) data_dir: PathBuf,
    /// How long streams may take to end once the server is told to go.
    pub(crate) shutdown_grace: Duration,
    /// Whether lists take what they are filtered by in their addresses.
    pub(crate) metadata_in_address: bool,
    /// Most memory of all models together, in bytes.
    pub(crate) memory_total: Option<u64>,
    /// What is logged, and how.
    pub(crate) log: Log,
    /// What may be fetched from elsewhere.
    pub(crate) outbound: Outbound,
    /// The database that state is kept in; without one, a file of the data directory.
    pub(crate) postgres: Option<PostgresAddress>,
    /// The sealed password to it.
    pub(crate) postgres_password: Option<SecretName>,
    /// Where the root key is kept.
    pub(crate) root: RootPlace,
    /// What is new in the vault is sealed in it.
    pub(crate) suite: Suite,
    /// Where the root key before it is kept, as long as there may be keys under it.
    pub(crate) old_root: Option<RootPlace>,
    /// How long what is stored is kept.
    pub(crate) retention: Retention,
    /// What happens with the audit log.
    pub(crate) audit: Audit,
    /// How people sign in.
    pub(crate) sign_in: SignIn,
    /// Places, by the addresses there.
    pub(crate) locations: Vec<Location>,
    /// How much may be used, in the order of the file.
    pub(crate) quotas: Vec<Quota>,
    /// What tokens of models cost.
    pub(crate) prices: HashMap<ModelName, Price>,
    /// In the order of the file.
    pub(crate) models: Vec<ModelSpec>,
    effective: Table,
    origins: BTreeMap<String, Origin>,
}

/// How the server logs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Log {
    pub(crate) format: LogFormat,
    pub(crate) level: LevelFilter,
}

/// What is fetched from elsewhere, and how.
#[derive(Debug, Clone)]
pub(crate) struct Outbound {
    /// Whom we connect to.
    pub(crate) rules: Rules,
    /// The hub of models that `hf:` stands for.
    pub(crate) hub: Url,
    /// Hosts that models may come from, beside the hub.
    pub(crate) hosts: Vec<Listed>,
}

impl Outbound {
    /// Where models may come from. Whom else we connect to is configured one by one: providers, witnesses.
    pub(crate) fn for_models(&self) -> Rules {
        let hub = self.hub.host().map(Listed::one);
        Rules { hosts: Some(self.hosts.iter().cloned().chain(hub).collect()), ..self.rules.clone() }
    }
}

/// What happens with the audit log.
#[derive(Debug, Clone)]
pub(crate) struct Audit {
    /// How often may be asked in a minute, with one key or sign-in, for what is recorded and paid for by no quota.
    pub(crate) requests_per_minute: u64,
    /// How often a new checkpoint is pushed to the places off this machine.
    pub(crate) push_every: Duration,
    /// These places.
    pub(crate) anchors: Vec<Anchor>,
    /// Where every record is sent.
    pub(crate) collector: Option<Collector>,
    /// Keys of the logs that this server countersigns.
    pub(crate) witnessed: Vec<VerifierKey>,
}

/// Where every record of the audit log is sent.
#[derive(Debug, Clone)]
pub(crate) struct Collector {
    /// The whole address.
    pub(crate) url: Url,
    /// The file with the token for it; absolute.
    pub(crate) token: Option<SecretPlace>,
}

/// How people sign in.
#[derive(Debug, Clone)]
pub(crate) struct SignIn {
    /// The address that browsers know; none: the one that is listened on.
    pub(crate) public_url: Option<Url>,
    /// How long it lasts.
    pub(crate) limits: SessionLimits,
    /// The identity providers, with where their secrets are.
    pub(crate) providers: Vec<Provider>,
    /// What their accounts may do here.
    pub(crate) mapping: Vec<RoleMapping>,
}

/// An identity provider.
#[derive(Clone)]
pub(crate) struct Provider {
    /// All but the secret.
    pub(crate) settings: ProviderSettings,
    /// Where the secret is; none for a public client.
    pub(crate) secret: Option<SecretPlace>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("name", &self.settings.name).finish_non_exhaustive()
    }
}

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TlsFiles {
    /// The chain, the server's own certificate first; absolute.
    pub(crate) certificate: PathBuf,
    /// Its key.
    pub(crate) key: SecretPlace,
}

/// Where a root key is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RootPlace {
    /// A file; absolute.
    File(PathBuf),
    /// A variable of the environment.
    Environment,
    /// A security module.
    Pkcs11 {
        /// Its library.
        module: PathBuf,
        /// Label of the token.
        token: String,
        /// Label of the key.
        object: String,
    },
}

/// Shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Origin {
    Default,
    File { path: PathBuf, line: usize },
    Environment { variable: String },
    Flag { flag: &'static str },
}

impl Origin {
    /// Of a key, or of the section it is missing from.
    fn of(origins: &BTreeMap<String, Self>, key: &str) -> Self {
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        origins.get(key).or_else(|| origins.get(section)).cloned().unwrap_or(Self::Default)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Environment { variable } => write!(f, "environment {variable}"),
            Self::Flag { flag } => write!(f, "flag {flag}"),
        }
    }
}

/// Something that keeps the configuration from being used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The setting, as `model[0].context`; empty if it is none.
    pub(crate) key: String,
    pub(crate) origin: Origin,
    /// What is wrong and what to do.
    pub(crate) message: String,
}

impl Problem {
    pub(crate) fn to_json(&self) -> serde_json::Value {
        json!({ "key": self.key, "origin": self.origin.to_string(), "message": self.message })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.message)
    }
}

/// Why there is no configuration.
pub(crate) fn failure(problems: &[Problem]) -> Failure {
    let what = match problems.len() {
        1 => "the configuration cannot be used".to_owned(),
        count => format!("the configuration cannot be used, for {count} reasons"),
    };
    problems.iter().fold(Failure::new(Exit::Configuration, what), Failure::advise)
}

/// What surrounds the process, as an argument, so that tests need not change it.
#[derive(Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) variables: BTreeMap<String, String>,
    pub(crate) folder: PathBuf,
}

impl Surroundings {
    pub(crate) fn here() -> Result<Self, Failure> {
        let folder = std::env::current_dir().trying("find out which folder this is")?;
        let mut variables = BTreeMap::new();
        for (name, value) in std::env::vars_os() {
            let Ok(name) = name.into_string() else { continue };
            let ours = name.starts_with("LLMOS_") || name.starts_with("XDG_") || name == "HOME";
            match value.into_string() {
                Ok(value) if ours => drop(variables.insert(name, value)),
                Err(_) if ours => {
                    let what = format!("the environment variable {name} is not valid UTF-8");
                    return Err(Failure::new(Exit::Configuration, what));
                }
                _ => {}
            }
        }
        Ok(Self { variables, folder })
    }

    /// `$XDG_…`, or its place below the home directory. The specification has relative ones ignored.
    fn base(&self, variable: &str, below_home: &str) -> Option<PathBuf> {
        let get = |name: &str| self.variables.get(name).map(PathBuf::from).filter(|path| path.is_absolute());
        get(variable).or_else(|| get("HOME").map(|home| home.join(below_home)))
    }

    /// The file to read. One that is named must exist; the usual places may be empty.
    fn file(&self, args: &ConfigArgs) -> Option<PathBuf> {
        let named = args.config.clone().or_else(|| self.variables.get("LLMOS_CONFIG").map(PathBuf::from));
        if let Some(named) = named {
            return Some(self.folder.join(named));
        }
        let usual = [
            Some(self.folder.clone()),
            self.base("XDG_CONFIG_HOME", ".config").map(|base| base.join("llmos")),
        ];
        usual.into_iter().flatten().map(|folder| folder.join(FILE_NAME)).find(|file| file.exists())
    }
}

impl Config {
    /// The effective configuration, or everything that is wrong with it.
    pub(crate) fn load(args: &ConfigArgs, surroundings: &Surroundings) -> Result<Self, Vec<Problem>> {
        let data_dir = surroundings.base("XDG_DATA_HOME", ".local/share").map(|base| base.join("llmos"));
        let data_dir = data_dir.map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        let mut table = Table::try_from(file::File::defaults(data_dir)).unwrap_or_default();
        let mut origins = BTreeMap::new();
        let mut problems = Vec::new();

        let file = surroundings.file(args);
        if let Some(path) = &file {
            let text = read(path).map_err(|problem| vec![problem])?;
            let found = keys::inspect(&text);
            let origin = |line| Origin::File { path: path.clone(), line };
            merge(&mut table, found.table);
            origins.extend(found.lines.into_iter().map(|(key, line)| (key, origin(line))));
            problems.extend(found.complaints.into_iter().map(|complaint| Problem {
                key: complaint.key,
                origin: origin(complaint.line),
                message: complaint.message,
            }));
        }
        let (environment, mut unusable) = overrides::from_environment(&surroundings.variables);
        problems.append(&mut unusable);
        for found in environment.into_iter().chain(overrides::from_flags(args)) {
            set(&mut table, &found.key, found.value);
            // What the file said about it does not matter any more.
            problems.retain(|problem| problem.key != found.key);
            origins.insert(found.key, found.origin);
        }
        check::check(file, table, origins, problems, &surroundings.folder)
    }

    /// Problems that only matter to a server: without them, commands can still find it.
    pub(crate) fn problems_of_serving(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        if self.models.is_empty() {
            let origin = match &self.file {
                Some(path) => Origin::File { path: path.clone(), line: 1 },
                None => Origin::Default,
            };
            let message = format!(
                "no model is configured; add one to {}:\n    [[model]]\n    name = \"my-model\"\n    source = \
                 \"/path/to/model.gguf\"",
                self.file.as_ref().map_or(FILE_NAME.into(), |path| path.to_string_lossy())
            );
            problems.push(Problem { key: "model".to_owned(), origin, message });
        }
        for (index, model) in self.models.iter().enumerate() {
            let key = format!("model[{index}].source");
            match &model.source {
                Source::File { path, .. } if !path.is_file() => {
                    let message =
                        format!("there is no file {}; correct the path of this model", path.display());
                    problems.push(Problem { origin: Origin::of(&self.origins, &key), key, message });
                }
                Source::Store { model } => {
                    let Err(error) = self.in_store(model) else { continue };
                    let message = format!("{error}; `llmos pull` fetches models");
                    problems.push(Problem { origin: Origin::of(&self.origins, &key), key, message });
                }
                _ => {}
            }
        }
        problems
    }

    /// Looks for a model in the store, if there is one: a check makes none.
    fn in_store(&self, model: &str) -> Result<(), String> {
        let folder = data_dir::models(&self.data_dir);
        if !folder.exists() {
            return Err(format!("there is no model `{model}` in the store {}", folder.display()));
        }
        let found = ModelStore::open(&folder).and_then(|store| store.find(model));
        found.map(drop).map_err(|error| error.to_string())
    }

    /// Effective values with their origins, as TOML with comments.
    pub(crate) fn to_toml(&self) -> String {
        let mut text = match &self.file {
            Some(path) => format!("# file: {}\n", path.display()),
            None => "# file: none\n".to_owned(),
        };
        self.write_section(&mut text, "", &self.effective);
        text
    }

    /// Values before sections, as TOML wants it.
    fn write_section(&self, text: &mut String, section: &str, table: &Table) {
        let key = |name: &str| if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") };
        for (name, value) in table.iter().filter(|(_, value)| !is_section(value)) {
            let origin = self.origins.get(&key(name)).unwrap_or(&Origin::Default);
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name} = {value}  # {origin}");
        }
        for (name, value) in table {
            match value {
                Value::Table(inner) => {
                    let _ = writeln!(text, "\n[{}]", key(name));
                    self.write_section(text, &key(name), inner);
                }
                Value::Array(items) => {
                    for (index, item) in items.iter().enumerate() {
                        let Value::Table(inner) = item else { continue };
                        let _ = writeln!(text, "\n[[{}]]", key(name));
                        self.write_section(text, &format!("{}[{index}]", key(name)), inner);
                    }
                }
                _ => {}
            }
        }
    }

    /// The same as one document.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        let mut origins = serde_json::Map::new();
        self.collect_origins(&mut origins, "", &Value::Table(self.effective.clone()));
        json!({ "file": self.file, "values": self.effective, "origins": origins })
    }

    fn collect_origins(
        &self,
        into: &mut serde_json::Map<String, serde_json::Value>,
        key: &str,
        value: &Value,
    ) {
        match value {
            Value::Table(table) => {
                for (name, inner) in table {
                    let key = if key.is_empty() { name.clone() } else { format!("{key}.{name}") };
                    self.collect_origins(into, &key, inner);
                }
            }
            Value::Array(items) if is_section(value) => {
                for (index, item) in items.iter().enumerate() {
                    self.collect_origins(into, &format!("{key}[{index}]"), item);
                }
            }
            _ => {
                let origin = self.origins.get(key).unwrap_or(&Origin::Default);
                into.insert(key.to_owned(), origin.to_string().into());
            }
        }
    }
}

fn is_section(value: &Value) -> bool {
    match value {
        Value::Table(_) => true,
        Value::Array(items) => items.iter().any(Value::is_table),
        _ => false,
    }
}

fn read(path: &Path) -> Result<String, Problem> {
    let problem = |message: String| Problem {
        key: String::new(),
        origin: Origin::File { path: path.to_owned(), line: 1 },
        message,
    };
    let mut text = String::new();
    modelfile::open_regular(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| problem(format!("the file cannot be read: {error}")))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(problem(format!("the file is larger than {FILE_BYTES_MAX} bytes")));
    }
    Ok(text)
}

/// Puts `over` over `under`, table by table.
fn merge(under: &mut Table, over: Table) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Table(under)), Value::Table(over)) => merge(under, over),
            (_, value) => drop(under.insert(name, value)),
        }
    }
}

/// Sets `log.level` and the like.
fn set(table: &mut Table, key: &str, value: Value) {
    let over =
        key.rsplit('.').fold(value, |value, name| Value::Table(Table::from_iter([(name.to_owned(), value)])));
    if let Value::Table(over) = over {
        merge(table, over);
    }
}
