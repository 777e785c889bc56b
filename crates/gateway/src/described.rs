//! What the description of the API says that no type says by itself: names of levels, values whose JSON has several shapes, and
//! what all answers have in common.

use serde_json::{Value, json};
use types::{DataClass, ModelName, PriorityClass, Role};
use utoipa::openapi::{RefOr, Schema};

/// Describes types in the words of JSON Schema. Bounds of thousands are said in words only: who tries them generates megabytes.
macro_rules! described {
    ($($name:ty = $words:expr;)+) => {
        $(
            impl utoipa::PartialSchema for $name {
                fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                    $crate::described::schema($words)
                }
            }

            impl utoipa::ToSchema for $name {}
        )+
    };
}
pub(crate) use described;

/// The least and the most that a 32-bit number of ours may be.
pub(crate) fn count(least: u32) -> Value {
    json!({ "type": "integer", "minimum": least, "maximum": u32::MAX })
}

/// What is no description says nothing of the value; the tests look at each.
pub(crate) fn schema(words: Value) -> RefOr<Schema> {
    serde_json::from_value(words).unwrap_or_default()
}

/// How a role is written.
pub(crate) enum RoleName {}
/// How a class of requests is written.
pub(crate) enum ClassName {}
/// How a data class is written.
pub(crate) enum DataClassName {}
/// How the name of a model is written.
pub(crate) enum NameOfModel {}

described! {
    RoleName = one_of(Role::ALL.iter().map(|role| role.as_str()));
    ClassName = one_of(PriorityClass::ALL.iter().map(|class| class.as_str()));
    DataClassName = one_of(DataClass::ALL.iter().map(|class| class.as_str()));
    NameOfModel = json!({
        "type": "string", "minLength": 1, "maxLength": ModelName::BYTES_MAX, "pattern": "^[A-Za-z0-9._:/@+-]+$",
    });
}

fn one_of(names: impl Iterator<Item = &'static str>) -> Value {
    json!({ "type": "string", "enum": names.collect::<Vec<_>>() })
}

/// Says of every operation what is true of all: which errors it may end with, and what every answer carries.
pub(crate) fn complete(document: &mut Value) {
    let items = document["paths"].as_object_mut().into_iter().flat_map(|paths| paths.values_mut());
    let operations = items.filter_map(Value::as_object_mut).flat_map(|item| item.values_mut());
    for operation in operations {
        for (status, why) in [("4XX", "The request is refused"), ("5XX", "It cannot be answered now")] {
            let response = &mut operation["responses"][status];
            if response.is_null() {
                *response =
                    json!({ "description": why, "content": { "application/json": { "schema": error() } } });
            }
        }
        for (_, response) in operation["responses"].as_object_mut().into_iter().flatten() {
            for name in headers().as_object().into_iter().flat_map(|all| all.keys()) {
                response["headers"][name] = json!({ "$ref": format!("#/components/headers/{name}") });
            }
        }
    }
    document["components"]["headers"] = headers();
}

/// The shape of errors.
pub(crate) fn error() -> Value {
    json!({ "$ref": "#/components/schemas/ErrorBody" })
}

/// What answers carry, whatever the route, and what they say who ask to come back later.
fn headers() -> Value {
    json!({
        "x-request-id": { "required": true, "schema": { "type": "string", "pattern": "^[0-9a-f]{32}$" } },
        "retry-after": { "schema": { "type": "integer", "minimum": 1 } },
    })
}
