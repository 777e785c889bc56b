//! The suites: each measures the figures of one part of llmos.

mod access;
mod audit;
mod cp_sat;
mod dag;
mod engine;
mod estimate;
mod flow;
mod instances;
mod jsp;
mod placement;
mod prompts;
mod rcpsp;
mod vault;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use crate::{figures::Findings, process::is_file, servers::beside_us};

/// Names the peer of suite `engine` where it does not lie at its usual place.
const PEER_VARIABLE: &str = "LLMOS_BENCH_LLAMA_SERVER";
/// Where `make run` puts the peer, below the cache folder.
const PEER: &str = "peers/llama-server-0.3.36/llama-server";
/// Where the packaged models are put, below the cache folder: each in a folder that is named after its hash.
const MODELS: &str = "models";
/// The packaged models: one that generates, one that embeds.
const PACKAGED: [&str; 2] = ["smollm2-135m-instruct.gguf", "all-minilm-l6-v2.gguf"];
/// Names the Python that has the peers of the planner, where it does not lie at its usual place.
const PYTHON_VARIABLE: &str = "LLMOS_BENCH_PYTHON";
/// Where `make bench` puts it, below the cache folder.
const PYTHON: &str = "peers/planner-2/bin/python3";
/// The data of the planner's suites, where nothing else is said: a folder for each.
const SCHEDULING: &str = "../shared/data/scheduling";
/// Models that may be given.
const MODELS_MAX: usize = 8;

/// A suite that exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Suite {
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

/// What is measured, beside what, and on what.
#[derive(Debug)]
pub(crate) struct Options {
    /// Our program.
    pub(crate) llmos: PathBuf,
    /// The peer, if it is there.
    pub(crate) llama_server: Option<PathBuf>,
    /// The GGUF models that were given, or else those that are packaged and there.
    pub(crate) models: Vec<PathBuf>,
    /// The folder of data for the planner that was given, or else the usual one if it is there.
    pub(crate) data: Option<PathBuf>,
    /// The Python with the peers of the planner, if it is there.
    pub(crate) python: Option<PathBuf>,
}

impl Suite {
    pub(crate) const ALL: [Self; 10] = [
        Self::Engine,
        Self::Estimate,
        Self::Access,
        Self::Audit,
        Self::Vault,
        Self::Flow,
        Self::Dag,
        Self::Jsp,
        Self::Rcpsp,
        Self::Placement,
    ];

    /// Its name in the table of figures.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Engine => "engine",
            Self::Estimate => "estimate",
            Self::Access => "access",
            Self::Audit => "audit",
            Self::Vault => "vault",
            Self::Flow => "flow",
            Self::Dag => "dag",
            Self::Jsp => "jsp",
            Self::Rcpsp => "rcpsp",
            Self::Placement => "placement",
        }
    }

    pub(crate) async fn run(self, options: &Options) -> Result<Findings> {
        let (data, python) = (options.data_of(self), options.python.as_deref());
        let data = data.as_deref();
        match self {
            Self::Engine => engine::run(options).await,
            Self::Estimate => estimate::run(options).await,
            Self::Access => access::run(options).await,
            Self::Audit => audit::run().await,
            Self::Vault => vault::run().await,
            Self::Flow => flow::run(data, python),
            Self::Dag => dag::run(data, python),
            Self::Jsp => jsp::run(data, python),
            Self::Rcpsp => rcpsp::run(data, python),
            Self::Placement => placement::run(data, python),
        }
    }
}

impl Options {
    /// What was asked for must be there; what is only expected may be missing.
    pub(crate) fn new(paths: Vec<PathBuf>, llmos: Option<PathBuf>) -> Result<Self> {
        ensure!(paths.len() <= MODELS_MAX, "at most {MODELS_MAX} models can be measured");
        let llmos = match llmos {
            Some(llmos) => llmos,
            None => beside_us("llmos")?,
        };
        let named = |path: PathBuf, what: &str| {
            ensure!(is_file(&path), "there is no file {}, which should be {what}", path.display());
            Ok(path)
        };
        let (folders, paths): (Vec<PathBuf>, Vec<PathBuf>) =
            paths.into_iter().partition(|path| path.is_dir());
        ensure!(folders.len() <= 1, "at most one folder of data can be measured");
        let usual = PathBuf::from(SCHEDULING);
        let data = folders.into_iter().next().or_else(|| usual.is_dir().then_some(usual));
        let given: Result<Vec<_>> = paths.into_iter().map(|path| named(path, "the model")).collect();
        let mut models = given?;
        let peer = std::env::var_os(PEER_VARIABLE).map(PathBuf::from);
        let peer = peer.map(|path| named(path, "the llama-server of the environment")).transpose()?;
        let cache = cache_folder();
        let cached = |place: &str| cache.as_ref().map(|cache| cache.join(place)).filter(|path| is_file(path));
        if models.is_empty()
            && let Some(cache) = &cache
        {
            models.extend(PACKAGED.into_iter().filter_map(|name| below(&cache.join(MODELS), name)));
        }
        let python = std::env::var_os(PYTHON_VARIABLE).map(PathBuf::from);
        let python = python.map(|path| named(path, "the Python of the environment")).transpose()?;
        let python = python.or_else(|| cached(PYTHON));
        let models: Result<Vec<_>, _> = models.into_iter().map(std::path::absolute).collect();
        Ok(Self {
            llmos: named(llmos, "llmos; build it, or give its path by --llmos")?,
            llama_server: peer.or_else(|| cached(PEER)),
            models: models.context("bad path")?,
            data,
            python,
        })
    }
}

impl Options {
    /// The first model.
    pub(crate) fn chat_model(&self) -> Option<&Path> {
        self.models.first().map(PathBuf::as_path)
    }

    /// The folder of data of a suite: the one that is called like it, or else the folder itself.
    fn data_of(&self, suite: Suite) -> Option<PathBuf> {
        let data = self.data.as_ref()?;
        let own = data.join(suite.name());
        Some(if own.is_dir() { own } else { data.clone() })
    }
}

/// The file of this name in a folder of the folder; the latest, if there are several.
fn below(folder: &Path, name: &str) -> Option<PathBuf> {
    let folders = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    let files = folders.map(|folder| folder.path().join(name));
    files
        .filter(|path| is_file(path))
        .max_by_key(|path| path.metadata().and_then(|file| file.modified()).ok())
}

/// `$XDG_CACHE_HOME/llmos`, by default `~/.cache/llmos`.
fn cache_folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| Some(set("HOME")?.join(".cache")))?;
    Some(base.join("llmos"))
}

/// A secret in a file, under a root of its own.
fn secret_file(file: &Path) -> Result<::vault::SecretFile> {
    let root = ::vault::Root::of_text(&types::Secret::from("0123456789abcdef".repeat(4)))?;
    Ok(::vault::SecretFile::under(root, file))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::targets;

    #[test]
    fn every_suite_has_figures() {
        let targets = targets().unwrap();
        for suite in Suite::ALL {
            assert!(targets.iter().any(|target| target.suite == suite.name()), "{suite:?}");
        }
    }

    #[test]
    fn what_was_asked_for_must_be_there() {
        let absent = || PathBuf::from("/there/is/no/such/file");
        let error = Options::new(vec![absent()], None).unwrap_err().to_string();
        assert!(error.contains("the model"), "{error}");
        let error = Options::new(Vec::new(), Some(absent())).unwrap_err().to_string();
        assert!(error.contains("--llmos"), "{error}");
        assert!(Options::new(vec![absent(); MODELS_MAX + 1], None).is_err());
        let error = Options::new(vec![PathBuf::from("src"), PathBuf::from("peers")], None).unwrap_err();
        assert!(error.to_string().contains("one folder"), "{error}");
    }

    #[test]
    fn a_suite_finds_its_own_folder() {
        let data = |folder: &str| Options {
            llmos: PathBuf::new(),
            llama_server: None,
            models: Vec::new(),
            data: Some(PathBuf::from(folder)),
            python: None,
        };
        // The sources have a folder `dag`, and none for `rcpsp`.
        for (suite, expected) in [(Suite::Dag, "src/suites/dag"), (Suite::Rcpsp, "src/suites")] {
            assert_eq!(data("src/suites").data_of(suite), Some(PathBuf::from(expected)));
        }
    }
}
