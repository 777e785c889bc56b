//! What providers push (SCIM 2.0): which accounts there are, whether they are active, and in which groups. What an account may do
//! here follows from its groups by the same table as at a sign-in, at once, and without waiting for one.

use data_encoding::HEXLOWER;
use identity::Claimed;
use store::{ScimAccountRecord, ScimColumn, ScimGroupRecord, ScimQuery, Store};
use types::OutOfRange;

use crate::{
    Access, AccessError, Authorized, ProvisionUsers, access::carried_through, clock::now_s,
    key_values::check_name, sign_in::SignIn,
};

/// Longest text of an account or a group, in bytes.
const TEXT_BYTES_MAX: usize = 255;
/// Most members of a group in one request.
pub const SCIM_MEMBERS_MAX: usize = 10_000;
/// Random bytes of an id.
const ID_BYTES: usize = 16;

/// What is said of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimAccount {
    /// The account's subject at the provider: `externalId`.
    pub subject: String,
    /// What it is called there.
    pub user_name: String,
    /// For people.
    pub display_name: String,
    /// Whether it may be used.
    pub active: bool,
}

/// What is said of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimGroup {
    /// What it is called: what `[[role_mapping]]` names.
    pub name: String,
    /// What the provider knows it by.
    pub external_id: String,
}

/// A row of a list: an account or a group, with ids and names of what it is in, or what is in it.
pub type ScimView<T> = (T, Vec<(String, String)>);

/// A part of a list.
pub struct ScimPage<T> {
    /// How many there are in all.
    pub total: u64,
    /// Some of them, by id.
    pub rows: Vec<ScimView<T>>,
}

/// Which rows are wanted.
#[derive(Debug, Clone, Default)]
pub struct ScimWanted {
    /// What they are to be.
    pub filter: Option<(ScimColumn, String)>,
    /// How many are passed over.
    pub skip: u64,
    /// How many are wanted.
    pub count: u64,
}

/// Why something that was pushed is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ScimError {
    /// As with any other request.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// There is no such provider, account or group.
    #[error("there is no such {0} here")]
    Unknown(&'static str),
    /// Another one has its name.
    #[error("there is another one with this name or external id")]
    Taken,
}

impl From<OutOfRange> for ScimError {
    fn from(error: OutOfRange) -> Self {
        AccessError::from(error).into()
    }
}

impl Access {
    /// Accounts of a provider.
    pub async fn scim_accounts(
        &self,
        _by: &Authorized<ProvisionUsers>,
        provider: &str,
        wanted: ScimWanted,
    ) -> Result<ScimPage<ScimAccountRecord>, ScimError> {
        let (store, query) = (self.keyring.store(), self.query(provider, wanted)?);
        let (total, records) = store.scim_accounts(&query).await.map_err(AccessError::from)?;
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let groups = store.scim_groups_of(&record.id).await.map_err(AccessError::from)?;
            rows.push((record, groups));
        }
        Ok(ScimPage { total, rows })
    }

    /// Groups of a provider.
    pub async fn scim_groups(
        &self,
        _by: &Authorized<ProvisionUsers>,
        provider: &str,
        wanted: ScimWanted,
    ) -> Result<ScimPage<ScimGroupRecord>, ScimError> {
        let (store, query) = (self.keyring.store(), self.query(provider, wanted)?);
        let (total, records) = store.scim_groups(&query).await.map_err(AccessError::from)?;
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            let members = store.scim_members(&record.id).await.map_err(AccessError::from)?;
            rows.push((record, members));
        }
        Ok(ScimPage { total, rows })
    }

    fn query(&self, provider: &str, wanted: ScimWanted) -> Result<ScimQuery, ScimError> {
        let ScimWanted { filter, skip, count } = wanted;
        Ok(ScimQuery { issuer: self.issuer(provider)?, filter, skip, count })
    }

    fn issuer(&self, provider: &str) -> Result<String, ScimError> {
        self.sign_in().issuer_named(provider).map(str::to_owned).ok_or(ScimError::Unknown("provider"))
    }

    /// One account.
    pub async fn scim_account(
        &self,
        _by: &Authorized<ProvisionUsers>,
        provider: &str,
        id: &str,
    ) -> Result<ScimView<ScimAccountRecord>, ScimError> {
        account(self.keyring.store(), &self.issuer(provider)?, id).await
    }

    /// One group.
    pub async fn scim_group(
        &self,
        _by: &Authorized<ProvisionUsers>,
        provider: &str,
        id: &str,
    ) -> Result<ScimView<ScimGroupRecord>, ScimError> {
        group(self.keyring.store(), &self.issuer(provider)?, id).await
    }

    /// Takes in what is said of an account: of a new one, if there is no id. What follows from it holds when this returns.
    pub async fn put_scim_account(
        &self,
        _by: &Authorized<ProvisionUsers>,
        provider: &str,
        id: Option<&str>,
        said: ScimAccount,
    ) -> Result<ScimView<ScimAccountRecord>, ScimError> {
        for (name, text) in [("externalId", &said.subject), ("userName", &said.user_name)] {
            check_text(name, text, 1)?;
        }
        check_text("displayName", &said.display_name, 0)?;
        let (issuer, provider, id) = (self.issuer(provider)?, provider.to_owned(), id.map(str::to_owned));
        let sign_in = self.sign_in().clone();
        through(async move {
            let _changing = sign_in.provisioning().await;
            let store = sign_in.store();
            let before = match &id {
                Some(id) => Some(account(store, &issuer, id).await?.0),
                None => None,
            };
            let now = now_s();
            let record = ScimAccountRecord {
                id: before.as_ref().map_or_else(random_id, |before| Ok(before.id.clone()))?,
                issuer: issuer.clone(),
                subject: said.subject,
                user_name: said.user_name,
                display_name: said.display_name,
                active: said.active,
                allowed: before.as_ref().is_some_and(|before| before.allowed),
                created_at: before.as_ref().map_or(now, |before| before.created_at),
                changed_at: now,
            };
            if !store.put_scim_account(record.clone()).await.map_err(AccessError::from)? {
                return Err(ScimError::Taken);
            }
            // Another subject is another account: what the one before had is not its.
            if let Some(before) = before.filter(|before| before.subject != record.subject) {
                sign_in.shut_out(&(issuer.clone(), before.subject)).await?;
            }
            apply(&sign_in, &provider, &record).await?;
            account(sign_in.store(), &issuer, &record.id).await
        })
        .await
    }

    /// Forgets an account: whoever used it is out.
    pub async fn delete_scim_account(
        &self,
        _by: &Authorized<ProvisionUsers>,
        provider: &str,
        id: &str,
    ) -> Result<(), ScimError> {
        let (issuer, id, sign_in) = (self.issuer(provider)?, id.to_owned(), self.sign_in().clone());
        through(async move {
            let _changing = sign_in.provisioning().await;
            let (record, _) = account(sign_in.store(), &issuer, &id).await?;
            // Out first: if the store fails then, it can be asked again.
            sign_in.shut_out(&(issuer.clone(), record.subject)).await?;
            sign_in.store().delete_scim_account(&issuer, &id).await.map_err(AccessError::from)?;
            Ok(())
        })
        .await
    }

    /// Takes in what is said of a group: of a new one, if there is no id; its members stay if none are given. What follows for those
    /// who are in it, or were, holds when this returns.
    pub async fn put_scim_group(
        &self,
        _by: &Authorized<ProvisionUsers>,
        provider: &str,
        id: Option<&str>,
        said: ScimGroup,
        members: Option<Vec<String>>,
    ) -> Result<ScimView<ScimGroupRecord>, ScimError> {
        check_text("displayName", &said.name, 1)?;
        check_text("externalId", &said.external_id, 0)?;
        if members.as_ref().is_some_and(|members| members.len() > SCIM_MEMBERS_MAX) {
            return Err(OutOfRange::new("members", "too many", format!("at most {SCIM_MEMBERS_MAX}")).into());
        }
        let (issuer, provider, id) = (self.issuer(provider)?, provider.to_owned(), id.map(str::to_owned));
        let sign_in = self.sign_in().clone();
        through(async move {
            let _changing = sign_in.provisioning().await;
            let store = sign_in.store();
            let before = match &id {
                Some(id) => Some(group(store, &issuer, id).await?),
                None => None,
            };
            let now = now_s();
            let record = ScimGroupRecord {
                id: before.as_ref().map_or_else(random_id, |(before, _)| Ok(before.id.clone()))?,
                issuer: issuer.clone(),
                name: said.name,
                external_id: said.external_id,
                created_at: before.as_ref().map_or(now, |(before, _)| before.created_at),
                changed_at: now,
            };
            let id = record.id.clone();
            if !store.put_scim_group(record, members).await.map_err(AccessError::from)? {
                return Err(ScimError::Taken);
            }
            let (record, members) = group(store, &issuer, &id).await?;
            let were = before.map_or_else(Vec::new, |(_, members)| members);
            apply_all(&sign_in, &provider, &issuer, were.into_iter().chain(members.clone())).await?;
            Ok((record, members))
        })
        .await
    }

    /// Forgets a group.
    pub async fn delete_scim_group(
        &self,
        _by: &Authorized<ProvisionUsers>,
        provider: &str,
        id: &str,
    ) -> Result<(), ScimError> {
        let (issuer, provider, id) = (self.issuer(provider)?, provider.to_owned(), id.to_owned());
        let sign_in = self.sign_in().clone();
        through(async move {
            let _changing = sign_in.provisioning().await;
            let (_, members) = group(sign_in.store(), &issuer, &id).await?;
            sign_in.store().delete_scim_group(&issuer, &id).await.map_err(AccessError::from)?;
            apply_all(&sign_in, &provider, &issuer, members.into_iter()).await
        })
        .await
    }
}

/// Ends a change also when whoever asked for it goes away.
async fn through<T: Send + 'static>(
    change: impl Future<Output = Result<T, ScimError>> + Send + 'static,
) -> Result<T, ScimError> {
    carried_through(async move { Ok(change.await) }).await?
}

async fn account(store: &Store, issuer: &str, id: &str) -> Result<ScimView<ScimAccountRecord>, ScimError> {
    let record = store.scim_account(issuer, id).await.map_err(AccessError::from)?;
    let record = record.ok_or(ScimError::Unknown("user"))?;
    let groups = store.scim_groups_of(&record.id).await.map_err(AccessError::from)?;
    Ok((record, groups))
}

async fn group(store: &Store, issuer: &str, id: &str) -> Result<ScimView<ScimGroupRecord>, ScimError> {
    let record = store.scim_group(issuer, id).await.map_err(AccessError::from)?;
    let record = record.ok_or(ScimError::Unknown("group"))?;
    let members = store.scim_members(&record.id).await.map_err(AccessError::from)?;
    Ok((record, members))
}

async fn apply_all(
    sign_in: &SignIn,
    provider: &str,
    issuer: &str,
    accounts: impl Iterator<Item = (String, String)>,
) -> Result<(), ScimError> {
    let ids: std::collections::BTreeSet<String> = accounts.map(|(id, _)| id).collect();
    for id in ids {
        let record = sign_in.store().scim_account(issuer, &id).await.map_err(AccessError::from)?;
        if let Some(record) = record {
            apply(sign_in, provider, &record).await?;
        }
    }
    Ok(())
}

/// Gives an account what its groups are worth now, or shuts it out.
async fn apply(sign_in: &SignIn, provider: &str, record: &ScimAccountRecord) -> Result<(), ScimError> {
    let groups = sign_in.store().scim_groups_of(&record.id).await.map_err(AccessError::from)?;
    let claimed = Claimed {
        provider: provider.to_owned(),
        issuer: record.issuer.clone(),
        subject: record.subject.clone(),
        groups: groups.into_iter().map(|(_, name)| name).collect(),
        session: None,
        proved_at: None,
        issued_at: now_s(),
        expires_at: 0,
        scope: Vec::new(),
    };
    let mapped = sign_in.mapped(&claimed).filter(|_| record.active);
    let account = (record.issuer.clone(), record.subject.clone());
    let allowed = mapped.is_some();
    match mapped {
        Some(mapped) => {
            // Whoever was suspended by hand stays so; whoever was shut out from here is let in again.
            if !record.allowed {
                sign_in.let_in(&account).await?;
            }
            match sign_in.take_in(mapped.identity(&claimed, now_s())).await {
                // Suspended by hand.
                Ok(()) | Err(AccessError::Unauthenticated) => {}
                Err(error) => return Err(error.into()),
            }
        }
        None => sign_in.shut_out(&account).await?,
    }
    if allowed != record.allowed {
        let record = ScimAccountRecord { allowed, ..record.clone() };
        sign_in.store().put_scim_account(record).await.map_err(AccessError::from)?;
    }
    Ok(())
}

fn check_text(parameter: &'static str, text: &str, least: usize) -> Result<(), ScimError> {
    if least == 0 && text.is_empty() {
        return Ok(());
    }
    if text.len() > TEXT_BYTES_MAX {
        let value = format!("{} bytes long", text.len());
        return Err(OutOfRange::new(parameter, value, format!("at most {TEXT_BYTES_MAX} bytes")).into());
    }
    // What does not print as what it is could look like somebody else.
    let shown: String = text.chars().take(crate::NAME_BYTES_MAX / 4).collect();
    check_name(parameter, shown.trim_end())?;
    if text.chars().any(char::is_control) {
        return Err(
            OutOfRange::new(parameter, "a text with control characters", "printable characters").into()
        );
    }
    Ok(())
}

fn random_id() -> Result<String, ScimError> {
    let mut bytes = [0; ID_BYTES];
    getrandom::fill(&mut bytes).map_err(|error| AccessError::Unavailable(error.to_string()))?;
    Ok(HEXLOWER.encode(&bytes))
}
