use std::collections::BTreeMap;

use toml::{
    Spanned, Table, Value,
    de::{DeArray, DeTable, DeValue},
};

use super::file::File;

/// Most edits by which a misspelt name may differ from the one that is suggested, as a share of its length.
const SUGGESTION_DISTANCE_SHARE: usize = 3;

/// Every setting there is, with a value of its type: the example file, serialised.
pub(crate) fn known() -> Table {
    // Cannot fail: `File` holds nothing but strings, numbers and tables with string keys. If it ever did, every
    // key would be reported as unknown, and the tests would fail.
    Table::try_from(File::example()).unwrap_or_default()
}

/// The settings that hold one value and are no part of a `[[section]]`, as `listen` or `log.level`.
pub(crate) fn scalars() -> BTreeMap<String, Value> {
    let mut found = BTreeMap::new();
    let mut open = vec![(String::new(), known())];
    while let Some((prefix, table)) = open.pop() {
        for (name, value) in table {
            let key = join(&prefix, &name);
            match value {
                Value::Table(inner) => open.push((key, inner)),
                Value::Array(_) => {}
                scalar => drop(found.insert(key, scalar)),
            }
        }
    }
    found
}

/// The name out of `known` that was probably meant.
pub(crate) fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(name, candidate);
    let nearest = known.min_by_key(|candidate| distance(candidate))?;
    let near = name.len().max(nearest.len()).div_ceil(SUGGESTION_DISTANCE_SHARE);
    (distance(nearest) <= near).then_some(nearest)
}

/// What a file says: `table` holds only known settings of the right type; all else is in `complaints`.
#[derive(Debug, Default)]
pub(crate) struct Inspected {
    pub(crate) table: Table,
    /// Where each setting stands: `log.level`, `model[0]`, `model[0].name`.
    pub(crate) lines: BTreeMap<String, usize>,
    pub(crate) complaints: Vec<Complaint>,
}

/// Something wrong with a line of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) key: String,
    pub(crate) line: usize,
    pub(crate) message: String,
}

/// Reads a configuration file as far as names and types go.
pub(crate) fn inspect(text: &str) -> Inspected {
    let mut inspection = Inspection { text, known: known(), found: Inspected::default() };
    match DeTable::parse(text) {
        Ok(root) => {
            let known = inspection.known.clone();
            inspection.found.table = inspection.table("", root.get_ref(), &known);
        }
        Err(error) => {
            let start = error.span().map_or(0, |span| span.start);
            let message = format!("this is not TOML: {}", error.message().replace('\n', ", "));
            inspection.complain(String::new(), start, message);
        }
    }
    inspection.found
}

struct Inspection<'a> {
    text: &'a str,
    known: Table,
    found: Inspected,
}

impl Inspection<'_> {
    fn complain(&mut self, key: String, at: usize, message: String) {
        let line = self.line(at);
        self.found.complaints.push(Complaint { key, line, message });
    }

    fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|&byte| byte == b'\n').count() + 1
    }

    fn table(&mut self, prefix: &str, found: &DeTable<'_>, known: &Table) -> Table {
        let mut kept = Table::new();
        for (name, value) in found {
            let (at, name) = (name.span().start, name.get_ref().as_ref());
            let key = join(prefix, name);
            let Some(example) = known.get(name) else {
                let message = self.unknown(name, known);
                self.complain(key, at, message);
                continue;
            };
            let line = self.line(at);
            self.found.lines.insert(key.clone(), line);
            if let Some(value) = self.value(key, value, example) {
                kept.insert(name.to_owned(), value);
            }
        }
        kept
    }

    /// The value, if it has the type of `example`.
    fn value(&mut self, key: String, found: &Spanned<DeValue<'_>>, example: &Value) -> Option<Value> {
        let at = found.span().start;
        match (found.get_ref(), example) {
            (DeValue::String(text), Value::String(_)) => Some(Value::String(text.to_string())),
            (DeValue::Integer(digits), Value::Integer(_)) => {
                let number = i64::from_str_radix(digits.as_str(), digits.radix());
                if number.is_err() {
                    self.complain(key, at, "this number is too large".to_owned());
                }
                number.ok().map(Value::Integer)
            }
            (DeValue::Boolean(truth), Value::Boolean(_)) => Some(Value::Boolean(*truth)),
            // A number may stand where a word may: `gpu_layers` is "auto" or 20.
            (DeValue::Integer(digits), Value::String(_)) if key.ends_with(".gpu_layers") => {
                Some(Value::String(digits.to_string()))
            }
            (DeValue::Table(table), Value::Table(known)) => {
                Some(Value::Table(self.table(&key, table, known)))
            }
            (DeValue::Array(array), Value::Array(known)) => {
                let element = known.first()?;
                Some(Value::Array(self.elements(&key, array, element)))
            }
            (other, _) => {
                let name = key.rsplit('.').next().unwrap_or(&key);
                let expected = match example {
                    Value::Array(items) if items.iter().any(Value::is_table) => {
                        format!("one or more sections that begin with [[{name}]]")
                    }
                    Value::Array(_) => "an array of strings".to_owned(),
                    scalar => with_article(scalar.type_str()),
                };
                let message = format!("`{name}` is {}, expected {expected}", with_article(other.type_str()));
                self.complain(key, at, message);
                None
            }
        }
    }

    fn elements(&mut self, key: &str, found: &DeArray<'_>, example: &Value) -> Vec<Value> {
        let mut kept = Vec::new();
        for (index, element) in found.iter().enumerate() {
            let key = format!("{key}[{index}]");
            let line = self.line(element.span().start);
            self.found.lines.insert(key.clone(), line);
            // A section that is no table still counts, so that the following keep their numbers.
            let placeholder = || example.is_table().then(|| Value::Table(Table::new()));
            kept.extend(self.value(key, element, example).or_else(placeholder));
        }
        kept
    }

    fn unknown(&self, name: &str, siblings: &Table) -> String {
        if let Some(nearest) = nearest(name, siblings.keys().map(String::as_str)) {
            return format!("unknown key `{name}`; did you mean `{nearest}`?");
        }
        if let Some(place) = self.home_of(name) {
            return format!("unknown key `{name}` here; it belongs {place}");
        }
        let names: Vec<&str> = siblings.keys().map(String::as_str).collect();
        format!("unknown key `{name}`; known here: {}", names.join(", "))
    }

    /// Where a setting of this name would have been right: TOML makes it easy to write one below the wrong header.
    fn home_of(&self, name: &str) -> Option<String> {
        if self.known.contains_key(name) {
            return Some("at the top, above the first [section]".to_owned());
        }
        self.known.iter().find_map(|(section, value)| match value {
            Value::Table(table) if table.contains_key(name) => Some(format!("below [{section}]")),
            Value::Array(items) if items.iter().any(|item| item.get(name).is_some()) => {
                Some(format!("below [[{section}]]"))
            }
            _ => None,
        })
    }
}

fn join(prefix: &str, name: &str) -> String {
    if prefix.is_empty() { name.to_owned() } else { format!("{prefix}.{name}") }
}

fn with_article(noun: &str) -> String {
    let article = if noun.starts_with(['a', 'i']) { "an" } else { "a" };
    format!("{article} {noun}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every optional setting must be filled in the example, or nobody could set it.
    #[test]
    fn the_example_names_every_setting() {
        let known = known();
        let keys = |table: &Table| table.keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(
            keys(&known),
            "audit audit_anchor audit_collector data_dir listen location log memory_total_mb metadata_filter model outbound provider public_url quota retention \
             role_mapping server_names session shutdown_grace_s store tls vault witnessed_log"
        );
        let model = known["model"][0].as_table().unwrap();
        let names = "aliases context gpu_layers input_price keep_alive_s load memory_mb name output_price parallel pinned sha256 source \
                     threads";
        assert_eq!(keys(model), names);
        let scalars: Vec<String> = scalars().into_keys().collect();
        let expected = [
            "audit.push_every_s",
            "audit.requests_per_minute",
            "audit_collector.token_file",
            "audit_collector.url",
            "data_dir",
            "listen",
            "log.format",
            "log.level",
            "memory_total_mb",
            "metadata_filter",
            "outbound.ca_file",
            "outbound.hub",
            "public_url",
            "retention.chat_completions.confidential_days",
            "retention.chat_completions.internal_days",
            "retention.chat_completions.public_days",
            "retention.chat_completions.restricted_days",
            "session.absolute_hours",
            "session.cli_hours",
            "session.idle_minutes",
            "shutdown_grace_s",
            "store.postgres",
            "store.postgres_password",
            "tls.certificate",
            "tls.key",
            "vault.old_root",
            "vault.root",
            "vault.suite",
        ];
        assert_eq!(scalars, expected);
    }

    #[test]
    fn a_complaint_says_line_and_remedy() {
        for (text, line, message) in [
            ("lisen = 1", 1, "unknown key `lisen`; did you mean `listen`?"),
            ("\n[log]\nlvel = 'x'", 3, "unknown key `lvel`; did you mean `level`?"),
            ("[[model]]\n[[model]]\nthread = 2", 3, "unknown key `thread`; did you mean `threads`?"),
            ("[log]\nlisten = 'x'", 2, "it belongs at the top, above the first [section]"),
            ("level = 'info'", 1, "unknown key `level` here; it belongs below [log]"),
            ("aliases = []", 1, "it belongs below [[model]]"),
            ("hub = 'x'", 1, "it belongs below [outbound]"),
            ("[log]\ncolourfulness = 1", 2, "unknown key `colourfulness`; known here: format, level"),
            ("[modle]", 1, "unknown key `modle`; did you mean `model`?"),
            ("listen = 8080", 1, "`listen` is an integer, expected a string"),
            ("[[model]]\ncontext = '4k'", 2, "`context` is a string, expected an integer"),
            ("[[model]]\ncontext = 4.5", 2, "`context` is a float, expected an integer"),
            ("[[model]]\naliases = 'a'", 2, "`aliases` is a string, expected an array of strings"),
            ("[[model]]\naliases = [1]", 2, "`aliases[0]` is an integer, expected a string"),
            (
                "[model]\nname = 'x'",
                1,
                "`model` is a table, expected one or more sections that begin with [[model]]",
            ),
            ("log = true", 1, "`log` is a boolean, expected a table"),
            ("shutdown_grace_s = 99999999999999999999", 1, "this number is too large"),
            ("listen = ", 1, "this is not TOML"),
            ("listen = 'a'\nlisten = 'b'", 2, "this is not TOML: duplicate key"),
        ] {
            let complaints = inspect(text).complaints;
            assert_eq!(complaints.len(), 1, "{text}: {complaints:?}");
            assert_eq!(complaints[0].line, line, "{text}: {complaints:?}");
            assert!(complaints[0].message.contains(message), "{text}: {complaints:?}");
        }
    }

    #[test]
    fn what_is_right_is_kept_beside_what_is_wrong() {
        let text =
            "listen = '127.0.0.1:1'\nfoo = 1\n[[model]]\nname = 3\nsource = 's'\n[[model]]\nname = 'b'\n";
        let found = inspect(text);
        assert_eq!(found.complaints.len(), 2);
        assert_eq!(found.table["listen"].as_str(), Some("127.0.0.1:1"));
        assert_eq!(found.table["model"][0].get("name"), None);
        assert_eq!(found.table["model"][1]["name"].as_str(), Some("b"));
        let line = |key: &str| found.lines[key];
        assert_eq!((line("model[0]"), line("model[0].source"), line("model[1].name")), (3, 5, 7));
    }
}
