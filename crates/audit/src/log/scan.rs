//! Reads a segment back, and judges what follows its last whole group. Pure: the bytes of the file come in.
//!
//! A group is written only when the one before is on the disk. So after a crash at most **one** group may be torn, the last
//! one, which nobody was told of; it is cut away. Anything else was whole once, and is damage:
//! - another group, or anything else, behind the bad one;
//! - a bad group that has all its sectors. A write that was interrupted leaves some as they were allocated: zero. (An entry
//!   with 512 zero bytes could hide that; ours are text. What a checkpoint vouches for is found missing anyway.)

use tlog::tree::Hash;

use super::segment::{
    GROUP_BYTES_MAX, GROUP_HEAD_BYTES, GroupHead, HEADER_PAGES, Header, PAGE_BYTES, Record, SECTOR_BYTES,
};

/// A segment that was read.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) records: Vec<(Record, Hash)>,
    /// The chain at its end.
    pub(super) chain: Hash,
    /// The page behind the last whole group.
    pub(super) end_page: u64,
    /// Bytes of a torn group that follow there.
    pub(super) torn_bytes: usize,
}

/// Reads the groups of a segment. `is_last`: whether the log ends in it. The error says what is damaged.
pub(super) fn scan(bytes: &[u8], header: &Header, is_last: bool) -> Result<Scanned, String> {
    let mut scanned =
        Scanned { records: Vec::new(), chain: header.chain, end_page: HEADER_PAGES, torn_bytes: 0 };
    loop {
        let at = scanned.end_page as usize * PAGE_BYTES;
        let rest = bytes.get(at..).unwrap_or_default();
        let next = header.first + scanned.records.len() as u64;
        let head = GroupHead::decode(rest, header.chain).filter(|head| head.first == next);
        let group = head.and_then(|head| Some((head, head.open(rest, scanned.chain)?)));
        let Some((head, (records, chain))) = group else {
            scanned.torn_bytes =
                torn_bytes(rest, header.chain).map_err(|why| format!("at byte {at}, {why}"))?;
            if scanned.torn_bytes > 0 && !is_last {
                return Err(format!("at byte {at}, a group is damaged, though later segments follow"));
            }
            return Ok(scanned);
        };
        let behind = rest.get(head.bytes()..head.pages() as usize * PAGE_BYTES);
        if !behind.is_some_and(is_zero) {
            return Err(format!(
                "at byte {at}, something stands between a group and the end of its last page"
            ));
        }
        scanned.records.extend(records);
        scanned.chain = chain;
        scanned.end_page += head.pages();
    }
}

/// Bytes of a torn group at the beginning of `rest`, where no whole one is; 0 if there is nothing.
fn torn_bytes(rest: &[u8], salt: Hash) -> Result<usize, String> {
    let Some(last) = rest.iter().rposition(|byte| *byte != 0) else { return Ok(0) };
    let pages = (PAGE_BYTES..=last).step_by(PAGE_BYTES);
    if let Some(later) = pages.into_iter().find(|page| GroupHead::decode(&rest[*page..], salt).is_some()) {
        return Err(format!("a group is damaged: another one follows {later} bytes behind"));
    }
    let torn = last + 1;
    if torn > GROUP_BYTES_MAX {
        return Err(format!("{torn} bytes follow that are no group, more than one can have"));
    }
    let Some(head) = GroupHead::decode(rest, salt) else {
        // The head is in one sector, which is there or not, or where the group was torn.
        let is_missing = torn <= GROUP_HEAD_BYTES || is_zero(&rest[..SECTOR_BYTES]);
        return if is_missing { Ok(torn) } else { Err("the head of a group was changed".to_owned()) };
    };
    let group = rest.get(..head.bytes()).ok_or("a group goes on behind the end of the file")?;
    if torn > group.len() {
        return Err("something stands behind the last group".to_owned());
    }
    // The last byte of a group is its end mark, so the last sector is missing as soon as the mark is.
    let is_torn = torn < group.len() || group.chunks_exact(SECTOR_BYTES).any(is_zero);
    if is_torn { Ok(torn) } else { Err("a group was changed after it was written".to_owned()) }
}

fn is_zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0)
}

#[cfg(test)]
mod tests;
