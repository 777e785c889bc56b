//! Random texts that people type.

use data_encoding::BASE64URL_NOPAD;

use crate::IdentityError;

/// Letters that nobody takes for another one, and that make no words (RFC 8628, section 6.1): 20 of them.
const LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";
/// Digits and letters that nobody takes for another one: 32 of them.
const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Random bytes in what only programs read.
const RANDOM_BYTES: usize = 32;

/// A code that a person types to let a device in: 8 letters, 20^8 of them, as `WDJB-MJHT`.
pub fn user_code() -> Result<String, IdentityError> {
    drawn(LETTERS, &[4, 4])
}

/// A code that stands in for a lost factor: 24 symbols of 5 bits, in fours. With 120 bits a keyed hash is enough to keep it.
pub fn recovery_code() -> Result<String, IdentityError> {
    drawn(SYMBOLS, &[4; 6])
}

/// 256 random bits.
pub(crate) fn random() -> Result<String, IdentityError> {
    let mut bytes = [0; RANDOM_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

/// Each symbol is as likely as any other: bytes beyond the last whole round of the alphabet are drawn again.
fn drawn(alphabet: &[u8], groups: &[usize]) -> Result<String, IdentityError> {
    let fair = 256 - 256 % alphabet.len();
    let mut text = String::new();
    for (index, &length) in groups.iter().enumerate() {
        if index > 0 {
            text.push('-');
        }
        let end = text.len() + length;
        while text.len() < end {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes)?;
            let fair = bytes.into_iter().map(usize::from).filter(|byte| *byte < fair);
            text.extend(fair.take(end - text.len()).map(|byte| char::from(alphabet[byte % alphabet.len()])));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_have_their_form_and_use_all_symbols() {
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..200 {
            let code = user_code().unwrap();
            assert!(code.len() == 9 && code.as_bytes()[4] == b'-', "{code}");
            seen.extend(code.bytes().filter(|byte| *byte != b'-'));
        }
        assert_eq!(seen.into_iter().collect::<Vec<_>>(), LETTERS);
        let code = recovery_code().unwrap();
        assert_eq!(code.split('-').map(str::len).collect::<Vec<_>>(), [4; 6]);
        assert_ne!(code, recovery_code().unwrap());
    }
}
