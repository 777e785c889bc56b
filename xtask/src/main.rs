//! What the repository does with itself: making a machine ready, starting the server for `make run`, checking the
//! rules that the compiler does not know, and writing golden files. It must never contain a part of the product.
//!
//! The words to know: a [`setup::Purpose`] says what a machine is made ready for, [`cache::once`] installs
//! something so that a kill half way does no harm, and a [`check::Finding`] is a broken rule with its place.
#![forbid(unsafe_code)]
// A command line tool: printing is what it is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod cache;
mod check;
mod deny;
mod golden;
mod model;
mod node;
mod peer;
mod python;
mod run;
mod sbom;
mod setup;
mod shell;
mod verifier;

use std::{env, path::PathBuf, process::ExitCode};

use anyhow::{Context, Result};
use deny::Database;
use setup::Purpose;

const USAGE: &str = "\
usage: cargo xtask COMMAND

  setup run|test|bench     installs what is missing to build and serve, to test, to benchmark
  run                      starts the server that `make run` has built
  path model|embedding-model|venv|node-modules|peer
                           prints where the chat model, the embedding model, the tests' Python, their packages for
                           Node.js or llama-server is
  check                    the rules of this repository that the compiler does not know
  verifier                 builds llmos-verify as one file without libraries, and prints where it is
  sbom                     writes what is in the programs that are shipped (CycloneDX), and prints where it is
  deny [--fresh]           licences, banned crates, sources and known vulnerabilities of the dependencies, by the copy of the
                           RustSec database on this machine; with --fresh by one that is new enough for a release
  golden [--check]         writes, or compares, the token ids that llama-server makes of fixed conversations";

/// The exit code for a command line that is not understood.
const EXIT_USAGE: u8 = 2;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let result = match *words.as_slice() {
        ["setup", "run"] => setup::setup(Purpose::Run),
        ["setup", "test"] => setup::setup(Purpose::Test),
        ["setup", "bench"] => setup::setup(Purpose::Bench),
        ["run"] => run::run(),
        ["path", "model"] => print(model::CHAT.path()),
        ["path", "embedding-model"] => print(model::EMBEDDING.path()),
        ["path", "node-modules"] => print(node::modules()),
        ["path", "venv"] => print(python::venv()),
        ["path", "peer"] => print(peer::path()),
        ["check"] => check::check(),
        ["verifier"] => verifier::build(),
        ["sbom"] => sbom::write(),
        ["deny"] => deny::deny(Database::Copy),
        ["deny", "--fresh"] => deny::deny(Database::Fresh),
        ["golden"] => golden::write(),
        ["golden", "--check"] => golden::check(),
        _ => {
            eprintln!("{USAGE}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn print(path: Result<PathBuf>) -> Result<()> {
    println!("{}", path?.display());
    Ok(())
}

/// The root of the checkout. Cargo says where, each time: two checkouts may share one target folder.
fn checkout() -> Result<PathBuf> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").context("run this as `cargo xtask`")?;
    let root = PathBuf::from(manifest).parent().map(PathBuf::from);
    root.context("the folder of xtask has no parent")
}
