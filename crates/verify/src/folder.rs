//! The files of a log in a folder.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use tlog::check::Files;

/// Most folders within one another: those of a log are at most ten.
const DEPTH_MAX: usize = 16;
/// Most files that are looked at: those of a log of some 2 billion entries.
const FILES_MAX: u64 = 20_000_000;

/// A folder that may hold anything.
#[derive(Debug)]
pub(crate) struct Folder(PathBuf);

impl Folder {
    pub(crate) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    fn walk_in(
        &self,
        below: &str,
        depth: usize,
        files: &mut u64,
        visit: &mut dyn FnMut(&str) -> io::Result<()>,
    ) -> io::Result<()> {
        if depth > DEPTH_MAX {
            return Err(io::Error::other(format!("there are more than {DEPTH_MAX} folders in one another")));
        }
        for entry in fs::read_dir(self.0.join(below))? {
            let entry = entry?;
            // A name that is not UTF-8 is that of no file of a log: how it is written does not matter.
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if below.is_empty() { name } else { format!("{below}/{name}") };
            // Links are not followed: they could lead anywhere, also in circles.
            if entry.file_type()?.is_dir() {
                self.walk_in(&path, depth + 1, files, visit)?;
                continue;
            }
            *files += 1;
            if *files > FILES_MAX {
                return Err(io::Error::other(format!("there are more than {FILES_MAX} files")));
            }
            visit(&path)?;
        }
        Ok(())
    }
}

impl Files for Folder {
    fn read(&self, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        match read(&self.0.join(path), limit) {
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            bytes => bytes.map(Some),
        }
    }

    fn walk(&self, visit: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        self.walk_in("", 0, &mut 0, visit)
    }
}

/// The first `limit` + 1 bytes of a file.
pub(crate) fn read(path: &Path, limit: usize) -> io::Result<Vec<u8>> {
    // Before it is opened: a pipe would wait for whoever writes to it.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    read_from(File::open(path)?, limit)
}

/// The first `limit` + 1 bytes.
pub(crate) fn read_from(source: impl Read, limit: usize) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}
