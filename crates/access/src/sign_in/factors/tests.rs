use std::sync::Arc;

use audit::{Record, RecordKind};
use outbound::Url;
use store::Store;
use types::Role;

use super::*;
use crate::{
    SessionLimits, SignInSettings,
    keyring::Keyring,
    recorded::{audit_in, new_key, secret_file},
};

/// What is in the log of these actions: of what kind each record is, and what became of it.
fn recorded(keyring: &Keyring, actions: &[&str]) -> Vec<(RecordKind, String, Option<String>)> {
    let log = keyring.audit().log();
    let records = log.entries(0..log.size()).unwrap().into_iter().map(|entry| Record::parse(&entry).unwrap());
    let of_them = records.filter(|record| actions.contains(&record.action.as_str()));
    of_them.map(|record| (record.kind, record.action, record.outcome)).collect()
}

/// Who reads the log must not find a factor that nobody has, or one that is gone and is still there.
#[tokio::test]
async fn what_could_not_be_done_is_not_recorded_as_done() {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("db")).await.unwrap();
    let audit = audit_in(folder.path()).await;
    let keyring =
        Arc::new(Keyring::open(store.clone(), &secret_file(folder.path(), "pepper"), audit).await.unwrap());
    keyring.create_first(new_key(Role::Owner)).await.unwrap();
    let settings = SignInSettings {
        public_url: Url::parse("http://localhost").unwrap(),
        providers: Vec::new(),
        mapping: Vec::new(),
        limits: SessionLimits::default(),
        suite: vault::Suite::default(),
    };
    let sign_in = SignIn::open(keyring.clone(), settings, None).await.unwrap();
    let token = sign_in.invite(UserId(1)).await.unwrap();
    let half = sign_in.redeem_setup(&token, None).await.unwrap().session;
    let half = sign_in.in_browser(&half).unwrap();
    let app = sign_in.added(&half, FactorKind::Totp, "app".to_owned(), vec![7], Some(1), false).await;
    let (session, codes) = app.unwrap();
    assert_eq!(codes.len(), RECOVERY_CODES);
    let nothing = sign_in.remove_factor(&session, "nothing").await;
    assert!(matches!(nothing, Err(SignInError::UnknownFactor)));
    store.close().await;
    assert!(sign_in.new_recovery_codes(&session).await.is_err());
    let opened = sign_in.in_browser(&session).unwrap().opened;
    assert!(sign_in.sessions().begin(opened, None).await.is_err());

    let each = |action: &str, how: &str| {
        [
            (RecordKind::Begin, action.to_owned(), None),
            (RecordKind::End, action.to_owned(), Some(how.to_owned())),
        ]
    };
    assert_eq!(recorded(&keyring, &["manage_keys"]), each("manage_keys", "done"));
    assert_eq!(
        recorded(&keyring, &["factor_add", "factor_remove"]),
        [each("factor_add", "done"), each("factor_remove", "failed"), each("factor_add", "failed")].concat()
    );
    let sessions = recorded(&keyring, &["session_begin"]);
    assert_eq!(sessions[..2], each("session_begin", "done"));
    assert_eq!(sessions[sessions.len() - 2..], each("session_begin", "failed"));
}
