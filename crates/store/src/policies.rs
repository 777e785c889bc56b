use sqlx::{query, query_as};
use types::TenantId;

use crate::{Store, StoreError, database::column_of};

/// A policy of a tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRecord {
    /// Whose users it is for.
    pub tenant: TenantId,
    /// Unique in the tenant.
    pub name: String,
    /// In Cedar's language.
    pub text: String,
    /// Seconds since 1970.
    pub created_at: u64,
}

impl Store {
    /// All policies of all tenants, by tenant and name.
    pub async fn policies(&self) -> Result<Vec<PolicyRecord>, StoreError> {
        let sql = "SELECT tenant, name, text, created_at FROM policy ORDER BY tenant, name";
        let rows: sqlx::Result<Vec<(i64, String, String, i64)>> =
            query_as(sql).fetch_all(self.readers()).await;
        let record = |(tenant, name, text, created_at): (i64, String, String, i64)| PolicyRecord {
            tenant: TenantId(tenant.cast_unsigned()),
            name,
            text,
            created_at: created_at.cast_unsigned(),
        };
        Ok(rows.map_err(|error| self.failed(error))?.into_iter().map(record).collect())
    }

    /// Adds a policy, or puts it in the place of the one of this name. On the disk when this returns.
    pub async fn put_policy(&self, policy: PolicyRecord) -> Result<(), StoreError> {
        let sql = "INSERT INTO policy (tenant, name, text, created_at) VALUES ($1, $2, $3, $4) \
                   ON CONFLICT (tenant, name) DO UPDATE SET text = excluded.text, created_at = excluded.created_at";
        self.write(move |connection| {
            Box::pin(async move {
                query(sql)
                    .bind(column_of(policy.tenant.0))
                    .bind(&policy.name)
                    .bind(&policy.text)
                    .bind(column_of(policy.created_at))
                    .execute(connection)
                    .await
                    .map(drop)
            })
        })
        .await
    }

    /// Removes a policy. On the disk when this returns.
    pub async fn delete_policy(&self, tenant: TenantId, name: &str) -> Result<(), StoreError> {
        let name = name.to_owned();
        self.write(move |connection| {
            Box::pin(async move {
                query("DELETE FROM policy WHERE tenant = $1 AND name = $2")
                    .bind(column_of(tenant.0))
                    .bind(&name)
                    .execute(connection)
                    .await
                    .map(drop)
            })
        })
        .await
    }
}
