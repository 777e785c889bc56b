use std::{fmt, str::FromStr, sync::Arc};

use crate::{ModelName, OutOfRange, PurposeOfUse, Purposes, TenantId, UserId};

macro_rules! named_levels {
    ($(#[$doc:meta])* $name:ident, $parameter:literal, { $($(#[$vdoc:meta])* $variant:ident = $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$vdoc])* $variant),+
        }

        impl $name {
            /// All of them, lowest first.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The name used in the API, the CLI and the configuration.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text),+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.as_str())
            }
        }

        impl FromStr for $name {
            type Err = OutOfRange;

            fn from_str(text: &str) -> Result<Self, OutOfRange> {
                Self::ALL.iter().copied().find(|level| level.as_str() == text).ok_or_else(|| {
                    OutOfRange::new($parameter, "an unknown name", [$($text),+].join(", "))
                })
            }
        }
    };
}

named_levels! {
    /// How urgent a request is. Ordered: a key's highest class bounds what its requests may ask for.
    PriorityClass, "class", {
        /// Overnight work: may wait.
        Batch = "batch",
        /// What a request is when nothing else is said.
        Normal = "normal",
        /// A person waits for the answer.
        Interactive = "interactive",
        /// The system's own work.
        System = "system",
    }
}

named_levels! {
    /// How sensitive the data of a request is. Ordered: a key's highest data class bounds what may be sent with it.
    DataClass, "data_class", {
        /// May be published.
        Public = "public",
        /// For the organisation only.
        Internal = "internal",
        /// Personal or business secrets.
        Confidential = "confidential",
        /// Health, finance, and the like.
        Restricted = "restricted",
    }
}

named_levels! {
    /// What a user may do, as the shipped policies say. The order means nothing here: roles are for different work.
    Role, "role", {
        /// Uses models.
        Member = "member",
        /// Also sees what the tenant uses.
        Analyst = "analyst",
        /// Also sees why something is allowed or not.
        Developer = "developer",
        /// Reads what is recorded, sees why something is allowed or not, and nothing else.
        Auditor = "auditor",
        /// Uses models; sees and ends what runs, moves models, and reads metrics, of the whole installation.
        Operator = "operator",
        /// Uses models; looks after a tenant: its users, keys, policies and data.
        Administrator = "administrator",
        /// May do everything, in all tenants, but read what others have stored.
        Owner = "owner",
    }
}

/// Who asks. Travels unchanged from the socket to the engine.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Principal {
    /// Whose data space the request lives in.
    pub tenant: TenantId,
    /// Who in that tenant.
    pub user: UserId,
    /// Whether they are a service account: a program, not a person.
    pub is_service: bool,
    /// The team of the tenant that they are in.
    pub team: Option<Arc<str>>,
    /// What they are.
    pub role: Role,
    /// The most urgent class their requests may have.
    pub class_max: PriorityClass,
    /// The most sensitive data they may send.
    pub data_class_max: DataClass,
    /// What they may use models for.
    pub purposes: Purposes,
    /// What their credential is for.
    pub scope: Scope,
    /// The id of the API key that they show, if it is one.
    pub key: Option<Arc<str>>,
    /// The configured name of the place that they are at, if it has one.
    pub location: Option<Arc<str>>,
    /// When they last proved that they are there themselves: seconds since 1970. A key proves nothing of it.
    pub present_at: Option<u64>,
    /// Whether they came in without the provider, in an emergency.
    pub break_glass: bool,
}

/// What a caller says of a request. What is left open is filled in when it is authorised.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Declared {
    /// How urgent; without it `normal`, or the highest class that they may ask for if that is lower.
    pub class: Option<PriorityClass>,
    /// How sensitive; without it the most sensitive that they may send, so that forgetting it never lowers protection.
    pub data_class: Option<DataClass>,
    /// What for; without it the one purpose that they may use models for, if it is one.
    pub purpose: Option<PurposeOfUse>,
}

impl Principal {
    /// A person who may do the least: a member without a team, with the lowest classes, who shows no key and is at no known place.
    pub fn least(tenant: TenantId, user: UserId) -> Self {
        Self {
            tenant,
            user,
            is_service: false,
            team: None,
            role: Role::Member,
            class_max: PriorityClass::Batch,
            data_class_max: DataClass::Public,
            purposes: Purposes::any(),
            scope: Scope::default(),
            key: None,
            location: None,
            present_at: None,
            break_glass: false,
        }
    }

    /// Whether it is whoever runs the server, at its local socket.
    pub fn is_local(&self) -> bool {
        (self.tenant, self.user) == (TenantId(0), UserId(0))
    }
}

/// What a credential is for: less than its owner may. Cheap to copy.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Scope(Option<Arc<Narrowed>>);

#[derive(Debug, PartialEq, Eq, Hash)]
struct Narrowed {
    role: Option<Role>,
    actions: Vec<String>,
    models: Vec<ModelName>,
}

impl Scope {
    /// For what this role may do, these actions and models only; nothing at all: for all that the owner may.
    pub fn new(role: Option<Role>, actions: Vec<String>, models: Vec<ModelName>) -> Self {
        let is_narrow = role.is_some() || !actions.is_empty() || !models.is_empty();
        Self(is_narrow.then(|| Arc::new(Narrowed { role, actions, models })))
    }

    /// The role whose rights it does not exceed; none: its owner's.
    pub fn role(&self) -> Option<Role> {
        self.0.as_ref().and_then(|narrowed| narrowed.role)
    }

    /// Names of the actions; none: all of them.
    pub fn actions(&self) -> &[String] {
        self.0.as_ref().map_or(&[], |narrowed| &narrowed.actions)
    }

    /// Configured names of the models; none: all of them.
    pub fn models(&self) -> &[ModelName] {
        self.0.as_ref().map_or(&[], |narrowed| &narrowed.models)
    }

    /// Whether it is for an action.
    pub fn covers_action(&self, action: &str) -> bool {
        self.actions().is_empty() || self.actions().iter().any(|name| name == action)
    }

    /// Whether it is for a model, by its configured name.
    pub fn covers_model(&self, model: &ModelName) -> bool {
        self.models().is_empty() || self.models().contains(model)
    }
}
