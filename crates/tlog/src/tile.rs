//! Where a log keeps its hashes and entries: the files of C2SP `tlog-tiles`.
//!
//! ```text
//! checkpoint                     the signed root
//! tile/0/x001/234 [.p/17]        256 leaf hashes (or the first 17) from entry 1234 * 256 on
//! tile/1/004                     256 hashes, each the root of a full tile of level 0
//! tile/entries/x001/234 [.p/17]  the same entries themselves
//! ```

use std::{fmt, str::FromStr};

use crate::{
    FormatError,
    tree::{HASH_BYTES, Hash, HashReader, SIZE_MAX, node_hash},
};

#[cfg(test)]
mod tests;

/// Levels of the tree from one tile level to the next.
pub const TILE_HEIGHT: u8 = 8;
/// Hashes of a full tile, entries of a full bundle.
pub const TILE_WIDTH: u64 = 1 << TILE_HEIGHT;
/// Bytes of a full tile.
pub const TILE_BYTES_MAX: usize = TILE_WIDTH as usize * HASH_BYTES;
/// Highest tile level that a path may name. A tree of [`SIZE_MAX`] entries reaches level 7.
pub const TILE_LEVEL_MAX: u8 = 63;

/// Longest path: every part of the largest index, and the width.
const PATH_BYTES_MAX: usize = 64;

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TileKind {
    /// Hashes of the tree, at this tile level: 0 is that of the leaves.
    Hashes(u8),
    /// Entries: a bundle, as [`crate::bundle`] reads and writes it.
    Entries,
}

/// A file of hashes or entries: which, and how many. Its text is its path below the log's folder.
///
/// ```
/// use tlog::tile::{Tile, TileKind};
///
/// let tile = Tile::of_tree(TileKind::Entries, 1_234_067, 315_921_300).unwrap();
/// assert_eq!(tile.to_string(), "tile/entries/x001/x234/067.p/148");
/// assert_eq!(tile, "tile/entries/x001/x234/067.p/148".parse()?);
/// # Ok::<(), tlog::FormatError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Tile {
    kind: TileKind,
    index: u64,
    width: u16,
}

impl Tile {
    /// Tile `index` of a kind, as a tree of `size` has it: full, or partial at the right edge. None if it has none there.
    pub fn of_tree(kind: TileKind, index: u64, size: u64) -> Option<Self> {
        let at_level = match kind {
            TileKind::Entries => size,
            TileKind::Hashes(level) => hashes_at(level, size),
        };
        let before = index.checked_mul(TILE_WIDTH)?;
        let width = at_level.checked_sub(before)?.min(TILE_WIDTH) as u16;
        (width > 0).then_some(Self { kind, index, width })
    }

    /// Every tile that a tree of `new` has and a tree of `old` has not: what has to be written when it grows. Each level
    /// from left to right, the entries first, then the leaves, then upwards. Nothing if it did not grow.
    pub fn grown(old: u64, new: u64) -> impl Iterator<Item = Self> {
        let kinds = (0..TILE_LEVEL_MAX).map(TileKind::Hashes);
        let kinds = kinds.take_while(move |kind| Self::of_tree(*kind, 0, new).is_some());
        std::iter::once(TileKind::Entries).chain(kinds).flat_map(move |kind| {
            let at_level = |size| match kind {
                TileKind::Entries => size,
                TileKind::Hashes(level) => hashes_at(level, size),
            };
            // Where the older tree's tile of this place was partial, the newer one's is wider.
            let first = at_level(old) / TILE_WIDTH;
            let tiles = (first..).map_while(move |index| Self::of_tree(kind, index, new));
            tiles.filter(move |tile| Self::of_tree(kind, tile.index, old) != Some(*tile))
        })
    }

    /// What it holds.
    pub fn kind(&self) -> TileKind {
        self.kind
    }

    /// Its number within its level, from 0.
    pub fn index(&self) -> u64 {
        self.index
    }

    /// Hashes or entries in it: 1 to 256.
    pub fn width(&self) -> usize {
        usize::from(self.width)
    }

    /// Whether it will never change again.
    pub fn is_full(&self) -> bool {
        u64::from(self.width) == TILE_WIDTH
    }

    /// The same place with all of its 256 hashes or entries.
    #[must_use]
    pub fn full(self) -> Self {
        Self { width: TILE_WIDTH as u16, ..self }
    }
}

/// Hashes of a tile level of a tree: one for each perfect subtree of its height.
fn hashes_at(level: u8, size: u64) -> u64 {
    size.checked_shr(u32::from(level) * u32::from(TILE_HEIGHT)).unwrap_or(0)
}

impl fmt::Display for Tile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            TileKind::Entries => f.write_str("tile/entries/")?,
            TileKind::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        let mut unit = 1;
        while self.index / unit >= 1000 {
            unit *= 1000;
        }
        while unit > 1 {
            write!(f, "x{:03}/", self.index / unit % 1000)?;
            unit /= 1000;
        }
        write!(f, "{:03}", self.index % 1000)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for Tile {
    type Err = FormatError;

    fn from_str(path: &str) -> Result<Self, FormatError> {
        parse(path).ok_or_else(|| {
            FormatError::new("tile path", "it is not tile/LEVEL/NUMBER or tile/entries/NUMBER")
        })
    }
}

fn parse(path: &str) -> Option<Tile> {
    if path.len() > PATH_BYTES_MAX {
        return None;
    }
    let (kind, place) = path.strip_prefix("tile/")?.split_once('/')?;
    let kind = match kind {
        "entries" => TileKind::Entries,
        level => TileKind::Hashes(decimal(level)?.try_into().ok().filter(|level| *level <= TILE_LEVEL_MAX)?),
    };
    let (number, width) = match place.split_once(".p/") {
        Some((number, width)) => {
            (number, decimal(width).filter(|width| (1..TILE_WIDTH).contains(width))? as u16)
        }
        None => (place, TILE_WIDTH as u16),
    };
    let tile = Tile { kind, index: parse_index(number)?, width };
    // There is one way to write each: no zeros in front, nothing left over.
    (tile.to_string() == path).then_some(tile)
}

fn parse_index(number: &str) -> Option<u64> {
    let mut index: u64 = 0;
    for part in number.split('/') {
        let digits = part.strip_prefix('x').unwrap_or(part);
        let is_three = digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit());
        let value = digits.parse().ok().filter(|_: &u64| is_three)?;
        index = index.checked_mul(1000)?.checked_add(value)?;
    }
    // No entry of a tree is behind this one.
    (index <= SIZE_MAX / TILE_WIDTH).then_some(index)
}

/// A number as the formats of the field write it: decimal digits without zeros in front.
pub(crate) fn decimal(text: &str) -> Option<u64> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    text.parse().ok().filter(|_| is_plain)
}

/// The hashes of a tile that was read. Refused if it is not exactly as long as its width says.
pub fn parse_hashes(tile: &Tile, bytes: &[u8]) -> Result<Vec<Hash>, FormatError> {
    let expected = tile.width() * HASH_BYTES;
    if bytes.len() != expected {
        let why =
            format!("one of {} hashes has {expected} bytes, and this has {}", tile.width(), bytes.len());
        return Err(FormatError::new("tile", why));
    }
    Ok(bytes.chunks_exact(HASH_BYTES).filter_map(Hash::from_bytes).collect())
}

/// Root of the perfect subtree above some hashes of one level. Their number is a power of two; of others the root is
/// that of RFC 6962 all the same, which no tile has.
pub fn subtree_root(hashes: &[Hash]) -> Hash {
    let mut nodes = hashes.to_vec();
    while nodes.len() > 1 {
        let parent = |pair: &[Hash]| match pair {
            [left, right] => node_hash(left, right),
            rest => rest.first().copied().unwrap_or_else(Hash::empty),
        };
        nodes = nodes.chunks(2).map(parent).collect();
    }
    nodes.first().copied().unwrap_or_else(Hash::empty)
}

/// Reads the hashes of a tree of `size` out of its tiles, for proofs. `read` gets the tile as that tree has it, and
/// gives its bytes. It is asked for a tile again for each hash in it, so it should remember what it read.
#[derive(Debug)]
pub struct TileHashes<F> {
    size: u64,
    read: F,
}

/// Why a hash could not be read out of a tile.
#[derive(Debug, thiserror::Error)]
pub enum TileError<E> {
    /// The tile could not be read.
    #[error("{tile} cannot be read: {error}")]
    Read {
        /// The tile.
        tile: Tile,
        /// Why.
        error: E,
    },
    /// The tile is not as long as it must be.
    #[error("{tile}: {error}")]
    Format {
        /// The tile.
        tile: Tile,
        /// What is wrong with it.
        error: FormatError,
    },
    /// The tree has no such hash.
    #[error("a tree of {size} entries has no hash {index} at level {level}")]
    Beyond {
        /// Level of the tree, from the leaves.
        level: u8,
        /// Number within the level.
        index: u64,
        /// Entries of the tree.
        size: u64,
    },
}

impl<E, F: Fn(&Tile) -> Result<Vec<u8>, E>> TileHashes<F> {
    /// The tiles of a tree of `size` entries.
    pub fn new(size: u64, read: F) -> Self {
        Self { size, read }
    }
}

impl<E, F: Fn(&Tile) -> Result<Vec<u8>, E>> HashReader for TileHashes<F> {
    type Error = TileError<E>;

    fn hash(&self, level: u8, index: u64) -> Result<Hash, TileError<E>> {
        let beyond = TileError::Beyond { level, index, size: self.size };
        // The hashes below it that a tile holds: 2^(level mod 8) of them, side by side in one tile.
        let below = level % TILE_HEIGHT;
        let Some(first) = index.checked_mul(1 << below) else { return Err(beyond) };
        let kind = TileKind::Hashes(level / TILE_HEIGHT);
        let Some(tile) = Tile::of_tree(kind, first / TILE_WIDTH, self.size) else { return Err(beyond) };
        let bytes = (self.read)(&tile).map_err(|error| TileError::Read { tile, error })?;
        let hashes = parse_hashes(&tile, &bytes).map_err(|error| TileError::Format { tile, error })?;
        let start = (first % TILE_WIDTH) as usize;
        hashes.get(start..start + (1 << below)).map(subtree_root).ok_or(beyond)
    }
}
