//! Opens what is stored: the database of the configuration, and the keys under the root that it names.

use std::{
    env,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use path::Kept;
use store::{Store, VaultKeys};
use types::Secret;
use vault::{HsmKey, RootFile, RootSource};

use crate::{
    config::{Config, OLD_ROOT_KEY, ROOT_KEY, ROOT_PASSPHRASE, ROOT_PIN, RootPlace},
    data_dir::DataDir,
    exit::{Exit, Failure, Trying},
};

/// How often what has expired is deleted. Nobody is given it any more in between.
const EXPIRY_INTERVAL: Duration = Duration::from_secs(60);

/// The database of the configuration.
async fn store(config: &Config, data_dir: &DataDir) -> Result<Store, Failure> {
    match &config.postgres {
        Some(address) => Store::open_postgres(address).await.trying("open the store"),
        None => Store::open(&data_dir.store()).await.trying("open the store"),
    }
}

/// The database of the configuration; what is stored in it, and the keys to it.
pub(crate) async fn open(config: &Config, data_dir: &DataDir) -> Result<(Store, Arc<Kept>), Failure> {
    let keys = data_dir.vault_keys();
    let keys = async { VaultKeys::open(&keys).await.trying("open the keys of the vault") };
    // Each waits for the disk.
    let (store, keys) = tokio::try_join!(store(config, data_dir), keys)?;
    let root = source(&config.root, ROOT_KEY)?;
    let old_root = config.old_root.as_ref().map(|place| source(place, OLD_ROOT_KEY)).transpose()?;
    let kept = Kept::open(store.clone(), keys, root, old_root, config.retention.clone());
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
    if let Err(error) = kept.ready().await {
        tracing::error!("the vault cannot be used, so nothing is stored: {error}");
    }
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
