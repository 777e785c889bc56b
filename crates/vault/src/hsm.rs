//! A root key that never leaves a security module (PKCS#11): the module itself wraps and unwraps.

use std::{
    path::PathBuf,
    sync::{Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::rand;
use cryptoki::{
    context::{CInitializeArgs, CInitializeFlags, Pkcs11},
    error::{Error, RvError},
    mechanism::{Mechanism, aead::GcmParams},
    object::{Attribute, AttributeType, KeyType, ObjectClass, ObjectHandle},
    session::{Session, UserType},
    types::AuthPin,
};
use types::Secret;
use zeroize::Zeroizing;

use crate::{VaultError, frames::TAG_BYTES, key::KEY_BYTES};

const NONCE_BYTES: usize = 12;

/// Which key of which module.
pub struct HsmKey {
    /// The module's library.
    pub module: PathBuf,
    /// The label of its token.
    pub token: String,
    /// The label of the key; made in the token if it has none.
    pub label: String,
    /// The user's PIN.
    pub pin: Secret,
}

/// An open session with the token. One at a time uses it: a module is slow, and wraps tenant keys only.
pub(crate) struct Hsm {
    session: Mutex<Session>,
    key: ObjectHandle,
    /// The identifier that the key was made with.
    pub(crate) id: [u8; 16],
}

impl Hsm {
    pub(crate) fn open(place: &HsmKey) -> Result<Self, VaultError> {
        let failed = |doing: &str, error: &dyn std::fmt::Display| {
            VaultError::Root(format!(
                "the security module {} cannot {doing} ({error})",
                place.module.display()
            ))
        };
        let module = Pkcs11::new(&place.module).map_err(|error| failed("be loaded", &error))?;
        match module.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK)) {
            // Another root of this process has done it.
            Ok(()) | Err(Error::Pkcs11(RvError::CryptokiAlreadyInitialized, _)) => {}
            Err(error) => return Err(failed("be started", &error)),
        }
        let slots = module.get_slots_with_token().map_err(|error| failed("list its tokens", &error))?;
        let is_ours = |label: &str| label.trim_end() == place.token;
        let slot = slots
            .into_iter()
            .find(|slot| module.get_token_info(*slot).is_ok_and(|token| is_ours(token.label())));
        let Some(slot) = slot else {
            return Err(VaultError::Root(format!(
                "the security module {} has no token `{}`",
                place.module.display(),
                place.token
            )));
        };
        let session = module.open_rw_session(slot).map_err(|error| failed("open a session", &error))?;
        // `AuthPin` wipes its text.
        let pin = AuthPin::from(String::from_utf8_lossy(place.pin.expose()).into_owned());
        match session.login(UserType::User, Some(&pin)) {
            Ok(())
            | Err(cryptoki::error::Error::Pkcs11(cryptoki::error::RvError::UserAlreadyLoggedIn, _)) => {}
            Err(error) => return Err(failed("log in", &error)),
        }
        let (key, id) = find_or_make(&session, &place.label).map_err(|error| failed("give a key", &error))?;
        Ok(Self { session: Mutex::new(session), key, id })
    }

    /// Nonce, ciphertext and tag; none if the module refuses.
    pub(crate) fn seal(&self, plain: &[u8; KEY_BYTES], label: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE_BYTES];
        rand::fill(&mut nonce).ok()?;
        let mut used = nonce;
        let mechanism =
            Mechanism::AesGcm(GcmParams::new(&mut used, label, ((TAG_BYTES * 8) as u64).into()).ok()?);
        let sealed = self.session().encrypt(&mechanism, self.key, plain).ok()?;
        Some([nonce.as_slice(), &sealed].concat())
    }

    pub(crate) fn open_sealed(&self, sealed: &[u8], label: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let mut nonce = *nonce;
        let mechanism =
            Mechanism::AesGcm(GcmParams::new(&mut nonce, label, ((TAG_BYTES * 8) as u64).into()).ok()?);
        self.session().decrypt(&mechanism, self.key, sealed).ok().map(Zeroizing::new)
    }

    fn session(&self) -> MutexGuard<'_, Session> {
        self.session.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The key of this label, which the token neither shows nor lets out.
fn find_or_make(
    session: &Session,
    label: &str,
) -> Result<(ObjectHandle, [u8; 16]), Box<dyn std::error::Error>> {
    let named = [
        Attribute::Class(ObjectClass::SECRET_KEY),
        Attribute::KeyType(KeyType::AES),
        Attribute::Label(label.as_bytes().to_vec()),
    ];
    let key = match session.find_objects(&named)?[..] {
        [key] => key,
        [] => {
            let mut id = vec![0; 16];
            rand::fill(&mut id).map_err(|_| "the operating system gives no random bytes")?;
            let rights = [
                Attribute::Id(id),
                Attribute::ValueLen((KEY_BYTES as u64).into()),
                Attribute::Token(true),
                Attribute::Private(true),
                Attribute::Sensitive(true),
                Attribute::Extractable(false),
                Attribute::Encrypt(true),
                Attribute::Decrypt(true),
            ];
            session.generate_key(&Mechanism::AesKeyGen, &[&named[..], &rights].concat())?
        }
        _ => return Err(format!("there are several keys `{label}`").into()),
    };
    match &session.get_attributes(key, &[AttributeType::Id, AttributeType::Extractable])?[..] {
        [Attribute::Id(id), Attribute::Extractable(false)] => {
            let id = id
                .as_slice()
                .try_into()
                .map_err(|_| format!("the key `{label}` was made by another program"))?;
            Ok((key, id))
        }
        _ => Err(format!("the key `{label}` can be taken out of the token").into()),
    }
}
