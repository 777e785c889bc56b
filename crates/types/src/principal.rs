use std::{fmt, str::FromStr, sync::Arc};

use crate::{ModelName, OutOfRange, TenantId, UserId};

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
    /// What a user may do. Policies over roles come with the access issue; these three have fixed rights.
    Role, "role", {
        /// Uses models.
        Member = "member",
        /// Also sees and ends what runs, and reads metrics.
        Operator = "operator",
        /// Also makes and revokes keys.
        Administrator = "administrator",
    }
}

/// Who asks. Travels unchanged from the socket to the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Principal {
    /// Whose data space the request lives in.
    pub tenant: TenantId,
    /// Who in that tenant.
    pub user: UserId,
    /// What they may do.
    pub role: Role,
    /// The most urgent class their requests may have.
    pub class_max: PriorityClass,
    /// The most sensitive data they may send.
    pub data_class_max: DataClass,
    /// What their credential is for.
    pub scope: Scope,
}

/// What a credential is for: less than its owner may. Cheap to copy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Scope(Option<Arc<Named>>);

#[derive(Debug, PartialEq, Eq)]
struct Named {
    actions: Vec<String>,
    models: Vec<ModelName>,
}

impl Scope {
    /// For these actions and models only; no names at all: for all of them.
    pub fn new(actions: Vec<String>, models: Vec<ModelName>) -> Self {
        let is_narrow = !actions.is_empty() || !models.is_empty();
        Self(is_narrow.then(|| Arc::new(Named { actions, models })))
    }

    /// Names of the actions; none: all of them.
    pub fn actions(&self) -> &[String] {
        self.0.as_ref().map_or(&[], |named| &named.actions)
    }

    /// Configured names of the models; none: all of them.
    pub fn models(&self) -> &[ModelName] {
        self.0.as_ref().map_or(&[], |named| &named.models)
    }

    /// Whether it is for an action.
    pub fn covers_action(&self, action: &str) -> bool {
        let covers =
            |named: &Arc<Named>| named.actions.is_empty() || named.actions.iter().any(|name| name == action);
        self.0.as_ref().is_none_or(covers)
    }

    /// Whether it is for a model, by its configured name.
    pub fn covers_model(&self, model: &ModelName) -> bool {
        self.0.as_ref().is_none_or(|named| named.models.is_empty() || named.models.contains(model))
    }
}
