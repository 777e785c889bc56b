//! Keys are wrapped by the key above them, and open under no other.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::{fs, os::unix::fs::PermissionsExt, process::Command};

use types::{Secret, TenantId};
use vault::{HsmKey, Place, Purpose, Root, RsaKeyFile, TenantKey, VaultError, Wrapped};

const PLACE: Place<'_> = Place { purpose: Purpose::File, record: b"scan.pdf" };

fn secret(text: &str) -> Secret {
    Secret::from(text.to_owned())
}

/// Seals under a chain of keys, and opens under the same chain unwrapped again.
fn holds(root: &Root, again: &Root) {
    let tenant = TenantKey::random(TenantId(3)).unwrap();
    let subject = tenant.new_subject().unwrap();
    let sealed = subject.seal(&PLACE, &secret("planted")).unwrap();
    let (wrapped_tenant, wrapped_subject) = (root.wrap(&tenant).unwrap(), tenant.wrap(&subject).unwrap());
    drop((tenant, subject));

    let tenant = again.unwrap(TenantId(3), &wrapped_tenant).unwrap();
    let id = vault::SubjectKeyId(sealed.as_bytes()[16..32].try_into().unwrap());
    let subject = tenant.unwrap(id, &wrapped_subject).unwrap();
    assert_eq!(subject.open(&PLACE, &sealed).unwrap().expose(), b"planted");

    assert!(matches!(again.unwrap(TenantId(4), &wrapped_tenant), Err(VaultError::WrongKey { .. })));
    for bit in (0..wrapped_tenant.len() * 8).step_by(wrapped_tenant.len() / 32) {
        let mut damaged = wrapped_tenant.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(again.unwrap(TenantId(3), &damaged).is_err(), "bit {bit}");
    }
    for length in [0, 1, wrapped_tenant.len() - 1] {
        assert!(again.unwrap(TenantId(3), &wrapped_tenant[..length]).is_err());
    }
    for bit in 0..wrapped_subject.as_bytes().len() * 8 {
        let mut damaged = wrapped_subject.as_bytes().to_vec();
        damaged[bit / 8] ^= 1 << (bit % 8);
        let opened = Wrapped::of(&damaged).and_then(|damaged| tenant.unwrap(id, &damaged).ok());
        assert!(opened.is_none(), "bit {bit}");
    }
    let other = tenant.new_subject().unwrap();
    assert!(tenant.unwrap(other.id(), &wrapped_subject).is_err(), "under the name of another");
    assert!(TenantKey::random(TenantId(3)).unwrap().unwrap(id, &wrapped_subject).is_err());
}

#[test]
fn a_root_of_the_environment_is_32_bytes_in_either_form() {
    let hex = "00112233445566778899aabbccddeeff00112233445566778899AABBCCDDEEFF";
    let base64 = "ABEiM0RVZneImaq7zN3u/wARIjNEVWZ3iJmqu8zd7v8=\n";
    let [one, two] = [hex, base64].map(|text| Root::of_text(&secret(text)).unwrap());
    assert_eq!(one.id(), two.id());
    holds(&one, &two);
    for bad in ["", "secret", &hex[1..], &"0".repeat(64), "ABEiM0RVZneImaq7zN3u/w=="] {
        let error = Root::of_text(&secret(bad)).err().unwrap().to_string();
        assert!(error.contains("32 random bytes") || error.contains("all its bytes are the same"), "{error}");
        assert!(bad.is_empty() || !error.contains(bad), "it repeats the key");
    }
}

#[test]
fn a_root_in_a_file_opens_with_its_passphrase_only() {
    let folder = tempfile::tempdir().unwrap();
    let [plain, sealed] = ["plain.pem", "sealed.pem"].map(|name| folder.path().join(name));
    let passphrase = secret("correct horse battery staple");
    let roots = [
        (RsaKeyFile::create(&plain, None).unwrap(), RsaKeyFile::open(&plain, None).unwrap()),
        (
            RsaKeyFile::create(&sealed, Some(&passphrase)).unwrap(),
            RsaKeyFile::open(&sealed, Some(&passphrase)).unwrap(),
        ),
    ];
    for (made, opened) in &roots {
        assert_eq!(made.id(), opened.id());
        holds(made, opened);
    }
    let wrapped = roots[0].0.wrap(&TenantKey::random(TenantId(1)).unwrap()).unwrap();
    assert!(roots[1].0.unwrap(TenantId(1), &wrapped).is_err(), "another root");
    assert_eq!(fs::metadata(&plain).unwrap().permissions().mode() & 0o777, 0o600);

    let text = fs::read_to_string(&plain).unwrap();
    assert!(!fs::read_to_string(&sealed).unwrap().contains("BEGIN PRIVATE KEY"));
    let write = |name: &str, text: &str, mode: u32| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    };
    let cases = [
        (plain.clone(), Some("x"), "is not under a passphrase"),
        (sealed.clone(), None, "is under a passphrase"),
        (sealed.clone(), Some("wrong"), "the passphrase is wrong"),
        (write("open.pem", &text, 0o644), None, "only its owner can read"),
        (write("cut.pem", &text[..text.len() / 2], 0o600), None, "holds no key"),
        (write("other.pem", &text.replacen("MII", "MIX", 1), 0o600), None, "not an RSA key"),
        (write("empty.pem", "", 0o600), None, "holds no key"),
        (folder.path().join("absent.pem"), None, "No such file"),
        (folder.path().to_owned(), None, "must be a file"),
    ];
    for (path, passphrase, says) in cases {
        let error = RsaKeyFile::open(&path, passphrase.map(secret).as_ref()).err().unwrap().to_string();
        assert!(error.contains(says), "{}: {error}", path.display());
    }
    // How often the passphrase is stretched stands in the file, and is never less than what we write.
    let lines: Vec<String> = fs::read_to_string(&sealed).unwrap().lines().map(str::to_owned).collect();
    let body = &lines[1..lines.len() - 1].concat();
    let mut bytes = data_encoding::BASE64.decode(body.as_bytes()).unwrap();
    assert_eq!(bytes[..4], 600_000_u32.to_be_bytes());
    bytes[..4].copy_from_slice(&599_999_u32.to_be_bytes());
    let text_of =
        |bytes: &[u8]| [&*lines[0], &data_encoding::BASE64.encode(bytes), &lines[lines.len() - 1]].join("\n");
    let weak = write("weak.pem", &text_of(&bytes), 0o600);
    let error = RsaKeyFile::open(&weak, Some(&passphrase)).err().unwrap().to_string();
    assert!(error.contains("599999 rounds; 600000 are the least"), "{error}");

    let error = RsaKeyFile::create(&plain, None).err().unwrap().to_string();
    assert!(error.contains("exists") && fs::read_to_string(&plain).unwrap() == text, "{error}");
}

/// Where Debian puts `SoftHSM2`.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

#[test]
fn a_root_in_a_security_module_wraps_there_and_stays_there() {
    if !std::path::Path::new(MODULE).exists() {
        eprintln!("skipped: there is no {MODULE}; install softhsm2");
        return;
    }
    // The module reads its settings when it is loaded, and no other test of this program loads it.
    let folder = tempfile::tempdir().unwrap();
    let settings = folder.path().join("softhsm2.conf");
    fs::write(&settings, format!("directories.tokendir = {}\nlog.level = ERROR\n", folder.path().display()))
        .unwrap();
    let made = Command::new("softhsm2-util")
        .args(["--init-token", "--free", "--label", "llmos", "--pin", "1234", "--so-pin", "5678"])
        .env("SOFTHSM2_CONF", &settings)
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let within = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "in_the_security_module", "--nocapture"])
        .env("SOFTHSM2_CONF", &settings)
        .env(WITHIN, "1")
        .output()
        .unwrap();
    assert!(within.status.success(), "{}", String::from_utf8_lossy(&within.stdout));
}

/// Set in the process that has the settings of a module in its environment.
const WITHIN: &str = "LLMOS_TEST_WITHIN";

#[test]
fn in_the_security_module() {
    if std::env::var_os(WITHIN).is_none() {
        return;
    }
    let key = |token: &str, label: &str, pin: &str| HsmKey {
        module: MODULE.into(),
        token: token.to_owned(),
        label: label.to_owned(),
        pin: secret(pin),
    };
    let refused = |key: HsmKey| Root::of_hsm(&key).err().unwrap().to_string();
    assert!(refused(key("other", "root", "1234")).contains("has no token `other`"));
    assert!(refused(key("llmos", "root", "0000")).contains("cannot log in"));
    assert!(
        refused(HsmKey { module: "/nowhere.so".into(), ..key("llmos", "root", "1234") })
            .contains("cannot be loaded")
    );
    let first = Root::of_hsm(&key("llmos", "root", "1234")).unwrap();
    let again = Root::of_hsm(&key("llmos", "root", "1234")).unwrap();
    assert_eq!(first.id(), again.id());
    holds(&first, &again);
    let other = Root::of_hsm(&key("llmos", "another", "1234")).unwrap();
    let wrapped = first.wrap(&TenantKey::random(TenantId(1)).unwrap()).unwrap();
    assert!(other.id() != first.id() && other.unwrap(TenantId(1), &wrapped).is_err());
}
