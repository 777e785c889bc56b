//! `POST /v1/embeddings`.

use std::{fmt, sync::Arc};

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use data_encoding::BASE64;
use http::HeaderMap;
use path::{Embeddings, PathError};
use serde::{
    Deserialize, Deserializer, Serialize,
    de::{Error, SeqAccess, Visitor},
};
use serde_json::json;
use types::{EmbedRequest, Passage, Prompt, RequestId, Tokens, Vector};
use utoipa::ToSchema;

use super::{
    fields::{Count, Element},
    sampling::{declared, missing},
};
use crate::{
    body::JsonBody,
    credential::Caller,
    described::{ClassName, DataClassName, NameOfModel, count, described},
    error::{ApiError, ErrorBody},
    exchange::Exchange,
    limits::INPUTS_MAX,
    routes::Gateway,
};

/// Texts of which vectors are wanted. Parameters that are not listed here are refused.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct EmbeddingRequest {
    /// A text, an array of token ids, or an array of up to 2048 of either. None may be empty, or longer than the
    /// model reads at once: nothing is cut.
    #[schema(required = true, value_type = Inputs)]
    input: Option<Inputs>,
    /// Name or alias of the model.
    #[schema(required = true, value_type = NameOfModel)]
    model: Option<String>,
    /// `float` (the default) or `base64`: of the numbers as 32-bit floats, little end first.
    encoding_format: Option<Encoding>,
    /// How many numbers of each vector are wanted, from the first; what is left is scaled to length 1 again. For
    /// models that were trained for it.
    #[schema(value_type = Option<u64>, minimum = 1, maximum = 4_294_967_295.0)]
    dimensions: Option<Count>,
    /// Accepted and not used: who asks is known from the key.
    #[allow(dead_code)]
    user: Option<String>,
}

/// How vectors are written.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    #[default]
    Float,
    Base64,
}

impl<'de> Deserialize<'de> for Encoding {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl Visitor<'_> for Name {
            type Value = Encoding;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`float` or `base64`")
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Encoding, E> {
                match name {
                    "float" => Ok(Encoding::Float),
                    "base64" => Ok(Encoding::Base64),
                    _ => Err(E::unknown_variant(name, &["float", "base64"])),
                }
            }
        }

        deserializer.deserialize_str(Name)
    }
}

/// `input`: one text or array of token ids, or at most [`INPUTS_MAX`] of them.
struct Inputs(Vec<Passage>);

impl<'de> Deserialize<'de> for Inputs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneOrMany;

        impl<'de> Visitor<'de> for OneOrMany {
            type Value = Inputs;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an array of token ids, or an array of either")
            }

            fn visit_str<E>(self, text: &str) -> Result<Inputs, E> {
                Ok(Inputs(vec![Passage::Text(Arc::new(Prompt::from(text.to_owned())))]))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Inputs, A::Error> {
                let mut inputs = Vec::new();
                while let Some(element) = items.next_element()? {
                    match element {
                        Element::Token(token) if inputs.is_empty() => {
                            let mut tokens = vec![token];
                            while let Some(Count(token)) = items.next_element()? {
                                tokens.push(token);
                            }
                            return Ok(Inputs(vec![Passage::Tokens(tokens)]));
                        }
                        Element::Token(_) => {
                            return Err(A::Error::custom("token ids stand alone or in arrays of their own"));
                        }
                        Element::Text(text) => inputs.push(Passage::Text(Arc::new(text))),
                        Element::Tokens(tokens) => inputs.push(Passage::Tokens(tokens)),
                    }
                    if inputs.len() > INPUTS_MAX {
                        return Err(A::Error::custom(format_args!(
                            "a request has at most {INPUTS_MAX} inputs; send several requests"
                        )));
                    }
                }
                if inputs.is_empty() {
                    return Err(A::Error::invalid_length(0, &"at least one input"));
                }
                Ok(Inputs(inputs))
            }
        }

        deserializer.deserialize_any(OneOrMany)
    }
}

impl EmbeddingRequest {
    /// The request as the path takes it, and how the answer is written.
    fn ask(self, id: RequestId, headers: &HeaderMap) -> Result<(EmbedRequest, Encoding), ApiError> {
        let Inputs(passages) = self.input.ok_or_else(|| missing("input"))?;
        let is_empty = |passage: &Passage| matches!(passage, Passage::Text(text) if text.is_empty());
        if let Some(index) = passages.iter().position(is_empty) {
            let sentence = format!("input {index} is an empty text, of which there is no embedding");
            return Err(ApiError::parameter("input", sentence));
        }
        let request = EmbedRequest {
            id,
            model: self.model.ok_or_else(|| missing("model"))?.parse()?,
            passages,
            dimensions: self.dimensions.map(|Count(count)| count),
            declared: declared(headers)?,
        };
        Ok((request, self.encoding_format.unwrap_or_default()))
    }
}

/// The vectors.
#[derive(Serialize, ToSchema)]
struct EmbeddingList<'a> {
    /// Always `list`.
    object: &'static str,
    /// One for each input, in their order.
    data: Vec<Embedding<'a>>,
    /// The model's configured name, whatever alias was asked for.
    model: &'a str,
    /// What it cost.
    usage: EmbeddingUsage,
}

/// The vector of one input.
#[derive(Serialize, ToSchema)]
#[allow(clippy::struct_field_names)] // The field names are OpenAI's.
struct Embedding<'a> {
    /// Always `embedding`.
    object: &'static str,
    /// The place of the input, from 0.
    index: usize,
    /// Numbers that together have length 1; or their base64.
    #[schema(value_type = VectorForm)]
    embedding: Written<'a>,
}

/// A vector as it is written.
#[derive(Serialize)]
#[serde(untagged)]
enum Written<'a> {
    Float(&'a [f32]),
    Base64(String),
}

impl<'a> Written<'a> {
    fn new(vector: &'a Vector, encoding: Encoding) -> Self {
        match encoding {
            Encoding::Float => Self::Float(vector.expose()),
            Encoding::Base64 => {
                let bytes: Vec<u8> = vector.expose().iter().flat_map(|number| number.to_le_bytes()).collect();
                Self::Base64(BASE64.encode(&bytes))
            }
        }
    }
}

/// How a vector is written.
enum VectorForm {}

described! {
    Encoding = json!({ "type": "string", "enum": ["float", "base64"] });
    Inputs = json!({ "anyOf": [
        { "type": "string", "minLength": 1 },
        { "type": "array", "items": count(0), "minItems": 1 },
        {
            "type": "array", "minItems": 1,
            "items": { "anyOf": [
                { "type": "string", "minLength": 1 }, { "type": "array", "items": count(0), "minItems": 1 },
            ] },
        },
    ] });
    VectorForm = json!({ "anyOf": [
        { "type": "array", "items": { "type": "number" } }, { "type": "string", "contentEncoding": "base64" },
    ] });
}

/// What embeddings cost.
#[derive(Serialize, ToSchema)]
struct EmbeddingUsage {
    /// Tokens read, those that the model puts around each input included.
    prompt_tokens: u32,
    /// The same.
    total_tokens: u32,
}

fn written(embeddings: &Embeddings, encoding: Encoding) -> Response {
    let Tokens(read) = embeddings.input;
    let vectors = embeddings.vectors.iter().enumerate();
    let data = vectors.map(|(index, vector)| Embedding {
        object: "embedding",
        index,
        embedding: Written::new(vector, encoding),
    });
    let list = EmbeddingList {
        object: "list",
        data: data.collect(),
        model: embeddings.model.as_str(),
        usage: EmbeddingUsage { prompt_tokens: read, total_tokens: read },
    };
    Json(list).into_response()
}

/// Embed texts
///
/// Each input becomes a vector; texts that mean the same have vectors that point the same way. Text in an input is
/// never read as special tokens; the model's own are put around it. Token ids are taken as they are.
#[utoipa::path(
    post,
    path = "/v1/embeddings",
    tag = "openai",
    request_body = EmbeddingRequest,
    params(
        ("llmos-class" = Option<ClassName>, Header, description = "How urgent: batch, normal, interactive or system; at most what the key allows"),
        ("llmos-data-class" = Option<DataClassName>, Header, description = "How sensitive the data is: public, internal, confidential or restricted; at most what the key allows"),
    ),
    responses(
        (status = 200, description = "The vectors", body = EmbeddingList<'_>),
        (status = "4XX", description = "The request cannot be answered", body = ErrorBody),
        (status = "5XX", description = "It cannot be answered now", body = ErrorBody),
    ),
)]
pub(crate) async fn embeddings(
    State(gateway): State<Arc<Gateway>>,
    Caller(credential): Caller,
    exchange: Exchange,
    headers: HeaderMap,
    JsonBody(request): JsonBody<EmbeddingRequest>,
) -> Result<Response, ApiError> {
    let (request, encoding) = request.ask(exchange.id(), &headers)?;
    let told = |error: PathError| ApiError::Path { error, input: "input" };
    let embeddings = gateway.path.embed(credential, request).await.map_err(told)?;
    exchange.answered_by(&embeddings.model);
    exchange.used(embeddings.input, Tokens(0));
    Ok(written(&embeddings, encoding))
}

#[cfg(test)]
mod tests;
