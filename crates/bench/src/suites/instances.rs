//! Folders of problems, and what is known of their optima.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};

/// Problems of one folder.
const FILES_MAX: usize = 4096;

/// What the lists beside the problems say of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    /// The best makespan that anybody found.
    pub(super) best: i64,
    /// Whether there is none better.
    pub(super) is_proven: bool,
}

/// The files of a folder and of the folders in it whose names end like this, by name.
pub(super) fn files(folder: &Path, endings: &[&str]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in entries(folder)? {
        if path.is_dir() {
            files.extend(entries(&path)?);
        } else {
            files.push(path);
        }
    }
    files.retain(|file| endings.iter().any(|ending| name(file).ends_with(ending)));
    files.sort();
    ensure!(!files.is_empty(), "there is no {} in {}", endings.join(" or "), folder.display());
    ensure!(
        files.len() <= FILES_MAX,
        "{} has {} problems; at most {FILES_MAX} can be measured",
        folder.display(),
        files.len()
    );
    Ok(files)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    Ok(entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?)
}

/// What is known, by the names of the problems without their endings: from all lists (`.csv`) in the folder that have columns
/// `instance` and `best_known` or `upper_bound`; `status` or an equal `lower_bound` says what is proven. There may be no list.
pub(super) fn known(folder: &Path) -> Result<HashMap<String, Known>> {
    let mut known = HashMap::new();
    for list in files(folder, &[".csv"]).unwrap_or_default() {
        let text = fs::read_to_string(&list).with_context(|| format!("cannot read {}", list.display()))?;
        known.extend(known_of(&text));
    }
    Ok(known)
}

fn known_of(list: &str) -> HashMap<String, Known> {
    let mut lines = list.lines();
    let columns: Vec<&str> = lines.next().unwrap_or_default().split(',').collect();
    let column = |name: &str| columns.iter().position(|column| *column == name);
    let (instance, lower, status) = (column("instance"), column("lower_bound"), column("status"));
    let best = column("best_known").or_else(|| column("upper_bound"));
    let known = lines.filter_map(|line| {
        let cells: Vec<&str> = line.split(',').collect();
        let cell = |column: Option<usize>| column.and_then(|column| cells.get(column)).copied();
        let best: i64 = cell(best)?.parse().ok()?;
        let is_proven = match cell(status) {
            Some(status) => ["optimal", "closed"].contains(&status),
            None => cell(lower).is_some_and(|lower| lower.parse() == Ok(best)),
        };
        Some((stem(cell(instance)?).to_owned(), Known { best, is_proven }))
    });
    known.collect()
}

/// The name of a file, without its folder.
pub(super) fn name(file: &Path) -> String {
    file.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// A name without what stands behind its last full stop, if letters follow: `x-c1.0.hdag` is `x-c1.0`, and `x-c1.0` is itself.
pub(super) fn stem(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((stem, ending)) if ending.chars().all(|letter| letter.is_ascii_alphabetic()) => stem,
        _ => name,
    }
}

/// At most so many of the things, evenly spread over them.
pub(super) fn evenly<T>(things: Vec<T>, most: usize) -> Vec<T> {
    let count = things.len();
    let keeps = |index: usize| count <= most || (index + 1) * most / count > index * most / count;
    things.into_iter().enumerate().filter(|(index, _)| keeps(*index)).map(|(_, thing)| thing).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_say_what_is_known() {
        let known = |best, is_proven| Known { best, is_proven };
        for (list, name, expected) in [
            (
                "instance,lower_bound,best_known,status,heft\na-c1.0.hdag,7,9,optimal,11\n",
                "a-c1.0",
                Some(known(9, true)),
            ),
            ("instance,lower_bound,best_known,status,heft\na.hdag,7,9,open,11\n", "a", Some(known(9, false))),
            (
                "instance,jobs,machines,lower_bound,upper_bound,status\nta01,15,15,1231,1231,closed\n",
                "ta01",
                Some(known(1231, true)),
            ),
            ("instance,lower_bound,best_known\nj30_1_1,43,43\n", "j30_1_1", Some(known(43, true))),
            ("instance,lower_bound,best_known\nj60_1_1,,77\n", "j60_1_1", Some(known(77, false))),
            ("instance,lower_bound,best_known\nj60_1_1,70,\n", "j60_1_1", None),
            ("name,cpu_milli\na,7\n", "a", None),
        ] {
            assert_eq!(known_of(list).get(name), expected.as_ref(), "{list}");
        }
    }

    #[test]
    fn a_sample_is_spread_evenly() {
        for (count, most, expected) in
            [(3, 5, vec![0, 1, 2]), (6, 3, vec![1, 3, 5]), (5, 2, vec![2, 4]), (4, 0, vec![]), (0, 3, vec![])]
        {
            assert_eq!(evenly((0..count).collect(), most), expected, "{most} of {count}");
        }
    }
}
