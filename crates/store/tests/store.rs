//! The same tests on SQLite and on PostgreSQL.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

mod completions;
mod postgres;

use std::{fs, future::Future, os::unix::fs::PermissionsExt, path::Path, pin::Pin};

use completions::{completion, listed};
use postgres::Postgres;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, PKCS_RSA_SHA256,
    RsaKeySize,
};
use store::{
    Listed, NewKeyRecord, NewUsage, Owner, PolicyRecord, PostgresAddress, Rights, ScimAccount, ScimColumn,
    ScimQuery, ScimRecord, Store, StoreError, UserState,
};
use types::{DataClass, PriorityClass, Purposes, RequestId, Role, TenantId, UserId};

type Case = fn(Store) -> Pin<Box<dyn Future<Output = ()>>>;

/// Every case gets a store of its own.
const CASES: [(&str, Case); 11] = [
    ("keys", |store| Box::pin(keys_come_back_as_they_went_in(store))),
    ("users", |store| Box::pin(what_a_user_may_do_stands_with_the_user(store))),
    ("usage", |store| Box::pin(usage_is_counted_by_day_user_key_and_model(store))),
    ("tenants", |store| Box::pin(tenants_and_users_are_made_once(store))),
    ("insert", |store| Box::pin(an_insert_is_all_or_nothing(store))),
    ("sql", |store| Box::pin(what_is_sql_is_only_a_name(store))),
    ("list", |store| Box::pin(completions::completions_are_listed_by_pages(store))),
    ("owners", |store| Box::pin(completions::only_the_owner_sees_and_changes_a_completion(store))),
    ("delete", |store| Box::pin(completions::completions_are_deleted_by_age_and_by_subject(store))),
    ("reseal", |store| Box::pin(completions::rows_are_sealed_anew_only_as_they_were(store))),
    ("crowd", |store| Box::pin(who_fails_in_a_crowd_fails_alone(store))),
];

#[tokio::test]
async fn on_sqlite() {
    for (name, case) in CASES {
        let folder = tempfile::tempdir().unwrap();
        println!("{name}");
        case(Store::open(&folder.path().join("state.db")).await.unwrap()).await;
    }
}

#[tokio::test]
async fn on_postgres() {
    let mut postgres = Postgres::start();
    for (name, case) in CASES {
        let address = postgres.database(name);
        println!("{name}");
        case(open(&address).await.unwrap()).await;
    }
    a_second_server_is_refused(&postgres).await;
    what_is_not_ours_or_newer_is_refused(&postgres).await;
    the_schema_moves_forward_after_a_backup(&postgres).await;
    what_was_acknowledged_survives_the_death_of_the_database(&mut postgres).await;
}

/// Over a network both sides prove who they are by certificates, and a password is not needed.
#[tokio::test]
async fn only_whom_a_certificate_proves_is_talked_to_and_let_in() {
    let mut postgres = Postgres::start();
    postgres.database("remote");
    let folder = tempfile::tempdir().unwrap();
    let (house, other) = (Authority::new("house"), Authority::new("other"));
    let (certificate, key) = house.certify("localhost", "localhost");
    let port = postgres.secure(&certificate, &key, &house.pem);
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path.display().to_string()
    };
    let (ours, theirs) = (file("house.pem", &house.pem), file("other.pem", &other.pem));
    let shown = |name: &str, (certificate, key): (String, String)| {
        let [certificate, key] =
            [(".pem", certificate), (".key", key)].map(|(end, text)| file(&format!("{name}{end}"), &text));
        format!("&sslcert={certificate}&sslkey={key}")
    };
    let llmos = shown("llmos", house.certify("llmos", "x"));
    let address =
        |host: &str, rest: &str| format!("postgres://llmos@{host}:{port}/remote?sslmode=verify-full{rest}");
    let trusted = format!("&sslrootcert={ours}");
    let store = open(&address("localhost", &format!("{trusted}{llmos}"))).await.unwrap();
    store.insert_key(new_key("k", "clinic", "anna", 1)).await.unwrap();
    assert_eq!(
        postgres.sql(
            "remote",
            "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = 'llmos'"
        ),
        "t"
    );
    store.close().await;

    let rsa = |name, size| shown(name, house.certify_with("llmos", "x", &rsa_key(size)));
    let (weak, strong) = (rsa("weak", RsaKeySize::_2048), rsa("strong", RsaKeySize::_3072));
    open(&address("localhost", &format!("{trusted}{strong}"))).await.unwrap().close().await;
    let open_to_all = shown("open", house.certify("llmos", "x"));
    fs::set_permissions(folder.path().join("open.key"), fs::Permissions::from_mode(0o644)).unwrap();
    for (address, says) in [
        // Who we talk to.
        (address("localhost", &format!("&sslrootcert={theirs}{llmos}")), "UnknownIssuer"),
        (address("localhost", &llmos), "UnknownIssuer"),
        (address("127.0.0.1", &format!("{trusted}{llmos}")), "not valid for name"),
        // Who we are.
        (address("localhost", &trusted), "requires a valid client certificate"),
        (address("localhost", &format!("{trusted}{}", shown("stranger", other.certify("llmos", "x")))), ""),
        (
            address("localhost", &format!("{trusted}{}", shown("bob", house.certify("bob", "x")))),
            "certificate authentication failed",
        ),
        (address("localhost", &format!("{trusted}{open_to_all}")), "others can read its key"),
        (
            address("localhost", &format!("{trusted}{weak}")),
            "weak.key` has 2048 bits, and 3072 are the least",
        ),
        (
            address("localhost", &trusted).replace("sslmode=verify-full", "sslmode=disable"),
            "no pg_hba.conf entry",
        ),
    ] {
        let error = open(&address).await.err().unwrap();
        assert!(matches!(error, StoreError::Unreachable { .. }), "{address}: {error}");
        assert!(error.to_string().contains(says), "{address}: {error}");
    }
}

/// Makes certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate and its key, for an account of the database and a host.
    fn certify(&self, account: &str, host: &str) -> (String, String) {
        self.certify_with(account, host, &KeyPair::generate().unwrap())
    }

    fn certify_with(&self, account: &str, host: &str, key: &KeyPair) -> (String, String) {
        let mut params = CertificateParams::new([host.to_owned()]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, account);
        (params.signed_by(key, &self.issuer).unwrap().pem(), key.serialize_pem())
    }
}

fn rsa_key(size: RsaKeySize) -> KeyPair {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, size).unwrap()
}

async fn open(address: &str) -> Result<Store, StoreError> {
    Store::open_postgres(&address.parse::<PostgresAddress>().unwrap()).await
}

const RIGHTS: Rights = Rights {
    role: Role::Operator,
    class_max: PriorityClass::Interactive,
    data_class_max: DataClass::Confidential,
    purposes: Purposes::any(),
};

fn new_key(id: &str, tenant: &str, user: &str, created_at: u64) -> NewKeyRecord {
    NewKeyRecord {
        id: id.to_owned(),
        hash: [7; 32],
        label: format!("label of {id}"),
        tenant: tenant.to_owned(),
        user: user.to_owned(),
        is_service: false,
        rights: RIGHTS,
        actions: vec!["generate".to_owned(), "embed".to_owned()],
        models: vec!["m".to_owned()],
        created_at,
        expires_at: Some(1_000),
    }
}

async fn ids(store: &Store) -> Vec<String> {
    store.keys().await.unwrap().into_iter().map(|record| record.key.id).collect()
}

async fn keys_come_back_as_they_went_in(store: Store) {
    assert!(!store.has_any_key().await.unwrap());
    for (id, created_at) in [("late", 30), ("z-early", 10), ("a-early", 10), ("middle", 20)] {
        store.insert_key(new_key(id, "clinic", "anna", created_at)).await.unwrap();
    }
    assert_eq!(ids(&store).await, ["z-early", "a-early", "middle", "late"], "oldest first");
    for at in [5, 9] {
        let record = store.revoke_key("late", at).await.unwrap().unwrap();
        assert_eq!(record.revoked_at, Some(5), "the first time stands");
    }
    assert!(store.revoke_key("unknown", 5).await.unwrap().is_none());
    let record = store.keys().await.unwrap().pop().unwrap();
    let key = &record.key;
    assert_eq!((key.id.as_str(), key.hash, key.label.as_str()), ("late", [7; 32], "label of late"));
    assert_eq!((key.tenant.as_str(), key.user.as_str()), ("clinic", "anna"));
    assert_eq!((&key.rights, &record.owner.state.rights), (&RIGHTS, &RIGHTS));
    assert_eq!((key.created_at, key.expires_at, record.revoked_at), (30, Some(1_000), Some(5)));
    assert_eq!(
        (&key.actions[..], &key.models[..]),
        (&["generate".to_owned(), "embed".to_owned()][..], &["m".to_owned()][..])
    );

    let rotated = store.rotate_key("middle", [8; 32], 500).await.unwrap().unwrap();
    assert_eq!((rotated.key.hash, rotated.old), ([8; 32], Some(([7; 32], 500))));
    assert!(store.rotate_key("unknown", [8; 32], 500).await.unwrap().is_none());
    assert_eq!(
        store.rotate_key("late", [8; 32], 500).await.unwrap().unwrap().key.hash,
        [7; 32],
        "it is revoked"
    );
}

async fn what_a_user_may_do_stands_with_the_user(store: Store) {
    let owner = store.insert_key(new_key("k", "clinic", "anna", 1)).await.unwrap().owner;
    let as_made = UserState { rights: RIGHTS, team: None, suspended_at: None };
    assert_eq!((owner.tenant.as_str(), owner.user.as_str(), owner.state), ("clinic", "anna", as_made));
    let less = UserState {
        rights: Rights { role: Role::Member, purposes: Purposes::only([]).unwrap(), ..RIGHTS },
        team: Some("ward 3".to_owned()),
        suspended_at: Some(9),
    };
    let wider = NewKeyRecord {
        rights: Rights { role: Role::Administrator, ..RIGHTS },
        ..new_key("w", "clinic", "anna", 1)
    };
    assert_eq!(
        store.insert_key(wider).await.unwrap().owner.state.rights,
        RIGHTS,
        "a key changes nobody's rights"
    );
    let changed = store.change_user(owner.tenant_id, owner.user_id, less.clone()).await.unwrap().unwrap();
    assert_eq!(changed.state, less);
    assert!(store.keys().await.unwrap().iter().all(|record| record.owner == changed));
    assert_eq!(store.users().await.unwrap(), [changed]);
    let nobody = store.change_user(TenantId(99), owner.user_id, less).await.unwrap();
    assert_eq!(nobody, None, "the user of another tenant");
}

async fn usage_is_counted_by_day_user_key_and_model(store: Store) {
    let owner = store.insert_key(new_key("k", "clinic", "anna", 1)).await.unwrap().owner;
    let local = (TenantId(0), UserId(0));
    let anna = (owner.tenant_id, owner.user_id);
    for (day, (tenant, user), team, key, model) in [
        (7, anna, Some("ward 3"), Some("k"), "m"),
        (7, anna, Some("ward 3"), Some("k"), "m"),
        (7, anna, Some("ward 3"), None, "m"),
        (7, anna, None, Some("k"), "n"),
        (8, local, None, None, "m"),
        (9, local, None, None, "m"),
    ] {
        store.add_usage(NewUsage {
            begun: None,
            day,
            tenant,
            user,
            team: team.map(Into::into),
            key: key.map(Into::into),
            model: model.to_owned(),
            input_tokens: 5,
            output_tokens: 2,
            spend: 7,
        });
    }
    let found = store.usage(7, 8).await.unwrap();
    let rows: Vec<_> = found
        .iter()
        .map(|row| {
            let names = [&row.user, &row.team, &row.key].map(|name| name.as_deref().unwrap_or("-"));
            let sums = [row.requests, row.input_tokens, row.output_tokens, row.spend];
            (row.day, names.join(" "), row.model.as_str(), sums)
        })
        .collect();
    assert_eq!(
        rows,
        [
            (7, "anna - k".to_owned(), "n", [1, 5, 2, 7]),
            (7, "anna ward 3 -".to_owned(), "m", [1, 5, 2, 7]),
            (7, "anna ward 3 k".to_owned(), "m", [2, 10, 4, 14]),
            (8, "- - -".to_owned(), "m", [1, 5, 2, 7]),
        ]
    );
    assert_eq!(found[0].tenant.as_deref(), Some("clinic"));
}

async fn tenants_and_users_are_made_once(store: Store) {
    let mut of = Vec::new();
    for (id, tenant, user) in [("a", "north", "kim"), ("b", "north", "kim"), ("c", "south", "kim")] {
        let record = store.insert_key(new_key(id, tenant, user, 1)).await.unwrap();
        of.push((record.owner.tenant_id, record.owner.user_id));
    }
    assert_eq!(of[0], of[1]);
    assert_ne!(of[0].0, of[2].0);
    assert_ne!(of[0].1, of[2].1);
    assert!(of.iter().all(|(tenant, user)| tenant.0 > 0 && user.0 > 0), "0 is the local operator");
    let names = store.names(of[2].0, of[2].1).await.unwrap();
    assert_eq!(names, Some(("south".to_owned(), "kim".to_owned())));
    assert_eq!(store.names(of[0].0, of[2].1).await.unwrap(), None);
    assert_eq!(store.tenant("south").await.unwrap(), Some(of[2].0));
    assert_eq!(store.tenant("west").await.unwrap(), None);
}

/// Wherever a caller's word gets into a row or is asked for, it comes back as it was, and finds itself only.
async fn what_is_sql_is_only_a_name(store: Store) {
    let names = [
        "x' OR '1'='1",
        "x'); DROP TABLE api_key; --",
        "\"; DELETE FROM app_user; --",
        "$1",
        "?1",
        ":tenant",
        "%",
        "_",
        "\\'",
        "E'\\x27'",
        "$$ || pg_sleep(9) || $$",
        "x' UNION SELECT * FROM tenant --",
        "\u{2019}; --",
        "NULL",
    ];
    let issuer = "https://id.example.org/' OR issuer <> '";
    // Actions and models are lists of words.
    let word = |name: &str| name.replace(' ', "/**/");
    for (number, name) in names.into_iter().enumerate() {
        let key = NewKeyRecord {
            label: name.to_owned(),
            actions: vec![word(name)],
            models: vec![word(name)],
            ..new_key(name, name, name, 1)
        };
        let owner = store.insert_key(key).await.unwrap().owner;
        let policy =
            PolicyRecord { tenant: owner.tenant_id, name: name.into(), text: name.into(), created_at: 1 };
        store.put_policy(policy).await.unwrap();
        store.insert_chat_completion(completion(number as u128, name)).await.unwrap();
        let [subject, user_name, display_name] = [name; 3].map(str::to_owned);
        let said = ScimAccount { subject, user_name, display_name, active: true };
        let (id, issuer) = (name.to_owned(), issuer.to_owned());
        let account = ScimRecord { id, issuer, said, created_at: 1, changed_at: 1 };
        assert!(store.put_scim(account, 1).await.unwrap().is_some());
    }
    for (number, name) in names.into_iter().enumerate() {
        let key = store.key(name).await.unwrap().unwrap().key;
        assert_eq!([&key.id, &key.label, &key.tenant, &key.user], [name; 4]);
        assert_eq!((&key.actions, &key.models), (&vec![word(name)], &vec![word(name)]));
        let user = store.user(name, name).await.unwrap().unwrap();
        assert_eq!((user.tenant.as_str(), user.user.as_str()), (name, name));
        assert_eq!(store.tenant(name).await.unwrap(), Some(user.tenant_id));
        let of_model = Listed { model: Some(name.to_owned()), most: 100, ..Listed::default() };
        assert_eq!(listed(&store, of_model).await, [number as u128]);
        for column in [ScimColumn::UserName, ScimColumn::Subject] {
            let filter = Some((column, name.to_owned()));
            let wanted = ScimQuery { issuer: issuer.to_owned(), filter, skip: 0, count: 100 };
            let (count, found) = store.list_scim::<ScimAccount>(&wanted).await.unwrap();
            assert_eq!((count, found[0].id.as_str(), found[0].said.display_name.as_str()), (1, name, name));
        }
    }
    let found: Vec<String> = store.policies().await.unwrap().into_iter().map(|policy| policy.text).collect();
    assert_eq!(found, names);
    // What changes and deletes finds one row, too.
    for name in names {
        let user = store.user(name, name).await.unwrap().unwrap();
        assert!(store.revoke_key(name, 5).await.unwrap().is_some());
        store.delete_policy(user.tenant_id, name).await.unwrap();
        assert_eq!(
            store.delete_scim::<ScimAccount>(issuer, name, 1).await.unwrap(),
            [name.to_owned()].into()
        );
        let left = names.len() - 1 - names.iter().position(|other| *other == name).unwrap();
        assert_eq!(store.policies().await.unwrap().len(), left);
        let live = store.keys().await.unwrap().iter().filter(|key| key.revoked_at.is_none()).count();
        assert_eq!(live, left);
    }
    let nobody = store.delete_scim::<ScimAccount>("' OR '1'='1", "' OR '1'='1", 1).await.unwrap();
    assert!(nobody.is_empty(), "{nobody:?}");
    assert_eq!(store.users().await.unwrap().len(), names.len());
}

async fn an_insert_is_all_or_nothing(store: Store) {
    store.insert_key(new_key("k", "t", "u", 1)).await.unwrap();
    assert!(store.insert_key(new_key("k", "new tenant", "new user", 1)).await.is_err());
    assert_eq!(store.tenant("new tenant").await.unwrap(), None);
}

const ANNA: Owner = Owner { tenant: TenantId(1), user: UserId(1), data_class_max: DataClass::Restricted };

/// Many writes at once share a commit; one that cannot be made takes none of the others with it.
async fn who_fails_in_a_crowd_fails_alone(store: Store) {
    store.insert_chat_completion(completion(7, "m")).await.unwrap();
    let writes = (0..600_u128).map(|id| store.insert_chat_completion(completion(id, "m")));
    let outcomes = futures::future::join_all(writes).await;
    let failed: Vec<usize> =
        outcomes.iter().enumerate().filter(|(_, outcome)| outcome.is_err()).map(|(id, _)| id).collect();
    assert_eq!(failed, [7]);
    assert_eq!(store.count_chat_completions().await.unwrap(), 600);
    // A caller who leaves takes nothing with it either.
    let mut leaves = Box::pin(store.insert_chat_completion(completion(10_000, "m")));
    assert!(futures::poll!(&mut leaves).is_pending());
    drop(leaves);
    store.insert_chat_completion(completion(10_001, "m")).await.unwrap();
    assert_eq!(store.count_chat_completions().await.unwrap(), 602);
}

async fn a_second_server_is_refused(postgres: &Postgres) {
    let address = postgres.database("locked");
    let first = open(&address).await.unwrap();
    let error = open(&address).await.err().unwrap().to_string();
    assert!(error.contains("another server of llmos uses this database"), "{error}");
    first.close().await;
    drop(open(&address).await.unwrap());
}

async fn what_is_not_ours_or_newer_is_refused(postgres: &Postgres) {
    let newer = postgres.database("newer");
    open(&newer).await.unwrap().close().await;
    postgres.sql("newer", "UPDATE llmos_schema SET version = 99");
    let error = open(&newer).await.err().unwrap().to_string();
    assert!(error.contains("has schema 99, but this program knows schemas up to"), "{error}");
    let foreign = postgres.database("foreigner");
    postgres.sql("foreigner", "SET ROLE llmos; CREATE TABLE theirs (x int)");
    let error = open(&foreign).await.err().unwrap();
    assert!(matches!(error, StoreError::NotOurs { .. }), "{error}");
    let error = open(&foreign.replace("foreigner", "absent")).await.err().unwrap();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
    let error = open("postgres://127.0.0.1:1/llmos").await.err().unwrap();
    assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
}

async fn the_schema_moves_forward_after_a_backup(postgres: &Postgres) {
    let address = postgres.database("moving");
    let store = open(&address).await.unwrap();
    store.insert_key(new_key("k", "clinic", "anna", 1)).await.unwrap();
    store.close().await;
    // Back to the first schema, as a server that ran it would have left it.
    postgres.sql("moving", "DROP TABLE chat_completion, tombstone, usage, usage_counted, policy, identity, login_session, factor, scim_member, scim_group, scim_account, said, said_group, wrong_codes; ALTER TABLE \"user\" DROP COLUMN role, DROP COLUMN class_max, DROP COLUMN \
         data_class_max, DROP COLUMN suspended_at, DROP COLUMN team, DROP COLUMN purposes, DROP COLUMN is_service; ALTER TABLE api_key DROP COLUMN expires_at, DROP COLUMN actions, DROP \
         COLUMN models, DROP COLUMN old_hash, DROP COLUMN old_until, DROP COLUMN purposes; UPDATE llmos_schema SET version = 1");
    let store = open(&address).await.unwrap();
    assert_eq!(ids(&store).await, ["k"]);
    store.insert_chat_completion(completion(1, "m")).await.unwrap();
    assert_eq!(postgres.sql("moving", "SELECT id FROM llmos_before_2.api_key"), "k");
}

async fn what_was_acknowledged_survives_the_death_of_the_database(postgres: &mut Postgres) {
    let address = postgres.database("dying");
    let store = open(&address).await.unwrap();
    for round in 0..3_u128 {
        let mut acknowledged = Vec::new();
        for id in 0..50 {
            let id = round * 1_000 + id;
            store.insert_chat_completion(completion(id, "m")).await.unwrap();
            acknowledged.push(id);
        }
        postgres.kill();
        // Who writes meanwhile waits for it, and the same store goes on by itself.
        let row = completion(round * 1_000 + 999, "m");
        let write = tokio::spawn({
            let store = store.clone();
            async move { store.insert_chat_completion(row).await }
        });
        postgres.start_again();
        write.await.unwrap().unwrap();
        for id in acknowledged {
            assert!(store.chat_completion(ANNA, RequestId(id), 150).await.unwrap().is_some());
        }
    }
}

/// Files that programs with the older schemas have written.
#[tokio::test]
async fn databases_of_every_past_schema_are_opened() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let folder = tempfile::tempdir().unwrap();
    for past in ["state-1", "state-2", "state-3", "state-4", "state-5", "state-6", "state-7", "state-8"] {
        let file = folder.path().join(past);
        fs::copy(fixtures.join(format!("{past}.db")), &file).unwrap();
        let store = Store::open(&file).await.unwrap();
        let keys = store.keys().await.unwrap();
        let users: Vec<_> = keys.iter().map(|record| record.key.user.as_str()).collect();
        assert_eq!(users, ["administrator", "anna", "bert"], "{past}");
        assert!(keys.iter().all(|record| record.owner.state.rights == record.key.rights), "each had one key");
        assert_eq!(keys[0].owner.state.rights.role, Role::Owner, "the widest role of then");
        let usage = store.usage(0, 99_999).await.unwrap();
        assert!(
            !["state-6", "state-7", "state-8"].contains(&past)
                || (usage.len(), usage[0].requests, usage[0].spend) == (1, 3, 0),
            "{usage:?}"
        );
        let stored = u64::from(past != "state-1");
        assert_eq!(store.count_chat_completions().await.unwrap(), stored);
        store.insert_chat_completion(completion(1, "m")).await.unwrap();
        // Whom their provider had shut out is not suspended; whom somebody has suspended by hand is.
        let others = store.users().await.unwrap().into_iter().filter(|user| user.user.starts_with("corp:"));
        let others: Vec<_> = others.map(|user| (user.user, user.state.suspended_at.is_some())).collect();
        let expected = [("corp:out".to_owned(), false), ("corp:suspended".to_owned(), true)];
        assert_eq!(
            others,
            if ["state-6", "state-7", "state-8"].contains(&past) { &expected[..] } else { &[] },
            "{past}"
        );
        for account in store.accounts().await.unwrap() {
            assert_eq!((account.as_of, account.users.len(), account.groups.len()), (1_795_600_000, 1, 0));
        }
        let version = past.strip_prefix("state-").unwrap();
        let backup = folder.path().join(format!("{past}.schema-{version}.backup"));
        let header = &fs::read(backup).unwrap()[60..64];
        assert_eq!(header, u32::to_be_bytes(version.parse().unwrap()), "the version in the header");
    }
}
