//! The codec of chat completions by itself, without doors and path: `llmos-bench` wires it straight to a driver, to measure what
//! everything between the two costs. No request of a caller comes this way.

use axum::response::Response;
use engine::EventStream;
use futures::StreamExt;
use http::HeaderMap;
use path::{Answer, PathError};
use types::{GenerateRequest, ModelName};

use crate::{
    error::ApiError,
    exchange::Exchange,
    json,
    openai::{
        Protocol,
        answer::{self, now},
        chat::ChatRequest,
    },
};

/// One exchange: a request that was read, whose answer is to be written whole.
pub struct Chat {
    exchange: Exchange,
    created: u64,
}

impl Chat {
    /// Reads a body of `POST /v1/chat/completions`. What is wrong with it is said as the caller would be told.
    pub fn read(body: &[u8], headers: &HeaderMap) -> Result<(Self, GenerateRequest), String> {
        let exchange = Exchange::new();
        let read = json::parse::<ChatRequest>(body);
        let asked = read.and_then(|request| request.ask(exchange.id(), headers)).map_err(said)?;
        Ok((Self { exchange, created: now() }, asked.request))
    }

    /// Writes what a model says, once it has said it.
    pub async fn write(self, model: ModelName, events: EventStream) -> Result<Response, String> {
        let events = events.map(|event| event.map_err(PathError::from)).boxed();
        let answer = Answer { request: self.exchange.id(), model, events };
        answer::whole(answer, Protocol::Chat, self.created, &self.exchange).await.map_err(said)
    }
}

fn said(error: ApiError) -> String {
    error.to_string()
}
