//! The newest checkpoint that witnesses have countersigned, with their signatures: what is worth more in a proof than the
//! log's own word.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use tlog::{
    Checkpoint, VerifierKey,
    note::{NOTE_BYTES_MAX, Note, Signature},
};

use crate::log::Checkpointed;

/// Where it is, in the folder of the log.
pub(crate) const FILE: &str = "checkpoint.cosigned";

/// Keeps it in memory and in a file.
pub(crate) struct Cosigned {
    file: PathBuf,
    newest: Mutex<Option<Checkpointed>>,
}

impl Cosigned {
    /// What was kept before, if it is of this log. Blocks.
    pub(crate) fn open(file: PathBuf, key: &VerifierKey) -> Self {
        let kept = match durable::read(&file, NOTE_BYTES_MAX) {
            Ok(None) => None,
            Ok(Some(bytes)) => match Checkpoint::open(&bytes, key) {
                Ok(checkpoint) => {
                    let note = String::from_utf8_lossy(&bytes).into();
                    Some(Checkpointed { size: checkpoint.size(), note })
                }
                Err(error) => {
                    tracing::warn!("the countersigned checkpoint {} is left alone: {error}", file.display());
                    None
                }
            },
            Err(error) => {
                tracing::warn!("the countersigned checkpoint {} cannot be read: {error}", file.display());
                None
            }
        };
        Self { file, newest: Mutex::new(kept) }
    }

    pub(crate) fn newest(&self) -> Option<Checkpointed> {
        self.newest.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Adds the signature of a witness, which was verified, to the checkpoint that it is of. Blocks.
    pub(crate) fn keep(&self, checkpoint: &Checkpointed, line: &Signature) {
        let mut newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(note) = joined(newest.as_ref(), checkpoint, line) else { return };
        // What is missing in the file is only asked for again.
        if let Err(error) = durable::put(&self.file, note.as_bytes()) {
            tracing::warn!("the countersigned checkpoint {} is not kept: {error}", self.file.display());
        }
        *newest = Some(Checkpointed { size: checkpoint.size, note });
    }
}

/// The note with one more signature; none if a newer one is kept, or it has this signature already.
fn joined(kept: Option<&Checkpointed>, checkpoint: &Checkpointed, line: &Signature) -> Option<Arc<str>> {
    let base = match kept {
        Some(kept) if kept.size > checkpoint.size => return None,
        Some(kept) if kept.size == checkpoint.size => &kept.note,
        _ => &checkpoint.note,
    };
    let note = Note::parse(base.as_bytes()).ok()?;
    if note.signatures().iter().any(|known| known.name() == line.name()) {
        return None;
    }
    let joined = format!("{base}{line}");
    Note::parse(joined.as_bytes()).is_ok().then(|| joined.into())
}

#[cfg(test)]
mod tests {
    use tlog::{Cosigner, Signer, cosignature, tree::Hash};
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn signatures_of_one_size_are_joined_and_a_newer_size_replaces_them() {
        let folder = tempfile::tempdir().unwrap();
        let signer = Signer::from_seed("example.com/log", Zeroizing::new([7; 32])).unwrap();
        let witness = |name: &str| Cosigner::from_seed(name, Zeroizing::new([8; 32])).unwrap();
        let (one, other) = (witness("one"), witness("other"));
        let at = |size: u64| Checkpoint::new("example.com/log", size, Hash::empty()).unwrap();
        let checkpointed = |size| Checkpointed { size, note: at(size).sign(&signer).unwrap().into() };
        let open = || Cosigned::open(folder.path().join(FILE), signer.public());
        let cosigned = open();
        assert_eq!(cosigned.newest(), None);
        for (size, witness) in [(5, &one), (5, &other), (5, &one), (3, &one)] {
            cosigned.keep(&checkpointed(size), &cosignature::cosign(&at(size), witness, 1).unwrap());
        }
        let kept = open().newest().unwrap();
        assert_eq!((kept.size, Some(&kept)), (5, cosigned.newest().as_ref()));
        let note = Note::parse(kept.note.as_bytes()).unwrap();
        assert_eq!(note.signatures().len(), 3);
        for witness in [&one, &other] {
            cosignature::verify(&note, witness.public()).unwrap();
        }
        cosigned.keep(&checkpointed(6), &cosignature::cosign(&at(6), &one, 1).unwrap());
        assert_eq!(open().newest().unwrap().size, 6);
    }
}
