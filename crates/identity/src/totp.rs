//! Codes that an authenticator app shows for 30 seconds (RFC 6238).

use data_encoding::BASE32_NOPAD;
use qrcode::{EcLevel, QrCode, render::svg};
use totp_rs::Builder;
use types::Secret;
use zeroize::Zeroizing;

use crate::IdentityError;

/// Random bytes of a seed: as many as SHA-1's output, as RFC 4226 recommends (section 4, R6).
const SEED_BYTES: usize = 20;
/// Digits of a code.
const DIGITS: u8 = 6;
/// Seconds that a code is shown for.
const STEP_S: u64 = 30;
/// Steps before and after the present one that are accepted too.
const SKEW: u16 = 1;
/// Least side of the picture, in its own units.
const PICTURE_SIDE: u32 = 240;

/// The seed of somebody's codes.
pub struct Totp(Zeroizing<Vec<u8>>);

/// What somebody's authenticator app takes in.
pub struct Enrolment {
    /// The seed as an address that apps read.
    pub uri: Secret,
    /// The seed as people type it.
    pub text: Secret,
    /// The address as a picture (SVG).
    pub picture: Secret,
}

impl Totp {
    /// A new one.
    pub fn random() -> Result<Self, IdentityError> {
        let mut seed = Zeroizing::new(vec![0; SEED_BYTES]);
        getrandom::fill(&mut seed)?;
        Ok(Self(seed))
    }

    /// One that was kept; none if it is not of the form.
    pub fn of(seed: Zeroizing<Vec<u8>>) -> Option<Self> {
        (seed.len() == SEED_BYTES).then_some(Self(seed))
    }

    /// What is to be kept, sealed.
    pub fn seed(&self) -> &[u8] {
        &self.0
    }

    /// The step whose code this is, counted since 1970, if it is that of the present step, the one before or the one after. Each
    /// step may be accepted once only (RFC 6238, section 5.2): who calls this keeps the last one.
    pub fn step_of(&self, code: &str, now_s: u64) -> Option<u64> {
        let digits: Zeroizing<String> =
            Zeroizing::new(code.chars().filter(|character| !character.is_whitespace()).collect());
        if digits.len() != usize::from(DIGITS) || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let codes = Builder::new()
            .with_digits(DIGITS)
            .with_skew(SKEW)
            .with_step_duration(STEP_S)
            .with_secret(self.0.to_vec());
        codes.build().ok()?.check(&digits, now_s)
    }

    /// What the app of `account` takes in.
    pub fn enrolment(&self, account: &str) -> Result<Enrolment, IdentityError> {
        let text = Zeroizing::new(BASE32_NOPAD.encode(&self.0));
        let label: String = url::form_urlencoded::byte_serialize(account.as_bytes()).collect();
        let label = label.replace('+', "%20");
        let uri = Zeroizing::new(format!(
            "otpauth://totp/llmos:{label}?secret={}&issuer=llmos&digits={DIGITS}&period={STEP_S}",
            *text
        ));
        let picture = QrCode::with_error_correction_level(uri.as_bytes(), EcLevel::M)
            .map_err(|_| IdentityError::Rejected("the account's name is too long for a picture"))?;
        let picture: String = picture
            .render()
            .min_dimensions(PICTURE_SIDE, PICTURE_SIDE)
            .dark_color(svg::Color("#000"))
            .light_color(svg::Color("#fff"))
            .build();
        Ok(Enrolment {
            uri: Secret::from(uri.to_string()),
            text: Secret::from(text.to_string()),
            picture: Secret::from(picture),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6238, appendix B: the last six digits of those for SHA-1.
    #[test]
    fn codes_are_those_of_the_standard_one_step_around() {
        let totp = Totp::of(Zeroizing::new(b"12345678901234567890".to_vec())).unwrap();
        for (time, code) in
            [(59, "287082"), (1_111_111_109, "081804"), (1_234_567_890, "005924"), (20_000_000_000, "353130")]
        {
            let step = time / STEP_S;
            assert_eq!(totp.step_of(code, time), Some(step), "{time}");
            assert_eq!(totp.step_of(&format!("{} {}", &code[..3], &code[3..]), time), Some(step));
            assert_eq!(totp.step_of(code, time + STEP_S), Some(step));
            assert_eq!(totp.step_of(code, time.saturating_sub(STEP_S)), Some(step));
            assert_eq!(totp.step_of(code, time + 2 * STEP_S), None);
        }
        for wrong in ["", "28708", "2870820", "28708x", "+87082", "２８７０８２"] {
            assert_eq!(totp.step_of(wrong, 59), None, "{wrong}");
        }
    }

    #[test]
    fn an_app_can_take_it_in() {
        let totp = Totp::of(Zeroizing::new(b"12345678901234567890".to_vec())).unwrap();
        let enrolment = totp.enrolment("ward 3/ann").unwrap();
        let uri = str::from_utf8(enrolment.uri.expose()).unwrap();
        assert!(
            uri.starts_with("otpauth://totp/llmos:ward%203%2Fann?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&")
        );
        assert!(str::from_utf8(enrolment.picture.expose()).unwrap().contains("<svg"));
    }
}
