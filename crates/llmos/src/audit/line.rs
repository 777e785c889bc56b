//! A record as a line for a person.

use audit::{Record, RecordKind, Used, Who};
use gateway::admin_audit_types::AuditRecord;
use serde::Deserialize;

use crate::output::one_line;

/// What stands where there is nothing.
const NONE: &str = "-";
/// Least widths of who, what, on what, and how: what is longer pushes the rest of its line aside.
const WIDTHS: [usize; 4] = [20, 22, 14, 28];

/// The field of a record that is opened to who asked.
#[derive(Deserialize)]
struct Caller {
    tenant: String,
    user: String,
}

/// Time, who, what, on what, what was decided or became of it, tokens, request; with the end of the line. All that others have
/// written is escaped.
pub(super) fn line(found: &AuditRecord) -> String {
    let Ok(record) = Record::deserialize(&found.record) else {
        return format!("entry {} is of a form that this program does not know\n", found.index);
    };
    let cells = [who(&record, found), action(&record), or_none(record.on.as_deref()), how(&record)];
    let cells = cells.iter().zip(WIDTHS).map(|(cell, width)| format!("{cell:<width$}  "));
    let request = record.request.as_deref().map_or_else(|| NONE.to_owned(), one_line);
    format!("{}  {}{:<14}  {request}\n", one_line(&record.at), cells.collect::<String>(), tokens(&record))
}

/// By name where it could be opened, else by number.
fn who(record: &Record, found: &AuditRecord) -> String {
    let named = match found.opened.get("caller") {
        Some(Some(text)) => serde_json::from_str::<Caller>(text).ok(),
        _ => None,
    };
    let name = match (named, &record.who) {
        (Some(Caller { tenant, user }), _) => format!("{}/{}", one_line(&tenant), one_line(&user)),
        (None, Some(Who { tenant: 0, user: 0, .. })) => "local socket".to_owned(),
        (None, Some(Who { tenant, user, .. })) => format!("{tenant}/{user}"),
        (None, None) => NONE.to_owned(),
    };
    if record.break_glass { format!("{name} BREAK-GLASS") } else { name }
}

fn action(record: &Record) -> String {
    let action = one_line(&record.action);
    match record.kind {
        RecordKind::Begin => format!("{action} begins"),
        RecordKind::End => format!("{action} ends"),
        RecordKind::Event => action,
    }
}

fn how(record: &Record) -> String {
    let policies: Vec<String> = record.policies.iter().map(|policy| one_line(policy)).collect();
    let decision = record.decision.as_deref().map(|decision| {
        let by = if policies.is_empty() { String::new() } else { format!(" ({})", policies.join(", ")) };
        one_line(decision) + &by
    });
    let outcome = record.outcome.as_deref().map(one_line);
    let error = record.error.as_deref().map(|error| format!("({})", one_line(error)));
    let parts: Vec<String> = [decision, outcome, error].into_iter().flatten().collect();
    if parts.is_empty() { NONE.to_owned() } else { parts.join(" ") }
}

/// Read and written, or set aside for it.
fn tokens(record: &Record) -> String {
    let both = |used: &Used| format!("{}+{}", used.input_tokens, used.output_tokens);
    match (&record.used, &record.reserved) {
        (Some(used), _) => format!("{} tokens", both(used)),
        (None, Some(reserved)) => format!("up to {}", both(reserved)),
        (None, None) => NONE.to_owned(),
    }
}

fn or_none(text: Option<&str>) -> String {
    text.map_or_else(|| NONE.to_owned(), one_line)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;

    fn shown(record: Value, opened: &[(&str, Option<&str>)]) -> String {
        let opened = opened.iter().map(|(name, text)| ((*name).to_owned(), text.map(str::to_owned)));
        line(&AuditRecord { index: 7, record, opened: opened.collect::<BTreeMap<_, _>>() })
    }

    fn record(more: Value) -> Value {
        let mut record =
            json!({ "version": 1, "at": "2026-11-23T19:51:46.000Z", "kind": "event", "action": "generate" });
        record.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        record
    }

    fn words(line: &str) -> Vec<&str> {
        line.split_whitespace().collect()
    }

    #[test]
    fn a_record_is_a_line() {
        let who = json!({ "tenant": 2, "user": 5, "role": "member" });
        let begins = record(json!({
            "kind": "begin", "who": who, "on": "model:mock", "decision": "allow", "policies": ["role.member"],
            "reserved": { "input_tokens": 9, "output_tokens": 4 }, "request": "00ff",
        }));
        let caller = Some(r#"{"tenant":"clinic","user":"ann"}"#);
        let line = shown(begins.clone(), &[("caller", caller)]);
        let expected = "2026-11-23T19:51:46.000Z clinic/ann generate begins model:mock allow (role.member) up to 9+4 00ff";
        assert_eq!(words(&line).join(" "), expected);
        assert!(line.ends_with("00ff\n") && line.lines().count() == 1);
        // Who was erased is a number.
        assert_eq!(words(&shown(begins, &[("caller", None)]))[1], "2/5");
        let ends = record(json!({
            "kind": "end", "who": who, "outcome": "failed", "error": "engine", "used": { "input_tokens": 9, "output_tokens": 1 },
        }));
        assert_eq!(
            words(&shown(ends, &[])).join(" "),
            "2026-11-23T19:51:46.000Z 2/5 generate ends - failed (engine) 9+1 tokens -"
        );
        let emergency = record(json!({ "who": who, "break_glass": true }));
        assert!(shown(emergency, &[]).contains("2/5 BREAK-GLASS"));
        assert_eq!(
            shown(json!({ "version": 9 }), &[]),
            "entry 7 is of a form that this program does not know\n"
        );
    }

    #[test]
    fn what_others_have_written_stays_in_its_place() {
        let hostile = "a\n2026\u{2028}\u{202e}\u{1b}[2J";
        let caller = json!({ "tenant": hostile, "user": "größer हिन्दी" }).to_string();
        let line = shown(
            record(json!({ "on": hostile, "policies": [hostile], "decision": "deny" })),
            &[("caller", Some(&caller))],
        );
        assert_eq!(line.lines().count(), 1, "{line}");
        assert!(
            !line.trim_end().contains(|c: char| c.is_control() || "\u{2028}\u{202e}".contains(c)),
            "{line:?}"
        );
        assert!(line.contains("/größer हिन्दी"), "{line}");
    }
}
