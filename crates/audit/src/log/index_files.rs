//! The index on the disk: reads it, and makes it again where it is missing or damaged.

use std::{
    collections::BTreeSet,
    fs::File,
    io,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use super::{
    disk::{self, Touched},
    error::{Doing, LogError},
    index::{self, BLOCK_ENTRIES},
    segment::TILE_HASHES,
    shared::{Shared, held},
};

const BUNDLES: u64 = BLOCK_ENTRIES / TILE_HASHES as u64;

/// What is known of the index files.
pub(super) struct IndexFiles {
    /// Blocks that have left the memory.
    blocks: AtomicU64,
    /// Those that were found whole, since the log was opened.
    whole: Mutex<BTreeSet<u64>>,
}

impl IndexFiles {
    pub(super) fn new(blocks: u64) -> Self {
        Self { blocks: blocks.into(), whole: Mutex::default() }
    }

    pub(super) fn blocks(&self) -> u64 {
        self.blocks.load(Ordering::Acquire)
    }

    pub(super) fn set_blocks(&self, blocks: u64) {
        self.blocks.store(blocks, Ordering::Release);
    }
}

impl Shared {
    /// Indexes of the entries with this id in the blocks that have left the memory.
    pub(super) fn find_on_disk(&self, id: u128) -> Result<Vec<u64>, LogError> {
        let mut found = Vec::new();
        for block in 0..self.index.blocks() {
            found.extend(self.find_in_block(block, id)?);
        }
        Ok(found)
    }

    fn find_in_block(&self, block: u64, id: u128) -> Result<Vec<u64>, LogError> {
        let path = self.folder.index(block);
        // One at a time: so two never make the same file.
        let mut whole = held(&self.index.whole);
        if !whole.contains(&block) {
            let bytes = disk::read(&path, index::INDEX_BYTES_MAX)?.unwrap_or_default();
            if index::decode(block, &bytes).is_none_or(|(covered, _)| covered < BLOCK_ENTRIES) {
                tracing::warn!(block, "made an index file of the audit log again: it was missing or damaged");
                let ids = self.ids_of_entries(block, BLOCK_ENTRIES)?;
                let mut touched = Touched::default();
                let bytes = index::encode(block, BLOCK_ENTRIES, &ids);
                self.disk.put(&self.folder.unfinished("index"), &path, &bytes, &mut touched)?;
                self.disk.settle(&mut touched)?;
            }
            whole.insert(block);
        }
        drop(whole);
        let found = File::open(&path).and_then(|file| index::find(&file, block, id));
        match found {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(LogError::damaged(&path, "it has changed since it was checked"))
            }
            other => other.doing("read", &path),
        }
    }

    /// The ids of the first `covered` entries of a block, which are in full bundles; sorted.
    pub(super) fn ids_of_entries(&self, block: u64, covered: u64) -> Result<Vec<(u128, u64)>, LogError> {
        let mut ids = Vec::new();
        let first = block * BLOCK_ENTRIES;
        for bundle in block * BUNDLES..block * BUNDLES + covered.div_ceil(TILE_HASHES as u64) {
            let entries = self.tiles.entries(bundle)?;
            let indexed = entries.iter().zip(bundle * TILE_HASHES as u64..);
            let below = indexed.filter(|(_, index)| *index < first + covered);
            ids.extend(below.filter_map(|(entry, index)| Some(((self.id_of)(entry)?, index))));
        }
        ids.sort_unstable();
        Ok(ids)
    }
}
