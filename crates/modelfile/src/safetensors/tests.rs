use std::io::Cursor;

use super::*;
use crate::damage::Damage;

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend(header.as_bytes());
    bytes.extend((0..data).map(|byte| byte as u8));
    bytes
}

fn read(bytes: &[u8]) -> Result<Safetensors, ModelFileError> {
    Safetensors::read(&mut &bytes[..], bytes.len() as u64)
}

const GOOD: &str = r#"{"__metadata__":{"format":"pt"},
    "b":{"dtype":"F32","shape":[2,3],"data_offsets":[4,28]},
    "a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},
    "empty":{"dtype":"I64","shape":[0,7],"data_offsets":[28,28]},
    "scalar":{"dtype":"U8","shape":[],"data_offsets":[28,29]}}   "#;

#[test]
fn a_good_file() {
    let bytes = file(GOOD, 29);
    let read = read(&bytes).unwrap();
    assert_eq!(read.metadata["format"], "pt");
    let names: Vec<&str> = read.tensors.iter().map(|tensor| tensor.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "empty", "scalar"]);
    let mut data = Vec::new();
    let tensor = read.tensor("b").unwrap();
    assert_eq!((tensor.kind, &tensor.shape[..]), (ElementType::F32, &[2, 3][..]));
    read.data(tensor, &mut Cursor::new(&bytes), |piece| {
        data.extend_from_slice(piece);
        Ok::<_, ModelFileError>(())
    })
    .unwrap();
    assert_eq!(data, (4..28).collect::<Vec<u8>>());
}

#[test]
fn data_comes_in_pieces_and_stops_where_it_is_told_to() {
    let header = r#"{"a":{"dtype":"F32","shape":[50000],"data_offsets":[0,200000]}}"#;
    let bytes = file(header, 200_000);
    let read = read(&bytes).unwrap();
    let mut pieces = Vec::new();
    let all = read.data(&read.tensors[0], &mut Cursor::new(&bytes), |piece| {
        pieces.push(piece.len());
        Ok::<_, ModelFileError>(())
    });
    assert_eq!((all, pieces), (Ok(()), vec![65536, 65536, 65536, 3392]));
    let stopped = read.data(&read.tensors[0], &mut Cursor::new(&bytes), |_| Err(ModelFileError::BigEndian));
    assert_eq!(stopped, Err(ModelFileError::BigEndian));
    let cut = read.data(&read.tensors[0], &mut Cursor::new(&bytes[..1000]), |_| Ok::<_, ModelFileError>(()));
    assert!(matches!(cut, Err(ModelFileError::CannotRead { .. })), "{cut:?}");
}

#[test]
fn hostile_headers_are_refused() {
    let one = |entry: &str| format!(r#"{{"a":{entry}}}"#);
    let tensor = |shape: &str, offsets: &str| {
        one(&format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}"#))
    };
    let many = |count: usize| {
        format!("{{{}}}", (0..count).map(|n| format!(r#""{n}":"""#)).collect::<Vec<_>>().join(","))
    };
    let cases: Vec<(String, usize, &str)> = vec![
        (String::new(), 0, "cannot be read"),
        ("[]".to_owned(), 0, "an object of tensors"),
        ("{".repeat(9999), 0, "cannot be read"),
        (one(&"[".repeat(9999)), 0, "cannot be read"),
        (one("7"), 0, "cannot be read"),
        (one(r#"{"dtype":"F32","shape":[1]}"#), 4, "missing field `data_offsets`"),
        (one(r#"{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}"#), 4, "duplicate field `dtype`"),
        (one(r#"{"dtype":"F32","shape":[1],"data_offsets":[0,4],"more":[[[]]]}"#), 4, "unknown field `more`"),
        (one(r#"{"dtype":"F4","shape":[1],"data_offsets":[0,4]}"#), 4, "unknown variant `F4`"),
        (tensor("[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4, "a shape has more than 8 dimensions"),
        (tensor("[-1]", "[0,4]"), 4, "cannot be read"),
        (tensor("[1.5]", "[0,4]"), 4, "cannot be read"),
        (tensor("[18446744073709551616]", "[0,4]"), 4, "cannot be read"),
        (tensor("[4294967296,4294967296]", "[0,4]"), 4, "do not fill it exactly"),
        (tensor("[4611686018427387904]", "[0,0]"), 0, "do not fill it exactly"),
        (tensor("[1]", "[0,8]"), 8, "do not fill it exactly"),
        (tensor("[1]", "[4,0]"), 4, "leaves a gap after the data before it, which ends at offset 0"),
        (tensor("[1]", "[4,8]"), 8, "leaves a gap after"),
        (tensor("[1]", "[0,4,8]"), 8, "cannot be read"),
        (tensor("[1]", "[0,4]"), 3, "the data at byte 62 needs 4 bytes, and 3 are left"),
        (tensor("[1]", "[0,4]"), 5, "1 more bytes follow that no tensor has"),
        (
            r#"{"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[3],"data_offsets":[2,5]}}"#.to_owned(),
            5,
            "the data of tensor `b` at byte 115 overlaps the data before it, which ends at offset 4",
        ),
        (
            r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}"#.to_owned(),
            2,
            "`a` is there twice",
        ),
        (r#"{"__metadata__":{},"__metadata__":{}}"#.to_owned(), 0, "`__metadata__` is there twice"),
        (r#"{"__metadata__":{"a":1}}"#.to_owned(), 0, "cannot be read"),
        (r#"{"__metadata__":{"a":{"b":"c"}}}"#.to_owned(), 0, "cannot be read"),
        (format!(r#"{{"__metadata__":{}}}"#, many(257)), 0, "has more than 256 entries"),
        (format!(r#"{{"{}":{{}}}}"#, "n".repeat(257)), 0, "at most 256 bytes and no control characters"),
        (r#"{"a\u0000b":{}}"#.to_owned(), 0, "no control characters"),
        (tensor("[1]", "[0,4]") + "x", 4, "trailing characters"),
    ];
    for (header, data, expected) in cases {
        let refused = read(&file(&header, data)).unwrap_err().to_string();
        assert!(refused.contains(expected), "`{refused}` lacks `{expected}`");
    }
}

#[test]
fn lengths_that_lie_are_refused_before_there_is_room_for_them() {
    let mut bytes = file(GOOD, 29);
    let cases = [
        (
            u64::MAX,
            "the length in bytes of the header at byte 0 is 18446744073709551615, more than the 8388608",
        ),
        (HEADER_BYTES_MAX + 1, "more than the 8388608"),
        (HEADER_BYTES_MAX, "the header at byte 8 needs 8388608 bytes, and"),
        (0, "cannot be read"),
    ];
    for (length, expected) in cases {
        bytes[..8].copy_from_slice(&length.to_le_bytes());
        let refused = read(&bytes).unwrap_err().to_string();
        assert!(refused.contains(expected), "`{refused}` lacks `{expected}`");
    }
}

#[test]
fn every_prefix_of_a_file_is_refused() {
    let bytes = file(GOOD, 29);
    for length in 0..bytes.len() {
        let refused = read(&bytes[..length]).unwrap_err();
        assert!(matches!(refused, ModelFileError::Cut { .. }), "{length} bytes: {refused}");
        let refused = Safetensors::read(&mut &bytes[..length.min(100)], bytes.len() as u64).unwrap_err();
        assert!(matches!(refused, ModelFileError::Cut { .. }), "{length} bytes: {refused}");
    }
}

#[test]
fn damaged_files_are_read_or_refused() {
    let good = file(GOOD, 29);
    let head = good.len() - 29;
    let (mut accepted, mut refused) = (0, 0);
    for mut damage in Damage::rounds() {
        let bytes = damage.of(&good, head);
        let Ok(read) = read(&bytes) else {
            refused += 1;
            continue;
        };
        accepted += 1;
        let mut end = 0;
        for tensor in &read.tensors {
            assert_eq!(tensor.begin, end);
            assert_eq!(tensor.shape.iter().product::<u64>() * tensor.kind.bytes(), tensor.end - tensor.begin);
            end = tensor.end;
        }
        assert_eq!(read.data_offset + end, bytes.len() as u64);
    }
    assert!(
        accepted > 30 && refused > 30,
        "{accepted} accepted, {refused} refused: the damage does not reach"
    );
}
