use zeroize::Zeroizing;

use super::*;
use crate::{Signer, tree::Hash};

fn signed() -> (Checkpoint, String, Cosigner) {
    let log = Signer::from_seed("example.com/log", Zeroizing::new([1; 32])).unwrap();
    let witness = Cosigner::from_seed("witness.example/w1", Zeroizing::new([2; 32])).unwrap();
    let checkpoint = Checkpoint::new("example.com/log", 7, Hash::empty()).unwrap();
    let note = checkpoint.sign(&log).unwrap();
    (checkpoint, note, witness)
}

#[test]
fn what_is_signed_is_what_the_specification_says() {
    let text = "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    let expected = "cosignature/v1\ntime 1679315147\nexample.com/behind-the-sofa\n20852163\n\
        CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n";
    assert_eq!(message(text, 1_679_315_147), expected.as_bytes());
    // The example's line: id, time, signature.
    let line = "\u{2014} witness.example.com/w1 \
        jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+mbIUBkBIfZ+qnA==\n";
    let signature = Signature::parse(line).unwrap();
    assert_eq!(signature.name(), "witness.example.com/w1");
    assert_eq!(signature.to_string(), line);
    // Our own line of that time differs from it in the id and the signature only: not in the time between.
    let bytes = |line: &str| {
        data_encoding::BASE64.decode(line.trim_end().rsplit(' ').next().unwrap().as_bytes()).unwrap()
    };
    let witness = Cosigner::from_seed("witness.example.com/w1", Zeroizing::new([2; 32])).unwrap();
    let ours = cosign(&Checkpoint::parse(text).unwrap(), &witness, 1_679_315_147).unwrap().to_string();
    assert_eq!(bytes(&ours).len(), bytes(line).len());
    assert_eq!(bytes(&ours)[4..12], bytes(line)[4..12]);
}

#[test]
fn every_bit_of_a_cosigned_checkpoint_counts() {
    let (checkpoint, note, witness) = signed();
    let cosigned = note.clone() + &cosign(&checkpoint, &witness, 42).unwrap().to_string();
    assert_eq!(verify(&Note::parse(cosigned.as_bytes()).unwrap(), witness.public()), Ok(42));
    let log_signature = note.find('\u{2014}').unwrap()..note.len();
    for bit in 0..cosigned.len() * 8 {
        let mut changed = cosigned.as_bytes().to_vec();
        changed[bit / 8] ^= 1 << (bit % 8);
        let verified =
            Note::parse(&changed).map_err(NoteError::from).and_then(|note| verify(&note, witness.public()));
        // The signature of the log is its own matter.
        assert!(verified.is_err() || log_signature.contains(&(bit / 8)), "bit {bit}");
    }
}

#[test]
fn the_latest_time_counts_and_a_wrong_line_refuses_all() {
    let (checkpoint, note, witness) = signed();
    let line = |time| cosign(&checkpoint, &witness, time).unwrap().to_string();
    let verified = |note: String| verify(&Note::parse(note.as_bytes()).unwrap(), witness.public());
    assert_eq!(verified(note.clone() + &line(5) + &line(9) + &line(7)), Ok(9));
    assert!(matches!(verified(note.clone()), Err(NoteError::NotSigned { .. })));
    let other = Checkpoint::new("example.com/log", 8, Hash::empty()).unwrap();
    let wrong = cosign(&other, &witness, 5).unwrap().to_string();
    assert!(matches!(verified(note.clone() + &line(5) + &wrong), Err(NoteError::BadSignature { .. })));
    assert!(cosign(&checkpoint, &witness, TIME_MAX).is_ok());
    assert!(cosign(&checkpoint, &witness, TIME_MAX + 1).is_err());
    // A plain signature of the witness's key is no cosignature.
    let id = witness.public().id();
    let plain = Signature::new("witness.example/w1", id, witness.sign(checkpoint.to_string().as_bytes()));
    assert!(matches!(verified(note + &plain.to_string()), Err(NoteError::BadSignature { .. })));
}

#[test]
fn only_checkpoints_are_cosigned() {
    let (_, _, witness) = signed();
    let text = "no checkpoint\n";
    let mut bytes = 5_u64.to_be_bytes().to_vec();
    bytes.extend_from_slice(&witness.sign(&message(text, 5)));
    let line = Signature::new(witness.public().name(), witness.public().id(), bytes);
    let note = Note::parse(format!("{text}\n{line}").as_bytes()).unwrap();
    assert!(matches!(verify(&note, witness.public()), Err(NoteError::Format(_))));
}
