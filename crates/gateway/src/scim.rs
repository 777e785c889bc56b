//! SCIM 2.0 (RFC 7643, RFC 7644): an identity provider pushes who there is and in which groups. Each provider has its own address, and
//! sees nothing of another one's.

mod patch;
mod shapes;

use std::sync::Arc;

use access::{
    ScimAccount, ScimAccountRecord, ScimColumn, ScimError, ScimGroup, ScimGroupRecord, ScimPage, ScimView,
    ScimWanted,
};
use axum::{
    extract::{Path, State, rejection::PathRejection},
    response::{IntoResponse, Response},
};
use http::{HeaderValue, StatusCode, header};
use path::PathError;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa_axum::{router::OpenApiRouter, routes};

use self::shapes::{
    Refused, ScimConfiguration, ScimGroupAnswer, ScimGroupRequest, ScimList, ScimPatch, ScimUserAnswer,
    ScimUserRequest,
};
use crate::{
    body::{QueryFields, ScimBody},
    credential::Caller,
    error::ApiError,
    routes::Gateway,
};

/// Media type of what is said (RFC 7644, section 3.1).
const MEDIA_TYPE: &str = "application/scim+json; charset=utf-8";
const USER: &str = "urn:ietf:params:scim:schemas:core:2.0:User";
const GROUP: &str = "urn:ietf:params:scim:schemas:core:2.0:Group";
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
    /// A value, a path or a filter that is not taken; with its kind.
    Bad(&'static str, String),
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
            Self::Scim(error) => (StatusCode::CONFLICT, Some("uniqueness"), error.to_string()),
            Self::Bad(kind, detail) => (StatusCode::BAD_REQUEST, Some(kind), detail),
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

/// RFC 3339, in UTC, to the second.
fn time(seconds: u64) -> String {
    let (day, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to a date, by eras of 400 years (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms").
    let shifted = day + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3_600, rest / 60 % 60, rest % 60)
}

fn user(provider: &str, (record, groups): &ScimView<ScimAccountRecord>) -> Value {
    let groups: Vec<Value> =
        groups.iter().map(|(id, name)| json!({ "value": id, "display": name })).collect();
    json!({
        "schemas": [USER],
        "id": record.id,
        "externalId": record.subject,
        "userName": record.user_name,
        "displayName": record.display_name,
        "active": record.active,
        "groups": groups,
        "meta": {
            "resourceType": "User",
            "created": time(record.created_at),
            "lastModified": time(record.changed_at),
            "location": format!("/scim/v2/{provider}/Users/{}", record.id),
        },
    })
}

fn group(provider: &str, (record, members): &ScimView<ScimGroupRecord>) -> Value {
    let members: Vec<Value> =
        members.iter().map(|(id, name)| json!({ "value": id, "display": name })).collect();
    let mut value = json!({
        "schemas": [GROUP],
        "id": record.id,
        "displayName": record.name,
        "members": members,
        "meta": {
            "resourceType": "Group",
            "created": time(record.created_at),
            "lastModified": time(record.changed_at),
            "location": format!("/scim/v2/{provider}/Groups/{}", record.id),
        },
    });
    if !record.external_id.is_empty() {
        value["externalId"] = record.external_id.clone().into();
    }
    value
}

fn listed<T>(page: &ScimPage<T>, skip: u64, one: impl Fn(&ScimView<T>) -> Value) -> Response {
    let rows: Vec<Value> = page.rows.iter().map(one).collect();
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
fn wanted(listing: Listing, columns: &[(&str, ScimColumn)]) -> Result<ScimWanted, Refusal> {
    let number = |text: Option<String>, default: u64| match text {
        None => Ok(default),
        Some(text) => text
            .parse::<i64>()
            .map(|number| number.max(0).unsigned_abs())
            .map_err(|_| Refusal::Bad("invalidValue", "`startIndex` and `count` are numbers".to_owned())),
    };
    let filter = listing.filter.as_deref().map(|filter| {
        let refused = || {
            let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
            let detail = format!("a filter is `ATTRIBUTE eq \"VALUE\"`, with one of: {}", names.join(", "));
            Refusal::Bad("invalidFilter", detail)
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

/// What there is in SCIM
#[utoipa::path(get, path = "/scim/v2/{provider}/ResourceTypes", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider")), responses((status = 200, description = "RFC 7643, section 6", body = ScimList, content_type = "application/scim+json"), Refused))]
pub(crate) async fn resource_types(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    _provider: Provider,
) -> Answered {
    gateway.path.may_provision(credential).await?;
    let kind = |name: &str, endpoint: &str, schema: &str| {
        json!({
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:ResourceType"],
            "id": name, "name": name, "endpoint": endpoint, "schema": schema,
        })
    };
    let all = [kind("User", "/Users", USER), kind("Group", "/Groups", GROUP)];
    Ok(said(
        StatusCode::OK,
        &json!({
            "schemas": [LIST], "totalResults": all.len(), "startIndex": 1, "itemsPerPage": all.len(), "Resources": all,
        }),
    ))
}

const USER_COLUMNS: [(&str, ScimColumn); 2] =
    [("userName", ScimColumn::UserName), ("externalId", ScimColumn::Subject)];
const GROUP_COLUMNS: [(&str, ScimColumn); 2] =
    [("displayName", ScimColumn::Name), ("externalId", ScimColumn::ExternalId)];

/// List accounts
#[utoipa::path(get, path = "/scim/v2/{provider}/Users", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("filter" = Option<String>, Query, description = "ATTRIBUTE eq \"VALUE\""), ("startIndex" = Option<i64>, Query, description = "From 1"), ("count" = Option<i64>, Query, description = "At most 200")), responses((status = 200, description = "Some of them", body = ScimList, content_type = "application/scim+json"), Refused))]
pub(crate) async fn list_users(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    provider: Provider,
    listing: Result<QueryFields<Listing>, ApiError>,
) -> Answered {
    let QueryFields(listing) = listing.map_err(Refusal::Api)?;
    let (provider, wanted) = (provider_of(provider), wanted(listing, &USER_COLUMNS)?);
    let skip = wanted.skip;
    let page = gateway.path.scim_accounts(credential, &provider, wanted).await??;
    Ok(listed(&page, skip, |row| user(&provider, row)))
}

/// Take in a new account
#[utoipa::path(post, path = "/scim/v2/{provider}/Users", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider")), request_body(content = ScimUserRequest, content_type = "application/scim+json"), responses((status = 201, description = "The account", body = ScimUserAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn create_user(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    provider: Provider,
    body: Result<ScimBody, ApiError>,
) -> Answered {
    let ScimBody(body) = body.map_err(Refusal::Api)?;
    let (provider, account) = (provider_of(provider), patch::account(&body)?);
    let made = gateway.path.put_scim_account(credential, &provider, None, account).await??;
    Ok(said(StatusCode::CREATED, &user(&provider, &made)))
}

/// Show an account
#[utoipa::path(get, path = "/scim/v2/{provider}/Users/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), responses((status = 200, description = "The account", body = ScimUserAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn get_user(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
) -> Answered {
    let (provider, id) = named(path);
    let found = gateway.path.scim_account(credential, &provider, &id).await??;
    Ok(said(StatusCode::OK, &user(&provider, &found)))
}

/// Replace an account
#[utoipa::path(put, path = "/scim/v2/{provider}/Users/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), request_body(content = ScimUserRequest, content_type = "application/scim+json"), responses((status = 200, description = "The account", body = ScimUserAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn replace_user(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
    body: Result<ScimBody, ApiError>,
) -> Answered {
    let ScimBody(body) = body.map_err(Refusal::Api)?;
    let (provider, id) = named(path);
    let account = patch::account(&body)?;
    let changed = gateway.path.put_scim_account(credential, &provider, Some(&id), account).await??;
    Ok(said(StatusCode::OK, &user(&provider, &changed)))
}

/// Change an account
#[utoipa::path(patch, path = "/scim/v2/{provider}/Users/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), request_body(content = ScimPatch, content_type = "application/scim+json"), responses((status = 200, description = "The account", body = ScimUserAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn patch_user(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
    body: Result<ScimBody, ApiError>,
) -> Answered {
    let ScimBody(body) = body.map_err(Refusal::Api)?;
    let (provider, id) = named(path);
    let operations = patch::operations(&body)?;
    let (before, _) = gateway.path.scim_account(credential.clone(), &provider, &id).await??;
    let ScimAccountRecord { subject, user_name, display_name, active, .. } = before;
    let mut account = ScimAccount { subject, user_name, display_name, active };
    for operation in &operations {
        patch::change_account(&mut account, operation)?;
    }
    let changed = gateway.path.put_scim_account(credential, &provider, Some(&id), account).await??;
    Ok(said(StatusCode::OK, &user(&provider, &changed)))
}

/// Forget an account
#[utoipa::path(delete, path = "/scim/v2/{provider}/Users/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), responses((status = 204, description = "It is out"), Refused))]
pub(crate) async fn delete_user(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
) -> Answered {
    let (provider, id) = named(path);
    gateway.path.delete_scim_account(credential, &provider, &id).await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// List groups
#[utoipa::path(get, path = "/scim/v2/{provider}/Groups", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("filter" = Option<String>, Query, description = "ATTRIBUTE eq \"VALUE\""), ("startIndex" = Option<i64>, Query, description = "From 1"), ("count" = Option<i64>, Query, description = "At most 200")), responses((status = 200, description = "Some of them", body = ScimList, content_type = "application/scim+json"), Refused))]
pub(crate) async fn list_groups(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    provider: Provider,
    listing: Result<QueryFields<Listing>, ApiError>,
) -> Answered {
    let QueryFields(listing) = listing.map_err(Refusal::Api)?;
    let (provider, wanted) = (provider_of(provider), wanted(listing, &GROUP_COLUMNS)?);
    let skip = wanted.skip;
    let page = gateway.path.scim_groups(credential, &provider, wanted).await??;
    Ok(listed(&page, skip, |row| group(&provider, row)))
}

/// Take in a new group
#[utoipa::path(post, path = "/scim/v2/{provider}/Groups", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider")), request_body(content = ScimGroupRequest, content_type = "application/scim+json"), responses((status = 201, description = "The group", body = ScimGroupAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn create_group(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    provider: Provider,
    body: Result<ScimBody, ApiError>,
) -> Answered {
    let ScimBody(body) = body.map_err(Refusal::Api)?;
    let (provider, (said_of, members)) = (provider_of(provider), patch::group(&body)?);
    let made = gateway.path.put_scim_group(credential, &provider, None, said_of, Some(members)).await??;
    Ok(said(StatusCode::CREATED, &group(&provider, &made)))
}

/// Show a group
#[utoipa::path(get, path = "/scim/v2/{provider}/Groups/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), responses((status = 200, description = "The group", body = ScimGroupAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn get_group(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
) -> Answered {
    let (provider, id) = named(path);
    let found = gateway.path.scim_group(credential, &provider, &id).await??;
    Ok(said(StatusCode::OK, &group(&provider, &found)))
}

/// Replace a group
#[utoipa::path(put, path = "/scim/v2/{provider}/Groups/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), request_body(content = ScimGroupRequest, content_type = "application/scim+json"), responses((status = 200, description = "The group", body = ScimGroupAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn replace_group(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
    body: Result<ScimBody, ApiError>,
) -> Answered {
    let ScimBody(body) = body.map_err(Refusal::Api)?;
    let (provider, id) = named(path);
    let (said_of, members) = patch::group(&body)?;
    let changed =
        gateway.path.put_scim_group(credential, &provider, Some(&id), said_of, Some(members)).await??;
    Ok(said(StatusCode::OK, &group(&provider, &changed)))
}

/// Change a group
#[utoipa::path(patch, path = "/scim/v2/{provider}/Groups/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), request_body(content = ScimPatch, content_type = "application/scim+json"), responses((status = 200, description = "The group", body = ScimGroupAnswer, content_type = "application/scim+json"), Refused))]
pub(crate) async fn patch_group(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
    body: Result<ScimBody, ApiError>,
) -> Answered {
    let ScimBody(body) = body.map_err(Refusal::Api)?;
    let (provider, id) = named(path);
    let operations = patch::operations(&body)?;
    let (before, members) = gateway.path.scim_group(credential.clone(), &provider, &id).await??;
    let mut changed = ScimGroup { name: before.name, external_id: before.external_id };
    let mut members: Vec<String> = members.into_iter().map(|(id, _)| id).collect();
    for operation in &operations {
        patch::change_group(&mut changed, &mut members, operation)?;
    }
    let changed =
        gateway.path.put_scim_group(credential, &provider, Some(&id), changed, Some(members)).await??;
    Ok(said(StatusCode::OK, &group(&provider, &changed)))
}

/// Forget a group
#[utoipa::path(delete, path = "/scim/v2/{provider}/Groups/{id}", tag = "scim", params(("provider" = String, Path, description = "Configured name of the provider"), ("id" = String, Path, description = "Its id")), responses((status = 204, description = "It is gone"), Refused))]
pub(crate) async fn delete_group(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    path: Named,
) -> Answered {
    let (provider, id) = named(path);
    gateway.path.delete_scim_group(credential, &provider, &id).await??;
    Ok(StatusCode::NO_CONTENT.into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_824_000, "2026-11-28T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }
}
