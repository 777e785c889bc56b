use zeroize::Zeroizing;

use super::*;

/// The example in the documentation of Go's package `note`, with its secret.
const NEUMANN: &str = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
const NEUMANN_SECRET: &str = "AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz";
const TEXT: &str =
    "If you think cryptography is the answer to your problem,\nthen you don't know what your problem is.\n";
const NOTE: &str = "If you think cryptography is the answer to your problem,\n\
    then you don't know what your problem is.\n\n\
    \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";

fn signer(name: &str, seed: u8) -> Signer {
    Signer::from_seed(name, Zeroizing::new([seed; 32])).unwrap()
}

#[test]
fn a_known_note_is_opened_and_made_again() {
    let key: VerifierKey = NEUMANN.parse().unwrap();
    assert_eq!(open(NOTE.as_bytes(), &[&key]).unwrap(), TEXT);
    let mut seed = Zeroizing::new([0; 32]);
    seed.copy_from_slice(&BASE64.decode(NEUMANN_SECRET.as_bytes()).unwrap()[1..]);
    let again = Signer::from_seed("PeterNeumann", seed).unwrap();
    assert_eq!(sign(TEXT, &[&again]).unwrap(), NOTE);
    assert_eq!(Note::parse(NOTE.as_bytes()).unwrap().to_string(), NOTE);
}

#[test]
fn every_bit_counts() {
    let key: VerifierKey = NEUMANN.parse().unwrap();
    for bit in 0..NOTE.len() * 8 {
        let mut note = NOTE.as_bytes().to_vec();
        note[bit / 8] ^= 1 << (bit % 8);
        assert!(open(&note, &[&key]).is_err(), "bit {bit}");
    }
}

#[test]
fn strangers_do_not_count_and_a_wrong_signature_does() {
    let [one, two, other] = [("a", 1), ("b", 2), ("c", 3)].map(|(name, seed)| signer(name, seed));
    let note = sign("text\n", &[&one, &two]).unwrap();
    let opens = |note: &str, keys: &[&VerifierKey]| open(note.as_bytes(), keys);
    assert_eq!(opens(&note, &[one.public()]).unwrap(), "text\n");
    assert_eq!(opens(&note, &[other.public(), two.public()]).unwrap(), "text\n");
    assert!(matches!(opens(&note, &[other.public()]), Err(NoteError::NotSigned { .. })));
    assert!(matches!(opens(&note, &[]), Err(NoteError::NotSigned { .. })));

    // The second signature is of another text.
    let line = sign("other\n", &[&two]).unwrap().split_once("\n\n").unwrap().1.to_owned();
    let mixed = sign("text\n", &[&one]).unwrap() + &line;
    assert_eq!(opens(&mixed, &[one.public()]).unwrap(), "text\n");
    assert!(
        matches!(opens(&mixed, &[one.public(), two.public()]), Err(NoteError::BadSignature { name }) if name == "b")
    );
    // A right one does not hide a wrong one of the same key.
    let twice = sign("text\n", &[&two]).unwrap() + &line;
    assert!(matches!(opens(&twice, &[two.public()]), Err(NoteError::BadSignature { .. })));
    // Same name, another key: unknown.
    let namesake = signer("a", 9);
    assert!(matches!(opens(&note, &[namesake.public()]), Err(NoteError::NotSigned { .. })));
}

#[test]
fn texts_may_have_blank_lines() {
    let key = signer("a", 1);
    for text in ["\n", "a\n", "a\n\nb\n", "\n\n\n", "a\n\n\u{2014} a AAAAAAA=\n"] {
        let note = sign(text, &[&key]).unwrap();
        assert_eq!(open(note.as_bytes(), &[key.public()]).unwrap(), text);
    }
    for text in ["", "a", "a\r\n", "a\0\n", "\u{1b}[31m\n"] {
        assert!(sign(text, &[&key]).is_err(), "{text:?}");
    }
    assert!(sign("a\n", &[]).is_err());
    assert!(sign(&("a".repeat(NOTE_BYTES_MAX) + "\n"), &[&key]).is_err());
}

#[test]
fn a_note_is_read_only_as_it_is_written() {
    let good = "a\n\n\u{2014} a AAAAAAE=\n";
    assert_eq!(Note::parse(good.as_bytes()).unwrap().to_string(), good);
    let many = format!("a\n\n{}", "\u{2014} a AAAAAAE=\n".repeat(SIGNATURES_MAX));
    assert_eq!(Note::parse(many.as_bytes()).unwrap().signatures().len(), 64);
    let too_many = format!("{many}\u{2014} a AAAAAAE=\n");
    let too_long = format!("{}\n\n\u{2014} a AAAAAAE=\n", "a".repeat(NOTE_BYTES_MAX));
    let cases = [
        ("", "blank line"),
        ("a\n", "blank line"),
        ("a\n\n", "no signature"),
        ("a\n\n\u{2014} a AAAAAAE=", "newline"),
        ("a\n\n- a AAAAAAE=\n", "dash"),
        ("a\n\n\u{2014}a AAAAAAE=\n", "dash"),
        ("a\n\n\u{2014} a\n", "name and signature"),
        ("a\n\n\u{2014}  AAAAAAE=\n", "empty"),
        ("a\n\n\u{2014} a+b AAAAAAE=\n", "plus"),
        ("a\n\n\u{2014} a\u{a0}b AAAAAAE=\n", "space"),
        ("a\n\n\u{2014} a AAAAAAE\n", "base64"),
        ("a\n\n\u{2014} a AAAAAAE= \n", "base64"),
        ("a\n\n\u{2014} a AAAAAA==\n", "too short"),
        ("a\n\n\u{2014} a AAAAAAF=\n", "base64"),
        ("a\r\n\n\u{2014} a AAAAAAE=\n", "control"),
        (&too_many, "64 signatures"),
        (&too_long, "128 KiB"),
    ];
    for (note, says) in cases {
        let error = Note::parse(note.as_bytes()).unwrap_err().to_string();
        assert!(error.contains(says), "{note:?}: {error}");
    }
    assert!(Note::parse(b"a\xff\n\n\xe2\x80\x94 a AAAAAAE=\n").unwrap_err().to_string().contains("UTF-8"));
}
