//! Accounts at identity providers: what was said of them, and who they are here.

use std::collections::BTreeMap;

use sqlx::{AnyConnection, AssertSqlSafe, FromRow, any::AnyRow, query, query_as, query_scalar};
use types::UserId;

use crate::{
    Rights, Store, StoreError, UserRecord,
    database::column_of,
    keys::{purposes_column, user_by_id},
};

/// An account at a provider, with all that was said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccountRecord {
    /// The provider's issuer.
    pub issuer: String,
    /// The account there.
    pub subject: String,
    /// Whether it may be used, of an account that its provider has pushed.
    pub pushed: Option<bool>,
    /// The groups that it is in: as they were pushed, of an account that was pushed, and otherwise as they were said last.
    pub groups: Vec<String>,
    /// When its groups were said last: seconds since 1970.
    pub as_of: u64,
    /// Who it is here, in one tenant or several.
    pub users: Vec<UserId>,
}

/// A place for an account: who it is here, with which rights.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The provider's issuer.
    pub issuer: String,
    /// The account there.
    pub subject: String,
    /// Name of the tenant; made if new.
    pub tenant: String,
    /// Name of the user, if the account is new in this tenant.
    pub user: String,
    /// Whether they are a service account.
    pub is_service: bool,
    /// What they may do.
    pub rights: Rights,
    /// Their team.
    pub team: Option<String>,
}

impl Store {
    /// All accounts.
    pub async fn accounts(&self) -> Result<Vec<AccountRecord>, StoreError> {
        self.read_accounts(None).await
    }

    /// One account, also if nothing is known of it.
    pub async fn account(&self, issuer: &str, subject: &str) -> Result<AccountRecord, StoreError> {
        let found = self.read_accounts(Some((issuer, subject))).await?.pop();
        Ok(found.unwrap_or_else(|| AccountRecord::new(issuer.to_owned(), subject.to_owned())))
    }

    async fn read_accounts(&self, of: Option<(&str, &str)>) -> Result<Vec<AccountRecord>, StoreError> {
        let mut all = BTreeMap::<(String, String), AccountRecord>::new();
        let mut of_row = |issuer: String, subject: String, change: &dyn Fn(&mut AccountRecord)| {
            let key = (issuer.clone(), subject.clone());
            change(all.entry(key).or_insert_with(|| AccountRecord::new(issuer, subject)));
        };
        for (issuer, subject, as_of) in self.read::<i64>("a.as_of FROM said a", of).await? {
            of_row(issuer, subject, &|account| account.as_of = as_of.cast_unsigned());
        }
        for (issuer, subject, group) in self.read::<String>("a.name FROM said_group a", of).await? {
            of_row(issuer, subject, &|account| account.groups.push(group.clone()));
        }
        for (issuer, subject, active) in self.read::<i64>("a.active FROM scim_account a", of).await? {
            of_row(issuer, subject, &|account| {
                account.pushed = Some(active == 1);
                account.groups.clear();
            });
        }
        let pushed = "g.name FROM scim_account a JOIN scim_member m ON m.account = a.id JOIN scim_group g ON g.id = m.in_group";
        for (issuer, subject, group) in self.read::<String>(pushed, of).await? {
            of_row(issuer, subject, &|account| account.groups.push(group.clone()));
        }
        for (issuer, subject, user) in self.read::<i64>("a.\"user\" FROM identity a", of).await? {
            of_row(issuer, subject, &|account| account.users.push(UserId(user.cast_unsigned())));
        }
        Ok(all.into_values().collect())
    }

    /// Issuer, subject, and something else of accounts.
    async fn read<T>(
        &self,
        what: &'static str,
        of: Option<(&str, &str)>,
    ) -> Result<Vec<(String, String, T)>, StoreError>
    where
        (String, String, T): for<'r> FromRow<'r, AnyRow> + Send + Unpin,
    {
        // Words of ours; values are bound.
        let condition = if of.is_some() { " WHERE a.issuer = $1 AND a.subject = $2" } else { "" };
        let sql = format!("SELECT a.issuer, a.subject, {what}{condition}");
        let asked = query_as(AssertSqlSafe(sql));
        let asked = match of {
            Some((issuer, subject)) => asked.bind(issuer).bind(subject),
            None => asked,
        };
        asked.fetch_all(self.readers()).await.map_err(|error| self.failed(error))
    }

    /// Takes note of the groups that a provider says now that an account is in. What it said before counts no more; and if it has said
    /// something later already, this does not count, and false is returned. On the disk when this returns.
    pub async fn put_said(
        &self,
        issuer: &str,
        subject: &str,
        groups: Vec<String>,
        as_of: u64,
    ) -> Result<bool, StoreError> {
        let (issuer, subject) = (issuer.to_owned(), subject.to_owned());
        self.write(move |connection| {
            Box::pin(async move { say(connection, &issuer, &subject, &groups, as_of).await })
        })
        .await
    }

    /// Gives accounts their places: makes tenants, users and accounts where they are new, and gives the users these rights. Of each the
    /// user; none if the name belongs to a user who is somebody else. On the disk when this returns.
    pub async fn place(&self, placements: Vec<Placement>) -> Result<Vec<Option<UserRecord>>, StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                let mut placed = Vec::with_capacity(placements.len());
                for placement in placements {
                    placed.push(place(connection, placement).await?);
                }
                Ok(placed)
            })
        })
        .await
    }
}

impl AccountRecord {
    fn new(issuer: String, subject: String) -> Self {
        Self { issuer, subject, pushed: None, groups: Vec::new(), as_of: 0, users: Vec::new() }
    }
}

/// See [`Store::put_said`].
pub(crate) async fn say(
    connection: &mut AnyConnection,
    issuer: &str,
    subject: &str,
    groups: &[String],
    as_of: u64,
) -> sqlx::Result<bool> {
    let said = query(
        "INSERT INTO said (issuer, subject, as_of) VALUES ($1, $2, $3) ON CONFLICT (issuer, subject) DO UPDATE SET as_of = \
         excluded.as_of WHERE said.as_of <= excluded.as_of",
    )
    .bind(issuer)
    .bind(subject)
    .bind(column_of(as_of))
    .execute(&mut *connection)
    .await?;
    if said.rows_affected() == 0 {
        return Ok(false);
    }
    query("DELETE FROM said_group WHERE issuer = $1 AND subject = $2")
        .bind(issuer)
        .bind(subject)
        .execute(&mut *connection)
        .await?;
    for group in groups {
        query("INSERT INTO said_group (issuer, subject, name) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING")
            .bind(issuer)
            .bind(subject)
            .bind(group)
            .execute(&mut *connection)
            .await?;
    }
    Ok(true)
}

async fn place(connection: &mut AnyConnection, new: Placement) -> sqlx::Result<Option<UserRecord>> {
    query("INSERT INTO tenant (name) VALUES ($1) ON CONFLICT DO NOTHING")
        .bind(&new.tenant)
        .execute(&mut *connection)
        .await?;
    let tenant: i64 = query_scalar("SELECT id FROM tenant WHERE name = $1")
        .bind(&new.tenant)
        .fetch_one(&mut *connection)
        .await?;
    let known: Option<i64> =
        query_scalar("SELECT \"user\" FROM identity WHERE issuer = $1 AND subject = $2 AND tenant = $3")
            .bind(&new.issuer)
            .bind(&new.subject)
            .bind(tenant)
            .fetch_optional(&mut *connection)
            .await?;
    let Rights { role, class_max, data_class_max, purposes } = new.rights;
    let (role, class_max, data_class_max) = (role.as_str(), class_max.as_str(), data_class_max.as_str());
    let purposes = purposes_column(&purposes);
    let user = if let Some(user) = known {
        query(
            "UPDATE \"user\" SET role = $1, class_max = $2, data_class_max = $3, purposes = $4, team = $5, is_service = $6 \
             WHERE id = $7",
        )
        .bind(role)
        .bind(class_max)
        .bind(data_class_max)
        .bind(purposes)
        .bind(new.team)
        .bind(i64::from(new.is_service))
        .bind(user)
        .execute(&mut *connection)
        .await?;
        user
    } else {
        let made = query(
            "INSERT INTO \"user\" (tenant, name, role, class_max, data_class_max, purposes, team, is_service) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
        )
        .bind(tenant)
        .bind(&new.user)
        .bind(role)
        .bind(class_max)
        .bind(data_class_max)
        .bind(purposes)
        .bind(new.team)
        .bind(i64::from(new.is_service))
        .execute(&mut *connection)
        .await?;
        if made.rows_affected() == 0 {
            return Ok(None);
        }
        let user: i64 = query_scalar("SELECT id FROM \"user\" WHERE tenant = $1 AND name = $2")
            .bind(tenant)
            .bind(&new.user)
            .fetch_one(&mut *connection)
            .await?;
        query("INSERT INTO identity (issuer, subject, tenant, \"user\") VALUES ($1, $2, $3, $4)")
            .bind(&new.issuer)
            .bind(&new.subject)
            .bind(tenant)
            .bind(user)
            .execute(&mut *connection)
            .await?;
        user
    };
    user_by_id(connection, tenant, user).await
}

#[cfg(test)]
mod tests {
    use types::{DataClass, PriorityClass, Purposes, Role};

    use super::*;

    fn placement(subject: &str, user: &str, role: Role) -> Placement {
        Placement {
            issuer: "https://provider.test".to_owned(),
            subject: subject.to_owned(),
            tenant: "clinic".to_owned(),
            user: user.to_owned(),
            is_service: false,
            rights: Rights {
                role,
                class_max: PriorityClass::Normal,
                data_class_max: DataClass::Internal,
                purposes: Purposes::any(),
            },
            team: Some("ward 3".to_owned()),
        }
    }

    #[tokio::test]
    async fn an_account_is_a_user_and_never_somebody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).await.unwrap();
        let ann = placement("1", "corp:ann", Role::Member);
        let again = Placement { is_service: true, ..placement("1", "corp:other name", Role::Analyst) };
        let other = placement("2", "corp:ann", Role::Owner);
        let placed = store.place(vec![ann, again, other]).await.unwrap();
        let [Some(ann), Some(again), None] = &placed[..] else { panic!("{placed:?}") };
        assert_eq!(
            (again.user_id, again.user.as_str(), again.state.rights.role),
            (ann.user_id, "corp:ann", Role::Analyst)
        );
        assert_eq!(
            (ann.is_service, again.is_service, again.state.team.as_deref()),
            (false, true, Some("ward 3"))
        );
        assert_eq!(store.accounts().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn what_was_said_last_counts() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).await.unwrap();
        let issuer = "https://provider.test";
        let unknown = store.account(issuer, "1").await.unwrap();
        assert_eq!((unknown.pushed, unknown.as_of, unknown.groups.len()), (None, 0, 0));
        for (groups, as_of, counts) in
            [(&["a", "b", "a"][..], 5, true), (&["c"], 4, false), (&["d"], 5, true), (&[], 9, true)]
        {
            let groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
            assert_eq!(store.put_said(issuer, "1", groups.clone(), as_of).await.unwrap(), counts);
            let found = store.account(issuer, "1").await.unwrap();
            if counts {
                assert_eq!(found.as_of, as_of);
                assert!(found.groups.iter().all(|group| groups.contains(group)), "{found:?}");
                assert_eq!(found.groups.len(), groups.len().min(2));
            }
        }
    }
}
