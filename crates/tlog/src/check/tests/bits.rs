//! No bit of a log can be changed unseen.

use super::*;

/// Whether the check finds that a bit of a file was changed, and the file is as before afterwards.
fn is_found(files: &mut MemoryFiles, trust: &Trust<'_>, path: &str, bit: usize) -> bool {
    let flip = |files: &mut MemoryFiles| files.0.get_mut(path).unwrap()[bit / 8] ^= 1 << (bit % 8);
    flip(files);
    let is_found = !check(files, trust).unwrap().is_valid();
    flip(files);
    is_found
}

/// The generator of Sebastiano Vigna, `SplitMix64`: numbers that look random, the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % end as u64) as usize
    }
}

#[test]
fn every_bit_of_a_small_log_counts() {
    let signer = signer();
    let trust = Trust { key: signer.public(), kept: &[], witnesses: &[] };
    let mut files = files_of(&whole(20));
    let lengths: Vec<(String, usize)> =
        files.0.iter().map(|(path, bytes)| (path.clone(), bytes.len())).collect();
    assert_eq!(lengths.len(), 3);
    for (path, length) in lengths {
        for bit in 0..length * 8 {
            assert!(is_found(&mut files, &trust, &path, bit), "{path}, bit {bit}");
        }
    }
    assert!(check(&files, &trust).unwrap().is_valid());
}

/// Changes something, also what a lost file system or an attacker would: bits, lengths, and whole files.
fn change(files: &mut MemoryFiles, numbers: &mut Numbers) {
    let paths: Vec<String> = files.0.keys().cloned().collect();
    if paths.is_empty() {
        return;
    }
    let pick = |numbers: &mut Numbers| paths[numbers.below(paths.len())].clone();
    let (path, other) = (pick(numbers), pick(numbers));
    let other = files.0[&other].clone();
    let bytes = files.0.get_mut(&path).unwrap();
    match numbers.below(6) {
        0 => drop(files.0.remove(&path)),
        1 => *bytes = other,
        2 => bytes.truncate(numbers.below(bytes.len() + 1)),
        3 => bytes.extend_from_slice(&other),
        4 => bytes.reverse(),
        _ if bytes.is_empty() => {}
        _ => {
            let byte = numbers.below(bytes.len());
            bytes[byte] ^= 1 << numbers.below(8);
        }
    }
}

#[test]
fn no_changes_make_up_for_one_another() {
    let signer = signer();
    let trust = Trust { key: signer.public(), kept: &[], witnesses: &[] };
    let mut numbers = Numbers(2);
    for size in [1, 255, 256, 300, 513, 700] {
        let right = files_of(&whole(size));
        for _ in 0..100 {
            let mut files = right.clone();
            for _ in 0..=numbers.below(5) {
                change(&mut files, &mut numbers);
            }
            assert_eq!(check(&files, &trust).unwrap().is_valid(), files == right, "{size}");
        }
    }
}

/// Some of the bits of a larger log in every run, and many if `LLMOS_TEST_FULL` is 1.
#[test]
fn random_bits_of_a_large_log_count() {
    let bits = if std::env::var("LLMOS_TEST_FULL").is_ok_and(|full| full == "1") { 10_000 } else { 500 };
    let signer = signer();
    let trust = Trust { key: signer.public(), kept: &[], witnesses: &[] };
    let mut files = files_of(&whole(10_000));
    let lengths: Vec<(String, usize)> =
        files.0.iter().map(|(path, bytes)| (path.clone(), bytes.len())).collect();
    let total: usize = lengths.iter().map(|(_, length)| length).sum();
    let mut numbers = Numbers(1);
    for _ in 0..bits {
        let mut byte = numbers.below(total);
        let (path, _) = lengths
            .iter()
            .find(|(_, length)| {
                let is_here = byte < *length;
                byte -= if is_here { 0 } else { *length };
                is_here
            })
            .unwrap();
        let bit = byte * 8 + numbers.below(8);
        assert!(is_found(&mut files, &trust, path, bit), "{path}, bit {bit}");
    }
    assert!(check(&files, &trust).unwrap().is_valid());
}
