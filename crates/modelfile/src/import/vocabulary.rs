//! The tokens of a `WordPiece` vocabulary, in the form that llama.cpp's tokenizer searches.
//!
//! BERT marks what continues a word (`##ing`); llama.cpp marks what begins one (`▁ing`), so that one search along the
//! text finds both. Tokens that are no text (`[CLS]`) stay as they are.

use std::{collections::BTreeMap, path::Path};

use serde::Deserialize;

use super::{
    ImportError,
    settings::{self, Settings},
};
use crate::{Writer, gguf::VOCABULARY_MAX};

const VOCAB: &str = "vocab.txt";
const TOKENIZER: &str = "tokenizer.json";
const TOKENIZER_CONFIG: &str = "tokenizer_config.json";
/// What marks a token that continues a word, in BERT's form.
const CONTINUES: &str = "##";
/// What marks a token that begins a word, in llama.cpp's form: U+2581.
const BEGINS: &str = "\u{2581}";

/// Types of tokens (`llama_token_type`).
const NORMAL: i32 = 1;
const CONTROL: i32 = 3;
const UNUSED: i32 = 5;

pub(super) struct Vocabulary {
    tokens: Vec<String>,
    types: Vec<i32>,
    special: Special,
    lowercase: bool,
    strip_accents: bool,
    token_types: u32,
}

/// The ids of the tokens that are no text.
struct Special {
    cls: u32,
    sep: u32,
    pad: u32,
    unk: u32,
    /// Models that only embed may lack it.
    mask: Option<u32>,
}

/// `tokenizer_config.json`.
#[derive(Default, Deserialize)]
struct TokenizerConfig {
    do_lower_case: Option<bool>,
    strip_accents: Option<bool>,
    cls_token: Option<Token>,
    sep_token: Option<Token>,
    pad_token: Option<Token>,
    unk_token: Option<Token>,
    mask_token: Option<Token>,
}

/// A token by its text, or with settings beside it.
#[derive(Deserialize)]
#[serde(untagged)]
enum Token {
    Text(String),
    Settings { content: String },
}

impl Token {
    fn text(&self) -> &str {
        match self {
            Self::Text(text) | Self::Settings { content: text } => text,
        }
    }
}

/// `tokenizer.json`.
#[derive(Deserialize)]
struct Tokenizer {
    normalizer: Option<Normalizer>,
    model: Model,
}

#[derive(Deserialize)]
struct Normalizer {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    lowercase: Option<bool>,
    #[serde(default)]
    strip_accents: Option<bool>,
}

#[derive(Deserialize)]
struct Model {
    /// Older files lack it.
    #[serde(rename = "type", default)]
    kind: Option<String>,
    vocab: BTreeMap<String, u32>,
}

impl Vocabulary {
    pub(super) fn read(folder: &Path, settings: &Settings) -> Result<Self, ImportError> {
        let optional = |name: &str| Some(folder.join(name)).filter(|file| file.exists());
        let tokenizer = match optional(TOKENIZER) {
            Some(file) => Some(tokenizer(&file)?),
            None => None,
        };
        let config: TokenizerConfig = match optional(TOKENIZER_CONFIG) {
            Some(file) => settings::json(&file)?,
            None => TokenizerConfig::default(),
        };
        let file = folder.join(VOCAB);
        let in_lines = file.exists() || tokenizer.is_none();
        let (file, texts) = match &tokenizer {
            Some(tokenizer) if !in_lines => (folder.join(TOKENIZER), by_id(&tokenizer.model.vocab)),
            _ => (file.clone(), of_lines(&settings::text(&file)?)),
        };
        let texts = padded(&file, texts, settings.config.vocab_size)?;
        let special = Special::find(&file, &texts, &config)?;
        let normalizer = tokenizer.as_ref().and_then(|tokenizer| tokenizer.normalizer.as_ref());
        let lowercase =
            normalizer.and_then(|normalizer| normalizer.lowercase).or(config.do_lower_case).unwrap_or(true);
        let strip_accents =
            normalizer.and_then(|normalizer| normalizer.strip_accents).or(config.strip_accents);
        let (tokens, types) =
            texts.iter().enumerate().map(|(id, text)| special.form(id as u32, text.as_deref())).unzip();
        let token_types = settings.config.type_vocab_size;
        // What BERT does where nothing is said.
        let strip_accents = strip_accents.unwrap_or(lowercase);
        Ok(Self { tokens, types, special, lowercase, strip_accents, token_types })
    }

    pub(super) fn write(&self, file: &mut Writer) {
        file.text("tokenizer.ggml.model", "bert")
            .text("tokenizer.ggml.pre", "default")
            .u32("tokenizer.ggml.token_type_count", self.token_types)
            .texts("tokenizer.ggml.tokens", &self.tokens)
            .i32s("tokenizer.ggml.token_type", &self.types)
            // llama.cpp puts the first token of a sequence there, whatever its name is.
            .u32("tokenizer.ggml.bos_token_id", self.special.cls)
            .u32("tokenizer.ggml.cls_token_id", self.special.cls)
            .u32("tokenizer.ggml.seperator_token_id", self.special.sep)
            .u32("tokenizer.ggml.padding_token_id", self.special.pad)
            .u32("tokenizer.ggml.unknown_token_id", self.special.unk);
        if let Some(mask) = self.special.mask {
            file.u32("tokenizer.ggml.mask_token_id", mask);
        }
        file.bool("tokenizer.ggml.add_bos_token", true)
            .bool("tokenizer.ggml.add_sep_token", true)
            .bool("tokenizer.ggml.normalizer.lowercase", self.lowercase)
            .bool("tokenizer.ggml.normalizer.strip_accents", self.strip_accents);
    }
}

impl Special {
    fn find(file: &Path, texts: &[Option<String>], config: &TokenizerConfig) -> Result<Self, ImportError> {
        let find = |named: &Option<Token>, usual: &str| {
            let text = named.as_ref().map_or(usual, Token::text);
            let id = texts.iter().position(|token| token.as_deref() == Some(text));
            let missing = || ImportError::Malformed {
                file: file.to_owned(),
                why: format!("it has no token `{}`", text.escape_debug()),
            };
            id.map(|id| id as u32).ok_or_else(missing)
        };
        Ok(Self {
            cls: find(&config.cls_token, "[CLS]")?,
            sep: find(&config.sep_token, "[SEP]")?,
            pad: find(&config.pad_token, "[PAD]")?,
            unk: find(&config.unk_token, "[UNK]")?,
            mask: find(&config.mask_token, "[MASK]").ok(),
        })
    }

    fn is(&self, id: u32) -> bool {
        [self.cls, self.sep, self.pad, self.unk].contains(&id) || self.mask == Some(id)
    }

    /// A token in llama.cpp's form, and its type. An id without a token gets one that no text contains.
    fn form(&self, id: u32, text: Option<&str>) -> (String, i32) {
        match text {
            None => (format!("[PAD{id}]"), UNUSED),
            Some(text) if self.is(id) => (text.to_owned(), CONTROL),
            Some(text) => match text.strip_prefix(CONTINUES) {
                Some(rest) => (rest.to_owned(), NORMAL),
                None => (format!("{BEGINS}{text}"), NORMAL),
            },
        }
    }
}

fn tokenizer(file: &Path) -> Result<Tokenizer, ImportError> {
    let tokenizer: Tokenizer = settings::json(file)?;
    let unsupported = |what: String| Err(ImportError::Unsupported { file: file.to_owned(), what });
    if let Some(kind) = tokenizer.model.kind.as_deref().filter(|kind| *kind != "WordPiece") {
        return unsupported(format!("its tokens are `{}`, not `WordPiece`", kind.escape_debug()));
    }
    if let Some(normalizer) =
        tokenizer.normalizer.as_ref().filter(|normalizer| normalizer.kind != "BertNormalizer")
    {
        return unsupported(format!(
            "its text is prepared by `{}`, not `BertNormalizer`",
            normalizer.kind.escape_debug()
        ));
    }
    Ok(tokenizer)
}

/// One token per line; its number is its id.
fn of_lines(text: &str) -> Vec<Option<String>> {
    let text = text.strip_suffix('\n').unwrap_or(text);
    text.split('\n').map(|line| Some(line.strip_suffix('\r').unwrap_or(line).to_owned())).collect()
}

fn by_id(vocab: &BTreeMap<String, u32>) -> Vec<Option<String>> {
    // Ids beyond the limit are left out here and missed below.
    let length = vocab
        .values()
        .copied()
        .filter(|id| u64::from(*id) < VOCABULARY_MAX)
        .max()
        .map_or(0, |id| id as usize + 1);
    let mut texts = vec![None; length];
    for (text, id) in vocab {
        if let Some(place) = texts.get_mut(*id as usize) {
            *place = Some(text.clone());
        }
    }
    texts
}

/// As many tokens as the model has vectors for.
fn padded(
    file: &Path,
    mut texts: Vec<Option<String>>,
    wanted: u32,
) -> Result<Vec<Option<String>>, ImportError> {
    if texts.len() > wanted as usize || u64::from(wanted) > VOCABULARY_MAX {
        let why = format!(
            "it has {} tokens, and `config.json` says {wanted}, of which at most {VOCABULARY_MAX} are read",
            texts.len()
        );
        return Err(ImportError::Malformed { file: file.to_owned(), why });
    }
    texts.resize(wanted as usize, None);
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_that_begin_a_word_are_marked_instead_of_those_that_continue_it() {
        let special = Special { cls: 0, sep: 1, pad: 2, unk: 3, mask: None };
        let cases = [
            (0, Some("[CLS]"), "[CLS]", CONTROL),
            (9, Some("[CLS]"), "▁[CLS]", NORMAL),
            (9, Some("play"), "▁play", NORMAL),
            (9, Some("##ing"), "ing", NORMAL),
            (9, Some("##"), "", NORMAL),
            (9, None, "[PAD9]", UNUSED),
        ];
        for (id, text, token, kind) in cases {
            assert_eq!(special.form(id, text), (token.to_owned(), kind), "{text:?}");
        }
    }

    #[test]
    fn lines_are_tokens() {
        let texts = |text| of_lines(text).into_iter().flatten().collect::<Vec<_>>();
        assert_eq!(texts("a\nb\n"), ["a", "b"]);
        assert_eq!(texts("a\r\n\r\nb"), ["a", "", "b"]);
    }
}
