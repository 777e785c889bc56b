use super::{Hash, SIZE_MAX, node_hash};
use crate::FormatError;

/// A tree of which only the right edge is kept: the roots of its perfect subtrees, from left to right. Enough to append
/// to it and to know its root: at most 63 hashes, and one hash of an inner node for each entry on average.
///
/// ```
/// use tlog::tree::{Frontier, leaf_hash, node_hash};
///
/// let mut frontier = Frontier::new();
/// frontier.push(leaf_hash(b"begin"));
/// frontier.push(leaf_hash(b"end"));
/// assert_eq!(frontier.root(), node_hash(&leaf_hash(b"begin"), &leaf_hash(b"end")));
/// assert_eq!(Frontier::from_peaks(2, frontier.peaks().to_vec())?, frontier);
/// # Ok::<(), tlog::FormatError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Frontier {
    size: u64,
    /// One for each bit that is set in `size`, the largest first.
    peaks: Vec<Hash>,
}

impl Frontier {
    /// A tree without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// As it was kept. Refused if the number of peaks is not that of the bits set in `size`.
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Result<Self, FormatError> {
        let expected = size.count_ones() as usize;
        if size > SIZE_MAX {
            return Err(FormatError::new("tree", format!("it would have more than {SIZE_MAX} entries")));
        }
        if peaks.len() != expected {
            let why = format!("one of {size} entries has {expected} peaks, and these are {}", peaks.len());
            return Err(FormatError::new("tree", why));
        }
        Ok(Self { size, peaks })
    }

    /// Appends an entry, by its leaf hash.
    pub fn push(&mut self, leaf: Hash) {
        let mut node = leaf;
        // Every subtree that the new one makes perfect is merged into it, like the carry of a binary counter.
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.peaks.pop() {
                node = node_hash(&left, &node);
            }
        }
        self.peaks.push(node);
        self.size += 1;
    }

    /// Entries.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Roots of the perfect subtrees, from left to right.
    pub fn peaks(&self) -> &[Hash] {
        &self.peaks
    }

    /// Root of the whole tree (RFC 6962, section 2.1).
    pub fn root(&self) -> Hash {
        fold(&self.peaks)
    }
}

/// Root of a tree from the roots of its perfect subtrees, from left to right.
pub(super) fn fold(peaks: &[Hash]) -> Hash {
    let nodes = peaks.iter().rev().copied();
    nodes.reduce(|right, left| node_hash(&left, &right)).unwrap_or_else(Hash::empty)
}
