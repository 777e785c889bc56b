//! What an account at a provider may do here: by a table, and never by what its groups are called.

use data_encoding::BASE32_DNSSEC;
use sha2::{Digest, Sha256};
use store::Rights;
use types::{DataClass, PriorityClass, Role};

use crate::NAME_BYTES_MAX;

/// One line of the table. The first one that fits an account counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoleMapping {
    /// Configured name of the provider.
    pub provider: String,
    /// A group that the account is in; or none, if `subject` says which account.
    pub group: Option<String>,
    /// The account itself: a workload, as a rule.
    pub subject: Option<String>,
    /// Name of the tenant that it belongs to.
    pub tenant: String,
    /// What it is there.
    pub role: Role,
    /// Highest class of its requests.
    pub class_max: PriorityClass,
    /// Most sensitive data that it may send.
    pub data_class_max: DataClass,
}

impl RoleMapping {
    fn fits(&self, provider: &str, of: &str, groups: &[String]) -> bool {
        self.provider == provider
            && match (&self.group, &self.subject) {
                (Some(group), None) => groups.contains(group),
                (None, Some(subject)) => subject == of,
                _ => false,
            }
    }

    pub(crate) fn rights(&self) -> Rights {
        Rights { role: self.role, class_max: self.class_max, data_class_max: self.data_class_max }
    }
}

/// The line for an account of a provider that is in these groups.
pub(crate) fn find<'a>(
    table: &'a [RoleMapping],
    provider: &str,
    subject: &str,
    groups: &[String],
) -> Option<&'a RoleMapping> {
    table.iter().find(|mapping| mapping.fits(provider, subject, groups))
}

/// What an account is called here: the provider and its subject, or a hash of a subject that is no name.
pub(crate) fn user_name(provider: &str, subject: &str) -> String {
    let name = format!("{provider}:{subject}");
    let is_plain = |character: char| character.is_ascii_alphanumeric() || "-_.@|:+".contains(character);
    if name.len() <= NAME_BYTES_MAX && name.chars().all(is_plain) {
        return name;
    }
    let hash = BASE32_DNSSEC.encode(&Sha256::digest(subject.as_bytes()));
    format!("{provider}:#{}", &hash[..26])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(provider: &str, group: Option<&str>, subject: Option<&str>, role: Role) -> RoleMapping {
        RoleMapping {
            provider: provider.to_owned(),
            group: group.map(str::to_owned),
            subject: subject.map(str::to_owned),
            tenant: "clinic".to_owned(),
            role,
            class_max: PriorityClass::Normal,
            data_class_max: DataClass::Internal,
        }
    }

    #[test]
    fn the_first_line_that_fits_counts_and_names_mean_nothing() {
        let table = [
            line("corp", Some("it"), None, Role::Administrator),
            line("corp", Some("doctors"), None, Role::Member),
            line("kube", None, Some("system:job"), Role::Operator),
        ];
        let role = |provider: &str, subject: &str, groups: &[&str]| {
            let groups: Vec<String> = groups.iter().map(|&group| group.to_owned()).collect();
            find(&table, provider, subject, &groups).map(|line| line.role)
        };
        assert_eq!(role("corp", "1", &["doctors", "it"]), Some(Role::Administrator));
        assert_eq!(role("corp", "1", &["doctors"]), Some(Role::Member));
        assert_eq!(role("kube", "system:job", &[]), Some(Role::Operator));
        for (provider, subject, groups) in [
            ("corp", "1", &[][..]),
            ("corp", "1", &["owner", "administrator", "IT", "it "]),
            ("other", "1", &["it"]),
            ("corp", "system:job", &[]),
            ("kube", "system:job2", &["system:job"]),
        ] {
            assert_eq!(role(provider, subject, groups), None, "{provider} {subject} {groups:?}");
        }
    }

    #[test]
    fn two_accounts_never_have_one_name() {
        let name = |subject: &str| user_name("corp", subject);
        assert_eq!(name("3f-a.b@c"), "corp:3f-a.b@c");
        for subject in ["ann\u{200b}", "а", "x y", "", &"x".repeat(255), "#00000000000000000000000000"] {
            let name = name(subject);
            assert!(name.starts_with("corp:") && name.len() <= NAME_BYTES_MAX && name.is_ascii(), "{name}");
        }
        assert_ne!(name("x y"), name("x z"));
    }
}
