//! Records in the words of OpenTelemetry (OTLP/HTTP, JSON): what is sent, and what the answer means. Pure.
//!
//! Numbers of 64 bits are strings there, fields are in camelCase, enumerations are numbers (OTLP 1.9, "JSON Protobuf Encoding").

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::Map;
use tlog::tree::{Hash, leaf_hash};
use types::utc;

use super::FORWARD;
use crate::{Record, text::cut};

/// Most bytes of entries in one request; the form around them makes them some three times as many. Proxies as they are shipped take a
/// megabyte, collectors twenty.
pub(super) const BATCH_BYTES_MAX: usize = 256 << 10;
/// What made the records.
const SCOPE: &str = "llmos.audit";
/// What is refused.
const DENY: &str = "deny";
const REFUSED: &str = "refused";
/// Numbers of severities.
const INFO: (u8, &str) = (9, "INFO");
const WARN: (u8, &str) = (13, "WARN");
const NANOS_OF_MILLI: u64 = 1_000_000;

/// Records that are sent together.
pub(super) struct Batch {
    /// Index of the first one.
    pub(super) first: u64,
    /// How many.
    pub(super) count: usize,
    /// The hash of the last one.
    pub(super) last: Hash,
    /// Nothing but what this says of itself is in it.
    pub(super) is_own: bool,
    /// It ends where the checkpoint does: nothing that may be sent is behind it.
    pub(super) is_rest: bool,
    /// The body of the request.
    pub(super) text: String,
}

impl Batch {
    /// The entries from `first` on, as many as one request takes; none if there are none. `log` is the name of the log, `checkpoint` what
    /// vouches for the last of the entries and all before it, if it is known: it goes along if that one does.
    pub(super) fn of(log: &str, first: u64, entries: &[Vec<u8>], checkpoint: Option<&str>) -> Option<Self> {
        let mut bytes = 0;
        let fits = |entry: &&Vec<u8>| {
            bytes += entry.len();
            bytes <= BATCH_BYTES_MAX
        };
        let count = entries.iter().take_while(fits).count().max(1).min(entries.len());
        let last = leaf_hash(entries[..count].last()?);
        let checkpoint = checkpoint.filter(|_| count == entries.len());
        let (mut is_own, mut log_records) = (true, Vec::with_capacity(count));
        for (index, entry) in (first..).zip(&entries[..count]) {
            let record = Record::parse(entry).ok();
            is_own &= record.as_ref().is_some_and(|record| record.action == FORWARD);
            log_records.push(LogRecord::of(index, entry, record.as_ref()));
        }
        let is_rest = checkpoint.is_some();
        let vouched = checkpoint.map(|note| text("llmos.audit.checkpoint", note));
        log_records.last_mut()?.attributes.extend(vouched);
        let resource =
            Resource { attributes: vec![text("service.name", "llmos"), text("service.instance.id", log)] };
        let scope_logs = [ScopeLogs { scope: Scope { name: SCOPE }, log_records }];
        let request = Request { resource_logs: [ResourceLogs { resource, scope_logs }] };
        // Strings, numbers and lists of them cannot fail.
        let text = serde_json::to_string(&request).ok()?;
        Some(Self { first, count, last, is_own, is_rest, text })
    }

    /// The index of the record behind the last one.
    pub(super) fn end(&self) -> u64 {
        self.first + self.count as u64
    }
}

/// `ExportLogsServiceRequest`.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request<'a> {
    resource_logs: [ResourceLogs<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ResourceLogs<'a> {
    resource: Resource<'a>,
    scope_logs: [ScopeLogs<'a>; 1],
}

#[derive(Serialize)]
struct Resource<'a> {
    attributes: Vec<Attribute<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ScopeLogs<'a> {
    scope: Scope,
    log_records: Vec<LogRecord<'a>>,
}

#[derive(Serialize)]
struct Scope {
    name: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct LogRecord<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    time_unix_nano: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    observed_time_unix_nano: Option<String>,
    severity_number: u8,
    severity_text: &'static str,
    body: Value<'a>,
    attributes: Vec<Attribute<'a>>,
}

#[derive(Serialize)]
struct Attribute<'a> {
    key: &'static str,
    value: Value<'a>,
}

/// `AnyValue`.
#[derive(Serialize)]
enum Value<'a> {
    #[serde(rename = "stringValue")]
    Text(Cow<'a, str>),
    /// Its digits.
    #[serde(rename = "intValue")]
    Number(String),
    #[serde(rename = "boolValue")]
    Flag(bool),
}

fn text<'a>(key: &'static str, text: impl Into<Cow<'a, str>>) -> Attribute<'a> {
    Attribute { key, value: Value::Text(text.into()) }
}

fn number(key: &'static str, number: u64) -> Attribute<'static> {
    Attribute { key, value: Value::Number(number.to_string()) }
}

impl<'a> LogRecord<'a> {
    /// An entry that no record of ours is goes along as it is: it is a part of the log.
    fn of(index: u64, entry: &'a [u8], record: Option<&Record>) -> Self {
        let mut attributes = vec![
            number("llmos.audit.index", index),
            text("llmos.audit.leaf_hash", leaf_hash(entry).to_string()),
        ];
        let (mut nanos, mut severity) = (None, INFO);
        if let Some(record) = record {
            let at = utc::millis_of(&record.at).and_then(|millis| u64::try_from(millis).ok());
            nanos = at.map(|at| at.saturating_mul(NANOS_OF_MILLI).to_string());
            attributes.push(text("llmos.audit.action", record.action.clone()));
            let named = [
                ("llmos.audit.decision", &record.decision),
                ("llmos.audit.outcome", &record.outcome),
                ("llmos.audit.request", &record.request),
            ];
            let named = named.into_iter().filter_map(|(key, value)| Some(text(key, value.clone()?)));
            attributes.extend(named);
            attributes.extend(record.tenant.map(|tenant| number("llmos.audit.tenant", tenant)));
            let break_glass = Value::Flag(record.break_glass);
            attributes.push(Attribute { key: "llmos.audit.break_glass", value: break_glass });
            let is_refusal =
                record.decision.as_deref() == Some(DENY) || record.outcome.as_deref() == Some(REFUSED);
            if is_refusal || record.break_glass {
                severity = WARN;
            }
        }
        Self {
            time_unix_nano: nanos.clone(),
            observed_time_unix_nano: nanos,
            severity_number: severity.0,
            severity_text: severity.1,
            body: Value::Text(String::from_utf8_lossy(entry)),
            attributes,
        }
    }
}

/// What an answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It has them; of these it keeps so many not, and says why.
    Taken {
        /// How many it does not keep.
        refused: u64,
        /// Its words.
        why: String,
    },
    /// It will never take this request as it is.
    Refused(String),
    /// It may take it later.
    Later(String),
}

/// Understands the answer of a collector. By OTLP only 429, 502, 503 and 504 are to be tried again; we give up what it calls bad (400) or
/// too large (413), and nothing else: a wrong token or address is mended there or here, and no record is lost by it. So a page that
/// something on the way answers with is no confirmation, whatever its status is.
pub(super) fn understand(status: u16, body: &[u8]) -> Meaning {
    match status {
        200..=299 => taken(body).unwrap_or_else(|| {
            Meaning::Later(format!(
                "what answers at this address (status {status}) is no collector of logs, because it does not say so in JSON; \
                 `audit_collector.url` is the whole address, which ends with /v1/logs as a rule"
            ))
        }),
        400 | 413 => Meaning::Refused(format!("it answers with status {status}{}", said(body))),
        401 | 403 => Meaning::Later(format!(
            "it does not let us in (status {status}); is the token in `audit_collector.token_file` the right one?"
        )),
        404 | 405 => Meaning::Later(format!(
            "nothing takes logs at this address (status {status}); `audit_collector.url` is the whole address, which ends with /v1/logs \
             as a rule"
        )),
        status => Meaning::Later(format!("it answers with status {status}{}", said(body))),
    }
}

/// `ExportLogsServiceResponse`: nothing, or a JSON object. What is odd in it is as if it were not there, for the records are taken.
fn taken(body: &[u8]) -> Option<Meaning> {
    if body.trim_ascii().is_empty() {
        return Some(Meaning::Taken { refused: 0, why: String::new() });
    }
    let answer: Map<String, serde_json::Value> = serde_json::from_slice(body).ok()?;
    let told = |name: &'static str| answer.get("partialSuccess")?.get(name);
    // A number of 64 bits, which may be written as one or as a string.
    let number = |value: &serde_json::Value| value.as_u64().or_else(|| value.as_str()?.parse().ok());
    let refused = told("rejectedLogRecords").and_then(number).unwrap_or(0);
    let why = told("errorMessage").and_then(serde_json::Value::as_str).map(cut).unwrap_or_default();
    Some(Meaning::Taken { refused, why })
}

/// What it says of an error.
fn said(body: &[u8]) -> String {
    let status: Status = serde_json::from_slice(body).unwrap_or_default();
    if status.message.is_empty() { String::new() } else { format!(" and says {:?}", cut(&status.message)) }
}

/// `google.rpc.Status`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Status {
    message: String,
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// Records as this program writes them.
    const ENTRIES: &str = include_str!("entries.jsonl");
    /// What another program has understood of the request, written by it again: the Python packages `opentelemetry-proto` 1.45.2 and
    /// `protobuf` 7.36.2, `MessageToJson(Parse(text, ExportLogsServiceRequest()), use_integers_for_enums=True)`.
    const UNDERSTOOD: &str = include_str!("understood.json");
    const LOG: &str = "llmos/log-0a1b";
    const NOTE: &str = "llmos/log-0a1b\n5\nAAAA\n\n\u{2014} llmos/log-0a1b BBBB\n";

    fn entries() -> Vec<Vec<u8>> {
        ENTRIES.lines().map(|line| line.as_bytes().to_vec()).collect()
    }

    #[test]
    fn another_program_understands_all_of_it() {
        let entries = entries();
        let batch = Batch::of(LOG, 9_007_199_254_740_993, &entries, Some(NOTE)).unwrap();
        let (sent, understood): (Value, Value) =
            (serde_json::from_str(&batch.text).unwrap(), serde_json::from_str(UNDERSTOOD).unwrap());
        assert_eq!(sent, understood);
        let records = sent["resourceLogs"][0]["scopeLogs"][0]["logRecords"].as_array().unwrap();
        // An alarm is raised by refusals and emergencies.
        let severities: Vec<_> =
            records.iter().map(|record| record["severityText"].as_str().unwrap()).collect();
        assert_eq!(severities, ["INFO", "INFO", "WARN", "WARN", "WARN", "INFO"]);
        for (record, entry) in records.iter().zip(&entries) {
            assert_eq!(record["body"]["stringValue"].as_str().unwrap().as_bytes(), entry);
        }
        assert!(!batch.is_own && batch.last == leaf_hash(entries.last().unwrap()));
    }

    #[test]
    fn a_request_has_no_more_than_it_may_and_at_least_one() {
        let large = vec![b'x'; BATCH_BYTES_MAX / 2];
        let huge = vec![b'x'; BATCH_BYTES_MAX + 1];
        for (entries, count) in [
            (vec![large.clone(), large.clone(), b"y".to_vec()], 2),
            (vec![large.clone(), large], 2),
            (vec![huge.clone(), huge], 1),
        ] {
            let batch = Batch::of(LOG, 7, &entries, Some(NOTE)).unwrap();
            assert_eq!((batch.count, batch.end()), (count, 7 + count as u64));
            // What vouches for all of them goes along with the last one only.
            assert_eq!(batch.text.contains("llmos.audit.checkpoint"), count == entries.len());
            assert_eq!(batch.is_rest, count == entries.len());
        }
        assert!(Batch::of(LOG, 7, &[], Some(NOTE)).is_none());
        let own = format!("{{\"version\":1,\"at\":\"x\",\"kind\":\"event\",\"action\":\"{FORWARD}\"}}");
        assert!(Batch::of(LOG, 7, &[own.into_bytes()], None).unwrap().is_own);
    }

    #[test]
    fn the_answers_of_a_collector_are_understood() {
        let taken = |refused, why: &str| Meaning::Taken { refused, why: why.to_owned() };
        for (status, body, expected) in [
            (200, "{}", taken(0, "")),
            (200, "", taken(0, "")),
            (204, "\n", taken(0, "")),
            (202, r#"{"thanks":[]}"#, taken(0, "")),
            (200, r#"{"partialSuccess":{}}"#, taken(0, "")),
            (200, r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":"no"}}"#, taken(3, "no")),
            (200, r#"{"partialSuccess":{"rejectedLogRecords":3}}"#, taken(3, "")),
            (200, r#"{"partialSuccess":{"errorMessage":"slow down"}}"#, taken(0, "slow down")),
            (200, r#"{"partialSuccess":null}"#, taken(0, "")),
            (200, r#"{"partialSuccess":{"rejectedLogRecords":"3","errorMessage":null}}"#, taken(3, "")),
            (200, r#"{"partialSuccess":{"rejectedLogRecords":null,"errorMessage":"no"}}"#, taken(0, "no")),
            (200, r#"{"partialSuccess":{"rejectedLogRecords":-1,"errorMessage":"no"}}"#, taken(0, "no")),
            (200, r#"{"partialSuccess":{"rejectedLogRecords":"-1","errorMessage":"no"}}"#, taken(0, "no")),
            (400, "", Meaning::Refused("it answers with status 400".to_owned())),
            (
                400,
                "{\"code\":3,\"message\":\"bad\\u001b[31m\"}",
                Meaning::Refused("it answers with status 400 and says \"bad\\u{1b}[31m\"".to_owned()),
            ),
            (413, "<html>", Meaning::Refused("it answers with status 413".to_owned())),
            (429, "", Meaning::Later("it answers with status 429".to_owned())),
            (
                503,
                r#"{"message":"full"}"#,
                Meaning::Later("it answers with status 503 and says \"full\"".to_owned()),
            ),
            (500, "", Meaning::Later("it answers with status 500".to_owned())),
        ] {
            assert_eq!(understand(status, body.as_bytes()), expected, "{status} {body}");
        }
        for (status, body, says) in [
            (401, "", "token"),
            (403, "", "token"),
            (404, "", "/v1/logs"),
            (405, "", "/v1/logs"),
            // The page of a proxy, and what is JSON and no answer.
            (200, "<html>Welcome</html>", "/v1/logs"),
            (202, "thanks", "/v1/logs"),
            (200, "[]", "/v1/logs"),
            (200, "null", "/v1/logs"),
            (200, "{", "/v1/logs"),
        ] {
            let meaning = understand(status, body.as_bytes());
            assert!(matches!(meaning, Meaning::Later(why) if why.contains(says)), "{status} {body}");
        }
    }
}
