//! A copy of the whole log, for those who check it elsewhere.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::Path,
};

use tlog::{Checkpoint, check::Files, note::Note, tile::Tile};

use crate::{Log, cosigned, files::LogFiles};

/// The owner may read and write, all others nothing.
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Longest file of a log: a bundle of 256 entries.
const FILE_BYTES_MAX: usize = 256 * (2 + 65_535);

/// What was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Entries.
    pub size: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Log {
    /// Copies the log, as of its newest checkpoint, into a new folder: what `llmos-verify log` reads. Blocks.
    ///
    /// # Errors
    /// If there is such a folder already, or it cannot be written.
    pub fn export(&self, to: &Path) -> io::Result<Exported> {
        if !to.is_absolute() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "this is not an absolute path"));
        }
        DirBuilder::new().mode(FOLDER_MODE).create(to).map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => {
                io::Error::new(error.kind(), "there is such a folder already; name a new one")
            }
            _ => error,
        })?;
        let files = LogFiles::new(self.folder().to_owned());
        let checkpoint = self.checkpoint();
        let damaged = |why: String| io::Error::new(ErrorKind::InvalidData, why);
        let note = Note::parse(checkpoint.note.as_bytes()).map_err(|error| damaged(error.to_string()))?;
        let size =
            Checkpoint::parse(note.text_unverified()).map_err(|error| damaged(error.to_string()))?.size();
        let mut exported = Exported { size, bytes: 0 };
        for tile in Tile::grown(0, size) {
            let path = tile.to_string();
            let bytes = files.read(&path, FILE_BYTES_MAX)?;
            let bytes = bytes.ok_or_else(|| damaged(format!("{path} is missing in the log")))?;
            exported.bytes += bytes.len() as u64;
            write(&to.join(path), &bytes)?;
        }
        // What witnesses have countersigned is of another size as a rule; `llmos-verify` takes it as a checkpoint that was kept.
        if let Some(cosigned) = files.read(cosigned::FILE, FILE_BYTES_MAX)? {
            write(&to.join(cosigned::FILE), &cosigned)?;
        }
        // The last: without it a copy is none.
        write(&to.join("checkpoint"), checkpoint.note.as_bytes())?;
        exported.bytes += checkpoint.note.len() as u64;
        File::open(to)?.sync_all()?;
        Ok(exported)
    }
}

fn write(file: &Path, bytes: &[u8]) -> io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
    }
    let mut written = OpenOptions::new().write(true).create_new(true).mode(FILE_MODE).open(file)?;
    written.write_all(bytes)?;
    written.sync_all()
}
