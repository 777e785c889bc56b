//! What is fetched once and kept between builds, outside the checkout: `$XDG_CACHE_HOME/llmos`, else
//! `~/.cache/llmos`.
//!
//! Everything in it is put there by [`once`], so an installation that was killed half way is never taken for a
//! finished one, and two that run at the same time do the work once.

use std::{
    env, fs,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

/// How much of a file is hashed at a time.
const READ_BYTES: usize = 1 << 20;

/// The folder of everything that is kept.
pub(crate) fn root() -> Result<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let base = absolute("XDG_CACHE_HOME").or_else(|| absolute("HOME").map(|home| home.join(".cache")));
    let base =
        base.context("neither XDG_CACHE_HOME nor HOME names a folder to keep downloads in; set one")?;
    Ok(base.join("llmos"))
}

/// Installs something at `target` unless it `stands` there already. `install` gets an empty folder beside the
/// target to work in, which is on the same file system and is removed afterwards.
pub(crate) fn once(
    target: &Path,
    stands: impl Fn() -> bool,
    install: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    if stands() {
        return Ok(());
    }
    let folder = target.parent().context("an installation has a folder")?;
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    // The kernel releases the lock when its holder dies, however it dies.
    let lock = File::create(beside(target, "lock"))?;
    if lock.try_lock().is_err() {
        eprintln!("waiting: another setup is installing {}", target.display());
        lock.lock()?;
    }
    if stands() {
        return Ok(());
    }
    let scratch = beside(target, "partial");
    empty(&scratch)?;
    install(&scratch).with_context(|| format!("cannot install {}", target.display()))?;
    fs::remove_dir_all(&scratch)?;
    if !stands() {
        bail!("{} was installed but is not as it should be; remove it and try again", target.display());
    }
    Ok(())
}

/// Moves a finished file to where it is looked for, durably: after a crash it is there whole or not at all.
pub(crate) fn publish(finished: &Path, target: &Path) -> Result<()> {
    File::open(finished)?.sync_all()?;
    fs::rename(finished, target)?;
    target.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())?;
    Ok(())
}

/// The SHA-256 hash of a file, in lower-case hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let mut hasher = Sha256::new();
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut chunk = vec![0; READ_BYTES];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(HEXLOWER.encode(&hasher.finalize())),
            length => hasher.update(&chunk[..length]),
        }
    }
}

/// Fails unless the file has this SHA-256 hash, in lower-case hexadecimal.
pub(crate) fn verify_sha256(path: &Path, expected: &str) -> Result<()> {
    let found = sha256(path)?;
    if found != expected {
        bail!(
            "{} has sha256 {found}, expected {expected}: what was fetched is damaged or not what was \
             published; try again, and do not use it if that does not help",
            path.display()
        );
    }
    Ok(())
}

fn beside(target: &Path, ending: &str) -> PathBuf {
    let mut name = target.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

fn empty(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error)?,
        _ => Ok(fs::create_dir_all(folder)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn installs_once_and_starts_over_after_a_failure() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("deep/thing");
        let stands = || target.exists();
        let failed = once(&target, stands, |scratch| {
            fs::write(scratch.join("half"), "a")?;
            bail!("interrupted")
        });
        assert!(failed.is_err() && !target.exists());
        let good = |scratch: &Path| {
            assert!(!scratch.join("half").exists(), "the scratch folder is empty again");
            fs::write(scratch.join("thing"), "whole")?;
            publish(&scratch.join("thing"), &target)
        };
        once(&target, stands, good).unwrap();
        assert_eq!(fs::read_to_string(&target).unwrap(), "whole");
        once(&target, stands, |_| bail!("must not run again")).unwrap();
        let useless = folder.path().join("useless");
        assert!(
            once(&useless, || false, |_| Ok(())).is_err(),
            "an installation that left nothing is an error"
        );
    }

    #[test]
    fn a_wrong_hash_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        verify_sha256(&path, abc).unwrap();
        fs::write(&path, "abd").unwrap();
        let error = verify_sha256(&path, abc).unwrap_err().to_string();
        assert!(error.contains("expected ba7816bf"), "{error}");
    }
}
