//! A published model, small enough to be written here, and what may be wrong with one.

use std::{collections::BTreeMap, fs, path::Path, process::Command};

use tempfile::TempDir;

use super::*;
use crate::{Purpose, TensorType, gguf::Value};

const EMBEDDING: usize = 8;
const INNER: usize = 16;
const TOKENS: [&str; 7] = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "fever", "##ish"];

const CONFIG: &str = r#"{"architectures": ["BertModel"], "model_type": "bert", "hidden_act": "gelu", "hidden_size": 8,
    "intermediate_size": 16, "max_position_embeddings": 32, "num_attention_heads": 2, "num_hidden_layers": 1,
    "type_vocab_size": 2, "vocab_size": 8, "layer_norm_eps": 1e-12, "more": {"than": ["is", "read"]}}"#;

/// The weights by name: type, shape and data.
type Tensors = BTreeMap<String, (&'static str, Vec<usize>, Vec<u8>)>;

/// Each tensor counts up in eighths from a number of its own.
fn tensors() -> Tensors {
    let layer = "encoder.layer.0";
    let (square, long) = (vec![EMBEDDING, EMBEDDING], vec![EMBEDDING]);
    let mut shapes = vec![
        ("embeddings.word_embeddings.weight".to_owned(), vec![8, EMBEDDING]),
        ("embeddings.position_embeddings.weight".to_owned(), vec![32, EMBEDDING]),
        ("embeddings.token_type_embeddings.weight".to_owned(), vec![2, EMBEDDING]),
        ("embeddings.LayerNorm.gamma".to_owned(), long.clone()),
        ("embeddings.LayerNorm.beta".to_owned(), long.clone()),
        ("pooler.dense.weight".to_owned(), square.clone()),
        ("pooler.dense.bias".to_owned(), long.clone()),
    ];
    let parts = [
        ("attention.self.query", square.clone()),
        ("attention.self.key", square.clone()),
        ("attention.self.value", square.clone()),
        ("attention.output.dense", square),
        ("attention.output.LayerNorm", long.clone()),
        ("intermediate.dense", vec![INNER, EMBEDDING]),
        ("output.dense", vec![EMBEDDING, INNER]),
        ("output.LayerNorm", long),
    ];
    for (part, shape) in parts {
        shapes.push((format!("{layer}.{part}.bias"), vec![shape[0]]));
        shapes.push((format!("{layer}.{part}.weight"), shape));
    }
    let mut tensors = Tensors::new();
    for (number, (name, shape)) in shapes.into_iter().enumerate() {
        let count: usize = shape.iter().product();
        let data = (0..count).flat_map(|index| (number as f32 + index as f32 / 8.0).to_le_bytes()).collect();
        tensors.insert(name, ("F32", shape, data));
    }
    let positions = (0..32_i64).flat_map(i64::to_le_bytes).collect();
    tensors.insert("embeddings.position_ids".to_owned(), ("I64", vec![1, 32], positions));
    tensors
}

fn safetensors(tensors: &Tensors) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, (kind, shape, bytes)) in tensors {
        let begin = data.len();
        data.extend(bytes);
        entries.push(format!(
            r#""{name}":{{"dtype":"{kind}","shape":{shape:?},"data_offsets":[{begin},{}]}}"#,
            data.len()
        ));
    }
    let header = format!("{{{}}}", entries.join(","));
    [&(header.len() as u64).to_le_bytes(), header.as_bytes(), &data].concat()
}

fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
    let file = folder.join(name);
    fs::create_dir_all(file.parent().unwrap()).unwrap();
    fs::write(file, content).unwrap();
}

/// A folder as sentence-transformers publishes it.
fn published() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "config.json", CONFIG);
    write(folder.path(), "model.safetensors", safetensors(&tensors()));
    write(folder.path(), "vocab.txt", TOKENS.join("\n") + "\n");
    write(
        folder.path(),
        "tokenizer_config.json",
        r#"{"do_lower_case": false, "cls_token": {"content": "[CLS]", "lstrip": false}}"#,
    );
    write(
        folder.path(),
        "modules.json",
        r#"[{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
        {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"}]"#,
    );
    write(
        folder.path(),
        "1_Pooling/config.json",
        r#"{"word_embedding_dimension": 8, "pooling_mode_mean_tokens": true}"#,
    );
    write(folder.path(), "README.md", "---\nlicense: apache-2.0\n---\n# A model\n");
    folder
}

fn import(folder: &Path) -> Result<(Imported, Vec<u8>), ImportError> {
    let options = ImportOptions { name: Some("Small".to_owned()), licence: Some("mit".to_owned()) };
    let mut bytes = Vec::new();
    folder_to_gguf(folder, &options, &mut bytes).map(|imported| (imported, bytes))
}

fn read(bytes: &[u8]) -> Gguf {
    Gguf::read(&mut &bytes[..], bytes.len() as u64).unwrap()
}

/// The data of a tensor of the new file.
fn data<'b>(bytes: &'b [u8], file: &Gguf, name: &str) -> (TensorType, &'b [u8]) {
    let tensor = file.tensor(name).unwrap();
    let begin = (file.data_offset + tensor.offset) as usize;
    (tensor.kind, &bytes[begin..begin + tensor.bytes as usize])
}

#[test]
fn a_published_model_becomes_one_file() {
    let folder = published();
    let (imported, bytes) = import(folder.path()).unwrap();
    assert_eq!(imported.bytes, bytes.len() as u64);
    let file = read(&bytes);
    let shape = file.shape().unwrap();
    assert_eq!(imported.shape, shape);
    assert_eq!((shape.purpose, shape.pooling, shape.causal), (Purpose::Embed, Some(Pooling::Mean), false));
    assert_eq!((shape.name.as_deref(), shape.licence.as_deref()), (Some("Small"), Some("apache-2.0")));
    assert_eq!((shape.layers, shape.embedding, shape.vocabulary, shape.context_trained), (1, 8, 8, 32));
    assert_eq!(shape.quantisation.as_deref(), Some("F16"));
    assert_eq!(file.tensors.len(), 5 + 16);

    let (kind, up) = data(&bytes, &file, "blk.0.ffn_up.weight");
    assert_eq!(
        (kind, &file.tensor("blk.0.ffn_up.weight").unwrap().dimensions[..]),
        (TensorType::F16, &[8, 16][..])
    );
    let halves: Vec<f32> =
        up.as_chunks().0.iter().map(|bytes| crate::float::f16(u16::from_le_bytes(*bytes))).collect();
    assert!(
        halves.iter().enumerate().all(|(index, half)| (half - (halves[0] + index as f32 / 8.0)).abs() < 1e-6)
    );
    for (name, source) in [
        ("blk.0.ffn_up.bias", "encoder.layer.0.intermediate.dense.bias"),
        ("token_embd_norm.weight", "embeddings.LayerNorm.gamma"),
        ("position_embd.weight", "embeddings.position_embeddings.weight"),
        ("token_types.weight", "embeddings.token_type_embeddings.weight"),
    ] {
        assert_eq!(data(&bytes, &file, name), (TensorType::F32, &tensors()[source].2[..]), "{name}");
    }
    let texts = |text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(texts("▁fever") && texts("ish") && !texts("##ish") && texts("[PAD7]") && !texts("▁[CLS]"));
    let lowercase = file.value("tokenizer.ggml.normalizer.lowercase").cloned();
    assert_eq!(lowercase, Some(Value::Scalar(crate::gguf::Scalar::Bool(false))));
}

#[test]
fn the_same_folder_gives_the_same_bytes() {
    let folder = published();
    assert_eq!(import(folder.path()).unwrap(), import(folder.path()).unwrap());
}

#[test]
fn a_vocabulary_in_json_is_the_same() {
    let folder = published();
    let (_, bytes) = import(folder.path()).unwrap();
    fs::remove_file(folder.path().join("vocab.txt")).unwrap();
    let vocab: BTreeMap<&str, usize> = TOKENS.iter().enumerate().map(|(id, token)| (*token, id)).collect();
    let vocab = serde_json::to_string(&vocab).unwrap();
    let normalizer =
        r#"{"type": "BertNormalizer", "clean_text": true, "lowercase": false, "strip_accents": null}"#;
    let tokenizer =
        format!(r#"{{"normalizer": {normalizer}, "model": {{"type": "WordPiece", "vocab": {vocab}}}}}"#);
    write(folder.path(), "tokenizer.json", tokenizer);
    assert_eq!(import(folder.path()).unwrap().1, bytes);
}

#[test]
fn weights_of_16_bits_are_the_same() {
    let folder = published();
    let (_, bytes) = import(folder.path()).unwrap();
    let mut halves = tensors();
    for (number, (kind, _, data)) in halves.values_mut().filter(|tensor| tensor.0 == "F32").enumerate() {
        let numbers = data.as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes));
        // All of these numbers are exact in both.
        let brain = number % 2 == 0 && numbers.clone().all(|number| number.to_bits().trailing_zeros() >= 16);
        *data = numbers
            .flat_map(|number| {
                if brain { (number.to_bits() >> 16) as u16 } else { crate::float::f16_bits(number) }
                    .to_le_bytes()
            })
            .collect();
        *kind = if brain { "BF16" } else { "F16" };
    }
    assert!(
        halves.values().any(|tensor| tensor.0 == "BF16") && halves.values().any(|tensor| tensor.0 == "F16")
    );
    write(folder.path(), "model.safetensors", safetensors(&halves));
    assert_eq!(import(folder.path()).unwrap().1, bytes);
}

#[test]
fn a_cross_encoder_ranks() {
    let folder = published();
    write(folder.path(), "config.json", CONFIG.replace("BertModel", "BertForSequenceClassification"));
    let mut tensors: Tensors =
        tensors().into_iter().map(|(name, tensor)| (format!("bert.{name}"), tensor)).collect();
    tensors.insert("classifier.weight".to_owned(), ("F32", vec![1, EMBEDDING], vec![0; 4 * EMBEDDING]));
    tensors.insert("classifier.bias".to_owned(), ("F32", vec![1], vec![0; 4]));
    write(folder.path(), "model.safetensors", safetensors(&tensors));
    let (imported, bytes) = import(folder.path()).unwrap();
    assert_eq!((imported.shape.purpose, imported.shape.classes), (Purpose::Rank, 1));
    let file = read(&bytes);
    assert_eq!(data(&bytes, &file, "cls.weight").1, tensors["bert.pooler.dense.weight"].2);
    assert_eq!(file.tensor("cls.output.weight").unwrap().dimensions, [8, 1]);

    // Several scores say nothing about an order.
    tensors.insert("classifier.weight".to_owned(), ("F32", vec![2, EMBEDDING], vec![0; 8 * EMBEDDING]));
    write(folder.path(), "model.safetensors", safetensors(&tensors));
    let refused = import(folder.path()).unwrap_err().to_string();
    assert!(refused.contains("`classifier.weight` has the shape [2, 8], and must have [1, 8]"), "{refused}");
}

#[test]
fn broken_folders_are_refused() {
    let changed = |from: &str, to: &str| CONFIG.replace(from, to);
    let cases: Vec<(&str, String, &str)> = vec![
        ("config.json", "{".to_owned(), "config.json` cannot be understood"),
        ("config.json", changed("\"hidden_size\": 8,", ""), "missing field `hidden_size`"),
        ("config.json", changed("BertModel", "LlamaForCausalLM"), "its architecture is `LlamaForCausalLM`"),
        ("config.json", changed("[\"BertModel\"]", "[]"), "its architecture is ``"),
        ("config.json", changed("\"gelu\"", "\"relu\""), "its activation is `relu`"),
        (
            "config.json",
            changed("\"model_type\"", "\"position_embedding_type\": \"relative_key\", \"model_type\""),
            "its positions are `relative_key`",
        ),
        (
            "config.json",
            changed("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 2"),
            "`encoder.layer.1.attention.self.query.weight` is absent",
        ),
        (
            "config.json",
            changed("\"num_hidden_layers\": 1", "\"num_hidden_layers\": 0"),
            "`encoder.layer.0.attention.output.LayerNorm.bias` is not known",
        ),
        (
            "config.json",
            changed("\"num_hidden_layers\": 1", "\"num_hidden_layers\": -1"),
            "cannot be understood",
        ),
        (
            "config.json",
            changed("\"hidden_size\": 8", "\"hidden_size\": 16"),
            "has the shape [8, 8], and must have [8, 16]",
        ),
        (
            "config.json",
            changed("\"vocab_size\": 8", "\"vocab_size\": 6"),
            "it has 7 tokens, and `config.json` says 6",
        ),
        (
            "config.json",
            changed("\"vocab_size\": 8", "\"vocab_size\": 4000000000"),
            "at most 1048576 are read",
        ),
        (
            "config.json",
            changed("1e-12", "-1.0"),
            "the model would not load: the metadata `bert.attention.layer_norm_epsilon`",
        ),
        (
            "config.json",
            changed("\"num_attention_heads\": 2", "\"num_attention_heads\": 9"),
            "`bert.attention.key_length` is 0 or not given",
        ),
        ("config.json", " ".repeat((16 << 20) + 1), "has more than the 16777216 bytes that are read"),
        (
            "modules.json",
            r#"[{"type": "a.Pooling", "path": "../../etc"}]"#.to_owned(),
            "`../../etc` leads out of the folder",
        ),
        ("modules.json", r#"[{"type": "a.Dense", "path": "2_Dense"}]"#.to_owned(), "it has a step `a.Dense`"),
        (
            "1_Pooling/config.json",
            r#"{"pooling_mode_max_tokens": true}"#.to_owned(),
            "its pooling is none of mean, first token and last token",
        ),
        (
            "1_Pooling/config.json",
            r#"{"pooling_mode_max_tokens": true, "pooling_mode_cls_token": true}"#.to_owned(),
            "its pooling is none of",
        ),
        (
            "tokenizer.json",
            r#"{"model": {"type": "BPE", "vocab": {}}}"#.to_owned(),
            "its tokens are `BPE`, not `WordPiece`",
        ),
        (
            "tokenizer.json",
            r#"{"normalizer": {"type": "NFC"}, "model": {"vocab": {}}}"#.to_owned(),
            "prepared by `NFC`",
        ),
        ("vocab.txt", "[PAD]\n[UNK]\n[SEP]\n".to_owned(), "it has no token `[CLS]`"),
        ("vocab.txt", TOKENS.join("\n") + "\n##fever\nx", "it has 9 tokens"),
        (
            "vocab.txt",
            "[PAD]\n[UNK]\n[CLS]\n[SEP]\na\na".to_owned(),
            "the model would not load: the value of `tokenizer.ggml.tokens`",
        ),
        ("model.safetensors", "nothing".to_owned(), "are refused: the file ends too early: the header"),
    ];
    for (name, content, expected) in cases {
        let folder = published();
        write(folder.path(), name, content);
        let refused = import(folder.path()).unwrap_err().to_string();
        assert!(refused.contains(expected), "`{refused}` lacks `{expected}`");
    }
    for (name, is_pipe) in ["config.json", "model.safetensors", "vocab.txt"]
        .into_iter()
        .flat_map(|name| [(name, false), (name, true)])
    {
        let folder = published();
        let path = folder.path().join(name);
        fs::remove_file(&path).unwrap();
        // Opening one would wait for a writer that never comes.
        assert!(!is_pipe || Command::new("mkfifo").arg(&path).status().unwrap().success());
        let refused = import(folder.path()).unwrap_err();
        assert!(
            matches!(&refused, ImportError::CannotRead { file, .. } if file.ends_with(name)),
            "{refused}"
        );
    }
}

#[test]
fn weights_that_do_not_belong_are_refused() {
    type Change = fn(&mut Tensors);
    const QUERY: &str = "encoder.layer.0.attention.self.query.weight";
    fn query(tensors: &mut Tensors) -> &mut (&'static str, Vec<usize>, Vec<u8>) {
        tensors.get_mut(QUERY).unwrap()
    }
    let cases: &[(Change, &str)] = &[
        (|all| drop(all.remove(QUERY)), "query.weight` is absent"),
        (|all| query(all).0 = "I32", "has elements of type I32, and F32, F16 and BF16 are converted"),
        (|all| query(all).1 = vec![4, 16], "has the shape [4, 16], and must have [8, 8]"),
        (
            |all| drop(all.insert("lora.weight".to_owned(), ("F32", vec![1], vec![0; 4]))),
            "`lora.weight` is not known",
        ),
        (
            |all| drop(all.insert(format!("bert.{QUERY}"), ("F32", vec![1], vec![0; 4]))),
            "is there under two names",
        ),
        (
            |all| query(all).2[..4].copy_from_slice(&f32::NAN.to_le_bytes()),
            "holds NaN, and a weight must be a number",
        ),
        (
            |all| query(all).2[..4].copy_from_slice(&1e6_f32.to_le_bytes()),
            "holds 1000000, which 16 bits do not hold",
        ),
    ];
    for (change, expected) in cases {
        let folder = published();
        let mut tensors = tensors();
        change(&mut tensors);
        write(folder.path(), "model.safetensors", safetensors(&tensors));
        let refused = import(folder.path()).unwrap_err().to_string();
        assert!(refused.contains(expected), "`{refused}` lacks `{expected}`");
    }
}

#[test]
fn a_full_disk_is_reported() {
    struct Full;
    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::StorageFull.into())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let folder = published();
    let refused = folder_to_gguf(folder.path(), &ImportOptions::default(), &mut Full).unwrap_err();
    assert!(matches!(refused, ImportError::CannotWrite { .. }), "{refused}");
}
