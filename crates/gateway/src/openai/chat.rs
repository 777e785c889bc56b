//! `POST /v1/chat/completions`.

use std::{fmt, sync::Arc};

use axum::{extract::State, response::Response};
use http::HeaderMap;
use serde::{
    Deserialize, Deserializer,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::json;
use types::{Input, Message, RequestId, Speaker};
use utoipa::ToSchema;

use super::{
    Asked, Protocol,
    answer::{ChatCompletion, ChatCompletionChunk},
    fields::{Content, Count, Metadata},
    generate,
    sampling::{at_least_one, generation_request, missing},
    transcript,
};
use crate::{
    body::JsonBody,
    credential::Caller,
    described::{ClassName, DataClassName, described},
    error::{ApiError, ErrorBody},
    exchange::Exchange,
    json::{Given, Object},
    limits::MESSAGES_MAX,
    routes::Gateway,
};

generation_request! {
    /// A conversation to be continued. Parameters of OpenAI's that are not listed here are refused.
    ChatRequest {
        /// The conversation so far, 1 to 4096 messages.
        #[schema(required = true, value_type = Vec<ChatMessage>, min_items = 1)]
        messages: Option<Messages>,
        /// The newer name of `max_tokens`; only one of the two may be given.
        #[schema(value_type = Option<u64>, minimum = 1, maximum = 4_294_967_295.0)]
        max_completion_tokens: Option<Count>,
        /// Only `{"type": "text"}`.
        #[schema(value_type = Option<ResponseFormat>)]
        response_format: Option<Object<ResponseFormat>>,
        /// Only `auto` and `default`.
        #[schema(value_type = Option<ServiceTier>)]
        service_tier: Option<String>,
        /// Attached to what is stored: at most 16 texts by name. Without `store` it is not used.
        metadata: Option<Metadata>,
        /// Whether conversation and answer are stored, sealed, before the answer ends. Not with `Cache-Control: no-store`.
        store: Option<bool>,
        /// Accepted and not used: there are no tools.
        #[allow(dead_code)]
        parallel_tool_calls: Option<bool>,
        /// Accepted and not used: KV memory is shared by identity, not by name.
        #[allow(dead_code)]
        prompt_cache_key: Option<String>,
        /// Accepted and not used: who asks is known from the key.
        #[allow(dead_code)]
        safety_identifier: Option<String>,
        /// Only `["text"]`.
        #[schema(value_type = Option<Modalities>)]
        modalities: Option<Vec<String>>,
        #[serde(default)]
        #[schema(ignore)]
        logprobs: Given,
        #[serde(default)]
        #[schema(ignore)]
        top_logprobs: Given,
        #[serde(default)]
        #[schema(ignore)]
        tools: Given,
        #[serde(default)]
        #[schema(ignore)]
        tool_choice: Given,
        #[serde(default)]
        #[schema(ignore)]
        functions: Given,
        #[serde(default)]
        #[schema(ignore)]
        function_call: Given,
        #[serde(default)]
        #[schema(ignore)]
        audio: Given,
        #[serde(default)]
        #[schema(ignore)]
        prediction: Given,
        #[serde(default)]
        #[schema(ignore)]
        reasoning_effort: Given,
        #[serde(default)]
        #[schema(ignore)]
        verbosity: Given,
        #[serde(default)]
        #[schema(ignore)]
        web_search_options: Given,
    }
}

/// One turn of the conversation.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ChatMessage {
    /// `system`, `developer` (the same), `user` or `assistant`.
    #[schema(required = true, value_type = SpeakerName)]
    role: Option<String>,
    /// A text, or an array of parts `{"type": "text", "text": "…"}`, which are joined by line ends.
    #[schema(required = true, value_type = Content)]
    content: Option<Content>,
    #[serde(default)]
    #[schema(ignore)]
    name: Given,
    #[serde(default)]
    #[schema(ignore)]
    tool_calls: Given,
    #[serde(default)]
    #[schema(ignore)]
    tool_call_id: Given,
    #[serde(default)]
    #[schema(ignore)]
    function_call: Given,
    #[serde(default)]
    #[schema(ignore)]
    refusal: Given,
    #[serde(default)]
    #[schema(ignore)]
    audio: Given,
    #[serde(default)]
    #[schema(ignore)]
    annotations: Given,
}

/// The form of the answer.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ResponseFormat {
    /// Only `text`.
    #[schema(required = true, value_type = FormatName)]
    r#type: Option<String>,
    #[serde(default)]
    #[schema(ignore)]
    #[allow(dead_code)]
    json_schema: Given,
}

/// How `service_tier` is written.
enum ServiceTier {}
/// How `modalities` is written.
enum Modalities {}
/// How `role` is written.
enum SpeakerName {}
/// How the `type` of a format is written.
enum FormatName {}

described! {
    ServiceTier = json!({ "type": "string", "enum": ["auto", "default"] });
    Modalities = json!({ "type": "array", "items": { "type": "string", "enum": ["text"] }, "minItems": 1, "maxItems": 1 });
    SpeakerName = json!({ "type": "string", "enum": ["system", "developer", "user", "assistant"] });
    FormatName = json!({ "type": "string", "enum": ["text"] });
}

/// At most [`MESSAGES_MAX`] messages.
struct Messages(Vec<ChatMessage>);

impl<'de> Deserialize<'de> for Messages {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Messages;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of messages")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Messages, A::Error> {
                let mut messages = Vec::new();
                while let Some(Object(message)) = items.next_element()? {
                    if messages.len() == MESSAGES_MAX {
                        return Err(A::Error::custom(format_args!(
                            "a conversation has at most {MESSAGES_MAX} messages"
                        )));
                    }
                    messages.push(message);
                }
                Ok(Messages(messages))
            }
        }

        deserializer.deserialize_seq(Bounded)
    }
}

impl ChatRequest {
    /// The request as the path takes it.
    pub(crate) fn ask(mut self, id: RequestId, headers: &HeaderMap) -> Result<Asked, ApiError> {
        self.refuse_what_is_not_offered()?;
        let shared = self.shared();
        let Messages(messages) = self.messages.take().ok_or_else(|| missing("messages"))?;
        if messages.is_empty() {
            return Err(ApiError::parameter("messages", "`messages` is empty; send at least one message"));
        }
        let tokens_max = match (shared.tokens_max()?, self.max_completion_tokens) {
            (old, None) => old,
            (None, Some(new)) => Some(at_least_one("max_completion_tokens", new)?),
            (Some(_), Some(_)) => {
                let sentence = "`max_tokens` and `max_completion_tokens` are the same; send only one of them";
                return Err(ApiError::parameter("max_tokens", sentence));
            }
        };
        let messages = messages.into_iter().enumerate().map(|(index, message)| message.spoken(index));
        let messages = messages.collect::<Result<Vec<_>, _>>()?;
        let keep = match self.store {
            Some(true) => Some(transcript::Asked::new(headers, &messages, self.metadata.take())?),
            _ => None,
        };
        let asked = shared.ask(id, headers, Protocol::Chat, Input::Chat(messages), tokens_max)?;
        Ok(Asked { keep, ..asked })
    }

    fn refuse_what_is_not_offered(&self) -> Result<(), ApiError> {
        for (parameter, given) in [("tools", &self.tools), ("functions", &self.functions)] {
            if *given != Given::Nothing {
                let sentence = format!("this server cannot call tools yet; leave `{parameter}` out");
                return Err(ApiError::parameter(parameter, sentence));
            }
        }
        for (parameter, given, neutral) in [
            ("tool_choice", &self.tool_choice, &["none", "auto"][..]),
            ("function_call", &self.function_call, &["none", "auto"]),
            ("logprobs", &self.logprobs, &[]),
            ("top_logprobs", &self.top_logprobs, &[]),
            ("audio", &self.audio, &[]),
            ("prediction", &self.prediction, &[]),
            ("reasoning_effort", &self.reasoning_effort, &["none"]),
            ("verbosity", &self.verbosity, &[]),
            ("web_search_options", &self.web_search_options, &[]),
        ] {
            given.refuse(parameter, neutral)?;
        }
        if let Some(Object(format)) = &self.response_format
            && format.r#type.as_deref() != Some("text")
        {
            let sentence = "only the response format {\"type\": \"text\"} is offered by this server";
            return Err(ApiError::parameter("response_format", sentence));
        }
        if self.service_tier.as_deref().is_some_and(|tier| !["auto", "default"].contains(&tier)) {
            let sentence =
                "`service_tier` is `auto` or `default` on this server; use the header `llmos-class`";
            return Err(ApiError::parameter("service_tier", sentence));
        }
        if self.modalities.as_ref().is_some_and(|modalities| modalities != &["text"]) {
            return Err(ApiError::parameter("modalities", "only [\"text\"] is offered by this server"));
        }
        Ok(())
    }
}

impl ChatMessage {
    /// The message as the path takes it. `index` is its place, for complaints.
    fn spoken(self, index: usize) -> Result<Message, ApiError> {
        let complain = |field: &str, sentence: String| {
            Err(ApiError::parameter(format!("messages[{index}].{field}"), sentence))
        };
        let speaker = match self.role.as_deref() {
            Some("system" | "developer") => Speaker::System,
            Some("user") => Speaker::User,
            Some("assistant") => Speaker::Assistant,
            Some(role @ ("tool" | "function")) => {
                return complain(
                    "role",
                    format!("this server cannot call tools yet, so there is no role `{role}`"),
                );
            }
            Some(_) => {
                let sentence = format!(
                    "`messages[{index}].role` is unknown; allowed: system, developer, user, assistant"
                );
                return complain("role", sentence);
            }
            None => return complain("role", format!("`messages[{index}].role` is missing")),
        };
        for (field, given) in [
            ("name", &self.name),
            ("tool_calls", &self.tool_calls),
            ("tool_call_id", &self.tool_call_id),
            ("function_call", &self.function_call),
            ("refusal", &self.refusal),
            ("audio", &self.audio),
            ("annotations", &self.annotations),
        ] {
            given.refuse(&format!("messages[{index}].{field}"), &[])?;
        }
        let Some(Content(content)) = self.content else {
            return complain("content", format!("`messages[{index}].content` is missing; send a text"));
        };
        Ok(Message { speaker, content })
    }
}

/// Continue a conversation
///
/// The last message is answered by the model. With `stream` the answer comes as server-sent events, each with one
/// `ChatCompletionChunk`, and `[DONE]` at the end; an error after the beginning is an event with an `ErrorBody`,
/// and no `[DONE]` follows.
#[utoipa::path(
    post,
    path = "/v1/chat/completions",
    tag = "openai",
    request_body = ChatRequest,
    params(
        ("llmos-class" = Option<ClassName>, Header, description = "How urgent: batch, normal, interactive or system; at most what the key allows"),
        ("llmos-data-class" = Option<DataClassName>, Header, description = "How sensitive the data is: public, internal, confidential or restricted; at most what the key allows"),
        ("llmos-subject" = Option<String>, Header, description = "With `store`: the person that the conversation is about, whose key seals it; without it the user of the key"),
        ("cache-control" = Option<String>, Header, description = "`no-store`: nothing of this request may be stored"),
    ),
    responses(
        (status = 200, description = "The answer", content(
            (ChatCompletion<'_> = "application/json"),
            (ChatCompletionChunk<'_> = "text/event-stream"),
        )),
        (status = "4XX", description = "The request cannot be answered", body = ErrorBody),
        (status = "5XX", description = "It cannot be answered now", body = ErrorBody),
    ),
)]
pub(crate) async fn chat_completions(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    exchange: Exchange,
    headers: HeaderMap,
    JsonBody(request): JsonBody<ChatRequest>,
) -> Result<Response, ApiError> {
    let asked = request.ask(exchange.id(), &headers)?;
    generate(&gateway.path, credential, exchange, asked).await
}

#[cfg(test)]
mod tests;
