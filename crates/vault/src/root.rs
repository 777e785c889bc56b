//! Where trust begins: the key that wraps the tenant keys.

use std::{fs::File, io::Read, num::NonZeroU32, os::unix::fs::PermissionsExt, path::Path};

use aws_lc_rs::{
    digest::{SHA256, digest},
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    pbkdf2, rand,
    rsa::{
        KeySize, OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, OaepPublicEncryptingKey,
        PrivateDecryptingKey,
    },
};
use data_encoding::{BASE64, HEXLOWER_PERMISSIVE};
use types::{Secret, TenantId};
use zeroize::Zeroizing;

use crate::{
    HsmKey, Suite, TenantKey, VaultError, Wrapped,
    hsm::Hsm,
    key::{KEY_BYTES, Key},
    wrap,
};

/// Bits of the keys that are made here. Others are refused.
const RSA_BITS: usize = 3072;
/// Largest file that is read as a root key: one of 3072 bits has about 2.5 KiB.
const FILE_BYTES_MAX: u64 = 16 << 10;
/// What keys are wrapped for, so that what RSA wraps for this program is good for nothing else.
const LABEL: &[u8] = b"llmos tenant key ";

/// PBKDF2 with HMAC-SHA512. OWASP asks for 210,000 (Password Storage Cheat Sheet, 2023); a root key is opened once
/// a start.
const PASSPHRASE_ROUNDS: NonZeroU32 = NonZeroU32::new(600_000).unwrap();
/// Most rounds that a file may ask for: about half a minute.
const PASSPHRASE_ROUNDS_MAX: u32 = 20_000_000;
const PASSPHRASE_SALT_BYTES: usize = 16;
/// Bound to the passphrase's ciphertext.
const PASSPHRASE_CONTEXT: &[u8] = b"llmos root key under a passphrase";

/// What stands at the beginning and end of the key file, as PEM has it.
const PLAIN: &str = "PRIVATE KEY";
const UNDER_PASSPHRASE: &str = "LLMOS ROOT KEY UNDER A PASSPHRASE";

/// The root key.
pub struct Root {
    kind: Kind,
    id: [u8; 16],
}

enum Kind {
    Symmetric(Key),
    Rsa(Rsa),
    Hsm(Hsm),
}

/// OAEP with SHA-256 in both places.
pub(crate) struct Rsa {
    open: OaepPrivateDecryptingKey,
    seal: OaepPublicEncryptingKey,
    id: [u8; 16],
}

impl Root {
    /// A key of 256 bits, as 64 hexadecimal digits or in base64: what an operator keeps in the environment.
    pub fn of_text(text: &Secret) -> Result<Self, VaultError> {
        let text = text.expose().trim_ascii();
        let decoded = if text.len() == 2 * KEY_BYTES {
            HEXLOWER_PERMISSIVE.decode(text).ok()
        } else {
            BASE64.decode(text).ok()
        };
        let decoded = decoded.map(Zeroizing::new);
        let key = decoded.and_then(|bytes| Key::of(&bytes)).ok_or_else(|| {
            let what = "it must be 32 random bytes, as 64 hexadecimal digits or in base64; `openssl rand -hex 32` \
                        makes one";
            VaultError::Root(what.to_owned())
        })?;
        if key.bytes().iter().all(|byte| *byte == key.bytes()[0]) {
            return Err(VaultError::Root(
                "all its bytes are the same; `openssl rand -hex 32` makes one".to_owned(),
            ));
        }
        let id = identity(&Zeroizing::new([b"llmos root key ".as_slice(), key.bytes()].concat()));
        Ok(Self { kind: Kind::Symmetric(key), id })
    }

    /// A key of a security module; made there if there is none.
    pub fn of_hsm(place: &HsmKey) -> Result<Self, VaultError> {
        let hsm = Hsm::open(place)?;
        Ok(Self { id: hsm.id, kind: Kind::Hsm(hsm) })
    }

    fn of_rsa(key: &RsaKeyFile) -> Result<Self, VaultError> {
        let rsa = Rsa::of_pkcs8(&key.0)?;
        Ok(Self { id: rsa.id, kind: Kind::Rsa(rsa) })
    }

    /// Says which root a wrapped key needs; no secret.
    pub fn id(&self) -> [u8; 16] {
        self.id
    }

    /// Wraps a tenant key.
    pub fn wrap(&self, tenant: &TenantKey) -> Result<Vec<u8>, VaultError> {
        self.wrap_for(tenant.suite(), tenant.key(), &label(tenant.tenant()))
    }

    /// The tenant key that was wrapped by this root. With RSA it costs 3 ms.
    pub fn unwrap(&self, tenant: TenantId, wrapped: &[u8]) -> Result<TenantKey, VaultError> {
        let wrong = VaultError::WrongKey { what: "tenant key", under: "root key" };
        Ok(TenantKey::of(self.unwrap_for(wrapped, &label(tenant)).ok_or(wrong)?, tenant))
    }

    /// Wraps a key for what the label says: it is unwrapped for nothing else.
    pub(crate) fn wrap_for(&self, suite: Suite, key: &Key, label: &[u8]) -> Result<Vec<u8>, VaultError> {
        match &self.kind {
            Kind::Symmetric(root) => Ok(wrap::wrap(suite, root, key, label)?.as_bytes().to_vec()),
            Kind::Rsa(rsa) => rsa
                .seal(key.bytes(), label)
                .ok_or_else(|| VaultError::Root("it cannot wrap a key".to_owned())),
            Kind::Hsm(hsm) => hsm
                .seal(key.bytes(), label)
                .ok_or_else(|| VaultError::Root("the security module cannot wrap a key".to_owned())),
        }
    }

    pub(crate) fn unwrap_for(&self, wrapped: &[u8], label: &[u8]) -> Option<Key> {
        match &self.kind {
            Kind::Symmetric(root) => {
                Wrapped::of(wrapped).and_then(|wrapped| wrap::unwrap(root, &wrapped, label))
            }
            Kind::Rsa(rsa) => rsa.open(wrapped, label).and_then(|plain| Key::of(&plain)),
            Kind::Hsm(hsm) => hsm.open_sealed(wrapped, label).and_then(|plain| Key::of(&plain)),
        }
    }
}

impl Rsa {
    /// A private key in PKCS#8; of the size that is made here, and no other.
    pub(crate) fn of_pkcs8(key: &[u8]) -> Result<Self, VaultError> {
        let unusable = |_| VaultError::Root("it is not an RSA key that can decrypt".to_owned());
        let private = PrivateDecryptingKey::from_pkcs8(key)
            .map_err(|error| VaultError::Root(format!("it is not an RSA key in PKCS#8 ({error})")))?;
        if private.key_size_bits() != RSA_BITS {
            let bits = private.key_size_bits();
            return Err(VaultError::Root(format!("it has {bits} bits; use an RSA key of {RSA_BITS}")));
        }
        let public = private.public_key();
        let der = AsDer::<PublicKeyX509Der<'_>>::as_der(&public).map_err(unusable)?;
        Ok(Self {
            id: identity(der.as_ref()),
            seal: OaepPublicEncryptingKey::new(public).map_err(unusable)?,
            open: OaepPrivateDecryptingKey::new(private).map_err(unusable)?,
        })
    }

    fn seal(&self, plain: &[u8], label: &[u8]) -> Option<Vec<u8>> {
        let mut sealed = vec![0; self.seal.ciphertext_size()];
        let length = self.seal.encrypt(&OAEP_SHA256_MGF1SHA256, plain, &mut sealed, Some(label)).ok()?.len();
        sealed.truncate(length);
        Some(sealed)
    }

    pub(crate) fn open(&self, sealed: &[u8], label: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let mut plain = Zeroizing::new(vec![0; self.open.min_output_size()]);
        let length = self.open.decrypt(&OAEP_SHA256_MGF1SHA256, sealed, &mut plain, Some(label)).ok()?.len();
        plain.truncate(length);
        Some(plain)
    }
}

fn label(tenant: TenantId) -> Vec<u8> {
    [LABEL, &tenant.0.to_be_bytes()].concat()
}

fn identity(bytes: &[u8]) -> [u8; 16] {
    let mut id = [0; 16];
    id.copy_from_slice(&digest(&SHA256, bytes).as_ref()[..16]);
    id
}

/// An RSA key of 3072 bits in PKCS#8, and the file that holds it: PEM, plain or under a passphrase.
pub struct RsaKeyFile(Zeroizing<Vec<u8>>);

impl RsaKeyFile {
    /// Makes a key and its file (mode 0600), durably. A file that is there already is an error: to overwrite a root
    /// key is to lose all data.
    pub fn create(path: &Path, passphrase: Option<&Secret>) -> Result<Root, VaultError> {
        let no_random = |_| VaultError::NoRandom;
        let key = PrivateDecryptingKey::generate(KeySize::Rsa3072).map_err(no_random)?;
        let der = AsDer::<Pkcs8V1Der<'_>>::as_der(&key).map_err(no_random)?;
        let key = Self(Zeroizing::new(der.as_ref().to_vec()));
        let text = match passphrase {
            None => pem(PLAIN, &key.0),
            Some(passphrase) => pem(UNDER_PASSPHRASE, &under_passphrase(passphrase, &key.0)?),
        };
        let failed = |error| VaultError::RootFile { path: path.to_owned(), error };
        // A start that was broken off leaves no half of a key behind.
        durable::put_new(path, text.as_bytes()).map_err(failed)?;
        Root::of_rsa(&key)
    }

    /// Reads the key of a file.
    pub fn open(path: &Path, passphrase: Option<&Secret>) -> Result<Root, VaultError> {
        let failed = |error| VaultError::RootFile { path: path.to_owned(), error };
        let file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o077 != 0 {
            let path = path.display();
            return Err(VaultError::Root(format!(
                "{path} must be a file that only its owner can read; `chmod 600 {path}` makes it so"
            )));
        }
        let mut text = Zeroizing::new(String::with_capacity(FILE_BYTES_MAX as usize));
        file.take(FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
        let wanted = |what: &str| VaultError::Root(format!("{} {what}", path.display()));
        let key = match (unpem(PLAIN, &text), unpem(UNDER_PASSPHRASE, &text), passphrase) {
            (Some(key), _, None) => key,
            (Some(_), _, Some(_)) => return Err(wanted("is not under a passphrase, but one is configured")),
            (None, Some(_), None) => return Err(wanted("is under a passphrase, and none is configured")),
            (None, Some(sealed), Some(passphrase)) => of_passphrase(passphrase, &sealed)?,
            (None, None, _) => return Err(wanted("holds no key; it is damaged, or another file")),
        };
        Root::of_rsa(&Self(key))
    }
}

/// Rounds, salt and the key under them.
fn under_passphrase(passphrase: &Secret, key: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut salt = [0; PASSPHRASE_SALT_BYTES];
    rand::fill(&mut salt).map_err(|_| VaultError::NoRandom)?;
    let under = stretched(passphrase, &salt, PASSPHRASE_ROUNDS)?;
    let sealed = wrap::seal_bytes(&under, key, PASSPHRASE_CONTEXT)?;
    Ok([&PASSPHRASE_ROUNDS.get().to_be_bytes(), salt.as_slice(), &sealed].concat())
}

fn of_passphrase(passphrase: &Secret, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, VaultError> {
    let damaged = || VaultError::Root("its file is damaged".to_owned());
    let (rounds, rest) = sealed.split_first_chunk::<4>().ok_or_else(damaged)?;
    let (salt, sealed) = rest.split_first_chunk::<PASSPHRASE_SALT_BYTES>().ok_or_else(damaged)?;
    let rounds = NonZeroU32::new(u32::from_be_bytes(*rounds)).ok_or_else(damaged)?;
    if rounds.get() > PASSPHRASE_ROUNDS_MAX {
        return Err(damaged());
    }
    if rounds < PASSPHRASE_ROUNDS {
        let sentence =
            format!("its passphrase is stretched by {rounds} rounds; {PASSPHRASE_ROUNDS} are the least");
        return Err(VaultError::Root(sentence));
    }
    let under = stretched(passphrase, salt, rounds)?;
    wrap::open_bytes(&under, sealed, PASSPHRASE_CONTEXT)
        .ok_or_else(|| VaultError::Root("the passphrase is wrong, or its file is damaged".to_owned()))
}

fn stretched(passphrase: &Secret, salt: &[u8], rounds: NonZeroU32) -> Result<Key, VaultError> {
    let mut key = Zeroizing::new([0; KEY_BYTES]);
    pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA512, rounds, salt, passphrase.expose(), key.as_mut_slice());
    Key::of(key.as_slice()).ok_or(VaultError::Refused)
}

fn pem(what: &str, bytes: &[u8]) -> Zeroizing<String> {
    let encoded = Zeroizing::new(BASE64.encode(bytes));
    // As long as it gets: a string that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(2 * encoded.len() + 4 * what.len() + 64));
    text.extend(["-----BEGIN ", what, "-----\n"]);
    for (at, character) in encoded.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            text.push('\n');
        }
        text.push(character);
    }
    text.extend(["\n-----END ", what, "-----\n"]);
    text
}

fn unpem(what: &str, text: &str) -> Option<Zeroizing<Vec<u8>>> {
    let (_, rest) = text.split_once(&format!("-----BEGIN {what}-----"))?;
    let (body, _) = rest.split_once(&format!("-----END {what}-----"))?;
    let mut body: Zeroizing<String> = Zeroizing::new(body.to_owned());
    body.retain(|character| !character.is_ascii_whitespace());
    BASE64.decode(body.as_bytes()).ok().map(Zeroizing::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8018, section 5.2, with HMAC-SHA512; the values are those of Python's `hashlib.pbkdf2_hmac`.
    #[test]
    fn passphrases_are_stretched_by_pbkdf2_with_hmac_sha512() {
        for (passphrase, salt, rounds, key) in [
            ("password", "salt", 1, "867f70cf1ade02cff3752599a3a53dc4af34c7a669815ae5d513554e1c8cf252"),
            (
                "passwordPASSWORDpassword",
                "saltSALTsaltSALTsaltSALTsaltSALTsalt",
                4096,
                "8c0511f4c6e597c6ac6315d8f0362e225f3c501495ba23b868c005174dc4ee71",
            ),
        ] {
            let secret = Secret::from(passphrase.to_owned());
            let stretched = stretched(&secret, salt.as_bytes(), NonZeroU32::new(rounds).unwrap()).unwrap();
            assert_eq!(data_encoding::HEXLOWER.encode(stretched.bytes()), key);
        }
    }
}
