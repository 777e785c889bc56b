//! What somebody elsewhere knows of the log, and what that says of the log as it is now. Pure.

use tlog::{Checkpoint, VerifierKey, note::Note, tree::Hash};

use crate::LogError;

/// The log is not what somebody elsewhere knows that it was.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// Entries are gone.
    #[error("it knows {known} entries of this log, and the log has {size}")]
    Shorter {
        /// Entries that are known there.
        known: u64,
        /// Entries of the log.
        size: u64,
    },
    /// Entries are others.
    #[error("it knows {known} entries of this log, and the log's first {known} are not these")]
    Other {
        /// Entries that are known there.
        known: u64,
    },
    /// The place belongs to another log.
    #[error("it has checkpoints of another log, {origin:?}")]
    OtherLog {
        /// The name of that log.
        origin: String,
    },
}

impl Contradiction {
    /// Entries that are known elsewhere.
    pub fn known(&self) -> Option<u64> {
        match self {
            Self::Shorter { known, .. } | Self::Other { known } => Some(*known),
            Self::OtherLog { .. } => None,
        }
    }
}

/// Compares a checkpoint that was kept elsewhere with the log: its key, its size, and the root of its first entries. None if
/// the log continues it.
pub(super) fn compare(
    kept: &Checkpoint,
    key: &VerifierKey,
    size: u64,
    root: impl FnOnce(u64) -> Result<Hash, LogError>,
) -> Result<Option<Contradiction>, LogError> {
    let known = kept.size();
    Ok(if kept.origin() != key.name() {
        Some(Contradiction::OtherLog { origin: kept.origin().to_owned() })
    } else if known > size {
        Some(Contradiction::Shorter { known, size })
    } else if root(known)? != kept.root() {
        Some(Contradiction::Other { known })
    } else {
        None
    })
}

/// A kept checkpoint that may be believed: one of this log must be signed by its key; of another log only the name counts.
pub(super) fn believed(bytes: &[u8], key: &VerifierKey) -> Result<Checkpoint, String> {
    let note = Note::parse(bytes).map_err(|error| error.to_string())?;
    let checkpoint = Checkpoint::parse(note.text_unverified()).map_err(|error| error.to_string())?;
    if checkpoint.origin() == key.name() {
        Checkpoint::open_note(&note, key).map_err(|error| error.to_string())?;
    }
    Ok(checkpoint)
}

/// What a witness was asked: to countersign `size` entries, of which it knows `old`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) old: u64,
    pub(super) size: u64,
}

/// What its answer means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meaning {
    /// It has countersigned: these lines.
    Cosigned(String),
    /// It knows so many entries: ask again from there.
    Again(u64),
    /// It knows a log that this one is not.
    Contradicts(Contradiction),
    /// Something else, in words.
    Failed(String),
}

/// Understands the answer of a witness (C2SP `tlog-witness`).
pub(super) fn understand(status: u16, body: &[u8], asked: Asked) -> Meaning {
    let text = String::from_utf8_lossy(body);
    match status {
        200 => Meaning::Cosigned(text.into_owned()),
        409 => match size(&text) {
            Some(known) if known > asked.size => {
                Meaning::Contradicts(Contradiction::Shorter { known, size: asked.size })
            }
            Some(known) if known != asked.old => Meaning::Again(known),
            // It was asked from what it knows: the sizes are equal, and the roots are not.
            Some(known) if known == asked.size => Meaning::Contradicts(Contradiction::Other { known }),
            _ => {
                Meaning::Failed("it answers with status 409, and not with the size that it knows".to_owned())
            }
        },
        422 => Meaning::Contradicts(Contradiction::Other { known: asked.old }),
        404 => Meaning::Failed(
            "it was not told of this log (status 404); its operator needs the key of this log".to_owned(),
        ),
        403 => Meaning::Failed("it knows another key of this log (status 403); tell its operator".to_owned()),
        status => Meaning::Failed(format!("it answers with status {status}")),
    }
}

/// A number on one line, as witnesses write it.
fn size(text: &str) -> Option<u64> {
    let digits = text.strip_suffix('\n').unwrap_or(text);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { digits.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use tlog::{Signer, memory::MemoryLog};
    use zeroize::Zeroizing;

    use super::*;

    #[test]
    fn what_is_kept_elsewhere_shows_what_the_log_is_not() {
        let signer = Signer::from_seed("example.com/log", Zeroizing::new([7; 32])).unwrap();
        let mut log = MemoryLog::new();
        let mut roots = vec![log.root()];
        for entry in 0..4_u8 {
            log.push(&[b'a' + entry]).unwrap();
            roots.push(log.root());
        }
        let other = Checkpoint::new("example.com/other", 2, roots[2]).unwrap();
        let rewritten = Checkpoint::new("example.com/log", 2, roots[3]).unwrap();
        let of = |size: usize| Checkpoint::new("example.com/log", size as u64, roots[size]).unwrap();
        for (kept, size, expected) in [
            (of(0), 0, None),
            (of(0), 4, None),
            (of(2), 2, None),
            (of(2), 4, None),
            (of(4), 2, Some(Contradiction::Shorter { known: 4, size: 2 })),
            (of(1), 0, Some(Contradiction::Shorter { known: 1, size: 0 })),
            (rewritten, 4, Some(Contradiction::Other { known: 2 })),
            (other, 4, Some(Contradiction::OtherLog { origin: "example.com/other".to_owned() })),
        ] {
            let found = compare(&kept, signer.public(), size, |size| Ok(roots[size as usize])).unwrap();
            assert_eq!(found, expected, "{kept:?} {size}");
        }

        let note = of(2).sign(&signer).unwrap();
        assert_eq!(believed(note.as_bytes(), signer.public()).unwrap(), of(2));
        // A name alone convinces nobody.
        let forger = Signer::from_seed("example.com/log", Zeroizing::new([8; 32])).unwrap();
        let note = of(2).sign(&forger).unwrap();
        assert!(believed(note.as_bytes(), signer.public()).is_err());
    }

    #[test]
    fn the_answers_of_a_witness_are_understood() {
        let failed = |says: &str| Meaning::Failed(says.to_owned());
        let shorter = Meaning::Contradicts(Contradiction::Shorter { known: 9, size: 7 });
        let other = |known| Meaning::Contradicts(Contradiction::Other { known });
        for (status, body, old, expected) in [
            (200, "line\n", 3, Meaning::Cosigned("line\n".to_owned())),
            (409, "5\n", 3, Meaning::Again(5)),
            (409, "0", 3, Meaning::Again(0)),
            (409, "7\n", 3, Meaning::Again(7)),
            (409, "7\n", 7, other(7)),
            (409, "9\n", 3, shorter),
            (422, "", 3, other(3)),
            (409, "3\n", 3, failed("it answers with status 409, and not with the size that it knows")),
            (409, "-1\n", 3, failed("it answers with status 409, and not with the size that it knows")),
            (409, "5\n\n", 3, failed("it answers with status 409, and not with the size that it knows")),
            (500, "", 3, failed("it answers with status 500")),
        ] {
            assert_eq!(
                understand(status, body.as_bytes(), Asked { old, size: 7 }),
                expected,
                "{status} {body:?}"
            );
        }
        assert!(
            matches!(understand(404, b"", Asked { old: 0, size: 7 }), Meaning::Failed(why) if why.contains("not told"))
        );
    }
}
