//! Shapes of answers, and the answer that is sent whole.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use futures::StreamExt;
use path::Answer;
use serde::Serialize;
use types::{Event, FinishReason, Prompt, RequestId, Tokens};
use utoipa::ToSchema;

use super::Protocol;
use crate::{error::ApiError, exchange::Exchange};

/// What every answer and every chunk begins with.
#[derive(Serialize, ToSchema)]
pub(crate) struct Head {
    /// `chatcmpl-` or `cmpl-`, and the request's id.
    id: String,
    /// `chat.completion`, `chat.completion.chunk` or `text_completion`.
    object: &'static str,
    /// Seconds since 1970.
    created: u64,
    /// The model's configured name, whatever alias was asked for.
    model: String,
}

impl Head {
    pub(super) fn new(
        protocol: Protocol,
        streamed: bool,
        request: RequestId,
        model: &str,
        created: u64,
    ) -> Self {
        let (prefix, object) = match (protocol, streamed) {
            (Protocol::Chat, false) => ("chatcmpl", "chat.completion"),
            (Protocol::Chat, true) => ("chatcmpl", "chat.completion.chunk"),
            (Protocol::Completions, _) => ("cmpl", "text_completion"),
        };
        Self { id: format!("{prefix}-{request}"), object, created, model: model.to_owned() }
    }
}

/// What an answer cost. The names are the protocol's.
#[allow(clippy::struct_field_names)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Tokens of the prompt, template included.
    prompt_tokens: u32,
    /// Tokens generated.
    completion_tokens: u32,
    /// Both.
    total_tokens: u32,
}

impl Usage {
    pub(super) fn new(input: Tokens, output: Tokens) -> Self {
        Self { prompt_tokens: input.0, completion_tokens: output.0, total_tokens: (input + output).0 }
    }
}

/// A whole answer to a conversation.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatCompletion<'a> {
    #[serde(flatten)]
    pub(super) head: Head,
    /// One answer.
    pub(super) choices: Vec<ChatChoice<'a>>,
    /// What it cost.
    pub(super) usage: Usage,
    /// What was attached to it. Only of those that are stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metadata: Option<BTreeMap<String, String>>,
}

impl<'a> ChatCompletion<'a> {
    pub(super) fn new(head: Head, text: &'a str, finish_reason: &'a str, usage: Usage) -> Self {
        let message = AnswerMessage { role: "assistant", content: text, refusal: None };
        let choice = ChatChoice { index: 0, message, logprobs: None, finish_reason };
        Self { head, choices: vec![choice], usage, metadata: None }
    }
}

/// The answer.
#[derive(Serialize, ToSchema)]
pub(super) struct ChatChoice<'a> {
    /// Always 0.
    index: u32,
    /// What the model says.
    message: AnswerMessage<'a>,
    /// Always null.
    logprobs: Option<bool>,
    /// `stop` or `length`.
    finish_reason: &'a str,
}

/// What the model says.
#[derive(Serialize, ToSchema)]
struct AnswerMessage<'a> {
    /// Always `assistant`.
    role: &'static str,
    /// The text.
    content: &'a str,
    /// Always null.
    refusal: Option<bool>,
}

/// A piece of a streamed answer to a conversation.
#[derive(Serialize, ToSchema)]
pub(crate) struct ChatCompletionChunk<'a> {
    #[serde(flatten)]
    #[schema(value_type = Head)]
    pub(super) head: &'a Head,
    /// One, but none beside `usage`.
    #[schema(value_type = Vec<ChunkChoice<'a>>)]
    pub(super) choices: &'a [ChunkChoice<'a>],
    /// Absent unless it was asked for; null but in the last chunk.
    #[serde(skip_serializing_if = "ChunkUsage::is_absent")]
    #[schema(value_type = Option<Usage>)]
    pub(super) usage: ChunkUsage,
}

/// What is new.
#[derive(Serialize, ToSchema)]
pub(super) struct ChunkChoice<'a> {
    /// Always 0.
    pub(super) index: u32,
    /// What is new.
    pub(super) delta: Delta<'a>,
    /// Always null.
    pub(super) logprobs: Option<bool>,
    /// Null but in the last one: `stop` or `length`.
    pub(super) finish_reason: Option<&'static str>,
}

/// What is new.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct Delta<'a> {
    /// `assistant`, in the first chunk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) role: Option<&'static str>,
    /// The next piece of text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) content: Option<&'a str>,
}

/// A continued text, or a piece of it.
#[derive(Serialize, ToSchema)]
pub(crate) struct TextCompletion<'a> {
    #[serde(flatten)]
    #[schema(value_type = Head)]
    pub(super) head: &'a Head,
    /// One, but none in a stream beside `usage`.
    #[schema(value_type = Vec<TextChoice<'a>>)]
    pub(super) choices: &'a [TextChoice<'a>],
    /// What it cost. In a stream: absent unless it was asked for; null but in the last chunk.
    #[serde(skip_serializing_if = "ChunkUsage::is_absent")]
    #[schema(value_type = Option<Usage>)]
    pub(super) usage: ChunkUsage,
}

/// The text.
#[derive(Serialize, ToSchema)]
pub(super) struct TextChoice<'a> {
    /// Always 0.
    pub(super) index: u32,
    /// The text, or its next piece.
    pub(super) text: &'a str,
    /// Always null.
    pub(super) logprobs: Option<bool>,
    /// `stop` or `length`; in a stream null but in the last one.
    pub(super) finish_reason: Option<&'static str>,
}

/// `usage` of a chunk.
#[derive(Clone, Copy, Serialize)]
#[serde(untagged)]
pub(super) enum ChunkUsage {
    /// It was not asked for. Never written.
    Absent,
    /// It comes later: null.
    Later,
    /// Here it is.
    Known(Usage),
}

impl ChunkUsage {
    fn is_absent(&self) -> bool {
        matches!(self, Self::Absent)
    }
}

/// Seconds since 1970.
pub(crate) fn now() -> u64 {
    // A clock before 1970 is wrong anyway.
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Waits for the whole answer. Dropping the future, as happens when the caller leaves, drops the events and so
/// cancels the work.
pub(crate) async fn whole(
    mut answer: Answer,
    protocol: Protocol,
    created: u64,
    exchange: &Exchange,
) -> Result<Response, ApiError> {
    let mut text = String::new();
    let mut usage = None;
    while let Some(event) = answer.events.next().await {
        match event.map_err(|error| ApiError::Path { error, input: protocol.input() })? {
            Event::Delta(delta) => text.push_str(delta.expose()),
            Event::Usage { input, output } => {
                exchange.used(input, output);
                usage = Some(Usage::new(input, output));
            }
            Event::Finished(reason) => {
                // The contract of events: usage comes before the end.
                let usage = usage.ok_or(ApiError::Internal)?;
                let head = Head::new(protocol, false, answer.request, answer.model.as_str(), created);
                return Ok(written(protocol, head, &Prompt::from(text), reason, usage));
            }
        }
    }
    Err(ApiError::Internal)
}

fn written(protocol: Protocol, head: Head, text: &Prompt, reason: FinishReason, usage: Usage) -> Response {
    match protocol {
        Protocol::Chat => {
            Json(ChatCompletion::new(head, text.expose(), reason.as_str(), usage)).into_response()
        }
        Protocol::Completions => {
            let choice = TextChoice {
                index: 0,
                text: text.expose(),
                logprobs: None,
                finish_reason: Some(reason.as_str()),
            };
            Json(TextCompletion { head: &head, choices: &[choice], usage: ChunkUsage::Known(usage) })
                .into_response()
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::{FutureExt, stream};
    use path::PathError;

    use super::*;

    type Events = Vec<Result<Event, PathError>>;

    fn answered(protocol: Protocol, events: Events) -> Result<String, &'static str> {
        let answer = Answer {
            request: RequestId(10),
            model: "m".parse().unwrap(),
            events: stream::iter(events).boxed(),
        };
        let response = whole(answer, protocol, 7, &Exchange::new()).now_or_never().unwrap();
        let body = response.map_err(|error| error.code())?.into_body();
        let bytes = axum::body::to_bytes(body, usize::MAX).now_or_never().unwrap().unwrap();
        Ok(String::from_utf8(bytes.to_vec()).unwrap())
    }

    fn delta(text: &str) -> Event {
        Event::Delta(Prompt::from(text.to_owned()))
    }

    fn events() -> Events {
        let usage = Event::Usage { input: Tokens(3), output: Tokens(2) };
        [delta("Hello,"), delta(" \"you\""), usage, Event::Finished(FinishReason::Length)].map(Ok).into()
    }

    #[test]
    fn whole_answers_are_as_openai_writes_them() {
        assert_eq!(
            answered(Protocol::Chat, events()).unwrap(),
            r#"{"id":"chatcmpl-0000000000000000000000000000000a","object":"chat.completion","created":7,"model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"Hello, \"you\"","refusal":null},"logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#
        );
        assert_eq!(
            answered(Protocol::Completions, events()).unwrap(),
            r#"{"id":"cmpl-0000000000000000000000000000000a","object":"text_completion","created":7,"model":"m","choices":[{"index":0,"text":"Hello, \"you\"","logprobs":null,"finish_reason":"length"}],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}"#
        );
    }

    #[test]
    fn an_answer_that_breaks_off_is_an_error() {
        let killed = Err(engine::EngineError::Killed.into());
        assert_eq!(answered(Protocol::Chat, vec![Ok(delta("a")), killed]), Err("request_killed"));
        assert_eq!(answered(Protocol::Chat, vec![Ok(delta("a"))]), Err("internal_error"));
    }
}
