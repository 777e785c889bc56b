//! What is noticed of a vocabulary while its tokens pass: whether one stands there twice, and which bytes have one.

use std::hash::{DefaultHasher, Hasher};

use super::{VOCABULARY_MAX, input::Place};
use crate::ModelFileError;

/// Notices a token that was there before. Costs 8 bytes per token: it remembers hashes.
///
/// llama.cpp b10200 aborts on a vocabulary with two equal tokens (`llama_vocab::impl::load`:
/// `id_to_token.size() == token_to_id.size()`). It compares what stands before the first NUL, and gives an empty
/// token a name of its own.
pub(super) struct Tokens {
    hashes: Vec<u64>,
    /// Which bytes have a token.
    bytes: [bool; 256],
}

impl Tokens {
    pub(super) fn new() -> Self {
        Self { hashes: Vec::new(), bytes: [false; 256] }
    }

    pub(super) fn push(&mut self, index: u64, token: &str) {
        let text = token.split('\0').next().unwrap_or_default();
        let mut hasher = DefaultHasher::new();
        if text.is_empty() {
            hasher.write(format!("[EMPTY_{index}]").as_bytes());
        } else {
            hasher.write(text.as_bytes());
        }
        self.hashes.push(hasher.finish());
        if let Some(byte) = byte_of(text) {
            self.bytes[usize::from(byte)] = true;
        }
    }

    /// How many bytes have a token.
    pub(super) fn check(mut self, place: Place<'_>, at: u64) -> Result<u32, ModelFileError> {
        place.at_most(at, "tokens", self.hashes.len() as u64, VOCABULARY_MAX)?;
        let count = self.hashes.len();
        self.hashes.sort_unstable();
        self.hashes.dedup();
        let again = count - self.hashes.len();
        if again == 0 {
            return Ok(self.bytes.iter().filter(|has| **has).count() as u32);
        }
        Err(place.malformed(
            at,
            format!("has {again} tokens that stand in it before, and each must be there once"),
        ))
    }
}

/// The byte that a token stands for: `<0x0A>`, or a character of one byte.
fn byte_of(token: &str) -> Option<u8> {
    if let &[byte] = token.as_bytes() {
        return Some(byte);
    }
    let digits = token.strip_prefix("<0x")?.strip_suffix('>')?;
    let plain = digits.len() == 2 && digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'A'..=b'F'));
    plain.then(|| u8::from_str_radix(digits, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_tokens_of_their_own() {
        let cases = [
            ("<0x0A>", Some(10)),
            ("<0xFF>", Some(255)),
            ("a", Some(97)),
            ("<0xff>", None),
            ("<0x+1>", None),
            ("é", None),
            ("", None),
            ("ab", None),
        ];
        for (token, byte) in cases {
            assert_eq!(byte_of(token), byte, "{token}");
        }
    }
}
