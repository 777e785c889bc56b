//! Who somebody is, and what they may do.
//!
//! **Does**: turns a [`Credential`] into a `Principal`, and a principal and an [`Action`] into a proof of the
//! decision; makes, lists, rotates and revokes API keys. **Must never** let a caller through on an error: whatever goes
//! wrong on the way means no.
//!
//! The three types to know: [`Access`], [`Credential`], [`Authorized`]. What there is to be done stands in
//! `action.rs`, as one list, and who may do it in `policy/shipped.cedar`.
//!
//! The text of a key is shown once, when it is made. What is kept is a keyed hash, and the secret that it is keyed
//! with lies in a file of its own: who has the database alone can neither use a key nor test a guess.
#![forbid(unsafe_code)]

mod access;
mod action;
mod attempts;
mod book;
mod bucket;
mod clock;
mod error;
mod granter;
mod key;
mod key_changes;
mod key_values;
mod keyring;
mod location;
mod pepper;
mod policy;
mod quota;
mod rates;
mod recorded;
mod rules;
mod scim;
mod sessions;
mod sign_in;
mod unpaid;
mod used;

pub use access::{Access, Credential, Shown, Standing};
pub use action::{
    ACTIONS, Action, Authorized, ChangeChatCompletions, ChangeKey, Embed, EraseSubject, ExplainAccess,
    ExportAudit, ExportSubject, Generate, KillSequence, ListModels, ListSequences, ManageFactors, ManageKeys,
    ManagePolicies, ManageUsers, ManageVault, ModelUse, MoveModel, PlanWorkflow, ProvisionUsers, ReadApi,
    ReadAudit, ReadChatCompletions, ReadMetrics, ReadReceipt, ReadUsage, Refusal, RotateTenantKey,
    StoreChatCompletion,
};
pub use book::Book;
pub use error::{AccessError, OpenError};
pub use key_changes::ApiKey;
pub use key_values::{KeyView, NAME_BYTES_MAX, NewKey, UserChange, UserView};
pub use keyring::KEYS_MAX;
pub use location::Location;
pub use policy::{Decision, POLICIES_MAX, POLICY_BYTES_MAX, Target, TenantPolicy};
pub use quota::{BudgetView, Limits, Price, Quota, Reservation, Whose};
pub use recorded::subject_of_user;
pub use rules::{Explanation, Inquiry, Who};
pub use scim::{Pushed, SCIM_MEMBERS_MAX, ScimError, ScimPage, ScimView, ScimWanted};
pub use sessions::{SESSIONS_MAX, SESSIONS_OF_USER_MAX, SessionKind, SessionLimits, Stage};
pub use sign_in::{
    DeviceCodes, DeviceError, DeviceView, FactorKind, FactorView, OwnSession, RECOVERY_CODES, Reason,
    RoleMapping, SessionView, SignIn, SignInError, SignInSettings, SignedIn,
};
pub use store::{ScimAccount, ScimColumn, ScimGroup, UsageRecord};
pub use unpaid::Unpaid;
