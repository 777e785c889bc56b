//! An answer that is stored on its way out.

use std::sync::Arc;

use access::{Authorized, StoreChatCompletion};
use audit::Facts;
use futures::{StreamExt, stream, stream::BoxStream};
use store::NewChatCompletionRecord;
use types::{DataClass, DataSubject, Event, ModelName, Principal, RequestId, Secret};
use vault::SubjectKey;

use super::{Kept, KeptError, Part, place, record, the_user};
use crate::PathError;

/// What a caller wants stored, in the words of the protocol spoken.
pub struct Keep {
    /// The person that it is about; without one, the user who asks.
    pub subject: Option<DataSubject>,
    /// When the answer was made: seconds since 1970.
    pub created_at: u64,
    /// What was asked.
    pub messages: Secret,
    /// What the caller attaches to it.
    pub metadata: Secret,
    /// Writes down the answer.
    pub transcript: Box<dyn Transcript>,
}

/// Writes down an answer while it passes.
pub trait Transcript: Send {
    /// Takes note of an event.
    fn see(&mut self, event: &Event);
    /// The whole answer. None if the events broke their contract.
    fn answer(&mut self) -> Option<Secret>;
}

/// An answer that may be stored, and the key for it: all that could be refused was checked before the engine began.
pub(crate) struct Keeping {
    kept: Arc<Kept>,
    key: SubjectKey,
    keep: Keep,
    id: RequestId,
    principal: Principal,
    data_class: DataClass,
    expires_at: u64,
}

impl Kept {
    /// Whether it may be kept, and whose key seals it.
    pub(crate) async fn begin(
        self: &Arc<Self>,
        authorized: &Authorized<StoreChatCompletion>,
        id: RequestId,
        keep: Keep,
    ) -> Result<Keeping, KeptError> {
        let (principal, data_class) = (authorized.principal(), *authorized.resource());
        let (tenant, user) = self.names(principal).await?;
        let lifetime = self.lifetime(&tenant, data_class)?;
        let key = match &keep.subject {
            Some(subject) => self.keyring.subject(principal.tenant, subject).await?,
            None => self.keyring.subject(principal.tenant, &the_user(&user)?).await?,
        };
        Ok(Keeping {
            kept: self.clone(),
            key,
            id,
            principal: principal.clone(),
            data_class,
            expires_at: keep.created_at.saturating_add(lifetime.as_secs()),
            keep,
        })
    }
}

impl Keeping {
    /// What is recorded of it: the person whom it is about by the id of their key, which says nothing about them.
    pub(crate) fn facts(&self, facts: Facts) -> Facts {
        facts.with("stored", true).with("subject_key", self.key.id())
    }

    /// Seals the answer and stores it. On the disk when this returns.
    async fn finish(mut self, model: &ModelName) -> Result<(), PathError> {
        let broken = || engine::EngineError::Died { why: "its answer has no end".to_owned() };
        let answer = self.keep.transcript.answer().ok_or_else(broken)?;
        let seal = |part, value: &Secret| self.key.seal(&place(&record(self.id, part)), value);
        let row = NewChatCompletionRecord {
            id: self.id,
            tenant: self.principal.tenant,
            user: self.principal.user,
            subject_key: self.key.id().0,
            data_class: self.data_class,
            model: model.to_string(),
            created_at: self.keep.created_at,
            expires_at: self.expires_at,
            messages: seal(Part::Messages, &self.keep.messages).map_err(KeptError::from)?,
            answer: seal(Part::Answer, &answer).map_err(KeptError::from)?,
            metadata: seal(Part::Metadata, &self.keep.metadata).map_err(KeptError::from)?,
        };
        // If the person was erased meanwhile, their key is gone: what is stored here is noise, and expires.
        Ok(self.kept.store.insert_chat_completion(row).await.map_err(KeptError::from)?)
    }
}

/// Passes events on unchanged, but holds the last one back until the answer is stored. If it cannot be, that is the end.
pub(crate) fn stored(
    events: BoxStream<'static, Result<Event, PathError>>,
    keeping: Keeping,
    model: ModelName,
) -> BoxStream<'static, Result<Event, PathError>> {
    stream::unfold((events, Some(keeping), model), |(mut events, mut keeping, model)| async move {
        let mut event = events.next().await?;
        if let (Ok(seen), Some(writing)) = (&event, &mut keeping) {
            writing.keep.transcript.see(seen);
        }
        if matches!(event, Ok(Event::Finished(_)))
            && let Some(whole) = keeping.take()
            && let Err(error) = whole.finish(&model).await
        {
            event = Err(error);
        }
        Some((event, (events, keeping, model)))
    })
    .boxed()
}
