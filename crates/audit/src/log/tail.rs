//! The end of the log that is in memory: what is in no full tile or bundle on the disk yet, and the ids of the last block.
//! No files, no clock.

use std::collections::{BTreeSet, VecDeque};

use tlog::{
    bundle,
    tile::{Tile, TileKind, subtree_root},
    tree::Hash,
};

use super::{
    error::LogError,
    index::BLOCK_ENTRIES,
    segment::{TILE_HASHES, TILE_LEVELS},
};

const WIDTH: u64 = TILE_HASHES as u64;
/// What an entry takes beside its bytes: its place, its hash and its id.
const ENTRY_AROUND_BYTES: usize = 96;

/// Everything from some full bundle on.
#[derive(Debug, Default)]
pub(super) struct Tail {
    /// Index of the first entry that is here: a multiple of 256.
    first: u64,
    entries: VecDeque<Box<[u8]>>,
    bytes: usize,
    /// From the leaves up: the hashes of each level of tiles.
    levels: Vec<Level>,
    /// Ids with the index of their entry, one set for each block that is in no index file.
    ids: VecDeque<Block>,
}

/// Hashes of one level of tiles, from the first that is in no full tile on.
#[derive(Debug, Default)]
struct Level {
    /// A multiple of 256.
    first: u64,
    hashes: Vec<Hash>,
}

impl Level {
    fn end(&self) -> u64 {
        self.first + self.hashes.len() as u64
    }
}

#[derive(Debug)]
struct Block {
    number: u64,
    ids: BTreeSet<(u128, u64)>,
}

impl Tail {
    /// As a segment's header has it: the tree up to `size`, and those of its entries that are in no full bundle. Nothing if
    /// that does not fit together.
    pub(super) fn begin(size: u64, edges: Vec<Vec<Hash>>, entries: Vec<Box<[u8]>>) -> Option<Self> {
        let mut levels = Vec::with_capacity(TILE_LEVELS);
        for (level, hashes) in edges.into_iter().enumerate() {
            let width = (size >> (8 * level)) % WIDTH;
            let first = (size >> (8 * level)) - width;
            (hashes.len() as u64 == width).then_some(())?;
            levels.push(Level { first, hashes });
        }
        let first = size - size % WIDTH;
        let fits = entries.len() as u64 == size - first && levels.len() == levels_of(size);
        let bytes = entries.iter().map(|entry| ENTRY_AROUND_BYTES + entry.len()).sum();
        fits.then_some(Self { first, entries: entries.into(), bytes, levels, ids: VecDeque::new() })
    }

    /// Entries of the log.
    pub(super) fn size(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Index of the first entry that is here.
    pub(super) fn first(&self) -> u64 {
        self.first
    }

    /// Bytes that the entries here take, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn push(&mut self, entry: Box<[u8]>, leaf: Hash, id: Option<u128>) {
        let index = self.size();
        self.bytes += ENTRY_AROUND_BYTES + entry.len();
        self.entries.push_back(entry);
        if let Some(id) = id {
            self.push_id(id, index);
        }
        let mut hash = leaf;
        for level in 0..TILE_LEVELS {
            if level == self.levels.len() {
                self.levels.push(Level::default());
            }
            let level = &mut self.levels[level];
            level.hashes.push(hash);
            if !level.end().is_multiple_of(WIDTH) {
                return;
            }
            hash = subtree_root(&level.hashes[level.hashes.len() - TILE_HASHES..]);
        }
    }

    /// That `index` has this id; in the order of the log.
    pub(super) fn push_id(&mut self, id: u128, index: u64) {
        let number = index / BLOCK_ENTRIES;
        if self.ids.back().is_none_or(|block| block.number != number) {
            self.ids.push_back(Block { number, ids: BTreeSet::new() });
        }
        if let Some(block) = self.ids.back_mut() {
            block.ids.insert((id, index));
        }
    }

    /// The ids of the entries of a block that are not here themselves.
    pub(super) fn add_ids(&mut self, number: u64, ids: impl Iterator<Item = (u128, u64)>) {
        if self.ids.front().is_none_or(|block| block.number != number) {
            self.ids.push_front(Block { number, ids: BTreeSet::new() });
        }
        if let Some(block) = self.ids.front_mut() {
            block.ids.extend(ids);
        }
    }

    /// An entry, if it is here.
    pub(super) fn entry(&self, index: u64) -> Option<&[u8]> {
        let at = index.checked_sub(self.first)? as usize;
        self.entries.get(at).map(AsRef::as_ref)
    }

    /// A hash of the tree, if what it is made of is here.
    pub(super) fn hash(&self, level: u8, index: u64) -> Option<Hash> {
        let (tile_level, below) = (usize::from(level / 8), level % 8);
        let level = self.levels.get(tile_level)?;
        let at = index.checked_shl(u32::from(below))?.checked_sub(level.first)? as usize;
        level.hashes.get(at..at + (1 << below)).map(subtree_root)
    }

    /// The hashes that are in no full tile of a tree of the present size, from the leaves up.
    pub(super) fn edges(&self) -> Vec<Vec<Hash>> {
        let edge = |level: &Level| {
            let width = (level.end() % WIDTH) as usize;
            level.hashes[level.hashes.len() - width..].to_vec()
        };
        self.levels.iter().map(edge).collect()
    }

    /// The bytes of a tile or bundle, if all of it is here.
    pub(super) fn tile(&self, tile: &Tile) -> Result<Option<Vec<u8>>, LogError> {
        let first = tile.index() * WIDTH;
        let (from, width) = match tile.kind() {
            TileKind::Entries => (self.first, tile.width()),
            TileKind::Hashes(level) => match self.levels.get(usize::from(level)) {
                Some(level) => (level.first, tile.width()),
                None => return Ok(None),
            },
        };
        let Some(at) = first.checked_sub(from).map(|at| at as usize) else { return Ok(None) };
        let mut bytes = Vec::new();
        match tile.kind() {
            TileKind::Entries => {
                if self.entries.len() < at + width {
                    return Ok(None);
                }
                for entry in self.entries.range(at..at + width) {
                    // An entry that was taken in is never too long for a bundle.
                    bundle::push(&mut bytes, entry).map_err(|error| LogError::Options(error.to_string()))?;
                }
            }
            TileKind::Hashes(level) => {
                let hashes = &self.levels[usize::from(level)].hashes;
                let Some(hashes) = hashes.get(at..at + width) else { return Ok(None) };
                bytes.extend(hashes.iter().flat_map(|hash| hash.0));
            }
        }
        Ok(Some(bytes))
    }

    /// The full tiles and bundles of a tree of `size` that are here: what has to be written before it is forgotten.
    pub(super) fn full_tiles(&self, size: u64) -> Vec<Tile> {
        self.tiles(size).filter(Tile::is_full).collect()
    }

    /// The tiles and the bundle at the right edge of a tree of `size`, if they are not full.
    pub(super) fn partial_tiles(&self, size: u64) -> Vec<Tile> {
        self.tiles(size).filter(|tile| !tile.is_full()).collect()
    }

    /// The tiles and bundles of a tree of `size` that are here, the entries first, each kind from left to right.
    fn tiles(&self, size: u64) -> impl Iterator<Item = Tile> {
        let levels =
            self.levels.iter().zip(0..).map(|(level, number)| (TileKind::Hashes(number), level.first));
        std::iter::once((TileKind::Entries, self.first)).chain(levels).flat_map(move |(kind, first)| {
            (first / WIDTH..).map_while(move |index| Tile::of_tree(kind, index, size))
        })
    }

    /// These are on the disk. They are the first ones of their kind, as [`Tail::full_tiles`] gave them.
    pub(super) fn forget(&mut self, tiles: &[Tile]) {
        for tile in tiles {
            match tile.kind() {
                TileKind::Entries => {
                    let gone = self.entries.drain(..TILE_HASHES);
                    self.bytes -= gone.map(|entry| ENTRY_AROUND_BYTES + entry.len()).sum::<usize>();
                    self.first += WIDTH;
                }
                TileKind::Hashes(_) => {}
            }
        }
        for (number, level) in self.levels.iter_mut().enumerate() {
            let of_level = |tile: &&Tile| tile.kind() == TileKind::Hashes(number as u8);
            let gone = tiles.iter().filter(of_level).count();
            level.hashes.drain(..gone * TILE_HASHES);
            level.first += gone as u64 * WIDTH;
        }
    }

    /// Indexes of the entries with this id in the blocks that are here.
    pub(super) fn find(&self, id: u128) -> Vec<u64> {
        let all = self.ids.iter().flat_map(|block| block.ids.range((id, 0)..=(id, u64::MAX)));
        all.map(|(_, index)| *index).collect()
    }

    /// The ids of a block that are below `end`, sorted.
    pub(super) fn ids(&self, number: u64, end: u64) -> Vec<(u128, u64)> {
        let block = self.ids.iter().find(|block| block.number == number);
        let ids = block.into_iter().flat_map(|block| &block.ids);
        ids.filter(|(_, index)| *index < end).copied().collect()
    }

    /// The ids of the blocks below this one are in index files.
    pub(super) fn forget_ids(&mut self, number: u64) {
        self.ids.retain(|block| block.number >= number);
    }
}

/// Levels of tiles of a tree.
fn levels_of(size: u64) -> usize {
    (0..TILE_LEVELS).filter(|level| size >> (8 * level) > 0).count()
}

#[cfg(test)]
mod tests;
