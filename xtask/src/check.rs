//! The rules of this repository that the compiler does not know. `ARCHITECTURE.md` says why they hold.

mod asvs;
mod floors;
mod sources;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::checkout;

/// The folders that hold our sources.
const SOURCE_FOLDERS: [&str; 4] = ["crates", "xtask", "fuzz", "tests"];
/// Folders that are not ours, wherever they are.
const FOREIGN_FOLDERS: [&str; 4] = ["target", "node_modules", "__pycache__", ".pytest_cache"];
/// What our sources end with.
const SOURCE_ENDINGS: [&str; 5] = ["rs", "py", "js", "mjs", "ts"];
/// The pages that are written for people, and what they end with.
const PAGES: (&str, &str) = ("docs", "md");
/// How deep folders may lie in one another: more is a link that leads back.
const DEPTH_MAX: usize = 16;

/// A rule that is broken, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Finding {
    /// A file with its line, or a crate.
    place: String,
    /// What is wrong, and what to do.
    problem: String,
}

/// Checks every rule and lists everything that breaks one.
pub(crate) fn check() -> Result<()> {
    let root = checkout()?;
    let mut findings = floors::findings(&crates(&root)?);
    let mut files = Vec::new();
    for folder in SOURCE_FOLDERS.map(|folder| root.join(folder)) {
        if folder.is_dir() {
            collect(&folder, &SOURCE_ENDINGS, DEPTH_MAX, &mut files)?;
        }
    }
    if files.is_empty() {
        bail!("no sources found below {}", root.display());
    }
    files.sort();
    let mut tests = asvs::Tests::default();
    for file in &files {
        let path = file.strip_prefix(&root)?.to_string_lossy();
        let text = fs::read_to_string(file).with_context(|| format!("cannot read {path}"))?;
        findings.extend(sources::findings(&path, &text));
        tests.add(&path, &text);
    }
    let mut pages = Vec::new();
    collect(&root.join(PAGES.0), &[PAGES.1], DEPTH_MAX, &mut pages)?;
    for page in &pages {
        let path = page.strip_prefix(&root)?.to_string_lossy();
        let text = fs::read_to_string(page).with_context(|| format!("cannot read {path}"))?;
        tests.add(&path, &text);
    }
    let table =
        fs::read_to_string(root.join(asvs::TABLE)).with_context(|| format!("cannot read {}", asvs::TABLE))?;
    let requirements = root.join(asvs::REQUIREMENTS);
    let requirements = if requirements.is_file() {
        Some(
            fs::read_to_string(&requirements)
                .with_context(|| format!("cannot read {}", asvs::REQUIREMENTS))?,
        )
    } else {
        eprintln!("{}", asvs::not_compared(&requirements));
        None
    };
    findings.extend(asvs::findings(&table, requirements.as_deref(), &tests));
    for Finding { place, problem } in &findings {
        eprintln!("{place}: {problem}");
    }
    if !findings.is_empty() {
        bail!("{} rules broken; ARCHITECTURE.md says why they hold", findings.len());
    }
    eprintln!("{} source files follow the rules", files.len());
    eprintln!("OWASP ASVS 5.0, levels 1 and 2: {}", asvs::counts(&table));
    Ok(())
}

/// All files below a folder that have one of these endings.
fn collect(folder: &Path, endings: &[&str], depth: usize, files: &mut Vec<PathBuf>) -> Result<()> {
    if depth == 0 {
        bail!("{} lies deeper than {DEPTH_MAX} folders", folder.display());
    }
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default();
        if path.is_dir() && !FOREIGN_FOLDERS.iter().any(|foreign| name == *foreign) {
            collect(&path, endings, depth - 1, files)?;
        } else if path.extension().is_some_and(|ending| endings.iter().any(|ours| ending == *ours)) {
            files.push(path);
        }
    }
    Ok(())
}

/// The crates of the workspace, as cargo sees them.
fn crates(root: &Path) -> Result<Vec<floors::Crate>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut metadata = Command::new(cargo);
    metadata.args(["metadata", "--format-version", "1", "--no-deps"]).current_dir(root);
    let output = metadata.output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    floors::parse(&output.stdout)
}
