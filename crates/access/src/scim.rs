//! What providers push (SCIM 2.0): which accounts there are, whether they are active, and in which groups. What follows from it is worked
//! out in `sign_in/standing.rs`, at once and without waiting for a sign-in; here it is checked and kept.

use std::collections::BTreeSet;

use data_encoding::HEXLOWER;
use store::{ScimAccount, ScimColumn, ScimGroup, ScimQuery, ScimRecord, ScimResource, Store};
use types::OutOfRange;

use crate::{
    Access, AccessError, Authorized, ProvisionUsers, access::carried_through, clock::now_s,
    key_values::check_name, sign_in::SignIn,
};

/// Longest text of an account or a group, in bytes.
const TEXT_BYTES_MAX: usize = 255;
/// Most members of a group.
pub const SCIM_MEMBERS_MAX: usize = 10_000;
/// Random bytes of an id.
const ID_BYTES: usize = 16;
/// Clocks differ: what a provider said until so many seconds after an account was gone may have been said before.
const CLOCKS_S: u64 = 60;

/// What has been pushed, with ids and names of what it is in (of an account) or of what is in it (of a group).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScimView<T> {
    /// Itself.
    pub record: ScimRecord<T>,
    /// The groups, or the members.
    pub related: Vec<(String, String)>,
}

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
    /// A change that makes no sense: its kind (RFC 7644, section 3.12), and why.
    #[error("{1}")]
    BadChange(&'static str, String),
}

impl From<OutOfRange> for ScimError {
    fn from(error: OutOfRange) -> Self {
        AccessError::from(error).into()
    }
}

impl From<store::StoreError> for ScimError {
    fn from(error: store::StoreError) -> Self {
        AccessError::from(error).into()
    }
}

/// What can be pushed: a [`ScimAccount`] or a [`ScimGroup`].
pub trait Pushed: ScimResource + Clone {
    /// Whether it is what it must be.
    fn check(&self) -> Result<(), ScimError>;
    /// The subject of the account that it is, if it is one.
    fn subject(&self) -> Option<&str>;
    /// Whether that is to be out, whatever else is said.
    fn is_out(&self) -> bool;
}

impl Pushed for ScimAccount {
    fn check(&self) -> Result<(), ScimError> {
        check_text("externalId", &self.subject, 1)?;
        check_text("userName", &self.user_name, 1)?;
        check_text("displayName", &self.display_name, 0)
    }

    fn subject(&self) -> Option<&str> {
        Some(&self.subject)
    }

    fn is_out(&self) -> bool {
        !self.active
    }
}

impl Pushed for ScimGroup {
    fn check(&self) -> Result<(), ScimError> {
        check_text("displayName", &self.name, 1)?;
        check_text("externalId", &self.external_id, 0)?;
        if self.members.len() > SCIM_MEMBERS_MAX {
            return Err(OutOfRange::new("members", "too many", format!("at most {SCIM_MEMBERS_MAX}")).into());
        }
        Ok(())
    }

    fn subject(&self) -> Option<&str> {
        None
    }

    fn is_out(&self) -> bool {
        false
    }
}

impl Access {
    /// What a provider has pushed.
    pub async fn list_scim<T: Pushed>(
        &self,
        _by: &Authorized<ProvisionUsers>,
        provider: &str,
        wanted: ScimWanted,
    ) -> Result<ScimPage<T>, ScimError> {
        let ScimWanted { filter, skip, count } = wanted;
        let query = ScimQuery { issuer: self.issuer(provider)?, filter, skip, count };
        let store = self.keyring.store();
        let (total, records) = store.list_scim(&query).await?;
        let mut rows = Vec::with_capacity(records.len());
        for record in records {
            rows.push(with_related(store, record).await?);
        }
        Ok(ScimPage { total, rows })
    }

    /// One of them.
    pub async fn scim<T: Pushed>(
        &self,
        _by: &Authorized<ProvisionUsers>,
        provider: &str,
        id: &str,
    ) -> Result<ScimView<T>, ScimError> {
        found(self.keyring.store(), &self.issuer(provider)?, id).await
    }

    /// Takes in a new one. What follows from it holds when this returns.
    pub async fn add_scim<T: Pushed>(
        &self,
        _by: &Authorized<ProvisionUsers>,
        provider: &str,
        said: T,
    ) -> Result<ScimView<T>, ScimError> {
        let (sign_in, issuer) = (self.sign_in().clone(), self.issuer(provider)?);
        said.check()?;
        carried_through(async move {
            let _provisioning = sign_in.provisioning().await;
            let now = now_s();
            put(&sign_in, ScimRecord { id: random_id()?, issuer, said, created_at: now, changed_at: now })
                .await
        })
        .await
    }

    /// Changes one, as it is at that moment: what is said of it elsewhere meanwhile comes before or after. What follows from it holds when
    /// this returns.
    pub async fn change_scim<T: Pushed>(
        &self,
        _by: &Authorized<ProvisionUsers>,
        provider: &str,
        id: &str,
        change: impl FnOnce(T) -> Result<T, ScimError> + Send + 'static,
    ) -> Result<ScimView<T>, ScimError> {
        let (sign_in, issuer, id) = (self.sign_in().clone(), self.issuer(provider)?, id.to_owned());
        carried_through(async move {
            let _provisioning = sign_in.provisioning().await;
            let before = found::<T>(sign_in.store(), &issuer, &id).await?.record;
            let said = change(before.said.clone())?;
            said.check()?;
            if let Some(subject) = before.said.subject().filter(|_| said.is_out()) {
                sign_in.shut_out(&(issuer, subject.to_owned()))?;
            }
            put(&sign_in, ScimRecord { said, changed_at: now_s(), ..before }).await
        })
        .await
    }

    /// Forgets one. Of an account, whoever used it is out.
    pub async fn delete_scim<T: Pushed>(
        &self,
        _by: &Authorized<ProvisionUsers>,
        provider: &str,
        id: &str,
    ) -> Result<(), ScimError> {
        let (sign_in, issuer, id) = (self.sign_in().clone(), self.issuer(provider)?, id.to_owned());
        carried_through(async move {
            let _provisioning = sign_in.provisioning().await;
            let before = found::<T>(sign_in.store(), &issuer, &id).await?.record;
            if let Some(subject) = before.said.subject() {
                sign_in.shut_out(&(issuer.clone(), subject.to_owned()))?;
            }
            let subjects = sign_in.store().delete_scim::<T>(&issuer, &id, now_s() + CLOCKS_S).await?;
            place(&sign_in, &issuer, subjects).await.map(drop)
        })
        .await
    }

    fn issuer(&self, provider: &str) -> Result<String, ScimError> {
        self.sign_in().issuer_named(provider).map(str::to_owned).ok_or(ScimError::Unknown("provider"))
    }
}

/// Keeps what is said, and does what follows. A crash between the two leaves the second to the start. Who is shut out stays so also if the
/// store fails.
async fn put<T: Pushed>(sign_in: &SignIn, record: ScimRecord<T>) -> Result<ScimView<T>, ScimError> {
    let (issuer, id) = (record.issuer.clone(), record.id.clone());
    let subject = record.said.subject().map(str::to_owned);
    let stored = sign_in.store().put_scim(record, now_s() + CLOCKS_S).await?;
    let is_taken = stored.is_none();
    let names_taken =
        place(sign_in, &issuer, stored.unwrap_or_else(|| subject.clone().into_iter().collect())).await?;
    match (is_taken, subject, names_taken.into_iter().next()) {
        (true, ..) => Err(ScimError::Taken),
        // Of a group, the others are let in all the same.
        (_, Some(_), Some(name)) => Err(AccessError::NameTaken(name).into()),
        _ => found(sign_in.store(), &issuer, &id).await,
    }
}

async fn place(sign_in: &SignIn, issuer: &str, subjects: BTreeSet<String>) -> Result<Vec<String>, ScimError> {
    let accounts: Vec<_> = subjects.into_iter().map(|subject| (issuer.to_owned(), subject)).collect();
    Ok(sign_in.place(Some(&accounts)).await?)
}

async fn found<T: Pushed>(store: &Store, issuer: &str, id: &str) -> Result<ScimView<T>, ScimError> {
    let record = store.scim(issuer, id).await?.ok_or(ScimError::Unknown(T::NAME))?;
    with_related(store, record).await
}

async fn with_related<T: Pushed>(store: &Store, record: ScimRecord<T>) -> Result<ScimView<T>, ScimError> {
    let related = store.scim_related::<T>(&record.id).await?;
    Ok(ScimView { record: ScimRecord { said: record.said.with_related(&related), ..record }, related })
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
