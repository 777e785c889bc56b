use std::fs;

use futures::future::BoxFuture;
use tlog::{Signer, memory::MemoryLog};
use types::{DataSubject, Sealed, Secret, TenantId};
use zeroize::Zeroizing;

use super::*;
use crate::Seals;

/// Nothing personal is recorded here.
struct NoSeals;

impl Seals for NoSeals {
    fn seal<'a>(
        &'a self,
        _: TenantId,
        _: &'a DataSubject,
        _: &'a str,
        _: &'a Secret,
    ) -> BoxFuture<'a, Result<Sealed, String>> {
        Box::pin(async { Err("there is nothing to seal".to_owned()) })
    }

    fn open<'a>(&'a self, _: &'a str, _: &'a Sealed) -> BoxFuture<'a, Result<Option<Secret>, String>> {
        Box::pin(async { Ok(None) })
    }
}

/// A log elsewhere, with its own key.
struct Elsewhere {
    signer: Signer,
    log: MemoryLog,
}

impl Elsewhere {
    fn new(entries: &[&str]) -> Self {
        let signer = Signer::from_seed("example.com/log", Zeroizing::new([7; 32])).unwrap();
        let mut log = MemoryLog::new();
        for entry in entries {
            log.push(entry.as_bytes()).unwrap();
        }
        Self { signer, log }
    }

    /// What it asks, if it believes that the witness has seen `old` entries.
    fn asks(&self, old: u64) -> Vec<u8> {
        let checkpoint = Note::parse(self.log.checkpoint(&self.signer).unwrap().as_bytes()).unwrap();
        let proof = tlog::tree::consistency_proof(old, self.log.size(), &self.log).unwrap();
        AddCheckpoint { old_size: old, proof, checkpoint }.to_string().into_bytes()
    }
}

struct Place {
    folder: tempfile::TempDir,
    audit: Arc<Audit>,
}

impl Place {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (log, key) = (folder.path().join("audit"), crate::secret_file(&folder.path().join("audit.key")));
        let (audit, _) = Audit::open(&log, &key, Arc::new(NoSeals)).await.unwrap();
        Self { folder, audit }
    }

    fn open(&self) -> Result<Arc<Witness>, WitnessError> {
        let key = Elsewhere::new(&[]).signer.public().clone();
        let (folder, file) = (self.seen(), crate::secret_file(&self.folder.path().join("witness.key")));
        Witness::open(&folder, &file, &[key], self.audit.clone()).map(Arc::new)
    }

    fn seen(&self) -> PathBuf {
        self.folder.path().join("witness")
    }
}

async fn conflict(witness: &Arc<Witness>, body: Vec<u8>) -> u64 {
    match witness.add_checkpoint(body).await.unwrap_err() {
        WitnessRefusal::Conflict { size } => size,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn what_was_seen_is_never_signed_otherwise_also_by_the_next_start() {
    let place = Place::new().await;
    let (two, three) = (Elsewhere::new(&["a", "b"]), Elsewhere::new(&["a", "b", "c"]));
    let witness = place.open().unwrap();
    let line = witness.add_checkpoint(two.asks(0)).await.unwrap();
    let note = format!("{}{line}", two.log.checkpoint(&two.signer).unwrap());
    cosignature::verify(&Note::parse(note.as_bytes()).unwrap(), witness.key()).unwrap();
    assert_eq!(conflict(&witness, three.asks(0)).await, 2);

    // The next start knows it too, and has the same key.
    let key = witness.key().to_string();
    drop(witness);
    let witness = place.open().unwrap();
    assert_eq!(witness.key().to_string(), key);
    assert_eq!(conflict(&witness, three.asks(0)).await, 2);
    // Another root of the size that was seen proves that the log contradicts itself: that is kept, and recorded once.
    let other = Elsewhere::new(&["a", "x"]);
    for _ in 0..2 {
        assert_eq!(conflict(&witness, other.asks(2)).await, 2);
    }
    let kept = fs::read_dir(place.seen()).unwrap().map(|entry| entry.unwrap().path());
    let kept: Vec<PathBuf> = kept.filter(|path| path.extension().unwrap() == "equivocation").collect();
    assert_eq!(fs::read_to_string(&kept[0]).unwrap(), other.log.checkpoint(&other.signer).unwrap());
    assert_eq!(place.audit.log().size(), 1);
    let rewritten = Elsewhere::new(&["a", "x", "c"]);
    let refused = witness.add_checkpoint(rewritten.asks(2)).await.unwrap_err();
    assert!(matches!(refused, WitnessRefusal::NotContinued(_)), "{refused}");
    witness.add_checkpoint(three.asks(2)).await.unwrap();
    let stranger = Signer::from_seed("example.com/unknown", Zeroizing::new([9; 32])).unwrap();
    let refused = witness.add_checkpoint(Elsewhere { signer: stranger, ..three }.asks(0)).await.unwrap_err();
    assert!(matches!(refused, WitnessRefusal::UnknownLog), "{refused}");
}

/// Without what it has seen, a witness could sign two roots of one size.
#[tokio::test]
async fn a_witness_that_has_lost_its_memory_or_its_key_does_not_begin() {
    let place = Place::new().await;
    let witness = place.open().unwrap();
    witness.add_checkpoint(Elsewhere::new(&["a"]).asks(0)).await.unwrap();
    drop(witness);
    let file = seen_file(&place.seen(), "example.com/log");
    let kept = fs::read(&file).unwrap();
    fs::write(&file, &kept[..kept.len() / 2]).unwrap();
    let refused = place.open().err().unwrap().to_string();
    assert!(refused.contains("restore the file from a backup"), "{refused}");
    fs::write(&file, kept).unwrap();
    fs::remove_file(place.folder.path().join("witness.key")).unwrap();
    let refused = place.open().err().unwrap().to_string();
    assert!(refused.contains("countersigned other logs"), "{refused}");
}

/// What cannot be kept is not signed; and whatever the disk has then is looked at before anything else is.
#[tokio::test]
async fn what_cannot_be_kept_is_not_signed() {
    let place = Place::new().await;
    let witness = place.open().unwrap();
    let one = Elsewhere::new(&["a"]);
    witness.add_checkpoint(one.asks(0)).await.unwrap();
    let file = seen_file(&place.seen(), "example.com/log");
    // A folder in its place.
    let aside = file.with_extension("aside");
    fs::rename(&file, &aside).unwrap();
    fs::create_dir(&file).unwrap();
    for _ in 0..2 {
        let refused = witness.add_checkpoint(Elsewhere::new(&["a", "b"]).asks(1)).await.unwrap_err();
        assert!(matches!(refused, WitnessRefusal::Unavailable(_)), "{refused}");
    }
    drop(witness);
    fs::remove_dir(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    place.open().unwrap().add_checkpoint(Elsewhere::new(&["a", "b"]).asks(1)).await.unwrap();
}

#[test]
fn one_log_gets_so_many_signatures_in_a_row() {
    let since = Instant::now();
    let mut allowance = Allowance { left: COSIGNED_MAX, since };
    let taken = (0..100).filter(|_| allowance.take(since)).count();
    assert_eq!(taken, COSIGNED_MAX as usize);
    assert!(allowance.take(since + Duration::from_secs(1)));
    assert!(!allowance.take(since + Duration::from_secs(1)));
}
