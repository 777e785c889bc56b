//! Hostile files: a table of them, every prefix of a good one, and thousands of damaged ones.

use std::io::{self, Read};

use super::*;
use crate::{ModelFileError, damage::Damage};

/// A file written by hand, so that nothing in it has to be right.
#[derive(Clone)]
struct Raw {
    version: u32,
    keys: u64,
    tensors: u64,
    rest: Vec<u8>,
}

fn raw() -> Raw {
    Raw { version: 3, keys: 0, tensors: 0, rest: Vec::new() }
}

impl Raw {
    fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Says that there are this many keys and tensors, whatever follows.
    fn says(mut self, keys: u64, tensors: u64) -> Self {
        (self.keys, self.tensors) = (keys, tensors);
        self
    }

    fn text(mut self, text: &[u8]) -> Self {
        self.rest.extend((text.len() as u64).to_le_bytes());
        self.rest.extend(text);
        self
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.rest.extend(bytes);
        self
    }

    fn u32(self, number: u32) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    fn u64(self, number: u64) -> Self {
        self.bytes(&number.to_le_bytes())
    }

    fn key(mut self, key: &str, kind: u32) -> Self {
        self.keys += 1;
        self.text(key.as_bytes()).u32(kind)
    }

    fn array(self, key: &str, kind: u32, length: u64) -> Self {
        self.key(key, ValueType::Array.number()).u32(kind).u64(length)
    }

    fn tensor(mut self, name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Self {
        self.tensors += 1;
        let described = self.text(name.as_bytes()).u32(dimensions.len() as u32);
        dimensions.iter().fold(described, |raw, dimension| raw.u64(*dimension)).u32(kind).u64(offset)
    }

    fn build(self) -> Vec<u8> {
        let mut bytes = b"GGUF".to_vec();
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.tensors.to_le_bytes());
        bytes.extend(self.keys.to_le_bytes());
        bytes.extend(self.rest);
        bytes
    }
}

fn read(bytes: &[u8]) -> Result<Gguf, ModelFileError> {
    Gguf::read(&mut &bytes[..], bytes.len() as u64)
}

const TEXT: u32 = 8;
const U32: u32 = 4;
const F32: u32 = 0;
const Q4_0: u32 = 2;

#[test]
fn hostile_files_are_refused_with_the_place_and_the_limit() {
    let zeros = |count: usize| vec![0; count];
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (Vec::new(), "the name of the format at byte 0 needs 4 bytes, and 0 are left"),
        (b"GG".to_vec(), "needs 4 bytes, and 2 are left"),
        (b"PK\x03\x04rest of an archive".to_vec(), r"begins with `PK\x03\x04`"),
        (b"GGUF\x03\0".to_vec(), "the version at byte 4 needs 4 bytes"),
        (raw().version(1).build(), "GGUF version 1, and versions 2 and 3"),
        (raw().version(0).build(), "GGUF version 0"),
        (raw().version(4).build(), "GGUF version 4"),
        (raw().version(3 << 24).build(), "big-endian"),
        // Counts.
        (
            raw().says(u64::MAX, 0).build(),
            "the number of keys at byte 16 is 18446744073709551615, more than the 4096",
        ),
        (
            raw().says(0, 1 << 40).build(),
            "the number of tensors at byte 8 is 1099511627776, more than the 65536",
        ),
        (raw().says(4096, 0).build(), "needs 57344 bytes, and 0 are left"),
        (raw().says(0, 65536).build(), "ends too early: the number of tensors"),
        (raw().says(2, 0).key("a.b", U32).u32(1).bytes(&zeros(40)).build(), "key 1 of the metadata"),
        // Keys.
        (
            raw().says(1, 0).u64(u64::MAX).bytes(&zeros(40)).build(),
            "key 0 of the metadata at byte 32 needs 18446744073709551615 bytes",
        ),
        (
            raw().key(&"k".repeat(257), U32).u32(1).build(),
            "the number of bytes of key 0 of the metadata at byte 24 is 257, more than the 256",
        ),
        (raw().key("", U32).u32(1).bytes(&zeros(8)).build(), "is ``, and a key is printable ASCII"),
        (raw().key("a b", U32).u32(1).build(), "printable ASCII without spaces"),
        (raw().key("a\0b", U32).u32(1).build(), r"`a\0b`"),
        (raw().says(1, 0).text(b"\xff\xfe").u32(U32).u32(1).build(), "is not UTF-8 from its byte 0 on"),
        (
            raw().key("a", U32).u32(1).key("a", U32).u32(2).build(),
            "key 1 of the metadata at byte 41 is `a`, which stands there before",
        ),
        // Values.
        (raw().key("a", 13).u32(1).build(), "the value of `a` at byte 33 has type 13"),
        (raw().key("a", u32::MAX).u32(1).build(), "has type 4294967295, and types are 0 to 12"),
        (raw().key("a", 7).bytes(&[2]).build(), "is 2, and a truth value is 0 or 1"),
        (
            raw().key("a", TEXT).u64(1 << 60).build(),
            "the value of `a` at byte 45 needs 1152921504606846976 bytes, and 0 are left",
        ),
        (raw().key("a", TEXT).text(b"ok\x80").build(), "is not UTF-8 from its byte 2 on"),
        (
            raw().key("a", TEXT).text(&[b"x".repeat(70_000), b"\xc3".to_vec()].concat()).build(),
            "is not UTF-8 from its byte 70000 on",
        ),
        (
            raw().key("tokenizer.chat_template", TEXT).text(&b"x".repeat(262_145)).build(),
            "the value of `tokenizer.chat_template` at byte 59 is 262145, more than the 262144",
        ),
        (
            raw().key("tokenizer.chat_template.tool_use", TEXT).text(&b"x".repeat(262_145)).build(),
            "more than the 262144",
        ),
        // Arrays.
        (raw().array("a", 9, 1).u32(U32).u64(0).build(), "is an array of arrays"),
        (raw().array("a", 14, 1).build(), "has type 14"),
        (raw().array("a", U32, 1 << 62).build(), "needs 18446744073709551615 bytes"),
        (raw().array("a", U32, u64::MAX / 4 + 2).bytes(&zeros(64)).build(), "and 64 are left"),
        (raw().array("a", U32, 17).bytes(&zeros(64)).build(), "needs 68 bytes, and 64 are left"),
        (
            raw().array("a", 0, (4 << 20) + 1).bytes(&zeros((4 << 20) + 1)).build(),
            "the number of elements of the value of `a` at byte 41 is 4194305, more than the 4194304",
        ),
        (raw().array("a", 7, 2).bytes(&[1, 7]).build(), "element 1 of `a` at byte 50 is 7"),
        (raw().array("a", TEXT, 2).text(b"x").text(b"\xff").build(), "element 1 of `a`"),
        (
            raw().array("a", TEXT, 2).text(b"x").u64(99).build(),
            "element 1 of `a` at byte 66 needs 99 bytes, and 0 are left",
        ),
        (
            raw().array("a", TEXT, 1).text(&b"x".repeat(65_537)).build(),
            "the number of bytes of element 0 of `a` at byte 49 is 65537, more than the 65536",
        ),
        (
            raw().array("tokenizer.ggml.tokens", TEXT, 3).text(b"a").text(b"b").text(b"a").build(),
            "has 1 tokens that stand in it before",
        ),
        // llama.cpp sees the text before the NUL only.
        (raw().array("tokenizer.ggml.tokens", TEXT, 2).text(b"a\0b").text(b"a\0c").build(), "has 1 tokens"),
        (raw().array("tokenizer.ggml.tokens", TEXT, 2).text(b"[EMPTY_1]").text(b"").build(), "has 1 tokens"),
        (
            raw().array("tokenizer.ggml.tokens", TEXT, (1 << 20) + 1).bytes(&zeros(9 << 20)).build(),
            "the number of tokens of the value of `tokenizer.ggml.tokens` at byte 69 is 1048577, more than the 1048576",
        ),
        // Alignment and parts.
        (
            raw().key("general.alignment", U32).u32(0).build(),
            "`general.alignment` is 0, and must be a power of two",
        ),
        (raw().key("general.alignment", U32).u32(48).build(), "is 48"),
        (raw().key("general.alignment", U32).u32(1 << 31).build(), "up to 2097152"),
        (raw().key("general.alignment", 10).u64(32).build(), "has type u64, and must have u32"),
        (raw().key("split.count", 2).bytes(&[3, 0]).build(), "one of 3 parts of a model (`split.count`)"),
        (raw().key("split.count", U32).u32(3).build(), "`split.count` has type u32, and must have u16"),
        // Tensors.
        (raw().tensor("", &[1], F32, 0).bytes(&zeros(64)).build(), "the name of tensor 0 at byte 24 is ``"),
        (raw().tensor("a\nb", &[1], F32, 0).bytes(&zeros(64)).build(), r"is `a\nb`"),
        (raw().tensor(&"n".repeat(64), &[1], F32, 0).bytes(&zeros(64)).build(), "is 64, more than the 63"),
        (raw().tensor("a", &[], F32, 0).bytes(&zeros(64)).build(), "tensor `a` at byte 33 has 0 dimensions"),
        (raw().tensor("a", &[1; 5], F32, 0).bytes(&zeros(64)).build(), "has 5 dimensions, and 1 to 4"),
        (raw().tensor("a", &[4, 0], F32, 0).bytes(&zeros(64)).build(), "has a dimension of 0"),
        (
            raw().tensor("a", &[u64::MAX], F32, 0).bytes(&zeros(64)).build(),
            "has more than 9223372036854775807 elements",
        ),
        (
            raw().tensor("a", &[1 << 32, 1 << 32], F32, 0).bytes(&zeros(64)).build(),
            "has more than 9223372036854775807",
        ),
        (
            raw().tensor("a", &[1 << 62], F32, 0).bytes(&zeros(64)).build(),
            "has more bytes than 64 bits count",
        ),
        (
            raw().tensor("a", &[1], 4, 0).bytes(&zeros(64)).build(),
            "has type 4, which was removed from the format",
        ),
        (raw().tensor("a", &[1], 43, 0).bytes(&zeros(64)).build(), "has type 43, which is not known"),
        (
            raw().tensor("a", &[33], Q4_0, 0).bytes(&zeros(64)).build(),
            "has rows of 33 elements, and Q4_0 needs multiples of 32",
        ),
        (
            raw().tensor("a", &[1], F32, 8).bytes(&zeros(64)).build(),
            "at offset 8, no multiple of the alignment 32",
        ),
        (raw().tensor("a", &[1], F32, 32).bytes(&zeros(64)).build(), "leaves a gap before it"),
        (
            raw().tensor("a", &[16], F32, 0).tensor("b", &[16], F32, 32).bytes(&zeros(256)).build(),
            "tensor `b` at byte 82 overlaps the tensor before it: its data is at offset 32, and must be at 64",
        ),
        (
            raw().tensor("a", &[8], F32, 0).tensor("a", &[8], F32, 32).bytes(&zeros(256)).build(),
            "tensor `a` at byte 128 has a name that stands there before",
        ),
        (
            raw()
                .tensor("a", &[(1 << 62) - 8], F32, 0)
                .tensor("b", &[8], F32, u64::MAX - 31)
                .bytes(&zeros(64))
                .build(),
            "ends where 64 bits do not reach",
        ),
        (
            raw().tensor("a", &[64], F32, 0).bytes(&zeros(64)).build(),
            "the data of tensor `a` at byte 64 needs 256 bytes, and 57 are left",
        ),
    ];
    for (index, (bytes, expected)) in cases.iter().enumerate() {
        let refused = read(bytes).map(|file| file.metadata).unwrap_err().to_string();
        assert!(refused.contains(expected), "case {index}: `{refused}` lacks `{expected}`");
    }
}

#[test]
fn what_is_odd_but_harmless_is_read() {
    let file = read(&raw().version(2).build()).unwrap();
    assert_eq!((file.version, file.tensors.len(), file.metadata.len()), (2, 0, 0));

    let long = "é".repeat(40_000);
    let file = raw()
        .key("long", TEXT)
        .text(long.as_bytes())
        .array("none", U32, 0)
        .array("many", U32, 2000)
        .bytes(&[0; 8000])
        .array("few", 5, 2)
        .bytes(&[255; 8])
        .array("tokenizer.ggml.tokens", TEXT, 2)
        .text(b"")
        .text("▁a".as_bytes())
        .key("split.count", 2)
        .bytes(&[1, 0])
        .key("general.alignment", U32)
        .u32(1)
        .tensor("x", &[3], F32, 0)
        .bytes(&[0; 12]);
    let file = read(&file.build()).unwrap();
    assert_eq!(file.value("long"), Some(&Value::LongText { bytes: 80_000 }));
    let array = |kind, length, numbers| Value::Array(Array { kind, length, numbers });
    assert_eq!(file.value("none"), Some(&array(ValueType::U32, 0, vec![])));
    assert_eq!(file.value("many"), Some(&array(ValueType::U32, 2000, vec![])));
    assert_eq!(
        file.value("few"),
        Some(&array(ValueType::I32, 2, vec![Scalar::Signed(ValueType::I32, -1); 2]))
    );
    assert_eq!(file.value("tokenizer.ggml.tokens"), Some(&array(ValueType::Text, 2, vec![])));
    assert_eq!((file.alignment, file.tensor("x").unwrap().bytes), (1, 12));
    assert_eq!(file.data_offset + 12, file.length);
}

#[test]
fn what_is_written_is_read() {
    let mut writer = sample();
    writer.bool("a.bool", true).u16("a.u16", 7).f32("a.f32", 0.5).bools("a.bools", &[true, false]);
    let bytes = writer.to_bytes().unwrap();
    let file = read(&bytes).unwrap();
    assert_eq!(file.tensors, writer.tensors());
    assert_eq!(file.data_offset + writer.data_bytes(), file.length);
    assert_eq!(file.text("general.architecture"), Some("llama"));
    assert_eq!(file.value("a.bool"), Some(&Value::Scalar(Scalar::Bool(true))));
    assert_eq!(file.value("a.u16"), Some(&Value::Scalar(Scalar::Unsigned(ValueType::U16, 7))));
    assert_eq!(file.value("a.f32"), Some(&Value::Scalar(Scalar::Float(ValueType::F32, 0.5))));
}

#[test]
fn data_that_was_not_described_is_not_written() {
    let mut writer = Writer::new();
    writer.alignment(64).tensor("a", &[8], TensorType::F32);
    assert!(writer.begin(Vec::new()).unwrap().push(&[0; 33]).is_err());
    let mut data = writer.begin(Vec::new()).unwrap();
    data.push(&[1; 30]).unwrap();
    assert!(data.push(&[1; 3]).is_err());
    data.push(&[1; 2]).unwrap();
    assert!(data.push(&[1]).is_err());
    assert_eq!(data.finish().unwrap(), [writer.head(), vec![1; 32], vec![0; 32]].concat());
    assert!(writer.begin(Vec::new()).unwrap().finish().is_err());
}

#[test]
fn every_prefix_of_a_file_is_refused() {
    let bytes = sample().to_bytes().unwrap();
    // Nothing but padding follows the last tensor.
    for length in 0..bytes.len() {
        let refused = read(&bytes[..length]).unwrap_err();
        assert!(matches!(refused, ModelFileError::Cut { .. }), "{length} bytes: {refused}");
        // A file that shrinks while it is read, or whose owner does not know its length.
        let refused = Gguf::read(&mut &bytes[..length.min(600)], bytes.len() as u64).unwrap_err();
        assert!(matches!(refused, ModelFileError::Cut { .. }), "{length} bytes: {refused}");
    }
}

/// Whatever is done to a file, it is read or refused; and what is read keeps its promises.
#[test]
fn damaged_files_are_read_or_refused() {
    let good = sample().to_bytes().unwrap();
    let head = sample().head().len();
    let (mut accepted, mut refused) = (0, 0);
    for mut damage in Damage::rounds() {
        let bytes = damage.of(&good, head);
        let Ok(file) = read(&bytes) else {
            refused += 1;
            continue;
        };
        accepted += 1;
        let mut end = 0;
        for tensor in &file.tensors {
            assert_eq!(tensor.offset, end);
            assert!(file.data_offset + tensor.offset + tensor.bytes <= bytes.len() as u64);
            end = (tensor.offset + tensor.bytes).next_multiple_of(file.alignment);
        }
        if let Ok(shape) = file.shape() {
            let layers = shape.layers as usize;
            assert!(shape.heads.len() == layers && shape.weights.layers.len() == layers);
            assert!((0..layers).all(|layer| shape.kv_per_token(layer).0 < 1 << 32));
        }
    }
    assert!(
        accepted > 100 && refused > 100,
        "{accepted} accepted, {refused} refused: the damage does not reach"
    );
}

/// A reader that gives zeros for ever, and counts what is taken.
struct Endless<'a> {
    begin: &'a [u8],
    taken: u64,
}

impl Read for Endless<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from_begin = self.begin.read(buffer)?;
        let count = if from_begin == 0 {
            buffer.fill(0);
            buffer.len()
        } else {
            from_begin
        };
        self.taken += count as u64;
        Ok(count)
    }
}

/// Lies about counts are found before anything is taken or allocated for them, even if the file says that it is large
/// enough for them.
#[test]
fn lies_are_found_before_anything_is_taken_for_them() {
    let cases = [
        raw().says(1 << 50, 0),
        raw().says(0, 1 << 50),
        raw().says(1, 0).u64(1 << 50),
        raw().array("a", 0, 1 << 50),
        raw().array("a", TEXT, 1 << 40),
        raw().array("tokenizer.ggml.tokens", TEXT, (1 << 20) + 1),
        raw().array("a", TEXT, 1).u64(1 << 50),
        raw().key("tokenizer.chat_template", TEXT).u64(1 << 50),
        raw().key("a", TEXT).u64(1 << 50),
        raw().says(0, 1).u64(1 << 50),
        raw().tensor("a", &[1 << 60], F32, 0),
    ];
    for (index, case) in cases.into_iter().enumerate() {
        let bytes = case.build();
        let mut endless = Endless { begin: &bytes, taken: 0 };
        let refused = Gguf::read(&mut endless, 1 << 62).unwrap_err();
        assert!(endless.taken < 1 << 17, "case {index} took {} bytes: {refused}", endless.taken);
    }
}

/// What is kept of an honest but huge header is bounded, and so is how much of it is read.
#[test]
fn a_huge_header_is_read_in_little_memory_or_refused() {
    let tokens: Vec<String> = (0..250_000).map(|token| format!("token {token}")).collect();
    let mut writer = sample();
    writer.texts("large.tokens", &tokens).f32s("large.scores", &vec![0.0; tokens.len()]);
    let file = read(&writer.to_bytes().unwrap()).unwrap();
    let kept: usize = file.metadata.iter().map(|(key, value)| key.len() + kept(value)).sum();
    assert!(kept < 4096, "{kept} bytes");

    let mut writer = Writer::new();
    for number in 0..200 {
        writer.text(&format!("text.{number}"), &"x".repeat(60_000));
    }
    let refused = read(&writer.to_bytes().unwrap()).unwrap_err().to_string();
    assert!(refused.contains("bytes kept with all before it") && refused.contains("8388608"), "{refused}");

    let bytes = raw().key("a", TEXT).u64(HEADER_BYTES_MAX).build();
    let refused = Gguf::read(&mut Endless { begin: &bytes, taken: 0 }, 1 << 40).unwrap_err().to_string();
    assert!(refused.contains("more than the 268435456"), "{refused}");
}

fn kept(value: &Value) -> usize {
    match value {
        Value::Text(text) => text.len(),
        Value::Array(array) => array.numbers.len() * size_of::<Scalar>(),
        Value::Scalar(_) | Value::LongText { .. } => 0,
    }
}

#[test]
fn nothing_stands_behind_the_last_tensor_but_what_fills_it_up() {
    let whole = sample().to_bytes().unwrap();
    let Gguf { tensors, data_offset, .. } = Gguf::read(&mut whole.as_slice(), whole.len() as u64).unwrap();
    let last = tensors.last().unwrap();
    let (bare, filled) = (data_offset + last.offset + last.bytes, whole.len() as u64);
    for length in [bare, filled] {
        Gguf::read(&mut whole.as_slice(), length).unwrap();
    }
    let refused = Gguf::read(&mut whole.as_slice(), filled + 1).unwrap_err().to_string();
    assert!(refused.starts_with("1 bytes stand behind the last tensor"), "{refused}");
}

#[test]
fn a_file_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let absent = Gguf::open(&folder.path().join("none.gguf")).unwrap_err().to_string();
    assert!(absent.contains("cannot open the model file") && absent.contains("none.gguf"), "{absent}");
    let refused = Gguf::open(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("it is not a regular file"), "{refused}");
    // Opening a pipe would wait for a writer that never comes.
    let pipe = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let refused = Gguf::open(&pipe).unwrap_err().to_string();
    assert!(refused.contains("it is not a regular file"), "{refused}");
    let path = folder.path().join("sample.gguf");
    std::fs::write(&path, sample().to_bytes().unwrap()).unwrap();
    assert_eq!(Gguf::open(&path).unwrap().tensors.len(), 20);
}
