use std::sync::Arc;

use futures::future::BoxFuture;
use modelfile::Purpose;
use scheduler::{StepOutcome, StepPlan};
use serde::{Deserialize, Serialize};
use types::{Input, Passage, Sampling, SequenceId, Tokens, Vector};

use crate::{EngineError, LoadProgress};

/// An engine that we step ourselves: the llama worker, and the simulator's mock.
///
/// It holds the tokens of each sequence and draws the next one; which sequence runs when is told by the plan.
pub trait StepEngine: Send {
    /// Makes a sequence known. It costs nothing until a plan runs it; a plan releases it. Without `sampling`
    /// nothing is drawn: a vector of the whole prompt is wanted.
    fn add(&mut self, sequence: SequenceId, prompt: Arc<[u32]>, sampling: Option<&Sampling>);

    /// Carries out one plan. After an error the engine is gone.
    fn step<'a>(&'a mut self, plan: &'a StepPlan) -> BoxFuture<'a, Result<StepResult, EngineError>>;

    /// Resolves when the engine dies although it has nothing to do. May be dropped and asked again.
    fn death(&mut self) -> BoxFuture<'_, EngineError>;
}

/// What a step did, and the vectors that it computed.
#[derive(Default)]
pub struct StepResult {
    /// `produced` holds one token for each slice that reached the end of its sequence; a sequence whose token ends
    /// the answer is in `finished` too.
    pub outcome: StepOutcome,
    /// One for each sequence without sampling whose slice was its whole prompt; it is complete with that.
    pub vectors: Vec<(SequenceId, Vector)>,
}

impl StepResult {
    /// Whether these are the results of a step that brings to their end `texts`, each by a token that the model has, and
    /// `vectors`, each by a vector of its length; and no others.
    ///
    /// # Errors
    /// What is wrong with it. Such an engine is not to be trusted any further.
    pub fn answers(
        &self,
        texts: &[SequenceId],
        vectors: &[SequenceId],
        card: &ModelCard,
    ) -> Result<(), String> {
        let (produced, computed) = (&self.outcome.produced, &self.vectors);
        let drawn = produced.iter().map(|&(sequence, _)| sequence);
        if sorted(drawn) != sorted(texts.iter().copied()) {
            return Err(format!(
                "the step had to draw {} tokens and drew {}, or others",
                texts.len(),
                produced.len()
            ));
        }
        if sorted(computed.iter().map(|&(sequence, _)| sequence)) != sorted(vectors.iter().copied()) {
            let (had, has) = (vectors.len(), computed.len());
            return Err(format!("the step had to compute {had} vectors and computed {has}, or others"));
        }
        if let Some((_, token)) = produced.iter().find(|(_, token)| *token as usize >= card.pieces.len()) {
            return Err(format!("the step drew the token {token}, which the model does not have"));
        }
        if computed.iter().any(|(_, vector)| vector.expose().len() != card.dimensions as usize) {
            return Err("the step computed a vector of another length than the model's".to_owned());
        }
        if self.outcome.finished.iter().any(|sequence| !texts.contains(sequence)) {
            return Err("the step ended a sequence that it gave no token".to_owned());
        }
        Ok(())
    }
}

fn sorted(sequences: impl Iterator<Item = SequenceId>) -> Vec<SequenceId> {
    let mut sorted: Vec<_> = sequences.collect();
    sorted.sort_unstable();
    sorted
}

/// Renders and tokenises prompts, while the engine steps.
pub trait Tokenizer: Send + Sync {
    /// The token ids that the model is given for this input. A conversation goes through the model's chat
    /// template; text of a person in it never becomes a special token.
    fn encode<'a>(&'a self, input: &'a Input) -> BoxFuture<'a, Result<Vec<u32>, EngineError>>;

    /// The token ids of which the model computes a vector: with the special tokens that it was trained on, and
    /// none that come from the text.
    fn encode_passage<'a>(&'a self, passage: &'a Passage) -> BoxFuture<'a, Result<Vec<u32>, EngineError>>;
}

/// What a driver can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// What its model is loaded for.
    pub purpose: Purpose,
    /// Numbers in each of its vectors: none if it generates, one if it ranks.
    pub dimensions: u32,
}

/// What an engine tells about its model once it is loaded.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct ModelCard {
    /// What it was loaded for.
    pub purpose: Purpose,
    /// Numbers in each of its vectors: none if it generates, one if it ranks.
    pub dimensions: u32,
    /// Bytes of each token, by id; empty for control tokens.
    pub pieces: Vec<Vec<u8>>,
    /// Longest sequence that the model was trained on, in tokens.
    pub context_trained: u32,
    /// KV memory in tokens.
    pub kv: u32,
    /// Most tokens of one step.
    pub step: u32,
    /// Most sequences on the device at once.
    pub running_max: u32,
    /// What confines the worker, for the log.
    pub confinement: String,
    /// Bytes that the engine reserved in main memory for what it computes, if it said so.
    pub graph_reserved: Option<u64>,
    /// Instruction sets that the engine uses, for the log and for benchmarks.
    pub hardware: String,
}

impl ModelCard {
    /// Longest sequence this replica can run.
    pub fn sequence_max(&self) -> Tokens {
        Tokens(self.kv.min(self.context_trained))
    }

    /// What a driver of this model can do.
    pub fn capabilities(&self) -> Capabilities {
        Capabilities { purpose: self.purpose, dimensions: self.dimensions }
    }

    /// Bytes of one token; empty for an unknown id.
    pub fn piece(&self, token: u32) -> &[u8] {
        self.pieces.get(token as usize).map_or(&[], Vec::as_slice)
    }
}

/// A model that is loaded and can be stepped.
pub struct Loaded {
    /// Facts about the model.
    pub card: ModelCard,
    /// Its tokenizer.
    pub tokenizer: Arc<dyn Tokenizer>,
    /// The engine.
    pub engine: Box<dyn StepEngine>,
    /// Process id of the worker, if it is a process.
    pub pid: Option<u32>,
}

/// Starts an engine; called again after each death.
pub trait Launch: Send + Sync {
    /// Loads the model, and says on the way how far it has come.
    fn launch(&self, progress: Arc<LoadProgress>) -> BoxFuture<'_, Result<Loaded, LaunchError>>;
}

/// Why a model could not be loaded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct LaunchError {
    /// What happened and what to do.
    pub why: String,
    /// Whether trying again, with nothing changed, may help.
    pub retry: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_results_of_a_step_are_those_that_were_planned() {
        let result = |tokens: &[u64], finished: &[u64], vectors: &[u64]| StepResult {
            outcome: StepOutcome {
                produced: tokens.iter().map(|&id| (SequenceId(id), 7)).collect(),
                finished: finished.iter().map(|&id| SequenceId(id)).collect(),
                ..StepOutcome::default()
            },
            vectors: vectors.iter().map(|&id| (SequenceId(id), Vector::from(vec![1.0]))).collect(),
        };
        let card = ModelCard { pieces: vec![vec![]; 8], dimensions: 1, ..ModelCard::default() };
        let (texts, vectors) = ([SequenceId(2), SequenceId(1)], [SequenceId(3)]);
        for (result, sound) in [
            (result(&[1, 2], &[], &[3]), true),
            (result(&[2, 1], &[2], &[3]), true),
            (result(&[1], &[], &[3]), false),
            (result(&[1, 2], &[], &[]), false),
            (result(&[1, 2, 4], &[], &[3]), false),
            (result(&[1, 4], &[], &[3]), false),
            (result(&[1, 1, 2], &[], &[3]), false),
            (result(&[1, 2, 3], &[], &[]), false),
            (result(&[1], &[], &[2, 3]), false),
            (result(&[1, 2], &[3], &[3]), false),
        ] {
            assert_eq!(result.answers(&texts, &vectors, &card).is_ok(), sound, "{:?}", result.outcome);
        }
        let other =
            |card: ModelCard| result(&[1, 2], &[], &[3]).answers(&texts, &vectors, &card).unwrap_err();
        assert!(other(ModelCard { pieces: vec![vec![]; 7], ..card.clone() }).contains("the token 7"));
        assert!(other(ModelCard { dimensions: 2, ..card.clone() }).contains("another length"));
    }
}
