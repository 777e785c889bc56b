use super::*;

fn chain(byte: u8) -> Hash {
    Hash([byte; HASH_BYTES])
}

fn records() -> Vec<Record> {
    vec![
        Record { kind: Kind::Begin, id: Some(u128::MAX), entry: b"begin".to_vec() },
        Record { kind: Kind::End { begin: u64::MAX }, id: None, entry: vec![0; 3_000] },
        Record { kind: Kind::Alone, id: Some(0), entry: b"a".to_vec() },
        Record { kind: Kind::End { begin: 3 }, id: Some(5), entry: b"end".to_vec() },
    ]
}

fn group(records: &[Record]) -> (Vec<u8>, Hash) {
    let mut writer = GroupWriter::new();
    for record in records {
        assert_eq!(writer.push(record.kind, record.id, &record.entry), leaf_hash(&record.entry));
    }
    let (bytes, chain) = writer.seal(10, chain(1), chain(2));
    (bytes.to_vec(), chain)
}

#[test]
fn a_group_is_read_as_it_was_written() {
    let (bytes, after) = group(&records());
    let head = GroupHead::decode(&bytes, chain(2)).unwrap();
    let records_bytes: usize = records().iter().map(|one| record_bytes(one.kind, one.id, &one.entry)).sum();
    assert_eq!((head.first, head.bytes(), head.pages()), (10, bytes.len(), group_pages(records_bytes)));
    assert_eq!(bytes.len(), GROUP_AROUND_BYTES + records_bytes);
    let (read, read_chain) = head.open(&bytes, chain(1)).unwrap();
    assert_eq!(read.iter().map(|(record, _)| record.clone()).collect::<Vec<_>>(), records());
    assert_eq!(read_chain, after);
}

#[test]
fn a_group_is_whole_only_where_it_was_written() {
    let (bytes, _) = group(&records());
    assert!(GroupHead::decode(&bytes, chain(3)).is_none());
    let head = GroupHead::decode(&bytes, chain(2)).unwrap();
    assert!(head.open(&bytes, chain(3)).is_none());
}

#[test]
fn every_bit_of_a_group_counts_and_every_byte() {
    let (bytes, _) = group(&records()[..1]);
    let open = |bytes: &[u8]| GroupHead::decode(bytes, chain(2)).and_then(|head| head.open(bytes, chain(1)));
    assert!(open(&bytes).is_some());
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&changed).is_none(), "bit {bit}");
    }
    for length in 0..bytes.len() {
        assert!(open(&bytes[..length]).is_none(), "{length} bytes");
    }
}

#[test]
fn a_writer_is_used_again() {
    let mut writer = GroupWriter::new();
    writer.push(Kind::Alone, None, b"first");
    writer.seal(0, chain(1), chain(2));
    writer.clear();
    for record in &records() {
        writer.push(record.kind, record.id, &record.entry);
    }
    let (bytes, _) = writer.seal(10, chain(1), chain(2));
    assert_eq!(bytes, group(&records()).0);
}

#[test]
fn a_header_is_read_as_it_was_written_and_every_bit_counts() {
    let header = Header {
        first: 70_000,
        chain: chain(4),
        edges: vec![vec![chain(5); 112], vec![chain(6); 17], vec![chain(7)]],
        open: vec![3, 69_999],
    };
    let mut bytes = header.encode();
    let length = bytes.len();
    bytes.resize(HEADER_PAGES as usize * PAGE_BYTES, 0);
    assert_eq!(Header::decode(&bytes), Some(header));
    for at in 0..length {
        bytes[at] ^= 1;
        assert_eq!(Header::decode(&bytes), None, "byte {at}");
        bytes[at] ^= 1;
    }
    assert_eq!(Header::decode(&bytes[..length - 1]), None);
    assert_eq!(Header::decode(&[]), None);
}
