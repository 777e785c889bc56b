//! What a model is for.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::keys::Keys;
use crate::ModelFileError;

/// What a model is made to do.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// To continue texts.
    #[default]
    Generate,
    /// To compute a vector of a text, near to those of texts that mean the same.
    Embed,
    /// To score how relevant a document is to a query.
    Rank,
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Generate => "generate",
            Self::Embed => "embed",
            Self::Rank => "rank",
        })
    }
}

/// How the vectors of the tokens become one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Pooling {
    /// They do not.
    None,
    /// Their mean.
    Mean,
    /// The first one.
    Cls,
    /// The last one.
    Last,
    /// The first one goes through a classifier, which gives a score.
    Rank,
}

impl Pooling {
    /// In the order of their numbers (`llama_pooling_type` of llama.cpp).
    const ALL: [Self; 5] = [Self::None, Self::Mean, Self::Cls, Self::Last, Self::Rank];

    /// Its number in a file.
    pub fn number(self) -> u32 {
        self as u32
    }

    pub(super) fn of(keys: &Keys<'_>) -> Result<Option<Self>, ModelFileError> {
        // llama.cpp aborts on any other number.
        let number = keys.number("pooling_type", Self::ALL.len() as u32 - 1)?;
        Ok(number.and_then(|number| Self::ALL.get(number as usize).copied()))
    }
}

/// Architectures that make vectors and never text.
const EMBEDDERS: [&str; 11] = [
    "bert",
    "modern-bert",
    "nomic-bert",
    "nomic-bert-moe",
    "neo-bert",
    "jina-bert-v2",
    "jina-bert-v3",
    "eurobert",
    "gemma-embedding",
    "llama-embed",
    "t5encoder",
];

pub(super) fn is_embedder(architecture: &str) -> bool {
    EMBEDDERS.contains(&architecture)
}

/// The purpose of a model of this architecture and pooling, which may have a classifier at its end.
pub(super) fn purpose(architecture: &str, pooling: Option<Pooling>, classifier: bool) -> Purpose {
    match pooling {
        Some(Pooling::Rank) => Purpose::Rank,
        _ if classifier && is_embedder(architecture) => Purpose::Rank,
        Some(Pooling::Mean | Pooling::Cls | Pooling::Last) => Purpose::Embed,
        Some(Pooling::None) | None if is_embedder(architecture) => Purpose::Embed,
        Some(Pooling::None) | None => Purpose::Generate,
    }
}
