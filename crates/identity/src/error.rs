use outbound::OutboundError;

/// Why somebody is not who they want to be, or why nobody can say.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// What was shown proves nothing. The reason is for the log; it repeats nothing of what was shown.
    #[error("this proves nothing: {0}")]
    Rejected(&'static str),
    /// The provider said no, or the person did.
    #[error("the provider `{provider}` did not sign you in ({code}); try again")]
    Declined {
        /// The provider's configured name.
        provider: String,
        /// An error code of OAuth's, as the provider names it; made of its letters only.
        code: String,
    },
    /// The provider does not answer.
    #[error("the provider `{provider}` cannot be reached ({error}); try again later")]
    Unreachable {
        /// The provider's configured name.
        provider: String,
        /// Why.
        error: OutboundError,
    },
    /// The provider answers with what it must not.
    #[error("the provider `{provider}` cannot be used: {why}; an administrator can correct `[[provider]]`")]
    BadProvider {
        /// The provider's configured name.
        provider: String,
        /// What is wrong.
        why: String,
    },
    /// The system gives no random numbers.
    #[error("the operating system gives no random numbers")]
    Random,
}

impl From<getrandom::Error> for IdentityError {
    fn from(_: getrandom::Error) -> Self {
        Self::Random
    }
}
