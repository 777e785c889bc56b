//! Reads ZIP archives (APPNOTE 6.3.10), strictly: what a Python package needs of the format, and nothing of what
//! other readers let pass. Nothing is written here, so a hostile name can lead nowhere.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, Read, Seek, SeekFrom},
};

use flate2::{Crc, read::DeflateDecoder};

/// Most files in an archive.
const ENTRIES_MAX: u64 = 10_000;
/// Largest directory of an archive: `ENTRIES_MAX` entries of usual length.
const DIRECTORY_BYTES_MAX: u64 = 8 << 20;
/// Longest name.
const NAME_BYTES_MAX: usize = 1_024;
/// Most bytes that one byte of DEFLATE can become; see Mark Adler, "zlib technical details".
const DEFLATE_RATIO_MAX: u64 = 1_032;
/// Weights hardly become shorter: what is large and becomes so much longer is no model.
const LARGE_BYTES: u64 = 64 << 20;
const LARGE_RATIO_MAX: u64 = 100;
/// Bytes read at once.
const CHUNK_BYTES: usize = 256 << 10;

const END: u32 = 0x0605_4b50;
const END_BYTES: u64 = 22;
const COMMENT_BYTES_MAX: u64 = 0xffff;
const END_64: u32 = 0x0606_4b50;
const END_64_BYTES: usize = 56;
const LOCATOR_64: u32 = 0x0706_4b50;
const LOCATOR_64_BYTES: u64 = 20;
const CENTRAL: u32 = 0x0201_4b50;
const CENTRAL_BYTES: usize = 46;
const LOCAL: u32 = 0x0403_4b50;
const LOCAL_BYTES: usize = 30;
/// A value that stands in the extra field, in 64 bits.
const IN_EXTRA: u64 = 0xffff_ffff;
const EXTRA_64: u16 = 1;
const FLAG_ENCRYPTED: u16 = 1;
const METHOD_STORED: u16 = 0;
const METHOD_DEFLATED: u16 = 8;
const MADE_BY_UNIX: u8 = 3;
const FILE_TYPE: u32 = 0o170_000;
const REGULAR_FILE: u32 = 0o100_000;
const DIRECTORY: u32 = 0o040_000;

/// Why an archive is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArchiveError {
    /// Not an archive, or a damaged one.
    #[error("it is no sound ZIP archive: {0}")]
    Damaged(&'static str),
    /// More files or longer names than any package has.
    #[error("it is larger than allowed: {what} {found}, at most {max}")]
    TooLarge {
        /// Of what there is too much.
        what: &'static str,
        /// How much.
        found: u64,
        /// How much is allowed.
        max: u64,
    },
    /// A name that would lead out of the folder it is unpacked to.
    #[error("it contains {name:?}, {why}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// An entry that is not as long as it says.
    #[error("its entry {name:?} lies about its size or content: {why}")]
    Lies {
        /// The entry.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// It holds no model, or several.
    #[error("{0}")]
    Model(String),
    /// The file cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
}

impl From<io::Error> for ArchiveError {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("it ends too early"),
            _ => Self::Unreadable(error.to_string()),
        }
    }
}

/// An archive whose names and sizes have been checked.
#[derive(Debug)]
pub(super) struct Archive {
    file: File,
    entries: Vec<Entry>,
}

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// A relative path without `.`, `..`, `\` and control characters.
    pub(super) name: String,
    /// Its length when unpacked: checked again while unpacking.
    pub(super) bytes: u64,
    packed: u64,
    offset: u64,
    method: u16,
    crc: u32,
}

impl Archive {
    pub(super) fn open(mut file: File) -> Result<Self, ArchiveError> {
        let length = file.seek(SeekFrom::End(0))?;
        let directory = find_directory(&mut file, length)?;
        let entries = read_directory(&directory.bytes, directory.count)?;
        check_together(&entries, length)?;
        Ok(Self { file, entries })
    }

    /// The files, without folders.
    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Unpacks an entry into `sink`, piece by piece, never more of it than it says.
    pub(super) fn unpack<E: From<ArchiveError>>(
        &mut self,
        entry: &Entry,
        mut sink: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        let lies = |why| ArchiveError::Lies { name: entry.name.clone(), why };
        self.seek_to_content(entry)?;
        let packed = (&mut self.file).take(entry.packed);
        let mut content: Box<dyn Read + '_> = match entry.method {
            METHOD_STORED => Box::new(packed),
            _ => Box::new(DeflateDecoder::new_with_buf(packed, vec![0; CHUNK_BYTES])),
        };
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut crc = Crc::new();
        let mut bytes = 0;
        loop {
            let length = content.read(&mut chunk).map_err(|_| lies("it cannot be unpacked"))?;
            if length == 0 {
                break;
            }
            bytes += length as u64;
            if bytes > entry.bytes {
                return Err(lies("it is longer than it says").into());
            }
            crc.update(&chunk[..length]);
            sink(&chunk[..length])?;
        }
        if bytes < entry.bytes {
            return Err(lies("it is shorter than it says").into());
        }
        if crc.sum() == entry.crc { Ok(()) } else { Err(lies("its checksum is wrong").into()) }
    }

    /// A small entry as a whole.
    pub(super) fn read(&mut self, entry: &Entry, bytes_max: u64) -> Result<Vec<u8>, ArchiveError> {
        if entry.bytes > bytes_max {
            let what = "bytes of a file that describes the model:";
            return Err(ArchiveError::TooLarge { what, found: entry.bytes, max: bytes_max });
        }
        let mut content = Vec::new();
        self.unpack(entry, |piece| {
            content.extend_from_slice(piece);
            Ok::<(), ArchiveError>(())
        })?;
        Ok(content)
    }

    /// Behind the header that stands before the content, which must agree with the directory.
    fn seek_to_content(&mut self, entry: &Entry) -> Result<(), ArchiveError> {
        let lies = |why| ArchiveError::Lies { name: entry.name.clone(), why };
        self.file.seek(SeekFrom::Start(entry.offset))?;
        let mut header = [0; LOCAL_BYTES];
        self.file.read_exact(&mut header)?;
        let header = Fields(&header);
        if header.u32(0) != LOCAL || header.u16(8) != entry.method {
            return Err(lies("its two headers differ"));
        }
        let mut name = vec![0; header.u16(26).into()];
        self.file.read_exact(&mut name)?;
        if name != entry.name.as_bytes() {
            return Err(lies("it has two names"));
        }
        self.file.seek(SeekFrom::Current(header.u16(28).into()))?;
        Ok(())
    }
}

struct Directory {
    bytes: Vec<u8>,
    count: u64,
}

/// Numbers at places of a record, least significant byte first. The places are constants within its length.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn u16(&self, at: usize) -> u16 {
        u16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    fn u32(&self, at: usize) -> u32 {
        u32::from(self.u16(at)) | u32::from(self.u16(at + 2)) << 16
    }

    fn u64(&self, at: usize) -> u64 {
        u64::from(self.u32(at)) | u64::from(self.u32(at + 4)) << 32
    }
}

fn find_directory(file: &mut File, length: u64) -> Result<Directory, ArchiveError> {
    let tail_bytes = length.min(END_BYTES + COMMENT_BYTES_MAX);
    let tail = read_at(file, length - tail_bytes, tail_bytes)?;
    // The comment behind the record may contain anything, also something like it: its length must fit.
    let is_end = |at: &usize| {
        let record = &tail[*at..];
        let fields = Fields(record);
        fields.u32(0) == END && record.len() as u64 == END_BYTES + u64::from(fields.u16(20))
    };
    let last = tail.len().checked_sub(END_BYTES as usize).ok_or(ArchiveError::Damaged("it is too short"))?;
    let at = (0..=last).rev().find(is_end).ok_or(ArchiveError::Damaged("it has no directory"))?;
    let end = Fields(&tail[at..]);
    if end.u16(4) != end.u16(6) {
        return Err(ArchiveError::Damaged("it is one of several volumes"));
    }
    let (mut count, mut size, mut offset) =
        (u64::from(end.u16(10)), u64::from(end.u32(12)), u64::from(end.u32(16)));
    let end_at = length - (tail.len() - at) as u64;
    if count == 0xffff || size == IN_EXTRA || offset == IN_EXTRA {
        let record = read_end_64(file, end_at)?;
        let fields = Fields(&record);
        (count, size, offset) = (fields.u64(32), fields.u64(40), fields.u64(48));
    }
    for (what, found, max) in
        [("files:", count, ENTRIES_MAX), ("bytes of its directory:", size, DIRECTORY_BYTES_MAX)]
    {
        if found > max {
            return Err(ArchiveError::TooLarge { what, found, max });
        }
    }
    if offset.checked_add(size).is_none_or(|directory_end| directory_end > end_at) {
        return Err(ArchiveError::Damaged("its directory is outside of it"));
    }
    Ok(Directory { bytes: read_at(file, offset, size)?, count })
}

fn read_end_64(file: &mut File, end_at: u64) -> Result<Vec<u8>, ArchiveError> {
    let damaged = ArchiveError::Damaged("its 64-bit directory is missing");
    let locator_at = end_at.checked_sub(LOCATOR_64_BYTES).ok_or(damaged.clone())?;
    let locator = read_at(file, locator_at, LOCATOR_64_BYTES)?;
    let locator = Fields(&locator);
    if locator.u32(0) != LOCATOR_64 || locator.u64(8) >= locator_at {
        return Err(damaged);
    }
    let record = read_at(file, locator.u64(8), END_64_BYTES as u64)?;
    if Fields(&record).u32(0) == END_64 { Ok(record) } else { Err(damaged) }
}

/// At most the bytes of a directory are ever read so.
fn read_at(file: &mut File, offset: u64, length: u64) -> Result<Vec<u8>, ArchiveError> {
    file.seek(SeekFrom::Start(offset))?;
    let mut bytes = vec![0; length as usize];
    file.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn read_directory(mut bytes: &[u8], count: u64) -> Result<Vec<Entry>, ArchiveError> {
    let short = ArchiveError::Damaged("its directory ends too early");
    let mut entries = Vec::new();
    for _ in 0..count {
        let (fixed, rest) = bytes.split_at_checked(CENTRAL_BYTES).ok_or(short.clone())?;
        let fields = Fields(fixed);
        if fields.u32(0) != CENTRAL {
            return Err(ArchiveError::Damaged("its directory is not one"));
        }
        let lengths = [28, 30, 32].map(|at| usize::from(fields.u16(at)));
        let (name, rest) = rest.split_at_checked(lengths[0]).ok_or(short.clone())?;
        let (extra, rest) = rest.split_at_checked(lengths[1]).ok_or(short.clone())?;
        let (_comment, rest) = rest.split_at_checked(lengths[2]).ok_or(short.clone())?;
        bytes = rest;
        entries.extend(entry(&fields, name, extra)?);
    }
    Ok(entries)
}

/// The entry, or nothing if it is a folder.
fn entry(fields: &Fields<'_>, name: &[u8], extra: &[u8]) -> Result<Option<Entry>, ArchiveError> {
    let text = String::from_utf8_lossy(name).into_owned();
    let refuse = |why| ArchiveError::Name { name: text.chars().take(NAME_BYTES_MAX).collect(), why };
    if str::from_utf8(name).is_err() {
        return Err(refuse("a name that is not UTF-8"));
    }
    check_name(&text).map_err(refuse)?;
    let kind = fields.u32(38) >> 16 & FILE_TYPE;
    if fields.0[5] == MADE_BY_UNIX && ![0, REGULAR_FILE, DIRECTORY].contains(&kind) {
        return Err(refuse("which is a link or a device"));
    }
    if fields.u16(8) & FLAG_ENCRYPTED != 0 {
        return Err(refuse("which is encrypted"));
    }
    let [packed, bytes, offset] = sizes(fields, extra).ok_or_else(|| refuse("which has no size"))?;
    if text.ends_with('/') {
        return if bytes == 0 { Ok(None) } else { Err(refuse("a folder with content")) };
    }
    let method = fields.u16(10);
    let largest = match method {
        METHOD_STORED => packed,
        METHOD_DEFLATED => packed.saturating_mul(DEFLATE_RATIO_MAX),
        _ => return Err(refuse("which is packed in an unusual way")),
    };
    if bytes > largest {
        return Err(ArchiveError::Lies { name: text, why: "it cannot become as long as it says" });
    }
    if bytes > LARGE_BYTES && bytes > packed.saturating_mul(LARGE_RATIO_MAX) {
        return Err(ArchiveError::Lies {
            name: text,
            why: "no model becomes so much longer than it is packed",
        });
    }
    Ok(Some(Entry { name: text, bytes, packed, offset, method, crc: fields.u32(16) }))
}

/// Packed size, size and place. What does not fit into 32 bits is in the extra field, in the order of size, packed
/// size and place.
fn sizes(fields: &Fields<'_>, mut extra: &[u8]) -> Option<[u64; 3]> {
    let mut values = [24, 20, 42].map(|at| u64::from(fields.u32(at)));
    while values.contains(&IN_EXTRA) {
        let (head, rest) = extra.split_at_checked(4)?;
        let (id, length) = (Fields(head).u16(0), usize::from(Fields(head).u16(2)));
        let (mut field, rest) = rest.split_at_checked(length)?;
        extra = rest;
        if id != EXTRA_64 {
            continue;
        }
        for value in values.iter_mut().filter(|value| **value == IN_EXTRA) {
            let (number, rest) = field.split_at_checked(8)?;
            *value = Fields(number).u64(0);
            field = rest;
        }
        break;
    }
    let [bytes, packed, offset] = values;
    Some([packed, bytes, offset])
}

fn check_name(name: &str) -> Result<(), &'static str> {
    let path = name.strip_suffix('/').unwrap_or(name);
    if name.len() > NAME_BYTES_MAX {
        return Err("a name that is too long");
    }
    if path.starts_with('/') || path.as_bytes().get(1) == Some(&b':') {
        return Err("an absolute path");
    }
    if path.contains(|c: char| c.is_control() || c == '\\') {
        return Err("a name with a backslash or a control character");
    }
    if path.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("a path that leads elsewhere");
    }
    Ok(())
}

/// What no entry shows alone: two of one name, and contents that overlap, by which a small archive becomes huge.
fn check_together(entries: &[Entry], length: u64) -> Result<(), ArchiveError> {
    let mut names = HashSet::new();
    if let Some(twice) = entries.iter().find(|entry| !names.insert(&entry.name)) {
        return Err(ArchiveError::Name { name: twice.name.clone(), why: "twice" });
    }
    let packed = entries.iter().fold(0_u64, |sum, entry| sum.saturating_add(entry.packed));
    if packed > length {
        return Err(ArchiveError::Damaged("its entries overlap"));
    }
    Ok(())
}

#[cfg(test)]
pub(super) mod tests {
    use std::io::{Seek, Write};

    use super::*;

    /// An entry to write, with all its lies.
    pub(in super::super) struct Lie<'a> {
        pub(in super::super) name: &'a str,
        pub(in super::super) content: &'a [u8],
        pub(in super::super) deflate: bool,
        /// Type and permissions.
        pub(in super::super) mode: u32,
        /// Announced length, if not the real one.
        pub(in super::super) bytes: Option<u32>,
    }

    pub(in super::super) fn honest<'a>(name: &'a str, content: &'a [u8]) -> Lie<'a> {
        Lie { name, content, deflate: true, mode: 0o100_644, bytes: None }
    }

    /// Writes an archive.
    pub(in super::super) fn zip(entries: &[Lie<'_>]) -> Vec<u8> {
        let (mut body, mut directory) = (Vec::new(), Vec::new());
        for entry in entries {
            let mut packed = entry.content.to_vec();
            if entry.deflate {
                let mut encoder = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(entry.content).unwrap();
                packed = encoder.finish().unwrap();
            }
            let mut crc = Crc::new();
            crc.update(entry.content);
            let method: u16 = if entry.deflate { 8 } else { 0 };
            let bytes = entry.bytes.unwrap_or(entry.content.len() as u32);
            let mut shared = Vec::new();
            for number in [20, 0x800, method, 0, 0] {
                shared.extend(number.to_le_bytes());
            }
            for number in [crc.sum(), packed.len() as u32, bytes] {
                shared.extend(number.to_le_bytes());
            }
            shared.extend((entry.name.len() as u16).to_le_bytes());
            shared.extend(0_u16.to_le_bytes());
            let offset = body.len() as u32;
            body.extend(LOCAL.to_le_bytes());
            body.extend(&shared);
            body.extend(entry.name.as_bytes());
            body.extend(packed);
            directory.extend(CENTRAL.to_le_bytes());
            directory.extend([20, MADE_BY_UNIX]);
            directory.extend(&shared);
            directory.extend([0; 6]);
            directory.extend((entry.mode << 16).to_le_bytes());
            directory.extend(offset.to_le_bytes());
            directory.extend(entry.name.as_bytes());
        }
        let offset = body.len() as u32;
        body.extend(&directory);
        end(&mut body, entries.len() as u16, directory.len() as u32, offset);
        body
    }

    fn end(body: &mut Vec<u8>, count: u16, size: u32, offset: u32) {
        body.extend(END.to_le_bytes());
        for number in [0, 0, count, count] {
            body.extend(number.to_le_bytes());
        }
        body.extend(size.to_le_bytes());
        body.extend(offset.to_le_bytes());
        body.extend(0_u16.to_le_bytes());
    }

    pub(in super::super) fn open(bytes: &[u8]) -> Result<Archive, ArchiveError> {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file.rewind().unwrap();
        Archive::open(file)
    }

    fn read_all(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>, ArchiveError> {
        let mut archive = open(bytes)?;
        let entries = archive.entries().to_vec();
        entries.iter().map(|entry| Ok((entry.name.clone(), archive.read(entry, 1 << 20)?))).collect()
    }

    #[test]
    fn archives_are_read() {
        let long = vec![7; 100_000];
        let stored = Lie { deflate: false, ..honest("b/c", b"stored") };
        let folder = Lie { deflate: false, mode: 0o040_755, ..honest("b/", b"") };
        let read = read_all(&zip(&[honest("a", &long), folder, stored])).unwrap();
        assert_eq!(read, [("a".to_owned(), long), ("b/c".to_owned(), b"stored".to_vec())]);
        assert_eq!(read_all(&zip(&[])).unwrap(), []);
    }

    #[test]
    fn archives_with_links_absolute_paths_or_lies_are_refused() {
        let case = |entry: Lie<'_>, message: &str| {
            let error = read_all(&zip(&[honest("fine", b"x"), entry])).unwrap_err().to_string();
            assert!(error.contains(message), "{error} instead of {message}");
        };
        for (name, message) in [
            ("/etc/passwd", "an absolute path"),
            ("C:/windows", "an absolute path"),
            ("../up", "leads elsewhere"),
            ("a/../../up", "leads elsewhere"),
            ("a//b", "leads elsewhere"),
            ("./a", "leads elsewhere"),
            ("", "leads elsewhere"),
            ("a\\..\\b", "backslash"),
            ("a\0b", "control character"),
            ("a\x1b[2J", "control character"),
            ("fine", "twice"),
            (&"x".repeat(NAME_BYTES_MAX + 1), "too long"),
        ] {
            case(honest(name, b"x"), message);
        }
        case(Lie { mode: 0o120_777, ..honest("link", b"/etc/passwd") }, "a link or a device");
        case(Lie { mode: 0o060_777, ..honest("sda", b"") }, "a link or a device");
        case(Lie { bytes: Some(3), ..honest("a", b"four") }, "longer than it says");
        case(Lie { bytes: Some(5), ..honest("a", b"four") }, "shorter than it says");
        case(Lie { bytes: Some(u32::MAX - 1), ..honest("a", b"four") }, "cannot become as long");
        // Bytes that DEFLATE makes no shorter.
        let mut state = 1_u64;
        let mut draw = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        };
        let dense: Vec<u8> = (0..200_000).map(|_| draw()).collect();
        let bomb = Some(LARGE_BYTES as u32 + 1);
        case(Lie { bytes: bomb, ..honest("a", &dense) }, "no model becomes so much longer");
        case(Lie { bytes: Some(5), deflate: false, ..honest("a", b"four") }, "cannot become as long");
        case(Lie { mode: 0o040_755, bytes: Some(1), ..honest("a/", b"x") }, "a folder with content");
    }

    #[test]
    fn damaged_archives_are_refused() {
        let good = zip(&[Lie { deflate: false, ..honest("name", b"content") }, honest("other", b"more")]);
        // Every prefix is refused, and no change of one byte is worse than an error.
        for length in 0..good.len() {
            assert!(read_all(&good[..length]).is_err(), "{length} bytes of it");
        }
        for at in 0..good.len() {
            for flip in [0x01, 0x80, 0xff] {
                let mut bad = good.clone();
                bad[at] ^= flip;
                let _ = read_all(&bad);
            }
        }
        let mut changed = good.clone();
        let content = good.windows(7).position(|window| window == b"content").unwrap();
        changed[content] = b'C';
        assert!(read_all(&changed).unwrap_err().to_string().contains("its checksum is wrong"));
        let mut renamed = good.clone();
        renamed[LOCAL_BYTES] = b'N';
        assert!(read_all(&renamed).unwrap_err().to_string().contains("two names"));
    }

    #[test]
    fn archives_of_too_many_files_or_with_overlapping_contents_are_refused() {
        let mut many = Vec::new();
        end(&mut many, 10_001, 0, 0);
        assert!(open(&many).unwrap_err().to_string().contains("files: 10001, at most 10000"));
        // Every entry points at the same content.
        let content = [1; 1_000];
        let names: Vec<String> = (0..20).map(|number| number.to_string()).collect();
        let one = zip(&[Lie { deflate: false, ..honest("0", &content) }]);
        let entries: Vec<_> =
            names.iter().map(|name| Lie { deflate: false, ..honest(name, &content) }).collect();
        let all = zip(&entries);
        let directory = &all[20 * (LOCAL_BYTES + 1_000) + 30..all.len() - END_BYTES as usize];
        let mut bomb = one[..LOCAL_BYTES + 1 + 1_000].to_vec();
        let (offset, size) = (bomb.len() as u32, directory.len() as u32);
        bomb.extend(directory);
        end(&mut bomb, 20, size, offset);
        assert!(open(&bomb).unwrap_err().to_string().contains("overlap"));
    }

    #[test]
    fn sizes_of_64_bits_are_read_from_the_extra_field() {
        let mut fields = [0; CENTRAL_BYTES];
        fields[20..28].fill(0xff);
        let mut extra = vec![9, 9, 2, 0, 0, 0, 1, 0, 16, 0];
        extra.extend(5_000_000_000_u64.to_le_bytes());
        extra.extend(4_000_000_000_u64.to_le_bytes());
        assert_eq!(sizes(&Fields(&fields), &extra), Some([4_000_000_000, 5_000_000_000, 0]));
        assert_eq!(sizes(&Fields(&fields), &extra[..extra.len() - 1]), None);
        assert_eq!(sizes(&Fields(&fields), &[]), None);
    }
}
