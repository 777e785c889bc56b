use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use ::path::Retention;
use outbound::{Listed, Network, Rules, Url};
use resources::Source;
use toml::Table;
use tracing_subscriber::filter::LevelFilter;
use vault::Suite;

use super::{
    Config, Log, LogFormat, Origin, Outbound, Problem, RootPlace, SecretPlace, TlsFiles,
    file::{self, File},
    root,
};

use crate::exit::without_passwords;

/// Longest that a server may take to go away.
const SHUTDOWN_GRACE_S_MAX: i64 = 3_600;
/// Memory of one worker: a pebibyte.
pub(super) const MEMORY_MB_MAX: i64 = 1 << 30;
/// Names of the server.
const SERVER_NAMES_MAX: usize = 64;
/// Longest name that the DNS has.
const SERVER_NAME_BYTES_MAX: usize = 253;
/// Longest that anything is stored: a hundred years.
const RETENTION_DAYS_MAX: i64 = 36_525;
const DAY_S: u64 = 86_400;
/// Tenants for whom nothing is stored.
const NO_STORE_TENANTS_MAX: usize = 1_024;
/// Networks that are not public and may be reached all the same.
const PRIVATE_MAX: usize = 64;
/// Hosts that models may come from.
const HOSTS_MAX: usize = 256;

/// Checks the values and makes a [`Config`] of them, or says all that is wrong with them. `problems` are those
/// that are known already; a setting is reported only once.
pub(super) fn check(
    file: Option<PathBuf>,
    table: Table,
    origins: BTreeMap<String, Origin>,
    problems: Vec<Problem>,
    folder: &Path,
) -> Result<Config, Vec<Problem>> {
    let mut check = Check { origins: &origins, problems, folder };
    let mut values: File = match table.try_into() {
        Ok(values) => values,
        Err(error) => {
            check.refuse("", error.to_string());
            return Err(check.problems);
        }
    };
    let tls = check.tls(&values.tls);
    let listen = check.listen(&values.listen, values.tls.certificate.is_some());
    let server_names = check.server_names(&values.server_names);
    let data_dir = check.data_dir(&values.data_dir);
    let grace = check.number("shutdown_grace_s", values.shutdown_grace_s, 0, SHUTDOWN_GRACE_S_MAX);
    let format = check.one_of(
        "log.format",
        &values.log.format,
        &[("text", LogFormat::Text), ("json", LogFormat::Json)],
    );
    let level = check.one_of("log.level", &values.log.level, &LEVELS);
    let filters = [("header", false), ("address", true)];
    let metadata_in_address = check.one_of("metadata_filter", &values.metadata_filter, &filters);
    let memory_total =
        values.memory_total_mb.and_then(|mb| check.number("memory_total_mb", mb, 1, MEMORY_MB_MAX));
    let outbound = check.outbound(&values.outbound);
    let postgres = check.postgres(&values.store);
    let postgres_password = check.postgres_password(&values.store);
    let below = data_dir.clone().unwrap_or_default();
    let root = check.root("vault.root", &values.vault.root, &below);
    let suites = Suite::ALL.map(|suite| (suite.name(), suite));
    let suite = check.one_of("vault.suite", &values.vault.suite, &suites);
    let old_root = values.vault.old_root.as_deref();
    let old_root = old_root.and_then(|text| check.root("vault.old_root", text, &below));
    if root.is_some() && root == old_root && root != Some(RootPlace::Environment) {
        let message =
            "`vault.old_root` is the same as `vault.root`; name the one that was before, or remove it";
        check.refuse("vault.old_root", message.to_owned());
    }
    let retention = check.retention(&values.retention);
    let audit = check.audit(&values);
    let sign_in = check.sign_in(&values);
    let locations = check.locations(&values.location);
    let quotas = check.quotas(&values.quota);
    let models = check.models(&values.model);
    let prices = check.prices(&values.model);

    let (
        Some(listen),
        Some(data_dir),
        Some(grace),
        Some(format),
        Some(level),
        Some(metadata_in_address),
        Some(outbound),
        Some(root),
        Some(suite),
        Some(retention),
        Some(audit),
        true,
    ) = (
        listen,
        data_dir,
        grace,
        format,
        level,
        metadata_in_address,
        outbound,
        root,
        suite,
        retention,
        audit,
        check.problems.is_empty(),
    )
    else {
        return Err(check.problems);
    };
    // `config show` prints where things really are.
    if let RootPlace::File(path) = &root {
        values.vault.root = format!("file:{}", path.display());
    }
    values.data_dir = data_dir.to_string_lossy().into_owned();
    values.outbound.ca_file = outbound.rules.ca_file.as_ref().map(|path| path.to_string_lossy().into_owned());
    audit.show(&mut values);
    for (shown, provider) in values.provider.iter_mut().zip(&sign_in.providers) {
        shown.client_secret_file = provider.secret.as_ref().map(SecretPlace::shown);
    }
    for (shown, spec) in values.model.iter_mut().zip(&models) {
        if let Source::File { path, .. } = &spec.source {
            shown.source = path.to_string_lossy().into_owned();
        }
    }
    let effective = Table::try_from(&values).unwrap_or_default();
    Ok(Config {
        file,
        listen,
        tls,
        server_names,
        metadata_in_address,
        data_dir,
        shutdown_grace: Duration::from_secs(grace.unsigned_abs()),
        memory_total: memory_total.map(|mb| mb.unsigned_abs() << 20),
        log: Log { format, level },
        outbound,
        postgres,
        postgres_password,
        root,
        suite,
        old_root,
        retention,
        audit,
        sign_in,
        locations,
        quotas,
        prices,
        models,
        effective,
        origins,
    })
}

/// Names of levels, least talkative first.
const LEVELS: [(&str, LevelFilter); 5] = [
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// Whether tenants and teams can be called so.
pub(super) fn is_name(name: &str) -> bool {
    !name.trim().is_empty() && name.len() <= access::NAME_BYTES_MAX
}

pub(super) struct Check<'a> {
    origins: &'a BTreeMap<String, Origin>,
    problems: Vec<Problem>,
    folder: &'a Path,
}

impl Check<'_> {
    /// Reports a setting, once.
    pub(super) fn refuse(&mut self, key: &str, message: String) {
        if !self.problems.iter().any(|problem| problem.key == key) {
            let origin = Origin::of(self.origins, key);
            self.problems.push(Problem { key: key.to_owned(), origin, message });
        }
    }

    fn listen(&mut self, text: &str, encrypted: bool) -> Option<SocketAddr> {
        let Ok(address) = SocketAddr::from_str(text) else {
            let message =
                format!("`listen` is `{text}`; write an IP address and a port, as in 127.0.0.1:8080");
            self.refuse("listen", message);
            return None;
        };
        if !is_loopback(address.ip()) && !encrypted {
            let port = address.port();
            let message = format!(
                "`listen` is {address}, which other machines may reach, and there is no transport security; set \
                 `tls.certificate` and `tls.key`, or write 127.0.0.1:{port} and let a TLS proxy or an SSH tunnel on this \
                 machine forward to it"
            );
            self.refuse("listen", message);
            return None;
        }
        Some(address)
    }

    fn tls(&mut self, tls: &file::Tls) -> Option<TlsFiles> {
        match (&tls.certificate, &tls.key) {
            (None, None) => None,
            (Some(certificate), Some(key)) => Some(TlsFiles {
                certificate: self.path("tls.certificate", certificate)?,
                key: self.secret_place("tls.key", key)?,
            }),
            (there, _) => {
                let (there, missing) =
                    if there.is_some() { ("certificate", "key") } else { ("key", "certificate") };
                let message = format!("`tls.{there}` is set, and `tls.{missing}` is not; set both or none");
                self.refuse(&format!("tls.{there}"), message);
                None
            }
        }
    }

    fn server_names(&mut self, names: &[String]) -> Vec<String> {
        if names.len() > SERVER_NAMES_MAX {
            let message = format!("there are {} names; at most {SERVER_NAMES_MAX} are allowed", names.len());
            self.refuse("server_names", message);
        }
        let is_name = |name: &&String| {
            (1..=SERVER_NAME_BYTES_MAX).contains(&name.len())
                && (name.parse::<IpAddr>().is_ok()
                    || name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)))
        };
        if let Some(wrong) = names.iter().find(|name| !is_name(name)) {
            let message = format!(
                "`server_names` has `{wrong}`; write names or addresses as callers do, without scheme and port, as in \
                 llm.example.org"
            );
            self.refuse("server_names", message);
        }
        names.to_vec()
    }

    fn data_dir(&mut self, text: &str) -> Option<PathBuf> {
        if text.is_empty() {
            let message = "`data_dir` is empty and there is no home directory to put it in (neither XDG_DATA_HOME \
                           nor HOME is set); set `data_dir`, LLMOS_DATA_DIR or --data-dir";
            self.refuse("data_dir", message.to_owned());
            return None;
        }
        self.path("data_dir", text)
    }

    /// Relative paths of a file are relative to its folder; all others to where the command runs.
    pub(super) fn path(&mut self, key: &str, text: &str) -> Option<PathBuf> {
        if text.starts_with('~') {
            let message =
                format!("`{text}` begins with `~`, which only shells understand; write the whole path");
            self.refuse(key, message);
            return None;
        }
        let folder = match Origin::of(self.origins, key) {
            Origin::File { path, .. } => {
                path.parent().map_or(self.folder.to_owned(), |of| self.folder.join(of))
            }
            _ => self.folder.to_owned(),
        };
        Some(folder.join(text))
    }

    pub(super) fn number(&mut self, key: &str, number: i64, min: i64, max: i64) -> Option<i64> {
        if (min..=max).contains(&number) {
            return Some(number);
        }
        let name = key.rsplit('.').next().unwrap_or(key);
        self.refuse(key, format!("`{name}` is {number}; allowed: {min} to {max}"));
        None
    }

    pub(super) fn one_of<T: Copy>(&mut self, key: &str, text: &str, allowed: &[(&str, T)]) -> Option<T> {
        let found = allowed.iter().find(|(name, _)| *name == text).map(|&(_, value)| value);
        if found.is_none() {
            let names: Vec<&str> = allowed.iter().map(|&(name, _)| name).collect();
            let name = key.rsplit_once("].").map_or(key, |(_, name)| name);
            self.refuse(key, format!("`{name}` is `{text}`; allowed: {}", names.join(", ")));
        }
        found
    }

    fn outbound(&mut self, outbound: &file::Outbound) -> Option<Outbound> {
        if outbound.private.len() > PRIVATE_MAX {
            let message = format!("there are {} networks; at most {PRIVATE_MAX}", outbound.private.len());
            self.refuse("outbound.private", message);
        }
        let mut private = Vec::new();
        for text in outbound.private.iter().take(PRIVATE_MAX) {
            match Network::from_str(text) {
                Ok(network) => private.push(network),
                Err(error) => self.refuse("outbound.private", error.to_string()),
            }
        }
        let ca_file = outbound.ca_file.as_deref().and_then(|path| self.path("outbound.ca_file", path));
        if outbound.hosts.len() > HOSTS_MAX {
            let message = format!("there are {} hosts; at most {HOSTS_MAX}", outbound.hosts.len());
            self.refuse("outbound.hosts", message);
        }
        let mut hosts = Vec::new();
        for text in outbound.hosts.iter().take(HOSTS_MAX) {
            match Listed::from_str(text) {
                Ok(host) => hosts.push(host),
                Err(error) => self.refuse("outbound.hosts", error.to_string()),
            }
        }
        Some(Outbound {
            rules: Rules { private, ca_file, hosts: None },
            hub: self.hub(&outbound.hub)?,
            hosts,
        })
    }

    fn root(&mut self, key: &str, text: &str, data_dir: &Path) -> Option<RootPlace> {
        match root::parse(text, data_dir, |path| self.path(key, path))? {
            Ok(place) => Some(place),
            Err(why) => {
                self.refuse(key, format!("`{key}` cannot be used: {why}"));
                None
            }
        }
    }

    fn retention(&mut self, retention: &file::Retention) -> Option<Retention> {
        if retention.no_store_tenants.len() > NO_STORE_TENANTS_MAX {
            let count = retention.no_store_tenants.len();
            let message = format!("there are {count} tenants; at most {NO_STORE_TENANTS_MAX} are allowed");
            self.refuse("retention.no_store_tenants", message);
        }
        let days = &retention.chat_completions;
        let mut lifetime = |name: &str, days: i64| {
            let days =
                self.number(&format!("retention.chat_completions.{name}"), days, 0, RETENTION_DAYS_MAX)?;
            Some(Duration::from_secs(days.unsigned_abs() * DAY_S))
        };
        let lifetimes = [
            lifetime("public_days", days.public_days),
            lifetime("internal_days", days.internal_days),
            lifetime("confidential_days", days.confidential_days),
            lifetime("restricted_days", days.restricted_days),
        ];
        let [Some(public), Some(internal), Some(confidential), Some(restricted)] = lifetimes else {
            return None;
        };
        Some(Retention {
            chat_completions: [public, internal, confidential, restricted],
            no_store_tenants: retention.no_store_tenants.clone(),
        })
    }

    fn hub(&mut self, text: &str) -> Option<Url> {
        let plain = |url: &Url| {
            url.scheme() == "https"
                && url.username().is_empty()
                && url.password().is_none()
                && url.query().is_none()
                && url.fragment().is_none()
        };
        let url = Url::parse(text).ok().filter(plain);
        if url.is_none() {
            let message = format!(
                "`outbound.hub` is `{}`; write the address of a hub, as in https://huggingface.co, without user, \
                 query and fragment",
                without_passwords(text)
            );
            self.refuse("outbound.hub", message);
        }
        url
    }
}

/// `::ffff:127.0.0.1` is loopback too, though the standard library says it is not.
fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
