//! Stored chat completions, given back to whom they belong to.

use access::{Authorized, ChangeChatCompletions, Credential, ReadChatCompletions};
use audit::Facts;
use store::{ChatCompletionRecord, Listed, Owner};
use types::{Principal, RequestId, Secret};
use vault::{Keyring, SubjectKey, VaultError};

use super::{Kept, KeptError, Part, place, record};
use crate::{Path, PathError};

/// Most rows that are opened to answer one request for a list.
const OPENED_MAX: usize = 10_000;
/// How often a change is made again because the row was sealed with another key meanwhile.
const UPDATES_MAX: usize = 4;
/// Rows that are read at once.
const PAGE: u32 = 100;

/// A stored chat completion, opened.
pub struct Stored {
    /// The request that it answers.
    pub id: RequestId,
    /// The model that answered.
    pub model: String,
    /// Seconds since 1970.
    pub created_at: u64,
    /// What was answered, as its [`Transcript`](super::Transcript) wrote it down.
    pub answer: Secret,
    /// What the caller attached to it.
    pub metadata: Secret,
}

/// Which of them are listed, and how.
#[derive(Debug, Clone, Default)]
pub struct StoredQuery {
    /// Only of this model.
    pub model: Option<String>,
    /// Only behind this one, in the order of the list.
    pub after: Option<RequestId>,
    /// The newest first.
    pub newest_first: bool,
    /// At most so many.
    pub most: usize,
}

/// A part of a list.
pub struct StoredPage {
    /// In the order that was asked for.
    pub items: Vec<Stored>,
    /// Whether others follow.
    pub has_more: bool,
}

impl Path {
    /// A stored chat completion of the caller's own. `now` is in seconds since 1970, here and below.
    pub async fn stored(&self, credential: Credential, id: RequestId, now: u64) -> Result<Stored, PathError> {
        let facts = Facts::none().with("id", id);
        let authorized = self.read_at::<ReadChatCompletions>(&credential, (), facts).await?;
        Ok(self.kept.one(owner(authorized.principal()), id, now).await?)
    }

    /// What was asked in it.
    pub async fn stored_messages(
        &self,
        credential: Credential,
        id: RequestId,
        now: u64,
    ) -> Result<Secret, PathError> {
        let facts = Facts::none().with("id", id).with("what", "messages");
        let authorized = self.read_at::<ReadChatCompletions>(&credential, (), facts).await?;
        Ok(self.kept.messages(owner(authorized.principal()), id, now).await?)
    }

    /// The caller's own ones whose metadata `matches`. Those that were erased are not among them.
    pub async fn stored_list(
        &self,
        credential: Credential,
        query: &StoredQuery,
        matches: &(dyn Fn(&Secret) -> bool + Sync),
        now: u64,
    ) -> Result<StoredPage, PathError> {
        let facts = Facts::none().with("what", "list");
        let authorized = self.read_at::<ReadChatCompletions>(&credential, (), facts).await?;
        Ok(self.kept.list(owner(authorized.principal()), query, matches, now).await?)
    }

    /// Puts other metadata in the place of what is attached.
    pub async fn update_stored(
        &self,
        credential: Credential,
        id: RequestId,
        metadata: &Secret,
        now: u64,
    ) -> Result<Stored, PathError> {
        let facts = Facts::none().with("deed", "update").with("id", id);
        let acting = self.decided::<ChangeChatCompletions>(&credential, ()).await?.act(facts).await?;
        let done = self.kept.update(&acting, id, metadata, now).await;
        acting.end(done).await
    }

    /// Deletes one. It is gone from the disk's files with the next rewrite of its page, and sealed until then.
    pub async fn delete_stored(
        &self,
        credential: Credential,
        id: RequestId,
        now: u64,
    ) -> Result<(), PathError> {
        let facts = Facts::none().with("deed", "delete").with("id", id);
        let acting = self.decided::<ChangeChatCompletions>(&credential, ()).await?.act(facts).await?;
        let deleted = self.kept.store.delete_chat_completion(owner(acting.principal()), id, now).await;
        let deleted = deleted
            .map_err(KeptError::from)
            .and_then(|is_gone| if is_gone { Ok(()) } else { Err(KeptError::Unknown) });
        acting.end(deleted).await
    }
}

fn owner(principal: &Principal) -> Owner {
    Owner { tenant: principal.tenant, user: principal.user, data_class_max: principal.data_class_max }
}

impl Kept {
    async fn row(&self, owner: Owner, id: RequestId, now: u64) -> Result<ChatCompletionRecord, KeptError> {
        self.store.chat_completion(owner, id, now).await?.ok_or(KeptError::Unknown)
    }

    async fn one(&self, owner: Owner, id: RequestId, now: u64) -> Result<Stored, KeptError> {
        let row = self.row(owner, id, now).await?;
        Ok(open(&self.keyring, row).await?)
    }

    async fn messages(&self, owner: Owner, id: RequestId, now: u64) -> Result<Secret, KeptError> {
        let sealed = self.store.chat_completion_messages(owner, id, now).await?.ok_or(KeptError::Unknown)?;
        let key = self.keyring.of_sealed(&sealed).await?;
        Ok(key.open(&place(&record(id, Part::Messages)), &sealed)?)
    }

    async fn list(
        &self,
        owner: Owner,
        query: &StoredQuery,
        matches: &(dyn Fn(&Secret) -> bool + Sync),
        now: u64,
    ) -> Result<StoredPage, KeptError> {
        let mut listed = Listed {
            model: query.model.clone(),
            after: match query.after {
                Some(id) => Some(self.row(owner, id, now).await?.number),
                None => None,
            },
            newest_first: query.newest_first,
            most: PAGE,
        };
        let (mut items, mut opened) = (Vec::new(), 0);
        loop {
            let rows = self.store.chat_completions(owner, &listed, now).await?;
            let is_last = rows.len() < PAGE as usize;
            listed.after = rows.last().map(|row| row.number);
            for row in rows {
                if opened == OPENED_MAX {
                    return Err(KeptError::TooMany(OPENED_MAX));
                }
                opened += 1;
                match open(&self.keyring, row).await {
                    Ok(stored) if !matches(&stored.metadata) => {}
                    Ok(_) if items.len() == query.most => return Ok(StoredPage { items, has_more: true }),
                    Ok(stored) => items.push(stored),
                    Err(VaultError::Shredded) => {}
                    Err(error) => return Err(error.into()),
                }
            }
            if is_last {
                return Ok(StoredPage { items, has_more: false });
            }
        }
    }

    async fn update(
        &self,
        authorized: &Authorized<ChangeChatCompletions>,
        id: RequestId,
        metadata: &Secret,
        now: u64,
    ) -> Result<Stored, KeptError> {
        let owner = owner(authorized.principal());
        for _ in 0..UPDATES_MAX {
            let row = self.row(owner, id, now).await?;
            let key = self.keyring.of_sealed(&row.answer).await?;
            let sealed = key.seal(&place(&record(id, Part::Metadata)), metadata)?;
            if self.store.update_chat_completion(owner, id, key.id().0, sealed, now).await? {
                return self.one(owner, id, now).await;
            }
        }
        Err(KeptError::Unknown)
    }
}

async fn open(keyring: &Keyring, row: ChatCompletionRecord) -> Result<Stored, VaultError> {
    open_with(&keyring.of_sealed(&row.answer).await?, row)
}

/// Opens a row that was sealed with this key.
pub(super) fn open_with(key: &SubjectKey, row: ChatCompletionRecord) -> Result<Stored, VaultError> {
    Ok(Stored {
        answer: key.open(&place(&record(row.id, Part::Answer)), &row.answer)?,
        metadata: key.open(&place(&record(row.id, Part::Metadata)), &row.metadata)?,
        id: row.id,
        model: row.model,
        created_at: row.created_at,
    })
}
