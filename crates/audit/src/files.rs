//! The files of a log, as whoever checks or copies it reads them.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use tlog::{
    bundle,
    check::Files,
    tile::{Tile, TileKind},
    tree::HASH_BYTES,
};

/// What of a log belongs to the layout that others read (`tlog-tiles`); the rest is how this server keeps it.
const PARTS: [&str; 2] = ["checkpoint", "tile"];

/// The files in the folder of a log. It may be growing meanwhile: a tile that was partial when it was asked for, and has grown since, is
/// cut to what it was.
pub struct LogFiles {
    folder: PathBuf,
}

impl LogFiles {
    /// Those in this folder.
    pub fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    fn whole(&self, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        let file = match File::open(self.folder.join(path)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// What a partial tile was before it grew.
    fn grown(&self, tile: Tile, limit: usize) -> io::Result<Option<Vec<u8>>> {
        if let Some(full) = self.whole(&tile.full().to_string(), limit)? {
            return Ok(cut(&full, tile));
        }
        let partial = self.folder.join(format!("{}.p", tile.full()));
        let wider = match fs::read_dir(partial) {
            Ok(wider) => wider,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        for entry in wider {
            let name = entry?.file_name();
            let path = format!("{}.p/{}", tile.full(), name.to_string_lossy());
            let is_wider = path.parse::<Tile>().is_ok_and(|found| found.width() > tile.width());
            if let (true, Some(bytes)) = (is_wider, self.whole(&path, limit)?) {
                return Ok(cut(&bytes, tile));
            }
        }
        Ok(None)
    }
}

/// The beginning of a wider tile.
fn cut(bytes: &[u8], tile: Tile) -> Option<Vec<u8>> {
    match tile.kind() {
        TileKind::Hashes(_) => bytes.get(..tile.width() * HASH_BYTES).map(<[u8]>::to_vec),
        TileKind::Entries => {
            let mut end = 0;
            for _ in 0..tile.width() {
                let length: [u8; 2] = bytes.get(end..end + 2)?.try_into().ok()?;
                end += 2 + usize::from(u16::from_be_bytes(length));
            }
            let found = bytes.get(..end)?;
            bundle::parse(found, tile.width()).is_ok().then(|| found.to_vec())
        }
    }
}

impl Files for LogFiles {
    fn read(&self, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
        if let Some(bytes) = self.whole(path, limit)? {
            return Ok(Some(bytes));
        }
        match path.parse::<Tile>() {
            Ok(tile) if !tile.is_full() => self.grown(tile, limit),
            _ => Ok(None),
        }
    }

    fn walk(&self, visit: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let mut waiting: Vec<String> = PARTS.map(str::to_owned).to_vec();
        while let Some(path) = waiting.pop() {
            let full = self.folder.join(&path);
            if !full.is_dir() {
                if full.exists() {
                    visit(&path)?;
                }
                continue;
            }
            let entries = match fs::read_dir(full) {
                Ok(entries) => entries,
                // A running server has put a full tile in the place of partial ones.
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            for entry in entries {
                waiting.push(format!("{path}/{}", Path::new(&entry?.file_name()).display()));
            }
        }
        Ok(())
    }
}
