use types::{DataClass, ModelName, Principal, PriorityClass, Role, SequenceId};

use crate::AccessError;

/// Something that can be done, and to what.
pub trait Action {
    /// What it is done to.
    type Resource;
    /// Its name in policies and logs.
    const NAME: &'static str;
    /// Roles that may do it.
    const ROLES: &'static [Role];
    /// Checks that need the resource, and fills in what the caller left open; `Err` is what the caller is told.
    fn check(_principal: &Principal, _resource: &mut Self::Resource) -> Result<(), AccessError> {
        Ok(())
    }
}

/// Proof of a decision. Only this crate can build it, so a handler without one does not compile.
///
/// ```compile_fail,E0451
/// fn forged(principal: types::Principal) -> access::Authorized<access::ListModels> {
///     access::Authorized { principal, resource: () }
/// }
/// ```
pub struct Authorized<A: Action> {
    principal: Principal,
    resource: A::Resource,
}

impl<A: Action> Authorized<A> {
    /// The decision itself: the role, then what the credential is for, then what the action checks.
    pub(crate) fn decide(principal: &Principal, mut resource: A::Resource) -> Result<Self, AccessError> {
        if !A::ROLES.contains(&principal.role) {
            let needs: Vec<_> = A::ROLES.iter().map(|role| role.as_str()).collect();
            return Err(AccessError::Denied {
                action: A::NAME,
                role: principal.role,
                needs: needs.join(", "),
            });
        }
        if !principal.scope.covers_action(A::NAME) {
            return Err(AccessError::OutOfScope { what: "action", name: A::NAME.to_owned() });
        }
        A::check(principal, &mut resource)?;
        Ok(Self { principal: principal.clone(), resource })
    }

    /// Who.
    pub fn principal(&self) -> &Principal {
        &self.principal
    }

    /// To what.
    pub fn resource(&self) -> &A::Resource {
        &self.resource
    }
}

/// Roles that run the system.
const OPERATORS: &[Role] = &[Role::Operator, Role::Administrator];

/// Generate with a model.
pub struct Generate;

/// Have a model compute vectors or scores of texts.
pub struct Embed;

/// What the use of a model asks for. Once authorised, nothing in it is absent.
pub struct ModelUse {
    /// The model, by its configured name.
    pub model: ModelName,
    /// How urgent; filled in by the decision if absent.
    pub class: Option<PriorityClass>,
    /// How sensitive; filled in by the decision if absent.
    pub data_class: Option<DataClass>,
}

impl Action for Generate {
    type Resource = ModelUse;
    const NAME: &'static str = "generate";
    const ROLES: &'static [Role] = Role::ALL;

    fn check(principal: &Principal, asked: &mut ModelUse) -> Result<(), AccessError> {
        asked.settle(principal)
    }
}

impl Action for Embed {
    type Resource = ModelUse;
    const NAME: &'static str = "embed";
    const ROLES: &'static [Role] = Role::ALL;

    fn check(principal: &Principal, asked: &mut ModelUse) -> Result<(), AccessError> {
        asked.settle(principal)
    }
}

impl ModelUse {
    /// Bounds the classes by what the principal may, and fills in those that are absent.
    fn settle(&mut self, principal: &Principal) -> Result<(), AccessError> {
        if !principal.scope.covers_model(&self.model) {
            return Err(AccessError::OutOfScope { what: "model", name: self.model.to_string() });
        }
        let (class_max, data_class_max) = (principal.class_max, principal.data_class_max);
        let class = self.class.unwrap_or(PriorityClass::Normal.min(class_max));
        if class > class_max {
            return Err(over("class", class.as_str(), class_max.as_str()));
        }
        // The highest, so that who forgets to say it is protected more, never less.
        let data_class = self.data_class.unwrap_or(data_class_max);
        if data_class > data_class_max {
            return Err(over("data_class", data_class.as_str(), data_class_max.as_str()));
        }
        self.class = Some(class);
        self.data_class = Some(data_class);
        Ok(())
    }
}

fn over(parameter: &'static str, asked: &'static str, max: &'static str) -> AccessError {
    AccessError::OverLimit { parameter, asked, max }
}

/// Have an answer stored, of a request with this data class.
pub struct StoreChatCompletion;

impl Action for StoreChatCompletion {
    type Resource = DataClass;
    const NAME: &'static str = "store_chat_completion";
    const ROLES: &'static [Role] = Role::ALL;
}

/// Read stored chat completions: those of the caller's own, which the store sees to.
pub struct ReadChatCompletions;

impl Action for ReadChatCompletions {
    type Resource = ();
    const NAME: &'static str = "read_chat_completions";
    const ROLES: &'static [Role] = Role::ALL;
}

/// Change and delete them.
pub struct ChangeChatCompletions;

impl Action for ChangeChatCompletions {
    type Resource = ();
    const NAME: &'static str = "change_chat_completions";
    const ROLES: &'static [Role] = Role::ALL;
}

/// Rotate, back up and restore the keys of what is stored, and destroy those of a person.
pub struct ManageVault;

impl Action for ManageVault {
    type Resource = ();
    const NAME: &'static str = "manage_vault";
    const ROLES: &'static [Role] = &[Role::Administrator];
}

/// See which models there are.
pub struct ListModels;

impl Action for ListModels {
    type Resource = ();
    const NAME: &'static str = "list_models";
    const ROLES: &'static [Role] = Role::ALL;
}

/// Read the description of the API.
pub struct ReadApi;

impl Action for ReadApi {
    type Resource = ();
    const NAME: &'static str = "read_api";
    const ROLES: &'static [Role] = Role::ALL;
}

/// See what runs, of all tenants.
pub struct ListSequences;

impl Action for ListSequences {
    type Resource = ();
    const NAME: &'static str = "list_sequences";
    const ROLES: &'static [Role] = OPERATORS;
}

/// End a sequence of anybody.
pub struct KillSequence;

impl Action for KillSequence {
    type Resource = SequenceId;
    const NAME: &'static str = "kill_sequence";
    const ROLES: &'static [Role] = OPERATORS;
}

/// Read metrics, which cover all tenants.
pub struct ReadMetrics;

impl Action for ReadMetrics {
    type Resource = ();
    const NAME: &'static str = "read_metrics";
    const ROLES: &'static [Role] = OPERATORS;
}

/// See what all tenants have used.
pub struct ReadUsage;

impl Action for ReadUsage {
    type Resource = ();
    const NAME: &'static str = "read_usage";
    const ROLES: &'static [Role] = OPERATORS;
}

/// Bring models into memory and send them away.
pub struct MoveModel;

impl Action for MoveModel {
    type Resource = ModelName;
    const NAME: &'static str = "move_model";
    const ROLES: &'static [Role] = OPERATORS;
}

/// The actions that a key may be for, by name.
pub const ACTIONS: [&str; 14] = [
    Generate::NAME,
    Embed::NAME,
    StoreChatCompletion::NAME,
    ReadChatCompletions::NAME,
    ChangeChatCompletions::NAME,
    ManageVault::NAME,
    ListModels::NAME,
    ReadApi::NAME,
    ListSequences::NAME,
    KillSequence::NAME,
    ReadMetrics::NAME,
    ReadUsage::NAME,
    MoveModel::NAME,
    ManageKeys::NAME,
];

/// Make, list and revoke API keys; see and change users.
pub struct ManageKeys;

impl Action for ManageKeys {
    type Resource = ();
    const NAME: &'static str = "manage_keys";
    const ROLES: &'static [Role] = &[Role::Administrator];
}

#[cfg(test)]
mod tests {
    use types::{Scope, TenantId, UserId};

    use super::*;

    fn principal(role: Role, class_max: PriorityClass, data_class_max: DataClass) -> Principal {
        let scope = Scope::default();
        Principal { tenant: TenantId(1), user: UserId(2), role, class_max, data_class_max, scope }
    }

    fn asked(class: Option<PriorityClass>, data_class: Option<DataClass>) -> ModelUse {
        ModelUse { model: "m".parse().unwrap(), class, data_class }
    }

    type May = fn(Role) -> bool;

    #[test]
    fn each_role_may_do_what_the_table_says() {
        fn may<A: Action>(role: Role, resource: A::Resource) -> bool {
            let caller = principal(role, PriorityClass::Normal, DataClass::Internal);
            match Authorized::<A>::decide(&caller, resource) {
                Ok(authorized) => {
                    assert_eq!(authorized.principal(), &caller);
                    true
                }
                Err(AccessError::Denied { action, role: denied, needs }) => {
                    assert_eq!((action, denied), (A::NAME, role));
                    assert!(needs.contains("administrator") && !needs.contains(role.as_str()), "{needs}");
                    false
                }
                Err(other) => panic!("{other}"),
            }
        }
        //                     member operator administrator
        let table: [(&str, May, [bool; 3]); 14] = [
            ("generate", |role| may::<Generate>(role, asked(None, None)), [true, true, true]),
            ("embed", |role| may::<Embed>(role, asked(None, None)), [true, true, true]),
            (
                "store_chat_completion",
                |role| may::<StoreChatCompletion>(role, DataClass::Public),
                [true, true, true],
            ),
            ("read_chat_completions", |role| may::<ReadChatCompletions>(role, ()), [true, true, true]),
            ("change_chat_completions", |role| may::<ChangeChatCompletions>(role, ()), [true, true, true]),
            ("manage_vault", |role| may::<ManageVault>(role, ()), [false, false, true]),
            ("list_models", |role| may::<ListModels>(role, ()), [true, true, true]),
            ("read_api", |role| may::<ReadApi>(role, ()), [true, true, true]),
            ("list_sequences", |role| may::<ListSequences>(role, ()), [false, true, true]),
            ("kill_sequence", |role| may::<KillSequence>(role, SequenceId(1)), [false, true, true]),
            ("read_metrics", |role| may::<ReadMetrics>(role, ()), [false, true, true]),
            ("read_usage", |role| may::<ReadUsage>(role, ()), [false, true, true]),
            ("move_model", |role| may::<MoveModel>(role, "m".parse().unwrap()), [false, true, true]),
            ("manage_keys", |role| may::<ManageKeys>(role, ()), [false, false, true]),
        ];
        let named: Vec<&str> = table.iter().map(|(action, ..)| *action).collect();
        assert_eq!(named, ACTIONS);
        for (action, may, expected) in table {
            for (role, expected) in Role::ALL.iter().zip(expected) {
                assert_eq!(may(*role), expected, "{role} {action}");
            }
        }
    }

    #[test]
    fn a_key_is_for_what_its_scope_says() {
        let scope = Scope::new(vec!["generate".to_owned()], vec!["m".parse().unwrap()]);
        let all = principal(Role::Administrator, PriorityClass::Normal, DataClass::Internal);
        let narrow = Principal { scope, ..all.clone() };
        let out = |what, name: &str| AccessError::OutOfScope { what, name: name.to_owned() };
        assert!(Authorized::<Generate>::decide(&narrow, asked(None, None)).is_ok());
        assert_eq!(
            Authorized::<Embed>::decide(&narrow, asked(None, None)).err(),
            Some(out("action", "embed"))
        );
        assert_eq!(Authorized::<ManageKeys>::decide(&narrow, ()).err(), Some(out("action", "manage_keys")));
        let other = ModelUse { model: "n".parse().unwrap(), ..asked(None, None) };
        assert_eq!(Authorized::<Generate>::decide(&narrow, other).err(), Some(out("model", "n")));
        let other = ModelUse { model: "n".parse().unwrap(), ..asked(None, None) };
        assert!(Authorized::<Generate>::decide(&all, other).is_ok());
    }

    #[test]
    fn a_denial_says_what_would_have_been_needed() {
        let member = principal(Role::Member, PriorityClass::Normal, DataClass::Internal);
        let error = Authorized::<KillSequence>::decide(&member, SequenceId(1)).err().unwrap();
        assert_eq!(
            error.to_string(),
            "the role `member` does not allow `kill_sequence`; it needs one of: operator, administrator"
        );
    }

    #[test]
    fn classes_are_bounded_by_the_key_and_filled_in() {
        classes_are_bounded::<Generate>();
        classes_are_bounded::<Embed>();
    }

    fn classes_are_bounded<A: Action<Resource = ModelUse>>() {
        for &class_max in PriorityClass::ALL {
            for &data_class_max in DataClass::ALL {
                let caller = principal(Role::Member, class_max, data_class_max);
                let decide = |class, data_class| {
                    Authorized::<A>::decide(&caller, asked(class, data_class))
                        .map(|authorized| (authorized.resource().class, authorized.resource().data_class))
                };

                let normal_at_most = class_max.min(PriorityClass::Normal);
                assert_eq!(decide(None, None), Ok((Some(normal_at_most), Some(data_class_max))));

                for &class in PriorityClass::ALL {
                    let expected = if class <= class_max {
                        Ok((Some(class), Some(data_class_max)))
                    } else {
                        Err(over("class", class.as_str(), class_max.as_str()))
                    };
                    assert_eq!(decide(Some(class), None), expected, "{class} of {class_max}");
                }
                for &data_class in DataClass::ALL {
                    let expected = if data_class <= data_class_max {
                        Ok((Some(normal_at_most), Some(data_class)))
                    } else {
                        Err(over("data_class", data_class.as_str(), data_class_max.as_str()))
                    };
                    assert_eq!(decide(None, Some(data_class)), expected, "{data_class} of {data_class_max}");
                }
            }
        }
    }
}
