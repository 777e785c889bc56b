use std::path::Path;

use modelfile::Gguf;

use super::{Licence, StoreError, licence};

/// What every GGUF file begins with.
const MAGIC: &[u8] = b"GGUF";
/// What web pages begin with, in lower case.
const HTML: [&[u8]; 5] = [b"<!doctype html", b"<html", b"<head", b"<!--", b"<?xml"];
/// Bytes that tell what a file is.
pub(super) const HEAD_BYTES: usize = 512;
/// Bytes shown of a file that is something else.
const SHOWN_BYTES: usize = 16;
/// Where the licence was found.
const IN_THE_FILE: &str = "general.license of the file";

/// What our own reader finds in a sound file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    pub(super) bytes: u64,
    pub(super) architecture: String,
    pub(super) purpose: String,
    pub(super) quantisation: Option<String>,
    pub(super) parameters: u64,
    pub(super) context: u64,
    pub(super) licence: Option<Licence>,
}

/// Reads the header of a file, or says why it is no model.
pub(super) fn inspect(path: &Path, source: &str) -> Result<Facts, StoreError> {
    let refuse = |error: modelfile::ModelFileError| StoreError::NotAModel {
        source_text: source.to_owned(),
        why: error.to_string(),
    };
    let gguf = Gguf::open(path).map_err(refuse)?;
    let shape = gguf.shape().map_err(refuse)?;
    Ok(Facts {
        bytes: gguf.length,
        purpose: shape.purpose.to_string(),
        parameters: shape.parameters,
        context: shape.context_trained.into(),
        licence: shape.licence.as_deref().and_then(|name| licence::Licence::new(name, IN_THE_FILE)),
        architecture: shape.architecture,
        quantisation: shape.quantisation,
    })
}

/// Looks at the first bytes of what comes, so that no time is spent on the rest of something else.
pub(super) fn sniff(head: &[u8], source: &str) -> Result<(), StoreError> {
    if head.starts_with(MAGIC) {
        return Ok(());
    }
    let text = head.trim_ascii_start().to_ascii_lowercase();
    if HTML.iter().any(|tag| text.starts_with(tag)) {
        return Err(StoreError::HtmlPage(source.to_owned()));
    }
    let shown = head[..head.len().min(SHOWN_BYTES)].escape_ascii();
    let why = format!("it begins with `{shown}`, and a GGUF file begins with `GGUF`");
    Err(StoreError::NotAModel { source_text: source.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_tell_a_model_from_a_web_page() {
        assert!(sniff(b"GGUF\x03\0\0\0", "x").is_ok());
        for (head, message) in [
            (&b"<!DOCTYPE html><title>Sign in</title>"[..], "an HTML page instead of a model"),
            (b"\n  <HTML lang=en>", "an HTML page instead of a model"),
            (b"version https://git-lfs.github.com/spec/v1", "begins with `version https://`"),
            (b"PK\x03\x04", "begins with `PK\\x03\\x04`"),
            (b"", "begins with ``"),
        ] {
            let error = sniff(head, "x").unwrap_err().to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
