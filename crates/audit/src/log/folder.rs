//! Where everything is below the folder of a log.

use std::path::PathBuf;

use tlog::tile::Tile;

/// Digits of a segment's first index.
const DIGITS: usize = 20;

#[derive(Debug, Clone)]
pub(super) struct Folder(pub(super) PathBuf);

impl Folder {
    pub(super) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub(super) fn checkpoint(&self) -> PathBuf {
        self.0.join("checkpoint")
    }

    pub(super) fn segments(&self) -> PathBuf {
        self.0.join("segment")
    }

    /// The segment that begins with this entry.
    pub(super) fn segment(&self, first: u64) -> PathBuf {
        self.segments().join(format!("{first:0DIGITS$}"))
    }

    /// A segment of zeros, for later.
    pub(super) fn spare(&self, number: u64) -> PathBuf {
        self.segments().join(format!("spare-{number}"))
    }

    /// Files that are being written, by the one who writes them. They are nothing until they get their name.
    pub(super) fn unfinished(&self, whose: &str) -> PathBuf {
        self.all_unfinished().join(whose)
    }

    pub(super) fn all_unfinished(&self) -> PathBuf {
        self.0.join("new")
    }

    pub(super) fn tile(&self, tile: &Tile) -> PathBuf {
        self.0.join(tile.to_string())
    }

    /// Where the partial tiles of this place are.
    pub(super) fn partials(&self, tile: Tile) -> PathBuf {
        self.0.join(format!("{}.p", tile.full()))
    }

    /// Ids of a whole block of entries.
    pub(super) fn index(&self, block: u64) -> PathBuf {
        self.0.join("index").join(block.to_string())
    }

    /// Ids of the first entries of the last block.
    pub(super) fn index_part(&self, block: u64) -> PathBuf {
        self.0.join("index").join(format!("{block}.part"))
    }
}

/// What a file in the folder of segments is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum SegmentName {
    First(u64),
    Spare(u64),
}

/// Nothing for a file that is none of ours.
pub(super) fn segment_name(name: &str) -> Option<SegmentName> {
    if let Some(number) = name.strip_prefix("spare-") {
        return number.parse().ok().map(SegmentName::Spare);
    }
    let is_number = name.len() == DIGITS && name.bytes().all(|byte| byte.is_ascii_digit());
    name.parse().ok().filter(|_| is_number).map(SegmentName::First)
}
