use futures::FutureExt;
use path::{Method, Relevance};

use super::*;
use crate::json;

fn ask(fields: &str) -> Result<(RerankRequest, bool), ApiError> {
    let body = format!(r#"{{"model":"m",{fields}}}"#);
    json::parse::<RankingRequest>(body.as_bytes())?.ask(RequestId(5), &HeaderMap::new())
}

#[test]
fn documents_are_bare_or_wrapped() {
    let (request, repeats) =
        ask(r#""query":"q","documents":["a",{"text":"b"}],"top_n":1,"return_documents":false"#).ok().unwrap();
    let texts: Vec<_> = request.documents.iter().map(|text| text.expose()).collect();
    assert_eq!((request.query.expose(), texts.as_slice()), ("q", &["a", "b"][..]));
    assert_eq!((request.best, repeats), (Some(1), false));
    let (request, repeats) = ask(r#""query":"q","documents":["a"]"#).ok().unwrap();
    assert_eq!((request.best, repeats), (None, true));
}

#[test]
fn bad_requests_get_one_clear_error() {
    let many = format!(r#""query":"q","documents":[{}"x"]"#, r#""x","#.repeat(DOCUMENTS_MAX));
    for (fields, parameter, part) in [
        (r#""documents":["a"]"#, "query", "missing"),
        (r#""query":"q""#, "documents", "missing"),
        (r#""query":"","documents":["a"]"#, "query", "empty"),
        (r#""query":"q","documents":[]"#, "documents", "at least one document"),
        (r#""query":"q","documents":["a",""]"#, "documents", "document 1 is an empty text"),
        (r#""query":"q","documents":"a""#, "documents", "an array of documents"),
        (r#""query":"q","documents":[1]"#, "documents[0]", "a string or {\"text\""),
        (r#""query":"q","documents":[{"body":"a"}]"#, "documents[0].body", "there is no parameter"),
        (r#""query":"q","documents":[{}]"#, "documents[0]", "missing field `text`"),
        (many.as_str(), "documents", "at most 2048 documents"),
        (r#""query":"q","documents":["a"],"top_n":0"#, "top_n", "allowed: 1 to"),
        (r#""query":"q","documents":["a"],"return_document":true"#, "return_document", "did you mean"),
    ] {
        let Err(error) = ask(fields) else { panic!("accepted: {fields}") };
        let sent = serde_json::to_value(error.body(RequestId(1))).unwrap();
        assert_eq!(sent["error"]["param"].as_str().unwrap_or(""), parameter, "{error}");
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[test]
fn rankings_are_written_as_jina_writes_them_and_say_how_they_were_made() {
    let ranking = Ranking {
        model: "m".parse().unwrap(),
        method: Method::Cosine,
        best: vec![Relevance { index: 1, score: 0.5 }, Relevance { index: 0, score: -0.25 }],
        input: Tokens(9),
    };
    let documents = ["a \"b\"", "c"].map(|text| Arc::new(Prompt::from(text.to_owned())));
    for (documents, first, second) in [
        (None, "", ""),
        (Some(&documents[..]), r#","document":{"text":"c"}"#, r#","document":{"text":"a \"b\""}"#),
    ] {
        let body = written(&ranking, documents).into_body();
        let bytes = axum::body::to_bytes(body, usize::MAX).now_or_never().unwrap().unwrap();
        let want = format!(
            r#"{{"model":"m","method":"cosine","results":[{{"index":1,"relevance_score":0.5{first}}},{{"index":0,"relevance_score":-0.25{second}}}],"usage":{{"total_tokens":9}}}}"#
        );
        assert_eq!(String::from_utf8(bytes.to_vec()).unwrap(), want);
    }
}
