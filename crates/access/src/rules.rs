//! What concerns policies as such: those that tenants upload, and why something is allowed or not.

use store::{PolicyRecord, Store};
use types::{Declared, Principal, PurposeOfUse, TenantId};

use crate::{
    Access, AccessError, ApiKey, Authorized, Decision, ExplainAccess, ManagePolicies, ModelUse, OpenError,
    Target, TenantPolicy,
    access::{ANY_TENANT, carried_through},
    action::{self, CHAT_COMPLETIONS, Kind},
    clock::now_s,
    key_changes::shortened,
    key_values::check_name,
    policy::{Policies, Question, dataset},
};

/// Whose rights are looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// A user's, as with a key that narrows nothing.
    User {
        /// The tenant.
        tenant: String,
        /// The user.
        user: String,
    },
    /// Those of the holder of a key, by its id.
    Key(String),
}

/// What is asked about somebody's rights.
#[derive(Debug, Clone)]
pub struct Inquiry {
    /// Whose they are.
    pub who: Who,
    /// The name of the action.
    pub action: String,
    /// `server`, `node:NAME`, `model:NAME`, `tenant:NAME`, `key:ID`, `dataset:TENANT/NAME`, `budget:TENANT`, `workflow:TENANT` or
    /// `audit:TENANT`; without it, what the action is done to, of their own.
    pub resource: Option<String>,
    /// What a model is used for.
    pub purpose: Option<PurposeOfUse>,
    /// The name of the place where they are.
    pub location: Option<String>,
}

/// Whether something is allowed, and why.
#[derive(Debug, Clone)]
pub struct Explanation {
    /// The decision.
    pub decision: Decision,
    /// The deciding policies in Cedar's language, in their order.
    pub texts: Vec<String>,
    /// Roles that allow the action on what is one's own.
    pub roles: String,
}

/// Takes in what tenants have uploaded before. What does not validate any more stops the start: to leave it out might allow
/// what it forbids.
pub(crate) async fn take_in(policies: &Policies, store: &Store) -> Result<(), OpenError> {
    let records = store.policies().await?;
    for of_one in records.chunk_by(|one, next| one.tenant == next.tenant) {
        let all: Vec<TenantPolicy> = of_one.iter().map(policy).collect();
        policies.set(of_one[0].tenant, &all).map_err(OpenError::Policies)?;
    }
    Ok(())
}

impl Access {
    /// The policies of a tenant, by name.
    pub async fn policies(&self, by: &Authorized<ManagePolicies>) -> Result<Vec<TenantPolicy>, AccessError> {
        policies_of(self.keyring.store(), *by.resource()).await
    }

    /// Adds a policy, or puts it in the place of the one of this name. It holds from the next decision on.
    ///
    /// # Errors
    /// [`AccessError::BadPolicy`] if it does not validate, or if the tenant has too many.
    pub async fn put_policy(
        &self,
        by: &Authorized<ManagePolicies>,
        policy: TenantPolicy,
    ) -> Result<(), AccessError> {
        check_name("name", &policy.name)?;
        let (keyring, policies, tenant) = (self.keyring.clone(), self.policies.clone(), *by.resource());
        carried_through(async move {
            let _changing = policies.changing().await;
            let mut all = policies_of(keyring.store(), tenant).await?;
            all.retain(|other| other.name != policy.name);
            all.push(policy.clone());
            all.sort_by(|one, other| one.name.cmp(&other.name));
            policies.check(&all)?;
            let TenantPolicy { name, text } = policy;
            keyring.store().put_policy(PolicyRecord { tenant, name, text, created_at: now_s() }).await?;
            policies.set(tenant, &all).map_err(AccessError::BadPolicy)
        })
        .await
    }

    /// Removes a policy.
    pub async fn delete_policy(
        &self,
        by: &Authorized<ManagePolicies>,
        name: &str,
    ) -> Result<(), AccessError> {
        let (keyring, policies, tenant) = (self.keyring.clone(), self.policies.clone(), *by.resource());
        let name = name.to_owned();
        carried_through(async move {
            let _changing = policies.changing().await;
            let mut all = policies_of(keyring.store(), tenant).await?;
            let before = all.len();
            all.retain(|other| other.name != name);
            if all.len() == before {
                return Err(AccessError::UnknownPolicy(name.chars().take(64).collect()));
            }
            keyring.store().delete_policy(tenant, &name).await?;
            policies.set(tenant, &all).map_err(AccessError::BadPolicy)
        })
        .await
    }

    /// Whether somebody may do something now, and which policies decide it.
    ///
    /// # Errors
    /// [`AccessError::UnknownUser`] and [`AccessError::UnknownKey`] also for those of tenants that the caller may not see.
    pub async fn explain(
        &self,
        by: &Authorized<ExplainAccess>,
        inquiry: Inquiry,
    ) -> Result<Explanation, AccessError> {
        let Inquiry { who, action, resource, purpose, location } = inquiry;
        let (mut principal, suspended) = self.seen_by(by, &who).await?;
        principal.location = location.map(Into::into);
        let (action, kind) = action::named(&action)
            .ok_or_else(|| types::OutOfRange::new("action", "an unknown name", crate::ACTIONS.join(", ")))?;
        let target = self.target(by, &principal, (action, kind, resource.as_deref()), purpose).await?;
        let question = Question { principal, suspended, action, target, now: now_s() };
        let decision = self.policies.decide_fresh(&question);
        let texts = self.policies.texts(question.principal.tenant, &decision.policies);
        Ok(Explanation { decision, texts, roles: self.policies.roles_for(action) })
    }

    async fn seen_by(
        &self,
        by: &Authorized<ExplainAccess>,
        who: &Who,
    ) -> Result<(Principal, bool), AccessError> {
        let (found, unknown) = match who {
            Who::User { tenant, user } => (
                self.keyring.principal_named(tenant, user).await?,
                AccessError::UnknownUser { tenant: tenant.clone(), user: user.clone() },
            ),
            Who::Key(id) => (
                self.keyring.principal_of_key(id)?.map(|principal| (principal, false)),
                AccessError::UnknownKey(shortened(id)),
            ),
        };
        found.filter(|(principal, _)| self.covers(by, principal.tenant)).ok_or(unknown)
    }

    /// The tenant of this name. Whoever may not see another one learns no more than that it is none of theirs, be it there or not.
    async fn tenant_seen(&self, by: &Authorized<ExplainAccess>, name: &str) -> Result<TenantId, AccessError> {
        let found = self.keyring.tenant(name).await?;
        Ok(found.filter(|tenant| self.covers(by, *tenant)).unwrap_or(ANY_TENANT))
    }

    async fn target(
        &self,
        by: &Authorized<ExplainAccess>,
        principal: &Principal,
        (action, kind, resource): (&str, Kind, Option<&str>),
        purpose: Option<PurposeOfUse>,
    ) -> Result<Target, AccessError> {
        match (kind, resource.map(|resource| resource.split_once(':').unwrap_or((resource, "")))) {
            (Kind::Server, None | Some(("server", ""))) => Ok(Target::Server),
            (Kind::Tenant, None) => Ok(Target::Tenant(principal.tenant)),
            (Kind::Tenant, Some(("tenant", name))) => Ok(Target::Tenant(self.tenant_seen(by, name).await?)),
            (Kind::AuditLog, None) => Ok(Target::AuditLog(principal.tenant)),
            (Kind::AuditLog, Some(("audit", name))) => {
                Ok(Target::AuditLog(self.tenant_seen(by, name).await?))
            }
            (Kind::Dataset, None) => Ok(dataset(action, principal.tenant, principal.data_class_max)),
            (Kind::Dataset, Some(("dataset", name))) => {
                let Some((tenant, CHAT_COMPLETIONS)) = name.rsplit_once('/') else {
                    return Err(nothing_like(kind));
                };
                let tenant = self.tenant_seen(by, tenant).await?;
                Ok(dataset(action, tenant, principal.data_class_max))
            }
            (Kind::Budget, None) => Ok(Target::Budget(principal.tenant)),
            (Kind::Budget, Some(("budget", name))) => Ok(Target::Budget(self.tenant_seen(by, name).await?)),
            (Kind::Workflow, None) => Ok(Target::Workflow(principal.tenant)),
            (Kind::Workflow, Some(("workflow", name))) => {
                Ok(Target::Workflow(self.tenant_seen(by, name).await?))
            }
            (Kind::Node, None) => Ok(Target::Node(self.node().clone())),
            (Kind::Node, Some(("node", name))) => Ok(Target::Node(name.parse()?)),
            (Kind::Key, None) => Ok(Target::Key(ApiKey::of(principal))),
            (Kind::Key, Some(("key", id))) => {
                let held = self.keyring.held(id).await?;
                let seen = held.map(|held| held.api_key).filter(|key| self.covers(by, key.tenant));
                seen.map(Target::Key).ok_or_else(|| AccessError::UnknownKey(shortened(id)))
            }
            (Kind::Model, Some(("model", name))) => {
                let declared = Declared { purpose, ..Declared::default() };
                let mut asked = ModelUse { model: name.parse()?, declared };
                asked.settle(principal)?;
                Ok(asked.target(principal))
            }
            (kind, _) => Err(nothing_like(kind)),
        }
    }
}

/// It is said what actions of this kind are done to.
fn nothing_like(kind: Kind) -> AccessError {
    let allowed = match kind {
        Kind::Server => "`server`",
        Kind::Tenant => "`tenant:NAME`",
        Kind::Model => "`model:NAME`",
        Kind::Key => "`key:ID`",
        Kind::Dataset => "`dataset:TENANT/chat_completions`",
        Kind::Budget => "`budget:TENANT`",
        Kind::Node => "`node:NAME`",
        Kind::Workflow => "`workflow:TENANT`",
        Kind::AuditLog => "`audit:TENANT`",
    };
    types::OutOfRange::new("resource", "nothing that this is done to", allowed).into()
}

async fn policies_of(store: &Store, tenant: TenantId) -> Result<Vec<TenantPolicy>, AccessError> {
    let records = store.policies().await?;
    Ok(records.iter().filter(|record| record.tenant == tenant).map(policy).collect())
}

fn policy(record: &PolicyRecord) -> TenantPolicy {
    TenantPolicy { name: record.name.clone(), text: record.text.clone() }
}
