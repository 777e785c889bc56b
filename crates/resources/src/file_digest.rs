use std::sync::{Arc, Mutex, PoisonError};

/// The SHA-256 of a model's file as it was when it was last loaded, in hexadecimal digits; none before that, and of what has no
/// file. Clones look at the same.
#[derive(Debug, Clone, Default)]
pub struct FileDigest(Arc<Mutex<Option<Arc<str>>>>);

impl FileDigest {
    /// What it is now.
    pub fn get(&self) -> Option<Arc<str>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    #[cfg_attr(not(feature = "llama"), allow(dead_code))]
    pub(crate) fn set(&self, sha256: String) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(sha256.into());
    }
}
