use zeroize::Zeroizing;

use super::*;
use crate::{
    Cosigner, Signer,
    cosignature::cosign,
    memory::{MemoryFiles, MemoryLog},
};

mod bits;

fn signer() -> Signer {
    Signer::from_seed("example.com/log", Zeroizing::new([1; 32])).unwrap()
}

fn entry(index: u64) -> Vec<u8> {
    format!("entry {index}").into_bytes()
}

fn log_of(entries: impl IntoIterator<Item = Vec<u8>>) -> MemoryLog {
    let mut log = MemoryLog::new();
    for entry in entries {
        log.push(&entry).unwrap();
    }
    log
}

fn whole(size: u64) -> MemoryLog {
    log_of((0..size).map(entry))
}

fn files_of(log: &MemoryLog) -> MemoryFiles {
    log.files(&signer()).unwrap()
}

fn checkpoint_of(log: &MemoryLog) -> Checkpoint {
    Checkpoint::new("example.com/log", log.size(), log.root()).unwrap()
}

fn checked(files: &MemoryFiles, kept: &[Checkpoint]) -> Report {
    let signer = signer();
    check(files, &Trust { key: signer.public(), kept, witnesses: &[] }).unwrap()
}

fn problems(files: &MemoryFiles) -> Vec<String> {
    checked(files, &[]).problems.iter().map(Problem::to_string).collect()
}

#[test]
fn logs_of_all_shapes_are_valid() {
    for size in [0, 1, 2, 255, 256, 257, 511, 512, 513, 1000, 65_535, 65_536, 65_537, 66_000] {
        let log = whole(size);
        let kept: Vec<Checkpoint> = [0, 1, 255, 256, 257, 511, 512, 600, 65_535, 65_536]
            .into_iter()
            .filter(|kept| *kept <= size)
            .map(|kept| {
                Checkpoint::new("example.com/log", kept, crate::tree::root(kept, &log).unwrap()).unwrap()
            })
            .collect();
        let report = checked(&files_of(&log), &kept);
        assert_eq!(report.problems, [], "{size}");
        assert_eq!((report.entries, report.kept), (size, kept.len()));
        assert_eq!(report.checkpoint, Some(checkpoint_of(&log)));
    }
}

#[test]
fn what_is_wrong_is_named_where_it_is() {
    let right = files_of(&whole(70_000));
    // Which bytes are changed, and all that is told.
    let cases: [(&str, usize, &[&str]); 8] = [
        ("tile/entries/000", 5, &["tile/entries/000: entry 0 is not the one that was logged"]),
        (
            "tile/entries/273.p/112",
            6,
            &["tile/entries/273.p/112: entry 69888 is not the one that was logged"],
        ),
        ("tile/entries/001", 1, &["tile/entries/001: this is no bundle of entries: "]),
        ("tile/0/004", 33, &["tile/0/004: its hash 1 was changed; what it is the hash of was not"]),
        ("tile/0/273.p/112", 0, &["tile/0/273.p/112: its hash 0 was changed"]),
        ("tile/1/000", 8191, &["tile/1/000: its hash 255 was changed"]),
        ("tile/1/001.p/17", 64, &["tile/1/001.p/17: its hash 2 was changed"]),
        ("tile/2/000.p/1", 0, &["tile/2/000.p/1: its hash 0 was changed"]),
    ];
    for (path, byte, says) in cases {
        let mut files = right.clone();
        files.0.get_mut(path).unwrap()[byte] ^= 0x10;
        let told = problems(&files);
        assert_eq!(told.len(), says.len(), "{path}: {told:?}");
        assert!(told.iter().zip(says).all(|(told, says)| told.starts_with(says)), "{path}: {told:?}");
        let mut files = right.clone();
        files.0.remove(path);
        assert_eq!(problems(&files), [format!("{path}: it is missing")]);
        let mut files = right.clone();
        files.0.get_mut(path).unwrap().pop();
        let told = problems(&files);
        assert!(told.len() == 1 && told[0].starts_with(&format!("{path}: this is no ")), "{told:?}");
        files.0.get_mut(path).unwrap().extend_from_slice(b"ab");
        let told = problems(&files);
        assert!(!told.is_empty() && told.iter().all(|told| told.starts_with(path)), "{told:?}");
    }
}

#[test]
fn entries_and_tiles_that_were_changed_together_are_found() {
    let right = files_of(&whole(1000));
    let forged = files_of(&log_of(
        (0..1000).map(|index| if index == 300 { b"forged".to_vec() } else { entry(index) }),
    ));
    let mut files = right.clone();
    let mut replace = |path: &str| files.0.insert(path.to_owned(), forged.0[path].clone());
    replace("tile/entries/001");
    replace("tile/0/001");
    assert_eq!(
        problems(&files),
        ["tile/0/001: it is not what the level above it says, nor is what is below it"]
    );
    // Up to the root, which nobody else can sign.
    files.0.insert("tile/1/000.p/3".to_owned(), forged.0["tile/1/000.p/3"].clone());
    let told = problems(&files);
    assert!(told.len() == 1 && told[0].contains("was signed"), "{told:?}");
    files.0.insert("checkpoint".to_owned(), forged.0["checkpoint"].clone());
    assert_eq!(problems(&files), Vec::<String>::new(), "without a kept checkpoint, this is a log");
}

#[test]
fn entries_that_were_removed_inserted_or_swapped_are_found() {
    let right = files_of(&whole(600));
    let bundle = |path: &str, entries: Vec<u64>| {
        let mut bytes = Vec::new();
        for index in entries {
            crate::bundle::push(&mut bytes, &entry(index)).unwrap();
        }
        let mut files = right.clone();
        files.0.insert(path.to_owned(), bytes);
        problems(&files)
    };
    let without = (256..512).filter(|index| *index != 300).collect();
    assert!(bundle("tile/entries/001", without)[0].contains("after 255 entries"));
    let mut more: Vec<u64> = (256..512).collect();
    more.insert(5, 1);
    assert!(bundle("tile/entries/001", more)[0].contains("goes on after 256 entries"));
    let mut swapped: Vec<u64> = (256..512).collect();
    swapped.swap(10, 200);
    let told = bundle("tile/entries/001", swapped);
    assert_eq!(told, ["tile/entries/001: entry 266 is not the one that was logged, and 1 other"]);
    // One removed, and the next ones moved up.
    let moved = (256..=512).filter(|index| *index != 300).collect();
    let told = bundle("tile/entries/001", moved);
    assert_eq!(told, ["tile/entries/001: entry 300 is not the one that was logged, and 211 others"]);
}

#[test]
fn a_log_that_was_put_back_or_rewritten_contradicts_what_was_kept() {
    let log = whole(1000);
    let kept = [checkpoint_of(&whole(700)), checkpoint_of(&log)];
    assert_eq!(checked(&files_of(&log), &kept).kept, 2);

    let older = files_of(&whole(700));
    assert_eq!(checked(&older, &[]).problems, [], "without a kept checkpoint, this is a log");
    assert_eq!(checked(&older, &kept).problems, [Problem::Rollback { size: 700, kept: 1000 }]);

    let forged = |place: u64, size: u64| {
        log_of((0..size).map(|index| if index == place { b"forged".to_vec() } else { entry(index) }))
    };
    let rewritten = checked(&files_of(&forged(3, 1200)), &kept);
    let [Problem::Rewritten { size: 700, .. }, Problem::Rewritten { size: 1000, .. }] =
        rewritten.problems[..]
    else {
        panic!("{:?}", rewritten.problems)
    };
    let rewritten = checked(&files_of(&forged(800, 1200)), &kept);
    assert!(matches!(rewritten.problems[..], [Problem::Rewritten { size: 1000, .. }]));
    assert_eq!(rewritten.kept, 1);

    let other = forged(3, 1000);
    let split = checked(&files_of(&other), &kept[1..]);
    let equivocation = Problem::Equivocation { size: 1000, root: other.root(), other: log.root() };
    assert_eq!(split.problems, [equivocation]);
    // Both larger than the log: it is told of both, and of one another.
    let split = checked(&older, &[checkpoint_of(&log), checkpoint_of(&other)]);
    assert!(matches!(
        split.problems[..],
        [Problem::Equivocation { size: 1000, .. }, Problem::Rollback { .. }, Problem::Rollback { .. }]
    ));
}

#[test]
fn a_kept_checkpoint_is_compared_by_the_tree_where_entries_are_gone() {
    let log = whole(1000);
    let kept = [300, 512, 1000].map(|size| {
        Checkpoint::new("example.com/log", size, crate::tree::root(size, &log).unwrap()).unwrap()
    });
    let mut files = files_of(&log);
    files.0.remove("tile/entries/001");
    let report = checked(&files, &kept);
    assert_eq!((report.problems.len(), report.kept), (1, 3));
    files.0.remove("tile/0/001");
    let report = checked(&files, &kept);
    assert_eq!(report.problems.last(), Some(&Problem::Incomparable { size: 300 }));
    assert_eq!((report.problems.len(), report.kept), (3, 2));
}

#[test]
fn files_of_other_sizes_must_agree() {
    let (older, log, newer) = (files_of(&whole(300)), files_of(&whole(1000)), files_of(&whole(1100)));
    let mut files = log.clone();
    for more in [&older, &newer] {
        more.0.iter().filter(|(path, _)| *path != "checkpoint").for_each(|(path, bytes)| {
            files.0.entry(path.clone()).or_insert_with(|| bytes.clone());
        });
    }
    files.0.insert("README.md".to_owned(), b"hello".to_vec());
    files.0.insert("tile/0/x".to_owned(), b"hello".to_vec());
    let report = checked(&files, &[]);
    assert_eq!(report.problems, []);
    // Of 300: two partial tiles, a bundle. Of 1100: two full and two partial of the end, one at level 1.
    assert_eq!((report.leftover, report.beyond, report.unrelated), (3, 5, 2));

    for path in
        ["tile/0/001.p/44", "tile/1/000.p/1", "tile/entries/001.p/44", "tile/0/003", "tile/entries/003"]
    {
        let mut wrong = files.clone();
        wrong.0.get_mut(path).unwrap()[7] ^= 1;
        assert_eq!(checked(&wrong, &[]).problems, [Problem::Leftover(path.parse().unwrap())], "{path}");
        wrong.0.get_mut(path).unwrap().pop();
        assert_eq!(checked(&wrong, &[]).problems, [Problem::Leftover(path.parse().unwrap())], "{path}");
    }
    // The full tile stands in for the partial one, which a log may drop.
    files.0.remove("tile/0/003.p/232");
    files.0.remove("tile/entries/003.p/232");
    assert_eq!(checked(&files, &[]).problems, []);
}

#[test]
fn a_checkpoint_that_is_not_believed_ends_the_check() {
    let mut files = files_of(&whole(10));
    let other = Signer::from_seed("example.com/log", Zeroizing::new([2; 32])).unwrap();
    let trust = Trust { key: other.public(), kept: &[], witnesses: &[] };
    let report = check(&files, &trust).unwrap();
    assert!(matches!(report.problems[..], [Problem::Checkpoint(NoteError::NotSigned { .. })]));
    assert_eq!((report.checkpoint, report.entries), (None, 0));
    files.0.remove("checkpoint");
    assert_eq!(checked(&files, &[]).problems, [Problem::NoCheckpoint]);
    let elsewhere = Checkpoint::new("example.com/other", 0, Hash::empty()).unwrap();
    let signer = signer();
    let trust = Trust { key: signer.public(), kept: &[elsewhere], witnesses: &[] };
    assert!(matches!(check(&files, &trust), Err(CheckError::OtherOrigin { .. })));
}

#[test]
fn witnesses_that_are_asked_for_must_have_cosigned() {
    let log = whole(10);
    let mut files = files_of(&log);
    let [one, two] = ["w1", "w2"].map(|name| {
        let seed = Zeroizing::new([name.as_bytes()[1]; 32]);
        Cosigner::from_seed(name, seed).unwrap()
    });
    let line = cosign(&checkpoint_of(&log), &one, 42).unwrap().to_string();
    files.0.get_mut("checkpoint").unwrap().extend_from_slice(line.as_bytes());
    let signer = signer();
    let checked = |witnesses: &[WitnessKey]| {
        check(&files, &Trust { key: signer.public(), kept: &[], witnesses }).unwrap()
    };
    let report = checked(&[one.public().clone()]);
    assert!(report.is_valid());
    assert_eq!(report.cosigned, [("w1".to_owned(), 42)]);
    let report = checked(&[one.public().clone(), two.public().clone()]);
    assert!(
        matches!(&report.problems[..], [Problem::Cosignature(NoteError::NotSigned { name })] if name == "w2")
    );
}

#[test]
fn a_huge_size_ends_soon() {
    let signer = signer();
    for size in [1 << 62, crate::tree::SIZE_MAX] {
        let note = Checkpoint::new("example.com/log", size, Hash::empty()).unwrap().sign(&signer).unwrap();
        let files = MemoryFiles([("checkpoint".to_owned(), note.into_bytes())].into());
        let report = checked(&files, &[]);
        assert!(report.stopped && !report.is_valid());
        assert_eq!(report.problems.len(), PROBLEMS_MAX);
    }
}

#[test]
fn a_file_that_cannot_be_read_is_no_verdict() {
    struct Broken(MemoryFiles, &'static str);
    impl Files for Broken {
        fn read(&self, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
            if path == self.1 { Err(io::Error::other("disk")) } else { self.0.read(path, limit) }
        }
        fn walk(&self, visit: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
            if self.1.is_empty() { Err(io::Error::other("disk")) } else { self.0.walk(visit) }
        }
    }
    let signer = signer();
    let trust = Trust { key: signer.public(), kept: &[], witnesses: &[] };
    for path in ["checkpoint", "tile/0/000", "tile/entries/001.p/44", "tile/1/000.p/1"] {
        let error = check(&Broken(files_of(&whole(300)), path), &trust).unwrap_err().to_string();
        assert_eq!(error, format!("{path} cannot be read: disk"));
    }
    assert!(matches!(check(&Broken(files_of(&whole(300)), ""), &trust), Err(CheckError::Walk(_))));
}
