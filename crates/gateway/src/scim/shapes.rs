//! How accounts, groups and what else SCIM speaks of are written (RFC 7643, RFC 7644), for the description of the API.

use std::collections::BTreeMap;

use access::{ScimAccount, ScimGroup};
use serde_json::{Value, json};
use utoipa::{
    IntoResponses,
    openapi::{RefOr, Response},
};

use super::{ERROR, LIST, resource::Resource};
use crate::described::{self, described};

/// An account as it is sent.
pub(super) enum ScimUserRequest {}
/// An account.
pub(super) enum ScimUserAnswer {}
/// A group as it is sent.
pub(super) enum ScimGroupRequest {}
/// A group.
pub(super) enum ScimGroupAnswer {}
/// Changes of either.
pub(super) enum ScimPatch {}
/// Some of them.
pub(super) enum ScimList {}
/// What SCIM can do here.
pub(super) enum ScimConfiguration {}

described! {
    ScimUserRequest = request(&["externalId", "userName"], json!({
        "externalId": text(), "userName": text(),
        "displayName": { "type": ["string", "null"], "maxLength": 255 },
        "active": { "anyOf": [{ "type": "boolean" }, { "type": "string", "pattern": "^([Tt]rue|[Ff]alse)$" }] },
    }));
    ScimUserAnswer = answer(ScimAccount::SCHEMA, json!({
        "externalId": text(), "userName": text(), "displayName": { "type": "string" }, "active": { "type": "boolean" },
        "groups": references(),
    }));
    ScimGroupRequest = request(&["displayName"], json!({
        "displayName": text(), "externalId": { "type": ["string", "null"], "maxLength": 255 },
        "members": {
            "type": "array",
            "items": { "type": "object", "required": ["value"], "properties": { "value": { "type": "string" } } },
        },
    }));
    ScimGroupAnswer = answer(ScimGroup::SCHEMA, json!({ "displayName": text(), "externalId": text(), "members": references() }));
    ScimPatch = request(&["Operations"], json!({
        "Operations": { "type": "array", "minItems": 1, "items": {
            "type": "object", "required": ["op"],
            "properties": { "op": { "type": "string", "pattern": "^([Aa]dd|[Rr]eplace|[Rr]emove)$" }, "path": { "type": "string" } },
        } },
    }));
    ScimList = json!({
        "type": "object", "required": ["schemas", "totalResults", "startIndex", "itemsPerPage", "Resources"],
        "properties": {
            "schemas": schemas(LIST), "totalResults": whole(), "startIndex": whole(), "itemsPerPage": whole(),
            "Resources": { "type": "array", "items": { "type": "object" } },
        },
    });
    ScimConfiguration = json!({
        "type": "object", "required": ["schemas", "patch", "bulk", "filter", "changePassword", "sort", "etag"],
    });
}

fn text() -> Value {
    json!({ "type": "string", "minLength": 1, "maxLength": 255 })
}

fn whole() -> Value {
    json!({ "type": "integer", "minimum": 0 })
}

fn schemas(urn: &str) -> Value {
    json!({ "type": "array", "items": { "type": "string", "enum": [urn] }, "minItems": 1, "maxItems": 1 })
}

fn references() -> Value {
    json!({ "type": "array", "items": {
        "type": "object", "required": ["value", "display"],
        "properties": { "value": { "type": "string" }, "display": { "type": "string" } },
    } })
}

/// What is not kept here may be sent too, and is passed over.
fn request(required: &[&str], properties: Value) -> Value {
    json!({ "type": "object", "required": required, "properties": properties })
}

fn answer(urn: &str, mut properties: Value) -> Value {
    properties["schemas"] = schemas(urn);
    properties["id"] = json!({ "type": "string" });
    properties["meta"] = json!({
        "type": "object", "required": ["resourceType", "created", "lastModified", "location"],
        "properties": {
            "created": { "type": "string", "format": "date-time" },
            "lastModified": { "type": "string", "format": "date-time" },
        },
    });
    let required =
        properties.as_object().into_iter().flat_map(|all| all.keys()).filter(|name| *name != "externalId");
    json!({ "type": "object", "required": required.collect::<Vec<_>>(), "properties": properties })
}

/// A refusal of SCIM's; or, of those who are sent away at the door, an error as everywhere.
pub(super) struct Refused;

impl IntoResponses for Refused {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        let refusal = json!({
            "type": "object", "required": ["schemas", "status", "detail"],
            "properties": {
                "schemas": schemas(ERROR), "status": { "type": "string", "pattern": "^[45][0-9]{2}$" },
                "detail": { "type": "string" }, "scimType": { "type": "string" },
            },
        });
        let response = json!({ "description": "Not allowed, none, or not what it must be", "content": {
            "application/scim+json": { "schema": refusal }, "application/json": { "schema": described::error() },
        } });
        // Our own words are always a description; if they were not, the tests would see none.
        serde_json::from_value(json!({ "4XX": response, "5XX": response })).unwrap_or_default()
    }
}
