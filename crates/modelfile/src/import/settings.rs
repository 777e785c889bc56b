//! The small files beside the weights.

use std::{
    io::Read,
    path::{Component, Path, PathBuf},
};

use serde::{Deserialize, de::DeserializeOwned};

use super::ImportError;
use crate::{Pooling, open_regular};

/// Longest file of settings or of a vocabulary.
pub const SETTINGS_BYTES_MAX: u64 = 16 << 20;
/// How much of a `README.md` is looked at: its front matter stands at the beginning.
const README_BYTES_MAX: u64 = 64 << 10;
/// Longest name of a licence.
const LICENCE_BYTES_MAX: usize = 128;

const CONFIG: &str = "config.json";
const MODULES: &str = "modules.json";
const README: &str = "README.md";
/// llama.cpp computes one activation for BERT, which is all of these within the precision of 16 bits.
const ACTIVATIONS: [&str; 4] = ["gelu", "gelu_new", "gelu_fast", "gelu_pytorch_tanh"];

/// What the settings say.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) config: Config,
    pub(super) pooling: Pooling,
}

/// `config.json`: what of it decides anything.
#[derive(Debug, Deserialize)]
pub(super) struct Config {
    #[serde(default)]
    architectures: Vec<String>,
    #[serde(default = "gelu")]
    hidden_act: String,
    #[serde(default = "absolute")]
    position_embedding_type: String,
    pub(super) hidden_size: u32,
    pub(super) intermediate_size: u32,
    pub(super) max_position_embeddings: u32,
    pub(super) num_attention_heads: u32,
    pub(super) num_hidden_layers: u32,
    pub(super) vocab_size: u32,
    #[serde(default = "one")]
    pub(super) type_vocab_size: u32,
    #[serde(default = "epsilon")]
    pub(super) layer_norm_eps: f32,
}

// What transformers takes where the file says nothing (`BertConfig`).
fn gelu() -> String {
    "gelu".to_owned()
}
fn absolute() -> String {
    "absolute".to_owned()
}
fn one() -> u32 {
    1
}
fn epsilon() -> f32 {
    1e-12
}

/// One step of `modules.json`.
#[derive(Deserialize)]
struct Module {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    path: String,
}

/// `1_Pooling/config.json`.
#[derive(Deserialize)]
struct PoolingConfig {
    #[serde(default)]
    pooling_mode_mean_tokens: bool,
    #[serde(default)]
    pooling_mode_cls_token: bool,
    #[serde(default)]
    pooling_mode_lasttoken: bool,
    #[serde(default)]
    pooling_mode_max_tokens: bool,
    #[serde(default)]
    pooling_mode_mean_sqrt_len_tokens: bool,
    #[serde(default)]
    pooling_mode_weightedmean_tokens: bool,
}

impl Settings {
    pub(super) fn read(folder: &Path) -> Result<Self, ImportError> {
        let file = folder.join(CONFIG);
        let config: Config = json(&file)?;
        let unsupported = |what: String| ImportError::Unsupported { file: file.clone(), what };
        if !ACTIVATIONS.contains(&config.hidden_act.as_str()) {
            return Err(unsupported(format!(
                "its activation is `{}`, not `gelu`",
                config.hidden_act.escape_debug()
            )));
        }
        if config.position_embedding_type != "absolute" {
            return Err(unsupported(format!(
                "its positions are `{}`, not `absolute`",
                config.position_embedding_type.escape_debug()
            )));
        }
        let pooling = match config.architectures.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["BertForSequenceClassification"] => Pooling::Rank,
            ["BertModel" | "BertForMaskedLM"] => pooling(folder)?,
            _ => {
                let names = config.architectures.join(", ");
                return Err(unsupported(format!("its architecture is `{}`", names.escape_debug())));
            }
        };
        Ok(Self { config, pooling })
    }
}

/// How the vectors of tokens become one, which sentence-transformers keeps in two files.
fn pooling(folder: &Path) -> Result<Pooling, ImportError> {
    let file = folder.join(MODULES);
    if !file.exists() {
        return Ok(Pooling::None);
    }
    let modules: Vec<Module> = json(&file)?;
    let mut pooling = Pooling::None;
    for module in modules {
        match module.kind.rsplit('.').next().unwrap_or_default() {
            // The server makes every vector one long; there is nothing to write for it.
            "Transformer" | "Normalize" => {}
            "Pooling" => pooling = pooling_of(&folder.join(inside(&file, &module.path)?).join(CONFIG))?,
            _ => {
                let what = format!("it has a step `{}`", module.kind.escape_debug());
                return Err(ImportError::Unsupported { file, what });
            }
        }
    }
    Ok(pooling)
}

fn pooling_of(file: &Path) -> Result<Pooling, ImportError> {
    let config: PoolingConfig = json(file)?;
    let other = config.pooling_mode_max_tokens
        || config.pooling_mode_mean_sqrt_len_tokens
        || config.pooling_mode_weightedmean_tokens;
    let modes = (
        config.pooling_mode_mean_tokens,
        config.pooling_mode_cls_token,
        config.pooling_mode_lasttoken,
        other,
    );
    match modes {
        (true, false, false, false) => Ok(Pooling::Mean),
        (false, true, false, false) => Ok(Pooling::Cls),
        (false, false, true, false) => Ok(Pooling::Last),
        _ => {
            let what = "its pooling is none of mean, first token and last token".to_owned();
            Err(ImportError::Unsupported { file: file.to_owned(), what })
        }
    }
}

/// A path that leads down from the folder only.
fn inside(file: &Path, path: &str) -> Result<PathBuf, ImportError> {
    let path = Path::new(path);
    if path.components().all(|part| matches!(part, Component::Normal(_))) {
        return Ok(path.to_owned());
    }
    let why = format!("`{}` leads out of the folder", path.display());
    Err(ImportError::Malformed { file: file.to_owned(), why })
}

/// The licence that the front matter of the folder's `README.md` names.
pub(super) fn licence(folder: &Path) -> Result<Option<String>, ImportError> {
    let file = folder.join(README);
    if !file.exists() {
        return Ok(None);
    }
    let mut bytes = Vec::new();
    open_regular(&file)
        .and_then(|opened| opened.take(README_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(|error| ImportError::CannotRead { file, why: error.to_string() })?;
    Ok(licence_of(&String::from_utf8_lossy(&bytes)))
}

/// The licence that a model card names: the line `license: …` of its front matter, between the first two lines `---`.
pub fn licence_of(readme: &str) -> Option<String> {
    let mut lines = readme.trim_start_matches('\u{feff}').lines();
    if lines.next()?.trim_end() != "---" {
        return None;
    }
    let licence =
        lines.take_while(|line| line.trim_end() != "---").find_map(|line| line.strip_prefix("license:"))?;
    let licence = licence.trim().trim_matches(['"', '\'']);
    let plain =
        !licence.is_empty() && licence.len() <= LICENCE_BYTES_MAX && !licence.chars().any(char::is_control);
    plain.then(|| licence.to_owned())
}

/// A file of settings as JSON.
pub(super) fn json<T: DeserializeOwned>(file: &Path) -> Result<T, ImportError> {
    let text = text(file)?;
    serde_json::from_str(&text)
        .map_err(|error| ImportError::Malformed { file: file.to_owned(), why: error.to_string() })
}

/// A file of text, at most [`SETTINGS_BYTES_MAX`] long.
pub(super) fn text(file: &Path) -> Result<String, ImportError> {
    let mut text = String::new();
    open_regular(file)
        .and_then(|opened| opened.take(SETTINGS_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| ImportError::CannotRead { file: file.to_owned(), why: error.to_string() })?;
    if text.len() as u64 > SETTINGS_BYTES_MAX {
        return Err(ImportError::TooLong { file: file.to_owned(), limit: SETTINGS_BYTES_MAX });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_licence_stands_in_the_front_matter_only() {
        let cases = [
            ("---\nlanguage: en\nlicense: apache-2.0\n---\ntext", Some("apache-2.0")),
            ("---\r\nlicense: \"mit\"\r\n---\r\n", Some("mit")),
            ("---\nlanguage: en\n---\nlicense: mit", None),
            ("license: mit", None),
            ("---\nlicense:\n- mit\n---", None),
            ("", None),
        ];
        for (readme, licence) in cases {
            assert_eq!(licence_of(readme).as_deref(), licence, "{readme:?}");
        }
    }

    #[test]
    fn paths_lead_down_only() {
        let file = Path::new("modules.json");
        assert!(inside(file, "1_Pooling").is_ok() && inside(file, "").is_ok());
        for path in ["../x", "/etc", "a/../../b", "."] {
            assert!(matches!(inside(file, path), Err(ImportError::Malformed { .. })), "{path}");
        }
    }
}
