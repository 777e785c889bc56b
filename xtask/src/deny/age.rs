//! How old a copy of the `RustSec` database is, as far as it says so itself.

use std::{fmt, path::Path, process::Command};

use anyhow::{Context, Result, bail};

/// Oldest last change of a database that is fresh: it is changed on most days.
const CHANGED_DAYS_MAX: u64 = 7;
/// Oldest newest advisory in it. A copy can be committed again; what is in it gets no newer. From 2023 to 2025 the longest time without
/// a new one was 30 days.
const ADVISORY_DAYS_MAX: u64 = 45;
const DAY_S: u64 = 86_400;
/// What stands before the day of an advisory.
const DATE: &str = "date = \"";

/// When it was changed last, and of which days its advisories are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Age {
    /// Seconds since 1970.
    changed: u64,
    /// As they are written, `2026-11-20`, sorted.
    advisories: Vec<String>,
}

impl Age {
    /// Of a repository, bare or not.
    pub(super) fn of(repository: &Path) -> Result<Self> {
        let changed = git(repository, &["log", "-1", "--format=%ct", "HEAD"])?;
        let changed = changed.trim().parse().context("git names no time of the last commit")?;
        let lines =
            git(repository, &["grep", "-h", "-E", "^date = \"[0-9]{4}-[0-9]{2}-[0-9]{2}\"", "HEAD", "--"])?;
        let dates =
            lines.lines().filter_map(|line| Some(line.strip_prefix(DATE)?.split_once('"')?.0.to_owned()));
        let mut advisories: Vec<String> = dates.collect();
        advisories.sort();
        advisories.dedup();
        Ok(Self { changed, advisories })
    }

    /// Why it is not fresh at this time, in seconds since 1970; none if it is.
    pub(super) fn problem(&self, now: u64) -> Option<String> {
        let today = now / DAY_S;
        if self.changed > now + DAY_S {
            return Some(
                "the RustSec database was last changed in the future: check this machine's clock".to_owned(),
            );
        }
        let changed = now.saturating_sub(self.changed) / DAY_S;
        if changed > CHANGED_DAYS_MAX {
            return Some(format!(
                "this copy of the RustSec database was last changed {changed} days ago; a release takes one of at most \
                 {CHANGED_DAYS_MAX} days"
            ));
        }
        let days = self.advisories.iter().filter_map(|date| day(date));
        let Some(newest) = days.filter(|day| *day <= today + 1).max() else {
            return Some("there is no advisory in this copy of the RustSec database".to_owned());
        };
        let old = today.saturating_sub(newest);
        (old > ADVISORY_DAYS_MAX).then(|| {
            format!(
                "the newest advisory is {old} days old in this copy of the RustSec database, however new the copy is; a release takes one \
                 with an advisory of the last {ADVISORY_DAYS_MAX} days"
            )
        })
    }
}

impl fmt::Display for Age {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let newest = self.advisories.last().map_or("none", String::as_str);
        write!(f, "its newest advisory is of {newest}")
    }
}

fn git(repository: &Path, args: &[&str]) -> Result<String> {
    let output =
        Command::new("git").arg("-C").arg(repository).args(args).output().context("cannot start git")?;
    // To find nothing is no error.
    let is_empty = args[0] == "grep" && output.status.code() == Some(1);
    if !output.status.success() && !is_empty {
        let why = String::from_utf8_lossy(&output.stderr);
        bail!("{} is no copy of the RustSec database: {}", repository.display(), why.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Days since 1970-01-01 of such a date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `days_from_civil`.
fn day(date: &str) -> Option<u64> {
    let mut parts = date.split('-').map(str::parse::<u64>);
    let mut next = || parts.next()?.ok();
    let (year, month, day) = (next()?, next()?, next()?);
    if !(1970..10_000).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let year = year - u64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let (era, year_of_era) = (year / 400, year % 400);
    Some(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_counted() {
        for (date, expected) in [
            ("1970-01-01", Some(0)),
            ("2024-02-29", Some(19_782)),
            ("2026-11-24", Some(20_781)),
            ("2026-13-01", None),
            ("2026-00-01", None),
            ("2026-11", None),
            ("x", None),
        ] {
            assert_eq!(day(date), expected, "{date}");
        }
    }
}
