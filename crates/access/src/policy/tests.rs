use cedar_policy::Request;
use types::{Purposes, Scope};

use super::*;
use crate::action::Kind;

/// The table of what each role may do: in the repository, so that a change of it is seen.
const ROLES: &str = include_str!("roles.csv");
/// Where policies are explained, with examples.
const DOCUMENTATION: &str = include_str!("../../../../docs/concepts/access.md");

fn principal(tenant: u64, role: Role) -> Principal {
    Principal {
        role,
        class_max: PriorityClass::Normal,
        data_class_max: DataClass::Confidential,
        present_at: Some(1_000),
        ..Principal::least(TenantId(tenant), UserId(7))
    }
}

fn question(principal: Principal, action: &str, target: Target) -> Question {
    let (action, _) = action::named(action).unwrap();
    Question { principal, suspended: false, action, target, now: 1_000 }
}

fn sent(data_class: DataClass) -> Target {
    Target::Model { name: "m".parse().unwrap(), class: PriorityClass::Normal, data_class, purpose: None }
}

fn key_of(owner: Principal) -> Target {
    Target::Key(ApiKey { id: "0123456789ab".to_owned(), ..ApiKey::of(&owner) })
}

/// What an action of this kind can be done to in a tenant.
fn in_tenant(kind: Kind, tenant: u64) -> Option<Target> {
    match kind {
        Kind::Tenant => Some(Target::Tenant(TenantId(tenant))),
        Kind::AuditLog => Some(Target::AuditLog(TenantId(tenant))),
        Kind::Key => Some(key_of(principal(tenant, Role::Member))),
        Kind::Dataset => Some(dataset("read_chat_completions", TenantId(tenant), DataClass::Public)),
        Kind::Budget => Some(Target::Budget(TenantId(tenant))),
        Kind::Workflow => Some(Target::Workflow(TenantId(tenant))),
        Kind::Server | Kind::Node | Kind::Model => None,
    }
}

fn policy(name: &str, text: &str) -> TenantPolicy {
    TenantPolicy { name: name.to_owned(), text: text.to_owned() }
}

/// Each action has a row, each role a column; nothing else is allowed, and nothing less.
#[test]
fn each_role_may_do_what_the_table_says() {
    let mut lines = ROLES.lines();
    let roles: Vec<Role> =
        lines.next().unwrap().split(',').skip(1).map(|role| role.parse().unwrap()).collect();
    assert_eq!(roles, Role::ALL);
    let policies = Policies::new().unwrap();
    let mut actions = Vec::new();
    for line in lines {
        let mut fields = line.split(',');
        let action = fields.next().unwrap();
        actions.push(action);
        for (role, expected) in roles.iter().zip(fields) {
            let caller = principal(1, *role);
            let target = example(action, &caller).unwrap();
            let decision = policies.decide_fresh(&question(caller, action, target));
            assert_eq!(decision.allowed, expected == "yes", "{role} {action}: {:?}", decision.policies);
            assert_eq!(policies.actions_of(*role).contains(action), decision.allowed, "{role} {action}");
        }
    }
    assert_eq!(actions, ACTIONS);
}

/// What we ask is what the schema describes: the evaluation itself does not check it.
#[test]
fn every_question_fits_the_schema() {
    let policies = Policies::new().unwrap();
    for action in ACTIONS {
        let caller = principal(1, Role::Owner);
        let target = example(action, &caller).unwrap();
        let question = question(caller, action, target);
        let request = policies.request(&question).unwrap();
        let again = Request::new(
            request.principal().unwrap().clone(),
            request.action().unwrap().clone(),
            request.resource().unwrap().clone(),
            request.context().unwrap().clone(),
            Some(&policies.schema),
        );
        assert!(again.is_ok(), "{action}: {:?}", again.err());
        let tenant = Entity::new_no_attrs(policies.tenant(TenantId(1)), HashSet::new());
        let entities = policies.entities(&question, Role::Owner).unwrap();
        let all = entities.iter().cloned().chain([tenant]);
        assert!(Entities::from_entities(all, Some(&policies.schema)).is_ok(), "{action}");
    }
}

/// For every action that is about a tenant, and for every role: nothing of another tenant, but for the owner of the
/// installation; and what others have stored not even for them.
#[test]
fn there_is_a_wall_between_tenants() {
    let policies = Policies::new().unwrap();
    for action in ACTIONS {
        let Some(target) = in_tenant(action::named(action).unwrap().1, 2) else { continue };
        for &role in Role::ALL {
            let decision = policies.decide_fresh(&question(principal(1, role), action, target.clone()));
            let is_walled = decision.policies.iter().any(|policy| policy == WALL);
            assert_eq!(is_walled, role != Role::Owner, "{role} {action}");
            let crosses = role == Role::Owner
                && !action.ends_with("chat_completions")
                && action != "store_chat_completion";
            assert_eq!(decision.allowed, crosses, "{role} {action}");
        }
    }
}

#[test]
fn no_policy_of_a_tenant_lifts_what_is_forbidden() {
    let policies = Policies::new().unwrap();
    let everything = [policy("all", "permit (principal, action, resource);")];
    policies.check(&everything).unwrap();
    policies.set(TenantId(1), &everything).unwrap();
    let member = || principal(1, Role::Member);
    let ask = |principal: Principal, action: &str, target: Target| {
        let decision = policies.decide(&question(principal, action, target));
        (decision.allowed, decision.policies.first().cloned().unwrap_or_default())
    };
    let no = |policy: &str| (false, policy.to_owned());
    let own = Target::Tenant(TenantId(1));
    // It gives what its tenant can give.
    assert!(ask(member(), "manage_keys", own.clone()).0);
    assert!(ask(member(), "change_key", key_of(principal(1, Role::Member))).0);
    assert_eq!(ask(member(), "change_key", key_of(principal(2, Role::Member))), no(WALL));
    assert_eq!(ask(member(), "read_audit", Target::AuditLog(TenantId(2))), no(WALL));
    assert_eq!(ask(member(), "manage_keys", Target::Tenant(TenantId(2))), no("wall.tenant"));
    for action in ["list_sequences", "kill_sequence", "read_metrics", "move_model", "manage_vault"] {
        let target = example(action, &member()).unwrap();
        assert_eq!(ask(member(), action, target), no("wall.server"), "{action}");
    }
    let absent = Principal { present_at: None, ..member() };
    assert_eq!(ask(absent, "erase_subject", own.clone()), no("presence.step_up"));
    assert_eq!(ask(member(), "generate", sent(DataClass::Restricted)), no("data.clearance"));
    let narrow = Principal { scope: Scope::new(None, vec!["embed".to_owned()], Vec::new()), ..member() };
    assert_eq!(ask(narrow, "generate", sent(DataClass::Public)), no("key.scope"));
    let bound = Principal { purposes: Purposes::only(["care".parse().unwrap()]).unwrap(), ..member() };
    assert_eq!(ask(bound, "generate", sent(DataClass::Public)), no("data.purpose"));
    let suspended = Question { suspended: true, ..question(member(), "manage_users", own.clone()) };
    assert!(policies.decide(&suspended).policies.contains(&"account.suspended".to_owned()));
    // And to nobody else.
    assert!(!ask(principal(2, Role::Member), "manage_keys", Target::Tenant(TenantId(2))).0);

    policies.set(TenantId(1), &[]).unwrap();
    assert!(!ask(member(), "manage_keys", own).0);
}

#[test]
fn a_policy_holds_from_the_next_decision_on() {
    let policies = Policies::new().unwrap();
    let ask =
        |role| policies.decide(&question(principal(1, role), "generate", sent(DataClass::Confidential)));
    assert!(ask(Role::Member).allowed);
    let night = "@says(\"not at night\")\nforbid (principal in Role::\"member\", action == Action::\"generate\", resource)\n\
                 when { context.hour < 6 && context.data_class >= 2 };";
    policies.set(TenantId(1), &[policy("night", night)]).unwrap();
    let decision = ask(Role::Member);
    assert_eq!(
        (decision.allowed, &*decision.policies, decision.says.as_deref()),
        (false, &["tenant.night.1".to_owned()][..], Some("not at night"))
    );
    assert!(ask(Role::Analyst).allowed);
    assert!(policies.texts(TenantId(1), &decision.policies)[0].contains("context.hour < 6"));
}

#[test]
fn a_policy_that_does_not_validate_is_refused() {
    let policies = Policies::new().unwrap();
    let long = format!("// {}\npermit (principal, action, resource);", "x".repeat(POLICY_BYTES_MAX));
    let one = "permit (principal, action, resource);";
    let many = one.repeat(POLICIES_MAX);
    // Without a limit, this is the end of the process.
    let deep = format!(
        "permit (principal, action, resource) when {{ {}true{} }};",
        "(".repeat(8_000),
        ")".repeat(8_000)
    );
    let chain = format!(
        "permit (principal, action, resource) when {{ {}true }};",
        "if true then true else ".repeat(600)
    );
    for (text, says) in [
        ("permit (principal, action, resource)", "policy `p`"),
        ("", "no `permit` and no `forbid`"),
        ("permit (principal == ?principal, action, resource);", "slots"),
        ("permit (principal, action == Action::\"fly\", resource);", "fly"),
        // They would never apply, and so forbid nothing.
        (
            "forbid (principal, action == Action::\"store_chat_completion\", resource == Tenant::\"2\");",
            "unable to find",
        ),
        (
            "forbid (principal, action == Action::\"move_model\", resource == Server::\"server\");",
            "unable to find",
        ),
        (
            "forbid (principal, action == Action::\"generate\", resource) when { context.class > 3 && false };",
            "impossible",
        ),
        // It is shown as another text than it is.
        (
            "forbid (principal, action, resource) when { context has location && context.location == \"w\u{202e}drac\" };",
            "BIDI",
        ),
        ("forbid (principal, action, resource) when { principal.rank > 3 };", "rank"),
        ("forbid (principal, action, resource) when { principal.clearance > \"x\" };", "type"),
        // Would be an error in every decision that is not about a model.
        ("forbid (principal, action, resource) when { context.data_class > 2 };", "data_class"),
        ("forbid (principal, action, resource) when { context.step_up_age > 2 };", "step_up_age"),
        (&long, "longer than"),
        (&deep, "brackets"),
        (&chain, "`if`s"),
        (&many, "at most"),
    ] {
        let error = policies.check(&[policy("p", text)]).unwrap_err();
        assert!(matches!(&error, AccessError::BadPolicy(why) if why.contains(says)), "{text:.60}: {error}");
    }
}

/// As much as a tenant may have, as nested as it may be, on a stack as small as that of a worker thread.
#[test]
fn the_largest_policies_are_no_trouble() {
    let condition = format!("{}context.hour<24{}", "(".repeat(10), ")".repeat(10));
    let conditions = vec![condition; 400].join("&&");
    let large = format!("forbid (principal, action, resource) when {{ !({conditions}) }};");
    assert!(large.len() > POLICY_BYTES_MAX * 8 / 10 && large.len() < POLICY_BYTES_MAX);
    let all: Vec<TenantPolicy> = (0..4).map(|number| policy(&number.to_string(), &large)).collect();
    let work = move || {
        let policies = Policies::new().unwrap();
        policies.set(TenantId(1), &all).unwrap();
        let question = question(principal(1, Role::Analyst), "read_usage", Target::Budget(TenantId(1)));
        let begun = std::time::Instant::now();
        assert!(policies.decide_fresh(&question).allowed);
        assert!(begun.elapsed() < std::time::Duration::from_millis(500), "{:?}", begun.elapsed());
        let five = [all, vec![policy("5", &large)]].concat();
        assert!(matches!(policies.check(&five), Err(AccessError::BadPolicy(why)) if why.contains("bytes")));
    };
    std::thread::Builder::new().stack_size(2 << 20).spawn(work).unwrap().join().unwrap();
}

/// Who, from where, and what for: each can decide.
#[test]
fn policies_speak_of_teams_programs_places_and_purposes() {
    let policies = Policies::new().unwrap();
    let rules = [
        ("team", "forbid (principal in Team::\"lab\", action == Action::\"generate\", resource);"),
        ("program", "forbid (principal is ServiceAccount, action == Action::\"generate\", resource);"),
        (
            "place",
            "forbid (principal, action == Action::\"generate\", resource) when { context.data_class == 2 }
             unless { context has location && context.location == \"ward-3\" };",
        ),
        (
            "purpose",
            "forbid (principal, action == Action::\"generate\", resource)
             when { context.data_class == 1 && !(context has purpose && context.purpose == \"care\") };",
        ),
    ];
    let all = rules.map(|(name, text)| policy(name, text));
    policies.check(&all).unwrap();
    policies.set(TenantId(1), &all).unwrap();
    let anna = || principal(1, Role::Member);
    let at = |place: &str| Principal { location: Some(place.into()), ..anna() };
    let of = |team: &str| Principal { team: Some(team.into()), ..anna() };
    let bound = |names: &[&str]| {
        let purposes = Purposes::only(names.iter().map(|name| name.parse().unwrap())).unwrap();
        Principal { purposes, ..anna() }
    };
    let (public, internal, confidential) = (DataClass::Public, DataClass::Internal, DataClass::Confidential);
    for (caller, data_class, purpose, forbidden_by) in [
        (anna(), public, None, None),
        (of("ward"), public, None, None),
        (of("lab"), public, None, Some("tenant.team.1")),
        (Principal { is_service: true, ..anna() }, public, None, Some("tenant.program.1")),
        (anna(), confidential, None, Some("tenant.place.1")),
        (at("canteen"), confidential, None, Some("tenant.place.1")),
        (at("ward-3"), confidential, None, None),
        (anna(), internal, None, Some("tenant.purpose.1")),
        (anna(), internal, Some("research"), Some("tenant.purpose.1")),
        (anna(), internal, Some("care"), None),
        (bound(&["care"]), internal, Some("care"), None),
        (bound(&["care"]), public, None, Some("data.purpose")),
        (bound(&["care", "billing"]), public, Some("research"), Some("data.purpose")),
        (bound(&[]), public, Some("care"), Some("data.purpose")),
    ] {
        let (name, class) = ("m".parse().unwrap(), PriorityClass::Normal);
        let purpose = purpose.map(|purpose| purpose.parse().unwrap());
        let target = Target::Model { name, class, data_class, purpose };
        let decision = policies.decide_fresh(&question(caller, "generate", target.clone()));
        let decided_by = decision.policies.first().map(String::as_str).filter(|_| !decision.allowed);
        assert_eq!(decided_by, forbidden_by, "{target:?}");
    }
}

/// A key is in its tenant, in whoever owns it, and in what that one is in.
#[test]
fn policies_speak_of_keys() {
    let policies = Policies::new().unwrap();
    let anna = || principal(1, Role::Member);
    let robot = || Principal { user: UserId(8), is_service: true, team: Some("lab".into()), ..anna() };
    let chief = || Principal { user: UserId(9), ..principal(1, Role::Administrator) };
    let narrow = |action: &str| Scope::new(None, vec![action.to_owned()], Vec::new());
    let cases: [(&str, Principal, Principal, bool); 15] = [
        ("", chief(), anna(), true),
        ("", anna(), anna(), false),
        (
            "permit (principal, action == Action::\"change_key\", resource) when { resource in principal };",
            anna(),
            anna(),
            true,
        ),
        (
            "permit (principal, action == Action::\"change_key\", resource) when { resource in principal };",
            anna(),
            robot(),
            false,
        ),
        (
            "forbid (principal, action == Action::\"change_key\", resource in ServiceAccount::\"8\");",
            chief(),
            robot(),
            false,
        ),
        (
            "forbid (principal, action == Action::\"change_key\", resource in Team::\"lab\");",
            chief(),
            robot(),
            false,
        ),
        (
            "forbid (principal, action == Action::\"change_key\", resource in Team::\"lab\");",
            chief(),
            anna(),
            true,
        ),
        (
            "forbid (principal, action == Action::\"change_key\", resource in Role::\"administrator\");",
            chief(),
            chief(),
            false,
        ),
        (
            "forbid (principal, action == Action::\"change_key\", resource in Role::\"administrator\");",
            chief(),
            anna(),
            true,
        ),
        (
            "forbid (principal, action == Action::\"change_key\", resource == Key::\"0123456789ab\");",
            chief(),
            anna(),
            false,
        ),
        // It is a part of managing keys, where a policy says `in`, and in a scope.
        ("forbid (principal, action in Action::\"manage_keys\", resource);", chief(), anna(), false),
        ("forbid (principal, action == Action::\"manage_keys\", resource);", chief(), anna(), true),
        ("", Principal { scope: narrow("manage_keys"), ..chief() }, anna(), true),
        ("", Principal { scope: narrow("change_key"), ..chief() }, anna(), true),
        ("", Principal { scope: narrow("manage_users"), ..chief() }, anna(), false),
    ];
    for (text, caller, owner, allowed) in cases {
        let own: Vec<TenantPolicy> = (!text.is_empty()).then(|| policy("p", text)).into_iter().collect();
        policies.check(&own).unwrap();
        policies.set(TenantId(1), &own).unwrap();
        let decision = policies.decide_fresh(&question(caller, "change_key", key_of(owner.clone())));
        assert_eq!(decision.allowed, allowed, "{text} {owner:?}: {:?}", decision.policies);
    }
    // The part is not the whole.
    let scoped = Principal { scope: narrow("change_key"), ..chief() };
    let decision = policies.decide_fresh(&question(scoped, "manage_keys", Target::Tenant(TenantId(1))));
    assert_eq!(&*decision.policies, ["key.scope"]);
}

/// What the documentation shows is what can be put in force, all of it together, and does what it says.
#[test]
fn the_examples_in_the_documentation_hold() {
    let policies = Policies::new().unwrap();
    let examples = DOCUMENTATION.split("```cedar\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let all: Vec<TenantPolicy> =
        examples.enumerate().map(|(number, text)| policy(&number.to_string(), text)).collect();
    assert_eq!(all.len(), 5);
    policies.check(&all).unwrap();
    policies.set(TenantId(1), &all).unwrap();
    let chief = |user: u64| Principal { user: UserId(user), ..principal(1, Role::Administrator) };
    let auditor = |place: &str| Principal { location: Some(place.into()), ..principal(1, Role::Auditor) };
    let robot = || Principal { is_service: true, user: UserId(8), ..principal(1, Role::Member) };
    let operator = || principal(1, Role::Operator);
    let log = || Target::AuditLog(TenantId(1));
    let node = |name: &str| Target::Node(name.parse().unwrap());
    let stored = |class| dataset("store_chat_completion", TenantId(1), class);
    for (caller, action, target, says) in [
        (chief(7), "change_key", key_of(robot()), None),
        (chief(9), "change_key", key_of(robot()), Some("only ann changes the keys of programs")),
        // A program is never ann, whatever its number.
        (
            Principal { is_service: true, ..chief(7) },
            "change_key",
            key_of(robot()),
            Some("only ann changes the keys of programs"),
        ),
        (chief(9), "change_key", key_of(principal(1, Role::Member)), None),
        (auditor("office"), "read_audit", log(), None),
        (auditor("office"), "read_receipt", log(), None),
        (auditor("home"), "read_audit", log(), Some("auditors read the log in the office only")),
        (auditor("home"), "read_receipt", log(), Some("auditors read the log in the office only")),
        (principal(1, Role::Auditor), "read_audit", log(), Some("auditors read the log in the office only")),
        (chief(9), "read_audit", log(), None),
        (chief(9), "store_chat_completion", stored(DataClass::Internal), None),
        (
            chief(9),
            "store_chat_completion",
            stored(DataClass::Confidential),
            Some("nothing above internal is stored"),
        ),
        (operator(), "move_model", node("office-1"), None),
        // It is midnight.
        (operator(), "move_model", node("emergency-1"), Some("models of the ward are moved by day")),
        (operator(), "read_metrics", node("emergency-1"), None),
    ] {
        let decision = policies.decide_fresh(&question(caller.clone(), action, target));
        assert_eq!(
            (decision.allowed, decision.says.as_deref()),
            (says.is_none(), says),
            "{action} {caller:?}"
        );
    }
}

/// What is remembered is what would be decided: over a million random questions, while policies and clocks change.
#[test]
fn memoised_and_fresh_decisions_agree() {
    let policies = Policies::new().unwrap();
    let sets = [
        vec![],
        vec![policy("a", "forbid (principal, action, resource) when { context.hour == 1 };")],
        vec![policy(
            "b",
            "permit (principal, action == Action::\"read_usage\", resource) when { context.weekday == 3 };
             forbid (principal in Team::\"lab\", action, resource) when { context has location };
             permit (principal, action == Action::\"change_key\", resource) when { resource in principal };
             forbid (principal, action, resource is Key) when { resource.service };
             forbid (principal, action, resource == Node::\"gpu-2\");
             forbid (principal, action == Action::\"store_chat_completion\", resource) when { context.data_class > 1 };",
        )],
    ];
    let rounds = if std::env::var_os("LLMOS_TEST_FULL").is_some() { 1_000_000 } else { 50_000 };
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let only = |names: &[&str]| Purposes::only(names.iter().map(|name| name.parse().unwrap())).unwrap();
    let purposes = [Purposes::any(), only(&["care"]), only(&["care", "research"])];
    let mut now = 0;
    for _ in 0..rounds {
        // A second is long: many questions come back within it.
        now += u64::from(random(200) == 0) * random(4_000);
        if random(2_000) == 0 {
            policies.set(TenantId(random(2) + 1), &sets[random(3) as usize]).unwrap();
        }
        let role = |number| Role::ALL[number as usize];
        let narrowed = (random(3) == 0).then(|| role(random(7)));
        let actions = if random(4) == 0 {
            vec![ACTIONS[random(ACTIONS.len() as u64) as usize].to_owned()]
        } else {
            Vec::new()
        };
        let user = random(3);
        let caller = Principal {
            user: UserId(user),
            scope: Scope::new(narrowed, actions, Vec::new()),
            present_at: [None, Some(now.saturating_sub(random(2) * 900)), Some(0)][random(3) as usize],
            data_class_max: DataClass::ALL[random(4) as usize],
            is_service: user == 2,
            team: [None, Some("ward".into()), Some("lab".into())][user as usize].clone(),
            purposes: purposes[user as usize].clone(),
            location: [None, Some("ward".into())][random(2) as usize].clone(),
            ..principal(random(2) + 1, role(random(7)))
        };
        let (action, kind) = action::named(ACTIONS[random(ACTIONS.len() as u64) as usize]).unwrap();
        let target = match kind {
            Kind::Server => Target::Server,
            Kind::Tenant => Target::Tenant(TenantId(random(2) + 1)),
            Kind::AuditLog => Target::AuditLog(TenantId(random(2) + 1)),
            Kind::Budget => Target::Budget(TenantId(random(2) + 1)),
            Kind::Dataset => dataset(action, TenantId(random(2) + 1), DataClass::ALL[random(4) as usize]),
            Kind::Workflow => Target::Workflow(TenantId(random(2) + 1)),
            Kind::Node => Target::Node(["gpu-1", "gpu-2"][random(2) as usize].parse().unwrap()),
            Kind::Key => {
                let is_service = random(2) == 0;
                let owner = Principal { is_service, ..principal(random(2) + 1, role(random(7))) };
                key_of(Principal { user: UserId(random(3)), ..owner })
            }
            Kind::Model => {
                let (name, class) = ("m".parse().unwrap(), PriorityClass::Normal);
                let data_class = DataClass::ALL[random(4) as usize];
                let purpose = [None, Some("care"), Some("research")][random(3) as usize];
                let purpose = purpose.map(|purpose| purpose.parse().unwrap());
                Target::Model { name, class, data_class, purpose }
            }
        };
        let question = Question { principal: caller, suspended: random(10) == 0, action, target, now };
        assert_eq!(policies.decide(&question), policies.decide_fresh(&question), "{question:?}");
    }
}
