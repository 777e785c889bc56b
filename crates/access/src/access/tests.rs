use std::{future::poll_fn, pin::Pin, str, task::Poll, time::Duration};

use tempfile::TempDir;

use super::*;
use crate::recorded::{audit_in, secret_file};

async fn open(folder: &TempDir) -> (Access, Store) {
    let store = Store::open(&folder.path().join("llmos.db")).await.unwrap();
    let access =
        Access::open(store.clone(), &secret_file(folder.path(), "pepper"), audit_in(folder.path()).await)
            .await
            .unwrap();
    (access, store)
}

fn new_key(label: &str) -> NewKey {
    NewKey {
        label: label.to_owned(),
        tenant: "clinic".to_owned(),
        user: "anna".to_owned(),
        role: Role::Operator,
        class_max: PriorityClass::Interactive,
        data_class_max: DataClass::Confidential,
        is_service: false,
        purposes: Purposes::any(),
        scope: Scope::default(),
        expires_at: None,
    }
}

fn may_manage(access: &Access) -> Authorized<ManageKeys> {
    access.authorize(&local_operator(), ANY_TENANT).ok().unwrap()
}

fn may_manage_users(access: &Access) -> Authorized<ManageUsers> {
    access.authorize(&local_operator(), ANY_TENANT).ok().unwrap()
}

async fn revoke(access: &Access, id: &str) -> Result<KeyView, AccessError> {
    let by = access.authorize_key(&local_operator(), id).await?;
    access.revoke_key(&by).await
}

async fn rotate(access: &Access, id: &str, overlap_s: u64) -> Result<(KeyView, Secret), AccessError> {
    let by = access.authorize_key(&local_operator(), id).await?;
    access.rotate_key(&by, overlap_s).await
}

fn copy(key: &Secret) -> Credential {
    Shown::ApiKey(Secret::from(key.expose().to_vec())).into()
}

/// The key with its last secret character but one changed: still well-formed.
fn tampered(key: &Secret) -> Credential {
    let mut text = key.expose().to_vec();
    let last_but_one = text.len() - 2;
    text[last_but_one] = if text[last_but_one] == b'0' { b'1' } else { b'0' };
    Shown::ApiKey(Secret::from(text)).into()
}

#[tokio::test]
async fn a_key_works_from_its_making_to_its_revocation_also_over_restarts() {
    let folder = tempfile::tempdir().unwrap();
    let (access, store) = open(&folder).await;
    let (view, key) = access.create_key(&may_manage(&access), new_key("a")).await.unwrap();
    let principal = access.authenticate(copy(&key)).await.unwrap();
    assert_eq!(
        (principal.role, principal.class_max, principal.data_class_max),
        (Role::Operator, PriorityClass::Interactive, DataClass::Confidential)
    );
    assert!(principal.tenant.0 > 0 && principal.user.0 > 0);
    assert!(str::from_utf8(key.expose()).unwrap().contains(&view.id));
    drop((access, store));

    let (access, store) = open(&folder).await;
    assert_eq!(access.authenticate(copy(&key)).await, Ok(principal));
    let revoked = revoke(&access, &view.id).await.unwrap();
    assert!(revoked.revoked_at.is_some());
    assert_eq!(access.authenticate(copy(&key)).await, Err(AccessError::Unauthenticated));
    let again = revoke(&access, &view.id).await.unwrap();
    assert_eq!(again.revoked_at, revoked.revoked_at);
    drop((access, store));

    let (access, _store) = open(&folder).await;
    assert_eq!(access.authenticate(copy(&key)).await, Err(AccessError::Unauthenticated));
}

#[tokio::test]
async fn a_key_gives_what_its_owner_may_now_and_ends_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (access, _store) = open(&folder).await;
    let (by, over_users) = (may_manage(&access), may_manage_users(&access));
    let (view, key) = access.create_key(&by, new_key("a")).await.unwrap();
    let wider = NewKey { role: Role::Administrator, ..new_key("wider") };
    let error = access.create_key(&by, wider).await.err().unwrap();
    assert!(matches!(&error, AccessError::WiderThanOwner { parameter: "role", .. }), "{error}");

    let change = UserChange { role: Some(Role::Member), ..UserChange::default() };
    let user = access.change_user(&over_users, "clinic", "anna", change.clone()).await.unwrap();
    assert_eq!((user.role, user.class_max), (Role::Member, PriorityClass::Interactive));
    assert_eq!(access.authenticate(copy(&key)).await.unwrap().role, Role::Member);
    assert_eq!(access.users(&over_users).await.unwrap(), [user]);

    let standing = access.standing(&copy(&key));
    let mut ended = Box::pin(standing.ended());
    assert!(!is_ready(&mut ended).await);
    for (suspended, allowed) in [(true, false), (false, true)] {
        let change = UserChange { suspended: Some(suspended), ..UserChange::default() };
        access.change_user(&over_users, "clinic", "anna", change.clone()).await.unwrap();
        assert_eq!(access.authenticate(copy(&key)).await.is_ok(), allowed);
        if suspended {
            tokio::time::timeout(Duration::from_secs(5), &mut ended).await.unwrap();
        }
    }
    let mut ended = Box::pin(standing.ended());
    assert!(!is_ready(&mut ended).await);
    revoke(&access, &view.id).await.unwrap();
    tokio::time::timeout(Duration::from_secs(5), ended).await.unwrap();
    let error = access.change_user(&over_users, "clinic", "bert", change).await.unwrap_err();
    assert!(matches!(error, AccessError::UnknownUser { .. }));
}

#[tokio::test]
async fn a_key_expires_and_is_rotated_with_both_secrets_for_a_while() {
    let folder = tempfile::tempdir().unwrap();
    let (access, store) = open(&folder).await;
    let by = may_manage(&access);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let past = NewKey { expires_at: Some(now), ..new_key("past") };
    assert!(matches!(access.create_key(&by, past).await, Err(AccessError::BadValue(_))));
    let short = NewKey { expires_at: Some(now + 2), ..new_key("short") };
    let (_, short) = access.create_key(&by, short).await.unwrap();
    assert!(access.authenticate(copy(&short)).await.is_ok());
    tokio::time::timeout(Duration::from_secs(5), access.standing(&copy(&short)).ended()).await.unwrap();
    assert_eq!(access.authenticate(copy(&short)).await, Err(AccessError::Unauthenticated));

    let (view, first) = access.create_key(&by, new_key("rotated")).await.unwrap();
    let (rotated, second) = rotate(&access, &view.id, 3600).await.unwrap();
    assert!(rotated.id == view.id && rotated.old_until > Some(now + 3000));
    for key in [&first, &second] {
        assert!(access.authenticate(copy(key)).await.is_ok());
    }
    let (_, third) = rotate(&access, &view.id, 0).await.unwrap();
    drop((access, store));
    let (access, _store) = open(&folder).await;
    assert!(access.authenticate(copy(&third)).await.is_ok());
    for key in [&first, &second] {
        assert_eq!(access.authenticate(copy(key)).await, Err(AccessError::Unauthenticated));
    }
    for (id, overlap) in [("nosuchkey", 0), ("000000000000", 0), (view.id.as_str(), u64::MAX)] {
        assert!(rotate(&access, id, overlap).await.is_err());
    }
}

#[tokio::test]
async fn whatever_is_wrong_with_a_key_the_answer_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let (access, _store) = open(&folder).await;
    let (_, key) = access.create_key(&may_manage(&access), new_key("live")).await.unwrap();
    let (view, revoked) = access.create_key(&may_manage(&access), new_key("revoked")).await.unwrap();
    revoke(&access, &view.id).await.unwrap();
    // The id of one key with the secret of another.
    let swapped = [&revoked.expose()[..18], &key.expose()[18..]].concat();
    let cases = [
        ("absent", Shown::Nothing.into()),
        ("empty", Shown::ApiKey(Secret::from(String::new())).into()),
        ("malformed", Shown::ApiKey(Secret::from("sk-1234".to_owned())).into()),
        ("unknown", Shown::ApiKey(Key::random().unwrap().text(Form::ApiKey)).into()),
        ("wrong secret", tampered(&key)),
        ("revoked", copy(&revoked)),
        ("revoked and wrong secret", tampered(&revoked)),
        ("another's id", Shown::ApiKey(Secret::from(swapped)).into()),
    ];
    for (case, credential) in cases {
        assert_eq!(access.authenticate(credential).await, Err(AccessError::Unauthenticated), "{case}");
    }
    assert!(access.authenticate(copy(&key)).await.is_ok());
}

#[tokio::test]
async fn the_local_socket_is_for_the_servers_own_user_and_root() {
    let folder = tempfile::tempdir().unwrap();
    let (mut access, _store) = open(&folder).await;
    access.server_uid = 1000;
    for (uid, allowed) in [(1000, true), (0, true), (1001, false), (999, false), (u32::MAX, false)] {
        let principal = access.authenticate(Shown::LocalSocket { uid }.into()).await;
        match principal {
            Ok(principal) => assert!(allowed && principal.is_local() && principal.role == Role::Owner),
            Err(error) => assert!(!allowed && error == AccessError::Unauthenticated, "{uid}"),
        }
    }
}

#[tokio::test]
async fn the_first_key_is_made_once() {
    let folder = tempfile::tempdir().unwrap();
    let (access, store) = open(&folder).await;
    let first = access.bootstrap().await.unwrap().unwrap();
    let owner = access.authenticate(copy(&first)).await.unwrap();
    assert_eq!(
        (owner.role, owner.class_max, owner.data_class_max),
        (Role::Owner, PriorityClass::System, DataClass::Restricted)
    );
    assert!(access.bootstrap().await.unwrap().is_none());

    let proof = access.authorize::<ManageKeys>(&owner, owner.tenant).ok().unwrap();
    let key = access.keys(&proof).await.unwrap().pop().unwrap();
    assert_eq!(
        (key.key.label.as_str(), key.key.tenant.as_str(), key.key.user.as_str()),
        ("bootstrap", "default", "owner")
    );
    revoke(&access, &key.id).await.unwrap();
    drop((access, store));

    let (access, _store) = open(&folder).await;
    assert!(access.bootstrap().await.unwrap().is_none(), "a revoked key is a key");
}

/// An administrator looks after their own tenant, and gives no more than they have. Of other tenants they learn nothing.
#[tokio::test]
async fn an_administrator_stays_within_their_tenant_and_their_rights() {
    let folder = tempfile::tempdir().unwrap();
    let (access, _store) = open(&folder).await;
    let all = may_manage(&access);
    let member = |tenant: &str| NewKey { tenant: tenant.to_owned(), role: Role::Member, ..new_key("m") };
    let admin = NewKey {
        user: "chief".to_owned(),
        role: Role::Administrator,
        data_class_max: DataClass::Internal,
        ..new_key("admin")
    };
    let (_, key) = access.create_key(&all, admin.clone()).await.unwrap();
    let (foreign, _) = access.create_key(&all, member("lab")).await.unwrap();
    let admin_of_clinic = access.authenticate(copy(&key)).await.unwrap();
    let clinic = admin_of_clinic.tenant;
    let own = access.authorize::<ManageKeys>(&admin_of_clinic, clinic).ok().unwrap();

    for tenant in ["lab", "no such tenant"] {
        let refused = access.authorize_in::<ManageKeys>(&admin_of_clinic, tenant).await.err();
        assert_eq!(refused.map(AccessError::from), Some(AccessError::UnknownTenant(tenant.to_owned())));
        let refused = access.create_key(&own, member(tenant)).await.err();
        assert_eq!(refused, Some(AccessError::UnknownTenant(tenant.to_owned())));
    }
    for id in [foreign.id.as_str(), "000000000000"] {
        let refused = access.authorize_key(&admin_of_clinic, id).await.err().unwrap();
        assert_eq!(*refused.why, AccessError::UnknownKey(id.to_owned()));
        // Nor does the record say that it is there.
        assert_eq!((refused.on, refused.tenant, refused.policies.len()), (format!("key:{id}"), None, 0));
    }
    assert_eq!(access.keys(&own).await.unwrap().len(), 1);
    assert_eq!(access.keys(&all).await.unwrap().len(), 2);

    let new = |role, data_class_max| NewKey { role, data_class_max, ..new_key("new") };
    for role in [Role::Owner, Role::Operator] {
        let error = access.create_key(&own, new(role, DataClass::Public)).await.err().unwrap();
        assert!(matches!(error, AccessError::WiderThanGranter { .. }), "{role}: {error}");
    }
    let error = access.create_key(&own, new(Role::Member, DataClass::Restricted)).await.err().unwrap();
    assert!(matches!(error, AccessError::WiderThanOwner { parameter: "data_class_max", .. }), "{error}");
    access.create_key(&own, new(Role::Auditor, DataClass::Internal)).await.unwrap();

    let over_users = access.authorize::<ManageUsers>(&admin_of_clinic, admin_of_clinic.tenant).ok().unwrap();
    let change = UserChange { role: Some(Role::Owner), ..UserChange::default() };
    let error = access.change_user(&over_users, "clinic", "chief", change).await.unwrap_err();
    assert!(matches!(error, AccessError::WiderThanGranter { .. }), "{error}");
    let error = access.change_user(&over_users, "lab", "anna", UserChange::default()).await.unwrap_err();
    assert!(matches!(error, AccessError::UnknownUser { .. }), "{error}");
}

#[tokio::test]
async fn keys_are_listed_as_they_were_made() {
    let folder = tempfile::tempdir().unwrap();
    let (access, _store) = open(&folder).await;
    let proof = may_manage(&access);
    for label in ["first", "second", "third"] {
        access.create_key(&proof, new_key(label)).await.unwrap();
    }
    let keys = access.keys(&proof).await.unwrap();
    let labels: Vec<_> = keys.iter().map(|key| key.key.label.as_str()).collect();
    assert_eq!(labels, ["first", "second", "third"]);
    assert!(keys.iter().all(|key| key.created_at > 1_700_000_000 && key.revoked_at.is_none()));
}

#[tokio::test]
async fn bad_values_and_unknown_ids_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let (access, _store) = open(&folder).await;
    let proof = may_manage(&access);
    let bad = NewKey { tenant: "two\nlines".to_owned(), ..new_key("a") };
    let error = access.create_key(&proof, bad).await.err().unwrap();
    assert!(matches!(&error, AccessError::BadValue(value) if value.parameter == "tenant"), "{error}");
    assert!(access.keys(&proof).await.unwrap().is_empty());
    for id in ["000000000000", "nosuchkey", ""] {
        let error = revoke(&access, id).await.unwrap_err();
        assert_eq!(error, AccessError::UnknownKey(id.to_owned()));
    }
}

#[tokio::test]
async fn without_its_store_it_makes_no_key_and_still_revokes() {
    let folder = tempfile::tempdir().unwrap();
    let (access, store) = open(&folder).await;
    let proof = may_manage(&access);
    let (view, key) = access.create_key(&proof, new_key("a")).await.unwrap();
    store.close().await;

    let unavailable = |error: Option<AccessError>| matches!(error, Some(AccessError::Unavailable(_)));
    assert!(unavailable(access.create_key(&proof, new_key("b")).await.err()));
    assert!(unavailable(access.keys(&proof).await.err()));
    assert!(unavailable(access.bootstrap().await.err()));
    assert!(access.authenticate(copy(&key)).await.is_ok(), "authentication does not touch the store");
    assert!(unavailable(revoke(&access, &view.id).await.err()));
    assert_eq!(access.authenticate(copy(&key)).await, Err(AccessError::Unauthenticated));
}

#[tokio::test]
async fn a_change_whose_asker_goes_away_is_carried_through() {
    let folder = tempfile::tempdir().unwrap();
    let (access, store) = open(&folder).await;
    let proof = may_manage(&access);
    let (view, key) = access.create_key(&proof, new_key("a")).await.unwrap();
    let by = access.authorize_key(&local_operator(), &view.id).await.ok().unwrap();
    let mut revoking = Box::pin(access.revoke_key(&by));
    assert!(!is_ready(&mut revoking).await, "asked for, and not done yet");
    drop(revoking);

    let revoked = async {
        while store.keys().await.unwrap()[0].revoked_at.is_none() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), revoked).await.unwrap();
    assert_eq!(access.authenticate(copy(&key)).await, Err(AccessError::Unauthenticated));
}

/// Polls once.
async fn is_ready(future: &mut (impl Future + Unpin)) -> bool {
    poll_fn(|context| Poll::Ready(Pin::new(&mut *future).poll(context).is_ready())).await
}

#[tokio::test]
async fn keys_without_their_pepper_are_not_opened() {
    let folder = tempfile::tempdir().unwrap();
    let (access, store) = open(&folder).await;
    access.bootstrap().await.unwrap();
    drop(access);
    std::fs::remove_file(folder.path().join("pepper")).unwrap();
    let error = Access::open(store, &secret_file(folder.path(), "pepper"), audit_in(folder.path()).await)
        .await
        .err()
        .unwrap();
    assert!(matches!(error, OpenError::PepperLost { .. }), "{error}");
}

/// A key that is for little makes none that is for more.
#[tokio::test]
async fn a_narrow_key_makes_no_wider_one() {
    let folder = tempfile::tempdir().unwrap();
    let (access, _store) = open(&folder).await;
    let all = may_manage(&access);
    let scope = |actions: &[&str], models: &[&str]| {
        let actions = actions.iter().map(ToString::to_string).collect();
        Scope::new(None, actions, models.iter().map(|name| name.parse().unwrap()).collect())
    };
    let admin = |scope| NewKey { user: "chief".to_owned(), role: Role::Administrator, scope, ..new_key("x") };
    let (wide, _) = access.create_key(&all, admin(Scope::default())).await.unwrap();
    let narrow = admin(scope(&["manage_keys", "generate"], &["small"]));
    let (_, key) = access.create_key(&all, narrow).await.unwrap();
    let narrow = access.authenticate(copy(&key)).await.unwrap();
    let by = access.authorize::<ManageKeys>(&narrow, narrow.tenant).ok().unwrap();
    let member = |scope| NewKey { role: Role::Member, scope, ..admin(Scope::default()) };
    for (asked, what) in [
        (scope(&[], &["small"]), "action"),
        (scope(&["embed"], &["small"]), "action"),
        (scope(&["generate"], &[]), "model"),
        (scope(&["generate"], &["small", "large"]), "model"),
    ] {
        let refused = access.create_key(&by, member(asked)).await.err();
        assert!(
            matches!(refused, Some(AccessError::OutOfScope { what: out, .. }) if out == what),
            "{refused:?}"
        );
    }
    access.create_key(&by, member(scope(&["generate"], &["small"]))).await.unwrap();
    // What was made for `manage_keys` is for changing keys too.
    let by = access.authorize_key(&narrow, &wide.id).await.ok().unwrap();
    let refused = access.rotate_key(&by, 0).await.err();
    assert!(matches!(refused, Some(AccessError::OutOfScope { .. })), "{refused:?}");
}
