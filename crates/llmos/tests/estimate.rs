//! The real binary says what a model needs, and answers damaged files.
#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use std::{
    fs,
    process::{Command, Output},
};

use modelfile::gguf;
use serde_json::Value;
use tempfile::TempDir;

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/examples/inventory");

struct Folder(TempDir);

impl Folder {
    /// With the smallest model, and a configuration that says nothing.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("model.gguf"), gguf::sample().to_bytes().unwrap()).unwrap();
        fs::write(folder.path().join("llmos.toml"), "").unwrap();
        Self(folder)
    }

    fn estimate(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_llmos"));
        command.current_dir(self.0.path()).env_clear().arg("estimate").args(args);
        command.args(["--config", "llmos.toml", "--data-dir", "data"]).output().unwrap()
    }
}

#[test]
fn the_parts_make_the_total_and_it_fits() {
    let folder = Folder::new();
    let output = folder.estimate(&["model.gguf", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let host = |part: &str| document["parts"][part]["host"].as_u64().unwrap();
    let parts: u64 = ["weights", "kv", "compute", "overhead"].into_iter().map(host).sum();
    assert_eq!(parts + document["parts"]["output"].as_u64().unwrap(), document["total"]["host"]);
    assert_eq!((&document["fits"], &document["would_fit"]), (&Value::Bool(true), &Value::Null));
    assert_eq!((&document["context"], &document["parallel"]), (&4096.into(), &32.into()));

    let text = String::from_utf8(folder.estimate(&["model.gguf", "--threads", "1"]).stdout).unwrap();
    for part in ["weights", "kv", "compute", "output", "overhead", "total", "fits: "] {
        assert!(text.lines().any(|line| line.starts_with(part)), "{part} is missing:\n{text}");
    }
}

#[test]
fn what_does_not_fit_is_refused_with_what_would() {
    let folder = Folder::new();
    let small = format!("{EXAMPLES}/two-cores.json");
    let output = folder.estimate(&["model.gguf", "--context", "16777216", "--inventory", &small, "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    let error = String::from_utf8(output.stderr).unwrap();
    let context = document["would_fit"]["context"].as_u64().unwrap().to_string();
    assert!(error.contains("too little") && error.contains(&format!("`context` {context}")), "{error}");
    // What it was trained on: a longer one would fit, and not be used.
    assert!(context == "256" && error.contains("the model was trained on 256"), "{error}");
    let again = folder.estimate(&["model.gguf", "--context", &context, "--inventory", &small]);
    assert!(again.status.success() && again.stderr.is_empty(), "{}", String::from_utf8_lossy(&again.stderr));

    let output = folder.estimate(&["model.gguf", "--inventory", "none.json"]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot read none.json"));
}

#[test]
fn devices_take_what_fits() {
    let folder = Folder::new();
    let large = format!("{EXAMPLES}/server-8x80gb.json");
    let output = folder.estimate(&["model.gguf", "--gpu-layers", "auto", "--inventory", &large, "--json"]);
    let document: Value = serde_json::from_slice(&output.stdout).unwrap();
    // Both layers and the output head.
    assert_eq!(document["gpu_layers"], 3, "{document}");
    assert_eq!((&document["parts"]["kv"]["host"], &document["fits"]), (&0.into(), &Value::Bool(true)));
    let none = folder.estimate(&[
        "model.gguf",
        "--gpu-layers",
        "99",
        "--inventory",
        &format!("{EXAMPLES}/two-cores.json"),
    ]);
    let error = String::from_utf8(none.stderr).unwrap();
    assert_eq!(none.status.code(), Some(1));
    assert!(error.contains("memory of devices") && error.contains("fit with `--gpu-layers 0`"), "{error}");
}

#[test]
fn damaged_files_and_damaged_lessons_are_answered() {
    let folder = Folder::new();
    fs::write(folder.0.path().join("cut.gguf"), &gguf::sample().to_bytes().unwrap()[..100]).unwrap();
    for (file, complaint) in
        [("cut.gguf", "ends too early"), ("none.gguf", "cannot open"), (".", "cannot open")]
    {
        let output = folder.estimate(&[file]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && error.contains(complaint), "{file}: {error}");
    }
    fs::create_dir_all(folder.0.path().join("data")).unwrap();
    fs::write(folder.0.path().join("data/memory.json"), "{").unwrap();
    let output = folder.estimate(&["model.gguf"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && error.contains("memory.json is damaged"), "{error}");
    assert_eq!(folder.estimate(&["model.gguf", "--parallel", "257"]).status.code(), Some(2));
}
