//! store (skeleton)
/// Control-plane state.
#[derive(Clone)]
pub struct Store;
/// Why state could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("store")]
pub struct StoreError;
impl Store {
    /// Opens or makes the database in `file` (0600).
    pub async fn open(_file: &std::path::Path) -> Result<Self, StoreError> {
        Ok(Self)
    }
}
