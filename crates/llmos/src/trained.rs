//! What a model was made for, as the header of its file says it, beside what is configured.

use std::time::Duration;

use engine::Purpose;
use modelfile::Gguf;
use resources::{ModelSpec, Source};
use tokio::time::timeout;
use types::Tokens;

/// How long the headers of all models may take to be read; a disk that hangs takes for ever.
const HEADERS_WAIT_MAX: Duration = Duration::from_secs(10);

/// What the header of a model says.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Trained {
    /// Whether it continues texts.
    pub(crate) generates: bool,
    /// Its longest sequence; the simulator has none.
    context: Option<Tokens>,
}

impl Trained {
    fn of(source: &Source) -> Option<Self> {
        match source {
            Source::Simulator { purpose, .. } => {
                Some(Self { generates: *purpose == Purpose::Generate, context: None })
            }
            Source::File { path, .. } => {
                let shape = Gguf::open(path).ok()?.shape().ok()?;
                let generates = shape.purpose == Purpose::Generate;
                Some(Self { generates, context: Some(Tokens(shape.context_trained)) })
            }
            Source::Store { .. } => None,
        }
    }

    /// What to tell whoever configured more than the model can use.
    pub(crate) fn warning(self, name: impl std::fmt::Display, context: Tokens) -> Option<String> {
        too_long(name, context, self.context?)
    }
}

/// Of each of the models, in their order; nothing of one whose file cannot be used, which others say better.
pub(crate) async fn of_all(specs: &[ModelSpec]) -> Vec<Option<Trained>> {
    let sources: Vec<Source> = specs.iter().map(|spec| spec.source.clone()).collect();
    let count = sources.len();
    let read = tokio::task::spawn_blocking(move || sources.iter().map(Trained::of).collect());
    timeout(HEADERS_WAIT_MAX, read).await.ok().and_then(Result::ok).unwrap_or_else(|| vec![None; count])
}

/// One line, if the context is longer than the model was trained for.
pub(crate) fn too_long(name: impl std::fmt::Display, context: Tokens, trained: Tokens) -> Option<String> {
    (context > trained).then(|| {
        format!(
            "`context` is {context} tokens, but {name} was trained on {trained}: no text may be longer, and what is \
             above only serves several at once"
        )
    })
}
