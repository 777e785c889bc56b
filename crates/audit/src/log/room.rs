//! Whether an entry may come in: decided by counting pages, so that every end of what has begun finds room.
//!
//! Room is what is allocated: the rest of the current segment, and spare ones. An end takes at most one page, also if it
//! comes alone; so there must always be as many pages as there are begins without an end. What follows the last
//! [`RECORD_PAGES_MAX`] - 1 pages of a segment is not counted: a large record may leave them empty.

use super::segment::{HEADER_PAGES, OPEN_MAX, PAGE_BYTES, RECORD_PAGES_MAX};

/// Pages at the end of a segment on which nothing relies.
const LEFT_MAX: u64 = RECORD_PAGES_MAX - 1;

/// Least and most bytes of a segment.
pub(super) const SEGMENT_BYTES_MIN: u64 = (HEADER_PAGES + 16) * PAGE_BYTES as u64;
pub(super) const SEGMENT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Allocated pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Room {
    /// In the current segment.
    pub(super) left: u64,
    /// In spare segments, without what is not counted.
    pub(super) spare: u64,
}

/// What becomes of an entry that is no end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Take,
    /// There is no room for it, or its end would have none.
    NoRoom,
    /// As many have begun as can be followed.
    TooManyOpen,
}

impl Room {
    /// Pages that can be relied on when `pages` more are written to the current segment.
    fn after(&self, pages: u64) -> u64 {
        (self.left.saturating_sub(pages)).saturating_sub(LEFT_MAX) + self.spare
    }

    /// Whether the next group begins a new segment.
    pub(super) fn is_segment_done(&self) -> bool {
        self.left < RECORD_PAGES_MAX
    }

    /// Whether a group of `pages` may be written, after which `open` begins wait for their end.
    pub(super) fn verdict(&self, pages: u64, open: usize) -> Verdict {
        if open > OPEN_MAX {
            Verdict::TooManyOpen
        } else if pages > self.left || self.after(pages) < open as u64 {
            Verdict::NoRoom
        } else {
            Verdict::Take
        }
    }
}

/// Pages of a segment that can be relied on.
pub(super) fn spare_pages(segment_bytes: u64) -> u64 {
    segment_bytes / PAGE_BYTES as u64 - HEADER_PAGES - LEFT_MAX
}

#[cfg(test)]
mod tests;
