/// Why state could not be read or written.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be made or opened.
    #[error(
        "cannot open the database `{database}`: {why}; make sure that its folder exists and may be written by the user \
         who runs the server"
    )]
    CannotOpen {
        /// File or address.
        database: String,
        /// What the system says.
        why: String,
    },
    /// The server of the database is not there, or does not let us in.
    #[error(
        "cannot use the database `{database}`: {why}; make sure that its server runs, that the database exists and belongs \
         to this user, and that the password is sealed (`store.postgres_password`), in PGPASSWORD or in ~/.pgpass, or the certificate \
         in sslcert and sslkey"
    )]
    Unreachable {
        /// Its address.
        database: String,
        /// What the system, or the server of the database, says.
        why: String,
    },
    /// The file is something else. It was not changed.
    #[error("`{database}` is not a database of llmos; move it away or choose another data directory")]
    NotOurs {
        /// File or address.
        database: String,
    },
    /// A newer program wrote the file. It was not changed.
    #[error(
        "the database `{database}` has schema {found}, but this program knows schemas up to {known}; run the version of \
         llmos that wrote it, or a newer one, or restore a backup from before the upgrade"
    )]
    NewerSchema {
        /// File or address.
        database: String,
        /// Its schema version.
        found: usize,
        /// The newest schema version that this program knows.
        known: usize,
    },
    /// No room. What was acknowledged before is safe.
    #[error(
        "cannot write to the database `{database}`, because the disk is full; free some space and try again (nothing \
         is lost)"
    )]
    DiskFull {
        /// File or address.
        database: String,
    },
    /// The disk did not confirm that it has what was written. Nothing is written from then on, as what the system
    /// holds in memory may differ from what is on the disk.
    #[error(
        "the disk of the database `{database}` failed to keep what was written ({why}), so nothing more is written to it; \
         check the disk, then start the server again (what was acknowledged before is safe)"
    )]
    SyncFailed {
        /// File or address.
        database: String,
        /// What the system says.
        why: String,
    },
    /// The backup that has to come before a change of the schema could not be made. Nothing was changed.
    #[error(
        "the database `{database}` cannot be backed up before its schema moves forward: {why}; free some space, or move \
         the old backup away, and start again"
    )]
    NoBackup {
        /// File or address.
        database: String,
        /// What went wrong.
        why: String,
    },
    /// The content contradicts itself.
    #[error(
        "the database `{database}` is damaged ({why}); stop the server, keep a copy of the file and its `-wal`, and restore \
         a backup"
    )]
    Corrupt {
        /// File or address.
        database: String,
        /// What is wrong.
        why: String,
    },
    /// Somebody else held a lock for longer than we wait.
    #[error(
        "the database `{database}` is held by another process; end that process (a backup, or an `sqlite3` shell) and try \
         again"
    )]
    Busy {
        /// File or address.
        database: String,
    },
    /// Anything else that the database reports.
    #[error("the database `{database}` reports: {why}; look at the disk and at the server's log")]
    Failed {
        /// File or address.
        database: String,
        /// What it says.
        why: String,
    },
}

/// Result codes of `SQLite` (<https://www.sqlite.org/rescode.html>).
mod code {
    pub(super) const BUSY: u32 = 5;
    pub(super) const LOCKED: u32 = 6;
    pub(super) const READ_ONLY: u32 = 8;
    pub(super) const CORRUPT: u32 = 11;
    pub(super) const FULL: u32 = 13;
    pub(super) const CANNOT_OPEN: u32 = 14;
    pub(super) const NOT_A_DATABASE: u32 = 26;
    /// Extended codes: of a file, and of its folder.
    pub(super) const FSYNC: u32 = 0x40a;
    pub(super) const FOLDER_FSYNC: u32 = 0x50a;
}

impl StoreError {
    /// What an error of `SQLite`'s driver means for whoever runs the server.
    pub(crate) fn of_sqlite(database: String, error: sqlx::Error) -> Self {
        let why = why(&error);
        let extended: Option<u32> = code(&error).and_then(|code| code.parse().ok());
        match extended.map(|extended| (extended, extended & 0xff)) {
            Some((code::FSYNC | code::FOLDER_FSYNC, _)) => Self::SyncFailed { database, why },
            Some((_, code::BUSY | code::LOCKED)) => Self::Busy { database },
            Some((_, code::FULL)) => Self::DiskFull { database },
            Some((_, code::CORRUPT)) => Self::Corrupt { database, why },
            Some((_, code::NOT_A_DATABASE)) => Self::NotOurs { database },
            Some((_, code::CANNOT_OPEN | code::READ_ONLY)) => Self::CannotOpen { database, why },
            Some(_) => Self::Failed { database, why },
            None => match error {
                sqlx::Error::PoolTimedOut => Self::Busy { database },
                sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_) => Self::Corrupt { database, why },
                _ => Self::Failed { database, why },
            },
        }
    }

    /// What an error of `PostgreSQL`'s driver means. Codes: appendix A of its manual.
    pub(crate) fn of_postgres(database: String, error: sqlx::Error) -> Self {
        let why = why(&error);
        let code = code(&error).unwrap_or_default();
        match (code.as_str(), &error) {
            ("53100", _) => Self::DiskFull { database },
            ("55P03" | "57014", _) => Self::Busy { database },
            (_, sqlx::Error::PoolTimedOut) => {
                Self::Unreachable { database, why: "it does not answer".to_owned() }
            }
            ("XX001" | "XX002", _) | (_, sqlx::Error::ColumnDecode { .. } | sqlx::Error::Decode(_)) => {
                Self::Corrupt { database, why }
            }
            (code, _) if ["08", "28", "3D", "57"].iter().any(|class| code.starts_with(class)) => {
                Self::Unreachable { database, why }
            }
            ("42501", _) | (_, sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Configuration(_)) => {
                Self::Unreachable { database, why }
            }
            _ => Self::Failed { database, why },
        }
    }
}

fn why(error: &sqlx::Error) -> String {
    match error {
        // The driver's own text repeats that it comes from the database.
        sqlx::Error::Database(database) => database.message().to_owned(),
        sqlx::Error::Configuration(why) => why.to_string(),
        other => other.to_string(),
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}
