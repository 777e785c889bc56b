//! What a request costs: set aside before the work, and settled when it ends, however it ends.

use access::{AccessError, Book, Reservation};
use futures::{StreamExt, stream::BoxStream};
use types::{EmbedRequest, Event, GenerateRequest, Input, ModelName, Passage, RerankRequest, Tokens};

use crate::PathError;

/// Bytes of a token, about: English has 4, other languages less.
const BYTES_OF_TOKEN: usize = 3;
/// Tokens that a template puts around a message, about.
const AROUND_MESSAGE: usize = 8;
/// Tokens that a model puts around what it embeds, at most.
const AROUND_PASSAGE: usize = 3;
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
    /// What is set aside for what is written.
    set_aside: Tokens,
}

impl Charge {
    pub(crate) fn new(reservation: Reservation, book: Book, input: Tokens, output: Tokens) -> Self {
        let reservation = Some(reservation);
        Self { reservation, book, model: None, input, output: Tokens(0), set_aside: output }
    }

    /// What is read, counted.
    ///
    /// # Errors
    /// [`AccessError::OverQuota`] if it is more than was set aside, and the quotas do not allow the rest.
    pub(crate) fn reads(&mut self, input: Tokens) -> Result<(), AccessError> {
        self.input = input;
        let Some(reservation) = &mut self.reservation else { return Ok(()) };
        reservation.change(input, self.set_aside)
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
            Ok(Event::Delta(_)) => {
                self.output = Tokens(self.output.0.saturating_add(1));
                self.keep_ahead();
            }
            Ok(Event::Usage { input, output }) => self.uses(*input, *output),
            Ok(Event::Finished(_)) | Err(_) => {}
        }
    }

    /// An answer whose length was left open may be longer than what was set aside. What it goes on to cost is owed at once, so that
    /// others do not spend it too.
    fn keep_ahead(&mut self) {
        if let Some(reservation) = self.reservation.as_mut().filter(|_| self.output > self.set_aside) {
            self.set_aside += Tokens(ANSWER_GUESS);
            reservation.owe(self.input, self.set_aside);
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
        count(self.passages.iter().map(|passage| of(passage) + AROUND_PASSAGE).sum())
    }
}

impl Cost for RerankRequest {
    fn input(&self) -> Tokens {
        let of = |bytes: usize| (bytes + self.query.bytes()) / BYTES_OF_TOKEN + AROUND_PASSAGE;
        count(self.documents.iter().map(|document| of(document.bytes())).sum())
    }
}

fn count(tokens: usize) -> Tokens {
    Tokens(u32::try_from(tokens).unwrap_or(u32::MAX))
}
