use std::sync::Arc;

use types::{
    DataClass, Declared, ModelName, NodeName, Principal, PriorityClass, Scope, SequenceId, TenantId,
};

use crate::{
    AccessError, ApiKey,
    policy::{Decision, Policies, Question, Target},
};

/// Something that can be done, and to what.
pub trait Action {
    /// What it is done to.
    type Resource;
    /// Its name in policies and logs.
    const NAME: &'static str;
    /// What policies see of the resource.
    fn target(principal: &Principal, resource: &Self::Resource) -> Target;
    /// Fills in what the caller left open, within what the principal may; `Err` is what the caller is told.
    fn settle(_principal: &Principal, _resource: &mut Self::Resource) -> Result<(), AccessError> {
        Ok(())
    }
}

/// Proof of a decision. Only this crate can build it, so a handler without one does not compile.
///
/// ```compile_fail,E0451
/// fn forged(principal: types::Principal) -> access::Authorized<access::ListModels> {
///     access::Authorized { principal, resource: (), policies: std::sync::Arc::new([]), version: "".into() }
/// }
/// ```
pub struct Authorized<A: Action> {
    principal: Principal,
    resource: A::Resource,
    policies: Arc<[String]>,
    version: Arc<str>,
}

/// A decision that somebody may not: what they are told, and what is recorded.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{why}")]
pub struct Refusal {
    /// What they are told.
    pub why: Box<AccessError>,
    /// What it would have been done to.
    pub on: String,
    /// The tenant that this belongs to, if it is one's and may be named.
    pub tenant: Option<TenantId>,
    /// The policies that forbid it; none if no policy permits it.
    pub policies: Arc<[String]>,
    /// Which version of them.
    pub version: Arc<str>,
}

impl From<Refusal> for AccessError {
    fn from(refusal: Refusal) -> Self {
        *refusal.why
    }
}

impl<A: Action> Authorized<A> {
    /// The decision itself: what is left open is filled in, then the policies are asked.
    pub(crate) fn decide(
        policies: &Policies,
        principal: &Principal,
        mut resource: A::Resource,
        now: u64,
    ) -> Result<Self, Refusal> {
        let settled = A::settle(principal, &mut resource);
        let target = A::target(principal, &resource);
        let (on, tenant) = (target.name(), target.tenant());
        if let Err(why) = settled {
            let limit = why.refused_by().unwrap_or_else(|| "limit".to_owned());
            return Err(Refusal {
                why: Box::new(why),
                on,
                tenant,
                policies: Arc::new([limit]),
                version: policies.version(principal),
            });
        }
        // A principal of somebody who is suspended is not made.
        let question =
            Question { principal: principal.clone(), suspended: false, action: A::NAME, target, now };
        let decision = policies.decide(&question);
        if decision.allowed {
            let Decision { policies, version, .. } = decision;
            return Ok(Self { principal: question.principal, resource, policies, version });
        }
        let (named, version) = (decision.policies.clone(), decision.version.clone());
        let why = AccessError::denied(A::NAME, principal, decision, policies.roles_for(A::NAME));
        Err(Refusal { why: Box::new(why), on, tenant, policies: named, version })
    }

    /// It was allowed, but what it costs is not.
    pub fn over_quota(&self, why: AccessError) -> Refusal {
        let quota = why.refused_by().unwrap_or_else(|| "quota".to_owned());
        Refusal {
            why: Box::new(why),
            on: self.on(),
            tenant: self.tenant(),
            policies: Arc::new([quota]),
            version: self.version.clone(),
        }
    }

    /// What it is done to, as records name it.
    pub fn on(&self) -> String {
        A::target(&self.principal, &self.resource).name()
    }

    /// The tenant that this belongs to, if it is one's.
    pub fn tenant(&self) -> Option<TenantId> {
        A::target(&self.principal, &self.resource).tenant()
    }

    /// Which version of the policies.
    pub fn version(&self) -> &Arc<str> {
        &self.version
    }

    /// The policies that permit it.
    pub fn policies(&self) -> &[String] {
        &self.policies
    }

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

/// Have a model compute vectors or scores of texts.
pub struct Embed;

/// What the use of a model asks for.
pub struct ModelUse {
    /// The model, by its configured name.
    pub model: ModelName,
    /// What the caller says of it; the classes are filled in by the decision if they are absent, and the purpose if there is only one.
    pub declared: Declared,
}

impl Action for Generate {
    type Resource = ModelUse;
    const NAME: &'static str = "generate";

    fn settle(principal: &Principal, asked: &mut ModelUse) -> Result<(), AccessError> {
        asked.settle(principal)
    }

    fn target(principal: &Principal, asked: &ModelUse) -> Target {
        asked.target(principal)
    }
}

impl Action for Embed {
    type Resource = ModelUse;
    const NAME: &'static str = "embed";

    fn settle(principal: &Principal, asked: &mut ModelUse) -> Result<(), AccessError> {
        asked.settle(principal)
    }

    fn target(principal: &Principal, asked: &ModelUse) -> Target {
        asked.target(principal)
    }
}

impl ModelUse {
    /// Bounds the classes by what the principal may, and fills in what is absent.
    pub(crate) fn settle(&mut self, principal: &Principal) -> Result<(), AccessError> {
        let (class_max, data_class_max) = (principal.class_max, principal.data_class_max);
        let declared = &mut self.declared;
        let class = declared.class.unwrap_or(PriorityClass::Normal.min(class_max));
        if class > class_max {
            return Err(over("class", class.as_str(), class_max.as_str()));
        }
        // The highest, so that who forgets to say it is protected more, never less.
        let data_class = declared.data_class.unwrap_or(data_class_max);
        if data_class > data_class_max {
            return Err(over("data_class", data_class.as_str(), data_class_max.as_str()));
        }
        declared.class = Some(class);
        declared.data_class = Some(data_class);
        if let (None, Some([only])) = (&declared.purpose, principal.purposes.bound()) {
            declared.purpose = Some(only.clone());
        }
        Ok(())
    }

    /// Once settled, nothing is absent; if it were, it would be taken for the most that there is.
    pub(crate) fn target(&self, principal: &Principal) -> Target {
        Target::Model {
            name: self.model.clone(),
            class: self.declared.class.unwrap_or(principal.class_max),
            data_class: self.declared.data_class.unwrap_or(DataClass::Restricted),
            purpose: self.declared.purpose.clone(),
        }
    }
}

fn over(parameter: &'static str, asked: &'static str, max: &'static str) -> AccessError {
    AccessError::OverLimit { parameter, asked, max }
}

/// The answers that a tenant's people have stored.
pub(crate) const CHAT_COMPLETIONS: &str = "chat_completions";

/// Have an answer stored, of a request with this data class.
pub struct StoreChatCompletion;

impl Action for StoreChatCompletion {
    type Resource = DataClass;
    const NAME: &'static str = "store_chat_completion";

    fn target(principal: &Principal, data_class: &DataClass) -> Target {
        Target::Dataset { tenant: principal.tenant, name: CHAT_COMPLETIONS, data_class: Some(*data_class) }
    }
}

/// Read stored chat completions: those of the caller's own, which the store sees to.
pub struct ReadChatCompletions;

impl Action for ReadChatCompletions {
    type Resource = ();
    const NAME: &'static str = "read_chat_completions";

    fn target(principal: &Principal, (): &()) -> Target {
        Target::Dataset { tenant: principal.tenant, name: CHAT_COMPLETIONS, data_class: None }
    }
}

/// Change and delete them.
pub struct ChangeChatCompletions;

impl Action for ChangeChatCompletions {
    type Resource = ();
    const NAME: &'static str = "change_chat_completions";

    fn target(principal: &Principal, (): &()) -> Target {
        Target::Dataset { tenant: principal.tenant, name: CHAT_COMPLETIONS, data_class: None }
    }
}

/// Look after the keys of the vault: see how it does, rotate the root key, back up and restore all.
pub struct ManageVault;

impl Action for ManageVault {
    type Resource = ();
    const NAME: &'static str = "manage_vault";

    fn target(_: &Principal, (): &()) -> Target {
        Target::Server
    }
}

/// Give a key a new secret, or revoke it.
pub struct ChangeKey;

impl Action for ChangeKey {
    type Resource = ApiKey;
    const NAME: &'static str = "change_key";

    fn target(_: &Principal, key: &ApiKey) -> Target {
        Target::Key(key.clone())
    }
}

/// What is done to a tenant, or to something that each tenant has one of.
macro_rules! of_tenant {
    ($target:ident: $($(#[$doc:meta])* $action:ident = $name:literal;)+) => {
        $(
            $(#[$doc])*
            pub struct $action;

            impl Action for $action {
                type Resource = TenantId;
                const NAME: &'static str = $name;

                fn target(_: &Principal, tenant: &TenantId) -> Target {
                    Target::$target(*tenant)
                }
            }
        )+
    };
}

of_tenant! {
    Tenant:
    /// Make and list the API keys of a tenant.
    ManageKeys = "manage_keys";
    /// See the users of a tenant, and change what they may do.
    ManageUsers = "manage_users";
    /// Let somebody in anew: make a one-time token for a user of a tenant, or take their lost second factors away.
    ManageFactors = "manage_factors";
    /// See and change the policies of a tenant.
    ManagePolicies = "manage_policies";
    /// See why something is allowed or not in a tenant.
    ExplainAccess = "explain_access";
    /// Put a new key in the place of a tenant's.
    RotateTenantKey = "rotate_tenant_key";
    /// Destroy the key of a person.
    EraseSubject = "erase_subject";
    /// Write all that is stored about a person into a file.
    ExportSubject = "export_subject";
}

of_tenant! {
    Budget:
    /// See what a tenant has used.
    ReadUsage = "read_usage";
}

of_tenant! {
    Workflow:
    /// Have the tasks of a workflow planned: on which processor each runs, and when.
    PlanWorkflow = "plan_workflow";
}

of_tenant! {
    AuditLog:
    /// Read the receipts of requests: of one's own, if nothing else is allowed.
    ReadReceipt = "read_receipt";
    /// Read what is recorded of a tenant.
    ReadAudit = "read_audit";
}

/// See which models there are.
pub struct ListModels;

impl Action for ListModels {
    type Resource = ();
    const NAME: &'static str = "list_models";

    fn target(_: &Principal, (): &()) -> Target {
        Target::Server
    }
}

/// Read the description of the API.
pub struct ReadApi;

impl Action for ReadApi {
    type Resource = ();
    const NAME: &'static str = "read_api";

    fn target(_: &Principal, (): &()) -> Target {
        Target::Server
    }
}

/// See what runs on a node, of all tenants.
pub struct ListSequences;

impl Action for ListSequences {
    type Resource = NodeName;
    const NAME: &'static str = "list_sequences";

    fn target(_: &Principal, node: &NodeName) -> Target {
        Target::Node(node.clone())
    }
}

/// End a sequence of anybody.
pub struct KillSequence;

impl Action for KillSequence {
    type Resource = (NodeName, SequenceId);
    const NAME: &'static str = "kill_sequence";

    fn target(_: &Principal, (node, _): &(NodeName, SequenceId)) -> Target {
        Target::Node(node.clone())
    }
}

/// Read the metrics of a node, which cover all tenants.
pub struct ReadMetrics;

impl Action for ReadMetrics {
    type Resource = NodeName;
    const NAME: &'static str = "read_metrics";

    fn target(_: &Principal, node: &NodeName) -> Target {
        Target::Node(node.clone())
    }
}

/// Bring models into the memory of a node and send them away.
pub struct MoveModel;

impl Action for MoveModel {
    type Resource = (NodeName, ModelName);
    const NAME: &'static str = "move_model";

    fn target(_: &Principal, (node, _): &(NodeName, ModelName)) -> Target {
        Target::Node(node.clone())
    }
}

/// Copy the whole audit log, of all tenants.
pub struct ExportAudit;

impl Action for ExportAudit {
    type Resource = ();
    const NAME: &'static str = "export_audit";

    fn target(_: &Principal, (): &()) -> Target {
        Target::Server
    }
}

/// Push accounts and groups of an identity provider.
pub struct ProvisionUsers;

impl Action for ProvisionUsers {
    type Resource = ();
    const NAME: &'static str = "provision_users";

    fn target(_: &Principal, (): &()) -> Target {
        Target::Server
    }
}

/// The kind of what an action is done to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Server,
    Tenant,
    Model,
    Key,
    Dataset,
    Budget,
    Node,
    Workflow,
    AuditLog,
}

/// All actions, in the order of the table of roles.
const ALL: [(&str, Kind); 27] = [
    (Generate::NAME, Kind::Model),
    (Embed::NAME, Kind::Model),
    (StoreChatCompletion::NAME, Kind::Dataset),
    (ReadChatCompletions::NAME, Kind::Dataset),
    (ChangeChatCompletions::NAME, Kind::Dataset),
    (ListModels::NAME, Kind::Server),
    (ReadApi::NAME, Kind::Server),
    (ListSequences::NAME, Kind::Node),
    (KillSequence::NAME, Kind::Node),
    (ReadMetrics::NAME, Kind::Node),
    (MoveModel::NAME, Kind::Node),
    (ManageVault::NAME, Kind::Server),
    (PlanWorkflow::NAME, Kind::Workflow),
    (ReadUsage::NAME, Kind::Budget),
    (ManageKeys::NAME, Kind::Tenant),
    (ChangeKey::NAME, Kind::Key),
    (ManageUsers::NAME, Kind::Tenant),
    (ManageFactors::NAME, Kind::Tenant),
    (ManagePolicies::NAME, Kind::Tenant),
    (ExplainAccess::NAME, Kind::Tenant),
    (RotateTenantKey::NAME, Kind::Tenant),
    (EraseSubject::NAME, Kind::Tenant),
    (ExportSubject::NAME, Kind::Tenant),
    (ProvisionUsers::NAME, Kind::Server),
    (ReadReceipt::NAME, Kind::AuditLog),
    (ReadAudit::NAME, Kind::AuditLog),
    (ExportAudit::NAME, Kind::Server),
];

/// The names of all actions.
pub const ACTIONS: [&str; ALL.len()] = {
    let mut names = [""; ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = ALL[at].0;
        at += 1;
    }
    names
};

/// An action of this name, and the kind of what it is done to.
pub(crate) fn named(action: &str) -> Option<(&'static str, Kind)> {
    ALL.iter().copied().find(|(name, _)| *name == action)
}

/// The action that this one is a part of: what names the whole with `in`, or as the scope of a credential, means the part too. To
/// rotate and to revoke was `manage_keys` before keys were something of their own, and whoever was given that has it still.
pub(crate) fn whole_of(action: &str) -> Option<&'static str> {
    (action == ChangeKey::NAME).then_some(ManageKeys::NAME)
}

/// Whether a credential with this scope is for an action.
pub(crate) fn in_scope(scope: &Scope, action: &str) -> bool {
    scope.covers_action(action) || whole_of(action).is_some_and(|whole| scope.covers_action(whole))
}

#[cfg(test)]
mod tests;
