//! The keys between the root and the frames.

use std::fmt;

use aws_lc_rs::rand;
use types::{Sealed, Secret, TenantId};
use zeroize::Zeroizing;

use crate::{Opener, Place, Sealer, Suite, VaultError, Wrapped, sealed_length, wrap};

/// All keys have 256 bits, whatever they are for.
pub(crate) const KEY_BYTES: usize = 32;

/// 256 random bits, wiped on drop. Has no `Debug` and leaves this crate only wrapped.
pub(crate) struct Key(Zeroizing<[u8; KEY_BYTES]>);

impl Key {
    pub(crate) fn random() -> Result<Self, VaultError> {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rand::fill(bytes.as_mut_slice()).map_err(|_| VaultError::NoRandom)?;
        Ok(Self(bytes))
    }

    /// A key of these bytes, if there are as many as a key has.
    pub(crate) fn of(bytes: &[u8]) -> Option<Self> {
        let mut key = Zeroizing::new([0; KEY_BYTES]);
        (bytes.len() == KEY_BYTES).then(|| {
            key.copy_from_slice(bytes);
            Self(key)
        })
    }

    pub(crate) fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }
}

/// Names a subject key without naming the subject: random, and no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SubjectKeyId(pub [u8; 16]);

impl SubjectKeyId {
    /// A new one.
    pub fn random() -> Result<Self, VaultError> {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).map_err(|_| VaultError::NoRandom)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for SubjectKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&data_encoding::HEXLOWER.encode(&self.0))
    }
}

impl fmt::Debug for SubjectKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Wraps the subject keys of one tenant.
pub struct TenantKey {
    key: Key,
    tenant: TenantId,
    suite: Suite,
}

impl TenantKey {
    /// A new one.
    pub fn random(tenant: TenantId) -> Result<Self, VaultError> {
        Ok(Self::of(Key::random()?, tenant))
    }

    /// Whose it is.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The same key, under which keys are wrapped in this suite from now on, and values sealed by the keys below it.
    #[must_use]
    pub fn in_suite(self, suite: Suite) -> Self {
        Self { suite, ..self }
    }

    /// A new subject key.
    pub fn new_subject(&self) -> Result<SubjectKey, VaultError> {
        Ok(self.subject(Key::random()?, SubjectKeyId::random()?))
    }

    /// The subject key, wrapped by this one.
    pub fn wrap(&self, subject: &SubjectKey) -> Result<Wrapped, VaultError> {
        wrap::wrap(self.suite, &self.key, &subject.key, &Self::context(self.tenant, subject.id))
    }

    /// The subject key of this id that was wrapped by this one.
    pub fn unwrap(&self, id: SubjectKeyId, wrapped: &Wrapped) -> Result<SubjectKey, VaultError> {
        let wrong = VaultError::WrongKey { what: "subject key", under: "tenant key" };
        let key = wrap::unwrap(&self.key, wrapped, &Self::context(self.tenant, id)).ok_or(wrong)?;
        Ok(self.subject(key, id))
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn suite(&self) -> Suite {
        self.suite
    }

    pub(crate) fn of(key: Key, tenant: TenantId) -> Self {
        Self { key, tenant, suite: Suite::default() }
    }

    fn subject(&self, key: Key, id: SubjectKeyId) -> SubjectKey {
        SubjectKey { key, tenant: self.tenant, id, suite: self.suite }
    }

    fn context(tenant: TenantId, id: SubjectKeyId) -> [u8; 24] {
        let mut context = [0; 24];
        context[..8].copy_from_slice(&tenant.0.to_be_bytes());
        context[8..].copy_from_slice(&id.0);
        context
    }
}

/// Seals and opens what belongs to one person.
pub struct SubjectKey {
    key: Key,
    tenant: TenantId,
    id: SubjectKeyId,
    suite: Suite,
}

impl SubjectKey {
    /// A key that seals one thing that is no person's, and is stored beside it.
    pub(crate) fn alone(key: Key, suite: Suite) -> Self {
        Self { key, tenant: TenantId(0), id: SubjectKeyId([0; 16]), suite }
    }

    /// Its name.
    pub fn id(&self) -> SubjectKeyId {
        self.id
    }

    /// Whose it is.
    pub fn tenant(&self) -> TenantId {
        self.tenant
    }

    /// The suite that it seals in. It opens all.
    pub fn suite(&self) -> Suite {
        self.suite
    }

    /// Seals a value.
    pub fn seal(&self, place: &Place<'_>, value: &Secret) -> Result<Sealed, VaultError> {
        let value = value.expose();
        let room = sealed_length(value.len() as u64) as usize;
        let mut sealer = Sealer::begin(self, place, Vec::with_capacity(room))?;
        sealer.write(value)?;
        Ok(Sealed::from(sealer.finish()?))
    }

    /// Opens a value that was sealed for this place.
    pub fn open(&self, place: &Place<'_>, sealed: &Sealed) -> Result<Secret, VaultError> {
        let mut plain = Zeroizing::new(Vec::with_capacity(sealed.as_bytes().len()));
        let mut opener = Opener::begin(self, place, sealed.as_bytes())?;
        while let Some(frame) = opener.next_frame()? {
            plain.extend_from_slice(frame);
        }
        Ok(Secret::from(std::mem::take(&mut *plain)))
    }

    pub(crate) fn key(&self) -> &Key {
        &self.key
    }
}
