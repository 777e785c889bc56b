use crate::{Declared, ModelName, Prompt, RequestId, Sampling, StopStrings, Tokens};

/// What is asked of a model, in no protocol's shape.
pub struct GenerateRequest {
    /// Given at the door; every log line, error and answer carries it.
    pub id: RequestId,
    /// Name or alias of the model.
    pub model: ModelName,
    /// What the model reads.
    pub input: Input,
    /// Most tokens of the answer. Without it the context is the limit.
    pub tokens_max: Option<Tokens>,
    /// How the next token is drawn.
    pub sampling: Sampling,
    /// Where the answer ends early.
    pub stop: StopStrings,
    /// What the caller says of it.
    pub declared: Declared,
}

/// What the model reads.
pub enum Input {
    /// A conversation, rendered by the model's own chat template. Text in it is never read as special tokens.
    Chat(Vec<Message>),
    /// Raw text, special tokens included: the caller writes the template.
    Text(Prompt),
    /// Token ids of this very model.
    Tokens(Vec<u32>),
}

/// One turn of a conversation.
pub struct Message {
    /// Who speaks.
    pub speaker: Speaker,
    /// What they say.
    pub content: Prompt,
}

/// Who speaks in a conversation (the `role` of chat protocols; [`crate::Role`] is what a user may do).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaker {
    /// The operator of the application.
    System,
    /// The person.
    User,
    /// The model.
    Assistant,
}

impl Speaker {
    /// The name that chat templates use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::System => "system",
            Self::User => "user",
            Self::Assistant => "assistant",
        }
    }
}
