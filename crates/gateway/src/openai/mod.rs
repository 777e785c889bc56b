//! OpenAI's protocol: chat completions, completions, embeddings and the list of models, as the official clients speak
//! it; and reranking, for which OpenAI has no protocol, as Jina's clients do.

pub(crate) mod answer;
pub(crate) mod chat;
pub(crate) mod completions;
pub(crate) mod embeddings;
mod fields;
pub(crate) mod models;
pub(crate) mod rerank;
mod sampling;
pub(crate) mod stored;
mod stream;
mod transcript;

use access::Credential;
use axum::response::Response;
use path::Path;
use types::GenerateRequest;

use crate::{error::ApiError, exchange::Exchange};

/// Which of the two shapes a caller speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    /// `/v1/chat/completions`.
    Chat,
    /// `/v1/completions`.
    Completions,
}

impl Protocol {
    /// The parameter that holds what the model reads.
    fn input(self) -> &'static str {
        match self {
            Self::Chat => "messages",
            Self::Completions => "prompt",
        }
    }
}

/// How the answer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    /// One JSON object.
    Whole,
    /// Server-sent events.
    Stream {
        /// Whether the last of them says what it cost.
        include_usage: bool,
    },
}

/// A request, parsed and checked.
pub(crate) struct Asked {
    /// For the path.
    pub(crate) request: GenerateRequest,
    /// For the answer.
    protocol: Protocol,
    /// For the answer.
    delivery: Delivery,
    /// What is stored of it, if anything.
    keep: Option<transcript::Asked>,
}

/// Sends it along the path and the answer back.
async fn generate(
    path: &Path,
    credential: Credential,
    exchange: Exchange,
    asked: Asked,
) -> Result<Response, ApiError> {
    let Asked { request, protocol, delivery, keep } = asked;
    let created = answer::now();
    let keep = keep.map(|asked| asked.keep(created));
    let answer = path
        .serve(credential, request, keep)
        .await
        .map_err(|error| ApiError::Path { error, input: protocol.input() })?;
    exchange.answered_by(&answer.model);
    match delivery {
        Delivery::Whole => answer::whole(answer, protocol, created, &exchange).await,
        Delivery::Stream { include_usage } => {
            Ok(stream::respond(answer, protocol, created, include_usage, exchange))
        }
    }
}
