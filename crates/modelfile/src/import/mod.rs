//! Imports a model as it is published (`config.json`, `model.safetensors`, a vocabulary) to GGUF.
//!
//! **BERT's class only**: `BertModel` and `BertForMaskedLM` become models that [embed](crate::Purpose::Embed),
//! `BertForSequenceClassification` with one score becomes one that [ranks](crate::Purpose::Rank). Names, types and
//! the vocabulary's form are those of llama.cpp's `convert_hf_to_gguf.py --outtype f16` (b10200), with one
//! difference: that converter drops the layer between the first token and the classifier, which the model was trained
//! with; it is kept here, where llama.cpp looks for it (`cls`).
//!
//! The path of the data: `settings` reads the small files, `vocabulary` turns the tokens into llama.cpp's form,
//! `tensors` says which tensor becomes which and converts them piece by piece. The header is read by our own reader
//! before the first byte of data is written.

mod error;
mod settings;
mod tensors;
mod vocabulary;

#[cfg(test)]
mod tests;

use std::{
    io::{BufWriter, Write},
    path::Path,
};

pub use error::ImportError;
pub use settings::{SETTINGS_BYTES_MAX, licence_of};

use crate::{Gguf, ModelShape, Pooling, Safetensors, Writer, open_regular};
use settings::Settings;
use tensors::Plan;
use vocabulary::Vocabulary;

const WEIGHTS: &str = "model.safetensors";
/// Most of the weights are stored with 16 bits (`LLAMA_FTYPE_MOSTLY_F16`).
const FILE_TYPE_F16: u32 = 1;
/// The version of the quantised types (`GGML_QNT_VERSION`).
const QUANTISATION_VERSION: u32 = 2;

/// What the folder may not say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// The model's name; without it, that of the folder.
    pub name: Option<String>,
    /// Its licence, where the folder's `README.md` names none.
    pub licence: Option<String>,
}

/// What was written.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    /// The shape of the model.
    pub shape: ModelShape,
    /// The length of the file in bytes.
    pub bytes: u64,
}

/// Writes the model in `folder` to `out`. The same folder gives the same bytes each time.
///
/// Reads and writes in pieces: the memory it needs is that of the vocabulary. Blocks, for about a second per 100 MB.
///
/// # Errors
/// What is missing, not understood, not supported, or wrong. What `out` holds then is not to be used.
pub fn folder_to_gguf(
    folder: &Path,
    options: &ImportOptions,
    out: &mut impl Write,
) -> Result<Imported, ImportError> {
    let settings = Settings::read(folder)?;
    let vocabulary = Vocabulary::read(folder, &settings)?;
    let path = folder.join(WEIGHTS);
    let refuse = |why| ImportError::Weights { file: path.clone(), why };
    let mut weights = open_regular(&path)
        .map_err(|error| ImportError::CannotRead { file: path.clone(), why: error.to_string() })?;
    let source = Safetensors::open(&path).map_err(refuse)?;
    let plan = Plan::of(&settings, &source)?;

    let mut file = Writer::new();
    write_metadata(&mut file, folder, options, &settings)?;
    vocabulary.write(&mut file);
    plan.describe(&mut file);
    let Imported { shape, bytes } = check(&file)?;

    let failed = |error: std::io::Error| ImportError::CannotWrite { why: error.to_string() };
    let mut data = file.begin(BufWriter::new(out)).map_err(failed)?;
    plan.convert(&source, &mut weights, &path, &mut data)?;
    data.finish().map_err(failed)?;
    Ok(Imported { shape, bytes })
}

fn write_metadata(
    file: &mut Writer,
    folder: &Path,
    options: &ImportOptions,
    settings: &Settings,
) -> Result<(), ImportError> {
    file.text("general.architecture", "bert").text("general.type", "model");
    let of_folder = || folder.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    if let Some(name) = options.name.clone().or_else(of_folder) {
        file.text("general.name", &name);
    }
    if let Some(licence) = settings::licence(folder)?.or_else(|| options.licence.clone()) {
        file.text("general.license", &licence);
    }
    let config = &settings.config;
    file.u32("general.file_type", FILE_TYPE_F16)
        .u32("general.quantization_version", QUANTISATION_VERSION)
        .u32("bert.block_count", config.num_hidden_layers)
        .u32("bert.context_length", config.max_position_embeddings)
        .u32("bert.embedding_length", config.hidden_size)
        .u32("bert.feed_forward_length", config.intermediate_size)
        .u32("bert.attention.head_count", config.num_attention_heads)
        .f32("bert.attention.layer_norm_epsilon", config.layer_norm_eps)
        .bool("bert.attention.causal", false);
    if settings.pooling != Pooling::None {
        file.u32("bert.pooling_type", settings.pooling.number());
    }
    Ok(())
}

/// Reads the header that would be written, as if its data followed.
fn check(file: &Writer) -> Result<Imported, ImportError> {
    let head = file.head();
    let bytes = head.len() as u64 + file.data_bytes();
    let read = Gguf::read(&mut head.as_slice(), bytes).and_then(|read| read.shape());
    Ok(Imported { shape: read.map_err(ImportError::WouldNotLoad)?, bytes })
}
