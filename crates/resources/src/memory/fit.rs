//! Whether a worker fits, and what would if it does not.

use modelfile::{Gguf, ModelShape};
use types::Tokens;

use super::{Corrections, MemoryEstimate, Model, Workload};
use crate::{
    Size,
    granted::share,
    inventory::{DeviceState, Inventory},
};

/// Contexts that are offered are multiples of this: llama.cpp rounds up to them.
const CONTEXT_STEP: u32 = 256;
/// Quantisations that models are usually offered in, with the bits that a number takes on average: those that
/// `llama-quantize` prints for Llama 3.1 8B. Best first.
const QUANTISATIONS: [(&str, f64); 9] = [
    ("Q8_0", 8.5),
    ("Q6_K", 6.56),
    ("Q5_K_M", 5.7),
    ("Q5_K_S", 5.57),
    ("Q4_K_M", 4.89),
    ("Q4_K_S", 4.67),
    ("Q3_K_M", 4.0),
    ("Q3_K_S", 3.64),
    ("Q2_K", 3.16),
];

/// Memory that a worker may have, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Available {
    /// Main memory.
    pub host: u64,
    /// On all devices together.
    pub device: u64,
}

impl Available {
    /// What models may take on a machine, together: a share of its free memory, and of what is free on its devices, over
    /// which llama.cpp spreads the layers of a model.
    pub fn on(machine: &Inventory) -> Self {
        let ready = machine.devices.iter().filter(|device| device.state == DeviceState::Ready);
        let free = ready.filter_map(|device| device.memory.as_ref()).map(|memory| memory.free);
        Self { host: share(machine.memory.free_to_us()), device: share(free.fold(0, u64::saturating_add)) }
    }
}

/// A worker does not fit.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{}", self.text())]
pub struct TooBig {
    /// What it would need.
    pub estimate: Box<MemoryEstimate>,
    /// What there is.
    pub available: Available,
    /// What would fit, each with all else as it was asked for.
    pub would_fit: WouldFit,
}

/// Changes that each make a worker fit. What nothing helps is absent.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct WouldFit {
    /// The longest context.
    pub context: Option<Tokens>,
    /// The most sequences at once.
    pub parallel: Option<u32>,
    /// The best quantisation of the same model.
    pub quantisation: Option<&'static str>,
}

impl TooBig {
    /// By how much main memory or the devices fall short, whichever is more, in bytes.
    pub fn missing(&self) -> u64 {
        let host = self.estimate.host().saturating_sub(self.available.host);
        host.max(self.estimate.device().saturating_sub(self.available.device))
    }

    fn text(&self) -> String {
        let (estimate, available) = (&self.estimate, &self.available);
        let host = estimate.host() > available.host;
        let (what, needed, there) = if host {
            ("main memory", estimate.host(), available.host)
        } else {
            ("memory of devices", estimate.device(), available.device)
        };
        let short = Size(needed.saturating_sub(there));
        let WouldFit { context, parallel, quantisation } = self.would_fit;
        let ways: Vec<String> = [
            context.map(|context| format!("`context` {}", context.0)),
            parallel.map(|parallel| format!("`parallel` {parallel}")),
            quantisation.map(|name| format!("the same model as {name}")),
        ]
        .into_iter()
        .flatten()
        .collect();
        let advice = if ways.is_empty() {
            "no context, parallel or usual quantisation would fit; use a smaller model or a larger machine"
                .to_owned()
        } else {
            format!("it would fit with {}", ways.join(", or with "))
        };
        format!(
            "the model needs {} of {what}, and {} are there: {short} too little; {advice}",
            Size(needed),
            Size(there)
        )
    }
}

/// The estimate, if it fits; else what would.
///
/// # Errors
/// [`TooBig`] says by how much.
pub fn fits(
    gguf: &Gguf,
    shape: &ModelShape,
    workload: &Workload,
    corrections: &Corrections,
    available: Available,
) -> Result<MemoryEstimate, TooBig> {
    let model = Model::of(gguf, shape);
    let correction = corrections.of(shape);
    let estimate = model.estimate(workload, &correction);
    let fits = |estimate: &MemoryEstimate| {
        estimate.host() <= available.host && estimate.device() <= available.device
    };
    if fits(&estimate) {
        return Ok(estimate);
    }
    let with = |workload: Workload| fits(&model.estimate(&workload, &correction));
    let contexts = workload.context.0.saturating_sub(1) / CONTEXT_STEP;
    let context = most(contexts, |steps| with(with_context(workload, steps * CONTEXT_STEP)));
    let parallel =
        most(workload.parallel.saturating_sub(1), |parallel| with(Workload { parallel, ..*workload }));
    let would_fit = WouldFit {
        context: context.map(|steps| Tokens(steps * CONTEXT_STEP)),
        parallel,
        quantisation: quantisation(shape, &estimate, fits),
    };
    Err(TooBig { estimate: Box::new(estimate), available, would_fit })
}

/// How many layers may be on a device with so much free memory, the output head counted as one: `gpu_layers = "auto"`.
pub fn gpu_layers_that_fit(
    gguf: &Gguf,
    shape: &ModelShape,
    workload: &Workload,
    corrections: &Corrections,
    device_free: u64,
) -> u32 {
    let model = Model::of(gguf, shape);
    let correction = corrections.of(shape);
    let on_device = |layers| model.estimate(&workload.on_device(layers), &correction).device();
    most(shape.layers + 1, |layers| on_device(layers) <= device_free).unwrap_or(0)
}

fn with_context(workload: &Workload, context: u32) -> Workload {
    Workload { context: Tokens(context), step: workload.step.min(context), ..*workload }
}

/// The greatest of 1 to `limit` that holds, where a smaller one holds if a greater one does.
fn most(limit: u32, holds: impl Fn(u32) -> bool) -> Option<u32> {
    let (mut good, mut bad) = (0, limit.saturating_add(1));
    while bad - good > 1 {
        let middle = good + (bad - good) / 2;
        if holds(middle) {
            good = middle;
        } else {
            bad = middle;
        }
    }
    (good > 0).then_some(good)
}

/// The best quantisation that is smaller than what is there and fits, all else being the same.
fn quantisation(
    shape: &ModelShape,
    estimate: &MemoryEstimate,
    fits: impl Fn(&MemoryEstimate) -> bool,
) -> Option<&'static str> {
    let bits = shape.weights.total.saturating_mul(8) as f64 / shape.parameters.max(1) as f64;
    let smaller = QUANTISATIONS.iter().filter(|(_, fewer)| *fewer < bits);
    let found = smaller.into_iter().find(|(_, fewer)| {
        let shrink = |bytes: u64| (bytes as f64 * fewer / bits) as u64;
        let mut smaller = estimate.clone();
        smaller.weights.host = shrink(smaller.weights.host);
        smaller.weights.device = shrink(smaller.weights.device);
        fits(&smaller)
    });
    found.map(|(name, _)| *name)
}
