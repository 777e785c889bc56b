//! Bundles of up to 256 entries: the files `tile/entries/...` of C2SP `tlog-tiles`. Each entry has its length in front,
//! two bytes, the larger first.

use crate::{FormatError, tile::TILE_WIDTH};

#[cfg(test)]
mod tests;

/// Longest entry.
pub const ENTRY_BYTES_MAX: usize = u16::MAX as usize;
/// Longest bundle.
pub const BUNDLE_BYTES_MAX: usize = TILE_WIDTH as usize * (LENGTH_BYTES + ENTRY_BYTES_MAX);

const LENGTH_BYTES: usize = 2;

/// Appends an entry to a bundle.
///
/// ```
/// let mut bundle = Vec::new();
/// tlog::bundle::push(&mut bundle, b"begin")?;
/// tlog::bundle::push(&mut bundle, b"end")?;
/// assert_eq!(tlog::bundle::parse(&bundle, 2)?, [b"begin".as_slice(), b"end"]);
/// # Ok::<(), tlog::FormatError>(())
/// ```
pub fn push(bundle: &mut Vec<u8>, entry: &[u8]) -> Result<(), FormatError> {
    let length = length_of(entry)?;
    bundle.extend_from_slice(&length.to_be_bytes());
    bundle.extend_from_slice(entry);
    Ok(())
}

/// Length of an entry as a bundle writes it.
pub(crate) fn length_of(entry: &[u8]) -> Result<u16, FormatError> {
    u16::try_from(entry.len()).map_err(|_| {
        let why = format!("it has {} bytes; at most {ENTRY_BYTES_MAX} are allowed", entry.len());
        FormatError::new("entry", why)
    })
}

/// The entries of a bundle, which must be exactly `width`, and nothing may follow.
pub fn parse(bundle: &[u8], width: usize) -> Result<Vec<&[u8]>, FormatError> {
    let mut entries = Vec::with_capacity(width.min(TILE_WIDTH as usize));
    let mut rest = bundle;
    while let Some((length, after)) = rest.split_at_checked(LENGTH_BYTES) {
        let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
        let Some((entry, after)) = after.split_at_checked(length) else {
            let why = format!(
                "its entry {} would have {length} bytes, and {} are left",
                entries.len(),
                after.len()
            );
            return Err(FormatError::new("bundle of entries", why));
        };
        if entries.len() == width {
            let why = format!("it goes on after {width} entries");
            return Err(FormatError::new("bundle of entries", why));
        }
        entries.push(entry);
        rest = after;
    }
    if !rest.is_empty() {
        return Err(FormatError::new("bundle of entries", "it ends within the length of an entry"));
    }
    if entries.len() != width {
        let why = format!("it ends after {} entries, and {width} belong to it", entries.len());
        return Err(FormatError::new("bundle of entries", why));
    }
    Ok(entries)
}
