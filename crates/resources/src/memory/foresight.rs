use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use modelfile::{Gguf, ModelFileError, ModelShape};

use super::{Available, Corrections, MemoryEstimate, Workload, estimate, fits, gpu_layers_that_fit};
use crate::{GpuLayers, ModelSpec};

/// Estimates for the models of this server, and what their loads teach. All of it blocks.
#[derive(Debug)]
pub(crate) struct Foresight {
    corrections: Mutex<Corrections>,
    /// Bytes that are free on devices; none in a build that does not compute on them.
    device_free: u64,
}

/// What a model is expected to need, and what it is loaded with.
#[derive(Debug)]
#[cfg_attr(not(feature = "llama"), expect(dead_code, reason = "only a build with workers loads anything"))]
pub(crate) struct Foreseen {
    pub(crate) workload: Workload,
    pub(crate) estimate: MemoryEstimate,
    shape: ModelShape,
}

impl Foresight {
    pub(crate) fn new(corrections: Corrections, device_free: u64) -> Self {
        Self { corrections: Mutex::new(corrections), device_free }
    }

    /// Reads the header of a model file and says what a worker on it would need.
    pub(crate) fn of_file(
        &self,
        path: &Path,
        spec: &ModelSpec,
        threads: usize,
    ) -> Result<Foreseen, ModelFileError> {
        let gguf = Gguf::open(path)?;
        let shape = gguf.shape()?;
        let workload = self.workload(&gguf, &shape, spec, threads);
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
        let workload = self.workload(&gguf, &shape, spec, threads);
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
        match learnt {
            Ok(factors) => {
                let (heap, layer) = (factors.heap, factors.layer);
                tracing::debug!(architecture, heap, layer, "estimates of memory are corrected");
            }
            Err(error) => tracing::warn!(%error, architecture, "what a load taught is not kept"),
        }
    }

    fn workload(&self, gguf: &Gguf, shape: &ModelShape, spec: &ModelSpec, threads: usize) -> Workload {
        let workload = Workload::new(spec.context, spec.parallel, u32::try_from(threads).unwrap_or(u32::MAX));
        let gpu_layers = match spec.gpu_layers {
            GpuLayers::Count(layers) => layers,
            GpuLayers::Auto if self.device_free == 0 => 0,
            GpuLayers::Auto => {
                gpu_layers_that_fit(gguf, shape, &workload, &self.corrections(), self.device_free)
            }
        };
        workload.on_device(gpu_layers)
    }

    fn corrections(&self) -> MutexGuard<'_, Corrections> {
        self.corrections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
