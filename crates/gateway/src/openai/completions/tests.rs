use types::GenerateRequest;

use super::*;
use crate::json;

fn ask(fields: &str) -> Result<GenerateRequest, ApiError> {
    let body = format!(r#"{{"model":"m",{fields}}}"#);
    let request = json::parse::<CompletionRequest>(body.as_bytes())?;
    request.ask(RequestId(5), &HeaderMap::new()).map(|asked| asked.request)
}

#[test]
fn prompts_have_four_shapes() {
    for (prompt, expected) in [
        (r#""<s>hi""#, "text <s>hi"),
        (r#"["hi"]"#, "text hi"),
        ("[1,2,4294967295]", "tokens [1, 2, 4294967295]"),
        ("[[1,2]]", "tokens [1, 2]"),
        (r#""""#, "text "),
    ] {
        let request = ask(&format!(r#""prompt":{prompt}"#)).ok().unwrap();
        let input = match request.input {
            Input::Text(text) => format!("text {}", text.expose()),
            Input::Tokens(tokens) => format!("tokens {tokens:?}"),
            Input::Chat(_) => "chat".to_owned(),
        };
        assert_eq!(input, expected);
        assert_eq!(request.tokens_max, Some(Tokens(16)));
    }
}

#[test]
fn neutral_values_are_accepted() {
    let fields = r#""prompt":"x","echo":false,"suffix":"","logprobs":null,"best_of":1,"n":1,"max_tokens":3"#;
    assert_eq!(ask(fields).ok().unwrap().tokens_max, Some(Tokens(3)));
    assert!(ask(r#""prompt":"x","echo":null,"suffix":null,"best_of":null"#).is_ok());
}

#[test]
fn bad_requests_get_one_clear_error() {
    for (fields, parameter, part) in [
        (r#""n":1"#, "prompt", "missing"),
        (r#""prompt":null"#, "prompt", "missing"),
        (r#""prompt":7"#, "prompt", "expected a string, an array of token ids"),
        (r#""prompt":[]"#, "prompt", "invalid length 0"),
        (r#""prompt":[[]]"#, "prompt[0]", "at least one token id"),
        (r#""prompt":["a","b"]"#, "prompt", "only one prompt"),
        (r#""prompt":[[1],[2]]"#, "prompt", "only one prompt"),
        (r#""prompt":[1,"a"]"#, "prompt[1]", "expected a whole number"),
        (r#""prompt":[1,-1]"#, "prompt[1]", "expected a whole number"),
        (r#""prompt":[-1]"#, "prompt[0]", "expected a string, a token id"),
        (r#""prompt":[4294967296]"#, "prompt[0]", "a token id from 0 to 4294967295"),
        (r#""prompt":[1.5]"#, "prompt[0]", "floating point"),
        (r#""prompt":[{"a":1}]"#, "prompt[0]", "invalid type: map"),
        (r#""prompt":"x","echo":true"#, "echo", "not offered"),
        (r#""prompt":"x","suffix":"y""#, "suffix", "not offered"),
        (r#""prompt":"x","logprobs":0"#, "logprobs", "not offered"),
        (r#""prompt":"x","best_of":2"#, "best_of", "send 1"),
        (r#""prompt":"x","messages":[]"#, "messages", "there is no parameter"),
        (r#""prompt":"x","max_tokens":0"#, "max_tokens", "allowed: 1 to"),
    ] {
        let Err(error) = ask(fields) else { panic!("accepted: {fields}") };
        let sent = serde_json::to_value(error.body(RequestId(1))).unwrap();
        assert_eq!(sent["error"]["param"].as_str().unwrap_or(""), parameter, "{fields}: {error}");
        assert!(error.to_string().contains(part), "{fields}: {error}");
    }
}
