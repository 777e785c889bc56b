//! The downloads that are not complete: listed, removed, and swept where no pull could go on from them.

use std::{fs, path::PathBuf};

use super::{
    StoreError,
    folder::{Folder, entries, is_abandoned},
    partial::{ABOUT, About, DATA, lock, read_about, remove},
};

/// What a description is called until it is whole.
const ABOUT_NEW: &str = "json.new";

/// A partial download as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialView {
    /// Where it comes from.
    pub source: String,
    /// What has come.
    pub bytes: u64,
    /// What is to come, with what has.
    pub total: Option<u64>,
    /// The process that is pulling it; none if a pull was cut off.
    pub pid: Option<String>,
}

/// All of them.
pub(super) fn list(folder: &Folder) -> Result<Vec<PartialView>, StoreError> {
    let view = |key: &PathBuf| {
        let data = key.with_extension(DATA);
        let known = read_about(&key.with_extension(ABOUT)).unwrap_or_default();
        view(&known, &data, (!is_abandoned(&data)).then(|| known.pid.to_string()))
    };
    Ok(keys(folder)?.iter().map(view).collect())
}

/// Removes all that nobody is at; returns what they were.
pub(super) fn remove_all(folder: &Folder) -> Result<Vec<PartialView>, StoreError> {
    remove_those(folder, |_| true)
}

/// Removes what killed processes have left and no pull could use.
pub(super) fn sweep(folder: &Folder) -> Result<(), StoreError> {
    let is_useless = |known: &About| known.whole.is_none() && (known.version.is_none() || known.durable == 0);
    remove_those(folder, is_useless).map(drop)
}

fn remove_those(folder: &Folder, unwanted: impl Fn(&About) -> bool) -> Result<Vec<PartialView>, StoreError> {
    let mut removed = Vec::new();
    for key in keys(folder)? {
        let (data, about) = (key.with_extension(DATA), key.with_extension(ABOUT));
        if !is_abandoned(&data) || !unwanted(&read_about(&about).unwrap_or_default()) {
            continue;
        }
        // Locked while it goes, so that no pull takes it up; one that was quicker keeps it.
        let Ok(_locked) = lock(&data, &about, "") else { continue };
        let known = read_about(&about).unwrap_or_default();
        if unwanted(&known) {
            removed.push(view(&known, &data, None));
            for path in [about, key.with_extension(ABOUT_NEW), data] {
                remove(&path)?;
            }
        }
    }
    Ok(removed)
}

fn view(known: &About, data: &PathBuf, pid: Option<String>) -> PartialView {
    let bytes = fs::metadata(data).map_or(0, |metadata| metadata.len());
    PartialView { source: known.source.clone(), bytes, total: known.total, pid }
}

/// The names of their files, without the endings.
fn keys(folder: &Folder) -> Result<Vec<PathBuf>, StoreError> {
    let mut keys = entries(&folder.partial())?;
    for path in &mut keys {
        *path = path.with_extension("").with_extension("");
    }
    keys.dedup();
    Ok(keys)
}
