//! `cargo xtask sbom`: what is in the programs that are shipped, as a software bill of materials (`CycloneDX` 1.6, JSON), beside
//! where cargo puts them. Asks nobody: what is on this machine to build with is what is listed.

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::Path,
    process::Command,
};

use anyhow::{Context, Result, bail};
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{checkout, run::target_folder, verifier::host};

/// The crates whose programs are shipped.
const SHIPPED: [&str; 2] = ["llmos", "verify"];
/// Where the bill is written, in cargo's folder.
const FILE: &str = "llmos.cdx.json";

/// Code in another language that a crate brings along and builds.
struct Bundled {
    by: &'static str,
    name: &'static str,
    licence: &'static str,
    from: &'static str,
    /// Where the version stands in the crate: a file, and what stands before it. Without one it is known by the crate's.
    version: Option<(&'static str, &'static str)>,
}

/// Of what llama.cpp brings along itself (JSON, HTTP, sound, pictures) nothing is linked: `nm` finds none of it.
const BUNDLED: [Bundled; 3] = [
    Bundled {
        by: "llama-cpp-sys-2",
        name: "llama.cpp",
        licence: "MIT",
        from: "https://github.com/ggml-org/llama.cpp",
        version: None,
    },
    Bundled {
        by: "libsqlite3-sys",
        name: "sqlite",
        licence: "blessing",
        from: "https://sqlite.org",
        version: Some(("sqlite3/sqlite3.h", "#define SQLITE_VERSION        \"")),
    },
    Bundled {
        by: "aws-lc-sys",
        name: "aws-lc",
        licence: "ISC AND Apache-2.0 AND MIT AND BSD-3-Clause",
        from: "https://github.com/aws/aws-lc",
        version: Some(("aws-lc/include/openssl/base.h", "#define AWSLC_VERSION_NUMBER_STRING \"")),
    },
];
/// Crates that say that they link to something, and bring nothing along that is not their own: the name is there so that no two
/// versions of them are in one program.
const BRING_NOTHING: [&str; 3] = ["aws-lc-rs", "rayon-core", "ring"];

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    /// Absent for a crate of this workspace.
    source: Option<String>,
    repository: Option<String>,
    links: Option<String>,
    manifest_path: String,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dependency>,
}

#[derive(Deserialize)]
struct Dependency {
    pkg: String,
    dep_kinds: Vec<Kind>,
}

#[derive(Deserialize)]
struct Kind {
    /// Absent for a normal one, else `dev` or `build`.
    kind: Option<String>,
}

/// Writes the bill, and prints where it is.
pub(crate) fn write() -> Result<()> {
    let checkout = checkout()?;
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["metadata", "--format-version", "1", "--locked", "--offline", "--filter-platform", &host()?]);
    let output = cargo.current_dir(&checkout).output().context("cannot start cargo")?;
    if !output.status.success() {
        bail!("`cargo metadata` failed: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata =
        serde_json::from_slice(&output.stdout).context("`cargo metadata` printed something new")?;
    let lock = fs::read_to_string(checkout.join("Cargo.lock")).context("cannot read Cargo.lock")?;
    let bill = bill(&metadata, &checksums(&lock))?;
    let file = target_folder(&checkout).join(FILE);
    fs::create_dir_all(target_folder(&checkout))?;
    fs::write(&file, serde_json::to_vec_pretty(&bill)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    eprintln!("{} components", bill["components"].as_array().map_or(0, Vec::len));
    println!("{}", file.display());
    Ok(())
}

/// What is shipped and all that is built into it.
fn bill(metadata: &Metadata, checksums: &BTreeMap<(String, String), String>) -> Result<Value> {
    let packages: BTreeMap<&str, &Package> =
        metadata.packages.iter().map(|one| (one.id.as_str(), one)).collect();
    let nodes: BTreeMap<&str, &Node> =
        metadata.resolve.nodes.iter().map(|node| (node.id.as_str(), node)).collect();
    let mut waiting: Vec<&Package> = metadata
        .packages
        .iter()
        .filter(|one| one.source.is_none() && SHIPPED.contains(&one.name.as_str()))
        .collect();
    if waiting.len() != SHIPPED.len() {
        bail!("the workspace has not the crates {}", SHIPPED.join(", "));
    }
    let (mut components, mut relations, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    while let Some(package) = waiting.pop() {
        if !seen.insert(package.id.as_str()) {
            continue;
        }
        let node =
            nodes.get(package.id.as_str()).with_context(|| format!("{} is not resolved", package.id))?;
        let built_in = node.deps.iter().filter(|dep| dep.dep_kinds.iter().any(|kind| kind.kind.is_none()));
        let used: Vec<&Package> = built_in
            .map(|dep| packages.get(dep.pkg.as_str()).copied())
            .collect::<Option<_>>()
            .context("a dependency is no package")?;
        let bundled = bundled(package)?;
        let refs =
            used.iter().map(|used| purl(used)).chain(bundled.iter().map(|one| as_text(&one["bom-ref"])));
        relations.push(json!({ "ref": purl(package), "dependsOn": refs.collect::<BTreeSet<_>>() }));
        components.push(component(package, checksums)?);
        components.extend(bundled);
        waiting.extend(used);
    }
    components.sort_by_key(|component| as_text(&component["bom-ref"]));
    let version = packages.values().find(|one| one.source.is_none()).map_or("", |one| &one.version);
    Ok(json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": { "type": "application", "bom-ref": "llmos", "name": "llmos", "version": version } },
        "components": components,
        "dependencies": relations,
    }))
}

/// One crate. What is not ours comes from crates.io, with the checksum that cargo holds it to.
fn component(package: &Package, checksums: &BTreeMap<(String, String), String>) -> Result<Value> {
    let Package { name, version, .. } = package;
    let licence = package.license.as_deref().with_context(|| format!("{name} names no licence"))?;
    let mut component = json!({
        "type": "library",
        "bom-ref": purl(package),
        "name": name,
        "version": version,
        "purl": purl(package),
        "licenses": [{ "expression": spdx(licence) }],
    });
    if package.source.is_some() {
        let checksum = checksums.get(&(name.clone(), version.clone()));
        let checksum = checksum.with_context(|| format!("Cargo.lock has no checksum of {name} {version}"))?;
        component["hashes"] = json!([{ "alg": "SHA-256", "content": checksum }]);
    }
    if let Some(repository) = &package.repository {
        component["externalReferences"] = json!([{ "type": "vcs", "url": repository }]);
    }
    Ok(component)
}

/// What a crate brings along in other languages. A crate of which we do not know it fails: the bill would be short of it.
fn bundled(package: &Package) -> Result<Vec<Value>> {
    let mine: Vec<&Bundled> = BUNDLED.iter().filter(|one| one.by == package.name).collect();
    if package.links.is_some() && mine.is_empty() && !BRING_NOTHING.contains(&package.name.as_str()) {
        bail!("{} links to something: say in xtask/src/sbom.rs what it brings along", package.name);
    }
    let folder = Path::new(&package.manifest_path).parent().context("a manifest is in no folder")?;
    mine.into_iter().map(|one| brought(one, package, folder)).collect()
}

fn brought(one: &Bundled, package: &Package, folder: &Path) -> Result<Value> {
    let version = match one.version {
        Some((file, before)) => {
            let text =
                fs::read_to_string(folder.join(file)).with_context(|| format!("cannot read {file}"))?;
            let found = text.lines().find_map(|line| Some(line.split_once(before)?.1.to_owned()));
            let found =
                found.with_context(|| format!("{file} does not say which version of {} it is", one.name))?;
            found.split(['"', ' ']).next().unwrap_or_default().to_owned()
        }
        None => format!("as in {} {}", package.name, package.version),
    };
    Ok(json!({
        "type": "library",
        "bom-ref": format!("{}#{}", purl(package), one.name),
        "name": one.name,
        "version": version,
        "licenses": [{ "expression": one.licence }],
        "externalReferences": [{ "type": "vcs", "url": one.from }],
    }))
}

/// The name of a crate that every tool knows.
fn purl(package: &Package) -> String {
    format!("pkg:cargo/{}@{}", package.name, package.version.replace('+', "%2B"))
}

/// Licences as SPDX writes them: older crates part them by a slash.
fn spdx(licence: &str) -> String {
    licence.split('/').map(str::trim).collect::<Vec<_>>().join(" OR ")
}

fn as_text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// By name and version, as Cargo.lock has them.
fn checksums(lock: &str) -> BTreeMap<(String, String), String> {
    let field = |package: &str, name: &str| {
        let line = package.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(" = "));
        line.map(|quoted| quoted.trim_matches('"').to_owned())
    };
    let packages = lock.split("[[package]]");
    packages
        .filter_map(|one| Some(((field(one, "name")?, field(one, "version")?), field(one, "checksum")?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The two programs, a library of theirs with one of C, one for tests and one that builds.
    fn metadata(folder: &Path, links: &str) -> Metadata {
        let manifest = folder.join("Cargo.toml");
        let package = |name: &str, version: &str, source: Option<&str>, links: Option<&str>| {
            json!({
                "id": name, "name": name, "version": version, "license": "MIT/Apache-2.0", "source": source,
                "repository": null, "links": links, "manifest_path": manifest,
            })
        };
        let dep = |name: &str, kind: Option<&str>| json!({ "pkg": name, "dep_kinds": [{ "kind": kind }] });
        let node = |name: &str, deps: Vec<Value>| json!({ "id": name, "deps": deps });
        let crates_io = Some("registry+https://github.com/rust-lang/crates.io-index");
        let metadata = json!({
            "packages": [
                package("llmos", "0.1.0", None, None),
                package("verify", "0.1.0", None, None),
                package(links, "3.0.0+x", crates_io, Some("c")),
                package("tested-with", "1.0.0", crates_io, None),
                package("built-with", "1.0.0", crates_io, Some("d")),
            ],
            "resolve": { "nodes": [
                node("llmos", vec![dep(links, None), dep("tested-with", Some("dev")), dep("built-with", Some("build"))]),
                node("verify", vec![]),
                node(links, vec![]),
            ] },
        });
        serde_json::from_value(metadata).unwrap()
    }

    #[test]
    fn what_is_shipped_is_listed_with_what_it_brings_along() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("sqlite3")).unwrap();
        let header = "/*\n*/\n#define SQLITE_VERSION        \"3.51.3\"\n#define X 1\n";
        fs::write(folder.path().join("sqlite3/sqlite3.h"), header).unwrap();
        let lock = "version = 4\n\n[[package]]\nname = \"libsqlite3-sys\"\nversion = \"3.0.0+x\"\nchecksum = \"abc\"\n";
        let bill = bill(&metadata(folder.path(), "libsqlite3-sys"), &checksums(lock)).unwrap();
        let listed: Vec<_> = bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| (&one["name"], &one["version"]))
            .collect();
        let expected =
            [("llmos", "0.1.0"), ("verify", "0.1.0"), ("libsqlite3-sys", "3.0.0+x"), ("sqlite", "3.51.3")];
        for (name, version) in expected {
            assert!(listed.contains(&(&json!(name), &json!(version))), "{name} {version}: {listed:?}");
        }
        assert_eq!(listed.len(), expected.len(), "{listed:?}");
        let library = bill["components"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["name"] == "libsqlite3-sys")
            .unwrap();
        assert_eq!(library["hashes"][0]["content"], "abc");
        assert_eq!(library["licenses"][0]["expression"], "MIT OR Apache-2.0");
        assert_eq!(library["purl"], "pkg:cargo/libsqlite3-sys@3.0.0%2Bx");
        let uses = bill["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .find(|one| one["ref"] == library["purl"])
            .unwrap();
        assert_eq!(uses["dependsOn"], json!(["pkg:cargo/libsqlite3-sys@3.0.0%2Bx#sqlite"]));
    }

    #[test]
    fn a_bill_that_would_be_short_of_something_is_not_written() {
        let folder = tempfile::tempdir().unwrap();
        let written = |links: &str, lock: &str| {
            bill(&metadata(folder.path(), links), &checksums(lock)).map_err(|error| format!("{error:#}"))
        };
        let locked = |name: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"3.0.0+x\"\nchecksum = \"abc\"\n")
        };
        let error = written("zlib-sys", &locked("zlib-sys")).unwrap_err();
        assert!(error.contains("zlib-sys links to something"), "{error}");
        let error = written("ring", "").unwrap_err();
        assert!(error.contains("no checksum of ring"), "{error}");
        let error = written("aws-lc-sys", &locked("aws-lc-sys")).unwrap_err();
        assert!(error.contains("cannot read"), "{error}");
        assert!(written("ring", &locked("ring")).is_ok());
    }
}
