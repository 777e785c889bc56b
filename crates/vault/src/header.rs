//! What stands before the frames, and what the frames are bound to.
//!
//! ```text
//! 0   4  5  6      8        16               32           64             96
//! ┌───┬──┬──┬──────┬────────┬────────────────┬────────────┬──────────────┐
//! │LLV│ver│suite│purpose│tenant│ id of subject key │ salt    │ commitment   │
//! └───┴──┴──┴──────┴────────┴────────────────┴────────────┴──────────────┘
//! ```
//! Numbers are big-endian. All up to the commitment goes into the derivation of the data key.

use types::TenantId;

use crate::{SubjectKeyId, Suite, VaultError};

/// Bytes before the first frame.
pub const HEADER_BYTES: usize = 96;
/// Bytes of the random salt, and of the commitment.
pub(crate) const SALT_BYTES: usize = 32;
/// The part of the header that the data key is derived from.
pub(crate) const BOUND_BYTES: usize = HEADER_BYTES - SALT_BYTES;

const MAGIC: [u8; 4] = *b"LLMV";
const VERSION: u8 = 1;
/// What tells the suite: all up to its number.
const BEGINNING_BYTES: usize = MAGIC.len() + 2;

/// What sealed data is for. What was sealed for one purpose does not open for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Purpose {
    /// A conversation that was kept: prompts and answers.
    Conversation = 1,
    /// A file that a person has uploaded.
    File = 2,
    /// The key of a provider, or another secret of the configuration.
    Credential = 3,
    /// KV memory of a sequence.
    Snapshot = 4,
    /// A field of a record of the audit log.
    Audit = 5,
}

/// Where sealed data belongs: what was sealed for one place does not open in another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place<'a> {
    /// What it is for.
    pub purpose: Purpose,
    /// The name of the one record or file, unique within the purpose. Not stored: whoever opens it knows what it
    /// looks for.
    pub record: &'a [u8],
}

/// The header of sealed data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) suite: Suite,
    pub(crate) purpose: u16,
    pub(crate) tenant: TenantId,
    pub(crate) subject_key: SubjectKeyId,
    pub(crate) salt: [u8; SALT_BYTES],
    pub(crate) commitment: [u8; SALT_BYTES],
}

impl Header {
    /// The part that the data key is derived from.
    pub(crate) fn bound(&self) -> [u8; BOUND_BYTES] {
        let mut bytes = [0; BOUND_BYTES];
        bytes[..BEGINNING_BYTES].copy_from_slice(&self.suite.beginning());
        bytes[6..8].copy_from_slice(&self.purpose.to_be_bytes());
        bytes[8..16].copy_from_slice(&self.tenant.0.to_be_bytes());
        bytes[16..32].copy_from_slice(&self.subject_key.0);
        bytes[32..].copy_from_slice(&self.salt);
        bytes
    }

    pub(crate) fn bytes(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..BOUND_BYTES].copy_from_slice(&self.bound());
        bytes[BOUND_BYTES..].copy_from_slice(&self.commitment);
        bytes
    }

    pub(crate) fn parse(bytes: &[u8; HEADER_BYTES]) -> Result<Self, VaultError> {
        if bytes[..4] != MAGIC {
            return Err(VaultError::Unknown("it does not begin with LLMV"));
        }
        let suite = Suite::of_number(bytes[5]).filter(|_| bytes[4] == VERSION);
        Ok(Self {
            suite: suite.ok_or(VaultError::Unknown("it was sealed by a newer program; update this one"))?,
            purpose: u16::from_be_bytes(part(bytes, 6)),
            tenant: TenantId(u64::from_be_bytes(part(bytes, 8))),
            subject_key: SubjectKeyId(part(bytes, 16)),
            salt: part(bytes, 32),
            commitment: part(bytes, 64),
        })
    }
}

impl Suite {
    /// What everything begins with that is sealed in this suite, and nothing else.
    pub fn beginning(self) -> [u8; BEGINNING_BYTES] {
        let [l, m, v, w] = MAGIC;
        [l, m, v, w, VERSION, self.number()]
    }
}

fn part<const N: usize>(bytes: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&bytes[at..at + N]);
    part
}
