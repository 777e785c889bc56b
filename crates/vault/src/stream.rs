//! Sealing and opening of what need not fit into memory. Plaintext that was read is wiped.

use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use crate::{
    FRAME_BYTES, HEADER_BYTES, Place, SubjectKey, VaultError,
    frames::{FRAMES_MAX, Frames, TAG_BYTES},
    header::{Header, SALT_BYTES},
};

/// Bytes of a frame as it is stored.
const STORED_FRAME_BYTES: u64 = (FRAME_BYTES + TAG_BYTES) as u64;

/// Bytes that so many bytes have when they are sealed.
pub fn sealed_length(plain: u64) -> u64 {
    let frames = plain.div_ceil(FRAME_BYTES as u64).max(1);
    HEADER_BYTES as u64 + plain + frames * TAG_BYTES as u64
}

/// The reverse of [`sealed_length`], and the number of frames; none for a length that nothing sealed has.
fn plain_length(sealed: u64) -> Option<(u64, u64)> {
    let body = sealed.checked_sub(HEADER_BYTES as u64)?;
    let frames = body.div_ceil(STORED_FRAME_BYTES).max(1);
    let plain = body.checked_sub(frames * TAG_BYTES as u64)?;
    (sealed_length(plain) == sealed && frames <= FRAMES_MAX).then_some((plain, frames))
}

/// Seals what is written to it. What is not [finished](Self::finish) does not open.
pub struct Sealer<W> {
    frames: Frames,
    sink: W,
    number: u64,
    /// Plaintext that is not sealed yet; a full one waits until it is known whether it is the last.
    frame: Zeroizing<Vec<u8>>,
}

impl<W: Write> Sealer<W> {
    /// Writes the header.
    pub fn begin(key: &SubjectKey, place: &Place<'_>, mut sink: W) -> Result<Self, VaultError> {
        let mut header = Header {
            suite: key.suite(),
            purpose: place.purpose as u16,
            tenant: key.tenant(),
            subject_key: key.id(),
            salt: [0; SALT_BYTES],
            commitment: [0; SALT_BYTES],
        };
        rand::fill(&mut header.salt).map_err(|_| VaultError::NoRandom)?;
        let (frames, commitment) = Frames::derive(header.suite, key.key(), &header.bound(), place)?;
        header.commitment = commitment;
        sink.write_all(&header.bytes())?;
        let frame = Zeroizing::new(Vec::with_capacity(FRAME_BYTES + TAG_BYTES));
        Ok(Self { frames, sink, number: 0, frame })
    }

    /// Takes in plaintext; writes each frame that is full.
    pub fn write(&mut self, mut plain: &[u8]) -> Result<(), VaultError> {
        while !plain.is_empty() {
            if self.frame.len() == FRAME_BYTES {
                self.put(false)?;
            }
            let (now, later) = plain.split_at(plain.len().min(FRAME_BYTES - self.frame.len()));
            self.frame.extend_from_slice(now);
            plain = later;
        }
        Ok(())
    }

    /// Writes the last frame, and gives back where all was written to. Nothing is flushed or synced.
    pub fn finish(mut self) -> Result<W, VaultError> {
        self.put(true)?;
        Ok(self.sink)
    }

    fn put(&mut self, last: bool) -> Result<(), VaultError> {
        self.frames.seal(self.number, last, &mut self.frame)?;
        self.sink.write_all(&self.frame)?;
        self.frame.clear();
        self.number += 1;
        Ok(())
    }
}

/// Opens a stream, frame by frame. Each frame is what was sealed, but only the last one shows that none is missing:
/// whoever acts on a frame before that acts on a beginning.
pub struct Opener<R> {
    frames: Frames,
    source: R,
    number: u64,
    frame: Zeroizing<Vec<u8>>,
    /// A byte of the next frame: without one, the frame is the last.
    ahead: Option<u8>,
    ended: bool,
    /// What follows a frame that was refused is refused too.
    refused: bool,
}

impl<R: Read> Opener<R> {
    /// Reads the header, and refuses what was not sealed under this key for this place.
    pub fn begin(key: &SubjectKey, place: &Place<'_>, mut source: R) -> Result<Self, VaultError> {
        let frames = frames_of(key, place, &mut source)?;
        let ahead = next_byte(&mut source)?;
        let frame = Zeroizing::new(Vec::with_capacity(FRAME_BYTES + TAG_BYTES));
        Ok(Self { frames, source, number: 0, frame, ahead, ended: false, refused: false })
    }

    /// The plaintext of the next frame; none behind the last one.
    pub fn next_frame(&mut self) -> Result<Option<&[u8]>, VaultError> {
        if self.refused {
            return Err(VaultError::Refused);
        }
        if self.ended {
            return Ok(None);
        }
        self.frame.clear();
        self.frame.extend(self.ahead.take());
        let rest = (FRAME_BYTES + TAG_BYTES - self.frame.len()) as u64;
        self.source.by_ref().take(rest).read_to_end(&mut self.frame)?;
        self.ahead = next_byte(&mut self.source)?;
        self.ended = self.ahead.is_none();
        if let Err(refused) = self.frames.open(self.number, self.ended, &mut self.frame) {
            self.refused = true;
            return Err(refused);
        }
        self.number += 1;
        Ok(Some(&self.frame))
    }
}

/// Opens parts of a file. Its last frame is opened first, so that its length is known to be the one it was sealed with.
pub struct RangeOpener<R> {
    frames: Frames,
    source: R,
    plain: u64,
    count: u64,
    frame: Zeroizing<Vec<u8>>,
}

impl<R: Read + Seek> RangeOpener<R> {
    /// Reads the header and the last frame.
    pub fn begin(key: &SubjectKey, place: &Place<'_>, mut source: R) -> Result<Self, VaultError> {
        let length = source.seek(SeekFrom::End(0))?;
        source.seek(SeekFrom::Start(0))?;
        let frames = frames_of(key, place, &mut source)?;
        let (plain, count) = plain_length(length).ok_or(VaultError::Refused)?;
        let frame = Zeroizing::new(Vec::with_capacity(FRAME_BYTES + TAG_BYTES));
        let mut opener = Self { frames, source, plain, count, frame };
        opener.read_frame(count - 1)?;
        Ok(opener)
    }

    /// Bytes of plaintext.
    pub fn len(&self) -> u64 {
        self.plain
    }

    /// Whether there is no plaintext at all.
    pub fn is_empty(&self) -> bool {
        self.plain == 0
    }

    /// The bytes from `start` to before `end`, handed over piece by piece.
    pub fn read(
        &mut self,
        start: u64,
        end: u64,
        mut take: impl FnMut(&[u8]) -> Result<(), VaultError>,
    ) -> Result<(), VaultError> {
        if start > end || end > self.plain {
            return Err(VaultError::OutOfRange { start, end, length: self.plain });
        }
        let mut at = start;
        while at < end {
            let number = at / FRAME_BYTES as u64;
            let begins = number * FRAME_BYTES as u64;
            self.read_frame(number)?;
            let to = (end - begins).min(self.frame.len() as u64);
            let piece = self.frame.get((at - begins) as usize..to as usize).ok_or(VaultError::Refused)?;
            take(piece)?;
            at = begins + to;
        }
        Ok(())
    }

    fn read_frame(&mut self, number: u64) -> Result<(), VaultError> {
        self.source.seek(SeekFrom::Start(HEADER_BYTES as u64 + number * STORED_FRAME_BYTES))?;
        self.frame.clear();
        self.source.by_ref().take(STORED_FRAME_BYTES).read_to_end(&mut self.frame)?;
        self.frames.open(number, number + 1 == self.count, &mut self.frame)
    }
}

fn frames_of(key: &SubjectKey, place: &Place<'_>, source: &mut impl Read) -> Result<Frames, VaultError> {
    let mut header = [0; HEADER_BYTES];
    source.read_exact(&mut header).map_err(|error| match error.kind() {
        ErrorKind::UnexpectedEof => VaultError::Unknown("it is shorter than a header"),
        _ => error.into(),
    })?;
    let header = Header::parse(&header)?;
    if header.tenant != key.tenant() || header.subject_key != key.id() {
        return Err(VaultError::Refused);
    }
    Frames::of(key.key(), &header, place)
}

fn next_byte(source: &mut impl Read) -> Result<Option<u8>, VaultError> {
    let mut byte = [0];
    loop {
        match source.read(&mut byte) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(Some(byte[0])),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
}
