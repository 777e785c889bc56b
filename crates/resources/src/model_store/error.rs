use std::{io, path::Path};

use types::ModelName;

use super::{ArchiveError, Digest, DigestError, Size, SourceError};

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The text is no source.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// The text is no digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// Nothing of this name is there.
    #[error("there is no model `{name}` in the store; there are: {known}")]
    NotFound {
        /// What was asked for.
        name: String,
        /// What would have been found.
        known: String,
    },
    /// The name or alias stands for something else.
    #[error("the name `{name}` belongs to {owner} already; choose another with --name, or remove that first")]
    NameTaken {
        /// The name.
        name: ModelName,
        /// The model that has it.
        owner: String,
    },
    /// The name would hide a digest.
    #[error(
        "`{0}` looks like a digest; choose a name that is neither 64 hexadecimal digits nor begins with `sha256:`"
    )]
    LooksLikeADigest(ModelName),
    /// Too many names.
    #[error("{what}: at most {max} are allowed")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        max: usize,
    },
    /// There is nothing to make a name of.
    #[error("`{0}` gives no name for the model; say one with --name")]
    NoName(String),
    /// A process uses the model.
    #[error("model `{model}` is in use by process {pid}; stop that first")]
    InUse {
        /// The model.
        model: String,
        /// Who has claimed it.
        pid: String,
    },
    /// A process pulls the same.
    #[error("process {pid} is pulling {source_text} already; wait until it is done")]
    PulledAlready {
        /// What it pulls.
        source_text: String,
        /// Who does it.
        pid: String,
    },
    /// Another process holds the lock of the store for longer than any change takes.
    #[error(
        "the store of models is busy: another process has locked {path} for {waited_s} s; is it stopped?"
    )]
    Busy {
        /// The lock file.
        path: String,
        /// How long was waited.
        waited_s: u64,
    },
    /// What came is no model that can be used.
    #[error("{source_text} is no model that can be used: {why}; nothing was kept")]
    NotAModel {
        /// Where it came from.
        source_text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A web page came instead of a file.
    #[error(
        "{0} is an HTML page instead of a model, probably one to log in or to report an error; open it in a browser \
         to see what it wants"
    )]
    HtmlPage(String),
    /// The content is not what was expected.
    #[error(
        "{source_text} is {found}, but {expected} was expected; nothing was kept, so try again, and do not use it if that does not help"
    )]
    WrongDigest {
        /// Where it came from.
        source_text: String,
        /// What came.
        found: Digest,
        /// What should have come.
        expected: Digest,
    },
    /// The length is not what was announced.
    #[error("{source_text} has {found} bytes, but {announced} were announced; try again: {kept}")]
    WrongLength {
        /// Where it came from.
        source_text: String,
        /// What came.
        found: u64,
        /// What should have come.
        announced: u64,
        /// What is kept.
        kept: String,
    },
    /// A file is larger than any model.
    #[error("{source_text} is larger than {}, the most that is pulled", Size(*max))]
    TooLarge {
        /// Where it comes from.
        source_text: String,
        /// The limit in bytes.
        max: u64,
    },
    /// It will not fit.
    #[error(
        "{source_text} needs {}, but {} are free in {folder}: {} are missing; make room, or move `data_dir`",
        Size(*needed), Size(*free), Size(needed.saturating_sub(*free))
    )]
    NoSpace {
        /// What should be written.
        source_text: String,
        /// Bytes that it still needs.
        needed: u64,
        /// Bytes that are free.
        free: u64,
        /// Where.
        folder: String,
    },
    /// The disk became full while writing.
    #[error("the disk of {folder} is full; {kept}; make room and pull again")]
    DiskFull {
        /// Where.
        folder: String,
        /// What is kept.
        kept: String,
    },
    /// A connection that did not work.
    #[error("cannot fetch {source_text}: {why}; {kept}")]
    Fetch {
        /// What was fetched.
        source_text: String,
        /// What the other side or the network did.
        why: String,
        /// What is kept.
        kept: String,
        /// Whether the other side says that there is no such thing.
        is_missing: bool,
    },
    /// The hub's answer has no file to pull.
    #[error("{0}")]
    Choose(String),
    /// `pip` did not fetch the package.
    #[error("cannot fetch {source_text}: {why}")]
    Pip {
        /// The package.
        source_text: String,
        /// What happened.
        why: String,
    },
    /// The package is not sound.
    #[error("the package of {source_text} is refused: {error}")]
    Archive {
        /// The package.
        source_text: String,
        /// What is wrong with it.
        error: ArchiveError,
    },
    /// The folder cannot be made a model file.
    #[error("cannot import {source_text}: {why}")]
    Import {
        /// The folder.
        source_text: String,
        /// What is wrong with it.
        why: String,
    },
    /// A file of the store itself is damaged.
    #[error("{path} is damaged ({why}); remove it, and pull the model again")]
    Damaged {
        /// The file.
        path: String,
        /// What is wrong with it.
        why: String,
    },
    /// The operating system said no.
    #[error("cannot {doing} ({error})")]
    Io {
        /// What was tried.
        doing: String,
        /// What it said.
        error: io::Error,
    },
}

impl StoreError {
    /// Whether the store can only be read here.
    pub(super) fn is_read_only(&self) -> bool {
        let kinds = [io::ErrorKind::ReadOnlyFilesystem, io::ErrorKind::PermissionDenied];
        matches!(self, Self::Io { error, .. } if kinds.contains(&error.kind()))
    }
}

/// Says what was tried when the operating system says no.
pub(super) trait Doing<T> {
    /// "cannot `what` `path` (reason)".
    fn doing(self, what: &str, path: &Path) -> Result<T, StoreError>;
}

impl<T> Doing<T> for io::Result<T> {
    fn doing(self, what: &str, path: &Path) -> Result<T, StoreError> {
        self.map_err(|error| StoreError::Io { doing: format!("{what} {}", path.display()), error })
    }
}

/// Whether there is no room for what was written.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
