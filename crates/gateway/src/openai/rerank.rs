//! `POST /v1/rerank`, as Jina's clients speak it.

use std::{fmt, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::HeaderMap;
use path::{PathError, Ranking};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::json;
use types::{OutOfRange, Prompt, RequestId, RerankRequest, Tokens};
use utoipa::ToSchema;

use super::{
    fields::{Count, Text},
    sampling::{declared, missing},
};
use crate::{
    body::JsonBody,
    credential::Caller,
    described::{ClassName, DataClassName, NameOfModel, described},
    error::{ApiError, ErrorBody},
    exchange::Exchange,
    json::Object,
    limits::DOCUMENTS_MAX,
    routes::Gateway,
};

/// Documents to be put in the order of their relevance. Parameters that are not listed here are refused.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RankingRequest {
    /// Name or alias of the model: one that ranks, or one that embeds.
    #[schema(required = true, value_type = NameOfModel)]
    model: Option<String>,
    /// What is looked for.
    #[schema(required = true, value_type = String, min_length = 1)]
    query: Option<Text>,
    /// 1 to 2048 texts, bare or as `{"text": "…"}`.
    #[schema(required = true, value_type = Documents)]
    documents: Option<Documents>,
    /// How many of the best are wanted, at least 1 [default: all].
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 4_294_967_295.0)]
    top_n: Option<Count>,
    /// Whether the answer repeats the documents [default: true].
    return_documents: Option<bool>,
    /// Accepted and not used: who asks is known from the key.
    #[allow(dead_code)]
    user: Option<String>,
}

/// At most [`DOCUMENTS_MAX`] documents.
struct Documents(Vec<Arc<Prompt>>);

described! {
    Documents = json!({
        "type": "array", "minItems": 1,
        "items": { "anyOf": [
            { "type": "string", "minLength": 1 },
            {
                "type": "object", "required": ["text"], "additionalProperties": false,
                "properties": { "text": { "type": "string", "minLength": 1 } },
            },
        ] },
    });
}

/// A document in an object of its own.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wrapped {
    text: Text,
}

/// A document, bare or wrapped.
struct Document(Prompt);

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BareOrWrapped;

        impl<'de> Visitor<'de> for BareOrWrapped {
            type Value = Document;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string or {\"text\": \"…\"}")
            }

            fn visit_str<E>(self, text: &str) -> Result<Document, E> {
                Ok(Document(Prompt::from(text.to_owned())))
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, fields: A) -> Result<Document, A::Error> {
                let deserializer = serde::de::value::MapAccessDeserializer::new(fields);
                let Object(Wrapped { text: Text(text) }) = Object::deserialize(deserializer)?;
                Ok(Document(text))
            }
        }

        deserializer.deserialize_any(BareOrWrapped)
    }
}

impl<'de> Deserialize<'de> for Documents {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bounded;

        impl<'de> Visitor<'de> for Bounded {
            type Value = Documents;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of documents")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Documents, A::Error> {
                let mut documents = Vec::new();
                while let Some(Document(text)) = items.next_element()? {
                    if documents.len() == DOCUMENTS_MAX {
                        return Err(A::Error::custom(format_args!(
                            "a request has at most {DOCUMENTS_MAX} documents"
                        )));
                    }
                    documents.push(Arc::new(text));
                }
                if documents.is_empty() {
                    return Err(A::Error::invalid_length(0, &"at least one document"));
                }
                Ok(Documents(documents))
            }
        }

        deserializer.deserialize_seq(Bounded)
    }
}

impl RankingRequest {
    /// The request as the path takes it, and whether the answer repeats the documents.
    fn ask(self, id: RequestId, headers: &HeaderMap) -> Result<(RerankRequest, bool), ApiError> {
        let Text(query) = self.query.ok_or_else(|| missing("query"))?;
        let Documents(documents) = self.documents.ok_or_else(|| missing("documents"))?;
        if query.is_empty() {
            return Err(ApiError::parameter(
                "query",
                "`query` is an empty text, to which nothing is relevant",
            ));
        }
        if let Some(index) = documents.iter().position(|text| text.is_empty()) {
            return Err(ApiError::parameter("documents", format!("document {index} is an empty text")));
        }
        if self.top_n == Some(Count(0)) {
            return Err(OutOfRange::new("top_n", 0, format!("1 to {}", u32::MAX)).into());
        }
        let request = RerankRequest {
            id,
            model: self.model.ok_or_else(|| missing("model"))?.parse()?,
            query: Arc::new(query),
            documents,
            best: self.top_n.map(|Count(count)| count),
            declared: declared(headers)?,
        };
        Ok((request, self.return_documents.unwrap_or(true)))
    }
}

/// Documents in the order of their relevance.
#[derive(Serialize, ToSchema)]
struct RankingAnswer<'a> {
    /// The model's configured name, whatever alias was asked for.
    model: &'a str,
    /// `rank`: the model read query and document together, and the scores are its own, in a range of its own.
    /// `cosine`: the model only embeds, and the scores are the cosines of embeddings, -1 to 1. Not in Jina's API.
    method: &'static str,
    /// The most relevant first.
    results: Vec<RankedDocument<'a>>,
    /// What it cost.
    usage: RankingUsage,
}

/// How relevant one document is.
#[derive(Serialize, ToSchema)]
struct RankedDocument<'a> {
    /// Its place among the documents that were sent, from 0.
    index: usize,
    /// Higher is more relevant.
    relevance_score: f32,
    /// Absent if it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    document: Option<ReturnedDocument<'a>>,
}

/// A document that was sent.
#[derive(Serialize, ToSchema)]
struct ReturnedDocument<'a> {
    /// The text.
    text: &'a str,
}

/// What a ranking cost.
#[derive(Serialize, ToSchema)]
struct RankingUsage {
    /// Tokens read: by rank the query counts with each document, by cosine once.
    total_tokens: u32,
}

/// `documents` are those that were sent, if they are to be repeated.
fn written(ranking: &Ranking, documents: Option<&[Arc<Prompt>]>) -> Response {
    let results = ranking.best.iter().map(|one| {
        let document = documents.and_then(|documents| documents.get(one.index));
        RankedDocument {
            index: one.index,
            relevance_score: one.score,
            document: document.map(|text| ReturnedDocument { text: text.expose() }),
        }
    });
    let answer = RankingAnswer {
        model: ranking.model.as_str(),
        method: ranking.method.as_str(),
        results: results.collect(),
        usage: RankingUsage { total_tokens: ranking.input.0 },
    };
    Json(answer).into_response()
}

/// Rerank documents
///
/// A model that ranks reads the query together with each document. Where the model only embeds, documents are
/// ordered by the cosine between their embedding and the query's; `method` says which of the two it was.
#[utoipa::path(
    post,
    path = "/v1/rerank",
    tag = "openai",
    request_body = RankingRequest,
    params(
        ("llmos-class" = Option<ClassName>, Header, description = "How urgent: batch, normal, interactive or system; at most what the key allows"),
        ("llmos-data-class" = Option<DataClassName>, Header, description = "How sensitive the data is: public, internal, confidential or restricted; at most what the key allows"),
    ),
    responses(
        (status = 200, description = "The documents, the most relevant first", body = RankingAnswer<'_>),
        (status = "4XX", description = "The request cannot be answered", body = ErrorBody),
        (status = "5XX", description = "It cannot be answered now", body = ErrorBody),
    ),
)]
pub(crate) async fn rerank(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    exchange: Exchange,
    headers: HeaderMap,
    JsonBody(request): JsonBody<RankingRequest>,
) -> Result<Response, ApiError> {
    let (request, repeats) = request.ask(exchange.id(), &headers)?;
    let documents = repeats.then(|| request.documents.clone());
    let told = |error: PathError| ApiError::Path { error, input: "documents" };
    let ranking = gateway.path.rerank(credential, request).await.map_err(told)?;
    exchange.answered_by(&ranking.model);
    exchange.used(ranking.input, Tokens(0));
    Ok(written(&ranking, documents.as_deref()))
}

#[cfg(test)]
mod tests;
