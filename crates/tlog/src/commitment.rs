//! Commitments to what a log must not contain: whoever has the text can show that it was this one, and from the commitment alone
//! nobody can guess it.
//!
//! ```text
//! salt of a request = HMAC-SHA-256(secret of a person, "llmos request" ‖ id of the request)
//! commitment        = HMAC-SHA-256(salt, form ‖ content)
//!
//! form, a line      content
//! llmos chat v1     for each message: length of its role, role, length of its text, text
//! llmos text v1     the text
//! llmos tokens v1   for each token: its id, in 4 bytes
//! llmos answer v1   the text of the answer
//! ```
//!
//! Lengths are in 8 bytes; all numbers begin with their highest byte. A commitment hides its text as long as the salt is secret
//! (HMAC is a pseudorandom function, RFC 2104), and binds to it because a salt has exactly 32 bytes: two texts with one
//! commitment would be a collision of SHA-256. A person's secret is destroyed with the person's key; then what is left is a random number.

use std::{fmt, str::FromStr};

use aws_lc_rs::hmac::{Context, HMAC_SHA256, Key, sign};
use data_encoding::HEXLOWER;
use zeroize::Zeroizing;

use crate::FormatError;

/// Length of secrets, salts and commitments, in bytes.
pub const SALT_BYTES: usize = 32;

/// What makes the salts of a person's requests. Has no `Debug`, and is wiped on drop.
#[derive(Clone)]
pub struct PersonSecret(Zeroizing<[u8; SALT_BYTES]>);

impl PersonSecret {
    /// From random bytes.
    pub fn new(bytes: [u8; SALT_BYTES]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// As it is kept, sealed.
    pub fn to_hex(&self) -> Zeroizing<String> {
        Zeroizing::new(HEXLOWER.encode(&*self.0))
    }

    /// From what was kept.
    ///
    /// # Errors
    /// If it is not 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Result<Self, FormatError> {
        bytes_of("secret of a person", text).map(Self::new)
    }

    /// The salt of one request.
    pub fn salt(&self, request: u128) -> Salt {
        let key = Key::new(HMAC_SHA256, &*self.0);
        let about = [b"llmos request".as_slice(), &request.to_be_bytes()].concat();
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(sign(&key, &about).as_ref());
        Salt(salt)
    }
}

/// What makes the commitments of one request. Whoever has it can try guesses at the texts of that request, and of no other.
#[derive(Clone, PartialEq, Eq)]
pub struct Salt([u8; SALT_BYTES]);

impl fmt::Display for Salt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Salt {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        bytes_of("salt", text).map(Self)
    }
}

/// A commitment, which hides its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commitment([u8; SALT_BYTES]);

impl fmt::Display for Commitment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&HEXLOWER.encode(&self.0))
    }
}

impl FromStr for Commitment {
    type Err = FormatError;

    fn from_str(text: &str) -> Result<Self, FormatError> {
        bytes_of("commitment", text).map(Self)
    }
}

/// What is committed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A conversation: see [`Committing::message`].
    Chat,
    /// A text that a model goes on with.
    Text,
    /// The same as tokens.
    Tokens,
    /// What a model answered.
    Answer,
}

impl Form {
    fn line(self) -> &'static [u8] {
        match self {
            Self::Chat => b"llmos chat v1\n",
            Self::Text => b"llmos text v1\n",
            Self::Tokens => b"llmos tokens v1\n",
            Self::Answer => b"llmos answer v1\n",
        }
    }
}

/// A commitment in the making: the text may come in pieces, and is not kept.
///
/// ```
/// use tlog::commitment::{Committing, Form, PersonSecret};
///
/// let salt = PersonSecret::new([7; 32]).salt(1);
/// let whole = Committing::new(&salt, Form::Answer).piece("Paris.").finish();
/// let pieces = Committing::new(&salt, Form::Answer).piece("Par").piece("is.").finish();
/// assert_eq!(whole, pieces);
/// ```
#[derive(Clone)]
pub struct Committing(Context);

impl Committing {
    /// To nothing yet.
    pub fn new(salt: &Salt, form: Form) -> Self {
        let mut context = Context::with_key(&Key::new(HMAC_SHA256, &salt.0));
        context.update(form.line());
        Self(context)
    }

    /// One more piece of a text.
    #[must_use]
    pub fn piece(mut self, text: &str) -> Self {
        self.add(text);
        self
    }

    /// The same in place.
    pub fn add(&mut self, text: &str) {
        self.0.update(text.as_bytes());
    }

    /// One more message of a conversation.
    #[must_use]
    pub fn message(mut self, role: &str, text: &str) -> Self {
        for part in [role, text] {
            self.0.update(&(part.len() as u64).to_be_bytes());
            self.0.update(part.as_bytes());
        }
        self
    }

    /// One more token.
    #[must_use]
    pub fn token(mut self, id: u32) -> Self {
        self.0.update(&id.to_be_bytes());
        self
    }

    /// The commitment.
    pub fn finish(self) -> Commitment {
        let mut bytes = [0; SALT_BYTES];
        bytes.copy_from_slice(self.0.sign().as_ref());
        Commitment(bytes)
    }
}

fn bytes_of(what: &'static str, text: &str) -> Result<[u8; SALT_BYTES], FormatError> {
    let bytes = HEXLOWER.decode(text.as_bytes()).ok().and_then(|bytes| bytes.try_into().ok());
    bytes.ok_or_else(|| FormatError::new(what, "it is not 64 hexadecimal digits, a to f small"))
}

#[cfg(test)]
mod tests;
