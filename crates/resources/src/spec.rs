use std::{path::PathBuf, time::Duration};

use engine::Purpose;
use types::{ModelName, Tokens};

/// A model as configured.
#[derive(Debug, Clone)]
pub struct ModelSpec {
    /// Its name.
    pub name: ModelName,
    /// Other names for it.
    pub aliases: Vec<ModelName>,
    /// Where its weights come from.
    pub source: Source,
    /// KV memory of the replica in tokens, shared by its sequences; also the longest sequence.
    pub context: Tokens,
    /// Most sequences at once; at least one.
    pub parallel: u32,
    /// Threads, each on a core of its own. Without it the model shares what is left with the others, in turns.
    pub threads: Option<usize>,
    /// Most memory of the worker beside the mapped file, in bytes; what a simulated model pretends to need.
    pub memory_max: Option<u64>,
    /// Layers that a GPU computes.
    pub gpu_layers: GpuLayers,
    /// How long it is in memory.
    pub stay: Stay,
}

/// When a model is loaded, and when it may go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stay {
    /// When it is loaded.
    pub load: LoadWhen,
    /// It goes when nothing was asked of it for this long. Without it only when another needs its memory.
    pub keep_alive: Option<Duration>,
    /// Once loaded it never goes.
    pub pinned: bool,
}

impl Default for Stay {
    fn default() -> Self {
        Self { load: LoadWhen::Start, keep_alive: None, pinned: false }
    }
}

/// When a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadWhen {
    /// With the server.
    Start,
    /// With the first request for it.
    Demand,
}

/// How many layers a GPU computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GpuLayers {
    /// As many as fit into its memory.
    Auto,
    /// This many.
    Count(u32),
}

/// Where a model comes from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A GGUF file; checked against the SHA-256 before llama.cpp parses it.
    File {
        /// Where it lies.
        path: PathBuf,
        /// 64 lower-case hexadecimal digits, if configured.
        sha256: Option<String>,
    },
    /// A model of the store. It is claimed there, and becomes a file, before replicas are started.
    Store {
        /// Its name, alias or digest there.
        model: String,
    },
    /// The simulator's mock engine: no weights, deterministic answers.
    Simulator {
        /// What it is made to do.
        purpose: Purpose,
        /// Whether its steps take no time; otherwise they take about as long as a small model's.
        instant: bool,
    },
}

/// Why the configured models cannot be run together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResourcesError {
    /// More threads are asked for than there are cores.
    #[error(
        "model `{model}` asks for {asked} threads, but {left} of {cores} cores are left; lower `threads`"
    )]
    NotEnoughCores {
        /// The model.
        model: ModelName,
        /// Threads it asks for.
        asked: usize,
        /// Cores not granted to models before it.
        left: usize,
        /// Cores of this process.
        cores: usize,
    },
    /// One name for two models.
    #[error("the name `{0}` is given to two models; change one")]
    NameTaken(ModelName),
    /// The build has no engine for model files.
    #[error("model `{0}` is a file, but this build has no engine for files; build with the feature `llama`")]
    NoEngine(ModelName),
    /// The build has no engine for GPUs.
    #[error(
        "model `{0}` asks for layers on a GPU, but this build computes on processors only; set `gpu_layers` to \
         \"auto\" or 0, or build with the feature `cuda` or `vulkan`"
    )]
    NoGpuEngine(ModelName),
    /// A model of the store that nobody has claimed there.
    #[error("model `{0}` is in the store and was not claimed there before it was started")]
    NotClaimed(ModelName),
    /// The program that workers are made of is not known.
    #[error("cannot find the running program, which workers are started from: {0}")]
    NoProgram(String),
}
