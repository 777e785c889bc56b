//! SCIM 2.0 (RFC 7643, RFC 7644): an identity provider pushes who there is and in which groups. Each provider has its own address, and
//! sees nothing of another one's.

mod patch;
mod resource;
mod shapes;

use std::sync::Arc;

use access::{Credential, ScimAccount, ScimColumn, ScimError, ScimGroup, ScimPage, ScimWanted};
use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use path::PathError;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::{
    resource::{Resource, shown},
    shapes::{
        Refused, ScimConfiguration, ScimGroupAnswer, ScimGroupRequest, ScimList, ScimPatch, ScimUserAnswer,
        ScimUserRequest,
    },
};
use crate::{
    body::{QueryFields, ScimBody},
    credential::Caller,
    error::ApiError,
    routes::Gateway,
};

/// Media type of what is said (RFC 7644, section 3.1).
const MEDIA_TYPE: &str = "application/scim+json; charset=utf-8";
const LIST: &str = "urn:ietf:params:scim:api:messages:2.0:ListResponse";
const ERROR: &str = "urn:ietf:params:scim:api:messages:2.0:Error";
/// Most rows of one answer, and how many where nothing is said.
const COUNT_MAX: u64 = 200;
const COUNT_DEFAULT: u64 = 100;

pub(crate) fn routes() -> OpenApiRouter<Arc<Gateway>> {
    OpenApiRouter::default()
        .routes(routes!(configuration))
        .routes(routes!(resource_types))
        .routes(routes!(list_users, create_user))
        .routes(routes!(get_user, replace_user, patch_user, delete_user))
        .routes(routes!(list_groups, create_group))
        .routes(routes!(get_group, replace_group, patch_group, delete_group))
}

/// Why something was not done, in the words of the protocol (RFC 7644, section 3.12).
pub(crate) enum Refusal {
    Scim(ScimError),
    Api(ApiError),
}

impl From<PathError> for Refusal {
    fn from(error: PathError) -> Self {
        Self::Api(error.into())
    }
}

impl From<ScimError> for Refusal {
    fn from(error: ScimError) -> Self {
        match error {
            ScimError::Access(error) => Self::Api(PathError::from(error).into()),
            other => Self::Scim(other),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (status, kind, detail) = match self {
            Self::Scim(error @ ScimError::Unknown(_)) => (StatusCode::NOT_FOUND, None, error.to_string()),
            Self::Scim(ScimError::BadChange(kind, detail)) => (StatusCode::BAD_REQUEST, Some(kind), detail),
            Self::Scim(error) => (StatusCode::CONFLICT, Some("uniqueness"), error.to_string()),
            Self::Api(error) => {
                let status = error.status();
                let kind = (status == StatusCode::BAD_REQUEST).then_some("invalidValue");
                (status, kind, error.to_string())
            }
        };
        let mut body = json!({ "schemas": [ERROR], "status": status.as_u16().to_string(), "detail": detail });
        if let Some(kind) = kind {
            body["scimType"] = kind.into();
        }
        said(status, &body)
    }
}

fn said(status: StatusCode, body: &Value) -> Response {
    let mut response = (status, body.to_string()).into_response();
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE));
    response
}

pub(crate) type Answered = Result<Response, Refusal>;
pub(crate) type Named = Result<Path<(String, String)>, PathRejection>;
pub(crate) type Provider = Result<Path<String>, PathRejection>;

fn provider_of(provider: Provider) -> String {
    provider.map_or(String::new(), |Path(provider)| provider)
}

fn named(path: Named) -> (String, String) {
    path.map_or_else(|_| Default::default(), |Path(named)| named)
}

fn listed<T: Resource>(provider: &str, page: &ScimPage<T>, skip: u64) -> Response {
    let rows: Vec<Value> = page.rows.iter().map(|row| shown(provider, row)).collect();
    let body = json!({
        "schemas": [LIST], "totalResults": page.total, "startIndex": skip + 1, "itemsPerPage": rows.len(),
        "Resources": rows,
    });
    said(StatusCode::OK, &body)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Listing {
    #[serde(default)]
    filter: Option<String>,
    #[serde(default)]
    start_index: Option<String>,
    #[serde(default)]
    count: Option<String>,
}

/// `attribute eq "value"`, which is what providers ask by; other filters are refused.
fn wanted(listing: Listing, columns: &[(&str, ScimColumn)]) -> Result<ScimWanted, ScimError> {
    let number = |text: Option<String>, default: u64| match text {
        None => Ok(default),
        Some(text) => text
            .parse::<i64>()
            .map(|number| number.max(0).unsigned_abs())
            .map_err(|_| patch::bad("invalidValue", "`startIndex` and `count` are numbers")),
    };
    let filter = listing.filter.as_deref().map(|filter| {
        let refused = || {
            let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
            let names = names.join(", ");
            patch::bad("invalidFilter", format!("a filter is `ATTRIBUTE eq \"VALUE\"`, with one of: {names}"))
        };
        let (attribute, value) = patch::equals(filter).ok_or_else(refused)?;
        let column = columns.iter().find(|(name, _)| name.eq_ignore_ascii_case(attribute));
        column.map(|(_, column)| (*column, value)).ok_or_else(refused)
    });
    Ok(ScimWanted {
        filter: filter.transpose()?,
        skip: number(listing.start_index, 1)?.saturating_sub(1),
        count: number(listing.count, COUNT_DEFAULT)?.min(COUNT_MAX),
    })
}

/// What SCIM can do here
#[utoipa::path(get, path = "/scim/v2/{provider}/ServiceProviderConfig", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider")), responses((status = 200, description = "RFC 7643, section 5", body = ScimConfiguration, content_type = "application/scim+json"), Refused))]
pub(crate) async fn configuration(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    _provider: Provider,
) -> Answered {
    gateway.path.may_provision(credential).await?;
    let no = json!({ "supported": false });
    Ok(said(
        StatusCode::OK,
        &json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ServiceProviderConfig"],
            "patch": { "supported": true },
            "bulk": { "supported": false, "maxOperations": 0, "maxPayloadSize": 0 },
            "filter": { "supported": true, "maxResults": COUNT_MAX },
            "changePassword": no, "sort": no, "etag": no,
            "authenticationSchemes": [{
                "type": "oauthbearertoken", "name": "API key",
                "description": "a key of an owner, for the action `provision_users`",
            }],
        }),
    ))
}

fn kind<T: Resource>() -> Value {
    json!({
        "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
        "id": T::KIND, "name": T::KIND, "endpoint": T::ENDPOINT, "schema": T::SCHEMA,
    })
}

/// What there is in SCIM
#[utoipa::path(get, path = "/scim/v2/{provider}/ResourceTypes", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider")), responses((status = 200, description = "RFC 7643, section 6", body = ScimList, content_type = "application/scim+json"), Refused))]
pub(crate) async fn resource_types(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    _provider: Provider,
) -> Answered {
    gateway.path.may_provision(credential).await?;
    let all = [kind::<ScimAccount>(), kind::<ScimGroup>()];
    Ok(said(
        StatusCode::OK,
        &json!({
            "schemas": [LIST], "totalResults": all.len(), "startIndex": 1, "itemsPerPage": all.len(), "Resources": all,
        }),
    ))
}

type Body = Result<ScimBody, ApiError>;
type Query = Result<QueryFields<Listing>, ApiError>;

async fn list<T: Resource>(
    gateway: &Gateway,
    credential: Credential,
    provider: Provider,
    listing: Query,
) -> Answered {
    let QueryFields(listing) = listing.map_err(Refusal::Api)?;
    let (provider, wanted) = (provider_of(provider), wanted(listing, T::COLUMNS)?);
    let skip = wanted.skip;
    let page = gateway.path.list_scim::<T>(credential, &provider, wanted).await??;
    Ok(listed(&provider, &page, skip))
}

async fn create<T: Resource>(
    gateway: &Gateway,
    credential: Credential,
    provider: Provider,
    body: Body,
) -> Answered {
    let ScimBody(body) = body.map_err(Refusal::Api)?;
    let (provider, whole) = (provider_of(provider), T::whole(&body)?);
    let made = gateway.path.add_scim(credential, &provider, whole).await??;
    Ok(said(StatusCode::CREATED, &shown(&provider, &made)))
}

async fn get<T: Resource>(gateway: &Gateway, credential: Credential, path: Named) -> Answered {
    let (provider, id) = named(path);
    let found = gateway.path.scim::<T>(credential, &provider, &id).await??;
    Ok(said(StatusCode::OK, &shown(&provider, &found)))
}

async fn change<T: Resource>(
    gateway: &Gateway,
    credential: Credential,
    path: Named,
    change: impl FnOnce(T) -> Result<T, ScimError> + Send + 'static,
) -> Answered {
    let (provider, id) = named(path);
    let changed = gateway.path.change_scim(credential, &provider, &id, change).await??;
    Ok(said(StatusCode::OK, &shown(&provider, &changed)))
}

async fn replace<T: Resource>(
    gateway: &Gateway,
    credential: Credential,
    path: Named,
    body: Body,
) -> Answered {
    let ScimBody(body) = body.map_err(Refusal::Api)?;
    let whole = T::whole(&body)?;
    change::<T>(gateway, credential, path, |_| Ok(whole)).await
}

async fn patch<T: Resource>(gateway: &Gateway, credential: Credential, path: Named, body: Body) -> Answered {
    let ScimBody(body) = body.map_err(Refusal::Api)?;
    let operations = patch::operations(&body)?;
    change::<T>(gateway, credential, path, move |said| patch::apply(said, &operations)).await
}

async fn delete<T: Resource>(gateway: &Gateway, credential: Credential, path: Named) -> Answered {
    let (provider, id) = named(path);
    gateway.path.delete_scim::<T>(credential, &provider, &id).await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// List accounts
#[utoipa::path(get, path = "/scim/v2/{provider}/Users", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("filter" = Option<String>, Query, description = "ATTRIBUTE eq \"VALUE\""), ("startIndex" = Option<i64>, Query, description = "From 1"), ("count" = Option<i64>, Query, description = "At most 200")), responses((status = 200, description = "Some of them", body = ScimList, content_type = "application/scim+json"), Refused))]
pub(crate) async fn list_users(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    provider: Provider,
    listing: Query,
) -> Answered {
    list::<ScimAccount>(&gateway, credential, provider, listing).await
}

/// Take in a new account
#[utoipa::path(post, path = "/scim/v2/{provider}/Users", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider")), request_body(content = ScimUserRequest, content_type = "application/scim+json"), responses((status = 201, description = "The account", body = ScimUserAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn create_user(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    provider: Provider,
    body: Body,
) -> Answered {
    create::<ScimAccount>(&gateway, credential, provider, body).await
}

/// Show an account
#[utoipa::path(get, path = "/scim/v2/{provider}/Users/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), responses((status = 200, description = "The account", body = ScimUserAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn get_user(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
) -> Answered {
    get::<ScimAccount>(&gateway, credential, path).await
}

/// Replace an account
#[utoipa::path(put, path = "/scim/v2/{provider}/Users/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), request_body(content = ScimUserRequest, content_type = "application/scim+json"), responses((status = 200, description = "The account", body = ScimUserAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn replace_user(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
    body: Body,
) -> Answered {
    replace::<ScimAccount>(&gateway, credential, path, body).await
}

/// Change an account
#[utoipa::path(patch, path = "/scim/v2/{provider}/Users/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), request_body(content = ScimPatch, content_type = "application/scim+json"), responses((status = 200, description = "The account", body = ScimUserAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn patch_user(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
    body: Body,
) -> Answered {
    patch::<ScimAccount>(&gateway, credential, path, body).await
}

/// Forget an account
#[utoipa::path(delete, path = "/scim/v2/{provider}/Users/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), responses((status = 204, description = "It is out"), Refused))]
pub(crate) async fn delete_user(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
) -> Answered {
    delete::<ScimAccount>(&gateway, credential, path).await
}

/// List groups
#[utoipa::path(get, path = "/scim/v2/{provider}/Groups", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("filter" = Option<String>, Query, description = "ATTRIBUTE eq \"VALUE\""), ("startIndex" = Option<i64>, Query, description = "From 1"), ("count" = Option<i64>, Query, description = "At most 200")), responses((status = 200, description = "Some of them", body = ScimList, content_type = "application/scim+json"), Refused))]
pub(crate) async fn list_groups(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    provider: Provider,
    listing: Query,
) -> Answered {
    list::<ScimGroup>(&gateway, credential, provider, listing).await
}

/// Take in a new group
#[utoipa::path(post, path = "/scim/v2/{provider}/Groups", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider")), request_body(content = ScimGroupRequest, content_type = "application/scim+json"), responses((status = 201, description = "The group", body = ScimGroupAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn create_group(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    provider: Provider,
    body: Body,
) -> Answered {
    create::<ScimGroup>(&gateway, credential, provider, body).await
}

/// Show a group
#[utoipa::path(get, path = "/scim/v2/{provider}/Groups/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), responses((status = 200, description = "The group", body = ScimGroupAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn get_group(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
) -> Answered {
    get::<ScimGroup>(&gateway, credential, path).await
}

/// Replace a group
#[utoipa::path(put, path = "/scim/v2/{provider}/Groups/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), request_body(content = ScimGroupRequest, content_type = "application/scim+json"), responses((status = 200, description = "The group", body = ScimGroupAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn replace_group(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
    body: Body,
) -> Answered {
    replace::<ScimGroup>(&gateway, credential, path, body).await
}

/// Change a group
#[utoipa::path(patch, path = "/scim/v2/{provider}/Groups/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), request_body(content = ScimPatch, content_type = "application/scim+json"), responses((status = 200, description = "The group", body = ScimGroupAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn patch_group(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
    body: Body,
) -> Answered {
    patch::<ScimGroup>(&gateway, credential, path, body).await
}

/// Forget a group
#[utoipa::path(delete, path = "/scim/v2/{provider}/Groups/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), responses((status = 204, description = "It is gone"), Refused))]
pub(crate) async fn delete_group(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
) -> Answered {
    delete::<ScimGroup>(&gateway, credential, path).await
}
