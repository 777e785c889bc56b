//! The peer to measure against: llama.cpp's own server, built from source with the flags that our engine is built
//! with. The prebuilt ones need AVX-512 or AMX (see `docs/dependencies.md`).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
};

use anyhow::{Context, Result};

use crate::{cache, python, shell};

const PACKAGE: &str = "llama-cpp-python";
const VERSION: &str = "0.3.36";
const SDIST_SHA256: &str = "832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e";
/// What pip needs to read the package's name out of its source.
const BUILD_BACKENDS: [&str; 2] = ["scikit-build-core", "flit-core"];
const PROGRAM: &str = "llama-server";

const CONFIGURE: [&str; 14] = [
    "-DCMAKE_BUILD_TYPE=Release",
    "-DBUILD_SHARED_LIBS=OFF",
    // Like ours: the instruction sets of every machine of the last ten years, not those of this one.
    "-DGGML_NATIVE=OFF",
    "-DLLAMA_OPENSSL=OFF",
    "-DLLAMA_BUILD_TESTS=OFF",
    "-DLLAMA_BUILD_EXAMPLES=OFF",
    "-DLLAMA_BUILD_APP=OFF",
    "-DLLAMA_BUILD_UI=OFF",
    "-DLLAMA_USE_PREBUILT_UI=OFF",
    "-DLLAMA_BUILD_TOOLS=ON",
    "-DLLAMA_BUILD_SERVER=ON",
    "-DLLAMA_BUILD_NUMBER=0",
    // Otherwise the commit of whatever repository lies around the folder.
    "-DLLAMA_BUILD_COMMIT=llama-cpp-python-0.3.36",
    "-Wno-dev",
];

/// Where the server is, or will be.
pub(crate) fn path() -> Result<PathBuf> {
    Ok(cache::root()?.join("peers").join(format!("{PROGRAM}-{VERSION}")).join(PROGRAM))
}

/// The peers of the planner, from Python. Another list, another number: nothing is ever upgraded in place.
const PLANNER: &str = "planner-2";
const PLANNER_REQUIREMENTS: &str = include_str!("../../crates/bench/peers/requirements.txt");

/// Builds the server, and installs the peers of the planner, unless they are there.
pub(crate) fn setup() -> Result<()> {
    let planner = cache::root()?.join("peers").join(PLANNER);
    python::environment(
        &planner,
        "the planner's peers (crates/bench/peers/requirements.txt)",
        PLANNER_REQUIREMENTS,
        &["--no-deps"],
    )?;
    let target = path()?;
    cache::once(&target, || target.is_file(), |scratch| build(scratch, &target))
}

fn build(scratch: &Path, target: &Path) -> Result<()> {
    eprintln!("building the peer, {PROGRAM} of {PACKAGE} {VERSION}: once, about 8 minutes on two cores");
    let mut pip = python::scratch_pip(scratch)?;
    shell::run(pip.args(["install", "--quiet"]).args(BUILD_BACKENDS))?;
    let mut pip = Command::new(pip.get_program());
    pip.args(["download", "--quiet", "--no-deps", "--no-build-isolation", "--no-binary", PACKAGE, "--dest"]);
    shell::run(pip.arg(scratch).arg(format!("{PACKAGE}=={VERSION}")))?;
    let sdist = shell::only_file(scratch, ".tar.gz")?;
    cache::verify_sha256(&sdist, SDIST_SHA256)?;
    shell::run(Command::new("python3").args(["-m", "tarfile", "-e"]).arg(sdist).arg(scratch))?;

    let source = scratch.join(format!("llama_cpp_python-{VERSION}/vendor/llama.cpp"));
    let tree = scratch.join("build");
    let mut configure = cmake();
    configure.arg("-S").arg(source).arg("-B").arg(&tree).args(CONFIGURE);
    if shell::has("ccache") {
        configure.args(["-DCMAKE_C_COMPILER_LAUNCHER=ccache", "-DCMAKE_CXX_COMPILER_LAUNCHER=ccache"]);
    }
    shell::run(&mut configure)?;
    let jobs = thread::available_parallelism().map_or(1, usize::from).to_string();
    shell::run(cmake().arg("--build").arg(&tree).args(["--target", PROGRAM, "--parallel", &jobs]))?;

    let built = tree.join("bin").join(PROGRAM);
    fs::metadata(&built).with_context(|| format!("the build left no {}", built.display()))?;
    cache::publish(&built, target)
}

/// With `SOURCE_DATE_EPOCH` set, ggml silently falls back to its slowest kernels.
fn cmake() -> Command {
    let mut cmake = Command::new("cmake");
    cmake.env_remove("SOURCE_DATE_EPOCH");
    cmake
}
