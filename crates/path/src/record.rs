//! Nothing is done before its record is on the disk: the steps between a decision and the deed.
//!
//! ```text
//! decided ─ may they? a refusal is recorded ─┬─ look: recorded, and shown
//!                                            └─ act: recorded ─ the deed ─ end: what became of it is recorded
//! ```
//!
//! A proof of access comes out of here only with its record, so nothing can be done by way of the path that is not in the log.

use std::{net::IpAddr, ops::Deref};

use access::{
    Access, AccessError, Action, Authorized, ChangeKey, Credential, ModelUse, Reason, Refusal, Shown, Unpaid,
    subject_of_user,
};
use audit::{Begun, Decision, Facts, Outcome, Personal, SealedCaller, Used};
use types::{Declared, Input, Principal, RequestId, TenantId};

use crate::{
    Path, PathError,
    told::{self, Answered},
};

/// What decided when no policy permits something.
const NO_PERMIT: &str = "default.deny";
/// What a model is called that there is not.
const NO_SUCH_MODEL: &str = "model:?";
/// What somebody asks too often for, in records: looks and changes, requests that are refused, and requests that fail.
const ASKED: &str = "asked";
const REFUSED: &str = "refused";
pub(crate) const FAILED: &str = "failed";
/// What stands in a record where somebody named what cannot be there.
const NOTHING: &str = "?";
/// Longest name of a thing that somebody gives and that is recorded as it is: shorter than every secret.
const NAME_BYTES_MAX: usize = 40;

/// Somebody who asks for something, with what is recorded of it.
#[derive(Clone, Copy)]
pub(crate) struct Asker<'a> {
    access: &'a Access,
    request: RequestId,
    address: Option<IpAddr>,
    /// Whether they ask for a model that there is not: its name is nothing but their words, and they are kept nowhere.
    no_such_model: bool,
}

/// A decision that is not recorded yet: good for that only.
pub(crate) struct Decided<'a, A: Action> {
    authorized: Authorized<A>,
    asker: Asker<'a>,
    /// The tenant that it concerns, if it is not the one that was decided about.
    concerned: Option<TenantId>,
    personal: Vec<Personal>,
}

/// Something that is recorded as begun.
pub(crate) struct Acting<A: Action> {
    authorized: Authorized<A>,
    begun: Begun,
}

impl Path {
    /// Who asks; somebody whose credential is good for nothing is counted.
    pub(crate) async fn principal(&self, credential: &Credential) -> Result<Principal, PathError> {
        match self.access.authenticate(credential.clone()).await {
            Ok(principal) => Ok(principal),
            Err(error) => {
                let shown = match &credential.shown {
                    Shown::ApiKey(_) => "api_key",
                    Shown::LoginSession(_) => "session",
                    Shown::AccessToken(_) => "access_token",
                    Shown::LocalSocket { .. } => "local_socket",
                    Shown::Nothing => "nothing",
                };
                self.access.audit().note_stranger(credential.request, shown).await;
                Err(error.into())
            }
        }
    }

    /// The same, if they may ask for something that is recorded and that nobody pays for.
    async fn asking(&self, credential: &Credential) -> Result<Principal, PathError> {
        let principal = self.principal(credential).await?;
        self.asker(credential).may(&principal, ASKED, Unpaid::ask).await?;
        Ok(principal)
    }

    pub(crate) fn asker(&self, credential: &Credential) -> Asker<'_> {
        let Credential { request, address, .. } = *credential;
        Asker { access: &self.access, request, address, no_such_model: false }
    }

    /// May they?
    pub(crate) async fn decided<A: Action>(
        &self,
        credential: &Credential,
        resource: A::Resource,
    ) -> Result<Decided<'_, A>, PathError> {
        let principal = self.asking(credential).await?;
        let decided = self.access.authorize::<A>(&principal, resource);
        self.asker(credential).decided(&principal, decided).await
    }

    /// May they, in their own tenant?
    pub(crate) async fn decided_in_own<A: Action<Resource = TenantId>>(
        &self,
        credential: &Credential,
    ) -> Result<Decided<'_, A>, PathError> {
        let principal = self.asking(credential).await?;
        let decided = self.access.authorize::<A>(&principal, principal.tenant);
        self.asker(credential).decided(&principal, decided).await
    }

    /// May they change the key of this id?
    pub(crate) async fn decided_key(
        &self,
        credential: &Credential,
        id: &str,
    ) -> Result<Decided<'_, ChangeKey>, PathError> {
        let principal = self.asking(credential).await?;
        let decided = self.access.authorize_key(&principal, id).await;
        self.asker(credential).decided(&principal, decided).await
    }

    /// May they, in the tenant of this name?
    pub(crate) async fn decided_in<A: Action<Resource = TenantId>>(
        &self,
        credential: &Credential,
        tenant: &str,
    ) -> Result<Decided<'_, A>, PathError> {
        let principal = self.asking(credential).await?;
        let decided = self.access.authorize_in::<A>(&principal, tenant).await;
        self.asker(credential).decided(&principal, decided).await
    }
}

/// A name as it may stand in a record for good: one that things have. What is no such name may be anything that was put into the wrong
/// place, a whole key or a patient's name.
pub(crate) fn plain(name: &str) -> &str {
    let is_plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_.".contains(&byte);
    if (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(is_plain) { name } else { NOTHING }
}

impl<'a> Asker<'a> {
    /// The same, of somebody who asks for a model that there is not.
    pub(crate) fn without_model(self) -> Self {
        Self { no_such_model: true, ..self }
    }

    fn on(self, on: String) -> String {
        if self.no_such_model { NO_SUCH_MODEL.to_owned() } else { on }
    }

    /// Whether they may ask that often: who may not is only counted.
    pub(crate) async fn may(
        self,
        principal: &Principal,
        of: &'static str,
        rate: impl FnOnce(&Unpaid, &Principal) -> Result<(), AccessError>,
    ) -> Result<(), PathError> {
        let may = rate(self.access.unpaid(), principal);
        if may.is_err() {
            self.access.audit().note_too_often(Some(self.request), principal, of).await;
        }
        Ok(may?)
    }

    async fn decided<A: Action>(
        self,
        principal: &Principal,
        decided: Result<Authorized<A>, Refusal>,
    ) -> Result<Decided<'a, A>, PathError> {
        match decided {
            Ok(authorized) => Ok(Decided { authorized, asker: self, concerned: None, personal: Vec::new() }),
            Err(refusal) => Err(self.refused(principal, A::NAME, refusal).await),
        }
    }

    /// Records a refusal; beyond the rate of refusals it is only counted. It stays one, also if that fails.
    pub(crate) async fn refused(
        self,
        principal: &Principal,
        action: &'static str,
        refusal: Refusal,
    ) -> PathError {
        let Refusal { why, on, tenant, policies, version } = refusal;
        let none = [NO_PERMIT.to_owned()];
        let policies = if policies.is_empty() { &none[..] } else { &policies };
        self.note_refusal((principal, action), (self.on(on), tenant), policies, &version).await;
        (*why).into()
    }

    /// The same of what is no right, but a rule of the configuration.
    pub(crate) async fn refused_by<A: Action>(self, authorized: &Authorized<A>, rule: &'static str) {
        let who = (authorized.principal(), A::NAME);
        let on = (self.on(authorized.on()), authorized.tenant());
        self.note_refusal(who, on, &[rule.to_owned()], authorized.version()).await;
    }

    async fn note_refusal(
        self,
        (principal, action): (&Principal, &'static str),
        (on, tenant): (String, Option<TenantId>),
        policies: &[String],
        version: &str,
    ) {
        if !self.access.unpaid().refuse(principal) {
            return self.access.audit().note_too_often(Some(self.request), principal, REFUSED).await;
        }
        let decision = Decision {
            request: self.request,
            principal,
            action,
            on,
            tenant,
            declared: None,
            allowed: false,
            policies,
            policies_version: Some(version.to_owned()),
            reserved: None,
            facts: Facts::none(),
            caller: self.named(principal).await.unwrap_or_default(),
            personal: Vec::new(),
        };
        if let Err(error) = self.access.audit().decide(decision).await {
            tracing::error!(request_id = %self.request, action, "a refusal is not in the audit log: {error}");
        }
    }

    /// The caller's name, sealed in the record.
    async fn named(self, principal: &Principal) -> Result<Option<SealedCaller>, AccessError> {
        match self.access.named(principal, self.address)? {
            Some(caller) => Ok(Some(self.access.audit().caller(caller).await?)),
            None => Ok(None),
        }
    }

    /// Records the use of a model that is about to begin; of what a model is told, a commitment. Returns what makes one to the answer.
    pub(crate) async fn begin<A: Action<Resource = ModelUse>>(
        self,
        authorized: &Authorized<A>,
        reserved: Used,
        facts: Facts,
        told: Option<&Input>,
    ) -> Result<(Begun, Option<Answered>), PathError> {
        let declared = Some(&authorized.resource().declared);
        let mut decision = self.allowed(authorized, (declared, Some(reserved)), facts, Vec::new()).await?;
        let salt = decision.caller.as_ref().map(|caller| caller.salt(self.request));
        let answered = salt.zip(told).map(|(salt, told)| {
            decision.facts =
                std::mem::take(&mut decision.facts).with(told::PROMPT, told::commitment(&salt, told));
            Answered::new(&salt)
        });
        let begun = self.access.audit().begin(decision).await.map_err(AccessError::from)?;
        Ok((begun, answered))
    }

    async fn allowed<'d, A: Action>(
        self,
        authorized: &'d Authorized<A>,
        (declared, reserved): (Option<&'d Declared>, Option<Used>),
        facts: Facts,
        personal: Vec<Personal>,
    ) -> Result<Decision<'d>, AccessError> {
        let principal = authorized.principal();
        let caller = self.named(principal).await?;
        Ok(Decision {
            request: self.request,
            principal,
            action: A::NAME,
            on: self.on(authorized.on()),
            tenant: authorized.tenant(),
            declared,
            allowed: true,
            policies: authorized.policies(),
            policies_version: Some(authorized.version().to_string()),
            reserved,
            facts,
            caller,
            personal,
        })
    }
}

impl<A: Action<Resource = TenantId>> Decided<'_, A> {
    /// It concerns a user, whose name is sealed in the record; of a tenant that the caller may do it in, or nothing is written of it.
    pub(crate) async fn about(mut self, tenant: &str, user: &str) -> Result<Self, PathError> {
        let access = self.asker.access;
        let named = access.tenant(tenant).await?;
        let may = |id: &TenantId| access.authorize::<A>(self.authorized.principal(), *id).is_ok();
        if let (Some(id), Ok(subject)) = (named.filter(may), subject_of_user(user)) {
            self.concerned = Some(id);
            self.personal.push(Personal::new("user", id, subject, user));
        }
        Ok(self)
    }

    /// And why: sealed as the name is that it goes with.
    pub(crate) fn because(mut self, user: &str, reason: &Reason) -> Self {
        if let (Some(id), Ok(subject)) = (self.concerned, subject_of_user(user)) {
            self.personal.push(Personal::new("reason", id, subject, reason.as_str()));
        }
        self
    }
}

impl<A: Action> Decided<'_, A> {
    /// Something that concerns nobody is looked at: recorded, but whoever watches over a server must see it also when its disk is full.
    pub(crate) async fn look(self, facts: Facts) -> Result<Authorized<A>, PathError> {
        let Self { authorized, asker, personal, .. } = self;
        let decision = asker.allowed(&authorized, (None, None), facts, personal).await?;
        if let Err(error) = asker.access.audit().decide(decision).await {
            tracing::error!(request_id = %asker.request, action = A::NAME, "a look is not in the audit log: {error}");
        }
        Ok(authorized)
    }

    /// What concerns people, or the log itself, is looked at: nobody does that unseen.
    pub(crate) async fn read(self, facts: Facts) -> Result<Authorized<A>, PathError> {
        let Self { authorized, asker, personal, .. } = self;
        let decision = asker.allowed(&authorized, (None, None), facts, personal).await?;
        asker.access.audit().decide(decision).await.map_err(AccessError::from)?;
        Ok(authorized)
    }

    /// Something will be done. Its record is on the disk when this returns.
    pub(crate) async fn act(self, facts: Facts) -> Result<Acting<A>, PathError> {
        let Self { authorized, asker, concerned, personal } = self;
        let mut decision = asker.allowed(&authorized, (None, None), facts, personal).await?;
        if let Some(tenant) = concerned {
            (decision.on, decision.tenant) = (format!("tenant:{tenant}"), Some(tenant));
        }
        let begun = asker.access.audit().begin(decision).await.map_err(AccessError::from)?;
        Ok(Acting { authorized, begun })
    }
}

impl<A: Action> Deref for Acting<A> {
    type Target = Authorized<A>;

    fn deref(&self) -> &Authorized<A> {
        &self.authorized
    }
}

impl<A: Action> Acting<A> {
    /// What became of it is recorded. It is done by now, so that stands also if that fails: the next start ends it then.
    pub(crate) async fn end<T, E: Into<PathError>>(self, result: Result<T, E>) -> Result<T, PathError> {
        self.end_with(result, |_| Facts::none()).await
    }

    /// The same, with what is known only now.
    pub(crate) async fn end_with<T, E: Into<PathError>>(
        self,
        result: Result<T, E>,
        facts: impl FnOnce(&T) -> Facts,
    ) -> Result<T, PathError> {
        let result = result.map_err(Into::into);
        let (how, error, facts) = match &result {
            Ok(done) => ("done", None, facts(done)),
            Err(error) => ("failed", Some(error), Facts::none()),
        };
        let refused_by = error.and_then(PathError::refused_by);
        let (refused_by, error) = (refused_by.as_deref(), error.map(PathError::kind));
        self.close(Outcome { how, error, refused_by, facts, ..Outcome::default() }).await;
        result
    }

    /// The same, of what fails in a way of its own.
    pub(crate) async fn ended<T, E>(self, result: Result<T, E>) -> Result<T, E> {
        let how = if result.is_ok() { "done" } else { "failed" };
        self.close(Outcome { how, ..Outcome::default() }).await;
        result
    }

    async fn close(self, outcome: Outcome<'_>) {
        if let Err(error) = self.begun.end(outcome).await {
            tracing::error!(action = A::NAME, "what became of it is not in the audit log: {error}");
        }
    }
}

impl PathError {
    /// What refused it, if it was allowed at first: somebody may change users, but not those who may more than they.
    pub(crate) fn refused_by(&self) -> Option<String> {
        match self {
            Self::Access(error) => error.refused_by(),
            _ => None,
        }
    }

    /// What kind of error it is, in records.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Access(AccessError::OverQuota { .. }) => "over_quota",
            Self::Access(AccessError::Unrecorded(_)) => "unrecorded",
            Self::NoReceipt
            | Self::Access(
                AccessError::UnknownUser { .. }
                | AccessError::UnknownKey(_)
                | AccessError::UnknownTenant(_)
                | AccessError::UnknownPolicy(_),
            ) => "not_found",
            Self::Access(AccessError::WiderThanGranter { .. } | AccessError::WiderThanOwner { .. }) => {
                "too_wide"
            }
            Self::Access(_) => "access",
            Self::Route(_) => "no_replica",
            Self::Unload(_) => "model_busy",
            Self::Engine(_) => "engine",
            Self::Kept(_) => "storage",
            Self::BadPart { .. } | Self::PartTooLong { .. } | Self::OutOfRange(_) | Self::Workflow(_) => {
                "bad_request"
            }
            Self::Export { .. } => "file",
            Self::Planning { .. } => "planning",
            Self::Closing { .. } => "closing",
        }
    }
}
