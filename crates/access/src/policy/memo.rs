//! Decisions of this second. Nobody has to think about which policy looks at the time: the second is a part of the question, and
//! whatever changes what decisions rest on ends all of them.

use std::{
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    sync::{Mutex, PoisonError},
};

use super::{Decision, Question};

/// Parts, each with a lock of its own.
const SHARDS: usize = 16;
/// Most decisions of a part; a full one is emptied.
const SHARD_MAX: usize = 1_024;

/// What was decided lately.
pub(super) struct Memo {
    shards: [Mutex<HashMap<u64, Entry>>; SHARDS],
    hasher: RandomState,
}

struct Entry {
    question: Question,
    generation: u64,
    decision: Decision,
}

impl Default for Memo {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl Memo {
    pub(super) fn get(&self, question: &Question, generation: u64) -> Option<Decision> {
        let key = self.hasher.hash_one(question);
        let shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        let entry = shard.get(&key)?;
        // The whole question, not its hash alone: another one may have the same.
        (entry.generation == generation && entry.question == *question).then(|| entry.decision.clone())
    }

    pub(super) fn put(&self, question: &Question, generation: u64, decision: &Decision) {
        let key = self.hasher.hash_one(question);
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= SHARD_MAX {
            shard.clear();
        }
        shard.insert(key, Entry { question: question.clone(), generation, decision: decision.clone() });
    }

    fn shard(&self, key: u64) -> &Mutex<HashMap<u64, Entry>> {
        &self.shards[key as usize % SHARDS]
    }
}
