//! The formulas against workers that were measured, and against buffers that llama.cpp said it made.

use modelfile::{
    Gguf, ModelShape,
    TensorType::{self, F16, F32, Q4_0, Q4_1, Q4_K, Q8_0},
    Writer, gguf,
};
use types::Tokens;

use super::{
    Available, Corrections, MemoryEstimate, Split, TooBig, Workload, estimate, fits, gpu_layers_that_fit,
};

const MIB: u64 = 1 << 20;

/// The header of a model.
struct Model {
    gguf: Gguf,
    shape: ModelShape,
}

impl Model {
    fn of(file: &Writer) -> Self {
        let header = file.head();
        let length = header.len() as u64 + file.data_bytes();
        let gguf = Gguf::read(&mut header.as_slice(), length).unwrap();
        let shape = gguf.shape().unwrap();
        Self { gguf, shape }
    }

    fn estimate(&self, workload: &Workload) -> MemoryEstimate {
        estimate(&self.gguf, &self.shape, workload, &Corrections::none())
    }

    fn fits(&self, workload: &Workload, host: u64) -> Result<MemoryEstimate, TooBig> {
        let available = Available { host, device: 0 };
        fits(&self.gguf, &self.shape, workload, &Corrections::none(), available)
    }
}

/// What distinguishes the models below.
struct Sizes {
    layers: u32,
    embedding: u64,
    forward: u64,
    heads: u64,
    kv_heads: u64,
    head: u64,
    tokens: usize,
    merges: usize,
}

const SMOLLM2: Sizes = Sizes {
    layers: 30,
    embedding: 576,
    forward: 1536,
    heads: 9,
    kv_heads: 3,
    head: 64,
    tokens: 49_152,
    merges: 48_900,
};
const LLAMA_70B: Sizes = Sizes {
    layers: 80,
    embedding: 8192,
    forward: 28_672,
    heads: 64,
    kv_heads: 8,
    head: 128,
    tokens: 128_256,
    merges: 0,
};
const SMALL: Sizes = Sizes {
    layers: 8,
    embedding: 1024,
    forward: 3072,
    heads: 16,
    kv_heads: 4,
    head: 64,
    tokens: 49_152,
    merges: 0,
};

fn begin(architecture: &str, sizes: &Sizes) -> Writer {
    let mut file = Writer::new();
    let key = |name: &str| format!("{architecture}.{name}");
    file.text("general.architecture", architecture)
        .u32(&key("block_count"), sizes.layers)
        .u32(&key("context_length"), 131_072)
        .u32(&key("embedding_length"), sizes.embedding as u32)
        .u32(&key("feed_forward_length"), sizes.forward as u32)
        .u32(&key("attention.head_count"), sizes.heads as u32)
        .u32(&key("attention.head_count_kv"), sizes.kv_heads as u32)
        .u32(&key("attention.key_length"), sizes.head as u32)
        .u32(&key("attention.value_length"), sizes.head as u32)
        .text("tokenizer.ggml.model", "gpt2")
        .texts(
            "tokenizer.ggml.tokens",
            &(0..sizes.tokens).map(|token| token.to_string()).collect::<Vec<_>>(),
        );
    if sizes.merges > 0 {
        file.texts("tokenizer.ggml.merges", &vec!["a b"; sizes.merges]);
    }
    file
}

/// A model with an embedding of type `table`, used as the output head too, and matrices of type `matrix`.
fn dense(architecture: &str, sizes: &Sizes, table: TensorType, matrix: TensorType) -> Writer {
    let mut file = begin(architecture, sizes);
    file.tensor("token_embd.weight", &[sizes.embedding, sizes.tokens as u64], table);
    for layer in 0..sizes.layers {
        let mut tensor = |name: &str, dimensions: &[u64], kind| {
            file.tensor(&format!("blk.{layer}.{name}.weight"), dimensions, kind);
        };
        tensor("attn_norm", &[sizes.embedding], F32);
        tensor("attn_q", &[sizes.embedding, sizes.heads * sizes.head], matrix);
        tensor("attn_k", &[sizes.embedding, sizes.kv_heads * sizes.head], matrix);
        tensor("attn_v", &[sizes.embedding, sizes.kv_heads * sizes.head], matrix);
        tensor("attn_output", &[sizes.heads * sizes.head, sizes.embedding], matrix);
        tensor("ffn_norm", &[sizes.embedding], F32);
        tensor("ffn_gate", &[sizes.embedding, sizes.forward], matrix);
        tensor("ffn_up", &[sizes.embedding, sizes.forward], matrix);
        tensor("ffn_down", &[sizes.forward, sizes.embedding], matrix);
    }
    file.tensor("output_norm.weight", &[sizes.embedding], F32);
    file
}

fn smollm2() -> Model {
    Model::of(&dense("llama", &SMOLLM2, Q8_0, Q4_1))
}

fn minilm() -> Model {
    let sizes = Sizes {
        layers: 6,
        embedding: 384,
        forward: 1536,
        heads: 12,
        kv_heads: 12,
        head: 32,
        tokens: 30_522,
        merges: 0,
    };
    let mut file = begin("bert", &sizes);
    file.u32("tokenizer.ggml.token_type_count", 2)
        .u32("bert.pooling_type", 1)
        .bool("bert.attention.causal", false);
    let mut file = {
        file.tensor("token_embd.weight", &[384, 30_522], F16)
            .tensor("position_embd.weight", &[384, 512], F32)
            .tensor("token_types.weight", &[384, 2], F32);
        file
    };
    for layer in 0..6 {
        for (name, dimensions) in [
            ("attn_q", [384, 384]),
            ("attn_k", [384, 384]),
            ("attn_v", [384, 384]),
            ("attn_output", [384, 384]),
            ("ffn_up", [384, 1536]),
            ("ffn_down", [1536, 384]),
        ] {
            file.tensor(&format!("blk.{layer}.{name}.weight"), &dimensions, F16);
        }
    }
    Model::of(&file)
}

/// The proportional set of real workers, in MB, with one thread, at their limits.
#[test]
fn workers_were_measured_to_have_what_is_estimated() {
    let (smollm2, minilm) = (smollm2(), minilm());
    for (model, context, parallel, measured) in [
        (&smollm2, 512, 1, 144.6),
        (&smollm2, 512, 8, 149.8),
        (&smollm2, 512, 32, 170.1),
        (&smollm2, 2048, 1, 181.1),
        (&smollm2, 2048, 8, 186.5),
        (&smollm2, 2048, 32, 206.6),
        (&smollm2, 8192, 1, 326.7),
        (&minilm, 64, 32, 70.2),
        (&minilm, 512, 32, 132.3),
    ] {
        let estimated = model.estimate(&Workload::new(Tokens(context), parallel, 1)).resident() as f64 / 1e6;
        let error = (estimated / measured - 1.0).abs();
        assert!(error < 0.05, "{context}/{parallel}: {estimated:.1} MB, measured {measured}");
    }
}

/// What `llama_kv_cache` and `llama_model_loader` logged for models of these shapes.
#[test]
fn exact_parts_are_exact() {
    let workload = |context, parallel| Workload::new(Tokens(context), parallel, 1);
    assert_eq!(smollm2().estimate(&workload(2048, 8)).kv, Split { host: 45 * MIB, device: 0 });
    assert_eq!(smollm2().estimate(&workload(2000, 8)).kv.host, 45 * MIB, "contexts are rounded up");

    let small = Model::of(&dense("llama", &SMALL, Q4_0, Q4_0)).estimate(&workload(1024, 4));
    assert_eq!(small.kv.host, 8 * MIB);
    if cfg!(target_arch = "x86_64") {
        // CPU_REPACK 78.75 MiB; of the file 27 MiB of tables and 0.1 of norms are used where they are.
        assert_eq!(small.repacked, 78 * MIB + 768 * 1024);
        assert!((small.weights.host - small.repacked).abs_diff(27 * MIB) < MIB / 10);
        assert!(small.file_cache > 46 * MIB);
    }
    let plain = Model::of(&dense("llama", &SMALL, Q8_0, Q8_0)).estimate(&workload(1024, 4));
    assert_eq!((plain.repacked, plain.file_cache), (0, 0));

    // 8 heads for keys and values of 128, in 80 layers: 320 KiB a token.
    let large = Model::of(&dense("llama", &LLAMA_70B, Q4_K, Q4_K));
    assert_eq!(large.estimate(&workload(8192, 8)).kv.host, 8192 * 320 * 1024);
}

#[test]
fn a_window_bounds_what_its_layers_keep() {
    let sizes = Sizes { layers: 12, head: 256, heads: 8, ..SMALL };
    let mut file = dense("gemma3", &sizes, Q4_0, Q4_0);
    file.u32("gemma3.attention.sliding_window", 512);
    let model = Model::of(&file);
    let kv = |context, parallel| model.estimate(&Workload::new(Tokens(context), parallel, 1)).kv.host;
    // Two layers see all, ten see 512 tokens: each sequence's, and a step's.
    assert_eq!(kv(1024, 4), (8 + 40) * MIB);
    assert_eq!(kv(4096, 2), (32 + 50) * MIB);
}

#[test]
fn compressed_keys_are_kept_once() {
    let sizes = Sizes { layers: 6, head: 576, kv_heads: 1, ..SMALL };
    let mut file = dense("deepseek2", &sizes, Q4_K, Q4_K);
    file.u32("deepseek2.attention.kv_lora_rank", 512)
        .u32("deepseek2.rope.dimension_count", 64)
        .u32("deepseek2.attention.key_length_mla", 192)
        .u32("deepseek2.attention.value_length_mla", 128);
    let estimate = Model::of(&file).estimate(&Workload::new(Tokens(1024), 4, 1));
    assert_eq!(estimate.kv.host, 6 * MIB + 768 * 1024);
}

#[test]
fn what_is_offered_fits_and_one_more_does_not() {
    let model = smollm2();
    let workload = Workload::new(Tokens(8192), 32, 1);
    let needed = model.estimate(&workload).host();
    assert_eq!(model.fits(&workload, needed).unwrap().host(), needed);

    let there = needed - 20_000_000;
    let too_big = model.fits(&workload, there).unwrap_err();
    assert_eq!(too_big.missing(), 20_000_000);
    let (context, parallel) = (too_big.would_fit.context.unwrap(), too_big.would_fit.parallel.unwrap());
    assert!(context.0 % 256 == 0 && context.0 < 8192 && parallel < 32);
    let fits = |context, parallel| model.fits(&Workload::new(Tokens(context), parallel, 1), there).is_ok();
    assert!(fits(context.0, 32) && !fits(context.0 + 256, 32));
    assert!(fits(8192, parallel) && !fits(8192, parallel + 1));
    assert_eq!(too_big.would_fit.quantisation, Some("Q3_K_M"));
    let text = too_big.to_string();
    for part in ["20.0 MB too little", &format!("`context` {}", context.0), "as Q3_K_M"] {
        assert!(text.contains(part), "{text}");
    }

    let hopeless = model.fits(&workload, 1_000_000).unwrap_err();
    assert_eq!(hopeless.would_fit, super::WouldFit::default());
    assert!(hopeless.to_string().contains("use a smaller model"), "{hopeless}");
}

#[test]
fn devices_get_the_last_layers_and_the_output_first() {
    let model = Model::of(&dense("llama", &LLAMA_70B, Q4_K, Q4_K));
    let workload = Workload::new(Tokens(8192), 8, 8);
    let on_device = |layers| model.estimate(&workload.on_device(layers));
    let auto = |free| gpu_layers_that_fit(&model.gguf, &model.shape, &workload, &Corrections::none(), free);
    assert_eq!(on_device(0).device(), 0);
    // One is the output head alone: keys and values stay.
    assert_eq!((on_device(1).kv.device, on_device(2).kv.device), (0, 8192 * 4 * 1024));
    assert_eq!(on_device(81).kv.host, 0);
    assert_eq!((auto(0), auto(80 << 30)), (0, 81));
    let some = auto(24 << 30);
    assert!((2..81).contains(&some));
    assert!(on_device(some).device() <= 24 << 30 && on_device(some + 1).device() > 24 << 30);
    assert!(on_device(some).host() < on_device(0).host());
}

/// A file may name any sizes that its reader lets through, and a caller any workload.
#[test]
fn the_largest_sizes_overflow_nothing() {
    let sizes = Sizes {
        layers: 512,
        embedding: 1 << 20,
        forward: 1 << 20,
        heads: 1 << 16,
        kv_heads: 1 << 16,
        head: 1 << 16,
        tokens: 4,
        merges: 0,
    };
    let mut file = begin("llama", &sizes);
    file.tensor("token_embd.weight", &[1 << 20, 4], F16);
    file.tensor("blk.0.ffn_down.weight", &[1 << 48, 1], F16);
    let model = Model::of(&file);
    let most = Workload {
        context: Tokens(u32::MAX),
        parallel: u32::MAX,
        step: u32::MAX,
        threads: u32::MAX,
        gpu_layers: u32::MAX,
    };
    for workload in [most, most.on_device(0)] {
        assert_eq!(model.estimate(&workload).total(), u64::MAX);
        assert!(model.fits(&workload, 1 << 40).is_err());
    }
    let tiny = Model::of(&gguf::sample());
    assert!(tiny.fits(&Workload::new(Tokens(0), 0, 0), 100_000_000).is_ok());
}
