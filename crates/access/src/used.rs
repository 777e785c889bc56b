//! What was used, and what is left.

use std::collections::HashSet;

use store::UsageRecord;
use types::TenantId;

use crate::{
    Access, AccessError, Authorized, BudgetView, ReadUsage,
    access::LOCAL_TENANT,
    clock::today,
    keyring::LOCAL,
    quota::{Holds, Remains},
};

/// Most limits of which is shown what is left: those of which the least is left come first.
const BUDGETS_MAX: usize = 10_000;

impl Access {
    /// What was used in the last `days` days, today's included.
    pub async fn usage(
        &self,
        by: &Authorized<ReadUsage>,
        days: u64,
    ) -> Result<Vec<UsageRecord>, AccessError> {
        let today = today();
        let used = self.keyring.usage((today + 1).saturating_sub(days), today).await?;
        Ok(used.into_iter().filter(|used| self.covers(by, used.tenant_id)).collect())
    }

    /// What is left of the quotas of those who have used something: whoever has not is not there, and has all of it. Of very many those with
    /// the least left.
    pub fn budgets(&self, by: &Authorized<ReadUsage>) -> Result<Vec<BudgetView>, AccessError> {
        let tenants = self.keyring.tenant_names()?;
        let seen: HashSet<TenantId> =
            tenants.keys().copied().chain([LOCAL_TENANT]).filter(|tenant| self.covers(by, *tenant)).collect();
        let left = self.ledger.left(self.now(), BUDGETS_MAX, |tenant| seen.contains(&tenant));
        let view = |remains: Remains| {
            let Remains { tenant, whose, limit, most, left } = remains;
            let tenant = tenants.get(&tenant).map_or_else(|| LOCAL.to_owned(), ToString::to_string);
            let (mut team, mut user, mut key) = (None, None, None);
            match whose {
                Holds::Tenant => {}
                Holds::Team(name) => team = Some(name),
                Holds::User(id) => {
                    user = Some(
                        self.keyring
                            .names_of(id)?
                            .map_or_else(|| LOCAL.to_owned(), |names| names.1.to_string()),
                    );
                }
                Holds::Key(id) => key = Some(id),
            }
            Ok(BudgetView { tenant, team, user, key, limit, most, left })
        };
        left.into_iter().map(view).collect()
    }
}
