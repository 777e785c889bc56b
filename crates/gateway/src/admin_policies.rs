//! The part of the admin API that is about policies.

use std::sync::Arc;

use access::{Explanation, Inquiry, TenantPolicy, Who};
use axum::{
    Json,
    extract::{Path, State, rejection::PathRejection},
};
use http::StatusCode;

use crate::{
    admin_types::{DecisionReport, DecisionRequest, Policies, Policy, PolicyRequest},
    body::JsonBody,
    credential::Caller,
    error::{ApiError, ErrorBody},
    routes::Gateway,
};

/// List policies of a tenant
#[utoipa::path(
    get,
    path = "/api/v1/policies/{tenant}",
    tag = "admin",
    params(("tenant" = String, Path, description = "Name of the tenant")),
    responses(
        (status = 200, description = "Its own policies", body = Policies),
        (status = "4XX", description = "Not allowed, or no such tenant", body = ErrorBody),
    ),
)]
pub(crate) async fn list_policies(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    tenant: Result<Path<String>, PathRejection>,
) -> Result<Json<Policies>, ApiError> {
    let tenant = tenant.map_or(String::new(), |Path(tenant)| tenant);
    let policies = gateway.path.policies(credential, &tenant).await?;
    let policy = |policy: TenantPolicy| Policy { name: policy.name, text: policy.text };
    Ok(Json(Policies { policies: policies.into_iter().map(policy).collect() }))
}

/// Add or replace a policy
///
/// It is validated strictly, and holds from the next decision on. It can permit no more than the installation's own policies
/// leave to a tenant.
#[utoipa::path(
    put,
    path = "/api/v1/policies/{tenant}/{name}",
    tag = "admin",
    params(
        ("tenant" = String, Path, description = "Name of the tenant"),
        ("name" = String, Path, description = "Name of the policy"),
    ),
    request_body = PolicyRequest,
    responses(
        (status = 204, description = "It is in force"),
        (status = "4XX", description = "Not allowed, no such tenant, or a policy that does not validate", body = ErrorBody),
    ),
)]
pub(crate) async fn put_policy(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    named: Result<Path<(String, String)>, PathRejection>,
    JsonBody(request): JsonBody<PolicyRequest>,
) -> Result<StatusCode, ApiError> {
    let (tenant, name) = named.map_or_else(|_| Default::default(), |Path(named)| named);
    let policy = TenantPolicy { name, text: request.text };
    gateway.path.put_policy(credential, &tenant, policy).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Remove a policy
#[utoipa::path(
    delete,
    path = "/api/v1/policies/{tenant}/{name}",
    tag = "admin",
    params(
        ("tenant" = String, Path, description = "Name of the tenant"),
        ("name" = String, Path, description = "Name of the policy"),
    ),
    responses(
        (status = 204, description = "It is not in force any more"),
        (status = "4XX", description = "Not allowed, no such tenant or policy", body = ErrorBody),
    ),
)]
pub(crate) async fn delete_policy(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    named: Result<Path<(String, String)>, PathRejection>,
) -> Result<StatusCode, ApiError> {
    let (tenant, name) = named.map_or_else(|_| Default::default(), |Path(named)| named);
    gateway.path.delete_policy(credential, &tenant, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Explain a decision
///
/// Whether somebody may do something now, and which policies decide it.
#[utoipa::path(
    post,
    path = "/api/v1/decisions",
    tag = "admin",
    request_body = DecisionRequest,
    responses(
        (status = 200, description = "The decision, and why", body = DecisionReport),
        (status = "4XX", description = "Not allowed, or no such user, key or action", body = ErrorBody),
    ),
)]
pub(crate) async fn decide(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    JsonBody(request): JsonBody<DecisionRequest>,
) -> Result<Json<DecisionReport>, ApiError> {
    let DecisionRequest { tenant, user, key, action, resource, purpose, location } = request;
    let who = match (tenant, user, key) {
        (Some(tenant), Some(user), None) => Who::User { tenant, user },
        (None, None, Some(key)) => Who::Key(key),
        _ => return Err(ApiError::parameter("user", "name either `tenant` and `user`, or a `key`")),
    };
    let purpose = purpose.as_deref().map(str::parse).transpose()?;
    let inquiry = Inquiry { who, action, resource, purpose, location };
    let Explanation { decision, texts, roles } = gateway.path.explain_access(credential, inquiry).await?;
    let policies = decision.policies.iter().cloned().zip(texts);
    Ok(Json(DecisionReport {
        allowed: decision.allowed,
        policies: policies.map(|(name, text)| Policy { name, text }).collect(),
        says: decision.says.as_deref().map(str::to_owned),
        roles,
    }))
}
