use types::{Role, Scope, UserId};

use super::*;

fn principal(role: Role, class_max: PriorityClass, data_class_max: DataClass) -> Principal {
    let present_at = Some(1_000);
    Principal { role, class_max, data_class_max, present_at, ..Principal::least(TenantId(1), UserId(2)) }
}

fn asked(class: Option<PriorityClass>, data_class: Option<DataClass>) -> ModelUse {
    ModelUse { model: "m".parse().unwrap(), declared: Declared { class, data_class, purpose: None } }
}

fn decide<A: Action>(principal: &Principal, resource: A::Resource) -> Result<Authorized<A>, AccessError> {
    Authorized::decide(&Policies::new().unwrap(), principal, resource, 1_000).map_err(AccessError::from)
}

#[test]
fn a_key_is_for_what_its_scope_says() {
    let all = principal(Role::Owner, PriorityClass::Normal, DataClass::Internal);
    let of = |role, actions: &[&str], models: &[&str]| {
        let actions = actions.iter().map(ToString::to_string).collect();
        let models = models.iter().map(|name| name.parse().unwrap()).collect();
        Principal { scope: Scope::new(role, actions, models), ..all.clone() }
    };
    let other = || ModelUse { model: "n".parse().unwrap(), ..asked(None, None) };
    let narrow = of(None, &["generate"], &["m"]);
    assert!(decide::<Generate>(&narrow, asked(None, None)).is_ok());
    let out = |name: &str| AccessError::OutOfScope { what: "action", name: name.to_owned() };
    assert_eq!(decide::<Embed>(&narrow, asked(None, None)).err(), Some(out("embed")));
    assert_eq!(decide::<ManageKeys>(&narrow, TenantId(1)).err(), Some(out("manage_keys")));
    let error = decide::<Generate>(&narrow, other()).err().unwrap().to_string();
    assert_eq!(error, "`generate` is forbidden by the policy `key.scope`: this key is not for that");
    assert!(decide::<Generate>(&all, other()).is_ok());

    // A role narrows too, and never widens.
    let as_member = of(Some(Role::Member), &[], &[]);
    assert!(decide::<Generate>(&as_member, other()).is_ok());
    assert!(decide::<ManageKeys>(&as_member, TenantId(1)).is_err());
    let member = principal(Role::Member, PriorityClass::Normal, DataClass::Internal);
    let wide = Principal { scope: Scope::new(Some(Role::Owner), Vec::new(), Vec::new()), ..member };
    assert!(decide::<ManageKeys>(&wide, TenantId(1)).is_err());
}

/// Whoever is bound to one purpose need not say it; of several it is not guessed.
#[test]
fn a_purpose_is_filled_in_if_there_is_only_one() {
    let bound = |names: &[&str]| Principal {
        purposes: types::Purposes::only(names.iter().map(|name| name.parse().unwrap())).unwrap(),
        ..principal(Role::Member, PriorityClass::Normal, DataClass::Internal)
    };
    let allowed = decide::<Generate>(&bound(&["care"]), asked(None, None)).ok().unwrap();
    assert_eq!(allowed.resource().declared.purpose.as_ref().unwrap().as_str(), "care");
    let error =
        decide::<Generate>(&bound(&["care", "billing"]), asked(None, None)).err().unwrap().to_string();
    assert!(error.contains("`data.purpose`") && error.contains("llmos-purpose"), "{error}");
}

#[test]
fn a_denial_says_what_would_have_been_needed() {
    let member = principal(Role::Member, PriorityClass::Normal, DataClass::Internal);
    let error = decide::<KillSequence>(&member, ("gpu-1".parse().unwrap(), SequenceId(1))).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the role `member` does not allow `kill_sequence`; it needs one of: operator, owner"
    );
    let error = decide::<ManageKeys>(&member, TenantId(1)).err().unwrap();
    assert_eq!(
        error.to_string(),
        "the role `member` does not allow `manage_keys`; it needs one of: administrator, owner"
    );
}

#[test]
fn what_cannot_be_undone_needs_somebody_who_is_there() {
    let owner = principal(Role::Owner, PriorityClass::Normal, DataClass::Internal);
    for (present_at, allowed) in [(Some(1_000), true), (Some(100), true), (Some(99), false), (None, false)] {
        let owner = Principal { present_at, ..owner.clone() };
        let decided = decide::<EraseSubject>(&owner, TenantId(1));
        assert_eq!(decided.is_ok(), allowed, "{present_at:?}");
        if let Err(error) = decided {
            assert_eq!(error, AccessError::StepUp { action: "erase_subject" });
        }
        assert!(decide::<ManageKeys>(&owner, TenantId(1)).is_ok());
    }
}

#[test]
fn classes_are_bounded_by_the_key_and_filled_in() {
    classes_are_bounded::<Generate>();
    classes_are_bounded::<Embed>();
}

fn classes_are_bounded<A: Action<Resource = ModelUse>>() {
    let policies = Policies::new().unwrap();
    for &class_max in PriorityClass::ALL {
        for &data_class_max in DataClass::ALL {
            let caller = principal(Role::Member, class_max, data_class_max);
            let decide = |class, data_class| {
                let decided = Authorized::<A>::decide(&policies, &caller, asked(class, data_class), 1_000);
                decided.map_err(AccessError::from).map(|authorized| {
                    let declared = &authorized.resource().declared;
                    (declared.class, declared.data_class)
                })
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
