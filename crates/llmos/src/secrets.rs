//! `llmos vault seal-secret`, `secrets` and `remove-secret`: on the files of the data directory, as a secret may be what the server needs
//! to start.

use std::io::{self, IsTerminal, Read};

use serde_json::json;
use store::VaultKeys;
use types::Secret;
use vault::{SECRET_BYTES_MAX, SecretName, SecretsPlace};
use zeroize::Zeroizing;

use crate::{
    cli::SecretsCommand,
    config::Config,
    data_dir,
    exit::{Exit, Failure, Trying},
    kept,
    output::{self, Output},
};

pub(crate) fn run(config: &Config, command: SecretsCommand, output: Output) -> Result<(), Failure> {
    let place = data_dir::secrets(&config.data_dir).in_suite(config.suite);
    match command {
        SecretsCommand::SealSecret { name } => seal(config, &place, &name, output),
        SecretsCommand::Secrets => list(&place, output),
        SecretsCommand::RemoveSecret { name } => remove(config, &place, &name, output),
    }
}

fn seal(config: &Config, place: &SecretsPlace, name: &SecretName, output: Output) -> Result<(), Failure> {
    let secret = from_stdin(name)?;
    data_dir::make(&config.data_dir)?;
    let root = kept::root(config)?;
    // Only a root that is not there yet could be made here.
    let keys_exist = root.has_to_be_made() && crate::runtime()?.block_on(have_keys(config))?;
    let replaced = place.seal(&root, keys_exist, name, &secret).trying(format_args!("seal `{name}`"))?;
    if output.json {
        return output::document(&json!({ "sealed": name.to_string(), "replaced": replaced }));
    }
    let again = if replaced { " again, in the place of the one before" } else { "" };
    output.text(&format!("sealed {name}{again}; settings name it \"vault:{name}\"\n"))
}

/// What comes on stdin, but for white space at its end.
fn from_stdin(name: &SecretName) -> Result<Secret, Failure> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        let what =
            "the secret has to come from a file or a program: whoever looks at this terminal would see it";
        return Err(Failure::new(Exit::Usage, what)
            .advise(format_args!("llmos vault seal-secret {name} < FILE"))
            .advise(format_args!(
                "or, in bash: read -rs SECRET && printf %s \"$SECRET\" | llmos vault seal-secret {name}"
            )));
    }
    // As long as it gets: a vector that grows leaves copies behind.
    let limit = SECRET_BYTES_MAX + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit));
    stdin.lock().take(limit as u64).read_to_end(&mut bytes).trying("read the secret from stdin")?;
    if bytes.len() == limit {
        let what = format!("the secret has more than {SECRET_BYTES_MAX} bytes");
        return Err(Failure::new(Exit::Usage, what));
    }
    let length = bytes.trim_ascii_end().len();
    if length == 0 {
        return Err(Failure::new(Exit::Usage, "there is no secret on stdin")
            .advise(format_args!("llmos vault seal-secret {name} < FILE")));
    }
    bytes.truncate(length);
    Ok(Secret::from(std::mem::take(&mut *bytes)))
}

async fn have_keys(config: &Config) -> Result<bool, Failure> {
    let file = data_dir::vault_keys(&config.data_dir);
    if !file.exists() {
        return Ok(false);
    }
    let keys = VaultKeys::open(&file).await.trying("open the keys of the vault")?;
    let counts = keys.counts().await.trying("count the keys of the vault")?;
    keys.close().await;
    Ok(counts.tenants > 0)
}

fn list(place: &SecretsPlace, output: Output) -> Result<(), Failure> {
    let names: Vec<String> =
        place.names().trying("list the secrets")?.iter().map(ToString::to_string).collect();
    if output.json {
        return output::document(&json!({ "secrets": names }));
    }
    if names.is_empty() {
        output::note(format_args!("there are no secrets; `llmos vault seal-secret NAME < FILE` seals one"));
    }
    output.text(&names.into_iter().map(|name| name + "\n").collect::<String>())
}

fn remove(config: &Config, place: &SecretsPlace, name: &SecretName, output: Output) -> Result<(), Failure> {
    let is_there = config.data_dir.is_dir();
    if !is_there || !place.remove(name).trying(format_args!("remove `{name}`"))? {
        let what = format!("there is no secret `{name}` in {}", config.data_dir.display());
        return Err(Failure::new(Exit::NotFound, what).advise("`llmos vault secrets` lists them"));
    }
    if output.json {
        return output::document(&json!({ "removed": name.to_string() }));
    }
    output.text(&format!("removed {name}\n"))
}
