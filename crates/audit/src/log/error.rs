use std::{io, path::Path};

use tlog::NoteError;

/// Why an entry was not taken, or the log not opened or read.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// No room on the disk. Ends of what has begun still go in, and the rest again as soon as there is room.
    #[error("the audit log has no room for new entries: {why}; free some, and it goes on by itself")]
    Full {
        /// What was tried, and what the system said.
        why: String,
    },
    /// The disk did not confirm a write. Nothing is written until the program was started anew and has read from the disk.
    #[error("the audit log is closed until the next start, because the disk did not confirm a write: {why}")]
    Broken {
        /// What was tried, and what the system said.
        why: String,
    },
    /// Something else that the system did not do.
    #[error("cannot {doing} {path}: {why}")]
    Io {
        /// What was tried, as a verb.
        doing: &'static str,
        /// The file or folder.
        path: String,
        /// What the system said.
        why: String,
    },
    /// A file is not as it was written.
    #[error(
        "{path} is not as it was written: {why}; restore the log from a copy, and find out who changed it"
    )]
    Damaged {
        /// The file.
        path: String,
        /// How that shows.
        why: String,
    },
    /// Entries that a signed checkpoint vouches for are gone or are others.
    #[error(
        "the audit log is not the one that was signed: {why}; entries were lost or changed. Restore it from a copy, or \
         keep this folder as evidence and begin a new log in another one"
    )]
    Tampered {
        /// How that shows.
        why: String,
    },
    /// The checkpoint was signed by no known key.
    #[error("the checkpoint of the audit log is not believed: {0}")]
    Note(#[from] NoteError),
    /// Another process has this log open.
    #[error("another process has the audit log in {folder} open; stop it first")]
    Locked {
        /// Where the log is.
        folder: String,
    },
    /// An option is out of its range.
    #[error("the audit log cannot be opened with these options: {0}")]
    Options(String),
    /// An entry has no bytes, or too many.
    #[error("an entry of this kind has 1 to {max} bytes, and this one has {bytes}")]
    Length {
        /// Bytes of the entry.
        bytes: usize,
        /// Most bytes of an entry of its kind.
        max: usize,
    },
    /// Too much has begun and not ended.
    #[error("{max} entries of the audit log have begun and not ended; no more can begin until some end")]
    TooManyOpen {
        /// Most begins without an end.
        max: usize,
    },
    /// What should end has not begun, or has ended.
    #[error("entry {begin} of the audit log is no begin that waits for its end")]
    NotOpen {
        /// Index of what should have begun.
        begin: u64,
    },
    /// No such entry, or no tree of that size.
    #[error("the audit log has {size} entries: there is no {asked}")]
    NoEntry {
        /// What was asked for: an index, or a size.
        asked: u64,
        /// Entries that the log has.
        size: u64,
    },
    /// The log was closed.
    #[error("the audit log was closed")]
    Closed,
}

impl LogError {
    pub(super) fn damaged(path: &Path, why: impl Into<String>) -> Self {
        Self::Damaged { path: path.display().to_string(), why: why.into() }
    }

    pub(super) fn tampered(why: impl Into<String>) -> Self {
        Self::Tampered { why: why.into() }
    }
}

/// Says what was being done when the system refused.
pub(super) trait Doing<T> {
    /// `doing` is a verb: "open", "rename".
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, LogError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, doing: &'static str, path: &Path) -> Result<T, LogError> {
        self.map_err(|error| {
            // A limit on the size of files or on the space of a user is a full disk to us.
            let full =
                [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded, io::ErrorKind::FileTooLarge];
            let path = path.display().to_string();
            if full.contains(&error.kind()) {
                return LogError::Full { why: format!("cannot {doing} {path}: {error}") };
            }
            LogError::Io { doing, path, why: error.to_string() }
        })
    }
}
