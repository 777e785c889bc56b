use std::collections::BTreeMap;

use toml::Value;

use super::{Origin, Problem, keys};
use crate::cli::ConfigArgs;

/// What every environment variable of ours begins with.
const PREFIX: &str = "LLMOS_";
/// Variables that name no setting: the file itself, the key that client libraries and scripts use, and what opens the root
/// key, which no configuration shows.
pub(crate) const NOT_SETTINGS: [&str; 7] =
    ["LLMOS_CONFIG", "LLMOS_API_KEY", SERVER, ROOT_KEY, OLD_ROOT_KEY, ROOT_PASSPHRASE, ROOT_PIN];
/// The root key itself, if `vault.root` is `environment`.
pub(crate) const ROOT_KEY: &str = "LLMOS_ROOT_KEY";
/// The same for `vault.old_root`.
pub(crate) const OLD_ROOT_KEY: &str = "LLMOS_OLD_ROOT_KEY";
/// What the key in a file is under, if anything.
pub(crate) const ROOT_PASSPHRASE: &str = "LLMOS_ROOT_PASSPHRASE";
/// The PIN of a security module.
pub(crate) const ROOT_PIN: &str = "LLMOS_ROOT_PIN";
/// The server that commands talk to, as `--server` names it.
pub(crate) const SERVER: &str = "LLMOS_SERVER";
/// Variables that belong to tests and benchmarks.
const FOREIGN_PREFIXES: [&str; 2] = ["LLMOS_TEST_", "LLMOS_BENCH_"];

/// A setting that goes before what the file says.
#[derive(Debug, PartialEq)]
pub(crate) struct Override {
    pub(crate) key: String,
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// The variable for a setting: `LLMOS_LOG_LEVEL` for `log.level`.
pub(crate) fn variable(key: &str) -> String {
    format!("{PREFIX}{}", key.replace('.', "_").to_uppercase())
}

/// What the environment sets. A variable of ours that we do not know is a problem: it would silently do nothing.
pub(crate) fn from_environment(variables: &BTreeMap<String, String>) -> (Vec<Override>, Vec<Problem>) {
    let settings: BTreeMap<String, (String, Value)> =
        keys::scalars().into_iter().map(|(key, example)| (variable(&key), (key, example))).collect();
    let (mut overrides, mut problems) = (Vec::new(), Vec::new());
    for (variable, text) in variables.iter().filter(|(variable, _)| is_ours(variable)) {
        let origin = Origin::Environment { variable: variable.clone() };
        let Some((key, example)) = settings.get(variable) else {
            let known = settings.keys().map(String::as_str).chain(NOT_SETTINGS);
            let remedy = match keys::nearest(variable, known.clone()) {
                Some(nearest) => format!("did you mean {nearest}?"),
                None => format!("known: {}", known.collect::<Vec<_>>().join(", ")),
            };
            let message = format!("unknown variable; {remedy}");
            problems.push(Problem { key: variable.clone(), origin, message });
            continue;
        };
        let key = key.clone();
        if let Some(value) = parsed(text, example) {
            overrides.push(Override { key, value, origin });
        } else {
            problems.push(Problem { key, origin, message: format!("`{text}` is not an integer") });
        }
    }
    (overrides, problems)
}

/// What the command line sets.
pub(crate) fn from_flags(args: &ConfigArgs) -> Vec<Override> {
    let flags = [
        ("listen", "--listen", &args.listen),
        ("data_dir", "--data-dir", &args.data_dir),
        ("log.format", "--log-format", &args.log_format),
        ("log.level", "--log-level", &args.log_level),
    ];
    let given = |(key, flag, text): (&str, &'static str, &Option<String>)| {
        let value = Value::String(text.clone()?);
        Some(Override { key: key.to_owned(), value, origin: Origin::Flag { flag } })
    };
    flags.into_iter().filter_map(given).collect()
}

fn is_ours(variable: &str) -> bool {
    variable.starts_with(PREFIX)
        && !NOT_SETTINGS.contains(&variable)
        && !FOREIGN_PREFIXES.iter().any(|prefix| variable.starts_with(prefix))
}

/// The text as a value of the type of `example`.
fn parsed(text: &str, example: &Value) -> Option<Value> {
    match example {
        Value::Integer(_) => text.trim().parse().ok().map(Value::Integer),
        _ => Some(Value::String(text.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variables(of: &[(&str, &str)]) -> BTreeMap<String, String> {
        of.iter().map(|&(name, text)| (name.to_owned(), text.to_owned())).collect()
    }

    #[test]
    fn every_scalar_setting_has_a_variable() {
        let given = variables(&[
            ("LLMOS_LISTEN", "127.0.0.1:1"),
            ("LLMOS_AUDIT_PUSH_EVERY_S", "5"),
            ("LLMOS_AUDIT_REQUESTS_PER_MINUTE", "50"),
            ("LLMOS_AUDIT_COLLECTOR_URL", "https://siem.test/v1/logs"),
            ("LLMOS_AUDIT_COLLECTOR_TOKEN_FILE", "siem.token"),
            ("LLMOS_DATA_DIR", "/d"),
            ("LLMOS_SHUTDOWN_GRACE_S", "5"),
            ("LLMOS_MEMORY_TOTAL_MB", "5"),
            ("LLMOS_METADATA_FILTER", "address"),
            ("LLMOS_LOG_FORMAT", "json"),
            ("LLMOS_LOG_LEVEL", "warn"),
            ("LLMOS_OUTBOUND_CA_FILE", "/ca.pem"),
            ("LLMOS_OUTBOUND_HUB", "https://hub.test"),
            ("LLMOS_PUBLIC_URL", "https://llm.test"),
            ("LLMOS_SESSION_IDLE_MINUTES", "5"),
            ("LLMOS_SESSION_ABSOLUTE_HOURS", "5"),
            ("LLMOS_SESSION_CLI_HOURS", "5"),
            ("LLMOS_TLS_CERTIFICATE", "server.pem"),
            ("LLMOS_TLS_KEY", "server.key"),
            ("LLMOS_STORE_POSTGRES", "postgres://localhost/llmos"),
            ("LLMOS_STORE_POSTGRES_PASSWORD", "vault:postgres"),
            ("LLMOS_VAULT_ROOT", "environment"),
            ("LLMOS_VAULT_SUITE", "chacha20-poly1305"),
            ("LLMOS_VAULT_OLD_ROOT", "file:old.pem"),
            ("LLMOS_RETENTION_CHAT_COMPLETIONS_PUBLIC_DAYS", "1"),
            ("LLMOS_RETENTION_CHAT_COMPLETIONS_INTERNAL_DAYS", "2"),
            ("LLMOS_RETENTION_CHAT_COMPLETIONS_CONFIDENTIAL_DAYS", "3"),
            ("LLMOS_RETENTION_CHAT_COMPLETIONS_RESTRICTED_DAYS", "0"),
            ("LLMOS_ROOT_KEY", "x"),
            ("LLMOS_ROOT_PIN", "x"),
            ("LLMOS_CONFIG", "x"),
            ("LLMOS_API_KEY", "x"),
            ("LLMOS_SERVER", "x"),
            ("LLMOS_TEST_MODEL", "x"),
            ("LLMOS_BENCH_ROUNDS", "x"),
            ("PATH", "x"),
        ]);
        let (overrides, problems) = from_environment(&given);
        assert_eq!(problems, []);
        assert_eq!(overrides.len(), keys::scalars().len());
        let grace = overrides.iter().find(|found| found.key == "shutdown_grace_s").unwrap();
        assert_eq!(grace.value, Value::Integer(5));
    }

    #[test]
    fn what_would_do_nothing_is_refused() {
        for (variable, text, message) in [
            ("LLMOS_LISEN", "x", "did you mean LLMOS_LISTEN?"),
            ("LLMOS_LOGLEVEL", "x", "did you mean LLMOS_LOG_LEVEL?"),
            (
                "LLMOS_ENTIRELY_DIFFERENT_THING",
                "x",
                "known: LLMOS_AUDIT_COLLECTOR_TOKEN_FILE, LLMOS_AUDIT_COLLECTOR_URL",
            ),
            ("LLMOS_SHUTDOWN_GRACE_S", "5s", "`5s` is not an integer"),
        ] {
            let (overrides, problems) = from_environment(&variables(&[(variable, text)]));
            assert_eq!(overrides, []);
            assert!(problems[0].message.contains(message), "{problems:?}");
        }
    }
}
