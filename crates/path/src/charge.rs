//! What a request costs: set aside before the work, and settled when it ends, however it ends.

use access::{Book, Reservation};
use futures::{StreamExt, stream::BoxStream};
use types::{EmbedRequest, Event, GenerateRequest, Input, ModelName, Passage, RerankRequest, Tokens};

use crate::PathError;

/// Bytes of a token, about: English has 4, other languages less.
const BYTES_OF_TOKEN: usize = 3;
/// Tokens that a template puts around a message, about.
const AROUND_MESSAGE: usize = 8;
/// Tokens of an answer whose length was left open.
const ANSWER_GUESS: u32 = 1_024;

/// Settles a reservation when it is dropped, and writes down what was used, as far as that is known.
pub(crate) struct Charge {
    reservation: Option<Reservation>,
    book: Book,
    /// The model that works, once one does: from then on it costs something.
    model: Option<ModelName>,
    /// What is read, as long as the engine has not said.
    input: Tokens,
    /// What was written; before the engine has said, the pieces that have passed: about as many tokens.
    output: Tokens,
}

impl Charge {
    pub(crate) fn new(reservation: Reservation, book: Book, input: Tokens) -> Self {
        Self { reservation: Some(reservation), book, model: None, input, output: Tokens(0) }
    }

    /// From here on it costs something.
    pub(crate) fn begin(&mut self, model: &ModelName) {
        self.model = Some(model.clone());
    }

    /// What it cost.
    pub(crate) fn uses(&mut self, input: Tokens, output: Tokens) {
        (self.input, self.output) = (input, output);
        self.settle();
    }

    fn see(&mut self, event: &Result<Event, PathError>) {
        match event {
            Ok(Event::Delta(_)) => self.output = Tokens(self.output.0.saturating_add(1)),
            Ok(Event::Usage { input, output }) => self.uses(*input, *output),
            Ok(Event::Finished(_)) | Err(_) => {}
        }
    }

    fn settle(&mut self) {
        let Some(reservation) = self.reservation.take() else { return };
        match &self.model {
            Some(model) => {
                reservation.settle(self.input, self.output);
                self.book.note(model, self.input, self.output);
            }
            None => reservation.settle(Tokens(0), Tokens(0)),
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.settle();
    }
}

/// Passes events on unchanged, and settles before the last one.
pub(crate) fn charged(
    events: BoxStream<'static, Result<Event, PathError>>,
    mut charge: Charge,
) -> BoxStream<'static, Result<Event, PathError>> {
    events.inspect(move |event| charge.see(event)).boxed()
}

/// About how many tokens a request reads, and at most writes.
pub(crate) trait Cost {
    /// Tokens that are read.
    fn input(&self) -> Tokens;
    /// Tokens that are written.
    fn output(&self) -> Tokens {
        Tokens(0)
    }
}

impl Cost for GenerateRequest {
    fn input(&self) -> Tokens {
        match &self.input {
            Input::Chat(messages) => {
                let of = |message: &types::Message| message.content.bytes() / BYTES_OF_TOKEN + AROUND_MESSAGE;
                count(messages.iter().map(of).sum())
            }
            Input::Text(text) => count(text.bytes() / BYTES_OF_TOKEN),
            Input::Tokens(tokens) => count(tokens.len()),
        }
    }

    fn output(&self) -> Tokens {
        self.tokens_max.unwrap_or(Tokens(ANSWER_GUESS))
    }
}

impl Cost for EmbedRequest {
    fn input(&self) -> Tokens {
        let of = |passage: &Passage| match passage {
            Passage::Text(text) => text.bytes() / BYTES_OF_TOKEN,
            Passage::Pair(one, other) => (one.bytes() + other.bytes()) / BYTES_OF_TOKEN,
            Passage::Tokens(tokens) => tokens.len(),
        };
        count(self.passages.iter().map(of).sum())
    }
}

impl Cost for RerankRequest {
    fn input(&self) -> Tokens {
        let documents = self.documents.iter().map(|document| document.bytes() + self.query.bytes());
        count(documents.sum::<usize>() / BYTES_OF_TOKEN)
    }
}

fn count(tokens: usize) -> Tokens {
    Tokens(u32::try_from(tokens).unwrap_or(u32::MAX))
}
