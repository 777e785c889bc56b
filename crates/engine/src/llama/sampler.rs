//! How the next token is drawn.

// Neutral values and the greatest of a set are compared exactly: nothing was computed in between.
#![allow(clippy::float_cmp)]

use llama_cpp_2::{
    context::LlamaContext,
    sampling::LlamaSampler,
    token::{LlamaToken, logit_bias::LlamaLogitBias},
};

use super::wire::WireSampling;

/// Tokens that penalties look back on.
const PENALTY_WINDOW: i32 = 1024;

/// Draws the tokens of one sequence.
pub(super) enum Sampler {
    /// The likeliest token, found without sorting or copying the vocabulary.
    Greedy,
    /// llama.cpp's samplers, one after the other.
    Chain(Box<LlamaSampler>),
}

impl Sampler {
    pub(super) fn new(sampling: &WireSampling, vocabulary: i32, prompt: &[u32]) -> Self {
        let greedy = sampling.temperature == 0.0;
        let mut chain = Vec::new();
        if !sampling.logit_bias.is_empty() {
            let known = sampling.logit_bias.iter().filter(|(token, _)| (*token as i32) < vocabulary);
            let bias: Vec<_> = known
                .map(|&(token, bias)| LlamaLogitBias::new(LlamaToken::new(token as i32), bias))
                .collect();
            chain.push(LlamaSampler::logit_bias(vocabulary, &bias));
        }
        // As the field does it: repetition counts the prompt, presence and frequency only the answer.
        if sampling.repetition_penalty != 1.0 {
            let recent = prompt.iter().rev().take(PENALTY_WINDOW as usize).rev();
            let penalty =
                LlamaSampler::penalties(vocabulary, PENALTY_WINDOW, sampling.repetition_penalty, 0.0, 0.0);
            chain.push(penalty.with_tokens(recent.map(|&token| LlamaToken::new(token as i32))));
        }
        if sampling.frequency_penalty != 0.0 || sampling.presence_penalty != 0.0 {
            let (frequency, presence) = (sampling.frequency_penalty, sampling.presence_penalty);
            chain.push(LlamaSampler::penalties(vocabulary, PENALTY_WINDOW, 1.0, frequency, presence));
        }
        if greedy && chain.is_empty() {
            return Self::Greedy;
        }
        if greedy {
            chain.push(LlamaSampler::greedy());
            return Self::Chain(Box::new(LlamaSampler::chain(chain, true)));
        }
        if sampling.top_k > 0 {
            chain.push(LlamaSampler::top_k(i32::try_from(sampling.top_k).unwrap_or(i32::MAX)));
        }
        if sampling.top_p < 1.0 {
            chain.push(LlamaSampler::top_p(sampling.top_p, 1));
        }
        if sampling.min_p > 0.0 {
            chain.push(LlamaSampler::min_p(sampling.min_p, 1));
        }
        chain.push(LlamaSampler::temp(sampling.temperature));
        chain.push(LlamaSampler::dist(sampling.seed));
        Self::Chain(Box::new(LlamaSampler::chain(chain, true)))
    }

    /// Draws from the logits of the batch's token `place`.
    pub(super) fn draw(&mut self, context: &LlamaContext<'_>, place: i32) -> LlamaToken {
        match self {
            Self::Greedy => LlamaToken::new(likeliest(context.get_logits_ith(place))),
            Self::Chain(chain) => chain.sample(context, place),
        }
    }
}

/// Index of the greatest logit, the first of equals.
fn likeliest(logits: &[f32]) -> i32 {
    // Two passes that compile to vector instructions beat one that carries an index along.
    let greatest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    logits.iter().position(|&logit| logit == greatest).unwrap_or(0) as i32
}
