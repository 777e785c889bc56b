//! Frames of 64 KiB under one data key.

use aws_lc_rs::{
    aead::{Aad, LessSafeKey, Nonce},
    constant_time::verify_slices_are_equal,
    hkdf::{KeyType, Salt},
};
use zeroize::Zeroizing;

use crate::{
    Place, Suite, VaultError,
    header::{BOUND_BYTES, Header, SALT_BYTES},
    key::{KEY_BYTES, Key},
};

/// Bytes of plaintext in each frame but the last, which has 1 to as many; a value of no bytes has one frame of none.
pub const FRAME_BYTES: usize = 64 << 10;
/// What authenticates a frame.
pub(crate) const TAG_BYTES: usize = 16;
/// Frames under one data key: what the counter in the nonce can tell apart.
pub(crate) const FRAMES_MAX: u64 = 1 << 32;

/// Domain of the derivation. Changes with everything that changes the meaning of what follows.
const DOMAIN: &[u8] = b"llmos vault 1";

/// Seals and opens the frames of one value or file.
pub(crate) struct Frames(LessSafeKey);

/// So many bytes out of HKDF.
struct Length(usize);

impl KeyType for Length {
    fn len(&self) -> usize {
        self.0
    }
}

impl Frames {
    /// The data key of a header and a place, and the commitment that the header must show.
    pub(crate) fn derive(
        suite: Suite,
        subject: &Key,
        bound: &[u8; BOUND_BYTES],
        place: &Place<'_>,
    ) -> Result<(Self, [u8; SALT_BYTES]), VaultError> {
        // Two outputs of one expansion: neither says anything about the other.
        let length = (place.record.len() as u64).to_be_bytes();
        let info = [DOMAIN, bound.as_slice(), length.as_slice(), place.record];
        let mut output = Zeroizing::new([0; KEY_BYTES + SALT_BYTES]);
        // The salt is in `bound` too; here it does what HKDF has it for.
        let salt = &bound[BOUND_BYTES - SALT_BYTES..];
        hkdf(suite, salt, subject.bytes(), &info, output.as_mut_slice()).ok_or(VaultError::Refused)?;
        let (key, shown) = output.split_first_chunk::<KEY_BYTES>().ok_or(VaultError::Refused)?;
        let cipher = suite.cipher(key).map_err(|_| VaultError::Refused)?;
        let mut commitment = [0; SALT_BYTES];
        commitment.copy_from_slice(shown);
        Ok((Self(cipher), commitment))
    }

    /// The frames of a header that was read, if it belongs to this key and place.
    pub(crate) fn of(subject: &Key, header: &Header, place: &Place<'_>) -> Result<Self, VaultError> {
        if header.purpose != place.purpose as u16 {
            return Err(VaultError::Refused);
        }
        let (frames, commitment) = Self::derive(header.suite, subject, &header.bound(), place)?;
        verify_slices_are_equal(&commitment, &header.commitment).map_err(|_| VaultError::Refused)?;
        Ok(frames)
    }

    /// Replaces the plaintext by the ciphertext, and appends the tag.
    pub(crate) fn seal(&self, number: u64, last: bool, frame: &mut Vec<u8>) -> Result<(), VaultError> {
        let nonce = nonce(number, last)?;
        self.0.seal_in_place_append_tag(nonce, Aad::empty(), frame).map_err(|_| VaultError::TooLong)
    }

    /// Replaces ciphertext and tag by the plaintext, and cuts the tag off.
    pub(crate) fn open(&self, number: u64, last: bool, frame: &mut Vec<u8>) -> Result<(), VaultError> {
        let nonce = nonce(number, last).map_err(|_| VaultError::Refused)?;
        let plain = self.0.open_in_place(nonce, Aad::empty(), frame).map_err(|_| VaultError::Refused)?.len();
        frame.truncate(plain);
        Ok(())
    }
}

/// HKDF (RFC 5869) with the hash of the suite. None if more is asked for than it gives.
pub(crate) fn hkdf(
    suite: Suite,
    salt: &[u8],
    secret: &[u8],
    info: &[&[u8]],
    output: &mut [u8],
) -> Option<()> {
    let key = Salt::new(suite.hkdf(), salt).extract(secret);
    key.expand(info, Length(output.len())).and_then(|okm| okm.fill(output)).ok()
}

/// Seven zero bytes, the number of the frame, and whether it is the last.
fn nonce(number: u64, last: bool) -> Result<Nonce, VaultError> {
    let number = u32::try_from(number).map_err(|_| VaultError::TooLong)?;
    let mut nonce = [0; 12];
    nonce[7..11].copy_from_slice(&number.to_be_bytes());
    nonce[11] = u8::from(last);
    Ok(Nonce::assume_unique_for_key(nonce))
}
