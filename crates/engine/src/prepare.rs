//! What a request becomes before it stands in the queue: tokens, as many as there is room for, and the seed of its sampling.

use std::sync::Arc;

use types::{GenerateRequest, Input, Sampling, Tokens};

use crate::{EngineError, ModelCard, Tokenizer};

/// What is needed to prepare a prompt, while the loop steps.
pub(crate) struct Front {
    pub(crate) card: ModelCard,
    pub(crate) tokenizer: Arc<dyn Tokenizer>,
}

/// A bias on a token that does not exist would silently do nothing.
pub(crate) fn check_bias(card: &ModelCard, sampling: &Sampling) -> Result<(), EngineError> {
    let mut ids = sampling.values().logit_bias.iter().map(|&(token, _)| token);
    let bad = ids.find(|&token| token as usize >= card.pieces.len());
    bad.map_or(Ok(()), |bad| Err(EngineError::BadInput(unknown_token(card, bad))))
}

pub(crate) fn unknown_token(card: &ModelCard, token: u32) -> String {
    let last = card.pieces.len().saturating_sub(1);
    format!("the model has no token {token}; ids go up to {last}")
}

pub(crate) async fn encode(front: &Front, request: &GenerateRequest) -> Result<Vec<u32>, EngineError> {
    if let Input::Tokens(tokens) = &request.input {
        if let Some(bad) = tokens.iter().find(|&&token| token as usize >= front.card.pieces.len()) {
            return Err(EngineError::BadInput(unknown_token(&front.card, *bad)));
        }
        return Ok(tokens.clone());
    }
    // No token is longer than the longest: a text that cannot fit is refused before anyone tokenises it.
    let longest = front.card.pieces.iter().map(Vec::len).max().unwrap_or(1).max(1);
    let at_least = Tokens((input_bytes(&request.input) / longest) as u32);
    if at_least > front.card.sequence_max() {
        return Err(EngineError::ContextExceeded {
            prompt: at_least,
            asked: request.tokens_max.unwrap_or(Tokens(1)),
            context: front.card.sequence_max(),
        });
    }
    front.tokenizer.encode(&request.input).await
}

fn input_bytes(input: &Input) -> usize {
    match input {
        Input::Chat(messages) => messages.iter().map(|message| message.content.bytes()).sum(),
        Input::Text(text) => text.bytes(),
        Input::Tokens(_) => 0,
    }
}

/// How many tokens the answer may have: as many as asked for, or what the context leaves.
pub(crate) fn fit(card: &ModelCard, prompt: &[u32], asked: Option<Tokens>) -> Result<Tokens, EngineError> {
    if prompt.is_empty() {
        return Err(EngineError::BadInput("the prompt is empty; send at least one token".to_owned()));
    }
    let (prompt, context) = (Tokens::of(prompt), card.sequence_max());
    let room = context.saturating_sub(prompt);
    let wanted = asked.unwrap_or(Tokens(room.0.max(1)));
    if wanted > room {
        return Err(EngineError::ContextExceeded { prompt, asked: wanted, context });
    }
    Ok(wanted)
}

/// Without a seed of the caller's the request id, which is random, is the seed: so a run can be repeated.
pub(crate) fn seeded(request: &GenerateRequest) -> Sampling {
    let mut values = request.sampling.values().clone();
    values.seed.get_or_insert(request.id.0 as u32);
    Sampling::try_from(values).unwrap_or_else(|_| request.sampling.clone())
}
