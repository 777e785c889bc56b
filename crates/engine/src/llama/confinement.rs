//! What a worker takes from itself before it reads the first byte of a model file.

use std::{collections::BTreeMap, path::Path};

use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetStatus,
};
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_setaffinity},
};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter_all_threads,
};

use super::parent::WorkerOrder;

/// Keeps the worker to its cores, its memory and its model file, off the network and from starting programs.
/// Says what holds. What must hold and does not is an error.
pub(super) fn confine(order: &WorkerOrder) -> Result<String, String> {
    pin(&order.cores)?;
    limit_memory(order.memory_max)?;
    let files = restrict_files(order);
    deny_system_calls()?;
    let cores = order.cores.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    Ok(format!(
        "cores {cores}; memory {} MiB; network and exec denied (seccomp); files {files}",
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

/// Matches a call unless its argument number `index` is `allowed`.
fn unless(index: u8, length: SeccompCmpArgLen, allowed: u64) -> Result<SeccompRule, String> {
    SeccompCondition::new(index, length, SeccompCmpOp::Ne, allowed)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(|error| format!("cannot make a seccomp rule: {error}"))
}

/// Seccomp: calls that a model has no use for fail with EPERM. A kernel without seccomp is refused.
fn deny_system_calls() -> Result<(), String> {
    let denied = [
        libc::SYS_socket,
        libc::SYS_socketpair,
        libc::SYS_connect,
        libc::SYS_bind,
        libc::SYS_listen,
        libc::SYS_accept,
        libc::SYS_accept4,
        libc::SYS_execve,
        libc::SYS_execveat,
        libc::SYS_kill,
        libc::SYS_tkill,
        libc::SYS_pidfd_send_signal,
        libc::SYS_rt_sigqueueinfo,
        libc::SYS_sched_setaffinity,
        libc::SYS_setrlimit,
        libc::SYS_ptrace,
        libc::SYS_process_vm_readv,
        libc::SYS_process_vm_writev,
        libc::SYS_pidfd_getfd,
        libc::SYS_io_uring_setup,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_userfaultfd,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_mount,
        libc::SYS_umount2,
        libc::SYS_pivot_root,
        libc::SYS_chroot,
        libc::SYS_unshare,
        libc::SYS_setns,
        libc::SYS_init_module,
        libc::SYS_finit_module,
        libc::SYS_kexec_load,
    ];
    let mut rules: BTreeMap<i64, Vec<_>> = denied.into_iter().map(|call| (call, Vec::new())).collect();
    // Limits may be read, not set; signals go to itself only, as `abort` sends them.
    let itself = u64::from(std::process::id());
    rules.insert(libc::SYS_prlimit64, vec![unless(2, SeccompCmpArgLen::Qword, 0)?]);
    rules.insert(libc::SYS_tgkill, vec![unless(0, SeccompCmpArgLen::Dword, itself)?]);
    let target = std::env::consts::ARCH.try_into().map_err(|error| format!("no seccomp here: {error}"))?;
    let filter =
        SeccompFilter::new(rules, SeccompAction::Allow, SeccompAction::Errno(libc::EPERM as u32), target)
            .and_then(seccompiler::BpfProgram::try_from)
            .map_err(|error| format!("cannot make the seccomp filter: {error}"))?;
    apply_filter_all_threads(&filter).map_err(|error| {
        format!("cannot forbid network and exec ({error}); run llmos where seccomp filters are allowed")
    })
}
