//! What a request costs: set aside before the work, and settled when it ends, however it ends.

use std::sync::Arc;

use access::{AccessError, Action, Authorized, Book, ModelUse, Reservation};
use audit::{Begun, Facts, Outcome, Used};
use futures::{
    StreamExt,
    stream::{self, BoxStream},
};
use resources::FileDigest;
use types::{EmbedRequest, Event, GenerateRequest, Input, ModelName, Passage, RerankRequest, Tokens};

use crate::{PathError, record::Asker, told::Answered};

/// Bytes of a token, about: English has 4, other languages less.
const BYTES_OF_TOKEN: usize = 3;
/// Tokens that a template puts around a message, about.
const AROUND_MESSAGE: usize = 8;
/// Tokens that a model puts around what it embeds, at most.
const AROUND_PASSAGE: usize = 3;
/// Tokens of an answer whose length was left open.
const ANSWER_GUESS: u32 = 1_024;

/// Settles a reservation when it is dropped, and writes down what was used, as far as that is known: in the book, and in the
/// audit log as the end of what was begun there.
pub(crate) struct Charge {
    reservation: Option<Reservation>,
    book: Book,
    begun: Option<Begun>,
    answered: Option<Answered>,
    /// The model that works, once one does: from then on it costs something.
    model: Option<(ModelName, FileDigest)>,
    /// What is read, as long as the engine has not said.
    input: Tokens,
    /// What was written; before the engine has said, the pieces that have passed: about as many tokens.
    output: Tokens,
    /// What is set aside for what is written.
    set_aside: Tokens,
}

impl Charge {
    pub(crate) fn new(reservation: Reservation, book: Book, input: Tokens, output: Tokens) -> Self {
        Self {
            reservation: Some(reservation),
            book,
            begun: None,
            answered: None,
            model: None,
            input,
            output: Tokens(0),
            set_aside: output,
        }
    }

    /// Records that it begins, and what is set aside for it. On the disk when this returns.
    pub(crate) async fn record<A: Action<Resource = ModelUse>>(
        &mut self,
        asker: Asker<'_>,
        authorized: &Authorized<A>,
        facts: Facts,
        told: Option<&Input>,
    ) -> Result<(), PathError> {
        let (begun, answered) = asker.begin(authorized, self.used(self.set_aside), facts, told).await?;
        (self.begun, self.answered) = (Some(begun), answered);
        Ok(())
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
    pub(crate) fn begin(&mut self, model: &ModelName, digest: &FileDigest) {
        self.model = Some((model.clone(), digest.clone()));
    }

    /// It has failed. Returns the error again, once that is recorded.
    pub(crate) async fn fail(mut self, error: PathError) -> PathError {
        // Of two errors the first counts; the other one is in the log.
        let _ = self.end("failed", Some(&error)).await;
        error
    }

    /// It is over at once, having read so much.
    pub(crate) async fn close<T>(
        mut self,
        result: Result<T, PathError>,
        input: impl FnOnce(&T) -> Tokens,
    ) -> Result<T, PathError> {
        match result {
            Ok(done) => {
                self.uses(input(&done), Tokens(0));
                self.end("done", None).await?;
                Ok(done)
            }
            Err(error) => Err(self.fail(error).await),
        }
    }

    /// What it cost.
    fn uses(&mut self, input: Tokens, output: Tokens) {
        (self.input, self.output) = (input, output);
        self.settle();
    }

    fn see(&mut self, event: &Result<Event, PathError>) {
        match event {
            Ok(Event::Delta(piece)) => {
                if let Some(answered) = &mut self.answered {
                    answered.add(piece);
                }
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
        if let Some((model, _)) = &self.model {
            reservation.settle(self.input, self.output);
            let begun = self.begun.as_ref().map(Begun::index);
            self.book.note(begun, model, self.input, self.output);
        } else {
            reservation.settle(Tokens(0), Tokens(0));
            if self.begun.is_some() {
                self.book.note_unpaid();
            }
        }
    }

    fn used(&self, output: Tokens) -> Used {
        let spend = self.book.spend(self.input, output);
        Used { input_tokens: self.input.0.into(), output_tokens: output.0.into(), spend }
    }

    /// Records how it ended, and what it cost. On the disk when this returns.
    async fn end(&mut self, how: &str, error: Option<&PathError>) -> Result<(), PathError> {
        self.settle();
        let Some(begun) = self.begun.take() else { return Ok(()) };
        let (sha256, refused_by) = (self.sha256(), error.and_then(PathError::refused_by));
        let (refused_by, error) = (refused_by.as_deref(), error.map(PathError::kind));
        let outcome = Outcome { error, refused_by, ..self.outcome(how, sha256.as_deref()) };
        let ended = begun.end(outcome).await;
        ended.map_err(|error| {
            tracing::error!("what became of a request is not in the audit log: {error}");
            AccessError::from(error).into()
        })
    }

    fn sha256(&self) -> Option<Arc<str>> {
        self.model.as_ref().and_then(|(_, digest)| digest.get())
    }

    fn outcome<'a>(&'a self, how: &'a str, sha256: Option<&'a str>) -> Outcome<'a> {
        let model = self.model.as_ref().map(|(model, _)| (model, sha256));
        let used = model.map(|_| self.used(self.output));
        let facts = self.answered.as_ref().filter(|_| model.is_some()).map(Answered::facts);
        Outcome { how, model, used, facts: facts.unwrap_or_default(), ..Outcome::default() }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.settle();
        if let Some(begun) = self.begun.take() {
            let sha256 = self.sha256();
            begun.end_soon(self.outcome("cancelled", sha256.as_deref()));
        }
    }
}

/// Passes events on, settles before the last one, and holds that back until it is recorded. If it cannot be, that is the end.
pub(crate) fn charged(
    events: BoxStream<'static, Result<Event, PathError>>,
    charge: Charge,
) -> BoxStream<'static, Result<Event, PathError>> {
    stream::unfold((events, charge), |(mut events, mut charge)| async move {
        let mut event = events.next().await?;
        charge.see(&event);
        match &event {
            Ok(Event::Finished(reason)) => {
                if let Err(error) = charge.end(reason.as_str(), None).await {
                    event = Err(error);
                }
            }
            Err(error) => {
                // The error that was first counts.
                let _ = charge.end("failed", Some(error)).await;
            }
            Ok(_) => {}
        }
        Some((event, (events, charge)))
    })
    .boxed()
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
