//! What whoever gives rights may give: no more than they have.

use std::sync::Arc;

use store::Rights;
use types::{Principal, Role, Scope, TenantId};

use crate::{AccessError, Action, Authorized, NewKey, action, clock::now_s, keyring::Held, policy::Policies};

/// Who has no more, in a sentence.
const OWNER: &str = "the user may have";
const GRANTER: &str = "whoever gives it has";

/// What is left of an owner's rights with a key; the role stays the owner's, and the key's narrows it where it is asked.
pub(crate) fn meet(owner: &Rights, key: &Rights) -> Rights {
    Rights {
        role: owner.role,
        class_max: owner.class_max.min(key.class_max),
        data_class_max: owner.data_class_max.min(key.data_class_max),
        purposes: owner.purposes.and(&key.purposes),
    }
}

/// Somebody who gives rights to others, or takes them.
pub(crate) struct Granter {
    principal: Principal,
    policies: Arc<Policies>,
}

impl Granter {
    pub(crate) fn new(principal: Principal, policies: Arc<Policies>) -> Self {
        Self { principal, policies }
    }

    /// Whether they may do something in this tenant.
    pub(crate) fn covers<A: Action<Resource = TenantId>>(&self, tenant: TenantId) -> bool {
        Authorized::<A>::decide(&self.policies, &self.principal, tenant, now_s()).is_ok()
    }

    /// Whether one role allows all that another one does.
    pub(crate) fn contains(&self, wide: Role, narrow: Role) -> bool {
        self.policies.actions_of(narrow).is_subset(self.policies.actions_of(wide))
    }

    /// A key gives no more than its owner has, and no more than whoever makes it has themselves: they see its secret.
    pub(crate) fn check_key(&self, new: &NewKey, owner: Option<Rights>) -> Result<(), AccessError> {
        let asked = Rights {
            role: new.role,
            class_max: new.class_max,
            data_class_max: new.data_class_max,
            // Without any of its own it follows its owner's.
            purposes: match (new.purposes.bound(), &owner) {
                (None, Some(owner)) => owner.purposes.clone(),
                _ => new.purposes.clone(),
            },
        };
        self.check_role(owner.as_ref().map_or(new.role, |owner| owner.role))?;
        if let Some(owner) = &owner {
            self.check_within(&asked, owner, OWNER)?;
        }
        self.check_within(&asked, &self.own(), GRANTER)?;
        self.check_scope(&new.scope)
    }

    /// To renew the secret of a key is to have what it gives.
    pub(crate) fn check_renewal(&self, held: &Held) -> Result<(), AccessError> {
        self.check_role(held.owner.role)?;
        let gives = meet(&held.owner, &held.key);
        self.check_within(&gives, &self.own(), GRANTER)?;
        self.check_scope(&held.scope)
    }

    /// To let somebody in anew is to be able to be them, with all that they have.
    pub(crate) fn check_stand_in(&self, rights: &Rights) -> Result<(), AccessError> {
        self.check_role(rights.role)?;
        self.check_within(rights, &self.own(), GRANTER)?;
        self.check_scope(&Scope::default())
    }

    /// A key is taken only from those who are no more than whoever takes it.
    pub(crate) fn check_revocation(&self, held: &Held) -> Result<(), AccessError> {
        self.check_role(held.owner.role)
    }

    fn own(&self) -> Rights {
        let Principal { role, class_max, data_class_max, purposes, .. } = self.principal.clone();
        Rights { role, class_max, data_class_max, purposes }
    }

    fn check_within(&self, asked: &Rights, most: &Rights, whose: &'static str) -> Result<(), AccessError> {
        let wider = |parameter, asked: &dyn ToString, max: &dyn ToString| {
            let (asked, max) = (asked.to_string(), max.to_string());
            Err(AccessError::WiderThanOwner { whose, parameter, asked, max })
        };
        if !self.contains(most.role, asked.role) {
            return wider("role", &asked.role, &most.role);
        }
        if asked.class_max > most.class_max {
            return wider("class_max", &asked.class_max, &most.class_max);
        }
        if asked.data_class_max > most.data_class_max {
            return wider("data_class_max", &asked.data_class_max, &most.data_class_max);
        }
        if !asked.purposes.is_within(&most.purposes) {
            return wider("purposes", &asked.purposes, &most.purposes);
        }
        Ok(())
    }

    /// Who shows a key that is for some actions or models makes none that is for others.
    fn check_scope(&self, asked: &Scope) -> Result<(), AccessError> {
        let own = &self.principal.scope;
        let out = |what, name: Option<String>| {
            let name = name.unwrap_or_else(|| "all".to_owned());
            Err(AccessError::OutOfScope { what, name })
        };
        if !own.actions().is_empty() {
            let outside = asked.actions().iter().find(|action| !action::in_scope(own, action));
            if asked.actions().is_empty() || outside.is_some() {
                return out("action", outside.cloned());
            }
        }
        if !own.models().is_empty() {
            let outside = asked.models().iter().find(|model| !own.covers_model(model));
            if asked.models().is_empty() || outside.is_some() {
                return out("model", outside.map(ToString::to_string));
            }
        }
        Ok(())
    }

    /// Who changes somebody is no less than they were and will be.
    pub(crate) fn check_change(&self, was: &Rights, becomes: &Rights) -> Result<(), AccessError> {
        self.check_role(was.role)?;
        self.check_role(becomes.role)?;
        // What they had more before may stay.
        let most = Rights {
            role: self.principal.role,
            class_max: was.class_max.max(self.principal.class_max),
            data_class_max: was.data_class_max.max(self.principal.data_class_max),
            purposes: if becomes.purposes.is_within(&was.purposes) {
                was.purposes.clone()
            } else {
                self.principal.purposes.clone()
            },
        };
        self.check_within(becomes, &most, GRANTER)
    }

    /// Nobody gives or takes a role that allows more than their own, or than their key's.
    fn check_role(&self, granted: Role) -> Result<(), AccessError> {
        let key_role = self.principal.scope.role().unwrap_or(self.principal.role);
        for granting in [self.principal.role, key_role] {
            if !self.contains(granting, granted) {
                return Err(AccessError::WiderThanGranter { granting, granted });
            }
        }
        Ok(())
    }
}
