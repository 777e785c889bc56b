//! What real loads taught, kept in one small file.
//!
//! A correction is a factor on an uncertain part, for one architecture and purpose and one version of the engine.
//! It stays within limits, so that one absurd measurement cannot make every later estimate absurd; what is exact is
//! never corrected.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    ops::RangeInclusive,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use modelfile::{ModelShape, Purpose};
use serde::{Deserialize, Serialize};

use super::MemoryEstimate;
use crate::worker_memory;

/// The file's name in the data directory.
const FILE: &str = "memory.json";
/// Where it is written before it takes the place of the old one.
const FILE_NEW: &str = "memory.json.new";
/// Longest file that is read, in bytes. One of [`ENTRIES_MAX`] entries is shorter.
const FILE_BYTES_MAX: u64 = 256 << 10;
/// Corrections that are kept; the one learnt longest ago goes first.
const ENTRIES_MAX: usize = 256;
/// Version of the file's shape.
const VERSION: u32 = 1;
/// What measured figures hold for: another version may need more or less.
const ENGINE: &str = concat!("llama.cpp b10200, llmos ", env!("CARGO_PKG_VERSION"));
/// Limits of the factor on the heap.
const HEAP_FACTOR: RangeInclusive<f64> = 0.5..=3.0;
/// Limits of the factor on what a layer holds. Never below 1: that a buffer is smaller than expected does not say
/// that a layer is, because results may be what decides its size.
const LAYER_FACTOR: RangeInclusive<f64> = 1.0..=8.0;

/// Factors on the uncertain parts of an estimate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Correction {
    /// On the heap of a loaded worker.
    pub heap: f64,
    /// On what the widest layer holds at once.
    pub layer: f64,
}

impl Correction {
    /// Nothing was learnt.
    pub const NONE: Self = Self { heap: 1.0, layer: 1.0 };

    pub(super) fn heap(&self, bytes: u64) -> u64 {
        (bytes as f64 * self.heap) as u64
    }

    pub(super) fn layer(&self, bytes: u64) -> u64 {
        (bytes as f64 * self.layer) as u64
    }

    fn within_limits(self) -> bool {
        HEAP_FACTOR.contains(&self.heap) && LAYER_FACTOR.contains(&self.layer)
    }
}

/// What a worker was found to hold right after its load, before its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// Its private memory (`Anonymous`), in bytes. Pages of the model file are not in
    /// it: how many of them are in memory depends on what else the machine does.
    pub anonymous: u64,
    /// Buffers that the engine reserved in main memory for its graphs, in bytes, if it says so.
    pub graph_reserved: Option<u64>,
}

impl Measured {
    /// Looks at a process.
    pub fn of_process(pid: u32, graph_reserved: Option<u64>) -> io::Result<Self> {
        Ok(Self { anonymous: worker_memory::anonymous(pid)?, graph_reserved })
    }
}

/// Why corrections cannot be kept or were lost. Estimates are made all the same, without them.
#[derive(Debug, thiserror::Error)]
pub enum CorrectionsError {
    /// The file is there and cannot be read.
    #[error("cannot read {} ({why}); memory is estimated without what earlier loads taught", .file.display())]
    CannotRead {
        /// The file.
        file: PathBuf,
        /// What the system says.
        why: io::Error,
    },
    /// The file is not one of ours, or damaged.
    #[error(
        "{} is damaged ({why}); memory is estimated without what earlier loads taught, and the next load writes it \
         anew", .file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        why: String,
    },
    /// What was learnt could not be written; it holds until the server ends.
    #[error("cannot write {} ({why}); what this load taught is forgotten when the server ends", .file.display())]
    CannotWrite {
        /// The file.
        file: PathBuf,
        /// What the system says.
        why: io::Error,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    corrections: Vec<Entry>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    architecture: String,
    purpose: String,
    engine: String,
    #[serde(rename = "factors")]
    correction: Correction,
}

/// All that loads taught on this machine.
#[derive(Debug, Default)]
pub struct Corrections {
    /// The one learnt last is last.
    entries: Vec<Entry>,
    /// Where they are kept.
    folder: Option<PathBuf>,
}

impl Corrections {
    /// None, kept nowhere.
    pub fn none() -> Self {
        Self::default()
    }

    /// Those of a data directory. A file that cannot be used is reported and left out; the next load replaces it.
    pub fn open(data_dir: &Path) -> (Self, Option<CorrectionsError>) {
        let (entries, complaint) = match read(&data_dir.join(FILE)) {
            Ok(entries) => (entries, None),
            Err(error) => (Vec::new(), Some(error)),
        };
        (Self { entries, folder: Some(data_dir.to_owned()) }, complaint)
    }

    /// What holds for models of this architecture and purpose.
    pub fn of(&self, shape: &ModelShape) -> Correction {
        let found = self.entries.iter().find(|entry| entry.is_of(shape));
        found.map_or(Correction::NONE, |entry| entry.correction)
    }

    /// Learns from a worker that was loaded as `estimate` says, and keeps it. Nothing is learnt where a part of the
    /// model is on a device.
    ///
    /// # Errors
    /// If it cannot be written; it holds for this process all the same.
    pub fn learn(
        &mut self,
        shape: &ModelShape,
        estimate: &MemoryEstimate,
        measured: Measured,
    ) -> Result<Correction, CorrectionsError> {
        let Some(correction) = learnt(estimate, measured) else { return Ok(self.of(shape)) };
        self.entries.retain(|entry| !entry.is_of(shape));
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.remove(0);
        }
        self.entries.push(Entry {
            architecture: shape.architecture.clone(),
            purpose: name(shape.purpose).to_owned(),
            engine: ENGINE.to_owned(),
            correction,
        });
        self.save()?;
        Ok(correction)
    }

    /// A file is whole or the old one: written beside it, forced to the disk, then put in its place.
    fn save(&self) -> Result<(), CorrectionsError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let document = Document { version: VERSION, corrections: self.entries.clone() };
        let write = || -> io::Result<()> {
            let text = serde_json::to_string_pretty(&document)?;
            let new = folder.join(FILE_NEW);
            let mut file =
                OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, folder.join(FILE))?;
            File::open(folder)?.sync_all()
        };
        write().map_err(|why| CorrectionsError::CannotWrite { file: folder.join(FILE), why })
    }
}

impl Entry {
    fn is_of(&self, shape: &ModelShape) -> bool {
        (self.architecture.as_str(), self.purpose.as_str(), self.engine.as_str())
            == (shape.architecture.as_str(), name(shape.purpose), ENGINE)
    }
}

fn name(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Generate => "generate",
        Purpose::Embed => "embed",
        Purpose::Rank => "rank",
    }
}

/// What is private and not exact is the heap; what the graphs' buffer has too much must be a layer's.
fn learnt(estimate: &MemoryEstimate, measured: Measured) -> Option<Correction> {
    let basis = &estimate.basis;
    if !basis.on_host || basis.heap == 0 || basis.layer == 0 {
        return None;
    }
    let factor = |is: u64, expected: u64, limits: RangeInclusive<f64>| {
        (is as f64 / expected as f64).clamp(*limits.start(), *limits.end())
    };
    let heap = measured.anonymous.saturating_sub(basis.exact);
    let excess = measured.graph_reserved.unwrap_or(0).saturating_sub(basis.graph_reserved);
    Some(Correction {
        heap: factor(heap, basis.heap, HEAP_FACTOR),
        layer: factor(basis.layer.saturating_add(excess), basis.layer, LAYER_FACTOR),
    })
}

fn read(path: &Path) -> Result<Vec<Entry>, CorrectionsError> {
    let cannot = |why| CorrectionsError::CannotRead { file: path.to_owned(), why };
    let damaged = |why: String| CorrectionsError::Damaged { file: path.to_owned(), why };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(cannot(error)),
    };
    let mut bytes = Vec::new();
    file.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(cannot)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        return Err(damaged(format!("it is longer than {FILE_BYTES_MAX} bytes")));
    }
    let document: Document = serde_json::from_slice(&bytes).map_err(|error| damaged(error.to_string()))?;
    if document.version != VERSION {
        return Err(damaged(format!("its version is {}, not {VERSION}", document.version)));
    }
    if document.corrections.len() > ENTRIES_MAX {
        return Err(damaged(format!("it has more than {ENTRIES_MAX} corrections")));
    }
    if let Some(entry) = document.corrections.iter().find(|entry| !entry.correction.within_limits()) {
        return Err(damaged(format!("its factors of `{}` are beyond all reason", entry.architecture)));
    }
    Ok(document.corrections)
}

#[cfg(test)]
mod tests {
    use modelfile::gguf;

    use super::{super::Basis, *};
    use crate::memory::{Workload, estimate};
    use types::Tokens;

    fn shape() -> ModelShape {
        let bytes = gguf::sample().to_bytes().unwrap();
        gguf::Gguf::read(&mut bytes.as_slice(), bytes.len() as u64).unwrap().shape().unwrap()
    }

    fn sample(corrections: &Corrections) -> MemoryEstimate {
        let bytes = gguf::sample().to_bytes().unwrap();
        let gguf = gguf::Gguf::read(&mut bytes.as_slice(), bytes.len() as u64).unwrap();
        estimate(&gguf, &gguf.shape().unwrap(), &Workload::new(Tokens(256), 4, 1), corrections)
    }

    #[test]
    fn what_a_load_taught_is_kept_and_applied() {
        let folder = tempfile::tempdir().unwrap();
        let (mut corrections, complaint) = Corrections::open(folder.path());
        assert!(complaint.is_none());
        let before = sample(&corrections);
        let Basis { heap, exact, graph_reserved, layer, .. } = before.basis;
        let measured =
            Measured { anonymous: exact + heap + heap / 5, graph_reserved: Some(graph_reserved + layer) };
        corrections.learn(&shape(), &before, measured).unwrap();

        let (again, complaint) = Corrections::open(folder.path());
        assert!(complaint.is_none());
        let correction = again.of(&shape());
        assert!((correction.heap - 1.2).abs() < 1e-3 && (correction.layer - 2.0).abs() < 1e-3);
        let after = sample(&again);
        assert_eq!(after.overhead.host - before.overhead.host, heap / 5);
        assert_eq!((after.weights, after.kv), (before.weights, before.kv), "what is exact stays");
        // The same load, estimated with what it taught, teaches the same again.
        assert_eq!(after.basis, before.basis);
        assert_eq!(sample(&Corrections::none()), before);
    }

    #[test]
    fn an_absurd_measurement_stays_within_limits() {
        for (anonymous, graph_reserved, heap, layer) in
            [(0, None, 0.5, 1.0), (u64::MAX, Some(u64::MAX), 3.0, 8.0)]
        {
            let mut corrections = Corrections::none();
            let measured = Measured { anonymous, graph_reserved };
            let learnt = corrections.learn(&shape(), &sample(&Corrections::none()), measured).unwrap();
            assert_eq!(learnt, Correction { heap, layer });
        }
    }

    #[test]
    fn a_damaged_file_is_reported_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(FILE);
        let entry = |heap: &str| {
            format!(
                "{{\"version\":1,\"corrections\":[{{\"architecture\":\"llama\",\"purpose\":\"generate\",\
                 \"engine\":\"x\",\"factors\":{{\"heap\":{heap},\"layer\":1.0}}}}]}}"
            )
        };
        for (content, complaint) in [
            (String::new(), "is damaged"),
            ("{\"version\":1".to_owned(), "is damaged"),
            ("{\"version\":2,\"corrections\":[]}".to_owned(), "its version is 2"),
            (entry("1e9"), "beyond all reason"),
            ("[".repeat(FILE_BYTES_MAX as usize + 1), "is longer than"),
        ] {
            fs::write(&file, &content).unwrap();
            let (mut corrections, error) = Corrections::open(folder.path());
            assert!(error.unwrap().to_string().contains(complaint), "{complaint}");
            let measured = Measured { anonymous: 0, graph_reserved: None };
            corrections.learn(&shape(), &sample(&corrections), measured).unwrap();
            assert!(Corrections::open(folder.path()).1.is_none());
        }
        fs::write(&file, entry("1.5")).unwrap();
        let (corrections, error) = Corrections::open(folder.path());
        assert!(error.is_none());
        assert_eq!(corrections.of(&shape()), Correction::NONE, "another engine taught that");
    }

    #[test]
    fn corrections_are_bounded_and_the_oldest_goes() {
        let mut corrections = Corrections::none();
        let estimate = sample(&corrections);
        let measured = Measured { anonymous: 0, graph_reserved: None };
        let mut shape = shape();
        for number in 0..=ENTRIES_MAX {
            shape.architecture = format!("a{number}");
            corrections.learn(&shape, &estimate, measured).unwrap();
        }
        assert_eq!(corrections.entries.len(), ENTRIES_MAX);
        assert_eq!(corrections.entries[0].architecture, "a1");
    }
}
