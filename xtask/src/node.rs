//! The packages for Node.js that the tests of signing in use: an identity provider, and what drives a browser.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Result;
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::{cache, shell};

const PACKAGE: &str = include_str!("../../tests/identity/package.json");
/// Each package with its hash.
const LOCK: &str = include_str!("../../tests/identity/package-lock.json");
/// Written last, into a folder that has everything.
const STAMP: &str = ".complete";

/// The folder of the packages. Other pins, other folder: nothing is ever upgraded in place.
pub(crate) fn modules() -> Result<PathBuf> {
    Ok(folder()?.join("node_modules"))
}

fn folder() -> Result<PathBuf> {
    let pins = HEXLOWER.encode(&Sha256::digest(LOCK));
    Ok(cache::root()?.join(format!("node-{}", &pins[..12])))
}

/// Installs them. No package runs a script of its own.
pub(crate) fn setup() -> Result<()> {
    let folder = folder()?;
    cache::once(
        &folder,
        || folder.join(STAMP).is_file(),
        |_| {
            eprintln!("installing the packages for Node.js of the tests (tests/identity/package-lock.json)");
            install(&folder)
        },
    )
}

fn install(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    fs::write(folder.join("package.json"), PACKAGE)?;
    fs::write(folder.join("package-lock.json"), LOCK)?;
    let mut npm = Command::new("npm");
    npm.args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--silent", "--prefix"]).arg(folder);
    shell::run(&mut npm)?;
    Ok(fs::write(folder.join(STAMP), "")?)
}
