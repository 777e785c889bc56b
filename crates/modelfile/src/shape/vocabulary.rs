//! The vocabulary: arrays that belong together, and ids that must lie in it.

use super::{
    keys::{number, refuse},
    special_tokens,
};
use crate::{
    Gguf, ModelFileError,
    gguf::{Array, TOKENS_KEY, VOCABULARY_MAX, Value, ValueType},
};

const MODEL_KEY: &str = "tokenizer.ggml.model";
const SCORES_KEY: &str = "tokenizer.ggml.scores";
const TYPES_KEY: &str = "tokenizer.ggml.token_type";
const MERGES_KEY: &str = "tokenizer.ggml.merges";
/// Tokenizers of models without text.
const WITHOUT_TOKENS: [&str; 2] = ["none", "no_vocab"];
/// The tokenizer that writes as bytes what it has no token for (`SentencePiece`'s).
const BY_BYTES: &str = "llama";
const BYTES: u32 = 256;
/// Ids that name a token (`special_token_types` in llama.cpp's `llama_vocab::impl::load`, b10200).
const TOKEN_IDS: [&str; 17] = [
    "bos_token_id",
    "eos_token_id",
    "eot_token_id",
    "eom_token_id",
    "unknown_token_id",
    "seperator_token_id",
    "padding_token_id",
    "mask_token_id",
    "fim_pre_token_id",
    "fim_suf_token_id",
    "fim_mid_token_id",
    "fim_pad_token_id",
    "fim_rep_token_id",
    "fim_sep_token_id",
    "prefix_token_id",
    "suffix_token_id",
    "middle_token_id",
];
/// Some converters write this where there is no such token.
const NO_TOKEN: u32 = u32::MAX;

/// Checks the vocabulary and returns how many tokens it has.
pub(super) fn vocabulary(gguf: &Gguf, architecture: &str) -> Result<u32, ModelFileError> {
    let Some(model) = gguf.text(MODEL_KEY) else {
        return Err(refuse(MODEL_KEY, "is no text, or absent: without a tokenizer nothing can be read"));
    };
    if WITHOUT_TOKENS.contains(&model) {
        let key = format!("{architecture}.vocab_size");
        return gguf.value(&key).map_or(Ok(0), |value| number(&key, value, VOCABULARY_MAX as u32));
    }
    let Some(tokens) = array(gguf, TOKENS_KEY, &[ValueType::Text])? else {
        return Err(refuse(TOKENS_KEY, "is absent"));
    };
    let tokens = tokens.length;
    if tokens == 0 {
        return Err(refuse(TOKENS_KEY, "is empty"));
    }
    for (key, kinds) in [(SCORES_KEY, &[ValueType::F32, ValueType::I32][..]), (TYPES_KEY, &[ValueType::I32])]
    {
        if let Some(beside) = array(gguf, key, kinds)?
            && beside.length < tokens
        {
            return Err(refuse(
                key,
                format!("has {} elements for {tokens} tokens, and must have one for each", beside.length),
            ));
        }
    }
    // llama.cpp looks a byte up that no token contains, and ends the process where it finds nothing.
    if model == BY_BYTES && gguf.byte_tokens < BYTES {
        let why = format!("has tokens for {} bytes, and must have one for each of {BYTES}", gguf.byte_tokens);
        return Err(refuse(TOKENS_KEY, why));
    }
    array(gguf, MERGES_KEY, &[ValueType::Text])?;
    for name in TOKEN_IDS {
        let key = format!("tokenizer.ggml.{name}");
        let Some(value) = gguf.value(&key) else { continue };
        let id = number(&key, value, u32::MAX)?;
        if u64::from(id) >= tokens && id != NO_TOKEN {
            return Err(refuse(key, format!("is {id}, and the vocabulary has {tokens} tokens")));
        }
    }
    // At most `VOCABULARY_MAX`, which the reader holds.
    let tokens = tokens as u32;
    special_tokens::check(gguf, model, tokens)?;
    Ok(tokens)
}

/// An array of one of these types, if the key is there.
fn array<'g>(gguf: &'g Gguf, key: &str, kinds: &[ValueType]) -> Result<Option<&'g Array>, ModelFileError> {
    match gguf.value(key) {
        None => Ok(None),
        Some(Value::Array(array)) if kinds.contains(&array.kind) => Ok(Some(array)),
        Some(_) => {
            let wanted: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
            Err(refuse(key, format!("must be an array of {}", wanted.join(" or "))))
        }
    }
}
