//! Keys and checkpoints that were named on the command line.

use std::{
    io,
    path::{Path, PathBuf},
};

use tlog::{Checkpoint, PublicKey, VerifierKey, note::NOTE_BYTES_MAX};

use crate::{folder, verdict::Trouble};

/// Longest file with a key.
const KEY_FILE_BYTES_MAX: usize = 4 << 10;

/// A key of either kind, from its text or from a file that holds it.
pub(crate) fn key<const TYPE: u8>(option: &'static str, value: &str) -> Result<PublicKey<TYPE>, Trouble> {
    let format = match value.parse() {
        Ok(key) => return Ok(key),
        Err(error) => error,
    };
    let read = folder::read(Path::new(value), KEY_FILE_BYTES_MAX);
    let file = match read.map(String::from_utf8) {
        Ok(Ok(text)) => match text.trim().parse() {
            Ok(key) => return Ok(key),
            Err(error) => error.to_string(),
        },
        Ok(Err(_)) => "the file is not UTF-8".to_owned(),
        Err(error) => error.to_string(),
    };
    Err(Trouble::NoKey { option, value: value.to_owned(), format, file })
}

/// Checkpoints that were kept elsewhere, all signed by the key.
pub(crate) fn kept(paths: &[PathBuf], key: &VerifierKey) -> Result<Vec<Checkpoint>, Trouble> {
    let open = |path: &PathBuf| {
        let note = bytes(path, NOTE_BYTES_MAX)?;
        Checkpoint::open(&note, key).map_err(|error| Trouble::Kept { path: path.clone(), error })
    };
    paths.iter().map(open).collect()
}

/// A file, or standard input if its name is `-`.
pub(crate) fn bytes(path: &Path, limit: usize) -> Result<Vec<u8>, Trouble> {
    let read = if path == Path::new("-") {
        folder::read_from(io::stdin().lock(), limit)
    } else {
        folder::read(path, limit)
    };
    let bytes = read.map_err(|error| Trouble::Read { path: path.to_owned(), error })?;
    if bytes.len() > limit {
        return Err(Trouble::TooLong { path: path.to_owned(), limit });
    }
    Ok(bytes)
}
