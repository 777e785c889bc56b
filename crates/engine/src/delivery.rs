//! Where the results of a sequence go.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use types::{Event, FinishReason, Sampling, Tokens, Vector};

use crate::{
    EngineError,
    text::{Shown, TextStream},
};

/// A sequence as the loop knows it: what an engine has to be told of it, and who waits for its results.
pub(crate) struct Delivery {
    pub(crate) prompt: Arc<[u32]>,
    to: Addressee,
}

enum Addressee {
    Text(Answer),
    /// Taken when it is sent.
    Vector(Option<oneshot::Sender<Result<Vector, EngineError>>>),
}

/// A text that is being generated.
pub(crate) struct Answer {
    pub(crate) events: mpsc::Sender<Result<Event, EngineError>>,
    pub(crate) text: TextStream,
    pub(crate) sampling: Sampling,
    pub(crate) generated: Tokens,
    pub(crate) tokens_max: Tokens,
}

impl Delivery {
    pub(crate) fn of_text(prompt: Arc<[u32]>, answer: Answer) -> Self {
        Self { prompt, to: Addressee::Text(answer) }
    }

    pub(crate) fn of_vector(
        prompt: Arc<[u32]>,
        waiting: oneshot::Sender<Result<Vector, EngineError>>,
    ) -> Self {
        Self { prompt, to: Addressee::Vector(Some(waiting)) }
    }

    /// How its tokens are drawn, if any are.
    pub(crate) fn sampling(&self) -> Option<&Sampling> {
        match &self.to {
            Addressee::Text(answer) => Some(&answer.sampling),
            Addressee::Vector(_) => None,
        }
    }

    /// Whether nobody waits any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        match &self.to {
            Addressee::Text(answer) => answer.events.is_closed(),
            Addressee::Vector(waiting) => waiting.as_ref().is_none_or(oneshot::Sender::is_closed),
        }
    }

    /// Ends it with an error.
    pub(crate) fn fail(&mut self, error: EngineError) {
        match &mut self.to {
            Addressee::Text(answer) => drop(answer.events.try_send(Err(error))),
            Addressee::Vector(waiting) => drop(waiting.take().map(|waiting| waiting.send(Err(error)))),
        }
    }

    /// Ends it with its vector.
    pub(crate) fn vector(&mut self, vector: Vector) {
        if let Addressee::Vector(waiting) = &mut self.to {
            drop(waiting.take().map(|waiting| waiting.send(Ok(vector))));
        }
    }

    /// Takes in the next token; `None` is the token with which the model ends. True when nothing follows.
    pub(crate) fn token(&mut self, piece: Option<&[u8]>) -> bool {
        match &mut self.to {
            Addressee::Text(answer) => answer.token(piece, Tokens::of(&self.prompt)),
            // An engine that draws where nothing is to be drawn.
            Addressee::Vector(_) => false,
        }
    }
}

impl Answer {
    fn token(&mut self, piece: Option<&[u8]>, prompt: Tokens) -> bool {
        self.generated += Tokens(1);
        let how = match piece.map(|bytes| self.text.push(bytes)) {
            None => Some(FinishReason::Stop),
            Some(Shown::Stopped(text)) => {
                self.show(text);
                // What a stop string cut off is not shown.
                self.text = TextStream::new(&[]);
                Some(FinishReason::Stop)
            }
            Some(Shown::Text(text)) => {
                self.show(text);
                (self.generated >= self.tokens_max).then_some(FinishReason::Length)
            }
        };
        let Some(how) = how else { return false };
        let rest = std::mem::replace(&mut self.text, TextStream::new(&[])).finish();
        self.show(rest);
        let usage = Event::Usage { input: prompt, output: self.generated };
        let _ = self.events.try_send(Ok(usage));
        let _ = self.events.try_send(Ok(Event::Finished(how)));
        true
    }

    fn show(&self, text: String) {
        if !text.is_empty() {
            let _ = self.events.try_send(Ok(Event::Delta(text.into())));
        }
    }
}
