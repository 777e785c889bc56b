use super::*;
use crate::{ProofError, memory::MemoryLog};

/// The entries of the known-answer tests of Certificate Transparency's first implementation.
const ENTRIES: [&str; 8] =
    ["", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"];
/// Roots of the first 1 to 8 of them.
const ROOTS: [&str; 8] = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
];

fn hex(text: &str) -> Vec<u8> {
    data_encoding::HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn hash(text: &str) -> Hash {
    Hash::from_bytes(&hex(text)).unwrap()
}

fn known() -> MemoryLog {
    let mut log = MemoryLog::new();
    for entry in ENTRIES {
        log.push(&hex(entry)).unwrap();
    }
    log
}

fn log_of(size: u64) -> MemoryLog {
    let mut log = MemoryLog::new();
    for index in 0..size {
        log.push(&index.to_be_bytes()).unwrap();
    }
    log
}

#[test]
fn roots_are_those_of_certificate_transparency() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(Frontier::new().root(), hash(empty));
    let log = known();
    let mut frontier = Frontier::new();
    for (index, expected) in ROOTS.iter().enumerate() {
        frontier.push(leaf_hash(&hex(ENTRIES[index])));
        assert_eq!(frontier.root(), hash(expected));
        assert_eq!(root(index as u64 + 1, &log).unwrap(), hash(expected));
    }
}

#[test]
fn proofs_are_those_of_certificate_transparency() {
    let log = known();
    let (ab, cd) = ("ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0", ROOTS[3]);
    let inclusion: [(u64, u64, Vec<&str>); 4] = [
        (0, 1, vec![]),
        (
            0,
            8,
            vec![
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ],
        ),
        (5, 8, vec!["bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b", ab, cd]),
        (2, 3, vec![ROOTS[1]]),
    ];
    for (index, size, path) in inclusion {
        let expected: Vec<Hash> = path.into_iter().map(hash).collect();
        assert_eq!(inclusion_proof(index, size, &log).unwrap(), expected, "{index} in {size}");
    }
    let older = "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a";
    let proof = consistency_proof(6, 8, &log).unwrap();
    assert_eq!(proof, [older, ab, cd].map(hash));
    assert_eq!(consistency_proof(0, 8, &log).unwrap(), []);
    assert_eq!(consistency_proof(8, 8, &log).unwrap(), []);
}

/// Every way to change a proof, one bit, hash or length at a time.
fn altered(proof: &[Hash]) -> Vec<Vec<Hash>> {
    let mut all = Vec::new();
    for (place, hash) in proof.iter().enumerate() {
        let mut other = proof.to_vec();
        other[place].0[hash.0[0] as usize % 32] ^= 1 << (hash.0[1] % 8);
        all.push(other);
        let mut other = proof.to_vec();
        other.remove(place);
        all.push(other);
        let mut other = proof.to_vec();
        other.insert(place, *hash);
        all.push(other);
        if place > 0 {
            let mut other = proof.to_vec();
            other.swap(place - 1, place);
            all.push(other);
        }
    }
    let mut longer = proof.to_vec();
    longer.push(Hash::empty());
    all.push(longer);
    all
}

#[test]
fn every_entry_of_every_tree_is_proved_and_nothing_else() {
    let log = log_of(300);
    let roots: Vec<Hash> = (0..=300).map(|size| root(size, &log).unwrap()).collect();
    for size in 1..=300_u64 {
        let root = roots[size as usize];
        for index in 0..size {
            let leaf = leaf_hash(&index.to_be_bytes());
            let proof = inclusion_proof(index, size, &log).unwrap();
            assert_eq!(verify_inclusion(index, size, leaf, &proof, root), Ok(()), "{index} in {size}");
            // All trees up to 40, and then some of every tree.
            if size > 40 && (index * 7 + size) % 61 != 0 {
                continue;
            }
            for other in altered(&proof) {
                assert!(verify_inclusion(index, size, leaf, &other, root).is_err(), "{index} in {size}");
            }
            for other in (0..size + 2).filter(|other| *other != index) {
                assert!(verify_inclusion(other, size, leaf, &proof, root).is_err(), "{index} as {other}");
            }
            for other in (1..=300).filter(|other| *other != size) {
                let root = roots[other as usize];
                assert!(verify_inclusion(index, other, leaf, &proof, root).is_err(), "{index} in {other}");
            }
            let mut wrong = leaf;
            wrong.0[31] ^= 1;
            assert_eq!(verify_inclusion(index, size, wrong, &proof, root), Err(ProofError::Root { size }));
            let mut wrong = root;
            wrong.0[0] ^= 0x80;
            assert!(verify_inclusion(index, size, leaf, &proof, wrong).is_err());
        }
    }
}

#[test]
fn every_tree_continues_the_smaller_ones_and_nothing_else() {
    let log = log_of(300);
    let roots: Vec<Hash> = (0..=300).map(|size| root(size, &log).unwrap()).collect();
    let root_of = |size: u64| roots[size as usize];
    for new in 0..=300 {
        for old in 0..=new {
            let proof = consistency_proof(old, new, &log).unwrap();
            let verified = verify_consistency(old, root_of(old), new, root_of(new), &proof);
            assert_eq!(verified, Ok(()), "{old} to {new}");
            if new > 40 && (old * 7 + new) % 61 != 0 {
                continue;
            }
            for other in altered(&proof) {
                let verified = verify_consistency(old, root_of(old), new, root_of(new), &other);
                assert!(verified.is_err(), "{old} to {new}");
            }
            for other in (0..=300).filter(|other| *other != old) {
                // From nothing to anything an empty proof leads, and from anything to itself.
                let is_trivial = proof.is_empty() && (other == 0 || other == new);
                let verified = verify_consistency(other, root_of(other), new, root_of(new), &proof);
                assert_eq!(verified.is_ok(), is_trivial, "{old} as {other} to {new}");
            }
            for other in (0..=300).filter(|other| *other != new) {
                let is_trivial = proof.is_empty() && (old == 0 || old == other);
                let verified = verify_consistency(old, root_of(old), other, root_of(other), &proof);
                assert_eq!(verified.is_ok(), is_trivial, "{old} to {new} as {other}");
            }
            if old > 0 {
                let mut wrong = root_of(old);
                wrong.0[5] ^= 4;
                assert!(verify_consistency(old, wrong, new, root_of(new), &proof).is_err());
                let mut wrong = root_of(new);
                wrong.0[5] ^= 4;
                assert!(verify_consistency(old, root_of(old), new, wrong, &proof).is_err());
            }
        }
    }
}

#[test]
fn what_cannot_be_is_refused_with_its_reason() {
    let [one, two] = ["a", "b"].map(|entry| leaf_hash(entry.as_bytes()));
    assert_eq!(verify_inclusion(0, 0, one, &[], one), Err(ProofError::OutOfRange { index: 0, size: 0 }));
    assert_eq!(verify_consistency(2, one, 1, two, &[]), Err(ProofError::Shrunk { old: 2, new: 1 }));
    let long = vec![one; 100];
    let error = ProofError::Length { expected: 63, found: 100 };
    assert_eq!(verify_inclusion(1, SIZE_MAX, one, &long, one), Err(error));
    assert_eq!(verify_consistency(0, one, 1, two, &[]), Err(ProofError::Root { size: 0 }));
    assert_eq!(verify_consistency(0, Hash::empty(), 0, one, &[]), Err(ProofError::Root { size: 0 }));
    assert_eq!(inclusion_proof(3, 3, &log_of(3)).unwrap(), []);
    assert_eq!(consistency_proof(3, 2, &log_of(3)).unwrap(), []);
}

#[test]
fn a_frontier_goes_on_where_it_was_kept() {
    let mut frontier = Frontier::new();
    for index in 0..1000_u64 {
        let peaks = frontier.peaks().to_vec();
        assert!(peaks.len() <= 10);
        assert_eq!(Frontier::from_peaks(index, peaks.clone()).unwrap(), frontier);
        assert!(Frontier::from_peaks(index ^ 1, peaks).is_err());
        frontier.push(leaf_hash(&index.to_be_bytes()));
    }
    assert_eq!(frontier.size(), 1000);
    assert_eq!(frontier.root(), log_of(1000).root());
    assert!(Frontier::from_peaks(SIZE_MAX + 1, vec![Hash::empty()]).is_err());
}

#[test]
fn a_hash_is_read_only_as_it_is_written() {
    let hash = leaf_hash(b"a");
    let text = hash.to_string();
    assert_eq!(text.parse::<Hash>().unwrap(), hash);
    let no_padding = text.trim_end_matches('=').to_owned();
    let other_bits = format!("{}/=", &text[..42]);
    for bad in [no_padding, other_bits, format!("{text}="), format!(" {text}"), String::new(), "=".repeat(44)]
    {
        assert!(bad.parse::<Hash>().is_err(), "{bad}");
    }
}
