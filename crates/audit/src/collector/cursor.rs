//! How far a collector has got, on the disk.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tlog::tree::leaf_hash;

use crate::{Log, LogError};

/// Longest file of a cursor.
const BYTES_MAX: usize = 8 << 10;

/// How far a collector has got with a log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Cursor {
    /// The address of the collector.
    pub(super) collector: String,
    /// The name of the log.
    pub(super) log: String,
    /// Index of the next record that it gets: it has all before.
    pub(super) next: u64,
    /// The hash of the record before that one.
    pub(super) last: Option<String>,
    /// Records that it did not take.
    pub(super) refused: u64,
}

/// What is known at the start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Start {
    /// It goes on where it was.
    Goes,
    /// It goes on where it was, and whether it was sent this log cannot be read now, and why: that is no other log.
    Unchecked(String),
    /// It begins: this collector has had nothing of this log.
    Begins,
    /// It begins again: what was known of it cannot be read, and why.
    Unreadable(String),
    /// It begins again: this collector has had so many records of this log, and they are not those that are here.
    NotTheLog(u64),
}

impl Cursor {
    pub(super) fn new(collector: &str, log: &str) -> Self {
        Self { collector: collector.to_owned(), log: log.to_owned(), next: 0, last: None, refused: 0 }
    }

    /// The cursor of this collector for this log. Blocks.
    pub(super) fn open(file: &Path, collector: &str, log: &Log, name: &str) -> (Self, Start) {
        let fresh = |start| (Self::new(collector, name), start);
        match Self::read(file) {
            Ok(Some(kept)) if kept.collector == collector && kept.log == name => {
                let Some(index) = kept.next.checked_sub(1) else { return (kept, Start::Goes) };
                match kept.start(log.entry(index)) {
                    start @ Start::NotTheLog(_) => fresh(start),
                    start => (kept, start),
                }
            }
            Ok(_) => fresh(Start::Begins),
            Err(why) => fresh(Start::Unreadable(why)),
        }
    }

    fn read(file: &Path) -> Result<Option<Self>, String> {
        let Some(bytes) = durable::read(file, BYTES_MAX).map_err(|error| error.to_string())? else {
            return Ok(None);
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| error.to_string())
    }

    /// Keeps it. On the disk when this returns. Blocks.
    pub(super) fn write(&self, file: &Path) -> Result<(), String> {
        let bytes = serde_json::to_vec(self).map_err(|error| error.to_string())?;
        durable::put(file, &bytes).map_err(|error| error.to_string())
    }

    /// Whether the record before the next one, as the log has it, is the one that was sent.
    fn start(&self, entry: Result<Vec<u8>, LogError>) -> Start {
        match entry {
            Ok(entry) if self.last == Some(leaf_hash(&entry).to_string()) => Start::Goes,
            Ok(_) | Err(LogError::NoEntry { .. }) => Start::NotTheLog(self.next),
            Err(error) => Start::Unchecked(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use tlog::Signer;
    use zeroize::Zeroizing;

    use super::*;
    use crate::log::{Entry, Kind, Options};

    #[tokio::test]
    async fn it_goes_on_only_with_the_same_collector_and_the_same_log() {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::from_seed("example.com/log", Zeroizing::new([7; 32])).unwrap();
        let (log, _) = Log::open(Options::new(folder.path().join("audit"), signer)).unwrap();
        for entry in ["a", "b", "c"] {
            log.append(Entry { kind: Kind::Alone, id: None, bytes: entry.into() }).await.unwrap();
        }
        let (url, name, file) =
            ("https://siem.test/v1/logs", "example.com/log", folder.path().join("cursor"));
        let open = |url: &str, name: &str| Cursor::open(&file, url, &log, name);
        let (fresh, start) = open(url, name);
        assert_eq!((fresh.next, start), (0, Start::Begins));
        let kept = |next, last: &str| Cursor {
            next,
            last: Some(leaf_hash(last.as_bytes()).to_string()),
            refused: 1,
            ..fresh.clone()
        };
        for (cursor, expected) in [
            (fresh.clone(), Start::Goes),
            (kept(2, "b"), Start::Goes),
            (kept(3, "c"), Start::Goes),
            // An older copy of the log was put back, also if it has grown since.
            (kept(4, "d"), Start::NotTheLog(4)),
            (kept(2, "x"), Start::NotTheLog(2)),
        ] {
            cursor.write(&file).unwrap();
            let (found, start) = open(url, name);
            assert_eq!(start, expected, "{cursor:?}");
            assert_eq!(found, if start == Start::Goes { cursor } else { fresh.clone() });
        }
        let why = "the disk is slow".to_owned();
        let unread = LogError::Io { doing: "read", path: "tile".to_owned(), why };
        for (entry, expected) in [
            (Ok(b"b".to_vec()), Start::Goes),
            (Ok(b"x".to_vec()), Start::NotTheLog(2)),
            (Err(LogError::NoEntry { asked: 1, size: 1 }), Start::NotTheLog(2)),
            (Err(unread.clone()), Start::Unchecked(unread.to_string())),
        ] {
            assert_eq!(kept(2, "b").start(entry), expected);
        }
        for (url, name) in [("https://other.test/v1/logs", name), (url, "example.com/other")] {
            assert_eq!(open(url, name).1, Start::Begins);
        }
        std::fs::write(&file, "{").unwrap();
        assert!(matches!(open(url, name), (Cursor { next: 0, .. }, Start::Unreadable(_))));
    }
}
