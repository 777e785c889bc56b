//! Wrapped keys and tombstones as one text, kept apart from the data: restored, it never brings back what was shredded.
//!
//! ```text
//! {"llmos_keys": 1}
//! {"tenant": …}     each tenant key, wrapped by its root
//! {"subject": …}    each subject key, wrapped by its tenant's
//! {"tombstone": …}  each key that was destroyed
//! {"end": 7}        how many lines stand between
//! ```
//!
//! Nothing in it opens without the root key, which is not in it.

use std::io::{BufRead, Write};

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use store::{SubjectKeyRecord, TenantKeyRecord, Tombstone};
use types::TenantId;

use crate::VaultError;

const VERSION: u32 = 1;
/// Longest line that is read: a tenant key under RSA has about 1 KiB.
const LINE_BYTES_MAX: u64 = 16 << 10;

/// A line.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Line {
    LlmosKeys(u32),
    Tenant {
        tenant: u64,
        generation: u64,
        root: String,
        wrapped: String,
        index: String,
    },
    Subject {
        id: String,
        tenant: u64,
        generation: u64,
        subject: String,
        wrapped: String,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        replaced: bool,
    },
    Tombstone {
        id: String,
        tenant: u64,
        shredded_at: u64,
    },
    End(u64),
}

/// What a backup holds.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) tenants: Vec<TenantKeyRecord>,
    pub(crate) subjects: Vec<SubjectKeyRecord>,
    pub(crate) tombstones: Vec<Tombstone>,
}

impl Contents {
    pub(crate) fn write(&self, out: &mut dyn Write) -> Result<(), VaultError> {
        let hex = |bytes: &[u8]| HEXLOWER.encode(bytes);
        let tenants = self.tenants.iter().map(|key| Line::Tenant {
            tenant: key.tenant.0,
            generation: key.generation,
            root: hex(&key.root),
            wrapped: hex(&key.wrapped),
            index: hex(&key.index),
        });
        let subjects = self.subjects.iter().map(|key| Line::Subject {
            id: hex(&key.id),
            tenant: key.tenant.0,
            generation: key.generation,
            subject: hex(&key.subject),
            wrapped: hex(&key.wrapped),
            replaced: key.replaced,
        });
        let tombstones = self.tombstones.iter().map(|stone| Line::Tombstone {
            id: hex(&stone.id),
            tenant: stone.tenant.0,
            shredded_at: stone.shredded_at,
        });
        let count = self.tenants.len() + self.subjects.len() + self.tombstones.len();
        let lines =
            std::iter::once(Line::LlmosKeys(VERSION)).chain(tenants).chain(subjects).chain(tombstones);
        for line in lines.chain([Line::End(count as u64)]) {
            serde_json::to_writer(&mut *out, &line).map_err(std::io::Error::from)?;
            out.write_all(b"\n")?;
        }
        Ok(())
    }

    /// Reads all of it, or says what is wrong and where: half a backup is none.
    pub(crate) fn read(from: &mut dyn BufRead) -> Result<Self, VaultError> {
        let mut contents = Self::default();
        let mut text = String::new();
        for number in 1_u64.. {
            let damaged = |why: &str| VaultError::Backup(format!("line {number}: {why}"));
            text.clear();
            let mut bounded = std::io::Read::take(&mut *from, LINE_BYTES_MAX);
            if bounded.read_line(&mut text)? == 0 {
                return Err(damaged("it ends too early"));
            }
            let line: Line = serde_json::from_str(&text)
                .map_err(|error| damaged(&format!("it is no line of a backup ({error})")))?;
            let lines = (contents.tenants.len() + contents.subjects.len() + contents.tombstones.len()) as u64;
            let wrong = || damaged("a value has another length");
            match line {
                Line::LlmosKeys(VERSION) if number == 1 => {}
                Line::LlmosKeys(_) => return Err(damaged("a newer program wrote it, or it begins twice")),
                _ if number == 1 => return Err(damaged("it does not begin as a backup of keys")),
                Line::Tenant { tenant, generation, root, wrapped, index } => {
                    contents.tenants.push(TenantKeyRecord {
                        tenant: TenantId(tenant),
                        generation,
                        root: fixed(&root).ok_or_else(wrong)?,
                        wrapped: bytes(&wrapped).ok_or_else(wrong)?,
                        index: bytes(&index).ok_or_else(wrong)?,
                    });
                }
                Line::Subject { id, tenant, generation, subject, wrapped, replaced } => {
                    contents.subjects.push(SubjectKeyRecord {
                        id: fixed(&id).ok_or_else(wrong)?,
                        tenant: TenantId(tenant),
                        generation,
                        subject: fixed(&subject).ok_or_else(wrong)?,
                        wrapped: bytes(&wrapped).ok_or_else(wrong)?,
                        replaced,
                    });
                }
                Line::Tombstone { id, tenant, shredded_at } => contents.tombstones.push(Tombstone {
                    id: fixed(&id).ok_or_else(wrong)?,
                    tenant: TenantId(tenant),
                    shredded_at,
                }),
                Line::End(count) if count == lines => return Ok(contents),
                Line::End(_) => return Err(damaged("lines are missing before it")),
            }
        }
        Err(VaultError::Backup("it has no end".to_owned()))
    }
}

fn bytes(text: &str) -> Option<Vec<u8>> {
    HEXLOWER.decode(text.as_bytes()).ok()
}

fn fixed<const N: usize>(text: &str) -> Option<[u8; N]> {
    bytes(text)?.try_into().ok()
}
