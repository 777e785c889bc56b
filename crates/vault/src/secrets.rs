//! Secrets that are sealed under the root key alone: those that an operator brings, and those that the installation makes for itself.
//!
//! ```text
//! root ──wraps──▶ a key for each secret ──seals──▶ DATA_DIR/secrets/NAME      brought: a TLS key, a password
//!                                         └──────▶ DATA_DIR/key.pepper, …     made here
//! ```
//!
//! - **They need the root and nothing else**: no store, no tenant. So a secret can be what opens the store.
//! - A lock beside the folder is held by whoever seals, removes or changes the root. Nobody seals under a root that is about to go.
//! - **A new root** moves them as it moves the tenant keys: each is sealed anew, beside the old file and then in its place; after the
//!   last, the new root takes the old one's place. Broken off anywhere, each file is whole, under one of two roots that are both there.
//! - A file from before, plain, is sealed at the first start: the sealed one is on the disk before it takes the plain one's name.
//!
//! What is in memory is wiped when it is dropped. To remove a secret is to remove its file: a copy of it opens as long as the root does.

use std::{
    fmt,
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    str::FromStr,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::Duration,
};

use types::Secret;

use crate::{
    Root, RootSource, Suite, VaultError,
    roots::Roots,
    sealed_secret::{self, SECRET_BYTES_MAX},
};

/// Secrets that an operator may bring.
pub const SECRETS_MAX: usize = 256;
/// Longest name of one, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// How often, and after which pauses, the lock is tried: whoever has it needs milliseconds, and a second for a new root.
const LOCK_TRIES: u32 = 100;
const LOCK_WAIT: Duration = Duration::from_millis(50);
/// The owner may do everything in the folder, all others nothing.
const FOLDER_MODE: u32 = 0o700;
/// The owner may read and write, all others nothing.
const FILE_MODE: u32 = 0o600;
/// What stands before a name in what a secret is bound to, so that it can be taken for no file of our own.
const BROUGHT: &str = "secrets/";

/// The name of a secret: 1 to 64 of a-z, 0-9, `-` and `_`. It is the name of its file, too.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretName(String);

impl FromStr for SecretName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let is_fine = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte);
        if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_fine) {
            return Ok(Self(text.to_owned()));
        }
        Err(format!("the name of a secret is 1 to {NAME_BYTES_MAX} of a-z, 0-9, - and _"))
    }
}

impl fmt::Display for SecretName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where secrets lie: a folder of those that an operator brings, and the files of those that are made here.
#[derive(Debug, Clone)]
pub struct SecretsPlace {
    folder: PathBuf,
    own: Vec<PathBuf>,
    suite: Suite,
}

/// As long as it lives, nobody else seals, removes or changes the root.
struct Lock(#[allow(dead_code)] File);

impl SecretsPlace {
    /// The folder is made with the first secret. No file of `own` has the name of another.
    pub fn new(folder: PathBuf, own: Vec<PathBuf>) -> Self {
        Self { folder, own, suite: Suite::default() }
    }

    /// The same place; what is new is sealed in this suite, and so are the keys of a [`Keyring`](crate::Keyring) that is opened
    /// with its secrets. What is there opens whichever it is.
    #[must_use]
    pub fn in_suite(self, suite: Suite) -> Self {
        Self { suite, ..self }
    }

    /// The names of those that an operator brought, in order. Needs no root.
    pub fn names(&self) -> Result<Vec<SecretName>, VaultError> {
        let entries = match fs::read_dir(&self.folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(|error| self.failed(&error))?,
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|error| self.failed(&error))?;
            names.extend(entry.file_name().to_str().and_then(|name| name.parse().ok()));
        }
        names.sort();
        Ok(names)
    }

    /// Seals a secret under this root, in the place of one of the same name. The root is made if nothing is under it yet:
    /// `keys_exist` says whether keys are. Says whether there was one. Blocks.
    pub fn seal(
        &self,
        source: &RootSource,
        keys_exist: bool,
        name: &SecretName,
        value: &Secret,
    ) -> Result<bool, VaultError> {
        let refuse = |why: String| VaultError::Secret { name: format!("`{name}`"), why };
        if !(1..=SECRET_BYTES_MAX).contains(&value.expose().len()) {
            let length = value.expose().len();
            return Err(refuse(format!("it has {length} bytes; 1 to {SECRET_BYTES_MAX} are allowed")));
        }
        let _lock = self.lock()?;
        let names = self.names()?;
        let replaces = names.contains(name);
        if names.len() >= SECRETS_MAX && !replaces {
            return Err(refuse(format!(
                "there are {SECRETS_MAX} secrets, as many as there may be; remove one"
            )));
        }
        let root = source.open(!keys_exist && !self.has_sealed()?)?;
        DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(&self.folder)
            .and_then(|()| durable::sync_folder_of(&self.folder))
            .map_err(|error| self.failed(&error))?;
        let file = self.file(name);
        let sealed = sealed_secret::seal(&root, self.suite, &record(&file, Some(name)), value)?;
        durable::put(&file, &sealed).map_err(|error| of_file(&file, error))?;
        Ok(replaces)
    }

    /// Removes a secret, durably. Says whether there was one. Blocks.
    pub fn remove(&self, name: &SecretName) -> Result<bool, VaultError> {
        let _lock = self.lock()?;
        let file = self.file(name);
        match fs::remove_file(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            removed => {
                let removed = removed.and_then(|()| durable::sync_folder_of(&file));
                removed.map(|()| true).map_err(|error| of_file(&file, error))
            }
        }
    }

    fn file(&self, name: &SecretName) -> PathBuf {
        self.folder.join(&name.0)
    }

    /// Whether anything here is under a root.
    fn has_sealed(&self) -> Result<bool, VaultError> {
        for (file, _) in self.all()? {
            if read(&file)?.is_some_and(|bytes| sealed_secret::root_of(&bytes).is_some()) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All files that may be there, with what each is bound to.
    fn all(&self) -> Result<Vec<(PathBuf, String)>, VaultError> {
        let own = self.own.iter().map(|file| (file.clone(), record(file, None)));
        let names = self.names()?;
        let brought = names.iter().map(|name| (self.file(name), record(&self.file(name), Some(name))));
        Ok(own.chain(brought).collect())
    }

    /// Waits for whoever has it.
    fn lock(&self) -> Result<Lock, VaultError> {
        let path = self.folder.with_extension("lock");
        let mut options = OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false).mode(FILE_MODE);
        let file = options.open(&path).map_err(|error| of_file(&path, error))?;
        for _ in 0..LOCK_TRIES {
            match file.try_lock() {
                Ok(()) => return Ok(Lock(file)),
                Err(TryLockError::WouldBlock) => thread::sleep(LOCK_WAIT),
                Err(TryLockError::Error(error)) => return Err(of_file(&path, error)),
            }
        }
        let why = "another process seals secrets or replaces the root key; try again".to_owned();
        Err(VaultError::Secrets { folder: self.folder.clone(), why })
    }

    fn failed(&self, error: &io::Error) -> VaultError {
        VaultError::Secrets { folder: self.folder.clone(), why: error.to_string() }
    }
}

/// The secrets of an installation, and the root that they are under.
pub struct Secrets {
    place: SecretsPlace,
    pub(crate) source: RootSource,
    pub(crate) roots: Arc<Roots>,
    /// Held while a replacement of the root that was broken off waits for the keys to be moved.
    unfinished: Mutex<Option<Lock>>,
}

impl Secrets {
    /// Opens the root, and makes one if nothing is under it: `keys_exist` says whether keys are. `old` is the root before it. All
    /// secrets that open are moved to the newest root and to the suite here; of a replacement that was broken off, the end is up to
    /// [`Keyring::open_from`](crate::Keyring::open_from). Blocks, for about a second if the root is made.
    ///
    /// # Errors
    /// [`VaultError::Root`] if the file of the root is gone while something is under it: to make another would be to lose all of it.
    pub fn open(
        source: RootSource,
        old: Option<&RootSource>,
        place: SecretsPlace,
        keys_exist: bool,
    ) -> Result<Self, VaultError> {
        let lock = place.lock()?;
        durable::remove_unfinished(&place.folder).map_err(|error| place.failed(&error))?;
        source.remove_unfinished()?;
        let root = source.open(!keys_exist && !place.has_sealed()?)?;
        let next = source.next()?;
        let is_unfinished = next.is_some();
        let (newest, older) = match (next, old) {
            (Some(next), None) => (next, Some(root)),
            (None, Some(old)) => (root, Some(old.open(false)?)),
            (None, None) => (root, None),
            (Some(_), Some(_)) => {
                let why = "its replacement was broken off; start once without an old root, then rotate again";
                return Err(VaultError::Root(why.to_owned()));
            }
        };
        let roots = Arc::new(Roots::new(newest, older));
        let secrets = Self { place, source, roots, unfinished: Mutex::new(is_unfinished.then_some(lock)) };
        secrets.move_all()?;
        Ok(secrets)
    }

    /// The secret of this name, whether it is there or not.
    pub fn named(&self, name: &SecretName) -> NamedSecret {
        let sealed = SealedFile {
            roots: self.roots.clone(),
            suite: self.suite(),
            path: self.place.file(name),
            record: record(&self.place.file(name), Some(name)),
        };
        NamedSecret { sealed, name: name.clone() }
    }

    /// The secret in a file of the installation's own.
    pub fn own(&self, path: &Path) -> SecretFile {
        SecretFile(SealedFile {
            roots: self.roots.clone(),
            suite: self.suite(),
            path: path.to_owned(),
            record: record(path, None),
        })
    }

    /// Where the root key is kept: `file`, `environment` or `pkcs11`.
    pub fn root_kept_in(&self) -> &'static str {
        self.source.kept_in()
    }

    /// What is new is sealed in it.
    pub fn suite(&self) -> Suite {
        self.place.suite
    }

    /// Everything is under the newest root: it takes the place of the one before, if that was broken off.
    pub(crate) async fn complete(&self) -> Result<(), VaultError> {
        let unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(_lock) = unfinished {
            self.source.replace()?;
            self.roots.keep_newest().await;
        }
        Ok(())
    }

    /// Makes a new root, has `move_keys` move what else is under the old one, moves the secrets, and destroys the old root.
    pub(crate) async fn renew_root<T>(
        &self,
        move_keys: impl Future<Output = Result<T, VaultError>>,
    ) -> Result<T, VaultError> {
        let _lock = self.place.lock()?;
        self.roots.adopt(self.source.make_next()?).await;
        let moved = move_keys.await?;
        self.move_all()?;
        self.source.replace()?;
        // A backup that is under it would not open after the next start either.
        self.roots.keep_newest().await;
        Ok(moved)
    }

    /// What does not open stays as it is: who needs it is told then.
    fn move_all(&self) -> Result<(), VaultError> {
        let (newest, suite) = (self.roots.newest(), self.suite());
        for (file, record) in self.place.all()? {
            let Some(bytes) = read(&file)? else { continue };
            let is_as_new =
                |root| root == newest.id() && sealed_secret::suite_of(&bytes).is_none_or(|of| of == suite);
            if sealed_secret::root_of(&bytes).is_none_or(is_as_new) {
                continue;
            }
            let Ok(secret) = sealed_secret::open(&self.roots, &record, &bytes) else { continue };
            let sealed = sealed_secret::seal(&newest, suite, &record, &secret)?;
            durable::put(&file, &sealed).map_err(|error| of_file(&file, error))?;
        }
        Ok(())
    }
}

#[derive(Clone)]
struct SealedFile {
    roots: Arc<Roots>,
    suite: Suite,
    path: PathBuf,
    record: String,
}

impl SealedFile {
    fn open(&self, bytes: &[u8]) -> Result<Secret, String> {
        sealed_secret::open(&self.roots, &self.record, bytes)
    }

    fn sealed(&self, secret: &Secret) -> Result<Vec<u8>, VaultError> {
        sealed_secret::seal(&self.roots.newest(), self.suite, &self.record, secret)
    }
}

/// A secret that an operator brings, by name.
#[derive(Clone)]
pub struct NamedSecret {
    sealed: SealedFile,
    name: SecretName,
}

impl NamedSecret {
    /// The file that it is in: another one is there once it was sealed anew.
    pub fn file(&self) -> &Path {
        &self.sealed.path
    }

    /// The secret, as it is now.
    ///
    /// # Errors
    /// [`VaultError::Secret`] says what to do.
    pub fn open(&self) -> Result<Secret, VaultError> {
        let name = &self.name;
        let refuse = |why: String| VaultError::Secret { name: format!("`{name}`"), why };
        let bytes = read(&self.sealed.path)?.ok_or_else(|| {
            refuse(format!("there is none of this name; `llmos vault seal-secret {name} < FILE` seals it"))
        })?;
        self.sealed.open(&bytes).map_err(refuse)
    }
}

/// A secret that the installation makes for itself, in a file of its own.
#[derive(Clone)]
pub struct SecretFile(SealedFile);

impl SecretFile {
    /// In this file, under a root that stays what it is: without an installation around it.
    pub fn under(root: Root, path: &Path) -> Self {
        Self(SealedFile {
            roots: Arc::new(Roots::new(root, None)),
            suite: Suite::default(),
            path: path.to_owned(),
            record: record(path, None),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// The secret; none if there is no file. One from before, of so many plain bytes, is sealed here: it is on the disk before it takes
    /// the name of the plain one.
    ///
    /// # Errors
    /// [`VaultError::Secret`] if the file is anything else; it stays as it is.
    pub fn read(&self, plain_bytes: usize) -> Result<Option<Secret>, VaultError> {
        let path = self.path();
        let Some(bytes) = read(path)? else { return Ok(None) };
        if bytes.len() != plain_bytes {
            let refuse = |why| VaultError::Secret { name: format!("in {}", path.display()), why };
            return self.0.open(&bytes).map(Some).map_err(refuse);
        }
        let secret = Secret::from(bytes);
        durable::put(path, &self.0.sealed(&secret)?).map_err(|error| of_file(path, error))?;
        Ok(Some(secret))
    }

    /// Writes the secret into a new file, sealed and durably.
    ///
    /// # Errors
    /// Also if there is such a file already.
    pub fn make(&self, secret: &Secret) -> Result<(), VaultError> {
        durable::put_new(self.path(), &self.0.sealed(secret)?).map_err(|error| of_file(self.path(), error))
    }
}

/// What a file is bound to: not to its folder, which may be moved.
fn record(file: &Path, brought: Option<&SecretName>) -> String {
    match brought {
        Some(name) => format!("{BROUGHT}{name}"),
        None => file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
    }
}

/// Whatever the file has; of one that is too long, one byte more than there may be.
fn read(file: &Path) -> Result<Option<Vec<u8>>, VaultError> {
    durable::read(file, sealed_secret::file_bytes_max()).map_err(|error| of_file(file, error))
}

fn of_file(file: &Path, error: io::Error) -> VaultError {
    VaultError::Secret { name: format!("in {}", file.display()), why: error.to_string() }
}
