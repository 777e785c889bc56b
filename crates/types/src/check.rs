/// A value outside what is allowed. Names the parameter, so that every protocol can point at it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{parameter}` is {value}; allowed: {allowed}")]
pub struct OutOfRange {
    /// The parameter as the caller wrote it, for example `temperature`.
    pub parameter: &'static str,
    /// What was given: a number or a count, never a person's text.
    pub value: String,
    /// What would have been accepted.
    pub allowed: String,
}

impl OutOfRange {
    /// Says what was given for `parameter` and what is allowed.
    pub fn new(parameter: &'static str, value: impl ToString, allowed: impl ToString) -> Self {
        Self { parameter, value: value.to_string(), allowed: allowed.to_string() }
    }
}
