//! What may be done, decided by [Cedar](https://www.cedarpolicy.com): the policies that every installation has, and those that a
//! tenant has uploaded for its own users.
//!
//! ```text
//! Question (who, what, to what, under which circumstances)
//!     ─ memo: the same question within a second, and nothing has changed since?
//!     ─ Cedar: shipped policies + those of the principal's tenant ─ any error: no
//!     ─ Decision (allowed?, by which policies)
//! ```
//!
//! Cedar skips a policy that cannot be evaluated, so a `forbid` with an error in it would allow. Two things stand against
//! that: a policy is validated strictly before it is taken in, and any error in an evaluation means no.
//!
//! A credential may narrow what its owner may do to a role with less: then the question is put twice, with either role,
//! and both must allow it.

mod memo;
mod nesting;
mod target;

use std::{
    collections::{HashMap, HashSet},
    iter,
    sync::{
        Arc, OnceLock, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use cedar_policy::{
    AuthorizationError, Authorizer, Context, Entities, Entity, EntityId, EntityTypeName, EntityUid, Policy,
    PolicyId, PolicySet, Request, RestrictedExpression, Schema, ValidationMode, ValidationWarning, Validator,
};
use sha2::{Digest, Sha256};
use tokio::sync::{Mutex, MutexGuard};
use types::{DataClass, Principal, PriorityClass, Role, TenantId, UserId};

pub use self::target::Target;
pub(crate) use self::target::dataset;
use self::{memo::Memo, target::example};
use crate::{
    AccessError, ApiKey,
    action::{self, ACTIONS},
};

const SCHEMA: &str = include_str!("schema.cedarschema");
const SHIPPED: &str = include_str!("shipped.cedar");

/// The policy that keeps tenants apart.
pub(crate) const WALL: &str = "wall.tenant";
/// Most policies that are looked at for one decision, the shipped ones included: Cedar's time grows with their number.
pub const POLICIES_MAX: usize = 65;
/// Longest policy, in bytes.
pub const POLICY_BYTES_MAX: usize = 16 * 1024;
/// Most bytes of all policies of a tenant: each decision for one of its users looks at all of them.
const TENANT_BYTES_MAX: usize = 64 * 1024;
/// How much of the hash names a version of policies: nobody looks for two with the same.
const VERSION_BYTES: usize = 8;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Question {
    pub(crate) principal: Principal,
    pub(crate) suspended: bool,
    pub(crate) action: &'static str,
    pub(crate) target: Target,
    /// Seconds since 1970.
    pub(crate) now: u64,
}

/// What was decided, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is allowed.
    pub allowed: bool,
    /// The policies that decided it: those that permit, or those that forbid; none if there was none that permits.
    pub policies: Arc<[String]>,
    /// What the first that forbids says about itself.
    pub says: Option<Arc<str>>,
    /// Which policies were looked at: the beginning of the SHA-256 of them all.
    pub version: Arc<str>,
}

/// A policy that a tenant has uploaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TenantPolicy {
    /// Its name, unique in the tenant.
    pub name: String,
    /// In Cedar's language.
    pub text: String,
}

impl TenantPolicy {
    /// The SHA-256 of its text, in hexadecimal digits.
    pub fn digest(&self) -> String {
        data_encoding::HEXLOWER.encode(&Sha256::digest(&self.text))
    }
}

/// All policies.
pub(crate) struct Policies {
    schema: Schema,
    shipped: Arc<InForce>,
    of_tenants: RwLock<HashMap<TenantId, Arc<InForce>>>,
    of_roles: OnceLock<Vec<HashSet<&'static str>>>,
    names: Names,
    memo: Memo,
    /// Counts changes of what decisions rest on beside their questions.
    generation: AtomicU64,
    /// Held while policies are changed, so that what was checked together is taken in together.
    changing: Mutex<()>,
}

/// Policies that are looked at together.
struct InForce {
    set: PolicySet,
    version: Arc<str>,
}

impl InForce {
    /// These, whose texts are `texts`.
    fn new<'a>(set: PolicySet, texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hash = Sha256::new();
        for text in texts {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text);
        }
        let version = data_encoding::HEXLOWER.encode(&hash.finalize()[..VERSION_BYTES]).into();
        Self { set, version }
    }
}

/// Names of types, read once.
struct Names {
    user: EntityTypeName,
    service_account: EntityTypeName,
    team: EntityTypeName,
    role: EntityTypeName,
    tenant: EntityTypeName,
    server: EntityTypeName,
    model: EntityTypeName,
    key: EntityTypeName,
    dataset: EntityTypeName,
    budget: EntityTypeName,
    node: EntityTypeName,
    workflow: EntityTypeName,
    audit_log: EntityTypeName,
    action: EntityTypeName,
}

impl Policies {
    /// The shipped ones.
    ///
    /// # Errors
    /// What is wrong with them: a defect.
    pub(crate) fn new() -> Result<Self, String> {
        let (schema, _) = Schema::from_cedarschema_str(SCHEMA).map_err(|error| described(&error))?;
        let parsed: PolicySet = SHIPPED.parse().map_err(|error| described(&error))?;
        let mut shipped = PolicySet::new();
        for policy in parsed.policies() {
            let id = policy.annotation("id").ok_or("a shipped policy has no id")?;
            shipped.add(policy.new_id(PolicyId::new(id))).map_err(|error| described(&error))?;
        }
        valid(&schema, &shipped)?;
        let name = |text: &str| text.parse::<EntityTypeName>().map_err(|error| described(&error));
        let names = Names {
            user: name("User")?,
            service_account: name("ServiceAccount")?,
            team: name("Team")?,
            role: name("Role")?,
            tenant: name("Tenant")?,
            server: name("Server")?,
            model: name("Model")?,
            key: name("Key")?,
            dataset: name("Dataset")?,
            budget: name("Budget")?,
            node: name("Node")?,
            workflow: name("Workflow")?,
            audit_log: name("AuditLog")?,
            action: name("Action")?,
        };
        Ok(Self {
            schema,
            shipped: Arc::new(InForce::new(shipped, [SHIPPED])),
            of_tenants: RwLock::default(),
            of_roles: OnceLock::new(),
            names,
            memo: Memo::default(),
            generation: AtomicU64::new(0),
            changing: Mutex::new(()),
        })
    }

    /// Waits for one's turn to change policies.
    pub(crate) async fn changing(&self) -> MutexGuard<'_, ()> {
        self.changing.lock().await
    }

    /// Checks what a tenant wants to have, all of it.
    pub(crate) fn check(&self, policies: &[TenantPolicy]) -> Result<(), AccessError> {
        self.set_of(policies).map(drop).map_err(AccessError::BadPolicy)
    }

    /// Takes them in; they must be all that the tenant has.
    pub(crate) fn set(&self, tenant: TenantId, policies: &[TenantPolicy]) -> Result<(), String> {
        let set = self.set_of(policies)?;
        let texts = policies.iter().flat_map(|policy| [policy.name.as_str(), policy.text.as_str()]);
        let set = InForce::new(set, iter::once(SHIPPED).chain(texts));
        let mut tenants = self.of_tenants.write().unwrap_or_else(PoisonError::into_inner);
        if policies.is_empty() {
            tenants.remove(&tenant);
        } else {
            tenants.insert(tenant, Arc::new(set));
        }
        drop(tenants);
        // What was decided before may not hold any more.
        self.generation.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }

    /// The shipped ones and these.
    fn set_of(&self, policies: &[TenantPolicy]) -> Result<PolicySet, String> {
        let bytes: usize = policies.iter().map(|policy| policy.text.len()).sum();
        if bytes > TENANT_BYTES_MAX {
            return Err(format!(
                "a tenant's policies have at most {TENANT_BYTES_MAX} bytes, these have {bytes}"
            ));
        }
        let mut set = self.shipped.set.clone();
        for TenantPolicy { name, text } in policies {
            if text.len() > POLICY_BYTES_MAX {
                return Err(format!("policy `{name}` is longer than {POLICY_BYTES_MAX} bytes"));
            }
            let of_this = |why: String| format!("policy `{name}`: {why}");
            if let Some(why) = nesting::too_deep(text) {
                return Err(of_this(why));
            }
            let parsed: PolicySet = text.parse().map_err(|error| of_this(described(&error)))?;
            if parsed.templates().next().is_some() {
                return Err(of_this("it has slots (`?principal`), and nobody would fill them".to_owned()));
            }
            let mut statements: Vec<&Policy> = parsed.policies().collect();
            if statements.is_empty() {
                return Err(of_this("there is no `permit` and no `forbid` in it".to_owned()));
            }
            // Cedar counts them as it reads: `policy0`, `policy1`, and so on.
            let place = |statement: &&Policy| {
                statement.id().to_string().trim_start_matches("policy").parse::<usize>().ok()
            };
            statements.sort_by_key(place);
            for (number, statement) in statements.iter().enumerate() {
                let id = PolicyId::new(format!("tenant.{name}.{}", number + 1));
                set.add(statement.new_id(id)).map_err(|error| of_this(described(&error)))?;
            }
        }
        let count = set.policies().count();
        if count > POLICIES_MAX {
            let room = POLICIES_MAX - self.shipped.set.policies().count();
            return Err(format!(
                "a tenant has at most {room} statements, these are {}",
                count + room - POLICIES_MAX
            ));
        }
        valid(&self.schema, &set)?;
        Ok(set)
    }

    /// Decides, from memory if the same was asked a moment ago and nothing has changed since.
    pub(crate) fn decide(&self, question: &Question) -> Decision {
        let generation = self.generation.load(Ordering::Acquire);
        if let Some(decision) = self.memo.get(question, generation) {
            return decision;
        }
        let decision = self.decide_fresh(question);
        self.memo.put(question, generation, &decision);
        decision
    }

    /// The same without memory.
    pub(crate) fn decide_fresh(&self, question: &Question) -> Decision {
        let set = self.in_force(question.principal.tenant);
        let own = self.evaluated(&set, question, question.principal.role);
        match question.principal.scope.role() {
            Some(role) if own.allowed && role != question.principal.role => {
                let narrowed = self.evaluated(&set, question, role);
                if narrowed.allowed { own } else { narrowed }
            }
            _ => own,
        }
    }

    fn evaluated(&self, in_force: &InForce, question: &Question, role: Role) -> Decision {
        let (set, version) = (&in_force.set, in_force.version.clone());
        let asked = self.request(question).and_then(|request| Ok((request, self.entities(question, role)?)));
        let Ok((request, entities)) = asked else {
            // What cannot be asked is not allowed.
            return Decision { allowed: false, policies: Arc::new([]), says: None, version };
        };
        let response = Authorizer::new().is_authorized(&request, set, &entities);
        let diagnostics = response.diagnostics();
        let failed: Vec<String> = diagnostics
            .errors()
            .map(|AuthorizationError::PolicyEvaluationError(error)| error.policy_id().to_string())
            .collect();
        if !failed.is_empty() {
            let says = Some("a policy could not be evaluated, so the answer is no".into());
            return Decision { allowed: false, policies: failed.into(), says, version };
        }
        let mut reasons: Vec<&PolicyId> = diagnostics.reason().collect();
        reasons.sort_unstable();
        let allowed = response.decision() == cedar_policy::Decision::Allow;
        let says = reasons.first().filter(|_| !allowed).and_then(|id| set.policy(id)?.annotation("says"));
        Decision {
            allowed,
            says: says.map(Arc::from),
            version,
            policies: reasons.iter().map(ToString::to_string).collect(),
        }
    }

    fn request(&self, question: &Question) -> Result<Request, String> {
        let Question { principal, action, target, now, .. } = question;
        let mut context = vec![
            long("hour", now / 3_600 % 24),
            // 1970 began with a Thursday.
            long("weekday", (now / 86_400 + 3) % 7),
            boolean("local", principal.is_local()),
            boolean("in_scope", in_scope(principal, action, target)),
        ];
        if let Some(at) = principal.present_at {
            context.push(long("step_up_age", now.saturating_sub(at)));
        }
        if let Some(location) = &principal.location {
            context.push(text("location", location));
        }
        match target {
            Target::Model { class, data_class, purpose, .. } => {
                context.push(long("class", *class as u64));
                context.push(long("data_class", *data_class as u64));
                context.extend(purpose.as_ref().map(|purpose| text("purpose", purpose.as_str())));
            }
            Target::Dataset { data_class, .. } => {
                context.extend(data_class.map(|data_class| long("data_class", data_class as u64)));
            }
            _ => {}
        }
        let context = Context::from_pairs(context).map_err(|error| described(&error))?;
        let action = uid(&self.names.action, action);
        // Checked against the schema by the tests, for every action: here it would only take time.
        Request::new(self.user(principal), action, self.resource(target), context, None)
            .map_err(|error| described(&error))
    }

    fn entities(&self, question: &Question, role: Role) -> Result<Entities, String> {
        let Question { principal, suspended, action, target, .. } = question;
        let tenant = RestrictedExpression::new_entity_uid(self.tenant(principal.tenant));
        let mut attributes = HashMap::from([
            ("tenant".to_owned(), tenant),
            boolean("suspended", *suspended),
            long("clearance", principal.data_class_max as u64),
        ]);
        if let Some(purposes) = principal.purposes.bound() {
            let names = purposes.iter().map(|purpose| string(purpose.as_str()));
            attributes.insert("purposes".to_owned(), RestrictedExpression::new_set(names));
        }
        let mut groups = HashSet::from([uid(&self.names.role, role.as_str())]);
        groups.extend(principal.team.as_ref().map(|team| uid(&self.names.team, team)));
        let user =
            Entity::new(self.user(principal), attributes, groups).map_err(|error| described(&error))?;
        let part = action::whole_of(action).map(|whole| {
            let whole = HashSet::from([uid(&self.names.action, whole)]);
            Entity::new_no_attrs(uid(&self.names.action, action), whole)
        });
        let all = [Some(user), self.belongings(target)?, part];
        Entities::from_entities(all.into_iter().flatten(), None).map_err(|error| described(&error))
    }

    /// What there is to know of the resource: what it is in.
    fn belongings(&self, target: &Target) -> Result<Option<Entity>, String> {
        match target {
            Target::Key(key) => {
                // Whoever owns it is not there themselves, so what they are in is named here.
                let ApiKey { tenant, owner, is_service, team, role, .. } = key;
                let mut parents = HashSet::from([
                    self.tenant(*tenant),
                    self.somebody(*owner, *is_service),
                    uid(&self.names.role, role.as_str()),
                ]);
                parents.extend(team.as_ref().map(|team| uid(&self.names.team, team)));
                let attributes = HashMap::from([boolean("service", *is_service)]);
                Entity::new(self.resource(target), attributes, parents)
                    .map(Some)
                    .map_err(|error| described(&error))
            }
            Target::Dataset { tenant, name, .. } => {
                self.part_of(self.tenant(*tenant), target, [text("name", name)]).map(Some)
            }
            Target::AuditLog(tenant) | Target::Budget(tenant) | Target::Workflow(tenant) => {
                self.part_of(self.tenant(*tenant), target, []).map(Some)
            }
            Target::Node(_) => self.part_of(self.server(), target, []).map(Some),
            Target::Server | Target::Tenant(_) | Target::Model { .. } => Ok(None),
        }
    }

    fn part_of<const N: usize>(
        &self,
        whole: EntityUid,
        target: &Target,
        attributes: [(String, RestrictedExpression); N],
    ) -> Result<Entity, String> {
        Entity::new(self.resource(target), HashMap::from(attributes), HashSet::from([whole]))
            .map_err(|error| described(&error))
    }

    fn server(&self) -> EntityUid {
        uid(&self.names.server, "server")
    }

    fn user(&self, principal: &Principal) -> EntityUid {
        self.somebody(principal.user, principal.is_service)
    }

    fn somebody(&self, user: UserId, is_service: bool) -> EntityUid {
        let kind = if is_service { &self.names.service_account } else { &self.names.user };
        uid(kind, &user.0.to_string())
    }

    fn tenant(&self, tenant: TenantId) -> EntityUid {
        uid(&self.names.tenant, &tenant.0.to_string())
    }

    fn resource(&self, target: &Target) -> EntityUid {
        match target {
            Target::Server => self.server(),
            Target::Tenant(tenant) => self.tenant(*tenant),
            Target::AuditLog(tenant) => uid(&self.names.audit_log, &tenant.0.to_string()),
            Target::Key(key) => uid(&self.names.key, &key.id),
            Target::Dataset { tenant, name, .. } => uid(&self.names.dataset, &format!("{tenant}/{name}")),
            Target::Budget(tenant) => uid(&self.names.budget, &tenant.0.to_string()),
            Target::Node(node) => uid(&self.names.node, node.as_str()),
            Target::Workflow(tenant) => uid(&self.names.workflow, &tenant.0.to_string()),
            Target::Model { name, .. } => uid(&self.names.model, name.as_str()),
        }
    }

    /// Policies of a tenant or of all, in Cedar's language.
    pub(crate) fn texts(&self, tenant: TenantId, ids: &[String]) -> Vec<String> {
        let set = self.in_force(tenant);
        ids.iter().filter_map(|id| Some(set.set.policy(&PolicyId::new(id))?.to_string())).collect()
    }

    /// Which policies are looked at for somebody.
    pub(crate) fn version(&self, principal: &Principal) -> Arc<str> {
        self.in_force(principal.tenant).version.clone()
    }

    fn in_force(&self, tenant: TenantId) -> Arc<InForce> {
        let tenants = self.of_tenants.read().unwrap_or_else(PoisonError::into_inner);
        tenants.get(&tenant).unwrap_or(&self.shipped).clone()
    }

    /// The actions that a role allows on what is one's own, of somebody who is present.
    pub(crate) fn actions_of(&self, role: Role) -> &HashSet<&'static str> {
        let all = self.of_roles.get_or_init(|| Role::ALL.iter().map(|role| self.allowed(*role)).collect());
        // There is one for each role, in their order.
        &all[role as usize]
    }

    /// The roles that allow an action on what is one's own.
    pub(crate) fn roles_for(&self, action: &str) -> String {
        let roles = Role::ALL.iter().filter(|role| self.actions_of(**role).contains(action));
        roles.map(|role| role.as_str()).collect::<Vec<_>>().join(", ")
    }

    fn allowed(&self, role: Role) -> HashSet<&'static str> {
        let principal = Principal {
            role,
            class_max: PriorityClass::System,
            data_class_max: DataClass::Restricted,
            present_at: Some(0),
            ..Principal::least(TenantId(1), UserId(1))
        };
        let may = |action: &&'static str| {
            let Some(target) = example(action, &principal) else { return false };
            let question =
                Question { principal: principal.clone(), suspended: false, action, target, now: 0 };
            self.evaluated(&self.shipped, &question, role).allowed
        };
        ACTIONS.iter().copied().filter(may).collect()
    }
}

fn in_scope(principal: &Principal, action: &str, target: &Target) -> bool {
    action::in_scope(&principal.scope, action)
        && match target {
            Target::Model { name, .. } => principal.scope.covers_model(name),
            _ => true,
        }
}

fn uid(kind: &EntityTypeName, id: &str) -> EntityUid {
    EntityUid::from_type_name_and_id(kind.clone(), EntityId::new(id))
}

fn string(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn text(name: &str, value: &str) -> (String, RestrictedExpression) {
    (name.to_owned(), string(value))
}

fn long(name: &str, value: u64) -> (String, RestrictedExpression) {
    (name.to_owned(), RestrictedExpression::new_long(i64::try_from(value).unwrap_or(i64::MAX)))
}

fn boolean(name: &str, value: bool) -> (String, RestrictedExpression) {
    (name.to_owned(), RestrictedExpression::new_bool(value))
}

fn valid(schema: &Schema, set: &PolicySet) -> Result<(), String> {
    let result = Validator::new(schema.clone()).validate(set, ValidationMode::Strict);
    if let Some(error) = result.validation_errors().next() {
        return Err(described(error));
    }
    // One that can never apply forbids nothing, whatever its author believes; and one may be read as it is not written.
    let misleads = |warning: &&ValidationWarning| {
        matches!(
            warning,
            ValidationWarning::ImpossiblePolicy(_)
                | ValidationWarning::InvalidActionApplication(_)
                | ValidationWarning::BidiCharsInString(_)
                | ValidationWarning::BidiCharsInIdentifier(_)
        )
    };
    match result.validation_warnings().find(misleads) {
        None => Ok(()),
        Some(warning) => Err(described(warning)),
    }
}

/// An error and what it comes from, in one line.
fn described(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests;
