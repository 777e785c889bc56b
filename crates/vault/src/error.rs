use std::path::PathBuf;

/// Why something was not sealed, opened, wrapped or unwrapped.
#[derive(Debug, thiserror::Error)]
pub enum VaultError {
    /// It is not what was sealed under this key for this place. Nothing more can be told, by design.
    #[error(
        "the sealed data is damaged, or was sealed for another purpose, subject, tenant or place; restore it from a \
         backup if it should be here"
    )]
    Refused,
    /// It is not sealed data at all, or of a version that this program does not know.
    #[error("this is not sealed data that this program can read: {0}")]
    Unknown(&'static str),
    /// A wrapped key does not open.
    #[error(
        "the wrapped {what} does not open with this {under}; it is damaged, or the wrong root key is configured"
    )]
    WrongKey {
        /// The key that was wrapped.
        what: &'static str,
        /// What should have opened it.
        under: &'static str,
    },
    /// The key was destroyed.
    #[error("the data of this person was erased: the key that it was sealed with was destroyed")]
    Shredded,
    /// The key is not here, and nothing says that it was destroyed.
    #[error("there is no key {0}; restore the backup of the keys that belongs to this data")]
    NoKey(crate::SubjectKeyId),
    /// All keys are gone, and data that they opened is here. A new tenant key would stand in the way of the restore.
    #[error(
        "the keys of what is stored are gone, so nothing is sealed; restore them first with `llmos vault restore FILE` on the \
         server's machine"
    )]
    Lost,
    /// The tenant's key is being rotated, again and again.
    #[error("the key of tenant {0} is being rotated; try again")]
    Rotating(types::TenantId),
    /// The keys cannot be read or written.
    #[error(transparent)]
    Store(#[from] store::StoreError),
    /// A backup cannot be used. Nothing was changed.
    #[error("this backup of keys cannot be restored: {0}")]
    Backup(String),
    /// The root key cannot be used.
    #[error("the root key cannot be used: {0}")]
    Root(String),
    /// The file of the root key cannot be read or written.
    #[error("the root key file {}: {error}", .path.display())]
    RootFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: std::io::Error,
    },
    /// A secret that is sealed under the root key cannot be used.
    #[error("the secret {name} cannot be used: {why}")]
    Secret {
        /// The secret, or its file.
        name: String,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The folder of secrets cannot be used.
    #[error("the secrets in {}: {why}", .folder.display())]
    Secrets {
        /// The folder.
        folder: PathBuf,
        /// What is wrong, and what to do.
        why: String,
    },
    /// An export cannot be opened.
    #[error("this export cannot be opened: {0}")]
    Export(String),
    /// Nothing can be sealed for these recipients.
    #[error("nothing can be sealed for these recipients: {0}")]
    Recipients(String),
    /// A file holds no identities that can be used.
    #[error("the identity file {} {why}", .path.display())]
    Identities {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: String,
    },
    /// The file of identities cannot be read.
    #[error("the identity file {}: {error}", .path.display())]
    IdentityFile {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        error: std::io::Error,
    },
    /// A range lies outside of what was sealed.
    #[error("bytes {start} to {end} were asked for, and there are {length}")]
    OutOfRange {
        /// First byte asked for.
        start: u64,
        /// The byte behind the last one.
        end: u64,
        /// Bytes that there are.
        length: u64,
    },
    /// More than the format can hold.
    #[error("more than {} GiB cannot be sealed as one", (crate::frames::FRAMES_MAX * crate::FRAME_BYTES as u64) >> 30)]
    TooLong,
    /// The operating system gives no random bytes.
    #[error("the operating system gives no random bytes, so no key can be made")]
    NoRandom,
    /// Reading or writing what is sealed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}
