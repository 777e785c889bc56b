//! Exports: files that leave this installation, sealed with [age](https://age-encryption.org/v1) for whoever has an
//! identity that they were sealed for. Anyone's `age` program opens them; no key of this installation does.
//!
//! Keys are wiped, and so is plaintext that was read. `age` does not wipe its buffer of what is written: up to 64 KiB
//! of plaintext may stay in memory that was freed.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Chain, Cursor, ErrorKind, Read, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use age::{
    DecryptError, Decryptor, Encryptor,
    stream::{StreamReader, StreamWriter},
    x25519,
};
use aws_lc_rs::{
    agreement::{EphemeralPrivateKey, UnparsedPublicKey, X25519, agree_ephemeral},
    rand::SystemRandom,
};
use data_encoding::Specification;
use types::Secret;
use zeroize::Zeroizing;

use crate::VaultError;

/// Most recipients of one export: each adds about 100 bytes and a key agreement.
const RECIPIENTS_MAX: usize = 16;
/// Largest file of identities that is read: `age-keygen` writes less than 200 bytes.
const IDENTITIES_BYTES_MAX: u64 = 64 << 10;
/// Longest header that is read: room for 500 recipients. `age` itself would read one without end.
const HEADER_BYTES_MAX: u64 = 64 << 10;
/// How an age file begins, of whatever version.
const MAGIC: &[u8] = b"age-encryption.org/v";
/// How the last line of a header begins.
const HEADER_ENDS: &[u8] = b"---";

const RECIPIENT_BEGINS: &str = "age1";
const IDENTITY_BEGINS: &str = "AGE-SECRET-KEY-1";
/// The alphabet of Bech32, and the length of its checksum.
const BECH32: &str = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
const BECH32_CHECKSUM: usize = 6;

/// Whether a file begins as age's binary format does. The armoured one (text) is another.
pub fn is_age(first_bytes: &[u8]) -> bool {
    first_bytes.starts_with(MAGIC)
}

/// Whom an export is sealed for: each one of them can open it alone.
pub struct Recipients(Vec<x25519::Recipient>);

impl Recipients {
    /// From 1 to 16 texts `age1…`, as `age-keygen` prints them.
    ///
    /// # Errors
    /// Names the first text that is no recipient, by its number, and shows it unless it may be a secret.
    pub fn parse(texts: &[String]) -> Result<Self, VaultError> {
        if texts.is_empty() || texts.len() > RECIPIENTS_MAX {
            let count = texts.len();
            let why = format!("there are {count} of them; name 1 to {RECIPIENTS_MAX}");
            return Err(VaultError::Recipients(why));
        }
        let numbered = texts.iter().map(|text| text.trim()).zip(1..);
        numbered.map(|(text, number)| recipient(text, number)).collect::<Result<_, _>>().map(Self)
    }

    /// Writes the header. Each call makes a key of its own, so two exports of the same data are not alike.
    ///
    /// # Errors
    /// When nothing can be written to `out`.
    pub fn seal<W: Write>(&self, out: W) -> Result<ExportWriter<W>, VaultError> {
        let recipients = self.0.iter().map(|recipient| recipient as &dyn age::Recipient);
        let sealed = Encryptor::with_recipients(recipients)
            .map_err(|error| VaultError::Recipients(format!("age refuses them ({error:?})")))?;
        Ok(ExportWriter(sealed.wrap_output(out)?))
    }
}

/// Seals what is written to it. What is not [finished](Self::finish) is cut off, and does not open to its end.
#[must_use = "an export that is not finished cannot be opened"]
pub struct ExportWriter<W>(StreamWriter<W>);

impl<W: Write> ExportWriter<W> {
    /// Seals a secret.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&mut self, plain: &Secret) -> io::Result<()> {
        self.0.write_all(plain.expose())
    }

    /// Writes what is left, and gives back where all was written to. Nothing is flushed or synced.
    ///
    /// # Errors
    /// When it cannot be written, or is longer than the format can hold.
    pub fn finish(self) -> Result<W, VaultError> {
        Ok(self.0.finish()?)
    }
}

impl<W: Write> Write for ExportWriter<W> {
    fn write(&mut self, plain: &[u8]) -> io::Result<usize> {
        self.0.write(plain)
    }

    /// Flushes what is sealed: less than 64 KiB stay here until more comes or [`finish`](Self::finish).
    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Secret keys that open exports.
pub struct Identities(Vec<x25519::Identity>);

impl Identities {
    /// Reads the file that `age-keygen` writes: lines `AGE-SECRET-KEY-1…`, comments that begin with `#`, and empty lines.
    ///
    /// # Errors
    /// Refuses what is no file, a file that others than its owner can use, one of more than 64 KiB, one in which
    /// another line stands, and one without any identity. No error shows what is in the file.
    pub fn read(file: &Path) -> Result<Self, VaultError> {
        let failed = |error| VaultError::IdentityFile { path: file.to_owned(), error };
        let refused = |why: String| VaultError::Identities { path: file.to_owned(), why };
        let opened = File::open(file).map_err(failed)?;
        let metadata = opened.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.permissions().mode() & 0o077 != 0 {
            let path = file.display();
            return Err(refused(format!(
                "must be a file that only its owner can read; `chmod 600 {path}` makes it so"
            )));
        }
        // As long as it gets, and a little: a string that grows leaves copies behind.
        let mut text = Zeroizing::new(String::with_capacity(IDENTITIES_BYTES_MAX as usize + 64));
        opened.take(IDENTITIES_BYTES_MAX + 1).read_to_string(&mut text).map_err(failed)?;
        if text.len() as u64 > IDENTITIES_BYTES_MAX {
            return Err(refused(format!(
                "has more than {} KiB; it is another file",
                IDENTITIES_BYTES_MAX >> 10
            )));
        }
        let mut identities = Vec::with_capacity(text.matches(IDENTITY_BEGINS).count());
        for (line, number) in text.lines().map(str::trim).zip(1_u32..) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let identity = Some(line).filter(|line| line.starts_with(IDENTITY_BEGINS));
            identities.push(identity.and_then(|line| line.parse().ok()).ok_or_else(|| {
                refused(format!(
                    "has a line {number} that is no identity ({IDENTITY_BEGINS}…) and no comment"
                ))
            })?);
        }
        if identities.is_empty() {
            return Err(refused("holds no identity; `age-keygen` makes one".to_owned()));
        }
        Ok(Self(identities))
    }

    /// Opens an export. Each piece that is read is what was sealed, but only its end shows that nothing is missing:
    /// whoever acts on a piece before that acts on a beginning.
    ///
    /// # Errors
    /// Here, when it is no age file, is damaged in its first part, or was sealed for others. While it is read, with
    /// [`ErrorKind::InvalidData`] when it is damaged, and [`ErrorKind::UnexpectedEof`] when it is cut off.
    pub fn open<R: Read>(&self, from: R) -> Result<impl Read + use<R>, VaultError> {
        let mut from = BufReader::new(from);
        let header = header(&mut from)?;
        let opened = Decryptor::new_buffered(Cursor::new(header).chain(from))
            .and_then(|sealed| sealed.decrypt(self.0.iter().map(|identity| identity as &dyn age::Identity)));
        Ok(ExportReader(opened.map_err(refusal)?))
    }
}

/// The plaintext of an export, with errors that say what to do.
struct ExportReader<R>(StreamReader<Chain<Cursor<Vec<u8>>, BufReader<R>>>);

impl<R: Read> Read for ExportReader<R> {
    fn read(&mut self, plain: &mut [u8]) -> io::Result<usize> {
        self.0.read(plain).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => io::Error::new(error.kind(), damaged()),
            ErrorKind::UnexpectedEof => io::Error::new(error.kind(), cut_off()),
            _ => error,
        })
    }
}

/// The lines up to the one with the MAC. Their bytes are left to `age`; here they are only counted.
fn header(from: &mut impl BufRead) -> Result<Vec<u8>, VaultError> {
    let mut header = Vec::new();
    loop {
        let begins = header.len();
        let room = HEADER_BYTES_MAX - begins as u64;
        let read = from.by_ref().take(room).read_until(b'\n', &mut header)?;
        let line = header.get(begins..).unwrap_or_default();
        if begins == 0 && !is_age(line) {
            return Err(export("it is no age file; an armoured one (text) is not read here".to_owned()));
        }
        if !line.ends_with(b"\n") {
            return Err(if read as u64 == room { damaged() } else { cut_off() });
        }
        if line.starts_with(HEADER_ENDS) {
            return Ok(header);
        }
    }
}

fn recipient(text: &str, number: usize) -> Result<x25519::Recipient, VaultError> {
    let wrong = |why: &str| {
        // Whoever confuses the two halves of a key finds no secret in the log.
        let shown: String = text.chars().take(80).collect();
        let shown = if text.starts_with(RECIPIENT_BEGINS) { format!(" ({shown})") } else { String::new() };
        VaultError::Recipients(format!("number {number}{shown} {why}"))
    };
    let parsed: x25519::Recipient = text.parse().map_err(|_| {
        wrong("is none; a recipient begins with age1, has 62 characters, and `age-keygen -y` prints it")
    })?;
    if !agrees(&parsed) {
        return Err(wrong("is a weak key: everyone could open what is sealed for it; make another one"));
    }
    Ok(parsed)
}

/// Whether keys can be agreed upon with a recipient. With a point of low order the result is the same for everyone,
/// and `age` would panic instead of sealing.
fn agrees(recipient: &x25519::Recipient) -> bool {
    let text = recipient.to_string();
    let mut bech32 = Specification::new();
    bech32.symbols.push_str(BECH32);
    bech32.check_trailing_bits = false;
    let data = text.strip_prefix(RECIPIENT_BEGINS);
    let data = data.and_then(|data| data.get(..data.len().checked_sub(BECH32_CHECKSUM)?));
    let (Some(data), Ok(bech32)) = (data, bech32.encoding()) else { return false };
    let Ok(point) = bech32.decode(data.as_bytes()) else { return false };
    let Ok(ours) = EphemeralPrivateKey::generate(&X25519, &SystemRandom::new()) else { return false };
    agree_ephemeral(ours, UnparsedPublicKey::new(&X25519, point), (), |_| Ok(())).is_ok()
}

fn export(what: String) -> VaultError {
    VaultError::Export(what)
}

fn damaged() -> VaultError {
    export("it is damaged; fetch it anew".to_owned())
}

fn cut_off() -> VaultError {
    export("it is cut off; fetch it anew".to_owned())
}

fn refusal(error: DecryptError) -> VaultError {
    match error {
        DecryptError::NoMatchingKeys => {
            export("it was sealed for others; use the identity of one of its recipients".to_owned())
        }
        DecryptError::UnknownFormat => export(
            "it is of a version of age that this program does not know; update this program".to_owned(),
        ),
        DecryptError::Io(error) if error.kind() == ErrorKind::UnexpectedEof => cut_off(),
        DecryptError::Io(error) => VaultError::Io(error),
        _ => damaged(),
    }
}
