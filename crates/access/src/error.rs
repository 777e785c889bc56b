use std::path::PathBuf;

use store::StoreError;
use types::{Principal, Role};

use crate::{action, policy::Decision};

/// Why somebody was not let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No credential, or one that is not known, revoked or over. They are not told apart.
    #[error(
        "no valid credential: send `Authorization: Bearer <key>`, or sign in at `/auth`; `llmos keys create` makes a key"
    )]
    Unauthenticated,
    /// A sign-in that is not complete.
    #[error("this sign-in lacks the second factor; a browser asks for it at `/auth`")]
    SecondFactorMissing,
    /// Somebody else has this name already.
    #[error("there is a user `{0}` here already who is somebody else; an administrator can look into it")]
    NameTaken(String),
    /// An account at a provider signs in there.
    #[error("`{0}` signs in at a provider, so there is no token for a local account")]
    NotLocal(String),
    /// No policy permits it.
    #[error("the role `{role}` does not allow `{action}`; it needs one of: {needs}")]
    Denied {
        /// What was tried.
        action: &'static str,
        /// Role of the caller.
        role: Role,
        /// Roles that may.
        needs: String,
    },
    /// A policy forbids it.
    #[error("`{action}` is forbidden by the policy `{policy}`: {says}")]
    Forbidden {
        /// What was tried.
        action: &'static str,
        /// Which policy.
        policy: String,
        /// Why, in the policy's own words.
        says: String,
    },
    /// It needs somebody who is there themselves.
    #[error(
        "`{action}` cannot be undone, so it needs somebody who has just proved that they are there themselves, and a key \
         proves nothing of it; use the command on the machine of the server"
    )]
    StepUp {
        /// What was tried.
        action: &'static str,
    },
    /// The key is for something else.
    #[error("this key is not for the {what} `{name}`; use another one")]
    OutOfScope {
        /// `action` or `model`.
        what: &'static str,
        /// Which.
        name: String,
    },
    /// A policy cannot be taken in.
    #[error("this policy cannot be used: {0}")]
    BadPolicy(String),
    /// There is no such policy.
    #[error("there is no policy `{0}` in this tenant; `llmos policies list` shows all")]
    UnknownPolicy(String),
    /// There is no such tenant.
    #[error("there is no tenant `{0}`")]
    UnknownTenant(String),
    /// Nobody can give a role that does more than their own.
    #[error("the role `{granting}` cannot give or change the role `{granted}`, which allows more")]
    WiderThanGranter {
        /// Role of the caller.
        granting: Role,
        /// The role that was to be given, or changed.
        granted: Role,
    },
    /// A key would allow more than its owner may, or whoever makes it.
    #[error("`{parameter}` is {asked}, but {whose} at most {max}; `llmos users set` changes that")]
    WiderThanOwner {
        /// Who has no more, as a part of the sentence.
        whose: &'static str,
        /// `role`, `class_max`, `data_class_max` or `purposes`.
        parameter: &'static str,
        /// What was asked for.
        asked: String,
        /// What the owner may.
        max: String,
    },
    /// There is no such user.
    #[error("there is no user `{user}` in a tenant `{tenant}`; `llmos users list` shows all")]
    UnknownUser {
        /// The tenant.
        tenant: String,
        /// The user.
        user: String,
    },
    /// The request asks for more than its key allows.
    #[error("`{parameter}` is {asked}, but this key allows at most {max}")]
    OverLimit {
        /// `class` or `data_class`.
        parameter: &'static str,
        /// What was asked for.
        asked: &'static str,
        /// What the key allows.
        max: &'static str,
    },
    /// A quota is used up.
    #[error(
        "the {of}'s quota `{limit}` is used up; {}",
        .retry_after.map_or_else(
            || "this request alone asks for more than it allows: ask for less".to_owned(),
            |wait| format!("try again in {} s", wait.as_secs().max(1))
        )
    )]
    OverQuota {
        /// Which limit.
        limit: &'static str,
        /// Whose: `tenant`, `team`, `user` or `key`.
        of: &'static str,
        /// When there is enough again; none if there never is.
        retry_after: Option<std::time::Duration>,
    },
    /// From where this caller is, wrong credentials came too often.
    #[error(
        "too many wrong credentials came from this address; show the right one, or try again in {} s",
        .retry_after.as_secs().max(1)
    )]
    TooManyAttempts {
        /// When the next guess is answered.
        retry_after: std::time::Duration,
    },
    /// Asked for more often than anybody may what is recorded and paid for by no quota.
    #[error(
        "too much is asked with this key or sign-in that is no use of a model, or that fails; try again in {} s",
        .retry_after.as_secs().max(1)
    )]
    TooOften {
        /// When the next one is answered.
        retry_after: std::time::Duration,
    },
    /// It cannot be recorded, so it is not done.
    #[error("{0}")]
    Unrecorded(&'static str),
    /// A value of a new key is not acceptable.
    #[error(transparent)]
    BadValue(#[from] types::OutOfRange),
    /// There is no such key.
    #[error("there is no key `{0}`")]
    UnknownKey(String),
    /// The store does not answer: no decision, so no.
    #[error("the key store does not answer ({0})")]
    Unavailable(String),
}

impl AccessError {
    /// What a caller is told who was not let through; `needs` are the roles that may.
    pub(crate) fn denied(
        action: &'static str,
        principal: &Principal,
        decision: Decision,
        needs: String,
    ) -> Self {
        // Of a key that narrows its owner's role, it is the key's that does not allow it.
        let has = |role: &Role| needs.split(", ").any(|name| name == role.as_str());
        let role = Some(principal.role).filter(|role| !has(role)).or(principal.scope.role());
        let role = role.unwrap_or(principal.role);
        match decision.policies.first().map(String::as_str) {
            None => Self::Denied { action, role, needs },
            // Of what goes wrong, the first is told: a role that never may is not asked for more.
            Some(policy) if !has(&role) && !policy.starts_with("tenant.") => {
                Self::Denied { action, role, needs }
            }
            Some("key.scope") if !action::in_scope(&principal.scope, action) => {
                Self::OutOfScope { what: "action", name: action.to_owned() }
            }
            Some("presence.step_up") => Self::StepUp { action },
            Some(policy) => Self::Forbidden {
                action,
                policy: policy.to_owned(),
                says: decision.says.as_deref().unwrap_or("it does not say why").to_owned(),
            },
        }
    }
}

impl AccessError {
    /// What refused it, as records name it: of what was allowed at first, and turned out not to be.
    pub fn refused_by(&self) -> Option<String> {
        Some(match self {
            Self::Forbidden { policy, .. } => policy.clone(),
            Self::OutOfScope { .. } => "key.scope".to_owned(),
            Self::StepUp { .. } => "presence.step_up".to_owned(),
            Self::WiderThanGranter { .. } => "limit.granter".to_owned(),
            Self::WiderThanOwner { .. } => "limit.owner".to_owned(),
            Self::OverLimit { parameter, .. } => format!("limit.{parameter}"),
            Self::OverQuota { limit, of, .. } => format!("quota.{of}.{limit}"),
            _ => return None,
        })
    }
}

impl From<StoreError> for AccessError {
    fn from(error: StoreError) -> Self {
        Self::Unavailable(error.to_string())
    }
}

/// Why the keys cannot be used at all. For whoever starts the server, not for callers.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The keys cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What was recorded cannot be read.
    #[error(transparent)]
    Audit(#[from] audit::AuditUnavailable),
    /// The file with the secret that hashes are keyed with cannot be read or made.
    #[error(
        "cannot use the pepper file `{}`: {why}; make sure that it may be read and its folder written by the user \
         who runs the server",
        .file.display()
    )]
    Pepper {
        /// The file.
        file: PathBuf,
        /// What the system says.
        why: String,
    },
    /// The policies cannot be read.
    #[error("the policies cannot be used: {0}")]
    Policies(String),
    /// The sign-ins cannot be read.
    #[error("the sign-ins cannot be used: {0}")]
    Sessions(AccessError),
    /// The pepper file is not what was written.
    #[error(
        "the pepper file `{}` does not have the {expected} bytes it was made with; restore it from a backup, or delete \
         it if no key was ever made",
        .file.display()
    )]
    PepperDamaged {
        /// The file.
        file: PathBuf,
        /// Bytes of a whole one.
        expected: usize,
    },
    /// There are keys, but not the pepper that they were hashed with: none of them would be accepted.
    #[error(
        "the pepper file `{}` is missing, and without it none of the keys in the store can be checked; restore it \
         from a backup (if there is none, the keys are lost: move the store away too, and new ones are made)",
        .file.display()
    )]
    PepperLost {
        /// The file.
        file: PathBuf,
    },
    /// The system gives no random numbers.
    #[error("the operating system gives no random numbers ({0}); without them no key is safe")]
    Random(getrandom::Error),
}
