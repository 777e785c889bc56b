//! Makes one GGUF file of a folder with safetensors. The conversion itself is `modelfile`'s.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use modelfile::import::{ImportOptions, folder_to_gguf};

use super::{
    Progress, StoreError, Watch,
    error::Doing,
    partial::{Origin, Partial},
};

const WEIGHTS: &str = "model.safetensors";

/// Makes one model file of a folder. Its licence is written into the file, if the folder names one, and `name`, else
/// the name of the folder. What the store calls it is not, so that the same model is the same file.
pub(super) fn import(
    folder: &Path,
    name: Option<String>,
    shown: &str,
    partial: &mut Partial,
    watch: Watch<'_>,
) -> Result<Origin, StoreError> {
    let weights = folder.join(WEIGHTS);
    let bytes = fs::metadata(&weights).doing("read", &weights)?.len();
    partial.begin(0, None, None, watch)?;
    // Imported weights have 16 bits; published ones have that or more.
    partial.reserve(bytes)?;
    watch(Progress::Begins { what: format!("importing {shown}"), total: None, done: 0 });
    let options = ImportOptions { name, licence: None };
    let mut sink = Sink { partial, watch, failed: None };
    let imported = folder_to_gguf(folder, &options, &mut sink);
    match (sink.failed, imported) {
        (Some(failed), _) => Err(failed),
        (None, Err(error)) => {
            Err(StoreError::Import { source_text: shown.to_owned(), why: error.to_string() })
        }
        (None, Ok(_)) => Ok(Origin::default()),
    }
}

/// Writes into the store, and remembers why it could not: an `io::Error` cannot say all of it.
struct Sink<'a> {
    partial: &'a mut Partial,
    watch: Watch<'a>,
    failed: Option<StoreError>,
}

impl Write for Sink<'_> {
    fn write(&mut self, chunk: &[u8]) -> io::Result<usize> {
        if let Err(failed) = self.partial.write(chunk) {
            self.failed = Some(failed);
            return Err(io::Error::other("the store cannot take more"));
        }
        (self.watch)(Progress::Done(chunk.len() as u64));
        Ok(chunk.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
