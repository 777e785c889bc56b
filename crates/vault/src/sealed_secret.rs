//! The form of a secret that is sealed under the root key alone.
//!
//! ```text
//! 0    4   5 6            8         24            24 + n
//! ┌────┬───┬─┬────────────┬─────────┬─────────────┬────────────────────────────────┐
//! │LLMS│ver│0│ n: its bytes│ root id │ wrapped key │ sealed value, as in `header.rs` │
//! └────┴───┴─┴────────────┴─────────┴─────────────┴────────────────────────────────┘
//! ```
//! Each has a key of its own, which the root wraps for this one *record* (the name of the secret or file, which is not stored): RSA
//! could not seal more than 318 bytes, and a security module need not see them. The value is sealed by this key in the vault's own
//! format, for the same record. So what is put in another's place, or changed anywhere, does not open.

use types::{Sealed, Secret};

use crate::{
    Place, Purpose, Root, SubjectKey, Suite, VaultError, header::Header, key::Key, roots::Roots,
    stream::sealed_length,
};

/// Longest secret, in bytes: a chain of keys in PEM has a few thousand.
pub const SECRET_BYTES_MAX: usize = 64 << 10;
/// Largest wrapped key that is read: one by RSA has 384 bytes.
const WRAPPED_BYTES_MAX: usize = 1 << 10;

const MAGIC: [u8; 4] = *b"LLMS";
const VERSION: u8 = 1;
const HEADER_BYTES: usize = 24;
/// What its key is wrapped for, so that no key of a tenant can stand there.
const LABEL: &[u8] = b"llmos key of a secret ";

/// Largest file with one.
pub(crate) fn file_bytes_max() -> usize {
    HEADER_BYTES + WRAPPED_BYTES_MAX + sealed_length(SECRET_BYTES_MAX as u64) as usize
}

pub(crate) fn seal(root: &Root, suite: Suite, record: &str, value: &Secret) -> Result<Vec<u8>, VaultError> {
    let key = Key::random()?;
    let wrapped = root.wrap_for(suite, &key, &label(record))?;
    let length = u16::try_from(wrapped.len()).map_err(|_| VaultError::TooLong)?;
    let sealed = SubjectKey::alone(key, suite).seal(&place(record), value)?;
    let parts = [&MAGIC[..], &[VERSION, 0], &length.to_be_bytes(), &root.id(), &wrapped, sealed.as_bytes()];
    Ok(parts.concat())
}

/// The secret, or why there is none and what to do.
pub(crate) fn open(roots: &Roots, record: &str, bytes: &[u8]) -> Result<Secret, String> {
    let damaged = || {
        "its file is damaged, or was that of another secret; seal it again, or restore the file from a backup"
            .to_owned()
    };
    let parts = Parts::of(bytes).ok_or_else(damaged)?;
    let root = roots.of(&parts.root).ok_or_else(|| {
        let id = data_encoding::HEXLOWER.encode(&parts.root);
        format!(
            "it is sealed under the root {id}, which is not configured; seal it again, or configure that root as \
             `vault.old_root` for one start"
        )
    })?;
    let key = root.unwrap_for(parts.wrapped, &label(record)).ok_or_else(damaged)?;
    let sealed = Sealed::from(parts.sealed.to_vec());
    // It opens all suites.
    SubjectKey::alone(key, Suite::default()).open(&place(record), &sealed).map_err(|_| damaged())
}

/// Under which root it is; none if this is no sealed secret.
pub(crate) fn root_of(bytes: &[u8]) -> Option<[u8; 16]> {
    Parts::of(bytes).map(|parts| parts.root)
}

/// In which suite it is; none if that cannot be told.
pub(crate) fn suite_of(bytes: &[u8]) -> Option<Suite> {
    Header::parse(Parts::of(bytes)?.sealed.first_chunk()?).ok().map(|header| header.suite)
}

struct Parts<'a> {
    root: [u8; 16],
    wrapped: &'a [u8],
    sealed: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_first_chunk::<HEADER_BYTES>()?;
        let (fixed, rest_of_header) = header.split_first_chunk::<6>()?;
        let (length, root) = rest_of_header.split_first_chunk::<2>()?;
        let (wrapped, sealed) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
        let is_ours = fixed[..4] == MAGIC && fixed[4..] == [VERSION, 0];
        is_ours.then(|| Some(Self { root: root.try_into().ok()?, wrapped, sealed }))?
    }
}

fn label(record: &str) -> Vec<u8> {
    [LABEL, record.as_bytes()].concat()
}

fn place(record: &str) -> Place<'_> {
    Place { purpose: Purpose::Credential, record: record.as_bytes() }
}
