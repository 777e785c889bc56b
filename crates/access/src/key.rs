//! The text of a key: `llmos_<id>_<secret>`. The id is public and names the key; the secret proves it. A login session has a secret of
//! the same make under another name, so that none is ever taken for the other.

use data_encoding::BASE32_DNSSEC;
use types::Secret;
use zeroize::Zeroizing;

/// What a secret is of, and what its text starts with, so that scanners for leaked secrets can find one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    ApiKey,
    Session,
    /// A one-time token to set up an account.
    Setup,
    /// What a device waits with.
    Device,
}

impl Form {
    const fn prefix(self) -> &'static [u8] {
        match self {
            Self::ApiKey => b"llmos_",
            Self::Session => b"llmos-session_",
            Self::Setup => b"llmos-setup_",
            Self::Device => b"llmos-device_",
        }
    }

    /// Length of the whole text, in characters. Nothing else is even looked at.
    const fn chars(self) -> usize {
        self.prefix().len() + ID_CHARS + 1 + SECRET_CHARS
    }
}

/// Between id and secret.
const SEPARATOR: u8 = b'_';
/// Length of an id: 60 random bits.
pub(crate) const ID_CHARS: usize = 12;
/// Random bytes that an id is cut from: more than 12 characters of 5 bits.
const ID_SOURCE_BYTES: usize = 8;
/// Length of a secret, in bytes.
pub(crate) const SECRET_BYTES: usize = 32;
/// Length of a secret, in characters of 5 bits.
const SECRET_CHARS: usize = (SECRET_BYTES * 8).div_ceil(5);

/// Public part of a key: 12 characters out of 0-9 and a-v.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct KeyId([u8; ID_CHARS]);

impl KeyId {
    /// Reads an id; none if it is not of the form.
    pub(crate) fn parse(text: &[u8]) -> Option<Self> {
        let id = <[u8; ID_CHARS]>::try_from(text).ok()?;
        id.iter().all(|&byte| is_digit(byte)).then_some(Self(id))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Display for KeyId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|&byte| write!(f, "{}", char::from(byte)))
    }
}

/// A key as its owner holds it. Wiped on drop; has no `Debug`.
pub(crate) struct Key {
    id: KeyId,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl Key {
    /// A new one, from the system's random numbers.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut source = [0; ID_SOURCE_BYTES];
        getrandom::fill(&mut source)?;
        let mut id = [0; ID_CHARS];
        for (character, digit) in id.iter_mut().zip(BASE32_DNSSEC.encode(&source).bytes()) {
            *character = digit;
        }
        Self::random_of(KeyId(id))
    }

    /// A new secret for an id that there is.
    pub(crate) fn random_of(id: KeyId) -> Result<Self, getrandom::Error> {
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        getrandom::fill(&mut *secret)?;
        Ok(Self { id, secret })
    }

    /// Reads a key; none if it is not exactly of the form that [`Self::text`] writes.
    pub(crate) fn parse(form: Form, text: &Secret) -> Option<Self> {
        let text = text.expose();
        if text.len() != form.chars() {
            return None;
        }
        let (id, rest) = text.strip_prefix(form.prefix())?.split_at(ID_CHARS);
        let (&separator, digits) = rest.split_first()?;
        // The decoder would also take upper case, and each key would have many texts.
        if separator != SEPARATOR || !digits.iter().all(|&byte| is_digit(byte)) {
            return None;
        }
        let mut secret = Zeroizing::new([0; SECRET_BYTES]);
        BASE32_DNSSEC.decode_mut(digits, &mut *secret).ok()?;
        Some(Self { id: KeyId::parse(id)?, secret })
    }

    /// Its text, for its owner, once.
    pub(crate) fn text(&self, form: Form) -> Secret {
        let mut text = Vec::with_capacity(form.chars());
        text.extend_from_slice(form.prefix());
        text.extend_from_slice(self.id.as_bytes());
        text.push(SEPARATOR);
        let digits_from = text.len();
        text.resize(form.chars(), 0);
        BASE32_DNSSEC.encode_mut(&*self.secret, &mut text[digits_from..]);
        Secret::from(text)
    }

    pub(crate) fn id(&self) -> KeyId {
        self.id
    }

    pub(crate) fn secret(&self) -> &[u8; SECRET_BYTES] {
        &self.secret
    }
}

/// The digits of base 32 as the encoding writes them.
fn is_digit(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'v')
}

#[cfg(test)]
mod tests {
    use std::str;

    use super::*;

    fn parse(text: &str) -> Option<Key> {
        Key::parse(Form::ApiKey, &Secret::from(text.to_owned()))
    }

    const KEY_CHARS: usize = Form::ApiKey.chars();

    #[test]
    fn no_form_is_taken_for_another() {
        let forms = [Form::ApiKey, Form::Session, Form::Setup, Form::Device];
        let key = Key::random().unwrap();
        for form in forms {
            for read in forms {
                assert_eq!(Key::parse(read, &key.text(form)).is_some(), read == form, "{form:?} as {read:?}");
            }
        }
    }

    #[test]
    fn a_key_reads_back_as_it_was_written() {
        let (one, two) = (Key::random().unwrap(), Key::random().unwrap());
        let text = one.text(Form::ApiKey);
        let text = str::from_utf8(text.expose()).unwrap();
        assert_eq!(text.len(), KEY_CHARS);
        assert!(text.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit()));
        let read = parse(text).unwrap();
        assert!(read.id() == one.id() && read.secret() == one.secret());
        assert!(text.starts_with(&format!("llmos_{}_", one.id())));
        assert!(one.id() != two.id() && one.secret() != two.secret());
    }

    #[test]
    fn any_other_form_is_refused() {
        let id = "0123456789av";
        let secret = "0".repeat(SECRET_CHARS);
        let good = format!("llmos_{id}_{secret}");
        assert!(parse(&good).is_some());
        let bad = [
            String::new(),
            "llmos_".to_owned(),
            "llmos__".to_owned(),
            format!("llmos_{id}"),
            format!("llmos_{id}_"),
            format!("{good}0"),
            good[..KEY_CHARS - 1].to_owned(),
            format!(" {good}"),
            format!("{good}\n"),
            good.to_uppercase(),
            good.replace("llmos_", "llmoz_"),
            good.replace("llmos_", "LLMOS_"),
            good.replace("llmos_", "llmos-"),
            format!("llmos_{id}0{secret}"),
            format!("llmos_{}_{secret}", "0123456789aw"),
            format!("llmos_{}_{secret}", "0123456789AV"),
            format!("llmos_{}_{secret}", "0123456789a_"),
            format!("llmos_{}_{secret}", "01234567é9a"),
            format!("llmos_{id}_{}w", "0".repeat(SECRET_CHARS - 1)),
            format!("llmos_{id}_{}A", "0".repeat(SECRET_CHARS - 1)),
            format!("llmos_{id}_{}=", "0".repeat(SECRET_CHARS - 1)),
            // The last character holds one bit of the secret; the four others must be zero.
            format!("llmos_{id}_{}1", "0".repeat(SECRET_CHARS - 1)),
            "\0".repeat(KEY_CHARS),
            "x".repeat(1 << 20),
        ];
        for text in bad {
            assert!(parse(&text).is_none(), "{:.90}", text.escape_debug().to_string());
        }
    }
}
