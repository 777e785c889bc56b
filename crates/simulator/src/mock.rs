//! A step engine without weights. Tokens are bytes; the answer is a function of the prompt and the seed.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use engine::{
    EngineError, Launch, LaunchError, LoadProgress, Loaded, ModelCard, Purpose, StepEngine, StepResult,
    Tokenizer, template::ChatTemplate,
};
use futures::{FutureExt, future::BoxFuture};
use scheduler::{Preemption, StepOutcome, StepPlan};
use types::{Input, Passage, Sampling, SequenceId, Tokens, Vector};

use crate::{bags, replay::StepTime};

/// Token ids below this are bytes.
const BYTES: u32 = 256;
/// Begins a turn.
const TURN_START: u32 = 256;
/// Ends a turn; the mock ends its answers with it.
const TURN_END: u32 = 257;
/// Stands between a query and a document.
pub(crate) const SEPARATOR: u32 = 258;
const TURN_START_TEXT: &str = "<|im_start|>";
const TURN_END_TEXT: &str = "<|im_end|>";
/// Most tokens of one step.
const STEP_TOKENS: u32 = 256;
/// Most sequences at once.
const RUNNING_MAX: u32 = 32;
/// About one answer in this many words ends at each word.
const WORDS_MEAN: u64 = 24;

const TEMPLATE: &str = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}\
    <|im_start|>assistant\n";

const WORDS: [&str; 16] = [
    "time", "and", "again", "the", "quiet", "river", "carries", "small", "boats", "of", "paper", "past",
    "our", "old", "stone", "house",
];

/// Launches a [`MockEngine`].
#[derive(Debug, Clone)]
pub struct MockLaunch {
    purpose: Purpose,
    context: Tokens,
    time: StepTime,
}

impl MockLaunch {
    /// A mock with this much KV memory, whose steps take no time.
    pub fn new(context: Tokens) -> Self {
        let time = StepTime { base: Duration::ZERO, per_token: Duration::ZERO };
        Self { purpose: Purpose::Generate, context, time }
    }

    /// The same for another purpose. Its vectors count words, so that texts with the same words are near.
    #[must_use]
    pub fn made_to(self, purpose: Purpose) -> Self {
        Self { purpose, ..self }
    }

    /// The same with steps that take this long.
    #[must_use]
    pub fn paced(self, time: StepTime) -> Self {
        Self { time, ..self }
    }
}

impl Launch for MockLaunch {
    fn launch(&self, _progress: Arc<LoadProgress>) -> BoxFuture<'_, Result<Loaded, LaunchError>> {
        async {
            let tokenizer = MockTokenizer::new().map_err(|why| LaunchError { why, retry: false })?;
            Ok(Loaded {
                card: card(self.purpose, self.context),
                tokenizer: Arc::new(tokenizer),
                engine: Box::new(MockEngine::new(self.purpose, self.context, self.time)),
                pid: None,
            })
        }
        .boxed()
    }
}

fn card(purpose: Purpose, context: Tokens) -> ModelCard {
    let mut pieces: Vec<Vec<u8>> = (0..=255_u8).map(|byte| vec![byte]).collect();
    pieces.extend([Vec::new(), Vec::new(), Vec::new()]);
    let (dimensions, step) = match purpose {
        Purpose::Generate => (0, STEP_TOKENS),
        Purpose::Embed => (bags::DIMENSIONS as u32, STEP_TOKENS.max(context.0)),
        Purpose::Rank => (1, STEP_TOKENS.max(context.0)),
    };
    ModelCard {
        purpose,
        dimensions,
        pieces,
        context_trained: context.0,
        kv: context.0,
        step,
        running_max: RUNNING_MAX,
        confinement: "none: the mock computes nothing".to_owned(),
        graph_reserved: None,
        hardware: "simulated".to_owned(),
    }
}

struct MockTokenizer {
    template: ChatTemplate,
}

impl MockTokenizer {
    fn new() -> Result<Self, String> {
        let control = vec![TURN_START_TEXT.to_owned(), TURN_END_TEXT.to_owned()];
        let template =
            ChatTemplate::new(TEMPLATE, "", TURN_END_TEXT, control).map_err(|error| error.to_string())?;
        Ok(Self { template })
    }
}

impl Tokenizer for MockTokenizer {
    fn encode<'a>(&'a self, input: &'a Input) -> BoxFuture<'a, Result<Vec<u32>, EngineError>> {
        async move {
            match input {
                Input::Tokens(tokens) => Ok(tokens.clone()),
                Input::Text(text) => Ok(tokens_of(text.expose(), true)),
                Input::Chat(messages) => {
                    let messages: Vec<_> =
                        messages.iter().map(|m| (m.speaker.as_str(), m.content.expose())).collect();
                    let fragments = self
                        .template
                        .render(&messages)
                        .map_err(|error| EngineError::BadInput(error.to_string()))?;
                    Ok(fragments.iter().flat_map(|f| tokens_of(&f.text, f.special)).collect())
                }
            }
        }
        .boxed()
    }

    fn encode_passage<'a>(&'a self, passage: &'a Passage) -> BoxFuture<'a, Result<Vec<u32>, EngineError>> {
        let tokens = match passage {
            Passage::Tokens(tokens) => tokens.clone(),
            Passage::Text(text) => tokens_of(text.expose(), false),
            Passage::Pair(query, document) => {
                let mut tokens = tokens_of(query.expose(), false);
                tokens.push(SEPARATOR);
                tokens.extend(tokens_of(document.expose(), false));
                tokens
            }
        };
        async { Ok(tokens) }.boxed()
    }
}

fn tokens_of(text: &str, special: bool) -> Vec<u32> {
    let mut tokens = Vec::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let token = [(TURN_START_TEXT, TURN_START), (TURN_END_TEXT, TURN_END)]
            .into_iter()
            .find(|(text, _)| special && rest.starts_with(text));
        let width = if let Some((text, token)) = token {
            tokens.push(token);
            text.len()
        } else {
            // A character of several bytes is as many tokens.
            let width = rest.chars().next().map_or(1, char::len_utf8);
            tokens.extend(rest.bytes().take(width).map(u32::from));
            width
        };
        rest = &rest[width..];
    }
    tokens
}

/// A step engine that holds tokens and a ledger of KV memory, and checks that plans respect both.
pub struct MockEngine {
    purpose: Purpose,
    context: Tokens,
    time: StepTime,
    sequences: BTreeMap<SequenceId, Mock>,
}

struct Mock {
    tokens: Vec<u32>,
    prompt: usize,
    filled: usize,
    /// Absent if a vector is wanted.
    answer: Option<Vec<u8>>,
}

impl MockEngine {
    /// A mock with this much KV memory.
    pub fn new(purpose: Purpose, context: Tokens, time: StepTime) -> Self {
        Self { purpose, context, time, sequences: BTreeMap::new() }
    }

    fn carry_out(&mut self, plan: &StepPlan) -> Result<StepResult, String> {
        let purpose = self.purpose;
        let mut vectors = Vec::new();
        for sequence in &plan.release {
            self.sequences.remove(sequence);
        }
        for (sequence, Preemption::Recompute) in &plan.preempt {
            self.known(*sequence)?.filled = 0;
        }
        let mut outcome = StepOutcome { took: self.time.of(plan.tokens()), ..StepOutcome::default() };
        for slice in &plan.run {
            let mock = self.known(slice.sequence)?;
            mock.filled += slice.tokens.0 as usize;
            if mock.filled > mock.tokens.len() {
                return Err(format!("sequence {} was told to run past its end", slice.sequence));
            }
            let Some(answer) = &mock.answer else {
                if slice.tokens.0 as usize != mock.tokens.len() {
                    return Err(format!("sequence {} was told to read a piece of a whole", slice.sequence));
                }
                vectors.push((slice.sequence, Vector::from(bags::vector(purpose, &mock.tokens))));
                continue;
            };
            if mock.filled == mock.tokens.len() {
                let place = mock.tokens.len() - mock.prompt;
                let token = answer.get(place).map_or(TURN_END, |&byte| u32::from(byte));
                mock.tokens.push(token);
                outcome.produced.push((slice.sequence, token));
                if token >= BYTES {
                    outcome.finished.push(slice.sequence);
                }
            }
        }
        let used: usize = self.sequences.values().map(|mock| mock.filled).sum();
        if used > self.context.0 as usize {
            return Err(format!("the plan uses {used} tokens of KV memory, there are {}", self.context));
        }
        Ok(StepResult { outcome, vectors })
    }

    fn known(&mut self, sequence: SequenceId) -> Result<&mut Mock, String> {
        self.sequences.get_mut(&sequence).ok_or_else(|| format!("sequence {sequence} is not known"))
    }
}

impl StepEngine for MockEngine {
    fn add(&mut self, sequence: SequenceId, prompt: Arc<[u32]>, sampling: Option<&Sampling>) {
        let answer = sampling.map(|sampling| {
            // At temperature 0 the seed has no say, as in a real engine.
            let values = sampling.values();
            let seed = if values.temperature == 0.0 { 0 } else { values.seed.unwrap_or(0) };
            answer(&prompt, seed)
        });
        let mock = Mock { tokens: prompt.to_vec(), prompt: prompt.len(), filled: 0, answer };
        self.sequences.insert(sequence, mock);
    }

    fn step<'a>(&'a mut self, plan: &'a StepPlan) -> BoxFuture<'a, Result<StepResult, EngineError>> {
        async move {
            let result = self.carry_out(plan).map_err(|why| EngineError::Died { why })?;
            if !result.outcome.took.is_zero() {
                tokio::time::sleep(result.outcome.took).await;
            }
            Ok(result)
        }
        .boxed()
    }

    fn death(&mut self) -> BoxFuture<'_, EngineError> {
        std::future::pending().boxed()
    }
}

/// Words drawn by a linear congruential generator that starts from a hash of the prompt.
fn answer(prompt: &[u32], seed: u32) -> Vec<u8> {
    let mut state = prompt.iter().fold(0xcbf2_9ce4_8422_2325 ^ u64::from(seed), |hash, &token| {
        (hash ^ u64::from(token)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut draw = move |n: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % n
    };
    let mut text = String::new();
    loop {
        text += WORDS[draw(WORDS.len() as u64) as usize];
        if draw(WORDS_MEAN) == 0 {
            text.push('.');
            return text.into_bytes();
        }
        text.push(' ');
    }
}
