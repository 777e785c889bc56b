//! Answers as server-sent events, one frame per event, sent as soon as it is there.

use axum::{
    body::Body,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use futures::{Stream, StreamExt, stream};
use http::header;
use path::{Answer, PathError};
use serde::Serialize;
use tokio::time::timeout;
use types::{Event, FinishReason, RequestId};

use super::{
    Protocol,
    answer::{ChatCompletionChunk, ChunkChoice, ChunkUsage, Delta, Head, TextChoice, TextCompletion, Usage},
};
use crate::{error::ApiError, exchange::Exchange, limits::KEEP_ALIVE_INTERVAL};

/// A comment: clients skip it.
const KEEP_ALIVE: &[u8] = b": keep-alive\n\n";
/// What OpenAI's clients wait for. Not sent after an error.
const DONE: &[u8] = b"data: [DONE]\n\n";

/// The response. Its body owns the events: when the caller leaves, the body is dropped, and so are they, which
/// cancels the work.
pub(super) fn respond(
    answer: Answer,
    protocol: Protocol,
    created: u64,
    include_usage: bool,
    exchange: Exchange,
) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-cache"),
        // Asks proxies of the nginx family not to hold frames back.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    let frames = frames(answer, protocol, created, include_usage, exchange);
    (headers, Body::from_stream(frames.map(Ok::<_, std::convert::Infallible>))).into_response()
}

/// The frames of an answer, with keep-alives where it is silent.
fn frames(
    answer: Answer,
    protocol: Protocol,
    created: u64,
    include_usage: bool,
    exchange: Exchange,
) -> impl Stream<Item = Bytes> + Send {
    let encoder = Encoder::new(protocol, include_usage, answer.request, answer.model.as_str(), created);
    // None once the last frame is out.
    let state = Some((answer.events, encoder));
    stream::unfold(state, move |state| {
        let exchange = exchange.clone();
        async move {
            let (mut events, mut encoder) = state?;
            let Ok(event) = timeout(KEEP_ALIVE_INTERVAL, events.next()).await else {
                return Some((Bytes::from_static(KEEP_ALIVE), Some((events, encoder))));
            };
            if let Some(Ok(Event::Usage { input, output })) = event {
                exchange.used(input, output);
            }
            match encoder.encode(event) {
                Step::More(frames) => Some((frames, Some((events, encoder)))),
                Step::Complete(frames) => Some((frames, None)),
                Step::Broken(frames, error) => {
                    exchange.failed(&error);
                    Some((frames, None))
                }
            }
        }
    })
    .filter(|frames| std::future::ready(!frames.is_empty()))
}

/// Turns events into frames. Pure.
struct Encoder {
    protocol: Protocol,
    request: RequestId,
    head: Head,
    include_usage: bool,
    usage: Option<Usage>,
    begun: bool,
}

/// The frames of one event, perhaps none, and what comes after them.
enum Step {
    /// Further events.
    More(Bytes),
    /// Nothing: the answer is whole.
    Complete(Bytes),
    /// Nothing: it ended with an error.
    Broken(Bytes, ApiError),
}

impl Encoder {
    fn new(protocol: Protocol, include_usage: bool, request: RequestId, model: &str, created: u64) -> Self {
        let head = Head::new(protocol, true, request, model, created);
        Self { protocol, request, head, include_usage, usage: None, begun: false }
    }

    /// `event` is what the stream of events gave.
    fn encode(&mut self, event: Option<Result<Event, PathError>>) -> Step {
        let mut out = Vec::new();
        match event {
            Some(Ok(Event::Delta(delta))) => {
                self.begin(&mut out);
                self.piece(&mut out, Some(delta.expose()), None);
                Step::More(out.into())
            }
            Some(Ok(Event::Usage { input, output })) => {
                // OpenAI's order is the reason to finish, then the usage: it is kept until then.
                self.usage = Some(Usage::new(input, output));
                Step::More(out.into())
            }
            Some(Ok(Event::Finished(reason))) => {
                self.begin(&mut out);
                self.piece(&mut out, None, Some(reason));
                if let Some(usage) = self.usage.filter(|_| self.include_usage) {
                    self.total(&mut out, usage);
                }
                out.extend_from_slice(DONE);
                Step::Complete(out.into())
            }
            Some(Err(error)) => self.fail(ApiError::Path { error, input: self.protocol.input() }),
            // A stream that ends without a last event breaks the contract of events.
            None => self.fail(ApiError::Internal),
        }
    }

    fn fail(&self, error: ApiError) -> Step {
        let mut out = Vec::new();
        frame(&mut out, &error.body(self.request));
        Step::Broken(out.into(), error)
    }

    /// The first chunk of a conversation says who speaks.
    fn begin(&mut self, out: &mut Vec<u8>) {
        let first = !std::mem::replace(&mut self.begun, true);
        if first && self.protocol == Protocol::Chat {
            self.chat_chunk(out, Delta { role: Some("assistant"), content: Some("") }, None);
        }
    }

    /// A piece of the text, or the end of it.
    fn piece(&self, out: &mut Vec<u8>, text: Option<&str>, reason: Option<FinishReason>) {
        match self.protocol {
            Protocol::Chat => self.chat_chunk(out, Delta { role: None, content: text }, reason),
            Protocol::Completions => {
                let choice = TextChoice {
                    index: 0,
                    text: text.unwrap_or_default(),
                    logprobs: None,
                    finish_reason: reason.map(FinishReason::as_str),
                };
                frame(out, &TextCompletion { head: &self.head, choices: &[choice], usage: self.later() });
            }
        }
    }

    fn chat_chunk(&self, out: &mut Vec<u8>, delta: Delta<'_>, reason: Option<FinishReason>) {
        let choice =
            ChunkChoice { index: 0, delta, logprobs: None, finish_reason: reason.map(FinishReason::as_str) };
        frame(out, &ChatCompletionChunk { head: &self.head, choices: &[choice], usage: self.later() });
    }

    /// What the answer cost.
    fn total(&self, out: &mut Vec<u8>, usage: Usage) {
        let (head, usage) = (&self.head, ChunkUsage::Known(usage));
        match self.protocol {
            Protocol::Chat => frame(out, &ChatCompletionChunk { head, choices: &[], usage }),
            Protocol::Completions => frame(out, &TextCompletion { head, choices: &[], usage }),
        }
    }

    fn later(&self) -> ChunkUsage {
        if self.include_usage { ChunkUsage::Later } else { ChunkUsage::Absent }
    }
}

/// One event of the stream. JSON holds no line ends, so one `data:` line is enough.
#[allow(clippy::expect_used)]
fn frame(out: &mut Vec<u8>, value: &impl Serialize) {
    out.extend_from_slice(b"data: ");
    // Writing to memory does not fail, and these structs have no maps with keys that are not strings.
    serde_json::to_writer(&mut *out, value).expect("a chunk is valid JSON");
    out.extend_from_slice(b"\n\n");
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::Duration,
    };

    use engine::EngineError;
    use futures::stream::BoxStream;
    use types::{Prompt, Tokens};

    use super::*;

    type Events = Vec<Result<Event, PathError>>;

    fn delta(text: &str) -> Event {
        Event::Delta(Prompt::from(text.to_owned()))
    }

    /// These pieces, and a proper end.
    fn ended(pieces: &[&str]) -> Events {
        let end = [Event::Usage { input: Tokens(3), output: Tokens(2) }, Event::Finished(FinishReason::Stop)];
        pieces.iter().map(|piece| delta(piece)).chain(end).map(Ok).collect()
    }

    /// The stream's text. Ids and the like, which every chunk has, are shortened to `HEAD`.
    fn text(protocol: Protocol, include_usage: bool, events: Events) -> String {
        let mut encoder = Encoder::new(protocol, include_usage, RequestId(10), "m", 7);
        let mut text = String::new();
        for event in events.into_iter().map(Some).chain([None]) {
            let step = encoder.encode(event);
            let (Step::More(frames) | Step::Complete(frames) | Step::Broken(frames, _)) = &step;
            text.push_str(std::str::from_utf8(frames).unwrap());
            if !matches!(step, Step::More(_)) {
                break;
            }
        }
        let head = match protocol {
            Protocol::Chat => {
                "\"id\":\"chatcmpl-0000000000000000000000000000000a\",\"object\":\"chat.completion.chunk\",\"created\":7,\"model\":\"m\""
            }
            Protocol::Completions => {
                "\"id\":\"cmpl-0000000000000000000000000000000a\",\"object\":\"text_completion\",\"created\":7,\"model\":\"m\""
            }
        };
        text.replace(head, "HEAD")
    }

    #[test]
    fn chat_streams_as_openai_does() {
        assert_eq!(
            text(Protocol::Chat, false, ended(&["He\nllo", " \"you\""])),
            r#"data: {HEAD,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}

data: {HEAD,"choices":[{"index":0,"delta":{"content":"He\nllo"},"logprobs":null,"finish_reason":null}]}

data: {HEAD,"choices":[{"index":0,"delta":{"content":" \"you\""},"logprobs":null,"finish_reason":null}]}

data: {HEAD,"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}]}

data: [DONE]

"#
        );
    }

    #[test]
    fn usage_comes_last_and_is_null_before() {
        assert_eq!(
            text(Protocol::Chat, true, ended(&[])),
            r#"data: {HEAD,"choices":[{"index":0,"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}],"usage":null}

data: {HEAD,"choices":[{"index":0,"delta":{},"logprobs":null,"finish_reason":"stop"}],"usage":null}

data: {HEAD,"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}

data: [DONE]

"#
        );
    }

    #[test]
    fn completions_stream_as_openai_does() {
        assert_eq!(
            text(Protocol::Completions, true, ended(&["a"])),
            r#"data: {HEAD,"choices":[{"index":0,"text":"a","logprobs":null,"finish_reason":null}],"usage":null}

data: {HEAD,"choices":[{"index":0,"text":"","logprobs":null,"finish_reason":"stop"}],"usage":null}

data: {HEAD,"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":2,"total_tokens":5}}

data: [DONE]

"#
        );
    }

    #[test]
    fn an_error_ends_the_stream_without_done() {
        let killed =
            text(Protocol::Completions, false, vec![Ok(delta("a")), Err(EngineError::Killed.into())]);
        let (_, last) = killed.trim_end().rsplit_once("\n\n").unwrap();
        assert_eq!(
            last,
            r#"data: {"error":{"message":"an operator ended this request","type":"invalid_request_error","param":null,"code":"request_killed","request_id":"0000000000000000000000000000000a"}}"#
        );
        let broken_off = text(Protocol::Chat, false, vec![Ok(delta("a"))]);
        assert!(broken_off.contains("internal_error") && !broken_off.contains("[DONE]"));
    }

    fn answer(events: BoxStream<'static, Result<Event, PathError>>) -> Answer {
        Answer { request: RequestId(1), model: "m".parse().unwrap(), events }
    }

    #[tokio::test(start_paused = true)]
    async fn silence_is_filled_with_comments() {
        let events = stream::once(async {
            tokio::time::sleep(KEEP_ALIVE_INTERVAL * 5 / 2).await;
            Ok(Event::Finished(FinishReason::Length))
        });
        let frames = frames(answer(events.boxed()), Protocol::Completions, 7, false, Exchange::new());
        let frames: Vec<Bytes> = frames.collect().await;
        assert_eq!(frames[..2], [KEEP_ALIVE, KEEP_ALIVE]);
        assert!(frames[2].ends_with(DONE));
        assert_eq!(frames.len(), 3);
    }

    /// Sets its flag when it is dropped.
    struct Alarm(Arc<AtomicBool>);

    impl Drop for Alarm {
        fn drop(&mut self) {
            self.0.store(true, Ordering::Release);
        }
    }

    /// Events that begin and then never come, and a flag that says when they were dropped.
    fn endless() -> (Answer, Arc<AtomicBool>) {
        let dropped = Arc::new(AtomicBool::new(false));
        let alarm = Alarm(dropped.clone());
        let silence = stream::poll_fn(move |_| {
            let _alarm = &alarm;
            std::task::Poll::Pending
        });
        (answer(stream::iter([Ok(delta("a"))]).chain(silence).boxed()), dropped)
    }

    /// Whether the events are dropped when the caller closes the connection, `seen` being the text after which it
    /// does so (none: at once after the request was sent).
    async fn cancelled_by_leaving(whole: bool, seen: Option<&str>) -> bool {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (answer, dropped) = endless();
        let answer = Arc::new(std::sync::Mutex::new(Some(answer)));
        let began = Arc::new(tokio::sync::Notify::new());
        let handler = {
            let began = began.clone();
            move || {
                let answer = answer.lock().unwrap().take().unwrap();
                let began = began.clone();
                async move {
                    began.notify_one();
                    let exchange = Exchange::new();
                    if whole {
                        super::super::answer::whole(answer, Protocol::Chat, 7, &exchange).await
                    } else {
                        Ok(respond(answer, Protocol::Chat, 7, false, exchange))
                    }
                }
            }
        };
        let server =
            crate::server::tests::Running::start(axum::Router::new().route("/", axum::routing::get(handler)))
                .await;
        let mut connection = tokio::net::TcpStream::connect(server.address).await.unwrap();
        connection.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        began.notified().await;
        let mut received = String::new();
        while !seen.is_none_or(|seen| received.contains(seen)) {
            let mut buffer = [0; 4096];
            let n = connection.read(&mut buffer).await.unwrap();
            assert_ne!(n, 0, "the connection was closed after {received}");
            received.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
        }
        assert!(!dropped.load(Ordering::Acquire));
        drop(connection);
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        while !dropped.load(Ordering::Acquire) && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        dropped.load(Ordering::Acquire)
    }

    #[tokio::test]
    async fn leaving_a_stream_cancels_the_work() {
        assert!(cancelled_by_leaving(false, Some("\"content\":\"a\"")).await);
    }

    #[tokio::test]
    async fn leaving_before_a_whole_answer_cancels_the_work() {
        assert!(cancelled_by_leaving(true, None).await);
    }
}
