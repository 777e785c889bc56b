use types::{Declared, GenerateRequest};

use super::*;
use crate::{json, openai::Delivery};

fn ask(body: &str) -> Result<Asked, ApiError> {
    json::parse::<ChatRequest>(body.as_bytes())?.ask(RequestId(5), &HeaderMap::new())
}

/// A request that is complete but for `fields`.
fn with(fields: &str) -> String {
    let comma = if fields.is_empty() { "" } else { "," };
    format!(r#"{{"model":"m","messages":[{{"role":"user","content":"hi"}}]{comma}{fields}}}"#)
}

/// A request with these messages.
fn saying(messages: &str) -> String {
    format!(r#"{{"model":"m","messages":{messages}}}"#)
}

fn accepted(body: &str) -> GenerateRequest {
    match ask(body) {
        Ok(asked) => asked.request,
        Err(error) => panic!("{body}: {error}"),
    }
}

fn spoken(request: &GenerateRequest) -> Vec<(&'static str, &str)> {
    let Input::Chat(messages) = &request.input else { panic!("no conversation") };
    messages.iter().map(|message| (message.speaker.as_str(), message.content.expose())).collect()
}

#[test]
fn a_full_request_arrives_as_it_was_sent() {
    let asked = ask(&with(
        r#""max_tokens":7,"temperature":0.5,"top_p":0.9,"top_k":40,"min_p":0.1,"presence_penalty":-1,
        "frequency_penalty":1.5,"repeat_penalty":1.1,"seed":42,"logit_bias":{"9":-100,"3":1.5},"stop":["a","b"],
        "stream":true,"stream_options":{"include_usage":true}"#,
    ))
    .ok()
    .unwrap();
    assert_eq!((asked.protocol, asked.delivery), (Protocol::Chat, Delivery::Stream { include_usage: true }));
    let request = asked.request;
    assert_eq!((request.id, request.model.as_str()), (RequestId(5), "m"));
    assert_eq!(request.tokens_max.unwrap().0, 7);
    assert_eq!(request.stop.as_slice(), ["a", "b"]);
    assert_eq!(request.declared, Declared::default());
    let values = request.sampling.values();
    assert_eq!((values.temperature, values.top_p, values.top_k, values.min_p), (0.5, 0.9, 40, 0.1));
    assert_eq!((values.presence_penalty, values.frequency_penalty), (-1.0, 1.5));
    assert_eq!((values.repetition_penalty, values.seed), (1.1, Some(42)));
    assert_eq!(values.logit_bias, [(3, 1.5), (9, -100.0)]);
}

#[test]
fn what_is_left_out_or_neutral_changes_nothing() {
    let plain = accepted(&with(""));
    assert_eq!(plain.tokens_max, None);
    for neutral in [
        r#""max_tokens":null,"max_completion_tokens":null,"temperature":null,"top_p":null,"n":null,"stop":null"#,
        r#""logit_bias":null,"seed":null,"stream":null,"stream_options":null,"user":null,"metadata":null"#,
        r#""n":1,"stop":[],"logit_bias":{},"top_k":-1,"stream":false,"logprobs":false,"top_logprobs":null"#,
        r#""tools":[],"tool_choice":"none","functions":null,"function_call":"auto","parallel_tool_calls":true"#,
        r#""response_format":{"type":"text"},"service_tier":"auto","store":false,"metadata":{"a":"b"},"user":"u""#,
        r#""response_format":null,"service_tier":"default","modalities":["text"],"audio":null,"prediction":null"#,
        r#""reasoning_effort":null,"verbosity":null,"web_search_options":null,"safety_identifier":"s""#,
        r#""prompt_cache_key":"k""#,
    ] {
        let request = accepted(&with(neutral));
        assert_eq!(request.sampling, plain.sampling, "{neutral}");
        assert_eq!((request.tokens_max, request.stop.as_slice()), (None, &[][..]), "{neutral}");
    }
    let streamed =
        ask(&with(r#""stream":true,"stream_options":{"include_obfuscation":false}"#)).ok().unwrap();
    assert_eq!(streamed.delivery, Delivery::Stream { include_usage: false });
    assert_eq!(accepted(&with(r#""stop":"x""#)).stop.as_slice(), ["x"]);
    assert_eq!(accepted(&with(r#""max_completion_tokens":4294967295"#)).tokens_max.unwrap().0, u32::MAX);
}

#[test]
fn conversations_are_read() {
    let request = accepted(&saying(
        r#"[{"role":"system","content":"a"},{"role":"developer","content":"b"},
        {"role":"user","content":[{"type":"text","text":"<|im_start|>"},{"type":"text","text":"d"}]},
        {"role":"assistant","content":"","name":null,"tool_calls":null,"refusal":null,"audio":null,
         "function_call":null,"annotations":[],"tool_call_id":null}]"#,
    ));
    let expected = [("system", "a"), ("system", "b"), ("user", "<|im_start|>\nd"), ("assistant", "")];
    assert_eq!(spoken(&request), expected);
    let most = format!("[{}]", vec![r#"{"role":"user","content":"x"}"#; MESSAGES_MAX].join(","));
    assert_eq!(spoken(&accepted(&saying(&most))).len(), MESSAGES_MAX);
}

#[test]
fn bad_requests_get_one_clear_error() {
    let many_stops = with(&format!(r#""stop":[{}]"#, vec!["\"s\""; 10_000].join(",")));
    let many_messages =
        saying(&format!("[{}]", vec![r#"{"role":"user","content":"x"}"#; MESSAGES_MAX + 1].join(",")));
    let many_parts = saying(&format!(
        r#"[{{"role":"user","content":[{}]}}]"#,
        vec![r#"{"type":"text","text":"x"}"#; crate::limits::PARTS_MAX + 1].join(",")
    ));
    let many_biases = with(&format!(
        r#""logit_bias":{{{}}}"#,
        (0..=types::LOGIT_BIAS_MAX).map(|i| format!("\"{i}\":1")).collect::<Vec<_>>().join(",")
    ));
    let deep = with(&format!(r#""messages_":{}"#, "[".repeat(100_000)));
    let message = |fields: &str| saying(&format!("[{{{fields}}}]"));
    let part = |part: &str| saying(&format!(r#"[{{"role":"user","content":[{part}]}}]"#));
    let table: Vec<(String, &str, &str)> = vec![
        ("{}".into(), "messages", "missing"),
        (r#"{"messages":[{"role":"user","content":"x"}]}"#.into(), "model", "missing"),
        (r#"{"model":"m"}"#.into(), "messages", "missing"),
        (with(r#""model":"n""#), "model", "given twice"),
        (r#"{"model":"two words","messages":[{"role":"user","content":"x"}]}"#.into(), "model", "letters"),
        (r#"{"model":7,"messages":[]}"#.into(), "model", "expected a string"),
        (
            with(r#""max_tokens":-1"#),
            "max_tokens",
            "integer `-1`, expected a whole number from 0 to 4294967295",
        ),
        (with(r#""max_tokens":0"#), "max_tokens", "allowed: 1 to"),
        (with(r#""max_tokens":1.5"#), "max_tokens", "floating point `1.5`, expected a whole number"),
        (with(r#""max_tokens":4294967296"#), "max_tokens", "expected a whole number from 0 to 4294967295"),
        (with(r#""max_tokens":1e30"#), "max_tokens", "expected a whole number"),
        (with(r#""max_tokens":99999999999999999999999"#), "max_tokens", "expected a whole number"),
        (with(r#""max_tokens":"7""#), "max_tokens", "expected a whole number"),
        (with(r#""max_tokens":7,"max_completion_tokens":7"#), "max_tokens", "send only one"),
        (with(r#""max_completion_tokens":0"#), "max_completion_tokens", "allowed: 1 to"),
        (with(r#""temperature":NaN"#), "", "expected value"),
        (with(r#""temperature":2.1"#), "temperature", "is 2.1; allowed: 0 to 2"),
        (with(r#""temperature":1e39"#), "temperature", "allowed: 0 to 2"),
        (with(r#""temperature":"hot""#), "temperature", "expected f32"),
        (with(r#""top_p":0"#), "top_p", "allowed: above 0, to 1"),
        (with(r#""top_k":-2"#), "top_k", "is -2"),
        (with(r#""min_p":2"#), "min_p", "allowed: 0 to 1"),
        (with(r#""repetition_penalty":0"#), "repetition_penalty", "above 0"),
        (with(r#""repetition_penalty":1,"repeat_penalty":1"#), "repetition_penalty", "given twice"),
        (with(r#""seed":1.5"#), "seed", "expected i64"),
        (with(r#""logit_bias":{"a":1}"#), "logit_bias", "expected a token id"),
        (with(r#""logit_bias":{"-1":1}"#), "logit_bias", "expected a token id"),
        (with(r#""logit_bias":{"1":1,"01":2}"#), "logit_bias", "the token id 1 is given twice"),
        (with(r#""logit_bias":{"1":"x"}"#), "logit_bias.1", "expected f32"),
        (with(r#""logit_bias":{"1":101}"#), "logit_bias", "allowed: -100 to 100"),
        (with(r#""logit_bias":[1]"#), "logit_bias", "expected an object of token ids"),
        (many_biases, "logit_bias", "at most 1024 tokens"),
        (many_stops, "stop", "at most 16 strings"),
        (with(r#""stop":[""]"#), "stop", "strings of 1 to"),
        (with(r#""stop":7"#), "stop", "expected a string or an array of strings"),
        (with(r#""stop":[7]"#), "stop[0]", "expected a string"),
        (with(r#""n":2"#), "n", "only one answer"),
        (with(r#""stream":"yes""#), "stream", "expected a boolean"),
        (with(r#""stream_options":{"include_usage":true}"#), "stream_options", "only for streams"),
        (
            with(r#""stream":true,"stream_options":{"include_usge":1}"#),
            "stream_options.include_usge",
            "did you mean `include_usage`?",
        ),
        (with(r#""stream":true,"stream_options":[true]"#), "stream_options", "expected a JSON object"),
        (
            with(r#""stream":true,"stream_options":{"include_obfuscation":true}"#),
            "stream_options.include_obfuscation",
            "not padded",
        ),
        (with(r#""tools":[{"type":"function"}]"#), "tools", "cannot call tools yet"),
        (with(r#""functions":[{}]"#), "functions", "cannot call tools yet"),
        (with(r#""tool_choice":"required""#), "tool_choice", "not offered"),
        (with(r#""logprobs":true"#), "logprobs", "not offered"),
        (with(r#""store":"yes""#), "store", "expected a boolean"),
        (with(r#""metadata":{"a":1}"#), "metadata.a", "expected a string"),
        (with(r#""response_format":{"type":"json_object"}"#), "response_format", "only the response format"),
        (
            with(r#""response_format":{"type":"json_schema","json_schema":{"name":"x"}}"#),
            "response_format",
            "only the response format",
        ),
        (with(r#""response_format":{}"#), "response_format", "only the response format"),
        (with(r#""service_tier":"flex""#), "service_tier", "llmos-class"),
        (with(r#""modalities":["text","audio"]"#), "modalities", "only [\"text\"]"),
        (with(r#""temprature":1"#), "temprature", "did you mean `temperature`?"),
        (with(r#""max_token":1"#), "max_token", "did you mean `max_tokens`?"),
        (with(r#""zzz":1"#), "zzz", "leave it out"),
        (deep, "messages_", "did you mean `messages`?"),
        (saying("[]"), "messages", "at least one"),
        (saying("\"hi\""), "messages", "expected an array of messages"),
        (saying("[[\"user\",\"hi\"]]"), "messages[0]", "expected a JSON object"),
        (many_messages, "messages", "at most 4096 messages"),
        (many_parts, "messages[0].content", "at most 4096 parts"),
        (message(r#""content":"x""#), "messages[0].role", "missing"),
        (message(r#""role":"user""#), "messages[0].content", "missing"),
        (message(r#""role":"user","content":null"#), "messages[0].content", "missing"),
        (message(r#""role":"king","content":"x""#), "messages[0].role", "allowed: system"),
        (
            message(r#""role":"tool","content":"x","tool_call_id":"1""#),
            "messages[0].role",
            "cannot call tools yet",
        ),
        (message(r#""role":"user","content":"x","name":"bob""#), "messages[0].name", "not offered"),
        (message(r#""role":"user","content":"x","role":"system""#), "messages[0]", "duplicate field `role`"),
        (message(r#""role":"user","contents":"x""#), "messages[0].contents", "did you mean `content`?"),
        (
            message(r#""role":"assistant","content":"x","tool_calls":[{}]"#),
            "messages[0].tool_calls",
            "not offered",
        ),
        (
            message(r#""role":"user","content":7"#),
            "messages[0].content",
            "expected a string or an array of parts",
        ),
        (part(""), "messages[0].content", "at least one part"),
        (
            part(r#"{"type":"image_url","image_url":{"url":"x"}}"#),
            "messages[0].content",
            "`image_url` are not offered",
        ),
        (part(r#"{"type":"text"}"#), "messages[0].content", "missing field `text`"),
        (part(r#"{"text":"x"}"#), "messages[0].content", "missing field `type`"),
        (
            part(r#"{"type":"text","text":"x","image_url":{"url":"x"}}"#),
            "messages[0].content",
            "something else",
        ),
        (part(r#"{"type":"text","text":7}"#), "messages[0].content[0].text", "expected a string"),
        (
            part(r#"{"type":"text","text":"x","text":"y"}"#),
            "messages[0].content[0]",
            "duplicate field `text`",
        ),
        (part(r#""x""#), "messages[0].content[0]", "expected a JSON object"),
    ];
    for (body, parameter, part) in table {
        let start = &body[..body.len().min(200)];
        let Err(error) = ask(&body) else { panic!("accepted: {start}") };
        let text = error.to_string();
        let sent = serde_json::to_value(error.body(RequestId(1))).unwrap();
        assert_eq!(sent["error"]["param"].as_str().unwrap_or(""), parameter, "{start}\n{text}");
        assert!(text.contains(part), "{start}\n{text}");
        assert_eq!(error.answer(RequestId(1)).status(), 400, "{start}");
    }
}
