//! A process that signs people in and takes in what a provider pushes is killed at random points, or its disk is full, or whoever asks
//! leaves: what it had acknowledged holds.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use access::{
    Access, AccessError, FactorKind, ManageFactors, ManageKeys, NewKey, ProvisionUsers, RoleMapping,
    ScimAccount, ScimError, ScimGroup, SessionLimits, Shown, SignInError, SignInSettings,
};
use audit::{Audit, Erases};
use aws_lc_rs::hmac;
use identity::ProviderSettings;
use outbound::{Outbound, Rules, Url};
use seccompiler::{SeccompAction, SeccompFilter, apply_filter_all_threads};
use store::Store;
use types::{DataClass, Principal, PriorityClass, Role, Scope, Secret};
use vault::{Root, SecretFile};

/// Names the folder to the process that dies, and says how.
const FOLDER: &str = "LLMOS_TEST_DIES_IN";
const HOW: &str = "LLMOS_TEST_DIES_OF";
const ROUND: &str = "LLMOS_TEST_ROUND";
/// People, and accounts that are pushed, at the same time.
const CALLERS: u64 = 3;

/// 20, or 300 with `LLMOS_TEST_FULL=1`.
fn rounds() -> u64 {
    if env::var_os("LLMOS_TEST_FULL").is_some() { 300 } else { 20 }
}

/// A secret in a file, under a root of tests.
fn secret_file(file: &Path) -> SecretFile {
    SecretFile::under(Root::of_text(&Secret::from("0123456789abcdef".repeat(4))).unwrap(), file)
}

/// A log in a folder. The names in it are thrown away.
async fn audit_in(folder: &Path) -> Arc<Audit> {
    let opened =
        Audit::open(&folder.join("audit"), &secret_file(&folder.join("audit.key")), Arc::new(Erases)).await;
    opened.unwrap().0
}

async fn open(folder: &Path) -> (Access, Store) {
    let store = Store::open(&folder.join("state.db")).await.unwrap();
    let access = Access::open(store.clone(), &secret_file(&folder.join("pepper")), audit_in(folder).await)
        .await
        .unwrap();
    let corp = ProviderSettings {
        name: "corp".to_owned(),
        issuer: "https://provider.test".to_owned(),
        client_id: "llmos".to_owned(),
        client_secret: None,
        scopes: Vec::new(),
        groups_claim: "groups".to_owned(),
        audience: None,
        token_types: Vec::new(),
        acr: Vec::new(),
        amr: Vec::new(),
    };
    let doctors = RoleMapping {
        provider: "corp".to_owned(),
        group: Some("doctors".to_owned()),
        subject: None,
        tenant: "clinic".to_owned(),
        role: Role::Member,
        class_max: PriorityClass::Normal,
        data_class_max: DataClass::Internal,
        is_service: false,
        team: None,
        purposes: types::Purposes::any(),
    };
    let settings = SignInSettings {
        public_url: Url::parse("http://localhost").unwrap(),
        providers: vec![corp],
        mapping: vec![doctors],
        limits: SessionLimits::default(),
        suite: vault::Suite::default(),
    };
    let outbound = Outbound::new(Rules::default()).unwrap();
    (access.with_sign_in(settings, outbound).await.unwrap(), store)
}

async fn operator(access: &Access) -> Principal {
    let uid = rustix::process::geteuid().as_raw();
    access.authenticate(Shown::LocalSocket { uid }.into()).await.unwrap()
}

fn text(secret: &Secret) -> String {
    String::from_utf8(secret.expose().to_vec()).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

/// A key of a user, who is made with it if there is none of this name.
async fn key_of(access: &Access, tenant: &str, user: &str) -> String {
    let operator = operator(access).await;
    let by = access.authorize::<ManageKeys>(&operator, operator.tenant).unwrap();
    let key = NewKey {
        label: "l".to_owned(),
        tenant: tenant.to_owned(),
        user: user.to_owned(),
        role: Role::Member,
        class_max: PriorityClass::Normal,
        data_class_max: DataClass::Internal,
        is_service: false,
        purposes: types::Purposes::any(),
        scope: Scope::default(),
        expires_at: None,
    };
    text(&access.create_key(&by, key).await.unwrap().1)
}

/// A new session of a user, without the second factor.
async fn half_signed_in(access: &Access, user: &str) -> Secret {
    let operator = operator(access).await;
    let by = access.authorize::<ManageFactors>(&operator, operator.tenant).unwrap();
    let token = access.invite(&by, "default", user).await.unwrap();
    access.sign_in().redeem_setup(&token, Some("the provider is down")).await.unwrap().session
}

/// The code of this moment (RFC 6238, by hand).
fn code(seed: &Secret) -> String {
    let step = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() / 30;
    let seed = data_encoding::BASE32_NOPAD.decode(seed.expose()).unwrap();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &seed);
    let tag = hmac::sign(&key, &step.to_be_bytes());
    let hash = tag.as_ref();
    let at = usize::from(hash[19] & 15);
    let number = u32::from_be_bytes(hash[at..at + 4].try_into().unwrap()) & 0x7fff_ffff;
    format!("{:06}", number % 1_000_000)
}

/// Adds the codes of an app: the one that was used for it, the session, and the recovery codes.
async fn enrolled(access: &Access, user: &str) -> (String, Secret, Vec<String>) {
    let session = half_signed_in(access, user).await;
    let (id, enrolment) = access.sign_in().begin_totp(&session).unwrap();
    let code = code(&enrolment.text);
    let (session, codes) = access.sign_in().finish_totp(&session, &id, &code).await.unwrap();
    (code, session, codes.iter().map(text).collect())
}

fn account(subject: &str, active: bool) -> ScimAccount {
    ScimAccount {
        subject: subject.to_owned(),
        user_name: subject.to_owned(),
        display_name: String::new(),
        active,
    }
}

/// An account that was pushed, is in the group, and has a key: its id and the key.
async fn pushed(access: &Access, subject: &str, group: &str) -> (String, String) {
    let operator = operator(access).await;
    let by = access.authorize::<ProvisionUsers>(&operator, ()).unwrap();
    let id = access.add_scim(&by, "corp", account(subject, true)).await.unwrap().record.id;
    let member = id.clone();
    let joined = access.change_scim(&by, "corp", group, move |mut group: ScimGroup| {
        group.members.push(member);
        Ok(group)
    });
    joined.await.unwrap();
    (id, key_of(access, "clinic", &format!("corp:{subject}")).await)
}

async fn switched_off(access: &Access, id: &str) -> Result<(), ScimError> {
    let operator = operator(access).await;
    let by = access.authorize::<ProvisionUsers>(&operator, ()).unwrap();
    let off = |said: ScimAccount| Ok(ScimAccount { active: false, ..said });
    access.change_scim(&by, "corp", id, off).await.map(drop)
}

async fn opens(access: &Access, key: &str) -> bool {
    access.authenticate(Shown::ApiKey(secret(key)).into()).await.is_ok()
}

fn say(line: &str) {
    // One write for each line: the process may be killed between any two.
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// What the process does until it dies. Each line that it prints is an acknowledgement, or says what it is about to do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_process_that_dies() {
    let Some(folder) = env::var_os(FOLDER) else { return };
    let (access, _store) = open(Path::new(&folder)).await;
    let round = env::var(ROUND).unwrap();
    if env::var(HOW).unwrap() == "full" {
        return of_a_full_disk(&access).await;
    }
    let operator = operator(&access).await;
    let by = access.authorize::<ProvisionUsers>(&operator, ()).unwrap();
    let wanted = access::ScimWanted { count: 1, ..Default::default() };
    let groups = access.list_scim::<ScimGroup>(&by, "corp", wanted).await.unwrap();
    let group = groups.rows[0].record.id.clone();
    say("");
    let person = async |caller: u64| {
        for step in 0.. {
            let user = format!("u{round}-{caller}-{step}");
            key_of(&access, "default", &user).await;
            let (code, session, codes) = enrolled(&access, &user).await;
            say(&format!("ack enrolled {user} {code} {}", codes[1]));
            say(&format!("ack in {}", text(&session)));
            let before = text(&session);
            say(&format!("ack ends {before}"));
            let session = access.sign_in().prove_recovery(&session, &codes[0]).await.unwrap();
            say(&format!("ack used {user} {}", codes[0]));
            say(&format!("ack out {before}"));
            say(&format!("ack in {}", text(&session)));
            if step % 2 == 1 {
                say(&format!("ack ends {}", text(&session)));
                access.sign_in().sign_out(&session).await.unwrap();
                say(&format!("ack out {}", text(&session)));
            }
        }
    };
    let provider = async |caller: u64| {
        for step in 0.. {
            let (id, key) = pushed(&access, &format!("a{round}-{caller}-{step}"), &group).await;
            say(&format!("ack in {key}"));
            if step % 2 == 1 {
                say(&format!("ack ends {key}"));
                switched_off(&access, &id).await.unwrap();
                say(&format!("ack out {key}"));
            }
        }
    };
    let people = futures::future::join_all((0..CALLERS).map(person));
    futures::future::join(people, futures::future::join_all((0..CALLERS).map(provider))).await;
}

fn dying(folder: &Path, how: &str, round: u64) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "the_process_that_dies", "--nocapture"])
        .env(FOLDER, folder)
        .env(HOW, how)
        .env(ROUND, round.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

async fn add_group(folder: &Path) {
    let (access, store) = open(folder).await;
    let operator = operator(&access).await;
    let by = access.authorize::<ProvisionUsers>(&operator, ()).unwrap();
    let doctors = ScimGroup { name: "doctors".to_owned(), external_id: String::new(), members: Vec::new() };
    access.add_scim(&by, "corp", doctors).await.unwrap();
    store.close().await;
}

#[tokio::test]
async fn what_was_acknowledged_holds_wherever_the_process_is_killed() {
    if env::var_os(FOLDER).is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    add_group(folder.path()).await;
    let mut seen = BTreeMap::<&str, u64>::new();
    for round in 0..rounds() {
        let mut killed = dying(folder.path(), "kill", round);
        let mut lines = BufReader::new(killed.stdout.take().unwrap()).lines();
        assert!(lines.by_ref().map_while(Result::ok).any(|line| line.is_empty()), "it has begun");
        // So many acknowledgements, however busy the machine is, and then somewhere before the next.
        let mut said: Vec<String> =
            lines.by_ref().map_while(Result::ok).take((5 + round * 7 % 40) as usize).collect();
        thread::sleep(Duration::from_micros(round * 7_919 % 5_000));
        killed.kill().unwrap();
        killed.wait().unwrap();
        said.extend(lines.map_while(Result::ok));

        let (access, store) = open(folder.path()).await;
        // By secret: whether it opens something; nothing is known while it is being taken away.
        let mut secrets: BTreeMap<&str, Option<bool>> = BTreeMap::new();
        for line in &said {
            match line.split(' ').collect::<Vec<_>>()[..] {
                ["ack", "in", opens] => drop(secrets.insert(opens, Some(true))),
                ["ack", "ends", opens] => drop(secrets.insert(opens, None)),
                ["ack", "out", opens] => drop(secrets.insert(opens, Some(false))),
                ["ack", "enrolled", user, code, unused] => {
                    let session = half_signed_in(&access, user).await;
                    let factors = access.sign_in().session(&session).unwrap().factors;
                    let of = |kind| factors.iter().filter(|factor| factor.kind == kind).count();
                    assert_eq!((of(FactorKind::Totp), of(FactorKind::Recovery)), (1, 10), "{user}");
                    let again = access.sign_in().prove_totp(&session, code).await.err();
                    assert!(matches!(again, Some(SignInError::WrongCode)), "{user}: {again:?}");
                    access.sign_in().prove_recovery(&session, unused).await.unwrap();
                    *seen.entry("enrolled").or_default() += 1;
                }
                ["ack", "used", user, code] => {
                    let session = half_signed_in(&access, user).await;
                    let again = access.sign_in().prove_recovery(&session, code).await.err();
                    assert!(matches!(again, Some(SignInError::WrongCode)), "{user}: {again:?}");
                    *seen.entry("used").or_default() += 1;
                }
                // Cut off in the middle.
                _ => {}
            }
        }
        for (shown, expected) in secrets.into_iter().filter_map(|(shown, known)| Some((shown, known?))) {
            let (what, opens) = if shown.starts_with("llmos-session") {
                ("session", access.authenticate(Shown::LoginSession(secret(shown)).into()).await.is_ok())
            } else {
                ("key", opens(&access, shown).await)
            };
            assert_eq!(opens, expected, "a {what} in round {round}");
            *seen.entry(if expected { what } else { "out" }).or_default() += 1;
        }
        drop(access);
        store.close().await;
    }
    for what in ["enrolled", "used", "session", "key", "out"] {
        assert!(seen.get(what).is_some_and(|count| *count >= rounds() / 4), "{seen:?}");
    }
}

/// From now on writing to files fails as on a full disk.
fn fill_the_disk() {
    let calls = [libc::SYS_pwrite64, libc::SYS_ftruncate, libc::SYS_fallocate];
    let filter = SeccompFilter::new(
        calls.iter().map(|call| (*call, Vec::new())).collect(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::ENOSPC.cast_unsigned()),
        env::consts::ARCH.try_into().unwrap(),
    );
    apply_filter_all_threads(&seccompiler::BpfProgram::try_from(filter.unwrap()).unwrap()).unwrap();
}

async fn of_a_full_disk(access: &Access) {
    let operator = operator(access).await;
    let by = access.authorize::<ProvisionUsers>(&operator, ()).unwrap();
    let wanted = access::ScimWanted { count: 1, ..Default::default() };
    let group = access.list_scim::<ScimGroup>(&by, "corp", wanted).await.unwrap().rows[0].record.id.clone();
    key_of(access, "default", "ann").await;
    let (_, session, codes) = enrolled(access, "ann").await;
    let half = half_signed_in(access, "ann").await;
    let (id, key) = pushed(access, "grace", &group).await;
    let (_, other) = pushed(access, "heidi", &group).await;
    for line in [
        format!("session {}", text(&session)),
        format!("code {}", codes[0]),
        format!("key {key}"),
        format!("key {other}"),
    ] {
        say(&line);
    }

    fill_the_disk();
    let is_full = |error: &AccessError| {
        // Whichever is asked first: what is to be recorded is recorded first.
        let is_full = match error {
            AccessError::Unavailable(why) => why.contains("disk is full"),
            AccessError::Unrecorded(why) => why.contains("no room"),
            _ => false,
        };
        assert!(is_full, "{error}");
    };
    // A right code is no wrong one.
    for _ in 0..6 {
        match access.sign_in().prove_recovery(&half, &codes[0]).await.err().unwrap() {
            SignInError::Access(error) => is_full(&error),
            error => panic!("{error}"),
        }
    }
    let (enrolment, _) = access.sign_in().begin_totp(&session).unwrap();
    drop(enrolment);
    match access.sign_in().new_recovery_codes(&session).await.err().unwrap() {
        SignInError::Access(error) => is_full(&error),
        error => panic!("{error}"),
    }
    // What is to be out is out all the same, until the next start, and says so.
    match switched_off(access, &id).await.err().unwrap() {
        ScimError::Access(error) => is_full(&error),
        error => panic!("{error}"),
    }
    assert!(!opens(access, &key).await && opens(access, &other).await);
    match access.sign_in().sign_out(&session).await.err().unwrap() {
        SignInError::Access(error) => {
            is_full(&error);
            assert!(error.to_string().contains("until the server restarts"), "{error}");
        }
        error => panic!("{error}"),
    }
    assert!(access.sign_in().session(&session).is_err());
    say("done");
    std::process::exit(0);
}

#[tokio::test]
async fn on_a_full_disk_nothing_is_lost_and_the_error_says_so() {
    if env::var_os(FOLDER).is_some() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    add_group(folder.path()).await;
    let output = dying(folder.path(), "full", 0).wait_with_output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("done"), "{said}");
    let (access, _store) = open(folder.path()).await;
    let mut there = 0;
    for line in said.lines() {
        match line.split_once(' ') {
            // What was refused has not happened.
            Some(("session", session)) => assert!(access.sign_in().session(&secret(session)).is_ok()),
            Some(("key", key)) => assert!(opens(&access, key).await),
            Some(("code", code)) => {
                let half = half_signed_in(&access, "ann").await;
                access.sign_in().prove_recovery(&half, code).await.unwrap();
            }
            _ => continue,
        }
        there += 1;
    }
    assert_eq!(there, 4, "{said}");
}

/// Whoever asks may leave at any moment.
#[tokio::test]
async fn what_has_begun_is_carried_through() {
    let folder = tempfile::tempdir().unwrap();
    let (access, _store) = open(folder.path()).await;
    key_of(&access, "default", "ann").await;
    let half = half_signed_in(&access, "ann").await;
    let (id, enrolment) = access.sign_in().begin_totp(&half).unwrap();
    let first = code(&enrolment.text);
    let mut adding = Box::pin(access.sign_in().finish_totp(&half, &id, &first));
    assert!(futures::poll!(adding.as_mut()).is_pending());
    drop(adding);
    // The session goes on under another secret, which nobody has heard.
    for _ in 0..500 {
        if access.sign_in().session(&half).is_err() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(access.sign_in().session(&half).is_err());
    let half = half_signed_in(&access, "ann").await;
    let factors = access.sign_in().session(&half).unwrap().factors;
    assert_eq!(factors.len(), 11, "{factors:?}");
}

#[tokio::test]
async fn wrong_codes_count_over_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let (access, store) = open(folder.path()).await;
    key_of(&access, "default", "ann").await;
    let (_, _, codes) = enrolled(&access, "ann").await;
    let half = half_signed_in(&access, "ann").await;
    for wrong in 0..5 {
        let error = access.sign_in().prove_totp(&half, "nonsense").await.err();
        assert!(matches!(error, Some(SignInError::WrongCode)), "{wrong}: {error:?}");
    }
    store.close().await;
    drop(access);
    let (access, _store) = open(folder.path()).await;
    let half = half_signed_in(&access, "ann").await;
    let error = access.sign_in().prove_recovery(&half, &codes[0]).await.err();
    assert!(matches!(error, Some(SignInError::LockedOut(1..=30))), "{error:?}");
}

/// Many at once are no more guesses than many one after the other.
#[tokio::test]
async fn of_wrong_codes_at_once_no_more_are_looked_at() {
    let folder = tempfile::tempdir().unwrap();
    let (access, _store) = open(folder.path()).await;
    key_of(&access, "default", "ann").await;
    enrolled(&access, "ann").await;
    let half = half_signed_in(&access, "ann").await;
    let guesses = (0..200).map(|number| {
        let (sign_in, half, guess) = (access.sign_in(), &half, format!("nonsense {number}"));
        async move { sign_in.prove_recovery(half, &guess).await.err() }
    });
    let answers = futures::future::join_all(guesses).await;
    let looked_at = answers.iter().filter(|answer| matches!(answer, Some(SignInError::WrongCode))).count();
    let locked_out =
        answers.iter().filter(|answer| matches!(answer, Some(SignInError::LockedOut(_)))).count();
    assert_eq!((looked_at, locked_out), (5, 195));
}
