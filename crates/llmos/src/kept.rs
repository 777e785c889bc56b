//! Opens what is stored: the secrets and the keys under the root of the configuration, and the database that it names.

use std::{
    env,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use path::Kept;
use store::{Store, VaultKeys};
use types::Secret;
use vault::{HsmKey, NamedSecret, RootFile, RootSource, SecretName, Secrets};

use crate::{
    config::{Config, OLD_ROOT_KEY, ROOT_KEY, ROOT_PASSPHRASE, ROOT_PIN, RootPlace},
    data_dir::DataDir,
    exit::{Exit, Failure, Trying},
};

/// How often what has expired is deleted. Nobody is given it any more in between.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// The keys of what is stored, and the secrets, under the root of the configuration. Needs no other database.
pub(crate) async fn secrets(
    config: &Config,
    data_dir: &DataDir,
) -> Result<(VaultKeys, Arc<Secrets>), Failure> {
    let keys = VaultKeys::open(&data_dir.vault_keys()).await.trying("open the keys of the vault")?;
    let keys_exist = keys.counts().await.trying("count the keys of the vault")?.tenants > 0;
    let (root, old_root) = (root(config)?, old_root(config)?);
    let place = data_dir.secrets().in_suite(config.suite);
    // To make an RSA key takes a second of computing.
    let opened =
        tokio::task::spawn_blocking(move || Secrets::open(root, old_root.as_ref(), place, keys_exist)).await;
    let secrets = opened.trying("open the vault")?.trying("open the vault")?;
    Ok((keys, Arc::new(secrets)))
}

/// The secret of this name, which opens now; `setting` says who names it.
pub(crate) fn named(secrets: &Secrets, setting: &str, name: &SecretName) -> Result<NamedSecret, Failure> {
    let secret = secrets.named(name);
    match secret.open() {
        Ok(_) => Ok(secret),
        Err(error) => {
            let what = format!("{setting} is \"vault:{name}\", and {error}");
            Err(Failure::new(Exit::Configuration, what))
        }
    }
}

/// The database of the configuration.
async fn store(config: &Config, data_dir: &DataDir, secrets: &Secrets) -> Result<Store, Failure> {
    let Some(address) = &config.postgres else {
        return Store::open(&data_dir.store()).await.trying("open the store");
    };
    let mut address = address.clone();
    if let Some(name) = &config.postgres_password {
        const SETTING: &str = "`store.postgres_password`";
        let password = named(secrets, SETTING, name)?.open().trying("open the password of the store")?;
        address = address.with_password(password).map_err(|why| {
            Failure::new(Exit::Configuration, format!("{SETTING} is \"vault:{name}\", and {why}"))
        })?;
    }
    Store::open_postgres(&address).await.trying("open the store")
}

/// The database of the configuration; what is stored in it.
pub(crate) async fn open(
    config: &Config,
    data_dir: &DataDir,
    keys: VaultKeys,
    secrets: Arc<Secrets>,
) -> Result<(Store, Arc<Kept>), Failure> {
    let store = store(config, data_dir, &secrets).await?;
    let kept = Kept::open(store.clone(), keys, secrets, config.retention.clone());
    let kept = Arc::new(kept.await.trying("open the vault")?);
    // Before anybody is given anything.
    let shortened = kept.apply_retention().await.trying("apply the rules of retention")?;
    if shortened > 0 {
        tracing::info!(
            count = shortened,
            "chat completions expire sooner, as the configuration has become stricter"
        );
    }
    Ok((store, kept))
}

/// Deletes what expires, for as long as the server lives.
pub(crate) async fn expire(kept: Arc<Kept>) {
    loop {
        // A clock before 1970 is wrong anyway.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        match kept.delete_expired(now).await {
            Ok(0) => {}
            Ok(count) => tracing::info!(count, "deleted chat completions that have expired"),
            Err(error) => tracing::warn!("what has expired cannot be deleted yet: {error}"),
        }
        tokio::time::sleep(EXPIRY_INTERVAL).await;
    }
}

/// The root of the configuration.
pub(crate) fn root(config: &Config) -> Result<RootSource, Failure> {
    source(&config.root, ROOT_KEY)
}

fn old_root(config: &Config) -> Result<Option<RootSource>, Failure> {
    config.old_root.as_ref().map(|place| source(place, OLD_ROOT_KEY)).transpose()
}

fn source(place: &RootPlace, variable: &'static str) -> Result<RootSource, Failure> {
    Ok(match place {
        RootPlace::File(path) => {
            RootSource::File(RootFile { path: path.clone(), passphrase: secret(ROOT_PASSPHRASE) })
        }
        RootPlace::Environment => RootSource::Text(needed(variable)?),
        RootPlace::Pkcs11 { module, token, object } => RootSource::Hsm(HsmKey {
            module: module.clone(),
            token: token.clone(),
            label: object.clone(),
            pin: needed(ROOT_PIN)?,
        }),
    })
}

fn needed(variable: &'static str) -> Result<Secret, Failure> {
    secret(variable).ok_or_else(|| {
        let what =
            format!("the root key is not there: the environment variable {variable} is empty or not set");
        Failure::new(Exit::Configuration, what).advise("`openssl rand -hex 32` makes a new root key")
    })
}

/// Workers of models never see it: they get no variable of ours.
fn secret(variable: &str) -> Option<Secret> {
    env::var(variable).ok().filter(|text| !text.is_empty()).map(Secret::from)
}
