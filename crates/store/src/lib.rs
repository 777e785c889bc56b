//! State of the control plane, in one `SQLite` file; and the wrapped keys of the vault, in another.
//!
//! **Does**: keep rows. A write is on the disk when its method returns: it survives `kill -9` and a power cut.
//! The schema only moves forward, one transaction per step; a file from a newer program is refused, never guessed
//! at. **Must never** be bypassed (nothing else opens the file), and never knows policy: who may do what is decided
//! in `access`.
//!
//! The three types to know: [`Store`], [`VaultKeys`], [`StoreError`].
//!
//! One connection writes, a few read. To the readers the file is read-only, so a second writer cannot slip in.
#![forbid(unsafe_code)]

mod accounts;
mod chat_completions;
mod database;
mod error;
mod keys;
mod migrations;
mod policies;
mod postgres;
mod reseal;
mod scim;
mod sign_in;
mod state;
mod usage;
mod vault_keys;
mod writer;

pub use accounts::{AccountRecord, Placement};
pub use chat_completions::{ChatCompletionRecord, Listed, NewChatCompletionRecord, Owner};
pub use error::StoreError;
pub use keys::{KeyRecord, NewKeyRecord, Rights, UserRecord, UserState};
pub use policies::PolicyRecord;
pub use postgres::PostgresAddress;
pub use reseal::{Resealed, SealedParts, SealedRecord};
pub use scim::{ScimAccount, ScimColumn, ScimGroup, ScimQuery, ScimRecord, ScimResource};
pub use sign_in::{FactorRecord, SessionRecord};
pub use state::Store;
pub use usage::{NewUsage, UsageRecord};
pub use vault_keys::{KeyCounts, SubjectKeyRecord, TenantKeyRecord, Tombstone, VaultKeys};
