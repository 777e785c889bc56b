//! Secrets under the root alone: they open in their place only, and follow the root wherever it goes.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::{
    fs::{self, File},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
};

use store::VaultKeys;
use types::{Secret, TenantId};
use vault::{
    Keyring, RootFile, RootSource, RsaKeyFile, SECRET_BYTES_MAX, SECRETS_MAX, SecretName, Secrets,
    SecretsPlace, Suite, VaultError,
};

/// The length of a secret of the installation's own.
const OWN_BYTES: usize = 32;

struct House {
    folder: tempfile::TempDir,
}

impl House {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn place(&self) -> SecretsPlace {
        SecretsPlace::new(self.path("secrets"), vec![self.path("own.key"), self.path("never.key")])
    }

    fn open(&self, root: RootSource, old: Option<&RootSource>) -> Result<Secrets, VaultError> {
        Secrets::open(root, old, self.place(), false)
    }

    fn file(&self) -> RootSource {
        RootSource::File(RootFile { path: self.path("root.pem"), passphrase: None })
    }

    fn seal(&self, root: &RootSource, name: &str, value: &str) -> Result<bool, VaultError> {
        self.place().seal(root, false, &self::name(name), &secret(value))
    }

    /// Under which root a file says it is.
    fn root_of(&self, name: &str) -> Vec<u8> {
        fs::read(self.path(name)).unwrap()[8..24].to_vec()
    }
}

fn text(digit: char) -> RootSource {
    RootSource::Text(secret(&format!("0123456789abcdef{}", digit.to_string().repeat(48))))
}

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn says(secrets: &Secrets, of: &str) -> Result<String, String> {
    let opened = secrets.named(&name(of)).open();
    opened
        .map(|secret| String::from_utf8(secret.expose().to_vec()).unwrap())
        .map_err(|error| error.to_string())
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

#[test]
fn a_secret_opens_whole_under_its_root_and_in_its_place_only() {
    let house = House::new();
    assert!(house.place().names().unwrap().is_empty());
    assert!(!house.seal(&text('a'), "web", "planted web").unwrap());
    assert!(!house.seal(&text('a'), "mail_2", "planted mail").unwrap());
    assert!(house.seal(&text('a'), "web", "planted anew").unwrap());
    let names: Vec<String> = house.place().names().unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["mail_2", "web"]);
    let file = house.path("secrets/web");
    assert_eq!((mode(&file), mode(&house.path("secrets"))), (0o600, 0o700));
    let whole = fs::read(&file).unwrap();
    assert!(!whole.windows(7).any(|window| window == b"planted"));

    let secrets = house.open(text('a'), None).unwrap();
    assert_eq!(says(&secrets, "web").unwrap(), "planted anew");
    assert_eq!(says(&secrets, "mail_2").unwrap(), "planted mail");
    let missing = says(&secrets, "gone").unwrap_err();
    assert!(missing.contains("`gone`") && missing.contains("seal-secret gone"), "{missing}");

    // Every byte of it counts, and so does its name.
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&file, changed).unwrap();
        assert!(says(&secrets, "web").unwrap_err().contains("`web`"), "byte {at}");
        fs::write(&file, &whole[..at]).unwrap();
        assert!(says(&secrets, "web").unwrap_err().contains("damaged"), "{at} bytes");
    }
    fs::write(&file, [&whole[..], b"x"].concat()).unwrap();
    assert!(says(&secrets, "web").unwrap_err().contains("damaged"));
    fs::write(house.path("secrets/other"), &whole).unwrap();
    assert!(says(&secrets, "other").unwrap_err().contains("that of another secret"));
    fs::write(house.path("web"), &whole).unwrap();
    let own = secrets.own(&house.path("web")).read(OWN_BYTES).err().unwrap().to_string();
    assert!(own.contains("damaged"), "a file of our own is no secret of that name: {own}");
    fs::write(&file, &whole).unwrap();
    assert_eq!(says(&secrets, "web").unwrap(), "planted anew");

    let elsewhere = house.open(text('b'), None).unwrap();
    let why = says(&elsewhere, "web").unwrap_err();
    assert!(why.contains("which is not configured") && why.contains("`vault.old_root`"), "{why}");

    assert!(house.place().remove(&name("web")).unwrap());
    assert!(!house.place().remove(&name("web")).unwrap());
    assert!(!file.exists());
}

#[test]
fn what_is_no_name_too_long_or_too_much_is_refused() {
    for wrong in ["", "Web", "a.b", "../a", "a/b", "ü", ".lock", &"a".repeat(65)] {
        assert!(wrong.parse::<SecretName>().is_err(), "{wrong}");
    }
    let house = House::new();
    for length in [0, SECRET_BYTES_MAX + 1] {
        assert!(house.seal(&text('a'), "web", &"x".repeat(length)).is_err());
    }
    let longest = "x".repeat(SECRET_BYTES_MAX);
    house.seal(&text('a'), "web", &longest).unwrap();
    assert_eq!(says(&house.open(text('a'), None).unwrap(), "web").unwrap(), longest);
    for number in 1..SECRETS_MAX {
        fs::write(house.path(&format!("secrets/n{number}")), "").unwrap();
    }
    let error = house.seal(&text('a'), "more", "x").unwrap_err().to_string();
    assert!(error.contains("as many as there may be"), "{error}");
    assert!(house.seal(&text('a'), "web", "x").unwrap());
}

/// The root is made by whoever comes first, and never anew while something is under it.
#[test]
fn a_root_file_is_made_once_for_secrets_too() {
    let house = House::new();
    house.seal(&house.file(), "web", "planted").unwrap();
    assert_eq!(says(&house.open(house.file(), None).unwrap(), "web").unwrap(), "planted");
    fs::remove_file(house.path("root.pem")).unwrap();
    for refused in [house.seal(&house.file(), "web", "x").err(), house.open(house.file(), None).err()] {
        let error = refused.unwrap().to_string();
        assert!(error.contains("is gone"), "{error}");
    }
}

/// Who seals waits for whoever changes the root.
#[test]
fn one_at_a_time_seals() {
    let house = House::new();
    let lock = File::create(house.path("secrets.lock")).unwrap();
    lock.lock().unwrap();
    thread::scope(|scope| {
        let sealing = scope.spawn(|| house.seal(&text('a'), "web", "planted"));
        lock.unlock().unwrap();
        assert!(!sealing.join().unwrap().unwrap());
    });
}

/// A file from before is sealed, and what a killed process left of that is removed.
#[test]
fn a_plain_file_of_our_own_is_taken_over() {
    let house = House::new();
    let path = house.path("own.key");
    fs::write(&path, [7; OWN_BYTES]).unwrap();
    let secrets = house.open(text('a'), None).unwrap();
    assert_eq!(fs::read(&path).unwrap(), [7; OWN_BYTES], "nobody has asked for it");
    let own = secrets.own(&path);
    for _ in 0..2 {
        assert_eq!(own.read(OWN_BYTES).unwrap().unwrap().expose(), [7; OWN_BYTES]);
        assert!(!fs::read(&path).unwrap().windows(8).any(|window| window == [7; 8]));
    }
    assert_eq!(mode(&path), 0o600);
    assert!(own.make(&secret("another")).is_err(), "it is not replaced");
    assert!(secrets.own(&house.path("never.key")).read(OWN_BYTES).unwrap().is_none());

    // Half of it, or another length: it stays as it is.
    for length in [0, OWN_BYTES - 1, OWN_BYTES + 1] {
        fs::write(&path, vec![7; length]).unwrap();
        assert!(own.read(OWN_BYTES).is_err());
        assert_eq!(fs::read(&path).unwrap(), vec![7; length]);
    }
}

/// A new root, broken off at each point where it can be.
#[tokio::test]
async fn secrets_follow_the_root_and_none_is_lost_on_the_way() {
    let house = House::new();
    let keyring = async |secrets: &Secrets| {
        let keys = VaultKeys::open(&house.path("keys.db")).await.unwrap();
        Keyring::open_from(keys, secrets).await.unwrap()
    };
    house.seal(&house.file(), "web", "planted").unwrap();
    let secrets = house.open(house.file(), None).unwrap();
    secrets.own(&house.path("own.key")).make(&Secret::from(vec![7; OWN_BYTES])).unwrap();
    let all_open = |secrets: &Secrets| {
        assert_eq!(says(secrets, "web").unwrap(), "planted");
        let own = secrets.own(&house.path("own.key")).read(OWN_BYTES).unwrap().unwrap();
        assert_eq!(own.expose(), [7; OWN_BYTES]);
    };
    all_open(&secrets);
    let ring = keyring(&secrets).await;
    let subject = types::DataSubject::try_from("anna".to_owned()).unwrap();
    ring.subject(TenantId(1), &subject).await.unwrap();

    // Broken off when the new root was made; when one secret was moved; when all were, and no key yet.
    for moved in [&[][..], &["own.key"], &["own.key", "secrets/web"]] {
        let kept: Vec<Vec<u8>> =
            ["own.key", "secrets/web"].iter().map(|name| fs::read(house.path(name)).unwrap()).collect();
        let old = fs::read(house.path("root.pem")).unwrap();
        RsaKeyFile::create(&house.path("root.pem.next"), None).unwrap();
        let unfinished = house.open(house.file(), None).unwrap();
        all_open(&unfinished);
        assert_eq!(fs::read(house.path("root.pem")).unwrap(), old, "the keys are not moved yet");
        for (name, kept) in ["own.key", "secrets/web"].iter().zip(kept) {
            if !moved.contains(name) {
                fs::write(house.path(name), kept).unwrap();
            }
        }
        // Nobody seals under a root that is about to go.
        drop(unfinished);
        let again = house.open(house.file(), None).unwrap();
        let ring = keyring(&again).await;
        all_open(&again);
        assert!(!house.path("root.pem.next").exists());
        for name in ["own.key", "secrets/web"] {
            assert_eq!(house.root_of(name), ring.root_id(), "{name}");
        }
    }

    // On the running server: those who hold a secret go on, and what does not open stands in nobody's way.
    fs::write(house.path("secrets/damaged"), "nonsense").unwrap();
    let secrets = house.open(house.file(), None).unwrap();
    let (web, ring) = (secrets.named(&name("web")), keyring(&secrets).await);
    let before = ring.root_id();
    assert_eq!(ring.renew_root(&secrets).await.unwrap(), 1);
    assert_ne!(ring.root_id(), before);
    assert_eq!(house.root_of("secrets/web"), ring.root_id());
    assert_eq!(web.open().unwrap().expose(), b"planted");
    assert_eq!(fs::read(house.path("secrets/damaged")).unwrap(), b"nonsense");
    house.seal(&house.file(), "late", "planted later").unwrap();
    assert_eq!(says(&secrets, "late").unwrap(), "planted later");
    all_open(&house.open(house.file(), None).unwrap());

    // To where an operator keeps it; the old one is not needed then.
    let moved = house.open(text('a'), Some(&house.file())).unwrap();
    keyring(&moved).await;
    fs::remove_file(house.path("root.pem")).unwrap();
    all_open(&house.open(text('a'), None).unwrap());
}

#[test]
fn secrets_are_sealed_anew_in_the_suite_that_is_configured() {
    for root in [|_: &House| text('a'), House::file] {
        let house = House::new();
        house.seal(&root(&house), "web", "planted").unwrap();
        for suite in [Suite::ChaCha20Poly1305, Suite::Aes256Gcm] {
            let secrets = Secrets::open(root(&house), None, house.place().in_suite(suite), false).unwrap();
            assert_eq!(says(&secrets, "web").unwrap(), "planted");
            let bytes = fs::read(house.path("secrets/web")).unwrap();
            let wrapped = usize::from(u16::from_be_bytes([bytes[6], bytes[7]]));
            assert!(bytes[24 + wrapped..].starts_with(&suite.beginning()), "{suite}");
        }
    }
}

/// Also what is left of a root key, which is the worst of all.
#[test]
fn what_a_killed_process_left_is_removed() {
    let house = House::new();
    house.seal(&house.file(), "web", "planted").unwrap();
    let left =
        ["secrets/web.12-0.new", "root.pem.12-0.new", "root.pem.next.12-1.new"].map(|name| house.path(name));
    for file in &left {
        fs::write(file, "half of a secret").unwrap();
    }
    fs::write(house.path("others.12-0.new"), "not ours").unwrap();
    house.open(house.file(), None).unwrap();
    assert!(left.iter().all(|file| !file.exists()));
    assert!(house.path("others.12-0.new").exists());
}
