//! What a build needs that cargo does not bring: system packages, the chat model, the Python environment of the
//! tests, the peer of the benchmarks.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Result, bail};

use crate::{model, node, peer, python, shell};

/// What the machine is made ready for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// To build and serve.
    Run,
    /// To run every test.
    Test,
    /// To run the benchmarks.
    Bench,
}

/// A requirement, whether this machine meets it, and the Debian package that would.
struct Requirement {
    name: &'static str,
    package: &'static str,
    met: fn() -> bool,
    /// Whether it is for the tests only.
    tests: bool,
}

const REQUIREMENTS: [Requirement; 14] = [
    Requirement { name: "cmake", package: "cmake", met: || shell::has("cmake"), tests: false },
    Requirement {
        name: "a C++ compiler",
        package: "g++",
        met: || shell::has("g++") || shell::has("clang++"),
        tests: false,
    },
    Requirement { name: "libclang", package: "libclang-dev", met: has_libclang, tests: false },
    Requirement { name: "ccache", package: "ccache", met: || shell::has("ccache"), tests: false },
    // `llmos pull pypi:…` runs it.
    Requirement {
        name: "pip",
        package: "python3-pip",
        met: || shell::succeeds(Command::new("python3").args(["-m", "pip", "--version"])),
        tests: false,
    },
    Requirement {
        name: "python3 with venv",
        package: "python3-venv",
        met: python::makes_environments,
        tests: false,
    },
    Requirement { name: "tmux", package: "tmux", met: || shell::has("tmux"), tests: true },
    // A security module in software, for the tests of the vault.
    Requirement { name: "SoftHSM2", package: "softhsm2", met: || shell::has("softhsm2-util"), tests: true },
    // The other database of the store. The tests start servers of their own.
    Requirement { name: "PostgreSQL", package: "postgresql", met: has_postgres, tests: true },
    // A browser, two identity providers (one is a package for Node.js), and what they are set up with.
    Requirement { name: "Chromium", package: "chromium", met: || shell::has("chromium"), tests: true },
    Requirement { name: "glewlwyd", package: "glewlwyd", met: || shell::has("glewlwyd"), tests: true },
    Requirement { name: "sqlite3", package: "sqlite3", met: || shell::has("sqlite3"), tests: true },
    Requirement { name: "openssl", package: "openssl", met: || shell::has("openssl"), tests: true },
    Requirement { name: "npm", package: "npm", met: || shell::has("npm"), tests: true },
];

/// Installs what is missing. Takes milliseconds when nothing is.
pub(crate) fn setup(purpose: Purpose) -> Result<()> {
    system_packages(purpose)?;
    match purpose {
        // The server pulls its models itself.
        Purpose::Run => Ok(()),
        Purpose::Test => {
            test_models()?;
            python::setup()?;
            node::setup()
        }
        Purpose::Bench => {
            test_models()?;
            peer::setup()
        }
    }
}

fn test_models() -> Result<()> {
    model::CHAT.setup()?;
    model::EMBEDDING.setup()
}

fn system_packages(purpose: Purpose) -> Result<()> {
    let needed = REQUIREMENTS.iter().filter(|requirement| purpose == Purpose::Test || !requirement.tests);
    let missing: Vec<&Requirement> = needed.filter(|requirement| !(requirement.met)()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|requirement| requirement.name).collect::<Vec<_>>().join(", ");
    let packages: Vec<&str> = missing.iter().map(|requirement| requirement.package).collect();
    let debian = shell::has("apt-get");
    if !debian {
        bail!("missing: {names}; install them with this system's package manager and try again");
    }
    if !is_root() {
        bail!("missing: {names}; run `sudo apt-get install -y {}` and try again", packages.join(" "));
    }
    eprintln!("installing with apt-get: {}", packages.join(" "));
    shell::run(Command::new("apt-get").args(["update", "-qq"]))?;
    let mut install = Command::new("apt-get");
    install.args(["install", "-y", "-qq", "--no-install-recommends"]).args(&packages);
    shell::run(install.env("DEBIAN_FRONTEND", "noninteractive"))?;
    match missing.iter().find(|requirement| !(requirement.met)()) {
        None => Ok(()),
        Some(Requirement { name, package, .. }) => {
            bail!(
                "{name} is still missing after `apt-get install {package}`; install it by hand and try again"
            )
        }
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// Debian keeps the programs of each version in a folder of its own.
fn has_postgres() -> bool {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().filter_map(Result::ok);
    versions.map(|version| version.path().join("bin/postgres")).any(|program| program.exists())
}

/// bindgen needs the library with its headers, so the name of the development package's link is looked for.
fn has_libclang() -> bool {
    if env::var_os("LIBCLANG_PATH").is_some() {
        return true;
    }
    let mut folders: Vec<PathBuf> = ["/usr/lib", "/usr/lib64", "/usr/local/lib"].map(PathBuf::from).to_vec();
    folders.push(format!("/usr/lib/{}-linux-gnu", env::consts::ARCH).into());
    folders.push("/Library/Developer/CommandLineTools/usr/lib".into());
    folders.extend(entries(Path::new("/usr/lib")).filter(|path| is_llvm(path)).map(|path| path.join("lib")));
    folders.iter().flat_map(|folder| entries(folder)).any(|path| is_libclang(&path))
}

fn is_llvm(folder: &Path) -> bool {
    folder.file_name().is_some_and(|name| name.to_string_lossy().starts_with("llvm"))
}

fn is_libclang(file: &Path) -> bool {
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let version = name
        .strip_prefix("libclang")
        .and_then(|rest| rest.strip_suffix(".so").or_else(|| rest.strip_suffix(".dylib")));
    version.is_some_and(|version| version.chars().all(|c| c == '-' || c == '.' || c.is_ascii_digit()))
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_libclang_by_name() {
        let cases = [
            ("libclang.so", true),
            ("libclang-14.so", true),
            ("libclang-14.0.6.so", true),
            ("libclang.dylib", true),
            ("libclang.so.1", false),
            ("libclang-cpp.so", false),
            ("libclang_rt.asan-x86_64.so", false),
            ("liblzma.so", false),
        ];
        for (name, expected) in cases {
            assert_eq!(is_libclang(&Path::new("/usr/lib").join(name)), expected, "{name}");
        }
    }
}
