//! `make run`: starts the server that was built, with a configuration that is the user's from then on.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{checkout, model};

/// Where the server listens unless its configuration is changed.
const LISTEN: &str = "127.0.0.1:8080";
/// The cargo profile that `make run` builds.
const PROFILE: &str = "ci";

/// Becomes the server. Returns only if that failed.
pub(crate) fn run() -> Result<()> {
    let checkout = checkout()?;
    let config = checkout.join(".llmos/llmos.toml");
    write_once(&config, &configuration(&model::CHAT.path()?))?;
    let server = target_folder(&checkout).join(PROFILE).join("llmos");
    if !server.is_file() {
        bail!("{} is not built; run `make run`, which builds it", server.display());
    }
    let error = Command::new(&server).args(["serve", "--config"]).arg(config).exec();
    Err(error).with_context(|| format!("cannot start {}", server.display()))
}

/// Where cargo puts what it builds.
fn target_folder(checkout: &Path) -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        // As cargo reads it: an absolute path stays itself.
        Some(folder) => checkout.join(folder),
        None => checkout.join("target"),
    }
}

/// A file that exists is the user's.
fn write_once(path: &Path, text: &str) -> Result<()> {
    if path.exists() {
        return Ok(());
    }
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let partial = path.with_extension("toml.partial");
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, path));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {}; it is yours to change", path.display());
    Ok(())
}

fn configuration(model: &Path) -> String {
    // A JSON string is a TOML string: both escape quotes, backslashes and control characters alike.
    let source = serde_json::Value::from(model.to_string_lossy().into_owned());
    format!(
        "# Written once by `make run`; all keys: docs/reference/cli.md\n\
         listen = \"{LISTEN}\"\n\
         data_dir = \"data\"\n\
         \n\
         [[model]]\n\
         name = \"{}\"\n\
         source = {source}\n\
         sha256 = \"{}\"\n\
         context = {}\n\
         aliases = [\"default\"]\n",
        model::CHAT.name,
        "",
        8192,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_quotes_stays_one_string() {
        let text = configuration(Path::new("/home/\"a\\b/model.gguf"));
        assert!(text.contains(r#"source = "/home/\"a\\b/model.gguf""#), "{text}");
    }

    #[test]
    fn a_configuration_that_exists_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/llmos.toml");
        write_once(&path, "a = 1\n").unwrap();
        write_once(&path, "a = 2\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a = 1\n");
    }
}
