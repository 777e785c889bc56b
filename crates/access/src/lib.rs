//! access (skeleton: signatures)
use std::path::Path;

use store::Store;
use types::{DataClass, ModelName, Principal, PriorityClass, Role, Secret, SequenceId};

/// Who somebody claims to be.
pub enum Credential {
    /// `Authorization: Bearer llmos_…`.
    ApiKey(Secret),
    /// The peer of the local socket, as the kernel names it.
    LocalSocket {
        /// Its user id.
        uid: u32,
    },
    /// Nothing was shown.
    Absent,
}

/// Something that can be done, and to what.
pub trait Action {
    /// What it is done to.
    type Resource;
    /// Its name in policies and logs.
    const NAME: &'static str;
    /// Roles that may do it.
    const ROLES: &'static [Role];
    /// Checks that need the resource; `Err` is what the caller is told.
    fn check(_principal: &Principal, _resource: &mut Self::Resource) -> Result<(), AccessError> {
        Ok(())
    }
}

/// Proof of a decision. Only this crate can build it, so a handler without one does not compile.
pub struct Authorized<A: Action> {
    principal: Principal,
    resource: A::Resource,
}

impl<A: Action> Authorized<A> {
    /// Who.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }
    /// To what.
    pub fn resource(&self) -> &A::Resource {
        &self.resource
    }
}

/// Generate with a model.
pub struct Generate;
/// What a generation asks for.
pub struct Generation {
    /// The model.
    pub model: ModelName,
    /// How urgent; filled in by the decision if absent.
    pub class: Option<PriorityClass>,
    /// How sensitive; filled in by the decision if absent.
    pub data_class: Option<DataClass>,
}
impl Action for Generate {
    type Resource = Generation;
    const NAME: &'static str = "generate";
    const ROLES: &'static [Role] = Role::ALL;
}
/// See which models there are.
pub struct ListModels;
impl Action for ListModels {
    type Resource = ();
    const NAME: &'static str = "list_models";
    const ROLES: &'static [Role] = Role::ALL;
}
/// Read the description of the API.
pub struct ReadApi;
impl Action for ReadApi {
    type Resource = ();
    const NAME: &'static str = "read_api";
    const ROLES: &'static [Role] = Role::ALL;
}
/// See what runs, of all tenants.
pub struct ListSequences;
impl Action for ListSequences {
    type Resource = ();
    const NAME: &'static str = "list_sequences";
    const ROLES: &'static [Role] = &[Role::Operator, Role::Administrator];
}
/// End a sequence of anybody.
pub struct KillSequence;
impl Action for KillSequence {
    type Resource = SequenceId;
    const NAME: &'static str = "kill_sequence";
    const ROLES: &'static [Role] = &[Role::Operator, Role::Administrator];
}
/// Read metrics, which cover all tenants.
pub struct ReadMetrics;
impl Action for ReadMetrics {
    type Resource = ();
    const NAME: &'static str = "read_metrics";
    const ROLES: &'static [Role] = &[Role::Operator, Role::Administrator];
}
/// Make, list and revoke API keys.
pub struct ManageKeys;
impl Action for ManageKeys {
    type Resource = ();
    const NAME: &'static str = "manage_keys";
    const ROLES: &'static [Role] = &[Role::Administrator];
}

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What it is for, as its owner calls it; unique among live keys is not required.
    pub label: String,
    /// Name of the tenant; made if new.
    pub tenant: String,
    /// Name of the user in the tenant; made if new.
    pub user: String,
    /// What the user may do with it.
    pub role: Role,
    /// Highest class of its requests.
    pub class_max: PriorityClass,
    /// Most sensitive data that may be sent with it.
    pub data_class_max: DataClass,
}

/// A key as its administrator sees it: everything but the secret.
#[derive(Debug, Clone)]
pub struct KeyView {
    /// Public part of the key; names it in `llmos keys revoke`.
    pub id: String,
    /// What was asked for.
    pub key: NewKey,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Seconds since 1970, if it was revoked.
    pub revoked_at: Option<u64>,
}

/// Why somebody was not let through.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No key, or one that is not known or revoked. The three are not told apart.
    #[error("no valid API key: send `Authorization: Bearer <key>`; `llmos keys create` makes one")]
    Unauthenticated,
    /// The role does not allow it.
    #[error("the role `{role}` does not allow `{action}`; it needs one of: {needs}")]
    Denied {
        /// What was tried.
        action: &'static str,
        /// Role of the caller.
        role: Role,
        /// Roles that may.
        needs: String,
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

/// Who you are and what you may do.
pub struct Access;

#[allow(unused)]
impl Access {
    /// Opens the keys in `store`; `pepper` is the file with the secret that key hashes are made with (created, 0600).
    pub async fn open(store: Store, pepper: &Path) -> Result<Self, AccessError> {
        Err(AccessError::Unauthenticated)
    }
    /// Makes the first administrator key if there is no key at all; its text is returned this once.
    pub async fn bootstrap(&self) -> Result<Option<Secret>, AccessError> {
        Ok(None)
    }
    /// Who is it?
    pub async fn authenticate(&self, credential: Credential) -> Result<Principal, AccessError> {
        Err(AccessError::Unauthenticated)
    }
    /// May they?
    pub fn authorize<A: Action>(
        &self,
        principal: &Principal,
        mut resource: A::Resource,
    ) -> Result<Authorized<A>, AccessError> {
        Err(AccessError::Unauthenticated)
    }
    /// Makes a key; the text is shown this once.
    pub async fn create_key(
        &self,
        by: &Authorized<ManageKeys>,
        key: NewKey,
    ) -> Result<(KeyView, Secret), AccessError> {
        Err(AccessError::Unauthenticated)
    }
    /// All keys, revoked ones included, oldest first.
    pub async fn keys(&self, by: &Authorized<ManageKeys>) -> Result<Vec<KeyView>, AccessError> {
        Err(AccessError::Unauthenticated)
    }
    /// Revokes a key, at once; revoking twice is not an error.
    pub async fn revoke_key(&self, by: &Authorized<ManageKeys>, id: &str) -> Result<KeyView, AccessError> {
        Err(AccessError::Unauthenticated)
    }
}
