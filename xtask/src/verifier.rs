//! `make verifier`: `llmos-verify` as one file that needs no library, to be carried to any machine of this kind.

use std::{env, fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::{checkout, run::target_folder, shell};

/// Its libraries can be linked into the file.
const KIND: &str = "-linux-gnu";
const PROGRAM: &str = "llmos-verify";

/// Builds it, prints where it is, and says how it is used.
pub(crate) fn build() -> Result<()> {
    let (checkout, host) = (checkout()?, host()?);
    if !host.ends_with(KIND) {
        bail!("this machine is {host}; a verifier without libraries is built on *{KIND}");
    }
    // A folder of its own: other flags would build everything else anew, each time.
    let target = target_folder(&checkout).join("verifier");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--release", "--locked", "-p", "verify", "--target", &host]);
    cargo.current_dir(&checkout).env("CARGO_TARGET_DIR", &target);
    // With --target they are for the program, and not for what runs while it is built.
    cargo.env_remove("CARGO_ENCODED_RUSTFLAGS").env("RUSTFLAGS", "-C target-feature=+crt-static");
    shell::run(&mut cargo)?;
    let built = target.join(&host).join("release").join(PROGRAM);
    let bytes = fs::metadata(&built).with_context(|| format!("cannot find {}", built.display()))?.len();
    eprintln!("{:.2} MB, static. On the machine of whoever checks:", bytes as f64 / 1e6);
    eprintln!("  {PROGRAM} receipt RECEIPT --key KEY [--checkpoint FILE]...");
    eprintln!("  {PROGRAM} log FOLDER --key KEY [--checkpoint FILE]...");
    eprintln!(
        "`llmos audit key` prints KEY: give it to them by another way than the log. docs/guides/audit.md leads through it"
    );
    println!("{}", built.display());
    Ok(())
}

/// What rustc builds for if nothing else is said.
pub(crate) fn host() -> Result<String> {
    let rustc: PathBuf = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()).into();
    let output = Command::new(&rustc).arg("-vV").output();
    let output = output.with_context(|| format!("cannot start {}", rustc.display()))?;
    let text = String::from_utf8(output.stdout).context("rustc does not speak UTF-8")?;
    let host = text.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("rustc does not say which machine this is")?.to_owned())
}
