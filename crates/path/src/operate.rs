use std::time::Duration;

use access::{
    Action, Authorized, BudgetView, Credential, ExplainAccess, Explanation, Inquiry, KeyView, KillSequence,
    ListModels, ListSequences, ManageFactors, ManageKeys, ManagePolicies, ManageUsers, MoveModel, NewKey,
    ProvisionUsers, Pushed, ReadApi, ReadMetrics, ReadUsage, Reason, ScimError, ScimPage, ScimView,
    ScimWanted, SignIn, TenantPolicy, UsageRecord, UserChange, UserView,
};
use audit::Facts;
use engine::SequenceStatus;
use resources::{ModelView, ReplicaState, ReplicaView};
use types::{ModelName, NodeName, Secret, SequenceId};

use crate::{Path, PathError, record::plain};

/// The models that can be asked for.
pub type ModelList = Vec<ModelView>;

/// What runs, by replica.
pub struct ProcessList {
    /// The replicas.
    pub replicas: Vec<ReplicaView>,
    /// The sequences, each with the model that works on it.
    pub sequences: Vec<(ModelName, SequenceStatus)>,
}

/// Something that keeps the server from being ready.
#[derive(Debug, Clone)]
pub struct NotReady {
    /// The model concerned; none if it is the server itself.
    pub model: Option<ModelName>,
    /// What it is.
    pub why: String,
    /// When it is worth asking again, if that is known.
    pub retry_after: Option<Duration>,
}

impl Path {
    /// What keeps the server from being ready; empty when it is. Needs no credential, so it names no person.
    pub fn not_ready(&self) -> Vec<NotReady> {
        if let Err(PathError::Closing { retry_after }) = self.open() {
            let why = "the server is shutting down".to_owned();
            return vec![NotReady { model: None, why, retry_after: Some(retry_after) }];
        }
        let audit = self.access.audit().log().status();
        if audit.broken.is_some() || audit.paused.is_some() {
            // Why, names files of this machine: it is in the server's log.
            let why = "the audit log takes no entries".to_owned();
            return vec![NotReady { model: None, why, retry_after: None }];
        }
        let reason = |replica: ReplicaView| {
            let (why, retry_after) = match replica.state {
                ReplicaState::Ready { .. } | ReplicaState::Unloaded => return None,
                ReplicaState::Loading { attempt: 1, percent, left } => {
                    (format!("is loading, {percent} % are done"), left)
                }
                ReplicaState::Loading { attempt, left, .. } => {
                    (format!("is being restarted, attempt {attempt}"), left)
                }
                ReplicaState::Failed { why, retry_in } => (why, retry_in),
            };
            Some(NotReady { model: Some(replica.model), why, retry_after })
        };
        // What is loaded on demand keeps nobody from asking.
        let expected = self.replicas.replicas().into_iter().filter(|replica| replica.loads_at_start);
        expected.filter_map(reason).collect()
    }

    /// Whether whoever shows this may come in at all. What they may do is decided where they do it.
    pub async fn may_enter(&self, credential: Credential) -> Result<(), PathError> {
        self.principal(&credential).await.map(drop)
    }

    /// The door for those who sign in: it gives sessions, which are credentials like any other.
    pub fn sign_in(&self) -> &SignIn {
        self.access.sign_in()
    }

    /// A one-time token with which a local account is set up in a browser.
    pub async fn invite(
        &self,
        credential: Credential,
        tenant: &str,
        user: &str,
    ) -> Result<Secret, PathError> {
        let decided = self.decided_in_own::<ManageFactors>(&credential).await?.about(tenant, user).await?;
        let acting = decided.act(Facts::none().with("deed", "invite")).await?;
        let done = self.access.invite(&acting, tenant, user).await;
        acting.end(done).await
    }

    /// Takes all second factors from a user who has lost them. The reason says how it was made sure who asks for it.
    pub async fn forget_factors(
        &self,
        credential: Credential,
        tenant: &str,
        user: &str,
        reason: &Reason,
    ) -> Result<(), PathError> {
        let decided = self.decided_in_own::<ManageFactors>(&credential).await?.about(tenant, user).await?;
        let decided = decided.because(user, reason);
        let acting = decided.act(Facts::none().with("deed", "forget_factors")).await?;
        let done = self.access.forget_factors(&acting, tenant, user).await;
        acting.end(done).await
    }

    /// Whether the caller may push accounts and groups at all.
    pub async fn may_provision(&self, credential: Credential) -> Result<(), PathError> {
        self.read_at::<ProvisionUsers>(&credential, (), Facts::none().with("deed", "discover"))
            .await
            .map(drop)
    }

    /// What a provider has pushed: accounts or groups.
    pub async fn list_scim<T: Pushed>(
        &self,
        credential: Credential,
        provider: &str,
        wanted: ScimWanted,
    ) -> Result<Result<ScimPage<T>, ScimError>, PathError> {
        let facts = pushed::<T>("list", provider);
        let authorized = self.read_at::<ProvisionUsers>(&credential, (), facts).await?;
        Ok(self.access.list_scim(&authorized, provider, wanted).await)
    }

    /// One of them.
    pub async fn scim<T: Pushed>(
        &self,
        credential: Credential,
        provider: &str,
        id: &str,
    ) -> Result<Result<ScimView<T>, ScimError>, PathError> {
        let facts = pushed::<T>("read", provider).with("id", plain(id));
        let authorized = self.read_at::<ProvisionUsers>(&credential, (), facts).await?;
        Ok(self.access.scim(&authorized, provider, id).await)
    }

    /// Takes in a new one.
    pub async fn add_scim<T: Pushed>(
        &self,
        credential: Credential,
        provider: &str,
        said: T,
    ) -> Result<Result<ScimView<T>, ScimError>, PathError> {
        let facts = pushed::<T>("add", provider);
        let acting = self.decided::<ProvisionUsers>(&credential, ()).await?.act(facts).await?;
        let done = self.access.add_scim(&acting, provider, said).await;
        Ok(acting.ended(done).await)
    }

    /// Changes one, as it is at that moment.
    pub async fn change_scim<T: Pushed>(
        &self,
        credential: Credential,
        provider: &str,
        id: &str,
        change: impl FnOnce(T) -> Result<T, ScimError> + Send + 'static,
    ) -> Result<Result<ScimView<T>, ScimError>, PathError> {
        let facts = pushed::<T>("change", provider).with("id", plain(id));
        let acting = self.decided::<ProvisionUsers>(&credential, ()).await?.act(facts).await?;
        let done = self.access.change_scim(&acting, provider, id, change).await;
        Ok(acting.ended(done).await)
    }

    /// Forgets one. Of an account, whoever used it is out.
    pub async fn delete_scim<T: Pushed>(
        &self,
        credential: Credential,
        provider: &str,
        id: &str,
    ) -> Result<Result<(), ScimError>, PathError> {
        let facts = pushed::<T>("delete", provider).with("id", plain(id));
        let acting = self.decided::<ProvisionUsers>(&credential, ()).await?.act(facts).await?;
        let done = self.access.delete_scim::<T>(&acting, provider, id).await;
        Ok(acting.ended(done).await)
    }

    /// The models that the caller may use.
    pub async fn models(&self, credential: Credential) -> Result<ModelList, PathError> {
        self.open()?;
        let authorized = self.look_at::<ListModels>(&credential, (), Facts::none()).await?;
        let scope = &authorized.principal().scope;
        Ok(self.replicas.models().into_iter().filter(|model| scope.covers_model(&model.name)).collect())
    }

    /// Whether the caller may read the description of the API.
    pub async fn may_read_api(&self, credential: Credential) -> Result<(), PathError> {
        self.look_at::<ReadApi>(&credential, (), Facts::none()).await.map(drop)
    }

    /// Replicas and sequences, of all tenants.
    pub async fn processes(&self, credential: Credential) -> Result<ProcessList, PathError> {
        self.look_at::<ListSequences>(&credential, self.node(), Facts::none()).await?;
        let sequences = self.replicas.sequences().await;
        Ok(ProcessList { replicas: self.replicas.measured().await, sequences })
    }

    /// Ends a sequence. False if there is none of that id.
    pub async fn kill(&self, credential: Credential, sequence: SequenceId) -> Result<bool, PathError> {
        let facts = Facts::none().with("sequence", sequence);
        let acting =
            self.decided::<KillSequence>(&credential, (self.node(), sequence)).await?.act(facts).await?;
        let killed = self.replicas.kill(acting.resource().1).await;
        acting.end(Ok::<_, PathError>(killed)).await
    }

    /// Begins to bring a model into memory.
    pub async fn load_model(&self, credential: Credential, model: ModelName) -> Result<(), PathError> {
        self.open()?;
        let facts = Facts::none().with("deed", "load").with("model", &model);
        let acting = self.decided::<MoveModel>(&credential, (self.node(), model)).await?.act(facts).await?;
        let done = self.replicas.load(&acting.resource().1).await;
        acting.end(done).await
    }

    /// Sends a model away. Returns when its memory is free.
    pub async fn unload_model(&self, credential: Credential, model: ModelName) -> Result<(), PathError> {
        let facts = Facts::none().with("deed", "unload").with("model", &model);
        let acting = self.decided::<MoveModel>(&credential, (self.node(), model)).await?.act(facts).await?;
        let done = self.replicas.unload(&acting.resource().1).await;
        acting.end(done).await
    }

    /// Makes a key; its text is in the answer this once.
    pub async fn create_key(
        &self,
        credential: Credential,
        key: NewKey,
    ) -> Result<(KeyView, Secret), PathError> {
        let decided = self.decided_in_own::<ManageKeys>(&credential).await?;
        let facts = Facts::none().with("deed", "create").with("role", key.role);
        let facts = facts.with("class_max", key.class_max).with("data_class_max", key.data_class_max);
        let acting = decided.about(&key.tenant, &key.user).await?.act(facts).await?;
        let made = self.access.create_key(&acting, key).await;
        acting.end_with(made, |(view, _)| Facts::none().with("key", &view.id)).await
    }

    /// Gives a key a new secret, which is in the answer this once; the one before is accepted for `overlap_s` seconds more.
    pub async fn rotate_key(
        &self,
        credential: Credential,
        id: &str,
        overlap_s: u64,
    ) -> Result<(KeyView, Secret), PathError> {
        let facts = Facts::none().with("deed", "rotate").with("overlap_s", overlap_s);
        let acting = self.decided_key(&credential, id).await?.act(facts).await?;
        let done = self.access.rotate_key(&acting, overlap_s).await;
        acting.end(done).await
    }

    /// All users.
    pub async fn users(&self, credential: Credential) -> Result<Vec<UserView>, PathError> {
        let decided = self.decided_in_own::<ManageUsers>(&credential).await?;
        let authorized = decided.read(Facts::none().with("deed", "list")).await?;
        Ok(self.access.users(&authorized).await?)
    }

    /// Changes what a user may do, at once.
    pub async fn change_user(
        &self,
        credential: Credential,
        tenant: &str,
        user: &str,
        change: UserChange,
    ) -> Result<UserView, PathError> {
        let decided = self.decided_in_own::<ManageUsers>(&credential).await?.about(tenant, user).await?;
        let acting = decided.act(changes(&change)).await?;
        let done = self.access.change_user(&acting, tenant, user, change).await;
        acting.end(done).await
    }

    /// All keys.
    pub async fn keys(&self, credential: Credential) -> Result<Vec<KeyView>, PathError> {
        let decided = self.decided_in_own::<ManageKeys>(&credential).await?;
        let authorized = decided.read(Facts::none().with("deed", "list")).await?;
        Ok(self.access.keys(&authorized).await?)
    }

    /// Revokes a key.
    pub async fn revoke_key(&self, credential: Credential, id: &str) -> Result<KeyView, PathError> {
        let decided = self.decided_key(&credential, id).await?;
        let acting = decided.act(Facts::none().with("deed", "revoke")).await?;
        let done = self.access.revoke_key(&acting).await;
        acting.end(done).await
    }

    /// What was used in the last `days` days, today's (UTC) included.
    pub async fn usage(&self, credential: Credential, days: u64) -> Result<Vec<UsageRecord>, PathError> {
        let decided = self.decided_in_own::<ReadUsage>(&credential).await?;
        let authorized = decided.read(Facts::none().with("days", days)).await?;
        Ok(self.access.usage(&authorized, days).await?)
    }

    /// What is left of the quotas of those who have used something.
    pub async fn budgets(&self, credential: Credential) -> Result<Vec<BudgetView>, PathError> {
        let decided = self.decided_in_own::<ReadUsage>(&credential).await?;
        let authorized = decided.read(Facts::none().with("of", "budgets")).await?;
        Ok(self.access.budgets(&authorized)?)
    }

    /// The policies of a tenant, by name.
    pub async fn policies(
        &self,
        credential: Credential,
        tenant: &str,
    ) -> Result<Vec<TenantPolicy>, PathError> {
        let decided = self.decided_in::<ManagePolicies>(&credential, tenant).await?;
        let authorized = decided.read(Facts::none().with("deed", "list")).await?;
        Ok(self.access.policies(&authorized).await?)
    }

    /// Adds a policy to a tenant, or puts it in the place of the one of this name.
    pub async fn put_policy(
        &self,
        credential: Credential,
        tenant: &str,
        policy: TenantPolicy,
    ) -> Result<(), PathError> {
        let facts = Facts::none().with("deed", "put").with("policy", plain(&policy.name));
        let facts = facts.with("sha256", policy.digest());
        let acting = self.decided_in::<ManagePolicies>(&credential, tenant).await?.act(facts).await?;
        let done = self.access.put_policy(&acting, policy).await;
        acting.end(done).await
    }

    /// Removes a policy of a tenant.
    pub async fn delete_policy(
        &self,
        credential: Credential,
        tenant: &str,
        name: &str,
    ) -> Result<(), PathError> {
        let facts = Facts::none().with("deed", "delete").with("policy", plain(name));
        let acting = self.decided_in::<ManagePolicies>(&credential, tenant).await?.act(facts).await?;
        let done = self.access.delete_policy(&acting, name).await;
        acting.end(done).await
    }

    /// Whether somebody may do something, and which policies decide it.
    pub async fn explain_access(
        &self,
        credential: Credential,
        inquiry: Inquiry,
    ) -> Result<Explanation, PathError> {
        let decided = self.decided_in_own::<ExplainAccess>(&credential).await?;
        let authorized = decided.read(Facts::none().with("of", plain(&inquiry.action))).await?;
        Ok(self.access.explain(&authorized, inquiry).await?)
    }

    /// All metrics in the `OpenMetrics` text format.
    pub async fn metrics(&self, credential: Credential) -> Result<String, PathError> {
        self.look_at::<ReadMetrics>(&credential, self.node(), Facts::none()).await?;
        let audit = self.access.audit();
        let (status, anchors) = (audit.log().status(), audit.anchors());
        Ok(self.metrics.text(&self.replicas.replicas(), &status, &anchors, audit.collector().as_ref()))
    }

    /// The machine that this is; there is no other yet.
    fn node(&self) -> NodeName {
        self.access.node().clone()
    }

    /// What concerns people is looked at.
    pub(crate) async fn read_at<A: Action>(
        &self,
        credential: &Credential,
        resource: A::Resource,
        facts: Facts,
    ) -> Result<Authorized<A>, PathError> {
        self.decided::<A>(credential, resource).await?.read(facts).await
    }

    /// Something is only looked at.
    pub(crate) async fn look_at<A: Action>(
        &self,
        credential: &Credential,
        resource: A::Resource,
        facts: Facts,
    ) -> Result<Authorized<A>, PathError> {
        self.decided::<A>(credential, resource).await?.look(facts).await
    }
}

fn pushed<T: Pushed>(deed: &'static str, provider: &str) -> Facts {
    Facts::none().with("deed", deed).with("what", T::NAME).with("provider", plain(provider))
}

/// What is to be changed about a user.
fn changes(change: &UserChange) -> Facts {
    let UserChange { role, class_max, data_class_max, purposes, team, suspended } = change;
    let facts = Facts::none();
    let facts = role.iter().fold(facts, |facts, role| facts.with("role", role));
    let facts = class_max.iter().fold(facts, |facts, class| facts.with("class_max", class));
    let facts = data_class_max.iter().fold(facts, |facts, class| facts.with("data_class_max", class));
    let facts = suspended.iter().fold(facts, |facts, suspended| facts.with("suspended", suspended));
    let facts = purposes.iter().fold(facts, |facts, _| facts.with("purposes", "changed"));
    team.iter().fold(facts, |facts, _| facts.with("team", "changed"))
}
