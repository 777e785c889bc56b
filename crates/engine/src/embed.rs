//! Vectors of passages: each passage is a sequence of which nothing is generated.

use std::{sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use scheduler::Arrival;
use tokio::{sync::oneshot, time::Instant as Clock};
use types::{Passage, SequenceId, Tokens, Vector};

use crate::{
    EmbedWork, Embedded, EngineError, Purpose,
    delivery::Delivery,
    prepare::{Front, unknown_token},
    stepped::{Stepped, gone},
};

/// Most passages of one request that are in the scheduler's queue at once. Twice what a step may hold, so that the
/// next step never waits for us; a fraction of the queue, so that several requests fit into it.
const QUEUED_MAX: usize = 64;
/// How long a request, once begun, comes again to a queue that others keep full.
const QUEUE_WAIT: Duration = Duration::from_secs(20);
/// How often it does.
const QUEUE_POLL: Duration = Duration::from_millis(20);

impl Stepped {
    /// All passages are tokenised and checked before the first is computed, so that one bad passage costs no work.
    pub(crate) async fn vectors(&self, work: EmbedWork) -> Result<Embedded, EngineError> {
        let front = self.front().await?;
        let prompts = prepare(&front, &work.passages).await?;
        let input = prompts.iter().map(|prompt| Tokens::of(prompt)).sum();
        tracing::debug!(request_id = %work.request, passages = prompts.len(), %input, "prepared");
        let deadline = Clock::now() + QUEUE_WAIT;
        let vectors = prompts.into_iter().zip(work.first.0..).map(|(prompt, id)| {
            let arrival = Arrival {
                sequence: SequenceId(id),
                tenant: work.principal.tenant,
                class: work.class,
                prompt,
                tokens_max: Tokens(0),
            };
            // Where the first found room the others wait for theirs: most of the work may be done already.
            self.vector(arrival, (id != work.first.0).then_some(deadline))
        });
        let vectors: Vec<Vector> = stream::iter(vectors).buffered(QUEUED_MAX).try_collect().await?;
        Ok(Embedded { vectors, input })
    }

    /// Computes one vector. With a deadline it comes again to a queue that is full.
    async fn vector(&self, arrival: Arrival, deadline: Option<Clock>) -> Result<Vector, EngineError> {
        loop {
            let (vector, waiting) = oneshot::channel();
            let delivery = Delivery::of_vector(arrival.prompt.clone(), vector);
            match self.arrive(arrival.clone(), delivery).await {
                Ok(()) => return waiting.await.map_err(|_| gone())?,
                Err(EngineError::Refused { .. })
                    if deadline.is_some_and(|deadline| Clock::now() < deadline) =>
                {
                    tokio::time::sleep(QUEUE_POLL).await;
                }
                Err(error) => return Err(error),
            }
        }
    }
}

async fn prepare(front: &Front, passages: &[Passage]) -> Result<Vec<Arc<[u32]>>, EngineError> {
    let (card, most) = (&front.card, front.card.sequence_max());
    let mut prompts = Vec::with_capacity(passages.len());
    for (index, passage) in passages.iter().enumerate() {
        let asked = match passage {
            Passage::Pair(..) => Purpose::Rank,
            Passage::Text(_) | Passage::Tokens(_) => Purpose::Embed,
        };
        if asked != card.purpose {
            return Err(EngineError::WrongPurpose { asked, is: card.purpose });
        }
        let prompt = front.tokenizer.encode_passage(passage).await?;
        if let Some(&bad) = prompt.iter().find(|&&token| token as usize >= card.pieces.len()) {
            return Err(EngineError::BadPassage { index, why: unknown_token(card, bad) });
        }
        if prompt.is_empty() {
            let why = "it is empty; send at least one token".to_owned();
            return Err(EngineError::BadPassage { index, why });
        }
        let tokens = Tokens::of(&prompt);
        if tokens > most {
            return Err(EngineError::TooLong { index, tokens, most });
        }
        prompts.push(prompt.into());
    }
    Ok(prompts)
}
