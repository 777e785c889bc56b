//! A model file is hashed before llama.cpp parses it.

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
};

use engine::{LaunchError, LoadProgress};
use sha2::{Digest, Sha256};

/// Bytes read at once while hashing.
const HASH_CHUNK_BYTES: usize = 1 << 20;

/// Of the time that a load is expected to take, the part in which the file is hashed.
const HASHING_SHARE: f32 = 0.5;

/// Hashes the file at `path`, and checks that the hash is this one, if one is wanted. Blocks: about 1 s per GB.
pub(crate) fn verify(
    path: &Path,
    sha256: Option<&str>,
    progress: &LoadProgress,
) -> Result<String, LaunchError> {
    let shown = path.display();
    let refuse = |why: String| LaunchError { why, retry: false };
    let mut file = File::open(path).map_err(|error| {
        refuse(format!("cannot open the model file {shown} ({error}); correct `source` or put the file there, then restart"))
    })?;
    let Some(length) = file.metadata().ok().filter(fs::Metadata::is_file).map(|metadata| metadata.len())
    else {
        return Err(refuse(format!("the model file {shown} is not a file; correct `source`, then restart")));
    };
    let mut hash = Sha256::new();
    let mut chunk = vec![0; HASH_CHUNK_BYTES];
    let mut hashed = 0;
    loop {
        if progress.is_abandoned() {
            return Err(refuse("the load was broken off".to_owned()));
        }
        match file.read(&mut chunk) {
            Ok(0) => break,
            Ok(n) => {
                hash.update(&chunk[..n]);
                hashed += n as u64;
                progress.reach(HASHING_SHARE * hashed as f32 / length.max(1) as f32);
            }
            Err(error) => return Err(refuse(format!("cannot read the model file {shown} ({error})"))),
        }
    }
    let is = data_encoding::HEXLOWER.encode(&hash.finalize());
    match sha256 {
        Some(want) if is != want => Err(refuse(format!(
            "the model file {shown} has the SHA-256 {is}, but {want} is configured; fetch the file again, or correct \
             `sha256` if you trust this one, then restart"
        ))),
        _ => Ok(is),
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
        let progress = LoadProgress::begin();
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(verify(&path, Some(abc), &progress).unwrap(), abc);
        assert_eq!(verify(&path, None, &progress).unwrap(), abc);
        let refused = verify(&path, Some(&"0".repeat(64)), &progress).unwrap_err();
        assert!(
            refused.why.contains(abc) && refused.why.contains("000000") && !refused.retry,
            "{}",
            refused.why
        );
        assert!(
            verify(&folder.path().join("none"), None, &progress).unwrap_err().why.contains("cannot open")
        );
        assert!(verify(folder.path(), None, &progress).unwrap_err().why.contains("not a file"));
    }
}
