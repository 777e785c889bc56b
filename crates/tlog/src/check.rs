//! Checks a whole log, entry by entry, trusting a public key and what was kept elsewhere.
//!
//! ```text
//!  key ──▶ checkpoint ──▶ tiles at the right edge ──▶ full tiles, from above ──▶ entries
//!          signature      must fold into the root     each must have the hash     each must have the hash
//!          and origin                                 that is above it            that is in its tile
//! ```
//!
//! A hash is trusted when a chain of hashes leads to it from the signed root, so what is wrong is found where it is: a
//! changed entry is told from a changed tile. Where the chain is broken, what is above is computed from what is below,
//! and the two are compared.
//!
//! **What is found**: every bit that changed in the checkpoint, in a tile or in an entry that belong to the log; entries
//! that were removed, inserted, swapped or cut off. Signatures by keys that are not given are not looked at.
//!
//! **What is found only with a checkpoint that was kept elsewhere**: a log that was put back to an older state of its own
//! ([`Problem::Rollback`]), and one that was rewritten and signed anew by whoever has the key ([`Problem::Rewritten`];
//! [`Problem::Equivocation`] at the same size). Without one nothing in the log can tell: it is a valid log.
//!
//! **Other files**: older partial tiles are tolerated where they are the beginning of what the log has now, else they are
//! a [`Problem::Leftover`]. Tiles with entries that came after the checkpoint are compared as far as the checkpoint goes
//! and counted: nothing says whether the rest will ever be signed, or was before a rollback. What is no tile is counted.

use std::io;

use crate::{
    Checkpoint, FormatError, NoteError, VerifierKey, WitnessKey, cosignature,
    note::{NOTE_BYTES_MAX, Note},
    tile::Tile,
    tree::Hash,
};

mod leftover;
#[cfg(test)]
mod tests;
mod walk;

/// Most problems that are told. A check ends there: a log with so many is no log.
pub const PROBLEMS_MAX: usize = 100;
/// Where the checkpoint of a log is.
pub const CHECKPOINT_PATH: &str = "checkpoint";

/// The files of a log, by their path below its folder, with `/` between the parts.
pub trait Files {
    /// A file, or `None` if there is none. Of one that is longer than `limit` the rest may be left out, but at least
    /// `limit` + 1 bytes must come, so that it is seen to be too long.
    fn read(&self, path: &str, limit: usize) -> io::Result<Option<Vec<u8>>>;

    /// Calls `visit` with the path of every file, in any order, and ends with its first error.
    fn walk(&self, visit: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()>;
}

/// What a check believes without proof.
#[derive(Debug, Clone, Copy)]
pub struct Trust<'a> {
    /// The log's key.
    pub key: &'a VerifierKey,
    /// Checkpoints of this log that were kept elsewhere, already [opened](Checkpoint::open) with the key.
    pub kept: &'a [Checkpoint],
    /// Witnesses of which each must have cosigned the log's checkpoint.
    pub witnesses: &'a [WitnessKey],
}

/// What was checked, and what is wrong.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The log's checkpoint, if the key signed it.
    pub checkpoint: Option<Checkpoint>,
    /// When each witness cosigned it, in seconds since 1970, by name.
    pub cosigned: Vec<(String, u64)>,
    /// Entries that were hashed.
    pub entries: u64,
    /// Bytes of these entries.
    pub bytes: u64,
    /// Tiles of hashes that were compared.
    pub tiles: u64,
    /// Kept checkpoints that the log continues.
    pub kept: usize,
    /// Older partial tiles and bundles that are still there, and agree.
    pub leftover: u64,
    /// Tiles and bundles with something that came after the checkpoint. Many after a rollback; a few while a log writes.
    pub beyond: u64,
    /// Files that are no part of a log, and were not read.
    pub unrelated: u64,
    /// What is wrong, in the order in which it was found.
    pub problems: Vec<Problem>,
    /// Whether the check ended early, at [`PROBLEMS_MAX`].
    pub stopped: bool,
}

impl Report {
    /// Whether nothing is wrong.
    pub fn is_valid(&self) -> bool {
        self.problems.is_empty() && !self.stopped
    }
}

/// Something wrong with a log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The log has no checkpoint, or it is not believed.
    #[error("checkpoint: {0}")]
    Checkpoint(NoteError),
    /// There is no checkpoint.
    #[error("checkpoint: it is missing")]
    NoCheckpoint,
    /// A witness that must have cosigned the checkpoint did not.
    #[error("checkpoint: cosignature: {0}")]
    Cosignature(NoteError),
    /// A tile or bundle of the log is not there.
    #[error("{0}: it is missing")]
    Missing(Tile),
    /// A tile or bundle cannot be read as one.
    #[error("{tile}: {error}")]
    Malformed {
        /// The file.
        tile: Tile,
        /// What is wrong with it.
        error: FormatError,
    },
    /// Entries are not those that were logged: their tile is right.
    #[error("{tile}: entry {first} is not the one that was logged{}", and_others(*.count))]
    Entries {
        /// The bundle.
        tile: Tile,
        /// The first such entry, counted from the beginning of the log.
        first: u64,
        /// How many such entries the bundle has.
        count: usize,
    },
    /// A tile was changed: what is below it is right.
    #[error("{tile}: its hash {first} was changed; what it is the hash of was not{}", and_others(*.count))]
    Tile {
        /// The tile.
        tile: Tile,
        /// The first such hash, counted within the tile.
        first: usize,
        /// How many such hashes the tile has.
        count: usize,
    },
    /// A tile does not agree with what is below it, and nothing tells which of the two was changed.
    #[error("{tile}: its hash {first} does not agree with what is below it{}", and_others(*.count))]
    Disagreement {
        /// The tile.
        tile: Tile,
        /// The first such hash, counted within the tile.
        first: usize,
        /// How many such hashes the tile has.
        count: usize,
    },
    /// A tile agrees with what is below it, if that is there, and not with the hash above it: all of it was replaced.
    #[error("{0}: it is not what the level above it says, nor is what is below it")]
    Replaced(Tile),
    /// Entries and tiles lead to another root than the one that was signed.
    #[error("checkpoint: the entries lead to the root {computed}, and {signed} was signed")]
    Root {
        /// What the entries lead to.
        computed: Hash,
        /// What was signed.
        signed: Hash,
    },
    /// Two checkpoints of one size, both signed by the log, with different roots: the log shows different people different
    /// entries. The two together prove it to anybody.
    #[error("equivocation: the key signed two roots for {size} entries, {root} and {other}")]
    Equivocation {
        /// Entries of both.
        size: u64,
        /// Root of one.
        root: Hash,
        /// Root of the other.
        other: Hash,
    },
    /// The log is smaller than it was: it was put back to an older state, or cut off.
    #[error("rollback: the log has {size} entries, and a kept checkpoint shows that it had {kept}")]
    Rollback {
        /// Entries that it has.
        size: u64,
        /// Entries that it had.
        kept: u64,
    },
    /// The log does not begin with the entries that it had: it was rewritten and signed anew.
    #[error("rewritten: the first {size} entries lead to the root {root}, and a kept checkpoint has {kept}")]
    Rewritten {
        /// Entries of the kept checkpoint.
        size: u64,
        /// Root of as many entries of the log.
        root: Hash,
        /// Root in the kept checkpoint.
        kept: Hash,
    },
    /// A kept checkpoint cannot be compared, because of what is missing.
    #[error(
        "the kept checkpoint of {size} entries cannot be compared: too much of the log is missing or damaged"
    )]
    Incomparable {
        /// Entries of the kept checkpoint.
        size: u64,
    },
    /// A file of another size of the log does not agree with the log.
    #[error("{0}: it is no part of the log at this size, and does not agree with the part that is")]
    Leftover(Tile),
}

fn and_others(count: usize) -> String {
    match count.saturating_sub(1) {
        0 => String::new(),
        1 => ", and 1 other".to_owned(),
        others => format!(", and {others} others"),
    }
}

/// Why a log could not be checked.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// A file cannot be read.
    #[error("{path} cannot be read: {error}")]
    Read {
        /// The file, below the log's folder.
        path: String,
        /// What the operating system said.
        #[source]
        error: io::Error,
    },
    /// The files cannot be listed.
    #[error("the files of the log cannot be listed: {0}")]
    Walk(#[source] io::Error),
    /// A kept checkpoint is of another log.
    #[error("a kept checkpoint is of {kept:?}, and the key belongs to {name:?}")]
    OtherOrigin {
        /// Origin of the kept checkpoint.
        kept: String,
        /// Name of the key.
        name: String,
    },
}

/// Checks a log. An error means that it could not be checked; what is wrong with it is in the report.
///
/// ```
/// use tlog::{Signer, check::{Problem, Trust, check}, memory::MemoryLog};
/// # use zeroize::Zeroizing;
///
/// let signer = Signer::from_seed("example.com/log", Zeroizing::new([7; 32]))?;
/// let mut log = MemoryLog::new();
/// for number in 0..300 {
///     log.push(format!("entry {number}").as_bytes())?;
/// }
/// let mut files = log.files(&signer)?;
/// let trust = Trust { key: signer.public(), kept: &[], witnesses: &[] };
/// assert!(check(&files, &trust)?.is_valid());
///
/// files.0.get_mut("tile/entries/001.p/44").unwrap()[2] ^= 1;
/// let report = check(&files, &trust)?;
/// assert!(matches!(report.problems[..], [Problem::Entries { first: 256, count: 1, .. }]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn check(files: &impl Files, trust: &Trust<'_>) -> Result<Report, CheckError> {
    let mut report = Report::default();
    for kept in trust.kept {
        if kept.origin() != trust.key.name() {
            let (kept, name) = (kept.origin().to_owned(), trust.key.name().to_owned());
            return Err(CheckError::OtherOrigin { kept, name });
        }
    }
    let Some(checkpoint) = open(files, trust, &mut report)? else { return Ok(report) };
    report.checkpoint = Some(checkpoint.clone());
    compare_heads(&checkpoint, trust.kept, &mut report);
    let stop = walk::walk(files, &checkpoint, trust.kept, &mut report)
        .and_then(|()| leftover::look(files, checkpoint.size(), &mut report));
    match stop {
        Ok(()) => Ok(report),
        Err(Stop::TooMany) => Ok(Report { stopped: true, ..report }),
        Err(Stop::Failed(error)) => Err(error),
    }
}

/// The checkpoint that the log shows, if it is believed.
fn open(
    files: &impl Files,
    trust: &Trust<'_>,
    report: &mut Report,
) -> Result<Option<Checkpoint>, CheckError> {
    let Some(bytes) = read(files, CHECKPOINT_PATH, NOTE_BYTES_MAX)? else {
        report.problems.push(Problem::NoCheckpoint);
        return Ok(None);
    };
    let note = Note::parse(&bytes).map_err(NoteError::from);
    let opened = note.and_then(|note| Ok((Checkpoint::open_note(&note, trust.key)?, note)));
    let (checkpoint, note) = match opened {
        Ok(opened) => opened,
        Err(error) => {
            report.problems.push(Problem::Checkpoint(error));
            return Ok(None);
        }
    };
    for witness in trust.witnesses {
        match cosignature::verify(&note, witness) {
            Ok(time) => report.cosigned.push((witness.name().to_owned(), time)),
            Err(error) => report.problems.push(Problem::Cosignature(error)),
        }
    }
    Ok(Some(checkpoint))
}

/// What two checkpoints tell without the entries: equivocation, and a log that shrank.
fn compare_heads(checkpoint: &Checkpoint, kept: &[Checkpoint], report: &mut Report) {
    report.problems.extend(equivocations(std::iter::once(checkpoint).chain(kept)));
    for kept in kept {
        if kept.size() > checkpoint.size() {
            report.problems.push(Problem::Rollback { size: checkpoint.size(), kept: kept.size() });
        } else if kept.size() == checkpoint.size() && kept.root() == checkpoint.root() {
            report.kept += 1;
        }
    }
}

/// Every root that was signed for a size for which another was signed before. Needs nothing but the checkpoints.
pub fn equivocations<'a>(checkpoints: impl IntoIterator<Item = &'a Checkpoint>) -> Vec<Problem> {
    let mut roots = std::collections::BTreeMap::new();
    let mut found = Vec::new();
    for checkpoint in checkpoints {
        let (size, other) = (checkpoint.size(), checkpoint.root());
        let root = *roots.entry(size).or_insert(other);
        let problem = Problem::Equivocation { size, root, other };
        if root != other && !found.contains(&problem) {
            found.push(problem);
        }
    }
    found
}

/// Why a check ended before its end.
enum Stop {
    TooMany,
    Failed(CheckError),
}

impl From<CheckError> for Stop {
    fn from(error: CheckError) -> Self {
        Self::Failed(error)
    }
}

/// Notes a problem, if there is room for it.
fn tell(report: &mut Report, problem: Problem) -> Result<(), Stop> {
    if report.problems.len() >= PROBLEMS_MAX {
        return Err(Stop::TooMany);
    }
    report.problems.push(problem);
    Ok(())
}

fn read(files: &impl Files, path: &str, limit: usize) -> Result<Option<Vec<u8>>, CheckError> {
    files.read(path, limit).map_err(|error| CheckError::Read { path: path.to_owned(), error })
}
