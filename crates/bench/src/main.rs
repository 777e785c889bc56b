//! `llmos-bench SUITE`: measures the figures that llmos has set itself, beside the programs that people use today.
//!
//! It starts the real binaries and talks to them as any client does: over HTTP. The figures, their targets and
//! their peers are rows of `FIGURES.tsv`; a suite says what it measured, and a [`figures::Report`] is made of
//! both only if they agree.
//!
//! Must never print a figure that it did not measure: what could not be measured says so, has no value, and neither
//! meets nor misses its target.
//!
//! Main types: [`figures::Target`], a row of the table; [`figures::Findings`], what a suite found;
//! [`figures::Report`], what is printed.
#![forbid(unsafe_code)]

mod cpu;
mod figures;
mod http;
mod machine;
mod page;
mod peer;
mod process;
mod servers;
mod statistics;
mod suites;

use std::{
    fs,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::{Context, Result};
use clap::Parser;

use crate::{
    figures::{Report, targets},
    machine::Surroundings,
    suites::{Options, Suite},
};

/// Measures llmos beside its peers.
#[derive(Debug, Parser)]
#[command(name = "llmos-bench", version)]
struct Arguments {
    /// What to measure: the name of a suite, or `all`.
    suite: Selection,
    /// GGUF models, of which `engine` measures the first [default: the packaged models that `make run` fetched]; for
    /// `flow` a folder of DIMACS files, for `dag` of `.hdag`, for `jsp` of Taillard's `.txt`, for `rcpsp` of Patterson's
    /// `.rcp`, for `placement` of Alibaba's `.csv`, or one that has a folder for each.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    /// Print JSON: one document, or for `all` an array of them.
    #[arg(long)]
    json: bool,
    /// Also write the results to this file, a Markdown page; suites that are on it and were not measured stay.
    #[arg(long, value_name = "FILE.md")]
    write: Option<PathBuf>,
    /// The program to measure [default: `llmos` beside this one].
    #[arg(long, value_name = "PATH")]
    llmos: Option<PathBuf>,
}

/// One suite, or all that exist.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Selection {
    All,
    Engine,
    Estimate,
    Access,
    Audit,
    Vault,
    Flow,
    Dag,
    Jsp,
    Rcpsp,
    Placement,
}

impl Selection {
    fn suites(self) -> &'static [Suite] {
        match self {
            Self::All => &Suite::ALL,
            Self::Engine => &[Suite::Engine],
            Self::Estimate => &[Suite::Estimate],
            Self::Access => &[Suite::Access],
            Self::Audit => &[Suite::Audit],
            Self::Vault => &[Suite::Vault],
            Self::Flow => &[Suite::Flow],
            Self::Dag => &[Suite::Dag],
            Self::Jsp => &[Suite::Jsp],
            Self::Rcpsp => &[Suite::Rcpsp],
            Self::Placement => &[Suite::Placement],
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            progress(&format!("error: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let options = Options::new(arguments.paths.clone(), arguments.llmos.clone())?;
    let targets = targets()?;
    let surroundings = Surroundings::find();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut reports = Vec::new();
    for &suite in arguments.suite.suites() {
        let findings = runtime
            .block_on(suite.run(&options))
            .with_context(|| format!("suite `{}` did not finish", suite.name()))?;
        reports.push(Report::new(suite.name(), &targets, findings, &surroundings)?);
    }
    print(arguments, &reports)?;
    if let Some(path) = &arguments.write {
        let before = fs::read_to_string(path).unwrap_or_default();
        let order = Suite::ALL.map(Suite::name);
        let page = page::markdown(&reports, &before, &order, &command_line(), &surroundings);
        fs::write(path, page).with_context(|| format!("cannot write {}", path.display()))?;
        progress(&format!("wrote {}", path.display()));
    }
    Ok(())
}

fn print(arguments: &Arguments, reports: &[Report]) -> Result<()> {
    let text = match (arguments.json, arguments.suite, reports) {
        (true, Selection::All, reports) => serde_json::to_string_pretty(reports)? + "\n",
        (true, _, reports) => {
            let documents = reports.iter().map(serde_json::to_string_pretty);
            documents.collect::<Result<Vec<_>, _>>()?.join("\n") + "\n"
        }
        (false, _, reports) => reports.iter().map(page::plain).collect::<Vec<_>>().join("\n"),
    };
    io::stdout().write_all(text.as_bytes()).context("cannot write the results to stdout")
}

/// What was typed, but for where the program lies.
fn command_line() -> String {
    let arguments = std::env::args().skip(1);
    std::iter::once("llmos-bench".to_owned()).chain(arguments).collect::<Vec<_>>().join(" ")
}

/// Tells who waits what is going on. Results go to stdout, this does not.
fn progress(text: &str) {
    // Nobody reads a closed stderr, and that is no reason to stop measuring.
    let _ = writeln!(io::stderr(), "{text}");
}
