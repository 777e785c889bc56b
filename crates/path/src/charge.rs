//! What a request costs: set aside before the work, and settled when it ends, however it ends.

use access::Reservation;
use futures::{StreamExt, stream::BoxStream};
use types::{EmbedRequest, Event, GenerateRequest, Input, Passage, RerankRequest, Tokens};

use crate::PathError;

/// Bytes of a token, about: English has 4, other languages less.
const BYTES_OF_TOKEN: usize = 3;
/// Tokens that a template puts around a message, about.
const AROUND_MESSAGE: usize = 8;
/// Tokens of an answer whose length was left open.
const ANSWER_GUESS: u32 = 1_024;

/// Settles a reservation when it is dropped: with what was used, as far as that is known.
pub(crate) struct Charge {
    reservation: Option<Reservation>,
    /// What was read, if the engine began and never said.
    input: Tokens,
    /// Pieces of the answer that have passed: about as many tokens.
    pieces: u32,
    begun: bool,
    used: Option<Tokens>,
}

impl Charge {
    pub(crate) fn new(reservation: Reservation, input: Tokens) -> Self {
        Self { reservation: Some(reservation), input, pieces: 0, begun: false, used: None }
    }

    /// From here on it costs something.
    pub(crate) fn begin(&mut self) {
        self.begun = true;
    }

    /// What it cost.
    pub(crate) fn uses(&mut self, tokens: Tokens) {
        self.used = Some(tokens);
        self.settle();
    }

    fn see(&mut self, event: &Result<Event, PathError>) {
        match event {
            Ok(Event::Delta(_)) => self.pieces = self.pieces.saturating_add(1),
            Ok(Event::Usage { input, output }) => self.uses(Tokens(input.0.saturating_add(output.0))),
            Ok(Event::Finished(_)) | Err(_) => {}
        }
    }

    fn settle(&mut self) {
        let so_far = if self.begun { self.input.0.saturating_add(self.pieces) } else { 0 };
        if let Some(reservation) = self.reservation.take() {
            reservation.settle(self.used.unwrap_or(Tokens(so_far)));
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
    charge.begin();
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
