//! A model file is checked before anything parses it; then a worker is started on it.

#[cfg(feature = "llama")]
pub(crate) use launch::FileLaunch;

use std::{fs::File, io::Read, path::Path};

use engine::LaunchError;
use sha2::{Digest, Sha256};

/// Bytes read at once while hashing.
const HASH_CHUNK_BYTES: usize = 1 << 20;

/// Checks that `path` is a readable file with this SHA-256. Blocks: about 1 s per GB.
pub(crate) fn verify(path: &Path, sha256: Option<&str>) -> Result<(), LaunchError> {
    let shown = path.display();
    let refuse = |why: String| LaunchError { why, retry: false };
    let mut file = File::open(path).map_err(|error| {
        refuse(format!("cannot open the model file {shown} ({error}); correct `source` or put the file there, then restart"))
    })?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(refuse(format!("the model file {shown} is not a file; correct `source`, then restart")));
    }
    let Some(want) = sha256 else { return Ok(()) };
    let mut hash = Sha256::new();
    let mut chunk = vec![0; HASH_CHUNK_BYTES];
    loop {
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => hash.update(&chunk[..n]),
            Err(error) => return Err(refuse(format!("cannot read the model file {shown} ({error})"))),
        }
    }
    let is = data_encoding::HEXLOWER.encode(&hash.finalize());
    if is == want {
        return Ok(());
    }
    Err(refuse(format!(
        "the model file {shown} has the SHA-256 {is}, but {want} is configured; fetch the file again, or correct \
         `sha256` if you trust this one, then restart"
    )))
}

#[cfg(feature = "llama")]
mod launch {
    use std::path::PathBuf;

    use engine::{
        Launch, LaunchError, Loaded,
        llama::{LlamaLaunch, WorkerOrder},
    };
    use futures::{FutureExt, future::BoxFuture};

    use super::verify;
    use crate::{ModelSpec, memory::STEP_TOKENS};

    /// Memory for a worker of which nothing is configured: this share, in percent, of what is available.
    const MEMORY_SHARE_PERCENT: u64 = 90;

    /// Verifies a model file and starts a llama worker on it.
    pub(crate) struct FileLaunch {
        pub(crate) program: PathBuf,
        pub(crate) path: PathBuf,
        pub(crate) sha256: Option<String>,
        pub(crate) spec: ModelSpec,
        pub(crate) cores: Vec<usize>,
    }

    impl Launch for FileLaunch {
        fn launch(&self) -> BoxFuture<'_, Result<Loaded, LaunchError>> {
            async {
                let (path, sha256) = (self.path.clone(), self.sha256.clone());
                tokio::task::spawn_blocking(move || verify(&path, sha256.as_deref()))
                    .await
                    .map_err(|error| LaunchError { why: error.to_string(), retry: true })??;
                let step = STEP_TOKENS.min(self.spec.context.0);
                let order = WorkerOrder {
                    path: self.path.clone(),
                    context: self.spec.context.0,
                    step,
                    // A step has a token of each sequence that generates; llama.cpp aborts where it has no room.
                    running_max: self.spec.parallel.min(step),
                    cores: self.cores.clone(),
                    memory_max: self.spec.memory_max.unwrap_or_else(share_of_available_memory),
                };
                LlamaLaunch { program: self.program.clone(), order }.launch().await
            }
            .boxed()
        }
    }

    fn share_of_available_memory() -> u64 {
        let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let available = meminfo
            .lines()
            .find_map(|line| line.strip_prefix("MemAvailable:"))
            .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
        // Without the figure (not Linux) there is no limit.
        available.map_or(u64::MAX, |kib| kib * 1024 / 100 * MEMORY_SHARE_PERCENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_hash_is_refused_and_says_both() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, "abc").unwrap();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(verify(&path, Some(abc)), Ok(()));
        assert_eq!(verify(&path, None), Ok(()));
        let refused = verify(&path, Some(&"0".repeat(64))).unwrap_err();
        assert!(
            refused.why.contains(abc) && refused.why.contains("000000") && !refused.retry,
            "{}",
            refused.why
        );
        assert!(verify(&folder.path().join("none"), None).unwrap_err().why.contains("cannot open"));
        assert!(verify(folder.path(), None).unwrap_err().why.contains("not a file"));
    }
}
