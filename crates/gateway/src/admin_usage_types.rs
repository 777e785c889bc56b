//! Shapes of the part of the admin API that is about what was used and what is left, used by the handlers here and by the command line.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// What a user used of a model on a day, with a key or without.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
// Answers have a `Usage` too, and a description knows no modules.
#[schema(as = UsageOfUser)]
pub struct Usage {
    /// The day (UTC): days since 1970.
    pub day: u64,
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the user in it.
    pub user: String,
    /// The team that the user was in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Id of the API key that was shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The model's configured name.
    pub model: String,
    /// Requests.
    pub requests: u64,
    /// Tokens that were read.
    pub input_tokens: u64,
    /// Tokens that were written.
    pub output_tokens: u64,
    /// What they cost, in billionths of the currency that the prices of the models are in.
    #[serde(default)]
    pub spend_nano: u64,
}

/// Answer of `GET /api/v1/usage`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UsageReport {
    /// By day, tenant, user, team, key and model.
    pub usage: Vec<Usage>,
}

/// What is left of a limit of somebody: of the smallest that is named, of a key, else of a user, else of a team, else of the tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Budget {
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// Name of the user.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Id of the API key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// The limit, as a `[[quota]]` calls it: `requests_per_minute`, `tokens_per_minute`, `tokens_per_day`, `spend_per_day`,
    /// `spend_per_month` or `concurrent`.
    pub limit: String,
    /// Most that there can be; of money in billionths of the currency.
    pub most: u64,
    /// What there is now; below zero it is owed.
    pub left: i64,
}

/// Answer of `GET /api/v1/budgets`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct BudgetReport {
    /// Of those who have used something; all others have all of it.
    pub budgets: Vec<Budget>,
}
