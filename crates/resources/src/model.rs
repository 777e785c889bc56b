use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use engine::{Purpose, Stepped};
use scheduler::Load;
use tokio::time::{Instant as Clock, timeout_at};
use types::Tokens;

use crate::{
    FileDigest, LoadWhen, ModelSpec, ModelView, ReplicaState, ReplicaView, ResourcesError, Size, Source,
    cores::Grant,
    launch::{self, Launcher},
    memory::{Available, Foresight, Split},
};

/// How long the header of a model file may take to be read; a disk that hangs takes for ever.
const HEADER_WAIT: Duration = Duration::from_secs(10);

/// A model that the server has taken in.
pub(crate) struct Model {
    pub(crate) spec: ModelSpec,
    grant: Grant,
    created_at: u64,
    launcher: Launcher,
    foresight: Arc<Foresight>,
    /// Most memory that its worker may ask for, in bytes.
    limit: u64,
    /// What the hash of its file was found to be.
    pub(crate) digest: FileDigest,
    /// What was last found out about it.
    known: Arc<Mutex<Option<Known>>>,
    /// One at a time reads the header: a disk that hangs holds one thread for each model.
    reading: Arc<tokio::sync::Mutex<()>>,
}

/// What is known of a model before it is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prospect {
    /// What it is made to do.
    pub(crate) purpose: Purpose,
    /// Longest sequence: as configured, or as trained if that is less.
    pub(crate) sequence_max: Tokens,
    /// Layers that a device computes.
    pub(crate) gpu_layers: u32,
    /// Bytes that it takes in memory.
    pub(crate) memory: Split,
    /// Bytes that its worker asks for, used or not.
    reserved: u64,
}

struct Known {
    basis: Basis,
    prospect: Prospect,
}

/// What a prospect follows from. As long as it is the same, the file need not be read again.
#[derive(PartialEq, Eq)]
struct Basis {
    length: u64,
    modified: Option<SystemTime>,
    device_free: u64,
    lessons: u64,
}

impl Model {
    pub(crate) fn new(
        spec: ModelSpec,
        grant: Grant,
        created_at: u64,
        memory: u64,
        foresight: &Arc<Foresight>,
        simulated: &dyn Fn(&ModelSpec) -> Arc<dyn engine::Launch>,
    ) -> Result<Self, ResourcesError> {
        let (limit, digest) = (spec.memory_max.unwrap_or(memory), FileDigest::default());
        let launcher = match &spec.source {
            Source::Simulator { .. } => launch::always(simulated(&spec)),
            Source::File { path, sha256 } => {
                launch::of_file(&spec, path, sha256.as_deref(), &grant.cores, limit, foresight, &digest)?
            }
            Source::Store { .. } => return Err(ResourcesError::NotClaimed(spec.name)),
        };
        let (known, reading) = <_>::default();
        let foresight = foresight.clone();
        Ok(Self { spec, grant, created_at, launcher, foresight, limit, digest, known, reading })
    }

    /// A driver that begins to load the model, with so many layers on a device.
    pub(crate) fn start(&self, gpu_layers: u32) -> Arc<Stepped> {
        let name = self.spec.name.to_string();
        Arc::new(Stepped::start(name, (self.launcher)(gpu_layers), self.grant.turns.clone()))
    }

    /// What it would need if it were loaded now, with so many bytes free on devices, or why it cannot be used. Reads
    /// the header of its file, unless nothing has changed since the last time. Takes [`HEADER_WAIT`] at most.
    pub(crate) async fn prospect(&self, device_free: u64) -> Result<Prospect, String> {
        let path = match &self.spec.source {
            Source::Simulator { purpose, .. } => return Ok(self.pretended(*purpose)),
            Source::Store { .. } => {
                return Err(ResourcesError::NotClaimed(self.spec.name.clone()).to_string());
            }
            Source::File { path, .. } => path.clone(),
        };
        let deadline = Clock::now() + HEADER_WAIT;
        let too_slow = || {
            format!(
                "the header of {} was not read within {} s; look whether its disk works",
                path.display(),
                HEADER_WAIT.as_secs()
            )
        };
        let turn = timeout_at(deadline, self.reading.clone().lock_owned()).await.map_err(|_| too_slow())?;
        let (foresight, known, spec) = (self.foresight.clone(), self.known.clone(), self.spec.clone());
        let (threads, file) = (self.grant.cores.len(), path.clone());
        let read = tokio::task::spawn_blocking(move || {
            let _turn = turn;
            read(&foresight, &known, &file, &spec, threads, device_free)
        });
        let read = timeout_at(deadline, read).await.map_err(|_| too_slow())?;
        let prospect = read.map_err(|error| error.to_string())??;
        // It would die while it loads, or worse, while it works.
        if prospect.reserved > self.limit {
            let (setting, limit) = match self.spec.memory_max {
                Some(_) => ("`memory_mb`", "of its worker"),
                None => ("`memory_total_mb`", "of all models, where nothing less is configured,"),
            };
            return Err(format!(
                "the worker sets aside {} beside the file, and the limit {limit} is {}; raise {setting}, or lower \
                 `context` or `parallel`",
                Size(prospect.reserved),
                Size(self.limit)
            ));
        }
        Ok(prospect)
    }

    /// What was last found out about it, if anything ever was.
    pub(crate) fn last_known(&self) -> Option<Prospect> {
        if let Source::Simulator { purpose, .. } = self.spec.source {
            return Some(self.pretended(purpose));
        }
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.as_ref().map(|known| known.prospect)
    }

    fn pretended(&self, purpose: Purpose) -> Prospect {
        let memory = Split { host: self.spec.memory_max.unwrap_or(0), device: 0 };
        Prospect { purpose, sequence_max: self.spec.context, gpu_layers: 0, memory, reserved: 0 }
    }

    /// Why it will not be loaded, and what would fit.
    pub(crate) async fn too_big(&self, needed: Split, room: Split) -> String {
        if let Source::File { path, .. } = &self.spec.source {
            let (path, spec, threads) = (path.clone(), self.spec.clone(), self.grant.cores.len());
            let foresight = self.foresight.clone();
            let available = Available { host: room.host, device: room.device };
            let judge = move || foresight.why_too_big(&path, &spec, threads, available);
            let deadline = Clock::now() + HEADER_WAIT;
            if let Ok(Ok(Some(why))) = timeout_at(deadline, tokio::task::spawn_blocking(judge)).await {
                return why;
            }
        }
        format!("it needs {needed}, and there are {room} for it at most")
    }

    pub(crate) fn view(&self) -> ModelView {
        let known = self.last_known();
        ModelView {
            name: self.spec.name.clone(),
            aliases: self.spec.aliases.clone(),
            purpose: known.map(|known| known.purpose),
            context: known.map_or(self.spec.context, |known| known.sequence_max),
            created_at: self.created_at,
            simulated: matches!(self.spec.source, Source::Simulator { .. }),
        }
    }

    pub(crate) fn replica_view(
        &self,
        state: ReplicaState,
        load: Load,
        memory: Option<u64>,
        requests: usize,
    ) -> ReplicaView {
        ReplicaView {
            model: self.spec.name.clone(),
            state,
            load,
            cores: self.grant.cores.clone(),
            memory,
            resident: None,
            requests,
            pinned: self.spec.stay.pinned,
            loads_at_start: self.spec.stay.load == LoadWhen::Start,
        }
    }
}

/// What is known, if the file is still what it was; else its header is read. Blocks.
fn read(
    foresight: &Foresight,
    known: &Mutex<Option<Known>>,
    path: &Path,
    spec: &ModelSpec,
    threads: usize,
    device_free: u64,
) -> Result<Prospect, String> {
    let metadata = fs::metadata(path).map_err(|error| format!("cannot read {} ({error})", path.display()))?;
    let basis = Basis {
        length: metadata.len(),
        modified: metadata.modified().ok(),
        device_free,
        lessons: foresight.lessons(),
    };
    let last = || known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(known) = last().as_ref().filter(|known| known.basis == basis) {
        return Ok(known.prospect);
    }
    let foreseen = foresight.of_file(path, spec, threads, device_free).map_err(|error| error.to_string())?;
    let prospect = Prospect {
        purpose: foreseen.purpose(),
        sequence_max: foreseen.sequence_max(),
        gpu_layers: foreseen.workload.gpu_layers,
        memory: Split { host: foreseen.estimate.host(), device: foreseen.estimate.device() },
        reserved: foreseen.estimate.reserved,
    };
    *last() = Some(Known { basis, prospect });
    Ok(prospect)
}
