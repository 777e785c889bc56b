use std::sync::Arc;

use crate::{Declared, ModelName, Prompt, RequestId};

/// Vectors are asked for, one for each passage, in no protocol's shape.
pub struct EmbedRequest {
    /// Given at the door; every log line, error and answer carries it.
    pub id: RequestId,
    /// Name or alias of the model.
    pub model: ModelName,
    /// What is embedded, in the order of the answer.
    pub passages: Vec<Passage>,
    /// How many numbers of each vector are wanted; without it all.
    pub dimensions: Option<u32>,
    /// What the caller says of it.
    pub declared: Declared,
}

/// Documents are to be put in the order of their relevance to a query.
pub struct RerankRequest {
    /// Given at the door; every log line, error and answer carries it.
    pub id: RequestId,
    /// Name or alias of the model.
    pub model: ModelName,
    /// What is looked for.
    pub query: Arc<Prompt>,
    /// Where it may be found.
    pub documents: Vec<Arc<Prompt>>,
    /// How many of the best are wanted; without it all.
    pub best: Option<u32>,
    /// What the caller says of it.
    pub declared: Declared,
}

/// What one vector is computed from.
#[derive(Clone)]
pub enum Passage {
    /// Plain text: nothing in it is read as a special token. The model's own are put around it.
    Text(Arc<Prompt>),
    /// Token ids of this very model, special ones included.
    Tokens(Vec<u32>),
    /// A query and a document, for a model that ranks.
    Pair(Arc<Prompt>, Arc<Prompt>),
}
