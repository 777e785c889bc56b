use crate::{Prompt, Tokens};

/// What flows back. A stream is any number of `Delta`s, then one `Usage`, then one `Finished`; or it ends
/// with an error.
pub enum Event {
    /// The next piece of the answer: valid UTF-8, never empty.
    Delta(Prompt),
    /// What the request cost.
    Usage {
        /// Tokens of the prompt, template included.
        input: Tokens,
        /// Tokens generated, the one that ended the answer included.
        output: Tokens,
    },
    /// Nothing follows.
    Finished(FinishReason),
}

/// Why an answer is complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FinishReason {
    /// The model ended it, or a stop string was reached.
    Stop,
    /// `tokens_max` or the context was reached.
    Length,
}

impl FinishReason {
    /// The name used by OpenAI's protocol and in metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}
