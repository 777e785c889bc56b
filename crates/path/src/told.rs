//! What a model was told and what it answered, as commitments: the audit log holds neither, and whoever has the texts can show that they
//! were these.

use audit::{
    Facts,
    commitment::{Commitment, Committing, Form, Salt},
};
use types::{Input, Prompt};

/// What the commitments are called in records.
pub(crate) const PROMPT: &str = "prompt_hmac";
const ANSWER: &str = "answer_hmac";

/// The commitment to what a model is told, before any template is put around it.
pub(crate) fn commitment(salt: &Salt, told: &Input) -> Commitment {
    let begin = |form| Committing::new(salt, form);
    let committing = match told {
        Input::Chat(messages) => messages.iter().fold(begin(Form::Chat), |so_far, message| {
            so_far.message(message.speaker.as_str(), message.content.expose())
        }),
        Input::Text(text) => begin(Form::Text).piece(text.expose()),
        Input::Tokens(tokens) => tokens.iter().fold(begin(Form::Tokens), |so_far, id| so_far.token(*id)),
    };
    committing.finish()
}

/// The commitment to an answer, made while it passes.
pub(crate) struct Answered(Committing);

impl Answered {
    pub(crate) fn new(salt: &Salt) -> Self {
        Self(Committing::new(salt, Form::Answer))
    }

    pub(crate) fn add(&mut self, piece: &Prompt) {
        self.0.add(piece.expose());
    }

    /// To what has passed by now.
    pub(crate) fn facts(&self) -> Facts {
        Facts::none().with(ANSWER, self.0.clone().finish())
    }
}
