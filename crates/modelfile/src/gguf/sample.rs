//! A model so small that tests of any crate can write it: it is read, measured and refused, but says nothing.

use super::Writer;
use crate::TensorType;

/// Layers of the sample.
const LAYERS: u64 = 2;
/// Its embedding length, and the dimensions of its tensors.
const EMBEDDING: u64 = 32;
const FEED_FORWARD: u64 = 64;
const TOKENS: [&str; 4] = ["<s>", "</s>", "a", "b"];

/// A `llama` of two layers, four heads (two for keys and values), four tokens and 256 of context, in `F16` and `F32`.
///
/// ```
/// use modelfile::{Gguf, Purpose, gguf};
///
/// let bytes = gguf::sample().to_bytes()?;
/// let shape = Gguf::read(&mut bytes.as_slice(), bytes.len() as u64)?.shape()?;
/// assert_eq!((shape.layers, shape.purpose), (2, Purpose::Generate));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn sample() -> Writer {
    let mut file = Writer::new();
    file.text("general.architecture", "llama")
        .text("general.name", "Sample")
        .text("general.license", "apache-2.0")
        .u32("general.file_type", 1)
        .u32("llama.block_count", LAYERS as u32)
        .u32("llama.context_length", 256)
        .u32("llama.embedding_length", EMBEDDING as u32)
        .u32("llama.feed_forward_length", FEED_FORWARD as u32)
        .u32("llama.attention.head_count", 4)
        .u32("llama.attention.head_count_kv", 2)
        .f32("llama.attention.layer_norm_rms_epsilon", 1e-5)
        .text("tokenizer.ggml.model", "gpt2")
        .text("tokenizer.ggml.pre", "default")
        .texts("tokenizer.ggml.tokens", &TOKENS)
        .i32s("tokenizer.ggml.token_type", &[3, 3, 1, 1])
        .texts::<&str>("tokenizer.ggml.merges", &[])
        .u32("tokenizer.ggml.bos_token_id", 0)
        .u32("tokenizer.ggml.eos_token_id", 1);
    file.tensor("token_embd.weight", &[EMBEDDING, TOKENS.len() as u64], TensorType::F16);
    file.tensor("output_norm.weight", &[EMBEDDING], TensorType::F32);
    for layer in 0..LAYERS {
        let mut weight = |name: &str, dimensions: &[u64], kind| {
            file.tensor(&format!("blk.{layer}.{name}.weight"), dimensions, kind);
        };
        weight("attn_norm", &[EMBEDDING], TensorType::F32);
        weight("attn_q", &[EMBEDDING, EMBEDDING], TensorType::F16);
        weight("attn_k", &[EMBEDDING, EMBEDDING / 2], TensorType::F16);
        weight("attn_v", &[EMBEDDING, EMBEDDING / 2], TensorType::F16);
        weight("attn_output", &[EMBEDDING, EMBEDDING], TensorType::F16);
        weight("ffn_norm", &[EMBEDDING], TensorType::F32);
        weight("ffn_gate", &[EMBEDDING, FEED_FORWARD], TensorType::F16);
        weight("ffn_up", &[EMBEDDING, FEED_FORWARD], TensorType::F16);
        weight("ffn_down", &[FEED_FORWARD, EMBEDDING], TensorType::F16);
    }
    file
}
