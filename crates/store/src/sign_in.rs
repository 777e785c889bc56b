//! Accounts at identity providers, sign-ins that are in force, and what users prove themselves with.

use sqlx::{AnyConnection, FromRow, Row, any::AnyRow, query, query_as, query_scalar};
use types::{TenantId, UserId};

use crate::{
    Rights, Store, StoreError, UserRecord,
    database::column_of,
    keys::{damaged, purposes_column, time, unsigned, user_by_id},
};

/// An account at a provider, and who it is here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityRecord {
    /// The provider's issuer.
    pub issuer: String,
    /// The account there.
    pub subject: String,
    /// The tenant here.
    pub tenant: TenantId,
    /// The user in it.
    pub user: UserId,
    /// When the provider said what they may do: seconds since 1970.
    pub as_of: u64,
}

/// Somebody who signs in with an account at a provider.
#[derive(Debug, Clone)]
pub struct NewIdentity {
    /// The provider's issuer.
    pub issuer: String,
    /// The account there.
    pub subject: String,
    /// Name of the tenant; made if new.
    pub tenant: String,
    /// Name of the user, if the account is new.
    pub user: String,
    /// Whether the user, if they are new, is a service account.
    pub is_service: bool,
    /// What they may do now.
    pub rights: Rights,
    /// Their team now.
    pub team: Option<String>,
    /// When the provider said it: seconds since 1970.
    pub as_of: u64,
}

/// A sign-in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionRecord {
    /// Public part of its secret; unique.
    pub id: String,
    /// Keyed hash of the secret.
    pub hash: [u8; 32],
    /// Whose it is.
    pub user: UserId,
    /// What it is used by.
    pub kind: String,
    /// How far it has come.
    pub stage: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// When it was last used: seconds since 1970, to the minute.
    pub seen_at: u64,
    /// When it ends at the latest: seconds since 1970.
    pub expires_at: u64,
    /// Names of the actions that it is for; empty: all.
    pub actions: Vec<String>,
    /// When somebody last proved that they are there themselves: seconds since 1970.
    pub present_at: Option<u64>,
    /// The provider's issuer and the account there, of a sign-in at one.
    pub account: Option<(String, String)>,
    /// The session there.
    pub issuer_session: Option<String>,
}

/// What a user can prove themselves with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactorRecord {
    /// Unique.
    pub id: String,
    /// Whose it is.
    pub user: UserId,
    /// What it is.
    pub kind: String,
    /// What its owner calls it.
    pub label: String,
    /// A public key, a sealed seed, or a keyed hash.
    pub data: Vec<u8>,
    /// Last step that was accepted, or when it was last used.
    pub used: Option<u64>,
    /// Seconds since 1970.
    pub created_at: u64,
}

impl Store {
    /// All accounts at providers.
    pub async fn identities(&self) -> Result<Vec<IdentityRecord>, StoreError> {
        query_as("SELECT issuer, subject, tenant, \"user\", as_of FROM identity")
            .fetch_all(self.readers())
            .await
            .map_err(|error| self.failed(error))
    }

    /// Takes note of somebody who signs in: makes the tenant, the user and the account where they are new, and gives the user these
    /// rights. None if the name belongs to a user who is somebody else. On the disk when this returns.
    pub async fn sign_in(&self, identity: NewIdentity) -> Result<Option<UserRecord>, StoreError> {
        self.write(|connection| Box::pin(sign_in(connection, identity))).await
    }

    /// All sign-ins that are kept.
    pub async fn sessions(&self) -> Result<Vec<SessionRecord>, StoreError> {
        query_as(
            "SELECT id, hash, \"user\", kind, stage, created_at, seen_at, expires_at, actions, present_at, issuer, \
             subject, issuer_session FROM login_session",
        )
        .fetch_all(self.readers())
        .await
        .map_err(|error| self.failed(error))
    }

    /// Adds a sign-in, or puts it in the place of the one of its id. On the disk when this returns.
    pub async fn put_session(&self, session: SessionRecord) -> Result<(), StoreError> {
        self.write(|connection| Box::pin(put_session(connection, session))).await
    }

    /// Takes note of when sign-ins were last used. Nobody waits for the disk.
    pub fn touch_sessions(&self, seen: Vec<(String, u64)>) {
        self.write_soon(|connection| {
            Box::pin(async move {
                for (id, at) in seen {
                    let sql = "UPDATE login_session SET seen_at = $1 WHERE id = $2";
                    query(sql).bind(column_of(at)).bind(id).execute(&mut *connection).await?;
                }
                Ok(())
            })
        });
    }

    /// Deletes sign-ins. On the disk when this returns.
    pub async fn delete_sessions(&self, ids: Vec<String>) -> Result<(), StoreError> {
        self.write(|connection| {
            Box::pin(async move {
                for id in ids {
                    let sql = "DELETE FROM login_session WHERE id = $1";
                    query(sql).bind(id).execute(&mut *connection).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// All factors, oldest first.
    pub async fn factors(&self) -> Result<Vec<FactorRecord>, StoreError> {
        query_as(
            "SELECT id, \"user\", kind, label, data, used, created_at FROM factor ORDER BY created_at, id",
        )
        .fetch_all(self.readers())
        .await
        .map_err(|error| self.failed(error))
    }

    /// Puts these factors in the place of all of the user's of this kind, or, if they are to be `kept`, beside them. On the disk when
    /// this returns.
    pub async fn add_factors(
        &self,
        user: UserId,
        kind: &'static str,
        factors: Vec<FactorRecord>,
        kept: bool,
    ) -> Result<(), StoreError> {
        self.write(move |connection| {
            Box::pin(async move {
                if !kept {
                    let sql = "DELETE FROM factor WHERE \"user\" = $1 AND kind = $2";
                    query(sql).bind(column_of(user.0)).bind(kind).execute(&mut *connection).await?;
                }
                for factor in factors {
                    insert_factor(connection, factor).await?;
                }
                Ok(())
            })
        })
        .await
    }

    /// Notes that a factor was used, and what is kept of it now. False if it is gone, or was used at `before` or later: then nothing
    /// is changed. On the disk when this returns.
    pub async fn use_factor(
        &self,
        id: &str,
        used: u64,
        before: u64,
        data: Vec<u8>,
    ) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let sql =
                    "UPDATE factor SET used = $1, data = $2 WHERE id = $3 AND (used IS NULL OR used < $4)";
                let (used, before) = (column_of(used), column_of(before));
                let done = query(sql).bind(used).bind(data).bind(id).bind(before).execute(connection).await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Deletes a factor of a user. On the disk when this returns.
    pub async fn delete_factor(&self, user: UserId, id: &str) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "DELETE FROM factor WHERE \"user\" = $1 AND id = $2";
                let done = query(sql).bind(column_of(user.0)).bind(id).execute(connection).await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }
}

async fn sign_in(connection: &mut AnyConnection, new: NewIdentity) -> sqlx::Result<Option<UserRecord>> {
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
            "UPDATE \"user\" SET role = $1, class_max = $2, data_class_max = $3, purposes = $4, team = $5 WHERE id = $6",
        )
        .bind(role)
        .bind(class_max)
        .bind(data_class_max)
        .bind(purposes)
        .bind(new.team)
        .bind(user)
        .execute(&mut *connection)
        .await?;
        query("UPDATE identity SET as_of = $1 WHERE issuer = $2 AND subject = $3 AND tenant = $4")
            .bind(column_of(new.as_of))
            .bind(&new.issuer)
            .bind(&new.subject)
            .bind(tenant)
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
        query("INSERT INTO identity (issuer, subject, tenant, \"user\", as_of) VALUES ($1, $2, $3, $4, $5)")
            .bind(&new.issuer)
            .bind(&new.subject)
            .bind(tenant)
            .bind(user)
            .bind(column_of(new.as_of))
            .execute(&mut *connection)
            .await?;
        user
    };
    user_by_id(connection, tenant, user).await
}

async fn put_session(connection: &mut AnyConnection, session: SessionRecord) -> sqlx::Result<()> {
    let (issuer, subject) = session.account.unzip();
    query(
        "INSERT INTO login_session (id, hash, \"user\", kind, stage, created_at, seen_at, expires_at, actions, present_at, \
         issuer, subject, issuer_session) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT (id) DO UPDATE SET \
         stage = excluded.stage, seen_at = excluded.seen_at, expires_at = excluded.expires_at, present_at = \
         excluded.present_at",
    )
    .bind(session.id)
    .bind(session.hash.to_vec())
    .bind(column_of(session.user.0))
    .bind(session.kind)
    .bind(session.stage)
    .bind(column_of(session.created_at))
    .bind(column_of(session.seen_at))
    .bind(column_of(session.expires_at))
    .bind(session.actions.join(" "))
    .bind(session.present_at.map(column_of))
    .bind(issuer)
    .bind(subject)
    .bind(session.issuer_session)
    .execute(connection)
    .await
    .map(drop)
}

async fn insert_factor(connection: &mut AnyConnection, factor: FactorRecord) -> sqlx::Result<()> {
    query("INSERT INTO factor (id, \"user\", kind, label, data, used, created_at) VALUES ($1, $2, $3, $4, $5, $6, $7)")
        .bind(factor.id)
        .bind(column_of(factor.user.0))
        .bind(factor.kind)
        .bind(factor.label)
        .bind(factor.data)
        .bind(factor.used.map(column_of))
        .bind(column_of(factor.created_at))
        .execute(connection)
        .await
        .map(drop)
}

impl FromRow<'_, AnyRow> for IdentityRecord {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            issuer: row.try_get("issuer")?,
            subject: row.try_get("subject")?,
            tenant: TenantId(unsigned("tenant", row.try_get("tenant")?)?),
            user: UserId(unsigned("user", row.try_get("user")?)?),
            as_of: unsigned("as_of", row.try_get("as_of")?)?,
        })
    }
}

impl FromRow<'_, AnyRow> for SessionRecord {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        let hash: Vec<u8> = row.try_get("hash")?;
        let number = |column: &str| unsigned(column, row.try_get(column)?);
        let issuer: Option<String> = row.try_get("issuer")?;
        Ok(Self {
            id: row.try_get("id")?,
            hash: hash.try_into().map_err(|_| damaged("hash", "it does not have 32 bytes"))?,
            user: UserId(number("user")?),
            kind: row.try_get("kind")?,
            stage: row.try_get("stage")?,
            created_at: number("created_at")?,
            seen_at: number("seen_at")?,
            expires_at: number("expires_at")?,
            actions: row.try_get::<String, _>("actions")?.split_whitespace().map(str::to_owned).collect(),
            present_at: time(row, "present_at")?,
            account: issuer.zip(row.try_get("subject")?),
            issuer_session: row.try_get("issuer_session")?,
        })
    }
}

impl FromRow<'_, AnyRow> for FactorRecord {
    fn from_row(row: &AnyRow) -> sqlx::Result<Self> {
        Ok(Self {
            id: row.try_get("id")?,
            user: UserId(unsigned("user", row.try_get("user")?)?),
            kind: row.try_get("kind")?,
            label: row.try_get("label")?,
            data: row.try_get("data")?,
            used: time(row, "used")?,
            created_at: unsigned("created_at", row.try_get("created_at")?)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use types::{DataClass, PriorityClass, Purposes, Role};

    use super::*;

    fn new(subject: &str, user: &str, role: Role) -> NewIdentity {
        NewIdentity {
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
            as_of: 1,
        }
    }

    #[tokio::test]
    async fn an_account_is_a_user_and_never_somebody_elses() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).await.unwrap();
        let ann = store.sign_in(new("1", "corp:ann", Role::Member)).await.unwrap().unwrap();
        let again = store.sign_in(new("1", "corp:other name", Role::Analyst)).await.unwrap().unwrap();
        assert_eq!(
            (again.user_id, again.user.as_str(), again.state.rights.role),
            (ann.user_id, "corp:ann", Role::Analyst)
        );
        assert_eq!(store.sign_in(new("2", "corp:ann", Role::Owner)).await.unwrap(), None);
        assert_eq!(store.identities().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn sign_ins_and_factors_come_back_as_they_went_in() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).await.unwrap();
        let user = store.sign_in(new("1", "corp:ann", Role::Member)).await.unwrap().unwrap().user_id;
        let mut session = SessionRecord {
            id: "s".to_owned(),
            hash: [7; 32],
            user,
            kind: "browser".to_owned(),
            stage: "first_factor".to_owned(),
            created_at: 1,
            seen_at: 2,
            expires_at: 3,
            actions: vec!["generate".to_owned(), "embed".to_owned()],
            present_at: None,
            account: Some(("https://provider.test".to_owned(), "1".to_owned())),
            issuer_session: Some("sid".to_owned()),
        };
        store.put_session(session.clone()).await.unwrap();
        assert_eq!(store.sessions().await.unwrap(), [session.clone()]);
        session = SessionRecord { stage: "complete".to_owned(), present_at: Some(4), ..session };
        store.put_session(session.clone()).await.unwrap();
        assert_eq!(store.sessions().await.unwrap(), [session]);
        store.delete_sessions(vec!["s".to_owned()]).await.unwrap();
        assert!(store.sessions().await.unwrap().is_empty());

        let factor = |id: &str| FactorRecord {
            id: id.to_owned(),
            user,
            kind: "totp".to_owned(),
            label: "phone".to_owned(),
            data: vec![1, 2],
            used: None,
            created_at: 1,
        };
        store.add_factors(user, "totp", vec![factor("a")], false).await.unwrap();
        assert!(store.use_factor("a", 5, 5, vec![3]).await.unwrap());
        // A step that was used, or one before it, is not used again.
        assert!(
            !store.use_factor("a", 5, 5, vec![4]).await.unwrap()
                && !store.use_factor("a", 4, 4, vec![4]).await.unwrap()
        );
        assert_eq!(
            store.factors().await.unwrap(),
            [FactorRecord { used: Some(5), data: vec![3], ..factor("a") }]
        );
        store.add_factors(user, "totp", vec![factor("b")], false).await.unwrap();
        store.add_factors(user, "totp", vec![factor("c")], true).await.unwrap();
        assert_eq!(store.factors().await.unwrap(), [factor("b"), factor("c")]);
        assert!(!store.delete_factor(UserId(99), "b").await.unwrap());
        assert!(store.delete_factor(user, "b").await.unwrap());
    }
}
