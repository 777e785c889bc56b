use super::*;
use crate::log::segment::{GroupWriter, Kind};

const DATA: usize = HEADER_PAGES as usize * PAGE_BYTES;

/// A segment of three groups, of which the last has seven sectors.
fn segment() -> (Header, Vec<u8>, usize) {
    let header = Header { first: 5, chain: Hash([9; 32]), edges: Vec::new(), open: Vec::new() };
    let mut bytes = vec![0; DATA + 8 * PAGE_BYTES];
    let (mut chain, mut at, mut index, mut last) = (header.chain, DATA, header.first, 0);
    for lengths in [&[300][..], &[5_000, 40], &[1_500, 1_500, 200]] {
        let mut group = GroupWriter::new();
        for length in lengths {
            group.push(Kind::Alone, Some(index.into()), &vec![b'x'; *length]);
        }
        let (written, next) = group.seal(index, chain, header.chain);
        bytes[at..at + written.len()].copy_from_slice(written);
        (chain, last) = (next, at + written.len());
        at += written.len().next_multiple_of(PAGE_BYTES);
        index += lengths.len() as u64;
    }
    (header, bytes, last)
}

#[test]
fn a_whole_segment_is_read() {
    let (header, bytes, _) = segment();
    let scanned = scan(&bytes, &header, true).unwrap();
    assert_eq!((scanned.records.len(), scanned.torn_bytes), (6, 0));
    assert_eq!(scanned.end_page, HEADER_PAGES + 4);
    assert_eq!(scanned.records[5].0.id, Some(8));
}

#[test]
fn whichever_sectors_of_the_last_group_arrived_it_is_cut_and_no_other() {
    let (header, whole, end) = segment();
    let start = DATA + 3 * PAGE_BYTES;
    let sectors = (end - start).div_ceil(SECTOR_BYTES);
    assert_eq!(sectors, 7);
    for arrived in 0..1_u32 << sectors {
        let mut bytes = whole.clone();
        for sector in (0..sectors).filter(|sector| arrived >> sector & 1 == 0) {
            let at = start + sector * SECTOR_BYTES;
            bytes[at..at + SECTOR_BYTES].fill(0);
        }
        let scanned = scan(&bytes, &header, true).unwrap();
        let is_whole = arrived == (1 << sectors) - 1;
        assert_eq!(scanned.records.len(), if is_whole { 6 } else { 3 }, "{arrived:b}");
        assert_eq!(scanned.torn_bytes > 0, !is_whole && arrived > 0, "{arrived:b}");
        // In a segment that others follow nothing may be torn.
        assert_eq!(scan(&bytes, &header, false).is_err(), scanned.torn_bytes > 0, "{arrived:b}");
    }
    for length in start..end {
        let mut bytes = whole.clone();
        bytes[length..].fill(0);
        let scanned = scan(&bytes, &header, true).unwrap();
        // Zeros of its own at the end are not told from those behind it.
        assert!(scanned.records.len() == 3 && scanned.torn_bytes <= length - start, "{length}");
        assert_eq!(scanned.torn_bytes == 0, length == start, "{length}");
    }
}

#[test]
fn every_bit_that_changes_is_damage() {
    let (header, mut bytes, end) = segment();
    for at in DATA..DATA + 4 * PAGE_BYTES {
        for bit in [1, 128] {
            bytes[at] ^= bit;
            assert!(scan(&bytes, &header, true).is_err(), "byte {at} of the groups up to {end}");
            bytes[at] ^= bit;
        }
    }
}

#[test]
fn an_entry_that_looks_like_a_group_hides_nothing() {
    // A group within an entry, at the beginning of a page, as somebody would write who does not know the chain.
    let (header, mut bytes, _) = segment();
    let mut inner = GroupWriter::new();
    inner.push(Kind::Alone, None, b"inner");
    let (inner, _) = inner.seal(11, Hash([0; 32]), Hash([0; 32]));
    let start = DATA + 4 * PAGE_BYTES;
    let mut entry = vec![b'x'; 9_000];
    // What stands in front of the entry in its group: 60 and 5 bytes.
    entry[PAGE_BYTES - 65..][..inner.len()].copy_from_slice(inner);
    let scanned = scan(&bytes, &header, true).unwrap();
    let mut group = GroupWriter::new();
    group.push(Kind::Alone, None, &entry);
    let (written, _) = group.seal(11, scanned.chain, header.chain);
    bytes[start..start + written.len() - 3_000].copy_from_slice(&written[..written.len() - 3_000]);
    let scanned = scan(&bytes, &header, true).unwrap();
    assert_eq!((scanned.records.len(), scanned.torn_bytes), (6, written.len() - 3_000));
}
