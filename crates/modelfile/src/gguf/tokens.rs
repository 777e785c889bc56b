//! The rule of a vocabulary: no token stands there twice.

use std::hash::{DefaultHasher, Hasher};

use super::{VOCABULARY_MAX, input::Place};
use crate::ModelFileError;

/// Notices a token that was there before. Costs 8 bytes per token: it remembers hashes.
///
/// llama.cpp b10200 aborts on a vocabulary with two equal tokens (`llama_vocab::impl::load`:
/// `id_to_token.size() == token_to_id.size()`). It compares what stands before the first NUL, and gives an empty
/// token a name of its own.
#[derive(Default)]
pub(super) struct Tokens {
    hashes: Vec<u64>,
}

impl Tokens {
    pub(super) fn push(&mut self, index: u64, token: &str) {
        let text = token.split('\0').next().unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        if text.is_empty() {
            hasher.write(format!("[EMPTY_{index}]").as_bytes());
        } else {
            hasher.write(text.as_bytes());
        }
        self.hashes.push(hasher.finish());
    }

    pub(super) fn check(mut self, place: Place<'_>, at: u64) -> Result<(), ModelFileError> {
        place.at_most(at, "tokens", self.hashes.len() as u64, VOCABULARY_MAX)?;
        let count = self.hashes.len();
        self.hashes.sort_unstable();
        self.hashes.dedup();
        let again = count - self.hashes.len();
        if again == 0 {
            return Ok(());
        }
        Err(place.malformed(
            at,
            format!("has {again} tokens that stand in it before, and each must be there once"),
        ))
    }
}
