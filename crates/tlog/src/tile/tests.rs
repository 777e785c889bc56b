use super::*;
use crate::{memory::MemoryLog, tree};

#[test]
fn paths_are_those_of_the_specification() {
    let cases = [
        (TileKind::Hashes(0), 0, 256, "tile/0/000"),
        (TileKind::Hashes(0), 1_234_067, 1_234_068 * 256, "tile/0/x001/x234/067"),
        (TileKind::Hashes(0), 273, 70_000, "tile/0/273.p/112"),
        (TileKind::Hashes(1), 1, 70_000, "tile/1/001.p/17"),
        (TileKind::Hashes(2), 0, 70_000, "tile/2/000.p/1"),
        (TileKind::Entries, 1000, 256_001, "tile/entries/x001/000.p/1"),
        (TileKind::Hashes(7), 0, SIZE_MAX, "tile/7/000.p/127"),
        (
            TileKind::Entries,
            36_028_797_018_963_967,
            SIZE_MAX,
            "tile/entries/x036/x028/x797/x018/x963/967.p/255",
        ),
    ];
    for (kind, index, size, path) in cases {
        let tile = Tile::of_tree(kind, index, size).unwrap();
        assert_eq!(tile.to_string(), path);
        assert_eq!(path.parse::<Tile>().unwrap(), tile);
        assert_eq!(tile.is_full(), !path.contains(".p/"));
    }
}

#[test]
fn a_path_is_read_only_as_it_is_written() {
    let bad = [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000",
        "tile/0/x000/001",
        "tile/00/001",
        "tile/64/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/0/+01",
        "tile/0/001.p/",
        "tile/0/001.p/0",
        "tile/0/001.p/256",
        "tile/0/001.p/01",
        "tile/0/001.p/1/",
        "tile/0/001/",
        "/tile/0/001",
        "tile//001",
        "tile/0/001.p/1.p/1",
        "tile/0/001/002",
        "tile/0/x001/x002",
        "tile/data/001",
        "tile/0/x1/001",
        "tile/0/X001/001",
        "tile/entries/../checkpoint",
        "tile/0/\u{661}00",
        "tile/0/001 ",
        "tile/0/x036/x028/x797/x018/x963/968",
        "tile/0/x999/x999/x999/x999/x999/x999/x999/999",
    ];
    for path in bad {
        assert!(path.parse::<Tile>().is_err(), "{path}");
    }
    assert!("tile/63/000".parse::<Tile>().is_ok());
}

#[test]
fn a_tree_has_the_tiles_of_the_specification() {
    let count = |level, width| {
        let kind = TileKind::Hashes(level);
        let all = Tile::grown(0, 70_000).filter(|tile| tile.kind() == kind && tile.width() == width);
        all.count()
    };
    assert_eq!([count(0, 256), count(0, 112), count(1, 256), count(1, 17), count(2, 1)], [273, 1, 1, 1, 1]);
    assert_eq!(Tile::grown(0, 70_000).count(), 277 + 274);
    let paths = |old, new| Tile::grown(old, new).map(|tile| tile.to_string()).collect::<Vec<_>>();
    assert_eq!(paths(0, 256), ["tile/entries/000", "tile/0/000", "tile/1/000.p/1"]);
    assert_eq!(paths(0, 0), Vec::<String>::new());
    assert_eq!(paths(256, 256), Vec::<String>::new());
    assert_eq!(Tile::grown(SIZE_MAX - 1, SIZE_MAX).count(), 2);
    assert_eq!(paths(256, 258), ["tile/entries/001.p/2", "tile/0/001.p/2"]);
    assert_eq!(
        paths(255, 257),
        ["tile/entries/000", "tile/entries/001.p/1", "tile/0/000", "tile/0/001.p/1", "tile/1/000.p/1",]
    );
}

#[test]
fn proofs_come_out_of_tiles_as_out_of_the_tree() {
    let mut log = MemoryLog::new();
    for index in 0..1500_u64 {
        log.push(&index.to_be_bytes()).unwrap();
    }
    let seed = zeroize::Zeroizing::new([1; 32]);
    let signer = crate::Signer::from_seed("example.com/log", seed).unwrap();
    for size in [1, 2, 255, 256, 257, 511, 513, 1024, 1500] {
        let mut part = MemoryLog::new();
        for index in 0..size {
            part.push(&u64::to_be_bytes(index)).unwrap();
        }
        let files = part.files(&signer).unwrap().0;
        let tiles =
            TileHashes::new(size, |tile: &Tile| files.get(&tile.to_string()).cloned().ok_or("missing"));
        assert_eq!(tree::root(size, &tiles).unwrap(), tree::root(size, &log).unwrap());
        for index in (0..size).step_by(37) {
            let proof = tree::inclusion_proof(index, size, &tiles).unwrap();
            assert_eq!(proof, tree::inclusion_proof(index, size, &log).unwrap());
            let proof = tree::consistency_proof(index, size, &tiles).unwrap();
            assert_eq!(proof, tree::consistency_proof(index, size, &log).unwrap());
        }
        assert!(matches!(tiles.hash(0, size), Err(TileError::Beyond { .. })));
        assert!(matches!(tiles.hash(63, u64::MAX), Err(TileError::Beyond { .. })));
    }
    let short = TileHashes::new(3, |_: &Tile| Ok::<_, &str>(vec![0; 95]));
    assert!(matches!(short.hash(0, 0), Err(TileError::Format { .. })));
}
