use std::{fmt, str::FromStr};

use data_encoding::HEXLOWER;
use sha2::{Digest as _, Sha256};

/// What every digest begins with.
pub(super) const PREFIX: &str = "sha256:";
/// Hexadecimal digits of a SHA-256.
const DIGITS: usize = 64;

/// The content of a model file: `sha256:` and exactly 64 lower-case hexadecimal digits. A name of a file in the
/// store is made of nothing else, so no text from outside can become a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// Why a text is no digest.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DigestError {
    /// It names no kind of hash, or another one.
    #[error("a digest begins with `sha256:`; this begins otherwise")]
    Prefix,
    /// The same digest in upper case would be another name for the same file.
    #[error("a digest is written in lower case; this has the letter `{0}`")]
    UpperCase(char),
    /// What might be a path, or is no digit.
    #[error("a digest has only the digits 0 to 9 and a to f after `sha256:`; this has {0:?}")]
    Character(char),
    /// Too short or too long.
    #[error("a digest has {DIGITS} digits after `sha256:`; this has {0}")]
    Length(usize),
}

impl Digest {
    /// Reads the 64 digits alone, as `sha256sum` prints them.
    pub fn from_hex(digits: &str) -> Result<Self, DigestError> {
        if let Some(found) = digits.chars().find(|c| !matches!(c, '0'..='9' | 'a'..='f')) {
            let upper = found.is_ascii_uppercase() && found.is_ascii_hexdigit();
            return Err(if upper { DigestError::UpperCase(found) } else { DigestError::Character(found) });
        }
        let wrong = || DigestError::Length(digits.len());
        let bytes = HEXLOWER.decode(digits.as_bytes()).map_err(|_| wrong())?;
        Ok(Self(bytes.try_into().map_err(|_| wrong())?))
    }

    /// The 64 digits alone.
    pub fn hex(&self) -> String {
        HEXLOWER.encode(&self.0)
    }

    pub(super) fn of(hash: Sha256) -> Self {
        Self(hash.finalize().into())
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::from_hex(text.strip_prefix(PREFIX).ok_or(DigestError::Prefix)?)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", self.hex())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_with_path_characters_upper_case_or_a_wrong_length_are_refused() {
        let good = format!("sha256:{}", "0a".repeat(32));
        assert_eq!(good.parse::<Digest>().unwrap().to_string(), good);
        for (text, message) in [
            (String::new(), "begins with `sha256:`"),
            ("0a".repeat(32), "begins with `sha256:`"),
            (format!("SHA256:{}", "0a".repeat(32)), "begins with `sha256:`"),
            (format!("md5:{}", "0a".repeat(16)), "begins with `sha256:`"),
            (format!("sha256:{}", "0A".repeat(32)), "in lower case; this has the letter `A`"),
            (format!("sha256:../../{}", "a".repeat(58)), "this has '.'"),
            (format!("sha256:/{}", "a".repeat(63)), "this has '/'"),
            (format!("sha256:{}\\", "a".repeat(63)), "this has '\\\\'"),
            (format!("sha256:{}\0", "a".repeat(63)), "this has '\\0'"),
            (format!("sha256:{}\n", "a".repeat(64)), "this has '\\n'"),
            (format!("sha256:{}", "\u{ff10}".repeat(64)), "this has '\u{ff10}'"),
            (format!("sha256:{}", "a".repeat(63)), "64 digits after `sha256:`; this has 63"),
            (format!("sha256:{}", "a".repeat(66)), "64 digits after `sha256:`; this has 66"),
            ("sha256:".to_owned(), "this has 0"),
        ] {
            let error = text.parse::<Digest>().unwrap_err().to_string();
            assert!(error.contains(message), "{text:?}: {error}");
        }
    }
}
