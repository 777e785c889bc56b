//! The commands that are about the keys of what is stored, and those of a person.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(crate) enum VaultCommand {
    /// Count its keys, and say where the root key is kept.
    Status,
    /// Put a new key in the place of the root key, or of a tenant's. No stored data is touched.
    Rotate {
        /// Rotate the key of this tenant, not the root key.
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
    },
    /// Write all keys, wrapped, into a new file. Keep it apart from the data, and from the root key.
    Backup {
        /// The file.
        file: PathBuf,
        /// Seal the file with age for this recipient; may be repeated.
        #[arg(long = "recipient", value_name = "age1…")]
        recipients: Vec<String>,
    },
    /// Take in the keys that are missing. What was shredded stays shredded.
    Restore {
        /// A file that `llmos vault backup` wrote.
        file: PathBuf,
        /// File with the identity of age that it was sealed for.
        #[arg(long, value_name = "FILE")]
        identity: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct ShredArgs {
    /// The person, as requests name them in `llmos-subject`; `user:NAME` is the user of a key.
    #[arg(long, value_name = "ID")]
    pub(crate) subject: String,
    /// The tenant whose data it is.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) tenant: String,
    /// Do not ask.
    #[arg(long)]
    pub(crate) yes: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// The person, as requests name them in `llmos-subject`; `user:NAME` is the user of a key.
    #[arg(long, value_name = "ID")]
    pub(crate) subject: String,
    /// The tenant whose data it is.
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) tenant: String,
    /// Who can open the file; may be repeated.
    #[arg(long = "recipient", value_name = "age1…", required = true)]
    pub(crate) recipients: Vec<String>,
    /// The file, which must not exist yet.
    pub(crate) file: PathBuf,
}
