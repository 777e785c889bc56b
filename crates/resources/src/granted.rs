/// Of the memory that is available, the share that models may take together, in percent: the rest is for this
/// program, for requests and for whatever else runs.
const MODELS_SHARE_PERCENT: u64 = 90;

/// Bytes that all models together may take, where nothing is configured: a share of what is available now.
pub fn memory_for_models() -> u64 {
    let meminfo = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let available = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemAvailable:"))
        .and_then(|rest| rest.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    // Without the figure (not Linux) there is no limit.
    available.map_or(u64::MAX, |kib| kib * 1024 / 100 * MODELS_SHARE_PERCENT)
}
