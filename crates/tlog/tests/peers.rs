//! The same trees, proofs, paths and texts as those of other programs of the field.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used)]

use ct_merkle::mem_backed_tree::MemoryBackedTree;
use sha2::Sha256;
use tlog::{
    Checkpoint,
    memory::MemoryLog,
    tile::{Tile, TileKind},
    tree::{Hash, consistency_proof, inclusion_proof, leaf_hash, node_hash, root},
};
use tlog_tiles::tlog as peer;

const SIZE: u64 = 300;

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn log_of(size: u64) -> MemoryLog {
    let mut log = MemoryLog::new();
    for index in 0..size {
        log.push(&entry(index)).unwrap();
    }
    log
}

/// The hashes of the peer's store.
struct Stored(Vec<peer::Hash>);

impl peer::HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<peer::Hash>, peer::Error> {
        Ok(indexes.iter().map(|index| self.0[*index as usize]).collect())
    }
}

fn stored(size: u64) -> Stored {
    let mut stored = Stored(Vec::new());
    for index in 0..size {
        let more = peer::stored_hashes(index, &entry(index), &stored).unwrap();
        stored.0.extend(more);
    }
    stored
}

#[test]
fn trees_and_proofs_are_those_of_ct_merkle() {
    let log = log_of(SIZE);
    let mut tree = MemoryBackedTree::<Sha256, Vec<u8>>::new();
    let bytes = |proof: Vec<Hash>| proof.iter().flat_map(|hash| hash.0).collect::<Vec<u8>>();
    assert_eq!(tree.root().as_bytes().as_slice(), Hash::empty().0);
    for size in 1..=SIZE {
        tree.push(entry(size - 1));
        assert_eq!(tree.root().as_bytes().as_slice(), root(size, &log).unwrap().0, "{size}");
        for index in 0..size {
            let ours = bytes(inclusion_proof(index, size, &log).unwrap());
            assert_eq!(tree.prove_inclusion(index as usize).as_bytes(), ours, "{index} in {size}");
        }
        for old in 1..=size {
            let ours = bytes(consistency_proof(old, size, &log).unwrap());
            let theirs = tree.prove_consistency((size - old) as usize);
            assert_eq!(theirs.as_bytes(), ours, "{old} to {size}");
        }
    }
}

#[test]
fn trees_and_proofs_are_those_of_tlog_tiles() {
    let log = log_of(SIZE);
    let stored = stored(SIZE);
    let ours = |proof: Vec<Hash>| proof.into_iter().map(|hash| peer::Hash(hash.0)).collect::<Vec<_>>();
    assert_eq!(peer::record_hash(b"entry").0, leaf_hash(b"entry").0);
    let [one, two] = [b"1", b"2"].map(|entry| leaf_hash(entry));
    assert_eq!(peer::node_hash(peer::Hash(one.0), peer::Hash(two.0)).0, node_hash(&one, &two).0);
    for size in 1..=SIZE {
        assert_eq!(peer::tree_hash(size, &stored).unwrap().0, root(size, &log).unwrap().0);
        for other in (0..size).step_by(3) {
            let inclusion = peer::prove_record(size, other, &stored).unwrap();
            assert_eq!(inclusion, ours(inclusion_proof(other, size, &log).unwrap()), "{other} in {size}");
            let consistency = peer::prove_tree(size, other + 1, &stored).unwrap();
            assert_eq!(consistency, ours(consistency_proof(other + 1, size, &log).unwrap()));
        }
    }
}

#[test]
fn tiles_are_those_of_tlog_tiles() {
    let sizes = [0, 1, 255, 256, 257, 1000, 65_535, 65_536, 65_537, 70_000, 300_000];
    for (place, old) in sizes.into_iter().enumerate() {
        for new in sizes.into_iter().skip(place) {
            let theirs = tlog_tiles::Tile::new_tiles(8, old, new);
            let theirs: Vec<String> = theirs.iter().map(tlog_tiles::Tile::path).collect();
            let hashes = Tile::grown(old, new).filter(|tile| tile.kind() != TileKind::Entries);
            // Theirs have the height of their tiles in the path; those of the log's files always have 8.
            let ours: Vec<String> =
                hashes.map(|tile| tile.to_string().replacen("tile/", "tile/8/", 1)).collect();
            assert_eq!(ours, theirs, "{old} to {new}");
        }
    }
}

#[test]
fn bytes_of_tiles_are_those_of_tlog_tiles() {
    let size = 1000;
    let signer = tlog::Signer::from_seed("example.com/log", zeroize::Zeroizing::new([1; 32])).unwrap();
    let files = log_of(size).files(&signer).unwrap().0;
    let stored = stored(size);
    for tile in tlog_tiles::Tile::new_tiles(8, 0, size) {
        let path = tile.path().replacen("tile/8/", "tile/", 1);
        assert_eq!(files[&path], tile.read_data(&stored).unwrap(), "{path}");
    }
}

#[test]
fn checkpoints_are_those_of_tlog_tiles() {
    let hash = leaf_hash(b"root");
    for (size, extensions) in [(0, ""), (1, ""), (20_852_163, "one\n"), (i64::MAX as u64, "one\ntwo\n")] {
        let theirs =
            tlog_tiles::Checkpoint::new("example.com/log", size, peer::Hash(hash.0), extensions).unwrap();
        let mut ours = Checkpoint::new("example.com/log", size, hash).unwrap();
        for line in extensions.lines() {
            ours = ours.with_extension(line).unwrap();
        }
        assert_eq!(theirs.to_bytes(), ours.to_string().into_bytes());
        assert_eq!(Checkpoint::parse(&ours.to_string()).unwrap(), ours);
    }
}
