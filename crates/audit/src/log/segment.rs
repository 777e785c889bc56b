//! The bytes of a segment: where an entry is first, and from where it goes on to its bundle.
//!
//! ```text
//! page 0            page 64                                                       end of the file
//! │ header │  zeros │ group │ zeros │ group        │ zeros │ group │ zeros … zeros │
//!                   └ starts at a page of its own, is written at once, then synced, then answered
//!
//! group:  magic · bytes of records · records · first index · chain · check │ records │ end mark
//! record: length · flags · (index of its begin) · (id) · entry
//! ```
//! - A group never shares a page with another, so that writing one cannot hurt what was acknowledged before. The disk
//!   writes whole pages anyway.
//! - `chain` is the hash of the chain before, of the group's numbers and of its leaf hashes: a group is whole if its chain
//!   is right, and only where it was written.
//! - `check` is the hash of the header, under what the segment began with, so that no entry can look like a group.
//! - Everything behind the last group is zero, as it was allocated.

use aws_lc_rs::digest::{Context, SHA256, digest};
use tlog::tree::{HASH_BYTES, Hash, leaf_hash};

/// A group begins at a multiple of this many bytes.
pub(super) const PAGE_BYTES: usize = 4096;
/// What a disk writes whole or not at all.
pub(super) const SECTOR_BYTES: usize = 512;
/// Pages in front of the first group.
pub(super) const HEADER_PAGES: u64 = 64;
/// Most bytes of an entry.
pub const ENTRY_BYTES_MAX: usize = 16_384;
/// Most bytes of the entry that ends another: it fits in one page with everything around it.
pub const END_BYTES_MAX: usize = 4_000;
/// Most entries that have begun and not ended.
pub const OPEN_MAX: usize = 16_384;
/// Most records of a group.
pub(super) const GROUP_RECORDS_MAX: usize = 1_024;
/// Most bytes of a group.
pub(super) const GROUP_BYTES_MAX: usize = 1024 * 1024;

/// Most hashes of one level of the tree that are in no full tile, plus one.
pub(super) const TILE_HASHES: usize = 256;
/// Levels of tiles: a tree has at most 2^63 entries.
pub(super) const TILE_LEVELS: usize = 8;

/// Pages of the largest record that is alone in its group.
pub(super) const RECORD_PAGES_MAX: u64 =
    (GROUP_AROUND_BYTES + RECORD_HEAD_BYTES_MAX + ENTRY_BYTES_MAX).div_ceil(PAGE_BYTES) as u64;

const MAGIC: [u8; 8] = *b"llmosLOG";
const VERSION: u32 = 1;
const GROUP_MAGIC: [u8; 4] = *b"lgrp";
/// Magic, bytes and number of records, first index, chain.
const CHECKED_BYTES: usize = 4 + 4 + 4 + 8 + HASH_BYTES;
const CHECK_BYTES: usize = 8;
pub(super) const GROUP_HEAD_BYTES: usize = CHECKED_BYTES + CHECK_BYTES;
const END_MARK: u8 = 0xE5;
/// Bytes of a group beside its records.
pub(super) const GROUP_AROUND_BYTES: usize = GROUP_HEAD_BYTES + 1;
/// Length and flags.
const RECORD_HEAD_BYTES: usize = 4 + 1;
const RECORD_HEAD_BYTES_MAX: usize = RECORD_HEAD_BYTES + 8 + 16;

const FLAG_BEGIN: u8 = 1;
const FLAG_END: u8 = 2;
const FLAG_ID: u8 = 4;

const _: () = assert!(GROUP_AROUND_BYTES + RECORD_HEAD_BYTES_MAX + END_BYTES_MAX <= PAGE_BYTES);
const _: () = assert!(GROUP_HEAD_BYTES <= SECTOR_BYTES, "a group's head is written whole or not at all");
const _: () = assert!(
    8 + 4 + 8 + HASH_BYTES + 1 + TILE_LEVELS * (2 + TILE_HASHES * HASH_BYTES) + 4 + 8 * OPEN_MAX + HASH_BYTES
        <= HEADER_PAGES as usize * PAGE_BYTES
);

/// What an entry is to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing.
    Alone,
    /// Another will end it, and has room to.
    Begin,
    /// It ends the one with this index.
    End {
        /// Index of the one that it ends.
        begin: u64,
    },
}

/// An entry, and what the log keeps beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub(super) kind: Kind,
    pub(super) id: Option<u128>,
    pub(super) entry: Vec<u8>,
}

/// Bytes that a record takes in a group.
pub(super) fn record_bytes(kind: Kind, id: Option<u128>, entry: &[u8]) -> usize {
    let begin = if matches!(kind, Kind::End { .. }) { 8 } else { 0 };
    RECORD_HEAD_BYTES + begin + if id.is_some() { 16 } else { 0 } + entry.len()
}

/// Pages of a group with this many bytes of records.
pub(super) fn group_pages(records_bytes: usize) -> u64 {
    (GROUP_AROUND_BYTES + records_bytes).div_ceil(PAGE_BYTES) as u64
}

/// What is known at the beginning of a segment: enough to go on from here without what was before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    /// Index of the first entry.
    pub(super) first: u64,
    /// The chain of groups up to here.
    pub(super) chain: Hash,
    /// The hashes that are in no full tile, from the leaves up.
    pub(super) edges: Vec<Vec<Hash>>,
    /// What has begun and not ended.
    pub(super) open: Vec<u64>,
}

impl Header {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PAGE_BYTES);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(self.first.to_le_bytes());
        bytes.extend(self.chain.0);
        bytes.push(self.edges.len() as u8);
        for edge in &self.edges {
            bytes.extend((edge.len() as u16).to_le_bytes());
            bytes.extend(edge.iter().flat_map(|hash| hash.0));
        }
        bytes.extend((self.open.len() as u32).to_le_bytes());
        bytes.extend(self.open.iter().flat_map(|begin| begin.to_le_bytes()));
        bytes.extend(digest(&SHA256, &bytes).as_ref());
        bytes
    }

    /// Nothing if these bytes, or more, are not what `encode` made.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let mut left = Bytes(bytes);
        if left.take(MAGIC.len())? != MAGIC || left.u32()? != VERSION {
            return None;
        }
        let (first, chain) = (left.u64()?, left.hash()?);
        let levels = left.u8()? as usize;
        if levels > TILE_LEVELS {
            return None;
        }
        let mut edges = Vec::with_capacity(levels);
        for _ in 0..levels {
            let hashes = left.u16()?;
            edges.push((0..hashes).map(|_| left.hash()).collect::<Option<_>>()?);
        }
        let count = left.u32()? as usize;
        if count > OPEN_MAX {
            return None;
        }
        let open = (0..count).map(|_| left.u64()).collect::<Option<_>>()?;
        let hashed = bytes.len() - left.0.len();
        (left.take(HASH_BYTES)? == digest(&SHA256, &bytes[..hashed]).as_ref()).then_some(())?;
        Some(Self { first, chain, edges, open })
    }
}

/// A group that is being put together.
pub(super) struct GroupWriter {
    bytes: Vec<u8>,
    count: u32,
    links: Vec<u8>,
}

impl GroupWriter {
    pub(super) fn new() -> Self {
        Self { bytes: vec![0; GROUP_HEAD_BYTES], count: 0, links: Vec::new() }
    }

    /// Empty again, with the memory that it has.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.resize(GROUP_HEAD_BYTES, 0);
        self.links.clear();
        self.count = 0;
    }

    /// Appends a record. Its leaf hash.
    pub(super) fn push(&mut self, kind: Kind, id: Option<u128>, entry: &[u8]) -> Hash {
        let leaf = leaf_hash(entry);
        self.bytes.extend((entry.len() as u32).to_le_bytes());
        let linked = self.bytes.len();
        self.bytes.push(flags(kind, id));
        if let Kind::End { begin } = kind {
            self.bytes.extend(begin.to_le_bytes());
        }
        if let Some(id) = id {
            self.bytes.extend(id.to_le_bytes());
        }
        self.links.extend(&self.bytes[linked..]);
        self.links.extend(leaf.0);
        self.bytes.extend(entry);
        self.count += 1;
        leaf
    }

    /// The bytes to write, and the chain with them. `salt` is the chain that the segment began with.
    pub(super) fn seal(&mut self, first: u64, before: Hash, salt: Hash) -> (&[u8], Hash) {
        let body = (self.bytes.len() - GROUP_HEAD_BYTES) as u32;
        let chain = link(before, first, self.count, &self.links);
        let mut head = Vec::with_capacity(GROUP_HEAD_BYTES);
        head.extend(GROUP_MAGIC);
        head.extend(body.to_le_bytes());
        head.extend(self.count.to_le_bytes());
        head.extend(first.to_le_bytes());
        head.extend(chain.0);
        head.extend(check(&head, salt));
        self.bytes[..GROUP_HEAD_BYTES].copy_from_slice(&head);
        self.bytes.push(END_MARK);
        (&self.bytes, chain)
    }
}

/// The head of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GroupHead {
    pub(super) first: u64,
    count: u32,
    body: usize,
    chain: Hash,
}

impl GroupHead {
    /// Nothing if these bytes do not begin with the head of a group of this segment.
    pub(super) fn decode(bytes: &[u8], salt: Hash) -> Option<Self> {
        let mut left = Bytes(bytes);
        (left.take(4)? == GROUP_MAGIC).then_some(())?;
        let (body, count, first, chain) = (left.u32()? as usize, left.u32()?, left.u64()?, left.hash()?);
        (left.take(CHECK_BYTES)? == check(&bytes[..CHECKED_BYTES], salt)).then_some(())?;
        Some(Self { first, count, body, chain })
    }

    /// Bytes of the whole group.
    pub(super) fn bytes(&self) -> usize {
        GROUP_AROUND_BYTES + self.body
    }

    pub(super) fn pages(&self) -> u64 {
        group_pages(self.body)
    }

    /// The records of this group with their leaf hashes, and the chain with them; nothing if a byte is another.
    pub(super) fn open(&self, group: &[u8], before: Hash) -> Option<(Vec<(Record, Hash)>, Hash)> {
        let group = group.get(..self.bytes())?;
        let (mark, group) = group.split_last()?;
        (*mark == END_MARK).then_some(())?;
        let mut left = Bytes(group.get(GROUP_HEAD_BYTES..)?);
        let (mut records, mut links) = (Vec::new(), Vec::new());
        for _ in 0..self.count {
            let length = left.u32()? as usize;
            let beside = left.0;
            let flags = left.u8()?;
            let kind = match flags & !FLAG_ID {
                0 => Kind::Alone,
                FLAG_BEGIN => Kind::Begin,
                FLAG_END => Kind::End { begin: left.u64()? },
                _ => return None,
            };
            let id = if flags & FLAG_ID == 0 { None } else { Some(left.u128()?) };
            links.extend(&beside[..beside.len() - left.0.len()]);
            let entry = left.take(length)?;
            let leaf = leaf_hash(entry);
            links.extend(leaf.0);
            records.push((Record { kind, id, entry: entry.to_vec() }, leaf));
        }
        let whole = left.0.is_empty() && link(before, self.first, self.count, &links) == self.chain;
        whole.then_some((records, self.chain))
    }
}

fn flags(kind: Kind, id: Option<u128>) -> u8 {
    let flags = match kind {
        Kind::Alone => 0,
        Kind::Begin => FLAG_BEGIN,
        Kind::End { .. } => FLAG_END,
    };
    flags | if id.is_some() { FLAG_ID } else { 0 }
}

fn link(before: Hash, first: u64, count: u32, links: &[u8]) -> Hash {
    let mut context = Context::new(&SHA256);
    context.update(&before.0);
    context.update(&first.to_le_bytes());
    context.update(&count.to_le_bytes());
    context.update(links);
    let mut chain = Hash([0; HASH_BYTES]);
    chain.0.copy_from_slice(context.finish().as_ref());
    chain
}

fn check(head: &[u8], salt: Hash) -> [u8; CHECK_BYTES] {
    let mut context = Context::new(&SHA256);
    context.update(&salt.0);
    context.update(head);
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&context.finish().as_ref()[..CHECK_BYTES]);
    check
}

/// Bytes that are still to be read.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, left) = self.0.split_at_checked(bytes)?;
        self.0 = left;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u8(&mut self) -> Option<u8> {
        self.array().map(u8::from_le_bytes)
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn u128(&mut self) -> Option<u128> {
        self.array().map(u128::from_le_bytes)
    }

    fn hash(&mut self) -> Option<Hash> {
        self.array().map(Hash)
    }
}

#[cfg(test)]
mod tests;
