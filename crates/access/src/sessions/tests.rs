use store::Store;
use tokio::time::sleep;
use types::Role;

use super::*;
use crate::recorded::{audit_in, new_key, secret_file};
use crate::{UserChange, granter::Granter, policy::Policies};

struct House {
    folder: tempfile::TempDir,
    keyring: Arc<Keyring>,
}

impl House {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("db")).await.unwrap();
        let keyring =
            Keyring::open(store, &secret_file(folder.path(), "pepper"), audit_in(folder.path()).await)
                .await
                .unwrap();
        keyring.create_first(new_key(Role::Owner)).await.unwrap();
        Self { folder, keyring: Arc::new(keyring) }
    }

    async fn sessions(&self, limits: SessionLimits) -> Sessions {
        Sessions::open(self.keyring.clone(), limits).await.unwrap()
    }
}

fn opened(kind: SessionKind, stage: Stage) -> Opened {
    Opened {
        user: UserId(1),
        kind,
        stage,
        actions: Vec::new(),
        present_at: None,
        account: None,
        issuer_session: None,
    }
}

async fn browser(sessions: &Sessions) -> Secret {
    sessions.begin(opened(SessionKind::Browser, Stage::Complete), None).await.unwrap()
}

#[tokio::test]
async fn a_session_is_good_until_it_is_ended_also_over_a_restart() {
    let house = House::new().await;
    let sessions = house.sessions(SessionLimits::default()).await;
    let (kept, ended) = (browser(&sessions).await, browser(&sessions).await);
    assert_ne!(kept.expose(), ended.expose());
    assert_eq!(sessions.holder(&kept).unwrap().role, Role::Owner);
    let id = sessions.find(Form::Session, &ended).unwrap().id;
    assert_eq!(sessions.end(|session| session.id == id).await.unwrap(), 1);
    for again in [&sessions, &house.sessions(SessionLimits::default()).await] {
        assert!(again.holder(&kept).is_ok());
        assert_eq!(again.holder(&ended).err(), Some(AccessError::Unauthenticated));
    }
    // What is kept opens nothing: neither the file nor the database has a secret.
    let database = std::fs::read(house.folder.path().join("db-wal")).unwrap();
    let secret = &kept.expose()[kept.expose().len() - 30..];
    assert!(!database.windows(secret.len()).any(|window| window == secret));
}

#[tokio::test]
async fn a_session_is_over_when_it_was_not_used_and_in_any_case_after_a_while() {
    let house = House::new().await;
    let idle = SessionLimits { idle_s: 2, ..SessionLimits::default() };
    let absolute = SessionLimits { absolute_s: 2, ..SessionLimits::default() };
    let (idle, absolute) = (house.sessions(idle).await, house.sessions(absolute).await);
    let (unused, used) = (browser(&idle).await, browser(&absolute).await);
    for _ in 0..6 {
        sleep(Duration::from_millis(500)).await;
        let _ = absolute.holder(&used);
    }
    assert_eq!(idle.holder(&unused).err(), Some(AccessError::Unauthenticated));
    assert_eq!(absolute.holder(&used).err(), Some(AccessError::Unauthenticated));
    // What was proved for a while only is over then.
    let until = now_s();
    let over = idle.begin(opened(SessionKind::Workload, Stage::Complete), Some(until)).await.unwrap();
    assert!(idle.holder(&over).is_err());
}

#[tokio::test]
async fn one_user_has_so_many_and_the_oldest_goes() {
    let house = House::new().await;
    let sessions = house.sessions(SessionLimits::default()).await;
    let mut secrets = Vec::new();
    for _ in 0..=SESSIONS_OF_USER_MAX {
        secrets.push(browser(&sessions).await);
    }
    let good = secrets.iter().filter(|secret| sessions.holder(secret).is_ok()).count();
    assert_eq!(good, SESSIONS_OF_USER_MAX);
    assert!(sessions.holder(secrets.last().unwrap()).is_ok());
}

#[tokio::test]
async fn what_is_not_complete_is_good_for_nothing_else() {
    let house = House::new().await;
    let sessions = house.sessions(SessionLimits::default()).await;
    let half = sessions.begin(opened(SessionKind::Browser, Stage::FirstFactor), None).await.unwrap();
    assert_eq!(sessions.holder(&half).err(), Some(AccessError::SecondFactorMissing));
    let setup = sessions.begin(opened(SessionKind::Setup, Stage::FirstFactor), None).await.unwrap();
    assert_eq!(sessions.holder(&setup).err(), Some(AccessError::Unauthenticated));
    assert!(sessions.find(Form::Setup, &setup).is_ok());
    // A session for some actions is for these only.
    let narrow =
        Opened { actions: vec!["embed".to_owned()], ..opened(SessionKind::Workload, Stage::Complete) };
    let narrow = sessions.begin(narrow, None).await.unwrap();
    let scope = sessions.holder(&narrow).unwrap().scope;
    assert!(scope.covers_action("embed") && !scope.covers_action("generate"));
}

#[tokio::test]
async fn who_waits_for_the_end_is_told_at_once() {
    let house = House::new().await;
    let sessions = Arc::new(house.sessions(SessionLimits::default()).await);
    let (one, other) = (browser(&sessions).await, browser(&sessions).await);
    let [one, other] = [one, other].map(|secret| {
        let (sessions, id) = (sessions.clone(), sessions.find(Form::Session, &secret).unwrap().id);
        tokio::spawn(async move { sessions.ended(id).await })
    });
    sleep(Duration::from_millis(20)).await;
    assert!(!one.is_finished() && !other.is_finished());
    let owner = sessions.holder(&browser(&sessions).await).unwrap();
    let granter = Granter::new(owner, Arc::new(Policies::new().unwrap()));
    let change = UserChange { suspended: Some(true), ..UserChange::default() };
    house.keyring.change_user(&granter, "t", "u", change).await.unwrap();
    for waiting in [one, other] {
        timeout(Duration::from_secs(5), waiting).await.unwrap().unwrap();
    }
    assert!(sessions.holder(&browser(&sessions).await).is_err(), "nor does a new one give anything");
}
