//! Keys are found again, rotated without touching what they sealed, and destroyed for good.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{fs, path::Path};

use store::VaultKeys;
use types::{DataSubject, Sealed, Secret, TenantId};
use vault::{
    Keyring, Place, Purpose, Root, RootFile, RootSource, RsaKeyFile, Secrets, SecretsPlace, Suite, VaultError,
};

const PLACE: Place<'_> = Place { purpose: Purpose::Conversation, record: b"7" };
const TENANT: TenantId = TenantId(1);

fn root(digit: char) -> Root {
    Root::of_text(&Secret::from(format!("0123456789abcdef{}", digit.to_string().repeat(48)))).unwrap()
}

fn subject(name: &str) -> DataSubject {
    DataSubject::try_from(name.to_owned()).unwrap()
}

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

async fn keyring(folder: &Path, new: Root, old: Option<Root>) -> Result<Keyring, VaultError> {
    Keyring::open(VaultKeys::open(&folder.join("keys.db")).await.unwrap(), new, old).await
}

/// Whether the bytes are anywhere in the files of a folder.
fn is_there(folder: &Path, bytes: &[u8]) -> bool {
    fs::read_dir(folder).unwrap().any(|entry| {
        let content = fs::read(entry.unwrap().path()).unwrap();
        content.windows(bytes.len()).any(|window| window == bytes)
    })
}

#[tokio::test]
async fn a_subject_has_one_key_and_what_it_sealed_opens_after_every_rotation_and_restart() {
    let folder = tempfile::tempdir().unwrap();
    let first = keyring(folder.path(), root('a'), None).await.unwrap();
    let mut sealed = Vec::new();
    for number in 0..50 {
        let name = subject(&format!("patient {number}"));
        let key = first.subject(TENANT, &name).await.unwrap();
        assert_eq!(first.subject(TENANT, &name).await.unwrap().id(), key.id());
        assert_ne!(
            first.subject(TenantId(2), &name).await.unwrap().id(),
            key.id(),
            "each tenant has its own"
        );
        sealed.push((name, key.seal(&PLACE, &secret(&format!("planted {number}"))).unwrap()));
    }
    let counts = first.counts().await.unwrap();
    assert_eq!((counts.tenants, counts.subjects, counts.behind), (2, 100, 0));
    assert!(!is_there(folder.path(), b"patient"), "names are hashed");

    let mut seen = Vec::new();
    assert_eq!(first.rotate_tenant(TENANT, &mut |done| seen.push(done)).await.unwrap(), 50);
    assert_eq!(seen, [50]);
    drop(first);

    let wrong = keyring(folder.path(), root('b'), None).await.err().unwrap().to_string();
    assert!(wrong.contains("is not configured"), "{wrong}");
    let second = keyring(folder.path(), root('b'), Some(root('a'))).await.unwrap();
    assert_eq!(second.rotate_root().await.unwrap(), 2);
    assert_eq!(second.rotate_root().await.unwrap(), 0);
    drop(second);

    let third = keyring(folder.path(), root('b'), None).await.unwrap();
    for (number, (name, sealed)) in sealed.iter().enumerate() {
        let key = third.of_sealed(sealed).await.unwrap();
        assert_eq!(key.open(&PLACE, sealed).unwrap().expose(), format!("planted {number}").as_bytes());
        assert_eq!(third.subject(TENANT, name).await.unwrap().id(), key.id());
    }
}

#[tokio::test]
async fn what_was_shredded_is_gone_from_the_files_too_and_who_comes_back_gets_another_key() {
    let folder = tempfile::tempdir().unwrap();
    let keys = VaultKeys::open(&folder.path().join("keys.db")).await.unwrap();
    let keyring = Keyring::open(keys.clone(), root('a'), None).await.unwrap();
    let (gone, stays) = (subject("gone"), subject("stays"));
    let sealed = keyring.subject(TENANT, &gone).await.unwrap().seal(&PLACE, &secret("planted")).unwrap();
    let kept = keyring.subject(TENANT, &stays).await.unwrap().seal(&PLACE, &secret("kept")).unwrap();
    let old = keyring.of_sealed(&sealed).await.unwrap();
    assert_eq!(old.open(&PLACE, &sealed).unwrap().expose(), b"planted", "it was there");
    let wrapped = keys.subject_key_of_id(old.id().0).await.unwrap().unwrap().wrapped;
    assert!(is_there(folder.path(), &wrapped), "and so was its key");

    let tombstone = keyring.shred(TENANT, &gone, 1_700_000_000).await.unwrap()[0];
    assert_eq!((tombstone.id, tombstone.tenant), (old.id().0, TENANT));
    assert!(!is_there(folder.path(), &wrapped), "the wrapped key is overwritten");
    assert!(matches!(keyring.of_sealed(&sealed).await, Err(VaultError::Shredded)));
    assert_eq!(keyring.shred(TENANT, &gone, 1_700_000_001).await.unwrap(), []);
    assert_eq!(keys.tombstones().await.unwrap(), [tombstone]);

    let again = keyring.subject(TENANT, &gone).await.unwrap();
    assert_ne!(again.id(), old.id());
    assert!(again.open(&PLACE, &sealed).is_err());
    let key = keyring.of_sealed(&kept).await.unwrap();
    assert_eq!(key.open(&PLACE, &kept).unwrap().expose(), b"kept");
}

#[tokio::test]
async fn a_rotation_elsewhere_loses_nothing_that_is_made_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let keys = VaultKeys::open(&folder.path().join("keys.db")).await.unwrap();
    // Another process, which has the old key in memory.
    let elsewhere = Keyring::open(keys.clone(), root('a'), None).await.unwrap();
    let mut sealed = Vec::new();
    let seal = |key: vault::SubjectKey, number: u32| key.seal(&PLACE, &secret(&number.to_string())).unwrap();
    for number in 0..10 {
        let key = elsewhere.subject(TENANT, &subject(&number.to_string())).await.unwrap();
        sealed.push(seal(key, number));
    }
    let keyring = Keyring::open(keys.clone(), root('a'), None).await.unwrap();
    keyring.rotate_tenant(TENANT, &mut |_| ()).await.unwrap();
    let key = elsewhere.subject(TENANT, &subject("late")).await.unwrap();
    sealed.push(seal(key, 10));
    assert_eq!(keys.tenant_keys(TENANT).await.unwrap().len(), 1, "the old key is destroyed");
    assert_eq!(keyring.counts().await.unwrap().behind, 0);
    let fresh = Keyring::open(keys, root('a'), None).await.unwrap();
    for (number, sealed) in sealed.iter().enumerate() {
        for ring in [&fresh, &elsewhere] {
            let key = ring.of_sealed(sealed).await.unwrap();
            assert_eq!(key.open(&PLACE, sealed).unwrap().expose(), number.to_string().as_bytes());
        }
    }
}

#[tokio::test]
async fn a_restored_backup_never_brings_back_what_was_shredded() {
    let folder = tempfile::tempdir().unwrap();
    let ring = keyring(folder.path(), root('a'), None).await.unwrap();
    let names = ["stays", "shredded later", "made later"].map(subject);
    let mut sealed = Vec::new();
    for name in &names[..2] {
        sealed.push(ring.subject(TENANT, name).await.unwrap().seal(&PLACE, &secret("planted")).unwrap());
    }
    let mut old = Vec::new();
    ring.backup(&mut old).await.unwrap();
    ring.rotate_tenant(TENANT, &mut |_| ()).await.unwrap();
    assert_eq!(ring.shred(TENANT, &names[1], 5).await.unwrap().len(), 1);
    sealed.push(ring.subject(TENANT, &names[2]).await.unwrap().seal(&PLACE, &secret("planted")).unwrap());
    let mut new = Vec::new();
    ring.backup(&mut new).await.unwrap();

    // Into what is there, and into nothing, with the newer tombstones before or after the older keys.
    let here = ring.restore(&mut old.as_slice()).await.unwrap();
    assert_eq!((here.subjects, here.shredded), (0, 1));
    for (number, order) in [[&old, &new], [&new, &old]].into_iter().enumerate() {
        let elsewhere = folder.path().join(number.to_string());
        fs::create_dir(&elsewhere).unwrap();
        let restored = keyring(&elsewhere, root('a'), None).await.unwrap();
        for backup in order {
            restored.restore(&mut backup.as_slice()).await.unwrap();
        }
        for ring in [&ring, &restored] {
            for sealed in [&sealed[0], &sealed[2]] {
                let key = ring.of_sealed(sealed).await.unwrap();
                assert_eq!(key.open(&PLACE, sealed).unwrap().expose(), b"planted");
            }
            assert!(matches!(ring.of_sealed(&sealed[1]).await, Err(VaultError::Shredded)));
            ring.rotate_tenant(TENANT, &mut |_| ()).await.unwrap();
            assert!(ring.of_sealed(&sealed[0]).await.is_ok());
        }
    }

    // Half of it, another root, another installation: refused whole.
    let fresh = folder.path().join("fresh");
    fs::create_dir(&fresh).unwrap();
    let empty = keyring(&fresh, root('a'), None).await.unwrap();
    for length in (0..new.len()).step_by(37) {
        assert!(empty.restore(&mut &new[..length]).await.is_err(), "{length} bytes of it");
    }
    let mut missing = new.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    missing.remove(2);
    assert!(empty.restore(&mut missing.concat().as_slice()).await.is_err(), "a line is missing");
    assert_eq!(empty.counts().await.unwrap().subjects, 0);
    empty.subject(TENANT, &names[0]).await.unwrap();
    let foreign = empty.restore(&mut new.as_slice()).await.unwrap_err().to_string();
    assert!(foreign.contains("another installation"), "{foreign}");
    let other_root = folder.path().join("other");
    fs::create_dir(&other_root).unwrap();
    let other_root = keyring(&other_root, root('b'), None).await.unwrap();
    let other = other_root.restore(&mut new.as_slice()).await.unwrap_err().to_string();
    assert!(other.contains("which is not configured"), "{other}");
}

/// A backup from before the root was replaced needs that root, and is under the present one then.
#[tokio::test]
async fn what_is_restored_is_under_the_root_that_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let first = keyring(folder.path(), root('a'), None).await.unwrap();
    let sealed =
        first.subject(TENANT, &subject("anna")).await.unwrap().seal(&PLACE, &secret("planted")).unwrap();
    let mut backup = Vec::new();
    first.backup(&mut backup).await.unwrap();
    drop(first);
    let elsewhere = folder.path().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    let restored = keyring(&elsewhere, root('b'), Some(root('a'))).await.unwrap();
    assert_eq!(restored.restore(&mut backup.as_slice()).await.unwrap().subjects, 1);
    drop(restored);
    let alone = keyring(&elsewhere, root('b'), None).await.unwrap();
    let key = alone.of_sealed(&sealed).await.unwrap();
    assert_eq!(key.open(&PLACE, &sealed).unwrap().expose(), b"planted");
    // A tenant key that was rotated away does not come back with it.
    alone.rotate_tenant(TENANT, &mut |_| ()).await.unwrap();
    drop(alone);
    let both = keyring(&elsewhere, root('b'), Some(root('a'))).await.unwrap();
    both.restore(&mut backup.as_slice()).await.unwrap();
    let keys = VaultKeys::open(&elsewhere.join("keys.db")).await.unwrap();
    assert_eq!(keys.tenant_keys(TENANT).await.unwrap().len(), 1);
}

/// Two copies of one installation, each with a second key of the tenant.
#[tokio::test]
async fn keys_under_another_tenant_key_of_the_same_number_are_taken_in_after_a_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let here = keyring(folder.path(), root('a'), None).await.unwrap();
    here.subject(TENANT, &subject("anna")).await.unwrap();
    let mut backup = Vec::new();
    here.backup(&mut backup).await.unwrap();
    let folder_there = folder.path().join("there");
    fs::create_dir(&folder_there).unwrap();
    let there = keyring(&folder_there, root('a'), None).await.unwrap();
    there.restore(&mut backup.as_slice()).await.unwrap();
    here.rotate_tenant(TENANT, &mut |_| ()).await.unwrap();
    there.rotate_tenant(TENANT, &mut |_| ()).await.unwrap();
    let sealed =
        there.subject(TENANT, &subject("berta")).await.unwrap().seal(&PLACE, &secret("planted")).unwrap();
    let mut backup = Vec::new();
    there.backup(&mut backup).await.unwrap();
    let error = here.restore(&mut backup.as_slice()).await.unwrap_err().to_string();
    assert!(error.contains("rotate it here"), "{error}");
    here.rotate_tenant(TENANT, &mut |_| ()).await.unwrap();
    assert_eq!(here.restore(&mut backup.as_slice()).await.unwrap().subjects, 1);
    let key = here.of_sealed(&sealed).await.unwrap();
    assert_eq!(key.open(&PLACE, &sealed).unwrap().expose(), b"planted");
}

/// An empty backup says that there is none.
#[tokio::test]
async fn no_key_is_made_before_lost_ones_are_restored() {
    let folder = tempfile::tempdir().unwrap();
    let ring = keyring(folder.path(), root('a'), None).await.unwrap();
    ring.await_restore();
    assert!(matches!(ring.subject(TENANT, &subject("anna")).await, Err(VaultError::Lost)));
    ring.restore(&mut &b"{\"llmos_keys\":1}\n{\"end\":0}\n"[..]).await.unwrap();
    ring.subject(TENANT, &subject("anna")).await.unwrap();
}

#[tokio::test]
async fn who_has_a_damaged_key_is_erased_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let keys = VaultKeys::open(&folder.path().join("keys.db")).await.unwrap();
    let ring = Keyring::open(keys.clone(), root('a'), None).await.unwrap();
    let name = subject("anna");
    let old = ring.subject(TENANT, &name).await.unwrap().id();
    ring.replace_subject_keys().await.unwrap();
    let mut damaged = keys.subject_key_of_id(old.0).await.unwrap().unwrap();
    damaged.wrapped[20] ^= 1;
    keys.rewrap_subject_keys(vec![damaged]).await.unwrap();
    let present = ring.subject(TENANT, &name).await.unwrap().id();
    assert_eq!(ring.subject_key_ids(TENANT, &name).await.unwrap(), [present, old]);
    assert_eq!(ring.shred(TENANT, &name, 7).await.unwrap().len(), 2);
}

/// `keys-1.db` and the values in `sealed-1.txt` are from a program that knew one suite and nothing of replaced keys.
#[tokio::test]
async fn what_was_sealed_before_there_was_a_second_suite_opens_whichever_is_set() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures");
    let text = fs::read_to_string(fixtures.join("sealed-1.txt")).unwrap();
    let sealed: Vec<(&str, Sealed)> = text
        .lines()
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, hex)| (name, Sealed::from(data_encoding::HEXLOWER.decode(hex.as_bytes()).unwrap())))
        .collect();
    assert_eq!(sealed.len(), 6);
    let place = Place { purpose: Purpose::Conversation, record: b"1" };
    let folder = tempfile::tempdir().unwrap();
    fs::copy(fixtures.join("keys-1.db"), folder.path().join("keys.db")).unwrap();
    for suite in Suite::ALL {
        let root = Root::of_text(&Secret::from("0123456789abcdef".repeat(4))).unwrap();
        let ring = keyring(folder.path(), root, None).await.unwrap().in_suite(suite);
        for (name, sealed) in &sealed {
            match ring.of_sealed(sealed).await {
                Err(VaultError::Shredded) => assert_eq!(*name, "0-2"),
                key => assert_eq!(key.unwrap().open(&place, sealed).unwrap().expose(), name.as_bytes()),
            }
        }
        assert!(
            ring.rotate_tenant(TENANT, &mut |_| ()).await.unwrap() >= 5,
            "all are wrapped anew in {suite}"
        );
        ring.replace_subject_keys().await.unwrap();
        let counts = ring.counts().await.unwrap();
        assert_eq!((counts.subjects, counts.tombstones), (5, 1));
        drop(ring);
    }
}

/// Keys of people are replaced, while a tenant's key is rotated, and before a suite is changed: what each has sealed opens, what
/// is new is under the present one, and who is shredded is so under all of them.
#[tokio::test]
async fn people_get_new_keys_and_what_the_old_ones_sealed_opens_until_they_are_shredded() {
    let folder = tempfile::tempdir().unwrap();
    let first = keyring(folder.path(), root('a'), None).await.unwrap();
    let names: Vec<DataSubject> = (0..1_100).map(|number| subject(&format!("patient {number}"))).collect();
    first.add_subjects(TENANT, &names).await.unwrap();
    let seal = |key: &vault::SubjectKey| key.seal(&PLACE, &secret("planted")).unwrap();
    let old = first.subject(TENANT, &names[0]).await.unwrap();
    let mut sealed = vec![seal(&old)];
    let mut before = Vec::new();
    first.backup(&mut before).await.unwrap();

    assert_eq!(first.replace_subject_keys().await.unwrap(), 1_100, "each once");
    let second = keyring(folder.path(), root('a'), None).await.unwrap().in_suite(Suite::ChaCha20Poly1305);
    sealed.push(seal(&second.subject(TENANT, &names[0]).await.unwrap()));
    // In one process the tenant's key is rotated, in the other all keys are replaced by what it has in memory.
    second.rotate_tenant(TENANT, &mut |_| ()).await.unwrap();
    assert_eq!(first.replace_subject_keys().await.unwrap(), 1_100);
    sealed.push(seal(&first.subject(TENANT, &names[0]).await.unwrap()));
    let counts = first.counts().await.unwrap();
    assert_eq!((counts.subjects, counts.replaced, counts.behind), (1_100, 2_200, 0));
    assert!(sealed[0].as_bytes().starts_with(&Suite::Aes256Gcm.beginning()));
    assert!(sealed[1].as_bytes().starts_with(&Suite::ChaCha20Poly1305.beginning()));

    let keys = second.subject_key_ids(TENANT, &names[0]).await.unwrap();
    let present = second.subject(TENANT, &names[0]).await.unwrap();
    assert_eq!((keys.len(), keys[0], keys[1]), (3, present.id(), old.id()));
    assert_eq!(second.present(&old).await.unwrap().id(), present.id());
    assert_eq!(second.present(&present).await.unwrap().id(), present.id());
    let (mut after, mut replaced) = (0, 0);
    while let Some((place, _)) = second.replaced_keys(after).await.unwrap().last().copied() {
        replaced += second.replaced_keys(after).await.unwrap().len();
        after = place;
    }
    assert_eq!(replaced, 2_200);

    // A backup from before, and one of now, into what is here and into nothing, in either order.
    let mut now = Vec::new();
    second.backup(&mut now).await.unwrap();
    let mut rings = vec![first, second];
    for (number, order) in [[&before, &now], [&now, &before]].into_iter().enumerate() {
        let elsewhere = folder.path().join(number.to_string());
        fs::create_dir(&elsewhere).unwrap();
        let restored = keyring(&elsewhere, root('a'), None).await.unwrap();
        for backup in order {
            restored.restore(&mut backup.as_slice()).await.unwrap();
        }
        let again = restored.subject(TENANT, &names[0]).await.unwrap();
        assert_eq!(again.id(), present.id(), "one that was replaced stays so");
        rings.push(restored);
    }
    for ring in &rings {
        for sealed in &sealed {
            let key = ring.of_sealed(sealed).await.unwrap();
            assert_eq!(key.open(&PLACE, sealed).unwrap().expose(), b"planted");
        }
    }
    for ring in &rings[1..] {
        let stones = ring.shred(TENANT, &names[0], 7).await.unwrap();
        assert_eq!(stones.len(), 3);
        for sealed in &sealed {
            assert!(matches!(ring.of_sealed(sealed).await, Err(VaultError::Shredded)));
        }
        assert!(matches!(ring.present(&old).await, Err(VaultError::Shredded)));
        let back = ring.restore(&mut before.as_slice()).await.unwrap();
        assert_eq!((back.subjects, back.shredded), (0, 1));
        ring.rotate_tenant(TENANT, &mut |_| ()).await.unwrap();
        let other = ring.subject(TENANT, &names[1]).await.unwrap();
        assert_eq!(other.open(&PLACE, &seal(&other)).unwrap().expose(), b"planted");
    }
}

/// A new root in the place of the old one, broken off at each point where it can be: the next start completes it.
#[tokio::test]
async fn a_root_file_is_made_once_and_replaced_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("root.pem");
    let next = folder.path().join("root.pem.next");
    let source = || RootSource::File(RootFile { path: path.clone(), passphrase: None });
    let open_from = async |root: RootSource, old: Option<&RootSource>| {
        let keys = VaultKeys::open(&folder.path().join("keys.db")).await.unwrap();
        let place = SecretsPlace::new(folder.path().join("secrets"), Vec::new());
        let place = place.in_suite(Suite::ChaCha20Poly1305);
        let keys_exist = keys.counts().await.unwrap().tenants > 0;
        let secrets = Secrets::open(root, old, place, keys_exist)?;
        Ok::<_, VaultError>((Keyring::open_from(keys, &secrets).await?, secrets))
    };
    let open = async || Ok::<_, VaultError>(open_from(source(), None).await?.0);
    let ring = open().await.unwrap();
    let first = fs::read(&path).unwrap();
    let mut sealed = Vec::new();
    for tenant in 1..=3 {
        let key = ring.subject(TenantId(tenant), &subject("anna")).await.unwrap();
        sealed.push(key.seal(&PLACE, &secret("planted")).unwrap());
    }
    let all_open = async |ring: &Keyring| {
        for value in &sealed {
            let key = ring.of_sealed(value).await.unwrap();
            assert_eq!(key.open(&PLACE, value).unwrap().expose(), b"planted");
        }
    };
    // Broken off when the new key was made, and when some tenants were moved to it.
    for moved in [false, true] {
        let before = fs::read(&path).unwrap();
        let made = RsaKeyFile::create(&next, None).unwrap();
        if moved {
            let old = RsaKeyFile::open(&path, None).unwrap();
            let ring = keyring(folder.path(), made, Some(old)).await.unwrap();
            ring.subject(TenantId(9), &subject("made under the new root")).await.unwrap();
        }
        let ring = open().await.unwrap();
        assert!(!next.exists() && fs::read(&path).unwrap() != before, "it is completed");
        all_open(&ring).await;
    }
    let (ring, secrets) = open_from(source(), None).await.unwrap();
    let id = ring.root_id();
    let mut backup = Vec::new();
    ring.backup(&mut backup).await.unwrap();
    assert_eq!(ring.renew_root(&secrets).await.unwrap(), 4);
    assert_ne!(ring.root_id(), id);
    let error = ring.restore(&mut backup.as_slice()).await.unwrap_err().to_string();
    assert!(error.contains("which is not configured"), "the server would not start again: {error}");
    all_open(&ring).await;
    all_open(&open().await.unwrap()).await;
    assert!(!next.exists());

    // The old key opens nothing any more, and a lost one is not replaced by a new one.
    let kept = fs::read(&path).unwrap();
    fs::write(&path, first).unwrap();
    let error = open().await.err().unwrap().to_string();
    assert!(error.contains("is under the root"), "{error}");
    fs::remove_file(&path).unwrap();
    let error = open().await.err().unwrap().to_string();
    assert!(error.contains("is gone, and there are keys under it"), "{error}");
    fs::write(&path, kept).unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    all_open(&open().await.unwrap()).await;

    // From a file to a key that an operator keeps.
    let text = || RootSource::Text(secret(&"0123456789abcdef".repeat(4)));
    all_open(&open_from(text(), Some(&source())).await.unwrap().0).await;
    let keys = VaultKeys::open(&folder.path().join("keys.db")).await.unwrap();
    let wrapped = keys.tenant_keys(TENANT).await.unwrap().remove(0).wrapped;
    assert_eq!((wrapped.len(), wrapped[0]), (61, 2), "it is in the suite that is configured");
    let (ring, secrets) = open_from(text(), None).await.unwrap();
    all_open(&ring).await;
    let error = ring.renew_root(&secrets).await.unwrap_err().to_string();
    assert!(error.contains("`vault.old_root`"), "{error}");
}
