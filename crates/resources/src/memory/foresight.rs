use std::{
    path::Path,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use modelfile::{Gguf, ModelFileError, ModelShape, Purpose};
use types::Tokens;

use super::{Available, Corrections, MemoryEstimate, Workload, estimate, fits, gpu_layers_that_fit};
use crate::{GpuLayers, ModelSpec};

/// Estimates for the models of this server, and what their loads teach. All of it blocks.
#[derive(Debug)]
pub(crate) struct Foresight {
    corrections: Mutex<Corrections>,
    /// Loads that taught something.
    lessons: AtomicU64,
}

/// What a model is expected to need, and what it is loaded with.
#[derive(Debug)]
pub(crate) struct Foreseen {
    pub(crate) workload: Workload,
    pub(crate) estimate: MemoryEstimate,
    shape: ModelShape,
}

impl Foreseen {
    /// Longest sequence: as configured, or as trained if that is less.
    pub(crate) fn sequence_max(&self) -> Tokens {
        Tokens(self.workload.context.0.min(self.shape.context_trained))
    }

    /// What the file says that its model is made to do.
    pub(crate) fn purpose(&self) -> Purpose {
        self.shape.purpose
    }
}

impl Foresight {
    pub(crate) fn new(corrections: Corrections) -> Self {
        Self { corrections: Mutex::new(corrections), lessons: AtomicU64::new(0) }
    }

    /// How often estimates have changed so far.
    pub(crate) fn lessons(&self) -> u64 {
        self.lessons.load(Ordering::Relaxed)
    }

    /// Reads the header of a model file and says what a worker on it would need, with so many bytes free on devices.
    pub(crate) fn of_file(
        &self,
        path: &Path,
        spec: &ModelSpec,
        threads: usize,
        device_free: u64,
    ) -> Result<Foreseen, ModelFileError> {
        let gguf = Gguf::open(path)?;
        let shape = gguf.shape()?;
        let workload = self.workload(&gguf, &shape, spec, threads, device_free);
        let estimate = estimate(&gguf, &shape, &workload, &self.corrections());
        Ok(Foreseen { workload, estimate, shape })
    }

    /// Why such a worker does not fit, and what would; nothing if it fits or the file cannot be read.
    pub(crate) fn why_too_big(
        &self,
        path: &Path,
        spec: &ModelSpec,
        threads: usize,
        available: Available,
    ) -> Option<String> {
        let gguf = Gguf::open(path).ok()?;
        let shape = gguf.shape().ok()?;
        let workload = self.workload(&gguf, &shape, spec, threads, available.device);
        let judged = fits(&gguf, &shape, &workload, &self.corrections(), available);
        judged.err().map(|too_big| too_big.to_string())
    }

    /// Corrects later estimates by what a loaded worker was found to have.
    #[cfg(feature = "llama")]
    pub(crate) fn learn(&self, foreseen: &Foreseen, measured: std::io::Result<super::Measured>) {
        let architecture = &foreseen.shape.architecture;
        let measured = match measured {
            Ok(measured) => measured,
            Err(error) => {
                tracing::warn!(%error, architecture, "cannot measure a worker");
                return;
            }
        };
        let learnt = self.corrections().learn(&foreseen.shape, &foreseen.estimate, measured);
        self.lessons.fetch_add(1, Ordering::Relaxed);
        match learnt {
            Ok(factors) => {
                let (heap, layer) = (factors.heap, factors.layer);
                tracing::debug!(architecture, heap, layer, "estimates of memory are corrected");
            }
            Err(error) => tracing::warn!(%error, architecture, "what a load taught is not kept"),
        }
    }

    fn workload(
        &self,
        gguf: &Gguf,
        shape: &ModelShape,
        spec: &ModelSpec,
        threads: usize,
        device_free: u64,
    ) -> Workload {
        let workload = Workload::new(spec.context, spec.parallel, u32::try_from(threads).unwrap_or(u32::MAX));
        let gpu_layers = match spec.gpu_layers {
            GpuLayers::Count(layers) => layers,
            GpuLayers::Auto if device_free == 0 => 0,
            GpuLayers::Auto => gpu_layers_that_fit(gguf, shape, &workload, &self.corrections(), device_free),
        };
        workload.on_device(gpu_layers)
    }

    fn corrections(&self) -> MutexGuard<'_, Corrections> {
        self.corrections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
