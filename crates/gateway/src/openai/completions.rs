//! `POST /v1/completions`.

use std::sync::Arc;

use axum::{extract::State, response::Response};
use http::HeaderMap;
use types::{Input, RequestId, Tokens};

use super::{
    Asked, Protocol,
    answer::TextCompletion,
    fields::{Count, RawPrompt},
    generate,
    sampling::{generation_request, missing},
};
use crate::{
    body::JsonBody,
    credential::Caller,
    described::{ClassName, DataClassName},
    error::{ApiError, ErrorBody},
    exchange::Exchange,
    json::Given,
    routes::Gateway,
};

/// Most tokens of an answer when nothing is said, as in OpenAI's API.
const TOKENS_MAX_DEFAULT: Tokens = Tokens(16);

generation_request! {
    /// A text to be continued. Parameters of OpenAI's that are not listed here are refused.
    CompletionRequest {
        /// A text, an array of token ids, or an array of one of these. Special tokens in the text are tokens.
        #[schema(required = true, value_type = RawPrompt)]
        prompt: Option<RawPrompt>,
        /// Number of answers to choose from: only 1.
        #[schema(value_type = Option<u64>, minimum = 1, maximum = 1)]
        best_of: Option<Count>,
        #[serde(default)]
        #[schema(ignore)]
        echo: Given,
        #[serde(default)]
        #[schema(ignore)]
        suffix: Given,
        #[serde(default)]
        #[schema(ignore)]
        logprobs: Given,
    }
}

impl CompletionRequest {
    /// The request as the path takes it.
    fn ask(mut self, id: RequestId, headers: &HeaderMap) -> Result<Asked, ApiError> {
        for (parameter, given) in
            [("echo", &self.echo), ("suffix", &self.suffix), ("logprobs", &self.logprobs)]
        {
            given.refuse(parameter, &[])?;
        }
        if self.best_of.is_some_and(|best_of| best_of != Count(1)) {
            let sentence = "`best_of` is not offered by this server; leave it out or send 1";
            return Err(ApiError::parameter("best_of", sentence));
        }
        let shared = self.shared();
        let input = match self.prompt.take().ok_or_else(|| missing("prompt"))? {
            RawPrompt::Text(text) => Input::Text(text),
            RawPrompt::Tokens(tokens) => Input::Tokens(tokens),
        };
        let tokens_max = shared.tokens_max()?.unwrap_or(TOKENS_MAX_DEFAULT);
        shared.ask(id, headers, Protocol::Completions, input, Some(tokens_max))
    }
}

/// Continue a text
///
/// The prompt is given to the model as it is, without a chat template. With `stream` the answer comes as
/// server-sent events, each with one `TextCompletion`, and `[DONE]` at the end; an error after the beginning is an
/// event with an `ErrorBody`, and no `[DONE]` follows.
#[utoipa::path(
    post,
    path = "/v1/completions",
    tag = "openai",
    request_body = CompletionRequest,
    params(
        ("llmos-class" = Option<ClassName>, Header, description = "How urgent: batch, normal, interactive or system; at most what the key allows"),
        ("llmos-data-class" = Option<DataClassName>, Header, description = "How sensitive the data is: public, internal, confidential or restricted; at most what the key allows"),
    ),
    responses(
        (status = 200, description = "The answer", content(
            (TextCompletion<'_> = "application/json"),
            (TextCompletion<'_> = "text/event-stream"),
        )),
        (status = "4XX", description = "The request cannot be answered", body = ErrorBody),
        (status = "5XX", description = "It cannot be answered now", body = ErrorBody),
    ),
)]
pub(crate) async fn completions(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    exchange: Exchange,
    headers: HeaderMap,
    JsonBody(request): JsonBody<CompletionRequest>,
) -> Result<Response, ApiError> {
    let asked = request.ask(exchange.id(), &headers)?;
    generate(&gateway.path, credential, exchange, asked).await
}

#[cfg(test)]
mod tests;
