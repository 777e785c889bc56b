use std::path::{Path, PathBuf};

use data_encoding::BASE32_NOPAD;
use serde::{Deserialize, Serialize};
use types::ModelName;

use super::{
    Digest, Licence, StoreError,
    error::Doing,
    folder::{Folder, read_small, write_whole},
};

/// Largest manifest.
const MANIFEST_BYTES_MAX: u64 = 64 << 10;
/// The shape of a manifest. Another one is refused, not guessed at.
const FORMAT: u32 = 1;
const ENDING: &str = "json";

/// A model in the store: what its name stands for, and what is known about it without opening it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(into = "Manifest")]
pub struct StoredModel {
    /// Its name.
    pub name: ModelName,
    /// Other names for it.
    pub aliases: Vec<ModelName>,
    /// Its content.
    pub digest: Digest,
    /// Length of the file.
    pub bytes: u64,
    /// The architecture as the file names it, for example `llama`.
    pub architecture: String,
    /// `generate`, `embed` or `rank`.
    pub purpose: String,
    /// How its weights are stored, for example `Q4_K_M`.
    pub quantisation: Option<String>,
    /// Weights.
    pub parameters: u64,
    /// Tokens that it was trained to attend to.
    pub context: u64,
    /// Under which licence it may be used.
    pub licence: Option<Licence>,
    /// Where it came from.
    pub source: String,
    /// The commit of the hub or the version of the package.
    pub revision: Option<String>,
    /// When: seconds since 1970.
    pub added_at: u64,
}

/// The same as it is written down.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    name: String,
    aliases: Vec<String>,
    digest: String,
    bytes: u64,
    architecture: String,
    purpose: String,
    quantisation: Option<String>,
    parameters: u64,
    context: u64,
    licence: Option<Licence>,
    source: String,
    revision: Option<String>,
    added_at: u64,
}

impl StoredModel {
    /// Whether a caller may mean this one: by name, alias or digest.
    pub(super) fn is_called(&self, text: &str) -> bool {
        let names = std::iter::once(&self.name).chain(&self.aliases);
        names.into_iter().any(|name| name.as_str() == text) || self.digest.to_string() == text
    }

    pub(super) fn write(&self, folder: &Folder) -> Result<(), StoreError> {
        let path = path(folder, &self.name);
        let text = serde_json::to_vec_pretty(self).map_err(std::io::Error::other).doing("describe", &path)?;
        write_whole(&path, &text).doing("write", &path)
    }

    pub(super) fn read(path: &Path) -> Result<Option<Self>, StoreError> {
        let damaged = |why: String| StoreError::Damaged { path: path.display().to_string(), why };
        let Some(text) = read_small(path, MANIFEST_BYTES_MAX)? else { return Ok(None) };
        let manifest: Manifest = serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
        manifest.model().map(Some).map_err(damaged)
    }
}

/// Where the manifest of a name is. A name may contain `/` and differ from another by case alone, which not every
/// file system tells apart; base32 has neither.
pub(super) fn path(folder: &Folder, name: &ModelName) -> PathBuf {
    let encoded = BASE32_NOPAD.encode(name.as_str().as_bytes()).to_ascii_lowercase();
    folder.names().join(format!("{encoded}.{ENDING}"))
}

/// Whether a file in the folder of names is a manifest.
pub(super) fn is_manifest(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == ENDING)
}

impl From<StoredModel> for Manifest {
    fn from(model: StoredModel) -> Self {
        Self {
            format: FORMAT,
            name: model.name.to_string(),
            aliases: model.aliases.iter().map(ToString::to_string).collect(),
            digest: model.digest.to_string(),
            bytes: model.bytes,
            architecture: model.architecture,
            purpose: model.purpose,
            quantisation: model.quantisation,
            parameters: model.parameters,
            context: model.context,
            licence: model.licence,
            source: model.source,
            revision: model.revision,
            added_at: model.added_at,
        }
    }
}

impl Manifest {
    fn model(self) -> Result<StoredModel, String> {
        if self.format != FORMAT {
            return Err(format!("format {}, and this llmos knows {FORMAT}", self.format));
        }
        let name = |text: &String| text.parse::<ModelName>().map_err(|error| error.to_string());
        Ok(StoredModel {
            name: name(&self.name)?,
            aliases: self.aliases.iter().map(name).collect::<Result<_, _>>()?,
            digest: self.digest.parse().map_err(|error: super::DigestError| error.to_string())?,
            bytes: self.bytes,
            architecture: self.architecture,
            purpose: self.purpose,
            quantisation: self.quantisation,
            parameters: self.parameters,
            context: self.context,
            licence: self.licence,
            source: self.source,
            revision: self.revision,
            added_at: self.added_at,
        })
    }
}
