//! Who somebody is, and what they may do.
//!
//! **Does**: turns a [`Credential`] into a `Principal`, and a principal and an [`Action`] into a proof of the
//! decision; makes, lists and revokes API keys. **Must never** let a caller through on an error: whatever goes
//! wrong on the way means no.
//!
//! The three types to know: [`Access`], [`Credential`], [`Authorized`]. Who may do what stands in `action.rs`,
//! as one list.
//!
//! The text of a key is shown once, when it is made. What is kept is a keyed hash, and the secret that it is keyed
//! with lies in a file of its own: who has the database alone can neither use a key nor test a guess.
#![forbid(unsafe_code)]

mod access;
mod action;
mod error;
mod key;
mod key_values;
mod keyring;
mod pepper;
mod quota;

pub use access::{Access, Book, Credential, Standing};
pub use action::{
    ACTIONS, Action, Authorized, ChangeChatCompletions, Embed, Generate, KillSequence, ListModels,
    ListSequences, ManageKeys, ManageVault, ModelUse, MoveModel, ReadApi, ReadChatCompletions, ReadMetrics,
    ReadUsage, StoreChatCompletion,
};
pub use error::{AccessError, OpenError};
pub use key_values::{KeyView, NAME_BYTES_MAX, NewKey, UserChange, UserView};
pub use keyring::KEYS_MAX;
pub use quota::{Limits, Quota, Reservation, Whose};
pub use store::UsageRecord;
