//! What is stored, for tests.

use std::{path::Path as File, sync::Arc, time::Duration};

use path::{Kept, Retention};
use store::{Store, VaultKeys};
use types::Secret;
use vault::{Root, RootSource, SecretFile, Secrets, SecretsPlace};

/// Chat completions of the class `public` are not stored.
pub(crate) async fn open(folder: &File, store: Store) -> Arc<Kept> {
    let keys = VaultKeys::open(&folder.join("keys.db")).await.unwrap();
    let root = RootSource::Text(Secret::from("0123456789abcdef".repeat(4)));
    let month = Duration::from_secs(30 * 86_400);
    let retention = Retention {
        chat_completions: [Duration::ZERO, month, month, month],
        no_store_tenants: vec!["secret service".to_owned()],
    };
    let place = SecretsPlace::new(folder.join("secrets"), Vec::new());
    let secrets = Arc::new(Secrets::open(root, None, place, false).unwrap());
    Arc::new(Kept::open(store, keys, secrets, retention).await.unwrap())
}

/// A secret in a file, under a root of tests.
pub(crate) fn secret_file(file: &File) -> SecretFile {
    SecretFile::under(Root::of_text(&Secret::from("0123456789abcdef".repeat(4))).unwrap(), file)
}
