use std::{
    fs::{self, DirBuilder, File, OpenOptions, Permissions, TryLockError},
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use vault::SecretsPlace;

use crate::exit::{Exit, Failure, Trying};

/// Socket of the admin API.
pub(crate) const SOCKET: &str = "admin.sock";
/// Address of the public API, for scripts.
const ADDRESS: &str = "address";
/// Held by the server that uses the folder; contains its process id.
const LOCK: &str = "lock";
/// State of the control plane.
const STORE: &str = "llmos.db";
/// The wrapped keys of what is stored.
const VAULT_KEYS: &str = "keys.db";
/// The secret that hashes of keys are made with.
const PEPPER: &str = "key.pepper";
/// The audit log.
const AUDIT: &str = "audit";
/// How far the collector of its records has got.
const AUDIT_COLLECTOR: &str = "audit.collector";
/// What it is signed with.
const AUDIT_KEY: &str = "audit.key";
/// What this server has seen of the logs of others, which it countersigns.
const WITNESS: &str = "witness";
/// What it countersigns with.
const WITNESS_KEY: &str = "witness.key";
/// Secrets that an operator brings, sealed.
const SECRETS: &str = "secrets";
/// The owner may do everything in the folder, all others nothing.
const FOLDER_MODE: u32 = 0o700;
/// The owner may read and write, all others nothing.
const FILE_MODE: u32 = 0o600;
/// What group and others may do.
const OF_OTHERS: u32 = 0o077;
/// Longest path of a Unix socket, in bytes: `sun_path` has 108, with a zero at the end.
const SOCKET_PATH_BYTES_MAX: usize = 107;
/// The store of models.
const MODELS: &str = "models";
/// Longest process id in a lock file, in digits.
const PID_BYTES_MAX: u64 = 20;

/// The folder with all state of one server. As long as this lives, no other server uses it.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    lock: File,
}

impl DataDir {
    /// Makes the folder if there is none, makes sure that only its owner can look into it, and locks it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let socket = path.join(SOCKET);
        if socket.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            let what = format!("the path {} is too long for a socket", socket.display());
            let remedy =
                format!("choose a `data_dir` so that this path has at most {SOCKET_PATH_BYTES_MAX} bytes");
            return Err(Failure::new(Exit::Configuration, what).advise(remedy));
        }
        make(path)?;
        let lock = lock(path)?;
        let data_dir = Self { path: path.to_owned(), lock };
        data_dir.make_files_private().trying("make the files in the data directory private")?;
        data_dir.remove_traces();
        // What a killed server has left unfinished may hold secrets.
        for folder in [path, &data_dir.audit(), &data_dir.witness()] {
            durable::remove_unfinished(folder).trying("remove what a killed server has left")?;
        }
        Ok(data_dir)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path.join(SOCKET)
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.path.join(STORE)
    }

    pub(crate) fn vault_keys(&self) -> PathBuf {
        vault_keys(&self.path)
    }

    pub(crate) fn secrets(&self) -> SecretsPlace {
        secrets(&self.path)
    }

    pub(crate) fn pepper(&self) -> PathBuf {
        self.path.join(PEPPER)
    }

    pub(crate) fn audit(&self) -> PathBuf {
        audit(&self.path)
    }

    pub(crate) fn audit_key(&self) -> PathBuf {
        audit_key(&self.path)
    }

    pub(crate) fn audit_collector(&self) -> PathBuf {
        self.path.join(AUDIT_COLLECTOR)
    }

    pub(crate) fn witness(&self) -> PathBuf {
        self.path.join(WITNESS)
    }

    pub(crate) fn witness_key(&self) -> PathBuf {
        self.path.join(WITNESS_KEY)
    }

    /// A socket is made with the rights that the umask leaves, which is more than reading and writing.
    pub(crate) fn make_socket_private(&self) -> io::Result<()> {
        fs::set_permissions(self.socket(), Permissions::from_mode(FILE_MODE))
    }

    /// Tells scripts where the server listens. The file appears complete or not at all.
    pub(crate) fn publish(&self, address: &str) -> io::Result<()> {
        let new = self.path.join(format!("{ADDRESS}.new"));
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(FILE_MODE).open(&new)?;
        writeln!(file, "{address}")?;
        fs::rename(new, self.path.join(ADDRESS))
    }

    /// A backup that was played back may have brought files that others can read.
    fn make_files_private(&self) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.is_file() && metadata.mode() & OF_OTHERS != 0 {
                tracing::warn!(file = %entry.path().display(), "others could read this file; made it 0600");
                fs::set_permissions(entry.path(), Permissions::from_mode(FILE_MODE))?;
            }
        }
        Ok(())
    }

    /// What says that a server runs. What is not there need not be removed.
    fn remove_traces(&self) {
        for name in [SOCKET, ADDRESS] {
            let _ = fs::remove_file(self.path.join(name));
        }
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        self.remove_traces();
        let _ = self.lock.set_len(0);
    }
}

/// Makes the folder if there is none, and makes sure that only its owner can look into it. Locks nothing: commands
/// that work on the store of models need no server, and do not mind one.
pub(crate) fn make(path: &Path) -> Result<(), Failure> {
    DirBuilder::new()
        .recursive(true)
        .mode(FOLDER_MODE)
        .create(path)
        .trying(format_args!("make the data directory {}", path.display()))?;
    make_folder_private(path)
}

/// The folder of the store of models.
pub(crate) fn models(data_dir: &Path) -> PathBuf {
    data_dir.join(MODELS)
}

/// The database of the vault's keys.
pub(crate) fn vault_keys(data_dir: &Path) -> PathBuf {
    data_dir.join(VAULT_KEYS)
}

/// All that is sealed under the root key alone.
pub(crate) fn secrets(data_dir: &Path) -> SecretsPlace {
    let own = [PEPPER, AUDIT_KEY, WITNESS_KEY].map(|name| data_dir.join(name));
    SecretsPlace::new(data_dir.join(SECRETS), own.to_vec())
}

/// The folder of the audit log.
pub(crate) fn audit(data_dir: &Path) -> PathBuf {
    data_dir.join(AUDIT)
}

/// The file with the key that it is signed with.
pub(crate) fn audit_key(data_dir: &Path) -> PathBuf {
    data_dir.join(AUDIT_KEY)
}

/// A folder that others may look into is closed to them if it is ours: empty, or used by a server before. Any
/// other may be somebody's home directory, named by mistake.
fn make_folder_private(path: &Path) -> Result<(), Failure> {
    let trying = || format!("look at the data directory {}", path.display());
    let metadata = fs::metadata(path).trying(trying())?;
    let (owner, us) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != us {
        let what = format!("the data directory {} belongs to user id {owner}, not to {us}", path.display());
        return Err(Failure::new(Exit::NotAllowed, what)
            .advise("start the server as the user that owns it, or choose another `data_dir`"));
    }
    let mode = metadata.permissions().mode() & 0o777;
    if mode & OF_OTHERS == 0 {
        return Ok(());
    }
    let is_ours = [LOCK, MODELS].iter().any(|name| path.join(name).exists())
        || fs::read_dir(path).trying(trying())?.next().is_none();
    if !is_ours {
        let what =
            format!("the data directory {} has mode {mode:04o}, so others can look into it", path.display());
        return Err(Failure::new(Exit::Failed, what)
            .advise("it holds files that llmos did not make, so its mode was left as it is")
            .advise(format_args!("choose another `data_dir`, or run: chmod 700 {}", path.display())));
    }
    tracing::warn!(folder = %path.display(), was = %format_args!("{mode:04o}"), "made the data directory 0700");
    fs::set_permissions(path, Permissions::from_mode(FOLDER_MODE)).trying("make the data directory 0700")
}

fn lock(folder: &Path) -> Result<File, Failure> {
    let path = folder.join(LOCK);
    let trying = format!("lock {}", path.display());
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(FILE_MODE)
        .open(&path)
        .trying(&trying)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut pid = String::new();
            let _ = file.take(PID_BYTES_MAX).read_to_string(&mut pid);
            let what = format!("process {} already serves from {}", pid.trim(), folder.display());
            return Err(Failure::new(Exit::Failed, what)
                .advise("stop it, or give this server a folder of its own with `data_dir` or --data-dir"));
        }
        Err(TryLockError::Error(error)) => return Err(error).trying(&trying),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).trying(&trying)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn folder(mode: u32) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), Permissions::from_mode(mode)).unwrap();
        folder
    }

    #[test]
    fn a_new_folder_and_its_files_are_private() {
        let parent = folder(0o700);
        let path = parent.path().join("a/b");
        let data_dir = DataDir::open(&path).unwrap();
        data_dir.publish("127.0.0.1:1").unwrap();
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(&path.join(LOCK)), 0o600);
        assert_eq!(mode(&path.join(ADDRESS)), 0o600);
        drop(data_dir);
        assert!(!path.join(ADDRESS).exists());
    }

    #[test]
    fn a_loose_folder_is_closed_only_if_it_is_ours() {
        let empty = folder(0o755);
        drop(DataDir::open(empty.path()).unwrap());
        assert_eq!(mode(empty.path()), 0o700);

        let somebodys = folder(0o755);
        fs::write(somebodys.path().join("diary"), "").unwrap();
        let failure = DataDir::open(somebodys.path()).unwrap_err();
        assert!(failure.what.contains("has mode 0755"), "{failure}");
        assert_eq!(mode(somebodys.path()), 0o755);
    }

    #[test]
    fn loose_files_are_closed() {
        let used = folder(0o755);
        for name in [LOCK, STORE] {
            fs::write(used.path().join(name), "").unwrap();
            fs::set_permissions(used.path().join(name), Permissions::from_mode(0o644)).unwrap();
        }
        let _data_dir = DataDir::open(used.path()).unwrap();
        assert_eq!(
            [used.path(), &used.path().join(LOCK), &used.path().join(STORE)].map(mode),
            [0o700, 0o600, 0o600]
        );
    }

    #[test]
    fn what_a_killed_server_left_unfinished_is_removed() {
        let used = folder(0o700);
        drop(DataDir::open(used.path()).unwrap());
        fs::create_dir(used.path().join(WITNESS)).unwrap();
        let left =
            ["key.pepper.12-0.new", "witness/0a.checkpoint.12-3.new"].map(|name| used.path().join(name));
        for file in &left {
            fs::write(file, "half").unwrap();
        }
        let _data_dir = DataDir::open(used.path()).unwrap();
        assert!(left.iter().all(|file| !file.exists()));
    }

    #[test]
    fn the_second_one_is_told_who_has_the_lock() {
        let folder = folder(0o700);
        let _first = DataDir::open(folder.path()).unwrap();
        let failure = DataDir::open(folder.path()).unwrap_err();
        assert!(
            failure.what.contains(&format!("process {} already serves", std::process::id())),
            "{failure}"
        );
    }

    #[test]
    fn a_path_that_no_socket_can_have_is_refused() {
        let failure = DataDir::open(Path::new(&format!("/tmp/{}", "x".repeat(100)))).unwrap_err();
        assert_eq!(failure.exit, Exit::Configuration);
    }
}
