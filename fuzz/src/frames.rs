//! Whatever bytes the frame reader is given: it does not panic, hands out nothing but what was sealed, and opens only
//! the unchanged to its end.
//!
//! An input is either a body that follows the header of a sealed value (or bytes without one), or changes to a value
//! that was sealed. Changes are relative (what is flipped, cut, moved), because the values are sealed with random salts:
//! so an input that failed fails again in another process.
#![no_main]

use std::{
    io::{self, Cursor, Read},
    sync::LazyLock,
};

use libfuzzer_sys::fuzz_target;
use types::{Secret, TenantId};
use vault::{
    FRAME_BYTES, HEADER_BYTES, Opener, Place, Purpose, RangeOpener, SubjectKey, TenantKey, VaultError,
    sealed_length,
};

const TAG_BYTES: usize = 16;
const STORED_FRAME_BYTES: usize = FRAME_BYTES + TAG_BYTES;
/// Around the ends of frames, where the last one is told from the others.
const LENGTHS: [usize; 8] =
    [0, 1, 100, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 2 * FRAME_BYTES, 3 * FRAME_BYTES + 5];
/// Most that one change adds, so that the inputs' length bounds what is read.
const ADDED_MAX: usize = 2 * STORED_FRAME_BYTES;
const CHANGES_MAX: usize = 8;

const PLACE: Place<'_> = Place { purpose: Purpose::File, record: b"a" };
const PLACES: [Place<'_>; 3] = [
    PLACE,
    Place { purpose: Purpose::File, record: b"b" },
    Place { purpose: Purpose::Snapshot, record: b"a" },
];

/// A value, and what it became.
struct Value {
    plain: Vec<u8>,
    sealed: Vec<u8>,
}

/// What all is sealed with.
struct Fixture {
    key: SubjectKey,
    values: Vec<Value>,
}

static FIXTURE: LazyLock<Fixture> = LazyLock::new(|| {
    let key = TenantKey::random(TenantId(1)).and_then(|tenant| tenant.new_subject()).expect("a key");
    let value = |length: usize| {
        // No two frames are alike, nor two values.
        let plain: Vec<u8> = (0..length).map(|i| (i ^ (i >> 8) ^ (i >> 16) ^ length) as u8).collect();
        let sealed = key.seal(&PLACE, &Secret::from(plain.clone())).expect("a sealed value");
        Value { plain, sealed: sealed.as_bytes().to_vec() }
    };
    let values = LENGTHS.map(value).into();
    Fixture { key, values }
});

/// Takes the input apart; zeros behind its end.
struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    /// A number below `end`, or 0.
    fn below(&mut self, end: usize) -> usize {
        let number = u32::from_be_bytes([0, self.byte(), self.byte(), self.byte()]) as usize;
        number.checked_rem(end).unwrap_or(0)
    }

    /// Any number, the small ones more often.
    fn number(&mut self) -> u64 {
        let bytes: [u8; 8] = std::array::from_fn(|_| self.byte());
        u64::from_be_bytes(bytes) >> (8 * (self.byte() % 8))
    }

    fn some(&mut self, length: usize) -> &'a [u8] {
        let (some, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        some
    }
}

/// Hands out as few bytes at a time as the input says, and is interrupted now and then.
struct Slow<'a> {
    bytes: &'a [u8],
    step: usize,
    calls: usize,
}

impl Read for Slow<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        if self.calls.is_multiple_of(7) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let length = buffer.len().min(self.step);
        self.bytes.read(&mut buffer[..length])
    }
}

/// One change to sealed bytes.
fn change(bytes: &mut Vec<u8>, input: &mut Input<'_>, other: &[u8]) {
    let frame = |number: usize, of: &[u8]| {
        let begins = (HEADER_BYTES + number * STORED_FRAME_BYTES).min(of.len());
        begins..(begins + STORED_FRAME_BYTES).min(of.len())
    };
    match input.byte() % 8 {
        0 => {
            let at = input.below(bytes.len());
            let flipped = input.byte();
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= flipped;
            }
        }
        1 => bytes.truncate(input.below(bytes.len() + 1)),
        // Near an end: what is cut off is a byte, a tag, or a frame.
        2 => bytes.truncate(bytes.len().saturating_sub(usize::from(input.byte()))),
        3 => {
            let length = usize::from(input.byte());
            bytes.extend_from_slice(input.some(length));
        }
        4 => {
            let (from, to) = (input.byte() as usize % 5, input.byte() as usize % 5);
            let moved = bytes[frame(from, bytes)].to_vec();
            let replaced = frame(to, bytes);
            bytes.splice(replaced, moved);
        }
        5 => {
            let removed = frame(input.byte() as usize % 5, bytes);
            bytes.drain(removed);
        }
        6 => {
            let (from, to) =
                (frame(input.byte() as usize % 5, other), frame(input.byte() as usize % 5, bytes));
            bytes.splice(to, other[from].iter().copied());
        }
        _ => {
            let at = input.below(bytes.len().min(HEADER_BYTES));
            let (length, from) = (usize::from(input.byte() % 33), at.min(other.len()));
            let taken = &other[from..(from + length).min(other.len())];
            let end = (at + taken.len()).min(bytes.len());
            bytes.splice(at..end, taken.iter().copied());
        }
    }
    bytes.truncate(sealed_length(LENGTHS[LENGTHS.len() - 1] as u64) as usize + ADDED_MAX);
}

/// Opens all, frame by frame; whether that came to its end.
fn stream(bytes: &[u8], place: &Place<'_>, plain: &[u8], step: usize) -> bool {
    let source = Slow { bytes, step, calls: 0 };
    let Ok(mut opener) = Opener::begin(&FIXTURE.key, place, source) else { return false };
    let mut rest = plain;
    loop {
        match opener.next_frame() {
            Ok(Some(frame)) => {
                assert!(frame.len() <= FRAME_BYTES, "a frame is too long");
                rest = rest.strip_prefix(frame).expect("what was opened was never sealed");
            }
            Ok(None) => {
                assert!(rest.is_empty(), "the end is missing, and nobody said so");
                return true;
            }
            Err(refused) => {
                assert!(matches!(refused, VaultError::Refused), "{refused}");
                assert!(!matches!(opener.next_frame(), Ok(Some(_))), "it went on after a refusal");
                return false;
            }
        }
    }
}

/// Opens all and then a range; whether all was opened.
fn ranges(bytes: &[u8], place: &Place<'_>, plain: &[u8], (start, end): (u64, u64)) -> bool {
    let Ok(mut opener) = RangeOpener::begin(&FIXTURE.key, place, Cursor::new(bytes)) else { return false };
    let length = plain.len() as u64;
    assert_eq!(opener.len(), length, "the last frame was moved");
    assert_eq!(opener.is_empty(), plain.is_empty());
    let mut read = |start: u64, end: u64| {
        let mut wanted = plain.get(start as usize..end as usize).unwrap_or_default();
        let read = opener.read(start, end, |piece| {
            assert!(!piece.is_empty() && piece.len() <= FRAME_BYTES, "a piece of {} bytes", piece.len());
            wanted = wanted.strip_prefix(piece).expect("what was opened was never sealed");
            Ok(())
        });
        match read {
            Ok(()) => {
                assert!(start <= end && end <= length, "a range that is not there was read");
                assert!(wanted.is_empty(), "the end of a range is missing, and nobody said so");
                true
            }
            Err(VaultError::OutOfRange { .. }) => {
                assert!(start > end || end > length, "{start} to {end} of {length} is said to be no range");
                false
            }
            Err(refused) => {
                assert!(matches!(refused, VaultError::Refused), "{refused}");
                false
            }
        }
    };
    let first = read(start, end);
    let all = read(0, length);
    // A refusal leaves no trace.
    assert_eq!(read(start, end), first);
    assert!(!all || first || start > end || end > length, "a range of what opens does not open");
    all
}

fn check(bytes: &[u8], place: &Place<'_>, value: &Value, input: &mut Input<'_>) {
    let unchanged = bytes == value.sealed && *place == PLACE;
    let step = [1, 16, 4096, usize::MAX][usize::from(input.byte() % 4)].max(bytes.len() / 256);
    let range = (input.number(), input.number());
    assert_eq!(stream(bytes, place, &value.plain, step), unchanged);
    assert_eq!(ranges(bytes, place, &value.plain, range), unchanged);
}

fuzz_target!(|data: &[u8]| {
    let mut input = Input(data);
    let kind = input.byte();
    let number = input.byte() as usize;
    let value = &FIXTURE.values[number % LENGTHS.len()];
    let place = &PLACES[usize::from(kind >> 2).saturating_sub(61) % PLACES.len()];
    match kind % 4 {
        // As it is: nothing of it was ever sealed.
        0 => {
            let bytes = input.0;
            check(bytes, place, value, &mut Input(bytes));
        }
        // The same behind a header that fits.
        1 => {
            let bytes = [&value.sealed[..HEADER_BYTES], input.0].concat();
            check(&bytes, place, value, &mut Input(input.0));
        }
        _ => {
            let mut bytes = value.sealed.clone();
            let changes = input.byte() as usize % (CHANGES_MAX + 1);
            for _ in 0..changes {
                let other = input.byte() as usize % LENGTHS.len();
                change(&mut bytes, &mut input, &FIXTURE.values[other].sealed);
            }
            check(&bytes, place, value, &mut input);
        }
    }
});
