//! What a worker takes from itself before it reads the first byte of a model file.

use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus,
};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};

use super::{COMPUTES_ON_GPUS, parent::WorkerOrder, system_calls};

/// Keeps the worker to its cores, its memory and its model file, off the network and from starting programs.
/// Says what holds. What must hold and does not is an error.
pub(super) fn confine(order: &WorkerOrder) -> Result<String, String> {
    pin(&order.cores)?;
    limit_memory(order.memory_max)?;
    let files = restrict_files(order);
    system_calls::restrict(COMPUTES_ON_GPUS)?;
    let cores = order.cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    Ok(format!(
        "cores {cores}; memory {} MiB; system calls restricted (seccomp); files {files}",
        order.memory_max >> 20
    ))
}

fn pin(cores: &[usize]) -> Result<(), String> {
    let mut set = CpuSet::new();
    for &core in cores {
        set.set(core);
    }
    sched_setaffinity(None, &set).map_err(|error| format!("cannot keep to cores {cores:?}: {error}"))
}

fn limit_memory(bytes: u64) -> Result<(), String> {
    // Private writable memory: heap, KV memory and compute buffers; the mapped model file does not count.
    // A hard limit that is lower already stays.
    let hard = getrlimit(Resource::Data).maximum.map_or(bytes, |hard| hard.min(bytes));
    let limit = Rlimit { current: Some(hard), maximum: Some(hard) };
    setrlimit(Resource::Data, limit).map_err(|error| format!("cannot limit memory: {error}"))?;
    // A core dump would write prompts to disk.
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })
        .map_err(|error| format!("cannot forbid core dumps: {error}"))
}

/// Landlock: only the model file and what describes processors can be read, nothing written; a worker with layers on
/// GPUs also reads their drivers and uses their devices. Best effort, since kernels before 5.13 lack it.
fn restrict_files(order: &WorkerOrder) -> String {
    match landlock_rules(order) {
        Ok(RulesetStatus::FullyEnforced) => "restricted (Landlock)".to_owned(),
        Ok(RulesetStatus::PartiallyEnforced) => "restricted in part (Landlock of an older kernel)".to_owned(),
        Ok(RulesetStatus::NotEnforced) => "not restricted (this kernel has no Landlock)".to_owned(),
        Err(error) => format!("not restricted ({error})"),
    }
}

/// What the drivers of GPUs read: their libraries, and what describes devices.
const GPU_READABLE: [&str; 7] = ["/usr", "/lib", "/lib64", "/opt", "/etc", "/proc", "/sys"];
/// The files of GPUs in `/dev`, by how their names begin: NVIDIA's, those of the kernel's graphics, AMD's for computing.
/// A GPU is used by writing to its file; no other device is touched.
const GPU_DEVICES: [&str; 3] = ["nvidia", "dri", "kfd"];

fn landlock_rules(order: &WorkerOrder) -> Result<RulesetStatus, Box<dyn std::error::Error>> {
    let abi = ABI::V5;
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(abi))?
        .handle_access(AccessNet::from_all(abi))?
        .create()?
        .add_rule(PathBeneath::new(PathFd::new(&order.path)?, AccessFs::ReadFile))?;
    for readable in ["/sys/devices/system", "/proc/cpuinfo", "/proc/self", "/dev/urandom"] {
        if let Ok(fd) = PathFd::new(readable) {
            let access = AccessFs::ReadFile | AccessFs::ReadDir;
            let access = if Path::new(readable).is_dir() { access } else { AccessFs::ReadFile.into() };
            rules = rules.add_rule(PathBeneath::new(fd, access))?;
        }
    }
    if order.gpu_layers > 0 {
        for readable in GPU_READABLE {
            if let Ok(fd) = PathFd::new(readable) {
                rules = rules.add_rule(PathBeneath::new(fd, AccessFs::from_read(abi)))?;
            }
        }
        for device in std::fs::read_dir("/dev")?.filter_map(Result::ok) {
            let name = device.file_name();
            if GPU_DEVICES.iter().any(|begins| name.to_string_lossy().starts_with(begins)) {
                let path = device.path();
                let all = AccessFs::from_all(abi);
                let access = if path.is_dir() { all } else { all & AccessFs::from_file(abi) };
                rules = rules.add_rule(PathBeneath::new(PathFd::new(&path)?, access))?;
            }
        }
    }
    Ok(rules.restrict_self()?.ruleset)
}

// With drivers of GPUs less is refused, and nothing ends the worker.
#[cfg(all(test, not(any(feature = "cuda", feature = "vulkan"))))]
mod tests;
