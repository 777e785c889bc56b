//! What happens outside of requests that are authorised, and is recorded all the same: sign-ins, factors, wrong codes.

use std::sync::Arc;

use audit::{
    Audit, AuditUnavailable, Begun, Caller, Facts, Happening, LogError, Outcome, Personal, SealedCaller,
};
use types::{DataSubject, Principal, UserId};

use crate::{AccessError, keyring::Keyring};

/// What stands before a user's name, where it names the key of a person.
const USER: &str = "user:";
/// What somebody asks too often for, in records: to sign in, or to change how they do.
const AT_THE_DOOR: &str = "at_the_door";

impl From<AuditUnavailable> for AccessError {
    fn from(error: AuditUnavailable) -> Self {
        // When it takes no records any more, the audit log says so by itself, once.
        let is_told = |why: &LogError| matches!(why, LogError::Full { .. } | LogError::Broken { .. });
        if !matches!(&error, AuditUnavailable::Log(why) if is_told(why)) {
            tracing::error!("{error}");
        }
        Self::Unrecorded(error.to_callers())
    }
}

/// The person whom the data of a user is about, unless it is said to be about somebody else.
pub fn subject_of_user(name: &str) -> Result<DataSubject, types::OutOfRange> {
    DataSubject::try_from(format!("{USER}{name}"))
}

/// Something that is recorded as begun. Nobody knows yet whether it can be done, so its end is due.
#[must_use = "its end is due"]
pub(crate) struct Doing(Begun);

impl Doing {
    /// Records what is about to be done. On the disk when this returns.
    ///
    /// # Errors
    /// It must not be done then.
    pub(crate) async fn begin(audit: &Arc<Audit>, about: Happening<'_>) -> Result<Self, AccessError> {
        Ok(Self(audit.begin_happening(about).await?))
    }

    /// What became of it is recorded. It is done by now, so that stands also if that fails: the next start ends it then.
    pub(crate) async fn end<T, E>(self, result: Result<T, E>) -> Result<T, E> {
        let how = if result.is_ok() { "done" } else { "failed" };
        if let Err(error) = self.0.end(Outcome { how, ..Outcome::default() }).await {
            tracing::error!("what became of something is not in the audit log: {error}");
        }
        result
    }
}

impl Keyring {
    /// Where all that is done is recorded.
    pub(crate) fn audit(&self) -> &Arc<Audit> {
        &self.audit
    }

    /// Records what a user is about to do at the door. On the disk when this returns.
    ///
    /// # Errors
    /// [`AccessError::Unrecorded`] or [`AccessError::TooOften`]: what has to be recorded first must not be done then.
    pub(crate) async fn record(
        &self,
        user: UserId,
        break_glass: bool,
        event: (&str, &str),
        facts: Facts,
        reason: Option<&str>,
    ) -> Result<(), AccessError> {
        self.may_be_at_the_door(user).await?;
        self.write(user, break_glass, event, facts, reason).await
    }

    /// Who comes too often is only counted.
    async fn may_be_at_the_door(&self, user: UserId) -> Result<(), AccessError> {
        let may = self.unpaid.ask_at_the_door(user);
        if may.is_err()
            && let Some((principal, ..)) = self.known(user)?
        {
            self.audit.note_too_often(None, &principal, AT_THE_DOOR).await;
        }
        may
    }

    async fn write(
        &self,
        user: UserId,
        break_glass: bool,
        (what, how): (&str, &str),
        facts: Facts,
        reason: Option<&str>,
    ) -> Result<(), AccessError> {
        let (principal, caller, personal) = self.concerned(user, break_glass, reason).await?;
        let principal = Some(&principal);
        let happening = Happening { what, request: None, principal, how, facts, caller, personal };
        Ok(self.audit.note(happening).await?)
    }

    /// Records what is about to be done for a user. On the disk when this returns.
    ///
    /// # Errors
    /// [`AccessError::Unrecorded`] or [`AccessError::TooOften`]: it must not be done then.
    pub(crate) async fn begin(
        &self,
        user: UserId,
        break_glass: bool,
        what: &str,
        facts: Facts,
    ) -> Result<Doing, AccessError> {
        self.may_be_at_the_door(user).await?;
        let (principal, caller, _) = self.concerned(user, break_glass, None).await?;
        let about = Happening { principal: Some(&principal), facts, caller, ..Happening::of(what, "") };
        Doing::begin(&self.audit, about).await
    }

    /// The same of what has happened already, and cannot be held back: if it cannot be recorded, the log says so.
    pub(crate) async fn record_after(
        &self,
        user: UserId,
        break_glass: bool,
        event: (&str, &str),
        facts: Facts,
    ) {
        if let Err(error) = self.write(user, break_glass, event, facts, None).await {
            tracing::error!(what = event.0, %user, "something that happened is not in the audit log: {error}");
        }
    }

    async fn concerned(
        &self,
        user: UserId,
        break_glass: bool,
        reason: Option<&str>,
    ) -> Result<(Principal, Option<SealedCaller>, Vec<Personal>), AccessError> {
        let Some((principal, tenant_name, name)) = self.known(user)? else {
            return Ok((Principal::least(types::TenantId(0), user), None, Vec::new()));
        };
        let (tenant, subject) = (principal.tenant, || subject_of_user(&name));
        let caller = Caller::new((tenant, &tenant_name), (user, &name), subject()?, None);
        let caller = self.audit.caller(caller).await?;
        let mut personal = Vec::new();
        if let Some(reason) = reason {
            personal.push(Personal::new("reason", tenant, subject()?, reason));
        }
        Ok((Principal { break_glass, ..principal }, Some(caller), personal))
    }
}

/// A log in a folder, for tests. The names in it are thrown away.
#[cfg(test)]
pub(crate) async fn audit_in(folder: &std::path::Path) -> Arc<Audit> {
    let (log, key) = (folder.join("audit"), secret_file(folder, "audit.key"));
    Audit::open(&log, &key, Arc::new(audit::Erases)).await.unwrap().0
}

/// A secret in a file, under a root of tests.
#[cfg(test)]
pub(crate) fn secret_file(folder: &std::path::Path, name: &str) -> vault::SecretFile {
    let root = vault::Root::of_text(&types::Secret::from("0123456789abcdef".repeat(4)));
    vault::SecretFile::under(root.unwrap(), &folder.join(name))
}

/// A key that is nothing special, for somebody with this role.
#[cfg(test)]
pub(crate) fn new_key(role: types::Role) -> crate::NewKey {
    crate::NewKey {
        label: "l".to_owned(),
        tenant: "t".to_owned(),
        user: "u".to_owned(),
        is_service: false,
        role,
        class_max: types::PriorityClass::Normal,
        data_class_max: types::DataClass::Internal,
        purposes: types::Purposes::any(),
        scope: types::Scope::default(),
        expires_at: None,
    }
}
