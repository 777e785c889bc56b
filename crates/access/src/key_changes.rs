//! Changing a key that there is: who may, and how.

use std::sync::Arc;

use types::{Principal, Role, Secret, TenantId, UserId};

use crate::{
    Access, AccessError, Authorized, ChangeKey, KeyView, Refusal,
    access::carried_through,
    key::{ID_CHARS, KeyId},
    keyring::{Held, Keyring},
    policy::WALL,
};

/// What stands for the id of a key that there is not.
const NO_ID: &str = "?";

/// An API key, as policies see it. Only this crate makes one, so it is as it says.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ApiKey {
    pub(crate) id: String,
    pub(crate) tenant: TenantId,
    pub(crate) owner: UserId,
    /// Whether the owner is a service account.
    pub(crate) is_service: bool,
    /// The owner's team.
    pub(crate) team: Option<Arc<str>>,
    /// The owner's role.
    pub(crate) role: Role,
}

impl ApiKey {
    /// Some key of theirs, which need not be there.
    pub(crate) fn of(principal: &Principal) -> Self {
        Self {
            id: NO_ID.to_owned(),
            tenant: principal.tenant,
            owner: principal.user,
            is_service: principal.is_service,
            team: principal.team.clone(),
            role: principal.role,
        }
    }
}

/// What a key is called in records. What is no id may be a whole key, pasted by mistake, and is not repeated.
pub(crate) fn named(id: &str) -> String {
    let id = if KeyId::parse(id.as_bytes()).is_some() { id } else { NO_ID };
    format!("key:{id}")
}

impl Access {
    /// May they change the key of this id? Who may not change their own is told that; and for whom it is one that they may not see,
    /// there is none of this id.
    pub async fn authorize_key(
        &self,
        principal: &Principal,
        id: &str,
    ) -> Result<Authorized<ChangeKey>, Refusal> {
        let unknown = || AccessError::UnknownKey(shortened(id));
        let why = match self.keyring.held(id).await {
            Ok(Some(held)) => match self.authorize::<ChangeKey>(principal, held.api_key) {
                Err(refusal) if refusal.policies.iter().any(|policy| policy == WALL) => unknown(),
                decided => return decided,
            },
            Ok(None) => unknown(),
            Err(error) => error,
        };
        let on = named(id);
        match self.authorize::<ChangeKey>(principal, ApiKey::of(principal)) {
            // Nothing of it says whether there is one.
            Ok(own) => Err(Refusal {
                why: Box::new(why),
                on,
                tenant: None,
                policies: Arc::new([]),
                version: own.version().clone(),
            }),
            Err(refusal) => Err(Refusal { on, tenant: None, ..refusal }),
        }
    }

    /// Gives a key a new secret, which is shown this once; the one before is accepted for `overlap_s` seconds more.
    pub async fn rotate_key(
        &self,
        by: &Authorized<ChangeKey>,
        overlap_s: u64,
    ) -> Result<(KeyView, Secret), AccessError> {
        let (keyring, granter, id) = (self.keyring.clone(), self.granter(by), by.resource().id.clone());
        carried_through(async move {
            granter.check_renewal(&there(&keyring, &id).await?)?;
            keyring.rotate(&id, overlap_s).await
        })
        .await
    }

    /// Revokes a key, at once; revoking twice is not an error, and the first time stands.
    pub async fn revoke_key(&self, by: &Authorized<ChangeKey>) -> Result<KeyView, AccessError> {
        let (keyring, granter, id) = (self.keyring.clone(), self.granter(by), by.resource().id.clone());
        carried_through(async move {
            granter.check_revocation(&there(&keyring, &id).await?)?;
            keyring.revoke(&id).await
        })
        .await
    }
}

/// What a key gives at this moment, which may be another one than that of the decision.
async fn there(keyring: &Keyring, id: &str) -> Result<Held, AccessError> {
    keyring.held(id).await?.ok_or_else(|| AccessError::UnknownKey(shortened(id)))
}

/// What is no id may be a whole key, pasted by mistake: its secret must not come back in an error.
pub(crate) fn shortened(id: &str) -> String {
    match id.char_indices().nth(ID_CHARS) {
        Some((end, _)) => format!("{}…", &id[..end]),
        None => id.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pasted_key_does_not_come_back() {
        assert_eq!(shortened("nosuchkey"), "nosuchkey");
        assert_eq!(shortened("llmos_0123456789ab_0000"), "llmos_012345…");
        assert_eq!(shortened("ééééééééééééé"), "éééééééééééé…");
    }

    #[test]
    fn a_pasted_key_does_not_get_into_a_record() {
        assert_eq!(named("0123456789ab"), "key:0123456789ab");
        for id in ["", "nosuchkey", "0123456789AB", "0123456789abc", "llmos_0123456789ab_0000"] {
            assert_eq!(named(id), "key:?", "{id}");
        }
    }
}
