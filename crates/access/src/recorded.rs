//! What happens outside of requests that are authorised, and is recorded all the same: sign-ins, factors, wrong codes.

use audit::{Audit, AuditUnavailable, Facts, Happening, LogError, Personal};
use types::{DataSubject, Principal, UserId};

use crate::{AccessError, keyring::Keyring};

/// What stands before a user's name, where it names the key of a person.
const USER: &str = "user:";

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

impl Keyring {
    /// Where all that is done is recorded.
    pub(crate) fn audit(&self) -> &std::sync::Arc<Audit> {
        &self.audit
    }

    /// Records what happened to a user. On the disk when this returns.
    ///
    /// # Errors
    /// [`AccessError::Unrecorded`]: what has to be recorded first must not be done then.
    pub(crate) async fn record(
        &self,
        user: UserId,
        break_glass: bool,
        (what, how): (&str, &str),
        facts: Facts,
        reason: Option<&str>,
    ) -> Result<(), AccessError> {
        let (principal, personal) = self.concerned(user, break_glass, reason)?;
        let happening = Happening { what, request: None, principal: Some(&principal), how, facts, personal };
        Ok(self.audit.note(happening).await?)
    }

    /// The same of what has happened already, and cannot be held back: if it cannot be recorded, the log says so.
    pub(crate) async fn record_after(
        &self,
        user: UserId,
        break_glass: bool,
        (what, how): (&str, &str),
        facts: Facts,
    ) {
        if let Err(error) = self.record(user, break_glass, (what, how), facts, None).await {
            tracing::error!(what, %user, "something that happened is not in the audit log: {error}");
        }
    }

    fn concerned(
        &self,
        user: UserId,
        break_glass: bool,
        reason: Option<&str>,
    ) -> Result<(Principal, Vec<Personal>), AccessError> {
        let Some((principal, tenant_name, name)) = self.known(user)? else {
            return Ok((Principal::least(types::TenantId(0), user), Vec::new()));
        };
        let tenant = principal.tenant;
        let mut personal =
            vec![Personal::caller((tenant, &tenant_name), (user, &name), subject_of_user(&name)?, None)];
        if let Some(reason) = reason {
            personal.push(Personal::new("reason", tenant, subject_of_user(&name)?, reason));
        }
        Ok((Principal { break_glass, ..principal }, personal))
    }
}

/// A log in a folder, for tests. The names in it are thrown away.
#[cfg(test)]
pub(crate) async fn audit_in(folder: &std::path::Path) -> std::sync::Arc<Audit> {
    let (log, key) = (folder.join("audit"), folder.join("audit.key"));
    Audit::open(&log, &key, std::sync::Arc::new(audit::Erases)).await.unwrap().0
}
