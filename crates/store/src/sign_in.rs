//! Sign-ins that are in force, and what users prove themselves with.

use sqlx::{AnyConnection, FromRow, Row, any::AnyRow, query, query_as};
use types::UserId;

use crate::{
    Store, StoreError,
    database::column_of,
    keys::{damaged, time, unsigned},
};

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

    /// Notes that a factor was used, and what is kept of it now, if that has changed. False if it is gone, or was used at `before` or later: then nothing
    /// is changed. On the disk when this returns.
    pub async fn use_factor(
        &self,
        id: &str,
        used: u64,
        before: u64,
        data: Option<Vec<u8>>,
    ) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "UPDATE factor SET used = $1, data = coalesce($2, data) WHERE id = $3 AND (used IS NULL OR used \
                           < $4)";
                let (used, before) = (column_of(used), column_of(before));
                let done = query(sql).bind(used).bind(data).bind(id).bind(before).execute(connection).await?;
                Ok(done.rows_affected() == 1)
            })
        })
        .await
    }

    /// Puts other bytes in the place of these of a factor. False if it is gone or is not as it was. On the disk when this returns.
    pub async fn reseal_factor(&self, id: &str, before: Vec<u8>, data: Vec<u8>) -> Result<bool, StoreError> {
        let id = id.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                let sql = "UPDATE factor SET data = $1 WHERE id = $2 AND data = $3";
                let done = query(sql).bind(data).bind(id).bind(before).execute(connection).await?;
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

    /// Wrong codes of users since their last right one: how many, and until when they have to wait (seconds since 1970).
    pub async fn wrong_codes(&self) -> Result<Vec<(UserId, u64, u64)>, StoreError> {
        let rows: Vec<(i64, i64, i64)> = query_as("SELECT \"user\", count, locked_until FROM wrong_codes")
            .fetch_all(self.readers())
            .await
            .map_err(|error| self.failed(error))?;
        let row = |(user, count, until): (i64, i64, i64)| {
            (UserId(user.cast_unsigned()), count.cast_unsigned(), until.cast_unsigned())
        };
        Ok(rows.into_iter().map(row).collect())
    }

    /// Takes note of them; none if the count is 0. Nobody waits for the disk.
    pub fn note_wrong_codes(&self, user: UserId, count: u64, locked_until: u64) {
        self.write_soon(move |connection| {
            Box::pin(async move {
                let (user, count) = (column_of(user.0), column_of(count));
                let noted = if count == 0 {
                    query("DELETE FROM wrong_codes WHERE \"user\" = $1").bind(user)
                } else {
                    let sql = "INSERT INTO wrong_codes (\"user\", count, locked_until) VALUES ($1, $2, $3) ON CONFLICT (\"user\") \
                               DO UPDATE SET count = excluded.count, locked_until = excluded.locked_until";
                    query(sql).bind(user).bind(count).bind(column_of(locked_until))
                };
                noted.execute(connection).await.map(drop)
            })
        });
    }
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
    use crate::{Placement, Rights};

    #[tokio::test]
    async fn sign_ins_and_factors_come_back_as_they_went_in() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("state.db")).await.unwrap();
        let rights = Rights {
            role: Role::Member,
            class_max: PriorityClass::Normal,
            data_class_max: DataClass::Internal,
            purposes: Purposes::any(),
        };
        let text = str::to_owned;
        let ann = Placement {
            issuer: text("https://provider.test"),
            subject: text("1"),
            tenant: text("clinic"),
            user: text("corp:ann"),
            rights,
            is_service: false,
            team: None,
        };
        let user = store.place(vec![ann]).await.unwrap()[0].clone().unwrap().user_id;
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
        assert!(store.use_factor("a", 4, 4, None).await.unwrap());
        assert_eq!(store.factors().await.unwrap(), [FactorRecord { used: Some(4), ..factor("a") }]);
        assert!(store.use_factor("a", 5, 5, Some(vec![3])).await.unwrap());
        // A step that was used, or one before it, is not used again.
        assert!(
            !store.use_factor("a", 5, 5, Some(vec![4])).await.unwrap()
                && !store.use_factor("a", 4, 4, Some(vec![4])).await.unwrap()
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

        for (codes, kept) in [((3, 0), Some((user, 3, 0))), ((5, 99), Some((user, 5, 99))), ((0, 0), None)] {
            store.note_wrong_codes(user, codes.0, codes.1);
            // What is written later is written behind it.
            store.delete_sessions(vec!["s".to_owned()]).await.unwrap();
            assert_eq!(store.wrong_codes().await.unwrap(), Vec::from_iter(kept));
        }
    }
}
