use std::time::Duration;

use access::{
    Action, Authorized, Credential, ExplainAccess, Explanation, KeyView, KillSequence, ListModels,
    ListSequences, ManageFactors, ManageKeys, ManagePolicies, ManageUsers, MoveModel, NewKey, ProvisionUsers,
    Pushed, ReadApi, ReadMetrics, ReadUsage, ScimError, ScimPage, ScimView, ScimWanted, SignIn, TenantPolicy,
    UsageRecord, UserChange, UserView, Who,
};
use engine::SequenceStatus;
use resources::{ModelView, ReplicaState, ReplicaView};
use types::{ModelName, Secret, SequenceId, TenantId};

use crate::{Path, PathError};

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
        Ok(self.access.authenticate(credential).await.map(drop)?)
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
        let authorized = self.in_own_tenant::<ManageFactors>(credential).await?;
        Ok(self.access.invite(&authorized, tenant, user).await?)
    }

    /// Takes all second factors from a user who has lost them.
    pub async fn forget_factors(
        &self,
        credential: Credential,
        tenant: &str,
        user: &str,
    ) -> Result<(), PathError> {
        let authorized = self.in_own_tenant::<ManageFactors>(credential).await?;
        Ok(self.access.forget_factors(&authorized, tenant, user).await?)
    }

    /// Whether the caller may push accounts and groups at all.
    pub async fn may_provision(&self, credential: Credential) -> Result<(), PathError> {
        self.authorized::<ProvisionUsers>(credential, ()).await.map(drop)
    }

    /// What a provider has pushed: accounts or groups.
    pub async fn list_scim<T: Pushed>(
        &self,
        credential: Credential,
        provider: &str,
        wanted: ScimWanted,
    ) -> Result<Result<ScimPage<T>, ScimError>, PathError> {
        let authorized = self.authorized::<ProvisionUsers>(credential, ()).await?;
        Ok(self.access.list_scim(&authorized, provider, wanted).await)
    }

    /// One of them.
    pub async fn scim<T: Pushed>(
        &self,
        credential: Credential,
        provider: &str,
        id: &str,
    ) -> Result<Result<ScimView<T>, ScimError>, PathError> {
        let authorized = self.authorized::<ProvisionUsers>(credential, ()).await?;
        Ok(self.access.scim(&authorized, provider, id).await)
    }

    /// Takes in a new one.
    pub async fn add_scim<T: Pushed>(
        &self,
        credential: Credential,
        provider: &str,
        said: T,
    ) -> Result<Result<ScimView<T>, ScimError>, PathError> {
        let authorized = self.authorized::<ProvisionUsers>(credential, ()).await?;
        Ok(self.access.add_scim(&authorized, provider, said).await)
    }

    /// Changes one, as it is at that moment.
    pub async fn change_scim<T: Pushed>(
        &self,
        credential: Credential,
        provider: &str,
        id: &str,
        change: impl FnOnce(T) -> Result<T, ScimError> + Send + 'static,
    ) -> Result<Result<ScimView<T>, ScimError>, PathError> {
        let authorized = self.authorized::<ProvisionUsers>(credential, ()).await?;
        Ok(self.access.change_scim(&authorized, provider, id, change).await)
    }

    /// Forgets one. Of an account, whoever used it is out.
    pub async fn delete_scim<T: Pushed>(
        &self,
        credential: Credential,
        provider: &str,
        id: &str,
    ) -> Result<Result<(), ScimError>, PathError> {
        let authorized = self.authorized::<ProvisionUsers>(credential, ()).await?;
        Ok(self.access.delete_scim::<T>(&authorized, provider, id).await)
    }

    /// The models that the caller may use.
    pub async fn models(&self, credential: Credential) -> Result<ModelList, PathError> {
        self.open()?;
        let authorized = self.authorized::<ListModels>(credential, ()).await?;
        let scope = &authorized.principal().scope;
        Ok(self.replicas.models().into_iter().filter(|model| scope.covers_model(&model.name)).collect())
    }

    /// Whether the caller may read the description of the API.
    pub async fn may_read_api(&self, credential: Credential) -> Result<(), PathError> {
        self.authorized::<ReadApi>(credential, ()).await.map(drop)
    }

    /// Replicas and sequences, of all tenants.
    pub async fn processes(&self, credential: Credential) -> Result<ProcessList, PathError> {
        self.authorized::<ListSequences>(credential, ()).await?;
        let sequences = self.replicas.sequences().await;
        Ok(ProcessList { replicas: self.replicas.measured().await, sequences })
    }

    /// Ends a sequence. False if there is none of that id.
    pub async fn kill(&self, credential: Credential, sequence: SequenceId) -> Result<bool, PathError> {
        let authorized = self.authorized::<KillSequence>(credential, sequence).await?;
        Ok(self.replicas.kill(*authorized.resource()).await)
    }

    /// Begins to bring a model into memory.
    pub async fn load_model(&self, credential: Credential, model: ModelName) -> Result<(), PathError> {
        self.open()?;
        let authorized = self.authorized::<MoveModel>(credential, model).await?;
        Ok(self.replicas.load(authorized.resource()).await?)
    }

    /// Sends a model away. Returns when its memory is free.
    pub async fn unload_model(&self, credential: Credential, model: ModelName) -> Result<(), PathError> {
        let authorized = self.authorized::<MoveModel>(credential, model).await?;
        Ok(self.replicas.unload(authorized.resource()).await?)
    }

    /// Makes a key; its text is in the answer this once.
    pub async fn create_key(
        &self,
        credential: Credential,
        key: NewKey,
    ) -> Result<(KeyView, Secret), PathError> {
        let authorized = self.in_own_tenant::<ManageKeys>(credential).await?;
        Ok(self.access.create_key(&authorized, key).await?)
    }

    /// Gives a key a new secret, which is in the answer this once; the one before is accepted for `overlap_s` seconds more.
    pub async fn rotate_key(
        &self,
        credential: Credential,
        id: &str,
        overlap_s: u64,
    ) -> Result<(KeyView, Secret), PathError> {
        let authorized = self.in_own_tenant::<ManageKeys>(credential).await?;
        Ok(self.access.rotate_key(&authorized, id, overlap_s).await?)
    }

    /// All users.
    pub async fn users(&self, credential: Credential) -> Result<Vec<UserView>, PathError> {
        let authorized = self.in_own_tenant::<ManageUsers>(credential).await?;
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
        let authorized = self.in_own_tenant::<ManageUsers>(credential).await?;
        Ok(self.access.change_user(&authorized, tenant, user, change).await?)
    }

    /// All keys.
    pub async fn keys(&self, credential: Credential) -> Result<Vec<KeyView>, PathError> {
        let authorized = self.in_own_tenant::<ManageKeys>(credential).await?;
        Ok(self.access.keys(&authorized).await?)
    }

    /// Revokes a key.
    pub async fn revoke_key(&self, credential: Credential, id: &str) -> Result<KeyView, PathError> {
        let authorized = self.in_own_tenant::<ManageKeys>(credential).await?;
        Ok(self.access.revoke_key(&authorized, id).await?)
    }

    /// What was used in the last `days` days, today's (UTC) included.
    pub async fn usage(&self, credential: Credential, days: u64) -> Result<Vec<UsageRecord>, PathError> {
        let authorized = self.in_own_tenant::<ReadUsage>(credential).await?;
        Ok(self.access.usage(&authorized, days).await?)
    }

    /// The policies of a tenant, by name.
    pub async fn policies(
        &self,
        credential: Credential,
        tenant: &str,
    ) -> Result<Vec<TenantPolicy>, PathError> {
        let authorized = self.in_tenant::<ManagePolicies>(credential, tenant).await?;
        Ok(self.access.policies(&authorized).await?)
    }

    /// Adds a policy to a tenant, or puts it in the place of the one of this name.
    pub async fn put_policy(
        &self,
        credential: Credential,
        tenant: &str,
        policy: TenantPolicy,
    ) -> Result<(), PathError> {
        let authorized = self.in_tenant::<ManagePolicies>(credential, tenant).await?;
        Ok(self.access.put_policy(&authorized, policy).await?)
    }

    /// Removes a policy of a tenant.
    pub async fn delete_policy(
        &self,
        credential: Credential,
        tenant: &str,
        name: &str,
    ) -> Result<(), PathError> {
        let authorized = self.in_tenant::<ManagePolicies>(credential, tenant).await?;
        Ok(self.access.delete_policy(&authorized, name).await?)
    }

    /// Whether somebody may do something, and which policies decide it.
    pub async fn explain_access(
        &self,
        credential: Credential,
        who: &Who,
        action: &str,
        resource: Option<&str>,
    ) -> Result<Explanation, PathError> {
        let authorized = self.in_own_tenant::<ExplainAccess>(credential).await?;
        Ok(self.access.explain(&authorized, who, action, resource).await?)
    }

    /// All metrics in the `OpenMetrics` text format.
    pub async fn metrics(&self, credential: Credential) -> Result<String, PathError> {
        self.authorized::<ReadMetrics>(credential, ()).await?;
        Ok(self.metrics.text(&self.replicas.replicas()))
    }

    pub(crate) async fn authorized<A: Action>(
        &self,
        credential: Credential,
        resource: A::Resource,
    ) -> Result<Authorized<A>, PathError> {
        let principal = self.access.authenticate(credential).await?;
        Ok(self.access.authorize::<A>(&principal, resource)?)
    }

    /// Something that is done to the caller's own tenant.
    async fn in_own_tenant<A: Action<Resource = TenantId>>(
        &self,
        credential: Credential,
    ) -> Result<Authorized<A>, PathError> {
        let principal = self.access.authenticate(credential).await?;
        Ok(self.access.authorize::<A>(&principal, principal.tenant)?)
    }

    /// Something that is done to the tenant of this name.
    pub(crate) async fn in_tenant<A: Action<Resource = TenantId>>(
        &self,
        credential: Credential,
        tenant: &str,
    ) -> Result<Authorized<A>, PathError> {
        let principal = self.access.authenticate(credential).await?;
        Ok(self.access.authorize_in::<A>(&principal, tenant).await?)
    }
}
