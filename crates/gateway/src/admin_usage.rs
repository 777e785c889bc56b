//! The part of the admin API that is about what was used and what is left.

use std::sync::Arc;

use access::{BudgetView, UsageRecord};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use types::OutOfRange;

use crate::{
    admin_usage_types::{Budget, BudgetReport, Usage, UsageReport},
    credential::Caller,
    error::{ApiError, ErrorBody},
    routes::Gateway,
};

/// Most days of one report: a hundred years.
const USAGE_DAYS_MAX: u64 = 36_525;

/// What was used
///
/// In the last days, today's (UTC) included.
#[utoipa::path(
    get,
    path = "/api/v1/usage/{days}",
    tag = "admin",
    params(("days" = u64, Path, minimum = 1, maximum = 36525, description = "How many days: 1 to 36525")),
    responses(
        (status = 200, description = "By day, tenant, user, team, key and model", body = UsageReport),
        (status = "4XX", description = "Not allowed, or another number of days", body = ErrorBody),
    ),
)]
pub(crate) async fn usage(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    days: Result<Path<u64>, PathRejection>,
) -> Result<Json<UsageReport>, ApiError> {
    let days = days.map_or(0, |Path(days)| days);
    if !(1..=USAGE_DAYS_MAX).contains(&days) {
        return Err(OutOfRange::new("days", days, format!("1 to {USAGE_DAYS_MAX}")).into());
    }
    let usage = gateway.path.usage(credential, days).await?;
    Ok(Json(UsageReport { usage: usage.into_iter().map(Usage::from).collect() }))
}

/// What is left
///
/// Of the quotas of those who have used something.
#[utoipa::path(
    get,
    path = "/api/v1/budgets",
    tag = "admin",
    responses(
        (status = 200, description = "By tenant, and who in it", body = BudgetReport),
        (status = "4XX", description = "Not allowed", body = ErrorBody),
    ),
)]
pub(crate) async fn budgets(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
) -> Result<Json<BudgetReport>, ApiError> {
    let budgets = gateway.path.budgets(credential).await?;
    Ok(Json(BudgetReport { budgets: budgets.into_iter().map(Budget::from).collect() }))
}

impl From<UsageRecord> for Usage {
    fn from(record: UsageRecord) -> Self {
        // The local operator is no row of the store.
        let name = |name: Option<String>| name.unwrap_or_else(|| "local".to_owned());
        Self {
            day: record.day,
            tenant: name(record.tenant),
            user: name(record.user),
            team: record.team,
            key: record.key,
            model: record.model,
            requests: record.requests,
            input_tokens: record.input_tokens,
            output_tokens: record.output_tokens,
            spend_nano: record.spend,
        }
    }
}

impl From<BudgetView> for Budget {
    fn from(view: BudgetView) -> Self {
        let BudgetView { tenant, team, user, key, limit, most, left } = view;
        Self { tenant, team, user, key, limit: limit.to_owned(), most, left }
    }
}
