use serde_json::{Value, json};
use tlog::{Signer, memory::MemoryLog, note::Note, tree::consistency_proof};
use zeroize::Zeroizing;

use super::*;

const BEGIN: &str = r#"{"request":"r-1","what":"begin","user":"ann"}"#;
const END: &str = r#"{"request":"r-1","what":"end","note":"a\u001b[31m\u202eb\n"}"#;

fn signer(seed: u8) -> Signer {
    Signer::from_seed("example.com/log", Zeroizing::new([seed; 32])).unwrap()
}

/// A log of some entries, with these two at 3 and 5.
fn log_of(size: u64, begin: &str, end: &str) -> MemoryLog {
    let mut log = MemoryLog::new();
    for index in 0..size {
        let other = format!("entry {index}");
        let entry = [&other, begin, end][usize::from(index == 3) + 2 * usize::from(index == 5)];
        log.push(entry.as_bytes()).unwrap();
    }
    log
}

fn proof_in(log: &MemoryLog, index: u64) -> String {
    let checkpoint = Note::parse(log.checkpoint(&signer(1)).unwrap().as_bytes()).unwrap();
    LogProof::new(index, log, checkpoint).unwrap().to_string()
}

fn receipt(begin: &str, end: &str) -> Value {
    let log = log_of(10, begin, end);
    json!({"version": 1, "request": "r-1", "entries": [
        {"entry": begin, "proof": proof_in(&log, 3)},
        {"entry": end, "proof": proof_in(&log, 5)},
    ]})
}

fn judged(receipt: &Value, kept: &[Checkpoint]) -> (bool, String) {
    let verdict = judge(receipt.to_string().as_bytes(), signer(1).public(), kept, &Texts::default());
    (verdict.is_valid(), verdict.text())
}

/// Whether it is refused, and says so.
fn is_refused(receipt: &Value, says: &str) {
    let (is_valid, text) = judged(receipt, &[]);
    assert!(!is_valid && text.contains(says) && text.ends_with("NOT VALID\n"), "{says}: {text}");
}

#[test]
fn a_receipt_shows_its_records_and_nothing_acts_on_the_terminal() {
    let (is_valid, text) = judged(&receipt(BEGIN, END), &[]);
    assert!(is_valid, "{text}");
    for line in
        ["user = \"ann\"", "what = \"end\"", "note = \"a\\u{1b}[31m\\u{202e}b\\n\"", "not shown", "VALID"]
    {
        assert!(text.contains(line), "{line}: {text}");
    }
    assert!(text.chars().all(|char| char == '\n' || !char.is_control()));

    let odd = r#"{"request":"r-1","a b\n":{"deep":["\u202e","RAW"]},"n":12345678901234567890123,"t":true}"#;
    let (is_valid, text) = judged(&receipt(&odd.replace("RAW", "\u{202e}"), END), &[]);
    assert!(is_valid, "{text}");
    assert!(text.contains(r#""a b\n" = {"deep":["\u202e","\u{202e}"]}"#), "{text}");
    assert!(text.contains("n = 12345678901234567890123") && text.contains("t = true"), "{text}");

    let mut one = receipt(BEGIN, END);
    one["entries"].as_array_mut().unwrap().truncate(1);
    assert!(judged(&one, &[]).0);
}

#[test]
fn what_is_not_in_the_log_is_refused() {
    let good = receipt(BEGIN, END);
    let with = |change: &dyn Fn(&mut Value)| {
        let mut receipt = good.clone();
        change(&mut receipt);
        receipt
    };
    is_refused(
        &with(&|r| r["entries"][0]["entry"] = json!(BEGIN.replace("ann", "bob"))),
        "does not lead to the root",
    );
    is_refused(&with(&|r| r["entries"][1]["proof"] = r["entries"][0]["proof"].clone()), "does not lead");
    is_refused(&with(&|r| r["request"] = json!("r-2")), "is of request \"r-1\", and the receipt of \"r-2\"");
    is_refused(&with(&|r| r["entries"].as_array_mut().unwrap().swap(0, 1)), "not after");
    is_refused(&with(&|r| r["entries"][1] = r["entries"][0].clone()), "not after");
    is_refused(&with(&|r| r["entries"] = json!([])), "1 to 16 entries");
    is_refused(&with(&|r| r["version"] = json!(2)), "version 2");
    is_refused(&with(&|r| r["more\u{1b}"] = json!(2)), "unknown field `more\\u{1b}`");
    is_refused(&with(&|r| r["request"] = json!("r".repeat(300))), "more than 256");
    is_refused(
        &with(&|r| r["entries"][0]["proof"] = json!("c2sp.org/tlog-proof@v1\n")),
        "no line with the index",
    );
    is_refused(&json!([]), "no receipt");
    let verdict = judge("[".repeat(100_000).as_bytes(), signer(1).public(), &[], &Texts::default());
    assert!(!verdict.is_valid() && verdict.text().contains("no receipt"), "{}", verdict.text());
    let verdict = judge(good.to_string().as_bytes(), signer(2).public(), &[], &Texts::default());
    assert!(verdict.text().contains("not signed by"), "{}", verdict.text());
}

#[test]
fn a_record_says_once_which_request_it_is_of() {
    is_refused(&receipt(r#"{"what":"begin"}"#, END), "names no request");
    is_refused(&receipt(r#"{"request":7}"#, END), "names no request");
    is_refused(&receipt(r#"["r-1"]"#, END), "cannot be read");
    is_refused(&receipt("begin", END), "cannot be read");
    is_refused(&receipt(r#"{"request":"r-1","request":"r-1"}"#, END), "stands twice");
    is_refused(&receipt(r#"{"request":"r-1","reques\u0074":"r-2"}"#, END), "stands twice");
    is_refused(&receipt(r#"{"request":"r-1"} x"#, END), "cannot be read");
}

#[test]
fn two_checkpoints_must_be_of_one_history() {
    let (small, large) = (log_of(8, BEGIN, END), log_of(20, BEGIN, END));
    let mut receipt = receipt(BEGIN, END);
    receipt["entries"][0]["proof"] = json!(proof_in(&large, 3));
    receipt["entries"][1]["proof"] = json!(proof_in(&small, 5));
    is_refused(&receipt, "nothing shows that they are of one history");
    let mut proof: Vec<String> =
        consistency_proof(8, 20, &large).unwrap().iter().map(Hash::to_string).collect();
    receipt["consistency"] = json!(proof);
    assert!(judged(&receipt, &[]).0);
    proof.reverse();
    receipt["consistency"] = json!(proof);
    is_refused(&receipt, "not of one history");
    receipt["consistency"] = json!(vec!["x"; 3]);
    is_refused(&receipt, "no hash");
    receipt["consistency"] = json!(vec![Hash::empty().to_string(); 64]);
    is_refused(&receipt, "more than 63");

    // The same size, but another entry in front of both.
    let forged = log_of(10, "forged", END);
    let mut split = self::receipt(BEGIN, END);
    split["entries"][1]["proof"] = json!(proof_in(&forged, 5));
    is_refused(&split, "equivocation");
}

/// A request may have led to more than its beginning and its end. The server gives as many as are taken here.
#[test]
fn a_receipt_has_as_many_entries_as_the_server_gives() {
    let other = |index: u64| format!(r#"{{"request":"r-1","what":"{index}"}}"#);
    // A log whose entries behind the first one are of the request.
    let log_of = |first: &str, size: u64| {
        let mut log = MemoryLog::new();
        log.push(first.as_bytes()).unwrap();
        for index in 1..size {
            log.push(other(index).as_bytes()).unwrap();
        }
        log
    };
    let log = log_of("first", 21);
    let of = |entries: usize| {
        let proved = |index| json!({"entry": other(index), "proof": proof_in(&log, index)});
        let entries: Vec<Value> = (1..=entries as u64).map(proved).collect();
        json!({"version": 1, "request": "r-1", "entries": entries})
    };
    for entries in [3, RECEIPT_ENTRIES_MAX] {
        let (is_valid, text) = judged(&of(entries), &[]);
        assert!(is_valid && text.matches("which is in the log").count() == entries, "{entries}: {text}");
    }
    is_refused(&of(RECEIPT_ENTRIES_MAX + 1), "1 to 16 entries, and this has 17");
    let with_last_in = |log: &MemoryLog| {
        let mut receipt = of(3);
        receipt["entries"][2]["proof"] = json!(proof_in(log, 3));
        receipt
    };
    is_refused(&with_last_in(&log_of("forged", 21)), "equivocation");
    let mut of_two_sizes = with_last_in(&log_of("first", 22));
    is_refused(&of_two_sizes, "of 21 and 22 entries, and nothing shows");
    of_two_sizes["consistency"] = json!([]);
    is_refused(&of_two_sizes, "belongs to two entries");
}

#[test]
fn a_kept_checkpoint_must_agree_where_it_can() {
    let kept = |log: &MemoryLog| Checkpoint::new("example.com/log", log.size(), log.root()).unwrap();
    let receipt = receipt(BEGIN, END);
    let (is_valid, text) = judged(&receipt, &[kept(&log_of(10, BEGIN, END))]);
    assert!(is_valid && text.contains("same root") && !text.contains("not shown"), "{text}");
    let (is_valid, text) = judged(&receipt, &[kept(&log_of(9, BEGIN, END))]);
    assert!(is_valid && text.contains("not shown"), "{text}");
    let (is_valid, text) = judged(&receipt, &[kept(&log_of(10, "forged", END))]);
    assert!(!is_valid && text.contains("equivocation"), "{text}");
}

#[test]
fn every_bit_of_a_receipt_counts() {
    let good = receipt(BEGIN, END);
    let bytes = good.to_string().into_bytes();
    let signer = signer(1);
    for bit in 0..bytes.len() * 8 {
        let mut changed = bytes.clone();
        changed[bit / 8] ^= 1 << (bit % 8);
        // A flipped bit may write the same JSON in another way (a space for what need not be there): same content, then.
        let same = serde_json::from_slice::<Value>(&changed).is_ok_and(|value| value == good);
        assert!(same || !judge(&changed, signer.public(), &[], &Texts::default()).is_valid(), "bit {bit}");
    }
}
