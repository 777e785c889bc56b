use futures::FutureExt;

use super::*;
use crate::json;

fn ask(fields: &str) -> Result<(EmbedRequest, Encoding), ApiError> {
    let body = format!(r#"{{"model":"m",{fields}}}"#);
    json::parse::<EmbeddingRequest>(body.as_bytes())?.ask(RequestId(5), &HeaderMap::new())
}

#[test]
fn inputs_have_four_shapes() {
    for (input, expected) in [
        (r#""<s>hi""#, "text <s>hi"),
        (r#"["hi","you"]"#, "text hi, text you"),
        ("[1,2,4294967295]", "tokens [1, 2, 4294967295]"),
        ("[[1,2],[3]]", "tokens [1, 2], tokens [3]"),
    ] {
        let (request, encoding) = ask(&format!(r#""input":{input},"user":"x""#)).ok().unwrap();
        let shown = request.passages.iter().map(|passage| match passage {
            Passage::Text(text) => format!("text {}", text.expose()),
            Passage::Tokens(tokens) => format!("tokens {tokens:?}"),
            Passage::Pair(..) => "pair".to_owned(),
        });
        assert_eq!(shown.collect::<Vec<_>>().join(", "), expected);
        assert_eq!((request.dimensions, encoding), (None, Encoding::Float));
    }
    let (request, encoding) = ask(r#""input":"x","dimensions":8,"encoding_format":"base64""#).ok().unwrap();
    assert_eq!((request.dimensions, encoding), (Some(8), Encoding::Base64));
}

#[test]
fn bad_requests_get_one_clear_error() {
    let many = format!(r#""input":[{}"x"]"#, r#""x","#.repeat(INPUTS_MAX));
    for (fields, parameter, part) in [
        (r#""user":"x""#, "input", "missing"),
        (r#""input":null"#, "input", "missing"),
        (r#""input":[]"#, "input", "at least one input"),
        (r#""input":[[]]"#, "input[0]", "at least one token id"),
        (r#""input":"""#, "input", "input 0 is an empty text"),
        (r#""input":["a",""]"#, "input", "input 1 is an empty text"),
        (r#""input":7"#, "input", "expected a string, an array of token ids"),
        (r#""input":[1,"a"]"#, "input[1]", "expected a whole number"),
        (r#""input":["a",1]"#, "input", "token ids stand alone"),
        (r#""input":[-1]"#, "input[0]", "a token id from 0"),
        (many.as_str(), "input", "at most 2048 inputs"),
        (r#""input":"x","dimensions":-1"#, "dimensions", "a whole number"),
        (r#""input":"x","encoding_format":"int8""#, "encoding_format", "unknown variant `int8`"),
        (
            r#""input":"x","encoding_format":5"#,
            "encoding_format",
            "integer `5`, expected `float` or `base64`",
        ),
        (r#""input":"x","truncate":true"#, "truncate", "there is no parameter"),
    ] {
        let Err(error) = ask(fields) else { panic!("accepted: {fields}") };
        let sent = serde_json::to_value(error.body(RequestId(1))).unwrap();
        assert_eq!(sent["error"]["param"].as_str().unwrap_or(""), parameter, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn vectors_are_written_as_openai_writes_them() {
    let embeddings = Embeddings {
        model: "m".parse().unwrap(),
        vectors: vec![Vector::from(vec![0.6, -0.8]), Vector::from(vec![1.0, 0.0])],
        input: Tokens(7),
    };
    for (encoding, first, second) in [
        (Encoding::Float, "[0.6,-0.8]", "[1.0,0.0]"),
        (Encoding::Base64, r#""mpkZP83MTL8=""#, r#""AACAPwAAAAA=""#),
    ] {
        let body = written(&embeddings, encoding).into_body();
        let bytes = axum::body::to_bytes(body, usize::MAX).now_or_never().unwrap().unwrap();
        let want = format!(
            r#"{{"object":"list","data":[{{"object":"embedding","index":0,"embedding":{first}}},{{"object":"embedding","index":1,"embedding":{second}}}],"model":"m","usage":{{"prompt_tokens":7,"total_tokens":7}}}}"#
        );
        assert_eq!(String::from_utf8(bytes.to_vec()).unwrap(), want);
    }
}
