use serde_json::{Value, json};
use tlog::commitment::PersonSecret;

use super::*;

fn salt() -> Salt {
    PersonSecret::new([7; 32]).salt(1)
}

fn judged(texts: &Texts, salt: Option<&str>, facts: &Value) -> (bool, String) {
    let mut verdict = Verdict::new();
    judge(texts, salt, |name| facts[name].as_str().map(str::to_owned), &mut verdict);
    (verdict.is_valid(), verdict.text())
}

fn texts(request: Option<&Value>, answer: Option<&str>) -> Texts {
    Texts {
        request: request.map(|request| request.to_string().into_bytes()),
        answer: answer.map(|answer| answer.as_bytes().to_vec()),
    }
}

/// Facts with commitments to these.
fn facts(prompt: Committing, answer: &str) -> Value {
    let answer = Committing::new(&salt(), Form::Answer).piece(answer).finish();
    json!({ "prompt_hmac": prompt.finish().to_string(), "answer_hmac": answer.to_string() })
}

#[test]
fn each_form_of_a_question_is_known_again() {
    let begin = |form| Committing::new(&salt(), form);
    let chat = || begin(Form::Chat).message("system", "Be\nbrief.").message("user", "Why?");
    let by_parts = json!([{ "type": "text", "text": "Be" }, { "type": "text", "text": "brief." }]);
    for (committing, request) in [
        (
            chat(),
            json!({ "model": "m", "messages": [
                { "role": "system", "content": "Be\nbrief." }, { "role": "user", "content": "Why?" },
            ] }),
        ),
        (
            chat(),
            json!({ "messages": [
                { "role": "developer", "content": by_parts }, { "role": "user", "content": "Why?" },
            ], "seed": 7 }),
        ),
        (begin(Form::Text).piece("Once"), json!({ "prompt": "Once" })),
        (begin(Form::Text).piece("Once"), json!({ "prompt": ["Once"] })),
        (begin(Form::Tokens).token(1).token(2), json!({ "prompt": [1, 2] })),
        (begin(Form::Tokens).token(1).token(2), json!({ "prompt": [[1, 2]] })),
    ] {
        let facts = facts(committing, "So.");
        let (is_valid, text) = judged(&texts(Some(&request), None), Some(&salt().to_string()), &facts);
        assert!(
            is_valid && text.contains("question     its text in the file is the one"),
            "{request}: {text}"
        );
        let other = json!({ "prompt": "another one" });
        let (is_valid, text) = judged(&texts(Some(&other), None), Some(&salt().to_string()), &facts);
        assert!(!is_valid && text.contains("the question was another one"), "{text}");
    }
}

#[test]
fn each_form_of_an_answer_is_known_again() {
    let facts = facts(Committing::new(&salt(), Form::Text), "So – it is.");
    let streamed = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
                    data: {\"choices\":[{\"delta\":{\"content\":\"So – \"}}]}\n\n\
                    data: {\"choices\":[{\"delta\":{\"content\":\"it is.\"}}]}\n\n\
                    data: {\"choices\":[],\"usage\":{}}\n\ndata: [DONE]\n\n";
    let two = r#"{"choices":[{"message":{"content":"So – it is."}},{"message":{"content":"No."}}]}"#;
    let both = r#"{"choices":[{"text":"So – it is.","message":{"content":"No."}}]}"#;
    for (answer, says) in [
        ("So – it is.", None),
        (r#"{"choices":[{"message":{"role":"assistant","content":"So – it is."}}]}"#, None),
        (r#"{"choices":[{"text":"So – it is."}]}"#, None),
        (streamed, None),
        (&streamed.replace("data: [DONE]", ":\n\ndata: {\"error\":{}}"), None),
        ("So – it is.\n", Some("another one")),
        ("", Some("another one")),
        (r#"{"choices":[]}"#, Some("more than one answer, or none")),
        (two, Some("more than one answer, or none")),
        (both, Some("more than one thing")),
        // Nothing is passed over unseen.
        (&format!("{streamed}No.\n"), Some("no event of a stream")),
        (&format!("{streamed}: No.\n"), Some("no event of a stream")),
        (&format!("{streamed}data: No.\n"), Some("cannot be read")),
        (&format!("{streamed}data: {{\"note\":\"No.\"}}\n"), Some("no piece of an answer")),
        (&format!("{streamed}data: {two}\n"), Some("more than one answer")),
    ] {
        let (is_valid, text) = judged(&texts(None, Some(answer)), Some(&salt().to_string()), &facts);
        assert_eq!(is_valid, says.is_none(), "{answer}: {text}");
        assert!(text.contains(says.unwrap_or("VALID")), "{answer}: {text}");
    }
}

#[test]
fn an_answer_may_look_like_anything() {
    for answer in ["data: 5", r#"{"choices":[]}"#, "data: [DONE]", ""] {
        let facts = facts(Committing::new(&salt(), Form::Text), answer);
        let (is_valid, text) = judged(&texts(None, Some(answer)), Some(&salt().to_string()), &facts);
        assert!(is_valid, "{answer}: {text}");
    }
    // Of an answer without a text nothing else is one.
    let facts = facts(Committing::new(&salt(), Form::Text), "");
    for answer in [r#"{"choices":[]}"#, "data: x"] {
        let (is_valid, text) = judged(&texts(None, Some(answer)), Some(&salt().to_string()), &facts);
        assert!(!is_valid, "{answer}: {text}");
    }
}

#[test]
fn what_nobody_can_compare_is_not_called_valid() {
    let facts = facts(Committing::new(&salt(), Form::Text).piece("Once"), "So.");
    let (question, salt) = (json!({ "prompt": "Once" }), salt().to_string());
    let given = texts(Some(&question), Some("So."));
    assert!(judged(&given, Some(&salt), &facts).0);
    let (is_valid, text) = judged(&Texts::default(), Some(&salt), &facts);
    assert!(
        is_valid && text.contains("which question it was") && text.contains("which answer it was"),
        "{text}"
    );
    for (texts, salt, facts, says) in [
        (&given, None, &facts, "no salt"),
        (&given, Some("00"), &facts, "this is no salt"),
        (&given, Some(salt.as_str()), &json!({}), "do not say which question"),
        (&given, Some(&salt), &json!({ "prompt_hmac": "x", "answer_hmac": "x" }), "this is no commitment"),
        (&given, Some(&"0".repeat(64)), &facts, "the question was another one"),
        (&texts(Some(&json!({ "input": "Once" })), None), Some(&salt), &facts, "cannot be read"),
        (
            &texts(Some(&json!({ "prompt": "Once", "messages": [] })), None),
            Some(&salt),
            &facts,
            "cannot be read",
        ),
    ] {
        let (is_valid, text) = judged(texts, salt, facts);
        assert!(!is_valid && text.contains(says), "{says}: {text}");
    }
}
