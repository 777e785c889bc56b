//! Checks what is set about the audit log.

use std::{path::Path, time::Duration};

use audit::{Anchor, VerifierKey, WitnessKey};
use outbound::Url;

use super::{
    Audit, Collector, SecretPlace,
    check::Check,
    file::{self, File},
};

/// Places off this machine. Each gets every checkpoint, all at once.
const ANCHORS_MAX: usize = 16;
/// Logs of others.
const WITNESSED_MAX: usize = 256;
/// Most that may be asked for in a minute, with one key or sign-in, of what uses no model. A thousand in a second are as much as nothing to stop them.
const REQUESTS_PER_MINUTE_MAX: i64 = 60_000;
/// Longest time without a push: a day. What was recorded since the last one can be lost to whoever puts a copy back.
const PUSH_EVERY_S_MAX: i64 = 86_400;

impl Audit {
    /// Says where things really are.
    pub(super) fn show(&self, values: &mut File) {
        let text = |path: &Path| path.to_string_lossy().into_owned();
        for (shown, anchor) in values.audit_anchor.iter_mut().zip(&self.anchors) {
            if let Anchor::Folder(folder) = anchor {
                shown.folder = Some(text(folder));
            }
        }
        let token = self.collector.as_ref().and_then(|collector| collector.token.as_ref());
        values.audit_collector.token_file = token.map(SecretPlace::shown);
    }
}

impl Check<'_> {
    pub(super) fn audit(&mut self, values: &File) -> Option<Audit> {
        let every = self.number("audit.push_every_s", values.audit.push_every_s, 1, PUSH_EVERY_S_MAX);
        let rate = values.audit.requests_per_minute;
        let rate = self.number("audit.requests_per_minute", rate, 1, REQUESTS_PER_MINUTE_MAX);
        if values.audit_anchor.len() > ANCHORS_MAX {
            let count = values.audit_anchor.len();
            self.refuse(
                "audit_anchor",
                format!("there are {count} places; at most {ANCHORS_MAX} are allowed"),
            );
            return None;
        }
        if values.witnessed_log.len() > WITNESSED_MAX {
            let count = values.witnessed_log.len();
            let message = format!("there are {count} logs; at most {WITNESSED_MAX} are allowed");
            self.refuse("witnessed_log", message);
            return None;
        }
        let anchors = values.audit_anchor.iter().enumerate();
        let anchors: Vec<Anchor> = anchors
            .filter_map(|(index, anchor)| self.anchor(&format!("audit_anchor[{index}]"), anchor))
            .collect();
        for (index, anchor) in anchors.iter().enumerate() {
            if anchors[..index].contains(anchor) {
                let message = "there is another `[[audit_anchor]]` with this place; each is there once";
                self.refuse(&format!("audit_anchor[{index}]"), message.to_owned());
            }
        }
        let logs = values.witnessed_log.iter().enumerate();
        let witnessed =
            logs.filter_map(|(index, log)| self.log_key(&format!("witnessed_log[{index}].key"), &log.key));
        let witnessed = witnessed.collect();
        let collector = self.collector(&values.audit_collector);
        let push_every = Duration::from_secs(every?.unsigned_abs());
        Some(Audit { requests_per_minute: rate?.unsigned_abs(), push_every, anchors, collector, witnessed })
    }

    fn anchor(&mut self, section: &str, anchor: &file::AuditAnchor) -> Option<Anchor> {
        let file::AuditAnchor { folder, witness, key } = anchor;
        match (folder, witness, key) {
            (Some(folder), None, None) => {
                Some(Anchor::Folder(self.path(&format!("{section}.folder"), folder)?))
            }
            (None, Some(witness), Some(key)) => {
                let url = self.witness(&format!("{section}.witness"), witness);
                let key = self.witness_key(&format!("{section}.key"), key);
                Some(Anchor::Witness { url: url?, key: key? })
            }
            _ => {
                let message = "write either a `folder`, or a `witness` and its `key`";
                self.refuse(section, message.to_owned());
                None
            }
        }
    }

    fn collector(&mut self, collector: &file::AuditCollector) -> Option<Collector> {
        let Some(text) = &collector.url else {
            if collector.token_file.is_some() {
                let message = "`audit_collector.token_file` is set, and `audit_collector.url` is not; set both, or only `url`";
                self.refuse("audit_collector.token_file", message.to_owned());
            }
            return None;
        };
        let what = "the `https` address that takes logs as OTLP, without user, query and fragment: of an OpenTelemetry \
                    collector that is https://NAME:4318/v1/logs";
        let url = self.https("audit_collector.url", text, what);
        let token_file = collector.token_file.as_deref();
        let token = token_file.and_then(|text| self.secret_place("audit_collector.token_file", text));
        Some(Collector { url: url?, token })
    }

    fn witness(&mut self, key: &str, text: &str) -> Option<Url> {
        let what = "the `https` address of a witness, without user, query and fragment; of another llmos server that is \
                    https://NAME/witness/v1";
        self.https(key, text, what)
    }

    fn https(&mut self, key: &str, text: &str, what: &str) -> Option<Url> {
        let is_plain = |url: &Url| {
            url.scheme() == "https"
                && url.query().is_none()
                && url.fragment().is_none()
                && url.username().is_empty()
                && url.password().is_none()
        };
        let url = Url::parse(text).ok().filter(is_plain);
        if url.is_none() {
            let name = key.rsplit('.').next().unwrap_or(key);
            let shown = crate::exit::without_passwords(text);
            self.refuse(key, format!("`{name}` is `{shown}`; write {what}"));
        }
        url
    }

    fn witness_key(&mut self, key: &str, text: &str) -> Option<WitnessKey> {
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.refuse(key, format!("`key` is not the key of a witness, name+id+base64: {error}"));
                None
            }
        }
    }

    fn log_key(&mut self, key: &str, text: &str) -> Option<VerifierKey> {
        match text.parse() {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                let message = format!(
                    "`key` is not the key of a log, origin+id+base64: {error}; `GET /api/v1/audit/checkpoint` of the \
                     other server shows its key"
                );
                self.refuse(key, message);
                None
            }
        }
    }
}
