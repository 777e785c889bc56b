//! Reads what is said of accounts and groups, and the changes of `PATCH` (RFC 7644, section 3.5.2). Names of attributes are
//! compared without regard to case (RFC 7643, section 2.1). What is not kept here is passed over.

use access::{SCIM_MEMBERS_MAX, ScimAccount, ScimGroup};
use serde_json::{Map, Value};

use super::Refusal;

/// Most changes in one request.
const OPERATIONS_MAX: usize = 1_000;

fn bad(kind: &'static str, detail: &str) -> Refusal {
    Refusal::Bad(kind, detail.to_owned())
}

/// The value of an attribute.
fn attribute<'a>(object: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    object.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value)
}

fn object(body: &Value) -> Result<&Map<String, Value>, Refusal> {
    body.as_object().ok_or_else(|| bad("invalidSyntax", "the body must be a JSON object"))
}

fn text(value: Option<&Value>, name: &str) -> Result<Option<String>, Refusal> {
    match value {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(_) => Err(Refusal::Bad("invalidValue", format!("`{name}` must be a text"))),
    }
}

/// Some providers send truths as texts.
fn truth(value: &Value) -> Result<bool, Refusal> {
    match value {
        Value::Bool(truth) => Ok(*truth),
        Value::String(text) if text.eq_ignore_ascii_case("true") => Ok(true),
        Value::String(text) if text.eq_ignore_ascii_case("false") => Ok(false),
        _ => Err(bad("invalidValue", "`active` must be true or false")),
    }
}

/// An account, whole.
pub(super) fn account(body: &Value) -> Result<ScimAccount, Refusal> {
    let object = object(body)?;
    let required = |name: &str| {
        text(attribute(object, name), name)?
            .ok_or_else(|| Refusal::Bad("invalidValue", format!("`{name}` is missing; it names the account")))
    };
    let full = attribute(object, "name").and_then(Value::as_object);
    let formatted = full.and_then(|name| attribute(name, "formatted"));
    Ok(ScimAccount {
        // The subject that the provider's tokens have: without it, nobody who signs in could be found.
        subject: required("externalId")?,
        user_name: required("userName")?,
        display_name: text(attribute(object, "displayName").or(formatted), "displayName")?
            .unwrap_or_default(),
        active: attribute(object, "active").map_or(Ok(true), truth)?,
    })
}

/// A group, whole, and the ids of its members.
pub(super) fn group(body: &Value) -> Result<(ScimGroup, Vec<String>), Refusal> {
    let object = object(body)?;
    let name = text(attribute(object, "displayName"), "displayName")?.ok_or_else(|| {
        bad("invalidValue", "`displayName` is missing; it is what `[[role_mapping]]` names")
    })?;
    let external_id = text(attribute(object, "externalId"), "externalId")?.unwrap_or_default();
    let members = attribute(object, "members").map_or_else(|| Ok(Vec::new()), members)?;
    Ok((ScimGroup { name, external_id }, members))
}

/// `[{ "value": ID }, …]`, or one of them.
fn members(value: &Value) -> Result<Vec<String>, Refusal> {
    let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    if all.len() > SCIM_MEMBERS_MAX {
        return Err(Refusal::Bad("invalidValue", format!("at most {SCIM_MEMBERS_MAX} members at once")));
    }
    let id = |member: &Value| {
        let named = member.as_object().and_then(|member| attribute(member, "value")).unwrap_or(member);
        named.as_str().map(str::to_owned).ok_or_else(|| bad("invalidValue", "a member is `{\"value\": ID}`"))
    };
    all.iter().map(id).collect()
}

/// A change.
#[derive(Debug)]
pub(super) struct Operation {
    verb: Verb,
    path: Option<String>,
    value: Value,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verb {
    /// Also `replace`: of what is kept here only members have more than one value.
    Add,
    Replace,
    Remove,
}

/// The changes of a request.
pub(super) fn operations(body: &Value) -> Result<Vec<Operation>, Refusal> {
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

/// Changes an account.
pub(super) fn change_account(account: &mut ScimAccount, operation: &Operation) -> Result<(), Refusal> {
    match (&operation.path, operation.value.as_object()) {
        (Some(path), _) => set(account, path, operation.verb, &operation.value),
        (None, Some(values)) => {
            values.iter().try_for_each(|(name, value)| set(account, name, operation.verb, value))
        }
        (None, None) => Ok(()),
    }
}

fn set(account: &mut ScimAccount, name: &str, verb: Verb, value: &Value) -> Result<(), Refusal> {
    let removed = || bad("mutability", "this attribute names the account and cannot be removed");
    match name.to_ascii_lowercase().as_str() {
        "active" if verb != Verb::Remove => account.active = truth(value)?,
        // Nobody says that it may be used any more.
        "active" => account.active = false,
        "username" => account.user_name = text(Some(value), name)?.ok_or_else(removed)?,
        "externalid" => account.subject = text(Some(value), name)?.ok_or_else(removed)?,
        "displayname" | "name.formatted" => {
            account.display_name = text(Some(value), name)?.unwrap_or_default();
        }
        // What is not kept here.
        _ => {}
    }
    Ok(())
}

/// Changes a group and its members.
pub(super) fn change_group(
    group: &mut ScimGroup,
    inside: &mut Vec<String>,
    operation: &Operation,
) -> Result<(), Refusal> {
    match (&operation.path, operation.value.as_object()) {
        (Some(path), _) => set_group(group, inside, path, operation.verb, &operation.value),
        (None, Some(values)) => {
            values.iter().try_for_each(|(name, value)| set_group(group, inside, name, operation.verb, value))
        }
        (None, None) => Ok(()),
    }
}

fn set_group(
    group: &mut ScimGroup,
    inside: &mut Vec<String>,
    name: &str,
    verb: Verb,
    value: &Value,
) -> Result<(), Refusal> {
    // `members[value eq "ID"]`
    let selected = name.strip_suffix(']').and_then(|name| name.split_once('['));
    if let Some((list, filter)) = selected {
        let id = equals(filter).filter(|(attribute, _)| attribute.eq_ignore_ascii_case("value"));
        let (true, Verb::Remove, Some((_, id))) = (list.eq_ignore_ascii_case("members"), verb, id) else {
            return Err(bad(
                "invalidPath",
                "of parts of a list only `members[value eq \"ID\"]` can be removed",
            ));
        };
        inside.retain(|member| *member != id);
        return Ok(());
    }
    match name.to_ascii_lowercase().as_str() {
        "members" => {
            let said = if value.is_null() { Vec::new() } else { members(value)? };
            match verb {
                Verb::Add => inside.extend(said),
                Verb::Replace => *inside = said,
                Verb::Remove if said.is_empty() => inside.clear(),
                Verb::Remove => inside.retain(|member| !said.contains(member)),
            }
        }
        "displayname" => {
            let removed = || bad("mutability", "the name of a group cannot be removed");
            group.name = text(Some(value), name)?.ok_or_else(removed)?;
        }
        "externalid" => group.external_id = text(Some(value), name)?.unwrap_or_default(),
        _ => {}
    }
    Ok(())
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
    use serde_json::json;

    use super::*;

    fn changed(operations: Value) -> Option<(ScimGroup, Vec<String>)> {
        let mut group = ScimGroup { name: "doctors".to_owned(), external_id: String::new() };
        let mut members = vec!["1".to_owned(), "2".to_owned()];
        for operation in super::operations(&json!({ "Operations": operations })).ok()? {
            change_group(&mut group, &mut members, &operation).ok()?;
        }
        Some((group, members))
    }

    /// As Entra ID, Okta and the standard's own examples write them.
    #[test]
    fn members_come_and_go_as_providers_say_it() {
        let members = |operations: Value| changed(operations).map(|(_, members)| members.join(" "));
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
            let mut account =
                account(&json!({ "externalId": "1", "userName": "ann" })).unwrap_or_else(|_| panic!());
            assert!(account.active);
            let all = operations(&json!({ "Operations": [operation] })).unwrap_or_else(|_| panic!());
            assert!(change_account(&mut account, &all[0]).is_ok());
            assert!(!account.active, "{operation}");
        }
        assert!(account(&json!({ "userName": "ann" })).is_err());
        assert!(account(&json!({ "externalId": "1", "userName": "ann", "active": "perhaps" })).is_err());
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
