use tlog::{
    memory::MemoryLog,
    tree::{HashReader, leaf_hash},
};

use super::*;

fn entry(number: u64) -> Vec<u8> {
    format!("entry {number}").into_bytes()
}

fn push(tail: &mut Tail, plain: &mut MemoryLog, number: u64) {
    let entry = entry(number);
    plain.push(&entry).unwrap();
    tail.push(entry.clone().into(), leaf_hash(&entry), Some(u128::from(number / 3)));
}

/// Large enough for three levels of tiles.
const SIZE: u64 = 65_536 + 256 * 3 + 7;

#[test]
fn hashes_tiles_and_edges_are_those_of_a_plain_tree() {
    let (mut tail, mut plain) = (Tail::default(), MemoryLog::new());
    for number in 0..SIZE {
        push(&mut tail, &mut plain, number);
    }
    for level in 0..=16 {
        for index in (0..SIZE >> level).step_by(97) {
            assert_eq!(tail.hash(level, index), plain.hash(level, index).ok(), "{level} {index}");
        }
        assert_eq!(tail.hash(level, SIZE >> level), None);
    }
    for size in [SIZE, 65_536, 300, 5] {
        let grown: Vec<Tile> = Tile::grown(0, size).collect();
        assert_eq!(tail.tiles(size).collect::<Vec<_>>(), grown);
        assert_eq!(tail.full_tiles(size).len() + tail.partial_tiles(size).len(), grown.len());
    }
    assert_eq!(tail.edges().iter().map(Vec::len).collect::<Vec<_>>(), [7, 3, 1]);
    // The same from a header, and it goes on alike.
    let first = SIZE - SIZE % 256;
    let entries = (first..SIZE).map(|number| entry(number).into()).collect();
    let mut begun = Tail::begin(SIZE, tail.edges(), entries).unwrap();
    let full = tail.full_tiles(SIZE);
    tail.forget(&full);
    assert_eq!((tail.first(), tail.size(), tail.hash(0, 0)), (first, SIZE, None));
    for number in SIZE..SIZE + 600 {
        push(&mut tail, &mut plain, number);
        let entry = entry(number);
        begun.push(entry.clone().into(), leaf_hash(&entry), None);
    }
    assert_eq!(begun.edges(), tail.edges());
    assert_eq!(begun.bytes(), tail.bytes());
    for tile in tail.tiles(SIZE + 600) {
        assert_eq!(tail.tile(&tile).unwrap(), begun.tile(&tile).unwrap());
    }
}

#[test]
fn a_header_that_does_not_fit_together_is_no_beginning() {
    let hash = leaf_hash(b"");
    assert!(Tail::begin(0, Vec::new(), Vec::new()).is_some());
    assert!(Tail::begin(1, Vec::new(), Vec::new()).is_none());
    assert!(Tail::begin(1, vec![vec![hash]], Vec::new()).is_none());
    assert!(Tail::begin(1, vec![vec![hash]], vec![Box::from(*b"")]).is_some());
    assert!(Tail::begin(256, vec![vec![], vec![]], Vec::new()).is_none());
    assert!(Tail::begin(256, vec![vec![], vec![hash]], Vec::new()).is_some());
    assert!(Tail::begin(256, vec![vec![], vec![hash], vec![]], Vec::new()).is_none());
}

#[test]
fn ids_are_found_by_block() {
    let (mut tail, mut plain) = (Tail::default(), MemoryLog::new());
    for number in 0..SIZE {
        push(&mut tail, &mut plain, number);
    }
    assert_eq!(tail.find(5), [15, 16, 17]);
    // In both blocks.
    assert_eq!(tail.find(21_845), [65_535, 65_536, 65_537]);
    assert_eq!(tail.ids(1, 65_538), [(21_845, 65_536), (21_845, 65_537)]);
    tail.forget_ids(1);
    assert_eq!(tail.find(21_845), [65_536, 65_537]);
    tail.add_ids(0, [(21_845, 65_535)].into_iter());
    assert_eq!(tail.find(21_845), [65_535, 65_536, 65_537]);
}
