//! The thread behind the writer: it writes full tiles, bundles and index files, signs checkpoints, and removes the segments
//! whose entries are all in bundles.
//!
//! The order is what makes it safe to stop anywhere: tiles, then the checkpoint that needs them; bundles, then the end of
//! the segments that had their entries. What is written twice is written alike.

use std::{fs, path::Path, sync::Arc, time::Instant};

use tlog::{Checkpoint, tile::Tile, tree::root};

use super::{
    CHECKPOINT_EVERY, Checkpointed, LogError,
    disk::{self, Touched},
    index::{self, BLOCK_ENTRIES},
    shared::{Shared, held},
};

pub(super) struct Keeper {
    pub(super) shared: Arc<Shared>,
    /// Partial tiles on the disk that the last checkpoint does not need.
    pub(super) partials: Vec<Tile>,
}

impl Keeper {
    /// Until the log is closed.
    pub(super) fn run(mut self) {
        let mut due = Instant::now();
        loop {
            let mut keeping = self.shared.sleep(due);
            // Until it may sign, those who wait for that go on waiting.
            let may_sign = keeping.may_sign;
            let waiting = if may_sign { std::mem::take(&mut keeping.waiting) } else { Vec::new() };
            let closing = keeping.closing.take();
            let is_due = Instant::now() >= due && keeping.is_behind;
            let signs = may_sign && (is_due || !waiting.is_empty() || closing.is_some());
            keeping.is_urgent = false;
            keeping.is_behind &= !signs;
            drop(keeping);
            let outcome = match self.shared.broken() {
                Some(error) => Err(error.clone()),
                None => self.round(signs),
            };
            if is_due || signs || outcome.is_err() {
                due = Instant::now() + CHECKPOINT_EVERY;
            }
            self.report(&outcome, signs);
            for caller in waiting {
                // A caller who has left does not hear it.
                let _ = caller.send(outcome.clone());
            }
            if let Some(closers) = closing {
                let mut keeping = self.shared.keeping();
                keeping.is_closed = true;
                keeping.waiting.clear();
                drop(keeping);
                // Another process may open the log now.
                *held(&self.shared.lock) = None;
                for closer in closers {
                    let _ = closer.send(());
                }
                return;
            }
        }
    }

    fn report(&self, outcome: &Result<(), LogError>, signs: bool) {
        let stuck = match outcome {
            Ok(()) => None,
            Err(error @ LogError::Broken { .. }) => {
                self.shared.set_broken(error.clone());
                Some(error.to_string())
            }
            Err(error) => {
                let mut keeping = self.shared.keeping();
                keeping.is_behind |= signs;
                if keeping.stuck.is_none() {
                    tracing::error!("the audit log has no new checkpoint, and it is tried again: {error}");
                }
                Some(error.to_string())
            }
        };
        self.shared.kept(stuck);
    }

    fn round(&mut self, signs: bool) -> Result<(), LogError> {
        let size = self.shared.size();
        let mut touched = Touched::default();
        let full = self.shared.tail().full_tiles(size);
        for tile in &full {
            self.put(tile, &mut touched)?;
        }
        self.shared.disk.settle(&mut touched)?;
        if signs {
            self.sign(size, &mut touched)?;
        }
        self.shared.tail_mut().forget(&full);
        self.write_index()?;
        self.remove_segments()
    }

    /// Writes the ids of the blocks whose entries are all in bundles.
    fn write_index(&mut self) -> Result<(), LogError> {
        let end = self.shared.tail().first() / BLOCK_ENTRIES;
        for block in self.shared.index.blocks()..end {
            let ids = self.shared.tail().ids(block, u64::MAX);
            let path = self.shared.folder.index(block);
            self.put_index(&path, &index::encode(block, BLOCK_ENTRIES, &ids))?;
            // In this order, so that whoever looks in memory first and then in files finds all.
            self.shared.index.set_blocks(block + 1);
            self.shared.tail_mut().forget_ids(block + 1);
            disk::remove(&self.shared.folder.index_part(block))?;
        }
        Ok(())
    }

    fn put_index(&self, path: &Path, bytes: &[u8]) -> Result<(), LogError> {
        let mut touched = Touched::default();
        self.shared.disk.put(&self.shared.folder.unfinished("kept"), path, bytes, &mut touched)?;
        self.shared.disk.settle(&mut touched)
    }

    /// Removes the segments whose entries are all in bundles on the disk. The ids of the last block's entries among them are
    /// written first, for they stand nowhere else in a form that is read quickly.
    fn remove_segments(&mut self) -> Result<(), LogError> {
        let end = self.shared.tail().first();
        let segments = held(&self.shared.segments).clone();
        let done: Vec<u64> = segments.windows(2).filter(|pair| pair[1] <= end).map(|pair| pair[0]).collect();
        if done.is_empty() {
            return Ok(());
        }
        let (block, covered) = (end / BLOCK_ENTRIES, end % BLOCK_ENTRIES);
        let ids = self.shared.tail().ids(block, end);
        self.put_index(&self.shared.folder.index_part(block), &index::encode(block, covered, &ids))?;
        for first in done {
            disk::remove(&self.shared.folder.segment(first))?;
            held(&self.shared.segments).retain(|one| *one != first);
        }
        Ok(())
    }

    /// Signs the tree of `size`, once all of its tiles are there.
    fn sign(&mut self, size: u64, touched: &mut Touched) -> Result<(), LogError> {
        let partials = self.shared.tail().partial_tiles(size);
        for tile in &partials {
            self.put(tile, touched)?;
        }
        self.shared.disk.settle(touched)?;
        let checkpoint =
            Checkpoint::new(self.shared.signer.public().name(), size, root(size, &*self.shared)?);
        let note = checkpoint.and_then(|checkpoint| checkpoint.sign(&self.shared.signer));
        let note: Arc<str> = note.map_err(|error| LogError::Options(error.to_string()))?.into();
        let (new, path) = (self.shared.folder.unfinished("kept"), self.shared.folder.checkpoint());
        self.shared.disk.put(&new, &path, note.as_bytes(), touched)?;
        self.shared.disk.settle(touched)?;
        self.shared.checkpoint.send_replace(Checkpointed { size, note });
        for tile in std::mem::replace(&mut self.partials, partials) {
            if !self.partials.contains(&tile) {
                disk::remove(&self.shared.folder.tile(&tile))?;
                // It stays while others are in it.
                let _ = fs::remove_dir(self.shared.folder.partials(tile));
            }
        }
        Ok(())
    }

    fn put(&self, tile: &Tile, touched: &mut Touched) -> Result<(), LogError> {
        let bytes = self.shared.tail().tile(tile)?;
        // What has left the memory is on the disk already.
        let Some(bytes) = bytes else { return Ok(()) };
        self.shared.disk.put(
            &self.shared.folder.unfinished("kept"),
            &self.shared.folder.tile(tile),
            &bytes,
            touched,
        )
    }
}
