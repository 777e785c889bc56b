//! Reads full tiles and bundles.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Mutex},
};

use tlog::{
    bundle,
    tile::{TILE_BYTES_MAX, Tile, TileKind, parse_hashes, subtree_root},
    tree::{Hash, leaf_hash},
};

use super::{
    disk,
    error::LogError,
    folder::Folder,
    segment::{ENTRY_BYTES_MAX, TILE_HASHES},
    shared::held,
};

/// Tiles that are kept in memory: 2 MiB.
const CACHE_TILES_MAX: usize = 256;
/// Most bytes of a bundle of this log: each entry has its length in front, two bytes.
const BUNDLE_BYTES_MAX: usize = TILE_HASHES * (2 + ENTRY_BYTES_MAX);

pub(super) struct Tiles {
    folder: Folder,
    cache: Mutex<Cache>,
}

/// The tiles that were read last, the oldest first.
#[derive(Default)]
struct Cache {
    tiles: HashMap<Tile, Arc<Vec<Hash>>>,
    order: VecDeque<Tile>,
}

impl Tiles {
    pub(super) fn new(folder: Folder) -> Self {
        Self { folder, cache: Mutex::default() }
    }

    /// A hash of the tree that is in a full tile.
    pub(super) fn hash(&self, level: u8, index: u64) -> Result<Hash, LogError> {
        let below = level % 8;
        let first = index << below;
        let hashes = self.hashes(full(TileKind::Hashes(level / 8), first)?)?;
        let at = (first % TILE_HASHES as u64) as usize;
        Ok(subtree_root(&hashes[at..at + (1 << below)]))
    }

    fn hashes(&self, tile: Tile) -> Result<Arc<Vec<Hash>>, LogError> {
        if let Some(hashes) = held(&self.cache).tiles.get(&tile) {
            return Ok(Arc::clone(hashes));
        }
        let path = self.folder.tile(&tile);
        let bytes =
            disk::read(&path, TILE_BYTES_MAX)?.ok_or_else(|| LogError::damaged(&path, "it is missing"))?;
        let hashes =
            parse_hashes(&tile, &bytes).map_err(|error| LogError::damaged(&path, error.to_string()))?;
        let hashes = Arc::new(hashes);
        let mut cache = held(&self.cache);
        if cache.tiles.insert(tile, Arc::clone(&hashes)).is_none() {
            cache.order.push_back(tile);
        }
        if cache.order.len() > CACHE_TILES_MAX
            && let Some(oldest) = cache.order.pop_front()
        {
            cache.tiles.remove(&oldest);
        }
        Ok(hashes)
    }

    /// The entries of a full bundle, as its tile of hashes vouches for them.
    pub(super) fn entries(&self, bundle: u64) -> Result<Vec<Box<[u8]>>, LogError> {
        let first = bundle * TILE_HASHES as u64;
        let hashes = self.hashes(full(TileKind::Hashes(0), first)?)?;
        self.entries_of(bundle, &hashes)
    }

    /// The first entries of a full bundle, which must have these hashes.
    pub(super) fn entries_of(&self, bundle: u64, hashes: &[Hash]) -> Result<Vec<Box<[u8]>>, LogError> {
        let tile = full(TileKind::Entries, bundle * TILE_HASHES as u64)?;
        let path = self.folder.tile(&tile);
        let damaged = |why: &str| LogError::damaged(&path, why);
        let bytes = disk::read(&path, BUNDLE_BYTES_MAX)?.ok_or_else(|| damaged("it is missing"))?;
        let entries = bundle::parse(&bytes, TILE_HASHES).map_err(|error| damaged(&error.to_string()))?;
        for (entry, hash) in entries.iter().zip(hashes) {
            if entry.len() > ENTRY_BYTES_MAX || leaf_hash(entry) != *hash {
                return Err(damaged("an entry has another hash than its tile says"));
            }
        }
        Ok(entries.into_iter().take(hashes.len()).map(Box::from).collect())
    }
}

/// The full tile in which a hash or entry is.
fn full(kind: TileKind, index: u64) -> Result<Tile, LogError> {
    let width = TILE_HASHES as u64;
    let tile = Tile::of_tree(TileKind::Entries, index / width, (index / width + 1) * width);
    let tile = match kind {
        TileKind::Entries => tile,
        TileKind::Hashes(level) => {
            let entries =
                (index / width + 1).checked_mul(width).and_then(|end| end.checked_shl(8 * u32::from(level)));
            entries.and_then(|size| Tile::of_tree(kind, index / width, size))
        }
    };
    // A caller that asks for more than a tree can have.
    tile.ok_or(LogError::NoEntry { asked: index, size: 0 })
}
