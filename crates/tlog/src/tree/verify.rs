use super::{Hash, node_hash, split};
use crate::ProofError;

/// Whether `leaf` is entry `index` of the tree of `size` entries with this root (RFC 9162, section 2.1.3.2).
///
/// A proof says nothing about the size alone: some pairs of sizes have proofs of one shape. What binds the size to the
/// root is the signature under the checkpoint that names both.
pub fn verify_inclusion(
    index: u64,
    size: u64,
    leaf: Hash,
    proof: &[Hash],
    root: Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::OutOfRange { index, size });
    }
    let sides = sides(index, size);
    if proof.len() != sides.len() {
        return Err(ProofError::Length { expected: sides.len(), found: proof.len() });
    }
    let join = |node, (sibling, side): (&Hash, &Side)| match side {
        Side::Left => node_hash(sibling, &node),
        Side::Right => node_hash(&node, sibling),
    };
    let reached = proof.iter().zip(&sides).fold(leaf, join);
    if reached == root { Ok(()) } else { Err(ProofError::Root { size }) }
}

/// Whether the tree of `new` entries begins with all entries of the tree of `old` (RFC 9162, section 2.1.4.2). An older
/// tree of 0 entries is the beginning of every tree, by an empty proof.
pub fn verify_consistency(
    old: u64,
    old_root: Hash,
    new: u64,
    new_root: Hash,
    proof: &[Hash],
) -> Result<(), ProofError> {
    if old > new {
        return Err(ProofError::Shrunk { old, new });
    }
    if old == 0 || old == new {
        return trivial(old, old_root, new, new_root, proof);
    }
    // The walk begins at the largest subtree that ends where the older tree ends. Its root is the first hash of the
    // proof, unless it is the older tree itself.
    let level = old.trailing_zeros();
    let sides = sides((old - 1) >> level, ((new - 1) >> level) + 1);
    let whole = old.is_power_of_two();
    let expected = sides.len() + usize::from(!whole);
    if proof.len() != expected {
        return Err(ProofError::Length { expected, found: proof.len() });
    }
    let (start, path) = match proof.split_first() {
        Some((first, rest)) if !whole => (*first, rest),
        _ => (old_root, proof),
    };
    let (mut reached_old, mut reached_new) = (start, start);
    for (sibling, side) in path.iter().zip(&sides) {
        match side {
            Side::Left => {
                reached_old = node_hash(sibling, &reached_old);
                reached_new = node_hash(sibling, &reached_new);
            }
            // What stands on the right came later: the older tree does not have it.
            Side::Right => reached_new = node_hash(&reached_new, sibling),
        }
    }
    match (reached_old == old_root, reached_new == new_root) {
        (true, true) => Ok(()),
        (false, _) => Err(ProofError::Root { size: old }),
        (true, false) => Err(ProofError::Root { size: new }),
    }
}

/// Where nothing has to be shown, nothing may be: a proof of anything else would be ignored.
fn trivial(old: u64, old_root: Hash, new: u64, new_root: Hash, proof: &[Hash]) -> Result<(), ProofError> {
    if !proof.is_empty() {
        return Err(ProofError::Length { expected: 0, found: proof.len() });
    }
    if old == 0 && old_root != Hash::empty() {
        return Err(ProofError::Root { size: 0 });
    }
    if old == new && old_root != new_root {
        return Err(ProofError::Root { size: new });
    }
    Ok(())
}

/// On which side of the path a sibling stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Left,
    Right,
}

/// The side of each sibling on the way from leaf `index` to the root of `size` leaves.
fn sides(index: u64, size: u64) -> Vec<Side> {
    let mut sides = Vec::new();
    let (mut start, mut end) = (0, size);
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            sides.push(Side::Right);
            end = middle;
        } else {
            sides.push(Side::Left);
            start = middle;
        }
    }
    sides.reverse();
    sides
}
