//! What concerns policies as such: those that tenants upload, and why something is allowed or not.

use std::sync::Arc;

use store::{PolicyRecord, Store};
use tokio::sync::Mutex;
use types::{ModelName, Principal, TenantId};

use crate::{
    Access, AccessError, Authorized, Decision, ExplainAccess, ManagePolicies, OpenError, Target,
    TenantPolicy,
    action::{self, Kind},
    clock::now_s,
    key_values::check_name,
    policy::{Policies, Question},
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

/// One change of policies at a time, so that what was checked together is taken in together.
static CHANGING: Mutex<()> = Mutex::const_new(());

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
        self.policies_of(*by.resource()).await
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
        let _changing = CHANGING.lock().await;
        let tenant = *by.resource();
        let mut all = self.policies_of(tenant).await?;
        all.retain(|other| other.name != policy.name);
        all.push(policy.clone());
        all.sort_by(|one, other| one.name.cmp(&other.name));
        self.rulebook().check(&all)?;
        let TenantPolicy { name, text } = policy;
        self.records().put_policy(PolicyRecord { tenant, name, text, created_at: now_s() }).await?;
        self.rulebook().set(tenant, &all).map_err(AccessError::BadPolicy)
    }

    /// Removes a policy.
    pub async fn delete_policy(
        &self,
        by: &Authorized<ManagePolicies>,
        name: &str,
    ) -> Result<(), AccessError> {
        let _changing = CHANGING.lock().await;
        let tenant = *by.resource();
        let mut all = self.policies_of(tenant).await?;
        let before = all.len();
        all.retain(|other| other.name != name);
        if all.len() == before {
            return Err(AccessError::UnknownPolicy(name.chars().take(64).collect()));
        }
        self.records().delete_policy(tenant, name).await?;
        self.rulebook().set(tenant, &all).map_err(AccessError::BadPolicy)
    }

    /// Whether somebody may do something now, and which policies decide it. `resource` is `server`, `model:NAME` or
    /// `tenant:NAME`; without it, what the action is done to, of their own.
    ///
    /// # Errors
    /// [`AccessError::UnknownUser`] and [`AccessError::UnknownKey`] also for those of tenants that the caller may not see.
    pub async fn explain(
        &self,
        by: &Authorized<ExplainAccess>,
        who: &Who,
        action: &str,
        resource: Option<&str>,
    ) -> Result<Explanation, AccessError> {
        let (principal, suspended) = self.seen_by(by, who).await?;
        let (action, kind) = action::named(action)
            .ok_or_else(|| types::OutOfRange::new("action", "an unknown name", crate::ACTIONS.join(", ")))?;
        let target = self.target(&principal, kind, resource).await?;
        let question = Question { principal, suspended, action, target, now: now_s() };
        let decision = self.rulebook().decide_fresh(&question);
        let texts = self.rulebook().texts(question.principal.tenant, &decision.policies);
        Ok(Explanation { decision, texts, roles: self.rulebook().roles_for(action) })
    }

    async fn seen_by(
        &self,
        by: &Authorized<ExplainAccess>,
        who: &Who,
    ) -> Result<(Principal, bool), AccessError> {
        let (found, unknown) = match who {
            Who::User { tenant, user } => (
                self.keys_and_users().principal_named(tenant, user).await?,
                AccessError::UnknownUser { tenant: tenant.clone(), user: user.clone() },
            ),
            Who::Key(id) => (
                self.keys_and_users().principal_of_key(id)?.map(|principal| (principal, false)),
                AccessError::UnknownKey(id.chars().take(64).collect()),
            ),
        };
        let seen = found.filter(|(principal, _)| {
            self.authorize::<ExplainAccess>(by.principal(), principal.tenant).is_ok()
        });
        seen.ok_or(unknown)
    }

    async fn target(
        &self,
        principal: &Principal,
        kind: Kind,
        resource: Option<&str>,
    ) -> Result<Target, AccessError> {
        let model = |name: &str| {
            let name: ModelName = name.parse()?;
            Ok(Target::Model(
                name,
                types::PriorityClass::Normal.min(principal.class_max),
                principal.data_class_max,
            ))
        };
        match (kind, resource.map(|resource| resource.split_once(':').unwrap_or((resource, "")))) {
            (Kind::Server, None | Some(("server", ""))) => Ok(Target::Server),
            (Kind::Tenant, None) => Ok(Target::Tenant(principal.tenant)),
            (Kind::Tenant, Some(("tenant", name))) => {
                // Whoever may not see another tenant learns no more than that it is none of theirs, be it there or not.
                let tenant = self.keys_and_users().tenant(name).await?;
                Ok(Target::Tenant(tenant.unwrap_or(TenantId(u64::MAX))))
            }
            (Kind::Model, Some(("model", name))) => model(name),
            (kind, _) => {
                let allowed = match kind {
                    Kind::Server => "`server`",
                    Kind::Tenant => "`tenant:NAME`",
                    Kind::Model => "`model:NAME`",
                };
                Err(types::OutOfRange::new("resource", "nothing that this is done to", allowed).into())
            }
        }
    }

    async fn policies_of(&self, tenant: TenantId) -> Result<Vec<TenantPolicy>, AccessError> {
        let records = self.records().policies().await?;
        Ok(records.iter().filter(|record| record.tenant == tenant).map(policy).collect())
    }

    fn records(&self) -> &Store {
        self.keys_and_users().store()
    }

    fn rulebook(&self) -> &Arc<Policies> {
        self.policies_in_force()
    }
}

fn policy(record: &PolicyRecord) -> TenantPolicy {
    TenantPolicy { name: record.name.clone(), text: record.text.clone() }
}
