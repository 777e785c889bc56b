use super::{Hash, frontier::fold, split};

/// Stored hashes of perfect subtrees.
pub trait HashReader {
    /// Why a hash could not be read.
    type Error;

    /// Root of the 2^`level` leaves from `index` * 2^`level` on. Asked only for subtrees that lie wholly in the tree.
    fn hash(&self, level: u8, index: u64) -> Result<Hash, Self::Error>;
}

impl<R: HashReader + ?Sized> HashReader for &R {
    type Error = R::Error;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, Self::Error> {
        (**self).hash(level, index)
    }
}

/// Root of the first `size` entries.
pub fn root<R: HashReader + ?Sized>(size: u64, reader: &R) -> Result<Hash, R::Error> {
    root_of(0, size, reader)
}

/// The audit path of an entry: its sibling first, the child of the root last (RFC 6962, section 2.1.1). Reads at most as
/// many hashes as the square of the tree's height, in practice about the height.
///
/// Empty also where `index` is not in a tree of `size`: no verifier accepts that.
///
/// ```
/// use tlog::{memory::MemoryLog, tree::{inclusion_proof, leaf_hash, root, verify_inclusion}};
///
/// let mut log = MemoryLog::new();
/// for entry in ["a", "b", "c"] {
///     log.push(entry.as_bytes())?;
/// }
/// let proof = inclusion_proof(1, 3, &log)?;
/// verify_inclusion(1, 3, leaf_hash(b"b"), &proof, root(3, &log)?)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn inclusion_proof<R: HashReader + ?Sized>(
    index: u64,
    size: u64,
    reader: &R,
) -> Result<Vec<Hash>, R::Error> {
    let mut proof = Vec::new();
    if index >= size {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(root_of(middle, end, reader)?);
            end = middle;
        } else {
            proof.push(root_of(start, middle, reader)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// That the first `old` entries of a tree of `new` are those of the tree of `old` (RFC 6962, section 2.1.2). Empty where
/// nothing has to be shown: for `old` of 0, and for two trees of one size.
///
/// Empty also where `old` is larger than `new`: no verifier accepts that.
///
/// ```
/// use tlog::{memory::MemoryLog, tree::{consistency_proof, root, verify_consistency}};
///
/// let mut log = MemoryLog::new();
/// for entry in ["a", "b", "c", "d", "e"] {
///     log.push(entry.as_bytes())?;
/// }
/// let proof = consistency_proof(3, 5, &log)?;
/// verify_consistency(3, root(3, &log)?, 5, root(5, &log)?, &proof)?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn consistency_proof<R: HashReader + ?Sized>(
    old: u64,
    new: u64,
    reader: &R,
) -> Result<Vec<Hash>, R::Error> {
    let mut proof = Vec::new();
    if old == 0 || old >= new {
        return Ok(proof);
    }
    let (mut start, mut end) = (0, new);
    while old != end {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(root_of(middle, end, reader)?);
            end = middle;
        } else {
            proof.push(root_of(start, middle, reader)?);
            start = middle;
        }
    }
    // A subtree that is the whole older tree needs no hash: the verifier has its root.
    if start != 0 {
        proof.push(root_of(start, end, reader)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Root of the leaves from `start` up to `end`, which are a subtree as `split` makes them.
fn root_of<R: HashReader + ?Sized>(start: u64, end: u64, reader: &R) -> Result<Hash, R::Error> {
    let mut peaks = Vec::new();
    let mut next = start;
    while next < end {
        let level = (end - next).ilog2() as u8;
        peaks.push(reader.hash(level, next >> level)?);
        next += 1 << level;
    }
    Ok(fold(&peaks))
}
