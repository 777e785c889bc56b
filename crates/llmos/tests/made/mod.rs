//! Models, and packages with models in them, that tests make for themselves.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

/// A sound model with this many bytes of weights that repeat nowhere.
pub(crate) fn model(seed: u64, bytes: usize) -> Vec<u8> {
    let mut file = modelfile::gguf::sample();
    file.tensor("padding", &[bytes as u64 / 4], modelfile::TensorType::F32);
    let mut content = file.to_bytes().unwrap();
    let (start, mut state) = (content.len() - bytes, seed);
    for chunk in content[start..].chunks_mut(8) {
        state = random(state);
        chunk.copy_from_slice(&state.to_le_bytes()[..chunk.len()]);
    }
    content
}

/// Knuth's MMIX generator.
pub(crate) fn random(state: u64) -> u64 {
    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407)
}

/// Makes a Python package of files, with the machine's own Python.
pub(crate) fn package(folder: &Path, files: &[(&str, &[u8])]) -> Option<PathBuf> {
    let content = folder.join("content");
    let metadata = b"Metadata-Version: 2.1\nName: a-model\nVersion: 1.5\nLicense: MIT\n";
    let wheel = b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n";
    let standard: [(&str, &[u8]); 3] = [
        ("a_model-1.5.dist-info/METADATA", metadata),
        ("a_model-1.5.dist-info/WHEEL", wheel),
        ("a_model-1.5.dist-info/RECORD", b""),
    ];
    for (name, bytes) in files.iter().chain(&standard) {
        let path = content.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    let target = folder.join("a_model-1.5-py3-none-any.whl");
    let mut zip = Command::new("python3");
    zip.args(["-m", "zipfile", "-c"])
        .arg(&target)
        .args(["a_model", "a_model-1.5.dist-info"])
        .current_dir(content);
    zip.status().is_ok_and(|status| status.success()).then_some(target)
}
