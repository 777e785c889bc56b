//! What is used is written down, each request once.

use std::sync::Arc;

use audit::{Audit, Charged};
use store::{NewUsage, Store};
use types::{ModelName, Principal, TenantId, Tokens, UserId};

use crate::{OpenError, clock::today, keyring::Keyring, quota::Price};

/// Where what somebody uses is written down.
pub struct Book {
    pub(crate) keyring: Arc<Keyring>,
    pub(crate) principal: Principal,
    pub(crate) price: Price,
}

impl Book {
    /// What so many tokens cost, in billionths of the currency.
    pub fn spend(&self, input: Tokens, output: Tokens) -> u64 {
        self.price.of(input, output)
    }

    /// A request was recorded, and nobody pays for it.
    pub fn note_unpaid(&self) {
        self.keyring.unpaid.fail(&self.principal);
    }

    /// Counts a request. Nobody waits for the disk.
    /// `begun` is the index of its beginning in the audit log.
    pub fn note(&self, begun: Option<u64>, model: &ModelName, input: Tokens, output: Tokens) {
        self.keyring.note_usage(NewUsage {
            begun,
            day: today(),
            tenant: self.principal.tenant,
            user: self.principal.user,
            team: self.principal.team.clone(),
            key: self.principal.key.clone(),
            model: model.to_string(),
            input_tokens: input.0.into(),
            output_tokens: output.0.into(),
            spend: self.price.of(input, output),
        });
    }
}

/// What the last server had recorded but not counted when it died is counted now: each request once. From here on it is written down
/// which are.
pub(crate) async fn count_what_is_missing(store: &Store, audit: &Arc<Audit>) -> Result<(), OpenError> {
    let (mut low, counted) = store.counted().await?;
    let size = audit.log().size();
    if low > size {
        tracing::warn!(
            "the audit log is an older or another one than before: what it has is taken for counted"
        );
        store.reset_counted(size).await?;
        low = size;
    }
    store.count_by(audit.log().lowest_open());
    let missing = audit.charged(low, counted).await?;
    for charged in &missing {
        let Charged { begun, day, who, model, used } = charged;
        store.add_usage(NewUsage {
            begun: Some(*begun),
            day: *day,
            tenant: TenantId(who.tenant),
            user: UserId(who.user),
            team: who.team.as_deref().map(Into::into),
            key: who.key.as_deref().map(Into::into),
            model: model.clone(),
            input_tokens: used.input_tokens,
            output_tokens: used.output_tokens,
            spend: used.spend,
        });
    }
    if !missing.is_empty() {
        tracing::warn!(requests = missing.len(), "counted what was used just before the last server died");
    }
    Ok(())
}
