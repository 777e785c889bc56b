//! Accounts and groups in the words of the protocol (RFC 7643). What is not kept here is passed over.

use access::{Pushed, SCIM_MEMBERS_MAX, ScimAccount, ScimColumn, ScimError, ScimGroup, ScimView};
use serde_json::{Value, json};

use super::patch::{Verb, attribute, bad, equals, object, text, truth};

/// What can be pushed, as the protocol has it.
pub(super) trait Resource: Pushed {
    /// What it is called.
    const KIND: &'static str;
    /// Where they are, behind the address of the provider.
    const ENDPOINT: &'static str;
    /// Its schema.
    const SCHEMA: &'static str;
    /// What they can be found by.
    const COLUMNS: &'static [(&'static str, ScimColumn)];

    /// One, whole.
    fn whole(body: &Value) -> Result<Self, ScimError>;
    /// Does to an attribute what a change says.
    fn set(&mut self, name: &str, verb: Verb, value: &Value) -> Result<(), ScimError>;
    /// Its own attributes; `related` are the groups that it is in, or its members.
    fn attributes(&self, related: Vec<Value>) -> Value;
}

/// One, as it is shown.
pub(super) fn shown<T: Resource>(provider: &str, view: &ScimView<T>) -> Value {
    let ScimView { record, related } = view;
    let related = related.iter().map(|(id, name)| json!({ "value": id, "display": name })).collect();
    let mut value = record.said.attributes(related);
    value["schemas"] = json!([T::SCHEMA]);
    value["id"] = record.id.clone().into();
    value["meta"] = json!({
        "resourceType": T::KIND,
        "created": time(record.created_at),
        "lastModified": time(record.changed_at),
        "location": format!("/scim/v2/{provider}{}/{}", T::ENDPOINT, record.id),
    });
    value
}

impl Resource for ScimAccount {
    const KIND: &'static str = "User";
    const ENDPOINT: &'static str = "/Users";
    const SCHEMA: &'static str = "urn:ietf:params:scim:schemas:core:2.0:User";
    const COLUMNS: &'static [(&'static str, ScimColumn)] =
        &[("userName", ScimColumn::UserName), ("externalId", ScimColumn::Subject)];

    fn whole(body: &Value) -> Result<Self, ScimError> {
        let object = object(body)?;
        let required = |name: &str| {
            text(attribute(object, name), name)?
                .ok_or_else(|| bad("invalidValue", format!("`{name}` is missing; it names the account")))
        };
        let full = attribute(object, "name").and_then(Value::as_object);
        let formatted = full.and_then(|name| attribute(name, "formatted"));
        Ok(Self {
            // The subject that the provider's tokens have: without it, nobody who signs in could be found.
            subject: required("externalId")?,
            user_name: required("userName")?,
            display_name: text(attribute(object, "displayName").or(formatted), "displayName")?
                .unwrap_or_default(),
            active: attribute(object, "active").map_or(Ok(true), truth)?,
        })
    }

    fn set(&mut self, name: &str, verb: Verb, value: &Value) -> Result<(), ScimError> {
        let removed = || bad("mutability", "this attribute names the account and cannot be removed");
        match name.to_ascii_lowercase().as_str() {
            "active" if verb != Verb::Remove => self.active = truth(value)?,
            // Nobody says that it may be used any more.
            "active" => self.active = false,
            "username" => self.user_name = text(Some(value), name)?.ok_or_else(removed)?,
            "externalid" => self.subject = text(Some(value), name)?.ok_or_else(removed)?,
            "displayname" | "name.formatted" => {
                self.display_name = text(Some(value), name)?.unwrap_or_default();
            }
            _ => {}
        }
        Ok(())
    }

    fn attributes(&self, related: Vec<Value>) -> Value {
        json!({
            "externalId": self.subject,
            "userName": self.user_name,
            "displayName": self.display_name,
            "active": self.active,
            "groups": related,
        })
    }
}

impl Resource for ScimGroup {
    const KIND: &'static str = "Group";
    const ENDPOINT: &'static str = "/Groups";
    const SCHEMA: &'static str = "urn:ietf:params:scim:schemas:core:2.0:Group";
    const COLUMNS: &'static [(&'static str, ScimColumn)] =
        &[("displayName", ScimColumn::Name), ("externalId", ScimColumn::ExternalId)];

    fn whole(body: &Value) -> Result<Self, ScimError> {
        let object = object(body)?;
        let name = text(attribute(object, "displayName"), "displayName")?.ok_or_else(|| {
            bad("invalidValue", "`displayName` is missing; it is what `[[role_mapping]]` names")
        })?;
        let external_id = text(attribute(object, "externalId"), "externalId")?.unwrap_or_default();
        let members = attribute(object, "members").map_or_else(|| Ok(Vec::new()), members)?;
        Ok(Self { name, external_id, members })
    }

    fn set(&mut self, name: &str, verb: Verb, value: &Value) -> Result<(), ScimError> {
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
            self.members.retain(|member| *member != id);
            return Ok(());
        }
        match name.to_ascii_lowercase().as_str() {
            "members" => {
                let said = if value.is_null() { Vec::new() } else { members(value)? };
                match verb {
                    Verb::Add => self.members.extend(said),
                    Verb::Replace => self.members = said,
                    Verb::Remove if said.is_empty() => self.members.clear(),
                    Verb::Remove => self.members.retain(|member| !said.contains(member)),
                }
            }
            "displayname" => {
                let removed = || bad("mutability", "the name of a group cannot be removed");
                self.name = text(Some(value), name)?.ok_or_else(removed)?;
            }
            "externalid" => self.external_id = text(Some(value), name)?.unwrap_or_default(),
            _ => {}
        }
        Ok(())
    }

    fn attributes(&self, related: Vec<Value>) -> Value {
        let mut value = json!({ "displayName": self.name, "members": related });
        if !self.external_id.is_empty() {
            value["externalId"] = self.external_id.clone().into();
        }
        value
    }
}

/// `[{ "value": ID }, …]`, or one of them.
fn members(value: &Value) -> Result<Vec<String>, ScimError> {
    let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
    if all.len() > SCIM_MEMBERS_MAX {
        return Err(bad("invalidValue", format!("at most {SCIM_MEMBERS_MAX} members at once")));
    }
    let id = |member: &Value| {
        let named = member.as_object().and_then(|member| attribute(member, "value")).unwrap_or(member);
        named.as_str().map(str::to_owned).ok_or_else(|| bad("invalidValue", "a member is `{\"value\": ID}`"))
    };
    all.iter().map(id).collect()
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
