//! What whoever gives rights may give: no more than they have.

use std::sync::Arc;

use store::Rights;
use types::{Principal, Role};

use crate::{AccessError, NewKey, policy::Policies};

/// Somebody who gives rights to others, or takes them.
pub(crate) struct Granter {
    principal: Principal,
    policies: Arc<Policies>,
}

impl Granter {
    pub(crate) fn new(principal: Principal, policies: Arc<Policies>) -> Self {
        Self { principal, policies }
    }

    /// Whether one role allows all that another one does.
    pub(crate) fn contains(&self, wide: Role, narrow: Role) -> bool {
        self.policies.actions_of(narrow).is_subset(self.policies.actions_of(wide))
    }

    /// A key gives no more than its owner has; and a new user, whose rights are those of their first key, has no more than
    /// whoever makes it.
    pub(crate) fn check_key(&self, new: &NewKey, owner: Option<Rights>) -> Result<(), AccessError> {
        let Principal { role, class_max, data_class_max, .. } = self.principal;
        self.check_role(owner.map_or(new.role, |owner| owner.role))?;
        let most = owner.unwrap_or(Rights { role, class_max, data_class_max });
        let wider = |parameter, asked, max| Err(AccessError::WiderThanOwner { parameter, asked, max });
        if !self.contains(most.role, new.role) {
            return wider("role", new.role.as_str(), most.role.as_str());
        }
        if new.class_max > most.class_max {
            return wider("class_max", new.class_max.as_str(), most.class_max.as_str());
        }
        if new.data_class_max > most.data_class_max {
            return wider("data_class_max", new.data_class_max.as_str(), most.data_class_max.as_str());
        }
        Ok(())
    }

    /// Who changes somebody has all that they had and will have; what they had more before may stay.
    pub(crate) fn check_change(&self, was: Rights, becomes: Rights) -> Result<(), AccessError> {
        self.check_role(was.role)?;
        self.check_role(becomes.role)?;
        let wider = |parameter, asked, max| Err(AccessError::WiderThanOwner { parameter, asked, max });
        if becomes.class_max > was.class_max.max(self.principal.class_max) {
            return wider("class_max", becomes.class_max.as_str(), self.principal.class_max.as_str());
        }
        if becomes.data_class_max > was.data_class_max.max(self.principal.data_class_max) {
            let max = self.principal.data_class_max.as_str();
            return wider("data_class_max", becomes.data_class_max.as_str(), max);
        }
        Ok(())
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
