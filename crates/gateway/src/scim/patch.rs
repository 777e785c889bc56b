//! Reads attributes, filters, and the changes of `PATCH` (RFC 7644, section 3.5.2). Names of attributes are compared without regard to
//! case (RFC 7643, section 2.1).

use access::ScimError;
use serde_json::{Map, Value};

use super::resource::Resource;

/// Most changes in one request.
const OPERATIONS_MAX: usize = 1_000;

pub(super) fn bad(kind: &'static str, detail: impl Into<String>) -> ScimError {
    ScimError::BadChange(kind, detail.into())
}

/// The value of an attribute.
pub(super) fn attribute<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

pub(super) fn object(body: &Value) -> Result<&Map<String, Value>, ScimError> {
    body.as_object().ok_or_else(|| bad("invalidSyntax", "the body must be a JSON object"))
}

pub(super) fn text(value: Option<&Value>, name: &str) -> Result<Option<String>, ScimError> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(bad("invalidValue", format!("`{name}` must be a text"))),
    }
}

/// Some providers send truths as texts.
pub(super) fn truth(value: &Value) -> Result<bool, ScimError> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(bad("invalidValue", "`active` must be true or false")),
    }
}

/// A change.
#[derive(Debug)]
pub(super) struct Operation {
    verb: Verb,
    path: Option<String>,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// Also `replace`: of what is kept here only members have more than one value.
    Add,
    Replace,
    Remove,
}

/// The changes of a request.
pub(super) fn operations(body: &Value) -> Result<Vec<Operation>, ScimError> {
    let all = attribute(object(body)?, "Operations").and_then(Value::as_array);
    let all = all.filter(|all| (1..=OPERATIONS_MAX).contains(&all.len()));
    let all = all.ok_or_else(|| bad("invalidSyntax", "`Operations` must be a list of 1 to 1000 changes"))?;
    let read = |operation: &Value| {
        let operation = object(operation)?;
        let verb = text(attribute(operation, "op"), "op")?.unwrap_or_default().to_ascii_lowercase();
        let verb = match verb.as_str() {
            "add" => Verb::Add,
            "replace" => Verb::Replace,
            "remove" => Verb::Remove,
            _ => return Err(bad("invalidSyntax", "`op` is `add`, `replace` or `remove`")),
        };
        let path = text(attribute(operation, "path"), "path")?;
        let value = attribute(operation, "value").cloned().unwrap_or_default();
        if path.is_none() && (verb == Verb::Remove || !value.is_object()) {
            return Err(bad(
                "noTarget",
                "without a `path` the `value` must be an object, and nothing can be removed",
            ));
        }
        Ok(Operation { verb, path, value })
    };
    all.iter().map(read).collect()
}

/// Changes an account or a group.
pub(super) fn apply<T: Resource>(said: T, operations: &[Operation]) -> Result<T, ScimError> {
    operations.iter().try_fold(said, |mut said, Operation { verb, path, value }| {
        match (path, value.as_object()) {
            (Some(path), _) => said.set(path, *verb, value)?,
            (None, Some(values)) => {
                values.iter().try_for_each(|(name, value)| said.set(name, *verb, value))?;
            }
            (None, None) => {}
        }
        Ok(said)
    })
}

/// `ATTRIBUTE eq "VALUE"`.
pub(super) fn equals(filter: &str) -> Option<(&str, String)> {
    let (attribute, rest) = filter.trim().split_once(' ')?;
    let (operator, value) = rest.trim_start().split_once(' ')?;
    let value: String = serde_json::from_str(value.trim()).ok()?;
    operator.eq_ignore_ascii_case("eq").then_some((attribute, value))
}

#[cfg(test)]
mod tests {
    use access::{ScimAccount, ScimGroup};
    use serde_json::json;

    use super::*;

    fn changed<T: Resource>(said: T, operations: Value) -> Option<T> {
        apply(said, &super::operations(&json!({ "Operations": operations })).ok()?).ok()
    }

    /// As Entra ID, Okta and the standard's own examples write them.
    #[test]
    fn members_come_and_go_as_providers_say_it() {
        let members = |operations: Value| {
            let group = ScimGroup {
                name: "doctors".to_owned(),
                external_id: String::new(),
                members: vec!["1".to_owned(), "2".to_owned()],
            };
            changed(group, operations).map(|group| group.members.join(" "))
        };
        for (operations, expected) in [
            (json!([{ "op": "Add", "path": "members", "value": [{ "value": "3" }] }]), Some("1 2 3")),
            (json!([{ "op": "add", "value": { "members": [{ "value": "3" }] } }]), Some("1 2 3")),
            (json!([{ "op": "Remove", "path": "members", "value": [{ "value": "2" }] }]), Some("1")),
            (json!([{ "op": "remove", "path": "members[value eq \"2\"]" }]), Some("1")),
            (json!([{ "op": "remove", "path": "members" }]), Some("")),
            (json!([{ "op": "replace", "path": "members", "value": [] }]), Some("")),
            (json!([{ "op": "replace", "value": { "id": "x", "displayName": "staff" } }]), Some("1 2")),
            (json!([{ "op": "remove" }]), None),
            (json!([{ "op": "move", "path": "members" }]), None),
            (json!([{ "op": "add", "path": "members", "value": [7] }]), None),
            (json!([{ "op": "replace", "path": "members[value eq \"2\"]", "value": {} }]), None),
            (json!([]), None),
        ] {
            assert_eq!(members(operations.clone()).as_deref(), expected, "{operations}");
        }
    }

    #[test]
    fn an_account_is_switched_off_as_providers_say_it() {
        for operation in [
            json!({ "op": "Replace", "path": "active", "value": "False" }),
            json!({ "op": "replace", "value": { "active": false } }),
            json!({ "op": "remove", "path": "ACTIVE" }),
        ] {
            let account = ScimAccount::whole(&json!({ "externalId": "1", "userName": "ann" })).unwrap();
            assert!(account.active);
            assert!(!changed(account, json!([operation.clone()])).unwrap().active, "{operation}");
        }
        assert!(ScimAccount::whole(&json!({ "userName": "ann" })).is_err());
        assert!(
            ScimAccount::whole(&json!({ "externalId": "1", "userName": "ann", "active": "perhaps" }))
                .is_err()
        );
    }

    #[test]
    fn filters_are_of_one_form() {
        assert_eq!(equals("userName eq \"a \\\"b\\\"\""), Some(("userName", "a \"b\"".to_owned())));
        for other in [
            "userName",
            "userName eq",
            "userName eq x",
            "userName co \"x\"",
            "userName eq \"x\" or id pr",
            "",
        ] {
            assert_eq!(equals(other), None, "{other}");
        }
    }
}
