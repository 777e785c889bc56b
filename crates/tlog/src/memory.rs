//! A whole log in memory: for tests, examples and small logs.

use std::{collections::BTreeMap, io};

use crate::{
    Checkpoint, FormatError, Signer, bundle,
    check::Files,
    tile::{Tile, TileKind},
    tree::{Frontier, Hash, HashReader, leaf_hash, node_hash},
};

/// A log with all its entries and hashes.
#[derive(Debug, Clone, Default)]
pub struct MemoryLog {
    entries: Vec<Vec<u8>>,
    frontier: Frontier,
    /// Of each level, from the leaves on, the hashes of all perfect subtrees.
    levels: Vec<Vec<Hash>>,
}

impl MemoryLog {
    /// A log without entries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends an entry, and gives its index.
    pub fn push(&mut self, entry: &[u8]) -> Result<u64, FormatError> {
        bundle::length_of(entry)?;
        self.entries.push(entry.to_vec());
        let mut node = leaf_hash(entry);
        self.frontier.push(node);
        for level in 0.. {
            if self.levels.len() == level {
                self.levels.push(Vec::new());
            }
            let hashes = &mut self.levels[level];
            hashes.push(node);
            match hashes.as_slice() {
                [.., left, right] if hashes.len().is_multiple_of(2) => node = node_hash(left, right),
                _ => break,
            }
        }
        Ok(self.size() - 1)
    }

    /// Entries.
    pub fn size(&self) -> u64 {
        self.entries.len() as u64
    }

    /// Root of all entries.
    pub fn root(&self) -> Hash {
        self.frontier.root()
    }

    /// The signed checkpoint of all entries. The signer's name is the origin.
    pub fn checkpoint(&self, signer: &Signer) -> Result<String, FormatError> {
        Checkpoint::new(signer.public().name(), self.size(), self.root())?.sign(signer)
    }

    /// Everything that this log publishes: its checkpoint, tiles and bundles.
    pub fn files(&self, signer: &Signer) -> Result<MemoryFiles, FormatError> {
        let tiles = Tile::grown(0, self.size()).map(|tile| (tile.to_string(), self.bytes(&tile)));
        let mut files: BTreeMap<_, _> = tiles.collect();
        files.insert("checkpoint".to_owned(), self.checkpoint(signer)?.into_bytes());
        Ok(MemoryFiles(files))
    }

    /// Bytes of a tile that this log has.
    fn bytes(&self, tile: &Tile) -> Vec<u8> {
        let start = tile.index() as usize * 256;
        let range = start..start + tile.width();
        match tile.kind() {
            TileKind::Entries => self.entries[range].iter().fold(Vec::new(), |mut bytes, entry| {
                // `push` took only what has room.
                bytes.extend_from_slice(&(entry.len() as u16).to_be_bytes());
                bytes.extend_from_slice(entry);
                bytes
            }),
            TileKind::Hashes(level) => {
                let hashes = &self.levels[usize::from(level) * 8][range];
                hashes.iter().flat_map(|hash| hash.0).collect()
            }
        }
    }
}

impl HashReader for MemoryLog {
    type Error = FormatError;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, FormatError> {
        let hash = self.levels.get(usize::from(level)).and_then(|hashes| hashes.get(index as usize));
        hash.copied().ok_or_else(|| FormatError::new("hash of this log", "the log is too small to have it"))
    }
}

/// Files of a log in memory, by their path.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemoryFiles(pub BTreeMap<String, Vec<u8>>);

impl Files for MemoryFiles {
    fn read(&self, path: &str, _limit: usize) -> io::Result<Option<Vec<u8>>> {
        Ok(self.0.get(path).cloned())
    }

    fn walk(&self, visit: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        self.0.keys().try_for_each(|path| visit(path))
    }
}
