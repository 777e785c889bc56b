//! The commands that are about the audit log.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Most records of one answer of a command.
const RECORDS_MAX: u64 = 100_000;

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Show the newest records.
    Tail {
        /// How many.
        #[arg(long, short = 'n', value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=RECORDS_MAX))]
        lines: u64,
        /// Go on with what is written from now on, until Ctrl-C. With --json each record is a document.
        #[arg(long, short)]
        follow: bool,
    },
    /// Show the newest records that all of these fit.
    Search(Box<AuditSearchArgs>),
    /// Print the receipt of a request: its records, with the proof that they are in the log.
    Prove {
        /// Id of the request, or of its answer.
        request: String,
        /// Write it into this file, which must not exist yet.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the signed checkpoint of all that is recorded by now. Keep it where nobody who runs the server can change it.
    Checkpoint {
        /// Write it into this file, which must not exist yet.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Print the public key that verifies the log; and on stderr that of this server as a witness of other logs, if it is one.
    Key,
    /// Copy the whole log into a new folder, for `llmos-verify log`.
    Export {
        /// The folder, which must not exist yet.
        folder: PathBuf,
    },
    /// Check every entry of the log in the data directory. No server need run, and one that runs is not disturbed.
    Verify {
        /// A checkpoint of this log that was kept elsewhere; may be repeated. Without one nobody can see that the log was put back or
        /// written anew.
        #[arg(long = "checkpoint", value_name = "FILE")]
        checkpoints: Vec<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct AuditSearchArgs {
    /// Of this request, by its id or that of its answer.
    #[arg(long, value_name = "ID")]
    pub(crate) request: Option<String>,
    /// Of this action, or of what happened by itself: `generate`, `manage_keys`, `sign_in`, …
    #[arg(long, value_name = "NAME")]
    pub(crate) action: Option<String>,
    /// Of the user with this number, as records have it.
    #[arg(long, value_name = "NUMBER")]
    pub(crate) user: Option<u64>,
    /// With the API key of this id.
    #[arg(long, value_name = "ID")]
    pub(crate) key: Option<String>,
    /// What was allowed, or refused.
    #[arg(long, value_parser = ["allow", "deny"])]
    pub(crate) decision: Option<String>,
    /// What ended like this: `done`, `failed`, `stop`, `cancelled`, `interrupted`, …
    #[arg(long, value_name = "NAME")]
    pub(crate) outcome: Option<String>,
    /// Written then or later: a time with its offset (`2026-11-23T19:51:46Z`), or a date, from its beginning in UTC (`2026-11-23`).
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// Written before: the same.
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
    /// The tenant that --subject is of.
    #[arg(long, value_name = "NAME", default_value = "default", requires = "subject")]
    pub(crate) tenant: String,
    /// About this person, as requests name them in `llmos-subject`; `user:NAME` is the user of a key.
    #[arg(long, value_name = "ID")]
    pub(crate) subject: Option<String>,
    /// Only what was done in an emergency.
    #[arg(long)]
    pub(crate) break_glass: bool,
    /// At most so many.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=RECORDS_MAX))]
    pub(crate) limit: u64,
}
