use types::{DataClass, OutOfRange, PriorityClass, Purposes, Role, Scope, UserId};

use crate::action::ACTIONS;

/// Longest label, tenant or user of a key, in bytes.
pub const NAME_BYTES_MAX: usize = 64;
/// Most models of a scope.
const MODELS_MAX: usize = 64;

/// A key to be made.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What it is for, as its owner calls it; unique among live keys is not required.
    pub label: String,
    /// Name of the tenant; made if new.
    pub tenant: String,
    /// Name of the user in the tenant; made if new.
    pub user: String,
    /// Whether the user, if they are new, is a service account: a program, not a person.
    pub is_service: bool,
    /// What may be done with it at most; what the user may do, if they are new.
    pub role: Role,
    /// Highest class of its requests.
    pub class_max: PriorityClass,
    /// Most sensitive data that may be sent with it.
    pub data_class_max: DataClass,
    /// What models may be used for with it; any: what its owner may.
    pub purposes: Purposes,
    /// What it is for.
    pub scope: Scope,
    /// Seconds since 1970; without it, it does not expire.
    pub expires_at: Option<u64>,
}

impl NewKey {
    /// Label, tenant and user must be names of 1 to 64 bytes that print as what they are; the actions must exist, and it must
    /// not have expired at `now` (seconds since 1970).
    pub(crate) fn check(&self, now: u64) -> Result<(), OutOfRange> {
        check_name("label", &self.label)?;
        check_name("tenant", &self.tenant)?;
        check_name("user", &self.user)?;
        if self.scope.models().len() > MODELS_MAX {
            let allowed = format!("at most {MODELS_MAX}");
            return Err(OutOfRange::new("models", self.scope.models().len(), allowed));
        }
        if !self.scope.actions().iter().all(|action| ACTIONS.contains(&action.as_str())) {
            return Err(OutOfRange::new("actions", "an unknown name", ACTIONS.join(", ")));
        }
        match self.expires_at {
            Some(expires_at) if expires_at <= now => Err(OutOfRange::new(
                "expires_at",
                expires_at,
                "a time that is to come, in seconds since 1970",
            )),
            _ => Ok(()),
        }
    }
}

/// A user as an administrator sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserView {
    /// Their number, which policies and records go by.
    pub id: UserId,
    /// Name of the tenant.
    pub tenant: String,
    /// Name of the user in it.
    pub user: String,
    /// What they are.
    pub role: Role,
    /// Highest class of their requests.
    pub class_max: PriorityClass,
    /// Most sensitive data that they may send.
    pub data_class_max: DataClass,
    /// What they may use models for.
    pub purposes: Purposes,
    /// Their team in the tenant.
    pub team: Option<String>,
    /// Whether they are a service account: a program, not a person.
    pub is_service: bool,
    /// Seconds since 1970, if they may do nothing for now.
    pub suspended_at: Option<u64>,
    /// Whether they are an account that its provider, or the table of roles, does not let in.
    pub shut_out: bool,
}

/// What is changed of a user; what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct UserChange {
    /// What they are.
    pub role: Option<Role>,
    /// Highest class of their requests.
    pub class_max: Option<PriorityClass>,
    /// Most sensitive data that they may send.
    pub data_class_max: Option<DataClass>,
    /// What they may use models for.
    pub purposes: Option<Purposes>,
    /// Their team in the tenant; `Some(None)`: none.
    pub team: Option<Option<String>>,
    /// Whether they may do nothing for now.
    pub suspended: Option<bool>,
}

/// A key as its administrator sees it: everything but the secret.
#[derive(Debug, Clone)]
pub struct KeyView {
    /// Public part of the key; names it in `llmos keys revoke`.
    pub id: String,
    /// What was asked for.
    pub key: NewKey,
    /// Seconds since 1970.
    pub created_at: u64,
    /// Seconds since 1970, if it was revoked.
    pub revoked_at: Option<u64>,
    /// Until when the secret before this one is accepted, if it was rotated: seconds since 1970.
    pub old_until: Option<u64>,
}

pub(crate) fn check_name(parameter: &'static str, name: &str) -> Result<(), OutOfRange> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        let allowed = format!("1 to {NAME_BYTES_MAX} bytes");
        return Err(OutOfRange::new(parameter, format!("{} bytes long", name.len()), allowed));
    }
    if name.chars().any(misleads) || name.trim() != name {
        let value = "a name that does not print as what it is";
        return Err(OutOfRange::new(parameter, value, "printable characters, and no space at either end"));
    }
    Ok(())
}

/// Control characters, and those that print as nothing or turn the text around (Unicode's `Cf`, `Zl` and `Zp` as
/// far as they occur in practice): with them two names could look the same in a list.
fn misleads(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_each_under_its_own_parameter() {
        let good = ["x", "Ward 3", "Klinik Süd", "财务部", "a/b-c_d.e@f", &"x".repeat(NAME_BYTES_MAX)];
        let bad = [
            "",
            " ",
            " x",
            "x ",
            "x\ny",
            "x\0",
            "\u{1b}[31mred",
            "x\u{7f}",
            "x\u{85}y",
            "x\u{200b}y",
            "\u{202e}resu",
            "\u{feff}x",
            &"x".repeat(NAME_BYTES_MAX + 1),
            &"é".repeat(NAME_BYTES_MAX / 2 + 1),
        ];
        for parameter in ["label", "tenant", "user"] {
            let key = |name: &str| {
                let of = |field: &str| if field == parameter { name.to_owned() } else { "x".to_owned() };
                NewKey {
                    label: of("label"),
                    tenant: of("tenant"),
                    user: of("user"),
                    is_service: false,
                    role: Role::Member,
                    class_max: PriorityClass::Normal,
                    data_class_max: DataClass::Internal,
                    purposes: Purposes::any(),
                    scope: Scope::default(),
                    expires_at: None,
                }
            };
            for name in good {
                assert_eq!(key(name).check(1), Ok(()), "{name:?}");
            }
            for name in bad {
                assert_eq!(key(name).check(1).unwrap_err().parameter, parameter, "{name:?}");
            }
        }
    }
}
