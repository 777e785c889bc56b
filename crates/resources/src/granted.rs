use crate::inventory;

/// Of the memory that is available, the share that models may take together, in percent: the rest is for this
/// program, for requests and for whatever else runs.
const MODELS_SHARE_PERCENT: u64 = 90;

/// Bytes that all models together may take, where nothing is configured: a share of what is available now, under
/// the limits of our control groups.
pub fn memory_for_models() -> u64 {
    // Without the figure (not Linux) there is no limit.
    inventory::free_memory_here().map_or(u64::MAX, share)
}

/// Of this much free memory, what models may take together.
pub(crate) fn share(free: u64) -> u64 {
    free / 100 * MODELS_SHARE_PERCENT
}

/// Bytes that are free on the devices of this machine, if this build computes on them.
pub(crate) fn device_memory_for_models() -> u64 {
    #[cfg(feature = "llama")]
    if engine::llama::COMPUTES_ON_GPUS {
        return crate::memory::Available::on(&inventory::Inventory::probe()).device;
    }
    0
}
