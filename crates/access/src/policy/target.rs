//! What something is done to, as policies and records name it.

use std::str::FromStr;

use types::{DataClass, ModelName, NodeName, Principal, PriorityClass, PurposeOfUse, TenantId};

use crate::{
    Action, ApiKey, StoreChatCompletion,
    action::{self, CHAT_COMPLETIONS, Kind},
    key_changes,
};

/// What something is done to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// The installation.
    Server,
    /// A tenant, or something of it that is nothing of its own.
    Tenant(TenantId),
    /// The part of the audit log that is a tenant's.
    AuditLog(TenantId),
    /// An API key.
    Key(ApiKey),
    /// Data of a tenant.
    Dataset {
        /// Whose it is.
        tenant: TenantId,
        /// What it is.
        name: &'static str,
        /// How sensitive what comes in is; none if nothing does.
        data_class: Option<DataClass>,
    },
    /// What a tenant may use, and has used.
    Budget(TenantId),
    /// A machine that models run on.
    Node(NodeName),
    /// A graph of tasks of a tenant. None is kept, so they are not told apart.
    Workflow(TenantId),
    /// A model, and what is sent to it.
    Model {
        /// Its configured name.
        name: ModelName,
        /// How urgent it is.
        class: PriorityClass,
        /// How sensitive it is.
        data_class: DataClass,
        /// What for.
        purpose: Option<PurposeOfUse>,
    },
}

impl Target {
    /// What it is called in records and questions.
    pub fn name(&self) -> String {
        match self {
            Self::Server => "server".to_owned(),
            Self::Tenant(tenant) => format!("tenant:{tenant}"),
            Self::AuditLog(tenant) => format!("audit:{tenant}"),
            Self::Key(key) => key_changes::named(&key.id),
            Self::Dataset { tenant, name, .. } => format!("dataset:{tenant}/{name}"),
            Self::Budget(tenant) => format!("budget:{tenant}"),
            Self::Node(node) => format!("node:{node}"),
            Self::Workflow(tenant) => format!("workflow:{tenant}"),
            Self::Model { name, .. } => format!("model:{name}"),
        }
    }

    /// The tenant that it belongs to, if it is one's.
    pub fn tenant(&self) -> Option<TenantId> {
        match self {
            Self::Tenant(tenant)
            | Self::AuditLog(tenant)
            | Self::Budget(tenant)
            | Self::Workflow(tenant)
            | Self::Dataset { tenant, .. } => Some(*tenant),
            Self::Key(key) => Some(key.tenant),
            Self::Server | Self::Node(_) | Self::Model { .. } => None,
        }
    }
}

/// Something of one's own that an action can be done to.
pub(super) fn example(action: &str, principal: &Principal) -> Option<Target> {
    Some(match action::named(action)?.1 {
        Kind::Server => Target::Server,
        Kind::Tenant => Target::Tenant(principal.tenant),
        Kind::AuditLog => Target::AuditLog(principal.tenant),
        Kind::Key => Target::Key(ApiKey::of(principal)),
        Kind::Dataset => dataset(action, principal.tenant, principal.data_class_max),
        Kind::Budget => Target::Budget(principal.tenant),
        Kind::Node => Target::Node(NodeName::from_str("any").ok()?),
        Kind::Workflow => Target::Workflow(principal.tenant),
        Kind::Model => {
            let name = ModelName::from_str("any").ok()?;
            let (class, data_class) = (principal.class_max, principal.data_class_max);
            Target::Model { name, class, data_class, purpose: None }
        }
    })
}

/// The data set that an action is done to; `data_class` is that of what it brings in, if it does.
pub(crate) fn dataset(action: &str, tenant: TenantId, data_class: DataClass) -> Target {
    let data_class = (action == StoreChatCompletion::NAME).then_some(data_class);
    Target::Dataset { tenant, name: CHAT_COMPLETIONS, data_class }
}
