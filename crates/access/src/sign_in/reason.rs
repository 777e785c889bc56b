//! Why somebody does what nobody can check for them. It is recorded, sealed.

use super::SignInError;

/// Least characters of a reason.
pub(super) const REASON_CHARS_MIN: usize = 8;
/// Most characters of a reason.
pub(super) const REASON_CHARS_MAX: usize = 200;

/// A reason in somebody's own words, on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(String);

impl Reason {
    /// Its words.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<&str> for Reason {
    type Error = SignInError;

    fn try_from(text: &str) -> Result<Self, SignInError> {
        let text = text.trim();
        let is_long_enough = (REASON_CHARS_MIN..=REASON_CHARS_MAX).contains(&text.chars().count());
        if is_long_enough && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SignInError::NoReason)
        }
    }
}
