//! The tree from its root to its entries, each of which is hashed once.

use super::{Files, Problem, Report, Stop, read, tell};
use crate::{
    Checkpoint, FormatError,
    bundle::{self, BUNDLE_BYTES_MAX},
    tile::{TILE_BYTES_MAX, TILE_HEIGHT, TILE_WIDTH, Tile, TileKind, parse_hashes, subtree_root},
    tree::{Frontier, Hash, leaf_hash},
};

/// Compares all that belongs to a log of this checkpoint, and the kept checkpoints that are smaller.
pub(super) fn walk<F: Files>(
    files: &F,
    checkpoint: &Checkpoint,
    kept: &[Checkpoint],
    report: &mut Report,
) -> Result<(), Stop> {
    let size = checkpoint.size();
    let mut smaller: Vec<&Checkpoint> = kept.iter().filter(|kept| kept.size() < size).collect();
    smaller.sort_by_key(|kept| kept.size());
    let mut walk =
        Walk { files, size, smaller: smaller.into_iter().peekable(), bundles: Some(Frontier::new()), report };
    walk.compare_kept(0, Some(&[]))?;
    let edges = walk.edges()?;
    // Are the tiles at the right edge those that the root was made of?
    let stored: Option<Vec<&[Hash]>> = edges.iter().map(|edge| edge.stored.as_deref()).collect();
    let trusted = stored.is_some_and(|stored| root_of_edges(size, stored) == Some(checkpoint.root()));
    let mut computed = Vec::new();
    for edge in &edges {
        computed.push(walk.below_edge(edge, trusted)?);
    }
    let all: Option<Vec<&[Hash]>> = computed.iter().map(Option::as_deref).collect();
    let root = all.and_then(|computed| root_of_edges(size, computed));
    let is_right = root == Some(checkpoint.root());
    for (edge, computed) in edges.iter().zip(computed) {
        let stored = Known { hashes: edge.stored.clone(), is_right: trusted.then_some(true) };
        let computed = Known { hashes: computed, is_right: is_right.then_some(true) };
        walk.judge(&edge.tile, stored, computed)?;
    }
    match root {
        Some(computed) if !is_right && !trusted => {
            tell(walk.report, Problem::Root { computed, signed: checkpoint.root() })
        }
        _ => Ok(()),
    }
}

struct Walk<'a, F> {
    files: &'a F,
    size: u64,
    /// Kept checkpoints that were not reached yet, the smallest first.
    smaller: std::iter::Peekable<std::vec::IntoIter<&'a Checkpoint>>,
    /// The full bundles so far, by their roots. None from where one is not known.
    bundles: Option<Frontier>,
    report: &'a mut Report,
}

/// A partial tile, of which a tree has at most one at each level.
struct Edge {
    tile: Tile,
    level: u8,
    stored: Option<Vec<Hash>>,
}

/// Hashes from one source, and whether they are right, if that is known.
struct Known {
    hashes: Option<Vec<Hash>>,
    is_right: Option<bool>,
}

impl<F: Files> Walk<'_, F> {
    /// The partial tiles, the highest first: so come the entries below them in their order.
    fn edges(&mut self) -> Result<Vec<Edge>, Stop> {
        let mut edges = Vec::new();
        for level in (0..u64::BITS as u8 / TILE_HEIGHT).rev() {
            let kind = TileKind::Hashes(level);
            let last = (self.size >> (level * TILE_HEIGHT)) / TILE_WIDTH;
            if let Some(tile) = Tile::of_tree(kind, last, self.size) {
                let stored = self.hashes(&tile)?;
                edges.push(Edge { tile, level, stored });
            }
        }
        Ok(edges)
    }

    /// What is below a partial tile, computed.
    fn below_edge(&mut self, edge: &Edge, trusted: bool) -> Result<Option<Vec<Hash>>, Stop> {
        let Some(below) = edge.level.checked_sub(1) else {
            let leaves = self.leaves(edge.tile.index())?;
            // The tile stands in for entries that are gone, as it does for those that were changed.
            let best = if trusted { edge.stored.clone() } else { leaves.clone() };
            self.compare_kept(edge.tile.index() * TILE_WIDTH, best.as_deref())?;
            return Ok(leaves);
        };
        self.children(&edge.tile, below, edge.stored.as_deref().filter(|_| trusted))
    }

    /// Hashes of the full tiles below a tile. `trusted` are those that they must have.
    fn children(
        &mut self,
        tile: &Tile,
        below: u8,
        trusted: Option<&[Hash]>,
    ) -> Result<Option<Vec<Hash>>, Stop> {
        let mut all = Some(Vec::with_capacity(tile.width()));
        for place in 0..tile.width() {
            let index = tile.index() * TILE_WIDTH + place as u64;
            let hash = self.full_tile(below, index, trusted.map(|hashes| hashes[place]))?;
            all = all.zip(hash).map(|(mut all, hash)| {
                all.push(hash);
                all
            });
        }
        Ok(all)
    }

    /// The root of a full tile and all below it: the trusted one, or else what is computed from below.
    fn full_tile(&mut self, level: u8, index: u64, trusted: Option<Hash>) -> Result<Option<Hash>, Stop> {
        let Some(tile) = Tile::of_tree(TileKind::Hashes(level), index, self.size) else { return Ok(None) };
        let stored = self.hashes(&tile)?;
        let is_right = |hashes: &Vec<Hash>| trusted.map(|trusted| subtree_root(hashes) == trusted);
        let stored = Known { is_right: stored.as_ref().and_then(is_right), hashes: stored };
        let right = stored.hashes.as_deref().filter(|_| stored.is_right == Some(true));
        let computed = match level.checked_sub(1) {
            None => self.leaves(index)?,
            Some(below) => self.children(&tile, below, right)?,
        };
        // Equal hashes have an equal root: it was computed already.
        let same = stored.hashes.is_some() && stored.hashes == computed;
        let computed_is_right = if same { stored.is_right } else { computed.as_ref().and_then(is_right) };
        let computed = Known { hashes: computed, is_right: computed_is_right };
        let best = self.judge(&tile, stored, computed)?;
        let root = trusted.or_else(|| best.as_deref().map(subtree_root));
        if level == 0 {
            self.compare_kept(index * TILE_WIDTH, best.as_deref())?;
            self.bundles = self.bundles.take().zip(root).map(|(mut bundles, root)| {
                bundles.push(root);
                bundles
            });
        }
        Ok(root)
    }

    /// Tells what is wrong with a tile or with what is below it, and gives the hashes that are the likeliest to be right.
    fn judge(&mut self, tile: &Tile, stored: Known, computed: Known) -> Result<Option<Vec<Hash>>, Stop> {
        let (stored_is_right, computed_is_right) = (stored.is_right, computed.is_right);
        let (stored, computed) = match (stored.hashes, computed.hashes) {
            (Some(stored), Some(computed)) => (stored, computed),
            // That the other is not there was told already.
            (Some(hashes), None) | (None, Some(hashes)) => {
                if stored_is_right.or(computed_is_right) == Some(false) {
                    tell(self.report, Problem::Replaced(*tile))?;
                }
                return Ok(Some(hashes));
            }
            (None, None) => return Ok(None),
        };
        let unequal = || stored.iter().zip(&computed).enumerate().filter(|(_, (one, other))| one != other);
        let Some((first, _)) = unequal().next() else {
            if stored_is_right == Some(false) {
                tell(self.report, Problem::Replaced(*tile))?;
            }
            return Ok(Some(stored));
        };
        let count = unequal().count();
        if computed_is_right == Some(true) {
            tell(self.report, Problem::Tile { tile: *tile, first, count })?;
            return Ok(Some(computed));
        }
        if stored_is_right == Some(true) {
            // Above the leaves, what is wrong was told where it is.
            if tile.kind() == TileKind::Hashes(0) {
                let first = tile.index() * TILE_WIDTH + first as u64;
                let bundle = Tile::of_tree(TileKind::Entries, tile.index(), self.size).unwrap_or(*tile);
                tell(self.report, Problem::Entries { tile: bundle, first, count })?;
            }
            return Ok(Some(stored));
        }
        tell(self.report, Problem::Disagreement { tile: *tile, first, count })?;
        Ok(Some(computed))
    }

    /// The hashes in a tile, if it is there and well-formed.
    fn hashes(&mut self, tile: &Tile) -> Result<Option<Vec<Hash>>, Stop> {
        let hashes = self.parts(tile, TILE_BYTES_MAX, parse_hashes)?;
        self.report.tiles += u64::from(hashes.is_some());
        Ok(hashes)
    }

    /// Leaf hashes of the entries in a bundle, if it is there and well-formed.
    fn leaves(&mut self, index: u64) -> Result<Option<Vec<Hash>>, Stop> {
        let Some(tile) = Tile::of_tree(TileKind::Entries, index, self.size) else { return Ok(None) };
        let mut entries_bytes = 0;
        let leaves = self.parts(&tile, BUNDLE_BYTES_MAX, |tile, bytes| {
            let entries = bundle::parse(bytes, tile.width())?;
            entries_bytes = entries.iter().map(|entry| entry.len() as u64).sum();
            Ok(entries.into_iter().map(leaf_hash).collect())
        })?;
        self.report.entries += leaves.as_ref().map_or(0, |leaves| leaves.len() as u64);
        self.report.bytes += entries_bytes;
        Ok(leaves)
    }

    /// One hash for each part of a file. A log may drop a partial one when the full one is there, which then stands in.
    fn parts(
        &mut self,
        tile: &Tile,
        limit: usize,
        mut parse: impl FnMut(&Tile, &[u8]) -> Result<Vec<Hash>, FormatError>,
    ) -> Result<Option<Vec<Hash>>, Stop> {
        let mut found = (*tile, read(self.files, &tile.to_string(), limit)?);
        if found.1.is_none() && !tile.is_full() {
            found = (tile.full(), read(self.files, &tile.full().to_string(), limit)?);
        }
        let (tile_found, Some(bytes)) = found else {
            tell(self.report, Problem::Missing(*tile))?;
            return Ok(None);
        };
        match parse(&tile_found, &bytes) {
            Ok(mut hashes) => {
                hashes.truncate(tile.width());
                Ok(Some(hashes))
            }
            Err(error) => {
                tell(self.report, Problem::Malformed { tile: tile_found, error })?;
                Ok(None)
            }
        }
    }

    /// Compares the kept checkpoints that end in a bundle, whose first entry is `start`, with the log up to there.
    fn compare_kept(&mut self, start: u64, leaves: Option<&[Hash]>) -> Result<(), Stop> {
        // Where the bundle is not known, one that ends where it ends may be known from above.
        let end = leaves.map_or(start + TILE_WIDTH - 1, |leaves| start + leaves.len() as u64);
        while let Some(kept) = self.smaller.next_if(|kept| kept.size() <= end) {
            let in_bundle = kept.size().saturating_sub(start) as usize;
            let root = leaves.and_then(|leaves| self.root_at(leaves.get(..in_bundle)?));
            match root {
                Some(root) if root == kept.root() => self.report.kept += 1,
                Some(root) => {
                    tell(self.report, Problem::Rewritten { size: kept.size(), root, kept: kept.root() })?;
                }
                None => tell(self.report, Problem::Incomparable { size: kept.size() })?,
            }
        }
        Ok(())
    }

    /// Root of the full bundles so far and some entries after them.
    fn root_at(&self, leaves: &[Hash]) -> Option<Hash> {
        let bundles = self.bundles.as_ref()?;
        // A perfect tree of bundles is one of entries, 8 levels higher.
        let peaks = bundles.peaks().to_vec();
        let mut frontier = Frontier::from_peaks(bundles.size() * TILE_WIDTH, peaks).ok()?;
        for leaf in leaves {
            frontier.push(*leaf);
        }
        Some(frontier.root())
    }
}

/// The root that partial tiles fold into, the highest first. None if they are not those of a tree of this size.
fn root_of_edges<'a>(size: u64, edges: impl IntoIterator<Item = &'a [Hash]>) -> Option<Hash> {
    let mut peaks = Vec::new();
    for edge in edges {
        // The peaks of so many hashes of one level are those of the tree at these levels.
        let mut frontier = Frontier::new();
        for hash in edge {
            frontier.push(*hash);
        }
        peaks.extend_from_slice(frontier.peaks());
    }
    Frontier::from_peaks(size, peaks).ok().map(|frontier| frontier.root())
}
