use super::*;
use crate::{
    TensorType, Writer,
    gguf::{ValueType, sample},
};

fn shape(writer: &Writer) -> Result<ModelShape, ModelFileError> {
    let bytes = writer.to_bytes().unwrap();
    Gguf::read(&mut bytes.as_slice(), bytes.len() as u64).unwrap().shape()
}

/// A model of four layers of this architecture, of which nothing else is known.
fn model(architecture: &str) -> Writer {
    let mut file = without_tokenizer(architecture);
    file.text("tokenizer.ggml.model", "none");
    file
}

fn without_tokenizer(architecture: &str) -> Writer {
    let mut file = Writer::new();
    let numbers =
        [("block_count", 4), ("embedding_length", 64), ("context_length", 128), ("attention.head_count", 4)];
    for (name, value) in numbers {
        file.u32(&format!("{architecture}.{name}"), value);
    }
    file.text("general.architecture", architecture);
    file
}

#[test]
fn the_sample() {
    let shape = shape(&sample()).unwrap();
    assert_eq!(shape.name.as_deref(), Some("Sample"));
    assert_eq!(shape.licence.as_deref(), Some("apache-2.0"));
    assert_eq!(shape.quantisation.as_deref(), Some("F16"));
    assert_eq!((shape.heads, shape.kv_heads.clone()), (vec![4, 4], vec![2, 2]));
    assert_eq!((shape.key_length, shape.value_length, shape.vocabulary), (8, 8, 4));
    assert_eq!(shape.feed_forward, [64, 64]);
    assert!(shape.causal && shape.experts.is_none() && shape.sliding_window.is_none());
    let layer = 2 * (32 * 32 * 3 + 32 * 64 * 3) + 2 * 32 * 4;
    assert_eq!(shape.weights.layers, [layer, layer]);
    assert_eq!((shape.weights.token_embedding, shape.weights.output, shape.weights.other), (256, 0, 128));
    assert_eq!(shape.weights.total, 2 * layer + 256 + 128);
    assert_eq!(shape.weights.by_kind[&TensorType::F32], 5 * 128);
    assert_eq!(shape.parameters, 128 + 32 + 2 * (32 * 32 * 3 + 32 * 64 * 3 + 64));
}

type Change = fn(&mut Writer) -> &mut Writer;

#[test]
fn values_that_would_end_llama_cpp_are_refused_by_their_key() {
    let cases: &[(Change, &str)] = &[
        (|f| f.u32("llama.expert_count", 8), "`llama.expert_used_count` is 0 of 8 experts"),
        (|f| f.u32("llama.expert_used_count", 2), "`llama.expert_used_count` is 2 of 0 experts"),
        (|f| f.u32("llama.expert_count", 1025), "`llama.expert_count` is 1025, and must be at most 1024"),
        (
            |f| {
                f.u32("llama.expert_count", 8)
                    .u32("llama.expert_used_count", 2)
                    .u32("llama.expert_group_count", 3)
            },
            "`llama.expert_group_count` is 3, and must be a divisor of 8 experts",
        ),
        (
            |f| {
                f.u32("llama.expert_count", 8)
                    .u32("llama.expert_used_count", 2)
                    .u32("llama.expert_group_count", 2)
            },
            "`llama.expert_group_used_count` is 0, and must be 1 to 1 of 2 groups",
        ),
        (|f| f.u32("llama.nextn_predict_layers", 2), "all 2 layers cannot be for drafting"),
        (|f| f.u32("llama.nextn_predict_layers", 3), "is 3, and must be at most 2"),
        (|f| f.u32("llama.pooling_type", 5), "`llama.pooling_type` is 5, and must be at most 4"),
        (|f| f.u32("llama.pooling_type", u32::MAX), "`llama.pooling_type` is 4294967295"),
        (|f| f.u32("llama.rope.dimension_count", 16), "is 16, and must be even and at most the key length 8"),
        (|f| f.u32("llama.rope.dimension_count", 7), "is 7, and must be even"),
        (|f| f.u32("llama.attention.key_length", 0), "`llama.attention.key_length` is 0 or not given"),
        (
            |f| f.text("llama.rope.scaling.type", "spiral"),
            "must be one of the texts none, linear, yarn, longrope",
        ),
        (|f| f.u32("llama.attention.key_length_mla", 64), "must both be given"),
        (|f| f.f32("llama.attention.layer_norm_epsilon", -1.0), "is -1, and must be 0 to 1"),
        (|f| f.f32("llama.attention.group_norm_epsilon", f32::NAN), "is NaN"),
        (|f| f.u32("llama.attention.causal", 1), "`llama.attention.causal` has type u32, and must have bool"),
        (|f| f.raw("llama.embedding_length_out", ValueType::U64, &[1; 8]), "has type u64, and must have u32"),
        (|f| f.u32("llama.classifier.output_labels", 2), "must be an array of str"),
        (
            |f| f.text("general.type", "adapter"),
            "`general.type` is `adapter`: the file holds no model of its own",
        ),
        (
            |f| f.u32("tokenizer.ggml.padding_token_id", 4),
            "`tokenizer.ggml.padding_token_id` is 4, and the vocabulary has 4 tokens",
        ),
        (|f| f.text("tokenizer.ggml.eot_token_id", "x"), "has type str, and must have u32"),
        (
            |f| f.tensor("blk.0.attn_q.bias", &[32], TensorType::F16),
            "tensor `blk.0.attn_q.bias` at byte 39840 is stored as F16, and must be stored as F32",
        ),
        (|f| f.tensor("blk.0.attn_q_norm.weight", &[32, 2], TensorType::BF16), "is stored as BF16, and must"),
        (|f| f.u32s("tokenizer.ggml.scores", &[1]), "`tokenizer.ggml.scores` must be an array of f32 or i32"),
    ];
    for (change, expected) in cases {
        let mut file = sample();
        change(&mut file);
        let refused = shape(&file).unwrap_err().to_string();
        assert!(refused.contains(expected), "`{refused}` lacks `{expected}`");
    }
}

#[test]
fn hyperparameters_that_are_absent_or_contradict_each_other_are_refused() {
    let cases: &[(&str, Change, &str)] = &[
        ("clip", |f| f, "the file holds a projector for images"),
        ("a/b", |f| f, "must be 1 to 64 letters, digits"),
        (
            "x",
            |f| f.u32s("x.attention.head_count_kv", &[1, 1, 1]),
            "has 3 elements, and must have one for each of 4 layers",
        ),
        (
            "x",
            |f| f.u32s("x.attention.head_count_kv", &[4, 2, 3, 1]),
            "is 3 for layer 2, and must divide its 4 heads",
        ),
        ("x", |f| f.i32s("x.feed_forward_length", &[1, 2, -3, 4]), "has the element -3, which is negative"),
        ("x", |f| f.f32s("x.feed_forward_length", &[1.0; 4]), "has elements of type f32"),
        ("x", |f| f.u32("x.feed_forward_length", 1 << 21), "must be at most 1048576"),
        ("bert", |f| f, "`tokenizer.ggml.token_type_count` is 0 or absent"),
        ("cohere2", |f| f, "`cohere2.attention.sliding_window` is absent"),
        ("gemma4", |f| f.u32("gemma4.attention.sliding_window", 8), "sliding_window_pattern` is absent"),
        ("rwkv6", |f| f, "`rwkv6.wkv.head_size` is absent"),
        ("rwkv6", |f| f.u32("rwkv6.wkv.head_size", 0), "`rwkv6.wkv.head_size` is 0"),
        ("mamba2", |f| f.u32("mamba2.ssm.time_step_rank", 0), "`mamba2.ssm.time_step_rank` is 0"),
        ("qwen35", |f| f.u32("qwen35.full_attention_interval", 0), "is 0, and must be at least 1"),
    ];
    for (architecture, change, expected) in cases {
        let mut file = model(architecture);
        change(&mut file);
        let refused = shape(&file).unwrap_err().to_string();
        assert!(refused.contains(expected), "`{refused}` lacks `{expected}`");
    }
    let cases: &[(Change, &str)] = &[
        (|f| f, "`general.architecture` is no text, or absent"),
        (|f| f.text("general.architecture", "x"), "`x.block_count` is absent"),
        (|f| f.text("general.architecture", "x").u32("x.block_count", 0), "is 0, and must be 1 to 512"),
        (
            |f| f.text("general.architecture", "x").u32("x.block_count", 513),
            "is 513, and must be at most 512",
        ),
        (
            |f| f.text("general.architecture", "x").text("x.block_count", "2"),
            "has type str, and must have u32",
        ),
        (|f| f.text("general.architecture", "x").u32("x.block_count", 1), "`x.embedding_length` is absent"),
    ];
    for (change, expected) in cases {
        let mut file = Writer::new();
        change(&mut file);
        let refused = shape(&file).unwrap_err().to_string();
        assert!(refused.contains(expected), "`{refused}` lacks `{expected}`");
    }
}

#[test]
fn a_vocabulary_belongs_together() {
    let cases: &[(Change, &str)] = &[
        (|f| f, "`tokenizer.ggml.model` is no text, or absent"),
        (|f| f.text("tokenizer.ggml.model", "gpt2"), "`tokenizer.ggml.tokens` is absent"),
        (|f| f.text("tokenizer.ggml.model", "gpt2").texts::<&str>("tokenizer.ggml.tokens", &[]), "is empty"),
        (
            |f| f.text("tokenizer.ggml.model", "gpt2").i32s("tokenizer.ggml.tokens", &[1]),
            "must be an array of str",
        ),
        (
            |f| {
                f.text("tokenizer.ggml.model", "gpt2")
                    .texts("tokenizer.ggml.tokens", &["a", "b"])
                    .f32s("tokenizer.ggml.scores", &[0.0])
            },
            "`tokenizer.ggml.scores` has 1 elements for 2 tokens",
        ),
        (
            |f| {
                f.text("tokenizer.ggml.model", "gpt2")
                    .texts("tokenizer.ggml.tokens", &["a"])
                    .u32s("tokenizer.ggml.token_type", &[0])
            },
            "`tokenizer.ggml.token_type` must be an array of i32",
        ),
    ];
    for (change, expected) in cases {
        let mut file = Writer::new();
        file.text("general.architecture", "x")
            .u32("x.block_count", 1)
            .u32("x.embedding_length", 4)
            .u32("x.context_length", 8);
        change(&mut file);
        let refused = shape(&file).unwrap_err().to_string();
        assert!(refused.contains(expected), "`{refused}` lacks `{expected}`");
    }
}

#[test]
fn a_tokenizer_that_writes_bytes_has_a_token_for_each() {
    let mut tokens: Vec<String> = (0..256).map(|byte| format!("<0x{byte:02X}>")).collect();
    tokens.push("<s>".to_owned());
    for (first, good) in [(0, true), (1, false)] {
        let mut file = Writer::new();
        file.text("general.architecture", "x").u32("x.block_count", 1);
        file.u32("x.embedding_length", 4).u32("x.context_length", 8).text("tokenizer.ggml.model", "llama");
        file.texts("tokenizer.ggml.tokens", &tokens[first..]);
        let refused = shape(&file).err().map(|error| error.to_string());
        assert_eq!(refused.is_none(), good, "{refused:?}");
        assert!(refused.is_none_or(|refused| refused.contains("has tokens for 255 bytes")));
    }
}

/// A tokenizer with these tokens and keys is refused for the named one, or not.
#[test]
fn a_token_that_is_put_at_an_end_is_in_the_vocabulary() {
    let cases: &[(&str, u32, Change, Option<&str>)] = &[
        ("bert", 3, |f| f, Some("bos_token_id")),
        ("bert", 3, |f| f.u32("tokenizer.ggml.bos_token_id", 0), Some("seperator_token_id")),
        (
            "bert",
            3,
            |f| f.u32("tokenizer.ggml.bos_token_id", 0).u32("tokenizer.ggml.seperator_token_id", 1),
            None,
        ),
        ("bert", 200, |f| f, None),
        ("gpt2", 3, |f| f, None),
        ("gpt2", 3, |f| f.bool("tokenizer.ggml.add_bos_token", true), Some("bos_token_id")),
        ("gpt2", 3, |f| f.bool("tokenizer.ggml.add_eos_token", true), Some("eos_token_id")),
        ("gpt2", 12, |f| f.bool("tokenizer.ggml.add_bos_token", true), None),
        ("gpt2", 3, |f| f.u32("tokenizer.ggml.add_bos_token", 1), Some("add_bos_token")),
        ("gemma4", 300, |f| f, Some("bos_token_id")),
        ("t5", 1, |f| f, Some("eos_token_id")),
        ("t5", 1, |f| f.bool("tokenizer.ggml.add_eos_token", false), None),
        ("unheard-of", 1, |f| f, None),
    ];
    for (tokenizer, count, change, expected) in cases {
        let tokens: Vec<String> = (0..*count).map(|token| format!("token {token}")).collect();
        let mut file = without_tokenizer("x");
        file.text("tokenizer.ggml.model", tokenizer).texts("tokenizer.ggml.tokens", &tokens);
        change(&mut file);
        let refused = shape(&file).err().map(|error| error.to_string());
        match (&refused, expected) {
            (None, None) => {}
            (Some(refused), Some(key)) => {
                assert!(refused.contains(&format!("`tokenizer.ggml.{key}`")), "{refused}");
            }
            _ => panic!("{tokenizer} with {count} tokens: {refused:?}"),
        }
    }
}

#[test]
fn purposes() {
    let cases: &[(&str, Option<u32>, bool, Purpose)] = &[
        ("llama", None, false, Purpose::Generate),
        ("llama", Some(0), false, Purpose::Generate),
        ("qwen3", Some(3), false, Purpose::Embed),
        ("qwen3", Some(4), false, Purpose::Rank),
        ("modern-bert", None, false, Purpose::Embed),
        ("jina-bert-v2", Some(1), false, Purpose::Embed),
        ("jina-bert-v2", None, true, Purpose::Rank),
        ("nomic-bert", Some(4), true, Purpose::Rank),
    ];
    for &(architecture, pooling, classifier, expected) in cases {
        let mut file = model(architecture);
        if let Some(pooling) = pooling {
            file.u32(&format!("{architecture}.pooling_type"), pooling);
        }
        if classifier {
            file.tensor("cls.output.weight", &[64, 1], TensorType::F32);
        }
        assert_eq!(shape(&file).unwrap().purpose, expected, "{architecture} {pooling:?} {classifier}");
    }
}

/// Which of the four layers have a window, as letters: `w` for a window, `-` for none.
#[test]
fn sliding_windows() {
    let cases: &[(&str, Change, &str, u32)] = &[
        ("llama", |f| f.u32("llama.attention.sliding_window", 8), "", 0),
        // llama.cpp does not use the window of these.
        ("phi3", |f| f.u32("phi3.attention.sliding_window", 8), "", 0),
        ("gemma2", |f| f, "w-w-", 4096),
        ("gemma2", |f| f.u32("gemma2.attention.sliding_window", 8), "w-w-", 8),
        ("gemma3", |f| f, "", 0),
        ("gemma3", |f| f.u32("gemma3.attention.sliding_window", 8), "wwww", 8),
        (
            "gemma3",
            |f| f.u32("gemma3.attention.sliding_window", 8).u32("gemma3.attention.sliding_window_pattern", 2),
            "w-w-",
            8,
        ),
        ("gpt-oss", |f| f.u32("gpt-oss.attention.sliding_window", 128), "w-w-", 128),
        ("cohere2", |f| f.u32("cohere2.attention.sliding_window", 8), "www-", 8),
        ("modern-bert", |f| f.u32("modern-bert.attention.sliding_window", 8), "-ww-", 8),
        ("llama4", |f| f, "www-", 8192),
        ("llama4", |f| f.u32("llama4.attention.sliding_window", 0), "", 0),
        ("smallthinker", |f| f.u32("smallthinker.attention.sliding_window", 1), "-www", 4096),
        ("exaone4", |f| f.u32("exaone4.attention.sliding_window", 8), "", 0),
        (
            "mimo2",
            |f| {
                f.u32("mimo2.attention.sliding_window", 8)
                    .bools("mimo2.attention.sliding_window_pattern", &[true, false, false, true])
            },
            "w--w",
            8,
        ),
        (
            "step35",
            |f| {
                f.u32("step35.attention.sliding_window", 8)
                    .u32s("step35.attention.sliding_window_pattern", &[0, 2])
            },
            "-w--",
            8,
        ),
        (
            "lfm2",
            |f| {
                f.u32("lfm2.attention.sliding_window", 8)
                    .u32s("lfm2.attention.head_count_kv", &[0, 2, 0, 2])
                    .u32("lfm2.shortconv.l_cache", 3)
            },
            "-w-w",
            8,
        ),
    ];
    for (architecture, change, layers, tokens) in cases {
        let mut file = model(architecture);
        change(&mut file);
        let window = shape(&file).unwrap().sliding_window;
        let letters = window.as_ref().map_or(String::new(), |window| {
            window.layers.iter().map(|windowed| if *windowed { 'w' } else { '-' }).collect()
        });
        assert_eq!(letters, *layers, "{architecture}");
        assert_eq!(window.map_or(0, |window| window.tokens), *tokens, "{architecture}");
    }
}

/// What each of the four layers keeps: `s` a state, `k` keys and values, `b` both, `-` nothing.
#[test]
fn layers_that_keep_a_state_or_nothing() {
    let cases: &[(&str, Change, &str, (u64, u64))] = &[
        ("llama", |f| f, "kkkk", (0, 0)),
        ("llada", |f| f, "----", (0, 0)),
        (
            "mamba",
            |f| {
                f.u32("mamba.ssm.conv_kernel", 4)
                    .u32("mamba.ssm.inner_size", 128)
                    .u32("mamba.ssm.state_size", 16)
            },
            "ssss",
            (3 * 128, 16 * 128),
        ),
        (
            "mamba2",
            |f| {
                f.u32("mamba2.ssm.conv_kernel", 4)
                    .u32("mamba2.ssm.inner_size", 128)
                    .u32("mamba2.ssm.state_size", 16)
                    .u32("mamba2.ssm.group_count", 2)
            },
            "ssss",
            (3 * (128 + 2 * 2 * 16), 16 * 128),
        ),
        ("rwkv7", |f| f.u32("rwkv7.wkv.head_size", 8), "ssss", (2 * 64, 64 * 8)),
        (
            "lfm2",
            |f| f.u32("lfm2.shortconv.l_cache", 3).u32s("lfm2.attention.head_count_kv", &[0, 4, 0, 4]),
            "sksk",
            (2 * 64, 0),
        ),
        ("falcon-h1", |f| f.u32("falcon-h1.ssm.state_size", 2), "bbbb", (0, 0)),
        ("qwen3next", |f| f.u32("qwen3next.ssm.state_size", 2), "sssk", (0, 0)),
        (
            "qwen35",
            |f| f.u32("qwen35.full_attention_interval", 2).u32("qwen35.nextn_predict_layers", 1),
            "sks-",
            (0, 0),
        ),
        (
            "nemotron_h",
            |f| {
                f.u32s("nemotron_h.attention.head_count_kv", &[0, 4, 0, 0])
                    .u32s("nemotron_h.feed_forward_length", &[0, 0, 9, 0])
            },
            "sk-s",
            (0, 0),
        ),
        (
            "gemma4",
            |f| {
                f.u32("gemma4.attention.sliding_window", 8)
                    .u32s("gemma4.attention.sliding_window_pattern", &[1, 0, 1, 0])
                    .u32("gemma4.attention.shared_kv_layers", 2)
            },
            "kk--",
            (0, 0),
        ),
    ];
    for (architecture, change, expected, sizes) in cases {
        let mut file = model(architecture);
        change(&mut file);
        let shape = shape(&file).unwrap();
        let state = |layer: usize| shape.recurrent.as_ref().is_some_and(|recurrent| recurrent.layers[layer]);
        let letters: String = (0..4)
            .map(|layer| match (state(layer), shape.attention_layers[layer]) {
                (true, true) => 'b',
                (true, false) => 's',
                (false, true) => 'k',
                (false, false) => '-',
            })
            .collect();
        assert_eq!(letters, *expected, "{architecture}");
        let is = shape.recurrent.map_or((0, 0), |recurrent| (recurrent.shift_floats, recurrent.state_floats));
        assert_eq!(is, *sizes, "{architecture}");
    }
}

#[test]
fn what_a_token_adds_to_a_layer() {
    let mut file = model("deepseek2");
    file.u32("deepseek2.attention.head_count_kv", 1)
        .u32("deepseek2.attention.key_length", 576)
        .u32("deepseek2.attention.value_length", 512)
        .u32("deepseek2.attention.kv_lora_rank", 512)
        .u32("deepseek2.attention.key_length_mla", 192)
        .u32("deepseek2.attention.value_length_mla", 128)
        .u32("deepseek2.rope.dimension_count", 64);
    let compressed = shape(&file).unwrap();
    assert_eq!(compressed.mla, Some(Mla { kv_rank: 512, rope: 64, key_length: 192, value_length: 128 }));
    assert_eq!(compressed.kv_per_token(0), (576, 0));

    let mut file = model("gemma2");
    file.u32("gemma2.attention.head_count_kv", 2).u32("gemma2.attention.key_length_swa", 32);
    let windowed = shape(&file).unwrap();
    assert_eq!((windowed.kv_per_token(0), windowed.kv_per_token(1)), ((64, 32), (32, 32)));
    assert_eq!(windowed.kv_per_token(4), (0, 0));
}

#[test]
fn experts_per_layer() {
    let mut file = model("x");
    file.u32("x.expert_count", 8)
        .u32s("x.expert_used_count", &[0, 2, 2, 2])
        .u32("x.expert_feed_forward_length", 16);
    let experts = shape(&file).unwrap().experts.unwrap();
    assert_eq!((experts.count, experts.used, experts.shared), (8, vec![0, 2, 2, 2], 0));
    assert_eq!(experts.feed_forward, [16; 4]);
}
