//! The hash tree of RFC 6962, section 2.1 (unchanged in RFC 9162, section 2.1), over SHA-256.
//!
//! ```text
//!              root(7)                 levels count from the leaves: hash(level, index) is the root of the
//!            /        \                2^level leaves from index * 2^level on
//!       hash(2,0)     ( )
//!        /    \       /  \
//!     (1,0) (1,1)  (1,2)  \            a Frontier of 7 keeps three: hash(2,0), hash(1,2), hash(0,6)
//!     /  \  /  \   /  \    \
//!     0  1  2  3   4  5     6
//! ```

use std::{fmt, str::FromStr};

use aws_lc_rs::digest::{Context, SHA256, digest};
use data_encoding::BASE64;

use crate::FormatError;

mod frontier;
mod prove;
#[cfg(test)]
mod tests;
mod verify;

pub use frontier::Frontier;
pub use prove::{HashReader, consistency_proof, inclusion_proof, root};
pub use verify::{verify_consistency, verify_inclusion};

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;
/// Most entries that a tree has here. As many as the field's other programs, which count with signed numbers.
pub const SIZE_MAX: u64 = i64::MAX as u64;
/// Most hashes of a proof for trees of at most [`SIZE_MAX`] entries.
pub const PROOF_HASHES_MAX: usize = 63;

/// Characters of a hash in base64.
const HASH_CHARS: usize = 44;
/// What is hashed in front of an entry and of two hashes (RFC 6962): neither can pass for the other.
const LEAF_PREFIX: u8 = 0;
const NODE_PREFIX: u8 = 1;

/// A SHA-256 hash: of a leaf, an inner node or a whole tree. Its text is standard base64, with padding.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hash(pub [u8; HASH_BYTES]);

impl Hash {
    /// Root of the tree without entries: the hash of nothing.
    pub fn empty() -> Self {
        Self::of(digest(&SHA256, &[]))
    }

    /// A hash as it stands in a tile, if it has the length of one.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    fn of(digest: aws_lc_rs::digest::Digest) -> Self {
        let mut hash = [0; HASH_BYTES];
        hash.copy_from_slice(digest.as_ref());
        Self(hash)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&BASE64.encode(&self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hash({self})")
    }
}

impl FromStr for Hash {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        let wrong = || FormatError::new("hash", "it is not 32 bytes in standard base64");
        // Looked at first, so that nothing long is decoded.
        if text.len() != HASH_CHARS {
            return Err(wrong());
        }
        let bytes = BASE64.decode(text.as_bytes()).map_err(|_| wrong())?;
        Self::from_bytes(&bytes).ok_or_else(wrong)
    }
}

/// Hash of an entry: `SHA-256(0x00 || entry)`.
pub fn leaf_hash(entry: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&[LEAF_PREFIX]);
    context.update(entry);
    Hash::of(context.finish())
}

/// Hash of an inner node: `SHA-256(0x01 || left || right)`.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    let mut bytes = [NODE_PREFIX; 1 + 2 * HASH_BYTES];
    bytes[1..=HASH_BYTES].copy_from_slice(&left.0);
    bytes[1 + HASH_BYTES..].copy_from_slice(&right.0);
    Hash::of(digest(&SHA256, &bytes))
}

/// Where a tree of `size` > 1 leaves divides: the largest power of two below `size`.
fn split(size: u64) -> u64 {
    debug_assert!(size > 1, "a leaf does not divide");
    1 << (size - 1).ilog2()
}
