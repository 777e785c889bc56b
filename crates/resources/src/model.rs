use std::sync::Arc;

use engine::{Launch, Stepped};
use scheduler::Load;

use crate::{
    LoadWhen, ModelSpec, ModelView, ReplicaState, ReplicaView, ResourcesError, Source,
    cores::Grant,
    launch,
    memory::{Available, Foresight},
};

/// A model that the server has taken in: everything about it that does not change.
pub(crate) struct Model {
    pub(crate) spec: ModelSpec,
    grant: Grant,
    created_at: u64,
    launch: Arc<dyn Launch>,
    foresight: Arc<Foresight>,
}

impl Model {
    pub(crate) fn new(
        spec: ModelSpec,
        grant: Grant,
        created_at: u64,
        memory: u64,
        foresight: &Arc<Foresight>,
        simulated: &dyn Fn(&ModelSpec) -> Arc<dyn Launch>,
    ) -> Result<Self, ResourcesError> {
        let launch = match &spec.source {
            Source::Simulator => simulated(&spec),
            Source::File { path, sha256 } => {
                launch::of_file(&spec, path, sha256.as_deref(), &grant.cores, memory, foresight)?
            }
            Source::Store { .. } => return Err(ResourcesError::NotClaimed(spec.name)),
        };
        Ok(Self { spec, grant, created_at, launch, foresight: foresight.clone() })
    }

    /// A driver that begins to load the model.
    pub(crate) fn start(&self) -> Arc<Stepped> {
        let name = self.spec.name.to_string();
        Arc::new(Stepped::start(name, self.launch.clone(), self.grant.turns.clone()))
    }

    /// Bytes that it takes in memory, or why its file cannot be used.
    pub(crate) async fn memory_needed(&self) -> Result<u64, String> {
        match &self.spec.source {
            Source::Simulator => Ok(self.spec.memory_max.unwrap_or(0)),
            Source::Store { .. } => Err(ResourcesError::NotClaimed(self.spec.name.clone()).to_string()),
            Source::File { path, .. } => {
                let (path, spec, threads) = (path.clone(), self.spec.clone(), self.grant.cores.len());
                let foresight = self.foresight.clone();
                let read = tokio::task::spawn_blocking(move || foresight.of_file(&path, &spec, threads));
                let foreseen = read.await.map_err(|error| error.to_string())?;
                let estimate = foreseen.map_err(|error| error.to_string())?.estimate;
                match self.spec.memory_max {
                    // It would die while it loads, or worse, while it works.
                    Some(limit) if limit < estimate.reserved => Err(format!(
                        "its `memory_mb` is {}, and its worker sets aside {} MiB beside the file; raise it, or \
                         lower `context` or `parallel`",
                        limit >> 20,
                        estimate.reserved.div_ceil(1 << 20)
                    )),
                    _ => Ok(estimate.host()),
                }
            }
        }
    }

    /// Why it will not be loaded, and what would fit.
    pub(crate) async fn too_big(&self, needed: u64, room: u64) -> String {
        if let Source::File { path, .. } = &self.spec.source {
            let (path, spec, threads) = (path.clone(), self.spec.clone(), self.grant.cores.len());
            let foresight = self.foresight.clone();
            let available = Available { host: room, device: u64::MAX };
            let judge = move || foresight.why_too_big(&path, &spec, threads, available);
            if let Ok(Some(why)) = tokio::task::spawn_blocking(judge).await {
                return why;
            }
        }
        let mb = |bytes: u64| bytes.div_ceil(1_000_000);
        format!("it needs {} MB, and there are {} MB for it at most", mb(needed), mb(room))
    }

    pub(crate) fn view(&self) -> ModelView {
        ModelView {
            name: self.spec.name.clone(),
            aliases: self.spec.aliases.clone(),
            context: self.spec.context,
            created_at: self.created_at,
            simulated: matches!(self.spec.source, Source::Simulator),
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
