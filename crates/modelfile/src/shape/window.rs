//! Which layers attend to a window of the last tokens only, and how long it is.
//!
//! The files say little of it: most of what is here stands in llama.cpp's code, once per architecture
//! (`src/models/*.cpp`, `load_arch_hparams`, b10200), and is one row of a table here.

use serde::Serialize;

use super::{CONTEXT_MAX, keys::Keys};
use crate::ModelFileError;

const LENGTH: &str = "attention.sliding_window";
const PATTERN: &str = "attention.sliding_window_pattern";

/// Some layers see a part of the context only, so that their keys and values need less memory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SlidingWindow {
    /// How many tokens such a layer sees.
    pub tokens: u32,
    /// How the window lies.
    pub kind: WindowKind,
    /// For each layer, whether it is one.
    pub layers: Vec<bool>,
}

/// How a window lies around a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum WindowKind {
    /// The tokens before it.
    Standard,
    /// The tokens of its own chunk.
    Chunked,
    /// The tokens before and after it.
    Symmetric,
}

/// Which layers have a window, unless the file lists them.
#[derive(Clone, Copy)]
enum Pattern {
    /// The last of every so many sees everything; 0: none does.
    LastOf(u32),
    /// The first of every so many sees everything.
    FirstOf(u32),
    /// The file must list them.
    Listed,
    /// All layers with keys and values.
    Attention,
}

/// Where the length comes from.
#[derive(Clone, Copy)]
enum Length {
    /// From the file, which must say it.
    Required,
    /// From the file; without it, or with 0, there is no window.
    Optional,
    /// From the file, else this.
    Default(u32),
    /// This, if the file has any but 0.
    IfNamed(u32),
    /// This, unless the file has 0.
    UnlessZero(u32),
}

use Length::{Default, IfNamed, Optional, Required, UnlessZero};
use Pattern::{Attention, FirstOf, LastOf, Listed};
use WindowKind::{Chunked, Standard, Symmetric};

const RULES: [(&str, WindowKind, Length, Pattern); 29] = [
    ("afmoe", Standard, Optional, LastOf(4)),
    ("cohere2", Standard, Required, LastOf(4)),
    ("cohere2moe", Standard, Required, FirstOf(4)),
    ("deepseek4", Standard, Required, LastOf(0)),
    ("dflash", Standard, Optional, Listed),
    ("dots3note", Standard, Required, Listed),
    ("exaone-moe", Standard, Required, LastOf(4)),
    ("exaone4", Standard, Default(4096), LastOf(4)),
    ("gemma-embedding", Symmetric, Required, LastOf(6)),
    ("gemma2", Standard, Default(4096), LastOf(2)),
    ("gemma3", Standard, Optional, LastOf(6)),
    ("gemma3n", Standard, Required, LastOf(5)),
    ("gemma4", Standard, Required, Listed),
    ("gemma4-assistant", Standard, Required, Listed),
    ("gpt-oss", Standard, Required, LastOf(2)),
    ("granite_swa", Standard, Required, Listed),
    ("laguna", Standard, Optional, FirstOf(4)),
    ("lfm2", Standard, Optional, Attention),
    ("llama4", Chunked, UnlessZero(8192), LastOf(4)),
    ("maple", Standard, Required, Listed),
    ("mellum", Standard, Optional, LastOf(4)),
    ("mimo2", Standard, Required, Listed),
    ("modern-bert", Symmetric, Optional, FirstOf(3)),
    ("muse-glimmer", Standard, Required, LastOf(4)),
    ("olmo2", Standard, Optional, LastOf(4)),
    ("plamo3", Standard, Optional, LastOf(8)),
    ("smallthinker", Standard, IfNamed(4096), FirstOf(4)),
    ("spark2_5", Standard, Required, Listed),
    ("step35", Standard, Required, Listed),
];
/// `exaone4` has a window in its model of this many layers only.
const EXAONE4_LAYERS: u32 = 64;

/// The window of this architecture, if it has one. `drafting` of the layers, at the end, never have one.
pub(super) fn window(
    keys: &Keys<'_>,
    layers: u32,
    drafting: u32,
    attention: &[bool],
) -> Result<Option<SlidingWindow>, ModelFileError> {
    let Some((_, kind, length, pattern)) = RULES.iter().find(|rule| rule.0 == keys.architecture) else {
        return Ok(None);
    };
    if keys.architecture == "exaone4" && layers - drafting != EXAONE4_LAYERS {
        return Ok(None);
    }
    let named = keys.number(LENGTH, CONTEXT_MAX)?;
    let tokens = match (*length, named) {
        (Required, None) => return Err(keys.refuse(LENGTH, "is absent")),
        (Optional | IfNamed(_), None | Some(0)) | (UnlessZero(_), Some(0)) => return Ok(None),
        (UnlessZero(tokens) | IfNamed(tokens), _) | (Default(tokens), None) | (_, Some(tokens)) => tokens,
    };
    let mut windowed = match keys.truths(PATTERN, layers)? {
        Some(listed) => listed,
        None => match *pattern {
            Listed => return Err(keys.refuse(PATTERN, "is absent")),
            Attention => attention.to_vec(),
            LastOf(preset) => {
                let every = keys.number(PATTERN, layers.max(preset))?.unwrap_or(preset);
                (0..layers).map(|layer| every == 0 || layer % every < every - 1).collect()
            }
            FirstOf(preset) => {
                let every = keys.number(PATTERN, layers.max(preset))?.unwrap_or(preset);
                (0..layers).map(|layer| every == 0 || layer % every != 0).collect()
            }
        },
    };
    let main = (layers - drafting) as usize;
    windowed[main..].fill(false);
    let any = windowed.contains(&true);
    Ok(any.then_some(SlidingWindow { tokens, kind: *kind, layers: windowed }))
}
