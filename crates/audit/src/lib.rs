//! What was done, by whom, with what: kept so that a stranger can check it.
//!
//! **Does**: turns decisions and what became of them into records, and keeps these in an append-only Merkle log on the disk. **Must
//! never** contain a prompt or an answer, and must never lose or change a record that was acknowledged. Who may do what is not decided
//! here, and keys are not kept here.
//!
//! ```text
//! Decision ── begin ──▶ Record (kind `begin`) ──▶ Log (on the disk) ──▶ Begun
//!                                                                       │  the work
//! Outcome  ── end ────▶ Record (kind `end`, names its beginning) ◀──────┘
//! Happening ─ note ───▶ Record (kind `event`)
//! ```
//!
//! - A record is one JSON object on one line. It names people by numbers; their names are in it too, but **sealed** with the key of
//!   each person ([`Seals`]), so that a person can be erased and every hash stays what it was.
//! - What has to be recorded is done only after its beginning is on the disk: no record, no deed ([`AuditUnavailable`]).
//! - A beginning whose end never came is ended with the next start, as `interrupted`.
//!
//! - Its checkpoints go to places off this machine ([`Outside`]), its records to a collector there ([`Forwarder`]), and it countersigns
//!   the logs of others ([`Witness`]).
//!
//! The types to know: [`Audit`], [`Begun`], [`Record`], and [`Log`](log::Log) below them.
#![forbid(unsafe_code)]

mod audit;
mod collector;
mod cosigned;
mod export;
mod files;
mod key;
pub mod log;
mod open;
pub mod outside;
mod personal;
mod receipt;
mod record;
mod retry;
mod sampled;
mod text;
mod witness;

pub use tlog::{VerifierKey, WitnessKey, commitment};

pub use crate::{
    audit::{Audit, AuditUnavailable, Begun, Decision, Happening, Outcome},
    collector::{Collector, CollectorStatus, Forwarder, ReadToken},
    export::Exported,
    files::LogFiles,
    key::verifier_key,
    log::{Log, LogError},
    open::{Charged, Found, OpenError, Recovered},
    outside::{Anchor, AnchorStatus, NotTheLog, Outside},
    personal::{Caller, Erases, Personal, SealedCaller, Seals},
    receipt::{Proved, Receipt},
    record::{Facts, ModelUsed, Record, RecordKind, Used, Who},
    witness::{WITNESS_REQUEST_BYTES_MAX, Witness, WitnessError, WitnessRefusal},
};

/// A secret in a file, under a root of tests.
#[cfg(test)]
pub(crate) fn secret_file(path: &std::path::Path) -> vault::SecretFile {
    let root = vault::Root::of_text(&types::Secret::from("0123456789abcdef".repeat(4)));
    vault::SecretFile::under(root.unwrap(), path)
}
