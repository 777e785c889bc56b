use zeroize::Zeroizing;

use super::*;
use crate::{Signer, memory::MemoryLog};

fn proof_of(index: u64, size: u64) -> (LogProof, Signer) {
    let signer = Signer::from_seed("example.com/log", Zeroizing::new([1; 32])).unwrap();
    let mut log = MemoryLog::new();
    for index in 0..size {
        log.push(&index.to_be_bytes()).unwrap();
    }
    let checkpoint = Note::parse(log.checkpoint(&signer).unwrap().as_bytes()).unwrap();
    (LogProof::new(index, &log, checkpoint).unwrap(), signer)
}

#[test]
fn a_proof_is_text_and_back() {
    for (index, size) in [(0, 1), (0, 2), (4, 7), (299, 300)] {
        let (mut proof, signer) = proof_of(index, size);
        for extra in [None, Some(vec![]), Some(vec![7; 100])] {
            proof.extra = extra;
            let again: LogProof = proof.to_string().parse().unwrap();
            assert_eq!(again, proof);
            let checkpoint = again.verify(&index.to_be_bytes(), signer.public()).unwrap();
            assert_eq!(checkpoint.size(), size);
        }
    }
}

#[test]
fn the_form_is_that_of_the_specification() {
    let (mut proof, _) = proof_of(1, 3);
    proof.extra = Some(b"context".to_vec());
    let text = proof.to_string();
    let (head, note) = text.split_once("\n\n").unwrap();
    let expected = format!(
        "c2sp.org/tlog-proof@v1\nextra Y29udGV4dA==\nindex 1\n{}\n{}",
        proof.proof[0], proof.proof[1]
    );
    assert_eq!(head, expected);
    assert_eq!(note, proof.checkpoint.to_string());
}

#[test]
fn every_bit_counts() {
    let (proof, signer) = proof_of(4, 7);
    let text = proof.to_string();
    for bit in 0..text.len() * 8 {
        let mut changed = text.clone().into_bytes();
        changed[bit / 8] ^= 1 << (bit % 8);
        let Ok(changed) = String::from_utf8(changed) else { continue };
        let Ok(changed) = changed.parse::<LogProof>() else { continue };
        assert!(changed.verify(&4_u64.to_be_bytes(), signer.public()).is_err(), "bit {bit}");
    }
    assert!(matches!(proof.verify(b"other", signer.public()), Err(LogProofError::Proof(_))));
    let other = Signer::from_seed("example.com/log", Zeroizing::new([2; 32])).unwrap();
    let error = proof.verify(&4_u64.to_be_bytes(), other.public()).unwrap_err();
    assert!(matches!(error, LogProofError::Checkpoint(NoteError::NotSigned { .. })));
}

#[test]
fn a_proof_is_read_only_as_it_is_written() {
    let (proof, _) = proof_of(1, 3);
    let good = proof.to_string();
    let note = &proof.checkpoint.to_string();
    let bad = [
        String::new(),
        good.replace("@v1", "@v2"),
        good.replace("index 1", "index 01"),
        good.replace("index 1", "index"),
        good.replace("index 1\n", ""),
        good.replace("index 1", "extra AA==\nextra AA==\nindex 1"),
        good.replace("index 1", "extra AB==\nindex 1"),
        good.replace("index 1", "index 1\nextra AA=="),
        good.replace("\n\n", "\n"),
        good.replace('\n', "\r\n"),
        format!("{good}\n"),
        format!("c2sp.org/tlog-proof@v1\nindex 1\n{}\n{note}", format!("{}\n", Hash::empty()).repeat(64)),
        format!("c2sp.org/tlog-proof@v1\nextra {}\nindex 1\n\n{note}", "A".repeat(100_000)),
        good.clone() + &" ".repeat(LOG_PROOF_BYTES_MAX),
    ];
    for text in bad {
        assert!(text.parse::<LogProof>().is_err(), "{}", &text[..text.len().min(200)]);
    }
}

#[test]
fn an_entry_after_the_checkpoint_has_no_proof() {
    let (proof, signer) = proof_of(0, 3);
    let made = LogProof::new(3, &MemoryLog::new(), proof.checkpoint.clone());
    assert!(matches!(made, Err(MakeProofError::Proof(ProofError::OutOfRange { index: 3, size: 3 }))));
    // A reader that has less than the checkpoint says.
    let made = LogProof::new(1, &MemoryLog::new(), proof.checkpoint.clone());
    assert!(matches!(made, Err(MakeProofError::Read(_))));
    let moved = LogProof { index: 3, ..proof };
    assert!(moved.verify(&0_u64.to_be_bytes(), signer.public()).is_err());
}
