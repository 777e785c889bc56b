//! Which entries have an id: files of sorted ids, one for each block of 65,536 entries. They can be made again from the
//! entries, so a damaged one is no loss.
//!
//! ```text
//! magic · block · entries covered · number of ids │ id · place in its block │ … │ hash of all before
//! ```

use std::{fs::File, io, os::unix::fs::FileExt};

use aws_lc_rs::digest::{SHA256, digest};

/// Entries of a block.
pub(super) const BLOCK_ENTRIES: u64 = 65_536;

const MAGIC: [u8; 8] = *b"llmosIDS";
const HEAD_BYTES: usize = 8 + 8 + 4 + 4;
/// An id, the larger bytes first, and the place in its block.
const ROW_BYTES: usize = 16 + 2;
const HASH_BYTES: usize = 32;

/// Most bytes of a file.
pub(super) const INDEX_BYTES_MAX: usize = HEAD_BYTES + BLOCK_ENTRIES as usize * ROW_BYTES + HASH_BYTES;

/// The file of a block: of all of its entries, or of the first of them. `ids` are sorted.
pub(super) fn encode(block: u64, covered: u64, ids: &[(u128, u64)]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(HEAD_BYTES + ids.len() * ROW_BYTES + HASH_BYTES);
    bytes.extend(MAGIC);
    bytes.extend(block.to_le_bytes());
    bytes.extend((covered as u32).to_le_bytes());
    bytes.extend((ids.len() as u32).to_le_bytes());
    for (id, index) in ids {
        bytes.extend(id.to_be_bytes());
        bytes.extend(((index % BLOCK_ENTRIES) as u16).to_le_bytes());
    }
    bytes.extend(digest(&SHA256, &bytes).as_ref());
    bytes
}

/// The ids of a file, in their order, and how many entries of the block they cover. Nothing if these bytes are not what
/// `encode` made for this block.
pub(super) fn decode(block: u64, bytes: &[u8]) -> Option<(u64, Vec<(u128, u64)>)> {
    let (body, hash) = bytes.split_last_chunk::<HASH_BYTES>()?;
    (digest(&SHA256, body).as_ref() == hash).then_some(())?;
    let (head, left) = body.split_first_chunk::<HEAD_BYTES>()?;
    let (covered, count) = decode_head(block, head)?;
    let (rows, rest) = left.as_chunks::<ROW_BYTES>();
    (rows.len() == count && rest.is_empty()).then_some(())?;
    Some((covered, rows.iter().map(|row| decode_row(block, row)).collect()))
}

/// Indexes of the entries with this id, in a file that was found whole before: few short reads, however many ids it has.
pub(super) fn find(file: &File, block: u64, id: u128) -> io::Result<Vec<u64>> {
    let mut head = [0; HEAD_BYTES];
    file.read_exact_at(&mut head, 0)?;
    let Some((_, count)) = decode_head(block, &head) else { return Err(io::ErrorKind::InvalidData.into()) };
    let read = |first: usize, rows: &mut [[u8; ROW_BYTES]]| {
        file.read_exact_at(rows.as_flattened_mut(), (HEAD_BYTES + first * ROW_BYTES) as u64)
    };
    // All rows before `low` have smaller ids; those from `high` on have not.
    let (mut low, mut high) = (0, count);
    let mut row = [[0; ROW_BYTES]];
    while low < high {
        let middle = low.midpoint(high);
        read(middle, &mut row)?;
        if decode_row(block, &row[0]).0 < id { low = middle + 1 } else { high = middle }
    }
    let mut found = Vec::new();
    for at in low..count {
        read(at, &mut row)?;
        match decode_row(block, &row[0]) {
            (same, index) if same == id => found.push(index),
            _ => break,
        }
    }
    Ok(found)
}

/// Entries that are covered, and the number of ids.
fn decode_head(block: u64, head: &[u8; HEAD_BYTES]) -> Option<(u64, usize)> {
    let (magic, left) = head.split_first_chunk::<8>()?;
    let (number, left) = left.split_first_chunk::<8>()?;
    let (covered, count) = left.split_first_chunk::<4>()?;
    let count = u32::from_le_bytes(count.try_into().ok()?) as usize;
    let fits = *magic == MAGIC && u64::from_le_bytes(*number) == block;
    fits.then_some((u64::from(u32::from_le_bytes(*covered)), count))
}

fn decode_row(block: u64, row: &[u8; ROW_BYTES]) -> (u128, u64) {
    let mut id = [0; 16];
    id.copy_from_slice(&row[..16]);
    let place = u16::from_le_bytes([row[16], row[17]]);
    (u128::from_be_bytes(id), block * BLOCK_ENTRIES + u64::from(place))
}
