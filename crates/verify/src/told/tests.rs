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
        assert!(is_valid && text.contains("question     it is the one"), "{request}: {text}");
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
    for (answer, is_it) in [
        ("So – it is.", true),
        (r#"{"choices":[{"message":{"role":"assistant","content":"So – it is."}}]}"#, true),
        (r#"{"choices":[{"text":"So – it is."}]}"#, true),
        (streamed, true),
        ("So – it is.\n", false),
        ("", false),
        (r#"{"choices":[]}"#, false),
    ] {
        let (is_valid, text) = judged(&texts(None, Some(answer)), Some(&salt().to_string()), &facts);
        assert_eq!(is_valid, is_it, "{answer}: {text}");
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
