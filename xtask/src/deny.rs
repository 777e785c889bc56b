//! The dependencies: licences, banned crates and sources, and known vulnerabilities, with cargo-deny.
//!
//! cargo-deny reads the `RustSec` database from a git repository. The tests use a copy of it on this machine, so
//! that they ask nobody; a release is checked against the live one.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{cache, checkout, python, shell};

/// Names another archive with a copy of the database.
const COPY_VARIABLE: &str = "LLMOS_ADVISORY_DB";
/// Where the archive is otherwise, from the checkout.
const COPY: &str = "../shared/data/security/advisory-db.tar.gz";
/// The bare repository in the archive.
const REPOSITORY: &str = "advisory-db.git";
/// Where cargo-deny would fetch the database from.
const LIVE: &str = "https://github.com/RustSec/advisory-db";

/// Fails unless `deny.toml` allows every dependency.
pub(crate) fn deny() -> Result<()> {
    shell::run(cargo_deny()?.args(["bans", "licenses", "sources"]))?;
    let copy = match env::var_os(COPY_VARIABLE) {
        Some(path) => PathBuf::from(path),
        None => checkout()?.join(COPY),
    };
    if !copy.is_file() {
        eprintln!(
            "advisories NOT CHECKED: there is no copy of the RustSec database at {}; name one with {COPY_VARIABLE}, \
             or check against the live one: cargo deny check advisories",
            copy.display()
        );
        return Ok(());
    }
    let repository = unpack(&copy)?;
    let mut advisories = cargo_deny()?;
    advisories.arg("advisories").env("GIT_CONFIG_COUNT", "1");
    advisories.env("GIT_CONFIG_KEY_0", format!("url.file://{}.insteadOf", repository.display()));
    shell::run(advisories.env("GIT_CONFIG_VALUE_0", LIVE))
}

fn cargo_deny() -> Result<Command> {
    let mut command = Command::new(python::venv()?.join("bin/cargo-deny"));
    command.args(["--locked", "--workspace", "check"]).current_dir(checkout()?);
    Ok(command)
}

/// Unpacks the archive into the cache: another archive, another folder.
fn unpack(archive: &Path) -> Result<PathBuf> {
    let archive = archive.canonicalize()?;
    let version = cache::sha256(&archive)?;
    let folder = cache::root()?.join("advisories").join(&version[..12]);
    let repository = folder.join(REPOSITORY);
    cache::once(
        &folder,
        || repository.join("HEAD").is_file(),
        |scratch| {
            shell::run(Command::new("python3").args(["-m", "tarfile", "-e"]).arg(&archive).arg(scratch))?;
            fs::create_dir_all(&folder)?;
            fs::rename(scratch.join(REPOSITORY), &repository).context("the archive has no advisory-db.git")
        },
    )?;
    Ok(repository)
}
