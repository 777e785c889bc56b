//! A model file is checked, by its hash and by our own reader, before llama.cpp parses it; then a worker is started.

use std::{path::Path, sync::Arc};

use engine::Launch;

use crate::{FileDigest, ModelSpec, ResourcesError, memory::Foresight};

/// Makes what starts a model's engine, with so many layers on a device.
pub(crate) type Launcher = Box<dyn Fn(u32) -> Arc<dyn Launch> + Send + Sync>;

/// The same engine every time.
pub(crate) fn always(launch: Arc<dyn Launch>) -> Launcher {
    Box::new(move |_| launch.clone())
}

/// What starts workers on a model file, each with so many bytes of memory at most.
#[cfg(feature = "llama")]
pub(crate) fn of_file(
    spec: &ModelSpec,
    path: &Path,
    sha256: Option<&str>,
    cores: &[usize],
    limit: u64,
    foresight: &Arc<Foresight>,
    digest: &FileDigest,
) -> Result<Launcher, ResourcesError> {
    if matches!(spec.gpu_layers, crate::GpuLayers::Count(1..)) && !engine::llama::COMPUTES_ON_GPUS {
        return Err(ResourcesError::NoGpuEngine(spec.name.clone()));
    }
    let program = std::env::current_exe().map_err(|error| ResourcesError::NoProgram(error.to_string()))?;
    let launch = file::FileLaunch {
        program,
        path: path.to_owned(),
        sha256: sha256.map(str::to_owned),
        spec: spec.clone(),
        cores: cores.to_vec(),
        limit,
        foresight: foresight.clone(),
        digest: digest.clone(),
        took: Arc::default(),
    };
    Ok(Box::new(move |gpu_layers| Arc::new(launch.with(gpu_layers))))
}

#[cfg(not(feature = "llama"))]
pub(crate) fn of_file(
    spec: &ModelSpec,
    _path: &Path,
    _sha256: Option<&str>,
    _cores: &[usize],
    _limit: u64,
    _foresight: &Arc<Foresight>,
    _digest: &FileDigest,
) -> Result<Launcher, ResourcesError> {
    Err(ResourcesError::NoEngine(spec.name.clone()))
}

#[cfg(feature = "llama")]
mod file {
    use std::{
        path::PathBuf,
        sync::{Arc, Mutex, PoisonError},
        time::Duration,
    };

    use engine::{
        Launch, LaunchError, LoadProgress, Loaded,
        llama::{LlamaLaunch, WorkerOrder},
    };
    use futures::{FutureExt, future::BoxFuture};

    use crate::{
        FileDigest, GpuLayers, ModelSpec,
        memory::{Foresight, Measured},
        verify::verify,
    };

    /// How fast a file is expected to be loaded the first time, in bytes per second: a slow disk.
    const LOAD_BYTES_PER_S: u64 = 400_000_000;
    /// What a load takes however small the file is.
    const LOAD_MIN: Duration = Duration::from_millis(500);

    /// Verifies a model file and starts a llama worker on it.
    #[derive(Clone)]
    pub(crate) struct FileLaunch {
        pub(crate) program: PathBuf,
        pub(crate) path: PathBuf,
        pub(crate) sha256: Option<String>,
        pub(crate) spec: ModelSpec,
        pub(crate) cores: Vec<usize>,
        /// Most memory that the worker may ask for, in bytes.
        pub(crate) limit: u64,
        /// What it is expected to need; it learns from what it is found to have.
        pub(crate) foresight: Arc<Foresight>,
        /// What its hash was found to be.
        pub(crate) digest: FileDigest,
        /// What it took the last time.
        pub(crate) took: Arc<Mutex<Option<Duration>>>,
    }

    impl FileLaunch {
        /// The same with so many layers on a device: memory was found for these.
        pub(crate) fn with(&self, gpu_layers: u32) -> Self {
            let mut placed = self.clone();
            placed.spec.gpu_layers = GpuLayers::Count(gpu_layers);
            placed
        }

        async fn load(&self, progress: Arc<LoadProgress>) -> Result<Loaded, LaunchError> {
            let (path, sha256, hashing) = (self.path.clone(), self.sha256.clone(), progress.clone());
            let hashed = tokio::task::spawn_blocking(move || verify(&path, sha256.as_deref(), &hashing))
                .await
                .map_err(|error| LaunchError { why: error.to_string(), retry: true })??;
            self.digest.set(hashed);
            progress.end_stage();
            // Our own reader goes before llama.cpp's: what it refuses never reaches any C++.
            let (path, spec, threads) = (self.path.clone(), self.spec.clone(), self.cores.len());
            let foresight = self.foresight.clone();
            let foreseen = tokio::task::spawn_blocking(move || foresight.of_file(&path, &spec, threads, 0))
                .await
                .map_err(|error| LaunchError { why: error.to_string(), retry: true })?
                .map_err(|error| LaunchError { why: error.to_string(), retry: false })?;
            let order = WorkerOrder {
                path: self.path.clone(),
                purpose: foreseen.purpose(),
                context: foreseen.workload.context.0,
                step: foreseen.workload.step,
                running_max: foreseen.workload.parallel,
                cores: self.cores.clone(),
                memory_max: self.limit,
                gpu_layers: foreseen.workload.gpu_layers,
            };
            let loaded = LlamaLaunch::new(self.program.clone(), order).launch(progress).await?;
            if let Some(pid) = loaded.pid {
                let (foresight, graph) = (self.foresight.clone(), loaded.card.graph_reserved);
                let learning = tokio::task::spawn_blocking(move || {
                    foresight.learn(&foreseen, Measured::of_process(pid, graph));
                });
                // What it finds it logs; a load does not fail for it.
                let _ = learning.await;
            }
            Ok(loaded)
        }

        fn expected(&self) -> Duration {
            let took = *self.took.lock().unwrap_or_else(PoisonError::into_inner);
            took.unwrap_or_else(|| {
                let bytes = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
                LOAD_MIN + Duration::from_secs_f64(bytes as f64 / LOAD_BYTES_PER_S as f64)
            })
        }
    }

    impl Launch for FileLaunch {
        fn launch(&self, progress: Arc<LoadProgress>) -> BoxFuture<'_, Result<Loaded, LaunchError>> {
            async move {
                progress.expect(self.expected());
                let loaded = self.load(progress.clone()).await?;
                *self.took.lock().unwrap_or_else(PoisonError::into_inner) = Some(progress.elapsed());
                Ok(loaded)
            }
            .boxed()
        }
    }
}
