use identity::IdentityError;

use super::reason::{REASON_CHARS_MAX, REASON_CHARS_MIN};
use crate::AccessError;

/// Why somebody is not signed in.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// As with any other credential.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The provider, or a factor, does not say who it is.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// There is no such provider.
    #[error("there is no such provider here")]
    UnknownProvider,
    /// The answer to a question that nobody has asked, or not lately, or of another browser.
    #[error("this sign-in was not begun here, or too long ago; begin again")]
    Unknown,
    /// There is no such session, or not of this user.
    #[error("you have no such session; it may be over already")]
    UnknownSession,
    /// Nothing says what the account may do here.
    #[error(
        "your account is not let in here: an administrator can map one of its groups with `[[role_mapping]]`"
    )]
    NotMapped,
    /// A program does not sit at a browser.
    #[error("a service account does not sign in; it shows its access token or an API key with each request")]
    ServiceAccount,
    /// Not the code.
    #[error("this is not the code, or it was used already; try the next one")]
    WrongCode,
    /// Too many wrong ones.
    #[error("too many wrong codes; try again in {0} s")]
    LockedOut(u64),
    /// What nobody can check says why.
    #[error("say why, in {REASON_CHARS_MIN} to {REASON_CHARS_MAX} characters; it is written to the log")]
    NoReason,
    /// It needs somebody who is there themselves.
    #[error("this needs a proof of the second factor that is at most 15 minutes old; give one at `/auth`")]
    StepUp,
    /// The second factor is asked for at the provider.
    #[error("your provider is to ask for the second factor, and did not; sign in there again")]
    SecondFactorElsewhere,
    /// There is none of that.
    #[error("you have no such factor")]
    UnknownFactor,
    /// Enough.
    #[error("you have as many of these as there may be; remove one first")]
    TooManyFactors,
    /// No passkeys can be made for this site.
    #[error("passkeys need a name: set `public_url` to an address with one, as in https://llm.example.org")]
    NoPasskeys,
}

/// What a device is told that waits (RFC 8628, section 3.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceError {
    /// Nobody has decided yet.
    Pending,
    /// It asks too often: five seconds more between two tries.
    SlowDown,
    /// Somebody said no.
    Denied,
    /// Unknown, over, or used.
    Invalid,
}
