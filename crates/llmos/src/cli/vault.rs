//! The commands that are about the keys of what is stored, and those of a person.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use vault::SecretName;

#[derive(Debug, Subcommand)]
pub(crate) enum VaultCommand {
    #[command(flatten)]
    Keys(VaultKeysCommand),
    #[command(flatten)]
    Secrets(SecretsCommand),
}

/// What the running server does.
#[derive(Debug, Subcommand)]
pub(crate) enum VaultKeysCommand {
    /// Count its keys, and say where the root key is kept.
    Status,
    /// Put a new key in the place of the root key, or of a tenant's. No stored data is touched.
    Rotate {
        /// Rotate the key of this tenant, not the root key.
        #[arg(long, value_name = "NAME")]
        tenant: Option<String>,
    },
    /// Seal anew what is stored in another suite than `vault.suite` names, or with a key that was replaced.
    Reseal {
        /// Give all people new keys first.
        #[arg(long)]
        replace_keys: bool,
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

/// What is done on the machine of the server, whether it runs or not.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretsCommand {
    /// Seal a secret that comes on stdin under the root key, for settings that say "vault:NAME".
    SealSecret {
        /// 1 to 64 of a-z, 0-9, - and _; one of this name is replaced.
        name: SecretName,
    },
    /// List the names of sealed secrets; never what is in them.
    Secrets,
    /// Remove a sealed secret.
    RemoveSecret {
        /// As `llmos vault secrets` shows it.
        name: SecretName,
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
