//! Running other programs: what they print goes to stderr, and a failure names the command.

use std::{
    env, fs,
    io::stderr,
    os::fd::AsFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

/// Runs a command to its end; what it prints is progress.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let out = stderr().as_fd().try_clone_to_owned()?;
    let status = command.stdout(Stdio::from(out)).stdin(Stdio::null()).status();
    let status = status.with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status}); its own message is above", shown(command));
    }
    Ok(())
}

/// Whether a command runs and succeeds; its output is not shown.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).output().is_ok_and(|output| output.status.success())
}

/// Whether a program of this name is on the PATH.
pub(crate) fn has(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}

/// The one file in a folder whose name ends like this.
pub(crate) fn only_file(folder: &Path, ending: &str) -> Result<PathBuf> {
    let entries = fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut found: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).collect();
    found.retain(|path| path.to_string_lossy().ends_with(ending));
    match found.pop() {
        Some(path) if found.is_empty() => Ok(path),
        _ => bail!("expected one file *{ending} in {}", folder.display()),
    }
}

/// The program and its first arguments, for messages.
fn shown(command: &Command) -> String {
    let words = [command.get_program()].into_iter().chain(command.get_args().take(3));
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("`{}`", words.join(" "))
}
