//! What authentication looks at: keys and users as they are now, in memory.

use std::{collections::HashMap, sync::Arc};

use store::{KeyRecord, NewKeyRecord, Rights, UserRecord};
use types::{ModelName, Principal, Scope, TenantId, UserId};

use super::accounts::Accounts;
use crate::{ApiKey, granter::meet, key::KeyId};

#[derive(Default)]
pub(super) struct Live {
    pub(super) keys: HashMap<KeyId, LiveKey>,
    pub(super) users: HashMap<UserId, LiveUser>,
    pub(super) accounts: Accounts,
}

/// A key that is not revoked.
#[derive(Clone)]
pub(super) struct LiveKey {
    pub(super) name: Arc<str>,
    pub(super) hash: [u8; 32],
    /// The hash of the secret before, and until when that is accepted.
    pub(super) old: Option<([u8; 32], u64)>,
    pub(super) user: UserId,
    pub(super) rights: Rights,
    pub(super) scope: Scope,
    pub(super) expires_at: Option<u64>,
}

#[derive(Clone)]
pub(super) struct LiveUser {
    pub(super) tenant: TenantId,
    pub(super) tenant_name: Arc<str>,
    pub(super) name: Arc<str>,
    pub(super) is_service: bool,
    pub(super) team: Option<Arc<str>>,
    pub(super) rights: Rights,
    /// By hand.
    pub(super) suspended: bool,
}

impl Live {
    /// A user who may do something now.
    pub(super) fn acting(&self, user: UserId) -> Option<&LiveUser> {
        self.users.get(&user).filter(|found| !found.suspended && self.accounts.lets_in(user))
    }

    pub(super) fn take_in(&mut self, record: &KeyRecord) {
        self.users.insert(record.owner.user_id, LiveUser::of(&record.owner));
        if let (None, Some((id, key))) = (record.revoked_at, live_key(record)) {
            self.keys.insert(id, key);
        }
    }

    /// What a key gives at `now`: what is left of its owner's rights of this moment. None if it gives nothing.
    pub(super) fn principal(&self, key: &LiveKey, now: u64) -> Option<Principal> {
        let owner = self.acting(key.user)?;
        let is_current = key.expires_at.is_none_or(|expires_at| now < expires_at);
        is_current.then(|| Principal {
            scope: key.scope.clone(),
            key: Some(key.name.clone()),
            ..owner.principal(key.user, meet(&owner.rights, &key.rights))
        })
    }
}

impl LiveUser {
    pub(super) fn of(record: &UserRecord) -> Self {
        Self {
            tenant: record.tenant_id,
            tenant_name: record.tenant.as_str().into(),
            name: record.user.as_str().into(),
            is_service: record.is_service,
            team: record.state.team.as_deref().map(Into::into),
            rights: record.state.rights.clone(),
            suspended: record.state.suspended_at.is_some(),
        }
    }

    /// A key of theirs, as policies see it.
    pub(super) fn api_key(&self, id: &str, owner: UserId) -> ApiKey {
        ApiKey {
            id: id.to_owned(),
            tenant: self.tenant,
            owner,
            is_service: self.is_service,
            team: self.team.clone(),
            role: self.rights.role,
        }
    }

    /// Who they are, with these rights.
    pub(super) fn principal(&self, user: UserId, rights: Rights) -> Principal {
        let Rights { role, class_max, data_class_max, purposes } = rights;
        Principal {
            is_service: self.is_service,
            team: self.team.clone(),
            role,
            class_max,
            data_class_max,
            purposes,
            ..Principal::least(self.tenant, user)
        }
    }
}

/// The entry of the index. None for an id that no key can have, or a model that no name can be: a row that somebody else
/// wrote opens no door.
pub(super) fn live_key(record: &KeyRecord) -> Option<(KeyId, LiveKey)> {
    let key = &record.key;
    let live = LiveKey {
        name: key.id.as_str().into(),
        hash: key.hash,
        old: record.old,
        user: record.owner.user_id,
        rights: key.rights.clone(),
        scope: scope(key)?,
        expires_at: key.expires_at,
    };
    Some((KeyId::parse(key.id.as_bytes())?, live))
}

pub(super) fn scope(key: &NewKeyRecord) -> Option<Scope> {
    let models = key.models.iter().map(|name| name.parse()).collect::<Result<Vec<ModelName>, _>>();
    Some(Scope::new(Some(key.rights.role), key.actions.clone(), models.ok()?))
}
