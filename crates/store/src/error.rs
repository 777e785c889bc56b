use std::path::{Path, PathBuf};

/// Why state could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made or opened.
    #[error(
        "cannot open the database `{}`: {why}; make sure that its folder exists and may be written by the user \
         who runs the server",
        .file.display()
    )]
    CannotOpen {
        /// The file.
        file: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The file is something else. It was not changed.
    #[error(
        "`{}` is not a database of llmos; move it away or choose another data directory",
        .file.display()
    )]
    NotOurs {
        /// The file.
        file: PathBuf,
    },
    /// A newer program wrote the file. It was not changed.
    #[error(
        "the database `{}` has schema {found}, but this program knows schemas up to {known}; run the version of \
         llmos that wrote it, or a newer one, or restore a backup from before the upgrade",
        .file.display()
    )]
    NewerSchema {
        /// The file.
        file: PathBuf,
        /// Its schema version.
        found: usize,
        /// The newest schema version that this program knows.
        known: usize,
    },
    /// No room. What was acknowledged before is safe.
    #[error(
        "cannot write to the database `{}`, because the disk is full; free some space and try again (nothing is lost)",
        .file.display()
    )]
    DiskFull {
        /// The file.
        file: PathBuf,
    },
    /// The content contradicts itself.
    #[error(
        "the database `{}` is damaged ({why}); stop the server, keep a copy of the file and its `-wal`, and restore \
         a backup",
        .file.display()
    )]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// Somebody else held a lock for longer than we wait.
    #[error(
        "the database `{}` is held by another process; end that process (a backup, or an `sqlite3` shell) and try \
         again",
        .file.display()
    )]
    Busy {
        /// The file.
        file: PathBuf,
    },
    /// Anything else that the database reports.
    #[error("the database `{}` reports: {why}; look at the disk and at the server's log", .file.display())]
    Failed {
        /// The file.
        file: PathBuf,
        /// What it says.
        why: String,
    },
}

/// Primary result codes of `SQLite` (<https://www.sqlite.org/rescode.html>).
mod code {
    pub(super) const BUSY: u32 = 5;
    pub(super) const LOCKED: u32 = 6;
    pub(super) const READ_ONLY: u32 = 8;
    pub(super) const CORRUPT: u32 = 11;
    pub(super) const FULL: u32 = 13;
    pub(super) const CANNOT_OPEN: u32 = 14;
    pub(super) const NOT_A_DATABASE: u32 = 26;
}

impl StoreError {
    /// What an error of the driver means for whoever runs the server.
    pub(crate) fn of(file: &Path, error: sqlx::Error) -> Self {
        let file = file.to_owned();
        let why = match &error {
            // The driver's own text repeats that it comes from the database.
            sqlx::Error::Database(database) => database.message().to_owned(),
            other => other.to_string(),
        };
        match primary_code(&error) {
            Some(code::BUSY | code::LOCKED) => Self::Busy { file },
            Some(code::FULL) => Self::DiskFull { file },
            Some(code::CORRUPT) => Self::Corrupt { file, why },
            Some(code::NOT_A_DATABASE) => Self::NotOurs { file },
            Some(code::CANNOT_OPEN | code::READ_ONLY) => Self::CannotOpen { file, why },
            Some(_) => Self::Failed { file, why },
            None => match error {
                sqlx::Error::PoolTimedOut => Self::Busy { file },
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Corrupt { file, why },
                _ => Self::Failed { file, why },
            },
        }
    }
}

/// The driver gives extended codes; their lowest byte is the primary one.
fn primary_code(error: &sqlx::Error) -> Option<u32> {
    let extended: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}
