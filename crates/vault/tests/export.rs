//! What was exported opens for each recipient alone and for nobody else, and nothing that was changed opens to its end.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    slice::from_ref,
};

use age::{secrecy::ExposeSecret, x25519};
use tempfile::TempDir;
use vault::{Identities, Recipients, VaultError, is_age};

/// What `age-keygen` writes for an identity.
fn keygen(identity: &x25519::Identity) -> String {
    let (secret, public) = (identity.to_string(), identity.to_public());
    format!("# created: 2026-11-02T10:00:00Z\n# public key: {public}\n{}\n", secret.expose_secret())
}

fn file(folder: &TempDir, text: &str) -> PathBuf {
    let path = folder.path().join("key.txt");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

fn identities(text: &str) -> Result<Identities, VaultError> {
    Identities::read(&file(&TempDir::new().unwrap(), text))
}

/// A new identity, and the text of its recipient.
fn pair() -> (Identities, String) {
    let identity = x25519::Identity::generate();
    (identities(&keygen(&identity)).unwrap(), identity.to_public().to_string())
}

fn seal(recipients: &[String], plain: &[u8]) -> Vec<u8> {
    let mut writer = Recipients::parse(recipients).unwrap().seal(Vec::new()).unwrap();
    writer.write_all(plain).unwrap();
    writer.finish().unwrap()
}

fn opened(identities: &Identities, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut plain = Vec::new();
    identities.open(sealed)?.read_to_end(&mut plain)?;
    Ok(plain)
}

/// Bytes in which no two chunks are alike.
fn plaintext(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

#[test]
fn opens_for_each_recipient_alone_and_for_nobody_else() {
    let ((first, to_first), (second, to_second), (other, _)) = (pair(), pair(), pair());
    let chunk = 64 << 10;
    for length in [0, 1, chunk - 1, chunk, chunk + 1, 2 * chunk, (5 << 20) + 77] {
        let plain = plaintext(length);
        let sealed = seal(&[to_first.clone(), format!(" {to_second}\n")], &plain);
        assert!(is_age(&sealed));
        assert!(opened(&first, &sealed).unwrap() == plain);
        assert!(opened(&second, &sealed).unwrap() == plain);
        let refused = opened(&other, &sealed).unwrap_err();
        assert!(matches!(&refused, VaultError::Export(why) if why.contains("for others")), "{refused}");
    }
}

#[test]
fn two_exports_of_the_same_are_not_alike() {
    let (_, to) = pair();
    let (one, two) = (seal(from_ref(&to), b"the same"), seal(&[to], b"the same"));
    assert!(one[one.len() - 24..] != two[two.len() - 24..]);
}

#[test]
fn every_flipped_bit_is_refused() {
    let ((key, to), (_, to_other)) = (pair(), pair());
    let sealed = seal(&[to, to_other], b"a small export");
    for at in 0..sealed.len() {
        for bit in 0..8 {
            let mut changed = sealed.clone();
            changed[at] ^= 1 << bit;
            assert!(opened(&key, &changed).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn everything_cut_off_or_added_is_refused() {
    let (key, to) = pair();
    let sealed = seal(from_ref(&to), b"a small export");
    for length in 0..sealed.len() {
        assert!(opened(&key, &sealed[..length]).is_err(), "{length} bytes");
    }
    // At the ends of chunks too.
    let sealed = seal(&[to], &plaintext(3 << 16));
    let stored = (64 << 10) + 16;
    let begins = sealed.len() - 3 * stored;
    for cut in [begins, begins + 1, begins + stored, begins + stored + 1, begins + 2 * stored] {
        let VaultError::Io(error) = opened(&key, &sealed[..cut]).unwrap_err() else {
            panic!("another error")
        };
        assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::InvalidData), "{error}");
        assert!(error.to_string().contains("fetch it anew"), "{error}");
    }
    assert!(opened(&key, &[sealed.as_slice(), b"x"].concat()).is_err());
    let swapped = [&sealed[..begins], &sealed[begins + stored..], &sealed[begins..begins + stored]].concat();
    assert!(opened(&key, &swapped).is_err());
}

#[test]
fn a_reader_that_failed_fails_again() {
    let (key, to) = pair();
    let mut sealed = seal(&[to], &plaintext(200_000));
    let middle = sealed.len() / 2;
    sealed[middle] ^= 1;
    let mut reader = key.open(sealed.as_slice()).unwrap();
    let mut plain = Vec::new();
    assert!(reader.read_to_end(&mut plain).is_err());
    assert!(plain == plaintext(200_000)[..plain.len()]);
    for _ in 0..3 {
        assert!(reader.read(&mut [0; 100]).is_err());
    }
}

#[test]
fn an_export_that_was_not_finished_does_not_open() {
    let (key, to) = pair();
    let mut sealed = Vec::new();
    let mut writer = Recipients::parse(&[to]).unwrap().seal(&mut sealed).unwrap();
    writer.write_all(&plaintext(200_000)).unwrap();
    writer.flush().unwrap();
    drop(writer);
    assert!(sealed.len() > 100_000);
    assert!(opened(&key, &sealed).is_err());
}

#[test]
fn what_is_no_age_file_is_refused() {
    let (key, _) = pair();
    let armoured = b"-----BEGIN AGE ENCRYPTED FILE-----\n".as_slice();
    for bytes in [b"".as_slice(), b"age", b"LLMV", b"\n", armoured, &[0; 1000]] {
        assert!(!is_age(bytes));
        let refused = opened(&key, bytes).unwrap_err();
        assert!(refused.to_string().contains("no age file"), "{refused}");
    }
    let newer = opened(&key, b"age-encryption.org/v2\n--- AAAA\n").unwrap_err();
    assert!(newer.to_string().contains("does not know"), "{newer}");
}

#[test]
fn a_header_without_end_is_not_read_to_its_end() {
    let (key, _) = pair();
    let line = "-> X25519 AAAA\n".repeat(10);
    for endless in [line.as_bytes(), b"a"] {
        struct Endless<'a>(&'a [u8], usize);
        impl Read for Endless<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                buffer.fill_with(|| {
                    self.1 += 1;
                    self.0[self.1 % self.0.len()]
                });
                assert!(self.1 < 1 << 20, "it reads on");
                Ok(buffer.len())
            }
        }
        let from = b"age-encryption.org/v1\n".chain(Endless(endless, 0));
        assert!(key.open(from).is_err());
    }
}

#[test]
fn recipients_that_cannot_be_used_are_named() {
    let (_, good) = pair();
    let refused = |texts: &[String]| match Recipients::parse(texts) {
        Ok(_) => panic!("these are taken: {texts:?}"),
        Err(error) => error.to_string(),
    };
    assert!(refused(&[]).contains("there are 0"));
    assert!(refused(&vec![good.clone(); 17]).contains("there are 17"));
    assert!(Recipients::parse(&vec![good.clone(); 16]).is_ok());

    let mut typo = good.clone();
    typo.replace_range(10..11, if &good[10..11] == "q" { "p" } else { "q" });
    for bad in [typo.as_str(), "age1", "age1qqqq"] {
        let why = refused(&[good.clone(), bad.to_owned()]);
        assert!(why.contains("number 2") && why.contains(bad), "{why}");
    }
    // A secret is not shown.
    let secret = x25519::Identity::generate().to_string().expose_secret().to_owned();
    for secret in [secret.to_lowercase(), secret, "ssh-rsa AAAA".to_owned(), "a password".to_owned()] {
        let why = refused(from_ref(&secret));
        assert!(why.contains("number 1") && !why.contains(&secret), "{why}");
    }
}

/// Points of low order in Bech32. Sealing for them panics inside of `age`.
#[test]
fn weak_recipients_are_refused() {
    let zero = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqq5cu47z";
    let one = "age1qyqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqj7vrya";
    let order_8 = "age1ur4h5lpmgxu2u9jku0a0r87ydtdqnr0tnsetrlvxvgz3vh6fhqqqzyt4v9";
    let minus_one = "age1anlllllllllllllllllllllllllllllllllllllllllllllllals4n2t7m";
    let high_bit = "age1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqzqqsuwj9m";
    for weak in [zero, one, order_8, minus_one, high_bit] {
        let Err(refused) = Recipients::parse(&[weak.to_owned()]) else { panic!("{weak} is taken") };
        assert!(refused.to_string().contains("weak"), "{refused}");
    }
}

#[test]
fn identity_files_that_cannot_be_used_are_refused() {
    let secret = keygen(&x25519::Identity::generate());
    let refused = |text: &str| match identities(text) {
        Ok(_) => panic!("this is taken: {text}"),
        Err(error) => error.to_string(),
    };
    assert!(refused("").contains("no identity"));
    assert!(refused("# only a comment\n\n").contains("no identity"));
    assert!(identities(&format!("\n{secret}\r\n{secret}")).is_ok());

    let line = secret.lines().last().unwrap();
    let long = format!("{secret}{}", "#\n".repeat(33_000));
    assert!(refused(&long).contains("more than 64 KiB"));
    for bad in [&line[..40], "a password", "AGE-PLUGIN-X-1QQQQ", "AGE-SECRET-KEY-PQ-1QQQQ"] {
        let why = refused(&format!("{secret}{bad}\n"));
        assert!(why.contains("line 4") && !why.contains(bad), "{why}");
    }

    let folder = TempDir::new().unwrap();
    let path = file(&folder, &secret);
    for mode in [0o640, 0o604, 0o620, 0o601] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let Err(refused) = Identities::read(&path) else { panic!("{mode:o} is taken") };
        assert!(refused.to_string().contains("chmod 600"), "{refused}");
    }
    assert!(matches!(Identities::read(folder.path()), Err(VaultError::Identities { .. })));
    let missing = Identities::read(Path::new("/nowhere/key.txt"));
    assert!(matches!(missing, Err(VaultError::IdentityFile { .. })));
}

/// What a program prints, given some bytes.
fn run(command: &mut Command, input: &[u8]) -> Vec<u8> {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(input).unwrap());
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success(), "{command:?}: {}", output.status);
    output.stdout
}

#[test]
fn the_program_age_opens_ours_and_we_open_its() {
    if !Command::new("age").arg("--version").output().is_ok_and(|output| output.status.success()) {
        println!("skipped: there is no program `age` on the PATH");
        return;
    }
    let folder = TempDir::new().unwrap();
    let path = file(&folder, &String::from_utf8(run(&mut Command::new("age-keygen"), b"")).unwrap());
    let key = Identities::read(&path).unwrap();
    let to = String::from_utf8(run(Command::new("age-keygen").arg("-y").arg(&path), b"")).unwrap();
    for length in [0, 1, 64 << 10, 3 << 20] {
        let plain = plaintext(length);
        let ours = seal(from_ref(&to), &plain);
        assert!(run(Command::new("age").args(["--decrypt", "-i"]).arg(&path), &ours) == plain);
        let its = run(Command::new("age").args(["--encrypt", "-r", to.trim()]), &plain);
        assert!(opened(&key, &its).unwrap() == plain);
    }
}
