use zeroize::Zeroizing;

use super::*;
use crate::{Signer, memory::MemoryLog, note, tree::consistency_proof};

/// The example of the specification, with its second signature.
const EXAMPLE: &str = "old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u{2014} example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
\u{2014} example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
";

fn signer(name: &str, seed: u8) -> Signer {
    Signer::from_seed(name, Zeroizing::new([seed; 32])).unwrap()
}

fn log_of(size: u64) -> MemoryLog {
    let mut log = MemoryLog::new();
    for index in 0..size {
        log.push(&index.to_be_bytes()).unwrap();
    }
    log
}

/// A right request from `old` to `new`.
fn request(signer: &Signer, old: u64, new: u64) -> AddCheckpoint {
    let log = log_of(new);
    let checkpoint = Note::parse(log.checkpoint(signer).unwrap().as_bytes()).unwrap();
    let proof = if old <= new { consistency_proof(old, new, &log).unwrap() } else { Vec::new() };
    AddCheckpoint { old_size: old, proof, checkpoint }
}

fn seen(size: u64) -> Seen {
    Seen { size, root: log_of(size).root() }
}

#[test]
fn the_example_of_the_specification_is_read_and_written() {
    let request = AddCheckpoint::parse(EXAMPLE.as_bytes()).unwrap();
    assert_eq!(request.old_size, 20_852_014);
    assert_eq!(request.proof.len(), 4);
    assert_eq!(request.checkpoint.signatures().len(), 2);
    assert_eq!(request.to_string(), EXAMPLE);
}

#[test]
fn each_request_gets_its_answer() {
    let log = signer("example.com/log", 1);
    let stranger = signer("example.com/log", 2);
    let decide = |request: &AddCheckpoint, seen| {
        let keys = vec![log.public().clone()];
        let known = |origin: &str| (origin == "example.com/log").then_some(KnownLog { keys, seen });
        decide(request.to_string().as_bytes(), known)
    };
    for (old, new) in [(0, 0), (0, 1), (0, 9), (1, 2), (3, 8), (8, 9), (9, 9)] {
        let seen = (old > 0).then(|| seen(old));
        let decision = decide(&request(&log, old, new), seen);
        let Decision::Cosign(checkpoint) = &decision else { panic!("{old} to {new}: {decision:?}") };
        assert_eq!((checkpoint.size(), decision.status()), (new, 200));
    }
    assert_eq!(decide(&request(&log, 3, 8), Some(seen(4))), Decision::Conflict { size: 4 });
    assert_eq!(decide(&request(&log, 3, 8), None), Decision::Conflict { size: 0 });
    assert_eq!(decide(&request(&log, 0, 8), Some(seen(4))), Decision::Conflict { size: 4 });
    assert_eq!(decide(&request(&log, 0, 8), Some(seen(9))).status(), 409);

    let split = Some(Seen { size: 8, root: log_of(7).root() });
    assert_eq!(decide(&request(&log, 8, 8), split), Decision::Conflict { size: 8 });
    let rewritten = Some(Seen { size: 3, root: log_of(4).root() });
    assert_eq!(decide(&request(&log, 3, 8), rewritten).status(), 422);
    let mut proof = request(&log, 3, 8);
    proof.proof.pop();
    assert_eq!(decide(&proof, Some(seen(3))).status(), 422);
    let mut proof = request(&log, 0, 8);
    proof.proof.push(Hash::empty());
    assert_eq!(decide(&proof, None).status(), 422);

    assert_eq!(decide(&request(&stranger, 0, 8), None).status(), 403);
    assert_eq!(decide(&request(&signer("example.com/other", 1), 0, 8), None), Decision::UnknownOrigin);
    assert_eq!(decide(&request(&log, 9, 8), Some(seen(9))).status(), 400);

    // A root of nothing that is not the empty one.
    let nothing = Checkpoint::new("example.com/log", 0, log_of(1).root()).unwrap().sign(&log).unwrap();
    let checkpoint = Note::parse(nothing.as_bytes()).unwrap();
    let nothing = AddCheckpoint { old_size: 0, proof: Vec::new(), checkpoint };
    assert_eq!(decide(&nothing, None).status(), 409);
}

#[test]
fn any_of_the_keys_of_a_log_will_do_and_a_wrong_signature_will_not() {
    let (old, new) = (signer("example.com/log", 1), signer("example.com/log", 2));
    let known =
        |_: &str| Some(KnownLog { keys: vec![old.public().clone(), new.public().clone()], seen: None });
    for signer in [&old, &new] {
        assert_eq!(decide(request(signer, 0, 8).to_string().as_bytes(), known).status(), 200);
    }
    let mut text = request(&old, 0, 8).to_string();
    // The new key's signature of another checkpoint.
    text += &request(&new, 0, 7).checkpoint.signatures()[0].to_string();
    assert_eq!(decide(text.as_bytes(), known).status(), 403);
    let nobody = |_: &str| Some(KnownLog { keys: Vec::new(), seen: None });
    assert_eq!(decide(text.as_bytes(), nobody).status(), 403);
}

#[test]
fn what_is_no_request_is_malformed() {
    let hash = "PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=\n";
    let good = EXAMPLE.split_once("\n\n").unwrap().1;
    let most = format!("old 5\n{}\n{good}", hash.repeat(63));
    assert_eq!(AddCheckpoint::parse(most.as_bytes()).unwrap().proof.len(), 63);
    let no_checkpoint = note::sign("nothing\n", &[&signer("a", 1)]).unwrap();
    let bad = [
        String::new(),
        "old 5".to_owned(),
        format!("old 05\n\n{good}"),
        format!("old  5\n\n{good}"),
        format!("old -5\n\n{good}"),
        format!("Old 5\n\n{good}"),
        format!("\n{good}"),
        format!("old 5\n{good}"),
        format!("old 5\n{hash}{good}"),
        format!("old 5\n {hash}\n{good}"),
        format!("old 5\n{}\n{good}", hash.repeat(64)),
        "old 5\n\n".to_owned(),
        format!("old 5\n\n{no_checkpoint}"),
        format!("old 5\n\n{good}{}", " ".repeat(REQUEST_BYTES_MAX)),
    ];
    for body in bad {
        let decision = decide(body.as_bytes(), |_| panic!("nobody asks for keys"));
        assert_eq!(decision.status(), 400, "{body}");
    }
    assert_eq!(decide(b"old 5\n\n\xff", |_| None).status(), 400);
}
