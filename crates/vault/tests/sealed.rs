//! What was sealed opens again, for the same key and place only, and nothing that was changed opens at all.
// Functions beside the tests are tests too.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::io::Cursor;

use types::{Sealed, Secret, TenantId};
use vault::{
    FRAME_BYTES, HEADER_BYTES, Opener, Place, Purpose, RangeOpener, Sealer, SubjectKey, Suite, TenantKey,
    VaultError, sealed_length,
};

const PLACE: Place<'_> = Place { purpose: Purpose::Conversation, record: b"conversation 7" };
const STORED_FRAME_BYTES: usize = FRAME_BYTES + 16;

fn tenant(number: u64) -> TenantKey {
    TenantKey::random(TenantId(number)).unwrap()
}

fn subject() -> SubjectKey {
    tenant(1).new_subject().unwrap()
}

/// One of each suite.
fn subjects() -> [SubjectKey; 2] {
    Suite::ALL.map(|suite| tenant(1).in_suite(suite).new_subject().unwrap())
}

fn seal(key: &SubjectKey, value: &[u8]) -> Sealed {
    key.seal(&PLACE, &Secret::from(value.to_vec())).unwrap()
}

/// Bytes in which no two frames are alike.
fn plaintext(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i ^ (i >> 8) ^ (i >> 16)) as u8).collect()
}

fn opened(key: &SubjectKey, place: &Place<'_>, sealed: &[u8]) -> Result<Vec<u8>, VaultError> {
    let mut plain = Vec::new();
    let mut opener = Opener::begin(key, place, sealed)?;
    while let Some(frame) = opener.next_frame()? {
        plain.extend_from_slice(frame);
    }
    // Both ways of opening agree.
    let mut ranges = RangeOpener::begin(key, place, Cursor::new(sealed)).unwrap();
    let mut again = Vec::new();
    ranges
        .read(0, ranges.len(), |piece| {
            again.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
    assert!(plain == again);
    Ok(plain)
}

fn opens(key: &SubjectKey, place: &Place<'_>, sealed: &[u8]) -> bool {
    let ranges = RangeOpener::begin(key, place, Cursor::new(sealed))
        .and_then(|mut ranges| ranges.read(0, ranges.len(), |_| Ok(())));
    let Ok(mut opener) = Opener::begin(key, place, sealed) else { return ranges.is_ok() };
    loop {
        match opener.next_frame() {
            Ok(Some(_)) => {}
            Ok(None) => return true,
            Err(_) => return ranges.is_ok(),
        }
    }
}

#[test]
fn every_length_opens_to_what_it_was() {
    let lengths = [0, 1, 15, FRAME_BYTES - 1, FRAME_BYTES, FRAME_BYTES + 1, 3 * FRAME_BYTES, 200_001];
    for (key, length) in subjects().iter().flat_map(|key| lengths.map(|length| (key, length))) {
        let plain = plaintext(length);
        let sealed = seal(key, &plain);
        assert!(sealed.as_bytes().starts_with(&key.suite().beginning()));
        assert_eq!(sealed.as_bytes().len() as u64, sealed_length(length as u64));
        assert!(
            key.open(&PLACE, &sealed).unwrap().expose() == plain
                && opened(key, &PLACE, sealed.as_bytes()).unwrap() == plain
        );
        // Written in pieces of any length it is as long, and opens to the same.
        let mut writer = Sealer::begin(key, &PLACE, Vec::new()).unwrap();
        for piece in plain.chunks(777) {
            writer.write(piece).unwrap();
        }
        let streamed = writer.finish().unwrap();
        assert!(streamed.len() == sealed.as_bytes().len() && streamed != sealed.as_bytes());
        assert!(opened(key, &PLACE, &streamed).unwrap() == plain);
    }
}

#[test]
fn any_range_can_be_read() {
    let key = subject();
    let plain = plaintext(3 * FRAME_BYTES + 100);
    let sealed = seal(&key, &plain);
    let mut ranges = RangeOpener::begin(&key, &PLACE, Cursor::new(sealed.as_bytes())).unwrap();
    let end = plain.len() as u64;
    let frame = FRAME_BYTES as u64;
    for (from, to) in [(0, 0), (0, 1), (frame - 1, frame + 1), (frame, 2 * frame), (5, end), (end, end)] {
        let mut got = Vec::new();
        ranges
            .read(from, to, |piece| {
                got.extend_from_slice(piece);
                Ok(())
            })
            .unwrap();
        assert!(got == plain[from as usize..to as usize], "{from} to {to}");
    }
    for (from, to) in [(0, end + 1), (2, 1), (u64::MAX, u64::MAX)] {
        assert!(matches!(ranges.read(from, to, |_| Ok(())), Err(VaultError::OutOfRange { .. })));
    }
}

#[test]
fn another_purpose_record_subject_or_tenant_is_refused() {
    let tenants = [tenant(1), tenant(2)];
    let key = tenants[0].new_subject().unwrap();
    let sealed = seal(&key, b"planted");
    let places = [
        Place { purpose: Purpose::File, ..PLACE },
        Place { record: b"conversation 8", ..PLACE },
        Place { record: b"", ..PLACE },
    ];
    for place in places {
        assert!(!opens(&key, &place, sealed.as_bytes()), "{place:?}");
    }
    for other in [tenants[0].new_subject().unwrap(), tenants[1].new_subject().unwrap()] {
        assert!(!opens(&other, &PLACE, sealed.as_bytes()));
        // Also when the header is made to name the other's key.
        let mut forged = sealed.as_bytes().to_vec();
        forged[8..16].copy_from_slice(&other.tenant().0.to_be_bytes());
        forged[16..32].copy_from_slice(&other.id().0);
        assert!(!opens(&other, &PLACE, &forged));
    }
}

/// Whoever does not look at an error must not take what follows for a proper end.
#[test]
fn what_was_refused_once_is_refused_again() {
    let key = subject();
    let mut sealed = seal(&key, b"text").as_bytes().to_vec();
    *sealed.last_mut().unwrap() ^= 1;
    let mut opener = Opener::begin(&key, &PLACE, sealed.as_slice()).unwrap();
    for _ in 0..2 {
        assert!(matches!(opener.next_frame(), Err(VaultError::Refused)));
    }
}

#[test]
fn every_flipped_bit_is_found() {
    for key in subjects() {
        let sealed = seal(&key, b"the patient in room 4").as_bytes().to_vec();
        for bit in 0..sealed.len() * 8 {
            let mut damaged = sealed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(!opens(&key, &PLACE, &damaged), "bit {bit}");
        }
        // Nor does it open as if it were of the other suite.
        for other in Suite::ALL.into_iter().filter(|other| *other != key.suite()) {
            let renamed = [other.beginning().as_slice(), &sealed[6..]].concat();
            assert!(!opens(&key, &PLACE, &renamed), "{} as {other}", key.suite());
        }
    }
}

#[test]
fn nothing_can_be_cut_off_added_swapped_or_repeated() {
    for key in subjects() {
        nothing_but_the_whole_opens(&key);
    }
}

fn nothing_but_the_whole_opens(key: &SubjectKey) {
    let whole = seal(key, &plaintext(3 * FRAME_BYTES + 9)).as_bytes().to_vec();
    let frame = |number: usize| {
        let from = HEADER_BYTES + number * STORED_FRAME_BYTES;
        whole[from..whole.len().min(from + STORED_FRAME_BYTES)].to_vec()
    };
    let made_of = |frames: &[usize]| {
        let mut made = whole[..HEADER_BYTES].to_vec();
        made.extend(frames.iter().flat_map(|&number| frame(number)));
        made
    };
    assert!(opens(key, &PLACE, &made_of(&[0, 1, 2, 3])));
    for frames in [
        &[0, 1, 2][..],
        &[0, 1],
        &[0],
        &[],
        &[1, 0, 2, 3],
        &[0, 1, 2, 2, 3],
        &[0, 0, 1, 2, 3],
        &[1, 2, 3],
        &[0, 1, 2, 3, 3],
        &[3],
    ] {
        assert!(!opens(key, &PLACE, &made_of(frames)), "{frames:?}");
    }
    // Cut anywhere: around the edges of the frames, and at many places between.
    let edges = (0..4).map(|number| HEADER_BYTES + number * STORED_FRAME_BYTES);
    let near = edges.flat_map(|edge| edge.saturating_sub(20)..edge + 20);
    for length in near.chain((0..whole.len()).step_by(997)).filter(|&length| length < whole.len()) {
        assert!(!opens(key, &PLACE, &whole[..length]), "{length} of {} bytes", whole.len());
    }
    let longer = [whole.as_slice(), &[0]].concat();
    assert!(!opens(key, &PLACE, &longer));
    // A frame of another value of the same person in the same place.
    let other = seal(key, &plaintext(3 * FRAME_BYTES + 9)).as_bytes().to_vec();
    for number in 0..4 {
        let mut mixed = whole.clone();
        let from = HEADER_BYTES + number * STORED_FRAME_BYTES;
        let to = whole.len().min(from + STORED_FRAME_BYTES);
        mixed[from..to].copy_from_slice(&other[from..to]);
        assert!(!opens(key, &PLACE, &mixed), "frame {number}");
    }
}

#[test]
fn what_is_not_sealed_says_so() {
    let key = subject();
    let sealed = seal(&key, b"x");
    let with = |at: usize, byte: u8| {
        let mut bytes = sealed.as_bytes().to_vec();
        bytes[at] = byte;
        Sealed::from(bytes)
    };
    for (bytes, says) in [
        (Sealed::from(vec![]), "shorter than a header"),
        (Sealed::from(b"plain text of a person".repeat(9)), "does not begin with LLMV"),
        (with(4, 2), "newer program"),
        (with(5, 3), "newer program"),
    ] {
        let error = key.open(&PLACE, &bytes).err().unwrap().to_string();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn sealed_bytes_tell_nothing_but_their_length() {
    let key = subject();
    let sealed = seal(&key, &[b'a'; 4096]);
    assert!(!sealed.as_bytes().windows(4).any(|window| window == b"aaaa"));
    assert_eq!(format!("{sealed:?}"), format!("Sealed({} bytes)", sealed_length(4096)));
    assert_ne!(seal(&key, &[b'a'; 4096]), sealed);
}
