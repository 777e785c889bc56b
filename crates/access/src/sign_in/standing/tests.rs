use identity::ProviderSettings;
use outbound::{Outbound, Rules};
use store::{ScimAccount, ScimGroup, ScimRecord, Store};
use tempfile::TempDir;
use types::{DataClass, Principal, PriorityClass, Role, Scope, Secret};

use super::*;
use crate::{
    Access, ManageKeys, ManageUsers, NewKey, ProvisionUsers, RoleMapping, ScimError, SessionKind, Shown,
    SignInSettings, Stage, UserChange,
    clock::now_s,
    recorded::{audit_in, secret_file},
    sessions::Opened,
};

const ISSUER: &str = "https://provider.test";

/// What a group, or a subject, is worth at the provider `corp`.
type Line = (&'static str, &'static str, Role);

const DOCTORS: Line = ("doctors", "", Role::Administrator);
const NURSES: Line = ("nurses", "", Role::Member);
const JOB: Line = ("", "job", Role::Operator);

struct House {
    folder: TempDir,
    access: Access,
    store: Store,
}

impl House {
    async fn new(table: &[Line]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (access, store) = opened(&folder, Some(table)).await;
        Self { folder, access, store }
    }

    /// The same with another table; without any, with no provider.
    async fn restarted(self, table: Option<&[Line]>) -> Self {
        let Self { folder, access, store } = self;
        store.close().await;
        drop(access);
        let (access, store) = opened(&folder, table).await;
        Self { folder, access, store }
    }

    async fn operator(&self) -> Principal {
        let uid = rustix::process::geteuid().as_raw();
        self.access.authenticate(Shown::LocalSocket { uid }.into()).await.unwrap()
    }

    async fn provisioner(&self) -> crate::Authorized<ProvisionUsers> {
        self.access.authorize(&self.operator().await, ()).ok().unwrap()
    }

    /// Somebody signs in, or shows a token.
    async fn comes(&self, claimed: &Claimed, signs_in: bool) -> Option<Role> {
        let user = self.access.sign_in().account(claimed, signs_in).await.ok()?;
        Some(self.access.keyring.principal_of(user).unwrap().unwrap().role)
    }

    async fn session(&self, claimed: &Claimed) -> Secret {
        let sign_in = self.access.sign_in();
        let opened = Opened {
            user: sign_in.account(claimed, true).await.unwrap(),
            kind: SessionKind::Browser,
            stage: Stage::Complete,
            actions: Vec::new(),
            present_at: None,
            account: Some((claimed.issuer.clone(), claimed.subject.clone())),
            issuer_session: None,
        };
        sign_in.sessions().begin(opened, None).await.unwrap()
    }

    async fn has_session(&self, session: &Secret) -> bool {
        let session = Secret::from(session.expose().to_vec());
        self.access.authenticate(Shown::LoginSession(session).into()).await.is_ok()
    }

    async fn key(&self, user: &str) -> Secret {
        let operator = self.operator().await;
        let by = self.access.authorize::<ManageKeys>(&operator, operator.tenant).ok().unwrap();
        let key = NewKey {
            label: "l".to_owned(),
            tenant: "clinic".to_owned(),
            user: user.to_owned(),
            role: Role::Member,
            class_max: PriorityClass::Normal,
            data_class_max: DataClass::Internal,
            is_service: false,
            purposes: types::Purposes::any(),
            scope: Scope::default(),
            expires_at: None,
        };
        self.access.create_key(&by, key).await.unwrap().1
    }

    /// What a key gives.
    async fn role(&self, key: &Secret) -> Option<Role> {
        let key = Secret::from(key.expose().to_vec());
        self.access.authenticate(Shown::ApiKey(key).into()).await.ok().map(|principal| principal.role)
    }

    async fn suspend(&self, user: &str, suspended: bool) {
        let operator = self.operator().await;
        let by = self.access.authorize::<ManageUsers>(&operator, operator.tenant).ok().unwrap();
        let change = UserChange { suspended: Some(suspended), ..UserChange::default() };
        self.access.change_user(&by, "clinic", user, change).await.unwrap();
    }

    async fn push_account(&self, subject: &str) -> String {
        let said = account(subject);
        self.access.add_scim(&self.provisioner().await, "corp", said).await.unwrap().record.id
    }

    async fn push_group(&self, name: &str, members: &[&str]) -> String {
        let members = members.iter().map(|&member| member.to_owned()).collect();
        let said = ScimGroup { name: name.to_owned(), external_id: String::new(), members };
        self.access.add_scim(&self.provisioner().await, "corp", said).await.unwrap().record.id
    }

    async fn set_active(&self, id: &str, active: bool) -> Result<(), ScimError> {
        let change = move |said: ScimAccount| Ok(ScimAccount { active, ..said });
        self.access.change_scim(&self.provisioner().await, "corp", id, change).await.map(drop)
    }
}

async fn opened(folder: &TempDir, table: Option<&[Line]>) -> (Access, Store) {
    let store = Store::open(&folder.path().join("state.db")).await.unwrap();
    let access =
        Access::open(store.clone(), &secret_file(folder.path(), "pepper"), audit_in(folder.path()).await)
            .await
            .unwrap();
    let corp = ProviderSettings {
        name: "corp".to_owned(),
        issuer: ISSUER.to_owned(),
        client_id: "llmos".to_owned(),
        client_secret: None,
        scopes: Vec::new(),
        groups_claim: "groups".to_owned(),
        audience: None,
        token_types: Vec::new(),
        acr: Vec::new(),
        amr: Vec::new(),
    };
    let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
    let line = |(group, subject, role): &Line| RoleMapping {
        provider: "corp".to_owned(),
        group: some(group),
        subject: some(subject),
        tenant: "clinic".to_owned(),
        role: *role,
        class_max: PriorityClass::Normal,
        data_class_max: DataClass::Internal,
        is_service: false,
        team: None,
        purposes: types::Purposes::any(),
    };
    let settings = SignInSettings {
        providers: table.map(|_| corp).into_iter().collect(),
        mapping: table.into_iter().flatten().map(line).collect(),
        ..SignInSettings::alone()
    };
    (access.with_sign_in(settings, Outbound::new(Rules::default()).unwrap()).await.unwrap(), store)
}

fn claimed(subject: &str, groups: &[&str], issued_at: u64) -> Claimed {
    Claimed {
        provider: "corp".to_owned(),
        issuer: ISSUER.to_owned(),
        subject: subject.to_owned(),
        groups: groups.iter().map(|&group| group.to_owned()).collect(),
        session: None,
        proved_at: None,
        issued_at,
        expires_at: issued_at + 600,
        scope: Vec::new(),
    }
}

fn account(subject: &str) -> ScimAccount {
    ScimAccount {
        subject: subject.to_owned(),
        user_name: subject.to_owned(),
        display_name: String::new(),
        active: true,
    }
}

/// Of whom nothing new is said, the configuration decides with each start, and a key gives what it says.
#[tokio::test]
async fn what_is_taken_from_the_configuration_is_taken_from_everybody_at_the_start() {
    let mut house = House::new(&[DOCTORS, NURSES, JOB]).await;
    let ann = claimed("ann", &["doctors", "nurses", "staff"], 1_000);
    assert_eq!(house.comes(&ann, true).await, Some(Role::Administrator));
    assert_eq!(house.comes(&claimed("job", &[], 1_000), false).await, Some(Role::Operator));
    let bob = house.push_account("bob").await;
    house.push_group("nurses", &[&bob]).await;
    let [ann_key, job_key, bob_key] =
        [house.key("corp:ann").await, house.key("corp:job").await, house.key("corp:bob").await];
    for (table, [of_ann, of_job, of_bob]) in [
        (
            Some(&[DOCTORS, NURSES, JOB][..]),
            [Some(Role::Administrator), Some(Role::Operator), Some(Role::Member)],
        ),
        (Some(&[NURSES, JOB]), [Some(Role::Member), Some(Role::Operator), Some(Role::Member)]),
        (Some(&[("staff", "", Role::Auditor), NURSES]), [Some(Role::Auditor), None, Some(Role::Member)]),
        (Some(&[JOB]), [None, Some(Role::Operator), None]),
        (None, [None; 3]),
        (
            Some(&[DOCTORS, NURSES, JOB]),
            [Some(Role::Administrator), Some(Role::Operator), Some(Role::Member)],
        ),
    ] {
        let session = house.session(&ann).await;
        house = house.restarted(table).await;
        for (key, expected) in [(&ann_key, of_ann), (&job_key, of_job), (&bob_key, of_bob)] {
            assert_eq!(house.role(key).await, expected, "{table:?}");
        }
        assert_eq!(house.has_session(&session).await, of_ann.is_some(), "{table:?}");
        let operator = house.operator().await;
        let by = house.access.authorize::<ManageUsers>(&operator, operator.tenant).ok().unwrap();
        let shut_out: Vec<String> = (house.access.users(&by).await.unwrap().into_iter())
            .filter_map(|user| user.shut_out.then_some(user.user))
            .collect();
        assert_eq!(shut_out.len(), [of_ann, of_job, of_bob].into_iter().filter(Option::is_none).count());
        if of_ann.is_none() {
            // A session that ended does not come back with the line of the table.
            house = house.restarted(Some(&[DOCTORS, NURSES, JOB])).await;
            assert!(house.role(&ann_key).await.is_some() && !house.has_session(&session).await);
        }
    }
}

#[tokio::test]
async fn of_two_things_that_a_provider_says_the_later_one_counts() {
    let house = House::new(&[DOCTORS, NURSES]).await;
    let (doctors, nurses) = (Some(Role::Administrator), Some(Role::Member));
    for (groups, at, signs_in, expected) in [
        (&["strangers"][..], 1, true, None),
        (&["doctors"], 10, false, doctors),
        (&["nurses"], 20, false, nurses),
        // Older: what they may is what was said since.
        (&["doctors"], 15, false, nurses),
        (&["doctors"], 15, true, nurses),
        // For less: nothing follows.
        (&[], 30, false, None),
        (&["nurses"], 20, false, nurses),
        (&["doctors", "nurses"], 40, true, doctors),
        // Whoever signs in and is in no group any more has nothing of what they had by one.
        (&["strangers"], 50, true, None),
        (&["doctors"], 45, false, None),
        (&["nurses"], 60, false, nurses),
    ] {
        let said = claimed("ann", groups, at);
        assert_eq!(house.comes(&said, signs_in).await, expected, "{groups:?} at {at}");
    }
    let key = house.key("corp:ann").await;
    let session = house.session(&claimed("ann", &["nurses"], 70)).await;
    assert_eq!(house.comes(&claimed("ann", &[], 80), true).await, None);
    assert_eq!((house.role(&key).await, house.has_session(&session).await), (None, false));
    // Of strangers nothing is kept.
    assert_eq!(house.comes(&claimed("eve", &["strangers"], 1), true).await, None);
    assert!(house.store.accounts().await.unwrap().iter().all(|account| account.subject == "ann"));
    // A name that is somebody's is nobody else's.
    house.key("corp:zoe").await;
    let error = house.access.sign_in().account(&claimed("zoe", &["nurses"], 1), true).await.unwrap_err();
    assert!(matches!(error, SignInError::Access(AccessError::NameTaken(_))), "{error}");
    let house = house.restarted(Some(&[NURSES])).await;
    assert_eq!(house.comes(&claimed("zoe", &["nurses"], 2), false).await, None);
}

#[tokio::test]
async fn of_an_account_that_is_pushed_that_alone_counts() {
    let house = House::new(&[DOCTORS, NURSES]).await;
    let now = now_s();
    let ann = claimed("ann", &["doctors"], now);
    assert_eq!(house.comes(&ann, true).await, Some(Role::Administrator));
    let (key, session) = (house.key("corp:ann").await, house.session(&ann).await);
    // It is in no group that was pushed.
    let id = house.push_account("ann").await;
    assert_eq!((house.role(&key).await, house.has_session(&session).await), (None, false));
    assert_eq!(house.comes(&ann, true).await, None);
    let group = house.push_group("nurses", &[&id, "no account"]).await;
    assert_eq!(
        (house.role(&key).await, house.comes(&ann, true).await),
        (Some(Role::Member), Some(Role::Member))
    );

    house.set_active(&id, false).await.unwrap();
    assert_eq!((house.role(&key).await, house.comes(&ann, true).await), (None, None));
    house.set_active(&id, true).await.unwrap();
    assert_eq!(house.role(&key).await, Some(Role::Member));
    // Whoever is suspended by hand is so, whatever a provider says, and also if it was out at that time.
    house.set_active(&id, false).await.unwrap();
    house.suspend("corp:ann", true).await;
    house.set_active(&id, true).await.unwrap();
    assert_eq!((house.role(&key).await, house.comes(&ann, true).await), (None, None));
    house.suspend("corp:ann", false).await;
    assert_eq!(house.role(&key).await, Some(Role::Member));

    let by = house.provisioner().await;
    house.access.delete_scim::<ScimGroup>(&by, "corp", &group).await.unwrap();
    assert_eq!(house.role(&key).await, None);
    house.push_group("doctors", &[&id]).await;
    assert_eq!(house.role(&key).await, Some(Role::Administrator));
    // A change that is refused changes nothing.
    house.push_account("bob").await;
    let change = |said: ScimAccount| Ok(ScimAccount { user_name: "bob".to_owned(), active: false, ..said });
    let refused = house.access.change_scim(&by, "corp", &id, change).await.unwrap_err();
    assert!(matches!(refused, ScimError::Taken), "{refused}");
    assert_eq!(house.role(&key).await, Some(Role::Administrator));

    // What was said of it before is no way back, also if the provider's clock is a little ahead; what is said later is.
    house.access.delete_scim::<ScimAccount>(&by, "corp", &id).await.unwrap();
    for (issued_at, expected) in [(now, None), (now + 30, None), (now_s() + 120, Some(Role::Administrator))] {
        let said = claimed("ann", &["doctors"], issued_at);
        assert_eq!(house.comes(&said, false).await, expected, "{issued_at}");
    }
    // Nor is the subject that an account had before.
    let id = house.push_account("carl").await;
    house.push_group("nurses", &[&id]).await;
    let carl = house.key("corp:carl").await;
    assert_eq!(house.role(&carl).await, Some(Role::Member));
    let change = |said: ScimAccount| Ok(ScimAccount { subject: "dora".to_owned(), ..said });
    house.access.change_scim(&by, "corp", &id, change).await.unwrap();
    assert_eq!(house.role(&carl).await, None);
    assert_eq!(house.comes(&claimed("carl", &["nurses"], now), false).await, None);
    assert_eq!(house.comes(&claimed("dora", &[], now), false).await, Some(Role::Member));
}

/// A crash leaves what was said in the store, and nothing of what follows.
#[tokio::test]
async fn what_follows_is_worked_out_at_the_start() {
    let house = House::new(&[NURSES]).await;
    let (id, other) = (house.push_account("ann").await, house.push_account("bob").await);
    let group = house.push_group("nurses", &[&id, &other]).await;
    let (ann, bob) = (house.key("corp:ann").await, house.key("corp:bob").await);
    let session = house.session(&claimed("ann", &[], 1)).await;
    let record = |said: ScimAccount, id: &str| ScimRecord {
        id: id.to_owned(),
        issuer: ISSUER.to_owned(),
        said,
        created_at: 1,
        changed_at: 1,
    };
    house.store.put_scim(record(ScimAccount { active: false, ..account("ann") }, &id), 1).await.unwrap();
    assert!(house.role(&ann).await.is_some());
    let house = house.restarted(Some(&[NURSES])).await;
    assert_eq!((house.role(&ann).await, house.has_session(&session).await), (None, false));
    assert_eq!(house.role(&bob).await, Some(Role::Member));

    house.store.delete_scim::<ScimGroup>(ISSUER, &group, 1).await.unwrap();
    house.store.put_scim(record(account("ann"), &id), 1).await.unwrap();
    let house = house.restarted(Some(&[NURSES])).await;
    assert_eq!((house.role(&ann).await, house.role(&bob).await), (None, None));
    house.store.delete_scim::<ScimAccount>(ISSUER, &other, 1).await.unwrap();
    let house = house.restarted(Some(&[NURSES])).await;
    assert_eq!(house.role(&bob).await, None);
}

#[tokio::test]
async fn changes_at_the_same_time_are_all_made() {
    let house = House::new(&[NURSES]).await;
    let group = house.push_group("nurses", &[]).await;
    let by = house.provisioner().await;
    let join = async |number: usize| {
        let id = house.push_account(&format!("a{number}")).await;
        let change = move |mut said: ScimGroup| {
            said.members.push(id);
            Ok(said)
        };
        house.access.change_scim(&by, "corp", &group, change).await.unwrap();
    };
    futures::future::join_all((0..20).map(join)).await;
    let group = house.access.scim::<ScimGroup>(&by, "corp", &group).await.unwrap();
    assert_eq!((group.related.len(), group.record.said.members.len()), (20, 20));
    let let_in = house.store.users().await.unwrap();
    assert_eq!(let_in.iter().filter(|user| user.user.starts_with("corp:a")).count(), 20);
}
